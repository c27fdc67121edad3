#!/usr/bin/env python3
"""Measures reading against the tools a user would pick instead, side by side in one run, and writes
docs/performance.md. Usage: benches/run.py [RUNS]; `make bench` builds what it needs and calls it.

CPU seconds are user and system time of the process alone, the median of RUNS (5); peak memory is
VmHWM. The index is the largest package index that apt has on this machine.
"""

import functools
import http.server
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = ROOT / "target/bench"
AGENT = ROOT / "target/release/canister-agent"
MEASURE = ROOT / "target/release/examples/measure_reading"
APT = WORK / "apt_parser"
RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
COPIES = 20
# Folder, suffix, command that packs, most memory for 1 GB in MB.
FORMATS = [
    ("gz", ".gz", "gzip -9nc", 10),
    ("zst-3", ".zst", "zstd -q -3 -c", 12),
    ("zst-19", ".zst", "zstd -q -19 -c", 20),
    ("xz-6", ".xz", "xz -6c", 20),
    ("xz-9", ".xz", "xz -9c", 76),
    ("bz2", ".bz2", "bzip2 -c", 14),
]


def out(*words):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True).stdout


def processes(*commands, stdin=None):
    """Runs a pipeline; returns CPU seconds and peak memory, each the sum over its processes."""
    running, before = [], stdin
    for words in commands:
        last = len(running) == len(commands) - 1
        to = subprocess.DEVNULL if last else subprocess.PIPE
        process = subprocess.Popen([str(word) for word in words], stdin=before, stdout=to)
        running.append(process)
        if before not in (None, stdin):
            before.close()
        before = process.stdout
    peak, usage = {}, {}
    while len(usage) < len(running):
        for process in running:
            if process.pid in usage:
                continue
            try:
                status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
                line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
                peak[process.pid] = int(line.split()[1]) * 1024
            except (OSError, StopIteration):
                pass
            pid, code, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = code
                assert code == 0, process.args
                usage[pid] = used.ru_utime + used.ru_stime
        time.sleep(0.002)
    return sum(usage.values()), sum(peak.values())


