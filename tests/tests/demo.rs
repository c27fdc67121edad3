//! The demo over this machine's own apt sources, held against apt itself: what apt downloads for
//! the same targets is what the catalogue holds, row for row.

use canister_arbiter::store::open_read_only;
use canister_tests::apt::big_index;
use canister_tests::network::{database, flat, list, rows, serve, truth, without_descriptions};
use canister_tests::origin::Origin;
use canister_tests::postgres::Cluster;
use canister_tests::programs::{Ran, run};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const DEMO_MAX: Duration = Duration::from_secs(300);

/// One index file of apt's and the source it belongs to.
struct Target {
    file: String,
    uri: String,
    suite: String,
    component: String,
    architecture: String,
}

/// Has apt download what this machine is configured for into a folder of its own; returns its
/// package indexes.
fn apt_targets(dir: &Path) -> Vec<Target> {
    let lists = dir.join("lists");
    std::fs::create_dir_all(lists.join("partial")).unwrap();
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-o", &format!("Dir::State::lists={}", lists.display())]);
        command.args(["-o", "APT::Sandbox::User=root"]);
        let done = command.args(words).output().expect("apt-get is part of Debian");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "apt-get {words:?}: {said}");
        String::from_utf8(done.stdout).unwrap()
    };
    apt(&["-qq", "update"]);
    let format = "$(FILENAME)\t$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)\t$(ARCHITECTURE)";
    let found = apt(&["indextargets", "--format", format, "Created-By: Packages"]);
    let target = |line: &str| {
        let mut words = line.split('\t').map(str::to_owned);
        let mut word = || words.next().unwrap();
        Target { file: word(), uri: word(), suite: word(), component: word(), architecture: word() }
    };
    // Where a Release lists it, apt also reads an index of packages for all architectures apart;
    // the demo indexes the machine's architectures, whose indexes have those packages as well.
    found.lines().map(target).filter(|target| target.architecture != "all").collect()
}

/// An index that apt downloaded, however it keeps it.
fn apt_index(target: &Target) -> String {
    let mut command = Command::new("/usr/lib/apt/apt-helper");
    let plain = command.args(["cat-file", &target.file]).output().unwrap();
    assert!(plain.status.success(), "apt-helper cat-file {}", target.file);
    String::from_utf8_lossy(&plain.stdout).into_owned()
}

/// How many packages of an index must be found by their names.
const BEST_KNOWN: usize = 200;

/// The packages that most others depend on.
fn best_known(index: &str) -> Vec<String> {
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for depends in index.lines().filter_map(|line| line.strip_prefix("Depends: ")) {
        for word in depends.split([',', '|']) {
            *known.entry(word.trim().split([' ', ':']).next().unwrap()).or_default() += 1;
        }
    }
    let there: BTreeSet<&str> =
        index.lines().filter_map(|line| line.strip_prefix("Package: ")).collect();
    let mut known: Vec<_> = known.into_iter().filter(|(name, _)| there.contains(name)).collect();
    known.sort_by_key(|(name, times)| (Reverse(*times), *name));
    known.into_iter().take(BEST_KNOWN).map(|(name, _)| name.to_owned()).collect()
}

/// That a search for the name of each package finds that package first.
fn assert_found_first(names: &[String], address: &str) {
    let mut store = open_read_only(&address.parse().unwrap()).unwrap();
    let first = |name: &String| {
        let found = store.search(name, 1).unwrap().pop();
        found.map(|found| found.package_id)
    };
    let found: Vec<_> = names.iter().map(first).collect();
    let others = names.iter().zip(&found).filter(|(name, found)| found.as_ref() != Some(name));
    assert_eq!(others.collect::<Vec<_>>(), [], "not found first");
}

/// Everything of the catalogue that follows from the sources, by id.
const CONTENT: &str = "SELECT id || ' ' || package_id || ' ' || version || ' ' || price || ' '
    || repository_id || ' ' || CAST(latest_version AS INTEGER) || CAST(visible AS INTEGER)
    || quality || ' ' || upper(HEX(digest)) || ' ' || upper(HEX(version_key))
    FROM package ORDER BY 1";

