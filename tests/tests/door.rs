//! The peers' listener: who gets in, and what happens to those who misbehave there.

#![allow(clippy::disallowed_methods, reason = "real time is looked at here")]

use async_tungstenite::tungstenite::Message;
use canister_authority::{Authority, Pair};
use canister_link::certificate::Certificate;
use canister_link::identity::{Files, provider};
use canister_link::refusal;
use canister_protocol::limits::{MESSAGE_BYTES_MAX, PROTOCOL};
use canister_protocol::row::PackageRow;
use canister_protocol::{Digest, Rows, ToArbiter, ToPeer};
use canister_tests::network::{Network, call, flat, made};
use canister_tests::peer::{Peer, hello, sent};
use canister_tests::programs::{Ends, Program, binary, run, until};
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const LOG_WAIT: Duration = Duration::from_secs(10);

/// The TLS handshake of TLS 1.3 is over for the client before the server has judged its
/// certificate, so a refusal shows at the first byte after it: here, in the WebSocket handshake.
fn refused(network: &mut Network, files: &Files, why: &str) {
    let said = Peer::connect(&network.listen, files).err().expect("a refusal");
    assert!(said.contains("alert"), "{said}");
    assert_refusal_logged(network, why);
}

fn assert_refusal_logged(network: &mut Network, why: &str) {
    let logged = network.arbiter.wait_for_line(why, LOG_WAIT);
    assert!(logged.contains("refused a connection") && logged.contains("TLS"), "{logged}");
    assert_eq!(network.status().peers_connected, 0);
    assert_eq!(network.peers().len(), 0);
}

#[test]
fn only_the_authoritys_own_get_past_the_tls_handshake() {
    let mut network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);

    // Without a certificate.
    let mut roots = rustls::RootCertStore::empty();
    let authority = network.dir().join("ca/ca.crt");
    roots.add(CertificateDer::from_pem_file(&authority).unwrap()).unwrap();
    let bare = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    let said = Peer::connect_with(&network.listen, bare).err().expect("a refusal");
    assert!(said.contains("CertificateRequired"), "{said}");
    assert_refusal_logged(&mut network, "peer sent no certificates");

    // Of another authority, though it has the same name.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Authority::init(elsewhere.path()).unwrap().new_peer("demo", 30).unwrap();
    let other = network.stranger("other", &other);
    refused(&mut network, &other, "BadSignature");

    // Expired, and not yet valid.
    let expired =
        made(&network.dir().join("ca"), |params| params.not_after = date_time_ymd(2020, 1, 1));
    let expired = network.stranger("expired", &expired);
    refused(&mut network, &expired, "certificate expired");
    let early =
        made(&network.dir().join("ca"), |params| params.not_before = date_time_ymd(2999, 1, 1));
    let early = network.stranger("early", &early);
    refused(&mut network, &early, "not valid yet");

    // An arbiter's certificate is no peer's.
    let server = made(&network.dir().join("ca"), |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let server = network.stranger("server", &server);
    refused(&mut network, &server, "extended key usage");
    // Nor is one that it also shows to its database.
    let ca = network.dir().join("ca");
    let arbiter = Files {
        certificate: ca.join("arbiter.crt"),
        key: ca.join("arbiter.key"),
        authority: ca.join("ca.crt"),
    };
    assert!(Peer::connect(&network.listen, &arbiter).is_err());
    network.arbiter.wait_for_line("no common name that a peer can have", LOG_WAIT);

    // TLS 1.2.
    let old = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let said = Peer::connect_with(&network.listen, old).err().expect("a refusal");
    assert!(said.contains("ProtocolVersion"), "{said}");

    // And one of its own does.
    assert!(Peer::greet(&network.listen, &network.peer("own"), 0).is_ok());
}

