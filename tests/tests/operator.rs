//! What an operator is told by commands: why sources fail, the rules, what is ahead.

use canister_arbiter::doors::admin::{ForecastReport, PolicyReport, StatusReport};
use canister_protocol::Source;
use canister_tests::network::{Network, WAIT, flat, serve};
use canister_tests::origin::Origin;
use canister_tests::programs::{binary, until};
use std::process::Command;

/// One source that is well, and three that fail for two reasons.
fn failing() -> (Network, Origin) {
    let origin = Origin::empty();
    serve(&origin, b"Package: p\nVersion: 1\nArchitecture: all\n\n");
    let sources = [
        // A peer is believed that a server is gone after one that was well.
        Source { ranking: 1, ..flat("well", &origin.uri()) },
        Source { ranking: 2, ..flat("gone", "http://127.0.0.2:1") },
        flat("odd", &format!("{}/odd", origin.uri())),
        flat("other", &format!("{}/other", origin.uri())),
    ];
    for path in ["/odd", "/other"] {
        let release = format!("SHA256:\n {} 5 Packages\n", "0".repeat(64));
        origin.put(&format!("{path}/Packages"), "wrong");
        origin.put(&format!("{path}/InRelease"), release);
    }
    let network = Network::start(&sources, &["--retry-after", "1h"]);
    (network, origin)
}

#[test]
fn failures_are_counted_by_why_and_by_whom() {
    let (network, _origin) = failing();
    let _agent = network.agent("p1", &["--slots", "1"]);
    let status: StatusReport = until("three to fail", WAIT, || {
        let status = network.status();
        (status.failing == 3).then_some(status)
    });
    let of = |reason: &str| {
        let groups = status.failing_groups.iter().filter(|group| group.reason == reason);
        groups.map(|group| group.sources).sum::<u64>()
    };
    assert_eq!((of("wrong digest"), of("no connection")), (2, 1), "{:?}", status.failing_groups);
    let said = network.command(&["status"]);
    assert!(
        said.contains("3: 2 wrong digest, 1 no connection; most at 2 127.0.0.1, 1 127.0.0.2;"),
        "{said}"
    );
    assert!(
        said.contains("source list") && said.contains("read ") && !said.contains('\x1b'),
        "{said}"
    );

    let said = network.command(&["sources", "--failing"]);
    assert_eq!(said.lines().count(), 4, "{said}");
    assert!(said.starts_with("source ") && said.contains("next try"), "{said}");
    assert!(
        !said.contains("well") && said.contains("no connection") && said.contains(" in "),
        "{said}"
    );
    let said = network.command(&["sources", "--by-reason"]);
    let rows: Vec<&str> = said.lines().collect();
    assert!(rows.len() == 3 && rows[1].starts_with("wrong digest"), "{said}");
    assert!(rows[2].starts_with("no connection") && rows[2].ends_with("gone"), "{said}");
}

#[test]
fn rules_and_hours_ahead_are_told() {
    let (network, _origin) = failing();
    let _agent = network.agent("p1", &["--slots", "1"]);
    until("three to fail", WAIT, || (network.status().failing == 3).then_some(()));
    network.command(&["block", "host:bad.example", "--why", "spam"]);
    let policy: PolicyReport =
        serde_json::from_str(&network.command(&["policy", "list", "--json"])).unwrap();
    assert!(policy.allow && policy.decisions.len() == 1, "{policy:?}");
    let said = network.command(&["policy", "list"]);
    assert!(
        said.contains("block") && said.contains("host:bad.example") && said.contains(": spam"),
        "{said}"
    );

    let said = network.command(&["plan"]);
    assert!(said.contains("requests") && said.contains("first"), "{said}");
    let mut command = Command::new(binary("canister-arbiter"));
    let ran = command.args(["plan", "--ahead", "32d"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("use 1h to 31d"));

    let week = |words: &[&str]| -> ForecastReport {
        serde_json::from_str(&network.command(&[words, &["--json"]].concat())).unwrap()
    };
    assert_eq!(week(&["plan", "--week"]).hours.len(), 168);
    let config = network.dir().join("new.toml");
    std::fs::write(&config, "[poll]\ndeactivate_after = \"10d\"\n").unwrap();
    let now = week(&["plan", "--week", "--config", config.to_str().unwrap()]);
    std::fs::write(&config, "[poll]\ninterval = \"4h\"\ndeactivate_after = \"1d\"\n").unwrap();
    let config = config.display().to_string();
    let new = week(&["plan", "--week", "--config", &config]);
    let sum = |report: &ForecastReport| report.hours.iter().sum::<u64>();
    assert!(sum(&new) < sum(&now), "{} {}", sum(&new), sum(&now));
    assert_eq!((new.deactivated.len(), now.deactivated.len()), (3, 0), "{new:?}");
    let said = network.command(&["plan", "--week", "--config", &config]);
    assert!(said.contains("deactivated: gone (in "), "{said}");
    std::fs::write(&config, "[poll]\ninterval = 4\n").unwrap();
    assert!(network.command_fails(&["plan", "--week", "--config", &config]).contains("line 2"));
    let replay = week(&["replay"]);
    assert!(replay.hours.len() == 24 && replay.recorded_a_day > 0, "{replay:?}");
}

#[test]
fn a_backup_is_made_while_the_arbiter_runs_and_restores_it() {
    let (mut network, _origin) = failing();
    let agent = network.agent("p1", &["--slots", "1"]);
    until("one to be read", WAIT, || (network.rows("well").len() == 1).then_some(()));
    let backup = network.dir().join("backup.db");
    let words = ["backup", backup.to_str().unwrap()];
    assert!(network.command(&words).contains("MiB"));
    assert!(network.command_fails(&words).contains("it is there already"));
    let mut search = Command::new(binary("canister-arbiter"));
    let found = search.args(["search", "p", "--database"]).arg(&backup).output().unwrap();
    assert!(String::from_utf8_lossy(&found.stdout).contains("well"), "{found:?}");

    // All is lost but the copy.
    drop(agent);
    network.arbiter.term();
    network.arbiter.wait(WAIT);
    let database = network.state().join(canister_arbiter::store::DATABASE_NAME);
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", database.display()));
    }
    std::fs::copy(&backup, &database).unwrap();
    network.restart();
    assert_eq!((network.rows("well").len(), network.status().sources), (1, 4));
}
