//! What `canister-arbiter run` can be told: each setting with its flag, its key in the file, its
//! default, its unit and its effect.

pub mod file;

use crate::rules::announcer::KeyId;
use crate::rules::brake::Brake;
use crate::rules::entry::{Entry, GivenFor};
use crate::rules::policy::{self, Publisher, Publishers};
use crate::rules::politeness::Politeness;
use crate::rules::proxies::{TrustedProxies, TrustedProxy};
use crate::rules::publisher::GivenPublisher;
use crate::rules::schedule::{Override, PollSchedule, Polls};
use crate::rules::signatures::GivenKey;
use crate::rules::timestamp::Timestamp;
use crate::rules::traffic::{MEBIBYTE, Traffic};
use crate::rules::trust::AuditTerms;
use crate::store::postgres::{Address, AddressError};
use crate::store::{DATABASE_NAME, DatabaseAddress, Terms};
use canister_link::identity::Files;
use canister_link::settings::{Form, Given, Reader, Setting, SettingValue};
use canister_link::{settings, values};
use canister_protocol::limits::{JOIN_TOKEN_BYTES_MAX, KEYS_BYTES_MAX};
use canister_protocol::span::Span;
use canister_protocol::{Database, Floor, Uri};
use data_encoding::BASE64;
use log::LevelFilter;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The admin socket's name in the state directory.
pub const SOCKET_NAME: &str = "admin.sock";
/// What of the configuration a running arbiter takes by `reload`: sections, or keys of one.
const RELOADED: [&str; 8] = [
    "audits.",
    "brake.",
    "leases.longest",
    "policy.",
    "politeness.",
    "poll.",
    "signatures.",
    "traffic.",
];
/// The revocation list's name beside the authority's certificate.
pub const REVOCATIONS_NAME: &str = "crl.pem";