#[test]
fn a_certificate_that_is_no_peers_is_refused() {
    let mut network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    // The arbiter's own.
    let ca = network.dir().join("ca");
    let server = Files {
        certificate: ca.join("arbiter.crt"),
        key: ca.join("arbiter.key"),
        authority: ca.join("ca.crt"),
    };
    let said = Peer::connect(&network.listen, &server).err().expect("a refusal");
    assert!(said.contains("403"), "{said}");
    network.arbiter.wait_for_line("no common name that a peer can have", LOG_WAIT);
    assert_eq!(network.peers().len(), 0);
    // The issuing certificate, which may sign and nothing else.
    let issuer = Files {
        certificate: ca.join("issuer/issuer.crt"),
        key: ca.join("issuer/issuer.key"),
        authority: ca.join("ca.crt"),
    };
    refused(&mut network, &issuer, "CaUsedAsEndEntity");
    // Without the issuing certificate behind it nobody can tell who signed it.
    let own = network.peer("own");
    let chain = std::fs::read_to_string(&own.certificate).unwrap();
    let (leaf, _) = chain.split_at(chain[1..].find("-----BEGIN").unwrap() + 1);
    let bare =
        Pair { certificate: leaf.to_owned(), key: std::fs::read_to_string(&own.key).unwrap() };
    let bare = network.stranger("bare", &bare);
    refused(&mut network, &bare, "UnknownIssuer");
}

#[test]
fn a_revoked_peer_is_out_within_a_second_and_stays_out() {
    let mut network = Network::start(&[flat("a", "http://127.0.0.1:1")], &["--lease", "600s"]);
    let (bad, good) = (network.peer("bad"), network.peer("good"));
    let mut peer = Peer::greet(&network.listen, &bad, 1).unwrap();
    let (lease, _) = peer.granted();
    let mut other = Peer::greet(&network.listen, &good, 1).unwrap();

    network.ca(&["revoke", "bad", "--why", "key-compromise"]);
    let since = Instant::now();
    let ended = loop {
        match peer.hear() {
            Ok(ToPeer::Revoked { lease: revoked, reason }) => {
                assert_eq!(revoked, lease);
                assert!(reason.contains("certificate was revoked"), "{reason}");
            }
            Ok(heard) => panic!("{heard:?}"),
            Err(ended) => break ended,
        }
    };
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    assert_eq!((ended.code, &*ended.reason), (4003, "revoked"));
    // Its lease goes to another at once, whose session goes on.
    let (again, _) = other.granted();
    assert!(again > lease);
    let said = Peer::connect(&network.listen, &bad).err().expect("a refusal");
    assert!(said.contains("CertificateRevoked"), "{said}");
    network.arbiter.wait_for_line("Revoked", LOG_WAIT);
    let status = network.status();
    assert_eq!((status.revoked, status.peers_connected), (1, 1));

    // Nor does a restart forget it.
    network.arbiter.term();
    assert!(network.arbiter.wait(LOG_WAIT).success());
    network.restart();
    assert!(Peer::connect(&network.listen, &bad).is_err());
    assert!(Peer::connect(&network.listen, &good).is_ok());
}

#[test]
fn a_renewal_of_a_revoked_certificate_is_revoked_too() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let own = network.peer("own");
    let read = |der: &[u8]| Certificate::read(der).unwrap();
    let serial = read(&CertificateDer::from_pem_file(&own.certificate).unwrap()).serial;
    // As another arbiter might have renewed it without telling anybody.
    let renewal = made(&network.dir().join("ca"), |params| {
        let serial = [&serial[..8], &[7; 8]].concat();
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&serial));
        call(params, "own");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2999, 1, 1);
    });
    let renewal = network.stranger("renewal", &renewal);
    let mut peer = Peer::greet(&network.listen, &renewal, 1).unwrap();
    network.ca(&["revoke", "own", "--why", "test"]);
    assert_eq!(peer.end().code, 4003);
    let said = Peer::connect(&network.listen, &renewal).err().unwrap();
    assert!(said.contains("410") && said.trim_end().ends_with(refusal::REVOKED), "{said}");
    // Under the same name its owner may come back, with a new key.
    let again = tempfile::tempdir().unwrap();
    let made = canister_link::request::make(again.path(), "own").unwrap();
    let out = again.path().join("peer.crt");
    let words = ["sign", "--out", out.to_str().unwrap(), made.request.to_str().unwrap()];
    network.ca(&words);
    let new = Files { certificate: out, key: made.key, authority: own.authority };
    assert!(Peer::greet(&network.listen, &new, 1).is_ok());
}

