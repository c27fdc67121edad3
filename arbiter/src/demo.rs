//! `canister-arbiter demo`: the whole path on one machine, with nothing made up. A throw-away
//! authority, this program as the arbiter and two agents as processes of their own, TLS between
//! them, real sources.
//!
//! The folder is kept: a second run finds the catalogue of the first, so it shows what an unchanged
//! source costs.

use crate::apt_sources::{self, Unusable};
use crate::config;
use crate::doors::admin::{self, AttemptReport, Request, SourceReport, StatusReport};
use crate::report::Table;
use crate::rules::sources::{self, SourceList};
use crate::rules::text::{mebibytes, thousands};
use crate::store::DatabaseAddress;
use crate::store::{self, Found, StoreError, Verdict};
use canister_authority::{Authority, CaError, DAYS};
use canister_link::clock;
use canister_link::identity::Files;
use canister_link::process::peak_rss_bytes;
use canister_link::settings::PREFIX;
use canister_protocol::Source;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How many agents are started.
const AGENTS: usize = 2;
/// How long the arbiter may take until it answers.
const START_MAX: Duration = Duration::from_secs(15);
/// How long the whole of the indexing may take.
const INDEX_MAX: Duration = Duration::from_secs(900);
/// How long a program may take to stop.
const STOP_MAX: Duration = Duration::from_secs(15);
/// How often the arbiter is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Words to search for, until three results are found: some of everybody's sources have one.
const WORDS: [&str; 8] =
    ["editor", "compression", "network", "theme", "tweak", "game", "library", "package"];
/// How many sample results are shown.
const SAMPLES: usize = 3;

/// The settings of [`run`].
#[derive(Debug)]
pub struct DemoConfig {
    /// Folder for everything; made if need be, kept.
    pub dir: PathBuf,
    /// A source list instead of this machine's apt sources.
    pub sources: Option<PathBuf>,
    /// The database instead of a file in the folder, as `run --database` takes it.
    pub database: Option<String>,
    /// The agent's program instead of the one beside this program.
    pub agent: Option<PathBuf>,
}

