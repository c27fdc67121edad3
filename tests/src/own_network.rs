//! Tests that need a network of their own: addresses that are really somebody's, routes that lead
//! nowhere, names that are made up.

#![allow(clippy::print_stdout, reason = "a test's figures are worth seeing")]

use std::io::Write as _;
use std::process::Command;

/// Tells a test that it is inside.
const INSIDE: &str = "CANISTER_TEST_OWN_NETWORK";
const UNSHARE: [&str; 4] = ["unshare", "--map-root-user", "--net", "--mount"];

/// Runs the test called `test` again in a network of its own, in which there is nothing but `lo`
/// and what `setup`, lines of sh, makes; `hosts` is its `/etc/hosts`. Returns whether this is that
/// run: if it isn't, the test is over.
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
    // Figures are worth seeing; what the runner inside says of itself isn't.
    let is_figure =
        |line: &&str| !line.is_empty() && !line.starts_with("test ") && line.contains(": ");
    said.lines().filter(is_figure).for_each(|line| println!("{line}"));
    false
}

/// A home of its own beside a network of the test's own, in which [`world`] made a line to it.
#[derive(Debug)]
pub struct Home {
    line: u8,
    setup: String,
    hosts: tempfile::NamedTempFile,
}

/// Lines of sh that make the world's ends of the lines to these homes, 11.LINE.0.1/24 and
/// 2a00:LINE::1/64.
pub fn world(lines: &[u8]) -> String {
    let line = |line: &u8| {
        format!(
            "ip link add world{line} type veth peer name home{line}
ip link set world{line} up
ip address add 11.{line}.0.1/24 dev world{line}
ip address add 2a00:{line}::1/64 dev world{line} nodad
"
        )
    };
    lines.iter().map(line).collect()
}

impl Home {
    /// The home at the end of this line, where `setup`, lines of sh in which `LINE` is that number,
    /// gives `home` its addresses and routes, and `hosts` is `/etc/hosts`. A line is good for one
    /// command.
    pub fn new(line: u8, setup: &str, hosts: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), hosts).unwrap();
        Self { line, setup: setup.replace("LINE", &line.to_string()), hosts: file }
    }

    /// The same command, run there; the home is gone when it ends.
    pub fn command(&self, command: &Command) -> Command {
        let script = format!(
            "set -e\n\
             nsenter --net=/proc/{world}/ns/net ip link set home{line} netns $$\n\
             ip link set home{line} name home\n\
             ip link set lo up\n\
             ip link set home up\n\
             {setup}\n\
             mount --bind {hosts} /etc/hosts\n\
             exec \"$@\"",
            world = std::process::id(),
            line = self.line,
            setup = self.setup,
            hosts = self.hosts.path().display()
        );
        let mut there = Command::new("unshare");
        there.args(["--net", "--mount", "sh", "-c", &script, "sh"]);
        there.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                there.env(name, value);
            }
        }
        there
    }
}
