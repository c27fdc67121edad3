#!/usr/bin/env bash
# Brings the arbiter host of compose.yaml up on this machine's Docker engine, from nothing and with
# the one command of docs/operating.md. Two agents index four apt repositories; then each container
# is killed, all at once, and each network between them is cut, every time while a source is being
# read. What the database has published is compared with what the repositories hold.
#
# Fails, saying so, where no engine answers.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() {
    echo "compose test: $*" >&2
    exit 1
}
docker version >/dev/null 2>&1 || fail "no Docker engine answers here, so nothing was tested; as root: dockerd"
if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
elif command -v docker-compose >/dev/null; then
    compose=(docker-compose)
else
    fail "no docker compose and no docker-compose; apt-get install docker-compose would work"
fi
compose+=(-f packaging/docker/compose.yaml)
for image in canister-agent canister-arbiter; do
    docker image inspect "${CANISTER_IMAGES:-}$image" >/dev/null 2>&1 ||
        fail "no image ${CANISTER_IMAGES:-}$image; make image would work"
done
tests/needs.sh apt-ftparchive:apt-utils
if ! docker image inspect debian:bookworm-slim >/dev/null 2>&1 && ! docker pull --quiet debian:bookworm-slim >/dev/null 2>&1; then
    archive=$(packaging/debian-root.sh image)
    docker import "$archive" debian:bookworm-slim >/dev/null
fi

run=canister-compose-$$
work=$(mktemp -d)
# Loopback addresses of its own, for the ports are the same in each test.
address=127.$((1 + $$ / 62500 % 250)).$((1 + $$ / 250 % 250)).$((1 + $$ % 250))
export COMPOSE_PROJECT_NAME=$run CANISTER_ADDRESS=$address CANISTER_PUBLIC=$address CANISTER_HOST=$address
# The repositories are on this machine.
export CANISTER_ALLOW_PRIVATE=yes
agents=(agent1 agent2)
arbiters=(i1 i2 i3)
all=(database "${arbiters[@]}" "${agents[@]}")
declare -A id

