#!/usr/bin/env bash
# Makes the Docker images of agent and arbiter, for all platforms or for those named (linux/amd64,
# linux/arm64, linux/arm/v7, linux/arm/v6), of the binaries of packaging/cross/build.sh, as files
# for `docker load` in target/image. No engine is needed for it; one that answers gets the images
# of this machine's platform loaded, under canister-agent and canister-arbiter as well.
#
# The authorities for https:// are those of Debian's package, not of this machine, which may trust
# more. The same commit and authorities give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/../.."
platforms=("$@")
[ $# -gt 0 ] || platforms=(linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6)
# What an image may weigh, in bytes.
agent_max=8000000
arbiter_max=16000000

fail() {
    echo "image: $*" >&2
    exit 1
}
triple_of() {
    case $1 in
    linux/amd64) echo x86_64-unknown-linux-musl ;;
    linux/arm64) echo aarch64-unknown-linux-musl ;;
    linux/arm/v7) echo armv7-unknown-linux-musleabihf ;;
    linux/arm/v6) echo arm-unknown-linux-musleabihf ;;
    *) fail "no image is made for $1; linux/amd64, linux/arm64, linux/arm/v7 or linux/arm/v6 would work" ;;
    esac
}
triples=()
for platform in "${platforms[@]}"; do
    triples+=("$(triple_of "$platform")")
done
packaging/cross/build.sh "${triples[@]}"

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
out=$PWD/target/image
rm -rf "$out"
mkdir -p "$out"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get -qq -o APT::Sandbox::User=root download ca-certificates) ||
    fail "couldn't download ca-certificates; apt-get update may help"
dpkg-deb --extract "$work"/ca-certificates_*.deb "$work/root"
cat "$work"/root/usr/share/ca-certificates/mozilla/*.crt >"$work/ca-certificates.crt"

for platform in "${platforms[@]}"; do
    suffix=${platform#linux/}
    suffix=${suffix//\//}
    for name in agent arbiter; do
        file=$out/canister-${name}_${version}_$suffix.tar
        packaging/docker/image.py "$name" "$platform" "$version" \
            "target/cross/$(triple_of "$platform")/release/canister-$name" "$work/ca-certificates.crt" "$file"
        most=${name}_max
        [ "$(stat -c %s "$file")" -le "${!most}" ] || fail "$file is over ${!most} bytes"
        if [ "$platform" = "linux/$(dpkg --print-architecture)" ] && docker version >/dev/null 2>&1; then
            docker load --quiet --input "$file" >/dev/null
            docker tag "canister-$name:$version-$suffix" "canister-$name"
        fi
    done
done
