//! The peers' door to the database, with a real server, TLS and certificates: what a peer's role
//! may do, and that an agent writes through it.

use canister_agent::database::DatabaseDoor;
use canister_arbiter::rules::timestamp::Timestamp;
use canister_arbiter::store::{Postgres, Store, Terms};
use canister_authority::authority::CertificateTerms;
use canister_authority::reason::Reason;
use canister_authority::register::{CertificateKind, Revoked};
use canister_authority::request::SigningRequest;
use canister_authority::{Authority, DAYS, Pair};
use canister_link::clock;
use canister_link::identity::{Files, Identity};
use canister_protocol::limits::PUT_BYTES;
use canister_tests::acts;
use canister_tests::direct::{Certificates, Direct, arbiters_address, index, peers_address};
use canister_tests::network::{
    Network, WAIT, call, check, date_list, flat, made, role, serve, truth, without_descriptions,
};
use canister_tests::openssl::succeeds;
use canister_tests::origin::{Fault, Origin};
use canister_tests::peer::Peer;
use canister_tests::postgres::{Cluster, Tls, psql};
use canister_tests::programs::{Program, run, until, workspace};
use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
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
        let server =
            authority.new_server(&["localhost".to_owned(), "127.0.0.1".to_owned()], DAYS).unwrap();
        let cluster = Cluster::with_certificates(&Tls {
            certificate: &server.certificate,
            key: &server.key,
            authority: authority.certificate(),
            revoked: None,
        });
        Self { dir, authority, cluster }
    }

    fn peer(&self, name: &str) -> Files {
        let pair = self.authority.new_peer(name, DAYS).unwrap();
        self.write(name, &pair)
    }

    fn announcer(&self, name: &str) -> Files {
        let (folder, ca) = (self.dir.path(), self.dir.path().join("ca"));
        let begin = "openssl genpkey -algorithm ed25519 -out announcer.key";
        let ask =
            format!("openssl req -new -key announcer.key -subj /CN={name} -out announcer.csr");
        succeeds(folder, &format!("{begin} && {ask} && chmod 600 announcer.key"));
        let request = SigningRequest::read(&folder.join("announcer.csr")).unwrap();
        let terms = CertificateTerms {
            kind: CertificateKind::Announcer,
            name: None,
            length: Duration::from_secs(86_400),
            is_again: false,
        };
        let signed = self.authority.sign(&request, &terms).unwrap();
        fs::write(folder.join("announcer.crt"), signed.certificate).unwrap();
        let file = |name: &str| folder.join(name);
        let (certificate, key) = (file("announcer.crt"), file("announcer.key"));
        Files { certificate, key, authority: ca.join("ca.crt") }
    }

    fn write(&self, name: &str, pair: &Pair) -> Files {
        pair.write(self.dir.path(), name).unwrap();
        let file = |name: String| self.dir.path().join(name);
        Files {
            certificate: file(format!("{name}.crt")),
            key: file(format!("{name}.key")),
            authority: file("ca/ca.crt".to_owned()),
        }
    }

    /// A store on it, as an arbiter has it.
    fn store(&self) -> Postgres {
        let address = arbiters_address(&self.cluster);
        Postgres::open(address.parse().unwrap(), "arbiter-1").unwrap()
    }

    /// Where and as what whoever has these files logs in.
    fn own(&self, files: &Files) -> String {
        self.address(&role(files), files)
    }

    /// A session that runs a statement.
    fn session(&self, address: &str, statement: &str) -> Program {
        let mut command = Command::new("psql");
        command.args([address, "--command", statement]);
        Program::start_command("psql", &mut command)
    }

    /// What an agent with these files says of it.
    fn trial(&self, role: &str, files: &Files) -> Result<(), String> {
        let tls = Identity::load(files).unwrap().client_config().unwrap();
        let database = canister_agent::database::DatabaseThread::new(
            Arc::new(tls),
            true,
            0,
            Arc::default(),
            None,
        );
        let named = format!("localhost:{}/canister", self.cluster.port());
        database
            .named(Some(DatabaseDoor { role: role.to_owned(), database: named.parse().unwrap() }));
        database.trial()
    }

    fn address(&self, role: &str, files: &Files) -> String {
        peers_address(&self.cluster, role, files)
    }
}

/// What a store of arbiters on this server begins with.
fn terms() -> Terms {
    let mut terms = Terms { lease: Duration::from_secs(3600), ..Terms::default() };
    terms.politeness.pause = Duration::ZERO;
    terms
}

fn now() -> Timestamp {
    Timestamp::from_millis(clock::wall_millis())
}

/// A lease of a source of its own for each of these peers, which have roles; their tokens and files.
fn leases<const N: usize>(server: &Server, peers: [&str; N]) -> [(u64, Files); N] {
    let mut roles = server.store();
    let mut store = Store::Postgres(roles.another());
    for peer in peers {
        acts::list_also(&mut store, flat(peer, &format!("http://{peer}.example")), now());
    }
    peers.map(|peer| {
        let files = server.peer(peer);
        roles.create_role(peer, &role(&files)).unwrap();
        store.seen(peer, "test", now()).unwrap();
        let granted = store.claim(peer, 1, now(), &terms()).unwrap();
        (granted[0].token, files)
    })
}

