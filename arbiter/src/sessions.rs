//! Which peers are connected, what they offered and hold. Values only: the sessions' tasks and the
//! loop share one of these.

use crate::revocations::Id;
use canister_link::websocket::Outbox;
use smol::channel::Sender;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

/// The connected peers, by name.
#[derive(Default)]
pub struct Sessions {
    sessions: BTreeMap<String, Session>,
    sessions_begun: u64,
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
    /// Ends the session's task, with a close code and a reason.
    pub end: Sender<(u16, String)>,
    /// Leases it is willing to hold at once.
    pub slots: usize,
    /// Leases it holds.
    pub leases: BTreeSet<u64>,
    /// How it writes its rows: [`DIRECT`], or [`RELAYED`] and why.
    pub writes: String,
    /// Where it comes from, for the operator only.
    pub address: String,
    /// Its certificate and those of its issuers that it showed, as a revocation list names them.
    pub chain: Rc<[Id]>,
    /// When its certificate ends, in seconds since 1970; the newest, if it was renewed.
    pub ends: u64,
}

impl Sessions {
    /// Adds a session and returns its id. A session under the same name is told to end: a dead
    /// connection never blocks its owner.
    pub fn join(&mut self, name: &str, session: impl FnOnce(u64) -> Session) -> u64 {
        self.sessions_begun += 1;
        let id = self.sessions_begun;
        if let Some(old) = self.sessions.insert(name.to_owned(), session(id)) {
            let _ = old.end.try_send((1008, "another session of this peer began".to_owned()));
        }
        id
    }

    /// Removes a session, unless a newer one has taken its place; whether it was there.
    pub fn leave(&mut self, name: &str, id: u64) -> bool {
        let is_there = self.session(name, id).is_some();
        if is_there {
            self.sessions.remove(name);
        }
        is_there
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

    /// The peer that should get the next lease: one with a free slot and none of `idle`, and of
    /// those the one with the fewest leases; `None` if no slot is free.
    pub fn next_free(&self, idle: &HashSet<String>) -> Option<(&str, u64)> {
        self.iter()
            .filter(|(name, session)| session.leases.len() < session.slots && !idle.contains(*name))
            .min_by_key(|(_, session)| session.leases.len())
            .map(|(name, session)| (name, session.id))
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
            slots,
            leases: leases.iter().copied().collect(),
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
        sessions.leave("a", first);
        assert!(sessions.session("a", second).is_some());
        sessions.leave("a", second);
        assert!(sessions.by_name("a").is_none());
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
