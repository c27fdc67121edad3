//! A package row as it travels: what one stanza says, in the catalogue's column names.

use crate::error::Error;
use crate::limits::{ROW_BYTES_MAX, ROW_TAGS_MAX};
use nanoserde::{DeJson, SerJson};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io::Write as _;

/// Parts what is hashed: no field has it.
const PARTED: u8 = 0x1f;
/// Stands for a missing field: no field is this.
const MISSING: &str = "\x1e";

/// What one stanza of a package index says of a package.
///
/// Fields are called as the catalogue's columns. The columns that follow from the source, from the
/// catalogue or from these fields (`id`, `quality`, `repository_id`, `visible`,
/// `latest_version`) don't travel. Its texts are `String`s where it travels, and borrowed where it
/// has just been read.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct PackageRow<T = String> {
    /// Field Package; not empty.
    pub package_id: T,
    /// Field Version; not empty, not always a version.
    pub version: T,
    /// Field Architecture; not empty.
    pub architecture: T,
    /// Field Filename; empty where it is missing.
    pub package_filename: T,
    /// Field Size in bytes; 0 where it is missing.
    pub package_size: u64,
    /// `Free`, `Paid`, or the amount as its shop writes it.
    pub price: T,
    /// Field SHA256.
    pub sha256_hash: Option<T>,
    /// Field Name.
    pub name: Option<T>,
    /// Field Description, short and long, lines parted by `\n`.
    pub description: Option<T>,
    /// Field Author.
    pub author: Option<T>,
    /// Field Maintainer.
    pub maintainer: Option<T>,
    /// Field Depiction.
    pub depiction: Option<T>,
    /// Field Native-Depiction.
    pub native_depiction: Option<T>,
    /// Field SileoDepiction.
    pub sileo_depiction: Option<T>,
    /// Field Header.
    pub header_url: Option<T>,
    /// Field Tint-Color.
    pub tint_color: Option<T>,
    /// Field Icon.
    pub icon_url: Option<T>,
    /// Field Section.
    pub section: Option<T>,
    /// Field Tag, parted at commas.
    pub tags: Vec<T>,
    /// Field Installed-Size, in the unit it is written in (kibibytes, by policy).
    pub installed_size: Option<u64>,
}

/// The version of how a stanza becomes a row. Raised by each change after which a stanza that was a
/// row gives another one, or none: rows of two versions are not compared.
pub const MAPPING: u32 = 1;

/// How many [`texts`](PackageRow::texts) a row has.
pub const TEXTS: usize = 17;
/// Which of them is the description, the only one of several lines.
const DESCRIPTION: usize = 7;

/// The first 16 bytes of a SHA-256 over a row: two rows of a source with the same digest say the
/// same. Not part of the catalogue's interface: it may change with the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 16]);

impl<T: AsRef<str>> PackageRow<T> {
    /// All texts but the tags, in the order in which they are digested.
    pub fn texts(&self) -> [Option<&str>; TEXTS] {
        [
            Some(self.package_id.as_ref()),
            Some(self.version.as_ref()),
            Some(self.architecture.as_ref()),
            Some(self.package_filename.as_ref()),
            Some(self.price.as_ref()),
            self.sha256_hash.as_ref().map(T::as_ref),
            self.name.as_ref().map(T::as_ref),
            self.description.as_ref().map(T::as_ref),
            self.author.as_ref().map(T::as_ref),
            self.maintainer.as_ref().map(T::as_ref),
            self.depiction.as_ref().map(T::as_ref),
            self.native_depiction.as_ref().map(T::as_ref),
            self.sileo_depiction.as_ref().map(T::as_ref),
            self.header_url.as_ref().map(T::as_ref),
            self.tint_color.as_ref().map(T::as_ref),
            self.icon_url.as_ref().map(T::as_ref),
            self.section.as_ref().map(T::as_ref),
        ]
    }

