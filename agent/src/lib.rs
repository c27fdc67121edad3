//! Canister's agent: fetches, verifies, unpacks and parses APT repositories as streams, and puts
//! what is new.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`agent`] | the loop: connect, offer slots, take leases, reconnect, drain |
//! | [`work`] | one lease from grant to finish |
//! | [`fetch`] | one capped, conditional, timed download, only from where it may go |
//! | [`unpack`], [`encoding`] | decoders within limits; what servers pack once more |
//! | [`apt`] | the formats: Release, choice of index, package rows |
//! | [`price`] | what paid packages cost |
//! | [`sink`] | where rows go: to the arbiter, into the database, or to a stream of JSON |
//! | [`database`] | the peer's connection to the database |
//! | [`announce`] | telling an arbiter that a source has a new head |
//! | [`index`] | one source without any arbiter |
//! | [`lint`] | what a maintainer wants to know of a repository |
//! | [`join`], [`leave`] | becoming a peer, and being one no more |
//! | [`slots`] | how many leases are at work at once |
//! | [`throttle`] | half a thread |
//! | [`memory`], [`window`] | the memory that decoders may take, and how much each will |
//! | [`ledger`], [`caps`] | what was done for whom; what the owner allows, and what is left of it |
//! | [`dial`] | the way to an arbiter |
//! | [`renewal`], [`pair`] | a new certificate over the session; two files that change as one |
//! | [`plan`] | what may be asked of this peer |
//! | [`check`], [`cgroup`] | whether a run can work, and why not |
//! | [`pulse`] | signs of life |
//! | [`control`], [`status`], [`pause`] | what its owner asks of a running agent |
//! | [`allocator`] | memory that was freed goes back |
//! | [`service`] | the settings that the package's service runs with |
//! | [`backoff`], [`config`] | waiting; every setting |

#![allow(missing_docs, reason = "nobody publishes it: docs stand where they say more than a name")]

pub mod agent;
pub mod allocator;
pub mod announce;
pub mod apt;
pub mod backoff;
pub mod caps;
pub mod cgroup;
pub mod check;
pub mod compression;
pub mod config;
pub mod control;
pub mod database;
pub mod dial;
pub mod encoding;
pub mod fetch;
pub mod follow;
pub mod home;
pub mod index;
pub mod join;
mod known;
pub mod leave;
pub mod ledger;
pub mod lint;
pub mod memory;
pub mod pair;
pub mod pause;
pub mod plan;
pub mod price;
pub mod pulse;
pub mod renewal;
pub mod service;
pub mod sink;
pub mod slots;
pub mod status;
pub mod throttle;
pub mod unpack;
pub mod way;
pub mod window;
pub mod work;

/// The program and its version, as it is told to arbiters.
pub const PROGRAM: &str = concat!("canister-agent/", env!("CARGO_PKG_VERSION"));
