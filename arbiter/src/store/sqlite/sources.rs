//! Sources: what the source list says, what is remembered of each, and its history.

use super::{Cause, Sqlite, array, count, discoveries, leases, servers, signed};
use crate::announce;
use crate::schedule::Standing;
use crate::sources::{Diff, Known};
use crate::store::{Attempt, Lease, Report, SourceState, Stage, StoreError, Verdict, is_elsewhere};
use crate::timestamp::Timestamp;
use canister_protocol::Source;
use canister_protocol::message::Origin;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

impl Sqlite {
    pub(in crate::store) fn known_sources(&mut self) -> Result<Vec<Known>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT * FROM source ORDER BY slug")?;
            let known = statement.query_map([], |row| {
                Ok(Known {
                    source: definition(row)?,
                    is_listed: row.get("listed")?
                        && row.get::<_, Option<String>>("discovery")?.is_none(),
                })
            })?;
            Ok(known.collect::<Result<_, _>>()?)
        })
    }

    pub(in crate::store) fn apply_sources(
        &mut self,
        diff: &Diff,
        now: Timestamp,
    ) -> Result<Vec<Lease>, StoreError> {
        self.write(|tx| {
            let mut ended = Vec::new();
            for slug in &diff.removed {
                tx.prepare_cached("UPDATE source SET listed = 0, announced = 0 WHERE slug = ?1")?
                    .execute([slug])?;
                show(tx, slug)?;
                ended.extend(revoke(tx, slug, now)?);
            }
            for source in &diff.added {
                add(tx, source, now)?;
            }
            for source in diff.changed.iter().chain(&diff.returned) {
                let Some(before) = find(tx, &source.slug)? else {
                    add(tx, source, now)?;
                    continue;
                };
                define(tx, source)?;
                adopt(tx, &source.slug)?;
                if is_elsewhere(&before.source, source) {
                    forget_origin(tx, &source.slug, now)?;
                    ended.extend(revoke(tx, &source.slug, now)?);
                }
                if !before.is_listed {
                    tx.prepare_cached("UPDATE source SET listed = 1, due_at = ?2 WHERE slug = ?1")?
                        .execute(params![source.slug, now])?;
                    show(tx, &source.slug)?;
                }
            }
            for slug in twins(tx, diff)? {
                discoveries::stage(tx, &slug, Stage::Refused, now)?;
                show(tx, &slug)?;
                ended.extend(revoke(tx, &slug, now)?);
            }
            servers::regroup(tx)?;
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
        self.read(|connection| find(connection, slug))
    }

    pub(in crate::store) fn attempts(
        &mut self,
        slug: &str,
        limit: usize,
    ) -> Result<Vec<Attempt>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT * FROM attempt WHERE slug = ?1 ORDER BY number DESC LIMIT ?2",
            )?;
            let attempts = statement.query_map(params![slug, signed(limit as u64)], attempt)?;
            Ok(attempts.collect::<Result<_, _>>()?)
        })
    }

    pub(in crate::store) fn sync(
        &mut self,
        slug: Option<&str>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.write(|tx| {
            let made = tx
                .prepare_cached(
                    "UPDATE source SET due_at = min(due_at, ?2),
                         announced = announced OR standing = 'delisted'
                     WHERE listed AND blocked IS NULL AND (?1 IS NULL OR slug = ?1)",
                )?
                .execute(params![slug, now])?;
            Ok(made as u64)
        })
    }

    pub(in crate::store) fn announce(
        &mut self,
        slug: &str,
        cid: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.prepare_cached(
                "UPDATE source SET announced = 1, announced_cid = ?2, announced_at = ?3,
                     due_at = min(due_at, ?3)
                 WHERE listed AND slug = ?1",
            )?
            .execute(params![slug, cid, now])?;
            Ok(())
        })
    }
}

/// A source that the list names is no discovery any more.
fn adopt(tx: &Connection, slug: &str) -> Result<(), Cause> {
    tx.prepare_cached(
        "UPDATE source SET discovery = NULL, discovered_by = NULL, discovered_at = NULL
         WHERE slug = ?1 AND discovery IS NOT NULL",
    )?
    .execute([slug])?;
    Ok(())
}

