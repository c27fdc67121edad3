//! The operator's rules with the real programs: reload, block, the brake, and peers that a server
//! sends away.

use canister_link::clock;
use canister_protocol::Source;
use canister_protocol::ToPeer;
use canister_tests::apt::big_index;
use canister_tests::network::{Network, WAIT, flat, list, serve};
use canister_tests::origin::{Fault, Origin};
use canister_tests::peer::Peer;
use canister_tests::programs::{Ran, run, until};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A network with a configuration file.
struct Ruled {
    network: Network,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Ruled {
    fn start(config: &str, sources: &[Source], options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("arbiter.toml");
        fs::write(&file, config).unwrap();
        let path = file.display().to_string();
        let mut options = options.to_vec();
        options.extend(["--config", &path]);
        let network = Network::start(sources, &options);
        Self { network, file, _dir: dir }
    }

    /// Runs a command of the arbiter's.
    fn command(&self, words: &[&str]) -> Ran {
        command(&self.network.state(), words)
    }

    /// Runs one that is to succeed; what it prints.
    fn said(&self, words: &[&str]) -> String {
        let ran = self.command(words);
        assert!(ran.status.success(), "{words:?}: {}", ran.stderr);
        ran.stdout
    }

    fn visible(&self, slug: &str) -> usize {
        self.network.rows(slug).len()
    }
}

fn command(state: &Path, words: &[&str]) -> Ran {
    let state = state.display().to_string();
    let mut words = words.to_vec();
    let sub = if words[0] == "policy" { 2 } else { 1 };
    words.splice(sub..sub, ["--state", &state]);
    run("canister-arbiter", words, WAIT)
}

/// A server of one source with so many packages.
fn origin(packages: usize) -> Origin {
    let origin = Origin::empty();
    serve(&origin, &big_index(packages));
    origin
}

const QUICK: &str = "[politeness]\npause = \"0s\"\n";

#[test]
fn a_reload_that_blocks_takes_effect_within_a_second_for_a_lease_in_hand() {
    let (kept, blocked) = (origin(3), origin(4));
    let sources = [flat("kept", &kept.uri()), flat("gone", &blocked.uri())];
    let mut ruled = Ruled::start(QUICK, &sources, &[]);
    let agent = ruled.network.agent("p1", &["--slots", "2"]);
    until("both to be indexed", WAIT, || {
        (ruled.visible("kept") > 0 && ruled.visible("gone") > 0).then_some(())
    });
    drop(agent);
    // A peer that sits on whatever it gets.
    let files = ruled.network.peer("p2");
    let mut peer = Peer::greet(&ruled.network.listen, &files, 2).unwrap();
    ruled.said(&["sync", "gone"]);
    let (lease, source) = peer.granted();
    assert_eq!(source.slug, "gone");

    // A bad file changes nothing, and says why.
    let good = fs::read_to_string(&ruled.file).unwrap();
    fs::write(&ruled.file, format!("{good}[policy]\nexept = []\n")).unwrap();
    let ran = ruled.command(&["reload"]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(
        ran.stderr.contains("unknown key policy.exept; did you mean policy.except?"),
        "{}",
        ran.stderr
    );
    ruled.network.arbiter.signal(Signal::HUP);
    let arbiter = &mut ruled.network.arbiter;
    arbiter.wait_for_line("couldn't reload; nothing changes", WAIT);

    // A dry run only says what would change.
    fs::write(&ruled.file, format!("{good}[policy]\nexcept = [\"slug:gone\"]\n")).unwrap();
    let said = ruled.said(&["reload", "--dry-run"]);
    assert!(said.starts_with("1 hidden, 0 shown, 0 due, 0 delisted"), "{said}");
    assert!(said.contains("hidden: gone\n"), "{said}");
    assert!(ruled.visible("gone") > 0);
    assert!(ruled.said(&["policy", "check", "gone"]).starts_with("allowed: policy.allow = true"));

    let began = clock::now();
    ruled.network.arbiter.signal(Signal::HUP);
    let revoked = loop {
        match peer.hear().unwrap() {
            ToPeer::Revoked { lease, .. } => break lease,
            ToPeer::Grant { .. } => {}
            other => panic!("{other:?} instead of Revoked"),
        }
    };
    assert_eq!(revoked, lease);
    until("it to be hidden", WAIT, || (ruled.visible("gone") == 0).then_some(()));
    let took = clock::now() - began;
    assert!(took < Duration::from_secs(1), "{took:?}");
    let said = ruled.said(&["policy", "check", "gone"]);
    assert_eq!(said, "blocked: policy.allow = true, but policy.except names slug:gone\n");
    let hidden = ruled.said(&["sources", "--hidden", "--json"]);
    assert!(hidden.contains("\"gone\"") && !hidden.contains("\"kept\""), "{hidden}");
    drop(peer);

    // And back.
    fs::write(&ruled.file, good).unwrap();
    let said = ruled.said(&["reload"]);
    assert!(said.contains("shown: gone\n"), "{said}");
    assert_eq!(ruled.visible("gone"), 4);
}

#[test]
fn blocking_by_command_outlives_reload_and_restart() {
    let origin = origin(70);
    let sources = [flat("a", &origin.uri())];
    let mut ruled = Ruled::start(QUICK, &sources, &[]);
    let _agent = ruled.network.agent("p1", &[]);
    until("it to be indexed", WAIT, || (ruled.visible("a") == 70).then_some(()));
    // However large it is: it is the operator's own word.
    let said = ruled.said(&["block", "a", "--why", "asked by its owner"]);
    assert!(said.starts_with("1 hidden"), "{said}");
    assert_eq!(ruled.visible("a"), 0);
    ruled.said(&["reload"]);
    ruled.network.arbiter.term();
    ruled.network.arbiter.wait(WAIT);
    ruled.network.restart();
    assert_eq!(ruled.visible("a"), 0);
    let said = ruled.said(&["policy", "check", "a", "--as", "itself"]);
    assert!(said.starts_with("blocked: block slug:a by "), "{said}");
    assert!(said.ends_with(": asked by its owner\n"), "{said}");
    let said = ruled.said(&["source", "a"]);
    assert!(said.contains("hidden, blocked: block slug:a"), "{said}");
    assert!(said.contains("indexed"), "{said}");
    let said = ruled.said(&["allow", "a"]);
    assert!(said.contains("shown: a\n"), "{said}");
    assert_eq!(ruled.visible("a"), 70);
    let ran = ruled.command(&["policy", "check", "nobody"]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(ran.stderr.contains("use "), "{}", ran.stderr);
}

#[test]
fn a_list_that_is_empty_or_cut_in_half_is_held() {
    let origins = [origin(40), origin(40), origin(40), origin(40)];
    let sources: Vec<Source> = origins
        .iter()
        .enumerate()
        .map(|(number, origin)| flat(&format!("s{number}"), &origin.uri()))
        .collect();
    let lists = tempfile::tempdir().unwrap();
    let path = lists.path().join("list.json");
    fs::write(&path, list(&sources)).unwrap();
    let named = path.display().to_string();
    let ruled = Ruled::start(QUICK, &[], &["--sources", &named, "--refresh", "1s"]);
    let agent = ruled.network.agent("p1", &["--slots", "4"]);
    let visible = |ruled: &Ruled| -> usize {
        (0..4).map(|number| ruled.visible(&format!("s{number}"))).sum()
    };
    until("all to be indexed", WAIT, || (visible(&ruled) == 160).then_some(()));
    drop(agent);

    // An empty list, and one that is none: nothing changes, and nothing is held.
    let mut ruled = ruled;
    for bad in ["[]", "", "<html>"] {
        fs::write(&path, bad).unwrap();
        let before = ruled.network.arbiter.stderr().matches("nothing changes").count();
        until("the list to be read", WAIT, || {
            let now = ruled.network.arbiter.stderr().matches("nothing changes").count();
            (now > before).then_some(())
        });
        assert_eq!(visible(&ruled), 160);
        assert!(!ruled.said(&["held"]).contains("source list"));
    }

    // Cut in half: held, once.
    fs::write(&path, list(&sources[..2])).unwrap();
    let held = until("the list to be held", WAIT, || {
        let said = ruled.said(&["held"]);
        said.contains("source list").then_some(said)
    });
    assert!(
        held.contains("28 of 56 packages would be hidden within a day, more than 20 %"),
        "{held}"
    );
    assert_eq!(held.lines().count(), 2, "{held}");
    assert_eq!(visible(&ruled), 160);
    let ran = ruled.command(&["accept", "99"]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(ran.stderr.contains("nothing of number 99 is held"), "{}", ran.stderr);

    // Rejected, the good data stays however often the list is read; and over a restart.
    ruled.said(&["reject", "1"]);
    ruled.network.arbiter.term();
    ruled.network.arbiter.wait(WAIT);
    ruled.network.restart();
    ruled.network.arbiter.wait_for_line("is held", WAIT);
    assert_eq!(visible(&ruled), 160);
    assert!(!ruled.said(&["held"]).contains("source list"));

    // Another cut is another change; accepted, it is made.
    fs::write(&path, list(&sources[1..3])).unwrap();
    let number = until("the other list to be held", WAIT, || {
        let said = ruled.said(&["held"]);
        let line = said.lines().find(|line| line.contains("source list"))?;
        Some(line.split_whitespace().next()?.to_owned())
    });
    let said = ruled.said(&["accept", &number]);
    assert!(said.starts_with("accepted"), "{said}");
    assert_eq!(visible(&ruled), 80);
}

#[test]
fn a_source_that_suddenly_serves_an_empty_index_is_held() {
    let origin = origin(60);
    let sources = [flat("a", &origin.uri())];
    let config = format!("{QUICK}[poll]\ninterval = \"1s\"\nretry_after = \"1s\"\n");
    let ruled = Ruled::start(&config, &sources, &[]);
    let _agent = ruled.network.agent("p1", &[]);
    until("it to be indexed", WAIT, || (ruled.visible("a") == 60).then_some(()));
    serve(&origin, b"");
    let held = until("it to be held", WAIT, || {
        let said = ruled.said(&["held"]);
        said.contains("source")
            .then(|| ruled.said(&["held"]))
            .filter(|said| said.lines().count() > 1)
    });
    assert!(held.contains("the index of a is empty, and was not"), "{held}");
    assert!(ruled.said(&["status"]).contains("1 change waits for you; `held` shows it"));
    let said = ruled.said(&["source", "a"]);
    assert!(said.contains("is empty, and was not") && said.contains("`accept 1`"), "{said}");
    assert_eq!(ruled.visible("a"), 60);
    let found = ruled.said(&["sources", "--held", "--json"]);
    assert!(found.contains("\"source\": \"a\""), "{found}");
    // The last good data is what stays, and what is still searched.
    ruled.said(&["accept", "1"]);
    until("it to be published", WAIT, || (ruled.visible("a") == 0).then_some(()));
    until("nothing to be held", WAIT, || {
        (ruled.said(&["held"]).lines().count() == 1).then_some(())
    });
}

#[test]
fn a_peer_that_a_server_sends_away_makes_room_for_another() {
    let origin = origin(3);
    let sources = [flat("a", &origin.uri())];
    let config = "[politeness]\npause = \"0s\"\nrest = \"2s\"\n";
    origin.fault("*", Fault::Status(429, vec![("Retry-After", "7200".into())]));
    let ruled = Ruled::start(config, &sources, &[]);
    let first = ruled.network.agent("p1", &[]);
    let plan = until("the peer to be sent away", WAIT, || {
        let said = ruled.said(&["plan"]);
        said.contains("sent p1 away").then_some(said)
    });
    // Two hours, as the server said, and not the one of the configuration.
    let secs: u64 =
        plan.split("away for ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((7100..=7200).contains(&secs), "{plan}");
    // What the owner says is asked for first.
    let asked = || origin.asked_owner().len() + origin.requests().len();
    assert_eq!(asked(), 1, "one refusal is enough");
    origin.heal("*");
    // It stays away, though it is alone; another peer takes over after the rest.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(asked(), 1);
    let refused_at = origin.asked_owner()[0].at;
    let _second = ruled.network.agent("p2", &[]);
    until("the other to index it", WAIT, || (ruled.visible("a") == 3).then_some(()));
    assert!(origin.requests()[0].at - refused_at >= Duration::from_secs(2));
    let history = ruled.said(&["source", "a", "--json"]);
    assert!(history.contains("\"sent away\"") && history.contains("\"p2\""), "{history}");
    drop(first);
}

#[test]
fn there_is_a_pause_between_two_requests_of_a_lease() {
    let origin = origin(3);
    let sources = [flat("a", &origin.uri())];
    let ruled = Ruled::start("[politeness]\npause = \"700ms\"\n", &sources, &[]);
    let _agent = ruled.network.agent("p1", &[]);
    until("it to be indexed", WAIT, || (ruled.visible("a") == 3).then_some(()));
    let requests = origin.requests();
    assert!(requests.len() >= 2);
    for pair in requests.windows(2) {
        let pause = pair[1].at - pair[0].at;
        assert!(pause >= Duration::from_millis(700), "{pause:?} before {}", pair[1].path);
    }
}
