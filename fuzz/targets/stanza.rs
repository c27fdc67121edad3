//! Any bytes give the same rows however they come, and never a row that can't be put.

#![no_main]

#[path = "../../agent/tests/wild/properties.rs"]
#[allow(dead_code, reason = "each target uses one")]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::stanza(bytes));
