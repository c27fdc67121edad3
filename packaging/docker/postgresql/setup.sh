#!/usr/bin/env bash
# The authority of an arbiter host, and who has a certificate of it.
#
#     setup.sh                what is missing of the authority and of the servers' certificates
#     setup.sh agents         what is missing of the host's own agents, with their roles
#     setup.sh COMMAND …      of `canister-arbiter ca`; sign and revoke with the peer's role in the database
set -euo pipefail
authority=/authority
# An arbiter's certificate opens the database.
database=(--database 'postgres://canister_arbiter@database/canister'
    --database-certificate /i1/server.crt --database-key /i1/server.key)

fail() {
    echo "setup: $*" >&2
    exit 1
}

# Whether a certificate is the authority's, its key's, under these names, and that for as long as
# it takes until somebody starts all this again.
is_good() {
    local folder=$1 names
    shift
    openssl verify -attime "$(date --date "120 days" +%s)" -CAfile "$authority/ca.crt" \
        "$folder/server.crt" >/dev/null 2>&1 || return 1
    [ "$(openssl x509 -in "$folder/server.crt" -noout -pubkey)" = \
        "$(openssl pkey -in "$folder/server.key" -pubout)" ] || return 1
    names=$(openssl x509 -in "$folder/server.crt" -noout -ext subjectAltName | tail -n +2 |
        tr , '\n' | sed 's/^ *//; s/^DNS://; s/^IP Address://' | sort)
    [ "$names" = "$(printf '%s\n' "$@" | sort)" ]
}

# Key and certificate of a server, unless there are good ones.
server() {
    local folder=$1 new
    shift
    ! is_good "$folder" "$@" || return 0
    new=$(mktemp -d "$folder/new.XXXXXX")
    canister-arbiter ca server --dir "$authority" --out "$new" --as server "$@" >/dev/null
    mv "$new/server.key" "$new/server.crt" "$folder"
    rm -r "$folder"/new.*
    echo "setup: a certificate for $*"
}

certificates() {
    local sources=${CANISTER_SOURCES:-} hosts
    case $sources in
    http://* | https://*) ;;
    *) [ -r "$sources" ] || fail "no source list: a file sources.json in packaging/docker/arbiter, or" \
        "its address in the variable CANISTER_SOURCES would work" ;;
    esac
    read -ra hosts <<<"${CANISTER_HOST:-}"
    [ -e "$authority/crl.pem" ] || canister-arbiter ca init --dir "$authority" >/dev/null
    # Nobody gets into the database by a list that is past its date, as after a summer switched off.
    canister-arbiter ca crl --dir "$authority" >/dev/null
    # The first name is the one in pg_ident.conf.
    for arbiter in i1 i2 i3; do
        server "/$arbiter" "$arbiter.peer.canister.me" "$arbiter" "${hosts[@]}"
    done
    server /server database "${hosts[@]}"
}

agents() {
    local agent
    for agent in agent1 agent2; do
        # Renewed by its own arbiter, it ends only if it didn't run for months.
        if [ -e "/$agent/peer.crt" ] && ! openssl x509 -in "/$agent/peer.crt" -noout -checkend 0 >/dev/null; then
            rm "/$agent"/peer.*
        fi
        [ ! -e "/$agent/peer.crt" ] || continue
        [ -e "/$agent/peer.csr" ] || canister-agent request --dir "/$agent" "$agent" >/dev/null
        canister-arbiter ca sign --dir "$authority" "${database[@]}" --out "/$agent/peer.crt" "/$agent/peer.csr"
    done
}

case ${1:-} in
"") certificates ;;
agents) agents ;;
*)
    command=$1
    shift
    options=(--dir "$authority")
    # Servers have no role.
    case "$command $*" in
    *--server*) ;;
    sign* | revoke*) options+=("${database[@]}") ;;
    esac
    exec canister-arbiter ca "$command" "${options[@]}" "$@"
    ;;
esac
