//! The two validators by which a server can be asked whether a file is still what it was. What one
//! peer says of them goes into another's requests, where anything else could mean something else: an
//! ETag of `*` is true of every file (RFC 9110 §13.1.2).

use std::time::UNIX_EPOCH;

/// Whether `text` is one ETag: `"…"`, or `W/"…"`.
///
/// Spec: RFC 9110 §8.8.3, without its bytes above 127.
pub fn is_etag(text: &str) -> bool {
    let opaque = text.strip_prefix("W/").unwrap_or(text);
    let inner = opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|inner| inner.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'))
}

/// Seconds since 1970 of a date as HTTP writes it, `Sat, 11 Jul 2026 10:16:37 GMT`; `None` for its two
/// obsolete forms, and anything else.
///
/// Spec: RFC 9110 §5.6.7.
pub fn http_date(text: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(text).ok()?;
    let is_current = httpdate::fmt_http_date(date) == text;
    is_current.then(|| date.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags() {
        for good in ["\"\"", "\"5f-1\"", "W/\"5f-1\"", "\"a,b\"", "\"W/\""] {
            assert!(is_etag(good), "{good}");
        }
        for other in ["", "*", "5f-1", "\"", "\"a", "w/\"a\"", "\"a\", \"b\"", "\"a b\"", "\"é\""]
        {
            assert!(!is_etag(other), "{other}");
        }
    }

    #[test]
    fn dates() {
        assert_eq!(http_date("Sat, 11 Jul 2026 10:16:37 GMT"), Some(1_783_764_997));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for other in [
            "",
            "*",
            "Sun, 11 Jul 2026 10:16:37 GMT",
            "Sat, 11 Jul 2026 10:16:37 UTC",
            "Sat, 11 Jul 2026 10:16:37",
            "Saturday, 11-Jul-26 10:16:37 GMT",
            "Sat Jul 11 10:16:37 2026",
            "Sat, 31 Feb 2026 10:16:37 GMT",
        ] {
            assert_eq!(http_date(other), None, "{other}");
        }
    }
}
