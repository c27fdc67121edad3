//! The arbiter in numbers, for Prometheus: what is the whole network's begins with `canister_network_` and
//! is the same with each arbiter; everything else is this arbiter's own.
//!
//! Spec: Prometheus' text-based format, version 0.0.4.

use super::page::Page;
use super::process;
use super::snapshot::{Shown, Snapshot};
use crate::hub::Hub;
use crate::rules::timestamp::Timestamp;
use crate::rules::trust::PeerTrust;
use crate::store::{Peer, SourceState};
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

/// The page of all metrics: what this arbiter counted, how it is, and what was last seen in the store.
pub(super) fn text(hub: &Hub, seen: Option<&Shown>) -> Page {
    let mut text = String::new();
    let mut add = |registry: &Registry| {
        prometheus_text::encode(&mut text, registry).expect("a String takes everything");
    };
    add(&hub.metrics.registry);
    add(&own(hub, seen).0);
    if let Some(seen) = seen {
        add(&network(seen).0);
    }
    add(&process::registry());
    Page { media_type: "text/plain; version=0.0.4; charset=utf-8", text, is_for_all: false }
}

/// Numbers of one moment.
struct Now(Registry);

impl Now {
    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.0.register(name, help, ConstGauge::new(signed(value)));
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.0.register(name, help, ConstCounter::new(value));
    }

    /// One a value of `label`.
    fn gauges(
        &mut self,
        (name, label): (&str, &'static str),
        help: &str,
        values: impl IntoIterator<Item = (impl Into<String>, u64)>,
    ) {
        let family = Family::<[(&'static str, String); 1], Gauge>::default();
        let mut is_any = false;
        for (of, value) in values {
            is_any = true;
            family.get_or_create(&[(label, of.into())]).set(signed(value));
        }
        if is_any {
            self.0.register(name, help, family);
        }
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// This arbiter as it is.
fn own(hub: &Hub, seen: Option<&Shown>) -> Now {
    let mut now = Now(Registry::with_prefix("canister"));
    let version = [(env!("CARGO_PKG_VERSION"), 1)];
    now.gauges(("build_info", "version"), "1; the label is the program's version", version);
    let is_up = seen.is_some_and(|seen| seen.trouble.is_none());
    now.gauge("store_up", "1; 0 while the store fails or is silent", is_up.into());
    let peers = hub.sessions.borrow().iter().count() as u64;
    now.gauge("peers_connected", "Peers that are connected to this arbiter", peers);
    now.gauges(
        ("expiry_timestamp_seconds", "of"),
        "When what the arbiter lives by ends: its certificates, the revocation list",
        hub.expiries.borrow().iter().map(|expiry| (expiry.what, expiry.ends)),
    );
    now.gauge("disk_full", "1 while nothing is granted for want of room", hub.is_full.get().into());
    if let Some(disk) = hub.disk.get() {
        now.gauge("disk_bytes", "Bytes of the disk that the embedded store is on", disk.whole);
        now.gauge("disk_free_bytes", "Bytes of that disk that nobody uses", disk.free);
    }
    let lists = hub.lists.borrow();
    if let Some(at) = lists.read_at {
        let help = "When this arbiter last read the source list";
        now.gauge("list_read_timestamp_seconds", help, at.millis() / 1000);
    }
    let help = "Lists that this arbiter couldn't read the last time";
    now.gauge("lists_unread", help, lists.unread.len() as u64);
    if let Some(seen) = seen {
        let help = "When the store said what is told of the network";
        now.gauge("snapshot_timestamp_seconds", help, seen.snapshot.now.millis() / 1000);
    }
    now
}

/// The network as the store knows it.
fn network(Shown { snapshot, peers, .. }: &Shown) -> Now {
    let mut now = Now(Registry::with_prefix("canister_network"));
    let Snapshot { counts, census, .. } = &**snapshot;
    let known = || snapshot.peers.iter();
    let trusted = |trust| known().filter(|peer| peer.trust == trust).count() as u64;
    for (name, help, value) in [
        ("sources", "Sources that the source list names", counts.sources),
        ("sources_polled", "Sources that are polled", census.polled),
        ("sources_refused", "Announced places that are no repositories", counts.refused),
        ("sources_hidden", "Sources that the catalogue doesn't show", counts.hidden),
        ("sources_due", "Sources that wait for a peer", counts.due),
        ("sources_late", "Sources that have waited for a peer for 15 minutes", census.late),
        ("sources_leased", "Sources that a peer reads", counts.leased),
        ("sources_failing", "Sources whose last attempt failed by their fault", counts.failing),
        ("sources_never_indexed", "Sources whose head was never learned", counts.never_indexed),
        (
            "due_lag_max_seconds",
            "How long the source that waits longest for a peer has waited",
            census.waited_max.as_secs(),
        ),
        ("packages", "Packages in the catalogue, hidden ones included", counts.packages),
        ("packages_visible", "Packages that can be found", counts.visible),
        ("peers", "Peers that were ever seen", counts.peers),
        ("peers_connected", "Peers that are connected to any arbiter", peers.network),
        ("peers_proven", "Peers that proved themselves", trusted(PeerTrust::Proven)),
        ("peers_suspended", "Peers that are suspended", trusted(PeerTrust::Suspended)),
        ("held_changes", "Changes that wait for the operator", snapshot.held.len() as u64),
    ] {
        now.gauge(name, help, value);
    }
    if let Some(oldest) = snapshot.held.iter().map(|change| change.held_at).min() {
        let help = "When the change was held that waits longest for the operator";
        now.gauge("held_oldest_timestamp_seconds", help, oldest.millis() / 1000);
    }
    let reasons = census.failing.iter().map(|(why, count)| (why.unwrap_or("unknown"), *count));
    now.gauges(("sources_failing_by_reason", "reason"), "Failing sources, by why", reasons);
    let all = |count: fn(&Peer) -> u64| known().map(count).sum::<u64>();
    now.counter("leases_granted", "Leases that were ever granted", all(|peer| peer.granted));
    now.counter(
        "publications_confirmed",
        "Publications that audits confirmed",
        all(|it| it.confirmed),
    );
    now.counter("audits", "Audits that confirmed others", all(|peer| peer.audits));
    let ends = Family::<[(&'static str, &'static str); 1], _>::new_with_constructor(
        prometheus_client::metrics::counter::Counter::<u64>::default,
    );
    for (end, count) in [
        ("finished", all(|peer| peer.finished)),
        ("failed", all(|peer| peer.failed)),
        ("given back", all(|peer| peer.given_back)),
        ("expired", all(|peer| peer.expired)),
        ("revoked", all(|peer| peer.revoked)),
    ] {
        ends.get_or_create(&[("end", end)]).inc_by(count);
    }
    now.0.register("leases_ended", "Leases that ended, by how", ends);
    // Of more than are kept each one's own numbers would be most of a database.
    let Some(sources) = &snapshot.sources else {
        return now;
    };
    let of = |value: fn(&SourceState) -> Option<u64>| {
        let values = sources.iter();
        values.filter_map(move |state| Some((state.source.slug.clone(), value(state)?)))
    };
    let source = |name| (name, "source");
    let packages = of(|state| Some(state.packages));
    now.gauges(source("source_packages"), "Packages of a source in the catalogue", packages);
    let help = "Attempts that failed by a source's fault since its last contact";
    now.gauges(source("source_failures"), help, of(|state| Some(state.failures)));
    let help = "When a source's head was last learned";
    let contact = of(|state| state.last_contact.map(|at: Timestamp| at.millis() / 1000));
    now.gauges(source("source_contact_timestamp_seconds"), help, contact);
    now
}
