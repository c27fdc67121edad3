//! What paid packages cost, as their shops said. They are asked rarely, so prices are kept apart
//! from what a source's package index says, and a publication puts them into the catalogue.

use super::sql::{Cause, Tx, first, refused, sql, values};
use super::{PRICES_KEPT_MAX, Store, StoreError, leases};
use crate::rules::timestamp::Timestamp;
use canister_protocol::message::Price;
use std::collections::BTreeMap;

impl Store {
    /// Package ids of the lease's source whose price was asked for at `since` or later, ascending,
    /// at most `limit` of them and all above `after`. Fewer than `limit` means that there are no
    /// more.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's.
    pub fn priced(
        &mut self,
        peer: &str,
        token: u64,
        after: &str,
        limit: usize,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        self.read(|tx| {
            let slug = leases::seen_held(tx, peer, token, now)?.lease.slug;
            tx.query(
                "SELECT package_id FROM price
                 WHERE slug = $1 AND package_id > $2 AND asked_at >= $3
                 ORDER BY package_id LIMIT $4",
                values![slug, after, since, limit],
                first,
            )
        })
    }

    /// Keeps prices that were asked for just now. They stand in the catalogue after the source's
    /// next publication, and are kept whatever becomes of the lease.
    ///
    /// **Repeated**: changes nothing.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's, or the source would have more than
    /// [`PRICES_KEPT_MAX`].
    pub fn prices(
        &mut self,
        peer: &str,
        token: u64,
        prices: &[Price],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // Of two prices of one package the later stands.
        let prices: BTreeMap<&String, &String> =
            prices.iter().map(|told| (&told.package_id, &told.price)).collect();
        let (ids, prices): (Vec<String>, Vec<String>) =
            prices.into_iter().map(|(id, price)| (id.clone(), price.clone())).unzip();
        self.write(|tx| {
            let slug = leases::held(tx, peer, token, now)?.lease.slug;
            tx.execute(
                sql!(
                    "INSERT INTO price (slug, package_id, price, asked_at) "
                    ["SELECT $1, value, json_extract($3, '$[' || key || ']'), $4
                      FROM json_each($2) WHERE true"
                        | "SELECT $1, package_id, price, $4
                           FROM unnest($2::text[], $3::text[]) AS told (package_id, price)"]
                    " ON CONFLICT (slug, package_id) DO UPDATE SET
                          price = excluded.price, asked_at = excluded.asked_at"
                ),
                values![&slug, &ids, &prices, now],
            )?;
            let kept: u64 =
                tx.value("SELECT count(*) FROM price WHERE slug = $1", values![&slug])?;
            if kept > PRICES_KEPT_MAX {
                return refused(format!(
                    "{kept} prices of {slug}, at most {PRICES_KEPT_MAX} are kept"
                ));
            }
            Ok(())
        })
    }
}

/// Puts known prices into the catalogue's live packages of a source that are paid for, and forgets
/// those of packages that left; the publication is the lease's `token`. PostgreSQL's index has package ids by their hash.
pub(super) fn apply(tx: &mut dyn Tx, slug: &str, token: u64) -> Result<(), Cause> {
    tx.execute(
        sql!(
            "UPDATE package SET price = price.price, publication = $2 FROM price
             WHERE price.slug = $1 AND package.repository_id = $1
               AND package.package_id = price.package_id AND package.left_at IS NULL
               AND package.price <> 'Free' AND package.price <> price.price"[""
                | " AND hashtextextended(package.package_id, 0)
                      = hashtextextended(price.package_id, 0)"]
        ),
        values![slug, token],
    )?;
    tx.execute(
        sql!(
            "DELETE FROM price WHERE slug = $1 AND NOT EXISTS (
                 SELECT 1 FROM package WHERE package.repository_id = $1
                   AND package.package_id = price.package_id AND package.left_at IS NULL"
            ["" | " AND hashtextextended(package.package_id, 0)
                      = hashtextextended(price.package_id, 0)"]
            ")"
        ),
        values![slug],
    )?;
    Ok(())
}
