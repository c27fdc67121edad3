//! Foreign text where people read it: in a log, in a table on a terminal, in a message of one line.
//! A server, a stranger or a peer wrote it, and what can forge a line, move the cursor or turn the
//! direction of writing must show as what it is.

use crate::limits::cut;
use std::fmt::{self, Write as _};

/// A text that is displayed with each control, line and direction character as `\u{…}`.
#[derive(Debug, Clone, Copy)]
pub struct Plain<'a>(pub &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(is_special) {
            let (before, from) = rest.split_at(at);
            f.write_str(before)?;
            let mut letters = from.chars();
            if let Some(special) = letters.next() {
                write!(f, "{}", special.escape_unicode())?;
            }
            rest = letters.as_str();
        }
        f.write_str(rest)
    }
}

/// Whether a character is none that is seen in its place.
///
/// Spec: Unicode, general category Cc; UAX #14 class BK; UAX #9, the explicit formatting characters
/// and implicit marks.
pub fn is_special(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text as a message's field of one line: control characters are blanks in it, and it has at most
/// `limit` bytes.
pub fn one_line(text: &str, limit: usize) -> String {
    let line = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut line: String = line.collect();
    line.truncate(cut(&line, limit).len());
    line
}

/// The same text with whatever of it is special written as [`Plain`] does, but for line feeds: what a
/// command prints.
pub fn lines(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        // Writing to a string can't fail.
        let _ = write!(plain, "{}{end}", Plain(line));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_special_shows_as_what_it_is() {
        for (text, plain) in [
            ("", ""),
            ("a b é 漢 🎈", "a b é 漢 🎈"),
            ("a\nb", "a\\u{a}b"),
            ("\u{1b}[31m", "\\u{1b}[31m"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("x\u{202e}y\u{2066}", "x\\u{202e}y\\u{2066}"),
            ("\u{2028}\t\u{7f}", "\\u{2028}\\u{9}\\u{7f}"),
        ] {
            assert_eq!(Plain(text).to_string(), plain);
        }
        assert_eq!(lines("a\u{9b}\nb\r\n"), "a\\u{9b}\nb\\u{d}\n");
        assert_eq!(one_line("a\nb\u{9b}cé", 6), "a b c");
    }
}