/// Discovered sources that the list now names by slugs of its own.
fn twins(tx: &Connection, diff: &Diff) -> Result<Vec<String>, Cause> {
    let mut statement = tx.prepare_cached(
        "SELECT slug, uri FROM source WHERE discovery IS NOT NULL AND discovery <> 'refused'",
    )?;
    let discovered = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let discovered: Vec<(String, String)> = discovered.collect::<Result<_, _>>()?;
    Ok(announce::named_now(discovered, diff))
}

pub(super) fn add(tx: &Connection, source: &Source, now: Timestamp) -> Result<(), Cause> {
    tx.prepare_cached(
        "INSERT OR IGNORE INTO source (slug, uri, suite, component, architecture, ranking, aliases,
             bootstrap, operator, listed, due_at, announced, failures, headers)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1, ?10, 0, 0, ?11)",
    )?
    .execute(params![
        source.slug,
        source.uri,
        source.suite,
        source.component,
        source.architecture,
        source.ranking,
        array(&source.aliases),
        source.bootstrap,
        source.host(),
        now,
        array(&source.headers),
    ])?;
    Ok(())
}

/// Writes a changed definition, and the catalogue's columns that come from it.
fn define(tx: &Connection, source: &Source) -> Result<(), Cause> {
    tx.prepare_cached(
        "UPDATE source SET uri = ?2, suite = ?3, component = ?4, architecture = ?5, ranking = ?6,
             aliases = ?7, bootstrap = ?8, operator = ?9, headers = ?10
         WHERE slug = ?1",
    )?
    .execute(params![
        source.slug,
        source.uri,
        source.suite,
        source.component,
        source.architecture,
        source.ranking,
        array(&source.aliases),
        source.bootstrap,
        source.host(),
        array(&source.headers),
    ])?;
    tx.prepare_cached(
        "UPDATE repository SET uri = ?2, suite = ?3, component = ?4, quality = ?5, aliases = ?6,
             bootstrap = ?7
         WHERE id = ?1",
    )?
    .execute(params![
        source.slug,
        source.uri,
        source.suite,
        source.component,
        source.ranking,
        array(&source.aliases),
        source.bootstrap,
    ])?;
    tx.prepare_cached(
        "UPDATE package SET quality = ?2
         WHERE repository_id = ?1 AND left_at IS NULL AND quality <> ?2",
    )?
    .execute(params![source.slug, source.ranking])?;
    Ok(())
}

fn forget_origin(tx: &Connection, slug: &str, now: Timestamp) -> Result<(), Cause> {
    tx.prepare_cached(
        "UPDATE source SET due_at = ?2, failures = 0, failing_since = NULL, last_failure = NULL,
             standing = 'active', last_error = NULL, origin_head = NULL,
             origin_release_path = NULL, origin_etag = NULL, origin_last_modified = NULL,
             origin_index_path = NULL, origin_index_digest = NULL
         WHERE slug = ?1",
    )?
    .execute(params![slug, now])?;
    Ok(())
}

/// Shows or hides a source in the catalogue, with its packages, as its columns say now.
pub(super) fn show(tx: &Connection, slug: &str) -> Result<(), Cause> {
    let visible: bool = tx
        .prepare_cached("SELECT shown FROM source WHERE slug = ?1")?
        .query_row([slug], |row| row.get(0))?;
    tx.prepare_cached("UPDATE repository SET visible = ?2 WHERE id = ?1")?
        .execute(params![slug, visible])?;
    // By number, in ascending order: the search index takes words in that order only, and writes
    // out what it holds at each step back. Only what changes: a row that was visible and stays so
    // would be taken out of the search index after it was put in.
    tx.prepare_cached(
        "UPDATE package SET visible = ?2 WHERE number IN
             (SELECT number FROM package
              WHERE repository_id = ?1 AND left_at IS NULL AND visible <> ?2)",
    )?
    .execute(params![slug, visible])?;
    Ok(())
}

pub(super) fn revoke(tx: &Connection, slug: &str, now: Timestamp) -> Result<Option<Lease>, Cause> {
    let Some(held) = leases::leases(tx, "slug = ?1", [slug])?.pop() else {
        return Ok(None);
    };
    leases::end(tx, &held, Verdict::Revoked, &Report::default(), now)?;
    Ok(Some(held.lease))
}

const STATE: &str = "
    SELECT source.*, ifnull(package_count, 0) AS packages,
        lease.token AS token, lease.peer AS peer, lease.granted_at AS granted_at,
        lease.expires_at AS expires_at
    FROM source
    LEFT JOIN repository ON repository.id = source.slug
    LEFT JOIN lease ON lease.slug = source.slug";

