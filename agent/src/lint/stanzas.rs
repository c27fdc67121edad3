//! What is wrong with the stanzas of a package index: a function of each stanza, and of those before it.
//!
//! Spec: deb822(5), deb-control(5), deb-version(7); what dpkg takes is in its `lib/dpkg/parsehelp.c`.

use super::findings::{FindingKind, Findings, shown};
use crate::apt::package::{self, BorrowedRow, STANZAS_MAX, SkippedStanza};
use crate::apt::release::Algorithm;
use canister_link::words::meant;
use canister_protocol::limits::TEXT_BYTES_MAX;
use canister_protocol::row::is_forbidden;
use canister_stanza::{Field, OddLine, STANZA_BYTES_MAX, Stanza, StanzaError, StanzaReader};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Read;

/// Most spellings of field names that are remembered, and the longest that is compared, in bytes; of what
/// goes beyond nothing is said.
const NAMES_MAX: usize = 4096;
const NAME_BYTES_MAX: usize = 64;
/// Most fields of a stanza that nobody knows which are compared with each other.
const UNKNOWN_MAX: usize = 64;

/// What a field is looked at for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FieldRole {
    Architecture,
    Digest(Algorithm),
    Filename,
    InstalledSize,
    Link,
    Other,
    Package,
    Size,
    Version,
}

/// The fields that package indexes have: dpkg's, apt's, those of archives, those of devices' clients.
const KNOWN: &[(&str, FieldRole)] = &[
    ("Architecture", FieldRole::Architecture),
    ("Depiction", FieldRole::Link),
    ("Filename", FieldRole::Filename),
    ("Header", FieldRole::Link),
    ("Icon", FieldRole::Link),
    ("Installed-Size", FieldRole::InstalledSize),
    ("MD5sum", FieldRole::Digest(Algorithm::Md5)),
    ("Native-Depiction", FieldRole::Link),
    ("Package", FieldRole::Package),
    ("SHA1", FieldRole::Digest(Algorithm::Sha1)),
    ("SHA256", FieldRole::Digest(Algorithm::Sha256)),
    ("SHA512", FieldRole::Digest(Algorithm::Sha512)),
    ("SileoDepiction", FieldRole::Link),
    ("Size", FieldRole::Size),
    ("Version", FieldRole::Version),
    ("Author", FieldRole::Other),
    ("Auto-Built-Package", FieldRole::Other),
    ("Breaks", FieldRole::Other),
    ("Bugs", FieldRole::Other),
    ("Build-Essential", FieldRole::Other),
    ("Build-Ids", FieldRole::Other),
    ("Built-Using", FieldRole::Other),
    ("Cnf-Extra-Commands", FieldRole::Other),
    ("Cnf-Visible-Pkgname", FieldRole::Other),
    ("Conffiles", FieldRole::Other),
    ("Conflicts", FieldRole::Other),
    ("Depends", FieldRole::Other),
    ("Description", FieldRole::Other),
    ("Description-md5", FieldRole::Other),
    ("Enhances", FieldRole::Other),
    ("Essential", FieldRole::Other),
    ("Funding", FieldRole::Other),
    ("Ghc-Package", FieldRole::Other),
    ("Go-Import-Path", FieldRole::Other),
    ("Homepage", FieldRole::Other),
    ("Important", FieldRole::Other),
    ("License", FieldRole::Other),
    ("Maintainer", FieldRole::Other),
    ("Multi-Arch", FieldRole::Other),
    ("Name", FieldRole::Other),
    ("Origin", FieldRole::Other),
    ("Original-Maintainer", FieldRole::Other),
    ("Phased-Update-Percentage", FieldRole::Other),
    ("Pre-Depends", FieldRole::Other),
    ("Priority", FieldRole::Other),
    ("Protected", FieldRole::Other),
    ("Provides", FieldRole::Other),
    ("Python-Version", FieldRole::Other),
    ("Recommends", FieldRole::Other),
    ("Replaces", FieldRole::Other),
    ("Ruby-Versions", FieldRole::Other),
    ("Section", FieldRole::Other),
    ("Source", FieldRole::Other),
    ("Sponsor", FieldRole::Other),
    ("Static-Built-Using", FieldRole::Other),
    ("Status", FieldRole::Other),
    ("Suggests", FieldRole::Other),
    ("Tag", FieldRole::Other),
    ("Task", FieldRole::Other),
    ("Tint-Color", FieldRole::Other),
    ("Vendor", FieldRole::Other),
];
// The fields that a stanza has are a bit each.
const _: () = assert!(KNOWN.len() <= 64);