/// `SELECT peer.put(…)` of rows called `ids`; each of `changes` replaces a parameter by its name.
fn put(lease: u64, ids: &str, changes: &[(&str, &str)]) -> String {
    let each = |value: &str| format!("(SELECT array_agg({value}) FROM unnest({ids}::text[]))");
    let mut call = format!("SELECT peer.put(lease => {lease}, package_id => {ids}");
    for (name, value) in [
        ("version", each("'1.0'::text")),
        ("architecture", each("'x'::text")),
        ("package_filename", each("''::text")),
        ("price", each("'Free'::text")),
        ("sha256_hash", each("null::text")),
        ("name", each("null::text")),
        ("description", each("null::text")),
        ("author", each("null::text")),
        ("maintainer", each("null::text")),
        ("depiction", each("null::text")),
        ("native_depiction", each("null::text")),
        ("sileo_depiction", each("null::text")),
        ("header_url", each("null::text")),
        ("tint_color", each("null::text")),
        ("icon_url", each("null::text")),
        ("section", each("null::text")),
        ("tags", each("''::text")),
        ("package_size", each("0::bigint")),
        ("installed_size", each("null::bigint")),
        ("version_key", each("'\\x01'::bytea")),
    ] {
        let changed = changes.iter().find(|(changed, _)| *changed == name);
        let value = changed.map_or(value, |(_, value)| (*value).to_owned());
        call.push_str(&format!(", {name} => {value}"));
    }
    call + ")"
}

/// The SQLSTATE with which a statement is refused.
fn state(said: &Result<String, String>) -> &str {
    let error = said.as_ref().expect_err("a statement is refused");
    let rest = error.lines().find_map(|line| line.strip_prefix("ERROR:"));
    rest.unwrap_or(error).trim().split(':').next().unwrap()
}

