//! What the ledger holds, and the lines that it is written as. Values only: whoever reads all lines in
//! their order has what was written.
//!
//! | line | says |
//! | --- | --- |
//! | `page P OPERATOR HOST N…` | so much more of this host on that page, in the order of [`LedgerCounts::FIELDS`] |
//! | `seen WALL BOOT ID` | the time when what stands before was written: see [`Moment`] |
//! | `day P CREDITED SINCE`, `month …` | see [`Period`] |
//! | `open P BYTES REQUESTS` | may be under way now; in place of what was open |
//! | `asked AGE N` | so many requests were made so many minutes before |
//!
//! A page `P` is a day, `20261129`, or a month, `202611`. Each line ends in its checksum: of a write that
//! was cut off nothing counts that isn't whole.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::AddAssign;

/// The first line.
pub const FIRST: &str = "canister-agent ledger 1";
/// Most days that are kept as such; older ones are folded into their months.
const DAYS_MAX: usize = 40;
/// Most months.
const MONTHS_MAX: usize = 25;
/// Most rows of a page; what is more is one row, [`OTHERS`].
const ROWS_MAX: usize = 300;
/// Longest name in a row, in bytes: of a longer one the end stays.
const NAME_BYTES_MAX: usize = 64;
/// Stands for an operator that isn't known.
pub const NOBODY: &str = "-";
/// Hosts for which there was no row.
pub const OTHERS: &str = "others";
/// What was open when the agent was killed: it may have been carried.
pub const UNSETTLED: &str = "unsettled";

/// What was done for one host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LedgerCounts {
    /// Requests of HTTP.
    pub requests: u64,
    /// Bytes that its connections carried there, TLS included.
    pub sent: u64,
    /// The same from there.
    pub received: u64,
    /// Requests that its server refused: any status but those that answer.
    pub refused: u64,
    /// Leases by what came out, and those that came to nothing.
    pub indexed: u64,
    pub unchanged: u64,
    pub audited: u64,
    pub failed: u64,
    pub lost: u64,
}

impl LedgerCounts {
    /// Its fields' names, in the order in which they are written.
    pub const FIELDS: [&'static str; 9] = [
        "requests",
        "sent",
        "received",
        "refused",
        "indexed",
        "unchanged",
        "audited",
        "failed",
        "lost",
    ];

    /// Its fields.
    pub const fn all(&self) -> [u64; 9] {
        let Self { requests, sent, received, refused, indexed, unchanged, audited, failed, lost } =
            *self;
        [requests, sent, received, refused, indexed, unchanged, audited, failed, lost]
    }

    const fn of(fields: [u64; 9]) -> Self {
        let [requests, sent, received, refused, indexed, unchanged, audited, failed, lost] = fields;
        Self { requests, sent, received, refused, indexed, unchanged, audited, failed, lost }
    }

    /// Bytes each way together.
    pub const fn bytes(&self) -> u64 {
        self.sent.saturating_add(self.received)
    }
}

impl AddAssign for LedgerCounts {
    fn add_assign(&mut self, more: Self) {
        let mut sums = self.all();
        for (sum, more) in sums.iter_mut().zip(more.all()) {
            *sum = sum.saturating_add(more);
        }
        *self = Self::of(sums);
    }
}

/// A moment by two clocks: the wall clock in milliseconds since 1970, which may be set, and the machine's
/// since its start, which goes on while it sleeps; `id` tells one start of the machine from another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    pub wall: u64,
    pub boot: u64,
    pub id: u64,
}

impl Moment {
    /// The time from an earlier moment, in milliseconds, by the clock that nobody sets; by the other where
    /// the machine was started anew, as far as can be seen: a service may not be told of `id`.
    pub const fn since(&self, earlier: &Self) -> u64 {
        match self.id == earlier.id && self.boot >= earlier.boot {
            true => self.boot.saturating_sub(earlier.boot),
            false => self.wall.saturating_sub(earlier.wall),
        }
    }
}