settings! {
    /// What `canister-arbiter run` is told.
    #[derive(Debug, Clone)]
    pub struct Settings {
        /// configuration file, in TOML; `config --example` prints one with every key
        config: Option<PathBuf>;

        /// address and port for peers: TLS, only with a certificate of the authority
        listen ("listeners.peers"): SocketAddr = "[::]:443";
        /// address and port for everybody: status pages, metrics, announcements; plain HTTP for a
        /// reverse proxy; or none
        public ("listeners.public"): Option<SocketAddr> = "127.0.0.1:8080";
        /// addresses or networks of reverse proxies whose Forwarded or X-Forwarded-For is trusted
        trusted_proxy ("listeners.trusted_proxies"): Vec<TrustedProxy>;

        /// the arbiter's certificate in PEM
        certificate ("files.certificate"): PathBuf = "/etc/canister-arbiter/arbiter.crt";
        /// its private key in PEM
        key ("files.key"): PathBuf = "/etc/canister-arbiter/arbiter.key";
        /// the authority's certificate in PEM
        authority ("files.authority"): PathBuf = "/etc/canister-arbiter/ca.crt";
        /// the revocation list, in PEM; read again within a second of a change. Without it: crl.pem
        /// beside the authority's certificate, if it is there
        revocations ("files.revocations"): Option<PathBuf>,
            example "/etc/canister-arbiter/crl.pem";
        /// folder of the authority. The arbiter renews peers' certificates over their sessions with it,
        /// and its own and that for the database in their last third; it keeps the revocation list fresh.
        /// It must be able to write there and to these certificates' folders. Without it it does none of
        /// that
        issuer ("files.issuer"): Option<PathBuf>, example "/var/lib/canister-arbiter/ca";
        /// certificates of other servers that it renews then, too, such as PostgreSQL's, each for the key
        /// that it has. PostgreSQL takes a new one when it is reloaded
        renew ("files.renew"): Vec<PathBuf>;
        /// file with the passphrase of the issuing key in its first line. Without it: the variable
        /// CANISTER_CA_PASSPHRASE; else the arbiter asks
        passphrase_file ("files.passphrase"): Option<PathBuf>,
            example "/etc/canister-arbiter/passphrase";
        /// private key in PEM, of Ed25519, by which the arbiter publishes the catalogue's heads for those who
        /// follow by IPNI: `openssl genpkey -algorithm ed25519` makes one. The same for all arbiters of a
        /// network. Without it nothing is published that way
        publisher_key ("files.publisher"): Option<PathBuf>,
            example "/etc/canister-arbiter/publisher.pem";
        /// folder of the database (unless that is elsewhere) and of the operator's socket
        state ("files.state"): PathBuf = "/var/lib/canister-arbiter";

        /// the database: a file for this arbiter alone, or a PostgreSQL server for several, as
        /// postgres://USER@HOST[:PORT][,HOST...]/NAME or 'host=... dbname=...'
        database ("database.address"): DatabaseAddress => In("state", DATABASE_NAME),
            example "postgres://canister_arbiter@db.example.org/canister";
        /// certificate in PEM that the arbiter shows to the database's server
        database_certificate ("database.certificate"): PathBuf => As("certificate"),
            example "/etc/canister-arbiter/database.crt";
        /// its private key in PEM
        database_key ("database.key"): PathBuf => As("key"),
            example "/etc/canister-arbiter/database.key";
        /// authority of the database server's certificate, in PEM
        database_authority ("database.authority"): PathBuf => As("authority"),
            example "/etc/canister-arbiter/database-ca.crt";
        /// where peers may write their rows themselves: HOST[:PORT][,HOST[:PORT]...]/DATABASE. Without
        /// it all rows come over their sessions
        peers_database ("database.peers"): Option<Database>, example "db.example.org/canister";

        /// the source list: a file, or an http:// or https:// address. Without it the arbiter polls what
        /// it knows from earlier runs
        sources ("lists.sources"): Option<ListAddress>,
            example "https://example.org/index-repositories.json";
        /// block lists: files or addresses of JSON arrays of hosts. Such a host, and all below it, is not
        /// indexed. An empty or unreadable list changes nothing
        blocks ("lists.blocks"): Vec<ListAddress>;
        /// time between two readings of all these lists
        refresh ("lists.refresh"): Duration = "1h", from "1s";

        /// how long a lease lives unless its peer renews it. A vanished peer's source waits this long
        lease ("leases.lifetime"): Duration => Of(|| span(Terms::default().lease)),
            from "5s" to "1d";
        /// how long a lease lives at most, however often it is renewed. Agents give up after 40 minutes
        lease_longest ("leases.longest"): Duration => Of(|| span(Terms::default().lease_longest)),
            from "5s" to "1d";
        /// the oldest version of agents that are granted leases, and from which day of UTC on. Peers with an
        /// older one are told so from the start on; whatever looks after them has this time to update them
        agent_floor ("leases.agent_floor"): Option<AgentFloor>, example "0.2.0 from 2026-12-24";

        // Prices were most of what the servers were asked before.
        /// how long a paid package's price is good before its shop is asked again
        price_age ("leases.price_age"): Duration = "7d";
        /// names of peers that follow another network (`canister-agent run --follow`). While one of them is here
        /// and well, sources are polled by it alone, and the others audit what it publishes, as section
        /// audits says. When it is gone they go on by themselves
        followers ("leases.followers"): Vec<String>;

        /// most that a peer fetches under one lease, in MiB
        lease_mib ("traffic.lease_mib"): u64 => Of(|| mebibytes(Traffic::default().lease)),
            from "1" to "1048576";
        /// most that all peers together fetch of one source in a day, of UTC, in MiB. It is not asked then
        /// until the next
        day_mib ("traffic.day_mib"): u64 => Of(|| mebibytes(Traffic::default().day)),
            from "1" to "1048576";

        /// from one contact with a source to the next poll. Each source has its own moment in the
        /// interval, so that polls don't bunch up. After an irregular contact the wait may be half an
        /// interval more or less
        interval ("poll.interval"): Duration => Of(|| span(PollSchedule::default().interval));
        /// from the first failed attempt to the next. The time doubles with each further one, up to a day, or
        /// the interval if that is longer
        retry_after ("poll.retry_after"): Duration =>
            Of(|| span(PollSchedule::default().retry_after));
        /// a source that fails for this long, in enough attempts, is hidden, unless the brake holds that. It
        /// is still polled, and any contact brings it back
        deactivate_after ("poll.deactivate_after"): Duration =>
            Of(|| span(PollSchedule::default().deactivate_after));
        /// a source that fails for this long is delisted: it is no longer polled, and its data is deleted
        /// after retention.delisted. An announcement that leads to a contact brings it back, and so does
        /// `sync SLUG`. (A source that an operator delisted comes back only by `sync SLUG` or
        /// `approve SLUG`)
        stop_after ("poll.stop_after"): Duration =>
            Of(|| span(PollSchedule::default().stop_after));
        /// other times for some sources: "slug:NAME", "host:NAME" (and all hosts below it) or a uri and
        /// all below it, be it http or https and however it is encoded. What is left out is as above; the
        /// narrowest entry counts. An entry that names no source is reported at start and by `reload`. For
        /// a publisher that is often offline, set interval to "7d"
        poll_overrides ("poll.overrides"): Entries<Override>,
            example "[poll.overrides.\"slug:chariz\"]\ninterval = \"12h\"\nretry_after = \"45m\"\n\
                     deactivate_after = \"3h\"\nstop_after = \"3h\"";
        /// IPNI publishers that are asked for their signed head before some sources are, as those of owners'
        /// Canister-Publisher are, and on whatever server: "slug:NAME", "host:NAME" or a uri
        publishers ("poll.publishers"): Entries<SourcePublisher>,
            example "[poll.publishers.\"slug:chariz\"]\n\
                     uri = \"https://publisher.example/ipni/v1/ad\"\n\
                     key = \"12D3KooWBckWLKiYoUX4k3HTrbrSe4DD5SPNTKgP6vKTva1NaRkJ\"";

        /// least time between two leases of one server operator (same registrable domain, or same
        /// address), whichever peers hold them, and between two requests of one lease
        pause ("politeness.pause"): Duration => Of(|| span(Politeness::default().pause)),
            from "0s" to "1d";
        /// how long a peer keeps away from a server that sent it away (429, or 403 where it used to
        /// answer). The time doubles with each repetition, up to cool_down_max. A longer Retry-After is
        /// obeyed, up to cool_down_max
        cool_down ("politeness.cool_down"): Duration =>
            Of(|| span(Politeness::default().cool_down));
        /// the longest that it keeps away
        cool_down_max ("politeness.cool_down_max"): Duration =>
            Of(|| span(Politeness::default().cool_down_max));
        /// how long everybody keeps away before another peer takes over; it doubles up to rest_max. After a
        /// first 403 another peer takes over at once
        rest ("politeness.rest"): Duration => Of(|| span(Politeness::default().rest));
        /// the longest that everybody keeps away
        rest_max ("politeness.rest_max"): Duration => Of(|| span(Politeness::default().rest_max));

        /// whether sources may be indexed
        policy_allow ("policy.allow"): bool = "yes";
        /// exceptions from policy.allow: "slug:NAME", "host:NAME" or a uri
        policy_except ("policy.except"): Vec<Entry>;
        /// whether anyone but a source itself may announce for it
        publish ("policy.publish"): bool = "yes";
        /// exceptions from policy.publish: "announcer:NAME" (`ca sign --announcer`), "peer:NAME", an address or a
        /// network
        publish_except ("policy.publish_except"): Vec<Publisher>;
        /// show an announced source that is an APT repository without `approve`
        trust_announcements ("policy.trust_announcements"): bool = "no";
        /// who may announce for some sources, instead of publish and publish_except. Without `allow`,
        /// only those in `except`
        policy_publishers ("policy.publishers"): Entries<Publishers>,
            example "[policy.publishers.\"slug:chariz\"]\nallow = false\n\
                     except = [\"announcer:chariz-ci\", \"192.0.2.0/24\"]";

        /// other arbiters, or IPNI indexers, that accepted announcements of known sources are sent on to, if
        /// they name a Cid: http:// or https:// addresses; /announce is added where there is no path
        pass_on ("announcements.pass_on"): Vec<WebAddress>;

        /// a change of the source list, the policy or a source is held for the operator (`held`,
        /// `accept`, `reject`) if, with what left within the last day, it would hide more than this share
        /// of all packages that are shown, in percent. A package that is there in another version didn't
        /// leave. 100 lets any share pass
        brake_share ("brake.share"): u8 => Of(|| Brake::default().share.to_string()),
            from "0" to "100";
        /// so is a change that would hide more than this share of one source's packages, an index that is
        /// empty and was not, and a Release that is older than the last one. 100 lets any share pass, and
        /// an empty index
        brake_source_share ("brake.source_share"): u8
            => Of(|| Brake::default().source_share.to_string()), from "0" to "100";
        /// so many packages may be hidden within a day whatever share they are
        brake_packages ("brake.packages"): u64 => Of(|| Brake::default().packages.to_string());

        /// each source is audited at least once in this time: a second peer reads all of it without being
        /// told what the first found
        audit_source ("audits.source"): Duration => Of(|| span(AuditTerms::default().source));
        /// a publication of each peer is audited at least once in this time
        audit_peer ("audits.peer"): Duration => Of(|| span(AuditTerms::default().peer));
        /// so many of each peer's publications are audited, in percent, chosen at random; with 0 none is,
        /// whatever audits.peer says
        audit_share ("audits.share"): u8 => Of(|| AuditTerms::default().share.to_string()),
            from "0" to "100";

        /// keys by which some sources are to be signed: "slug:NAME", "host:NAME" or a uri. What is signed
        /// otherwise, or can't be checked, is held. `file` is for peers to check by, a public key or
        /// keyring of at most 64 KiB; without it they ask the source's server for its key. A source that
        /// is not named here is to be signed by whoever signed it first
        signature_keys ("signatures.keys"): Entries<SignerKey>,
            example "[signatures.keys.\"slug:chariz\"]\n\
                     fingerprint = \"0123456789ABCDEF0123456789ABCDEF01234567\"\n\
                     file = \"/etc/canister-arbiter/chariz.gpg\"";

        /// most applicants (`canister-agent join`) that wait for the operator at once; beyond that, who
        /// hasn't asked for longest gives way. 0 takes none
        join_waiting ("join.waiting"): u64 = "1000", from "0" to "10000";
        /// a word without which nobody may apply; the operator gives it to applicants, who say it by
        /// --token
        join_token ("join.token"): Option<JoinToken>, example "correct-horse";
        /// work that an applicant's machine has to do, in bits: each doubles it, 18 take a small machine a
        /// second. 0 asks for none
        join_work ("join.work"): u32 = "18", from "0" to "26";

        /// where the operator is told of what is wrong: an http:// or https:// address, to which a JSON object
        /// is posted when something begins and when it is over
        alert_url ("alerts.url"): Option<AlertAddress>, example "https://hooks.example.org/canister";
        /// a program that is told the same on its standard input
        alert_command ("alerts.command"): Option<PathBuf>, example "/usr/local/bin/alert";
        /// how long something is wrong, or well again, before that is told; what begins meanwhile is told
        /// with it
        alert_after ("alerts.after"): Duration = "5m", from "1s" to "1d";
        /// a server operator's outage is told, in one line, when so many of its sources fail and they are at
        /// least half of them
        alert_sources ("alerts.sources"): u64 = "5", from "1" to "1000000";

        /// how long a package that left its source is kept, hidden, before it is deleted
        keep_left ("retention.left"): Duration = "30d";
        /// how long the data of a delisted source is kept, hidden, before it is deleted
        keep_delisted ("retention.delisted"): Duration = "7d";

        /// how much is logged: error, warn, info, debug or trace
        log ("log.level"): LevelFilter = "info";
    }
}

