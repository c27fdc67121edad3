//! Who may be indexed, and who may announce for whom: a function of the operator's settings, the
//! block lists and the operator's decisions. No store, no clock, no network.
//!
//! `allow` and `publish` are answers for everybody; `except` and `publish_except` name those for
//! whom the opposite holds. So with `allow = true` the exceptions are blocked, and with
//! `allow = false` nobody else is allowed.
//!
//! | allow | in except | may be indexed | | who announces | source may be indexed | own entry in `publishers` | may announce |
//! | --- | --- | --- | --- | --- | --- | --- | --- |
//! | true | no | yes | | anybody | no | any | no, not even the source itself |
//! | true | yes | no | | the source itself | yes | any | yes |
//! | false | no | no | | another | yes | none | as `publish` and `publish_except` say |
//! | false | yes | yes | | another | yes | present | as the entry's `allow` and `except` say; the default is ignored |
//!
//! Before these come, in this order: the operator's decisions (`allow` and `block`), the narrowest
//! first; and the block lists, by host.

use crate::rules::decision::{Decided, Decision};
use crate::rules::entry::{Entry, Subject};
use canister_protocol::Source;
use canister_protocol::limits::NAME_BYTES_MAX;
use canister_protocol::uri;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Most hosts of a block list.
pub const BLOCKED_HOSTS_MAX: usize = 100_000;
/// Longest block list in bytes.
pub const BLOCK_LIST_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Section `policy` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySettings {
    /// Whether sources may be indexed.
    pub allow: bool,
    /// Sources for which the opposite holds.
    pub except: Vec<Entry>,
    /// Whether others than a source itself may announce for it.
    pub publish: bool,
    /// Announcers for whom the opposite holds.
    pub publish_except: Vec<Publisher>,
    /// Whether a source that was announced and is an APT repository is shown without the operator's
    /// approval.
    pub trust_announcements: bool,
    /// Who may announce for these sources, instead of `publish` and `publish_except`; where several
    /// name a source, the narrowest counts.
    pub publishers: BTreeMap<Entry, Publishers>,
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self {
            allow: true,
            except: Vec::new(),
            publish: true,
            publish_except: Vec::new(),
            trust_announcements: false,
            publishers: BTreeMap::new(),
        }
    }
}

/// Who may announce for one entry's sources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Publishers {
    /// Whether others than a source itself may. Left out it is false: then `except` are those who
    /// may.
    pub allow: bool,
    /// Announcers for whom the opposite holds.
    pub except: Vec<Publisher>,
}

/// Announcers, as the operator names them: `announcer:NAME`, `peer:NAME`, an address, or a network `192.0.2.0/24`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Publisher {
    /// Whoever has an announcer's certificate of this name.
    Certified(String),
    /// Whoever comes from here.
    Network(IpNet),
    /// The peer of this name.
    Peer(String),
}

/// One who announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announcer {
    /// Somebody at this address.
    Address(IpAddr),
    /// One with an announcer's certificate of this name.
    Certified(String),
    /// The source itself, proven: nobody becomes it by saying so.
    Itself,
    /// A peer over its session.
    Peer(String),
}

impl fmt::Display for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Certified(name) => write!(f, "announcer:{name}"),
            Self::Itself => f.write_str("itself"),
            Self::Peer(name) => write!(f, "peer:{name}"),
        }
    }
}

/// All that decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    pub settings: PolicySettings,
    /// Hosts of the block list in lower case; what is below them is blocked, too.
    pub blocked_hosts: BTreeSet<String>,
    /// The operator's, in force, those on held changes aside.
    pub decisions: Vec<Decision>,
}

/// What the policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyAnswer {
    pub is_allowed: bool,
    pub rule: Rule,
}

/// The one rule that it follows from. Displayed as the operator would find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// A host of the block list.
    BlockList(String),
    Decided(Decision),
    /// The answer for everybody.
    Default(Key),
    /// An exception from it, as it is written.
    Except(Key, String),
    /// A source may announce for itself.
    Itself,
    /// The source's uri can't be compared with anything.
    Odd(String),
}

/// Where in the configuration an answer for everybody stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// `policy.allow`
    Allow,
    /// `policy.publish`
    Publish,
    /// `policy.publishers."…"`
    Publishers(Entry),
}

