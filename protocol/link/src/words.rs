//! What people type: numbers, and which word they meant.

use canister_protocol::span::Span;
use std::num::{IntErrorKind, ParseIntError};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// An hour, and how several of them are called.
pub const HOURS: (Duration, &str) = (Duration::from_secs(60 * 60), "hours");
/// The same of days.
pub const DAYS: (Duration, &str) = (Duration::from_secs(24 * 60 * 60), "days");

/// Reads a whole number.
///
/// # Errors
/// What to use instead.
pub fn number<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|cause: ParseIntError| match cause.kind() {
        IntErrorKind::PosOverflow => "use a smaller number".to_owned(),
        _ => "use a whole number".to_owned(),
    })
}

/// Reads a time, such as `36h`, that is a whole number of these units, and gives that number.
///
/// # Errors
/// What to use instead.
pub fn whole(
    text: &str,
    (unit, name): (Duration, &str),
    range: RangeInclusive<u32>,
) -> Result<u32, String> {
    let (least, most) = (Span(unit * *range.start()), Span(unit * *range.end()));
    let refused = || format!("use {least} to {most}, in whole {name}");
    let (time, unit) = (text.parse::<Span>()?.0.as_millis(), unit.as_millis());
    let number = u32::try_from(time / unit).ok().filter(|_| time % unit == 0);
    number.filter(|number| range.contains(number)).ok_or_else(refused)
}

/// `; did you mean …?` with the name that is nearest to what was given, or nothing if none is near.
pub fn meant<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> String {
    let far = (given.len() / 3).clamp(1, 2);
    let near = names.map(|name| (distance(given, name), name)).min();
    match near {
        Some((distance, name)) if distance <= far => format!("; did you mean {name}?"),
        _ => String::new(),
    }
}

/// The beginning of a foreign word, as much as an error shows of it.
pub fn short(word: &str) -> String {
    word.chars().take(80).collect()
}

/// How many letters are to be added, left out, changed or swapped with the next to make one of the
/// other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![(0..=other.len()).collect::<Vec<_>>()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let above = &rows[i - 1];
            let changed = above[j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut least = changed.min(above[j] + 1).min(row[j - 1] + 1);
            let is_swap =
                i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1];
            if is_swap {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}
