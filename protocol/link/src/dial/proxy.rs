//! Proxies, as a home's or an office's environment names them: `HTTPS_PROXY`, `HTTP_PROXY` and
//! `NO_PROXY`, in either case, the lower-case ones first.
//!
//! What goes by TLS goes through a tunnel (`CONNECT`): the proxy learns host and port and nothing
//! else. What goes by plain HTTP is asked of the proxy.
//!
//! Only a proxy that is itself spoken to in plain HTTP is understood. Any other is told where it
//! would be used; nothing goes past it.
//!
//! Spec: RFC 9110 §9.3.6; curl's manual, "ENVIRONMENT".

use crate::meter::MeteredLine;
use data_encoding::BASE64;
use smol::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::OnceLock;

/// Longest answer to CONNECT in bytes, without what comes through the tunnel.
const ANSWER_BYTES_MAX: usize = 8 * 1024;
/// Longest setting that is read, in bytes.
const SETTING_BYTES_MAX: usize = 64 * 1024;
/// The port of a proxy that names none, as curl has it.
const PORT: u16 = 1080;

/// What the environment says of proxies.
#[derive(Debug, Default)]
pub struct Proxies {
    plain: Option<Result<Proxy, String>>,
    secure: Option<Result<Proxy, String>>,
    except: Vec<Exception>,
}

/// One proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    variable: &'static str,
    host: String,
    port: u16,
    authorization: Option<String>,
}

/// Without its password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{} ({})", self.host_and_port(), self.variable)
    }
}

/// What goes past the proxies.
#[derive(Debug, PartialEq, Eq)]
enum Exception {
    All,
    /// A name and all below it, at this port or any.
    Name(String, Option<u16>),
    /// Addresses that begin with as many bits as these.
    Net(IpAddr, u32),
}

impl Proxies {
    /// Those of this process's environment, read once.
    pub fn of_environment() -> &'static Self {
        static FOUND: OnceLock<Proxies> = OnceLock::new();
        FOUND.get_or_init(|| Self::read(|name| std::env::var(name).ok()))
    }

    fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| {
                let text = get(name).filter(|text| text.len() <= SETTING_BYTES_MAX)?;
                let text = text.trim();
                (!text.is_empty()).then(|| (name, text.to_owned()))
            })
        };
        let proxy = |names| first(names).map(|(name, text)| Proxy::read(name, &text));
        let except = first(["no_proxy", "NO_PROXY"]).map(|(_, text)| text).unwrap_or_default();
        let words = except.split([',', ' ', '\t']).filter(|word| !word.is_empty());
        Self {
            plain: proxy(["http_proxy", "HTTP_PROXY"]),
            secure: proxy(["https_proxy", "HTTPS_PROXY"]),
            except: words.filter_map(Exception::read).collect(),
        }
    }

    /// The proxy for TLS, or for plain HTTP, with a host, which may stand in brackets.
    ///
    /// # Errors
    /// One line: the environment names one that isn't understood, and what to do.
    pub fn of(&self, is_secure: bool, host: &str, port: u16) -> Result<Option<&Proxy>, String> {
        let proxy = if is_secure { &self.secure } else { &self.plain };
        let Some(proxy) = proxy else {
            return Ok(None);
        };
        let host = host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase();
        if self.except.iter().any(|exception| exception.is_for(&host, port)) {
            return Ok(None);
        }
        proxy.as_ref().map(Some).map_err(Clone::clone)
    }

    /// What goes through which proxy, or why it can't, for people.
    pub fn told(&self) -> Vec<Result<String, String>> {
        [("arbiters and sources by https", &self.secure), ("sources by http", &self.plain)]
            .into_iter()
            .filter_map(|(what, proxy)| {
                let proxy = proxy.as_ref()?.as_ref();
                let except = if self.except.is_empty() { "" } else { ", but for NO_PROXY's" };
                Some(match proxy {
                    Ok(proxy) => {
                        Ok(format!("{what} are reached through the proxy {proxy}{except}"))
                    }
                    Err(why) => Err(format!("{what} are not reached: {why}")),
                })
            })
            .collect()
    }

    /// Whether there is one for anything.
    pub const fn is_any(&self) -> bool {
        self.plain.is_some() || self.secure.is_some()
    }

    /// Whether there is one for what goes by TLS.
    pub const fn is_any_secure(&self) -> bool {
        self.secure.is_some()
    }
}

