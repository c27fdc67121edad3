//! One download: capped, conditional, timed, hashed while it is read, and only from where the
//! agent may go.
//!
//! Redirects are followed here and not by ureq, so that each is counted as the request it is and
//! none leads from https to http. Through a proxy of the environment's, too, only the public internet
//! is asked for: the names are looked up here, and those that only the proxy finds are its own
//! affair.

use crate::apt::release::{Algorithm, FileDigest, date};
use crate::home::Home;
use crate::ledger::Ledger;
use crate::memory::{Memory, MemoryError, Room};
use crate::slots::{Slot, Slots};
use crate::throttle::Throttle;
use canister_link::clock;
use canister_link::dial::REMEMBERED;
use canister_link::dial::proxy::Proxies;
use canister_link::dial::web;
use canister_link::meter::{Capped, Meter};
use canister_link::refusal;
use canister_link::roots;
use canister_protocol::address::is_public;
use canister_protocol::limits::{LEASE_BYTES, LOOK_REQUESTS_MAX, NAME_BYTES_MAX};
use canister_protocol::message::{FailureKind, REQUEST_HEADER};
use canister_protocol::validators::{http_date, is_etag};
use canister_protocol::{Uri, Veto};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use ureq::config::Config;
use ureq::http::{self, HeaderMap, header};
use ureq::tls::RootCerts;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Most redirects that are followed for one file ...
const REDIRECTS_MAX: u32 = 5;
/// ... and of how many files of a lease; then a redirect of another isn't followed.
const ASTRAY_MAX: u32 = 2;
/// How long a name look-up or a connection may take, unless a lease says otherwise.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(15);
/// How long looking a name up may take that a proxy will look up again.
const PROXIED_LOOK_UP_MAX: Duration = Duration::from_secs(1);
/// Most hosts of which it is remembered that no name server answered.
const SILENT_HOSTS_MAX: usize = 1024;
/// How long a server may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long one file may take in all.
const FILE_MAX: Duration = Duration::from_secs(30 * 60);
/// How long one lease may ask its servers: well before it ends whatever is renewed.
const LEASE_MAX: Duration = Duration::from_secs(40 * 60);
/// A body that is slower than this, in bytes a second, is given up ...
const RATE_MIN: u64 = 1024;
/// ... once it has had this long to get going.
const RATE_AFTER: Duration = Duration::from_secs(60);
/// How soon a pause ends once the lease is over.
const PAUSE_STEP: Duration = Duration::from_millis(50);
/// Most bytes of an answer that nobody wants which are read, so that its connection can be used
/// again ...
const UNWANTED_BYTES_MAX: u64 = 64 * 1024;
/// ... and how long that may take before the next read.
const UNWANTED_MAX: Duration = Duration::from_secs(2);
/// Longest `Retry-After` of a 503 that is waited for within the lease.
const REPEAT_AFTER_MAX: Duration = Duration::from_secs(10);
/// Longest time that a server's word on how long its answer may be kept is good for, in seconds: many say
/// a year of all their files.
const MAX_AGE_MAX: u32 = 24 * 60 * 60;
/// Longest name of a Content-Encoding that is looked at, in bytes.
const ENCODING_BYTES_MAX: usize = 32;
/// The ports of web servers. What answers at another isn't meant for strangers, mostly.
const WEB_PORTS: [u16; 2] = [80, 443];
/// Most connections that are kept open for the next request.
const IDLE_CONNECTIONS: usize = 4;

/// The User-Agent header: who asks, and where to read about it and complain.
pub const USER_AGENT: &str = concat!(
    "canister-agent/",
    env!("CARGO_PKG_VERSION"),
    " (+",
    env!("CARGO_PKG_REPOSITORY"),
    "/blob/main/docs/owners.md)"
);

/// How sources are fetched.
#[derive(Debug, Clone)]
pub struct FetchConfig {
    /// Whether addresses that aren't on the public internet may be connected to.
    pub allow_private: bool,
    /// The User-Agent header; [`USER_AGENT`].
    pub user_agent: String,
    /// What is never asked.
    pub never: Arc<Veto>,
    /// What counts and bounds all of it, where something does.
    pub ledger: Option<Arc<Ledger>>,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            allow_private: false,
            user_agent: USER_AGENT.to_owned(),
            never: Arc::default(),
            ledger: None,
        }
    }
}

/// How much one lease may ask of servers.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Least time from one answer to the next request.
    pub pause: Duration,
    /// Most bytes of bodies ...
    pub bytes: u64,
    /// ... and whether it is this peer's owner who allows no more.
    pub is_own: bool,
    /// How long a name look-up or a connection may take.
    pub connect: Duration,
    /// Whether it only looks if there is a repository, by [`LOOK_REQUESTS_MAX`] requests.
    pub looks: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        let (pause, connect) = (Duration::ZERO, CONNECT_MAX);
        Self { pause, bytes: LEASE_BYTES, is_own: false, connect, looks: false }
    }
}

/// What all leases fetch with: connections, TLS settings, address filter.
#[derive(Debug, Clone)]
pub struct FetchClient {
    config: FetchConfig,
    home: Arc<Home>,
    /// For http alone: it trusts no certificate.
    plain: ureq::Agent,
    /// Made when it is first asked for: reading the machine's certificates takes as long as indexing
    /// a few thousand packages.
    secure: Arc<OnceLock<ureq::Agent>>,
}

