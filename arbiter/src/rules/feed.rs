//! How far a reader of the change feed has come, as a value that it hands back.
//!
//! | cursor | what comes next |
//! | --- | --- |
//! | `0` | a snapshot of what is shown, by id; then what changed since it began |
//! | `s:UNTIL:ID` | the rest of a snapshot that began when UNTIL was the newest change |
//! | `NUMBER` | what changed after that one |
//! | `NUMBER:ID` | the rest of that one |

use canister_protocol::row::ID_LENGTH;
use std::fmt;
use std::str::FromStr;

/// Where a reader goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedCursor {
    /// Behind the change of this number, or where there is an id, in it behind the row of that id.
    After { number: u64, id: Option<String> },
    /// From the beginning.
    Begin,
    /// In a snapshot that began at the change of number `until`, behind the row of that id.
    Snapshot { until: u64, id: String },
}

impl fmt::Display for FeedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After { number, id: None } => write!(f, "{number}"),
            Self::After { number, id: Some(id) } => write!(f, "{number}:{id}"),
            Self::Begin => f.write_str("0"),
            Self::Snapshot { until, id } => write!(f, "s:{until}:{id}"),
        }
    }
}

impl FromStr for FeedCursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "after is 0, a number, or what `next` of the page before says";
        let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse::<u64>().ok().filter(|it| i64::try_from(*it).is_ok()).ok_or(WRONG),
            false => Err(WRONG),
        };
        let id = |text: &str| {
            let is_id =
                text.len() == ID_LENGTH && text.bytes().all(|it| it.is_ascii_alphanumeric());
            if is_id { Ok(text.to_owned()) } else { Err(WRONG) }
        };
        let parts: Vec<&str> = text.splitn(4, ':').collect();
        match parts[..] {
            ["0"] => Ok(Self::Begin),
            [after] => Ok(Self::After { number: number(after)?, id: None }),
            ["s", until, last] => Ok(Self::Snapshot { until: number(until)?, id: id(last)? }),
            [after, last] => Ok(Self::After { number: number(after)?, id: Some(id(last)?) }),
            _ => Err(WRONG),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_anything_else_is_none() {
        let id = "7NPYS29DFS9EK1ZS840HYE9XMF";
        for text in ["0", "7", &format!("7:{id}"), &format!("s:7:{id}"), &format!("s:0:{id}")] {
            assert_eq!(text.parse::<FeedCursor>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "-1",
            "+1",
            "x",
            "7:",
            "7:x",
            "s:7",
            "s:x:y",
            "7:7:7:7",
            "99999999999999999999",
            "s::",
        ] {
            assert!(text.parse::<FeedCursor>().is_err(), "{text}");
        }
    }
}
