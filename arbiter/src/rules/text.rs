//! Numbers and states as people read them.

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

/// Bytes in mebibytes, to a tenth.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}

/// Gives each variant its words, as they are stored and shown.
macro_rules! in_words {
    ($kind:ident, $words:ident: $($variant:ident = $text:literal),* $(,)?) => {
        impl $kind {
            /// In words, as it is stored and shown.
            pub const fn $words(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// Reads what [`$words`](Self::$words) says.
            pub fn from_words(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use in_words;
