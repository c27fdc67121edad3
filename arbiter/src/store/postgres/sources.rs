//! Sources: what the source list says, what is remembered of each, and its history.

use super::{Alone, Cause, Postgres, Tx, count, discoveries, events, leases, servers, signed};
use crate::announce;
use crate::schedule::Standing;
use crate::sources::{Diff, Known};
use crate::store::{Attempt, Lease, Report, SourceState, Stage, StoreError, Verdict};
use crate::timestamp::Timestamp;
use canister_protocol::Source;
use canister_protocol::message::Origin;
use postgres::Row;

impl Postgres {
    pub(in crate::store) fn known_sources(&mut self) -> Result<Vec<Known>, StoreError> {
        self.read(|tx| {
            let known = tx.query("SELECT * FROM source ORDER BY slug COLLATE \"C\"", &[])?;
            Ok(known
                .iter()
                .map(|row| Known {
                    source: definition(row),
                    is_listed: row.get("listed")
                        && row.get::<_, Option<&str>>("discovery").is_none(),
                })
                .collect())
        })
    }

    pub(in crate::store) fn apply_sources(
        &mut self,
        diff: &Diff,
        now: Timestamp,
    ) -> Result<Vec<Lease>, StoreError> {
        if diff.is_empty() {
            return Ok(Vec::new());
        }
        self.write(|tx| {
            tx.lock(Alone::Listing)?;
            let mut ended = Vec::new();
            for slug in &diff.removed {
                ended.extend(revoke(tx, slug, now)?);
                tx.execute(
                    "UPDATE source SET listed = false, announced = false WHERE slug = $1",
                    &[slug],
                )?;
                show(tx, slug)?;
            }
            for source in &diff.added {
                add(tx, source, now)?;
            }
            for source in diff.changed.iter().chain(&diff.returned) {
                let Some(before) = find(tx, &source.slug)? else {
                    add(tx, source, now)?;
                    continue;
                };
                let is_elsewhere = crate::store::is_elsewhere(&before.source, source);
                if is_elsewhere {
                    ended.extend(revoke(tx, &source.slug, now)?);
                }
                define(tx, source)?;
                adopt(tx, &source.slug)?;
                if is_elsewhere {
                    forget_origin(tx, &source.slug, now)?;
                }
                if !before.is_listed {
                    tx.execute(
                        "UPDATE source SET listed = true, due_at = $2 WHERE slug = $1",
                        &[&source.slug, &now],
                    )?;
                    show(tx, &source.slug)?;
                }
            }
            for slug in twins(tx, diff)? {
                ended.extend(revoke(tx, &slug, now)?);
                discoveries::stage(tx, &slug, Stage::Refused, now)?;
                show(tx, &slug)?;
            }
            servers::regroup(tx)?;
            for lease in &ended {
                events::over(tx, lease, "its source was changed or is listed no more")?;
            }
            events::look(tx)?;
            Ok(ended)
        })
    }

    pub(in crate::store) fn sources(&mut self) -> Result<Vec<SourceState>, StoreError> {
        self.read(all)
    }

    pub(in crate::store) fn source(
        &mut self,
        slug: &str,
    ) -> Result<Option<SourceState>, StoreError> {
        self.read(|tx| find(tx, slug))
    }

    pub(in crate::store) fn attempts(
        &mut self,
        slug: &str,
        limit: usize,
    ) -> Result<Vec<Attempt>, StoreError> {
        self.read(|tx| {
            let attempts = tx.query(
                "SELECT * FROM attempt WHERE slug = $1 ORDER BY token DESC LIMIT $2",
                &[&slug, &signed(limit as u64)],
            )?;
            attempts.iter().map(attempt).collect()
        })
    }

    pub(in crate::store) fn sync(
        &mut self,
        slug: Option<&str>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.write(|tx| {
            let made = tx.execute(
                "UPDATE source SET due_at = least(due_at, $2),
                     announced = announced OR standing = 'delisted'
                 WHERE listed AND blocked IS NULL AND ($1::text IS NULL OR slug = $1)",
                &[&slug, &now],
            )?;
            events::look(tx)?;
            Ok(made)
        })
    }

    pub(in crate::store) fn announce(
        &mut self,
        slug: &str,
        cid: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "UPDATE source SET announced = true, announced_cid = $2, announced_at = $3,
                     due_at = least(due_at, $3)
                 WHERE listed AND slug = $1",
                &[&slug, &cid, &now],
            )?;
            events::look(tx)
        })
    }
}

/// A source that the list names is no discovery any more.
fn adopt(tx: &mut Tx<'_>, slug: &str) -> Result<(), Cause> {
    tx.execute(
        "UPDATE source SET discovery = NULL, discovered_by = NULL, discovered_at = NULL
         WHERE slug = $1 AND discovery IS NOT NULL",
        &[&slug],
    )?;
    Ok(())
}

