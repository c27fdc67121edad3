//! The public listener: its pages, its limits, and announcements by everybody.

use canister_link::clock;
use canister_protocol::{Head, ToArbiter, ToPeer};
use canister_tests::network::{Network, WAIT, flat, serve};
use canister_tests::origin::{Fault, Origin};
use canister_tests::peer::Peer;
use canister_tests::programs::until;
use canister_tests::web::{Reply, ask, raw, send};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

const JSON: &str = "Content-Type: application/json";

fn index(count: usize) -> String {
    let package = |number| format!("Package: p{number}\nVersion: 1\nArchitecture: all\n\n");
    (0..count).map(package).collect()
}

fn head(origin: &Origin) -> String {
    let release =
        raw(&origin.address().to_string(), b"GET /InRelease HTTP/1.1\r\nConnection: close\r\n\r\n");
    let body = release.unwrap().body;
    Head::from_sha256(Sha256::digest(body).into()).to_string()
}

/// Announces as a stranger whose address a trusted proxy tells.
fn announce_from(network: &Network, client: &str, body: &Value) -> Reply {
    let forwarded = format!("X-Forwarded-For: {client}");
    let body = body.to_string();
    let headers = [JSON, &forwarded];
    send(&network.public, "PUT", "/announce", &headers, body.as_bytes())
}

#[test]
fn the_pages_tell_what_is_and_carry_careful_headers() {
    let origin = Origin::empty();
    serve(&origin, index(20).as_bytes());
    let sources = [flat("a", &origin.uri()), flat("gone", "http://127.0.0.2:1/<'\"&amp;")];
    let network = Network::start(&sources, &[]);
    let _agent = network.agent("secret-peer", &[]);
    until("both to be tried", WAIT, || {
        let tried =
            |report: &canister_arbiter::doors::admin::SourceReport| report.last_attempt.is_some();
        network.sources().iter().all(tried).then_some(())
    });
    // The pages may be a second behind.
    let page = until("the page to tell it", WAIT, || {
        let page = ask(&network.public, "GET", "/");
        page.body.contains("1 attempt in ").then_some(page)
    });
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(
        page.body.contains("<th scope=\"row\"><a href=\"/source/a\">a</a><span"),
        "{}",
        page.body
    );
    assert!(page.body.contains("/%3C'%22&amp;amp;</span>"), "{}", page.body);
    let report = network.command(&["source", "gone"]);
    let failing = report.lines().find(|line| line.starts_with("failing")).unwrap();
    assert!(failing.contains("1 in a row since") && failing.contains("ago: gone: "), "{report}");
    assert!(!network.command(&["source", "a"]).contains("failing"));
    assert!(page.body.starts_with("<!DOCTYPE html><html lang=\"en\">"));

    let status = ask(&network.public, "GET", "/status.json?x=y");
    let told: Value = serde_json::from_str(&status.body).unwrap();
    assert_eq!(told["sources"], 2);
    assert_eq!(told["packages"], 20);
    assert_eq!(told["list"][0]["head"], head(&origin));
    assert_eq!(told["list"][1]["failures"], 1);
    assert_eq!(status.header("access-control-allow-origin"), Some("*"));

    let health = ask(&network.public, "GET", "/health");
    assert_eq!((health.status, &health.body[..3]), (200, "ok:"), "{health:?}");
    assert_eq!(health.body.lines().count(), 1);

    let changes = ask(&network.public, "GET", "/changes?after=0");
    assert_eq!(changes.header("content-type"), Some("application/x-ndjson"));
    let lines: Vec<Value> =
        changes.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (end, rows) = lines.split_last().unwrap();
    assert_eq!((rows.len(), &end["more"]), (20, &Value::Bool(false)));
    assert_eq!(rows[0]["package"]["repository_id"], "a");
    let next = format!("/changes?after={}", end["next"].as_str().unwrap());
    assert_eq!(ask(&network.public, "GET", &next).body.lines().count(), 1);
    for (query, status) in [("?after=x", 400), ("?before=1", 400), ("?after=999999", 410)] {
        assert_eq!(ask(&network.public, "GET", &format!("/changes{query}")).status, status);
    }

    // Nobody agreed to be shown.
    let peers = ask(&network.public, "GET", "/peers.json");
    assert_eq!((peers.status, &*peers.body), (200, "[]\n"));

    let metrics = ask(&network.public, "GET", "/metrics");
    for (name, reply) in [
        ("/", &page),
        ("/status.json", &status),
        ("/health", &health),
        ("/metrics", &metrics),
        ("/changes", &changes),
        ("/peers.json", &peers),
    ] {
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{name}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{name}");
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"), "{name}");
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        let address = network.peers()[0].address.clone().unwrap();
        for secret in ["secret-peer", address.as_str()] {
            assert!(!reply.body.contains(secret), "{name} tells {secret}");
        }
        let head = ask(&network.public, "HEAD", name);
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{name}");
        let post = ask(&network.public, "POST", name);
        assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")), "{name}");
    }
    // The one style sheet is the one that may be used.
    let style = page.body.split("<style>").nth(1).unwrap();
    let digest = Sha256::digest(style.split("</style>").next().unwrap());
    let policy = page.header("content-security-policy").unwrap();
    let named = policy.split("'sha256-").nth(1).unwrap().split('\'').next().unwrap();
    assert_eq!(named, base64(&digest));

    let get = ask(&network.public, "GET", "/announce");
    assert_eq!((get.status, get.header("allow")), (405, Some("POST, PUT")));
    for path in ["/connect", "/status", "/../etc/passwd", "//"] {
        assert_eq!(ask(&network.public, "GET", path).status, 404, "{path}");
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut bits = 0_u32;
        for at in 0..3 {
            bits = bits << 8 | u32::from(*three.get(at).unwrap_or(&0));
        }
        for at in 0..4 {
            text.push(match at <= three.len() {
                true => DIGITS[(bits >> (18 - 6 * at)) as usize & 63] as char,
                false => '=',
            });
        }
    }
    text
}

