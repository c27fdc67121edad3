#!/usr/bin/env bash
# Runs each fuzz target for some seconds (60 unless told) on seeds made from what the tests read.
set -euo pipefail
cd "$(dirname "$0")"
seconds="${1:-60}"

# need COMMAND INSTALLER...: what is missing is installed, or named in one line.
need() {
    local command="$1"
    shift
    $command --version >/dev/null 2>&1 && return
    echo "fuzz: $*"
    if ! "$@" || ! $command --version >/dev/null 2>&1; then
        echo "fuzz: no \`$command\`, which the fuzzer needs; this would install it: $*" >&2
        exit 1
    fi
}
need "cargo +nightly" rustup toolchain install nightly --profile minimal
need "cargo fuzz" cargo install cargo-fuzz --locked

# Seeds: a vector's message is what stands behind its first empty line.
mkdir -p corpus/{announcement,codec,release,source_list,stanza,unpack}
for vector in ../protocol/tests/vectors/*.txt; do
    seed="corpus/codec/$(basename "$vector" .txt)"
    if grep -q '^form: binary$' "$vector"; then
        sed '1,/^$/d' "$vector" | tr a-f A-F | basenc -di --base16 >"$seed"
    else
        sed '1,/^$/d' "$vector" | head -c -1 >"$seed"
    fi
done
cp ../arbiter/tests/announcement/*.{cbor,json} corpus/announcement/
cp ../arbiter/tests/source_list/*.json corpus/source_list/
wild=../agent/tests/wild
for fixture in "$wild"/index/* "$wild"/release/*; do
    name="$(basename "$fixture")"
    case "$fixture" in
    *.rows | *.says) ;;
    */release/*) cp "$fixture" "corpus/release/$name" ;;
    *)
        cp "$fixture" "corpus/stanza/$name"
        cp "$fixture" "corpus/unpack/$name"
        ;;
    esac
done
for packer in "bzip2 -c" "gzip -c" "xz -0 -c" "xz -9 -c" "xz --format=lzma -0 -c" "zstd -q -c"; do
    $packer "$wild/index/every-field" >"corpus/unpack/${packer// /}"
done

# Lets liblzma and zstd pass over wrong check sums, or hardly a changed file would be looked into.
export CFLAGS="${CFLAGS:+$CFLAGS }-DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION"

# One allocation over 8 MiB is a finding too: nothing that is read asks for more at once.
for target in $(cargo +nightly fuzz list); do
    echo "fuzz: $target for $seconds s"
    mkdir -p "corpus/$target"
    cargo +nightly fuzz run "$target" "corpus/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=8 \
        -max_len=65536 -print_final_stats=1
done
