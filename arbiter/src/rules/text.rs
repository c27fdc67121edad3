//! Numbers and states as people read them.

use std::time::Duration;

/// A number with a comma before each three digits.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many of something: `1 source`, `2,000 sources`.
pub fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(count), if count == 1 { one } else { many })
}

/// A time in its largest sensible unit: `90 s`, `2 min`, `47 h`, `3 d`.
pub fn span(time: Duration) -> String {
    let secs = time.as_secs();
    match secs {
        0..=119 => format!("{secs} s"),
        120..=7199 => format!("{} min", secs / 60),
        7200..=172_799 => format!("{} h", secs / 3600),
        _ => format!("{} d", secs / 86_400),
    }
}

/// Bytes in mebibytes, to a tenth.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}

/// Gives each variant its words, as they are stored and shown.
macro_rules! in_words {
    ($kind:ident, $words:ident: $($variants:tt)*) => {
        $crate::rules::text::in_words!(pub $kind, $words: $($variants)*);
    };
    ($vis:vis $kind:ident, $words:ident: $($variant:ident = $text:literal),* $(,)?) => {
        impl $kind {
            /// In words, as it is stored and shown.
            $vis const fn $words(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// Reads what [`$words`](Self::$words) says.
            $vis fn from_words(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use in_words;
