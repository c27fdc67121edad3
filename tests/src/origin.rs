//! A small HTTP/1.1 server of sources for tests, on a port of its own on 127.0.0.1.
//!
//! It serves a folder, or what a test [`put`](Origin::put)s into it, or both; remembers every
//! request; answers conditional requests if told to; and misbehaves by path, see [`Fault`]. One
//! thread a connection, persistent connections and pipelined requests, no ranges, no TLS.

use canister_protocol::owner::{FILE, ROBOTS};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long requests may take that a test wants to be over.
const IDLE: Duration = Duration::from_secs(10);

/// The server. Dropping it closes every connection and waits for its threads.
#[derive(Debug)]
pub struct Origin {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

/// Which validators answers carry, and so which conditional requests are answered with 304.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validators {
    /// Both.
    Both,
    /// An ETag.
    Etag,
    /// A Last-Modified.
    LastModified,
    /// Neither: every answer is whole.
    Neither,
}

/// How the server misbehaves at a path.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The body in chunks of this many bytes, without its length. Nothing wrong, but seen less.
    Chunked(usize),
    /// The right answer, byte after byte of this pattern, for ever, without a length.
    Endless(Vec<u8>),
    /// Nothing until [`Origin::let_go`]; then the right answer.
    Hang,
    /// Status 302 and this Location.
    Redirect(String),
    /// This status with these headers and a short HTML body.
    Status(u16, Vec<(&'static str, String)>),
    /// The right body under this status, with these headers more.
    Told(u16, Vec<(&'static str, String)>),
    /// The right header, then this many bytes of the body at a time with a pause before each.
    Trickle(usize, Duration),
    /// No length, and only so many bytes of the body: its end is that of the connection.
    Undelimited(usize),
    /// The right header and only so many bytes of the body, then the connection is closed.
    Truncate(usize),
    /// The right length, but one byte in the middle differs.
    WrongByte,
}

/// How much a server takes of each client before it sends it away. All clients of a test come from
/// this machine, so one is told from another by its User-Agent, as a real server would by address.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Requests that may be answered at once, of all clients.
    pub at_once: usize,
    /// Requests of one client ...
    pub requests: usize,
    /// ... in this long. What is more is answered with 429.
    pub per: Duration,
    /// After so many 429s the client is banned: everything is answered with 403 ...
    pub strikes: u32,
    /// ... for this long.
    pub ban: Duration,
}

/// One client, as a server with a [`Limit`] remembers it.
#[derive(Debug, Default)]
struct Client {
    came: VecDeque<Duration>,
    strikes: u32,
    banned_until: Option<Duration>,
}

/// A request as it came, and what became of it.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `HEAD`, `POST`, ….
    pub method: String,
    /// As requested, with its query, not decoded.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// What was sent with it.
    pub body: Vec<u8>,
    /// Since the server was started.
    pub at: Duration,
    /// How many requests were being answered at that moment, this one included.
    pub concurrent: usize,
    /// What was answered; 0 while it is being thought about.
    pub status: u16,
    /// Bytes of the body that were handed to the connection.
    pub bytes_sent: u64,
}

impl Request {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    folder: Option<PathBuf>,
    state: Mutex<State>,
    /// Signalled when something was let go or the server stops.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Arc<Vec<u8>>>,
    faults: HashMap<String, Fault>,
    validators: Option<Validators>,
    latency: Duration,
    closes_each: bool,
    limit: Option<Limit>,
    clients: HashMap<String, Client>,
    bans: usize,
    /// When a path's bytes were last seen to change, in seconds since 1970, and their hash.
    modified: HashMap<String, (u64, u64)>,
    requests: Vec<Request>,
    answering: usize,
    /// Raised by `let_go`.
    releases: u64,
    stopping: bool,
    connections: HashMap<u64, TcpStream>,
    /// How many there were so far.
    connected: usize,
    threads: Vec<JoinHandle<()>>,
}

impl Origin {
    /// Starts a server of nothing; see [`put`](Self::put).
    pub fn empty() -> Self {
        Self::bound(Ipv4Addr::LOCALHOST.into())
    }

    /// A server of nothing on the address 127.0.0.`last`: to the arbiter, sources on two addresses
    /// are two operators'.
    pub fn at(last: u8) -> Self {
        Self::bound(Ipv4Addr::new(127, 0, 0, last).into())
    }

    /// A server of nothing on any address of this machine's own.
    pub fn on(address: Ipv4Addr) -> Self {
        assert!(address.is_loopback(), "{address} is not this machine's own");
        Self::bound(address.into())
    }

    /// A server of nothing on any address, in a network of the test's own.
    pub fn bound(address: IpAddr) -> Self {
        Self::start(None, SocketAddr::new(address, 0))
    }

    /// The same on that port.
    pub fn at_socket(address: SocketAddr) -> Self {
        Self::start(None, address)
    }

    /// Starts a server of the files below `folder`, which may change while it runs.
    pub fn of(folder: impl Into<PathBuf>) -> Self {
        Self::start(Some(folder.into()), SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0))
    }

    fn start(folder: Option<PathBuf>, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("bind a port of this machine");
        let address = listener.local_addr().expect("a bound port has an address");
        let shared = Arc::new(Shared {
            started: Instant::now(),
            folder,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { shared, address, acceptor: Some(acceptor) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base, without a final slash.
    pub fn uri(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves `bytes` at `path` (with its leading slash), before any file of the folder.
    pub fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        let bytes = Arc::new(bytes.into());
        self.shared.lock().files.insert(path.to_owned(), bytes);
    }

    /// Forgets what was put at `path`.
    pub fn remove(&self, path: &str) {
        self.shared.lock().files.remove(path);
    }

    /// Which validators answers carry from now on; at first none.
    pub fn validators(&self, validators: Validators) {
        self.shared.lock().validators = Some(validators);
    }

    /// Every answer is this late from now on.
    pub fn latency(&self, latency: Duration) {
        self.shared.lock().latency = latency;
    }

    /// Each answer is its connection's last from now on.
    pub fn close_each(&self) {
        self.shared.lock().closes_each = true;
    }

    /// Sends clients away from now on that ask for more than this.
    pub fn limit(&self, limit: Limit) {
        self.shared.lock().limit = Some(limit);
    }

    /// Bans a client for so long, as if it had asked too much elsewhere.
    pub fn ban(&self, client: &str, ban: Duration) {
        let mut state = self.shared.lock();
        state.bans += 1;
        let client = state.clients.entry(client.to_owned()).or_default();
        client.banned_until = Some(self.shared.started.elapsed() + ban);
    }

    /// How often a client was banned so far.
    pub fn bans(&self) -> usize {
        self.shared.lock().bans
    }

    /// Misbehaves at `path` from now on; `*` stands for every path that has no fault of its own.
    pub fn fault(&self, path: &str, fault: Fault) {
        self.shared.lock().faults.insert(path.to_owned(), fault);
    }

    /// Behaves again at `path`.
    pub fn heal(&self, path: &str) {
        self.shared.lock().faults.remove(path);
    }

    /// Lets everything go on that [`Fault::Hang`] holds at this moment.
    pub fn let_go(&self) {
        self.shared.lock().releases += 1;
        self.shared.changed.notify_all();
    }

    /// The requests so far, in the order in which they came; those for [what its owner
    /// says](canister_protocol::owner) are told by [`asked_owner`](Self::asked_owner).
    pub fn requests(&self) -> Vec<Request> {
        let mut requests = self.shared.lock().requests.clone();
        requests.retain(|request| !is_owners(request));
        requests
    }

    /// How many there were so far, but those for what its owner says.
    pub fn requests_count(&self) -> usize {
        self.shared.lock().requests.iter().filter(|request| !is_owners(request)).count()
    }

    /// The requests so far for what its owner says.
    pub fn asked_owner(&self) -> Vec<Request> {
        let mut requests = self.shared.lock().requests.clone();
        requests.retain(is_owners);
        requests
    }

    /// The requests for `path` so far.
    pub fn requests_for(&self, path: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.path == path);
        requests
    }

    /// The requests so far, which are forgotten: for counting those of the next step.
    ///
    /// Waits until none is being answered any more; panics if one hangs.
    pub fn take_requests(&self) -> Vec<Request> {
        let state = self.shared.lock();
        let busy = |state: &mut State| state.answering > 0;
        let waited = self.shared.changed.wait_timeout_while(state, IDLE, busy);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "requests are still being answered");
        let mut requests = std::mem::take(&mut state.requests);
        requests.retain(|request| !is_owners(request));
        requests
    }

    /// Bytes of bodies sent so far.
    pub fn bytes_sent(&self) -> u64 {
        let state = self.shared.lock();
        state.requests.iter().map(|request| request.bytes_sent).sum()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.lock().connected
    }

    /// The most requests that were ever being answered at once.
    pub fn concurrent_max(&self) -> usize {
        let state = self.shared.lock();
        let all = state.requests.iter().map(|request| request.concurrent);
        all.max().unwrap_or(0)
    }
}

/// Whether it is for a file in which the owner of a host says something: once a day and host.
fn is_owners(request: &Request) -> bool {
    [FILE, ROBOTS].contains(&request.path.as_str())
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_all();
        // Wakes the acceptor, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        let (connections, threads) = {
            let mut state = self.shared.lock();
            (std::mem::take(&mut state.connections), std::mem::take(&mut state.threads))
        };
        for connection in connections.into_values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has left nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for (id, stream) in (0_u64..).zip(listener.incoming()) {
        let mut state = shared.lock();
        if state.stopping {
            return;
        }
        let Ok(stream) = stream else { continue };
        let Ok(twin) = stream.try_clone() else {
            continue;
        };
        state.connections.insert(id, twin);
        state.connected += 1;
        let shared = Arc::clone(shared);
        // One that has ended keeps its stack until nobody can ask for it any more.
        state.threads.retain(|thread| !thread.is_finished());
        state.threads.push(std::thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            let _ = serve(&stream, &shared);
            let _ = stream.shutdown(Shutdown::Both);
            shared.lock().connections.remove(&id);
        }));
    }
}

