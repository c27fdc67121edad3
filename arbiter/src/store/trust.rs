//! Second readings: what an audit or a reread comes to, and whom that makes believed. What is decided
//! is in `rules/trust.rs`; here is what it is decided by, and what follows.

use super::sql::{Cause, Row, Tx, first, read, refused, sql, values};
use super::{
    Dispute, DisputedRow, EVIDENCE_MAX, Lease, Publication, SourceState, Store, StoreError, Terms,
};
use super::{leases, publications, roster};
use crate::rules::decision::Decided;
use crate::rules::timestamp::Timestamp;
use crate::rules::trust::{
    self, AuditedContact, Checks, Comparison, LeaseKind, PeerReading, PeerTrust, READINGS_MAX,
    RECENT, Ruling, compare, rule,
};
use canister_protocol::audit::Commitment;
use canister_protocol::message::Origin;

/// Why a lease ended whose peer is believed no more.
pub(super) const SUSPENDED: &str = "the peer is suspended";
/// In which part of its time a peer is audited again after an audit that came too late.
const SOONER: u32 = 8;
/// Peers that are kept of those who confirmed a publication, the newest.
const CONFIRMERS_KEPT: usize = 8;

impl Store {
    /// The disputes about a source, or those about all that are open `now`, newest first, at most `limit`.
    pub fn disputes(
        &mut self,
        slug: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Dispute>, StoreError> {
        self.read(|tx| {
            let numbers: Vec<u64> = tx.query(
                "SELECT number FROM dispute WHERE slug = $1 OR $1 = '' AND closed_at IS NULL
                 ORDER BY number DESC LIMIT $2",
                values![slug.unwrap_or_default(), limit],
                first,
            )?;
            let candidates = match numbers.is_empty() {
                true => Vec::new(),
                false => roster::candidates(tx, now)?,
            };
            let found = numbers.into_iter().map(|number| {
                let found = dispute(tx, number)?;
                let has_read = |name: &str| found.readings.iter().any(|it| it.peer == name);
                let is_waiting =
                    found.closed_at.is_none() && candidates.iter().all(|it| has_read(&it.name));
                Ok(Dispute { is_waiting, ..found })
            });
            found.collect()
        })
    }

    /// Shuts peers out of the database that are suspended or on probation, where they have roles in it;
    /// those that it did.
    ///
    /// **Repeated**: there is nothing left to do.
    ///
    /// # Errors
    /// As [`Postgres::drop_role`](super::Postgres::drop_role).
    pub fn shut_out(&mut self) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Postgres(store) => store.shut_out(),
            Self::Sqlite(_) => Ok(Vec::new()),
        }
    }

    /// Has the role of a peer be called as its certificate now says, where an earlier arbiter called it as
    /// the peer; whether that was so.
    ///
    /// **Repeated**: no.
    ///
    /// # Errors
    /// `Io` where the rights don't suffice.
    pub fn rename_role(&mut self, peer: &str, role: &str) -> Result<bool, StoreError> {
        match self {
            Self::Postgres(store) => store.rename_role(peer, role),
            Self::Sqlite(_) => Ok(false),
        }
    }

    /// Lets a peer into the database again that was shut out.
    ///
    /// **Repeated**: the same again.
    ///
    /// # Errors
    /// As [`Postgres::create_role`](super::Postgres::create_role).
    pub fn let_in(&mut self, peer: &str) -> Result<(), StoreError> {
        match self {
            Self::Postgres(store) => store.let_in(peer),
            Self::Sqlite(_) => Ok(()),
        }
    }
}

