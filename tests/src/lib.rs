//! What end-to-end tests need: a server of sources that can misbehave, real APT repositories, and
//! the real programs as child processes. The tests are in `tests/`.
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`origin`] | an HTTP server of sources on a port of its own, with faults on request |
//! | [`arbiters`] | several arbiters on one database |
//! | [`direct`] | a network whose peers write into PostgreSQL themselves |
//! | [`apt`] | APT repositories made and read by the real tools |
//! | [`index`] | package indexes, packed, and Releases for them |
//! | [`network`] | an authority, an arbiter and agents, all real |
//! | [`openssl`] | the real openssl, and what it says of an authority's files |
//! | [`peer`] | a peer whose every word the test chooses |
//! | [`postgres`] | PostgreSQL clusters of the test's own |
//! | [`web`] | a client of the public listener |
//! | [`world`] | every source of the real list, simulated, each host on an address of its own |
//! | [`programs`] | the agent and the arbiter as processes; waiting without sleeping |
//!
//! Everything here panics where it cannot do its work: a test's panic is its report.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests measure real time, print what they saw, and report by panicking"
)]

pub mod apt;
pub mod arbiters;
pub mod direct;
pub mod index;
pub mod network;
pub mod openssl;
pub mod origin;
pub mod peer;
pub mod postgres;
pub mod programs;
pub mod web;
pub mod world;
