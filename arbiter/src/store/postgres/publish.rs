//! Publication: what is staged under a lease becomes its source's packages.
//!
//! All of it is SQL over what changed: rows travel from staging to the catalogue without passing
//! through here, and each row of the catalogue is written once at most. First [`compare`] notes,
//! without writing to the catalogue:
//!
//! 1. What leaves: what was dropped, and what an earlier Canister left of the source.
//! 2. What enters: what was put, but rows whose id is live and stays. So of two stanzas with one id
//!    the first stands; the other's digest stays unknown, is put again at each index, and changes
//!    nothing for as long as the first is there.
//!
//! Then [`publish`] locks rows of the source's own packages and no others:
//!
//! 3. What leaves and doesn't enter again leaves.
//! 4. What enters is written by one statement, which finds as well which version of each package is its
//!    latest.
//! 5. The other versions of the packages that 1 and 2 touched have their `latest_version` corrected.
//! 6. The repository's packages are counted.
//!
//! A row of another source is never written, whatever its id.
//!
//! What was never analyzed the planner takes for small, and would read a whole source for each row
//! that changed. Where that could happen a lateral subquery with an OFFSET makes it look up row by
//! row in the index that is there for it.

use super::{Cause, Postgres, PostgresTx, count, signed, unsigned};
use crate::rules::timestamp::Timestamp;
use crate::store::SourceState;
use crate::store::values::StagedLease;
use crate::store::values::{Differences, Published};
use log::debug;

impl Postgres {
    /// Has the planner know of a catalogue that has just grown by a good part; autovacuum would be
    /// a minute late. Where it can't be done now, it is done then.
    pub(in crate::store) fn analyze(&mut self, put: u64) {
        let analyzed = self.write(|tx| {
            let known =
                "SELECT reltuples::bigint FROM pg_class WHERE oid = 'arbiter.package'::regclass";
            let known = tx.one(known, &[])?.get::<_, i64>(0);
            if put > GROWN_MIN && put > unsigned(known) / 10 {
                tx.batch("SET LOCAL lock_timeout = '100ms'; ANALYZE arbiter.package")?;
            }
            Ok(())
        });
        if let Err(cause) = analyzed {
            debug!(cause:%; "the catalogue wasn't analyzed");
        }
    }
}

/// Rows that a publication writes at least before the planner is told of it.
const GROWN_MIN: u64 = 1000;

/// What one publication touches, for as long as its transaction lasts. Plans are made anew each time, for the
/// sizes of these and of staging differ by orders of magnitude.
///
/// Ids are C here and in staging, for they are sorted, and of the database's collation in `package`. Where
/// that is looked up by one of these it says `COLLATE "default"`: its index serves no other comparison.
const TABLES: &str = "
    SET LOCAL plan_cache_mode = force_custom_plan;
    CREATE TEMP TABLE IF NOT EXISTS leaving (
        id text COLLATE \"C\" PRIMARY KEY, package_id bigint, section text, known boolean
    ) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS entering (
        id text COLLATE \"C\", place bigint, package_id bigint, section text, is_there boolean
    ) ON COMMIT DELETE ROWS";

