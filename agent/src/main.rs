//! `canister-agent`: its command line, and what each command does. Exit status 0, 1 (failed) or
//! 2 (usage).

use argh::{ArgsInfo, FromArgs};
use canister_agent::agent::RunEnded;
use canister_agent::announce::AnnounceOrder;
use canister_agent::config::AgentConfig;
use canister_agent::control::{self, Word};
use canister_agent::fetch::FetchConfig;
use canister_agent::join::{self, Applying, JoinError};
use canister_agent::lint::findings::counted;
use canister_agent::status::AgentStatus;
use canister_agent::throttle::Share;
use canister_agent::{
    agent, allocator, announce, check, index, leave, ledger, lint, plan, pulse, service,
};
use canister_link::request::{self, RequestError};
use canister_link::settings::{Given, Reader, Setting, named};
use canister_link::usage::{self, Failure, Program, Said};
use canister_link::{clock, logging};
use canister_protocol::Source;
use canister_protocol::limits::{CONTACT_BYTES_MAX, JOIN_TOKEN_BYTES_MAX};
use canister_protocol::plain::lines;
use canister_protocol::span::Span;
use canister_protocol::uri::as_meant;
use log::warn;
use nanoserde::SerJson;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// What is told of settings.
const NOTE: &str = "Each option can be given as an environment variable, too: CANISTER_SLOTS=3 is \
    --slots 3, CANISTER_ALLOW_PRIVATE=yes is --allow-private. The option wins.";
/// The address that a folder's source has while its suite is checked.
const FOLDER: &str = "http://folder";
/// The longest plan.
const PLAN_HOURS_MAX: u32 = 7 * 24;
/// How often `status --watch` looks.
const WATCH_EVERY: Duration = Duration::from_secs(2);
const PROGRAM: Program = Program {
    name: "canister-agent",
    version: env!("CARGO_PKG_VERSION"),
    settings,
    // What is indexed is JSON already.
    prints_json: |words| !matches!(words, [] | ["index" | "run"]),
};

