//! A source: one APT repository to index, and where its files are.

use crate::error::Error;
use crate::limits::{ALIASES_MAX, NAME_BYTES_MAX, SLUG_BYTES_MAX, URI_BYTES_MAX};
use crate::uri::Uri;
use nanoserde::{DeJson, SerJson};

/// One APT repository to index. A source is its slug: one uri may stand under several slugs with
/// different suites.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct Source {
    /// Its name in the catalogue: 1 to 64 of `A-Z a-z 0-9 . _ + -`.
    pub slug: String,
    /// Base of all its paths: `http://` or `https://`, with or without a final slash.
    pub uri: String,
    /// A suite (`stable`, `ios/1443.00`), or a directory ending in `/` (`./`) for a flat layout.
    pub suite: String,
    /// The component (`main`); none in a flat layout.
    pub component: Option<String>,
    /// The architecture whose index is read (`iphoneos-arm64`); none in a flat layout. The source
    /// list calls it `binary`.
    pub architecture: Option<String>,
    /// 1 (best) to 5: the catalogue's `quality`.
    pub ranking: u8,
    /// Other names under which the API finds it.
    pub aliases: Vec<String>,
    /// Whether a device's first packages come from it.
    pub bootstrap: bool,
    /// Headers that its server wants of a device, each `Name: value` with a name of
    /// [`DEVICE_HEADERS`]: the operator's exception for this source, made-up values, never a real
    /// device's.
    pub headers: Vec<String>,
}

/// The headers that a device sends to a repository, besides its User-Agent.
pub const DEVICE_HEADERS: [&str; 3] = ["X-Firmware", "X-Machine", "X-Unique-ID"];

impl Source {
    /// Whether every field is within its limits and the layout is one that exists.
    ///
    /// # Errors
    /// [`Error::Field`] naming the field and what would be right.
    pub fn check(&self) -> Result<(), Error> {
        let slug_byte = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
        if self.slug.is_empty()
            || self.slug.len() > SLUG_BYTES_MAX
            || !self.slug.bytes().all(slug_byte)
        {
            let why =
                format!("{:?} is not 1 to {SLUG_BYTES_MAX} of A-Z a-z 0-9 . _ + -", self.slug);
            return Err(Error::field("slug", why));
        }
        let uri = Uri::parse(&self.uri).map_err(|why| Error::field("uri", why))?;
        if !self.uri.starts_with(uri.scheme()) {
            return Err(Error::field("uri", format!("{:?} begins with capitals", self.uri)));
        }
        text("uri", &self.uri, URI_BYTES_MAX)?;
        path("suite", &self.suite)?;
        match (self.is_flat(), &self.component, &self.architecture) {
            (true, None, None) => {}
            (true, ..) => {
                let why = "given, but the suite ends in / (a flat layout has none)";
                return Err(Error::field("component", why));
            }
            (false, Some(component), Some(architecture)) => {
                path("component", component)?;
                path("architecture", architecture)?;
            }
            (false, None, _) => {
                let why = "missing, and the suite doesn't end in / (a flat layout)";
                return Err(Error::field("component", why));
            }
            (false, _, None) => {
                let why = "missing, and the suite doesn't end in / (a flat layout)";
                return Err(Error::field("architecture", why));
            }
        }
        if !(1..=5).contains(&self.ranking) {
            let why = format!("{} is not 1 to 5", self.ranking);
            return Err(Error::field("ranking", why));
        }
        if self.aliases.len() > ALIASES_MAX {
            let why = format!("{} of them, at most {ALIASES_MAX}", self.aliases.len());
            return Err(Error::field("aliases", why));
        }
        self.aliases.iter().try_for_each(|alias| text("aliases", alias, NAME_BYTES_MAX))?;
        self.check_headers()
    }

    /// Its headers, by name and value.
    pub fn device_headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers
            .iter()
            .filter_map(|header| header.split_once(':'))
            .map(|(name, value)| (name, value.trim()))
    }

    fn check_headers(&self) -> Result<(), Error> {
        for header in &self.headers {
            let name = header.split_once(':').map_or("", |(name, _)| name);
            let is_known = DEVICE_HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name));
            let is_visible = header.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
            if !is_known || !is_visible || header.len() > NAME_BYTES_MAX {
                let known = DEVICE_HEADERS.join(", ");
                let why = format!("{header:?} is not one of {known}, a colon and a value");
                return Err(Error::field("headers", why));
            }
        }
        if self.headers.len() > DEVICE_HEADERS.len() {
            let why = format!("{} of them, at most {}", self.headers.len(), DEVICE_HEADERS.len());
            return Err(Error::field("headers", why));
        }
        Ok(())
    }

    /// Whether Release and package index lie in one directory, as a suite ending in `/` says.
    pub fn is_flat(&self) -> bool {
        self.suite.ends_with('/')
    }

    /// The directory of Release: an address ending in `/`.
    ///
    /// Spec: sources.list(5), "exact path" and "suite".
    pub fn release_dir(&self) -> String {
        let uri = self.uri.trim_end_matches('/');
        if !self.is_flat() {
            return format!("{uri}/dists/{}/", self.suite);
        }
        let mut dir = format!("{uri}/");
        for step in self.suite.split('/').filter(|step| !step.is_empty() && *step != ".") {
            dir.push_str(step);
            dir.push('/');
        }
        dir
    }

    /// The path of the plain package index below [`release_dir`](Self::release_dir), which is also
    /// what Release calls it; compressed ones add `.gz`, `.xz`, ….
    pub fn index_path(&self) -> String {
        match (&self.component, &self.architecture) {
            (Some(component), Some(architecture)) => {
                format!("{component}/binary-{architecture}/Packages")
            }
            _ => "Packages".to_owned(),
        }
    }

    /// The host in the uri: sources that share it share a server. Empty where
    /// [`check`](Self::check) would refuse it.
    pub fn host(&self) -> String {
        Uri::parse(&self.uri).map_or_else(|_| String::new(), |uri| uri.host().to_owned())
    }
}

