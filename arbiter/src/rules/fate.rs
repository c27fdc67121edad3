//! What became of an announcement: read from what is remembered of its source and its attempts, so
//! nothing is kept for it. A function of values.

use crate::rules::model::{Attempt, SourceState, Stage, Verdict};
use crate::rules::text::plural;
use crate::rules::timestamp::Timestamp;
use serde::Serialize;

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fate {
    pub source: String,
    /// When it was announced, in milliseconds since 1970 UTC, as all moments here.
    pub announced_at: u64,
    /// `waiting`, `looking`, `indexed`, `unchanged`, `held`, `failed`, `known` or `refused`.
    pub state: &'static str,
    /// When that came to be, where it did.
    pub at: Option<u64>,
    /// The same in a line.
    pub text: String,
}

/// The fate of what was announced of a source `at` that moment; `attempts` are its newest, newest first.
pub fn fate(source: &SourceState, attempts: &[Attempt], at: Timestamp) -> Fate {
    let told = |state, when: Option<Timestamp>, text: String| Fate {
        source: source.source.slug.clone(),
        announced_at: at.millis(),
        state,
        at: when.map(Timestamp::millis),
        text,
    };
    if let Some(why) = source.blocked.as_ref().or(source.delisted.as_ref()) {
        return told("refused", None, format!("it is not asked: {why}"));
    }
    match source.discovery {
        Some(Stage::Refused) => {
            return told("refused", source.discovered_at, "there is no APT repository".to_owned());
        }
        Some(Stage::Found) => {
            let text = "it is an APT repository, and waits for the operator's approval";
            return told("held", source.discovered_at, text.to_owned());
        }
        _ => {}
    }
    // The last that came to something counts, of those that began after it.
    let since = attempts.iter().filter(|it| it.started >= at);
    let done = since.filter_map(|it| {
        let text = match it.verdict {
            Verdict::Indexed => {
                let (put, packages) = (it.put, it.packages);
                let packages = plural(packages, "package", "packages");
                ("indexed", format!("indexed: {packages}, {put} new or changed"))
            }
            Verdict::Unchanged => ("unchanged", "looked at: nothing is new".to_owned()),
            Verdict::Held => ("held", "read: the change waits for the operator".to_owned()),
            Verdict::SourceFailed => {
                let why = it.error.as_deref().unwrap_or("it failed");
                ("failed", format!("looked at: {why}"))
            }
            _ => return None,
        };
        Some((it.ended, text))
    });
    if let Some((ended, (state, text))) = done.max_by_key(|(ended, _)| *ended) {
        return told(state, Some(ended), format!("{text} ({ended} UTC)"));
    }
    match &source.lease {
        Some(lease) if lease.granted_at >= at => {
            told("looking", Some(lease.granted_at), "it is being looked at".to_owned())
        }
        _ if source.is_announced => {
            told("waiting", None, format!("taken: it is due at {} UTC", source.due_at))
        }
        _ => told("known", None, "known already: there was nothing to do".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canister_protocol::Source;

    const AT: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn a_fate_follows_from_what_came_after() {
        let state = |is_announced| SourceState {
            is_announced,
            ..SourceState::new(Source { slug: "a".into(), ..Source::default() }, AT)
        };
        let attempt = |millis: u64, verdict| Attempt {
            token: 1,
            peer: "p".into(),
            started: Timestamp::from_millis(millis),
            ended: Timestamp::from_millis(millis + 5),
            verdict,
            requests: 1,
            bytes_fetched: 0,
            bytes_plain: 0,
            millis: 5,
            packages: 0,
            put: 0,
            dropped: 0,
            skipped: 0,
            error: None,
            reason: None,
        };
        let (before, after) = (AT.millis() - 1, AT.millis() + 1);
        let blocked = SourceState { blocked: Some("the block list".into()), ..state(true) };
        for (state, attempts, word) in [
            (state(true), vec![], "waiting"),
            (state(false), vec![], "known"),
            (state(true), vec![attempt(before, Verdict::Indexed)], "waiting"),
            (state(false), vec![attempt(after, Verdict::Indexed)], "indexed"),
            (state(false), vec![attempt(after, Verdict::Unchanged)], "unchanged"),
            (state(true), vec![attempt(after, Verdict::PeerFailed)], "waiting"),
            (state(false), vec![attempt(after, Verdict::SourceFailed)], "failed"),
            (blocked, vec![], "refused"),
        ] {
            assert_eq!(fate(&state, &attempts, AT).state, word);
        }
    }
}
