//! The peers' door to the database, with a real server, TLS and certificates: what a peer's role
//! may do, and that an agent writes through it.

#![allow(clippy::unwrap_used, reason = "tests report by panicking")]

use canister_agent::identity::Files;
use canister_arbiter::ca::{Authority, DAYS};
use canister_tests::network::{Network, WAIT, flat, serve, truth, without_descriptions};
use canister_tests::origin::Origin;
use canister_tests::postgres::{Cluster, Tls, psql};
use canister_tests::programs::run;
use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::Path;
use tempfile::TempDir;

const INDEX: &str = "\
Package: com.example.a
Version: 1.0
Architecture: iphoneos-arm64
Filename: debs/a.deb
Size: 7
Description: one

Package: com.example.b
Version: 2.0-1
Architecture: iphoneos-arm64
Filename: debs/b.deb
Size: 8
Description: two
";

/// A server that takes certificates, with its authority.
struct Server {
    dir: TempDir,
    authority: Authority,
    cluster: Cluster,
}

impl Server {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::init(&dir.path().join("ca")).unwrap();
        let server = authority
            .new_server(&["localhost".to_owned(), "127.0.0.1".to_owned()], DAYS)
            .unwrap();
        let cluster = Cluster::with_certificates(&Tls {
            certificate: &server.certificate,
            key: &server.key,
            authority: authority.certificate(),
            revoked: None,
        });
        Self {
            dir,
            authority,
            cluster,
        }
    }

    fn peer(&self, name: &str) -> Files {
        let pair = self.authority.new_peer(name, DAYS).unwrap();
        pair.write(self.dir.path(), name).unwrap();
        let file = |name: String| self.dir.path().join(name);
        Files {
            certificate: file(format!("{name}.crt")),
            key: file(format!("{name}.key")),
            authority: file("ca/ca.crt".to_owned()),
        }
    }

    fn address(&self, role: &str, files: &Files) -> String {
        let path = |path: &Path| path.display().to_string();
        format!(
            "host=localhost hostaddr=127.0.0.1 port={} dbname=canister user={role} \
             sslmode=verify-full sslrootcert={} sslcert={} sslkey={}",
            self.cluster.port(),
            path(&files.authority),
            path(&files.certificate),
            path(&files.key)
        )
    }
}

#[test]
fn scratch() {
    let door = Server::open();
    let database = door.cluster.canister();
    database.psql("CREATE SCHEMA arbiter");
    for number in [
        "0001_catalogue",
        "0002_arbiter",
        "0003_staging",
        "0004_peer",
    ] {
        let path = canister_tests::programs::workspace()
            .join(format!("arbiter/src/store/migration/postgres/{number}.sql"));
        database.psql(&std::fs::read_to_string(path).unwrap());
    }
    database.psql("GRANT USAGE ON SCHEMA peer TO canister_peer; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA peer TO canister_peer; CREATE ROLE \"peer-1\" LOGIN IN ROLE canister_peer");
    let files = door.peer("peer-1");
    let said = psql(&door.address("peer-1", &files), "SELECT session_user", &[]);
    assert_eq!(said.as_deref(), Ok("peer-1"));

    database.psql("INSERT INTO arbiter.source VALUES ('a','http://a','./',null,null,1,'{}',false,'{}','a',true,0,false,null,null,0); INSERT INTO arbiter.peer (name,agent,first_seen,last_seen) VALUES ('peer-1','',0,0); INSERT INTO arbiter.lease VALUES (7,'a','a','peer-1',0,9e18::bigint); INSERT INTO arbiter.staged VALUES (7)");
    use canister_agent::database::*;
    use canister_agent::sink::postgres::batch::Batch;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    let identity = canister_agent::identity::Identity::load(&files).unwrap();
    for delay in [0, 40] {
        let port = canister_tests::postgres::far_away(
            door.cluster.port(),
            std::time::Duration::from_millis(delay),
        );
        let agent = Database::new(Arc::new(identity.client_config().unwrap()), true, 1);
        agent.named(Some(Door {
            role: "peer-1".into(),
            database: format!("localhost:{port}/canister").parse().unwrap(),
        }));
        let cancel = AtomicBool::new(false);
        let began = std::time::Instant::now();
        let asked = agent.ask(Call::Known(7)).unwrap();
        eprintln!("{:?} {:?}", agent.wait(asked, &cancel), began.elapsed());
        let text = "x".repeat(300);
        let began = std::time::Instant::now();
        let mut n = 0;
        for _ in 0..10 {
            let mut batch = Batch::default();
            for _ in 0..1000 {
                n += 1;
                batch.push(
                    &canister_protocol::PackageRow {
                        package_id: format!("p{delay}-{n}"),
                        version: "1.0".into(),
                        architecture: "x".into(),
                        price: "Free".into(),
                        package_filename: "a".into(),
                        description: Some(text.clone()),
                        tags: vec!["a".into(), "b".into()],
                        ..Default::default()
                    }
                    .map(std::borrow::Cow::Owned),
                );
            }
            let asked = agent.ask(Call::Put(7, Arc::new(batch))).unwrap();
            if n <= 1000 {
                eprintln!("{:?}", agent.wait(asked, &cancel));
            } else {
                agent.wait(asked, &cancel).unwrap();
            }
        }
        eprintln!("10000 rows {:?}", began.elapsed());
        let asked = agent.ask(Call::Known(8)).unwrap();
        eprintln!("{:?}", agent.wait(asked, &cancel));
    }
    eprintln!(
        "{} {}",
        database.psql("SELECT count(*) FROM arbiter.staging"),
        database.psql("SELECT id, encode(digest,'hex'), tags FROM arbiter.staging LIMIT 1")
    );
}

/// An arbiter on its own store that names a database which isn't there: rows are relayed, and the
/// operator sees why.
#[test]
fn rows_are_relayed_where_the_database_is_out_of_reach() {
    // Connections are accepted by the machine and answered by nobody.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("127.0.0.1:{}/canister", silent.local_addr().unwrap().port());
    for (database, why) in [
        ("127.0.0.1:9/canister", "Connection refused"),
        (
            "no-such-host.invalid/canister",
            "look up no-such-host.invalid",
        ),
        (&silent, "connect to the database: no answer in time"),
    ] {
        let origin = Origin::empty();
        serve(&origin, INDEX.as_bytes());
        let sources = [flat("a", &origin.uri())];
        let network = Network::start(&sources, &["--peers-database", database]);
        let _agent = network.agent("peer-1", &[]);
        network.until_all("indexed", 0);
        assert_eq!(without_descriptions(network.rows("a")), truth(INDEX));
        let peers = network.peers();
        let writes = peers[0].writes.clone().unwrap_or_default();
        assert!(
            writes.starts_with("relayed: ") && writes.contains(why),
            "{writes}"
        );
        assert_eq!(network.status().peers_direct, 0);
        let said = run(
            "canister-arbiter",
            [
                OsStr::new("peers"),
                OsStr::new("--state"),
                network.state().as_os_str(),
            ],
            WAIT,
        );
        assert!(said.stdout.contains(&writes), "{}", said.stdout);
    }
}
