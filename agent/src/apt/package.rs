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
//!
//! A row borrows what it can from the stanza, so that one which the catalogue knows already costs no
//! allocation. For that a stanza is looked at as a whole first: nearly all are UTF-8 without
//! control characters, and then each of their values is text as it stands (`FieldText::text`).

use canister_protocol::limits::{ROW_BYTES_MAX, ROW_TAGS_MAX};
use canister_protocol::row::{PackageRow, is_forbidden};
use canister_stanza::{Stanza, lines};
use std::borrow::Cow;

/// Most stanzas of a package index.
pub const STANZAS_MAX: u64 = 4_000_000;

/// The tag of a package that is paid for.
const COMMERCIAL: &str = "cydia::commercial";
/// The price of a package that is paid for, as long as the amount isn't known.
pub const PAID: &str = "Paid";
/// The price of all others.
pub const FREE: &str = "Free";

/// Why a stanza gave no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SkippedStanza {
    /// It lacks this field, or has it without a value.
    Without(&'static str),
    /// Its texts have more bytes than a row may.
    TooLong(usize),
    /// It has more tags than a row may.
    TooManyTags(usize),
}

impl std::fmt::Display for SkippedStanza {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Without(field) => write!(f, "stanza without {field}"),
            Self::TooLong(bytes) => {
                write!(f, "stanza of {bytes} bytes of text, at most {ROW_BYTES_MAX}")
            }
            Self::TooManyTags(tags) => write!(f, "stanza of {tags} tags, at most {ROW_TAGS_MAX}"),
        }
    }
}

/// A row that borrows from the stanza it was read in.
pub type BorrowedRow<'a> = PackageRow<Cow<'a, str>>;

/// The fields that make a row.
#[derive(Clone, Copy)]
enum RowField {
    Architecture,
    Author,
    Depiction,
    Description,
    Filename,
    Header,
    Icon,
    InstalledSize,
    Maintainer,
    Name,
    NativeDepiction,
    Package,
    Section,
    Sha256,
    SileoDepiction,
    Size,
    Tag,
    TintColor,
    Version,
}

impl RowField {
    /// The field of this name, whatever its case. Length and first letter leave one name to compare
    /// with, and none for most of the fields that nobody looks at.
    fn of(name: &[u8]) -> Option<Self> {
        let (field, is_called) = match (name.len(), name.first()?.to_ascii_lowercase()) {
            (3, b't') => (Self::Tag, is_called(name, b"Tag")),
            (4, b'i') => (Self::Icon, is_called(name, b"Icon")),
            (4, b'n') => (Self::Name, is_called(name, b"Name")),
            (4, b's') => (Self::Size, is_called(name, b"Size")),
            (6, b'a') => (Self::Author, is_called(name, b"Author")),
            (6, b'h') => (Self::Header, is_called(name, b"Header")),
            (6, b's') => (Self::Sha256, is_called(name, b"SHA256")),
            (7, b'p') => (Self::Package, is_called(name, b"Package")),
            (7, b's') => (Self::Section, is_called(name, b"Section")),
            (7, b'v') => (Self::Version, is_called(name, b"Version")),
            (8, b'f') => (Self::Filename, is_called(name, b"Filename")),
            (9, b'd') => (Self::Depiction, is_called(name, b"Depiction")),
            (10, b'm') => (Self::Maintainer, is_called(name, b"Maintainer")),
            (10, b't') => (Self::TintColor, is_called(name, b"Tint-Color")),
            (11, b'd') => (Self::Description, is_called(name, b"Description")),
            (12, b'a') => (Self::Architecture, is_called(name, b"Architecture")),
            (14, b'i') => (Self::InstalledSize, is_called(name, b"Installed-Size")),
            (14, b's') => (Self::SileoDepiction, is_called(name, b"SileoDepiction")),
            (16, b'n') => (Self::NativeDepiction, is_called(name, b"Native-Depiction")),
            _ => return None,
        };
        is_called.then_some(field)
    }
}

