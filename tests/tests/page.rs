//! The status page as people see it, in a real browser; its pictures are left in `target/pages/`.

use canister_arbiter::doors::admin::SOURCES_PAGE;
use canister_link::clock;
use canister_protocol::Source;
use canister_protocol::message::FailureKind;
use canister_tests::browser::{Browser, KeyboardFocus, View};
use canister_tests::network::{Network, WAIT, list};
use canister_tests::programs::{run, until};
use canister_tests::web::{ask, timed};
use canister_tests::world;
use rusqlite::{Connection, params};
use std::path::Path;
use std::time::Duration;

const HOUR: i64 = 3_600_000;

/// An arbiter whose store remembers a week of work on `sources`, of which `failing` fail.
fn remembering(sources: &[Source], failing: usize) -> Network {
    // None is due while it is looked at. So many are more than are taken in while a start is waited for.
    let options = ["--interval", "24h", "--retry-after", "24h", "--refresh", "1s"];
    let mut network = Network::start(&sources[..sources.len().min(100)], &options);
    let list = list(sources);
    let file = network.dir().join("sources.json");
    std::fs::write(file.with_extension("new"), list).unwrap();
    std::fs::rename(file.with_extension("new"), file).unwrap();
    until("all to be known", 5 * WAIT, || {
        let told = ask(&network.public, "GET", "/status.json").body;
        told.contains(&format!("\"sources\":{},", sources.len())).then_some(())
    });
    network.arbiter.term();
    network.arbiter.wait(WAIT);
    let database = network.state().join(canister_arbiter::store::DATABASE_NAME);
    let mut connection = Connection::open(database).unwrap();
    let tx = connection.transaction().unwrap();
    let now = clock::wall_millis() as i64;
    for (number, source) in sources.iter().enumerate() {
        let number = number as i64;
        let contact = now - number * 7919 % (40 * 60_000);
        tx.execute(
            "UPDATE source SET last_contact = ?2, last_attempt = ?2, due_at = ?2 + 20 * ?3 WHERE slug = ?1",
            params![source.slug, contact, HOUR],
        )
        .unwrap();
    }
    for (number, source) in
        sources.iter().step_by(sources.len() / failing).take(failing).enumerate()
    {
        let (kind, words) = FailureKind::WORDS[number * number % 11];
        let since = now - (1 + number as i64) * HOUR;
        tx.execute(
            "UPDATE source SET failures = ?2, failing_since = ?3, last_failure = ?4, last_contact = ?3,
                 reason = ?5, last_error = ?6 WHERE slug = ?1",
            params![source.slug, 1 + number as i64 % 24, since, now, words, format!("{kind:?}")],
        )
        .unwrap();
    }
    for hour in 0..168_i64 {
        let day = hour % 24;
        for (verdict, reason, leases) in [
            ("indexed", "", 12 + (day - 12).abs() + hour % 5),
            ("unchanged", "", 400 - day * 3 - hour % 11),
            ("source failed", "not found", 60 + hour % 17),
            ("expired", "", if hour == 30 { 90 } else { hour % 3 }),
        ] {
            let began = (now / HOUR - hour) * HOUR;
            let insert = "INSERT INTO tally VALUES (?1, ?2, ?3, 0, ?4, ?4, 0, 0)";
            tx.execute(insert, params![began, verdict, reason, leases]).unwrap();
        }
    }
    for (number, name) in
        ["Anna", "a box under the stairs", "Ben <ben@example.org>"].iter().enumerate()
    {
        tx.execute(
            "INSERT INTO peer (name, agent, first_seen, last_seen, confirmed, audits, public_name)
             VALUES (?1, '', ?2, ?3, ?4, ?5, ?6)",
            params![
                format!("p{number}"),
                now - 90 * 24 * HOUR,
                now,
                1200 - 500 * number as i64,
                40,
                name
            ],
        )
        .unwrap();
    }
    tx.commit().unwrap();
    drop(connection);
    network.restart();
    network
}

