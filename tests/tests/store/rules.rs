//! How sources stand, how servers took us, what the operator decided, and what the brake holds.

use super::*;
use canister_arbiter::rules::changes::Act;
use canister_arbiter::rules::decision::Decision;
use canister_arbiter::rules::entry::Entry;
use canister_arbiter::rules::families::HostFamilies;
use canister_arbiter::rules::policy::PolicySettings;
use canister_arbiter::rules::politeness::Distance;
use canister_arbiter::rules::schedule::{PollSchedule, Polls, Standing};
use canister_arbiter::store::{self, Claimant, SessionState, Settled, SourceState};
use canister_protocol::address::AddressFamilies;
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
        kind: FailureKind::Status,
        retry_after_secs: None,
        status: Some(status),
        reason: format!("fetch InRelease: status {status}"),
    }
}

impl Fresh {
    pub(super) fn state(&mut self, slug: &str) -> SourceState {
        self.store.source(slug).unwrap().unwrap()
    }

    /// One lease by these terms that ends at once.
    fn attempt(&mut self, outcome: &Outcome, now: Timestamp, terms: &Terms) -> Finished {
        let mut grants = self.store.claim("p1", 1, now, terms).unwrap();
        let grant = grants.pop().expect("nothing was granted");
        let finished = self.store.finish("p1", grant.token, outcome, &cost(), now, terms);
        finished.unwrap()
    }

    /// Settles an act of an arbiter that has these settings and brakes by default.
    fn act(&mut self, act: &Act, settings: &PolicySettings, now: Timestamp) -> Settled {
        let terms = Terms { brake: Brake::default(), ..terms() };
        self.store.settle(act, settings, &terms, now).unwrap()
    }

    pub(super) fn decide(&mut self, said: Decided, now: Timestamp) -> Settled {
        acts::decide(&mut self.store, said, now).unwrap()
    }

    fn held(&mut self) -> Vec<store::HeldChange> {
        self.store.held().unwrap()
    }
}

fn entry(text: &str) -> Entry {
    text.parse().unwrap()
}

/// A source list with these sources was read.
fn listed(slugs: &[&str]) -> Act {
    let sources = slugs.iter().map(|slug| source(slug)).collect();
    Act::Listed { sources: Some(sources), blocked_hosts: None }
}

