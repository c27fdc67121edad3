//! What may be carried, and what was: the sums behind the caps. Time is an argument, and nothing is
//! written here: each act returns the [`LedgerEntry`]s that must be on disk before it counts.
//!
//! Bytes flow only out of what is **open**: reserved in the book before, so that a kill at any moment
//! leaves no more than was reserved. What was open then is reckoned as carried. A lease has all that it
//! may fetch reserved while it is in hand.
//!
//! The headers of packets are no program's to see. They are reckoned, as a row of their own, from what a
//! connection carries: a bit more than they are on a line that loses little.

use super::book::{
    ASKED_MINUTES, Book, LedgerCounts, LedgerEntry, MINUTE, Moment, NOBODY, Period, UNSETTLED,
    plain,
};
use crate::caps::{Caps, RateCap, RequestCap, Used, at, pages};
use jiff::Zoned;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::time::Duration;

/// The row of the headers of packets, and of opening and closing connections.
pub const HEADERS: &str = "headers";
/// Of a packet: Ethernet, IPv6, TCP with its time stamp.
const PACKET: u64 = 86;
/// Bytes that a packet carries, at least, where there are more.
const PACKET_BYTES: u64 = 1380;
/// What opening and closing a connection takes each way, looking its host up included.
const CONNECTION: u64 = 700;
/// What the kernel may hold of a connection that nobody reads.
const WINDOW: u64 = 128 * 1024;
/// What is open beyond the leases' shares, for the session and the database.
const SPARE: u64 = 256 * 1024;
/// How many requests are reserved at once.
const SPARE_REQUESTS: u64 = 16;
/// An eighth of a lease's bytes is added for headers and what else goes with them ...
const OVERHEAD: u64 = 8;
/// ... and this.
const LEASE_EXTRA: u64 = 2 * WINDOW;
/// Of a rate so much of a second is carried at once.
const RATE_PART: u64 = 16;

/// What carrying so many bytes one way takes: there, and back.
const fn headers(bytes: u64) -> (u64, u64) {
    let packets = bytes.div_ceil(PACKET_BYTES);
    (packets * PACKET, packets.div_ceil(2) * PACKET)
}

/// All of that.
const fn cost(bytes: u64) -> u64 {
    let (there, back) = headers(bytes);
    bytes + there + back
}

/// Bytes that cost no more than this; nearly the most.
fn affordable(cost_max: u64) -> u64 {
    let packets = cost_max / (PACKET_BYTES + 2 * PACKET);
    let bytes = packets * PACKET_BYTES;
    let rest = cost_max.saturating_sub(cost(bytes)).saturating_sub(2 * PACKET);
    bytes + rest.min(PACKET_BYTES)
}

/// What may be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MayFlow {
    Now(u64),
    After(Duration),
    /// First these must be on disk; then it is asked again.
    Write(Vec<LedgerEntry>),
    /// Nothing: why.
    No(&'static str),
}

/// The sums.
#[derive(Debug)]
pub struct Accounts {
    pub book: Book,
    caps: Caps,
    zone: TimeZone,
    /// What isn't in the book yet, by host.
    new: BTreeMap<String, LedgerCounts>,
    /// Who runs which host, as far as leases said.
    operators: BTreeMap<String, String>,
    /// What leases in hand may cost.
    reserved: BTreeMap<u64, u64>,
    /// Of what is open: what was carried, and what was allowed and may be under way.
    spent: u64,
    outstanding: u64,
    spent_requests: u64,
    /// As of `book.seen`.
    now: Moment,
    local: Zoned,
    /// The sums of the pages of day and month.
    sums: (u64, u64),
    /// When the next byte may go, by the machine's clock, in microseconds.
    free_at: u64,
}

