//! What this arbiter counts of its own work since it started. What the network as a whole did is the
//! store's to tell.

use crate::rules::trust::Comparison;
use crate::store::{Finished, Verdict};
use canister_protocol::message::{Cost, FailureKind};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Upper bounds of what takes seconds to days, in seconds.
const LONG: [f64; 12] =
    [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 21600.0, 86400.0, 604_800.0];
/// Upper bounds of what takes milliseconds to minutes, in seconds.
const SHORT: [f64; 10] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 3.0, 10.0, 60.0, 900.0];

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// How long calls of the store take, from when they are asked until they are answered.
pub type StoreCalls = Family<Labels<1>, Histogram>;

/// Makes the counts with the names and helps by which they are shown.
macro_rules! metrics {
    ($($field:ident: $kind:ty = $new:expr, $name:literal: $help:literal;)*) => {
        /// The counts, and all of them as they are shown.
        #[derive(Debug)]
        pub struct Metrics {
            pub registry: Registry,
            $($field: $kind,)*
        }

        impl Metrics {
            /// All at 0; the store's threads count its `calls`.
            pub fn new(calls: StoreCalls) -> Self {
                let mut registry = Registry::with_prefix("canister");
                let help = "Calls of the store, from when they are asked until they are answered; \
                    long ones may take minutes";
                registry.register("store_call_seconds", help, calls);
                $(let $field: $kind = $new; registry.register($name, $help, $field.clone());)*
                Self { registry, $($field,)* }
            }
        }
    };
}

metrics! {
    leases: Family<Labels<2>, Counter> = Family::default(),
        "leases": "Leases that ended with this arbiter, by how and why";
    requests: Counter = Counter::default(),
        "requests": "HTTP requests that those leases took at sources";
    bytes: Counter = Counter::default(),
        "fetched_bytes": "Bytes of bodies that those leases fetched";
    rows: Counter = Counter::default(),
        "rows": "Rows that those leases put into the catalogue";
    seconds: Family<Labels<1>, Histogram> = Family::new_with_constructor(long),
        "lease_seconds": "From grant to finish, as peers measured it, by how it ended";
    audits: Family<Labels<1>, Counter> = Family::default(),
        "audits": "Audits, by what they came to";
    announced: Family<[(&'static str, u16); 1], Counter> = usual(),
        "announcements": "Announcements on the public listener, by the answer's status";
    fetched: Histogram = long(),
        "announcement_granted_seconds": "From an announcement until its source was granted to a peer";
    visible: Histogram = long(),
        "announcement_visible_seconds": "From an announcement until what came of it was in the catalogue";
    lag: Histogram = long(),
        "due_lag_seconds": "From when a source was due until it was granted to a peer";
}

/// Counts by status, of which the usual ones are there before the first: nobody can tell how a count grew that wasn't.
fn usual() -> Family<[(&'static str, u16); 1], Counter> {
    let all = Family::default();
    for status in [204, 403, 429] {
        drop(all.get_or_create(&[("status", status)]));
    }
    all
}

fn long() -> Histogram {
    Histogram::new(LONG)
}

/// The store's calls, none so far.
pub fn store_calls() -> StoreCalls {
    StoreCalls::new_with_constructor(|| Histogram::new(SHORT))
}

impl Metrics {
    /// A lease ended: so, and where it failed, therefore.
    pub fn ended(&self, verdict: Verdict, reason: Option<FailureKind>) {
        let reason = reason.map_or("", FailureKind::words);
        self.leases.get_or_create(&[("end", verdict.words()), ("reason", reason)]).inc();
    }

    /// A lease ended by its peer's finish.
    pub fn finished(&self, finished: &Finished, cost: &Cost) {
        let Finished { verdict, reason, put, comparison, announced, .. } = finished;
        self.ended(*verdict, *reason);
        self.requests.inc_by(cost.requests);
        self.bytes.inc_by(cost.bytes_fetched);
        self.rows.inc_by(*put);
        let took = Duration::from_millis(cost.millis).as_secs_f64();
        self.seconds.get_or_create(&[("end", verdict.words())]).observe(took);
        if let Some(came) = comparison.map(Comparison::word) {
            self.audits.get_or_create(&[("came", came)]).inc();
        }
        if let Some((granted, visible)) = announced {
            self.fetched.observe(granted.as_secs_f64());
            self.visible.observe(visible.as_secs_f64());
        }
    }

    /// A source was granted that had been due for so long.
    pub fn granted(&self, lag: Duration) {
        self.lag.observe(lag.as_secs_f64());
    }

    /// An announcement on the public listener was answered with this status.
    pub fn announced(&self, status: u16) {
        self.announced.get_or_create(&[("status", status)]).inc();
    }
}