/// Why the demo failed. Displayed as one line with what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum DemoError {
    /// A certificate couldn't be made.
    Ca(CaError),
    /// A file or folder can't be read, written or made.
    File(&'static str, PathBuf, io::Error),
    /// There is nothing to index.
    NoSources(String),
    /// No source could be indexed; the table says why.
    NothingIndexed(String),
    /// A program couldn't be started, or ended too early.
    Program(String),
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ca(cause) => write!(f, "{cause}"),
            Self::File(verb @ "make folder", path, cause) => {
                write!(f, "{verb} {}: {cause}; --dir names another", path.display())
            }
            Self::File(verb @ "read source list", path, cause) => {
                write!(f, "{verb} {}: {cause}; --sources names another", path.display())
            }
            Self::File(verb, path, cause) => write!(f, "{verb} {}: {cause}", path.display()),
            Self::NoSources(why) => f.write_str(why),
            Self::NothingIndexed(table) => {
                write!(f, "no source could be indexed\n{}", table.trim_end())
            }
            Self::Program(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for DemoError {}

impl From<CaError> for DemoError {
    fn from(cause: CaError) -> Self {
        Self::Ca(cause)
    }
}

/// Runs the demo: progress goes to `progress`, the result is the text for standard output.
///
/// # Errors
/// [`DemoError`], also if no source could be indexed.
pub fn run(config: &DemoConfig, progress: &mut impl Write) -> Result<String, DemoError> {
    let began = clock::now();
    let database = config.database.as_deref().map(str::parse::<DatabaseAddress>);
    let database = database.transpose();
    let database = database.map_err(|cause| DemoError::Program(format!("--database: {cause}")))?;
    let dir = std::path::absolute(&config.dir)
        .map_err(|cause| DemoError::File("find", config.dir.clone(), cause))?;
    make_folder(&dir)?;
    let (sources, unusable) = wanted(config)?;
    let list = dir.join("sources.json");
    write(&list, &as_list(&sources))?;
    say(progress, &format!("{} sources to index, in {}", sources.len(), dir.display()));

    let certificates = dir.join("certificates");
    make_certificates(&certificates)?;
    // Attempts from here on are this run's.
    let since = clock::wall_millis();
    let mut programs = Programs::default();
    let state = dir.join("state");
    let StatusReport { listen, public, .. } =
        start_arbiter(&mut programs, config, &dir, &certificates, &state, &list)?;
    let socket = state.join(config::SOCKET_NAME);
    ask::<u64>(&socket, &Request::Sync { source: None, by: "demo".to_owned() })?;
    for number in 1..=AGENTS {
        start_agent(&mut programs, config, &dir, &certificates, &listen, number)?;
    }
    say(progress, &format!("arbiter on {listen}, {AGENTS} agents connect to it"));
    if let Some(public) = public {
        say(progress, &format!("its status page, until the end: http://{public}/"));
    }
    let reports = watch(&mut programs, &socket, since, &sources, progress)?;
    let took = clock::now() - began;
    let rss = programs.peak_rss();
    programs.stop();

    let mut text = table(&reports, &unusable, since);
    let _ = writeln!(text, "\nwhole run: {:.1} s", took.as_secs_f64());
    for (name, bytes) in rss {
        let _ = writeln!(text, "peak memory of {name}: {}", mebibytes(bytes));
    }
    let is_any = reports.iter().any(|report| done(report, since).is_some_and(is_good));
    if !is_any {
        return Err(DemoError::NothingIndexed(text));
    }
    text.push_str("\nfrom the catalogue:\n");
    let database = database.unwrap_or_else(|| DatabaseAddress::embedded(&state));
    let files = Files {
        certificate: certificates.join("arbiter.crt"),
        key: certificates.join("arbiter.key"),
        authority: certificates.join("ca.crt"),
    };
    let database = database.with_identity(&files);
    let database = database.map_err(|cause| DemoError::Program(cause.to_string()))?;
    for (words, found) in samples(&database)? {
        let what = found.description.as_deref().or(found.name.as_deref()).unwrap_or_default();
        let what = what.lines().next().unwrap_or_default();
        let _ = writeln!(
            text,
            "  {words:?} finds {} {} ({}): {what}",
            found.package_id, found.version, found.repository_id
        );
    }
    let program = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let (program, state) = (program.display(), state.display());
    let (kind, search) = match &database {
        DatabaseAddress::File(_) => ("an SQLite database", format!("--state {state}")),
        DatabaseAddress::Server(_) => {
            let given = config.database.as_deref().unwrap_or_default();
            ("a PostgreSQL database", format!("--database '{given}'"))
        }
    };
    let _ = write!(
        text,
        "\nthe catalogue is {database}, {kind}; the programs' logs are {}/*.log\n\
         next:\n  {program} search {search} WORDS\n  \
         the same command again: one request a source, for nothing has changed\n",
        dir.display()
    );
    Ok(text)
}

/// What to index, and what can't be.
fn wanted(config: &DemoConfig) -> Result<(Vec<Source>, Vec<Unusable>), DemoError> {
    let found = match &config.sources {
        Some(path) => {
            let file = File::open(path)
                .map_err(|cause| DemoError::File("read source list", path.clone(), cause))?;
            let SourceList { sources, skipped } = sources::read(file).map_err(|cause| {
                DemoError::NoSources(format!("read source list {}: {cause}", path.display()))
            })?;
            let unusable = skipped.into_iter().map(|skipped| Unusable {
                what: skipped.slug.unwrap_or_else(|| format!("entry {}", skipped.index)),
                why: skipped.why,
            });
            (sources, unusable.collect())
        }
        None => apt_sources::of_this_machine().map_err(DemoError::NoSources)?,
    };
    if found.0.is_empty() {
        let mut why = "nothing to index: use --sources FILE with a source list".to_owned();
        for unusable in found.1 {
            let _ = write!(why, "; {}: {}", unusable.what, unusable.why);
        }
        return Err(DemoError::NoSources(why));
    }
    Ok(found)
}

/// Sources in the form of a source list.
fn as_list(sources: &[Source]) -> String {
    let entry = |source: &Source| {
        serde_json::json!({
            "slug": source.slug,
            "uri": source.uri,
            "suite": source.suite,
            "component": source.component,
            "binary": source.architecture,
            "ranking": source.ranking,
            "aliases": source.aliases,
            "bootstrap": source.bootstrap,
            "headers": source.headers,
        })
    };
    serde_json::Value::from_iter(sources.iter().map(entry)).to_string()
}

/// A new authority and certificates each time: they are thrown away.
fn make_certificates(dir: &Path) -> Result<(), DemoError> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)
            .map_err(|cause| DemoError::File("empty folder", dir.to_owned(), cause))?;
    }
    let authority = Authority::init(dir)?;
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    authority.new_server(&names, DAYS)?.write(dir, "arbiter")?;
    for number in 1..=AGENTS {
        let name = format!("demo-{number}");
        authority.new_peer(&name, DAYS)?.write(dir, &name)?;
    }
    Ok(())
}

