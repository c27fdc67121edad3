//! How ureq connects: by [`dial`](super), through proxies where the environment names some.
//!
//! ureq does TLS and HTTP; this is its TCP. Plain HTTP through a proxy is asked for with the whole
//! address (RFC 9112 §3.2.2), which ureq doesn't know of: so the first line of each request is
//! changed as it goes out. ureq writes the head of a request at once, and its bodies never begin like
//! a first line: both programs post nothing but JSON.

use super::proxy::{Proxies, Proxy, host_and_port};
use super::{connect, look_up};
use crate::meter::{MaybeMeter, MeteredLine};
use crate::roots;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, RustlsConnector, Transport,
};

/// How long anything may take where ureq has no limit for it.
const LONGEST: Duration = Duration::from_secs(60);

/// How long a name look-up or a connection of [`client`] may take.
const CONNECT_MAX: Duration = Duration::from_secs(15);
/// How long its server may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Most redirects that it follows.
const REDIRECTS_MAX: u32 = 5;

/// A client of web servers that looks names up by `resolver`; a `meter` counts what it carries.
pub fn agent(
    config: Config,
    resolver: impl Resolver,
    proxies: Option<&'static Proxies>,
    meter: MaybeMeter,
) -> ureq::Agent {
    let connector = Dialler { proxies, meter }.chain(RustlsConnector::default());
    ureq::Agent::with_parts(config, connector, resolver)
}

/// A client for a few requests to web servers whose addresses somebody typed, private ones included.
/// Each takes `longest` at most.
pub fn client(
    user_agent: &str,
    longest: Duration,
    proxies: Option<&'static Proxies>,
) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(REDIRECTS_MAX)
        .proxy(None)
        .timeout_connect(Some(CONNECT_MAX))
        .timeout_global(Some(longest))
        .timeout_per_read(Some(SILENCE_MAX))
        .timeout_recv_response(Some(SILENCE_MAX))
        .timeout_resolve(Some(CONNECT_MAX))
        .tls_config(roots::tls(roots::of_the_machine()))
        .user_agent(user_agent)
        .build();
    agent(config, Names, proxies, None)
}

/// Looks names up; both families stay, however many addresses there are of one.
#[derive(Debug, Default)]
pub struct Names;

impl Names {
    /// What `uri`'s host is found at.
    ///
    /// # Errors
    /// Those of ureq.
    pub fn found(
        &self,
        uri: &Uri,
        timeout: NextTimeout,
    ) -> Result<Vec<std::net::SocketAddr>, Error> {
        let wrong = || Error::BadUri(uri.to_string());
        let (scheme, authority) = uri.scheme().zip(uri.authority()).ok_or_else(wrong)?;
        let name = DefaultResolver::host_and_port(scheme, authority).ok_or_else(wrong)?;
        let at_most = timeout.not_zero().map_or(LONGEST, |after| *after);
        let found = smol::block_on(look_up(&name, at_most)).map_err(|cause| {
            if cause.kind() == io::ErrorKind::TimedOut {
                return Error::Timeout(timeout.reason);
            }
            let why = format!("look up the name {}: {cause}", authority.host());
            Error::Io(io::Error::new(cause.kind(), why))
        })?;
        if found.is_empty() { Err(Error::HostNotFound) } else { Ok(found) }
    }
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let mut all = self.empty();
        fill(&mut all, &self.found(uri, timeout)?);
        Ok(all)
    }
}

/// Gives ureq as many addresses as it takes, of both families.
pub fn fill(into: &mut ResolvedSocketAddrs, found: &[std::net::SocketAddr]) {
    for address in super::order::interleaved(found, None) {
        into.push(address);
    }
}

#[derive(Debug)]
struct Dialler {
    proxies: Option<&'static Proxies>,
    meter: MaybeMeter,
}

impl Connector<()> for Dialler {
    type Out = Tcp;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Tcp>, Error> {
        let is_secure = details.needs_tls();
        let host = details.uri.host().unwrap_or_default();
        let port = details.uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let at_most = details.timeout.not_zero().map_or(LONGEST, |after| *after);
        let proxy = match self.proxies {
            Some(proxies) => proxies.of(is_secure, host, port).map_err(io::Error::other)?,
            None => None,
        };
        let mut line = MeteredLine::open(&self.meter, host)?;
        let opening = async {
            let Some(proxy) = proxy else {
                let connected = connect(host, &details.addrs, at_most).await.map_err(|cause| {
                    let why = format!("connect to {}: {cause}", host_and_port(host, port));
                    io::Error::new(io::Error::from(cause).kind(), why)
                })?;
                return connected.stream.into_inner();
            };
            let mut stream = super::to_proxy(proxy, at_most).await?.stream;
            if is_secure {
                proxy.tunnel(&mut stream, host, port, &mut line).await?;
            }
            stream.into_inner()
        };
        let stream = smol::block_on(smol::future::or(opening, super::silence(at_most)));
        let stream = stream.map_err(|cause| {
            // Silence alone has no words of its own.
            let is_bare = cause.kind() == io::ErrorKind::TimedOut && cause.get_ref().is_none();
            if is_bare { Error::Timeout(details.timeout.reason) } else { cause.into() }
        })?;
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        line.is_open(&stream)?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        let asked = proxy.filter(|_| !is_secure).map(|proxy| WebAsked::new(proxy, details.uri));
        Ok(Some(Tcp { stream, line, buffers, asked, read_timeout: None, write_timeout: None }))
    }
}

