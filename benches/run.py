#!/usr/bin/env python3
"""Measures reading against the tools a user would pick instead, side by side in one run, and writes
its section of docs/performance.md. Usage: benches/run.py [ROUNDS]; `make bench` builds what it needs
and calls it.

CPU seconds are user and system time of the process alone, the least of ROUNDS (5): what others do on
the machine only ever adds. In each round all that is compared runs once, one after the other. Peak
memory is VmHWM. The index is the largest package index that apt has on this machine.
"""

import functools
import hashlib
import http.server
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "packaging"))
import page  # noqa: E402
from repository import real_index  # noqa: E402

WORK = ROOT / "target/bench"
BUILT = ROOT / f"target/cross/{platform.machine()}-unknown-linux-musl/release"
AGENT = BUILT / "canister-agent"
MEASURE = BUILT / "examples/measure_reading"
APT = WORK / "apt_parser"
# Debian's own, which sees Debian's modules.
PYTHON = "/usr/bin/python3"
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
LARGE_BYTES = 1_000_000_000
LINTED = 60_000
FIELDS = "Package,Version,Architecture,Filename,Size,SHA256,Description"
DCTRL = ["grep-dctrl", "-n", "-s", FIELDS, "-F", "Package", ""]
# Folder, suffix, command that packs, command that unpacks.
FORMATS = [
    ("gz", ".gz", "gzip -9nc", "gzip -dc"),
    ("zst-3", ".zst", "zstd -q -3 -c", "zstd -qdc"),
    ("zst-19", ".zst", "zstd -q -19 -c", "zstd -qdc"),
    ("xz-6", ".xz", "xz -6c", "xz -dc"),
    ("xz-9", ".xz", "xz -9c", "xz -dc"),
    ("bz2", ".bz2", "bzip2 -c", "bzip2 -dc"),
]
# 1 GB as one stream: what it stands for, how many stanzas (0: as the index has them), the file, the
# command that packs it while it is fetched, most memory in MB. A decoder's memory is its window, which
# is the one of the level named; how hard the packer searches in it only takes the bench's time.
LARGE = [
    ("gz", 0, "Packages.gz", "gzip -1nc", 10),
    ("gz, 60,000 stanzas", 60_000, "Packages.gz", "gzip -1nc", 10),
    ("gz, 1,500,000 stanzas", 1_500_000, "Packages.gz", "gzip -1nc", 10),
    ("bz2", 0, "Packages.bz2", "bzip2 -9c", 14),
    ("zst -3", 0, "Packages.zst", "zstd -q -3 -c", 12),
    ("zst -19", 0, "Packages.zst", "zstd -q -3 --zstd=wlog=23 -c", 20),
    ("xz -6", 0, "Packages.xz", "xz --lzma2=preset=0,dict=8MiB -c", 20),
    ("xz -9", 0, "Packages.xz", "xz --lzma2=preset=0,dict=64MiB -c", 76),
]


def out(*words):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True).stdout


def processes(*commands):
    """Runs a pipeline; returns the CPU seconds of all its processes."""
    running, before = [], None
    for words in commands:
        last = len(running) == len(commands) - 1
        to = subprocess.DEVNULL if last else subprocess.PIPE
        process = subprocess.Popen([str(word) for word in words], stdin=before, stdout=to)
        running.append(process)
        if before:
            before.close()
        before = process.stdout
    spent = 0
    for process in running:
        _, code, used = os.wait4(process.pid, 0)
        process.returncode = code
        assert code == 0, process.args
        spent += used.ru_utime + used.ru_stime
    return spent


def example(what, path):
    """CPU seconds, peak memory, stanzas."""
    _, stanzas, cpu, peak = out(MEASURE, what, path).split()
    return float(cpu), int(peak), int(stanzas)


def by_apt(*words):
    return float(out(APT, *words).split()[2])


def index(url):
    """CPU seconds, peak memory, packages."""
    words = [str(AGENT), "index", url, "--allow-private", "--summary", "json"]
    ran = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if ran.returncode:
        sys.exit(f"bench: {ran.stderr.decode()}")
    summary = json.loads(ran.stderr)
    return summary["cpu_seconds"], summary["peak_rss_bytes"], summary["packages"]


def least(**measures):
    """Each measured once a round; the least of what it gives."""
    rounds = [{name: measure() for name, measure in measures.items()} for _ in range(ROUNDS)]
    return {name: min(of[name] for of in rounds) for name in measures}


