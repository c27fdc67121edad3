//! The status page, for people and for programs.

use super::snapshot::{Shown, Snapshot};
use crate::hub::store_thread::Silence;
use crate::rules::signatures::SourceSignature;
use crate::rules::text::thousands;
use crate::rules::timestamp::Timestamp;
use crate::rules::trust::PeerTrust;
use crate::store::SourceState;
use data_encoding::BASE64;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::cmp::Reverse;
use std::fmt;
use std::fmt::Write as _;

/// Most sources of one page.
const SOURCES_MAX: usize = 5000;

/// Most peers of one page.
const PEERS_MAX: usize = 100;

/// Works in light and dark, on a narrow screen and when it is printed.
const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:1rem/1.5 system-ui,sans-serif;margin:0 auto;max-width:70rem;padding:1rem}\
.wide{overflow-x:auto}\
table{border-collapse:collapse;width:100%}\
caption{font-weight:bold;padding:.5rem 0;text-align:left}\
th,td{border-bottom:1px solid #8888;padding:.25rem .75rem .25rem 0;text-align:left;vertical-align:top}\
td.number,th.number{font-variant-numeric:tabular-nums;text-align:right}\
dl{display:grid;grid-template-columns:max-content auto;gap:.25rem 1rem}\
dd{margin:0}";

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

/// Text that means nothing to HTML, also within a quoted attribute.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;"),
                '<' => f.write_str("&lt;"),
                '>' => f.write_str("&gt;"),
                '"' => f.write_str("&quot;"),
                '\'' => f.write_str("&#39;"),
                other => f.write_char(other),
            }?;
        }
        Ok(())
    }
}

/// A moment as people and browsers read it.
struct Time(Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let machine = text.replace(' ', "T");
        write!(f, "<time datetime=\"{machine}Z\">{text}</time>")
    }
}

/// The page for people.
pub(super) fn html(Shown { snapshot, trouble }: &Shown, peers_connected: usize) -> Page {
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Canister Arbiter</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>Canister Arbiter</h1>\n<dl>\n"
    );
    if let Some(silence) = trouble {
        let silence = silence.for_everybody();
        let _ = writeln!(text, "</dl>\n<p role=\"alert\">{}.</p>\n<dl>", Escaped(&silence));
    }
    let counts = &snapshot.counts;
    for (what, value) in [
        ("Sources", counts.sources),
        ("being read", counts.leased),
        ("due", counts.due),
        ("failing", counts.failing),
        ("never indexed", counts.never_indexed),
        ("Packages", counts.visible),
        ("Peers connected", peers_connected as u64),
    ] {
        let _ = writeln!(text, "<dt>{what}</dt><dd>{}</dd>", thousands(value));
    }
    let _ = write!(
        text,
        "<dt>As of</dt><dd>{} UTC</dd>\n</dl>\n\
         <p>The same for programs: <a href=\"status.json\">status.json</a>, \
         <a href=\"peers.json\">peers.json</a>, \
         <a href=\"metrics\">metrics</a>.</p>\n\
         <div class=\"wide\" role=\"region\" aria-label=\"Sources\" tabindex=\"0\">\n<table>\n\
         <caption>Sources</caption>\n<thead><tr><th scope=\"col\">Source</th>\
         <th scope=\"col\">Address</th><th scope=\"col\">State</th>\
         <th scope=\"col\">Signature</th>\
         <th scope=\"col\" class=\"number\">Packages</th>\
         <th scope=\"col\">Last contact (UTC)</th></tr></thead>\n<tbody>\n",
        Time(snapshot.now)
    );
    for state in snapshot.sources.iter().take(SOURCES_MAX) {
        row(&mut text, state, snapshot.now);
    }
    text.push_str("</tbody>\n</table>\n</div>\n");
    if snapshot.sources.len() > SOURCES_MAX {
        let _ =
            writeln!(text, "<p>The first {SOURCES_MAX} of {} sources.</p>", snapshot.sources.len());
    }
    let credited = credited(snapshot);
    if !credited.is_empty() {
        text.push_str(
            "<table>\n<caption>Peers</caption>\n<thead><tr><th scope=\"col\">Peer</th>\
             <th scope=\"col\" class=\"number\">Publications confirmed</th>\
             <th scope=\"col\" class=\"number\">Audits</th></tr></thead>\n<tbody>\n",
        );
        for peer in credited.iter().take(PEERS_MAX) {
            let _ = writeln!(
                text,
                "<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td>\
                 <td class=\"number\">{}</td></tr>",
                Escaped(peer.peer),
                thousands(peer.confirmed),
                thousands(peer.audits)
            );
        }
        text.push_str("</tbody>\n</table>\n");
    }
    text.push_str("</main>\n</body>\n</html>\n");
    Page { media_type: "text/html; charset=utf-8", text, is_for_all: false }
}