impl Policy {
    /// Whether `source` may be indexed; or, where there is an announcer, whether it may announce
    /// for the source.
    pub fn answer(&self, source: &Source, announcer: Option<&Announcer>) -> PolicyAnswer {
        match Subject::of(source) {
            Ok(subject) => self.answer_on(&subject, announcer),
            Err(why) => PolicyAnswer { is_allowed: false, rule: Rule::Odd(why) },
        }
    }

    /// The same of what may not be a known source.
    pub fn answer_on(&self, subject: &Subject, announcer: Option<&Announcer>) -> PolicyAnswer {
        let answer = self.may_be_indexed(subject);
        match announcer {
            Some(announcer) if answer.is_allowed => self.may_announce(subject, announcer),
            _ => answer,
        }
    }

    /// Whether the operator names what lies at `uri`, to allow or to block it.
    pub fn is_named(&self, uri: &str) -> bool {
        let rule = Subject::at(uri).map(|subject| self.may_be_indexed(&subject).rule);
        matches!(rule, Ok(Rule::Decided(_) | Rule::Except(..)))
    }

    /// The operator's decisions that delist a source, by its slug.
    pub fn delisted(&self) -> HashMap<&str, &Decision> {
        let delisted = self.decisions.iter().filter_map(|decision| match &decision.said {
            Decided::Delist(slug) => Some((&**slug, decision)),
            _ => None,
        });
        delisted.collect()
    }

    fn may_be_indexed(&self, subject: &Subject) -> PolicyAnswer {
        let decided = self.decisions.iter().filter_map(|decision| match &decision.said {
            Decided::Allow(entry) => Some((entry, true, decision)),
            Decided::Block(entry) => Some((entry, false, decision)),
            _ => None,
        });
        if let Some((_, is_allowed, decision)) =
            Entry::narrowest(decided, |(entry, ..)| *entry, subject)
        {
            return PolicyAnswer { is_allowed, rule: Rule::Decided(decision.clone()) };
        }
        let mut hosts = subject.hosts();
        if let Some(host) = hosts.find(|&host| self.blocked_hosts.contains(host)) {
            return PolicyAnswer { is_allowed: false, rule: Rule::BlockList(host.to_owned()) };
        }
        let PolicySettings { allow, except, .. } = &self.settings;
        let exception = Entry::narrowest(except, |entry| entry, subject);
        eval(*allow, exception, Key::Allow)
    }

    fn may_announce(&self, subject: &Subject, announcer: &Announcer) -> PolicyAnswer {
        if *announcer == Announcer::Itself {
            return PolicyAnswer { is_allowed: true, rule: Rule::Itself };
        }
        let settings = &self.settings;
        let own = Entry::narrowest(&settings.publishers, |(entry, _)| entry, subject);
        let (allow, except, key) = match own {
            Some((entry, own)) => (own.allow, &own.except, Key::Publishers(entry.clone())),
            None => (settings.publish, &settings.publish_except, Key::Publish),
        };
        let exception = except.iter().find(|publisher| publisher.is(announcer));
        eval(allow, exception, key)
    }
}

impl PolicyAnswer {
    /// Whether the operator named this announcer for this source, and not only everybody.
    pub const fn is_of_named(&self) -> bool {
        self.is_allowed && matches!(self.rule, Rule::Except(..) | Rule::Itself)
    }
}

/// `default`, or the opposite where there is an exception.
fn eval<T: fmt::Display>(default: bool, exception: Option<&T>, key: Key) -> PolicyAnswer {
    match exception {
        None => PolicyAnswer { is_allowed: default, rule: Rule::Default(key) },
        Some(exception) => {
            PolicyAnswer { is_allowed: !default, rule: Rule::Except(key, exception.to_string()) }
        }
    }
}

impl Publisher {
    /// Whether this names `announcer`. An IPv4 address is itself in IPv6's form, too.
    fn is(&self, announcer: &Announcer) -> bool {
        match (self, announcer) {
            (Self::Network(network), Announcer::Address(address)) => {
                network.contains(&address.to_canonical())
            }
            (Self::Certified(name), Announcer::Certified(other))
            | (Self::Peer(name), Announcer::Peer(other)) => name == other,
            _ => false,
        }
    }
}

