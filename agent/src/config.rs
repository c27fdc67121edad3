//! What `canister-agent run` can be told: each setting with its default, its unit and its effect.

use crate::caps::{Caps, Hours, RateCap, RequestCap, TrafficCaps};
use crate::fetch::{FetchConfig, USER_AGENT};
use crate::memory::Mebibytes;
use crate::throttle::Share;
use canister_link::identity::Files;
use canister_link::settings::Reader;
use canister_link::{values, websocket};
use canister_protocol::address::is_public_host;
use canister_protocol::join;
use canister_protocol::limits::{PUBLIC_NAME_BYTES_MAX, VETO_MAX};
use canister_protocol::veto::VetoEntry;
use canister_protocol::{Uri, Veto};
use log::LevelFilter;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// The arbiters a peer goes to unless it is told others.
pub const ARBITERS: [&str; 3] = [
    "wss://i1.peer.canister.me/connect",
    "wss://i2.peer.canister.me/connect",
    "wss://i3.peer.canister.me/connect",
];

/// The peer's folder unless it is told another: the service's.
pub const DIR: &str = "/var/lib/canister-agent";

canister_link::settings! {
    /// What `canister-agent run` is told.
    #[derive(Debug, Clone)]
    pub struct AgentConfig {
        /// an arbiter, as wss://host[:port]/connect; several are tried in turn
        arbiter: Vec<ArbiterAddress> => Of(|| ARBITERS.join("\n"));
        /// folder of peer.crt, peer.key and ca.crt; renewals and pauses are written there
        dir: PathBuf => Text(DIR);
        /// the peer's certificate in PEM
        certificate: PathBuf => In("dir", "peer.crt");
        /// its private key in PEM
        key: PathBuf => In("dir", "peer.key");
        /// the authority's certificate in PEM
        authority: PathBuf => In("dir", "ca.crt");
        /// where `join` asks to be admitted: the public pages of an arbiter, by https://
        join_at: JoinAddress = "https://peer.canister.me";
        // What a hotspot would answer by a page. Both are sources that peers ask every hour.
        /// files to fetch where `check` tries whether sources are reached, http:// and https://, or none
        trial: Vec<TrialAddress> =
            "http://limneos.net/repo/Release\n\
             https://repo.chariz.com/Release";
        // Most of a lease is waiting for a server, so two keep a small machine busy without ever being
        // twice its load.
        /// sources to work on at once
        slots: u32 = "2", from "1" to "64";
        /// CPU time to use at most, in threads, 0.05 to 64
        cpu: Share => Of(|| Share::PROMISED.to_string());
        /// memory to use at most, in MiB, 32 or more
        memory: Mebibytes => Of(|| Mebibytes::PROMISED.to_string());
        /// time that work in hand gets to finish after SIGTERM, before it is given back
        drain: Duration = "10s";
        /// connect to sources at addresses that aren't on the public internet, too
        allow_private: bool = "no";
        // Its server has to show a certificate of the authority, as no source has.
        /// connect to the database at such an address, too; --allow-private includes it
        private_database: bool = "no";
        /// follow another network: the public listener of one of its arbiters, as https://HOST. What it has of a source
        /// is put, and the source is asked only for what it hasn't
        follow: Option<FollowAddress>;
        /// a host, a domain, an address or a network as 2001:db8::/32 that is never asked
        never: Vec<VetoEntry>;
        /// the User-Agent header
        user_agent: String => Text(USER_AGENT);
        /// do what the operator of the arbiters wishes of this peer: drain, restart, stop. It is shown in any
        /// case
        obey: bool = "yes";
        /// a name to be shown with on the arbiters' public page, with what was confirmed of this peer's
        /// work. Without it nothing of the peer is shown
        public_name: Option<String>;
        /// file of what this machine did for whom, and of what its caps leave
        ledger: PathBuf => In("dir", "ledger");
        /// most bytes a second, both ways together, as 500KB/s
        rate: Option<RateCap>;
        /// most bytes a day and a month, both ways together, as 500MB/day,10GB/month
        traffic: Option<TrafficCaps>;
        /// most requests in any hour, as 2000/h
        requests: Option<RequestCap>;
        /// when to work, in local time, as "mon-fri 23:00-07:00, sat-sun"
        hours: Option<Hours>;
        /// the socket on which `status`, `pause`, `resume` and `drain` ask the running agent; by default
        /// agent.sock in the folder that systemd gives the service, else in --dir
        socket: Option<PathBuf>;
        /// file to touch while there is a session, for `health`; made if need be
        health: Option<PathBuf>;
        /// error, warn, info, debug or trace
        log: LevelFilter = "info";
    }
}

values!(
    ArbiterAddress,
    FollowAddress,
    Hours,
    JoinAddress,
    Mebibytes,
    RateCap,
    RequestCap,
    Share,
    TrafficCaps,
    TrialAddress,
);

