//! What the store keeps of what strangers and hostile peers say.

use super::*;

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