/// A day or month by which a cap is reckoned. It is over when the wall clock says so, and so does what it
/// said when the period began plus the time that went by: a clock that is set renews nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Period {
    /// Its page.
    pub page: u32,
    /// The wall clock at its beginning plus the time since, in milliseconds.
    pub credited: u64,
    /// Bytes since then.
    pub since: u64,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerEntry {
    Counts {
        page: u32,
        operator: String,
        host: String,
        counts: LedgerCounts,
    },
    Seen(Moment),
    Day(Period),
    Month(Period),
    Open {
        page: u32,
        bytes: u64,
        requests: u64,
    },
    /// Minutes before what was seen last.
    Asked {
        age: u64,
        requests: u64,
    },
}

/// A name as it stands in a row: without blanks, and not too long.
pub fn plain(name: &str) -> String {
    let is_good = |letter: &char| letter.is_ascii_graphic();
    let name: String = name.chars().filter(is_good).collect();
    let from = name.len().saturating_sub(NAME_BYTES_MAX);
    if name.is_empty() { NOBODY.to_owned() } else { name[from..].to_owned() }
}

fn checksum(text: &str) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(text.as_bytes());
    sum.sum()
}

impl fmt::Display for LedgerEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Counts { page, operator, host, counts } => {
                let numbers: Vec<String> = counts.all().iter().map(u64::to_string).collect();
                format!("page {page} {operator} {host} {}", numbers.join(" "))
            }
            Self::Seen(Moment { wall, boot, id }) => format!("seen {wall} {boot} {id}"),
            Self::Day(Period { page, credited, since }) => format!("day {page} {credited} {since}"),
            Self::Month(Period { page, credited, since }) => {
                format!("month {page} {credited} {since}")
            }
            Self::Open { page, bytes, requests } => format!("open {page} {bytes} {requests}"),
            Self::Asked { age, requests } => format!("asked {age} {requests}"),
        };
        writeln!(f, "{text} {:08x}", checksum(&text))
    }
}

impl LedgerEntry {
    /// Reads a line; nothing where it isn't whole.
    pub fn read(line: &str) -> Option<Self> {
        let (text, sum) = line.rsplit_once(' ')?;
        if u32::from_str_radix(sum, 16).ok()? != checksum(text) {
            return None;
        }
        let words: Vec<&str> = text.split(' ').collect();
        let number = |at: usize| words.get(at)?.parse::<u64>().ok();
        let page = || words.get(1)?.parse::<u32>().ok();
        let period = || Some(Period { page: page()?, credited: number(2)?, since: number(3)? });
        match *words.first()? {
            "page" => {
                let mut fields = [0; 9];
                for (at, field) in fields.iter_mut().enumerate() {
                    *field = number(4 + at)?;
                }
                let (operator, host) = ((*words.get(2)?).to_owned(), (*words.get(3)?).to_owned());
                Some(Self::Counts {
                    page: page()?,
                    operator,
                    host,
                    counts: LedgerCounts::of(fields),
                })
            }
            "seen" => {
                Some(Self::Seen(Moment { wall: number(1)?, boot: number(2)?, id: number(3)? }))
            }
            "day" => Some(Self::Day(period()?)),
            "month" => Some(Self::Month(period()?)),
            "open" => Some(Self::Open { page: page()?, bytes: number(2)?, requests: number(3)? }),
            "asked" => Some(Self::Asked { age: number(1)?, requests: number(2)? }),
            _ => None,
        }
    }
}

/// The rows of a day or a month, by operator and host.
pub type LedgerPage = BTreeMap<(String, String), LedgerCounts>;

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Book {
    pub pages: BTreeMap<u32, LedgerPage>,
    pub seen: Option<Moment>,
    pub day: Option<Period>,
    pub month: Option<Period>,
    /// LedgerPage, bytes, requests.
    pub open: (u32, u64, u64),
    /// The requests of the last hour, by the minute of `run`, oldest first.
    pub asked: VecDeque<(u64, u64)>,
    /// Milliseconds by a clock that nobody sets, as of `seen`.
    pub run: u64,
}

