//! A network of Canister's own on this machine: an authority, an arbiter, agents, all real, all in
//! a temporary folder.

use crate::apt::{Stanza, stanzas};
use crate::origin::Origin;
use crate::programs::{Program, Ran, binary, run, until};
use canister_agent::identity::Files;
use canister_arbiter::admin::{self, PeerReport, Request, SourceReport, StatusReport};
use canister_arbiter::ca::revocation::Listed;
use canister_arbiter::ca::{Authority, DAYS, Pair};
use canister_arbiter::config::{DATABASE_NAME, SOCKET_NAME};
use canister_protocol::Source;
use rcgen::{
    CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rusqlite::{Connection, OpenFlags};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How long anything may take that a test waits for.
pub const WAIT: Duration = Duration::from_secs(60);
/// How long an arbiter may take to start: of many sources, on a database far away, it takes long.
const START: Duration = Duration::from_secs(3600);

/// The network. Dropping it kills what runs.
#[derive(Debug)]
pub struct Network {
    dir: TempDir,
    /// The arbiter.
    pub arbiter: Program,
    /// Where peers reach it.
    pub listen: String,
    /// Where everybody reaches it.
    pub public: String,
    options: Vec<String>,
}

/// A row of the catalogue, as far as tests compare it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Package, version, architecture.
    pub package: (String, String, String),
    /// Filename, size, SHA256.
    pub file: (String, u64, Option<String>),
    /// Description.
    pub description: Option<String>,
}

impl Network {
    /// Makes an authority and starts an arbiter with these options (`--lease 5`, …) and these
    /// sources, unless the options name another source list.
    pub fn start(sources: &[Source], options: &[&str]) -> Self {
        let options = options.iter().map(|&word| word.to_owned()).collect();
        Self::start_with(sources, |_| options)
    }

    /// The same with options that depend on the authority, as where a database has a certificate
    /// of it.
    pub fn start_with(sources: &[Source], options: impl FnOnce(&Authority) -> Vec<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = make_authority(dir.path());
        let file = dir.path().join("sources.json");
        std::fs::write(&file, list(sources)).unwrap();
        let mut options = options(&authority);
        if !options.iter().any(|word| word == "--sources") {
            options.extend(["--sources".to_owned(), file.display().to_string()]);
        }
        // All of a test's sources are on one host.
        if !options
            .iter()
            .any(|word| word == "--pause" || word == "--config")
        {
            options.extend(["--pause".to_owned(), "0".to_owned()]);
        }
        let (arbiter, listen, public) = start_arbiter(dir.path(), "state", "127.0.0.1:0", &options);
        Self {
            dir,
            arbiter,
            listen,
            public,
            options,
        }
    }

    /// Starts the arbiter again, on the same port, after it was stopped or killed.
    pub fn restart(&mut self) {
        let (arbiter, _, public) =
            start_arbiter(self.dir.path(), "state", &self.listen, &self.options);
        self.arbiter = arbiter;
        self.public = public;
    }

    /// Stops the arbiter and starts it again, on the same port, with more options.
    pub fn restart_with(&mut self, more: &[&str]) {
        self.arbiter.term();
        self.arbiter.wait(WAIT);
        self.options
            .extend(more.iter().map(|&word| word.to_owned()));
        self.restart();
    }

    /// The folder of everything.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The arbiter's folder.
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Certificate and key for a peer, made when first asked for.
    pub fn peer(&self, name: &str) -> Files {
        peer(self.dir.path(), name)
    }

    /// Files of a peer with this certificate and key, whoever made them.
    pub fn stranger(&self, name: &str, pair: &Pair) -> Files {
        pair.write(self.dir.path(), name).unwrap();
        files(self.dir.path(), name)
    }

    /// Starts an agent.
    pub fn agent(&self, name: &str, options: &[&str]) -> Program {
        start_agent(&self.peer(name), name, &[&self.listen], options)
    }

    /// Starts an agent that reaches the arbiter there.
    pub fn agent_at(&self, name: &str, listen: &str, options: &[&str]) -> Program {
        start_agent(&self.peer(name), name, &[listen], options)
    }

    /// `status`.
    pub fn status(&self) -> StatusReport {
        self.ask(&Request::Status)
    }

    /// `sources`.
    pub fn sources(&self) -> Vec<SourceReport> {
        self.ask(&Request::Sources)
    }

    /// `peers`.
    pub fn peers(&self) -> Vec<PeerReport> {
        self.ask(&Request::Peers)
    }

    /// `sync`: all sources are due.
    pub fn sync(&self) -> u64 {
        self.ask(&Request::Sync { source: None })
    }