/// Canister's agent: indexes APT repositories for an arbiter, on your machine.
#[derive(FromArgs, ArgsInfo)]
struct Arguments {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Command {
    Announce(Announce),
    Check(Check),
    Config(Config),
    Drain(Drain),
    Health(Health),
    Index(Index),
    Join(Join),
    Leave(Leave),
    Ledger(LedgerCommand),
    Lint(Lint),
    Pause(Pause),
    Plan(PlanCommand),
    Request(Request),
    Resume(Resume),
    Run(Run),
    Status(Status),
}

/// The settings that a command takes.
fn settings(words: &[&str]) -> (Vec<&'static Setting>, &'static str) {
    let names: &[&str] = match words {
        ["check" | "config" | "leave" | "plan" | "run"] => {
            return (AgentConfig::TABLE.iter().collect(), NOTE);
        }
        ["health"] => &["health"],
        ["announce" | "index" | "lint"] => &["memory", "allow_private", "user_agent"],
        ["join"] => &["join_at", "dir", "certificate", "key", "authority", "user_agent"],
        ["ledger"] => &["dir", "ledger"],
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
/// Without any option it tries what the package's service runs with, if there is one. Exit status 0 if
/// all is well, 1 if not. Disturbs no session.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "check")]
struct Check {
    /// the service's settings file, or none (default: /etc/default/canister-agent)
    #[argh(option)]
    service: Option<PathBuf>,
}

/// Ask whether the running agent is well: it is in a session, or was within three minutes. Exit
/// status 0 if so.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "health")]
struct Health {}

/// Show what this machine did for whom today: requests, bytes each way as connections carried them,
/// refused requests, and leases by what came out.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "ledger")]
struct LedgerCommand {
    /// this month
    #[argh(switch)]
    month: bool,
}

/// Show what the arbiter may ask of this peer in the coming hours: operators, hosts, and how often their
/// sources are polled, by this peer or another. Disturbs no session.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "plan")]
struct PlanCommand {
    /// how far to look ahead, at most 7d, in whole hours (default: 24h). (`--hours` is when to work.)
    #[argh(option, default = "24", from_str_fn(ahead))]
    ahead: u32,
}

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

/// Announce that a source has a new head, for example as the last step of a repository's build. With
/// --key it counts as its owner's, if the source names that key; with --certificate as that
/// announcer's: docs/announcing.md.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "announce")]
struct Announce {
    /// the source's address, as users add it, or its slug
    #[argh(positional)]
    source: String,
    /// the arbiter's public address, https://arbiter.example.org
    #[argh(option)]
    to: Option<String>,
    /// the private key that signs it, in PEM: openssl genpkey -algorithm ed25519
    #[argh(option)]
    key: Option<PathBuf>,
    /// the key's certificate in PEM, where the arbiter's operator gave you one
    #[argh(option)]
    certificate: Option<PathBuf>,
    /// the new InRelease, or Release where there is no InRelease: names the head
    #[argh(option)]
    release: Option<PathBuf>,
    /// print the line by which the source names the key, and announce nothing
    #[argh(switch)]
    show_key: bool,
}

/// Become a peer: make a private key and a signing request, send the request to Canister, and wait until
/// it is admitted; certificate and authority are put beside the key. Read the words that it shows out
/// when you are asked for them. Stop waiting whenever you like: the same command goes on, and so does
/// `run`.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "join")]
struct Join {
    /// how Canister reaches you, such as a mail address, in a line
    #[argh(option)]
    contact: Option<String>,
    /// what the operator gave you, where one is wanted
    #[argh(option)]
    token: Option<String>,
    /// only ask, and leave the waiting to `run`
    #[argh(switch)]
    no_wait: bool,
    /// the peer's name: 1 to 63 of a-z 0-9 -
    #[argh(positional)]
    name: String,
}

/// Be a peer no more: give back what is in hand, and have the certificate revoked. Says what remains on
/// this machine, and deletes nothing.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "leave")]
struct Leave {}

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
    /// print annotations for a CI: ::error file=...,line=...
    #[argh(switch)]
    annotations: bool,
}

/// Show what the running agent does: session, leases in hand, what was done and what it cost.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "status")]
struct Status {
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
        // Of what is said in words.
        let said = |said: Said| match given.is_json {
            true => said
                .map(|text| WordsTold { said: text.trim_end().to_owned() }.serialize_json() + "\n"),
            false => said,
        };
        match arguments.command {
            Command::Announce(command) => said(announce_one(&command, &mut from)),
            Command::Check(command) => check_all(&command, &mut from),
            Command::Config(Config {}) => show_config(&mut from),
            Command::Drain(Drain {}) => said(tell(&mut from, Word::Drain)),
            Command::Health(Health {}) => said(health(&mut from)),
            Command::Index(command) => index_one(command, &mut from),
            Command::Join(command) => said(become_a_peer(command, &mut from)),
            Command::Leave(Leave {}) => said(leave_for_good(&mut from)),
            Command::Ledger(command) => show_ledger(&command, &mut from),
            Command::Lint(command) => lint_one(command, &mut from),
            Command::Pause(command) => {
                said(tell(&mut from, Word::Pause(command.time.map(|time| time.0))))
            }
            Command::Plan(command) => show_plan(&command, &mut from),
            Command::Request(command) => said(request(&command, &mut from)),
            Command::Resume(Resume {}) => said(tell(&mut from, Word::Resume)),
            Command::Run(Run {}) => take_part(&mut from),
            Command::Status(command) => show_status(&command, &mut from),
        }
    })
}

/// What a command says in words, for a program.
#[derive(SerJson)]
struct WordsTold {
    said: String,
}

/// What `config` says for a program.
#[derive(SerJson)]
struct SettingsTold {
    settings: Vec<SettingTold>,
    notes: Vec<String>,
}

#[derive(SerJson)]
struct SettingTold {
    name: String,
    from: String,
    value: String,
}

fn take_part(from: &mut Reader<'_>) -> Said {
    let config = AgentConfig::read_all(from).map_err(Failure::Usage)?;
    allocator::settle();
    logging::start(config.log);
    for told in from.unknown() {
        warn!("{told}");
    }
    if !join::before_run(&config).map_err(Failure::of)? {
        return Ok(String::new());
    }
    match agent::run(config).map_err(Failure::of)? {
        RunEnded::Stopped => Ok(String::new()),
        // What looks after the agent starts again what failed, and leaves alone what stopped.
        RunEnded::ToRestart => {
            Err(Failure::Failed("to be started again, as the operator wishes".to_owned()))
        }
    }
}

