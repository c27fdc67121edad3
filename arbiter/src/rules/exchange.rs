//! What arbiters tell each other of sources: `/sources.json` of the public listener, which `import` reads. And
//! what is made of that here, a function of what is known: nothing that is known changes, what the operator
//! decided outranks what others did, and nothing is taken that the policy is against.
//!
//! `{"version":1,"program":…,"sources":[…],"decisions":[…]}`. A source has the keys of a source list, and may have
//! `head`, the Cid that was last read, and `unseen`, whether nobody knows that it is an APT repository. A decision has
//! `decision` (`block` or `delist`), `subject`, `why`, and `uri` where the subject is a slug: slugs are each
//! arbiter's own. Peers, who decided, and what is allowed are nobody else's.
//!
//! | read as well | looks like |
//! | --- | --- |
//! | a source list | an array of sources |
//! | `/providers` of an IPNI indexer | an array of objects with `AddrInfo` and perhaps `Publisher`; each web address is a source to be looked at |

use super::model::{SourceState, Stage};
use crate::rules::announcement::web_address;
use crate::rules::decision::{Decided, Decision};
use crate::rules::entry::Entry;
use crate::rules::policy::Policy;
use crate::rules::sources::{self, LIST_BYTES_MAX, LIST_ENTRIES_MAX};
use crate::rules::timestamp::Timestamp;
use canister_protocol::address::is_public_host;
use canister_protocol::limits::TEXT_BYTES_MAX;
use canister_protocol::message::cut;
use canister_protocol::{Head, Source, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// The number of this format.
pub const VERSION: u64 = 1;
/// Most decisions of a document.
const DECISIONS_MAX: usize = 10_000;
/// Ranking of a source that a provider list names: the last.
const RANKING_UNKNOWN: u8 = 5;

/// What another tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedSources {
    pub sources: Vec<ToldSource>,
    pub decisions: Vec<ToldDecision>,
    /// What of it can't be used, and why, a line each.
    pub skipped: Vec<String>,
}

/// A source of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToldSource {
    pub source: Source,
    /// The head that was last read there.
    pub head: Option<String>,
    /// Whether nobody knows that it is an APT repository.
    pub is_unseen: bool,
}

/// A decision of it: a block, or a source that is delisted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldDecision {
    pub said: Decided,
    /// Where the source is that is named by its slug.
    pub uri: Option<String>,
    pub why: String,
}

impl ToldSource {
    /// As `/sources.json` has it.
    pub fn to_json(&self) -> Value {
        let Source {
            slug,
            uri,
            suite,
            component,
            architecture,
            ranking,
            aliases,
            bootstrap,
            headers,
        } = &self.source;
        let mut entry = json!({
            "slug": slug, "uri": uri, "suite": suite, "ranking": ranking, "aliases": aliases,
            "bootstrap": bootstrap, "headers": headers,
        });
        let more = [("component", component), ("binary", architecture), ("head", &self.head)];
        for (key, value) in more {
            if let Some(value) = value {
                entry[key] = json!(value);
            }
        }
        if self.is_unseen {
            entry["unseen"] = json!(true);
        }
        entry
    }
}

impl ToldDecision {
    /// The slugs of which a policy decided something that others may be told.
    pub fn slugs(policy: &Policy) -> Vec<String> {
        let slugs = policy.decisions.iter().filter_map(|it| slug_of(&it.said).flatten());
        slugs.map(str::to_owned).collect()
    }

    /// The decisions that others may be told, of sources that are known to be at `uris`, by slug.
    pub fn of(policy: &Policy, uris: &HashMap<String, String>) -> Vec<Self> {
        let told = policy.decisions.iter().filter_map(|Decision { said, why, .. }| {
            let slug = slug_of(said)?;
            let uri = match slug {
                Some(slug) => Some(uris.get(slug)?.clone()),
                None => None,
            };
            Some(Self { said: said.clone(), uri, why: why.clone() })
        });
        told.collect()
    }

    /// As `/sources.json` has it.
    fn to_json(&self) -> Value {
        let mut entry = json!({
            "decision": self.said.word(), "subject": self.said.subject(), "why": self.why,
        });
        if let Some(uri) = &self.uri {
            entry["uri"] = json!(uri);
        }
        entry
    }
}

