//! How sources stand, how servers took us, what the operator ruled, and what the brake holds.

use super::*;
use canister_arbiter::entry::Entry;
use canister_arbiter::policy::{Policy, Ruling};
use canister_arbiter::politeness::Distance;
use canister_arbiter::rules::{self, Change};
use canister_arbiter::schedule::{PollSchedule, Polls, Standing};
use canister_arbiter::store::{self, HeldChange, SourceState};
use std::net::IpAddr;

/// Seconds instead of hours and weeks.
fn hasty() -> Terms {
    let secs = Duration::from_secs;
    Terms {
        polls: Polls::from(PollSchedule {
            interval: secs(4),
            retry_after: secs(1),
            deactivate_after: secs(5),
            stop_after: secs(10),
        }),
        ..terms()
    }
}

fn status(status: u32) -> Outcome {
    Outcome::Failed {
        blame: Blame::Source,
        retry_after_secs: None,
        status: Some(status),
        reason: format!("fetch InRelease: status {status}"),
    }
}

impl Fresh {
    fn state(&mut self, slug: &str) -> SourceState {
        self.store.source(slug).unwrap().unwrap()
    }

    /// One lease by these terms that ends at once.
    fn attempt(&mut self, outcome: &Outcome, now: Timestamp, terms: &Terms) -> Finished {
        let mut grants = self.store.claim("p1", 1, now, terms).unwrap();
        let grant = grants.pop().expect("nothing was granted");
        let finished = self.store.finish("p1", grant.token, outcome, &cost(), now, terms);
        finished.unwrap()
    }

    /// What `policy` changes, applied.
    fn settle(&mut self, policy: &Policy, now: Timestamp) -> (Vec<Change>, Vec<Lease>) {
        let states = self.store.sources().unwrap();
        let changes = rules::changes(&states, policy, &terms().polls, None, now);
        let ended = self.store.apply_changes(&changes, now).unwrap();
        (changes, ended)
    }
}

both!(a_source_that_fails_for_long_is_hidden_delisted_and_deleted_and_comes_back);
fn a_source_that_fails_for_long_is_hidden_delisted_and_deleted_and_comes_back(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    fresh.cycle("p1", &[package("x", "1", "X")], at(0));
    let terms = hasty();
    let mut stood = Vec::new();
    // The first poll after that is an hour later.
    for second in 0..=10 {
        let now = at(3600 + second);
        let finished = fresh.attempt(&failed(Blame::Source), now, &terms);
        assert_eq!(finished.verdict, Verdict::SourceFailed);
        let state = fresh.state("a");
        assert_eq!(state.failures, second + 1);
        assert_eq!(state.failed, Some((at(3600), now)));
        stood.push((state.standing, fresh.visible().len()));
        fresh.check_laws();
    }
    use Standing::{Active, Deactivated, Delisted};
    assert_eq!(stood[..5], [(Active, 1); 5]);
    assert_eq!(stood[5..10], [(Deactivated, 0); 5]);
    assert_eq!(stood[10], (Delisted, 0));
    let long = at(999_999);
    assert_eq!(fresh.store.claim("p1", 9, long, &terms).unwrap(), []);
    // Its data stays for the grace time, and goes after it.
    let cleaned = |fresh: &mut Fresh, until| fresh.store.clean(at(0), until).unwrap();
    assert_eq!(cleaned(&mut fresh, at(3609)), 0);
    assert_eq!(fresh.state("a").packages, 1);
    assert_eq!(cleaned(&mut fresh, at(3610)), 1);
    assert_eq!(cleaned(&mut fresh, at(3610)), 0);
    let state = fresh.state("a");
    assert_eq!((state.packages, state.origin, state.standing), (0, None, Delisted));
    fresh.check_laws();
    // A command makes it due; an announcement would, too. In vain, it is delisted as before.
    assert_eq!(fresh.store.sync(Some("a"), long).unwrap(), 1);
    fresh.attempt(&failed(Blame::Source), long, &terms);
    assert_eq!(fresh.state("a").standing, Delisted);
    assert_eq!(fresh.store.claim("p1", 9, at(9_999_999), &terms).unwrap(), []);
    fresh.store.announce("a", None, long).unwrap();
    let grant = fresh.claim_one("p1", long);
    let counts = fresh.work(&grant, "p1", &[package("x", "1", "X")], long);
    fresh.finish("p1", grant.token, &indexed(counts), long).unwrap();
    assert_eq!(fresh.state("a").standing, Active);
    assert_eq!(fresh.state("a").failed, None);
    assert_eq!(fresh.visible().len(), 1);
    fresh.check_laws();
}

