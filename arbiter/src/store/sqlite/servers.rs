//! Servers: who runs which host, and how they took us.

use super::{Cause, Sqlite, count, signed};
use crate::politeness::{
    self, ADDRESS_KEPT, ADDRESSES_MAX, Cooling, Distance, Heard, Operator, Politeness,
};
use crate::store::{ServerState, StoreError};
use crate::timestamp::Timestamp;
use canister_protocol::Source;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

impl Sqlite {
    pub(in crate::store) fn hosts(&mut self) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT DISTINCT uri FROM source WHERE polled")?;
            let uris = statement.query_map([], |row| row.get::<_, String>(0))?;
            let mut hosts = Vec::new();
            for uri in uris {
                hosts.push(host(&uri?));
            }
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
            let mut is_new = tx
                .prepare_cached("DELETE FROM host_address WHERE seen_at < ?1")?
                .execute([now.minus(ADDRESS_KEPT)])?
                > 0;
            for address in addresses.iter().take(ADDRESSES_MAX) {
                let address = address.to_canonical().to_string();
                let known: Option<i64> = tx
                    .prepare_cached("SELECT 1 FROM host_address WHERE host = ?1 AND address = ?2")?
                    .query_row([host, &address], |row| row.get(0))
                    .optional()?;
                is_new |= known.is_none();
                tx.prepare_cached(
                    "INSERT OR REPLACE INTO host_address (host, address, seen_at)
                     VALUES (?1, ?2, ?3)",
                )?
                .execute(params![host, address, now])?;
            }
            tx.prepare_cached(
                "DELETE FROM host_address WHERE host = ?1 AND address NOT IN
                     (SELECT address FROM host_address WHERE host = ?1
                      ORDER BY seen_at DESC, address LIMIT ?2)",
            )?
            .execute(params![host, signed(ADDRESSES_MAX as u64)])?;
            if is_new {
                regroup(tx)?;
            }
            Ok(())
        })
    }

    pub(in crate::store) fn is_sent_away(
        &mut self,
        peer: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT 1 FROM cooling WHERE peer = ?1 AND until > ?2 LIMIT 1")?;
            Ok(statement.exists(params![peer, now])?)
        })
    }

    pub(in crate::store) fn servers(&mut self) -> Result<Vec<ServerState>, StoreError> {
        self.read(|connection| {
            let operators = operators(connection)?;
            let mut distances = distances(connection)?;
            let mut statement = connection.prepare_cached(
                "SELECT operator, domain, count(*) AS sources FROM source WHERE polled
                 GROUP BY operator, domain ORDER BY operator, domain",
            )?;
            let servers = statement.query_map([], |row| {
                let (name, domain): (String, String) = (row.get("operator")?, row.get("domain")?);
                Ok(ServerState {
                    operator: operators.get(&name).copied().unwrap_or_default(),
                    distance: distances.remove(&domain).unwrap_or_default(),
                    sources: count(row, "sources")?,
                    name,
                    domain,
                })
            })?;
            Ok(servers.collect::<Result<_, _>>()?)
        })
    }
}

fn host(uri: &str) -> String {
    Source { uri: uri.to_owned(), ..Source::default() }.host()
}

/// Finds anew who runs each source's server.
pub(super) fn regroup(tx: &Connection) -> Result<(), Cause> {
    let mut addresses: HashMap<String, Vec<IpAddr>> = HashMap::new();
    {
        let mut statement = tx.prepare_cached("SELECT host, address FROM host_address")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let address: String = row.get(1)?;
            if let Ok(address) = address.parse() {
                addresses.entry(row.get(0)?).or_default().push(address);
            }
        }
    }
    let mut sources: Vec<(String, String, String, String)> = Vec::new();
    {
        let mut statement =
            tx.prepare_cached("SELECT slug, uri, operator, domain FROM source ORDER BY slug")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let uri: String = row.get(1)?;
            sources.push((row.get(0)?, host(&uri), row.get(2)?, row.get(3)?));
        }
    }
    let none = Vec::new();
    let hosts = sources.iter().map(|(_, host, ..)| {
        let addresses = addresses.get(host).unwrap_or(&none);
        (&**host, &**addresses)
    });
    let operators = politeness::operators(hosts);
    for (slug, host, before, domain_before) in &sources {
        let domain = politeness::domain(host);
        let operator = operators.get(host).unwrap_or(&domain);
        if operator != before || domain != *domain_before {
            tx.prepare_cached("UPDATE source SET operator = ?2, domain = ?3 WHERE slug = ?1")?
                .execute([slug, operator, &domain])?;
        }
    }
    Ok(())
}

