//! `canister-agent`: its command line, and what each command does. Exit status 0, 1 (failed) or
//! 2 (usage).

use argh::FromArgs;
use canister_agent::memory::Mebibytes;
use canister_agent::settings::{self, Flags, Resolved, Settings};
use canister_agent::throttle::Share;
use canister_agent::{agent, check, index, pulse};
use canister_link::request::{self, RequestError};
use canister_link::usage::{self, Failure, Said};
use canister_link::{clock, logging};
use canister_protocol::Source;
use canister_protocol::uri::as_meant;
use log::warn;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

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
    Config(Config),
    Health(Health),
    Index(Index),
    Request(Request),
    Run(Run),
}

/// The commands that read every setting, each with the same flags.
macro_rules! with_settings {
    ($(#[$about:meta])* $command:ident $word:tt) => {
        $(#[$about])*
        #[derive(FromArgs)]
        #[argh(
            subcommand,
            name = $word,
            note = "Each option can be given as an environment variable, too: CANISTER_SLOTS=3 is\n\
                    --slots 3, CANISTER_ALLOW_PRIVATE=yes is --allow-private. The option wins."
        )]
        struct $command {
            /// an arbiter, as wss://host[:port]/connect; may be given several times (default:
            /// Canister's i1, i2 and i3)
            #[argh(option)]
            arbiter: Vec<String>,
            /// folder of peer.crt, peer.key and ca.crt (default: /var/lib/canister-agent)
            #[argh(option)]
            dir: Option<String>,
            /// the peer's certificate in PEM (default: peer.crt in --dir)
            #[argh(option)]
            certificate: Option<String>,
            /// its private key in PEM (default: peer.key in --dir)
            #[argh(option)]
            key: Option<String>,
            /// the authority's certificate in PEM (default: ca.crt in --dir)
            #[argh(option)]
            authority: Option<String>,
            /// sources to work on at once, 1 to 64 (default: 2)
            #[argh(option)]
            slots: Option<String>,
            /// CPU time to use at most, in threads, 0.05 to 64 (default: 0.5)
            #[argh(option)]
            cpu: Option<String>,
            /// memory to use at most, in MiB, from 32 (default: 256)
            #[argh(option)]
            memory: Option<String>,
            /// seconds that work in hand gets to finish after SIGTERM (default: 10)
            #[argh(option)]
            drain: Option<String>,
            /// connect to sources at addresses that aren't on the public internet, too
            #[argh(switch)]
            allow_private: bool,
            /// connect to the database at such an address, too; --allow-private includes it
            #[argh(switch)]
            private_database: bool,
            /// the User-Agent header (default: name, version and Canister's address)
            #[argh(option)]
            user_agent: Option<String>,
            /// file to touch while there is a session, for `health` (default: none)
            #[argh(option)]
            health: Option<String>,
            /// error, warn, info, debug or trace (default: info)
            #[argh(option)]
            log: Option<String>,
        }

        impl From<$command> for Flags {
            fn from(said: $command) -> Self {
                Self {
                    arbiter: said.arbiter,
                    dir: said.dir,
                    certificate: said.certificate,
                    key: said.key,
                    authority: said.authority,
                    slots: said.slots,
                    cpu: said.cpu,
                    memory: said.memory,
                    drain: said.drain,
                    allow_private: said.allow_private,
                    private_database: said.private_database,
                    user_agent: said.user_agent,
                    health: said.health,
                    log: said.log,
                }
            }
        }
    };
}

with_settings! {
    /// Take part as a peer until SIGTERM.
    Run "run"
}

with_settings! {
    /// Show each setting that `run` with the same options would have, and where it comes from.
    Config "config"
}

with_settings! {
    /// Try everything that `run` with the same options would need, and say what doesn't work and
    /// what would. Exit status 0 if all is well, 1 if not. Disturbs no session.
    Check "check"
}

/// Ask whether the running agent is well: it is in a session, or was within three minutes. Exit
/// status 0 if so.
#[derive(FromArgs)]
#[argh(subcommand, name = "health")]
struct Health {
    /// the file that `run` touches (default: the environment variable CANISTER_HEALTH)
    #[argh(option)]
    health: Option<String>,
}