/// One lease's fetching.
#[derive(Debug)]
pub struct Fetcher {
    client: FetchClient,
    cancel: Arc<AtomicBool>,
    progress: Arc<Progress>,
    throttle: Arc<Throttle>,
    /// Where not all leases work at once.
    slot: Option<Slot>,
    requests: Cell<u64>,
    bounds: Bounds,
    began: Instant,
    answered: Cell<Option<Instant>>,
    /// How long the first request took to be answered.
    first_byte: Cell<Option<Duration>>,
    /// The status with which a server sent this lease away, and for how long.
    sent_away: Cell<Option<(u16, Option<Duration>)>>,
    /// Whether something was asked for a second time after a fault that passes.
    is_repeated: Cell<bool>,
    /// Files whose redirects led nowhere.
    astray: Cell<u32>,
    /// How long the last answer may be kept, as its server says; in seconds.
    max_age: Cell<u32>,
    headers: Vec<(String, String)>,
    /// By what lease it is asked, for whoever is.
    request: Option<String>,
    /// The port that the source list names.
    port: Option<u16>,
    /// Who runs the source's server, as the arbiter says.
    operator: Option<String>,
}

/// How far a lease is; may be looked at from another thread.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of bodies that came.
    pub bytes_fetched: AtomicU64,
    /// Bytes of the body that is coming, as its server or Release announces them; 0 if unknown.
    pub bytes_expected: AtomicU64,
    /// Stanzas that gave a row.
    pub packages: AtomicU64,
}

/// What a server says of a version of a file, to be said back to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

/// What is answered to what was posted.
#[derive(Debug)]
pub struct TellAnswer {
    pub status: u16,
    /// Where it leads to, in full.
    pub location: Option<String>,
    pub text: String,
}

/// What came of a request.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
pub enum FetchAnswer {
    /// 200, or 203 where somebody on the way says that it isn't the server itself: here it is.
    Found(Body),
    /// 410: it was there, and won't be again.
    Gone,
    /// 404.
    Missing,
    /// 304.
    NotModified,
}

/// Why there is no file.
#[derive(Debug)]
#[non_exhaustive]
pub enum FetchError {
    /// All addresses of the host are ones that the agent may not connect to.
    Address {
        host: String,
        /// One of its addresses.
        address: IpAddr,
    },
    /// The lease is over.
    Cancelled,
    /// It can't be asked for there, or the server's redirects lead nowhere.
    Redirect(String),
    /// Any status but 200, 203, 304, 404 and redirects; 410 where that is said of the whole source.
    Status {
        status: u16,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// Connecting, TLS or HTTP failed.
    Transport { kind: FailureKind, why: String },
    /// The body is longer than it may be.
    TooLong {
        /// Bytes that are allowed.
        limit: u64,
    },
    /// All bodies of the lease are more than they may be, or would be.
    TooMuch {
        /// Bytes that are allowed.
        limit: u64,
        /// Whether it is this peer's owner who allows no more.
        is_own: bool,
    },
    /// This peer's owner allows nothing more now.
    Capped(String),
    /// This peer's owner has it never ask there.
    Never(String),
    /// The body came too slowly.
    TooSlow,
    /// The lease took too long in all.
    TooLate,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { host, address } => write!(
                f,
                "{host} is at {address}, which isn't on the public internet, or is this home's own; \
                 --allow-private would allow it"
            ),
            Self::Cancelled => f.write_str("the lease is over"),
            Self::Redirect(why) => f.write_str(why),
            Self::Status { status, retry_after: None } => write!(f, "status {status}"),
            Self::Status { status, retry_after: Some(after) } => {
                write!(f, "status {status}, to be asked again after {} s", after.as_secs())
            }
            Self::Transport { why, .. } => f.write_str(why),
            Self::TooLong { limit } => write!(f, "body longer than {limit} bytes"),
            Self::TooMuch { limit, is_own: false } => {
                write!(f, "more than the {limit} bytes that one lease may fetch in all")
            }
            Self::TooMuch { limit, is_own: true } => {
                write!(f, "more than the {limit} bytes that the caps of this peer leave for it")
            }
            Self::Never(host) => write!(f, "this peer's owner has it never ask {host}"),
            Self::Capped(why) => write!(f, "this peer asks for nothing now: {why}"),
            Self::TooLate => write!(f, "longer than {} s in all", LEASE_MAX.as_secs()),
            Self::TooSlow => write!(
                f,
                "body slower than {RATE_MIN} bytes a second over {} s",
                RATE_AFTER.as_secs()
            ),
        }
    }
}

impl std::error::Error for FetchError {}

impl FetchError {
    /// Whether a server says so of what isn't there, where it says more than 404. Object stores say 403,
    /// firewalls others of a name that they don't know. What leads nowhere, or is no answer to what was
    /// asked, says nothing of other names either. 429 is a plea.
    pub const fn is_absence(&self) -> bool {
        match self {
            Self::Redirect(_) => true,
            Self::Status { status, .. } => matches!(*status, 100..=428 | 430..=499),
            _ => false,
        }
    }

