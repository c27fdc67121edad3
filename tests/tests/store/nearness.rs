//! Where work goes: near a server, and once a day to another.

use super::{Fresh, Kind, at, cost, indexed, origin, source, terms};
use canister_arbiter::rules::schedule::{PollSchedule, Polls};
use canister_arbiter::rules::timestamp::Timestamp;
use canister_arbiter::store::Terms;
use canister_protocol::Source;
use canister_protocol::message::{Cost, FailureKind, Outcome};
use std::collections::BTreeMap;
use std::time::Duration;

const DAY: u64 = 24 * 60 * 60;
/// Peers of a simulated network, with their milliseconds to the server.
const PEERS: [(&str, u32); 3] = [("farther", 800), ("far", 200), ("near", 20)];

/// Six sources of one operator that are polled every 3 s, and the three peers, for one lease at a time each.
fn network(kind: Kind) -> (Fresh, Terms) {
    let sources: Vec<Source> = (0..6)
        .map(|number| Source {
            uri: format!("https://a.example/{number}"),
            ..source(&format!("s{number}"))
        })
        .collect();
    let mut fresh = Fresh::new(kind);
    fresh.list(&sources, at(0));
    for (number, (peer, _)) in PEERS.iter().enumerate() {
        fresh.here(peer, &format!("192.0.{number}.1:5"));
    }
    let every = Duration::from_secs(3);
    let schedule = PollSchedule { interval: every, retry_after: every, ..PollSchedule::default() };
    (fresh, Terms { polls: Polls::from(schedule), ..terms() })
}

/// What goes on for `secs`, half a second at a time: how many leases each peer had. Whoever is `blocked` is sent away.
fn leases(
    (fresh, terms): (&mut Fresh, &Terms),
    from: Timestamp,
    secs: u64,
    blocked: &str,
) -> BTreeMap<&'static str, u32> {
    let mut done = BTreeMap::from(PEERS.map(|(peer, _)| (peer, 0)));
    let mut last = BTreeMap::new();
    let mut under_way: Vec<(Timestamp, (&str, u32), u64, bool)> = Vec::new();
    for step in 0..secs * 2 {
        let now = from.plus(Duration::from_millis(500 * step));
        under_way.retain(|(until, (peer, millis), token, is_new)| {
            if *until > now {
                return true;
            }
            let outcome = match (*peer == blocked, is_new) {
                (true, _) => Outcome::Failed {
                    kind: FailureKind::Status,
                    retry_after_secs: None,
                    status: Some(429),
                    reason: "read Release: 429".into(),
                },
                (false, true) => indexed(Default::default()),
                (false, false) => Outcome::Unchanged { origin: origin(1), facts: None },
            };
            let cost = Cost { first_byte_millis: Some(*millis), ..cost() };
            fresh.store.finish(peer, *token, &outcome, &cost, now, terms).unwrap();
            false
        });
        // As an arbiter does, whoever got nothing for longest comes first.
        let mut order = PEERS;
        order.sort_by_key(|(peer, _)| last.get(peer).copied());
        for it in order {
            for grant in fresh.store.claim(it.0, 1, now, terms).unwrap() {
                let until = now.plus(Duration::from_millis(2 * u64::from(it.1)));
                under_way.push((until, it, grant.token, grant.origin.is_none()));
                *done.get_mut(it.0).unwrap() += 1;
                last.insert(it.0, now);
            }
        }
    }
    for (_, (peer, _), token, _) in under_way {
        fresh.store.give_back(peer, token, from.plus(Duration::from_secs(secs))).unwrap();
    }
    done
}

both!(work_goes_to_the_near_and_once_a_day_to_others);
fn work_goes_to_the_near_and_once_a_day_to_others(kind: Kind) {
    let (mut fresh, terms) = network(kind);
    // Each is tried until it is known.
    leases((&mut fresh, &terms), at(0), 60, "");
    let done = leases((&mut fresh, &terms), at(60), 60, "");
    println!("{done:?}");
    let all: u32 = done.values().sum();
    assert!(all >= 60 && done["near"] * 10 >= all * 9, "{done:?}");

    // A day later each source is read by another than the day before, and then the near goes on.
    let readers = |fresh: &Fresh| fresh.column("SELECT plain_by FROM source ORDER BY slug");
    let before = readers(&fresh);
    leases((&mut fresh, &terms), at(DAY + 120), 200, "");
    let after = readers(&fresh);
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(before, after);
    }
    let done = leases((&mut fresh, &terms), at(DAY + 320), 60, "");
    let all: u32 = done.values().sum();
    assert!(done["near"] * 10 >= all * 9, "{done:?}");
}

both!(whoever_is_sent_away_gets_nothing_there_until_its_time);
fn whoever_is_sent_away_gets_nothing_there_until_its_time(kind: Kind) {
    let (mut fresh, terms) = network(kind);
    leases((&mut fresh, &terms), at(0), 60, "");
    let done = leases((&mut fresh, &terms), at(60), 200, "near");
    println!("{done:?}");
    // Once; then everybody rests for a minute, and the next nearest does it.
    assert_eq!(done["near"], 1, "{done:?}");
    let all: u32 = done.values().sum();
    assert!(all >= 100 && done["far"] * 10 >= all * 8, "{done:?}");
    // Its hour is over, and it is welcome.
    let done = leases((&mut fresh, &terms), at(60 + 3700), 60, "");
    let all: u32 = done.values().sum();
    assert!(done["near"] * 10 >= all * 8, "{done:?}");
}

both!(nobody_waits_for_one_that_takes_nothing);
fn nobody_waits_for_one_that_takes_nothing(kind: Kind) {
    let (mut fresh, terms) = network(kind);
    leases((&mut fresh, &terms), at(0), 60, "");
    // The near one is here, and asks for nothing.
    let mut granted = Vec::new();
    for secs in 0..90 {
        for grant in fresh.store.claim("farther", 1, at(100 + secs), &terms).unwrap() {
            let cost = Cost { first_byte_millis: Some(800), ..cost() };
            let outcome = Outcome::Unchanged { origin: origin(1), facts: None };
            fresh
                .store
                .finish("farther", grant.token, &outcome, &cost, at(100 + secs), &terms)
                .unwrap();
            granted.push(secs);
        }
    }
    // It waits for it once.
    assert!(granted.len() > 60 && granted[0] <= 20, "{granted:?}");
}