both!(contact_shows_a_hidden_source_though_nothing_changed);
fn contact_shows_a_hidden_source_though_nothing_changed(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    fresh.cycle("p1", &[package("x", "1", "X")], at(0));
    let terms = hasty();
    for second in 0..=6 {
        fresh.attempt(&failed(Blame::Source), at(3600 + second), &terms);
    }
    assert_eq!(fresh.visible().len(), 0);
    // Neither the peer's failure nor being sent away changes that.
    fresh.attempt(&failed(Blame::Peer), at(3610), &terms);
    assert_eq!(fresh.state("a").standing, Standing::Deactivated);
    let unchanged = Outcome::Unchanged { origin: origin(1), facts: None };
    fresh.attempt(&unchanged, at(3620), &terms);
    assert_eq!(fresh.visible().len(), 1);
    assert_eq!(fresh.state("a").last_error, None);
    fresh.check_laws();
}

both!(a_peer_that_is_sent_away_keeps_away_and_another_takes_over);
fn a_peer_that_is_sent_away_keeps_away_and_another_takes_over(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    for slug in ["a", "b"] {
        let source = fresh.state(slug).source;
        let shared = Source { uri: format!("https://{slug}.shared.example/"), ..source };
        fresh.list(&[shared], at(0));
    }
    fresh.list(
        &["a", "b"]
            .map(|slug| Source { uri: format!("https://{slug}.shared.example/"), ..source(slug) }),
        at(0),
    );
    let terms = terms();
    let sent_away = fresh.attempt(&status(429), at(10), &terms);
    assert_eq!(sent_away.verdict, Verdict::SentAway);
    let (slug, minute, hour) = (sent_away.slug, 60, 3600);
    assert_eq!(fresh.state(&slug).failures, 0);
    // It holds across restarts of the arbiter.
    let mut fresh = fresh.reopen();
    let claim = |fresh: &mut Fresh, peer, now| {
        let grants = fresh.store.claim(peer, 1, now, &terms).unwrap();
        let tokens: Vec<u64> = grants.iter().map(|grant| grant.token).collect();
        for token in &tokens {
            fresh.store.give_back(peer, *token, now).unwrap();
        }
        tokens.len()
    };
    assert!(fresh.store.is_sent_away("p1", at(10)).unwrap());
    assert!(!fresh.store.is_sent_away("p2", at(10)).unwrap());
    assert_eq!(fresh.store.next_deadline(at(10), &terms).unwrap(), Some(at(10 + minute)));
    for (peer, now, granted) in [
        ("p1", 10, 0),
        ("p2", 10, 0),
        ("p2", 10 + minute - 1, 0),
        ("p2", 10 + minute, 1),
        ("p1", 10 + minute, 0),
        ("p1", 10 + hour - 1, 0),
        ("p1", 10 + hour, 1),
    ] {
        assert_eq!(claim(&mut fresh, peer, at(now)), granted, "{peer} at {now}");
    }
    assert!(!fresh.store.is_sent_away("p1", at(10 + hour)).unwrap());
    // An answer makes friends again.
    let servers = fresh.store.servers().unwrap();
    assert_eq!(servers.len(), 1);
    assert_eq!((&*servers[0].domain, servers[0].sources), ("shared.example", 2));
    assert_eq!(servers[0].distance.refusals, 1);
    let grant = fresh.claim_one("p1", at(10 + hour));
    fresh.finish("p1", grant.token, &indexed(Counted::default()), at(10 + hour)).unwrap();
    let servers = fresh.store.servers().unwrap();
    assert_eq!(servers[0].distance, Distance::default());
    fresh.check_laws();
}

