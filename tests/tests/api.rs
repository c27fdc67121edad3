//! The Canister API's door to the database, as the shipped configuration makes it: it logs in by a
//! password over TLS, or by its system user, has answers to all that it asks, and can do nothing else.

use canister_arbiter::rules::timestamp::Timestamp;
use canister_arbiter::store::{Postgres, Store, Terms};
use canister_authority::Authority;
use canister_protocol::message::{Cost, Counts, Facts, Origin, Outcome};
use canister_protocol::{Head, PackageRow, Rows};
use canister_tests::acts;
use canister_tests::api::API;
use canister_tests::direct::{Certificates, arbiters_address};
use canister_tests::network::flat;
use canister_tests::postgres::{Cluster, Tls, psql};
use std::process::Command;
use tempfile::TempDir;

const PASSWORD: &str = "a long one";

/// A server as it is shipped, with an arbiter's tables and two packages of a source.
struct ApiServer {
    dir: TempDir,
    cluster: Cluster,
}

impl ApiServer {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::init(&dir.path().join("ca")).unwrap();
        let has = Certificates::of(&authority);
        let cluster = Cluster::with_certificates(&Tls {
            certificate: &has.own.certificate,
            key: &has.own.key,
            authority: &has.authority,
            revoked: None,
        });
        let address = arbiters_address(&cluster);
        let mut store = Store::Postgres(Postgres::open(address.parse().unwrap(), "i1").unwrap());
        publish(&mut store);
        Self { dir, cluster }
    }

    /// Over the network; `more` is how.
    fn there(&self, more: &str) -> String {
        format!(
            "host=localhost hostaddr=127.0.0.1 port={} dbname=canister user=canister_api \
             sslrootcert={} {more}",
            self.cluster.port(),
            self.dir.path().join("ca/ca.crt").display()
        )
    }

    /// On its machine.
    fn here(&self) -> String {
        format!(
            "host={} port={} dbname=canister user=canister_api",
            self.cluster.socket_dir().display(),
            self.cluster.port()
        )
    }
}

fn package(id: &str, version: &str, architecture: &str) -> PackageRow {
    PackageRow {
        package_id: id.to_owned(),
        version: version.to_owned(),
        architecture: architecture.to_owned(),
        price: "Free".to_owned(),
        description: Some("Makes a terminal of it".to_owned()),
        ..PackageRow::default()
    }
}

/// A source `a` with these packages, as a peer would have indexed it.
fn publish(store: &mut Store) {
    let (now, terms) = (Timestamp::from_millis(1_700_000_000_000), Terms::default());
    acts::list_also(store, flat("a", "https://a.example"), now);
    store.seen("p1", "test", now).unwrap();
    let token = store.claim("p1", 1, now, &terms).unwrap()[0].token;
    let rows = [
        package("org.term", "1.10", "iphoneos-arm64"),
        package("org.term", "1.10", "iphoneos-arm64e"),
        package("org.other", "1", "all"),
    ];
    store.put("p1", token, &Rows::of(&rows), now).unwrap();
    let outcome = Outcome::Indexed {
        origin: Origin { head: Head::from_sha256([1; 32]).to_string(), ..Origin::default() },
        facts: Facts { name: Some("Zeta".to_owned()), ..Facts::default() },
        counts: Counts { packages: 3, put: 3, ..Counts::default() },
    };
    store.finish("p1", token, &outcome, &Cost::default(), now, &terms).unwrap();
}

/// How many rows each of the API's statements gives.
fn answers(address: &str) -> Vec<(&'static str, usize)> {
    let rows = |query: &canister_tests::api::ApiQuery| {
        let [prepare, execute] = query.statements();
        let said = psql(address, &format!("{prepare}; {execute}"), &[]);
        let said = said.unwrap_or_else(|why| panic!("{}: {why}", query.name));
        (query.name, said.lines().count())
    };
    API.iter().map(rows).collect()
}

#[test]
fn it_logs_in_by_its_password_or_its_system_user() {
    let server = ApiServer::open();
    let whole = server.there(&format!("sslmode=verify-full password='{PASSWORD}'"));
    // It has none yet.
    let refused = psql(&whole, "SELECT 1", &[]).unwrap_err();
    assert!(refused.contains("password authentication failed"), "{refused}");
    server.cluster.psql("postgres", &format!("ALTER ROLE canister_api PASSWORD '{PASSWORD}'"));
    let verifier = "SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid
        WHERE rolname = 'canister_api'";
    assert_eq!(server.cluster.psql("postgres", verifier), "t");
    assert_eq!(psql(&whole, "SELECT session_user", &[]).as_deref(), Ok("canister_api"));
    for (more, part) in [
        ("sslmode=verify-full password=another", "password authentication failed"),
        ("sslmode=verify-full", "no password supplied"),
        // Its password never goes over a line that isn't closed.
        (&*format!("sslmode=disable password='{PASSWORD}'"), "pg_hba.conf rejects"),
    ] {
        let refused = psql(&server.there(more), "SELECT 1", &[]).unwrap_err();
        assert!(refused.contains(part), "{more}: {refused}");
    }
    let elsewhere = whole.replace("dbname=canister", "dbname=postgres");
    assert!(psql(&elsewhere, "SELECT 1", &[]).is_err());

    // Whoever is the API's system user, by the line that is shipped, which names another.
    let refused = psql(&server.here(), "SELECT 1", &[]).unwrap_err();
    assert!(refused.contains("Peer authentication failed"), "{refused}");
    let map = server.cluster.data().join("pg_ident.conf");
    let shipped = std::fs::read_to_string(&map).unwrap();
    let line = "canister_api       canister-api  ";
    assert!(shipped.contains(line));
    let whoami = Command::new("id").arg("-un").output().unwrap().stdout;
    let own = format!("canister_api {} ", String::from_utf8_lossy(&whoami).trim());
    server.cluster.write(&map, &shipped.replace(line, &own));
    server.cluster.reload();
    canister_tests::programs::until("the map to be read", canister_tests::network::WAIT, || {
        psql(&server.here(), "SELECT 1", &[]).ok()
    });

    let expected = [
        ("look-up", 2),
        ("look-up with repository", 2),
        ("multi-look-up", 3),
        ("search", 3),
        ("search with repository", 3),
        ("ingest", 2),
        ("repository", 1),
        ("packages", 3),
        ("ranking", 0),
        ("all rankings", 1),
        ("repository search", 1),
        ("health", 1),
    ];
    assert_eq!(answers(&whole), expected);
    assert_eq!(answers(&server.here()), expected);
}

