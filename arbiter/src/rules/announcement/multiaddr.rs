//! Multiaddrs that name an `http://` or `https://` address, as text and as bytes.
//!
//! One is a row of protocols, each with its value: `/dns4/repo.example/tcp/443/https`. Read are
//! host (`dns`, `dns4`, `dns6`, `ip4`, `ip6`), `tcp`, scheme (`http`, `https`, `tls/http`, with
//! `sni`) and `http-path`, in that order; `p2p` at the end is the peer id of who publishes.
//! Any other protocol makes it an address of something else than a web server.
//!
//! Spec: multiformats/multiaddr, `protocols.csv` for the codes and `protocols/http-path.md`.

use canister_protocol::Uri;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest multiaddr in bytes.
const MULTIADDR_BYTES_MAX: usize = 4096;

/// One protocol of a multiaddr, with its value.
#[derive(Debug, PartialEq, Eq)]
enum Protocol {
    /// A name or an address, without brackets.
    Host(String),
    Http,
    HttpPath(Vec<u8>),
    Https,
    P2p(String),
    Sni,
    Tcp(u16),
    Tls,
}

/// A web server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WebPlace {
    pub(super) uri: Uri,
    /// The peer id of who publishes there, in base58 or however it is written.
    pub(super) publisher: Option<String>,
}

/// What a multiaddr's text names.
///
/// # Errors
/// What is wrong with it, or why it names none.
pub(super) fn from_text(text: &str) -> Result<WebPlace, String> {
    bounded(text.len())?;
    let mut words = text
        .strip_prefix('/')
        .ok_or("a multiaddr begins with a slash")?
        .trim_end_matches('/')
        .split('/');
    let mut protocols = Vec::new();
    while let Some(name) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{name} has no value"));
        protocols.push(match name {
            "ip4" => host::<Ipv4Addr>(value()?)?,
            "ip6" => host::<Ipv6Addr>(value()?)?,
            "dns" | "dns4" | "dns6" => Protocol::Host(value()?.to_owned()),
            "tcp" => tcp(value()?)?,
            "tls" => Protocol::Tls,
            "sni" => {
                value()?;
                Protocol::Sni
            }
            "http" => Protocol::Http,
            "https" => Protocol::Https,
            "http-path" => {
                Protocol::HttpPath(percent_encoding::percent_decode_str(value()?).collect())
            }
            "p2p" | "ipfs" => Protocol::P2p(value()?.to_owned()),
            other => return Err(not_http(&format!("{other:?}"))),
        });
    }
    web_address(protocols)
}

/// What a multiaddr's bytes name.
///
/// # Errors
/// What is wrong with them, or why they name none.
pub(super) fn from_bytes(bytes: &[u8]) -> Result<WebPlace, String> {
    bounded(bytes.len())?;
    let mut rest = Bytes(bytes);
    let mut protocols = Vec::new();
    while !rest.0.is_empty() {
        protocols.push(match rest.number()? {
            4 => {
                let address: [u8; 4] = rest.fixed()?;
                Protocol::Host(Ipv4Addr::from(address).to_string())
            }
            6 => Protocol::Tcp(u16::from_be_bytes(rest.fixed()?)),
            41 => {
                let address: [u8; 16] = rest.fixed()?;
                Protocol::Host(Ipv6Addr::from(address).to_string())
            }
            53..=55 => {
                let name = std::str::from_utf8(rest.counted()?);
                Protocol::Host(name.map_err(|_| "its name is not UTF-8")?.to_owned())
            }
            421 => Protocol::P2p(bs58::encode(rest.counted()?).into_string()),
            443 => Protocol::Https,
            448 => Protocol::Tls,
            449 => {
                rest.counted()?;
                Protocol::Sni
            }
            480 => Protocol::Http,
            481 => Protocol::HttpPath(rest.counted()?.to_vec()),
            other => return Err(not_http(&other.to_string())),
        });
    }
    web_address(protocols)
}

/// A uri as the bytes of a multiaddr.
pub(super) fn to_bytes(uri: &Uri) -> Vec<u8> {
    let mut bytes = Vec::new();
    match uri.host().parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => bytes.extend([&[4], &address.octets()[..]].concat()),
        Ok(IpAddr::V6(address)) => bytes.extend([&[41], &address.octets()[..]].concat()),
        Err(_) => {
            bytes.push(53);
            put_counted(&mut bytes, uri.host().as_bytes());
        }
    }
    bytes.push(6);
    bytes.extend(uri.port().to_be_bytes());
    put_number(&mut bytes, if uri.is_https() { 443 } else { 480 });
    let path = uri.steps().join(&b'/');
    if !path.is_empty() {
        put_number(&mut bytes, 481);
        put_counted(&mut bytes, &path);
    }
    bytes
}