impl FromStr for Publisher {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        for kind in ["announcer:", "peer:"] {
            match text.strip_prefix(kind).map(|name| (name.len(), name.to_owned())) {
                Some((1..=NAME_BYTES_MAX, name)) if kind == "peer:" => return Ok(Self::Peer(name)),
                Some((1..=NAME_BYTES_MAX, name)) => return Ok(Self::Certified(name)),
                Some(_) => return Err(format!("{text:?}: use {kind}NAME")),
                None => {}
            }
        }
        text.parse::<IpAddr>()
            .map(|address| IpNet::from(address.to_canonical()))
            .or_else(|_| text.parse())
            .map(Self::Network)
            .map_err(|_| {
                format!(
                    "{text:?} names no announcer: use announcer:NAME, peer:NAME, 192.0.2.1 or \
                     192.0.2.0/24"
                )
            })
    }
}

impl fmt::Display for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certified(name) => write!(f, "announcer:{name}"),
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                write!(f, "{}", network.addr())
            }
            Self::Network(network) => write!(f, "{network}"),
            Self::Peer(name) => write!(f, "peer:{name}"),
        }
    }
}

impl From<Publisher> for String {
    fn from(publisher: Publisher) -> Self {
        publisher.to_string()
    }
}

impl TryFrom<String> for Publisher {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Announcer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "itself" {
            return Ok(Self::Itself);
        }
        match text.parse()? {
            Publisher::Certified(name) => Ok(Self::Certified(name)),
            Publisher::Peer(name) => Ok(Self::Peer(name)),
            Publisher::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                Ok(Self::Address(network.addr()))
            }
            Publisher::Network(_) => Err(format!(
                "{text:?} is many announcers: use announcer:NAME, peer:NAME, an address or itself"
            )),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => f.write_str("policy.allow"),
            Self::Publish => f.write_str("policy.publish"),
            Self::Publishers(entry) => write!(f, "policy.publishers.\"{entry}\".allow"),
        }
    }
}

impl fmt::Display for PolicyAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_allowed { "allowed" } else { "blocked" };
        write!(f, "{word}: ")?;
        match &self.rule {
            Rule::BlockList(host) => write!(f, "the block list names {host}"),
            Rule::Default(key) => write!(f, "{key} = {}", self.is_allowed),
            Rule::Except(key, exception) => {
                let list = match key {
                    Key::Allow => "policy.except".to_owned(),
                    Key::Publish => "policy.publish_except".to_owned(),
                    Key::Publishers(entry) => format!("policy.publishers.\"{entry}\".except"),
                };
                write!(f, "{key} = {}, but {list} names {exception}", !self.is_allowed)
            }
            Rule::Itself => f.write_str("it announces for itself"),
            Rule::Decided(decision) => write!(f, "{decision}"),
            Rule::Odd(why) => f.write_str(why),
        }
    }
}

