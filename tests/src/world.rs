//! The real source list on simulated servers: each source of Canister's list is served from this
//! machine, and what shares a server on the list shares an address here.
//!
//! The list's hosts become addresses of 127.0.0.0/8, and its uris are written anew with them: no
//! name is resolved, nothing real is asked. All customers of the static host (`*.github.io`) are on
//! one address; every other registrable domain is on one of its own, for one operator runs it. So to
//! the arbiter an address is an operator, as by name it would be.

use crate::origin::{Limit, Origin, Request, Validators};
use canister_arbiter::sources;
use canister_protocol::Source;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

/// The published list.
const LIST: &[u8] = include_bytes!("../data/index-repositories.json");
/// Its static host.
pub const STATIC_HOST: &str = "github.io";

/// What a server of the world takes of one client: one request at a time and some a second, which
/// is more than an arbiter's peer asks for, and far less than an indexer that runs ahead.
pub const LIMIT: Limit = Limit {
    at_once: 1,
    requests: 100,
    per: Duration::from_secs(1),
    strikes: 3,
    ban: Duration::from_secs(60 * 60),
};

/// The world.
pub struct World {
    /// The list's sources with uris of this world, in the list's order.
    pub sources: Vec<Source>,
    /// Servers by operator.
    origins: BTreeMap<String, Origin>,
    /// Each source's operator, and its path on the server.
    places: BTreeMap<String, (String, String)>,
}

/// What was asked of the world since the last look.
#[derive(Debug, Default)]
pub struct Asked {
    /// Requests in all.
    pub requests: usize,
    /// By source.
    pub by_source: BTreeMap<String, usize>,
    /// Of the operator that was asked most.
    pub most: usize,
    /// Most requests that one operator answered at once.
    pub peak: usize,
    /// Requests that were sent away with 429 or 403.
    pub sent_away: usize,
}

/// The operator of a host of the list: its registrable domain, which on this list is its last two
/// labels, or three below a suffix of two.
fn operator(host: &str) -> String {
    const SUFFIXES: [&str; 6] = [
        "co.uk",
        "com.au",
        "js.org",
        "net.in",
        "gitlab.io",
        "appspot.com",
    ];
    if host.ends_with(STATIC_HOST) {
        return STATIC_HOST.to_owned();
    }
    let labels: Vec<&str> = host.split('.').collect();
    let is_deep = SUFFIXES
        .iter()
        .any(|suffix| host.ends_with(&format!(".{suffix}")));
    let kept = if is_deep { 3 } else { 2 };
    labels[labels.len().saturating_sub(kept)..].join(".")
}

/// The published list's sources.
pub fn list() -> Vec<Source> {
    let list = sources::read(LIST).expect("the list is one");
    assert_eq!(list.skipped, [], "every entry is a source");
    list.sources
}

impl World {
    /// Every source of the list, healthy, with two packages each.
    pub fn start() -> Self {
        let mut world = Self {
            sources: Vec::new(),
            origins: BTreeMap::new(),
            places: BTreeMap::new(),
        };
        for source in list() {
            world.add(source);
        }
        for slug in world.slugs() {
            world.publish(&slug, 1);
        }
        world
    }

    fn add(&mut self, source: Source) {
        let host = source.host();
        let operator = operator(&host);
        let number = self.origins.len() as u32 + 1;
        let origin = self.origins.entry(operator.clone()).or_insert_with(|| {
            let origin = Origin::on(Ipv4Addr::from(0x7f01_0000 + number));
            origin.validators(match number % 3 {
                0 => Validators::Etag,
                1 => Validators::Both,
                _ => Validators::LastModified,
            });
            // Near ones and far ones.
            origin.latency(Duration::from_millis(5 + u64::from(number * 7 % 40)));
            origin.limit(LIMIT);
            origin
        });
        // A host's name is the first step of its paths: customers of one server don't meet.
        let (_, rest) = source.uri.split_once("://").expect("a uri has a scheme");
        let path = rest.find('/').map_or("", |at| &rest[at..]);
        let path = format!("/{host}{}", path.trim_end_matches('/'));
        let uri = format!("{}{path}", origin.uri());
        // Two suites at one uri are two slugs there, and may be one here with two slugs.
        self.places.insert(source.slug.clone(), (operator, path));
        self.sources.push(Source { uri, ..source });
    }

    /// All slugs, in the list's order.
    pub fn slugs(&self) -> Vec<String> {
        self.sources
            .iter()
            .map(|source| source.slug.clone())
            .collect()
    }

