//! Canister's arbiter: tells peers what to index and publishes what they found.

pub mod schedule;
pub mod sources;
pub mod store;
pub mod timestamp;