/// Make a private key and a signing request for a new peer. The key, peer.key, never leaves this
/// machine; the request, peer.csr, is sent to Canister. Nothing is ever overwritten. A key that is
/// there already is used.
#[derive(FromArgs)]
#[argh(subcommand, name = "request")]
struct Request {
    /// folder to write to, made if need be (default: /var/lib/canister-agent, or CANISTER_DIR)
    #[argh(option)]
    dir: Option<String>,
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
    /// memory to use at most, in MiB, from 32 (default: 256, or CANISTER_MEMORY)
    #[argh(option)]
    memory: Option<String>,
    /// connect to addresses that aren't on the public internet, too
    #[argh(switch)]
    allow_private: bool,
    /// what to print to standard error at the end: json, text or none (default: text if that is a
    /// terminal)
    #[argh(option, default = "Form::default()")]
    summary: Form,
    /// the User-Agent header (default: name, version and Canister's address)
    #[argh(option)]
    user_agent: Option<String>,
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

fn main() -> ExitCode {
    usage::main("canister-agent", run)
}

fn run(arguments: Arguments) -> Said {
    if arguments.version {
        return Ok(format!("canister-agent {}\n", env!("CARGO_PKG_VERSION")));
    }
    match arguments.command {
        Some(Command::Check(command)) => check_all(command),
        Some(Command::Config(command)) => show_config(command),
        Some(Command::Health(command)) => health(command),
        Some(Command::Index(command)) => index_one(command),
        Some(Command::Request(command)) => ask(command),
        Some(Command::Run(command)) => take_part(command),
        None => Err(Failure::Usage("no command given; --help lists them".to_owned())),
    }
}

/// The environment, as text.
fn environment() -> Vec<(String, String)> {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

fn take_part(run: Run) -> Said {
    let resolved = Resolved::read(run.into(), &environment()).map_err(Failure::Usage)?;
    logging::start(resolved.log);
    for variable in &resolved.unknown {
        warn!("{variable} is set, and no setting has this variable; `config` lists them");
    }
    agent::run(resolved.config).map_err(|cause| Failure::Failed(cause.to_string()))?;
    Ok(String::new())
}

fn check_all(command: Check) -> Said {
    let resolved = Resolved::read(command.into(), &environment()).map_err(Failure::Usage)?;
    let report = check::run(&resolved.config);
    match report.failed() {
        (0, _) => Ok(report.to_string()),
        (failed, all) => {
            let _ = io::stdout().write_all(report.to_string().as_bytes());
            let why = format!("{failed} of {all} checks failed");
            Err(Failure::Failed(why))
        }
    }
}

fn show_config(config: Config) -> Said {
    let resolved = Resolved::read(config.into(), &environment()).map_err(Failure::Usage)?;
    Ok(resolved.to_string())
}

fn health(command: Health) -> Said {
    let environment = environment();
    let file = Settings::new(&environment).value("health", command.health, "", |text| {
        if text.is_empty() {
            return Err("the path that `run --health` was given would work".to_owned());
        }
        Ok(PathBuf::from(text))
    });
    let file = file.map_err(Failure::Usage)?;
    pulse::check(&file, clock::wall()).map_err(Failure::Failed)
}

fn ask(command: Request) -> Said {
    let environment = environment();
    let dir =
        settings::dir(&mut Settings::new(&environment), command.dir).map_err(Failure::Usage)?;
    let made = request::make(&dir, &command.name);
    made.map(|made| made.to_string()).map_err(|cause| match cause {
        RequestError::Name(_) => Failure::Usage(cause.to_string()),
        _ => Failure::Failed(cause.to_string()),
    })
}

fn index_one(command: Index) -> Said {
    let source = Source {
        slug: command.slug,
        uri: as_meant(command.uri),
        suite: command.suite,
        component: command.component,
        architecture: command.architecture,
        ranking: 3,
        ..Source::default()
    };
    source.check().map_err(|cause| Failure::Usage(cause.to_string()))?;
    let environment = environment();
    let mut from = Settings::new(&environment);
    let memory = Mebibytes::PROMISED.to_string();
    let memory = from
        .value("memory", command.memory, memory, str::parse::<Mebibytes>)
        .map_err(Failure::Usage)?;
    let config = settings::fetch(&mut from, command.allow_private, command.user_agent)
        .map_err(Failure::Usage)?;
    let summary = index::run(&source, &config, command.cpu, memory, io::stdout());
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
