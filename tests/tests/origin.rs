//! The server of sources does what tests of others rely on, as curl sees it.

#![allow(clippy::disallowed_methods, reason = "real time is looked at here")]

use canister_tests::origin::{Fault, Origin, Validators};
use canister_tests::programs::until;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn curl(args: &[&str]) -> Output {
    let run = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*"])
        .args(args)
        .output();
    run.expect("run curl (see tests/needs.sh)")
}

/// Status, body and the header's lines in lower case.
fn get(url: &str, args: &[&str]) -> (u16, String, Vec<String>) {
    let run = curl(&[&["--include", url], args].concat());
    assert!(run.status.success(), "{run:?}");
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head[9..12].parse().unwrap();
    let lines = head.lines().map(|line| line.to_lowercase()).collect();
    (status, body.to_owned(), lines)
}

fn value(lines: &[String], name: &str) -> Option<String> {
    let mut found = lines.iter().filter_map(|line| line.strip_prefix(name));
    found.next().map(|value| value.trim_start_matches(": ").to_owned())
}

#[test]
fn it_serves_a_folder_and_what_is_put() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    std::fs::write(folder.path().join("sub/a+b"), "from a file").unwrap();
    let origin = Origin::of(folder.path());
    origin.put("/x", "from memory");
    let url = |path: &str| format!("{}{path}", origin.uri());
    assert_eq!(get(&url("/sub/a%2Bb"), &[]).1, "from a file");
    assert_eq!(get(&url("/./sub/a+b?query"), &["--path-as-is"]).1, "from a file");
    assert_eq!(get(&url("/x"), &[]).1, "from memory");
    assert_eq!(get(&url("/y"), &[]).0, 404);
    assert_eq!(get(&url("/sub"), &[]).0, 404);
    assert_eq!(get(&url("/sub/../../etc/passwd"), &["--path-as-is"]).0, 404);
    origin.remove("/x");
    assert_eq!(get(&url("/x"), &["--data", "posted", "--header", "A: b"]).0, 404);

    let requests = origin.take_requests();
    assert_eq!(requests.len(), 7);
    assert!(requests.is_sorted_by_key(|request| request.at));
    let last = &requests[6];
    assert_eq!((last.method.as_str(), last.status), ("POST", 404));
    assert_eq!((&last.body[..], last.header("a")), (&b"posted"[..], Some("b")));
    assert_eq!(requests[2].bytes_sent, 11);
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn one_connection_carries_many_requests() {
    let origin = Origin::empty();
    for path in ["/a", "/b", "/c"] {
        origin.put(path, path);
    }
    let url = |path: &str| format!("{}{path}", origin.uri());
    let run = curl(&["--write-out", "%{num_connects} ", &url("/a"), &url("/b"), &url("/c")]);
    assert_eq!(String::from_utf8_lossy(&run.stdout), "/a1 /b0 /c0 ");
    // All at once, as apt does it.
    let mut stream = TcpStream::connect(origin.address()).unwrap();
    let request = |path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let last = "HEAD /c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let all = [&request("/a"), &request("/b"), last].concat();
    stream.write_all(all.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("200 OK").count(), 3);
    assert!(text.contains("\r\n\r\n/bHTTP") && !text.ends_with("/c"), "{text}");
}

#[test]
fn validators_give_304_while_nothing_changed() {
    let origin = Origin::empty();
    let url = format!("{}/f", origin.uri());
    for validators in
        [Validators::Neither, Validators::Etag, Validators::LastModified, Validators::Both]
    {
        origin.validators(validators);
        origin.put("/f", "one");
        let (_, _, lines) = get(&url, &[]);
        let (etag, modified) = (value(&lines, "etag"), value(&lines, "last-modified"));
        let has = |given: &[Validators]| given.contains(&validators);
        assert_eq!(etag.is_some(), has(&[Validators::Etag, Validators::Both]));
        assert_eq!(modified.is_some(), has(&[Validators::LastModified, Validators::Both]));
        let mut conditions = vec![];
        if let Some(etag) = etag {
            conditions.push(format!("If-None-Match: {etag}"));
        }
        if let Some(modified) = modified {
            // curl showed it in lower case.
            let words: Vec<String> = modified.split(' ').map(capital).collect();
            conditions.push(format!("If-Modified-Since: {}", words.join(" ")));
        }
        // Where there are both, both are sent by clients; the first counts.
        if let Some(condition) = conditions.first() {
            let ask = || get(&url, &["--header", condition]);
            assert_eq!((ask().0, ask().1.len()), (304, 0), "{condition}");
            origin.put("/f", "two");
            assert_eq!((ask().0, ask().1), (200, "two".to_owned()), "{condition}");
            origin.put("/f", "one");
            if condition.starts_with("If-None") {
                assert_eq!(ask().0, 304, "{condition}");
            }
        }
    }
}

