//! The source list: read as a stream, entry by entry, and compared with what is known.
//!
//! The list is a JSON array of objects. Keys of an entry: `slug`, `uri`, `suite`, `component`,
//! `binary` (the architecture), `ranking`, `aliases`, `bootstrap`, `headers`; others are ignored. A bad entry
//! is named and skipped; a list that is no list, or has no usable entry, is an error, so that a
//! broken download can't empty the catalogue.
//!
//! Comparing is apart from reading and from applying: whoever applies a [`Diff`] can look at it
//! first.

use canister_protocol::message::cut;
use canister_protocol::uri::as_meant;
use canister_protocol::{Source, Uri};
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{BufReader, Read};

/// Longest source list in bytes. Canister's has 47 KB.
pub const LIST_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Most entries of a source list.
pub const LIST_ENTRIES_MAX: usize = 100_000;

/// Ranking of a source whose entry names none: the last, as for one nobody has judged.
const RANKING_UNKNOWN: u8 = 5;

/// Longest reason for skipping an entry, in bytes: reasons quote what is wrong.
const WHY_BYTES_MAX: usize = 256;

/// What a source list says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceList {
    /// The usable entries in their order, each slug once. Never empty.
    pub sources: Vec<Source>,
    pub skipped: Vec<SkippedEntry>,
}

/// An entry that was skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedEntry {
    /// Which entry, from 0.
    pub index: usize,
    /// Its slug, if it has one.
    pub slug: Option<String>,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for SkippedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slug = self.slug.as_deref().unwrap_or("without slug");
        write!(f, "entry {} ({slug}): {}", self.index, self.why)
    }
}

/// Why a source list can't be used at all. Nothing of it was taken.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListError {
    /// It has no usable entry.
    Empty {
        /// Entries it has, all of them bad.
        skipped: usize,
        /// What is wrong with the first.
        first: Option<SkippedEntry>,
    },
    /// It ended early, isn't JSON or isn't an array.
    Malformed(serde_json::Error),
    Read(std::io::Error),
    /// It has more than [`LIST_BYTES_MAX`] bytes.
    TooLong,
    /// It has more than [`LIST_ENTRIES_MAX`] entries.
    TooMany,
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { first: None, .. } => f.write_str("it has no entries"),
            Self::Empty { skipped, first: Some(first) } => {
                write!(f, "none of its {skipped} entries is usable: {first}")
            }
            Self::Malformed(cause) => write!(f, "not a JSON array of objects: {cause}"),
            Self::Read(cause) => write!(f, "{cause}"),
            Self::TooLong => write!(f, "longer than {LIST_BYTES_MAX} bytes"),
            Self::TooMany => write!(f, "more than {LIST_ENTRIES_MAX} entries"),
        }
    }
}

impl std::error::Error for ListError {}

/// Reads a source list. Memory: the sources and one entry at a time, never the text.
///
/// # Errors
/// [`ListError`]; the caller keeps what it knows.
pub fn read(list: impl Read) -> Result<SourceList, ListError> {
    let mut counted = CountedBytes { inner: list, left: LIST_BYTES_MAX, is_too_long: false };
    let mut list = SourceList::default();
    let mut is_too_many = false;
    let mut deserializer = serde_json::Deserializer::from_reader(BufReader::new(&mut counted));
    let outcome = deserializer
        .deserialize_seq(ListEntries { list: &mut list, is_too_many: &mut is_too_many })
        .and_then(|()| deserializer.end());
    drop(deserializer);
    if counted.is_too_long {
        return Err(ListError::TooLong);
    }
    if is_too_many {
        return Err(ListError::TooMany);
    }
    outcome.map_err(|cause| match cause.classify() {
        Category::Io => ListError::Read(cause.into()),
        _ => ListError::Malformed(cause),
    })?;
    if list.sources.is_empty() {
        return Err(ListError::Empty {
            skipped: list.skipped.len(),
            first: list.skipped.into_iter().next(),
        });
    }
    Ok(list)
}

struct CountedBytes<R> {
    inner: R,
    left: u64,
    is_too_long: bool,
}

impl<R: Read> Read for CountedBytes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                self.is_too_long = true;
                return Err(std::io::Error::other("too long"));
            }
        }
        Ok(read)
    }
}

/// Reads the array's entries into a list as they come.
struct ListEntries<'a> {
    list: &'a mut SourceList,
    is_too_many: &'a mut bool,
}