/// A block list: a JSON array of hosts. Entries that are no host are counted, not fatal: such lists
/// are written by hand.
///
/// # Errors
/// One line: not such an array, too many, or none in it (a list that is there blocks somebody; an
/// empty one is a mistake of whoever serves it).
pub fn read_block_list(text: &[u8]) -> Result<(BTreeSet<String>, usize), String> {
    let entries: Vec<String> = serde_json::from_slice(text)
        .map_err(|cause| format!("not a JSON array of hosts: {cause}"))?;
    if entries.len() > BLOCKED_HOSTS_MAX {
        return Err(format!("{} hosts, at most {BLOCKED_HOSTS_MAX}", entries.len()));
    }
    let all = entries.len();
    let hosts: Vec<String> = entries.iter().flat_map(|text| uri::host(text)).collect();
    if hosts.is_empty() {
        return Err("no host in it".to_owned());
    }
    let skipped = all - hosts.len();
    Ok((hosts.into_iter().collect(), skipped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::timestamp::Timestamp;

    fn source(slug: &str, uri: &str) -> Source {
        Source {
            slug: slug.into(),
            uri: uri.into(),
            suite: "./".into(),
            ranking: 3,
            ..Source::default()
        }
    }

    fn entries(texts: &[&str]) -> Vec<Entry> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn publishers(texts: &[&str]) -> Vec<Publisher> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn decision(entry: &str, is_allowed: bool) -> Decision {
        let entry = entry.parse().unwrap();
        Decision {
            said: if is_allowed { Decided::Allow(entry) } else { Decided::Block(entry) },
            by: "root".into(),
            at: Timestamp::from_millis(1_700_000_000_000),
            why: "because".into(),
        }
    }

    fn with(settings: PolicySettings) -> Policy {
        Policy { settings, ..Policy::default() }
    }

    #[test]
    fn who_may_be_indexed() {
        let source = source("named", "https://repo.example");
        for (allow, is_excepted, is_allowed, said) in [
            (true, false, true, "allowed: policy.allow = true"),
            (true, true, false, "blocked: policy.allow = true, but policy.except names slug:named"),
            (false, false, false, "blocked: policy.allow = false"),
            (
                false,
                true,
                true,
                "allowed: policy.allow = false, but policy.except names slug:named",
            ),
        ] {
            let except = entries(if is_excepted { &["other", "named"] } else { &["other"] });
            let policy = with(PolicySettings { allow, except, ..PolicySettings::default() });
            let answer = policy.answer(&source, None);
            assert_eq!(answer.is_allowed, is_allowed, "{allow} {is_excepted}");
            assert_eq!(answer.to_string(), said);
        }
    }

    #[test]
    fn who_may_announce_for_whom() {
        let peer = Announcer::Peer("p1".into());
        let own = |allow, named| {
            let except = publishers(if named { &["peer:p1"] } else { &["peer:p2"] });
            Some(Publishers { allow, except })
        };
        // Whether the source may be indexed, who announces, publish, p1 in publish_except, the
        // source's own entry, answer, and what is said.
        let by_default = "policy.publish = ";
        let by_own = "policy.publishers.\"slug:named\".";
        let table = [
            // The notes' first row but for one thing: blocked stays blocked for itself, too.
            (false, &Announcer::Itself, true, false, None, false, "policy.allow"),
            (false, &Announcer::Itself, true, false, own(true, true), false, "policy.allow"),
            (true, &Announcer::Itself, true, false, None, true, "it announces for itself"),
            (true, &Announcer::Itself, false, false, None, true, "it announces for itself"),
            (true, &Announcer::Itself, false, false, own(false, false), true, "it announces"),
            // Blocked.
            (false, &peer, true, false, None, false, "policy.allow"),
            (false, &peer, false, true, None, false, "policy.allow"),
            (false, &peer, false, true, own(false, true), false, "policy.allow"),
            (false, &peer, true, true, own(true, false), false, "policy.allow"),
            // No entry of its own.
            (true, &peer, true, false, None, true, by_default),
            (true, &peer, true, true, None, false, by_default),
            (true, &peer, false, false, None, false, by_default),
            (true, &peer, false, true, None, true, by_default),
            // Its own entry, whatever the default is.
            (true, &peer, true, false, own(true, false), true, by_own),
            (true, &peer, true, false, own(true, true), false, by_own),
            (true, &peer, true, false, own(false, false), false, by_own),
            (true, &peer, true, false, own(false, true), true, by_own),
            (true, &peer, false, true, own(true, false), true, by_own),
            (true, &peer, false, true, own(true, true), false, by_own),
            (true, &peer, false, true, own(false, false), false, by_own),
            (true, &peer, false, true, own(false, true), true, by_own),
        ];
        for (is_allowed, announcer, publish, is_excepted, own, may, said) in table {
            let policy = with(PolicySettings {
                allow: is_allowed,
                publish,
                publish_except: publishers(if is_excepted { &["peer:p1"] } else { &[] }),
                publishers: own
                    .clone()
                    .map(|own| ("slug:named".parse().unwrap(), own))
                    .into_iter()
                    .collect(),
                ..PolicySettings::default()
            });
            let source = source("named", "https://repo.example");
            let answer = policy.answer(&source, Some(announcer));
            let row = (is_allowed, announcer, publish, is_excepted, own);
            assert_eq!(answer.is_allowed, may, "{row:?}");
            assert!(answer.to_string().contains(said), "{answer} {row:?}");
        }
    }

    #[test]
    fn announcers_are_named_by_peer_address_and_network() {
        for (publisher, announcer, is_named) in [
            ("peer:p1", "peer:p1", true),
            ("peer:p1", "peer:P1", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("2001:db8::/32", "2001:db8:9::1", true),
            ("::/0", "192.0.2.1", false),
            ("0.0.0.0/0", "peer:p1", false),
            ("peer:p1", "itself", false),
        ] {
            let announcer: Announcer = announcer.parse().unwrap();
            let publisher: Publisher = publisher.parse().unwrap();
            assert_eq!(publisher.is(&announcer), is_named, "{publisher}");
            assert_eq!(publisher.to_string().parse(), Ok(publisher));
        }
        for text in ["", "p1", "peer:", "192.0.2.0/33", "192.0.2"] {
            assert!(text.parse::<Publisher>().unwrap_err().contains("use "));
        }
        assert!("192.0.2.0/24".parse::<Announcer>().unwrap_err().contains("many"));
    }

    #[test]
    fn the_narrowest_publishers_count() {
        let own = |name: &str| Publishers { allow: false, except: publishers(&[name]) };
        let policy = with(PolicySettings {
            publishers: [
                ("host:example".parse().unwrap(), own("peer:wide")),
                ("https://repo.example/a".parse().unwrap(), own("peer:narrow")),
            ]
            .into(),
            ..PolicySettings::default()
        });
        let asked = |uri, name: &str| {
            let announcer = Announcer::Peer(name.into());
            policy.answer(&source("s", uri), Some(&announcer)).is_allowed
        };
        assert!(asked("https://repo.example/a/b", "narrow"));
        assert!(!asked("https://repo.example/a/b", "wide"));
        assert!(asked("https://repo.example/b", "wide"));
        assert!(!asked("https://repo.example/b", "narrow"));
    }

    #[test]
    fn decisions_come_first_then_the_block_list() {
        let (hosts, skipped) =
            read_block_list(br#"["Crack.example", "repo.appvv", "not a host", "10.0.0.1"]"#)
                .unwrap();
        assert_eq!(skipped, 1);
        let mut policy = with(PolicySettings {
            except: entries(&["slug:excepted"]),
            ..PolicySettings::default()
        });
        policy.blocked_hosts = hosts;
        let said = |policy: &Policy, slug, uri| policy.answer(&source(slug, uri), None).to_string();
        let crack = "https://apt.crack.example/x";
        assert_eq!(said(&policy, "s", crack), "blocked: the block list names crack.example");
        // Not even where the settings except it.
        policy.settings.allow = false;
        assert!(said(&policy, "excepted", crack).starts_with("blocked: the block list"));
        assert!(said(&policy, "excepted", "https://notcrack.example").starts_with("allowed"));
        policy.settings.allow = true;
        // But the operator's word counts more, and the narrower word most.
        policy.decisions.push(decision("crack.example", true));
        assert_eq!(
            said(&policy, "s", crack),
            "allowed: allow host:crack.example by root at 2023-11-14 22:13:20: because"
        );
        policy.decisions.push(decision("https://apt.crack.example/x", false));
        assert!(said(&policy, "s", crack).starts_with("blocked: block https://apt.crack"));
        policy.decisions.push(decision("slug:s", true));
        assert!(said(&policy, "s", crack).starts_with("allowed: allow slug:s"));
        assert!(said(&policy, "t", crack).starts_with("blocked: block https://apt.crack"));
        policy.decisions.push(decision("slug:excepted", true));
        assert!(said(&policy, "excepted", "https://fine.example").starts_with("allowed: allow"));
    }

    #[test]
    fn what_cannot_be_compared_is_blocked() {
        for (suite, why) in [("%2e%2E/", "has a step .."), ("a\\/", "has a backslash")] {
            let odd = Source { suite: suite.into(), ..source("odd", "https://repo.example/a") };
            assert_eq!(odd.check(), Ok(()));
            let answer = Policy::default().answer(&odd, Some(&Announcer::Itself));
            assert!(!answer.is_allowed);
            assert!(answer.to_string().contains(why), "{answer}");
        }
    }

    #[test]
    fn a_block_list_that_is_none_is_refused() {
        for (text, why) in [
            ("", "not a JSON array"),
            ("[]", "no host in it"),
            ("[\"a b\"]", "no host in it"),
            ("{\"hosts\": []}", "not a JSON array"),
            ("[\"a.example\", 1]", "not a JSON array"),
            ("[\"a.example\"", "not a JSON array"),
        ] {
            assert!(read_block_list(text.as_bytes()).unwrap_err().contains(why), "{text}");
        }
    }
}
