//! What a peer says of a source that it can't read, what it tries twice, and what it asks of one that
//! failed before.

use canister_agent::fetch::{Bounds, FetchConfig};
use canister_agent::memory::Mebibytes;
use canister_agent::sink::ndjson::Ndjson;
use canister_agent::work::{self, Context};
use canister_protocol::message::{FailureKind, Origin as Remembered, Outcome, Probed};
use canister_tests::network::{flat, serve};
use canister_tests::origin::{Fault, Origin, Request};
use canister_tests::programs::until;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(30);
/// Between two requests; so long a test has to mend what is tried twice.
const PAUSE: Duration = Duration::from_millis(500);

/// What a lease of the source at `uri` comes to.
fn leased(
    uri: &str,
    remembered: Option<&Remembered>,
    retry: Option<u32>,
    pause: Duration,
) -> Outcome {
    let config = FetchConfig { allow_private: true, ..FetchConfig::default() };
    let context = Context::new(&config, None, "64".parse::<Mebibytes>().unwrap());
    let source = flat("a", uri);
    let bounds = Bounds { pause, ..Bounds::default() };
    let lease = context.lease(&source, bounds, Arc::new(AtomicBool::new(false)), Arc::default());
    let mut sink = Ndjson::new("a", std::io::sink());
    work::run(&source, (remembered, &Probed::default()), &lease.with_retry(retry), &mut sink).0
}

#[track_caller]
fn failed(outcome: &Outcome) -> FailureKind {
    match outcome {
        Outcome::Failed { kind, .. } => *kind,
        other => panic!("{other:?}"),
    }
}

fn served() -> Origin {
    let origin = Origin::empty();
    serve(&origin, b"Package: x\nVersion: 1\nArchitecture: all\n");
    origin
}

#[test]
fn a_failure_is_told_by_what_the_peer_met() {
    let status = |status| Fault::Status(status, vec![]);
    for (path, fault, kind) in [
        ("*", status(500), FailureKind::Status),
        ("*", status(403), FailureKind::Status),
        ("*", status(200), FailureKind::Content),
        ("*", status(404), FailureKind::NoIndex),
        ("*", Fault::Redirect("ftp://a/".to_owned()), FailureKind::Content),
        ("/Packages", Fault::Truncate(9), FailureKind::Cut),
        ("/InRelease", Fault::Truncate(9), FailureKind::Cut),
        ("/Packages", Fault::WrongByte, FailureKind::Mismatch),
        ("/Packages", status(404), FailureKind::NoIndex),
        ("/Packages", Fault::Endless(b"x".to_vec()), FailureKind::Limit),
    ] {
        let origin = served();
        origin.fault(path, fault.clone());
        let outcome = leased(&origin.uri(), None, None, Duration::ZERO);
        assert_eq!(failed(&outcome), kind, "{path} {fault:?}: {outcome:?}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // It doesn't speak TLS.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.write_all(b"HTTP/1.0 400 No\r\n\r\n").unwrap();
            let _ = stream.read(&mut [0; 4096]);
        }
    });
    for (uri, kind) in [
        (format!("http://{closed}"), FailureKind::Connect),
        ("http://nowhere.invalid".to_owned(), FailureKind::Resolve),
        (format!("https://{plain}"), FailureKind::Tls),
    ] {
        let outcome = leased(&uri, None, None, Duration::ZERO);
        assert_eq!(failed(&outcome), kind, "{uri}: {outcome:?}");
    }
}

/// Has a fault at `path` mended as soon as it was met.
fn mended_in_time(path: &'static str, fault: Fault) -> (Outcome, Vec<Request>) {
    let origin = Arc::new(served());
    origin.fault(path, fault);
    let mender = std::thread::spawn({
        let origin = Arc::clone(&origin);
        move || {
            until("the fault to be met", WAIT, || {
                origin.requests_for(path).iter().any(|it| it.status != 0).then_some(())
            });
            origin.heal(path);
        }
    });
    let outcome = leased(&origin.uri(), None, None, PAUSE);
    mender.join().unwrap();
    (outcome, origin.take_requests())
}

#[test]
fn what_passes_is_tried_once_more_within_the_lease() {
    let busy = |secs: &str| Fault::Status(503, vec![("Retry-After", secs.to_owned())]);
    for (path, fault) in [
        ("/InRelease", busy("1")),
        ("/Packages", busy("1")),
        ("/InRelease", Fault::Truncate(9)),
        ("/Packages", Fault::Truncate(9)),
    ] {
        let (outcome, requests) = mended_in_time(path, fault.clone());
        assert!(matches!(outcome, Outcome::Indexed { .. }), "{path} {fault:?}: {outcome:?}");
        assert_eq!(requests.len(), 3, "{path} {fault:?}");
    }
    // Not if it would take long, and not for ever.
    let (outcome, requests) = mended_in_time("/InRelease", busy("60"));
    assert_eq!((failed(&outcome), requests.len()), (FailureKind::Status, 1));
    let origin = served();
    origin.fault("/Packages", Fault::Truncate(9));
    leased(&origin.uri(), None, None, Duration::ZERO);
    assert_eq!(origin.requests_for("/Packages").len(), 2);
}

#[test]
fn a_source_that_failed_is_asked_at_one_path() {
    let empty = Origin::empty();
    let mut asked = Vec::new();
    for number in 0..9 {
        let outcome = leased(&empty.uri(), None, Some(number), Duration::ZERO);
        assert_eq!(failed(&outcome), FailureKind::NoIndex);
        let requests = empty.take_requests();
        assert_eq!(requests.len(), 1, "{number}");
        asked.push(requests[0].path.clone());
    }
    // In turn, and never an index that a Release may vouch for.
    let releases = ["/InRelease", "/Release"].iter().cycle().take(9);
    assert_eq!(asked, releases.copied().collect::<Vec<_>>());
    leased(&empty.uri(), None, None, Duration::ZERO);
    assert_eq!(empty.take_requests().len(), 8);
    // What is there is read at once, whichever it is.
    let origin = served();
    let outcome = leased(&origin.uri(), None, Some(0), Duration::ZERO);
    let Outcome::Indexed { origin: remembered, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(origin.take_requests().len(), 2);
    let outcome = leased(&origin.uri(), None, Some(6), Duration::ZERO);
    assert!(matches!(outcome, Outcome::Indexed { .. }), "{outcome:?}");
    let outcome = leased(&origin.uri(), Some(&remembered), Some(8), Duration::ZERO);
    assert!(matches!(outcome, Outcome::Unchanged { .. }), "{outcome:?}");
    // A bare source is asked for its index first.
    let bare = Remembered {
        release_path: String::new(),
        index_path: "Packages.bz2".to_owned(),
        ..remembered
    };
    leased(&empty.uri(), Some(&bare), Some(0), Duration::ZERO);
    assert_eq!(empty.take_requests()[0].path, "/Packages.bz2");
}