fn announce_one(command: &Announce, from: &mut Reader<'_>) -> Said {
    let announced = AnnounceOrder {
        source: &command.source,
        to: command.to.as_deref().unwrap_or_default(),
        key: command.key.as_deref(),
        certificate: command.certificate.as_deref(),
        release: command.release.as_deref(),
    };
    if command.show_key {
        return announced.shown().map_err(Failure::Failed);
    }
    if command.to.is_none() {
        let why = "use --to with the arbiter's public address, https://arbiter.example.org";
        return Err(Failure::Usage(why.to_owned()));
    }
    announce::run(&announced, &fetch_config(from)?).map_err(Failure::Failed)
}

fn become_a_peer(join: Join, from: &mut Reader<'_>) -> Said {
    let is_json = from.given.is_json;
    let config = AgentConfig::read_all(from).map_err(Failure::Usage)?;
    logging::start(config.log);
    for (option, text, most) in [
        ("--contact", &join.contact, CONTACT_BYTES_MAX),
        ("--token", &join.token, JOIN_TOKEN_BYTES_MAX),
    ] {
        let text = text.as_deref().unwrap_or_default();
        if text.len() > most || text.contains(char::is_control) {
            let why = format!("{option}: use one line of at most {most} bytes");
            return Err(Failure::Usage(why));
        }
    }
    let refused = |cause: JoinError| match cause {
        JoinError::Request(cause) => of_request(cause),
        cause => Failure::of(cause),
    };
    let mut applying =
        Applying::begin(&config, &join.name, join.contact, join.token).map_err(refused)?;
    let asked = applying.ask().map_err(refused)?;
    let mut text = format!(
        "asked {} to admit {}; the words of its key, to be read out when you are asked for \
         them:\n\n    {}\n\n",
        applying.address(),
        join.name,
        applying.words()
    );
    if asked.is_some() {
        if join.no_wait {
            return Ok(text + "not admitted yet; the same command asks again, and so does `run`\n");
        }
        text += "waiting to be admitted. Stop it when you like: the same command goes on, and so \
                 does `run`\n";
        if !is_json {
            usage::print(&text)?;
            text.clear();
        }
        smol::block_on(applying.wait()).map_err(refused)?;
    }
    let (certificate, next) = (config.certificate.display(), check::next_step(&config));
    Ok(format!("{text}{} is a peer: {certificate} is there; {next}\n", join.name))
}

/// Has the service's settings checked by this program anew, with the service's variables and nobody
/// else's, if that is what is meant.
fn check_service(check: &Check, given: &Given) -> Result<(), Failure> {
    let path = check.service.as_deref().unwrap_or_else(|| Path::new(service::SETTINGS));
    if !given.flags.is_empty() || path == Path::new("none") {
        return Ok(());
    }
    let Some(variables) = service::variables(path).map_err(Failure::Failed)? else {
        return Ok(());
    };
    if !given.is_json {
        let (path, user) = (path.display(), service::USER);
        usage::print(&format!("ok    the service's settings, {path}; it runs as {user}\n"))?;
    }
    let program = std::env::current_exe().map_err(Failure::of)?;
    let mut again = std::process::Command::new(program);
    for name in given.environment.iter().map(|(name, _)| &**name).chain(service::PROXIES) {
        again.env_remove(name);
    }
    again.args(["check", "--service", "none"]).envs(variables);
    again.args(given.is_json.then_some("--json"));
    Err(Failure::of(format!("check the service's settings: {}", again.exec())))
}

fn check_all(check: &Check, from: &mut Reader<'_>) -> Said {
    check_service(check, from.given)?;
    let config = AgentConfig::read_all(from).map_err(Failure::Usage)?;
    let report = check::run(&config, &from.unknown());
    let told = if from.given.is_json { report.json() } else { report.to_string() };
    match report.failed() {
        (0, _) => Ok(told),
        (failed, all) => {
            usage::print(&told)?;
            let why = format!("{failed} of {all} checks failed");
            Err(Failure::Failed(why))
        }
    }
}