fn row(text: &mut String, state: &SourceState, now: Timestamp) {
    let slug = Escaped(&state.source.slug);
    let uri = Escaped(&state.source.uri);
    let standing = match state.failures {
        0 => state.standing(now).to_owned(),
        1 => format!("{}, failed once", state.standing(now)),
        times => format!("{}, failed {times} times", state.standing(now)),
    };
    let contact = match state.last_contact {
        Some(at) => Time(at).to_string(),
        None => "never".to_owned(),
    };
    let signature = match &state.signed {
        Some(signed) if signed.is_ending(now) => format!("{}, its key ends", signed.state.word()),
        Some(signed) => signed.state.word().to_owned(),
        None => String::new(),
    };
    let packages = thousands(state.packages);
    let _ = writeln!(
        text,
        "<tr><th scope=\"row\">{slug}</th><td>{uri}</td><td>{standing}</td><td>{signature}</td>\
         <td class=\"number\">{packages}</td><td>{contact}</td></tr>"
    );
}

/// The page for programs. Moments are milliseconds since 1970.
#[derive(Serialize)]
struct PageStatus<'a> {
    program: &'static str,
    now: u64,
    /// Since when the store doesn't answer, in a sentence; what is told is older than that.
    trouble: Option<String>,
    peers_connected: u64,
    sources: u64,
    due: u64,
    leased: u64,
    failing: u64,
    never_indexed: u64,
    packages: u64,
    list: Vec<PageSource<'a>>,
}

#[derive(Serialize)]
struct PageSource<'a> {
    source: &'a str,
    uri: &'a str,
    suite: &'a str,
    state: &'static str,
    packages: u64,
    head: Option<&'a str>,
    signature: Option<&'static str>,
    signed_by: Option<&'a str>,
    signed_until: Option<u64>,
    last_contact: Option<u64>,
    due_at: u64,
    failures: u64,
}

/// The same as [`html`], and the heads.
pub(super) fn json(Shown { snapshot, trouble }: &Shown, peers_connected: usize) -> Page {
    let counts = &snapshot.counts;
    fn source(state: &SourceState, now: Timestamp) -> PageSource<'_> {
        let SourceState {
            source, packages, origin, signed, last_contact, due_at, failures, ..
        } = state;
        PageSource {
            source: &source.slug,
            uri: &source.uri,
            suite: &source.suite,
            state: state.standing(now),
            packages: *packages,
            head: origin.as_ref().map(|origin| &*origin.head),
            signature: signed.as_ref().map(|signed| signed.state.word()),
            signed_by: signed.as_ref().and_then(SourceSignature::signer),
            signed_until: signed.as_ref().and_then(|signed| signed.until).map(Timestamp::millis),
            last_contact: last_contact.map(Timestamp::millis),
            due_at: due_at.millis(),
            failures: *failures,
        }
    }
    let status = PageStatus {
        program: crate::PROGRAM,
        now: snapshot.now.millis(),
        trouble: trouble.as_ref().map(Silence::for_everybody),
        peers_connected: peers_connected as u64,
        sources: counts.sources,
        due: counts.due,
        leased: counts.leased,
        failing: counts.failing,
        never_indexed: counts.never_indexed,
        packages: counts.visible,
        list: snapshot.sources.iter().map(|state| source(state, snapshot.now)).collect(),
    };
    let mut text = serde_json::to_string(&status).expect("texts and numbers are always JSON");
    text.push('\n');
    Page { media_type: "application/json", text, is_for_all: true }
}

/// What a peer is credited for.
#[derive(Serialize)]
struct PageCredit<'a> {
    /// The name under which it agrees to be shown.
    peer: &'a str,
    /// Its publications that audits confirmed.
    confirmed: u64,
    /// Its audits that confirmed others.
    audits: u64,
    /// When it was first seen, in milliseconds since 1970.
    first_seen: u64,
}

/// The peers that agree to be shown and are believed, by what they are credited for.
fn credited(snapshot: &Snapshot) -> Vec<PageCredit<'_>> {
    let shown = snapshot.peers.iter().filter(|peer| peer.trust != PeerTrust::Suspended);
    let mut shown: Vec<_> = shown
        .filter_map(|peer| Some((peer, peer.public_name.as_deref().filter(|it| !it.is_empty())?)))
        .collect();
    shown.sort_by_key(|(peer, name)| (Reverse(peer.credit()), *name));
    let page = shown.into_iter().map(|(peer, name)| PageCredit {
        peer: name,
        confirmed: peer.confirmed,
        audits: peer.audits,
        first_seen: peer.first_seen.millis(),
    });
    page.collect()
}

/// The same for programs.
pub(super) fn peers(Shown { snapshot, .. }: &Shown, _: usize) -> Page {
    let credited = credited(snapshot);
    let mut text = serde_json::to_string(&credited).expect("texts and numbers are always JSON");
    text.push('\n');
    Page { media_type: "application/json", text, is_for_all: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_source_is_markup() {
        let text = Escaped("<b onclick='x'>\"&amp;").to_string();
        assert_eq!(text, "&lt;b onclick=&#39;x&#39;&gt;&quot;&amp;amp;");
    }

    #[test]
    fn a_moment_is_said_twice() {
        assert_eq!(
            Time(Timestamp::from_secs(951_827_696).unwrap()).to_string(),
            "<time datetime=\"2000-02-29T12:34:56Z\">2000-02-29 12:34:56</time>"
        );
    }
}