/// The commitment to the rows that a source has, or would have once what is staged under the lease is
/// published, but those with the ids `doubles`.
fn commitment(
    tx: &mut dyn Tx,
    slug: &str,
    token: u64,
    doubles: &[String],
) -> Result<String, Cause> {
    // A staged id is compared as the index of `package` has it, or all packages would be read.
    let digests = sql!(
        "SELECT " ["digest" | "coalesce(string_agg(digest, ''::bytea ORDER BY digest), '')"]
        " FROM (
             SELECT id, digest FROM package
             WHERE repository_id = $1 AND left_at IS NULL AND digest IS NOT NULL
               AND digest NOT IN (SELECT digest FROM staging_dropped WHERE token = $2)
             UNION ALL
             SELECT id, digest FROM staging
             WHERE token = $2
               AND " ["seq IN (SELECT min(seq)" | "(place, id) IN (SELECT min(place), id"]
                   " FROM staging WHERE token = $2 GROUP BY id)
               AND NOT EXISTS (
                   SELECT 1 FROM package
                   WHERE package.id = staging.id" ["" | " COLLATE \"default\""] " AND left_at IS NULL
                     AND package.digest NOT IN
                         (SELECT digest FROM staging_dropped WHERE token = $2))) AS rows
         WHERE id NOT IN (" ["SELECT value FROM json_each($3)" | "SELECT unnest($3::text[])"] ")"
        [" ORDER BY digest" | ""]
    );
    let mut commitment = Commitment::default();
    let doubles = doubles.to_vec();
    tx.each(digests, values![slug, token, &doubles], &mut |row| {
        commitment.add(&first::<Vec<u8>>(row)?);
        Ok(())
    })?;
    Ok(commitment.text())
}

/// What a second reading came to.
#[derive(Debug, Default)]
pub(super) struct ReadAgain {
    pub(super) comparison: Option<Comparison>,
    /// What the source wants from now on.
    pub(super) checks: Checks,
    /// Whether it is due at once for that.
    pub(super) is_due: bool,
    /// Whether two peers agree on what is published by this.
    pub(super) is_agreed: bool,
    /// Who is to be suspended, and why.
    pub(super) alone: Vec<(String, String)>,
    /// Who proved itself by this.
    pub(super) proven: Vec<String>,
}

/// The publications that answer for a source's rows, and for which index its head lists.
fn answering(
    tx: &mut dyn Tx,
    source: &SourceState,
) -> Result<Option<(Publication, Publication)>, Cause> {
    let rows = publications::of(tx, source.checks.rows_from)?;
    let newest = publications::of(tx, source.publication)?;
    Ok(rows.zip(newest))
}

/// Where a peer comes from, and its row mapping.
fn whence(tx: &mut dyn Tx, peer: &str) -> Result<(String, Option<u32>), Cause> {
    let whence = "SELECT network, mapping FROM peer WHERE name = $1";
    let whence =
        tx.maybe(whence, values![peer], |row| Ok((row.get("network")?, row.get("mapping")?)))?;
    Ok(whence.unwrap_or_default())
}

fn reading(
    tx: &mut dyn Tx,
    peer: &str,
    origin: &Origin,
    commitment: String,
) -> Result<PeerReading, Cause> {
    let (network, mapping) = whence(tx, peer)?;
    let Origin { head, index_path, index_digest, .. } = origin.clone();
    Ok(PeerReading {
        peer: peer.to_owned(),
        network,
        mapping,
        head,
        index_path,
        index_digest,
        commitment,
    })
}