impl SharedSources {
    /// As `/sources.json` has it.
    pub fn to_json(&self, program: &str) -> Value {
        json!({
            "version": VERSION,
            "program": program,
            "sources": self.sources.iter().map(ToldSource::to_json).collect::<Vec<_>>(),
            "decisions": self.decisions.iter().map(ToldDecision::to_json).collect::<Vec<_>>(),
        })
    }

    /// Reads any of the JSON forms.
    ///
    /// # Errors
    /// What is wrong, in a line.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > LIST_BYTES_MAX {
            return Err(format!("longer than {LIST_BYTES_MAX} bytes"));
        }
        let value = serde_json::from_slice(bytes).map_err(|cause| format!("not JSON: {cause}"))?;
        Self::of_json(value)
    }

    /// The same of what was read as JSON.
    ///
    /// # Errors
    /// What is wrong, in a line.
    pub fn of_json(value: Value) -> Result<Self, String> {
        let (entries, decisions) = match value {
            Value::Array(entries) => (entries, Vec::new()),
            Value::Object(mut fields) => {
                match fields.get("version") {
                    Some(version) if *version == json!(VERSION) => {}
                    Some(version) => {
                        return Err(format!("its version is {version}, not {VERSION}"));
                    }
                    None => return Err("an object without version is no list of sources".into()),
                }
                let mut list = |key: &str| match fields.remove(key) {
                    Some(Value::Array(list)) => Ok(list),
                    _ => Err(format!("{key} is not an array")),
                };
                (list("sources")?, list("decisions")?)
            }
            _ => return Err("neither an object nor an array".to_owned()),
        };
        if entries.len() > LIST_ENTRIES_MAX || decisions.len() > DECISIONS_MAX {
            return Err(format!(
                "it has {} sources and {} decisions, at most {LIST_ENTRIES_MAX} and {DECISIONS_MAX}",
                entries.len(),
                decisions.len()
            ));
        }
        let mut told = Self::default();
        for (number, entry) in entries.into_iter().enumerate() {
            let read = match entry.get("AddrInfo") {
                Some(_) => provider(&entry),
                None => source(entry),
            };
            match read {
                Ok(source) => told.sources.push(source),
                Err(why) => told.skipped.push(format!("source {number}: {}", short(&why))),
            }
        }
        for (number, entry) in decisions.iter().enumerate() {
            match decision(entry) {
                Some(decision) => told.decisions.push(decision),
                None => told.skipped.push(format!("decision {number}: neither block nor delist")),
            }
        }
        Ok(told)
    }
}

fn short(why: &str) -> &str {
    cut(why, 256)
}

fn source(mut entry: Value) -> Result<ToldSource, String> {
    let (mut head, mut is_unseen) = (None, false);
    if let Value::Object(fields) = &mut entry {
        if let Some(told) = fields.remove("head") {
            let text = told.as_str().ok_or("head is not a text")?;
            head = Some(Head::parse(text).ok_or("head is not a head's Cid")?.to_string());
        }
        is_unseen = fields.remove("unseen") == Some(Value::Bool(true));
    }
    Ok(ToldSource { source: sources::entry(entry)?, head, is_unseen })
}

/// Spec: go-libipni, `find/model/provider_info.go`.
fn provider(entry: &Value) -> Result<ToldSource, String> {
    let addresses = ["Publisher", "AddrInfo"].into_iter().filter_map(|key| {
        let addresses = entry.get(key)?.get("Addrs")?.as_array()?;
        Some(addresses.iter().filter_map(Value::as_str))
    });
    let mut why = "it has no address".to_owned();
    for address in addresses.flatten() {
        match web_address(address) {
            Ok(uri) => {
                let uri = uri.to_string();
                let mut slug: String = uri.split_once("://").map_or("", |(_, it)| it).to_owned();
                slug.retain(|letter| letter.is_ascii_alphanumeric() || "._-/".contains(letter));
                let slug = slug.trim_end_matches('/').replace('/', "-").to_ascii_lowercase();
                let source = Source {
                    slug: cut(&slug, 56).trim_matches('-').to_owned(),
                    uri,
                    suite: "./".to_owned(),
                    ranking: RANKING_UNKNOWN,
                    ..Source::default()
                };
                source.check().map_err(|why| why.to_string())?;
                return Ok(ToldSource { source, head: None, is_unseen: true });
            }
            Err(cause) => why = cause,
        }
    }
    Err(why)
}

