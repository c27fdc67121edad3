//! What both programs say when they can't do what they are told: one line that names the thing and
//! what to do, exit status 2 for a command line and 1 for the rest.

use crate::packaging::commands;
use canister_tests::apt::big_index;
use canister_tests::network::made;
use canister_tests::origin::Origin;
use canister_tests::programs::{Program, binary};
use canister_tests::web;
use rustix::process::Signal;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const AGENT: &str = "canister-agent";
const ARBITER: &str = "canister-arbiter";
/// How long a program may take that is to end at once, on a busy machine.
const SOON: Duration = Duration::from_secs(30);
const DEMO_MAX: Duration = Duration::from_secs(120);

/// What a program that ended said.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn wait(mut program: Program, at_most: Duration) -> Said {
    let code = program.wait(at_most).code();
    let (stdout, stderr) = (program.stdout(), program.stderr());
    for word in ["panicked", "backtrace", "RUST_BACKTRACE"] {
        assert!(!stderr.contains(word), "{stderr}");
    }
    Said { code, stdout, stderr }
}

fn command(program: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(program);
    command.args(args).env("RUST_BACKTRACE", "1");
    command
}

fn run(program: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Said {
    let mut command = command(&binary(program), args);
    wait(Program::start_command(program, &mut command), DEMO_MAX)
}

/// It must have ended so, with one line that has all of `parts`.
fn assert_refused(said: &Said, program: &str, code: i32, parts: &[&str]) {
    let stderr = &said.stderr;
    assert_eq!(said.code, Some(code), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(said.stdout, "", "{stderr}");
    assert!(stderr.starts_with(&format!("{program}: ")), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "no {part:?} in: {stderr}");
    }
    // Said once.
    assert!(stderr.matches("source list").count() <= 1, "{stderr}");
}

/// A command line that is refused.
fn misused(program: &str, words: &[&str], parts: &[&str]) {
    let said = run(program, words);
    assert_refused(&said, program, 2, parts);
}

/// A command that fails.
fn fails(program: &str, words: &[&str], parts: &[&str]) {
    let said = run(program, words);
    assert_refused(&said, program, 1, parts);
}

/// A folder with an authority and an arbiter's and a peer's files, all made by the real programs.
struct Files(TempDir);

impl Files {
    fn make() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        // What another user runs in it must be able to get there.
        fs::set_permissions(files.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (ca, out) = (files.path("ca"), files.path(""));
        let said = run(ARBITER, ["ca", "init", "--dir", &ca]);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        let said = run(ARBITER, ["ca", "server", "--dir", &ca, "--out", &out, "127.0.0.1"]);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        files.write("garbage", "hello\n");
        files.write("empty", "");
        files
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The words of `run` for the arbiter, with these instead of what to do.
    fn arbiter(&self, instead: &[(&str, &str)]) -> Vec<String> {
        let mut words = vec!["run".to_owned()];
        let mut all = vec![
            ("--listen", "127.0.0.1:0".to_owned()),
            ("--public", "127.0.0.1:0".to_owned()),
            ("--certificate", self.path("arbiter.crt")),
            ("--key", self.path("arbiter.key")),
            ("--authority", self.path("ca/ca.crt")),
            ("--state", self.path("state")),
        ];
        for (option, value) in instead {
            all.retain(|(known, _)| known != option);
            all.push((option, (*value).to_owned()));
        }
        for (option, value) in all {
            words.extend([option.to_owned(), value]);
        }
        words
    }

    /// The arbiter fails to start with these instead of what to do.
    fn arbiter_fails(&self, instead: &[(&str, &str)], parts: &[&str]) {
        assert_refused(&run(ARBITER, self.arbiter(instead)), ARBITER, 1, parts);
    }

    /// Starts the arbiter, which must succeed.
    fn start_arbiter(&self, instead: &[(&str, &str)]) -> Program {
        let mut command = command(&binary(ARBITER), self.arbiter(instead));
        let mut arbiter = Program::start_command(ARBITER, &mut command);
        arbiter.wait_for_line("] ready ", SOON);
        arbiter
    }
}

/// The words that have a program run as somebody who isn't root; none if we aren't, either.
fn as_nobody() -> &'static [&'static str] {
    if rustix::process::geteuid().is_root() {
        &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    } else {
        &[]
    }
}

/// Runs a program as [`as_nobody`] says.
fn run_as_nobody(files: &Files, program: &str, words: &[String]) -> Said {
    // Where nobody can reach it, wherever the project lies.
    let copy = files.path(program);
    if !Path::new(&copy).exists() {
        fs::copy(binary(program), &copy).unwrap();
    }
    let mut all: Vec<&OsStr> = as_nobody().iter().map(OsStr::new).collect();
    all.push(OsStr::new(&copy));
    all.extend(words.iter().map(OsStr::new));
    let mut command = command(Path::new(all[0]), &all[1..]);
    wait(Program::start_command(program, &mut command), SOON)
}

#[test]
fn a_command_line_that_is_wrong_is_refused_by_name() {
    let help = "--help";
    for program in [AGENT, ARBITER] {
        misused(program, &[], &["no command", help]);
        misused(program, &["nonsense"], &["unknown command nonsense", help]);
        misused(program, &["runn"], &["unknown command runn; did you mean run?"]);
        misused(program, &["run", "--kye", "x"], &["unknown option --kye; did you mean --key?"]);
        misused(program, &["run", "--key=x", "--key", "y"], &["--key is given twice"]);
        misused(program, &["--nonsense"], &["--nonsense", help]);
        misused(program, &["run", "--nonsense"], &["--nonsense", help]);
        misused(program, &["run", "nonsense"], &["nonsense", help]);
        misused(program, &["run", "--key"], &["--key", help]);
        misused(program, &["run", "--log", "loud"], &["--log", "loud", "info, debug"]);
    }
    for (words, parts) in [
        (&["--slots", "0"][..], &["--slots 0", "use 1 to 64"][..]),
        (&["--slots=65"], &["--slots 65", "use 1 to 64"]),
        (&["--slots", "two"], &["--slots two", "use a whole number"]),
        (&["--slots", "-1"], &["--slots -1", "use a whole number"]),
        (&["--slots", "99999999999"], &["--slots", "use a smaller number"]),
        (&["--drain", "x"], &["--drain x", "use a number and a unit, such as 500ms, 30s"]),
        (&["--drain", "10"], &["--drain 10", "use 10s"]),
        (&["--allow-private=yes"], &["--allow-private takes no value"]),
        (&["--arbiter", "https://a.example/connect"], &["--arbiter", "wss://i1."]),
        (&["--arbiter", "wss://a.example:0/connect"], &["--arbiter", "wss://i1."]),
        (&["--user-agent", ""], &["--user-agent", "use one line"]),
        (&["--user-agent", "naïve"], &["--user-agent", "ASCII"]),
    ] {
        misused(AGENT, &[&["run"], words].concat(), parts);
    }
    misused(AGENT, &["request", "Not A Name"], &["Not A Name", "use 1 to 63 of a-z 0-9 -"]);
    let uri = "http://repo.example";
    for (words, parts) in [
        (&["ftp://repo.example"][..], &["uri", "ftp://repo.example", "http://"][..]),
        (&["repo.example"], &["uri", "repo.example", "http://"]),
        (&["http://repo.example:99999"], &["uri", "99999"]),
        (&["http://repo.example/?x"], &["uri", "query"]),
        (&["http://me@repo.example/"], &["uri", "user name"]),
        (&["http://repo.example/a/../b"], &["uri", "step .."]),
        (&["http://bücher.example"], &["uri", "ASCII", "xn--"]),
        // Other spellings of 127.0.0.1.
        (&["http://127.1"], &["uri", "no whole IPv4 address"]),
        (&["http://2130706433"], &["uri", "no whole IPv4 address"]),
        (&["http://0x7f000001"], &["uri", "no whole IPv4 address"]),
        (&[uri, "more"], &["more"]),
        (&[uri, "--suite", "stable"], &["component", "missing"]),
        (&[uri, "--suite", "stable", "--component", "main"], &["architecture", "missing"]),
        (&[uri, "--component", "main"], &["component", "flat"]),
        (&[uri, "--suite", "../"], &["suite", ".."]),
        (&[uri, "--slug", "a b"], &["slug", "a b"]),
        (&[uri, "--summary", "x"], &["--summary x", "use json, text or none"]),
    ] {
        misused(AGENT, &[&["index"], words].concat(), parts);
    }
    for (words, parts) in [
        (&["run", "--listen", "x"][..], &["--listen x", "such as [::]:443 or 127.0.0.1:8443"][..]),
        (&["run", "--listen", "127.0.0.1"], &["--listen", "or 127.0.0.1:8443"]),
        (&["run", "--listen", "127.0.0.1:65536"], &["--listen", "or 127.0.0.1:8443"]),
        (&["run", "--public", "8080"], &["--public 8080", "or 127.0.0.1:8443, or none"]),
        (
            &["run", "--trusted-proxy", "proxy"],
            &["--trusted-proxy proxy", "use 127.0.0.1 or 192.0.2.0/24"],
        ),
        (&["run", "--lease", "1s"], &["--lease 1s", "use 5s to 1d"]),
        (&["run", "--lease", "86401s"], &["--lease 86401s", "use 5s to 1d"]),
        (&["run", "--lease", "60"], &["--lease 60", "use 60s"]),
        (&["run", "--interval", "0s"], &["interval", "least is 1s"]),
        (&["run", "--retry-after", "0s"], &["retry_after", "least is 1s"]),
        (&["run", "--interval", "4000d"], &["--interval 4000d", "use 3653d (ten years) or less"]),
        (&["run", "--sources", "ftp://x"], &["--sources ftp://x", "http:// or https://"]),
        (&["run", "--brake-share", "101"], &["--brake-share 101", "use 0 to 100"]),
        (&["run", "--policy-except", "slug:a,ftp://x"], &["--policy-except", "http://"]),
        (&["run", "--config", "/nowhere"], &["/nowhere", "--config names another"]),
        (&["stauts"], &["did you mean status?"]),
        (&["ca", "sing"], &["did you mean sign?"]),
        (&["ca"], &["no command given", help]),
        (&["ca", "server"], &["host name or address"]),
        (&["ca", "server", "--life", "0d", "x"], &["--life 0d", "use 1d to 1824d"]),
        (&["ca", "sign", "--life", "3650d", "x"], &["--life 3650d", "use 1d to 1824d"]),
        (&["ca", "server", "--as", "../x", "y"], &["--as", "use a name like arbiter or database"]),
        (&["ca", "revoke", "--why", "", "x"], &["--why", "use one line"]),
        (&["ca", "revoke", "--why", "x", "--reason", "y", "x"], &["--reason", "key-compromise"]),
        (&["search"], &["use search WORDS"]),
        (&["search", "--limit", "x", "y"], &["--limit x", "use a whole number"]),
        (&["sync", "a", "b"], &["b", help]),
    ] {
        misused(ARBITER, words, parts);
    }
    for (program, words, missing) in [
        (AGENT, &["index"][..], "uri"),
        (AGENT, &["join"], "name"),
        (ARBITER, &["ca", "sign"], "request"),
        (ARBITER, &["ca", "admit"], "name"),
    ] {
        misused(program, words, &["missing: ", missing, "; --help tells more"]);
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    for (program, commands) in [
        (AGENT, &[&[][..], &["check"], &["index"], &["request"], &["run"]][..]),
        (
            ARBITER,
            &[
                &[],
                &["ca"],
                &["ca", "crl"],
                &["ca", "init"],
                &["ca", "issuer"],
                &["ca", "list"],
                &["ca", "revoke"],
                &["ca", "server"],
                &["ca", "show"],
                &["ca", "sign"],
                &["demo"],
                &["peers"],
                &["run"],
                &["search"],
                &["sources"],
                &["status"],
                &["sync"],
            ],
        ),
    ] {
        for words in commands {
            let said = run(program, [words, &["--help"][..]].concat());
            assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{words:?}");
            // An address isn't broken.
            let fits = |line: &str| line.len() <= 80 || !line.trim().contains(' ');
            assert!(said.stdout.lines().all(fits), "{}", said.stdout);
            assert_eq!(run(program, [words, &["-h"][..]].concat()).stdout, said.stdout);
            let usage = [&[program], *words].concat().join(" ");
            let first = said.stdout.lines().next().unwrap();
            assert!(first.starts_with(&format!("Usage: {usage}")), "{first}");
            assert!(said.stdout.contains("Options:"), "{}", said.stdout);
        }
        let version = format!("{program} {}\n", env!("CARGO_PKG_VERSION"));
        for word in ["--version", "-V"] {
            let said = run(program, [word]);
            assert_eq!((said.code, &*said.stdout, &*said.stderr), (Some(0), &*version, ""));
        }
    }
}

#[test]
fn files_of_an_identity_that_do_not_work_are_named() {
    let files = Files::make();
    let (garbage, empty) = (files.path("garbage"), files.path("empty"));
    let (folder, missing) = (files.path("ca"), files.path("missing"));
    let (certificate, key) = (files.path("arbiter.crt"), files.path("arbiter.key"));
    let other_key = files.path("ca/issuer/issuer.key");
    let broken =
        files.write("broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for program in [AGENT, ARBITER] {
        let refused = |option: &str, value: &str, parts: &[&str]| {
            let mut words = files.arbiter(&[(option, value)]);
            if program == AGENT {
                // It has none of these.
                for option in ["--listen", "--public", "--state"] {
                    let at = words.iter().position(|word| word == option).unwrap();
                    words.drain(at..at + 2);
                }
            }
            let said = run(program, words);
            assert_refused(&said, program, 1, &[&[value], parts].concat());
        };
        for option in ["--certificate", "--key", "--authority"] {
            let another = format!("{option} names another");
            refused(option, &missing, &["No such file", &another]);
            refused(option, &folder, &["it is a folder", &format!("{option} names the file")]);
            refused(option, &garbage, &["BEGIN ", "use "]);
            refused(option, &empty, &["it is empty; copy it again"]);
        }
        refused("--key", &certificate, &["it is a certificate", "use "]);
        refused("--certificate", &key, &["it is a private key"]);
        refused("--key", &other_key, &[&certificate, "no pair", "use "]);
        refused("--certificate", &broken, &["it is damaged"]);
        refused("--authority", &broken, &["no authority's"]);
    }
}

#[test]
fn dates_that_an_arbiter_lives_by_are_watched() {
    let files = Files::make();
    let (ca, out) = (files.path("ca"), files.path("short"));
    let over = made(Path::new(&ca), |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let certificate = files.write("over.crt", &over.certificate);
    let key = files.write("over.key", &over.key);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    files.arbiter_fails(
        &[("--certificate", &certificate), ("--key", &key)],
        &[&certificate, "ended on Wed, 01 Jan 2020", "makes another"],
    );
    fs::create_dir(&out).unwrap();
    let words = ["ca", "server", "--dir", &ca, "--out", &out, "--life", "20d", "127.0.0.1"];
    let said = run(ARBITER, words);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let (certificate, key) = (files.path("short/arbiter.crt"), files.path("short/arbiter.key"));
    let short = [("--certificate", &*certificate), ("--key", &*key)];
    let mut arbiter = files.start_arbiter(&short);
    let told = "the certificate ends on";
    let line = arbiter.wait_for_line(told, SOON);
    assert!(
        line.contains("WARN") && [19, 20].iter().any(|it| line.contains(&format!("in {it} days"))),
        "{line}"
    );
    let status = run(ARBITER, ["status", "--state", &files.path("state")]).stdout;
    assert!(status.contains(told), "{status}");
    let ready = arbiter.wait_for_line("] ready ", SOON);
    let public = ready.split("public=").nth(1).unwrap().split(' ').next().unwrap();
    let metrics = web::ask(public, "GET", "/metrics").body;
    for of in ["certificate", "authority's certificate", "revocation list"] {
        let sample = format!("canister_expiry_timestamp_seconds{{of=\"{of}\"}} ");
        assert!(metrics.contains(&sample), "{sample}: {metrics}");
    }
}

#[test]
fn what_another_user_may_not_read_or_write_is_named() {
    let files = Files::make();
    let (key, state) = (files.path("arbiter.key"), files.path("state"));
    fs::create_dir(&state).unwrap();
    let mode = |path: &str, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let refused = |instead: &[(&str, &str)], parts: &[&str]| {
        let said = run_as_nobody(&files, ARBITER, &files.arbiter(instead));
        assert_refused(&said, ARBITER, 1, parts);
    };
    mode(&key, 0);
    refused(&[], &[&key, "Permission denied", "a user who may read it"]);
    std::os::unix::fs::chown(&key, Some(65_534), None).unwrap();
    mode(&key, 0o600);
    mode(&state, 0o555);
    refused(&[], &[&state, "write access"]);
    let below = format!("{state}/below");
    refused(&[("--state", &below)], &[&below, "Permission denied", "--state"]);
    // A database that may be read and not written.
    mode(&state, 0o755);
    let mut arbiter = files.start_arbiter(&[]);
    arbiter.term();
    assert_eq!(arbiter.wait(SOON).code(), Some(0));
    mode(&format!("{state}/canister.db"), 0o444);
    mode(&format!("{state}/canister.db.lock"), 0o666);
    refused(&[], &[&state, "canister.db", "write access"]);

    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first.trim().parse::<u16>().unwrap() > 443 {
        let parts = ["127.0.0.1:443", "--listen", "port above 1023"];
        refused(&[("--listen", "127.0.0.1:443")], &parts);
    } else {
        // Past the test runner, which keeps what passing tests print to itself.
        let _ = writeln!(
            std::io::stderr(),
            "NOT TESTED: a port for root alone: this machine lets everybody listen on 443"
        );
    }
    // The authority's key is for its owner alone.
    let csr = request(&files, "volunteer", "rsa:2048");
    let words = ["ca", "sign", "--dir", &files.path("ca"), &csr].map(str::to_owned);
    mode(&files.path("ca"), 0o755);
    mode(&files.path("ca/issuer"), 0o755);
    mode(&files.path("ca/issuer/issuer.key"), 0);
    let said = run_as_nobody(&files, ARBITER, &words);
    assert_refused(&said, ARBITER, 1, &["issuer.key", "Permission denied"]);
}

#[test]
fn an_address_that_is_taken_or_not_ours_is_named() {
    let files = Files::make();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = free.local_addr().unwrap().to_string();
    drop(free);
    // Held by an arbiter, which stays undisturbed.
    let mut first = files.start_arbiter(&[("--listen", &taken)]);
    let other = files.path("other");
    files.arbiter_fails(
        &[("--listen", &taken), ("--state", &other)],
        &[&taken, "in use", "use --listen with another port"],
    );
    files.arbiter_fails(
        &[("--listen", "192.0.2.1:8443"), ("--state", &other)],
        &["192.0.2.1:8443", "--listen with an address of this machine"],
    );
    // Its state folder, on another port.
    let state = files.path("state");
    files.arbiter_fails(&[], &[&state, "in use by another arbiter", "stop that one"]);
    assert!(first.exited().is_none());
    let said = run(ARBITER, ["status", "--state", &state]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    // Killed, it leaves its socket and its lock file behind, which bother nobody.
    first.kill9();
    let mut second = files.start_arbiter(&[]);
    second.signal(Signal::INT);
    assert_eq!(second.wait(SOON).code(), Some(0));
}

#[test]
fn a_state_folder_that_can_not_be_is_named() {
    let files = Files::make();
    let garbage = files.path("garbage");
    let below = format!("{garbage}/below");
    for state in [&*garbage, &below, "/proc/canister"] {
        files.arbiter_fails(&[("--state", state)], &[state, "--state names another"]);
    }
    let long = files.path(&"long".repeat(30));
    files.arbiter_fails(&[("--state", &long)], &["admin.sock", "--state"]);
    let state = files.path("strange");
    fs::create_dir(&state).unwrap();
    files.write("strange/canister.db", &"no database ".repeat(1000));
    files.arbiter_fails(&[("--state", &state)], &["canister.db", "move it away"]);
}

#[test]
fn a_source_list_that_is_none_is_named() {
    let files = Files::make();
    let array = "not a JSON array";
    for (name, text, why) in [
        ("garbage", "hello\n", array),
        ("empty", "", array),
        ("object", "{\"a\":1}", array),
        ("cut", "[{\"slug\":\"a\"", array),
        ("none", "[]", "no entries"),
        (
            "bad",
            "[{\"slug\":\"a\"}]",
            "none of its 1 entries is usable: entry 0 (a): uri is missing",
        ),
    ] {
        let list = files.write(name, text);
        files.arbiter_fails(&[("--sources", &list)], &[&list, why]);
        let words = ["demo", "--dir", &files.path("demo"), "--sources", &list];
        fails(ARBITER, &words, &[&list, why]);
    }
    let (missing, folder) = (files.path("missing"), files.path("ca"));
    let words = ["demo", "--dir", &files.path("demo"), "--sources", &missing];
    fails(ARBITER, &words, &[&missing, "No such file", "--sources names another"]);
    let parts = ["No such file", "--sources names another"];
    files.arbiter_fails(&[("--sources", &missing)], &[&[&*missing], &parts[..]].concat());
    files.arbiter_fails(&[("--sources", &folder)], &[&folder, "Is a directory"]);

    let origin = Origin::empty();
    let url = format!("{}/list.json", origin.uri());
    files.arbiter_fails(&[("--sources", &url)], &[&url, "404"]);
    origin.put("/list.json", "<html></html>");
    files.arbiter_fails(&[("--sources", &url)], &[&url, array]);
}

#[test]
fn a_bad_entry_is_skipped_and_named_in_the_log() {
    let files = Files::make();
    let list = files.write(
        "sources.json",
        r#"[{"slug":"good","uri":"http://127.0.0.1:1","suite":"./"},
            {"slug":"bad","uri":"gopher://repo.example","suite":"./"},
            7,
            {"slug":"better","uri":"http://127.0.0.1:1","suite":"./x/"}]"#,
    );
    let arbiter = files.start_arbiter(&[("--sources", &list)]);
    let logged = arbiter.stderr();
    let skipped: Vec<&str> = logged.lines().filter(|line| line.contains("skipped")).collect();
    assert_eq!(skipped.len(), 2, "{logged}");
    assert!(skipped[0].contains("WARN") && skipped[0].contains("bad"), "{logged}");
    assert!(skipped[0].contains("gopher://repo.example"), "{logged}");
    let said = run(ARBITER, ["sources", "--json", "--state", &files.path("state")]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let found: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let slugs: Vec<&str> =
        found.as_array().unwrap().iter().map(|s| s["source"].as_str().unwrap()).collect();
    assert_eq!(slugs, ["better", "good"]);

    // The same through the other commands, and a slug that nobody knows.
    let state = files.path("state");
    for words in [&["status"][..], &["peers"], &["sync", "good"], &["sync"]] {
        let said = run(ARBITER, [words, &["--state", &state]].concat());
        assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{words:?}");
        assert!(!said.stdout.is_empty());
    }
    fails(ARBITER, &["sync", "--state", &state, "absent"], &["absent", "`sources` lists them"]);
}

#[test]
fn commands_to_an_arbiter_that_does_not_run_say_so() {
    let files = Files::make();
    let missing = files.path("missing");
    let start = "start the arbiter, or name its folder with --state";
    for name in ["status", "sources", "peers", "sync"] {
        fails(ARBITER, &[name, "--state", &missing], &[&missing, start]);
    }
    fails(ARBITER, &["search", "--state", &missing, "x"], &[&missing, "when it first runs"]);
    // One that was killed leaves its socket.
    let mut arbiter = files.start_arbiter(&[]);
    arbiter.kill9();
    let state = files.path("state");
    fails(ARBITER, &["status", "--state", &state], &[&state, start]);
    fails(ARBITER, &["search", "--state", &state, "x"], &["nothing found"]);
    let said = run(ARBITER, ["search", "--json", "--state", &state, "x"]);
    assert_eq!((said.code, &*said.stdout, &*said.stderr), (Some(0), "[]\n", ""));
}

#[test]
fn what_cannot_be_printed_is_a_failure() {
    for program in [AGENT, ARBITER] {
        let said = |script: &str| {
            let mut shell = Command::new("bash");
            shell.args(["-c", script, "sh"]).arg(binary(program));
            wait(Program::start_command(program, &mut shell), SOON)
        };
        let full = said("\"$1\" --help >/dev/full");
        assert_eq!(full.code, Some(1), "{}", full.stderr);
        assert!(full.stderr.contains("write to standard output: No space left"), "{}", full.stderr);
        // A descriptor that isn't for writing.
        let read_only = said("\"$1\" --help 1</dev/null");
        assert_eq!(read_only.code, Some(1), "{}", read_only.stderr);
        assert!(read_only.stderr.contains("Bad file descriptor"), "{}", read_only.stderr);
        // Whoever reads has seen enough.
        let cut = said("\"$1\" --help | true; exit ${PIPESTATUS[0]}");
        assert_eq!((cut.code, &*cut.stderr), (Some(0), ""));
    }
}

fn openssl(words: &[&str]) -> String {
    let run = Command::new("openssl").args(words).output();
    let run = run.expect("openssl (see tests/needs.sh)");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "openssl {words:?}: {said}");
    String::from_utf8(run.stdout).unwrap()
}

/// The README's command, in these files, with this key.
fn request(files: &Files, name: &str, key: &str) -> String {
    let readme = fs::read_to_string(canister_tests::programs::workspace().join("README.md"));
    let readme = readme.unwrap();
    let config = readme.split("```ini\n").nth(1).unwrap();
    let config = config.split("```").next().unwrap();
    files.write("config.conf", &config.replace("your-name", name));
    let line = readme.lines().find(|line| line.trim().starts_with("openssl req "));
    let line = line.unwrap().replace("rsa:4096", key);
    let out =
        Command::new("bash").args(["-euc", &line]).current_dir(files.path("")).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{line}: {said}");
    files.path("peer.csr")
}

#[test]
fn a_request_made_as_the_readme_says_is_signed() {
    let files = Files::make();
    let (ca, out) = (files.path("ca"), files.path("peer.crt"));
    let csr = request(&files, "volunteer-7", "rsa:4096");
    let said = run(ARBITER, ["ca", "sign", "--dir", &ca, "--out", &out, &csr]);
    assert_eq!((said.code, &*said.stderr), (Some(0), ""));
    assert!(said.stdout.contains("peer volunteer-7, 365 days"), "{}", said.stdout);
    let authority = files.path("ca/ca.crt");
    let said =
        openssl(&["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", &authority, &out]);
    assert!(said.ends_with("peer.crt: OK\n"), "{said}");
    let text = openssl(&["x509", "-noout", "-text", "-in", &out]);
    for part in ["TLS Web Client Authentication", "CN = volunteer-7", "(4096 bit)"] {
        assert!(
            text.contains(part) || text.replace(" = ", "=").contains(&part.replace(" = ", "=")),
            "{text}"
        );
    }
    for part in ["CA:TRUE", "TLS Web Server Authentication", "Certificate Sign", "OU", "New York"] {
        assert!(!text.contains(part), "{part} in {text}");
    }
    let public = |words: &[&str]| openssl(words);
    assert_eq!(
        public(&["x509", "-noout", "-pubkey", "-in", &out]),
        public(&["req", "-noout", "-pubkey", "-in", &csr])
    );
    // To standard output without --out; the file of before is never written over.
    let said = run(ARBITER, ["ca", "sign", "--dir", &ca, &csr]);
    assert!(said.stdout.starts_with("-----BEGIN CERTIFICATE-----\n"), "{}", said.stdout);
    let before = fs::read(&out).unwrap();
    let words = ["ca", "sign", "--dir", &ca, "--out", &out, &csr];
    fails(ARBITER, &words, &[&out, "nothing is overwritten", "move it away"]);
    assert_eq!(fs::read(&out).unwrap(), before);
    // The agent takes it: it gets as far as an arbiter that isn't there.
    let mut words = files.arbiter(&[("--certificate", &out), ("--key", &files.path("peer.key"))]);
    for option in ["--listen", "--public", "--state"] {
        let at = words.iter().position(|word| word == option).unwrap();
        words.drain(at..at + 2);
    }
    words.extend(["--arbiter".to_owned(), "wss://127.0.0.1:1/connect".to_owned()]);
    let mut agent = Program::start_command(AGENT, &mut command(&binary(AGENT), words));
    agent.wait_for_line("127.0.0.1:1", SOON);
    agent.term();
    assert_eq!(agent.wait(SOON).code(), Some(0));
}

#[test]
fn an_authority_signs_nothing_else() {
    let files = Files::make();
    let ca = files.path("ca");
    let weak = request(&files, "weak", "rsa:1024");
    let sign = |path: &str, parts: &[&str]| {
        let words = ["ca", "sign", "--dir", &ca, path];
        fails(ARBITER, &words, &[&[path], parts].concat());
    };
    sign(&weak, &["1024 bits is too weak", "use 2048 or more"]);
    let begin = "use a PEM file with BEGIN CERTIFICATE REQUEST";
    sign(&files.path("garbage"), &[begin]);
    sign(&files.path("empty"), &[begin]);
    sign(&files.path("ca/ca.crt"), &["BEGIN CERTIFICATE;", begin]);
    sign(&files.path("missing"), &["No such file"]);
    sign(&ca, &["Is a directory"]);
    // A name that can't be a peer's, and the way out.
    let csr = request(&files, "Not A Name", "rsa:2048");
    let words = ["ca", "sign", "--dir", &ca, &csr];
    fails(ARBITER, &words, &["Not A Name", "use 1 to 63 of a-z 0-9 -"]);
    let said = run(ARBITER, [&words[..], &["--name", "a-name"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    // Changed on its way.
    let mut text = fs::read_to_string(&csr).unwrap();
    let at = text.len() / 2;
    let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
    text.replace_range(at..=at, other);
    let changed = files.write("changed.csr", &text);
    sign(&changed, &[]);

    let parts = ["issuer.key", "nothing is overwritten", "move it away"];
    let before = fs::read(files.path("ca/issuer/issuer.key")).unwrap();
    fails(ARBITER, &["ca", "init", "--dir", &ca], &parts);
    assert_eq!(fs::read(files.path("ca/issuer/issuer.key")).unwrap(), before);
    let out = files.path("");
    let words = ["ca", "server", "--dir", &ca, "--out", &out, "x"];
    fails(ARBITER, &words, &["arbiter.key", "nothing is overwritten"]);
    let words = ["ca", "server", "--dir", &ca, "--out", &files.path("no/such"), "x"];
    fails(ARBITER, &words, &["no/such/arbiter.key", "--out names another"]);
    let words = ["ca", "init", "--dir", "/proc/canister"];
    fails(ARBITER, &words, &["/proc/canister", "--dir names another"]);
    let none = files.path("none");
    for words in [&["sign", "--dir", &none, &csr][..], &["server", "--dir", &none, "x"]] {
        fails(ARBITER, &[&["ca"], words].concat(), &[&none, "`ca init` makes", "--dir"]);
    }
}

/// A source list: a flat repository at each address.
fn list(files: &Files, sources: &[(&str, &str)]) -> String {
    let entry = |(slug, uri): &(&str, &str)| serde_json::json!({ "slug": slug, "uri": uri, "suite": "./", "ranking": 1 });
    let list = serde_json::Value::from_iter(sources.iter().map(entry));
    files.write("sources.json", &list.to_string())
}

#[test]
fn the_demo_shows_what_it_could_not_reach() {
    let files = Files::make();
    let dir = files.path("demo");
    let origin = Origin::empty();
    origin.put("/Packages", big_index(40));
    let dead = "http://127.0.0.1:1";
    let sources = list(&files, &[("good", &origin.uri()), ("dead", dead)]);
    let said = run(ARBITER, ["demo", "--dir", &dir, "--sources", &sources]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let row = |slug: &str| {
        let row = said.stdout.lines().find(|line| line.starts_with(&format!("{slug} ")));
        row.unwrap_or_else(|| panic!("{}", said.stdout)).to_owned()
    };
    assert!(row("good").contains("40") && row("good").ends_with("indexed"), "{}", row("good"));
    assert!(
        row("dead").contains(
            "source failed: dead: fetch robots.txt: connect to 127.0.0.1:1: Connection refused"
        ),
        "{}",
        row("dead")
    );

    // Nothing at all: the same table, and a failure.
    let sources = list(&files, &[("dead", dead)]);
    let said = run(ARBITER, ["demo", "--dir", &dir, "--sources", &sources]);
    assert_eq!((said.code, &*said.stdout), (Some(1), ""));
    let failure = said.stderr.lines().position(|line| line.starts_with(ARBITER)).unwrap();
    let lines: Vec<&str> = said.stderr.lines().skip(failure).collect();
    assert_eq!(lines[0], "canister-arbiter: no source could be indexed");
    assert!(lines.iter().any(|line| line.starts_with("dead ")), "{}", said.stderr);
}

#[test]
fn the_demo_names_what_it_lacks() {
    let files = Files::make();
    let (dir, garbage) = (files.path("demo"), files.path("garbage"));
    let sources = list(&files, &[("dead", "http://127.0.0.1:1")]);
    // Its last line, after what it says on the way.
    let last = |words: &[&str], parts: &[&str]| {
        let said = run(ARBITER, [&["demo", "--sources", &sources], words].concat());
        let mut lines: Vec<&str> = said.stderr.lines().collect();
        let stderr = lines.pop().unwrap().to_owned() + "\n";
        assert!(!lines.iter().any(|line| line.starts_with(ARBITER)), "{}", said.stderr);
        assert_refused(&Said { stderr, ..said }, ARBITER, 1, parts);
    };
    last(&["--dir", &garbage], &[&garbage, "--dir names another"]);
    last(&["--dir", "/proc/canister"], &["/proc/canister", "--dir names another"]);
    let missing = files.path("missing");
    let agent: PathBuf = binary("canister-agent");
    assert!(agent.exists());
    last(
        &["--dir", &dir, "--agent", &missing],
        &[&missing, "No such file", "--agent names another"],
    );
    last(
        &["--dir", &dir, "--agent", &garbage],
        &[&garbage, "Permission denied", "--agent names another"],
    );
    last(&["--dir", &dir, "--agent", "/bin/false"], &["the agent demo-", "ended", ".log"]);
}

#[test]
fn every_command_prints_json() {
    let files = Files::make();
    let sources = list(&files, &[("good", "http://127.0.0.1:1"), ("other", "http://127.0.0.2:1")]);
    let _arbiter = files.start_arbiter(&[("--sources", &sources)]);
    let path = |name: &str| files.path(name);
    let (state, ca, dir, csr) = (path("state"), path("ca"), path("peer"), path("peer/peer.csr"));
    let nowhere = ["wss://127.0.0.1:1/connect", "--dir", &dir].join(" ");
    let (backup, new, repository) = (path("backup.db"), path("new"), path("repository"));
    fs::create_dir(&repository).unwrap();
    fs::write(path("repository/Packages"), "").unwrap();
    // Words, and exit status.
    let of_arbiter = [
        ("status", 0),
        ("sources", 0),
        ("sources --failing", 0),
        ("source good", 0),
        ("peers", 0),
        ("held", 0),
        ("decisions", 0),
        ("publications", 0),
        ("dispute good", 0),
        ("plan", 0),
        ("plan --week", 0),
        ("replay", 0),
        ("policy list", 0),
        ("policy check good", 0),
        ("reload", 0),
        ("reload --dry-run --week", 0),
        ("block slug:other --why test", 0),
        ("allow slug:other", 0),
        ("delist other", 0),
        ("approve other", 0),
        ("sync good", 0),
        ("sync", 0),
        ("announce good", 0),
        ("trust anna", 0),
        ("suspend anna", 0),
        ("search nobodyhasthis", 0),
        (&*format!("import {sources}"), 0),
        (&format!("backup {backup}"), 0),
        ("config --sources x", 0),
        ("accept 1", 1),
        ("reject 1", 1),
        ("peers drain anna", 1),
        ("peers resume anna", 1),
        ("peers restart anna", 1),
        ("peers stop anna", 1),
    ];
    let of_authority = [
        (&*format!("ca init --dir {new}"), 0),
        (&format!("ca show {csr}"), 0),
        (&format!("ca sign --dir {ca} {csr}"), 0),
        (&format!("ca list --dir {ca}"), 0),
        (&format!("ca revoke --dir {ca} --why test anna"), 0),
        (&format!("ca crl --dir {ca}"), 0),
        (&format!("ca issuer --dir {ca}"), 0),
        (&format!("ca server --dir {ca} --out {new} localhost"), 0),
        (&format!("ca pending --state {state}"), 0),
        (&format!("ca admit --state {state} ben"), 1),
        (&format!("ca refuse --state {state} ben"), 1),
    ];
    let of_agent = [
        (&*format!("request --dir {dir} anna"), 0),
        (&format!("config --dir {dir}"), 0),
        (&format!("lint {repository}"), 0),
        (&format!("check --arbiter {nowhere}"), 1),
        ("announce good --to http://127.0.0.1:1 --allow-private", 1),
        (&format!("drain --dir {dir}"), 1),
        (&format!("pause --dir {dir}"), 1),
        (&format!("resume --dir {dir}"), 1),
        (&format!("status --dir {dir}"), 1),
        (&format!("ledger --dir {dir}"), 0),
        (&format!("health --health {dir}/none"), 1),
        (&format!("leave --arbiter {nowhere}"), 1),
        (&format!("plan --arbiter {nowhere}"), 1),
        (&format!("join --join-at http://127.0.0.1:1 --dir {dir} anna"), 1),
    ];
    let of_arbiter = of_arbiter.map(|(words, code)| (format!("{words} --state {state}"), code));
    let of_authority = of_authority.map(|(words, code)| (words.to_owned(), code));
    // The agent's first: it makes the request.
    let mut all: Vec<_> =
        of_agent.into_iter().map(|(words, code)| (AGENT, words.to_owned(), code)).collect();
    let of_both = of_arbiter.into_iter().chain(of_authority);
    all.extend(of_both.map(|(words, code)| (ARBITER, words, code)));
    for (program, words, code) in &all {
        let said = run(program, words.split(' ').chain(["--json"]));
        assert_eq!(said.code, Some(*code), "{words}: {}", said.stderr);
        if *code == 0 {
            assert_eq!(said.stderr, "", "{words}");
        }
        if *code == 0 || !said.stdout.is_empty() {
            let json: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
            assert!(json.is_object() || json.is_array(), "{words}: {json}");
        }
    }
    // No command is left out that lists it, and none lacks it but what prints nothing for programs, or nothing else.
    for program in [AGENT, ARBITER] {
        for (words, options) in commands(program, &[]) {
            let name = words.join(" ");
            let has = options.contains("--json");
            let is_tried =
                all.iter().any(|(of, said, _)| *of == program && said.starts_with(&name));
            let lacks = ["", "ca", "completion", "demo", "index", "policy", "run"];
            assert_eq!(
                (has, is_tried || !has),
                (!lacks.contains(&&*name), true),
                "{program} {name}"
            );
        }
    }
}
