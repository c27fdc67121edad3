//! What the operator says lasts, with the real programs: whatever is downloaded, read again,
//! announced or started meanwhile.

use canister_arbiter::doors::admin::SourceReport;
use canister_tests::network::{Network, WAIT, flat, list};
use canister_tests::origin::{Fault, Origin};
use canister_tests::postgres::{Cluster, Database};
use canister_tests::programs::until;
use canister_tests::web::send;
use std::fs;
use std::path::PathBuf;

/// Makes a test of a function, one for each store; it is told the options that name the store.
macro_rules! both {
    ($name:ident) => {
        mod $name {
            #[test]
            fn sqlite() {
                super::$name(None);
            }

            #[test]
            fn postgres() {
                super::$name(Some(super::Cluster::shared().database()));
            }
        }
    };
}

/// A network of sources that nobody serves, with a configuration file.
struct Ruled {
    network: Network,
    file: PathBuf,
    _dir: tempfile::TempDir,
    _database: Option<Database>,
}

impl Ruled {
    fn start(database: Option<Database>, config: &str, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("arbiter.toml");
        fs::write(&file, config).unwrap();
        let path = file.display().to_string();
        let address = database.as_ref().map(Database::address);
        let mut options = options.to_vec();
        options.extend(["--config", &path]);
        if let Some(address) = &address {
            options.extend(["--database", address]);
        }
        let network = Network::start(&sources(), &options);
        Self { network, file, _dir: dir, _database: database }
    }

    /// What a command prints.
    fn said(&self, words: &[&str]) -> String {
        self.network.command(words)
    }

    fn source(&self, slug: &str) -> SourceReport {
        let found = self.network.sources().into_iter().find(|report| report.source == slug);
        found.unwrap()
    }

    fn restart(&mut self) {
        self.network.restart_with(&[]);
    }
}

fn sources() -> Vec<canister_protocol::Source> {
    ["a", "b", "c"].map(|slug| flat(slug, &format!("https://{slug}.example"))).into()
}

/// A server of lists.
struct Lists(Origin);

