//! What a peer's owner asks of the running agent (status, pause, resume, drain), and what the operator
//! wishes of it.

#![allow(clippy::disallowed_methods, reason = "real time is looked at here")]

use canister_agent::control::{self, Word};
use canister_agent::status::AgentStatus;
use canister_arbiter::doors::admin::SourceReport;
use canister_link::identity::Files;
use canister_protocol::ToPeer;
use canister_tests::apt::big_index;
use canister_tests::network::{
    Network, WAIT, agent_command, check, flat, rows, serve, socket_of, truth, without_descriptions,
};
use canister_tests::origin::{Fault, Origin};
use canister_tests::peer::Peer;
use canister_tests::programs::{Program, Ran, run, until};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

/// Within this a pause has taken effect.
const AT_ONCE: Duration = Duration::from_secs(1);

fn ask(files: &Files, word: Word) -> String {
    control::ask(Some(socket_of(files)), std::path::Path::new("/"), word).unwrap()
}

fn status(files: &Files) -> AgentStatus {
    AgentStatus::read(&ask(files, Word::Status)).unwrap()
}

/// One of the commands.
fn command(files: &Files, words: &[&str]) -> Ran {
    let socket = socket_of(files).display().to_string();
    run("canister-agent", [words, &["--socket", &socket]].concat(), WAIT)
}

/// The peer that holds the one source.
fn holder(network: &Network) -> Option<String> {
    network.sources().remove(0).peer
}

/// A network whose only source comes in so many pieces, slowly.
fn slow(pieces: usize) -> (Origin, Network, String) {
    let origin = Origin::empty();
    let index = String::from_utf8(big_index(3000)).unwrap();
    serve(&origin, index.as_bytes());
    origin.fault("/Packages", Fault::Trickle(index.len() / pieces, Duration::from_millis(50)));
    let network = Network::start(&[flat("a", &origin.uri())], &[]);
    (origin, network, index)
}

/// Waits until a peer is in the middle of its download.
fn until_reading(files: &Files) -> AgentStatus {
    until("a download to be under way", WAIT, || {
        let socket = socket_of(files);
        let said = control::ask(Some(socket), std::path::Path::new("/"), Word::Status).ok()?;
        let found = AgentStatus::read(&said).unwrap();
        found.leases.first().is_some_and(|lease| lease.packages > 0).then_some(found)
    })
}