both!(a_source_that_fails_for_long_is_hidden_delisted_and_deleted_and_comes_back);
fn a_source_that_fails_for_long_is_hidden_delisted_and_deleted_and_comes_back(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    fresh.cycle("p1", &[package("x", "1", "X")], at(0));
    let terms = hasty();
    let mut stood = Vec::new();
    // The first poll after that is an hour later.
    // Pauses of 1 and 2 s, and the moments at which it is hidden and delisted.
    for (attempts, second) in (1..).zip([0, 1, 3, 5, 10]) {
        let now = at(3600 + second);
        if second > 0 {
            let before = now.minus(Duration::from_millis(1));
            assert_eq!(fresh.store.claim("p1", 1, before, &terms).unwrap(), []);
        }
        let finished = fresh.attempt(&failed(FailureKind::Status), now, &terms);
        assert_eq!(finished.verdict, Verdict::SourceFailed);
        let state = fresh.state("a");
        assert_eq!(state.failures, attempts);
        assert_eq!(state.failed, Some((at(3600), now)));
        stood.push((state.standing, fresh.visible().len()));
        fresh.check_laws();
    }
    use Standing::{Active, Deactivated, Delisted};
    assert_eq!(stood[..3], [(Active, 1); 3]);
    assert_eq!(stood[3..], [(Deactivated, 0), (Delisted, 0)]);
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
    assert_eq!(fresh.sync(Some("a"), long), 1);
    fresh.attempt(&failed(FailureKind::Status), long, &terms);
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
    for second in [0, 1, 3, 5] {
        fresh.attempt(&failed(FailureKind::Status), at(3600 + second), &terms);
    }
    assert_eq!(fresh.visible().len(), 0);
    // Neither the peer's failure nor being sent away changes that.
    fresh.attempt(&failed(FailureKind::Peer), at(3610), &terms);
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
    assert!(fresh.store.is_apart("p1", at(10)).unwrap());
    assert!(!fresh.store.is_apart("p2", at(10)).unwrap());
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
    let cooling = fresh.store.servers().unwrap()[0].distance.cooling["p1"];
    assert_eq!(cooling.until, at(10 + hour));
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
    let cooling = |fresh: &mut Fresh, peer: &str| {
        fresh.store.servers().unwrap()[0].distance.cooling.contains_key(peer)
    };
    assert!(!cooling(&mut fresh, "p1"));
    assert_eq!(fresh.state("a").failures, 1);
    fresh.attempt(&indexed(Counted::default()), at(900), &terms);
    fresh.attempt(&status(403), at(5400), &terms);
    assert!(cooling(&mut fresh, "p1") && fresh.store.is_apart("p1", at(5400)).unwrap());
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
        assert_eq!(cooling(&mut fresh, peer), is_sent_away, "{peer}");
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

both!(a_source_of_one_family_is_granted_to_who_reaches_it);
fn a_source_of_one_family_is_granted_to_who_reaches_it(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["both", "four", "six", "unknown"]);
    let v4 = AddressFamilies { v4: true, v6: false };
    let v6 = AddressFamilies { v4: false, v6: true };
    let nothing = AddressFamilies { v4: false, v6: false };
    let addresses = |texts: &[&str]| -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    for (host, found) in [
        ("both.example", &["2606:4700::1", "1.1.1.1"][..]),
        ("four.example", &["64:ff9b::1.1.1.2", "1.1.1.2"]),
        ("six.example", &["2606:4700::6", "2606:4700::7"]),
    ] {
        fresh.store.locate(host, &addresses(found), at(0)).unwrap();
    }
    // Each time another peer: whoever gives back has to wait.
    let mut peers = 0;
    let mut claimed = |fresh: &mut Fresh, reaches, now| -> Vec<String> {
        peers += 1;
        let name = &*format!("p{peers}");
        fresh.store.seen(name, "agent 1", now).unwrap();
        let peer = Claimant { reaches, ..Claimant::from(name) };
        let grants = fresh.store.claim(peer, 9, now, &terms()).unwrap();
        let mut slugs: Vec<String> = grants.iter().map(|it| it.source.slug.clone()).collect();
        for grant in grants {
            fresh.store.give_back(name, grant.token, now).unwrap();
        }
        slugs.sort();
        slugs
    };
    for (reaches, slugs) in [
        (AddressFamilies::BOTH, &["both", "four", "six", "unknown"][..]),
        (v4, &["both", "four"]),
        (v6, &["both", "six"]),
        (nothing, &["both"]),
    ] {
        assert_eq!(claimed(&mut fresh, reaches, at(1)), slugs, "{reaches}");
    }
    // Nobody can look it up.
    assert_eq!(claimed(&mut fresh, v4, at(10)), ["both", "four", "unknown"]);
    assert_eq!(fresh.state("six").families, Some(HostFamilies::V6));
    assert_eq!((fresh.state("six").failures, fresh.state("six").last_attempt), (0, None));
    // Another address counts at once, and one that is gone a little longer: a name server may fail.
    let hour = 60 * 60;
    fresh.store.locate("six.example", &addresses(&["2606:4700::6", "9.9.9.9"]), at(2)).unwrap();
    fresh.store.locate("both.example", &addresses(&["1.1.1.1"]), at(6 * hour)).unwrap();
    assert_eq!(claimed(&mut fresh, v6, at(11)), ["both", "six", "unknown"]);
    fresh.store.locate("both.example", &addresses(&["1.1.1.1"]), at(13 * hour)).unwrap();
    assert_eq!(claimed(&mut fresh, v6, at(11)), ["six", "unknown"]);
    assert_eq!(claimed(&mut fresh, v4, at(11)), ["both", "four", "six", "unknown"]);
    // It is where its uri says from the first moment on.
    acts::list_also(
        &mut fresh.store,
        Source { uri: "http://[2606:4700::9]/".into(), ..source("literal") },
        at(3),
    );
    assert_eq!(fresh.state("literal").families, Some(HostFamilies::V6));
    acts::list_also(
        &mut fresh.store,
        Source { uri: "http://[fd00::9]/".into(), ..source("literal") },
        at(3),
    );
    assert_eq!(fresh.state("literal").families, Some(HostFamilies::Any));
    // What a session says, any arbiter shows.
    let session = SessionState { reaches: v4, ..acts::here("192.0.2.1:5", 1) };
    fresh.store.beat("[::]:443", "tested", at(3)).unwrap();
    fresh.store.session("p1", &session, at(3)).unwrap();
    let said = fresh.store.peers().unwrap().remove(0).session.unwrap();
    assert_eq!(said.reaches, v4);
    fresh.check_laws();
}