    /// What the arbiter is told of it.
    pub const fn kind(&self) -> FailureKind {
        match self {
            Self::Address { .. } => FailureKind::Connect,
            Self::Cancelled
            | Self::Capped(_)
            | Self::Never(_)
            | Self::TooMuch { is_own: true, .. } => FailureKind::Peer,
            Self::Redirect(_) => FailureKind::Content,
            Self::Status { .. } => FailureKind::Status,
            Self::TooLong { .. } | Self::TooMuch { .. } => FailureKind::Limit,
            Self::TooLate | Self::TooSlow => FailureKind::Timeout,
            Self::Transport { kind, .. } => *kind,
        }
    }
}

impl FetchClient {
    /// Sets up what leases share.
    pub fn new(config: &FetchConfig) -> Self {
        let home = Arc::default();
        let plain = agent(config, &home, Vec::new().into());
        Self { config: config.clone(), home, plain, secure: Arc::default() }
    }

    /// The home that nothing is fetched from.
    pub const fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// What asks for `url`.
    fn agent(&self, url: &Uri) -> &ureq::Agent {
        if !url.is_https() {
            return &self.plain;
        }
        self.secure.get_or_init(|| agent(&self.config, &self.home, roots::of_the_machine()))
    }
}

fn agent(config: &FetchConfig, home: &Arc<Home>, trusted: RootCerts) -> ureq::Agent {
    let config_of_ureq = ureq::Agent::config_builder()
        .accept("*/*")
        // A package index is packed already, and its bytes are what Release's digests are of.
        .accept_encoding("identity")
        .http_status_as_error(false)
        .max_idle_connections(IDLE_CONNECTIONS)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .timeout_connect(Some(CONNECT_MAX))
        .timeout_global(Some(FILE_MAX))
        .timeout_per_read(Some(SILENCE_MAX))
        .timeout_recv_response(Some(SILENCE_MAX))
        .timeout_resolve(Some(CONNECT_MAX))
        .tls_config(roots::tls(trusted))
        .user_agent(&config.user_agent)
        .build();
    let proxies = Proxies::of_environment();
    let home = (!config.allow_private).then(|| Arc::clone(home));
    let never = Arc::clone(&config.never);
    let resolver = Filtered { proxies, home, never, silent: Mutex::default() };
    let meter = config.ledger.clone().map(|ledger| ledger as Arc<dyn Meter>);
    web::agent(config_of_ureq, resolver, Some(proxies), meter)
}

impl Fetcher {
    /// The fetching of one lease, which ends soon after `cancel` is set; each read of a body is a
    /// point at which `throttle` may pause it.
    pub fn new(
        client: FetchClient,
        cancel: Arc<AtomicBool>,
        progress: Arc<Progress>,
        throttle: Arc<Throttle>,
    ) -> Self {
        Self {
            client,
            cancel,
            progress,
            throttle,
            slot: None,
            requests: Cell::new(0),
            bounds: Bounds::default(),
            began: clock::now(),
            answered: Cell::new(None),
            first_byte: Cell::new(None),
            sent_away: Cell::new(None),
            is_repeated: Cell::new(false),
            astray: Cell::new(0),
            max_age: Cell::new(0),
            headers: Vec::new(),
            request: None,
            port: None,
            operator: None,
        }
    }

    /// The same, for a source of this operator.
    #[must_use]
    pub fn with_operator(self, operator: Option<String>) -> Self {
        Self { operator, ..self }
    }

    /// The same, which may ask at this port, too.
    #[must_use]
    pub fn with_port(self, port: Option<u16>) -> Self {
        Self { port, ..self }
    }

    /// The same, whose requests say by what lease they are made.
    #[must_use]
    pub fn with_request(self, request: Option<String>) -> Self {
        Self { request, ..self }
    }

