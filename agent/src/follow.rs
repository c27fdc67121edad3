//! One lease of a peer that follows another network: what that network's arbiter tells of the source is put, and the
//! source's server isn't asked. The steps are those of [`work`](crate::work), with another place to read from.
//!
//! 1. Ask the other arbiter for its copy of the source, unless that is what is remembered: [`Outcome::Unchanged`], by one
//!    request.
//! 2. Learn which packages the catalogue has; read the pages, put what isn't known.
//! 3. Name the digests that weren't seen: [`Outcome::Indexed`], with the head that the other network read.
//!
//! Whatever goes wrong is this peer's failure, never the source's.

use crate::apt::release::Algorithm;
use crate::fetch::{FetchAnswer, FetchError, Fetcher, Validators};
use crate::known::KnownDigests;
use crate::sink::{Sink, SinkError};
use canister_link::clock;
use canister_protocol::copy::{CopyPage, CopyRow, PAGE_BYTES_MAX, PATH, line};
use canister_protocol::limits::TEXT_BYTES_MAX;
use canister_protocol::message::{Cost, Counts, FailureKind, Origin, Outcome, Price};
use canister_protocol::plain::one_line;
use canister_protocol::{Source, Uri};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read as _;

/// Most pages of a source: as many packages as an index may have.
const PAGES_MAX: usize = 4096;

/// Follows `source` into `sink`, as the arbiter at `from` has it; `None` where that has no such source.
pub fn run(
    source: &Source,
    origin: Option<&Origin>,
    fetcher: &Fetcher,
    sink: &mut dyn Sink,
    from: &Uri,
) -> Option<(Outcome, Cost)> {
    let began = clock::now();
    let outcome = match follow(source, origin, fetcher, sink, from) {
        Ok(outcome) => outcome?,
        Err(why) => {
            let reason =
                one_line(&format!("{}: follow {from}: {why}", source.slug), TEXT_BYTES_MAX);
            Outcome::Failed {
                kind: FailureKind::Peer,
                status: None,
                retry_after_secs: None,
                reason,
            }
        }
    };
    let cost = Cost {
        first_byte_millis: None,
        requests: fetcher.requests(),
        bytes_fetched: fetcher.bytes_fetched(),
        bytes_plain: 0,
        millis: u64::try_from((clock::now() - began).as_millis()).unwrap_or(u64::MAX),
    };
    Some((outcome, cost))
}

fn follow(
    source: &Source,
    origin: Option<&Origin>,
    fetcher: &Fetcher,
    sink: &mut dyn Sink,
    from: &Uri,
) -> Result<Option<Outcome>, String> {
    let wrong = |cause: SinkError| cause.to_string();
    let url = format!("{}{PATH}{}", from.to_string().trim_end_matches('/'), source.slug);
    let known_head = origin.map(|origin| format!("\"{}\"", origin.head));
    let (page, mut rows) = match page(fetcher, &url, known_head)? {
        CopyAsked::Is(page, rows) => (page, rows),
        CopyAsked::Missing => return Ok(None),
        CopyAsked::Same => {
            let origin = origin.ok_or("it says that nothing changed, and nothing is known here")?;
            return Ok(Some(Outcome::Unchanged { origin: origin.clone(), facts: None }));
        }
    };
    let is_same = |theirs: &Source| {
        let of = |it: &Source| Uri::parse(&it.release_dir()).map(|uri| uri.normal());
        of(theirs).is_ok() && of(theirs) == of(source) && theirs.index_path() == source.index_path()
    };
    if !is_same(&page.source) {
        return Err(format!("it means {} by that slug", page.source.uri));
    }
    let CopyPage { origin: found, facts, next: mut after, .. } = *page;
    let mut known = KnownDigests::new(sink.known().map_err(wrong)?.unwrap_or_default());
    let (mut counts, mut amounts) = (Counts::default(), BTreeMap::new());
    let mut scratch = Vec::new();
    for pages in 0.. {
        for CopyRow { row, amount } in std::mem::take(&mut rows) {
            counts.packages += 1;
            if let Some(amount) = amount {
                amounts.insert(row.package_id.clone(), amount);
            }
            if known.see(&row.digest(&mut scratch)) {
                counts.known += 1;
                continue;
            }
            counts.put += 1;
            sink.put(&row.map(Cow::Owned)).map_err(wrong)?;
        }
        fetcher.rest();
        let Some(id) = after.take() else { break };
        if pages == PAGES_MAX {
            return Err(format!("more than {PAGES_MAX} pages"));
        }
        let CopyAsked::Is(page, more) = self::page(fetcher, &format!("{url}?after={id}"), None)?
        else {
            return Err("it was gone while it was read".to_owned());
        };
        if page.origin != found {
            return Err("it changed while it was read".to_owned());
        }
        (after, rows) = (page.next, more);
    }
    if !amounts.is_empty() {
        let price = |(package_id, price)| Price { package_id, price };
        sink.prices(amounts.into_iter().map(price).collect()).map_err(wrong)?;
    }
    let dropped = known.unseen();
    counts.dropped = dropped.len() as u64;
    if !dropped.is_empty() {
        sink.dropped(&dropped).map_err(wrong)?;
    }
    sink.flush().map_err(wrong)?;
    Ok(Some(Outcome::Indexed { origin: found, facts, counts }))
}

/// What asking for a page came to.
enum CopyAsked {
    Is(Box<CopyPage>, Vec<CopyRow>),
    Missing,
    /// It is still of the known head.
    Same,
}

/// Asks for a page, unless it is of the `known` head.
fn page(fetcher: &Fetcher, url: &str, known: Option<String>) -> Result<CopyAsked, String> {
    let validators = Validators { etag: known, last_modified: None };
    let failed = |cause: FetchError| cause.to_string();
    let mut body =
        match fetcher.get(url, &validators, PAGE_BYTES_MAX, Algorithm::Sha256).map_err(failed)? {
            FetchAnswer::Found(body) => body,
            FetchAnswer::NotModified => return Ok(CopyAsked::Same),
            FetchAnswer::Gone | FetchAnswer::Missing => return Ok(CopyAsked::Missing),
        };
    let mut text = String::new();
    body.read_to_string(&mut text).map_err(|cause| cause.to_string())?;
    let mut lines = text.lines();
    let first: CopyPage = line(lines.next().unwrap_or_default())?;
    let rows = lines.map(|text| {
        let row: CopyRow = line(text)?;
        row.row.check().map_err(|cause| cause.to_string())?;
        Ok(row)
    });
    Ok(CopyAsked::Is(Box::new(first), rows.collect::<Result<_, String>>()?))
}
