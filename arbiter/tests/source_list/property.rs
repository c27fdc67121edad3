//! What holds for any bytes that are read as a source list, for the test beside this file and for
//! the fuzzer. Panics where it doesn't.

use canister_arbiter::rules::sources::{Known, ListError, diff, read};
use std::collections::HashSet;
use std::io::{self, Read};

/// Gives bytes one at a time.
struct Bytewise<'a>(&'a [u8]);

impl Read for Bytewise<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let size = into.len().min(1);
        self.0.read(&mut into[..size])
    }
}

/// Reading a source list doesn't depend on how it comes; what it gives are sources, each slug once
/// and at least one, and reasons for each of the others; nothing changes where it is read again.
pub(crate) fn source_list(bytes: &[u8]) {
    let whole = read(bytes);
    let said =
        |outcome: &Result<_, ListError>| outcome.as_ref().map_err(ToString::to_string).cloned();
    assert_eq!(said(&read(Bytewise(bytes))), said(&whole));
    let Ok(list) = whole else {
        return;
    };
    assert!(!list.sources.is_empty());
    let mut slugs = HashSet::new();
    for source in &list.sources {
        assert_eq!(source.check(), Ok(()));
        assert!(slugs.insert(&source.slug), "{source:?}");
    }
    let mut last = None;
    for skipped in &list.skipped {
        assert!(last < Some(skipped.index) && !skipped.why.is_empty());
        last = Some(skipped.index);
    }
    let added = diff(&[], &list.sources);
    assert_eq!(added.added, list.sources);
    let is_listed = true;
    let known: Vec<_> = added.added.into_iter().map(|source| Known { source, is_listed }).collect();
    assert!(diff(&known, &list.sources).is_empty());
}