#[test]
fn a_pause_in_the_middle_of_a_download_takes_effect_within_a_second_and_loses_nothing() {
    let (origin, network, index) = slow(400);
    let (anna, ben) = (network.peer("anna"), network.peer("ben"));
    let mut first = network.agent("anna", &[]);
    let seen = until_reading(&anna);
    assert_eq!((&*seen.peer, seen.leases.len(), seen.slots), ("anna", 1, 2));
    assert!(seen.arbiter.contains(&network.listen), "{seen:?}");
    assert!(seen.leases[0].bytes_expected > seen.leases[0].bytes_fetched, "{seen:?}");
    let _second = network.agent("ben", &[]);
    until("ben to be here", WAIT, || {
        network.peers().iter().any(|it| it.peer == "ben" && it.slots > 0).then_some(())
    });
    assert_eq!(holder(&network).as_deref(), Some("anna"));

    let began = Instant::now();
    let said = ask(&anna, Word::Pause(Some(Duration::from_secs(7200))));
    assert!(said.starts_with("paused; works again in 2 h 0 min"), "{said}");
    until("another peer to get the lease", WAIT, || {
        (holder(&network).as_deref() == Some("ben")).then_some(())
    });
    let took = began.elapsed();
    println!("another peer held the lease {took:?} after `pause`");
    assert!(took < AT_ONCE, "{took:?}");
    let seen = status(&anna);
    assert!(seen.leases.is_empty() && seen.state.starts_with("paused"), "{seen:?}");
    // Nothing more comes to her once that second is over.
    std::thread::sleep(AT_ONCE.saturating_sub(began.elapsed()));
    let sent = origin.requests_for("/Packages")[0].bytes_sent;
    until_reading(&ben);
    assert_eq!(origin.requests_for("/Packages")[0].bytes_sent, sent);
    assert!(sent < index.len() as u64);
    origin.heal("/Packages");

    // Started again she is paused still.
    first.term();
    first.wait(WAIT);
    assert!(!socket_of(&anna).exists());
    let mut first = network.agent("anna", &[]);
    let seen = until("anna to be in a session", WAIT, || {
        socket_of(&anna).exists().then(|| status(&anna)).filter(|seen| !seen.arbiter.is_empty())
    });
    assert!(seen.state.contains("works again in 1 h 5"), "{seen:?}");

    // Ben's work ends, then he stops; only Anna is left, and works again when she is told to.
    network.until_all("indexed", 0);
    assert_eq!(without_descriptions(network.rows("a")), truth(&index));
    let mut verdicts = network.database();
    let given: String = verdicts
        .transaction()
        .unwrap()
        .query_row("SELECT group_concat(verdict) FROM attempt", [], |row| row.get(0))
        .unwrap();
    assert!(!given.contains("expired") && !given.contains("failed"), "{given}");
    drop(_second);
    let before = network.sources()[0].last_attempt.as_ref().unwrap().lease;
    network.sync();
    let resumed = command(&anna, &["resume"]);
    assert_eq!((resumed.status.code(), &*resumed.stdout), (Some(0), "works\n"), "{resumed:?}");
    network.until_all("unchanged", before);
    assert_eq!(network.sources()[0].last_attempt.as_ref().unwrap().peer, "anna");
    first.term();
    first.wait(WAIT);
    let _first = network.agent("anna", &[]);
    until("anna to work", WAIT, || {
        socket_of(&anna).exists().then(|| status(&anna)).filter(|seen| seen.state == "works")
    });
    assert_eq!(rows(&network.database(), "a").len(), truth(&index).len());
}

/// The agent's clock shows ten seconds past a minute, by faketime; the hours end with the minute.
#[test]
fn what_is_in_hand_when_the_hours_end_is_given_back() {
    let (origin, network, index) = slow(4000);
    let anna = network.peer("anna");
    let folder = anna.certificate.with_extension("d");
    std::fs::create_dir(&folder).unwrap();
    let now = canister_link::clock::wall_millis() / 1000;
    let ahead = (70 - now % 60) % 60;
    let minute = |of: u64| format!("{:02}:{:02}", of / 60 % 24, of % 60);
    let ends = (now + ahead) / 60 + 1;
    let run = agent_command("run", &anna, &[&network.listen]);
    // The program of that name stays, with the agent as its child, which would outlive it.
    let script = "export LD_PRELOAD=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1) DONT_FAKE_MONOTONIC=1; \
                  exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(run.get_program()).args(run.get_args());
    command.env("FAKETIME", format!("+{ahead}s"));
    command.args([
        "--allow-private",
        "--hours",
        &format!("{}-{}", minute(ends - 60), minute(ends)),
    ]);
    command.arg("--dir").arg(&folder).env("TZ", "UTC");
    let _first = Program::start_command("anna", &mut command);
    let seen = until_reading(&anna);
    assert_eq!(seen.state, format!("works until {}", minute(ends)));
    let seen = until("the hours to end", 2 * WAIT, || {
        Some(status(&anna)).filter(|seen| seen.leases.is_empty())
    });
    assert_eq!(seen.state, format!("works from {}", minute(ends - 60)));
    until_offers(&network, "anna", 0);
    assert_eq!(holder(&network), None);
    origin.heal("/Packages");
    let _second = network.agent("ben", &[]);
    network.until_all("indexed", 0);
    assert_eq!(without_descriptions(network.rows("a")), truth(&index));
    assert_eq!(network.sources()[0].last_attempt.as_ref().unwrap().peer, "ben");
    assert_eq!(network.sources()[0].failures, 0);
}

