//! Both programs as services: settings from the environment, what systemd is told, health.

use canister_tests::network::{Network, agent_command, flat};
use canister_tests::programs::{Program, binary, until};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// The service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    _dir: tempfile::TempDir,
    path: std::path::PathBuf,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self { socket, _dir: dir, path }
    }

    /// Waits until a service says this, whatever else it says before.
    fn hears(&self, what: &str) {
        let mut bytes = [0; 4096];
        loop {
            let length = match self.socket.recv(&mut bytes) {
                // As when another test's program ends.
                Err(cause) if cause.kind() == ErrorKind::Interrupted => continue,
                received => received.expect(what),
            };
            if bytes[..length].starts_with(what.as_bytes()) {
                return;
            }
        }
    }
}

fn ask(program: &str, words: &[&str], environment: &[(&str, &Path)]) -> (Option<i32>, String) {
    let mut command = Command::new(binary(program));
    command.args(words).envs(environment.iter().copied());
    let mut program = Program::start_command(program, &mut command);
    let code = program.wait(SOON).code();
    (code, program.stdout() + &program.stderr())
}

#[test]
fn an_agent_is_configured_by_its_environment_and_tells_of_its_life() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let files = network.peer("service");
    let manager = Manager::new();
    let health = network.dir().join("health");
    let environment = [("CANISTER_HEALTH", &*health)];
    let (code, said) = ask("canister-agent", &["health"], &environment);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no session yet"), "{said}");

    let mut command = Command::new(binary("canister-agent"));
    command
        .arg("run")
        .env("CANISTER_ARBITER", format!("wss://{}", network.listen))
        .env("CANISTER_CERTIFICATE", &files.certificate)
        .env("CANISTER_KEY", &files.key)
        .env("CANISTER_AUTHORITY", &files.authority)
        .env("CANISTER_ALLOW_PRIVATE", "yes")
        .env("CANISTER_HEALTH", &health)
        .env("CANISTER_MEMROY", "64")
        .env("NOTIFY_SOCKET", &manager.path)
        .env("WATCHDOG_USEC", "200000");
    let mut agent = Program::start_command("agent", &mut command);
    manager.hears("READY=1");
    manager.hears(&format!("STATUS=in session with wss://{}", network.listen));
    manager.hears("WATCHDOG=1");
    manager.hears("WATCHDOG=1");
    agent.wait_for_line("CANISTER_MEMROY is set", SOON);
    let (code, said) = ask("canister-agent", &["health"], &environment);
    assert_eq!(code, Some(0), "{said}");
    agent.term();
    manager.hears("STOPPING=1");
    assert_eq!(agent.wait(SOON).code(), Some(0));

    let (code, said) = ask("canister-agent", &["health"], &[]);
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn an_agent_is_ready_before_any_arbiter_answers() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let files = network.peer("service");
    let manager = Manager::new();
    let mut command = Command::new(binary("canister-agent"));
    command
        .args(["run", "--arbiter", "wss://127.0.0.1:1", "--certificate"])
        .arg(&files.certificate)
        .arg("--key")
        .arg(&files.key)
        .arg("--authority")
        .arg(&files.authority)
        .env("NOTIFY_SOCKET", &manager.path)
        .env("WATCHDOG_USEC", "200000");
    let agent = Program::start_command("agent", &mut command);
    manager.hears("READY=1");
    for _ in 0..10 {
        manager.hears("WATCHDOG=1");
    }
    drop(agent);
}

#[test]
fn an_arbiter_tells_of_its_life() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let manager = Manager::new();
    let own = network.dir().join("ca");
    let state = network.dir().join("another");
    let mut command = Command::new(binary("canister-arbiter"));
    command
        .args(["run", "--listen", "127.0.0.1:0", "--public", "none"])
        .arg("--certificate")
        .arg(own.join("arbiter.crt"))
        .arg("--key")
        .arg(own.join("arbiter.key"))
        .arg("--authority")
        .arg(own.join("ca.crt"))
        .arg("--state")
        .arg(&state)
        .env("NOTIFY_SOCKET", &manager.path)
        .env("WATCHDOG_USEC", "200000");
    let mut arbiter = Program::start_command("arbiter", &mut command);
    manager.hears("READY=1");
    manager.hears("WATCHDOG=1");
    manager.hears("WATCHDOG=1");
    // Its health is its status.
    let words = ["status", "--state", state.to_str().unwrap()];
    assert_eq!(ask("canister-arbiter", &words, &[]).0, Some(0));
    arbiter.term();
    manager.hears("STOPPING=1");
    assert_eq!(arbiter.wait(SOON).code(), Some(0));
    until("the socket to go", SOON, || {
        (ask("canister-arbiter", &words, &[]).0 == Some(1)).then_some(())
    });
}

