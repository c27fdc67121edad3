//! `canister-arbiter`: its command line, and what each command does. Exit status 0, 1 (failed) or
//! 2 (usage).

mod ca_commands;

use argh::FromArgs;
use canister_arbiter::admin::{
    self, DecisionReport, HeldReport, HistoryReport, PeerReport, PlanReport, Request, SourceReport,
    StatusReport,
};
use canister_arbiter::config::file::OptionalAddress;
use canister_arbiter::config::{self, DatabaseAddress, Flags, ListAddress, RunConfig};
use canister_arbiter::demo::{self, DemoConfig};
use canister_arbiter::entry::Entry;
use canister_arbiter::public::Proxy;
use canister_arbiter::rules::Changed;
use canister_arbiter::{arbiter, report, store};
use canister_link::clock::wall_millis;
use canister_link::identity::Files;
use canister_link::logging;
use canister_link::usage::{self, Failure, Said};
use canister_protocol::Database;
use log::LevelFilter;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Canister's arbiter: tells peers what to index and publishes what they found.
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
#[expect(
    clippy::large_enum_variant,
    reason = "there is one, and it is taken apart where it is made"
)]
enum Command {
    Accept(Accept),
    Allow(Allow),
    Announce(Announce),
    Approve(Approve),
    Block(Block),
    Ca(ca_commands::Ca),
    Decisions(Decisions),
    Delist(Delist),
    Demo(Demo),
    Held(Held),
    Peers(Peers),
    Plan(Plan),
    Policy(Policy),
    Reject(Reject),
    Reload(Reload),
    Run(Run),
    Search(Search),
    Source(Source),
    Sources(Sources),
    Status(Status),
    Sync(Sync),
}

/// Run the arbiter until SIGTERM.
#[derive(FromArgs)]
#[argh(subcommand, name = "run")]
struct Run {
    /// configuration file; each option here wins over it (packaging/arbiter.toml has every key)
    #[argh(option)]
    config: Option<PathBuf>,
    /// address and port for peers (default: [::]:443)
    #[argh(option, from_str_fn(listen))]
    listen: Option<SocketAddr>,
    /// address and port for everybody: status pages, metrics, announcements; plain HTTP for a
    /// reverse proxy, or none (default: 127.0.0.1:8080)
    #[argh(option)]
    public: Option<OptionalAddress>,
    /// address or network of a reverse proxy whose Forwarded or X-Forwarded-For is believed; may
    /// be repeated
    #[argh(option)]
    trusted_proxy: Vec<Proxy>,
    /// show announced sources that are APT repositories without approval
    #[argh(switch)]
    trust_announcements: bool,
    /// the arbiter's certificate in PEM (default: /etc/canister-arbiter/arbiter.crt)
    #[argh(option)]
    certificate: Option<PathBuf>,
    /// its private key in PEM (default: /etc/canister-arbiter/arbiter.key)
    #[argh(option)]
    key: Option<PathBuf>,
    /// the authority's certificate in PEM (default: /etc/canister-arbiter/ca.crt)
    #[argh(option)]
    authority: Option<PathBuf>,
    /// what is revoked, in PEM; read again within a second after it has changed (default: crl.pem
    /// beside the authority's certificate, if it is there)
    #[argh(option)]
    revocations: Option<PathBuf>,
    /// folder of the authority with which peers' certificates are renewed over their sessions, and
    /// its revocation list kept young; without it neither is done
    #[argh(option)]
    issuer: Option<PathBuf>,
    /// file with the passphrase of the issuing key in its first line (default: the variable
    /// CANISTER_CA_PASSPHRASE, else it is asked for)
    #[argh(option)]
    passphrase_file: Option<PathBuf>,
    /// folder of the database and the admin socket (default: /var/lib/canister-arbiter)
    #[argh(option)]
    state: Option<PathBuf>,
    /// the database: a file for this arbiter alone (default: canister.db in --state), or a
    /// PostgreSQL server for several, as postgres://USER@HOST[:PORT][,HOST...]/NAME or
    /// 'host=... dbname=...'
    #[argh(option)]
    database: Option<DatabaseAddress>,
    /// certificate in PEM to show to the database's server (default: the arbiter's)
    #[argh(option)]
    database_certificate: Option<PathBuf>,
    /// its private key in PEM (default: the arbiter's)
    #[argh(option)]
    database_key: Option<PathBuf>,
    /// authority of the server's certificate, in PEM (default: the peers' authority)
    #[argh(option)]
    database_authority: Option<PathBuf>,
    /// source list: a file, or an http:// or https:// address; without it, what is known from
    /// earlier runs is polled
    #[argh(option)]
    sources: Option<ListAddress>,
    /// where peers may write their rows themselves, HOST[:PORT][,HOST[:PORT]...]/DATABASE (default:
    /// nowhere, all rows come over their sessions)
    #[argh(option)]
    peers_database: Option<Database>,
    /// seconds between two readings of the source list and of block lists (default: 3600)
    #[argh(option, from_str_fn(usage::number))]
    refresh: Option<u64>,
    /// seconds without contact after which a source is asked again (default: 3600)
    #[argh(option, from_str_fn(usage::number))]
    interval: Option<u64>,
    /// seconds after which a source that failed is asked again (default: 900)
    #[argh(option, from_str_fn(usage::number))]
    retry_after: Option<u64>,
    /// seconds that a lease lives unless it is renewed (default: 60)
    #[argh(option, from_str_fn(usage::number))]
    lease: Option<u64>,
    /// least seconds between two leases of one operator of sources, and between two requests of
    /// one lease (default: 1)
    #[argh(option, from_str_fn(usage::number))]
    pause: Option<u64>,
    /// days after which the price of a paid package is asked for again (default: 7)
    #[argh(option, from_str_fn(usage::number))]
    price_days: Option<u64>,
    /// error, warn, info, debug or trace (default: info)
    #[argh(option, default = "LevelFilter::Info", from_str_fn(usage::level))]
    log: LevelFilter,
}

