//! The deeds: what a running arbiter does, of itself or because somebody asked for it.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`grant`] | the loop: tell the store which leases live, expire, grant, sleep |
//! | [`settle`] | the one way in which the rules in force change: an act, in its turn |
//! | [`lists`], [`download`] | reading the source list and the block lists, again and again |
//! | [`advertise`] | publishing the catalogue's heads for those who follow by IPNI |
//! | [`announce`] | taking in announcements, whoever brings them |
//! | [`pass_on`] | sending announcements to other arbiters and to IPNI indexers |
//! | [`join`] | taking in who wants to become a peer |
//! | [`lookup`] | where the sources' servers are |
//! | [`renewal`] | renewing peers' certificates; keeping the revocation list young |
//! | [`alerts`] | telling the operator what is wrong, and that it is over |
//! | [`room`] | the room on the embedded store's disk |
//! | [`trust`] | what a suspension brings with it |
//! | [`clean`] | deleting what is gone for long |

pub mod advertise;
pub mod alerts;
pub mod announce;
pub mod clean;
pub mod download;
pub mod grant;
pub mod join;
pub mod lists;
pub mod lookup;
pub mod pass_on;
pub mod renewal;
pub mod room;
pub mod settle;
pub mod trust;
