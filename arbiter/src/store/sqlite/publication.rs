//! Publication: what is staged under a lease becomes the catalogue's, or nothing does.
//!
//! All of it is SQL over what changed: rows travel from staging to the catalogue without passing
//! through here. In order:
//!
//! 1. What was dropped leaves (`left_at`, not visible).
//! 2. What was put enters by its id, in the order of the index. Only a row that is not live is
//!    written over. So of two stanzas with one id the first stands; the other's digest stays
//!    unknown, is put again at each index, and changes nothing for as long as the first is there.
//! 3. Among the versions of each package that 1 and 2 touched, the latest is found anew.
//! 4. The repository's own columns follow.

use super::{Cause, Once, Sqlite, array, refused, signed, unsigned};
use crate::schedule::{Ended, SourceClock};
use crate::store::leases::{self, Held};
use crate::store::{
    self, Finished, Report, SourceState, Stage, StoreError, Terms, Verdict, braked, failed, heard,
    is_same_state, is_shown_by_contact, release_hash,
};
use crate::store::{rules, servers};
use crate::timestamp::Timestamp;
use canister_protocol::message::{Blame, Cost, Facts, Origin, Outcome};
use rusqlite::{Connection, params};

impl Sqlite {
    pub(in crate::store) fn finish(
        &mut self,
        peer: &str,
        token: u64,
        outcome: &Outcome,
        cost: &Cost,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Finished, StoreError> {
        self.write(|tx| {
            let held = leases::held(&mut Once(tx), peer, token, now)?;
            let source = store::sources::one(&mut Once(tx), &held.lease.slug)?;
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
                    if let Err(why) = store::complete(token, (held.put, held.dropped), counts) {
                        return refused(why);
                    }
                    report.counts = counts.clone();
                    report.error = Some(&*counts.first_skipped).filter(|text| !text.is_empty());
                    match source.discovery {
                        Some(Stage::Look) => {
                            store::discoveries::stage(
                                &mut Once(tx),
                                &finished.slug,
                                Stage::Found,
                                now,
                            )?;
                            leases::end(&mut Once(tx), &held, finished.verdict, &report, now)?;
                            return Ok(finished);
                        }
                        Some(Stage::Trust) => {
                            store::discoveries::stage(
                                &mut Once(tx),
                                &finished.slug,
                                Stage::Approved,
                                now,
                            )?;
                        }
                        _ => {}
                    }
                    let visible = visible(tx)?;
                    tx.execute_batch("SAVEPOINT publishing")?;
                    repository(tx, &source, origin, facts, now)?;
                    let changed = publish(tx, &held, &source, now)?;
                    store::prices::apply(&mut Once(tx), &finished.slug)?;
                    let packages = summarize(tx, &finished.slug)?;
                    let change = braked(&source, origin, packages, visible, now, &terms.brake);
                    if let Some(change) = &change
                        && !rules::is_accepted(&mut Once(tx), change)?
                    {
                        tx.execute_batch("ROLLBACK TO publishing; RELEASE publishing")?;
                        rules::hold(&mut Once(tx), change)?;
                        finished.verdict = Verdict::Held;
                        report.error = Some(why.insert(change.why.clone()));
                    } else {
                        tx.execute_batch("RELEASE publishing")?;
                        tx.prepare_cached("DELETE FROM held WHERE kind = 'source' AND slug = ?1")?
                            .execute([&finished.slug])?;
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
                    let before = servers::distance(&mut Once(tx), &source.domain)?;
                    let is_sent_away = before.is_sent_away(heard, *status);
                    let (verdict, ended) = failed(blame, is_sent_away);
                    finished.verdict = verdict;
                    if let (Verdict::SourceFailed, Some(Stage::Look | Stage::Trust)) =
                        (verdict, source.discovery)
                    {
                        store::discoveries::stage(
                            &mut Once(tx),
                            &finished.slug,
                            Stage::Refused,
                            now,
                        )?;
                    }
                    ended
                }
            };
            servers::heard(&mut Once(tx), &source.domain, peer, heard, now, &terms.politeness)?;
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
            leases::end(&mut Once(tx), &held, finished.verdict, &report, now)?;
            Ok(finished)
        })
    }
}

/// Tables that live as long as the connection: what one publication touches.
pub(super) fn prepare(connection: &Connection) -> Result<(), Cause> {
    connection.execute_batch(
        "CREATE TEMP TABLE leaving (number INTEGER PRIMARY KEY);
         CREATE TEMP TABLE touched (package_id TEXT, architecture TEXT,
             PRIMARY KEY (package_id, architecture)) WITHOUT ROWID;
         CREATE TEMP TABLE flipped (number INTEGER PRIMARY KEY);",
    )?;
    Ok(())
}