impl Accounts {
    /// Goes on with what a book says; what must be written. What was open in it may have been carried.
    pub fn new(book: Book, caps: Caps, zone: TimeZone, now: Moment) -> (Self, Vec<LedgerEntry>) {
        let was = book.seen.unwrap_or(now);
        let mut accounts = Self {
            book,
            caps,
            new: BTreeMap::new(),
            operators: BTreeMap::new(),
            reserved: BTreeMap::new(),
            spent: 0,
            outstanding: 0,
            spent_requests: 0,
            now: was,
            local: at(was.wall, &zone),
            zone,
            sums: (0, 0),
            free_at: 0,
        };
        let (_, received, requests) = accounts.book.open;
        if received > 0 || requests > 0 {
            accounts.note(
                None,
                UNSETTLED,
                LedgerCounts { received, requests, ..LedgerCounts::default() },
            );
            (accounts.spent, accounts.spent_requests) = (received, requests);
        }
        let mut entries = accounts.settle();
        entries.extend(accounts.observe(now));
        accounts.open(SPARE, &mut entries);
        (accounts, entries)
    }

    /// Looks at the clocks. Whatever was carried before counts for the page of that time: what is to be
    /// written for it.
    pub fn observe(&mut self, now: Moment) -> Vec<LedgerEntry> {
        let passed = now.since(&self.now);
        let is_of_one_second = now.wall / 1000 == self.now.wall / 1000;
        self.now = now;
        [&mut self.book.day, &mut self.book.month]
            .into_iter()
            .flatten()
            .for_each(|period| period.credited += passed);
        // Pages end with a second at the earliest.
        if is_of_one_second && self.book.day.is_some() {
            return Vec::new();
        }
        self.local = at(now.wall, &self.zone);
        let (day, month) = pages(&self.local);
        let zone = &self.zone;
        let is_over = |period: Option<Period>, page: u32, of_page: fn(&Zoned) -> u32| {
            period.is_none_or(|period| {
                period.page != page && of_page(&at(period.credited, zone)) != period.page
            })
        };
        let day_is_over = is_over(self.book.day, day, |at| pages(at).0);
        let month_is_over = is_over(self.book.month, month, |at| pages(at).1);
        if self.book.open.0 == day && !day_is_over && !month_is_over {
            return Vec::new();
        }
        let mut entries = self.settle();
        // A new one begins with what its page has already.
        let begins =
            |page| Some(Period { page, credited: now.wall, since: self.book.sum(page).bytes() });
        let (new_day, new_month) = (begins(day), begins(month));
        if day_is_over {
            self.book.day = new_day;
        }
        if month_is_over {
            self.book.month = new_month;
        }
        self.open(self.share(), &mut entries);
        entries
    }

    /// What is used of the caps.
    pub fn used(&self) -> Used {
        let since = |period: Option<Period>| period.map_or(0, |period| period.since);
        let run = self.book.run + self.book.seen.map_or(0, |seen| self.now.since(&seen));
        let counts = |minute: u64| minute + ASKED_MINUTES > run / MINUTE;
        let asked = || self.book.asked.iter().filter(|(minute, _)| counts(*minute));
        let first = asked().next().map_or(0, |(minute, _)| (minute + ASKED_MINUTES) * MINUTE);
        Used {
            day: since(self.book.day).max(self.sums.0) + self.spent,
            month: since(self.book.month).max(self.sums.1) + self.spent,
            requests: asked().map(|(_, number)| number).sum::<u64>() + self.spent_requests,
            frees: first.saturating_sub(run),
        }
    }

    /// The local time that was seen last.
    pub const fn local(&self) -> &Zoned {
        &self.local
    }

    /// Books what was carried so far, on the page for which it was opened: what must be written.
    fn settle(&mut self) -> Vec<LedgerEntry> {
        let page = match self.book.open.0 {
            0 => pages(&self.local).0,
            page => page,
        };
        let mut entries = vec![LedgerEntry::Seen(self.now)];
        for (host, counts) in std::mem::take(&mut self.new) {
            let operator = self.operators.get(&host).map_or(NOBODY, String::as_str).to_owned();
            entries.push(LedgerEntry::Counts { page, operator, host: plain(&host), counts });
        }
        if self.spent_requests > 0 && self.caps.requests.is_some() {
            entries.push(LedgerEntry::Asked { age: 0, requests: self.spent_requests });
        }
        for period in [&mut self.book.day, &mut self.book.month].into_iter().flatten() {
            period.since = period.since.saturating_add(self.spent);
        }
        (self.spent, self.spent_requests) = (0, 0);
        entries.iter().for_each(|entry| self.book.take(entry));
        entries
    }

