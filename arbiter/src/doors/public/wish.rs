//! Which sources a page shows and in which order, as its address says:
//! `?q=TEXT&state=failing&sort=packages&page=2&refresh=on`. What isn't understood is left out: any address
//! gives a page.

use crate::rules::schedule::Standing;
use crate::rules::text::in_words;
use crate::rules::timestamp::Timestamp;
use crate::store::SourceLine;
use canister_protocol::message::{FailureKind, cut};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::cmp::Reverse;

/// Sources of one page.
pub(super) const PAGE: usize = 100;
/// Most pages: who looks for a source behind them looks for its name.
pub(super) const PAGES_MAX: usize = 100;
/// Longest text that is looked for, in bytes.
const TEXT_BYTES_MAX: usize = 200;

/// How a source is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    /// Its last attempts failed.
    Failing,
    /// It failed for so long that the catalogue doesn't show it, or somebody decided so.
    Hidden,
    /// It was never read.
    Unread,
    Leased,
    Due,
    Waiting,
}

in_words! { pub(super) Look, words:
    Failing = "failing", Hidden = "hidden", Unread = "never read", Leased = "being read", Due = "due",
    Waiting = "waiting",
}

impl Look {
    /// All of them, the first that people want to see first.
    pub(super) const ALL: [Self; 6] =
        [Self::Failing, Self::Hidden, Self::Unread, Self::Leased, Self::Due, Self::Waiting];

    pub(super) fn of(line: &SourceLine, now: Timestamp) -> Self {
        if line.standing != Standing::Active || !line.is_polled {
            Self::Hidden
        } else if line.failures > 0 {
            Self::Failing
        } else if line.last_contact.is_none() {
            Self::Unread
        } else if line.is_leased {
            Self::Leased
        } else if line.due_at <= now {
            Self::Due
        } else {
            Self::Waiting
        }
    }
}

/// What sources are sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    State,
    Name,
    Packages,
    Contact,
    Next,
}

in_words! { pub(super) Sort, words:
    State = "state", Name = "name", Packages = "packages", Contact = "contact", Next = "next",
}

impl Sort {
    /// All of them, and what people call them.
    pub(super) const ALL: [(Self, &str); 5] = [
        (Self::State, "failing first"),
        (Self::Name, "name"),
        (Self::Packages, "most packages"),
        (Self::Contact, "longest without contact"),
        (Self::Next, "next run"),
    ];
}

/// What is wished for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// What a slug, an address or a reason has in it; in lower case.
    pub(super) text: String,
    pub(super) look: Option<Look>,
    pub(super) sort: Sort,
    /// Counted from 0.
    pub(super) page: usize,
    pub(super) refreshes: bool,
}

/// What of it there is.
#[derive(Debug, Clone)]
pub(super) struct Wished {
    pub(super) sources: Vec<SourceLine>,
    /// Sources of all pages, and of those that there are no pages for.
    pub(super) count: usize,
    /// The page that these are, and how many there are.
    pub(super) page: usize,
    pub(super) pages: usize,
}

impl Wish {
    /// Reads the query of an address.
    pub(super) fn read(query: &str) -> Self {
        let mut wish = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = value.replace('+', " ");
            let value = percent_decode_str(&value).decode_utf8_lossy();
            match name {
                "q" => {
                    let text = value.trim().to_lowercase();
                    cut(&text, TEXT_BYTES_MAX).clone_into(&mut wish.text);
                }
                "state" => wish.look = Look::from_words(&value),
                "sort" => wish.sort = Sort::from_words(&value).unwrap_or_default(),
                "page" => wish.page = value.parse::<usize>().map_or(0, |it| it.saturating_sub(1)),
                "refresh" => wish.refreshes = value == "on",
                _ => {}
            }
        }
        wish
    }

    /// The address of the page that is like this one but for what `change` does.
    pub(super) fn but(&self, change: impl FnOnce(&mut Self)) -> String {
        let mut wish = self.clone();
        change(&mut wish);
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let page = (wish.page > 0).then(|| (wish.page + 1).to_string());
        let pairs = [
            ("q", Some(encoded(&wish.text)).filter(|text| !text.is_empty())),
            ("state", wish.look.map(|look| encoded(look.words()))),
            ("sort", (wish.sort != Sort::State).then(|| wish.sort.words().to_owned())),
            ("page", page),
            ("refresh", wish.refreshes.then(|| "on".to_owned())),
        ];
        let pairs =
            pairs.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        format!("/?{}", pairs.collect::<Vec<_>>().join("&"))
    }

    /// Whether it is what everybody sees who wishes for nothing.
    pub(super) fn is_none(&self) -> bool {
        Self { refreshes: false, ..self.clone() } == Self::default()
    }

    fn is_of(&self, line: &SourceLine, now: Timestamp) -> bool {
        let has = |text: &str| text.to_lowercase().contains(&*self.text);
        self.look.is_none_or(|look| Look::of(line, now) == look)
            && (self.text.is_empty()
                || has(&line.slug)
                || has(&line.uri)
                || line.reason.map(FailureKind::words).is_some_and(has))
    }
}

/// What is found of a wish while sources go by, by name. Holds no more of them than the pages up to the one that is
/// wished for, and as many again.
#[derive(Debug)]
pub(super) struct Sought {
    wish: Wish,
    now: Timestamp,
    count: usize,
    /// Those that may be of these pages.
    best: Vec<SourceLine>,
}

