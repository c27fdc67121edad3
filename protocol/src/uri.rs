//! One type for the address of a web server: what source lists, announcements, the operator's rules,
//! redirects and shops name.
//!
//! Two texts are read: an address that stands alone ([`Uri::parse`]), and a reference that means
//! something only where it was found ([`Uri::resolve`]). Both become what is asked for in a request.
//! Addresses are compared as places, by what a server reads in them: [`Uri::is_same_place`],
//! [`Uri::is_below`]. `==` compares what is asked for.
//!
//! Scheme and authority are taken apart here and not by `http::Uri`: that one refuses the blanks and
//! the UTF-8 that real servers send, takes user names and hosts of any form, and neither resolves,
//! decodes nor compares.
//!
//! Spec: RFC 3986 §5.2 (resolving), §6.2 (comparing).

use crate::limits::{HOST_BYTES_MAX, URI_BYTES_MAX, cut};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest path and query in bytes: a source's uri, all of it encoded, and a file below it.
pub const ADDRESS_BYTES_MAX: usize = 4 * URI_BYTES_MAX;

/// What is encoded in a path that was decoded (RFC 3986 §3.3), and in one that was not, or a query.
const DECODED: &AsciiSet = &all_but(b"-._~!$&'()*+,;=:@/");
const ENCODED: &AsciiSet = &all_but(b"-._~!$&'()*+,;=:@/?%");

const fn all_but(kept: &[u8]) -> AsciiSet {
    let mut set = NON_ALPHANUMERIC.remove(kept[0]);
    let mut at = 1;
    while at < kept.len() {
        set = set.remove(kept[at]);
        at += 1;
    }
    set
}

/// An `http://` or `https://` address.
///
/// Departures from RFC 3986, each so that no two spellings of a place are judged differently, or
/// because servers in the wild are like this:
///
/// - Blanks around an address are none of it; blanks and other characters that can't stand in a path
///   or query are encoded; a `%` that encodes nothing is `%25`.
/// - A slash and a backslash part steps, however they are encoded; a backslash as such is refused,
///   which some take for a slash.
/// - `%2e` is a dot: steps `.` and `..` are resolved however they are encoded. An address that
///   stands alone has no step `..`, and one behind an encoded slash is always refused.
/// - Control characters are refused in a path, encoded or not.
/// - User names are refused. An `@` in a path is none.
/// - A host is a name of letters, digits, `-` and `_`, in ASCII, in lower case, without a final dot;
///   or an address. There is no IDNA: `xn--…` is what to write. Names that end in a number are
///   refused, for they are IPv4 addresses to some; an IPv4 address within IPv6 is that IPv4 address.
/// - The scheme's own port is none, and so is an empty one; port 0 is refused.
/// - Both schemes at their own ports are one place, and so are both at a port that is neither's; http
///   at 443 is not. Empty steps and queries make no difference to a place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uri {
    is_https: bool,
    /// An IPv6 address is without brackets.
    host: String,
    /// None for the scheme's own.
    port: Option<u16>,
    /// As it is asked for: empty, or it begins with a slash.
    path: String,
    /// As it is asked for, without the question mark.
    query: Option<String>,
}

type Read<T> = Result<T, &'static str>;

impl Uri {
    /// Reads an address as people write it: of a directory, so it has neither query nor fragment.
    ///
    /// # Errors
    /// One line with what to do.
    pub fn parse(text: &str) -> Result<Self, String> {
        let alone = || {
            let (scheme, rest) = text.trim_ascii().split_once("://").ok_or(NO_ADDRESS)?;
            if rest.contains(['?', '#']) {
                return Err("has a query or a fragment");
            }
            if rest.split('/').any(|step| *decoded(step) == *b"..") {
                return Err("has a step ..");
            }
            Self::read(is_https(scheme)?, rest)
        };
        let wrong = |why| format!("{:?} {why}: use https://repo.example/path", cut(text, 200));
        alone().map_err(wrong)
    }

