//! What paid packages cost: asked of the source's shop, each package once and then not again for
//! days.
//!
//! A source names its shop in the file `payment_endpoint` at its uri; the shop answers
//! `POST <endpoint>/package/<id>/info` with JSON that has a `price`. Whatever goes wrong, a package
//! stays `Paid`: prices are never a reason for a source to fail.
//!
//! Spec: Sileo's payment provider API, "Getting package info".

#![expect(clippy::question_mark, reason = "nanoserde's derive writes it so")]

use crate::apt::release::Algorithm;
use crate::fetch::{FetchAnswer, FetchError, Fetcher, Validators};
use canister_link::clock;
use canister_protocol::Uri;
use canister_protocol::codec::accept;
use canister_protocol::limits::{
    JSON_DEPTH_MAX, PRICE_BYTES_MAX, PRICED_ID_BYTES_MAX, TEXT_BYTES_MAX,
};
use canister_protocol::message::{PAYMENT_ENDPOINT, Price};
use log::debug;
use nanoserde::DeJson;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::time::Duration;

/// Most prices that are asked for in one lease; the others when the source changes next.
pub const ASKED_MAX: usize = 500;
/// The pause between two questions to a shop.
const PAUSE: Duration = Duration::from_millis(250);
/// After so many failures in a row the shop is left alone.
const FAILURES_MAX: u32 = 3;
/// Longest answer of a shop, and longest `payment_endpoint`, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// The part of a shop's answer that is looked at.
#[derive(DeJson)]
struct Info {
    price: Option<String>,
}

/// What a source's `payment_endpoint` names: an address ending in `/`, or none.
///
/// # Errors
/// [`FetchError`]: whether there is one is as unknown as before.
pub fn endpoint(fetcher: &Fetcher, uri: &str) -> Result<Option<String>, FetchError> {
    let url = format!("{}/{PAYMENT_ENDPOINT}", uri.trim_end_matches('/'));
    let none = Validators::default();
    match fetcher.get(&url, &none, ANSWER_BYTES_MAX, Algorithm::Sha256) {
        Ok(FetchAnswer::Found(body)) => {
            let mut text = String::new();
            // What isn't UTF-8 or comes to no end is no address.
            let read = body.take(ANSWER_BYTES_MAX).read_to_string(&mut text);
            Ok(read.ok().and_then(|_| endpoint_in(&text, fetcher.is_private_allowed())))
        }
        Ok(FetchAnswer::Gone | FetchAnswer::Missing | FetchAnswer::NotModified) => Ok(None),
        Err(cause) if cause.is_absence() => Ok(None),
        Err(cause) => {
            debug!(url, cause:%; "couldn't ask for the payment endpoint");
            Err(cause)
        }
    }
}

/// Asks the shop at `endpoint` for the price of each of these packages, with a pause between two.
pub fn ask(fetcher: &Fetcher, endpoint: &str, packages: &BTreeSet<String>) -> Vec<Price> {
    let mut prices = Vec::new();
    let mut failures = 0;
    for package in packages.iter().take(ASKED_MAX) {
        if !prices.is_empty() || failures > 0 {
            clock::sleep(PAUSE);
        }
        let url = format!("{endpoint}package/{package}/info");
        let answer = fetcher.post(&url, "{}", ANSWER_BYTES_MAX);
        match answer.map(|body| price_in(&body)) {
            Ok(Some(price)) => {
                failures = 0;
                prices.push(Price { package_id: package.clone(), price });
            }
            Ok(None) => {
                debug!(url; "the shop's answer has no price");
                failures += 1;
            }
            Err(cause) => {
                debug!(url, cause:%; "couldn't ask for a price");
                failures += 1;
            }
        }
        if failures == FAILURES_MAX || fetcher.is_cancelled() {
            break;
        }
    }
    prices
}

/// Whether a package's price can be asked for: its id stands in an address and in a message.
pub fn can_be_asked(package: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-~".contains(&byte);
    !package.is_empty() && package.len() <= PRICED_ID_BYTES_MAX && package.bytes().all(is_plain)
}

/// Plain text: an address, https only. In a private network a shop may be without TLS.
fn endpoint_in(text: &str, is_private_allowed: bool) -> Option<String> {
    let address = Uri::parse(text).ok().filter(|uri| uri.is_https() || is_private_allowed)?;
    let endpoint = format!("{}/", address.to_string().trim_end_matches('/'));
    (endpoint.len() <= TEXT_BYTES_MAX).then_some(endpoint)
}

/// The price in a shop's answer.
fn price_in(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    accept(text, JSON_DEPTH_MAX).ok()?;
    let price = Info::deserialize_json(text).ok()?.price?;
    let price = price.trim();
    let is_good =
        !price.is_empty() && price.len() <= PRICE_BYTES_MAX && !price.contains(char::is_control);
    is_good.then(|| price.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_https_address() {
        for (text, endpoint) in [
            ("https://shop.example", Some("https://shop.example/")),
            ("https://shop.example/api/\n", Some("https://shop.example/api/")),
            (" https://shop.example/a//\r\n", Some("https://shop.example/a/")),
            ("http://shop.example", None),
            ("https://", None),
            ("https:///x", None),
            ("https://shop.example/?q", None),
            ("https://u@shop.example", None),
            ("HTTPS://Shop.example/ä/./b c", Some("https://shop.example/%C3%A4/b%20c/")),
            ("https://a b", None),
            ("https://a\nhttps://b", None),
            ("https://a/\nhttps://b", None),
            ("https://shop.example/../x", None),
            ("//shop.example", None),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(endpoint_in(text, false).as_deref(), endpoint, "{text:?}");
        }
        assert_eq!(endpoint_in("http://10.0.0.1:1", true).as_deref(), Some("http://10.0.0.1:1/"));
    }

    #[test]
    fn a_price_is_a_short_text() {
        for (body, price) in [
            (r#"{"price":"$1.99","purchased":false,"available":true}"#, Some("$1.99")),
            (r#"{"x":[{"y":1}],"price":" 1,99 € "}"#, Some("1,99 €")),
            (r#"{"price":""}"#, None),
            (r#"{"price":null}"#, None),
            (r#"{"price":1.99}"#, None),
            (r#"{"error":"no"}"#, None),
            (r#"{"price":"a\nb"}"#, None),
            (r#"{"price":["#, None),
            ("", None),
            ("<html>", None),
        ] {
            assert_eq!(price_in(body.as_bytes()).as_deref(), price, "{body}");
        }
        let long = format!(r#"{{"price":"{}"}}"#, "9".repeat(PRICE_BYTES_MAX + 1));
        assert_eq!(price_in(long.as_bytes()), None);
        assert_eq!(price_in(&[0xff]), None);
    }

    #[test]
    fn only_plain_ids_stand_in_an_address() {
        assert!(can_be_asked("ws.hbang.common-2+x~y_z"));
        for id in ["", "a/b", "a b", "a?b", "é", &"a".repeat(257)] {
            assert!(!can_be_asked(id), "{id}");
        }
    }
}
