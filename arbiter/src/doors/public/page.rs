//! What all public pages have around them: the frame, the one style sheet, moments.

use crate::rules::text::span;
use crate::rules::timestamp::Timestamp;
use data_encoding::BASE64;
use maud::{DOCTYPE, Markup, PreEscaped, Render, html};
use sha2::{Digest as _, Sha256};

/// Works in light and dark, on a narrow screen and when it is printed.
const STYLE: &str = include_str!("page.css");

/// How often a page loads itself again that is asked to, in seconds.
const REFRESH_SECS: u32 = 60;

/// A page as it is sent.
pub(super) struct Page {
    pub(super) media_type: &'static str,
    pub(super) text: String,
    /// Whether scripts of other sites may read it.
    pub(super) is_for_all: bool,
}

/// The style sheet's SHA-256 in base64, which is how the one that may be used is named to a browser.
///
/// Spec: Content Security Policy Level 3 §6.7.3.
pub(super) fn style_digest() -> String {
    BASE64.encode(&Sha256::digest(STYLE))
}

/// A page for people. What `head` holds stands beside the arbiter's name; a page that `refreshes` loads
/// itself again each minute.
pub(super) fn page(title: &str, refreshes: bool, head: &Markup, body: &Markup) -> Page {
    let text = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if refreshes { meta http-equiv="refresh" content=(REFRESH_SECS); }
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { h1 { a href="/" { "Canister Arbiter" } } (head) }
                main { (body) }
                footer {
                    p {
                        "For programs: " a href="/status.json" { "status.json" } ", "
                        a href="/peers.json" { "peers.json" } ", " a href="/metrics" { "metrics" } ", "
                        a href="/changes?after=0" { "changes" } ", "
                        a href="/feed.atom" { "feed" } "."
                    }
                }
            }
        }
    };
    Page { media_type: "text/html; charset=utf-8", text: text.into_string(), is_for_all: false }
}

/// A moment as people and browsers read it.
pub(super) struct Time(pub(super) Timestamp);

impl Render for Time {
    fn render(&self) -> Markup {
        let text = self.0.to_string();
        html! { time datetime=(machine(&text)) { (text) " UTC" } }
    }
}

/// A moment by how far it is from another: the first as seen from the second.
pub(super) struct Since(pub(super) Timestamp, pub(super) Timestamp);

impl Render for Since {
    fn render(&self) -> Markup {
        let Self(moment, now) = *self;
        let text = moment.to_string();
        html! {
            time datetime=(machine(&text)) title={ (text) " UTC" } {
                @if moment > now { "in " (span(moment.since(now))) }
                @else { (span(now.since(moment))) " ago" }
            }
        }
    }
}

fn machine(text: &str) -> String {
    format!("{}Z", text.replace(' ', "T"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_moment_is_said_twice() {
        let moment = Timestamp::from_secs(951_827_696).unwrap();
        assert_eq!(
            Time(moment).render().into_string(),
            "<time datetime=\"2000-02-29T12:34:56Z\">2000-02-29 12:34:56 UTC</time>"
        );
        let later = moment.plus(Duration::from_secs(600));
        let said = |moment, now| Since(moment, now).render().into_string();
        assert!(said(moment, later).ends_with("\">10 min ago</time>"));
        assert!(said(later, moment).ends_with("\">in 10 min</time>"));
    }
}
