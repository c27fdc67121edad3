//! What `canister-agent status` shows: the running agent as its owner sees it. A value; the agent's loop
//! fills it in and sends it as JSON.

use crate::control::{about, ago};
use crate::ledger::book::LedgerCounts;
use crate::lint::findings::counted;
use canister_protocol::plain::lines;
use nanoserde::{DeJson, SerJson};
use std::fmt::{self, Write as _};
use std::time::Duration;

/// The agent at one moment. Times are milliseconds since 1970; 0 where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct AgentStatus {
    /// Program and version.
    pub program: String,
    /// The newest version that is known of, by the arbiters' own: both are released as one.
    pub newest: String,
    /// The peer's name.
    pub peer: String,
    /// The arbiter of the session; empty without one.
    pub arbiter: String,
    /// Since when there is that session, or none.
    pub since: u64,
    /// What it does and when it works next, in a sentence.
    pub state: String,
    /// What the arbiters say of this peer and its owner should know, a line each.
    pub told: Vec<String>,
    /// The leases in hand, the oldest first.
    pub leases: Vec<LeaseInHand>,
    /// Most leases at once.
    pub slots: u64,
    /// When the agent was started.
    pub started: u64,
    /// What the ledger says of today and of this month, in local time.
    pub today: Sums,
    pub month: Sums,
    /// CPU time in milliseconds, since the start.
    pub cpu_millis: u64,
    /// Resident memory now, and at most so far, in bytes.
    pub memory_bytes: u64,
    pub memory_bytes_peak: u64,
    /// When the certificate ends.
    pub certificate_ends: u64,
}

/// One lease in hand.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct LeaseInHand {
    pub lease: u64,
    pub source: String,
    pub uri: String,
    /// When it was granted.
    pub since: u64,
    /// Bytes of bodies that came.
    pub bytes_fetched: u64,
    /// Bytes of the body that is coming; 0 if unknown.
    pub bytes_expected: u64,
    /// Stanzas that gave a row.
    pub packages: u64,
    /// Whether its work is done and the arbiter is to confirm that.
    pub is_finished: bool,
}

/// What was done in a time, by the ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct Sums {
    /// Sources that were read, or asked whether they changed.
    pub sources: u64,
    /// Leases that failed, were lost or given back.
    pub failed: u64,
    /// HTTP requests.
    pub requests: u64,
    /// Bytes that the line carried both ways, the session with the arbiter included.
    pub bytes: u64,
}

impl From<LedgerCounts> for Sums {
    fn from(counts: LedgerCounts) -> Self {
        Self {
            sources: counts.indexed + counts.unchanged + counts.audited,
            failed: counts.failed + counts.lost,
            requests: counts.requests,
            bytes: counts.sent + counts.received,
        }
    }
}

impl AgentStatus {
    /// Reads what the agent answered.
    ///
    /// # Errors
    /// What is wrong with it, in a line.
    pub fn read(answer: &str) -> Result<Self, String> {
        Self::deserialize_json(answer).map_err(|why| format!("the agent answered oddly: {why}"))
    }
}

impl fmt::Display for AgentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string can't fail.
            let _ = writeln!(text, "{name:<12} {value}");
        };
        line("peer", self.peer.clone());
        let version = self.program.rsplit('/').next().unwrap_or_default();
        match self.newest == version {
            true => line("version", version.to_owned()),
            false => line("version", format!("{version}; {} is out", self.newest)),
        }
        match &*self.arbiter {
            "" => line("session", format!("none for {}", ago(self.since))),
            arbiter => line("session", format!("with {arbiter} for {}", ago(self.since))),
        }
        line("state", self.state.clone());
        for told in &self.told {
            line("told", told.clone());
        }
        line("leases", format!("{} of {}", self.leases.len(), self.slots));
        for lease in &self.leases {
            let came = match (lease.bytes_fetched, lease.bytes_expected) {
                (came, 0) => bytes(came),
                (came, expected) => format!("{} of {}", bytes(came), bytes(expected)),
            };
            let what = match lease.is_finished {
                true => "done, to be confirmed".to_owned(),
                false => format!("{came}, {}", counted(lease.packages, "package")),
            };
            line("", format!("{} for {}: {what}", lease.source, ago(lease.since)));
        }
        for (name, Sums { sources, failed, requests, bytes: carried }) in
            [("today", self.today), ("this month", self.month)]
        {
            let (sources, requests) = (counted(sources, "source"), counted(requests, "request"));
            let failed = match failed {
                0 => String::new(),
                failed => format!("; {} failed or given back", counted(failed, "lease")),
            };
            line(name, format!("{sources}, {requests}, {}{failed}", bytes(carried)));
        }
        let cpu = Duration::from_millis(self.cpu_millis).as_secs_f64();
        let (now, peak) = (bytes(self.memory_bytes), bytes(self.memory_bytes_peak));
        let started = ago(self.started);
        line(
            "used",
            format!("{cpu:.1} s of CPU time in {started}, {now} of memory now, {peak} at most"),
        );
        let left = self.certificate_ends.saturating_sub(canister_link::clock::wall_millis());
        line("certificate", format!("{} left", about(Duration::from_millis(left))));
        f.write_str(&lines(&text))
    }
}

/// A number of bytes, as people say it.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_it_was_written_and_shown_plain() {
        let report = AgentStatus {
            program: "canister-agent/0.1.0".to_owned(),
            newest: "0.2.0".to_owned(),
            state: "works".to_owned(),
            told: vec!["too old\u{1b}[31m".to_owned()],
            leases: vec![
                LeaseInHand {
                    source: "a".to_owned(),
                    bytes_fetched: 12_000_000,
                    bytes_expected: 40_000_000,
                    packages: 7,
                    ..LeaseInHand::default()
                },
                LeaseInHand { is_finished: true, ..LeaseInHand::default() },
            ],
            slots: 2,
            today: Sums { sources: 1, failed: 2, requests: 1, bytes: 1 },
            ..AgentStatus::default()
        };
        let read = AgentStatus::read(&report.serialize_json()).unwrap();
        assert_eq!(read, report);
        let text = read.to_string();
        for part in [
            "0.1.0; 0.2.0 is out",
            "12.0 MB of 40.0 MB, 7 packages",
            "2 of 2",
            "none for",
            "today        1 source, 1 request, 1 kB; 2 leases failed or given back\n",
            "this month   0 sources, 0 requests, 0 kB\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}