/// What an audit of `source` under `lease` comes to, which read this. Both peers are credited where
/// they agree; a dispute begins where they differ.
pub(super) fn audited(
    tx: &mut dyn Tx,
    lease: &Lease,
    source: &SourceState,
    (origin, doubles, committed): (&Origin, &[String], &str),
    terms: &Terms,
    now: Timestamp,
) -> Result<ReadAgain, Cause> {
    let Some((remembered, (rows, newest))) = source.origin.as_ref().zip(answering(tx, source)?)
    else {
        return refused(format!("lease {}: nothing is published of its source", lease.token));
    };
    let second = reading(tx, &lease.peer, origin, committed.to_owned())?;
    let is_rows = remembered.index_digest == origin.index_digest;
    let accused = if is_rows { &rows } else { &newest };
    let had = commitment(tx, &lease.slug, lease.token, doubles)?;
    let first = PeerReading {
        peer: accused.peer.clone(),
        network: accused.network.clone(),
        mapping: accused.mapping,
        head: remembered.head.clone(),
        index_path: remembered.index_path.clone(),
        index_digest: remembered.index_digest.clone(),
        commitment: had,
    };
    let comparison = compare(&first, &second);
    let mut came = ReadAgain {
        comparison: Some(comparison),
        checks: Checks { wants: None, checked_at: Some(now), ..source.checks.clone() },
        ..ReadAgain::default()
    };
    let parties = [&first, &second].map(|it| (&it.peer, &it.network));
    let not_by = parties.iter().flat_map(|(peer, network)| [(*peer).clone(), (*network).clone()]);
    came.checks.not_by = not_by.filter(|text| !text.is_empty()).collect();
    match comparison {
        Comparison::Apart => {}
        Comparison::Confirmed => {
            came.proven.extend(confirm(tx, &rows, &lease.peer, now)?);
            if newest.lease != rows.lease {
                came.proven.extend(confirm(tx, &newest, &lease.peer, now)?);
            }
            came.proven.extend(credit(tx, &lease.peer, "audits")?);
        }
        Comparison::Disputed => {
            let number = tx.value(
                "INSERT INTO dispute (slug, publication, opened_at, doubles)
                 VALUES ($1, $2, $3, $4) RETURNING number",
                values![&lease.slug, accused.lease, now, doubles.to_vec()],
            )?;
            add(tx, number, &first, accused.published_at)?;
            add(tx, number, &second, now)?;
        }
        Comparison::Elsewhere => {
            // That says nothing of its peer: another audit of it comes sooner.
            let asked_at = now.minus(terms.audits.peer - terms.audits.peer / SOONER);
            let sooner = "UPDATE peer SET asked_at = least(asked_at, $2) WHERE name = $1";
            tx.execute(sooner, values![&accused.peer, asked_at])?;
        }
    }
    if matches!(comparison, Comparison::Disputed | Comparison::Elsewhere) {
        came.checks.wants = Some(LeaseKind::Reread);
        came.is_due = true;
    }
    Ok(came)
}

/// What a reread of `source` under `lease`, whose rows are staged, comes to. To be asked before they
/// are published.
pub(super) fn reread(
    tx: &mut dyn Tx,
    lease: &Lease,
    source: &SourceState,
    origin: &Origin,
    now: Timestamp,
) -> Result<ReadAgain, Cause> {
    let mut came = ReadAgain {
        checks: Checks { wants: None, ..source.checks.clone() },
        ..ReadAgain::default()
    };
    let open = "SELECT max(number) AS number FROM dispute WHERE slug = $1 AND closed_at IS NULL";
    let Some(number) = tx.value::<Option<u64>>(open, values![&lease.slug])? else {
        return Ok(came);
    };
    let doubles = "SELECT doubles FROM dispute WHERE number = $1";
    let doubles: Vec<String> = tx.value(doubles, values![number])?;
    let read = commitment(tx, &lease.slug, lease.token, &doubles)?;
    let newest = reading(tx, &lease.peer, origin, read)?;
    add(tx, number, &newest, now)?;
    evidence(tx, number, lease)?;
    let Dispute { publication, mut readings, .. } = dispute(tx, number)?;
    // Its peer may have changed its program, or where it is, since.
    readings.dedup_by(|later, earlier| later.peer == earlier.peer);
    let said = match rule(&readings) {
        Ruling::Alone(places) => {
            let alone = places.iter().map(|place| &*readings[*place].peer);
            let alone: Vec<&str> = alone.filter(|peer| !peer.is_empty()).collect();
            came.is_agreed = !alone.contains(&&*lease.peer);
            came.comparison = Some(Comparison::Confirmed);
            let why = format!("stood alone in dispute {number} about {}", lease.slug);
            came.alone = alone.iter().map(|&peer| (peer.to_owned(), why.clone())).collect();
            if !places.contains(&0)
                && let Some(publication) = publications::of(tx, Some(publication))?
            {
                came.proven.extend(confirm(tx, &publication, &lease.peer, now)?);
            }
            for (place, reading) in readings.iter().enumerate().skip(1) {
                if !places.contains(&place) {
                    came.proven.extend(credit(tx, &reading.peer, "audits")?);
                }
            }
            Some(format!("{} stood alone", alone.join(", ")))
        }
        Ruling::Void => Some("void: the source changed before a third peer read it".to_owned()),
        Ruling::Undecided if readings.len() >= READINGS_MAX => {
            Some(format!("undecided after {READINGS_MAX} readings"))
        }
        Ruling::Undecided => None,
    };
    match said {
        Some(said) => {
            let close = "UPDATE dispute SET closed_at = $2, ruling = $3 WHERE number = $1";
            tx.execute(close, values![number, now, said])?;
        }
        None => {
            came.checks.wants = Some(LeaseKind::Reread);
            came.checks.not_by.extend([newest.peer, newest.network]);
            came.is_due = true;
        }
    }
    Ok(came)
}

