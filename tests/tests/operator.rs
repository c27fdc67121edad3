//! What an operator is told, by commands and of itself: why sources fail, the rules, what is ahead, what is
//! wrong.

use canister_arbiter::doors::admin::{ForecastReport, PolicyReport, StatusReport};
use canister_arbiter::store::{self, DatabaseAddress};
use canister_protocol::Source;
use canister_tests::network::{Network, WAIT, flat, serve, serve_in};
use canister_tests::origin::Origin;
use canister_tests::postgres::Cluster;
use canister_tests::programs::{binary, run, until, workspace};
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
    fs::write(&config, "[poll]\ndeactivate_after = \"10d\"\n").unwrap();
    let now = week(&["plan", "--week", "--config", config.to_str().unwrap()]);
    fs::write(&config, "[poll]\ninterval = \"4h\"\ndeactivate_after = \"1d\"\n").unwrap();
    let config = config.display().to_string();
    let new = week(&["plan", "--week", "--config", &config]);
    let sum = |report: &ForecastReport| report.hours.iter().sum::<u64>();
    assert!(sum(&new) < sum(&now), "{} {}", sum(&new), sum(&now));
    assert_eq!((new.deactivated.len(), now.deactivated.len()), (3, 0), "{new:?}");
    let said = network.command(&["plan", "--week", "--config", &config]);
    assert!(said.contains("deactivated: gone (in "), "{said}");
    fs::write(&config, "[poll]\ninterval = 4\n").unwrap();
    assert!(network.command_fails(&["plan", "--week", "--config", &config]).contains("line 2"));
    let replay = week(&["replay"]);
    assert!(replay.hours.len() == 24 && replay.recorded_a_day > 0, "{replay:?}");
}

#[test]
fn a_backup_is_made_while_the_arbiter_runs_and_restores_it() {
    let (mut network, origin) = failing();
    let agent = network.agent("p1", &["--slots", "1"]);
    until("one to be read", WAIT, || (network.rows("well").len() == 1).then_some(()));
    let backup = network.dir().join("backup.db");
    let words = ["backup", backup.to_str().unwrap()];
    assert!(network.command(&words).contains("MiB"));
    assert!(network.command_fails(&words).contains("it is there already"));
    let mut search = Command::new(binary("canister-arbiter"));
    let found = search.args(["search", "p", "--database"]).arg(&backup).output().unwrap();
    assert!(String::from_utf8_lossy(&found.stdout).contains("well"), "{found:?}");

    // The machine is lost; on another there are the copy and what the operator keeps apart from it.
    network.command(&["block", "host:bad.example", "--why", "spam"]);
    fs::remove_file(&backup).unwrap();
    network.command(&words);
    drop(agent);
    network.arbiter.kill9();
    let before = network.rows("well");
    let kept = fs::read(&backup).unwrap();
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    fs::write(elsewhere.path(), kept).unwrap();
    network.move_with(elsewhere.path());
    network.restart();
    assert_eq!((network.rows("well"), network.status().sources), (before, 4));
    assert!(network.command(&["decisions"]).contains("spam"));
    // A peer goes on with the certificate that it has, and nothing that is known is read again.
    origin.take_requests();
    let _agent = network.agent("p1", &["--slots", "1"]);
    network.command(&["sync", "well"]);
    until("it to be asked", WAIT, || (!origin.requests().is_empty()).then_some(()));
    until("it to be unchanged", WAIT, || {
        network.command(&["source", "well"]).contains("unchanged").then_some(())
    });
    assert_eq!(origin.requests_for("/Packages").len(), 0);
}

