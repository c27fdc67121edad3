//! Why the authority didn't do it.

use canister_link::certificate::NAMES_THAT_WORK;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why the authority didn't do it. Displayed as one line with what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum CaError {
    /// A file can't be read or written.
    File {
        /// What was attempted.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
    /// What is in a file is not what it should be.
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// A name that no peer may have.
    Name(String),
    /// The certificate couldn't be made.
    Make(rcgen::Error),
    /// It can be done, and isn't: the rules are against it. What, and what to do.
    Refused(String),
}

impl CaError {
    pub(super) fn content(path: &Path, why: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), why: why.into() }
    }

    /// For `map_err`: what was attempted on which file.
    pub(super) fn file<'a>(verb: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Self + 'a {
        move |cause| Self::File { verb, path: path.to_owned(), cause }
    }
}

impl fmt::Display for CaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { verb, path, cause } => {
                write!(f, "{verb} {}: {cause}", path.display())?;
                match (cause.kind(), *verb) {
                    (io::ErrorKind::AlreadyExists, "write new file") => {
                        f.write_str("; nothing is overwritten: move it away, or name another place")
                    }
                    (_, "make folder") => f.write_str("; --dir names another"),
                    (_, "write to") => {
                        f.write_str("; use a folder that the arbiter's user may write to")
                    }
                    (_, "write new file") => f.write_str("; --out names another place"),
                    _ => Ok(()),
                }
            }
            Self::Content { path, why } => write!(f, "{}: {why}", path.display()),
            Self::Name(name) => {
                let name: String = name.chars().take(80).collect();
                write!(f, "{name:?} can't be a name: {NAMES_THAT_WORK}")
            }
            Self::Make(cause) => write!(f, "make the certificate: {cause}"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for CaError {}

impl From<rcgen::Error> for CaError {
    fn from(cause: rcgen::Error) -> Self {
        Self::Make(cause)
    }
}
