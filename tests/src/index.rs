//! `canister-agent index` run to its end on what a test serves, and Releases for that.

use crate::apt::Compression;
use crate::origin::Origin;
use crate::programs::{Program, binary};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long one run may take; far longer than any does.
pub const RUN_MAX: Duration = Duration::from_secs(120);
/// Bytes.
pub const MB: u64 = 1_000_000;

/// What one run came to.
#[derive(Debug)]
pub struct Indexed {
    /// Exit status.
    pub code: Option<i32>,
    /// Standard output: a row a line.
    pub rows: String,
    /// What `--summary json` says.
    pub summary: Value,
    /// Standard error without the summary.
    pub said: Vec<String>,
}

impl Indexed {
    /// A number of the summary.
    pub fn number(&self, key: &str) -> u64 {
        let value = self.summary[key].as_u64();
        value.unwrap_or_else(|| panic!("{key} in {}", self.summary))
    }

    /// The most memory it had.
    pub fn peak_rss_bytes(&self) -> u64 {
        self.number("peak_rss_bytes")
    }
}

/// Runs `canister-agent index` with `--summary json` to its end.
pub fn run(uri: &str, options: &[&str]) -> Indexed {
    run_as(Command::new(binary("canister-agent")), uri, options)
}

/// The same by a command that begins so, in an environment of its own.
pub fn run_as(mut command: Command, uri: &str, options: &[&str]) -> Indexed {
    command.args(["index", uri, "--summary", "json"]);
    command.args(options).env("RUST_BACKTRACE", "1");
    let mut program = Program::start_command("index", &mut command);
    let code = program.wait(RUN_MAX).code();
    let (rows, stderr) = (program.stdout(), program.stderr());
    assert!(!stderr.contains("panicked"), "{stderr}");
    let mut said: Vec<String> = stderr.lines().map(str::to_owned).collect();
    let summary = said.iter().position(|line| line.starts_with('{'));
    let summary = said.remove(summary.unwrap_or_else(|| panic!("no summary: {stderr}")));
    let summary = serde_json::from_str(&summary).unwrap();
    Indexed { code, rows, summary, said }
}

/// The same from this machine, where it must succeed.
pub fn indexed(uri: &str, options: &[&str]) -> Indexed {
    let run = run(uri, &[options, &["--allow-private"]].concat());
    assert_eq!(run.code, Some(0), "{uri}: {:?}", run.said);
    assert!(run.said.is_empty(), "{:?}", run.said);
    assert_eq!(run.summary["error"], Value::Null);
    assert!(run.summary["head"].is_string());
    assert_eq!(run.rows.lines().count() as u64, run.number("packages"));
    run
}

/// It must fail: status 1, one line that has all of `parts`, nothing claimed, little memory.
pub fn failed_with(uri: &str, options: &[&str], parts: &[&str]) -> Indexed {
    let run = run(uri, options);
    assert_eq!(run.code, Some(1), "{uri}: {:?} {}", run.said, run.summary);
    assert_eq!(run.said.len(), 1, "{:?}", run.said);
    let line = &run.said[0];
    for part in [&["canister-agent: ", uri], parts].concat() {
        assert!(line.contains(part), "no {part:?} in {line:?}");
    }
    assert!(line.len() < 1000, "{line}");
    assert_eq!(run.summary["head"], Value::Null, "{}", run.summary);
    assert_eq!(run.number("packages"), 0, "{}", run.summary);
    assert!(run.summary["error"].is_string(), "{}", run.summary);
    let rss = run.peak_rss_bytes();
    assert!(rss < 40 * MB, "{rss} bytes of memory for {line}");
    run
}

/// The same of a server on this machine.
pub fn failed(origin: &Origin, parts: &[&str]) -> Indexed {
    failed_with(&origin.uri(), &["--allow-private"], parts)
}

/// Runs a tool of the machine on `input`.
pub fn tool(words: &[&str], input: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), input).unwrap();
    let run = Command::new(words[0])
        .args(&words[1..])
        .stdin(file.reopen().unwrap())
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|cause| panic!("{words:?} (see tests/needs.sh): {cause}"));
    assert!(run.status.success(), "{words:?}: {}", run.status);
    run.stdout
}

/// Packed with the window that the tool's usual level has, but quickly: a decoder's memory goes by
/// the window alone.
pub fn packed(compression: Compression, plain: &[u8]) -> Vec<u8> {
    let words: &[&str] = match compression {
        Compression::Bz2 => &["bzip2", "-9c"],
        Compression::Gz => &["gzip", "-nc"],
        Compression::Lzma => &["xz", "-c", "--format=lzma", "--lzma1=preset=0,dict=8MiB"],
        Compression::Plain => return plain.to_vec(),
        Compression::Xz => &["xz", "-c", "--lzma2=preset=0,dict=8MiB"],
        Compression::Zst => &["zstd", "-qc", "--zstd=wlog=23"],
    };
    tool(words, plain)
}

/// A Release that lists these files by one algorithm.
pub fn release(field: &str, files: &[(&str, &[u8])]) -> String {
    let sum = match field {
        "MD5Sum" => "md5sum",
        "SHA1" => "sha1sum",
        "SHA256" => "sha256sum",
        _ => "sha512sum",
    };
    let mut text = format!("Origin: Tests\nLabel: Tests\nSuite: ./\n{field}:\n");
    for (name, bytes) in files {
        let said = String::from_utf8(tool(&[sum], bytes)).unwrap();
        let digest = said.split(' ').next().unwrap();
        text += &format!(" {digest} {} {name}\n", bytes.len());
    }
    text
}

/// Serves one package index below `folder`, listed in a Release.
pub fn serve(origin: &Origin, folder: &str, name: &str, bytes: Vec<u8>) {
    origin.put(&format!("{folder}/Release"), release("SHA256", &[(name, &bytes)]));
    origin.put(&format!("{folder}/{name}"), bytes);
}

/// What an index is called that is packed so.
pub fn name_of(compression: Compression) -> String {
    format!("Packages{}", compression.suffix())
}
