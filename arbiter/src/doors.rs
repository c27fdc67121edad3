//! The doors: where others come in. None of them waits for the store longer than its own time.
//!
//! | module | who comes |
//! | --- | --- |
//! | [`door`], [`session`] | peers: who is let in and who must leave; one peer's session |
//! | [`admin`] | the operator, over a Unix socket |
//! | [`entrance`] | whoever connects to a listener; who gives way where there is no room |
//! | [`public`] | everybody: status page, health, metrics, announcements |

pub mod admin;
pub mod door;
pub mod entrance;
pub mod public;
pub mod session;
