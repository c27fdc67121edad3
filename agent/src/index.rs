//! `canister-agent index`: one source, without any arbiter, for whoever wants to see what the agent
//! sees. Rows go out as JSON, one a line; what it cost is told at the end.

use crate::fetch::{Bounds, FetchConfig, Progress};
use crate::lint::findings::counted;
use crate::memory::Mebibytes;
use crate::sink::ndjson::Ndjson;
use crate::throttle::Share;
use crate::work::{self, Context};
use canister_link::clock;
use canister_link::process::peak_rss_bytes;
use canister_protocol::Source;
use canister_protocol::message::{Cost, Outcome, Probed, ReleaseSignature};
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often the progress bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Characters of the bar itself.
const BAR_WIDTH: u64 = 30;

/// What came of it and what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The source's head, a CID; none if it failed.
    pub head: Option<String>,
    /// Stanzas that gave a row.
    pub packages: u64,
    /// Stanzas that gave none.
    pub skipped: u64,
    /// Where the first of those is and what is wrong with it.
    pub first_skipped: Option<String>,
    /// How it is signed, as far as that is known without any arbiter.
    pub signature: Option<ReleaseSignature>,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// Whether it ended because the reader of the rows had seen enough and closed the pipe.
    pub is_cut: bool,
    /// What it cost the server.
    pub cost: Cost,
    /// Seconds of wall time.
    pub wall_seconds: f64,
    /// Seconds of the process's CPU time, from its start.
    pub cpu_seconds: f64,
    /// The process's peak resident memory in bytes, where the kernel tells.
    pub peak_rss_bytes: Option<u64>,
}

/// Indexes `source`, rows to `out`, within `memory`, and within `cpu` if there is one; draws a progress bar if standard error is a terminal.
pub fn run(
    source: &Source,
    config: &FetchConfig,
    cpu: Option<Share>,
    memory: Mebibytes,
    out: impl Write,
) -> Summary {
    let began = clock::now();
    let progress = Arc::new(Progress::default());
    let context = Context::new(config, cpu, memory);
    let lease = context.lease(source, Bounds::default(), Arc::default(), Arc::clone(&progress));
    let is_done = Arc::new(AtomicBool::new(false));
    let bar = io::stderr().is_terminal().then(|| {
        let is_done = Arc::clone(&is_done);
        std::thread::spawn(move || draw_until(&is_done, &progress))
    });
    let mut out = Pipe { inner: out, is_closed: false };
    let mut sink = Ndjson::new(&source.slug, &mut out);
    let (outcome, _, cost) = work::run(source, (None, &Probed::default()), &lease, &mut sink);
    is_done.store(true, Ordering::Relaxed);
    if let Some(bar) = bar {
        let _ = bar.join();
    }
    let mut summary = Summary {
        head: None,
        packages: 0,
        skipped: 0,
        first_skipped: None,
        signature: None,
        error: None,
        is_cut: out.is_closed,
        cost,
        wall_seconds: (clock::now() - began).as_secs_f64(),
        cpu_seconds: clock::cpu().as_secs_f64(),
        peak_rss_bytes: peak_rss_bytes("self"),
    };
    match outcome {
        Outcome::Audited { origin, counts, .. } => {
            summary.head = Some(origin.head);
            summary.packages = counts.packages;
            summary.skipped = counts.skipped;
            summary.first_skipped = Some(counts.first_skipped).filter(|text| !text.is_empty());
        }
        Outcome::Indexed { origin, counts, facts } => {
            summary.signature = facts.signature;
            summary.head = Some(origin.head);
            summary.packages = counts.packages;
            summary.skipped = counts.skipped;
            summary.first_skipped = Some(counts.first_skipped).filter(|text| !text.is_empty());
        }
        // Nothing is remembered here, so nothing can be unchanged.
        Outcome::Unchanged { origin, .. } => summary.head = Some(origin.head),
        Outcome::Failed { reason, .. } => {
            // The slug says nothing here: it is the same whatever is indexed.
            let slug = format!("{}: ", source.slug);
            let why = reason.strip_prefix(&slug).unwrap_or(&reason);
            summary.error = Some(format!("{}: {why}", source.uri));
        }
    }
    summary
}

/// Remembers whether whoever reads what is written has gone.
struct Pipe<W> {
    inner: W,
    is_closed: bool,
}

impl<W> Pipe<W> {
    fn seen<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        let kind = result.as_ref().err().map(io::Error::kind);
        self.is_closed |= kind == Some(io::ErrorKind::BrokenPipe);
        result
    }
}

impl<W: Write> Write for Pipe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes);
        self.seen(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.inner.flush();
        self.seen(flushed)
    }
}

