//! The configuration file, in TOML: what the flags of `run` say, and what they can't. A flag wins
//! over the file, the file over the default. An unknown key, a value that can't be meant or two that
//! contradict each other refuse the whole file, with the line and what would work.
//!
//! `packaging/arbiter.toml` names every key with its default and its effect; a test holds it to
//! that. Times are a number and a unit: `500ms`, `30s`, `15m`, `1h`, `7d`.

use super::ListAddress;
use crate::brake::Brake;
use crate::entry::Entry;
use crate::policy;
use crate::politeness::Politeness;
use crate::public::Proxy;
use crate::schedule::{Override, PollSchedule, Polls, Short};
use canister_protocol::Database;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Longest file in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Longest time: ten years.
const SPAN_MAX: Duration = Duration::from_secs(3653 * 24 * 60 * 60);

/// The whole file; what it leaves out has its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Where the arbiter listens.
    pub listeners: Listeners,
    /// Where its files are.
    pub files: Files,
    /// Where its store is.
    pub database: Store,
    /// What it reads lists from.
    pub lists: Lists,
    /// How long leases and prices live.
    pub leases: Leases,
    /// When sources are asked.
    pub poll: Poll,
    /// How servers are treated.
    pub politeness: Polite,
    /// Who may be indexed and who may announce.
    pub policy: policy::Settings,
    /// What may be hidden without asking.
    pub brake: Brakes,
    /// How long what is gone is kept.
    pub retention: Retention,
}

/// Section `listeners`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listeners {
    /// Address and port for peers.
    pub peers: SocketAddr,
    /// Address and port for everybody, or `none`.
    pub public: OptionalAddress,
    /// Reverse proxies that are believed about where a request comes from.
    pub trusted_proxies: Vec<Text<Proxy>>,
}

/// Section `files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Files {
    /// The arbiter's certificate in PEM.
    pub certificate: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
    /// The authority's certificate in PEM.
    pub authority: PathBuf,
    /// What is revoked, in PEM; else `crl.pem` beside the authority's certificate.
    pub revocations: Option<PathBuf>,
    /// Folder of the authority with which peers' certificates are renewed; else they aren't.
    pub issuer: Option<PathBuf>,
    /// File with the passphrase of its key in its first line.
    pub passphrase: Option<PathBuf>,
    /// Folder of the embedded store and the admin socket.
    pub state: PathBuf,
}

/// Section `database`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// The database as [`DatabaseAddress`](super::DatabaseAddress) reads it; in the state folder
    /// without it.
    pub address: Option<String>,
    /// Certificate in PEM to show to the database's server; else the arbiter's.
    pub certificate: Option<PathBuf>,
    /// Its private key in PEM; else the arbiter's.
    pub key: Option<PathBuf>,
    /// Authority of the server's certificate in PEM; else the peers'.
    pub authority: Option<PathBuf>,
    /// Where peers may write their rows themselves.
    pub peers: Option<Text<Database>>,
}

/// Section `lists`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lists {
    /// The source list: a file or an address.
    pub sources: Option<Text<ListAddress>>,
    /// Lists of hosts that are blocked.
    pub blocks: Vec<Text<ListAddress>>,
    /// Time between two readings.
    pub refresh: Span,
}

/// Section `leases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Leases {
    /// How long a lease lives after its grant or renewal.
    pub lifetime: Span,
    /// How long a price is good.
    pub price_age: Span,
}

/// Section `poll`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Poll {
    /// See [`PollSchedule::interval`].
    pub interval: Span,
    /// See [`PollSchedule::retry_after`].
    pub retry_after: Span,
    /// See [`PollSchedule::deactivate_after`].
    pub deactivate_after: Span,
    /// See [`PollSchedule::stop_after`].
    pub stop_after: Span,
    /// Other times for some sources.
    pub overrides: BTreeMap<Entry, PollOverride>,
}

/// Section `poll.overrides."…"`: what it leaves out is as in section `poll`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PollOverride {
    /// See [`PollSchedule::interval`].
    pub interval: Option<Span>,
    /// See [`PollSchedule::retry_after`].
    pub retry_after: Option<Span>,
    /// See [`PollSchedule::deactivate_after`].
    pub deactivate_after: Option<Span>,
    /// See [`PollSchedule::stop_after`].
    pub stop_after: Option<Span>,
}

/// Section `politeness`; see [`Politeness`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Polite {
    /// See [`Politeness::pause`].
    pub pause: Span,
    /// See [`Politeness::cool_down`].
    pub cool_down: Span,
    /// See [`Politeness::cool_down_max`].
    pub cool_down_max: Span,
    /// See [`Politeness::rest`].
    pub rest: Span,
    /// See [`Politeness::rest_max`].
    pub rest_max: Span,
}

