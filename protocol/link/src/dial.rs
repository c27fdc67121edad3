//! Connecting to a host that has several addresses, of both families: the way to arbiters, to web
//! servers and to the database.
//!
//! Homes have IPv6 that leads nowhere, IPv4 that does, or the one without the other. So addresses of
//! both families are tried in turn, a new one [`ATTEMPT_DELAY`] after the last, and the first that
//! takes the connection wins. What had to be passed over for it isn't tried first again for that host
//! for [`REMEMBERED`].
//!
//! Spec: RFC 8305 (Happy Eyeballs 2) §4, §5 and, for addresses of IPv4 in a home that has only IPv6,
//! §7.1 with RFC 7050. Departures: both families are looked up at once by the system, which
//! sorts them (RFC 6724); of prefixes for NAT64 only those of 96 bits are known.

pub mod order;
pub mod proxy;
pub mod reach;
pub mod web;

use crate::clock;
use crate::meter::MeteredLine;
use canister_protocol::address::AddressFamilies;
use order::{ADDRESSES_MAX, FamilyMemory, interleaved};
use proxy::{Proxies, Proxy, host_and_port};
use reach::ReachMemory;
use smol::future::FutureExt as _;
use smol::{Async, Timer};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

/// How long one address has for itself before the next is tried, too.
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// How long a host's address that answered is tried first, where another didn't.
pub const REMEMBERED: Duration = Duration::from_secs(10 * 60);
/// How long the look-up of the home's prefix for IPv4 may take.
const PREFIX_MAX: Duration = Duration::from_secs(3);
/// The name that has only these two addresses of IPv4: what else it has, a translator made.
const IPV4_ONLY: &str = "ipv4only.arpa";
const IPV4_ONLY_ADDRESSES: [Ipv4Addr; 2] =
    [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];

/// What answered of each host, in this process.
static ANSWERED: Mutex<FamilyMemory> = Mutex::new(FamilyMemory::new());
/// What leads out of this home, as far as this process saw.
static REACH: Mutex<ReachMemory> = Mutex::new(ReachMemory::new());

/// A connection.
#[derive(Debug)]
pub struct Connected {
    /// The connection.
    pub stream: Async<TcpStream>,
    /// Where to.
    pub address: SocketAddr,
    /// What was tried before it and didn't answer.
    pub passed_over: Unreached,
}

impl Connected {
    /// Of the addresses of its host those that may be as good, it first: the ones of its family that
    /// weren't passed over.
    pub fn alike(&self, found: &[SocketAddr]) -> Vec<SocketAddr> {
        let is_alike = |other: &&SocketAddr| {
            other.is_ipv4() == self.address.is_ipv4()
                && **other != self.address
                && self.passed_over.attempts.iter().all(|(passed, _)| passed != *other)
        };
        let others = found.iter().filter(is_alike).copied();
        std::iter::once(self.address).chain(others).take(ADDRESSES_MAX).collect()
    }
}

/// Which addresses of a host didn't answer, and why.
#[derive(Debug, Default)]
pub struct Unreached {
    attempts: Vec<(SocketAddr, Option<io::Error>)>,
}

impl Unreached {
    /// Whether there is no such address.
    pub const fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }

    /// The system's error, where one address failed by it and none was merely silent.
    fn kind(&self) -> io::ErrorKind {
        let kinds = self.attempts.iter().map(|(_, cause)| cause.as_ref().map(io::Error::kind));
        kinds.max_by_key(Option::is_none).flatten().unwrap_or(io::ErrorKind::TimedOut)
    }

    /// Those that didn't even refuse.
    fn silent(&self) -> impl Iterator<Item = (SocketAddr, bool)> {
        use io::ErrorKind::{ConnectionRefused, ConnectionReset};
        self.attempts.iter().map(|(address, cause)| {
            let kind = cause.as_ref().map(io::Error::kind);
            (*address, !matches!(kind, Some(ConnectionRefused | ConnectionReset)))
        })
    }

    /// Whether nothing but the way to IPv4 is missing.
    fn has_no_ipv4(&self) -> bool {
        use io::ErrorKind::{AddrNotAvailable, NetworkUnreachable};
        let is_cut_off = |(address, cause): &(SocketAddr, Option<io::Error>)| {
            let kind = cause.as_ref().map(io::Error::kind);
            address.is_ipv4() && matches!(kind, Some(NetworkUnreachable | AddrNotAvailable))
        };
        !self.is_empty() && self.attempts.iter().all(is_cut_off)
    }
}

