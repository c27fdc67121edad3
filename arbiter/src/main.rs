//! `canister-arbiter`: its command line, and what each command does. Exit status 0, 1 (failed) or
//! 2 (usage).

use argh::FromArgs;
use canister_agent::identity::Files;
use canister_agent::logging;
use canister_agent::usage::{self, Failure, Said};
use canister_arbiter::admin::{self, PeerReport, Request, SourceReport, StatusReport};
use canister_arbiter::ca::{self, Authority};
use canister_arbiter::config::{self, DatabaseAddress, ListAddress, RunConfig};
use canister_arbiter::demo::{self, DemoConfig};
use canister_arbiter::schedule::PollSchedule;
use canister_arbiter::store::postgres::{Address, Postgres};
use canister_arbiter::{arbiter, report, store};
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
enum Command {
    Ca(Ca),
    Demo(Demo),
    Peers(Peers),
    Run(Run),
    Search(Search),
    Sources(Sources),
    Status(Status),
    Sync(Sync),
}

/// Run the arbiter until SIGTERM.
#[derive(FromArgs)]
#[argh(subcommand, name = "run")]
struct Run {
    /// address and port for peers (default: [::]:443)
    #[argh(option, default = "default_listen()", from_str_fn(listen))]
    listen: SocketAddr,
    /// the arbiter's certificate in PEM (default: /etc/canister-arbiter/arbiter.crt)
    #[argh(option, default = "in_directory(\"arbiter.crt\")")]
    certificate: PathBuf,
    /// its private key in PEM (default: /etc/canister-arbiter/arbiter.key)
    #[argh(option, default = "in_directory(\"arbiter.key\")")]
    key: PathBuf,
    /// the authority's certificate in PEM (default: /etc/canister-arbiter/ca.crt)
    #[argh(option, default = "in_directory(\"ca.crt\")")]
    authority: PathBuf,
    /// folder of the database and the admin socket (default: /var/lib/canister-arbiter)
    #[argh(option, default = "config::STATE_DIRECTORY.into()")]
    state: PathBuf,
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
    /// seconds between two readings of the source list (default: 3600)
    #[argh(option, default = "config::REFRESH_SECS", from_str_fn(usage::number))]
    refresh: u64,
    /// seconds without contact after which a source is asked again (default: 3600)
    #[argh(
        option,
        default = "PollSchedule::default().interval.as_secs()",
        from_str_fn(usage::number)
    )]
    interval: u64,
    /// seconds after which a source that failed is asked again (default: 900)
    #[argh(
        option,
        default = "PollSchedule::default().retry_after.as_secs()",
        from_str_fn(usage::number)
    )]
    retry_after: u64,
    /// seconds that a lease lives unless it is renewed (default: 60)
    #[argh(option, default = "config::LEASE_SECS", from_str_fn(usage::number))]
    lease: u64,
    /// least seconds between two leases of one operator of sources (default: 0)
    #[argh(option, default = "0", from_str_fn(usage::number))]
    pause: u64,
    /// days after which the price of a paid package is asked for again (default: 7)
    #[argh(option, default = "config::PRICE_DAYS")]
    price_days: u64,
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
    /// database in which to make the peer's role, so that it may write there itself:
    /// postgres://USER@HOST[:PORT][,HOST...]/NAME or 'host=... dbname=...'
    #[argh(option)]
    database: Option<Address>,
    /// certificate in PEM to show to the database's server (default:
    /// /etc/canister-arbiter/arbiter.crt)
    #[argh(option, default = "in_directory(\"arbiter.crt\")")]
    database_certificate: PathBuf,
    /// its private key in PEM (default: /etc/canister-arbiter/arbiter.key)
    #[argh(option, default = "in_directory(\"arbiter.key\")")]
    database_key: PathBuf,
    /// the signing request in PEM
    #[argh(positional)]
    request: PathBuf,
}

fn default_listen() -> SocketAddr {
    config::LISTEN.parse().expect("the constant is an address")
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "an address and a port like {} or 127.0.0.1:8443 would work",
            config::LISTEN
        )
    })
}

fn in_directory(name: &str) -> PathBuf {
    Path::new(config::DIRECTORY).join(name)
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
                database: demo.database,
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
            let embedded = || DatabaseAddress::embedded(&search.state);
            let files = Files {
                certificate: search.database_certificate,
                key: search.database_key,
                authority: search.database_authority,
            };
            let database = search.database.unwrap_or_else(embedded);
            let database = database.with_identity(&files).map_err(failed)?;
            let mut store = store::open_read_only(&database).map_err(failed)?;
            let found = store
                .search(&search.words.join(" "), search.limit)
                .map_err(failed)?;
            Ok(report::found(&found))
        }
        Command::Sources(sources) => {
            let found: Vec<SourceReport> = ask(&sources.state, &Request::Sources)?;
            let now = canister_agent::clock::wall_millis();
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

fn start(run: Run) -> Said {
    let seconds = Duration::from_secs;
    if !(5..=86_400).contains(&run.lease) {
        let why = format!("--lease {}: 5 to 86400 seconds would work", run.lease);
        return Err(Failure::Usage(why));
    }
    let schedule = PollSchedule {
        interval: seconds(run.interval),
        retry_after: seconds(run.retry_after),
        ..PollSchedule::default()
    };
    let schedule = schedule
        .checked()
        .map_err(|why| Failure::Usage(why.to_string()))?;
    logging::start(run.log);
    let files = Files {
        certificate: run.certificate,
        key: run.key,
        authority: run.authority,
    };
    let for_database = Files {
        certificate: run
            .database_certificate
            .unwrap_or_else(|| files.certificate.clone()),
        key: run.database_key.unwrap_or_else(|| files.key.clone()),
        authority: run
            .database_authority
            .unwrap_or_else(|| files.authority.clone()),
    };
    let embedded = || DatabaseAddress::embedded(&run.state);
    let database = run.database.unwrap_or_else(embedded);
    let config = RunConfig {
        listen: run.listen,
        database: database.with_identity(&for_database).map_err(failed)?,
        files,
        state: run.state,
        peers_database: run.peers_database,
        sources: run.sources,
        refresh: seconds(run.refresh.max(1)),
        schedule,
        lease: seconds(run.lease),
        price_age: seconds(run.price_days.saturating_mul(24 * 60 * 60)),
        pause: seconds(run.pause),
    };
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
    if let Some(database) = sign.database.clone() {
        let files = Files {
            certificate: sign.database_certificate.clone(),
            key: sign.database_key.clone(),
            authority: sign.dir.join("ca.crt"),
        };
        let address = database.with_identity(&files).map_err(failed)?;
        let mut store = Postgres::open_for_roles(address).map_err(failed)?;
        store.create_role(&name).map_err(failed)?;
    }
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