both!(a_403_is_a_refusal_only_of_what_was_fine);
fn a_403_is_a_refusal_only_of_what_was_fine(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let terms = terms();
    fresh.attempt(&status(403), at(0), &terms);
    assert!(!fresh.store.is_sent_away("p1", at(0)).unwrap());
    assert_eq!(fresh.state("a").failures, 1);
    fresh.attempt(&indexed(Counted::default()), at(900), &terms);
    fresh.attempt(&status(403), at(5400), &terms);
    assert!(fresh.store.is_sent_away("p1", at(5400)).unwrap());
    // Few peers that got one say nothing of the source; several do, and the next one is its own
    // matter.
    assert_eq!(fresh.state("a").failures, 0);
    for (peer, later, verdict, failures, is_sent_away) in [
        ("p2", 60, Verdict::SentAway, 0, true),
        ("p3", 300, Verdict::SentAway, 0, true),
        ("p4", 900, Verdict::SourceFailed, 1, true),
        ("p5", 1800, Verdict::SourceFailed, 2, false),
    ] {
        let now = at(5400 + later);
        let grant = fresh.claim_one(peer, now);
        let finished = fresh.finish(peer, grant.token, &status(403), now).unwrap();
        assert_eq!(finished.verdict, verdict, "{peer}");
        assert_eq!(fresh.state("a").failures, failures, "{peer}");
        let is = fresh.store.is_sent_away(peer, now).unwrap();
        assert_eq!(is, is_sent_away, "{peer}");
    }
    fresh.check_laws();
}

both!(hosts_at_one_address_have_one_operator);
fn hosts_at_one_address_have_one_operator(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b", "c"]);
    assert_eq!(fresh.store.hosts().unwrap(), ["a.example", "b.example", "c.example"]);
    let addresses = |texts: &[&str]| -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    let (one, other) = (addresses(&["192.0.2.1"]), addresses(&["192.0.2.2", "192.0.2.1"]));
    fresh.store.locate("c.example", &one, at(0)).unwrap();
    fresh.store.locate("b.example", &other, at(0)).unwrap();
    assert_eq!(fresh.state("c").operator, "b.example");
    assert_eq!(fresh.state("c").domain, "c.example");
    assert_eq!(fresh.store.claim("p1", 9, at(1), &terms()).unwrap().len(), 2);
    fresh.check_laws();
    // What was seen long ago is forgotten.
    let later = at(31 * 86_400);
    fresh.store.locate("c.example", &one, later).unwrap();
    assert_eq!(fresh.state("c").operator, "c.example");
    // A lease in hand counts for whoever turns out to run the server.
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    let grant = fresh.claim_one("p1", at(0));
    fresh.store.locate("a.example", &one, at(0)).unwrap();
    fresh.store.locate("b.example", &one, at(0)).unwrap();
    assert_eq!(fresh.store.claim("p1", 9, at(1), &terms()).unwrap(), []);
    fresh.store.give_back("p1", grant.token, at(1)).unwrap();
    assert_eq!(fresh.store.claim("p1", 9, at(1), &patient()).unwrap(), []);
    assert_eq!(fresh.store.claim("p1", 9, at(11), &patient()).unwrap().len(), 1);
}