/// When a peer was last drawn upon by an audit.
pub(super) const ASKED_AT: &str = "SELECT asked_at FROM peer WHERE name = $1";

/// What follows for peers and for the source's next lease from a lease that ended by contact. `after`
/// is the source as it is from now on, `made` the publication that the lease made.
pub(super) fn contact(
    tx: &mut dyn Tx,
    lease: &Lease,
    before: &SourceState,
    after: &mut SourceState,
    made: Option<&Publication>,
    terms: &Terms,
    now: Timestamp,
) -> Result<Vec<(String, String)>, Cause> {
    let mut alone = Vec::new();
    let voucher = before.checks.vouched_by.as_deref().filter(|it| *it != lease.peer);
    let head = |state: &SourceState| state.origin.as_ref().map(|origin| origin.head.clone());
    if lease.kind == LeaseKind::Index
        && before.origin.is_some()
        && head(before) != head(after)
        && !before.is_announced
    {
        tx.defer("UPDATE peer SET missed = 0 WHERE name = $1", values![&lease.peer])?;
        if let Some(voucher) = voucher {
            let missed = "UPDATE peer SET missed = missed + 1 WHERE name = $1 RETURNING missed";
            let missed = tx.maybe(missed, values![voucher], first::<u64>)?;
            if missed.is_some_and(trust::is_blind) {
                let why = "said that sources are unchanged while others found them changed";
                alone.push((voucher.to_owned(), why.to_owned()));
            }
        }
    }
    after.checks.vouched_by = Some(lease.peer.clone());
    let Some(token) = after.checks.rows_from else {
        return Ok(alone);
    };
    if let Some(made) = made {
        alone.extend(invented(tx, made)?);
        after.checks.checked_at = after.checks.checked_at.or(Some(now));
    }
    if after.checks.wants.is_none() {
        let contact = AuditedContact {
            slug: &lease.slug,
            publication: made.map(|_| token),
            asked_at: tx.maybe(ASKED_AT, values![&lease.peer], first)?.flatten(),
            checked_at: after.checks.checked_at,
        };
        let seed = roster::seed(tx)?;
        if trust::wants_audit(contact, &terms.audits, seed, now) {
            let asked = "UPDATE peer SET asked_at = $2 WHERE name = $1";
            tx.defer(asked, values![&lease.peer, now])?;
            after.checks.wants = Some(LeaseKind::Audit);
        }
    }
    if after.checks.wants == Some(LeaseKind::Audit) {
        // Not by who answers for what there is. This lease's publication isn't there yet.
        let mut not_by = vec![lease.peer.clone(), whence(tx, &lease.peer)?.0];
        for of in [after.checks.rows_from, after.publication] {
            if let Some(publication) = publications::of(tx, of)? {
                not_by.extend([publication.peer, publication.network]);
            }
        }
        not_by.retain(|text| !text.is_empty());
        not_by.sort_unstable();
        not_by.dedup();
        after.checks.not_by = not_by;
    }
    Ok(alone)
}