    /// The same, sending these headers, too.
    #[must_use]
    pub fn with_headers<'a>(self, headers: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { headers, ..self }
    }

    /// The same, which works only while it has one of these slots.
    #[must_use]
    pub fn with_slot(self, slots: Arc<Slots>) -> Self {
        Self { slot: Some(Slot::of(slots)), ..self }
    }

    /// The same, within these bounds.
    #[must_use]
    pub fn within(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// Whether it only looks if there is a repository.
    pub const fn looks(&self) -> bool {
        self.bounds.looks
    }

    /// Whether so many bytes more may be fetched.
    ///
    /// # Errors
    /// [`FetchError::TooMuch`]
    pub fn has_room(&self, bytes: u64) -> Result<(), FetchError> {
        match self.bytes_fetched().saturating_add(bytes) > self.bounds.bytes {
            true => Err(too_much(&self.bounds)),
            false => Ok(()),
        }
    }

    /// Milliseconds from the first request to the first byte of its answer, if one came.
    pub fn first_byte_millis(&self) -> Option<u32> {
        let millis = self.first_byte.get()?.as_millis();
        Some(u32::try_from(millis).unwrap_or(u32::MAX))
    }

    /// Requests so far, redirects included.
    pub fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// For how many seconds the last answer may be kept, as its server says, at most a day; 0 where it
    /// doesn't say.
    pub const fn max_age(&self) -> u32 {
        self.max_age.get()
    }

    /// Bytes of bodies so far.
    pub fn bytes_fetched(&self) -> u64 {
        self.progress.bytes_fetched.load(Ordering::Relaxed)
    }

    /// How far the lease is.
    pub const fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Pauses if the process has spent too much CPU time.
    pub fn rest(&self) {
        self.throttle.rest(&self.cancel);
    }

    /// Takes room for a decoder's window, when it is there.
    ///
    /// # Errors
    /// [`MemoryError`]
    pub fn room(&self, memory: &Arc<Memory>, bytes: u64) -> Result<Room, MemoryError> {
        memory.take(bytes, &self.cancel)
    }

    /// Whether to ask for something once more after a fault that passes: once a lease.
    pub fn repeat(&self) -> bool {
        !self.is_cancelled() && !self.is_repeated.replace(true)
    }

    /// Whether the lease is over.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// Whether addresses that aren't on the public internet may be connected to.
    pub const fn is_private_allowed(&self) -> bool {
        self.client.config.allow_private
    }

    /// Posts JSON to `url` and returns the body of a 200 or 203, at most `limit` bytes. Follows no
    /// redirect.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn post(&self, url: &str, json: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
        let url = Uri::parse(url).map_err(FetchError::Redirect)?;
        self.begin(&url)?;
        let request = self.within_time(self.client.agent(&url).post(url.to_string()));
        let mut request = request.header(header::CONTENT_TYPE, "application/json");
        if let Some(id) = &self.request {
            request = request.header(REQUEST_HEADER, id);
        }
        let response = request.send(json).map_err(|cause| of_ureq(&cause));
        self.answered.set(Some(clock::now()));
        let (head, body) = response?.into_parts();
        if !matches!(head.status.as_u16(), 200 | 203) {
            self.unwanted(&head.headers, body);
            return Err(self.refused(&url, head.status.as_u16(), &head.headers));
        }
        let mut bytes = Vec::new();
        body.into_reader()
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|cause| cut_off(&cause))?;
        self.progress.bytes_fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.has_room(0)?;
        if bytes.len() as u64 > limit {
            return Err(FetchError::TooLong { limit });
        }
        Ok(bytes)
    }

    /// Posts JSON to `url` and returns whatever is answered, its body at most `limit` bytes. Follows no redirect.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn tell(&self, url: &str, json: &str, limit: u64) -> Result<TellAnswer, FetchError> {
        let url = Uri::parse(url).map_err(FetchError::Redirect)?;
        self.begin(&url)?;
        let request = self.client.agent(&url).post(url.to_string());
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let (head, body) = request.send(json).map_err(|cause| of_ureq(&cause))?.into_parts();
        let mut bytes = Vec::new();
        let read = body.into_reader().take(limit).read_to_end(&mut bytes);
        read.map_err(|cause| cut_off(&cause))?;
        let location = head.headers.get(header::LOCATION);
        let location = location.and_then(|to| url.resolve(to.as_bytes()).ok());
        Ok(TellAnswer {
            status: head.status.as_u16(),
            location: location.map(|to| to.to_string()),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }

    /// Asks for `url`, unless it is still what `validators` say. The body may have at most
    /// `limit` bytes; it is hashed with `algorithm` as it is read.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn get(
        &self,
        url: &str,
        validators: &Validators,
        limit: u64,
        algorithm: Algorithm,
    ) -> Result<FetchAnswer, FetchError> {
        let mut url = Uri::parse(url).map_err(FetchError::Redirect)?;
        let most = if self.astray.get() < ASTRAY_MAX { REDIRECTS_MAX } else { 0 };
        for redirects in 0..=most {
            let ask = || {
                let mut request = self.within_time(self.client.agent(&url).get(url.to_string()));
                if let Some(id) = &self.request {
                    request = request.header(REQUEST_HEADER, id);
                }
                // A redirect may lead elsewhere: the operator's exception is for this server.
                if redirects == 0 {
                    for (name, value) in &self.headers {
                        request = request.header(name, value);
                    }
                }
                if let Some(etag) = &validators.etag {
                    request = request.header(header::IF_NONE_MATCH, etag);
                }
                if let Some(date) = &validators.last_modified {
                    request = request.header(header::IF_MODIFIED_SINCE, date);
                }
                request.call()
            };
            self.begin(&url)?;
            let asked = clock::now();
            let mut response = ask();
            self.answered.set(Some(clock::now()));
            if self.requests() == 1 && response.is_ok() {
                self.first_byte.set(Some(clock::now() - asked));
            }
            // A server may close a connection at the moment in which it is used again (RFC 9112
            // §9.3.1): then once more, by a new one.
            if response.as_ref().is_err_and(is_broken_off) {
                self.begin(&url)?;
                response = ask();
                self.answered.set(Some(clock::now()));
            }
            let (head, body) = response.map_err(|cause| of_ureq(&cause))?.into_parts();
            self.max_age.set(max_age(&head.headers));
            match head.status.as_u16() {
                200 | 203 => {
                    let announced = body.content_length();
                    let encoding = encoding_in(&head.headers);
                    let limit = if encoding.is_some() { packed_again(limit) } else { limit };
                    if announced.is_some_and(|bytes| bytes > limit) {
                        return Err(FetchError::TooLong { limit });
                    }
                    self.has_room(announced.unwrap_or(0))?;
                    let expected = announced.unwrap_or(0);
                    self.progress.bytes_expected.store(expected, Ordering::Relaxed);
                    return Ok(FetchAnswer::Found(Body {
                        reader: body.into_reader(),
                        validators: validators_in(&head.headers),
                        announced,
                        encoding,
                        has_end: announced.is_some()
                            || head.headers.contains_key(header::TRANSFER_ENCODING),
                        last: None,
                        broke: None,
                        hash: Hash::new(algorithm),
                        bytes: 0,
                        limit,
                        bounds: self.bounds,
                        until: self.began + LEASE_MAX,
                        waited: Duration::ZERO,
                        cancel: Arc::clone(&self.cancel),
                        progress: Arc::clone(&self.progress),
                        throttle: Arc::clone(&self.throttle),
                    }));
                }
                301 | 302 | 303 | 307 | 308 => {
                    self.unwanted(&head.headers, body);
                    url = redirected(&url, &head.headers)?;
                }
                304 => return Ok(FetchAnswer::NotModified),
                404 | 410 => {
                    self.unwanted(&head.headers, body);
                    let is_gone = head.status.as_u16() == 410;
                    return Ok(if is_gone { FetchAnswer::Gone } else { FetchAnswer::Missing });
                }
                status => {
                    self.unwanted(&head.headers, body);
                    let soon = retry_after(&head.headers).filter(|wait| *wait <= REPEAT_AFTER_MAX);
                    match soon {
                        Some(wait) if status == 503 && self.repeat() => {
                            self.wait_until(clock::now() + wait);
                        }
                        _ => return Err(self.refused(&url, status, &head.headers)),
                    }
                }
            }
        }
        self.astray.set(self.astray.get() + 1);
        Err(FetchError::Redirect(format!("more than {REDIRECTS_MAX} redirects")))
    }

    /// A request with the lease's own times.
    fn within_time<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        let connect = Some(self.bounds.connect);
        request.config().timeout_connect(connect).timeout_resolve(connect).build()
    }

    /// Reads the body of an answer that says all by its status, where it is short: a connection whose
    /// answer wasn't read to its end can't carry another request.
    fn unwanted(&self, headers: &HeaderMap, body: ureq::Body) {
        let is_last = headers
            .get(header::CONNECTION)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        let is_long = body.content_length().is_some_and(|bytes| bytes > UNWANTED_BYTES_MAX);
        if is_last || is_long {
            return;
        }
        let began = clock::now();
        let mut left = body.into_reader().take(UNWANTED_BYTES_MAX);
        let mut buffer = [0; 4096];
        while !self.is_cancelled() && clock::now() - began < UNWANTED_MAX {
            match left.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(bytes) => self.progress.bytes_fetched.fetch_add(bytes as u64, Ordering::Relaxed),
            };
        }
    }

    /// Waits for the pause's end and counts a request, which is to be made then. Once a server has
    /// sent the lease away there is no other: asking on is what gets a peer's address banned.
    fn begin(&self, url: &Uri) -> Result<(), FetchError> {
        let port = url.port();
        if !WEB_PORTS.contains(&port) && self.port != Some(port) && !self.is_private_allowed() {
            return Err(FetchError::Redirect(format!(
                "{url} is at port {port}: where the source list names no other, only 80 and 443 are asked"
            )));
        }
        if self.client.config.never.names(url.host()) {
            return Err(FetchError::Never(url.host().to_owned()));
        }
        if let Some((status, retry_after)) = self.sent_away.get() {
            return Err(FetchError::Status { status, retry_after });
        }
        if clock::now() > self.began + LEASE_MAX {
            return Err(FetchError::TooLate);
        }
        self.has_room(1)?;
        if self.bounds.looks && self.requests() >= LOOK_REQUESTS_MAX {
            return Err(FetchError::Redirect(format!(
                "no Release by {LOOK_REQUESTS_MAX} requests"
            )));
        }
        match (self.answered.get(), &self.slot) {
            (Some(answered), _) => self.wait_until(answered + self.bounds.pause),
            (None, Some(slot)) => slot.take(&self.cancel),
            (None, None) => {}
        }
        if self.is_cancelled() {
            return Err(FetchError::Cancelled);
        }
        if let Some(ledger) = &self.client.config.ledger {
            let asked = ledger.request(self.operator.as_deref(), url.host());
            asked.map_err(|cause| FetchError::Capped(cause.to_string()))?;
        }
        self.requests.set(self.requests.get() + 1);
        Ok(())
    }

    /// Waits, unless the lease is over before; others have its slot meanwhile.
    fn wait_until(&self, moment: Instant) {
        match &self.slot {
            Some(slot) if moment > clock::now() => {
                slot.without(&self.cancel, || self.sleep_until(moment));
            }
            _ => self.sleep_until(moment),
        }
    }

    fn sleep_until(&self, moment: Instant) {
        while let Some(left) = moment.checked_duration_since(clock::now())
            && !left.is_zero()
            && !self.is_cancelled()
        {
            clock::sleep(left.min(PAUSE_STEP));
        }
    }

    fn refused(&self, url: &Uri, status: u16, headers: &HeaderMap) -> FetchError {
        if let Some(ledger) = &self.client.config.ledger {
            ledger.refused(self.operator.as_deref(), url.host());
        }
        let retry_after = retry_after(headers);
        if status == 429 || (status == 503 && retry_after.is_some()) {
            self.sent_away.set(Some((status, retry_after)));
        }
        FetchError::Status { status, retry_after }
    }
}

