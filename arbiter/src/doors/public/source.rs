//! The page of one source, for its owner: how it stands and why, what was asked of it, what can be done. And
//! the feeds: what was published, of one source or of all.

use super::page::{Page, Since, Time, page};
use crate::rules::owner::OwnerWord;
use crate::rules::schedule::Standing;
use crate::rules::text::{mebibytes, plural, thousands};
use crate::rules::timestamp::Timestamp;
use crate::store::{Attempt, Publication, SourceDay, SourceState, Stage, Verdict};
use canister_protocol::plain::Plain;
use maud::{Markup, html};
use serde::Serialize;
use std::time::Duration;

/// Attempts on the page, and days drawn.
pub(super) const ATTEMPTS: usize = 30;
pub(super) const DAYS: u32 = 30;
/// Publications in a feed.
pub(super) const FEED: usize = 50;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Width of a day with its gap, and height of the highest, in the drawing's own units.
const STEP: usize = 10;
const HEIGHT: u64 = 1000;

/// All that a page of a source is made of.
pub(super) struct SourceSeen {
    pub(super) state: SourceState,
    /// Its newest attempts, newest first, at most [`ATTEMPTS`].
    pub(super) attempts: Vec<Attempt>,
    /// What was asked of it, by day, of the last [`DAYS`].
    pub(super) days: Vec<SourceDay>,
    pub(super) now: Timestamp,
    /// Why there is no more than what was last known, where that is so: neither attempts nor days.
    pub(super) trouble: Option<String>,
}

/// One attempt, as everybody may know it.
#[derive(Serialize)]
struct PageAttempt<'a> {
    began_at: u64,
    ended_at: u64,
    came_to: &'static str,
    requests: u64,
    bytes: u64,
    packages: u64,
    skipped: u64,
    why: Option<&'a str>,
}

impl<'a> PageAttempt<'a> {
    fn of(it: &'a Attempt) -> Self {
        Self {
            began_at: it.started.millis(),
            ended_at: it.ended.millis(),
            came_to: it.verdict.words(),
            requests: it.requests,
            bytes: it.bytes_fetched,
            packages: it.packages,
            skipped: it.skipped,
            why: it.error.as_deref(),
        }
    }
}

/// What programs are told.
#[derive(Serialize)]
struct PageHistory<'a> {
    /// Since when the store doesn't answer, in a sentence; attempts and days are missing then.
    trouble: Option<&'a str>,
    source: &'a str,
    uri: &'a str,
    suite: &'a str,
    shown: bool,
    state: String,
    why: Option<String>,
    since: Option<u64>,
    next_at: Option<u64>,
    last_contact: Option<u64>,
    head: Option<&'a str>,
    index: Option<&'a str>,
    signature: Option<&'static str>,
    packages: u64,
    owner_says: Vec<String>,
    oddities: Vec<&'a str>,
    attempts: Vec<PageAttempt<'a>>,
    days: &'a [SourceDay],
    next: Vec<&'static str>,
}

/// How a source stands, in words: what, why, and since when.
fn said(state: &SourceState) -> (String, Option<String>, Option<Timestamp>) {
    let told = |what: &str, why: Option<String>, since| (what.to_owned(), why, since);
    let failing = state.failed.map(|(since, _)| since);
    if !state.is_listed {
        return match state.discovery {
            Some(Stage::Found) => {
                let why = "the operator has to approve what was announced";
                told("found, and not yet shown", Some(why.to_owned()), state.discovered_at)
            }
            Some(Stage::Refused) => {
                let why = "no APT repository was there";
                told("refused", Some(why.to_owned()), state.discovered_at)
            }
            _ => told("hidden", Some("the source list names it no more".to_owned()), None),
        };
    }
    if let Some(why) = state.blocked.as_ref().or(state.delisted.as_ref()) {
        return told("not indexed", Some(why.clone()), None);
    }
    if let Some(why) = &state.owner.stopped {
        return told("not indexed", Some(why.clone()), None);
    }
    match state.standing {
        Standing::Deactivated => {
            told("hidden, because it fails", state.last_error.clone(), failing)
        }
        Standing::Delisted => told("given up, because it fails", state.last_error.clone(), failing),
        Standing::Active if state.failures > 0 => {
            let what =
                format!("failing, {} in a row", plural(state.failures, "attempt", "attempts"));
            (what, state.last_error.clone(), failing)
        }
        Standing::Active if state.last_contact.is_none() => told("not read yet", None, None),
        Standing::Active => told("well", None, None),
    }
}