/// Both families are told where both were tried: a home often has only one that works.
impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let families = [("IPv6", false), ("IPv4", true)].map(|(name, is_v4)| {
            let of = |attempt: &&(SocketAddr, _)| attempt.0.is_ipv4() == is_v4;
            (name, self.attempts.iter().filter(of).collect::<Vec<_>>())
        });
        let has_both = families.iter().all(|(_, attempts)| !attempts.is_empty());
        let mut is_first = true;
        for (name, attempts) in families {
            // Silence says least.
            let Some((_, cause)) = attempts.iter().max_by_key(|(_, cause)| cause.is_some()) else {
                continue;
            };
            if !is_first {
                f.write_str("; ")?;
            }
            is_first = false;
            if has_both {
                let count = attempts.len();
                let s = if count == 1 { "" } else { "es" };
                write!(f, "{name} ({count} address{s}): ")?;
            }
            match cause {
                Some(cause) => write!(f, "{cause}")?,
                None => f.write_str("no answer")?,
            }
        }
        if is_first { f.write_str("it has no address") } else { Ok(()) }
    }
}

impl std::error::Error for Unreached {}

impl From<Unreached> for io::Error {
    fn from(cause: Unreached) -> Self {
        Self::new(cause.kind(), cause)
    }
}

/// Looks `host:port` up; the system's order, at most what it gives.
///
/// # Errors
/// The system's; `TimedOut` after `at_most`.
pub async fn look_up(host_and_port: &str, at_most: Duration) -> io::Result<Vec<SocketAddr>> {
    smol::net::resolve(host_and_port).or(silence(at_most)).await
}

async fn silence<T>(at_most: Duration) -> io::Result<T> {
    Timer::after(at_most).await;
    Err(io::ErrorKind::TimedOut.into())
}

/// Connects to one of the addresses that `host` was found at, within `at_most`.
///
/// # Errors
/// [`Unreached`]: none of them took the connection.
pub async fn connect(
    host: &str,
    found: &[SocketAddr],
    at_most: Duration,
) -> Result<Connected, Unreached> {
    let deadline = clock::now() + at_most;
    let remembered = lock(&ANSWERED).of(host, clock::now());
    let connected = match race(interleaved(found, remembered), at_most).await {
        Err(cause) if cause.has_no_ipv4() => {
            let translated = translated(found).await;
            let left = deadline.saturating_duration_since(clock::now());
            if translated.is_empty() { Err(cause) } else { race(translated, left).await }
        }
        done => done,
    }?;
    if !connected.passed_over.is_empty() {
        let until = clock::now() + REMEMBERED;
        lock(&ANSWERED).answered(host, connected.address.ip(), until, clock::now());
    }
    let mut reach = lock(&REACH);
    for (address, is_silent) in connected.passed_over.silent() {
        if !is_silent {
            reach.answered(address, clock::now());
        } else if address.is_ipv4() != connected.address.is_ipv4() {
            reach.silent(address, host);
        }
    }
    reach.answered(connected.address, clock::now());
    drop(reach);
    Ok(connected)
}

/// Which families of addresses lead out of this home, as far as is known; both where a proxy is
/// between, which reaches what it reaches.
pub fn reaches() -> AddressFamilies {
    if Proxies::of_environment().is_any() {
        return AddressFamilies::BOTH;
    }
    lock(&REACH).families(reach::ours(), clock::now())
}

/// The same, after a look for a translator where IPv4 needs one.
pub async fn reaches_by_now() -> AddressFamilies {
    let known = reaches();
    if known.v4 || !known.v6 {
        return known;
    }
    let has_translator = prefix().await.is_some();
    lock(&REACH).has_translator = has_translator;
    reaches()
}