impl AgentConfig {
    /// Everything that [`agent::run`](crate::agent::run) and `check` need.
    ///
    /// # Errors
    /// The first setting that can't be taken, and what to use instead.
    pub fn read_all(from: &mut Reader<'_>) -> Result<Self, String> {
        let config = Self::read(from)?;
        if config.arbiter.is_empty() {
            return Err(format!("no arbiter is named; use --arbiter {}", ARBITERS[0]));
        }
        let never = Veto::new(config.never.clone());
        if config.never.len() > VETO_MAX {
            return Err(format!("--never: {} of them; use at most {VETO_MAX}", config.never.len()));
        }
        if let Some(arbiter) = config.arbiter.iter().find(|it| never.names(it.host())) {
            return Err(format!(
                "--arbiter {arbiter}: --never forbids it; leave out one of the two"
            ));
        }
        match &config.public_name {
            Some(name) if name.len() > PUBLIC_NAME_BYTES_MAX || name.contains(char::is_control) => {
                Err(format!(
                    "--public-name: {name:?} has {} bytes or a control character; at most \
                     {PUBLIC_NAME_BYTES_MAX} bytes are shown",
                    name.len()
                ))
            }
            _ => Ok(config),
        }
    }

    pub fn files(&self) -> Files {
        let Self { certificate, key, authority, .. } = self.clone();
        Files { certificate, key, authority }
    }

    pub fn fetch(&self) -> FetchConfig {
        FetchConfig {
            allow_private: self.allow_private,
            never: Arc::new(Veto::new(self.never.clone())),
            user_agent: self.user_agent.clone(),
            ledger: None,
        }
    }

    pub fn caps(&self) -> Caps {
        Caps {
            rate: self.rate,
            traffic: self.traffic.unwrap_or_default(),
            requests: self.requests,
            hours: self.hours.clone(),
        }
    }

    /// Whether the database may be at an address that isn't on the public internet.
    pub const fn is_database_private(&self) -> bool {
        self.private_database || self.allow_private
    }
}

/// An arbiter's address: `wss://host[:port]/connect`, port 443 unless given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArbiterAddress {
    text: String,
    /// The same by `https://`.
    uri: Uri,
}

impl ArbiterAddress {
    /// Host name or address literal, without brackets.
    pub fn host(&self) -> &str {
        self.uri.host()
    }

    pub fn port(&self) -> u16 {
        self.uri.port()
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ArbiterAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for ArbiterAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("use an arbiter's address, such as {}", ARBITERS[0]);
        let rest = text.strip_prefix("wss://").ok_or_else(wrong)?;
        let uri = Uri::parse(&format!("https://{rest}")).map_err(|_| wrong())?;
        if !["", websocket::PATH].contains(&uri.path()) {
            return Err(wrong());
        }
        let to_path = uri.resolve(websocket::PATH.as_bytes()).map_err(|_| wrong())?;
        Ok(Self { text: to_path.to_string().replacen("https", "wss", 1), uri })
    }
}

/// Where it is asked: `https://host[:port][/path]`, or `http://` at a private address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinAddress(String);

impl fmt::Display for JoinAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for JoinAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            |_| "use the address of an arbiter's public pages, such as https://arbiter.example.org";
        let uri = Uri::parse(text).map_err(wrong)?;
        if !uri.is_https() && is_public_host(uri.host()) {
            return Err(
                "use https://: over http:// anybody on the way could put another authority \
                        in its place"
                    .to_owned(),
            );
        }
        let text = text.trim_end_matches('/');
        let text = text.strip_suffix(join::PATH).unwrap_or(text);
        Ok(Self(text.to_owned()))
    }
}

/// The public listener of another network's arbiter.
#[derive(Debug, Clone)]
pub struct FollowAddress(pub Uri);

impl fmt::Display for FollowAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for FollowAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Uri::parse(text).map(Self)
    }
}

/// A file that `check` tries to fetch; or none.
#[derive(Debug, Clone)]
pub struct TrialAddress(Option<Uri>);

impl TrialAddress {
    pub const fn uri(&self) -> Option<&Uri> {
        self.0.as_ref()
    }
}

impl fmt::Display for TrialAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(uri) => write!(f, "{uri}"),
            None => f.write_str("none"),
        }
    }
}

