//! How the whole network treats one operator of sources: one lease at a time, a pause between
//! leases, and distance where a server asks for it. Functions of values and a moment; the store
//! keeps the values, so they hold across arbiters and restarts.
//!
//! | what a peer heard | the peer and the operator | the operator and everybody |
//! | --- | --- | --- |
//! | an answer, whatever it is | friends again | friends again |
//! | 429, or 403 where the source was fine until now | part for `cool_down`, twice that at the next refusal, and so on up to `cool_down_max`; longer where `Retry-After` says so | rest for `rest`, doubled at each further refusal in a row up to `rest_max`: then another peer takes the source. A first 403 gives no rest: a filter on that peer's side says it as well |
//! | 503 with `Retry-After` | — | rest for as long, up to `cool_down_max` |
//! | nothing: the peer failed, or nobody answered | as before | as before |
//!
//! Bans are of a peer's address. So the first refusal ends the lease and all of that peer's with
//! that operator, long before a server counts to three; and the doubling rest keeps the network
//! from spending its peers one after the other.
//!
//! Leases and pauses are of the operator, refusals of its domains one by one: a source's owner may
//! point its name at anybody's addresses and so become one operator with them, and could then send
//! peers away in their name.
//!
//! A 403 of a source that was failing already, or never was indexed, is that source's own matter:
//! object stores say it of a missing file, and one closed repository must not part everybody from
//! the 240 others of its host.

use crate::rules::timestamp::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

/// Most addresses that are remembered of one host.
pub const ADDRESSES_MAX: usize = 16;
/// For how long an address is remembered after it was last seen.
pub const ADDRESS_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What the network keeps to with every operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Politeness {
    /// Least time from the end of one lease to the grant of the next.
    pub pause: Duration,
    /// How long a peer keeps away after its first refusal.
    pub cool_down: Duration,
    /// ... and at most.
    pub cool_down_max: Duration,
    /// How long everybody keeps away after one refusal.
    pub rest: Duration,
    /// ... and at most.
    pub rest_max: Duration,
}

impl Politeness {
    /// How far ahead at most a peer's own distance ends, and everybody's: what lies further was set by a
    /// clock that ran ahead.
    pub fn longest(&self) -> (Duration, Duration) {
        let own = self.cool_down_max.max(self.cool_down);
        (own, own.max(self.rest_max).max(self.rest))
    }
}

impl Default for Politeness {
    fn default() -> Self {
        Self {
            pause: Duration::from_secs(1),
            cool_down: Duration::from_secs(60 * 60),
            cool_down_max: Duration::from_secs(24 * 60 * 60),
            rest: Duration::from_secs(60),
            rest_max: Duration::from_secs(60 * 60),
        }
    }
}

/// What is remembered of an operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Operator {
    /// Whether a peer has a lease of one of its sources.
    pub is_leased: bool,
    /// When the last such lease ended.
    pub last_ended: Option<Timestamp>,
}

/// What is remembered of how one domain's servers took us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distance {
    /// Refusals in a row, of whichever peer.
    pub refusals: u32,
    /// Until when everybody keeps away.
    pub rests_until: Option<Timestamp>,
    /// Peers that were refused, by name.
    pub cooling: BTreeMap<String, Cooling>,
}

/// One peer's distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cooling {
    /// Its refusals in a row.
    pub refusals: u32,
    /// Until when it keeps away.
    pub until: Timestamp,
}

/// What a peer heard of a server during a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// An answer that refuses nobody.
    Answer,
    /// "Nobody", or "not you": and when to come back, if it said.
    Forbidden(Option<Duration>),
    /// Nothing that says anything of the server.
    Nothing,
    /// 503 and when to come back.
    Overloaded(Duration),
    /// "Not you": and when to come back, if it said.
    Refusal(Option<Duration>),
}

/// Whether a lease may be granted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    Grant,
    /// Not before this moment, and then only if nothing else happened.
    NotBefore(Timestamp),
    /// Not while the operator's lease in hand lives.
    WhenEnded,
}

