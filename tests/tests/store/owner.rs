//! What a source's owner says slows the network down or stops it: a real agent's requests, counted by the
//! source's own server over weeks that pass in a loop.

use super::*;
use canister_agent::apt::package::BorrowedRow;
use canister_agent::fetch::{Bounds, FetchConfig};
use canister_agent::memory::Mebibytes;
use canister_agent::sink::{Sink, SinkError};
use canister_agent::work::{self, Context};
use canister_arbiter::rules::advertisement::PublisherKey;
use canister_arbiter::rules::announcer::KeyId;
use canister_arbiter::rules::entry::GivenFor;
use canister_arbiter::rules::publisher::GivenPublisher;
use canister_arbiter::rules::schedule::Standing;
use canister_arbiter::store::FinishTold;
use canister_protocol::Rows;
use canister_protocol::limits::DIGESTS_MAX;
use canister_protocol::message::OwnerFound;
use canister_protocol::publisher::{NamedPublisher, PublishedHead};
use canister_tests::index;
use canister_tests::origin::{Fault, Origin as Server, Request, Validators};
use data_encoding::HEXLOWER;
use std::sync::Arc;

const HOUR: Duration = Duration::from_secs(60 * 60);
const WEEKS: u32 = 2;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Puts an agent's rows into the store, as a peer's session would.
struct Direct<'a> {
    store: &'a mut Store,
    peer: &'a str,
    token: u64,
    now: Timestamp,
}

type Put<T = ()> = Result<T, SinkError>;

impl Sink for Direct<'_> {
    fn known(&mut self) -> Put<Option<Vec<Digest>>> {
        Ok(Some(self.store.known(self.peer, self.token, None, DIGESTS_MAX, self.now).unwrap()))
    }

    fn put(&mut self, row: &BorrowedRow<'_>) -> Put {
        let rows = Rows::of(std::slice::from_ref(row));
        self.store.put(self.peer, self.token, &rows, self.now).unwrap();
        Ok(())
    }

    fn dropped(&mut self, digests: &[Digest]) -> Put {
        self.store.dropped(self.peer, self.token, digests, self.now).unwrap();
        Ok(())
    }

    fn priced(&mut self) -> Put<Option<BTreeSet<String>>> {
        Ok(None)
    }

    fn prices(&mut self, _: Vec<Price>) -> Put {
        Ok(())
    }

    fn discard(&mut self) -> Put {
        self.store.discard(self.peer, self.token, self.now).unwrap();
        Ok(())
    }

    fn flush(&mut self) -> Put {
        Ok(())
    }
}

/// A source on a real server, an arbiter's store, and agents whose time passes in a loop.
struct Weeks {
    fresh: Fresh,
    server: Server,
    context: Context,
    now: Timestamp,
    /// Hours of the day at which somebody came, UTC.
    hours: BTreeSet<u64>,
    /// Requests that were counted already.
    seen: usize,
}

impl Weeks {
    fn new(kind: Kind, release: &str) -> Self {
        let server = Server::empty();
        server.validators(Validators::Both);
        let weeks = Self::at(kind, server);
        weeks.publish(1, release);
        weeks
    }

    fn at(kind: Kind, server: Server) -> Self {
        let mut fresh = Fresh::new(kind);
        fresh.list(&[Source { uri: server.uri(), ..source("a") }], at(0));
        let config = FetchConfig { allow_private: true, ..FetchConfig::default() };
        let context = Context::new(&config, None, Mebibytes::PROMISED);
        Self { fresh, server, context, now: at(0), hours: BTreeSet::new(), seen: 0 }
    }

    /// Serves a version of the source, whose Release says that, too.
    fn publish(&self, version: u32, more: &str) {
        let packages = format!("Package: p\nVersion: {version}\nArchitecture: all\n\n");
        let listed = index::release("SHA256", &[("Packages", packages.as_bytes())]);
        self.server.put("/Packages", packages);
        self.server.put("/Release", format!("{more}{listed}"));
    }

