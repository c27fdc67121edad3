//! What the arbiter's commands show, as text for a terminal.

use crate::doors::admin::{
    DecisionReport, HeldReport, HistoryReport, PeerReport, PlanReport, SourceReport, StatusReport,
};
use crate::rules::changes::Changed;
use crate::rules::text::{span, thousands};
use crate::rules::timestamp::Timestamp;
use crate::store::{Dispute, DisputedRow, Found, Publication};
use canister_protocol::plain::Plain;
use std::fmt::Write as _;
use std::time::Duration;

/// Columns aligned by their widest cell; the first is flush left, columns of numbers right.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned).to_vec()] }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| Plain(cell).to_string()).collect());
    }

    /// The table as text, a line a row.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let width = |column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let is_number = |cell: &String| {
            cell.starts_with(|first: char| first.is_ascii_digit() || first == '-')
                && !cell.contains(char::is_alphabetic)
        };
        let is_right: Vec<bool> =
            (0..columns).map(|column| cells(column).skip(1).all(is_number)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let pad = widths[column] - cell.chars().count();
                let gap = if column == 0 { "" } else { "  " };
                let (before, after) = if is_right[column] { (pad, 0) } else { (0, pad) };
                let _ = write!(line, "{gap}{:before$}{cell}{:after$}", "", "");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// `status`. `now` in milliseconds since 1970.
pub fn status(status: &StatusReport, now: u64) -> String {
    let mut table = Table::new(["arbiter", &status.program]);
    for (what, value) in [
        ("listens on", status.listen.clone()),
        (
            "peers",
            format!(
                "{} connected, {} of them write directly; {} known, {}",
                status.peers_connected,
                status.peers_direct,
                status.peers_known,
                match status.peers_proven {
                    0 => "none proven yet: the first are believed".to_owned(),
                    proven => format!("{proven} proven"),
                }
            ),
        ),
        (
            "suspended",
            match &*status.suspended {
                [] => "nobody".to_owned(),
                peers => {
                    format!("{}; `peers` says why, `trust` or `suspend` decides", peers.join(", "))
                }
            },
        ),
        (
            "disputed",
            match (&*status.disputed, &*status.undecided) {
                ([], _) => "nothing".to_owned(),
                (open, []) => {
                    format!("{}: a third peer reads; `dispute SLUG` shows it", open.join(", "))
                }
                (open, waiting) => format!(
                    "{}: no third peer is here to decide about {}; `dispute SLUG` shows it",
                    open.join(", "),
                    waiting.join(", ")
                ),
            },
        ),
        (
            "revoked",
            match status.revocations_end {
                Some(ends) if ends < now => format!(
                    "{} certificates, by a list that is past its date; `ca crl` signs a new one",
                    status.revoked
                ),
                Some(ends) => format!(
                    "{} certificates, by a list for {} more days",
                    status.revoked,
                    days(ends, now)
                ),
                None => "nothing: there is no list".to_owned(),
            },
        ),
        (
            "sources",
            format!(
                "{}: {} due, {} leased, {} failing, {} never indexed; {} hidden; {} announced and refused",
                status.sources,
                status.due,
                status.leased,
                status.failing,
                status.never_indexed,
                status.hidden,
                status.refused
            ),
        ),
        (
            "signatures",
            match status.ending {
                0 => "no key ends within 30 days".to_owned(),
                1 => "1 key ends within 30 days, or has ended; `source SLUG` shows it".to_owned(),
                count => format!(
                    "{count} keys end within 30 days, or have ended; `source SLUG` shows one"
                ),
            },
        ),
        (
            "operators",
            format!(
                "{}: {} asked now, {} resting, {} peers sent away; `plan` shows each",
                status.operators, status.operators_leased, status.resting, status.sent_away
            ),
        ),
        (
            "packages",
            format!("{}, {} visible", thousands(status.packages), thousands(status.visible)),
        ),
        (
            "held",
            match status.held {
                0 => "nothing".to_owned(),
                1 => "1 change waits for you; `held` shows it".to_owned(),
                count => format!("{count} changes wait for you; `held` lists them"),
            },
        ),
        (
            "disk",
            match status.is_full {
                true => "full: nothing is granted until there is room".to_owned(),
                false => "has room".to_owned(),
            },
        ),
    ] {
        table.row([what.to_owned(), value]);
    }
    for told in &status.expiries {
        table.row(["ends".to_owned(), told.clone()]);
    }
    table.text()
}

/// `sources`. `now` in milliseconds since 1970.
pub fn sources(sources: &[SourceReport], now: u64) -> String {
    let mut table = Table::new(["source", "state", "packages", "contact", "last attempt"]);
    for source in sources {
        let state = match (&source.peer, &source.out_of_reach) {
            (Some(peer), _) => format!("leased by {peer}"),
            (None, Some(only)) => format!("{}, {only} only: no peer reaches it", source.state),
            (None, None) => source.state.clone(),
        };
        let attempt = source.last_attempt.as_ref().map_or_else(String::new, |attempt| {
            let mut text = format!("{} by {}", attempt.verdict, attempt.peer);
            if let Some(error) = &attempt.error {
                let _ = write!(text, ": {error}");
            }
            text
        });
        let contact = source.last_contact.map_or_else(|| "never".to_owned(), |at| ago(at, now));
        table.row([source.source.clone(), state, thousands(source.packages), contact, attempt]);
    }
    table.text()
}

/// `source SLUG`.
pub fn history(report: &HistoryReport, now: u64) -> String {
    let source = &report.source;
    let mut facts = Table::new(["source", &source.source]);
    let why = report.blocked.iter().chain(&report.delisted);
    let shown = match source.is_shown {
        true => "shown".to_owned(),
        false => why.fold("hidden".to_owned(), |hidden, why| format!("{hidden}, {why}")),
    };
    for (what, value) in [
        ("at", format!("{} {}", source.uri, source.suite)),
        ("operator", report.operator.clone()),
        ("stands", format!("{}, {shown}, {}", source.stands, source.state)),
        ("packages", thousands(source.packages)),
        ("signature", signature(source, now)),
        ("head", source.head.clone().unwrap_or_else(|| "none".to_owned())),
        ("contact", source.last_contact.map_or_else(|| "never".to_owned(), |at| ago(at, now))),
    ] {
        facts.row([what.to_owned(), value]);
    }
    if let Some((since, error)) = source.failing_since.zip(source.last_error.as_ref()) {
        // What doesn't match for days is no update in the middle.
        let value = format!("{} in a row since {}: {error}", source.failures, ago(since, now));
        facts.row(["failing".to_owned(), value]);
    }
    if let Some(only) = &source.out_of_reach {
        let why =
            format!("by no connected peer: its host has {only} alone, and none of them has it");
        facts.row(["reached".to_owned(), why]);
    }
    if let Some(HeldReport { number, why, held_at, .. }) = &report.held {
        let help = format!("`accept {number}` or `reject {number}` decides");
        facts.row(["held".to_owned(), format!("{why}; since {}; {help}", ago(*held_at, now))]);
    }
    let mut attempts = Table::new([
        "ended", "peer", "verdict", "requests", "bytes", "ms", "packages", "put", "error",
    ]);
    for attempt in &report.attempts {
        attempts.row([
            ago(attempt.ended, now),
            attempt.peer.clone(),
            attempt.verdict.clone(),
            thousands(attempt.requests),
            thousands(attempt.bytes_fetched),
            thousands(attempt.millis),
            thousands(attempt.packages),
            thousands(attempt.put),
            attempt.error.clone().unwrap_or_default(),
        ]);
    }
    format!("{}\n{}\n{}", facts.text(), attempts.text(), publications(&report.publications, now))
}

/// `dispute SLUG`. `now` in milliseconds since 1970.
pub fn disputes(disputes: &[Dispute], now: u64) -> String {
    if disputes.is_empty() {
        return "no reading of it was ever disputed\n".to_owned();
    }
    let mut text = String::new();
    for dispute in disputes {
        let open = match dispute.is_waiting {
            true => "open: it waits, for no third peer is here that could read it",
            false => "open: a third peer is to read it",
        };
        let ruling = dispute.ruling.as_deref().unwrap_or(open);
        let Dispute { number, slug, publication, opened_at, .. } = dispute;
        let since = ago(opened_at.millis(), now);
        let _ =
            writeln!(text, "dispute {number} about {slug}, lease {publication}, {since}: {ruling}");
        let mut table = Table::new(["read by", "network", "index", "commitment", "head"]);
        for reading in &dispute.readings {
            table.row([
                reading.peer.clone(),
                reading.network.clone(),
                format!("{} {:.24}", reading.index_path, reading.index_digest),
                format!("{:.16}", reading.commitment),
                reading.head.clone(),
            ]);
        }
        text.push_str(&table.text());
        for row in &dispute.evidence {
            let DisputedRow { package_id, version, architecture, package_filename, .. } = row;
            let sign = if row.had { '-' } else { '+' };
            let _ =
                writeln!(text, "{sign} {package_id} {version} {architecture} {package_filename}");
        }
    }
    text
}

/// `publications`. `now` in milliseconds since 1970.
pub fn publications(publications: &[Publication], now: u64) -> String {
    let mut table = Table::new([
        "publication",
        "source",
        "published",
        "peer",
        "lease",
        "put",
        "left",
        "packages",
        "confirmed by",
        "index",
        "head",
    ]);
    for publication in publications {
        table.row([
            publication.number.to_string(),
            publication.slug.clone(),
            ago(publication.published_at.millis(), now),
            publication.peer.clone(),
            publication.lease.to_string(),
            thousands(publication.put),
            thousands(publication.left),
            thousands(publication.packages),
            publication.confirmed_by.join(" "),
            publication.index_path.clone(),
            publication.head.clone(),
        ]);
    }
    table.text()
}

fn signature(source: &SourceReport, now: u64) -> String {
    let Some(mut text) = source.signature.clone() else {
        return "not looked at yet".to_owned();
    };
    if let Some(by) = source.signed_by.as_deref().filter(|by| !by.is_empty()) {
        let _ = write!(text, " by {by}");
    }
    match source.signed_until {
        Some(until) if until <= now => text.push_str(", whose key has ended"),
        Some(until) => {
            let _ = write!(text, ", whose key ends in {} days", days(until, now));
        }
        None => {}
    }
    if let Some((keys, until)) = &source.next_signers {
        let _ = write!(text, "; within {} days the next by {keys}", days(*until, now) + 1);
    }
    text
}

/// `held`.
pub fn held(held: &[HeldReport], now: u64) -> String {
    let mut table = Table::new(["number", "of", "source", "held", "why"]);
    for change in held {
        table.row([
            change.number.to_string(),
            change.kind.clone(),
            change.source.clone().unwrap_or_default(),
            ago(change.held_at, now),
            change.why.clone(),
        ]);
    }
    table.text()
}

/// `plan`.
pub fn plan(plan: &[PlanReport], now: u64) -> String {
    let mut table = Table::new(["operator", "domain", "sources", "polls", "now"]);
    for server in plan {
        let mut state = Vec::new();
        if server.is_leased {
            state.push("leased".to_owned());
        }
        if let Some(until) = server.rests_until {
            state.push(format!("rests for {} s", until.saturating_sub(now) / 1000));
        }
        for (peer, until) in &server.sent_away {
            let secs = until.saturating_sub(now) / 1000;
            state.push(format!("sent {peer} away for {secs} s"));
        }
        table.row([
            server.operator.clone(),
            server.domain.clone(),
            thousands(server.sources),
            thousands(server.polls),
            state.join(", "),
        ]);
    }
    table.text()
}

/// `decisions`.
pub fn decisions(decisions: &[DecisionReport]) -> String {
    let mut table =
        Table::new(["number", "decision", "subject", "by", "at", "in force", "why", "about"]);
    for decision in decisions {
        table.row([
            decision.number.to_string(),
            decision.decision.clone(),
            decision.subject.clone(),
            decision.by.clone(),
            Timestamp::from_millis(decision.at).to_string(),
            if decision.is_in_force { "yes" } else { "no" }.to_owned(),
            decision.why.clone(),
            decision.about.clone().unwrap_or_default(),
        ]);
    }
    table.text()
}

/// What a command changed, with the sources by name.
pub fn changed(changed: &Changed) -> String {
    let mut text = format!("{changed}\n");
    for (what, slugs) in [
        ("hidden", &changed.hidden),
        ("shown", &changed.shown),
        ("due", &changed.due),
        ("delisted", &changed.delisted),
    ] {
        if !slugs.is_empty() {
            let _ = writeln!(text, "{what}: {}", slugs.join(" "));
        }
    }
    for entry in &changed.idle_overrides {
        let _ = writeln!(text, "poll.overrides.\"{entry}\" names no source");
    }
    text
}

/// `peers`. `now` in milliseconds since 1970.
pub fn peers(peers: &[PeerReport], now: u64) -> String {
    let mut table = Table::new([
        "peer",
        "state",
        "believed",
        "confirmed",
        "audits",
        "days",
        "leases",
        "slots",
        "granted",
        "finished",
        "failed",
        "expired",
        "reaches",
        "program",
        "writes",
        "record",
    ]);
    for peer in peers {
        let state = match &peer.arbiter {
            Some(arbiter) => format!("connected to {arbiter}"),
            None if peer.is_connected => "connected".to_owned(),
            None => "away".to_owned(),
        };
        table.row([
            peer.peer.clone(),
            state,
            match &*peer.trust_why {
                "" => peer.trust.clone(),
                why => format!("{}: {why}", peer.trust),
            },
            thousands(peer.confirmed),
            thousands(peer.audits),
            // Those that its certificate is still good for.
            peer.certificate_ends.map_or_else(String::new, |ends| days(ends, now).to_string()),
            peer.leases.to_string(),
            peer.slots.to_string(),
            peer.granted.to_string(),
            peer.finished.to_string(),
            peer.failed.to_string(),
            peer.expired.to_string(),
            peer.reaches.clone().unwrap_or_default(),
            match (peer.too_old_from, peer.is_old) {
                (Some(from), _) if from <= now => format!("{} (too old: gets nothing)", peer.agent),
                (Some(from), _) => {
                    let from = Timestamp::from_millis(from).to_string();
                    format!("{} (too old from {} on)", peer.agent, &from[..10])
                }
                (None, true) => format!("{} (old)", peer.agent),
                (None, false) => peer.agent.clone(),
            },
            peer.writes.clone().unwrap_or_default(),
            peer.record.clone().unwrap_or_default(),
        ]);
    }
    table.text()
}

/// `search`.
pub fn found(found: &[Found]) -> String {
    let mut table = Table::new(["package", "version", "architecture", "source", "what it is"]);
    for package in found {
        let text = package.description.as_deref().or(package.name.as_deref()).unwrap_or_default();
        let first: String = text.lines().next().unwrap_or_default().chars().take(70).collect();
        table.row([
            package.package_id.clone(),
            package.version.clone(),
            package.architecture.clone(),
            package.repository_id.clone(),
            first,
        ]);
    }
    table.text()
}

fn days(then: u64, now: u64) -> u64 {
    then.saturating_sub(now) / 86_400_000
}

/// How long ago that was.
pub fn ago(then: u64, now: u64) -> String {
    format!("{} ago", span(Duration::from_millis(now.saturating_sub(then))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let mut table = Table::new(["a", "number", "text"]);
        table.row(["long one".into(), "7".into(), "x".into()]);
        table.row(["é".into(), "1,000".into(), String::new()]);
        assert_eq!(table.text(), "a         number  text\nlong one       7  x\né          1,000\n");
    }

    #[test]
    fn numbers_are_readable() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
        assert_eq!(ago(1000, 61_000), "60 s ago");
        assert_eq!(ago(2000, 1000), "0 s ago");
    }
}
