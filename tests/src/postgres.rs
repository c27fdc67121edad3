//! PostgreSQL clusters of a test's own: real servers in temporary folders, stopped and removed
//! when they are dropped, and also when the test's process ends in any other way.
//!
//! The server is started by a small shell that reads from a pipe whose other end this process
//! holds. A line on it says how to stop; its end, which comes however this process ends, stops the
//! server and removes the folder. So a cluster may also live in a `static` ([`Cluster::shared`]).
//!
//! Root may not run PostgreSQL: then it is run as `postgres` or `nobody`.

use crate::programs::{cpu_time, cpu_time_of_children, until, workspace};
use rustix::process::geteuid;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// How long a server may take to start or to stop.
const WAIT: Duration = Duration::from_secs(60);
/// Settings that a test's server has before any other: small, and fast where losing data with
/// the machine is no matter. What is committed survives the server's own death.
const FAST: &str = "\
fsync = off
full_page_writes = off
shared_buffers = 32MB
max_connections = 200
max_wal_senders = 4
wal_level = replica
hot_standby = on
wal_keep_size = 64MB
logging_collector = off
log_min_messages = warning
timezone = 'UTC'
";
/// The shell that starts the server and stops it, see above. Its arguments are the folder and the
/// server's command.
const KEEPER: &str = r#"
folder=$1; shift
"$@" & server=$!
if read -r signal; then
    kill -s "$signal" "$server"; wait "$server"
else
    kill -s INT "$server" 2>/dev/null; wait "$server"; rm -rf "$folder"
fi
"#;

/// A server with its databases. Dropping it stops it and removes everything.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    port: u16,
    keeper: Option<Child>,
}

/// A database of a [`Cluster`] that is the test's alone. Dropping one that was made for a test
/// removes it, whoever is connected.
#[derive(Debug)]
pub struct Database {
    name: String,
    is_removed: bool,
    dir: PathBuf,
    port: u16,
}

/// The TLS files of a server that takes certificates only.
#[derive(Debug, Clone)]
pub struct Tls<'a> {
    /// The server's certificate in PEM.
    pub certificate: &'a str,
    /// Its private key in PEM.
    pub key: &'a str,
    /// The authority's certificate in PEM.
    pub authority: &'a str,
    /// The authority's list of revoked certificates in PEM, if there is one.
    pub revoked: Option<&'a str>,
}

impl Cluster {
    /// A server on a Unix socket and on 127.0.0.1, which lets everybody in under any name.
    pub fn start() -> Self {
        let trusting =
            "local all,replication all trust\nhost all,replication all 127.0.0.1/32 trust\n";
        Self::init("", trusting, "", &[])
    }

    /// The one that all tests of this process share; each takes a [`database`](Self::database).
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A server as `packaging/postgresql/` sets it up: from the network only with TLS and a
    /// certificate of the authority, and with the roles and the database `canister` that
    /// `setup.sql` there makes. `postgres` and `canister_arbiter` get in by the Unix socket,
    /// whoever runs the test.
    pub fn with_certificates(tls: &Tls<'_>) -> Self {
        let shipped = |name: &str| {
            let path = workspace().join("packaging/postgresql").join(name);
            fs::read_to_string(&path)
                .unwrap_or_else(|cause| panic!("read {}: {cause}", path.display()))
        };
        let mut files = vec![
            ("server.crt", tls.certificate),
            ("server.key", tls.key),
            ("ca.crt", tls.authority),
        ];
        files.extend(tls.revoked.map(|revoked| ("revoked.crl", revoked)));
        // The shipped file names where a Debian package has its files.
        let mut settings = String::new();
        for line in shipped("postgresql.conf").lines() {
            let is_unused = line.starts_with("ssl_crl_file") && tls.revoked.is_none();
            if !is_unused {
                settings.push_str(&line.replace("/etc/canister-postgresql/", ""));
                settings.push('\n');
            }
        }
        let access = format!(
            "local all,replication postgres trust\nlocal canister canister_arbiter trust\n{}",
            shipped("pg_hba.conf")
        );
        let cluster = Self::init(&settings, &access, &shipped("pg_ident.conf"), &files);
        let setup = workspace().join("packaging/postgresql/setup.sql");
        cluster.run(
            Command::new(found("psql"))
                .args([
                    "--no-psqlrc",
                    "--quiet",
                    "--tuples-only",
                    "--output=/dev/null",
                ])
                .arg(local(&cluster.dir, cluster.port, "postgres"))
                .arg("--file")
                .arg(setup),
        );
        cluster
    }

    /// The database `canister`, which a server [`with_certificates`](Self::with_certificates) has.
    pub fn canister(&self) -> Database {
        Database {
            name: "canister".to_owned(),
            is_removed: false,
            dir: self.dir.clone(),
            port: self.port,
        }
    }

