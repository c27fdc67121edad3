//! What is to be indexed: what the source list says, what is remembered of it, and its history.

use super::feed;
use super::postgres::events::Event;
use super::sql::{Cause, Row, Sql, SqlValue, Tx, first, read, sql, values};
use super::{
    Attempt, FailingGroup, Lease, SourceLine, SourceState, Stage, Store, StoreError, Terms, Verdict,
};
use crate::rules::forecast::Tried;
use crate::rules::owner::{ANEW_EVERY, HOST_EVERY, OwnerWord};
use crate::rules::politeness;
use crate::rules::publisher::Followed;
use crate::rules::signatures::{self, Next, SourceSignature};
use crate::rules::sources::{Known, is_of};
use crate::rules::timestamp::Timestamp;
use crate::rules::trust::Checks;
use canister_protocol::message::{Facts, Origin, Probed};
use canister_protocol::owner::place;
use canister_protocol::{Source, Uri};
use std::collections::HashMap;
use std::time::Duration;

/// Most sources that are taken in by one trip to the database.
const ADDED_AT_ONCE: usize = 256;

/// A source with its lease, and how many packages it has.
macro_rules! states {
    ($which:literal) => {
        concat!(
            "SELECT source.*, coalesce(package_count, 0) AS packages, lease.token AS token,
                 lease.peer AS peer, lease.kind AS kind, lease.granted_at AS granted_at,
                 lease.expires_at AS expires_at,
                 EXISTS (SELECT 1 FROM held WHERE held.slug = source.slug) AS spared
             FROM source
             LEFT JOIN repository ON repository.id = source.slug
             LEFT JOIN lease ON lease.slug = source.slug ",
            $which
        )
    };
}

impl Store {
    /// All sources that were ever listed, by slug, and no more of them than what names them.
    pub fn known_sources(&mut self) -> Result<Vec<Known>, StoreError> {
        let all = sql!("SELECT * FROM source ORDER BY slug"["" | " COLLATE \"C\""]);
        self.read(|tx| {
            tx.query(all, &[], |row| {
                let is_listed =
                    row.get("listed")? && row.get::<Option<Stage>>("discovery")?.is_none();
                Ok(Known { source: definition(row)?, is_listed })
            })
        })
    }

    /// All sources, by slug.
    pub fn sources(&mut self) -> Result<Vec<SourceState>, StoreError> {
        self.read(all)
    }

    /// The sources behind `after` by slug, or the first ones where that is empty; at most `limit`. So all can be
    /// gone through without holding all, and without keeping the store from others meanwhile.
    pub fn sources_after(
        &mut self,
        after: &str,
        limit: usize,
    ) -> Result<Vec<SourceState>, StoreError> {
        let page = Sql {
            sqlite: states!("WHERE source.slug > $1 ORDER BY source.slug LIMIT $2"),
            postgres: states!(
                "WHERE source.slug COLLATE \"C\" > $1 ORDER BY source.slug COLLATE \"C\" LIMIT $2"
            ),
        };
        self.read(|tx| tx.query(page, values![after, limit], state))
    }

