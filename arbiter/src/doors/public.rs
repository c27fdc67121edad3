//! The public listener: what anybody may see of the arbiter, and announcements. Plain HTTP/1.1, to
//! stand behind a reverse proxy.
//!
//! | method and path | answer |
//! | --- | --- |
//! | `GET /` | what the network does, and its sources: see `wish.rs` |
//! | `GET /status.json` | the same for programs |
//! | `GET /sources.json` | sources, heads and blocks for other arbiters: see [`exchange`](crate::rules::exchange) |
//! | `GET /peers.json` | what peers did that agree to be shown |
//! | `GET /health` | 200 or 503, and a line why |
//! | `GET /metrics` | Prometheus' text format |
//! | `GET /changes?after=CURSOR` | NDJSON: rows of the catalogue that changed or are gone since; 400, 410 begin again, 503 |
//! | `GET /source/SLUG` | the page of a source; `.json` for programs, `.atom` a feed of what was published |
//! | `GET /ipni/v1/ad/head`, `GET /ipni/v1/ad/CID` | the signed head and the blocks of what is published by IPNI: see [`advertisement`](crate::rules::advertisement); 204, 304, 404 |
//! | `GET /copy/SLUG` | the rows of a source and what they come from, for who follows the network: see [`copy`]; 304, 404 |
//! | `GET /feed.atom` | the same feed of all sources |
//! | `GET /request/ID` | whether a request with this header `Canister-Request` was the network's: JSON, or 404 |
//! | `GET /announced/MILLIS/SLUG` | what became of an announcement: where its answer's Location leads; JSON, or 404 |
//! | `POST /join` | 200, 202, 401, 403 or 428 with [`JoinAnswer`] as JSON; 400, 408, 413, 429 with Retry-After, 503; a line why |
//! | `POST` or `PUT /announce` | 204 taken or known, with Location, 400, 403, 408, 413, 415, 429 with Retry-After, 503; a line why |
//!
//! Strangers come here, so everything is bounded: connections, the time and the bytes of a request,
//! how often the store is asked. No page names a peer that doesn't agree, or an address.

mod chart;
mod metrics;
mod overview;
mod page;
mod process;
mod programs;
mod snapshot;
mod source;
mod wish;

