//! Publication: what is staged under a lease becomes its source's packages.
//!
//! All of it is SQL over what changed: rows travel from staging to the catalogue without passing
//! through here. First [`compare`] notes what was dropped and which names were put, and counts what
//! that comes to. Then [`publish`], in order:
//!
//! 1. What was dropped leaves (`left_at`, not visible).
//! 2. What was put enters by its id, in the order of the index. Only a row that is not live is
//!    written over. So of two stanzas with one id the first stands; the other's digest stays
//!    unknown, is put again at each index, and changes nothing for as long as the first is there.
//! 3. Among the versions of each package that 1 and 2 touched, the latest is found anew.
//! 4. The repository's packages are counted.

use super::{Cause, array, signed, unsigned};
use crate::rules::timestamp::Timestamp;
use crate::store::SourceState;
use crate::store::values::StagedLease;
use crate::store::values::{Differences, Published};
use rusqlite::{Connection, params};

/// Tables that live as long as the connection: what one publication touches.
pub(super) fn prepare(connection: &Connection) -> Result<(), Cause> {
    connection.execute_batch(
        "CREATE TEMP TABLE leaving (number INTEGER PRIMARY KEY);
         CREATE TEMP TABLE named (package_id TEXT PRIMARY KEY) WITHOUT ROWID;
         CREATE TEMP TABLE touched (package_id TEXT, architecture TEXT,
             PRIMARY KEY (package_id, architecture)) WITHOUT ROWID;
         CREATE TEMP TABLE flipped (number INTEGER PRIMARY KEY);",
    )?;
    Ok(())
}

/// Notes what leaves and which names were put under the lease `token`; what that changes.
pub(super) fn compare(
    tx: &Connection,
    source: &SourceState,
    held: &StagedLease,
) -> Result<Differences, Cause> {
    if held.put == 0 && held.dropped == 0 {
        return Ok(Differences::default());
    }
    let (slug, token) = (&source.source.slug, signed(held.lease.token));
    for table in ["leaving", "named", "touched", "flipped"] {
        tx.prepare_cached(&format!("DELETE FROM temp.{table}"))?.execute([])?;
    }
    let leaving = tx
        .prepare_cached(
            "INSERT INTO temp.leaving
             SELECT package.number FROM staging_dropped AS dropped
             CROSS JOIN package ON package.repository_id = ?2 AND package.digest = dropped.digest
                 AND package.left_at IS NULL
             WHERE dropped.token = ?1",
        )?
        .execute(params![token, slug])?;
    let named = tx
        .prepare_cached(
            "INSERT OR IGNORE INTO temp.named SELECT package_id FROM staging WHERE token = ?1",
        )?
        .execute([token])?;
    let count = |sql: &str| -> Result<u64, Cause> {
        Ok(unsigned(tx.prepare_cached(sql)?.query_row([slug], |row| row.get(0))?))
    };
    let lost = match leaving {
        0 => 0,
        _ => count(
            "SELECT count(DISTINCT gone.package_id) FROM temp.leaving
             CROSS JOIN package AS gone ON gone.number = leaving.number
             WHERE gone.package_id NOT IN temp.named AND NOT EXISTS (
                 SELECT 1 FROM package
                 WHERE repository_id = ?1 AND package_id = gone.package_id AND left_at IS NULL
                   AND number NOT IN temp.leaving)",
        )?,
    };
    let gained = match (named, source.names) {
        (0, _) | (_, 0) => named as u64,
        _ => count(
            "SELECT count(*) FROM temp.named WHERE NOT EXISTS (
                 SELECT 1 FROM package
                 WHERE repository_id = ?1 AND package_id = named.package_id AND left_at IS NULL)",
        )?,
    };
    Ok(Differences { is_any: leaving + named > 0, lost, gained })
}

