//! Package indexes and Releases as they are met in the wild: `wild/index/NAME` gives the rows in
//! `wild/index/NAME.rows`, `wild/release/NAME` says what `wild/release/NAME.says` has, however they
//! are cut and packed. `wild/make.py` writes the fixtures. With `WILD_WRITE=1` the expectations are
//! written instead of compared, to be read before they are committed.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

#[path = "wild/properties.rs"]
mod properties;

use canister_agent::apt::package;
use canister_agent::apt::release::Release;
use canister_agent::compression::Compression;
use canister_agent::lint::findings::Findings;
use canister_agent::lint::releases::ReleaseRead;
use canister_agent::lint::stanzas::{self, NotRead};
use canister_agent::unpack::Unpack;
use canister_openpgp::SignedText;
use canister_stanza::StanzaReader;
use nanoserde::SerJson as _;
use properties::Pieces;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufReader, Read, Write as _};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const WINDOW_BYTES: u64 = 64 * 1024 * 1024;

/// The tools that owners of sources pack with.
const PACKERS: [(Compression, &[&str]); 5] = [
    (Compression::Bz2, &["bzip2", "-c"]),
    (Compression::Gz, &["gzip", "-c"]),
    (Compression::Lzma, &["xz", "--format=lzma", "-c"]),
    (Compression::Xz, &["xz", "-c"]),
    (Compression::Zst, &["zstd", "-q", "-c"]),
];

/// How a test cuts what it reads: whole, byte by byte, around the sizes of buffers, and by chance.
fn cuts() -> Vec<Vec<usize>> {
    let mut chance = Chance(7);
    let mut cuts = vec![vec![usize::MAX], vec![1], vec![65_536, 1], vec![32_767, 2]];
    cuts.extend((0..3).map(|_| (0..50).map(|_| 1 + chance.below(300)).collect()));
    cuts
}

/// Fixtures in a folder beside this file: path and what is in it, unpacked.
fn fixtures(folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wild").join(folder);
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    let unpacked = |path: PathBuf| {
        let packed = std::fs::read(&path).unwrap();
        let mut plain = Vec::new();
        let mut unpack = Unpack::new(&packed[..], WINDOW_BYTES).unwrap();
        unpack.read_to_end(&mut plain).unwrap();
        (path, plain)
    };
    paths.into_iter().map(unpacked).collect()
}

/// Compares with what is expected of a fixture.
fn check(fixture: &Path, ending: &str, found: &str) {
    let path = fixture.with_extension(ending);
    if std::env::var_os("WILD_WRITE").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|cause| panic!("{}: {cause}", path.display()));
    assert!(found == expected, "{}: found:\n{found}", path.display());
}

/// What is read from a package index: a line for each row, one for all that is no row.
fn rows(file: &[u8], sizes: &[usize]) -> String {
    let unpack = Unpack::new(Pieces::new(file, sizes), WINDOW_BYTES).unwrap();
    let mut reader = StanzaReader::new(unpack);
    let mut said = String::new();
    let (mut skipped, mut first_skipped) = (0, None);
    let error = loop {
        let stanza = match reader.read() {
            Ok(Some(stanza)) => stanza,
            Ok(None) => break None,
            Err(cause) => break Some(cause.to_string()),
        };
        let row = match package::row(&stanza) {
            Ok(row) => row,
            Err(why) => {
                skipped += 1;
                first_skipped.get_or_insert_with(|| format!("line {}: {why}", stanza.line));
                continue;
            }
        };
        row.check().unwrap();
        let mut text = |key: &str, value: Option<&str>| {
            let Some(value) = value.filter(|value| !value.is_empty()) else {
                return;
            };
            let value = match value.char_indices().nth(250) {
                Some((end, _)) => &format!("{}… of {} bytes", &value[..end], value.len()),
                None => value,
            };
            let _ = write!(said, "\"{key}\":{},", value.to_owned().serialize_json());
        };
        text("package_id", Some(&*row.package_id));
        text("version", Some(&*row.version));
        text("architecture", Some(&*row.architecture));
        text("package_filename", Some(&*row.package_filename));
        text("sha256_hash", row.sha256_hash.as_deref());
        text("name", row.name.as_deref());
        text("description", row.description.as_deref());
        text("author", row.author.as_deref());
        text("maintainer", row.maintainer.as_deref());
        text("depiction", row.depiction.as_deref());
        text("native_depiction", row.native_depiction.as_deref());
        text("sileo_depiction", row.sileo_depiction.as_deref());
        text("header_url", row.header_url.as_deref());
        text("tint_color", row.tint_color.as_deref());
        text("icon_url", row.icon_url.as_deref());
        text("section", row.section.as_deref());
        for tag in &row.tags {
            text("tag", Some(&**tag));
        }
        if row.package_size != 0 {
            let _ = write!(said, "\"package_size\":{},", row.package_size);
        }
        if let Some(size) = row.installed_size {
            let _ = write!(said, "\"installed_size\":{size},");
        }
        let _ = writeln!(said, "\"price\":\"{}\",\"line\":{}", row.price, stanza.line);
    }
    .map(|error| format!("error: {error}\n"));
    let mut said: String = said.lines().map(|line| format!("{{{line}}}\n")).collect();
    let _ = writeln!(said, "skipped: {skipped}");
    if let Some(first) = first_skipped {
        let _ = writeln!(said, "first skipped: {first}");
    }
    let _ = writeln!(said, "oddities: {:?}", reader.oddities());
    said + &error.unwrap_or_default()
}