    /// A row of these texts, in the order of [`texts`](Self::texts), with nothing else; a required
    /// one that is missing is empty.
    pub fn of_texts(texts: [Option<T>; TEXTS]) -> Self
    where
        T: Default,
    {
        let [
            package_id,
            version,
            architecture,
            package_filename,
            price,
            sha256_hash,
            name,
            description,
            author,
            maintainer,
            depiction,
            native_depiction,
            sileo_depiction,
            header_url,
            tint_color,
            icon_url,
            section,
        ] = texts;
        Self {
            package_id: package_id.unwrap_or_default(),
            version: version.unwrap_or_default(),
            architecture: architecture.unwrap_or_default(),
            package_filename: package_filename.unwrap_or_default(),
            package_size: 0,
            price: price.unwrap_or_default(),
            sha256_hash,
            name,
            description,
            author,
            maintainer,
            depiction,
            native_depiction,
            sileo_depiction,
            header_url,
            tint_color,
            icon_url,
            section,
            tags: Vec::new(),
            installed_size: None,
        }
    }

    /// Bytes in all its texts: what batches and limits count.
    pub fn bytes(&self) -> usize {
        self.texts().iter().flatten().map(|text| text.len()).sum::<usize>()
            + self.tags.iter().map(|tag| tag.as_ref().len()).sum::<usize>()
    }

    /// The row's digest. `scratch` is emptied and used, so that a loop over many rows allocates
    /// once.
    ///
    /// It is taken over all texts and then both sizes in decimal, parted by U+001F, with U+001E
    /// for a missing one, and then the tags, each with U+001F before it. A row has no control
    /// characters ([`check`](Self::check)), so two that differ are never written alike. (It is
    /// text so that a database can do the same.)
    pub fn digest(&self, scratch: &mut Vec<u8>) -> Digest {
        scratch.clear();
        for value in self.texts() {
            scratch.extend_from_slice(value.unwrap_or(MISSING).as_bytes());
            scratch.push(PARTED);
        }
        // Writing to memory doesn't fail.
        let _ = write!(scratch, "{}", self.package_size);
        scratch.push(PARTED);
        let _ = match self.installed_size {
            Some(size) => write!(scratch, "{size}"),
            None => write!(scratch, "{MISSING}"),
        };
        for tag in &self.tags {
            scratch.push(PARTED);
            scratch.extend_from_slice(tag.as_ref().as_bytes());
        }
        Digest(first_16(&Sha256::digest(&*scratch)))
    }

    /// The row's id in the catalogue under the source `slug`: see [`id`].
    pub fn id(&self, slug: &str) -> String {
        id(slug, self.package_id.as_ref(), self.version.as_ref(), self.architecture.as_ref())
    }

    /// The same as a number: see [`id_of`]. `scratch` is emptied and used.
    pub fn id_number(&self, slug: &str, scratch: &mut Vec<u8>) -> u128 {
        number_of_id(
            [slug, self.package_id.as_ref(), self.version.as_ref(), self.architecture.as_ref()],
            scratch,
        )
    }

    /// Writes the same behind what is in `into`. `scratch` is emptied and used, so that a loop over
    /// many rows allocates once.
    pub fn write_id(&self, slug: &str, scratch: &mut Vec<u8>, into: &mut Vec<u8>) {
        let parts =
            [slug, self.package_id.as_ref(), self.version.as_ref(), self.architecture.as_ref()];
        into.extend_from_slice(&digits(number_of_id(parts, scratch)));
    }

    /// The same row with its texts made into others.
    pub fn map<U>(self, mut change: impl FnMut(T) -> U) -> PackageRow<U> {
        PackageRow {
            package_id: change(self.package_id),
            version: change(self.version),
            architecture: change(self.architecture),
            package_filename: change(self.package_filename),
            package_size: self.package_size,
            price: change(self.price),
            sha256_hash: self.sha256_hash.map(&mut change),
            name: self.name.map(&mut change),
            description: self.description.map(&mut change),
            author: self.author.map(&mut change),
            maintainer: self.maintainer.map(&mut change),
            depiction: self.depiction.map(&mut change),
            native_depiction: self.native_depiction.map(&mut change),
            sileo_depiction: self.sileo_depiction.map(&mut change),
            header_url: self.header_url.map(&mut change),
            tint_color: self.tint_color.map(&mut change),
            icon_url: self.icon_url.map(&mut change),
            section: self.section.map(&mut change),
            tags: self.tags.into_iter().map(change).collect(),
            installed_size: self.installed_size,
        }
    }