#[test]
fn the_catalogue_is_the_same_in_postgresql() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::empty();
    serve(&origin, &big_index(5000));
    let list_file = dir.path().join("sources.json");
    std::fs::write(&list_file, list(&[flat("a", &origin.uri())])).unwrap();
    let postgres = Cluster::shared().database();
    let address = postgres.address();
    let demo = |folder: &str, more: &[&str]| {
        let folder = dir.path().join(folder);
        let mut words = vec!["demo", "--dir", folder.to_str().unwrap()];
        words.extend(["--sources", list_file.to_str().unwrap()]);
        words.extend(more);
        let ran = run("canister-arbiter", words, DEMO_MAX);
        assert!(ran.status.success(), "{}{}", ran.stdout, ran.stderr);
        ran
    };
    demo("sqlite", &[]);
    let ran = demo("postgres", &["--database", &address]);
    assert!(ran.stdout.contains("a PostgreSQL database"), "{}", ran.stdout);
    let sqlite = database(&dir.path().join("sqlite/state"));
    let mut statement = sqlite.prepare(CONTENT).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let rows: Vec<String> = rows.map(Result::unwrap).collect();
    assert_eq!(rows.len(), 5000);
    let in_postgres = CONTENT
        .replace("HEX(digest)", "encode(digest, 'hex')")
        .replace("HEX(version_key)", "encode(version_key, 'hex')")
        .replace("FROM package", "FROM arbiter.package");
    let text = postgres.psql(&in_postgres);
    assert_eq!(text.lines().collect::<Vec<_>>(), rows);
    // What the Canister API asks has right answers over it.
    let names: BTreeSet<&str> = (rows.iter()).filter_map(|row| row.split(' ').nth(1)).collect();
    let all = names.len();
    assert!(all > 100 && all < rows.len(), "several versions of some");
    let names: Vec<&str> = names.into_iter().take(3).collect();
    let first = names[0];
    for (query, answer) in [
        (
            format!(
                "SELECT package_id, to_jsonb(repository) ->> 'id' FROM package
                 JOIN repository ON repository.id = package.repository_id
                 WHERE package.package_id = '{first}' AND package.visible = true
                 ORDER BY package.latest_version DESC LIMIT 1"
            ),
            format!("{first}|a"),
        ),
        (
            format!(
                "SELECT count(*) FROM package WHERE package_id IN ('{}')
                   AND latest_version = true AND visible = true",
                names.join("', '")
            ),
            "3".to_owned(),
        ),
        (
            format!(
                "SELECT package_id FROM package
                 WHERE search_vector @@ plainto_tsquery('simple', '{first}')
                   AND latest_version = true AND visible = true
                 ORDER BY ts_rank(search_vector, plainto_tsquery('simple', '{first}')) DESC LIMIT 1"
            ),
            first.to_owned(),
        ),
        (
            "SELECT package_count FROM repository WHERE id = 'a' AND visible = true".to_owned(),
            "5000".to_owned(),
        ),
        (
            "SELECT count(*) FROM package WHERE repository_id = 'a' AND visible = true
               AND latest_version = true"
                .to_owned(),
            all.to_string(),
        ),
        (
            "SELECT id FROM repository WHERE visible = true ORDER BY quality".to_owned(),
            "a".to_owned(),
        ),
    ] {
        assert_eq!(postgres.psql(&query), answer, "{query}");
    }
    // The second run finds nothing to do.
    let ran = demo("postgres", &["--database", &address]);
    assert!(ran.stdout.contains("unchanged"), "{}", ran.stdout);
    let package = rows[0].split(" ").nth(1).unwrap();
    let ran = run("canister-arbiter", ["search", "--database", &address, package], DEMO_MAX);
    assert!(ran.status.success() && ran.stdout.lines().count() > 1, "{}", ran.stdout);
}

fn demo(dir: &Path, more: &[&str]) -> Ran {
    let dir = dir.join("demo");
    let words = ["demo", "--dir", dir.to_str().unwrap()];
    let ran = run("canister-arbiter", words.iter().chain(more), DEMO_MAX);
    assert!(ran.status.success(), "{}{}", ran.stdout, ran.stderr);
    ran
}

#[test]
fn the_catalogue_holds_what_apt_downloads() {
    let dir = tempfile::tempdir().unwrap();
    let targets = apt_targets(dir.path());
    assert!(!targets.is_empty(), "apt has no sources on this machine");
    let ran = demo(dir.path(), &[]);
    for part in ["indexed", "whole run", "peak memory of agent", "from the catalogue", "next:"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }

    let state = dir.path().join("demo/state");
    let catalogue = database(&state);
    let (mut compared, mut known) = (0, Vec::new());
    for target in &targets {
        let slug: String = catalogue
            .query_row(
                "SELECT slug FROM source WHERE rtrim(uri, '/') = rtrim(?1, '/') AND suite = ?2 \
                 AND component = ?3 AND architecture = ?4",
                [&target.uri, &target.suite, &target.component, &target.architecture],
                |row| row.get(0),
            )
            .unwrap_or_else(|_| panic!("no source for {}", target.file));
        let index = apt_index(target);
        known.push(best_known(&index));
        let (expected, found) = (truth(&index), without_descriptions(rows(&catalogue, &slug)));
        assert_eq!(found.len(), expected.len(), "{slug}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{slug}");
        }
        println!("{slug}: {} rows are apt's", found.len());
        compared += found.len();
    }
    assert!(compared > 0);
    drop(catalogue);
    let best = known.into_iter().max_by_key(Vec::len).unwrap();
    assert_eq!(best.len(), BEST_KNOWN);
    assert_found_first(&best, state.join("canister.db").to_str().unwrap());
    let postgres = Cluster::shared().database();
    demo(&dir.path().join("again"), &["--database", &postgres.address()]);
    assert_found_first(&best, &postgres.address());

    // Again, over the kept folder: one request a source, nothing read, nothing staged.
    let ran = demo(dir.path(), &[]);
    let last = ran.stdout.lines().find(|line| line.starts_with("whole run")).unwrap();
    println!("again, {last}");
    let catalogue = database(&state);
    let mut statement = catalogue
        .prepare(
            "SELECT verdict, requests, bytes_plain, put, dropped FROM attempt \
             WHERE token IN (SELECT max(token) FROM attempt GROUP BY slug)",
        )
        .unwrap();
    let attempts: Vec<(String, i64, i64, i64, i64)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(attempts.len(), targets.len());
    for attempt in attempts {
        assert_eq!(attempt, ("unchanged".to_owned(), 1, 0, 0, 0));
    }
    let staged: i64 =
        catalogue.query_row("SELECT count(*) FROM staging", [], |row| row.get(0)).unwrap();
    assert_eq!(staged, 0);
}
