//! `canister-agent`: its command line, and what each command does. Exit status 0, 1 (failed) or
//! 2 (usage).

use argh::{ArgsInfo, FromArgs};
use canister_agent::agent::RunEnded;
use canister_agent::config::AgentConfig;
use canister_agent::control::{self, Word};
use canister_agent::fetch::FetchConfig;
use canister_agent::lint::findings::counted;
use canister_agent::status::AgentStatus;
use canister_agent::throttle::Share;
use canister_agent::{agent, allocator, check, index, lint, pulse};
use canister_link::request::{self, RequestError};
use canister_link::settings::{Reader, Setting, named};
use canister_link::span::Span;
use canister_link::usage::{self, Failure, Program, Said};
use canister_link::{clock, logging};
use canister_protocol::Source;
use canister_protocol::plain::lines;
use canister_protocol::uri::as_meant;
use log::warn;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// What is told of settings.
const NOTE: &str = "Each option can be given as an environment variable, too: CANISTER_SLOTS=3 is \
    --slots 3, CANISTER_ALLOW_PRIVATE=yes is --allow-private. The option wins.";
/// The address that a folder's source has while its suite is checked.
const FOLDER: &str = "http://folder";
/// How often `status --watch` looks.
const WATCH_EVERY: Duration = Duration::from_secs(2);
const PROGRAM: Program =
    Program { name: "canister-agent", version: env!("CARGO_PKG_VERSION"), settings };

/// Canister's agent: indexes APT repositories for an arbiter, on your machine.
#[derive(FromArgs, ArgsInfo)]
struct Arguments {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Command {
    Check(Check),
    Config(Config),
    Drain(Drain),
    Health(Health),
    Index(Index),
    Lint(Lint),
    Pause(Pause),
    Request(Request),
    Resume(Resume),
    Run(Run),
    Status(Status),
}

/// The settings that a command takes.
fn settings(words: &[&str]) -> (Vec<&'static Setting>, &'static str) {
    let names: &[&str] = match words {
        ["check" | "config" | "run"] => return (AgentConfig::TABLE.iter().collect(), NOTE),
        ["health"] => &["health"],
        ["index" | "lint"] => &["memory", "allow_private", "user_agent"],
        ["request"] => &["dir"],
        ["drain" | "pause" | "resume" | "status"] => &["dir", "socket"],
        _ => return (Vec::new(), ""),
    };
    (named(AgentConfig::TABLE, names), NOTE)
}

/// Take part as a peer until SIGTERM.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "run")]
struct Run {}

/// Show each setting that `run` with the same options would have, and where it comes from.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "config")]
struct Config {}

/// Try everything that `run` with the same options needs; reports what fails and how to fix it.
/// Exit status 0 if all is well, 1 if not. Disturbs no session.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "check")]
struct Check {}

/// Ask whether the running agent is well: it is in a session, or was within three minutes. Exit
/// status 0 if so.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "health")]
struct Health {}

/// Make a private key and a signing request for a new peer. The key, peer.key, never leaves this
/// machine; send the request, peer.csr, to Canister. Nothing is ever overwritten: an existing key is
/// used.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "request")]
struct Request {
    /// the peer's name: 1 to 63 of a-z 0-9 -
    #[argh(positional)]
    name: String,
}

/// Index one source without any arbiter: rows to standard output as JSON, one a line.
#[derive(FromArgs, ArgsInfo)]
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
    /// what to print to standard error at the end: json, text or none (default: text if that is a
    /// terminal)
    #[argh(option, default = "SummaryForm::default()")]
    summary: SummaryForm,
}

/// Tell what a careful maintainer wants to know of a repository, on a server or in a folder before it
/// is published: what is wrong, in which line, and what to write instead. Exit status 0 if there is no
/// error among it, 1 if there is. docs/lint.md explains each finding by its name.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "lint")]
struct Lint {
    /// the repository's address, http:// or https://, or its folder
    #[argh(positional)]
    repository: String,
    /// a suite, or a folder ending in / for a flat repository (default: ./)
    #[argh(option, default = "\"./\".to_owned()")]
    suite: String,
    /// the component, where the suite has them
    #[argh(option)]
    component: Option<String>,
    /// the architecture, where the suite has them
    #[argh(option)]
    architecture: Option<String>,
    /// print one JSON object
    #[argh(switch)]
    json: bool,
    /// print annotations for a CI: ::error file=...,line=...
    #[argh(switch)]
    annotations: bool,
}

