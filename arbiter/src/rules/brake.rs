//! The brake: a change that would hide much of the catalogue waits for the operator. A function of
//! what a change takes away, what left lately and what is shown; the store keeps all three, and what
//! is held.
//!
//! Packages are counted by name: one that is there in another version didn't leave. What leaves is
//! added up over a day, or a catalogue could be emptied in small steps. What the operator accepted or
//! said by command is not among it.

use crate::rules::timestamp::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How long what left is added up.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What may be hidden within a day without asking. Section `brake` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brake {
    /// Share of all shown packages, in percent; 100 lets any share pass.
    pub share: u8,
    /// Share of one source's shown packages, in percent; 100 lets any share pass, and all.
    pub source_share: u8,
    /// So many may be hidden whatever share they are, but not by an empty index.
    pub packages: u64,
}

impl Default for Brake {
    fn default() -> Self {
        Self { share: 20, source_share: 50, packages: 10 }
    }
}

/// What a change would do to one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    pub slug: String,
    /// Its packages that are shown before.
    pub shown: u64,
    /// Those that would be shown no more.
    pub lost: u64,
}

/// What left within the last day, by source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lately(BTreeMap<String, u64>);

impl FromIterator<(String, u64)> for Lately {
    fn from_iter<I: IntoIterator<Item = (String, u64)>>(left: I) -> Self {
        Self(left.into_iter().collect())
    }
}

/// An index that is to be published, beside what it takes away.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewIndex {
    /// Whether it has no package.
    pub is_empty: bool,
    /// The date of its Release.
    pub date: Option<Timestamp>,
    /// The date of the Release that was published last.
    pub last_date: Option<Timestamp>,
}

/// Why a change is held. Displayed as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldReason {
    /// Nothing of a source would be left.
    Empty { slug: String },
    /// A source would be what it was before.
    Older {
        slug: String,
        /// The date of the Release.
        date: Timestamp,
        /// That of the last one.
        last_date: Timestamp,
    },
    /// Too much of the catalogue would go.
    Share {
        /// Packages that would be hidden within a day.
        lost: u64,
        /// Packages that would have been shown.
        shown: u64,
        /// The share in percent that may.
        share: u8,
    },
    /// Too much of a source would go.
    SourceShare {
        slug: String,
        /// Its packages that would be hidden within a day.
        lost: u64,
        /// Those that would have been shown.
        shown: u64,
        /// The share in percent that may.
        share: u8,
    },
}

impl Brake {
    /// Why a change with these `losses` is to be held, where so much left `lately` and so many packages
    /// are `shown` in all; `None` if it may pass. What loses nothing may.
    pub fn holds(&self, losses: &[Loss], lately: &Lately, shown: u64) -> Option<HoldReason> {
        let losses = || losses.iter().filter(|loss| loss.lost > 0);
        let of_sources = losses().filter_map(|loss| {
            let before = lately.0.get(&loss.slug).copied().unwrap_or(0);
            let (lost, shown) = (loss.lost + before, loss.shown.saturating_add(before));
            let is_much = shown > self.packages && is_more(lost, shown, self.source_share);
            is_much.then(|| HoldReason::SourceShare {
                slug: loss.slug.clone(),
                lost,
                shown,
                share: self.source_share,
            })
        });
        let of_one = of_sources.max_by_key(|held| match held {
            HoldReason::SourceShare { lost, .. } => *lost,
            _ => 0,
        });
        let of_all = self.holds_share(losses().map(|loss| loss.lost).sum(), lately, shown);
        // What says more of the change.
        if losses().count() > 1 { of_all.or(of_one) } else { of_one.or(of_all) }
    }

    /// Why `lost` packages are not to be hidden for their share of all that are shown. Of a source that is
    /// silent for long all may go, as long as not too many sources are.
    pub fn holds_share(&self, lost: u64, lately: &Lately, shown: u64) -> Option<HoldReason> {
        let before: u64 = lately.0.values().sum();
        let is_any = lost > 0;
        let (lost, shown) = (lost + before, shown.saturating_add(before));
        // A catalogue of a few packages loses a large share at each small change.
        let is_much = is_any && lost > self.packages && is_more(lost, shown, self.share);
        is_much.then_some(HoldReason::Share { lost, shown, share: self.share })
    }

    /// As [`holds`](Self::holds), for an `index` that costs a source `loss`.
    pub fn holds_index(
        &self,
        loss: &Loss,
        index: &NewIndex,
        lately: &Lately,
        shown: u64,
        now: Timestamp,
    ) -> Option<HoldReason> {
        let slug = || loss.slug.clone();
        // A date that lies ahead of every clock's error is none.
        let last_date = index.last_date.filter(|date| *date <= now.plus(DAY));
        match (index.date, last_date) {
            (Some(date), Some(last_date)) if date < last_date => {
                return Some(HoldReason::Older { slug: slug(), date, last_date });
            }
            _ => {}
        }
        if index.is_empty && loss.shown > 0 && self.source_share < 100 {
            return Some(HoldReason::Empty { slug: slug() });
        }
        self.holds(std::slice::from_ref(loss), lately, shown)
    }
}

