"""A real package index, in each compression as a repository of its own, served on loopback: what
the tests and measurements in packaging/ read."""

import bz2
import functools
import gzip
import hashlib
import http.server
import lzma
import shutil
import subprocess
import sys
import threading
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
COMPRESS = {
    "": lambda plain: plain,
    ".gz": lambda plain: gzip.compress(plain, 6, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lambda plain: lzma.compress(plain, preset=6),
    ".lzma": lambda plain: lzma.compress(plain, lzma.FORMAT_ALONE, preset=6),
    ".zst": lambda plain: run(["zstd", "-q", "-3", "-c"], input=plain),
}


def fail(why):
    sys.exit(f"{Path(sys.argv[0]).name}: {why}")


def run(words, **options):
    """What a command prints; it must succeed."""
    done = subprocess.run(words, capture_output=True, **options)
    if done.returncode != 0:
        said = done.stderr
        if isinstance(said, bytes):
            said = said.decode(errors="replace")
        fail(f"{' '.join(map(str, words))}: status {done.returncode}: {said.strip()}")
    return done.stdout


def real_index():
    """The largest package index that apt has here."""
    words = ["apt-get", "indextargets", "--format", "$(FILENAME)", "Created-By: Packages"]
    files = [Path(line) for line in run(words, text=True).splitlines() if Path(line).exists()]
    if not files:
        fail("apt has no package index here: apt-get update would work")
    largest = max(files, key=lambda path: path.stat().st_size)
    return run(["/usr/lib/apt/apt-helper", "cat-file", str(largest)])


def make_repository(plain):
    """A folder to serve: one flat repository for each compression, with the index in it alone.
    Made once for each index, for compressing takes a minute; it stays in target/."""
    folder = TOP / "target/real-index" / hashlib.sha256(plain).hexdigest()[:16]
    if folder.exists():
        return folder
    making = folder.with_suffix(".making")
    shutil.rmtree(making, ignore_errors=True)
    for suffix, compress in COMPRESS.items():
        below = making / f"flat{suffix}"
        below.mkdir(parents=True)
        packed = compress(plain)
        (below / f"Packages{suffix}").write_bytes(packed)
        release = "Origin: Tests\nSHA256:\n"
        for name, content in ((f"Packages{suffix}", packed), ("Packages", plain)):
            release += f" {hashlib.sha256(content).hexdigest()} {len(content)} {name}\n"
        (below / "Release").write_text(release)
    making.rename(folder)
    return folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def serve(folder):
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"
