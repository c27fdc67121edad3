//! Prices of paid packages. They are asked of a source's shop rarely, so they are kept apart from
//! what its package index says, and a publication puts them into the catalogue.

use super::{Cause, Sqlite, leases, refused, signed};
use crate::store::{PRICES_KEPT_MAX, StoreError};
use crate::timestamp::Timestamp;
use canister_protocol::message::Price;
use rusqlite::{Connection, params};

impl Sqlite {
    pub(in crate::store) fn priced(
        &mut self,
        peer: &str,
        token: u64,
        after: &str,
        limit: usize,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            let tx = connection.unchecked_transaction()?;
            let lease = leases::held(&tx, peer, token, now)?;
            let mut statement = tx.prepare_cached(
                "SELECT package_id FROM price
                 WHERE slug = ?1 AND package_id > ?2 AND asked_at >= ?3
                 ORDER BY package_id LIMIT ?4",
            )?;
            let limit = signed(limit as u64);
            let ids = statement
                .query_map(params![lease.lease.slug, after, since, limit], |row| row.get(0))?;
            Ok(ids.collect::<Result<_, _>>()?)
        })
    }

    pub(in crate::store) fn prices(
        &mut self,
        peer: &str,
        token: u64,
        prices: &[Price],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            let lease = leases::held(tx, peer, token, now)?;
            let mut insert = tx.prepare_cached(
                "INSERT INTO price (slug, package_id, price, asked_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (slug, package_id) DO UPDATE SET
                     price = excluded.price, asked_at = excluded.asked_at",
            )?;
            for Price { package_id, price } in prices {
                insert.execute(params![lease.lease.slug, package_id, price, now])?;
            }
            let kept: i64 = tx
                .prepare_cached("SELECT count(*) FROM price WHERE slug = ?1")?
                .query_row([&lease.lease.slug], |row| row.get(0))?;
            if kept > signed(PRICES_KEPT_MAX) {
                return refused(format!(
                    "{kept} prices of {}, at most {PRICES_KEPT_MAX} are kept",
                    lease.lease.slug
                ));
            }
            Ok(())
        })
    }
}

/// Puts known prices into the catalogue's live packages of a source that are paid for, and forgets
/// those of packages that left.
pub(super) fn apply(tx: &Connection, slug: &str) -> Result<(), Cause> {
    tx.prepare_cached(
        "UPDATE package SET price = price.price FROM price
         WHERE price.slug = ?1 AND package.repository_id = ?1
           AND package.package_id = price.package_id AND package.left_at IS NULL
           AND package.price <> 'Free' AND package.price <> price.price",
    )?
    .execute([slug])?;
    tx.prepare_cached(
        "DELETE FROM price WHERE slug = ?1 AND NOT EXISTS (
             SELECT 1 FROM package WHERE package.repository_id = ?1
               AND package.package_id = price.package_id AND package.left_at IS NULL)",
    )?
    .execute([slug])?;
    Ok(())
}