fn path(field: &'static str, value: &str) -> Result<(), Error> {
    text(field, value, NAME_BYTES_MAX)?;
    if value.is_empty() || value.starts_with('/') || value.split('/').any(|step| step == "..") {
        let why = format!("{value:?} is empty, starts with / or has a step ..");
        return Err(Error::field(field, why));
    }
    if value.contains(['?', '#']) {
        return Err(Error::field(field, format!("{value:?} has a ? or #")));
    }
    Ok(())
}

/// Visible ASCII without blanks, at most `limit` bytes: what can stand in an HTTP request line.
fn text(field: &'static str, value: &str, limit: usize) -> Result<(), Error> {
    if value.len() > limit {
        return Err(Error::field(field, format!("{} bytes, at most {limit}", value.len())));
    }
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = format!("{value:?} has a blank, a control or a non-ASCII character");
        return Err(Error::field(field, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn flat() -> Source {
        Source {
            slug: "chariz".into(),
            uri: "https://repo.example".into(),
            suite: "./".into(),
            ranking: 1,
            ..Source::default()
        }
    }

    fn dists() -> Source {
        Source {
            suite: "ios/1443.00".into(),
            component: Some("main".into()),
            architecture: Some("iphoneos-arm".into()),
            uri: "https://repo.example/apt/".into(),
            ..flat()
        }
    }

    #[test]
    fn layout_gives_the_paths() {
        let table = [
            (flat(), "https://repo.example/", "Packages"),
            (
                Source { suite: "sub/dir/".into(), ..flat() },
                "https://repo.example/sub/dir/",
                "Packages",
            ),
            (Source { suite: "./a//b/".into(), ..flat() }, "https://repo.example/a/b/", "Packages"),
            (
                dists(),
                "https://repo.example/apt/dists/ios/1443.00/",
                "main/binary-iphoneos-arm/Packages",
            ),
        ];
        for (source, dir, index) in table {
            assert_eq!(source.check(), Ok(()), "{source:?}");
            assert_eq!(source.release_dir(), dir);
            assert_eq!(source.index_path(), index);
        }
    }

    #[test]
    fn host_is_without_port_and_case() {
        for (uri, host) in [
            ("https://Repo.Example", "repo.example"),
            ("http://repo.example:8080/cydia", "repo.example"),
            ("http://repo.example./x", "repo.example"),
            ("http://127.0.0.1:1/", "127.0.0.1"),
            ("http://[::1]:8080/x", "::1"),
            ("repo.example", ""),
        ] {
            assert_eq!(Source { uri: uri.into(), ..flat() }.host(), host);
        }
    }

    #[test]
    fn each_bad_field_is_named() {
        let named = |source: Source| match source.check() {
            Err(Error::Field { field, .. }) => field,
            other => panic!("{other:?} for {source:?}"),
        };
        for slug in ["", "a b", "a/b", "é", &"x".repeat(65)] {
            assert_eq!(named(Source { slug: slug.into(), ..flat() }), "slug");
        }
        for uri in [
            "",
            "repo.example",
            "ftp://a",
            "https://",
            "https:///x",
            "http://a b",
            "http://u@h",
            "http://h/?q",
            "http://:80",
            "HTTP://h",
            " http://h",
            "http://h/a b",
            "http://h/ü",
            "http://h/../a",
            "http://h:0",
            "http://h:x/",
            "http://h:65536",
            "http://h:+80",
            "http://[::1",
            "http://[]",
            "http://[::1]80",
        ] {
            assert_eq!(named(Source { uri: uri.into(), ..flat() }), "uri", "{uri}");
        }
        for suite in ["", "../", "/", "a/../b/", "s p/", "a?/"] {
            assert_eq!(named(Source { suite: suite.into(), ..flat() }), "suite", "{suite}");
        }
        assert_eq!(named(Source { component: Some("main".into()), ..flat() }), "component");
        assert_eq!(named(Source { component: None, ..dists() }), "component");
        assert_eq!(named(Source { architecture: None, ..dists() }), "architecture");
        assert_eq!(named(Source { ranking: 0, ..flat() }), "ranking");
        assert_eq!(named(Source { ranking: 6, ..flat() }), "ranking");
        assert_eq!(named(Source { aliases: vec!["a".into(); 33], ..flat() }), "aliases");
        assert_eq!(named(Source { aliases: vec!["a\n".into()], ..flat() }), "aliases");
    }

    #[test]
    fn only_a_devices_headers_are_taken() {
        let with = |headers: &[&str]| Source {
            headers: headers.iter().map(|&header| header.to_owned()).collect(),
            ..flat()
        };
        let good = with(&["X-Machine: iPhone10,3", "x-firmware:16.5", "X-Unique-ID: 0"]);
        assert_eq!(good.check(), Ok(()));
        let found: Vec<_> = good.device_headers().collect();
        assert_eq!(found[..2], [("X-Machine", "iPhone10,3"), ("x-firmware", "16.5")]);
        for bad in ["", "X-Machine", "Host: x", "User-Agent: Sileo", "X-Machine: a\r\nHost: x"] {
            assert!(with(&[bad]).check().is_err(), "{bad}");
        }
        assert!(with(&["X-Machine: a"; 4]).check().is_err());
    }
}