#[test]
fn a_damaged_revocation_list_is_refused_and_the_old_one_stays_in_force() {
    let mut network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let (bad, good) = (network.peer("bad"), network.peer("good"));
    let list = network.dir().join("ca/crl.pem");
    let first = std::fs::read(&list).unwrap();
    network.ca(&["revoke", "bad", "--why", "test"]);
    let second = std::fs::read(&list).unwrap();
    until("the list to be in force", LOG_WAIT, || (network.status().revoked == 1).then_some(()));
    let elsewhere = tempfile::tempdir().unwrap();
    Authority::init(elsewhere.path()).unwrap();
    let strange = std::fs::read(elsewhere.path().join("crl.pem")).unwrap();
    let mut spoilt = second.clone();
    spoilt[200] ^= 1;
    for (damaged, why) in [
        (&second[..second.len() / 3], "PEM"),
        (b"", "BEGIN X509 CRL"),
        (&strange, "signed by"),
        (&first, "older"),
        (&spoilt, "refused a revocation list"),
    ] {
        std::fs::write(&list, damaged).unwrap();
        network.arbiter.wait_for_line(why, LOG_WAIT);
        assert!(Peer::connect(&network.listen, &bad).is_err(), "{why}");
        assert!(Peer::connect(&network.listen, &good).is_ok(), "{why}");
        assert_eq!(network.status().revoked, 1, "{why}");
    }
    std::fs::remove_file(&list).unwrap();
    network.arbiter.wait_for_line("it is gone", LOG_WAIT);
    assert!(Peer::connect(&network.listen, &bad).is_err());

    // Nobody starts with a list that is damaged, or with none that was named.
    network.arbiter.term();
    network.arbiter.wait(LOG_WAIT);
    std::fs::write(&list, &spoilt).unwrap();
    let start = |more: &[&str]| {
        let file = |name: &str| network.dir().join(name).display().to_string();
        let mut words: Vec<String> = ["run", "--listen", "127.0.0.1:0"].map(str::to_owned).to_vec();
        for (option, name) in [
            ("--certificate", "ca/arbiter.crt"),
            ("--key", "ca/arbiter.key"),
            ("--authority", "ca/ca.crt"),
            ("--state", "state"),
        ] {
            words.extend([option.to_owned(), file(name)]);
        }
        words.extend(more.iter().map(|&word| word.to_owned()));
        run("canister-arbiter", words, LOG_WAIT)
    };
    for (more, part) in
        [(&[][..], "crl.pem"), (&["--revocations", "/nowhere"], "/nowhere: not there")]
    {
        let ran = start(more);
        assert_eq!(ran.status.code(), Some(1), "{}", ran.stderr);
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
}

/// The last line of an agent's log that tells why it can't connect.
fn agents_refusal(network: &Network, files: &Files) -> String {
    let mut command = std::process::Command::new(binary("canister-agent"));
    let address = format!("wss://{}/connect", network.listen);
    command.args(["run", "--arbiter", &address]);
    for (option, path) in [
        ("--certificate", &files.certificate),
        ("--key", &files.key),
        ("--authority", &files.authority),
    ] {
        command.arg(option).arg(path);
    }
    let mut agent = Program::start_command("agent", &mut command);
    let said = agent.wait_for_line("couldn't connect to arbiter", LOG_WAIT);
    agent.term();
    assert!(agent.wait(LOG_WAIT).success());
    said
}

#[test]
fn an_agent_whose_clock_is_a_day_off_asks_about_it() {
    let mut network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let now =
        date_time_ymd(1970, 1, 1) + Duration::from_millis(canister_link::clock::wall_millis());
    let day = Duration::from_secs(24 * 60 * 60);
    // Its own certificate begins only tomorrow, or ended yesterday, by the arbiter's clock.
    for (name, from, to) in
        [("early", now + day, now + day * 2), ("late", now - day * 2, now - day)]
    {
        let files = made(&network.dir().join("ca"), |params| {
            params.not_before = from;
            params.not_after = to;
        });
        let files = network.stranger(name, &files);
        let said = agents_refusal(&network, &files);
        assert!(
            said.contains("expired or not yet valid: is this machine's clock right?"),
            "{said}"
        );
    }
    // The arbiter's does, by the agent's clock.
    let own = network.peer("own");
    let soon = Duration::from_secs(5);
    for (from, length, part) in [
        (now + day, day, "not yet valid: it begins on"),
        (now - day * 2, Duration::ZERO, "certificate ended on"),
    ] {
        network.arbiter.term();
        network.arbiter.wait(LOG_WAIT);
        let wall = Duration::from_millis(canister_link::clock::wall_millis());
        // An arbiter doesn't start with one that has ended.
        let to =
            if length.is_zero() { date_time_ymd(1970, 1, 1) + wall + soon } else { from + length };
        let server = made(&network.dir().join("ca"), |params| {
            params.not_before = from;
            params.not_after = to;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.subject_alt_names = vec![rcgen::SanType::IpAddress([127, 0, 0, 1].into())];
        });
        for (file, text) in [("arbiter.crt", &server.certificate), ("arbiter.key", &server.key)] {
            std::fs::write(network.dir().join("ca").join(file), text).unwrap();
        }
        network.restart();
        until("its end", LOG_WAIT, || {
            // Its last second counts.
            let over = wall + soon + Duration::from_secs(1);
            let is_later = Duration::from_millis(canister_link::clock::wall_millis()) > over;
            (!length.is_zero() || is_later).then_some(())
        });
        let said = agents_refusal(&network, &own);
        assert!(said.contains(part), "{said}");
        assert!(said.contains("is this machine's clock right?"), "{said}");
    }
}

#[test]
fn a_session_ends_with_its_certificate() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let authority = Authority::open(&network.dir().join("ca")).unwrap();
    let pair = authority.new_peer_for("brief", Duration::from_secs(3)).unwrap();
    let files = network.stranger("brief", &pair);
    let mut peer = Peer::greet(&network.listen, &files, 0).unwrap();
    let ended = peer.end();
    assert_eq!((ended.code, &*ended.reason), (1008, "the peer's certificate has ended"));
    assert!(Peer::connect(&network.listen, &files).is_err());
}

