//! The ledger: what this machine did for whom, by day, operator and host, on its own disk, and what its
//! owner's caps leave of what it may do.
//!
//! The file is written by appending lines ([`book`]), and whole, in one step, once they are many. A line
//! that was cut off counts nothing, and where there are caps nothing flows that wasn't reserved on the
//! disk before ([`accounts`]): so a kill at any moment loses no byte that counts.

pub mod accounts;
pub mod book;

use crate::caps::{self, Allowance, Caps};
use accounts::{Accounts, MayFlow};
use book::{Book, FIRST, LedgerCounts, LedgerEntry, Moment};
use canister_link::meter::{Allowed, Capped, Meter};
use canister_link::{clock, durable};
use canister_protocol::message::Outcome;
use canister_protocol::plain::Plain;
use jiff::tz::TimeZone;
use log::warn;
use rustix::fs::{FlockOperation, flock};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Its file's mode: it says whom this machine asked.
const MODE: u32 = 0o640;
/// So many appended bytes make it be written anew.
const APPENDED_MAX: u64 = 256 * 1024;
/// Most bytes of a file that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What isn't booked yet is booked at the latest when it is so many bytes ...
const UNBOOKED_MAX: u64 = 64 * 1024;
/// ... or so old, in milliseconds.
const UNBOOKED_AGE: u64 = 10 * 60 * 1000;

/// A session isn't begun with fewer bytes.
const SESSION_MIN: u64 = 256 * 1024;

/// How a lease ended, as it is counted; none where it came to nothing.
pub fn verdict(outcome: Option<&Outcome>) -> LedgerCounts {
    let mut counts = LedgerCounts::default();
    *match outcome {
        Some(Outcome::Indexed { .. }) => &mut counts.indexed,
        Some(Outcome::Unchanged { .. }) => &mut counts.unchanged,
        Some(Outcome::Audited { .. }) => &mut counts.audited,
        Some(Outcome::Failed { .. }) => &mut counts.failed,
        None => &mut counts.lost,
    } = 1;
    counts
}

/// What tells the time.
type Clock = Box<dyn Fn() -> Moment + Send + Sync>;

/// The ledger of a running agent.
pub struct Ledger {
    clock: Clock,
    state: Mutex<LedgerState>,
}

struct LedgerState {
    accounts: Accounts,
    journal: Option<Journal>,
    /// By the machine's clock.
    booked: u64,
}

struct Journal {
    path: PathBuf,
    file: File,
    /// Since it was written anew.
    appended: u64,
    /// The last line may be cut off: it is to be written anew.
    is_torn: bool,
    has_warned: bool,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}

/// The time by this machine's clocks.
pub fn moment() -> Moment {
    static ID: OnceLock<u64> = OnceLock::new();
    let id = ID.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        u64::from_str_radix(&digits, 16).unwrap_or_default()
    });
    let boot = u64::try_from(clock::since_boot().as_millis()).unwrap_or(u64::MAX);
    Moment { wall: clock::wall_millis(), boot, id: *id }
}

fn read(path: &Path) -> io::Result<String> {
    let bytes = path.metadata()?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has {bytes} bytes, which no ledger has")));
    }
    Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
}

impl Journal {
    /// The file at `path`, for this process alone, and what it holds.
    fn open(path: &Path) -> io::Result<(Self, Book)> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(MODE).open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::other("another canister-agent has it open"))?;
        let text = read(path)?;
        let (book, is_whole) = Book::read(&text);
        let appended = text.len() as u64;
        let path = path.to_owned();
        Ok((Self { path, file, appended, is_torn: !is_whole, has_warned: false }, book))
    }

    fn append(&mut self, entries: &[LedgerEntry], is_safe: bool) -> io::Result<()> {
        let text: String = entries.iter().map(LedgerEntry::to_string).collect();
        self.is_torn = true;
        self.file.write_all(text.as_bytes())?;
        if is_safe {
            self.file.sync_data()?;
        }
        self.is_torn = false;
        self.appended += text.len() as u64;
        Ok(())
    }

    fn write_anew(&mut self, book: &Book) -> io::Result<()> {
        self.is_torn = true;
        durable::replace(&self.path, book.text().as_bytes(), MODE)?;
        self.file = OpenOptions::new().append(true).open(&self.path)?;
        flock(&self.file, FlockOperation::NonBlockingLockExclusive)?;
        (self.is_torn, self.appended) = (false, 0);
        Ok(())
    }
}