    /// Opens so much, as far as the caps let: what must be written before it may flow.
    fn open(&mut self, share: u64, entries: &mut Vec<LedgerEntry>) {
        let (page, month) = pages(&self.local);
        self.sums = (self.book.sum(page).bytes(), self.book.sum(month).bytes());
        let used = self.used();
        let bytes = self.caps.left(&used).map_or(0, |left| left.min(share + self.outstanding));
        let requests = self.caps.requests.map_or(0, |RequestCap(cap)| {
            cap.saturating_sub(used.requests).min(SPARE_REQUESTS.min(share))
        });
        let open = LedgerEntry::Open { page, bytes, requests };
        self.book.take(&open);
        let periods =
            [self.book.day.map(LedgerEntry::Day), self.book.month.map(LedgerEntry::Month)];
        entries.extend(periods.into_iter().flatten().chain([open]));
    }

    /// What is to be open.
    fn share(&self) -> u64 {
        self.reserved.values().fold(SPARE, |all, share| all.saturating_add(*share))
    }

    /// Books what was carried so far: what must be written.
    pub fn book_now(&mut self) -> Vec<LedgerEntry> {
        let mut entries = self.settle();
        self.open(self.share(), &mut entries);
        entries
    }

    /// Bytes that were carried since that was done last.
    pub fn unbooked(&self) -> u64 {
        self.new.values().map(LedgerCounts::bytes).sum()
    }

    /// What of the open bytes is free.
    const fn pool(&self) -> u64 {
        self.book.open.1.saturating_sub(self.spent).saturating_sub(self.outstanding)
    }

    /// Whether more can be opened than is.
    fn has_more(&self) -> bool {
        let open = self.book.open.1.saturating_sub(self.spent);
        self.caps.left(&self.used()).is_some_and(|left| left > open)
    }

    /// Allows 1 to `bytes` bytes, which are under way until they are [`carried`](Self::carried).
    pub fn allows(&mut self, bytes: u64) -> MayFlow {
        let mut bytes = bytes;
        if let Some(RateCap(rate)) = self.caps.rate {
            let now = self.now.boot.saturating_mul(1000);
            if let Some(wait) = self.free_at.checked_sub(now).filter(|wait| *wait > 0) {
                return MayFlow::After(Duration::from_micros(wait));
            }
            bytes = bytes.min((rate / RATE_PART).max(1));
        }
        if !self.caps.is_bytes() {
            return MayFlow::Now(bytes);
        }
        let pool = self.pool();
        if cost(bytes) > pool {
            if self.has_more() {
                return MayFlow::Write(self.book_now());
            }
            bytes = affordable(pool).min(bytes);
        }
        if bytes == 0 {
            return MayFlow::No("its traffic cap is used up");
        }
        self.outstanding += cost(bytes);
        MayFlow::Now(bytes)
    }

    /// What came of `allowed` bytes.
    pub fn carried(&mut self, host: &str, allowed: u64, sent: u64, received: u64) {
        if self.caps.is_bytes() {
            self.outstanding = self.outstanding.saturating_sub(cost(allowed));
        }
        let bytes = sent + received;
        if bytes == 0 {
            return;
        }
        if let Some(RateCap(rate)) = self.caps.rate {
            let now = self.now.boot.saturating_mul(1000);
            self.free_at = self.free_at.max(now) + bytes.saturating_mul(1_000_000) / rate;
        }
        self.count(host, LedgerCounts { sent, received, ..LedgerCounts::default() });
        let ((there, back), (from, to)) = (headers(sent), headers(received));
        self.count(
            HEADERS,
            LedgerCounts { sent: there + to, received: back + from, ..LedgerCounts::default() },
        );
    }

    fn count(&mut self, host: &str, counts: LedgerCounts) {
        self.spent += counts.bytes();
        *self.new.entry(host.to_owned()).or_default() += counts;
    }

