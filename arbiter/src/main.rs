//! `canister-arbiter`: its command line, and what each command does. Exit status 0, 1 (failed) or
//! 2 (usage).

use argh::FromArgs;
use canister_agent::clock::wall_millis;
use canister_agent::logging;
use canister_agent::usage::{self, Failure, Said};
use canister_arbiter::admin::{
    self, HeldReport, HistoryReport, PeerReport, PlanReport, Request, SourceReport, StatusReport,
};
use canister_arbiter::ca::{self, Authority};
use canister_arbiter::config::file::OptionalAddress;
use canister_arbiter::config::{self, Flags, ListAddress, RunConfig};
use canister_arbiter::demo::{self, DemoConfig};
use canister_arbiter::entry::Entry;
use canister_arbiter::public::Proxy;
use canister_arbiter::reload::Changed;
use canister_arbiter::store::{Catalogue as _, Sqlite};
use canister_arbiter::{arbiter, report};
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
    Ca(Ca),
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
    /// folder of the database and the admin socket (default: /var/lib/canister-arbiter)
    #[argh(option)]
    state: Option<PathBuf>,
    /// source list: a file, or an http:// or https:// address; without it, what is known from
    /// earlier runs is polled
    #[argh(option)]
    sources: Option<ListAddress>,
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
    /// the agent's program (default: canister-agent beside this program)
    #[argh(option)]
    agent: Option<PathBuf>,
}