    /// Whatever two peers are granted now is done.
    fn visit(&mut self) {
        let now = self.now;
        let peers = [("p1", "192.0.2.1:5"), ("p2", "198.51.100.1:5")];
        peers.iter().for_each(|(peer, address)| self.fresh.here(peer, address));
        // Whoever leaves a source to the other gets it after a moment.
        for (peer, _) in peers.into_iter().chain(peers) {
            for grant in self.fresh.store.claim(peer, 1, now, &terms()).unwrap() {
                let lease = self.context.lease(
                    &grant.source,
                    Bounds::default(),
                    Arc::default(),
                    Arc::default(),
                );
                let lease = lease
                    .with_retry(grant.retry)
                    .with_owner(grant.owner)
                    .with_request(Some(grant.request.clone()));
                let probed = grant.probed.clone().unwrap_or_default();
                let store = &mut self.fresh.store;
                let mut sink = Direct { store, peer, token: grant.token, now };
                let (outcome, owner, cost) =
                    work::run(&grant.source, (grant.origin.as_ref(), &probed), &lease, &mut sink);
                let told = FinishTold { cost: &cost, owner: owner.as_ref() };
                self.fresh.store.finish(peer, grant.token, &outcome, told, now, &terms()).unwrap();
                self.hours.insert(self.now.millis() / 3_600_000 % 24);
            }
        }
    }

    /// Lets time pass, from one moment at which something is to be done to the next; what was asked of the
    /// source, and how often for its owner's files.
    fn pass(&mut self, time: Duration) -> (Vec<Request>, u32) {
        let before = self.server.asked_owner().len();
        let end = self.now.plus(time);
        self.hours.clear();
        while self.now < end {
            self.visit();
            let next = self.fresh.store.next_deadline(self.now, &terms()).unwrap();
            self.now = next.unwrap_or(end).max(self.now.plus(Duration::from_secs(1))).min(end);
        }
        let files = self.server.asked_owner().len() - before;
        (self.server.requests().split_off(self.seen), u32::try_from(files).unwrap())
    }

    /// From here on requests are counted anew.
    fn count_anew(&mut self) {
        self.seen = self.server.requests().len();
    }

    /// What it is by the clock, UTC.
    fn hour(&self) -> u64 {
        self.now.millis() / 3_600_000 % 24
    }

    fn state(&mut self) -> (Standing, Option<String>) {
        let state = self.fresh.store.source("a").unwrap().unwrap();
        (state.standing, state.owner.stopped)
    }
}

/// How often Release was asked for.
fn visits(asked: &[Request]) -> u32 {
    asked.iter().filter(|it| it.path == "/Release").count().try_into().unwrap()
}

both!(an_owner_is_asked_as_often_as_it_says);
fn an_owner_is_asked_as_often_as_it_says(kind: Kind) {
    // Whoever says nothing is asked each hour, and its files are asked for once a day.
    let mut weeks = Weeks::new(kind, "");
    let (asked, files) = weeks.pass(7 * DAY * WEEKS);
    println!(
        "nothing said: {} requests, {files} for the owner's files, in {WEEKS} weeks",
        asked.len()
    );
    assert!(visits(&asked) > WEEKS * 7 * 23, "{}", asked.len());
    assert!(files <= 2 * (WEEKS * 7 + 1), "{files}");

    for (release, file, header) in [
        ("Canister-Interval: 6h\n", "", ""),
        ("", "Interval: 6h\n", ""),
        ("Canister-Interval: 2h\n", "# slower\nCanister-Interval: 6h\n", ""),
        ("", "", "public, max-age=21600"),
    ] {
        let mut weeks = Weeks::new(kind, release);
        weeks.server.put("/.well-known/canister.txt", file);
        if !header.is_empty() {
            let header = vec![("Cache-Control", header.to_owned())];
            weeks.server.fault("/Release", Fault::Told(200, header));
        }
        let (asked, files) = weeks.pass(7 * DAY * WEEKS);
        let visits = visits(&asked);
        println!(
            "6h by {release:?} {file:?} {header:?}: {} requests, {visits} of Release",
            asked.len()
        );
        assert!((WEEKS * 7 * 3..=WEEKS * 7 * 4 + 3).contains(&visits), "{visits}");
        assert!(files <= 2 * (WEEKS * 7 + 1), "{files}");
        assert_eq!(weeks.fresh.visible(), ["p 1 -"]);
    }
}

