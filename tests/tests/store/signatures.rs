//! How sources are signed: who is expected to, what is held, and what isn't asked for again.

use super::*;
use SignatureState::{Bad, Good, Missing, Unverifiable};
use canister_arbiter::rules::decision::Decided;
use canister_arbiter::rules::entry::GivenFor;
use canister_arbiter::rules::signatures::{GivenKey, SourceSignature};
use canister_protocol::message::{
    KEY, PAYMENT_ENDPOINT, Probed, RELEASE_GPG, ReleaseSignature, SignatureState,
};

const P: &str = "1111111111111111111111111111111111111111";
const Q: &str = "2222222222222222222222222222222222222222";
const DAY: u64 = 24 * 60 * 60;

fn signature(state: SignatureState, key: &str) -> ReleaseSignature {
    ReleaseSignature { state, key: key.into(), named: key.into(), ..ReleaseSignature::default() }
}

/// One that brings its key along.
fn with_key(state: SignatureState, key: &str) -> ReleaseSignature {
    let keys = Some(format!("key/{key}"));
    ReleaseSignature { keys, ends: Some(1_700_000_000), ..signature(state, key) }
}

impl Fresh {
    /// Has the source `a` read, found to be in this state and signed so.
    fn signed(&mut self, state: u8, signature: ReleaseSignature, now: Timestamp) -> Verdict {
        let facts = Facts { signature: Some(signature), ..Facts::default() };
        self.signed_by(state, facts, &[package("p", &state.to_string(), "P")], &terms(), now)
    }

    fn signed_by(
        &mut self,
        state: u8,
        facts: Facts,
        rows: &[PackageRow],
        terms: &Terms,
        now: Timestamp,
    ) -> Verdict {
        let grant = self.granted(now);
        let counts = self.work(&grant, "p1", rows, now);
        let outcome = Outcome::Indexed { origin: origin(state), facts, counts };
        let ended = self.store.finish("p1", grant.token, &outcome, &cost(), now, terms);
        self.check_laws();
        ended.unwrap().verdict
    }

    fn granted(&mut self, now: Timestamp) -> Grant {
        self.store.announce("a", None, now).unwrap();
        self.claim_one("p1", now)
    }

    /// What a peer is told.
    fn told(&mut self, now: Timestamp) -> Option<Probed> {
        let grant = self.granted(now);
        self.store.give_back("p1", grant.token, now).unwrap();
        grant.probed
    }

    fn signer(&mut self) -> (SignatureState, String) {
        let SourceSignature { state, by, .. } =
            self.store.source("a").unwrap().unwrap().signed.unwrap();
        (state, by)
    }

    fn held_why(&mut self) -> String {
        let held = self.store.held().unwrap().into_iter();
        held.map(|change| change.why).collect::<Vec<_>>().join(", ")
    }

    fn accept(&mut self, now: Timestamp) {
        let number = self.store.held().unwrap()[0].number;
        self.decide(Decided::Accept(number), now);
    }
}

both!(who_signed_first_is_expected_and_others_are_held);
fn who_signed_first_is_expected_and_others_are_held(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    assert_eq!(fresh.told(at(0)), None);
    assert_eq!(fresh.signed(1, with_key(Good, P), at(0)), Verdict::Indexed);
    let told = Probed { absent: vec![], signer: P.into(), keys: format!("key/{P}") };
    assert_eq!(fresh.told(at(1)), Some(told.clone()));
    assert_eq!(fresh.repository("a", "origin_signed_by").as_deref(), Some(P));
    // Neither is taken over, nor is the other's key.
    for (state, found, said) in [
        (2, with_key(Good, Q), "the signature of a is good by 2222"),
        (3, signature(Missing, ""), "the signature of a is missing, and was good by 1111"),
        (4, signature(Bad, P), "the signature of a is bad by 1111"),
        (5, signature(Unverifiable, P), "the signature of a is unverifiable by 1111"),
    ] {
        let now = at(u64::from(state) * 60);
        assert_eq!(fresh.signed(state, found, now), Verdict::Held);
        assert!(fresh.held_why().starts_with(said), "{}", fresh.held_why());
        assert_eq!(fresh.signer(), (Good, P.to_owned()));
        assert_eq!(fresh.visible(), ["p 1 P"]);
    }
    let mut fresh = fresh.reopen();
    assert_eq!(fresh.told(at(400)), Some(told));
    // The old key signs again, or what it signed before is back.
    assert_eq!(fresh.signed(6, signature(Good, P), at(420)), Verdict::Indexed);
    assert_eq!(fresh.held_why(), "");
    assert_eq!(fresh.signed(7, with_key(Good, Q), at(480)), Verdict::Held);
    let grant = fresh.granted(at(500));
    let unchanged = Outcome::Unchanged { origin: origin(6), facts: None };
    fresh.finish("p1", grant.token, &unchanged, at(500)).unwrap();
    assert_eq!(fresh.held_why(), "");
    // It is held also where the index is the same; accepted, it is expected.
    let facts = Facts { signature: Some(with_key(Good, Q)), ..Facts::default() };
    let unchanged = |fresh: &mut Fresh, now| {
        let origin = Origin { head: origin(8).head, ..origin(6) };
        let outcome = Outcome::Unchanged { origin, facts: Some(facts.clone()) };
        let grant = fresh.granted(now);
        fresh.finish("p1", grant.token, &outcome, now).unwrap().verdict
    };
    assert_eq!(unchanged(&mut fresh, at(540)), Verdict::Held);
    fresh.accept(at(541));
    assert_eq!(unchanged(&mut fresh, at(600)), Verdict::Unchanged);
    assert_eq!((fresh.signer(), fresh.held_why()), ((Good, Q.to_owned()), String::new()));
    let told = fresh.told(at(601)).unwrap();
    assert_eq!((&*told.signer, told.keys), (Q, format!("key/{Q}")));
    assert_eq!(fresh.repository("a", "origin_signed_by").as_deref(), Some(Q));
    assert_eq!(fresh.signed(9, signature(Good, P), at(660)), Verdict::Held);
    // Accepted without one, nobody is expected any more, and no key is kept.
    assert_eq!(fresh.signed(9, signature(Missing, ""), at(720)), Verdict::Held);
    fresh.accept(at(721));
    assert_eq!(fresh.signed(9, signature(Missing, ""), at(780)), Verdict::Indexed);
    assert_eq!((fresh.signer(), fresh.told(at(781))), ((Missing, String::new()), None));
    assert_eq!(fresh.repository("a", "origin_signed_by"), None);
}