/// Whether `name` is `full`, whatever its case: nearly always as it is written here, and of a
/// length that is known when it is compiled that takes an instruction or two.
fn is_called<const N: usize>(name: &[u8], full: &[u8; N]) -> bool {
    <&[u8; N]>::try_from(name).is_ok_and(|name| name == full || name.eq_ignore_ascii_case(full))
}

/// A value, or one line of it.
#[derive(Clone, Copy)]
struct FieldText<'a> {
    bytes: &'a [u8],
    /// The same, where it is known to be text that may stand in a row.
    text: Option<&'a str>,
    /// Whether it has more than one line.
    is_folded: bool,
}

/// The row that a stanza says, with prices that only say whether there is one.
///
/// # Errors
/// [`SkippedStanza`]: the stanza is to be counted and passed over.
pub fn row<'a>(stanza: &Stanza<'a>) -> Result<BorrowedRow<'a>, SkippedStanza> {
    row_of(stanza, text(stanza.bytes()))
}

/// The same of a stanza of which it is known whether its bytes are [`text`].
///
/// # Errors
/// As [`row`].
pub fn row_of<'a>(
    stanza: &Stanza<'a>,
    whole: Option<&'a str>,
) -> Result<BorrowedRow<'a>, SkippedStanza> {
    let mut row = BorrowedRow::default();
    let mut size = None;
    let mut repeated = 0;
    for found in stanza.fields() {
        let Some(field) = RowField::of(found.name) else {
            continue;
        };
        let value = FieldText {
            bytes: found.value,
            text: whole.and_then(|text| text.get(found.place)),
            is_folded: found.is_folded,
        };
        let is_first = match field {
            RowField::Architecture => required(&mut row.architecture, value),
            RowField::Author => optional(&mut row.author, value),
            RowField::Depiction => optional(&mut row.depiction, value),
            RowField::Description => first(&mut row.description, || Some(description(value))),
            RowField::Filename => required(&mut row.package_filename, value),
            RowField::Header => optional(&mut row.header_url, value),
            RowField::Icon => optional(&mut row.icon_url, value),
            RowField::InstalledSize => first(&mut row.installed_size, || number(value.bytes)),
            RowField::Maintainer => optional(&mut row.maintainer, value),
            RowField::Name => optional(&mut row.name, value),
            RowField::NativeDepiction => optional(&mut row.native_depiction, value),
            RowField::Package => required(&mut row.package_id, value),
            RowField::Section => optional(&mut row.section, value),
            RowField::Sha256 => optional(&mut row.sha256_hash, value),
            RowField::SileoDepiction => optional(&mut row.sileo_depiction, value),
            RowField::Size => first(&mut size, || number(value.bytes)),
            RowField::Tag if row.tags.is_empty() => {
                row.tags = tags(value);
                true
            }
            RowField::Tag => false,
            RowField::TintColor => optional(&mut row.tint_color, value),
            RowField::Version => required(&mut row.version, value),
        };
        repeated += u64::from(!is_first);
    }
    stanza.count_oddities(repeated, whole.is_none());
    row.package_size = size.unwrap_or(0);
    for (field, value) in [
        ("Package", &row.package_id),
        ("Version", &row.version),
        ("Architecture", &row.architecture),
    ] {
        if value.is_empty() {
            return Err(SkippedStanza::Without(field));
        }
    }
    let is_paid = row.tags.iter().any(|tag| tag == COMMERCIAL);
    row.price = Cow::Borrowed(if is_paid { PAID } else { FREE });
    if row.tags.len() > ROW_TAGS_MAX {
        return Err(SkippedStanza::TooManyTags(row.tags.len()));
    }
    let bytes = row.bytes();
    if bytes > ROW_BYTES_MAX { Err(SkippedStanza::TooLong(bytes)) } else { Ok(row) }
}