use crate::deeds::announce::{Announcements, Refusal, Taken, UNNAMED};
use crate::deeds::join::{JoinRefusal, Joins};
use crate::doors::entrance::{Entrance, Visit};
use crate::hub::Hub;
use crate::hub::store_thread::{PUBLIC_MAX, Silence};
use crate::rules::advertisement::PublisherKey;
use crate::rules::announcement::{self, BODY_BYTES_MAX, HOPS_HEADER, Unreadable};
use crate::rules::fate::fate;
use crate::rules::feed::FeedCursor;
use crate::rules::policy::Announcer;
use crate::rules::proxies::TrustedProxies;
use crate::rules::timestamp::Timestamp;
use crate::store::{ATTEMPTS_KEPT, Store, StoreError};
use canister_protocol::codec::encode;
use canister_protocol::copy;
use canister_protocol::join::{self, JoinAnswer};
use canister_protocol::limits::APPLICATION_BYTES_MAX;
use http_body_util::{BodyExt as _, Either, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Body as _, Bytes, Frame, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use log::{debug, error};
use overview::{SOURCES, overview};
use programs::Listing;
use serde::Serialize;
use smol::Timer;
use smol::future::FutureExt as _;
use smol::lock::Mutex;
use smol::net::{TcpListener, TcpStream};
use smol::stream::{self, Stream, StreamExt as _};
use smol_hyper::rt::{FuturesIo, SmolTimer};
use snapshot::{READ_LINES, Shown, Snapshots, told_after};
use source::SourceSeen;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use wish::{Sought, Wish, Wished};

/// Longest head of a request in bytes, and most that is read ahead of it. hyper has no less.
const HEAD_BYTES_MAX: usize = 8192;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// How long a client may take to send a request's head, also the next one of a connection.
const HEAD_MAX: Duration = Duration::from_secs(15);
/// How long it may take to send a body.
const BODY_MAX: Duration = Duration::from_secs(15);
/// How long a connection may last, busy or not: what it does then is finished, and no more begun.
const CONNECTION_MAX: Duration = Duration::from_secs(120);
/// How long that last answer may take to be read.
const LAST_MAX: Duration = Duration::from_secs(30);

/// How long all sources are looked at for a wish: a million take some seconds.
const FIND_MAX: Duration = Duration::from_secs(60);

/// How long the store may take for the next of many sources, once the first are sent.
const LISTED_MAX: Duration = Duration::from_secs(60);

/// When to come back while the store fails or is silent.
const TROUBLE_FOR: Duration = Duration::from_secs(30);
/// When to come back while too many discoveries wait: the operator decides on them.
const FULL_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Below this path is what is published by IPNI.
const PUBLISHED: &str = "/ipni/v1/ad/";

type HttpAnswer = Response<HttpBody>;
type HttpBody = Either<Full<Bytes>, StreamBody<Pieces>>;
/// A body that is read from the store while it is sent.
type Pieces = Pin<Box<dyn Stream<Item = io::Result<Frame<Bytes>>>>>;

/// What the connections share.
struct Public {
    hub: Rc<Hub>,
    announcements: Rc<Announcements>,
    joins: Joins,
    proxies: TrustedProxies,
    snapshots: Rc<Snapshots>,
    /// The key that heads are published by, if they are.
    publisher: Option<Arc<PublisherKey>>,
    /// Whose turn it is to read something of the store.
    reading: Mutex<()>,
    /// Whose turn it is to have all sources looked at.
    finding: Mutex<()>,
    /// The value of Content-Security-Policy: no script, no foreign resource, this one style sheet, forms that ask this listener.
    policy: HeaderValue,
}

/// Serves whoever comes, for ever.
pub async fn accept(
    (hub, announcements, joins): (Rc<Hub>, Rc<Announcements>, Joins),
    listener: TcpListener,
    proxies: TrustedProxies,
    (most, publisher): (usize, Option<Arc<PublisherKey>>),
) {
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'",
        page::style_digest()
    );
    let entrance = Entrance::new("public", most, proxies.clone());
    let public = Rc::new(Public {
        hub: Rc::clone(&hub),
        announcements,
        joins,
        proxies,
        snapshots: Rc::default(),
        reading: Mutex::new(()),
        finding: Mutex::new(()),
        publisher,
        policy: HeaderValue::try_from(policy).expect("base64 and constants are visible ASCII"),
    });
    hub.spawn(Rc::clone(&public.snapshots).keep(Rc::clone(&hub)));
    let serve = move |stream, address, visit| serve(Rc::clone(&public), stream, address, visit);
    entrance.accept(hub, listener, serve).await;
}

