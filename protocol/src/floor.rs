//! The oldest version of agents that are granted leases, and from when on: peers are told before.

use crate::version;
use std::fmt;
use std::str::FromStr;

/// Longest version in bytes.
const VERSION_BYTES_MAX: usize = 32;
/// What the programs of peers are called that have our versions.
const AGENT: &str = "canister-agent/";

/// Older agents than this are granted nothing from a moment on. Displayed as arbiters tell it to peers:
/// `0.2.0 1798070400`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// The oldest version that will do.
    pub version: String,
    /// From when on, in seconds since 1970.
    pub from: u64,
}

impl Floor {
    /// A floor of this version.
    ///
    /// # Errors
    /// What to use instead.
    pub fn new(version: &str, from: u64) -> Result<Self, String> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b".+~-".contains(&byte);
        let is_version = version.len() <= VERSION_BYTES_MAX
            && version.starts_with(|it: char| it.is_ascii_digit())
            && version.bytes().all(is_good);
        match is_version {
            true => Ok(Self { version: version.to_owned(), from }),
            false => Err("use a version, such as 0.2.0".to_owned()),
        }
    }

    /// Whether a program is an agent that is older. Others have versions of their own.
    pub fn is_above(&self, program: &str) -> bool {
        let agent = program.strip_prefix(AGENT);
        agent.is_some_and(|agent| version::key(agent) < version::key(&self.version))
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.version, self.from)
    }
}

impl FromStr for Floor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no version and time");
        let (version, from) = text.split_once(' ').ok_or_else(wrong)?;
        Self::new(version, from.parse().map_err(|_| wrong())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_read_as_it_is_told() {
        let floor = Floor::new("0.2.0", 1_798_070_400).unwrap();
        assert_eq!(floor.to_string().parse(), Ok(floor));
        for text in ["", "0.2.0", "0.2.0 x", "0.2.0 -1", "x 1", " 1", "0.2.0\n 1", "0.2.0  1"] {
            assert!(text.parse::<Floor>().is_err(), "{text:?}");
        }
        assert!(Floor::new(&"1".repeat(33), 0).is_err());
    }

    #[test]
    fn older_agents_are_below_it_and_others_arent_judged() {
        let floor = Floor::new("0.2.0", 0).unwrap();
        for (program, is_below) in [
            ("canister-agent/0.1.9", true),
            ("canister-agent/0.2.0~rc1", true),
            ("canister-agent/0.2.0", false),
            ("canister-agent/0.10.0", false),
            ("canister-agent/", true),
            ("another/0.1", false),
            ("", false),
        ] {
            assert_eq!(floor.is_above(program), is_below, "{program}");
        }
    }
}
