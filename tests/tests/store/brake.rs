//! What the brake holds of what sources publish, and when a hold ends.

use super::*;
use canister_arbiter::rules::changes::Act;
use canister_arbiter::rules::decision::Decided;
use canister_arbiter::rules::policy::PolicySettings;
use canister_arbiter::store::HeldChange;

const DAY: u64 = 24 * 60 * 60;

/// What brakes as it does where the operator sets nothing.
fn braking() -> Terms {
    Terms { brake: Brake::default(), ..terms() }
}

/// Packages by numbers.
fn packages(numbers: std::ops::Range<u32>, version: &str) -> Vec<PackageRow> {
    numbers.map(|number| package(&format!("p{number}"), version, "P")).collect()
}

/// What a peer finds.
#[derive(Clone, Copy)]
struct Read<'a> {
    state: u8,
    rows: &'a [PackageRow],
    date: Option<u64>,
    has_release: bool,
}

impl<'a> Read<'a> {
    fn of(state: u8, rows: &'a [PackageRow]) -> Self {
        Self { state, rows, date: None, has_release: true }
    }

    fn dated(self, secs: u64) -> Self {
        Self { date: Some(1_600_000_000 + secs), ..self }
    }
}

impl Fresh {
    /// Has a source read at once.
    fn read(&mut self, slug: &str, read: Read<'_>, now: Timestamp) -> Finished {
        self.store.announce(slug, None, now).unwrap();
        let grants = self.store.claim("p1", 9, now, &terms()).unwrap();
        let grant = grants.into_iter().find(|grant| grant.source.slug == slug).unwrap();
        let counts = self.work(&grant, "p1", read.rows, now);
        let mut origin = origin(read.state);
        if !read.has_release {
            origin.release_path.clear();
        }
        let facts = Facts { date: read.date, ..Facts::default() };
        let outcome = Outcome::Indexed { origin, facts, counts };
        let finished =
            self.store.finish("p1", grant.token, &outcome, &cost(), now, &braking()).unwrap();
        self.store.end_all("p1", now).unwrap();
        self.check_laws();
        finished
    }

    fn why_held(&mut self) -> Vec<String> {
        let held: Vec<HeldChange> = self.store.held().unwrap();
        held.into_iter().map(|change| change.why).collect()
    }
}

both!(a_source_whose_whole_content_is_replaced_is_held);
fn a_source_whose_whole_content_is_replaced_is_held(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    let (old, others) = (packages(0..12, "1"), packages(100..500, "1"));
    fresh.read("a", Read::of(1, &old), at(0));
    fresh.read("b", Read::of(1, &others), at(0));
    let finished = fresh.read("a", Read::of(2, &packages(20..32, "1")), at(60));
    assert_eq!((finished.verdict, finished.packages), (Verdict::Held, 12));
    let why = "it would hide 12 of 12 packages of a, more than 50 % within a day";
    assert_eq!(fresh.why_held(), [why]);
    assert!(
        fresh
            .catalogue()
            .keys()
            .all(|key| key.0 == "b" || old.iter().any(|row| row.package_id == key.1))
    );
    // A new version of each is no loss, and what passes ends the hold.
    let newer = packages(0..12, "2");
    let finished = fresh.read("a", Read::of(3, &newer), at(120));
    assert_eq!((finished.verdict, finished.put, finished.left), (Verdict::Indexed, 12, 12));
    assert!(fresh.why_held().is_empty());
    // Nor is an older version that goes.
    let both: Vec<PackageRow> = newer.iter().cloned().chain(packages(0..12, "3")).collect();
    fresh.read("a", Read::of(4, &both), at(180));
    let finished = fresh.read("a", Read::of(5, &packages(0..12, "3")), at(240));
    assert_eq!((finished.verdict, finished.left), (Verdict::Indexed, 12));
}

