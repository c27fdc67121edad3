//! Which peers are connected, what they offered and hold, and what is being done for them. Values
//! only: the sessions' tasks and the loop share one of these.

use crate::rules::model::SessionState;
use crate::rules::revocations::Id;
use crate::rules::timestamp::Timestamp;
use crate::rules::turns::About;
use canister_link::websocket::Outbox;
use canister_protocol::Veto;
use canister_protocol::address::AddressFamilies;
use smol::channel::Sender;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The connected peers, by name.
#[derive(Default)]
pub struct Sessions {
    sessions: BTreeMap<String, Session>,
    sessions_begun: u64,
    /// Leases that were granted.
    grants: u64,
    /// What comes of the records of peers, where they get less than they offer, in words: it outlives
    /// their sessions.
    records: BTreeMap<String, String>,
    /// When each peer last asked what may be asked of it.
    planned: BTreeMap<String, Timestamp>,
    /// What is worked on for whom: it outlives the session that asked for it.
    under_way: BTreeMap<String, BTreeSet<About>>,
}

/// How often a peer is told what may be asked of it.
const PLAN_EVERY: Duration = Duration::from_secs(10);
/// How many leases a peer keeps whoever waits.
const SHARE_MIN: usize = 2;

/// What [`Session::writes`] is of a peer that writes into the database itself.
pub const DIRECT: &str = "direct";
/// What it is of one that doesn't, or hasn't said so yet; a colon and the reason may follow.
pub const RELAYED: &str = "relayed";

/// One connected peer.
pub struct Session {
    /// Tells it from an earlier session of the same peer.
    pub id: u64,
    /// What is to be said to the peer.
    pub outbox: Outbox,
    /// Ends the session's task, with a close code and a reason: [`tell_end`](Self::tell_end).
    pub end: Sender<(u16, String)>,
    /// Whether it was told to end: it is granted nothing any more.
    pub is_ending: bool,
    /// Tells the session's task that what was worked on is done.
    pub done: Sender<About>,
    /// Leases it is willing to hold at once.
    pub slots: usize,
    /// How many of them it is granted by its record; and until when none.
    pub share: usize,
    pub rests_until: Option<Timestamp>,
    /// The number of its last grant among all: the longer ago, the less.
    pub last_grant: u64,
    /// Leases it holds, and when each was granted, as far as is known here, and last renewed.
    pub leases: BTreeMap<u64, (Timestamp, Timestamp)>,
    /// Which families of addresses lead out of its home, as it says.
    pub reaches: AddressFamilies,
    /// Most bytes that its owner lets a lease fetch, and what is never asked.
    pub bytes: Option<u64>,
    pub never: Arc<Veto>,
    /// From when on its program is too old to be granted anything.
    pub too_old_from: Option<Timestamp>,
    /// Whether it does what the operator wishes; none if it can't be told.
    pub obeys: Option<bool>,
    /// How it writes its rows: [`DIRECT`], or [`RELAYED`] and why.
    pub writes: String,
    /// Where it comes from, for the operator only.
    pub address: String,
    /// Its certificate and those of its issuers that it showed, as a revocation list names them.
    pub chain: Rc<[Id]>,
    /// When its certificate ends, in seconds since 1970; the newest, if it was renewed.
    pub ends: u64,
}

impl Session {
    /// Tells the session to end; only the first of several reasons counts.
    pub fn tell_end(&mut self, code: u16, reason: &str) {
        self.is_ending = true;
        let _ = self.end.try_send((code, reason.to_owned()));
    }

    /// What its owner allows: bytes of a lease, and what is never asked.
    pub fn bounds(&self) -> (Option<u64>, Arc<Veto>) {
        (self.bytes, Arc::clone(&self.never))
    }

    /// What others want to know of it.
    pub fn said(&self) -> SessionState {
        SessionState {
            arbiter: String::new(),
            address: self.address.clone(),
            slots: u32::try_from(self.slots).unwrap_or(u32::MAX),
            writes: self.writes.clone(),
            reaches: self.reaches,
        }
    }
}

