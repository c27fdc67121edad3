//! An approved peer that lies, beside honest ones.

use canister_arbiter::doors::admin::SourceReport;
use canister_protocol::message::{Cost, FailureKind, Origin, Outcome};
use canister_protocol::{ToArbiter, ToPeer};
use canister_tests::network::{Network, WAIT, flat, serve};
use canister_tests::origin::{Origin as Server, Validators};
use canister_tests::peer::Peer;
use canister_tests::programs::until;
use canister_tests::web::ask;

fn index(version: u8) -> String {
    format!("Package: a\nVersion: {version}\nArchitecture: all\n\n")
}

/// A network in which the source was indexed, an agent that did it, and a liar with the next lease.
fn with_lease(server: &Server) -> (Network, Peer, u64, Origin) {
    server.validators(Validators::Both);
    serve(server, index(1).as_bytes());
    let network = Network::start(&[flat("a", &server.uri())], &[]);
    let mut agent = network.agent("honest", &[]);
    network.until_all("indexed", 0);
    agent.term();
    agent.wait(WAIT);
    let mut liar = Peer::greet(&network.listen, &network.peer("liar"), 1).unwrap();
    network.sync();
    let Ok(ToPeer::Grant { lease, origin: Some(origin), .. }) = liar.hear() else {
        panic!("no grant")
    };
    (network, liar, lease, origin)
}

fn unchanged(lease: u64, origin: Origin) -> ToArbiter {
    let outcome = Outcome::Unchanged { origin, facts: None };
    ToArbiter::Finish { lease, outcome, owner: None, cost: Cost::default() }
}

#[test]
fn a_validator_that_is_none_ends_the_session_that_says_it() {
    let server = Server::empty();
    let (network, _, _, origin) = with_lease(&server);
    for validator in ["*", "W/", "\"a\", \"b\"", "x"] {
        let mut liar = Peer::greet(&network.listen, &network.peer("liar"), 0).unwrap();
        let etag = Some(validator.to_owned());
        liar.say(&unchanged(1, Origin { etag, ..origin.clone() }));
        assert!(liar.end().reason.contains("etag"), "{validator}");
        let mut liar = Peer::greet(&network.listen, &network.peer("liar"), 0).unwrap();
        let last_modified = Some(validator.to_owned());
        liar.say(&unchanged(1, Origin { last_modified, ..origin.clone() }));
        assert!(liar.end().reason.contains("last_modified"), "{validator}");
    }
}

#[test]
fn a_source_that_a_liar_froze_is_healed_by_sync() {
    let server = Server::empty();
    let (network, mut liar, lease, origin) = with_lease(&server);
    // The old state, by the new one's validator.
    serve(&server, index(2).as_bytes());
    let new = ask(&server.address().to_string(), "GET", "/InRelease");
    let etag = new.header("etag").map(str::to_owned);
    let last_modified = new.header("last-modified").map(str::to_owned);
    assert!(etag.is_some() || last_modified.is_some());
    liar.say(&unchanged(lease, Origin { etag, last_modified, ..origin }));
    assert_eq!(liar.hear(), Ok(ToPeer::Finished { lease }));
    liar.say(&ToArbiter::Offer { reaches: None, bytes: None, slots: 0 });
    let _agent = network.agent("honest", &[]);
    network.sync();
    until("the new state to be published", WAIT, || {
        network.rows("a").iter().any(|row| row.package.1 == "2").then_some(())
    });
}

#[test]
fn what_a_peer_writes_forges_no_line_and_moves_no_cursor() {
    let server = Server::empty();
    let (mut network, mut liar, lease, _) = with_lease(&server);
    let failed = |reason: &str| ToArbiter::Finish {
        lease,
        outcome: Outcome::Failed {
            kind: FailureKind::NoIndex,
            retry_after_secs: None,
            status: None,
            reason: reason.to_owned(),
        },
        owner: None,
        cost: Cost::default(),
    };
    // A second line and control characters end the session; what turns the writing is shown.
    for reason in ["x\n[2026-11-29T00:00:00Z INFO forged] x", "x\u{9b}31m", "x\u{1b}[31m"] {
        let mut other = Peer::greet(&network.listen, &network.peer("other"), 0).unwrap();
        other.say(&failed(reason));
        assert!(other.end().reason.contains("reason: has a"), "{reason:?}");
    }
    let turned = "x\u{202e}y\u{2066}z\u{2028}w";
    liar.say(&ToArbiter::Writes { direct: false, reason: turned.to_owned() });
    liar.say(&failed(turned));
    assert_eq!(liar.hear(), Ok(ToPeer::Finished { lease }));
    let logged = network.arbiter.wait_for_line("writes rows", WAIT);
    let plain = r"x\u{202e}y\u{2066}z\u{2028}w";
    assert!(logged.contains(plain), "{logged}");
    for command in ["sources", "peers"] {
        let shown = network.command(&[command]);
        assert!(shown.contains(plain), "{shown}");
        assert!(!shown.contains(['\u{202e}', '\u{2028}']), "{shown}");
    }
    assert!(network.arbiter.stderr().lines().all(|line| line.starts_with("[20")));
}

#[test]
fn whoever_only_renews_keeps_nobody_from_his_share() {
    let servers: Vec<Server> = (2..14).map(Server::at).collect();
    servers.iter().for_each(|server| serve(server, index(1).as_bytes()));
    let slug = |number: usize| format!("s{number}");
    let sources = servers.iter().enumerate();
    let sources: Vec<_> =
        sources.map(|(number, server)| flat(&slug(number), &server.uri())).collect();
    let network = Network::start(&sources, &["--lease", "5s"]);
    let mut liar = Peer::greet(&network.listen, &network.peer("liar"), 64).unwrap();
    // As many as somebody gets who never succeeded.
    let mut leases: Vec<u64> = (0..8).map(|_| liar.granted().0).collect();
    let _agent = network.agent("honest", &[]);
    until("the honest one to have nearly all", WAIT, || {
        liar.say(&ToArbiter::Renew { leases: leases.clone() });
        // What it is told of leases is all it keeps, and what it is granted it keeps, too.
        loop {
            match liar.hear() {
                Ok(ToPeer::Renewed { leases: held }) => break leases = held,
                Ok(ToPeer::Grant { lease, .. }) => leases.push(lease),
                Ok(_) => {}
                Err(ended) => panic!("{ended:?}"),
            }
        }
        let done = |report: &&SourceReport| report.last_contact.is_some();
        (network.sources().iter().filter(done).count() >= sources.len() - 4).then_some(())
    });
}
