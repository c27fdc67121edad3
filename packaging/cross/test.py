#!/usr/bin/env python3
"""Runs the cross-built programs under user-mode emulation, beside native ones:

  1. --version;
  2. a full `index` of a real package index in each compression, whose rows must equal the native
     agent's byte for byte;
  3. a session over TLS with a native arbiter, in which a source is indexed and published;
  4. the same the other way round: the emulated arbiter, its database, and a native agent.

    test.py [--native FOLDER] [--agent-only] [TRIPLE...]

Without triples: all that packaging/cross/build.sh builds. The native programs are those in FOLDER;
without it, the static ones for x86_64. --agent-only leaves 4 out, where no arbiter was built. The
index is the largest one of this machine's own apt.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "packaging"))
from repository import COMPRESS, fail, make_repository, real_index, run, serve  # noqa: E402

NATIVE = "x86_64-unknown-linux-musl"
# The least machine that each binary is for.
EMULATORS = {
    "aarch64-unknown-linux-musl": ["qemu-aarch64-static", "-cpu", "cortex-a53"],
    "armv7-unknown-linux-musleabihf": ["qemu-arm-static", "-cpu", "cortex-a7"],
    "arm-unknown-linux-musleabihf": ["qemu-arm-static", "-cpu", "arm1176"],
}


def index(agent, uri):
    words = [*agent, "index", uri, "--allow-private", "--summary", "none"]
    began = time.monotonic()
    rows = run(words)
    return rows, time.monotonic() - began


class Network:
    """An authority and a source; one arbiter and one agent at a time."""

    def __init__(self, native, folder, uri):
        self.native = str(native / "canister-arbiter")
        self.folder = folder
        ca = folder / "ca"
        run([self.native, "ca", "init", "--dir", ca])
        run([self.native, "ca", "server", "--dir", ca, "localhost", "127.0.0.1"])
        sources = [{"slug": "real", "uri": uri, "suite": "./", "ranking": 3, "aliases": []}]
        (folder / "sources.json").write_text(json.dumps(sources))

    def session(self, name, agent, arbiter):
        """A session of the two under the peer's name; how many packages were published by it."""
        run(
            ["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"]
            + ["-keyout", f"{name}.key", "-out", f"{name}.csr"],
            cwd=self.folder,
        )
        sign = [self.native, "ca", "sign", "--dir", "ca", "--out", f"{name}.crt"]
        run([*sign, f"{name}.csr"], cwd=self.folder)
        state = self.folder / name
        server = subprocess.Popen(
            [*arbiter, "run", "--listen", "127.0.0.1:0", "--public", "none"]
            + ["--certificate", "ca/arbiter.crt", "--key", "ca/arbiter.key"]
            + ["--authority", "ca/ca.crt", "--state", state, "--sources", "sources.json"],
            cwd=self.folder,
            stderr=subprocess.PIPE,
            text=True,
        )
        peer = None
        try:
            ready = next((line for line in server.stderr if " ready " in line), None)
            if ready is None:
                fail(f"{name}: the arbiter didn't start")
            listen = ready.split("listen=")[1].split()[0].strip('"')
            threading.Thread(target=lambda: [None for _ in server.stderr], daemon=True).start()
            log = open(self.folder / f"{name}.log", "w+")
            peer = subprocess.Popen(
                [*agent, "run", "--arbiter", f"wss://{listen}/connect", "--allow-private"]
                + ["--certificate", f"{name}.crt", "--key", f"{name}.key"]
                + ["--authority", "ca/ca.crt", "--cpu", "2"],
                cwd=self.folder,
                stderr=log,
            )
            deadline = time.monotonic() + 600
            while time.monotonic() < deadline:
                words = [self.native, "sources", "--json", "--state", state]
                (source,) = json.loads(run(words))
                if source["last_attempt"]:
                    if source["last_attempt"]["verdict"] != "indexed":
                        fail(f"{name}: {source}")
                    peer.terminate()
                    if peer.wait(30) != 0:
                        fail(f"{name}: status {peer.returncode} after SIGTERM")
                    return source["packages"]
                if peer.poll() is not None:
                    log.seek(0)
                    fail(f"{name}: the agent ended: {log.read()}")
                time.sleep(0.2)
            fail(f"{name}: not indexed within ten minutes")
        finally:
            for process in (peer, server):
                if process:
                    process.kill()
                    process.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--native", type=Path, default=TOP / f"target/cross/{NATIVE}/release")
    parser.add_argument("triples", nargs="*", default=[NATIVE, *EMULATORS])
    parser.add_argument("--agent-only", action="store_true")
    wanted = parser.parse_args()
    wanted.native = wanted.native.resolve()
    programs = ["canister-agent"] if wanted.agent_only else ["canister-agent", "canister-arbiter"]
    needs = {name for triple in wanted.triples for name in EMULATORS.get(triple, [])[:1]}
    run([TOP / "tests/needs.sh", "zstd:zstd", *(f"{name}:qemu-user-static" for name in needs)])
    built = {}
    for triple in wanted.triples:
        emulator = EMULATORS.get(triple, [])
        if triple != NATIVE and not emulator:
            fail(f"{triple} isn't one of {', '.join([NATIVE, *EMULATORS])}")
        built[triple] = []
        for name in programs:
            program = TOP / f"target/cross/{triple}/release/{name}"
            if not program.exists():
                fail(f"{program} isn't built: packaging/cross/build.sh {triple} would work")
            built[triple].append([*emulator, str(program)])
    for name in ("canister-agent", "canister-arbiter"):
        if not (wanted.native / name).exists():
            fail(f"{wanted.native / name} isn't built")
    native = [[str(wanted.native / name)] for name in ("canister-agent", "canister-arbiter")]

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        plain = real_index()
        uri = serve(make_repository(plain))
        truth, secs = index(native[0], f"{uri}/flat.gz")
        rows = truth.count(b"\n")
        if rows < 10_000:
            fail(f"the index has {rows} rows only; that of a whole distribution would work")
        print(f"{len(plain)} bytes, {rows} rows; native: {secs:.1f} s", flush=True)
        # Each version of a package is a row of the catalogue.
        network = Network(wanted.native, folder, f"{uri}/flat.gz")
        published = network.session("native", *native)
        for triple, emulated in built.items():
            for program, here in zip(emulated, native):
                if run([*program, "--version"]) != run([*here, "--version"]):
                    fail(f"{triple}: another version than the native one")
            took = []
            for suffix in COMPRESS:
                rows, secs = index(emulated[0], f"{uri}/flat{suffix}")
                if rows != truth:
                    fail(f"{triple}: rows from Packages{suffix} differ from the native agent's")
                took.append(f"{suffix[1:] or 'plain'} {secs:.1f} s")
            name = triple.split("-")[0].replace("_", "-")
            sessions = {f"{name}-agent": (emulated[0], native[1])}
            if not wanted.agent_only:
                sessions[f"{name}-arbiter"] = (native[0], emulated[1])
            for name, pair in sessions.items():
                packages = network.session(name, *pair)
                if packages != published:
                    fail(f"{name}: {packages} packages published, {published} by native programs")
            sessions = " and ".join(name for name in sessions)
            print(f"{triple}: {', '.join(took)}; {published} published by {sessions}", flush=True)
    print("cross test: all passed")


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    main()