async fn serve(public: Rc<Public>, stream: TcpStream, address: SocketAddr, visit: Visit) {
    let service = service_fn(|request| async {
        visit.speaks(true);
        let answer = public.answer(request, address).await;
        visit.speaks(false);
        Ok::<_, Infallible>(answer)
    });
    let connection = http1::Builder::new()
        .timer(SmolTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(FuturesIo::new(stream), service);
    let mut connection = pin!(connection);
    let over = async { Some(connection.as_mut().await) }
        .or(async {
            Timer::after(CONNECTION_MAX).await;
            None
        })
        .await;
    let over = match over {
        Some(over) => over,
        None => {
            connection.as_mut().graceful_shutdown();
            let last = async { connection.as_mut().await };
            last.or(async {
                Timer::after(LAST_MAX).await;
                Ok(())
            })
            .await
        }
    };
    if let Err(cause) = over {
        debug!(cause:%; "a public connection failed");
    }
}

impl Public {
    async fn answer(
        self: &Rc<Self>,
        request: Request<Incoming>,
        address: SocketAddr,
    ) -> HttpAnswer {
        let path = request.uri().path();
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let mut answer = match (path, is_read) {
            ("/", true) => self.overview(request.uri().query().unwrap_or_default()).await,
            ("/status.json", true) => self.listing(programs::status).await,
            ("/sources.json", true) => self.listing(programs::sources).await,
            ("/peers.json", true) => match self.snapshots.latest(&self.hub).await {
                Ok(seen) => sent(programs::peers(&seen)),
                Err(silence) => troubled(&silence.for_everybody()),
            },
            ("/metrics", true) => self.metrics().await,
            ("/health", true) => self.health().await,
            ("/changes", true) => self.changes(request.uri().query()).await,
            ("/feed.atom", true) => self.feed(None).await,
            (path, true) if path.starts_with(PUBLISHED) => self.published(&request).await,
            (path, true) if path.starts_with(copy::PATH) => self.copy(&request).await,
            (path, true) if path.starts_with("/source/") => self.source(path).await,
            (path, true) if path.starts_with("/request/") => self.request(path).await,
            (path, true) if path.starts_with("/announced/") => self.announced(path).await,
            ("/announce", _) => match *request.method() {
                Method::POST | Method::PUT => self.announce(request, address).await,
                _ => not_allowed("POST, PUT"),
            },
            (join::PATH, _) => match *request.method() {
                Method::POST => self.join(request, address).await,
                _ => not_allowed("POST"),
            },
            (
                "/" | "/status.json" | "/sources.json" | "/peers.json" | "/metrics" | "/health"
                | "/changes",
                false,
            ) => not_allowed("GET, HEAD"),
            _ => line(StatusCode::NOT_FOUND, "there is no such page; / is the first"),
        };
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        for (name, value) in [
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::REFERRER_POLICY, "no-referrer"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if !headers.contains_key(header::CACHE_CONTROL) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        answer
    }

    /// The first page. Where only the store knows which sources are wished for, the rest is sent before it is asked.
    async fn overview(self: &Rc<Self>, query: &str) -> HttpAnswer {
        let wish = Wish::read(query);
        let seen = match self.snapshots.latest(&self.hub).await {
            Ok(seen) => seen,
            Err(silence) => return troubled(&silence.for_everybody()),
        };
        if let Some(wished) = seen.snapshot.wished(&wish) {
            return sent(overview(&seen, &wish, Some(&wished)));
        }
        let page = overview(&seen, &wish, None);
        let (before, after) = page.text.split_once(SOURCES).unwrap_or((&page.text, ""));
        let (before, after) = (before.to_owned(), after.to_owned());
        let (public, now) = (Rc::clone(self), seen.snapshot.now);
        let rest = async move {
            let found = match public.find(&wish, now).await {
                Ok(wished) => overview::found(&wished, &wish, now),
                Err(why) => overview::not_found(&why),
            };
            Ok(found.into_string() + &after)
        };
        let pieces = stream::once(Ok(before)).chain(stream::once_future(rest));
        streamed(page.media_type, page.is_for_all, pieces)
    }

    /// What is wished for of all sources, which go by; else why it isn't known. One wish is looked for at a time.
    async fn find(&self, wish: &Wish, now: Timestamp) -> Result<Wished, String> {
        let _turn = self.finding.lock().await;
        let see = |store: &mut Store, sought: &mut Sought, after: &str| {
            let (lines, next) = store.lines_after(after, READ_LINES)?;
            lines.iter().for_each(|line| sought.see(line));
            Ok(next)
        };
        let sought = self.hub.store.in_parts(Sought::new(wish.clone(), now), see);
        let found = self.hub.store.unless_troubled(FIND_MAX, sought).await;
        answered(found).map(Sought::found)
    }

    /// What programs are told of all sources: of what is kept, or as it is read from the store.
    async fn listing(self: &Rc<Self>, of: impl FnOnce(&Shown) -> Listing) -> HttpAnswer {
        let seen = match self.snapshots.latest(&self.hub).await {
            Ok(seen) => seen,
            Err(silence) => return troubled(&silence.for_everybody()),
        };
        let mut listing = of(&seen);
        if let Some(kept) = &seen.snapshot.sources {
            return sent(page::Page {
                media_type: programs::JSON,
                text: listing.piece(kept, true),
                is_for_all: true,
            });
        }
        let begun = (Rc::clone(self), listing, Some(String::new()));
        let mut pieces = Box::pin(stream::try_unfold(begun, |(public, mut listing, next)| async {
            let Some(after) = next else { return Ok(None) };
            let is_first = after.is_empty();
            let look = move |store: &mut Store| told_after(store, &after);
            let page = match is_first {
                true => public.looked_up(look).await,
                // What is begun is worth a wait.
                false => {
                    let store = &public.hub.store;
                    answered(store.in_time(LISTED_MAX, store.call(look)).await)
                }
            };
            let (states, next) = page.map_err(io::Error::other)?;
            let piece = listing.piece(&states, next.is_none());
            Ok::<_, io::Error>(Some((piece, (public, listing, next))))
        }));
        // Whether the store answers is known before it is said that all is well.
        match pieces.next().await {
            Some(Err(why)) => troubled(&why.to_string()),
            first => streamed(programs::JSON, true, stream::iter(first).chain(pieces)),
        }
    }

    /// Whoever watches is answered, whether there is a store or not.
    async fn metrics(&self) -> HttpAnswer {
        let seen = self.snapshots.latest(&self.hub).await.ok();
        sent(metrics::text(&self.hub, seen.as_ref()))
    }

    async fn health(&self) -> HttpAnswer {
        if self.hub.is_full.get() {
            let why = "the arbiter's disk is full: nothing is indexed until there is room";
            return troubled(why);
        }
        match self.snapshots.latest(&self.hub).await {
            Ok(shown @ Shown { trouble: None, .. }) => {
                line(StatusCode::OK, &format!("ok: {}", shown.line()))
            }
            Ok(Shown { trouble: Some(silence), .. }) | Err(silence) => {
                troubled(&silence.for_everybody())
            }
        }
    }

    /// A page of the change feed. One is read at a time.
    async fn changes(&self, query: Option<&str>) -> HttpAnswer {
        let after = match query {
            None => Ok(FeedCursor::Begin),
            Some(query) => match query.strip_prefix("after=") {
                Some(after) => after.replace("%3A", ":").parse(),
                None => Err("use ?after=CURSOR"),
            },
        };
        let after = match after {
            Ok(after) => after,
            Err(why) => return line(StatusCode::BAD_REQUEST, why),
        };
        let page = match self.looked_up(move |store| store.changes(&after)).await {
            Ok(Some(page)) => page,
            Ok(None) => {
                let why = "what is missing is deleted already: begin again with after=0";
                return line(StatusCode::GONE, why);
            }
            Err(why) => return troubled(&why),
        };
        let mut text = String::new();
        for line in &page.lines {
            text += &serde_json::to_string(line).expect("texts and numbers are always JSON");
            text.push('\n');
        }
        let next = serde_json::json!({ "next": page.next.to_string(), "more": page.more });
        text += &format!("{next}\n");
        let mut answer = Response::new(whole(text));
        let headers = answer.headers_mut();
        let ndjson = HeaderValue::from_static("application/x-ndjson");
        headers.insert(header::CONTENT_TYPE, ndjson);
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        answer
    }

    /// Something that is read from the store for whoever asks, one at a time; else why it isn't.
    async fn looked_up<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, String> {
        let read = async {
            let _turn = self.reading.lock().await;
            self.hub.store.call(look).await
        };
        answered(self.hub.store.unless_troubled(PUBLIC_MAX, read).await)
    }

    /// What was published, of one source or of all.
    async fn feed(&self, slug: Option<String>) -> HttpAnswer {
        let now = self.hub.now();
        let of = slug.clone();
        let found = self.looked_up(move |store| store.publications(of.as_deref(), source::FEED));
        match found.await {
            Ok(found) => sent(source::feed(slug.as_deref(), &found, now)),
            Err(why) => troubled(&why),
        }
    }

    /// A page of a source's rows, for who follows the network.
    async fn copy(&self, request: &Request<Incoming>) -> HttpAnswer {
        let slug = request.uri().path().strip_prefix(copy::PATH).unwrap_or_default().to_owned();
        let query = request.uri().query().unwrap_or_default();
        let after = query.strip_prefix("after=").unwrap_or_default().to_owned();
        let is_first = after.is_empty();
        let (page, rows) = match self.looked_up(move |store| store.copy(&slug, &after)).await {
            Ok(Some(found)) => found,
            Ok(None) => return line(StatusCode::NOT_FOUND, "nothing of such a source is shown"),
            Err(why) => return troubled(&why),
        };
        let tag = format!("\"{}\"", page.origin.head);
        let known = request.headers().get(header::IF_NONE_MATCH);
        let is_known = is_first && known.is_some_and(|known| known.as_bytes() == tag.as_bytes());
        let mut answer = if is_known {
            line_less(StatusCode::NOT_MODIFIED)
        } else {
            let text = copy::text(&page, &rows);
            sent(page::Page { media_type: "application/x-ndjson", text, is_for_all: true })
        };
        answer.headers_mut().extend(HeaderValue::try_from(tag).ok().map(|tag| (header::ETAG, tag)));
        answer
    }

    /// What those ask for who follow by IPNI: the signed head, or a block by its Cid.
    ///
    /// Spec: ipni/specs, IPNI_HTTP_PROVIDER.md.
    async fn published(&self, request: &Request<Incoming>) -> HttpAnswer {
        let asked = request.uri().path().strip_prefix(PUBLISHED).unwrap_or_default().to_owned();
        let Some(key) = &self.publisher else {
            return line(StatusCode::NOT_FOUND, "this network publishes nothing by IPNI");
        };
        let (text, tag, control) = if asked == "head" {
            match self.looked_up(|store| store.newest_advertisement()).await {
                Ok(Some(cid)) => (key.head(&cid), cid, "no-cache"),
                Ok(None) => return line_less(StatusCode::NO_CONTENT),
                Err(why) => return troubled(&why),
            }
        } else {
            let cid = asked.clone();
            match self.looked_up(move |store| store.block(&cid)).await {
                Ok(Some(text)) => (text, asked, "public, max-age=29030400, immutable"),
                Ok(None) => return line(StatusCode::NOT_FOUND, "there is no such block"),
                Err(why) => return troubled(&why),
            }
        };
        let tag = format!("\"{tag}\"");
        let known = request.headers().get(header::IF_NONE_MATCH);
        let mut answer = match known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
            true => line_less(StatusCode::NOT_MODIFIED),
            false => sent(page::Page { media_type: "application/json", text, is_for_all: true }),
        };
        let headers = answer.headers_mut();
        headers.extend(HeaderValue::try_from(tag).ok().map(|tag| (header::ETAG, tag)));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(control));
        answer
    }

    /// The page of a source, and what programs get of it.
    async fn source(&self, path: &str) -> HttpAnswer {
        let named = path.strip_prefix("/source/").unwrap_or_default();
        if let Some(slug) = named.strip_suffix(".atom") {
            return self.feed(Some(slug.to_owned())).await;
        }
        let is_json = named.ends_with(".json");
        let slug = named.strip_suffix(".json").unwrap_or(named).to_owned();
        let now = self.hub.now();
        let of = slug.clone();
        let seen = self.looked_up(move |store| {
            let Some(state) = store.source(&of)? else { return Ok(None) };
            let attempts = store.attempts(&of, source::ATTEMPTS)?;
            let days = store.days_of(&of, source::first_day(now))?;
            Ok(Some(SourceSeen { state, attempts, days, now, trouble: None }))
        });
        let seen = match seen.await {
            Err(why) => match self.snapshots.source(&slug) {
                Some((state, now)) => {
                    let (attempts, days) = (Vec::new(), Vec::new());
                    Ok(Some(SourceSeen { state, attempts, days, now, trouble: Some(why) }))
                }
                None => Err(why),
            },
            seen => seen,
        };
        match seen {
            Ok(Some(seen)) if is_json => told(&seen.json()),
            Ok(Some(seen)) => sent(seen.html()),
            Ok(None) => line(StatusCode::NOT_FOUND, "there is no such source; / has them all"),
            Err(why) => troubled(&why),
        }
    }

    /// Whether a request was the network's, by the header that it carried.
    async fn request(&self, path: &str) -> HttpAnswer {
        let id = path.strip_prefix("/request/").unwrap_or_default().to_owned();
        match self.looked_up(move |store| store.asked_by(&id)).await {
            Ok(Some(lease)) => told(&lease),
            Ok(None) => {
                let why = "that was not this network, or too long ago to be known";
                line(StatusCode::NOT_FOUND, why)
            }
            Err(why) => troubled(&why),
        }
    }

    /// What became of an announcement of a source at a moment: nothing is kept for it.
    async fn announced(&self, path: &str) -> HttpAnswer {
        let named = path.strip_prefix("/announced/").and_then(|rest| rest.split_once('/'));
        let named = named.and_then(|(at, slug)| Some((at.parse().ok()?, slug.to_owned())));
        let Some((at, slug)): Option<(u64, String)> = named else {
            return line(StatusCode::NOT_FOUND, "use what the answer to an announcement named");
        };
        let found = self.looked_up(move |store| {
            let state = store.source(&slug)?;
            Ok((state, store.attempts(&slug, ATTEMPTS_KEPT as usize)?))
        });
        match found.await {
            Ok((Some(state), attempts)) => {
                told(&fate(&state, &attempts, Timestamp::from_millis(at)))
            }
            Ok((None, _)) => line(StatusCode::NOT_FOUND, "there is no such source"),
            Err(why) => troubled(&why),
        }
    }

    /// Answers an applicant.
    async fn join(&self, request: Request<Incoming>, address: SocketAddr) -> HttpAnswer {
        let from = self.proxies.client(address.ip(), request.headers());
        if let Err(why) = self.joins.may_ask(from) {
            return not_joined(&why);
        }
        let body = match body(request.into_body(), APPLICATION_BYTES_MAX).await {
            Ok(body) => body,
            Err(why) => return *why,
        };
        let said = match self.joins.take(&body, from).await {
            Ok(said) => said,
            Err(why) => return not_joined(&why),
        };
        let mut answer = Response::new(whole(encode(&said)));
        *answer.status_mut() = match said {
            JoinAnswer::Admitted { .. } => StatusCode::OK,
            JoinAnswer::Refused { .. } => StatusCode::FORBIDDEN,
            JoinAnswer::Token {} => StatusCode::UNAUTHORIZED,
            JoinAnswer::Waiting { .. } => StatusCode::ACCEPTED,
            JoinAnswer::Work { .. } => StatusCode::PRECONDITION_REQUIRED,
        };
        let json = HeaderValue::from_static("application/json");
        answer.headers_mut().insert(header::CONTENT_TYPE, json);
        answer
    }

    async fn announce(&self, request: Request<Incoming>, address: SocketAddr) -> HttpAnswer {
        let counted = |answer: HttpAnswer| {
            self.hub.metrics.announced(answer.status().as_u16());
            answer
        };
        if let Some(silence) = self.hub.store.trouble() {
            return counted(refusal(&Refusal::Silent(silence)));
        }
        let now = self.hub.now();
        let announcer = Announcer::Address(self.proxies.client(address.ip(), request.headers()));
        if let Err(why) = self.announcements.admit(&announcer, now) {
            return counted(refusal(&why));
        }
        let media_type = request.headers().get(header::CONTENT_TYPE);
        let media_type =
            media_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let hops = request.headers().get(HOPS_HEADER);
        let hops =
            hops.map(|it| it.to_str().ok().and_then(|it| it.parse().ok()).unwrap_or(u8::MAX));
        let body = match body(request.into_body(), BODY_BYTES_MAX).await {
            Ok(body) => body,
            Err(answer) => return counted(*answer),
        };
        let mut announcement = match announcement::read(media_type.as_deref(), &body) {
            Ok(announcement) => announcement,
            Err(why) => {
                let status = match why {
                    Unreadable::Malformed(_) => StatusCode::BAD_REQUEST,
                    Unreadable::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    Unreadable::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
                };
                return counted(line(status, &why.to_string()));
            }
        };
        announcement.passed.hops = hops.unwrap_or_default();
        let taken = self.announcements.take(Some(announcer), announcement).await;
        counted(match taken {
            Ok(Taken::Discovered(slug)) => taken_in(&slug, now),
            Ok(Taken::Due(slugs) | Taken::Known(slugs)) => taken_in(&slugs[0], now),
            Ok(Taken::Unnamed(slugs)) => {
                let mut answer =
                    line(StatusCode::ACCEPTED, &format!("taken as anybody's: {UNNAMED}, yet"));
                answer.headers_mut().extend(taken_in(&slugs[0], now).into_parts().0.headers);
                answer
            }
            Err(why) => refusal(&why),
        })
    }
}