def median(measure):
    """The run of RUNS with the median CPU time: CPU seconds, peak memory."""
    return sorted(measure() for _ in range(RUNS))[RUNS // 2]


def example(what, path):
    _, stanzas, cpu, peak = out(MEASURE, what, path).split()
    return float(cpu), int(peak), int(stanzas)


def index(port, folder):
    words = [AGENT, "index", f"http://127.0.0.1:{port}/{folder}", "--allow-private"]
    words = [str(word) for word in words + ["--summary", "json"]]
    ran = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    summary = json.loads(ran.stderr)
    return summary["cpu_seconds"], summary["peak_rss_bytes"], summary["packages"]


def prepare():
    """The index in all its forms, made when first asked for."""
    plain = WORK / "plain/Packages"
    if not plain.exists():
        plain.parent.mkdir(parents=True, exist_ok=True)
        names = out("apt-get", "indextargets", "--format", "$(FILENAME)", "Created-By: Packages")
        names = [name for name in names.decode().split("\n") if name]
        texts = (out("/usr/lib/apt/apt-helper", "cat-file", name) for name in names)
        plain.write_bytes(max(texts, key=len))
    for folder, suffix, command, _ in FORMATS:
        packed = WORK / folder / f"Packages{suffix}"
        large = WORK / f"large-{folder}" / packed.name
        for path in (packed, large):
            path.parent.mkdir(exist_ok=True)
        if not packed.exists():
            with plain.open("rb") as source, packed.open("wb") as into:
                subprocess.run(command.split(), stdin=source, stdout=into, check=True)
        if not large.exists():
            large.write_bytes(packed.read_bytes() * COPIES)
    return plain


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def check_needs():
    """Ends with one line that says what to install."""
    needs = {"apt-get": "apt", "bzip2": "bzip2", "g++": "g++", "grep-dctrl": "dctrl-tools",
             "gzip": "gzip", "xz": "xz-utils", "zstd": "zstd"}
    missing = [package for tool, package in needs.items() if not shutil.which(tool)]
    if not pathlib.Path("/usr/include/apt-pkg/tagfile.h").exists():
        missing.append("libapt-pkg-dev")
    if missing:
        sys.exit(f"bench: these Debian packages are needed: apt-get install {' '.join(missing)}")


def main():
    check_needs()
    plain = prepare()
    handler = functools.partial(Quiet, directory=WORK)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    flags = "g++ -O2 -o".split() + [APT, ROOT / "benches/apt_parser.cc", "-lapt-pkg"]
    out(*flags)
    megabytes = plain.stat().st_size / 1e6
    dctrl = ["grep-dctrl", "-n", "-s", "Package,Version,Architecture,Filename,Size,SHA256,"
             "Description", "-F", "Package", ""]

    ours = median(lambda: example("stanzas", plain))
    apt = median(lambda: (float(out(APT, plain).split()[2]),))
    others = [
        ("newlines counted: `wc -l`", median(lambda: processes(["wc", "-l", plain]))[0]),
        ("apt's own parser, C++ `pkgTagFile`", apt[0]),
        ("`grep-dctrl`, 7 fields", median(lambda: processes(dctrl + [plain]))[0]),
    ]
    stanzas = ours[2]
    lines = [f"| **the agent's stanza parser** | {megabytes / ours[0]:,.0f} | 1 |"]
    for name, cpu in others:
        lines.append(f"| {name} | {megabytes / cpu:,.0f} | {cpu / ours[0]:.2f} |")
    parsing = "\n".join(lines)

    lines = []
    for folder, suffix, _, _ in FORMATS:
        packed = WORK / folder / f"Packages{suffix}"
        # In turns, so that a busy machine troubles all alike.
        rounds = []
        for _ in range(RUNS):
            whole, decoder = index(port, folder), example("decode", packed)
            by_apt = float(out(APT, packed).split()[2])
            tool = {".zst": "zstd -qdc", ".gz": "gzip -dc", ".xz": "xz -dc", ".bz2": "bzip2 -dc"}
            piped, _ = processes(tool[suffix].split() + [packed], dctrl)
            rounds.append((whole[0], decoder[0], by_apt, piped, whole[1], decoder[1]))
            assert whole[2] == stanzas, (whole[2], stanzas)
        middle = [statistics.median(values) for values in zip(*rounds)]
        whole, decoder, by_apt, piped, peak, peak_decoder = middle
        lines.append(
            f"| {folder} | {whole:.3f} | {decoder:.3f} | **{whole / decoder:.2f}** | "
            f"{whole / by_apt:.2f} | {whole / piped:.2f} | {peak / 1e6:.1f} | "
            f"{peak_decoder / 1e6:.1f} |"
        )
    reading = "\n".join(lines)

    lines = []
    for folder, _, _, most in FORMATS:
        cpu, peak, packages = index(port, f"large-{folder}")
        assert packages == COPIES * stanzas, packages
        lines.append(f"| {folder} | {peak / 1e6:.1f} | {most} | {cpu:.1f} |")
    large = "\n".join(lines)

    text = f"""# Performance

Written by `make bench`, which measures everything below again, side by side in one run, with the
largest package index that apt has on the machine it runs on; it needs `python3`, `g++`,
`libapt-pkg-dev`, `dctrl-tools` and the compressors. Ratios travel from machine to machine, seconds
don't. The index here: {stanzas:,} stanzas, {megabytes:.1f} MB plain. CPU time is user and system time of the
process, the median of {RUNS} runs; memory is the peak resident set.

## The stanza parser alone

Over the plain index in a file; Package, Version, Architecture, Filename, Size, SHA256 and
Description of each stanza are looked up.

| what | MB a second of CPU | CPU, the agent's being 1 |
| --- | --- | --- |
{parsing}

## One index, from the server to rows

`canister-agent index` as it is shipped, from a server on the same machine: HTTP, SHA-256, unpacking,
parsing, rows, ids (another SHA-256 each) and JSON of all rows. *Decoding* is the fastest decoder
known for the format and SHA-256 over the packed bytes, from a file, nothing else. The others read a
file, check no digest and write nothing or seven fields: less than the agent does.

| index | `index`, CPU s | decoding, CPU s | of decoding | of apt's parser | of tool \\| `grep-dctrl` | `index`, MB | decoding, MB |
| --- | --- | --- | --- | --- | --- | --- | --- |
{reading}

## Memory over 1 GB

The same index {COPIES} times over ({megabytes * COPIES / 1000:.1f} GB plain), as members or frames one behind the other.
A window larger than the index (xz -9: 64 MiB) is filled no further than the index goes.

| index | `index`, MB | aim, MB | CPU s |
| --- | --- | --- | --- |
{large}
"""
    # What stands below the mark was measured by others.
    path = ROOT / "docs/performance.md"
    _, mark, others = path.read_text().partition("\n<!-- not written by make bench -->\n")
    path.write_text(text + mark + others)
    print(text)


main()
