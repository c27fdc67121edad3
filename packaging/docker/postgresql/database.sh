#!/usr/bin/env bash
# Runs the database of an arbiter host: makes it the first time, brings roles and rights up to what
# setup.sql says at each start, and has the server read certificate and revocation list again when
# they change.
set -euo pipefail
share=/usr/local/share/canister
data=/var/lib/postgresql/data
socket=/run/postgresql

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

postgres -D "$data" -c "hba_file=$share/pg_hba.conf" -c "ident_file=$share/pg_ident.conf" &
server=$!
# Sessions are ended, as the units of Debian do it.
trap 'kill -INT "$server"' TERM INT
until pg_isready --quiet; do
    kill -0 "$server" 2>/dev/null || exit 1
    sleep 0.2
done
psql --no-psqlrc --quiet --tuples-only --output /dev/null --username postgres --file "$share/setup.sql"
touch "$socket/is-set-up"

seen=$(stat --dereference --format %Y.%i /server/* /authority/crl.pem)
while kill -0 "$server" 2>/dev/null; do
    sleep 2 &
    wait $! || true
    now=$(stat --dereference --format %Y.%i /server/* /authority/crl.pem)
    if [ "$now" != "$seen" ]; then
        kill -HUP "$server"
        seen=$now
    fi
done
wait "$server"
