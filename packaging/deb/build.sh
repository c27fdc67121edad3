#!/usr/bin/env bash
# Makes the Debian packages of agent and arbiter, for amd64, arm64 and armhf or for those named, of
# the binaries of packaging/cross/build.sh, into target/deb. The same commit gives the same bytes.
#
# To dpkg ARMv6 and ARMv7 are both armhf; the package has the binary of ARMv6, so that it runs on
# every Raspberry Pi.
set -euo pipefail
cd "$(dirname "$0")/../.."
architectures=("$@")
[ $# -gt 0 ] || architectures=(amd64 arm64 armhf)
# Raise it when the packages change and the programs don't.
revision=1
cargo_deb_version=3.8.0

fail() {
    echo "deb: $*" >&2
    exit 1
}
command -v dpkg-deb >/dev/null || fail "dpkg-deb isn't here: apt-get install dpkg"
command -v python3 >/dev/null || fail "python3 isn't here: apt-get install python3"

triple_of() {
    case $1 in
    amd64) echo x86_64-unknown-linux-musl ;;
    arm64) echo aarch64-unknown-linux-musl ;;
    armhf) echo arm-unknown-linux-musleabihf ;;
    *) fail "no packages are made for $1; amd64, arm64 or armhf would work" ;;
    esac
}

# Man pages and completions come from a binary that runs here, built from the same commit.
native=x86_64-unknown-linux-musl
triples=("$native")
for architecture in "${architectures[@]}"; do
    triple=$(triple_of "$architecture")
    [ "$triple" = "$native" ] || triples+=("$triple")
done
packaging/cross/build.sh "${triples[@]}"

if [ "$(target/tools/bin/cargo-deb --version 2>/dev/null)" != "$cargo_deb_version" ]; then
    cargo install --quiet cargo-deb --version "$cargo_deb_version" --locked --root target/tools
fi

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
rm -rf target/deb
mkdir -p target/deb
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
for program in canister-agent canister-arbiter; do
    packaging/man/make.py "target/cross/$native/release/$program" target/deb
done
for package in canister-agent canister-arbiter; do
    cat >target/deb/changelog <<END
$package ($version-$revision) stable; urgency=medium

  * Version $version; https://github.com/cnstr/arbiter has the changelog.

 -- Canister <support@canister.me>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
    for architecture in "${architectures[@]}"; do
        CARGO_TARGET_DIR=target/cross target/tools/bin/cargo-deb --quiet --no-build --no-strip --package "$package" --locked \
            --target "$(triple_of "$architecture")" \
            --deb-revision "$revision" --output target/deb/
        ls -l --time-style=+ "target/deb/${package}_$version-${revision}_$architecture.deb" |
            awk '{ printf "%-55s %9d bytes\n", $NF, $5 }'
    done
done
