#!/usr/bin/env python3
"""What a program's bytes are, by crate: of one with its symbols, as `make sizes` builds it.

    sizes.py PROGRAM

A function belongs to the crate that its name names first; what is made of several (a generic one of
one crate over types of another) counts for the first. C has no crates: what is told by a prefix is.
"""

import collections
import re
import subprocess
import sys

# The libraries in C and assembly, by how their names begin.
C_NAMES = {
    "ring_core": "ring", "lzma": "liblzma-sys", "ZSTD": "zstd-sys", "HUF": "zstd-sys", "FSE": "zstd-sys",
    "ERR_": "zstd-sys", "sqlite3": "libsqlite3-sys", "anon.": "texts and tables without a name",
    "_ZN": "other", ".L": "texts and tables without a name",
}
TYPES = "bool|char|str|u8|u16|u32|u64|u128|usize|i8|i16|i32|i64|i128|isize|f32|f64"
RUST = "core|alloc|std|compiler_builtins|hashbrown|gimli|addr2line|miniz_oxide|rustc_demangle|object"


def crate(name):
    for start, library in C_NAMES.items():
        if name.startswith(start):
            return library
    paths = [path for path in re.findall(r"(?<![\w:>])([a-z_][a-z0-9_]*)(?:\[[0-9a-f]+\])?::", name)
             if not re.fullmatch(TYPES, path)]
    if not paths:
        return "other"
    own = next((path for path in paths if not re.fullmatch(RUST, path)), None)
    # `<T as core::fmt::Debug>::fmt` is its type's; core's own code is Rust's.
    return own if own and name.startswith("<") else "Rust's own" if re.fullmatch(RUST, paths[0]) else paths[0]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    words = ["nm", "--demangle", "--print-size", "--defined-only", sys.argv[1]]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    sizes, seen = collections.Counter(), set()
    for line in lines:
        parts = line.split(" ", 3)
        if len(parts) < 4 or parts[0] in seen or parts[2] in "bB":
            continue
        seen.add(parts[0])
        sizes[crate(parts[3])] += int(parts[1], 16)
    if not sizes:
        sys.exit(f"sizes.py: {sys.argv[1]} has no symbols: `make sizes` builds one that has")
    total = sum(sizes.values())
    for name, size in sizes.most_common():
        if size * 200 > total:
            print(f"{size:>9,} {100 * size / total:5.1f} % {name}")
    rest = sum(size for size in sizes.values() if size * 200 <= total)
    print(f"{rest:>9,} {100 * rest / total:5.1f} % all others, less than half a percent each")
    print(f"{total:>9,} all that has a name; headers, relocations and what has none come to it")


main()
