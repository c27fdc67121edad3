//! What a source list changes in the sources.

use super::sql::{Cause, Tx, values};
use super::{Lease, Stage, discoveries, leases, servers, sources};
use crate::rules::sources::{Diff, named_now};
use crate::rules::timestamp::Timestamp;
use canister_protocol::Source;

/// Applies what a source list changed, and returns the leases that it ended.
///
/// A removed source is hidden and polled no more; a returned one is shown again and due. A changed
/// one has its catalogue columns changed at once; where its files are to be found elsewhere now, it is
/// due and what is remembered of them is forgotten. The leases of sources that were removed or are
/// found elsewhere are revoked: their peers read what is not meant any more.
pub(super) fn apply(tx: &mut dyn Tx, diff: &Diff, now: Timestamp) -> Result<Vec<Lease>, Cause> {
    let mut ended = Vec::new();
    for slug in &diff.removed {
        ended.extend(leases::revoke(tx, slug, now)?);
        tx.defer(
            "UPDATE source SET listed = false, announced = false WHERE slug = $1",
            values![slug],
        )?;
        sources::show(tx, slug)?;
    }
    sources::add(tx, &diff.added, now)?;
    for source in diff.changed.iter().chain(&diff.returned) {
        let Some(before) = sources::find(tx, &source.slug)? else {
            sources::add(tx, std::slice::from_ref(source), now)?;
            continue;
        };
        let is_elsewhere = is_elsewhere(&before.source, source);
        if is_elsewhere {
            ended.extend(leases::revoke(tx, &source.slug, now)?);
        }
        sources::define(tx, source)?;
        adopt(tx, &source.slug)?;
        if is_elsewhere {
            sources::forget_origin(tx, &source.slug, now)?;
        }
        if !before.is_listed {
            tx.execute(
                "UPDATE source SET listed = true, due_at = $2 WHERE slug = $1",
                values![&source.slug, now],
            )?;
            sources::show(tx, &source.slug)?;
        }
    }
    for slug in twins(tx, diff)? {
        ended.extend(leases::revoke(tx, &slug, now)?);
        discoveries::stage(tx, &slug, Stage::Refused, now)?;
        sources::show(tx, &slug)?;
    }
    servers::regroup(tx)?;
    Ok(ended)
}

/// A source that the list names is no discovery any more.
fn adopt(tx: &mut dyn Tx, slug: &str) -> Result<(), Cause> {
    tx.defer(
        "UPDATE source SET discovery = NULL, discovered_by = NULL, discovered_at = NULL
         WHERE slug = $1 AND discovery IS NOT NULL",
        values![slug],
    )
}

/// Discovered sources that the list now names by slugs of its own.
fn twins(tx: &mut dyn Tx, diff: &Diff) -> Result<Vec<String>, Cause> {
    let discovered = tx.query(
        "SELECT slug, uri FROM source WHERE discovery IS NOT NULL AND discovery <> 'refused'",
        &[],
        |row| Ok((row.get("slug")?, row.get("uri")?)),
    )?;
    Ok(named_now(discovered, diff))
}

/// Whether two definitions of a source name different files.
fn is_elsewhere(before: &Source, after: &Source) -> bool {
    before.uri != after.uri
        || before.suite != after.suite
        || before.component != after.component
        || before.architecture != after.architecture
}
