//! `canister-agent`: its command line, and what each command does. Exit status 0, 1 (failed) or
//! 2 (usage).

use argh::FromArgs;
use canister_agent::config::{self, Address, RunConfig};
use canister_agent::fetch::{FetchConfig, USER_AGENT};
use canister_agent::identity::Files;
use canister_agent::memory::Mebibytes;
use canister_agent::request::{self, RequestError};
use canister_agent::throttle::Share;
use canister_agent::usage::{self, Failure, Said};
use canister_agent::{agent, check, index, logging};
use canister_protocol::Source;
use canister_protocol::limits::SLOTS_MAX;
use log::LevelFilter;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Canister's agent: indexes APT repositories for an arbiter, on your machine.
#[derive(FromArgs)]
struct Arguments {
    /// print the version
    #[argh(switch)]
    version: bool,
    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Check(Check),
    Index(Index),
    Request(Request),
    Run(Run),
}

/// Take part as a peer until SIGTERM.
#[derive(FromArgs)]
#[argh(subcommand, name = "run")]
struct Run {
    /// an arbiter, as wss://host[:port]/connect; may be given several times (default: Canister's
    /// i1, i2 and i3)
    #[argh(option)]
    arbiter: Vec<Address>,
    /// the peer's certificate in PEM (default: /etc/canister-agent/peer.crt)
    #[argh(option, default = "in_directory(\"peer.crt\")")]
    certificate: PathBuf,
    /// its private key in PEM (default: /etc/canister-agent/peer.key)
    #[argh(option, default = "in_directory(\"peer.key\")")]
    key: PathBuf,
    /// the authority's certificate in PEM (default: /etc/canister-agent/ca.crt)
    #[argh(option, default = "in_directory(\"ca.crt\")")]
    authority: PathBuf,
    /// sources to work on at once, 1 to 64 (default: 2)
    #[argh(option, default = "config::SLOTS", from_str_fn(usage::number))]
    slots: u32,
    /// CPU time to use at most, in threads, 0.05 to 64 (default: 0.5)
    #[argh(option, default = "Share::PROMISED")]
    cpu: Share,
    /// memory to use at most, in MiB, from 32 (default: 256)
    #[argh(option, default = "Mebibytes::PROMISED")]
    memory: Mebibytes,
    /// seconds that work in hand gets to finish after SIGTERM (default: 10)
    #[argh(option, default = "config::DRAIN_SECS", from_str_fn(usage::number))]
    drain: u64,
    /// connect to sources at addresses that aren't on the public internet, too
    #[argh(switch)]
    allow_private: bool,
    /// the User-Agent header (default: name, version and Canister's address)
    #[argh(
        option,
        default = "USER_AGENT.to_owned()",
        from_str_fn(usage::user_agent)
    )]
    user_agent: String,
    /// error, warn, info, debug or trace (default: info)
    #[argh(option, default = "LevelFilter::Info", from_str_fn(usage::level))]
    log: LevelFilter,
}

/// Try everything that `run` with the same options would need, and say what doesn't work and what
/// would. Exit status 0 if all is well, 1 if not. Disturbs no session.
#[derive(FromArgs)]
#[argh(subcommand, name = "check")]
struct Check {
    /// an arbiter, as wss://host[:port]/connect; may be given several times (default: Canister's
    /// i1, i2 and i3)
    #[argh(option)]
    arbiter: Vec<Address>,
    /// the peer's certificate in PEM (default: /etc/canister-agent/peer.crt)
    #[argh(option, default = "in_directory(\"peer.crt\")")]
    certificate: PathBuf,
    /// its private key in PEM (default: /etc/canister-agent/peer.key)
    #[argh(option, default = "in_directory(\"peer.key\")")]
    key: PathBuf,
    /// the authority's certificate in PEM (default: /etc/canister-agent/ca.crt)
    #[argh(option, default = "in_directory(\"ca.crt\")")]
    authority: PathBuf,
    /// CPU time to use at most, in threads, 0.05 to 64 (default: 0.5)
    #[argh(option, default = "Share::PROMISED")]
    cpu: Share,
    /// memory to use at most, in MiB, from 32 (default: 256)
    #[argh(option, default = "Mebibytes::PROMISED")]
    memory: Mebibytes,
}

/// Make a private key and a signing request for a new peer. The key, peer.key, never leaves this
/// machine; the request, peer.csr, is sent to Canister. Nothing is ever overwritten. A key that is
/// there already is used.
#[derive(FromArgs)]
#[argh(subcommand, name = "request")]
struct Request {
    /// folder to write to (default: the current one)
    #[argh(option, default = "PathBuf::from(\".\")")]
    dir: PathBuf,
    /// the peer's name: 1 to 63 of a-z 0-9 -
    #[argh(positional)]
    name: String,
}

