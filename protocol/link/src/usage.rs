//! The command line of both programs: reading it, saying what came of it, and, to one that can't be
//! taken, which word is wrong and what would work.

use argh::TopLevelCommand;
use log::LevelFilter;
use std::io::{self, Write as _};
use std::num::{IntErrorKind, ParseIntError};
use std::process::ExitCode;
use std::str::FromStr;

/// What a command comes to: text for standard output, or why there is none.
pub type Said = Result<String, Failure>;

/// Why a command came to nothing: one line for standard error.
#[derive(Debug)]
pub enum Failure {
    /// It was tried: exit status 1.
    Failed(String),
    /// It was asked for wrongly: exit status 2.
    Usage(String),
}

/// The whole of a program's `main`: reads the command line, has it done, prints what came of it.
pub fn main<T: TopLevelCommand>(name: &str, run: impl FnOnce(T) -> Said) -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let said = match T::from_args(&[name], words.get(1..).unwrap_or_default()) {
        Ok(arguments) => run(arguments),
        Err(early) if early.status.is_ok() => Ok(early.output),
        Err(early) => Err(Failure::Usage(explained(&early.output))),
    };
    let (status, why) = match said {
        Ok(text) => {
            // A reader that has seen enough closes the pipe; that is no failure.
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(Failure::Failed(why)) => (1, why),
        Err(Failure::Usage(why)) => (2, why),
    };
    let _ = writeln!(io::stderr(), "{name}: {}", why.trim_end());
    ExitCode::from(status)
}

/// Reads a whole number.
///
/// # Errors
/// What would work.
pub fn number<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|cause: ParseIntError| match cause.kind() {
        IntErrorKind::PosOverflow => "a smaller number would work".to_owned(),
        _ => "a whole number would work".to_owned(),
    })
}

/// Reads the level of a log.
///
/// # Errors
/// What would work.
pub fn level(text: &str) -> Result<LevelFilter, String> {
    text.parse().map_err(|_| "error, warn, info, debug or trace would work".to_owned())
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
fn explained(said: &str) -> String {
    let said = said.trim_end().trim_end_matches('.');
    let is_explained = said.contains('\n') || said.contains("would work");
    let more = if is_explained { "" } else { "; --help lists what works" };
    format!("{said}{more}")
}