/// Starts the arbiter and waits until it answers; returns where peers reach it.
fn start_arbiter(
    programs: &mut Programs,
    config: &DemoConfig,
    dir: &Path,
    certificates: &Path,
    state: &Path,
    list: &Path,
) -> Result<StatusReport, DemoError> {
    let program = std::env::current_exe()
        .map_err(|cause| DemoError::File("find", PathBuf::from("this program"), cause))?;
    let mut command = Command::new(program);
    // What this shell says of another arbiter is not said of this one.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with(PREFIX) {
            command.env_remove(name);
        }
    }
    // One machine has no second opinion.
    command.args([
        "run",
        "--listen",
        "127.0.0.1:0",
        "--public",
        "127.0.0.1:0",
        "--audit-share",
        "0",
    ]);
    command.arg("--certificate").arg(certificates.join("arbiter.crt"));
    command.arg("--key").arg(certificates.join("arbiter.key"));
    command.arg("--authority").arg(certificates.join("ca.crt"));
    command.arg("--state").arg(state).arg("--sources").arg(list);
    if let Some(database) = &config.database {
        command.arg("--database").arg(database);
    }
    programs.start("arbiter", command, &dir.join("arbiter.log"))?;
    let socket = state.join(config::SOCKET_NAME);
    let deadline = clock::now() + START_MAX;
    loop {
        programs.check()?;
        match admin::ask::<StatusReport>(&socket, &Request::Status) {
            Ok(status) => return Ok(status),
            Err(why) if clock::now() >= deadline => return Err(DemoError::Program(why)),
            Err(_) => clock::sleep(LOOK_EVERY / 5),
        }
    }
}

fn start_agent(
    programs: &mut Programs,
    config: &DemoConfig,
    dir: &Path,
    certificates: &Path,
    listen: &str,
    number: usize,
) -> Result<(), DemoError> {
    let program = match &config.agent {
        Some(program) => program.clone(),
        None => std::env::current_exe()
            .map_err(|cause| DemoError::File("find", PathBuf::from("this program"), cause))?
            .with_file_name("canister-agent"),
    };
    let name = format!("demo-{number}");
    let mut command = Command::new(program);
    command.args(["run", "--arbiter", &format!("wss://{listen}/connect")]);
    command.arg("--certificate").arg(certificates.join(format!("{name}.crt")));
    command.arg("--key").arg(certificates.join(format!("{name}.key")));
    command.arg("--authority").arg(certificates.join("ca.crt"));
    // What this machine's own configuration names may be reached, wherever it is.
    command.arg("--allow-private");
    programs.start(&format!("agent {name}"), command, &dir.join(format!("{name}.log")))
}

/// Waits until every source has had an attempt that says something about it; tells of each.
fn watch(
    programs: &mut Programs,
    socket: &Path,
    since: u64,
    wanted: &[Source],
    progress: &mut impl Write,
) -> Result<Vec<SourceReport>, DemoError> {
    let is_terminal = io::stderr().is_terminal();
    let deadline = clock::now() + INDEX_MAX;
    let mut told: Vec<String> = Vec::new();
    loop {
        programs.check()?;
        // While the store publishes for long, the last answer is as good.
        let ask = |request: &Request| admin::ask_or_last(socket, request).map(|(page, _)| page);
        let pages = admin::pages_of_sources(ask).collect::<Result<Vec<_>, _>>();
        let mut reports = pages.map_err(DemoError::Program)?.concat();
        reports.retain(|report| wanted.iter().any(|source| source.slug == report.source));
        for report in &reports {
            let Some(attempt) = done(report, since) else {
                continue;
            };
            if told.contains(&report.source) {
                continue;
            }
            told.push(report.source.clone());
            clear(progress, is_terminal);
            let packages = thousands(report.packages);
            let line = format!(
                "{:>3}/{}  {}: {}, {packages} packages, {:.1} s, by {}",
                told.len(),
                reports.len(),
                report.source,
                attempt.verdict,
                attempt.millis as f64 / 1000.0,
                attempt.peer
            );
            say(progress, &line);
        }
        if reports.iter().all(|report| done(report, since).is_some()) || clock::now() >= deadline {
            clear(progress, is_terminal);
            return Ok(reports);
        }
        if is_terminal {
            let leased: Vec<_> = reports
                .iter()
                .filter_map(|report| Some(format!("{} ({})", report.source, report.peer.as_ref()?)))
                .collect();
            clear(progress, is_terminal);
            let _ = write!(progress, "working on {}", leased.join(", "));
            let _ = progress.flush();
        }
        clock::sleep(LOOK_EVERY);
    }
}

/// The source's attempt of this run, if it says something about the source.
fn done(report: &SourceReport, since: u64) -> Option<&AttemptReport> {
    let verdicts = [Verdict::Audited, Verdict::Indexed, Verdict::SourceFailed, Verdict::Unchanged];
    report.last_attempt.as_ref().filter(|attempt| {
        attempt.ended >= since && verdicts.iter().any(|verdict| verdict.words() == attempt.verdict)
    })
}