#[test]
fn a_role_can_call_two_functions_and_do_nothing_else() {
    let server = Server::open();
    let database = server.cluster.canister();
    let mut store = server.store();
    let [(own, files), (others, files_of_other)] = leases(&server, ["peer-1", "peer-2"]);
    let (own_role, other) = (role(&files), role(&files_of_other));
    let address = server.own(&files);
    let ask = |statement: &str| psql(&address, statement, &[]);

    assert_eq!(ask("SELECT session_user").as_deref(), Ok(&*own_role));
    assert_eq!(ask(&format!("SELECT peer.known({own})")).as_deref(), Ok(""));
    let rows = "ARRAY['a', 'b']";
    assert_eq!(ask(&put(own, rows, &[])).as_deref(), Ok("2"));
    // What comes again is left to the publication.
    assert_eq!(ask(&put(own, rows, &[])).as_deref(), Ok("2"));

    // No right on anything: nothing may be read, written, made, or become.
    let mut allowed = Vec::new();
    for statement in [
        "SELECT count(*) FROM public.package",
        "SELECT count(*) FROM public.repository",
        "SELECT count(*) FROM arbiter.lease",
        "SELECT count(*) FROM arbiter.staging",
        "INSERT INTO arbiter.staging (token) VALUES (1)",
        "UPDATE arbiter.lease SET expires_at = 0",
        "DELETE FROM public.package",
        "TRUNCATE public.package",
        "BEGIN; LOCK TABLE public.package IN ACCESS EXCLUSIVE MODE",
        "SELECT nextval('arbiter.token')",
        "SELECT arbiter.put('peer-1', 1, 0, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}',
            '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')",
        "SELECT arbiter.known('peer-2', 1, 0, '', 1)",
        "COPY public.package TO STDOUT",
        "COPY public.package FROM PROGRAM 'true'",
        "COPY (SELECT 1) TO '/tmp/x'",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "CREATE TABLE public.x ()",
        "CREATE TABLE peer.x ()",
        "CREATE TEMP TABLE x ()",
        "CREATE SCHEMA x",
        "CREATE DATABASE x",
        "CREATE ROLE x",
        "DROP EXTENSION plpgsql",
        "CREATE FUNCTION public.x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION peer.x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DO LANGUAGE plpgsql 'BEGIN PERFORM lo_create(0); END'",
        "ALTER FUNCTION peer.known(bigint) SECURITY INVOKER",
        &*format!("GRANT canister_peer TO {other}"),
        &*format!("ALTER ROLE {own_role} SUPERUSER"),
        &*format!("ALTER ROLE {own_role} CONNECTION LIMIT -1"),
        &*format!("ALTER ROLE {other} RENAME TO {own_role}x"),
        "SET ROLE canister_arbiter",
        &*format!("SET ROLE {other}"),
        &*format!("SET SESSION AUTHORIZATION {other}"),
        "SELECT arbiter.caller()",
        "SELECT * FROM arbiter.role",
        "SET temp_file_limit = -1",
        "SELECT lo_create(0)",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_ls_dir('.')",
        "SELECT pg_reload_conf()",
        "SELECT pg_sleep(1)",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_xact_lock(1)",
        "SELECT pg_notify('canister', '')",
        "SELECT query_to_xml('SELECT 1', true, true, '')",
        "SELECT * FROM pg_roles",
        "SELECT * FROM pg_user",
        "SELECT * FROM pg_authid",
        "SELECT * FROM pg_stat_activity",
        "SELECT * FROM pg_locks",
        "SELECT * FROM pg_auth_members",
        "SELECT pg_get_userbyid(10)",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_get_activity(NULL)",
    ] {
        let said = ask(statement);
        if said.is_ok() || state(&said) != "42501" {
            allowed.push((statement.to_owned(), said));
        }
    }
    assert!(allowed.is_empty(), "{allowed:#?}");
    // The name it goes by can't be changed by any statement that is allowed.
    let renamed = format!("SET application_name = 'peer-2'; SELECT peer.known({others})");
    assert_eq!(state(&ask(&renamed)), "CN001");
    let shadowed = format!("SET search_path = public, peer; {}", put(own, rows, &[]));
    assert_eq!(ask(&shadowed).as_deref(), Ok("2"));

    // The arbiters' channel has a name that can't be guessed, and isn't told.
    let channel = database.psql("SELECT name FROM arbiter.channel");
    assert!(channel.strip_prefix("canister_").is_some_and(|rest| rest.len() == 32));

    // Others' leases and old tokens.
    for lease in [others, 0, own + 1000] {
        for statement in [format!("SELECT peer.known({lease})"), put(lease, rows, &[])] {
            assert_eq!(state(&ask(&statement)), "CN001", "{statement}");
        }
    }
    // Rows that the session would refuse, and more than may come at once.
    let one = "ARRAY['c']";
    for (what, said) in [
        ("no name", put(own, "ARRAY['']", &[])),
        ("no array", put(own, one, &[("name", "NULL")])),
        ("a missing field", put(own, one, &[("version", "ARRAY[null]::text[]")])),
        ("arrays of two lengths", put(own, one, &[("price", "ARRAY['Free', 'Free']")])),
        ("a control character", put(own, one, &[("name", "ARRAY[e'\\x01']")])),
        ("a tag that is no tag", put(own, one, &[("tags", "ARRAY['a']")])),
        ("a negative size", put(own, one, &[("package_size", "ARRAY[-1]")])),
        ("a long row", put(own, one, &[("name", "ARRAY[repeat('x', 132000)]")])),
        ("many tags", put(own, one, &[("tags", "ARRAY[repeat(e'\\x1fa', 257)]")])),
        ("a long key", put(own, one, &[("version_key", "ARRAY[repeat('x', 99)::bytea]")])),
        (
            "many rows",
            put(own, "(SELECT array_agg(i::text) FROM generate_series(1, 4001) AS i)", &[]),
        ),
        (
            "many bytes",
            put(
                own,
                "(SELECT array_agg(i::text) FROM generate_series(1, 40) AS i)",
                &[(
                    "description",
                    "(SELECT array_agg(repeat('x', 130000)) FROM generate_series(1, 40))",
                )],
            ),
        ),
    ] {
        let said = ask(&said);
        assert!(said.is_err() && state(&said) == "CN001", "{what}: {said:?}");
    }
    assert_eq!(database.psql("SELECT count(*), count(DISTINCT id) FROM arbiter.staging"), "6|2");

    // Of what anybody may do, what remains is bounded.
    let settings = ask("SELECT current_setting('statement_timeout'), \
        current_setting('idle_session_timeout'), current_setting('lock_timeout'), \
        current_setting('idle_in_transaction_session_timeout')");
    assert_eq!(settings.as_deref(), Ok("1min|5min|10s|10s"));
    let busy = "SELECT count(*) FROM pg_proc AS a, pg_proc AS b, pg_proc AS c";
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{own_role}'");
    let until_sessions = |number: usize| {
        until("sessions to begin or end", WAIT, || {
            (database.psql(&count) == number.to_string()).then_some(())
        });
    };
    until_sessions(0);
    let session = |number| {
        let session = server.session(&address, busy);
        until_sessions(number);
        session
    };
    let mut sessions: Vec<_> = (1..=3).map(session).collect();
    let full = ask("SELECT 1").unwrap_err();
    assert!(full.contains("too many connections for role"), "{full}");

    // Revoked: who is in is out, nobody gets in, and nothing is held.
    let began = clock::now();
    let ended = store.drop_role("peer-1").unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(ended.iter().map(|lease| lease.token).collect::<Vec<_>>(), [own]);
    for session in &mut sessions {
        assert!(!session.wait(WAIT).success());
        let said = session.stderr();
        assert!(said.contains("terminating connection"), "{said}");
    }
    let refused = ask("SELECT 1").unwrap_err();
    assert!(refused.contains("pg_hba.conf rejects connection"), "{refused}");
    assert_eq!(database.psql("SELECT count(*) FROM arbiter.staging"), "0");
    // Once more, there is nothing to do; signed again, it is a peer again, with no lease.
    assert_eq!(store.drop_role("peer-1").unwrap(), []);
    store.create_role("peer-1", &own_role).unwrap();
    store.create_role("peer-1", &own_role).unwrap();
    assert_eq!(state(&ask(&format!("SELECT peer.known({own})"))), "CN001");
}

#[test]
fn of_all_functions_a_role_may_execute_those_that_do_nothing() {
    let server = Server::open();
    let database = server.cluster.canister();
    let [(_, files)] = leases(&server, ["peer-1"]);
    let role = role(&files);
    let may = database.psql(&format!(
        "SELECT string_agg(DISTINCT proname, ' ' ORDER BY proname) FROM pg_proc
         WHERE provolatile = 'v' AND has_function_privilege('{role}', oid, 'EXECUTE')
           AND has_schema_privilege('{role}', pronamespace, 'USAGE')"
    ));
    // `known` tells a peer's own lease what it needs; PostgreSQL 15 has no random_normal.
    let listed = "clock_timestamp currval gen_random_uuid known lastval nextval put random set_config \
                  setseed setval timeofday";
    assert_eq!(may.replace(" random_normal", ""), listed);
    let address = server.own(&files);
    for statement in [
        "SELECT count(pg_logical_emit_message(false, 'x', repeat('x', 1000000)))
             FROM generate_series(1, 1000)",
        "SELECT count(pg_notify('z', repeat('x', 7900))) FROM generate_series(1, 100000)",
        "DO $$ BEGIN LOOP NOTIFY z; END LOOP; END $$",
        "SELECT pg_current_xact_id()",
        "SELECT pg_terminate_backend(1)",
    ] {
        let said = psql(&address, statement, &[]).unwrap_err();
        assert!(said.contains("permission denied"), "{statement}: {said}");
    }
}