/// Name, kind, help, and samples with name, labels and value.
type Family = (String, String, String, Vec<(String, Value, f64)>);

#[test]
fn prometheus_own_parser_reads_the_metrics() {
    let origin = Origin::empty();
    serve(&origin, index(3).as_bytes());
    let network = Network::start(&[flat("a", &origin.uri())], &[]);
    let _agent = network.agent("p1", &[]);
    network.until_all("indexed", 0);
    let body = json!({ "source": "a" }).to_string();
    assert_eq!(send(&network.public, "POST", "/announce", &[JSON], body.as_bytes()).status, 204);
    let metrics = until("the metrics to tell it", WAIT, || {
        let metrics = ask(&network.public, "GET", "/metrics");
        let said = ["status=\"204\"} 1\n", "\ncanister_network_packages_visible 3\n"];
        said.iter().all(|said| metrics.body.contains(said)).then_some(metrics)
    });
    let kind = metrics.header("content-type");
    assert_eq!(kind, Some("text/plain; version=0.0.4; charset=utf-8"));

    let program = "import sys, json\n\
        from prometheus_client.parser import text_string_to_metric_families as read\n\
        print(json.dumps([[f.name, f.type, f.documentation, [[s.name, s.labels, s.value] for s \
        in f.samples]] for f in read(sys.stdin.read())]))";
    // Debian's, whichever other python3 comes first: it has the module, see needs.sh.
    let mut parser = Command::new("/usr/bin/python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    parser.stdin.take().unwrap().write_all(metrics.body.as_bytes()).unwrap();
    let read = parser.wait_with_output().unwrap();
    assert!(read.status.success());
    let families: Vec<Family> = serde_json::from_slice(&read.stdout).unwrap();
    let names: BTreeSet<_> = families.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names.len(), families.len(), "each family stands once");
    for (name, kind, help, samples) in &families {
        assert!(["gauge", "counter", "histogram"].contains(&kind.as_str()), "{name} is {kind}");
        assert!(help.ends_with('.') && !samples.is_empty(), "{name}: {help}");
        assert!(metrics.body.contains(&format!("# HELP {name}")), "{name}");
        assert_eq!(*kind == "counter", samples[0].0.ends_with("_total"), "{name}");
    }
    let value = |name: &str, label: Option<(&str, &str)>| {
        let samples = families.iter().flat_map(|family| &family.3);
        let mut of_name = samples.filter(|(sample, ..)| sample == name);
        let found =
            of_name.find(|(_, labels, _)| label.is_none_or(|(key, value)| labels[key] == value));
        found.unwrap_or_else(|| panic!("{name} {label:?}")).2
    };
    assert_eq!(value("canister_network_sources", None), 1.0);
    assert_eq!(value("canister_network_packages_visible", None), 3.0);
    assert_eq!(value("canister_peers_connected", None), 1.0);
    assert_eq!(value("canister_network_peers_connected", None), 1.0);
    assert!(value("process_resident_memory_bytes", None) > 1e6);
    assert_eq!(value("canister_network_source_packages", Some(("source", "a"))), 3.0);
    assert!(value("canister_network_source_contact_timestamp_seconds", None) > 1.6e9);
    assert!(value("canister_network_leases_ended_total", Some(("end", "finished"))) >= 1.0);
    assert_eq!(value("canister_announcements_total", Some(("status", "204"))), 1.0);
}

