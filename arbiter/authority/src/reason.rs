//! Why a certificate was revoked.

use rcgen::RevocationReason;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Why a certificate was revoked, as far as lists tell (RFC 5280 §5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Who has it has nothing to do with Canister any more.
    AffiliationChanged,
    /// It is not needed any more.
    CessationOfOperation,
    /// Somebody else may have the key.
    KeyCompromise,
    /// Its owner may not take part any more.
    PrivilegeWithdrawn,
    /// Another took its place.
    Superseded,
    /// None of these.
    Unspecified,
}

impl FromStr for Reason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "affiliation-changed" => Self::AffiliationChanged,
            "cessation-of-operation" => Self::CessationOfOperation,
            "key-compromise" => Self::KeyCompromise,
            "privilege-withdrawn" => Self::PrivilegeWithdrawn,
            "superseded" => Self::Superseded,
            "unspecified" => Self::Unspecified,
            _ => {
                return Err("use key-compromise, privilege-withdrawn, superseded, \
                            affiliation-changed, cessation-of-operation or unspecified"
                    .to_owned());
            }
        })
    }
}

impl From<Reason> for RevocationReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::AffiliationChanged => Self::AffiliationChanged,
            Reason::CessationOfOperation => Self::CessationOfOperation,
            Reason::KeyCompromise => Self::KeyCompromise,
            Reason::PrivilegeWithdrawn => Self::PrivilegeWithdrawn,
            Reason::Superseded => Self::Superseded,
            Reason::Unspecified => Self::Unspecified,
        }
    }
}