    /// Those of the next `limit` sources behind `after` that everybody may see, as a list shows them; and the slug
    /// behind which there may be more. As [`sources_after`](Self::sources_after), for a small part of the time.
    pub fn lines_after(
        &mut self,
        after: &str,
        limit: usize,
    ) -> Result<(Vec<SourceLine>, Option<String>), StoreError> {
        let page = sql!("SELECT source.slug, source.uri, standing, polled, due_at, last_contact, failures,
                 failing_since, reason, signature, signed_by, signed_until, next_signers, next_until,
                 coalesce(package_count, 0) AS packages, lease.token IS NOT NULL AS leased,
                 listed AND blocked IS NULL AND (discovery IS NULL OR discovery = 'approved') AS told
             FROM source
             LEFT JOIN repository ON repository.id = source.slug
             LEFT JOIN lease ON lease.slug = source.slug
             WHERE source.slug" ["" | " COLLATE \"C\""] " > $1
             ORDER BY source.slug" ["" | " COLLATE \"C\""] " LIMIT $2");
        self.read(|tx| {
            let (mut lines, mut count, mut last) = (Vec::new(), 0, None);
            tx.each(page, values![after, limit], &mut |row| {
                count += 1;
                match row.get("told")? {
                    true => lines.push(line(row)?),
                    false if count == limit => last = Some(row.get("slug")?),
                    false => {}
                }
                Ok(())
            })?;
            if count == limit {
                last = last.or_else(|| lines.last().map(|line| line.slug.clone()));
            }
            Ok((lines, last))
        })
    }

    /// The sources that stand at some addresses, by slug.
    pub fn sources_at(&mut self, uris: &[Uri]) -> Result<Vec<Source>, StoreError> {
        let hosts: Vec<&str> = uris.iter().map(Uri::host).collect();
        let hosts = serde_json::to_string(&hosts).expect("strings are always JSON");
        let there = sql!("SELECT * FROM source WHERE host IN (SELECT value FROM "
            ["json_each($1)" | "json_array_elements_text($1::text::json)"] ")
             ORDER BY slug" ["" | " COLLATE \"C\""]);
        self.read(|tx| {
            let mut found = Vec::new();
            tx.each(there, values![&hosts], &mut |row| {
                let source = definition(row)?;
                if uris.iter().any(|uri| is_of(uri, &source)) {
                    found.push(source);
                }
                Ok(())
            })?;
            Ok(found)
        })
    }

    /// Where those of some sources are that are known, by slug.
    pub fn uris_of(&mut self, slugs: &[String]) -> Result<HashMap<String, String>, StoreError> {
        let slugs = serde_json::to_string(slugs).expect("strings are always JSON");
        let uris = sql!("SELECT slug, uri FROM "
            ["json_each($1)" | "json_array_elements_text($1::text::json)"] " AS asked
             JOIN source ON source.slug = asked.value");
        self.read(|tx| {
            tx.query(uris, values![&slugs], |row| Ok((row.get("slug")?, row.get("uri")?)))
        })
    }

    /// One source.
    pub fn source(&mut self, slug: &str) -> Result<Option<SourceState>, StoreError> {
        self.read(|tx| find(tx, slug))
    }

    /// The newest `limit` attempts of a source, newest first. At most
    /// [`ATTEMPTS_KEPT`](super::ATTEMPTS_KEPT) are kept.
    pub fn attempts(&mut self, slug: &str, limit: usize) -> Result<Vec<Attempt>, StoreError> {
        let newest = "SELECT * FROM attempt WHERE slug = $1 ORDER BY token DESC LIMIT $2";
        self.read(|tx| tx.query(newest, values![slug, limit], attempt))
    }

    /// The newest attempt of each of some sources, by slug.
    pub fn newest_attempts(
        &mut self,
        slugs: &[&str],
    ) -> Result<HashMap<String, Attempt>, StoreError> {
        let slugs = serde_json::to_string(slugs).expect("strings are always JSON");
        // Of one source the later attempt has the higher number, and it is found by that.
        let newest = sql!("SELECT attempt.* FROM "
            ["json_each($1)" | "json_array_elements_text($1::text::json)"] " AS asked
             JOIN attempt ON attempt." ["number" | "token"] " =
                 (SELECT max(" ["number" | "token"] ") FROM attempt AS it WHERE it.slug = asked.value)");
        self.read(|tx| {
            tx.query(newest, values![&slugs], |row| Ok((row.get("slug")?, attempt(row)?)))
        })
    }

    /// Failing sources, counted by operator and by why.
    pub fn failing(&mut self) -> Result<Vec<FailingGroup>, StoreError> {
        let groups = "SELECT operator, reason, count(*) AS sources FROM source
             WHERE listed AND failures > 0 GROUP BY operator, reason";
        self.read(|tx| {
            tx.query(groups, &[], |row| read!(row => FailingGroup { operator, reason, sources }))
        })
    }

    /// Operators of servers of whose sources at least `least` fail, and at least half: with how many are
    /// polled and how many of them fail.
    pub fn outages_of_operators(
        &mut self,
        least: u64,
    ) -> Result<Vec<(String, u64, u64)>, StoreError> {
        let groups =
            "SELECT operator, count(*) AS sources, count(*) FILTER (WHERE failures > 0) AS failing
             FROM source WHERE polled GROUP BY operator
             HAVING count(*) FILTER (WHERE failures > 0) >= $1
                 AND 2 * count(*) FILTER (WHERE failures > 0) >= count(*)";
        self.read(|tx| {
            tx.query(groups, values![least], |row| {
                Ok((row.get("operator")?, row.get("sources")?, row.get("failing")?))
            })
        })
    }

    /// The kept attempts of all sources, by slug, oldest first, as far as they tell how others will go.
    pub fn tried(&mut self) -> Result<HashMap<String, Vec<Tried>>, StoreError> {
        let mut tried: HashMap<String, Vec<Tried>> = HashMap::new();
        let all = "SELECT slug, ended, verdict, requests, millis FROM attempt ORDER BY token";
        self.read(|tx| {
            tried.clear();
            tx.each(all.into(), &[], &mut |row| {
                let verdict: Verdict = row.get("verdict")?;
                let one = Tried {
                    ended_at: row.get("ended")?,
                    ended: verdict.ended(),
                    requests: row.get("requests")?,
                    took: Duration::from_millis(row.get("millis")?),
                };
                tried.entry(row.get("slug")?).or_default().push(one);
                Ok(())
            })
        })?;
        Ok(tried)
    }

    /// Makes a listed source due at once because somebody announced `cid` of it, and remembers
    /// that; any other source, and one that the operator delisted or its owner stopped, stays as it is. At once
    /// is as soon as [its owner](crate::rules::owner) lets it be asked. One that is leased is due again after its lease,
    /// unless the lease finds exactly `cid` as its head.
    ///
    /// **Repeated**: the same again.
    pub fn announce(
        &mut self,
        slug: &str,
        cid: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| announce(tx, slug, cid, false, now))
    }

    /// The same by the source's owner, or by the operator: it is due whatever interval the owner said, but not in
    /// quiet hours; one that its owner stopped is asked whether it still is.
    ///
    /// **Repeated**: the same again.
    pub fn announce_for_owner(
        &mut self,
        slug: &str,
        cid: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| announce(tx, slug, cid, true, now))
    }

    /// Has the next lease of a source ask its host again what the owner says, unless it did lately.
    ///
    /// **Repeated**: the same again.
    pub fn ask_owner_anew(&mut self, slug: &str, now: Timestamp) -> Result<(), StoreError> {
        self.write(|tx| {
            let state = locked(tx, slug)?;
            if let Some((place, _)) = state.and_then(|it| place(&it.source)) {
                let (old, lately) = (now.minus(HOST_EVERY), now.minus(ANEW_EVERY));
                let anew = "UPDATE owner_file SET asked_at = $2 WHERE place = $1 AND asked_at BETWEEN $2 AND $3";
                tx.execute(anew, values![&place, old, lately])?;
            }
            Ok(())
        })
    }

    /// The keys that sources name for who announces for them, and are signed by, as sources would name them.
    pub fn announcer_keys(&mut self) -> Result<Vec<String>, StoreError> {
        let named = "SELECT owner_release, owner_host, max_age, stopped, relied, announced_itself FROM source
             WHERE listed AND coalesce(owner_release, owner_host) IS NOT NULL";
        let named: Vec<OwnerWord> = self.read(|tx| tx.query(named, &[], owner))?;
        let keys = named.into_iter().flat_map(|it| [it.release.announcers, it.host.announcers]);
        let signed = "SELECT DISTINCT signed_by FROM source WHERE listed AND signature = 'good'";
        let signed: Vec<String> =
            self.read(|tx| tx.query(signed, &[], |row| row.get("signed_by")))?;
        Ok(keys.flatten().chain(signed.iter().map(|key| format!("openpgp:{key}"))).collect())
    }
}