impl Sought {
    /// Nothing went by yet.
    pub(super) fn new(wish: Wish, now: Timestamp) -> Self {
        Self { wish, now, count: 0, best: Vec::new() }
    }

    /// That this source went by.
    pub(super) fn see(&mut self, line: &SourceLine) {
        if !self.wish.is_of(line, self.now) {
            return;
        }
        self.count += 1;
        self.best.push(line.clone());
        if self.best.len() >= 2 * self.most() {
            self.sort();
        }
    }

    /// The page that is wished for, or the last one.
    pub(super) fn found(mut self) -> Wished {
        self.sort();
        let Self { count, best, .. } = self;
        let pages = count.div_ceil(PAGE).clamp(1, PAGES_MAX);
        let page = self.wish.page.min(pages - 1);
        let sources = best.into_iter().skip(page * PAGE).take(PAGE).collect();
        Wished { sources, count, page, pages }
    }

    /// Sources up to the end of the page.
    fn most(&self) -> usize {
        (self.wish.page.min(PAGES_MAX - 1) + 1) * PAGE
    }

    fn sort(&mut self) {
        let (now, best) = (self.now, &mut self.best);
        // They come by name, and stay so where they are alike.
        match self.wish.sort {
            Sort::State => best.sort_by_key(|line| Look::of(line, now)),
            Sort::Name => {}
            Sort::Packages => best.sort_by_key(|line| Reverse(line.packages)),
            Sort::Contact => best.sort_by_key(|line| line.last_contact),
            Sort::Next => best.sort_by_key(|line| (!line.is_polled, line.due_at)),
        }
        self.best.truncate(self.most());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SourceState;
    use canister_protocol::Source;

    #[test]
    fn any_address_is_a_wish_and_gives_itself_again() {
        for (query, wish) in [
            ("", Wish::default()),
            ("x=y&&=&q&state=no&sort=no&page=-1&page=x", Wish::default()),
            (
                "q=+No%20Such%FF+&page=3",
                Wish { text: "no such\u{fffd}".into(), page: 2, ..Wish::default() },
            ),
            (
                "state=never+read&sort=next&refresh=on",
                Wish {
                    look: Some(Look::Unread),
                    sort: Sort::Next,
                    refreshes: true,
                    ..Wish::default()
                },
            ),
        ] {
            let read = Wish::read(query);
            assert_eq!(read, wish, "{query}");
            assert_eq!(Wish::read(&read.but(|_| ())[2..]), wish, "{query}");
        }
        assert_eq!(Wish::default().but(|wish| wish.text = "<a&b".into()), "/?q=%3Ca%26b");
        let long = "é".repeat(400);
        assert!(Wish::read(&format!("q={long}")).text.len() <= TEXT_BYTES_MAX);
    }

    #[test]
    fn sources_are_filtered_sorted_and_paged() {
        let now = Timestamp::from_millis(1000);
        let line = |number: u64| SourceLine {
            packages: number,
            last_contact: Some(now),
            ..line(&format!("s{number:05}"), now)
        };
        let mut lines: Vec<SourceLine> = (0..600).map(line).collect();
        lines[7].failures = 1;
        lines[7].reason = Some(FailureKind::NoIndex);
        lines[9].standing = Standing::Deactivated;
        let first = |lines: &[SourceLine], query: &str| {
            let mut sought = Sought::new(Wish::read(query), now);
            lines.iter().for_each(|line| sought.see(line));
            let wished = sought.found();
            let first = wished.sources.first().map(|line| line.packages);
            (first, wished.sources.len(), wished.count, wished.page, wished.pages)
        };
        assert_eq!(first(&lines, ""), (Some(7), 100, 600, 0, 6));
        assert_eq!(first(&lines, "sort=name&page=6"), (Some(500), 100, 600, 5, 6));
        assert_eq!(first(&lines, "sort=packages&page=99"), (Some(99), 100, 600, 5, 6));
        assert_eq!(first(&lines, "state=hidden"), (Some(9), 1, 1, 0, 1));
        assert_eq!(first(&lines, "q=not+found"), (Some(7), 1, 1, 0, 1));
        assert_eq!(first(&lines, "q=S0059"), (Some(590), 10, 10, 0, 1));
        assert_eq!(first(&lines, "q=nothing"), (None, 0, 0, 0, 1));
        // More than there are pages for.
        lines.extend((600..20_000).map(line));
        assert_eq!(first(&lines, ""), (Some(7), 100, 20_000, 0, 100));
        assert_eq!(first(&lines, "sort=packages&page=3"), (Some(19_799), 100, 20_000, 2, 100));
        assert_eq!(first(&lines, "sort=name&page=201"), (Some(9900), 100, 20_000, 99, 100));
    }

    #[test]
    fn what_is_held_while_sources_go_by_is_bounded() {
        let now = Timestamp::from_millis(1000);
        let mut sought = Sought::new(Wish::read("page=2"), now);
        for number in 0..100_000 {
            sought.see(&line(&number.to_string(), now));
            assert!(sought.best.len() <= 4 * PAGE);
        }
        assert_eq!(sought.count, 100_000);
    }

    fn line(slug: &str, now: Timestamp) -> SourceLine {
        (&SourceState::new(Source { slug: slug.to_owned(), ..Source::default() }, now)).into()
    }
}