/// Try everything on this machine: a throw-away authority, an arbiter, two agents, real sources.
#[derive(FromArgs)]
#[argh(subcommand, name = "demo")]
struct Demo {
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

/// Apply a held change (see `held`).
#[derive(FromArgs)]
#[argh(subcommand, name = "accept")]
struct Accept {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// why, to be read when somebody asks (default: none)
    #[argh(option, default = "String::new()")]
    why: String,
    /// its number in `held`
    #[argh(positional, from_str_fn(usage::number))]
    number: u64,
}

/// Keep a held change from being made.
#[derive(FromArgs)]
#[argh(subcommand, name = "reject")]
struct Reject {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// why, to be read when somebody asks (default: none)
    #[argh(option, default = "String::new()")]
    why: String,
    /// its number in `held`
    #[argh(positional, from_str_fn(usage::number))]
    number: u64,
}

/// Let sources be indexed, whatever policy and block lists say; remembered until `block`.
#[derive(FromArgs)]
#[argh(subcommand, name = "allow")]
struct Allow {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// why, to be read when somebody asks (default: none)
    #[argh(option, default = "String::new()")]
    why: String,
    /// slug:NAME, host:NAME (and all hosts below it), or a uri and all below it
    #[argh(positional)]
    entry: Entry,
}

/// Hide sources at once and index them no more; remembered until `allow`.
#[derive(FromArgs)]
#[argh(subcommand, name = "block")]
struct Block {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// why, to be read when somebody asks (default: none)
    #[argh(option, default = "String::new()")]
    why: String,
    /// slug:NAME, host:NAME (and all hosts below it), or a uri and all below it
    #[argh(positional)]
    entry: Entry,
}

/// Hide a source, poll it no more and delete its data later; remembered until `sync` or `approve` of it
/// by name.
#[derive(FromArgs)]
#[argh(subcommand, name = "delist")]
struct Delist {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// why, to be read when somebody asks (default: none)
    #[argh(option, default = "String::new()")]
    why: String,
    /// its slug
    #[argh(positional)]
    source: String,
}

/// List what was decided by command, newest first, and whether it is in force.
#[derive(FromArgs)]
#[argh(subcommand, name = "decisions")]
struct Decisions {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// List the changes that would hide much and wait for `accept` or `reject`.
#[derive(FromArgs)]
#[argh(subcommand, name = "held")]
struct Held {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Show what the next hours will ask of which operator of servers.
#[derive(FromArgs)]
#[argh(subcommand, name = "plan")]
struct Plan {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// how many (default: 24)
    #[argh(option, default = "24", from_str_fn(usage::number))]
    hours: u64,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Read the configuration file again: policy, poll, politeness and brake.
#[derive(FromArgs)]
#[argh(subcommand, name = "reload")]
struct Reload {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// only say what would change
    #[argh(switch)]
    dry_run: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Show a source and its history.
#[derive(FromArgs)]
#[argh(subcommand, name = "source")]
struct Source {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// its slug
    #[argh(positional)]
    source: String,
}

/// Ask the policy.
#[derive(FromArgs)]
#[argh(subcommand, name = "policy")]
struct Policy {
    #[argh(subcommand)]
    command: PolicyCommand,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum PolicyCommand {
    Check(PolicyCheck),
}

/// Say whether a source may be indexed, or announced by somebody, and which rule decides.
#[derive(FromArgs)]
#[argh(subcommand, name = "check")]
struct PolicyCheck {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// who would announce: peer:NAME, an address, or itself
    #[argh(option, long = "as")]
    announcer: Option<String>,
    /// a known source's slug, or any uri
    #[argh(positional)]
    source: String,
}

/// Show the arbiter as a whole.
#[derive(FromArgs)]
#[argh(subcommand, name = "status")]
struct Status {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// List the sources, with what their last attempt gave.
#[derive(FromArgs)]
#[argh(subcommand, name = "sources")]
struct Sources {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// only those that are due
    #[argh(switch)]
    due: bool,
    /// only those whose last attempt failed by their fault
    #[argh(switch)]
    failing: bool,
    /// only those that the catalogue doesn't show
    #[argh(switch)]
    hidden: bool,
    /// only those of which a change is held
    #[argh(switch)]
    held: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// List the peers.
#[derive(FromArgs)]
#[argh(subcommand, name = "peers")]
struct Peers {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Make a source due at once, also a delisted one; or all that are polled.
#[derive(FromArgs)]
#[argh(subcommand, name = "sync")]
struct Sync {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// slug of the source (default: all that are polled)
    #[argh(positional)]
    source: Option<String>,
}

/// Announce that a source has a new head, as the operator: it is due at once, before others.
#[derive(FromArgs)]
#[argh(subcommand, name = "announce")]
struct Announce {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// slug or uri of the source
    #[argh(positional)]
    source: String,
}

/// Show an announced or a delisted source, and poll it like any other; remembered until `delist`.
#[derive(FromArgs)]
#[argh(subcommand, name = "approve")]
struct Approve {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// why, to be read when somebody asks (default: none)
    #[argh(option, default = "String::new()")]
    why: String,
    /// slug of the source
    #[argh(positional)]
    source: String,
}

/// Search the catalogue; works also while no arbiter runs.
#[derive(FromArgs)]
#[argh(subcommand, name = "search")]
struct Search {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// the database, as for run (default: canister.db in --state)
    #[argh(option)]
    database: Option<DatabaseAddress>,
    /// certificate in PEM to show to the database's server (default:
    /// /etc/canister-arbiter/arbiter.crt)
    #[argh(option, default = "in_directory(\"arbiter.crt\")")]
    database_certificate: PathBuf,
    /// its private key in PEM (default: /etc/canister-arbiter/arbiter.key)
    #[argh(option, default = "in_directory(\"arbiter.key\")")]
    database_key: PathBuf,
    /// authority of the server's certificate, in PEM (default: /etc/canister-arbiter/ca.crt)
    #[argh(option, default = "in_directory(\"ca.crt\")")]
    database_authority: PathBuf,
    /// most results (default: 10)
    #[argh(option, default = "10", from_str_fn(usage::number))]
    limit: usize,
    /// words to look for
    #[argh(positional)]
    words: Vec<String>,
}

fn in_directory(name: &str) -> PathBuf {
    Path::new(config::DIRECTORY).join(name)
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("an address and a port like {} or 127.0.0.1:8443 would work", config::LISTEN)
    })
}

fn main() -> ExitCode {
    usage::main("canister-arbiter", run)
}

fn run(arguments: Arguments) -> Said {
    if arguments.version {
        return Ok(format!("canister-arbiter {}\n", env!("CARGO_PKG_VERSION")));
    }
    let Some(command) = arguments.command else {
        return Err(Failure::Usage("no command given; --help lists them".to_owned()));
    };
    match command {
        Command::Accept(accept) => decide(&accept.state, accept.number, true, accept.why),
        Command::Reject(reject) => decide(&reject.state, reject.number, false, reject.why),
        Command::Allow(allow) => rule(&allow.state, allow.entry, true, allow.why),
        Command::Block(block) => rule(&block.state, block.entry, false, block.why),
        Command::Decisions(decisions) => {
            let found: Vec<DecisionReport> = ask(&decisions.state, &Request::Decisions)?;
            show(decisions.json, &found, |found| report::decisions(found))
        }
        Command::Delist(delist) => {
            let Delist { state, why, source } = delist;
            let request = Request::Delist { source: source.clone(), by: user(), why };
            ask::<Changed>(&state, &request)?;
            Ok(format!("{source} delisted\n"))
        }
        Command::Held(held) => {
            let found: Vec<HeldReport> = ask(&held.state, &Request::Held)?;
            show(held.json, &found, |found| report::held(found, wall_millis()))
        }
        Command::Plan(plan) => {
            let hours = plan.hours;
            let found: Vec<PlanReport> = ask(&plan.state, &Request::Plan { hours })?;
            show(plan.json, &found, |found| report::plan(found, wall_millis()))
        }
        Command::Policy(Policy { command: PolicyCommand::Check(check) }) => {
            let (source, announcer) = (check.source, check.announcer);
            ask::<String>(&check.state, &Request::Check { source, announcer })
        }
        Command::Reload(reload) => {
            let is_dry = reload.dry_run;
            let found: Changed = ask(&reload.state, &Request::Reload { is_dry })?;
            show(reload.json, &found, report::changed)
        }
        Command::Source(source) => {
            let slug = source.source;
            let found: HistoryReport = ask(&source.state, &Request::Source { source: slug })?;
            show(source.json, &found, |found| report::history(found, wall_millis()))
        }
        Command::Announce(announce) => {
            let source = announce.source;
            ask::<String>(&announce.state, &Request::Announce { source })
        }
        Command::Approve(approve) => {
            let Approve { state, why, source } = approve;
            let request = Request::Approve { source: source.clone(), by: user(), why };
            ask::<Changed>(&state, &request)?;
            Ok(format!("{source} approved and due\n"))
        }
        Command::Ca(ca) => ca_commands::run(ca),
        Command::Demo(demo) => {
            let config = DemoConfig {
                dir: demo.dir,
                sources: demo.sources,
                database: demo.database,
                agent: demo.agent,
            };
            demo::run(&config, &mut io::stderr()).map_err(failed)
        }
        Command::Peers(peers) => {
            let found: Vec<PeerReport> = ask(&peers.state, &Request::Peers)?;
            if peers.json { json(&found) } else { Ok(report::peers(&found, wall_millis())) }
        }
        Command::Run(run) => start(run),
        Command::Search(search) => {
            if search.words.is_empty() {
                return Err(Failure::Usage(
                    "no words to search for; search WORDS would work".to_owned(),
                ));
            }
            let embedded = || DatabaseAddress::embedded(&search.state);
            let files = Files {
                certificate: search.database_certificate,
                key: search.database_key,
                authority: search.database_authority,
            };
            let database = search.database.unwrap_or_else(embedded);
            let database = database.with_identity(&files).map_err(failed)?;
            let mut store = store::open_read_only(&database).map_err(failed)?;
            let found = store.search(&search.words.join(" "), search.limit).map_err(failed)?;
            Ok(report::found(&found))
        }
        Command::Sources(sources) => {
            let mut found: Vec<SourceReport> = ask(&sources.state, &Request::Sources)?;
            found.retain(|source| {
                (!sources.due || source.state == "due")
                    && (!sources.failing || source.failures > 0)
                    && (!sources.hidden || !source.is_shown)
                    && (!sources.held || source.is_held)
            });
            let now = wall_millis();
            if sources.json { json(&found) } else { Ok(report::sources(&found, now)) }
        }
        Command::Status(status) => {
            let found: StatusReport = ask(&status.state, &Request::Status)?;
            if status.json { json(&found) } else { Ok(report::status(&found, wall_millis())) }
        }
        Command::Sync(sync) => {
            let source = sync.source.clone();
            let due: u64 = ask(&sync.state, &Request::Sync { source, by: user() })?;
            match sync.source {
                Some(slug) if due == 0 => Err(Failure::Failed(format!(
                    "no source on the source list is called {slug:?}; `sources` lists them"
                ))),
                _ => Ok(format!("{due} made due\n")),
            }
        }
    }
}

/// JSON if that is wanted, else text for a terminal.
fn show<T: serde::Serialize>(is_json: bool, found: &T, text: impl Fn(&T) -> String) -> Said {
    if is_json { json(found) } else { Ok(text(found)) }
}

fn decide(state: &Path, number: u64, is_accepted: bool, why: String) -> Said {
    let request = Request::Decide { number, is_accepted, by: user(), why };
    ask::<String>(state, &request)
}

fn rule(state: &Path, entry: Entry, is_allowed: bool, why: String) -> Said {
    let request = Request::Rule { entry, is_allowed, by: user(), why };
    let changed: Changed = ask(state, &request)?;
    Ok(report::changed(&changed))
}

/// Who gives the command, as far as the environment says: for the operator's own memory.
fn user() -> String {
    let names = ["SUDO_USER", "USER", "LOGNAME"].into_iter();
    names
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

fn start(run: Run) -> Said {
    if let Some(lease) = run.lease
        && !(5..=86_400).contains(&lease)
    {
        let why = format!("--lease {lease}: 5 to 86400 seconds would work");
        return Err(Failure::Usage(why));
    }
    let seconds = |secs: Option<u64>| secs.map(Duration::from_secs);
    let days = |days: u64| days.saturating_mul(24 * 60 * 60);
    let flags = Flags {
        config: run.config,
        listen: run.listen,
        public: run.public,
        trust_announcements: run.trust_announcements,
        trusted_proxies: run.trusted_proxy,
        certificate: run.certificate,
        key: run.key,
        authority: run.authority,
        revocations: run.revocations,
        issuer: run.issuer,
        passphrase: run.passphrase_file,
        database: run.database,
        database_certificate: run.database_certificate,
        database_key: run.database_key,
        database_authority: run.database_authority,
        state: run.state,
        peers_database: run.peers_database,
        sources: run.sources,
        refresh: seconds(run.refresh.map(|secs| secs.max(1))),
        interval: seconds(run.interval),
        retry_after: seconds(run.retry_after),
        lease: seconds(run.lease),
        price_age: seconds(run.price_days.map(days)),
        pause: seconds(run.pause),
    };
    let config = RunConfig::read(&flags).map_err(|why| match flags.config {
        Some(_) => Failure::Failed(why),
        None => Failure::Usage(why),
    })?;
    let authority = match &config.issuer {
        Some(dir) => {
            let authority = ca_commands::open(dir, config.passphrase.as_deref())?;
            authority.writable().map_err(failed)?;
            Some(authority)
        }
        None => None,
    };
    logging::start(run.log);
    arbiter::run(&config, authority).map_err(failed)?;
    Ok(String::new())
}

fn ask<T: serde::de::DeserializeOwned>(state: &Path, request: &Request) -> Result<T, Failure> {
    admin::ask(&state.join(config::SOCKET_NAME), request).map_err(Failure::Failed)
}

fn json<T: serde::Serialize>(value: &T) -> Said {
    let mut text = serde_json::to_string_pretty(value).map_err(failed)?;
    text.push('\n');
    Ok(text)
}

fn failed(cause: impl std::fmt::Display) -> Failure {
    Failure::Failed(cause.to_string())
}
