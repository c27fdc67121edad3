//! Networks beside networks: what one tells another, and what it takes from it.

use canister_arbiter::doors::admin::ImportReport;
use canister_arbiter::rules::advertisement::PublisherKey;
use canister_protocol::{Head, Source};
use canister_tests::index::release;
use canister_tests::network::{Network, WAIT, flat, serve, serve_in};
use canister_tests::origin::Origin;
use canister_tests::postgres::Cluster;
use canister_tests::programs::{Program, until};
use canister_tests::web::{ask, raw, send};
use canister_tests::world;
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use rustix::process::Signal;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn index(count: usize) -> String {
    let package = |number| format!("Package: p{number}\nVersion: 1\nArchitecture: all\n\n");
    (0..count).map(package).collect()
}

/// What an arbiter tells others; a page may be a second old.
fn told(network: &Network) -> Value {
    let page = ask(&network.public, "GET", "/sources.json");
    assert_eq!((page.status, page.header("content-type")), (200, Some("application/json")));
    serde_json::from_str(&page.body).unwrap()
}

/// `sources`, but for when each is due: their moments are spread anew.
fn listed(network: &Network) -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(&network.command(&["sources", "--json"])).unwrap();
    let bare = |mut source: Value| {
        source.as_object_mut().unwrap().remove("due_at");
        source
    };
    all.into_iter().map(bare).collect()
}

fn imports(network: &Network, words: &[&str]) -> ImportReport {
    let words = [&["import", "--json"], words].concat();
    serde_json::from_str(&network.command(&words)).unwrap()
}

#[test]
fn the_real_list_is_imported_whole_and_nobody_is_asked() {
    let all = world::list();
    let a = Network::start(&all, &[]);
    // It has one of them from its own list.
    let b = Network::start(&all[..1], &[]);
    let from = format!("http://{}", a.public);

    let dry = imports(&b, &["--dry-run", &from]);
    assert_eq!((dry.imported.added.len(), dry.imported.known), (461, 1), "{dry:?}");
    assert_eq!(b.sources().len(), 1);

    let found = imports(&b, &[&from]);
    assert_eq!(found.imported, dry.imported);
    assert_eq!((found.imported.refused.len(), found.imported.otherwise.len()), (0, 0));
    let ours = listed(&a);
    assert_eq!(ours.len(), 462);
    assert_eq!(listed(&b), ours);
    until("both to tell the same", WAIT, || {
        let (of_a, of_b) = (told(&a), told(&b));
        (of_a["sources"] == of_b["sources"]).then(|| assert_eq!(of_a["version"], json!(1)))
    });
    // No peer was here, and nobody else asks a source.
    for network in [&a, &b] {
        assert!(network.peers().is_empty());
        assert!(network.sources().iter().all(|source| source.last_attempt.is_none()));
    }
    let again = imports(&b, &[&from]);
    assert_eq!((again.imported.added.len(), again.imported.known), (0, 462));
}

#[test]
fn heads_are_announced_blocks_are_braked_and_own_decisions_count() {
    let (one, two) = (Origin::empty(), Origin::on([127, 0, 0, 2].into()));
    serve(&one, index(30).as_bytes());
    serve(&two, index(30).as_bytes());
    let sources = [flat("one", &one.uri()), flat("two", &two.uri())];
    let a = Network::start(&sources, &[]);
    let agent = a.agent("anna", &[]);
    a.until_all("indexed", 0);
    drop(agent);
    a.command(&["block", "host:127.0.0.2", "--why", "stolen packages"]);
    a.command(&["block", "host:nowhere.example"]);
    a.command(&["delist", "two"]);
    let document = until("the block to be told", WAIT, || {
        let told = told(&a);
        (told["decisions"].as_array().unwrap().len() == 3).then_some(told)
    });
    let text = document.to_string();
    assert!(text.contains("stolen packages") && !text.contains("anna"), "{text}");

    // It lives by what A blocks, and says otherwise of another.
    let b = Network::start(&sources[1..], &[]);
    let agent = b.agent("ben", &[]);
    b.until_all("indexed", 0);
    b.command(&["allow", "host:nowhere.example"]);
    let file = b.dir().join("told.json");
    std::fs::write(&file, &text).unwrap();
    let found = imports(&b, &[file.to_str().unwrap()]);
    assert_eq!(found.imported.refused[0].0, "one");
    assert!(found.imported.refused[0].1.contains("allow host:127.0.0.1"), "{found:?}");
    assert_eq!(found.imported.decisions, ["block host:127.0.0.2", "delist slug:two"]);
    assert_eq!(found.imported.outranked[0].0, "block host:nowhere.example");
    assert!(found.changed.held.is_some(), "{found:?}");
    assert_eq!(b.rows("two").len(), 30);
    assert!(b.command(&["decisions"]).contains("import of"));

    // What the operator allows is taken, with the head that A read: B's own peer reads it for itself.
    b.command(&["allow", "host:127.0.0.1"]);
    let found = imports(&b, &[file.to_str().unwrap()]);
    assert_eq!(found.imported.added, ["one"]);
    until("the source to be read", WAIT, || (b.rows("one").len() == 30).then_some(()));
    let head = |network: &Network| {
        let all = network.sources();
        all.into_iter().find(|source| source.source == "one").unwrap().head
    };
    assert_eq!(head(&b), head(&a));
    drop(agent);
}