fn lock<T>(memory: &'static Mutex<T>) -> MutexGuard<'static, T> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

type DialAttempt = Pin<Box<dyn Future<Output = io::Result<Async<TcpStream>>> + Send>>;

enum DialEvent {
    Ended(usize, io::Result<Async<TcpStream>>),
    NextIsDue,
    Over,
}

async fn race(order: Vec<SocketAddr>, at_most: Duration) -> Result<Connected, Unreached> {
    let mut waiting = order.into_iter();
    let mut under_way: Vec<(SocketAddr, DialAttempt)> = Vec::with_capacity(ADDRESSES_MAX);
    let mut failed = Vec::new();
    let mut over = Timer::after(at_most);
    loop {
        if let Some(next) = waiting.next() {
            under_way.push((next, Box::pin(Async::<TcpStream>::connect(next))));
        } else if under_way.is_empty() {
            return Err(Unreached { attempts: failed });
        }
        // The last one has all the time that is left.
        let mut next = if waiting.len() > 0 { Timer::after(ATTEMPT_DELAY) } else { Timer::never() };
        let event = loop {
            let event = std::future::poll_fn(|context| {
                for (number, (_, attempt)) in under_way.iter_mut().enumerate() {
                    if let Poll::Ready(ended) = attempt.as_mut().poll(context) {
                        return Poll::Ready(DialEvent::Ended(number, ended));
                    }
                }
                if Pin::new(&mut over).poll(context).is_ready() {
                    return Poll::Ready(DialEvent::Over);
                }
                Pin::new(&mut next).poll(context).map(|_| DialEvent::NextIsDue)
            })
            .await;
            match event {
                DialEvent::Ended(number, Err(cause)) => {
                    let (address, _) = under_way.remove(number);
                    failed.push((address, Some(cause)));
                    // While others are under way and none is left, they are waited for.
                    if waiting.len() > 0 || under_way.is_empty() {
                        break None;
                    }
                }
                DialEvent::NextIsDue => break None,
                event => break Some(event),
            }
        };
        let Some(event) = event else { continue };
        let silent = |(address, _): (SocketAddr, DialAttempt)| (address, None);
        let DialEvent::Ended(number, Ok(stream)) = event else {
            failed.extend(under_way.into_iter().map(silent));
            failed.extend(waiting.map(|address| (address, None)));
            return Err(Unreached { attempts: failed });
        };
        // Those that began later are no worse than it.
        let address = under_way[number].0;
        failed.extend(under_way.into_iter().take(number).map(silent));
        return Ok(Connected { stream, address, passed_over: Unreached { attempts: failed } });
    }
}

/// Opens the way to a host by TLS, through a proxy where the environment names one, which `line` is told
/// of.
///
/// # Errors
/// One line: which step failed, on what.
pub async fn open(
    host: &str,
    port: u16,
    at_most: Duration,
    line: &mut MeteredLine,
) -> Result<Connected, NotOpened> {
    let name = host_and_port(host, port);
    let failed = |step, cause: io::Error| NotOpened {
        step,
        kind: cause.kind(),
        why: format!("connect to {name}: {cause}"),
    };
    let proxy = Proxies::of_environment().of(true, host, port);
    let proxy = proxy.map_err(|why| NotOpened {
        step: DialStep::Proxy,
        kind: io::ErrorKind::InvalidInput,
        why,
    })?;
    if let Some(proxy) = proxy {
        let through = |cause| failed(DialStep::Proxy, cause);
        let mut connected = to_proxy(proxy, at_most).await.map_err(through)?;
        proxy.tunnel(&mut connected.stream, host, port, line).await.map_err(through)?;
        return Ok(connected);
    }
    let found = look_up(&name, at_most).await.map_err(|cause| NotOpened {
        step: DialStep::LookUp,
        kind: cause.kind(),
        why: format!("look up the name {host}: {cause}"),
    })?;
    let connected = connect(host, &found, at_most).await;
    connected.map_err(|cause| failed(DialStep::Connect, cause.into()))
}

/// What is done one after the other on the way to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialStep {
    /// Its name is looked up.
    LookUp,
    /// One of its addresses is connected to.
    Connect,
    /// Or a proxy is, and asked to do that.
    Proxy,
    /// TLS.
    Tls,
    /// What is spoken over it.
    Greet,
    /// Nothing more: whoever is there says, over TLS, that our certificate was revoked.
    Revoked,
}

/// Why there is no connection. Displayed as one line.
#[derive(Debug, Clone)]
pub struct NotOpened {
    /// Which step failed.
    pub step: DialStep,
    /// By what.
    pub kind: io::ErrorKind,
    why: String,
}

impl NotOpened {
    /// A step that failed for a reason of its own.
    pub fn new(step: DialStep, why: String) -> Self {
        Self { step, kind: io::ErrorKind::Other, why }
    }
}

impl fmt::Display for NotOpened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for NotOpened {}

