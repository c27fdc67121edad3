#!/usr/bin/env python3
"""Does what the README tells a new volunteer to do, word by word, on machines on which nothing of
this project is, beside an arbiter that was set up in the same way; and plays Canister's part in
between: who asks to join is admitted. Fails unless the peer that comes of it takes part and indexes a
source. Says how many commands that took, and how many seconds.

    newcomer.py [deb] [docker] [source]     the ways to try; all of them

A machine is a container with a Debian root, in which systemd is the first process and an ordinary
user may use sudo. All of them are on a network of their own, where the arbiter has the names of
Canister's, addresses are of a kind that the agent takes for public, and whoever is asked to join has a
certificate that the machines trust: so nothing need be added to any command, but for `docker run` the
network and that trust, which are added in passing.

Needs root, a Docker engine, the packages of `make deb` and the image of `make image` (canister-agent,
or what the variable AGENT_IMAGE names). What is built
from source is what was committed; its crates come from where cargo gets them here.
"""

import functools
import hashlib
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from repository import TOP, Quiet, fail, run  # noqa: E402

WAYS = ("deb", "docker", "source")
RUN = f"canister-newcomer-{os.getpid()}"
ARBITERS = [f"i{number}.peer.canister.me" for number in (1, 2, 3)]
IMAGE = "ghcr.io/cnstr/canister-agent"
# Where `join` asks.
FRONT = "peer.canister.me"
TRUST = "/etc/ssl/certs/ca-certificates.crt"
# At most so many commands from nothing to a running peer or arbiter.
COMMANDS_MAX = 5
# An ordinary user's.
UID = 1000
USER = "newcomer"
# A cargo that builds everything takes its time; nothing else does.
COMMAND_SECS = 3600
AWAIT_SECS = 90

cleanups = []


def step(text):
    print(f"== {text}", flush=True)


def await_(what, condition, secs=AWAIT_SECS):
    """Waits until a condition holds; what it gives."""
    ends = time.monotonic() + secs
    while time.monotonic() < ends:
        found = condition()
        if found:
            return found
        time.sleep(0.5)
    fail(f"waited in vain for {what}, {secs} s")


# What the README says.


def readme(heading, page="README.md"):
    """The commands of the first block under a heading; a comment line parts them: what stands
    before it is typed before files are sent, what stands after it when others have come back."""
    text = (TOP / page).read_text()
    section = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^##|\Z)", text, re.M | re.S)
    block = section and re.search(r"^```sh\n(.*?)^```$", section[1], re.M | re.S)
    if not block:
        fail(f"{page} has no block of commands under {heading!r}")
    parts = [[]]
    for line in block[1].replace("\\\n", "\\\0").splitlines():
        if line.startswith("#"):
            parts.append([])
        else:
            parts[-1].append(line.replace("\\\0", "\\\n"))
    if sum(map(len, parts)) > COMMANDS_MAX:
        fail(f"{page}: more than {COMMANDS_MAX} commands under {heading!r}")
    return parts


def fill_in(commands, **places):
    """The commands with what the README leaves to the reader: its example of it must be there."""
    text = "\0".join(commands)
    for example, own in places.values():
        if example not in text:
            fail(f"README.md: no {example} to fill in, in {commands}")
        text = text.replace(example, own)
    return text.split("\0")


# The network, and who is on it.


def docker(*words, **options):
    return run(["docker", *words], text=True, **options).strip()


def make_network():
    """A network with addresses that the agent takes for public ones, though they lead nowhere but
    into it; the address at which this machine is on it."""
    for number in range(0, 256, 16):
        words = ["docker", "network", "create", "--subnet", f"192.0.1.{number}/28", RUN]
        made = subprocess.run(words, capture_output=True, text=True)
        if made.returncode == 0:
            cleanups.append(lambda: docker("network", "rm", RUN))
            return f"192.0.1.{number + 1}"
    fail(f"couldn't make a network: {made.stderr.strip()}")


def make_place():
    """An address of this machine's beside the network, as servers of the world have: what is on the network
    itself is the home of whoever is on it."""
    for number in range(1, 255):
        place = f"192.0.3.{number}"
        words = ["ip", "address", "add", f"{place}/32", "dev", "lo"]
        if subprocess.run(words, capture_output=True).returncode == 0:
            cleanups.append(lambda: run(["ip", "address", "del", f"{place}/32", "dev", "lo"]))
            return place
    fail("couldn't add an address to lo")


