//! From a stanza of a package index to a package row.
//!
//! | field | column |
//! | --- | --- |
//! | Package, Version, Architecture | package_id, version, architecture; without one of them the stanza gives no row |
//! | Filename, Size | package_filename, package_size (missing or no number: 0) |
//! | SHA256, Name, Author, Maintainer, Section | as called, in lower case |
//! | Description | description; a line `.` is an empty one |
//! | Depiction, Native-Depiction, SileoDepiction | depiction, native_depiction, sileo_depiction |
//! | Header, Tint-Color, Icon | header_url, tint_color, icon_url |
//! | Tag | tags, parted at commas; `cydia::commercial` makes price `Paid`, else it is `Free` |
//! | Installed-Size | installed_size (no number: none) |
//!
//! Field names are compared without case; of a field that stands twice the first counts. A line
//! that is no UTF-8 is read as Latin-1. Control characters are dropped.

use super::stanza::{Stanza, lines};
use canister_protocol::limits::{ROW_BYTES_MAX, ROW_TAGS_MAX};
use canister_protocol::row::{PackageRow, is_forbidden};
use std::borrow::Cow;

/// The tag of a package that is paid for.
const COMMERCIAL: &str = "cydia::commercial";
/// The longest name of a field that is looked at (`Native-Depiction`, `Installed-Size`).
const NAME_BYTES_MAX: usize = 16;

/// Why a stanza gave no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skipped {
    /// It lacks this field, or has it without a value.
    Without(&'static str),
    /// Its texts have more bytes than a row may.
    TooLong(usize),
    /// It has more tags than a row may.
    TooManyTags(usize),
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Without(field) => write!(f, "stanza without {field}"),
            Self::TooLong(bytes) => {
                write!(
                    f,
                    "stanza of {bytes} bytes of text, at most {ROW_BYTES_MAX}"
                )
            }
            Self::TooManyTags(tags) => write!(f, "stanza of {tags} tags, at most {ROW_TAGS_MAX}"),
        }
    }
}

/// The row that a stanza says, with prices that only say whether there is one.
///
/// # Errors
/// [`Skipped`]: the stanza is to be counted and passed over.
pub fn row(stanza: &Stanza<'_>) -> Result<PackageRow, Skipped> {
    let mut row = PackageRow::default();
    let mut size = None;
    let mut repeated = 0;
    for (name, value) in stanza.fields() {
        let mut lower = [0; NAME_BYTES_MAX];
        let Some(lower) = lower.get_mut(..name.len()) else {
            continue;
        };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let required = match &*lower {
            b"package" => &mut row.package_id,
            b"version" => &mut row.version,
            b"architecture" => &mut row.architecture,
            b"filename" => &mut row.package_filename,
            b"size" => {
                repeated += u64::from(size.is_some());
                size = size.or_else(|| number(value));
                continue;
            }
            b"installed-size" => {
                repeated += u64::from(row.installed_size.is_some());
                row.installed_size = row.installed_size.or_else(|| number(value));
                continue;
            }
            b"tag" if row.tags.is_empty() => {
                row.tags = tags(value);
                continue;
            }
            b"description" if row.description.is_none() => {
                row.description = Some(description(value));
                continue;
            }
            b"tag" | b"description" => {
                repeated += 1;
                continue;
            }
            other => {
                let optional = match other {
                    b"sha256" => &mut row.sha256_hash,
                    b"name" => &mut row.name,
                    b"author" => &mut row.author,
                    b"maintainer" => &mut row.maintainer,
                    b"depiction" => &mut row.depiction,
                    b"native-depiction" => &mut row.native_depiction,
                    b"sileodepiction" => &mut row.sileo_depiction,
                    b"header" => &mut row.header_url,
                    b"tint-color" => &mut row.tint_color,
                    b"icon" => &mut row.icon_url,
                    b"section" => &mut row.section,
                    _ => continue,
                };
                if optional.is_none() {
                    *optional = Some(folded(value)).filter(|text| !text.is_empty());
                } else {
                    repeated += 1;
                }
                continue;
            }
        };
        if required.is_empty() {
            *required = folded(value);
        } else {
            repeated += 1;
        }
    }
    stanza.count_oddities(repeated);
    row.package_size = size.unwrap_or(0);
    for (field, value) in [
        ("Package", &row.package_id),
        ("Version", &row.version),
        ("Architecture", &row.architecture),
    ] {
        if value.is_empty() {
            return Err(Skipped::Without(field));
        }
    }
    let is_paid = row.tags.iter().any(|tag| tag == COMMERCIAL);
    row.price.push_str(if is_paid { "Paid" } else { "Free" });
    if row.tags.len() > ROW_TAGS_MAX {
        return Err(Skipped::TooManyTags(row.tags.len()));
    }
    let bytes = row.bytes();
    if bytes > ROW_BYTES_MAX {
        Err(Skipped::TooLong(bytes))
    } else {
        Ok(row)
    }
}

