//! What the store keeps of what strangers and hostile peers say.

use super::*;
use canister_arbiter::rules::room::STAGING_MAX;

const HOUR: u64 = 60 * 60;

both!(what_a_peer_says_of_a_file_is_not_believed_for_longer_than_a_day);
fn what_a_peer_says_of_a_file_is_not_believed_for_longer_than_a_day(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let said = Origin {
        etag: Some("\"said\"".into()),
        last_modified: Some("Wed, 15 Nov 2023 01:00:00 GMT".into()),
        ..origin(1)
    };
    let unchanged = Outcome::Unchanged { origin: said, facts: None };
    let grant = fresh.claim_one("liar", at(0));
    let counts = fresh.work(&grant, "liar", &[package("x", "1", "X")], at(0));
    fresh.finish("liar", grant.token, &indexed(counts), at(0)).unwrap();
    // The same peer and others are told what was said, but no date that is to come.
    let told = |fresh: &mut Fresh, peer: &str, now| {
        let grant = fresh.claim_one(peer, now);
        let told = grant.origin.unwrap();
        fresh.finish(peer, grant.token, &unchanged, now).unwrap();
        (told.etag, told.last_modified)
    };
    let tagged = |tag: &str| (Some(format!("\"{tag}\"")), None);
    assert_eq!(told(&mut fresh, "liar", at(HOUR)), tagged("1"));
    assert_eq!(told(&mut fresh, "p1", at(2 * HOUR)), tagged("said"));
    assert_eq!(told(&mut fresh, "liar", at(24 * HOUR)).0, tagged("said").0);
    // Another peer than the last asks without after a day; the next again with.
    assert_eq!(told(&mut fresh, "p1", at(25 * HOUR)), (None, None));
    assert!(told(&mut fresh, "liar", at(26 * HOUR)).1.is_some(), "it is past by now");
    // And at once where the operator says so.
    fresh.sync(Some("a"), at(27 * HOUR));
    assert_eq!(told(&mut fresh, "p1", at(27 * HOUR)), (None, None));
}

both!(a_lease_ends_however_often_it_is_renewed);
fn a_lease_ends_however_often_it_is_renewed(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    let (first, second) = (fresh.claim_one("p1", at(0)), fresh.claim_one("p1", at(0)));
    let both = [first.token, second.token];
    let last = 45 * 60;
    let mut now = 0;
    while now + 30 < last {
        now += 30;
        assert_eq!(fresh.store.renew("p1", &both, at(now), &terms()).unwrap(), both, "{now}");
    }
    let finishing = |at| Renewal { token: second.token, peer: "p1".into(), at, is_finishing: true };
    fresh.store.expire(at(last - 1), &[finishing(at(last - 1))], &terms()).unwrap();
    // Its Finish has come, so the second one lives until that is answered.
    let ended = fresh.store.expire(at(last), &[], &terms()).unwrap().ended;
    assert_eq!(ended.iter().map(|lease| lease.token).collect::<Vec<_>>(), [first.token]);
    assert_eq!(fresh.held_by("p1", at(last)), [second.token]);
}

both!(a_source_is_not_asked_once_its_day_is_spent);
fn a_source_is_not_asked_once_its_day_is_spent(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let mut terms = terms();
    (terms.traffic.lease, terms.traffic.day) = (100, 250);
    let failed = || Outcome::Failed {
        kind: FailureKind::NoIndex,
        retry_after_secs: None,
        status: None,
        reason: "too much".into(),
    };
    // The day began here, and what a peer says beyond what it was granted isn't counted.
    let day = Duration::from_secs(24 * HOUR).as_millis() as u64;
    let begin = Timestamp::from_millis((at(0).millis() / day + 1) * day);
    for (number, granted) in [(0, 100), (1, 100), (2, 50)] {
        let now = begin.plus(Duration::from_secs(number * HOUR));
        let grant = fresh.store.claim("p1", 1, now, &terms).unwrap().remove(0);
        assert_eq!(grant.bytes_max, granted);
        let cost = Cost { bytes_fetched: granted + number * 1000, ..cost() };
        fresh.store.finish("p1", grant.token, &failed(), &cost, now, &terms).unwrap();
    }
    let later = |hours| begin.plus(Duration::from_secs(hours * HOUR));
    assert_eq!(fresh.store.claim("p1", 1, later(23), &terms).unwrap(), []);
    assert_eq!(fresh.store.claim("p1", 1, later(24), &terms).unwrap()[0].bytes_max, 100);
}

both!(all_staging_together_is_bounded);
fn all_staging_together_is_bounded(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    let (first, second) = (fresh.claim_one("p1", at(0)), fresh.claim_one("p2", at(0)));
    let rows = [package("x", "1", "X")];
    fresh.store.put("p1", first.token, &Rows::of(&rows), at(0)).unwrap();
    let staged =
        format!("UPDATE staged SET put_bytes = {STAGING_MAX} WHERE token = {}", first.token);
    fresh.sql_do(&staged);
    let put = fresh.store.put("p2", second.token, &Rows::of(&rows), at(1));
    assert_refused(put, "bytes are staged under all leases");
    fresh.store.discard("p1", first.token, at(2)).unwrap();
    fresh.store.put("p2", second.token, &Rows::of(&rows), at(3)).unwrap();
}

both!(who_only_gives_back_is_asked_less_and_less_and_others_come_first);
fn who_only_gives_back_is_asked_less_and_less_and_others_come_first(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b", "c"]);
    let mut granted = 0;
    for now in 0..600 {
        for grant in fresh.store.claim("p1", 3, at(now), &terms()).unwrap() {
            granted += 1;
            fresh.store.give_back("p1", grant.token, at(now)).unwrap();
        }
    }
    // Three at once, then after pauses that double up to a minute.
    println!("{granted} leases in ten minutes");
    assert!((10..20).contains(&granted), "{granted}");
    // What it gave back is another's at once.
    assert_eq!(fresh.store.claim("p2", 9, at(600), &terms()).unwrap().len(), 3);
    fresh.check_laws();
}