#[test]
fn a_pause_ends_by_itself() {
    let origin = Origin::empty();
    serve(&origin, &big_index(10));
    let network = Network::start(&[flat("a", &origin.uri())], &[]);
    let anna = network.peer("anna");
    // As it would be kept by an agent that was stopped meanwhile.
    let folder = anna.certificate.with_extension("d");
    std::fs::create_dir(&folder).unwrap();
    let soon = canister_link::clock::wall_millis() + 3000;
    std::fs::write(folder.join("paused"), format!("until {soon}\n")).unwrap();
    let mut agent = network.agent("anna", &[]);
    let seen = until("anna to be in a session", WAIT, || {
        socket_of(&anna).exists().then(|| status(&anna)).filter(|seen| !seen.arbiter.is_empty())
    });
    if canister_link::clock::wall_millis() < soon {
        assert!(seen.state.starts_with("paused") || seen.state == "works", "{seen:?}");
    }
    network.until_all("indexed", 0);
    assert!(canister_link::clock::wall_millis() >= soon);
    assert!(!folder.join("paused").exists());
    agent.term();
    agent.wait(WAIT);
}

#[test]
fn a_drain_finishes_what_is_in_hand_and_takes_no_more() {
    let (origin, network, index) = slow(300);
    let anna = network.peer("anna");
    let _agent = network.agent("anna", &[]);
    until_reading(&anna);
    let said = command(&anna, &["drain"]);
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    assert!(said.stdout.starts_with("paused, and finishes the lease in hand"), "{said:?}");
    origin.heal("/Packages");
    let done = network.until_all("indexed", 0);
    assert_eq!(without_descriptions(network.rows("a")), truth(&index));
    network.sync();
    until("anna to offer nothing", WAIT, || {
        network.peers().iter().any(|it| it.peer == "anna" && it.slots == 0).then_some(())
    });
    // Its ledger has what was done once the lease is over.
    let seen = until("the lease to be over", WAIT, || {
        let seen = status(&anna);
        seen.leases.is_empty().then_some(seen)
    });
    assert_eq!((seen.today.sources, seen.today.failed), (1, 0), "{seen:?}");
    assert!(seen.today.requests > 0 && seen.today.bytes >= index.len() as u64, "{seen:?}");
    assert!(seen.month.sources >= seen.today.sources, "{seen:?}");
    let lease = |source: &SourceReport| source.last_attempt.as_ref().map(|last| last.lease);
    assert_eq!(lease(&network.sources()[0]), lease(&done[0]));
    assert_eq!(command(&anna, &["resume"]).status.code(), Some(0));
    network.until_all("unchanged", done[0].last_attempt.as_ref().unwrap().lease);
}

