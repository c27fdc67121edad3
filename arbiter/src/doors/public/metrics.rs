//! The arbiter in numbers, for Prometheus.
//!
//! Spec: Prometheus' text-based format, version 0.0.4.

use super::page::Page;
use super::snapshot::Shown;
use crate::deeds::announce::Announced;
use crate::rules::expiry::Expiry;
use crate::rules::timestamp::Timestamp;
use crate::store::Peer;
use std::fmt::Write as _;

/// Above so many sources each one's own numbers are left out: they would be most of a database.
const SOURCES_MAX: usize = 5000;

/// The page of all metrics: what is this arbiter's own, and what was last seen in the store.
pub(super) fn text(
    seen: Option<&Shown>,
    peers_connected: usize,
    announced: &Announced,
    expiries: &[Expiry],
) -> Page {
    let mut text = Exposition::default();
    text.family("canister_build_info", "gauge", "1; the label is the program's version.");
    text.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);

    text.family("canister_store_up", "gauge", "1; 0 while the store fails or is silent.");
    text.sample(&[], seen.is_some_and(|seen| seen.trouble.is_none()).into());
    text.family("canister_peers_connected", "gauge", "Peers that are connected to this arbiter.");
    text.sample(&[], peers_connected as u64);
    text.family(
        "canister_announcements_total",
        "counter",
        "Announcements on the public listener since the start, by the answer's status.",
    );
    for (status, count) in announced.counts() {
        text.sample(&[("status", &status.to_string())], count);
    }
    let about = "When what the arbiter lives by ends: its certificates, the revocation list.";
    text.family("canister_expiry_timestamp_seconds", "gauge", about);
    for expiry in expiries {
        text.sample(&[("of", expiry.what)], expiry.ends);
    }

    let Some(Shown { snapshot, .. }) = seen else {
        return text.page();
    };
    let about = "When the store said what follows.";
    text.family("canister_snapshot_timestamp_seconds", "gauge", about);
    text.sample(&[], snapshot.now.millis() / 1000);
    let counts = &snapshot.counts;
    for (name, help, value) in [
        ("sources", "Sources that are polled.", counts.sources),
        ("looks_refused", "Announced places that are no repositories.", counts.refused),
        ("sources_hidden", "Sources that the source list names no more.", counts.hidden),
        ("sources_due", "Sources that wait for a peer.", counts.due),
        ("sources_leased", "Sources that a peer reads.", counts.leased),
        ("sources_failing", "Sources whose last attempt failed by their fault.", counts.failing),
        ("sources_never_indexed", "Sources whose head was never learned.", counts.never_indexed),
        ("packages", "Packages in the catalogue, hidden ones included.", counts.packages),
        ("packages_visible", "Packages that can be found.", counts.visible),
        ("peers", "Peers that were ever seen.", counts.peers),
    ] {
        text.family(&format!("canister_{name}"), "gauge", help);
        text.sample(&[], value);
    }

    text.family("canister_leases_granted_total", "counter", "Leases that were ever granted.");
    let all = |count: fn(&Peer) -> u64| snapshot.peers.iter().map(count).sum::<u64>();
    text.sample(&[], all(|peer| peer.granted));
    text.family("canister_leases_ended_total", "counter", "Leases that ended, by how they did.");
    for (end, count) in [
        ("finished", all(|peer| peer.finished)),
        ("failed", all(|peer| peer.failed)),
        ("given_back", all(|peer| peer.given_back)),
        ("expired", all(|peer| peer.expired)),
        ("revoked", all(|peer| peer.revoked)),
    ] {
        text.sample(&[("end", end)], count);
    }

    if snapshot.sources.len() > SOURCES_MAX {
        return text.page();
    }
    text.family("canister_source_packages", "gauge", "Packages of a source in the catalogue.");
    for state in &snapshot.sources {
        text.sample(&[("source", &state.source.slug)], state.packages);
    }
    text.family(
        "canister_source_failures",
        "gauge",
        "Attempts that failed by a source's fault since its last contact.",
    );
    for state in &snapshot.sources {
        text.sample(&[("source", &state.source.slug)], state.failures);
    }
    text.family(
        "canister_source_contact_timestamp_seconds",
        "gauge",
        "When a source's head was last learned.",
    );
    for state in &snapshot.sources {
        if let Some(at) = state.last_contact.map(Timestamp::millis) {
            text.sample(&[("source", &state.source.slug)], at / 1000);
        }
    }
    text.page()
}

/// Metrics as they are written, a family at a time.
#[derive(Default)]
struct Exposition {
    text: String,
    family: String,
}

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        name.clone_into(&mut self.family);
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: u64) {
        self.text.push_str(&self.family);
        for (number, (name, label)) in labels.iter().enumerate() {
            let before = if number == 0 { '{' } else { ',' };
            let label = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{before}{name}=\"{label}\"");
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    fn page(self) -> Page {
        Page {
            media_type: "text/plain; version=0.0.4; charset=utf-8",
            text: self.text,
            is_for_all: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_helps_are_escaped() {
        let mut text = Exposition::default();
        text.family("a_total", "counter", "one\\two\nthree");
        text.sample(&[], 7);
        text.sample(&[("x", "a\"b\\c\nd"), ("y", "")], u64::MAX);
        assert_eq!(
            text.text,
            "# HELP a_total one\\\\two\\nthree\n# TYPE a_total counter\na_total 7\n\
             a_total{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 18446744073709551615\n"
        );
    }
}
