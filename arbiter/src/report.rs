//! What the arbiter's commands show, as text for a terminal.

use crate::config::SettingChange;
use crate::deeds::settle::Reloaded;
use crate::doors::admin::{
    DecisionReport, ForecastReport, HeldReport, HistoryReport, ImportReport, PeerReport,
    PlanReport, PolicyReport, SourceReport, StatusReport,
};
use crate::rules::changes::Changed;
use crate::rules::exchange::Imported;
use crate::rules::text::{plural, span, thousands};
use crate::rules::timestamp::Timestamp;
use crate::store::{Dispute, DisputedRow, Found, Publication};
use canister_protocol::plain::{Plain, lines, one_line};
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, presets};
use rustix::termios::tcgetwinsize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

/// Where a text goes.
#[derive(Debug, Clone, Copy, Default)]
struct Terminal {
    /// Columns that fit; `None` where it is no terminal, and nothing is cut.
    width: Option<u16>,
    is_coloured: bool,
}

/// Least columns that anything is fitted into.
const WIDTH_MIN: u16 = 40;

impl Terminal {
    /// What standard output is. Colour is nobody's who says `NO_COLOR` (<https://no-color.org>).
    fn here() -> Self {
        let out = io::stdout();
        if !out.is_terminal() {
            return Self::default();
        }
        let width = tcgetwinsize(&out).ok().map(|size| size.ws_col.max(WIDTH_MIN));
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self { width, is_coloured: !is_set("NO_COLOR") && !is_dumb }
    }
}

/// Columns aligned by their widest cell, fitted into the terminal where there is one; the first is flush
/// left, columns of numbers right.
#[derive(Debug)]
pub struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { headings: headings.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| Plain(cell).to_string()).collect());
    }

    /// The table as text, a line a row, or several where the terminal is narrow.
    pub fn text(&self) -> String {
        self.on(Terminal::here())
    }

    /// The same, or this line where there is no row.
    pub fn or(&self, nothing: &str) -> String {
        if self.rows.is_empty() { format!("{nothing}\n") } else { self.text() }
    }

    fn on(&self, Terminal { width, is_coloured }: Terminal) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).force_no_tty();
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        if is_coloured {
            table.enforce_styling();
        }
        table.set_header(self.headings.iter().map(|text| {
            let cell = Cell::new(text);
            if is_coloured { cell.add_attribute(Attribute::Bold) } else { cell }
        }));
        table.add_rows(self.rows.iter().map(|row| {
            row.iter().map(|text| match colour(text).filter(|_| is_coloured) {
                Some(colour) => Cell::new(text).fg(colour),
                None => Cell::new(text),
            })
        }));
        let is_number = |cell: &String| {
            cell.starts_with(|first: char| first.is_ascii_digit() || first == '-')
                && !cell.contains(char::is_alphabetic)
        };
        for (at, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if at + 1 == self.headings.len() { 0 } else { 2 }));
            if self.rows.iter().filter_map(|row| row.get(at)).all(is_number) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.trim_fmt() + "\n"
    }
}

/// The colour of a cell that says how something stands, by its first words.
fn colour(cell: &str) -> Option<Color> {
    const BAD: [&str; 9] = [
        "failing",
        "source failed",
        "peer failed",
        "suspended",
        "deactivated",
        "delisted",
        "expired",
        "full",
        "can't be read",
    ];
    const ODD: [&str; 6] = ["due", "hidden", "rests", "one at a time", "sent away", "probation"];
    const GOOD: [&str; 5] = ["indexed", "unchanged", "proven", "connected", "active"];
    let is_one = |words: &[&str]| words.iter().any(|word| cell.starts_with(word));
    match cell {
        _ if is_one(&BAD) => Some(Color::Red),
        _ if is_one(&ODD) => Some(Color::Yellow),
        _ if is_one(&GOOD) => Some(Color::Green),
        _ => None,
    }
}