both!(what_is_blocked_is_hidden_and_not_asked_until_it_is_allowed);
fn what_is_blocked_is_hidden_and_not_asked_until_it_is_allowed(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    fresh.cycle("p1", &[package("x", "1", "X")], at(0));
    fresh.cycle("p1", &[package("y", "1", "Y")], at(0));
    let grants = fresh.store.claim("p1", 2, at(5400), &terms()).unwrap();
    assert_eq!(grants.len(), 2);
    let settled = fresh.decide(Decided::Block(entry("host:a.example")), at(5402));
    assert_eq!(
        slugs(&settled.ended.into_iter().map(|(lease, _)| lease).collect::<Vec<_>>()),
        ["a"]
    );
    assert_eq!(settled.changed.hidden, ["a"]);
    let mut fresh = fresh.reopen();
    assert_eq!(fresh.visible(), ["y 1 Y"]);
    let state = fresh.state("a");
    let rule = state.blocked.clone().unwrap();
    assert!(rule.starts_with("blocked: block host:a.example by root at "), "{rule}");
    assert!(rule.ends_with(": a test"), "{rule}");
    assert_eq!((state.standing(at(9000)), state.is_shown()), ("blocked", false));
    assert_eq!(fresh.store.hosts().unwrap(), ["b.example"]);
    fresh.check_laws();
    // Again, nothing is left to change; a new source list doesn't show it either.
    let again = fresh.act(&Act::Configured, &PolicySettings::default(), at(5402));
    assert_eq!(
        (again.changed, again.ended),
        (canister_arbiter::rules::changes::Changed::default(), vec![])
    );
    fresh.list(&[source("b")], at(5403));
    fresh.list(&[source("a"), source("b")], at(5404));
    assert_eq!(fresh.visible(), ["y 1 Y"]);
    assert_eq!(fresh.sync(Some("a"), at(5404)), 0);
    let granted = fresh.store.claim("p2", 9, at(9_000), &terms()).unwrap();
    assert!(granted.iter().all(|grant| grant.source.slug != "a"));
    fresh.check_laws();
    // The newest decision on an entry counts.
    let settled = fresh.decide(Decided::Allow(entry("host:a.example")), at(9_001));
    assert_eq!((settled.changed.shown, settled.changed.due), (vec!["a".into()], vec!["a".into()]));
    assert_eq!(settled.policy.unwrap().decisions.len(), 1);
    assert_eq!(fresh.visible(), ["x 1 X", "y 1 Y"]);
    fresh.check_laws();
}