pub(super) fn all(connection: &Connection) -> Result<Vec<SourceState>, Cause> {
    let mut statement = connection.prepare_cached(&format!("{STATE} ORDER BY source.slug"))?;
    let states = statement.query_map([], state)?;
    Ok(states.collect::<Result<_, _>>()?)
}

fn find(connection: &Connection, slug: &str) -> Result<Option<SourceState>, Cause> {
    Ok(connection
        .prepare_cached(&format!("{STATE} WHERE source.slug = ?1"))?
        .query_row([slug], state)
        .optional()?)
}

/// A source that is known to be there, for a lease refers to it.
pub(super) fn one(tx: &Connection, slug: &str) -> Result<SourceState, Cause> {
    find(tx, slug)?.ok_or(Cause::Sqlite(rusqlite::Error::QueryReturnedNoRows))
}

/// A JSON array of strings.
fn texts(row: &Row<'_>, column: &str) -> rusqlite::Result<Vec<String>> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|cause| {
        let column = row.as_ref().column_index(column).unwrap_or_default();
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(cause))
    })
}

fn definition(row: &Row<'_>) -> rusqlite::Result<Source> {
    Ok(Source {
        slug: row.get("slug")?,
        uri: row.get("uri")?,
        suite: row.get("suite")?,
        component: row.get("component")?,
        architecture: row.get("architecture")?,
        ranking: row.get("ranking")?,
        aliases: texts(row, "aliases")?,
        bootstrap: row.get("bootstrap")?,
        headers: texts(row, "headers")?,
    })
}

fn state(row: &Row<'_>) -> rusqlite::Result<SourceState> {
    let source = definition(row)?;
    let word: String = row.get("standing")?;
    let standing = Standing::from_word(&word)
        .ok_or_else(|| rusqlite::Error::InvalidColumnName(format!("standing {word:?}")))?;
    let failing_since: Option<Timestamp> = row.get("failing_since")?;
    let last_failure: Option<Timestamp> = row.get("last_failure")?;
    let origin = match row.get("origin_head")? {
        None => None,
        Some(head) => Some(Origin {
            head,
            release_path: row.get("origin_release_path")?,
            etag: row.get("origin_etag")?,
            last_modified: row.get("origin_last_modified")?,
            index_path: row.get("origin_index_path")?,
            index_digest: row.get("origin_index_digest")?,
        }),
    };
    let lease = match row.get::<_, Option<i64>>("token")? {
        None => None,
        Some(_) => Some(Lease {
            token: count(row, "token")?,
            slug: source.slug.clone(),
            peer: row.get("peer")?,
            granted_at: row.get("granted_at")?,
            expires_at: row.get("expires_at")?,
        }),
    };
    Ok(SourceState {
        source,
        operator: row.get("operator")?,
        domain: row.get("domain")?,
        is_listed: row.get("listed")?,
        blocked: row.get("blocked")?,
        standing,
        failed: failing_since.zip(last_failure),
        due_at: row.get("due_at")?,
        is_announced: row.get("announced")?,
        announced_cid: row.get("announced_cid")?,
        last_contact: row.get("last_contact")?,
        last_attempt: row.get("last_attempt")?,
        failures: count(row, "failures")?,
        last_error: row.get("last_error")?,
        origin,
        packages: count(row, "packages")?,
        discovery: match row.get::<_, Option<String>>("discovery")? {
            None => None,
            Some(word) => Some(Stage::from_word(&word).ok_or_else(|| {
                rusqlite::Error::InvalidColumnName(format!("discovery {word:?}"))
            })?),
        },
        discovered_at: row.get("discovered_at")?,
        lease,
    })
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    let verdict: String = row.get("verdict")?;
    Ok(Attempt {
        token: count(row, "token")?,
        peer: row.get("peer")?,
        started: row.get("started")?,
        ended: row.get("ended")?,
        verdict: Verdict::from_words(&verdict)
            .ok_or_else(|| rusqlite::Error::InvalidColumnName(format!("verdict {verdict:?}")))?,
        requests: count(row, "requests")?,
        bytes_fetched: count(row, "bytes_fetched")?,
        bytes_plain: count(row, "bytes_plain")?,
        millis: count(row, "millis")?,
        packages: count(row, "packages")?,
        put: count(row, "put")?,
        dropped: count(row, "dropped")?,
        skipped: count(row, "skipped")?,
        error: row.get("error")?,
    })
}