fn announce(
    tx: &mut dyn Tx,
    slug: &str,
    cid: Option<&str>,
    is_owners: bool,
    now: Timestamp,
) -> Result<(), Cause> {
    let Some(state) = locked(tx, slug)? else { return Ok(()) };
    let last = if is_owners { None } else { state.last_attempt };
    if state.owner.stopped.is_some() && !is_owners {
        return Ok(());
    }
    let due_at = state.owner.free_at(now, last);
    tx.execute(
        "UPDATE source SET announced = true, announced_cid = $2, announced_at = $3,
             announced_itself = $5, due_at = least(due_at, $4)
         WHERE listed AND delisted IS NULL AND slug = $1",
        values![slug, cid, now, due_at, is_owners],
    )?;
    tx.tell(Event::Look)
}

/// Whether the catalogue has this repository.
const IS_KEPT: &str = "SELECT EXISTS (SELECT 1 FROM repository WHERE id = $1)";

/// Takes in sources that aren't known, some at once.
pub(super) fn add(tx: &mut dyn Tx, sources: &[Source], now: Timestamp) -> Result<(), Cause> {
    for some in sources.chunks(ADDED_AT_ONCE) {
        for source in some {
            tx.foresee(IS_KEPT, values![&source.slug])?;
        }
        some.iter().try_for_each(|source| add_one(tx, source, now))?;
    }
    Ok(())
}