    /// Where a reference leads that was found here. It may have a query; a fragment is nothing to a
    /// server. Bytes that aren't UTF-8 are sent back as they came.
    ///
    /// # Errors
    /// One line.
    ///
    /// Spec: RFC 3986 §5.2.2, §5.2.3.
    pub fn resolve(&self, reference: &[u8]) -> Result<Self, String> {
        let text = match std::str::from_utf8(reference) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => percent_encode(reference, &AsciiSet::EMPTY).into(),
        };
        let referred = || {
            let (text, _) = parted(text.trim_ascii(), '#');
            let (path, query) = parted(text, '?');
            if let Some((scheme, _)) = parted(path, '/').0.split_once(':') {
                let rest = text[scheme.len() + 1..].strip_prefix("//").ok_or(NO_ADDRESS)?;
                return Self::read(is_https(scheme)?, rest);
            }
            if let Some(rest) = text.strip_prefix("//") {
                return Self::read(self.is_https, rest);
            }
            let query = query.or(if path.is_empty() { self.query.as_deref() } else { None });
            let (directory, _) = self.path.rsplit_once('/').unwrap_or_default();
            let path = match path.as_bytes() {
                [] => self.path.clone(),
                [b'/', ..] => path.to_owned(),
                _ => format!("{directory}/{path}"),
            };
            Self { path, ..self.clone() }.asked_for(query)
        };
        referred().map_err(|why| format!("{:?} {why}", cut(&text, 200)))
    }

    /// Puts an address together of parts that aren't encoded.
    ///
    /// # Errors
    /// One line.
    pub fn build(
        is_https: bool,
        name: &str,
        port: Option<u16>,
        path: &[u8],
    ) -> Result<Self, String> {
        let server = Self { is_https, host: host(name)?, port, path: String::new(), query: None };
        let text = format!("{server}/{}", percent_encode(path, DECODED));
        Self::parse(text.trim_end_matches('/'))
    }

    /// Reads what is behind a scheme.
    fn read(is_https: bool, rest: &str) -> Read<Self> {
        let (rest, query) = parted(rest, '?');
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("has a user name");
        }
        let name_end = match authority.find(']') {
            Some(at) => at + 1,
            None => authority.find(':').unwrap_or(authority.len()),
        };
        let (name, port) = authority.split_at(name_end);
        let port = match port.strip_prefix(':') {
            Some("") => None,
            None if port.is_empty() => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|port| *port != 0).ok_or(ODD_PORT)?)
            }
            _ => return Err(ODD_PORT),
        };
        let port = port.filter(|port| *port != own_port(is_https));
        Self { is_https, host: host_in(name)?, port, path: path.to_owned(), query: None }
            .asked_for(query)
    }

    /// Resolves and encodes what was read of a path and a query.
    fn asked_for(self, query: Option<&str>) -> Read<Self> {
        if self.path.contains('\\') {
            return Err("has a backslash");
        }
        let path = without_dots(&encoded(&self.path));
        let (read, query_read) = (decoded(&path).into_owned(), query.unwrap_or_default());
        let query = query.map(encoded);
        if read.iter().chain(query_read.as_bytes()).any(u8::is_ascii_control) {
            return Err("has a control character");
        }
        if read.split(parts_steps).any(|step| step == b"..") {
            return Err("has a step .. behind an encoded slash");
        }
        match path.len() + query.as_ref().map_or(0, String::len) {
            0..=ADDRESS_BYTES_MAX => Ok(Self { path, query, ..self }),
            _ => Err("is too long"),
        }
    }

    /// Whether it is asked for over TLS.
    pub const fn is_https(&self) -> bool {
        self.is_https
    }

    /// `http` or `https`.
    pub const fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }

    /// A name in lower case, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, be it said or the scheme's own.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or_else(|| own_port(self.is_https))
    }

    /// The server alone: scheme, host, and the port where it isn't the scheme's own.
    pub fn server(&self) -> String {
        Self { path: String::new(), query: None, ..self.clone() }.to_string()
    }

    /// Its path as it is asked for, without the query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The steps of its path as a server may read them: decoded, without empty ones.
    pub fn steps(&self) -> Vec<Vec<u8>> {
        let path = decoded(&self.path);
        let steps = path.split(parts_steps).filter(|step| !step.is_empty() && *step != b".");
        steps.map(<[u8]>::to_vec).collect()
    }

    /// The one spelling that all spellings of this place by this scheme have.
    #[must_use]
    pub fn normal(&self) -> Self {
        let steps = self.steps();
        let path = steps.iter().map(|step| format!("/{}", percent_encode(step, DECODED)));
        Self { path: path.collect(), query: None, ..self.clone() }
    }

    /// Whether both name one directory of one server, be it by http or by https.
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.is_below(other) && other.is_below(self)
    }

    /// Whether this is the other's place, or lies below it.
    pub fn is_below(&self, other: &Self) -> bool {
        let is_same_server = self.host == other.host && self.port == other.port;
        is_same_server && self.steps().starts_with(&other.steps())
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{}://{open}{}{close}", self.scheme(), self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)?;
        self.query.as_ref().map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}