    /// Whether the row may travel: required fields present, within its limits, no control
    /// characters but line feed and tab (PostgreSQL holds no NUL, and others cost six bytes each
    /// in JSON).
    ///
    /// # Errors
    /// [`Error::Field`] naming the field.
    pub fn check(&self) -> Result<(), Error> {
        for (field, value) in [
            ("package_id", &self.package_id),
            ("version", &self.version),
            ("architecture", &self.architecture),
            ("price", &self.price),
        ] {
            if value.as_ref().is_empty() {
                return Err(Error::field(field, "empty"));
            }
        }
        if self.bytes() > ROW_BYTES_MAX {
            let why = format!("{} bytes, at most {ROW_BYTES_MAX}", self.bytes());
            return Err(Error::field("row", why));
        }
        if self.tags.len() > ROW_TAGS_MAX {
            let why = format!("{} of them, at most {ROW_TAGS_MAX}", self.tags.len());
            return Err(Error::field("tags", why));
        }
        // Sizes are signed 64-bit in the catalogue.
        if i64::try_from(self.package_size).is_err() {
            return Err(Error::field("package_size", "over 2^63 - 1"));
        }
        if self.installed_size.is_some_and(|size| i64::try_from(size).is_err()) {
            return Err(Error::field("installed_size", "over 2^63 - 1"));
        }
        let texts = self.texts();
        let mut all = texts.iter().flatten().copied().chain(self.tags.iter().map(T::as_ref));
        if all.any(|text| text.chars().any(is_forbidden)) {
            return Err(Error::field("row", "has a control character"));
        }
        let others = texts.iter().enumerate().filter(|(at, _)| *at != DESCRIPTION);
        let others = others.filter_map(|(_, text)| *text);
        if others.chain(self.tags.iter().map(T::as_ref)).any(|text| text.contains('\n')) {
            return Err(Error::field("row", "has a line feed beside its description"));
        }
        Ok(())
    }
}

/// Whether a character may not stand in a row: control characters but line feed, which only a
/// description has, and tab.
pub fn is_forbidden(letter: char) -> bool {
    letter.is_control() && letter != '\n' && letter != '\t'
}

/// The id of a package in the catalogue: 26 characters of Crockford's base32 over the first 16
/// bytes of a SHA-256 of slug, package, version and architecture, parted by U+001F (which none of
/// them has). A rebuilt database gives the same ids.
pub fn id(slug: &str, package: &str, version: &str, architecture: &str) -> String {
    id_of(number_of_id([slug, package, version, architecture], &mut Vec::new()))
}

/// The id that a number is of.
pub fn id_of(number: u128) -> String {
    digits(number).into_iter().map(char::from).collect()
}

/// How long an id is, in characters.
pub const ID_LENGTH: usize = 26;

fn number_of_id(parts: [&str; 4], scratch: &mut Vec<u8>) -> u128 {
    // Hashed at once: a hash takes one long text much faster than many short ones.
    scratch.clear();
    for (number, part) in parts.into_iter().enumerate() {
        if number > 0 {
            scratch.push(PARTED);
        }
        scratch.extend_from_slice(part.as_bytes());
    }
    u128::from_be_bytes(first_16(&Sha256::digest(&*scratch)))
}

fn digits(mut number: u128) -> [u8; ID_LENGTH] {
    const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    // 26 digits of 5 bits are 130: the first has only three.
    let mut digits = [0; ID_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = CROCKFORD[number as usize & 31];
        number >>= 5;
    }
    digits
}

fn first_16(hash: &[u8]) -> [u8; 16] {
    hash[..16].try_into().expect("a SHA-256 has 32 bytes")
}

impl Digest {
    /// Writes digests one behind the other, 32 hexadecimal digits each.
    pub fn join(digests: &[Self]) -> String {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(digests.len() * 32);
        for byte in digests.iter().flat_map(|digest| digest.0) {
            text.push(HEX[usize::from(byte >> 4)] as char);
            text.push(HEX[usize::from(byte & 15)] as char);
        }
        text
    }