both!(what_leaves_within_a_day_is_added_up);
fn what_leaves_within_a_day_is_added_up(kind: Kind) {
    let slugs = ["a", "b", "c", "d", "e"];
    let mut fresh = Fresh::with(kind, &slugs);
    for slug in slugs {
        fresh.read(slug, Read::of(1, &packages(0..100, "1")), at(0));
    }
    // 45 of 500 are 9 %.
    let fewer = packages(0..55, "1");
    for (slug, secs) in [("a", 600), ("b", 1200)] {
        let finished = fresh.read(slug, Read::of(2, &fewer), at(secs));
        assert_eq!((finished.verdict, finished.left), (Verdict::Indexed, 45));
    }
    let held = fresh.read("c", Read::of(2, &fewer), at(1800));
    assert_eq!((held.verdict, held.left), (Verdict::Held, 0));
    let why = "135 of 500 packages would be hidden within a day, more than 20 %";
    assert_eq!(fresh.why_held(), [why]);
    // So is what one source loses bit by bit; a restart forgets nothing of it.
    let mut fresh = fresh.reopen();
    let held = fresh.read("a", Read::of(3, &packages(0..49, "1")), at(2400));
    assert_eq!(held.verdict, Verdict::Held);
    let why = "it would hide 51 of 100 packages of a, more than 50 % within a day";
    assert_eq!(fresh.why_held()[1], why);
    // What only grows passes.
    let grown = fresh.read("d", Read::of(3, &packages(0..101, "1")), at(3000));
    assert_eq!(grown.verdict, Verdict::Indexed);
    // A day later it is another day's.
    let next = fresh.read("c", Read::of(2, &fewer), at(1200 + DAY));
    assert_eq!((next.verdict, next.left), (Verdict::Indexed, 45));
    let next = fresh.read("a", Read::of(3, &packages(0..49, "1")), at(1201 + DAY));
    assert_eq!((next.verdict, next.left), (Verdict::Indexed, 6));
    assert!(fresh.why_held().is_empty());
}

both!(an_index_that_is_empty_is_held);
fn an_index_that_is_empty_is_held(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b", "c"]);
    fresh.read("a", Read::of(1, &packages(0..25, "1")), at(0));
    fresh.read("b", Read::of(1, &packages(0..400, "1")), at(0));
    fresh.read("c", Read::of(1, &packages(0..3, "1")), at(0));
    for (slug, count) in [("a", 25), ("c", 3)] {
        let empty = Read { has_release: false, ..Read::of(2, &[]) };
        let finished = fresh.read(slug, empty, at(60));
        assert_eq!((finished.verdict, finished.packages), (Verdict::Held, count));
    }
    let why = ["a", "c"].map(|slug| format!("the index of {slug} is empty, and was not"));
    assert_eq!(fresh.why_held(), why);
    assert_eq!(fresh.visible().len(), 428);
    // Few packages may go, but all.
    assert_eq!(fresh.read("c", Read::of(3, &packages(0..1, "1")), at(120)).left, 2);
    // One that never had any has none to lose.
    let mut fresh = Fresh::with(kind, &["a"]);
    assert_eq!(fresh.read("a", Read::of(1, &[]), at(0)).verdict, Verdict::Indexed);
    assert_eq!(fresh.read("a", Read::of(2, &[]), at(60)).verdict, Verdict::Indexed);
}

both!(an_older_release_is_held_until_the_newer_one_is_back);
fn an_older_release_is_held_until_the_newer_one_is_back(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let (old, new) = (packages(0..12, "1"), packages(0..12, "2"));
    fresh.read("a", Read::of(1, &old).dated(100), at(0));
    fresh.read("a", Read::of(2, &new).dated(200), at(60));
    let finished = fresh.read("a", Read::of(1, &old).dated(100), at(120));
    assert_eq!(finished.verdict, Verdict::Held);
    let why = "the Release of a is of 2020-09-13 12:28:20, older than that of 2020-09-13 12:30:00";
    assert_eq!(fresh.why_held(), [why]);
    assert!(fresh.visible().iter().all(|shown| shown.contains(" 2 ")));
    // The mirror caught up: nothing changed since.
    fresh.store.announce("a", None, at(180)).unwrap();
    let grant = fresh.claim_one("p1", at(180));
    let unchanged = Outcome::Unchanged { origin: origin(2), facts: None };
    fresh.store.finish("p1", grant.token, &unchanged, &cost(), at(180), &braking()).unwrap();
    assert!(fresh.why_held().is_empty());
    // An older one is held also where its index is the same, and accepted it passes.
    fresh.store.announce("a", None, at(240)).unwrap();
    let grant = fresh.claim_one("p1", at(240));
    let facts = Some(Facts { date: Some(1_600_000_100), ..Facts::default() });
    let older = Outcome::Unchanged { origin: Origin { head: origin(1).head, ..origin(2) }, facts };
    let finished =
        fresh.store.finish("p1", grant.token, &older, &cost(), at(240), &braking()).unwrap();
    assert_eq!(finished.verdict, Verdict::Held);
    assert_eq!(fresh.store.source("a").unwrap().unwrap().origin, Some(origin(2)));
    fresh.read("a", Read::of(1, &old).dated(100), at(300));
    let number = fresh.store.held().unwrap()[0].number;
    fresh.decide(Decided::Accept(number), at(301));
    let finished = fresh.read("a", Read::of(1, &old).dated(100), at(360));
    assert_eq!((finished.verdict, finished.put), (Verdict::Indexed, 12));
    assert_eq!(fresh.store.held().unwrap(), []);
    // A date that lies ahead of all clocks is none.
    fresh.read("a", Read::of(4, &new).dated(3_000_000_000), at(420));
    assert_eq!(fresh.read("a", Read::of(5, &old).dated(300), at(480)).verdict, Verdict::Indexed);
}