impl<'de> Visitor<'de> for ListEntries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of sources")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut slugs = HashSet::new();
        for index in 0.. {
            // An entry may hold anything, so that a wrong type spoils it and not the list.
            let Some(entry) = entries.next_element::<ListEntry>()? else {
                break;
            };
            if index == LIST_ENTRIES_MAX {
                *self.is_too_many = true;
                return Err(serde::de::Error::custom("too many entries"));
            }
            let slug = entry.slug();
            match entry.into_source() {
                Ok(source) if slugs.insert(source.slug.clone()) => {
                    self.list.sources.push(source);
                }
                Ok(_) => self.list.skipped.push(SkippedEntry {
                    index,
                    slug,
                    why: "an earlier entry has the same slug".to_owned(),
                }),
                Err(why) => self.list.skipped.push(SkippedEntry {
                    index,
                    slug,
                    why: cut(&why, WHY_BYTES_MAX).to_owned(),
                }),
            }
        }
        Ok(())
    }
}

/// One entry, before it is known to be a source.
struct ListEntry(Value);

impl<'de> Deserialize<'de> for ListEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self)
    }
}

/// The source that an entry of a list is.
///
/// # Errors
/// What is wrong with it, in a line.
pub fn entry(value: Value) -> Result<Source, String> {
    ListEntry(value).into_source()
}

/// An array of strings, empty where there is none.
fn texts(fields: &mut Map<String, Value>, key: &str) -> Result<Vec<String>, String> {
    match fields.remove(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(value) => {
            serde_json::from_value(value).map_err(|_| format!("{key} is not an array of strings"))
        }
    }
}

impl ListEntry {
    fn slug(&self) -> Option<String> {
        let slug = self.0.get("slug")?.as_str()?;
        Some(cut(slug, canister_protocol::limits::SLUG_BYTES_MAX).to_owned())
    }

    fn into_source(self) -> Result<Source, String> {
        let Value::Object(mut fields) = self.0 else {
            return Err("not an object".to_owned());
        };
        let missing = |key: &str| format!("{key} is missing");
        let source = Source {
            slug: text(&mut fields, "slug")?.ok_or_else(|| missing("slug"))?,
            uri: text(&mut fields, "uri")?.map(as_meant).ok_or_else(|| missing("uri"))?,
            suite: text(&mut fields, "suite")?.map(suite).ok_or_else(|| missing("suite"))?,
            component: word(&mut fields, "component")?,
            architecture: word(&mut fields, "binary")?,
            ranking: match fields.get("ranking") {
                None | Some(Value::Null) => RANKING_UNKNOWN,
                Some(value) => value
                    .as_u64()
                    .and_then(|ranking| u8::try_from(ranking).ok())
                    .ok_or_else(|| format!("ranking is {value}, not 1 to 5"))?,
            },
            aliases: texts(&mut fields, "aliases")?,
            headers: texts(&mut fields, "headers")?,
            bootstrap: match fields.get("bootstrap") {
                None | Some(Value::Null) => false,
                Some(value) => value
                    .as_bool()
                    .ok_or_else(|| format!("bootstrap is {value}, not true or false"))?,
            },
        };
        source.check().map_err(|error| error.to_string())?;
        Ok(source)
    }
}

/// A suite as apt reads it: `/` is the directory that the uri names, too.
fn suite(text: String) -> String {
    match text.trim_ascii() {
        "/" => "./".to_owned(),
        suite => suite.to_owned(),
    }
}

/// A text without the blanks around it, if anything is left.
fn word(fields: &mut Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    let word = text(fields, key)?.map(|text| text.trim_ascii().to_owned());
    Ok(word.filter(|word| !word.is_empty()))
}

fn text(fields: &mut Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match fields.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("{key} is {other}, not a string")),
    }
}

/// A source the store knows, and whether the source list named it when it was last applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The source as it was last listed.
    pub source: Source,
    /// Whether it is still listed.
    pub is_listed: bool,
}

/// What a source list changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Sources that were never listed before.
    pub added: Vec<Source>,
    /// Listed sources that say something else than before.
    pub changed: Vec<Source>,
    /// Slugs of sources that are listed no more.
    pub removed: Vec<String>,
    /// Sources that were removed once and are listed again.
    pub returned: Vec<Source>,
}