    /// Reads what [`join`](Self::join) writes; `None` for anything else.
    pub fn split(text: &str) -> Option<Vec<Self>> {
        if !text.len().is_multiple_of(32) {
            return None;
        }
        let nibble = |byte: u8| (byte as char).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
        text.as_bytes()
            .chunks_exact(32)
            .map(|digits| {
                let mut digest = [0; 16];
                for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
                    *byte = (nibble(pair[0])? << 4 | nibble(pair[1])?) as u8;
                }
                Some(Self(digest))
            })
            .collect()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Self::join(&[*self]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> PackageRow {
        PackageRow {
            package_id: "ws.hbang.common".into(),
            version: "1.15".into(),
            architecture: "iphoneos-arm".into(),
            package_filename: "debs/a.deb".into(),
            package_size: 7,
            price: "Free".into(),
            tags: vec!["role::developer".into()],
            ..PackageRow::default()
        }
    }

    #[test]
    fn ids_do_not_move() {
        // These two are in catalogues: if this test fails, every id in them changes.
        assert_eq!(row().id("chariz"), "7NPYS29DFS9EK1ZS840HYE9XMF");
        assert_eq!(row().id("havoc"), "01RA0XZCXY4G200S7WZSW13XQE");
        // The parts are told apart.
        assert_ne!(id("a", "bc", "1", "x"), id("ab", "c", "1", "x"));
    }

    #[test]
    fn every_field_changes_the_digest() {
        let mut scratch = Vec::new();
        let base = row().digest(&mut scratch);
        assert_eq!(base, row().digest(&mut scratch));
        let some = || Some("x".to_owned());
        let changes: Vec<fn(&mut PackageRow, Option<String>)> = vec![
            |r, _| r.package_id.push('x'),
            |r, _| r.version.push('x'),
            |r, _| r.architecture.push('x'),
            |r, _| r.package_filename.push('x'),
            |r, _| r.package_size += 1,
            |r, _| r.price = "Paid".into(),
            |r, x| r.sha256_hash = x,
            |r, x| r.name = x,
            |r, x| r.description = x,
            |r, x| r.author = x,
            |r, x| r.maintainer = x,
            |r, x| r.depiction = x,
            |r, x| r.native_depiction = x,
            |r, x| r.sileo_depiction = x,
            |r, x| r.header_url = x,
            |r, x| r.tint_color = x,
            |r, x| r.icon_url = x,
            |r, x| r.section = x,
            |r, _| r.tags.push("x".into()),
            |r, _| r.installed_size = Some(0),
            |r, _| r.name = Some(String::new()),
        ];
        let mut seen = vec![base];
        for change in changes {
            let mut changed = row();
            change(&mut changed, some());
            let digest = changed.digest(&mut scratch);
            assert!(!seen.contains(&digest), "{changed:?}");
            seen.push(digest);
        }
    }

    #[test]
    fn digests_travel_as_hex() {
        let digests = [Digest([0; 16]), Digest(*b"0123456789abcdef")];
        let text = Digest::join(&digests);
        assert_eq!(text.len(), 64);
        assert_eq!(Digest::split(&text).as_deref(), Some(&digests[..]));
        assert_eq!(Digest::split(""), Some(vec![]));
        for bad in ["0", &"g".repeat(32), &"A".repeat(32), &"é".repeat(16)] {
            assert_eq!(Digest::split(bad), None, "{bad}");
        }
    }

    #[test]
    fn bad_rows_are_refused_by_field() {
        let named = |row: PackageRow| match row.check() {
            Err(Error::Field { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(row().check(), Ok(()));
        assert_eq!(named(PackageRow { package_id: String::new(), ..row() }), "package_id");
        assert_eq!(named(PackageRow { version: String::new(), ..row() }), "version");
        assert_eq!(named(PackageRow { price: String::new(), ..row() }), "price");
        assert_eq!(named(PackageRow { name: Some("a\0b".into()), ..row() }), "row");
        assert_eq!(named(PackageRow { package_size: u64::MAX, ..row() }), "package_size");
        assert_eq!(named(PackageRow { tags: vec!["a".into(); 257], ..row() }), "tags");
        let long = Some("x".repeat(ROW_BYTES_MAX));
        assert_eq!(named(PackageRow { description: long, ..row() }), "row");
        assert_eq!(PackageRow { description: Some("a\n\tb".into()), ..row() }.check(), Ok(()));
    }
}