    fn init(settings: &str, access: &str, map: &str, files: &[(&str, &str)]) -> Self {
        let cluster = Self::folder();
        let data = cluster.data();
        cluster.run(
            tool("initdb")
                .arg("--pgdata")
                .arg(&data)
                .args(["--username=postgres", "--auth=trust", "--no-sync"])
                .args(["--encoding=UTF8", "--locale=C"]),
        );
        for (name, text) in files {
            cluster.write(&data.join(name), text);
        }
        cluster.write(&data.join("pg_hba.conf"), access);
        cluster.write(&data.join("pg_ident.conf"), map);
        let place = format!(
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nport = {}\n",
            cluster.dir.display(),
            cluster.port
        );
        cluster.write(
            &data.join("postgresql.conf"),
            &format!("{settings}\n{FAST}{place}"),
        );
        cluster.started()
    }

    /// A standby of this server, which streams what happens here from now on.
    pub fn standby(&self) -> Self {
        let standby = Self::folder();
        let data = standby.data();
        standby.run(
            tool("pg_basebackup")
                .arg("--pgdata")
                .arg(&data)
                .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
                .arg(format!(
                    "--dbname=host={} port={} user=postgres",
                    self.dir.display(),
                    self.port
                )),
        );
        let place = format!(
            "\nunix_socket_directories = '{}'\nport = {}\n",
            standby.dir.display(),
            standby.port
        );
        let path = data.join("postgresql.conf");
        let settings = fs::read_to_string(&path).expect("a copy has its settings");
        standby.write(&path, &(settings + &place));
        standby.started()
    }

    /// An empty folder of the user who is to run the server, and a free port.
    fn folder() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("canister-postgresql-")
            .tempdir()
            .expect("make a folder")
            .keep();
        if let Some(user) = user() {
            chown(&dir, user);
        }
        let port = TcpListener::bind("127.0.0.1:0").expect("find a free port");
        Self {
            dir,
            port: port.local_addr().expect("it has an address").port(),
            keeper: None,
        }
    }

    fn started(mut self) -> Self {
        self.up();
        self
    }

    /// Starts the server again after [`stop`](Self::stop) or [`kill9`](Self::kill9); returns when it
    /// lets somebody in.
    pub fn up(&mut self) {
        assert!(self.keeper.is_none(), "the server runs already");
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .expect("open the server's log");
        let mut command = as_user(Command::new("sh"));
        command.args(["-c", KEEPER, "keeper"]).arg(&self.dir);
        command.arg(found("postgres")).arg("-D").arg(self.data());
        command
            .current_dir(&self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log);
        self.keeper = Some(spawn(&mut command));
        until("PostgreSQL to start", WAIT, || {
            let keeper = self.keeper.as_mut().expect("it was just started");
            if let Some(status) = keeper.try_wait().expect("ask for an exit status") {
                panic!("PostgreSQL ended ({status}):\n{}", self.log());
            }
            self.ask("postgres", "SELECT 1").ok()
        });
    }

    /// Stops the server, as `systemctl stop` does: what is under way is rolled back.
    pub fn stop(&mut self) {
        self.signal("INT");
    }

    /// Kills the server, as `kill -9` of all its processes does.
    pub fn kill9(&mut self) {
        self.signal("KILL");
    }

    /// Stops the server and starts it again.
    pub fn restart(&mut self) {
        self.stop();
        self.up();
    }

    /// Makes a standby the one that is written to.
    pub fn promote(&self) {
        self.psql("postgres", "SELECT pg_promote(true, 30)");
    }

    /// Halts all of the server's processes, which stay connected, until [`thaw`](Self::thaw).
    pub fn freeze(&self) {
        self.signal_all("STOP");
    }

    /// Lets the server go on.
    pub fn thaw(&self) {
        self.signal_all("CONT");
    }

    /// Has the server read its settings and TLS files again.
    pub fn reload(&self) {
        self.psql("postgres", "SELECT pg_reload_conf()");
    }

    /// A new, empty database.
    pub fn database(&self) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        Database {
            name,
            is_removed: true,
            dir: self.dir.clone(),
            port: self.port,
        }
    }

    /// Runs statements as `postgres` over the Unix socket; returns the rows, columns parted by
    /// `|`. Panics with the server's words where one fails.
    pub fn psql(&self, database: &str, statements: &str) -> String {
        self.ask(database, statements)
            .unwrap_or_else(|why| panic!("{statements}: {why}"))
    }

    fn ask(&self, database: &str, statements: &str) -> Result<String, String> {
        psql(&local(&self.dir, self.port, database), statements, &[])
    }

    /// Where the server's Unix socket is.
    pub fn socket_dir(&self) -> &Path {
        &self.dir
    }

    /// Its port, on 127.0.0.1 and in the socket's name.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The folder with its settings.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// The CPU time that all its processes spent so far.
    pub fn cpu_time(&self) -> Duration {
        let processes = self.processes();
        let is_there = |pid: &&u32| Path::new(&format!("/proc/{pid}")).exists();
        let alive = processes.iter().filter(is_there).map(|pid| cpu_time(*pid));
        alive.sum::<Duration>() + cpu_time_of_children(processes[0])
    }

    /// Writes a file as the server's user, for nobody else to read.
    pub fn write(&self, path: &Path, text: &str) {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .unwrap_or_else(|cause| panic!("write {}: {cause}", path.display()));
        if let Some(user) = user() {
            chown(path, user);
        }
    }

    fn run(&self, command: &mut Command) {
        let output = command.current_dir(&self.dir).output();
        let output = output.unwrap_or_else(|cause| panic!("{command:?}: {cause}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}");
    }

    fn signal(&mut self, signal: &str) {
        let processes = self.processes();
        let mut keeper = self.keeper.take().expect("the server runs");
        let mut line = keeper.stdin.take().expect("its input is a pipe");
        writeln!(line, "{signal}").expect("tell the keeper");
        keeper.wait().expect("wait for the keeper");
        if signal == "KILL" {
            kill(&processes, "KILL");
        }
        // Whoever comes next finds the port and the memory free.
        until("PostgreSQL to be gone", WAIT, || {
            let gone = |pid: &u32| !Path::new(&format!("/proc/{pid}")).exists();
            processes.iter().all(gone).then_some(())
        });
    }

    fn signal_all(&self, signal: &str) {
        kill(&self.processes(), signal);
    }

    /// The server's process ids, the first one's first.
    fn processes(&self) -> Vec<u32> {
        let path = self.data().join("postmaster.pid");
        let text = fs::read_to_string(&path).expect("a server that runs says its id");
        let first = text.lines().next().and_then(|line| line.parse().ok());
        let first: u32 = first.expect("an id is a number");
        let mut processes = vec![first];
        let path = format!("/proc/{first}/task/{first}/children");
        if let Ok(text) = fs::read_to_string(path) {
            processes.extend(
                text.split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        processes
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(20)..];
            eprintln!("--- PostgreSQL, last {} lines", tail.len());
            tail.iter().for_each(|line| eprintln!("{line}"));
        }
        match self.keeper.take() {
            Some(mut keeper) => {
                // The end of its input tells the keeper.
                drop(keeper.stdin.take());
                let _ = keeper.wait();
            }
            None => {
                let _ = fs::remove_dir_all(&self.dir);
            }
        }
    }
}