impl LedgerState {
    /// Writes what must be on disk; whether it is.
    fn write(&mut self, entries: &[LedgerEntry]) -> bool {
        let Some(journal) = &mut self.journal else {
            return true;
        };
        if entries.is_empty() {
            return true;
        }
        let is_capped = self.accounts.caps().is_kept();
        let done = if journal.is_torn || journal.appended > APPENDED_MAX {
            self.accounts.fold();
            journal.write_anew(&self.accounts.book)
        } else {
            journal.append(entries, is_capped)
        };
        if let Err(cause) = &done {
            if !journal.has_warned {
                let path = journal.path.display();
                warn!(path:%, cause:%; "couldn't write the ledger; it is tried again");
            }
            self.accounts.lose_pool();
        }
        journal.has_warned = done.is_err();
        done.is_ok()
    }

    /// Has it done as soon as what it asks for is written.
    fn may(&mut self, what: impl Fn(&mut Accounts) -> MayFlow) -> io::Result<MayFlow> {
        loop {
            match what(&mut self.accounts) {
                MayFlow::Write(entries) if self.write(&entries) => {}
                MayFlow::Write(_) => {
                    let why = "its caps can't be kept while the ledger can't be written".to_owned();
                    return Err(io::Error::other(Capped(why)));
                }
                MayFlow::No(why) => return Err(io::Error::other(Capped(why.to_owned()))),
                may => return Ok(may),
            }
        }
    }
}

impl Ledger {
    /// Goes on with the file at `path`, which is made if need be.
    ///
    /// # Errors
    /// The system's; or another process has it open.
    pub fn open(path: &Path, caps: Caps) -> io::Result<Self> {
        let (journal, book) = Journal::open(path)?;
        Self::with(Some(journal), book, caps, TimeZone::system(), Box::new(moment))
    }

    /// One that is forgotten, for a machine that keeps none, and without caps.
    pub fn forgetful() -> Self {
        let (zone, clock) = (TimeZone::system(), Box::new(moment));
        let made = Self::with(None, Book::default(), Caps::default(), zone, clock);
        made.expect("nothing is written")
    }

    fn with(
        journal: Option<Journal>,
        book: Book,
        caps: Caps,
        zone: TimeZone,
        clock: Clock,
    ) -> io::Result<Self> {
        let now = clock();
        let (accounts, entries) = Accounts::new(book, caps, zone, now);
        let mut state = LedgerState { accounts, journal, booked: now.boot };
        if !state.write(&entries) {
            return Err(io::Error::other("it can't be written"));
        }
        Ok(Self { clock, state: Mutex::new(state) })
    }