/// Answers the requests of one connection until either side has enough.
fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(mut request) = read_request(&mut reader)? {
        let (index, releases) = {
            let mut state = shared.lock();
            if state.stopping {
                return Ok(());
            }
            state.answering += 1;
            request.at = shared.started.elapsed();
            request.concurrent = state.answering;
            state.requests.push(request.clone());
            (state.requests.len() - 1, state.releases)
        };
        let mut sender = Sender { stream, shared, index, releases, is_over: false };
        let outcome = answer(&request, &mut sender);
        sender.over();
        let wants_close =
            request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if !outcome? || wants_close || shared.lock().closes_each {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request {
        method,
        path,
        headers,
        body: Vec::new(),
        at: Duration::ZERO,
        concurrent: 0,
        status: 0,
        bytes_sent: 0,
    };
    let length = request.header("content-length");
    let length = length.and_then(|value| value.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_end(&mut request.body)?;
    Ok(Some(request))
}

/// Sends one answer and writes down what became of it.
struct Sender<'a> {
    stream: &'a TcpStream,
    shared: &'a Shared,
    index: usize,
    /// How often was let go before the request came.
    releases: u64,
    is_over: bool,
}

impl Sender<'_> {
    /// The request is being answered no more. To be said before the last bytes are written: whoever
    /// has read them may ask again at once.
    fn over(&mut self) {
        if !self.is_over {
            self.is_over = true;
            self.shared.lock().answering -= 1;
            self.shared.changed.notify_all();
        }
    }

    /// The last bytes of a body.
    fn last(&mut self, bytes: &[u8]) -> io::Result<()> {
        let at = bytes.len().saturating_sub(1024);
        self.body(&bytes[..at])?;
        self.over();
        self.body(&bytes[at..])
    }

    fn header(&mut self, status: u16, headers: &[(&str, String)]) -> io::Result<()> {
        self.shared.lock().requests[self.index].status = status;
        let reason = match status {
            200 => "OK",
            302 => "Found",
            304 => "Not Modified",
            403 => "Forbidden",
            404 => "Not Found",
            429 => "Too Many Requests",
            503 => "Service Unavailable",
            _ => "Other",
        };
        let mut text = format!("HTTP/1.1 {status} {reason}\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        self.stream.write_all(text.as_bytes())
    }

    fn body(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(64 * 1024) {
            {
                // Counted first: whoever has read the last byte finds it counted.
                let mut state = self.shared.lock();
                state.requests[self.index].bytes_sent += piece.len() as u64;
                if state.stopping {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
            }
            self.stream.write_all(piece)?;
        }
        Ok(())
    }

    /// Waits for `pause`; less if something is let go or the server stops.
    fn wait(&self, pause: Duration) {
        let state = self.shared.lock();
        let releases = state.releases;
        let held = |state: &mut State| !state.stopping && state.releases == releases;
        drop(self.shared.changed.wait_timeout_while(state, pause, held));
    }

    /// Waits until what came when this request did is let go, or the server stops.
    fn hang(&self) {
        let state = self.shared.lock();
        let held = |state: &mut State| !state.stopping && state.releases == self.releases;
        drop(self.shared.changed.wait_while(state, held));
    }
}

impl State {
    /// The status with which a request is sent away that is one too many.
    fn sent_away(&mut self, request: &Request) -> Option<u16> {
        let now = request.at;
        let name = request.header("user-agent").unwrap_or_default();
        let client = self.clients.entry(name.to_owned()).or_default();
        if client.banned_until.is_some_and(|until| now < until) {
            return Some(403);
        }
        let limit = self.limit?;
        while client.came.front().is_some_and(|at| now - *at >= limit.per) {
            client.came.pop_front();
        }
        client.came.push_back(now);
        if client.came.len() <= limit.requests && request.concurrent <= limit.at_once {
            return None;
        }
        client.strikes += 1;
        if client.strikes >= limit.strikes {
            client.strikes = 0;
            client.banned_until = Some(now + limit.ban);
            self.bans += 1;
        }
        Some(429)
    }
}

/// Answers one request; `false` if the connection is to be closed then.
fn answer(request: &Request, sender: &mut Sender<'_>) -> io::Result<bool> {
    let path = request.path.split('?').next().unwrap_or_default();
    let path = &unescaped(path);
    let (latency, sent_away) = {
        let mut state = sender.shared.lock();
        (state.latency, state.sent_away(request))
    };
    if !latency.is_zero() {
        sender.wait(latency);
    }
    if let Some(status) = sent_away {
        return page(request, sender, status, &[]);
    }
    let fault = {
        let state = sender.shared.lock();
        let fault = state.faults.get(path).or_else(|| state.faults.get("*"));
        fault.cloned()
    };
    match &fault {
        Some(Fault::Hang) => sender.hang(),
        Some(Fault::Redirect(location)) => {
            let headers = [("Location", location.clone()), ("Content-Length", "0".to_owned())];
            sender.over();
            sender.header(302, &headers)?;
            return Ok(true);
        }
        Some(Fault::Status(status, more)) => {
            return page(request, sender, *status, more);
        }
        _ => {}
    }
    let Some(bytes) = sender.shared.find(path) else {
        return page(request, sender, 404, &[]);
    };

    let mut headers = vec![("Content-Type", "application/octet-stream".to_owned())];
    let validators = sender.shared.lock().validators;
    let validators = validators.unwrap_or(Validators::Neither);
    if validators != Validators::Neither {
        let (modified, hash) = sender.shared.modified(path, &bytes);
        let mut unchanged = None;
        if matches!(validators, Validators::Both | Validators::LastModified) {
            headers.push(("Last-Modified", http_date(modified)));
            let since = request.header("if-modified-since").and_then(from_http_date);
            unchanged = since.map(|since| modified <= since);
        }
        if matches!(validators, Validators::Both | Validators::Etag) {
            let etag = format!("\"{hash:016x}\"");
            if let Some(tags) = request.header("if-none-match") {
                // RFC 9110 §13.1.3: where both are sent, only this one counts.
                unchanged = Some(tags.split(',').any(|tag| tag.trim() == etag || tag == "*"));
            }
            headers.push(("ETag", etag));
        }
        if unchanged == Some(true) {
            sender.over();
            sender.header(304, &headers)?;
            return Ok(true);
        }
    }

    let (status, more) = match &fault {
        Some(Fault::Told(status, more)) => (*status, more.clone()),
        _ => (200, Vec::new()),
    };
    headers.extend(more);
    let endless = matches!(fault, Some(Fault::Endless(_) | Fault::Undelimited(_)));
    if let Some(Fault::Chunked(_)) = fault {
        headers.push(("Transfer-Encoding", "chunked".to_owned()));
    } else if endless {
        headers.push(("Connection", "close".to_owned()));
    } else {
        headers.push(("Content-Length", bytes.len().to_string()));
    }
    sender.header(status, &headers)?;
    if request.method == "HEAD" {
        return Ok(true);
    }
    match fault {
        Some(Fault::Chunked(size)) => {
            for piece in bytes.chunks(size.max(1)) {
                write!(sender.stream, "{:x}\r\n", piece.len())?;
                sender.body(piece)?;
                sender.stream.write_all(b"\r\n")?;
            }
            sender.stream.write_all(b"0\r\n\r\n")?;
        }
        Some(Fault::Endless(pattern)) => {
            sender.body(&bytes)?;
            let pattern = pattern.repeat(64 * 1024 / pattern.len().max(1));
            loop {
                sender.body(&pattern)?;
            }
        }
        Some(Fault::Trickle(size, pause)) => {
            for piece in bytes.chunks(size.max(1)) {
                sender.wait(pause);
                sender.body(piece)?;
            }
        }
        Some(Fault::Undelimited(at) | Fault::Truncate(at)) => {
            sender.body(&bytes[..at.min(bytes.len())])?;
            return Ok(false);
        }
        Some(Fault::WrongByte) => {
            let mut bytes = bytes.to_vec();
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 1;
            }
            sender.body(&bytes)?;
        }
        _ => sender.last(&bytes)?,
    }
    Ok(true)
}

/// A short HTML page with a status.
fn page(
    request: &Request,
    sender: &mut Sender<'_>,
    status: u16,
    more: &[(&'static str, String)],
) -> io::Result<bool> {
    let body = format!("<html><body><h1>{status}</h1></body></html>\n");
    let mut headers =
        vec![("Content-Type", "text/html".to_owned()), ("Content-Length", body.len().to_string())];
    headers.extend(more.iter().cloned());
    // Who sees the status may not care for the page, and ask for something else.
    sender.over();
    sender.header(status, &headers)?;
    if request.method != "HEAD" {
        sender.body(body.as_bytes())?;
    }
    Ok(true)
}

impl Shared {
    fn find(&self, path: &str) -> Option<Arc<Vec<u8>>> {
        if let Some(bytes) = self.lock().files.get(path) {
            return Some(Arc::clone(bytes));
        }
        let below = Path::new(path.trim_start_matches('/'));
        let stays = |step| matches!(step, Component::Normal(_) | Component::CurDir);
        if !below.components().all(stays) {
            return None;
        }
        let file = self.folder.as_ref()?.join(below);
        std::fs::read(file).ok().map(Arc::new)
    }

    /// When the bytes at `path` changed last, and their hash. A change within a second of the last
    /// one still has a later time, so that no conditional answer is ever wrong.
    fn modified(&self, path: &str, bytes: &[u8]) -> (u64, u64) {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let hash = hasher.finish();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("it is after 1970").as_secs();
        let mut state = self.lock();
        let entry = state.modified.entry(path.to_owned()).or_insert((now, hash));
        if entry.1 != hash {
            *entry = (now.max(entry.0 + 1), hash);
        }
        *entry
    }
}

fn unescaped(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |byte: &u8| (*byte as char).to_digit(16);
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                let value = hex(high).zip(hex(low)).map(|(high, low)| high * 16 + low);
                bytes.push(value.unwrap_or_default() as u8);
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds since 1970 as RFC 9110 §5.6.7 writes them.
pub fn http_date(secs: u64) -> String {
    let (days, time) = (secs / 86_400, secs % 86_400);
    // Years begin in March here, so that a leap day ends one.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} GMT",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize],
        time / 3600,
        time / 60 % 60,
        time % 60
    )
}

/// Reads what [`http_date`] writes.
fn from_http_date(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split([' ', ':']).collect();
    let &[_, day, month, year, hour, minute, second, "GMT"] = &words[..] else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)? as u64;
    let number = |word: &str| word.parse::<u64>().ok();
    let (day, year) = (number(day)?, number(year)?);
    // The inverse of the above, again with years from March.
    let year = year - u64::from(month < 2);
    let day_of_year = (153 * ((month + 10) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    Some(days * 86_400 + number(hour)? * 3600 + number(minute)? * 60 + number(second)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        for (secs, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(http_date(secs), text);
            assert_eq!(from_http_date(text), Some(secs), "{text}");
        }
        assert_eq!(from_http_date("yesterday"), None);
    }

    #[test]
    fn paths_are_decoded() {
        assert_eq!(unescaped("/a%2Bb%20c%zz%"), "/a+b c%zz%");
    }
}