/// Let a held change be made.
#[derive(FromArgs)]
#[argh(subcommand, name = "accept")]
struct Accept {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
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

/// Hide a source, poll it no more and delete its data later; `sync` brings it back.
#[derive(FromArgs)]
#[argh(subcommand, name = "delist")]
struct Delist {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// its slug
    #[argh(positional)]
    source: String,
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

/// Make a source due at once, or all of them.
#[derive(FromArgs)]
#[argh(subcommand, name = "sync")]
struct Sync {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
    /// slug of the source (default: all sources)
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

/// Show an announced source, and poll it like any other.
#[derive(FromArgs)]
#[argh(subcommand, name = "approve")]
struct Approve {
    /// the arbiter's folder (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
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
    /// most results (default: 10)
    #[argh(option, default = "10", from_str_fn(usage::number))]
    limit: usize,
    /// words to look for
    #[argh(positional)]
    words: Vec<String>,
}

/// Make and sign certificates.
#[derive(FromArgs)]
#[argh(subcommand, name = "ca")]
struct Ca {
    #[argh(subcommand)]
    command: CaCommand,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum CaCommand {
    Init(CaInit),
    Server(CaServer),
    Sign(CaSign),
}

/// Make a new authority: ca.crt and ca.key.
#[derive(FromArgs)]
#[argh(subcommand, name = "init")]
struct CaInit {
    /// the authority's folder (default: /etc/canister-arbiter)
    #[argh(option, default = "config::DIRECTORY.into()")]
    dir: PathBuf,
}

/// Make an arbiter's key and certificate: arbiter.key and arbiter.crt.
#[derive(FromArgs)]
#[argh(subcommand, name = "server")]
struct CaServer {
    /// the authority's folder (default: /etc/canister-arbiter)
    #[argh(option, default = "config::DIRECTORY.into()")]
    dir: PathBuf,
    /// folder to write to (default: the authority's)
    #[argh(option)]
    out: Option<PathBuf>,
    /// days until it ends (default: 365)
    #[argh(option, default = "ca::DAYS", from_str_fn(usage::number))]
    days: u32,
    /// host names and addresses under which peers reach it
    #[argh(positional)]
    names: Vec<String>,
}

/// Sign a peer's request and print the certificate.
#[derive(FromArgs)]
#[argh(subcommand, name = "sign")]
struct CaSign {
    /// the authority's folder (default: /etc/canister-arbiter)
    #[argh(option, default = "config::DIRECTORY.into()")]
    dir: PathBuf,
    /// the peer's name, if it shall not be the request's common name
    #[argh(option)]
    name: Option<String>,
    /// days until it ends (default: 365)
    #[argh(option, default = "ca::DAYS", from_str_fn(usage::number))]
    days: u32,
    /// file to write instead of standard output; must not be there yet
    #[argh(option)]
    out: Option<PathBuf>,
    /// the signing request in PEM
    #[argh(positional)]
    request: PathBuf,
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "an address and a port like {} or 127.0.0.1:8443 would work",
            config::LISTEN
        )
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
        return Err(Failure::Usage(
            "no command given; --help lists them".to_owned(),
        ));
    };
    match command {
        Command::Accept(accept) => decide(&accept.state, accept.number, true),
        Command::Reject(reject) => decide(&reject.state, reject.number, false),
        Command::Allow(allow) => rule(&allow.state, allow.entry, true, allow.why),
        Command::Block(block) => rule(&block.state, block.entry, false, block.why),
        Command::Delist(delist) => {
            let source = delist.source.clone();
            match ask(&delist.state, &Request::Delist { source })? {
                true => Ok(format!("{} delisted\n", delist.source)),
                false => Err(Failure::Failed(format!(
                    "no source on the source list is called {:?}; `sources` lists them",
                    delist.source
                ))),
            }
        }
        Command::Held(held) => {
            let found: Vec<HeldReport> = ask(&held.state, &Request::Held)?;
            show(held.json, &found, |found| {
                report::held(found, wall_millis())
            })
        }
        Command::Plan(plan) => {
            let hours = plan.hours;
            let found: Vec<PlanReport> = ask(&plan.state, &Request::Plan { hours })?;
            show(plan.json, &found, |found| {
                report::plan(found, wall_millis())
            })
        }
        Command::Policy(Policy {
            command: PolicyCommand::Check(check),
        }) => {
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
            show(source.json, &found, |found| {
                report::history(found, wall_millis())
            })
        }
        Command::Announce(announce) => {
            let source = announce.source;
            ask::<String>(&announce.state, &Request::Announce { source })
        }
        Command::Approve(approve) => {
            let source = approve.source;
            let request = Request::Approve {
                source: source.clone(),
            };
            match ask(&approve.state, &request)? {
                true => Ok(format!("{source} approved and due\n")),
                false => Err(Failure::Failed(format!(
                    "no announced source waits that is called {source:?}; `sources` lists them"
                ))),
            }
        }
        Command::Ca(Ca {
            command: CaCommand::Init(init),
        }) => ca_init(&init),
        Command::Ca(Ca {
            command: CaCommand::Server(server),
        }) => ca_server(&server),
        Command::Ca(Ca {
            command: CaCommand::Sign(sign),
        }) => ca_sign(&sign),
        Command::Demo(demo) => {
            let config = DemoConfig {
                dir: demo.dir,
                sources: demo.sources,
                agent: demo.agent,
            };
            demo::run(&config, &mut io::stderr()).map_err(failed)
        }
        Command::Peers(peers) => {
            let found: Vec<PeerReport> = ask(&peers.state, &Request::Peers)?;
            if peers.json {
                json(&found)
            } else {
                Ok(report::peers(&found))
            }
        }
        Command::Run(run) => start(run),
        Command::Search(search) => {
            if search.words.is_empty() {
                return Err(Failure::Usage(
                    "no words to search for; search WORDS would work".to_owned(),
                ));
            }
            let database = search.state.join(config::DATABASE_NAME);
            let mut store = Sqlite::open_read_only(&database).map_err(failed)?;
            let found = store
                .search(&search.words.join(" "), search.limit)
                .map_err(failed)?;
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
            if sources.json {
                json(&found)
            } else {
                Ok(report::sources(&found, now))
            }
        }
        Command::Status(status) => {
            let found: StatusReport = ask(&status.state, &Request::Status)?;
            if status.json {
                json(&found)
            } else {
                Ok(report::status(&found))
            }
        }
        Command::Sync(sync) => {
            let source = sync.source.clone();
            let due: u64 = ask(&sync.state, &Request::Sync { source })?;
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
    if is_json {
        json(found)
    } else {
        Ok(text(found))
    }
}

fn decide(state: &Path, number: u64, is_accepted: bool) -> Said {
    let by = user();
    let request = Request::Decide {
        number,
        is_accepted,
        by,
    };
    ask::<String>(state, &request)
}

fn rule(state: &Path, entry: Entry, is_allowed: bool, why: String) -> Said {
    let request = Request::Rule {
        entry,
        is_allowed,
        by: user(),
        why,
    };
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
        state: run.state,
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
    logging::start(run.log);
    arbiter::run(&config).map_err(failed)?;
    Ok(String::new())
}

fn ca_init(init: &CaInit) -> Said {
    Authority::init(&init.dir).map_err(failed)?;
    let (certificate, key) = (init.dir.join("ca.crt"), init.dir.join("ca.key"));
    Ok(format!(
        "{} for everyone, {} for nobody else\n",
        certificate.display(),
        key.display()
    ))
}

fn ca_server(server: &CaServer) -> Said {
    if server.names.is_empty() {
        let why = "no host name or address given under which peers reach the arbiter";
        return Err(Failure::Usage(why.to_owned()));
    }
    check_days(server.days)?;
    let authority = Authority::open(&server.dir).map_err(failed)?;
    let pair = authority
        .new_server(&server.names, server.days)
        .map_err(failed)?;
    let out = server.out.as_ref().unwrap_or(&server.dir);
    pair.write(out, "arbiter").map_err(failed)?;
    Ok(format!("{}\n", out.join("arbiter.crt").display()))
}

fn check_days(days: u32) -> Result<(), Failure> {
    // A certificate ends with its authority's at the latest.
    if (1..=ca::AUTHORITY_DAYS).contains(&days) {
        return Ok(());
    }
    let why = format!("--days {days}: 1 to {} would work", ca::AUTHORITY_DAYS);
    Err(Failure::Usage(why))
}

fn ca_sign(sign: &CaSign) -> Said {
    check_days(sign.days)?;
    let authority = Authority::open(&sign.dir).map_err(failed)?;
    let (name, certificate) = authority
        .sign(&sign.request, sign.name.as_deref(), sign.days)
        .map_err(failed)?;
    let Some(out) = &sign.out else {
        return Ok(certificate);
    };
    ca::write_new(out, &certificate, 0o644).map_err(failed)?;
    Ok(format!(
        "{}: peer {name}, {} days\n",
        out.display(),
        sign.days
    ))
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