both!(what_the_operator_delists_stays_so_whatever_is_measured_announced_or_listed);
fn what_the_operator_delists_stays_so_whatever_is_measured_announced_or_listed(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    fresh.cycle("p1", &[package("x", "1", "X")], at(0));
    let delist = |slug: &str| Decided::Delist(slug.to_owned());
    assert_refused(
        acts::decide(&mut fresh.store, delist("none"), at(1)),
        "no source on the source",
    );
    assert_eq!(fresh.store.decisions(9).unwrap(), []);
    // Announced, and in a peer's hands.
    fresh.store.announce("a", None, at(1)).unwrap();
    let grant = fresh.claim_one("p1", at(1));
    assert_eq!(grant.source.slug, "a");
    let settled = fresh.decide(delist("a"), at(2));
    assert_eq!(
        (settled.changed.hidden, settled.changed.delisted),
        (vec!["a".into()], vec!["a".into()])
    );
    assert_eq!(settled.ended[0].0.token, grant.token);
    let counts = Counted { packages: 1, known: 1, ..Counted::default() };
    assert_refused(fresh.finish("p1", grant.token, &indexed(counts), at(3)), "is over");

    let stays = |fresh: &mut Fresh, after: &str| {
        let state = fresh.state("a");
        let stands = (state.standing, state.is_polled(), state.is_shown(), state.is_announced);
        assert_eq!(stands, (Standing::Delisted, false, false, false), "after {after}");
        assert!(
            state.delisted.as_ref().unwrap().starts_with("delist slug:a by root at "),
            "after {after}"
        );
        assert_eq!(state.standing(at(9000)), "delisted");
        let polled = fresh.column("SELECT count(*) FROM source WHERE polled AND slug = 'a'");
        assert_eq!(polled, ["0"], "after {after}");
        assert_eq!(fresh.visible().len(), 0, "after {after}");
        fresh.check_laws();
    };
    stays(&mut fresh, "the decision");
    fresh.act(&Act::Configured, &PolicySettings::default(), at(4));
    stays(&mut fresh, "a reload");
    fresh.act(&listed(&["a", "b"]), &PolicySettings::default(), at(4));
    stays(&mut fresh, "the source list");
    let moved = Source { uri: "https://elsewhere.example".into(), ..source("a") };
    fresh.list(&[moved, source("b")], at(4));
    stays(&mut fresh, "another definition");
    fresh.list(&[source("b")], at(4));
    fresh.list(&[source("a"), source("b")], at(4));
    stays(&mut fresh, "its return to the source list");
    fresh.store.announce("a", None, at(4)).unwrap();
    stays(&mut fresh, "an announcement");
    assert_eq!(fresh.sync(None, at(4)), 1);
    stays(&mut fresh, "sync of all");
    let mut fresh = fresh.reopen();
    fresh.store.bring_forward(at(5), &terms()).unwrap();
    fresh.act(&listed(&["a", "b"]), &PolicySettings::default(), at(5));
    stays(&mut fresh, "a restart");

    // By its name it comes back, and that is a decision, too.
    assert_eq!(fresh.sync(Some("a"), at(9_000)), 1);
    let state = fresh.state("a");
    assert_eq!((state.standing, state.delisted, state.due_at), (Standing::Active, None, at(4)));
    let told: Vec<(String, bool)> = (fresh.store.decisions(9).unwrap().iter())
        .map(|it| (it.decision.said.to_string(), it.is_in_force))
        .collect();
    assert_eq!(told, [("approve slug:a".to_owned(), true), ("delist slug:a".to_owned(), false)]);
    // So does it by being approved.
    fresh.decide(delist("a"), at(9_001));
    stays(&mut fresh, "the next decision");
    fresh.decide(Decided::Approve("a".into()), at(9_002));
    assert_eq!(fresh.state("a").standing, Standing::Active);
    assert_refused(
        acts::decide(&mut fresh.store, Decided::Approve("a".into()), at(9_003)),
        "awaits approval or is delisted",
    );
}