impl Heard {
    /// What a failed lease's HTTP status says. `was_fine`: the source's head was learned at its
    /// last attempt.
    pub const fn from_status(
        status: Option<u32>,
        retry_after: Option<Duration>,
        was_fine: bool,
    ) -> Self {
        match (status, retry_after) {
            (Some(429), retry_after) => Self::Refusal(retry_after),
            (Some(403), retry_after) if was_fine => Self::Forbidden(retry_after),
            (Some(503), Some(retry_after)) => Self::Overloaded(retry_after),
            // A server in trouble is no friend yet.
            (Some(500..), _) | (None, _) => Self::Nothing,
            (Some(_), _) => Self::Answer,
        }
    }
}

/// Whether `peer` may be granted a lease of a source whose operator and domain are these.
///
/// A moment that lies further ahead than any that could have been set `now` was set by a clock
/// that ran ahead: it doesn't count.
pub fn may_grant(
    operator: &Operator,
    distance: &Distance,
    peer: &str,
    now: Timestamp,
    terms: &Politeness,
) -> May {
    if operator.is_leased {
        return May::WhenEnded;
    }
    let paused =
        operator.last_ended.filter(|&ended| ended <= now).map(|ended| ended.plus(terms.pause));
    match paused.max(distance.kept_until(peer, now, terms)) {
        Some(until) if until > now => May::NotBefore(until),
        _ => May::Grant,
    }
}

/// Refusals in a row, of whichever peer, after which a refusal that may mean everybody (403) is the
/// source's own failure.
const DOUBTED: u32 = 3;

impl Distance {
    /// Whether what a peer `heard` says nothing of the source, which is to be tried through another
    /// peer: it was sent away. Many requests (429) always are the peer's matter; a 403 is while few
    /// others got one.
    pub const fn is_sent_away(&self, heard: Heard) -> bool {
        match heard {
            Heard::Refusal(_) => true,
            Heard::Forbidden(_) => self.refusals < DOUBTED,
            Heard::Answer | Heard::Nothing | Heard::Overloaded(_) => false,
        }
    }

    /// Until when `peer` keeps away, for its own sake or with everybody.
    pub fn kept_until(&self, peer: &str, now: Timestamp, terms: &Politeness) -> Option<Timestamp> {
        let own = self.cooling.get(peer).map(|cooling| cooling.until);
        let (own_max, rest_max) = terms.longest();
        let [own, rest] = [(own, own_max), (self.rests_until, rest_max)]
            .map(|(until, most)| until.filter(|until| until.since(now) <= most));
        own.max(rest)
    }

    /// Remembers what `peer` heard in a lease that ended `now`.
    pub fn after(&mut self, peer: &str, heard: Heard, now: Timestamp, terms: &Politeness) {
        match heard {
            Heard::Nothing => {}
            Heard::Answer => {
                self.refusals = 0;
                self.rests_until = None;
                self.cooling.remove(peer);
            }
            Heard::Overloaded(wait) => {
                let until = now.plus(wait.min(terms.cool_down_max));
                self.rests_until = self.rests_until.max(Some(until));
            }
            Heard::Refusal(wait) | Heard::Forbidden(wait) => {
                let is_first = self.refusals == 0 && matches!(heard, Heard::Forbidden(_));
                self.refusals = self.refusals.saturating_add(1);
                if !is_first {
                    let rest = doubled(terms.rest, self.refusals, terms.rest_max);
                    self.rests_until = self.rests_until.max(Some(now.plus(rest)));
                }
                let refusals =
                    self.cooling.get(peer).map_or(1, |cooling| cooling.refusals.saturating_add(1));
                let own = doubled(terms.cool_down, refusals, terms.cool_down_max);
                let wait = wait.unwrap_or_default();
                let until = now.plus(wait.clamp(own, terms.cool_down_max.max(own)));
                self.cooling.insert(peer.to_owned(), Cooling { refusals, until });
            }
        }
    }
}

/// `first` at the first time, twice as much at each further one, `most` at most.
pub(crate) fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    let factor = 1_u32
        .checked_shl(times.saturating_sub(1))
        .filter(|&factor| factor != 0)
        .unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(most.max(first))
}

