//! From which address a request comes: the connection's, or what a reverse proxy says that the
//! operator trusts.

use hyper::HeaderMap;
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// The operator's reverse proxies. Nobody else is believed about where a request comes from.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(pub Vec<TrustedProxy>);

/// One of them: an address, or a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxy(IpNet);

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.parse::<IpAddr>();
        let network = address.map(|address| IpNet::from(address.to_canonical()));
        match network.or_else(|_| text.parse()) {
            Ok(network) => Ok(Self(network)),
            Err(_) => Err("use 127.0.0.1 or 192.0.2.0/24".to_owned()),
        }
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TrustedProxies {
    /// Whether an address is one of theirs.
    pub fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|proxy| proxy.0.contains(&address))
    }

    /// Whose request it is that came over a connection from `address`. Each proxy adds whom it
    /// heard of at the end, so the last one that isn't a proxy itself is the client; what stands
    /// before was written by nobody who is trusted. Where there are both headers, Forwarded counts.
    ///
    /// Spec: RFC 7239 for Forwarded; X-Forwarded-For has none.
    pub fn client(&self, address: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = address.to_canonical();
        if !self.has(client) {
            return client;
        }
        let values = |name: &str| -> Vec<String> {
            let values = headers.get_all(name).iter();
            let texts = values.filter_map(|value| value.to_str().ok());
            texts.flat_map(|text| text.split(',')).map(str::to_owned).collect()
        };
        let mut hops: Vec<Option<IpAddr>> = values("forwarded")
            .iter()
            .map(|element| {
                let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
                let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
                node_address(node.trim().trim_matches('"'))
            })
            .collect();
        if hops.is_empty() {
            let named = values("x-forwarded-for");
            hops = named.iter().map(|node| node_address(node.trim())).collect();
        }
        for hop in hops.into_iter().rev() {
            // A proxy that hides its client (`unknown`, `_hidden`) stands for it.
            let Some(hop) = hop else { break };
            client = hop.to_canonical();
            if !self.has(client) {
                break;
            }
        }
        client
    }
}

/// An address with or without a port, IPv6 with or without brackets.
fn node_address(node: &str) -> Option<IpAddr> {
    let bare = node.strip_prefix('[').and_then(|literal| literal.strip_suffix(']')).unwrap_or(node);
    let address = bare.parse().ok();
    address.or_else(|| node.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    fn client(from: &str, headers: &[(&'static str, &str)]) -> String {
        let proxies = ["127.0.0.1", "10.0.0.0/8", "::1"].map(|text| text.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            map.append(HeaderName::from_static(name), value);
        }
        let proxies = TrustedProxies(proxies.to_vec());
        proxies.client(from.parse().unwrap(), &map).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let said = [("x-forwarded-for", "192.0.2.9")];
        assert_eq!(client("127.0.0.1", &said), "192.0.2.9");
        assert_eq!(client("::ffff:127.0.0.1", &said), "192.0.2.9");
        assert_eq!(client("::1", &said), "192.0.2.9");
        assert_eq!(client("192.0.2.1", &said), "192.0.2.1");
        assert_eq!(client("::2", &said), "::2");
        assert_eq!(client("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn the_last_that_is_no_proxy_is_the_client() {
        for (name, value, address) in [
            ("x-forwarded-for", "6.6.6.6, 192.0.2.9", "192.0.2.9"),
            ("x-forwarded-for", "6.6.6.6,192.0.2.9 , 10.1.2.3", "192.0.2.9"),
            ("x-forwarded-for", "2001:db8::1", "2001:db8::1"),
            ("x-forwarded-for", "[2001:db8::1]:443", "2001:db8::1"),
            ("x-forwarded-for", "192.0.2.9:5000", "192.0.2.9"),
            ("x-forwarded-for", "6.6.6.6, unknown", "127.0.0.1"),
            ("x-forwarded-for", "6.6.6.6, unknown, 10.0.0.1", "10.0.0.1"),
            ("x-forwarded-for", "", "127.0.0.1"),
            ("x-forwarded-for", "\u{e9}", "127.0.0.1"),
            ("forwarded", "for=192.0.2.9", "192.0.2.9"),
            ("forwarded", "for=6.6.6.6, For=\"[2001:db8::1]:80\";by=_x", "2001:db8::1"),
            ("forwarded", "proto=https;for=192.0.2.9:80, for=10.0.0.1", "192.0.2.9"),
            ("forwarded", "for=6.6.6.6, for=_hidden", "127.0.0.1"),
            ("forwarded", "for=6.6.6.6, proto=https", "127.0.0.1"),
        ] {
            assert_eq!(client("127.0.0.1", &[(name, value)]), address, "{name}: {value}");
        }
        let two = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.9")];
        assert_eq!(client("127.0.0.1", &two), "192.0.2.9");
        let both = [("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=192.0.2.9")];
        assert_eq!(client("127.0.0.1", &both), "192.0.2.9");
    }
}