/// What the store answered; else why there is nothing, for everybody.
fn answered<T>(answer: Result<Result<T, StoreError>, Silence>) -> Result<T, String> {
    match answer {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(cause)) => {
            error!(cause:%; "the store failed; what was asked for can't be read");
            Err("the arbiter's store fails; its log says why".to_owned())
        }
        Err(silence) => Err(silence.for_everybody()),
    }
}

/// That an announcement was taken, and where it can be read what became of it.
fn taken_in(slug: &str, now: Timestamp) -> HttpAnswer {
    let mut answer = Response::new(whole(""));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let location = HeaderValue::try_from(format!("/announced/{}/{slug}", now.millis()));
    answer.headers_mut().extend(location.ok().map(|it| (header::LOCATION, it)));
    answer
}

/// That an application isn't taken.
fn not_joined(why: &JoinRefusal) -> HttpAnswer {
    let (status, wait) = match why {
        JoinRefusal::Closed => (StatusCode::FORBIDDEN, None),
        JoinRefusal::Malformed(_) => (StatusCode::BAD_REQUEST, None),
        JoinRefusal::Silent(_) | JoinRefusal::Store(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, Some(TROUBLE_FOR))
        }
        JoinRefusal::TooOften(wait) => (StatusCode::TOO_MANY_REQUESTS, Some(*wait)),
    };
    let mut answer = line(status, &why.to_string());
    if let Some(wait) = wait {
        come_back(&mut answer, wait);
    }
    answer
}

