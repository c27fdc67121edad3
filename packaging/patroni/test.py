#!/usr/bin/python3
"""Runs a whole network over three machines with Patroni and etcd, each a network namespace, and hurts it.

    packaging/patroni/test.py [FAULTS [SEED]]      as root; the programs are those of target/debug, or of BIN

Two arbiters, one agent that writes its rows into PostgreSQL itself and one whose rows are relayed, twelve sources of
which one changes all the time. Then FAULTS random faults (ten): switchovers, killed servers, killed machines, cut
networks. In the end the catalogue must be what the sources say, no lease may have been held twice, and nothing may be
left half done. The longest pause of publications is printed.
"""

import http.server
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
BIN = pathlib.Path(os.environ.get("BIN", TOP / "target/debug"))
FAULTS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10**6)
SOURCES = 12
ADDRESS = {name: f"10.9.0.{11 + at}" for at, name in enumerate(["db1", "db2", "db3"])}
HOME = "10.9.0.1"
PG = next(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
chosen = random.Random(SEED)
began = time.monotonic()


def say(text):
    print(f"{time.monotonic() - began:7.1f} s  {text}", flush=True)


def run(*words, check=True, **more):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **more)
    if check and done.returncode:
        raise SystemExit(f"{words}: {done.stdout}{done.stderr}")
    return done.stdout


def until(what, probe, longest=180):
    end = time.monotonic() + longest
    while time.monotonic() < end:
        found = probe()
        if found:
            return found
        time.sleep(0.3)
    raise SystemExit(f"waited {longest} s for {what}; seed {SEED}, files in {work}")


class Sources(http.server.ThreadingHTTPServer):
    """The sources' server: flat repositories whose packages are all of one version, which is counted up."""

    daemon_threads = True

    def __init__(self):
        self.versions = [1] * SOURCES
        self.lock = threading.Lock()
        super().__init__((HOME, 8000), Answer)

    def index(self, number):
        stanza = "Package: p{}\nVersion: {}\nArchitecture: all\nFilename: p{}.deb\nSize: 1\n\n"
        version = self.versions[number]
        return "".join(stanza.format(at, version, at) for at in range(50)).encode()


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        import hashlib

        parts = self.path.strip("/").split("/")
        body = None
        if len(parts) == 2 and parts[0].isdigit() and int(parts[0]) < SOURCES:
            with self.server.lock:
                index = self.server.index(int(parts[0]))
            digest = hashlib.sha256(index).hexdigest()
            release = f"Origin: Test\nSHA256:\n {digest} {len(index)} Packages\n".encode()
            body = {"Release": release, "InRelease": release, "Packages": index}.get(parts[1])
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        pass