#[test]
fn a_role_that_holds_up_the_database_is_sent_out() {
    let server = Server::open();
    let [(_, files)] = leases(&server, ["peer-1"]);
    let address = server.own(&files);
    // It sets for itself what it is given.
    let script =
        "(echo \"SET idle_in_transaction_session_timeout = 0; LISTEN z; BEGIN; SELECT 1;\";
                  sleep 100) | psql --no-psqlrc \"$0\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, &address]);
    let _holds = Program::start_command("a peer's psql", &mut command);
    let database = server.cluster.canister();
    let open = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE usename = '{}' AND state = 'idle in transaction'",
        role(&files)
    );
    until("its transaction to be open", WAIT, || (database.psql(&open) == "1").then_some(()));
    let since = clock::now();
    let mut store = Store::Postgres(server.store());
    until("it to be sent out", WAIT, || {
        store.beat("127.0.0.1:1", "test", now()).unwrap();
        (database.psql(&open) == "0").then_some(())
    });
    let took = since.elapsed();
    assert!(took > Duration::from_secs(10) && took < Duration::from_secs(25), "{took:?}");
}

#[test]
#[ignore = "a gigabyte of notifications takes a while; make attack"]
fn arbiters_do_without_notifications_while_their_queue_is_filling() {
    let server = Server::open();
    let mut store = Store::Postgres(server.store());
    let [(token, _)] = leases(&server, ["peer-1"]);
    let database = server.cluster.canister();
    // As superuser: no peer's role can fill it any more, nor is this one sent out.
    let script = "(echo \"LISTEN z; BEGIN; SELECT 1;\"; sleep 300) | psql --no-psqlrc \"$0\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, &database.address()]);
    let _holds = Program::start_command("a listener that doesn't hear", &mut command);
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'";
    until("its transaction to be open", WAIT, || (database.psql(open) == "1").then_some(()));
    let usage =
        || -> f64 { database.psql("SELECT pg_notification_queue_usage()").parse().unwrap() };
    while usage() < 0.1 {
        database.psql(
            "SELECT count(pg_notify('z', number || repeat('x', 7900)))
             FROM generate_series(1, 10000) AS number",
        );
    }
    let before = usage();
    let since = clock::now();
    for _ in 0..1000 {
        store.announce("peer-1", None, now()).unwrap();
    }
    store.give_back("peer-1", token, now()).unwrap();
    println!("queue {before}, 1,000 announcements in {:?}", since.elapsed());
    assert!(usage() - before < 1e-9, "{before} {}", usage());
}