/// Looks whether a publication took back one of another peer to the head of the one before; and
/// whether that peer invents heads.
fn invented(tx: &mut dyn Tx, made: &Publication) -> Result<Option<(String, String)>, Cause> {
    let before: Vec<(u64, String, String)> = tx.query(
        "SELECT lease, peer, head FROM publication
         WHERE slug = $1 AND lease <> $2 ORDER BY number DESC LIMIT 2",
        values![&made.slug, made.lease],
        |row| Ok((row.get("lease")?, row.get("peer")?, row.get("head")?)),
    )?;
    let [(lease, peer, head), (_, _, old)] = &before[..] else { return Ok(None) };
    if *peer == made.peer || *head == made.head || *old != made.head {
        return Ok(None);
    }
    tx.execute("UPDATE publication SET undone = true WHERE lease = $1", values![*lease])?;
    // What others saw, too, isn't invented. Whoever is of the same network doesn't count, unless all
    // are.
    let invented: Vec<String> = tx.query(
        "SELECT operator FROM (
             SELECT * FROM publication WHERE peer = $1 ORDER BY number DESC LIMIT $2) AS recent
         JOIN source ON source.slug = recent.slug
         WHERE undone AND NOT EXISTS (
             SELECT 1 FROM publication AS seen
             WHERE seen.slug = recent.slug AND seen.head = recent.head AND seen.peer <> $1
               AND (seen.network <> recent.network
                   OR (SELECT count(DISTINCT network) FROM peer WHERE network <> '') < 2))",
        values![peer, RECENT],
        first,
    )?;
    let why = || format!("published heads that nobody else saw, last of {}", made.slug);
    Ok(trust::is_inventor(&invented).then(|| (peer.clone(), why())))
}

/// Suspends a peer: it loses its leases, and what it published and nobody confirmed is audited. Those
/// leases.
pub(super) fn suspend(
    tx: &mut dyn Tx,
    peer: &str,
    why: &str,
    now: Timestamp,
) -> Result<Vec<Lease>, Cause> {
    let suspended = "UPDATE peer SET trust = 'suspended', trust_why = $2, trust_since = $3
         WHERE name = $1 AND trust <> 'suspended'";
    if tx.execute(suspended, values![peer, why, now])? == 0 {
        return Ok(Vec::new());
    }
    let ended = leases::end_all(tx, peer, SUSPENDED, now)?;
    let (network, _) = whence(tx, peer)?;
    let unconfirmed = "SELECT lease FROM publication WHERE peer = $1 AND confirmed_at IS NULL";
    let unconfirmed: Vec<u64> = tx.query(unconfirmed, values![peer], first)?;
    let not_by = vec![peer.to_owned(), network];
    for lease in unconfirmed {
        tx.execute(
            "UPDATE source SET wants = coalesce(wants, 'audit'), not_by = $3,
                 due_at = least(due_at, $2)
             WHERE $1 IN (publication, rows_from)",
            values![lease, now, &not_by],
        )?;
    }
    Ok(ended)
}

/// Does what the operator said of a peer.
pub(super) fn decide(
    tx: &mut dyn Tx,
    said: &Decided,
    why: &str,
    now: Timestamp,
) -> Result<Vec<Lease>, Cause> {
    match said {
        Decided::Suspend(peer) => {
            let why = if why.is_empty() { "the operator said so" } else { why };
            suspend(tx, peer, why, now)
        }
        Decided::Trust(peer) => {
            let trusted = "UPDATE peer SET trust = 'proven', trust_why = '', trust_since = NULL,
                     missed = 0
                 WHERE name = $1";
            tx.execute(trusted, values![peer])?;
            // What was held against it is past.
            let past = "UPDATE publication SET undone = false WHERE peer = $1 AND undone";
            tx.execute(past, values![peer])?;
            Ok(Vec::new())
        }
        _ => Ok(Vec::new()),
    }
}

/// Notes that `by` found the same as a publication, and credits its peer: as [`credit`].
fn confirm(
    tx: &mut dyn Tx,
    publication: &Publication,
    by: &str,
    now: Timestamp,
) -> Result<Option<String>, Cause> {
    let mut confirmed_by = publication.confirmed_by.clone();
    confirmed_by.retain(|peer| peer != by);
    confirmed_by.push(by.to_owned());
    let old = confirmed_by.len().saturating_sub(CONFIRMERS_KEPT);
    confirmed_by.drain(..old);
    tx.execute(
        "UPDATE publication SET confirmed_by = $2, confirmed_at = $3 WHERE lease = $1",
        values![publication.lease, confirmed_by, now],
    )?;
    credit(tx, &publication.peer, "confirmed")
}