    /// A connection is about to be opened.
    pub fn opens(&mut self) -> MayFlow {
        if self.caps.is_bytes() {
            if self.pool() < 2 * CONNECTION + WINDOW {
                return match self.has_more() {
                    true => MayFlow::Write(self.book_now()),
                    false => MayFlow::No("its traffic cap is used up"),
                };
            }
            self.outstanding += WINDOW;
        }
        let counts =
            LedgerCounts { sent: CONNECTION, received: CONNECTION, ..LedgerCounts::default() };
        self.count(HEADERS, counts);
        MayFlow::Now(0)
    }

    /// A connection closes. What it got and nobody read was carried, and so may be what was on its way.
    pub fn closes(&mut self, host: &str, unread: u64, is_amid: bool) {
        if self.caps.is_bytes() {
            self.outstanding = self.outstanding.saturating_sub(WINDOW);
            if is_amid {
                let received = WINDOW.saturating_sub(unread);
                self.count(HEADERS, LedgerCounts { received, ..LedgerCounts::default() });
            }
        }
        if unread > 0 {
            self.count(host, LedgerCounts { received: unread, ..LedgerCounts::default() });
        }
    }

    /// A request is about to be made, for somebody's lease.
    pub fn request(&mut self, operator: Option<&str>, host: &str) -> MayFlow {
        if let Some(RequestCap(cap)) = self.caps.requests {
            if self.used().requests >= cap {
                return MayFlow::No("its requests of this hour are used up");
            }
            if self.spent_requests >= self.book.open.2 {
                return MayFlow::Write(self.book_now());
            }
        }
        if let Some(operator) = operator {
            self.operators.insert(host.to_owned(), plain(operator));
        }
        self.spent_requests += 1;
        self.new.entry(host.to_owned()).or_default().requests += 1;
        MayFlow::Now(1)
    }

    /// LedgerCounts what came of a request or a lease.
    pub fn note(&mut self, operator: Option<&str>, host: &str, counts: LedgerCounts) {
        if let Some(operator) = operator {
            self.operators.insert(host.to_owned(), plain(operator));
        }
        *self.new.entry(host.to_owned()).or_default() += counts;
    }

    /// Most bytes of bodies that one of so many more leases may fetch, where there is a bound.
    pub fn lease_bytes(&self, leases: u64) -> Option<u64> {
        let used = self.used();
        let reserved = self.share() * u64::from(self.caps.is_bytes());
        let day = used.day.saturating_add(reserved);
        let room =
            self.caps.lease_room(&Used { day, month: used.month + reserved, ..used }, leases)?;
        Some(room.saturating_sub(LEASE_EXTRA) / (OVERHEAD + 1) * OVERHEAD)
    }

    /// Reserves what a lease may fetch; what must be written before it begins.
    ///
    /// # Errors
    /// It is more than is left.
    pub fn reserve(&mut self, lease: u64, bytes: u64) -> Result<Vec<LedgerEntry>, &'static str> {
        if !self.caps.is_bytes() {
            return Ok(Vec::new());
        }
        let share = bytes.saturating_add(bytes / OVERHEAD).saturating_add(LEASE_EXTRA);
        let left = self.caps.left(&self.used()).unwrap_or(u64::MAX);
        if share.saturating_add(self.share()) > left {
            return Err("what it may fetch is more than is left of the traffic cap");
        }
        self.reserved.insert(lease, share);
        Ok(self.book_now())
    }

    /// A lease is over: what it might have fetched is free again.
    pub fn release(&mut self, lease: u64) -> Vec<LedgerEntry> {
        self.reserved.remove(&lease);
        self.book_now()
    }

    /// Nothing can be written, so nothing more may go where there are caps.
    pub const fn lose_pool(&mut self) {
        self.book.open.1 = 0;
        self.book.open.2 = 0;
    }

    /// Ends: nothing is open any more.
    pub fn close(&mut self) -> Vec<LedgerEntry> {
        let mut entries = self.settle();
        self.outstanding = 0;
        self.open(0, &mut entries);
        entries
    }

    /// Makes the book smaller before it is written anew.
    pub fn fold(&mut self) {
        self.book.fold(pages(&self.local).0);
    }

    pub const fn caps(&self) -> &Caps {
        &self.caps
    }
}
