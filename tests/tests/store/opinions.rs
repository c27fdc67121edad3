//! Whose fault a failed lease is, what comes of a peer's record, and what the brake makes of sources that
//! are silent.

use super::*;
use canister_arbiter::rules::schedule::{PollSchedule, Polls, Standing};
use canister_arbiter::store::SessionState;
use canister_protocol::address::AddressFamilies;

impl Fresh {
    /// A peer that is here, at this address, with 4 slots.
    pub(super) fn here(&mut self, peer: &str, address: &str) {
        self.store.beat("[::]:443", "tested", at(0)).unwrap();
        self.offers(peer, address, 4);
    }

    fn offers(&mut self, peer: &str, address: &str, slots: u32) {
        let session = SessionState {
            arbiter: String::new(),
            address: address.into(),
            slots,
            writes: "relayed".into(),
            reaches: AddressFamilies::BOTH,
        };
        self.store.session(peer, &session, at(0)).unwrap();
    }

    /// A lease of `peer`'s that fails so; what was granted, and what the finish says.
    fn fails(&mut self, peer: &str, kind: FailureKind, now: Timestamp) -> (Grant, Finished) {
        let grant = self.claim_one(peer, now);
        let finished = self.finish(peer, grant.token, &failed(kind), now).unwrap();
        (grant, finished)
    }

    fn granted_to(&mut self, peer: &str, now: Timestamp) -> usize {
        self.store.claim(peer, 9, now, &terms()).unwrap().len()
    }
}

both!(a_failure_counts_once_a_peer_of_another_network_met_one);
fn a_failure_counts_once_a_peer_of_another_network_met_one(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let peers = [("p1", "192.0.2.1:5"), ("p2", "192.0.2.2:5"), ("p3", "[2001:db8::3]:5")];
    peers.iter().for_each(|(peer, address)| fresh.here(peer, address));
    fresh.cycle("p1", &[package("x", "1", "X")], at(0));
    let (grant, finished) = fresh.fails("p1", FailureKind::Connect, at(3600));
    assert_eq!((grant.retry, finished.verdict), (None, Verdict::PeerFailed));
    assert_eq!((finished.due_at, fresh.state("a").failures), (at(3600), 0));
    // It survives a restart: the peer leaves it to others, which ask one path.
    let mut fresh = fresh.reopen();
    peers.iter().for_each(|(peer, address)| fresh.here(peer, address));
    assert_eq!(fresh.granted_to("p1", at(3600)), 0);
    assert!(fresh.store.is_apart("p1", at(3600)).unwrap());
    let (grant, finished) = fresh.fails("p2", FailureKind::Timeout, at(3601));
    assert_eq!((grant.retry, finished.verdict), (Some(0), Verdict::PeerFailed));
    assert_eq!(fresh.state("a").failures, 0);
    let (_, finished) = fresh.fails("p3", FailureKind::Connect, at(3602));
    assert_eq!((finished.verdict, finished.due_at), (Verdict::SourceFailed, at(3602 + 900)));
    assert_eq!((fresh.state("a").failures, fresh.state("a").witnesses.times()), (1, 3));
    // Whoever failed last comes last, and one that didn't fail there comes first.
    let due = 3602 + 900;
    fresh.here("p4", "198.51.100.4:5");
    for peer in ["p1", "p2", "p3"] {
        assert_eq!(fresh.granted_to(peer, at(due)), 0, "{peer}");
    }
    let grant = fresh.claim_one("p4", at(due));
    assert_eq!(grant.retry, Some(1));
    fresh.store.give_back("p4", grant.token, at(due)).unwrap();
    assert_eq!(fresh.granted_to("p4", at(due)), 0);
    assert_eq!(fresh.granted_to("p3", at(due + 4)), 0);
    let grant = fresh.claim_one("p1", at(due + 4));
    let unchanged = Outcome::Unchanged { origin: origin(1), facts: None };
    fresh.finish("p1", grant.token, &unchanged, at(due + 4)).unwrap();
    let state = fresh.state("a");
    assert_eq!((state.failures, state.witnesses.is_empty()), (0, true));
    fresh.check_laws();
}

both!(only_who_is_here_and_free_is_waited_for);
fn only_who_is_here_and_free_is_waited_for(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    fresh.here("p1", "192.0.2.1:5");
    fresh.here("p2", "198.51.100.1:5");
    fresh.offers("p2", "198.51.100.1:5", 0);
    let (_, finished) = fresh.fails("p1", FailureKind::Connect, at(0));
    assert_eq!(finished.verdict, Verdict::SourceFailed);
    fresh.store.session_over("p2").unwrap();
    let (_, finished) = fresh.fails("p1", FailureKind::Connect, at(900));
    assert_eq!((finished.verdict, finished.due_at), (Verdict::SourceFailed, at(2700)));
}