cleanup() {
    "${compose[@]}" down --volumes --remove-orphans --timeout 1 >/dev/null 2>&1 || true
    [ -z "${server:-}" ] || kill "$server" 2>/dev/null || true
    docker network rm "$run-a" "$run-b" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap cleanup EXIT

step() {
    printf '== %3d s: %s\n' "$SECONDS" "$*"
}
# Waits for a command to succeed; three minutes at most, for a lease that nobody renews lives for one.
await() {
    local what=$1 until=$((SECONDS + 180))
    shift
    while [ $SECONDS -lt $until ]; do
        "$@" >/dev/null 2>&1 && return
        sleep 0.5
    done
    "${compose[@]}" logs --tail 12 >&2 || true
    diff <(held) <(published) >&2 || true
    fail "waited in vain for $what"
}

# --- four repositories, made with apt's own tools, of two operators ---------------------------------

# slug, what is below its folder: a flat repository, or one with a suite.
declare -A site=([flat]=a [suites]=a [slow]=b [small]=b)
# Another package, or another version of one, in a repository.
release=0
change() {
    local slug=$1 folder=$work/${site[$1]}/$1 below package
    release=$((release + 1))
    package=$work/package
    rm -rf "$package"
    mkdir -p "$package/DEBIAN" "$folder/pool"
    printf '%s\n' "Package: $slug-$((release % 3))" "Version: 1.$release" "Architecture: amd64" \
        "Maintainer: Tests <tests@example.org>" "Description: change $release" >"$package/DEBIAN/control"
    dpkg-deb --build --root-owner-group "$package" "$folder/pool/$release.deb" >/dev/null
    (
        cd "$folder"
        below=.
        [ "$slug" != suites ] || below=dists/stable
        [ "$slug" != suites ] || mkdir -p "$below/main/binary-amd64"
        packages=Packages
        [ "$slug" != suites ] || packages=$below/main/binary-amd64/Packages
        apt-ftparchive packages pool >"$packages"
        xz --keep --force "$packages"
        rm -f "$below/Release"
        # Made elsewhere, or it would be listed in itself.
        apt-ftparchive -o "APT::FTPArchive::Release::Suite=stable" release "$below" >"$work/Release"
        mv "$work/Release" "$below/Release"
    )
}
serve() {
    exec python3 - "$work" "$port" "$@" <<'PYTHON'
import functools, http.server, sys, threading, time

class Source(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        # Long enough to be killed meanwhile.
        if self.path.startswith("/slow/Packages"):
            time.sleep(6)
        super().do_GET()
    def log_message(self, *_):
        pass

work, port, *addresses = sys.argv[1:]
for folder, address in zip("ab", addresses):
    handler = functools.partial(Source, directory=f"{work}/{folder}")
    server = http.server.ThreadingHTTPServer((address, int(port)), handler)
    threading.Thread(target=server.serve_forever).start()
PYTHON
}

# --- what is to be seen ------------------------------------------------------------------------------

sql() {
    docker exec "${id[database]}" psql --no-psqlrc --username postgres --dbname canister -Atc "$1"
}
# What the repositories hold, and what the database has published: a line a package.
held() {
    local slug
    for slug in "${!site[@]}"; do
        find "$work/${site[$slug]}/$slug" -name Packages -exec awk -v slug="$slug" '
            /^(Package|Version|SHA256): / { field[$1] = $2 }
            /^$/ { print slug "|" field["Package:"] "|" field["Version:"] "|" field["SHA256:"] }' {} +
    done | sort
}
published() {
    sql "SELECT repository_id, package_id, version, sha256_hash FROM package WHERE visible" | sort
}
is_settled() {
    [ "$(published)" = "$(held)" ] && [ "$(sql 'SELECT count(*) FROM arbiter.lease')" = 0 ]
}
# Who reads the slow source.
holder() {
    sql "SELECT peer FROM arbiter.lease WHERE slug = 'slow'"
}
is_leased() {
    [ -n "$(holder)" ]
}
is_healthy() {
    local service
    for service in "$@"; do
        [ "$(docker inspect --format '{{.State.Health.Status}}' "${id[$service]}")" = healthy ] || return 1
    done
}
# A command of an arbiter's.
ask() {
    docker exec "${id[$1]}" /canister-arbiter "${@:2}"
}

# Changes two sources and tells an arbiter; returns while the slow one is being read.
begin() {
    change slow
    change "$2"
    ask "$1" sync slow >/dev/null
    ask "$1" sync "$2" >/dev/null
    await "a lease of the slow source" is_leased
}
# All is well again: what was begun is done, all are healthy, and what the one that was away is told
# now is done, too.
recovered() {
    await "what was begun to be published" is_settled
    await "all to be healthy" is_healthy "${all[@]}"
    change small
    ask "$1" sync small >/dev/null
    await "another change to be published" is_settled
}
# How an agent writes, by the last it said of it.
writes() {
    docker logs "${id[$1]}" 2>&1 | sed -n 's/.*rows are \(written into the database directly\|relayed by the arbiter\).*/\1/p' | tail -1
}
write_directly() {
    local agent
    for agent in "$@"; do
        [ "$(writes "$agent")" = "written into the database directly" ] || return 1
    done
}
all_write_directly() {
    ! write_directly "${agents[@]}" || return 0
    # Who has nothing to write says nothing.
    is_settled || return 1
    change flat
    change small
    ask i1 sync flat
    ask i1 sync small
    return 1
}
# An engine takes its own kill for the operator's wish and doesn't restart.
start() {
    [ "$(docker inspect --format '{{.State.Status}}' "${id[$1]}")" = exited ] || fail "$1 was started by itself"
    docker start "${id[$1]}" >/dev/null
}
started() {
    docker inspect --format '{{.State.StartedAt}}' "${id[@]}"
}
# Keys, certificates and their modes, of all volumes but what was handed out.
files() {
    local volume volumes=()
    for volume in authority root issuer server i1 i2 i3 agent1 agent2; do
        volumes+=(--volume "${run}_$volume:/v/$volume:ro")
    done
    docker run --rm --network none "${volumes[@]}" --entrypoint find canister-database /v -name issued -prune -o -type f \
        '(' -name '*.key' -o -name '*.crt' ')' -printf '%m %U ' -exec sha256sum {} \; | sort
}

# --- the test ----------------------------------------------------------------------------------------

step "four repositories on two networks"
gateways=()
for network in a b; do
    docker network create "$run-$network" >/dev/null
    gateways+=("$(docker network inspect --format '{{(index .IPAM.Config 0).Gateway}}' "$run-$network")")
done
for slug in "${!site[@]}"; do
    for _ in 1 2 3; do
        change "$slug"
    done
done
port=$((20000 + $$ % 20000))
for slug in "${!site[@]}"; do
    gateway=${gateways[0]}
    [ "${site[$slug]}" = a ] || gateway=${gateways[1]}
    layout='"suite": "./"'
    [ "$slug" != suites ] || layout='"suite": "stable", "component": "main", "binary": "amd64"'
    echo "{\"slug\": \"$slug\", \"uri\": \"http://$gateway:$port/$slug\", $layout, \"ranking\": 1, \"aliases\": []}"
done | paste -sd, | sed 's/.*/[&]/' >"$work/a/sources.json"
serve "${gateways[@]}" &
server=$!

step "without a source list it says what would work"
# The image may be left of an earlier commit.
"${compose[@]}" build >"$work/log" 2>&1 || fail "build: $(tail -3 "$work/log")"
said=$(CANISTER_SOURCES=/none.json "${compose[@]}" run --rm -T setup 2>&1) && fail "it started without a source list"
grep -q "^setup: no source list: .* would work" <<<"$said" || fail "it says $said"

step "up"
export CANISTER_SOURCES=http://${gateways[0]}:$port/sources.json
up() {
    local service
    "${compose[@]}" up -d >"$work/log" 2>&1 || fail "up: $(tail -3 "$work/log")"
    for service in "${all[@]}"; do
        id[$service]=$("${compose[@]}" ps -q "$service")
    done
    await "all to be healthy" is_healthy "${all[@]}"
}
up
await "all sources to be published" is_settled
for agent in "${agents[@]}"; do
    [ "$(writes "$agent")" != "relayed by the arbiter" ] || fail "$agent doesn't write into the database itself"
done
await "both agents to write into the database" all_write_directly

step "the root's key is taken away"
tool() {
    "${compose[@]}" run --rm --no-deps -T --entrypoint "$1" ca "${@:2}" 2>"$work/log" || fail "$*: $(cat "$work/log")"
}
tool tar -C /authority -c root | tar -xC "$work"
openssl pkey -in "$work/root/root.key" -noout || fail "the root's key isn't in what was taken away"
tool rm /authority/root/root.key /authority/root/root.crt

step "keys are their owner's, nothing runs as root or writes to its file system"
made=$(files)
[ "$(grep -c '\.key$' <<<"$made")" -eq 7 ] || fail "not seven keys: $made"
! grep '\.key$' <<<"$made" | grep -v '^600 65532 ' || fail "a key is open"
for service in "${all[@]}"; do
    said=$(docker inspect --format '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.Config.User}}' "${id[$service]}")
    [ "$said" = "true [ALL] 65532:65532" ] || fail "$service: $said"
done
for agent in "${agents[@]}"; do
    said=$(docker inspect --format '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}' "${id[$agent]}")
    [ "$said" = "268435456 500000000" ] || fail "$agent: $said"
done

step "a peer from elsewhere: signed, let in, revoked"
mkdir "$work/peer"
openssl req -new -newkey rsa:2048 -nodes -subj /CN=elsewhere \
    -keyout "$work/peer/peer.key" -out "$work/peer/peer.csr" 2>/dev/null
ca() {
    "${compose[@]}" run --rm --no-deps -T ca "$@"
}
ca sign /dev/stdin <"$work/peer/peer.csr" >"$work/peer/peer.crt" 2>"$work/log" || fail "sign: $(cat "$work/log")"
"${compose[@]}" exec -T database cat /authority/ca.crt >"$work/peer/ca.crt"
chmod 755 "$work"
check() {
    docker run --rm --network host --user "$(id -u):$(id -g)" --volume "$work/peer:/var/lib/canister-agent" \
        "${CANISTER_IMAGES:-}canister-agent" check --arbiter "wss://$address:8445"
}
await "it to be let in" check
ca revoke --why "a test" elsewhere >/dev/null 2>&1
! check >"$work/log" 2>&1 || fail "it is let in although it was revoked: $(cat "$work/log")"
[ "$(sql "SELECT count(*) FROM arbiter.role WHERE peer = 'elsewhere'")" = 0 ] || fail "its role is left"
await "the database to have the new list" \
    docker exec "${id[database]}" cmp /authority/crl.pem /etc/canister-postgresql/revoked.crl

following=i3
for service in "${arbiters[@]}"; do
    step "docker kill of $service"
    begin "$following" flat
    docker kill "${id[$service]}" >/dev/null
    await "the others to go on without $service" is_settled
    start "$service"
    await "$service to be healthy" is_healthy "$service"
    recovered "$service"
    following=$service
done

step "docker kill of the agent that reads"
begin i1 suites
first=$(holder)
docker kill "${id[$first]}" >/dev/null
await "the other agent to go on without $first" is_settled
start "$first"
recovered i2

second=agent1
[ "$first" != agent1 ] || second=agent2
step "docker kill of $second"
begin i1 flat
docker kill "${id[$second]}" >/dev/null
await "the other agent to go on without $second" is_settled
start "$second"
recovered i3

step "docker kill of the database"
before=$(published)
begin i1 suites
docker kill "${id[database]}" >/dev/null
sleep 5
start database
await "the database" is_healthy database
[ -z "$(comm -23 <(echo "$before") <(published))" ] || fail "what was published is lost"
recovered i2

step "all of them die at once, and the engine starts them again"
begin i3 flat
before=$(started)
pids=$(docker inspect --format '{{.State.Pid}}' "${id[@]}")
# From outside, as the kernel does it, so that the engine doesn't take it for the operator's wish.
docker run --rm --pid host --network none --user 0 --entrypoint bash canister-database -c "kill -9 ${pids//$'\n'/ }"
have_started() {
    [ -z "$(comm -12 <(echo "$before" | sort) <(started | sort))" ]
}
await "all to be started again" have_started
recovered i1

cut() {
    local network=$1 service
    shift
    for service in "$@"; do
        docker network disconnect "${run}_$network" "${id[$service]}"
    done
}
join() {
    local network=$1 service
    shift
    for service in "$@"; do
        docker network connect "${run}_$network" "${id[$service]}"
    done
}

step "a cut between agents and arbiters"
begin i1 suites
cut sessions "${agents[@]}"
sleep 10
join sessions "${agents[@]}"
recovered i1

step "a cut between agents and the database"
begin i2 flat
cut rows "${agents[@]}"
await "the arbiters to relay rows" is_settled
[ "$(writes agent1; writes agent2)" != "$(printf 'written into the database directly\n%.0s' 1 2)" ] ||
    fail "rows were written through a network that is cut"
join rows "${agents[@]}"
recovered i2
await "both agents to write into the database again" all_write_directly

step "a cut between arbiters and the database"
begin i3 suites
cut store "${arbiters[@]}"
sleep 10
join store "${arbiters[@]}"
recovered i3

step "down, and up: the same certificates, the same rows"
before=$(published)
"${compose[@]}" down >"$work/log" 2>&1 || fail "down: $(tail -3 "$work/log")"
[ "$(files)" = "$made" ] || fail "keys or certificates changed"
up
[ "$(files)" = "$made" ] || fail "keys or certificates changed"
[ "$(published)" = "$before" ] || fail "rows changed"
recovered i1

step "all passed"