/// `status`. `now` in milliseconds since 1970.
pub fn status(status: &StatusReport, now: u64) -> String {
    let mut table = Table::new(["arbiter", &status.program]);
    for (what, value) in [
        (
            "listens on",
            match &status.public {
                Some(public) => format!("{}; for everybody http://{public}/", status.listen),
                None => status.listen.clone(),
            },
        ),
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
                    "{}, by a list that is past its date; `ca crl` signs a new one",
                    plural(status.revoked, "certificate", "certificates")
                ),
                Some(ends) => format!(
                    "{}, by a list for {} more",
                    plural(status.revoked, "certificate", "certificates"),
                    plural(days(ends, now), "day", "days")
                ),
                None => "nothing: there is no list".to_owned(),
            },
        ),
        (
            "sources",
            format!(
                "{}: {} due, {} leased, {} never indexed; {} hidden; {} announced and refused",
                status.sources,
                status.due,
                status.leased,
                status.never_indexed,
                status.hidden,
                status.refused
            ),
        ),
        ("failing", failing_line(status)),
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
        (
            "source list",
            match status.list_read {
                Some(at) => format!("read {}", ago(at, now)),
                None => "not read by this arbiter since it started".to_owned(),
            },
        ),
    ] {
        table.row([what.to_owned(), value]);
    }
    for (list, since, why) in &status.unread {
        table.row(["unread".to_owned(), format!("{list}, since {}: {why}", ago(*since, now))]);
    }
    if let Some(ahead) = status.clock_ahead_millis.filter(|it| it.unsigned_abs() > CLOCK_OFF) {
        let way = if ahead > 0 { "ahead of" } else { "behind" };
        let off = span(Duration::from_millis(ahead.unsigned_abs()));
        table.row(["clock".to_owned(), format!("{off} {way} the database's")]);
    }
    for told in &status.expiries {
        table.row(["ends".to_owned(), told.clone()]);
    }
    table.text()
}

/// How far a clock may be off without a word, in milliseconds.
const CLOCK_OFF: u64 = 5000;
/// Most operators that are named with what fails there.
const OPERATORS_NAMED: usize = 3;

/// How many sources fail, why, and where most of them are.
fn failing_line(status: &StatusReport) -> String {
    let groups = &status.failing_groups;
    let reasons = summed(groups.iter().map(|it| (&*it.reason, it.sources)));
    let operators = summed(groups.iter().map(|it| (&*it.operator, it.sources)));
    let said = |sums: &[(&str, u64)], most| {
        let some =
            sums.iter().take(most).map(|(what, count)| format!("{} {what}", thousands(*count)));
        some.collect::<Vec<_>>().join(", ")
    };
    match status.failing {
        0 => "none".to_owned(),
        count => format!(
            "{}: {}; most at {}; `sources --failing` lists them",
            thousands(count),
            said(&reasons, reasons.len()),
            said(&operators, OPERATORS_NAMED)
        ),
    }
}

/// The counts of each name together, the most first.
fn summed<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> Vec<(&'a str, u64)> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, count) in counts {
        *sums.entry(name).or_default() += count;
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, count)| Reverse(*count));
    sums
}

/// `sources --failing`: the longest first. `now` in milliseconds since 1970.
pub fn failing(sources: &[SourceReport], now: u64) -> String {
    let mut sources: Vec<_> = sources.iter().collect();
    sources.sort_by_key(|source| source.failing_since);
    let headings = ["source", "operator", "reason", "failing for", "attempts", "next try", "error"];
    let mut table = Table::new(headings);
    for source in sources {
        table.row([
            source.source.clone(),
            source.operator.clone(),
            source.reason.clone().unwrap_or_default(),
            source.failing_since.map_or_else(String::new, |at| between(at, now)),
            source.failures.to_string(),
            next(source, now),
            source.last_error.clone().unwrap_or_default(),
        ]);
    }
    table.or("no source fails")
}

/// When a source is asked next.
fn next(source: &SourceReport, now: u64) -> String {
    match (&*source.stands, &*source.state) {
        ("delisted", _) => "none: delisted".to_owned(),
        (_, "due" | "leased") => source.state.clone(),
        _ => format!("in {}", between(now, source.due_at)),
    }
}

/// `sources --failing --by-reason`.
pub fn by_reason(sources: &[SourceReport]) -> String {
    let mut groups: BTreeMap<&str, Vec<&SourceReport>> = BTreeMap::new();
    for source in sources {
        groups.entry(source.reason.as_deref().unwrap_or("unknown")).or_default().push(source);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, sources)| Reverse(sources.len()));
    let mut table = Table::new(["reason", "sources", "operators", "most at", "for example"]);
    for (reason, sources) in groups {
        let operators: BTreeSet<&str> = sources.iter().map(|it| &*it.operator).collect();
        let most = summed(sources.iter().map(|it| (&*it.operator, 1)));
        let most = most.iter().take(OPERATORS_NAMED).map(|(name, count)| format!("{name} {count}"));
        table.row([
            reason.to_owned(),
            thousands(sources.len() as u64),
            thousands(operators.len() as u64),
            most.collect::<Vec<_>>().join(", "),
            sources[0].source.clone(),
        ]);
    }
    table.text()
}