both!(a_peer_that_reaches_nothing_gets_little_and_all_again_by_success);
fn a_peer_that_reaches_nothing_gets_little_and_all_again_by_success(kind: Kind) {
    let slugs: Vec<String> = (0..9).map(|number| format!("s{number}")).collect();
    let mut fresh = Fresh::with(kind, &slugs.iter().map(String::as_str).collect::<Vec<_>>());
    fresh.here("bad", "192.0.2.1:5");
    fresh.here("good", "198.51.100.1:5");
    for number in 0..9 {
        let grant = fresh.claim_one("good", at(number));
        fresh.finish("good", grant.token, &indexed(Counted::default()), at(number)).unwrap();
    }
    fresh.sync(None, at(9000));
    assert_eq!(fresh.store.record("bad").unwrap().why(), None);
    for (number, granted) in [(0, 4), (1, 1), (2, 0)] {
        let (_, finished) = fresh.fails("bad", FailureKind::Resolve, at(9000 + number));
        assert_eq!(finished.verdict, Verdict::PeerFailed);
        let now = at(9000 + number);
        let grants = fresh.store.claim("bad", 4, now, &terms()).unwrap();
        assert_eq!(grants.len(), granted, "after {} failures", number + 1);
        // It didn't hear of them: that says nothing of it.
        fresh.store.greet("bad", &program("agent"), &[], now, &terms()).unwrap();
    }
    let why = fresh.store.record("bad").unwrap().why().unwrap();
    assert!(why.contains("failed at 3 servers in a row"), "{why}");
    assert_eq!(fresh.store.next_deadline(at(9002), &terms()).unwrap(), Some(at(9007)));
    assert!(fresh.store.is_apart("bad", at(9002)).unwrap());
    // What it failed at is the good one's at once; nothing of it is counted.
    for _ in 0..3 {
        let grant = fresh.claim_one("good", at(9003));
        fresh.finish("good", grant.token, &indexed(Counted::default()), at(9003)).unwrap();
    }
    // It is remembered across a restart, and it is tried by one lease, of what others can read.
    let mut fresh = fresh.reopen();
    assert_eq!(fresh.granted_to("bad", at(9006)), 0);
    let tried = fresh.store.claim("bad", 9, at(9007), &terms()).unwrap();
    assert_eq!(tried.len(), 1);
    fresh.finish("bad", tried[0].token, &indexed(Counted::default()), at(9008)).unwrap();
    assert_eq!(fresh.store.record("bad").unwrap().why(), None);
    assert!(fresh.granted_to("bad", at(9008)) > 1);
    assert!(fresh.store.sources().unwrap().iter().all(|state| state.failures == 0));
    fresh.check_laws();
}

both!(what_failing_would_hide_of_the_catalogue_waits_for_the_operator);
fn what_failing_would_hide_of_the_catalogue_waits_for_the_operator(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    let rows: Vec<PackageRow> = (0..20).map(|n| package(&format!("x{n}"), "1", "X")).collect();
    for peer in ["p1", "p2"] {
        fresh.cycle(peer, &rows, at(0));
    }
    let secs = Duration::from_secs;
    let schedule = PollSchedule {
        interval: secs(3600),
        retry_after: secs(1),
        deactivate_after: secs(5),
        stop_after: secs(20),
    };
    let terms = Terms { brake: Brake::default(), polls: Polls::from(schedule), ..terms() };
    // Half of the catalogue is more than may go.
    let fail = |fresh: &mut Fresh, secs: u64| {
        let mut grants = fresh.store.claim("p1", 1, at(secs), &terms).unwrap();
        let grant = grants.pop().expect("it is due");
        assert_eq!(grant.source.slug, "a");
        let outcome = failed(FailureKind::NoIndex);
        fresh.store.finish("p1", grant.token, &outcome, &cost(), at(secs), &terms).unwrap();
        fresh.state("a").standing
    };
    fresh.sync(Some("a"), at(1000));
    for second in [1000, 1001, 1003] {
        assert_eq!(fail(&mut fresh, second), Standing::Active);
        fresh.check_laws();
    }
    assert_eq!(fail(&mut fresh, 1005), Standing::Active);
    assert_eq!((fresh.visible().len(), fresh.state("a").is_spared), (40, true));
    let held = fresh.store.held().unwrap();
    assert_eq!((held.len(), held[0].slug.as_deref()), (1, Some("a")));
    assert!(held[0].why.contains("20 of 40 packages"), "{}", held[0].why);
    // Settling leaves it as it is; so does the next failure.
    let act = canister_arbiter::rules::changes::Act::Configured;
    fresh.store.settle(&act, &Default::default(), &terms, at(1006)).unwrap();
    assert_eq!((fresh.visible().len(), fresh.store.held().unwrap().len()), (40, 1));
    let due = fresh.state("a").due_at.since(at(0)).as_secs();
    assert_eq!(fail(&mut fresh, due), Standing::Active);
    assert_eq!(fresh.store.held().unwrap().len(), 1);
    // Accepted, it is hidden by the attempt that follows.
    acts::decide(&mut fresh.store, Decided::Accept(held[0].number), at(due + 1)).unwrap();
    assert_eq!(fail(&mut fresh, due + 1), Standing::Deactivated);
    assert_eq!((fresh.visible().len(), fresh.store.held().unwrap().len()), (20, 0));
    fresh.check_laws();
}
