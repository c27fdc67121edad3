//! What lint can say, and saying it: to people, to programs and to a CI.

use canister_protocol::message::cut;
use nanoserde::SerJson as _;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Most findings that are told in all; the rest is counted.
pub const FINDINGS_MAX: usize = 1000;
/// Most findings of one kind that are told, so that a common one hides no other.
pub const KIND_MAX: u64 = 100;
/// Longest piece of somebody's text in a finding, in bytes.
const SHOWN_BYTES_MAX: usize = 80;

/// How bad it is, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Clients or the catalogue miss something because of it.
    Error,
    /// It works for some; a careful maintainer changes it.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

macro_rules! kinds {
    ($($kind:ident $name:literal $severity:ident,)*) => {
        /// A kind of finding. `docs/lint.md` has a section for each name; a name stays what it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FindingKind { $($kind,)* }

        impl FindingKind {
            /// Every kind, by its name.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            pub const fn severity(self) -> Severity {
                match self { $(Self::$kind => Severity::$severity,)* }
            }
        }
    };
}

kinds! {
    ArchitectureUnreadable "architecture-unreadable" Warning,
    ByHashMissing "by-hash-missing" Warning,
    ByteOrderMark "byte-order-mark" Warning,
    BytesBehind "bytes-behind" Warning,
    CompressionMisnamed "compression-misnamed" Error,
    ConditionalIgnored "conditional-ignored" Warning,
    ContentEncoded "content-encoded" Note,
    ControlCharacter "control-character" Warning,
    Crlf "crlf" Warning,
    DateFuture "date-future" Error,
    DateMissing "date-missing" Warning,
    DateUnreadable "date-unreadable" Warning,
    DebDiffers "deb-differs" Error,
    DebMissing "deb-missing" Error,
    DebsElsewhere "debs-elsewhere" Note,
    DigestInvalid "digest-invalid" Error,
    DigestMissing "digest-missing" Error,
    DigestWeak "digest-weak" Warning,
    DigestsWeak "digests-weak" Warning,
    FetchFailed "fetch-failed" Error,
    FieldMissing "field-missing" Error,
    FieldMisspelt "field-misspelt" Warning,
    FieldRepeated "field-repeated" Warning,
    FieldsTooMany "fields-too-many" Error,
    FilenameMissing "filename-missing" Error,
    FilenameOutside "filename-outside" Error,
    IndexEmpty "index-empty" Note,
    IndexMissing "index-missing" Error,
    IndexNotListed "index-not-listed" Warning,
    IndexUnreadable "index-unreadable" Error,
    InstalledSizeInvalid "installed-size-invalid" Warning,
    LineOfBlanks "line-of-blanks" Warning,
    LineWithoutColon "line-without-colon" Warning,
    LinkInsecure "link-insecure" Warning,
    ListLineUnreadable "list-line-unreadable" Error,
    ListedDiffers "listed-differs" Error,
    ListedMissing "listed-missing" Warning,
    NameMissing "name-missing" Warning,
    NoPackage "no-package" Error,
    NotUtf8 "not-utf8" Warning,
    PackageInvalid "package-invalid" Error,
    ReleaseAlone "release-alone" Note,
    ReleaseMissing "release-missing" Warning,
    ReleaseUnreadable "release-unreadable" Error,
    ReleasesDiffer "releases-differ" Error,
    SignatureMissing "signature-missing" Warning,
    SizeInvalid "size-invalid" Error,
    SizeMissing "size-missing" Warning,
    StanzaRepeated "stanza-repeated" Warning,
    StanzaTooLong "stanza-too-long" Error,
    StrayContinuation "stray-continuation" Warning,
    UriInsecure "uri-insecure" Note,
    ValidUntilMissing "valid-until-missing" Note,
    ValidUntilPast "valid-until-past" Error,
    ValidUntilUnreadable "valid-until-unreadable" Warning,
    VariantNotRead "variant-not-read" Note,
    VariantsDiffer "variants-differ" Error,
    VersionInvalid "version-invalid" Error,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub kind: FindingKind,
    /// The path or address of the file.
    pub file: String,
    /// The line of the file as it unpacks, from 1; 0 where it is of the whole file.
    pub line: u64,
    /// What is there and what to write instead, in one line.
    pub text: String,
}