#[test]
fn a_certificate_opens_the_door_to_its_own_role_only() {
    let server = Server::open();
    let mut store = server.store();
    let [(_, files), (_, files_of_other)] = leases(&server, ["peer-1", "peer-2"]);
    server.cluster.psql(
        "postgres",
        "CREATE ROLE api LOGIN; CREATE ROLE \"a-b\" LOGIN SUPERUSER IN ROLE canister_peer",
    );
    for name in ["postgres", "api", "a-b"] {
        assert!(store.create_role(name, name).unwrap_err().to_string().contains(name));
        // Whatever else is called as a peer stays.
        assert_eq!(store.drop_role(name).unwrap(), []);
        let is_there = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{name}'");
        assert_eq!(server.cluster.psql("postgres", &is_there), "1");
    }
    let said = store.create_role("canister_arbiter", "canister_arbiter").unwrap_err().to_string();
    assert!(said.contains("can't be a name"), "{said}");

    let own = server.own(&files);
    assert_eq!(psql(&own, "SELECT 1", &[]).as_deref(), Ok("1"));
    let refused = |address: &str, why: &str| {
        let said = psql(address, "SELECT 1", &[]).unwrap_err();
        assert!(said.contains(why), "{address}: {said}");
    };
    // Another's role, the groups' and the operator's.
    let rejects = "pg_hba.conf rejects connection";
    let no_match = "certificate authentication failed";
    refused(&server.address(&role(&files_of_other), &files), no_match);
    refused(&server.address("canister_peer", &files), no_match);
    refused(&server.address("canister_arbiter", &files), no_match);
    refused(&server.address("postgres", &files), rejects);
    refused(&server.address("api", &files), rejects);
    refused(&own.replace("dbname=canister", "dbname=postgres"), rejects);
    // Certificates of the authority for names that are other roles'.
    for name in ["postgres", "api"] {
        let files = server.peer(name);
        refused(&server.address(name, &files), rejects);
        refused(&server.own(&files), rejects);
    }
    // An announcer's opens nothing, whatever it is called and whoever it says that it is.
    let announcer = server.announcer("peer-1");
    for role in [&*role(&files), "peer-1", "canister_arbiter"] {
        refused(&server.address(role, &announcer), "alert unsupported certificate");
    }
    // An arbiter's certificate opens the arbiter's role, from another machine too, and no other.
    let arbiter = |name: &str| {
        let pair = server.authority.new_server(&[name.to_owned()], DAYS).unwrap();
        server.write(name, &pair)
    };
    let files_of_arbiter = arbiter("i1.peer.canister.me");
    let as_arbiter = server.address("canister_arbiter", &files_of_arbiter);
    let said = psql(&as_arbiter, "SELECT count(*) FROM arbiter.lease", &[]);
    assert_eq!(said.as_deref(), Ok("2"));
    refused(&server.address(&role(&files), &files_of_arbiter), no_match);
    refused(&server.address("canister_arbiter", &arbiter("i9.peer.canister.me")), no_match);
    // Of an earlier authority: the role is called as the peer, until it shows a certificate of this one.
    let ca = server.dir.path().join("ca");
    let earlier = |name: &str| {
        let pair = made(&ca, |params| call(params, name));
        server.write(&format!("earlier-{name}"), &pair)
    };
    let earlier_files = earlier("earlier");
    assert_eq!(role(&earlier_files), "earlier");
    store.create_role("earlier", "earlier").unwrap();
    assert_eq!(psql(&server.own(&earlier_files), "SELECT 1", &[]).as_deref(), Ok("1"));
    assert_eq!(server.trial("earlier", &earlier_files), Ok(()));
    let renewed = server.peer("earlier");
    refused(&server.own(&renewed), rejects);
    let mut renewing = Store::Postgres(server.store());
    assert!(renewing.rename_role("earlier", &role(&renewed)).unwrap());
    assert!(!renewing.rename_role("earlier", &role(&renewed)).unwrap());
    let who = "SELECT session_user";
    assert_eq!(psql(&server.own(&renewed), who, &[]).as_deref(), Ok(&*role(&renewed)));
    refused(&server.own(&earlier_files), rejects);
    // As `ca sign --again` does for a new key.
    let again = "peer_0123456789abcdef";
    store.create_role("earlier", again).unwrap();
    refused(&server.own(&renewed), rejects);
    store.drop_role("earlier").unwrap();
    let left = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{again}'");
    assert_eq!(server.cluster.psql("postgres", &left), "0");
    // A server's that is called as a peer isn't that peer's.
    for name in ["old-1", "old-2"] {
        store.create_role(name, name).unwrap();
        let pair = server.authority.new_server(&[name.to_owned()], DAYS);
        let files = server.write(&format!("server-{name}"), &pair.unwrap());
        refused(&server.address(name, &files), no_match);
    }
    // Names that are nearly a role's; the longest is cut to a role's by the server.
    let longest = "x".repeat(63);
    server.cluster.psql("canister", &format!("CREATE ROLE {longest} LOGIN IN ROLE canister_peer"));
    let with_role = format!("old-1,UID={},O=Canister", role(&files));
    for (number, (name, role)) in [
        (&*with_role, &*role(&files)),
        ("old-1\n", "old-1"),
        ("\nold-1", "old-1"),
        ("old-1\u{7}", "old-1"),
        ("old-1\0", "old-1"),
        ("Old-1", "old-1"),
        (" old-1", "old-1"),
        (&"x".repeat(64), &longest),
        (&"x".repeat(1000), &longest),
        (&"x".repeat(1000), &"x".repeat(1000)),
    ]
    .into_iter()
    .enumerate()
    {
        let odd = made(&ca, |params| {
            call(params, name);
        });
        let odd = server.write(&format!("odd-{number}"), &odd);
        let said = psql(&server.address(role, &odd), "SELECT 1", &[]).unwrap_err();
        // PostgreSQL hangs up on a name with a zero in it.
        let hung_up = name.contains('\0') && said.contains("closed unexpectedly");
        let is_refused = hung_up || said.contains(no_match);
        assert!(is_refused, "{name:?}: {said}");
    }
    // Of the right name and authority, but not now, or not for this; an agent tells why.
    let day = Duration::from_secs(24 * 60 * 60);
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(clock::wall_millis());
    let purpose = rcgen::ExtendedKeyUsagePurpose::ServerAuth;
    for (number, (from, to, purpose, why, told)) in [
        (now - day * 2, now - day, None, "expired", "expired or not"),
        (
            now + day,
            now + day * 2,
            None,
            "bad certificate",
            "not yet valid: are this machine's clock",
        ),
        (
            now - day,
            now + day,
            Some(purpose),
            "unsupported certificate",
            "our certificate is not a peer's",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let odd = made(&ca, |params| {
            call(params, "old-1");
            (params.not_before, params.not_after) = (from, to);
            if let Some(purpose) = purpose {
                params.extended_key_usages = vec![purpose];
            }
        });
        let odd = server.write(&format!("now-{number}"), &odd);
        refused(&server.address("old-1", &odd), why);
        let said = server.trial("old-1", &odd).unwrap_err();
        assert!(said.contains(told), "no {told:?} in {said}");
    }
    assert_eq!(server.trial(&role(&files), &files), Ok(()));

    // A name that has a role, by another authority; no certificate; a server's; no TLS; an old one.
    let stranger = Server::open();
    let mut foreign = stranger.peer("peer-1");
    foreign.authority.clone_from(&files.authority);
    refused(&server.address(&role(&files), &foreign), "unknown ca");
    let none = own.split("sslcert=").next().unwrap();
    refused(&format!("{none} sslcert=/nonexistent"), "certificate");
    refused(&own.replace("sslmode=verify-full", "sslmode=disable"), rejects);
    refused(
        &format!("{own} ssl_min_protocol_version=TLSv1.2 ssl_max_protocol_version=TLSv1.2"),
        "protocol version",
    );
}

/// The operator's way to give the server a new list, and what a server does with a bad one.
#[test]
fn a_new_revocation_list_is_taken_and_a_bad_one_never() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca");
    let authority = Authority::init(&ca).unwrap();
    let has = Certificates::of(&authority);
    let list = || fs::read_to_string(ca.join("crl.pem")).unwrap();
    let cluster = Cluster::with_certificates(&Tls {
        certificate: &has.own.certificate,
        key: &has.own.key,
        authority: &has.authority,
        revoked: Some(&list()),
    });
    let server = Server { dir, authority, cluster };
    let mut store = server.store();
    let files = ["bad", "good"].map(|name| {
        let files = server.peer(name);
        store.create_role(name, &role(&files)).unwrap();
        files
    });
    let gets_in = |name: &'static str| {
        let own = &files[usize::from(name == "good")];
        psql(&server.own(own), "SELECT 1", &[]).map(|_| name)
    };
    let in_force = server.cluster.data().join("revoked.crl");
    let take = |list: &Path| {
        let mut command = Command::new(workspace().join("packaging/postgresql/take-list.sh"));
        command.arg(list).arg(server.cluster.data());
        command.env("PGHOST", server.cluster.socket_dir());
        command.env("PGPORT", server.cluster.port().to_string());
        command.env("PGUSER", "postgres");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let taken = |list: &Path| assert_eq!(take(list), (Some(0), String::new()));
    let soon = Duration::from_secs(1);
    assert_eq!(gets_in("bad"), Ok("bad"));
    let first = list();
    let revoked = Revoked {
        at: clock::wall_millis() / 1000,
        reason: Reason::KeyCompromise,
        why: "test".to_owned(),
    };
    server.authority.revoke(CertificateKind::Peer, "bad", &revoked).unwrap();
    let crl = ca.join("crl.pem");
    taken(&crl);
    let only_good_gets_in = || {
        until("the list to be in force", soon, || {
            gets_in("bad").is_err_and(|said| said.contains("certificate revoked")).then_some(())
        });
        assert_eq!(gets_in("good"), Ok("good"));
    };
    only_good_gets_in();
    // The same again changes nothing.
    taken(&crl);

    let good = list();
    let elsewhere = tempfile::tempdir().unwrap();
    Authority::init(elsewhere.path()).unwrap();
    let foreign = fs::read_to_string(elsewhere.path().join("crl.pem")).unwrap();
    let (issuing, root) = good.split_at(good[1..].find("-----BEGIN").unwrap() + 1);
    let spoilt: String = {
        let (line, _) = issuing.match_indices('\n').nth(2).unwrap();
        let (before, after) = good.split_at(line - 1);
        let other = if after.starts_with('A') { "B" } else { "A" };
        format!("{before}{other}{}", &after[1..])
    };
    date_list(&ca, clock::wall_millis() / 1000 - 1);
    let ended = list();
    let bad = elsewhere.path().join("bad.pem");
    for (text, part) in [
        ("", "no revocation list in it"),
        ("hello", "no revocation list in it"),
        (&good[..good.len() / 3], "damaged"),
        (&good[..good.len() - 40], "damaged"),
        (&spoilt, "damaged"),
        (&foreign, "of no authority in"),
        (&first, "older than the one in force"),
        (issuing, "no list of O = Canister, CN = Canister authority"),
        (root, "no list of O = Canister, CN = Canister issuing"),
        (&ended, "is past its date"),
        (&" ".repeat(16 * 1024 * 1024 + 1), "longer than"),
    ] {
        fs::write(&bad, text).unwrap();
        let (code, said) = take(&bad);
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{part}: {said}");
        assert!(said.contains(part), "no {part:?} in {said}");
        assert_eq!(fs::read_to_string(&in_force).unwrap(), good, "{part}");
    }
    assert_eq!(take(Path::new("/nowhere/crl.pem")).0, Some(1));
    server.cluster.reload();
    only_good_gets_in();

    // What would be if nobody had looked: a list past its date lets nobody in, and a peer's check
    // tells why.
    server.cluster.write(&in_force, &ended);
    server.cluster.reload();
    until("nobody to get in", soon, || gets_in("good").err());
    let why = server.trial(&role(&files[1]), &files[1]).unwrap_err();
    assert!(why.contains("the database's revocation list is past its date"), "{why}");
    // As `ca crl` does.
    server.authority.refresh().unwrap();
    taken(&crl);
    until("it to get in", soon, || gets_in("good").ok());
    only_good_gets_in();
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
        ("no-such-host.invalid/canister", "look up no-such-host.invalid"),
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
        assert!(writes.starts_with("relayed: ") && writes.contains(why), "{writes}");
        let ran = check(&network.peer("peer-1"), &network.listen, &["--allow-private"]);
        assert!(ran.status.success(), "{}", ran.stdout);
        let is_note =
            |line: &&str| line.starts_with("note  rows go over the session, which works as well: ");
        let note = ran.stdout.lines().find(is_note).unwrap_or_default();
        assert!(note.contains(why), "{}", ran.stdout);
        assert_eq!(network.status().peers_direct, 0);
        let said = run(
            "canister-arbiter",
            [OsStr::new("peers"), OsStr::new("--state"), network.state().as_os_str()],
            WAIT,
        );
        assert!(said.stdout.contains(&writes), "{}", said.stdout);
    }
}