const NO_ADDRESS: &str = "is not an http:// or https:// address";
const ODD_PORT: &str = "has an odd port";

/// A host's name or address in the one spelling that [`Uri::host`] has.
///
/// # Errors
/// One line with what to do.
pub fn host(text: &str) -> Result<String, String> {
    host_in(text).map_err(|why| format!("{:?} {why}: use repo.example", cut(text, 200)))
}

fn host_in(text: &str) -> Read<String> {
    let bare = text.strip_prefix('[').and_then(|literal| literal.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(text).parse::<Ipv6Addr>() {
        return Ok(address.to_canonical().to_string());
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_byte);
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    match name.len() <= HOST_BYTES_MAX && name.split('.').all(is_label) {
        _ if !text.is_ascii() => Err("names no host in ASCII (xn--…)"),
        false => Err("names no host"),
        true if is_number && name.parse::<Ipv4Addr>().is_err() => {
            Err("names no whole IPv4 address")
        }
        true => Ok(name),
    }
}

/// What somebody wrote as [`Uri::parse`] reads it; what is no address stays, to be refused by name.
pub fn as_meant(text: String) -> String {
    Uri::parse(&text).map_or(text, |uri| uri.to_string())
}

fn is_https(scheme: &str) -> Read<bool> {
    let is = |name: &str| scheme.eq_ignore_ascii_case(name);
    if is("https") || is("http") { Ok(is("https")) } else { Err(NO_ADDRESS) }
}

const fn own_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

/// What is before `mark`, and what is behind it, if it is there.
fn parted(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(before, behind)| (before, Some(behind)))
}

const fn parts_steps(byte: &u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

fn decoded(text: &str) -> Cow<'_, [u8]> {
    percent_decode_str(text).into()
}

/// Encodes what has to be; what is encoded already stays as it is.
fn encoded(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    for (number, part) in text.split('%').enumerate() {
        let digits = part.as_bytes().get(..2).unwrap_or_default();
        let is_code = digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit);
        whole.push_str(match (number, is_code) {
            (0, _) => "",
            (_, true) => "%",
            (_, false) => "%25",
        });
        whole.extend(percent_encode(part.as_bytes(), ENCODED));
    }
    whole
}

