//! Certificates that live for seconds are renewed over the session, by the real programs: nothing
//! else notices, and the files on disk are a pair whenever the agent is killed.

#![allow(clippy::disallowed_methods, reason = "real time is looked at here")]

use canister_authority::Authority;
use canister_link::certificate::Certificate;
use canister_link::identity::{Files, Identity};
use canister_protocol::{ToArbiter, ToPeer};
use canister_tests::direct::{Direct, index, peers_address};
use canister_tests::network::{Network, WAIT, date_list, flat, role};
use canister_tests::openssl::{assert_nothing_asked_for, judge, succeeds};
use canister_tests::origin::{Fault, Origin};
use canister_tests::peer::Peer;
use canister_tests::programs::until;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A network whose authority renews, and the folder of that authority.
fn network(sources: &[canister_protocol::Source], renews: bool) -> Network {
    let mut network = Network::start(sources, &["--lease", "5s"]);
    if renews {
        let folder = network.dir().join("ca").display().to_string();
        network.restart_with(&["--issuer", &folder]);
    }
    network
}

/// A peer whose certificate lives for so long.
fn brief(network: &Network, name: &str, secs: u64) -> Files {
    let authority = Authority::open(&network.dir().join("ca")).unwrap();
    let pair = authority.new_peer_for(name, Duration::from_secs(secs)).unwrap();
    network.stranger(name, &pair)
}

fn on_disk(files: &Files) -> Certificate {
    Identity::load(files).unwrap().certificate().clone()
}

fn request(name: &str) -> ToArbiter {
    let key = rcgen::KeyPair::generate().unwrap();
    let request = canister_link::request::signed(&key, name).unwrap();
    ToArbiter::Renewal { request }
}

/// A request for an authority's and a server's certificate.
fn greedy(name: &str) -> ToArbiter {
    let mut wish = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    wish.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    wish.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    wish.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    wish.distinguished_name = rcgen::DistinguishedName::new();
    wish.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = rcgen::KeyPair::generate().unwrap();
    let request = wish.serialize_request(&key).unwrap().pem().unwrap();
    assert!(request.contains("BEGIN CERTIFICATE REQUEST"));
    ToArbiter::Renewal { request }
}

#[test]
fn a_session_and_its_lease_outlive_the_certificate_they_began_with() {
    let origin = Origin::empty();
    let index =
        "Package: a\nVersion: 1\nArchitecture: all\nFilename: a.deb\nSize: 1\n\n".repeat(2000);
    canister_tests::network::serve(&origin, index.as_bytes());
    // About twenty seconds for one lease.
    origin.fault("/Packages", Fault::Trickle(index.len() / 200, Duration::from_millis(100)));
    let network = network(&[flat("a", &origin.uri())], true);
    let files = brief(&network, "brief", 9);
    let first = on_disk(&files);
    let mut agent = network.agent("brief", &[]);
    network.until_all("indexed", 0);
    // One session, one lease, several certificates.
    let log = network.arbiter.stderr();
    assert_eq!(log.matches("session begins").count(), 1, "{log}");
    assert_eq!(log.matches("lease granted").count(), 1, "{log}");
    let renewed = log.matches("certificate renewed").count();
    assert!(renewed >= 2, "{renewed}");
    let now = on_disk(&files);
    assert!(now.life.ends > first.life.ends);
    assert_ne!(now.key, first.key);
    assert_eq!(now.serial[..8], first.serial[..8]);
    assert!(canister_link::clock::wall_millis() / 1000 > first.life.ends, "the first has ended");
    // What is on disk opens the door, and openssl agrees that it is a pair.
    agent.term();
    assert!(agent.wait(WAIT).success());
    assert!(Peer::greet(&network.listen, &files, 0).is_ok());
    assert_pair(&files);
    // And that each renewal is the authority's, though most have ended by now.
    let renewed = network.arbiter.stderr().matches("certificate renewed").count();
    let judged = judge(&network.dir().join("ca"), "", "-no_check_time");
    // Besides the root's and the issuing one (four times), the arbiter's and the first.
    assert_eq!(judged.certificates, 4 + 2 * 2 + 2 + 2 * renewed);
}

fn assert_pair(files: &Files) {
    let openssl = |words: &[&str], path: &Path| {
        let ran = Command::new("openssl").args(words).arg(path).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        ran.stdout
    };
    assert_eq!(
        openssl(&["x509", "-noout", "-pubkey", "-in"], &files.certificate),
        openssl(&["pkey", "-pubout", "-in"], &files.key)
    );
}

