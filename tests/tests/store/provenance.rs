//! Where the catalogue's rows come from.

use super::*;

/// The rows of the catalogue, live and left, each with the number of its publication.
fn of(fresh: &Fresh) -> Vec<String> {
    fresh.column(
        "SELECT package_id || ' ' || version || ' ' || coalesce(CAST(publication.number AS text), '-')
         FROM package LEFT JOIN publication ON lease = publication ORDER BY 1",
    )
}

fn a_publication_is_kept_with_what_it_came_from_and_its_rows_know_it(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    let (x1, x2, y) = (package("x", "1", "X"), package("x", "2", "X"), package("y", "1", "Y"));
    fresh.cycle("anna", &[x1.clone(), y.clone()], at(0));
    assert_eq!(of(&fresh), ["x 1 1", "y 1 1"]);
    fresh.cycle("ben", &[package("z", "1", "Z")], at(1));
    // `a` is due again: y left, and x 1 isn't the latest any more, so its row changes, too.
    let grant = fresh.claim_one("carl", at(4000));
    let counts = fresh.work(&grant, "carl", &[x1, x2], at(4001));
    let outcome = Outcome::Indexed { origin: origin(2), facts: Facts::default(), counts };
    fresh.finish("carl", grant.token, &outcome, at(4002)).unwrap();
    assert_eq!(of(&fresh), ["x 1 3", "x 2 3", "y 1 3", "z 1 2"]);
    let all = fresh.store.publications(None, 9).unwrap();
    let numbers: Vec<(u64, &str, &str, u64, u64, u64)> = (all.iter())
        .map(|it| (it.number, &*it.slug, &*it.peer, it.put, it.left, it.packages))
        .collect();
    assert_eq!(
        numbers,
        [(3, "a", "carl", 1, 1, 2), (2, "b", "ben", 1, 0, 1), (1, "a", "anna", 2, 0, 2)]
    );
    let last = &fresh.store.publications(Some("a"), 1).unwrap()[0];
    let from = origin(2);
    assert_eq!((&last.head, &last.index_path), (&from.head, &from.index_path));
    assert_eq!((&last.index_digest, last.lease), (&from.index_digest, grant.token));
    assert_eq!((last.granted_at, last.published_at), (at(4000), at(4002)));
    assert_eq!(last.confirmed_by, [] as [&str; 0]);
    assert_eq!(fresh.store.source("a").unwrap().unwrap().publication, Some(grant.token));
}
both!(a_publication_is_kept_with_what_it_came_from_and_its_rows_know_it);

fn what_changes_nothing_is_no_publication(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    fresh.cycle("anna", &[package("x", "1", "X")], at(0));
    let read = origin(1);
    for (now, origin, publications) in [(4000, read.clone(), 1), (8000, origin(7), 2)] {
        let grant = fresh.claim_one("ben", at(now));
        let unchanged = Outcome::Unchanged { origin, facts: None };
        fresh.finish("ben", grant.token, &unchanged, at(now)).unwrap();
        assert_eq!(fresh.store.publications(None, 9).unwrap().len(), publications);
    }
    let grant = fresh.claim_one("ben", at(12_000));
    fresh.finish("ben", grant.token, &failed(FailureKind::Status), at(12_000)).unwrap();
    assert_eq!(fresh.store.publications(None, 9).unwrap().len(), 2);
}
both!(what_changes_nothing_is_no_publication);

fn an_old_publication_is_kept_for_as_long_as_something_comes_from_it(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    for (round, version) in ["1", "2", "3"].into_iter().enumerate() {
        let rows = [package("x", version, "X"), package("y", "1", "Y")];
        fresh.cycle("anna", &rows, at(4000 * round as u64));
    }
    // y is of the first, the source is as the third left it, x 1 and x 2 left by the others.
    assert_eq!(of(&fresh), ["x 1 2", "x 2 3", "x 3 3", "y 1 1"]);
    while fresh.store.clean(at(9000), at(0)).unwrap() > 0 {}
    let kept = |fresh: &mut Fresh| -> Vec<u64> {
        fresh.store.publications(None, 9).unwrap().iter().map(|it| it.number).collect()
    };
    assert_eq!(kept(&mut fresh), [3, 1]);
    assert_eq!(of(&fresh), ["x 3 3", "y 1 1"]);
}
both!(an_old_publication_is_kept_for_as_long_as_something_comes_from_it);