fn pack(words: &[&str], plain: &[u8]) -> Vec<u8> {
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|cause| panic!("{}: {cause}; install it", words[0]));
    let mut stdin = child.stdin.take().unwrap();
    let plain = plain.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&plain));
    let packed = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(packed.status.success());
    packed.stdout
}

#[test]
fn every_index_gives_its_rows_however_it_is_cut() {
    for (path, plain) in fixtures("index") {
        for sizes in cuts() {
            check(&path, "rows", &rows(&plain, &sizes));
        }
    }
}

#[test]
fn every_index_gives_its_rows_however_it_is_packed() {
    // Whole, byte by byte, by chance.
    let cuts = cuts();
    for (path, plain) in fixtures("index") {
        for (compression, words) in PACKERS {
            let packed = pack(words, &plain);
            let found = Unpack::new(&packed[..], WINDOW_BYTES).unwrap();
            assert_eq!(found.compression(), compression);
            for sizes in [&cuts[0], &cuts[1], &cuts[4]] {
                check(&path, "rows", &rows(&packed, sizes));
            }
        }
    }
}

#[test]
fn every_release_says_the_same_however_it_is_cut() {
    for (path, plain) in fixtures("release") {
        let is_flat = path.file_name().unwrap() != "dists";
        let index_path = if is_flat { "Packages" } else { "main/binary-amd64/Packages" };
        for sizes in cuts() {
            let input = BufReader::new(Pieces::new(&plain, &sizes));
            let said = match Release::read(input, index_path, &mut SignedText::default()) {
                Ok(release) => of_release(&release),
                Err(cause) => format!("error: {cause}\n"),
            };
            check(&path, "says", &said);
        }
    }
}

fn of_release(release: &Release) -> String {
    let facts = &release.facts;
    let mut said = format!("has_fields: {}\n", release.has_fields);
    for (key, value) in [
        ("name", &facts.name),
        ("version", &facts.version),
        ("description", &facts.description),
        ("payment_gateway", &facts.payment_gateway),
        ("date", &facts.date.map(|date| date.to_string())),
        ("valid_until", &release.valid_until.map(|date| date.to_string())),
    ] {
        if let Some(value) = value {
            let _ = writeln!(said, "{key}: {value}");
        }
    }
    if release.is_by_hash {
        said.push_str("by hash\n");
    }
    for index in &release.indexes {
        let (compression, size, digest) = (index.compression, index.size, &index.digest);
        let _ = writeln!(said, "{compression}: {size} {digest}");
    }
    said
}

/// Numbers that are the same in each run.
struct Chance(u64);

impl Chance {
    /// Spec: Marsaglia 2003, xorshift64.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// What readers of these formats look for.
const TOKENS: [&[u8]; 20] = [
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\n ",
    b" ",
    b"\t",
    b":",
    b"#",
    b"\0",
    b"\xef\xbb\xbf",
    b"\xe9",
    b"Package: x\n",
    b"\nVersion:",
    b"Architecture: all\n",
    b"Tag: a,b\n",
    b"\nDescription: d\n .\n",
    b"SHA256:\n",
    b"-----BEGIN PGP SIGNED MESSAGE-----\n",
    b"-----BEGIN PGP SIGNATURE-----\n",
    b"\nDate: Sat, 11 Jul 2026 10:16:37 -9999\n",
];

/// A few changes somewhere in `bytes`.
fn mutated(chance: &mut Chance, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + chance.below(8) {
        let at = chance.below(bytes.len() + 1);
        let end = (at + chance.below(64)).min(bytes.len());
        match chance.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            3 => {
                let from = chance.below(other.len() + 1);
                let until = (from + chance.below(200)).min(other.len());
                drop(bytes.splice(at..end, other[from..until].iter().copied()));
            }
            4 => bytes.truncate(at),
            _ => {
                let token = TOKENS[chance.below(TOKENS.len())];
                drop(bytes.splice(at..at, token.iter().copied()));
            }
        }
    }
    bytes
}

