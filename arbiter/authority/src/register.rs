//! What was issued, to whom, and what was revoked: the authority's memory, one file, replaced as a
//! whole at each change.

use super::error::CaError;
use super::folder::{Folder, LIST_BYTES_MAX, read_if_there, replace};
use super::reason::Reason;
use canister_link::certificate::Life;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The register.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The number of the newest revocation list; each has a higher one than the one before.
    pub list_number: u64,
    /// All certificates, oldest first.
    pub issued: Vec<Issued>,
}

/// For whom a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateKind {
    /// Who announces for sources under its name.
    Announcer,
    /// A volunteer's agent.
    Peer,
    /// An arbiter or a database server.
    Server,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// For whom.
    pub kind: CertificateKind,
    /// The peer's or announcer's name, or the first name of a server.
    pub name: String,
    /// The fingerprint of its key.
    pub key: String,
    /// Its first second, since 1970 UTC.
    pub begins: u64,
    /// Its last second, since 1970 UTC.
    pub ends: u64,
    /// Whether it is a renewal that the peer asked an arbiter for.
    #[serde(default)]
    pub is_renewal: bool,
    /// If it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revoked>,
}

/// That and why a certificate was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// When, in seconds since 1970 UTC.
    pub at: u64,
    /// As the revocation list says it.
    pub reason: Reason,
    /// As the operator says it.
    pub why: String,
}

impl Issued {
    /// When it is good.
    pub const fn life(&self) -> Life {
        Life { begins: self.begins, ends: self.ends }
    }

    /// Whether it opens doors at `now`, or will.
    pub const fn is_good(&self, now: u64) -> bool {
        self.revoked.is_none() && self.ends >= now
    }
}

impl Register {
    /// The register of the authority in the folder `dir`, to be looked at.
    ///
    /// # Errors
    /// [`CaError`]; also if there is no authority.
    pub fn open(dir: &Path) -> Result<Self, CaError> {
        let folder = Folder::new(dir);
        if !folder.issuer_certificate().exists() {
            let why = "no authority is in this folder; --dir names another";
            return Err(CaError::content(dir, why));
        }
        Self::read(&folder.register())
    }

    /// Reads it; an empty one if there is none yet.
    pub(super) fn read(path: &Path) -> Result<Self, CaError> {
        let Some(text) = read_if_there(path, LIST_BYTES_MAX)? else {
            return Ok(Self::default());
        };
        serde_json::from_str(&text).map_err(|cause| {
            let why = format!("not a register: {cause}; use a copy of it that is whole");
            CaError::content(path, why)
        })
    }

    /// Writes it.
    pub(super) fn write(&self, path: &Path) -> Result<(), CaError> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|cause| CaError::content(path, cause.to_string()))?;
        replace(path, &(text + "\n"), 0o600)
    }

    /// The certificates of a name that open doors at `now`, oldest first.
    pub fn good<'a>(
        &'a self,
        kind: CertificateKind,
        name: &'a str,
        now: u64,
    ) -> impl Iterator<Item = &'a Issued> {
        let of_name = move |it: &&Issued| it.kind == kind && it.name == name && it.is_good(now);
        self.issued.iter().filter(of_name)
    }
}
