//! What is wrong with an InRelease or a Release: a function of its lines and of the time.
//!
//! Spec: <https://wiki.debian.org/DebianRepository/Format>, "Release files".

use super::findings::{FindingKind, Findings, counted, shown};
use super::stanzas::{MARK, line_bytes, misspelt};
use crate::apt::release::{Algorithm, Release, ReleaseLine, Says};
use canister_openpgp::SignedText;
use canister_stanza::BYTE_ORDER_MARK;
use std::io::{self, BufRead};

/// How far in the future a Date may lie, in seconds: clocks differ.
const SKEW_SECS_MAX: u64 = 600;
/// Most fields whose lines are remembered.
const FIELDS_MAX: usize = 256;

/// The fields that Releases have.
const KNOWN: &[&str] = &[
    "Acquire-By-Hash",
    "Architectures",
    "ButAutomaticUpgrades",
    "Changelogs",
    "Codename",
    "Components",
    "Date",
    "Description",
    "Label",
    "MD5Sum",
    "No-Support-for-Architecture-all",
    "NotAutomatic",
    "Origin",
    "Packages-Require-Authorization",
    "Payment-Gateway",
    "SHA1",
    "SHA256",
    "SHA512",
    "Signed-By",
    "Snapshots",
    "Suite",
    "Valid-Until",
    "Version",
];

/// A Release that was read, and what its lines said.
#[derive(Debug, Default)]
pub struct ReleaseRead {
    pub release: Release,
    /// Whether it is a clear-signed text with a signature behind it.
    pub is_signed: bool,
    /// Fields in lower case and their first lines.
    fields: Vec<(Vec<u8>, u64)>,
    /// The values of Architectures.
    architectures: Option<String>,
    /// Files that are listed, whatever they are.
    listed: u64,
    /// The lines that list the wanted index, by its compressions.
    index_lines: Vec<(String, Algorithm, u64)>,
}

impl ReleaseRead {
    /// Reads a Release to its end, and tells what is wrong with its lines.
    ///
    /// # Errors
    /// As [`Release::read`].
    pub fn read(
        input: impl BufRead,
        index_path: &str,
        findings: &mut Findings,
    ) -> io::Result<Self> {
        let (mut read, mut has_crlf) = (Self::default(), false);
        let signed = &mut SignedText::default();
        read.release = Release::read_by_line(input, index_path, signed, |line| {
            read.line(&line, index_path, &mut has_crlf, findings);
        })?;
        Ok(read)
    }

    fn line(
        &mut self,
        line: &ReleaseLine<'_>,
        index_path: &str,
        has_crlf: &mut bool,
        findings: &mut Findings,
    ) {
        let number = line.number;
        if number == 1 && line.bytes.starts_with(BYTE_ORDER_MARK) {
            findings.tell(FindingKind::ByteOrderMark, number, MARK);
        }
        line_bytes(
            number,
            line.bytes.strip_suffix(b"\n").unwrap_or(line.bytes),
            has_crlf,
            findings,
        );
        match line.says {
            Says::Field { name, value } => {
                if let Some(instead) = misspelt(name, KNOWN) {
                    let why = format!("{}{instead}", shown(name));
                    findings.tell(FindingKind::FieldMisspelt, number, why);
                }
                let lower = name.to_ascii_lowercase();
                if self.line_of(&lower).is_some() {
                    let why = format!("{} stands twice; leave one", shown(name));
                    findings.tell(FindingKind::FieldRepeated, number, why);
                    return;
                }
                if lower == b"architectures" {
                    self.architectures = Some(String::from_utf8_lossy(value).into_owned());
                }
                if self.fields.len() < FIELDS_MAX {
                    self.fields.push((lower, number));
                }
            }
            Says::Listed { algorithm, file: Some((_, path)) } => {
                self.listed += 1;
                let path = path.strip_prefix("./").unwrap_or(path);
                let is_it = path.strip_prefix(index_path).is_some_and(|it| !it.contains('/'));
                if is_it && self.index_lines.len() < FIELDS_MAX {
                    self.index_lines.push((path.to_owned(), algorithm, number));
                }
            }
            Says::Listed { file: None, .. } => {
                let why = "not a digest, a size and a path: apt refuses the whole Release";
                findings.tell(FindingKind::ListLineUnreadable, number, why);
            }
            Says::Misplaced => {
                let why =
                    "a hash list that has lost its colon, or a line of one its blank in front";
                findings.tell(FindingKind::ListLineUnreadable, number, why);
            }
            Says::Odd => {
                let why = "a line without a colon";
                findings.tell(FindingKind::LineWithoutColon, number, why);
            }
            Says::Signature => self.is_signed = true,
            Says::Nothing => {}
        }
    }