/// Show what the running agent does: session, leases in hand, what was done and what it cost.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "status")]
struct Status {
    /// print JSON, one object a line
    #[argh(switch)]
    json: bool,
    /// show it again every two seconds
    #[argh(switch)]
    watch: bool,
}

/// Give back what is in hand, at once, and take no more. It holds when the agent is started again.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "pause")]
struct Pause {
    /// for how long, such as 90m, 2h or 1d (default: until `resume`)
    #[argh(positional)]
    time: Option<Span>,
}

/// Work again after `pause` or `drain`.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "resume")]
struct Resume {}

/// Finish what is in hand and take no more, until `resume`. It holds when the agent is started again.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "drain")]
struct Drain {}

/// The form of a summary.
#[derive(Clone, Copy, Default)]
enum SummaryForm {
    Json,
    None,
    #[default]
    TextOnTerminal,
    Text,
}

impl std::str::FromStr for SummaryForm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "none" => Ok(Self::None),
            "text" => Ok(Self::Text),
            _ => Err("use json, text or none".to_owned()),
        }
    }
}

fn main() -> ExitCode {
    usage::main(&PROGRAM, |arguments: Arguments, given| {
        let mut from = Reader::new(AgentConfig::TABLE, &given);
        match arguments.command {
            Command::Check(Check {}) => check_all(&mut from),
            Command::Config(Config {}) => show_config(&mut from),
            Command::Drain(Drain {}) => tell(&mut from, Word::Drain),
            Command::Health(Health {}) => health(&mut from),
            Command::Index(command) => index_one(command, &mut from),
            Command::Lint(command) => lint_one(command, &mut from),
            Command::Pause(command) => {
                tell(&mut from, Word::Pause(command.time.map(|time| time.0)))
            }
            Command::Request(command) => request(&command, &mut from),
            Command::Resume(Resume {}) => tell(&mut from, Word::Resume),
            Command::Run(Run {}) => take_part(&mut from),
            Command::Status(command) => show_status(&command, &mut from),
        }
    })
}

fn take_part(from: &mut Reader<'_>) -> Said {
    let config = AgentConfig::read_all(from).map_err(Failure::Usage)?;
    allocator::settle();
    logging::start(config.log);
    for told in from.unknown() {
        warn!("{told}");
    }
    match agent::run(config).map_err(Failure::of)? {
        RunEnded::Stopped => Ok(String::new()),
        // What looks after the agent starts again what failed, and leaves alone what stopped.
        RunEnded::ToRestart => {
            Err(Failure::Failed("to be started again, as the operator wishes".to_owned()))
        }
    }
}

fn check_all(from: &mut Reader<'_>) -> Said {
    let config = AgentConfig::read_all(from).map_err(Failure::Usage)?;
    let report = check::run(&config);
    match report.failed() {
        (0, _) => Ok(report.to_string()),
        (failed, all) => {
            let _ = io::stdout().write_all(report.to_string().as_bytes());
            let why = format!("{failed} of {all} checks failed");
            Err(Failure::Failed(why))
        }
    }
}

fn show_config(from: &mut Reader<'_>) -> Said {
    AgentConfig::read_all(from).map_err(Failure::Usage)?;
    Ok(from.to_string())
}

fn health(from: &mut Reader<'_>) -> Said {
    let file = AgentConfig::health(from).map_err(Failure::Usage)?;
    let no_file = || Failure::Usage("use --health with the path that `run` was given".to_owned());
    pulse::check(&file.ok_or_else(no_file)?, clock::wall()).map_err(Failure::Failed)
}

fn ask(from: &mut Reader<'_>, word: Word) -> Said {
    let socket = AgentConfig::socket(from).map_err(Failure::Usage)?;
    let dir = AgentConfig::dir(from).map_err(Failure::Usage)?;
    control::ask(socket, &dir, word).map_err(Failure::Failed)
}

fn tell(from: &mut Reader<'_>, word: Word) -> Said {
    ask(from, word).map(|said| lines(&said))
}