struct Changed {
    put: u64,
    left: u64,
}

fn publish(
    tx: &Connection,
    held: &Held,
    source: &SourceState,
    now: Timestamp,
) -> Result<Changed, Cause> {
    if held.put == 0 && held.dropped == 0 {
        return Ok(Changed { put: 0, left: 0 });
    }
    let slug = &held.lease.slug;
    let token = signed(held.lease.token);
    for table in ["leaving", "touched", "flipped"] {
        tx.prepare_cached(&format!("DELETE FROM temp.{table}"))?.execute([])?;
    }

    tx.prepare_cached(
        "INSERT INTO temp.leaving
         SELECT package.number FROM staging_dropped AS dropped
         CROSS JOIN package ON package.repository_id = ?2 AND package.digest = dropped.digest
             AND package.left_at IS NULL
         WHERE dropped.token = ?1",
    )?
    .execute(params![token, slug])?;
    tx.prepare_cached(
        "INSERT OR IGNORE INTO temp.touched
         SELECT package_id, architecture FROM temp.leaving
         CROSS JOIN package ON package.number = leaving.number
         UNION ALL
         SELECT package_id, architecture FROM staging WHERE token = ?1",
    )?
    .execute([token])?;
    tx.prepare_cached(
        "UPDATE package SET left_at = ?1, visible = 0, latest_version = 0
         WHERE number IN (SELECT number FROM temp.leaving)",
    )?
    .execute([now])?;

    let put = tx
        .prepare_cached(
            "INSERT INTO package (id, package_id, latest_version, visible, quality, repository_id,
                 price, version, architecture, package_filename, package_size, sha256_hash, name,
                 description, author, maintainer, depiction, native_depiction, sileo_depiction,
                 header_url, tint_color, icon_url, section, tags, installed_size, digest,
                 version_key)
             SELECT id, package_id, 0, ?2, ?3, ?4,
                 price, version, architecture, package_filename, package_size, sha256_hash, name,
                 description, author, maintainer, depiction, native_depiction, sileo_depiction,
                 header_url, tint_color, icon_url, section, tags, installed_size, digest,
                 version_key
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
                 left_at = NULL
             WHERE left_at IS NOT NULL",
        )?
        .execute(params![token, is_shown_by_contact(source), source.source.ranking, slug])?;

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
        "UPDATE package SET latest_version = NOT latest_version
         WHERE number IN (SELECT number FROM temp.flipped)",
    )?
    .execute([])?;

    let left: i64 = tx
        .prepare_cached(
            "SELECT count(*) FROM temp.leaving
             CROSS JOIN package ON package.number = leaving.number
             WHERE package.left_at IS NOT NULL",
        )?
        .query_row([], |row| row.get(0))?;
    Ok(Changed { put: put as u64, left: unsigned(left) })
}

/// Writes the repository's columns that come from its source and its Release.
fn repository(
    tx: &Connection,
    state: &SourceState,
    origin: &Origin,
    facts: &Facts,
    now: Timestamp,
) -> Result<(), Cause> {
    let source = &state.source;
    let date = facts.date.and_then(Timestamp::from_secs);
    tx.prepare_cached(
        "INSERT INTO repository (id, aliases, visible, quality, package_count, sections, bootstrap,
             uri, suite, component, name, version, description, date, payment_gateway,
             origin_hostname, origin_release_path, origin_release_hash, origin_packages_path,
             origin_packages_hash, origin_last_updated, origin_has_in_release,
             origin_has_release_gpg, origin_supports_payment_v1, origin_supports_payment_v2,
             origin_uses_https, sileo_endpoint)
         VALUES (?1, ?2, ?3, ?4, 0, '[]', ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
             ?17, ?18, ?19, ?20, ?21, ?24 IS NOT NULL, ?22, ?23, ?24)
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
             origin_supports_payment_v1 =
                 max(origin_supports_payment_v1, excluded.origin_supports_payment_v1),
             sileo_endpoint = coalesce(excluded.sileo_endpoint, sileo_endpoint)",
    )?
    .execute(params![
        source.slug,
        array(&source.aliases),
        is_shown_by_contact(state),
        source.ranking,
        source.bootstrap,
        source.uri,
        source.suite,
        source.component,
        facts.name,
        facts.version,
        facts.description,
        date.map(|date| date.to_string()),
        facts.payment_gateway,
        source.host(),
        origin.release_path,
        release_hash(origin),
        origin.index_path,
        origin.index_digest,
        now.to_string(),
        facts.has_in_release,
        facts.has_release_gpg,
        facts.payment_gateway.is_some(),
        source.uri.starts_with("https://"),
        facts.payment_endpoint,
    ])?;
    Ok(())
}