class Front:
    """The reverse proxy in front of the arbiter's public listener: Canister's own name, with a
    certificate of an authority that the machines trust beside those that this machine does."""

    def __init__(self, address):
        self.address = address
        folder = Path(tempfile.mkdtemp(prefix=RUN))
        cleanups.append(lambda: shutil.rmtree(folder))
        folder.chmod(0o755)
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        make += ["-nodes", "-days", "1"]
        there = {"cwd": folder}
        run([*make, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=newcomer's web"], **there)
        make += ["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", f"subjectAltName=DNS:{FRONT}"]
        make += ["-addext", "basicConstraints=critical,CA:FALSE"]
        run([*make, "-keyout", "own.key", "-out", "own.crt", "-subj", f"/CN={FRONT}"], **there)
        trust = folder / "trust.crt"
        trust.write_text(Path(TRUST).read_text() + (folder / "ca.crt").read_text())
        self.words = ["--add-host", f"{FRONT}:{address}", "--volume", f"{trust}:{TRUST}:ro"]
        self.files = folder / "own.crt", folder / "own.key"

    def leads_to(self, arbiter):
        """Passes what is posted on to the arbiter's public listener."""

        class Passing(Quiet):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {"Content-Type": self.headers["Content-Type"]}
                passed = http.client.HTTPConnection(arbiter, 8080)
                passed.request("POST", self.path, body, headers)
                answer = passed.getresponse()
                body = answer.read()
                self.send_response(answer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        server = http.server.ThreadingHTTPServer((self.address, 443), Passing)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.files)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()


class Source:
    """A repository on this machine, and the source list that names it."""

    def __init__(self, address):
        self.folder = Path(tempfile.mkdtemp(prefix=RUN))
        cleanups.append(lambda: shutil.rmtree(self.folder))
        self.version = 0
        self.change()
        handler = functools.partial(Quiet, directory=str(self.folder))
        server = http.server.ThreadingHTTPServer((address, 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.uri = f"http://{address}:{server.server_address[1]}"
        source = {"slug": "example", "uri": self.uri, "suite": "./", "ranking": 1, "aliases": []}
        (self.folder / "index-repositories.json").write_text(json.dumps([source]))
        self.list = f"{self.uri}/index-repositories.json"

    def change(self):
        """A new version of its package, so that there is something to index."""
        self.version += 1
        index = f"Package: example\nVersion: {self.version}.0\nArchitecture: all\nFilename: ./a.deb\nSize: 1\n\n"
        digest = hashlib.sha256(index.encode()).hexdigest()
        (self.folder / "Packages").write_text(index)
        (self.folder / "Release").write_text(
            f"Origin: Tests\nSHA256:\n {digest} {len(index)} Packages\n"
        )


@functools.cache
def root_image(kind):
    """An image with the root that debian-root.sh makes."""
    archive = run([TOP / "packaging/debian-root.sh", kind], text=True).strip()
    name = f"{RUN}-{kind}"
    docker("import", archive, name)
    cleanups.append(lambda: docker("image", "rm", name))
    return name


class Machine:
    """A container on the network, with an ordinary user."""

    # What each of them gets to know of the front.
    words_of_front = []

    def __init__(self, name, image, words, command):
        words = [*words, *self.words_of_front]
        self.name = f"{RUN}-{name}"
        self.home = f"/home/{USER}"
        cleanups.append(lambda: docker("rm", "--force", self.name))
        words = ["--detach", "--name", self.name, "--hostname", name, "--network", RUN, *words]
        docker("run", *words, image, *command)
        self.root("useradd", "--uid", str(UID), "--create-home", "--shell", "/bin/bash", USER)

    @classmethod
    def booted(cls, name, aliases=()):
        """A machine that systemd has started. It gets to manage its own control groups; what it
        needs no right to, it hasn't."""
        words = ["--cgroupns", "private", "--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE"]
        for it in ("seccomp", "apparmor", "systempaths"):
            words += ["--security-opt", f"{it}=unconfined"]
        for it in ("/run", "/run/lock", "/tmp"):
            words += ["--tmpfs", it]
        for it in aliases:
            words += ["--network-alias", it]
        words += ["--env", "container=docker", "--stop-signal", "SIGRTMIN+3"]
        boot = """
            mount -o remount,rw /sys/fs/cgroup
            for it in $(grep -o ' /sys/fs/cgroup/[^ ]*' /proc/mounts); do mount -o remount,rw,bind $it; done
            exec /sbin/init
        """
        machine = cls(name, root_image("machine"), words, ["/bin/sh", "-ec", boot])
        machine.await_boot()
        # As the first user of a Raspberry Pi.
        sudo = f"echo '{USER} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{USER}"
        machine.root("sh", "-c", sudo)
        return machine

    def await_boot(self):
        words = ["docker", "exec", self.name, "systemctl", "is-system-running"]
        state = functools.partial(subprocess.run, words, capture_output=True, text=True)
        await_(f"systemd in {self.name}", lambda: state().stdout.strip() == "running")

    def root(self, *words):
        """What a command of root's prints."""
        return docker("exec", self.name, *words)

    def words(self, command, **environment):
        words = ["docker", "exec", "--user", USER, "--workdir", self.home]
        for name, value in {"HOME": self.home, "LC_ALL": "C.UTF-8", **environment}.items():
            words += ["--env", f"{name}={value}"]
        return [*words, self.name, "bash", "-c", command]

    def types(self, commands, **environment):
        """What the user's commands print."""
        return typed(commands, lambda command: self.words(command, **environment))

    def put(self, path, content):
        """Gives the user a file; others come by `docker cp`."""
        words = ["docker", "exec", "--interactive", "--user", USER, self.name, "tee", path]
        run(words, input=content)

    def copy(self, path, to):
        docker("cp", str(path), f"{self.name}:{to}")


def typed(commands, words_of, **options):
    """Has commands done one after the other, as a transcript; what they print."""
    printed = ""
    for command in commands:
        print("$ " + command.replace("\n", "\n  "), flush=True)
        done = subprocess.run(
            words_of(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECS,
            **options,
        )
        if done.returncode != 0:
            fail(f"status {done.returncode} of {command}:\n{done.stdout[-3000:]}")
        printed += done.stdout
    return printed


class Arbiter:
    """An arbiter from its package, as the README says, under the names of Canister's; and its
    operator."""

    def __init__(self, source):
        step("an arbiter, from its package")
        self.source = source
        self.machine = Machine.booted("arbiter", aliases=ARBITERS)
        [commands] = readme("## Running an arbiter")
        package = find_package("canister-arbiter")
        self.machine.copy(package, self.machine.home)
        # The editor is the only thing that a reader would do otherwise.
        public = 's|^public = .*|public = "[::]:8080"|'
        self.edits(f's|^#sources = .*|sources = "{source.list}"|; {public}')
        commands = fill_in(
            commands,
            architecture=("_amd64.deb", f"_{architecture()}.deb"),
            name=("arbiter.example.org", " ".join(ARBITERS)),
        )
        self.machine.types(commands, SUDO_EDITOR="/usr/local/bin/edit")
        if self.machine.root("systemctl", "is-active", "canister-arbiter") != "active":
            fail("the arbiter isn't active")
        await_("the source list", lambda: self.asks("status")["sources"] == 1)

    def edits(self, script):
        """What the operator's editor does the next time."""
        text = f"#!/bin/sh\nexec sed -i '{script}' \"$1\"\n"
        words = ["sh", "-c", "cat >/usr/local/bin/edit && chmod 755 /usr/local/bin/edit"]
        run(["docker", "exec", "--interactive", self.machine.name, *words], input=text, text=True)

    def asks(self, *words):
        return json.loads(self.machine.root("canister-arbiter", *words, "--json"))

    def reload(self):
        step("a reload of the arbiter by systemd")
        ask = ["canister-arbiter", "policy", "check", "http://blocked.example/"]
        before = self.machine.root(*ask)
        self.edits('s|^except = .*|except = ["host:blocked.example"]|')
        commands = ["sudoedit /etc/canister-arbiter/arbiter.toml", "sudo systemctl reload canister-arbiter"]
        self.machine.types(commands, SUDO_EDITOR="/usr/local/bin/edit")
        after = await_("the policy", lambda: (now := self.machine.root(*ask)) != before and now)
        if "host:blocked.example" in before or "host:blocked.example" not in after:
            fail(f"the policy said {before!r}, after the reload {after!r}")
        if self.machine.root("systemctl", "is-active", "canister-arbiter") != "active":
            fail("the arbiter isn't active after the reload")

    def renews(self):
        step("an authority that the arbiter may change, for renewals")
        folder, unit = "/var/lib/canister-arbiter/ca", "canister-arbiter"
        sh = lambda script: self.machine.root("sh", "-c", script)  # noqa: E731
        # Where it lies at first the service may not write, whosever it is.
        sh("chown --recursive canister-arbiter: /etc/canister-arbiter/issuer")
        self.edits('s|^#issuer = .*|issuer = "/etc/canister-arbiter"|')
        self.machine.types(["sudoedit /etc/canister-arbiter/arbiter.toml"], SUDO_EDITOR="/usr/local/bin/edit")
        sh(f"! systemctl restart {unit}")
        said = sh(f"journalctl --unit {unit} --lines 20 --output cat")
        if not re.search("write to /etc/canister-arbiter: .*; use ", said):
            fail(f"the arbiter says {said}")
        self.edits(
            f's|^issuer = .*|issuer = "{folder}"|; s|^authority = .*|authority = "{folder}/ca.crt"|'
        )
        [commands] = readme("### With the Debian package", "docs/certificates.md")
        self.machine.types(commands, SUDO_EDITOR="/usr/local/bin/edit")
        # A list that is gone it signs again.
        sh(f"rm {folder}/crl.pem && systemctl restart {unit}")
        owner = f"stat --format %U {folder}/crl.pem"
        await_("a new revocation list", lambda: sh(f"{owner} || true").strip() == unit)
        before = sh(f"cat {folder}/crl.pem")
        sh(f"canister-arbiter ca crl --dir {folder}")
        if sh(f"cat {folder}/crl.pem") == before or sh(owner).strip() != unit:
            fail("root's list isn't new, or not the service's")
        if self.machine.root("systemctl", "is-active", unit) != "active":
            fail("the arbiter isn't active")

    def address(self):
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return docker("inspect", "--format", form, self.machine.name)

    def admits(self, name):
        """Admits who asks for a name, once somebody does; the words of the key."""
        ask = lambda: json.loads(self.machine.root("canister-arbiter", "ca", "pending", "--json"))  # noqa: E731
        mine = lambda: [it["words"] for it in ask() if it["name"] == name]  # noqa: E731
        [words] = await_(f"{name} to ask", mine, COMMAND_SECS)
        [[pending, admit]] = readme("### Admitting a peer")
        if words not in self.machine.types([pending]):
            fail("the operator isn't shown the words")
        self.machine.types([admit.replace("NAME", name, 1)])
        return words

    def takes(self, name, types):
        """Has a volunteer type commands, one of which may wait to be admitted, and admits."""
        with ThreadPoolExecutor() as pool:
            typing = pool.submit(types)
            words = self.admits(name)
            printed = typing.result()
        # What the volunteer reads out is what the operator sees.
        if words not in printed:
            fail(f"{name} isn't shown the words {words}: {printed}")

    def is_connected(self, name):
        return any(it["peer"] == name and it["is_connected"] for it in self.asks("peers"))

    def sees(self, name):
        """Has the source indexed anew by this peer."""
        await_(f"a session of {name}", lambda: self.is_connected(name))
        self.source.change()
        version = f"{self.source.version}.0"
        self.machine.root("canister-arbiter", "sync", "example")
        # That nothing is found yet is a status of its own.
        search = ["sh", "-c", "canister-arbiter search example || true"]
        await_(f"version {version} in the catalogue", lambda: version in self.machine.root(*search))
        [source] = self.asks("sources")
        last = source["last_attempt"]
        if (last["peer"], last["verdict"], last["put"]) != (name, "indexed", 1):
            fail(f"it wasn't {name} that indexed the source: {last}")

    def sees_it_go(self, name):
        await_(f"{name} to be gone", lambda: not self.is_connected(name))


# The three ways.


def architecture():
    return run(["dpkg", "--print-architecture"], text=True).strip()


def find_package(name):
    found = sorted((TOP / "target/deb").glob(f"{name}_*_{architecture()}.deb"))
    if len(found) != 1:
        fail(f"no {name} for {architecture()} in target/deb; make deb would work")
    return found[0]


def tells_how_long(name, commands, began):
    secs = time.monotonic() - began
    print(f"== {name}: {len(commands)} commands, {secs:.0f} s to the first publication", flush=True)


def try_deb(arbiter):
    step("a peer from its package")
    name = "newcomer-deb"
    machine = Machine.booted("newcomer-deb")
    machine.copy(find_package("canister-agent"), machine.home)
    [commands] = readme("### From a Debian package")
    package = ("_armhf.deb", f"_{architecture()}.deb")
    commands = fill_in(commands, architecture=package, name=("your-name", name))
    began = time.monotonic()
    arbiter.takes(name, lambda: machine.types(commands))
    # Nobody starts the service: what `join` writes does.
    arbiter.sees(name)
    tells_how_long(name, commands, began)
    unit = "canister-agent"

    def shows(*properties):
        told = machine.root("systemctl", "show", unit, "--property", ",".join(properties))
        return dict(line.split("=", 1) for line in told.splitlines())

    step("the service: active, ready by its own word, within its limits")
    told = machine.root("systemctl", "status", "--no-pager", "--lines", "0", unit)
    print(told)
    told = shows("Type", "ActiveState", "StatusText", "NRestarts", "MemoryMax", "CPUQuotaPerSecUSec")
    wanted = {
        "Type": "notify",
        "ActiveState": "active",
        "NRestarts": "0",
        "MemoryMax": str(256 << 20),
        "CPUQuotaPerSecUSec": "500ms",
    }
    wrong = {key: told[key] for key, value in wanted.items() if told[key] != value}
    if wrong or not told["StatusText"]:
        fail(f"systemctl show: {told}")
    memory, cpu = limits(machine, unit)
    if (memory, cpu) != (256 << 20, 0.5):
        fail(f"the kernel holds it to {memory} bytes and {cpu} threads")

    step("stopped in time, and back after a restart and after a boot")
    began = time.monotonic()
    machine.root("systemctl", "stop", unit)
    secs = time.monotonic() - began
    told = shows("Result", "ExecMainStatus")
    if secs > 15 or told != {"Result": "success", "ExecMainStatus": "0"}:
        fail(f"systemctl stop took {secs:.0f} s: {told}")
    arbiter.sees_it_go(name)
    machine.root("systemctl", "restart", unit)
    arbiter.sees(name)
    docker("restart", "--time", "30", machine.name)
    machine.await_boot()
    arbiter.sees(name)

    step("a watchdog that is fed, and bites when it isn't")
    settings = "[Service]\nWatchdogSec=4\nRestartSec=1\n"
    folder = f"/run/systemd/system/{unit}.service.d"
    machine.root("sh", "-c", f"mkdir -p {folder} && printf '{settings}' >{folder}/newcomer.conf")
    machine.root("systemctl", "daemon-reload")
    machine.root("systemctl", "restart", unit)
    arbiter.sees(name)
    pid = shows("MainPID")["MainPID"]
    time.sleep(10)
    told = shows("MainPID", "NRestarts")
    if told != {"MainPID": pid, "NRestarts": "0"}:
        fail(f"the watchdog bit a healthy agent: {told}")
    machine.root("systemctl", "kill", "--signal", "STOP", "--kill-who", "main", unit)
    await_("the watchdog", lambda: shows("NRestarts")["NRestarts"] != "0")
    arbiter.sees(name)
    machine.root("systemctl", "stop", unit)
    arbiter.sees_it_go(name)


def limits(machine, unit):
    """Bytes and threads that the kernel allows the unit, by either version of control groups."""
    folders = "/sys/fs/cgroup", f"system.slice/{unit}.service"
    read = lambda *path: machine.root("cat", "/".join(path))  # noqa: E731
    if machine.root("sh", "-c", "echo /sys/fs/cgroup/cgroup.controllers*").endswith("s"):
        quota, period = read(*folders, "cpu.max").split()
        memory = read(*folders, "memory.max")
    else:
        cpu = folders[0], "cpu", folders[1]
        quota, period = read(*cpu, "cpu.cfs_quota_us"), read(*cpu, "cpu.cfs_period_us")
        memory = read(folders[0], "memory", folders[1], "memory.limit_in_bytes")
    return int(memory), int(quota) / int(period)


def try_docker(arbiter):
    step("a peer in Docker, on this machine's engine")
    name = "newcomer-docker"
    folder = Path(tempfile.mkdtemp(prefix=RUN))
    cleanups.append(lambda: shutil.rmtree(folder))
    folder.chmod(0o755)
    bin_, home = folder / "bin", folder / "peer"
    for it in (bin_, home):
        it.mkdir()
    os.chown(home, UID, UID)
    # What a command is given besides.
    extra = " ".join(Machine.words_of_front)
    engine = shutil.which("docker")
    (bin_ / "docker").write_text(
        f'#!/bin/sh\n[ "$1" = run ] && shift && set -- run --network {RUN} {extra} "$@"\nexec {engine} "$@"\n'
    )
    (bin_ / "docker").chmod(0o755)
    for what, words in (("container", ["container", "canister-agent"]), ("image", ["image", IMAGE])):
        words = ["docker", words[0], "inspect", words[1]]
        if subprocess.run(words, capture_output=True).returncode == 0:
            fail(f"a {what} {words[-1]} is here already; a newcomer has none")
    docker("tag", os.environ.get("AGENT_IMAGE", "canister-agent"), IMAGE)
    cleanups.append(lambda: docker("image", "rm", IMAGE))
    group = str(Path("/var/run/docker.sock").stat().st_gid)
    user = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--groups", group]
    environment = {"HOME": str(home), "PATH": f"{bin_}:{os.environ['PATH']}"}

    def types(commands):
        words = lambda command: [*user, "bash", "-c", command]  # noqa: E731
        return typed(commands, words, cwd=home, env=environment)

    [commands] = readme("### In Docker")
    commands = fill_in(commands, name=("your-name", name))
    cleanups.append(lambda: docker("rm", "--force", "canister-agent"))
    began = time.monotonic()
    arbiter.takes(name, lambda: types(commands))
    arbiter.sees(name)
    tells_how_long(name, commands, began)
    await_("the container to be healthy", lambda: inspect()["State"]["Health"]["Status"] == "healthy")
    host = inspect()["HostConfig"]
    if not host["ReadonlyRootfs"] or host["Memory"] != 256 << 20 or host["NanoCpus"] != 5 * 10**8:
        fail(f"the container isn't limited: {host}")
    docker("stop", "--time", "20", "canister-agent")
    if inspect()["State"]["ExitCode"] != 0:
        fail(f"the agent ended with status {inspect()['State']['ExitCode']}")
    arbiter.sees_it_go(name)


def inspect():
    return json.loads(docker("inspect", "canister-agent"))[0]


def try_source(arbiter):
    step("a peer from source, with an empty cargo home")
    name = "newcomer-source"
    rust = run(["rustc", "--print", "sysroot"], text=True).strip()
    words = ["--volume", f"{rust}:/opt/rust:ro", "--init"]
    machine = Machine("newcomer-source", root_image("builder"), words, ["sleep", "infinity"])
    with tempfile.TemporaryDirectory(prefix=RUN) as folder:
        run(["git", "clone", "--quiet", "--bare", str(TOP), f"{folder}/arbiter.git"])
        machine.copy(f"{folder}/arbiter.git", machine.home)
    machine.root("chown", "--recursive", f"{USER}:{USER}", machine.home)
    # The repository as it will be published.
    instead = f'[url "file://{machine.home}/arbiter.git"]\n\tinsteadOf = https://github.com/cnstr/arbiter\n'
    machine.put(f"{machine.home}/.gitconfig", instead.encode())
    # As rustup leaves it.
    path = f"{machine.home}/.cargo/bin:/opt/rust/bin:/usr/bin:/bin"
    [commands] = readme("### From source")
    *commands, runs = fill_in(commands, name=("your-name", name))
    install, join = commands
    machine.types([install], PATH=path)
    began = time.monotonic()
    arbiter.takes(name, lambda: machine.types([join], PATH=path))
    # It stays in the foreground, until somebody stops it.
    print(f"$ {runs}", flush=True)
    words = machine.words(f"echo $$ >/tmp/pid; exec {runs}", PATH=path)
    with open(TOP / "target/newcomer-source.log", "w") as log:
        running = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        arbiter.sees(name)
        tells_how_long(name, [*commands, runs], began)
        machine.root("sh", "-c", "kill -TERM $(cat /tmp/pid)")
        status = running.wait(timeout=30)
    if status != 0:
        fail(f"the agent ended with status {status}; target/newcomer-source.log has what it said")
    arbiter.sees_it_go(name)


def main():
    ways = sys.argv[1:] or WAYS
    if not set(ways) <= set(WAYS):
        sys.exit(__doc__)
    if os.geteuid() != 0:
        fail(f"needs root: sudo {sys.argv[0]} would work")
    if not shutil.which("docker") or subprocess.run(["docker", "version"], capture_output=True).returncode:
        fail("no Docker engine answers here, so nothing was tried; as root: dockerd")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        address = make_network()
        front = Front(address)
        Machine.words_of_front = front.words
        arbiter = Arbiter(Source(make_place()))
        front.leads_to(arbiter.address())
        for way in ways:
            {"deb": try_deb, "docker": try_docker, "source": try_source}[way](arbiter)
        arbiter.reload()
        arbiter.renews()
    finally:
        for cleanup in reversed(cleanups):
            try:
                cleanup()
            except SystemExit as cause:
                print(cause, file=sys.stderr)
    print(f"newcomer: {', '.join(ways)}: all passed")


if __name__ == "__main__":
    main()
