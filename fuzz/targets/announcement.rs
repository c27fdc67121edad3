//! Any bytes give an announcement within its limits or a short reason.

#![no_main]

#[path = "../../arbiter/tests/announcement/property.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::announcement(bytes));
