//! What end-to-end tests need: a server of sources that can misbehave, real APT repositories, and
//! the real programs as child processes. The tests are in `tests/`.
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`origin`] | an HTTP server of sources on a port of its own, with faults on request |
//! | [`acts`] | what an operator does, done to a store |
//! | [`api`] | what the Canister API asks of the database |
//! | [`arbiters`] | several arbiters on one database |
//! | [`browser`] | Chromium, and what it makes of a page |
//! | [`direct`] | a network whose peers write into PostgreSQL themselves |
//! | [`apt`] | APT repositories made and read by the real tools |
//! | [`index`] | `canister-agent index`, run to its end |
//! | [`network`] | an authority, an arbiter and agents, all real |
//! | [`openssl`] | the real openssl, and what it says of an authority's files |
//! | [`own_network`] | tests in a network of their own |
//! | [`peer`] | a peer whose every word the test chooses |
//! | [`postgres`] | PostgreSQL clusters of the test's own |
//! | [`proxy`] | an HTTP proxy that remembers what it was asked |
//! | [`random`] | chance that can be repeated |
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

pub mod acts;
pub mod api;
pub mod apt;
pub mod arbiters;
pub mod browser;
pub mod direct;
pub mod index;
pub mod network;
pub mod openssl;
pub mod origin;
pub mod own_network;
pub mod peer;
pub mod postgres;
pub mod programs;
pub mod proxy;
#[path = "../../protocol/tests/common/random.rs"]
pub mod random;
pub mod web;
pub mod world;