/// What its owner can do next.
fn advice(state: &SourceState) -> Vec<&'static str> {
    let mut advice = Vec::new();
    if state.owner.stopped.is_some() {
        advice.push("Take back the no in Release, canister.txt or robots.txt: it is asked once a week whether it holds. Announce under your own key, and it is asked at once.");
    } else if state.failures > 0 {
        advice.push(
            "Run canister-agent lint on your repository: it tells what is wrong, in which line: docs/lint.md.",
        );
        advice.push("When it is mended, announce it: it is asked at once.");
    }
    if state.oddities.is_some() && state.failures == 0 {
        advice.push(
            "Mend what is odd in your index. canister-agent lint on a folder finds it before you publish.",
        );
    }
    if state.owner.relied == 0 {
        advice
            .push("To be asked less, announce each change under your own key: docs/announcing.md.");
    }
    advice.push("To be asked less, not at night, or not at all: docs/owners.md.");
    advice
}

/// A line whose end may name a page of the documentation, `docs/owners.md.`
fn linked(line: &str) -> Markup {
    const DOCS: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/");
    html! {
        @match line.split_once("docs/") {
            Some((before, page)) => {
                @let page = page.trim_end_matches('.');
                (before) a href={ (DOCS) (page) } { "docs/" (page) } "."
            }
            None => (line),
        }
    }
}

/// When it is asked next, where it is.
fn next_at(state: &SourceState) -> Option<Timestamp> {
    state.is_polled().then_some(state.due_at)
}

impl SourceSeen {
    pub(super) fn json(&self) -> impl Serialize {
        let Self { state, attempts, days, .. } = self;
        let (what, why, since) = said(state);
        PageHistory {
            trouble: self.trouble.as_deref(),
            source: &state.source.slug,
            uri: &state.source.uri,
            suite: &state.source.suite,
            shown: state.is_shown(),
            state: what,
            why,
            since: since.map(Timestamp::millis),
            next_at: next_at(state).map(Timestamp::millis),
            last_contact: state.last_contact.map(Timestamp::millis),
            head: state.origin.as_ref().map(|origin| &*origin.head),
            index: state.origin.as_ref().map(|origin| &*origin.index_path),
            signature: state.signed.as_ref().map(|signed| signed.state.word()),
            packages: state.packages,
            owner_says: said_by(&state.owner),
            oddities: oddities(state).collect(),
            attempts: attempts.iter().map(PageAttempt::of).collect(),
            days,
            next: advice(state),
        }
    }

    pub(super) fn html(&self) -> Page {
        let Self { state, attempts, now, .. } = self;
        let (now, slug) = (*now, &*state.source.slug);
        let (what, why, since) = said(state);
        let class = match (state.is_shown(), state.failures) {
            (false, _) => "is-hidden",
            (true, 0) => "is-good",
            (true, _) => "is-failing",
        };
        let head = html! { p.quiet { "As of " (Time(now)) } };
        let body = html! {
            @if let Some(trouble) = &self.trouble {
                p role="alert" { (trouble) ". This is what was last known; visits are left out." }
            }
            h2 { (slug) }
            p { span class={ "state " (class) } { (what) } @if let Some(since) = since { ", since " (Time(since)) } }
            @if let Some(why) = why { p { (Plain(&why).to_string()) } }
            dl.facts {
                dt { "Address" } dd { (state.source.uri) " " (state.source.suite) }
                dt { "Next visit" } dd { @match next_at(state) {
                    None => "none",
                    Some(_) if state.lease.is_some() => "now",
                    Some(at) if at <= now => "due: as soon as a peer is free",
                    Some(at) => { (Since(at, now)) ", at " (Time(at)) }
                } }
                dt { "Last contact" } dd { @if let Some(at) = state.last_contact { (Time(at)) } @else { "never" } }
                dt { "Packages" } dd { (thousands(state.packages)) @if !state.is_shown() { ", hidden" } }
                @if let Some(origin) = &state.origin {
                    dt { "Head" } dd { code { (origin.head) } @if !origin.release_path.is_empty() { " (" (origin.release_path) ")" } }
                    dt { "Index" } dd { (origin.index_path) " " code { (origin.index_digest) } }
                }
                dt { "Signature" } dd { @match &state.signed {
                    None => "not looked at yet",
                    Some(signed) => { (signed.state.word()) @if !signed.by.is_empty() { ", by " code { (signed.by) } } }
                } }
                @for line in said_by(&state.owner) { dt { "Owner says" } dd { (line) } }
            }
            section {
                h2 { "What you can do" }
                ul { @for line in advice(state) { li { (linked(line)) } } }
            }
            @if state.oddities.is_some() {
                section {
                    h2 { "What is odd in its index" }
                    ul { @for line in oddities(state) { li { (Plain(line).to_string()) } } }
                    p.quiet { "As it was read last. canister-agent lint tells all, and what to write instead." }
                }
            }
            section { h2 { "What was asked of it" } (self.drawn()) }
            section {
                h2 { "Visits" }
                table.rows {
                    caption { "The last " (attempts.len()) }
                    thead { tr {
                        th scope="col" { "When" } th scope="col" { "Came to" } th.number scope="col" { "Requests" }
                        th.number scope="col" { "Bytes" } th.number scope="col" { "Packages" } th scope="col" { "Why" }
                    } }
                    tbody { @for it in attempts { (visit(it)) } }
                }
            }
            p { "The same " a href={ "/source/" (slug) ".json" } { "for programs" } ", what was published "
                a href={ "/source/" (slug) ".atom" } { "as a feed" } ", " a href="/" { "all sources" } "." }
        };
        page(&format!("{slug} – Canister Arbiter"), false, &head, &body)
    }