def prepare():
    """The index in all its forms, made when first asked for."""
    plain = WORK / "plain/Packages"
    if not plain.exists():
        plain.parent.mkdir(parents=True, exist_ok=True)
        plain.write_bytes(real_index())
    for folder, suffix, command, _ in FORMATS:
        packed = WORK / folder / f"Packages{suffix}"
        packed.parent.mkdir(exist_ok=True)
        if not packed.exists():
            half = packed.with_suffix(".half")
            with plain.open("rb") as source, half.open("wb") as into:
                subprocess.run(command.split(), stdin=source, stdout=into, check=True)
            half.rename(packed)
    return plain


def large(plain, stanzas):
    """About LARGE_BYTES of package index, piece by piece: copies of the index with each copy's
    packages called otherwise, or, if `stanzas` isn't 0, as many stanzas, each with a description of
    the index's text that makes up the size."""
    text = plain.read_bytes()
    if not stanzas:
        for copy in range(round(LARGE_BYTES / len(text))):
            begin = b"Package: copy%d-" % copy
            yield re.sub(rb"^Package: ", begin, text, flags=re.MULTILINE)
        return
    words = text.replace(b"\n", b"\n ")
    size, at = LARGE_BYTES // stanzas, 0
    for number in range(stanzas):
        head = b"Package: package-%d\nVersion: 1.%d\nArchitecture: all\n" % (number, number)
        head += b"Filename: pool/%d.deb\nSize: %d\nDescription: some\n " % (number, number)
        until = at + size - len(head) - 2
        yield head + words[at:until].replace(b"\n \n", b"\n .\n") + b"\n\n"
        at = until if until + size < len(words) else 0


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves the files in WORK, and what is in LARGE, packed while it is sent."""

    def do_GET(self):
        match = re.fullmatch(r"/large-(\d+)/(.*)", self.path)
        if not match:
            super().do_GET()
            return
        _, stanzas, name, command, _ = LARGE[int(match[1])]
        if match[2] != name:
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        packer = subprocess.Popen(command.split(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def feed():
            with packer.stdin:
                for piece in large(WORK / "plain/Packages", stanzas):
                    packer.stdin.write(piece)

        feeder = threading.Thread(target=feed)
        feeder.start()
        shutil.copyfileobj(packer.stdout, self.wfile)
        feeder.join()
        packer.wait()

    def log_message(self, *_):
        pass


def check_needs():
    """Ends with one line that says what to install."""
    needs = {"apt-get": "apt", "bzip2": "bzip2", "curl": "curl", "g++": "g++",
             "grep-dctrl": "dctrl-tools", "gzip": "gzip", "sha256sum": "coreutils",
             "xz": "xz-utils", "zstd": "zstd"}
    missing = [package for tool, package in needs.items() if not shutil.which(tool)]
    if not pathlib.Path("/usr/include/apt-pkg/tagfile.h").exists():
        missing.append("libapt-pkg-dev")
    if subprocess.run([PYTHON, "-c", "import apt_pkg"], capture_output=True).returncode:
        missing.append("python3-apt")
    if missing:
        sys.exit(f"bench: these Debian packages are needed: apt-get install {' '.join(missing)}")
    if not AGENT.exists():
        sys.exit(f"bench: no {AGENT}; make bench builds it")


def parsing(plain):
    """The table of parsers, and how many stanzas there are."""
    found = least(
        ours=lambda: example("stanzas", plain),
        newlines=lambda: processes(["wc", "-l", plain]),
        apt=lambda: by_apt(plain),
        dctrl=lambda: processes(DCTRL + [plain]),
    )
    ours, _, stanzas = found["ours"]
    megabytes = plain.stat().st_size / 1e6
    lines = [
        f"| {name} | {megabytes / cpu:,.0f} | {cpu / ours:.2f} |"
        for name, cpu in [
            ("**the agent's stanza parser**", ours),
            ("newlines counted: `wc -l`", found["newlines"]),
            ("apt's own parser, C++ `pkgTagFile`", found["apt"]),
            ("`grep-dctrl`, 7 fields", found["dctrl"]),
        ]
    ]
    return "\n".join(lines), stanzas


def whole(address, folder, suffix, unpack, stanzas):
    """A line of the table of whole jobs."""
    name = f"Packages{suffix}"
    packed = WORK / folder / name
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    url = f"{address}/{folder}"
    # The shell waits for the digest, too, so that what all of them spent is in what it did.
    piped = (
        f"set -o pipefail; {{ curl -sS {url}/{name} | tee /dev/fd/3 | {unpack} | "
        f"grep-dctrl -n -s {FIELDS} -F Package '' >/dev/null; }} "
        f"3> >(sha256sum -c <(echo {digest} -) >/dev/null); wait $!"
    )
    found = least(
        index=lambda: index(url),
        decode=lambda: example("decode", packed),
        apt=lambda: by_apt(packed, "hash"),
        dctrl=lambda: processes(["bash", "-c", piped]),
        python=lambda: processes(
            [PYTHON, ROOT / "benches/whole_job.py", f"{url}/{name}", digest]
        ),
    )
    cpu, peak, packages = found["index"]
    decode, peak_decode, _ = found["decode"]
    assert packages == stanzas, (packages, stanzas)
    return (
        f"| {folder} | {cpu:.3f} | {decode:.3f} | **{cpu / decode:.2f}** | "
        f"{cpu / found['apt']:.2f} | {cpu / found['dctrl']:.2f} | {cpu / found['python']:.2f} | "
        f"{peak / 1e6:.1f} | {peak_decode / 1e6:.1f} |"
    )


def lint(plain):
    """CPU seconds that lint takes of 60,000 stanzas in a folder."""
    folder = WORK / "lint"
    folder.mkdir(exist_ok=True)
    stanzas = plain.read_bytes().split(b"\n\n")[:LINTED]
    assert len(stanzas) == LINTED, len(stanzas)
    (folder / "Packages").write_bytes(b"\n\n".join(stanzas) + b"\n\n")

    def once():
        process = subprocess.Popen([AGENT, "lint", folder], stdout=subprocess.DEVNULL)
        # It finds that none of the debs is there, or worse.
        _, _, used = os.wait4(process.pid, 0)
        return used.ru_utime + used.ru_stime

    return least(seconds=once)["seconds"]


def one_large(address, number, stanzas_of_index, index_bytes):
    """A line of the table of large indexes."""
    name, stanzas, _, _, most = LARGE[number]
    cpu, peak, packages = index(f"{address}/large-{number}")
    expected = stanzas or stanzas_of_index * round(LARGE_BYTES / index_bytes)
    assert packages == expected, (name, packages, expected)
    return f"| {name} | {packages:,} | {peak / 1e6:.1f} | {most} | {cpu:.1f} |"


def main():
    check_needs()
    began = time.monotonic()
    plain = prepare()
    index_bytes = plain.stat().st_size
    handler = functools.partial(Server, directory=WORK)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    out("g++", "-O2", "-o", APT, ROOT / "benches/apt_parser.cc", "-lapt-pkg")

    parsers, stanzas = parsing(plain)
    wholes = "\n".join(
        whole(address, folder, suffix, unpack, stanzas) for folder, suffix, _, unpack in FORMATS
    )
    larges = "\n".join(
        one_large(address, number, stanzas, index_bytes) for number in range(len(LARGE))
    )
    text = f"""## Reading