fn drawn(network: &Network, path: &str, name: &str) {
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/pages");
    std::fs::create_dir_all(&pictures).unwrap();
    let mut browser = Browser::start();
    for width in [1280, 390] {
        for is_dark in [false, true] {
            let url = format!("http://{}{path}", network.public);
            let seen = browser.look(&url, View { width, is_dark });
            let light = if is_dark { "dark" } else { "light" };
            std::fs::write(pictures.join(format!("{name}-{width}-{light}.png")), &seen.picture)
                .unwrap();
            assert_eq!(seen.complaints, [""; 0], "{width} {light}");
            assert!(seen.width <= u64::from(width), "{width}: {} wide", seen.width);
            let own = format!("\"http://{}/", network.public);
            assert!(!seen.asked.is_empty(), "nothing was asked for");
            assert!(seen.asked.iter().all(|url| url.starts_with(&own)), "{:?}", seen.asked);
        }
    }
}

#[test]
fn of_462_sources_100_fail_and_it_is_seen() {
    let sources = world::list();
    assert_eq!(sources.len(), 462);
    let network = remembering(&sources, 100);
    let page = ask(&network.public, "GET", "/").body;
    assert!(page.contains("<dt>failing</dt><dd>100</dd>"), "{page}");
    // Failing first, and as many as fit a page.
    let rows: Vec<&str> = page.split("<th scope=\"row\">").skip(1).take(100).collect();
    let failing = |row: &&&str| row.contains("is-failing");
    assert_eq!(rows.iter().take_while(failing).count(), 100);
    assert!(page.contains("1 to 100 of 462"));
    // What is wished for by an address, as the form and its links make one.
    let only = ask(&network.public, "GET", "/?q=NOT+found&state=failing&sort=name").body;
    let count = only.matches("state is-failing\"").count();
    assert!(count > 0 && only.matches(">not found, ").count() == count, "{only}");
    assert!(only.contains(&format!("1 to {count} of {count}<")));
    assert!(only.contains("value=\"not found\"") && only.contains("value=\"failing\" selected"));
    let last = ask(&network.public, "GET", "/?page=5").body;
    assert!(
        last.contains("401 to 462 of 462") && last.contains("href=\"/?page=4#sources\""),
        "{last}"
    );
    assert!(!last.contains("state is-failing"));
    let refreshing = ask(&network.public, "GET", "/?refresh=on").body;
    assert!(
        refreshing.contains("http-equiv=\"refresh\" content=\"60\"")
            && !page.contains("http-equiv")
    );
    // Nothing from elsewhere, and no script.
    for word in ["<script", "src=", "url(", "@import", " style=", "href=\"http", "onclick"] {
        assert!(!page.contains(word), "{word}");
    }
    drawn(&network, "/", "462");
    drawn(&network, "/?state=failing&q=not+found", "462-not-found");
}

