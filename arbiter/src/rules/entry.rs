//! What the operator names sources by, in policy, poll overrides and commands: a slug, a host, or
//! the prefix of a uri.
//!
//! | written | names |
//! | --- | --- |
//! | `slug:chariz`, or a word without a dot | the source of that slug, as it is spelled |
//! | `host:repo.example`, or a word with a dot | that host and all hosts below it: `apt.repo.example`, but not `myrepo.example` |
//! | `https://repo.example/apt` | what lies at that path or below it: `/apt/ios`, but not `/apt2` |
//!
//! Hosts and places are compared as [`Uri`] says. A prefix's host is that host alone.

use canister_protocol::limits::SLUG_BYTES_MAX;
use canister_protocol::uri::host;
use canister_protocol::{Source, Uri};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// One of the operator's names for sources.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Entry {
    /// This host and those below it, as [`Uri::host`] spells them.
    Host(String),
    Slug(String),
    /// What lies here or below, in its normal spelling.
    Uri(Uri),
}

/// A source, as far as an entry can name it. A source that was announced and isn't known has no
/// slug yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    slug: Option<String>,
    uri: Uri,
}

impl Subject {
    /// A source on the list. Its place is the directory of its Release: a suite may be a path, too.
    ///
    /// # Errors
    /// One line: its host is none, or its uri climbs (`..`).
    pub fn of(source: &Source) -> Result<Self, String> {
        Ok(Self { slug: Some(source.slug.clone()), uri: Uri::parse(&source.release_dir())? })
    }

    /// What lies at `uri`, whatever it is called.
    ///
    /// # Errors
    /// One line with what to do.
    pub fn at(uri: &str) -> Result<Self, String> {
        Ok(Self { slug: None, uri: Uri::parse(uri)? })
    }

    /// Its host, in lower case.
    pub fn host(&self) -> &str {
        self.uri.host()
    }

    /// Its host and every name above it, the longest first; an address is alone.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        let host = self.host();
        let is_address = host.parse::<IpAddr>().is_ok();
        std::iter::successors(Some(host), move |name| {
            let (_, above) = name.split_once('.')?;
            (!is_address).then_some(above)
        })
    }
}

impl Entry {
    /// How narrowly this names `subject`, as a number to compare; `None` if it doesn't. A slug is
    /// narrower than any uri, a uri than any host, a longer one than a shorter.
    pub fn names(&self, subject: &Subject) -> Option<usize> {
        const HOST: usize = 0;
        const URI: usize = 1_000_000;
        const SLUG: usize = 2_000_000;
        match self {
            Self::Host(host) => subject.hosts().any(|name| name == host).then(|| HOST + host.len()),
            Self::Slug(slug) => (subject.slug.as_ref() == Some(slug)).then_some(SLUG),
            Self::Uri(prefix) => subject.uri.is_below(prefix).then(|| URI + prefix.steps().len()),
        }
    }

    /// The one of `entries` that names `subject` most narrowly.
    pub fn narrowest<T>(
        entries: impl IntoIterator<Item = T>,
        entry: impl Fn(&T) -> &Self,
        subject: &Subject,
    ) -> Option<T> {
        entries
            .into_iter()
            .filter_map(|item| Some((entry(&item).names(subject)?, item)))
            .max_by_key(|(narrowness, _)| *narrowness)
            .map(|(_, item)| item)
    }
}

/// What the operator gave for some sources; the narrowest entry counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenFor<T>(pub Vec<(Entry, T)>);

impl<T> GivenFor<T> {
    /// What was given for a source.
    pub fn of(&self, source: &Source) -> Option<&T> {
        if self.0.is_empty() {
            return None;
        }
        let subject = Subject::of(source).ok()?;
        Entry::narrowest(&self.0, |(entry, _)| entry, &subject).map(|(_, given)| given)
    }
}

impl<T> Default for GivenFor<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(f, "host:{host}"),
            Self::Slug(slug) => write!(f, "slug:{slug}"),
            Self::Uri(uri) => uri.fmt(f),
        }
    }
}

impl From<Entry> for String {
    fn from(entry: Entry) -> Self {
        entry.to_string()
    }
}