#[test]
fn a_dump_of_postgresql_restores_what_was_there() {
    let cluster = Cluster::start();
    let database = cluster.database();
    let origin = Origin::empty();
    serve(&origin, b"Package: p\nVersion: 1\nArchitecture: all\n\n");
    let address = database.address();
    let sources = [flat("well", &origin.uri())];
    let mut network = Network::start(&sources, &["--database", &address, "--interval", "1h"]);
    let agent = network.agent("p1", &[]);
    until("it to be read", WAIT, || (network.status().visible == 1).then_some(()));
    network.command(&["block", "host:bad.example", "--why", "spam"]);
    // As docs/operating.md says, while the arbiter runs.
    let docs = fs::read_to_string(workspace().join("docs/operating.md")).unwrap();
    let dump = network.dir().join("canister.dump").display().to_string();
    let documented = |program: &str| {
        let found = docs.split('`').find(|it| it.starts_with(program)).unwrap();
        let words = found.split_whitespace().map(|word| word.replace("canister.dump", &dump));
        let mut command = Command::new("sh");
        let name = |word: String| match &*word {
            "canister" => format!("'{address}'"),
            "--dbname=canister" => format!("--dbname='{address}'"),
            _ => word,
        };
        command.args(["-c", &words.map(name).collect::<Vec<_>>().join(" ")]);
        let ran = command.output().unwrap();
        assert!(ran.status.success(), "{found}: {}", String::from_utf8_lossy(&ran.stderr));
    };
    documented("pg_dump");
    // All is lost but the dump.
    drop(agent);
    network.arbiter.term();
    network.arbiter.wait(WAIT);
    database.psql("DROP SCHEMA arbiter CASCADE; DROP TABLE public.repository CASCADE");
    documented("pg_restore");
    network.restart();
    assert_eq!((network.status().visible, network.status().sources), (1, 1));
    assert!(network.command(&["decisions"]).contains("host:bad.example"));
    let search = run("canister-arbiter", ["search", "p", "--database", &address], WAIT);
    assert!(search.stdout.contains("well"), "{}", search.stderr);
    // And it goes on: nothing is read again that is known.
    origin.take_requests();
    let _agent = network.agent("p1", &[]);
    network.sync();
    until("it to be asked", WAIT, || (!origin.requests().is_empty()).then_some(()));
    serve(&origin, b"Package: p\nVersion: 2\nArchitecture: all\n\n");
    let new = "SELECT count(*) FROM public.package WHERE visible AND version = '2'";
    until("what is new to be published", WAIT, || {
        network.sync();
        std::thread::sleep(Duration::from_millis(500));
        (database.psql(new) == "1").then_some(())
    });
}

/// Of the names that many know, those that aren't found first under their name.
fn not_first(database: &str, names: &[&str]) -> Vec<String> {
    let address: DatabaseAddress = database.parse().unwrap();
    let mut store = store::open_read_only(&address).unwrap();
    let mut is_first = |name: &str| {
        let found = store.search(name, 1).unwrap().pop();
        found.is_some_and(|found| found.package_id == name)
    };
    names.iter().filter(|name| !is_first(name)).map(|&name| name.to_owned()).collect()
}

#[test]
fn who_searches_for_one_of_200_known_names_finds_it_first() {
    let names = fs::read_to_string(workspace().join("tests/data/debian-names.tsv")).unwrap();
    let mut index = String::new();
    let rows = names.lines().filter(|line| !line.starts_with('#'));
    for mut row in rows.clone().map(|line| line.trim_start_matches('*').split('\t')) {
        let (name, section, about) =
            (row.next().unwrap(), row.next().unwrap(), row.next().unwrap_or_default());
        index += &format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nSection: {section}\nSize: 1\n\
             Filename: {name}.deb\nDescription: {about}\n\n"
        );
    }
    let known: Vec<&str> =
        rows.filter_map(|line| line.strip_prefix('*')?.split('\t').next()).collect();
    assert_eq!(known.len(), 200);
    let origin = Origin::empty();
    serve(&origin, index.as_bytes());
    let sources = [flat("debian", &origin.uri())];
    let cluster = Cluster::start();
    let database = cluster.database();
    for address in [None, Some(database.address())] {
        let options = address.iter().flat_map(|address| ["--database", address]);
        let network = Network::start(&sources, &options.collect::<Vec<_>>());
        let _agent = network.agent("p1", &[]);
        until("all to be published", WAIT, || (network.status().visible > 1500).then_some(()));
        let file = network.state().join(store::DATABASE_NAME).display().to_string();
        let address = address.unwrap_or(file);
        let wrong = not_first(&address, &known);
        println!("{} of 200 known names are found first; not {wrong:?}", 200 - wrong.len());
        assert_eq!(wrong, [""; 0], "{address}");
        let search = |words: &[&str]| {
            let words = [&["search", "--database", &*address], words].concat();
            run("canister-arbiter", words, WAIT)
        };
        let found: Value =
            serde_json::from_str(&search(&["vim", "--json", "--limit", "3"]).stdout).unwrap();
        assert_eq!((found.as_array().unwrap().len(), &found[0]["package_id"]), (3, &"vim".into()));
        assert!(found[1]["package_id"].as_str().unwrap().starts_with("vim"), "{found}");
        assert!(search(&["vim", "--limit", "2"]).stdout.contains("vim"));
        let none = search(&["nobodyhasthis"]);
        assert_eq!((none.status.code(), &*none.stdout), (Some(1), ""));
        assert!(none.stderr.contains("nothing found"), "{}", none.stderr);
    }
}

