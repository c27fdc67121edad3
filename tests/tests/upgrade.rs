//! What an earlier version left in a database, and what today's programs make of it, the whole of them: the
//! catalogue, what was decided and who is believed stay, nothing is read again that is known, and there is no
//! way back. `tests/data/upgrade/make.sh` made what was left.

use canister_protocol::Source;
use canister_tests::index;
use canister_tests::network::{Network, WAIT, flat};
use canister_tests::origin::Origin;
use canister_tests::postgres::Cluster;
use canister_tests::programs::{until, workspace};
use rusqlite::Connection;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the sources were that the dump knows.
const WAS_AT: &str = "127.0.0.1:18091";
/// What others see of the catalogue, a line a row; both databases understand it.
const CATALOGUE: &str =
    "SELECT id || ' ' || repository_id || ' ' || package_id || ' ' || version || ' '
        || CASE WHEN visible THEN 'shown' ELSE 'hidden' END || ' '
        || CASE WHEN latest_version THEN 'latest' ELSE 'older' END
     FROM package ORDER BY id";
/// The packages of a source: name and least part of the version.
const PACKAGES: [(&str, u8); 3] = [("", 0), ("-tool", 2), ("lib", 3)];

/// The dump of this name, of sources that are at `origin`, as a file in `folder`.
fn dump(name: &str, origin: &Origin, folder: &Path) -> PathBuf {
    let text = std::fs::read_to_string(workspace().join("tests/data/upgrade").join(name)).unwrap();
    let at = origin.uri();
    let file = folder.join(name);
    std::fs::write(
        &file,
        text.replace(WAS_AT, at.trim_start_matches("http://").trim_end_matches('/')),
    )
    .unwrap();
    file
}

/// Serves a source as `make.sh` did, with this part before each version.
fn serve(origin: &Origin, name: &str, major: u8) {
    let packages: String = PACKAGES
        .iter()
        .map(|(part, minor)| {
            let package = if *part == "lib" { format!("lib{name}") } else { format!("{name}{part}") };
            format!(
                "Package: {package}\nVersion: {major}.{minor}\nArchitecture: all\nDescription: of {name}\n\
                 Filename: a.deb\nSize: 5\nTag: x, y\n\n"
            )
        })
        .collect();
    let release = index::release("SHA256", &[("Packages", packages.as_bytes())]);
    origin.put(&format!("/{name}/Packages"), packages);
    origin.put(&format!("/{name}/Release"), release);
}

/// Goes on by today's programs where an earlier version left `database`, of which `query` tells; `newer` has a
/// newer version write it.
fn goes_on(
    origin: &Origin,
    database: &str,
    query: impl Fn(&str) -> Vec<String>,
    newer: impl FnOnce(),
) {
    let before = query(CATALOGUE);
    assert_eq!(before.len(), 9, "{before:?}");
    let source =
        |name: &&str| Source { ranking: 2, ..flat(name, &format!("{}/{name}/", origin.uri())) };
    let sources: Vec<Source> = ["alpha", "beta", "gamma", "odd"].iter().map(source).collect();
    // What is hidden stays, however long ago it was hidden.
    let kept = ["--database", database, "--keep-left", "3653d", "--keep-delisted", "3653d"];
    let mut network = Network::start(&sources, &kept);
    assert_eq!(query(CATALOGUE), before);
    // What was decided is in force, with who and why.
    let json = |words: &[&str]| -> Value {
        serde_json::from_str(&network.command(&[words, &["--json"]].concat())).unwrap()
    };
    let decisions = json(&["decisions"]);
    let text = decisions.to_string();
    for part in [
        "slug:gamma",
        "spam",
        "host:bad.example",
        "asked by its owner",
        "beta",
        "gone",
        "a friend",
        "peer:ben",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(decisions.as_array().unwrap().len(), 6, "{text}");
    for (source, is_allowed) in [
        ("alpha", true),
        ("gamma", false),
        ("https://bad.example/x", false),
        ("https://bad.example/good/apt", true),
    ] {
        let said = network.command(&["policy", "check", source]);
        assert_eq!(said.starts_with("allowed"), is_allowed, "{source}: {said}");
    }
    let told = network.command(&["peers"]);
    let anna = told.lines().find(|line| line.starts_with("anna"));
    assert!(anna.is_some_and(|line| line.contains("proven")), "{told}");
    assert!(network.command(&["source", "beta"]).contains("delisted"));
    // What is known isn't read again; what is new replaces it, under the same ids.
    let _agent = network.agent("anna", &[]);
    network.command(&["sync", "alpha"]);
    until("alpha to be asked", WAIT, || {
        (!origin.requests_for("/alpha/Release").is_empty()).then_some(())
    });
    until("alpha to be unchanged", WAIT, || {
        network.command(&["source", "alpha"]).contains("unchanged").then_some(())
    });
    assert_eq!(origin.requests_for("/alpha/Packages").len(), 0);
    serve(origin, "alpha", 2);
    until("the new to be published", WAIT, || {
        network.command(&["sync", "alpha"]);
        std::thread::sleep(std::time::Duration::from_millis(500));
        let rows = query(CATALOGUE);
        let new = rows.iter().filter(|row| row.contains(" 2.") && row.ends_with("shown latest"));
        (new.count() == 3).then_some(())
    });
    let after = query(CATALOGUE);
    let untouched = |row: &&String| !row.contains(" alpha ");
    assert!(
        before.iter().filter(untouched).eq(after.iter().filter(untouched)),
        "{before:?} {after:?}"
    );
    // There is no way back, and it is said in a line.
    network.arbiter.term();
    network.arbiter.wait(WAIT);
    newer();
    let why = network.fails_to_start();
    assert!(why.contains("written by a newer arbiter (schema 999"), "{why}");
}

fn served() -> Origin {
    let origin = Origin::empty();
    for name in ["alpha", "beta", "gamma"] {
        serve(&origin, name, 1);
    }
    origin
}

#[test]
fn what_an_earlier_version_left_in_sqlite_is_taken_over() {
    let (origin, folder) = (served(), tempfile::tempdir().unwrap());
    let text = std::fs::read_to_string(dump("sqlite.sql", &origin, folder.path())).unwrap();
    let file = folder.path().join("left.db");
    Connection::open(&file).unwrap().execute_batch(&text).unwrap();
    let open = || Connection::open(&file).unwrap();
    let query = |statement: &str| -> Vec<String> {
        let database = open();
        let mut statement = database.prepare(statement).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let newer = || open().pragma_update(None, "user_version", 999).unwrap();
    goes_on(&origin, file.to_str().unwrap(), query, newer);
}

#[test]
fn what_an_earlier_version_left_in_postgresql_is_taken_over() {
    let (origin, folder) = (served(), tempfile::tempdir().unwrap());
    let cluster = Cluster::start();
    let database = cluster.database();
    let file = dump("postgres.sql", &origin, folder.path());
    let mut restored = Command::new("psql");
    restored.args([
        "--no-psqlrc",
        "--quiet",
        "--set=ON_ERROR_STOP=1",
        "--dbname",
        &database.address(),
    ]);
    let restored = restored.arg("--file").arg(&file).output().unwrap();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let query = |statement: &str| database.psql(statement).lines().map(str::to_owned).collect();
    let newer = || {
        database.psql("INSERT INTO arbiter.migration (number, name) VALUES (999, 'newer')");
    };
    goes_on(&origin, &database.address(), query, newer);
}
