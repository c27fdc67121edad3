//! What can be wrong with what the other side sent, or with a value that was to be sent.

use std::fmt;

/// Why bytes are not a message, or a message is not allowed.
///
/// Every variant blames the sender of the bytes. `PartialEq`, so that tests compare values.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A field has a value outside its limit or of the wrong form.
    Field {
        /// The field, as it is called on the wire.
        field: &'static str,
        /// What is wrong with it and what would be right.
        why: String,
    },
    /// The bytes are JSON, but no message of this protocol.
    NotAMessage {
        /// What the decoder says.
        why: String,
    },
    /// The bytes are not JSON as RFC 8259 has it.
    NotJson {
        /// Offset of the first byte that doesn't fit.
        at: usize,
        /// What was expected there.
        why: &'static str,
    },
    /// The message is longer than [`MESSAGE_BYTES_MAX`](crate::limits::MESSAGE_BYTES_MAX).
    TooLong {
        /// Bytes that came.
        bytes: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// The message is not allowed at this point of the session.
    Unexpected {
        /// The message's name.
        message: &'static str,
        /// The phase the session is in.
        phase: &'static str,
    },
    /// The other side speaks another version of the protocol.
    Incompatible {
        /// Its protocol number.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
}

impl Error {
    /// A [`Field`](Self::Field) error.
    pub(crate) fn field(field: &'static str, why: impl Into<String>) -> Self {
        Self::Field { field, why: why.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field { field, why } => write!(f, "field {field}: {why}"),
            Self::NotAMessage { why } => write!(f, "not a message: {why}"),
            Self::NotJson { at, why } => write!(f, "not JSON: byte {at}: expected {why}"),
            Self::TooLong { bytes, limit } => {
                write!(f, "message of {bytes} bytes, at most {limit} are allowed")
            }
            Self::Unexpected { message, phase } => {
                write!(f, "message {message} is not allowed in phase {phase}")
            }
            Self::Incompatible { theirs, ours } => {
                write!(f, "the other side speaks protocol {theirs}, this side {ours}")
            }
        }
    }
}

impl std::error::Error for Error {}

/// Whether there are at most so many.
pub(crate) fn count(field: &'static str, value: usize, limit: usize) -> Result<(), Error> {
    if value > limit {
        return Err(Error::field(field, format!("{value}, at most {limit}")));
    }
    Ok(())
}