impl Diff {
    /// Whether the list says what is known already.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What `list` changes in `known`. Each vector is in the order of the list, `removed` in the order
/// of `known`.
pub fn diff(known: &[Known], list: &[Source]) -> Diff {
    let listed: HashSet<&str> = list.iter().map(|source| &*source.slug).collect();
    let by_slug: HashMap<&str, &Known> =
        known.iter().map(|known| (&*known.source.slug, known)).collect();
    let mut diff = Diff::default();
    for source in list {
        match by_slug.get(&*source.slug) {
            None => diff.added.push(source.clone()),
            Some(known) if !known.is_listed => diff.returned.push(source.clone()),
            Some(known) if known.source != *source => diff.changed.push(source.clone()),
            Some(_) => {}
        }
    }
    diff.removed = known
        .iter()
        .filter(|known| known.is_listed && !listed.contains(&*known.source.slug))
        .map(|known| known.source.slug.clone())
        .collect();
    diff
}

/// Those of these discovered sources, by slug and uri, that a changed source list now names itself,
/// by slugs of its own.
pub fn named_now(discovered: Vec<(String, String)>, diff: &Diff) -> Vec<String> {
    let named = [&diff.added, &diff.changed, &diff.returned];
    let is_named = |uri: &str| {
        let uri = Uri::parse(uri);
        let mut named = named.into_iter().flatten();
        uri.is_ok_and(|uri| named.any(|source| is_of(&uri, source)))
    };
    let twins = discovered.into_iter().filter(|(_, uri)| is_named(uri));
    twins.map(|(slug, _)| slug).collect()
}

/// Whether an address names this source: its uri, with or without the path of its suite.
pub fn is_of(uri: &Uri, source: &Source) -> bool {
    let is_same = |text: &str| Uri::parse(text).is_ok_and(|other| uri.is_same_place(&other));
    // Most sources are another host's.
    uri.host() == source.host() && (is_same(&source.uri) || is_same(&source.release_dir()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY_SHAPE: &str = include_str!("../../tests/source_list/shapes.json");

    #[test]
    fn every_shape_is_read_or_named() {
        let list = read(EVERY_SHAPE.as_bytes()).unwrap();
        let expected = [
            Source {
                slug: "flat".into(),
                uri: "https://flat.example/repo".into(),
                suite: "./".into(),
                ranking: 2,
                aliases: vec!["other".into(), "older".into()],
                ..Source::default()
            },
            Source {
                slug: "dists".into(),
                uri: "http://dists.example/".into(),
                suite: "ios/1443.00".into(),
                component: Some("main".into()),
                architecture: Some("iphoneos-arm".into()),
                ranking: 1,
                bootstrap: true,
                ..Source::default()
            },
            Source {
                slug: "least".into(),
                uri: "https://least.example".into(),
                suite: "./".into(),
                ranking: 5,
                ..Source::default()
            },
        ];
        assert_eq!(list.sources, expected);
        let skipped: Vec<String> = list.skipped.iter().map(SkippedEntry::to_string).collect();
        let starts = [
            "entry 3 (flat): an earlier entry has the same slug",
            "entry 4 (without slug): slug is missing",
            "entry 5 (no-uri): uri is missing",
            "entry 6 (no-suite): suite is missing",
            "entry 7 (number): uri is 7, not a string",
            "entry 8 (without slug): slug is 7, not a string",
            "entry 9 (rank): ranking is \"1\", not 1 to 5",
            "entry 10 (rank9): field ranking: 9 is not 1 to 5",
            "entry 11 (alias): aliases is not an array of strings",
            "entry 12 (boot): bootstrap is 1, not true or false",
            "entry 13 (half): field architecture: missing",
            "entry 14 (scheme): field uri: \"ftp://a.example\" is not an http",
            "entry 15 (without slug): not an object",
            "entry 16 (without slug): not an object",
        ];
        assert_eq!(skipped.len(), starts.len(), "{skipped:#?}");
        for (said, start) in skipped.iter().zip(starts) {
            assert!(said.starts_with(start), "{said}");
        }
    }

    #[test]
    fn entries_are_taken_as_they_are_meant() {
        for (fields, uri, dir) in [
            (r#""uri":"HTTP://EXAMPLE.org/Repo/""#, "http://example.org/Repo/", None),
            (r#""uri":"Https://a.example""#, "https://a.example", None),
            (r#""uri":"hTTPS://a.example:443/x""#, "https://a.example/x", None),
            (r#""uri":"HTTPS://[::1]:80/""#, "https://[::1]:80/", None),
            (r#""uri":"https://a.example/a ""#, "https://a.example/a", None),
            (r#""uri":" https://a.example""#, "https://a.example", None),
            (r#""uri":"\t\r\nhttp://a.example/\n""#, "http://a.example/", None),
            (r#""uri":"https://a.example/a b ""#, "https://a.example/a%20b", None),
            (r#""uri":"https://a.example/r\u00e9po""#, "https://a.example/r%C3%A9po", None),
            (r#""uri":"https://a.example","component":"""#, "https://a.example", None),
            (r#""uri":"https://a.example","binary":"""#, "https://a.example", None),
            (
                r#""uri":"https://a.example","component":" ","binary":"\t""#,
                "https://a.example",
                None,
            ),
            (r#""uri":"https://a.example","suite":"/""#, "https://a.example", None),
            (r#""uri":"https://a.example","suite":" ./\n""#, "https://a.example", None),
            (
                r#""uri":"https://a.example","suite":"ios ","component":" m","binary":" b ""#,
                "https://a.example",
                Some("https://a.example/dists/ios/"),
            ),
            (r#""uri":"https://a.example","component":"","binary":"""#, "https://a.example", None),
            (
                r#""uri":"https://a.example/%2E/x","suite":"ios","component":"m","binary":"b""#,
                "https://a.example/x",
                Some("https://a.example/x/dists/ios/"),
            ),
        ] {
            let text = format!(r#"[{{"slug":"a","suite":"./",{fields}}}]"#);
            let list = read(text.as_bytes()).unwrap();
            assert_eq!(list.sources[0].uri, uri, "{fields}");
            let flat = format!("{}/", uri.trim_end_matches('/'));
            assert_eq!(list.sources[0].release_dir(), dir.unwrap_or(&flat));
            let again = Source { uri: as_meant(uri.to_owned()), ..list.sources[0].clone() };
            assert_eq!(again, list.sources[0]);
        }
        for (fields, why) in [
            (r#""uri":"https://b\u00fccher.example/repo""#, "names no host in ASCII (xn--"),
            (r#""uri":"https://example.org/r.php?d=""#, "has a query"),
            (r#""uri":"https://u:p@example.org/r""#, "has a user name"),
            (r#""uri":"example.org/x""#, "is not an http://"),
            (r#""uri":"https://a.example/..""#, "has a step .."),
            (
                r#""uri":"https://a.example","suite":"s","component":"","binary":"b""#,
                "component: missing",
            ),
            (
                r#""uri":"https://a.example","suite":"s","component":"m","binary":"""#,
                "architecture: missing",
            ),
            (r#""uri":"https://a.example","suite":" ""#, "suite: "),
        ] {
            let said = read(format!(r#"[{{"slug":"a","suite":"./",{fields}}}]"#).as_bytes());
            let said = said.unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn lists_that_are_none_are_errors() {
        for (text, said) in [
            ("", "not a JSON array of objects: EOF"),
            ("[]", "it has no entries"),
            ("[null]", "none of its 1 entries is usable: entry 0 (without slug): not an object"),
            ("{}", "not a JSON array of objects: invalid type: map"),
            ("<html>", "not a JSON array of objects: expected value"),
            (
                r#"[{"slug": "a", "uri": "https://a.example", "suite": "./"}"#,
                "not a JSON array of objects: EOF",
            ),
            (
                r#"[{"slug": "a", "uri": "https://a.example", "suite": "./"}] ["#,
                "not a JSON array of objects: trailing characters",
            ),
        ] {
            let error = read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(read(deep.as_bytes()), Err(ListError::Malformed(_))));
    }

    #[test]
    fn a_list_has_limits() {
        let entry = |number: usize| {
            format!(r#"{{"slug":"s{number}","uri":"https://a.example","suite":"./"}},"#)
        };
        let mut text: String = (0..=LIST_ENTRIES_MAX).map(entry).collect();
        text.insert(0, '[');
        text.pop();
        text.push(']');
        assert!(matches!(read(text.as_bytes()), Err(ListError::TooMany)));

        // Endless: a reader that would never say it is done.
        let endless = std::io::repeat(b' ');
        assert!(matches!(read(endless), Err(ListError::TooLong)));
        let long = "[".as_bytes().chain(std::io::repeat(b'\n'));
        assert!(matches!(read(long), Err(ListError::TooLong)));
    }

    #[test]
    fn a_failing_reader_is_told_from_a_malformed_list() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("cable pulled"))
            }
        }
        let error = read("[".as_bytes().chain(Broken)).unwrap_err();
        assert!(matches!(error, ListError::Read(_)), "{error:?}");
        assert_eq!(error.to_string(), "cable pulled");
    }

    #[test]
    fn a_diff_says_what_a_list_changes() {
        let source = |slug: &str| Source {
            slug: slug.into(),
            uri: "https://a.example".into(),
            suite: "./".into(),
            ranking: 3,
            ..Source::default()
        };
        let known = |slug: &str, is_listed| Known { source: source(slug), is_listed };
        let better = Source { ranking: 1, ..source("better") };
        let known = [
            known("same", true),
            known("better", true),
            known("gone", true),
            known("back", false),
            known("forgotten", false),
        ];
        let list = [source("new"), source("back"), better.clone(), source("same")];
        let expected = Diff {
            added: vec![source("new")],
            changed: vec![better],
            removed: vec!["gone".into()],
            returned: vec![source("back")],
        };
        assert_eq!(diff(&known, &list), expected);
        assert!(diff(&known[..1], &[source("same")]).is_empty());
    }
}
