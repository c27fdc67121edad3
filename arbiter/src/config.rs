//! What `canister-arbiter run` can be told: every key with its default, its unit and its effect.

pub mod file;

use crate::policy;
use crate::public::{Proxies, Proxy};
use crate::store::Terms;
use crate::store::postgres::{Address, AddressError};
use canister_link::identity::Files;
use canister_protocol::Database;
use file::{File, OptionalAddress, Span, Text};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Where peers come to unless the operator says otherwise.
pub const LISTEN: &str = "[::]:443";
/// Where everybody comes to unless the operator says otherwise: a reverse proxy on this machine.
pub const PUBLIC: &str = "127.0.0.1:8080";
/// Directory of the database and the admin socket unless the operator says otherwise.
pub const STATE_DIRECTORY: &str = "/var/lib/canister-arbiter";
/// Directory of the arbiter's certificate, key and authority unless the operator says otherwise.
pub const DIRECTORY: &str = "/etc/canister-arbiter";
/// The admin socket's name in the state directory.
pub const SOCKET_NAME: &str = "admin.sock";
/// The embedded store's name in the state directory.
pub const DATABASE_NAME: &str = "canister.db";
/// The revocation list's name beside the authority's certificate.
pub const REVOCATIONS_NAME: &str = "crl.pem";
/// Seconds that a lease lives after its grant or renewal. Peers renew at a third of it, so one
/// survives two lost renewals; a vanished peer's source waits this long.
pub const LEASE_SECS: u64 = 60;
/// Days for which a price is good. Prices were most of what the servers were asked before.
pub const PRICE_DAYS: u64 = 7;
/// Days for which a package that left its source is kept.
pub const LEFT_DAYS: u64 = 30;
/// Days for which a delisted source's data is kept.
pub const DELISTED_DAYS: u64 = 7;
/// Seconds between two readings of the source list.
pub const REFRESH_SECS: u64 = 3600;

/// The settings of [`arbiter::run`](crate::arbiter::run).
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// Address and port of the peers' listener.
    pub listen: SocketAddr,
    /// Address and port of the public listener, if there is to be one.
    pub public: Option<SocketAddr>,
    /// Who is believed about where a public request comes from.
    pub proxies: Proxies,
    /// Certificate, key, authority.
    pub files: Files,
    /// What is revoked, in PEM; it must be there. Without it, [`REVOCATIONS_NAME`] beside the
    /// authority's certificate is read if it is there.
    pub revocations: Option<PathBuf>,
    /// Folder of the authority with which peers' certificates are renewed over their sessions; they
    /// aren't without it.
    pub issuer: Option<PathBuf>,
    /// File with the passphrase of its key.
    pub passphrase: Option<PathBuf>,
    /// Folder of the embedded store and the admin socket; made if need be.
    pub state: PathBuf,
    /// The store.
    pub database: DatabaseAddress,
    /// Certificate and key to show to the store's server, and the authority of its certificate.
    pub database_files: Files,
    /// Where peers may write their rows themselves; without it all rows come over their sessions.
    pub peers_database: Option<Database>,
    /// The source list, if it isn't known already from an earlier run.
    pub sources: Option<ListAddress>,
    /// How often the source list is read again.
    pub refresh: Duration,
    /// Lists of hosts that are blocked; read as often.
    pub blocks: Vec<ListAddress>,
    /// How leases, sources and servers are treated.
    pub terms: Terms,
    /// How long a price is good before the shop is asked again.
    pub price_age: Duration,
    /// Who may be indexed and who may announce.
    pub policy: policy::Settings,
    /// How long a package that left is kept, hidden.
    pub left: Duration,
    /// How long the data of a delisted source is kept, hidden.
    pub delisted: Duration,
    /// Where all this comes from: read again at each reload.
    pub flags: Flags,
}

/// What stands on the command line of `run`; each wins over the file.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// The configuration file; the defaults without one.
    pub config: Option<PathBuf>,
    /// See [`file::Listeners`].
    pub listen: Option<SocketAddr>,
    /// See [`file::Listeners`].
    pub public: Option<OptionalAddress>,
    /// See [`file::Listeners`].
    pub trusted_proxies: Vec<Proxy>,
    /// See [`policy::Settings`].
    pub trust_announcements: bool,
    /// See [`file::Files`].
    pub certificate: Option<PathBuf>,
    /// See [`file::Files`].
    pub key: Option<PathBuf>,
    /// See [`file::Files`].
    pub authority: Option<PathBuf>,
    /// See [`file::Files`].
    pub revocations: Option<PathBuf>,
    /// See [`file::Files`].
    pub issuer: Option<PathBuf>,
    /// See [`file::Files`].
    pub passphrase: Option<PathBuf>,
    /// See [`file::Files`].
    pub state: Option<PathBuf>,
    /// See [`file::Store`].
    pub database: Option<DatabaseAddress>,
    /// See [`file::Store`].
    pub database_certificate: Option<PathBuf>,
    /// See [`file::Store`].
    pub database_key: Option<PathBuf>,
    /// See [`file::Store`].
    pub database_authority: Option<PathBuf>,
    /// See [`file::Store`].
    pub peers_database: Option<Database>,
    /// See [`file::Lists`].
    pub sources: Option<ListAddress>,
    /// See [`file::Lists`].
    pub refresh: Option<Duration>,
    /// See [`file::Poll`].
    pub interval: Option<Duration>,
    /// See [`file::Poll`].
    pub retry_after: Option<Duration>,
    /// See [`file::Leases`].
    pub lease: Option<Duration>,
    /// See [`file::Leases`].
    pub price_age: Option<Duration>,
    /// See [`file::Polite`].
    pub pause: Option<Duration>,
}