/// Counts one more confirmed publication or audit of a peer; the peer, where that proves it.
fn credit(tx: &mut dyn Tx, peer: &str, what: &str) -> Result<Option<String>, Cause> {
    let credited = tx.maybe(
        "UPDATE peer SET confirmed = confirmed + CASE WHEN $2 = 'confirmed' THEN 1 ELSE 0 END,
             audits = audits + CASE WHEN $2 = 'audits' THEN 1 ELSE 0 END
         WHERE name = $1 RETURNING confirmed + audits AS all_of_it, trust",
        values![peer, what],
        |row| Ok((row.get::<u64>("all_of_it")?, row.get::<PeerTrust>("trust")?)),
    )?;
    if let Some((confirmed, trust)) = credited
        && trust.after(confirmed) != trust
    {
        let proven = "UPDATE peer SET trust = $2 WHERE name = $1";
        tx.execute(proven, values![peer, trust.after(confirmed).word()])?;
        return Ok(Some(peer.to_owned()));
    }
    Ok(None)
}

/// Adds a reading to a dispute.
fn add(tx: &mut dyn Tx, dispute: u64, it: &PeerReading, read_at: Timestamp) -> Result<(), Cause> {
    tx.execute(
        "INSERT INTO reading (dispute, peer, network, mapping, head, index_path, index_digest,
             commitment, read_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        values![
            dispute,
            &it.peer,
            &it.network,
            it.mapping,
            &it.head,
            &it.index_path,
            &it.index_digest,
            &it.commitment,
            read_at,
        ],
    )?;
    Ok(())
}

/// Keeps the rows that a reread drops and puts.
fn evidence(tx: &mut dyn Tx, dispute: u64, lease: &Lease) -> Result<(), Cause> {
    tx.execute(
        "INSERT INTO evidence (dispute, had, id, package_id, version, architecture,
             package_filename, sha256_hash, digest)
         SELECT $1, true, id, package_id, version, architecture, package_filename, sha256_hash,
             package.digest
         FROM package JOIN staging_dropped AS dropped ON dropped.digest = package.digest
         WHERE repository_id = $2 AND left_at IS NULL AND token = $3 LIMIT $4",
        values![dispute, &lease.slug, lease.token, EVIDENCE_MAX],
    )?;
    tx.execute(
        "INSERT INTO evidence (dispute, had, id, package_id, version, architecture,
             package_filename, sha256_hash, digest)
         SELECT $1, false, id, package_id, version, architecture, package_filename, sha256_hash,
             digest
         FROM staging WHERE token = $2 LIMIT $3",
        values![dispute, lease.token, EVIDENCE_MAX],
    )?;
    Ok(())
}

fn dispute(tx: &mut dyn Tx, number: u64) -> Result<Dispute, Cause> {
    let readings = tx.query(
        "SELECT * FROM reading WHERE dispute = $1 ORDER BY number",
        values![number],
        |row| {
            read!(row => PeerReading {
                peer, network, mapping, head, index_path, index_digest, commitment,
            })
        },
    )?;
    let evidence = tx.query(
        "SELECT * FROM evidence WHERE dispute = $1 ORDER BY had DESC, package_id, version",
        values![number],
        |row: Row<'_>| {
            read!(row => DisputedRow {
                had, package_id, version, architecture, package_filename, sha256_hash,
            })
        },
    )?;
    let found = tx.maybe("SELECT * FROM dispute WHERE number = $1", values![number], |row| {
        read!(row => Dispute {
            number, slug, publication, opened_at, closed_at, ruling;
            is_waiting: false, readings: Vec::new(), evidence: Vec::new()
        })
    })?;
    let found = found.ok_or_else(|| Cause::Broken(format!("no dispute {number}")))?;
    Ok(Dispute { readings, evidence, ..found })
}
