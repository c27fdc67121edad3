//! Package indexes, packed, and Releases for them.

use crate::apt::Compression;
use std::process::{Command, Stdio};

/// Runs a tool of the machine on `input`.
pub fn tool(words: &[&str], input: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), input).unwrap();
    let run = Command::new(words[0])
        .args(&words[1..])
        .stdin(file.reopen().unwrap())
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|cause| panic!("{words:?} (see tests/needs.sh): {cause}"));
    assert!(run.status.success(), "{words:?}: {}", run.status);
    run.stdout
}

/// Packed with the window that the tool's usual level has, but quickly: a decoder's memory goes by
/// the window alone.
pub fn packed(compression: Compression, plain: &[u8]) -> Vec<u8> {
    let words: &[&str] = match compression {
        Compression::Bz2 => &["bzip2", "-9c"],
        Compression::Gz => &["gzip", "-nc"],
        Compression::Lzma => &["xz", "-c", "--format=lzma", "--lzma1=preset=0,dict=8MiB"],
        Compression::Plain => return plain.to_vec(),
        Compression::Xz => &["xz", "-c", "--lzma2=preset=0,dict=8MiB"],
        Compression::Zst => &["zstd", "-qc", "--zstd=wlog=23"],
    };
    tool(words, plain)
}

/// A Release that lists these files by one algorithm.
pub fn release(field: &str, files: &[(&str, &[u8])]) -> String {
    let sum = match field {
        "MD5Sum" => "md5sum",
        "SHA1" => "sha1sum",
        "SHA256" => "sha256sum",
        _ => "sha512sum",
    };
    let mut text = format!("Origin: Tests\nLabel: Tests\nSuite: ./\n{field}:\n");
    for (name, bytes) in files {
        let said = String::from_utf8(tool(&[sum], bytes)).unwrap();
        let digest = said.split(' ').next().unwrap();
        text += &format!(" {digest} {} {name}\n", bytes.len());
    }
    text
}