impl Flags {
    /// The file with what the flags say in its place.
    fn settings(&self) -> Result<File, String> {
        let mut file = match &self.config {
            Some(path) => File::read(path)?,
            None => File::default(),
        };
        let flags = self.clone();
        let put = |into: &mut Span, flag: Option<Duration>| *into = flag.map_or(*into, Span);
        put(&mut file.lists.refresh, flags.refresh);
        put(&mut file.poll.interval, flags.interval);
        put(&mut file.poll.retry_after, flags.retry_after);
        put(&mut file.leases.lifetime, flags.lease);
        put(&mut file.leases.price_age, flags.price_age);
        put(&mut file.politeness.pause, flags.pause);
        let put = |into: &mut PathBuf, flag: Option<PathBuf>| {
            if let Some(path) = flag {
                *into = path;
            }
        };
        put(&mut file.files.certificate, flags.certificate);
        put(&mut file.files.key, flags.key);
        put(&mut file.files.authority, flags.authority);
        put(&mut file.files.state, flags.state);
        let put = |into: &mut Option<PathBuf>, flag: Option<PathBuf>| {
            *into = flag.or_else(|| into.take())
        };
        put(&mut file.files.revocations, flags.revocations);
        put(&mut file.files.issuer, flags.issuer);
        put(&mut file.files.passphrase, flags.passphrase);
        put(&mut file.database.certificate, flags.database_certificate);
        put(&mut file.database.key, flags.database_key);
        put(&mut file.database.authority, flags.database_authority);
        file.database.peers = flags.peers_database.map(Text).or(file.database.peers);
        file.listeners.peers = flags.listen.unwrap_or(file.listeners.peers);
        file.listeners.public = flags.public.unwrap_or(file.listeners.public);
        if !flags.trusted_proxies.is_empty() {
            file.listeners.trusted_proxies = flags.trusted_proxies.into_iter().map(Text).collect();
        }
        file.policy.trust_announcements |= flags.trust_announcements;
        file.lists.sources = flags.sources.map(Text).or(file.lists.sources);
        file.check()?;
        Ok(file)
    }
}

impl RunConfig {
    /// Reads the file that the flags name, and puts the flags in its place.
    ///
    /// # Errors
    /// One line with what would work.
    pub fn read(flags: &Flags) -> Result<Self, String> {
        let file = flags.settings()?;
        let terms = Terms {
            lease: file.leases.lifetime.0,
            politeness: file.politeness()?,
            polls: file.polls()?,
            brake: file.brake(),
        };
        let proxies = file.listeners.trusted_proxies;
        let files = Files {
            certificate: file.files.certificate,
            key: file.files.key,
            authority: file.files.authority,
        };
        let database = match (&flags.database, &file.database.address) {
            (Some(flag), _) => flag.clone(),
            (None, Some(text)) => text.parse().map_err(|why| format!("database.address: {why}"))?,
            (None, None) => DatabaseAddress::embedded(&file.files.state),
        };
        let own = |path: Option<PathBuf>, of_all: &PathBuf| path.unwrap_or_else(|| of_all.clone());
        let database_files = Files {
            certificate: own(file.database.certificate, &files.certificate),
            key: own(file.database.key, &files.key),
            authority: own(file.database.authority, &files.authority),
        };
        Ok(Self {
            listen: file.listeners.peers,
            public: file.listeners.public.0,
            proxies: Proxies(proxies.into_iter().map(|proxy| proxy.0).collect()),
            files,
            revocations: file.files.revocations,
            issuer: file.files.issuer,
            passphrase: file.files.passphrase,
            state: file.files.state,
            database,
            database_files,
            peers_database: file.database.peers.map(|peers| peers.0),
            sources: file.lists.sources.map(|list| list.0),
            refresh: file.lists.refresh.0,
            blocks: file.lists.blocks.into_iter().map(|list| list.0).collect(),
            terms,
            price_age: file.leases.price_age.0,
            policy: file.policy,
            left: file.retention.left.0,
            delisted: file.retention.delisted.0,
            flags: flags.clone(),
        })
    }

    /// The admin socket.
    pub fn socket(&self) -> PathBuf {
        self.state.join(SOCKET_NAME)
    }
}

/// Where the store is.
#[derive(Debug, Clone)]
pub enum DatabaseAddress {
    /// In a file, for one arbiter.
    File(PathBuf),
    /// In a PostgreSQL database, for several.
    Server(Address),
}

impl DatabaseAddress {
    /// The embedded store in the folder `state`.
    pub fn embedded(state: &Path) -> Self {
        Self::File(state.join(DATABASE_NAME))
    }

    /// The same with what a server wants to see, where it is one: see [`Address::with_identity`].
    ///
    /// # Errors
    /// The files can't be used.
    pub fn with_identity(self, files: &Files) -> Result<Self, AddressError> {
        match self {
            Self::Server(address) => address.with_identity(files).map(Self::Server),
            Self::File(file) => Ok(Self::File(file)),
        }
    }
}

impl FromStr for DatabaseAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if Address::is_meant(text) {
            text.parse().map(Self::Server)
        } else {
            Ok(Self::File(text.into()))
        }
    }
}

impl fmt::Display for DatabaseAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Server(address) => write!(f, "{address}"),
        }
    }
}

/// Where a source list is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListAddress {
    /// On this machine.
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
            return Err(format!("{text:?}: a file's path, http:// or https:// would work"));
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