fn decision(entry: &Value) -> Option<ToldDecision> {
    let text = |key| entry.get(key).and_then(Value::as_str);
    let said = Decided::read(text("decision")?, text("subject")?)?;
    let uri = text("uri").map(str::to_owned);
    if slug_of(&said)?.is_some() && uri.is_none() {
        return None;
    }
    let why = cut(text("why").unwrap_or_default(), TEXT_BYTES_MAX).to_owned();
    Some(ToldDecision { said, uri, why })
}

/// The slug that a decision names, if it names one; `None` for one that is nobody else's.
fn slug_of(said: &Decided) -> Option<Option<&str>> {
    match said {
        Decided::Block(Entry::Slug(slug)) | Decided::Delist(slug) => Some(Some(slug)),
        Decided::Block(_) => Some(None),
        _ => None,
    }
}

/// What is made of what another told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Importing {
    /// Sources that are new here, each with what was told and its stage.
    pub sources: Vec<(ToldSource, Stage)>,
    pub decisions: Vec<Decision>,
    pub report: Imported,
}

/// The same as the operator is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Slugs of sources that are new here.
    pub added: Vec<String>,
    /// The same of those that are looked at first.
    pub looked_at: Vec<String>,
    /// How many are known here.
    pub known: u64,
    /// What is known under the same slug and said otherwise here, which counts.
    pub otherwise: Vec<String>,
    /// What is not taken, and why.
    pub refused: Vec<(String, String)>,
    /// Decisions that count here now.
    pub decisions: Vec<String>,
    /// Decisions that the operator's own outrank, and those.
    pub outranked: Vec<(String, String)>,
    /// What couldn't be read, a line each.
    pub skipped: Vec<String>,
}

/// What is to be made of `told`, by whom, where these sources are known under this policy; `room` more may
/// wait for a look.
pub fn importing(
    states: &[SourceState],
    policy: &Policy,
    told: &SharedSources,
    by: &str,
    mut room: u64,
    now: Timestamp,
) -> Importing {
    let mut importing = Importing::default();
    let report = &mut importing.report;
    report.skipped.clone_from(&told.skipped);
    let by_slug: HashMap<&str, &SourceState> =
        states.iter().map(|state| (&*state.source.slug, state)).collect();

    let mut policy = policy.clone();
    for ToldDecision { said, uri, why } in &told.decisions {
        if let Some(Some(slug)) = slug_of(said) {
            let there = uri.as_deref().and_then(|uri| Uri::parse(uri).ok());
            let is_ours = |state: &&SourceState| {
                there.as_ref().is_some_and(|uri| sources::is_of(uri, &state.source))
            };
            if by_slug.get(slug).filter(|state| is_ours(state)).is_none() {
                continue;
            }
        }
        let subject = said.subject();
        let is_of_it = |own: &&Decision| {
            own.said.subject() == subject
                && [said.word(), said.opposite()].contains(&own.said.word())
        };
        match policy.decisions.iter().find(is_of_it) {
            Some(own) if own.said == *said => {}
            Some(own) => report.outranked.push((said.to_string(), own.to_string())),
            None => {
                let (said, by, why) = (said.clone(), by.to_owned(), why.clone());
                report.decisions.push(said.to_string());
                let decision = Decision { said, by, at: now, why };
                policy.decisions.push(decision.clone());
                importing.decisions.push(decision);
            }
        }
    }

    // Of one place another's list may have several sources, as its operator wishes.
    let mut places: HashMap<String, Vec<(Uri, String)>> = HashMap::new();
    for there in states.iter().filter_map(|state| place(&state.source)) {
        places.entry(there.0.host().to_owned()).or_default().push(there);
    }
    let mut slugs: HashSet<&str> = by_slug.keys().copied().collect();
    for one in &told.sources {
        let source = &one.source;
        let slug = source.slug.clone();
        if let Some(state) = by_slug.get(&*slug) {
            report.known += 1;
            if state.source != *source && !one.is_unseen {
                report.otherwise.push(slug);
            }
            continue;
        }
        let Some(there) = place(source) else {
            report.refused.push((slug, "its uri climbs, or names no host".to_owned()));
            continue;
        };
        let is_there =
            |(uri, index): &(Uri, String)| *index == there.1 && uri.is_same_place(&there.0);
        if places.get(there.0.host()).is_some_and(|places| places.iter().any(is_there)) {
            report.known += 1;
            continue;
        }
        let answer = policy.answer(source, None);
        let host = source.host();
        let why = if !answer.is_allowed {
            answer.to_string()
        } else if !is_public_host(&host) && !policy.is_named(&source.uri) {
            format!("it isn't on the public internet; `allow host:{host}` takes it")
        } else if one.is_unseen && room == 0 {
            "too many wait to be looked at or approved".to_owned()
        } else if !slugs.insert(&source.slug) {
            "another of its list has the same slug".to_owned()
        } else {
            let (stage, list) = match one.is_unseen {
                true => (Stage::Look, &mut report.looked_at),
                false => (Stage::Approved, &mut report.added),
            };
            room -= u64::from(one.is_unseen);
            list.push(slug);
            importing.sources.push((one.clone(), stage));
            continue;
        };
        report.refused.push((slug, why));
    }
    importing
}