both!(sync_of_all_revives_nothing_that_is_dead);
fn sync_of_all_revives_nothing_that_is_dead(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b", "c"]);
    let terms = hasty();
    // One dies, one is delisted, one lives.
    for second in 0..=10 {
        for grant in fresh.store.claim("p1", 9, at(second), &terms).unwrap() {
            let outcome = match &*grant.source.slug {
                "a" => failed(FailureKind::Status),
                _ => indexed(Counted::default()),
            };
            let finished =
                fresh.store.finish("p1", grant.token, &outcome, &cost(), at(second), &terms);
            let stands = finished.unwrap().stands;
            assert_eq!(stands.0 != stands.1, grant.source.slug == "a" && [5, 10].contains(&second));
        }
    }
    assert_eq!(fresh.state("a").standing, Standing::Delisted);
    fresh.decide(Decided::Delist("b".into()), at(11));
    let all = Act::Synced { source: None, by: "root".into() };
    let settled = fresh.store.settle(&all, &PolicySettings::default(), &terms, at(12)).unwrap();
    assert_eq!((settled.synced, settled.policy), (1, None));
    let due = fresh.store.claim("p1", 9, at(12), &terms).unwrap();
    assert_eq!(due.iter().map(|grant| &*grant.source.slug).collect::<Vec<_>>(), ["c"]);
    // By its name the dead one is asked once more.
    assert_eq!(fresh.sync(Some("a"), at(12)), 1);
    assert_eq!(fresh.claim_one("p1", at(12)).source.slug, "a");
    assert_eq!(fresh.store.decisions(9).unwrap().len(), 1);
}

both!(decisions_are_remembered_with_who_when_and_why);
fn decisions_are_remembered_with_who_when_and_why(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let (block, allow) = (Decided::Block(entry("a")), Decided::Allow(entry("a")));
    let delist = Decided::Delist("a".into());
    for (second, said) in [&block, &delist, &allow, &allow].into_iter().enumerate() {
        fresh.decide(said.clone(), at(second as u64));
    }
    let mut fresh = fresh.reopen();
    let remembered = fresh.store.decisions(9).unwrap();
    let decision = |said: &Decided, second| Decision {
        said: said.clone(),
        by: "root".into(),
        at: at(second),
        why: "a test".into(),
    };
    let told: Vec<(u64, Decision, bool)> =
        (remembered.into_iter()).map(|it| (it.number, it.decision, it.is_in_force)).collect();
    assert_eq!(
        told,
        [
            (4, decision(&allow, 3), true),
            (3, decision(&allow, 2), false),
            (2, decision(&delist, 1), true),
            (1, decision(&block, 0), false),
        ]
    );
    assert_eq!(fresh.store.decisions(1).unwrap().len(), 1);
    let policy = fresh.store.policy(&PolicySettings::default()).unwrap();
    assert_eq!(policy.decisions, [decision(&delist, 1), decision(&allow, 3)]);
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
    let held = fresh.held();
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].kind, held[0].slug.as_deref()), (store::HeldKind::Source, Some("a")));
    fresh.check_laws();

    // Rejected, it is asked for no more, and not published.
    let mut fresh = fresh.reopen();
    let number = held[0].number;
    assert_refused(
        acts::decide(&mut fresh.store, Decided::Accept(99), at(7201)),
        "number 99 is held",
    );
    let decided = fresh.decide(Decided::Reject(number), at(7201)).decided;
    assert_eq!(decided, Some(held[0].clone()));
    assert_eq!(fresh.held(), []);
    assert_eq!(emptied(&mut fresh, at(10_800), &braking).verdict, Verdict::Held);
    assert_eq!(fresh.held(), []);
    // Accepted, it is read at once, and published then.
    fresh.decide(Decided::Accept(number), at(10_801));
    let told = |fresh: &mut Fresh| -> Vec<(String, Option<String>, bool)> {
        let remembered = fresh.store.decisions(9).unwrap().into_iter();
        remembered.map(|it| (it.decision.said.to_string(), it.about, it.is_in_force)).collect()
    };
    let about = Some("source: the index of a is empty, and was not".to_owned());
    let (accept, reject) = (format!("accept held:{number}"), format!("reject held:{number}"));
    assert_eq!(
        told(&mut fresh),
        [(accept.clone(), about.clone(), true), (reject.clone(), about.clone(), false),]
    );
    let finished = emptied(&mut fresh, at(10_801), &braking);
    assert_eq!((finished.verdict, finished.left), (Verdict::Indexed, 60));
    assert_eq!(fresh.visible().len(), 0);
    // It was made: the next of its kind is another's to decide.
    assert_eq!(told(&mut fresh), [(accept, about.clone(), false), (reject, about, false)]);
    fresh.check_laws();

    // Packages of a hidden source go at once.
    let mut fresh = Fresh::with(kind, &["a"]);
    fresh.cycle("p1", &rows, at(0));
    fresh.decide(Decided::Block(entry("a")), at(1));
    let grant = fresh.store.claim("p1", 1, at(9_000), &terms()).unwrap();
    assert_eq!(grant, []);
    fresh.decide(Decided::Allow(entry("a")), at(9_000));
    assert_eq!(emptied(&mut fresh, at(9_000), &braking).verdict, Verdict::Held);
}