impl FromStr for TrialAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let read = Uri::parse(text).map_err(|_| "use http:// or https:// addresses, or none");
        Ok(Self(Some(read?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canister_link::settings::{Given, ValueOrigin};
    use canister_protocol::limits::SLOTS_MAX;

    fn given(flags: &[(&'static str, &str)], environment: &[(&str, &str)]) -> Given {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Given {
            flags: flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            environment: environment.iter().map(own).collect(),
            ..Given::default()
        }
    }

    fn read(given: &Given) -> Result<AgentConfig, String> {
        AgentConfig::read_all(&mut Reader::new(AgentConfig::TABLE, given))
    }

    #[test]
    fn a_flag_wins_over_a_variable_and_that_over_the_default() {
        let given = given(
            &[("slots", "4")],
            &[
                ("CANISTER_SLOTS", "3"),
                ("CANISTER_MEMORY", "64"),
                ("CANISTER_DRAIN", ""),
                ("CANISTER_ALLOW_PRIVATE", "yes"),
                ("CANISTER_ARBITER", "wss://a.example, wss://b.example:8443"),
                ("CANISTER_DIR", "/a"),
                ("CANISTER_KEY", "/b/peer.key"),
                ("CANISTER_MEMROY", "1"),
                ("CANISTER_NOTHING", ""),
            ],
        );
        let mut from = Reader::new(AgentConfig::TABLE, &given);
        let config = AgentConfig::read_all(&mut from).unwrap();
        assert_eq!((config.slots, config.drain), (4, Duration::from_secs(10)));
        assert_eq!(config.memory, "64".parse().unwrap());
        assert!(config.allow_private);
        let hosts: Vec<_> = config.arbiter.iter().map(ArbiterAddress::host).collect();
        assert_eq!(hosts, ["a.example", "b.example"]);
        let rows: Vec<_> =
            from.read.iter().map(|(it, value, origin)| (it.name, &**value, *origin)).collect();
        assert_eq!(rows.len(), AgentConfig::TABLE.len());
        for expected in [
            ("certificate", "/a/peer.crt", ValueOrigin::Default),
            ("key", "/b/peer.key", ValueOrigin::Environment),
            ("slots", "4", ValueOrigin::Flag),
            ("memory", "64", ValueOrigin::Environment),
            ("drain", "10s", ValueOrigin::Default),
            ("allow_private", "yes", ValueOrigin::Environment),
            ("log", "info", ValueOrigin::Default),
        ] {
            assert!(rows.contains(&expected), "{expected:?} not in {rows:?}");
        }
        let unknown = from.unknown();
        assert_eq!(unknown.len(), 1, "{unknown:?}");
        assert!(unknown[0].starts_with("CANISTER_MEMROY is set"), "{unknown:?}");
        assert!(unknown[0].ends_with("; did you mean CANISTER_MEMORY?"), "{unknown:?}");
        let words: Vec<String> = from
            .to_string()
            .lines()
            .map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        for line in ["slots --slots 4", "memory CANISTER_MEMORY 64", "drain default 10s"] {
            assert!(words.iter().any(|it| it == line), "{line:?} not in {words:?}");
        }
    }

    #[test]
    fn a_private_database_is_no_private_source() {
        for (variables, database, sources) in [
            (&[][..], false, false),
            (&[("CANISTER_PRIVATE_DATABASE", "yes")], true, false),
            (&[("CANISTER_ALLOW_PRIVATE", "yes")], true, true),
        ] {
            let config = read(&given(&[], variables)).unwrap();
            let read = (config.is_database_private(), config.fetch().allow_private);
            assert_eq!(read, (database, sources), "{variables:?}");
        }
    }

    #[test]
    fn what_cant_be_taken_is_named_with_what_to_use() {
        for (name, value, says) in [
            ("CANISTER_SLOTS", "0", "use 1 to 64"),
            ("CANISTER_SLOTS", "two", "use a whole number"),
            ("CANISTER_MEMORY", "1", "use 32 or more"),
            ("CANISTER_CPU", "x", "use 0.05 to 64"),
            ("CANISTER_DRAIN", "10", "the unit is missing; use 10s"),
            ("CANISTER_ARBITER", "a.example", "wss://"),
            ("CANISTER_ALLOW_PRIVATE", "1", "use yes or no"),
            ("CANISTER_LOG", "loud", "use error, warn, info"),
        ] {
            let why = read(&given(&[], &[(name, value)])).unwrap_err();
            let begins = format!("{name}={value}: ");
            assert!(why.starts_with(&begins) && why.contains(says), "{why}");
        }
        let most = (SLOTS_MAX + 1).to_string();
        let why = read(&given(&[("slots", &most)], &[])).unwrap_err();
        assert_eq!(why, format!("--slots {most}: use 1 to {SLOTS_MAX}"));
        let why = read(&given(&[("arbiter", ",")], &[])).unwrap_err();
        assert!(why.starts_with("no arbiter is named"), "{why}");
    }

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
            let address: ArbiterAddress = text.parse().unwrap();
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
            assert!(text.parse::<ArbiterAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn where_it_is_asked_is_beyond_doubt() {
        for (text, read) in [
            ("https://a.example", "https://a.example"),
            ("https://a.example/", "https://a.example"),
            ("https://a.example/join", "https://a.example"),
            ("https://a.example:8443/b/", "https://a.example:8443/b"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://192.168.1.2", "http://192.168.1.2"),
        ] {
            assert_eq!(text.parse::<JoinAddress>().unwrap().to_string(), read);
        }
        for text in ["", "a.example", "ftp://a.example", "https://"] {
            let why = text.parse::<JoinAddress>().unwrap_err();
            assert!(why.starts_with("use the address of"), "{text}: {why}");
        }
        let why = "http://a.example".parse::<JoinAddress>().unwrap_err();
        assert!(why.starts_with("use https://"), "{why}");
    }
}
