//! What a peer asks and puts under its lease. Nothing here touches the catalogue.
//!
//! On PostgreSQL a peer may write by itself, in transactions of its own, which it may keep open. So
//! what is staged has a row to lock that isn't the lease's, and nothing here waits for it.

use super::sql::{Cause, Tx, first, refused, sql, values};
use super::{STAGED_ROWS_MAX, Store, StoreError, leases};
use crate::rules::timestamp::Timestamp;
use crate::rules::trust::LeaseKind;
use canister_protocol::message::cut;
use canister_protocol::{Digest, Rows};

impl Store {
    /// Digests of the live packages of the lease's source, ascending, at most `limit` of them and
    /// all above `after`. Fewer than `limit` means that there are no more.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's, or an audit.
    pub fn known(
        &mut self,
        peer: &str,
        token: u64,
        after: Option<Digest>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Digest>, StoreError> {
        // An empty text is below all digests.
        let after = after.as_ref().map_or(&[][..], |digest| &digest.0[..]);
        self.read(|tx| {
            let held = leases::seen_held(tx, peer, token, now)?;
            if held.lease.kind == LeaseKind::Audit {
                return refused(format!("lease {token} is an audit"));
            }
            tx.query(
                sql!(
                    ""["SELECT digest FROM package
                         WHERE repository_id = (SELECT slug FROM lease WHERE token = $2)
                           AND left_at IS NULL AND digest > $4
                         ORDER BY digest LIMIT $5"
                        | "SELECT arbiter.known($1, $2, $3, $4, $5)"]
                ),
                values![peer, token, now, after, limit],
                first,
            )
        })
    }

    /// Stages rows, in their order. Of those with one id the first is published. On PostgreSQL a crash of the
    /// server takes what is staged, and with it the lease.
    ///
    /// **Repeated**: changes nothing of what is published.
    ///
    /// # Errors
    /// `Refused` where the lease is over, another peer's or an audit, or would hold more than
    /// [`STAGED_ROWS_MAX`] or [`STAGED_BYTES_MAX`](super::STAGED_BYTES_MAX), or where a row isn't one
    /// the catalogue could hold ([`PackageRow::check`](canister_protocol::row::PackageRow::check)).
    pub fn put(
        &mut self,
        peer: &str,
        token: u64,
        rows: &Rows,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            for row in rows.iter() {
                if let Err(error) = row.check() {
                    return refused(format!("row of {:?}: {error}", cut(row.package_id, 80)));
                }
            }
            tx.put(peer, token, rows, now)
        })
    }

    /// Stages that the index has these digests no more. One that is staged already is left as it
    /// is; one that the catalogue doesn't have does nothing later.
    ///
    /// **Repeated**: changes nothing.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's, or would hold more than
    /// [`STAGED_ROWS_MAX`].
    pub fn dropped(
        &mut self,
        peer: &str,
        token: u64,
        digests: &[Digest],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let hex = |digest: &Digest| digest.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let digests: Vec<String> = digests.iter().map(hex).collect();
        self.write(|tx| {
            leases::seen_held(tx, peer, token, now)?;
            let (_, staged) = staged(tx, token)?;
            let new = tx.execute(
                sql!(
                    "INSERT INTO staging_dropped (token, digest) SELECT $1, "
                    ["unhex(value) FROM json_each($2) WHERE true"
                        | "decode(value, 'hex') FROM unnest($2::text[]) AS value"]
                    " ON CONFLICT (token, digest) DO NOTHING"
                ),
                values![token, &digests],
            )?;
            let dropped = staged + new;
            if dropped > STAGED_ROWS_MAX {
                return refused(format!(
                    "{dropped} digests dropped under lease {token}, at most {STAGED_ROWS_MAX} \
                     are taken"
                ));
            }
            tx.execute("UPDATE staged SET dropped = $2 WHERE token = $1", values![token, dropped])?;
            Ok(())
        })
    }

    /// Forgets all that was put and dropped under the lease.
    ///
    /// **Repeated**: changes nothing.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's.
    pub fn discard(&mut self, peer: &str, token: u64, now: Timestamp) -> Result<(), StoreError> {
        self.write(|tx| {
            leases::seen_held(tx, peer, token, now)?;
            staged(tx, token)?;
            for statement in [
                "DELETE FROM staging WHERE token = $1",
                "DELETE FROM staging_dropped WHERE token = $1",
                "UPDATE staged SET put = 0, put_bytes = 0, dropped = 0 WHERE token = $1",
            ] {
                tx.execute(statement, values![token])?;
            }
            Ok(())
        })
    }
}

/// How many rows are put under a lease, of which `staged` are there: PostgreSQL has one that was put twice
/// twice, until it is published.
pub(super) fn distinct(tx: &mut dyn Tx, token: u64, staged: u64) -> Result<u64, Cause> {
    if staged == 0 {
        return Ok(0);
    }
    let distinct = sql!(
        "SELECT " ["put FROM staged" | "count(*) FROM (SELECT DISTINCT id FROM staging"] " WHERE token = $1"
            ["" | ") AS ids"]
    );
    tx.value(distinct, values![token])
}

/// How many rows are staged and digests dropped under a lease; nobody adds to them until the
/// transaction is over. Doesn't wait: a peer that is still putting in a transaction of its own has
/// not put yet.
pub(super) fn staged(tx: &mut dyn Tx, token: u64) -> Result<(u64, u64), Cause> {
    let staged =
        sql!("SELECT put, dropped FROM staged WHERE token = $1"["" | " FOR UPDATE SKIP LOCKED"]);
    match tx.maybe(staged, values![token], |row| Ok((row.get("put")?, row.get("dropped")?)))? {
        Some(staged) => Ok(staged),
        None => refused(format!(
            "rows are still being put under lease {token}, or went with a crash of the database"
        )),
    }
}