/// All operators of which something is remembered. A lease counts for whoever runs its source's
/// server now, and for whoever was thought to when it was granted.
pub(super) fn operators(connection: &Connection) -> Result<HashMap<String, Operator>, Cause> {
    let mut operators: HashMap<String, Operator> = HashMap::new();
    let mut statement = connection.prepare_cached("SELECT name, last_lease_ended FROM operator")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        operators.entry(row.get(0)?).or_default().last_ended = row.get(1)?;
    }
    let mut statement = connection.prepare_cached(
        "SELECT operator FROM lease
         UNION SELECT source.operator FROM lease JOIN source ON source.slug = lease.slug",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        operators.entry(row.get(0)?).or_default().is_leased = true;
    }
    Ok(operators)
}

/// The distances from all domains from which there are any.
pub(super) fn distances(connection: &Connection) -> Result<HashMap<String, Distance>, Cause> {
    let mut distances: HashMap<String, Distance> = HashMap::new();
    let mut statement =
        connection.prepare_cached("SELECT domain, refusals, rests_until FROM distance")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let distance =
            Distance { refusals: row.get(1)?, rests_until: row.get(2)?, cooling: BTreeMap::new() };
        distances.insert(row.get(0)?, distance);
    }
    let mut statement =
        connection.prepare_cached("SELECT domain, peer, refusals, until FROM cooling")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let cooling = Cooling { refusals: row.get(2)?, until: row.get(3)? };
        let distance = distances.entry(row.get(0)?).or_default();
        distance.cooling.insert(row.get(1)?, cooling);
    }
    Ok(distances)
}

/// How `domain`'s servers took us.
pub(super) fn distance(tx: &Connection, domain: &str) -> Result<Distance, Cause> {
    Ok(distances(tx)?.remove(domain).unwrap_or_default())
}

/// Remembers what `peer` heard of `domain`.
pub(super) fn heard(
    tx: &Connection,
    domain: &str,
    peer: &str,
    heard: Heard,
    now: Timestamp,
    terms: &Politeness,
) -> Result<(), Cause> {
    let before = distance(tx, domain)?;
    let mut distance = before.clone();
    distance.after(peer, heard, now, terms);
    if distance == before {
        return Ok(());
    }
    tx.prepare_cached(
        "INSERT OR REPLACE INTO distance (domain, refusals, rests_until) VALUES (?1, ?2, ?3)",
    )?
    .execute(params![domain, distance.refusals, distance.rests_until])?;
    match distance.cooling.get(peer) {
        Some(cooling) => tx
            .prepare_cached(
                "INSERT OR REPLACE INTO cooling (domain, peer, refusals, until)
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![domain, peer, cooling.refusals, cooling.until])?,
        None => tx
            .prepare_cached("DELETE FROM cooling WHERE domain = ?1 AND peer = ?2")?
            .execute([domain, peer])?,
    };
    Ok(())
}

/// The next moment at which a pause, a rest or a distance ends.
pub(super) fn next_welcome(
    connection: &Connection,
    now: Timestamp,
    terms: &Politeness,
) -> Result<Option<Timestamp>, Cause> {
    let pause = i64::try_from(terms.pause.as_millis()).unwrap_or(i64::MAX / 2);
    let mut statement = connection.prepare_cached(
        "SELECT min(moment) FROM (
             SELECT min(last_lease_ended) + ?2 AS moment FROM operator
                 WHERE last_lease_ended > ?1 - ?2 AND last_lease_ended <= ?1
             UNION ALL SELECT min(rests_until) FROM distance WHERE rests_until > ?1
             UNION ALL SELECT min(until) FROM cooling WHERE until > ?1)",
    )?;
    Ok(statement.query_row(params![now, pause], |row| row.get(0))?)
}
