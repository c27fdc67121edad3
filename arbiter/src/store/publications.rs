//! What was published when, by whom and from what.
//!
//! Numbers follow the order of the commits, also of several arbiters: whoever takes one has locked the
//! row that counts them until it commits. So who has seen a number has seen all before it. Rows know
//! their publication by its lease, for they are written before that.

use super::sql::{Cause, Row, Tx, read, values};
use super::{Publication, Store, StoreError};
use crate::rules::timestamp::Timestamp;

impl Store {
    /// The newest `limit` publications, newest first; of one source, or of all.
    pub fn publications(
        &mut self,
        slug: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Publication>, StoreError> {
        let (of_one, of_all) = (
            "SELECT * FROM publication WHERE slug = $1 ORDER BY number DESC LIMIT $2",
            "SELECT * FROM publication ORDER BY number DESC LIMIT $1",
        );
        self.read(|tx| match slug {
            Some(slug) => tx.query(of_one, values![slug, limit], publication),
            None => tx.query(of_all, values![limit], publication),
        })
    }
}

/// The publication of a lease.
pub(super) fn of(tx: &mut dyn Tx, lease: Option<u64>) -> Result<Option<Publication>, Cause> {
    let of_lease = "SELECT * FROM publication WHERE lease = $1";
    tx.maybe(of_lease, values![lease], publication)
}

fn publication(row: Row<'_>) -> Result<Publication, Cause> {
    read!(row => Publication {
        number, lease, slug, peer, granted_at, published_at, head, index_path, index_digest, put,
        packages, network, mapping, confirmed_by;
        left: row.get("gone")?
    })
}

/// Adds a publication and gives it its number. Others that publish wait from here on.
pub(super) fn add(tx: &mut dyn Tx, publication: &Publication) -> Result<u64, Cause> {
    let number = next_number(tx)?;
    tx.execute(
        "INSERT INTO publication (lease, number, slug, peer, granted_at, published_at, head,
             index_path, index_digest, put, gone, packages, network, mapping)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
             coalesce((SELECT network FROM peer WHERE name = $4), ''),
             (SELECT mapping FROM peer WHERE name = $4))",
        values![
            publication.lease,
            number,
            &publication.slug,
            &publication.peer,
            publication.granted_at,
            publication.published_at,
            &publication.head,
            &publication.index_path,
            &publication.index_digest,
            publication.put,
            publication.left,
            publication.packages,
        ],
    )?;
    Ok(number)
}

/// The next number in the order of all changes. Others that need one wait from here on.
pub(super) fn next_number(tx: &mut dyn Tx) -> Result<u64, Cause> {
    tx.value("UPDATE feed SET last = last + 1 RETURNING last", &[])
}

/// Forgets up to `limit` publications of `before` or earlier that no row and no source comes from any
/// more; how many. Readers of the feed that didn't read those have to begin again.
pub(super) fn forget(tx: &mut dyn Tx, before: Timestamp, limit: u64) -> Result<u64, Cause> {
    tx.execute(
        "UPDATE feed SET horizon = greatest(horizon,
             coalesce((SELECT max(number) FROM publication WHERE published_at <= $1), 0))",
        values![before],
    )?;
    tx.execute(
        "DELETE FROM publication WHERE lease IN (
             SELECT lease FROM publication WHERE published_at <= $1
               AND NOT EXISTS (SELECT 1 FROM package WHERE package.publication = lease)
               AND NOT EXISTS (SELECT 1 FROM source WHERE source.slug = publication.slug
                   AND lease IN (source.publication, source.rows_from))
             LIMIT $2)",
        values![before, limit],
    )
}
