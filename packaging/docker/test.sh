#!/usr/bin/env bash
# Runs the images on this machine's Docker engine as the README says: an arbiter and a peer with
# read-only file systems, without root and within their limits. A source is indexed, both are
# healthy, and both come through a docker kill and a cut of the network between them.
#
# Fails, saying so, where no engine answers.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() {
    echo "image test: $*" >&2
    exit 1
}
docker version >/dev/null 2>&1 || fail "no Docker engine answers here, so nothing was tested; as root: dockerd"
for image in canister-agent canister-arbiter; do
    docker image inspect "$image" >/dev/null 2>&1 || fail "no image $image; make image would work"
done

run=canister-test-$$
work=$(mktemp -d)
cleanup() {
    docker rm --force "$run-arbiter" "$run-agent" >/dev/null 2>&1 || true
    docker network rm "$run" >/dev/null 2>&1 || true
    [ -z "${server:-}" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
chmod 755 "$work"
user=$(id -u):$(id -g)

# Waits for a command to succeed; a minute and a half at most.
await() {
    local what=$1
    shift
    for _ in $(seq 180); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.5
    done
    docker logs "$run-agent" 2>&1 | tail -5 >&2
    docker logs "$run-arbiter" 2>&1 | tail -5 >&2
    fail "waited in vain for $what"
}
step() {
    echo "== $*"
}

step "an authority and certificates, made by the image"
mkdir "$work/ca" "$work/state" "$work/peer"
arbiter() {
    docker run --rm --read-only --user "$user" --volume "$work:$work" canister-arbiter "$@"
}
arbiter ca init --dir "$work/ca" >/dev/null
arbiter ca server --dir "$work/ca" "$run-arbiter" >/dev/null
openssl req -new -newkey rsa:2048 -nodes -subj /CN=test-peer \
    -keyout "$work/peer/peer.key" -out "$work/peer/peer.csr" 2>/dev/null
arbiter ca sign --dir "$work/ca" --out "$work/peer/peer.crt" "$work/peer/peer.csr" >/dev/null
cp "$work/ca/ca.crt" "$work/peer"

step "a source on a network with both"
docker network create "$run" >/dev/null
gateway=$(docker network inspect --format '{{(index .IPAM.Config 0).Gateway}}' "$run")
mkdir "$work/source"
cat >"$work/source/Packages" <<END
Package: example
Version: 1.0
Architecture: all
Filename: ./example.deb
Size: 1
Description: an example

END
(cd "$work/source" && printf 'Origin: Tests\nSHA256:\n %s %s Packages\n' \
    "$(sha256sum Packages | cut -d' ' -f1)" "$(stat -c %s Packages)" >Release)
port=$((20000 + $$ % 20000))
(cd "$work/source" && exec python3 -m http.server --bind "$gateway" "$port" >/dev/null 2>&1) &
server=$!
echo "[{\"slug\":\"example\",\"uri\":\"http://$gateway:$port\",\"suite\":\"./\",\"ranking\":1,\"aliases\":[]}]" \
    >"$work/ca/sources.json"
chmod 600 "$work/ca/arbiter.key"

start_arbiter() {
    docker run --detach --name "$run-arbiter" --network "$run" --user "$user" --read-only \
        --health-interval 1s --volume "$work/ca:/etc/canister-arbiter:ro" \
        --volume "$work/state:/var/lib/canister-arbiter" --restart always \
        canister-arbiter run --listen '[::]:8443' --sources /etc/canister-arbiter/sources.json >/dev/null
}
start_arbiter
docker run --detach --name "$run-agent" --network "$run" --user "$user" --restart always \
    --read-only --memory 256m --cpus 0.5 --health-interval 1s \
    --volume "$work/peer:/var/lib/canister-agent" \
    --env CANISTER_ARBITER="wss://$run-arbiter:8443" --env CANISTER_ALLOW_PRIVATE=yes \
    canister-agent >/dev/null

status() {
    docker exec "$run-arbiter" /canister-arbiter "$@"
}
indexed() {
    status sources --json | grep -q '"verdict": "\(indexed\|unchanged\)"'
}
in_session() {
    status status --json | grep -q '"peers_connected": 1'
}
healthy() {
    [ "$(docker inspect --format '{{.State.Health.Status}}' "$1")" = healthy ]
}
await "the source to be indexed" indexed
status search example | grep -q example || fail "the catalogue hasn't got it"
await "a healthy agent" healthy "$run-agent"
await "a healthy arbiter" healthy "$run-arbiter"

step "the agent's owner asks it"
said=$(docker exec "$run-agent" canister-agent status) || fail "status doesn't answer"
case "$said" in
*"session      with "*) ;;
*) fail "status says: $said" ;;
esac
docker exec "$run-agent" canister-agent pause 1h >/dev/null || fail "pause doesn't answer"
docker exec "$run-agent" canister-agent resume >/dev/null || fail "resume doesn't answer"

step "nothing listens in the agent, nothing runs as root"
[ "$(docker inspect --format '{{.HostConfig.ReadonlyRootfs}}' "$run-agent")" = true ] || fail "not read-only"
pid=$(docker inspect --format '{{.State.Pid}}' "$run-agent")
# State 0A is LISTEN. Docker's own resolver listens on 127.0.0.11 (0B00007F).
listening=$(cat "/proc/$pid/net/tcp" "/proc/$pid/net/tcp6" | awk '$4 == "0A" && $2 !~ /^0B00007F/')
[ -z "$listening" ] || fail "the agent's container listens: $listening"
[ "$(docker image inspect --format '{{.Config.User}}' canister-agent)" = 65532:65532 ] || fail "root"

step "docker kill of either"
for which in agent arbiter; do
    docker kill "$run-$which" >/dev/null
    # An engine takes its own kill for an operator's wish, and doesn't restart.
    docker start "$run-$which" >/dev/null
    await "a session after the $which was killed" in_session
done

step "a cut of the network between them"
docker network disconnect "$run" "$run-agent"
sleep 3
docker network connect "$run" "$run-agent"
await "a session after the cut" in_session
docker exec "$run-arbiter" /canister-arbiter sync >/dev/null
await "the source to be asked again" indexed
await "a healthy agent" healthy "$run-agent"

step "SIGTERM ends both by themselves"
docker stop --time 20 "$run-agent" "$run-arbiter" >/dev/null
for which in agent arbiter; do
    code=$(docker inspect --format '{{.State.ExitCode}}' "$run-$which")
    [ "$code" = 0 ] || fail "the $which ended with status $code"
done
echo "image test: all passed"
