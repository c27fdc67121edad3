//! What left the catalogue within the last day: what the brake adds up.

use super::sql::{Cause, Tx, values};
use crate::rules::brake::{DAY, Lately, Loss};
use crate::rules::timestamp::Timestamp;

/// What left within the last day.
pub(super) fn lately(tx: &mut dyn Tx, now: Timestamp) -> Result<Lately, Cause> {
    let left: Vec<(String, u64)> = tx.query(
        "SELECT slug, CAST(sum(lost) AS bigint) AS lost FROM loss WHERE lost_at > $1 GROUP BY slug",
        values![now.minus(DAY)],
        |row| Ok((row.get("slug")?, row.get("lost")?)),
    )?;
    Ok(left.into_iter().collect())
}

/// Remembers what leaves by a change that nobody was asked about.
pub(super) fn lose(tx: &mut dyn Tx, losses: &[Loss], now: Timestamp) -> Result<(), Cause> {
    tx.execute("DELETE FROM loss WHERE lost_at <= $1", values![now.minus(DAY)])?;
    for loss in losses.iter().filter(|loss| loss.lost > 0) {
        tx.execute(
            "INSERT INTO loss (slug, lost, lost_at) VALUES ($1, $2, $3)",
            values![&loss.slug, loss.lost, now],
        )?;
    }
    Ok(())
}

/// How many packages the catalogue shows, by name.
pub(super) fn shown(tx: &mut dyn Tx) -> Result<u64, Cause> {
    tx.value("SELECT CAST(coalesce(sum(names), 0) AS bigint) FROM source WHERE shown", &[])
}
