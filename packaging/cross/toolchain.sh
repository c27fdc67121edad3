#!/usr/bin/env bash
# Fetches the compilers of the cross builds and unpacks them into target/cross-toolchain; installs
# nothing, so a machine stays as it is. Done once: a second run finds it done and ends at once.
#
# rustc with the source of its standard library comes from Debian as packages, of the newest version
# that this Debian has. zig, the C compiler and linker for every target, and cargo-zigbuild, which
# puts it into cargo's hands, come from PyPI, of the versions below and with the digests below.
# apt checks its packages against its signed indexes, pip its against the digests.
set -euo pipefail
cd "$(dirname "$0")/../.."
toolchain=$PWD/target/cross-toolchain

# What pip is to fetch; raise a version together with its digests.
requirements='
ziglang==0.15.2 --hash=sha256:806316453d1ede7174ed3fefb8e5348154629089c3bb5fe812dfd0e172fac130
cargo-zigbuild==0.24.0 --hash=sha256:484412e39e4c6039474535ce97ee75a22bab22d58233056f8ec8a8f9034bb957
'

fail() {
    echo "toolchain: $*" >&2
    exit 1
}

[ "$(uname -m)" = x86_64 ] || fail "this machine is $(uname -m); the cross builds run on x86_64 (elsewhere: Cross.toml)"
command -v cargo >/dev/null || fail "cargo isn't here; rustup from https://rustup.rs would work"
command -v apt-get >/dev/null || fail "apt-get isn't here; Debian 12 or newer would work (elsewhere: Cross.toml)"

missing=
command -v dpkg-deb >/dev/null || missing="$missing dpkg"
command -v cc >/dev/null || missing="$missing gcc libc6-dev"
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
    # Unquoted: each word is a package.
    install="apt-get install --no-install-recommends -y$missing"
    [ "$(id -u)" -eq 0 ] || fail "missing:$missing; as root: $install"
    apt-get -qq update && DEBIAN_FRONTEND=noninteractive $install >/dev/null || fail "couldn't: $install"
fi

newest() {
    apt-cache madison rustc-web | awk '{ print $3 }' | sort -V | tail -1
}
version=$(newest)
if [ -z "$version" ]; then
    [ "$(id -u)" -eq 0 ] || fail "apt knows no package rustc-web; as root: apt-get update"
    apt-get -qq update
    version=$(newest)
fi
[ -n "$version" ] || fail "apt knows no package rustc-web; Debian 12 with its security archive would work"

# What is there is what would be fetched.
wanted="rustc-web $version$requirements"
if [ -f "$toolchain/complete" ] && [ "$(cat "$toolchain/complete")" = "${wanted%$'\n'}" ]; then
    exit 0
fi
echo "toolchain: fetching rustc $version, zig and cargo-zigbuild"

# The packages that one names as its dependencies, one a line.
depends() {
    apt-cache show "$1" | sed -n 's/^Depends: //p' | head -1 | tr ',|' '\n\n' | awk '{ print $1 }'
}
std=$(depends "libstd-rust-web-dev=$version" | grep '^libstd-rust-web-') || true
[ -n "$std" ] || fail "libstd-rust-web-dev $version depends on no libstd-rust-web-…"
llvm=$(depends "$std=$version" | grep '^libllvm') || true
[ -n "$llvm" ] || fail "$std $version depends on no libllvm…"

rm -rf "$toolchain"
mkdir -p "$toolchain/packages" "$toolchain/root" "$toolchain/bin"
(
    cd "$toolchain/packages"
    apt-get -qq -o APT::Sandbox::User=root download \
        "rustc-web=$version" "libstd-rust-web-dev=$version" "$std=$version" "rust-web-src=$version" \
        "$llvm" || fail "couldn't download rustc $version; apt-get update may help"
)
for package in "$toolchain"/packages/*.deb; do
    dpkg-deb --extract "$package" "$toolchain/root"
done
rm -r "$toolchain/packages"

libraries=$toolchain/root/usr/lib/x86_64-linux-gnu
cat >"$toolchain/bin/rustc" <<END
#!/bin/sh
LD_LIBRARY_PATH=$libraries exec $toolchain/root/usr/bin/rustc "\$@"
END
chmod +x "$toolchain/bin/rustc"

python3 -m venv "$toolchain/venv"
echo "$requirements" >"$toolchain/requirements.txt"
"$toolchain/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
    --only-binary :all: --require-hashes --requirement "$toolchain/requirements.txt" ||
    fail "pip couldn't install zig and cargo-zigbuild"

# It is what was asked for, and it runs.
says=$("$toolchain/bin/rustc" --version) || fail "the rustc that was unpacked doesn't run"
case "$says" in
"rustc ${version%%+*} "*) ;;
*) fail "asked for rustc $version, got $says" ;;
esac
library=$("$toolchain/bin/rustc" --print sysroot)/lib/rustlib/src/rust/library/std/src/lib.rs
[ -f "$library" ] || fail "the source of the standard library isn't at $library"
zig=$("$toolchain/venv/bin/python" -m ziglang version) || fail "the zig that pip installed doesn't run"
"$toolchain/venv/bin/cargo-zigbuild" --version >/dev/null || fail "cargo-zigbuild doesn't run"
echo "$wanted" >"$toolchain/complete"
echo "toolchain: $says, zig $zig in target/cross-toolchain"
