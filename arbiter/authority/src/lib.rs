//! Canister's certificate authority: who is a peer, who is an arbiter, and who no longer.
//!
//! ```text
//!  root ── signs, rarely ──▶ issuing ── signs, daily ──▶ peers, arbiters, database servers
//!    └─ its revocations       └─ its revocations
//! ```
//!
//! | module | what it does |
//! | --- | --- |
//! | [`authority`] | an authority's folder, and what can be done with it |
//! | [`folder`] | where each file is, and the lock against two at once |
//! | [`profile`] | what each kind of certificate says |
//! | [`request`] | reading and judging a signing request |
//! | [`register`] | what was issued, to whom, and what was revoked |
//! | [`revocation`], [`reason`] | revocation lists; the reasons they know |
//! | [`serial`] | serial numbers, and the family that renewals share |
//! | [`passphrase`] | keys encrypted at rest |
//!
//! From a signing request only the public key is taken; the name is the operator's word (or the
//! request's common name, if it is a good one), and every extension is the authority's own.

pub mod authority;
pub mod error;
pub mod folder;
pub mod passphrase;
pub mod profile;
pub mod reason;
pub mod register;
pub mod request;
pub mod revocation;
pub mod serial;

pub use authority::{Authority, Pair};
pub use canister_link::certificate::{NAME_BYTES_MAX, is_name};
pub use error::CaError;
pub use profile::{AUTHORITY_DAYS, DAYS, ISSUER_DAYS};
