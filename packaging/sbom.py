#!/usr/bin/env python3
"""Prints a program's bill of materials, CycloneDX 1.5 in JSON: every crate that is linked into it,
as Cargo.lock has it with its check sum.

    sbom.py canister-agent|canister-arbiter [TRIPLE]

Made of `cargo metadata`, which decides what a target needs; crates that only build scripts, tests or
macros need aren't in the program and aren't listed.
"""

import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    program = sys.argv[1]
    triple = sys.argv[2] if len(sys.argv) == 3 else "x86_64-unknown-linux-musl"
    words = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", triple]
    told = subprocess.run(words, cwd=TOP, capture_output=True, check=True).stdout
    metadata = json.loads(told)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    lock = tomllib.loads((TOP / "Cargo.lock").read_text())["package"]
    sums = {(it["name"], it["version"]): it.get("checksum") for it in lock}
    roots = [id for id, package in packages.items() if package["name"] == program]
    if not roots:
        sys.exit(f"sbom.py: no program {program}")

    linked, waiting = set(), list(roots)
    while waiting:
        id = waiting.pop()
        if id in linked:
            continue
        linked.add(id)
        for dependency in nodes[id]["deps"]:
            is_macro = any("proc-macro" in it["kind"] for it in packages[dependency["pkg"]]["targets"])
            if not is_macro and any(it["kind"] is None for it in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])

    def component(id):
        package = packages[id]
        name, version = package["name"], package["version"]
        made = {
            "type": "application" if name == program else "library",
            "bom-ref": f"pkg:cargo/{name}@{version}",
            "name": name,
            "version": version,
            "purl": f"pkg:cargo/{name}@{version}",
        }
        if package["license"]:
            made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        if sums.get((name, version)):
            made["hashes"] = [{"alg": "SHA-256", "content": sums[name, version]}]
        return made

    def reference(id):
        return component(id)["bom-ref"]

    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    others = sorted(linked - set(roots), key=reference)
    print(
        json.dumps(
            {
                "bomFormat": "CycloneDX",
                "specVersion": "1.5",
                "version": 1,
                "metadata": {
                    "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)),
                    "component": component(next(id for id in linked if packages[id]["name"] == program)),
                },
                "components": [component(id) for id in others],
                "dependencies": [
                    {
                        "ref": reference(id),
                        "dependsOn": sorted(
                            {reference(it["pkg"]) for it in nodes[id]["deps"] if it["pkg"] in linked}
                        ),
                    }
                    for id in sorted(linked, key=reference)
                ],
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
