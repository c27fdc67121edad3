#!/usr/bin/env bash
# Fetches what static programs are built with, for every target, into target/cross: a compiler with
# the source of its standard library (Debian's rustc-web, unpacked and not installed), and zig as C
# compiler and linker. Does nothing if the newest is there. Then, for each target:
#
#     . target/cross/env
#     cargo zigbuild --release --locked --target x86_64-unknown-linux-musl
set -euo pipefail
cd "$(dirname "$0")/../.."
into="$PWD/target/cross"
zig=0.15.2
zigbuild=0.24.0
targets="x86_64-unknown-linux-musl aarch64-unknown-linux-musl \
    armv7-unknown-linux-musleabihf arm-unknown-linux-musleabihf"

missing=()
for tool in apt-cache:apt apt-get:apt cc:gcc dpkg:dpkg python3:python3; do
    command -v "${tool%%:*}" >/dev/null 2>&1 || missing+=("${tool##*:}")
done
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ "${#missing[@]}" -gt 0 ]; then
    echo "cross: these Debian packages are needed: apt-get install ${missing[*]}" >&2
    exit 1
fi

newest() {
    apt-cache madison "$1" | awk '{ print $3 }' | sort -V | tail -1
}
# The package of this name that another one depends on: part of their names is a version.
needed_by() {
    apt-cache show "$1" | sed -n 's/^Depends: //p' | tr ',' '\n' | grep -o "$2" | head -1
}
version="$(newest rustc-web)"
if [ -z "$version" ]; then
    echo "cross: apt knows no rustc-web; apt-get update on Debian 12 or later would help" >&2
    exit 1
fi
std="$(needed_by "libstd-rust-web-dev=$version" 'libstd-rust-web-[0-9.]*')"
llvm="$(needed_by "$std=$version" 'libllvm[0-9]*')"

# What is there already: named last, so that half of it counts for nothing.
is="rustc-web $version zig $zig zigbuild $zigbuild"
if [ "$(cat "$into/is" 2>/dev/null)" != "$is" ]; then
    rm -rf "$into"
    mkdir -p "$into"/{bin,packages,rust}
    echo "cross: fetching rustc-web $version"
    (
        cd "$into/packages"
        apt-get -qq -o APT::Sandbox::User=root download "rustc-web=$version" \
            "libstd-rust-web-dev=$version" "$std=$version" "rust-web-src=$version" "$llvm"
        for package in *.deb; do dpkg -x "$package" "$into/rust"; done
    )
    rm -r "$into/packages"
    cat >"$into/bin/rustc" <<EOF
#!/bin/sh
LD_LIBRARY_PATH='$into/rust/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || cc -dumpmachine)' exec '$into/rust/usr/bin/rustc' "\$@"
EOF
    chmod +x "$into/bin/rustc"
    echo "cross: fetching zig $zig"
    python3 -m venv "$into/python"
    "$into/python/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
        "ziglang==$zig" "cargo-zigbuild==$zigbuild"
fi

{
    echo "export RUSTC='$into/bin/rustc' PATH='$into/python/bin':\"\$PATH\""
    # cargo is the stable one, which builds a standard library only when it is told that it may.
    echo "export RUSTC_BOOTSTRAP=1 CARGO_UNSTABLE_BUILD_STD=std,panic_abort"
    # Without it time_t has 4 bytes on 32-bit targets.
    echo "export RUST_LIBC_UNSTABLE_MUSL_V1_2_3=1"
    # zig brings the C runtime's objects; no path of this machine goes into a program.
    flags="-Clink-self-contained=no --remap-path-prefix=$PWD=. \
--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo --remap-path-prefix=$into/rust=rust"
    for target in $targets; do
        name="$(echo "$target" | tr 'a-z-' 'A-Z_')"
        echo "export CARGO_TARGET_${name}_RUSTFLAGS='$flags'"
    done
} >"$into/env"
echo "$is" >"$into/is"