/// `policy list`.
pub fn policy(policy: &PolicyReport) -> String {
    let may = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let mut rules = Table::new(["rule", "of", "from"]);
    let settings = "the settings";
    for (rule, of) in [
        ("may be indexed", format!("{}, but for what follows", may(policy.allow))),
        ("others may announce", format!("{}, but for what follows", may(policy.publish))),
        ("announced ones are shown at once", may(policy.trust_announcements)),
    ] {
        rules.row([rule.to_owned(), of, settings.to_owned()]);
    }
    let except = if policy.allow { "block" } else { "allow" };
    let publisher = if policy.publish { "may not announce" } else { "may announce" };
    let excepted = policy.except.iter().map(|entry| (except, entry));
    for (rule, of) in excepted.chain(policy.publish_except.iter().map(|who| (publisher, who))) {
        rules.row([rule.to_owned(), of.clone(), settings.to_owned()]);
    }
    for of in &policy.publishers {
        rules.row(["publishers".to_owned(), of.clone(), settings.to_owned()]);
    }
    let lists = format!("{} hosts", thousands(policy.blocked_hosts));
    rules.row(["block".to_owned(), lists, "the block lists".to_owned()]);
    for decision in &policy.decisions {
        let why =
            if decision.why.is_empty() { String::new() } else { format!(": {}", decision.why) };
        let at = Timestamp::from_millis(decision.at);
        let from = format!("{} on {at}{why}", decision.by);
        rules.row([decision.decision.clone(), decision.subject.clone(), from]);
    }
    rules.text()
}

/// `plan --week` and `replay`. `now` in milliseconds since 1970.
pub fn forecast(report: &ForecastReport, now: u64) -> String {
    let sum = |hours: &[u64]| hours.iter().sum::<u64>();
    let busiest = |hours: &[u64]| hours.iter().copied().max().unwrap_or(0);
    let mut text = format!(
        "{} requests in {} hours, at most {} in one; now {} were recorded a day\n\n",
        thousands(sum(&report.hours)),
        report.hours.len(),
        thousands(busiest(&report.hours)),
        thousands(report.recorded_a_day),
    );
    let mut table =
        Table::new(["operator", "requests", "busiest hour", "polls", "takes of the time"]);
    let mut operators: Vec<_> = report.operators.iter().collect();
    operators.sort_by_key(|it| Reverse(sum(&it.requests)));
    for operator in operators {
        table.row([
            operator.operator.clone(),
            thousands(sum(&operator.requests)),
            thousands(busiest(&operator.requests)),
            thousands(operator.polls),
            format!("{:.1} %", operator.busy_share * 100.0),
        ]);
    }
    text += &table.text();
    for (what, sources) in [("deactivated", &report.deactivated), ("delisted", &report.delisted)] {
        if !sources.is_empty() {
            let named = sources.iter().map(|(slug, at)| {
                let when =
                    if *at > now { format!("in {}", between(now, *at)) } else { ago(*at, now) };
                format!("{slug} ({when})")
            });
            let _ = write!(text, "\n{what}: {}\n", Plain(&named.collect::<Vec<_>>().join(", ")));
        }
    }
    let starved = report.operators.iter().filter(|it| it.busy_share > 1.0);
    let starved: Vec<&str> = starved.map(|it| &*it.operator).collect();
    if !starved.is_empty() {
        let _ = write!(
            text,
            "\nstarved, for asking them takes longer than there is time: {}\n",
            starved.join(", ")
        );
    }
    text
}

/// `sources`. `now` in milliseconds since 1970.
pub fn sources(sources: &[SourceReport], now: u64) -> String {
    let mut table = Table::new(["source", "state", "packages", "contact", "next", "last attempt"]);
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
        let (name, packages) = (source.source.clone(), thousands(source.packages));
        table.row([name, state, packages, contact, next(source, now), attempt]);
    }
    table.or("no source is like that")
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
    for line in &report.owner {
        facts.row(["owner says".to_owned(), line.clone()]);
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
    format!(
        "{}\n{}\n{}",
        facts.text(),
        attempts.or("never asked"),
        publications(&report.publications, now)
    )
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
        let ruling = Plain(ruling);
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
            let of = format!("{package_id} {version} {architecture} {package_filename}");
            let _ = writeln!(text, "{sign} {}", Plain(&of));
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
    table.or("nothing was published")
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
    table.or("nothing is held")
}

