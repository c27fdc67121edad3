//! Prices of paid packages. They are asked of a source's shop rarely, so they are kept apart from
//! what its package index says, and a publication puts them into the catalogue.

use super::{Cause, Postgres, Tx, leases, refused, signed};
use crate::store::{PRICES_KEPT_MAX, StoreError};
use crate::timestamp::Timestamp;
use canister_protocol::message::Price;
use std::collections::BTreeMap;

impl Postgres {
    pub(in crate::store) fn priced(
        &mut self,
        peer: &str,
        token: u64,
        after: &str,
        limit: usize,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        self.read(|tx| {
            let (slug, _) = leases::seen_held(tx, peer, token, now)?;
            let ids = tx.query(
                "SELECT package_id FROM price
                 WHERE slug = $1 AND package_id > $2 AND asked_at >= $3
                 ORDER BY package_id LIMIT $4",
                &[&slug, &after, &since, &signed(limit as u64)],
            )?;
            Ok(ids.iter().map(|row| row.get(0)).collect())
        })
    }

    pub(in crate::store) fn prices(
        &mut self,
        peer: &str,
        token: u64,
        prices: &[Price],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // Of two prices of one package the later stands.
        let prices: BTreeMap<&str, &str> =
            prices.iter().map(|told| (&*told.package_id, &*told.price)).collect();
        let (ids, prices): (Vec<&str>, Vec<&str>) = prices.into_iter().unzip();
        self.write(|tx| {
            let held = leases::held(tx, peer, token, now)?;
            tx.execute(
                "INSERT INTO price (slug, package_id, price, asked_at)
                 SELECT $1, package_id, price, $4
                 FROM unnest($2::text[], $3::text[]) AS told (package_id, price)
                 ON CONFLICT (slug, package_id) DO UPDATE SET
                     price = excluded.price, asked_at = excluded.asked_at",
                &[&held.lease.slug, &ids, &prices, &now],
            )?;
            let kept = "SELECT count(*) FROM price WHERE slug = $1";
            let kept: i64 = tx.one(kept, &[&held.lease.slug])?.get(0);
            if kept > signed(PRICES_KEPT_MAX) {
                return refused(format!(
                    "{kept} prices of {}, at most {PRICES_KEPT_MAX} are kept",
                    held.lease.slug
                ));
            }
            Ok(())
        })
    }
}

/// Puts known prices into the catalogue's live packages of a source that are paid for, and forgets
/// those of packages that left.
pub(super) fn apply(tx: &mut Tx<'_>, slug: &str) -> Result<(), Cause> {
    tx.execute(
        "UPDATE package SET price = price.price FROM price
         WHERE price.slug = $1 AND package.repository_id = $1
           AND hashtextextended(package.package_id, 0) = hashtextextended(price.package_id, 0)
           AND package.package_id = price.package_id AND package.left_at IS NULL
           AND package.price <> 'Free' AND package.price <> price.price",
        &[&slug],
    )?;
    tx.execute(
        "DELETE FROM price WHERE slug = $1 AND NOT EXISTS (
             SELECT FROM package WHERE package.repository_id = $1
               AND hashtextextended(package.package_id, 0) = hashtextextended(price.package_id, 0)
               AND package.package_id = price.package_id AND package.left_at IS NULL)",
        &[&slug],
    )?;
    Ok(())
}
