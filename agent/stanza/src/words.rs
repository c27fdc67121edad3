//! Looking at eight bytes of a text at once, for searches in texts so short that beginning and ending
//! a search made for long ones would take most of its time.
//!
//! Spec: Warren, Hacker's Delight, 6-1. In what the functions give, the lowest byte that isn't zero
//! is right, and so is whether there is one; bytes above it may be wrong.

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// The high bit of each byte of `word` that is `byte`.
#[inline]
pub const fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * byte as u64), 1)
}

/// The high bit of each byte of `word` that is less than `bound`, which is at most 128.
#[inline]
pub const fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(ONES * bound as u64) & !word & HIGH
}

/// Where the first byte is that `found`, the result of one of the above, tells of.
#[inline]
pub const fn first(found: u64) -> Option<usize> {
    if found == 0 {
        return None;
    }
    Some(found.trailing_zeros() as usize / 8)
}

/// Whether `is_found` finds anything in a word of `text`. It is given all bytes of it, some twice,
/// and where `text` is shorter than a word, spaces.
#[inline]
pub fn any(text: &[u8], is_found: impl Fn(u64) -> u64) -> bool {
    let (words, _) = text.as_chunks();
    if let Some(last) = text.last_chunk() {
        let word = |bytes: &[u8; 8]| is_found(u64::from_le_bytes(*bytes));
        return words.iter().fold(word(last), |found, it| found | word(it)) != 0;
    }
    let word = match (text.first_chunk(), text.last_chunk()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
        }
        _ => text.iter().fold(ONES * b' ' as u64, |word, byte| word << 8 | u64::from(*byte)),
    };
    is_found(word) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_wherever_they_are() {
        for length in 0..40 {
            for at in 0..length {
                for (byte, is_found) in [(b':', true), (b';', false), (0xba, false), (0, false)] {
                    let mut text = vec![b'x'; length];
                    text[at] = byte;
                    assert_eq!(any(&text, |word| equal(word, b':')), is_found);
                    assert_eq!(any(&text, |word| below(word, b' ')), byte == 0);
                }
            }
            assert!(!any(&vec![0xff; length], |word| below(word, b' ')));
        }
        let of = |text: &[u8; 8]| first(equal(u64::from_le_bytes(*text), b':'));
        assert_eq!(of(b"abcdefgh"), None);
        assert_eq!(of(b":;:;:;:;"), Some(0));
        assert_eq!(of(b"Size:; :"), Some(4));
        assert_eq!(of(b"\xba\x3b\xb9\0\xff;;:"), Some(7));
    }
}