/// What was found so far: at most [`KIND_MAX`] of a kind are kept, all are counted.
#[derive(Debug, Default)]
pub struct Findings {
    /// The files that findings are of, in the order in which they were read.
    files: Vec<String>,
    kept: Vec<(usize, Finding)>,
    counts: BTreeMap<FindingKind, u64>,
}

impl Findings {
    /// Which file the next findings are of.
    pub fn begin(&mut self, file: impl Into<String>) {
        self.files.push(file.into());
    }

    pub fn tell(&mut self, kind: FindingKind, line: u64, text: impl Into<String>) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= KIND_MAX {
            let file = self.files.last().cloned().unwrap_or_default();
            let finding = Finding { kind, file, line, text: text.into() };
            self.kept.push((self.files.len(), finding));
        }
    }

    /// Takes what was found meanwhile.
    pub fn add(&mut self, others: Self) {
        let before = self.files.len();
        self.files.extend(others.files);
        self.kept.extend(others.kept.into_iter().map(|(file, finding)| (before + file, finding)));
        for (kind, count) in others.counts {
            *self.counts.entry(kind).or_default() += count;
        }
    }

    /// Whether the same number of each kind was found.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.counts == other.counts
    }

    pub fn count(&self, kind: FindingKind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    /// Whether there is an error among it.
    pub fn has_errors(&self) -> bool {
        self.of(Severity::Error) > 0
    }

    /// Forgets all of a kind; returns how many there were.
    pub fn forget(&mut self, kind: FindingKind) -> u64 {
        self.kept.retain(|(_, finding)| finding.kind != kind);
        self.counts.remove(&kind).unwrap_or(0)
    }

    /// How many are kept.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Says of those that were kept since there were `before` which package they are of.
    pub fn are_of(&mut self, before: usize, package: &str) {
        for (_, finding) in &mut self.kept[before..] {
            let _ = write!(finding.text, " (package {package})");
        }
    }

    /// Errors and warnings of one file, a line each, the worst first, and how many more there are: at most so
    /// many bytes. None if there is nothing.
    pub fn lines(&self, bytes: usize) -> Option<String> {
        const MORE: &str = "and 4000000000 more";
        let is_told = |kind: FindingKind| kind.severity() < Severity::Note;
        let all = self.counts.iter().filter(|(kind, _)| is_told(**kind));
        let mut left: u64 = all.map(|(_, count)| count).sum();
        let mut kept: Vec<_> = self.kept.iter().map(|(_, finding)| finding).collect();
        kept.sort_by_key(|it| (it.kind.severity(), it.line));
        let mut lines = Vec::new();
        let mut room = bytes.saturating_sub(MORE.len());
        for Finding { kind, line, text, .. } in kept.into_iter().filter(|it| is_told(it.kind)) {
            let told = format!("line {line}: {text} [{}]", kind.name());
            let Some(rest) = room.checked_sub(told.len() + 1) else { break };
            (room, left) = (rest, left - 1);
            lines.push(told);
        }
        if left > 0 {
            lines.push(format!("and {left} more"));
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// What is to be told, at most [`FINDINGS_MAX`], by file and line; where there are more, the worst.
    pub fn told(&self) -> Vec<&Finding> {
        let mut told: Vec<_> = self.kept.iter().collect();
        told.sort_by_key(|(_, finding)| finding.kind.severity());
        told.truncate(FINDINGS_MAX);
        told.sort_by_key(|(file, finding)| (*file, finding.line, finding.kind));
        told.into_iter().map(|(_, finding)| finding).collect()
    }

    fn of(&self, severity: Severity) -> u64 {
        let is_so = |(kind, _): &(&FindingKind, &u64)| kind.severity() == severity;
        self.counts.iter().filter(is_so).map(|(_, count)| count).sum()
    }

    /// What was counted and isn't told, by kind.
    fn left_out(&self, told: &[&Finding]) -> Vec<(FindingKind, u64)> {
        let of = |kind| told.iter().filter(|finding| finding.kind == kind).count() as u64;
        let left = self.counts.iter().map(|(kind, count)| (*kind, count - of(*kind)));
        left.filter(|(_, count)| *count > 0).collect()
    }

    /// How many errors, warnings and notes, in words.
    pub fn summary(&self) -> String {
        let of = |severity, name| counted(self.of(severity), name);
        format!(
            "{}, {}, {}",
            of(Severity::Error, "error"),
            of(Severity::Warning, "warning"),
            of(Severity::Note, "note")
        )
    }

    /// A line each as compilers write them, for people and editors.
    pub fn text(&self) -> String {
        let told = self.told();
        let mut text = String::new();
        for Finding { kind, file, line, text: what } in &told {
            let place = if *line > 0 { format!("{file}:{line}") } else { file.clone() };
            let (severity, name) = (kind.severity().name(), kind.name());
            let _ = writeln!(text, "{place}: {severity}: {what} [{name}]");
        }
        for (kind, count) in self.left_out(&told) {
            let _ = writeln!(text, "{count} more of {}", kind.name());
        }
        text
    }

    /// One object; `more` stands in it beside what was found.
    pub fn json(&self, more: &[(&str, u64)]) -> String {
        let told = self.told();
        let finding = |Finding { kind, file, line, text }: &&Finding| {
            format!(
                "{{\"kind\":\"{}\",\"severity\":\"{}\",\"file\":{},\"line\":{},\"text\":{}}}",
                kind.name(),
                kind.severity().name(),
                file.serialize_json(),
                if *line > 0 { line.to_string() } else { "null".to_owned() },
                text.serialize_json(),
            )
        };
        let left = |(kind, count): &(FindingKind, u64)| format!("\"{}\":{count}", kind.name());
        let mut json = format!(
            "{{\"findings\":[{}],\"left_out\":{{{}}}",
            told.iter().map(finding).collect::<Vec<_>>().join(","),
            self.left_out(&told).iter().map(left).collect::<Vec<_>>().join(","),
        );
        for (name, severity) in [
            ("errors", Severity::Error),
            ("warnings", Severity::Warning),
            ("notes", Severity::Note),
        ] {
            let _ = write!(json, ",\"{name}\":{}", self.of(severity));
        }
        for (name, value) in more {
            let _ = write!(json, ",\"{name}\":{value}");
        }
        json + "}\n"
    }

    /// A line each as GitHub's runners (and Forgejo's) read them.
    ///
    /// Spec: GitHub, "Workflow commands for GitHub Actions"; actions/toolkit `command.ts` for what is
    /// escaped.
    pub fn annotations(&self) -> String {
        let escaped = |text: &str| text.replace('%', "%25").replace(['\r', '\n'], "%0A");
        let property = |text: &str| escaped(text).replace(':', "%3A").replace(',', "%2C");
        let told = self.told();
        let mut text = String::new();
        for Finding { kind, file, line, text: what } in &told {
            let command = match kind.severity() {
                Severity::Note => "notice",
                other => other.name(),
            };
            let line = if *line > 0 { format!(",line={line}") } else { String::new() };
            let (file, name, what) = (property(file), kind.name(), escaped(what));
            let _ = writeln!(text, "::{command} file={file}{line},title={name}::{what}");
        }
        for (kind, count) in self.left_out(&told) {
            let _ = writeln!(text, "::notice title={}::{count} more", kind.name());
        }
        text
    }
}

/// A number and what it is of.
pub fn counted(count: u64, name: &str) -> String {
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

/// Somebody's text as it may stand in a finding: quoted, cut, without control characters.
pub fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let cut = cut(&text, SHOWN_BYTES_MAX);
    format!("{cut:?}{}", if cut.len() < text.len() { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Findings {
        let mut findings = Findings::default();
        findings.begin("a,b:c");
        findings.tell(FindingKind::Crlf, 7, "100%\nof it");
        findings.tell(FindingKind::FieldMissing, 2, "say \"so\"");
        findings.begin("Packages");
        findings.tell(FindingKind::IndexEmpty, 0, "nothing");
        findings
    }

    #[test]
    fn what_was_found_is_told_by_file_and_line() {
        let text = "a,b:c:2: error: say \"so\" [field-missing]\n\
            a,b:c:7: warning: 100%\nof it [crlf]\nPackages: note: nothing [index-empty]\n";
        assert_eq!(some().text(), text);
        assert_eq!(some().summary(), "1 error, 1 warning, 1 note");
        let annotations = "::error file=a%2Cb%3Ac,line=2,title=field-missing::say \"so\"\n\
            ::warning file=a%2Cb%3Ac,line=7,title=crlf::100%25%0Aof it\n\
            ::notice file=Packages,title=index-empty::nothing\n";
        assert_eq!(some().annotations(), annotations);
        let json = some().json(&[("requests", 3)]);
        canister_protocol::codec::accept(&json, 3).unwrap();
        assert!(json.contains(
            "{\"kind\":\"field-missing\",\"severity\":\"error\",\"file\":\"a,b:c\",\"line\":2,\
             \"text\":\"say \\\"so\\\"\"}"
        ));
        assert!(json.ends_with(
            "],\"left_out\":{},\"errors\":1,\"warnings\":1,\"notes\":1,\"requests\":3}\n"
        ));
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let mut findings = some();
        for line in 1..=KIND_MAX + 5 {
            findings.tell(FindingKind::LinkInsecure, line, "x");
        }
        assert_eq!(findings.told().len() as u64, 3 + KIND_MAX);
        assert!(findings.text().ends_with("\n5 more of link-insecure\n"));
        assert!(findings.json(&[]).contains("\"left_out\":{\"link-insecure\":5},"));
        assert_eq!(findings.forget(FindingKind::LinkInsecure), KIND_MAX + 5);
        assert_eq!(findings.text(), some().text());
        // The worst stay.
        for kind in FindingKind::ALL {
            (0..KIND_MAX).for_each(|line| findings.tell(*kind, line, "x"));
        }
        let told = findings.told();
        assert_eq!(told.len(), FINDINGS_MAX);
        assert!(told.iter().all(|finding| finding.kind.severity() == Severity::Error));
    }

    #[test]
    fn lines_are_the_worst_and_fit() {
        assert_eq!(Findings::default().lines(4096), None);
        let lines = some().lines(4096).unwrap();
        assert!(lines.starts_with("line 2: say \"so\" [field-missing]\nline 7: 100%"), "{lines}");
        assert!(!lines.contains("index-empty"));
        let mut many = some();
        (0..500).for_each(|line| many.tell(FindingKind::LinkInsecure, line, "x".repeat(99)));
        let lines = many.lines(4096).unwrap();
        let told = lines.matches(" [").count() as u64;
        assert!(lines.len() <= 4096 && lines.ends_with(&format!("\nand {} more", 502 - told)));
    }

    #[test]
    fn names_are_in_order_and_unlike() {
        let names: Vec<_> = FindingKind::ALL.iter().map(|kind| kind.name()).collect();
        assert!(names.is_sorted_by(|one, other| one < other), "{names:?}");
    }

    #[test]
    fn shown_text_is_short_and_printable() {
        assert_eq!(shown(b"a\x1b\"b\xff"), "\"a\\u{1b}\\\"b\u{fffd}\"");
        assert!(shown(&[b'x'; 500]).len() < 100);
    }
}