fn show_status(command: &Status, from: &mut Reader<'_>) -> Said {
    loop {
        let answer = ask(from, Word::Status)?;
        let text = match command.json {
            true => answer,
            false => AgentStatus::read(&answer).map_err(Failure::Failed)?.to_string(),
        };
        if !command.watch {
            return Ok(text);
        }
        // As clear(1) does, where somebody looks.
        let clear = if io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
        match io::stdout().write_all(format!("{clear}{text}").as_bytes()) {
            Ok(()) => clock::sleep(WATCH_EVERY),
            Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => return Ok(String::new()),
            Err(cause) => return Err(Failure::of(cause)),
        }
    }
}

fn request(command: &Request, from: &mut Reader<'_>) -> Said {
    let dir = AgentConfig::dir(from).map_err(Failure::Usage)?;
    let made = request::make(&dir, &command.name);
    made.map(|made| made.to_string()).map_err(|cause| match cause {
        RequestError::Name(_) => Failure::Usage(cause.to_string()),
        _ => Failure::Failed(cause.to_string()),
    })
}

/// A source of these suite, component and architecture, if there can be one.
fn source(
    slug: String,
    uri: String,
    (suite, component, architecture): (String, Option<String>, Option<String>),
) -> Result<Source, Failure> {
    let source =
        Source { slug, uri, suite, component, architecture, ranking: 3, ..Source::default() };
    source.check().map_err(|cause| Failure::Usage(cause.to_string()))?;
    Ok(source)
}

fn lint_one(command: Lint, from: &mut Reader<'_>) -> Said {
    let is_folder = !command.repository.contains("://");
    let uri = if is_folder { FOLDER.to_owned() } else { as_meant(command.repository.clone()) };
    let layout = (command.suite, command.component, command.architecture);
    let mut source = source("source".to_owned(), uri, layout)?;
    if command.json && command.annotations {
        return Err(Failure::Usage("use --json or --annotations, not both".to_owned()));
    }
    let memory = AgentConfig::memory(from).map_err(Failure::Usage)?;
    let config = fetch_config(from)?;
    let report = if is_folder {
        source.uri = command.repository;
        if !Path::new(&source.uri).is_dir() {
            let why = "is no folder; use one, or an address with http:// or https://";
            return Err(Failure::Failed(format!("{}: it {why}", source.uri)));
        }
        lint::folder(&source, memory)
    } else {
        lint::server(&source, &config, memory)
    };
    let found = &report.findings;
    let said = match (command.json, command.annotations) {
        (true, _) => found.json(&[("packages", report.packages), ("requests", report.requests)]),
        (_, true) => found.annotations(),
        _ => format!(
            "{}{}, {}\n",
            found.text(),
            found.summary(),
            counted(report.packages, "package")
        ),
    };
    if found.has_errors() {
        let _ = io::stdout().write_all(said.as_bytes());
        return Err(Failure::Failed(found.summary()));
    }
    Ok(said)
}

fn fetch_config(from: &mut Reader<'_>) -> Result<FetchConfig, Failure> {
    Ok(FetchConfig {
        allow_private: AgentConfig::allow_private(from).map_err(Failure::Usage)?,
        user_agent: AgentConfig::user_agent(from).map_err(Failure::Usage)?,
    })
}

fn index_one(command: Index, from: &mut Reader<'_>) -> Said {
    let layout = (command.suite, command.component, command.architecture);
    let source = source(command.slug, as_meant(command.uri), layout)?;
    let memory = AgentConfig::memory(from).map_err(Failure::Usage)?;
    let config = fetch_config(from)?;
    let summary = index::run(&source, &config, command.cpu, memory, io::stdout());
    let _ = match command.summary {
        SummaryForm::Json => io::stderr().write_all(summary.json().as_bytes()),
        SummaryForm::TextOnTerminal if !io::stderr().is_terminal() => Ok(()),
        SummaryForm::Text | SummaryForm::TextOnTerminal => {
            io::stderr().write_all(summary.text().as_bytes())
        }
        SummaryForm::None => Ok(()),
    };
    match summary.error {
        // A reader that has seen enough is no failure.
        Some(why) if !summary.is_cut => Err(Failure::Failed(why)),
        _ => Ok(String::new()),
    }
}