/// Spec: RFC 3986 §5.2.4.
fn without_dots(path: &str) -> String {
    let mut steps = Vec::new();
    for step in path.split_inclusive('/') {
        match &*decoded(step.trim_end_matches('/')) {
            b"." => {}
            // The first is the slash that a path begins with.
            b".." => steps.truncate(steps.len().saturating_sub(1).max(1)),
            _ => steps.push(step),
        }
    }
    steps.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_asked_for_as_it_is_meant() {
        for (text, asked, normal) in [
            ("https://repo.example", "https://repo.example", "https://repo.example"),
            ("HTTPS://Repo.Example./", "https://repo.example/", "https://repo.example"),
            ("https://repo.example:443//", "https://repo.example//", "https://repo.example"),
            ("http://repo.example:80/a/", "http://repo.example/a/", "http://repo.example/a"),
            ("http://h:443/a", "http://h:443/a", "http://h:443/a"),
            ("http://h:/a//b/./", "http://h/a//b/", "http://h/a/b"),
            ("https://h/%2e/a/%2E", "https://h/a/", "https://h/a"),
            ("https://h/%7euser/c%2b%2B", "https://h/%7euser/c%2b%2B", "https://h/~user/c++"),
            ("https://h/a%2fb%5cc", "https://h/a%2fb%5cc", "https://h/a/b/c"),
            ("https://h/%c3%bc/ü", "https://h/%c3%bc/%C3%BC", "https://h/%C3%BC/%C3%BC"),
            ("\t https://h/a b/100% \r\n", "https://h/a%20b/100%25", "https://h/a%20b/100%25"),
            ("https://h/[^`{|}<>]\"", "https://h/%5B%5E%60%7B%7C%7D%3C%3E%5D%22", ""),
            ("https://h/%252e%252e/%3F%23", "https://h/%252e%252e/%3F%23", ""),
            ("https://h/npm@1/%40", "https://h/npm@1/%40", "https://h/npm@1/@"),
            ("http://[0:0::1]:8080/x", "http://[::1]:8080/x", "http://[::1]:8080/x"),
            ("http://[::FFFF:192.0.2.1]", "http://192.0.2.1", "http://192.0.2.1"),
            ("http://127.0.0.1:1", "http://127.0.0.1:1", "http://127.0.0.1:1"),
            ("http://a_b-c.example/Case", "http://a_b-c.example/Case", ""),
        ] {
            let uri = Uri::parse(text).unwrap();
            assert_eq!(uri.to_string(), asked);
            assert_eq!(uri.normal().to_string(), if normal.is_empty() { asked } else { normal });
            for again in [&uri, &uri.normal()] {
                assert_eq!(Uri::parse(&again.to_string()).as_ref(), Ok(again));
                assert!(again.is_same_place(&uri));
            }
        }
    }

    #[test]
    fn what_is_no_address_of_a_directory_is_refused() {
        let long = format!("https://h/{}", "a".repeat(ADDRESS_BYTES_MAX));
        let grows = format!("https://h/{}", "ü".repeat(ADDRESS_BYTES_MAX / 4));
        let name = format!("https://{}example", "a.".repeat(130));
        for (texts, why) in [
            (&["", "repo.example", "ftp://h", "://h", "//h", "http:/h", " "][..], "not an http://"),
            (&["https://h/?", "https://h?q", "https://h#f", "https://h/a#"], "a query or a frag"),
            (&["https://u@h", "https://u:p@h/", "https://@h"], "a user name"),
            (&["https://h/../a", "https://h/a/%2e%2E/b", "https://h/.%2e"], "has a step .."),
            (&["https://h/a%2f..%2Fb", "https://h/..%5c"], "behind an encoded slash"),
            (&["https://h/a\\b", "https://h/\\..\\a"], "a backslash"),
            (
                &["https://h/a%00", "https://h/a%0ab", "https://h/\u{7f}", "https://h/a\tb"],
                "a contr",
            ),
            (&["https://h:0", "https://h:+1", "https://h:65536", "https://[::1]x"], "an odd port"),
            (&["https://", "https:///a", "https://:80", "https://a b", "https://h%2Fa"], "no host"),
            (
                &["https://a..b", "https://a..", "https://h\\a/", "https://a\tb", "https://."],
                "no host",
            ),
            (&["https://[]", "https://[::1%25eth0]", "https://[1.2.3.4]", "https://a]"], "no host"),
            (&["https://[::1", "https://::1/x", "https://a:b:1"], "an odd port"),
            (&["https://é.example", "https://ｈ"], "no host in ASCII"),
            (
                &["https://1.2.3", "https://0x7f000001", "https://127.0.0.01", "http://9"],
                "whole IPv4",
            ),
            (&[&long, &grows], "is too long"),
            (&[&name], "no host"),
        ] {
            for text in texts {
                let said = Uri::parse(text).unwrap_err();
                assert!(said.contains(why) && said.contains("use "), "{said}");
                assert!(said.len() < 400, "{said}");
            }
        }
    }

    /// Spec: RFC 3986 §5.4, without the references that lead to no web server.
    #[test]
    fn references_are_resolved() {
        let base = Uri::parse("http://a").unwrap().resolve(b"/b/c/d;p?q").unwrap();
        for (reference, asked) in [
            ("http://g", "http://g"),
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("g;x", "http://a/b/c/g;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../", "http://a/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("../../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            (".g", "http://a/b/c/.g"),
            ("g..", "http://a/b/c/g.."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"),
            ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/./x", "http://a/b/c/g?y/./x"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            // What servers send besides.
            ("%2e%2E/g", "http://a/b/g"),
            ("/g h/\u{e9}?\u{e9} \"\\%2g", "http://a/g%20h/%C3%A9?%C3%A9%20%22%5C%252g"),
            ("\t HTTPS://G.:443/a//b@c?d:e ", "https://g/a//b@c?d:e"),
            ("//g:8080?x", "http://g:8080?x"),
        ] {
            assert_eq!(base.resolve(reference.as_bytes()).unwrap().to_string(), asked);
        }
        assert_eq!(base.resolve(b"/\xe9").unwrap().to_string(), "http://a/%E9");
        let host = Uri::parse("http://a").unwrap();
        assert_eq!(host.resolve(b"g").unwrap().to_string(), "http://a/g");
        for reference in [
            "g:h",
            "http:g",
            "javascript:x",
            "ftp://g",
            "//u@g",
            "//g:0",
            "///g",
            "\\g",
            "/\\g",
            "/a\\..\\g",
            "/a%2f../%2e%2e%2fg",
            "/g%0d",
            "/g\rh",
            "/g?\nh",
            "//\u{e9}",
            &format!("/{}", "a".repeat(ADDRESS_BYTES_MAX)),
            &format!("?{}", " ".repeat(ADDRESS_BYTES_MAX / 2) + "a"),
        ] {
            let said = base.resolve(reference.as_bytes()).unwrap_err();
            assert!(said.starts_with('"') && said.len() < 400, "{said}");
        }
    }

    #[test]
    fn both_schemes_are_one_place_at_their_own_ports() {
        let (place, below) = (Uri::is_same_place, Uri::is_below);
        for (a, b, is_same, is_below) in [
            ("http://h/a", "https://H/a/", true, true),
            ("http://h:8080", "https://h:8080", true, true),
            ("http://h:8080", "https://h", false, false),
            ("http://h:443/a", "http://h", false, false),
            ("http://h:443", "https://h", false, false),
            ("http://h/a", "http://h/A", false, false),
            ("http://h", "http://i", false, false),
            ("http://h/a/b", "http://h/a", false, true),
            ("http://h/ab", "http://h/a", false, false),
            ("http://h/a", "http://h/a/b", false, false),
            ("http://h/a%2Fb", "http://h/%61/b", true, true),
        ] {
            let (a, b) = (Uri::parse(a).unwrap(), Uri::parse(b).unwrap());
            assert_eq!((place(&a, &b), below(&a, &b)), (is_same, is_below), "{a} {b}");
        }
    }

    #[test]
    fn a_path_of_bytes_is_encoded() {
        let built = |name: &str, path: &[u8]| Uri::build(true, name, Some(8443), path);
        let uri = built("H.", b"a%2F/\xff\\b").unwrap();
        assert_eq!(uri.to_string(), "https://h:8443/a%252F/%FF%5Cb");
        for path in [&b""[..], b"/", b"//"] {
            assert_eq!(built("[::1]", path).unwrap().to_string(), "https://[::1]:8443");
        }
        for (name, path) in [("h/a", &b""[..]), ("u@h", b""), ("h", b"a/../b"), ("h", b"\0")] {
            assert!(built(name, path).is_err(), "{name}");
        }
    }
}