const fn too_much(bounds: &Bounds) -> FetchError {
    FetchError::TooMuch { limit: bounds.bytes, is_own: bounds.is_own }
}

/// A body while it comes. Reading it gives its bytes as they came; its errors hold a
/// [`FetchError`].
pub struct Body {
    reader: ureq::BodyReader<'static>,
    validators: Validators,
    announced: Option<u64>,
    encoding: Option<String>,
    /// Whether its end is told, and not only that of the connection.
    has_end: bool,
    last: Option<u8>,
    /// Why it was given up.
    broke: Option<FailureKind>,
    hash: Hash,
    bytes: u64,
    limit: u64,
    /// Of the lease, this body's bytes among its.
    bounds: Bounds,
    until: Instant,
    /// How long its server was waited for: pauses made here aren't the server's.
    waited: Duration,
    cancel: Arc<AtomicBool>,
    progress: Arc<Progress>,
    throttle: Arc<Throttle>,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes so far)", self.bytes)
    }
}

impl Body {
    /// What the server says of this version of the file.
    pub const fn validators(&self) -> &Validators {
        &self.validators
    }

    /// Reads what is left, where that isn't much, for the sake of the connection.
    pub fn spare(self) {
        let _ = io::copy(&mut self.take(UNWANTED_BYTES_MAX), &mut io::sink());
    }