/// Does what was noted.
pub(super) fn publish(
    tx: &Connection,
    source: &SourceState,
    held: &StagedLease,
    now: Timestamp,
) -> Result<Published, Cause> {
    let (slug, token) = (&source.source.slug, signed(held.lease.token));
    tx.prepare_cached(
        "INSERT OR IGNORE INTO temp.touched
         SELECT package_id, architecture FROM temp.leaving
         CROSS JOIN package ON package.number = leaving.number
         UNION ALL
         SELECT package_id, architecture FROM staging WHERE token = ?1",
    )?
    .execute([token])?;
    tx.prepare_cached(
        "UPDATE package SET left_at = ?1, visible = 0, latest_version = 0, publication = ?2
         WHERE number IN (SELECT number FROM temp.leaving)",
    )?
    .execute(params![now, token])?;

    let put = tx
        .prepare_cached(
            "INSERT INTO package (id, package_id, latest_version, visible, quality, repository_id,
                 price, version, architecture, package_filename, package_size, sha256_hash, name,
                 description, author, maintainer, depiction, native_depiction, sileo_depiction,
                 header_url, tint_color, icon_url, section, tags, installed_size, digest,
                 version_key, publication)
             SELECT id, package_id, 0, ?2, ?3, ?4,
                 price, version, architecture, package_filename, package_size, sha256_hash, name,
                 description, author, maintainer, depiction, native_depiction, sileo_depiction,
                 header_url, tint_color, icon_url, section, tags, installed_size, digest,
                 version_key, ?1
             FROM staging INDEXED BY staging_order WHERE token = ?1 ORDER BY seq
             ON CONFLICT (id) DO UPDATE SET
                 visible = excluded.visible,
                 quality = excluded.quality,
                 price = excluded.price,
                 package_filename = excluded.package_filename,
                 package_size = excluded.package_size,
                 sha256_hash = excluded.sha256_hash,
                 name = excluded.name,
                 description = excluded.description,
                 author = excluded.author,
                 maintainer = excluded.maintainer,
                 depiction = excluded.depiction,
                 native_depiction = excluded.native_depiction,
                 sileo_depiction = excluded.sileo_depiction,
                 header_url = excluded.header_url,
                 tint_color = excluded.tint_color,
                 icon_url = excluded.icon_url,
                 section = excluded.section,
                 tags = excluded.tags,
                 installed_size = excluded.installed_size,
                 digest = excluded.digest,
                 left_at = NULL,
                 publication = excluded.publication
             WHERE left_at IS NOT NULL",
        )?
        .execute(params![token, source.is_shown_by_contact(), source.source.ranking, slug])?;

    // By way of numbers in ascending order: the search index takes words in that order only, and
    // writes out what it holds at each step back.
    tx.prepare_cached(
        "INSERT INTO temp.flipped
         SELECT number FROM (
             SELECT package.number, package.latest_version,
                 row_number() OVER (
                     PARTITION BY package.package_id, package.architecture
                     ORDER BY package.version_key DESC, package.id DESC
                 ) = 1 AS is_latest
             FROM temp.touched
             CROSS JOIN package ON package.repository_id = ?1
                 AND package.package_id = touched.package_id
                 AND package.architecture = touched.architecture
                 AND package.left_at IS NULL)
         WHERE latest_version <> is_latest",
    )?
    .execute([slug])?;
    tx.prepare_cached(
        "UPDATE package SET latest_version = NOT latest_version, publication = ?1
         WHERE number IN (SELECT number FROM temp.flipped)",
    )?
    .execute([token])?;

    let left: i64 = tx
        .prepare_cached(
            "SELECT count(*) FROM temp.leaving
             CROSS JOIN package ON package.number = leaving.number
             WHERE package.left_at IS NOT NULL",
        )?
        .query_row([], |row| row.get(0))?;
    let packages = summarize(tx, slug)?;
    Ok(Published { put: put as u64, left: unsigned(left), packages })
}

/// Counts the repository's packages and lists their sections; returns how many packages it has.
fn summarize(tx: &Connection, slug: &str) -> Result<u64, Cause> {
    let (mut packages, mut sections) = (0, Vec::new());
    let mut statement = tx.prepare_cached(
        "SELECT section, count(*) FROM package WHERE repository_id = ?1 AND left_at IS NULL
         GROUP BY section",
    )?;
    let mut rows = statement.query([slug])?;
    while let Some(row) = rows.next()? {
        packages += unsigned(row.get(1)?);
        sections.extend(row.get::<_, Option<String>>(0)?);
    }
    tx.prepare_cached("UPDATE repository SET package_count = ?2, sections = ?3 WHERE id = ?1")?
        .execute(params![slug, signed(packages), array(&sections)])?;
    Ok(packages)
}
