//! Who may say what when. One value for each side of a connection; it sees what arrives and says
//! whether it is allowed. It holds no lease: whether a lease is still alive is the arbiter's
//! business, and an answer of its own ([`ToPeer::Refused`]).
//!
//! ```text
//!  peer                                   arbiter
//!   │ greeting ── Hello ───────────────▶ greeting
//!   │          ◀────────────── Welcome ── steady
//!  steady ── Offer Writes Renew Known Put Dropped Discard Priced Prices Finish GiveBack
//!            Announce Renewal Leave ─────────▶ │
//!         ◀── Grant Renewed Digests PricedIds Taken Finished Refused Revoked ──
//!         ◀── Certificate NoCertificate Record Wish Left ──
//!   │          ◀───────────── Draining ── draining     (no Grant any more; all else goes on)
//!  draining                               │
//!   └────────── close ────────────────────┘            (leases outlive the session)
//! ```
//!
//! A peer that only wants to know what may be asked of it says Plan instead of Hello, hears Planned, and
//! the session is over.
//!
//! A message that is not allowed ends the session: the other side is broken or hostile, and
//! guessing what it meant would be worse than its reconnecting.

use crate::error::Error;
use crate::limits::PROTOCOL;
use crate::message::{ToArbiter, ToPeer};

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Connected; the peer hasn't said Hello, or the arbiter not yet Welcome.
    Greeting,
    /// Both have; work goes on.
    Steady,
    /// The arbiter is about to stop; no new leases.
    Draining,
}

impl Phase {
    const fn name(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::Steady => "steady",
            Self::Draining => "draining",
        }
    }
}

/// The arbiter's side: judges what a peer sends.
#[derive(Debug)]
pub struct ArbiterSide(Phase);

/// The peer's side: judges what the arbiter sends.
#[derive(Debug)]
pub struct PeerSide(Phase);

impl Default for ArbiterSide {
    fn default() -> Self {
        Self(Phase::Greeting)
    }
}

impl ArbiterSide {
    /// Takes note of an arrived message.
    ///
    /// # Errors
    /// [`Error::Unexpected`] or [`Error::Incompatible`]: close the session.
    pub fn arrived(&mut self, message: &ToArbiter) -> Result<(), Error> {
        match (self.0, message) {
            (Phase::Greeting, ToArbiter::Hello { protocol, .. }) => {
                compatible(*protocol)?;
                self.0 = Phase::Steady;
                Ok(())
            }
            // Nothing follows it.
            (Phase::Greeting, ToArbiter::Plan { protocol, .. }) => compatible(*protocol),
            (Phase::Greeting, _) | (_, ToArbiter::Hello { .. } | ToArbiter::Plan { .. }) => {
                Err(Error::Unexpected { message: message.name(), phase: self.0.name() })
            }
            (Phase::Steady | Phase::Draining, _) => Ok(()),
        }
    }
}

impl Default for PeerSide {
    fn default() -> Self {
        Self(Phase::Greeting)
    }
}

impl PeerSide {
    /// Takes note of an arrived message.
    ///
    /// # Errors
    /// [`Error::Unexpected`] or [`Error::Incompatible`]: close the session.
    pub fn arrived(&mut self, message: &ToPeer) -> Result<(), Error> {
        match (self.0, message) {
            (Phase::Greeting, ToPeer::Welcome { protocol, .. }) => {
                compatible(*protocol)?;
                self.0 = Phase::Steady;
                Ok(())
            }
            (Phase::Greeting, ToPeer::Draining {}) | (Phase::Steady, ToPeer::Draining {}) => {
                self.0 = Phase::Draining;
                Ok(())
            }
            (Phase::Greeting, ToPeer::Planned { .. }) => Ok(()),
            (Phase::Greeting, _)
            | (_, ToPeer::Welcome { .. } | ToPeer::Planned { .. })
            | (Phase::Draining, ToPeer::Grant { .. } | ToPeer::Draining {}) => {
                Err(Error::Unexpected { message: message.name(), phase: self.0.name() })
            }
            (Phase::Steady | Phase::Draining, _) => Ok(()),
        }
    }
}

fn compatible(theirs: u32) -> Result<(), Error> {
    if theirs == PROTOCOL { Ok(()) } else { Err(Error::Incompatible { theirs, ours: PROTOCOL }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(protocol: u32) -> ToArbiter {
        ToArbiter::Hello {
            protocol,
            mapping: None,
            public_name: None,
            never: None,
            obeys: None,
            agent: "test".into(),
            leases: vec![],
        }
    }

    fn welcome() -> ToPeer {
        ToPeer::Welcome {
            protocol: PROTOCOL,
            arbiter: "test".into(),
            peer: "p1".into(),
            leases: vec![],
            lease_secs: 60,
        }
    }

    fn grant() -> ToPeer {
        ToPeer::Grant {
            audit: None,
            paths: None,
            lease: 1,
            source: crate::Source::default(),
            origin: None,
            retry: None,
            bytes_max: None,
            looks: None,
            publisher: None,
            owner: None,
            request: None,
            pause_millis: None,
            probed: None,
            operator: None,
        }
    }

    #[test]
    fn a_peer_says_hello_first_and_once() {
        let offer = ToArbiter::Offer { reaches: None, bytes: None, slots: 1 };
        let mut side = ArbiterSide::default();
        assert_eq!(
            side.arrived(&offer),
            Err(Error::Unexpected { message: "Offer", phase: "greeting" })
        );
        assert_eq!(side.arrived(&hello(PROTOCOL)), Ok(()));
        assert_eq!(side.arrived(&offer), Ok(()));
        assert_eq!(
            side.arrived(&hello(PROTOCOL)),
            Err(Error::Unexpected { message: "Hello", phase: "steady" })
        );
    }

    #[test]
    fn another_protocol_is_incompatible() {
        let incompatible = Err(Error::Incompatible { theirs: 99, ours: PROTOCOL });
        assert_eq!(ArbiterSide::default().arrived(&hello(99)), incompatible);
    }

    #[test]
    fn an_arbiter_welcomes_first_and_grants_nothing_while_draining() {
        let mut side = PeerSide::default();
        assert!(side.arrived(&grant()).is_err());
        assert_eq!(side.arrived(&welcome()), Ok(()));
        assert!(side.arrived(&welcome()).is_err());
        assert_eq!(side.arrived(&grant()), Ok(()));
        assert_eq!(side.arrived(&ToPeer::Draining {}), Ok(()));
        assert_eq!(side.arrived(&ToPeer::Taken { lease: 1, number: 1 }), Ok(()));
        assert!(side.arrived(&grant()).is_err());
    }
}
