//! Tests that need a network of their own: addresses that are really somebody's, routes that lead
//! nowhere, names that are made up.

use std::io::Write as _;
use std::process::Command;

/// Tells a test that it is inside.
const INSIDE: &str = "CANISTER_TEST_OWN_NETWORK";
const UNSHARE: [&str; 4] = ["unshare", "--map-root-user", "--net", "--mount"];

/// Runs the test called `test` again in a network of its own, in which there is nothing but `lo`
/// and what `setup`, lines of sh, makes; `hosts` is its `/etc/hosts`. Returns whether this is that
/// run: if it isn't, the test is over.
#[expect(clippy::print_stdout, reason = "its figures are worth seeing")]
pub fn is_inside(test: &str, setup: &str, hosts: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let ask = Command::new(UNSHARE[0]).args(&UNSHARE[1..]).arg("true").output();
    if !ask.expect("unshare is part of Debian").status.success() {
        // What the summary of a test run must not leave out, past the test runner, which keeps what
        // passing tests print to itself.
        let _ = writeln!(std::io::stderr(), "NOT TESTED: {test}: unshare isn't allowed here");
        return false;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), hosts).unwrap();
    let script = format!(
        "set -e\n\
         mount --bind {} /etc/hosts\n\
         ip link set lo up\n\
         {setup}\n\
         exec \"$@\"",
        file.path().display()
    );
    let mut again = Command::new(UNSHARE[0]);
    again.args(&UNSHARE[1..]).args(["sh", "-c", &script, "sh"]);
    again.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let run = again.env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
    print!("{}", String::from_utf8_lossy(&run.stdout));
    false
}