fn leave_for_good(from: &mut Reader<'_>) -> Said {
    let config = AgentConfig::read_all(from).map_err(Failure::Usage)?;
    let left = leave::leave(&config).map_err(Failure::Failed)?;
    let files = config.files();
    let mut text = format!("{} is a peer no more; ", left.peer);
    text += if left.is_revoked {
        "its certificate is revoked\n"
    } else {
        "its certificate is revoked by hand, by Canister's operator\n"
    };
    text += "what remains on this machine, until you delete it:\n";
    let request = config.dir.join(request::REQUEST);
    for path in [&files.key, &files.certificate, &files.authority, &request] {
        if path.exists() {
            text += &format!("  {}\n", path.display());
        }
    }
    Ok(text + &check::stop_step(&config) + "\n")
}

fn show_config(from: &mut Reader<'_>) -> Said {
    AgentConfig::read_all(from).map_err(Failure::Usage)?;
    if !from.given.is_json {
        return Ok(from.to_string());
    }
    let settings = from.shown().map(|(name, from, value)| SettingTold { name, from, value });
    let told = SettingsTold { settings: settings.collect(), notes: from.unknown() };
    Ok(told.serialize_json() + "\n")
}

fn show_ledger(command: &LedgerCommand, from: &mut Reader<'_>) -> Said {
    let path = AgentConfig::ledger(from).map_err(Failure::Usage)?;
    let shown = ledger::show(&path, command.month).map_err(Failure::Failed)?;
    Ok(if from.given.is_json { shown.json() } else { shown.to_string() })
}

fn ahead(text: &str) -> Result<u32, String> {
    usage::whole(text, usage::HOURS, 1..=PLAN_HOURS_MAX)
}

fn show_plan(command: &PlanCommand, from: &mut Reader<'_>) -> Said {
    let config = AgentConfig::read_all(from).map_err(Failure::Usage)?;
    let plan = plan::ask(&config, command.ahead).map_err(Failure::Failed)?;
    Ok(if from.given.is_json { plan.serialize_json() + "\n" } else { plan.to_string() })
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
        let text = match from.given.is_json {
            true => answer,
            false => AgentStatus::read(&answer).map_err(Failure::Failed)?.to_string(),
        };
        if !command.watch {
            return Ok(text);
        }
        // As clear(1) does, where somebody looks.
        let clear = if io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
        if !usage::print(&format!("{clear}{text}"))? {
            return Ok(String::new());
        }
        clock::sleep(WATCH_EVERY);
    }
}

fn request(command: &Request, from: &mut Reader<'_>) -> Said {
    let dir = AgentConfig::dir(from).map_err(Failure::Usage)?;
    let made = request::make(&dir, &command.name);
    made.map(|made| made.to_string()).map_err(of_request)
}

fn of_request(cause: RequestError) -> Failure {
    match cause {
        RequestError::Name(_) => Failure::Usage(cause.to_string()),
        _ => Failure::Failed(cause.to_string()),
    }
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
    let is_json = from.given.is_json;
    if is_json && command.annotations {
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
    let said = match (is_json, command.annotations) {
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
        usage::print(&said)?;
        return Err(Failure::Failed(found.summary()));
    }
    Ok(said)
}

fn fetch_config(from: &mut Reader<'_>) -> Result<FetchConfig, Failure> {
    Ok(FetchConfig {
        allow_private: AgentConfig::allow_private(from).map_err(Failure::Usage)?,
        user_agent: AgentConfig::user_agent(from).map_err(Failure::Usage)?,
        ..FetchConfig::default()
    })
}

fn index_one(command: Index, from: &mut Reader<'_>) -> Said {
    let layout = (command.suite, command.component, command.architecture);
    let source = source(command.slug, as_meant(command.uri), layout)?;
    let memory = AgentConfig::memory(from).map_err(Failure::Usage)?;
    let config = fetch_config(from)?;
    // As `usage::print` does.
    let out = rustix::io::dup(rustix::stdio::stdout()).map(File::from).map_err(Failure::of)?;
    let summary = index::run(&source, &config, command.cpu, memory, out);
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