/// The architectures that dpkg and the bootstraps of devices know. Of `hurd-i386` and its like those
/// that archives have.
const ARCHITECTURES: &[&str] = &[
    "all",
    "alpha",
    "amd64",
    "appletvos-arm64",
    "arc",
    "arm",
    "arm64",
    "armel",
    "armhf",
    "audioos-arm64",
    "bridgeos-arm64",
    "cydia",
    "darwin-amd64",
    "darwin-arm",
    "darwin-arm64",
    "hppa",
    "hurd-amd64",
    "hurd-i386",
    "i386",
    "ia64",
    "iphoneos-arm",
    "iphoneos-arm64",
    "iphoneos-arm64e",
    "kfreebsd-amd64",
    "kfreebsd-i386",
    "loong64",
    "m68k",
    "mips",
    "mips64el",
    "mipsel",
    "musl-linux-amd64",
    "musl-linux-arm64",
    "powerpc",
    "ppc64",
    "ppc64el",
    "riscv64",
    "s390x",
    "sh4",
    "sparc",
    "sparc64",
    "watchos-arm",
    "watchos-arm64",
    "watchos-arm64-32",
    "x32",
];

/// A spelling of a field's name.
struct Spelling {
    name: Vec<u8>,
    /// Its place in [`KNOWN`].
    known: Option<usize>,
    /// What to write instead.
    instead: Option<String>,
    /// The place of the one that stood behind it last: of one stanza after the other, the next most often.
    next: usize,
}

/// The spellings of field names that an index has, each once.
#[derive(Default)]
struct Spellings {
    all: Vec<Spelling>,
    places: HashMap<Vec<u8>, usize>,
    /// The place of the last that was asked for.
    last: usize,
}

impl Spellings {
    /// That of a name, unless there are too many, or it is too long.
    fn of(&mut self, name: &[u8]) -> Option<&Spelling> {
        let next = self.all.get(self.last).map_or(0, |last| last.next);
        let place = match self.all.get(next) {
            Some(guessed) if guessed.name == name => next,
            _ => {
                let place = self.place(name)?;
                if let Some(last) = self.all.get_mut(self.last) {
                    last.next = place;
                }
                place
            }
        };
        self.last = place;
        self.all.get(place)
    }

    fn place(&mut self, name: &[u8]) -> Option<usize> {
        if let Some(place) = self.places.get(name) {
            return Some(*place);
        }
        if self.all.len() == NAMES_MAX || name.len() > NAME_BYTES_MAX {
            return None;
        }
        let place = self.all.len();
        self.all.push(spelled(name, KNOWN.iter().map(|(name, _)| *name)));
        self.places.insert(name.to_owned(), place);
        Some(place)
    }
}

/// The checks of one package index. What it remembers of it is 16 bytes a stanza.
struct StanzaChecks {
    /// The architecture of the index, where it has one.
    architecture: Option<String>,
    /// Of each stanza that gave a row: package, version and architecture, and its line. None where that is
    /// too much to remember.
    seen: Option<HashMap<u64, u32>>,
    packages: u64,
    hasher: RandomState,
    spellings: Spellings,
    has_crlf: bool,
}

/// What of a stanza is to be compared with the files beside the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebListed<'a> {
    pub line: u64,
    pub path: &'a str,
    pub bytes: Option<u64>,
}

/// The same before anybody asks for its line.
struct DebFound<'a> {
    field: Field<'a>,
    path: &'a str,
    bytes: Option<u64>,
}