    /// Tells what is wrong with what it says, at a time in seconds since 1970. `architecture` is the
    /// index's.
    pub fn check(&self, architecture: Option<&str>, now: u64, findings: &mut Findings) {
        let Self { release, .. } = self;
        let line_of = |name: &[u8]| self.line_of(name);
        let mut tell = |kind, line: Option<u64>, text: &str| {
            findings.tell(kind, line.unwrap_or(0), text);
        };
        match (release.facts.date, line_of(b"date")) {
            (Some(date), line) if date > now + SKEW_SECS_MAX => {
                tell(
                    FindingKind::DateFuture,
                    line,
                    "Date is in the future: apt refuses it until then",
                );
            }
            (Some(_), _) => {}
            (None, None) => {
                tell(FindingKind::DateMissing, None, "no Date; write one as `date -Ru` does")
            }
            (None, line) => tell(
                FindingKind::DateUnreadable,
                line,
                "Date isn't like Sat, 11 Jul 2026 10:16:37 UTC",
            ),
        }
        match (release.valid_until, line_of(b"valid-until")) {
            (Some(until), line) if until < now => tell(
                FindingKind::ValidUntilPast,
                line,
                "Valid-Until is past: apt refuses it; build Release again, and regularly",
            ),
            (Some(_), _) => {}
            (None, None) => tell(
                FindingKind::ValidUntilMissing,
                None,
                "no Valid-Until: who stands between can serve an old state for ever",
            ),
            (None, line) => tell(
                FindingKind::ValidUntilUnreadable,
                line,
                "Valid-Until isn't like Sat, 11 Jul 2026 10:16:37 UTC",
            ),
        }
        if release.facts.name.is_none() {
            tell(
                FindingKind::NameMissing,
                None,
                "neither Label nor Origin: it has no name in clients",
            );
        }
        if let (Some(own), Some(all)) = (architecture, &self.architectures)
            && !all.split_ascii_whitespace().any(|it| it == own)
        {
            let why = format!("Architectures hasn't {own}: apt doesn't read its index");
            tell(FindingKind::ArchitectureUnreadable, line_of(b"architectures"), &why);
        }
    }

    /// Tells what is wrong with what it says of the wanted index.
    pub fn check_list(&self, index_path: &str, findings: &mut Findings) {
        let indexes = &self.release.indexes;
        if indexes.is_empty() {
            let why = match self.listed {
                0 => format!(
                    "no list of files: nobody can verify {index_path}; list it under SHA256"
                ),
                count => format!(
                    "{index_path} isn't among the {} that are listed: nobody can verify it",
                    counted(count, "file")
                ),
            };
            findings.tell(FindingKind::IndexNotListed, 0, why);
        } else if indexes.iter().all(|index| index.digest.algorithm < Algorithm::Sha256) {
            let line = self.index_lines.first().map_or(0, |(_, _, line)| *line);
            let why =
                format!("{index_path} is listed by MD5 or SHA-1 alone: apt refuses; add SHA256");
            findings.tell(FindingKind::DigestsWeak, line, why);
        }
    }

    /// The line on which a file is listed by a digest of this kind; 0 if it isn't known.
    pub fn line_of_index(&self, path: &str, of: Algorithm) -> u64 {
        let found = self.index_lines.iter().find(|(name, by, _)| name == path && *by == of);
        found.map_or(0, |(_, _, line)| *line)
    }