both!(a_change_of_signer_hides_no_loss);
fn a_change_of_signer_hides_no_loss(kind: Kind) {
    let terms = Terms { brake: Brake::default(), ..terms() };
    let mut fresh = Fresh::with(kind, &["a"]);
    let many: Vec<_> = (0..30).map(|number| package(&format!("p{number}"), "1", "P")).collect();
    let by = |key: &str| Facts { signature: Some(with_key(Good, key)), ..Facts::default() };
    let read = |fresh: &mut Fresh, state, key: &str, rows: &[PackageRow], secs| {
        fresh.signed_by(state, by(key), rows, &terms, at(secs))
    };
    assert_eq!(read(&mut fresh, 1, P, &many, 0), Verdict::Indexed);
    assert_eq!(read(&mut fresh, 2, Q, &many, 60), Verdict::Held);
    fresh.accept(at(61));
    // What was accepted was the key alone.
    assert_eq!(read(&mut fresh, 3, Q, &[], 120), Verdict::Held);
    let why = fresh.held_why();
    assert!(why.contains("was good by 1111") && why.contains("; the index of a is empty"), "{why}");
    fresh.accept(at(121));
    assert_eq!(read(&mut fresh, 3, Q, &[], 180), Verdict::Indexed);
    assert_eq!((fresh.signer().1, fresh.visible().len()), (Q.to_owned(), 0));
}

both!(a_key_that_the_operator_gave_counts_alone);
fn a_key_that_the_operator_gave_counts_alone(kind: Kind) {
    let given = GivenKey { fingerprint: P.into(), keys: "given".into() };
    let entry = "slug:a".parse().unwrap();
    let terms = Terms { signers: GivenFor(vec![(entry, given)]), ..terms() };
    let mut fresh = Fresh::with(kind, &["a"]);
    let grant = fresh.store.claim("p1", 1, at(0), &terms).unwrap().remove(0);
    let absent = vec![KEY.to_owned()];
    let told = Probed { absent, signer: P.into(), keys: "given".into() };
    assert_eq!(grant.probed, Some(told));
    fresh.store.give_back("p1", grant.token, at(0)).unwrap();
    for (state, key, verdict) in [(1, Q, Verdict::Held), (2, P, Verdict::Indexed)] {
        let facts = Facts { signature: Some(signature(Good, key)), ..Facts::default() };
        let rows = [package("p", "1", "P")];
        let now = at(u64::from(state) * 60);
        assert_eq!(fresh.signed_by(state, facts, &rows, &terms, now), verdict);
    }
}

both!(what_isnt_there_is_remembered_for_a_week);
fn what_isnt_there_is_remembered_for_a_week(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let lacks = |files: &[&str]| Facts {
        absent: files.iter().map(|&file| file.to_owned()).collect(),
        ..Facts::default()
    };
    let all = [RELEASE_GPG, KEY, PAYMENT_ENDPOINT];
    let rows = [package("p", "1", "P")];
    fresh.signed_by(1, lacks(&all[..1]), &rows, &terms(), at(0));
    // Whoever asked last, and also where nothing is published.
    let grant = fresh.granted(at(60));
    let unchanged = Outcome::Unchanged { origin: origin(1), facts: Some(lacks(&all[2..])) };
    fresh.finish("p1", grant.token, &unchanged, at(60)).unwrap();
    let absent = |fresh: &mut Fresh, secs| fresh.told(at(secs)).map_or(vec![], |told| told.absent);
    assert_eq!(absent(&mut fresh, 61), [RELEASE_GPG, PAYMENT_ENDPOINT]);
    assert_eq!(absent(&mut fresh, 7 * DAY - 1), [RELEASE_GPG, PAYMENT_ENDPOINT]);
    assert_eq!(absent(&mut fresh, 7 * DAY), [PAYMENT_ENDPOINT]);
    assert_eq!(absent(&mut fresh, 7 * DAY + 60), [""; 0]);
    fresh.signed_by(2, lacks(&all), &rows, &terms(), at(8 * DAY));
    assert_eq!(absent(&mut fresh, 8 * DAY + 1).len(), 3);
    // Elsewhere it may be there.
    let moved = Source { uri: "https://elsewhere.example".into(), ..source("a") };
    fresh.list(&[moved], at(8 * DAY + 2));
    assert_eq!(absent(&mut fresh, 8 * DAY + 3), [""; 0]);
}

both!(keys_that_end_are_counted);
fn keys_that_end_are_counted(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    fresh.signed(1, with_key(Good, P), at(0));
    let ends = Timestamp::from_secs(1_700_000_000).unwrap();
    for (days, ending) in [(31, 0), (30, 1), (0, 1)] {
        let now = ends.minus(Duration::from_secs(days * DAY));
        assert_eq!(fresh.store.counts(now).unwrap().ending, ending, "{days}");
    }
    assert_eq!(fresh.store.source("a").unwrap().unwrap().signed.unwrap().until, Some(ends));
}