    /// How long its server says it is, in bytes.
    pub const fn announced_bytes(&self) -> Option<u64> {
        self.announced
    }

    /// Whether what was read may be only its beginning: nothing told its end, and it isn't that of a
    /// line.
    pub fn may_be_cut(&self) -> bool {
        !self.has_end && !matches!(self.last, None | Some(b'\n' | b'\r'))
    }

    /// Why it wasn't read to its end, where that is no matter of what it holds.
    pub const fn broke(&self) -> Option<FailureKind> {
        self.broke
    }

    /// What its server says it did to the file, if anything.
    pub fn encoding(&self) -> Option<&str> {
        self.encoding.as_deref()
    }

    /// Size and digest of what was read.
    pub fn finish(self) -> (u64, FileDigest) {
        (self.bytes, self.hash.finish())
    }

    fn check(&self) -> Result<(), FetchError> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(FetchError::Cancelled);
        }
        if self.bytes > self.limit {
            return Err(FetchError::TooLong { limit: self.limit });
        }
        if self.progress.bytes_fetched.load(Ordering::Relaxed) > self.bounds.bytes {
            return Err(too_much(&self.bounds));
        }
        if clock::now() > self.until {
            return Err(FetchError::TooLate);
        }
        if self.waited > RATE_AFTER && self.bytes < RATE_MIN * self.waited.as_secs() {
            return Err(FetchError::TooSlow);
        }
        Ok(())
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.throttle.rest(&self.cancel);
        let asked = clock::now();
        // One byte too many tells that there are more.
        let left =
            self.bounds.bytes.saturating_sub(self.progress.bytes_fetched.load(Ordering::Relaxed));
        let most = into.len().min(usize::try_from(left).unwrap_or(usize::MAX).saturating_add(1));
        let read = self.reader.read(&mut into[..most]).map_err(|cause| {
            let cause = cut_off(&cause);
            self.broke = Some(cause.kind());
            io::Error::other(cause)
        })?;
        self.waited += clock::now() - asked;
        self.bytes += read as u64;
        self.progress.bytes_fetched.fetch_add(read as u64, Ordering::Relaxed);
        if let Err(cause) = self.check() {
            self.broke = Some(cause.kind());
            return Err(io::Error::other(cause));
        }
        self.hash.update(&into[..read]);
        self.last = into[..read].last().copied().or(self.last);
        Ok(read)
    }
}

/// A digest in the making.
pub(crate) enum Hash {
    Md5(md5::Md5),
    Ring(Algorithm, ring::digest::Context),
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash")
    }
}

impl Hash {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let of = |found| Self::Ring(algorithm, ring::digest::Context::new(found));
        match algorithm {
            Algorithm::Md5 => Self::Md5(md5::Md5::default()),
            Algorithm::Sha1 => of(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY),
            Algorithm::Sha256 => of(&ring::digest::SHA256),
            Algorithm::Sha512 => of(&ring::digest::SHA512),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(hash) => md5::Digest::update(hash, bytes),
            Self::Ring(_, context) => context.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> FileDigest {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Md5(hash) => {
                let hex = hex(&md5::Digest::finalize(hash));
                FileDigest { algorithm: Algorithm::Md5, hex }
            }
            Self::Ring(algorithm, context) => {
                FileDigest { algorithm, hex: hex(context.finish().as_ref()) }
            }
        }
    }
}

/// Looks names up and drops what may not be connected to; what is left is what is dialled.
#[derive(Debug)]
struct Filtered {
    proxies: &'static Proxies,
    /// None where private addresses are allowed, and the home's with them.
    home: Option<Arc<Home>>,
    never: Arc<Veto>,
    /// Hosts behind a proxy of which no name server answered, and until when that is remembered: each
    /// of a lease's connections would wait for it.
    silent: Mutex<BTreeMap<String, Instant>>,
}

