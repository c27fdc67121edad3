//! Why a verb did nothing.

use std::fmt;

/// Why a verb did nothing.
///
/// Only [`Refused`](Self::Refused) is about the caller; all others are for the operator, and say
/// which database and what would help.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The database is damaged, or is none of an arbiter.
    Corrupt {
        /// The database: its file, or where its server is.
        database: String,
        /// What the database engine says.
        cause: String,
    },
    /// The disk is full.
    Full {
        /// The database: its file, or where its server is.
        database: String,
    },
    /// Another arbiter has it open.
    InUse {
        /// The database: its file, or where its server is.
        database: String,
    },
    /// A bug: the database refused something that should never be asked of it.
    Internal {
        /// The database: its file, or where its server is.
        database: String,
        /// What the database engine says.
        cause: String,
    },
    /// Reading or writing failed.
    Io {
        /// The database, or what belongs to it.
        database: String,
        attempt: &'static str,
        /// Why it failed and what to do.
        cause: String,
    },
    /// A newer arbiter wrote it.
    Newer {
        /// The database: its file, or where its server is.
        database: String,
        schema: u32,
        /// The newest this program knows.
        known: u32,
    },
    /// An older arbiter wrote it, and it was opened for reading only.
    Older {
        /// The database: its file, or where its server is.
        database: String,
        schema: u32,
        /// The one this program reads.
        known: u32,
    },
    /// It can't be written.
    ReadOnly {
        /// The database: its file, or where its server is.
        database: String,
    },
    /// The lease is over or was never this peer's, or what it asks can't be done. Nothing changed.
    Refused {
        /// Why, for the peer.
        why: String,
    },
}

impl StoreError {
    /// Whether the caller asked for something it may not have, rather than the store failing.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// Whether the same call may succeed later without anybody changing what was asked.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::InUse { .. } | Self::Io { .. })
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt { database, cause } => write!(
                f,
                "database {database}: damaged or no database of an arbiter ({cause}): restore a copy of \
                 it, or move it away and the catalogue is indexed anew"
            ),
            Self::Full { database } => {
                write!(f, "database {database}: no space left: free some on its disk")
            }
            Self::InUse { database } => write!(
                f,
                "database {database}: in use by another arbiter: stop that one, or name another file"
            ),
            Self::Internal { database, cause } => {
                write!(f, "database {database}: {cause}: this is a bug of the arbiter")
            }
            Self::Io { database, attempt, cause } => write!(f, "{attempt} {database}: {cause}"),
            Self::Newer { database, schema, known } => write!(
                f,
                "database {database}: written by a newer arbiter (schema {schema}, this one knows \
                 {known}): install that version"
            ),
            Self::Older { database, schema: 0, .. } => write!(
                f,
                "database {database}: empty: no arbiter has run on it yet; start one on it first"
            ),
            Self::Older { database, schema, known } => write!(
                f,
                "database {database}: written by an older arbiter (schema {schema}, this one reads \
                 {known}): start this version's arbiter on it once"
            ),
            Self::ReadOnly { database } => write!(
                f,
                "database {database}: can't be written: give this user write access to it and its folder"
            ),
            Self::Refused { why } => f.write_str(why),
        }
    }
}

impl std::error::Error for StoreError {}