/// Takes the value if the column has none yet; whether it hadn't.
fn required<'a>(column: &mut Cow<'a, str>, value: FieldText<'a>) -> bool {
    let is_first = column.is_empty();
    if is_first {
        *column = folded(value);
    }
    is_first
}

/// As [`required`], for a column that an empty value leaves empty.
fn optional<'a>(column: &mut Option<Cow<'a, str>>, value: FieldText<'a>) -> bool {
    first(column, || Some(folded(value)).filter(|text| !text.is_empty()))
}

/// As [`required`], for any value.
fn first<T>(column: &mut Option<T>, value: impl FnOnce() -> Option<T>) -> bool {
    let is_first = column.is_none();
    if is_first {
        *column = value();
    }
    is_first
}

/// A number that the catalogue's columns can hold.
fn number(value: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
    i64::try_from(number).is_ok().then_some(number)
}

/// A value as one line: continuation lines are joined with a blank.
fn folded(value: FieldText<'_>) -> Cow<'_, str> {
    if !value.is_folded {
        return value.to_text();
    }
    let mut joined = String::with_capacity(value.bytes.len());
    for line in lines(value.bytes) {
        let line = line.trim_ascii();
        if !line.is_empty() {
            if !joined.is_empty() {
                joined.push(' ');
            }
            joined.push_str(&line_text(line));
        }
    }
    joined.into()
}

/// Spec: deb-control(5), Description: each line of the long description begins with a blank; a
/// dot alone is an empty line.
fn description(value: FieldText<'_>) -> Cow<'_, str> {
    if !value.is_folded {
        return value.to_text();
    }
    let mut joined = String::with_capacity(value.bytes.len());
    for (number, line) in lines(value.bytes).enumerate() {
        if number > 0 {
            joined.push('\n');
        }
        let line = line.strip_prefix(b" ").or_else(|| line.strip_prefix(b"\t")).unwrap_or(line);
        if line != b"." {
            joined.push_str(&line_text(line));
        }
    }
    joined.into()
}

fn tags(value: FieldText<'_>) -> Vec<Cow<'_, str>> {
    // Room for most: growing costs more than what is left over.
    let mut tags = Vec::with_capacity(value.bytes.len() / 16 + 1);
    let (mut begin, mut is_continued) = (0, true);
    let ends = memchr::memchr2_iter(b',', b'\n', value.bytes);
    for end in ends.chain([value.bytes.len()]) {
        let part = &value.bytes[begin..end];
        if begin > 0 && value.bytes[begin - 1] == b'\n' {
            // See `lines`.
            is_continued = part.starts_with(b" ") || part.starts_with(b"\t");
        }
        let blanks = part.len() - part.trim_ascii_start().len();
        let tag = begin + blanks..begin + part.trim_ascii_end().len();
        begin = end + 1;
        if is_continued && !tag.is_empty() {
            tags.push(match value.text.and_then(|text| text.get(tag.clone())) {
                Some(tag) => Cow::Borrowed(tag),
                None => line_text(&value.bytes[tag]),
            });
        }
    }
    tags
}

impl<'a> FieldText<'a> {
    /// A value of one line as text.
    fn to_text(self) -> Cow<'a, str> {
        self.text.map_or_else(|| line_text(self.bytes), Cow::Borrowed)
    }
}

/// One line as text: Latin-1 where it is no UTF-8, without control characters.
pub(super) fn line_text(line: &[u8]) -> Cow<'_, str> {
    if let Some(text) = text(line) {
        return text.into();
    }
    let text = match std::str::from_utf8(line) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(line.iter().map(|byte| char::from(*byte)).collect()),
    };
    let kept = text.chars().filter(|letter| !is_forbidden(*letter));
    Cow::Owned(kept.collect())
}