/// The same where rows go into PostgreSQL: whose connections show which certificate, it tells.
#[test]
fn an_agent_writes_directly_with_each_certificate_it_gets() {
    let origin = Origin::empty();
    let (index, packages) = index(4000, "1.0", 400);
    canister_tests::network::serve(&origin, index.as_bytes());
    // About twenty seconds for one lease.
    origin.fault("/Packages", Fault::Trickle(index.len() / 200, Duration::from_millis(100)));
    let sources = [flat("a", &origin.uri())];
    let mut direct = Direct::start(&sources, &[], Duration::ZERO);
    let folder = direct.network.dir().join("ca").display().to_string();
    direct.network.restart_with(&["--issuer", &folder]);
    let files = brief(&direct.network, "brief", 9);
    // All its certificates open one role.
    direct.admit("brief", &files);
    let role = role(&files);
    let first = on_disk(&files);
    let _agent = direct.network.agent("brief", &[]);
    let mut shown = BTreeSet::new();
    until("the lease to be finished", WAIT, || {
        let serials = direct.database.psql(&format!(
            "SELECT client_serial FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
             WHERE usename = '{role}'"
        ));
        shown.extend(serials.lines().map(str::to_owned));
        let sources = direct.network.sources();
        let last = sources[0].last_attempt.as_ref()?;
        (last.verdict == "indexed").then_some(())
    });
    direct.has("a", &packages);
    assert!(canister_link::clock::wall_millis() / 1000 > first.life.ends, "the first has ended");
    assert!(shown.len() >= 2, "{shown:?}");
    assert_eq!((&*direct.writes(), direct.heard("Put")), ("direct", 0));
    let log = direct.network.arbiter.stderr();
    assert_eq!(log.matches("session begins").count(), 1, "{log}");
    assert_eq!(log.matches("lease granted").count(), 1, "{log}");
}

#[test]
fn an_agent_that_is_killed_again_and_again_keeps_a_pair_and_stays_a_peer() {
    let network = network(&[flat("a", "http://127.0.0.1:1")], true);
    let files = brief(&network, "brief", 12);
    let first = on_disk(&files);
    let until = Instant::now() + Duration::from_secs(40);
    let mut wait = 20;
    while Instant::now() < until {
        let mut agent = network.agent("brief", &[]);
        // Long enough to come to a renewal now and then; shorter than a certificate's rest.
        wait = (wait * 7919) % 3001;
        std::thread::sleep(Duration::from_millis(wait));
        agent.kill9();
        on_disk(&files);
        assert_pair(&files);
    }
    let last = on_disk(&files);
    assert!(last.life.ends > first.life.ends + 12, "{last:?}");
    assert!(Peer::greet(&network.listen, &files, 0).is_ok());
}

#[test]
fn an_arbiter_with_the_authoritys_folder_signs_a_new_list_before_the_old_one_ends() {
    const DAY: u64 = 24 * 60 * 60;
    // Past its date; in the second third of its life; in the first.
    for (days_left, is_due) in [(-1, true), (59, true), (61, false)] {
        let mut network = network(&[flat("a", "http://127.0.0.1:1")], false);
        let ca = network.dir().join("ca");
        let folder = ca.display().to_string();
        let (bad, good) = (network.peer("bad"), network.peer("good"));
        network.ca(&["revoke", "--why", "test", "bad"]);
        network.arbiter.term();
        network.arbiter.wait(WAIT);
        let now = canister_link::clock::wall_millis() / 1000;
        let date = now.saturating_add_signed(days_left * DAY.cast_signed());
        date_list(&ca, date);
        let ends = |network: &Network| network.status().revocations_end.unwrap() / 1000;
        let is_in_force = |network: &Network| {
            assert!(Peer::connect(&network.listen, &bad).is_err());
            assert!(Peer::connect(&network.listen, &good).is_ok());
            assert_eq!(network.status().revoked, 1);
        };
        // Without the folder it doesn't begin with one that is over, and says what mends it.
        if days_left < 0 {
            let why = network.fails_to_start();
            let told =
                ["revocation list", "it ended on ", "`canister-arbiter ca crl` signs another"];
            assert!(told.iter().all(|it| why.contains(it)), "{why}");
        } else {
            network.restart();
            is_in_force(&network);
            assert_eq!(ends(&network), date);
        }
        network.restart_with(&["--issuer", &folder]);
        if is_due {
            network.arbiter.wait_for_line("signed a new revocation list", WAIT);
            until("the new list to be in force", WAIT, || {
                (ends(&network) > now + 89 * DAY).then_some(())
            });
        } else {
            std::thread::sleep(Duration::from_secs(1));
            assert_eq!(ends(&network), date);
        }
        is_in_force(&network);
        // "bad" is revoked, as it should be.
        let name = canister_authority::serial::text(&on_disk(&bad).serial);
        std::fs::remove_file(ca.join(format!("issuer/issued/{name}.crt"))).unwrap();
        let judged = judge(&ca, "", "");
        assert_eq!((judged.keys, judged.lists), (3, 3));
    }
}

