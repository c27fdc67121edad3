#!/usr/bin/env bash
# Gives PostgreSQL a newer list of what is revoked: checks it, moves it into place, has the server read
# it. Run it as the server's user, on its machine, with the list as the authority made it:
#
#     take-list.sh crl.pem [FOLDER]
#
# FOLDER (default: /etc/canister-postgresql) has ca.crt and the list in force, revoked.crl. A list that
# is damaged, of another authority, past its date or older than the one in force is refused: by such a
# one PostgreSQL would let nobody in, or somebody who was revoked.
set -euo pipefail
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: take-list.sh crl.pem [FOLDER]" >&2
    exit 2
fi
new=$1
folder=${2:-/etc/canister-postgresql}
bytes_max=16777216

fail() {
    echo "take-list: $new: $*" >&2
    exit 1
}
command -v openssl >/dev/null || fail "openssl isn't here: apt-get install openssl"
command -v psql >/dev/null || fail "psql isn't here: apt-get install postgresql-client"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# each FILE FOLDER: each block of a PEM file in a file of its own, for openssl reads the first only.
each() {
    mkdir "$work/$2"
    awk -v to="$work/$2/" '/^-----BEGIN /{n++} n{print > (to n)}' "$1"
}
issuer() {
    openssl crl -noout -issuer -in "$1" 2>/dev/null | sed 's/^issuer=//'
}
number() {
    local hex
    hex=$(openssl crl -noout -crlnumber -in "$1")
    echo $((16#${hex##*[=x]}))
}

head -c $((bytes_max + 1)) -- "$new" >"$work/list" 2>"$work/why" ||
    fail "can't be read: $(sed 's/.*: //' "$work/why")"
[ "$(stat -c %s "$work/list")" -le "$bytes_max" ] || fail "longer than $bytes_max bytes"
if cmp -s "$work/list" "$folder/revoked.crl"; then
    exit 0
fi
each "$work/list" lists
each "$folder/ca.crt" authorities
[ ! -e "$folder/revoked.crl" ] || each "$folder/revoked.crl" before

issuers=()
for list in "$work"/lists/*; do
    [ -e "$list" ] || fail "no revocation list in it; the authority's crl.pem would work"
    by=$(issuer "$list") || fail "damaged; the authority's crl.pem would work"
    # Its exit status is 0 whatever it finds.
    openssl crl -noout -CAfile "$folder/ca.crt" -in "$list" 2>&1 | grep -q "verify OK" ||
        fail "the list of $by is damaged, or of no authority in $folder/ca.crt"
    ends=$(openssl crl -noout -nextupdate -in "$list")
    ends=${ends#*=}
    [ "$(date -d "$ends" +%s)" -gt "$(date +%s)" ] ||
        fail "the list of $by is past its date, $ends; \`canister-arbiter ca crl\` signs a new one"
    for old in "$work"/before/*; do
        if [ -e "$old" ] && [ "$(issuer "$old")" = "$by" ] && [ "$(number "$old")" -gt "$(number "$list")" ]; then
            fail "the list of $by is older than the one in force"
        fi
    done
    issuers+=("$by")
done
for authority in "$work"/authorities/*; do
    name=$(openssl x509 -noout -subject -in "$authority" | sed 's/^subject=//')
    printf '%s\n' "${issuers[@]}" | grep -qxF -- "$name" || fail "no list of $name in it"
done

install -m 644 "$work/list" "$folder/.revoked.new"
sync "$folder/.revoked.new"
mv "$folder/.revoked.new" "$folder/revoked.crl"
psql --no-psqlrc --quiet --output=/dev/null --dbname=postgres --command='SELECT pg_reload_conf()'
