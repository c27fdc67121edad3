//! Whom the network believes, as its operator sees and decides it: disputes, `trust`, `suspend`, what is
//! audited when.

use canister_authority::DAYS;
use canister_link::identity::Files;
use canister_protocol::message::{Cost, Counts, Facts, Origin, Outcome};
use canister_protocol::{Head, PackageRow, Rows, ToArbiter, ToPeer};
use canister_tests::network::{Network, WAIT, flat, serve};
use canister_tests::origin::Origin as Server;
use canister_tests::peer::Peer;
use canister_tests::programs::until;
use canister_tests::web::ask;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

fn index(version: u32) -> String {
    format!("Package: a\nVersion: {version}\nArchitecture: all\nFilename: true.deb\n\n")
}

/// A row that there never was.
fn put(lease: u64) -> ToArbiter {
    let row: PackageRow = PackageRow {
        package_id: "a".into(),
        version: "1".into(),
        architecture: "all".into(),
        package_filename: "evil.deb".into(),
        price: "Free".into(),
        ..PackageRow::default()
    };
    ToArbiter::Put { lease, number: 1, rows: Rows::of(&[row]) }
}

/// Publishes it of a source that was never read, under its true head.
fn lie(server: &Server, liar: &mut Peer, lease: u64) {
    liar.say(&put(lease));
    assert!(matches!(liar.hear(), Ok(ToPeer::Taken { .. })));
    let release = ask(&server.address().to_string(), "GET", "/InRelease").body;
    let digest: String =
        Sha256::digest(index(1)).iter().map(|byte| format!("{byte:02x}")).collect();
    let origin = Origin {
        head: Head::from_sha256(Sha256::digest(release).into()).to_string(),
        release_path: "InRelease".into(),
        index_path: "Packages".into(),
        index_digest: format!("sha256:{digest}"),
        ..Origin::default()
    };
    let counts = Counts { packages: 1, put: 1, ..Counts::default() };
    let outcome = Outcome::Indexed { origin, facts: Facts::default(), counts };
    liar.say(&ToArbiter::Finish { lease, outcome, owner: None, cost: Cost::default() });
    assert_eq!(liar.hear(), Ok(ToPeer::Finished { lease }));
}

#[test]
fn a_dispute_waits_for_a_third_peer_and_the_operator_has_the_last_word() {
    let server = Server::empty();
    serve(&server, index(1).as_bytes());
    let options = ["--audit-share", "100", "--interval", "2s", "--retry-after", "1s"];
    let network = Network::start(&[flat("a", &server.uri())], &options);
    let mut liar = Peer::greet(&network.listen, &network.peer("liar"), 1).unwrap();
    let (lease, _) = liar.granted();
    lie(&server, &mut liar, lease);
    liar.say(&ToArbiter::Offer { reaches: None, bytes: None, slots: 0 });
    let status = network.command(&["status"]);
    let words = status.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(" suspended nobody "), "{status}");
    assert!(status.contains("none proven yet: the first are believed"), "{status}");

    let _honest = network.agent("honest", &[]);
    until("a dispute to wait", WAIT, || (network.status().undecided == ["a"]).then_some(()));
    assert_eq!(network.status().disputed, ["a"]);
    assert_eq!(network.status().suspended, [""; 0]);
    let status = network.command(&["status"]);
    assert!(status.contains("a: no third peer is here to decide about a"), "{status}");
    let json: Value = serde_json::from_str(&network.command(&["status", "--json"])).unwrap();
    assert_eq!((&json["disputed"][0], &json["undecided"][0]), (&"a".into(), &"a".into()));
    let said = network.command(&["dispute", "a"]);
    assert!(said.contains("dispute 1 about a, lease 1, "), "{said}");
    assert!(said.contains("open: it waits, for no third peer is here"), "{said}");

    let _third = network.agent("third", &[]);
    until("the liar to be out", WAIT, || (network.status().suspended == ["liar"]).then_some(()));
    assert_eq!(network.status().disputed, [""; 0]);
    assert_eq!(network.rows("a")[0].file.0, "true.deb");
    let said = network.command(&["dispute", "a"]);
    for part in ["liar stood alone", "- a 1 all evil.deb", "+ a 1 all true.deb", "third"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let json: Value = serde_json::from_str(&network.command(&["dispute", "a", "--json"])).unwrap();
    assert_eq!(json[0]["readings"][0]["peer"], "liar");
    let shown = network.command(&["peers"]);
    assert!(shown.contains("suspended: stood alone in dispute 1 about a"), "{shown}");
    assert!(network.command(&["status"]).contains("liar; `peers` says why"));

    // It gets nothing, whatever it offers and the others do.
    let held = |name: &str| {
        let peers = network.peers();
        peers.iter().find(|peer| peer.peer == name).map_or(0, |peer| peer.granted)
    };
    liar.say(&ToArbiter::Offer { reaches: None, bytes: None, slots: 1 });
    let others = held("honest") + held("third");
    until("others to go on", WAIT, || (held("honest") + held("third") > others + 2).then_some(()));
    assert_eq!(held("liar"), 1);

    // Until the operator says so.
    network.command(&["trust", "liar", "--why", "a slip"]);
    assert_eq!(network.status().suspended, [""; 0]);
    let (lease, _) = liar.granted();
    network.command(&["suspend", "liar", "--why", "again"]);
    let reason = "the peer is suspended".to_owned();
    assert_eq!(liar.hear(), Ok(ToPeer::Revoked { lease, reason }));
    assert!(network.command(&["peers"]).contains("suspended: again"));
    let decisions = network.command(&["decisions"]);
    for part in ["a slip", "again", "peer:liar"] {
        assert!(decisions.contains(part), "no {part:?} in {decisions}");
    }
    // And what it puts under a lease that it had is refused.
    liar.say(&put(lease));
    assert!(matches!(liar.hear(), Ok(ToPeer::Refused { .. })));
    let rows = network.rows("a");
    assert_eq!((rows.len(), &*rows[0].file.0), (1, "true.deb"));
}