/// A key that signs sources, as the configuration says it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerKey {
    /// 40 hexadecimal digits, or 64; blanks between them say nothing.
    pub fingerprint: String,
    /// The public key, in armor or not.
    pub file: Option<PathBuf>,
}

impl SignerKey {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong, in a line.
    fn given(&self) -> Result<GivenKey, String> {
        let mut fingerprint = self.fingerprint.to_ascii_uppercase();
        fingerprint.retain(|letter| !letter.is_ascii_whitespace());
        let is_hex = fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || ![40, 64].contains(&fingerprint.len()) {
            return Err(format!(
                "{:?} is no fingerprint: use its 40 digits, `gpg --show-keys FILE` tells them",
                self.fingerprint
            ));
        }
        let Some(path) = &self.file else {
            return Ok(GivenKey { fingerprint, keys: String::new() });
        };
        let shown = path.display();
        let file = std::fs::File::open(path).map_err(|cause| format!("{shown}: {cause}"))?;
        let mut bytes = Vec::new();
        let read = file.take(KEYS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|cause| format!("{shown}: {cause}"))?;
        if bytes.is_empty() || bytes.len() > KEYS_BYTES_MAX {
            return Err(format!("{shown}: not 1 to {KEYS_BYTES_MAX} bytes; export the one key"));
        }
        Ok(GivenKey { fingerprint, keys: BASE64.encode(&bytes) })
    }
}