/// The whole body, if it is short and comes in time; else the answer.
async fn body(body: Incoming, most: usize) -> Result<Bytes, Box<HttpAnswer>> {
    let too_long = || {
        let why = format!("the body is too long: at most {most} bytes are read");
        let mut answer = line(StatusCode::PAYLOAD_TOO_LARGE, &why);
        // The rest is not read.
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(header::CONNECTION, close);
        Box::new(answer)
    };
    if body.size_hint().lower() > most as u64 {
        return Err(too_long());
    }
    let read = Limited::new(body, most).collect();
    let read = async { Some(read.await) }.or(async {
        Timer::after(BODY_MAX).await;
        None
    });
    match read.await {
        Some(Ok(read)) => Ok(read.to_bytes()),
        Some(Err(cause)) if cause.is::<LengthLimitError>() => Err(too_long()),
        Some(Err(_)) => Err(Box::new(line(StatusCode::BAD_REQUEST, "the body is cut off"))),
        None => Err(Box::new(line(StatusCode::REQUEST_TIMEOUT, "the body didn't come in time"))),
    }
}

fn refusal(why: &Refusal) -> HttpAnswer {
    let status = match why {
        Refusal::Policy(_) => StatusCode::FORBIDDEN,
        Refusal::Store(cause) => {
            error!(cause:%; "couldn't take in an announcement");
            StatusCode::SERVICE_UNAVAILABLE
        }
        Refusal::Silent(_) => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::TooOften(_) | Refusal::Full => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Unknown(_) => StatusCode::BAD_REQUEST,
    };
    let mut answer = line(status, &why.to_string());
    let wait = match why {
        Refusal::TooOften(wait) => Some(*wait),
        Refusal::Full => Some(FULL_FOR),
        Refusal::Silent(_) | Refusal::Store(_) => Some(TROUBLE_FOR),
        _ => None,
    };
    if let Some(wait) = wait {
        come_back(&mut answer, wait);
    }
    answer
}

