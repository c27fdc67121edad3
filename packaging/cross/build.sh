#!/usr/bin/env bash
# Builds the agent and the arbiter as static binaries, for the triples named or for all of them,
# into target/cross/<triple>/release, and prints their sizes.
#
# The bytes depend on the commit, the toolchain and the triple alone: no path of this machine gets
# into them (remap-path-prefix and its likeness for C), and no time but the commit's.
# reproduce.sh shows it. JOBS says how many compilers run at once (all cores), PROGRAMS which
# programs to build (both), TARGET_DIR where (target/cross).
set -euo pipefail
cd "$(dirname "$0")/../.."
triples=("$@")
[ $# -gt 0 ] || triples=(
    x86_64-unknown-linux-musl
    aarch64-unknown-linux-musl
    armv7-unknown-linux-musleabihf
    arm-unknown-linux-musleabihf
)
jobs=${JOBS:-$(nproc)}
programs=${PROGRAMS:-canister-agent canister-arbiter}
target_dir=${TARGET_DIR:-target/cross}

packaging/cross/toolchain.sh
. packaging/cross/environment.sh

for triple in "${triples[@]}"; do
    # One after the other: together, cargo would give the agent the features that only the
    # arbiter needs.
    for package in $programs; do
        cargo zigbuild --quiet --locked --release --jobs "$jobs" --target-dir "$target_dir" \
            -Zbuild-std=std,panic_abort --target "$triple" --package "$package" --bins
        file=$target_dir/$triple/release/$package
        printf '%-32s %-17s %9d bytes\n' "$triple" "$package" "$(stat -c %s "$file")"
    done
done