impl Database {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How its owner, the superuser `postgres`, reaches it over the Unix socket: key and value
    /// pairs, as libpq and the `postgres` crate read them.
    pub fn address(&self) -> String {
        local(&self.dir, self.port, &self.name)
    }

    /// The same over a line to its server, without TLS.
    pub fn address_over(&self, line: &Line) -> String {
        let (port, name) = (line.port(), &self.name);
        format!("host=127.0.0.1 port={port} user=postgres dbname={name} sslmode=disable")
    }

    /// As [`Cluster::psql`].
    pub fn psql(&self, statements: &str) -> String {
        psql(&self.address(), statements, &[]).unwrap_or_else(|why| panic!("{statements}: {why}"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.is_removed {
            return;
        }
        let statement = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        // The cluster may be gone already.
        let _ = psql(&local(&self.dir, self.port, "postgres"), &statement, &[]);
    }
}

/// Runs statements over a connection to `address` (key and value pairs), with these variables in
/// the environment; returns the rows, columns parted by `|`.
///
/// # Errors
/// What psql says, where it couldn't connect or a statement failed.
pub fn psql(
    address: &str,
    statements: &str,
    environment: &[(&str, &str)],
) -> Result<String, String> {
    let mut command = Command::new(found("psql"));
    command
        .args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"])
        .args(["--set=ON_ERROR_STOP=1", "--set=VERBOSITY=verbose"])
        .args(["--command", statements, address])
        .env("PGCONNECT_TIMEOUT", "10")
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    let output = command.output();
    let output = output.unwrap_or_else(|cause| panic!("{command:?}: {cause}"));
    if output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.trim_end().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// A line to a port on 127.0.0.1 that is as long as the test says, and can be cut: a proxy. Its
/// bandwidth is this machine's. It runs until the test's process ends.
#[derive(Debug, Clone)]
pub struct Line {
    port: u16,
    state: Arc<Mutex<LineState>>,
}

#[derive(Debug, Default)]
struct LineState {
    is_cut: bool,
    /// How often something was said after an answer.
    trips: usize,
    /// How much was said, and how much answered.
    bytes: [u64; 2],
    open: Vec<TcpStream>,
}

impl Line {
    /// A line to `port` on which each direction takes half of `delay`.
    pub fn to(port: u16, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("find a free port");
        let line = Self {
            port: listener.local_addr().expect("it has an address").port(),
            state: Arc::default(),
        };
        let (state, said) = (Arc::clone(&line.state), Arc::clone(&line.state));
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let mut state = state.lock().expect("nobody panicked");
                // Whoever comes while it is cut is hung up on.
                let (false, Ok(far)) = (state.is_cut, TcpStream::connect(("127.0.0.1", port)))
                else {
                    continue;
                };
                let was_answered = Arc::new(AtomicBool::new(true));
                for (from, to, is_answer) in [(&near, &far, false), (&far, &near, true)] {
                    let _ = from.set_nodelay(true);
                    let clone = |stream: &TcpStream| stream.try_clone().expect("a handle");
                    let (was_answered, said) = (Arc::clone(&was_answered), Arc::clone(&said));
                    carry(clone(from), clone(to), delay / 2, move |bytes| {
                        let was_answered = was_answered.swap(is_answer, Ordering::Relaxed);
                        let mut said = said.lock().expect("nobody panicked");
                        said.trips += usize::from(was_answered && !is_answer);
                        said.bytes[usize::from(is_answer)] += bytes as u64;
                    });
                }
                state.open.extend([near, far]);
            }
        });
        line
    }

