#!/usr/bin/env python3
"""Measures how rows get into a database, and writes the section of docs/performance.md that tells it.

    database.py database           how fast, beside COPY
    database.py lease              what whole leases cost

`make bench-database` and `make bench-lease` build what it needs and call it. The measuring is done by
tests/examples/, with the largest package index that apt has on this machine.
"""

import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "packaging"))
import page  # noqa: E402
from repository import real_index, run  # noqa: E402

EXAMPLES = ROOT / "target/release/examples"
# What each section's program is told besides the index.
SECTIONS = {"database": [], "lease": [EXAMPLES / "measure_reading"]}


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in SECTIONS:
        sys.exit(__doc__)
    section = sys.argv[1]
    program = EXAMPLES / f"measure_{section}"
    if not program.exists():
        sys.exit(f"database.py: {program} is not built; `make bench-{section}` builds it")
    with tempfile.NamedTemporaryFile() as plain:
        plain.write(real_index())
        plain.flush()
        page.put(section, run([program, plain.name, *SECTIONS[section]], text=True))


main()
