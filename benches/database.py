#!/usr/bin/env python3
"""Measures how fast rows get into PostgreSQL and writes the section of docs/performance.md that tells
it. Usage: benches/database.py; `make bench-database` builds what it needs and calls it.

The measuring is done by tests/examples/measure_database.rs, with the largest package index that apt
has on this machine.
"""

import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "packaging"))
import page  # noqa: E402
from repository import real_index, run  # noqa: E402


def main():
    program = ROOT / "target/release/examples/measure_database"
    if not program.exists():
        sys.exit(f"database.py: {program} is not built; `make bench-database` builds it")
    with tempfile.NamedTemporaryFile() as plain:
        plain.write(real_index())
        plain.flush()
        section = run([program, plain.name], text=True)
    page.put("database", section)


main()