/// Where a source's Release is, and its index below that.
fn place(source: &Source) -> Option<(Uri, String)> {
    Some((Uri::parse(&source.release_dir()).ok()?, source.index_path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn flat(slug: &str, uri: &str) -> Source {
        Source {
            slug: slug.into(),
            uri: uri.into(),
            suite: "./".into(),
            ranking: 2,
            ..Source::default()
        }
    }

    fn told(source: Source) -> ToldSource {
        ToldSource { source, ..ToldSource::default() }
    }

    fn decided(text: &str) -> Decision {
        let (word, subject) = text.split_once(' ').unwrap();
        let said = Decided::read(word, subject).unwrap();
        Decision { said, by: "root".into(), at: NOW, why: "w".into() }
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let whole = Source {
            suite: "stable".into(),
            component: Some("main".into()),
            architecture: Some("arm64".into()),
            aliases: vec!["b".into()],
            bootstrap: true,
            headers: vec!["X-Machine: iPhone8,1".into()],
            ..flat("a", "https://a.example")
        };
        let head = Head::from_sha256([7; 32]).to_string();
        let policy = Policy {
            decisions: ["block host:x.example", "delist slug:a", "allow host:y.example"]
                .map(decided)
                .to_vec(),
            ..Policy::default()
        };
        assert_eq!(ToldDecision::slugs(&policy), ["a"]);
        let uris = HashMap::from([("a".to_owned(), whole.uri.clone())]);
        let document = SharedSources {
            sources: vec![
                ToldSource { head: Some(head), ..told(whole) },
                ToldSource { is_unseen: true, ..told(flat("b", "http://b.example/x")) },
            ],
            decisions: ToldDecision::of(&policy, &uris),
            skipped: Vec::new(),
        };
        assert_eq!(document.decisions.len(), 2, "{:?}", document.decisions);
        let text = document.to_json("p").to_string();
        assert!(!text.contains("root") && !text.contains("y.example"), "{text}");
        assert_eq!(SharedSources::read(text.as_bytes()).unwrap(), document);
    }

    #[test]
    fn what_is_no_document_is_refused_and_bad_entries_are_named() {
        for (text, why) in [
            ("", "not JSON"),
            ("7", "neither an object nor an array"),
            ("{}", "without version"),
            (r#"{"version":2}"#, "its version is 2, not 1"),
            (r#"{"version":1,"sources":[]}"#, "decisions is not an array"),
        ] {
            let said = SharedSources::read(text.as_bytes()).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        let text = r#"{"version":1,"sources":[{"slug":"a"},{"slug":"b","uri":"https://b.example",
            "suite":"./","head":"x"},7],"decisions":[{"decision":"trust","subject":"peer:a"},
            {"decision":"block","subject":"slug:a"},{"decision":"block","subject":"a.example"}]}"#;
        let told = SharedSources::read(text.as_bytes()).unwrap();
        assert_eq!((told.sources.len(), told.decisions.len()), (0, 1));
        let starts = [
            "source 0: uri is missing",
            "source 1: head is not",
            "source 2: not an object",
            "decision 0",
            "decision 1",
        ];
        assert_eq!(told.skipped.len(), starts.len(), "{:?}", told.skipped);
        for (said, start) in told.skipped.iter().zip(starts) {
            assert!(said.starts_with(start), "{said}");
        }
    }

    #[test]
    fn a_provider_is_a_place_to_look_at() {
        let text = r#"[{"AddrInfo":{"ID":"12D3","Addrs":["/ip4/1.2.3.4/udp/1/quic-v1"]},
              "Publisher":{"ID":"12D3","Addrs":["/dns4/Repo.example/tcp/443/https/http-path/apt%2Fx"]}},
            {"AddrInfo":{"ID":"12D3","Addrs":["/dns4/b.example/tcp/8080/http"]}},
            {"AddrInfo":{"ID":"12D3","Addrs":["/ip4/1.2.3.4/tcp/24001"]}}]"#;
        let read = SharedSources::read(text.as_bytes()).unwrap();
        let found: Vec<(&str, &str)> =
            read.sources.iter().map(|it| (&*it.source.slug, &*it.source.uri)).collect();
        let expected = [
            ("repo.example-apt-x", "https://repo.example/apt/x"),
            ("b.example8080", "http://b.example:8080"),
        ];
        assert_eq!(found, expected);
        assert!(read.sources.iter().all(|it| it.is_unseen));
        assert_eq!(read.skipped.len(), 1);

        let importing = importing(&[], &Policy::default(), &read, "root", 1, NOW);
        assert_eq!(importing.report.looked_at, ["repo.example-apt-x"]);
        assert_eq!(importing.report.refused[0].1, "too many wait to be looked at or approved");
    }

    #[test]
    fn nothing_known_changes_and_own_decisions_count() {
        let states = [
            SourceState::new(flat("known", "https://known.example"), NOW),
            SourceState::new(flat("mine", "https://mine.example"), NOW),
        ];
        let policy = Policy {
            decisions: ["allow host:ours.example", "block host:bad.example"].map(decided).to_vec(),
            ..Policy::default()
        };
        let block = |subject: &str, uri: Option<&str>| ToldDecision {
            said: Decided::read("block", subject).unwrap(),
            uri: uri.map(str::to_owned),
            why: String::new(),
        };
        let other = SharedSources {
            sources: vec![
                told(flat("new", "https://new.example")),
                told(flat("known", "https://elsewhere.example")),
                told(flat("another-name", "http://KNOWN.example:80/")),
                told(flat("bad", "https://apt.bad.example")),
                told(flat("worse", "https://worse.example")),
                told(flat("nas", "http://nas.local")),
                told(flat("new", "https://new.example/2")),
            ],
            decisions: vec![
                block("host:ours.example", None),
                block("host:bad.example", None),
                block("host:worse.example", None),
                block("slug:mine", Some("https://another.example")),
                block("slug:known", Some("https://known.example/")),
            ],
            skipped: Vec::new(),
        };
        let Importing { sources, decisions, report } =
            importing(&states, &policy, &other, "root", 0, NOW);
        let added: Vec<&str> = sources.iter().map(|(it, _)| &*it.source.slug).collect();
        assert_eq!(added, ["new"]);
        assert_eq!((report.known, report.otherwise.len()), (2, 1));
        let refused: Vec<&str> = report.refused.iter().map(|(slug, _)| &**slug).collect();
        assert_eq!(refused, ["bad", "worse", "nas", "new"]);
        let said: Vec<String> = decisions.iter().map(|it| it.said.to_string()).collect();
        assert_eq!(said, ["block host:worse.example", "block slug:known"]);
        assert_eq!(report.outranked[0].0, "block host:ours.example");
    }
}
