//! What the network did, drawn: bars of the leases that ended, by how they did.

use super::page::Since;
use crate::rules::text::thousands;
use crate::rules::timestamp::Timestamp;
use crate::store::{Tally, Verdict};
use maud::{Markup, html};
use std::time::Duration;

/// What is drawn in one colour, from below: its class, and what people call it.
const SERIES: [(&str, &str); 4] = [
    ("indexed", "indexed"),
    ("unchanged", "unchanged"),
    ("failed", "failed"),
    ("undone", "not done by the peer"),
];

/// Which of [`SERIES`] a lease belongs to that ended like this. The first two are contacts.
const fn series(verdict: Verdict) -> usize {
    match verdict {
        Verdict::Held | Verdict::Indexed => 0,
        Verdict::Audited | Verdict::Unchanged => 1,
        Verdict::SourceFailed => 2,
        Verdict::Expired
        | Verdict::GivenBack
        | Verdict::PeerFailed
        | Verdict::Revoked
        | Verdict::SentAway => 3,
    }
}

/// Width of a bar with its gap, and height of the highest, in the drawing's own units.
const STEP: usize = 10;
const HEIGHT: u64 = 1000;

/// The hour of `now` and those before it, in `bars` of so many `hours`.
pub(super) fn chart(
    title: &str,
    tallies: &[Tally],
    (bars, hours): (usize, u32),
    now: Timestamp,
) -> Markup {
    let counted = counted(tallies, (bars, hours), now);
    let highest = counted.iter().map(|bar| bar.iter().sum()).max().unwrap_or(0).max(1);
    let total = |at: usize| counted.iter().map(|bar| bar[at]).sum::<u64>();
    let begins =
        |bar: usize| begin((bars, hours), now).plus(Duration::from_secs(3600) * hours * bar as u32);
    let contacts = thousands(total(0) + total(1));
    html! {
        figure {
            h3 { (title) ": " (contacts) " contacts" }
            ul.legend {
                @for (at, (class, name)) in SERIES.into_iter().enumerate() {
                    li class=(class) { (thousands(total(at))) " " (name) }
                }
            }
            svg viewBox={ "0 0 " (bars * STEP) " " (HEIGHT) } preserveAspectRatio="none" role="img"
                aria-label={ (title) ": " (contacts) " contacts, at most " (thousands(highest)) " leases a bar" }
            {
                @for (at, bar) in counted.iter().enumerate() {
                    g {
                        title { (begins(at)) " UTC: " (said(bar)) }
                        @for (series, (y, height)) in stacked(bar, highest).into_iter().enumerate() {
                            @if height > 0 {
                                rect class=(SERIES[series].0) x=(at * STEP + 1) y=(y) width=(STEP - 2) height=(height) {}
                            }
                        }
                    }
                }
            }
            div.axis {
                span { (Since(begins(0), now)) }
                span { "highest bar " (thousands(highest)) }
                span { "now" }
            }
        }
    }
}

/// When the first bar begins.
fn begin((bars, hours): (usize, u32), now: Timestamp) -> Timestamp {
    let hour = Duration::from_secs(3600);
    now.hour().plus(hour).minus(hour * hours * bars as u32)
}

fn counted(tallies: &[Tally], (bars, hours): (usize, u32), now: Timestamp) -> Vec<[u64; 4]> {
    let mut counted = vec![[0; 4]; bars];
    let begin = begin((bars, hours), now);
    for tally in tallies.iter().filter(|tally| tally.hour >= begin) {
        let at = tally.hour.since(begin).as_secs() / (3600 * u64::from(hours));
        if let Some(bar) = usize::try_from(at).ok().and_then(|at| counted.get_mut(at)) {
            bar[series(tally.verdict)] += tally.leases;
        }
    }
    counted
}

/// From where and how far each part of a bar goes.
fn stacked(bar: &[u64; 4], highest: u64) -> [(u64, u64); 4] {
    let scaled = |sum: u64| {
        u64::try_from(u128::from(sum) * u128::from(HEIGHT) / u128::from(highest)).unwrap_or(HEIGHT)
    };
    let mut sum = 0;
    bar.map(|count| {
        let below = scaled(sum);
        sum += count;
        (HEIGHT - scaled(sum), scaled(sum) - below)
    })
}

fn said(bar: &[u64; 4]) -> String {
    let parts = bar.iter().zip(SERIES).filter(|(count, _)| **count > 0);
    let parts: Vec<_> =
        parts.map(|(count, (_, name))| format!("{} {name}", thousands(*count))).collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_hold_what_ended_in_their_hours() {
        let now = Timestamp::from_secs(100 * 3600 + 1800).unwrap();
        let tally = |hour: u64, verdict, leases| Tally {
            hour: Timestamp::from_secs(hour * 3600).unwrap(),
            verdict,
            reason: None,
            leases,
            requests: 0,
            bytes: 0,
            millis: 0,
        };
        let tallies = [
            tally(88, Verdict::Indexed, 9),
            tally(89, Verdict::Indexed, 1),
            tally(94, Verdict::SourceFailed, 2),
            tally(100, Verdict::Unchanged, 3),
            tally(100, Verdict::Expired, 1),
        ];
        let counted = counted(&tallies, (2, 6), now);
        assert_eq!(counted, [[1, 0, 2, 0], [0, 3, 0, 1]]);
        assert_eq!(stacked(&counted[1], 8), [(1000, 0), (625, 375), (625, 0), (500, 125)]);
        assert_eq!(said(&counted[0]), "1 indexed, 2 failed");
    }
}