/// Holds `property` to each file and to `rounds` changed ones for each.
fn smoke(files: &[(PathBuf, Vec<u8>)], rounds: u64, property: fn(&[u8])) {
    for (number, (path, bytes)) in files.iter().enumerate() {
        for seed in 0..=rounds {
            let mut chance = Chance((seed << 32) | (number as u64 + 1));
            let changed = if seed == 0 {
                bytes.clone()
            } else {
                let other = &files[chance.below(files.len())].1;
                mutated(&mut chance, bytes, other)
            };
            if catch_unwind(|| property(&changed)).is_err() {
                let start = String::from_utf8_lossy(&changed[..changed.len().min(2000)]);
                panic!("{} with seed {seed}: {start:?}", path.display());
            }
        }
    }
}

/// The large ones take a second each.
fn small(mut files: Vec<(PathBuf, Vec<u8>)>) -> Vec<(PathBuf, Vec<u8>)> {
    files.retain(|(_, bytes)| bytes.len() < 20_000);
    files
}

/// When the fixtures' Releases are young, in seconds since 1970.
const NOW: u64 = 1_783_800_000;

/// What lint says of a package index: for each kind the lines of its findings.
fn lint_of_index(index: &[u8]) -> String {
    let mut findings = Findings::default();
    let ended = stanzas::check_index(index, None, &mut findings, |_, _| {});
    let error = ended.err().map(|NotRead { line, why }| format!("{line} {why}\n"));
    of_findings(&findings) + &error.unwrap_or_default()
}

fn lint_of_release(text: &[u8]) -> String {
    let mut findings = Findings::default();
    match ReleaseRead::read(text, "Packages", &mut findings) {
        Ok(read) => {
            read.check(None, NOW, &mut findings);
            read.check_list("Packages", &mut findings);
            of_findings(&findings)
        }
        Err(cause) => format!("0 {cause}\n"),
    }
}

fn of_findings(findings: &Findings) -> String {
    let mut lines: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for finding in findings.told() {
        lines.entry(finding.kind.name()).or_default().push(finding.line.to_string());
    }
    let shown = |(kind, lines): (&str, Vec<String>)| match lines.split_at_checked(9) {
        Some((first, rest)) if !rest.is_empty() => {
            format!("{kind}: {} and {} more\n", first.join(" "), rest.len())
        }
        _ => format!("{kind}: {}\n", lines.join(" ")),
    };
    lines.into_iter().map(shown).collect()
}

/// All of it in one file, `wild/all.lint`, so that it can be read at once.
#[test]
fn lint_says_of_every_fixture_what_is_expected() {
    let mut said = String::new();
    let mut add = |folder: &str, lint: fn(&[u8]) -> String| {
        for (path, plain) in fixtures(folder) {
            let name = path.file_name().unwrap().to_string_lossy();
            let _ = write!(said, "\n{folder}/{name}\n{}", lint(&plain));
        }
    };
    add("index", lint_of_index);
    add("release", lint_of_release);
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wild/all");
    check(&all, "lint", &said);
}

#[test]
fn lint_takes_whatever_it_is_given() {
    smoke(&small(fixtures("index")), 20, |bytes| drop(lint_of_index(bytes)));
    smoke(&small(fixtures("release")), 20, |bytes| drop(lint_of_release(bytes)));
}

#[test]
fn changed_indexes_keep_the_properties() {
    smoke(&small(fixtures("index")), 60, properties::stanza);
    for (_, bytes) in fixtures("index") {
        properties::stanza(&bytes);
    }
}

#[test]
fn changed_releases_keep_the_properties() {
    smoke(&small(fixtures("release")), 40, properties::release);
}

#[test]
fn changed_packed_files_keep_the_properties() {
    let fixtures = fixtures("index");
    let plain: Vec<u8> =
        fixtures.iter().flat_map(|(_, bytes)| &bytes[..bytes.len().min(4096)]).copied().collect();
    let packed = |(compression, words): (Compression, &[&str])| {
        (PathBuf::from(compression.to_string()), pack(words, &plain))
    };
    let files: Vec<_> = PACKERS.into_iter().map(packed).collect();
    smoke(&files, 100, properties::unpack);
}
