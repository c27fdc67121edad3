//! Sources that announcements made known.

use super::postgres::events::Event;
use super::sql::{Alone, Cause, Tx, first, values};
use super::{DISCOVERIES_PER_ANNOUNCER_MAX, DISCOVERIES_UNDECIDED_MAX, LOOKS_MAX, REFUSED_FOR};
use super::{Discovered, Stage, Store, StoreError, servers, sources};
use super::{LOOKS_PER_DOMAIN_MAX, REFUSED_MAX, REFUSED_PER_ANNOUNCER_MAX};
use crate::rules::exchange::ToldSource;
use crate::rules::politeness;
use crate::rules::timestamp::Timestamp;
use canister_protocol::limits::SLUG_BYTES_MAX;
use canister_protocol::message::cut;
use canister_protocol::{Source, Uri};

impl Store {
    /// Takes in a source that is not known, to be looked at once; under its slug, or with a number
    /// behind it where another source is called so. It is not shown before that look, nor is
    /// anything of it published: with `Indexed` it becomes [`Found`](Stage::Found), hidden
    /// and polled no more, or, where announcements are trusted, an
    /// [`Approved`](Stage::Approved) source that is published like any other. A look that
    /// fails by what two peers found in its files makes it [`Refused`](Stage::Refused); one that fails
    /// otherwise is repeated. Refusals that are older than
    /// [`REFUSED_FOR`] are forgotten here.
    ///
    /// **Repeated**: takes it in twice. The caller asks first whether it is known.
    pub fn discover(
        &mut self,
        source: &Source,
        by: &str,
        is_trusted: bool,
        now: Timestamp,
    ) -> Result<Discovered, StoreError> {
        self.write(|tx| {
            // Two at once would count the same, and find the same slug free.
            tx.lock(Alone::Listing)?;
            forget_refused(tx, now)?;
            for (stages, most, own_most) in [
                ("look trust found", DISCOVERIES_UNDECIDED_MAX, DISCOVERIES_PER_ANNOUNCER_MAX),
                ("refused", REFUSED_MAX, REFUSED_PER_ANNOUNCER_MAX),
            ] {
                let (all, own): (u64, u64) = tx.one(
                    "SELECT count(*) AS of_all, count(*) FILTER (WHERE discovered_by = $1) AS own
                     FROM source WHERE ' ' || $2 || ' ' LIKE '% ' || discovery || ' %'",
                    values![by, stages],
                    |row| Ok((row.get("of_all")?, row.get("own")?)),
                )?;
                if all >= most || own >= own_most {
                    return Ok(Discovered::Full);
                }
            }
            let host = Uri::parse(&source.uri).map_or_else(|why| why, |uri| uri.host().to_owned());
            let same = "SELECT count(*) FROM source
                 WHERE discovery IN ('look', 'trust', 'found', 'refused') AND domain = $1";
            if tx.value::<u64>(same, values![politeness::domain(&host)])? >= LOOKS_PER_DOMAIN_MAX {
                return Ok(Discovered::Full);
            }
            let stage = if is_trusted { Stage::Trust } else { Stage::Look };
            let slug = free_slug(tx, &source.slug)?;
            let source = Source { slug: slug.clone(), ..source.clone() };
            sources::add(tx, std::slice::from_ref(&source), now)?;
            tx.execute(
                "UPDATE source SET discovery = $2, discovered_by = $3, discovered_at = $4
                 WHERE slug = $1",
                values![&slug, stage.word(), by, now],
            )?;
            servers::regroup_around(tx, &[source.host()])?;
            tx.tell(Event::Look)?;
            Ok(Discovered::As(slug))
        })
    }

    /// Has a refused source looked at again, as if nobody had.
    ///
    /// **Repeated**: the same again.
    pub fn look_again(&mut self, slug: &str, now: Timestamp) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute("DELETE FROM attempt WHERE slug = $1", values![slug])?;
            sources::forget_origin(tx, slug, now)?;
            stage(tx, slug, Stage::Look, now)?;
            tx.tell(Event::Look)
        })
    }
}

