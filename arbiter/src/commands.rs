//! The commands, and the settings that each takes beside its own options.
//!
//! | module | commands |
//! | --- | --- |
//! | [`run`] | `run`, `config`, `demo` |
//! | [`ask`] | all that talk to the running arbiter over the operator's socket |
//! | [`import`] | `import`: what others know of sources |
//! | [`search`] | `search` |
//! | [`backup`] | `backup` |
//! | [`ca`] | `ca`: the certificate authority |

mod ask;
mod backup;
mod ca;
mod import;
mod run;
mod search;

use argh::{ArgsInfo, FromArgs};
use ask::Ask as _;
use canister_arbiter::config::{SOCKET_NAME, Settings};
use canister_link::settings::{Given, Reader, Setting, named};
use canister_link::usage::{Failure, Program, Said};

pub(crate) const PROGRAM: Program =
    Program { name: "canister-arbiter", version: env!("CARGO_PKG_VERSION"), settings };
/// What is told of settings.
const NOTE: &str = "Settings of `run` can be given as environment variables, too: CANISTER_STATE=/srv \
    is --state /srv, CANISTER_TRUST_ANNOUNCEMENTS=yes is --trust-announcements. The option wins over \
    the variable, the variable over the configuration file.";

/// Canister's arbiter: tells peers what to index and publishes what they found.
#[derive(FromArgs, ArgsInfo)]
pub(crate) struct Arguments {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Command {
    Accept(ask::Accept),
    Allow(ask::Allow),
    Announce(ask::Announce),
    Approve(ask::Approve),
    Backup(backup::Backup),
    Block(ask::Block),
    Ca(ca::Ca),
    Config(run::Config),
    Decisions(ask::Decisions),
    Replay(ask::Replay),
    Publications(ask::Publications),
    Dispute(ask::Dispute),
    Trust(ask::Trust),
    Suspend(ask::Suspend),
    Delist(ask::Delist),
    Demo(run::Demo),
    Held(ask::Held),
    Import(import::Import),
    Peers(ask::Peers),
    Plan(ask::Plan),
    Policy(ask::Policy),
    Reject(ask::Reject),
    Reload(ask::Reload),
    Run(run::Run),
    Search(search::Search),
    Source(ask::Source),
    Sources(ask::Sources),
    Status(ask::Status),
    Sync(ask::Sync),
}

/// The settings that a command takes.
fn settings(words: &[&str]) -> (Vec<&'static Setting>, &'static str) {
    match words {
        [] | ["demo" | "policy"] => (Vec::new(), ""),
        ["ca", words @ ..] => (ca::settings(words), ""),
        ["config" | "run"] => (Settings::TABLE.iter().collect(), NOTE),
        ["backup"] => (named(Settings::TABLE, &backup::SETTINGS), NOTE),
        ["search"] => (named(Settings::TABLE, &search::SETTINGS), NOTE),
        _ => (named(Settings::TABLE, &["state"]), NOTE),
    }
}

pub(crate) fn run(arguments: Arguments, given: Given) -> Said {
    let mut from = Reader::new(Settings::TABLE, &given);
    let socket = || {
        let state = Settings::state(&mut Reader::new(Settings::TABLE, &given));
        state.map(|state| state.join(SOCKET_NAME)).map_err(Failure::Usage)
    };
    match arguments.command {
        Command::Accept(accept) => accept.ask(&socket()?),
        Command::Allow(allow) => allow.ask(&socket()?),
        Command::Announce(announce) => announce.ask(&socket()?),
        Command::Approve(approve) => approve.ask(&socket()?),
        Command::Block(block) => block.ask(&socket()?),
        Command::Ca(ca) => ca::run(ca, given),
        Command::Config(config) => run::config(&config, &mut from),
        Command::Decisions(decisions) => decisions.ask(&socket()?),
        Command::Replay(replay) => replay.ask(&socket()?),
        Command::Publications(publications) => publications.ask(&socket()?),
        Command::Dispute(dispute) => dispute.ask(&socket()?),
        Command::Trust(trust) => trust.ask(&socket()?),
        Command::Suspend(suspend) => suspend.ask(&socket()?),
        Command::Delist(delist) => delist.ask(&socket()?),
        Command::Demo(demo) => run::demo(demo),
        Command::Held(held) => held.ask(&socket()?),
        Command::Import(import) => import.ask(&socket()?),
        Command::Peers(peers) => peers.ask(&socket()?),
        Command::Plan(plan) => plan.ask(&socket()?),
        Command::Policy(policy) => policy.ask(&socket()?),
        Command::Reject(reject) => reject.ask(&socket()?),
        Command::Reload(reload) => reload.ask(&socket()?),
        Command::Run(run::Run {}) => run::run(&mut from),
        Command::Backup(backup) => backup::backup(&backup, &mut from),
        Command::Search(search) => search::search(&search, &mut from),
        Command::Source(source) => source.ask(&socket()?),
        Command::Sources(sources) => sources.ask(&socket()?),
        Command::Status(status) => status.ask(&socket()?),
        Command::Sync(sync) => sync.ask(&socket()?),
    }
}