#[test]
fn an_announcement_makes_its_source_due_and_a_known_head_costs_nothing() {
    let origin = Origin::empty();
    serve(&origin, index(3).as_bytes());
    let network = Network::start(&[flat("a", &origin.uri())], &["--trusted-proxy", "127.0.0.1"]);
    let _agent = network.agent("p1", &[]);
    network.until_all("indexed", 0);
    let known = head(&origin);
    origin.take_requests();
    let lease = || network.sources()[0].last_attempt.as_ref().unwrap().lease;
    let first = lease();

    // The head that it has, in every form: nothing happens.
    let port = origin.address().port();
    let multiaddr = format!("/ip4/127.0.0.1/tcp/{port}/http");
    for body in [
        json!({"Cid": {"/": known}, "Addrs": [multiaddr]}),
        json!({"Cid": known, "source": "a"}),
        json!({"cid": known, "uri": format!("HTTP://127.0.0.1:{port}//")}),
    ] {
        let reply = announce_from(&network, "192.0.2.1", &body);
        assert_eq!((reply.status, reply.body.as_str()), (204, ""), "{body}: {reply:?}");
    }
    // A new one: it is read at once, though it is due in an hour only.
    serve(&origin, index(5).as_bytes());
    let new = head(&origin);
    let body = json!({"Cid": {"/": new}, "Addrs": [multiaddr], "ExtraData": null, "OrigPeer": ""});
    assert_eq!(announce_from(&network, "192.0.2.1", &body).status, 204);
    network.until_all("indexed", first);
    assert_eq!(network.rows("a").len(), 5);
    let second = lease();
    assert_eq!(announce_from(&network, "192.0.2.1", &body).status, 204);

    // A Cid of something else counts once.
    let other = json!({
        "Cid": {"/": "baguqeeraceirceirceirceirceirceirceirceirceirceirceirceirceiq"},
        "Addrs": [multiaddr],
    });
    assert_eq!(announce_from(&network, "192.0.2.1", &other).status, 204);
    network.until_all("unchanged", second);
    let third = lease();
    for _ in 0..3 {
        assert_eq!(announce_from(&network, "192.0.2.1", &other).status, 204);
    }
    // The operator's command goes the same way.
    let said = network.command(&["announce", "a"]);
    assert_eq!(said, "1 made due\n");
    network.until_all("unchanged", third);
    let granted = network.peers()[0].granted;
    assert_eq!(granted, 4, "the first, the new head, the other Cid, the operator's");
    assert!(network.command_fails(&["announce", "b"]).contains("no source is called \"b\""));
}

