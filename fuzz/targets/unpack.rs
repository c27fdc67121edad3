//! Any bytes unpack to the same however they come, within the limits, or to an error.

#![no_main]

#[path = "../../agent/tests/wild/properties.rs"]
#[allow(dead_code, reason = "each target uses one")]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::unpack(bytes));