/// A publisher of some sources, as the configuration says it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourcePublisher {
    /// Where its head is, without `/head`.
    pub uri: String,
    /// Its key, as an announcer's is written.
    pub key: String,
}

impl SourcePublisher {
    /// Reads both.
    ///
    /// # Errors
    /// What is wrong, in a line.
    fn given(&self) -> Result<GivenPublisher, String> {
        let uri = self.uri.trim_end_matches('/').to_owned();
        Uri::parse(&uri)?;
        let key = KeyId::named(&self.key).ok_or("its key is none: use a peer id")?;
        Ok(GivenPublisher { uri, key })
    }
}

/// The oldest version of agents, as the operator says it: `0.2.0 from 2026-12-24`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentFloor(pub Floor);

impl FromStr for AgentFloor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "use a version and a day, such as 0.2.0 from 2026-12-24".to_owned();
        let (version, day) = text.split_once(" from ").ok_or_else(wrong)?;
        let from = Timestamp::of_day(day).ok_or_else(wrong)?;
        Floor::new(version, from.millis() / 1000).map(Self).map_err(|_| wrong())
    }
}

/// An address that announcements are posted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebAddress(pub String);

impl FromStr for WebAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri = Uri::parse(text)?;
        match uri.path().trim_matches('/') {
            "" => Ok(Self(format!("{}/announce", uri.server()))),
            _ => Ok(Self(uri.to_string())),
        }
    }
}

/// A word that applicants must say; nobody is shown it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken(pub String);