/// Discovered sources that the list now names by slugs of its own.
fn twins(tx: &mut Tx<'_>, diff: &Diff) -> Result<Vec<String>, Cause> {
    let discovered = tx.query(
        "SELECT slug, uri FROM source WHERE discovery IS NOT NULL AND discovery <> 'refused'",
        &[],
    )?;
    let discovered = discovered.iter().map(|row| (row.get(0), row.get(1)));
    Ok(announce::named_now(discovered.collect(), diff))
}

pub(super) fn add(tx: &mut Tx<'_>, source: &Source, now: Timestamp) -> Result<(), Cause> {
    operator(tx, source)?;
    tx.execute(
        "INSERT INTO source (slug, uri, suite, component, architecture, ranking, aliases,
             bootstrap, operator, listed, due_at, announced, failures, headers)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, true, $10, false, 0, $11)
         ON CONFLICT (slug) DO NOTHING",
        &[
            &source.slug,
            &source.uri,
            &source.suite,
            &source.component,
            &source.architecture,
            &i32::from(source.ranking),
            &source.aliases,
            &source.bootstrap,
            &source.host(),
            &now,
            &source.headers,
        ],
    )?;
    // An earlier Canister's repository is shown as the list says from now on.
    describe(tx, source)?;
    show(tx, &source.slug)
}

/// Every operator has a row, so that there is one to lock.
fn operator(tx: &mut Tx<'_>, source: &Source) -> Result<(), Cause> {
    tx.execute(
        "INSERT INTO operator (name) VALUES ($1) ON CONFLICT (name) DO NOTHING",
        &[&source.host()],
    )?;
    Ok(())
}

/// Writes a changed definition, and the catalogue's columns that come from it.
fn define(tx: &mut Tx<'_>, source: &Source) -> Result<(), Cause> {
    operator(tx, source)?;
    tx.execute(
        "UPDATE source SET uri = $2, suite = $3, component = $4, architecture = $5, ranking = $6,
             aliases = $7, bootstrap = $8, operator = $9, headers = $10
         WHERE slug = $1",
        &[
            &source.slug,
            &source.uri,
            &source.suite,
            &source.component,
            &source.architecture,
            &i32::from(source.ranking),
            &source.aliases,
            &source.bootstrap,
            &source.host(),
            &source.headers,
        ],
    )?;
    describe(tx, source)
}

fn describe(tx: &mut Tx<'_>, source: &Source) -> Result<(), Cause> {
    tx.execute(
        "UPDATE repository SET uri = $2, suite = $3, component = $4, quality = $5, aliases = $6,
             bootstrap = $7
         WHERE id = $1",
        &[
            &source.slug,
            &source.uri,
            &source.suite,
            &source.component,
            &i32::from(source.ranking),
            &source.aliases,
            &source.bootstrap,
        ],
    )?;
    tx.execute(
        "UPDATE package SET quality = $2
         WHERE repository_id = $1 AND left_at IS NULL AND quality <> $2",
        &[&source.slug, &i32::from(source.ranking)],
    )?;
    Ok(())
}

fn forget_origin(tx: &mut Tx<'_>, slug: &str, now: Timestamp) -> Result<(), Cause> {
    tx.execute(
        "UPDATE source SET due_at = $2, failures = 0, failing_since = NULL, last_failure = NULL,
             standing = 'active', last_error = NULL, origin_head = NULL, origin_release_path = NULL,
             origin_etag = NULL, origin_last_modified = NULL, origin_index_path = NULL,
             origin_index_digest = NULL
         WHERE slug = $1",
        &[&slug, &now],
    )?;
    Ok(())
}

/// Shows or hides a source in the catalogue, with its packages, as its columns say now.
pub(super) fn show(tx: &mut Tx<'_>, slug: &str) -> Result<(), Cause> {
    let row = tx.one("SELECT shown FROM source WHERE slug = $1", &[&slug])?;
    let visible: bool = row.get(0);
    tx.execute(
        "UPDATE repository SET visible = $2 WHERE id = $1 AND visible <> $2",
        &[&slug, &visible],
    )?;
    tx.execute(
        "UPDATE package SET visible = $2
         WHERE repository_id = $1 AND left_at IS NULL AND visible <> $2",
        &[&slug, &visible],
    )?;
    Ok(())
}

pub(super) fn revoke(tx: &mut Tx<'_>, slug: &str, now: Timestamp) -> Result<Option<Lease>, Cause> {
    let token = tx.maybe("SELECT token FROM lease WHERE slug = $1", &[&slug])?;
    let Some(token) = token else {
        return Ok(None);
    };
    let Some(held) = leases::locked(tx, count(&token, "token"))? else {
        return Ok(None);
    };
    leases::end(tx, &held, Verdict::Revoked, &Report::default(), now)?;
    Ok(Some(held.lease))
}

