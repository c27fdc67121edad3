#!/usr/bin/env bash
# Builds what run.py measures: the agent and its examples, static, as it is shipped.
set -euo pipefail
cd "$(dirname "$0")/.."
triples=("$(uname -m)-unknown-linux-musl")
packaging/cross/toolchain.sh
. packaging/cross/environment.sh
cargo zigbuild --quiet --locked --release --target-dir target/cross -Zbuild-std=std,panic_abort \
    --target "${triples[0]}" --package canister-agent --bins --examples