#[test]
fn a_reload_says_which_settings_changed_and_which_need_a_restart() {
    let (network, _origin) = failing();
    let said = network.command(&["reload"]);
    assert!(said.contains("started without --config: there is no file to read"), "{said}");
    let config = network.dir().join("arbiter.toml");
    fs::write(&config, "[poll]\ninterval = \"1h\"\n").unwrap();
    let mut network = network;
    network.restart_with(&["--config", config.to_str().unwrap()]);
    assert!(network.command(&["reload"]).contains("no setting changed"));
    let text =
        "[poll]\ninterval = \"2m\"\n[join]\ntoken = \"secret\"\n[retention]\nleft = \"2d\"\n";
    fs::write(&config, text).unwrap();
    for (words, when) in [
        (&["reload", "--dry-run"][..], "poll.interval: 1h -> 2m; would be in force at once\n"),
        (&["reload"], "poll.interval: 1h -> 2m\n"),
        // What needs a restart is said until there was one.
        (&["reload"], "retention.left: 30d -> 2d; needs a restart\n"),
    ] {
        let said = network.command(words);
        assert!(said.contains(when), "{said}");
        assert!(said.contains("join.token: nothing -> …; needs a restart\n"), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
    assert!(!network.command(&["reload"]).contains("poll.interval"));
    let log = network.arbiter.stderr();
    assert!(log.contains("a setting changed") && !log.contains("secret"), "{log}");
    let told: Value =
        serde_json::from_str(&network.command(&["reload", "--dry-run", "--week", "--json"]))
            .unwrap();
    assert_eq!(told["week"]["hours"].as_array().unwrap().len(), 168);
    assert!(told["settings"][0]["needs_restart"].as_bool().unwrap(), "{told}");
    // A week of another file, without it being in force.
    let requests = |network: &Network| {
        let said = network.command(&["reload", "--dry-run", "--week"]);
        let line = said.lines().find(|line| line.contains(" requests in 168 hours")).unwrap();
        line.split(' ').next().unwrap().replace(',', "").parse::<u64>().unwrap()
    };
    let often = requests(&network);
    fs::write(&config, "[poll]\ninterval = \"4h\"\n").unwrap();
    assert!(requests(&network) < often);
    let ran = run("canister-arbiter", ["reload", "--week"], WAIT);
    assert_eq!(ran.status.code(), Some(2));
}

/// A receiver of a web hook: what it was posted, and how it answers.
struct Hook {
    url: String,
    posted: Arc<Mutex<Vec<Value>>>,
    status: Arc<Mutex<u16>>,
}

impl Hook {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/secret-path", listener.local_addr().unwrap());
        let posted: Arc<Mutex<Vec<Value>>> = Arc::default();
        let status = Arc::new(Mutex::new(204));
        let (all, answers) = (Arc::clone(&posted), Arc::clone(&status));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let (mut line, mut length) = (String::new(), 0);
                while stream.read_line(&mut line).unwrap() > 2 {
                    let header = line.to_ascii_lowercase();
                    if let Some(value) = header.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let status = *answers.lock().unwrap();
                if status == 204 {
                    all.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                }
                let answer = format!(
                    "HTTP/1.1 {status} A\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                let _ = stream.get_mut().write_all(answer.as_bytes());
            }
        });
        Self { url, posted, status }
    }

    fn posted(&self) -> Vec<Value> {
        self.posted.lock().unwrap().clone()
    }
}

