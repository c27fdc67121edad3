//! Who runs the sources' servers, and how they took us.

use super::postgres::events::Event;
use super::sql::{Alone, Cause, Row, Tx, first, read, sql, values};
use super::{ServerState, Store, StoreError};
use crate::rules::families::{FAMILY_KEPT, HostFamilies};
use crate::rules::politeness::{
    self, ADDRESS_KEPT, ADDRESSES_MAX, Cooling, Distance, Heard, Operator, Politeness,
};
use crate::rules::timestamp::Timestamp;
use canister_protocol::Source;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

impl Store {
    /// The hosts of all polled sources, in lower case.
    pub fn hosts(&mut self) -> Result<Vec<String>, StoreError> {
        let uris = "SELECT DISTINCT uri FROM source WHERE polled";
        let hosts: BTreeSet<String> = self.read(|tx| tx.query(uris, &[], host))?;
        Ok(hosts.into_iter().collect())
    }

    /// The addresses of all hosts, as far as they were seen.
    pub fn addresses(&mut self) -> Result<HashMap<String, Vec<IpAddr>>, StoreError> {
        self.read(addresses)
    }

    /// Remembers that `host` has these addresses `now`, beside those that were seen lately. Where
    /// that is new, operators are found anew.
    ///
    /// **Repeated**: the same again.
    pub fn locate(
        &mut self,
        host: &str,
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            // Operators are found by one arbiter at a time.
            tx.lock(Alone::Listing)?;
            let old = "DELETE FROM host_address WHERE seen_at < $1";
            let mut is_new = tx.execute(old, values![now.minus(ADDRESS_KEPT)])? > 0;
            let before = families(tx, host)?;
            for address in addresses.iter().take(ADDRESSES_MAX) {
                let address = address.to_canonical().to_string();
                let known =
                    "SELECT EXISTS (SELECT 1 FROM host_address WHERE host = $1 AND address = $2)";
                is_new |= !tx.value::<bool>(known, values![host, &address])?;
                tx.execute(
                    "INSERT INTO host_address (host, address, seen_at) VALUES ($1, $2, $3)
                     ON CONFLICT (host, address) DO UPDATE SET seen_at = excluded.seen_at",
                    values![host, &address, now],
                )?;
            }
            tx.execute(
                "DELETE FROM host_address WHERE host = $1 AND address NOT IN
                     (SELECT address FROM host_address WHERE host = $1
                      ORDER BY seen_at DESC, address COLLATE \"C\" LIMIT $2)",
                values![host, ADDRESSES_MAX],
            )?;
            if is_new || families(tx, host)? != before {
                regroup(tx)?;
                // What waited for one operator may be another's.
                tx.tell(Event::Look)?;
            }
            Ok(())
        })
    }

    /// Whether others may be granted what `peer` isn't: a server keeps it away, its record does, it
    /// failed where it was, it isn't believed, or something is to be read by who was drawn for it.
    pub fn is_apart(&mut self, peer: &str, now: Timestamp) -> Result<bool, StoreError> {
        let apart = "SELECT EXISTS (SELECT 1 FROM cooling WHERE peer = $1 AND until > $2)
             OR EXISTS (SELECT 1 FROM peer
                 WHERE name = $1 AND (record IS NOT NULL OR trust IN ('probation', 'suspended')))
             OR EXISTS (SELECT 1 FROM source
                 WHERE witnesses IS NOT NULL AND due_at <= $2 AND polled
                   AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.slug = source.slug))
             OR EXISTS (SELECT 1 FROM source
                 WHERE wants IS NOT NULL AND polled AND due_at <= $2)";
        self.read(|tx| tx.value(apart, values![peer, now]))
    }

    /// All domains of polled sources with their operators, by operator.
    pub fn servers(&mut self) -> Result<Vec<ServerState>, StoreError> {
        self.read(|tx| {
            let operators = operators(tx)?;
            let mut distances = distances(tx)?;
            tx.query(
                sql!(
                    "SELECT operator, domain, count(*) AS sources FROM source WHERE polled
                      GROUP BY operator, domain ORDER BY "
                        ["operator, domain" | "operator COLLATE \"C\", domain COLLATE \"C\""]
                ),
                &[],
                |row| {
                    let (name, domain): (String, String) =
                        (row.get("operator")?, row.get("domain")?);
                    Ok(ServerState {
                        operator: operators.get(&name).copied().unwrap_or_default(),
                        distance: distances.remove(&domain).unwrap_or_default(),
                        sources: row.get("sources")?,
                        name,
                        domain,
                    })
                },
            )
        })
    }
}