#[test]
fn an_agent_writes_directly_falls_back_and_writes_directly_again() {
    let origin = Origin::empty();
    let (first, packages) = index(3000, "1.0", 300);
    serve(&origin, first.as_bytes());
    let sources = [flat("a", &origin.uri())];
    let direct = Direct::start(&sources, &["peer-1"], Duration::ZERO);
    let agent = direct.network.agent("peer-1", &[]);
    direct.network.until_all("indexed", 0);
    direct.has("a", &packages);
    assert_eq!(direct.writes(), "direct");
    assert_eq!(direct.network.status().peers_direct, 1);
    assert_eq!((direct.heard("Known"), direct.heard("Put")), (0, 0));

    // Of 20 changed packages 20 rows travel.
    let changed = first.replace(
        "Version: 1.0\nArchitecture: x\nFilename: debs/29",
        "Version: 1.1\nArchitecture: x\nFilename: debs/29",
    );
    serve(&origin, changed.as_bytes());
    direct.again("indexed");
    let last = direct.network.sources()[0].last_attempt.clone().unwrap();
    assert_eq!((last.packages, last.put), (3000, 111));
    assert_eq!(direct.heard("Put"), 0);
    assert_eq!(direct.heard("Dropped"), 1);

    // Out of reach: relayed, and seen.
    direct.line.cut();
    let (second, packages) = index(3000, "2.0", 300);
    serve(&origin, second.as_bytes());
    direct.again("indexed");
    direct.has("a", &packages);
    assert!(direct.writes().starts_with("relayed: localhost:"), "{}", direct.writes());
    assert!(direct.heard("Put") > 0);

    // Back: direct again, once the pause is over.
    direct.line.mend();
    std::thread::sleep(Duration::from_secs(2));
    let puts = direct.heard("Put");
    let (third, packages) = index(3000, "3.0", 300);
    serve(&origin, third.as_bytes());
    direct.again("indexed");
    direct.has("a", &packages);
    assert_eq!((&*direct.writes(), direct.heard("Put")), ("direct", puts));

    // Cut in the middle: the lease goes on over the session, nothing is lost and nothing is twice.
    let (fourth, packages) = index(3000, "4.0", 300);
    serve(&origin, fourth.as_bytes());
    origin.fault("/Packages", Fault::Trickle(64 * 1024, Duration::from_millis(100)));
    let leases = direct.network.sources()[0].last_attempt.as_ref().unwrap().lease;
    direct.network.sync();
    until("rows to be staged", WAIT, || {
        let staged = direct.database.psql("SELECT count(*) FROM arbiter.staging");
        (staged != "0").then_some(())
    });
    direct.line.cut();
    direct.network.until_all("indexed", leases);
    direct.has("a", &packages);
    assert!(direct.heard("Put") > puts);
    assert!(direct.writes().starts_with("relayed"), "{}", direct.writes());
    drop(agent);
}

