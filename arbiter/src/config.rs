//! What `canister-arbiter run` can be told: every key with its default, its unit and its effect.

use crate::schedule::PollSchedule;
use crate::store::postgres::{Address, AddressError};
use canister_agent::identity::Files;
use canister_protocol::Database;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Where peers come to unless the operator says otherwise.
pub const LISTEN: &str = "[::]:443";
/// Directory of the database and the admin socket unless the operator says otherwise.
pub const STATE_DIRECTORY: &str = "/var/lib/canister-arbiter";
/// Directory of the arbiter's certificate, key and authority unless the operator says otherwise.
pub const DIRECTORY: &str = "/etc/canister-arbiter";
/// The admin socket's name in the state directory.
pub const SOCKET_NAME: &str = "admin.sock";
/// The embedded store's name in the state directory.
pub const DATABASE_NAME: &str = "canister.db";
/// Seconds that a lease lives after its grant or renewal. Peers renew at a third of it, so one
/// survives two lost renewals; a vanished peer's source waits this long.
pub const LEASE_SECS: u64 = 60;
/// Days for which a price is good. Prices were most of what the servers were asked before.
pub const PRICE_DAYS: u64 = 7;
/// Seconds between two readings of the source list.
pub const REFRESH_SECS: u64 = 3600;

/// The settings of [`arbiter::run`](crate::arbiter::run).
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// Address and port of the peers' listener.
    pub listen: SocketAddr,
    /// Certificate, key, authority.
    pub files: Files,
    /// Folder of the embedded store and the admin socket; made if need be.
    pub state: PathBuf,
    /// Where peers may write their rows themselves; without it all rows come over their sessions.
    pub peers_database: Option<Database>,
    /// The store.
    pub database: DatabaseAddress,
    /// The source list, if it isn't known already from an earlier run.
    pub sources: Option<ListAddress>,
    /// How often the source list is read again.
    pub refresh: Duration,
    /// When sources are asked again.
    pub schedule: PollSchedule,
    /// How long a lease lives after its grant or renewal.
    pub lease: Duration,
    /// How long a price is good before the shop is asked again.
    pub price_age: Duration,
    /// Least time between two leases of one operator of sources.
    pub pause: Duration,
}

impl RunConfig {
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
            return Err(format!(
                "{text:?}: a file's path, http:// or https:// would work"
            ));
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