/// The same as text.
pub(super) fn to_text(uri: &Uri) -> String {
    let host = match uri.host().parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => "ip4",
        Ok(IpAddr::V6(_)) => "ip6",
        Err(_) => "dns",
    };
    let mut text = format!("/{host}/{}/tcp/{}/{}", uri.host(), uri.port(), uri.scheme());
    let path = uri.steps().join(&b'/');
    if !path.is_empty() {
        text += &format!("/http-path/{}", percent_encode(&path, NON_ALPHANUMERIC));
    }
    text
}

fn put_counted(bytes: &mut Vec<u8>, value: &[u8]) {
    put_number(bytes, value.len());
    bytes.extend(value);
}

/// An unsigned varint.
fn put_number(bytes: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn bounded(bytes: usize) -> Result<(), String> {
    if bytes > MULTIADDR_BYTES_MAX {
        return Err(format!("a multiaddr of {bytes} bytes, at most {MULTIADDR_BYTES_MAX}"));
    }
    Ok(())
}

fn not_http(protocol: &str) -> String {
    format!("a multiaddr with the protocol {protocol} is no http or https address")
}

fn host<A: std::str::FromStr + ToString>(text: &str) -> Result<Protocol, String> {
    match text.parse::<A>() {
        Ok(address) => Ok(Protocol::Host(address.to_string())),
        Err(_) => Err(format!("{text:?} is not an address")),
    }
}

fn tcp(text: &str) -> Result<Protocol, String> {
    let port = text.parse().ok();
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    match port.filter(|_| is_number) {
        Some(port) => Ok(Protocol::Tcp(port)),
        None => Err(format!("{text:?} is not a port")),
    }
}

/// Reads the row of protocols from left to right, each at most once.
fn web_address(protocols: Vec<Protocol>) -> Result<WebPlace, String> {
    let mut row = protocols.into_iter().peekable();
    let Some(Protocol::Host(host)) = row.next() else {
        return Err(
            "a multiaddr of a web server begins with dns, dns4, dns6, ip4 or ip6".to_owned()
        );
    };
    let port = match row.peek() {
        Some(&Protocol::Tcp(0)) => return Err("0 is not a port".to_owned()),
        Some(&Protocol::Tcp(port)) => {
            row.next();
            Some(port)
        }
        _ => None,
    };
    let is_tls = row.next_if_eq(&Protocol::Tls).is_some();
    if is_tls {
        row.next_if_eq(&Protocol::Sni);
    }
    let is_https = match (row.next(), is_tls) {
        (Some(Protocol::Http), is_tls) => is_tls,
        (Some(Protocol::Https), false) => true,
        _ => return Err("the multiaddr names neither http nor https behind its host".to_owned()),
    };
    let path = match row.next_if(|next| matches!(next, Protocol::HttpPath(_))) {
        Some(Protocol::HttpPath(path)) => path,
        _ => Vec::new(),
    };
    let publisher = match row.next_if(|next| matches!(next, Protocol::P2p(_))) {
        Some(Protocol::P2p(id)) => Some(id),
        _ => None,
    };
    if let Some(more) = row.next() {
        return Err(format!("the multiaddr goes on behind its web server: {more:?}"));
    }
    Ok(WebPlace { uri: Uri::build(is_https, &host, port, &path)?, publisher })
}

/// The bytes of a multiaddr that aren't read yet.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("the multiaddr is cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| "cut off".to_owned())
    }

    /// An unsigned varint of at most four bytes, which is more than any protocol or length needs.
    fn number(&mut self) -> Result<usize, String> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let [byte] = self.fixed()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number of the multiaddr is too large".to_owned())
    }

    /// A value behind its length.
    fn counted(&mut self) -> Result<&'a [u8], String> {
        let count = self.number()?;
        self.take(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text, its bytes in hexadecimal, and the uri. The bytes were put together by hand from the
    /// table of protocols.
    const BOTH: &[(&str, &str, &str)] = &[
        (
            "/dns4/repo.example/tcp/443/https",
            "36 0c 7265706f2e6578616d706c65 06 01bb bb03",
            "https://repo.example",
        ),
        (
            "/dns/repo.example/tcp/8080/http",
            "35 0c 7265706f2e6578616d706c65 06 1f90 e003",
            "http://repo.example:8080",
        ),
        ("/dns6/h/tcp/443/tls/http", "37 01 68 06 01bb c003 e003", "https://h"),
        ("/dns4/h/tcp/443/tls/sni/h/http", "36 01 68 06 01bb c003 c103 01 68 e003", "https://h"),
        ("/ip4/192.0.2.7/tcp/80/http", "04 c0000207 06 0050 e003", "http://192.0.2.7"),
        (
            "/ip6/2001:db8::1/tcp/8443/https",
            "29 20010db8000000000000000000000001 06 20fb bb03",
            "https://[2001:db8::1]:8443",
        ),
        (
            "/dns4/h/tcp/443/https/http-path/apt%2Fios%20x",
            "36 01 68 06 01bb bb03 e103 09 6170742f696f732078",
            "https://h/apt/ios%20x",
        ),
        ("/dns/h/https", "35 01 68 bb03", "https://h"),
        (
            "/dns/h/https/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
            "35 01 68 bb03 a503 02 0001",
            "https://h",
        ),
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.replace(' ', "");
        data_encoding::HEXLOWER.decode(digits.as_bytes()).unwrap()
    }

    #[test]
    fn text_and_bytes_name_the_same_uri() {
        for (text, hex, uri) in BOTH {
            assert_eq!(from_text(text).unwrap().uri.to_string(), *uri);
            assert_eq!(from_bytes(&bytes(hex)).unwrap().uri.to_string(), *uri, "{text}");
            let place = Uri::parse(uri).unwrap();
            assert_eq!(from_bytes(&to_bytes(&place)).unwrap().uri, place);
            assert_eq!(from_text(&to_text(&place)).unwrap().uri, place);
        }
    }

    #[test]
    fn who_publishes_is_its_peer_id() {
        // The bytes are those of ipni/specs' example of an announcement: an Ed25519 key of 32 bytes.
        let id = "12D3KooW9pP4Seg3kZYhySpuVjn1RPdQBsUFZKiFxGMGQN5MeL6A";
        let key: String = (0..32).map(|byte| format!("{byte:02x}")).collect();
        let hex = format!("35 01 68 bb03 a503 26 002408011220{key}");
        for read in [from_text(&format!("/dns/h/https/p2p/{id}")), from_bytes(&bytes(&hex))] {
            assert_eq!(read.unwrap().publisher.as_deref(), Some(id));
        }
    }

    #[test]
    fn what_is_no_web_server_is_refused() {
        for text in [
            "",
            "/",
            "dns4/h/https",
            "/dns4",
            "/dns4/h",
            "/dns4/h/tcp/443",
            "/dns4/h/tcp/0/https",
            "/dns4/h/tcp/65536/https",
            "/dns4/h/tcp/+1/https",
            "/dns4/h/tls/https",
            "/dns4/h/tcp/1/tcp/2/http",
            "/dns4/h/https/http",
            "/dns4/h/https/http-path/a/http-path/b",
            "/dns4/h/https/http-path/..%2Fa",
            "/dns4/h/http-path/a/https",
            "/dns4/h.\u{e9}/https",
            "/dns4/h%2Fa/https",
            "/ip4/1.2.3/tcp/80/http",
            "/ip6/1.2.3.4/tcp/80/http",
            "/ip6/fe80::1%25eth0/tcp/80/http",
            "/dnsaddr/h/https",
            "/ip4/192.0.2.7/tcp/24001/p2p/x",
            "/ip4/192.0.2.7/udp/24001/quic-v1",
            "/dns4/h/tcp/443/wss",
            "/https",
            &format!("/dns4/h/https/http-path/{}", "a".repeat(MULTIADDR_BYTES_MAX)),
        ] {
            assert!(from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cut_off_bytes_are_refused() {
        for (text, hex, _) in BOTH {
            let whole = bytes(hex);
            for end in 0..whole.len() {
                // What is left may be a shorter address of the same server, and is nothing else.
                if let Ok(cut) = from_bytes(&whole[..end]) {
                    let host = cut.uri.host().to_owned();
                    assert_eq!(from_text(text).unwrap().uri.host(), host, "{text} cut at {end}");
                }
            }
        }
        for hex in ["36", "36 ff", "36 ffffffff7f", "36 05 68", "ffff", "06 01"] {
            assert!(from_bytes(&bytes(hex)).is_err(), "{hex}");
        }
    }
}