#[test]
fn of_60_000_packages_20_changed_ones_travel() {
    let origin = Origin::empty();
    let (first, packages) = index(60_000, "1.0", 30);
    serve(&origin, first.as_bytes());
    let direct = Direct::start(&[flat("a", &origin.uri())], &["peer-1"], Duration::ZERO);
    let _agent = direct.network.agent("peer-1", &["--cpu", "2"]);
    direct.network.until_all("indexed", 0);
    direct.has("a", &packages);
    let written = || {
        direct.database.psql(
            "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables
             WHERE relname IN ('package', 'repository') OR relname LIKE 'staging%'",
        )
    };
    // What a connection has counted is there for others ten seconds after it fell idle at the latest
    // (PGSTAT_IDLE_INTERVAL in PostgreSQL's pgstat.c).
    let settled = || {
        let mut last = (written(), clock::now());
        until("statistics to settle", WAIT, || {
            std::thread::sleep(Duration::from_millis(500));
            let now = written();
            if now != last.0 {
                last = (now, clock::now());
            }
            (last.1.elapsed() > Duration::from_secs(11)).then(|| last.0.clone())
        })
    };
    let before = settled();
    direct.again("unchanged");
    assert_eq!(settled(), before, "an unchanged source writes nothing");

    let changed = first.replacen("Version: 1.0\n", "Version: 1.1\n", 20);
    serve(&origin, changed.as_bytes());
    direct.again("indexed");
    let last = direct.network.sources()[0].last_attempt.clone().unwrap();
    assert_eq!((last.packages, last.put), (60_000, 20));
    assert_eq!((direct.heard("Put"), direct.heard("Dropped")), (0, 1));
}