/// Index one source without any arbiter: rows to standard output as JSON, one a line.
#[derive(FromArgs)]
#[argh(subcommand, name = "index")]
struct Index {
    /// the source's address, http:// or https://
    #[argh(positional)]
    uri: String,
    /// a suite, or a folder ending in / for a flat repository (default: ./)
    #[argh(option, default = "\"./\".to_owned()")]
    suite: String,
    /// the component, where the suite has them
    #[argh(option)]
    component: Option<String>,
    /// the architecture, where the suite has them
    #[argh(option)]
    architecture: Option<String>,
    /// the name from which the rows' ids are made (default: source)
    #[argh(option, default = "\"source\".to_owned()")]
    slug: String,
    /// CPU time to use at most, in threads, 0.05 to 64 (default: no limit)
    #[argh(option)]
    cpu: Option<Share>,
    /// memory to use at most, in MiB, from 32 (default: 256)
    #[argh(option, default = "Mebibytes::PROMISED")]
    memory: Mebibytes,
    /// connect to addresses that aren't on the public internet, too
    #[argh(switch)]
    allow_private: bool,
    /// what to print to standard error at the end: json, text or none (default: text if that is a
    /// terminal)
    #[argh(option, default = "Form::default()")]
    summary: Form,
    /// the User-Agent header (default: name, version and Canister's address)
    #[argh(
        option,
        default = "USER_AGENT.to_owned()",
        from_str_fn(usage::user_agent)
    )]
    user_agent: String,
}

/// The form of a summary.
#[derive(Clone, Copy, Default)]
enum Form {
    Json,
    None,
    #[default]
    TextOnTerminal,
    Text,
}

impl std::str::FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "none" => Ok(Self::None),
            "text" => Ok(Self::Text),
            _ => Err("json, text or none would work".to_owned()),
        }
    }
}

fn in_directory(name: &str) -> PathBuf {
    Path::new(config::DIRECTORY).join(name)
}

fn main() -> ExitCode {
    usage::main("canister-agent", run)
}

fn run(arguments: Arguments) -> Said {
    if arguments.version {
        return Ok(format!("canister-agent {}\n", env!("CARGO_PKG_VERSION")));
    }
    match arguments.command {
        Some(Command::Check(command)) => check_all(command),
        Some(Command::Index(command)) => index_one(command),
        Some(Command::Request(command)) => ask(&command),
        Some(Command::Run(command)) => take_part(command),
        None => Err(Failure::Usage(
            "no command given; --help lists them".to_owned(),
        )),
    }
}

fn take_part(run: Run) -> Said {
    if !(1..=SLOTS_MAX).contains(&(run.slots as usize)) {
        let why = format!("--slots {}: 1 to {SLOTS_MAX} would work", run.slots);
        return Err(Failure::Usage(why));
    }
    logging::start(run.log);
    agent::run(RunConfig {
        arbiters: or_canisters(run.arbiter),
        files: Files {
            certificate: run.certificate,
            key: run.key,
            authority: run.authority,
        },
        slots: run.slots,
        drain: Duration::from_secs(run.drain),
        cpu: run.cpu,
        memory: run.memory,
        fetch: FetchConfig {
            allow_private: run.allow_private,
            user_agent: run.user_agent,
        },
    })
    .map_err(|cause| Failure::Failed(cause.to_string()))?;
    Ok(String::new())
}

fn check_all(check: Check) -> Said {
    let report = check::run(&RunConfig {
        arbiters: or_canisters(check.arbiter),
        files: Files {
            certificate: check.certificate,
            key: check.key,
            authority: check.authority,
        },
        slots: config::SLOTS,
        drain: Duration::from_secs(config::DRAIN_SECS),
        cpu: check.cpu,
        memory: check.memory,
        fetch: FetchConfig {
            allow_private: false,
            user_agent: USER_AGENT.to_owned(),
        },
    });
    match report.failed() {
        (0, _) => Ok(report.to_string()),
        (failed, all) => {
            let _ = io::stdout().write_all(report.to_string().as_bytes());
            let why = format!("{failed} of {all} checks failed");
            Err(Failure::Failed(why))
        }
    }
}

fn or_canisters(given: Vec<Address>) -> Vec<Address> {
    if !given.is_empty() {
        return given;
    }
    let canisters = config::ARBITERS.iter();
    canisters
        .filter_map(|address| address.parse().ok())
        .collect()
}

fn ask(command: &Request) -> Said {
    let made = request::make(&command.dir, &command.name);
    made.map(|made| made.to_string())
        .map_err(|cause| match cause {
            RequestError::Name(_) => Failure::Usage(cause.to_string()),
            _ => Failure::Failed(cause.to_string()),
        })
}

fn index_one(command: Index) -> Said {
    let source = Source {
        slug: command.slug,
        uri: command.uri,
        suite: command.suite,
        component: command.component,
        architecture: command.architecture,
        ranking: 3,
        ..Source::default()
    };
    source
        .check()
        .map_err(|cause| Failure::Usage(cause.to_string()))?;
    let config = FetchConfig {
        allow_private: command.allow_private,
        user_agent: command.user_agent,
    };
    let summary = index::run(&source, &config, command.cpu, command.memory, io::stdout());
    let _ = match command.summary {
        Form::Json => io::stderr().write_all(summary.json().as_bytes()),
        Form::TextOnTerminal if !io::stderr().is_terminal() => Ok(()),
        Form::Text | Form::TextOnTerminal => io::stderr().write_all(summary.text().as_bytes()),
        Form::None => Ok(()),
    };
    match summary.error {
        // A reader that has seen enough is no failure.
        Some(why) if !summary.is_cut => Err(Failure::Failed(why)),
        _ => Ok(String::new()),
    }
}
