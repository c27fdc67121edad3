//! stub
use crate::{fetch::FetchConfig, sink::Sink};
use canister_protocol::{
    Source,
    message::{Blame, Cost, Origin, Outcome},
};
use std::sync::{Arc, atomic::AtomicBool};
pub struct Context;
impl Context {
    pub fn new(_: &FetchConfig) -> Result<Self, String> {
        Ok(Self)
    }
    pub fn of_lease(&self, _: Arc<AtomicBool>) -> Self {
        Self
    }
}
pub fn run(_: &Source, _: Option<&Origin>, _: &Context, _: &mut dyn Sink) -> (Outcome, Cost) {
    (
        Outcome::Failed {
            blame: Blame::Peer,
            reason: String::new(),
        },
        Cost::default(),
    )
}
