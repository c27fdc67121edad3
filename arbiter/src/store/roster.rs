//! Who asks for a lease, and who could be asked to audit.

use super::SILENT_MAX;
use super::sql::{Cause, Tx, read, sql, values};
use crate::rules::timestamp::Timestamp;
use crate::rules::trust::{Asking, Auditor, PeerTrust};

/// How `peer` is believed, who asks for a lease.
pub(super) fn asking<'a>(tx: &mut dyn Tx, peer: &'a str) -> Result<Asking<'a>, Cause> {
    let known = tx.maybe(
        "SELECT trust, mapping IS NOT NULL AS audits FROM peer WHERE name = $1",
        values![peer],
        |row| {
            let (trust, audits) = (row.get("trust")?, row.get("audits")?);
            Ok(Asking { name: peer, trust, audits })
        },
    )?;
    Ok(known.unwrap_or(Asking { name: peer, trust: PeerTrust::First, audits: false }))
}

/// Who could audit now: whoever is here, has slots and may publish.
pub(super) fn candidates(tx: &mut dyn Tx, now: Timestamp) -> Result<Vec<Auditor>, Cause> {
    tx.query(
        sql!(
            "SELECT peer.name, network, coalesce(reaches, 'IPv4 IPv6') AS reaches FROM peer " ["" | "JOIN arbiter ON arbiter.name = peer.arbiter
               AND seen_at > (SELECT max(seen_at) FROM arbiter) - $1"] "
             WHERE address IS NOT NULL AND slots > 0 AND mapping IS NOT NULL
               AND trust IN ('first', 'proven')
               AND (rests_until IS NULL OR rests_until <= $2)"
        ),
        values![SILENT_MAX, now],
        |row| read!(row => Auditor { name, network, reaches }),
    )
}

pub(super) const SEED: &str = "SELECT seed FROM feed";

pub(super) fn seed(tx: &mut dyn Tx) -> Result<u64, Cause> {
    tx.value(SEED, &[])
}
