//! Canister's arbiter: tells peers what to index and publishes what they found.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`arbiter`] | wiring: opens, starts and stops everything |
//! | [`grant`], [`clean`] | expire, grant, sleep; delete what is gone for long |
//! | [`hub`] | what everything in a running arbiter needs: store, time, sessions, rules in force |
//! | [`door`], [`session`], [`sessions`] | who is let in; a peer's session; who is connected |
//! | [`turns`], [`alive`] | whose message is next; which leases live though the store may not know |
//! | [`schedule`] | when a source is due, and who comes first |
//! | [`politeness`] | who runs a server, and how the network keeps its distance |
//! | [`sources`], [`lists`], [`download`] | the source list, read as a stream; all lists, read again and again; from a web server |
//! | [`settle`], [`rules`], [`brake`] | the one way in which the rules in force change; what they make of the sources; what is held |
//! | [`store`], [`store_thread`] | what must not be forgotten, behind a thread of its own |
//! | [`public`] | the listener for everybody: status, health, metrics, announcements |
//! | [`announce`], [`rate`] | taking in announcements; how often anybody may |
//! | [`policy`], [`entry`] | who may be indexed, and who may announce for whom; what names sources |
//! | [`decision`] | what the operator said, which outranks what is measured |
//! | [`revocations`], [`renewal`] | what the authority took back; what it renews over a session |
//! | [`admin`], [`report`] | the operator's socket; what commands print |
//! | [`demo`], [`apt_sources`] | the whole path on one machine |
//! | [`config`], [`timestamp`] | settings; a moment as a value |

#![allow(missing_docs, reason = "nobody publishes it: docs stand where they say more than a name")]

pub mod admin;
pub mod alive;
pub mod announce;
pub mod announcement;
pub mod apt_sources;
pub mod arbiter;
pub mod brake;
pub mod clean;
pub mod config;
pub mod decision;
pub mod demo;
pub mod door;
pub mod download;
pub mod entry;
pub mod grant;
pub mod hub;
pub mod lists;
pub mod lookup;
pub mod policy;
pub mod politeness;
pub mod public;
pub mod rate;
pub mod renewal;
pub mod report;
pub mod revocations;
pub mod rules;
pub mod schedule;
pub mod session;
pub mod sessions;
pub mod settle;
pub mod sources;
pub mod store;
pub mod store_thread;
pub mod timestamp;
pub mod turns;

/// The program and its version, as it is told to peers and shown.
pub const PROGRAM: &str = concat!("canister-arbiter/", env!("CARGO_PKG_VERSION"));
