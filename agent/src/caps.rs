//! What a peer's owner allows: how fast, how much, how often and when. Values, how they are typed, and
//! what follows from them, the ledger's sums and the time: functions of those.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _, Zoned};
use std::fmt;
use std::str::FromStr;

/// Units of bytes, the largest first.
const UNITS: [(&str, u64); 8] = [
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1000),
    ("B", 1),
];
/// Least bytes a second: what is slower looks like a server that hangs.
const RATE_MIN: u64 = 50_000;
/// Least bytes a day or month: fewer wouldn't do for connections, and be no help.
const TRAFFIC_MIN: u64 = 5_000_000;
/// Least requests an hour.
const REQUESTS_MIN: u64 = 10;
/// Most bytes of a cap: far from where sums end.
const BYTES_MAX: u64 = 1_000_000_000_000_000;
const MINUTES_A_DAY: usize = 24 * 60;
/// How far ahead is looked for a moment at which work goes on: a week, and an hour for the summer.
const AHEAD_MINUTES: i64 = 7 * 24 * 60 + 60;
/// What is kept for the session: of each cap this part, and at most so many bytes.
const KEPT_PART: u64 = 10;
const KEPT_MAX: u64 = 2_000_000;
/// A lease isn't worth asking for that may fetch less, in bytes.
pub const LEASE_MIN: u64 = 200_000;
/// What the last lease needs to be left of a cap, with what else goes with it.
const ROOM_MIN: u64 = 800_000;
/// How long the slowest lease may take, in seconds: what more it could fetch is no use.
const LEASE_SECS: u64 = 30 * 60;
/// A lease isn't worth asking for while fewer requests are left than this.
const LEASE_REQUESTS: u64 = 8;

/// Reads `500MB`.
fn bytes(text: &str) -> Option<u64> {
    let unit = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let (_, times) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.parse::<u64>().ok()?.checked_mul(*times).filter(|bytes| *bytes <= BYTES_MAX)
}

/// Bytes in the largest unit that shows them whole.
fn whole(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    let (name, unit) = unit.unwrap_or(&("B", 1));
    format!("{}{name}", bytes / unit)
}

/// `used` of `cap` in the cap's unit, `120 of 500 MB`.
fn of(used: u64, cap: u64) -> String {
    let fits = |(_, unit): &&(&str, u64)| cap >= *unit && cap.is_multiple_of(*unit);
    let (name, unit) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
    let tenths = used.saturating_mul(10) / unit;
    let used = match cap / unit {
        0..=20 if *unit > 1 => format!("{}.{}", tenths / 10, tenths % 10),
        _ => (tenths / 10).to_string(),
    };
    format!("{used} of {} {name}", cap / unit)
}

/// Most bytes a second, both ways together: `500KB/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateCap(pub u64);

impl FromStr for RateCap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = text.strip_suffix("/s").and_then(bytes);
        let wrong =
            || format!("use bytes a second, {}/s or more, such as 500KB/s", whole(RATE_MIN));
        rate.filter(|rate| *rate >= RATE_MIN).map(Self).ok_or_else(wrong)
    }
}

/// Most bytes a day and a month, both ways together: `500MB/day,10GB/month`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrafficCaps {
    pub day: Option<u64>,
    pub month: Option<u64>,
}

impl FromStr for TrafficCaps {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            let least = whole(TRAFFIC_MIN);
            format!(
                "use bytes a day, a month or both, {least} or more, such as 500MB/day,10GB/month"
            )
        };
        let mut caps = Self::default();
        for part in text.split(',').map(str::trim) {
            let (cap, of) = match (part.strip_suffix("/day"), part.strip_suffix("/month")) {
                (Some(cap), _) => (cap, &mut caps.day),
                (_, Some(cap)) => (cap, &mut caps.month),
                _ => return Err(wrong()),
            };
            let cap = bytes(cap.trim()).filter(|cap| *cap >= TRAFFIC_MIN).ok_or_else(wrong)?;
            if of.replace(cap).is_some() {
                return Err(wrong());
            }
        }
        Ok(caps)
    }
}

/// Most requests in any hour: `2000/h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestCap(pub u64);

impl FromStr for RequestCap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let cap = text.strip_suffix("/h").and_then(|cap| cap.parse().ok());
        let wrong = || format!("use requests an hour, {REQUESTS_MIN}/h or more, such as 2000/h");
        cap.filter(|cap| (REQUESTS_MIN..1_000_000_000).contains(cap)).map(Self).ok_or_else(wrong)
    }
}

