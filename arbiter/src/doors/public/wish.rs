//! Which sources a page shows and in which order, as its address says:
//! `?q=TEXT&state=failing&sort=packages&page=2&refresh=on`. What isn't understood is left out: any address
//! gives a page.

use crate::rules::schedule::Standing;
use crate::rules::text::in_words;
use crate::rules::timestamp::Timestamp;
use crate::store::SourceState;
use canister_protocol::message::{FailureKind, cut};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::cmp::Reverse;

/// Sources of one page.
pub(super) const PAGE: usize = 100;
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

    pub(super) fn of(state: &SourceState, now: Timestamp) -> Self {
        if state.standing != Standing::Active || !state.is_polled() {
            Self::Hidden
        } else if state.failures > 0 {
            Self::Failing
        } else if state.last_contact.is_none() {
            Self::Unread
        } else if state.lease.is_some() {
            Self::Leased
        } else if state.due_at <= now {
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
pub(super) struct Wished<'a> {
    pub(super) sources: Vec<&'a SourceState>,
    /// Sources of all pages.
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

    /// The page of `sources` that is wished for, or the last one.
    pub(super) fn of<'a>(&self, sources: &'a [SourceState], now: Timestamp) -> Wished<'a> {
        let has = |text: &str| text.to_lowercase().contains(&*self.text);
        let is_wished = |state: &&SourceState| {
            self.look.is_none_or(|look| Look::of(state, now) == look)
                && (self.text.is_empty()
                    || has(&state.source.slug)
                    || has(&state.source.uri)
                    || state.reason.map(FailureKind::words).is_some_and(has))
        };
        let mut wished: Vec<&SourceState> = sources.iter().filter(is_wished).collect();
        // They come by name.
        match self.sort {
            Sort::State => wished.sort_by_key(|state| Look::of(state, now)),
            Sort::Name => {}
            Sort::Packages => wished.sort_by_key(|state| Reverse(state.packages)),
            Sort::Contact => wished.sort_by_key(|state| state.last_contact),
            Sort::Next => wished.sort_by_key(|state| (!state.is_polled(), state.due_at)),
        }
        let count = wished.len();
        let pages = count.div_ceil(PAGE).max(1);
        let page = self.page.min(pages - 1);
        let sources = wished.into_iter().skip(page * PAGE).take(PAGE).collect();
        Wished { sources, count, page, pages }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let source = |number: u64| {
            let slug = format!("s{number:03}");
            let state = SourceState::new(Source { slug, ..Source::default() }, now);
            SourceState { packages: number, last_contact: Some(now), ..state }
        };
        let mut sources: Vec<SourceState> = (0..600).map(source).collect();
        sources[7].failures = 1;
        sources[7].reason = Some(FailureKind::NoIndex);
        sources[9].standing = Standing::Deactivated;
        let first = |query: &str| {
            let wished = Wish::read(query).of(&sources, now);
            let first = wished.sources.first().map(|state| state.packages);
            (first, wished.sources.len(), wished.count, wished.page, wished.pages)
        };
        assert_eq!(first(""), (Some(7), 100, 600, 0, 6));
        assert_eq!(first("sort=name&page=6"), (Some(500), 100, 600, 5, 6));
        assert_eq!(first("sort=packages&page=99"), (Some(99), 100, 600, 5, 6));
        assert_eq!(first("state=hidden"), (Some(9), 1, 1, 0, 1));
        assert_eq!(first("q=not+found"), (Some(7), 1, 1, 0, 1));
        assert_eq!(first("q=S59"), (Some(590), 10, 10, 0, 1));
        assert_eq!(first("q=nothing"), (None, 0, 0, 0, 1));
    }
}