/// Says when to ask again.
fn come_back(answer: &mut HttpAnswer, wait: Duration) {
    let secs = wait.as_millis().div_ceil(1000) as u64;
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
}

/// That the store fails or is silent.
fn troubled(why: &str) -> HttpAnswer {
    let mut answer = line(StatusCode::SERVICE_UNAVAILABLE, why);
    come_back(&mut answer, TROUBLE_FOR);
    answer
}

fn sent(page: page::Page) -> HttpAnswer {
    let page::Page { media_type, text, is_for_all } = page;
    typed(media_type, is_for_all, whole(text))
}

/// An answer of pieces, each read when those before it are sent. One that fails cuts it off.
fn streamed(
    media_type: &'static str,
    is_for_all: bool,
    pieces: impl Stream<Item = io::Result<String>> + 'static,
) -> HttpAnswer {
    let pieces = pieces.map(|piece| Ok(Frame::data(Bytes::from(piece?))));
    let pieces: Pieces = Box::pin(pieces);
    typed(media_type, is_for_all, Either::Right(StreamBody::new(pieces)))
}

/// A body that is there.
fn whole(text: impl Into<Bytes>) -> HttpBody {
    Either::Left(Full::new(text.into()))
}

fn typed(media_type: &'static str, is_for_all: bool, body: HttpBody) -> HttpAnswer {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    if is_for_all {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    answer
}

/// As JSON, which scripts of other sites may read.
fn told(what: &impl Serialize) -> HttpAnswer {
    let text = serde_json::to_string(what).expect("texts and numbers are always JSON") + "\n";
    sent(page::Page { media_type: "application/json", text, is_for_all: true })
}

fn not_allowed(methods: &'static str) -> HttpAnswer {
    let mut answer = line(StatusCode::METHOD_NOT_ALLOWED, &format!("here work: {methods}"));
    let headers = answer.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(methods));
    answer
}

/// An answer of nothing.
fn line_less(status: StatusCode) -> HttpAnswer {
    let mut answer = Response::new(whole(""));
    *answer.status_mut() = status;
    answer
}

/// An answer of one line.
fn line(status: StatusCode, text: &str) -> HttpAnswer {
    let mut answer = Response::new(whole(format!("{text}\n")));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    answer
}