/// A number that the catalogue's columns can hold.
fn number(value: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
    i64::try_from(number).is_ok().then_some(number)
}

/// A value as one line: continuation lines are joined with a blank.
fn folded(value: &[u8]) -> String {
    if memchr::memchr(b'\n', value).is_none() {
        return text(value).into_owned();
    }
    let mut joined = String::with_capacity(value.len());
    for line in lines(value) {
        let line = line.trim_ascii();
        if !line.is_empty() {
            if !joined.is_empty() {
                joined.push(' ');
            }
            joined.push_str(&text(line));
        }
    }
    joined
}

/// Spec: deb-control(5), Description: each line of the long description begins with a blank; a
/// dot alone is an empty line.
fn description(value: &[u8]) -> String {
    if memchr::memchr(b'\n', value).is_none() {
        return text(value).into_owned();
    }
    let mut joined = String::with_capacity(value.len());
    for (number, line) in lines(value).enumerate() {
        if number > 0 {
            joined.push('\n');
        }
        let line = line
            .strip_prefix(b" ")
            .or_else(|| line.strip_prefix(b"\t"))
            .unwrap_or(line);
        if line != b"." {
            joined.push_str(&text(line));
        }
    }
    joined
}

fn tags(value: &[u8]) -> Vec<String> {
    let tags = lines(value)
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    tags.filter(|tag| !tag.is_empty())
        .map(|tag| text(tag).into_owned())
        .collect()
}

