//! Reading a Release: what it says of the source, and the digests of its package indexes.
//!
//! A Release may list thousands of files; only those that can be the wanted package index are
//! kept. An InRelease is a Release inside a clear-signed message (RFC 9580 §7): only the text
//! between its headers and its signature counts. The signature itself isn't verified here.
//!
//! Texts are read as in package indexes: of a field that stands twice the first that says something
//! counts, a line that is no UTF-8 is Latin-1.
//!
//! Spec: <https://wiki.debian.org/DebianRepository/Format>, "Release files".

use super::package::line_text;
use crate::compression::Compression;
use canister_openpgp::{self as signature, SignedText};
use canister_protocol::limits::{NAME_BYTES_MAX, NEXT_SIGNERS_MAX};
use canister_protocol::message::{Facts, NextSigners, ReleaseSignature};
use canister_protocol::owner::OwnerSays;
use std::fmt;
use std::io::{self, BufRead, Read as _};

/// Longest line in bytes. Release lists one file a line.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Longest Signed-By in bytes that is looked at, but for its last line.
const SIGNED_BY_BYTES_MAX: usize = NEXT_SIGNERS_MAX * 80;

/// What a Release says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Release {
    /// What is published of it.
    pub facts: Facts,
    /// Field Valid-Until, in seconds since 1970 UTC.
    pub valid_until: Option<u64>,
    /// Field Signed-By: who may sign the next one, as in [`NextSigners::keys`].
    pub signed_by: Vec<String>,
    /// Field Acquire-By-Hash is `yes`.
    pub is_by_hash: bool,
    /// The wanted package index in the compressions that are listed.
    pub indexes: Vec<ListedFile>,
    /// The first of Components, and the first of Architectures that has an index of its own.
    pub component: Option<String>,
    pub architecture: Option<String>,
    /// Whether any field of a Release was found at all: HTML and empty files are none.
    pub has_fields: bool,
    /// What its owner says to whoever indexes it.
    pub owner: OwnerSays,
}

/// One listed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// How it is compressed, by its name.
    pub compression: Compression,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest, by the strongest algorithm that lists it.
    pub digest: FileDigest,
}

/// A digest of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigest {
    pub algorithm: Algorithm,
    pub hex: String,
}

/// The algorithms of Release's hash lists, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// `MD5Sum`: detects accidents only.
    Md5,
    /// `SHA1`: detects accidents only.
    Sha1,
    /// `SHA256`.
    Sha256,
    /// `SHA512`.
    Sha512,
}

impl Algorithm {
    /// The field of a Release that lists digests of this kind, which is also its directory below
    /// `by-hash/`.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Md5 => "MD5Sum",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    /// How many digits its digests have in hexadecimal.
    pub const fn hex_digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha1 => 40,
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// Whether it is a digest of this kind, in hexadecimal.
    pub fn is_digest(self, hex: &[u8]) -> bool {
        // All of them, for that is done many at once.
        let is_hex = || hex.iter().fold(true, |is, byte| is & byte.is_ascii_hexdigit());
        hex.len() == self.hex_digits() && is_hex()
    }

    fn of_field(name: &[u8]) -> Option<Self> {
        [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512]
            .into_iter()
            .find(|algorithm| name.eq_ignore_ascii_case(algorithm.field().as_bytes()))
    }
}

/// As in `Origin::index_digest`: `sha256:…`.
impl fmt::Display for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.algorithm {
            Algorithm::Md5 => "md5",
            Algorithm::Sha1 => "sha1",
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        };
        write!(f, "{name}:{}", self.hex)
    }
}

/// A line of a Release as it is read, for who wants to know more than [`Release`] keeps.
#[derive(Debug)]
pub struct ReleaseLine<'a> {
    /// Its number in the file, from 1.
    pub number: u64,
    /// Its bytes, with its line end.
    pub bytes: &'a [u8],
    pub says: Says<'a>,
}

/// What a line of a Release says.
#[derive(Debug, PartialEq, Eq)]
pub enum Says<'a> {
    /// A field, on its first line.
    Field { name: &'a [u8], value: &'a [u8] },
    /// A file in a hash list; none if it can't be read. The path is as it is written.
    Listed { algorithm: Algorithm, file: Option<(u64, &'a str)> },
    /// The beginning of a hash list or a line of one, without its colon or its blank.
    Misplaced,
    /// Nothing that counts: blank, a continuation, around the signed text.
    Nothing,
    /// Neither a field nor a continuation.
    Odd,
    /// Where the signature begins.
    Signature,
}

/// Where in a clear-signed message the reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Nothing but blank lines so far.
    Front,
    /// Between `BEGIN PGP SIGNED MESSAGE` and the blank line after its headers.
    Headers,
    /// The text; true inside a signed message.
    Text(bool),
}