impl Sessions {
    /// Adds a session and returns its id. A session under the same name is told to end: a dead
    /// connection never blocks its owner.
    pub fn join(&mut self, name: &str, session: impl FnOnce(u64) -> Session) -> u64 {
        self.sessions_begun += 1;
        let id = self.sessions_begun;
        if let Some(mut old) = self.sessions.insert(name.to_owned(), session(id)) {
            old.tell_end(1008, "another session of this peer began");
        }
        id
    }

    /// Removes a session and returns it, unless a newer one has taken its place.
    pub fn leave(&mut self, name: &str, id: u64) -> Option<Session> {
        self.session(name, id)?;
        self.sessions.remove(name)
    }

    /// Something is worked on for a peer.
    pub fn begins(&mut self, name: &str, of: About) {
        self.under_way.entry(name.to_owned()).or_default().insert(of);
    }

    /// It is done; the peer's session hears of it.
    pub fn done(&mut self, name: &str, of: About) {
        if let Some(under_way) = self.under_way.get_mut(name) {
            under_way.remove(&of);
            if under_way.is_empty() {
                self.under_way.remove(name);
            }
        }
        if let Some(session) = self.sessions.get(name) {
            let _ = session.done.try_send(of);
        }
    }

    /// What is worked on for a peer.
    pub fn under_way(&self, name: &str) -> BTreeSet<About> {
        self.under_way.get(name).cloned().unwrap_or_default()
    }

    /// Whether nothing is worked on for anybody.
    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Whether a peer may be told what may be asked of it: it costs the store a look at all sources.
    pub fn may_plan(&mut self, name: &str, now: Timestamp) -> bool {
        self.planned.retain(|_, last| *last <= now && now.since(*last) < PLAN_EVERY);
        let may = !self.planned.contains_key(name);
        if may {
            self.planned.insert(name.to_owned(), now);
        }
        may
    }

    /// The session of a peer, if it is the one meant.
    pub fn session(&mut self, name: &str, id: u64) -> Option<&mut Session> {
        self.sessions.get_mut(name).filter(|session| session.id == id)
    }

    /// The session of a peer, whichever.
    pub fn by_name(&mut self, name: &str) -> Option<&mut Session> {
        self.sessions.get_mut(name)
    }

