//! The sink of an audit: nothing is asked and nothing is written; what is read becomes a commitment.

use super::{Sink, SinkError};
use crate::apt::package::BorrowedRow;
use canister_protocol::audit::AuditedRows;
use canister_protocol::limits::{AUDIT_PACKAGES_MAX, DOUBLES_MAX};
use canister_protocol::message::{FailureKind, Outcome, Price};
use canister_protocol::row::Digest;
use std::collections::BTreeSet;

/// Remembers 32 bytes a package.
#[derive(Debug)]
pub struct AuditSink {
    slug: String,
    rows: AuditedRows,
    scratch: Vec<u8>,
}

impl AuditSink {
    /// For an audit of the source `slug`.
    pub fn new(slug: &str) -> Self {
        Self { slug: slug.to_owned(), rows: AuditedRows::default(), scratch: Vec::new() }
    }

    /// What a lease whose rows went here ended with.
    pub fn ended(self, outcome: Outcome) -> Outcome {
        let Outcome::Indexed { origin, counts, .. } = outcome else {
            return outcome;
        };
        let (doubles, commitment) = self.rows.end();
        if doubles.len() > DOUBLES_MAX {
            return Outcome::Failed {
                kind: FailureKind::Peer,
                retry_after_secs: None,
                status: None,
                reason: format!("{}: more than {DOUBLES_MAX} ids stand twice", self.slug),
            };
        }
        Outcome::Audited { origin, counts, doubles, commitment }
    }
}

impl Sink for AuditSink {
    fn known(&mut self) -> Result<Option<Vec<Digest>>, SinkError> {
        Ok(None)
    }

    fn put(&mut self, row: &BorrowedRow<'_>) -> Result<(), SinkError> {
        let id = row.id_number(&self.slug, &mut self.scratch);
        let digest = row.digest(&mut self.scratch);
        match self.rows.add(id, digest) as u64 {
            ..=AUDIT_PACKAGES_MAX => Ok(()),
            _ => Err(SinkError::TooMany),
        }
    }

    fn dropped(&mut self, _: &[Digest]) -> Result<(), SinkError> {
        Ok(())
    }

    fn priced(&mut self) -> Result<Option<BTreeSet<String>>, SinkError> {
        Ok(None)
    }

    fn prices(&mut self, _: Vec<Price>) -> Result<(), SinkError> {
        Ok(())
    }

    fn wants_facts(&self) -> bool {
        false
    }

    fn discard(&mut self) -> Result<(), SinkError> {
        self.rows.clear();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}
