//! Canister's agent.
pub mod backoff;
pub mod clock;
pub mod identity;
pub mod link;
pub mod logging;
