//! `canister-arbiter`: its command line. Exit status 0, 1 (failed) or 2 (usage).

mod commands;

use canister_link::usage;
use std::process::ExitCode;

fn main() -> ExitCode {
    usage::main(&commands::PROGRAM, commands::run)
}
