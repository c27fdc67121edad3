//! What the owner of a source says to whoever indexes it: hard limits that only slow down or stop.
//! It needs no account. It is said in fields of Release, in the file `/.well-known/canister.txt` of
//! the host, and in the host's `robots.txt`.
//!
//! | field | in Release | in the file | says |
//! | --- | --- | --- | --- |
//! | `Canister-Interval: 6h` | yes | yes | at least this long from one visit to the next, at most [`INTERVAL_MAX`] |
//! | `Canister-Quiet: 22:00-06:00` | yes | yes | nobody comes within these hours, UTC |
//! | `Canister-Index: no` | yes | yes | don't index it |
//! | `Canister-Contact: …` | yes | yes | whom to ask |
//! | `Canister-Announcer: ed25519:…` | yes | yes | a key whose holder announces as the source's owner |
//! | `Canister-Publisher: https://…` | yes | yes | where an IPNI publisher, whose key is one of those, says whether there is news |
//! | `Allow: /path`, `Disallow: /path` | no | no | of the group for `canister` of `robots.txt` |
//!
//! In the file `Canister-` may be left out. The same text is what goes over the wire and what is
//! kept. Reading is total: a line that isn't understood says nothing.
//!
//! Spec: docs/owners.md; RFC 9309 §2.2.2 (which path a rule names).

use crate::source::Source;
use crate::span::Span;
use crate::uri::Uri;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Where the file is, on the source's host.
pub const FILE: &str = "/.well-known/canister.txt";
/// The host's rules for robots.
pub const ROBOTS: &str = "/robots.txt";
/// Longest file in bytes, and longest text of one [`OwnerSays`].
pub const OWNER_BYTES_MAX: usize = 4096;
/// Most of a `robots.txt` that is read, in bytes.
pub const ROBOTS_BYTES_MAX: usize = 64 * 1024;
/// Longest interval that is taken: whoever wants none says `Canister-Index: no`.
pub const INTERVAL_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The group of `robots.txt` that is for us.
const NAMES: [&str; 2] = ["canister", "canister-agent"];
/// What every field begins with in a Release.
const PREFIX: &str = "canister-";
/// Longest value of a field in bytes: an RSA key of 4096 bits has 740.
const VALUE_BYTES_MAX: usize = 1024;
/// Most announcers, and most rules for paths.
const ANNOUNCERS_MAX: usize = 8;
const PATHS_MAX: usize = 64;
const MINUTES_A_DAY: u16 = 24 * 60;

/// What one of the places says. Displayed as the file would say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnerSays {
    /// Least time from one visit to the next.
    pub interval: Option<Duration>,
    /// Hours within which nobody is to come.
    pub quiet: Option<Quiet>,
    /// Whether it is not to be indexed.
    pub is_unwanted: bool,
    /// Whom to ask, as it is written.
    pub contact: Option<String>,
    /// Keys, as they are written.
    pub announcers: Vec<String>,
    /// Where its publisher's head is.
    pub publisher: Option<String>,
    /// Paths as `robots.txt` writes them; true for those that are allowed.
    pub paths: Vec<(bool, String)>,
}

/// Hours of each day, UTC, within which nobody comes. They may go over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    /// Minutes since midnight: the first, and the first after it; never the same.
    from: u16,
    to: u16,
}

impl Quiet {
    /// How long they last from this moment on, in seconds since 1970; none where it is outside.
    pub fn left(self, secs: u64) -> Option<Duration> {
        let day = u64::from(MINUTES_A_DAY) * 60;
        let (from, to) = (u64::from(self.from) * 60, u64::from(self.to) * 60);
        let (passed, lasts) = ((secs % day + day - from) % day, (to + day - from) % day);
        (passed < lasts).then(|| Duration::from_secs(lasts - passed))
    }
}

