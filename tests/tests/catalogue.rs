//! From real repositories, over a real arbiter and real agents, into the catalogue: what is there
//! is exactly what the repositories say, and nothing more was asked of them than needed.

use canister_protocol::Source;
use canister_tests::apt::{Package, Repository, big_index};
use canister_tests::network::{Network, Row, WAIT, flat, list, serve, truth, without_descriptions};
use canister_tests::origin::{Fault, Origin, Validators};
use canister_tests::programs::until;
use std::collections::BTreeMap;
use std::fs;

fn dists(slug: &str, uri: &str) -> Source {
    Source {
        suite: "stable".to_owned(),
        component: Some("main".to_owned()),
        architecture: Some("iphoneos-arm64".to_owned()),
        ..flat(slug, uri)
    }
}

fn index_of(repository: &Repository, path: &str) -> Vec<Row> {
    truth(&fs::read_to_string(repository.dir().join(path)).unwrap())
}

const FLAT: &str = "Packages";
const DISTS: &str = "dists/stable/main/binary-iphoneos-arm64/Packages";

/// Id by package, version, architecture; of hidden rows too.
fn ids(network: &Network) -> BTreeMap<(String, String, String), String> {
    let database = network.database();
    let mut statement =
        database.prepare("SELECT package_id, version, repository_id, id FROM package").unwrap();
    let rows = statement
        .query_map([], |row| Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?)))
        .unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn latest(network: &Network, package: &str) -> Vec<String> {
    let database = network.database();
    let mut statement = database
        .prepare("SELECT version FROM package WHERE package_id = ?1 AND latest_version")
        .unwrap();
    let versions = statement.query_map([package], |row| row.get(0)).unwrap();
    versions.collect::<Result<_, _>>().unwrap()
}