`make bench`, with the largest package index that apt has on the machine: {stanzas:,} stanzas, {index_bytes / 1e6:.1f} MB plain.

The agent is the static release build, as shipped. CPU time is user and system time of the
process, the least of {ROUNDS} rounds; each round runs everything in a line once. Memory is the peak resident
set.

### The stanza parser alone

Each parser reads the plain index from a file and looks up Package, Version, Architecture, Filename, Size,
SHA256 and Description of each stanza.

| what | MB a second of CPU | CPU, the agent's = 1 |
| --- | --- | --- |
{parsers}

### One index, from the server to rows

`canister-agent index` fetches from a server on the same machine. It does HTTP, SHA-256, unpacking, parsing,
rows, ids (another SHA-256 each) and JSON of all rows. *Decoding* is only the fastest known decoder for the
format and SHA-256 over the packed bytes, from a file. Rows cost about the same in every format, so the ratio
grows as decoding gets cheaper.

The last three ratios compare with other tools; below 1 the agent is cheaper. *apt*: its C++ library checks
a file's digest, unpacks and parses it, looks up seven fields and writes nothing. *grep-dctrl*: `curl`,
`sha256sum`, the format's tool and `grep-dctrl` in one pipe, which writes seven fields. *python3-apt*: a script
that fetches, hashes, unpacks and parses with apt's library and writes seven fields as JSON.

| index | `index`, CPU s | decoding, CPU s | of decoding | of apt | of grep-dctrl | of python3-apt | `index`, MB | decoding, MB |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{wholes}

### Lint

`canister-agent lint` takes {lint(plain):.2f} CPU s of a folder with the first {LINTED:,} stanzas of the same index; the promise is a
second.

### Memory over 1 GB

The input is many copies of the same index ({LARGE_BYTES / 1e9:.0f} GB plain), each with other package names. It is packed as
one stream while it is fetched, so windows fill completely. Two more inputs are 1 GB of few long stanzas and of
many short ones.

| index | stanzas | `index`, MB | at most, MB | CPU s |
| --- | --- | --- | --- | --- |
{larges}
"""
    page.put("reading", text)
    print(f"bench: {time.monotonic() - began:.0f} s", file=sys.stderr)


main()