both!(a_source_list_is_held_until_it_is_accepted_or_whole_again);
fn a_source_list_is_held_until_it_is_accepted_or_whole_again(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    let rows: Vec<PackageRow> =
        (0..60).map(|number| package(&format!("p{number}"), "1", "P")).collect();
    fresh.cycle("p1", &rows, at(0));
    fresh.cycle("p1", &rows, at(0));
    let settings = PolicySettings::default();
    let read = |fresh: &mut Fresh, slugs: &[&str]| {
        let listed = fresh.act(&listed(slugs), &settings, at(10)).listed.unwrap();
        let numbers: Vec<u64> = fresh.held().iter().map(|change| change.number).collect();
        (listed.held.is_some(), fresh.visible().len(), numbers)
    };
    // Cut in half, it is held once, however often it is read.
    let (is_held, visible, first) = read(&mut fresh, &["a"]);
    assert_eq!((is_held, visible, first.len()), (true, 120, 1));
    assert_eq!(read(&mut fresh, &["a"]), (true, 120, first.clone()));
    // Cut otherwise, that is what waits, and nothing else.
    let (_, _, other) = read(&mut fresh, &["b"]);
    assert_eq!(other.len(), 1);
    assert_ne!(other, first);
    // Whole again, nothing waits.
    assert_eq!(read(&mut fresh, &["a", "b"]), (false, 120, vec![]));
    // What was accepted and isn't so any more is not done later.
    let (_, _, again) = read(&mut fresh, &["a"]);
    fresh.decide(Decided::Accept(again[0]), at(11));
    assert_eq!(read(&mut fresh, &["a", "b"]), (false, 120, vec![]));
    let (is_held, visible, last) = read(&mut fresh, &["a"]);
    assert_eq!((is_held, visible, last.len()), (true, 120, 1));
    // Rejected, it stays so, even if it was whole meanwhile.
    fresh.decide(Decided::Reject(last[0]), at(12));
    assert_eq!(read(&mut fresh, &["a"]), (true, 120, vec![]));
    assert_eq!(read(&mut fresh, &["a", "b"]), (false, 120, vec![]));
    assert_eq!(read(&mut fresh, &["a"]), (true, 120, vec![]));
    // Accepted after all, it is done once.
    fresh.decide(Decided::Accept(last[0]), at(13));
    assert_eq!(read(&mut fresh, &["a"]), (false, 60, vec![]));
    assert_eq!(read(&mut fresh, &["a", "b"]), (false, 120, vec![]));
    assert!(read(&mut fresh, &["a"]).0, "the next is held again");
    fresh.check_laws();
}