#[test]
fn a_page_of_20000_sources_is_short_and_quick() {
    let source = |number: usize| Source {
        slug: format!("source-{number:05}"),
        uri: format!("https://r{number}.example{}.org/some/repository", number % 9000),
        suite: "./".to_owned(),
        ranking: 3,
        ..Source::default()
    };
    let sources: Vec<Source> = (0..20_000).map(source).collect();
    let network = remembering(&sources, 4000);
    until("the arbiter to know them", 4 * WAIT, || {
        let page = ask(&network.public, "GET", "/").body;
        page.contains("<dt>sources</dt><dd>20,000</dd>").then_some(())
    });
    let mut slowest = Duration::ZERO;
    for path in ["/", "/?sort=packages", "/?q=42&page=3", "/?state=failing", "/?page=200", "/"] {
        let since = clock::now();
        let (first, page) = timed(&network.public, path);
        let (took, page) = (since.elapsed(), page.body);
        println!(
            "20,000 sources: {path} took {first:?}, in all {took:?}, and {} bytes",
            page.len()
        );
        assert!(page.contains("<dd>20,000</dd>") && page.len() < 1_000_000, "{path}: {page}");
        assert_eq!(page.matches("<a href=\"/source/").count(), 100, "{path}");
        assert!(page.ends_with("</html>"), "{path}: {page}");
        slowest = slowest.max(first);
    }
    let last = ask(&network.public, "GET", "/?sort=name&page=200").body;
    assert!(last.contains("9,901 to 10,000 of 20,000") && last.contains("page 100 of 100"));
    assert!(last.contains("no pages for the other 10,000"), "{last}");
    // All of them for programs, as they are read; their own numbers are too many for Prometheus.
    for (path, list) in [("/status.json", "list"), ("/sources.json", "sources")] {
        let since = clock::now();
        let (first, told) = timed(&network.public, path);
        println!("20,000 sources: {path} took {first:?}, in all {:?}", since.elapsed());
        assert_eq!(told.header("content-type"), Some("application/json"), "{path}");
        let told: serde_json::Value = serde_json::from_str(&told.body).unwrap();
        assert_eq!(told[list].as_array().unwrap().len(), 20_000, "{path}");
    }
    let metrics = ask(&network.public, "GET", "/metrics").body;
    assert!(metrics.contains("\ncanister_network_sources_failing 4000\n"), "{metrics}");
    assert!(!metrics.contains("canister_network_source_packages"));
    assert!(slowest < Duration::from_millis(300), "{slowest:?}");
    // By command they come in parts: of JSON one array, of text a table each. Somebody reads the list again each
    // second meanwhile, which may keep the store for longer than a command waits.
    let state = network.state();
    let said = |words: &[&str]| {
        until("an answer", 5 * WAIT, || {
            let words = [&["sources", "--state", state.to_str().unwrap()], words].concat();
            let ran = run("canister-arbiter", words, WAIT);
            ran.status.success().then_some(ran.stdout)
        })
    };
    let told: Vec<serde_json::Value> = serde_json::from_str(&said(&["--json"])).unwrap();
    let slugs: Vec<&str> = told.iter().map(|it| it["source"].as_str().unwrap()).collect();
    assert!(slugs.len() == 20_000 && slugs.is_sorted());
    let text = said(&[]);
    assert_eq!(text.lines().filter(|line| line.starts_with("source-")).count(), 20_000);
    assert_eq!(text.lines().count(), 20_000 + 20_000 / SOURCES_PAGE);
    assert_eq!(said(&["--failing"]).lines().count(), 4001);
    drawn(&network, "/?page=2", "20000");
}