/// Of what the messages tell, by name, whether it began or ended.
fn told(messages: &[Value], name: &str) -> Vec<&'static str> {
    let mut told = Vec::new();
    for message in messages {
        for what in ["began", "ended"] {
            let alerts = message[what].as_array().unwrap().iter();
            told.extend(alerts.filter(|alert| alert["name"] == name).map(|_| what));
        }
    }
    told
}

#[test]
fn an_outage_of_241_sources_is_one_message_and_its_end_another() {
    let (well, host) = (Origin::empty(), Origin::at(2));
    serve(&well, b"Package: p\nVersion: 1\nArchitecture: all\n\n");
    let mut sources: Vec<Source> = (0..241)
        .map(|number| flat(&format!("s{number}"), &format!("{}/s{number}", host.uri())))
        .collect();
    sources.push(Source { ranking: 1, ..flat("well", &well.uri()) });
    let (hook, dir) = (Hook::start(), tempfile::tempdir().unwrap());
    let (command, heard) = (dir.path().join("tell"), dir.path().join("heard"));
    let script = format!("#!/bin/sh\n{{ cat; echo; }} >>{}\n", heard.display());
    fs::write(&command, script).unwrap();
    fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).unwrap();
    // The receiver is down at first, and nothing is lost by that.
    *hook.status.lock().unwrap() = 503;
    let options = [
        "--retry-after",
        "1h",
        "--interval",
        "2h",
        "--alert-after",
        "2s",
        "--alert-url",
        &hook.url,
        "--alert-command",
        command.to_str().unwrap(),
    ];
    let network = Network::start(&sources, &options);
    let agent = network.agent("p1", &["--slots", "8"]);
    until("all to fail", 2 * WAIT, || (network.status().failing == 241).then_some(()));
    until("the receiver to be missed", WAIT, || {
        network.arbiter.stderr().contains("alerts.url: status 503").then_some(())
    });
    *hook.status.lock().unwrap() = 204;
    until("a message", WAIT, || (!hook.posted().is_empty()).then_some(()));
    for number in 0..241 {
        serve_in(&host, &format!("/s{number}"), b"Package: p\nVersion: 1\nArchitecture: all\n\n");
    }
    network.sync();
    until("all to be well", 2 * WAIT, || (network.status().failing == 0).then_some(()));
    let name = "outage of 127.0.0.2";
    until("the end to be told", WAIT, || (told(&hook.posted(), name).len() == 2).then_some(()));
    drop(agent);
    until("no peer", WAIT, || (!told(&hook.posted(), "peers").is_empty()).then_some(()));
    let posted = hook.posted();
    assert_eq!(told(&posted, name), ["began", "ended"], "{posted:?}");
    let began = &posted.iter().find(|it| it["began"][0]["name"] == name).unwrap()["began"];
    assert_eq!(began.as_array().unwrap().len(), 1, "{posted:?}");
    let line = began[0]["line"].as_str().unwrap();
    assert!(line.ends_with(" of 241 sources of 127.0.0.2 fail: 241 not found"), "{line}");
    // One for the outage, one for its end, one for the peer.
    assert_eq!(posted.len(), 3, "{posted:?}");
    println!("{}", posted[0]["text"]);
    // The command is told the same, whatever becomes of the hook.
    let heard = fs::read_to_string(&heard).unwrap();
    let heard: Vec<Value> = heard.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told(&heard, name), ["began", "ended"], "{heard:?}");
    assert!(!network.arbiter.stderr().contains("secret-path"), "{}", network.arbiter.stderr());
    assert_eq!(network.arbiter.stderr().matches("couldn't tell the operator").count(), 1);
}