class Node:
    """A machine: etcd, Patroni, PostgreSQL."""

    def __init__(self, name):
        self.name, self.address = name, ADDRESS[name]
        self.dir = work / name
        self.dir.mkdir(mode=0o755)
        self.programs = {}
        run("ip", "netns", "add", f"canister-{name}")
        run("ip", "link", "add", f"cn-{name}", "type", "veth", "peer", "name", "eth0", "netns", f"canister-{name}")
        run("ip", "link", "set", f"cn-{name}", "master", "cn-bridge", "up")
        for words in (f"addr add {self.address}/24 dev eth0", "link set eth0 up", "link set lo up"):
            run("ip", "-n", f"canister-{name}", *words.split())
        words = {"NAME": name, "ADDRESS": self.address, "ETCD": ",".join(f"{it}:2379" for it in ADDRESS.values())}
        words["MEMBERS"] = ",".join(f"{it}=http://{at}:2380" for it, at in ADDRESS.items())
        for file in ("etcd.yml", "patroni.yml"):
            text = (HERE / file).read_text()
            for word, value in words.items():
                text = re.sub(rf"\b{word}\b", value, text)
            text = text.replace("/var/lib/etcd/canister", str(self.dir / "etcd"))
            text = text.replace("/var/lib/postgresql/15/canister", str(self.dir / "data"))
            text = text.replace("/usr/lib/postgresql/15/bin", str(PG))
            text = text.replace("/etc/patroni/postgresql.conf", str(self.dir / "postgresql.conf"))
            text = text.replace("/run/postgresql", str(self.dir))
            if file == "patroni.yml":
                hba = "  - host canister canister_arbiter 10.9.0.0/24 trust\n"
                shipped = (TOP / "packaging/postgresql/pg_hba.conf").read_text().splitlines()
                hba += "".join(f"  - {line}\n" for line in shipped if re.match("(local|host)", line))
                ident = (TOP / "packaging/postgresql/pg_ident.conf").read_text().splitlines()
                ident = "".join(f"  - '{line}'\n" for line in ident if re.match("canister_", line))
                text = text.replace("  authentication:\n", f"{hba}  pg_ident:\n{ident}  authentication:\n")
            (self.dir / file).write_text(text)
        settings = (TOP / "packaging/postgresql/postgresql.conf").read_text()
        settings = settings.replace("/etc/canister-postgresql/", f"{self.dir}/")
        # In the settings of a machine of one's own this is no matter.
        settings = re.sub(r"(?m)^(listen_addresses|ssl_crl_file).*$", "", settings)
        settings += f"\nshared_buffers = 32MB\n"
        (self.dir / "postgresql.conf").write_text(settings)
        run(BIN / "canister-arbiter", "ca", "server", "--dir", work / "ca", "--out", self.dir, self.address)
        for old, new in (("arbiter.crt", "server.crt"), ("arbiter.key", "server.key")):
            (self.dir / old).rename(self.dir / new)
        shutil.copy(work / "ca/ca.crt", self.dir)
        run("chown", "-R", "postgres:postgres", self.dir)

    def start(self):
        for program, words in (
            ("etcd", ["etcd", "--config-file", self.dir / "etcd.yml"]),
            ("patroni", ["patroni", self.dir / "patroni.yml"]),
        ):
            if program not in self.programs:
                log = open(self.dir / f"{program}.log", "ab")
                words = ["ip", "netns", "exec", f"canister-{self.name}", "setpriv", "--reuid=postgres",
                         "--regid=postgres", "--clear-groups", *words]
                self.programs[program] = subprocess.Popen(
                    [str(word) for word in words], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                    env={**os.environ, "HOME": str(self.dir)})

    def pids(self):
        """All that runs in the machine."""
        return [int(pid) for pid in run("ip", "netns", "pids", f"canister-{self.name}", check=False).split()]

    def kill(self):
        """As when its power is cut."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for program in self.programs.values():
            program.wait()
        self.programs.clear()

    def kill_server(self):
        postmaster = (self.dir / "data/postmaster.pid").read_text().split()[0]
        os.kill(int(postmaster), signal.SIGKILL)

    def cut(self, is_cut):
        run("ip", "link", "set", f"cn-{self.name}", "down" if is_cut else "up")


def members():
    """Name and role of those that Patroni knows of, by whichever node answers."""
    for node in nodes.values():
        found = run("curl", "-s", "-m", "2", f"http://{node.address}:8008/cluster", check=False)
        try:
            return {it["name"]: it["role"] for it in json.loads(found)["members"] if it["state"] in ("running", "streaming")}
        except (ValueError, KeyError):
            continue
    return {}


def leader():
    roles = members()
    return next((nodes[name] for name, role in roles.items() if role == "leader"), None)


def is_whole():
    roles = sorted(members().values())
    return len(roles) == 3 and "leader" in roles and "sync_standby" in roles


def psql(statement, check=False):
    hosts = ",".join(ADDRESS.values())
    where = f"host={hosts} user=canister_arbiter dbname=canister target_session_attrs=read-write connect_timeout=2 sslmode=disable"
    return run(PG / "psql", "-XAtq", "-c", statement, where, check=check).strip()


def publications():
    found = psql("SELECT last FROM arbiter.feed")
    return int(found) if found.isdigit() else None


def arbiter(number):
    words = [BIN / "canister-arbiter", "run", "--listen", f"{HOME}:{7440 + number}", "--public", f"{HOME}:{7450 + number}",
             "--certificate", work / "arbiter.crt", "--key", work / "arbiter.key", "--authority", work / "ca/ca.crt",
             "--state", work / f"state{number}", "--sources", work / "sources.json",
             "--database", f"host={','.join(ADDRESS.values())} user=canister_arbiter dbname=canister sslmode=disable",
             "--peers-database", f"{','.join(ADDRESS.values())}/canister", "--interval", "2s", "--retry-after", "1s",
             "--pause", "0s", "--lease", "15s", "--audit-share", "0", "--log", "debug"]
    return start(f"arbiter{number}", words)


def start(name, words):
    log = open(work / f"{name}.log", "ab")
    program = subprocess.Popen([str(word) for word in words], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    programs.append(program)
    return program


def agent(name):
    folder = work / name
    run(BIN / "canister-agent", "request", name, "--dir", folder)
    request = next(folder.glob("*.csr"))
    database = f"host={','.join(ADDRESS.values())} user=canister_arbiter dbname=canister sslmode=disable"
    # Without a role its rows are relayed.
    door = ["--database", database] if name == "direct" else []
    signed = run(BIN / "canister-arbiter", "ca", "sign", "--dir", work / "ca", *door, request)
    (folder / "peer.crt").write_text(signed)
    shutil.copy(work / "ca/ca.crt", folder)
    words = [BIN / "canister-agent", "run", "--dir", folder, "--allow-private", "--slots", "4", "--log", "debug"]
    words += [it for number in (1, 2) for it in ("--arbiter", f"wss://{HOME}:{7440 + number}/connect")]
    return start(name, words)


def switchover():
    old = leader()
    standby = next((name for name, role in members().items() if role == "sync_standby"), None)
    if not old or not standby:
        return "nothing: no standby"
    run("ip", "netns", "exec", f"canister-{old.name}", "patronictl", "-c", old.dir / "patroni.yml", "switchover",
        "--master", old.name, "--candidate", standby, "--force", "canister", check=False)
    return f"switchover from {old.name} to {standby}"


def kill_primary():
    node = leader()
    node.kill_server()
    return f"{node.name}'s server killed"


def kill_machine():
    node = leader()
    node.kill()
    time.sleep(chosen.uniform(5, 40))
    node.start()
    return f"{node.name} off, with its etcd"


def cut_primary():
    node = leader()
    node.cut(True)
    time.sleep(chosen.uniform(10, 40))
    node.cut(False)
    return f"{node.name}, the leader, cut off"


def cut_standby():
    name = next(name for name, role in members().items() if role != "leader")
    nodes[name].cut(True)
    time.sleep(chosen.uniform(10, 30))
    nodes[name].cut(False)
    return f"{name}, a standby, cut off"


def change(over):
    """Changes a source now and then."""
    draw = random.Random(SEED + 1)
    while not over.wait(0.2):
        with server.lock:
            server.versions[draw.randrange(SOURCES)] += 1


def logged(name):
    return re.findall(r"lease=(\d+)", (work / f"{name}.log").read_text(errors="replace"))


if os.environ.get("INSIDE") is None:
    # In a network of its own, where no firewall of this machine counts.
    os.environ["INSIDE"] = "yes"
    os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
os.makedirs("/run/netns", exist_ok=True)
run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
run("ip", "link", "set", "lo", "up")
work = pathlib.Path(tempfile.mkdtemp(prefix="canister-patroni-"))
work.chmod(0o755)
programs, nodes, is_good = [], {}, False
over = threading.Event()
try:
    say(f"seed {SEED}, files in {work}")
    run("ip", "link", "add", "cn-bridge", "type", "bridge")
    run("ip", "addr", "add", f"{HOME}/24", "dev", "cn-bridge")
    run("ip", "link", "set", "cn-bridge", "up")
    run(BIN / "canister-arbiter", "ca", "init", "--dir", work / "ca")
    run(BIN / "canister-arbiter", "ca", "server", "--dir", work / "ca", "--out", work, HOME)
    nodes = {name: Node(name) for name in ADDRESS}
    for node in nodes.values():
        node.start()
    until("a leader and two standbys", is_whole)
    first = leader()
    run("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", PG / "psql", "-Xq", "-h", first.dir, "-f", "-",
        "postgres", input=(TOP / "packaging/postgresql/setup.sql").read_text())
    say(f"{first.name} leads, {members()}")

    server = Sources()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sources = [{"slug": f"s{at}", "uri": f"http://{HOME}:8000/{at}", "suite": "./", "ranking": 3} for at in range(SOURCES)]
    (work / "sources.json").write_text(json.dumps(sources))
    arbiter(1)
    until("the arbiter", lambda: "] ready " in (work / "arbiter1.log").read_text())
    arbiter(2)
    agent("direct")
    agent("relayed")
    threading.Thread(target=change, args=(over,), daemon=True).start()
    until("publications", lambda: (publications() or 0) > 2 * SOURCES)

    faults = [switchover, kill_primary, kill_machine, cut_primary, cut_standby]
    # Each at least once.
    drawn = faults + [chosen.choice(faults) for _ in range(FAULTS - len(faults))]
    chosen.shuffle(drawn)
    for fault in drawn[:FAULTS]:
        until("the cluster to be whole", is_whole)
        before, since = publications(), time.monotonic()
        told = fault()
        known = publications() or before
        until("publications to go on", lambda: (publications() or 0) > known)
        say(f"{told}; {leader() and leader().name} leads, it took {time.monotonic() - since:.1f} s")

    over.set()
    until("the cluster to be whole", is_whole)

    def is_true():
        found = psql("SELECT repository_id, package_id, version FROM package WHERE visible ORDER BY 1, 2").splitlines()
        truth = [f"s{at}|p{number}|{server.versions[at]}" for at in range(SOURCES) for number in range(50)]
        return sorted(found) == sorted(truth)

    until("the catalogue to be the truth", is_true)
    direct, relayed = set(logged("direct")), set(logged("relayed"))
    both = direct & relayed
    if both:
        raise SystemExit(f"leases {sorted(both)} were granted to both agents; seed {SEED}")
    twice = psql("SELECT count(*) FROM (SELECT lease FROM arbiter.publication GROUP BY lease HAVING count(*) > 1) AS twice")
    gap = psql("""SELECT max(gap) FROM (SELECT published_at - lag(published_at) OVER (ORDER BY number) AS gap
               FROM arbiter.publication) AS gaps""")
    staged = psql("SELECT count(*) FROM arbiter.staging WHERE token NOT IN (SELECT token FROM arbiter.lease)")
    writes = run(BIN / "canister-arbiter", "peers", "--json", "--state", work / "state1")
    direct_by = [it["peer"] for it in json.loads(writes) if it.get("writes") == "direct"]
    say(f"{FAULTS} faults, {publications()} publications, {len(direct)} leases written directly and {len(relayed)} relayed "
        f"({direct_by} direct in the end), none held twice, {twice} published twice, longest pause {int(gap) / 1000:.1f} s")
    if twice != "0":
        raise SystemExit("a lease was published twice")
    is_good = True
finally:
    over.set()
    for program in programs:
        program.kill()
    for node in nodes.values():
        node.kill()
    for name in ADDRESS:
        subprocess.run(["ip", "netns", "del", f"canister-{name}"], stderr=subprocess.DEVNULL)
    subprocess.run(["ip", "link", "del", "cn-bridge"], stderr=subprocess.DEVNULL)
    if is_good:
        shutil.rmtree(work)
