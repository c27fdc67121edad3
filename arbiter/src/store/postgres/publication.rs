//! Publication: what is staged under a lease becomes the catalogue's, or nothing does.
//!
//! All of it is SQL over what changed: rows travel from staging to the catalogue without passing
//! through here, and each row of the catalogue is written once at most. In order:
//!
//! 1. What leaves is noted: what was dropped, and what an earlier Canister left of the source.
//! 2. What enters is noted: what was put, but rows whose id is live and stays. So of two stanzas
//!    with one id the first stands; the other's digest stays unknown, is put again at each index,
//!    and changes nothing for as long as the first is there.
//! 3. Among the versions of each package that 1 and 2 touched, the latest is found.
//! 4. What leaves and doesn't enter again leaves; what enters is written; the rest has its
//!    `latest_version` corrected.
//! 5. The repository's own columns follow.
//!
//! A row of another source is never written, whatever its id.
//!
//! What was never analyzed the planner takes for small, and would read a whole source for each row
//! that changed. Where that could happen a lateral subquery with an OFFSET makes it look up row by
//! row in the index that is there for it.

use super::{Cause, Postgres, Tx, count, refused, signed, unsigned};
use crate::schedule::{Ended, SourceClock};
use crate::store::leases::{self, Held};
use crate::store::{
    self, Finished, Report, SourceState, Stage, StoreError, Terms, Verdict, braked, failed, heard,
    is_same_state, is_shown_by_contact, release_hash,
};
use crate::store::{rules, servers, staging};
use crate::timestamp::Timestamp;
use canister_protocol::message::{Blame, Cost, Facts, Origin, Outcome};
use log::debug;

