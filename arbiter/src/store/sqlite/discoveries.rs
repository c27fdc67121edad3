//! Discoveries: sources that an announcement made known.

use super::{Cause, Sqlite, servers, sources};
use crate::store::{DISCOVERIES_PER_ANNOUNCER_MAX, DISCOVERIES_UNDECIDED_MAX};
use crate::store::{Discovered, REFUSED_FOR, Stage, StoreError};
use crate::timestamp::Timestamp;
use canister_protocol::Source;
use canister_protocol::limits::SLUG_BYTES_MAX;
use canister_protocol::message::cut;
use rusqlite::{Connection, params};

impl Sqlite {
    pub(in crate::store) fn discover(
        &mut self,
        source: &Source,
        by: &str,
        is_trusted: bool,
        now: Timestamp,
    ) -> Result<Discovered, StoreError> {
        self.write(|tx| {
            let all = undecided(tx, None)?;
            let own = undecided(tx, Some(by))?;
            if all >= DISCOVERIES_UNDECIDED_MAX || own >= DISCOVERIES_PER_ANNOUNCER_MAX {
                return Ok(Discovered::Full);
            }
            let stage = if is_trusted { Stage::Trust } else { Stage::Look };
            forget_refused(tx, now)?;
            let slug = free_slug(tx, &source.slug)?;
            let source = Source { slug: slug.clone(), ..source.clone() };
            sources::add(tx, &source, now)?;
            tx.prepare_cached(
                "UPDATE source SET discovery = ?2, discovered_by = ?3, discovered_at = ?4
                 WHERE slug = ?1",
            )?
            .execute(params![slug, stage.word(), by, now])?;
            servers::regroup(tx)?;
            Ok(Discovered::As(slug))
        })
    }

    pub(in crate::store) fn approve(
        &mut self,
        slug: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(|tx| {
            let approved = tx
                .prepare_cached(
                    "UPDATE source SET discovery = 'approved', discovered_at = ?2, listed = 1,
                         due_at = min(due_at, ?2)
                     WHERE slug = ?1 AND discovery IS NOT NULL AND discovery <> 'approved'",
                )?
                .execute(params![slug, now])?;
            Ok(approved == 1)
        })
    }
}

fn undecided(tx: &Connection, by: Option<&str>) -> Result<u64, Cause> {
    let count = tx
        .prepare_cached(
            "SELECT count(*) FROM source
             WHERE discovery IN ('look', 'trust', 'found') AND (?1 IS NULL OR discovered_by = ?1)",
        )?
        .query_row([by], |row| row.get(0))
        .map(super::unsigned)?;
    Ok(count)
}

/// A refusal that is old enough is over; its history goes with it.
fn forget_refused(tx: &Connection, now: Timestamp) -> Result<(), Cause> {
    const OLD: &str = "SELECT slug FROM source WHERE discovery = 'refused' AND discovered_at <= ?1
         AND NOT EXISTS (SELECT 1 FROM repository WHERE id = source.slug)";
    let before = now.minus(REFUSED_FOR);
    for table in ["attempt", "price", "source"] {
        tx.prepare_cached(&format!("DELETE FROM {table} WHERE slug IN ({OLD})"))?
            .execute([before])?;
    }
    Ok(())
}

/// The slug itself, or with a number behind it where another source is called so.
fn free_slug(tx: &Connection, slug: &str) -> Result<String, Cause> {
    let mut statement =
        tx.prepare_cached("SELECT EXISTS (SELECT 1 FROM source WHERE slug = ?1)")?;
    let mut number = 1_u64;
    let mut free = slug.to_owned();
    while statement.query_row([&free], |row| row.get::<_, bool>(0))? {
        number += 1;
        let behind = format!("-{number}");
        free = format!("{}{behind}", cut(slug, SLUG_BYTES_MAX - behind.len()));
    }
    Ok(free)
}

/// Moves a discovered source to a stage; whether it is polled follows from that.
pub(super) fn stage(
    tx: &Connection,
    slug: &str,
    stage: Stage,
    now: Timestamp,
) -> Result<(), Cause> {
    tx.prepare_cached(
        "UPDATE source SET discovery = ?2, discovered_at = ?3, listed = ?4,
             announced = announced AND ?4
         WHERE slug = ?1",
    )?
    .execute(params![slug, stage.word(), now, stage.is_polled()])?;
    Ok(())
}

/// Refuses a source that still waits for its first look after so many attempts, whoever failed: it
/// may be that it makes peers fail.
pub(super) fn give_up(tx: &Connection, slug: &str, now: Timestamp) -> Result<(), Cause> {
    tx.prepare_cached(
        "UPDATE source SET discovery = 'refused', discovered_at = ?2, listed = 0, announced = 0
         WHERE slug = ?1 AND discovery IN ('look', 'trust')
           AND (SELECT count(*) FROM attempt WHERE attempt.slug = ?1) >= ?3",
    )?
    .execute(params![slug, now, crate::store::LOOKS_MAX])?;
    Ok(())
}
