//! Canister's arbiter: tells peers what to index and publishes what they found.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`arbiter`] | the loop: expire, grant, sleep |
//! | [`link`], [`peers`] | a peer's session; who is connected |
//! | [`schedule`] | when a source is due, and who comes first |
//! | [`sources`], [`refresh`] | the source list, read as a stream; taken in again and again |
//! | [`store`], [`store_thread`] | what must not be forgotten, behind a thread of its own |
//! | [`ca`] | the certificate authority |
//! | [`revocations`], [`renewal`] | what it took back; what it renews over a session |
//! | [`admin`], [`report`] | the operator's socket; what commands print |
//! | [`demo`], [`apt_sources`] | the whole path on one machine |
//! | [`config`], [`timestamp`] | settings; a moment as a value |

pub mod admin;
pub mod apt_sources;
pub mod arbiter;
pub mod ca;
pub mod config;
pub mod demo;
pub mod link;
pub mod peers;
pub mod refresh;
pub mod renewal;
pub mod report;
pub mod revocations;
pub mod schedule;
pub mod sources;
pub mod store;
pub mod store_thread;
pub mod timestamp;
