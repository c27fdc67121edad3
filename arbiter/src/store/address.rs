//! Where the store is, as an operator names it.

use super::postgres::{Address, AddressError};
use canister_link::identity::Files;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The embedded store's name in the state directory.
pub const DATABASE_NAME: &str = "canister.db";

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