    /// Where it begins, on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// How often somebody said something over it after an answer, and then waited.
    pub fn trips(&self) -> usize {
        self.state.lock().expect("nobody panicked").trips
    }

    /// How many bytes were said over it so far, and how many answered.
    pub fn bytes(&self) -> [u64; 2] {
        self.state.lock().expect("nobody panicked").bytes
    }

    /// Ends all connections over it, and lets none begin.
    pub fn cut(&self) {
        let mut state = self.state.lock().expect("nobody panicked");
        state.is_cut = true;
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections begin again.
    pub fn mend(&self) {
        self.state.lock().expect("nobody panicked").is_cut = false;
    }
}

/// Hands on what arrives, `delay` later, in two threads: one notes when, and tells of it, one waits.
fn carry(
    mut from: TcpStream,
    mut to: TcpStream,
    delay: Duration,
    arrived: impl Fn(usize) + Send + 'static,
) {
    let (pass, passed) = std::sync::mpsc::channel::<(std::time::Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            arrived(length);
            let when = std::time::Instant::now() + delay;
            if pass.send((when, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        for (when, bytes) in passed {
            let now = std::time::Instant::now();
            std::thread::sleep(when.saturating_duration_since(now));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

fn local(dir: &Path, port: u16, database: &str) -> String {
    format!(
        "host={} port={port} user=postgres dbname={database}",
        dir.display()
    )
}

/// A command of PostgreSQL's, run by the user who may.
fn tool(name: &str) -> Command {
    as_user(Command::new(found(name)))
}

/// Where a program of PostgreSQL's is: Debian keeps the server's out of PATH, a folder a version.
fn found(name: &str) -> PathBuf {
    let version = |dir: &Path| -> Option<u32> { dir.file_name()?.to_str()?.parse().ok() };
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<PathBuf> = versions.flatten().map(|entry| entry.path()).collect();
    versions.sort_by_key(|dir| version(dir));
    let dirs = versions.into_iter().rev().map(|dir| dir.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = dirs.chain(std::env::split_paths(&path).collect::<Vec<_>>());
    let mut paths = dirs.map(|dir| dir.join(name));
    paths
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not there; apt-get install postgresql would bring it"))
}

fn as_user(command: Command) -> Command {
    let Some((uid, gid)) = user() else {
        return command;
    };
    let mut other = Command::new("setpriv");
    other
        .arg(format!("--reuid={uid}"))
        .arg(format!("--regid={gid}"));
    other.arg("--clear-groups").arg(command.get_program());
    other.args(command.get_args());
    other
}

/// The user and group who run the server, where this user may not.
fn user() -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("read /etc/passwd");
    let ids = |name: &str| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(
        ids("postgres")
            .or_else(|| ids("nobody"))
            .expect("there is a user postgres or nobody"),
    )
}

fn chown(path: &Path, (uid, gid): (u32, u32)) {
    std::os::unix::fs::chown(path, Some(uid), Some(gid))
        .unwrap_or_else(|cause| panic!("chown {}: {cause}", path.display()));
}

fn spawn(command: &mut Command) -> Child {
    command
        .spawn()
        .unwrap_or_else(|cause| panic!("start {command:?}: {cause}"))
}

fn kill(processes: &[u32], signal: &str) {
    let mut command = Command::new("kill");
    command.arg("-s").arg(signal);
    command.args(processes.iter().map(u32::to_string));
    // Some may be gone by now.
    let _ = command.stderr(Stdio::null()).status();
}