async fn to_proxy(proxy: &Proxy, at_most: Duration) -> io::Result<Connected> {
    let connecting = async {
        let found = look_up(&proxy.host_and_port(), at_most).await?;
        Ok::<_, io::Error>(connect(proxy.host(), &found, at_most).await?)
    };
    connecting
        .await
        .map_err(|cause| io::Error::new(cause.kind(), format!("proxy {proxy}: {cause}")))
}

/// The prefix of a translator of the home's network, if there is one.
async fn prefix() -> Option<[u8; 12]> {
    let made = look_up(&format!("{IPV4_ONLY}:0"), PREFIX_MAX).await.unwrap_or_default();
    made.iter().find_map(|address| match address.ip() {
        IpAddr::V6(address) => prefix_in(address),
        IpAddr::V4(_) => None,
    })
}

/// The addresses by which a translator of the home's network reaches these of IPv4.
async fn translated(found: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(prefix) = prefix().await else {
        return Vec::new();
    };
    let behind = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(ip) => Some(SocketAddr::new(with_prefix(prefix, ip).into(), address.port())),
        IpAddr::V6(_) => None,
    };
    found.iter().filter_map(behind).take(ADDRESSES_MAX).collect()
}

/// The prefix of a translator that made `address` of one of [`IPV4_ONLY_ADDRESSES`].
///
/// Spec: RFC 7050 §3, RFC 6052 §2.2.
fn prefix_in(address: Ipv6Addr) -> Option<[u8; 12]> {
    let (prefix, rest) = address.octets().split_first_chunk().map(|(a, b)| (*a, b.to_vec()))?;
    let is_ours = IPV4_ONLY_ADDRESSES.iter().any(|known| known.octets() == *rest);
    is_ours.then_some(prefix)
}

fn with_prefix(prefix: [u8; 12], address: Ipv4Addr) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets[..12].copy_from_slice(&prefix);
    octets[12..].copy_from_slice(&address.octets());
    octets.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_first_that_answers_wins_and_is_remembered() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        // Nobody listens on a port that was given back.
        let gone = TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
        let at_most = Duration::from_secs(10);
        let connected = smol::block_on(connect("a.example", &[gone, good], at_most)).unwrap();
        assert_eq!(connected.address, good);
        assert!(connected.passed_over.to_string().contains("refused"), "{connected:?}");
        let connected = smol::block_on(connect("a.example", &[gone, good], at_most)).unwrap();
        assert!(connected.passed_over.is_empty(), "{connected:?}");
        let cause = smol::block_on(connect("b.example", &[gone, gone], at_most)).unwrap_err();
        assert_eq!(io::Error::from(cause).kind(), io::ErrorKind::ConnectionRefused);
        let cause = smol::block_on(connect("b.example", &[], at_most)).unwrap_err();
        assert_eq!(cause.to_string(), "it has no address");
    }

    #[test]
    fn both_families_are_told() {
        let (v4, v6): (SocketAddr, SocketAddr) =
            ("192.0.2.1:1".parse().unwrap(), "[2001:db8::1]:1".parse().unwrap());
        let refused = || Some(io::Error::from(io::ErrorKind::ConnectionRefused));
        let text = |attempts| Unreached { attempts }.to_string();
        assert_eq!(text(vec![(v4, refused())]), "connection refused");
        assert_eq!(text(vec![(v6, None), (v6, refused())]), "connection refused");
        assert_eq!(
            text(vec![(v4, refused()), (v6, None), (v6, None)]),
            "IPv6 (2 addresses): no answer; IPv4 (1 address): connection refused"
        );
        let kind = |attempts| io::Error::from(Unreached { attempts }).kind();
        assert_eq!(kind(vec![(v6, None), (v4, refused())]), io::ErrorKind::TimedOut);
        assert_eq!(kind(vec![(v4, refused())]), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_translator_s_prefix_is_found() {
        let of = |text: &str| prefix_in(text.parse().unwrap());
        let prefix = of("64:ff9b::c000:aa").unwrap();
        let made = with_prefix(prefix, Ipv4Addr::new(198, 51, 100, 7));
        assert_eq!(made, "64:ff9b::198.51.100.7".parse::<Ipv6Addr>().unwrap());
        assert!(of("2a00:1:2:3:4:5:c000:ab").is_some());
        assert_eq!(of("64:ff9b::c000:ac"), None);
        assert_eq!(of("::1"), None);
    }
}