both!(a_held_policy_goes_with_its_cause);
fn a_held_policy_goes_with_its_cause(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    let rows: Vec<PackageRow> =
        (0..60).map(|number| package(&format!("p{number}"), "1", "P")).collect();
    fresh.cycle("p1", &rows, at(0));
    let blocking = PolicySettings { except: vec![entry("a")], ..PolicySettings::default() };
    let planned = fresh.store.plan(&blocking, &Terms { ..terms() }, at(1)).unwrap();
    assert_eq!((planned.hidden, planned.held), (vec!["a".to_owned()], None));
    let settled = fresh.act(&Act::Configured, &blocking, at(1));
    assert!(settled.changed.held.unwrap().contains("60 of 60 packages of a"));
    assert_eq!((fresh.held().len(), fresh.visible().len()), (1, 60));
    // The operator's word on something else is not held by that, nor does it do that.
    fresh.decide(Decided::Block(entry("b")), at(2));
    assert_eq!((fresh.held().len(), fresh.visible().len()), (1, 60));
    fresh.act(&Act::Configured, &PolicySettings::default(), at(3));
    assert_eq!(fresh.held(), []);
    // Accepted, it is done at once, by the settings of whoever is told.
    fresh.act(&Act::Configured, &blocking, at(4));
    let number = fresh.held()[0].number;
    let said = Decided::Accept(number);
    let accept = Act::Decided { said, by: "root".into(), why: String::new() };
    let settled = fresh.act(&accept, &blocking, at(5));
    assert_eq!((settled.changed.hidden, settled.changed.held), (vec!["a".to_owned()], None));
    assert_eq!((fresh.held().len(), fresh.visible().len()), (0, 0));
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
    let mut fresh = Fresh::with(kind, &["a"]);
    let kept =
        |fresh: &mut Fresh| fresh.store.policy(&PolicySettings::default()).unwrap().blocked_hosts;
    assert!(kept(&mut fresh).is_empty());
    let hosts = BTreeSet::from(["a.example".to_owned(), "b.example".to_owned()]);
    let read = |fresh: &mut Fresh, blocked_hosts: Option<&BTreeSet<String>>| {
        let act = Act::Listed { sources: None, blocked_hosts: blocked_hosts.cloned() };
        fresh.act(&act, &PolicySettings::default(), at(1)).changed
    };
    read(&mut fresh, Some(&hosts));
    let mut fresh = fresh.reopen();
    assert_eq!(kept(&mut fresh), hosts);
    let blocked = fresh.state("a").blocked;
    assert_eq!(blocked.as_deref(), Some("blocked: the block list names a.example"));
    // One that couldn't be read is what it was.
    read(&mut fresh, None);
    assert_eq!(kept(&mut fresh), hosts);
    assert_eq!(read(&mut fresh, Some(&BTreeSet::new())).shown, ["a"]);
    assert!(kept(&mut fresh).is_empty());
}

/// The schema of the version before decisions were kept.
const BEFORE_SQLITE: [&str; 7] = [
    include_str!("../../../arbiter/src/store/migration/sqlite/0001_catalogue_and_leases.sql"),
    include_str!("../../../arbiter/src/store/migration/sqlite/0002_prices.sql"),
    include_str!("../../../arbiter/src/store/migration/sqlite/0003_headers.sql"),
    include_str!("../../../arbiter/src/store/migration/sqlite/0004_sessions.sql"),
    include_str!("../../../arbiter/src/store/migration/sqlite/0005_writes.sql"),
    include_str!("../../../arbiter/src/store/migration/sqlite/0006_announcements.sql"),
    include_str!("../../../arbiter/src/store/migration/sqlite/0007_standing.sql"),
];
const BEFORE_POSTGRES: [&str; 6] = [
    include_str!("../../../arbiter/src/store/migration/postgres/0001_catalogue.sql"),
    include_str!("../../../arbiter/src/store/migration/postgres/0002_arbiter.sql"),
    include_str!("../../../arbiter/src/store/migration/postgres/0003_staging.sql"),
    include_str!("../../../arbiter/src/store/migration/postgres/0004_peer.sql"),
    include_str!("../../../arbiter/src/store/migration/postgres/0005_announcements.sql"),
    include_str!("../../../arbiter/src/store/migration/postgres/0006_standing.sql"),
];