/// Takes in a source that another told of, under its slug, which is free. The head that was told is announced.
pub(super) fn import(
    tx: &mut dyn Tx,
    told: &ToldSource,
    stage: Stage,
    by: &str,
    now: Timestamp,
) -> Result<(), Cause> {
    let slug = &told.source.slug;
    sources::add(tx, std::slice::from_ref(&told.source), now)?;
    tx.execute(
        "UPDATE source SET discovery = $2, discovered_by = $3, discovered_at = $4,
             announced = $5, announced_cid = $6, announced_at = CASE WHEN $5 THEN $4 END
         WHERE slug = $1",
        values![slug, stage.word(), by, now, told.head.is_some(), &told.head],
    )?;
    Ok(())
}

/// How many more may wait for a look or for the operator.
pub(super) fn room(tx: &mut dyn Tx) -> Result<u64, Cause> {
    let waiting = "SELECT count(*) FROM source WHERE discovery IN ('look', 'trust', 'found')";
    Ok(DISCOVERIES_UNDECIDED_MAX.saturating_sub(tx.value(waiting, &[])?))
}

/// Makes a discovered source one like any other, due at once; whether there is one that wasn't.
pub(super) fn approve(tx: &mut dyn Tx, slug: &str, now: Timestamp) -> Result<bool, Cause> {
    let approved = tx.execute(
        "UPDATE source SET discovery = 'approved', discovered_at = $2, listed = true,
             due_at = least(due_at, $2)
         WHERE slug = $1 AND discovery IS NOT NULL AND discovery <> 'approved'",
        values![slug, now],
    )?;
    Ok(approved == 1)
}

/// A refusal that is old enough is over; its history goes with it.
fn forget_refused(tx: &mut dyn Tx, now: Timestamp) -> Result<(), Cause> {
    let old: Vec<String> = tx.query(
        "SELECT slug FROM source WHERE discovery = 'refused' AND discovered_at <= $1
         AND NOT EXISTS (SELECT 1 FROM repository WHERE id = source.slug)",
        values![now.minus(REFUSED_FOR)],
        first,
    )?;
    for slug in old {
        for statement in [
            "DELETE FROM attempt WHERE slug = $1",
            "DELETE FROM price WHERE slug = $1",
            "DELETE FROM source WHERE slug = $1",
        ] {
            tx.execute(statement, values![&slug])?;
        }
    }
    Ok(())
}

/// The slug itself, or with a number behind it where another source is called so.
fn free_slug(tx: &mut dyn Tx, slug: &str) -> Result<String, Cause> {
    let mut number = 1_u64;
    let mut free = slug.to_owned();
    while tx.value("SELECT EXISTS (SELECT 1 FROM source WHERE slug = $1)", values![&free])? {
        number += 1;
        let behind = format!("-{number}");
        free = format!("{}{behind}", cut(slug, SLUG_BYTES_MAX - behind.len()));
    }
    Ok(free)
}

/// Moves a discovered source to a stage; whether it is polled follows from that.
pub(super) fn stage(
    tx: &mut dyn Tx,
    slug: &str,
    stage: Stage,
    now: Timestamp,
) -> Result<(), Cause> {
    tx.execute(
        "UPDATE source SET discovery = $2, discovered_at = $3, listed = $4,
             announced = announced AND $4
         WHERE slug = $1",
        values![slug, stage.word(), now, stage.is_polled()],
    )?;
    Ok(())
}

/// Gives up a source that nobody could read yet in so many attempts, whoever failed: it may be that it
/// makes peers fail. Nothing is said of its files by that, so it is looked at again as soon as it is
/// announced.
pub(super) fn give_up(tx: &mut dyn Tx, slug: &str, now: Timestamp) -> Result<(), Cause> {
    tx.defer(
        "UPDATE source SET discovery = 'refused', discovered_at = $2, listed = false,
             announced = false
         WHERE slug = $1 AND discovery IN ('look', 'trust')
           AND (SELECT count(*) FROM attempt WHERE attempt.slug = $1) >= $3",
        values![slug, now.minus(REFUSED_FOR), LOOKS_MAX],
    )
}