impl FromStr for Quiet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "use two hours of UTC, such as 22:00-06:00".to_owned();
        let minutes = |text: &str| {
            let (hour, minute) = text.trim().split_once(':').unwrap_or_else(|| (text.trim(), "0"));
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            (hour <= 24 && minute < 60).then_some((hour * 60 + minute) % MINUTES_A_DAY)
        };
        let text = text.trim();
        let text = text.strip_suffix("UTC").unwrap_or(text);
        let (from, to) = text.split_once('-').ok_or_else(wrong)?;
        match (minutes(from), minutes(to)) {
            (Some(from), Some(to)) if from != to => Ok(Self { from, to }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

impl OwnerSays {
    /// Reads the file, or the text of another. Anything else says nothing.
    pub fn read(text: &str) -> Self {
        let mut says = Self::default();
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            match name.trim().to_ascii_lowercase().as_str() {
                "allow" => says.path(true, value),
                "disallow" => says.path(false, value),
                name => says.word(name.strip_prefix(PREFIX).unwrap_or(name), value),
            }
        }
        says
    }

    /// Takes a field of a Release.
    pub fn field(&mut self, name: &str, value: &str) {
        let name = name.to_ascii_lowercase();
        if let Some(word) = name.strip_prefix(PREFIX) {
            self.word(word, value);
        }
    }

    /// The first that says something counts; of announcers all do.
    fn word(&mut self, word: &str, value: &str) {
        let value = value.trim();
        if value.is_empty() || value.len() > VALUE_BYTES_MAX || value.contains(char::is_control) {
            return;
        }
        match word {
            "interval" => {
                let said = value.parse().ok().map(|Span(said)| said.min(INTERVAL_MAX));
                self.interval = self.interval.or(said);
            }
            "quiet" => self.quiet = self.quiet.or_else(|| value.parse().ok()),
            "index" => self.is_unwanted |= value.eq_ignore_ascii_case("no"),
            "contact" => {
                self.contact.get_or_insert_with(|| value.to_owned());
            }
            "publisher" => {
                self.publisher.get_or_insert_with(|| value.trim_end_matches('/').to_owned());
            }
            "announcer" if self.announcers.len() < ANNOUNCERS_MAX => {
                self.announcers.push(value.to_owned());
            }
            _ => {}
        }
    }

    fn path(&mut self, is_allowed: bool, path: &str) {
        let path = path.trim();
        if path.starts_with(['/', '*'])
            && path.len() <= VALUE_BYTES_MAX
            && self.paths.len() < PATHS_MAX
        {
            self.paths.push((is_allowed, path.to_owned()));
        }
    }

    /// Takes the rules of a `robots.txt` that are for `canister` by name. What it says to everybody is
    /// meant for crawlers of pages, and none for whoever fetches packages.
    ///
    /// Spec: RFC 9309 §2.2.
    pub fn robots(&mut self, text: &str) {
        let (mut is_ours, mut is_named) = (false, false);
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let Some((name, value)) = line.split_once(':') else { continue };
            match name.trim().trim_start_matches('\u{feff}').to_ascii_lowercase().as_str() {
                "user-agent" => {
                    let agent = value.trim().to_ascii_lowercase();
                    // Several names in a row begin one group.
                    is_ours = (is_ours && is_named) || NAMES.contains(&agent.as_str());
                    is_named = true;
                }
                "allow" | "disallow" => {
                    is_named = false;
                    if is_ours {
                        self.path(name.trim().eq_ignore_ascii_case("allow"), value);
                    }
                }
                _ => is_named = false,
            }
        }
    }

    /// Why what lies at `path` is not to be asked for, if so.
    pub fn forbids(&self, path: &str) -> Option<&'static str> {
        if self.is_unwanted {
            return Some("its owner says Canister-Index: no");
        }
        // The longest rule that names it counts; of two the one that allows it.
        let named = self.paths.iter().filter(|(_, rule)| names(rule, path));
        let longest = named.max_by_key(|(is_allowed, rule)| (rule.len(), *is_allowed));
        let is_forbidden = longest.is_some_and(|(is_allowed, _)| !is_allowed);
        is_forbidden.then_some("its host's robots.txt disallows it for canister")
    }
}

/// The server of a source, which has its owner's files, and the path on it that `robots.txt` may name:
/// that of its Release's folder, ending in a slash. None where its uri is none.
pub fn place(source: &Source) -> Option<(String, String)> {
    let place = Uri::parse(&source.release_dir()).ok()?;
    let path = format!("{}/", place.normal().path().trim_end_matches('/'));
    Some((place.server(), path))
}

/// Whether a rule of `robots.txt` names a path: it begins so, `*` is anything, `$` the end.
fn names(rule: &str, path: &str) -> bool {
    let (rule, is_whole) = match rule.strip_suffix('$') {
        Some(rule) => (rule, true),
        None => (rule, false),
    };
    let mut parts = rule.split('*');
    let Some(mut rest) = path.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return !is_whole || rest.is_empty() };
    for part in between {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    if is_whole { rest.ends_with(last) } else { rest.contains(last) }
}

