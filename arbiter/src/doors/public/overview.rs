//! The first page: what the network does, and the sources in it that are wished for.

use super::chart::chart;
use super::page::{Page, Since, Time, page};
use super::programs::credited;
use super::snapshot::{Shown, Snapshot};
use super::wish::{Look, PAGE, PAGES_MAX, Sort, Wish, Wished};
use crate::hub::store_thread::Silence;
use crate::rules::schedule::Standing;
use crate::rules::signatures::SourceSignature;
use crate::rules::text::{plural, span, thousands};
use crate::rules::timestamp::Timestamp;
use crate::store::{ArbiterState, SourceLine};
use canister_protocol::message::FailureKind;
use maud::{Markup, PreEscaped, html};
use std::cmp::Reverse;

/// Most peers of one page.
const PEERS_MAX: usize = 100;

/// Where the sources stand in a page that is begun before they are found. Text of others has no `<`.
pub(super) const SOURCES: &str = "<!--sources-->";

/// The page as `wish` has it, with what was found of it, or with [`SOURCES`] in that place.
pub(super) fn overview(
    Shown { snapshot, trouble, peers }: &Shown,
    wish: &Wish,
    wished: Option<&Wished>,
) -> Page {
    let now = snapshot.now;
    let counts = &snapshot.counts;
    let head = html! {
        p.quiet {
            "As of " (Time(now)) " "
            span.refresh {
                "· " a href=(wish.but(|_| ())) { "refresh" } " · "
                @if wish.refreshes {
                    "each minute, " a href=(wish.but(|it| it.refreshes = false)) { "stop" }
                } @else {
                    a href=(wish.but(|it| it.refreshes = true)) { "each minute" }
                }
            }
        }
    };
    let tiles = [
        ("sources", counts.sources, ""),
        ("failing", counts.failing, if counts.failing > 0 { "failing" } else { "" }),
        ("never read", counts.never_indexed, ""),
        ("being read", counts.leased, ""),
        ("due", counts.due, ""),
        ("packages", counts.visible, ""),
        ("peers connected", peers.network, ""),
    ];
    let body = html! {
        @if let Some(silence) = trouble.as_ref().map(Silence::for_everybody) {
            p role="alert" { (silence) ". This is what was last known." }
        }
        dl.tiles {
            @for (what, value, class) in tiles {
                div class=[Some(class).filter(|it| !it.is_empty())] { dt { (what) } dd { (thousands(value)) } }
            }
        }
        section {
            h2 { "What the network did" }
            div.charts {
                (chart("Last day, by the hour", &snapshot.tallies, (24, 1), now))
                (chart("Last week, by six hours", &snapshot.tallies, (28, 6), now))
            }
        }
        (sources(snapshot, wish, wished))
        (peers_shown(snapshot))
        (arbiters(&snapshot.arbiters, now))
    };
    page("Canister Arbiter", wish.refreshes, &head, &body)
}

fn sources(snapshot: &Snapshot, wish: &Wish, wished: Option<&Wished>) -> Markup {
    html! {
        section {
            h2 id="sources" { "Sources" }
            (reasons(snapshot, wish))
            form method="get" action="/" {
                label.wide {
                    "Name, address or reason"
                    input type="search" name="q" value=(wish.text) maxlength="200";
                }
                label {
                    "State"
                    select name="state" {
                        option value="" { "all" }
                        @for look in Look::ALL {
                            option value=(look.words()) selected[wish.look == Some(look)] { (look.words()) }
                        }
                    }
                }
                label {
                    "Sorted by"
                    select name="sort" {
                        @for (sort, name) in Sort::ALL {
                            option value=(sort.words()) selected[wish.sort == sort] { (name) }
                        }
                    }
                }
                @if wish.refreshes { input type="hidden" name="refresh" value="on"; }
                button type="submit" { "Show" }
            }
            @match wished {
                Some(wished) => (found(wished, wish, snapshot.now)),
                None => (PreEscaped(SOURCES)),
            }
        }
    }
}

/// The sources that were found.
pub(super) fn found(wished: &Wished, wish: &Wish, now: Timestamp) -> Markup {
    let Wished { sources, count, page, pages } = wished;
    let first = page * PAGE + 1;
    html! {
        table.rows {
            caption {
                @if sources.is_empty() { "No source is like this." }
                @else { (thousands(first as u64)) " to " (thousands((first + sources.len() - 1) as u64)) " of " (thousands(*count as u64)) }
            }
            thead {
                tr {
                    th scope="col" { "Source" }
                    th scope="col" { "State" }
                    th scope="col" { "Why" }
                    th.number scope="col" { "Packages" }
                    th scope="col" { "Signature" }
                    th scope="col" { "Last contact" }
                    th scope="col" { "Next run" }
                }
            }
            tbody { @for line in sources { (row(line, now)) } }
        }
        @if *pages > 1 {
            nav.pages aria-label="Pages of sources" {
                span {
                    @if *page > 0 { a rel="prev" href=(at_sources(wish.but(|it| it.page = page - 1))) { "← before" } }
                }
                span { "page " (page + 1) " of " (pages) }
                span {
                    @if page + 1 < *pages { a rel="next" href=(at_sources(wish.but(|it| it.page = page + 1))) { "after →" } }
                }
            }
        }
        @if *count > PAGES_MAX * PAGE {
            p.quiet {
                "There are no pages for the other " (thousands((count - PAGES_MAX * PAGE) as u64))
                ": a name, an address or a state finds them."
            }
        }
    }
}