#[test]
fn apts_files_and_provider_lists_are_taken_and_others_refused() {
    let b = Network::start(&[flat("known", "https://known.example")], &[]);
    let write = |name: &str, text: &str| {
        let file = b.dir().join(name);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let deb822 = "Types: deb\nURIs: https://a.example/debian\nSuites: stable\nComponents: main contrib\n\
                  Architectures: arm64\n";
    let list = "# mine\ndeb https://known.example ./\ndeb [arch=arm64] https://b.example s main\n\
                deb http://10.1.2.3/x ./\n";
    let providers =
        json!([{ "AddrInfo": { "ID": "12D3KooW", "Addrs": ["/dns4/c.example/tcp/443/https"] } }]);
    let found = imports(&b, &[&write("a.sources", deb822)]);
    assert_eq!(found.imported.added, ["stable-main-arm64", "stable-contrib-arm64"]);
    let found = imports(&b, &[&write("b.list", list)]);
    assert_eq!((found.imported.added.len(), found.imported.known), (1, 1), "{found:?}");
    assert!(found.imported.refused[0].1.contains("public internet"), "{found:?}");
    let found = imports(&b, &[&write("providers", &providers.to_string())]);
    assert_eq!(found.imported.looked_at, ["c.example"]);
    // Nobody knows whether that is a repository: it is not told on.
    let known = until("the page to have it", WAIT, || {
        let told = told(&b);
        let sources = told["sources"].as_array().unwrap().len();
        (sources > 1).then_some(sources)
    });
    assert_eq!(known, 4);

    for (name, text, why) in [
        ("none.json", "{}", "without version"),
        ("none.list", "hello", "no source"),
        ("later.json", r#"{"version":2}"#, "its version is 2, not 1"),
    ] {
        let said = b.command_fails(&["import", &write(name, text)]);
        assert!(said.contains(why) && said.lines().count() == 1, "{said}");
    }
    let said = b.command_fails(&["import", "/nowhere.json"]);
    assert!(said.contains("/nowhere.json: No such file"), "{said}");
}

#[test]
fn announcements_go_round_a_loop_of_arbiters_and_each_is_fetched_once() {
    let origin = Origin::empty();
    serve(&origin, index(1).as_bytes());
    // Listeners that are known before their arbiters are there.
    let ports: Vec<u16> = (0..3)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .map(|listener| listener.local_addr().unwrap().port())
        .collect();
    let sources = [flat("a", &origin.uri())];
    let networks: Vec<Network> = (0..3)
        .map(|at| {
            let public = format!("127.0.0.1:{}", ports[at]);
            let next = format!("http://127.0.0.1:{}", ports[(at + 1) % 3]);
            Network::start(&sources, &["--public", &public, "--pass-on", &next])
        })
        .collect();
    let _agents: Vec<_> = networks.iter().map(|network| network.agent("anna", &[])).collect();
    for network in &networks {
        network.until_all("indexed", 0);
    }
    let head = |network: &Network| network.sources()[0].head.clone();
    for round in 0..6 {
        origin.take_requests();
        serve(&origin, index(round + 2).as_bytes());
        let release = "GET /InRelease HTTP/1.1\r\nUser-Agent: test\r\nConnection: close\r\n\r\n";
        let release = raw(&origin.address().to_string(), release.as_bytes()).unwrap().body;
        let cid = Head::from_sha256(Sha256::digest(release).into()).to_string();
        let body = json!({
            "Cid": { "/": cid }, "uri": origin.uri(),
            "OrigPeer": "12D3KooWBckWLKiYoUX4k3HTrbrSe4DD5SPNTKgP6vKTva1NaRkJ",
        });
        let headers = ["Content-Type: application/json"];
        let at = &networks[round % 3];
        let answer = send(&at.public, "PUT", "/announce", &headers, body.to_string().as_bytes());
        assert_eq!(answer.status, 204, "{}", answer.body);
        until("all three networks to have it", WAIT, || {
            networks.iter().all(|network| head(network).as_ref() == Some(&cid)).then_some(())
        });
        // It has gone round by now, or never will.
        std::thread::sleep(Duration::from_secs(1));
        let asked = origin.take_requests();
        let fetched = |path: &str| asked.iter().filter(|it| it.path == path).count();
        assert_eq!((fetched("/InRelease"), fetched("/Packages")), (3 + 1, 3), "{asked:?}");
    }
}

/// A key, as the documentation makes it; returns its file.
fn publishers_key(dir: &Path) -> String {
    let file = dir.join("publisher.pem").display().to_string();
    let words = ["genpkey", "-algorithm", "ed25519", "-out", &file];
    assert!(Command::new("openssl").args(words).status().unwrap().success());
    file
}

#[test]
fn others_read_the_chain_of_advertisements_and_refuse_it_with_any_byte_changed() {
    let origin = Origin::empty();
    serve(&origin, index(1).as_bytes());
    let dir = tempfile::tempdir().unwrap();
    let key = publishers_key(dir.path());
    let mut network = Network::start(&[flat("a", &origin.uri())], &["--publisher-key", &key]);
    assert_eq!(ask(&network.public, "GET", "/ipni/v1/ad/head").status, 204);
    let said = network.arbiter.stderr();
    let id = said.split("peer_id=").nth(1).and_then(|it| it.split_whitespace().next()).unwrap();
    let (id, _agent) = (id.to_owned(), network.agent("anna", &[]));
    let mut heads = Vec::new();
    for version in 1..=3 {
        serve(&origin, index(version).as_bytes());
        network.sync();
        let head = until("the source to be published", WAIT, || {
            let source = network.sources().remove(0);
            (source.packages == version as u64).then(|| source.head.unwrap())
        });
        heads.insert(0, head);
    }

    // Another program collects what it is led to, as whoever follows would.
    let folder = dir.path().join("chain");
    std::fs::create_dir(&folder).unwrap();
    let take = |name: &str| {
        let page = ask(&network.public, "GET", &format!("/ipni/v1/ad/{name}"));
        assert_eq!((page.status, page.header("content-type")), (200, Some("application/json")));
        std::fs::write(folder.join(name), &page.body).unwrap();
        let known = format!("If-None-Match: {}", page.header("etag").unwrap());
        let path = format!("/ipni/v1/ad/{name}");
        assert_eq!(send(&network.public, "GET", &path, &[&known], b"").status, 304);
        serde_json::from_str::<Value>(&page.body).unwrap()
    };
    let newest = until("three advertisements", WAIT, || {
        if ask(&network.public, "GET", "/ipni/v1/ad/head").status == 204 {
            return None;
        }
        let head = take("head");
        let newest = take(head["head"]["/"].as_str().unwrap());
        let third = newest["PreviousID"]["/"].as_str().map(take)?;
        third["PreviousID"].is_object().then_some(newest)
    });
    let mut next = Some(newest);
    while let Some(advertisement) = next {
        take(advertisement["Entries"]["/"].as_str().unwrap());
        next = advertisement["PreviousID"]["/"].as_str().map(take);
    }
    let read = Command::new("/usr/bin/python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ipni_reader.py"))
        .arg(&folder)
        .arg(&id)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{said}");
    println!("{}", said.trim());
    let found: Vec<Value> = String::from_utf8_lossy(&read.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<String> = found
        .iter()
        .map(|it| {
            let multihash = HEXLOWER.decode(it["entries"][0].as_str().unwrap().as_bytes()).unwrap();
            let cid = [&[1, 0x55], &multihash[..]].concat();
            format!("b{}", BASE32_NOPAD.encode(&cid).to_ascii_lowercase())
        })
        .collect();
    assert_eq!(told, heads);
    let numbers: Vec<u64> = found.iter().map(|it| it["number"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|newer, older| newer > older), "{numbers:?}");
    assert_eq!(found[0]["source"], "a");
    let port = origin.address().port();
    assert_eq!(found[0]["addresses"], json!([format!("/ip4/127.0.0.1/tcp/{port}/http")]));

    // Who restarts goes on with the same chain.
    let before = ask(&network.public, "GET", "/ipni/v1/ad/head").body;
    network.restart_with(&[]);
    assert_eq!(ask(&network.public, "GET", "/ipni/v1/ad/head").body, before);
    assert_eq!(ask(&network.public, "GET", "/ipni/v1/ad/x").status, 404);
}

/// Serves a source whose owner names a publisher on the same server, and the publisher's head.
fn publish(origin: &Origin, key: &PublisherKey, count: usize, head: &str) {
    let packages = index(count);
    let listed = release("SHA256", &[("Packages", packages.as_bytes())]);
    let publisher = format!("Canister-Publisher: {}/ipni/v1/ad", origin.uri());
    // The head last: whoever asks in between looks at the source.
    origin.put("/Packages", packages);
    let key = key.id();
    origin.put("/InRelease", format!("Canister-Announcer: {key}\n{publisher}\n{listed}"));
    origin.put("/ipni/v1/ad/head", head.to_owned());
}

#[test]
fn a_publishers_unchanged_head_is_all_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let key = |name: &str| {
        let pem = std::fs::read(publishers_key(dir.path())).unwrap();
        std::fs::rename(dir.path().join("publisher.pem"), dir.path().join(name)).unwrap();
        let der = PrivatePkcs8KeyDer::from_pem_slice(&pem).unwrap();
        PublisherKey::of_pkcs8(der.secret_pkcs8_der()).unwrap()
    };
    let (own, others) = (key("own"), key("others"));
    let head =
        |key: &PublisherKey, number: u8| key.head(&Head::from_sha256([number; 32]).to_string());
    let origins: Vec<Origin> = (1..=4).map(Origin::at).collect();
    let sources: Vec<Source> = origins
        .iter()
        .zip(["a", "forged", "older", "gone"])
        .map(|(origin, slug)| {
            publish(origin, &own, 1, &head(&own, 1));
            flat(slug, &origin.uri())
        })
        .collect();
    let network = Network::start(&sources, &["--interval", "1s", "--retry-after", "1s"]);
    let _agent = network.agent("anna", &[]);
    let asked = |origin: &Origin| -> Vec<String> {
        origin.take_requests().into_iter().map(|request| request.path).collect()
    };
    let is_of_publisher = |path: &String| path == "/ipni/v1/ad/head";
    // Once a source names it, and its head was taken, nobody else is asked.
    let is_followed = |origin: &Origin| {
        until("the publisher alone to be asked", WAIT, || {
            std::thread::sleep(Duration::from_secs(3));
            let asked = asked(origin);
            (asked.len() >= 2 && asked.iter().all(is_of_publisher)).then_some(())
        });
    };
    origins.iter().for_each(is_followed);
    let source = |slug: &str| network.sources().into_iter().find(|it| it.source == slug).unwrap();
    assert_eq!(source("a").last_attempt.unwrap().verdict, "unchanged");

    // A new head leads to a normal index, and is what is known from then on.
    for origin in &origins[..3] {
        publish(origin, &own, 2, &head(&own, 2));
    }
    for slug in ["a", "forged", "older"] {
        until("the news to be read", WAIT, || (network.rows(slug).len() == 2).then_some(()));
    }
    origins[..3].iter().for_each(is_followed);

    // What isn't to be believed is said in a line, and hides nothing.
    publish(&origins[1], &own, 3, &head(&others, 2));
    publish(&origins[2], &own, 3, &head(&own, 1));
    origins[3].put("/Packages", index(3));
    publish(&origins[3], &own, 3, "");
    for (slug, why) in [
        ("forged", "whom the source doesn't name"),
        ("older", "an older one"),
        ("gone", "not JSON"),
    ] {
        until("the failure to be told", WAIT, || {
            let told = network.command(&["source", slug]);
            told.contains(why).then(|| println!("{told}"))
        });
        until("the news to be read all the same", WAIT, || {
            (network.rows(slug).len() == 3).then_some(())
        });
    }
    for origin in &origins[1..] {
        asked(origin);
        std::thread::sleep(Duration::from_secs(3));
        let asked = asked(origin);
        assert!(!asked.is_empty() && !asked.iter().any(is_of_publisher), "{asked:?}");
    }
    is_followed(&origins[0]);
}

/// A network that follows by the peer `from-a`, and audits all that it publishes.
fn follower(sources: &[Source], from: &str, on: &[&str]) -> (Network, Program) {
    let options = ["--followers", "from-a", "--audit-share", "100", "--lease", "10s"];
    let network = Network::start(sources, &[&options[..], on].concat());
    let agent = network.agent("from-a", &["--follow", from]);
    (network, agent)
}

/// The rows of a source that a network shows, whichever store it has.
fn shown(network: &Network, slug: &str) -> Vec<String> {
    let page = ask(&network.public, "GET", &format!("/copy/{slug}"));
    let mut rows: Vec<String> = page.body.lines().skip(1).map(str::to_owned).collect();
    rows.sort();
    rows
}

/// Tells a story of two networks that are on PostgreSQL, by the options of each.
fn on_postgresql(story: impl Fn([&[&str]; 2])) {
    let databases = [(); 2].map(|()| Cluster::shared().database());
    let [a, b] = databases.each_ref().map(|database| database.address());
    story([&["--database", &a], &["--database", &b]]);
}

#[test]
fn a_network_follows_another_audits_it_and_goes_on_alone() {
    follows_and_goes_on_alone([&[], &[]]);
}

#[test]
fn on_postgresql_a_network_follows_another_audits_it_and_goes_on_alone() {
    on_postgresql(follows_and_goes_on_alone);
}

fn follows_and_goes_on_alone([on_a, on_b]: [&[&str]; 2]) {
    let origin = Origin::empty();
    let sources: Vec<Source> = ["one", "two", "three"]
        .map(|slug| {
            serve_in(&origin, &format!("/{slug}"), index(30).as_bytes());
            flat(slug, &format!("{}/{slug}", origin.uri()))
        })
        .to_vec();
    let mut a = Network::start(&sources, on_a);
    let _anna = a.agent("anna", &[]);
    a.until_all("indexed", 0);
    origin.take_requests();

    let (b, _from_a) = follower(&sources, &format!("http://{}", a.public), on_b);
    b.until_all("indexed", 0);
    assert_eq!(origin.take_requests().len(), 0, "the sources' server was asked");
    for source in &sources {
        assert_eq!(shown(&b, &source.slug), shown(&a, &source.slug));
    }
    let heads = |network: &Network| -> Vec<_> {
        network.sources().into_iter().map(|source| (source.source, source.head)).collect()
    };
    assert_eq!(heads(&b), heads(&a));

    // What changed there is taken, and what didn't costs that network one request.
    serve_in(&origin, "/two", index(40).as_bytes());
    a.sync();
    until("A to have it", WAIT, || (shown(&a, "two").len() == 40).then_some(()));
    origin.take_requests();
    b.sync();
    until("B to have it", WAIT, || (shown(&b, "two").len() == 40).then_some(()));
    assert_eq!(origin.take_requests().len(), 0);
    assert!(b.command(&["publications", "two"]).contains("from-a"));

    // Its own peers read the sources themselves, and find the same.
    let _ben = b.agent("ben", &[]);
    until("audits to confirm what was taken", WAIT, || {
        b.sync();
        let peer = b.peers().into_iter().find(|peer| peer.peer == "from-a")?;
        (peer.confirmed >= 3).then_some(())
    });
    assert!(b.status().suspended.is_empty() && b.status().disputed.is_empty());

    // The other network is gone.
    a.arbiter.kill9();
    serve_in(&origin, "/three", index(50).as_bytes());
    until("B to go on alone", WAIT * 2, || {
        b.sync();
        (shown(&b, "three").len() == 50).then_some(())
    });
}

#[test]
fn a_network_that_lies_is_found_by_audits() {
    finds_a_liar([&[], &[]]);
}

#[test]
fn on_postgresql_a_network_that_lies_is_found_by_audits() {
    on_postgresql(finds_a_liar);
}

fn finds_a_liar([on_a, on_b]: [&[&str]; 2]) {
    let origin = Origin::empty();
    serve(&origin, index(30).as_bytes());
    let sources = [flat("one", &origin.uri())];
    let a = Network::start(&sources, on_a);
    let _anna = a.agent("anna", &[]);
    a.until_all("indexed", 0);
    let page = ask(&a.public, "GET", "/copy/one").body;
    assert_eq!(page.lines().count(), 31);
    let liar = Origin::on([127, 0, 0, 3].into());
    liar.put("/copy/one", page.replace("\"p7\"", "\"p7-evil\""));

    let (b, _from_a) = follower(&sources, &liar.uri(), on_b);
    until("the lie to be taken", WAIT, || {
        shown(&b, "one").iter().any(|row| row.contains("\"p7-evil\"")).then_some(())
    });
    let _peers = [b.agent("ben", &[]), b.agent("cid", &[])];
    until("the liar to be suspended", WAIT * 2, || {
        b.sync();
        (b.status().suspended == ["from-a"]).then_some(())
    });
    until("the truth", WAIT, || (shown(&b, "one") == shown(&a, "one")).then_some(()));
}

#[test]
fn a_follower_keeps_up_over_random_changes_restarts_and_cuts() {
    keeps_up([&[], &[]]);
}

#[test]
fn on_postgresql_a_follower_keeps_up_over_random_changes_restarts_and_cuts() {
    on_postgresql(keeps_up);
}

fn keeps_up([on_a, on_b]: [&[&str]; 2]) {
    let seed = std::env::var("TEST_SEED").ok().and_then(|it| it.parse().ok()).unwrap_or(20);
    println!("TEST_SEED={seed}");
    let mut state: u64 = seed;
    let mut below = |bound: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let origin = Origin::empty();
    let mut sizes = [20; 4];
    let sources: Vec<Source> = (0..sizes.len())
        .map(|at| {
            serve_in(&origin, &format!("/s{at}"), index(sizes[at]).as_bytes());
            flat(&format!("s{at}"), &format!("{}/s{at}", origin.uri()))
        })
        .collect();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let public = format!("127.0.0.1:{port}");
    let mut a = Network::start(&sources, &[&["--public", &public], on_a].concat());
    let _anna = a.agent("anna", &[]);
    a.until_all("indexed", 0);
    let (mut b, mut from_a) = follower(&sources, &format!("http://{public}"), on_b);
    b.until_all("indexed", 0);
    for _ in 0..8 {
        for _ in 0..1 + below(3) {
            let at = below(sizes.len() as u64) as usize;
            sizes[at] += 1 + below(20) as usize;
            serve_in(&origin, &format!("/s{at}"), index(sizes[at]).as_bytes());
        }
        a.sync();
        match below(5) {
            0 => {
                a.arbiter.kill9();
                a.restart();
            }
            1 => {
                b.arbiter.kill9();
                b.restart();
            }
            2 => {
                from_a.kill9();
                from_a = b.agent("from-a", &["--follow", &format!("http://{public}")]);
            }
            3 => {
                a.arbiter.signal(Signal::STOP);
                b.sync();
                std::thread::sleep(Duration::from_secs(2));
                a.arbiter.signal(Signal::CONT);
            }
            _ => {}
        }
        for (at, size) in sizes.iter().enumerate() {
            let slug = format!("s{at}");
            for network in [&a, &b] {
                until("it to have the newest", WAIT * 2, || {
                    network.sync();
                    (shown(network, &slug).len() == *size).then_some(())
                });
            }
            assert_eq!(shown(&b, &slug), shown(&a, &slug));
        }
    }
}
