//! What one peer may be asked for in the coming hours, as far as that can be told before: nothing of what
//! others do.

use crate::rules::families::{may_ask, may_reach};
use crate::rules::model::{Claimant, SourceState};
use crate::rules::schedule::Polls;
use crate::rules::timestamp::Timestamp;
use crate::rules::traffic::known;
use canister_protocol::message::PlannedHost;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// The hosts of polled sources that `peer` reaches and may ask, and that aren't known to be too much for it,
/// with how often they are polled between two moments; those with the most polls first.
pub fn planned(
    states: &[SourceState],
    peer: &Claimant<'_>,
    addresses: &HashMap<String, Vec<IpAddr>>,
    polls: &Polls,
    (now, until): (Timestamp, Timestamp),
) -> Vec<PlannedHost> {
    let mut hosts: BTreeMap<String, PlannedHost> = BTreeMap::new();
    for state in states.iter().filter(|state| state.is_polled()) {
        let host = state.source.host();
        let found = addresses.get(&host).map_or(&[][..], Vec::as_slice);
        let is_for_it = may_reach(peer.reaches, state.families, None)
            && peer.never.is_none_or(|never| may_ask(never, &host, found))
            && peer.bytes.is_none_or(|most| known(0, state.packages) <= most);
        let polled = polls.of(&state.source).polls(&state.clock(), now, until);
        if is_for_it && polled > 0 {
            let planned = hosts.entry(host.clone()).or_default();
            planned.operator.clone_from(&state.operator);
            planned.host = host;
            planned.sources += 1;
            planned.polls += polled;
        }
    }
    let mut planned: Vec<PlannedHost> = hosts.into_values().collect();
    planned.sort_by_key(|it| Reverse(it.polls));
    planned
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::schedule::PollSchedule;
    use canister_protocol::{Source, Veto};
    use std::time::Duration;

    #[test]
    fn a_peer_is_told_what_it_may_be_asked_and_nothing_else() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let state = |slug: &str, host: &str, packages| {
            let (slug, uri) = (slug.to_owned(), format!("https://{host}/{slug}"));
            let source = Source { slug, uri, suite: "./".to_owned(), ..Source::default() };
            SourceState { is_listed: true, packages, ..SourceState::new(source, now) }
        };
        let states = [
            state("a", "one.example", 5),
            state("b", "one.example", 5),
            state("c", "two.example", 5),
            state("d", "never.example", 5),
            state("e", "there.example", 5),
            state("f", "large.example", 100_000),
        ];
        let never = Veto::of(&["never.example".to_owned(), "9.9.9.0/24".to_owned()]);
        let peer =
            Claimant { bytes: Some(1_000_000), never: Some(&never), ..Claimant::from("anna") };
        let addresses = [("there.example".to_owned(), vec!["9.9.9.9".parse().unwrap()])].into();
        let until = now.plus(Duration::from_secs(3 * 60 * 60));
        let polls = Polls::from(PollSchedule::default());
        let planned = planned(&states, &peer, &addresses, &polls, (now, until));
        let rows: Vec<_> = planned.iter().map(|it| (&*it.host, it.sources)).collect();
        assert_eq!(rows, [("one.example", 2), ("two.example", 1)]);
        assert!((5..=8).contains(&planned[0].polls), "{planned:?}");
    }
}
