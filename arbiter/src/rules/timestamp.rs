//! A moment in UTC, as a value. Nothing here reads a clock: the arbiter's loop does, once for each
//! event, and hands the moment down.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Milliseconds since 1970-01-01 00:00:00 UTC, up to the end of the year 9999, so that every
/// moment can be written as the catalogue writes them and fits a signed 64-bit column.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Timestamp(u64);

const MAX_MILLIS: u64 = 253_402_300_799_999;

impl Timestamp {
    /// The moment `millis` after 1970; the end of the year 9999 for anything later.
    pub const fn from_millis(millis: u64) -> Self {
        Self(if millis > MAX_MILLIS { MAX_MILLIS } else { millis })
    }

    /// The moment `secs` seconds after 1970; `None` for anything after the year 9999.
    pub const fn from_secs(secs: u64) -> Option<Self> {
        match secs.checked_mul(1000) {
            Some(millis) if millis <= MAX_MILLIS => Some(Self(millis)),
            _ => None,
        }
    }

    /// The beginning of a day, `YYYY-MM-DD`; `None` for what is none, or before 1970.
    pub fn of_day(text: &str) -> Option<Self> {
        let mut numbers = text.split('-').map(str::parse::<u64>);
        let (year, month, day) =
            (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        // Years begin with March, as where a moment is displayed.
        let (year, month) = match month {
            1..=2 => (year.checked_sub(1)?, month + 9),
            3..=12 => (year, month - 3),
            _ => return None,
        };
        if year > 9999 || day > 31 {
            return None;
        }
        let days = 365 * year + year / 4 - year / 100 + year / 400;
        let days = (days + (153 * month + 2) / 5 + day).checked_sub(719_469)?;
        // What is no day is another's number.
        Self::from_secs(days * 86_400).filter(|it| it.to_string().starts_with(text))
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// This moment and `duration`.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(MAX_MILLIS);
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// This moment less `duration`; 1970 for anything before.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(MAX_MILLIS);
        Self(self.0.saturating_sub(millis))
    }

    /// When the hour began that it is in.
    #[must_use]
    pub const fn hour(self) -> Self {
        Self(self.0 - self.0 % 3_600_000)
    }

    /// How long after `earlier` this is; zero if it is before.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// As the catalogue writes a moment: `YYYY-MM-DD HH:MM:SS`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0 / 1000;
        let (days, secs) = (secs / 86_400, secs % 86_400);
        // Days are counted from 0000-03-01, so that the leap day is the last of its year; 400
        // years have 146,097 days.
        let days = days + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = era * 400 + year + next;
        let (hour, minute, second) = (secs / 3600, secs / 60 % 60, secs % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_the_catalogue_has_them() {
        for (secs, text) in [
            (0, "1970-01-01 00:00:00"),
            (68_169_599, "1972-02-28 23:59:59"),
            (68_169_600, "1972-02-29 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_000_000_000, "2001-09-09 01:46:40"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (4_107_542_399, "2100-02-28 23:59:59"),
            (253_402_300_799, "9999-12-31 23:59:59"),
        ] {
            assert_eq!(Timestamp::from_secs(secs).unwrap().to_string(), text);
        }
        assert_eq!(Timestamp::from_secs(253_402_300_800), None);
        assert_eq!(Timestamp::from_secs(u64::MAX), None);
    }

    #[test]
    fn days_are_read_as_they_are_written() {
        let day = Duration::from_secs(86_400);
        let mut at = Timestamp::default();
        while at.millis() < 4_200_000_000_000 {
            let text = at.to_string();
            assert_eq!(Timestamp::of_day(&text[..10]), Some(at));
            at = at.plus(day);
        }
        for text in [
            "",
            "2026",
            "2026-12",
            "2026-12-32",
            "2026-02-29",
            "2026-13-01",
            "1969-12-31",
            "0000-01-01",
            "2026-1-1",
            "2026-12-24-1",
            "12026-12-24",
            "2026-12-24 00:00",
            "-1-1-1",
            "18446744073709551615-01-01",
        ] {
            assert_eq!(Timestamp::of_day(text), None, "{text}");
        }
    }

    #[test]
    fn arithmetic_stops_at_both_ends() {
        let end = Timestamp::from_millis(u64::MAX);
        assert_eq!(end.plus(Duration::MAX), end);
        assert_eq!(Timestamp::default().since(end), Duration::ZERO);
        assert_eq!(end.since(end), Duration::ZERO);
        assert_eq!(end.minus(Duration::MAX), Timestamp::default());
        assert_eq!(
            Timestamp::from_millis(1500).minus(Duration::from_secs(1)),
            Timestamp::from_millis(500)
        );
        let hour = Duration::from_secs(3600);
        assert_eq!(Timestamp::default().plus(hour).since(Timestamp::default()), hour);
    }
}