#[test]
fn renewal_is_off_unless_the_operator_turned_it_on() {
    let network = network(&[flat("a", "http://127.0.0.1:1")], false);
    let files = brief(&network, "brief", 6);
    let mut agent = network.agent("brief", &[]);
    let said = agent.wait_for_line("the arbiter gave no new certificate", WAIT);
    assert!(said.contains("this arbiter renews no certificates"), "{said}");
    // It goes on until its certificate ends.
    agent.wait_for_line("the peer's certificate has ended", WAIT);
    assert_pair(&files);
}

#[test]
fn only_what_is_due_and_ones_own_is_renewed() {
    let network = network(&[flat("a", "http://127.0.0.1:1")], true);
    let refused = |peer: &mut Peer, message: &ToArbiter, part: &str| {
        // Two within a second are refused for that alone.
        std::thread::sleep(Duration::from_millis(1100));
        peer.say(message);
        match peer.hear() {
            Ok(ToPeer::NoCertificate { reason, .. }) => assert!(reason.contains(part), "{reason}"),
            other => panic!("{other:?} instead of {part:?}"),
        }
    };
    let mut fresh = Peer::greet(&network.listen, &network.peer("fresh"), 0).unwrap();
    refused(&mut fresh, &request("fresh"), "last third");

    let files = brief(&network, "brief", 30);
    let life = on_disk(&files).life;
    let mut peer = Peer::greet(&network.listen, &files, 0).unwrap();
    until("its last third", WAIT, || {
        (canister_link::clock::wall_millis() / 1000 > life.renewal()).then_some(())
    });
    refused(&mut peer, &request("fresh"), "another name");
    let garbage = ToArbiter::Renewal { request: "garbage".to_owned() };
    refused(&mut peer, &garbage, "PEM");
    let report = |network: &Network| {
        let peers = network.peers();
        peers.into_iter().find(|it| it.peer == "brief").unwrap().certificate_ends
    };
    let before = report(&network);
    std::thread::sleep(Duration::from_millis(1100));
    // What it asks for besides is ignored.
    peer.say(&greedy("brief"));
    let Ok(ToPeer::Certificate { chain }) = peer.hear() else {
        panic!("no certificate");
    };
    peer.say(&request("brief"));
    assert!(
        matches!(peer.hear(), Ok(ToPeer::NoCertificate { reason, .. }) if reason.contains("too often"))
    );
    let renewed = network.dir().join("renewed.crt");
    std::fs::write(&renewed, &chain).unwrap();
    let said = succeeds(
        network.dir(),
        "openssl verify -purpose sslclient -CAfile ca/ca.crt renewed.crt
         openssl x509 -in renewed.crt -noout -text",
    );
    assert_nothing_asked_for(&said);
    assert!(
        said.contains("O = Canister, UID = peer_") && said.contains(", CN = brief\n"),
        "{said}"
    );
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(report(&network) > before);
    // The session knows of it: it isn't due again.
    refused(&mut peer, &request("brief"), "last third");
    // Revoked: neither the session nor what was renewed is worth anything.
    let said = network.ca(&["revoke", "--why", "test", "brief"]);
    assert_eq!(said.matches("revoked ").count(), 2, "{said}");
    assert_eq!(peer.end().code, 4003);
}

