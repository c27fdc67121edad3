//! What a Canister peer and its arbiter must agree on, and nothing else.
//!
//! **In scope**: the messages of both directions and their encoding, who may say what when, every
//! limit, what a source is, what a head is, what a package row is with its digest and its id, and
//! how Debian versions are ordered.
//!
//! **Out of scope**: sockets, files, clocks, threads, async, databases. Everything here is a
//! function of values.
//!
//! | module | what it fixes |
//! | --- | --- |
//! | [`limits`] | every bound, with its unit and its reason |
//! | [`source`] | a source and the paths its layout implies |
//! | [`uri`] | an address: what is asked for, and the place that it means |
//! | [`address`] | which addresses and names are on the public internet |
//! | [`head`] | the CID of a Release |
//! | [`publisher`] | what an owner's IPNI publisher is asked |
//! | [`plain`] | foreign text where people read it |
//! | [`veto`] | what a peer's owner has it never ask |
//! | [`validators`] | by what a server is asked whether a file is still the same |
//! | [`row`] | a package row, its digest, its id |
//! | [`rows`] | many of them, as they travel |
//! | [`version`] | the order-preserving key of a Debian version |
//! | [`database`] | where peers reach the database that they may write to |
//! | [`floor`] | the oldest version of agents that are granted leases |
//! | [`join`] | how somebody asks to become a peer |
//! | [`message`] | what is said, by whom, and what answers it |
//! | [`codec`] | message to bytes and back; total |
//! | [`copy`] | what an arbiter tells of a source to whoever follows its network |
//! | [`audit`] | what a second reading of a source is compared by |
//! | [`session`] | which message is allowed when |
//! | [`error`] | what can be wrong with what arrived |

#![allow(clippy::question_mark, reason = "what nanoserde's derive writes")]

pub mod address;
pub mod audit;
pub mod codec;
pub mod copy;
pub mod database;
pub mod error;
pub mod floor;
pub mod head;
pub mod join;
pub mod limits;
pub mod message;
pub mod owner;
pub mod plain;
pub mod publisher;
pub mod row;
pub mod rows;
pub mod session;
pub mod source;
pub mod span;
pub mod uri;
pub mod validators;
pub mod version;
pub mod veto;

pub use database::Database;
pub use error::Error;
pub use floor::Floor;
pub use head::Head;
pub use message::{ToArbiter, ToPeer};
pub use row::{Digest, PackageRow};
pub use rows::{PackedRows, Rows};
pub use source::Source;
pub use uri::Uri;
pub use veto::Veto;