/// When work is done, by what a clock on the wall shows: `mon-fri 23:00-07:00, sat-sun`. Hours that end
/// before they begin end on the next day. In the night in which clocks are set back what they show twice
/// counts twice.
#[derive(Clone, PartialEq, Eq)]
pub struct Hours {
    text: String,
    /// Each minute of the week, from Monday 00:00 on.
    open: Vec<bool>,
}

impl fmt::Debug for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hours({:?})", self.text)
    }
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |part: &str| {
            format!(
                "{part:?} is no hours; use such as \"mon-fri 23:00-07:00, sat-sun\" or 22:00-06:00"
            )
        };
        let mut open = vec![false; 7 * MINUTES_A_DAY];
        for part in text.split(',').map(str::trim) {
            let (mut days, mut minutes) = (0..=6, (0, MINUTES_A_DAY));
            let mut words = part.split_whitespace().peekable();
            if let Some(named) = words.peek().and_then(|word| days_of(word)) {
                days = named;
                words.next();
            } else if words.peek().is_none() {
                return Err(wrong(part));
            }
            if let Some(word) = words.next() {
                minutes = minutes_of(word).ok_or_else(|| wrong(part))?;
            }
            if words.next().is_some() {
                return Err(wrong(part));
            }
            // From Friday to Monday, too.
            let last = if days.end() < days.start() { days.end() + 7 } else { *days.end() };
            for day in *days.start()..=last {
                let (from, to) = minutes;
                let to = if to <= from { to + MINUTES_A_DAY } else { to };
                for minute in from..to {
                    let at = (day * MINUTES_A_DAY + minute) % open.len();
                    open[at] = true;
                }
            }
        }
        Ok(Self { text: text.to_owned(), open })
    }
}

fn days_of(word: &str) -> Option<std::ops::RangeInclusive<usize>> {
    let day = |word: &str| DAYS.iter().position(|day| day.eq_ignore_ascii_case(word));
    match word.split_once('-') {
        Some((from, to)) => Some(day(from)?..=day(to)?),
        None => day(word).map(|day| day..=day),
    }
}

fn minutes_of(word: &str) -> Option<(usize, usize)> {
    let minute = |word: &str, most: usize| {
        let (hour, minute) = word.split_once(':')?;
        let is_short = |part: &str| (1..=2).contains(&part.len());
        let (hour, minute) = (
            hour.parse::<usize>().ok().filter(|_| is_short(hour))?,
            minute.parse::<usize>().ok().filter(|it| minute.len() == 2 && *it < 60)?,
        );
        Some(hour * 60 + minute).filter(|minute| *minute <= most)
    };
    let (from, to) = word.split_once('-')?;
    Some((minute(from, MINUTES_A_DAY - 1)?, minute(to, MINUTES_A_DAY)?))
}

impl Hours {
    /// Whether work is done at this moment.
    pub fn is_open(&self, at: &Zoned) -> bool {
        let day = usize::try_from(at.weekday().to_monday_zero_offset()).unwrap_or_default();
        let minute = usize::try_from(at.hour()).unwrap_or_default() * 60
            + usize::try_from(at.minute()).unwrap_or_default();
        self.open.get(day * MINUTES_A_DAY + minute).is_some_and(|open| *open)
    }

    /// The first minute from this moment on at which that `is` so.
    fn next(&self, is: bool, from: &Zoned) -> Option<Zoned> {
        let (zone, first) = (from.time_zone(), from.timestamp().as_second().div_euclid(60));
        let minutes = (0..AHEAD_MINUTES).map(|minute| first + minute);
        let mut moments = minutes.filter_map(|minute| moment(minute * 60_000, zone));
        moments.find(|moment| self.is_open(moment) == is)
    }
}

/// The wall clock's milliseconds, as people read them there.
pub fn at(wall: u64, zone: &TimeZone) -> Zoned {
    let wall = i64::try_from(wall).unwrap_or(i64::MAX);
    moment(wall, zone).unwrap_or_else(|| Timestamp::UNIX_EPOCH.to_zoned(zone.clone()))
}

fn moment(millis: i64, zone: &TimeZone) -> Option<Zoned> {
    Timestamp::from_millisecond(millis).ok().map(|moment| moment.to_zoned(zone.clone()))
}

/// All that an owner allows. What isn't said is as much as there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caps {
    pub rate: Option<RateCap>,
    pub traffic: TrafficCaps,
    pub requests: Option<RequestCap>,
    pub hours: Option<Hours>,
}