#[test]
fn each_source_has_a_page_for_its_owner() {
    let source = |number: u8| {
        canister_tests::network::flat(
            &format!("source-{number}"),
            &format!("http://127.0.0.{number}:1"),
        )
    };
    let sources: Vec<Source> = (1..=9).map(source).collect();
    let network = remembering(&sources, 3);
    let database = network.state().join(canister_arbiter::store::DATABASE_NAME);
    let connection = Connection::open(database).unwrap();
    let now = clock::wall_millis() as i64;
    for number in 0..40_i64 {
        let (verdict, error) = match number % 4 {
            0 => ("source failed", "source-1: fetch Packages: not there <'\"&>"),
            _ => ("indexed", "line 812: stanza without Version"),
        };
        connection.execute(
            "INSERT INTO attempt (token, slug, peer, started, ended, verdict, requests, bytes_fetched, bytes_plain,
                 millis, packages, put, dropped, skipped, error)
             VALUES (?1, 'source-1', 'secret-peer', ?2, ?2, ?3, 2, 9000, 1, 1, 7, 1, 0, 1, ?4)",
            params![1000 + number, now - (40 - number) * HOUR, verdict, error],
        ).unwrap();
        connection
            .execute(
                "INSERT INTO source_day VALUES ('source-1', ?1, 24, ?2, 1000000)",
                params![now / 86_400_000 - number, 24 + number],
            )
            .unwrap();
    }
    let odd = "line 4: \"Nmae\"; did you mean Name? (package \"<a>\") [field-misspelt]\nand 7 more";
    connection
        .execute("UPDATE source SET oddities = ?1 WHERE slug = 'source-1'", params![odd])
        .unwrap();
    connection.execute("UPDATE source SET owner_release = 'Interval: 6h\nContact: me@x' WHERE slug = 'source-1'", []).unwrap();
    let list = ask(&network.public, "GET", "/").body;
    assert!(list.contains("<a href=\"/source/source-1\">source-1</a>"), "{list}");
    let page = ask(&network.public, "GET", "/source/source-1").body;
    for part in [
        "Interval: 6h (Release)",
        "line 812: stanza without Version",
        "did you mean Name? (package &quot;&lt;a&gt;&quot;) [field-misspelt]",
        "and 7 more",
        "not there &lt;'&quot;&amp;&gt;",
        "What you can do",
        "canister-agent lint",
        "<svg",
        "The last 30",
        "http://127.0.0.1:1 ./",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for secret in ["secret-peer", "me@x", "<script", "src=", "url(", " style=", "onclick"] {
        assert!(!page.contains(secret), "{secret}");
    }
    // Nothing leads elsewhere but to the documentation.
    let docs = "href=\"https://github.com/cnstr/arbiter/blob/main/docs/";
    assert_eq!(page.matches("href=\"http").count(), page.matches(docs).count());
    assert!(page.matches(docs).count() > 0);
    let told: serde_json::Value =
        serde_json::from_str(&ask(&network.public, "GET", "/source/source-1.json").body).unwrap();
    assert_eq!(
        (told["attempts"].as_array().unwrap().len(), &told["owner_says"][0]),
        (30, &"Interval: 6h (Release)".into())
    );
    assert_eq!(told["days"].as_array().unwrap().len(), 31);
    assert_eq!(ask(&network.public, "GET", "/source/none").status, 404);
    // Both pages are HTML as the standard has it, and the feeds XML, to readers that forgive nothing.
    let dir = tempfile::tempdir().unwrap();
    for (path, name) in [
        ("/", "a.html"),
        ("/source/source-1", "b.html"),
        ("/feed.atom", "a.xml"),
        ("/source/source-1.atom", "b.xml"),
    ] {
        let reply = ask(&network.public, "GET", path);
        assert_eq!(reply.status, 200, "{path}");
        std::fs::write(dir.path().join(name), reply.body).unwrap();
    }
    let check = "import html5lib, xml.dom.minidom as x
for n in ['a', 'b']:
    html5lib.HTMLParser(strict=True).parse(open(n + '.html', encoding='utf-8'))
    assert x.parse(n + '.xml').documentElement.tagName == 'feed'";
    let ran = std::process::Command::new("/usr/bin/python3")
        .args(["-c", check])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    drawn(&network, "/source/source-1", "source");
    by_keyboard(&network);
}

/// The filter is typed in, and a source's page is found, without a mouse: and it is seen where one is.
fn by_keyboard(network: &Network) {
    let mut browser = Browser::start();
    let page = |path: &str| format!("http://{}{path}", network.public);
    for width in [1280, 390] {
        let view = View { width, is_dark: false };
        // Behind the last link the page is over.
        let mut tabs = browser.press(&page("/"), view, &["Tab"; 40]);
        let end = tabs.iter().position(|focus| focus.element.starts_with("body")).unwrap();
        tabs.truncate(end);
        assert!(tabs.iter().all(|focus| focus.is_seen), "{tabs:#?}");
        let at = |begin: &str| {
            let found = tabs.iter().position(|focus| focus.element.starts_with(begin));
            found.unwrap_or_else(|| panic!("no {begin}: {tabs:#?}")) + 1
        };
        // In the order in which they are read: the filter's fields, then the sources.
        let order = [at("input q"), at("select state"), at("button"), at("a source-")];
        assert!(order.is_sorted(), "{order:?}");
        let mut keys = vec!["Tab"; at("input q")];
        keys.extend(["source-7", "Enter"]);
        let found = browser.press(&page("/"), view, &keys);
        let found = &found.last().unwrap().page;
        assert!(found.contains("q=source-7"), "{found}");
        let mut keys = vec!["Tab"; at("a source-")];
        keys.push("Enter");
        let source = browser.press(&page("/"), view, &keys);
        assert!(source.last().unwrap().page.contains("/source/source-"), "{source:?}");
        let tabs = browser.press(&page("/source/source-1"), view, &["Tab"; 8]);
        for link in ["a for programs", "a as a feed", "a all sources"] {
            let is_there = |focus: &&KeyboardFocus| focus.element == link && focus.is_seen;
            assert!(tabs.iter().any(|focus| is_there(&focus)), "{link}: {tabs:#?}");
        }
    }
}
