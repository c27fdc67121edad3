//! How somebody asks to become a peer: one JSON object each way, `POST /join` at the public listener of
//! an arbiter.
//!
//! The same question may be asked again at any time: it is known by the key of its signing request, and
//! answered by what became of it meanwhile.

use crate::codec::Message;
use crate::error::Error;
use crate::error::count;
use crate::limits::{
    CHAIN_BYTES_MAX, CONTACT_BYTES_MAX, JOIN_TOKEN_BYTES_MAX, REQUEST_BYTES_MAX, TEXT_BYTES_MAX,
    WORK_BITS_MAX,
};
use crate::message::{lines, text, up_to_a_day};
use nanoserde::{DeJson, SerJson};
use sha2::{Digest as _, Sha256};

/// Where it is asked.
pub const PATH: &str = "/join";

/// What an applicant says.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct Application {
    /// The signing request in PEM, at most [`REQUEST_BYTES_MAX`]; its common name is the name that is
    /// asked for.
    pub request: String,
    /// How the operator reaches the applicant, at most [`CONTACT_BYTES_MAX`]; may be empty.
    pub contact: String,
    /// What the operator gave to those who may ask, at most [`JOIN_TOKEN_BYTES_MAX`]; may be empty.
    pub token: String,
    /// The number by which [`WorkTask::bits`] is what the arbiter wants.
    pub work: u64,
}

/// What the arbiter answers.
#[derive(Debug, Clone, PartialEq, Eq, DeJson, SerJson)]
pub enum JoinAnswer {
    /// The applicant is a peer.
    Admitted {
        /// Its certificate and behind it those of its issuers, in PEM, at most [`CHAIN_BYTES_MAX`].
        chain: String,
        /// The authority's certificates in PEM, at most [`CHAIN_BYTES_MAX`].
        authority: String,
    },
    /// The operator said no.
    Refused {
        /// Why, in a line; may be empty.
        reason: String,
    },
    /// It must come with a token, and the one that came is none.
    Token {},
    /// The operator hasn't answered yet.
    Waiting {
        /// When to ask again, in seconds: 1 to 86,400.
        again_secs: u32,
    },
    /// It must come with more work.
    Work {
        /// So many [bits](WorkTask::bits), at most [`WORK_BITS_MAX`].
        bits: u32,
    },
}

impl Message for Application {
    fn check(&self) -> Result<(), Error> {
        lines("request", &self.request, REQUEST_BYTES_MAX)?;
        text("contact", &self.contact, CONTACT_BYTES_MAX)?;
        text("token", &self.token, JOIN_TOKEN_BYTES_MAX)
    }
}

impl Message for JoinAnswer {
    fn check(&self) -> Result<(), Error> {
        match self {
            Self::Admitted { chain, authority } => {
                lines("chain", chain, CHAIN_BYTES_MAX)?;
                lines("authority", authority, CHAIN_BYTES_MAX)
            }
            Self::Refused { reason } => text("reason", reason, TEXT_BYTES_MAX),
            Self::Token {} => Ok(()),
            Self::Waiting { again_secs } => up_to_a_day("again_secs", *again_secs),
            Self::Work { bits } => count("bits", *bits as usize, WORK_BITS_MAX as usize),
        }
    }
}

/// What is worked on: the SHA-256 of a signing request as it is sent, so that nobody's work serves
/// another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkTask([u8; 32]);

impl WorkTask {
    /// The task of a signing request.
    pub fn new(request: &str) -> Self {
        Self(Sha256::digest(request.as_bytes()).into())
    }

    /// How many zero bits the SHA-256 of this task and `work` (eight bytes, big-endian) begins with.
    pub fn bits(&self, work: u64) -> u32 {
        let digest = Sha256::new().chain_update(self.0).chain_update(work.to_be_bytes()).finalize();
        let zeros = digest.iter().take_while(|byte| **byte == 0).count();
        let next = digest.get(zeros).map_or(0, |byte| byte.leading_zeros());
        u32::try_from(8 * zeros).unwrap_or(0) + next
    }

    /// The least number with so many bits. Takes two to the power of `bits` attempts, on average.
    pub fn done(&self, bits: u32) -> u64 {
        (0..u64::MAX).find(|work| self.bits(*work) >= bits).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};

    #[test]
    fn what_is_asked_and_answered_is_read_again() {
        let asked = Application { request: "a\nb\n".to_owned(), work: 7, ..Default::default() };
        assert_eq!(decode::<Application>(encode(&asked).as_bytes()).unwrap(), asked);
        for answer in [
            JoinAnswer::Admitted { chain: "a\n".to_owned(), authority: "b\n".to_owned() },
            JoinAnswer::Refused { reason: String::new() },
            JoinAnswer::Token {},
            JoinAnswer::Waiting { again_secs: 5 },
            JoinAnswer::Work { bits: 18 },
        ] {
            assert_eq!(decode::<JoinAnswer>(encode(&answer).as_bytes()).unwrap(), answer);
        }
        for wrong in [
            JoinAnswer::Waiting { again_secs: 0 },
            JoinAnswer::Work { bits: WORK_BITS_MAX + 1 },
            JoinAnswer::Refused { reason: "a\nb".to_owned() },
        ] {
            assert!(decode::<JoinAnswer>(encode(&wrong).as_bytes()).is_err(), "{wrong:?}");
        }
        let long = Application { contact: "x".repeat(CONTACT_BYTES_MAX + 1), ..asked };
        assert!(decode::<Application>(encode(&long).as_bytes()).is_err());
    }

    #[test]
    fn work_is_for_one_request() {
        let (one, other) = (WorkTask::new("one"), WorkTask::new("other"));
        let work = one.done(12);
        assert!(one.bits(work) >= 12 && other.bits(work) < 12);
        assert_eq!(one.done(0), 0);
    }
}