/// What the caps are compared with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Bytes of this day and this month.
    pub day: u64,
    pub month: u64,
    /// Requests of the last hour, and when the first of them is an hour old: in milliseconds from now.
    pub requests: u64,
    pub frees: u64,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// Whether leases are asked for.
    pub works: bool,
    /// When that changes at the latest, unless work is done meanwhile.
    pub changes: Option<Timestamp>,
    /// All of it in one sentence.
    pub says: String,
}

impl Caps {
    /// Whether bytes are capped.
    pub const fn is_bytes(&self) -> bool {
        self.traffic.day.is_some() || self.traffic.month.is_some()
    }

    /// Whether there is one that a kill must not pass.
    pub const fn is_kept(&self) -> bool {
        self.is_bytes() || self.requests.is_some()
    }

    /// Whether anything is.
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }

    /// Bytes that are left of both caps; none where there are none.
    pub fn left(&self, used: &Used) -> Option<u64> {
        let day = self.traffic.day.map(|cap| cap.saturating_sub(used.day));
        let month = self.traffic.month.map(|cap| cap.saturating_sub(used.month));
        [day, month].into_iter().flatten().min()
    }

    /// Bytes that are left of each for leases: what the session needs is kept.
    fn rooms(&self, used: &Used) -> [Option<u64>; 2] {
        let room = |(cap, used): (Option<u64>, u64)| {
            let kept = |cap: u64| (cap / KEPT_PART).min(KEPT_MAX);
            cap.map(|cap| cap.saturating_sub(used).saturating_sub(kept(cap)))
        };
        [(self.traffic.day, used.day), (self.traffic.month, used.month)].map(room)
    }

    /// Most bytes that one of so many more leases may take, where there is a bound.
    pub fn lease_room(&self, used: &Used, leases: u64) -> Option<u64> {
        let by_rate = self.rate.map(|RateCap(rate)| rate.saturating_mul(LEASE_SECS));
        let rooms = self.rooms(used).into_iter().chain([by_rate]);
        rooms.flatten().min().map(|room| room / leases.max(1))
    }

    /// What a peer may do now.
    pub fn allowance(&self, used: &Used, now: &Zoned) -> Allowance {
        let [day, month] = self.rooms(used);
        let is_out = |room: Option<u64>| room.is_some_and(|room| room < ROOM_MIN);
        let mut from = now.clone();
        let (mut waits, midnight) = (false, next_day(now));
        if is_out(day) {
            (waits, from) = (true, midnight.unwrap_or(from));
        }
        if is_out(month) {
            (waits, from) = (true, next_month(now).unwrap_or(from));
        }
        if self.requests.is_some_and(|cap| used.requests.saturating_add(LEASE_REQUESTS) > cap.0) {
            let frees = SignedDuration::from_millis(i64::try_from(used.frees).unwrap_or(i64::MAX));
            let frees = now.checked_add(frees).unwrap_or_else(|_| now.clone());
            (waits, from) = (true, from.max(frees));
        }
        let opens = match &self.hours {
            Some(hours) => hours.next(true, &from),
            None => Some(from),
        };
        // What began within this minute goes on.
        let is_now = |opens: &Zoned| !waits && opens <= now;
        let works = opens.as_ref().is_some_and(is_now);
        let closes = || self.hours.as_ref().and_then(|hours| hours.next(false, now));
        let changes = if works { closes() } else { opens };
        let mut says = match (&changes, works) {
            (None, true) => "works".to_owned(),
            (Some(until), true) => format!("works until {}", clock(until, now)),
            (Some(from), false) => format!("works from {}", clock(from, now)),
            (None, false) => "never works: its hours are none".to_owned(),
        };
        for (used, cap, when) in
            [(used.day, self.traffic.day, "today"), (used.month, self.traffic.month, "this month")]
        {
            if let Some(cap) = cap {
                says += &format!("; {} {when}", of(used, cap));
            }
        }
        if let Some(RequestCap(cap)) = self.requests {
            says += &format!("; {} of {cap} requests in the last hour", used.requests);
        }
        if let Some(RateCap(rate)) = self.rate {
            says += &format!("; at most {}/s", whole(rate));
        }
        if !self.is_any() {
            says += "; nothing is capped";
        }
        Allowance { works, changes: changes.map(|it| it.timestamp()), says }
    }
}

fn next_day(now: &Zoned) -> Option<Zoned> {
    now.tomorrow().ok()?.start_of_day().ok()
}

fn next_month(now: &Zoned) -> Option<Zoned> {
    now.first_of_month().ok()?.checked_add(1.month()).ok()?.start_of_day().ok()
}

