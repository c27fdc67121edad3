#!/usr/bin/env bash
# Makes a clean Debian root, with these packages besides those that are always there, as a tar; one
# that is there already is kept. Needs root.
#
#     debian-root.sh FILE [PACKAGE...]
set -euo pipefail
suite=bookworm
file=$1
shift

fail() {
    echo "debian root: $*" >&2
    exit 1
}
[ ! -f "$file" ] || exit 0
[ "$(id -u)" -eq 0 ] || fail "debootstrap needs root"
command -v debootstrap >/dev/null ||
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y debootstrap >/dev/null ||
    fail "debootstrap is missing; apt-get install would work"
# From where this machine's own packages come.
from=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $suite" "Component: main" | head -1)
[ -n "$from" ] || fail "apt has no index of $suite here; apt-get update would fetch one"

echo "== debootstrap (once)"
mkdir -p "$(dirname "$file")"
work=$(mktemp -d "$(dirname "$file")/debian.XXXXXX")
trap 'rm -rf "$work"' EXIT
debootstrap --variant=minbase ${1:+"--include=$(IFS=,; echo "$*")"} "$suite" "$work/root" "$from" >"$work/log" 2>&1 ||
    fail "debootstrap failed: $(tail -1 "$work/log")"
tar -C "$work/root" -cf "$work/root.tar" .
mv "$work/root.tar" "$file"
