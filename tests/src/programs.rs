//! The real programs as child processes, and waiting for what they do.
//!
//! What a program prints goes to files, so that nothing is lost when it is killed; when a test
//! panics, the last lines are shown.

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How many of the last lines are shown when a test fails.
const TAIL_LINES: usize = 40;

/// The path of one of this workspace's programs, built with the profile of the running test.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // target/<profile>/deps/<test>
    let profile = test.ancestors().nth(2).expect("a test lies in deps/");
    let path = profile.join(name);
    let release = if profile.ends_with("release") {
        " --release"
    } else {
        ""
    };
    assert!(
        path.is_file(),
        "{} is not built; build it with: cargo build --workspace --bins{release}",
        path.display()
    );
    path
}

/// A program that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    output: TempDir,
}

impl Program {
    /// Starts one of this workspace's programs.
    pub fn start(name: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut command = Command::new(binary(name));
        command.args(args);
        Self::start_command(name, &mut command)
    }

    /// Starts any command; `name` is what it is called in a failed test's report.
    pub fn start_command(name: &str, command: &mut Command) -> Self {
        let output = tempfile::tempdir().expect("make a folder for what a program prints");
        let file = |name: &str| File::create(output.path().join(name)).expect("create a file");
        let child = command
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap_or_else(|cause| panic!("start {command:?}: {cause}"));
        Self {
            name: name.to_owned(),
            child,
            status: None,
            output,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its standard output so far.
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// What it has written to its standard error so far.
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.output.path().join(name)).expect("read what a program printed");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Kills it, as `kill -9` does, and waits until it is gone.
    pub fn kill9(&mut self) {
        // It may be over by itself already.
        let _ = self.child.kill();
        self.status = Some(self.child.wait().expect("wait for a killed program"));
    }

    /// Asks it to stop, as `kill` does.
    pub fn term(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends it a signal; nothing happens if it is over.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
            let _ = kill_process(pid.expect("a process has an id"), signal);
        }
    }

    /// Its exit status, if it is over.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("ask for an exit status");
        }
        self.status
    }

    /// Waits until it is over; panics if that takes longer than `at_most`.
    pub fn wait(&mut self, at_most: Duration) -> ExitStatus {
        let what = format!("{} to end", self.name);
        until(&what, at_most, || self.exited())
    }

    /// Waits until its standard error has a line with `part`, and returns the first such line;
    /// panics if it ends before or that takes longer than `at_most`.
    pub fn wait_for_line(&mut self, part: &str, at_most: Duration) -> String {
        let what = format!("{} to print {part:?}", self.name);
        until(&what, at_most, || {
            // Asked before the lines are read, for it may print and end at once.
            let exited = self.exited();
            let stderr = self.stderr();
            let line = stderr.lines().find(|line| line.contains(part));
            if let (None, Some(status)) = (line, exited) {
                panic!("{} ended ({status}) without printing {part:?}", self.name);
            }
            line.map(str::to_owned)
        })
    }

    /// The most memory it has had resident so far, in bytes.
    pub fn peak_rss_bytes(&self) -> u64 {
        peak_rss_bytes(self.pid())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.kill9();
        }
        if std::thread::panicking() {
            for (file, text) in [("stdout", self.stdout()), ("stderr", self.stderr())] {
                let lines: Vec<&str> = text.lines().collect();
                let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
                eprintln!("--- {} {file}, last {} lines", self.name, tail.len());
                tail.iter().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

/// What a program that was run to its end said.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs one of this workspace's programs to its end; panics if that takes longer than `at_most`.
pub fn run(
    name: &str,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    at_most: Duration,
) -> Ran {
    run_command(name, Command::new(binary(name)).args(args), at_most)
}

/// The same of any command.
pub fn run_command(name: &str, command: &mut Command, at_most: Duration) -> Ran {
    let mut program = Program::start_command(name, command);
    Ran {
        status: program.wait(at_most),
        stdout: program.stdout(),
        stderr: program.stderr(),
    }
}

/// Looks at a condition until it gives something; panics with `what` was awaited after `at_most`.
pub fn until<T>(what: &str, at_most: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            start.elapsed() < at_most,
            "waited {at_most:?} in vain for {what}"
        );
        std::thread::sleep(LOOK);
    }
}

/// The most memory process `pid` has had resident so far, in bytes.
pub fn peak_rss_bytes(pid: u32) -> u64 {
    status(pid, "VmHWM") * 1024
}

/// The memory process `pid` has resident now, in bytes.
pub fn rss_bytes(pid: u32) -> u64 {
    status(pid, "VmRSS") * 1024
}

/// How many threads process `pid` has.
pub fn threads(pid: u32) -> u64 {
    status(pid, "Threads")
}

/// A number that the kernel tells of process `pid`; memory is in KiB.
///
/// Spec: proc_pid_status(5).
fn status(pid: u32, name: &str) -> u64 {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).unwrap_or_else(|cause| panic!("read {path}: {cause}"));
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    // A process that is over but not waited for has no memory any more, and no such line.
    let line = line.unwrap_or_else(|| panic!("{path} has no {name}: process {pid} is over"));
    let number = line.trim().trim_end_matches("kB").trim().parse();
    number.unwrap_or_else(|_| panic!("{path}: {name} is {line:?} and no number"))
}

/// The CPU time that process `pid` has spent so far, all its threads together.
pub fn cpu_time(pid: u32) -> Duration {
    ticks(pid, [14, 15])
}

/// The CPU time that those of its children spent that are over.
pub fn cpu_time_of_children(pid: u32) -> Duration {
    ticks(pid, [16, 17])
}

/// Two times of a process, by their numbers, together.
///
/// Spec: proc_pid_stat(5), utime and stime, cutime and cstime.
fn ticks(pid: u32, numbers: [usize; 2]) -> Duration {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).unwrap_or_else(|cause| panic!("read {path}: {cause}"));
    // Its name may have blanks and brackets; what follows the last bracket is field 3.
    let (_, fields) = text.rsplit_once(')').expect("the name is in brackets");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: u64 = numbers
        .iter()
        .map(|field| {
            fields[field - 3]
                .parse::<u64>()
                .expect("ticks are a number")
        })
        .sum();
    Duration::from_secs(ticks) / rustix::param::clock_ticks_per_second() as u32
}

/// The folder of the workspace: where Cargo.toml, docs/ and the crates are.
pub fn workspace() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests/ lies in the workspace")
}