#[test]
fn a_certificate_whose_name_no_peer_can_have_gets_no_session() {
    let mut network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let mut made_so_far = 0;
    for name in ["Peer One", "", "a/../b", "a\u{7}b", "a\nb", &"x".repeat(64), &"x".repeat(1000)] {
        let odd = made(&network.dir().join("ca"), |params| {
            call(params, name);
        });
        made_so_far += 1;
        let odd = network.stranger(&format!("odd-{made_so_far}"), &odd);
        let said = Peer::connect(&network.listen, &odd).err().expect("a refusal");
        assert!(said.contains("403"), "{name:?}: {said}");
    }
    network.arbiter.wait_for_line("no common name that a peer can have", LOG_WAIT);
    assert_eq!(network.peers().len(), 0);
}

#[test]
fn only_the_websocket_is_served() {
    let options = ["--peers-database", "db.example,[::1]:7/canister"];
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &options);
    let files = network.peer("own");
    let identity = canister_link::identity::Identity::load(&files).unwrap();
    let config = std::sync::Arc::new(identity.client_config().unwrap());
    let get = |request: &str| {
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let connection = rustls::ClientConnection::new(config.clone(), name).unwrap();
        let stream = std::net::TcpStream::connect(&network.listen).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        stream.write_all(request.as_bytes()).unwrap();
        let (mut answer, mut byte) = (Vec::new(), [0]);
        // To the end of the header; the arbiter may close without the TLS goodbye.
        while !answer.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
            answer.extend_from_slice(&byte);
        }
        String::from_utf8_lossy(&answer).into_owned()
    };
    let upgrade = "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let taken = get(&format!("GET /connect HTTP/1.1\r\n{upgrade}")).to_lowercase();
    assert!(taken.starts_with("http/1.1 101"), "{taken}");
    // What is told to whoever was let in, and to nobody else.
    let named = "\r\ncanister-database: db.example:5432,[::1]:7/canister\r\n";
    assert!(taken.contains(named) && taken.contains("\r\ndate: "), "{taken}");
    assert!(taken.contains("\r\ncanister-address: 127.0.0.1\r\n"), "{taken}");
    let other = get(&format!("GET /admin HTTP/1.1\r\n{upgrade}"));
    assert!(other.starts_with("HTTP/1.1 404") && !other.contains("db.example"), "{other}");
    let plain = get("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(!plain.starts_with("HTTP/1.1 2") && !plain.starts_with("HTTP/1.1 101"), "{plain}");
}