impl TryFrom<String> for Entry {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Entry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Uri::parse(text).map(|uri| Self::Uri(uri.normal()));
        }
        if let Some(name) = text.strip_prefix("host:") {
            return host(name).map(Self::Host);
        }
        let (is_slug, name) = match text.strip_prefix("slug:") {
            Some(name) => (true, name),
            None => (!text.contains('.'), text),
        };
        if !is_slug {
            return host(name).map(Self::Host);
        }
        let is_right = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        if name.is_empty() || name.len() > SLUG_BYTES_MAX || !name.bytes().all(is_right) {
            return Err(format!(
                "{text:?} names no source: use slug:NAME, host:NAME or https://HOST/PATH"
            ));
        }
        Ok(Self::Slug(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canister_protocol::uri::ADDRESS_BYTES_MAX;

    fn named(entry: &str, uri: &str) -> bool {
        let entry: Entry = entry.parse().unwrap();
        entry.names(&Subject::at(uri).unwrap()).is_some()
    }

    #[test]
    fn hosts_name_themselves_and_what_is_below_them() {
        for (entry, uri, is_named) in [
            ("repo.example", "https://repo.example", true),
            ("host:repo.example", "http://REPO.Example.:8080/a", true),
            ("REPO.example.", "https://repo.example/", true),
            ("repo.example", "https://apt.ios.repo.example/x", true),
            ("repo.example", "https://myrepo.example", false),
            ("repo.example", "https://repo.example.org", false),
            ("apt.repo.example", "https://repo.example", false),
            ("host:example", "https://repo.example", true),
            ("host:localhost", "http://localhost:9/", true),
            ("192.0.2.1", "http://192.0.2.1/", true),
            ("host:192.0.2.1", "http://[::ffff:192.0.2.1]/", true),
            ("host:[2001:DB8::1]", "http://[2001:db8:0::1]:80/", true),
            ("host:2001:db8::2", "http://[2001:db8::1]/", false),
        ] {
            assert_eq!(named(entry, uri), is_named, "{entry} {uri}");
        }
    }

    #[test]
    fn prefixes_end_where_a_step_ends() {
        for (entry, uri, is_named) in [
            ("https://repo.example", "https://repo.example/apt", true),
            ("https://repo.example/apt", "https://repo.example/apt", true),
            ("https://repo.example/apt/", "https://repo.example/apt", true),
            ("https://repo.example/apt", "http://repo.example/apt/ios/", true),
            ("https://repo.example/apt", "https://repo.example/apt2", false),
            ("https://repo.example/apt", "https://repo.example/", false),
            ("https://repo.example/apt", "https://repo.example/Apt", false),
            ("https://REPO.example/apt", "HTTPS://repo.Example//./apt", true),
            ("https://repo.example/apt", "https://repo.example/%61pt", true),
            ("https://repo.example/apt/ios", "https://repo.example/apt%2fios", true),
            ("https://repo.example/a", "https://apt.repo.example/a", false),
            ("https://repo.example:443/a", "https://repo.example/a", true),
            ("https://repo.example/a", "https://repo.example:/a", true),
            ("http://repo.example:80/a", "https://repo.example/a", true),
            ("https://repo.example/a", "https://repo.example/%2E/a%5cb", true),
            ("https://repo.example/a b", "https://repo.example/a%20b/c", true),
            ("https://repo.example/ä", "https://repo.example/%c3%A4", true),
            ("https://repo.example/50%", "https://repo.example/50%25", true),
            ("https://repo.example:8443/a", "https://repo.example/a", false),
        ] {
            assert_eq!(named(entry, uri), is_named, "{entry} {uri}");
        }
    }

    #[test]
    fn a_source_is_where_its_release_is() {
        let source = Source {
            slug: "deep".into(),
            uri: "https://repo.example".into(),
            suite: "apt/ios/".into(),
            ranking: 3,
            ..Source::default()
        };
        let subject = Subject::of(&source).unwrap();
        for (entry, is_named) in [
            ("deep", true),
            ("slug:deep", true),
            ("Deep", false),
            ("dee", false),
            ("https://repo.example/apt", true),
            ("https://repo.example/apt/ios", true),
            ("https://repo.example/apt/mac", false),
        ] {
            let entry: Entry = entry.parse().unwrap();
            assert_eq!(entry.names(&subject).is_some(), is_named, "{entry}");
        }
        // What isn't known yet has no slug.
        let unknown = Subject::at("https://repo.example/apt/ios").unwrap();
        assert_eq!("deep".parse::<Entry>().unwrap().names(&unknown), None);
    }

    #[test]
    fn the_narrowest_entry_counts() {
        let source = Source {
            slug: "a".into(),
            uri: "https://apt.repo.example/x/y".into(),
            suite: "./".into(),
            ranking: 3,
            ..Source::default()
        };
        let subject = Subject::of(&source).unwrap();
        // From the widest to the narrowest.
        let mut entries: Vec<Entry> = [
            "host:example",
            "repo.example",
            "apt.repo.example",
            "https://apt.repo.example",
            "https://apt.repo.example/x",
            "https://apt.repo.example/x/y",
            "slug:a",
        ]
        .map(|text| text.parse().unwrap())
        .into();
        entries.insert(0, "slug:other".parse().unwrap());
        while entries.len() > 1 {
            let found = Entry::narrowest(&entries, |entry| entry, &subject);
            assert_eq!(found, entries.last());
            entries.pop();
        }
        assert_eq!(Entry::narrowest(&entries, |entry| entry, &subject), None);
    }

    #[test]
    fn entries_are_written_as_they_are_read() {
        for (text, written) in [
            ("chariz", "slug:chariz"),
            ("slug:a.b", "slug:a.b"),
            ("Repo.Example", "host:repo.example"),
            ("host:example", "host:example"),
            ("HTTPS://Repo.Example:443//A/%2e/%62/", "https://repo.example/A/b"),
        ] {
            let entry: Entry = text.parse().unwrap();
            assert_eq!(entry.to_string(), written);
            assert_eq!(written.parse::<Entry>(), Ok(entry));
        }
    }

    #[test]
    fn what_names_nothing_is_refused_with_what_would_work() {
        for text in [
            "",
            "slug:",
            "slug:a b",
            "host:",
            "host:a..b",
            "a b.example",
            "häuser.example",
            "ftp://repo.example",
            "https://",
            "https://user@repo.example",
            "https://repo.example/?q",
            "https://repo.example/a/../b",
            "https://repo.example/%2e%2E/b",
            "https://repo.example/a%2F..%2fb",
            "https://repo.example/a\\b",
            "https://repo.example/a%00",
            "https://repo.example:0",
            "https://192.0.2",
            "host:2.1",
            "https://repo.example:99999",
            "https://repo.example:1x",
            "https://[::1",
            "https://[::1]x",
            &"a".repeat(65),
            &format!("https://repo.example/{}", "a".repeat(ADDRESS_BYTES_MAX)),
        ] {
            let why = text.parse::<Entry>().unwrap_err();
            assert!(why.contains("use "), "{why}");
            assert!(why.len() < 400, "{why}");
        }
    }
}