/// Section `brake`; see [`Brake`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Brakes {
    /// See [`Brake::share`].
    pub share: u8,
    /// See [`Brake::source_share`].
    pub source_share: u8,
    /// See [`Brake::packages`].
    pub packages: u64,
}

/// Section `retention`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// How long a package that left its source is kept, hidden.
    pub left: Span,
    /// How long the data of a delisted source is kept, hidden.
    pub delisted: Span,
}

impl Default for Listeners {
    fn default() -> Self {
        let address = |text: &str| text.parse().expect("the constant is an address");
        Self {
            peers: address(super::LISTEN),
            public: OptionalAddress(Some(address(super::PUBLIC))),
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for Files {
    fn default() -> Self {
        let file = |name: &str| Path::new(super::DIRECTORY).join(name);
        Self {
            certificate: file("arbiter.crt"),
            key: file("arbiter.key"),
            authority: file("ca.crt"),
            revocations: None,
            issuer: None,
            passphrase: None,
            state: super::STATE_DIRECTORY.into(),
        }
    }
}

impl Default for Lists {
    fn default() -> Self {
        Self { sources: None, blocks: Vec::new(), refresh: Span::secs(super::REFRESH_SECS) }
    }
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            lifetime: Span::secs(super::LEASE_SECS),
            price_age: Span::secs(super::PRICE_DAYS * 24 * 60 * 60),
        }
    }
}

impl Default for Poll {
    fn default() -> Self {
        let schedule = PollSchedule::default();
        Self {
            interval: Span(schedule.interval),
            retry_after: Span(schedule.retry_after),
            deactivate_after: Span(schedule.deactivate_after),
            stop_after: Span(schedule.stop_after),
            overrides: BTreeMap::new(),
        }
    }
}

impl Default for Polite {
    fn default() -> Self {
        let terms = Politeness::default();
        Self {
            pause: Span(terms.pause),
            cool_down: Span(terms.cool_down),
            cool_down_max: Span(terms.cool_down_max),
            rest: Span(terms.rest),
            rest_max: Span(terms.rest_max),
        }
    }
}

impl Default for Brakes {
    fn default() -> Self {
        let Brake { share, source_share, packages } = Brake::default();
        Self { share, source_share, packages }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            left: Span::secs(super::LEFT_DAYS * 24 * 60 * 60),
            delisted: Span::secs(super::DELISTED_DAYS * 24 * 60 * 60),
        }
    }
}

impl File {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// One line with the file, where it can be said the line in it, and what would work.
    pub fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let fail = |cause: std::io::Error| format!("{shown}: {cause}; --config names another");
        let length = std::fs::metadata(path).map_err(fail)?.len();
        if length > FILE_BYTES_MAX {
            return Err(format!("{shown}: {length} bytes, at most {FILE_BYTES_MAX}"));
        }
        let text = std::fs::read_to_string(path).map_err(fail)?;
        Self::parse(&text).map_err(|why| format!("{shown}{why}"))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// ` line 12: …` where it can be said, else `: …`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: Self = toml::from_str(text).map_err(|cause| {
            let why = cause.message().lines().collect::<Vec<_>>().join(" ");
            let line = cause
                .span()
                .and_then(|span| text.get(..span.start))
                .map(|before| before.matches('\n').count() + 1);
            line.map_or_else(|| format!(": {why}"), |line| format!(" line {line}: {why}"))
        })?;
        file.polls().map_err(|why| format!(": {why}"))?;
        file.politeness().map_err(|why| format!(": {why}"))?;
        file.check().map_err(|why| format!(": {why}"))?;
        Ok(file)
    }

    /// Sources' schedules.
    ///
    /// # Errors
    /// The two times that contradict each other, and the rule.
    pub fn polls(&self) -> Result<Polls, String> {
        let Poll { interval, retry_after, deactivate_after, stop_after, overrides } = &self.poll;
        let everybody = PollSchedule {
            interval: interval.0,
            retry_after: retry_after.0,
            deactivate_after: deactivate_after.0,
            stop_after: stop_after.0,
        };
        let overrides = overrides.iter().map(|(entry, over)| {
            let own = Override {
                interval: over.interval.map(|span| span.0),
                retry_after: over.retry_after.map(|span| span.0),
                deactivate_after: over.deactivate_after.map(|span| span.0),
                stop_after: over.stop_after.map(|span| span.0),
            };
            (entry.clone(), own)
        });
        Polls::new(everybody, &overrides.collect())
    }

    /// How servers are treated.
    ///
    /// # Errors
    /// As [`polls`](Self::polls).
    pub fn politeness(&self) -> Result<Politeness, String> {
        let Polite { pause, cool_down, cool_down_max, rest, rest_max } = &self.politeness;
        for (name, first, most) in
            [("cool_down", cool_down, cool_down_max), ("rest", rest, rest_max)]
        {
            if first.0 > most.0 {
                return Err(format!(
                    "politeness: {name} is {first}, {name}_max is {most}: it grows from the one to \
                     the other, so {name} must not be the longer"
                ));
            }
        }
        Ok(Politeness {
            pause: pause.0,
            cool_down: cool_down.0,
            cool_down_max: cool_down_max.0,
            rest: rest.0,
            rest_max: rest_max.0,
        })
    }

    /// The brake.
    pub const fn brake(&self) -> Brake {
        let Brakes { share, source_share, packages } = self.brake;
        Brake { share, source_share, packages }
    }

    /// # Errors
    /// The key, its value, and what would work.
    pub(super) fn check(&self) -> Result<(), String> {
        let second = Duration::from_secs(1);
        let day = Duration::from_secs(24 * 60 * 60);
        let Leases { lifetime, .. } = &self.leases;
        if !(5 * second..=day).contains(&lifetime.0) {
            return Err(format!("leases.lifetime is {lifetime}: 5s to 1d would work"));
        }
        if self.lists.refresh.0 < second {
            let refresh = self.lists.refresh;
            return Err(format!("lists.refresh is {refresh}: 1s or more would work"));
        }
        if self.politeness.pause.0 > day {
            let pause = self.politeness.pause;
            return Err(format!("politeness.pause is {pause}: 0s to 1d would work"));
        }
        let Brakes { share, source_share, .. } = self.brake;
        for (key, share) in [("share", share), ("source_share", source_share)] {
            if share > 100 {
                return Err(format!("brake.{key} is {share}: 0 to 100 percent would work"));
            }
        }
        Ok(())
    }
}