    /// The source of this slug.
    pub fn source(&self, slug: &str) -> &Source {
        let found = self.sources.iter().find(|source| source.slug == slug);
        found.expect("a slug of the world")
    }

    /// The server of a source.
    pub fn origin(&self, slug: &str) -> &Origin {
        &self.origins[&self.places[slug].0]
    }

    /// All operators.
    pub fn operators(&self) -> usize {
        self.origins.len()
    }

    /// Sources of the static host.
    pub fn on_static_host(&self) -> usize {
        let is_there = |place: &&(String, String)| place.0 == STATIC_HOST;
        self.places.values().filter(is_there).count()
    }

    /// The path of one of a source's files on its server.
    fn path(&self, slug: &str, file: &str) -> String {
        let source = self.source(slug);
        let base = self.origin(slug).uri();
        format!("{}{file}", &source.release_dir()[base.len()..])
    }

    /// Where a source's Release is on its server: every other one has no InRelease, and signs nothing.
    pub fn release(&self, slug: &str) -> String {
        let is_even = self.number(slug).is_multiple_of(2);
        self.path(slug, if is_even { "Release" } else { "InRelease" })
    }

    /// Whether a source has a package that is paid for: every third one has. None of them has a shop.
    fn is_paid(&self, slug: &str) -> bool {
        self.number(slug).is_multiple_of(3)
    }

    /// A source's place in the list; sources at one place have that of the first.
    fn number(&self, slug: &str) -> usize {
        let uri = &self.source(slug).uri;
        let found = self.sources.iter().position(|source| source.uri == *uri);
        found.expect("a slug of the world")
    }

    /// Publishes a source's `state`: two packages, the first of a version that is the state's
    /// number. Sources at one place are one repository.
    pub fn publish(&self, slug: &str, state: u32) {
        let source = self.source(slug);
        let architecture = source.architecture.as_deref().unwrap_or("iphoneos-arm");
        let tag = if self.is_paid(slug) {
            "Tag: cydia::commercial\n"
        } else {
            ""
        };
        let mut index = String::new();
        for (name, version) in [("changing", state), ("lasting", 1)] {
            let _ = write!(
                index,
                "Package: com.example.{name}\nVersion: {version}\nArchitecture: {architecture}\n\
                 Maintainer: {} <a@repo.example>\nFilename: debs/{name}_{version}.deb\n\
                 Size: {version}\n{tag}Description: {name} of a simulated repository\n\n",
                source.uri
            );
        }
        let digest: String = Sha256::digest(&index)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let release = format!(
            "Origin: {slug}\nLabel: {slug}\nSuite: {}\nArchitectures: {architecture}\nSHA256:\n \
             {digest} {} {}\n",
            source.suite,
            index.len(),
            source.index_path()
        );
        let origin = self.origin(slug);
        origin.put(&self.path(slug, &source.index_path()), index);
        // Release last: whoever asks in between sees an update that is under way.
        origin.put(&self.release(slug), release);
    }

    /// How often clients were banned so far.
    pub fn bans(&self) -> usize {
        self.origins.values().map(Origin::bans).sum()
    }

    /// What was asked since the last look.
    pub fn take_asked(&self) -> Asked {
        let mut asked = Asked::default();
        for origin in self.origins.values() {
            let requests = origin.take_requests();
            asked.requests += requests.len();
            asked.most = asked.most.max(requests.len());
            let is_sent_away = |request: &&Request| [403, 429].contains(&request.status);
            asked.sent_away += requests.iter().filter(is_sent_away).count();
            let peak = requests.iter().map(|request| request.concurrent).max();
            asked.peak = asked.peak.max(peak.unwrap_or(0));
            for request in requests {
                // The longest that fits: a source may lie below another's.
                let mine = self.places.iter().filter(|(_, (_, path))| {
                    let rest = request.path.strip_prefix(path.as_str());
                    rest.is_some_and(|rest| rest.starts_with('/'))
                });
                let Some((slug, _)) = mine.max_by_key(|(_, (_, path))| path.len()) else {
                    continue;
                };
                *asked.by_source.entry(slug.clone()).or_default() += 1;
            }
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_a_registrable_domain() {
        for (host, name) in [
            ("0neday.github.io", "github.io"),
            ("repo.chariz.com", "chariz.com"),
            ("chariz.com", "chariz.com"),
            ("test.apt.bingner.com", "bingner.com"),
            ("cydia.invoxiplaygames.uk", "invoxiplaygames.uk"),
            ("a.gitlab.io", "a.gitlab.io"),
        ] {
            assert_eq!(operator(host), name);
        }
    }
}
