#!/usr/bin/env bash
# Gathers what `make cross deb image` made into target/release-files, under the names that are
# published, with the bills of materials and SHA256SUMS.
set -euo pipefail
cd "$(dirname "$0")/.."
out=target/release-files
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
rm -rf "$out"
mkdir -p "$out"
for triple in x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf \
    arm-unknown-linux-musleabihf; do
    for program in canister-agent canister-arbiter; do
        cp "target/cross/$triple/release/$program" "$out/${program}_${version}_$triple"
    done
done
cp target/deb/*.deb "$out"
for image in target/image/*.tar; do
    gzip -9n <"$image" >"$out/image_$(basename "$image").gz"
done
for program in canister-agent canister-arbiter; do
    packaging/sbom.py "$program" >"$out/${program}_$version.cdx.json"
done
(cd "$out" && sha256sum -- * >SHA256SUMS && cat SHA256SUMS)
