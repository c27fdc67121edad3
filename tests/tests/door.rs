//! The peers' listener: who gets in, and what happens to those who misbehave there.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

use async_tungstenite::tungstenite::Message;
use canister_agent::identity::{Files, provider};
use canister_arbiter::ca::{Authority, Pair};
use canister_protocol::limits::{MESSAGE_BYTES_MAX, PROTOCOL};
use canister_protocol::row::PackageRow;
use canister_protocol::{ToArbiter, ToPeer, codec};
use canister_tests::network::{Network, flat};
use canister_tests::peer::{Peer, hello};
use canister_tests::programs::{Program, binary};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::io::{Read as _, Write as _};
use std::time::Duration;

const LOG_WAIT: Duration = Duration::from_secs(10);

/// A certificate of the network's own authority, with whatever the test asks for.
fn made(network: &Network, change: impl FnOnce(&mut CertificateParams)) -> Pair {
    let ca = network.dir().join("ca");
    let read = |name: &str| std::fs::read_to_string(ca.join(name)).unwrap();
    let issuer = KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.crt"), issuer).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "stranger");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    Pair {
        certificate,
        key: key.serialize_pem(),
    }
}

/// The TLS handshake of TLS 1.3 is over for the client before the server has judged its
/// certificate, so a refusal shows at the first byte after it: here, in the WebSocket handshake.
fn refused(network: &mut Network, files: &Files, why: &str) {
    let said = Peer::connect(&network.listen, files)
        .err()
        .expect("a refusal");
    assert!(said.contains("alert"), "{said}");
    assert_refusal_logged(network, why);
}

fn assert_refusal_logged(network: &mut Network, why: &str) {
    let logged = network.arbiter.wait_for_line(why, LOG_WAIT);
    assert!(
        logged.contains("refused a connection") && logged.contains("TLS"),
        "{logged}"
    );
    assert_eq!(network.status().peers_connected, 0);
    assert_eq!(network.peers().len(), 0);
}

#[test]
fn only_the_authoritys_own_get_past_the_tls_handshake() {
    let mut network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);

    // Without a certificate.
    let mut roots = rustls::RootCertStore::empty();
    let authority = network.dir().join("ca/ca.crt");
    roots
        .add(CertificateDer::from_pem_file(&authority).unwrap())
        .unwrap();
    let bare = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    let said = Peer::connect_with(&network.listen, bare)
        .err()
        .expect("a refusal");
    assert!(said.contains("CertificateRequired"), "{said}");
    assert_refusal_logged(&mut network, "peer sent no certificates");

    // Of another authority, though it has the same name.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Authority::init(elsewhere.path())
        .unwrap()
        .new_peer("demo", 30)
        .unwrap();
    let other = network.stranger("other", &other);
    refused(&mut network, &other, "BadSignature");

    // Expired, and not yet valid.
    let expired = made(&network, |params| {
        params.not_after = date_time_ymd(2020, 1, 1)
    });
    let expired = network.stranger("expired", &expired);
    refused(&mut network, &expired, "certificate expired");
    let early = made(&network, |params| {
        params.not_before = date_time_ymd(2999, 1, 1)
    });
    let early = network.stranger("early", &early);
    refused(&mut network, &early, "not valid yet");

    // An arbiter's certificate is no peer's.
    let server = made(&network, |params| {
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
    network
        .arbiter
        .wait_for_line("no common name that a peer can have", LOG_WAIT);

    // TLS 1.2.
    let old = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let said = Peer::connect_with(&network.listen, old)
        .err()
        .expect("a refusal");
    assert!(said.contains("ProtocolVersion"), "{said}");

    // And one of its own does.
    assert!(Peer::greet(&network.listen, &network.peer("own"), 0).is_ok());
}

#[test]
fn a_certificate_whose_name_no_peer_can_have_gets_no_session() {
    let mut network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    for name in ["Peer One", "", "a/../b", &"x".repeat(64)] {
        let odd = made(&network, |params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
        });
        let file = format!("odd-{}", name.len());
        let odd = network.stranger(&file, &odd);
        assert!(Peer::connect(&network.listen, &odd).is_err(), "{name:?}");
    }
    network
        .arbiter
        .wait_for_line("no common name that a peer can have", LOG_WAIT);
    assert_eq!(network.peers().len(), 0);
}

#[test]
fn only_the_websocket_is_served() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let files = network.peer("own");
    let identity = canister_agent::identity::Identity::load(&files).unwrap();
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
    assert!(get(&format!("GET /connect HTTP/1.1\r\n{upgrade}")).starts_with("HTTP/1.1 101"));
    let other = get(&format!("GET /admin HTTP/1.1\r\n{upgrade}"));
    assert!(other.starts_with("HTTP/1.1 404"), "{other}");
    let plain = get("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        !plain.starts_with("HTTP/1.1 2") && !plain.starts_with("HTTP/1.1 101"),
        "{plain}"
    );
}