/// `plan`.
pub fn plan(plan: &[PlanReport], now: u64) -> String {
    let mut table =
        Table::new(["operator", "domain", "sources", "polls", "requests", "first", "now"]);
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
            thousands(server.requests),
            match server.first_at {
                Some(at) if at > now => format!("in {}", between(now, at)),
                Some(_) => "due".to_owned(),
                None => String::new(),
            },
            state.join(", "),
        ]);
    }
    table.or("nothing is asked of any operator")
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
    table.or("nothing was decided")
}

/// What came of an import, or would.
pub fn imported(found: &ImportReport, is_dry: bool) -> String {
    let Imported { added, looked_at, known, otherwise, refused, decisions, outranked, skipped } =
        &found.imported;
    let mut text = format!(
        "{}{} added, {} to be looked at, {known} known, {} refused, {} decisions\n{}",
        if is_dry { "would be: " } else { "" },
        added.len(),
        looked_at.len(),
        refused.len(),
        decisions.len(),
        changed(&found.changed)
    );
    let mut list = |what: &str, of: &mut dyn Iterator<Item = String>| {
        of.for_each(|one| text += &format!("{what}: {one}\n"));
    };
    list("added", &mut added.iter().cloned());
    list("to be looked at", &mut looked_at.iter().cloned());
    list("otherwise here, which counts", &mut otherwise.iter().cloned());
    list("refused", &mut refused.iter().map(|(slug, why)| format!("{slug}: {why}")));
    list("decided", &mut decisions.iter().cloned());
    list("not decided", &mut outranked.iter().map(|(said, own)| format!("{said}, for {own}")));
    list("unusable", &mut skipped.iter().cloned());
    lines(&text)
}

/// What a command changed, with the sources by name.
pub fn changed(changed: &Changed) -> String {
    let mut text = match *changed == Changed::default() {
        true => "nothing changes\n".to_owned(),
        false => format!("{changed}\n"),
    };
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
    lines(&text)
}

/// `reload`: which settings changed, which of them count only after a restart, and what came of it.
pub fn reloaded(reloaded: &Reloaded, is_dry: bool) -> String {
    let mut text = changed(&reloaded.changed);
    if !reloaded.is_of_file {
        text.push_str("started without --config: there is no file to read\n");
    }
    for SettingChange { setting, before, now, needs_restart } in &reloaded.settings {
        let shown = |value: &str| {
            if value.is_empty() { "nothing".to_owned() } else { one_line(value, 200) }
        };
        let when = match (needs_restart, is_dry) {
            (true, _) => "; needs a restart",
            (false, true) => "; would be in force at once",
            (false, false) => "",
        };
        let _ = writeln!(text, "{setting}: {} -> {}{when}", shown(before), shown(now));
    }
    if reloaded.settings.is_empty() && reloaded.is_of_file {
        text.push_str("no setting changed\n");
    }
    lines(&text)
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
    table.or("no peer was ever here")
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

/// How long it is from one moment to another.
fn between(then: u64, now: u64) -> String {
    span(Duration::from_millis(now.saturating_sub(then)))
}

/// How long ago that was.
pub fn ago(then: u64, now: u64) -> String {
    format!("{} ago", between(then, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let mut table = Table::new(["a", "number", "text"]);
        table.row(["long one".into(), "7".into(), "x".into()]);
        table.row(["é".into(), "1,000".into(), String::new()]);
        let text = "a         number  text\nlong one       7  x\né          1,000\n";
        assert_eq!(table.on(Terminal::default()), text);
        table.row(["failing".into(), "1".into(), "a long error that is wrapped".into()]);
        let narrow = Terminal { width: Some(40), is_coloured: false };
        let fitted = table.on(narrow);
        assert!(fitted.lines().all(|line| line.chars().count() <= 40), "{fitted}");
        assert!(!fitted.contains('\x1b') && fitted.lines().count() == 5, "{fitted}");
        let coloured = table.on(Terminal { is_coloured: true, ..narrow });
        assert!(coloured.contains("\x1b["), "{coloured}");
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