/// The host of a source's column `uri`.
fn host(row: Row<'_>) -> Result<String, Cause> {
    Ok(Source { uri: row.get("uri")?, ..Source::default() }.host())
}

/// A source, as far as it matters where its server is.
struct LocatedSource {
    slug: String,
    host: String,
    operator: String,
    domain: String,
    families: Option<HostFamilies>,
}

/// Which families of addresses a host has.
fn families(tx: &mut dyn Tx, host: &str) -> Result<Option<HostFamilies>, Cause> {
    let recent = "SELECT address FROM host_address WHERE host = $1 AND seen_at >
         (SELECT max(seen_at) FROM host_address WHERE host = $1) - CAST($2 AS bigint)";
    let recent: Vec<String> = tx.query(recent, values![host, FAMILY_KEPT], first)?;
    let read = recent.iter().filter_map(|address| address.parse().ok());
    Ok(HostFamilies::of(&read.collect::<Vec<_>>()))
}

pub(super) fn addresses(tx: &mut dyn Tx) -> Result<HashMap<String, Vec<IpAddr>>, Cause> {
    let mut addresses: HashMap<String, Vec<IpAddr>> = HashMap::new();
    let known: Vec<(String, String)> =
        tx.query("SELECT host, address FROM host_address", &[], |row| {
            Ok((row.get("host")?, row.get("address")?))
        })?;
    for (host, address) in known {
        addresses.entry(host).or_default().extend(address.parse::<IpAddr>());
    }
    Ok(addresses)
}

/// Finds anew who runs each source's server, and who reaches it. Every operator has a row, so that
/// there is one to lock.
pub(super) fn regroup(tx: &mut dyn Tx) -> Result<(), Cause> {
    // Who runs a server follows from all addresses that are remembered, who reaches it from the newest.
    let mut addresses: HashMap<String, Vec<IpAddr>> = HashMap::new();
    let mut newest: HashMap<String, (Timestamp, Vec<IpAddr>)> = HashMap::new();
    let known: Vec<(String, String, Timestamp)> =
        tx.query("SELECT * FROM host_address ORDER BY seen_at DESC", &[], |row| {
            Ok((row.get("host")?, row.get("address")?, row.get("seen_at")?))
        })?;
    for (host, address, seen_at) in known {
        let Ok(address) = address.parse() else { continue };
        let (last, recent) = newest.entry(host.clone()).or_insert((seen_at, Vec::new()));
        if last.since(seen_at) < FAMILY_KEPT {
            recent.push(address);
        }
        addresses.entry(host).or_default().push(address);
    }
    let sources: Vec<LocatedSource> = tx.query(
        sql!(
            "SELECT slug, uri, operator, domain, families FROM source ORDER BY slug"
                ["" | " COLLATE \"C\""]
        ),
        &[],
        |row| read!(row => LocatedSource { slug, operator, domain, families; host: host(row)? }),
    )?;
    let none = Vec::new();
    let hosts = sources.iter().map(|source| {
        let addresses = addresses.get(&source.host).unwrap_or(&none);
        (&*source.host, &**addresses)
    });
    let operators = politeness::operators(hosts);
    for before in &sources {
        let (slug, host) = (&before.slug, &before.host);
        let domain = politeness::domain(host);
        let operator = operators.get(host).unwrap_or(&domain);
        let families = match host.parse() {
            Ok(address) => HostFamilies::of(&[address]),
            Err(_) => newest.get(host).and_then(|(_, addresses)| HostFamilies::of(addresses)),
        };
        let is_moved = *operator != before.operator || domain != before.domain;
        if !is_moved && families == before.families {
            continue;
        }
        tx.execute(
            "INSERT INTO operator (name) VALUES ($1) ON CONFLICT (name) DO NOTHING",
            values![operator],
        )?;
        tx.execute(
            "UPDATE source SET operator = $2, domain = $3, families = $4 WHERE slug = $1",
            values![slug, operator, &domain, families.map(HostFamilies::word)],
        )?;
    }
    Ok(())
}

