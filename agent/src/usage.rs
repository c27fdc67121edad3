//! What both programs say to a command line that they can't take: which word is wrong, and what
//! would work.

use log::LevelFilter;
use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;

/// Reads a whole number.
///
/// # Errors
/// What would work.
pub fn number<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|cause: ParseIntError| match cause.kind() {
            IntErrorKind::PosOverflow => "a smaller number would work".to_owned(),
            _ => "a whole number would work".to_owned(),
        })
}

/// Reads the level of a log.
///
/// # Errors
/// What would work.
pub fn level(text: &str) -> Result<LevelFilter, String> {
    text.parse()
        .map_err(|_| "error, warn, info, debug or trace would work".to_owned())
}

/// Reads a User-Agent header.
///
/// # Errors
/// What would work.
pub fn user_agent(text: &str) -> Result<String, String> {
    let is_good = |byte: u8| (b' '..=b'~').contains(&byte);
    if text.trim().is_empty() || !text.bytes().all(is_good) {
        return Err("one line of ASCII characters would work".to_owned());
    }
    Ok(text.to_owned())
}

/// What argh says of a command line, with where to read on if it doesn't say.
pub fn explained(said: &str) -> String {
    let said = said.trim_end().trim_end_matches('.');
    let is_explained = said.contains('\n') || said.contains("would work");
    let more = if is_explained {
        ""
    } else {
        "; --help lists what works"
    };
    format!("{said}{more}")
}