    /// Requests by day, the oldest at the left.
    fn drawn(&self) -> Markup {
        let today = self.now.millis() / 86_400_000;
        let first = today.saturating_sub(u64::from(DAYS) - 1);
        let of = |day: u64| self.days.iter().find(|it| it.day == day);
        let highest = self.days.iter().map(|it| it.requests).max().unwrap_or(0).max(1);
        let sum = |of: fn(&SourceDay) -> u64| self.days.iter().map(of).sum::<u64>();
        let (requests, bytes) = (sum(|it| it.requests), sum(|it| it.bytes));
        let text = format!(
            "{}, {} in {DAYS} days",
            plural(requests, "request", "requests"),
            mebibytes(bytes)
        );
        html! {
            figure {
                h3 { (text) }
                svg viewBox={ "0 0 " (STEP * DAYS as usize) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(text) {
                    @for (at, day) in (first..=today).enumerate() {
                        @if let Some(it) = of(day) {
                            @let height = it.requests * HEIGHT / highest;
                            g {
                                title { (date(day)) ": " (plural(it.requests, "request", "requests")) ", " (mebibytes(it.bytes)) }
                                rect.unchanged x=(at * STEP + 1) y=(HEIGHT - height) width=(STEP - 2) height=(height) {}
                            }
                        }
                    }
                }
                div.axis {
                    span { (date(first)) }
                    span { "highest bar " (thousands(highest)) }
                    span { "today" }
                }
            }
        }
    }
}

/// What its owner would mend in its index, a line each.
fn oddities(state: &SourceState) -> impl Iterator<Item = &str> {
    state.oddities.as_deref().into_iter().flat_map(str::lines)
}

/// What its owner says, without whom to ask: that is for the operator.
fn said_by(owner: &OwnerWord) -> Vec<String> {
    owner.lines().into_iter().filter(|line| !line.starts_with("Contact:")).collect()
}

fn date(day: u64) -> String {
    let text = Timestamp::from_millis(day * 86_400_000).to_string();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn visit(it: &Attempt) -> Markup {
    let words = match it.verdict {
        // Between the network and its peers.
        Verdict::Expired | Verdict::GivenBack | Verdict::Revoked => "not done by the peer",
        verdict => verdict.words(),
    };
    html! {
        tr {
            th scope="row" { (Time(it.ended)) }
            td data-label="Came to" { (words) }
            td.number data-label="Requests" { (thousands(it.requests)) }
            td.number data-label="Bytes" { (thousands(it.bytes_fetched)) }
            td.number data-label="Packages" { (thousands(it.packages)) }
            td.long data-label="Why" {
                @if it.skipped > 0 { (plural(it.skipped, "stanza", "stanzas")) " skipped, the first: " }
                @if let Some(why) = &it.error { (Plain(why).to_string()) }
            }
        }
    }
}

/// What was published, newest first: of one source, or of all.
pub(super) fn feed(slug: Option<&str>, publications: &[Publication], now: Timestamp) -> Page {
    let moment = |at: Timestamp| format!("{}Z", at.to_string().replace(' ', "T"));
    let about = slug.unwrap_or("all sources");
    let itself =
        slug.map_or_else(|| "/feed.atom".to_owned(), |slug| format!("/source/{slug}.atom"));
    let updated = publications.first().map_or(now, |it| it.published_at);
    let text = html! {
        feed xmlns="http://www.w3.org/2005/Atom" {
            title { "Canister: " (about) }
            id { "tag:canister-arbiter,2026:" (itself) }
            updated { (moment(updated)) }
            author { name { "Canister Arbiter" } }
            link rel="self" href=(itself) {}
            @for it in publications {
                entry {
                    title { (it.slug) ": " (thousands(it.put)) " new or changed, " (thousands(it.left)) " left" }
                    id { "tag:canister-arbiter,2026:publication/" (it.number) }
                    updated { (moment(it.published_at)) }
                    link rel="alternate" href={ "/source/" (it.slug) } {}
                    summary { (thousands(it.packages)) " packages, head " (it.head) }
                }
            }
        }
    };
    let text = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n{}\n", text.into_string());
    Page { media_type: "application/atom+xml; charset=utf-8", text, is_for_all: true }
}

/// How long the days of the page are kept.
pub(super) fn first_day(now: Timestamp) -> Timestamp {
    now.minus(DAY * DAYS)
}
