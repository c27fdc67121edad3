#!/usr/bin/env python3
"""Indexes the largest package index of this machine's own apt in a container of 64 MB and half a
CPU, a quarter of what volunteers are promised, in each compression, and writes the table into
docs/performance.md. Fails if the agent is killed, or its rows differ from those without limits.

    limits.py [IMAGE]

The image is canister-agent; `make image` makes it. Swapping is off, so the limit is one.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "packaging"), str(TOP / "benches")]
import page  # noqa: E402
from repository import COMPRESS, fail, make_repository, real_index, run, serve  # noqa: E402

LIMITS = ["--memory", "64m", "--memory-swap", "64m", "--cpus", "0.5"]
# The agent is told the same, so that it waits for memory instead of being killed.
ENVIRONMENT = ["--env", "CANISTER_MEMORY=64", "--env", "CANISTER_ALLOW_PRIVATE=yes"]


def index(image, uri, limits):
    """Rows and summary of one index, and how long it took."""
    name = f"canister-limits-{os.getpid()}"
    words = ["docker", "run", "--name", name, "--read-only", "--network", "host"]
    # The engine would keep the rows otherwise, and slowly.
    words += ["--log-driver", "none", *limits, *ENVIRONMENT]
    began = time.monotonic()
    try:
        ran = subprocess.run(
            [*words, image, "index", uri, "--summary", "json"], capture_output=True
        )
        secs = time.monotonic() - began
        state = json.loads(run(["docker", "inspect", name]))[0]["State"]
    finally:
        run(["docker", "rm", "--force", name])
    if state["OOMKilled"] or state["ExitCode"] != 0:
        said = ran.stderr.decode(errors="replace")[-300:]
        fail(f"{uri}: status {state['ExitCode']}, killed for memory: {state['OOMKilled']}: {said}")
    return ran.stdout, json.loads(ran.stderr.splitlines()[-1]), secs


def main():
    image = sys.argv[1] if len(sys.argv) > 1 else "canister-agent"
    if subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode != 0:
        fail(f"no image {image}, or no Docker engine: `make image` where one runs would work")
    plain = real_index()
    folder = make_repository(plain)
    uri = serve(folder)
    truth, _, _ = index(image, f"{uri}/flat.gz", [])
    lines = []
    for suffix in COMPRESS:
        rows, summary, secs = index(image, f"{uri}/flat{suffix}", LIMITS)
        if rows != truth:
            fail(f"rows from Packages{suffix} differ from those without limits")
        size = (folder / f"flat{suffix}" / f"Packages{suffix}").stat().st_size
        peak = summary["peak_rss_bytes"] / 1e6
        lines.append(f"| {suffix[1:] or 'plain'} | {size:,} | {peak:.1f} | {secs:.0f} |")
    lines = "\n".join(lines)
    page.put(
        "limits",
        f"""## Within a quarter of the promise

`packaging/docker/limits.py` indexes the largest package index of this machine's own apt, once per compression.
It uses this machine's image with `CANISTER_MEMORY=64`, in a container of 64 MB without swap and half a CPU
(`{' '.join(LIMITS)}`). It fails if the agent is killed or if one row
differs from a run without limits. Bytes are those of the fetched file; seconds run from the container's start
to its end. The index: {truth.count(bytes([10])):,} stanzas, {len(plain) / 1e6:.1f} MB plain.

| compression | bytes | peak RSS, MB | seconds |
| --- | --- | --- | --- |
{lines}
""",
    )


if __name__ == "__main__":
    main()
