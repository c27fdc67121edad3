//! Where the rows of a lease go. The code that indexes sees only this.

use crate::apt::package::BorrowedRow;
use canister_protocol::limits::AUDIT_PACKAGES_MAX;
use canister_protocol::message::Price;
use canister_protocol::row::Digest;
use std::collections::BTreeSet;
use std::fmt;

pub mod audit;
pub mod ndjson;
pub mod postgres;
pub mod relay;

/// Takes what a lease finds. All calls come from the lease's thread and may block.
///
/// What is put and dropped counts for nothing until the lease is finished, which is not the sink's
/// business.
pub trait Sink {
    /// The digests of all packages that the catalogue has of the lease's source, ascending; `None`
    /// if the sink has no catalogue and wants every row.
    ///
    /// # Errors
    /// [`SinkError`]; the lease's work is to end.
    fn known(&mut self) -> Result<Option<Vec<Digest>>, SinkError>;

    /// Puts a row, which still lies in the reader's buffer. May return before it is safe.
    ///
    /// # Errors
    /// [`SinkError`]; the lease's work is to end.
    fn put(&mut self, row: &BorrowedRow<'_>) -> Result<(), SinkError>;

    /// Names digests of [`known`](Self::known) that the package index has no more. May return
    /// before that is safe.
    ///
    /// # Errors
    /// [`SinkError`]; the lease's work is to end.
    fn dropped(&mut self, digests: &[Digest]) -> Result<(), SinkError>;

    /// Ids of the source's packages whose price is known and not old; `None` if the sink has no use
    /// for prices.
    ///
    /// # Errors
    /// [`SinkError`]; the lease's work is to end.
    fn priced(&mut self) -> Result<Option<BTreeSet<String>>, SinkError>;

    /// Tells prices that the source's shop was just asked for.
    ///
    /// # Errors
    /// [`SinkError`]; the lease's work is to end.
    fn prices(&mut self, prices: Vec<Price>) -> Result<(), SinkError>;

    /// Whether what Release says of the source is of use; else nothing is asked for its sake alone.
    fn wants_facts(&self) -> bool {
        true
    }

    /// Forgets all that was put and dropped so far: another package index is read instead.
    ///
    /// # Errors
    /// [`SinkError`]; the lease's work is to end.
    fn discard(&mut self) -> Result<(), SinkError>;

    /// Returns when all that was put and dropped is safe.
    ///
    /// # Errors
    /// [`SinkError`]; the lease's work is to end.
    fn flush(&mut self) -> Result<(), SinkError>;
}

/// Why a sink takes nothing any more.
#[derive(Debug)]
#[non_exhaustive]
pub enum SinkError {
    /// Rows left for good before they were discarded, and the ones put since are others.
    Differs,
    /// The lease is over.
    Lost,
    /// The source has more packages than an audit may hold.
    TooMany,
    Write(std::io::Error),
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs => f.write_str("rows were written that the package index doesn't have"),
            Self::Lost => f.write_str("the lease is over"),
            Self::TooMany => write!(f, "more than {AUDIT_PACKAGES_MAX} packages to be audited"),
            Self::Write(cause) => write!(f, "write rows: {cause}"),
        }
    }
}

impl std::error::Error for SinkError {}