fn add_one(tx: &mut dyn Tx, source: &Source, now: Timestamp) -> Result<(), Cause> {
    operator(tx, source)?;
    let mut values = columns(source);
    values.push(now.into());
    tx.defer(
        "INSERT INTO source (slug, uri, suite, component, architecture, ranking, aliases,
             bootstrap, operator, host, headers, domain, listed, due_at, announced, failures, names)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, $11, true, $12, false, 0,
             (SELECT count(DISTINCT package_id) FROM package
              WHERE repository_id = $1 AND left_at IS NULL))
         ON CONFLICT (slug) DO NOTHING",
        &values,
    )?;
    // An earlier Canister's repository is shown as the list says from now on.
    if tx.value(IS_KEPT, values![&source.slug])? {
        describe(tx, source)?;
        show(tx, &source.slug)?;
    }
    Ok(())
}

/// A source's definition, as a statement's values from the first on.
fn columns(source: &Source) -> Vec<SqlValue<'_>> {
    values![
        &source.slug,
        &source.uri,
        &source.suite,
        &source.component,
        &source.architecture,
        source.ranking,
        &source.aliases,
        source.bootstrap,
        source.host(),
        &source.headers,
        politeness::domain(&source.host()),
    ]
    .to_vec()
}

/// Every operator has a row, so that there is one to lock.
fn operator(tx: &mut dyn Tx, source: &Source) -> Result<(), Cause> {
    tx.defer(
        "INSERT INTO operator (name) VALUES ($1) ON CONFLICT (name) DO NOTHING",
        values![source.host()],
    )
}

/// Writes a changed definition, and the catalogue's columns that come from it.
pub(super) fn define(tx: &mut dyn Tx, source: &Source) -> Result<(), Cause> {
    operator(tx, source)?;
    tx.defer(
        "UPDATE source SET uri = $2, suite = $3, component = $4, architecture = $5, ranking = $6,
             aliases = $7, bootstrap = $8, operator = $9, host = $9, headers = $10, domain = $11
         WHERE slug = $1",
        &columns(source),
    )?;
    describe(tx, source)
}

pub(super) fn describe(tx: &mut dyn Tx, source: &Source) -> Result<(), Cause> {
    tx.defer(
        "UPDATE repository SET uri = $2, suite = $3, component = $4, quality = $5, aliases = $6,
             bootstrap = $7
         WHERE id = $1",
        values![
            &source.slug,
            &source.uri,
            &source.suite,
            &source.component,
            source.ranking,
            &source.aliases,
            source.bootstrap,
        ],
    )?;
    let ranked = tx.execute(
        "UPDATE package SET quality = $2
         WHERE repository_id = $1 AND left_at IS NULL AND quality <> $2",
        values![&source.slug, source.ranking],
    )?;
    if ranked > 0 {
        feed::anew(tx, &source.slug)?;
    }
    Ok(())
}

pub(super) fn forget_origin(tx: &mut dyn Tx, slug: &str, now: Timestamp) -> Result<(), Cause> {
    tx.execute(
        "UPDATE source SET due_at = $2, failures = 0, failing_since = NULL, last_failure = NULL,
             standing = 'active', last_error = NULL, reason = NULL, witnesses = NULL, owner_release = NULL,
             owner_host = NULL, max_age = 0, stopped = NULL, relied = 0, origin_head = NULL, origin_release_path = NULL,
             origin_etag = NULL, origin_last_modified = NULL, origin_index_path = NULL,
             origin_index_digest = NULL, wants = NULL, oddities = NULL, followed = NULL
         WHERE slug = $1",
        values![slug, now],
    )?;
    tx.execute("DELETE FROM absent WHERE slug = $1", values![slug])?;
    Ok(())
}