both!(what_is_blocked_is_hidden_and_not_asked_until_it_is_allowed);
fn what_is_blocked_is_hidden_and_not_asked_until_it_is_allowed(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    fresh.cycle("p1", &[package("x", "1", "X")], at(0));
    fresh.cycle("p1", &[package("y", "1", "Y")], at(0));
    let grants = fresh.store.claim("p1", 2, at(5400), &terms()).unwrap();
    assert_eq!(grants.len(), 2);
    let ruling = |is_allowed| Ruling {
        entry: "host:a.example".parse::<Entry>().unwrap(),
        is_allowed,
        by: "root".into(),
        at: at(5401),
        why: "a test".into(),
    };
    fresh.store.rule(&ruling(false)).unwrap();
    let policy =
        |fresh: &mut Fresh| Policy { rulings: fresh.store.rulings().unwrap(), ..Policy::default() };
    let mut fresh = fresh.reopen();
    let blocking = policy(&mut fresh);
    assert_eq!(blocking.rulings, [ruling(false)]);
    let (changes, ended) = fresh.settle(&blocking, at(5402));
    assert_eq!(slugs(&ended), ["a"]);
    assert!(changes[0].hides());
    assert_eq!(rules::losses(&changes)[0].lost, 1);
    assert_eq!(fresh.visible(), ["y 1 Y"]);
    let state = fresh.state("a");
    let rule = state.blocked.clone().unwrap();
    assert!(rule.starts_with("blocked: block host:a.example by root at "), "{rule}");
    assert_eq!((state.standing(at(9000)), state.is_shown()), ("blocked", false));
    assert_eq!(fresh.store.hosts().unwrap(), ["b.example"]);
    fresh.check_laws();
    // Again, nothing is left to change; a new source list doesn't show it either.
    assert_eq!(fresh.settle(&blocking, at(5402)), (vec![], vec![]));
    fresh.list(&[source("b")], at(5403));
    fresh.list(&[source("a"), source("b")], at(5404));
    assert_eq!(fresh.visible(), ["y 1 Y"]);
    assert_eq!(fresh.store.sync(Some("a"), at(5404)).unwrap(), 0);
    let granted = fresh.store.claim("p2", 9, at(9_000), &terms()).unwrap();
    assert!(granted.iter().all(|grant| grant.source.slug != "a"));
    fresh.check_laws();
    // The newest ruling of an entry counts.
    fresh.store.rule(&ruling(true)).unwrap();
    let allowing = policy(&mut fresh);
    assert_eq!(allowing.rulings.len(), 1);
    let (changes, ended) = fresh.settle(&allowing, at(9_001));
    assert_eq!((changes.len(), ended.len()), (1, 0));
    assert!(changes[0].due.1 && !changes[0].due.0);
    assert_eq!(fresh.visible(), ["x 1 X", "y 1 Y"]);
    fresh.check_laws();
}

both!(the_operator_delists_and_brings_back);
fn the_operator_delists_and_brings_back(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    fresh.cycle("p1", &[package("x", "1", "X")], at(0));
    assert!(!fresh.store.delist("none", at(1)).unwrap());
    assert!(fresh.store.delist("a", at(1)).unwrap());
    assert_eq!(fresh.visible().len(), 0);
    assert_eq!(fresh.state("a").standing(at(9000)), "delisted");
    assert_eq!(fresh.store.claim("p1", 1, at(9_000), &terms()).unwrap(), []);
    assert_eq!(fresh.store.sync(Some("a"), at(9_000)).unwrap(), 1);
    fresh.cycle("p1", &[package("x", "1", "X")], at(9_000));
    assert_eq!(fresh.visible().len(), 1);
    fresh.check_laws();
}

both!(a_source_that_is_suddenly_empty_is_held_until_it_is_accepted);
fn a_source_that_is_suddenly_empty_is_held_until_it_is_accepted(kind: Kind) {
    let braking = Terms { brake: Brake::default(), ..terms() };
    let rows: Vec<PackageRow> =
        (0..60).map(|number| package(&format!("p{number}"), "1", "P")).collect();
    let emptied = |fresh: &mut Fresh, now: Timestamp, braking: &Terms| {
        let grant = fresh.claim_one("p1", now);
        let counts = fresh.work(&grant, "p1", &[], now);
        assert_eq!(counts.dropped, 60);
        let empty = Outcome::Indexed { origin: origin(7), facts: Facts::default(), counts };
        fresh.store.finish("p1", grant.token, &empty, &cost(), now, braking).unwrap()
    };
    let mut fresh = Fresh::with(kind, &["a"]);
    fresh.cycle("p1", &rows, at(0));
    let finished = emptied(&mut fresh, at(3600), &braking);
    assert_eq!((finished.verdict, finished.packages), (Verdict::Held, 60));
    assert_eq!(fresh.visible().len(), 60);
    let state = fresh.state("a");
    // The head was learned; what is in the catalogue is still the one before.
    assert_eq!((state.last_contact, state.failures), (Some(at(3600)), 0));
    assert_eq!(state.origin, Some(origin(1)));
    let attempt = fresh.store.attempts("a", 1).unwrap().remove(0);
    assert_eq!(attempt.verdict, Verdict::Held);
    assert!(attempt.error.unwrap().contains("the index of a is empty, and was not"));
    // Held once, however often it comes.
    emptied(&mut fresh, at(7200), &braking);
    let held = fresh.store.held().unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].kind, held[0].slug.as_deref()), (store::Kind::Source, Some("a")));
    fresh.check_laws();

    // Rejected, it is asked for no more, and not published.
    let mut fresh = fresh.reopen();
    let number = held[0].number;
    assert_eq!(fresh.store.decide(99, true, "root", at(7201)).unwrap(), None);
    let decided = fresh.store.decide(number, false, "root", at(7201)).unwrap();
    assert_eq!(decided, Some(held[0].clone()));
    assert_eq!(fresh.store.held().unwrap(), []);
    assert_eq!(emptied(&mut fresh, at(10_800), &braking).verdict, Verdict::Held);
    assert_eq!(fresh.store.held().unwrap(), []);
    // Accepted, it is published the next time.
    fresh.store.decide(number, true, "root", at(10_801)).unwrap();
    let finished = emptied(&mut fresh, at(14_400), &braking);
    assert_eq!((finished.verdict, finished.left), (Verdict::Indexed, 60));
    assert_eq!(fresh.visible().len(), 0);
    fresh.check_laws();

    // Packages of a hidden source go at once.
    let mut fresh = Fresh::with(kind, &["a"]);
    fresh.cycle("p1", &rows, at(0));
    fresh.store.delist("a", at(1)).unwrap();
    fresh.store.sync(Some("a"), at(2)).unwrap();
    assert_eq!(emptied(&mut fresh, at(3), &braking).verdict, Verdict::Indexed);
}

