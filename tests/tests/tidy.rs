//! The repository's own rules, checked.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

use canister_tests::programs::workspace;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Without these the project is not whole.
const REQUIRED: &[&str] = &["ARCHITECTURE.md", "CHANGELOG.md", "README.md", "docs/protocol.md"];

/// Put together here, so that this file has none of them.
const BANNED: &[&str] = &[
    concat!("white", "list"),
    concat!("black", "list"),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
];

fn read(path: impl AsRef<Path>) -> String {
    let path = workspace().join(path);
    fs::read_to_string(&path).unwrap_or_else(|cause| panic!("read {}: {cause}", path.display()))
}

/// Every file of the project with one of these endings, but what was built or fetched.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    fn walk(dir: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if ![".git", "target", "corpus", "artifacts"].contains(&&*name) {
                    walk(&path, endings, found);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    let mut found = vec![];
    walk(workspace(), endings, &mut found);
    assert!(!found.is_empty());
    found
}

/// The texts between `before` and the next `after`.
fn between<'a>(text: &'a str, before: &str, after: &str) -> BTreeSet<&'a str> {
    let pieces = text.split(before).skip(1);
    pieces.map(|piece| piece.split(after).next().unwrap()).collect()
}

#[test]
fn what_must_be_there_is() {
    for path in REQUIRED {
        assert!(!read(path).trim().is_empty(), "{path} is empty");
    }
}

#[test]
fn the_changelog_has_this_version() {
    let heading = format!("\n## {}\n", env!("CARGO_PKG_VERSION"));
    assert!(read("CHANGELOG.md").contains(&heading), "CHANGELOG.md has no{heading}");
}

#[test]
fn the_protocol_names_every_message_field_and_limit() {
    let document = read("docs/protocol.md");
    let code = read("protocol/src/message.rs");
    let names = between(&code, "=> \"", "\",\n");
    assert!(names.len() >= 18, "{names:?}");
    for name in names {
        assert!(
            document.contains(&format!("\n### {name}\n")),
            "docs/protocol.md doesn't describe the message {name}"
        );
    }
    let limits = read("protocol/src/limits.rs");
    let limits = between(&limits, "\npub const ", ":");
    assert!(limits.len() >= 18, "{limits:?}");
    for limit in limits {
        assert!(
            document.contains(&format!("`{limit}`")),
            "docs/protocol.md doesn't name the limit {limit}"
        );
    }
    // Fields: what stands before a colon and a type, in what travels.
    let row = read("protocol/src/row.rs");
    let source = read("protocol/src/source.rs");
    let types = [
        code.split("\nimpl ").next().unwrap(),
        row.split("pub struct PackageRow").nth(1).unwrap().split("\n}").next().unwrap(),
        source.split("pub struct Source").nth(1).unwrap().split("\n}").next().unwrap(),
    ];
    let mut seen = 0;
    for line in types.iter().flat_map(|text| text.lines()) {
        let line = line.trim().trim_start_matches("pub ");
        let Some((field, _)) = line.split_once(": ") else {
            continue;
        };
        if field.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            seen += 1;
            assert!(
                document.contains(&format!("`{field}`")),
                "docs/protocol.md doesn't name the field {field}"
            );
        }
    }
    assert!(seen > 80, "{seen}");
}

#[test]
fn the_protocols_limits_are_those_of_the_code() {
    use canister_protocol::limits::*;
    let document = read("docs/protocol.md");
    for (name, value) in [
        ("PROTOCOL", PROTOCOL as usize),
        ("MESSAGE_BYTES_MAX", MESSAGE_BYTES_MAX),
        ("FRAME_BYTES_MAX", FRAME_BYTES_MAX),
        ("WRITE_BUFFER_BYTES_MAX", WRITE_BUFFER_BYTES_MAX),
        ("JSON_DEPTH_MAX", JSON_DEPTH_MAX),
        ("ROW_BYTES_MAX", ROW_BYTES_MAX),
        ("ROW_TAGS_MAX", ROW_TAGS_MAX),
        ("ROW_OVERHEAD_BYTES", ROW_OVERHEAD_BYTES),
        ("PUT_ROWS_MAX", PUT_ROWS_MAX),
        ("PUT_BYTES", PUT_BYTES),
        ("DIGESTS_MAX", DIGESTS_MAX),
        ("SLOTS_MAX", SLOTS_MAX),
        ("SLUG_BYTES_MAX", SLUG_BYTES_MAX),
        ("URI_BYTES_MAX", URI_BYTES_MAX),
        ("NAME_BYTES_MAX", NAME_BYTES_MAX),
        ("ALIASES_MAX", ALIASES_MAX),
        ("TEXT_BYTES_MAX", TEXT_BYTES_MAX),
        ("REQUEST_BYTES_MAX", REQUEST_BYTES_MAX),
        ("CHAIN_BYTES_MAX", CHAIN_BYTES_MAX),
        ("CLOSE_REASON_BYTES_MAX", CLOSE_REASON_BYTES_MAX),
    ] {
        let row = format!("| `{name}` | {value} |");
        assert!(document.contains(&row), "docs/protocol.md has no row {row}");
    }
}

#[test]
fn the_protocols_transcript_is_in_the_protocol() {
    use canister_protocol::codec::decode;
    let mut seen = 0;
    for line in read("docs/protocol.md").lines().filter(|line| !line.contains('…')) {
        if let Some(text) = line.strip_prefix("▶ {") {
            let text = format!("{{{text}");
            decode::<canister_protocol::ToArbiter>(text.as_bytes())
                .unwrap_or_else(|cause| panic!("{text}: {cause}"));
            seen += 1;
        } else if let Some(text) = line.strip_prefix("◀ {") {
            let text = format!("{{{text}");
            decode::<canister_protocol::ToPeer>(text.as_bytes())
                .unwrap_or_else(|cause| panic!("{text}: {cause}"));
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen}");
}

#[test]
fn links_between_documents_resolve() {
    for file in files(&[".md"]) {
        let text = fs::read_to_string(&file).unwrap();
        for link in between(&text, "](", ")") {
            let path = link.split('#').next().unwrap();
            if path.is_empty() || link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let target = file.parent().unwrap().join(path);
            assert!(target.exists(), "{}: {link} leads nowhere", file.display());
        }
    }
}

#[test]
fn no_word_is_used_that_the_project_does_not_use() {
    for file in files(&[".rs", ".md", ".toml", ".sh", ".sql", "Makefile", "run"]) {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for word in BANNED {
                let found = line.contains(word) || line.to_lowercase().contains(word);
                assert!(!found, "{}:{}: {word}", file.display(), number + 1);
            }
        }
    }
}

#[test]
fn the_rust_version_is_stated_once() {
    let mut stated = vec![];
    for file in files(&[".toml"]) {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("rust-version = "));
        stated.extend(lines.map(|line| format!("{}: {line}", file.display())));
    }
    assert_eq!(stated.len(), 1, "{stated:#?}");
}
