#!/usr/bin/env bash
# Shows that one commit gives the same bytes: builds HEAD in another folder, with nothing built
# before and another cargo home, and compares with what packaging/cross/build.sh made of it here.
#
#     reproduce.sh [TRIPLE...]        (all of them; each costs some minutes of CPU time)
set -euo pipefail
cd "$(dirname "$0")/../.."
triples=("$@")
[ $# -gt 0 ] || triples=(
    x86_64-unknown-linux-musl aarch64-unknown-linux-musl
    armv7-unknown-linux-musleabihf arm-unknown-linux-musleabihf
)
programs=${PROGRAMS:-canister-agent canister-arbiter}
[ -z "$(git status --porcelain)" ] || {
    echo "reproduce: there are changes that aren't committed; git stash would work" >&2
    exit 1
}
export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
packaging/cross/build.sh "${triples[@]}"
elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT
mkdir "$elsewhere/source" "$elsewhere/cargo"
git archive HEAD | tar -C "$elsewhere/source" -x
# The crates that were fetched already; they are checked against Cargo.lock.
[ ! -d "${CARGO_HOME:-$HOME/.cargo}/registry" ] ||
    cp -a "${CARGO_HOME:-$HOME/.cargo}/registry" "$elsewhere/cargo/registry"
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup} \
    CARGO_HOME=$elsewhere/cargo "$elsewhere/source/packaging/cross/build.sh" "${triples[@]}"
for triple in "${triples[@]}"; do
    for program in $programs; do
        file=target/cross/$triple/release/$program
        cmp "$file" "$elsewhere/source/$file" || {
            echo "reproduce: $program for $triple differs" >&2
            exit 1
        }
        sha256sum "$file"
    done
done
echo "reproduce: the same bytes"