impl SettingValue for JoinToken {
    fn read(text: &str) -> Result<Self, String> {
        if text.len() > JOIN_TOKEN_BYTES_MAX || text.contains(char::is_control) {
            return Err(format!("use one line of at most {JOIN_TOKEN_BYTES_MAX} bytes"));
        }
        Ok(Self(text.to_owned()))
    }

    fn shown(_: &str) -> String {
        "…".to_owned()
    }
}

/// An address that alerts are posted to. It often has a secret in its path, which nobody is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertAddress(pub String);

impl SettingValue for AlertAddress {
    fn read(text: &str) -> Result<Self, String> {
        let uri = Uri::parse(text).map_err(|_| "use an http:// or https:// address".to_owned())?;
        Ok(Self(uri.to_string()))
    }

    fn shown(text: &str) -> String {
        let host = text.split_once("://").and_then(|(_, rest)| rest.split('/').next());
        let host = host.and_then(|host| host.rsplit('@').next());
        host.map_or_else(|| "…".to_owned(), |host| format!("{host}/…"))
    }
}

/// A section of its own: what is said of some entries.
#[derive(Debug, Clone)]
pub struct Entries<T>(pub BTreeMap<Entry, T>);

values!(AgentFloor, Entry, ListAddress, TrustedProxy, Publisher, WebAddress);

/// Makes values of addresses that may hold a password.
macro_rules! secret_values {
    ($($type:ty),+) => {
        $(impl SettingValue for $type {
            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(|why: AddressError| why.to_string())
            }

            fn shown(text: &str) -> String {
                Self::read(text).map_or_else(|_| "…".to_owned(), |address| address.to_string())
            }
        })+
    };
}

secret_values!(Address, DatabaseAddress);

impl<T: DeserializeOwned> SettingValue for Entries<T> {
    const FORM: Form = Form::Table;

    fn read(text: &str) -> Result<Self, String> {
        toml::from_str(text).map(Self).map_err(|cause| file::one_line(&cause))
    }
}

fn mebibytes(bytes: u64) -> String {
    (bytes / MEBIBYTE).to_string()
}

fn span(duration: Duration) -> String {
    Span(duration).to_string()
}

/// What each setting was told, by its name.
pub type SettingTexts = BTreeMap<&'static str, String>;

/// A setting that has another value than the one in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingChange {
    /// Its key, or its flag where it has none.
    pub setting: String,
    pub before: String,
    pub now: String,
    /// Whether the arbiter takes it at its next start only.
    pub needs_restart: bool,
}

/// Whether a running arbiter takes the setting of this name by `reload`.
pub fn is_reloaded(name: &str) -> bool {
    let setting = Settings::TABLE.iter().find(|setting| setting.name == name);
    setting.is_some_and(|it| RELOADED.iter().any(|part| it.key.starts_with(part)))
}

/// What [`arbiter::run`](crate::arbiter::run) was told, and what follows from it.
#[derive(Debug, Clone)]
pub struct ArbiterConfig {
    settings: Settings,
    pub files: Files,
    /// Certificate and key to show to the store's server, and the authority of its certificate.
    pub database_files: Files,
    /// Who is believed about where a public request comes from.
    pub proxies: TrustedProxies,
    pub terms: Terms,
    pub policy: policy::PolicySettings,
    /// Where all this comes from, beside the file: read again at each reload.
    pub given: Given,
    /// What each setting was told.
    pub told: SettingTexts,
    /// Whether there is a file.
    pub is_of_file: bool,
}

/// What was told is asked for like what follows from it.
impl Deref for ArbiterConfig {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

impl ArbiterConfig {
    /// Reads everything, the file that is named included.
    ///
    /// # Errors
    /// One line: where the value stands, and what to use instead.
    pub fn read(given: &Given) -> Result<Self, String> {
        Self::read_from(&mut Reader::new(Settings::TABLE, given))
    }

    /// The same, where what was read is of interest.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_from(from: &mut Reader<'_>) -> Result<Self, String> {
        let path = Settings::config(&mut Reader::new(Settings::TABLE, from.given))?;
        if let Some(path) = &path {
            from.file = file::read(path)?;
        }
        let settings = Settings::read(from)?;
        let config = Self::follow(settings, from).map_err(|why| match &path {
            Some(path) => format!("{}: {why}", path.display()),
            None => why,
        })?;
        Ok(Self { is_of_file: path.is_some(), ..config })
    }

    /// What a file of this text would come to, beside what else is `given`.
    ///
    /// # Errors
    /// As [`read`](Self::read); the file is called `name`.
    pub fn of_text(text: &str, name: &str, given: &Given) -> Result<Self, String> {
        let mut from = Reader::new(Settings::TABLE, given);
        from.file = file::parse(text, name)?;
        let settings = Settings::read(&mut from)?;
        Self::follow(settings, &from)
    }