/// Starts a program whose standard error leads into the journal, as far as it can tell; returns what it
/// says there until that has `part`.
fn in_the_journal(command: &mut Command, part: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let file = std::fs::File::create(&path).unwrap();
    let found = file.metadata().unwrap();
    command.env("JOURNAL_STREAM", format!("{}:{}", found.dev(), found.ino()));
    let mut child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
    let said = until(part, SOON, || {
        std::fs::read_to_string(&path).ok().filter(|said| said.contains(part))
    });
    let _ = child.kill();
    child.wait().unwrap();
    said
}

#[test]
fn the_journal_is_told_priorities_and_no_second_time() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let files = network.peer("service");
    let mut command = agent_command("run", &files, &["127.0.0.1:1"]);
    command.arg("--dir").arg(network.dir());
    let said = in_the_journal(&mut command, "couldn't connect to arbiter");
    assert!(said.starts_with("<4>[canister_agent::agent] couldn't connect to arbiter "), "{said}");
    let mut command = agent_command("run", &files, &[&network.listen]);
    command.arg("--dir").arg(network.dir());
    let said = in_the_journal(&mut command, "session begins");
    assert!(said.contains("<6>[canister_agent::agent] session begins "), "{said}");
    // What is no event, too, in both programs.
    for program in ["canister-agent", "canister-arbiter"] {
        let mut command = Command::new(binary(program));
        command.args(["run", "--certificate", "/nowhere/x.crt"]);
        let said = in_the_journal(&mut command, "/nowhere/x.crt");
        assert!(said.starts_with(&format!("<3>{program}: ")), "{said}");
    }
    // The variable is inherited by those whose standard error is elsewhere.
    let mut command = agent_command("run", &files, &["127.0.0.1:1"]);
    command.arg("--dir").arg(network.dir()).env("JOURNAL_STREAM", "1:1");
    let mut agent = Program::start_command("agent", &mut command);
    let line = agent.wait_for_line("couldn't connect to arbiter", SOON);
    assert!(line.starts_with("[2"), "{line}");
}

#[test]
fn config_says_what_would_hold_and_where_it_comes_from() {
    let variable = [("CANISTER_SLOTS", Path::new("3"))];
    let (code, said) = ask("canister-agent", &["config", "--memory", "64"], &variable);
    assert_eq!(code, Some(0), "{said}");
    let rows: Vec<Vec<&str>> = said.lines().map(|it| it.split_whitespace().collect()).collect();
    for row in [
        ["slots", "CANISTER_SLOTS", "3"],
        ["memory", "--memory", "64"],
        ["drain", "default", "10s"],
    ] {
        assert!(rows.contains(&row.to_vec()), "{row:?} not in {said}");
    }
    // Every option of run is a setting that config shows.
    for (program, least) in [("canister-agent", 12), ("canister-arbiter", 40)] {
        let (_, help) = ask(program, &["run", "--help"], &[]);
        let (_, said) = ask(program, &["config"], &[]);
        let options = help.split("\nNotes:").next().unwrap().lines();
        let options = options.filter_map(|line| line.strip_prefix("  --"));
        let names: Vec<_> = options.filter_map(|line| line.split_whitespace().next()).collect();
        for name in &names {
            assert!(said.lines().any(|row| row.starts_with(&format!("{name} "))), "{name}: {said}");
        }
        assert!(names.len() >= least, "{help}");
    }
    // A misspelt variable is told, with what is meant.
    let variable = [("CANISTER_PASUE", Path::new("1s")), ("CANISTER_PAUSE", Path::new("2s"))];
    let (_, said) = ask("canister-arbiter", &["config"], &variable);
    assert!(
        said.contains("CANISTER_PASUE is set") && said.contains("mean CANISTER_PAUSE?"),
        "{said}"
    );
    assert!(
        said.lines().any(|row| row.split_whitespace().eq(["pause", "CANISTER_PAUSE", "2s"])),
        "{said}"
    );
    // And what can't be taken is refused alike.
    let variable = [("CANISTER_SLOTS", Path::new("65"))];
    for word in ["config", "run"] {
        let (code, said) = ask("canister-agent", &[word], &variable);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("CANISTER_SLOTS=65: use 1 to 64"), "{said}");
    }
}