both!(what_the_operator_accepted_is_no_loss);
fn what_the_operator_accepted_is_no_loss(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    fresh.read("a", Read::of(1, &packages(0..100, "1")), at(0));
    fresh.read("b", Read::of(1, &packages(0..100, "1")), at(0));
    let fewer = packages(0..40, "1");
    assert_eq!(fresh.read("a", Read::of(2, &fewer), at(60)).verdict, Verdict::Held);
    let number = fresh.store.held().unwrap()[0].number;
    fresh.decide(Decided::Accept(number), at(61));
    assert_eq!(fresh.read("a", Read::of(2, &fewer), at(120)).left, 60);
    // The next is measured by itself.
    assert_eq!(fresh.read("b", Read::of(2, &packages(0..80, "1")), at(180)).left, 20);
}

both!(what_a_list_or_the_policy_hides_is_added_to_it);
fn what_a_list_or_the_policy_hides_is_added_to_it(kind: Kind) {
    let slugs = ["a", "b", "c", "d", "e"];
    let mut fresh = Fresh::with(kind, &slugs);
    for (slug, count) in [("a", 100), ("b", 100), ("c", 10), ("d", 10), ("e", 10)] {
        fresh.read(slug, Read::of(1, &packages(0..count, "1")), at(0));
    }
    let settings =
        PolicySettings { except: vec!["slug:d".parse().unwrap()], ..PolicySettings::default() };
    let settle = |fresh: &mut Fresh, act: Act, secs: u64| {
        fresh.store.settle(&act, &settings, &braking(), at(secs)).unwrap()
    };
    // What the operator says by command is asked for, and no loss: 10 of 230.
    let said = Decided::Block("slug:e".parse().unwrap());
    settle(&mut fresh, Act::Decided { said, by: "root".into(), why: String::new() }, 10);
    // 20 of 220: the list names c no more, and the configuration excepts d.
    let listed = ["a", "b", "d", "e"].map(source).to_vec();
    let act = Act::Listed { sources: Some(listed), blocked_hosts: None };
    let settled = settle(&mut fresh, act, 20);
    assert_eq!((settled.listed.unwrap().held, settled.changed.held), (None, None));
    assert_eq!(settled.changed.hidden, ["d"]);
    // 24 more are 44 of 220; 25 are too many.
    let held = fresh.read("a", Read::of(2, &packages(0..75, "1")), at(60));
    assert_eq!(held.verdict, Verdict::Held);
    assert!(fresh.why_held()[0].starts_with("45 of 220 packages would be hidden"));
    let finished = fresh.read("a", Read::of(3, &packages(0..76, "1")), at(120));
    assert_eq!((finished.verdict, finished.left), (Verdict::Indexed, 24));
    assert!(fresh.why_held().is_empty());
    // Now any other source would be one too many for the list, too.
    let act = Act::Listed { sources: Some(["a", "b"].map(source).to_vec()), blocked_hosts: None };
    assert_eq!(settle(&mut fresh, act, 130).listed.unwrap().held, None, "d and e are hidden");
    let act = Act::Listed { sources: Some(vec![source("a")]), blocked_hosts: None };
    assert!(settle(&mut fresh, act, 140).listed.unwrap().held.is_some());
}
