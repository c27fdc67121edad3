//! Servers: who runs which host, and how they took us.

use super::{Alone, Cause, Postgres, Tx, count, events, signed};
use crate::politeness::{
    self, ADDRESS_KEPT, ADDRESSES_MAX, Cooling, Distance, Heard, Operator, Politeness,
};
use crate::store::{ServerState, StoreError};
use crate::timestamp::Timestamp;
use canister_protocol::Source;
use postgres::Row;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

impl Postgres {
    pub(in crate::store) fn hosts(&mut self) -> Result<Vec<String>, StoreError> {
        self.read(|tx| {
            let uris = tx.query("SELECT DISTINCT uri FROM source WHERE polled", &[])?;
            let mut hosts: Vec<String> = uris.iter().map(|row| host(row.get(0))).collect();
            hosts.sort_unstable();
            hosts.dedup();
            Ok(hosts)
        })
    }

    pub(in crate::store) fn locate(
        &mut self,
        host: &str,
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            // Operators are found by one arbiter at a time.
            tx.lock(Alone::Listing)?;
            let old = "DELETE FROM host_address WHERE seen_at < $1";
            let mut is_new = tx.execute(old, &[&now.minus(ADDRESS_KEPT)])? > 0;
            for address in addresses.iter().take(ADDRESSES_MAX) {
                let address = address.to_canonical().to_string();
                let known = "SELECT FROM host_address WHERE host = $1 AND address = $2";
                is_new |= tx.maybe(known, &[&host, &address])?.is_none();
                tx.execute(
                    "INSERT INTO host_address (host, address, seen_at) VALUES ($1, $2, $3)
                     ON CONFLICT (host, address) DO UPDATE SET seen_at = excluded.seen_at",
                    &[&host, &address, &now],
                )?;
            }
            tx.execute(
                "DELETE FROM host_address WHERE host = $1 AND address NOT IN
                     (SELECT address FROM host_address WHERE host = $1
                      ORDER BY seen_at DESC, address COLLATE \"C\" LIMIT $2)",
                &[&host, &signed(ADDRESSES_MAX as u64)],
            )?;
            if is_new {
                regroup(tx)?;
                // What waited for one operator may be another's.
                events::look(tx)?;
            }
            Ok(())
        })
    }

    pub(in crate::store) fn is_sent_away(
        &mut self,
        peer: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.read(|tx| {
            let cooling = "SELECT EXISTS (SELECT FROM cooling WHERE peer = $1 AND until > $2)";
            Ok(tx.one(cooling, &[&peer, &now])?.get(0))
        })
    }

    pub(in crate::store) fn servers(&mut self) -> Result<Vec<ServerState>, StoreError> {
        self.read(|tx| {
            let operators = operators(tx)?;
            let mut distances = distances(tx)?;
            let servers = tx.query(
                "SELECT operator, domain, count(*) AS sources FROM source WHERE polled
                 GROUP BY operator, domain
                 ORDER BY operator COLLATE \"C\", domain COLLATE \"C\"",
                &[],
            )?;
            let state = |row: &Row| {
                let (name, domain): (String, String) = (row.get("operator"), row.get("domain"));
                ServerState {
                    operator: operators.get(&name).copied().unwrap_or_default(),
                    distance: distances.remove(&domain).unwrap_or_default(),
                    sources: count(row, "sources"),
                    name,
                    domain,
                }
            };
            Ok(servers.iter().map(state).collect())
        })
    }
}

fn host(uri: &str) -> String {
    Source { uri: uri.to_owned(), ..Source::default() }.host()
}

/// Finds anew who runs each source's server. Every operator has a row, so that there is one to
/// lock.
pub(super) fn regroup(tx: &mut Tx<'_>) -> Result<(), Cause> {
    let mut addresses: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for row in tx.query("SELECT host, address FROM host_address", &[])? {
        if let Ok(address) = row.get::<_, &str>("address").parse() {
            addresses.entry(row.get("host")).or_default().push(address);
        }
    }
    let rows = tx
        .query("SELECT slug, uri, operator, domain FROM source ORDER BY slug COLLATE \"C\"", &[])?;
    let sources: Vec<(&Row, String)> = rows.iter().map(|row| (row, host(row.get("uri")))).collect();
    let none = Vec::new();
    let hosts = sources.iter().map(|(_, host)| {
        let addresses = addresses.get(host).unwrap_or(&none);
        (&**host, &**addresses)
    });
    let operators = politeness::operators(hosts);
    for (row, host) in &sources {
        let domain = politeness::domain(host);
        let operator = operators.get(host).unwrap_or(&domain);
        if *operator == row.get::<_, &str>("operator") && domain == row.get::<_, &str>("domain") {
            continue;
        }
        tx.execute(
            "INSERT INTO operator (name) VALUES ($1) ON CONFLICT (name) DO NOTHING",
            &[operator],
        )?;
        tx.execute(
            "UPDATE source SET operator = $2, domain = $3 WHERE slug = $1",
            &[&row.get::<_, &str>("slug"), operator, &domain],
        )?;
    }
    Ok(())
}