pub(super) fn all(tx: &mut Tx<'_>) -> Result<Vec<SourceState>, Cause> {
    let states = tx.query(
        "SELECT source.*, coalesce(package_count, 0) AS packages, lease.token, lease.peer,
             lease.granted_at, lease.expires_at
         FROM source
         LEFT JOIN repository ON repository.id = source.slug
         LEFT JOIN lease ON lease.slug = source.slug
         ORDER BY source.slug COLLATE \"C\"",
        &[],
    )?;
    states.iter().map(state).collect()
}

fn find(tx: &mut Tx<'_>, slug: &str) -> Result<Option<SourceState>, Cause> {
    let row = tx.maybe(
        "SELECT source.*, coalesce(package_count, 0) AS packages, lease.token, lease.peer,
             lease.granted_at, lease.expires_at
         FROM source
         LEFT JOIN repository ON repository.id = source.slug
         LEFT JOIN lease ON lease.slug = source.slug
         WHERE source.slug = $1",
        &[&slug],
    )?;
    row.as_ref().map(state).transpose()
}

/// A source that is known to be there, for a lease refers to it.
pub(super) fn one(tx: &mut Tx<'_>, slug: &str) -> Result<SourceState, Cause> {
    find(tx, slug)?.ok_or_else(|| Cause::Broken(format!("no source {slug}")))
}

/// The schema keeps it from 1 to 5.
pub(super) fn ranking(row: &Row) -> u8 {
    u8::try_from(row.get::<_, i32>("ranking")).unwrap_or(5)
}

fn definition(row: &Row) -> Source {
    Source {
        slug: row.get("slug"),
        uri: row.get("uri"),
        suite: row.get("suite"),
        component: row.get("component"),
        architecture: row.get("architecture"),
        ranking: ranking(row),
        aliases: row.get("aliases"),
        bootstrap: row.get("bootstrap"),
        headers: row.get("headers"),
    }
}

/// A stage as its column has it, which the schema keeps from being anything else.
fn discovery(row: &Row) -> Option<Stage> {
    row.get::<_, Option<&str>>("discovery").and_then(Stage::from_word)
}

pub(super) fn state(row: &Row) -> Result<SourceState, Cause> {
    let source = definition(row);
    let word: &str = row.get("standing");
    let standing =
        Standing::from_word(word).ok_or_else(|| Cause::Broken(format!("standing {word:?}")))?;
    let failing_since: Option<Timestamp> = row.get("failing_since");
    let last_failure: Option<Timestamp> = row.get("last_failure");
    let origin = row.get::<_, Option<String>>("origin_head").map(|head| Origin {
        head,
        release_path: row.get("origin_release_path"),
        etag: row.get("origin_etag"),
        last_modified: row.get("origin_last_modified"),
        index_path: row.get("origin_index_path"),
        index_digest: row.get("origin_index_digest"),
    });
    let lease = row.get::<_, Option<i64>>("token").map(|_| Lease {
        token: count(row, "token"),
        slug: source.slug.clone(),
        peer: row.get("peer"),
        granted_at: row.get("granted_at"),
        expires_at: row.get("expires_at"),
    });
    Ok(SourceState {
        source,
        operator: row.get("operator"),
        domain: row.get("domain"),
        is_listed: row.get("listed"),
        blocked: row.get("blocked"),
        standing,
        failed: failing_since.zip(last_failure),
        due_at: row.get("due_at"),
        is_announced: row.get("announced"),
        announced_cid: row.get("announced_cid"),
        last_contact: row.get("last_contact"),
        last_attempt: row.get("last_attempt"),
        failures: count(row, "failures"),
        last_error: row.get("last_error"),
        origin,
        packages: count(row, "packages"),
        discovery: discovery(row),
        discovered_at: row.get("discovered_at"),
        lease,
    })
}

fn attempt(row: &Row) -> Result<Attempt, Cause> {
    let verdict: String = row.get("verdict");
    Ok(Attempt {
        token: count(row, "token"),
        peer: row.get("peer"),
        started: row.get("started"),
        ended: row.get("ended"),
        verdict: Verdict::from_words(&verdict)
            .ok_or_else(|| Cause::Broken(format!("verdict {verdict:?}")))?,
        requests: count(row, "requests"),
        bytes_fetched: count(row, "bytes_fetched"),
        bytes_plain: count(row, "bytes_plain"),
        millis: count(row, "millis"),
        packages: count(row, "packages"),
        put: count(row, "put"),
        dropped: count(row, "dropped"),
        skipped: count(row, "skipped"),
        error: row.get("error"),
    })
}