/// Notes what leaves and what enters; what that changes.
pub(super) fn compare(
    tx: &mut PostgresTx<'_>,
    source: &SourceState,
    held: &StagedLease,
) -> Result<Differences, Cause> {
    let (slug, token) = (&source.source.slug, signed(held.lease.token));
    let has_unknown = tx.one(
        "SELECT EXISTS (SELECT FROM package
             WHERE repository_id = $1 AND digest IS NULL AND left_at IS NULL)",
        &[slug],
    )?;
    if held.put == 0 && held.dropped == 0 && !has_unknown.get::<_, bool>(0) {
        return Ok(Differences::default());
    }
    tx.batch(TABLES)?;

    let leaving = tx.execute(
        "INSERT INTO pg_temp.leaving
         SELECT package.id, hashtextextended(package.package_id, 0), section, true
         FROM staging_dropped AS dropped
         CROSS JOIN LATERAL (
             SELECT id, package_id, section FROM package
             WHERE repository_id = $2 AND digest = dropped.digest AND left_at IS NULL
             OFFSET 0) AS package
         WHERE dropped.token = $1
         UNION ALL
         SELECT id, hashtextextended(package_id, 0), section, false
         FROM package
         WHERE repository_id = $2 AND digest IS NULL AND left_at IS NULL",
        &[&token, slug],
    )?;
    let entering = tx.execute(
        "INSERT INTO pg_temp.entering
         SELECT DISTINCT ON (staging.id) staging.id, staging.place,
             hashtextextended(staging.package_id, 0), staging.section, package.id IS NOT NULL
         FROM staging
         LEFT JOIN package ON package.id = staging.id COLLATE \"default\"
         WHERE staging.token = $1
           AND (package.id IS NULL
                OR package.repository_id = $2
                   AND (package.left_at IS NOT NULL
                        OR EXISTS (SELECT FROM pg_temp.leaving WHERE leaving.id = staging.id)))
         ORDER BY staging.id, staging.place",
        &[&token, slug],
    )?;
    let lost = match leaving {
        0 => 0,
        _ => names(
            tx,
            "SELECT count(DISTINCT leaving.package_id)
             FROM pg_temp.leaving
             LEFT JOIN LATERAL (
                 SELECT true AS is_there FROM package
                 WHERE repository_id = $1
                   AND hashtextextended(package_id, 0) = leaving.package_id
                   AND left_at IS NULL
                   AND NOT EXISTS (SELECT FROM pg_temp.leaving AS other WHERE other.id = package.id)
                 LIMIT 1 OFFSET 0) AS staying ON true
             WHERE staying.is_there IS NULL
               AND NOT EXISTS (SELECT FROM pg_temp.entering
                   WHERE entering.package_id = leaving.package_id)",
            slug,
        )?,
    };
    let gained = match (entering, source.names) {
        (0, _) => 0,
        (_, 0) => names(
            tx,
            "SELECT count(DISTINCT package_id) FROM pg_temp.entering WHERE $1::text IS NOT NULL",
            slug,
        )?,
        _ => names(
            tx,
            "SELECT count(DISTINCT entering.package_id)
             FROM pg_temp.entering
             LEFT JOIN LATERAL (
                 SELECT true AS is_there FROM package
                 WHERE repository_id = $1
                   AND hashtextextended(package_id, 0) = entering.package_id
                   AND left_at IS NULL
                 LIMIT 1 OFFSET 0) AS before ON true
             WHERE before.is_there IS NULL",
            slug,
        )?,
    };
    Ok(Differences { is_any: leaving + entering > 0, lost, gained })
}

/// How many names a query finds in the source `slug`, each by its hash.
fn names(tx: &mut PostgresTx<'_>, sql: &'static str, slug: &str) -> Result<u64, Cause> {
    Ok(unsigned(tx.one(sql, &[&slug])?.get(0)))
}

macro_rules! entering {
    ($known:literal) => {
        concat!(
            "INSERT INTO package (id, package_id, latest_version, visible, quality, repository_id,
             price, version, architecture, package_filename, package_size, sha256_hash, name,
             description, author, maintainer, depiction, native_depiction, sileo_depiction,
             header_url, tint_color, icon_url, section, tags, installed_size, digest, version_key,
             publication)
         SELECT staging.id, staging.package_id, ranked.latest, $3, $4, $2,
             CASE WHEN staging.price = 'Free' THEN 'Free'
                 ELSE coalesce(
                     (SELECT price.price FROM price
                      WHERE price.slug = $2::varchar AND price.package_id = staging.package_id),
                     staging.price) END,
             version, architecture, package_filename, package_size, sha256_hash, name,
             description, author, maintainer, depiction, native_depiction, sileo_depiction,
             header_url, tint_color, icon_url, staging.section, tags, installed_size, digest,
             version_key, $1
         FROM (
             SELECT id, place, row_number() OVER (
                     PARTITION BY package_id, architecture
                     ORDER BY version_key DESC, id COLLATE \"C\" DESC
                 ) = 1 AS latest
             FROM (
                 SELECT package.id, NULL::bigint AS place, package.package_id,
                     package.architecture, package.version_key
                 FROM (SELECT DISTINCT package_id FROM pg_temp.entering) AS touched
                 CROSS JOIN LATERAL (
                     SELECT id, package_id, architecture, version_key FROM package
                     WHERE repository_id = $2
                       AND hashtextextended(package_id, 0) = touched.package_id
                       AND left_at IS NULL
                     OFFSET 0) AS package
                 WHERE $5
                   AND NOT EXISTS (SELECT FROM pg_temp.leaving WHERE leaving.id = package.id)
                 UNION ALL
                 SELECT staging.id, staging.place, staging.package_id, staging.architecture,
                     staging.version_key
                 FROM pg_temp.entering
                 JOIN staging ON staging.token = $1 AND staging.place = entering.place
                     AND staging.id = entering.id
             ) AS live
         ) AS ranked
         JOIN staging ON staging.token = $1 AND staging.place = ranked.place
             AND staging.id = ranked.id",
            $known
        )
    };
}

/// Writes what enters, and which of it is the latest of its package.
const ENTERING: &str = entering!("");
/// The same where some of it is there under the same ids, which is dearer.
const RETURNING: &str = entering!(
    "
         ON CONFLICT (id) DO UPDATE SET
             latest_version = excluded.latest_version,
             visible = excluded.visible,
             quality = excluded.quality,
             price = excluded.price,
             package_id = excluded.package_id,
             version = excluded.version,
             architecture = excluded.architecture,
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
             version_key = excluded.version_key,
             left_at = NULL,
             publication = excluded.publication
         WHERE package.repository_id = excluded.repository_id"
);