impl Proxy {
    fn read(variable: &'static str, text: &str) -> Result<Self, String> {
        let wrong = || {
            // It may have a password in it.
            let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
            let what = if ["", "http"].contains(&scheme) { "what it says" } else { scheme };
            format!("{variable}: {what} isn't understood; use http://HOST:PORT")
        };
        let rest = match text.split_once("://") {
            None => text,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(wrong()),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(literal) => literal.split_once(']').ok_or_else(wrong)?,
            None => place.split_at(place.find(':').unwrap_or(place.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
            None if port.is_empty() => PORT,
            None => return Err(wrong()),
        };
        let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_of_host) {
            return Err(wrong());
        }
        let authorization = user.map(|user| {
            let user = if user.contains(':') { user.to_owned() } else { format!("{user}:") };
            format!("Basic {}", BASE64.encode(&unescaped(&user)))
        });
        Ok(Self { variable, host: host.to_owned(), port, authorization })
    }

    /// Where it is.
    pub fn host_and_port(&self) -> String {
        host_and_port(&self.host, self.port)
    }

    /// Its host's name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What it wants to see in `Proxy-Authorization`.
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// Has it connect `stream`, which leads to it, to a host, which may stand in brackets. How many
    /// bytes that took each way is told to `line`.
    ///
    /// # Errors
    /// The stream's; what it answers, where it doesn't.
    pub async fn tunnel(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        host: &str,
        port: u16,
        line: &mut MeteredLine,
    ) -> io::Result<()> {
        let to = host_and_port(host, port);
        let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n");
        if let Some(authorization) = &self.authorization {
            request += &format!("Proxy-Authorization: {authorization}\r\n");
        }
        request += "\r\n";
        stream.write_all(request.as_bytes()).await?;
        line.sent(0, request.len());
        // What is behind the answer is the tunnel's: no byte of it is read here.
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") && !answer.ends_with(b"\n\n") {
            let mut byte = [0];
            if answer.len() == ANSWER_BYTES_MAX {
                return Err(self.failed(format!("its answer is over {ANSWER_BYTES_MAX} bytes")));
            }
            if stream.read(&mut byte).await? == 0 {
                return Err(self.failed("it closed the connection".to_owned()));
            }
            answer.extend(byte);
        }
        line.received(0, answer.len());
        let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let mut words = line.trim().splitn(3, ' ');
        let is_http = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
        let status: Option<u16> = words.next().and_then(|status| status.parse().ok());
        match status {
            Some(200..=299) if is_http => Ok(()),
            Some(status) if is_http => {
                let help = if status == 407 { ": use http://USER:PASSWORD@HOST:PORT" } else { "" };
                Err(self.failed(format!("it doesn't connect to {to}, status {status}{help}")))
            }
            _ => Err(self.failed("what answers there is no HTTP proxy".to_owned())),
        }
    }

    fn failed(&self, why: String) -> io::Error {
        io::Error::other(format!("proxy {self}: {why}"))
    }
}

impl Exception {
    fn read(word: &str) -> Option<Self> {
        if word == "*" {
            return Some(Self::All);
        }
        let bare = |text: &str| text.trim_start_matches('[').trim_end_matches(']').parse().ok();
        if let Some(ip) = bare(word) {
            return Some(Self::Net(ip, 128));
        }
        if let Some((ip, bits)) = word.split_once('/') {
            return Some(Self::Net(bare(ip)?, bits.parse().ok()?));
        }
        let (name, port) = match word.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (word, None),
        };
        let name = name.trim_start_matches('*').trim_matches('.').to_ascii_lowercase();
        (!name.is_empty()).then_some(Self::Name(name, port))
    }

    fn is_for(&self, host: &str, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::Name(name, at) => {
                let before = host.strip_suffix(name.as_str());
                let is_it = before.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                is_it && at.is_none_or(|at| at == port)
            }
            Self::Net(net, bits) => match (net, host.parse()) {
                (IpAddr::V4(net), Ok(IpAddr::V4(ip))) => {
                    let differ = u32::from_be_bytes(net.octets()) ^ u32::from_be_bytes(ip.octets());
                    differ.leading_zeros() >= (*bits).min(32)
                }
                (IpAddr::V6(net), Ok(IpAddr::V6(ip))) => {
                    let differ =
                        u128::from_be_bytes(net.octets()) ^ u128::from_be_bytes(ip.octets());
                    differ.leading_zeros() >= (*bits).min(128)
                }
                _ => false,
            },
        }
    }
}