    /// The state at this moment.
    fn state(&self) -> MutexGuard<'_, LedgerState> {
        let now = (self.clock)();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = state.accounts.observe(now);
        state.write(&entries);
        state
    }

    /// Whether its owner allows less than there is.
    pub fn has_caps(&self) -> bool {
        self.state().accounts.caps().is_any()
    }

    /// What the caps leave now.
    pub fn allowance(&self) -> Allowance {
        let state = self.state();
        state.accounts.caps().allowance(&state.accounts.used(), state.accounts.local())
    }

    /// Most bytes of bodies that one of so many more leases may fetch, where there is a bound.
    pub fn lease_bytes(&self, leases: u64) -> Option<u64> {
        self.state().accounts.lease_bytes(leases)
    }

    /// The sums of this day and this month.
    pub fn sums(&self) -> (LedgerCounts, LedgerCounts) {
        let mut state = self.state();
        let entries = state.accounts.book_now();
        state.write(&entries);
        let (day, month) = caps::pages(state.accounts.local());
        (state.accounts.book.sum(day), state.accounts.book.sum(month))
    }

    /// Reserves what a lease may fetch.
    ///
    /// # Errors
    /// It can't be had, in words.
    pub fn reserve(&self, lease: u64, bytes: u64) -> Result<(), &'static str> {
        let mut state = self.state();
        let entries = state.accounts.reserve(lease, bytes)?;
        match state.write(&entries) {
            true => Ok(()),
            false => Err("the ledger can't be written"),
        }
    }

    /// A lease of a source at `host` is over, with this [`verdict`].
    pub fn release(&self, lease: u64, operator: Option<&str>, host: &str, verdict: LedgerCounts) {
        let mut state = self.state();
        state.accounts.note(operator, host, verdict);
        let entries = state.accounts.release(lease);
        state.write(&entries);
    }

    /// Whether not even a session fits into what the caps leave.
    pub fn is_out(&self) -> bool {
        let state = self.state();
        let left = state.accounts.caps().left(&state.accounts.used());
        left.is_some_and(|left| left < SESSION_MIN)
    }

    /// A request to `host` is about to be made for a source of this operator.
    ///
    /// # Errors
    /// [`Capped`].
    pub fn request(&self, operator: Option<&str>, host: &str) -> io::Result<()> {
        self.state().may(|accounts| accounts.request(operator, host)).map(drop)
    }

    /// A server refused one.
    pub fn refused(&self, operator: Option<&str>, host: &str) {
        let counts = LedgerCounts { refused: 1, ..LedgerCounts::default() };
        self.state().accounts.note(operator, host, counts);
    }

    /// Books what was carried, where that is much or long ago.
    pub fn tick(&self) {
        let mut state = self.state();
        let (now, unbooked) = ((self.clock)().boot, state.accounts.unbooked());
        let is_old = now.saturating_sub(state.booked) >= UNBOOKED_AGE;
        if unbooked >= UNBOOKED_MAX || (unbooked > 0 && is_old) {
            state.booked = now;
            let entries = state.accounts.book_now();
            state.write(&entries);
        }
    }

    /// Books what was carried; the agent stops.
    pub fn close(&self) {
        let mut state = self.state();
        let entries = state.accounts.close();
        state.write(&entries);
    }
}

impl Meter for Ledger {
    fn opens(&self, _: &str) -> io::Result<bool> {
        let mut state = self.state();
        state.may(Accounts::opens)?;
        Ok(state.accounts.caps().is_kept())
    }

    fn allows(&self, bytes: usize) -> io::Result<Allowed> {
        match self.state().may(|accounts| accounts.allows(bytes as u64))? {
            MayFlow::After(time) => Ok(Allowed::After(time.max(Duration::from_millis(1)))),
            MayFlow::Now(allowed) => Ok(Allowed::Now(usize::try_from(allowed).unwrap_or(bytes))),
            MayFlow::Write(_) | MayFlow::No(_) => Ok(Allowed::Now(bytes)),
        }
    }

    fn carried(&self, host: &str, allowed: usize, sent: usize, received: usize) {
        let (allowed, sent, received) = (allowed as u64, sent as u64, received as u64);
        self.state().accounts.carried(host, allowed, sent, received);
    }

    fn closes(&self, host: &str, unread: usize, is_amid: bool) {
        self.state().accounts.closes(host, unread as u64, is_amid);
    }
}

/// What `canister-agent ledger` shows: a day or a month of a file.
#[derive(Debug)]
pub struct LedgerShown {
    /// `2026-11-29` or `2026-11`.
    of: String,
    /// Operator, host and what was done, the most bytes first; the sum is last.
    rows: Vec<(String, String, LedgerCounts)>,
}