    /// The settings that have another value than what is told to be in force.
    pub fn changes(&self, in_force: &SettingTexts) -> Vec<SettingChange> {
        let change = |setting: &Setting| {
            let value = |told: &SettingTexts| told.get(setting.name).cloned().unwrap_or_default();
            let (before, now) = (value(in_force), value(&self.told));
            (before != now).then(|| SettingChange {
                setting: match setting.key {
                    "" => format!("--{}", setting.flag()),
                    key => key.to_owned(),
                },
                before: (setting.shown)(&before),
                now: (setting.shown)(&now),
                needs_restart: !is_reloaded(setting.name),
            })
        };
        Settings::TABLE.iter().filter_map(change).collect()
    }

    fn follow(settings: Settings, from: &Reader<'_>) -> Result<Self, String> {
        let told = settings.clone();
        let (cool_down, rest) = ((told.cool_down, told.cool_down_max), (told.rest, told.rest_max));
        for (name, (first, most)) in [("cool_down", cool_down), ("rest", rest)] {
            if first > most {
                let (first, most) = (Span(first), Span(most));
                return Err(format!(
                    "politeness: {name} is {first}, {name}_max is {most}: it grows from the one to \
                     the other, so {name} must not be the longer"
                ));
            }
        }
        let everybody = PollSchedule {
            interval: told.interval,
            retry_after: told.retry_after,
            deactivate_after: told.deactivate_after,
            stop_after: told.stop_after,
        };
        let politeness = Politeness {
            pause: told.pause,
            cool_down: told.cool_down,
            cool_down_max: told.cool_down_max,
            rest: told.rest,
            rest_max: told.rest_max,
        };
        let keys = told.signature_keys.0.iter().map(|(entry, key)| match key.given() {
            Ok(given) => Ok((entry.clone(), given)),
            Err(why) => Err(format!("signatures.keys.\"{entry}\": {why}")),
        });
        let publishers =
            told.publishers.0.iter().map(|(entry, publisher)| match publisher.given() {
                Ok(given) => Ok((entry.clone(), given)),
                Err(why) => Err(format!("poll.publishers.\"{entry}\": {why}")),
            });
        let terms = Terms {
            lease: told.lease,
            lease_longest: told.lease_longest,
            politeness,
            polls: Polls::new(everybody, &told.poll_overrides.0)?,
            brake: Brake {
                share: told.brake_share,
                source_share: told.brake_source_share,
                packages: told.brake_packages,
            },
            audits: AuditTerms {
                source: told.audit_source,
                peer: told.audit_peer,
                share: told.audit_share,
            },
            traffic: Traffic { lease: told.lease_mib * MEBIBYTE, day: told.day_mib * MEBIBYTE },
            signers: GivenFor(keys.collect::<Result<_, _>>()?),
            publishers: GivenFor(publishers.collect::<Result<_, _>>()?),
            followers: told.followers,
        };
        let policy = policy::PolicySettings {
            allow: told.policy_allow,
            except: told.policy_except,
            publish: told.publish,
            publish_except: told.publish_except,
            trust_announcements: told.trust_announcements,
            publishers: told.policy_publishers.0,
        };
        Ok(Self {
            files: Files {
                certificate: told.certificate,
                key: told.key,
                authority: told.authority,
            },
            database_files: Files {
                certificate: told.database_certificate,
                key: told.database_key,
                authority: told.database_authority,
            },
            proxies: TrustedProxies(told.trusted_proxy),
            terms,
            policy,
            settings,
            given: from.given.clone(),
            told: from.read.iter().map(|(it, value, _)| (it.name, value.clone())).collect(),
            is_of_file: false,
        })
    }

    pub fn socket(&self) -> PathBuf {
        self.state.join(SOCKET_NAME)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListAddress {
    File(PathBuf),
    /// At an `http://` or `https://` address.
    Url(String),
}

impl FromStr for ListAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Self::Url(text.to_owned()));
        }
        if text.contains("://") {
            return Err("use a file's path, http:// or https://".to_owned());
        }
        Ok(Self::File(text.into()))
    }
}