/// A moment soon, as people say it.
fn clock(moment: &Zoned, now: &Zoned) -> String {
    let time = format!("{:02}:{:02}", moment.hour(), moment.minute());
    let days = now.date().until(moment.date()).map_or(i32::MAX, |span| span.get_days());
    let is_later = (moment.hour(), moment.minute()) > (now.hour(), now.minute());
    match days {
        0 => time,
        1 if !is_later => time,
        1..7 => format!("{} {time}", day(moment.weekday())),
        _ => format!("{} {time}", moment.date()),
    }
}

fn day(weekday: Weekday) -> &'static str {
    DAYS[usize::try_from(weekday.to_monday_zero_offset()).unwrap_or_default() % 7]
}

/// The pages of the ledger that a moment is on: its day, and its month.
pub fn pages(at: &Zoned) -> (u32, u32) {
    let number = |number: i32| u32::try_from(number).unwrap_or_default();
    let month = number(at.year().into()) * 100 + number(at.month().into());
    (month * 100 + number(at.day().into()), month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn zoned(text: &str) -> Zoned {
        let civil: jiff::civil::DateTime = text.parse().unwrap();
        civil.to_zoned(zone()).unwrap()
    }

    #[test]
    fn what_is_typed_is_read_or_refused() {
        for (text, bytes) in [("50KB/s", 50_000), ("500KB/s", 500_000), ("2MiB/s", 2 << 20)] {
            assert_eq!(text.parse::<RateCap>(), Ok(RateCap(bytes)), "{text}");
        }
        for text in ["", "500KB", "49KB/s", "x/s", "500/s", "0.5MB/s", "-1MB/s", "9999999TB/s"] {
            let why = text.parse::<RateCap>().unwrap_err();
            assert_eq!(why, "use bytes a second, 50KB/s or more, such as 500KB/s", "{text}");
        }
        for (text, day, month) in [
            ("500MB/day", Some(500_000_000), None),
            ("10GB/month", None, Some(10_000_000_000)),
            ("10gb/month, 500mb/day", Some(500_000_000), Some(10_000_000_000)),
        ] {
            assert_eq!(text.parse::<TrafficCaps>(), Ok(TrafficCaps { day, month }), "{text}");
        }
        for text in
            ["", "500MB", "500MB/day,1GB/day", "1MB/day", "500MB/week", "/day", "10GB/month,"]
        {
            assert!(
                text.parse::<TrafficCaps>().unwrap_err().starts_with("use bytes a day"),
                "{text}"
            );
        }
        assert_eq!("2000/h".parse::<RequestCap>(), Ok(RequestCap(2000)));
        for text in ["2000", "9/h", "x/h", "-1/h", "2000/hour"] {
            assert!(text.parse::<RequestCap>().unwrap_err().contains("10/h or more"), "{text}");
        }
        for text in
            ["", "mon", "fri-mon", "22:00-06:00", "mon-fri 23:00-07:00, sat-sun", "Sun 0:00-24:00"]
        {
            assert_eq!(text.parse::<Hours>().is_ok(), !text.is_empty(), "{text}");
        }
        for text in [
            "mon-",
            "25:00-06:00",
            "mo",
            "mon 9-17",
            "mon 09:00",
            "mon 09:00-17:00 x",
            ",",
            "09:00-24:01",
        ] {
            assert!(text.parse::<Hours>().unwrap_err().contains("is no hours; use"), "{text}");
        }
    }

    #[test]
    fn hours_are_those_of_the_clock_on_the_wall() {
        let hours: Hours = "mon-fri 23:00-07:00, sat-sun".parse().unwrap();
        // 2026-11-30 is a Monday.
        for (at, is) in [
            ("2026-11-30T22:59", false),
            ("2026-11-30T23:00", true),
            ("2026-12-01T06:59", true),
            ("2026-12-01T07:00", false),
            ("2026-12-04T23:30", true),
            ("2026-12-05T12:00", true),
            ("2026-12-06T23:59", true),
            ("2026-12-07T00:00", false),
            ("2026-12-07T06:00", false),
        ] {
            assert_eq!(hours.is_open(&zoned(at)), is, "{at}");
        }
        let hours: Hours = "sun 23:00-07:00".parse().unwrap();
        assert!(hours.is_open(&zoned("2026-12-07T06:59")));
    }

    /// Minutes of a day at which work is done.
    fn minutes(hours: &str, from: &str, to: &str) -> usize {
        let hours: Hours = hours.parse().unwrap();
        let (from, to) = (zoned(from).timestamp(), zoned(to).timestamp());
        let minutes = (to.as_second() - from.as_second()) / 60;
        let moments =
            (0..minutes).map(|minute| moment((from.as_second() + minute * 60) * 1000, &zone()));
        moments.flatten().filter(|moment| hours.is_open(moment)).count()
    }

    #[test]
    fn summer_time_begins_and_ends_within_hours() {
        // In 2026 clocks are set ahead on 29 March at 02:00 and back on 25 October at 03:00.
        for (hours, from, to, open) in [
            ("23:00-07:00", "2026-03-28T12:00", "2026-03-29T12:00", 7 * 60),
            ("23:00-07:00", "2026-03-29T12:00", "2026-03-30T12:00", 8 * 60),
            ("23:00-07:00", "2026-10-24T12:00", "2026-10-25T12:00", 9 * 60),
            // What isn't on any clock isn't worked at, what is twice is twice.
            ("02:00-02:30", "2026-03-29T00:00", "2026-03-29T12:00", 0),
            ("02:00-02:30", "2026-10-25T00:00", "2026-10-25T12:00", 60),
            ("01:30-03:30", "2026-03-29T00:00", "2026-03-29T12:00", 60),
        ] {
            assert_eq!(minutes(hours, from, to), open, "{hours} from {from}");
        }
        let caps = Caps { hours: Some("06:00-07:00".parse().unwrap()), ..Caps::default() };
        for (now, opens) in [
            ("2026-03-28T22:00", "2026-03-29T04:00:00Z"),
            ("2026-03-27T22:00", "2026-03-28T05:00:00Z"),
            ("2026-10-24T22:00", "2026-10-25T05:00:00Z"),
        ] {
            let allowance = caps.allowance(&Used::default(), &zoned(now));
            assert_eq!(allowance.changes, Some(opens.parse().unwrap()), "{now}");
            assert_eq!((allowance.works, &*allowance.says), (false, "works from 06:00"), "{now}");
        }
    }

    #[test]
    fn what_holds_is_one_sentence() {
        let caps = |rate: &str, traffic: &str, requests: &str, hours: &str| Caps {
            rate: rate.parse().ok(),
            traffic: traffic.parse().unwrap_or_default(),
            requests: requests.parse().ok(),
            hours: hours.parse().ok(),
        };
        let used = |day: u64, month: u64, requests| Used {
            day: day * 1_000_000,
            month: month * 1_000_000,
            requests,
            frees: 90_000,
        };
        let night = "mon-fri 23:00-07:00, sat-sun";
        // A Monday.
        for (caps, used, now, says, room) in [
            (
                caps("", "", "", ""),
                used(120, 120, 9),
                "2026-11-30T12:00",
                "works; nothing is capped",
                None,
            ),
            (
                caps("", "500MB/day", "", night),
                used(120, 800, 0),
                "2026-11-30T12:00",
                "works from 23:00; 120 of 500 MB today",
                Some(189_000_000),
            ),
            (
                caps("", "500MB/day,10GB/month", "", night),
                used(120, 2150, 0),
                "2026-12-01T01:30",
                "works until 07:00; 120 of 500 MB today; 2.1 of 10 GB this month",
                Some(189_000_000),
            ),
            (
                caps("", "500MB/day", "", night),
                used(498, 800, 0),
                "2026-12-01T01:30",
                "works from 00:00; 498 of 500 MB today",
                Some(0),
            ),
            (
                caps("", "500MB/day,1GB/month", "", ""),
                used(20, 1000, 0),
                "2026-11-10T01:30",
                "works from 2026-12-01 00:00; 20 of 500 MB today; 1.0 of 1 GB this month",
                Some(0),
            ),
            (
                caps("500KB/s", "", "100/h", ""),
                used(20, 20, 95),
                "2026-11-30T12:00",
                "works from 12:01; 95 of 100 requests in the last hour; at most 500KB/s",
                Some(450_000_000),
            ),
            (
                caps("", "", "", "sat"),
                used(0, 0, 0),
                "2026-11-30T12:00",
                "works from sat 00:00",
                None,
            ),
            (caps("", "", "", "mon-sun"), used(0, 0, 0), "2026-11-30T12:00", "works", None),
        ] {
            let allowance = caps.allowance(&used, &zoned(now));
            assert_eq!((&*allowance.says, caps.lease_room(&used, 2)), (says, room));
            assert_eq!(allowance.works, !says.starts_with("works from"), "{says}");
        }
    }
}