/// Frames that say nothing are answered or passed over, and cost nobody else his time.
#[test]
fn a_flood_of_frames_keeps_nobody_waiting() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let mut other = Peer::greet(&network.listen, &network.peer("p2"), 0).unwrap();
    let files = network.peer("p1");
    let (is_over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let renew = |peer: &mut Peer| {
        peer.say(&ToArbiter::Renew { leases: vec![] });
        while !matches!(peer.hear().unwrap(), ToPeer::Renewed { .. }) {}
    };
    std::thread::scope(|scope| {
        let over = Ends(&is_over);
        scope.spawn(|| {
            let mut peer = Peer::greet(&network.listen, &files, 0).unwrap();
            while !is_over.load(Ordering::Relaxed) {
                for _ in 0..100 {
                    peer.send(Message::Ping(vec![b'x'; 100].into()));
                    peer.send(Message::Pong(vec![b'x'; 100].into()));
                    peer.say(&ToArbiter::Offer { reaches: None, bytes: None, slots: 0 });
                }
                renew(&mut peer);
                sent.fetch_add(300, Ordering::Relaxed);
            }
        });
        until("the flood to begin", LOG_WAIT, || (sent.load(Ordering::Relaxed) > 0).then_some(()));
        let mut slowest = Duration::ZERO;
        for _ in 0..200 {
            let since = Instant::now();
            renew(&mut other);
            slowest = slowest.max(since.elapsed());
        }
        drop(over);
        let memory = network.arbiter.peak_rss_bytes() / 1_000_000;
        println!("{sent:?} frames, 200 renewals, the slowest {slowest:?}, {memory} MB");
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    });
}

/// Everything that ends the session of the one who sends it, with the close code and a part of the
/// reason that is sent and logged.
fn offences() -> Vec<(&'static str, Vec<Message>, u16, &'static str)> {
    let text = |text: &str| Message::text(text.to_owned());
    let said = sent;
    let greeting = || said(&hello(&[]));
    let row: PackageRow = PackageRow {
        package_id: "a".into(),
        version: "1".into(),
        architecture: "all".into(),
        price: "Free".into(),
        ..PackageRow::default()
    };
    let stale = ToArbiter::Hello {
        protocol: PROTOCOL + 1,
        mapping: None,
        obeys: None,
        public_name: None,
        never: None,
        agent: String::new(),
        leases: vec![],
    };
    let many = ToArbiter::Put { lease: 1, number: 1, rows: Rows::of(&vec![row; 501]) };
    vec![
        ("nothing like JSON", vec![text("hello")], 1007, "byte 0"),
        ("cut off", vec![text("{\"Hello\":{\"protocol\":1,\"x\":[")], 1007, "not JSON"),
        ("deep", vec![text(&"[".repeat(100_000))], 1007, "less nesting"),
        ("no message", vec![text("{\"Nonsense\":{}}")], 1002, "not a message"),
        ("another side's message", vec![text("{\"Draining\":{}}")], 1002, "not a message"),
        ("no binary message", vec![Message::binary(vec![0; 9])], 1002, "no peer says"),
        ("too long", vec![text(&" ".repeat(MESSAGE_BYTES_MAX + 1))], 1009, "at most 1048576"),
        (
            "too early",
            vec![said(&ToArbiter::Offer { reaches: None, bytes: None, slots: 1 })],
            1002,
            "phase greeting",
        ),
        ("twice", vec![greeting(), greeting()], 1002, "phase steady"),
        ("another protocol", vec![said(&stale)], 1002, "speaks protocol"),
        (
            "too many slots",
            vec![greeting(), said(&ToArbiter::Offer { reaches: None, bytes: None, slots: 65 })],
            1008,
            "slots",
        ),
        ("too many rows", vec![greeting(), said(&many)], 1008, "rows"),
    ]
}