impl Filtered {
    /// Looks up what a proxy will look up again; nothing where there is no name server for that.
    fn found_here(
        &self,
        uri: &http::Uri,
        host: &str,
        timeout: NextTimeout,
    ) -> Option<Vec<SocketAddr>> {
        let lock = || self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if lock().get(host).is_some_and(|until| *until > clock::now()) {
            return None;
        }
        let timeout = NextTimeout { after: PROXIED_LOOK_UP_MAX.into(), ..timeout };
        match web::Names.found(uri, timeout) {
            Ok(found) => Some(found),
            Err(cause) => {
                if matches!(cause, ureq::Error::Timeout(_)) {
                    let mut silent = lock();
                    if silent.len() >= SILENT_HOSTS_MAX {
                        silent.clear();
                    }
                    silent.insert(host.to_owned(), clock::now() + REMEMBERED);
                }
                None
            }
        }
    }
}

/// What [`Filtered`] says through ureq's error.
#[derive(Debug)]
struct NotPublic {
    host: String,
    address: IpAddr,
}

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is at {}", self.host, self.address)
    }
}

impl std::error::Error for NotPublic {}

/// What [`Filtered`] says through ureq's error of a host that is never asked.
#[derive(Debug)]
struct Vetoed(String);

impl fmt::Display for Vetoed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Vetoed {}

/// What [`Filtered`] says through ureq's error of a name that wasn't found.
#[derive(Debug)]
struct NotFound(String);

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotFound {}

impl Resolver for Filtered {
    fn resolve(
        &self,
        uri: &http::Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let is_secure = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let proxy = self.proxies.of(is_secure, host, port).map_err(io::Error::other)?;
        let mut all = self.empty();
        if proxy.is_some() && self.home.is_none() && !self.never.has_nets() {
            return Ok(all);
        }
        let found = match proxy {
            None => web::Names.found(uri, timeout).map_err(|cause| {
                let why = of_ureq(&cause).to_string();
                ureq::Error::Other(Box::new(NotFound(why)))
            })?,
            Some(_) => match self.found_here(uri, host, timeout) {
                Some(found) => found,
                None => return Ok(all),
            },
        };
        let never = found.iter().any(|address| self.never.has(address.ip()));
        if never && (proxy.is_some() || found.iter().all(|it| self.never.has(it.ip()))) {
            return Err(ureq::Error::Other(Box::new(Vetoed(host.to_owned()))));
        }
        let found: Vec<SocketAddr> =
            found.into_iter().filter(|address| !self.never.has(address.ip())).collect();
        let is_allowed = |address: &SocketAddr| {
            let is_foreign = |home: &Arc<Home>| is_public(address.ip()) && !home.has(address.ip());
            self.home.as_ref().is_none_or(is_foreign)
        };
        let allowed: Vec<SocketAddr> = found.iter().copied().filter(is_allowed).collect();
        let private = found.iter().find(|address| !is_allowed(address));
        match private {
            // Which of them a proxy would take isn't known.
            Some(private) if allowed.is_empty() || proxy.is_some() => {
                let (host, address) = (host.to_owned(), private.ip());
                Err(ureq::Error::Other(Box::new(NotPublic { host, address })))
            }
            _ => {
                web::fill(&mut all, &allowed);
                Ok(all)
            }
        }
    }
}

/// Whether a connection ended before there was an answer.
fn is_broken_off(cause: &ureq::Error) -> bool {
    matches!(cause, ureq::Error::Io(cause) if is_cut(cause))
}

fn is_cut(cause: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof].contains(&cause.kind())
}

fn of_ureq(cause: &ureq::Error) -> FetchError {
    if let ureq::Error::Other(inner) = cause
        && let Some(NotPublic { host, address }) = inner.downcast_ref()
    {
        return FetchError::Address { host: host.clone(), address: *address };
    }
    if let ureq::Error::Other(inner) = cause
        && let Some(Vetoed(host)) = inner.downcast_ref()
    {
        return FetchError::Never(host.clone());
    }
    if Capped::is_in(cause) {
        return FetchError::Capped(cause.to_string());
    }
    let (kind, why) = match cause {
        ureq::Error::Io(cause) => (of_io(cause), refusal::of_source(cause)),
        ureq::Error::Rustls(cause) => (FailureKind::Tls, refusal::of_source_tls(cause)),
        ureq::Error::Other(inner) if inner.is::<NotFound>() => {
            (FailureKind::Resolve, inner.to_string())
        }
        // HTTP/2 only, mostly, or no web server.
        ureq::Error::Protocol(cause) => {
            (FailureKind::Content, format!("what answers there isn't HTTP/1.1: {cause}"))
        }
        other => (of_other(other), other.to_string()),
    };
    FetchError::Transport { kind, why }
}

fn of_io(cause: &io::Error) -> FailureKind {
    if cause.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        FailureKind::Tls
    } else if is_cut(cause) {
        FailureKind::Cut
    } else {
        FailureKind::Connect
    }
}

const fn of_other(cause: &ureq::Error) -> FailureKind {
    use ureq::Error::{BodyExceedsLimit, Http, Timeout, Tls};
    match cause {
        Timeout(ureq::Timeout::Resolve) | ureq::Error::HostNotFound => FailureKind::Resolve,
        Timeout(_) => FailureKind::Timeout,
        Tls(_) => FailureKind::Tls,
        BodyExceedsLimit(_) => FailureKind::Limit,
        Http(_) => FailureKind::Content,
        _ => FailureKind::Connect,
    }
}