both!(nobody_comes_in_quiet_hours);
fn nobody_comes_in_quiet_hours(kind: Kind) {
    let mut weeks = Weeks::new(kind, "Canister-Quiet: 20:00-06:00\n");
    weeks.server.put("/.well-known/canister.txt", "Quiet: 5-9 UTC\n");
    // The first visit learns of them.
    weeks.visit();
    let (asked, _) = weeks.pass(7 * DAY * WEEKS);
    println!("quiet from 20 to 9: {} requests at {:?}", asked.len(), weeks.hours);
    assert!(weeks.hours.iter().all(|hour| (9..20).contains(hour)), "{:?}", weeks.hours);
    assert!(visits(&asked) >= WEEKS * 7 * 9);
    // Not even when it is announced; it is asked when they end.
    while weeks.hour() != 22 {
        weeks.pass(HOUR);
    }
    weeks.count_anew();
    weeks.fresh.store.announce("a", None, weeks.now).unwrap();
    weeks.visit();
    assert_eq!(weeks.server.requests().len(), weeks.seen);
    let next = weeks.fresh.store.next_deadline(weeks.now, &terms()).unwrap().unwrap();
    assert_eq!((next.millis() / 3_600_000 % 24, next.millis() % 3_600_000), (9, 0));
}

both!(who_wants_out_is_hidden_and_asked_once_a_week);
fn who_wants_out_is_hidden_and_asked_once_a_week(kind: Kind) {
    let robots = "User-agent: canister\nDisallow: /\n";
    for (release, file, rules, gone) in [
        ("Canister-Index: no\n", "", "", false),
        ("", "Index: no\n", "", false),
        ("", "", robots, false),
        ("", "", "", true),
    ] {
        let mut weeks = Weeks::new(kind, "");
        weeks.pass(DAY);
        assert_eq!(weeks.fresh.visible(), ["p 1 -"]);
        weeks.publish(1, release);
        weeks.server.put("/.well-known/canister.txt", file);
        weeks.server.put("/robots.txt", rules);
        if gone {
            weeks.server.fault("/Release", Fault::Status(410, vec![]));
        }
        // The day in which it is heard of.
        weeks.pass(DAY + HOUR);
        weeks.count_anew();
        let (standing, stopped) = weeks.state();
        assert_eq!(standing, Standing::Deactivated, "{release} {file} {rules} {gone}");
        assert_eq!(weeks.fresh.visible(), [""; 0]);
        let (asked, files) = weeks.pass(7 * DAY * WEEKS);
        println!(
            "{}: {} requests, {files} for the owner's files, in {WEEKS} weeks",
            stopped.unwrap(),
            asked.len()
        );
        assert!(asked.len() as u32 <= 2 * (WEEKS + 1), "{asked:?}");
        assert!(files <= 4 * (WEEKS + 1), "{files}");
        // No stranger brings it back. It changes its mind, and is shown again within a week.
        weeks.fresh.store.announce("a", None, weeks.now).unwrap();
        weeks.count_anew();
        weeks.visit();
        assert_eq!(weeks.server.requests().len(), weeks.seen);
        weeks.publish(2, "");
        weeks.server.put("/.well-known/canister.txt", "");
        weeks.server.put("/robots.txt", "User-agent: *\nDisallow: /\n");
        weeks.server.heal("/Release");
        weeks.pass(8 * DAY);
        assert_eq!(weeks.state(), (Standing::Active, None));
        assert_eq!(weeks.fresh.visible(), ["p 2 -"]);
    }
}

both!(one_peer_alone_hides_nothing);
fn one_peer_alone_hides_nothing(kind: Kind) {
    let mut weeks = Weeks::new(kind, "");
    weeks.visit();
    weeks.now = weeks.now.plus(2 * HOUR);
    let lied = weeks.fresh.claim_one("p1", weeks.now);
    let outcome = Outcome::Failed {
        kind: FailureKind::Owner,
        retry_after_secs: None,
        status: None,
        reason: "a: its owner says Canister-Index: no".into(),
    };
    weeks.fresh.finish("p1", lied.token, &outcome, weeks.now).unwrap();
    assert_eq!(weeks.state(), (Standing::Active, None));
    // Another looks at once.
    weeks.visit();
    assert_eq!(weeks.state(), (Standing::Active, None));
    assert_eq!(weeks.fresh.visible(), ["p 1 -"]);
}