#[test]
fn it_reads_the_catalogue_and_can_do_nothing_else() {
    let server = ApiServer::open();
    server.cluster.psql("postgres", &format!("ALTER ROLE canister_api PASSWORD '{PASSWORD}'"));
    let address = server.there(&format!("sslmode=verify-full password='{PASSWORD}'"));
    // What the script says holds for tables that are there already, too.
    for _ in 0..2 {
        let mut allowed = Vec::new();
        for statement in [
            "INSERT INTO package (id) VALUES ('x')",
            "UPDATE package SET visible = false",
            "UPDATE repository SET uri = 'https://evil.example'",
            "DELETE FROM package",
            "TRUNCATE repository",
            "BEGIN; LOCK TABLE package IN ACCESS EXCLUSIVE MODE",
            "SELECT * FROM package FOR UPDATE",
            "SELECT count(*) FROM arbiter.lease",
            "SELECT count(*) FROM arbiter.source",
            "SELECT count(*) FROM arbiter.peer",
            "SELECT peer.known(1)",
            "SELECT arbiter.now()",
            "SELECT public.canister_words(ARRAY['a'])",
            "COPY package TO PROGRAM 'true'",
            "COPY (SELECT 1) TO '/tmp/x'",
            "CREATE TABLE public.x ()",
            "CREATE TEMP TABLE x ()",
            "CREATE SCHEMA x",
            "CREATE FUNCTION public.x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "DO 'BEGIN PERFORM lo_create(0); END'",
            "CREATE ROLE x",
            "ALTER ROLE canister_api SUPERUSER",
            "GRANT canister_peer TO canister_api",
            "SET ROLE canister_arbiter",
            "SELECT pg_read_file('/etc/passwd')",
            "SELECT pg_sleep(1)",
            "SELECT pg_advisory_lock(1)",
            "SELECT pg_notify('canister', '')",
            "SELECT lo_create(0)",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_get_activity(NULL)",
            "SELECT * FROM pg_stat_activity",
            "SELECT * FROM pg_roles",
        ] {
            let said = psql(&address, statement, &[]);
            let is_refused = said.as_ref().is_err_and(|why| why.contains("42501"));
            if !is_refused {
                allowed.push((statement, said));
            }
        }
        assert!(allowed.is_empty(), "{allowed:#?}");
        server.cluster.script("postgres", "setup.sql");
    }
    assert_eq!(psql(&address, "SELECT count(*) FROM package", &[]).as_deref(), Ok("3"));
}

#[test]
fn what_its_consumers_cannot_read_can_be_kept_from_it() {
    let server = ApiServer::open();
    server.cluster.psql("postgres", &format!("ALTER ROLE canister_api PASSWORD '{PASSWORD}'"));
    let address = server.there(&format!("sslmode=verify-full password='{PASSWORD}'"));
    let before = answers(&address);
    for _ in 0..2 {
        server.cluster.script("canister", "architectures.sql");
    }
    assert_eq!(answers(&address), before, "not yet in force");
    let path = |path: &str| {
        let set = format!("ALTER ROLE canister_api SET search_path = {path}");
        server.cluster.psql("postgres", &set);
    };
    path("readable, public");
    let expected = [
        ("look-up", 1),
        ("look-up with repository", 1),
        ("multi-look-up", 1),
        ("search", 1),
        ("search with repository", 1),
        ("ingest", 1),
        ("repository", 1),
        ("packages", 1),
        ("ranking", 0),
        ("all rankings", 1),
        ("repository search", 1),
        ("health", 1),
    ];
    assert_eq!(answers(&address), expected);
    let seen = "SELECT DISTINCT architecture FROM package";
    assert_eq!(psql(&address, seen, &[]).as_deref(), Ok("iphoneos-arm64"));
    // What is left is as it was, but for the arbiter's own columns.
    let same = "SELECT count(*) FROM package AS seen JOIN public.package AS there USING (id)
        WHERE to_jsonb(seen) = to_jsonb(there) - 'digest' - 'version_key' - 'left_at'";
    assert_eq!(psql(&address, same, &[]).as_deref(), Ok("1"));
    assert!(psql(&address, "DELETE FROM package", &[]).unwrap_err().contains("42501"));
    path("public");
    assert_eq!(answers(&address), before);
}
