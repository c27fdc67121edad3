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
toolchain=$PWD/target/cross-toolchain
cargo_home=${CARGO_HOME:-$HOME/.cargo}

# The nightly features of cargo and rustc: for the standard library from source.
export RUSTC="$toolchain/bin/rustc" RUSTC_BOOTSTRAP=1 PATH="$toolchain/venv/bin:$PATH"
# On 32-bit musl, time_t of the libc crate has 4 bytes otherwise, and ends in 2038.
export RUST_LIBC_UNSTABLE_MUSL_V1_2_3=1
# The commit's time, where there is a commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
# Whatever the user sets for builds of their own.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET RUSTC_WRAPPER CFLAGS TARGET_CFLAGS

rust_flags="-Clink-self-contained=no"
c_flags=
for pair in "$PWD=/src" "$cargo_home=/cargo" "$toolchain/root/usr=/toolchain"; do
    rust_flags="$rust_flags --remap-path-prefix=$pair"
    c_flags="$c_flags -ffile-prefix-map=$pair"
done

for triple in "${triples[@]}"; do
    name=${triple//-/_}
    export "CARGO_TARGET_${name^^}_RUSTFLAGS=$rust_flags" "CFLAGS_$name=$c_flags"
    # One after the other: together, cargo would give the agent the features that only the
    # arbiter needs.
    for package in $programs; do
        cargo zigbuild --quiet --locked --release --jobs "$jobs" --target-dir "$target_dir" \
            -Zbuild-std=std,panic_abort --target "$triple" --package "$package" --bins
        file=$target_dir/$triple/release/$package
        printf '%-32s %-17s %9d bytes\n' "$triple" "$package" "$(stat -c %s "$file")"
    done
done