/// The real list's sources, each of which changes once a day, over days that pass in a loop: how often all
/// are asked in the last of them, and how many hours the slowest change was unknown. The owners of every
/// second one announce, if any do, each change at once.
fn day_of_the_world(announces: bool) -> (usize, u64) {
    use canister_arbiter::rules::owner::OwnerWord;
    use canister_arbiter::rules::schedule::{Ended, PollSchedule, SourceClock};
    let (days, minute) = (20, Duration::from_secs(60));
    let (mut asked, mut longest) = (0, 0);
    for (number, source) in canister_tests::world::list().iter().enumerate() {
        let announces = announces && number % 2 == 0;
        let changes_at = (number as u64 * 37) % (24 * 60);
        let (mut clock, mut word) = (SourceClock::new(at(0)), OwnerWord::default());
        let (mut version, mut known, mut changed) = (0_u64, 0, 0);
        for tick in 0..days * 24 * 60 {
            let now = at(tick * 60);
            if tick % (24 * 60) == changes_at {
                (version, changed) = (version + 1, tick);
                if announces {
                    clock.announce(now);
                }
            }
            if clock.is_due(now) {
                word.was_read(announces && clock.is_announced, known != version && known > 0);
                let schedule = word.slowed(PollSchedule::default());
                clock.after(&source.slug, Ended::Contact, now, &schedule);
                if known != version {
                    longest = longest.max(tick - changed);
                }
                known = version;
                asked += usize::from(tick >= (days - 1) * 24 * 60);
            }
            assert!(clock.due_at <= now.plus(36 * 60 * minute));
        }
    }
    (asked, longest / 60)
}

#[test]
fn whoever_announces_reliably_is_asked_once_a_day() {
    let (before, stale_before) = day_of_the_world(false);
    let (after, stale_after) = day_of_the_world(true);
    println!(
        "requests a day, all 462 sources: {before}, and with half of the owners announcing {after}"
    );
    assert!(before >= 462 * 23, "{before}");
    // Half as before; of the other half one poll and one announcement a day.
    assert!(after <= 231 * 25 + 231 * 3, "{after}");
    assert!(stale_before <= 1 && stale_after <= 1, "{stale_before} {stale_after} hours");
}

both!(a_publisher_that_the_operator_gave_is_asked_first);
fn a_publisher_that_the_operator_gave_is_asked_first(kind: Kind) {
    let key = |seed: &str| {
        let der = format!("302e020100300506032b657004220420{}", seed.repeat(32));
        PublisherKey::of_pkcs8(&HEXLOWER.decode(der.as_bytes()).unwrap()).unwrap()
    };
    let (own, others) = (key("01"), key("02"));
    let uri = "https://publisher.example/ipni/v1/ad".to_owned();
    let given = GivenPublisher { uri: uri.clone(), key: KeyId::named(own.id()).unwrap() };
    let publishers = GivenFor(vec![("slug:a".parse().unwrap(), given)]);
    let terms = Terms { publishers, ..terms() };
    let mut fresh = Fresh::with(kind, &["a"]);
    let mut lease = |now, outcome: &Outcome, published: Option<PublishedHead>| {
        let grant = fresh.store.claim("p1", 1, now, &terms).unwrap().remove(0);
        let owner = OwnerFound { published, ..OwnerFound::default() };
        let told = FinishTold { cost: &cost(), owner: Some(&owner) };
        let finished = fresh.store.finish("p1", grant.token, outcome, told, now, &terms).unwrap();
        (grant.publisher, finished.verdict)
    };
    let cid = Head::from_sha256([1; 32]).to_string();
    let asked = |head: &str| Some(NamedPublisher { uri: uri.clone(), head: head.to_owned() });
    let head = |key: &PublisherKey, is_all| Some(PublishedHead { is_all, head: key.head(&cid) });
    let unchanged = Outcome::Unchanged { origin: origin(1), facts: None };
    // Its first reading is of all there is.
    let first = lease(at(0), &indexed(Counted::default()), None);
    assert_eq!(first, (None, Verdict::Indexed));
    let hour = |hours: u64| at(3600 * hours);
    assert_eq!(lease(hour(1), &unchanged, head(&own, false)), (asked(""), Verdict::Unchanged));
    assert_eq!(lease(hour(2), &unchanged, head(&own, true)), (asked(&cid), Verdict::Unchanged));
    // Another's is no contact, and it isn't asked for a day.
    let (publisher, verdict) = lease(hour(3), &unchanged, head(&others, true));
    assert_eq!(publisher, asked(&cid));
    assert!(!verdict.is_contact(), "{verdict:?}");
    assert_eq!(lease(hour(4), &unchanged, None), (None, Verdict::Unchanged));
}