impl Postgres {
    pub(in crate::store) fn finish(
        &mut self,
        peer: &str,
        token: u64,
        outcome: &Outcome,
        cost: &Cost,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Finished, StoreError> {
        let finished = self.write(|tx| {
            let mut held = leases::held(tx, peer, token, now)?;
            let source = store::sources::one(tx, &held.lease.slug)?;
            let mut why = None;
            let mut report = Report { cost: cost.clone(), ..Report::default() };
            let mut finished = Finished {
                slug: held.lease.slug.clone(),
                verdict: Verdict::Indexed,
                put: 0,
                left: 0,
                packages: source.packages,
                due_at: now,
                stands: (source.standing, source.standing),
            };
            let was_fine = source.last_contact.is_some() && source.failures == 0;
            let heard = heard(outcome, was_fine);
            let ended = match outcome {
                Outcome::Indexed { origin, facts, counts } => {
                    // Nobody adds to it from here on.
                    (held.put, held.dropped) = staging::staged(tx, token)?;
                    let here = (held.put, held.dropped);
                    if let Err(why) = store::complete(token, here, counts) {
                        return refused(why);
                    }
                    report.counts = counts.clone();
                    report.error = Some(&*counts.first_skipped).filter(|text| !text.is_empty());
                    match source.discovery {
                        Some(Stage::Look) => {
                            store::discoveries::stage(tx, &finished.slug, Stage::Found, now)?;
                            leases::end(tx, &held, finished.verdict, &report, now)?;
                            return Ok(finished);
                        }
                        Some(Stage::Trust) => {
                            store::discoveries::stage(tx, &finished.slug, Stage::Approved, now)?;
                        }
                        _ => {}
                    }
                    let visible = visible(tx)?;
                    tx.batch("SAVEPOINT publishing")?;
                    repository(tx, &source, origin, facts, now)?;
                    let changed = publish(tx, &held, &source, now)?;
                    store::prices::apply(tx, &finished.slug)?;
                    let packages = changed.packages;
                    let change = braked(&source, origin, packages, visible, now, &terms.brake);
                    if let Some(change) = &change
                        && !rules::is_accepted(tx, change)?
                    {
                        tx.batch("ROLLBACK TO publishing; RELEASE publishing")?;
                        rules::hold(tx, change)?;
                        finished.verdict = Verdict::Held;
                        report.error = Some(why.insert(change.why.clone()));
                    } else {
                        tx.batch("RELEASE publishing")?;
                        tx.execute(
                            "DELETE FROM held WHERE kind = 'source' AND slug = $1",
                            &[&finished.slug],
                        )?;
                        finished.put = changed.put;
                        finished.left = changed.left;
                        finished.packages = packages;
                        contact(tx, &finished.slug, origin)?;
                    }
                    Ended::Contact
                }
                Outcome::Unchanged { origin, facts } => {
                    finished.verdict = Verdict::Unchanged;
                    let Some(remembered) = &source.origin else {
                        return refused(format!(
                            "lease {token}: nothing was published of {} yet, so it can't be \
                             unchanged",
                            finished.slug
                        ));
                    };
                    report.counts.packages = source.packages;
                    if !is_same_state(remembered, origin) {
                        match facts {
                            Some(facts) => repository(tx, &source, origin, facts, now)?,
                            None => move_origin(tx, &finished.slug, origin, now)?,
                        }
                    }
                    contact(tx, &finished.slug, origin)?;
                    Ended::Contact
                }
                Outcome::Failed { blame, reason, status, .. } => {
                    report.error = Some(reason);
                    let before = servers::distance(tx, &source.domain)?;
                    let is_sent_away = before.is_sent_away(heard, *status);
                    let (verdict, ended) = failed(blame, is_sent_away);
                    finished.verdict = verdict;
                    if let (Verdict::SourceFailed, Some(Stage::Look | Stage::Trust)) =
                        (verdict, source.discovery)
                    {
                        store::discoveries::stage(tx, &finished.slug, Stage::Refused, now)?;
                    }
                    ended
                }
            };
            servers::heard(tx, &source.domain, peer, heard, now, &terms.politeness)?;
            let mut clock = source.clock();
            let schedule = terms.polls.of(&source.source);
            clock.after(&finished.slug, ended, now, &schedule);
            let is_served = matches!(ended, Ended::Contact | Ended::SourceFailed);
            if is_served && announcement(tx, &held, outcome)? {
                clock.due_at = now;
            }
            finished.due_at = clock.due_at;
            finished.stands.1 = clock.standing;
            remember(tx, &source, &clock, report.error, now)?;
            leases::end(tx, &held, finished.verdict, &report, now)?;
            Ok(finished)
        })?;
        if finished.put > 0 {
            self.analyze(finished.put);
        }
        Ok(finished)
    }
}

impl Postgres {
    /// Has the planner know of a catalogue that has just grown by a good part; autovacuum would be
    /// a minute late. Where it can't be done now, it is done then.
    fn analyze(&mut self, put: u64) {
        let analyzed = self.write(|tx| {
            let known =
                "SELECT reltuples::bigint FROM pg_class WHERE oid = 'public.package'::regclass";
            let known = tx.one(known, &[])?.get::<_, i64>(0);
            if put > GROWN_MIN && put > unsigned(known) / 10 {
                tx.batch("SET LOCAL lock_timeout = '100ms'; ANALYZE public.package")?;
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

struct Changed {
    put: u64,
    left: u64,
    /// Packages that the source has now.
    packages: u64,
}

/// What one publication touches, for as long as its transaction lasts. The planner looks at how
/// large they are.
const TABLES: &str = "
    CREATE TEMP TABLE IF NOT EXISTS leaving (
        id text COLLATE \"C\" PRIMARY KEY, package_id bigint, section text, known boolean
    ) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS entering (
        id text COLLATE \"C\" PRIMARY KEY, package_id bigint, section text
    ) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS ranked (
        id text COLLATE \"C\" PRIMARY KEY, latest boolean
    ) ON COMMIT DELETE ROWS";

fn publish(
    tx: &mut Tx<'_>,
    held: &Held,
    source: &SourceState,
    now: Timestamp,
) -> Result<Changed, Cause> {
    let slug = &held.lease.slug;
    let token = signed(held.lease.token);
    let has_unknown = tx.one(
        "SELECT EXISTS (SELECT FROM package
             WHERE repository_id = $1 AND digest IS NULL AND left_at IS NULL)",
        &[slug],
    )?;
    let has_unknown: bool = has_unknown.get(0);
    if held.put == 0 && held.dropped == 0 && !has_unknown {
        let packages = source.packages;
        return Ok(Changed { put: 0, left: 0, packages });
    }
    tx.batch(TABLES)?;

    tx.execute(
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
    let put = tx.execute(
        "INSERT INTO pg_temp.entering
         SELECT staging.id, hashtextextended(staging.package_id, 0), staging.section
         FROM staging
         LEFT JOIN package ON package.id = staging.id
         WHERE staging.token = $1
           AND (package.id IS NULL
                OR package.repository_id = $2
                   AND (package.left_at IS NOT NULL
                        OR EXISTS (SELECT FROM pg_temp.leaving WHERE leaving.id = staging.id)))",
        &[&token, slug],
    )?;
    tx.execute(
        "INSERT INTO pg_temp.ranked
         SELECT id, row_number() OVER (
                 PARTITION BY package_id, architecture
                 ORDER BY version_key DESC, id COLLATE \"C\" DESC
             ) = 1
         FROM (
             SELECT package.id, package.package_id, package.architecture, package.version_key
             FROM (SELECT package_id FROM pg_temp.leaving
                   UNION SELECT package_id FROM pg_temp.entering) AS touched
             CROSS JOIN LATERAL (
                 SELECT id, package_id, architecture, version_key FROM package
                 WHERE repository_id = $2
                   AND hashtextextended(package_id, 0) = touched.package_id
                   AND left_at IS NULL
                 OFFSET 0) AS package
             WHERE NOT EXISTS (SELECT FROM pg_temp.leaving WHERE leaving.id = package.id)
             UNION ALL
             SELECT staging.id, staging.package_id, staging.architecture, staging.version_key
             FROM pg_temp.entering
             JOIN staging ON staging.token = $1 AND staging.id = entering.id
         ) AS live",
        &[&token, slug],
    )?;

    let left = tx.execute(
        "UPDATE package SET left_at = $2, visible = false, latest_version = false
         FROM pg_temp.leaving
         WHERE package.id = leaving.id AND package.repository_id = $1
           AND NOT EXISTS (SELECT FROM pg_temp.entering WHERE entering.id = leaving.id)",
        &[slug, &now],
    )?;
    tx.execute(
        "INSERT INTO package (id, package_id, latest_version, visible, quality, repository_id,
             price, version, architecture, package_filename, package_size, sha256_hash, name,
             description, author, maintainer, depiction, native_depiction, sileo_depiction,
             header_url, tint_color, icon_url, section, tags, installed_size, digest, version_key)
         SELECT staging.id, staging.package_id, ranked.latest, $3, $4, $2,
             CASE WHEN staging.price = 'Free' THEN 'Free'
                 ELSE coalesce(
                     (SELECT price.price FROM price
                      WHERE price.slug = $2::varchar AND price.package_id = staging.package_id),
                     staging.price) END,
             version, architecture, package_filename, package_size, sha256_hash, name,
             description, author, maintainer, depiction, native_depiction, sileo_depiction,
             header_url, tint_color, icon_url, staging.section, tags, installed_size, digest,
             version_key
         FROM pg_temp.entering
         JOIN staging ON staging.token = $1 AND staging.id = entering.id
         JOIN pg_temp.ranked ON ranked.id = entering.id
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
             left_at = NULL
         WHERE package.repository_id = excluded.repository_id",
        &[&token, slug, &is_shown_by_contact(source), &i32::from(source.source.ranking)],
    )?;
    tx.execute(
        "UPDATE package SET latest_version = ranked.latest
         FROM pg_temp.ranked
         WHERE package.id = ranked.id AND package.repository_id = $1
           AND package.latest_version <> ranked.latest",
        &[slug],
    )?;
    let packages = summarize(tx, slug, has_unknown)?;
    Ok(Changed { put, left, packages })
}

/// Counts the repository's packages and lists their sections, by what entered and left; returns
/// how many packages it has. What an earlier Canister counted isn't built on: then all are.
fn summarize(tx: &mut Tx<'_>, slug: &str, anew: bool) -> Result<u64, Cause> {
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

/// Writes the repository's columns that come from its source and its Release.
fn repository(
    tx: &mut Tx<'_>,
    state: &SourceState,
    origin: &Origin,
    facts: &Facts,
    now: Timestamp,
) -> Result<(), Cause> {
    let source = &state.source;
    let date = facts.date.and_then(Timestamp::from_secs);
    tx.execute(
        "INSERT INTO repository (id, aliases, visible, quality, package_count, sections, bootstrap,
             uri, suite, component, name, version, description, date, payment_gateway,
             origin_hostname, origin_release_path, origin_release_hash, origin_packages_path,
             origin_packages_hash, origin_last_updated, origin_has_in_release,
             origin_has_release_gpg, origin_supports_payment_v1, origin_supports_payment_v2,
             origin_uses_https, sileo_endpoint)
         VALUES ($1, $2, $3, $4, 0, '{}', $5, $6, $7, $8, $9, $10, $11, $12::text::timestamp, $13,
             $14, $15, $16, $17, $18, $19::text::timestamp, $20, $21, $24::text IS NOT NULL, $22,
             $23, $24)
         ON CONFLICT (id) DO UPDATE SET
             name = excluded.name,
             version = excluded.version,
             description = excluded.description,
             date = excluded.date,
             payment_gateway = excluded.payment_gateway,
             origin_hostname = excluded.origin_hostname,
             origin_release_path = excluded.origin_release_path,
             origin_release_hash = excluded.origin_release_hash,
             origin_packages_path = excluded.origin_packages_path,
             origin_packages_hash = excluded.origin_packages_hash,
             origin_last_updated = excluded.origin_last_updated,
             origin_has_in_release = excluded.origin_has_in_release,
             origin_has_release_gpg = excluded.origin_has_release_gpg,
             origin_supports_payment_v2 = excluded.origin_supports_payment_v2,
             origin_uses_https = excluded.origin_uses_https,
             -- Only asked for when there is a price to ask for.
             origin_supports_payment_v1 = repository.origin_supports_payment_v1
                 OR excluded.origin_supports_payment_v1,
             sileo_endpoint = coalesce(excluded.sileo_endpoint, repository.sileo_endpoint)",
        &[
            &source.slug,
            &source.aliases,
            &is_shown_by_contact(state),
            &i32::from(source.ranking),
            &source.bootstrap,
            &source.uri,
            &source.suite,
            &source.component,
            &facts.name,
            &facts.version,
            &facts.description,
            &date.map(|date| date.to_string()),
            &facts.payment_gateway,
            &source.host(),
            &origin.release_path,
            &release_hash(origin),
            &origin.index_path,
            &origin.index_digest,
            &now.to_string(),
            &facts.has_in_release,
            &facts.has_release_gpg,
            &facts.payment_gateway.is_some(),
            &source.uri.starts_with("https://"),
            &facts.payment_endpoint,
        ],
    )?;
    Ok(())
}

/// As [`repository`], where the Release was not read again.
fn move_origin(tx: &mut Tx<'_>, slug: &str, origin: &Origin, now: Timestamp) -> Result<(), Cause> {
    tx.execute(
        "UPDATE repository SET origin_release_path = $2, origin_release_hash = $3,
             origin_packages_path = $4, origin_packages_hash = $5,
             origin_last_updated = $6::text::timestamp
         WHERE id = $1",
        &[
            &slug,
            &origin.release_path,
            &release_hash(origin),
            &origin.index_path,
            &origin.index_digest,
            &now.to_string(),
        ],
    )?;
    Ok(())
}

/// What the next peer is told of the source's files.
fn contact(tx: &mut Tx<'_>, slug: &str, origin: &Origin) -> Result<(), Cause> {
    tx.execute(
        "UPDATE source SET origin_head = $2, origin_release_path = $3, origin_etag = $4,
             origin_last_modified = $5, origin_index_path = $6, origin_index_digest = $7
         WHERE slug = $1",
        &[
            &slug,
            &origin.head,
            &origin.release_path,
            &origin.etag,
            &origin.last_modified,
            &origin.index_path,
            &origin.index_digest,
        ],
    )?;
    Ok(())
}

/// Whether the source was announced after the lease was granted, and is due because of that: the
/// peer may have read it before. Every other announcement is served by an end that isn't the
/// peer's fault, and one that led to a failure is forgotten, so that it may be said again.
fn announcement(tx: &mut Tx<'_>, held: &Held, outcome: &Outcome) -> Result<bool, Cause> {
    let (found, is_forgotten) = match outcome {
        Outcome::Indexed { origin, .. } | Outcome::Unchanged { origin, .. } => {
            (&*origin.head, false)
        }
        Outcome::Failed { blame, .. } => match blame {
            Blame::Source => ("", true),
            Blame::Peer => return Ok(false),
        },
    };
    let lease = &held.lease;
    let row = tx.one(
        "SELECT announced AND announced_at > $2 AND announced_cid IS DISTINCT FROM $3
         FROM source WHERE slug = $1",
        &[&lease.slug, &lease.granted_at, &found],
    )?;
    let is_newer = row.get::<_, Option<bool>>(0).unwrap_or_default();
    if !is_newer {
        tx.execute(
            "UPDATE source SET announced = false,
                 announced_cid = CASE WHEN $2 THEN NULL ELSE announced_cid END
             WHERE slug = $1 AND (announced OR $2)",
            &[&lease.slug, &is_forgotten],
        )?;
    }
    Ok(is_newer)
}

/// Writes a source's clock after an attempt, and shows or hides it as it stands then.
fn remember(
    tx: &mut Tx<'_>,
    before: &SourceState,
    clock: &SourceClock,
    error: Option<&str>,
    now: Timestamp,
) -> Result<(), Cause> {
    let slug = &before.source.slug;
    // Of what was skipped in an index that was read, the attempt tells.
    let error = error.filter(|_| clock.failing.attempts > 0);
    tx.execute(
        "UPDATE source SET due_at = $2, last_attempt = $3, last_contact = $4, failures = $5,
             failing_since = $6, last_failure = $7, standing = $8,
             stood_at = CASE WHEN standing = $8 THEN stood_at ELSE $3 END,
             last_error = CASE WHEN $5 > failures THEN $9 WHEN $5 = 0 THEN NULL
                 ELSE last_error END
         WHERE slug = $1",
        &[
            slug,
            &clock.due_at,
            &now,
            &clock.last_contact,
            &signed(clock.failing.attempts),
            &clock.failing.since,
            &clock.failing.last,
            &clock.standing.word(),
            &error,
        ],
    )?;
    if clock.standing != before.standing {
        store::sources::show(tx, slug)?;
    }
    Ok(())
}

/// Packages that the catalogue shows.
fn visible(tx: &mut Tx<'_>) -> Result<u64, Cause> {
    let visible = "SELECT coalesce(sum(package_count), 0)::bigint FROM repository WHERE visible";
    Ok(unsigned(tx.one(visible, &[])?.get(0)))
}