/// Who runs `host`, as far as its name says: its registrable domain by the part of the public
/// suffix list that registries wrote. The other part, where companies list what they rent out
/// (`github.io`, `s3.amazonaws.com`), would make each customer of a shared server an operator of
/// its own. An address, or a name without a domain, is its own operator.
///
/// Spec: <https://publicsuffix.org/list/>
pub fn domain(host: &str) -> String {
    if host.parse::<IpAddr>().is_ok() {
        return host.to_owned();
    }
    let mut name = host;
    loop {
        let suffix = psl::suffix(name.as_bytes());
        let (length, is_rented) = match &suffix {
            Some(suffix) => (suffix.as_bytes().len(), suffix.typ() == Some(psl::Type::Private)),
            None => return host.to_owned(),
        };
        let above = name.len().saturating_sub(length);
        if !is_rented {
            // One label more than the suffix, where there is one.
            let label = name[..above].trim_end_matches('.').rfind('.');
            return name[label.map_or(0, |dot| dot + 1)..].to_owned();
        }
        // Whoever rents it out is a customer of a registry: look from one label below there.
        let rented = &name[above..];
        let Some((_, parent)) = rented.split_once('.') else {
            return rented.to_owned();
        };
        match psl::suffix(parent.as_bytes()) {
            Some(suffix)
                if suffix.as_bytes().len() == parent.len()
                    && suffix.typ() != Some(psl::Type::Private) =>
            {
                return rented.to_owned();
            }
            _ => name = parent,
        }
    }
}

