//! The compressions of a package index: their names and how a file begins.

use std::fmt;

/// Bytes by which [`Compression::of_magic`] knows a member.
pub const MAGIC_BYTES: u64 = 6;

/// How a package index is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// bzip2, `.bz2`.
    Bz2,
    /// gzip, `.gz`.
    Gz,
    /// The old LZMA format, `.lzma`.
    Lzma,
    Plain,
    /// XZ, `.xz`.
    Xz,
    /// Zstandard, `.zst`.
    Zst,
}

impl Compression {
    /// In the order in which they are tried where nobody says which there are: the design's.
    pub const PROBED: [Self; 6] =
        [Self::Zst, Self::Xz, Self::Bz2, Self::Lzma, Self::Gz, Self::Plain];

    /// What a file's name ends in.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Bz2 => ".bz2",
            Self::Gz => ".gz",
            Self::Lzma => ".lzma",
            Self::Plain => "",
            Self::Xz => ".xz",
            Self::Zst => ".zst",
        }
    }

    /// The compression whose files' names end so.
    pub fn of_suffix(suffix: &[u8]) -> Option<Self> {
        Self::PROBED.into_iter().find(|compression| compression.suffix().as_bytes() == suffix)
    }

    /// What a file is says its first bytes.
    pub fn of_magic(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bz2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zst,
            // Properties below 225, a dictionary whose size's low bytes are zero: no text begins
            // so, for its third byte is a NUL.
            [0..=224, 0, 0, ..] => Self::Lzma,
            _ => Self::Plain,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            other => &other.suffix()[1..],
        })
    }
}