const ABSENT: &str = "SELECT file FROM absent WHERE slug = $1 AND asked_at > $2 ORDER BY file";
const KEYS: &str = "SELECT keys FROM keyring WHERE slug = $1";

/// That [`probed`] is about to be asked for.
pub(super) fn foresee_probed(tx: &mut dyn Tx, slug: &str, now: Timestamp) -> Result<(), Cause> {
    tx.foresee(ABSENT, values![slug, now.minus(signatures::ABSENT_FOR)])?;
    tx.foresee(KEYS, values![slug])
}

/// What a peer is told of a source besides its origin.
pub(super) fn probed(
    tx: &mut dyn Tx,
    state: &SourceState,
    terms: &Terms,
    now: Timestamp,
) -> Result<Option<Probed>, Cause> {
    let slug = &state.source.slug;
    let since = now.minus(signatures::ABSENT_FOR);
    let absent = tx.query(ABSENT, values![slug, since], first)?;
    let keys = tx.maybe(KEYS, values![slug], first)?;
    let given = terms.signers.of(&state.source);
    Ok(signatures::probed(state.signed.as_ref(), given, keys, absent, now))
}

/// Remembers what isn't there of a source, and by which key it is `signed`, where that was learned.
pub(super) fn learned(
    tx: &mut dyn Tx,
    slug: &str,
    facts: &Facts,
    signed: Option<&SourceSignature>,
    now: Timestamp,
) -> Result<(), Cause> {
    for file in &facts.absent {
        tx.execute(
            "INSERT INTO absent (slug, file, asked_at) VALUES ($1, $2, $3)
             ON CONFLICT (slug, file) DO UPDATE SET asked_at = excluded.asked_at",
            values![slug, file, now],
        )?;
    }
    let Some(signed) = signed else {
        return Ok(());
    };
    match (signed.signer(), facts.signature.as_ref().and_then(|it| it.keys.as_ref())) {
        (None, _) => tx.execute("DELETE FROM keyring WHERE slug = $1", values![slug])?,
        (Some(_), None) => 0,
        (Some(_), Some(keys)) => tx.execute(
            "INSERT INTO keyring (slug, keys) VALUES ($1, $2)
             ON CONFLICT (slug) DO UPDATE SET keys = excluded.keys",
            values![slug, keys],
        )?,
    };
    Ok(())
}

/// Shows or hides a source in the catalogue, with its packages, as its columns say now.
pub(super) fn show(tx: &mut dyn Tx, slug: &str) -> Result<(), Cause> {
    let is_shown: bool = tx.value("SELECT shown FROM source WHERE slug = $1", values![slug])?;
    let changed = tx.execute(
        "UPDATE repository SET visible = $2 WHERE id = $1 AND visible <> $2",
        values![slug, is_shown],
    )?;
    // Only what changes, and on SQLite by number, in ascending order: its search index takes words
    // in that order only, and writes out what it holds at each step back.
    tx.execute(
        sql!("UPDATE package SET visible = $2 WHERE "
            ["number IN (SELECT number FROM package WHERE " | ""]
            "repository_id = $1 AND left_at IS NULL AND visible <> $2" [")" | ""]),
        values![slug, is_shown],
    )?;
    if changed > 0 {
        feed::anew(tx, slug)?;
    }
    Ok(())
}

/// All sources, by slug.
pub(super) fn all(tx: &mut dyn Tx) -> Result<Vec<SourceState>, Cause> {
    let all = Sql {
        sqlite: states!("ORDER BY source.slug"),
        postgres: states!("ORDER BY source.slug COLLATE \"C\""),
    };
    tx.query(all, &[], state)
}

/// The sources that are due after a moment.
pub(super) fn due_after(tx: &mut dyn Tx, moment: Timestamp) -> Result<Vec<SourceState>, Cause> {
    tx.query(states!("WHERE source.due_at > $1"), values![moment], state)
}

/// One source.
pub(super) fn find(tx: &mut dyn Tx, slug: &str) -> Result<Option<SourceState>, Cause> {
    tx.maybe(states!("WHERE source.slug = $1"), values![slug], state)
}

