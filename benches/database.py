#!/usr/bin/env python3
"""Measures how fast rows get into PostgreSQL and writes the section of docs/performance.md that tells
it. Usage: benches/database.py; `make bench-database` builds what it needs and calls it.

The measuring is done by tests/examples/measure_database.rs, with the largest package index that apt
has on this machine.
"""

import pathlib
import subprocess
import sys
import tempfile

import page

ROOT = pathlib.Path(__file__).resolve().parent.parent


def out(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def index():
    names = out("apt-get", "indextargets", "--format", "$(FILENAME)", "Created-By: Packages")
    names = [name for name in names.decode().split("\n") if name]
    if not names:
        sys.exit("database.py: apt has no package index here; `apt-get update` would fetch some")
    return max((out("/usr/lib/apt/apt-helper", "cat-file", name) for name in names), key=len)


def main():
    program = ROOT / "target/release/examples/measure_database"
    if not program.exists():
        sys.exit(f"database.py: {program} is not built; `make bench-database` builds it")
    with tempfile.NamedTemporaryFile() as plain:
        plain.write(index())
        plain.flush()
        section = out(program, plain.name).decode()
    page.put("database", section)


main()