/// Whether `part` is more than `share` percent of `whole`.
fn is_more(part: u64, whole: u64, share: u8) -> bool {
    u128::from(part) * 100 > u128::from(whole) * u128::from(share)
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { slug } => write!(f, "the index of {slug} is empty, and was not"),
            Self::Older { slug, date, last_date } => {
                write!(f, "the Release of {slug} is of {date}, older than that of {last_date}")
            }
            Self::Share { lost, shown, share } => write!(
                f,
                "{lost} of {shown} packages would be hidden within a day, more than {share} %"
            ),
            Self::SourceShare { slug, lost, shown, share } => write!(
                f,
                "it would hide {lost} of {shown} packages of {slug}, more than {share} % within a day"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(slug: &str, shown: u64, lost: u64) -> Loss {
        Loss { slug: slug.into(), shown, lost }
    }

    const OFF: Brake = Brake { share: 100, source_share: 100, packages: 0 };

    #[test]
    fn a_large_share_of_all_or_of_one_source_is_held() {
        for (losses, lately, shown, said) in [
            (vec![], &[][..], 0, ""),
            (vec![loss("a", 0, 0)], &[], 0, ""),
            (vec![loss("a", 400, 200)], &[], 1000, ""),
            (vec![loss("a", 402, 201)], &[], 1000, "201 of 1000 packages would be hidden within a"),
            (vec![loss("a", 100, 51)], &[], 1000, "hide 51 of 100 packages of a, more than 50 %"),
            (
                vec![loss("a", 11, 11), loss("b", 30, 30), loss("c", 10, 10)],
                &[],
                10_000,
                "hide 30 of 30 packages of b",
            ),
            // Of few packages any may go, but not of many sources with few.
            (vec![loss("a", 10, 10)], &[], 10, ""),
            (vec![loss("a", 10, 10), loss("b", 10, 10)], &[], 100, ""),
            (vec![loss("a", 10, 10), loss("b", 10, 10), loss("c", 9, 1)], &[], 100, "21 of 100"),
            // What left before counts, of the catalogue and of the source; it was shown then.
            (vec![loss("a", 100, 9)], &[("b", 9)], 91, ""),
            (vec![loss("a", 100, 9)], &[("b", 9), ("c", 9)], 82, "27 of 100 packages"),
            (vec![loss("a", 60, 11)], &[("a", 40)], 960, "hide 51 of 100 packages of a"),
            (vec![loss("a", 60, 10)], &[("a", 40)], 960, ""),
            // What loses nothing passes, whatever left before.
            (vec![loss("a", 60, 0)], &[("a", 40), ("b", 500)], 960, ""),
            (vec![loss("a", u64::MAX, 1)], &[], u64::MAX, ""),
        ] {
            let lately: Lately =
                lately.iter().map(|&(slug, lost)| (slug.to_owned(), lost)).collect();
            let held = Brake::default().holds(&losses, &lately, shown);
            let held = held.map(|held| held.to_string()).unwrap_or_default();
            assert!(held.contains(said) && held.is_empty() == said.is_empty(), "{said}: {held}");
            assert_eq!(OFF.holds(&losses, &lately, shown), None);
        }
    }

    #[test]
    fn an_empty_index_and_an_older_release_are_held() {
        let now = Timestamp::from_secs(1_700_000_000).unwrap();
        let day = |days: i64| {
            let secs = Duration::from_secs(days.unsigned_abs() * DAY.as_secs());
            Some(if days < 0 { now.minus(secs) } else { now.plus(secs) })
        };
        for (shown, is_empty, date, last_date, said) in [
            (3, true, None, None, "the index of a is empty, and was not"),
            (0, true, None, None, ""),
            (3, false, None, day(-1), ""),
            (3, false, day(-1), None, ""),
            (3, false, day(-1), day(-1), ""),
            (3, false, day(-1), day(-2), ""),
            (
                0,
                false,
                day(-2),
                day(-1),
                "a is of 2023-11-12 22:13:20, older than that of 2023-11-13",
            ),
            (3, true, day(-2), day(-1), "older"),
            // Somebody's clock was wrong once.
            (3, false, day(-2), day(2), ""),
        ] {
            let index = NewIndex { is_empty, date, last_date };
            let loss = loss("a", shown, if is_empty { shown } else { 0 });
            let held = Brake::default().holds_index(&loss, &index, &Lately::default(), 99, now);
            let held = held.map(|held| held.to_string()).unwrap_or_default();
            assert!(held.contains(said) && held.is_empty() == said.is_empty(), "{said}: {held}");
        }
        let empty = NewIndex { is_empty: true, ..NewIndex::default() };
        assert_eq!(OFF.holds_index(&loss("a", 3, 3), &empty, &Lately::default(), 3, now), None);
    }
}
