//! What holds for any bytes that are read as an announcement, for the test beside this file and for
//! the fuzzer. Panics where it doesn't.

use canister_arbiter::rules::announcement::{ADDRESSES_MAX, Of, Unreadable, read};
use canister_protocol::Uri;

/// Reading an announcement gives a short reason, or a value within its limits; an address that it
/// gives is read as itself; and what it gives, said in the form for people, is the same.
pub(crate) fn announcement(bytes: &[u8]) {
    for media_type in [None, Some("application/json"), Some("application/cbor")] {
        let read_as = |body: &str| read(Some("application/json"), body.as_bytes());
        let announcement = match read(media_type, bytes) {
            Ok(announcement) => announcement,
            Err(Unreadable::MediaType(given)) => panic!("{given} is a known one"),
            Err(why) => {
                assert!(why.to_string().len() <= 256, "{why}");
                continue;
            }
        };
        let news = announcement.news.as_ref().map(ToString::to_string);
        let said =
            |what: &str, value: &str| serde_json::json!({ "Cid": news, what: value }).to_string();
        match &announcement.of {
            Of::Slug(slug) => {
                assert!((1..=64).contains(&slug.len()));
                assert_eq!(read_as(&said("source", slug)).as_ref(), Ok(&announcement));
            }
            Of::Uris(uris) => {
                assert!((1..=ADDRESSES_MAX).contains(&uris.len()));
                for uri in uris {
                    let text = uri.to_string();
                    assert!(text.len() <= 2048 && text.is_ascii(), "{text}");
                    assert_eq!(Uri::parse(&text).as_ref(), Ok(uri));
                    assert!(uri.is_same_place(uri));
                    let again = read_as(&said("uri", &text)).expect("it was said again");
                    assert_eq!(again.news, announcement.news);
                    assert_eq!(again.of, Of::Uris(vec![uri.clone()]));
                }
            }
        }
    }
}
