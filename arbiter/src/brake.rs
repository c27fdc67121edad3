//! The brake: a change that would hide much of the catalogue waits for the operator. A function of
//! what is visible and what would be hidden; the store keeps what is held.

use std::fmt;

/// What may be hidden without asking. Section `brake` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brake {
    /// Share of all visible packages, in percent; 100 lets any share pass.
    pub share: u8,
    /// A source with more visible packages than this is not hidden, or emptied, as a whole.
    pub packages: u64,
}

impl Default for Brake {
    fn default() -> Self {
        Self { share: 20, packages: 50 }
    }
}

/// What a change would do to one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The source.
    pub slug: String,
    /// Its visible packages before.
    pub visible: u64,
    /// Those that would be visible no more.
    pub hidden: u64,
}

/// Why a change is held. Displayed as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// Too much of the catalogue would go.
    Share {
        /// Packages that would be hidden.
        hidden: u64,
        /// Packages that are visible.
        visible: u64,
        /// The share in percent that may.
        share: u8,
    },
    /// All of a large source would go.
    Whole {
        /// The source.
        slug: String,
        /// Its packages.
        packages: u64,
        /// How many may go at once.
        most: u64,
    },
}

impl Brake {
    /// Why a change with these `losses` is to be held, where `visible` packages are visible in all;
    /// `None` if it may pass.
    pub fn holds(&self, losses: &[Loss], visible: u64) -> Option<Held> {
        let whole = losses
            .iter()
            .filter(|loss| loss.hidden >= loss.visible && loss.visible > self.packages)
            .max_by_key(|loss| loss.visible);
        if let Some(loss) = whole {
            return Some(Held::Whole {
                slug: loss.slug.clone(),
                packages: loss.visible,
                most: self.packages,
            });
        }
        let hidden: u64 = losses.iter().map(|loss| loss.hidden).sum();
        let is_much = u128::from(hidden) * 100 > u128::from(visible) * u128::from(self.share);
        // A catalogue of a few packages loses a large share at each small change.
        (is_much && self.share < 100 && hidden > self.packages).then_some(Held::Share {
            hidden,
            visible,
            share: self.share,
        })
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share { hidden, visible, share } => {
                write!(f, "it would hide {hidden} of {visible} packages, more than {share} %")
            }
            Self::Whole { slug, packages, most } => {
                write!(f, "it would hide all {packages} packages of {slug}, more than {most}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(slug: &str, visible: u64, hidden: u64) -> Loss {
        Loss { slug: slug.into(), visible, hidden }
    }

    #[test]
    fn a_large_share_or_a_whole_large_source_is_held() {
        let brake = Brake::default();
        let off = Brake { share: 100, packages: u64::MAX };
        for (losses, visible, said) in [
            (vec![], 0, None),
            (vec![], 1000, None),
            (vec![loss("a", 1000, 200)], 1000, None),
            (vec![loss("a", 1000, 201)], 1000, Some("hide 201 of 1000 packages, more than 20 %")),
            (
                vec![loss("a", 50, 50), loss("b", 50, 50), loss("c", 50, 50), loss("d", 51, 51)],
                10_000,
                Some("all 51 packages of d, more than 50"),
            ),
            (vec![loss("a", 50, 50), loss("b", 50, 50)], 500, None),
            (vec![loss("a", 50, 50), loss("b", 50, 51)], 500, Some("hide 101 of 500")),
            (vec![loss("a", 51, 50)], 1000, None),
            // Of very few packages any may go.
            (vec![loss("a", 40, 40)], 40, None),
            (vec![loss("a", u64::MAX, 1)], u64::MAX, None),
        ] {
            let held = brake.holds(&losses, visible).map(|held| held.to_string());
            match said {
                None => assert_eq!(held, None, "{losses:?}"),
                Some(said) => {
                    assert!(held.clone().is_some_and(|held| held.contains(said)), "{held:?}")
                }
            }
            assert_eq!(off.holds(&losses, visible), None);
        }
    }
}