impl Lists {
    fn serve() -> Self {
        let origin = Origin::empty();
        origin.put("/list.json", list(&sources()));
        origin.put("/blocks.json", r#"["nobody.example"]"#);
        Self(origin)
    }

    fn uri(&self, path: &str) -> String {
        format!("{}{path}", self.0.uri())
    }

    fn until_asked(&self, path: &str) {
        let before = self.0.requests_for(path).len();
        until("the list to be asked for", WAIT, || {
            (self.0.requests_for(path).len() > before).then_some(())
        });
    }

    /// Does something while `path` is being downloaded; returns when that download was taken in.
    fn during(&self, path: &str, what: impl FnOnce()) {
        self.0.fault(path, Fault::Hang);
        self.until_asked(path);
        what();
        self.0.heal(path);
        self.0.let_go();
        // The arbiter reads its lists one after the other, so the next time means that it is done.
        self.until_asked(path);
    }
}

both!(what_is_said_during_a_download_lasts);
fn what_is_said_during_a_download_lasts(database: Option<Database>) {
    let lists = Lists::serve();
    let config = format!("[lists]\nblocks = [\"{}\"]\n", lists.uri("/blocks.json"));
    let options = ["--sources", &lists.uri("/list.json"), "--refresh", "1s"];
    let ruled = Ruled::start(database, &config, &options);
    let check = |slug: &str| ruled.said(&["policy", "check", slug]);

    lists.during("/list.json", || {
        assert!(ruled.said(&["block", "slug:b"]).starts_with("1 hidden"));
        assert_eq!(ruled.source("b").state, "blocked");
    });
    assert_eq!(ruled.source("b").state, "blocked");
    assert!(check("b").starts_with("blocked: block slug:b by "), "{}", check("b"));

    lists.during("/blocks.json", || {
        ruled.said(&["block", "slug:a"]);
        ruled.said(&["allow", "slug:b"]);
    });
    assert_eq!((&*ruled.source("a").state, &*ruled.source("b").state), ("blocked", "due"));
    assert!(check("a").starts_with("blocked: block slug:a by "), "{}", check("a"));
    assert!(check("b").starts_with("allowed: allow slug:b by "), "{}", check("b"));

    for path in ["/list.json", "/blocks.json"] {
        fs::write(&ruled.file, format!("{config}[policy]\nexcept = [\"slug:c\"]\n")).unwrap();
        lists.during(path, || {
            ruled.said(&["reload"]);
        });
        assert_eq!(ruled.source("c").state, "blocked", "{path}");
        assert!(check("c").starts_with("blocked: "), "{path}");
        fs::write(&ruled.file, &config).unwrap();
        ruled.said(&["reload"]);
        assert_eq!(ruled.source("c").state, "due", "{path}");
    }
}

both!(what_the_operator_delists_stays_so_until_it_is_taken_back);
fn what_the_operator_delists_stays_so_until_it_is_taken_back(database: Option<Database>) {
    let mut ruled = Ruled::start(database, "", &[]);
    assert_eq!(ruled.said(&["delist", "a"]), "a delisted\n");
    let is_delisted = |ruled: &Ruled, after: &str| {
        let found = ruled.source("a");
        let stands = (&*found.state, &*found.stands, found.is_shown);
        assert_eq!(stands, ("delisted", "delisted", false), "after {after}");
    };
    is_delisted(&ruled, "the command");
    ruled.said(&["reload"]);
    is_delisted(&ruled, "a reload");
    ruled.restart();
    is_delisted(&ruled, "a restart");
    assert_eq!(ruled.said(&["sync"]), "2 made due\n");
    is_delisted(&ruled, "sync of all");
    let json = ["Content-Type: application/json"];
    let announced = br#"{"source": "a"}"#;
    let reply = send(&ruled.network.public, "PUT", "/announce", &json, announced);
    assert_eq!(reply.status, 403, "{reply:?}");
    assert!(reply.body.contains("delist slug:a by "), "{reply:?}");
    is_delisted(&ruled, "an announcement");
    let refused = ruled.network.command_fails(&["announce", "a"]);
    assert!(refused.contains("run sync a"), "{refused}");
    is_delisted(&ruled, "the operator's announcement");

    assert_eq!(ruled.said(&["sync", "a"]), "1 made due\n");
    let found = ruled.source("a");
    assert_eq!((&*found.state, &*found.stands, found.is_shown), ("due", "active", true));
    ruled.restart();
    assert_eq!(ruled.source("a").stands, "active");

    // All that was said is told, newest first.
    ruled.said(&["block", "host:c.example", "--why", "asked by its owner"]);
    let said = ruled.said(&["decisions"]);
    let mut lines = said.lines().skip(1);
    let newest = lines.next().unwrap();
    assert!(newest.starts_with("     3  block     host:c.example  "), "{said}");
    assert!(newest.ends_with("  yes       asked by its owner"), "{said}");
    assert!(lines.next().unwrap().contains("approve   slug:a"), "{said}");
    assert!(lines.next().unwrap().contains("  no"), "{said}");
    let json: Vec<serde_json::Value> =
        serde_json::from_str(&ruled.said(&["decisions", "--json"])).unwrap();
    let told: Vec<_> = (json.iter())
        .map(|it| (it["decision"].as_str(), it["subject"].as_str(), it["is_in_force"].as_bool()))
        .collect();
    assert_eq!(
        told,
        [
            (Some("block"), Some("host:c.example"), Some(true)),
            (Some("approve"), Some("slug:a"), Some(true)),
            (Some("delist"), Some("slug:a"), Some(false)),
        ]
    );
    assert!(json.iter().all(|it| it["by"] == json[0]["by"] && it["at"].is_u64()), "{json:?}");
    let refused = ruled.network.command_fails(&["accept", "7", "--why", "it is right"]);
    assert!(refused.contains("nothing of number 7 is held"), "{refused}");
}

both!(the_documented_override_is_accepted_and_an_idle_one_is_named);
fn the_documented_override_is_accepted_and_an_idle_one_is_named(database: Option<Database>) {
    let config = "
        [poll.overrides.\"slug:a\"]
        interval = \"12h\"
        retry_after = \"45m\"
        deactivate_after = \"3h\"
        stop_after = \"3h\"
        # A publisher that is often offline.
        [poll.overrides.\"slug:b\"]
        interval = \"7d\"
    ";
    let ruled = Ruled::start(database, config, &[]);
    assert!(!ruled.said(&["reload"]).contains("poll.overrides"));
    fs::write(&ruled.file, config.replace("slug:b", "slug:nobody")).unwrap();
    for words in [&["reload", "--dry-run"][..], &["reload"]] {
        let said = ruled.said(words);
        assert!(said.contains("poll.overrides.\"slug:nobody\" names no source"), "{said}");
    }
    let said: serde_json::Value = serde_json::from_str(&ruled.said(&["reload", "--json"])).unwrap();
    assert_eq!(said["idle_overrides"], serde_json::json!(["slug:nobody"]));
}