/// Why no sources were found.
pub(super) fn not_found(why: &str) -> Markup {
    html! { p role="alert" { "The sources can't be read: " (why) "." } }
}

fn at_sources(address: String) -> String {
    format!("{address}#sources")
}

/// Failing sources by why, the most first.
fn reasons(snapshot: &Snapshot, wish: &Wish) -> Markup {
    let mut reasons: Vec<_> = snapshot.census.failing.iter().collect();
    reasons.sort_by_key(|(_, count)| Reverse(**count));
    html! {
        @if !reasons.is_empty() {
            p {
                "Failing: "
                @for (at, (reason, count)) in reasons.into_iter().enumerate() {
                    @if at > 0 { ", " }
                    @if let Some(reason) = reason {
                        a href=(at_sources(wish.but(|it| {
                            (it.text, it.look, it.page) = ((*reason).to_owned(), None, 0);
                        }))) { (thousands(*count)) " " (reason) }
                    } @else { (thousands(*count)) " for another reason" }
                }
                "."
            }
        }
    }
}

fn row(line: &SourceLine, now: Timestamp) -> Markup {
    let look = Look::of(line, now);
    let word = match (look, line.standing) {
        (Look::Hidden, Standing::Active) => "hidden",
        (Look::Hidden, standing) => standing.word(),
        _ => look.words(),
    };
    let class = match look {
        Look::Failing => "is-failing",
        Look::Hidden => "is-hidden",
        Look::Unread => "is-unread",
        Look::Leased | Look::Due | Look::Waiting => "is-good",
    };
    let why = (line.failures > 0).then(|| {
        let reason = line.reason.map_or("failed", FailureKind::words);
        let times = plural(line.failures, "attempt", "attempts");
        match line.failing_since {
            Some(since) => format!("{reason}, {times} in {}", span(now.since(since))),
            None => format!("{reason}, {times}"),
        }
    });
    let signature = line.signed.as_ref().map(|signed: &SourceSignature| {
        let is_ending = if signed.is_ending(now) { ", its key ends" } else { "" };
        format!("{}{is_ending}", signed.state.word())
    });
    html! {
        tr {
            th scope="row" { a href={ "/source/" (line.slug) } { (line.slug) } span.quiet { (line.uri) } }
            td data-label="State" { span class={ "state " (class) } { (word) } }
            td data-label="Why" { (why.unwrap_or_default()) }
            td.number data-label="Packages" { (thousands(line.packages)) }
            td data-label="Signature" { (signature.unwrap_or_default()) }
            td.when data-label="Last contact" {
                @if let Some(at) = line.last_contact { (Since(at, now)) } @else { "never" }
            }
            td.when data-label="Next run" {
                @if !line.is_polled { "none" }
                @else if line.is_leased { "now" }
                @else if line.due_at <= now { "due" }
                @else { (Since(line.due_at, now)) }
            }
        }
    }
}

/// Peers that agree to be shown.
fn peers_shown(snapshot: &Snapshot) -> Markup {
    let credited = credited(snapshot);
    html! {
        @if !credited.is_empty() {
            section {
                h2 { "Peers that agree to be shown" }
                table.rows {
                    thead {
                        tr {
                            th scope="col" { "Peer" }
                            th.number scope="col" { "Publications confirmed" }
                            th.number scope="col" { "Audits" }
                            th scope="col" { "Takes part since" }
                        }
                    }
                    tbody {
                        @for peer in credited.iter().take(PEERS_MAX) {
                            tr {
                                th scope="row" { (peer.peer) }
                                td.number data-label="Confirmed" { (thousands(peer.confirmed)) }
                                td.number data-label="Audits" { (thousands(peer.audits)) }
                                td data-label="Since" { (Since(Timestamp::from_millis(peer.first_seen), snapshot.now)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Arbiters, where there can be several.
fn arbiters(arbiters: &[ArbiterState], now: Timestamp) -> Markup {
    html! {
        @if !arbiters.is_empty() {
            section {
                h2 { "Arbiters" }
                table.rows {
                    thead {
                        tr {
                            th scope="col" { "Arbiter" }
                            th scope="col" { "State" }
                            th scope="col" { "Program" }
                            th scope="col" { "Since" }
                        }
                    }
                    tbody {
                        @for arbiter in arbiters {
                            tr {
                                // Without where it listens.
                                th scope="row" { (arbiter.name.split_once(' ').map_or(&*arbiter.name, |(host, _)| host)) }
                                td data-label="State" {
                                    @if arbiter.is_here { span class="state is-good" { "here" } }
                                    @else { span class="state is-failing" { "gone, seen " (Since(arbiter.seen_at, now)) } }
                                }
                                td data-label="Program" { (arbiter.program) }
                                td data-label="Since" { (Since(arbiter.started_at, now)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
