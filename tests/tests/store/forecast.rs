//! A forecast against the real thing: the store, asked in simulated time.

use super::*;
use canister_arbiter::rules::forecast::{Ahead, Forecast};
use canister_arbiter::rules::schedule::{PollSchedule, Polls, Standing};

const HOUR: u64 = 3600;

/// Requests by operator and hour.
type Asked = BTreeMap<String, BTreeMap<u64, u64>>;

fn hourly() -> Terms {
    Terms { polls: Polls::from(PollSchedule::default()), ..terms() }
}

impl Fresh {
    /// Has one peer do all that is due from one moment to another, each lease in no time; those whose
    /// number can be divided by three fail.
    fn drive(&mut self, terms: &Terms, from: u64, until: u64) -> Asked {
        let mut asked = Asked::new();
        let mut now = at(from);
        while now < at(until) {
            while let Some(grant) = self.store.claim("p1", 1, now, terms).unwrap().pop() {
                let slug = grant.source.slug.clone();
                let number: u64 = slug.trim_start_matches('s').parse().unwrap();
                let (outcome, requests) = if number.is_multiple_of(3) {
                    (failed(FailureKind::Mismatch), 3)
                } else if grant.origin.is_none() {
                    let row = package(&slug, "1", "P");
                    (indexed(self.work(&grant, "p1", &[row], now)), 1)
                } else {
                    (Outcome::Unchanged { origin: origin(1), facts: None }, 1)
                };
                let cost = Cost { requests, millis: 0, ..cost() };
                self.store.finish("p1", grant.token, &outcome, &cost, now, terms).unwrap();
                let state = self.store.source(&slug).unwrap().unwrap();
                let hour = now.since(at(from)).as_secs() / HOUR;
                *asked.entry(state.operator).or_default().entry(hour).or_default() += requests;
            }
            match self.store.next_deadline(now, terms).unwrap() {
                Some(next) => now = next,
                None => break,
            }
        }
        asked
    }
}

both!(a_week_ahead_is_the_week_that_comes);
fn a_week_ahead_is_the_week_that_comes(kind: Kind) {
    let mut fresh = Fresh::new(kind);
    let source = |number: u64| Source {
        uri: format!("https://r{number}.o{}.example/repo", number % 4),
        ..source(&format!("s{number:02}"))
    };
    fresh.list(&(1..=12).map(source).collect::<Vec<_>>(), at(0));
    fresh.drive(&hourly(), 0, 24 * HOUR);

    // From now on by other rules.
    let schedule = PollSchedule {
        interval: Duration::from_secs(2 * HOUR),
        retry_after: Duration::from_secs(30 * 60),
        deactivate_after: Duration::from_secs(36 * HOUR),
        stop_after: Duration::from_secs(96 * HOUR),
    };
    let changed = Terms { polls: Polls::from(schedule), ..terms() };
    let (begin, end) = (24 * HOUR, (24 + 7 * 24) * HOUR);
    let (states, mut tried) = (fresh.store.sources().unwrap(), fresh.store.tried().unwrap());
    let ahead: Vec<Ahead<'_>> = (states.iter())
        .map(|state| Ahead {
            slug: &state.source.slug,
            operator: &state.operator,
            clock: state.clock(),
            schedule: changed.polls.of(&state.source),
            tried: tried.remove(&state.source.slug).unwrap_or_default(),
        })
        .collect();
    let forecast = Forecast::ahead(&ahead, at(begin), at(end), Duration::ZERO);
    let mut told = Asked::new();
    for (operator, load) in &forecast.operators {
        let hours = load.requests.iter().enumerate().filter(|(_, requests)| **requests > 0);
        told.insert(operator.clone(), hours.map(|(hour, it)| (hour as u64, *it)).collect());
    }

    fresh.store.bring_forward(at(begin), &changed).unwrap();
    let asked = fresh.drive(&changed, begin, end);
    assert_eq!(told, asked);
    assert_eq!(asked.len(), 4);
    let delisted = fresh.store.sources().unwrap().into_iter();
    let delisted = delisted.filter(|state| state.standing == Standing::Delisted);
    let delisted: Vec<String> = delisted.map(|state| state.source.slug).collect();
    let named: Vec<String> = forecast.delisted.iter().map(|(slug, _)| slug.clone()).collect();
    assert_eq!((&named, named.len()), (&delisted, 4));
}