#[test]
fn what_is_no_announcement_is_refused_in_a_line() {
    let network =
        Network::start(&[flat("a", "http://127.0.0.2:1")], &["--trusted-proxy", "127.0.0.0/8"]);
    let long = vec![b'x'; 64 * 1024 + 1];
    let deep = "[".repeat(60_000);
    for (media_type, body, status) in [
        ("application/json", &b"{}"[..], 400),
        ("application/json", b"", 400),
        ("application/json", b"{\"source\":\"b\"}", 400),
        ("application/json", deep.as_bytes(), 400),
        ("application/cbor", b"\x83\xd8\x2a", 400),
        ("application/octet-stream", b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", 400),
        ("text/html", b"{}", 415),
        ("application/json", &long, 413),
    ] {
        let header = format!("Content-Type: {media_type}");
        let since = clock::now();
        let reply = send(&network.public, "PUT", "/announce", &[&header], body);
        assert_eq!(reply.status, status, "{reply:?}");
        assert!(reply.body.ends_with('\n') && reply.body.lines().count() == 1, "{reply:?}");
        assert!(since.elapsed() < Duration::from_secs(5), "{media_type}");
    }
    // Longer than it says, in chunks.
    let mut chunked =
        b"PUT /announce HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..80 {
        chunked.extend(b"400\r\n");
        chunked.extend([b' '; 1024]);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    assert_eq!(raw(&network.public, &chunked).unwrap().status, 413);
}

#[test]
fn nothing_at_home_is_discovered() {
    let known = Origin::empty();
    serve(&known, index(3).as_bytes());
    let more = ["--trusted-proxy", "127.0.0.0/8"];
    let network = Network::start(&[flat("a", &known.uri())], &more);
    let refused = |number: usize, body: &Value| {
        // Each by another, whose limit isn't what refuses.
        let reply = announce_from(&network, &format!("192.0.2.{number}"), body);
        assert_eq!(reply.status, 400, "{body}: {reply:?}");
    };
    let hosts = [
        "0.0.0.0",
        "127.0.0.1",
        "127.255.255.254",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[fe80::1]",
        "[fd12::1]",
        "[::ffff:10.1.2.3]",
        "[64:ff9b::127.0.0.1]",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "printer.local",
        "nas.home.arpa",
        "router",
        // No addresses to us; to some they are 127.0.0.1.
        "2130706433",
        "0x7f000001",
        "017700000001",
        "127.1",
    ];
    for (number, host) in hosts.into_iter().enumerate() {
        refused(number, &json!({ "uri": format!("http://{host}/repo") }));
    }
    for address in ["/ip4/0.0.0.0/tcp/80/http", "/ip6/::1/tcp/443/https", "/dns4/localhost/https"] {
        refused(40, &json!({ "Addrs": [address] }));
    }
    assert_eq!(network.sources().len(), 1);
    // What is listed may be announced wherever it is; of several addresses the public one counts; the
    // operator names what is at home.
    assert_eq!(announce_from(&network, "", &json!({ "uri": known.uri() })).status, 204);
    let both = json!({ "Addrs": ["/ip4/0.0.0.0/tcp/80/http", "/dns4/repo.example/https"] });
    assert_eq!(announce_from(&network, "", &both).status, 204);
    network.command(&["allow", "host:nas.home.arpa"]);
    let named = json!({ "uri": "http://nas.home.arpa/repo" });
    assert_eq!(announce_from(&network, "", &named).status, 204);
    let slugs: Vec<String> = network.sources().into_iter().map(|report| report.source).collect();
    assert_eq!(slugs, ["a", "nas.home.arpa-repo", "repo.example"]);
}

#[test]
fn who_announces_too_much_waits_and_others_do_not() {
    let sources = ["a", "b"].map(|slug| flat(slug, &format!("http://127.0.0.2:1/{slug}")));
    let network = Network::start(&sources, &["--trusted-proxy", "127.0.0.1"]);
    let of = |source: &str| json!({ "source": source });
    let bad = json!({});
    for _ in 0..20 {
        assert_eq!(announce_from(&network, "2001:db8::1", &bad).status, 400);
    }
    let refused = announce_from(&network, "2001:db8::ffff:2", &bad);
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=6).contains(&wait), "{wait}");
    // Another network is another's. (It is due, and stays so: no peer is here.)
    assert_eq!(announce_from(&network, "2001:db8:1::1", &of("a")).status, 204);
    assert_eq!(announce_from(&network, "192.0.2.7", &of("a")).status, 204);
    // Without the proxy's word a stranger can't choose an address.
    let elsewhere = Network::start(&sources, &[]);
    for number in 0..20 {
        let client = format!("192.0.2.{number}");
        assert_eq!(announce_from(&elsewhere, &client, &bad).status, 400);
    }
    assert_eq!(announce_from(&elsewhere, "192.0.2.99", &bad).status, 429);
    let policy = ask(&elsewhere.public, "GET", "/health");
    assert_eq!(policy.status, 200, "other pages go on");
}

