//! `run`, what it would run with (`config`), and all of it on one machine (`demo`).

use super::ask::show;
use super::ca;
use argh::{ArgsInfo, FromArgs};
use canister_arbiter::arbiter;
use canister_arbiter::config::{ArbiterConfig, file};
use canister_arbiter::demo::{self, DemoConfig};
use canister_link::logging;
use canister_link::settings::Reader;
use canister_link::usage::{Failure, Said};
use log::warn;
use serde_json::json;
use std::io;
use std::path::PathBuf;

/// Run the arbiter until SIGTERM.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "run")]
pub(crate) struct Run {}

/// Show each setting that `run` with the same options would have, and where it comes from.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "config")]
pub(crate) struct Config {
    /// print a configuration file with every key and its default instead
    #[argh(switch)]
    example: bool,
}

/// Try everything on this machine: a throw-away authority, an arbiter, two agents, real sources.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "demo")]
pub(crate) struct Demo {
    /// folder for all of it; kept, and used again next time (default: canister-demo)
    #[argh(option, default = "\"canister-demo\".into()")]
    dir: PathBuf,
    /// source list to index instead of this machine's own apt sources: a file
    #[argh(option)]
    sources: Option<PathBuf>,
    /// the database, as for run (default: a file in the folder)
    #[argh(option)]
    database: Option<String>,
    /// the agent's program (default: canister-agent beside this program)
    #[argh(option)]
    agent: Option<PathBuf>,
}

pub(crate) fn run(from: &mut Reader<'_>) -> Said {
    let config = ArbiterConfig::read_from(from).map_err(Failure::Usage)?;
    let authority = match &config.issuer {
        Some(dir) => {
            let authority = ca::open(dir, config.passphrase_file.as_deref())?;
            authority.writable().map_err(Failure::of)?;
            Some(authority)
        }
        None => None,
    };
    logging::start(config.log);
    for told in from.unknown() {
        warn!("{told}");
    }
    arbiter::run(&config, authority).map_err(Failure::of)?;
    Ok(String::new())
}

pub(crate) fn config(config: &Config, from: &mut Reader<'_>) -> Said {
    if config.example {
        return Ok(file::example());
    }
    ArbiterConfig::read_from(from).map_err(Failure::Usage)?;
    let settings = from
        .shown()
        .map(|(flag, from, value)| json!({ "name": flag, "from": from, "value": value }));
    let json = json!({ "settings": settings.collect::<Vec<_>>(), "notes": from.unknown() });
    show(from.given.is_json, &json, |_| from.to_string())
}

pub(crate) fn demo(demo: Demo) -> Said {
    let Demo { dir, sources, database, agent } = demo;
    let config = DemoConfig { dir, sources, database, agent };
    demo::run(&config, &mut io::stderr()).map_err(Failure::of)
}