impl fmt::Display for OwnerSays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(interval) = self.interval {
            writeln!(f, "Interval: {}", Span(interval))?;
        }
        if let Some(quiet) = self.quiet {
            writeln!(f, "Quiet: {quiet}")?;
        }
        if self.is_unwanted {
            writeln!(f, "Index: no")?;
        }
        if let Some(contact) = &self.contact {
            writeln!(f, "Contact: {contact}")?;
        }
        for key in &self.announcers {
            writeln!(f, "Announcer: {key}")?;
        }
        if let Some(publisher) = &self.publisher {
            writeln!(f, "Publisher: {publisher}")?;
        }
        for (is_allowed, path) in &self.paths {
            writeln!(f, "{}: {path}", if *is_allowed { "Allow" } else { "Disallow" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    #[test]
    fn the_file_and_the_fields_say_the_same_and_come_back() {
        let file = "# a comment: none\r\nInterval: 6h\nCanister-Quiet: 22-6 UTC\nindex: NO\n\
            Contact: me@repo.example\nPublisher: https://a/ipni/v1/ad/\nAnnouncer: ed25519:aaa\n\
            Announcer: x\nInterval: 7h\nhtml: x\n";
        let says = OwnerSays::read(file);
        assert_eq!(
            says.to_string(),
            "Interval: 6h\nQuiet: 22:00-06:00\nIndex: no\n\
            Contact: me@repo.example\nAnnouncer: ed25519:aaa\nAnnouncer: x\n\
            Publisher: https://a/ipni/v1/ad\n"
        );
        assert_eq!(OwnerSays::read(&says.to_string()), says);
        let mut release = OwnerSays::default();
        for (name, value) in [
            ("Canister-Interval", " 6h "),
            ("Interval", "9h"),
            ("CANISTER-INDEX", "no"),
            ("Canister-Quiet", "22:00-06:00"),
            ("Canister-Contact", "me@repo.example"),
            ("Canister-Publisher", "https://a/ipni/v1/ad"),
            ("Canister-Announcer", "ed25519:aaa"),
            ("Canister-Announcer", "x"),
        ] {
            release.field(name, value);
        }
        assert_eq!(release, says);
        for nothing in [
            "Interval: soon",
            "Interval: -1h",
            "Quiet: 6-6",
            "Quiet: 25-1",
            "Quiet: 1:60-2",
            "Index: yes",
            "Interval:",
            "<html>: x",
            "",
            "Contact: a\u{1}b",
        ] {
            assert_eq!(OwnerSays::read(nothing), OwnerSays::default(), "{nothing}");
        }
        assert_eq!(OwnerSays::read("Interval: 90d").interval, Some(INTERVAL_MAX));
        let many = OwnerSays::read(&"Announcer: x\nDisallow: /x\n".repeat(100));
        assert_eq!((many.announcers.len(), many.paths.len()), (ANNOUNCERS_MAX, PATHS_MAX));
    }

    #[test]
    fn quiet_hours_go_over_midnight() {
        for (text, hour, left) in [
            ("22-6", 21, None),
            ("22-6", 22, Some(8)),
            ("22-6", 0, Some(6)),
            ("22-6", 5, Some(1)),
            ("22-6", 6, None),
            ("1-3", 0, None),
            ("1-3", 1, Some(2)),
            ("1-3", 3, None),
            ("0-24", 5, None),
            ("0-23", 22, Some(1)),
        ] {
            let quiet = text.parse::<Quiet>().ok();
            let left_then = quiet.and_then(|quiet| quiet.left(20_000 * 86_400 + hour * 3600));
            assert_eq!(left_then, left.map(|hours| HOUR * hours), "{text} at {hour}");
        }
    }

    #[test]
    fn robots_are_asked_by_name_and_the_longest_rule_counts() {
        let rules = |text: &str| {
            let mut says = OwnerSays::default();
            says.robots(text);
            says
        };
        for (text, path, is_forbidden) in [
            ("User-agent: *\nDisallow: /", "/", false),
            ("User-agent: canister\nDisallow: /", "/apt/", true),
            ("User-Agent: Canister # us\nDisallow: /apt", "/apt/", true),
            ("User-agent: canister\nDisallow: /apt", "/deb/", false),
            ("User-agent: canister\nDisallow:", "/", false),
            ("User-agent: canister\nUser-agent: x\nDisallow: /", "/", true),
            ("User-agent: x\nUser-agent: canister\nDisallow: /", "/", true),
            ("User-agent: canister\nAllow: /a\nUser-agent: x\nDisallow: /", "/", false),
            ("User-agent: canister\nDisallow: /\nAllow: /apt/", "/apt/", false),
            ("User-agent: canister\nDisallow: /*/private/", "/a/private/", true),
            ("User-agent: canister\nDisallow: /*.deb$", "/a.deb", true),
            ("User-agent: canister\nDisallow: /*.deb$", "/a.deb/", false),
            ("User-agent: canister\nDisallow: /a$", "/a/", false),
            ("\u{feff}User-agent: canister\r\nDisallow: /\r\n", "/", true),
            ("User-agent: canister\nDisallow: /a\nAllow: /a", "/a", false),
            ("<html>", "/", false),
        ] {
            let says = rules(text);
            assert_eq!(says.forbids(path).is_some(), is_forbidden, "{text} {path}");
            assert_eq!(OwnerSays::read(&says.to_string()), says);
        }
    }
}