#[test]
fn a_new_peer_is_on_probation_unless_its_certificate_was_signed_as_trusted() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let trust = |name: &str| {
        let peers = network.peers();
        peers.into_iter().find(|peer| peer.peer == name).map(|peer| peer.trust)
    };
    // One that needn't have been here.
    network.command(&["trust", "anna"]);
    let _anna = Peer::greet(&network.listen, &network.peer("anna"), 0).unwrap();
    assert_eq!(trust("anna").as_deref(), Some("proven"));
    let state = network.state().display().to_string();
    for (name, more, is) in
        [("new", &[][..], "probation"), ("friend", &["--trusted", "--state", &state], "proven")]
    {
        let folder = tempfile::tempdir().unwrap();
        let made = canister_link::request::make(folder.path(), name).unwrap();
        let (out, life) = (folder.path().join("peer.crt"), format!("{DAYS}d"));
        let file = |path: &std::path::Path| path.display().to_string();
        let (to, request) = (file(&out), file(&made.request));
        network.ca(&[&["sign", "--life", &*life, "--out", &*to, &*request], more].concat());
        let authority = network.dir().join("ca/ca.crt");
        let files = Files { certificate: out, key: made.key, authority };
        let _peer = Peer::greet(&network.listen, &files, 0).unwrap();
        assert_eq!(trust(name).as_deref(), Some(is), "{name}");
    }
}

#[test]
fn what_is_audited_when_is_a_setting() {
    let server = Server::empty();
    serve(&server, index(1).as_bytes());
    let start = |more: &[&str]| {
        let often = ["--interval", "1s", "--retry-after", "1s"];
        let network = Network::start(&[flat("a", &server.uri())], &[&often, more].concat());
        let agents = ["anna", "ben"].map(|name| network.agent(name, &[]));
        (network, agents)
    };
    let audits = |network: &Network| -> i64 {
        let count = "SELECT count(*) FROM attempt WHERE verdict = 'audited'";
        network.database().query_row(count, [], |row| row.get(0)).unwrap()
    };
    // Each source in its time, though nothing changes.
    let (by_source, _one) = start(&["--audit-share", "0", "--audit-source", "3s"]);
    // Each peer's publications in theirs; by chance they would be one in a hundred.
    let (by_peer, _two) = start(&["--audit-share", "1", "--audit-peer", "1s"]);
    let (never, _three) = start(&["--audit-share", "0"]);
    until("the source to be audited again and again", WAIT, || {
        (audits(&by_source) >= 2).then_some(())
    });
    for version in 2..5 {
        let before = audits(&by_peer);
        serve(&server, index(version).as_bytes());
        until("a publication to be audited", WAIT, || (audits(&by_peer) > before).then_some(()));
    }
    assert_eq!(audits(&never), 0);
    let confirmed = by_peer.command(&["publications", "a"]);
    assert!(confirmed.contains("anna") && confirmed.contains("ben"), "{confirmed}");
}
