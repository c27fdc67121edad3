//! Canister's arbiter: tells peers what to index and publishes what they found.
//!
//! The folders are floors: a module uses those of its own floor and of lower ones.
//!
//! | floor | what is on it |
//! | --- | --- |
//! | [`arbiter`], [`demo`], [`report`] | wiring: opens, starts and stops everything; the whole path on one machine; what commands print |
//! | [`doors`] | where others come in: peers, the operator, everybody |
//! | [`deeds`] | what the arbiter does: grants, settles, announces, cleans |
//! | [`hub`] | what all of these need: store, time, sessions, rules in force |
//! | [`config`] | every setting |
//! | [`store`] | what must not be forgotten |
//! | [`rules`] | decisions as functions of values |

#![allow(missing_docs, reason = "nobody publishes it: docs stand where they say more than a name")]

pub mod apt_sources;
pub mod arbiter;
pub mod config;
pub mod deeds;
pub mod demo;
pub mod doors;
pub mod hub;
pub mod report;
pub mod rules;
pub mod store;

/// The program and its version, as it is told to peers and shown.
pub const PROGRAM: &str = concat!("canister-arbiter/", env!("CARGO_PKG_VERSION"));
