//! Times as people write them: a number and a unit, `250ms`, `10s`, `45m`, `1h`, `7d`; the same in
//! flags, variables, files and logs. A bare number is refused: nobody remembers its unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Longest time: ten years.
const MAX: Duration = Duration::from_secs(3653 * 24 * 60 * 60);
/// Units, the largest first, in milliseconds.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A time. Displayed in the largest unit that shows it whole: `7d`, `90m`, `1500ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit);
        let millis = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, millis)| millis);
        match millis {
            Some(millis) if !number.is_empty() => {
                let span = number.parse().ok().and_then(|number: u64| number.checked_mul(*millis));
                let span = span.map(Duration::from_millis).filter(|span| *span <= MAX);
                span.map(Self).ok_or_else(|| "use 3653d (ten years) or less".to_owned())
            }
            None if unit.is_empty() && !number.is_empty() => {
                Err(format!("the unit is missing; use {number}s, or ms, m, h or d"))
            }
            _ => Err("use a number and a unit, such as 500ms, 30s, 15m, 1h or 7d".to_owned()),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        let whole = UNITS.iter().find(|(_, unit)| millis.is_multiple_of(u128::from(*unit)));
        let (name, unit) = whole.unwrap_or(&("ms", 1));
        write!(f, "{}{name}", millis / u128::from(*unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_a_number_and_a_unit() {
        for (text, millis, shown) in [
            ("0s", 0, "0s"),
            ("500ms", 500, "500ms"),
            ("1500ms", 1500, "1500ms"),
            ("90s", 90_000, "90s"),
            ("90m", 5_400_000, "90m"),
            ("60m", 3_600_000, "1h"),
            ("7d", 604_800_000, "7d"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0, Duration::from_millis(millis));
            assert_eq!(span.to_string(), shown);
        }
        for text in ["", "s", "-1s", "1.5h", "1h30m", "1 h", "1S", "٣s"] {
            let why = text.parse::<Span>().unwrap_err();
            assert!(why.starts_with("use a number and a unit"), "{text}: {why}");
        }
        for text in ["3654d", "18446744073709551615d", "18446744073709551616s"] {
            assert_eq!(text.parse::<Span>().unwrap_err(), "use 3653d (ten years) or less");
        }
        let why = "10".parse::<Span>().unwrap_err();
        assert_eq!(why, "the unit is missing; use 10s, or ms, m, h or d");
    }
}
