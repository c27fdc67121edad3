//! How much memory a decoder will take, read in the first bytes of its input: functions of bytes.
//!
//! Only the first block, frame or member is looked at. Later ones may need no more than it or
//! `LATER_BYTES`; decoders are told, and refuse what does.

use crate::compression::Compression;

/// First bytes in which the window of any format is found: an XZ stream header (12) and the longest
/// block header (1024).
pub const LOOK_BYTES: u64 = 12 + 1024;
/// What later parts of an input may need, whatever the first does: the window of `xz -6` and
/// `zstd -19`, and the least that a Zstandard decoder is asked to support (RFC 8878 §3.1.1.1.2).
const LATER_BYTES: u64 = 8 * 1024 * 1024;
/// What a decoder needs besides its window, at most.
const STATE_BYTES: u64 = 1024 * 1024;
/// What a decoder of bzip2 needs for blocks of 900,000 bytes.
const BZ2_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes of memory that decoding needs, by the first [`LOOK_BYTES`] of an input. A header that is
/// broken needs what a small one does: the decoder will find out.
pub fn memory_bytes(compression: Compression, start: &[u8]) -> u64 {
    let window = match compression {
        Compression::Plain => return 0,
        Compression::Gz => return STATE_BYTES,
        Compression::Bz2 => return BZ2_BYTES,
        Compression::Lzma => lzma(start),
        Compression::Xz => xz(start),
        Compression::Zst => zst(start),
    };
    window.unwrap_or(0).max(LATER_BYTES) + STATE_BYTES
}

/// Spec: the LZMA_Alone header: properties, dictionary size in 4 bytes, size in 8.
fn lzma(start: &[u8]) -> Option<u64> {
    little_endian(start.get(1..5)?)
}

/// Spec: The .xz File Format §3.1 (block header), §5.3.1 (LZMA2: one byte, the dictionary's size as
/// a mantissa of 2 or 3 and an exponent).
fn xz(start: &[u8]) -> Option<u64> {
    let header = start.get(12..)?;
    // A zero here begins the index: there is no block.
    let size = (usize::from(*header.first()?).checked_sub(1)? + 2) * 4;
    let header = header.get(..size)?;
    let flags = header[1];
    let mut rest = &header[2..];
    for has_size in [flags & 0x40 != 0, flags & 0x80 != 0] {
        if has_size {
            number(&mut rest)?;
        }
    }
    let mut window = 0;
    for _ in 0..=flags & 3 {
        let filter = number(&mut rest)?;
        let length = usize::try_from(number(&mut rest)?).ok()?;
        let (properties, behind) = rest.split_at_checked(length)?;
        rest = behind;
        if let (0x21, &[bits]) = (filter, properties) {
            window = match bits {
                0..40 => u64::from(2 | bits & 1) << (bits / 2 + 11),
                _ => u64::from(u32::MAX),
            };
        }
    }
    Some(window)
}

/// A multibyte integer.
///
/// Spec: The .xz File Format §1.2.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for at in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The next power of two from the window on: decoders are given only powers of two.
///
/// Spec: RFC 8878 §3.1.1.1 (frame header), §3.1.2 (skippable frames).
fn zst(start: &[u8]) -> Option<u64> {
    let mut rest = start;
    while let [0x50..=0x5f, 0x2a, 0x4d, 0x18, behind @ ..] = rest {
        let length = usize::try_from(little_endian(behind.get(..4)?)?).ok()?;
        rest = behind.get(4..)?.get(length..)?;
    }
    let header = rest.get(4..)?;
    let descriptor = *header.first()?;
    let is_single_segment = descriptor & 0x20 != 0;
    let window = if is_single_segment {
        // The window is the content, whose size stands behind the dictionary's id.
        let at = 1 + [0, 1, 2, 4][usize::from(descriptor & 3)];
        let (length, base) = [(1, 0), (2, 256), (4, 0), (8, 0)][usize::from(descriptor >> 6)];
        little_endian(header.get(at..at + length)?)?.saturating_add(base)
    } else {
        let bits = *header.get(1)?;
        let base = 1_u64 << (10 + (bits >> 3));
        base + base / 8 * u64::from(bits & 7)
    };
    Some(window.checked_next_power_of_two().unwrap_or(u64::MAX / 2))
}