/// One line as text: Latin-1 where it is no UTF-8, without control characters.
pub(super) fn text(line: &[u8]) -> Cow<'_, str> {
    let text = match std::str::from_utf8(line) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(line.iter().map(|byte| char::from(*byte)).collect()),
    };
    // Or-ing lets the compiler look at many bytes at once; `any` would stop at the first.
    let is_clean = !text
        .bytes()
        .fold(false, |found, byte| found | is_forbidden(byte));
    if is_clean {
        return text;
    }
    let kept = text
        .chars()
        .filter(|letter| !u8::try_from(*letter).is_ok_and(is_forbidden));
    Cow::Owned(kept.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apt::stanza::StanzaReader;

    fn of(stanza: &[u8]) -> Result<PackageRow, Skipped> {
        let mut reader = StanzaReader::new(stanza);
        row(&reader.read().unwrap().unwrap())
    }

    const MINIMAL: &str = "Package: a\nVersion: 1\nArchitecture: all\n";

    fn with(more: &[u8]) -> PackageRow {
        let row = of(&[MINIMAL.as_bytes(), more].concat()).unwrap();
        row.check().unwrap();
        row
    }

    #[test]
    fn every_field_finds_its_column() {
        let text = |text: &str| Some(text.to_owned());
        let row = of(
            b"Package: ws.hbang.common\nName: Cephei\nVersion: 1:1.15-2\n\
            Architecture: iphoneos-arm\nFilename: ./debs/a.deb\nSize: 7\nSHA256: ab\n\
            Description: Short\n Long\n .\n  More\nAuthor: A <a@b.c>\nMaintainer: M\n\
            Depiction: https://d\nNative-Depiction: https://n\nSileoDepiction: https://s\n\
            Header: https://h\nTint-Color: #fff\nIcon: https://i\nSection: Tweaks\n\
            Tag: role::developer, cydia::commercial,x\nInstalled-Size: 12\nDepends: x\n",
        )
        .unwrap();
        let expected = PackageRow {
            package_id: "ws.hbang.common".into(),
            version: "1:1.15-2".into(),
            architecture: "iphoneos-arm".into(),
            package_filename: "./debs/a.deb".into(),
            package_size: 7,
            price: "Paid".into(),
            sha256_hash: text("ab"),
            name: text("Cephei"),
            description: text("Short\nLong\n\n More"),
            author: text("A <a@b.c>"),
            maintainer: text("M"),
            depiction: text("https://d"),
            native_depiction: text("https://n"),
            sileo_depiction: text("https://s"),
            header_url: text("https://h"),
            tint_color: text("#fff"),
            icon_url: text("https://i"),
            section: text("Tweaks"),
            tags: vec![
                "role::developer".into(),
                "cydia::commercial".into(),
                "x".into(),
            ],
            installed_size: Some(12),
        };
        assert_eq!(row, expected);
        assert_eq!(row.check(), Ok(()));
    }

    #[test]
    fn a_stanza_without_its_three_fields_is_skipped() {
        for (stanza, field) in [
            (&b"Version: 1\nArchitecture: all\n"[..], "Package"),
            (b"Package:\nVersion: 1\nArchitecture: all\n", "Package"),
            (b"Package: a\nArchitecture: all\n", "Version"),
            (b"Package: a\nVersion: 1\n", "Architecture"),
        ] {
            assert_eq!(of(stanza), Err(Skipped::Without(field)));
        }
        let long = format!("{MINIMAL}Description: {}\n", "x".repeat(ROW_BYTES_MAX));
        assert!(matches!(of(long.as_bytes()), Err(Skipped::TooLong(_))));
        let tags = format!("{MINIMAL}Tag: {}\n", "a,".repeat(ROW_TAGS_MAX + 1));
        assert_eq!(
            of(tags.as_bytes()),
            Err(Skipped::TooManyTags(ROW_TAGS_MAX + 1))
        );
    }

    #[test]
    fn what_is_odd_is_read_all_the_same() {
        assert_eq!(with(b"").price, "Free");
        assert_eq!(
            (with(b"").package_size, with(b"").installed_size),
            (0, None)
        );
        for size in [
            "x",
            "",
            "-1",
            "99999999999999999999",
            "9223372036854775808",
            "1.5",
        ] {
            let row = with(format!("Size: {size}\nInstalled-Size: {size}\n").as_bytes());
            assert_eq!((row.package_size, row.installed_size), (0, None), "{size}");
        }
        // In any case, twice, empty, folded.
        assert_eq!(with(b"fileName: x\nFilename: y\n").package_filename, "x");
        let twice = [
            MINIMAL.as_bytes(),
            b"package: b\nSize: x\nSize: 1\nSize: 2\n\xe9: \xe9\n",
        ];
        let twice = twice.concat();
        let mut reader = StanzaReader::new(&twice[..]);
        row(&reader.read().unwrap().unwrap()).unwrap();
        let oddities = reader.oddities();
        assert_eq!((oddities.repeated_fields, oddities.not_utf8), (2, 1));
        assert_eq!(with(b"Name:\n").name, None);
        assert_eq!(
            with(b"Author: A\n B: c\n").author.as_deref(),
            Some("A B: c")
        );
        assert_eq!(with(b"Tag: a\n  b,\n c\n").tags, ["a", "b", "c"]);
        assert_eq!(
            with(b"Description:\n Long\n").description.as_deref(),
            Some("\nLong")
        );
        // Not UTF-8, line by line; control characters.
        assert_eq!(with(b"Name: Caf\xe9\n").name.as_deref(), Some("Caf\u{e9}"));
        let mixed = with(b"Description: \xc3\xa9\n \xe9\n");
        assert_eq!(mixed.description.as_deref(), Some("\u{e9}\n\u{e9}"));
        assert_eq!(
            with(b"Name: a\x00b\x7f\x1bc\td\n").name.as_deref(),
            Some("abc\td")
        );
    }
}