#[test]
fn an_offence_ends_its_own_session_and_disturbs_nobody() {
    let mut network = Network::start(&[flat("a", "http://127.0.0.1:1")], &["--lease", "600s"]);
    let mut honest = Peer::greet(&network.listen, &network.peer("honest"), 1).unwrap();
    let (lease, _) = honest.granted();
    let hostile = network.peer("hostile");
    for (what, messages, code, reason) in offences() {
        let mut peer = Peer::connect(&network.listen, &hostile).unwrap();
        messages.into_iter().for_each(|message| peer.send(message));
        let ended = peer.end();
        assert_eq!(ended.code, code, "{what}: {ended:?}");
        assert!(ended.reason.contains(reason), "{what}: {ended:?}");
        let logged = network.arbiter.wait_for_line(reason, LOG_WAIT);
        assert!(logged.contains("misbehaved") && logged.contains("peer=hostile"), "{logged}");
        // The other session goes on as if nothing had been.
        honest.say(&ToArbiter::Renew { leases: vec![lease] });
        assert_eq!(honest.hear(), Ok(ToPeer::Renewed { leases: vec![lease] }), "{what}");
    }
    until("the last to be gone", LOG_WAIT, || {
        (network.status().peers_connected == 1).then_some(())
    });
}

#[test]
fn what_names_no_lease_of_ones_own_is_refused_and_changes_nothing() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &["--lease", "600s"]);
    let mut holder = Peer::greet(&network.listen, &network.peer("holder"), 1).unwrap();
    let (lease, _) = holder.granted();
    let mut other = Peer::greet(&network.listen, &network.peer("other"), 0).unwrap();
    let row: PackageRow = PackageRow {
        package_id: "a".into(),
        version: "1".into(),
        architecture: "all".into(),
        price: "Free".into(),
        ..PackageRow::default()
    };
    for token in [lease, lease + 1, 0, u64::MAX] {
        for message in [
            ToArbiter::Known { lease: token, after: String::new() },
            ToArbiter::Put { lease: token, number: 1, rows: Rows::of(std::slice::from_ref(&row)) },
            ToArbiter::Dropped { lease: token, number: 1, digests: vec![Digest([0; 16])] },
            ToArbiter::Discard { lease: token, number: 1 },
            ToArbiter::GiveBack { lease: token },
        ] {
            other.say(&message);
            match other.hear() {
                Ok(ToPeer::Refused { lease, .. }) => assert_eq!(lease, token),
                heard => panic!("{heard:?} to {message:?}"),
            }
        }
    }
    other.say(&ToArbiter::Renew { leases: vec![lease] });
    assert_eq!(other.hear(), Ok(ToPeer::Renewed { leases: vec![] }));
    holder.say(&ToArbiter::Renew { leases: vec![lease] });
    assert_eq!(holder.hear(), Ok(ToPeer::Renewed { leases: vec![lease] }));
    let staged: u64 = network
        .database()
        .query_row("SELECT count(*) FROM staging", [], |row| row.get::<_, i64>(0))
        .unwrap()
        .cast_unsigned();
    assert_eq!(staged, 0);
}

#[test]
fn a_second_session_of_a_peer_takes_over_with_its_leases() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &["--lease", "600s"]);
    let files = network.peer("own");
    let mut first = Peer::greet(&network.listen, &files, 1).unwrap();
    let (lease, _) = first.granted();
    let mut second = Peer::connect(&network.listen, &files).unwrap();
    second.say(&hello(&[lease]));
    match second.hear() {
        Ok(ToPeer::Welcome { leases, peer, .. }) => {
            assert_eq!(leases, [lease]);
            assert_eq!(peer, "own");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(first.end().code, 1008);
    second.say(&ToArbiter::GiveBack { lease });
    second.say(&ToArbiter::Offer { reaches: None, bytes: None, slots: 1 });
    let (again, _) = second.granted();
    assert!(again > lease, "a token is never granted twice");
    // A third session that doesn't know of the lease (its grant was lost on the way) gets a new one.
    let mut third = Peer::greet(&network.listen, &files, 1).unwrap();
    assert!(third.granted().0 > again);
}

#[test]
fn a_half_dead_connection_never_blocks_its_owner() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &["--lease", "600s"]);
    let files = network.peer("own");
    // Asks and never reads, until the arbiter waits for it to read: as when the line is gone and
    // neither side was told.
    let mut dead = Peer::greet(&network.listen, &files, 1).unwrap();
    let (lease, _) = dead.granted();
    let row: PackageRow = PackageRow {
        package_id: "a".into(),
        version: "1".into(),
        architecture: "all".into(),
        price: "Free".into(),
        ..PackageRow::default()
    };
    dead.say(&ToArbiter::Put { lease, number: 1, rows: Rows::of(&[row]) });
    for _ in 0..2000 {
        dead.say(&ToArbiter::Known { lease, after: String::new() });
    }
    for round in 0..3 {
        let since = Instant::now();
        let mut owner = Peer::connect(&network.listen, &files).unwrap();
        owner.say(&hello(&[lease]));
        match owner.hear() {
            Ok(ToPeer::Welcome { leases, .. }) => assert_eq!(leases, [lease], "{round}"),
            other => panic!("{other:?}"),
        }
        let took = since.elapsed();
        assert!(took < Duration::from_secs(1), "{round}: {took:?}");
        // The lease goes on where it was: what was put is there, and the new session may write.
        owner.say(&ToArbiter::Discard { lease, number: 2 });
        assert_eq!(owner.hear(), Ok(ToPeer::Taken { lease, number: 2 }));
        assert_eq!(network.status().peers_connected, 1);
    }
    // It is told, or the line is cut where it doesn't even listen to that.
    let ended = dead.end();
    assert!([1006, 1008].contains(&ended.code), "{ended:?}");
}