fn little_endian(bytes: &[u8]) -> Option<u64> {
    let mut whole = [0; 8];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    const MIB: u64 = 1024 * 1024;

    /// The first bytes of what a tool makes of some text.
    fn packed(words: &str) -> Vec<u8> {
        let script = format!("yes some text | head -c 3000000 | {words}");
        let mut command = Command::new("sh");
        let run = command.args(["-c", &script]).stderr(Stdio::inherit());
        let mut packed = run.output().unwrap().stdout;
        assert!(!packed.is_empty(), "{words}");
        packed.truncate(LOOK_BYTES as usize);
        packed
    }

    #[test]
    fn windows_are_those_that_the_tools_were_told() {
        use Compression::{Lzma, Xz, Zst};
        for (compression, words, window) in [
            (Xz, "xz -0", 8 * MIB),
            (Xz, "xz -6", 8 * MIB),
            (Xz, "xz -7", 16 * MIB),
            (Xz, "xz -9", 64 * MIB),
            (Xz, "xz -T2 --block-size=1MiB -9", 64 * MIB),
            (Xz, "xz --lzma2=dict=24MiB", 24 * MIB),
            (Xz, "xz --x86 --delta --lzma2=dict=96MiB", 96 * MIB),
            (Lzma, "xz --format=lzma -6", 8 * MIB),
            (Lzma, "xz --format=lzma -9", 64 * MIB),
            (Zst, "zstd -q -3", 8 * MIB),
            (Zst, "zstd -q -19", 8 * MIB),
            (Zst, "zstd -q --ultra -22", 128 * MIB),
            (Zst, "zstd -q --long=26", 64 * MIB),
        ] {
            let needs = memory_bytes(compression, &packed(words));
            assert_eq!(needs, window + STATE_BYTES, "{words}");
        }
    }

    #[test]
    fn frames_are_read_by_their_header() {
        let of = |header: &[u8]| zst(&[&[0x28, 0xb5, 0x2f, 0xfd], header].concat());
        for (header, window) in [
            // Window descriptors: exponent and mantissa.
            (&[0x00, 0x00][..], Some(1 << 10)),
            (&[0x00, 0x01], Some(2 << 10)),
            (&[0x04, 27 << 3], Some(1 << 37)),
            (&[0x00, 0xff], Some(1 << 42)),
            // Single segments: content of 1, 2, 4, 8 bytes, behind a dictionary's id.
            (&[0x20, 5], Some(8)),
            (&[0x21, 9, 5], Some(8)),
            (&[0x60, 0, 1], Some(512)),
            (&[0xa3, 9, 9, 9, 9, 0, 0, 0, 2], Some(32 * MIB)),
            (&[0xe0, 0, 0, 0, 0, 1, 0, 0, 0], Some(1 << 32)),
            (&[0xe0, 255, 255, 255, 255, 255, 255, 255, 255], Some(u64::MAX / 2)),
            (&[0xa3, 9, 9, 9, 9, 0, 0, 0], None),
            (&[0x00], None),
            (&[], None),
        ] {
            assert_eq!(of(header), window, "{header:?}");
        }
        let skippable = [0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        let behind = [&skippable[..], &[0x28, 0xb5, 0x2f, 0xfd, 0, 0x80]].concat();
        assert_eq!(zst(&behind), Some(1 << 26));
        assert_eq!(zst(&skippable[..9]), None);
    }

    #[test]
    fn any_bytes_have_an_answer() {
        let packed = packed("xz --delta --lzma2=preset=9");
        for end in 0..packed.len().min(64) {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut broken = packed.clone();
                broken[end] = value;
                for compression in Compression::PROBED {
                    memory_bytes(compression, &packed[..end]);
                    memory_bytes(compression, &broken);
                }
            }
        }
        assert_eq!(memory_bytes(Compression::Xz, b""), 9 * MIB);
        assert_eq!(memory_bytes(Compression::Plain, b"Package: a\n"), 0);
    }
}