/// A minute in milliseconds.
pub const MINUTE: u64 = 60_000;
/// How long a request counts: an hour, and the minute in which it was made.
pub const ASKED_MINUTES: u64 = 61;

/// Whether a page is a month's.
const fn is_month(page: u32) -> bool {
    page < 1_000_000
}

impl Book {
    /// Reads lines up to the first that isn't whole; whether all were.
    pub fn read(text: &str) -> (Self, bool) {
        let mut book = Self::default();
        let mut lines = text.split_inclusive('\n');
        let mut is_whole = lines.next().is_some_and(|line| line.trim_end() == FIRST);
        if is_whole {
            for line in lines {
                let entry = line.strip_suffix('\n').and_then(LedgerEntry::read);
                let Some(entry) = entry else {
                    is_whole = false;
                    break;
                };
                book.take(&entry);
            }
        }
        (book, is_whole)
    }

    /// Takes in what a line says.
    pub fn take(&mut self, entry: &LedgerEntry) {
        match entry {
            LedgerEntry::Counts { page, operator, host, counts } => {
                let rows = self.pages.entry(*page).or_default();
                let key = (operator.clone(), host.clone());
                let is_full = rows.len() >= ROWS_MAX && !rows.contains_key(&key);
                let others = || (NOBODY.to_owned(), OTHERS.to_owned());
                *rows.entry(if is_full { others() } else { key }).or_default() += *counts;
            }
            LedgerEntry::Seen(moment) => {
                let was = self.seen.replace(*moment);
                self.run += was.map_or(ASKED_MINUTES * MINUTE, |was| moment.since(&was));
                let oldest = (self.run / MINUTE).saturating_sub(ASKED_MINUTES);
                self.asked.retain(|(minute, _)| *minute > oldest);
            }
            LedgerEntry::Day(period) => self.day = Some(*period),
            LedgerEntry::Month(period) => self.month = Some(*period),
            LedgerEntry::Open { page, bytes, requests } => self.open = (*page, *bytes, *requests),
            LedgerEntry::Asked { age, requests } => {
                let minute = (self.run / MINUTE).saturating_sub(*age);
                match self.asked.back_mut() {
                    Some((last, all)) if *last == minute => *all += requests,
                    _ => self.asked.push_back((minute, *requests)),
                }
            }
        }
    }

    /// As lines, the first included.
    pub fn text(&self) -> String {
        let mut text = format!("{FIRST}\n");
        for (page, rows) in &self.pages {
            for ((operator, host), counts) in rows {
                let (operator, host) = (operator.clone(), host.clone());
                text += &LedgerEntry::Counts { page: *page, operator, host, counts: *counts }
                    .to_string();
            }
        }
        self.seen.iter().for_each(|seen| text += &LedgerEntry::Seen(*seen).to_string());
        for (minute, requests) in &self.asked {
            let age = (self.run / MINUTE).saturating_sub(*minute);
            text += &LedgerEntry::Asked { age, requests: *requests }.to_string();
        }
        let (page, bytes, requests) = self.open;
        let rest = [
            self.day.map(LedgerEntry::Day),
            self.month.map(LedgerEntry::Month),
            Some(LedgerEntry::Open { page, bytes, requests }),
        ];
        rest.iter().flatten().for_each(|entry| text += &entry.to_string());
        text
    }

    /// Folds old days into their months, and forgets old months; not the page of `today`.
    pub fn fold(&mut self, today: u32) {
        let old = |book: &Self, is_of: fn(u32) -> bool, most: usize, kept: u32| {
            let pages: Vec<u32> = book.pages.keys().copied().filter(|page| is_of(*page)).collect();
            let over = pages.len().saturating_sub(most);
            pages.into_iter().take(over).filter(|page| *page != kept).collect::<Vec<_>>()
        };
        for day in old(self, |page| !is_month(page), DAYS_MAX, today) {
            for ((operator, host), counts) in self.pages.remove(&day).unwrap_or_default() {
                self.take(&LedgerEntry::Counts { page: day / 100, operator, host, counts });
            }
        }
        for month in old(self, is_month, MONTHS_MAX, today / 100) {
            self.pages.remove(&month);
        }
    }