/// All operators of which something is remembered. A lease counts for whoever runs its source's
/// server now, and for whoever was thought to when it was granted.
pub(super) fn operators(tx: &mut Tx<'_>) -> Result<HashMap<String, Operator>, Cause> {
    let mut operators: HashMap<String, Operator> = HashMap::new();
    for row in tx.query("SELECT name, last_lease_ended FROM operator", &[])? {
        operators.entry(row.get(0)).or_default().last_ended = row.get(1);
    }
    let leased = tx.query(
        "SELECT operator FROM lease
         UNION SELECT source.operator FROM lease JOIN source ON source.slug = lease.slug",
        &[],
    )?;
    for row in leased {
        operators.entry(row.get(0)).or_default().is_leased = true;
    }
    Ok(operators)
}

/// The distances from all domains from which there are any.
pub(super) fn distances(tx: &mut Tx<'_>) -> Result<HashMap<String, Distance>, Cause> {
    let mut distances: HashMap<String, Distance> = HashMap::new();
    for row in tx.query("SELECT * FROM distance", &[])? {
        distances.insert(row.get("domain"), distance_of(&row));
    }
    for row in tx.query("SELECT * FROM cooling", &[])? {
        let distance = distances.entry(row.get("domain")).or_default();
        distance.cooling.insert(row.get("peer"), cooling(&row));
    }
    Ok(distances)
}

/// The distance from one domain.
pub(super) fn distance(tx: &mut Tx<'_>, domain: &str) -> Result<Distance, Cause> {
    let row = tx.maybe("SELECT * FROM distance WHERE domain = $1", &[&domain])?;
    let mut distance = row.as_ref().map(distance_of).unwrap_or_default();
    for row in tx.query("SELECT * FROM cooling WHERE domain = $1", &[&domain])? {
        distance.cooling.insert(row.get("peer"), cooling(&row));
    }
    Ok(distance)
}

fn distance_of(row: &Row) -> Distance {
    Distance {
        refusals: refusals(row),
        rests_until: row.get("rests_until"),
        cooling: BTreeMap::new(),
    }
}

fn cooling(row: &Row) -> Cooling {
    Cooling { refusals: refusals(row), until: row.get("until") }
}

fn refusals(row: &Row) -> u32 {
    u32::try_from(count(row, "refusals")).unwrap_or(u32::MAX)
}

/// Remembers what `peer` heard of `domain`.
pub(super) fn heard(
    tx: &mut Tx<'_>,
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
    tx.maybe("SELECT FROM distance WHERE domain = $1 FOR UPDATE", &[&domain])?;
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
        &[&domain, &i64::from(distance.refusals), &distance.rests_until],
    )?;
    match distance.cooling.get(peer) {
        Some(cooling) => tx.execute(
            "INSERT INTO cooling (domain, peer, refusals, until) VALUES ($1, $2, $3, $4)
             ON CONFLICT (domain, peer) DO UPDATE SET
                 refusals = excluded.refusals, until = excluded.until",
            &[&domain, &peer, &i64::from(cooling.refusals), &cooling.until],
        )?,
        None => {
            tx.execute("DELETE FROM cooling WHERE domain = $1 AND peer = $2", &[&domain, &peer])?
        }
    };
    Ok(())
}

/// The next moment at which a pause, a rest or a distance ends.
pub(super) fn next_welcome(
    tx: &mut Tx<'_>,
    now: Timestamp,
    terms: &Politeness,
) -> Result<Option<Timestamp>, Cause> {
    let pause = i64::try_from(terms.pause.as_millis()).unwrap_or(i64::MAX / 2);
    let row = tx.one(
        "SELECT least(
             (SELECT min(last_lease_ended) + $2::bigint FROM operator
                 WHERE last_lease_ended > $1::bigint - $2::bigint AND last_lease_ended <= $1),
             (SELECT min(rests_until) FROM distance WHERE rests_until > $1),
             (SELECT min(until) FROM cooling WHERE until > $1))",
        &[&now, &pause],
    )?;
    Ok(row.get(0))
}