/// The first word of a list that an index may be called by; `all` and `source` are none of their own.
fn word(list: &str) -> Option<String> {
    let mut words = list.split_whitespace().filter(|word| !["all", "source"].contains(word));
    words.next().filter(|word| word.len() <= NAME_BYTES_MAX).map(str::to_owned)
}

impl Release {
    /// What is said where there is none: nothing, and nobody signed it.
    pub fn unsigned() -> Self {
        let facts = Facts { signature: Some(ReleaseSignature::default()), ..Facts::default() };
        Self { facts, ..Self::default() }
    }

    /// Who may sign the next one, as apt understands it: only of a Release with an end.
    pub fn next_signers(&self) -> Option<NextSigners> {
        let until = self.valid_until.filter(|_| !self.signed_by.is_empty())?;
        Some(NextSigners { keys: self.signed_by.clone(), until })
    }

    /// Reads a Release or InRelease to its end, unless it turns out to be none; of its hash lists only what is named
    /// `index_path`, or that with a compression's suffix. What may be signed of it goes into `signed`,
    /// too. Of a file with a clear-signed text nothing else counts.
    ///
    /// # Errors
    /// The reader's, and `InvalidData` for a line over 64 KiB behind a field.
    pub fn read(
        input: impl BufRead,
        index_path: &str,
        signed: &mut SignedText,
    ) -> io::Result<Self> {
        Self::read_by_line(input, index_path, signed, |_| {})
    }

