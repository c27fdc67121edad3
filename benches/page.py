#!/usr/bin/env python3
"""docs/performance.md: each measurement writes its own section and leaves the others as they are.

    page.py NAME COMMAND...        the section is what the command prints
"""

import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs/performance.md"


def put(name, section):
    """Replaces the section between the marks `<!-- name -->` and `<!-- /name -->`; a new one goes to
    the end."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    page = PAGE.read_text()
    before, mark, rest = page.partition(begin)
    if mark:
        _, mark, after = rest.partition(end)
        if not mark:
            raise SystemExit(f"{PAGE.name}: {begin.strip()} has no {end.strip()}")
    else:
        before, after = f"{page}\n", ""
    PAGE.write_text(f"{before}{begin}{section.strip()}\n{end}{after}")
    print(section, flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    put(sys.argv[1], subprocess.run(sys.argv[2:], check=True, stdout=subprocess.PIPE).stdout.decode())