/// A time, written as a number and a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

impl Span {
    const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no time: 500ms, 30s, 15m, 1h or 7d would work");
        let unit = text.find(|letter: char| !letter.is_ascii_digit());
        let (number, unit) = text.split_at(unit.ok_or_else(wrong)?);
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let span = number.checked_mul(millis).map(Duration::from_millis);
        match span {
            Some(span) if span <= SPAN_MAX => Ok(Self(span)),
            _ => Err(format!("{text:?} is longer than ten years")),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.is_zero() {
            true => f.write_str("0s"),
            false => Short(self.0).fmt(f),
        }
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// An address and a port, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OptionalAddress(pub Option<SocketAddr>);

impl FromStr for OptionalAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        text.parse().map(|address| Self(Some(address))).map_err(|_| {
            format!("an address and a port like {}, or none, would work", super::PUBLIC)
        })
    }
}

impl From<OptionalAddress> for String {
    fn from(address: OptionalAddress) -> Self {
        address.0.map_or_else(|| "none".to_owned(), |address| address.to_string())
    }
}

impl TryFrom<String> for OptionalAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A value that stands in the file as it is written on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text<T>(pub T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr<Err = String>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const EXAMPLE: &str = include_str!("../../../packaging/arbiter.toml");

    /// Every key of a table, with those above it.
    fn keys(table: &toml::Table, above: &str, found: &mut BTreeSet<String>) {
        for (key, value) in table {
            let path = format!("{above}{key}");
            match value {
                toml::Value::Table(table) => keys(table, &format!("{path}."), found),
                _ => {
                    found.insert(path);
                }
            }
        }
    }

    fn keys_of(text: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        keys(&text.parse().unwrap(), "", &mut found);
        found
    }

    /// A file in which no key is left out.
    fn full() -> File {
        let span = Some(Span::secs(60));
        let over = PollOverride {
            interval: span,
            retry_after: span,
            deactivate_after: Some(Span::secs(86_400)),
            stop_after: Some(Span::secs(86_400)),
        };
        let mut file = File::default();
        file.files.revocations = Some("crl.pem".into());
        file.files.issuer = Some("issuer".into());
        file.files.passphrase = Some("passphrase".into());
        file.lists.sources = Some(Text("sources.json".parse().unwrap()));
        file.database = Store {
            address: Some("postgres://arbiter@db.example.org/canister".to_owned()),
            certificate: Some("database.crt".into()),
            key: Some("database.key".into()),
            authority: Some("database-ca.crt".into()),
            peers: Some(Text("db.example.org/canister".parse().unwrap())),
        };
        file.poll.overrides = [("chariz".parse().unwrap(), over)].into();
        file.policy.publishers =
            [("chariz".parse().unwrap(), policy::Publishers::default())].into();
        file
    }

    /// The example with the keys that it only shows, which have a `#` and no blank before them.
    fn uncommented() -> String {
        let shown = |line: &str| {
            let rest = line.strip_prefix('#')?;
            rest.starts_with(|letter: char| letter.is_ascii_lowercase() || letter == '[')
                .then(|| rest.to_owned())
        };
        let lines =
            EXAMPLE.lines().map(|line| shown(line).unwrap_or_else(|| line.to_owned()) + "\n");
        lines.collect()
    }

    #[test]
    fn the_shipped_example_has_every_key_and_the_defaults() {
        assert_eq!(File::parse(EXAMPLE), Ok(File::default()));
        let example = uncommented();
        File::parse(&example).unwrap();
        let full = toml::to_string(&full()).unwrap();
        assert_eq!(keys_of(&example), keys_of(&full));
        // Each is explained: a comment stands before it, or before the group it is in.
        let mut explained = false;
        for line in EXAMPLE.lines() {
            match line {
                "" => explained = false,
                line if line.starts_with("# ") => explained = true,
                line => assert!(explained || line.starts_with('['), "{line}"),
            }
        }
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!(File::parse(""), Ok(File::default()));
        let file = File::parse("[poll]\ninterval = \"2h\"\n").unwrap();
        assert_eq!(file.poll.interval, Span::secs(7200));
        assert_eq!(file.poll.retry_after, Poll::default().retry_after);
        let entry = "slug:chariz";
        let text = format!("[poll.overrides.\"{entry}\"]\nretry_after = \"45m\"\n");
        let polls = File::parse(&text).unwrap().polls().unwrap();
        let source = canister_protocol::Source {
            slug: "chariz".into(),
            uri: "https://repo.example".into(),
            suite: "./".into(),
            ..canister_protocol::Source::default()
        };
        let right =
            PollSchedule { retry_after: Duration::from_secs(45 * 60), ..PollSchedule::default() };
        assert_eq!(polls.of(&source), right);
    }

    #[test]
    fn a_bad_file_is_refused_with_its_line_and_what_would_work() {
        for (text, said) in [
            (
                "[poll]\nintervall = \"1h\"",
                " line 2: unknown field `intervall`, expected one of `interval`",
            ),
            ("\n[polls]\n", " line 2: unknown field `polls`"),
            ("[poll]\n\ninterval = \"1 hour\"", " line 3: \"1 hour\" is no time: 500ms, 30s"),
            ("[poll]\ninterval = 3600", " line 2: invalid type: integer `3600`, expected a string"),
            ("[poll]\ninterval = \"99999d\"", " line 2: \"99999d\" is longer than ten years"),
            (
                "[poll]\ninterval = \"8d\"",
                ": poll schedule: interval is 8d, deactivate_after is 7d",
            ),
            (
                "[poll.overrides.chariz]\nstop_after = \"3h\"",
                ": poll.overrides.\"slug:chariz\": poll schedule: deactivate_after is 7d, stop_after is 3h",
            ),
            ("[poll.overrides.\"a b\"]\n", "names no source: slug:NAME"),
            ("[politeness]\nrest = \"2h\"", ": politeness: rest is 2h, rest_max is 1h: it grows"),
            ("[politeness]\npause = \"2d\"", ": politeness.pause is 2d: 0s to 1d would work"),
            (
                "[policy]\nexcept = [\n\"ok\",\n\"ftp://x\"]",
                "\"ftp://x\" is not an http:// or https://",
            ),
            ("[policy]\npublish_except = [\"p1\"]", "names no announcer: peer:NAME"),
            ("[policy]\nallow = 1", " line 2: invalid type: integer `1`, expected a boolean"),
            ("[leases]\nlifetime = \"4s\"", ": leases.lifetime is 4s: 5s to 1d would work"),
            ("[lists]\nrefresh = \"0s\"", ": lists.refresh is 0s: 1s or more would work"),
            ("[lists]\nsources = \"ftp://x\"", "a file's path, http:// or https:// would work"),
            ("[listeners]\npublic = \"8080\"", "or none, would work"),
            ("[brake]\nshare = 101", ": brake.share is 101: 0 to 100 percent"),
            ("[poll\n", " line 1: "),
            ("[poll]\ninterval = \"1h\"\ninterval = \"2h\"", " line 3: duplicate key"),
        ] {
            let why = File::parse(text).unwrap_err();
            assert!(why.contains(said), "{text:?}: {why}");
            assert!(!why.contains('\n'), "{why}");
        }
    }

    #[test]
    fn times_are_a_number_and_a_unit() {
        for (text, millis, shown) in [
            ("0s", 0, "0s"),
            ("500ms", 500, "500ms"),
            ("90s", 90_000, "90s"),
            ("60m", 3_600_000, "1h"),
            ("7d", 604_800_000, "7d"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0, Duration::from_millis(millis));
            assert_eq!(span.to_string(), shown);
        }
        for text in ["", "1", "s", "-1s", "1.5h", "1h30m", "1 h", "18446744073709551616s", "٣s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