    /// All sessions by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Session)> {
        self.sessions.iter().map(|(name, session)| (&**name, session))
    }

    /// All sessions by name, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Session)> {
        self.sessions.iter_mut().map(|(name, session)| (&**name, session))
    }

    /// A lease was granted to a peer.
    pub fn granted(&mut self, name: &str, id: u64, token: u64, now: Timestamp) {
        self.grants += 1;
        let grants = self.grants;
        if let Some(session) = self.session(name, id) {
            session.leases.insert(token, (now, now));
            session.last_grant = grants;
        }
    }

    /// What comes of a peer's record, in words, where it gets less than it offers.
    pub fn record(&self, name: &str) -> Option<&str> {
        self.records.get(name).map(String::as_str)
    }

    /// Remembers what comes of a peer's record; what it was before.
    pub fn set_record(&mut self, name: &str, why: Option<String>) -> Option<String> {
        match why {
            Some(why) => self.records.insert(name.to_owned(), why),
            None => self.records.remove(name),
        }
    }

    /// The peer that should get the next leases, and how many: one with a free slot and none of `idle`, and
    /// of those the one with the fewest leases, and of those the one whose last grant is longest ago;
    /// `None` if no slot is free. It gets its free slots' share among so many: so few calls of the store fill
    /// all, and nobody takes what others could. One that rests, is too old, or was told to end, has none. Where nothing is due, only
    /// those in doubt come: they are tried by what isn't.
    pub fn next_free(
        &self,
        idle: &HashSet<String>,
        is_any_due: bool,
        now: Timestamp,
    ) -> Option<(&str, &Session, usize)> {
        let free = |session: &Session| {
            session.slots.min(session.share).saturating_sub(session.leases.len())
        };
        let is_free = |session: &Session| {
            !session.is_ending
                && (is_any_due || session.share < usize::MAX)
                && session.rests_until <= Some(now)
                && session.too_old_from.is_none_or(|from| now < from)
                && free(session) > 0
        };
        let may = |(name, session): &(&str, &Session)| is_free(session) && !idle.contains(*name);
        let (name, session) = self
            .iter()
            .filter(may)
            .min_by_key(|(_, session)| (session.leases.len(), session.last_grant))?;
        let among = self.iter().filter(may).count();
        Some((name, session, (free(session) / among).max(1)))
    }

    /// Those leases of a peer that aren't renewed any more: while another peer that would take one has
    /// none, nobody keeps more than a quarter of all leases that were granted before `since`, and at
    /// least two. The oldest go.
    pub fn beyond_share(&self, name: &str, since: Timestamp) -> BTreeSet<u64> {
        let waits = |(other, session): (&str, &Session)| {
            other != name && !session.is_ending && session.slots > 0 && session.leases.is_empty()
        };
        let has_many = |session: &&Session| session.leases.len() > SHARE_MIN;
        let session = self.sessions.get(name).filter(has_many);
        let Some(session) = session.filter(|_| self.iter().any(waits)) else {
            return BTreeSet::new();
        };
        let all: usize = self.iter().map(|(_, session)| session.leases.len()).sum();
        let beyond = session.leases.len().saturating_sub((all / 4).max(SHARE_MIN));
        let old = session.leases.iter().filter(|(_, (granted, _))| *granted <= since);
        // A token is the higher the later.
        old.map(|(token, _)| *token).take(beyond).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn join(
        sessions: &mut Sessions,
        name: &str,
        slots: usize,
        leases: &[u64],
    ) -> (u64, smol::channel::Receiver<(u16, String)>) {
        let (end, ended) = smol::channel::bounded(1);
        let id = sessions.join(name, |id| Session {
            id,
            outbox: Outbox::unconnected(),
            end,
            is_ending: false,
            done: smol::channel::unbounded().0,
            slots,
            share: usize::MAX,
            rests_until: None,
            last_grant: 0,
            leases: leases.iter().map(|&lease| (lease, Default::default())).collect(),
            reaches: AddressFamilies::BOTH,
            bytes: None,
            never: Arc::default(),
            too_old_from: None,
            obeys: None,
            writes: RELAYED.to_owned(),
            address: String::new(),
            chain: Rc::new([]),
            ends: u64::MAX,
        });
        (id, ended)
    }

    #[test]
    fn a_second_session_takes_over() {
        let mut sessions = Sessions::default();
        let (first, ended) = join(&mut sessions, "a", 1, &[]);
        let (second, _) = join(&mut sessions, "a", 1, &[]);
        assert_eq!(ended.try_recv().unwrap().0, 1008);
        assert!(sessions.session("a", first).is_none());
        // The first one's end doesn't remove the second.
        assert!(sessions.leave("a", first).is_none());
        assert!(sessions.session("a", second).is_some());
        assert!(sessions.leave("a", second).is_some());
        assert!(sessions.by_name("a").is_none());
    }

    #[test]
    fn what_is_worked_on_outlives_its_session() {
        let mut sessions = Sessions::default();
        let (first, _) = join(&mut sessions, "a", 1, &[]);
        sessions.begins("a", About::Lease(1));
        sessions.begins("a", About::Lease(2));
        sessions.begins("b", About::Lease(1));
        sessions.leave("a", first);
        sessions.done("a", About::Lease(2));
        assert_eq!(sessions.under_way("a"), [About::Lease(1)].into());
        // The next session is told.
        join(&mut sessions, "a", 1, &[]);
        let (done, told) = smol::channel::unbounded();
        sessions.by_name("a").unwrap().done = done;
        sessions.done("a", About::Lease(1));
        assert_eq!(told.try_recv(), Ok(About::Lease(1)));
        assert!(sessions.under_way("a").is_empty() && !sessions.is_idle());
        sessions.done("b", About::Lease(1));
        assert!(sessions.is_idle());
    }

    #[test]
    fn one_that_was_told_to_end_is_granted_nothing() {
        let mut sessions = Sessions::default();
        let (_, ended) = join(&mut sessions, "a", 1, &[]);
        let session = sessions.by_name("a").unwrap();
        session.tell_end(4003, "revoked");
        session.tell_end(1001, "the arbiter stops");
        assert!(sessions.next_free(&HashSet::new(), true, NOW).is_none());
        assert_eq!(ended.try_recv(), Ok((4003, "revoked".to_owned())));
        assert!(ended.try_recv().is_err());
    }

    #[test]
    fn the_least_busy_peer_with_a_free_slot_is_next() {
        let mut sessions = Sessions::default();
        assert!(sessions.next_free(&HashSet::new(), true, NOW).is_none());
        join(&mut sessions, "full", 1, &[1]);
        join(&mut sessions, "none", 0, &[]);
        assert!(sessions.next_free(&HashSet::new(), true, NOW).is_none());
        join(&mut sessions, "busy", 9, &[2, 3]);
        join(&mut sessions, "idle", 2, &[4]);
        assert!(sessions.next_free(&HashSet::new(), false, NOW).is_none());
        assert_eq!(
            sessions.next_free(&HashSet::new(), true, NOW).map(|(name, ..)| name),
            Some("idle")
        );
        let next = sessions.next_free(&["idle".to_owned()].into(), true, NOW);
        // Its seven free slots are for nobody else.
        assert_eq!(next.map(|(name, _, slots)| (name, slots)), Some(("busy", 7)));
    }

    #[test]
    fn among_equals_the_one_whose_last_grant_is_longest_ago_is_next() {
        let mut sessions = Sessions::default();
        for name in ["anna", "ben", "carl"] {
            join(&mut sessions, name, 2, &[]);
        }
        let mut granted = BTreeMap::new();
        for token in 0..30 {
            let (name, session, _) = sessions.next_free(&HashSet::new(), true, NOW).unwrap();
            let (name, id) = (name.to_owned(), session.id);
            sessions.granted(&name, id, token, NOW);
            // It is over at once.
            sessions.session(&name, id).unwrap().leases.clear();
            *granted.entry(name).or_insert(0) += 1;
        }
        assert!(granted.values().all(|&leases| leases == 10), "{granted:?}");
    }

    #[test]
    fn a_peer_gets_what_its_record_gives() {
        let mut sessions = Sessions::default();
        join(&mut sessions, "a", 3, &[1]);
        let session = sessions.by_name("a").unwrap();
        (session.share, session.rests_until) = (1, Some(NOW.plus(Duration::from_secs(5))));
        assert!(sessions.next_free(&HashSet::new(), true, NOW).is_none());
        sessions.by_name("a").unwrap().leases.clear();
        assert!(sessions.next_free(&HashSet::new(), true, NOW).is_none());
        let later = NOW.plus(Duration::from_secs(5));
        assert!(sessions.next_free(&HashSet::new(), false, later).is_some());
        assert!(sessions.next_free(&HashSet::new(), true, later).is_some());
    }

    #[test]
    fn an_old_program_gets_nothing_once_its_notice_is_over() {
        let mut sessions = Sessions::default();
        join(&mut sessions, "a", 1, &[]);
        sessions.by_name("a").unwrap().too_old_from = Some(NOW.plus(Duration::from_millis(1)));
        assert!(sessions.next_free(&HashSet::new(), true, NOW).is_some());
        let later = NOW.plus(Duration::from_millis(1));
        assert!(sessions.next_free(&HashSet::new(), true, later).is_none());
    }

    #[test]
    fn while_another_waits_nobody_keeps_more_than_a_share() {
        let mut sessions = Sessions::default();
        let all: Vec<u64> = (1..=12).collect();
        let _held = join(&mut sessions, "greedy", 64, &all);
        let beyond = |sessions: &Sessions| sessions.beyond_share("greedy", Timestamp::default());
        assert!(beyond(&sessions).is_empty(), "nobody waits");
        let _one = join(&mut sessions, "busy", 1, &[13]);
        let _none = join(&mut sessions, "drains", 0, &[]);
        assert!(beyond(&sessions).is_empty(), "nobody else takes any");
        let _waits = join(&mut sessions, "waits", 1, &[]);
        assert_eq!(beyond(&sessions), (1..=9).collect());
        assert!(sessions.beyond_share("busy", Timestamp::default()).is_empty());
        // What is young stays.
        for (granted, _) in sessions.by_name("greedy").unwrap().leases.values_mut() {
            *granted = Timestamp::from_millis(1);
        }
        assert!(beyond(&sessions).is_empty());
    }
}