/// Everything that ends the session of the one who sends it, with the close code and a part of the
/// reason that is sent and logged.
fn offences() -> Vec<(&'static str, Vec<Message>, u16, &'static str)> {
    let text = |text: &str| Message::text(text.to_owned());
    let said = |message: &ToArbiter| Message::text(codec::encode(message));
    let greeting = || said(&hello(&[]));
    let row = PackageRow {
        package_id: "a".into(),
        version: "1".into(),
        architecture: "all".into(),
        price: "Free".into(),
        ..PackageRow::default()
    };
    let stale = ToArbiter::Hello {
        protocol: PROTOCOL + 1,
        agent: String::new(),
        leases: vec![],
    };
    let many = ToArbiter::Put {
        lease: 1,
        number: 1,
        rows: vec![row; 501],
    };
    vec![
        ("nothing like JSON", vec![text("hello")], 1007, "byte 0"),
        (
            "cut off",
            vec![text("{\"Hello\":{\"protocol\":1,\"x\":[")],
            1007,
            "not JSON",
        ),
        (
            "deep",
            vec![text(&"[".repeat(100_000))],
            1007,
            "less nesting",
        ),
        (
            "no message",
            vec![text("{\"Nonsense\":{}}")],
            1002,
            "not a message",
        ),
        (
            "another side's message",
            vec![text("{\"Draining\":{}}")],
            1002,
            "not a message",
        ),
        ("binary", vec![Message::binary(vec![0; 9])], 1002, "binary"),
        (
            "too long",
            vec![text(&" ".repeat(MESSAGE_BYTES_MAX + 1))],
            1009,
            "at most 1048576",
        ),
        (
            "too early",
            vec![said(&ToArbiter::Offer { slots: 1 })],
            1002,
            "phase greeting",
        ),
        ("twice", vec![greeting(), greeting()], 1002, "phase steady"),
        (
            "another protocol",
            vec![said(&stale)],
            1002,
            "speaks protocol",
        ),
        (
            "too many slots",
            vec![greeting(), said(&ToArbiter::Offer { slots: 65 })],
            1008,
            "slots",
        ),
        ("too many rows", vec![greeting(), said(&many)], 1008, "rows"),
    ]
}

#[test]
fn an_offence_ends_its_own_session_and_disturbs_nobody() {
    let mut network = Network::start(&[flat("a", "http://127.0.0.1:1")], &["--lease", "600"]);
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
        assert!(
            logged.contains("misbehaved") && logged.contains("peer=hostile"),
            "{logged}"
        );
        // The other session goes on as if nothing had been.
        honest.say(&ToArbiter::Renew {
            leases: vec![lease],
        });
        assert_eq!(
            honest.hear(),
            Ok(ToPeer::Renewed {
                leases: vec![lease]
            }),
            "{what}"
        );
    }
    assert_eq!(network.status().peers_connected, 1);
}

#[test]
fn what_names_no_lease_of_ones_own_is_refused_and_changes_nothing() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &["--lease", "600"]);
    let mut holder = Peer::greet(&network.listen, &network.peer("holder"), 1).unwrap();
    let (lease, _) = holder.granted();
    let mut other = Peer::greet(&network.listen, &network.peer("other"), 0).unwrap();
    let row = PackageRow {
        package_id: "a".into(),
        version: "1".into(),
        architecture: "all".into(),
        price: "Free".into(),
        ..PackageRow::default()
    };
    for token in [lease, lease + 1, 0, u64::MAX] {
        for message in [
            ToArbiter::Known {
                lease: token,
                after: String::new(),
            },
            ToArbiter::Put {
                lease: token,
                number: 1,
                rows: vec![row.clone()],
            },
            ToArbiter::Dropped {
                lease: token,
                number: 1,
                digests: "0".repeat(32),
            },
            ToArbiter::Discard {
                lease: token,
                number: 1,
            },
            ToArbiter::GiveBack { lease: token },
        ] {
            other.say(&message);
            match other.hear() {
                Ok(ToPeer::Refused { lease, .. }) => assert_eq!(lease, token),
                heard => panic!("{heard:?} to {message:?}"),
            }
        }
    }
    other.say(&ToArbiter::Renew {
        leases: vec![lease],
    });
    assert_eq!(other.hear(), Ok(ToPeer::Renewed { leases: vec![] }));
    holder.say(&ToArbiter::Renew {
        leases: vec![lease],
    });
    assert_eq!(
        holder.hear(),
        Ok(ToPeer::Renewed {
            leases: vec![lease]
        })
    );
    let staged: u64 = network
        .database()
        .query_row("SELECT count(*) FROM staging", [], |row| {
            row.get::<_, i64>(0)
        })
        .unwrap()
        .cast_unsigned();
    assert_eq!(staged, 0);
}

#[test]
fn a_second_session_of_a_peer_takes_over_with_its_leases() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &["--lease", "600"]);
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
    second.say(&ToArbiter::Offer { slots: 1 });
    let (again, _) = second.granted();
    assert!(again > lease, "a token is never granted twice");
    // A third session that doesn't know of the lease (its grant was lost on the way) gets a new one.
    let mut third = Peer::greet(&network.listen, &files, 1).unwrap();
    assert!(third.granted().0 > again);
}

#[test]
fn an_agent_goes_to_no_arbiter_of_another_authority() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let elsewhere = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let mut own = network.peer("own");
    own.authority = elsewhere.peer("own").authority;
    let mut command = std::process::Command::new(binary("canister-agent"));
    command.args([
        "run",
        "--arbiter",
        &format!("wss://{}/connect", network.listen),
    ]);
    command
        .arg("--certificate")
        .arg(&own.certificate)
        .arg("--key")
        .arg(&own.key);
    command.arg("--authority").arg(&own.authority);
    let mut agent = Program::start_command("agent", &mut command);
    let said = agent.wait_for_line("couldn't connect to arbiter", LOG_WAIT);
    assert!(said.contains("invalid peer certificate"), "{said}");
    assert_eq!(network.peers().len(), 0);
    agent.term();
    assert!(agent.wait(LOG_WAIT).success());
}