/// Why a file couldn't be read to its end.
#[derive(Debug)]
pub struct NotRead {
    /// From 1; 0 if it is no matter of a line.
    pub line: u64,
    pub why: String,
}

impl NotRead {
    /// It is no matter of a line.
    pub fn of(why: impl ToString) -> Self {
        Self { line: 0, why: why.to_string() }
    }
}

/// Reads a package index to its end and tells what is wrong with its stanzas; `deb` is given the file of
/// each that names one below the repository. Gives the input back, and how many stanzas have what
/// clients need.
///
/// # Errors
/// [`NotRead`].
pub fn check_index<R: Read>(
    input: R,
    architecture: Option<&str>,
    findings: &mut Findings,
    mut deb: impl FnMut(&DebListed<'_>, &mut Findings),
) -> Result<(R, u64), NotRead> {
    let mut reader = StanzaReader::new(input);
    let mut checks = StanzaChecks::new(architecture, Some(HashMap::new()));
    let (mut stanzas, mut odd) = (0_u64, 0_u64);
    loop {
        let is_end = match reader.read() {
            Ok(Some(stanza)) => {
                let text = package::text(stanza.bytes());
                let row = package::row_of(&stanza, text);
                let found = checks.check(&stanza, &row, text.is_some(), findings);
                if let Some(DebFound { field, path, bytes }) = found {
                    deb(&DebListed { line: stanza.line_of(&field), path, bytes }, findings);
                }
                stanzas += 1;
                false
            }
            Ok(None) => true,
            Err(StanzaError::TooLong { line }) => {
                let why = format!("stanza longer than {STANZA_BYTES_MAX} bytes");
                return Err(NotRead { line, why });
            }
            Err(StanzaError::Read(cause)) => return Err(NotRead::of(cause)),
        };
        for (line, why) in reader.odd_lines() {
            odd += 1;
            let (kind, text) = odd_line(why);
            findings.tell(kind, line, text);
        }
        if stanzas > STANZAS_MAX {
            return Err(NotRead::of(format!("more than {STANZAS_MAX} stanzas")));
        }
        if is_end {
            break;
        }
    }
    if checks.packages == 0 {
        let (kind, why) = match stanzas + odd {
            0 => (FindingKind::IndexEmpty, "nothing in it: a repository without packages"),
            _ => (FindingKind::NoPackage, "no package in it: is it a package index?"),
        };
        findings.tell(kind, 0, why);
    }
    Ok((reader.into_inner(), checks.packages))
}

/// What is odd in a package index while it is read for the catalogue, for its owner: what lint says of its
/// stanzas, but for repeated ones and notes.
pub struct IndexNotes {
    checks: StanzaChecks,
    findings: Findings,
}

impl IndexNotes {
    /// Of an index of this architecture; in a flat layout it has none.
    pub fn new(architecture: Option<&str>) -> Self {
        Self { checks: StanzaChecks::new(architecture, None), findings: Findings::default() }
    }

    /// Looks at the next stanza, and at the row that it gave; whether all its bytes are
    /// [text](package::text) is known by then.
    pub fn stanza(
        &mut self,
        stanza: &Stanza<'_>,
        row: &Result<BorrowedRow<'_>, SkippedStanza>,
        is_text: bool,
    ) {
        let before = self.findings.kept();
        self.checks.check(stanza, row, is_text, &mut self.findings);
        if self.findings.kept() > before
            && let Some(name) = stanza.get("Package")
        {
            self.findings.are_of(before, &shown(name));
        }
    }

    /// A line each, the worst first, and how many more there are: at most [`TEXT_BYTES_MAX`] bytes. None if
    /// nothing is odd.
    pub fn told(mut self, odd: impl Iterator<Item = (u64, OddLine)>) -> Option<String> {
        for (line, why) in odd {
            let (kind, text) = odd_line(why);
            self.findings.tell(kind, line, text);
        }
        self.findings.lines(TEXT_BYTES_MAX)
    }
}

/// What is said of a line that the reader passed over, or looked at twice.
const fn odd_line(why: OddLine) -> (FindingKind, &'static str) {
    match why {
        OddLine::Blanks => (
            FindingKind::LineOfBlanks,
            "a line of blanks in a stanza: some clients end it here; write \" .\", or nothing",
        ),
        OddLine::FieldOver => {
            (FindingKind::FieldsTooMany, "one field too many for a stanza, passed over")
        }
        OddLine::Mark => (FindingKind::ByteOrderMark, MARK),
        OddLine::StrayContinuation => {
            (FindingKind::StrayContinuation, "a line begins with a blank and continues no field")
        }
        OddLine::WithoutColon => (
            FindingKind::LineWithoutColon,
            "a line without a colon; begin it with a blank to continue the field above",
        ),
    }
}

impl StanzaChecks {
    /// The checks of an index of this architecture; in a flat layout it has none.
    fn new(architecture: Option<&str>, seen: Option<HashMap<u64, u32>>) -> Self {
        Self {
            architecture: architecture.map(str::to_owned),
            seen,
            packages: 0,
            hasher: RandomState::new(),
            spellings: Spellings::default(),
            has_crlf: false,
        }
    }

    /// Tells what is wrong with a stanza, and with its bytes where not all of them are [text](package::text);
    /// returns the file that it names, if it is one below the
    /// repository.
    fn check<'a>(
        &mut self,
        stanza: &Stanza<'a>,
        row: &Result<BorrowedRow<'_>, SkippedStanza>,
        is_text: bool,
        findings: &mut Findings,
    ) -> Option<DebFound<'a>> {
        if !is_text {
            for (number, line) in stanza.lines() {
                line_bytes(number, line, &mut self.has_crlf, findings);
            }
        }
        let (mut had, mut unknown) = (0_u64, Vec::new());
        let (mut deb, mut size) = (None, None);
        let (mut has_filename, mut has_size) = (false, false);
        let (mut strong, mut weak) = (false, false);
        for field in stanza.fields() {
            let line = || stanza.line_of(&field);
            let (name, value) = (field.name, field.value);
            let (known, instead) = match self.spellings.of(name) {
                Some(spelling) => (spelling.known, spelling.instead.as_deref()),
                None => (place_in_known(name), None),
            };
            if let Some(instead) = instead {
                let kind = FindingKind::FieldMisspelt;
                findings.tell(kind, line(), format!("{}{instead}", shown(name)));
            }
            let is_again = match known {
                Some(known) => {
                    let is_again = had & 1 << known != 0;
                    had |= 1 << known;
                    is_again
                }
                None => {
                    let is_it = |other: &&[u8]| name.eq_ignore_ascii_case(other);
                    let is_again = unknown.iter().any(is_it);
                    if !is_again && unknown.len() < UNKNOWN_MAX {
                        unknown.push(name);
                    }
                    is_again
                }
            };
            if is_again {
                let why = format!("{} stands twice; leave one", shown(name));
                findings.tell(FindingKind::FieldRepeated, line(), why);
                continue;
            }
            let mut tell = |kind, text: String| findings.tell(kind, line(), text);
            let role = known.map_or(FieldRole::Other, |known| KNOWN[known].1);
            has_filename |= role == FieldRole::Filename && !value.is_empty();
            match role {
                FieldRole::Architecture => {
                    if let Some(why) = self.unreadable(value) {
                        tell(FindingKind::ArchitectureUnreadable, why);
                    }
                }
                FieldRole::Digest(algorithm) => {
                    let is_strong = algorithm >= Algorithm::Sha256;
                    strong |= is_strong;
                    weak |= !is_strong;
                    if !algorithm.is_digest(value) {
                        let digits = algorithm.hex_digits();
                        let name = KNOWN[known.unwrap_or_default()].0;
                        let why = format!("{name} {} isn't {digits} hex digits", shown(value));
                        tell(FindingKind::DigestInvalid, why);
                    }
                }
                FieldRole::Filename => match std::str::from_utf8(value) {
                    Ok(path) if !is_outside(path) => deb = Some((field.clone(), path)),
                    _ if value.is_empty() => had &= !(1 << known.unwrap_or_default()),
                    _ => {
                        let why = format!(
                            "Filename {} isn't a path below the repository; write one without \
                             a / in front, .. and a scheme",
                            shown(value)
                        );
                        tell(FindingKind::FilenameOutside, why);
                    }
                },
                FieldRole::InstalledSize => {
                    if number(value).is_none() {
                        let why = format!(
                            "Installed-Size {} is no number; write KiB, digits alone",
                            shown(value)
                        );
                        tell(FindingKind::InstalledSizeInvalid, why);
                    }
                }
                FieldRole::Link => {
                    let scheme = value.get(..7).unwrap_or_default();
                    if scheme.eq_ignore_ascii_case(b"http://") {
                        let name = KNOWN[known.unwrap_or_default()].0;
                        let why = format!("{name} {} is on plain http; use https", shown(value));
                        tell(FindingKind::LinkInsecure, why);
                    }
                }
                FieldRole::Package => {
                    if let Some(why) = package_invalid(value) {
                        tell(
                            FindingKind::PackageInvalid,
                            format!("Package {} {why}", shown(value)),
                        );
                    }
                }
                FieldRole::Size => {
                    has_size = true;
                    size = number(value).filter(|size| *size > 0);
                    if size.is_none() {
                        let why = format!("Size {} is no number of bytes", shown(value));
                        tell(FindingKind::SizeInvalid, why);
                    }
                }
                FieldRole::Version => {
                    if let Some(why) = version_invalid(value) {
                        tell(
                            FindingKind::VersionInvalid,
                            format!("Version {}: {why}", shown(value)),
                        );
                    }
                }
                FieldRole::Other => {}
            }
        }
        let mut tell = |kind, text: &str| findings.tell(kind, stanza.line, text);
        match row {
            Ok(row) => {
                self.packages += 1;
                let key = (&*row.package_id, &*row.version, &*row.architecture);
                let line = u32::try_from(stanza.line).unwrap_or(u32::MAX);
                let hasher = &self.hasher;
                let seen = self.seen.as_mut();
                if let Some(first) = seen.and_then(|seen| seen.insert(hasher.hash_one(key), line)) {
                    let why = format!(
                        "{} {} for {} stands on line {first} already; leave one",
                        shown(key.0.as_bytes()),
                        shown(key.1.as_bytes()),
                        shown(key.2.as_bytes())
                    );
                    tell(FindingKind::StanzaRepeated, &why);
                }
            }
            Err(SkippedStanza::Without(_)) => {
                for name in ["Package", "Version", "Architecture"] {
                    if stanza.get(name).is_none_or(<[u8]>::is_empty) {
                        let why = format!("stanza without {name}: clients pass it over");
                        tell(FindingKind::FieldMissing, &why);
                    }
                }
                return None;
            }
            Err(why) => tell(FindingKind::StanzaTooLong, &why.to_string()),
        }
        if !has_filename {
            tell(FindingKind::FilenameMissing, "stanza without Filename: nobody can download it");
        }
        if !has_size {
            tell(FindingKind::SizeMissing, "stanza without Size; write the deb's bytes");
        }
        if !strong {
            let (kind, what) = match weak {
                true => (FindingKind::DigestWeak, "with MD5sum or SHA1 alone"),
                false => (FindingKind::DigestMissing, "without a digest of its deb"),
            };
            tell(kind, &format!("stanza {what}; add SHA256"));
        }
        deb.map(|(field, path)| DebFound { field, path, bytes: size })
    }

    fn unreadable(&self, value: &[u8]) -> Option<String> {
        let name = std::str::from_utf8(value).unwrap_or_default();
        if let Some(own) = self.architecture.as_deref()
            && name != own
            && ![own, "all", ""].contains(&name)
        {
            return Some(format!(
                "Architecture {}, and this index is binary-{own}: clients pass it over",
                shown(value)
            ));
        }
        let is_known = name.is_empty()
            || ARCHITECTURES.contains(&name)
            || self.architecture.as_deref() == Some(name);
        (!is_known).then(|| {
            let instead = meant(name, ARCHITECTURES.iter().copied());
            format!("Architecture {} is none that clients know{instead}", shown(value))
        })
    }
}

