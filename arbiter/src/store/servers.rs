//! Who runs the sources' servers, and how they took us.

use super::postgres::events::Event;
use super::sql::{Alone, Cause, Row, Sql, SqlValue, Tx, first, read, sql, values};
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
        let hosts = "SELECT DISTINCT host FROM source WHERE polled";
        let hosts: BTreeSet<String> = self.read(|tx| tx.query(hosts, &[], first))?;
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
            let old = "DELETE FROM host_address WHERE seen_at < $1 RETURNING host";
            let mut moved: Vec<String> = tx.query(old, values![now.minus(ADDRESS_KEPT)], first)?;
            let mut is_new = false;
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
                moved.push(host.to_owned());
            }
            if !moved.is_empty() {
                regroup_around(tx, &moved)?;
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
                 WHERE wants IS NOT NULL AND polled AND due_at <= $2)
             OR EXISTS (SELECT 1 FROM front JOIN near ON near.domain = front.domain AND near.peer = $1
                 WHERE front.due_at <= $2 AND NOT front.leased AND front.rests_since IS NULL)";
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

/// A source, as far as it matters where its server is.
struct LocatedSource {
    slug: String,
    uri: String,
    host: String,
    operator: String,
    domain: String,
    families: Option<HostFamilies>,
}

fn located(row: Row<'_>) -> Result<LocatedSource, Cause> {
    read!(row => LocatedSource { slug, uri, host, operator, domain, families })
}

/// An address of a host, and when it was last seen there.
type SeenAddress = (String, String, Timestamp);