/// As [`repository`], where the Release was not read again.
fn move_origin(tx: &Connection, slug: &str, origin: &Origin, now: Timestamp) -> Result<(), Cause> {
    tx.prepare_cached(
        "UPDATE repository SET origin_release_path = ?2, origin_release_hash = ?3,
             origin_packages_path = ?4, origin_packages_hash = ?5, origin_last_updated = ?6
         WHERE id = ?1",
    )?
    .execute(params![
        slug,
        origin.release_path,
        release_hash(origin),
        origin.index_path,
        origin.index_digest,
        now.to_string(),
    ])?;
    Ok(())
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

/// What the next peer is told of the source's files.
fn contact(tx: &Connection, slug: &str, origin: &Origin) -> Result<(), Cause> {
    tx.prepare_cached(
        "UPDATE source SET origin_head = ?2, origin_release_path = ?3, origin_etag = ?4,
             origin_last_modified = ?5, origin_index_path = ?6, origin_index_digest = ?7
         WHERE slug = ?1",
    )?
    .execute(params![
        slug,
        origin.head,
        origin.release_path,
        origin.etag,
        origin.last_modified,
        origin.index_path,
        origin.index_digest,
    ])?;
    Ok(())
}

/// Whether the source was announced after the lease was granted, and is due because of that: the
/// peer may have read it before. Every other announcement is served by an end that isn't the
/// peer's fault, and one that led to a failure is forgotten, so that it may be said again.
fn announcement(tx: &Connection, held: &Held, outcome: &Outcome) -> Result<bool, Cause> {
    let (found, is_forgotten) = match outcome {
        Outcome::Indexed { origin, .. } | Outcome::Unchanged { origin, .. } => {
            (&*origin.head, false)
        }
        Outcome::Failed { blame, .. } => match blame {
            Blame::Source => ("", true),
            Blame::Peer => return Ok(false),
        },
    };
    let is_newer: bool = tx
        .prepare_cached(
            "SELECT announced AND announced_at > ?2 AND announced_cid IS NOT ?3
             FROM source WHERE slug = ?1",
        )?
        .query_row(params![held.lease.slug, held.lease.granted_at, found], |row| {
            row.get::<_, Option<bool>>(0).map(Option::unwrap_or_default)
        })?;
    if !is_newer {
        tx.prepare_cached(
            "UPDATE source SET announced = 0, announced_cid = iif(?2, NULL, announced_cid)
             WHERE slug = ?1",
        )?
        .execute(params![held.lease.slug, is_forgotten])?;
    }
    Ok(is_newer)
}

/// Writes a source's clock after an attempt, and shows or hides it as it stands then.
fn remember(
    tx: &Connection,
    before: &SourceState,
    clock: &SourceClock,
    error: Option<&str>,
    now: Timestamp,
) -> Result<(), Cause> {
    let slug = &before.source.slug;
    // Of what was skipped in an index that was read, the attempt tells.
    let error = error.filter(|_| clock.failing.attempts > 0);
    tx.prepare_cached(
        "UPDATE source SET due_at = ?2, last_attempt = ?3, last_contact = ?4, failures = ?5,
             failing_since = ?6, last_failure = ?7, standing = ?8,
             stood_at = iif(standing = ?8, stood_at, ?3),
             last_error = iif(?5 > failures, ?9, iif(?5 = 0, NULL, last_error))
         WHERE slug = ?1",
    )?
    .execute(params![
        slug,
        clock.due_at,
        now,
        clock.last_contact,
        signed(clock.failing.attempts),
        clock.failing.since,
        clock.failing.last,
        clock.standing.word(),
        error,
    ])?;
    if clock.standing != before.standing {
        store::sources::show(&mut Once(tx), slug)?;
    }
    Ok(())
}

/// Packages that the catalogue shows.
fn visible(tx: &Connection) -> Result<u64, Cause> {
    let visible = tx
        .prepare_cached("SELECT ifnull(sum(package_count), 0) FROM repository WHERE visible")?
        .query_row([], |row| row.get(0).map(unsigned))?;
    Ok(visible)
}