/// Host and port as an address has them; the host may stand in brackets or not.
pub fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        return format!("[{host}]:{port}");
    }
    format!("{host}:{port}")
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |byte: &u8| char::from(*byte).to_digit(16);
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, behind @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                let value = hex(high).zip(hex(low)).map(|(high, low)| high * 16 + low);
                bytes.extend(value.and_then(|value| u8::try_from(value).ok()));
                rest = behind;
            }
            _ => bytes.push(*first),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(environment: &[(&str, &str)]) -> Proxies {
        let of = |name: &str| environment.iter().find(|(key, _)| *key == name);
        Proxies::read(|name| of(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_environment_is_read() {
        let found = proxies(&[
            ("https_proxy", ""),
            ("HTTPS_PROXY", "http://al%40:p%3a@proxy.example:3128/"),
            ("http_proxy", "[2001:db8::1]:8080"),
            ("HTTP_PROXY", "http://not.this.example"),
            ("NO_PROXY", "localhost, .a.example,b.example:8443 10.0.0.0/8,[::1],*.c.example,x/y"),
        ]);
        let of = |is_secure, host, port| found.of(is_secure, host, port).unwrap();
        let secure = of(true, "d.example", 443).unwrap();
        assert_eq!(secure.to_string(), "http://proxy.example:3128 (HTTPS_PROXY)");
        let authorization = format!("Basic {}", BASE64.encode(b"al@:p:"));
        assert_eq!(secure.authorization(), Some(authorization.as_str()));
        let plain = of(false, "d.example", 80).unwrap();
        assert_eq!(plain.to_string(), "http://[2001:db8::1]:8080 (http_proxy)");
        for (host, port, is_past) in [
            ("localhost", 443, true),
            ("a.example", 443, true),
            ("x.A.example.", 443, true),
            ("xa.example", 443, false),
            ("b.example", 443, false),
            ("b.example", 8443, true),
            ("c.example", 1, true),
            ("10.1.2.3", 443, true),
            ("11.1.2.3", 443, false),
            ("[::1]", 443, true),
            ("::2", 443, false),
        ] {
            assert_eq!(of(true, host, port).is_none(), is_past, "{host}:{port}");
        }
        let all = proxies(&[("no_proxy", "*"), ("https_proxy", "p.example")]);
        assert_eq!(all.of(true, "a.example", 443), Ok(None));
        let none = proxies(&[("HTTP_PROXY", " ")]);
        assert!(none.told().is_empty());
        assert_eq!(none.of(false, "a.example", 80), Ok(None));
    }

    #[test]
    fn what_is_not_understood_is_told_without_its_password() {
        for text in
            ["socks5://u:secret@h:1", "https://u:secret@h:1", "http://u:secret@h:x", "http://"]
        {
            let found = proxies(&[("HTTPS_PROXY", text)]);
            let why = found.of(true, "a.example", 443).unwrap_err();
            assert!(why.contains("HTTPS_PROXY") && why.contains("use "), "{why}");
            assert!(!why.contains("secret"), "{why}");
            assert!(found.told()[0].as_ref().is_err_and(|told| told.contains(&why)));
        }
    }

    #[test]
    fn a_tunnel_is_asked_for() {
        struct Proxied<'a>(&'a [u8], Vec<u8>);
        impl AsyncRead for Proxied<'_> {
            fn poll_read(
                mut self: std::pin::Pin<&mut Self>,
                context: &mut std::task::Context<'_>,
                into: &mut [u8],
            ) -> std::task::Poll<io::Result<usize>> {
                std::pin::Pin::new(&mut self.0).poll_read(context, into)
            }
        }
        impl AsyncWrite for Proxied<'_> {
            fn poll_write(
                mut self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                from: &[u8],
            ) -> std::task::Poll<io::Result<usize>> {
                self.1.extend(from);
                std::task::Poll::Ready(Ok(from.len()))
            }
            fn poll_flush(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<io::Result<()>> {
                std::task::Poll::Ready(Ok(()))
            }
            fn poll_close(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<io::Result<()>> {
                std::task::Poll::Ready(Ok(()))
            }
        }
        let proxy = Proxy::read("HTTPS_PROXY", "u@p.example:1").unwrap();
        let ask = |answer: &[u8], host: &str| {
            let mut stream = Proxied(answer, Vec::new());
            let mut line = MeteredLine::open(&None, host).unwrap();
            let done = smol::block_on(proxy.tunnel(&mut stream, host, 443, &mut line));
            let asked = String::from_utf8(stream.1).unwrap();
            (done.map_err(|cause| cause.to_string()), asked, stream.0.to_vec())
        };
        let (done, asked, left) = ask(b"HTTP/1.1 200 Connection established\r\n\r\nx", "a.example");
        assert_eq!((done, left), (Ok(()), b"x".to_vec()));
        assert!(asked.starts_with("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n"));
        assert!(asked.ends_with("\r\nProxy-Authorization: Basic dTo=\r\n\r\n"), "{asked}");
        assert!(ask(b"HTTP/1.0 200\n\n", "::1").1.starts_with("CONNECT [::1]:443 "));
        for (answer, part) in [
            (&b"HTTP/1.1 407 x\r\n\r\n"[..], "USER:PASSWORD"),
            (b"HTTP/1.1 403 Forbidden\r\n\r\n", "status 403"),
            (b"SSH-2.0-x\r\n\r\n", "no HTTP proxy"),
            (b"\xff\n\n", "no HTTP proxy"),
            (b"HTTP/1.1 200 OK\r\n", "closed the connection"),
            (&[b'x'; 2 * ANSWER_BYTES_MAX], "bytes"),
        ] {
            let why = ask(answer, "a.example").0.unwrap_err();
            assert!(
                why.contains("http://p.example:1 (HTTPS_PROXY)") && why.contains(part),
                "{why}"
            );
        }
    }
}