/// All operators of which something is remembered. A lease counts for whoever runs its source's
/// server now, and for whoever was thought to when it was granted.
pub(super) fn operators(tx: &mut dyn Tx) -> Result<HashMap<String, Operator>, Cause> {
    let mut operators: HashMap<String, Operator> =
        tx.query("SELECT name, last_lease_ended FROM operator", &[], |row| {
            let last_ended = row.get("last_lease_ended")?;
            Ok((row.get("name")?, Operator { is_leased: false, last_ended }))
        })?;
    let leased: Vec<String> = tx.query(
        "SELECT operator FROM lease
         UNION SELECT source.operator FROM lease JOIN source ON source.slug = lease.slug",
        &[],
        first,
    )?;
    for name in leased {
        operators.entry(name).or_default().is_leased = true;
    }
    Ok(operators)
}

/// The distances from all domains from which there are any.
pub(super) fn distances(tx: &mut dyn Tx) -> Result<HashMap<String, Distance>, Cause> {
    let mut distances: HashMap<String, Distance> =
        tx.query("SELECT * FROM distance", &[], |row| Ok((row.get("domain")?, taken(row)?)))?;
    let cooled: Vec<(String, (String, Cooling))> =
        tx.query("SELECT * FROM cooling", &[], |row| Ok((row.get("domain")?, cooling(row)?)))?;
    for (domain, (peer, cooling)) in cooled {
        distances.entry(domain).or_default().cooling.insert(peer, cooling);
    }
    Ok(distances)
}

/// How `domain`'s servers took us.
pub(super) fn distance(tx: &mut dyn Tx, domain: &str) -> Result<Distance, Cause> {
    let taken = tx.maybe("SELECT * FROM distance WHERE domain = $1", values![domain], taken)?;
    let cooling = tx.query("SELECT * FROM cooling WHERE domain = $1", values![domain], cooling)?;
    Ok(Distance { cooling, ..taken.unwrap_or_default() })
}

fn taken(row: Row<'_>) -> Result<Distance, Cause> {
    read!(row => Distance { refusals, rests_until; cooling: BTreeMap::new() })
}

fn cooling(row: Row<'_>) -> Result<(String, Cooling), Cause> {
    let cooling: Result<_, Cause> = read!(row => Cooling { refusals, until });
    Ok((row.get("peer")?, cooling?))
}

/// Remembers what `peer` heard of `domain`.
pub(super) fn heard(
    tx: &mut dyn Tx,
    domain: &str,
    peer: &str,
    heard: Heard,
    now: Timestamp,
    terms: &Politeness,
) -> Result<(), Cause> {
    if heard == Heard::Nothing {
        return Ok(());
    }
    // Two at once would count the same.
    tx.execute(
        sql!(""["" | "SELECT FROM distance WHERE domain = $1 FOR UPDATE"]),
        values![domain],
    )?;
    let before = distance(tx, domain)?;
    let mut distance = before.clone();
    distance.after(peer, heard, now, terms);
    if distance == before {
        return Ok(());
    }
    tx.execute(
        "INSERT INTO distance (domain, refusals, rests_until) VALUES ($1, $2, $3)
         ON CONFLICT (domain) DO UPDATE SET
             refusals = excluded.refusals, rests_until = excluded.rests_until",
        values![domain, distance.refusals, distance.rests_until],
    )?;
    match distance.cooling.get(peer) {
        Some(cooling) => tx.execute(
            "INSERT INTO cooling (domain, peer, refusals, until) VALUES ($1, $2, $3, $4)
             ON CONFLICT (domain, peer) DO UPDATE SET
                 refusals = excluded.refusals, until = excluded.until",
            values![domain, peer, cooling.refusals, cooling.until],
        )?,
        None => tx.execute(
            "DELETE FROM cooling WHERE domain = $1 AND peer = $2",
            values![domain, peer],
        )?,
    };
    Ok(())
}

/// The next moment at which a pause, a rest or a distance ends.
pub(super) fn next_welcome(
    tx: &mut dyn Tx,
    now: Timestamp,
    terms: &Politeness,
) -> Result<Option<Timestamp>, Cause> {
    tx.value(
        "SELECT least(
             (SELECT min(last_lease_ended) + CAST($2 AS bigint) FROM operator
                 WHERE last_lease_ended > CAST($1 AS bigint) - CAST($2 AS bigint)
                   AND last_lease_ended <= $1),
             (SELECT min(rests_until) FROM distance WHERE rests_until > $1),
             (SELECT min(until) FROM cooling WHERE until > $1))",
        // Added to a moment below: so long a pause is for ever.
        values![now, terms.pause.min(Duration::from_secs(u32::MAX.into()))],
    )
}
