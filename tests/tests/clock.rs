//! A machine's clock that runs ahead and comes back.

use canister_tests::network::{Network, WAIT, flat, serve};
use canister_tests::origin::Origin;
use canister_tests::programs::until;
use std::fs;

#[test]
fn a_clock_that_ran_two_days_ahead_stops_nothing_when_it_is_back() {
    let origin = Origin::empty();
    serve(&origin, b"Package: a\nVersion: 1\nArchitecture: all\n\n");
    let options = ["--interval", "2s", "--retry-after", "1s"];
    let mut network = Network::start(&[flat("a", &origin.uri())], &options);
    network.arbiter.term();
    network.arbiter.wait(WAIT);
    let file = network.dir().join("clock");
    fs::write(&file, "+0").unwrap();
    // Debian keeps the library in a folder an architecture.
    let script = format!(
        "export LD_PRELOAD=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1) DONT_FAKE_MONOTONIC=1 \
         FAKETIME_NO_CACHE=1 FAKETIME_TIMESTAMP_FILE={}; exec \"$@\"",
        file.display()
    );
    network.restart_under(&["sh", "-c", &script, "sh"]);
    let _agent = network.agent("p1", &[]);
    let more = |what: &str| {
        let before = origin.requests().len();
        until(what, WAIT, || (origin.requests().len() > before + 2).then_some(()));
    };
    more("it to be polled");
    fs::write(&file, "+2d").unwrap();
    network.sync();
    more("it to be polled two days ahead");
    until("it to be due then only", WAIT, || {
        (network.sources()[0].due_at > canister_link::clock::wall_millis() + 86_400_000)
            .then_some(())
    });
    fs::write(&file, "+0").unwrap();
    more("it to be polled when the clock is back");
}