/// One source that nobody else changes until the transaction is over.
pub(super) fn locked(tx: &mut dyn Tx, slug: &str) -> Result<Option<SourceState>, Cause> {
    let locked = Sql {
        sqlite: states!("WHERE source.slug = $1"),
        postgres: states!("WHERE source.slug = $1 FOR UPDATE OF source"),
    };
    tx.maybe(locked, values![slug], state)
}

/// The source of a lease, the same.
pub(super) const ENDING: Sql = Sql {
    sqlite: states!("WHERE lease.token = $1"),
    postgres: states!("WHERE lease.token = $1 FOR UPDATE OF source"),
};

pub(super) fn ending(tx: &mut dyn Tx, token: u64) -> Result<Option<SourceState>, Cause> {
    tx.maybe(ENDING, values![token], state)
}

fn definition(row: Row<'_>) -> Result<Source, Cause> {
    read!(row => Source {
        slug, uri, suite, component, architecture, ranking, aliases, bootstrap, headers,
    })
}

fn origin(row: Row<'_>) -> Result<Option<Origin>, Cause> {
    let Some(head) = row.get("origin_head")? else {
        return Ok(None);
    };
    Ok(Some(Origin {
        head,
        release_path: row.get("origin_release_path")?,
        etag: row.get("origin_etag")?,
        last_modified: row.get("origin_last_modified")?,
        index_path: row.get("origin_index_path")?,
        index_digest: row.get("origin_index_digest")?,
    }))
}

/// What is remembered for a source's audits.
pub(super) fn checks(row: Row<'_>) -> Result<Checks, Cause> {
    read!(row => Checks { wants, not_by, checked_at, vouched_by, rows_from })
}

fn signed(row: Row<'_>) -> Result<Option<SourceSignature>, Cause> {
    let Some(state) = row.get("signature")? else {
        return Ok(None);
    };
    let next = match row.get("next_until")? {
        Some(until) => Some(Next { keys: row.get("next_signers")?, until }),
        None => None,
    };
    let (by, until) = (row.get("signed_by")?, row.get("signed_until")?);
    Ok(Some(SourceSignature { state, by, until, next }))
}

/// What is remembered of the publisher that its owner names.
pub(super) fn followed(tx: &mut dyn Tx, slug: &str) -> Result<Followed, Cause> {
    tx.one("SELECT followed FROM source WHERE slug = $1", values![slug], first)
}

/// What its owner says.
pub(super) fn owner(row: Row<'_>) -> Result<OwnerWord, Cause> {
    read!(row => OwnerWord {
        max_age, stopped, relied, announced_itself; release: row.get("owner_release")?, host: row.get("owner_host")?
    })
}

/// A lease's columns.
pub(super) fn lease(row: Row<'_>) -> Result<Lease, Cause> {
    read!(row => Lease { token, slug, peer, kind, granted_at, expires_at })
}

pub(super) fn state(row: Row<'_>) -> Result<SourceState, Cause> {
    let failing_since: Option<Timestamp> = row.get("failing_since")?;
    read!(row => SourceState {
        operator, domain, families, blocked, delisted, standing, due_at, announced_cid, announced_at,
        last_contact, last_attempt, failures, last_error, packages, names, discovery, discovered_at,
        publication, witnesses, reason, oddities;
        source: definition(row)?,
        is_listed: row.get("listed")?,
        is_announced: row.get("announced")?,
        is_spared: row.get("spared")?,
        failed: failing_since.zip(row.get("last_failure")?),
        origin: origin(row)?,
        checks: checks(row)?,
        signed: signed(row)?,
        owner: owner(row)?,
        lease: row.get::<Option<u64>>("token")?.map(|_| lease(row)).transpose()?
    })
}

fn line(row: Row<'_>) -> Result<SourceLine, Cause> {
    read!(row => SourceLine {
        slug, uri, standing, due_at, last_contact, failures, failing_since, reason, packages;
        is_polled: row.get("polled")?,
        is_leased: row.get("leased")?,
        signed: signed(row)?
    })
}

fn attempt(row: Row<'_>) -> Result<Attempt, Cause> {
    read!(row => Attempt {
        token, peer, started, ended, verdict, requests, bytes_fetched, bytes_plain, millis,
        packages, put, dropped, skipped, error, reason,
    })
}