fn is_good(attempt: &AttemptReport) -> bool {
    attempt.verdict != Verdict::SourceFailed.words()
}

fn table(reports: &[SourceReport], unusable: &[Unusable], since: u64) -> String {
    let mut table = Table::new(["source", "packages", "requests", "bytes", "seconds", "outcome"]);
    let none = || "-".to_owned();
    for report in reports {
        let source = report.source.clone();
        let packages = thousands(report.packages);
        match done(report, since) {
            Some(attempt) => table.row([
                source,
                packages,
                attempt.requests.to_string(),
                thousands(attempt.bytes_fetched),
                format!("{:.2}", attempt.millis as f64 / 1000.0),
                match &attempt.error {
                    Some(error) => format!("{}: {error}", attempt.verdict),
                    None => attempt.verdict.clone(),
                },
            ]),
            None => {
                table.row([source, packages, none(), none(), none(), "not done in time".into()])
            }
        }
    }
    for unusable in unusable {
        let what = unusable.what.clone();
        table.row([what, none(), none(), none(), none(), unusable.why.clone()]);
    }
    table.text()
}

fn samples(database: &DatabaseAddress) -> Result<Vec<(&'static str, Found)>, DemoError> {
    let failed = |cause: StoreError| DemoError::Program(cause.to_string());
    let mut store = store::open_read_only(database).map_err(failed)?;
    let mut samples = Vec::new();
    for words in WORDS {
        let found = store.search(words, 1).map_err(failed)?;
        samples.extend(found.into_iter().map(|found| (words, found)));
        if samples.len() == SAMPLES {
            break;
        }
    }
    Ok(samples)
}

/// The child processes; they are stopped when this goes, however the demo ends.
#[derive(Default)]
struct Programs(Vec<DemoProgram>);

struct DemoProgram {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Programs {
    fn start(&mut self, name: &str, mut command: Command, log: &Path) -> Result<(), DemoError> {
        let out =
            File::create(log).map_err(|cause| DemoError::File("write", log.to_owned(), cause))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(out);
        let child = command.spawn().map_err(|cause| {
            let program = Path::new(command.get_program()).display();
            DemoError::Program(format!("start {program}: {cause}; --agent names another"))
        })?;
        self.0.push(DemoProgram { name: name.to_owned(), child, log: log.to_owned() });
        Ok(())
    }

    /// Whether all are alive.
    fn check(&mut self) -> Result<(), DemoError> {
        for DemoProgram { name, child, log } in &mut self.0 {
            if let Ok(Some(status)) = child.try_wait() {
                let text = std::fs::read_to_string(&*log).unwrap_or_default();
                let last = text.lines().last().unwrap_or("it said nothing");
                let log = log.display();
                let why = format!("the {name} ended ({status}): {last}; its log is {log}");
                return Err(DemoError::Program(why));
            }
        }
        Ok(())
    }

    /// Peak resident memory of each, in bytes, as the kernel has it.
    fn peak_rss(&self) -> Vec<(String, u64)> {
        let peak = |program: &DemoProgram| {
            let bytes = peak_rss_bytes(&program.child.id().to_string())?;
            Some((program.name.clone(), bytes))
        };
        self.0.iter().filter_map(peak).collect()
    }

    /// Asks all to stop, agents first, and waits for them.
    fn stop(&mut self) {
        for DemoProgram { child, .. } in self.0.iter_mut().rev() {
            if let Some(pid) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            let deadline: Instant = clock::now() + STOP_MAX;
            while matches!(child.try_wait(), Ok(None)) && clock::now() < deadline {
                clock::sleep(Duration::from_millis(5));
            }
        }
        self.0.retain_mut(|program| matches!(program.child.try_wait(), Ok(None)));
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        self.stop();
        for DemoProgram { child, .. } in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ask<T: serde::de::DeserializeOwned>(socket: &Path, request: &Request) -> Result<T, DemoError> {
    admin::ask(socket, request).map_err(DemoError::Program)
}

fn make_folder(path: &Path) -> Result<(), DemoError> {
    std::fs::create_dir_all(path)
        .map_err(|cause| DemoError::File("make folder", path.to_owned(), cause))
}

fn write(path: &Path, text: &str) -> Result<(), DemoError> {
    std::fs::write(path, text).map_err(|cause| DemoError::File("write", path.to_owned(), cause))
}

fn say(progress: &mut impl Write, line: &str) {
    let _ = writeln!(progress, "{line}");
}

fn clear(progress: &mut impl Write, is_terminal: bool) {
    if is_terminal {
        let _ = write!(progress, "\r\x1b[K");
    }
}