    /// What one of the arbiter's commands prints.
    pub fn command(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What one of the arbiter's commands says that fails.
    pub fn command_fails(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn run(&self, words: &[&str]) -> std::process::Output {
        let mut command = Command::new(binary("canister-arbiter"));
        command.args(words).arg("--state").arg(self.state());
        command.output().unwrap()
    }

    fn ask<T: serde::de::DeserializeOwned>(&self, request: &Request) -> T {
        admin::ask(&self.state().join(SOCKET_NAME), request).unwrap()
    }

    /// Waits until each source's newest attempt ended with `verdict` and is newer than `after`;
    /// returns the reports.
    pub fn until_all(&self, verdict: &str, after: u64) -> Vec<SourceReport> {
        let is_done = |report: &SourceReport| {
            let last = report.last_attempt.as_ref();
            last.is_some_and(|last| last.verdict == verdict && last.lease > after)
        };
        until(&format!("every source to be {verdict}"), WAIT, || {
            let reports = self.sources();
            reports.iter().all(is_done).then_some(reports)
        })
    }

    /// The database, to be read.
    pub fn database(&self) -> Connection {
        database(&self.state())
    }

    /// The visible packages of a source.
    pub fn rows(&self, slug: &str) -> Vec<Row> {
        rows(&self.database(), slug)
    }
}

/// The database in an arbiter's folder, to be read.
pub fn database(state: &Path) -> Connection {
    let path = state.join(DATABASE_NAME);
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    database.busy_timeout(WAIT).unwrap();
    database
}

/// The visible packages of a source, sorted.
pub fn rows(database: &Connection, slug: &str) -> Vec<Row> {
    let mut statement = database
        .prepare(
            "SELECT package_id, version, architecture, package_filename, package_size, \
             sha256_hash, description FROM package WHERE repository_id = ?1 AND visible",
        )
        .unwrap();
    let rows = statement.query_map([slug], |row| {
        Ok(Row {
            package: (row.get(0)?, row.get(1)?, row.get(2)?),
            file: (
                row.get(3)?,
                row.get::<_, i64>(4)?.cast_unsigned(),
                row.get(5)?,
            ),
            description: row.get(6)?,
        })
    });
    let mut rows: Vec<Row> = rows.unwrap().collect::<Result<_, _>>().unwrap();
    rows.sort();
    rows
}

/// A source of a flat repository at `uri`.
pub fn flat(slug: &str, uri: &str) -> Source {
    Source {
        slug: slug.to_owned(),
        uri: uri.to_owned(),
        suite: "./".to_owned(),
        ranking: 3,
        ..Source::default()
    }
}

/// Makes an authority in the folder `ca` of `dir`, and an arbiter's certificate there.
pub(crate) fn make_authority(dir: &Path) -> Authority {
    let ca = dir.join("ca");
    let authority = Authority::init(&ca).unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let pair = authority.new_server(&names, DAYS).unwrap();
    pair.write(&ca, "arbiter").unwrap();
    authority
}

/// A certificate of the authority in the folder `ca`, with whatever the test asks for, and its key.
/// It is a peer's, called `stranger`, unless `change` makes another of it.
pub fn made(ca: &Path, change: impl FnOnce(&mut CertificateParams)) -> Pair {
    let mut params = CertificateParams::default();
    call(&mut params, "stranger");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer(ca)).unwrap().pem();
    let issuing = std::fs::read_to_string(ca.join("issuer/issuer.crt")).unwrap();
    Pair {
        certificate: certificate + &issuing,
        key: key.serialize_pem(),
    }
}

/// Has a certificate say this name and nothing else of whose it is.
pub fn call(params: &mut CertificateParams, name: &str) {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
}

fn issuer(ca: &Path) -> Issuer<'static, KeyPair> {
    let read = |name: &str| std::fs::read_to_string(ca.join(name)).unwrap();
    let key = KeyPair::from_pem(&read("issuer/issuer.key")).unwrap();
    Issuer::from_ca_cert_pem(&read("issuer/issuer.crt"), key).unwrap()
}

/// Puts another revocation list in the place of that in the authority's folder `ca`: the same but for
/// its date, which is `ends`, in seconds since 1970.
pub fn date_list(ca: &Path, ends: u64) {
    let read = |name: &str| std::fs::read_to_string(ca.join(name)).unwrap();
    let old = Listed::read(&read("crl.pem")).unwrap();
    let moment = |seconds| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    let begins = moment(ends - 90 * 24 * 60 * 60);
    let revoked = |serial: &Vec<u8>| RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial),
        revocation_time: begins,
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: begins,
        next_update: moment(ends),
        crl_number: SerialNumber::from(old.number),
        issuing_distribution_point: None,
        revoked_certs: old.serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&issuer(ca)).unwrap().pem().unwrap();
    let new = ca.join("crl.new");
    std::fs::write(&new, list + &read("issuer/root.crl")).unwrap();
    std::fs::rename(new, ca.join("crl.pem")).unwrap();
}