/// A store as that version left it, with `rows` in it, which are in tables without a schema's name.
pub(super) fn before(kind: Kind, rows: &str) -> Fresh {
    let place = Place::new(kind);
    match &place {
        Place::Folder(_) => {
            let connection = Connection::open(place.address()).unwrap();
            connection.create_collation("C", |one, other| one.cmp(other)).unwrap();
            for migration in BEFORE_SQLITE {
                connection.execute_batch(migration).unwrap();
            }
            connection.execute_batch(rows).unwrap();
            connection.pragma_update(None, "application_id", 0x436e_7374).unwrap();
            connection.pragma_update(None, "user_version", BEFORE_SQLITE.len() as u32).unwrap();
        }
        Place::Database(database) => {
            let mut client = Client::connect(&database.address(), NoTls).unwrap();
            let table = "CREATE SCHEMA IF NOT EXISTS arbiter; CREATE TABLE arbiter.migration
                (number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz DEFAULT now())";
            client.batch_execute(table).unwrap();
            client.batch_execute("SET search_path = arbiter, public").unwrap();
            for (number, migration) in (1..).zip(BEFORE_POSTGRES) {
                client.batch_execute(migration).unwrap();
                let done = "INSERT INTO arbiter.migration (number, name) VALUES ($1, '')";
                client.execute(done, &[&number]).unwrap();
            }
            client.batch_execute(rows).unwrap();
        }
    }
    Fresh::at(place)
}

both!(what_an_earlier_version_was_told_is_a_decision);
fn what_an_earlier_version_was_told_is_a_decision(kind: Kind) {
    let (texts, no) = match kind {
        Kind::Sqlite => ("'[]'", "0"),
        Kind::Postgres => ("'{}'", "false"),
    };
    // Delisted by command, brought back by it since, dead, and alive.
    let sources: String = [
        ("a", "delisted", 0, no),
        ("b", "delisted", 0, "NOT"),
        ("c", "delisted", 20, no),
        ("d", "active", 0, no),
    ]
    .map(|(slug, standing, failures, announced)| {
        let announced = if announced == "NOT" { format!("NOT {no}") } else { no.to_owned() };
        format!(
            "INSERT INTO source (slug, uri, suite, ranking, aliases, bootstrap, headers, operator,
                     listed, due_at, announced, failures, standing, stood_at,
                     failing_since, last_failure)
                 VALUES ('{slug}', 'https://{slug}.example', './', 3, {texts}, {no}, {texts}, '',
                     NOT {no}, 0, {announced}, {failures}, '{standing}', 4000, 0, {failures} * 100000000);"
        )
    })
    .concat();
    let mut fresh = before(kind, &format!(
        "{sources}
         INSERT INTO ruling (entry, allowed, by_whom, ruled_at, why) VALUES
             ('host:a.example', {no}, 'anna', 3000, 'its owner asked'), ('slug:d', NOT {no}, 'ben', 1000, '');
         INSERT INTO held (kind, fingerprint, why, held_at, decided, decided_by, decided_at) VALUES
             ('policy', 'x', 'much', 1, 'rejected', 'anna', 2000), ('source list', 'y', 'all', 2, NULL, NULL, NULL),
             ('policy', 'z', 'more', 3, 'accepted', 'ben', 5000);"
    ));
    let told: Vec<String> = (fresh.store.decisions(9).unwrap().iter())
        .map(|it| {
            let about = it.about.as_deref().unwrap_or_default();
            let decision = &it.decision;
            format!(
                "{} {} {} {:?} {about} {}",
                decision.said,
                decision.by,
                decision.at.millis(),
                decision.why,
                it.is_in_force
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "accept held:3 ben 5000 \"\" policy: more true",
            "delist slug:a unknown 4000 \"\"  true",
            "block host:a.example anna 3000 \"its owner asked\"  true",
            "reject held:1 anna 2000 \"\" policy: much true",
            "allow slug:d ben 1000 \"\"  true",
        ]
    );
    assert_eq!(fresh.held().iter().map(|change| change.number).collect::<Vec<_>>(), [2]);
    // At the next start they hold.
    fresh.act(&Act::Configured, &PolicySettings::default(), at(0));
    let state = fresh.state("a");
    assert!(state.blocked.is_some() && state.delisted.is_some());
    assert_eq!(
        ["a", "b", "c", "d"].map(|slug| fresh.state(slug).standing.word()),
        ["delisted", "active", "delisted", "active"]
    );
}
