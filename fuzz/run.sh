#!/usr/bin/env bash
# Runs each fuzz target for some seconds (60 unless told) on seeds made from what the tests read.
set -euo pipefail
cd "$(dirname "$0")"
seconds="${1:-60}"

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "fuzz: installing the nightly toolchain, which the fuzzer's instrumentation needs"
    rustup toolchain install nightly --profile minimal
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: installing cargo-fuzz"
    cargo install cargo-fuzz --locked
fi

# A vector's message is what stands behind its first empty line.
mkdir -p corpus/codec
for vector in ../protocol/tests/vectors/*.txt; do
    sed '1,/^$/d' "$vector" | head -c -1 >"corpus/codec/$(basename "$vector" .txt)"
done

for target in $(cargo +nightly fuzz list); do
    echo "fuzz: $target for $seconds s"
    mkdir -p "corpus/$target"
    cargo +nightly fuzz run "$target" "corpus/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1
done