/// What is said of a byte order mark.
pub(super) const MARK: &str =
    "a byte order mark: apt takes it for a part of the field's name; save without it";

/// Tells what is wrong with the bytes of a line of an index or a Release.
pub(super) fn line_bytes(number: u64, line: &[u8], has_crlf: &mut bool, findings: &mut Findings) {
    if line.ends_with(b"\r") && !std::mem::replace(has_crlf, true) {
        let why = "lines end in CR LF: apt finds no stanza; write LF alone";
        findings.tell(FindingKind::Crlf, number, why);
    }
    let line = line.trim_ascii_end();
    if std::str::from_utf8(line).is_err() {
        let why = "a line that isn't UTF-8: it is read as Latin-1; save as UTF-8";
        findings.tell(FindingKind::NotUtf8, number, why);
    }
    if String::from_utf8_lossy(line).chars().any(is_forbidden) {
        let why = "a control character, which is dropped; leave it out";
        findings.tell(FindingKind::ControlCharacter, number, why);
    }
}

/// Which of the known names it is, and what to write instead, if anything.
pub(super) fn misspelt(name: &[u8], known: &[&str]) -> Option<String> {
    spelled(name, known.iter().copied()).instead
}

fn spelled<'a>(name: &[u8], known: impl Iterator<Item = &'a str> + Clone) -> Spelling {
    let is_it = |it: &str| it.as_bytes().eq_ignore_ascii_case(name);
    let at = known.clone().position(is_it);
    let is_own = |name: &[u8]| {
        name.first().is_some_and(|it| b"Xx".contains(it)) && name.get(1) == Some(&b'-')
    };
    let instead = match at.and_then(|at| known.clone().nth(at)) {
        // Of digests every spelling is in use.
        Some(right)
            if right.as_bytes() == name
                || right.ends_with(|it: char| it.is_ascii_digit())
                || right.starts_with("MD5") =>
        {
            None
        }
        Some(right) => Some(format!("; did you mean {right}? Some clients compare case")),
        None if is_own(name) => None,
        None => {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            // Without case: which letters are capitals is no part of how far it is.
            let lower: Vec<_> = known.clone().map(str::to_ascii_lowercase).collect();
            let said = meant(&name, lower.iter().map(String::as_str));
            let right = lower.iter().position(|it| said == format!("; did you mean {it}?"));
            right.and_then(|at| known.clone().nth(at)).map(|it| format!("; did you mean {it}?"))
        }
    };
    Spelling { name: name.to_owned(), known: at, instead, next: 0 }
}