#[test]
fn a_stopped_agent_gives_way_to_another_of_its_name() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &["--lease", "600s"]);
    let first = network.agent("own", &[]);
    until("it to connect", LOG_WAIT, || (network.status().peers_connected == 1).then_some(()));
    // Its connection stays open and nobody is at home.
    first.signal(rustix::process::Signal::STOP);
    let address = || network.peers()[0].address.clone();
    let before = address();
    let _second = network.agent("own", &[]);
    until("the second to be who is connected", LOG_WAIT, || (address() != before).then_some(()));
    assert_eq!(network.status().peers_connected, 1);
    assert_eq!(network.peers().len(), 1);
    first.signal(rustix::process::Signal::CONT);
}

#[test]
fn an_agent_goes_to_no_arbiter_of_another_authority() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let elsewhere = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let mut own = network.peer("own");
    own.authority = elsewhere.peer("own").authority;
    let mut command = std::process::Command::new(binary("canister-agent"));
    command.args(["run", "--arbiter", &format!("wss://{}/connect", network.listen)]);
    command.arg("--certificate").arg(&own.certificate).arg("--key").arg(&own.key);
    command.arg("--authority").arg(&own.authority);
    let mut agent = Program::start_command("agent", &mut command);
    let said = agent.wait_for_line("couldn't connect to arbiter", LOG_WAIT);
    assert!(said.contains("invalid peer certificate"), "{said}");
    assert_eq!(network.peers().len(), 0);
    agent.term();
    assert!(agent.wait(LOG_WAIT).success());
}

#[test]
fn a_key_that_others_may_read_is_refused_and_the_state_is_the_arbiters_own() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let state = network.state().metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(state, 0o700);
    let files = network.peer("own");
    let own = files.key.clone();
    let arbiters = network.dir().join("ca/arbiter.key");
    for (key, mode) in [(&own, 0o666), (&own, 0o604), (&arbiters, 0o644)] {
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let checked = canister_tests::network::check(&files, &network.listen, &[]);
    let mends = |said: &str, key: &std::path::Path| {
        let mend = format!(
            "chmod 06{}0 {}",
            if said.contains("chmod 0640") { 4 } else { 0 },
            key.display()
        );
        assert!(said.contains(&mend), "{said}");
    };
    mends(&(checked.stdout + &checked.stderr), &own);
    network.arbiter.term();
    network.arbiter.wait(LOG_WAIT);
    let words =
        ["run", "--listen", "127.0.0.1:0", "--public", "none", "--state"].map(str::to_owned);
    let file = |name: &str| network.dir().join(name).display().to_string();
    let more = [
        file("state"),
        "--certificate".into(),
        file("ca/arbiter.crt"),
        "--key".into(),
        file("ca/arbiter.key"),
        "--authority".into(),
        file("ca/ca.crt"),
    ];
    let ran = run("canister-arbiter", words.into_iter().chain(more), LOG_WAIT);
    assert_eq!(ran.status.code(), Some(1));
    mends(&ran.stderr, &arbiters);
}