/// Does what was noted.
pub(super) fn publish(
    tx: &mut PostgresTx<'_>,
    source: &SourceState,
    held: &StagedLease,
    now: Timestamp,
) -> Result<Published, Cause> {
    let (slug, token) = (&source.source.slug, signed(held.lease.token));
    let row = tx.one(
        "SELECT count(*), coalesce(bool_or(is_there), false),
             EXISTS (SELECT FROM pg_temp.leaving),
             EXISTS (SELECT FROM pg_temp.leaving WHERE NOT known)
         FROM pg_temp.entering",
        &[],
    )?;
    let put = unsigned(row.get(0));
    let (is_back, is_leaving, has_unknown): (bool, bool, bool) =
        (row.get(1), row.get(2), row.get(3));
    let mut left = 0;
    if is_leaving {
        left = tx.execute(
            "UPDATE package SET left_at = $2, visible = false, latest_version = false,
                 publication = $3
             FROM pg_temp.leaving
             WHERE package.id = leaving.id COLLATE \"default\" AND package.repository_id = $1
               AND NOT EXISTS (SELECT FROM pg_temp.entering WHERE entering.id = leaving.id)",
            &[slug, &now, &token],
        )?;
    }
    let has_others =
        "SELECT EXISTS (SELECT FROM package WHERE repository_id = $1 AND left_at IS NULL)";
    let has_others: bool = tx.one(has_others, &[slug])?.get(0);
    tx.execute(
        if is_back { RETURNING } else { ENTERING },
        &[
            &token,
            slug,
            &source.is_shown_by_contact(),
            &i32::from(source.source.ranking),
            &has_others,
        ],
    )?;
    if has_others {
        tx.execute(
            "UPDATE package SET latest_version = NOT latest_version, publication = $2
             WHERE repository_id = $1 AND id = ANY (ARRAY(
                 SELECT id FROM (
                     SELECT package.id, latest_version, row_number() OVER (
                             PARTITION BY package.package_id, architecture
                             ORDER BY version_key DESC, id COLLATE \"C\" DESC
                         ) = 1 AS latest
                     FROM (SELECT package_id FROM pg_temp.leaving
                           UNION SELECT package_id FROM pg_temp.entering) AS touched
                     CROSS JOIN LATERAL (
                         SELECT id, package_id, architecture, version_key, latest_version
                         FROM package
                         WHERE repository_id = $1
                           AND hashtextextended(package_id, 0) = touched.package_id
                           AND left_at IS NULL
                         OFFSET 0) AS package
                 ) AS ranked
                 WHERE latest_version <> latest))",
            &[slug, &token],
        )?;
    }
    let packages = summarize(tx, slug, has_unknown)?;
    Ok(Published { put, left, packages })
}

/// Counts the repository's packages and lists their sections, by what entered and left; returns
/// how many packages it has. What an earlier Canister counted isn't built on: then all are.
fn summarize(tx: &mut PostgresTx<'_>, slug: &str, anew: bool) -> Result<u64, Cause> {
    let row = if anew {
        tx.one(
            "UPDATE repository SET (package_count, sections) = (
                 SELECT count(*), coalesce(array_agg(DISTINCT section COLLATE \"C\")
                     FILTER (WHERE section IS NOT NULL), '{}')
                 FROM package WHERE repository_id = $1 AND left_at IS NULL)
             WHERE id = $1
             RETURNING package_count",
            &[&slug],
        )?
    } else {
        tx.one(
            "UPDATE repository SET
                 package_count = package_count + (SELECT count(*) FROM pg_temp.entering)
                     - (SELECT count(*) FROM pg_temp.leaving),
                 sections = (
                     SELECT coalesce(array_agg(section ORDER BY section COLLATE \"C\"), '{}')
                     FROM (
                         SELECT section FROM unnest(repository.sections) AS before (section)
                         WHERE section NOT IN (
                                 SELECT section FROM pg_temp.leaving WHERE section IS NOT NULL)
                             OR EXISTS (
                                 SELECT FROM package
                                 WHERE repository_id = $1 AND left_at IS NULL
                                   AND hashtextextended(package.section, 0)
                                       = hashtextextended(before.section, 0)
                                   AND package.section = before.section)
                         UNION
                         SELECT section FROM pg_temp.entering WHERE section IS NOT NULL
                     ) AS now)
             WHERE id = $1
             RETURNING package_count",
            &[&slug],
        )?
    };
    Ok(count(&row, "package_count"))
}
