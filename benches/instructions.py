#!/usr/bin/env python3
"""What a change costs the stanza parser, in instructions: they are the same on a loaded machine. Builds the parser of
two commits as it is shipped, has each read 60,000 stanzas and look up seven fields of each, and counts under
valgrind. Usage: benches/instructions.py BEFORE [AFTER]; AFTER is HEAD unless said. Exit status 1 if it costs more
than 1 percent."""

import hashlib
import pathlib
import re
import subprocess
import sys
import tempfile

STANZAS = 60_000
ALLOWED = 1.01
CARGO = """
[package]
name = "count"
version = "0.0.0"
edition = "2024"
[dependencies]
canister-stanza = { path = "../tree/agent/stanza" }
[profile.release]
codegen-units = 1
lto = "fat"
panic = "abort"
opt-level = 3
[workspace]
"""
MAIN = """
use canister_stanza::StanzaReader;
const FIELDS: [&str; 7] =
    ["Package", "Version", "Architecture", "Filename", "Size", "SHA256", "Description"];
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let mut reader = StanzaReader::new(std::fs::File::open(path).unwrap());
    let (mut stanzas, mut bytes) = (0, 0);
    while let Some(stanza) = reader.read().unwrap() {
        stanzas += 1;
        bytes += FIELDS.iter().filter_map(|field| stanza.get(field)).map(<[u8]>::len).sum::<usize>();
    }
    println!("{stanzas} {bytes}");
}
"""


def stanza(number):
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return f"""Package: example.of.{digest[:8]}.package{number}
Version: 1:{number % 7}.{number % 31}-{number % 5 + 1}
Architecture: iphoneos-arm64
Maintainer: Someone <someone@repo.example>
Installed-Size: {64 + number % 4096}
Depends: mobilesubstrate (>= 0.9.5000), firmware (>= 14.0)
Filename: ./debs/{digest[:16]}_iphoneos-arm64.deb
Size: {4096 + number * 37 % 9_000_000}
MD5sum: {digest[:32]}
SHA1: {digest[:40]}
SHA256: {digest}
Section: Tweaks
Description: {digest[:20]} does what it says
 {"and so on, for a while, " * (1 + number % 9)}
 .
 - {digest[20:60]}
Author: Someone <someone@repo.example>
Depiction: https://repo.example/depictions/{digest[:16]}/
Icon: https://repo.example/icons/{digest[:16]}.png
Name: {digest[:12]}
Tag: purpose::extension, role::enduser

"""


def counted(commit, folder, index):
    folder = pathlib.Path(folder, commit)
    (folder / "tree").mkdir(parents=True)
    (folder / "count/src").mkdir(parents=True)
    archive = subprocess.run(["git", "archive", commit], check=True, capture_output=True).stdout
    subprocess.run(["tar", "x", "-C", folder / "tree"], input=archive, check=True)
    (folder / "count/Cargo.toml").write_text(CARGO)
    (folder / "count/src/main.rs").write_text(MAIN)
    (folder / "count/Cargo.lock").write_bytes((folder / "tree/Cargo.lock").read_bytes())
    subprocess.run(["cargo", "build", "--quiet", "--release"], cwd=folder / "count", check=True)
    count = [folder / "count/target/release/count", index]
    tool = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    said = subprocess.run(tool + count, check=True, capture_output=True, text=True)
    refs = re.search(r"I +refs: +([\d,]+)", said.stderr)[1]
    return said.stdout, int(refs.replace(",", ""))


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    names = (sys.argv[1:] + ["HEAD"])[:2]
    parse = ["git", "rev-parse", "--short"]
    commits = [subprocess.run(parse + [n], check=True, capture_output=True, text=True).stdout.strip() for n in names]
    with tempfile.TemporaryDirectory() as folder:
        index = pathlib.Path(folder, "Packages")
        index.write_text("".join(map(stanza, range(STANZAS))))
        (said, before), (same, after) = [counted(commit, folder, index) for commit in commits]
    if said != same or not said.startswith(f"{STANZAS} "):
        sys.exit(f"instructions: {commits[0]} reads {said.strip()}, {commits[1]} {same.strip()}")
    print(f"{STANZAS:,} stanzas: {before:,} instructions at {commits[0]}, {after:,} at {commits[1]}, ratio {after / before:.4f}")
    sys.exit(after > before * ALLOWED)


main()