impl fmt::Display for ListAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url(url) => f.write_str(url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canister_protocol::Source;
    use std::path::Path;

    fn given(flags: &[(&'static str, &str)], environment: &[(&str, &str)]) -> Given {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Given {
            flags: flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            environment: environment.iter().map(own).collect(),
            ..Given::default()
        }
    }

    /// What a file of this text comes to.
    fn read(text: &str, given: &Given) -> Result<ArbiterConfig, String> {
        ArbiterConfig::of_text(text, "arbiter.toml", given)
    }

    #[test]
    fn defaults_are_those_of_the_rules() {
        let config = read("", &Given::default()).unwrap();
        assert_eq!(config.terms, Terms::default());
        assert_eq!(config.policy, policy::PolicySettings::default());
        assert_eq!(config.database_files.key, config.files.key);
        assert_eq!(config.database.to_string(), "/var/lib/canister-arbiter/canister.db");
        for setting in Settings::TABLE {
            assert!(setting.key.is_empty() == (setting.name == "config"), "{}", setting.name);
        }
    }

    #[test]
    fn a_flag_wins_over_a_variable_that_over_the_file_and_that_over_the_default() {
        let text = "[files]\nstate = \"/a\"\n[politeness]\npause = \"7s\"\nrest = \"2m\"\n\
                    [leases]\nlifetime = \"2m\"\n[policy]\nallow = false\nexcept = [\"slug:a\"]\n";
        let given = given(
            &[("pause", "3s"), ("blocks", "/x"), ("blocks", "http://y.example/z")],
            &[
                ("CANISTER_PAUSE", "5s"),
                ("CANISTER_REST", "3m"),
                ("CANISTER_PUBLIC", "none"),
                ("CANISTER_TRUSTED_PROXY", "127.0.0.1 192.0.2.0/24"),
            ],
        );
        let config = read(text, &given).unwrap();
        assert_eq!(config.terms.politeness.pause, Duration::from_secs(3));
        assert_eq!(config.terms.politeness.rest, Duration::from_secs(180));
        assert_eq!(config.terms.lease, Duration::from_secs(120));
        assert_eq!(config.price_age, Duration::from_secs(7 * 24 * 60 * 60));
        assert_eq!((config.public, config.proxies.0.len(), config.blocks.len()), (None, 2, 2));
        assert_eq!((config.policy.allow, config.policy.except.len()), (false, 1));
        assert_eq!(config.socket(), Path::new("/a/admin.sock"));
        // What doesn't win must be good all the same.
        for (text, said) in [
            (
                "[politeness]\npause = \"x\"",
                "arbiter.toml line 2: politeness.pause is x: use a number",
            ),
            ("", "CANISTER_PAUSE=7: the unit is missing; use 7s"),
        ] {
            let given =
                Given { environment: vec![("CANISTER_PAUSE".into(), "7".into())], ..given.clone() };
            let why = read(text, &given).unwrap_err();
            assert!(why.starts_with(said), "{why}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let address = "postgres://arbiter:secret@db.example/canister";
        let given = given(&[("database", address)], &[]);
        let mut from = Reader::new(Settings::TABLE, &given);
        Settings::read(&mut from).unwrap();
        assert!(from.to_string().contains("db.example"), "{from}");
        assert!(!from.to_string().contains("secret"), "{from}");
        let given = Given { flags: vec![("database", format!("{address}?nonsense"))], ..given };
        let why = Settings::read(&mut Reader::new(Settings::TABLE, &given)).unwrap_err();
        assert!(
            why.starts_with("--database …: not an address") && !why.contains("secret"),
            "{why}"
        );
    }

    #[test]
    fn some_sources_have_other_times() {
        let text = "[poll.overrides.\"slug:chariz\"]\nretry_after = \"45m\"\n";
        let polls = read(text, &Given::default()).unwrap().terms.polls;
        let source = Source {
            slug: "chariz".into(),
            uri: "https://repo.example".into(),
            suite: "./".into(),
            ..Source::default()
        };
        let right =
            PollSchedule { retry_after: Duration::from_secs(45 * 60), ..PollSchedule::default() };
        assert_eq!(polls.of(&source), right);
    }

    #[test]
    fn some_sources_have_a_publisher() {
        let text = |uri: &str, key: &str| {
            format!("[poll.publishers.chariz]\nuri = \"{uri}\"\nkey = \"{key}\"\n")
        };
        let key = "12D3KooWBckWLKiYoUX4k3HTrbrSe4DD5SPNTKgP6vKTva1NaRkJ";
        let read = |text: &str| read(text, &Given::default());
        let publishers = read(&text("https://p.example/ad/", key)).unwrap().terms.publishers;
        let source =
            Source { slug: "chariz".into(), uri: "https://a.example".into(), ..Source::default() };
        let given = publishers.of(&source).unwrap();
        assert_eq!((&*given.uri, &*given.key.to_string()), ("https://p.example/ad", key));
        for (uri, key, said) in [
            ("p.example", key, "poll.publishers"),
            ("https://p.example/ad", "x", "its key is none"),
        ] {
            let why = read(&text(uri, key)).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
    }

    #[test]
    fn some_sources_are_to_be_signed_by_a_key() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let key = "0123 4567 89ab cdef 0123 4567 89AB CDEF 0123 4567";
        let text = |file: &str| {
            format!("[signatures.keys.chariz]\nfingerprint = \"{key}\"\nfile = \"{file}\"\n")
        };
        let path = file.path().to_str().unwrap();
        let source =
            Source { slug: "chariz".into(), uri: "https://a.example".into(), ..Source::default() };
        let why = read(&text(path), &Given::default()).unwrap_err();
        assert!(
            why.contains("signatures.keys.\"slug:chariz\": ") && why.contains("not 1 to"),
            "{why}"
        );
        std::fs::write(file.path(), [0xc6; 3]).unwrap();
        let signers = read(&text(path), &Given::default()).unwrap().terms.signers;
        let given = signers.of(&source).unwrap();
        assert_eq!(
            (&*given.fingerprint, &*given.keys),
            (&*key.replace(' ', "").to_uppercase(), "xsbG")
        );
        assert_eq!(signers.of(&Source { slug: "other".into(), ..source }), None);
        for (text, said) in [
            (
                text("/nowhere/a.gpg"),
                "signatures.keys.\"slug:chariz\": /nowhere/a.gpg: No such file",
            ),
            (text(path).replace("0123 ", ""), "is no fingerprint: use its 40 digits"),
            (text(path).replace("file", "files"), "unknown field `files`"),
        ] {
            let why = read(&text, &Given::default()).unwrap_err();
            assert!(why.contains(said) && !why.contains('\n'), "{why}");
        }
    }

    #[test]
    fn a_bad_file_is_refused_with_its_line_and_what_to_use() {
        for (text, said) in [
            (
                "[poll]\nintervall = \"1h\"",
                " line 2: unknown key poll.intervall; did you mean poll.interval?",
            ),
            ("\n[polls]\n", " line 2: unknown section polls; did you mean poll?"),
            ("poll = 1", " line 1: invalid type: integer `1`, expected a map"),
            (
                "[poll]\n\ninterval = \"1 hour\"",
                " line 3: poll.interval is 1 hour: use a number and a unit",
            ),
            (
                "[poll]\ninterval = 3600",
                " line 2: poll.interval is 3600: use a string, such as \"1h\"",
            ),
            (
                "[poll]\ninterval = \"99999d\"",
                " line 2: poll.interval is 99999d: use 3653d (ten years) or less",
            ),
            (
                "[poll]\nretry_after = \"8d\"",
                "poll schedule: retry_after is 8d, deactivate_after is 7d",
            ),
            (
                "[poll.overrides.chariz]\nstop_after = \"3h\"",
                "poll.overrides.\"slug:chariz\": poll schedule: deactivate_after is 7d, stop_after is 3h",
            ),
            ("[poll.overrides.\"a b\"]\n", "names no source: use slug:NAME"),
            ("[poll.overrides.a]\ninterval = \"1\"\n", "\"1\": the unit is missing; use 1s"),
            ("[poll.overrides.a]\npause = \"1s\"\n", "unknown field `pause`, expected one of"),
            (
                "[poll]\noverrides = []",
                " line 2: poll.overrides is []: use a table: [poll.overrides.",
            ),
            ("[politeness]\nrest = \"2h\"", "politeness: rest is 2h, rest_max is 1h: it grows"),
            ("[politeness]\npause = \"2d\"", " line 2: politeness.pause is 2d: use 0s to 1d"),
            (
                "[policy]\nexcept = [\n\"ok\",\n\"ftp://x\"]",
                "ftp://x\" is not an http:// or https://",
            ),
            (
                "[policy]\npublish_except = [\"p1\"]",
                "names no announcer: use announcer:NAME, peer:NAME",
            ),
            ("[policy]\nexcept = [1]", " line 2: policy.except is [1]: use a list of strings"),
            ("[policy]\nallow = 1", " line 2: policy.allow is 1: use true or false"),
            ("[leases]\nlifetime = \"4s\"", " line 2: leases.lifetime is 4s: use 5s to 1d"),
            ("[lists]\nrefresh = \"0s\"", " line 2: lists.refresh is 0s: use 1s or more"),
            ("[lists]\nsources = \"ftp://x\"", "use a file's path, http:// or https://"),
            (
                "[listeners]\npublic = \"8080\"",
                " line 2: listeners.public is 8080: use an address and a port",
            ),
            ("[brake]\nshare = 101", " line 2: brake.share is 101: use 0 to 100"),
            ("[poll\n", " line 1: "),
            ("[poll]\ninterval = \"1h\"\ninterval = \"2h\"", " line 3: duplicate key"),
        ] {
            let why = read(text, &Given::default()).unwrap_err();
            assert!(why.contains(said), "{text:?}: {why}");
            assert!(!why.contains('\n'), "{why}");
        }
    }
}