/// The bytes as text, if they are UTF-8 without control characters that may not stand in a row.
pub fn text(bytes: &[u8]) -> Option<&str> {
    // Or-ing lets the compiler look at many bytes at once; `any` would stop at the first.
    // In UTF-8 those beyond ASCII begin with C2, as some good letters do.
    let may_not =
        |byte: u8| byte == 0xc2 || (byte.is_ascii_control() && byte != b'\n' && byte != b'\t');
    let is_clean = !bytes.iter().fold(false, |found, byte| found | may_not(*byte));
    let text = std::str::from_utf8(bytes).ok()?;
    (is_clean || !text.contains(is_forbidden)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use canister_stanza::StanzaReader;

    fn of(stanza: &[u8]) -> Result<PackageRow, SkippedStanza> {
        let mut reader = StanzaReader::new(stanza);
        row(&reader.read().unwrap().unwrap()).map(|row| row.map(Cow::into_owned))
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
        let row = of(b"Package: ws.hbang.common\nName: Cephei\nVersion: 1:1.15-2\n\
            Architecture: iphoneos-arm\nFilename: ./debs/a.deb\nSize: 7\nSHA256: ab\n\
            Description: Short\n Long\n .\n  More\nAuthor: A <a@b.c>\nMaintainer: M\n\
            Depiction: https://d\nNative-Depiction: https://n\nSileoDepiction: https://s\n\
            Header: https://h\nTint-Color: #fff\nIcon: https://i\nSection: Tweaks\n\
            Tag: role::developer, cydia::commercial,x\nInstalled-Size: 12\nDepends: x\n")
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
            tags: vec!["role::developer".into(), "cydia::commercial".into(), "x".into()],
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
            assert_eq!(of(stanza), Err(SkippedStanza::Without(field)));
        }
        let long = format!("{MINIMAL}Description: {}\n", "x".repeat(ROW_BYTES_MAX));
        assert!(matches!(of(long.as_bytes()), Err(SkippedStanza::TooLong(_))));
        let tags = format!("{MINIMAL}Tag: {}\n", "a,".repeat(ROW_TAGS_MAX + 1));
        assert_eq!(of(tags.as_bytes()), Err(SkippedStanza::TooManyTags(ROW_TAGS_MAX + 1)));
    }

    #[test]
    fn what_is_odd_is_read_all_the_same() {
        assert_eq!(with(b"").price, "Free");
        assert_eq!((with(b"").package_size, with(b"").installed_size), (0, None));
        for size in ["x", "", "-1", "99999999999999999999", "9223372036854775808", "1.5"] {
            let row = with(format!("Size: {size}\nInstalled-Size: {size}\n").as_bytes());
            assert_eq!((row.package_size, row.installed_size), (0, None), "{size}");
        }
        // In any case, twice, empty, folded.
        assert_eq!(with(b"fileName: x\nFilename: y\n").package_filename, "x");
        let twice = [MINIMAL.as_bytes(), b"package: b\nSize: x\nSize: 1\nSize: 2\n\xe9: \xe9\n"];
        let twice = twice.concat();
        let mut reader = StanzaReader::new(&twice[..]);
        row(&reader.read().unwrap().unwrap()).unwrap();
        let oddities = reader.oddities();
        assert_eq!((oddities.repeated_fields, oddities.not_utf8), (2, 1));
        assert_eq!(with(b"Name:\n").name, None);
        assert_eq!(with(b"Author: A\n B: c\n").author.as_deref(), Some("A B: c"));
        assert_eq!(with(b"Tag: a\n  b,\n c\n").tags, ["a", "b", "c"]);
        assert_eq!(with(b"Description:\n Long\n").description.as_deref(), Some("\nLong"));
        // Not UTF-8, line by line; control characters.
        assert_eq!(with(b"Name: Caf\xe9\n").name.as_deref(), Some("Caf\u{e9}"));
        let mixed = with(b"Description: \xc3\xa9\n \xe9\n");
        assert_eq!(mixed.description.as_deref(), Some("\u{e9}\n\u{e9}"));
        assert_eq!(with(b"Name: a\x00b\x7f\x1bc\td\n").name.as_deref(), Some("abc\td"));
    }
}