/// Its place in [`KNOWN`], whatever its case.
fn place_in_known(name: &[u8]) -> Option<usize> {
    KNOWN.iter().position(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn is_outside(path: &str) -> bool {
    path.is_empty()
        || path.starts_with('/')
        || path.contains("://")
        || path.contains("..") && path.split('/').any(|step| step == "..")
}

/// What dpkg has against a package's name.
fn package_invalid(name: &[u8]) -> Option<&'static str> {
    let (first, rest) = name.split_first()?;
    if !first.is_ascii_alphanumeric() {
        return Some("begins with neither a letter nor a digit");
    }
    let is_right = |byte: &u8| byte.is_ascii_alphanumeric() || b"-+._".contains(byte);
    (!rest.iter().all(is_right)).then_some("has other characters than letters, digits and - + . _")
}

/// What dpkg has against a version.
fn version_invalid(version: &[u8]) -> Option<&'static str> {
    if version.is_empty() {
        return None;
    }
    if version.iter().any(u8::is_ascii_whitespace) {
        return Some("a version has no blanks");
    }
    let rest = match version.iter().position(|byte| *byte == b':') {
        Some(colon) => {
            let epoch = &version[..colon];
            if number(epoch).is_none_or(|epoch| epoch > i32::MAX as u64) {
                return Some("what stands before the colon, the epoch, must be a number");
            }
            &version[colon + 1..]
        }
        None => version,
    };
    let (upstream, revision) = match rest.iter().rposition(|byte| *byte == b'-') {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    let of = |text: &[u8], more: &[u8]| {
        text.iter().all(|byte| byte.is_ascii_alphanumeric() || more.contains(byte))
    };
    if !upstream.first().is_some_and(u8::is_ascii_digit) {
        return Some("it must begin with a digit");
    }
    if !of(upstream, b".-+~:") {
        return Some("it may have letters, digits and . + - ~ :");
    }
    match revision {
        Some(b"") => Some("nothing stands behind the last -"),
        Some(revision) if !of(revision, b".+~") => {
            Some("what stands behind the last - may have letters, digits and . + ~")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in an index: kinds and lines, in the order of lines.
    fn found(index: &[u8], architecture: Option<&str>) -> Vec<(&'static str, u64)> {
        let mut findings = Findings::default();
        check_index(index, architecture, &mut findings, |_, _| {}).unwrap();
        findings.told().into_iter().map(|it| (it.kind.name(), it.line)).collect()
    }

    const DIGEST: &str = "0123456701234567012345670123456701234567012345670123456701234567";

    /// A stanza that nothing is wrong with, of seven lines and an empty one.
    fn clean(name: &str) -> String {
        format!(
            "Package: {name}\nVersion: 1:2.0~beta-1+b2\nArchitecture: iphoneos-arm64\n\
             Filename: ./debs/a.deb\nSize: 7\nSHA256: {DIGEST}\nDescription: d\n long\n .\n"
        )
    }

    #[test]
    fn of_a_clean_stanza_nothing_is_said() {
        let many = format!(
            "{}MD5sum: {}\nInstalled-Size: 5\nX-Anything: 1\nIcon: https://x\n\
             Depiction: file:///x\nHomepage: http://x\n\n{}",
            clean("a"),
            &DIGEST[..32],
            clean("b")
        );
        assert_eq!(found(many.as_bytes(), None), []);
        assert_eq!(found(b"", None), [("index-empty", 0)]);
        assert_eq!(found(clean("a").as_bytes(), Some("iphoneos-arm64")), []);
        let other = clean("a").replace("iphoneos-arm64", "machine-of-mine");
        assert_eq!(found(other.as_bytes(), Some("machine-of-mine")), []);
    }

    #[test]
    fn each_oddity_is_told_with_its_line() {
        let with = |lines: &str| format!("{}{lines}\n", clean("a"));
        let but = |from: &str, to: &str| clean("a").replacen(from, to, 1);
        let without = |line: &str| but(&format!("{line}\n"), "");
        let size = "Size: 7";
        let digest = format!("SHA256: {DIGEST}");
        let file = "Filename: ./debs/a.deb";
        for (index, expected) in [
            (
                with("auhtor: x\nTags: x\nname: y"),
                &[("field-misspelt", 10), ("field-misspelt", 11), ("field-misspelt", 12)][..],
            ),
            (but("Filename", "FileName"), &[("field-misspelt", 4)]),
            (but("Filename", "Filenmae"), &[("filename-missing", 1), ("field-misspelt", 4)]),
            (with("Version: 2"), &[("field-repeated", 10)]),
            (with("Mine: 2\nmine: 3"), &[("field-repeated", 11)]),
            (with("no colon"), &[("line-without-colon", 10)]),
            (with("Author: \u{1}x"), &[("control-character", 10)]),
            (but(" .\n", " \n more\n"), &[("line-of-blanks", 9)]),
            (format!(" stray\n{}", clean("a")), &[("stray-continuation", 1)]),
            (format!("# a comment\n\n\u{feff}{}", clean("a")), &[("byte-order-mark", 3)]),
            (clean("a").replace('\n', "\r\n"), &[("crlf", 1)]),
            (without("Package: a"), &[("no-package", 0), ("field-missing", 1)]),
            (
                but("Version: 1:2.0~beta-1+b2", "Version:"),
                &[("no-package", 0), ("field-missing", 1)],
            ),
            (format!("{}\nFoo: bar\n", clean("a")), &[("field-missing", 11); 3]),
            ("<html>\n".to_owned(), &[("no-package", 0), ("line-without-colon", 1)]),
            (but("Package: a", "Package: a b"), &[("package-invalid", 1)]),
            (but("Version: 1:2.0~beta-1+b2", "Version: v1"), &[("version-invalid", 2)]),
            (but("Package: a", "Package: -a"), &[("package-invalid", 1)]),
            (but("iphoneos-arm64", "iphoneos-arm46"), &[("architecture-unreadable", 3)]),
            (without(file), &[("filename-missing", 1)]),
            (but(file, "Filename:"), &[("filename-missing", 1)]),
            (but(file, "Filename: /etc/a.deb"), &[("filename-outside", 4)]),
            (but(file, "Filename: debs/../../a.deb"), &[("filename-outside", 4)]),
            (but(file, "Filename: https://x/a.deb"), &[("filename-outside", 4)]),
            (without(size), &[("size-missing", 1)]),
            (but(size, "Size: x7"), &[("size-invalid", 5)]),
            (but(size, "Size: 0"), &[("size-invalid", 5)]),
            (but(size, "Size:"), &[("size-invalid", 5)]),
            (with("Installed-Size: 5 KB"), &[("installed-size-invalid", 10)]),
            (without(&digest), &[("digest-missing", 1)]),
            (but(&digest, &format!("MD5sum: {}", &DIGEST[..32])), &[("digest-weak", 1)]),
            (but(&digest, "SHA256: abc"), &[("digest-invalid", 6)]),
            (with("MD5sum: abc"), &[("digest-invalid", 10)]),
            (with("Icon: HTTP://x/a.png"), &[("link-insecure", 10)]),
            (
                with("SileoDepiction: http://x\nHeader: http://y"),
                &[("link-insecure", 10), ("link-insecure", 11)],
            ),
            (format!("{0}\n{1}\n{0}", clean("a"), clean("b")), &[("stanza-repeated", 21)]),
            (
                with(&format!("Tag: {}", "x,".repeat(5000))),
                &[("no-package", 0), ("stanza-too-long", 1)],
            ),
        ] {
            assert_eq!(found(index.as_bytes(), None), expected, "{index}");
        }
        let amd64 = clean("a").replace("iphoneos-arm64", "amd64");
        assert_eq!(found(amd64.as_bytes(), Some("arm64")), [("architecture-unreadable", 3)]);
        let latin = [clean("a").as_bytes(), b"Author: caf\xe9\n"].concat();
        assert_eq!(found(&latin, None), [("not-utf8", 10)]);
        let many = with(&(0..1020).map(|n| format!("M{n}x{n}: 1\n")).collect::<String>());
        let over = found(many.as_bytes(), None);
        assert_eq!(over, [1027, 1028, 1029].map(|line| ("fields-too-many", line)));
    }

    #[test]
    fn versions_are_what_dpkg_takes() {
        for (version, is_right) in [
            ("1", true),
            ("0.1~2+b-3.4~5", true),
            ("1:2:3-4", true),
            ("1-2-3", true),
            ("", true),
            ("not a version!", false),
            ("v1", false),
            (":1", false),
            ("x:1", false),
            ("4294967296:1", false),
            ("1:", false),
            ("1-", false),
            ("1_2", false),
            ("1-2_3", false),
            ("1,2", false),
            ("1é", false),
        ] {
            assert_eq!(version_invalid(version.as_bytes()).is_none(), is_right, "{version}");
        }
    }

    #[test]
    fn a_known_name_is_like_no_other() {
        for (name, _) in KNOWN {
            assert!(spelled(name.as_bytes(), KNOWN.iter().map(|it| it.0)).instead.is_none());
        }
        let names: Vec<_> = KNOWN.iter().map(|(name, _)| *name).collect();
        let architectures = ARCHITECTURES.iter().collect::<Vec<_>>();
        assert!(architectures.is_sorted());
        // What archives have besides, and no test of a real one met.
        for name in ["Moderation", "Support", "Dev", "Package-Type", "Description-en", "Orig"] {
            assert_eq!(misspelt(name.as_bytes(), &names), None, "{name}");
        }
    }
}