#[test]
fn an_announced_stranger_is_looked_at_and_waits_for_the_operator() {
    let (known, new, page) = (Origin::empty(), Origin::at(3), Origin::at(4));
    serve(&known, index(3).as_bytes());
    serve(&new, index(7).as_bytes());
    new.put("/Release", "Origin: Test\n");
    page.put("/", "<html>");
    let network = Network::start(&[flat("a", &known.uri())], &["--refresh", "1s"]);
    let _agent = network.agent("p1", &[]);
    network.until_all("indexed", 0);
    let state = |slug: &str| {
        let sources = network.sources();
        let found = sources.into_iter().find(|report| report.source == slug);
        found.map(|report| (report.state, report.packages))
    };
    let announce = |origin: &Origin| announce_from(&network, "", &json!({ "uri": origin.uri() }));

    // What isn't on the public internet is no stranger's to name.
    let refused = announce(&new);
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.body.contains("isn't on the public internet"), "{refused:?}");
    for host in ["127.0.0.3", "127.0.0.4"] {
        network.command(&["allow", host]);
    }
    assert_eq!(announce(&new).status, 204);
    let slug = "127.0.0.3";
    until("it to be found", WAIT, || (state(slug)?.0 == "found").then_some(()));
    // Hidden from everybody, asked no more, and known when it is announced again.
    assert_eq!(network.rows(slug).len(), 0);
    let asked = new.take_requests().len();
    assert_eq!(announce(&new).status, 204);
    let status = ask(&network.public, "GET", "/status.json").body;
    assert!(!status.contains(slug), "{status}");
    network.sync();
    until("the known one to be asked again", WAIT, || {
        let sources = network.sources();
        let known = sources.into_iter().find(|report| report.source == "a")?;
        (known.last_attempt?.verdict == "unchanged").then_some(())
    });
    assert_eq!(new.take_requests().len(), 0, "after {asked}");

    assert_eq!(network.command(&["approve", slug]), "127.0.0.3 approved and due\n");
    until("it to be indexed", WAIT, || (state(slug)?.1 == 7).then_some(()));
    assert_eq!(network.rows(slug).len(), 7);
    let said = network.command_fails(&["approve", "a"]);
    assert!(said.contains("no source named \"a\" awaits approval or is delisted"), "{said}");

    // No repository: looked at once, and remembered.
    assert_eq!(announce(&page).status, 204);
    until("it to be refused", WAIT, || (state("127.0.0.4")?.0 == "refused").then_some(()));
    page.take_requests();
    let again = announce(&page);
    assert_eq!(again.status, 403);
    assert!(again.body.starts_with("it was looked at, and is no APT repository"), "{again:?}");
    assert_eq!(page.take_requests().len(), 0);
    // The operator has it looked at again; a server in trouble is refused for nothing.
    page.fault("*", Fault::Status(503, vec![]));
    network.command(&["announce", &page.uri()]);
    until("it to be looked at again", WAIT, || {
        let sources = network.sources();
        let page = sources.into_iter().find(|report| report.source == "127.0.0.4")?;
        (page.failures == 1 && page.state == "waiting").then_some(())
    });
    assert_eq!(page.take_requests().len(), 1);
    // The list was read several times meanwhile, and removed none of them.
    assert_eq!(state(slug).unwrap().1, 7);
}

#[test]
fn a_look_finds_the_usual_suite_within_its_two_requests() {
    let (known, new) = (Origin::empty(), Origin::at(3));
    serve(&known, index(3).as_bytes());
    let packages = index(7).replace("Architecture: all", "Architecture: amd64");
    let listed = canister_tests::index::release(
        "SHA256",
        &[("extra/binary-amd64/Packages", packages.as_bytes())],
    );
    new.put("/apt/dists/stable/extra/binary-amd64/Packages", packages);
    let fields = "Suite: stable\nComponents: extra main\nArchitectures: all amd64 arm64\n";
    new.put("/apt/dists/stable/Release", format!("{fields}{listed}"));
    let network = Network::start(&[flat("a", &known.uri())], &[]);
    let _agent = network.agent("p1", &[]);
    network.until_all("indexed", 0);
    network.command(&["allow", "127.0.0.3"]);
    let body = json!({ "uri": format!("{}/apt", new.uri()) });
    assert_eq!(announce_from(&network, "", &body).status, 204);
    let slug = "127.0.0.3-apt";
    let found = || network.sources().into_iter().find(|report| report.source == slug);
    until("it to be found", WAIT, || (found()?.state == "found").then_some(()));
    let asked: Vec<String> = new.take_requests().into_iter().map(|it| it.path).collect();
    assert_eq!(asked, ["/apt/Release", "/apt/dists/stable/Release"]);
    network.command(&["approve", slug]);
    until("it to be indexed", WAIT, || (found()?.packages == 7).then_some(()));
    assert_eq!(network.rows(slug).len(), 7);
    let told = ask(&network.public, "GET", &format!("/source/{slug}.json")).body;
    assert!(told.contains("\"suite\":\"stable\""), "{told}");
}

