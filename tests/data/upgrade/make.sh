#!/bin/bash
# Makes sqlite.sql and postgres.sql beside it, by programs of an earlier version:
#     make.sh FOLDER          with its canister-arbiter and canister-agent; as root, with PostgreSQL and sqlite3
set -euo pipefail
here=$(realpath "$(dirname "$0")") bin=$(realpath "$1")
work=$(mktemp -d) && cd "$work" && chmod 755 .
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT

# Four repositories on one address, which the test puts another in the place of.
mkdir -p www/{alpha,beta,gamma,odd}
for name in alpha beta gamma; do
    printf 'Package: %s\nVersion: 1.%d\nArchitecture: all\nDescription: of %s\nFilename: a.deb\nSize: 5\nTag: x, y\n\n' \
        "$name" 0 "$name" "$name-tool" 2 "$name" "lib$name" 3 "$name" >"www/$name/Packages"
    printf 'Origin: Tests\nLabel: Tests\nSuite: ./\nSHA256:\n %s %s Packages\n' \
        "$(sha256sum <"www/$name/Packages" | cut -d' ' -f1)" "$(stat -c %s "www/$name/Packages")" >"www/$name/Release"
done
printf 'SHA256:\n %064d 5 Packages\n' 0 >www/odd/Release
python3 -m http.server --bind 127.0.0.1 --directory www 18091 2>/dev/null &
list=(alpha beta gamma odd)
printf '{"slug":"%s","uri":"http://127.0.0.1:18091/%s/","suite":"./","ranking":2}\n' \
    $(printf '%s %s ' $(printf '%s\n' "${list[@]}" | sed 'p')) | paste -sd, | sed 's/.*/[&]/' >sources.json

arbiter=$bin/canister-arbiter
"$arbiter" ca init --dir ca >/dev/null
"$arbiter" ca server --dir ca --out ca 127.0.0.1 >/dev/null
"$bin/canister-agent" request --dir peer anna >/dev/null
"$arbiter" ca sign --dir ca --out peer/peer.crt peer/peer.csr >/dev/null
cp ca/ca.crt peer/

# One life of an arbiter on a database: what is indexed, decided and measured.
live() {
    mkdir -p "state-$1"
    "$arbiter" run --listen "127.0.0.1:$3" --public none --certificate ca/arbiter.crt --key ca/arbiter.key \
        --authority ca/ca.crt --state "state-$1" --sources sources.json --pause 0s --database "$2" 2>"$1.log" &
    local pid=$!
    until grep -q '\] ready ' "$1.log"; do sleep 0.2; done
    "$bin/canister-agent" run --dir peer --arbiter "wss://127.0.0.1:$3/connect" --allow-private 2>"$1-agent.log" &
    local agent=$!
    say() { "$arbiter" "$@" --state "state-$kind"; }
    kind=$1
    until [ "$(say sources --json | jq '[.[] | select(.packages == 3)] | length')" = 3 ]; do sleep 0.5; done
    say block slug:gamma --why "spam" >/dev/null
    say block host:bad.example --why "asked by its owner" >/dev/null
    say allow https://bad.example/good >/dev/null
    say delist beta --why "gone" >/dev/null
    say trust anna --why "a friend" >/dev/null
    say suspend ben >/dev/null
    sleep 1
    kill $agent $pid && wait $agent $pid || true
}

live sqlite "state-sqlite/canister.db" 18092
{
    sqlite3 state-sqlite/canister.db .dump
    for pragma in application_id user_version; do
        echo "PRAGMA $pragma = $(sqlite3 state-sqlite/canister.db "PRAGMA $pragma");"
    done
} >"$here/sqlite.sql"

tools=$(pg_config --bindir) pg=(setpriv --reuid=postgres --regid=postgres --clear-groups --)
mkdir pg && chown postgres pg
"${pg[@]}" "$tools/initdb" -D pg/data -A trust -U postgres >/dev/null
"${pg[@]}" "$tools/pg_ctl" -D pg/data -w -l pg/log -o "-k $work/pg -c listen_addresses=''" start >/dev/null
psql -q -h "$work/pg" -U postgres -c 'CREATE DATABASE canister'
live postgres "host=$work/pg user=postgres dbname=canister sslmode=disable" 18093
pg_dump -h "$work/pg" -U postgres --no-owner --no-privileges --inserts canister | grep -v '^\\' >"$here/postgres.sql"
"${pg[@]}" "$tools/pg_ctl" -D pg/data -w -m fast stop >/dev/null
wc "$here"/*.sql