/// Certificate and key in `dir` for a peer of its authority, made when first asked for.
pub(crate) fn peer(dir: &Path, name: &str) -> Files {
    let files = files(dir, name);
    if !files.certificate.exists() {
        let authority = Authority::open(&dir.join("ca")).unwrap();
        let pair = authority.new_peer(name, DAYS).unwrap();
        pair.write(dir, name).unwrap();
    }
    files
}

/// Starts an agent that knows the arbiters which listen there.
pub(crate) fn start_agent(
    files: &Files,
    name: &str,
    arbiters: &[&str],
    options: &[&str],
) -> Program {
    let mut command = Command::new(binary("canister-agent"));
    command.arg("run");
    for listen in arbiters {
        command
            .arg("--arbiter")
            .arg(format!("wss://{listen}/connect"));
    }
    command.arg("--certificate").arg(&files.certificate);
    command.arg("--key").arg(&files.key);
    command.arg("--authority").arg(&files.authority);
    command.arg("--allow-private").args(options);
    Program::start_command(&format!("agent {name}"), &mut command)
}

/// Runs `canister-agent check` of a peer's files with the arbiter at `listen`.
pub fn check(files: &Files, listen: &str, more: &[&str]) -> Ran {
    let address = format!("wss://{listen}/connect");
    let mut words = vec!["check".to_owned(), "--arbiter".to_owned(), address];
    for (option, path) in [
        ("--certificate", &files.certificate),
        ("--key", &files.key),
        ("--authority", &files.authority),
    ] {
        words.extend([option.to_owned(), path.display().to_string()]);
    }
    words.extend(more.iter().map(|&word| word.to_owned()));
    run("canister-agent", words, WAIT)
}

fn files(dir: &Path, name: &str) -> Files {
    Files {
        certificate: dir.join(format!("{name}.crt")),
        key: dir.join(format!("{name}.key")),
        authority: dir.join("ca/ca.crt"),
    }
}

/// A source list with these sources.
pub fn list(sources: &[Source]) -> String {
    let entry = |source: &Source| {
        serde_json::json!({
            "slug": source.slug, "uri": source.uri, "suite": source.suite,
            "component": source.component, "binary": source.architecture,
            "ranking": source.ranking, "aliases": source.aliases, "bootstrap": source.bootstrap,
            "headers": source.headers,
        })
    };
    serde_json::Value::from_iter(sources.iter().map(entry)).to_string()
}

/// Starts an arbiter whose authority is in the folder `ca` of `dir`, and whose own is `state` there;
/// returns it, where it listens, and where everybody may ask it.
pub(crate) fn start_arbiter(
    dir: &Path,
    state: &str,
    listen: &str,
    options: &[String],
) -> (Program, String, String) {
    let mut command = Command::new(binary("canister-arbiter"));
    command.args(["run", "--listen", listen, "--log", "debug"]);
    // A test that wants to know where names another.
    if !options.iter().any(|word| word == "--public") {
        command.args(["--public", "127.0.0.1:0"]);
    }
    for (option, file) in [
        ("--certificate", "ca/arbiter.crt"),
        ("--key", "ca/arbiter.key"),
        ("--authority", "ca/ca.crt"),
        ("--state", state),
    ] {
        command.arg(option).arg(dir.join(file));
    }
    command.args(options);
    let mut arbiter = Program::start_command("arbiter", &mut command);
    let ready = arbiter.wait_for_line("] ready ", START);
    let word = |name: &str| {
        let rest = ready.split(name).nth(1);
        let word = rest.and_then(|rest| rest.split(' ').next());
        word.expect("the line names the listeners").to_owned()
    };
    (arbiter, word("listen="), word("public="))
}

/// What a plain package index says, as the catalogue should have it; without descriptions.
pub fn truth(index: &str) -> Vec<Row> {
    let row = |stanza: Stanza| {
        let field = |name: &str| stanza.get(name).cloned();
        let required = |name: &str| field(name).unwrap_or_default();
        Row {
            package: (
                required("Package"),
                required("Version"),
                required("Architecture"),
            ),
            file: (
                required("Filename"),
                required("Size").parse().unwrap_or(0),
                field("SHA256"),
            ),
            description: None,
        }
    };
    let mut rows: Vec<Row> = stanzas(index).into_iter().map(row).collect();
    rows.sort();
    rows
}

/// The same rows without what [`truth`] doesn't tell.
pub fn without_descriptions(rows: Vec<Row>) -> Vec<Row> {
    rows.into_iter()
        .map(|row| Row {
            description: None,
            ..row
        })
        .collect()
}

/// Serves a flat repository of this one plain package index, with a Release that lists it.
pub fn serve(origin: &Origin, index: &[u8]) {
    let digest: String = Sha256::digest(index)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let release = format!(
        "Origin: Test\nSHA256:\n {digest} {} Packages\n",
        index.len()
    );
    // Release last: whoever asks in between sees an update that is under way.
    origin.put("/Packages", index);
    origin.put("/InRelease", release);
}