/// How a proxy is asked for plain HTTP.
#[derive(Debug)]
struct WebAsked {
    /// What stands before the path.
    whole: String,
    authorization: Option<String>,
}

impl WebAsked {
    fn new(proxy: &Proxy, uri: &Uri) -> Self {
        let host = uri.host().unwrap_or_default();
        let whole = match uri.port_u16() {
            Some(port) => format!("http://{}", host_and_port(host, port)),
            None => format!("http://{host}"),
        };
        Self { whole, authorization: proxy.authorization().map(str::to_owned) }
    }

    /// The first bytes of a request as the proxy wants them, if these are some, and how many of ours
    /// they stand for.
    fn head(&self, output: &[u8]) -> Option<(Vec<u8>, usize)> {
        let method = [&b"GET "[..], b"POST "].into_iter().find(|it| output.starts_with(it))?;
        if output.get(method.len()) != Some(&b'/') {
            return None;
        }
        let end = output.windows(2).position(|two| two == b"\r\n")? + 2;
        let mut head = [method, self.whole.as_bytes(), &output[method.len()..end]].concat();
        if let Some(authorization) = &self.authorization {
            head.extend(format!("Proxy-Authorization: {authorization}\r\n").bytes());
        }
        Some((head, end))
    }
}

struct Tcp {
    stream: TcpStream,
    line: MeteredLine,
    buffers: LazyBuffers,
    asked: Option<WebAsked>,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tcp").field(&self.stream).finish()
    }
}

/// What is left of a timeout; an error if nothing is.
fn left(timeout: NextTimeout) -> Result<Option<Duration>, Error> {
    if timeout.after.is_zero() {
        return Err(Error::Timeout(timeout.reason));
    }
    Ok(timeout.not_zero().map(|after| *after))
}

/// Says which timeout a blocking socket's error was.
fn failed(cause: io::Error, timeout: NextTimeout) -> Error {
    match cause.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => Error::Io(cause),
    }
}

impl Transport for Tcp {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        let left = left(timeout)?;
        if left != self.write_timeout {
            self.stream.set_write_timeout(left)?;
            self.write_timeout = left;
        }
        let output = &self.buffers.output()[..amount];
        let head = self.asked.as_ref().and_then(|asked| asked.head(output));
        let (head, from) = head.unwrap_or_default();
        for part in [&head, &output[from..]] {
            let mut left = part;
            while !left.is_empty() {
                let allowed = self.line.waits(left.len())?;
                let written = self.stream.write(&left[..allowed]);
                self.line.sent(allowed, *written.as_ref().unwrap_or(&0));
                match written {
                    Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                    Ok(bytes) => left = &left[bytes..],
                    Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                    Err(cause) => return Err(failed(cause, timeout)),
                }
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        let left = left(timeout)?;
        if left != self.read_timeout {
            self.stream.set_read_timeout(left)?;
            self.read_timeout = left;
        }
        let read = loop {
            let into = self.buffers.input_append_buf();
            let allowed = self.line.waits(into.len())?;
            let read = self.stream.read(&mut into[..allowed]);
            self.line.received(allowed, *read.as_ref().unwrap_or(&0));
            match read {
                // A signal; the time that went by is little.
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(|cause| failed(cause, timeout))?,
            }
        };
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    /// A connection that has something to say before it is asked, its end included, is of no use.
    fn is_open(&mut self) -> bool {
        let is_silent = |stream: &TcpStream| {
            stream.set_nonblocking(true)?;
            let peeked = stream.peek(&mut [0]);
            stream.set_nonblocking(false)?;
            Ok::<_, io::Error>(peeked.is_err_and(|cause| cause.kind() == io::ErrorKind::WouldBlock))
        };
        is_silent(&self.stream).unwrap_or(false)
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        self.line.closes(&self.stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_asked_for_the_whole_address() {
        let asked = |authorization: Option<&str>| WebAsked {
            whole: "http://a.example:8080".to_owned(),
            authorization: authorization.map(str::to_owned),
        };
        let head = |asked: &WebAsked, output: &[u8]| {
            let (head, from) = asked.head(output)?;
            Some(String::from_utf8([&head, &output[from..]].concat()).unwrap())
        };
        let whole = "GET http://a.example:8080/x HTTP/1.1\r\nhost: a.example\r\n\r\n";
        let output = b"GET /x HTTP/1.1\r\nhost: a.example\r\n\r\n";
        assert_eq!(head(&asked(None), output).as_deref(), Some(whole));
        let whole = "POST http://a.example:8080/x HTTP/1.1\r\nProxy-Authorization: y\r\n\r\n{}";
        let output = b"POST /x HTTP/1.1\r\n\r\n{}";
        assert_eq!(head(&asked(Some("y")), output).as_deref(), Some(whole));
        for body in [&b"{\"GET \":1}"[..], b"", b"GET x HTTP/1.1\r\n", b"GET /"] {
            assert_eq!(head(&asked(None), body), None);
        }
    }
}
