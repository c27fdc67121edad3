#!/usr/bin/env bash
# Runs the database of an arbiter host: makes it the first time, brings roles and rights up to what
# setup.sql says at each start, and gives the server each new certificate and revocation list.
set -euo pipefail
share=/usr/local/share/canister
data=/var/lib/postgresql/data
socket=/run/postgresql
# What /etc/canister-postgresql is here. The list in force stays with the database.
tls=/var/lib/postgresql/tls

# Two servers on one folder destroy it, and in containers of their own they don't see each other.
# After this whatever postmaster.pid says is over.
exec 9>/var/lib/postgresql/lock
flock --nonblock 9 || {
    echo "database: another server runs on this volume; stop that container" >&2
    exit 1
}
if [ ! -d "$data" ]; then
    rm -rf "$data.new"
    initdb --pgdata "$data.new" --username postgres --auth reject --encoding UTF8 \
        --locale C.UTF-8 >/dev/null
    echo "include '$share/postgresql.conf'" >>"$data.new/postgresql.conf"
    mv "$data.new" "$data"
fi
rm -f "$data/postmaster.pid"
mkdir -p "$tls"
ln -sf /server/server.crt /server/server.key /authority/ca.crt "$tls"
if [ ! -e "$tls/revoked.crl" ]; then
    cp /authority/crl.pem "$tls/new"
    mv "$tls/new" "$tls/revoked.crl"
fi

postgres -D "$data" -c "hba_file=$share/pg_hba.conf" -c "ident_file=$share/pg_ident.conf" &
server=$!
# Sessions are ended, as the units of Debian do it.
trap 'kill -INT "$server"' TERM INT
until pg_isready --quiet; do
    kill -0 "$server" 2>/dev/null || exit 1
    sleep 0.2
done
psql --no-psqlrc --quiet --tuples-only --output /dev/null --username postgres --file "$share/setup.sql"

# Which files these are, and since when; one may be away while it is replaced.
state() {
    stat --dereference --format %Y.%i "$@" 2>/dev/null || true
}
identity=(/server/server.crt /server/server.key /authority/ca.crt)
seen=$(state "${identity[@]}")
list=
while kill -0 "$server" 2>/dev/null; do
    if [ "$list" != "$(state /authority/crl.pem)" ]; then
        list=$(state /authority/crl.pem)
        # It says itself why it refuses one.
        take-list.sh /authority/crl.pem || true
    fi
    if [ "$seen" != "$(state "${identity[@]}")" ]; then
        seen=$(state "${identity[@]}")
        kill -HUP "$server"
    fi
    touch "$socket/is-set-up"
    sleep 2 &
    wait $! || true
done
wait "$server"