#[test]
fn a_peer_announces_over_its_session() {
    let origin = Origin::empty();
    serve(&origin, index(3).as_bytes());
    let network = Network::start(&[flat("a", &origin.uri())], &[]);
    let agent = network.agent("p1", &[]);
    network.until_all("indexed", 0);
    let mut peer = Peer::greet(&network.listen, &network.peer("p2"), 0).unwrap();
    serve(&origin, index(5).as_bytes());
    let announce =
        |cid: Option<String>, named: &str| ToArbiter::Announce { cid, named: named.to_owned() };
    // Nonsense has no answer either, and ends nothing.
    peer.say(&announce(Some("bx".to_owned()), "no such slug"));
    peer.say(&announce(Some(head(&origin)), &origin.uri()));
    network.until_all("indexed", 1);
    assert_eq!(network.rows("a").len(), 5);
    drop(agent);
    // Too many are dropped; the session lives on.
    for number in 0..50 {
        peer.say(&announce(None, &format!("s{number}")));
    }
    peer.say(&ToArbiter::Renew { leases: vec![9] });
    assert!(matches!(peer.hear(), Ok(ToPeer::Renewed { leases }) if leases.is_empty()));
}

#[test]
fn slow_large_and_many_requests_are_cut_off() {
    let network = Network::start(&[flat("a", "http://127.0.0.2:1")], &[]);
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert_eq!(raw(&network.public, long.as_bytes()).unwrap().status, 431);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(200));
    assert_eq!(raw(&network.public, many.as_bytes()).unwrap().status, 431);
    let garbage = raw(&network.public, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n");
    assert_eq!(garbage.unwrap().status, 400);
    // What a proxy before it might read in another way.
    for odd in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Content-Length: 2\r\nContent-Length: 3",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: xchunked",
        "Content-Length: +2",
    ] {
        let odd = format!("PUT /announce HTTP/1.1\r\nHost: a\r\n{odd}\r\n\r\n{{}}");
        assert_eq!(raw(&network.public, odd.as_bytes()).unwrap().status, 400, "{odd}");
    }

    let since = clock::now();
    let connect = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(&network.public).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let mut half = connect(b"GET / HTTP/1.1\r\nHost:");
    let mut body = connect(b"PUT /announce HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{");
    // The longest silent gives way to the others; who waits for its answer doesn't.
    let held: Vec<TcpStream> = (0..1100).map(|_| connect(b"")).collect();
    let mut said = String::new();
    let _ = half.read_to_string(&mut said);
    assert!(said.is_empty(), "{said}");
    assert!(since.elapsed() < Duration::from_secs(12), "{:?}", since.elapsed());
    said.clear();
    body.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    let took = since.elapsed();
    assert!(took > Duration::from_secs(10) && took < Duration::from_secs(40), "{took:?}");
    drop(held);
    let health = until("the listener to be free again", WAIT, || {
        let request = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        raw(&network.public, request)
    });
    assert_eq!(health.status, 200);
}

#[test]
fn a_peer_that_agrees_is_shown_with_its_credit() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:9")], &[]);
    let _agent = network.agent("secret-peer", &["--public-name", "Anna <b>"]);
    let told = until("the peer to be shown", Duration::from_secs(30), || {
        let told: Value =
            serde_json::from_str(&ask(&network.public, "GET", "/peers.json").body).unwrap();
        (told != Value::Array(vec![])).then_some(told)
    });
    assert_eq!((&told[0]["peer"], &told[0]["confirmed"]), (&"Anna <b>".into(), &0.into()));
    let page = ask(&network.public, "GET", "/").body;
    assert!(page.contains("<th scope=\"row\">Anna &lt;b&gt;</th>"), "{page}");
    assert!(!page.contains("secret-peer"));
}
