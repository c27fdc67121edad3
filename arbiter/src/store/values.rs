//! What passes between the verbs and what each database does in its own way.

use super::Lease;

/// A lease, and how much is staged under it.
pub(super) struct StagedLease {
    pub(super) lease: Lease,
    pub(super) operator: String,
    pub(super) put: u64,
    pub(super) put_bytes: u64,
    pub(super) dropped: u64,
}

/// What publishing would change of a source, by name.
#[derive(Debug, Default)]
pub(super) struct Differences {
    /// Whether a row of the catalogue would be written.
    pub(super) is_any: bool,
    /// Packages that the source would have no more.
    pub(super) lost: u64,
    /// Packages that it didn't have.
    pub(super) gained: u64,
}

/// What publishing did.
#[derive(Debug)]
pub(super) struct Published {
    /// Rows that are new or changed.
    pub(super) put: u64,
    pub(super) left: u64,
    /// Rows that the source has now.
    pub(super) packages: u64,
}
