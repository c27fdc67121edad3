//! All tests of both programs together, in one program, so that it is linked once and a test that waits
//! leaves its time to others.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test's panic is its report, and measured figures are worth seeing"
)]

/// What compares times: these run after all others, for eight at a time keep the machine busy.
mod alone {
    mod crowd;
    mod opinions;
}

mod admission;
mod amplification;
mod api;
mod apt;
mod arbiters;
mod belief;
mod catalogue;
mod checks;
mod clock;
mod control;
mod decisions;
mod demo;
mod direct;
mod disk;
mod door;
mod failures;
mod families;
mod home;
mod homes;
mod hostile;
mod index;
mod joining;
mod kill;
mod ledger;
mod liar;
mod lint;
mod monitoring;
mod networks;
mod operator;
mod origin;
mod outage;
mod owners;
mod packaging;
mod page;
mod postgres;
mod programs;
mod promise;
mod proxies;
mod public;
mod renewal;
mod role;
mod rules;
mod service;
mod settle;
mod signatures;
mod slow_store;
mod soak;
mod store;
mod store_postgres;
mod tidy;
mod traffic;
mod upgrade;
mod usage;
mod wild;
mod world;