/// What a body's reader failed with.
fn cut_off(cause: &io::Error) -> FetchError {
    if Capped::is_in(cause) {
        return FetchError::Capped(cause.to_string());
    }
    let inner = cause.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    match inner.map(of_ureq) {
        Some(FetchError::Transport { kind: FailureKind::Timeout, why }) => {
            FetchError::Transport { kind: FailureKind::Timeout, why }
        }
        Some(other) => FetchError::Transport { kind: FailureKind::Cut, why: other.to_string() },
        None => FetchError::Transport { kind: FailureKind::Cut, why: cause.to_string() },
    }
}

/// Where a redirect leads.
///
/// Spec: RFC 9110 §10.2.2.
fn redirected(from: &Uri, headers: &HeaderMap) -> Result<Uri, FetchError> {
    let to = headers.get(header::LOCATION).map_or(&b""[..], |to| to.as_bytes());
    let wrong = |why: String| FetchError::Redirect(format!("redirect to {why}"));
    if to.trim_ascii().is_empty() {
        return Err(wrong("nowhere".to_owned()));
    }
    let url = from.resolve(to).map_err(wrong)?;
    if from.is_https() && !url.is_https() {
        return Err(wrong(format!("{url}, from https")));
    }
    Ok(url)
}

/// The server's Content-Encoding, unless it says that there is none.
fn encoding_in(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_ENCODING)?.to_str().ok()?.trim();
    let is_one = !value.is_empty() && !value.eq_ignore_ascii_case("identity");
    (is_one && value.len() <= ENCODING_BYTES_MAX).then(|| value.to_owned())
}

/// What a file of at most `limit` bytes may take that is packed once more, which may make it longer.
const fn packed_again(limit: u64) -> u64 {
    limit.saturating_add(limit / 128).saturating_add(4096)
}

/// The validators that are worth keeping: ones that may stand in a request again.
fn validators_in(headers: &HeaderMap) -> Validators {
    let of = |name, is_good: fn(&str) -> bool| {
        let value = headers.get(name)?.to_str().ok()?;
        (value.len() <= NAME_BYTES_MAX && is_good(value)).then(|| value.to_owned())
    };
    // A file that is from tomorrow was changed since whatever its server says.
    let is_past =
        |date: &str| http_date(date).is_some_and(|seconds| seconds <= clock::wall_millis() / 1000);
    Validators {
        etag: of(header::ETAG, is_etag),
        last_modified: of(header::LAST_MODIFIED, is_past),
    }
}

/// Spec: RFC 9111 §5.2.2. Of a file that may not be kept at all nothing is said.
fn max_age(headers: &HeaderMap) -> u32 {
    let values = headers.get_all(header::CACHE_CONTROL).iter();
    let words = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let words: Vec<String> = words.map(|word| word.trim().to_ascii_lowercase()).collect();
    if words.iter().any(|word| word == "no-cache" || word == "no-store") {
        return 0;
    }
    let mut ages = words.iter().filter_map(|word| word.strip_prefix("max-age="));
    let age = ages.next().and_then(|age| age.trim_matches('"').parse::<u64>().ok()).unwrap_or(0);
    u32::try_from(age).unwrap_or(u32::MAX).min(MAX_AGE_MAX)
}

/// Spec: RFC 9110 §10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = clock::wall_millis() / 1000;
    date(value).map(|then| Duration::from_secs(then.saturating_sub(now)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::HeaderValue;

    #[test]
    fn redirects_are_resolved_or_refused() {
        let from = Uri::parse("https://a.example/x/InRelease").unwrap();
        let to = |location: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LOCATION, HeaderValue::from_bytes(location).unwrap());
            redirected(&from, &headers).map(|url| url.to_string()).map_err(|why| why.to_string())
        };
        for (location, url) in [
            (&b"https://b.example/y?z"[..], "https://b.example/y?z"),
            (b"//b.example/y#z", "https://b.example/y"),
            (b" ../y z/ ", "https://a.example/y%20z/"),
            ("é".as_bytes(), "https://a.example/x/%C3%A9"),
            (b"/\xe9", "https://a.example/%E9"),
        ] {
            assert_eq!(to(location).as_deref(), Ok(url));
        }
        for (location, why) in [
            (&b""[..], "redirect to nowhere"),
            (b" ", "redirect to nowhere"),
            (b"http://a.example/x", "redirect to http://a.example/x, from https"),
            (b"ftp://a/x", "redirect to \"ftp://a/x\" is not an http:// or https:// address"),
            ("//é/x".as_bytes(), "redirect to \"//é/x\" names no host in ASCII (xn--…)"),
        ] {
            assert_eq!(to(location), Err(why.to_owned()));
        }
        assert!(redirected(&from, &HeaderMap::new()).is_err());
    }

    #[test]
    fn only_good_validators_are_kept() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ETAG, HeaderValue::from_static("\"x\""));
        headers.insert(header::LAST_MODIFIED, HeaderValue::from_bytes(b"\xff").unwrap());
        let found = validators_in(&headers);
        assert_eq!(found, Validators { etag: Some("\"x\"".into()), last_modified: None });
        for bad in ["*", "x", "Sat, 11 Jul 2199 10:16:37 GMT", &format!("\"{}\"", "x".repeat(300))]
        {
            for name in [header::ETAG, header::LAST_MODIFIED] {
                headers.insert(name, HeaderValue::from_str(bad).unwrap());
            }
            assert_eq!(validators_in(&headers), Validators::default(), "{bad}");
        }
    }
}
