//! Which peers are connected, what they offered and hold, and what is being done for them. Values
//! only: the sessions' tasks and the loop share one of these.

use crate::rules::model::SessionState;
use crate::rules::revocations::Id;
use crate::rules::timestamp::Timestamp;
use crate::rules::turns::About;
use canister_link::websocket::Outbox;
use canister_protocol::address::AddressFamilies;
use smol::channel::Sender;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

/// The connected peers, by name.
#[derive(Default)]
pub struct Sessions {
    sessions: BTreeMap<String, Session>,
    sessions_begun: u64,
    /// What is worked on for whom: it outlives the session that asked for it.
    under_way: BTreeMap<String, BTreeSet<About>>,
}

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
    /// Leases it holds, and when each was granted or last renewed.
    pub leases: BTreeMap<u64, Timestamp>,
    /// Which families of addresses lead out of its home, as it says.
    pub reaches: AddressFamilies,
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

    /// The peer that should get the next lease: one with a free slot and none of `idle`, and of
    /// those the one with the fewest leases; `None` if no slot is free. One that was told to end
    /// has none.
    pub fn next_free(&self, idle: &HashSet<String>) -> Option<(&str, &Session)> {
        let is_free =
            |session: &Session| !session.is_ending && session.leases.len() < session.slots;
        self.iter()
            .filter(|(name, session)| is_free(session) && !idle.contains(*name))
            .min_by_key(|(_, session)| session.leases.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            leases: leases.iter().map(|&lease| (lease, Timestamp::default())).collect(),
            reaches: AddressFamilies::BOTH,
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
        assert!(sessions.next_free(&HashSet::new()).is_none());
        assert_eq!(ended.try_recv(), Ok((4003, "revoked".to_owned())));
        assert!(ended.try_recv().is_err());
    }

    #[test]
    fn the_least_busy_peer_with_a_free_slot_is_next() {
        let mut sessions = Sessions::default();
        assert!(sessions.next_free(&HashSet::new()).is_none());
        join(&mut sessions, "full", 1, &[1]);
        join(&mut sessions, "none", 0, &[]);
        assert!(sessions.next_free(&HashSet::new()).is_none());
        join(&mut sessions, "busy", 9, &[2, 3]);
        join(&mut sessions, "idle", 2, &[4]);
        assert_eq!(sessions.next_free(&HashSet::new()).map(|(name, _)| name), Some("idle"));
        let next = sessions.next_free(&["idle".to_owned()].into());
        assert_eq!(next.map(|(name, _)| name), Some("busy"));
    }
}
