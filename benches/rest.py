#!/usr/bin/env python3
"""The agent at rest: the section of docs/performance.md that page.py puts there (as root, for a network
of its own).

    rest.py FOLDER MINUTES [STANZAS]

FOLDER has both programs. An agent indexes a source of STANZAS packages (1,000,000), packed by xz -6, and
then another state of it, so that what it kept of the first shows; a minute
after that its memory is looked at, and then for MINUTES what it does while nothing is due: how often one
of its threads was woken, what went over the wire in both directions (IP packets, with headers), CPU
time, memory.
"""

import functools
import http.server
import json
import lzma
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

MINUTE = 60


def enter_own_network():
    if os.environ.get("REST_NETWORK") != "own":
        os.environ["REST_NETWORK"] = "own"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def write_index(path, stanzas, version):
    """An index of so many packages, a digest each, as Debian's are."""
    with lzma.open(path, "wb", preset=6) as to:
        for number in range(stanzas):
            to.write(
                f"Package: package-{number}\nVersion: {version}.{number}-1\nArchitecture: amd64\n"
                f"Maintainer: Somebody <somebody@example.org>\nFilename: pool/p/package-{number}.deb\n"
                f"Size: {number}\nSHA256: {number:064x}\n"
                f"Description: what package {number} is good for, in a line\n\n".encode()
            )


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Agent:
    def __init__(self, process, control):
        self.pid, self.control = process.pid, control

    def status(self, name):
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"^{name}:\s+(\d+)", text, re.M)[1])

    def megabytes(self, name="VmRSS"):
        return self.status(name) * 1024 / 1e6

    def memory(self):
        """All, and what of it isn't from the program's own file."""
        return f"{self.megabytes():.1f}, {self.megabytes('RssAnon'):.1f}"

    def wakes(self):
        """How often each thread was woken, by its name: it had gone to sleep before. (That another one
        took its place on a busy machine is no wake-up.)"""
        found = {}
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            text = (task / "status").read_text()
            name = (task / "comm").read_text().strip()
            slept = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[1]
            found[f"{name} {task.name}"] = int(slept)
        return found

    def cpu_ms(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")

    def report(self):
        said = subprocess.run(self.control, stdout=subprocess.PIPE, check=False).stdout
        return json.loads(said) if said else None


def wire_bytes():
    """What went over the network so far: each packet once, without the 14 bytes of its frame."""
    with open("/proc/net/dev", encoding="ascii") as text:
        fields = next(line for line in text if line.strip().startswith("lo:")).split()
    return int(fields[1]) - 14 * int(fields[2])


def until(what, at_most, look):
    end = time.monotonic() + at_most
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.5)
    raise SystemExit(f"waited in vain for {what}")


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    enter_own_network()
    programs, minutes = Path(sys.argv[1]).resolve(), float(sys.argv[2])
    stanzas = int(sys.argv[3]) if len(sys.argv) == 4 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "source").mkdir()
        index = folder / "source/Packages.xz"
        write_index(index, stanzas, 1)
        write_index(folder / "next.xz", stanzas, 2)
        handler = functools.partial(Quiet, directory=folder / "source")
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        arbiter, agent = programs / "canister-arbiter", programs / "canister-agent"

        def ca(*words):
            subprocess.run([arbiter, "ca", *words, "--dir", folder / "ca"], check=True,
                           stdout=subprocess.DEVNULL)

        ca("init")
        ca("server", "localhost", "127.0.0.1")
        (folder / "peer").mkdir()
        subprocess.run([agent, "request", "--dir", folder / "peer", "rest"], check=True,
                       stdout=subprocess.DEVNULL)
        ca("sign", "--out", folder / "peer/peer.crt", folder / "peer/peer.csr")
        source = {"slug": "large", "uri": f"http://127.0.0.1:{server.server_port}", "suite": "./",
                  "ranking": 1, "aliases": [], "bootstrap": False}
        (folder / "sources.json").write_text(json.dumps([source]))
        log = open(folder / "log", "wb")
        ours = folder / "ca"
        running = [subprocess.Popen(
            [arbiter, "run", "--listen", "127.0.0.1:8443", "--public", "none", "--state", folder / "state",
             "--sources", folder / "sources.json", "--certificate", ours / "arbiter.crt",
             "--key", ours / "arbiter.key", "--authority", ours / "ca.crt", "--interval", "7d",
             "--audit-share", "0"], stderr=log)]
        try:
            until("the arbiter", 60, (folder / "state/admin.sock").exists)
            words = ["--dir", folder / "peer", "--authority", ours / "ca.crt"]
            process = subprocess.Popen(
                [agent, "run", "--arbiter", "wss://127.0.0.1:8443", "--allow-private", *words], stderr=log)
            running.append(process)
            it = Agent(process, [agent, "status", "--json", "--dir", folder / "peer"])
            until("the socket", 60, (folder / "peer/agent.sock").exists)
            first = it.memory()

            def indexed(times):
                found = it.report()
                return found and found["today"]["sources"] == times and not found["leases"] and found

            until("the source", 3600, lambda: indexed(1))
            (folder / "next.xz").rename(index)
            subprocess.run([arbiter, "sync", "large", "--state", folder / "state"], check=True,
                           stdout=subprocess.DEVNULL)
            peak = until("its next state", 3600, lambda: indexed(2))["memory_bytes_peak"] / 1e6
            time.sleep(MINUTE)
            after = it.memory()
            wakes, wire, cpu = it.wakes(), wire_bytes(), it.cpu_ms()
            time.sleep(minutes * MINUTE)
            now = it.wakes()
            wire, cpu = wire_bytes() - wire, it.cpu_ms() - cpu
            by_thread = {name: now[name] - wakes.get(name, 0) for name in now}
            rows = [
                ("memory before any work, MB: all, and what isn't of the program's file", first),
                (f"the most while twice {stanzas:,} packages were indexed, MB", f"{peak:.1f}"),
                ("a minute after that, MB", after),
                (f"after {minutes:g} min of rest, MB", it.memory()),
                ("threads", str(it.status("Threads"))),
                ("wake-ups a minute, of all threads", f"{sum(by_thread.values()) / minutes:.1f}"),
                ("bytes an hour, both ways, IP headers included", f"{wire * 60 / minutes:,.0f}"),
                ("CPU time an hour, ms", f"{cpu * 60 / minutes:,.0f}"),
            ]
            print("## The agent at rest\n")
            print("`make rest-test MINUTES=60`: one agent in a session, nothing is due.\n")
            print("| what | measured |\n| --- | --- |")
            for row in rows:
                print(f"| {row[0]} | {row[1]} |")
            print({name: f"{count / minutes:.1f}" for name, count in by_thread.items()}, file=sys.stderr)
        finally:
            for process in reversed(running):
                process.terminate()
                process.wait()


if __name__ == "__main__":
    main()
