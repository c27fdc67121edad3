//! Discoveries: sources that an announcement made known.

use super::{Alone, Cause, Postgres, Tx, count, events, servers, sources};
use crate::store::{DISCOVERIES_PER_ANNOUNCER_MAX, DISCOVERIES_UNDECIDED_MAX, LOOKS_MAX};
use crate::store::{Discovered, REFUSED_FOR, Stage, StoreError};
use crate::timestamp::Timestamp;
use canister_protocol::Source;
use canister_protocol::limits::SLUG_BYTES_MAX;
use canister_protocol::message::cut;

impl Postgres {
    pub(in crate::store) fn discover(
        &mut self,
        source: &Source,
        by: &str,
        is_trusted: bool,
        now: Timestamp,
    ) -> Result<Discovered, StoreError> {
        self.write(|tx| {
            // Two at once would count the same, and find the same slug free.
            tx.lock(Alone::Listing)?;
            let undecided = tx.one(
                "SELECT count(*) AS of_all, count(*) FILTER (WHERE discovered_by = $1) AS own
                 FROM source WHERE discovery IN ('look', 'trust', 'found')",
                &[&by],
            )?;
            if count(&undecided, "of_all") >= DISCOVERIES_UNDECIDED_MAX
                || count(&undecided, "own") >= DISCOVERIES_PER_ANNOUNCER_MAX
            {
                return Ok(Discovered::Full);
            }
            let stage = if is_trusted { Stage::Trust } else { Stage::Look };
            forget_refused(tx, now)?;
            let slug = free_slug(tx, &source.slug)?;
            let source = Source { slug: slug.clone(), ..source.clone() };
            sources::add(tx, &source, now)?;
            tx.execute(
                "UPDATE source SET discovery = $2, discovered_by = $3, discovered_at = $4
                 WHERE slug = $1",
                &[&slug, &stage.word(), &by, &now],
            )?;
            servers::regroup(tx)?;
            events::look(tx)?;
            Ok(Discovered::As(slug))
        })
    }

    pub(in crate::store) fn approve(
        &mut self,
        slug: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(|tx| {
            let approved = tx.execute(
                "UPDATE source SET discovery = 'approved', discovered_at = $2, listed = true,
                     due_at = least(due_at, $2)
                 WHERE slug = $1 AND discovery IS NOT NULL AND discovery <> 'approved'",
                &[&slug, &now],
            )?;
            events::look(tx)?;
            Ok(approved == 1)
        })
    }
}

/// A refusal that is old enough is over; its history goes with it.
fn forget_refused(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), Cause> {
    let before = now.minus(REFUSED_FOR);
    let old = tx.query(
        "SELECT slug FROM source WHERE discovery = 'refused' AND discovered_at <= $1
         AND NOT EXISTS (SELECT FROM repository WHERE id = source.slug)",
        &[&before],
    )?;
    let old: Vec<String> = old.iter().map(|row| row.get(0)).collect();
    for statement in [
        "DELETE FROM attempt WHERE slug = ANY ($1)",
        "DELETE FROM price WHERE slug = ANY ($1)",
        "DELETE FROM source WHERE slug = ANY ($1)",
    ] {
        tx.execute(statement, &[&old])?;
    }
    Ok(())
}

/// The slug itself, or with a number behind it where another source is called so.
fn free_slug(tx: &mut Tx<'_>, slug: &str) -> Result<String, Cause> {
    let mut number = 1_u64;
    let mut free = slug.to_owned();
    while tx.maybe("SELECT FROM source WHERE slug = $1", &[&free])?.is_some() {
        number += 1;
        let behind = format!("-{number}");
        free = format!("{}{behind}", cut(slug, SLUG_BYTES_MAX - behind.len()));
    }
    Ok(free)
}

/// Moves a discovered source to a stage; whether it is polled follows from that.
pub(super) fn stage(
    tx: &mut Tx<'_>,
    slug: &str,
    stage: Stage,
    now: Timestamp,
) -> Result<(), Cause> {
    tx.execute(
        "UPDATE source SET discovery = $2, discovered_at = $3, listed = $4,
             announced = announced AND $4
         WHERE slug = $1",
        &[&slug, &stage.word(), &now, &stage.is_polled()],
    )?;
    Ok(())
}

/// Refuses a source that still waits for its first look after so many attempts, whoever failed: it
/// may be that it makes peers fail.
pub(super) fn give_up(tx: &mut Tx<'_>, slug: &str, now: Timestamp) -> Result<(), Cause> {
    tx.execute(
        "UPDATE source SET discovery = 'refused', discovered_at = $2, listed = false,
             announced = false
         WHERE slug = $1 AND discovery IN ('look', 'trust')
           AND (SELECT count(*) FROM attempt WHERE attempt.slug = $1) >= $3",
        &[&slug, &now, &i64::from(LOOKS_MAX)],
    )?;
    Ok(())
}