#[test]
fn an_agent_without_a_session_is_asked_as_well() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let anna = network.peer("anna");
    let mut agent = network.agent_at("anna", "127.0.0.1:1", &[]);
    let seen = until("anna to answer", WAIT, || socket_of(&anna).exists().then(|| status(&anna)));
    assert_eq!((&*seen.arbiter, &*seen.state), ("", "works when it is connected"), "{seen:?}");
    let mode = std::fs::metadata(socket_of(&anna)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let paused = command(&anna, &["pause", "2h"]);
    assert!(paused.stdout.starts_with("paused; works again in 2 h 0 min"), "{paused:?}");
    let shown = command(&anna, &["status"]);
    for line in ["peer         anna\n", "session      none for ", "state        paused; "] {
        assert!(shown.stdout.contains(line), "{line}: {shown:?}");
    }
    let json = command(&anna, &["status", "--json"]);
    assert_eq!(AgentStatus::read(&json.stdout).unwrap().peer, "anna");
    // A second agent leaves the first one's socket alone.
    let mut second = network.agent_at("anna", "127.0.0.1:1", &[]);
    second.wait_for_line("another agent answers there", WAIT);
    second.term();
    assert_eq!(second.wait(WAIT).code(), Some(0));
    assert_eq!(status(&anna).peer, "anna");
    agent.term();
    assert_eq!(agent.wait(WAIT).code(), Some(0));
    let nobody = command(&anna, &["status"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(nobody.stderr.contains("no agent is running there; start it"), "{nobody:?}");
    for (words, says) in [
        (&["pause", "2"][..], "the unit is missing; use 2s"),
        (&["pause", "4000d"], "use 3653d (ten years) or less"),
    ] {
        let wrong = command(&anna, words);
        assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
        assert!(wrong.stderr.contains(says), "{wrong:?}");
    }
}

#[test]
fn what_reads_its_socket_badly_disturbs_nobody() {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let anna = network.peer("anna");
    let _agent = network.agent("anna", &[]);
    until("anna to answer", WAIT, || socket_of(&anna).exists().then_some(()));
    let silent = UnixStream::connect(socket_of(&anna)).unwrap();
    for bytes in [&b"stop\n"[..], b"\n", &[b'x'; 10_000], b"pause 1\xff\n", b"pause -1s\n"] {
        let mut stream = UnixStream::connect(socket_of(&anna)).unwrap();
        // It may be closed before all is written.
        let _ = stream.write_all(bytes);
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        assert!(said.is_empty() || said.starts_with("refused: "), "{said}");
    }
    assert_eq!(status(&anna).peer, "anna");
    drop(silent);
}

/// The slots that a connected peer offers.
fn slots(network: &Network, name: &str) -> Option<u64> {
    network.peers().into_iter().find(|it| it.peer == name && it.is_connected).map(|it| it.slots)
}

fn until_offers(network: &Network, name: &str, offered: u64) {
    until(&format!("{name} to offer {offered}"), WAIT, || {
        (slots(network, name) == Some(offered)).then_some(())
    });
}

#[test]
fn what_the_operator_wishes_is_done_unless_the_owner_refuses() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let (anna, ben) = (network.peer("anna"), network.peer("ben"));
    let mut first = network.agent("anna", &[]);
    let _second = network.agent("ben", &["--obey", "no"]);
    let _old = Peer::greet(&network.listen, &network.peer("carl"), 1).unwrap();
    for (name, offered) in [("anna", 2), ("ben", 2), ("carl", 1)] {
        until_offers(&network, name, offered);
    }
    let said = network.command(&["peers", "drain", "anna", "ben", "--why", "an update"]);
    assert_eq!(said, "anna: told to drain\nben: told to drain, and its owner lets it refuse\n");
    until_offers(&network, "anna", 0);
    let seen = status(&anna);
    assert!(seen.state.starts_with("paused by the operator (drain: an update)"), "{seen:?}");
    let told = until("ben to be told", WAIT, || status(&ben).told.pop());
    assert_eq!(told, "the operator wishes: drain: an update; refused by --obey no");
    assert_eq!(slots(&network, "ben"), Some(2));
    // It isn't kept: it ends with the process, and when the owner or the operator says so.
    assert!(!anna.certificate.with_extension("d").join("paused").exists());
    let said = network.command(&["peers", "resume", "--all"]);
    assert!(said.contains("carl: not told: its agent is too old to understand it"), "{said}");
    until_offers(&network, "anna", 2);

    for (words, says) in [
        (&["peers", "stop", "carl"][..], "carl: not told: its agent is too old"),
        (&["peers", "stop", "dora"], "dora: not told: it isn't connected"),
    ] {
        let why = network.command_fails(words);
        assert!(why.contains(says), "{why}");
    }
    for words in [&["peers", "stop"][..], &["peers", "stop", "--all", "anna"]] {
        let state = network.state().display().to_string();
        let wrong = run("canister-arbiter", [words, &["--state", &state]].concat(), WAIT);
        assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    }

    // A service's manager starts again what failed and leaves alone what ended well.
    network.command(&["peers", "restart", "anna"]);
    assert_eq!(first.wait(WAIT).code(), Some(1));
    let said = first.stderr();
    assert!(said.contains("to be started again, as the operator wishes"), "{said}");
    let mut first = network.agent("anna", &[]);
    until_offers(&network, "anna", 2);
    network.command(&["peers", "stop", "anna", "--why", "the end"]);
    assert_eq!(first.wait(WAIT).code(), Some(0));
    assert!(first.stderr().contains("the end"));
}

#[test]
fn an_old_agent_is_told_when_it_will_get_nothing_more() {
    let origin = Origin::empty();
    serve(&origin, &big_index(10));
    let floor = ["--agent-floor", "9.0.0 from 2999-01-01"];
    let network = Network::start(&[flat("a", &origin.uri())], &floor);
    let anna = network.peer("anna");
    let mut agent = network.agent("anna", &[]);
    let says = "will be too old: the arbiter grants it no leases from";
    let line = agent.wait_for_line(says, WAIT);
    assert!(line.contains("WARN") && line.contains("2999"), "{line}");
    assert!(line.contains("install 9.0.0 or newer"), "{line}");
    assert!(status(&anna).told[0].contains(says));
    // Until then it works.
    network.until_all("indexed", 0);
    let checked = check(&anna, &network.listen, &["--allow-private"]);
    let note = checked.stdout.lines().find(|line| line.contains(says)).map(str::to_owned);
    assert!(note.is_some_and(|line| line.starts_with("note")), "{checked:?}");
    let table = network.command(&["peers"]);
    assert!(table.contains("(too old from 2999-01-01 on)"), "{table}");
}

#[test]
fn an_agent_that_is_too_old_gets_nothing() {
    let origin = Origin::empty();
    serve(&origin, &big_index(10));
    let floor = ["--agent-floor", "9.0.0 from 2020-01-01"];
    let network = Network::start(&[flat("a", &origin.uri())], &floor);
    let anna = network.peer("anna");
    let _agent = network.agent("anna", &[]);
    until_offers(&network, "anna", 2);
    assert!(status(&anna).told[0].contains("is too old"));
    assert!(network.command(&["peers"]).contains("(too old: gets nothing)"));
    // The source was due all the time, and Anna's turn would be first.
    let mut other = Peer::greet(&network.listen, &network.peer("ben"), 1).unwrap();
    let granted = until("another to get what she doesn't", WAIT, || match other.hear() {
        Ok(ToPeer::Grant { source, .. }) => Some(source.slug),
        _ => None,
    });
    assert_eq!(granted, "a");
    let checked = check(&anna, &network.listen, &["--allow-private"]);
    assert_eq!(checked.status.code(), Some(1), "{checked:?}");
    assert!(
        checked.stdout.lines().any(|line| line.starts_with("FAIL") && line.contains("too old"))
    );
    assert_eq!(origin.requests().len(), 0);
}

/// A container's engine starts again whatever ends, so its first process stays, and does nothing.
#[test]
fn in_a_container_an_agent_that_is_to_stop_stays_without_a_session() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let anna = network.peer("anna");
    let folder = anna.certificate.with_extension("d");
    std::fs::create_dir(&folder).unwrap();
    let mut run = agent_command("run", &anna, &[&network.listen]);
    run.arg("--dir").arg(&folder);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--"]);
    command.arg(run.get_program()).args(run.get_args());
    let mut container = Program::start_command("container", &mut command);
    until_offers(&network, "anna", 2);
    network.command(&["peers", "stop", "anna"]);
    until("anna to be away", WAIT, || slots(&network, "anna").is_none().then_some(()));
    let seen = until("anna to say so", WAIT, || {
        Some(status(&anna)).filter(|seen| seen.state.starts_with("paused by the operator (stop)"))
    });
    assert_eq!(seen.arbiter, "");
    assert!(container.exited().is_none());
    assert_eq!(ask(&anna, Word::Resume), "works when it is connected\n");
    until_offers(&network, "anna", 2);
}
