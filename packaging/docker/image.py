#!/usr/bin/env python3
"""Writes an image as a file for `docker load`: one static program, the authorities that Debian
trusts for https:// sources, and nothing else (what a Dockerfile would call FROM scratch).

    image.py agent|arbiter PLATFORM VERSION PROGRAM AUTHORITIES FILE

Written by hand because it needs no engine then, gives every platform's image on any machine, and
the same bytes for the same program; times are SOURCE_DATE_EPOCH. The format is the image
specification's (https://github.com/opencontainers/image-spec) in docker's archive.
"""

import hashlib
import io
import json
import os
import sys
import tarfile
import time

EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
# No user of any machine.
USER = 65532
SECOND = 1_000_000_000

PROGRAMS = {
    # A folder for the peer's certificate, its key and the authority's certificate is mounted at its
    # own.
    "agent": {
        "Cmd": ["run"],
        "Env": [
            # Every container has memory of its own there, be it --read-only or not.
            "CANISTER_HEALTH=/dev/shm/canister-agent",
            "CANISTER_SOCKET=/dev/shm/canister-agent.sock",
            # So that `docker exec NAME canister-agent status` finds it.
            "PATH=/",
        ],
        "Healthcheck": ["/canister-agent", "health"],
    },
    # arbiter.crt, arbiter.key and ca.crt are mounted at /etc/canister-arbiter; at its folder, one
    # for the database and the operator's socket. Ports below 1024 are for root.
    "arbiter": {
        "Cmd": ["run", "--listen", "[::]:8443"],
        "Env": [],
        "ExposedPorts": {"8443/tcp": {}},
        "Healthcheck": ["/canister-arbiter", "status"],
    },
}


def entry(tar, name, content=None, mode=0o755, owner=0):
    """One file, or a folder without content."""
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid, info.mtime = mode, owner, owner, EPOCH
    if content is None:
        info.type = tarfile.DIRTYPE
    else:
        info.size = len(content)
    tar.addfile(info, io.BytesIO(content or b""))


def layer(name, program, authorities):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        entry(tar, name, program)
        for folder in ("etc", "etc/ssl", "etc/ssl/certs", "var", "var/lib"):
            entry(tar, folder)
        entry(tar, "etc/ssl/certs/ca-certificates.crt", authorities, mode=0o644)
        entry(tar, f"etc/{name}")
        entry(tar, f"var/lib/{name}", mode=0o700, owner=USER)
    return buffer.getvalue()


def main():
    if len(sys.argv) != 7 or sys.argv[1] not in PROGRAMS:
        sys.exit(__doc__)
    which, platform, version, program, authorities, file = sys.argv[1:]
    name = f"canister-{which}"
    system, architecture, *variant = platform.split("/")
    with open(program, "rb") as it:
        program = it.read()
    with open(authorities, "rb") as it:
        content = layer(name, program, it.read())
    settings = dict(PROGRAMS[which])
    settings.update(
        Entrypoint=[f"/{name}"],
        User=f"{USER}:{USER}",
        WorkingDir=f"/var/lib/{name}",
        StopSignal="SIGTERM",
        Healthcheck={
            "Test": ["CMD", *settings["Healthcheck"]],
            "Interval": 30 * SECOND,
            "Timeout": 5 * SECOND,
            "StartPeriod": 60 * SECOND,
        },
        Labels={
            "org.opencontainers.image.title": name,
            "org.opencontainers.image.version": version,
            "org.opencontainers.image.source": "https://github.com/cnstr/arbiter",
            "org.opencontainers.image.licenses": "MIT",
        },
    )
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(EPOCH))
    config = {
        "architecture": architecture,
        "os": system,
        "created": created,
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
        "history": [{"created": created, "created_by": "packaging/docker/image.py"}],
    }
    if variant:
        config["variant"] = variant[0]
    config = json.dumps(config, sort_keys=True).encode()
    digest = hashlib.sha256(config).hexdigest()
    tag = f"{name}:{version}-{''.join([architecture, *variant])}"
    manifest = [{"Config": f"{digest}.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
    with tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as tar:
        entry(tar, f"{digest}.json", config, mode=0o644)
        entry(tar, "layer.tar", content, mode=0o644)
        entry(tar, "manifest.json", json.dumps(manifest).encode(), mode=0o644)
    print(f"{tag:<30} {platform:<13} {len(content):>9} bytes")


if __name__ == "__main__":
    main()