fn capital(word: &str) -> String {
    if word == "gmt" {
        return word.to_uppercase();
    }
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[test]
fn each_fault_is_what_it_says() {
    let origin = Origin::empty();
    origin.put("/f", "0123456789");
    let url = format!("{}/f", origin.uri());

    origin.fault("/f", Fault::Status(429, vec![("Retry-After", "7".into())]));
    let (status, body, lines) = get(&url, &[]);
    assert_eq!((status, value(&lines, "retry-after").as_deref()), (429, Some("7")));
    assert!(body.starts_with("<html>"));

    origin.fault("/f", Fault::Redirect("/g".into()));
    origin.put("/g", "elsewhere");
    assert_eq!(get(&url, &[]).0, 302);
    assert_eq!(curl(&["--location", &url]).stdout, b"elsewhere");

    origin.fault("/f", Fault::Truncate(4));
    let run = curl(&[&url]);
    assert_eq!((run.status.code(), &run.stdout[..]), (Some(18), &b"0123"[..]));

    origin.fault("/f", Fault::WrongByte);
    assert_eq!(curl(&[&url]).stdout, b"0123446789");

    origin.fault("/f", Fault::Chunked(3));
    let (_, body, lines) = get(&url, &[]);
    assert_eq!(body, "0123456789");
    assert_eq!(value(&lines, "transfer-encoding").as_deref(), Some("chunked"));

    origin.fault("/f", Fault::Trickle(5, Duration::from_millis(60)));
    let start = Instant::now();
    assert_eq!(curl(&[&url]).stdout, b"0123456789");
    assert!(start.elapsed() >= Duration::from_millis(120));

    origin.fault("/f", Fault::Endless(b"ab".to_vec()));
    let run = curl(&["--max-time", "1", &url]);
    assert_eq!(run.status.code(), Some(28));
    assert!(run.stdout.starts_with(b"0123456789abab") && run.stdout.len() > 1_000_000);
    assert!(origin.bytes_sent() > 1_000_000);

    // One path's fault goes before that of all.
    origin.fault("*", Fault::Status(503, vec![]));
    assert_eq!(get(&format!("{}/g", origin.uri()), &[]).0, 503);
    origin.heal("*");
    origin.heal("/f");
    assert_eq!(curl(&[&url]).stdout, b"0123456789");
}

#[test]
fn what_hangs_goes_on_when_let_go_and_counts_as_concurrent() {
    let origin = Origin::empty();
    origin.put("/f", "x");
    origin.fault("/f", Fault::Hang);
    let url = format!("{}/f", origin.uri());
    std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| curl(&[&url])));
        until("two requests", Duration::from_secs(10), || {
            (origin.requests().len() == 2).then_some(())
        });
        assert_eq!(origin.concurrent_max(), 2);
        assert!(origin.requests().iter().all(|request| request.status == 0));
        origin.let_go();
        for one in both {
            assert_eq!(one.join().unwrap().stdout, b"x");
        }
    });
    assert!(origin.take_requests().iter().all(|request| request.status == 200));
}

#[test]
fn dropping_it_ends_what_hangs() {
    let origin = Origin::empty();
    origin.put("/f", "x");
    origin.fault("/f", Fault::Hang);
    let url = format!("{}/f", origin.uri());
    let address = origin.address();
    let hanging = std::thread::spawn(move || curl(&[&url]));
    until("a request", Duration::from_secs(10), || (origin.requests().len() == 1).then_some(()));
    drop(origin);
    assert!(!hanging.join().unwrap().status.success());
    // A program that another test starts at this moment may hold the listener until it runs.
    until("nobody to listen", Duration::from_secs(10), || TcpStream::connect(address).err());
}
