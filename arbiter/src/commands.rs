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

pub(crate) const PROGRAM: Program = Program {
    name: "canister-arbiter",
    version: env!("CARGO_PKG_VERSION"),
    settings,
    prints_json: |words| !matches!(words, [] | ["ca" | "demo" | "policy" | "run"]),
};
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
    Delist(ask::Delist),
    Demo(run::Demo),
    Dispute(ask::Dispute),
    Held(ask::Held),
    Import(import::Import),
    Peers(ask::Peers),
    Plan(ask::Plan),
    Policy(ask::Policy),
    Publications(ask::Publications),
    Reject(ask::Reject),
    Reload(ask::Reload),
    Replay(ask::Replay),
    Run(run::Run),
    Search(search::Search),
    Source(ask::Source),
    Sources(ask::Sources),
    Status(ask::Status),
    Suspend(ask::Suspend),
    Sync(ask::Sync),
    Trust(ask::Trust),
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
    let arbiter = || {
        let state = Settings::state(&mut Reader::new(Settings::TABLE, &given));
        let socket = state.map_err(Failure::Usage)?.join(SOCKET_NAME);
        Ok::<_, Failure>(ask::Arbiter { socket, is_json: given.is_json })
    };
    match arguments.command {
        Command::Accept(accept) => accept.ask(&arbiter()?),
        Command::Allow(allow) => allow.ask(&arbiter()?),
        Command::Announce(announce) => announce.ask(&arbiter()?),
        Command::Approve(approve) => approve.ask(&arbiter()?),
        Command::Backup(backup) => backup::backup(&backup, &mut from),
        Command::Block(block) => block.ask(&arbiter()?),
        Command::Ca(ca) => ca::run(ca, given),
        Command::Config(config) => run::config(&config, &mut from),
        Command::Decisions(decisions) => decisions.ask(&arbiter()?),
        Command::Delist(delist) => delist.ask(&arbiter()?),
        Command::Demo(demo) => run::demo(demo),
        Command::Dispute(dispute) => dispute.ask(&arbiter()?),
        Command::Held(held) => held.ask(&arbiter()?),
        Command::Import(import) => import.ask(&arbiter()?),
        Command::Peers(peers) => peers.ask(&arbiter()?),
        Command::Plan(plan) => plan.ask(&arbiter()?),
        Command::Policy(policy) => policy.ask(&arbiter()?),
        Command::Publications(publications) => publications.ask(&arbiter()?),
        Command::Reject(reject) => reject.ask(&arbiter()?),
        Command::Reload(reload) => reload.ask(&arbiter()?),
        Command::Replay(replay) => replay.ask(&arbiter()?),
        Command::Run(run::Run {}) => run::run(&mut from),
        Command::Search(search) => search::search(&search, &mut from),
        Command::Source(source) => source.ask(&arbiter()?),
        Command::Sources(sources) => sources.ask(&arbiter()?),
        Command::Status(status) => status.ask(&arbiter()?),
        Command::Suspend(suspend) => suspend.ask(&arbiter()?),
        Command::Sync(sync) => sync.ask(&arbiter()?),
        Command::Trust(trust) => trust.ask(&arbiter()?),
    }
}
