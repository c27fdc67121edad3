#!/usr/bin/env bash
# Makes the root of a clean Debian machine, once, and prints the path of its archive, which tests
# unpack. Needs root.
#
#     debian-root.sh machine    what a small server has: systemd, sudo
#     debian-root.sh builder    what builds a Rust program, but for Rust itself: a C compiler
#     debian-root.sh image      what the image debian:bookworm-slim has
set -euo pipefail
cd "$(dirname "$0")/.."
suite=bookworm

fail() {
    echo "debian-root: $*" >&2
    exit 1
}
# What one has of apt's sources: a new machine asks nobody here for packages.
sources=/dev/null
case ${1:-} in
machine) include=adduser,dbus,init-system-helpers,sudo,systemd,systemd-sysv ;;
builder) include=ca-certificates,gcc,libc6-dev ;;
image) include= sources= ;;
*) fail "machine, builder or image would work" ;;
esac
folder=$PWD/target/debian-root
archive=$folder/$1.tar
if [ ! -f "$archive" ]; then
    [ "$(id -u)" -eq 0 ] || fail "debootstrap needs root"
    tests/needs.sh debootstrap:debootstrap >&2
    # From where this machine's own packages come, if it is of the suite; else debootstrap knows.
    from=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $suite" "Component: main" | head -1)
    mkdir -p "$folder/packages"
    making=$(mktemp -d "$folder/$1.XXXXXX")
    trap 'rm -rf "$making"' EXIT
    # What one root has fetched, the next need not.
    debootstrap --variant=minbase ${include:+"--include=$include"} --cache-dir="$folder/packages" "$suite" "$making/root" \
        ${from:+"$from"} >"$making/log" 2>&1 || fail "debootstrap failed: $(tail -1 "$making/log")"
    [ -z "$sources" ] || cp "$sources" "$making/root/etc/apt/sources.list"
    rm -rf "$making"/root/var/cache/apt/archives/*.deb "$making"/root/var/lib/apt/lists/*
    tar -C "$making/root" -cf "$making/root.tar" .
    mv "$making/root.tar" "$archive"
fi
echo "$archive"