    fn line_of(&self, name: &[u8]) -> Option<u64> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, line)| *line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_783_764_997;

    fn found(text: &str) -> Vec<(&'static str, u64)> {
        let mut findings = Findings::default();
        let path = "main/binary-arm64/Packages";
        let read = ReleaseRead::read(text.as_bytes(), path, &mut findings).unwrap();
        read.check(Some("arm64"), NOW, &mut findings);
        read.check_list(path, &mut findings);
        findings.told().into_iter().map(|it| (it.kind.name(), it.line)).collect()
    }

    /// Nothing is wrong with it; ten lines.
    fn clean() -> String {
        let digest = "01234567".repeat(8);
        format!(
            "Origin: Example\nLabel: Example Repository\nSuite: stable\n\
             Date: Sat, 11 Jul 2026 10:16:37 UTC\nValid-Until: Sun, 12 Jul 2026 10:16:37 UTC\n\
             Architectures: arm64 amd64\nSHA256:\n {digest} 7 main/binary-arm64/Packages\n \
             {digest} 9 main/binary-arm64/Packages.gz\n {digest} 9 main/binary-amd64/Packages\n"
        )
    }

    #[test]
    fn each_oddity_is_told_with_its_line() {
        let but = |from: &str, to: &str| {
            assert!(clean().contains(from), "{from}");
            clean().replacen(from, to, 1)
        };
        let in_front = |line: &str| format!("{line}\n{}", clean());
        let only = clean().split("SHA256").next().unwrap().to_owned();
        let digest = "01234567".repeat(8);
        let weak = clean().replace(&digest, &digest[..32]).replace("SHA256", "MD5Sum");
        for (text, expected) in [
            (clean(), &[][..]),
            (
                format!(
                    "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{}-----BEGIN PGP SIGNATURE-----\n\nx\n",
                    clean()
                ),
                &[],
            ),
            (but("Date: Sat, 11 Jul", "Date: Sat, 12 Jul"), &[("date-future", 4)]),
            (but("Date: Sat, 11", "Date: 2026"), &[("date-unreadable", 4)]),
            (but("Date: Sat, 11 Jul 2026 10:16:37 UTC\n", ""), &[("date-missing", 0)]),
            (but("Sun, 12 Jul 2026", "Fri, 10 Jul 2026"), &[("valid-until-past", 5)]),
            (but("Sun, 12", "soon"), &[("valid-until-unreadable", 5)]),
            (
                but("Valid-Until: Sun, 12 Jul 2026 10:16:37 UTC\n", ""),
                &[("valid-until-missing", 0)],
            ),
            (
                clean().replace("Origin: ", "X-O: ").replace("Label: ", "X-L: "),
                &[("name-missing", 0)],
            ),
            (but("arm64 amd64", "amd64"), &[("architecture-unreadable", 6)]),
            (only.clone(), &[("index-not-listed", 0)]),
            (but("SHA256:", "SHA-256:"), &[("index-not-listed", 0), ("field-misspelt", 7)]),
            (clean().replace("binary-arm64", "binary-armhf"), &[("index-not-listed", 0)]),
            (weak, &[("digests-weak", 8)]),
            (but(" 7 main", " seven main"), &[("list-line-unreadable", 8)]),
            (but("SHA256:", "SHA256"), &[("list-line-unreadable", 7)]),
            (but(" 0123", "0123"), &[("list-line-unreadable", 8)]),
            (in_front("Lable: x"), &[("field-misspelt", 1)]),
            (in_front("label: x"), &[("field-misspelt", 1), ("field-repeated", 3)]),
            (in_front("Suite: x"), &[("field-repeated", 4)]),
            (in_front("no colon"), &[("line-without-colon", 1)]),
            (in_front("X-Y: \u{7f}"), &[("control-character", 1)]),
            (format!("\u{feff}{}", clean()), &[("byte-order-mark", 1)]),
            (clean().replace('\n', "\r\n"), &[("crlf", 1)]),
        ] {
            assert_eq!(found(&text), expected, "{text}");
        }
    }
}
