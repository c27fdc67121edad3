//! Tests that need a network of their own: addresses that are really somebody's, routes that lead
//! nowhere, names that are made up.

#![allow(clippy::print_stdout, reason = "a test's figures are worth seeing")]

use crate::programs::until;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::process::{Child, Command};
use std::time::Duration;

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

/// Another network, for a test that [`is_inside`] its own: what is at the other end of a line.
#[derive(Debug)]
pub struct OtherNetwork {
    holder: Child,
}

impl OtherNetwork {
    /// A network in which there is nothing yet.
    pub fn new() -> Self {
        let holder = Command::new("unshare").args(["--net", "sleep", "600"]).spawn();
        let other = Self { holder: holder.expect("unshare is part of Debian") };
        let name = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).ok();
        let own = name("self");
        until("the other network", Duration::from_secs(10), || {
            name(&other.holder.id().to_string()).filter(|it| Some(it) != own.as_ref())
        });
        other
    }

    /// Runs lines of sh in the test's own network, in which `$OTHER` is this one's process.
    pub fn set_up(&self, lines: &str) {
        let mut shell = Command::new("sh");
        shell.args(["-ec", lines]).env("OTHER", self.holder.id().to_string());
        let ran = shell.output().expect("there is a shell");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }

    /// What `make` makes there, sockets above all: they stay there.
    pub fn there<T: Send + 'static>(&self, make: impl FnOnce() -> T + Send + 'static) -> T {
        let network = File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap();
        let made = std::thread::spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(network.as_fd(), kind).unwrap();
            make()
        });
        made.join().unwrap()
    }
}

impl Default for OtherNetwork {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for OtherNetwork {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
