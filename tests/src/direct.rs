//! A network whose peers may write into PostgreSQL themselves: the shipped configuration, TLS, a line
//! that can be cut.

use crate::network::{Network, role};
use crate::postgres::{Cluster, Database, Line, Tls};
use canister_arbiter::store::Postgres;
use canister_authority::{Authority, DAYS, Pair};
use canister_link::identity::Files;
use canister_protocol::Source;
use std::time::Duration;

/// A server, the line over which agents reach it, and a network on it whose peers have roles.
#[derive(Debug)]
pub struct Direct {
    /// The network, whose store is the server's database.
    pub network: Network,
    /// What peers are told to connect to.
    pub line: Line,
    /// The database `canister`.
    pub database: Database,
    /// The server.
    pub cluster: Cluster,
}

/// Where whoever has these files logs in as `role`, as an agent does.
pub fn peers_address(cluster: &Cluster, role: &str, files: &Files) -> String {
    format!(
        "host=localhost hostaddr=127.0.0.1 port={} dbname=canister user={role} \
         sslmode=verify-full sslrootcert={} sslcert={} sslkey={}",
        cluster.port(),
        files.authority.display(),
        files.certificate.display(),
        files.key.display()
    )
}

/// What a server has of certificates, in PEM.
#[derive(Debug)]
pub struct Certificates {
    /// Its own certificate and key.
    pub own: Pair,
    /// Whose peers it takes.
    pub authority: String,
    /// Whom of these it doesn't.
    pub revoked: Option<String>,
}

impl Certificates {
    /// Those that an operator would give a server that is reached as `localhost`.
    pub fn of(authority: &Authority) -> Self {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        Self {
            own: authority.new_server(&names, DAYS).unwrap(),
            authority: authority.certificate().to_owned(),
            revoked: None,
        }
    }
}

impl Direct {
    /// Starts all of it; `peers` get roles.
    pub fn start(sources: &[Source], peers: &[&str], delay: Duration) -> Self {
        Self::start_with(sources, peers, delay, Certificates::of)
    }

    /// The same with other certificates of the server's.
    pub fn start_with(
        sources: &[Source],
        peers: &[&str],
        delay: Duration,
        certificates: impl FnOnce(&Authority) -> Certificates,
    ) -> Self {
        let mut cluster = None;
        let mut line = None;
        let network = Network::start_with(sources, |authority| {
            let has = certificates(authority);
            let cluster = cluster.insert(Cluster::with_certificates(&Tls {
                certificate: &has.own.certificate,
                key: &has.own.key,
                authority: &has.authority,
                revoked: has.revoked.as_deref(),
            }));
            let line = line.insert(Line::to(cluster.port(), delay));
            let options = [
                "--database".to_owned(),
                arbiters_address(cluster),
                "--peers-database".to_owned(),
                format!("localhost:{}/canister", line.port()),
            ];
            options.to_vec()
        });
        let (cluster, line) = (cluster.unwrap(), line.unwrap());
        let direct = Self { network, line, database: cluster.canister(), cluster };
        for peer in peers {
            direct.admit(peer, &direct.network.peer(peer));
        }
        direct
    }

    /// Gives a peer with these files a role.
    pub fn admit(&self, peer: &str, files: &Files) {
        let address = arbiters_address(&self.cluster).parse().unwrap();
        Postgres::open(address, "operator").unwrap().create_role(peer, &role(files)).unwrap();
    }

    /// Where peers are told that the database is.
    pub fn named(&self) -> String {
        format!("localhost:{}/canister", self.line.port())
    }

    /// Panics unless these are the visible packages of a source: package, version, description.
    pub fn has(&self, slug: &str, packages: &[String]) {
        let text = self.database.psql(&format!(
            "SELECT package_id, version, description FROM public.package
             WHERE repository_id = '{slug}' AND visible"
        ));
        let mut here: Vec<&str> = text.lines().collect();
        here.sort_unstable();
        assert_eq!(here.len(), packages.len());
        let differs = here.iter().zip(packages).find(|(here, there)| here != there);
        assert_eq!(differs, None);
    }

    /// How its one peer writes rows, as `peers` tells it.
    pub fn writes(&self) -> String {
        self.network.peers()[0].writes.clone().unwrap_or_default()
    }

    /// How many messages of this name the arbiter has got so far.
    pub fn heard(&self, name: &str) -> usize {
        let log = self.network.arbiter.stderr();
        let is_it =
            |line: &&str| line.contains("arrived") && line.contains(&format!("message={name}"));
        log.lines().filter(is_it).count()
    }

    /// Indexes all sources once more and waits until that is done.
    pub fn again(&self, verdict: &str) {
        let newest = self
            .network
            .sources()
            .iter()
            .filter_map(|source| source.last_attempt.as_ref().map(|attempt| attempt.lease))
            .max();
        self.network.sync();
        self.network.until_all(verdict, newest.unwrap_or(0));
    }
}

/// How arbiters and the authority's commands reach a server: by its Unix socket.
pub fn arbiters_address(cluster: &Cluster) -> String {
    format!(
        "host={} port={} user=canister_arbiter dbname=canister",
        cluster.socket_dir().display(),
        cluster.port()
    )
}

/// A package index of `count` packages with descriptions of `bytes` bytes, and what
/// [`Direct::has`] wants of it.
pub fn index(count: usize, version: &str, bytes: usize) -> (String, Vec<String>) {
    let (mut index, mut packages) = (String::new(), Vec::new());
    for number in 0..count {
        let text = format!("{number:0>bytes$}");
        index += &format!(
            "Package: com.example.p{number}\nVersion: {version}\nArchitecture: x\n\
             Filename: debs/{number}.deb\nSize: {number}\nDescription: {text}\n\
             Tag: role::enduser, a{number}\n\n"
        );
        packages.push(format!("com.example.p{number}|{version}|{text}"));
    }
    packages.sort();
    (index, packages)
}