fn seen_address(row: Row<'_>) -> Result<SeenAddress, Cause> {
    Ok((row.get("host")?, row.get("address")?, row.get("seen_at")?))
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

/// The addresses of some hosts, as far as they were seen.
pub(super) fn addresses_of(
    tx: &mut dyn Tx,
    hosts: &[String],
) -> Result<HashMap<String, Vec<IpAddr>>, Cause> {
    let hosts = serde_json::to_string(hosts).expect("strings are always JSON");
    let known: Vec<(String, String)> = tx.query(
        sql!("SELECT host, address FROM host_address WHERE host IN (SELECT value FROM "
            ["json_each($1)" | "json_array_elements_text($1::text::json)"] ")"),
        values![hosts],
        |row| Ok((row.get("host")?, row.get("address")?)),
    )?;
    let mut addresses: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for (host, address) in known {
        addresses.entry(host).or_default().extend(address.parse::<IpAddr>());
    }
    Ok(addresses)
}

/// Finds anew who runs each source's server, and who reaches it. Every operator has a row, so that
/// there is one to lock.
pub(super) fn regroup(tx: &mut dyn Tx) -> Result<(), Cause> {
    let known = "SELECT * FROM host_address ORDER BY seen_at DESC";
    let known: Vec<SeenAddress> = tx.query(known, &[], seen_address)?;
    let sources = "SELECT slug, uri, host, operator, domain, families FROM source";
    let mut sources: Vec<LocatedSource> = tx.query(sources, &[], located)?;
    for source in &mut sources {
        let host = Source { uri: source.uri.clone(), ..Source::default() }.host();
        if host != source.host {
            let fill = "UPDATE source SET host = $2 WHERE slug = $1";
            tx.defer(fill, values![&source.slug, &host])?;
            source.host = host;
        }
    }
    place(tx, known, sources)
}

/// As [`regroup`], where only these hosts have moved, or are new: of them and of all that have, had or get
/// an operator with them.
pub(super) fn regroup_around(tx: &mut dyn Tx, hosts: &[String]) -> Result<(), Cause> {
    let mut domains: BTreeSet<String> = hosts.iter().map(|host| politeness::domain(host)).collect();
    // A few of very many, whatever the planner takes it for: row by row, in the indexes that are there for it.
    for scan in ["seqscan", "hashjoin", "mergejoin"] {
        let off = sql!(""["" | "SELECT set_config('enable_' || $1, 'off', true)"]);
        tx.defer(off, values![scan])?;
    }
    loop {
        let text = serde_json::to_string(&domains).expect("strings are always JSON");
        let also: BTreeSet<String> = tx.query(
            sql!(
                "WITH named AS MATERIALIZED (SELECT CAST(value AS text) AS domain FROM "
                    ["json_each($1)" | "json_array_elements_text($1::text::json)"] "),
                 near AS MATERIALIZED (SELECT domain, host FROM source WHERE operator IN (
                     SELECT operator FROM source WHERE domain IN (SELECT domain FROM named)))
                 SELECT domain FROM near
                 UNION SELECT domain FROM source WHERE host IN (
                     SELECT host FROM host_address WHERE address IN (
                         SELECT address FROM host_address WHERE host IN (SELECT host FROM near)))"
            ),
            values![&text],
            first,
        )?;
        if also.is_subset(&domains) {
            let known = sql!(
                "SELECT * FROM host_address WHERE host IN (
                     SELECT host FROM source WHERE domain IN (SELECT value FROM "
                    ["json_each($1)" | "json_array_elements_text($1::text::json)"] "))
                 ORDER BY seen_at DESC"
            );
            let sources = sql!(
                "SELECT slug, uri, host, operator, domain, families FROM source
                 WHERE domain IN (SELECT value FROM "
                    ["json_each($1)" | "json_array_elements_text($1::text::json)"] ")"
            );
            let known: Vec<SeenAddress> = tx.query(known, values![&text], seen_address)?;
            let sources: Vec<LocatedSource> = tx.query(sources, values![&text], located)?;
            return place(tx, known, sources);
        }
        domains.extend(also);
    }
}

/// Writes who runs the servers of these sources, and who reaches them, by all addresses that are `known` of
/// their hosts, the newest first.
fn place(
    tx: &mut dyn Tx,
    known: Vec<SeenAddress>,
    mut sources: Vec<LocatedSource>,
) -> Result<(), Cause> {
    // Who runs a server follows from all addresses that are remembered, who reaches it from the newest.
    let mut addresses: HashMap<String, Vec<IpAddr>> = HashMap::new();
    let mut newest: HashMap<String, (Timestamp, Vec<IpAddr>)> = HashMap::new();
    for (host, address, seen_at) in known {
        let Ok(address) = address.parse() else { continue };
        let (last, recent) = newest.entry(host.clone()).or_insert((seen_at, Vec::new()));
        if last.since(seen_at) < FAMILY_KEPT {
            recent.push(address);
        }
        addresses.entry(host).or_default().push(address);
    }
    sources.sort_unstable_by(|one, other| one.slug.cmp(&other.slug));
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
        tx.defer(
            "INSERT INTO operator (name) VALUES ($1) ON CONFLICT (name) DO NOTHING",
            values![operator],
        )?;
        tx.defer(
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

/// How the servers of a domain took us.
const TAKEN: [Sql; 2] = [
    sql!("SELECT * FROM distance WHERE domain = $1"),
    sql!("SELECT * FROM cooling WHERE domain = $1"),
];
/// The same of a lease's source; two that end at once must not count the same.
const TAKEN_ENDING: [Sql; 2] = [
    sql!(
        "SELECT * FROM distance WHERE domain = (SELECT domain FROM lease JOIN source
         ON source.slug = lease.slug WHERE token = $1)"["" | " FOR UPDATE"]
    ),
    sql!(
        "SELECT * FROM cooling WHERE domain = (SELECT domain FROM lease JOIN source
         ON source.slug = lease.slug WHERE token = $1)"
    ),
];

/// How `domain`'s servers took us.
pub(super) fn distance(tx: &mut dyn Tx, domain: &str) -> Result<Distance, Cause> {
    distance_of(tx, TAKEN, values![domain])
}

/// The same of a lease's source, until this transaction is over.
pub(super) fn distance_ending(tx: &mut dyn Tx, token: u64) -> Result<Distance, Cause> {
    distance_of(tx, TAKEN_ENDING, values![token])
}

fn distance_of(
    tx: &mut dyn Tx,
    [of_domain, of_peers]: [Sql; 2],
    values: &[SqlValue<'_>],
) -> Result<Distance, Cause> {
    tx.foresee(of_peers, values)?;
    let taken = tx.maybe(of_domain, values, taken)?;
    let cooling = tx.query(of_peers, values, cooling)?;
    Ok(Distance { cooling, ..taken.unwrap_or_default() })
}

/// That [`distance`] or [`distance_ending`] is about to be asked for.
pub(super) fn foresee(tx: &mut dyn Tx, of: Result<&str, u64>) -> Result<(), Cause> {
    let (taken, value) = match of {
        Ok(domain) => (TAKEN, domain.into()),
        Err(token) => (TAKEN_ENDING, token.into()),
    };
    taken.into_iter().try_for_each(|sql| tx.foresee(sql, std::slice::from_ref(&value)))
}

fn taken(row: Row<'_>) -> Result<Distance, Cause> {
    read!(row => Distance { refusals, rests_until; cooling: BTreeMap::new() })
}

fn cooling(row: Row<'_>) -> Result<(String, Cooling), Cause> {
    let cooling: Result<_, Cause> = read!(row => Cooling { refusals, until });
    Ok((row.get("peer")?, cooling?))
}

/// Remembers what `peer` heard of `domain`, from which the distance was what it was `before`.
pub(super) fn heard(
    tx: &mut dyn Tx,
    (domain, before): (&str, &Distance),
    peer: &str,
    heard: Heard,
    now: Timestamp,
    terms: &Politeness,
) -> Result<(), Cause> {
    let mut distance = before.clone();
    distance.after(peer, heard, now, terms);
    if distance == *before {
        return Ok(());
    }
    tx.defer(
        "INSERT INTO distance (domain, refusals, rests_until) VALUES ($1, $2, $3)
         ON CONFLICT (domain) DO UPDATE SET
             refusals = excluded.refusals, rests_until = excluded.rests_until",
        values![domain, distance.refusals, distance.rests_until],
    )?;
    match distance.cooling.get(peer) {
        Some(cooling) => tx.defer(
            "INSERT INTO cooling (domain, peer, refusals, until) VALUES ($1, $2, $3, $4)
             ON CONFLICT (domain, peer) DO UPDATE SET
                 refusals = excluded.refusals, until = excluded.until",
            values![domain, peer, cooling.refusals, cooling.until],
        ),
        None => {
            tx.defer("DELETE FROM cooling WHERE domain = $1 AND peer = $2", values![domain, peer])
        }
    }
}

/// The next moment at which a pause, a rest or a distance ends.
pub(super) fn next_welcome(
    tx: &mut dyn Tx,
    now: Timestamp,
    terms: &Politeness,
) -> Result<Option<Timestamp>, Cause> {
    tx.value(WELCOME, &welcome_values(now, terms))
}

/// That [`next_welcome`] is about to be asked for.
pub(super) fn foresee_welcome(
    tx: &mut dyn Tx,
    now: Timestamp,
    terms: &Politeness,
) -> Result<(), Cause> {
    tx.foresee(WELCOME, &welcome_values(now, terms))
}

// Added to a moment: so long a pause is for ever.
fn welcome_values(now: Timestamp, terms: &Politeness) -> [SqlValue<'static>; 2] {
    [now.into(), terms.pause.min(Duration::from_secs(u32::MAX.into())).into()]
}

const WELCOME: &str = "SELECT least(
             (SELECT min(last_lease_ended) + CAST($2 AS bigint) FROM operator
                 WHERE last_lease_ended > CAST($1 AS bigint) - CAST($2 AS bigint)
                   AND last_lease_ended <= $1),
             (SELECT min(rests_until) FROM distance WHERE rests_until > $1),
             (SELECT min(until) FROM cooling WHERE until > $1))";
