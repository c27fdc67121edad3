//! What `canister-agent run` can be told: every key with its default, its unit and its effect.

use crate::fetch::FetchConfig;
use crate::memory::Mebibytes;
use crate::throttle::Share;
use canister_link::identity::Files;
use canister_link::websocket;
use canister_protocol::Uri;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The arbiters a peer goes to unless it is told others.
pub const ARBITERS: [&str; 3] = [
    "wss://i1.peer.canister.me/connect",
    "wss://i2.peer.canister.me/connect",
    "wss://i3.peer.canister.me/connect",
];
/// Folder of the peer's certificate, key and authority unless it is told otherwise: renewals write
/// there.
pub const DIRECTORY: &str = "/var/lib/canister-agent";
/// Leases a peer works on at once unless it is told otherwise. Most of a lease is waiting for a
/// server, so two keep a small machine busy without ever being twice its load.
pub const SLOTS: u32 = 2;
/// Seconds that leases in hand get to finish after SIGTERM.
pub const DRAIN_SECS: u64 = 10;

/// The settings of [`agent::run`](crate::agent::run).
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// Arbiters, tried in turn; at least one.
    pub arbiters: Vec<Address>,
    /// Certificate, key, authority.
    pub files: Files,
    /// Leases to work on at once: 1 to [`SLOTS_MAX`](canister_protocol::limits::SLOTS_MAX).
    pub slots: u32,
    /// How long leases in hand may go on after SIGTERM before they are given back.
    pub drain: Duration,
    /// CPU time that the process may spend.
    pub cpu: Share,
    /// Memory that the process may use.
    pub memory: Mebibytes,
    /// How sources are fetched.
    pub fetch: FetchConfig,
    /// Whether the database may be at an address that isn't on the public internet: its server has
    /// to show a certificate of the authority, as no source has.
    pub private_database: bool,
    /// The file to touch while there is a session; made if need be.
    pub health: Option<PathBuf>,
}

/// An arbiter's address: `wss://host[:port]/connect`, port 443 unless given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    text: String,
    /// The same by `https://`.
    uri: Uri,
}

impl Address {
    /// Host name or address literal, without brackets.
    pub fn host(&self) -> &str {
        self.uri.host()
    }

    /// Port.
    pub fn port(&self) -> u16 {
        self.uri.port()
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no arbiter's address; {:?} would be one", ARBITERS[0]);
        let rest = text.strip_prefix("wss://").ok_or_else(wrong)?;
        let uri = Uri::parse(&format!("https://{rest}")).map_err(|_| wrong())?;
        if !["", websocket::PATH].contains(&uri.path()) {
            return Err(wrong());
        }
        let to_path = uri.resolve(websocket::PATH.as_bytes()).map_err(|_| wrong())?;
        Ok(Self { text: to_path.to_string().replacen("https", "wss", 1), uri })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused() {
        for (text, host, port, whole) in [
            (ARBITERS[0], "i1.peer.canister.me", 443, ARBITERS[0]),
            ("wss://a.example:8443/connect", "a.example", 8443, "wss://a.example:8443/connect"),
            ("wss://a.example", "a.example", 443, "wss://a.example/connect"),
            ("wss://127.0.0.1:9", "127.0.0.1", 9, "wss://127.0.0.1:9/connect"),
            ("wss://[::1]:9/connect", "::1", 9, "wss://[::1]:9/connect"),
            ("wss://A.example.:443", "a.example", 443, "wss://a.example/connect"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host(), address.port(), address.as_str()), (host, port, whole));
        }
        for text in [
            "",
            "a.example",
            "ws://a.example/connect",
            "https://a.example/connect",
            "wss:///connect",
            "wss://a.example:0",
            "wss://a.example:70000",
            "wss://a.example:x",
            "wss://a b/connect",
            "wss://a.example/other",
            "wss://u@a.example",
            "wss://[::1/connect",
            "wss://[::1]x/connect",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