impl Summary {
    /// One line for programs.
    pub fn json(&self) -> String {
        let text = |value: &Option<String>| {
            value.as_ref().map_or_else(|| "null".to_owned(), nanoserde::SerJson::serialize_json)
        };
        let Cost { requests, bytes_fetched, bytes_plain, .. } = self.cost;
        let rss = self.peak_rss_bytes.map_or_else(|| "null".to_owned(), |bytes| bytes.to_string());
        format!(
            "{{\"head\":{},\"packages\":{},\"skipped\":{},\"first_skipped\":{},\"error\":{},\
             \"signature\":{},\"signed_by\":{},\
             \"requests\":{requests},\"bytes_fetched\":{bytes_fetched},\
             \"bytes_plain\":{bytes_plain},\"wall_seconds\":{:.3},\"cpu_seconds\":{:.3},\
             \"peak_rss_bytes\":{rss}}}\n",
            text(&self.head),
            self.packages,
            self.skipped,
            text(&self.first_skipped),
            text(&self.error),
            text(&self.signature.as_ref().map(|it| it.state.word().to_owned())),
            text(&self.signature.as_ref().map(|it| it.key.clone())),
            self.wall_seconds,
            self.cpu_seconds,
        )
    }

    /// A few lines for people.
    pub fn text(&self) -> String {
        let found = match (&self.error, self.is_cut) {
            (None, _) => {
                let (packages, stanzas) =
                    (counted(self.packages, "package"), counted(self.skipped, "stanza"));
                format!("{packages}, {stanzas} skipped")
            }
            (Some(_), false) => "failed".to_owned(),
            (Some(_), true) => "not finished".to_owned(),
        };
        let mut text = format!(
            "{found}, {}, {:.1} MB fetched, {:.1} MB plain, {:.2} s wall, {:.2} s CPU",
            counted(self.cost.requests, "request"),
            self.cost.bytes_fetched as f64 / 1e6,
            self.cost.bytes_plain as f64 / 1e6,
            self.wall_seconds,
            self.cpu_seconds,
        );
        if let Some(bytes) = self.peak_rss_bytes {
            let _ = write!(text, ", {:.1} MB memory at most", bytes as f64 / 1e6);
        }
        text.push('\n');
        if let Some(first) = &self.first_skipped {
            let _ = writeln!(text, "first skipped: {first}");
        }
        if let Some(signature) = &self.signature {
            let ReleaseSignature { state, key, .. } = signature;
            let _ = writeln!(text, "signature: {}", format!("{} {key}", state.word()).trim());
        }
        if let Some(head) = &self.head {
            let _ = writeln!(text, "head: {head}");
        }
        text
    }
}

fn draw_until(is_done: &AtomicBool, progress: &Progress) {
    let mut stderr = io::stderr();
    while !is_done.load(Ordering::Relaxed) {
        let fetched = progress.bytes_fetched.load(Ordering::Relaxed);
        let expected = progress.bytes_expected.load(Ordering::Relaxed);
        let packages = progress.packages.load(Ordering::Relaxed);
        let _ = write!(stderr, "\r{}\x1b[K", bar(fetched, expected, packages));
        let _ = stderr.flush();
        clock::sleep(DRAW_EVERY);
    }
    let _ = write!(stderr, "\r\x1b[K");
}

fn bar(fetched: u64, expected: u64, packages: u64) -> String {
    let done = fetched.min(expected).saturating_mul(BAR_WIDTH).checked_div(expected).unwrap_or(0);
    let (done, left) = ("#".repeat(done as usize), "-".repeat((BAR_WIDTH - done) as usize));
    format!("[{done}{left}] {:.1} MB, {packages} packages", fetched as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_stays_in_its_bounds() {
        for (fetched, expected) in
            [(0, 0), (5, 0), (0, 10), (5, 10), (10, 10), (99, 10), (u64::MAX, 1)]
        {
            let drawn = bar(fetched, expected, 7);
            let inside = drawn.split(['[', ']']).nth(1).unwrap().len();
            assert_eq!(inside as u64, BAR_WIDTH, "{drawn}");
        }
    }

    #[test]
    fn the_summary_is_json() {
        let summary = Summary {
            head: Some("b".into()),
            packages: 1,
            skipped: 2,
            first_skipped: Some("line 3: a \"quote\"".into()),
            signature: None,
            error: None,
            is_cut: false,
            cost: Cost {
                requests: 4,
                bytes_fetched: 5,
                bytes_plain: 6,
                millis: 7,
                ..Cost::default()
            },
            wall_seconds: 0.25,
            cpu_seconds: 0.125,
            peak_rss_bytes: None,
        };
        let json = summary.json();
        canister_protocol::codec::accept(&json, 2).unwrap();
        assert!(
            json.contains("\"first_skipped\":\"line 3: a \\\"quote\\\"\"")
                && json.ends_with("null}\n")
        );
    }
}
