//! Any bytes give the same Release however they come, and only digests that are some.

#![no_main]

#[path = "../../agent/tests/wild/properties.rs"]
#[allow(dead_code, reason = "each target uses one")]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::release(bytes));
