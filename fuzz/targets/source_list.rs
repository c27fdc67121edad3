//! Any bytes give usable sources or an error.

#![no_main]

#[path = "../../arbiter/tests/source_list/property.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::source_list(bytes));