/// This day, or this month, of the ledger at `path`; it may be in use.
///
/// # Errors
/// One line: what is wrong with it.
pub fn show(path: &Path, is_month: bool) -> Result<LedgerShown, String> {
    let text = match read(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => format!("{FIRST}\n"),
        read => read.map_err(|cause| format!("{}: {cause}", path.display()))?,
    };
    if !text.starts_with(FIRST) {
        let path = path.display();
        return Err(format!("{path}: it is no ledger; --ledger names another"));
    }
    let (book, _) = Book::read(&text);
    let now = caps::at(clock::wall_millis(), &TimeZone::system());
    let (day, month) = caps::pages(&now);
    let page = if is_month { month } else { day };
    let of = now.date().to_string();
    let of = if is_month { of[..of.len() - 3].to_owned() } else { of };
    let rows = book.rows(page).into_iter();
    let mut rows: Vec<_> = rows.map(|((operator, host), it)| (operator, host, it)).collect();
    rows.sort_by_key(|(.., counts)| std::cmp::Reverse(counts.bytes()));
    rows.push(("all".to_owned(), "all".to_owned(), book.sum(page)));
    Ok(LedgerShown { of, rows })
}

impl LedgerShown {
    /// As one JSON object: `of`, `rows`, and `sum`, which is a row without operator and host.
    pub fn json(&self) -> String {
        let numbers = |counts: &LedgerCounts| {
            let all = LedgerCounts::FIELDS.iter().zip(counts.all());
            all.map(|(name, number)| format!("\"{name}\":{number}")).collect::<Vec<_>>().join(",")
        };
        // Names have no letter that JSON escapes but these.
        let text = |name: &str| name.replace('\\', "\\\\").replace('"', "\\\"");
        let row = |(operator, host, counts): &(String, String, LedgerCounts)| {
            let (operator, host) = (text(operator), text(host));
            format!("{{\"operator\":\"{operator}\",\"host\":\"{host}\",{}}}", numbers(counts))
        };
        let Some(((.., sum), rows)) = self.rows.split_last() else {
            return String::new();
        };
        let rows: Vec<String> = rows.iter().map(row).collect();
        let (of, rows, sum) = (&self.of, rows.join(","), numbers(sum));
        format!("{{\"of\":\"{of}\",\"rows\":[{rows}],\"sum\":{{{sum}}}}}\n")
    }
}

impl fmt::Display for LedgerShown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = [["operator", "host"].as_slice(), &LedgerCounts::FIELDS].concat();
        let mut lines = vec![titles.iter().map(|title| (*title).to_owned()).collect::<Vec<_>>()];
        for (operator, host, counts) in &self.rows {
            let numbers = counts.all().into_iter().map(|number| number.to_string());
            lines.push([operator.clone(), host.clone()].into_iter().chain(numbers).collect());
        }
        writeln!(f, "{}: bytes are those of connections", self.of)?;
        f.write_str(&table(lines))
    }
}

/// Lines of cells under each other: two of words, then numbers. What others wrote is shown plain.
pub fn table(lines: Vec<Vec<String>>) -> String {
    let plain = |cell: String| Plain(&cell).to_string();
    let lines: Vec<Vec<String>> =
        lines.into_iter().map(|line| line.into_iter().map(plain).collect()).collect();
    let columns = lines.first().map_or(0, Vec::len);
    let wide = |at: usize| lines.iter().map(|line| line[at].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(wide).collect();
    let shown = lines.iter().map(|line| {
        let cells = line.iter().zip(&widths).enumerate().map(|(at, (text, wide))| match at {
            0 | 1 => format!("{text:<wide$}"),
            _ => format!("{text:>wide$}"),
        });
        cells.collect::<Vec<_>>().join("  ") + "\n"
    });
    shown.collect()
}

#[cfg(test)]
mod tests;