/// Who runs each of `hosts`, whose addresses are those that were seen: hosts of one domain have one
/// operator, and so have domains with an address in common. It is called by the first of its
/// domains in the alphabet.
pub fn operators<'a>(
    hosts: impl IntoIterator<Item = (&'a str, &'a [IpAddr])>,
) -> HashMap<String, String> {
    let mut of_host = HashMap::new();
    // Which group a domain is in, and the domains of each group.
    let mut group_of: HashMap<String, usize> = HashMap::new();
    let mut groups: Vec<BTreeSet<String>> = Vec::new();
    let mut at_address: HashMap<IpAddr, String> = HashMap::new();
    for (host, addresses) in hosts {
        let domain = domain(host);
        let mut own = *group_of.entry(domain.clone()).or_insert_with(|| {
            groups.push([domain.clone()].into());
            groups.len() - 1
        });
        for address in addresses {
            let first = at_address.entry(address.to_canonical()).or_insert_with(|| domain.clone());
            let other = group_of.get(first).copied().unwrap_or(own);
            if other != own {
                for moved in std::mem::take(&mut groups[own]) {
                    group_of.insert(moved.clone(), other);
                    groups[other].insert(moved);
                }
                own = other;
            }
        }
        of_host.insert(host.to_owned(), domain);
    }
    of_host
        .into_iter()
        .map(|(host, domain)| {
            let first = groups[group_of[&domain]].first().cloned();
            (host, first.unwrap_or(domain))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);

    fn terms() -> Politeness {
        Politeness { pause: 10 * SECOND, ..Politeness::default() }
    }

    fn refused(peers: &[(&str, Timestamp)]) -> Distance {
        let mut distance = Distance::default();
        for (peer, at) in peers {
            distance.after(peer, Heard::Refusal(None), *at, &terms());
        }
        distance
    }

    #[test]
    fn one_lease_at_a_time_and_a_pause_after_it() {
        let free = Distance::default();
        let may = |operator, now| may_grant(&operator, &free, "p", now, &terms());
        let mut operator = Operator::default();
        assert_eq!(may(operator, NOW), May::Grant);
        operator.is_leased = true;
        assert_eq!(may(operator, NOW), May::WhenEnded);
        operator = Operator { is_leased: false, last_ended: Some(NOW) };
        let over = NOW.plus(10 * SECOND);
        assert_eq!(may(operator, NOW), May::NotBefore(over));
        assert_eq!(may(operator, over.minus(Duration::from_millis(1))), May::NotBefore(over));
        assert_eq!(may(operator, over), May::Grant);
        // The clock was set back.
        assert_eq!(may(operator, NOW.minus(SECOND)), May::Grant);
    }

    #[test]
    fn a_403_is_doubted_until_several_peers_got_one() {
        for (refusals, heard, is_sent_away) in [
            (0, Heard::Forbidden(None), true),
            (DOUBTED - 1, Heard::Forbidden(None), true),
            (DOUBTED, Heard::Forbidden(None), false),
            (DOUBTED, Heard::Refusal(None), true),
            (0, Heard::Answer, false),
            (0, Heard::Nothing, false),
        ] {
            let distance = Distance { refusals, ..Distance::default() };
            let is = distance.is_sent_away(heard);
            assert_eq!(is, is_sent_away, "{refusals} {heard:?}");
        }
    }

    #[test]
    fn statuses_say_what_was_heard() {
        let later = Some(5 * SECOND);
        for (status, retry_after, was_fine, heard) in [
            (Some(429), None, true, Heard::Refusal(None)),
            (Some(429), later, false, Heard::Refusal(later)),
            (Some(403), None, true, Heard::Forbidden(None)),
            (Some(403), later, true, Heard::Forbidden(later)),
            (Some(403), None, false, Heard::Answer),
            (Some(503), later, true, Heard::Overloaded(5 * SECOND)),
            (Some(503), None, true, Heard::Nothing),
            (Some(500), later, true, Heard::Nothing),
            (Some(404), None, true, Heard::Answer),
            (Some(200), None, false, Heard::Answer),
            (None, None, true, Heard::Nothing),
        ] {
            let is = Heard::from_status(status, retry_after, was_fine);
            assert_eq!(is, heard, "{status:?} {retry_after:?} {was_fine}");
        }
    }

    #[test]
    fn a_refused_peer_keeps_away_and_another_comes_after_the_rest() {
        let distance = refused(&[("p1", NOW)]);
        let kept = |peer, now| distance.kept_until(peer, now, &terms());
        assert_eq!(kept("p1", NOW), Some(NOW.plus(HOUR)));
        assert_eq!(kept("p2", NOW), Some(NOW.plus(MINUTE)));
        let free = Operator::default();
        let may = |peer, now| may_grant(&free, &distance, peer, now, &terms());
        assert_eq!(may("p2", NOW), May::NotBefore(NOW.plus(MINUTE)));
        assert_eq!(may("p2", NOW.plus(MINUTE)), May::Grant);
        let nearly = NOW.plus(HOUR).minus(Duration::from_millis(1));
        assert_eq!(may("p1", nearly), May::NotBefore(NOW.plus(HOUR)));
        assert_eq!(may("p1", NOW.plus(HOUR)), May::Grant);
    }

    #[test]
    fn distance_doubles_up_to_a_day_and_the_rest_up_to_an_hour() {
        let mut distance = Distance::default();
        let mut now = NOW;
        for (cool_down, rest) in [
            (HOUR, MINUTE),
            (2 * HOUR, 2 * MINUTE),
            (4 * HOUR, 4 * MINUTE),
            (8 * HOUR, 8 * MINUTE),
            (16 * HOUR, 16 * MINUTE),
            (24 * HOUR, 32 * MINUTE),
            (24 * HOUR, HOUR),
            (24 * HOUR, HOUR),
        ] {
            now = now.plus(48 * HOUR);
            distance.after("p", Heard::Refusal(None), now, &terms());
            assert_eq!(distance.kept_until("p", now, &terms()), Some(now.plus(cool_down)));
            assert_eq!(distance.kept_until("q", now, &terms()), Some(now.plus(rest)));
        }
        distance.refusals = u32::MAX;
        distance.after("q", Heard::Refusal(None), now, &terms());
        assert_eq!(distance.kept_until("r", now, &terms()), Some(now.plus(HOUR)));
        // Several peers in a row count together for the rest, each by itself for its distance.
        let distance = refused(&[("a", NOW), ("b", NOW), ("c", NOW)]);
        assert_eq!(distance.kept_until("c", NOW, &terms()), Some(NOW.plus(HOUR)));
        assert_eq!(distance.kept_until("d", NOW, &terms()), Some(NOW.plus(4 * MINUTE)));
    }

    #[test]
    fn retry_after_is_obeyed_within_bounds() {
        for (said, kept) in [(SECOND, HOUR), (5 * HOUR, 5 * HOUR), (Duration::MAX, 24 * HOUR)] {
            let mut distance = Distance::default();
            distance.after("p", Heard::Refusal(Some(said)), NOW, &terms());
            assert_eq!(distance.kept_until("p", NOW, &terms()), Some(NOW.plus(kept)));
        }
        let mut distance = Distance::default();
        distance.after("p", Heard::Overloaded(5 * MINUTE), NOW, &terms());
        for peer in ["p", "q"] {
            assert_eq!(distance.kept_until(peer, NOW, &terms()), Some(NOW.plus(5 * MINUTE)));
        }
        // A shorter one doesn't undercut it.
        distance.after("q", Heard::Overloaded(SECOND), NOW, &terms());
        assert_eq!(distance.kept_until("q", NOW, &terms()), Some(NOW.plus(5 * MINUTE)));
        distance.after("q", Heard::Overloaded(Duration::MAX), NOW, &terms());
        assert_eq!(distance.kept_until("q", NOW, &terms()), Some(NOW.plus(24 * HOUR)));
    }

    #[test]
    fn an_answer_makes_friends_again_and_silence_changes_nothing() {
        let mut distance = refused(&[("p1", NOW), ("p2", NOW)]);
        let before = distance.clone();
        distance.after("p3", Heard::Nothing, NOW, &terms());
        assert_eq!(distance, before);
        distance.after("p3", Heard::Answer, NOW, &terms());
        assert_eq!(distance.kept_until("p3", NOW, &terms()), None);
        // That another is welcome doesn't make a refused one welcome.
        assert_eq!(distance.kept_until("p1", NOW, &terms()), Some(NOW.plus(HOUR)));
        distance.after("p1", Heard::Answer, NOW, &terms());
        assert_eq!(distance.kept_until("p1", NOW, &terms()), None);
        assert_eq!(distance.cooling.len(), 1);
    }

    #[test]
    fn a_first_403_parts_its_peer_and_gives_no_rest() {
        let mut distance = Distance::default();
        distance.after("p", Heard::Forbidden(None), NOW, &terms());
        assert_eq!(distance.kept_until("p", NOW, &terms()), Some(NOW.plus(HOUR)));
        assert_eq!(distance.kept_until("q", NOW, &terms()), None);
        distance.after("q", Heard::Forbidden(None), NOW, &terms());
        assert_eq!(distance.kept_until("r", NOW, &terms()), Some(NOW.plus(2 * MINUTE)));
    }

    #[test]
    fn what_a_clock_ahead_wrote_does_not_count() {
        let distance = refused(&[("p", NOW)]);
        assert_eq!(distance.kept_until("p", NOW.minus(99 * HOUR), &terms()), None);
    }

    #[test]
    fn a_domain_is_what_a_registry_sold() {
        for (host, is) in [
            ("repo.example", "repo.example"),
            ("apt.ios.repo.com", "repo.com"),
            ("repo.co.uk", "repo.co.uk"),
            ("apt.repo.co.uk", "repo.co.uk"),
            ("someone.github.io", "github.io"),
            ("a.someone.github.io", "github.io"),
            ("github.io", "github.io"),
            ("someone.blogspot.co.uk", "blogspot.co.uk"),
            ("bucket.s3.amazonaws.com", "amazonaws.com"),
            ("bucket.s3.eu-west-1.amazonaws.com", "amazonaws.com"),
            ("me.yourepo.com", "yourepo.com"),
            ("co.uk", "co.uk"),
            ("com", "com"),
            ("localhost", "localhost"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("", ""),
        ] {
            assert_eq!(domain(host), is, "{host}");
        }
    }

    #[test]
    fn operators_that_share_an_address_are_one() {
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let (one, two, three) = (address(1), address(2), address(3));
        let both = [one, two];
        let hosts: [(&str, &[IpAddr]); 7] = [
            ("apt.zebra.com", &[one]),
            ("repo.middle.com", &both),
            ("alpha.com", &[two]),
            ("other.com", &[three]),
            ("me.github.io", &[]),
            ("you.github.io", &[address(9)]),
            ("unknown.com", &[]),
        ];
        let right = [
            ("apt.zebra.com", "alpha.com"),
            ("repo.middle.com", "alpha.com"),
            ("alpha.com", "alpha.com"),
            ("other.com", "other.com"),
            ("me.github.io", "github.io"),
            ("you.github.io", "github.io"),
            ("unknown.com", "unknown.com"),
        ];
        // In whatever order they are looked at.
        for start in 0..hosts.len() {
            let turned = hosts[start..].iter().chain(&hosts[..start]).copied();
            let found = operators(turned);
            assert_eq!(found.len(), right.len());
            for (host, operator) in right {
                assert_eq!(found[host], operator, "{host}");
            }
        }
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let found = operators([("a.com", &[one][..]), ("b.com", &[mapped][..])]);
        assert_eq!(found["b.com"], "a.com");
    }
}
