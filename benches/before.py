#!/usr/bin/env python3
"""Measures an earlier commit and this one side by side, and prints the figures of both in one table.

    before.py COMMIT TARGET... [VARIABLE=VALUE...]

A TARGET is bench-database, bench-lease, bench-cycle or bench-scale; the commit must have it, as the Makefile's BEFORE has.

Each target of the Makefile runs in a worktree of the commit, target/before, and then here; each writes its
section of docs/performance.md there and here. A figure is printed as `before → after`; a row or a column that only one of
them has is left out.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TREE = ROOT / "target/before"
FIGURE = re.compile(r"[\d.]+( / [\d.]+| \([\d.]+\))?")


def run(words, **options):
    return subprocess.run(words, check=True, **options)


def rows(text):
    """The rows of the first table of a text, by what they are of; a figure by its column's head. A cell that isn't a
    figure, or is the number of sources, says what the row is of."""
    table = [line.strip("| \n").split(" | ") for line in text.splitlines() if line.startswith("|")]
    head, _, *lines = table
    found = {}
    for line in lines:
        is_figure = [bool(FIGURE.fullmatch(cell)) and name != "sources" for name, cell in zip(head, line)]
        of = tuple(cell for cell, is_it in zip(line, is_figure) if cell and not is_it)
        found[of] = {name: cell for name, cell, is_it in zip(head, line, is_figure) if is_it}
    return found


def both(target, variables):
    """The table of a target: before, and after."""
    texts = []
    for tree in (TREE, ROOT):
        made = run(["make", "--silent", "-C", tree, target, *variables], stdout=subprocess.PIPE, text=True)
        texts.append(rows(made.stdout))
    before, after = texts
    print(f"\n`{' '.join(['make', target, *variables])}`, before → after:\n")
    heads = dict.fromkeys(name for row in before.values() for name in row)
    print(f"| what | {' | '.join(heads)} |\n| --- |{' --- |' * len(heads)}")
    for of, figures in before.items():
        if of in after:
            cells = [f"{figures[name]} → {after[of][name]}" if name in figures and name in after[of] else ""
                     for name in heads]
            print(f"| {', '.join(of)} | {' | '.join(cells)} |")
    sys.stdout.flush()


def main():
    variables = [word for word in sys.argv[1:] if "=" in word]
    words = [word for word in sys.argv[1:] if "=" not in word]
    if len(words) < 2:
        sys.exit(__doc__)
    commit, *targets = words
    if not TREE.exists():
        run(["git", "-C", ROOT, "worktree", "add", "--detach", TREE, commit])
    run(["git", "-C", TREE, "checkout", "--detach", "--force", commit])
    for target in targets:
        both(target, variables)


try:
    main()
except subprocess.CalledProcessError as failed:
    sys.exit(f"before.py: {' '.join(map(str, failed.cmd))}: status {failed.returncode}")