    /// The rows of a day, or of a month with all its days.
    pub fn rows(&self, page: u32) -> LedgerPage {
        let mut rows = LedgerPage::new();
        for (_, of_page) in self.pages.iter().filter(|(it, _)| **it == page || **it / 100 == page) {
            for (key, counts) in of_page {
                *rows.entry(key.clone()).or_default() += *counts;
            }
        }
        rows
    }

    /// The sum of a day, or of a month with all its days.
    pub fn sum(&self, page: u32) -> LedgerCounts {
        let mut sum = LedgerCounts::default();
        let pages = self.pages.iter().filter(|(it, _)| **it == page || **it / 100 == page);
        pages.flat_map(|(_, rows)| rows.values()).for_each(|counts| sum += *counts);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(page: u32, host: &str, received: u64) -> LedgerEntry {
        let counts = LedgerCounts { received, ..LedgerCounts::default() };
        LedgerEntry::Counts { page, operator: "o".to_owned(), host: host.to_owned(), counts }
    }

    #[test]
    fn what_was_written_is_read_and_nothing_that_was_cut_off() {
        let moment = Moment { wall: 1, boot: 2, id: 3 };
        let period = Period { page: 20_261_129, credited: 4, since: 5 };
        let entries = [
            counts(20_261_129, "a", 7),
            counts(20_261_129, "a", 8),
            counts(20_261_130, "b", 9),
            LedgerEntry::Seen(moment),
            LedgerEntry::Day(period),
            LedgerEntry::Month(period),
            LedgerEntry::Asked { age: 6, requests: 7 },
            LedgerEntry::Open { page: 20_261_129, bytes: 8, requests: 9 },
        ];
        let mut text = format!("{FIRST}\n");
        entries.iter().for_each(|entry| text += &entry.to_string());
        let (book, is_whole) = Book::read(&text);
        assert!(is_whole);
        assert_eq!(book.sum(20_261_129).received, 15);
        assert_eq!(book.sum(202_611).received, 24);
        assert_eq!(book.rows(202_611).len(), 2);
        assert_eq!((book.seen, book.day), (Some(moment), Some(period)));
        assert_eq!((book.open, &book.asked), ((20_261_129, 8, 9), &[(55, 7)].into()));
        assert_eq!(Book::read(&book.text()).0.text(), book.text());
        // Wherever it is cut.
        for end in FIRST.len() + 1..text.len() {
            let (cut, is_whole) = Book::read(&text[..end]);
            let lines = text[..end].matches('\n').count() - 1;
            assert_eq!(is_whole, text[..end].ends_with('\n'), "{end}");
            let mut until = Book::default();
            entries[..lines].iter().for_each(|entry| until.take(entry));
            assert_eq!(cut.text(), until.text(), "{end}");
        }
        let broken = text.replacen(" 7 ", " 6 ", 1);
        assert_eq!(Book::read(&broken).0.sum(20_261_129).received, 0);
    }

    #[test]
    fn a_year_of_many_hosts_is_small() {
        let mut book = Book::default();
        for day in 0..366 {
            let page = 20_260_000 + (1 + day / 31) * 100 + 1 + day % 31;
            for host in 0..500 {
                let host = format!("{host:03}.{}.example", "a".repeat(48));
                book.take(&counts(page, &plain(&host), 1_000_000_000));
            }
            book.fold(page);
        }
        let bytes = book.text().len();
        assert!(bytes < 5_000_000 - 512 * 1024, "{bytes}");
        let all: u64 = (1..=12).map(|month| book.sum(202_600 + month).received).sum();
        assert_eq!(all, 366 * 500 * 1_000_000_000);
        assert_eq!(plain("a b\nc"), "abc");
        assert_eq!((plain(" "), plain(&"x".repeat(99)).len()), (NOBODY.to_owned(), NAME_BYTES_MAX));
    }
}
