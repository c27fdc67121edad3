//! Canister's arbiter.
pub mod ca;