both!(a_change_is_held_once_and_again_after_it_passed);
fn a_change_is_held_once_and_again_after_it_passed(kind: Kind) {
    let mut fresh = Fresh::new(kind);
    let change = HeldChange {
        number: 0,
        kind: store::Kind::SourceList,
        slug: None,
        fingerprint: rules::fingerprint("source list", ["b", "a"]),
        why: "too much".into(),
        held_at: at(0),
    };
    assert_eq!(change.fingerprint, rules::fingerprint("source list", ["a", "b"]));
    assert_ne!(change.fingerprint, rules::fingerprint("source list", ["ab"]));
    assert_ne!(change.fingerprint, rules::fingerprint("policy", ["a", "b"]));
    for _ in 0..2 {
        assert!(!fresh.store.hold(&change).unwrap());
        let held = fresh.store.held().unwrap();
        assert_eq!((held.len(), &*held[0].why), (1, "too much"));
        fresh.store.decide(held[0].number, true, "root", at(1)).unwrap();
        assert!(fresh.store.hold(&change).unwrap());
        fresh.store.passed(&change.fingerprint).unwrap();
    }
}

both!(packages_that_left_are_deleted_when_their_time_is_over);
fn packages_that_left_are_deleted_when_their_time_is_over(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    fresh.cycle("p1", &[package("x", "1", "X"), package("y", "1", "Y")], at(0));
    fresh.cycle("p1", &[package("x", "1", "X")], at(3600));
    assert_eq!(fresh.catalogue().len(), 2);
    let never = Timestamp::default();
    assert_eq!(fresh.store.clean(at(3599), never).unwrap(), 0);
    assert_eq!(fresh.store.clean(at(3600), never).unwrap(), 1);
    assert_eq!(fresh.store.clean(at(3600), never).unwrap(), 0);
    assert_eq!(fresh.catalogue().len(), 1);
    assert_eq!(fresh.visible(), ["x 1 X"]);
    fresh.check_laws();
}

both!(block_lists_are_kept);
fn block_lists_are_kept(kind: Kind) {
    let mut fresh = Fresh::new(kind);
    assert!(fresh.store.blocked_hosts().unwrap().is_empty());
    let hosts = BTreeSet::from(["a.example".to_owned(), "b.example".to_owned()]);
    fresh.store.set_blocked_hosts(&hosts).unwrap();
    let mut fresh = fresh.reopen();
    assert_eq!(fresh.store.blocked_hosts().unwrap(), hosts);
    fresh.store.set_blocked_hosts(&BTreeSet::new()).unwrap();
    assert!(fresh.store.blocked_hosts().unwrap().is_empty());
}