fn count(network: &Network, sql: &str) -> i64 {
    network.database().query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn the_catalogue_follows_its_repositories() {
    let mut one = Repository::flat();
    let mut two = Repository::dists(&["iphoneos-arm64"]);
    for repository in [&mut one, &mut two] {
        for (name, version) in [("a", "1.9-1"), ("a", "1.10-1"), ("a", "1.10~rc1"), ("b", "2")] {
            let package = Package::new(name, version, "iphoneos-arm64");
            repository.add(package.with("Description", &format!("Package {name}\n Words.")));
        }
        repository.release();
    }
    let (first, second) = (Origin::of(one.dir()), Origin::of(two.dir()));
    // One server says what has changed, the other answers every request whole.
    first.validators(Validators::Both);
    second.validators(Validators::Neither);
    let sources = [flat("one", &first.uri()), dists("two", &second.uri())];
    let network = Network::start(&sources, &[]);
    let _agents = [network.agent("p1", &[]), network.agent("p2", &["--slots", "1"])];
    let check = |one: &Repository, two: &Repository| {
        assert_eq!(without_descriptions(network.rows("one")), index_of(one, FLAT));
        assert_eq!(without_descriptions(network.rows("two")), index_of(two, DISTS));
        assert_eq!(count(&network, "SELECT count(*) FROM staging"), 0);
        assert_eq!(count(&network, "SELECT count(*) FROM lease"), 0);
    };

    let reports = network.until_all("indexed", 0);
    check(&one, &two);
    assert_eq!(network.rows("one")[0].description.as_deref(), Some("Package a\nWords."));
    assert_eq!(latest(&network, "a"), ["1.10-1", "1.10-1"]);
    let before = ids(&network);
    let newest = |reports: &[canister_arbiter::doors::admin::SourceReport]| {
        reports.iter().filter_map(|r| Some(r.last_attempt.as_ref()?.lease)).max().unwrap()
    };
    for report in &reports {
        let attempt = report.last_attempt.as_ref().unwrap();
        // What its owner says in two files, InRelease, the index, and the three places where its
        // signer's key could be.
        assert_eq!((attempt.requests, attempt.packages, attempt.put), (7, 4, 4), "{report:?}");
    }

    // Nothing changed: one request each, nothing parsed, nothing staged.
    let mut last = newest(&reports);
    for origin in [&first, &second] {
        origin.take_requests();
    }
    // (`sync` would have them asked as if nothing were remembered.)
    for slug in ["one", "two"] {
        network.command(&["announce", slug]);
    }
    let reports = network.until_all("unchanged", last);
    for report in &reports {
        let attempt = report.last_attempt.as_ref().unwrap();
        assert_eq!((attempt.requests, attempt.bytes_plain, attempt.put), (1, 0, 0), "{report:?}");
    }
    let asked = first.take_requests();
    assert_eq!((asked.len(), asked[0].status), (1, 304), "{asked:?}");
    let asked = second.take_requests();
    assert_eq!((asked.len(), asked[0].status), (1, 200), "{asked:?}");
    check(&one, &two);

    // A new version, a package gone.
    for repository in [&mut one, &mut two] {
        repository.add(Package::new("a", "1:0.1", "iphoneos-arm64"));
        repository.remove("b");
        repository.release();
    }
    last = newest(&reports);
    network.sync();
    let reports = network.until_all("indexed", last);
    check(&one, &two);
    for report in &reports {
        assert_eq!(report.last_attempt.as_ref().unwrap().put, 1, "{report:?}");
        assert_eq!(report.packages, 4);
    }
    assert_eq!(latest(&network, "a"), ["1:0.1", "1:0.1"]);
    let after = ids(&network);
    assert!(before.iter().all(|(key, id)| after.get(key) == Some(id)), "ids moved");
    assert_eq!(count(&network, "SELECT count(*) FROM package WHERE NOT visible"), 2);

    // It comes back.
    for repository in [&mut one, &mut two] {
        repository.add(Package::new("b", "2", "iphoneos-arm64"));
        repository.release();
    }
    last = newest(&reports);
    network.sync();
    network.until_all("indexed", last);
    check(&one, &two);
    assert_eq!(count(&network, "SELECT count(*) FROM package WHERE NOT visible"), 0);

    // A database made anew has the same ids.
    let again = Network::start(&sources, &[]);
    let _agent = again.agent("p1", &[]);
    again.until_all("indexed", 0);
    assert_eq!(ids(&again), after);
}

#[test]
fn only_changes_travel() {
    let origin = Origin::empty();
    let index = String::from_utf8(big_index(3000)).unwrap();
    serve(&origin, index.as_bytes());
    let network = Network::start(&[flat("big", &origin.uri())], &[]);
    let _agent = network.agent("p1", &[]);
    let reports = network.until_all("indexed", 0);
    assert_eq!(reports[0].last_attempt.as_ref().unwrap().put, 3000);
    assert_eq!(without_descriptions(network.rows("big")), truth(&index));

    let mut stanzas: Vec<String> =
        index.split("\n\n").filter(|text| !text.trim().is_empty()).map(str::to_owned).collect();
    for stanza in stanzas.iter_mut().step_by(150) {
        *stanza = stanza.replacen("\nSize: ", "\nSize: 1", 1);
    }
    let changed = stanzas.join("\n\n") + "\n";
    assert_ne!(changed, index);
    serve(&origin, changed.as_bytes());
    let last = reports[0].last_attempt.as_ref().unwrap().lease;
    network.sync();
    let reports = network.until_all("indexed", last);
    assert_eq!(reports[0].last_attempt.as_ref().unwrap().put, 20);
    assert_eq!(without_descriptions(network.rows("big")), truth(&changed));
}

#[test]
fn what_does_not_match_its_release_is_not_published() {
    let origin = Origin::empty();
    let good = String::from_utf8(big_index(50)).unwrap();
    serve(&origin, good.as_bytes());
    let network = Network::start(&[flat("a", &origin.uri())], &["--retry-after", "3600s"]);
    let _agent = network.agent("p1", &[]);
    network.until_all("indexed", 0);
    let published = network.rows("a");
    assert_eq!(published.len(), 50);

    let other = String::from_utf8(big_index(70)).unwrap();
    let mut last = 1;
    let faults =
        [Fault::WrongByte, Fault::Truncate(5000), Fault::Endless(b"Package: x\n".to_vec())];
    for (number, fault) in faults.into_iter().enumerate() {
        origin.put("/Packages", other.as_bytes());
        // A new head each time, or nothing would be read.
        origin.put("/InRelease", origin_release(&other, number));
        origin.fault("/Packages", fault.clone());
        network.sync();
        let failed = until("the attempt to fail", WAIT, || {
            let report = network.sources().remove(0);
            let attempt = report.last_attempt.clone()?;
            (attempt.verdict == "source failed" && attempt.lease > last).then_some(report)
        });
        let attempt = failed.last_attempt.unwrap();
        last = attempt.lease;
        assert!(attempt.error.unwrap().contains("Packages"), "{fault:?}");
        assert_eq!(network.rows("a"), published, "{fault:?}");
        assert_eq!(count(&network, "SELECT count(*) FROM staging"), 0);
    }
    origin.heal("/Packages");
    network.sync();
    network.until_all("indexed", last);
    assert_eq!(without_descriptions(network.rows("a")), truth(&other));
}

fn origin_release(index: &str, number: usize) -> String {
    use sha2::{Digest as _, Sha256};
    let digest: String = Sha256::digest(index).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("Origin: Test\nVersion: {number}\nSHA256:\n {digest} {} Packages\n", index.len())
}

#[test]
fn a_price_is_asked_for_once_and_remembered() {
    let origin = Origin::empty();
    let paid = |name: &str, version: u32| {
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: iphoneos-arm64\n\
             Tag: cydia::commercial\n\n"
        )
    };
    let free = "Package: free\nVersion: 1\nArchitecture: all\n\n";
    let index = |version| [paid("a", version), paid("b", version), free.to_owned()].concat();
    origin.put("/payment_endpoint", format!("{}/shop\n", origin.uri()));
    // One shop answers, the other package's answer is a mess.
    origin.put("/shop/package/a/info", r#"{"price":"$1.99","available":true}"#);
    origin.put("/shop/package/b/info", "<html>");
    serve(&origin, index(1).as_bytes());
    let network = Network::start(&[flat("shop", &origin.uri())], &[]);
    let _agent = network.agent("p1", &[]);
    let prices = || -> Vec<(String, String)> {
        let database = network.database();
        let sql = "SELECT package_id, price FROM package WHERE visible ORDER BY 1";
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    let expected = |a: &str, b: &str| {
        [("a", a), ("b", b), ("free", "Free")].map(|(id, price)| (id.to_owned(), price.to_owned()))
    };
    let mut last = network.until_all("indexed", 0)[0].last_attempt.clone().unwrap();
    assert_eq!(prices(), expected("$1.99", "Paid"));
    // What its owner says in two files, Release, index, endpoint, two prices.
    assert_eq!(last.requests, 7);
    let asked = origin.requests_for("/shop/package/a/info");
    assert_eq!((asked.len(), asked[0].method.as_str()), (1, "POST"));
    let endpoint: String = network
        .database()
        .query_row(
            "SELECT sileo_endpoint FROM repository WHERE origin_supports_payment_v1",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(endpoint, format!("{}/shop/", origin.uri()));

    // A new version of each: the known price stays without a question, the other is tried again.
    origin.put("/shop/package/b/info", r#"{"price":"2 EUR"}"#);
    serve(&origin, index(2).as_bytes());
    network.sync();
    last = network.until_all("indexed", last.lease)[0].last_attempt.clone().unwrap();
    assert_eq!(prices(), expected("$1.99", "2 EUR"));
    assert_eq!(last.requests, 4);
    assert_eq!(origin.requests_for("/shop/package/a/info").len(), 1);

    // All known: no question at all.
    serve(&origin, index(3).as_bytes());
    network.sync();
    last = network.until_all("indexed", last.lease)[0].last_attempt.clone().unwrap();
    assert_eq!(prices(), expected("$1.99", "2 EUR"));
    assert_eq!(last.requests, 2);
}

#[test]
fn requests_say_who_asks_and_a_devices_headers_only_where_the_operator_says_so() {
    let (plain, picky) = (Origin::empty(), Origin::empty());
    for origin in [&plain, &picky] {
        serve(origin, b"Package: a\nVersion: 1\nArchitecture: all\n");
    }
    let headers = vec!["X-Machine: iPhone10,3".to_owned(), "X-Unique-ID: 0".to_owned()];
    let sources = [flat("plain", &plain.uri()), Source { headers, ..flat("picky", &picky.uri()) }];
    let network = Network::start(&sources, &[]);
    let _agent = network.agent("p1", &[]);
    network.until_all("indexed", 0);
    for request in plain.take_requests() {
        let agent = request.header("user-agent").unwrap();
        assert!(agent.starts_with("canister-agent/") && agent.contains("https://"), "{agent}");
        assert_eq!(request.header("x-machine"), None);
    }
    for request in picky.take_requests() {
        assert!(request.header("user-agent").unwrap().starts_with("canister-agent/"));
        assert_eq!(request.header("x-machine"), Some("iPhone10,3"));
        assert_eq!(request.header("x-unique-id"), Some("0"));
        assert_eq!(request.header("x-firmware"), None);
    }
}

#[test]
fn a_release_that_does_not_list_the_index_does_not_hide_its_changes() {
    let origin = Origin::empty();
    origin.validators(Validators::Etag);
    let index = |version| format!("Package: a\nVersion: {version}\nArchitecture: all\n");
    origin.put("/Release", "Label: Bare\n");
    origin.put("/Packages", index(1));
    let network = Network::start(&[flat("bare", &origin.uri())], &[]);
    let _agent = network.agent("p1", &[]);
    let mut last = network.until_all("indexed", 0)[0].last_attempt.clone().unwrap();
    let told = || -> (String, String, String) {
        let sql = "SELECT package.version, repository.name, origin_release_path FROM package \
                   JOIN repository ON repository.id = repository_id WHERE package.visible";
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        network.database().query_row(sql, [], row).unwrap()
    };
    let expected =
        |version: &str, path: &str| (version.to_owned(), "Bare".to_owned(), path.to_owned());
    assert_eq!(told(), expected("1", ""));

    // Nothing changed: one request, for the index itself.
    network.command(&["announce", "bare"]);
    last = network.until_all("unchanged", last.lease)[0].last_attempt.clone().unwrap();
    assert_eq!((last.requests, last.bytes_plain), (1, 0));

    // Only the index changes.
    origin.put("/Packages", index(2));
    network.sync();
    last = network.until_all("indexed", last.lease)[0].last_attempt.clone().unwrap();
    assert_eq!(told(), expected("2", ""));

    // Its owner learns to list it.
    serve(&origin, index(3).as_bytes());
    origin.remove("/Release");
    let listed = origin_release(&index(3), 1);
    origin.put("/InRelease", listed.replace("Origin: Test", "Label: Bare"));
    network.sync();
    last = network.until_all("indexed", last.lease)[0].last_attempt.clone().unwrap();
    assert_eq!(told(), expected("3", "InRelease"));
    network.sync();
    last = network.until_all("unchanged", last.lease)[0].last_attempt.clone().unwrap();
    assert_eq!(last.requests, 1);
}

#[test]
fn a_source_list_at_an_address_is_read_again_and_a_broken_one_changes_nothing() {
    let origins = [Origin::at(2), Origin::at(3)];
    for origin in &origins {
        serve(origin, b"Package: a\nVersion: 1\nArchitecture: all\n");
    }
    let both = [flat("a", &origins[0].uri()), flat("b", &origins[1].uri())];
    let lists = Origin::empty();
    lists.put("/list.json", list(&both));
    let address = format!("{}/list.json", lists.uri());
    let mut network = Network::start(&[], &["--sources", &address, "--refresh", "1s"]);
    let _agent = network.agent("p1", &[]);
    network.until_all("indexed", 0);
    let shown = || (network.rows("a").len(), network.rows("b").len());
    let until_shown = |expected: (usize, usize)| {
        until(&format!("{expected:?} packages"), WAIT, || (shown() == expected).then_some(()));
    };
    assert_eq!(shown(), (1, 1));

    // One that is listed no more is hidden, and comes back when it is listed again.
    lists.put("/list.json", list(&both[..1]));
    until_shown((1, 0));
    assert_eq!(network.status().sources, 1);
    lists.put("/list.json", list(&both));
    until_shown((1, 1));

    // Whatever is wrong with the list or its server, nothing changes.
    for broken in ["", "[]", "{}", "[{\"slug\":\"a\"}]", "<html>"] {
        lists.put("/list.json", broken);
        let asked = lists.requests().len();
        until("the list to be read twice more", WAIT, || {
            (lists.requests().len() >= asked + 2).then_some(())
        });
        assert_eq!(shown(), (1, 1), "{broken}");
    }
    lists.fault("/list.json", Fault::Status(500, vec![]));
    let asked = lists.requests().len();
    until("the list to be read twice more", WAIT, || {
        (lists.requests().len() >= asked + 2).then_some(())
    });
    assert_eq!(shown(), (1, 1));
    let logged = network.arbiter.wait_for_line("couldn't read the source list", WAIT);
    assert!(logged.contains("nothing changes"), "{logged}");

    // An arbiter that starts meanwhile goes on with what it knows.
    network.arbiter.kill9();
    network.restart();
    assert_eq!(network.status().sources, 2);
}