#[test]
fn postgresql_takes_what_was_renewed_and_nothing_of_who_was_revoked() {
    use canister_tests::postgres::{Cluster, Tls};
    let network = network(&[flat("a", "http://127.0.0.1:1")], true);
    let ca = network.dir().join("ca");
    let authority = Authority::open(&ca).unwrap();
    let server =
        authority.new_server(&["localhost".to_owned(), "127.0.0.1".to_owned()], 30).unwrap();
    let list = || std::fs::read_to_string(ca.join("crl.pem")).unwrap();
    let cluster = Cluster::with_certificates(&Tls {
        certificate: &server.certificate,
        key: &server.key,
        authority: authority.certificate(),
        revoked: Some(&list()),
    });
    let files = brief(&network, "brief", 12);
    let role = role(&files);
    cluster.psql("canister", &format!("CREATE ROLE {role} LOGIN IN ROLE canister_peer"));
    let gets_in = || {
        let address = peers_address(&cluster, &role, &files);
        let ran =
            Command::new("psql").args([&address, "-Atc", "SELECT current_user"]).output().unwrap();
        let said = [ran.stdout, ran.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        (ran.status.success(), said)
    };
    assert_eq!(gets_in(), (true, role.clone()));
    let first = on_disk(&files);
    let _agent = network.agent("brief", &[]);
    until("a renewal that outlives the first", WAIT, || {
        let is_over = canister_link::clock::wall_millis() / 1000 > first.life.ends;
        (is_over && on_disk(&files).life.ends > first.life.ends).then_some(())
    });
    assert_eq!(gets_in(), (true, role.clone()));
    // The arbiter's list is the server's, too; it takes it when it is reloaded.
    network.ca(&["revoke", "--why", "test", "brief"]);
    cluster.write(&cluster.data().join("revoked.crl"), &list());
    cluster.reload();
    until("the server to refuse it", WAIT, || {
        let (is_in, said) = gets_in();
        (!is_in && said.contains("revoked")).then_some(())
    });
}

/// Its own and the database server's certificate live for seconds; the arbiter renews both, goes on showing
/// them, and finds its way back into the database with the new one.
#[test]
fn an_arbiter_renews_its_own_and_the_databases_certificate() {
    use canister_tests::postgres::{Cluster, Tls};
    const LIFE: Duration = Duration::from_secs(40);
    let mut network = network(&[flat("a", "http://127.0.0.1:1")], false);
    let ca = network.dir().join("ca");
    let authority = Authority::open(&ca).unwrap();
    let names = ["i1.peer.canister.me", "localhost", "127.0.0.1"].map(str::to_owned);
    // A database takes long to make on a busy machine.
    let long = authority.new_server_for(&names, 100 * LIFE).unwrap();
    let mut cluster = Cluster::with_certificates(&Tls {
        certificate: &long.certificate,
        key: &long.key,
        authority: authority.certificate(),
        revoked: None,
    });
    let files = ["arbiter", "server"].map(|name| {
        let [certificate, key] = ["crt", "key"].map(|end| ca.join(format!("{name}.{end}")));
        let pair = authority.new_server_for(&names, LIFE).unwrap();
        std::fs::write(&certificate, pair.certificate).unwrap();
        std::fs::write(&key, pair.key).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        Files { certificate, key, authority: ca.join("ca.crt") }
    });
    let shows = |cluster: &Cluster| {
        let server = |path: &Path| std::fs::read_to_string(path).unwrap();
        cluster.write(&cluster.data().join("server.crt"), &server(&files[1].certificate));
        cluster.write(&cluster.data().join("server.key"), &server(&files[1].key));
    };
    shows(&cluster);
    cluster.reload();
    let first = files.each_ref().map(on_disk);
    let port = cluster.port();
    let database =
        format!("postgres://canister_arbiter@localhost:{port}/canister?hostaddr=127.0.0.1");
    let (folder, renewed) = (ca.display().to_string(), files[1].certificate.display().to_string());
    network.restart_with(&["--issuer", &folder, "--renew", &renewed, "--database", &database]);
    let over = |it: &Certificate| canister_link::clock::wall_millis() / 1000 > it.life.ends;
    until("both to be renewed", 2 * WAIT, || first.iter().all(over).then_some(()));
    for (then, files) in first.iter().zip(&files) {
        let now = on_disk(files);
        assert!(now.life.ends > then.life.ends && now.key == then.key, "{now:?}");
        let line = "openssl verify -x509_strict -CAfile ca.crt -untrusted";
        let name = files.certificate.display();
        succeeds(&ca, &format!("{line} {name} {name}"));
    }
    // The database believes it, and a peer that comes now does.
    shows(&cluster);
    cluster.restart();
    until("a peer to be welcome", WAIT, || {
        Peer::greet(&network.listen, &network.peer("p1"), 0).is_ok().then_some(())
    });
    let metrics = canister_tests::web::ask(&network.public, "GET", "/metrics").body;
    for (of, then) in ["certificate", "server's certificate"].iter().zip(&first) {
        let name = format!("canister_expiry_timestamp_seconds{{of=\"{of}\"}} ");
        let ends = metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap();
        assert!(ends.parse::<u64>().unwrap() > then.life.ends, "{of}: {ends}");
    }
}