#[test]
fn one_command_closes_both_doors_within_a_second() {
    let origin = Origin::empty();
    let (first, _) = index(100, "1.0", 30);
    serve(&origin, first.as_bytes());
    let direct = Direct::start(&[flat("a", &origin.uri())], &["peer-1"], Duration::ZERO);
    let mut agent = direct.network.agent("peer-1", &[]);
    direct.network.until_all("indexed", 0);
    assert_eq!(direct.writes(), "direct");
    let has = |sql: &str| direct.database.psql(sql) != "0";
    let role = role(&direct.network.peer("peer-1"));
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'");
    assert!(has(&sessions));

    let ca = direct.network.dir().join("ca");
    let file = |name: &str| ca.join(name).display().to_string();
    let address = arbiters_address(&direct.cluster);
    let revoked = run(
        "canister-arbiter",
        [
            "ca",
            "revoke",
            "peer-1",
            "--why",
            "its key was seen elsewhere",
            "--dir",
            &ca.display().to_string(),
            "--database",
            &address,
            "--database-certificate",
            &file("arbiter.crt"),
            "--database-key",
            &file("arbiter.key"),
        ],
        WAIT,
    );
    assert_eq!(revoked.status.code(), Some(0), "{}", revoked.stderr);
    assert!(revoked.stdout.contains("dropped its role"), "{}", revoked.stdout);
    until("both doors to be closed", Duration::from_secs(1), || {
        let is_in = direct.network.peers().iter().any(|peer| peer.is_connected);
        (!is_in && !has(&sessions)).then_some(())
    });
    // The agent ends, and whoever tries again is refused.
    assert_eq!(agent.wait(WAIT).code(), Some(0), "{}", agent.stderr());
    let again = Peer::connect(&direct.network.listen, &direct.network.peer("peer-1"));
    let said = again.err().expect("a refusal");
    assert!(said.contains("Revoked"), "{said}");
    assert!(!has(&sessions));
    assert!(!has(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{role}'")));
    assert!(!has("SELECT count(*) FROM arbiter.role"));
}

#[test]
fn a_peer_without_a_role_is_relayed() {
    let origin = Origin::empty();
    let (first, packages) = index(1000, "1.0", 300);
    serve(&origin, first.as_bytes());
    let direct = Direct::start(&[flat("a", &origin.uri())], &[], Duration::ZERO);
    let _agent = direct.network.agent("peer-1", &[]);
    direct.network.until_all("indexed", 0);
    direct.has("a", &packages);
    let writes = direct.writes();
    assert!(writes.contains("pg_hba.conf rejects connection"), "{writes}");
}

/// Each batch of 96 KiB, waiting for its answer before the next is parsed, would take a delay.
#[test]
fn a_database_far_away_costs_little() {
    const DELAY: Duration = Duration::from_millis(400);
    let origin = Origin::empty();
    let (text, packages) = index(10_000, "1.0", 1000);
    serve(&origin, text.as_bytes());
    let direct = Direct::start(&[flat("a", &origin.uri())], &["peer-1"], DELAY);
    let _agent = direct.network.agent("peer-1", &[]);
    direct.network.until_all("indexed", 0);
    direct.has("a", &packages);
    assert_eq!(direct.heard("Put"), 0);
    let batches = (text.len() / PUT_BYTES) as u32;
    let millis = direct.network.sources()[0].last_attempt.as_ref().unwrap().millis;
    let (took, bound) = (Duration::from_millis(millis), batches * DELAY);
    assert!(took < bound / 2, "{took:?}, one after the other {bound:?}");
}

#[test]
fn a_suspended_peer_is_shut_out_of_the_database_until_it_is_trusted() {
    let origin = Origin::empty();
    serve(&origin, INDEX.as_bytes());
    let direct = Direct::start(&[flat("a", &origin.uri())], &["peer-1"], Duration::ZERO);
    let (network, database) = (&direct.network, &direct.database);
    let _agent = network.agent("peer-1", &[]);
    network.until_all("indexed", 0);
    assert_eq!(direct.writes(), "direct");
    let files = network.peer("peer-1");
    let role = role(&files);
    let address = peers_address(&direct.cluster, &role, &files);
    let login = || psql(&address, "SELECT session_user", &[]);
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'");
    assert_eq!(login().as_ref(), Ok(&role));
    assert_ne!(database.psql(&sessions), "0");
    network.command(&["suspend", "peer-1", "--why", "a test"]);
    // Its sessions are over when the command is.
    assert_eq!(database.psql(&sessions), "0");
    let said = login().unwrap_err();
    assert!(said.contains("not permitted to log in"), "{said}");
    // Nor is it let in by what happens meanwhile.
    network.sync();
    assert!(login().is_err());
    network.command(&["trust", "peer-1"]);
    assert_eq!(login().as_ref(), Ok(&role));
    direct.again("unchanged");
}

#[test]
fn a_peer_on_probation_is_let_into_the_database_when_it_is_proven() {
    // Of each state of a source one audit counts.
    let servers: Vec<Origin> = (2..16).map(Origin::at).collect();
    servers.iter().for_each(|server| serve(server, INDEX.as_bytes()));
    let sources: Vec<_> =
        (0..).zip(&servers).map(|(n, it)| flat(&format!("s{n}"), &it.uri())).collect();
    let direct = Direct::start(&sources, &["peer-1", "peer-2"], Duration::ZERO);
    let (network, database) = (&direct.network, &direct.database);
    network.command(&["trust", "peer-1"]);
    let _first = network.agent("peer-1", &[]);
    network.until_all("indexed", 0);
    let logs_in = |name: &str| {
        let role = role(&network.peer(name));
        database.psql(&format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{role}'")) == "t"
    };
    let trust = |name: &str| {
        let peers = network.peers();
        peers.into_iter().find(|peer| peer.peer == name).map(|peer| peer.trust)
    };
    assert!(logs_in("peer-1") && logs_in("peer-2"));
    let _second = network.agent("peer-2", &[]);
    until("the second to be shut out", WAIT, || {
        network.sync();
        (!logs_in("peer-2")).then_some(())
    });
    assert_eq!(trust("peer-2").as_deref(), Some("probation"));
    until("it to be proven", WAIT, || {
        network.sync();
        (trust("peer-2").as_deref() == Some("proven")).then_some(())
    });
    until("it to be let in", WAIT, || logs_in("peer-2").then_some(()));
    assert!(logs_in("peer-1"));
}