    /// As [`read`](Self::read); each line is shown to `look` when it was understood.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_by_line(
        mut input: impl BufRead,
        index_path: &str,
        signed: &mut SignedText,
        mut look: impl FnMut(ReleaseLine<'_>),
    ) -> io::Result<Self> {
        let mut release = Self::default();
        let mut part = Part::Front;
        let mut list = None;
        let mut number = 0;
        let (mut line, mut label, mut origin) = (Vec::new(), None, None);
        // The value of Signed-By, and whether its next line may follow.
        let (mut signers, mut is_of_signers) = (Vec::new(), false);
        loop {
            line.clear();
            if (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            number += 1;
            if line.len() as u64 == LINE_BYTES_MAX && !release.has_fields {
                // A page in one line, for whatever is asked.
                return Ok(Self::default());
            }
            if line.len() as u64 == LINE_BYTES_MAX {
                let why = format!("line {number} is longer than {LINE_BYTES_MAX} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            let mut look = |says| look(ReleaseLine { number, bytes: &line, says });
            let mut text = line.trim_ascii_end();
            if part == Part::Front {
                text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
            }
            match (part, text) {
                (Part::Front | Part::Text(false), signature::CLEAR) => {
                    (release, list, label, origin) = (Self::default(), None, None, None);
                    (signers, is_of_signers) = (Vec::new(), false);
                    *signed = SignedText::clear();
                    part = Part::Headers;
                    look(Says::Nothing);
                    continue;
                }
                (Part::Front | Part::Text(false), _) => signed.line(&line),
                (Part::Text(true), signature::BEGIN) => {
                    look(Says::Signature);
                    while !signed.signature(&line) {
                        line.clear();
                        if (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                            break;
                        }
                    }
                    // What stands behind the signature isn't signed.
                    io::copy(&mut input, &mut io::sink())?;
                    break;
                }
                (Part::Text(true), _) => {
                    signed.line(line.strip_prefix(b"- ").unwrap_or(&line));
                }
                (Part::Headers, _) => {}
            }
            match (part, text) {
                (Part::Front, b"") => {
                    look(Says::Nothing);
                    continue;
                }
                (Part::Front, _) => part = Part::Text(false),
                (Part::Headers, _) => {
                    if text.is_empty() {
                        part = Part::Text(true);
                    }
                    look(Says::Nothing);
                    continue;
                }
                (Part::Text(true), _) => text = text.strip_prefix(b"- ").unwrap_or(text),
                (Part::Text(false), _) => {}
            }
            if text.first().is_some_and(|byte| byte.is_ascii_whitespace()) {
                if is_of_signers && signers.len() <= SIGNED_BY_BYTES_MAX {
                    signers.extend_from_slice(text);
                }
                look(list.map_or(Says::Nothing, |algorithm| Says::Listed {
                    algorithm,
                    file: release.listed(algorithm, text, index_path),
                }));
                continue;
            }
            let Some(colon) = text.iter().position(|byte| *byte == b':') else {
                // Some hash lists have lost the colon after the field, some the blank before lines.
                look(match (Algorithm::of_field(text), list) {
                    _ if text.is_empty() => Says::Nothing,
                    (Some(algorithm), _) => {
                        list = Some(algorithm);
                        Says::Misplaced
                    }
                    (None, Some(algorithm)) => {
                        let file = release.listed(algorithm, text, index_path);
                        file.map_or(Says::Odd, |_| Says::Misplaced)
                    }
                    (None, None) => Says::Odd,
                });
                continue;
            };
            let (name, value) = (text[..colon].trim_ascii(), text[colon + 1..].trim_ascii());
            look(Says::Field { name, value });
            is_of_signers = signers.is_empty() && name.eq_ignore_ascii_case(b"Signed-By");
            if is_of_signers {
                signers.extend_from_slice(value);
            }
            list = Algorithm::of_field(name);
            release.has_fields |= list.is_some() || is_known(name);
            let value = || Some(clean(value)).filter(|value| !value.is_empty());
            let facts = &mut release.facts;
            match name.to_ascii_lowercase().as_slice() {
                b"label" => label = label.or_else(value),
                b"origin" => origin = origin.or_else(value),
                b"version" => facts.version = facts.version.take().or_else(value),
                b"description" => facts.description = facts.description.take().or_else(value),
                b"payment-gateway" => {
                    facts.payment_gateway = facts.payment_gateway.take().or_else(value);
                }
                b"components" => {
                    release.component = release.component.take().or_else(|| word(&value()?))
                }
                b"architectures" => {
                    release.architecture = release.architecture.take().or_else(|| word(&value()?));
                }
                b"date" => facts.date = facts.date.or_else(|| date(&value()?)),
                b"valid-until" => {
                    release.valid_until = release.valid_until.or_else(|| date(&value()?));
                }
                name if name.starts_with(b"canister-") => {
                    let name = String::from_utf8_lossy(name);
                    release.owner.field(&name, &value().unwrap_or_default());
                }
                b"acquire-by-hash" => {
                    release.is_by_hash = value().is_some_and(|v| v.eq_ignore_ascii_case("yes"));
                }
                _ => {}
            }
        }
        release.facts.name = label.or(origin);
        release.signed_by = fingerprints(&signers);
        Ok(release)
    }

    /// Takes a line `digest size path` of a hash list; returns size and path, where it is one.
    fn listed<'a>(
        &mut self,
        algorithm: Algorithm,
        line: &'a [u8],
        index_path: &str,
    ) -> Option<(u64, &'a str)> {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let (hex, size, named) = (words.next()?, words.next()?, words.next()?);
        let size = std::str::from_utf8(size).ok()?.parse().ok()?;
        if !algorithm.is_digest(hex) {
            return None;
        }
        let named = std::str::from_utf8(named).unwrap_or_default();
        let file = Some((size, named));
        let path = named.strip_prefix("./").unwrap_or(named);
        let suffix = path.strip_prefix(index_path);
        let Some(compression) = suffix.and_then(|it| Compression::of_suffix(it.as_bytes())) else {
            return file;
        };
        let hex = String::from_utf8_lossy(hex).to_ascii_lowercase();
        let listed = ListedFile { compression, size, digest: FileDigest { algorithm, hex } };
        match self.indexes.iter_mut().find(|index| index.compression == compression) {
            None => self.indexes.push(listed),
            Some(index) if index.digest.algorithm < algorithm => *index = listed,
            Some(_) => {}
        }
        file
    }
}

/// The keys of a Signed-By; none at all where one of them isn't a whole fingerprint, as to apt.
fn fingerprints(value: &[u8]) -> Vec<String> {
    let words = value.split(|byte| byte.is_ascii_whitespace() || *byte == b',');
    let keys: Option<Vec<String>> = words
        .filter(|word| !word.is_empty())
        .map(|word| {
            let hex = word.strip_suffix(b"!").unwrap_or(word);
            let is_one = [40, 64].contains(&hex.len()) && hex.iter().all(u8::is_ascii_hexdigit);
            is_one.then(|| String::from_utf8_lossy(word).to_ascii_uppercase())
        })
        .collect();
    keys.filter(|keys| keys.len() <= NEXT_SIGNERS_MAX).unwrap_or_default()
}

fn is_known(name: &[u8]) -> bool {
    ["Architectures", "Codename", "Components", "Date", "Description", "Label", "Origin", "Suite"]
        .iter()
        .any(|field| name.eq_ignore_ascii_case(field.as_bytes()))
}

/// A value as text that may stand in a message: as in a package row, cut to the longest free text.
fn clean(value: &[u8]) -> String {
    use canister_protocol::{limits::TEXT_BYTES_MAX, message::cut};
    cut(&line_text(value), TEXT_BYTES_MAX).to_owned()
}

/// Seconds since 1970 of a date as Release writes it, `Sat, 11 Jul 2026 10:16:37 UTC`, as HTTP does
/// (`GMT`), or with a numeric zone. The day of the week is not looked at. `None` for anything else,
/// and before 1970.
///
/// Spec: RFC 5322 §3.3; RFC 9110 §5.6.7.
pub fn date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let text = text.split_once(',').map_or(text, |(_, rest)| rest);
    let mut words = text.split_ascii_whitespace();
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?.to_ascii_lowercase();
    let month = MONTHS.iter().position(|name| month.starts_with(name))? as i64 + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':');
    let hour: i64 = clock.next()?.parse().ok()?;
    let minute: i64 = clock.next()?.parse().ok()?;
    let second: i64 = clock.next().map_or(Some(0), |second| second.parse().ok())?;
    let is_in_range = (1..=31).contains(&day)
        && (1970..=9999).contains(&year)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !is_in_range {
        return None;
    }
    let zone = match words.next() {
        None | Some("UTC" | "GMT" | "Z" | "UT") => 0,
        Some(zone) => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let digits = zone.strip_prefix(['+', '-'])?;
            let number: i64 = Some(digits).filter(|d| d.len() == 4)?.parse().ok()?;
            sign * (number / 100 * 3600 + number % 100 * 60)
        }
    };
    // Days since 1970, years beginning in March so that the leap day is the last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    u64::try_from(days * 86_400 + hour * 3600 + minute * 60 + second - zone).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "Origin: Example\nLabel: Example Repository\nSuite: stable\n\
        Version: 1.0\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nAcquire-By-Hash: yes\n\
        Description: a repository\nMD5Sum:\n \
        d41d8cd98f00b204e9800998ecf8427e 0 main/binary-amd64/Packages\n \
        4a4dd3598707603b3f76a2378a4504aa 20 main/binary-amd64/Packages.gz\nSHA256:\n \
        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855        0 main/binary-amd64/Packages\n \
        E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855 7 main/binary-arm64/Packages\n \
        short 20 main/binary-amd64/Packages.xz\n";

    fn read(text: &str) -> Release {
        let read = |input: &mut dyn BufRead| {
            Release::read(input, "main/binary-amd64/Packages", &mut SignedText::default())
        };
        let whole = read(&mut text.as_bytes()).unwrap();
        // However the input is cut.
        for size in [1, 2, 7] {
            let mut cut = io::BufReader::with_capacity(size, text.as_bytes());
            assert_eq!(read(&mut cut).unwrap(), whole);
        }
        whole
    }

    #[test]
    fn fields_and_the_wanted_index_are_found() {
        let release = read(PLAIN);
        assert!(release.is_by_hash && release.has_fields);
        assert_eq!(release.facts.name.as_deref(), Some("Example Repository"));
        assert_eq!(release.facts.version.as_deref(), Some("1.0"));
        assert_eq!(release.facts.date, Some(1_783_764_997));
        let found: Vec<_> = release
            .indexes
            .iter()
            .map(|index| (index.compression, index.size, index.digest.algorithm))
            .collect();
        assert_eq!(
            found,
            [(Compression::Plain, 0, Algorithm::Sha256), (Compression::Gz, 20, Algorithm::Md5)]
        );
        assert!(release.indexes[0].digest.to_string().starts_with("sha256:e3b0c442"));
    }

    #[test]
    fn only_what_is_signed_counts() {
        let signed = format!(
            "\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{PLAIN}- -----: x\n\
             -----BEGIN PGP SIGNATURE-----\nVersion: 2.0\nLabel: evil\n\nx\n\
             -----END PGP SIGNATURE-----\nOrigin: evil\n"
        );
        assert_eq!(read(&signed), read(PLAIN));
        assert_eq!(read(&format!("Label: evil\nSHA256:\n{signed}")), read(PLAIN));
        assert_eq!(read(&PLAIN.replace('\n', "\r\n")), read(PLAIN));
        assert_eq!(read(&PLAIN.replace("\nSHA256:", "\nSHA256")), read(PLAIN));
        assert_eq!(read(&PLAIN.replace(" main/binary-amd", " ./main/binary-amd")), read(PLAIN));
    }

    #[test]
    fn who_may_sign_the_next_one() {
        let (p, q, six) = ("1A".repeat(20), "2b".repeat(20), "3C".repeat(32));
        let upper = q.to_uppercase();
        let many = |count: usize| vec![&*p; count].join(",");
        for (value, keys) in [
            (p.clone(), vec![p.clone()]),
            (format!("{p}!"), vec![format!("{p}!")]),
            (format!("{p}, {q}"), vec![p.clone(), upper.clone()]),
            (format!("{p} ,\t,{six}"), vec![p.clone(), six]),
            (format!("\n {p},\n {q}!\nLabel: x"), vec![p.clone(), format!("{upper}!")]),
            // The first that says something.
            (format!("\nSigned-By: {p}\nSigned-By: {q}\n {q}"), vec![p.clone()]),
            (many(NEXT_SIGNERS_MAX), vec![p.clone(); NEXT_SIGNERS_MAX]),
            (many(NEXT_SIGNERS_MAX + 1), vec![]),
            (format!("\n {p}").repeat(9000), vec![]),
            (String::new(), vec![]),
            ("!".to_owned(), vec![]),
            (format!("{p}!!"), vec![]),
            (format!("{p}, 0123456789ABCDEF"), vec![]),
            (format!("0x{p}"), vec![]),
            (format!("{p}\n ."), vec![]),
            ("/usr/share/keyrings/some.gpg".to_owned(), vec![]),
        ] {
            let text = "Origin: a\nValid-Until: Thu, 01 Jan 1970 00:01:00 UTC\n";
            let release = read(&format!("{text}Signed-By: {value}\n"));
            assert_eq!(release.signed_by, keys, "{value}");
            let next = (!keys.is_empty()).then_some(NextSigners { keys, until: 60 });
            assert_eq!(release.next_signers(), next);
            // Without an end it says nothing, nor in front of what is signed.
            assert_eq!(read(&format!("Signed-By: {value}\n")).next_signers(), None);
            let front = format!(
                "{text}Signed-By: {value}\n-----BEGIN PGP SIGNED MESSAGE-----\n\n {p}\n{text}"
            );
            assert_eq!(read(&front).next_signers(), None);
        }
    }

    #[test]
    fn what_is_no_release_has_no_fields() {
        for text in
            ["", "\n\n", "<html>\n<p>Not found</p>\n</html>\n", "<a href='https://x'>\nstyle: x\n"]
        {
            assert!(!read(text).has_fields, "{text}");
        }
        let read = |start: &'static str| {
            let long = io::BufReader::new(start.as_bytes().chain(io::repeat(b'x')));
            Release::read(long, "Packages", &mut SignedText::default())
        };
        assert!(!read("").unwrap().has_fields && !read("<html>\n").unwrap().has_fields);
        assert!(read("Label: a\n").is_err());
    }

    #[test]
    fn dates() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", Some(0)),
            ("Sat, 11 Jul 2026 10:16:37 UTC", Some(1_783_764_997)),
            ("Sat, 11 Jul 2026 10:16:37 GMT", Some(1_783_764_997)),
            ("Sat, 11 Jul 2026 12:16:37 +0200", Some(1_783_764_997)),
            ("11 July 2026 05:16:37 -0500", Some(1_783_764_997)),
            ("Tue, 29 Feb 2000 23:59:59 +0000", Some(951_868_799)),
            ("Fri, 1 Mar 2100 0:00", Some(4_107_542_400)),
            ("Fri, 32 Mar 2100 0:00", None),
            ("Fri, 1 Foo 2100 0:00", None),
            ("2026-07-11T10:16:37Z", None),
            ("", None),
            ("Thu, 01 Jan 1970 00:00:00 +0100", None),
            ("Thu, 01 Jan 99999 00:00:00 UTC", None),
            ("Thu, 99999999999999999999 Jan 1970 00:00:00", None),
        ] {
            assert_eq!(date(text), seconds, "{text}");
        }
    }
}
