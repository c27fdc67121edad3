//! The change feed: whoever follows it has what the catalogue shows.

use super::*;
use canister_arbiter::rules::feed::FeedCursor;
use canister_arbiter::store::{FeedLine, FeedPackage};

/// A reader and its copy, by id.
pub(super) struct Reader {
    copy: BTreeMap<String, FeedPackage>,
    after: FeedCursor,
}

impl Reader {
    pub(super) const fn new() -> Self {
        Self { copy: BTreeMap::new(), after: FeedCursor::Begin }
    }

    /// Reads one page; whether there is more. Begins again where it must.
    pub(super) fn page(&mut self, store: &mut Store) -> bool {
        // It is written down and read again, as a reader's own memory is.
        let after: FeedCursor = self.after.to_string().parse().unwrap();
        let Some(page) = store.changes(&after).unwrap() else {
            *self = Self::new();
            return true;
        };
        let mut number = 0;
        for line in page.lines {
            let this = match line {
                FeedLine::Gone { number, id, .. } => {
                    self.copy.remove(&id);
                    number
                }
                FeedLine::Package { number, package } => {
                    self.copy.insert(package.id.clone(), package);
                    number
                }
                FeedLine::Source { number, source, .. } => {
                    self.copy.retain(|_, package| package.repository_id != source);
                    number
                }
            };
            assert!(this >= number, "out of order");
            number = this;
        }
        self.after = page.next;
        page.more
    }

    /// Reads to the end, and has what the catalogue shows then.
    #[track_caller]
    pub(super) fn has_all(&mut self, fresh: &mut Fresh) {
        while self.page(&mut fresh.store) {}
        let shown: BTreeMap<String, Vec<Option<String>>> = fresh
            .sql(
                "SELECT id, package_id, version, name, price, package_filename,
                     CAST(quality AS text), CAST(CAST(latest_version AS integer) AS text)
                 FROM package WHERE visible",
            )
            .into_iter()
            .map(|mut row| (row.remove(0).unwrap(), row))
            .collect();
        let copy: BTreeMap<String, Vec<Option<String>>> = (self.copy.iter())
            .map(|(id, row)| {
                let row = vec![
                    Some(row.package_id.clone()),
                    Some(row.version.clone()),
                    row.name.clone(),
                    Some(row.price.clone()),
                    Some(row.package_filename.clone()),
                    Some(row.quality.to_string()),
                    Some(u8::from(row.latest_version).to_string()),
                ];
                (id.clone(), row)
            })
            .collect();
        assert_eq!(copy, shown);
    }
}

fn what_is_hidden_shown_ranked_or_left_is_told(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    let mut reader = Reader::new();
    reader.has_all(&mut fresh);
    let (x, y) = (package("x", "1", "X"), package("y", "1", "Y"));
    fresh.cycle("anna", &[x.clone(), y.clone()], at(0));
    fresh.cycle("anna", &[package("z", "1", "Z")], at(1));
    reader.has_all(&mut fresh);
    assert_eq!(reader.copy.len(), 3);
    // y leaves, x has a newer version.
    fresh.cycle("ben", &[x, package("x", "2", "X")], at(4000));
    reader.has_all(&mut fresh);
    // `a` is hidden, shown again, ranked otherwise.
    let ranked = |ranking| vec![Source { ranking, ..source("a") }, source("b")];
    for list in [vec![source("b")], ranked(3), ranked(1)] {
        fresh.list(&list, at(5000));
        reader.has_all(&mut fresh);
        // Whoever begins now has the same.
        Reader::new().has_all(&mut fresh);
    }
    assert_eq!(reader.copy.len(), 3);
    // Who reads nothing new hears of nothing.
    let after = reader.after.clone();
    let page = fresh.store.changes(&after).unwrap().unwrap();
    assert_eq!((page.lines, page.next, page.more), (vec![], after, false));
}
both!(what_is_hidden_shown_ranked_or_left_is_told);

fn who_falls_behind_the_retention_begins_again(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let mut slow = Reader::new();
    fresh.cycle("anna", &[package("x", "1", "X"), package("y", "1", "Y")], at(0));
    slow.has_all(&mut fresh);
    let behind = slow.after.clone();
    fresh.cycle("anna", &[package("x", "1", "X")], at(4000));
    fresh.cycle("anna", &[package("x", "2", "X")], at(8000));
    assert!(fresh.store.changes(&behind).unwrap().is_some());
    // What left by the second is deleted.
    while fresh.store.clean(at(5000), at(0)).unwrap() > 0 {}
    assert_eq!(fresh.store.changes(&behind).unwrap(), None);
    slow.has_all(&mut fresh);
    assert_eq!(slow.copy.len(), 1);
    // A number that there never was is of another database.
    let never = FeedCursor::After { number: 999, id: None };
    assert_eq!(fresh.store.changes(&never).unwrap(), None);
}
both!(who_falls_behind_the_retention_begins_again);

fn a_large_change_comes_in_pages(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let rows: Vec<PackageRow> =
        (0..5000).map(|number| package(&format!("p{number}"), "1", "P")).collect();
    let mut reader = Reader::new();
    reader.has_all(&mut fresh);
    fresh.cycle("anna", &rows, at(0));
    let mut pages = 1;
    while reader.page(&mut fresh.store) {
        pages += 1;
    }
    assert_eq!((pages, reader.copy.len()), (3, 5000));
    let mut new = Reader::new();
    assert!(new.page(&mut fresh.store));
    // What changes while a snapshot is read comes after it.
    fresh.cycle("anna", &rows[..10], at(4000));
    new.has_all(&mut fresh);
    assert_eq!(new.copy.len(), 10);
    reader.has_all(&mut fresh);
}
both!(a_large_change_comes_in_pages);
