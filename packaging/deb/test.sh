#!/usr/bin/env bash
# Tests the packages in target/deb as they would be published: lintian, the units, and install,
# upgrade from an older version, remove and purge in a clean Debian root. Needs root.
#
# The packages of other architectures are looked into, and their programs run under emulation;
# maintainer scripts and units are the same in all.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() {
    echo "deb test: $*" >&2
    exit 1
}
step() {
    echo "== $*"
}

[ "$(id -u)" -eq 0 ] || fail "debootstrap needs root: sudo $0 would work"
tests/needs.sh lintian:lintian mandoc:mandoc qemu-aarch64-static:qemu-user-static \
    qemu-arm-static:qemu-user-static systemd-analyze:systemd
shopt -s nullglob
packages=(target/deb/*.deb)
[ ${#packages[@]} -ge 2 ] || fail "no packages in target/deb; make deb would work"
[ ${#packages[@]} -eq 6 ] || echo "deb test: ${#packages[@]} of 6 packages are there, the others aren't tested"

step "lintian: no errors, no warnings"
for package in "${packages[@]}"; do
    said=$(lintian --allow-root --fail-on error,warning "$package" 2>/dev/null) || fail "$package: $said"
done

step "programs of other architectures run and are static"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for package in target/deb/*_arm64.deb target/deb/*_armhf.deb; do
    case $package in
    *_arm64.deb) emulator=(qemu-aarch64-static) ;;
    *) emulator=(qemu-arm-static -cpu arm1176) ;;
    esac
    name=$(dpkg-deb --field "$package" Package)
    rm -rf "$work/root"
    dpkg-deb --extract "$package" "$work/root"
    said=$("${emulator[@]}" "$work/root/usr/bin/$name" --version) || fail "$package: $name doesn't run"
    [ "$said" = "$name $(dpkg-deb --field "$package" Version | sed 's/-[0-9]*$//')" ] ||
        fail "$package: it says $said"
done

step "man pages"
for page in target/deb/*.1; do
    mandoc -Tlint -Wwarning "$page" || fail "$page isn't well-formed"
done

step "a clean Debian root"
archive=$(packaging/debian-root.sh machine) || fail "there is none"
root=$work/debian
mkdir "$root"
tar -C "$root" -xf "$archive"
inside() {
    chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@" </dev/null
}

for name in canister-agent canister-arbiter; do
    package=$(echo target/deb/${name}_*_amd64.deb)
    version=$(dpkg-deb --field "$package" Version)
    case $name in
    canister-agent)
        key=/var/lib/canister-agent/peer.key certificate=/var/lib/canister-agent/peer.crt
        conffiles=(/etc/default/canister-agent)
        ;;
    *)
        key=/etc/canister-arbiter/arbiter.key certificate=/etc/canister-arbiter/arbiter.crt
        conffiles=(/etc/canister-arbiter/arbiter.toml /etc/default/canister-arbiter)
        ;;
    esac

    step "$name: install"
    [ "$(dpkg-deb --info "$package" conffiles | sort)" = "$(printf '%s\n' "${conffiles[@]}" | sort)" ] ||
        fail "the conffiles aren't ${conffiles[*]}"
    # The same package as an older version with older settings, for the upgrade.
    dpkg-deb --raw-extract "$package" "$work/old"
    sed -i 's/^Version: .*/Version: 0.0.1-1/' "$work/old/DEBIAN/control"
    for file in "${conffiles[@]}"; do
        echo "# old" >>"$work/old$file"
    done
    dpkg-deb --build --root-owner-group "$work/old" "$root/old.deb" >/dev/null
    rm -rf "$work/old"
    cp "$package" "$root/new.deb"
    said=$(inside dpkg --install /old.deb 2>&1) || fail "install: $said"
    lines=$(grep -Ec "^$name: (stopped, for there is no certificate|to take part, type)" <<<"$said") || true
    [ "$lines" -eq 1 ] || fail "install doesn't say in one line what to do: $said"
    [ "$(inside "$name" --version)" = "$name ${version%-*}" ] || fail "$name doesn't run"
    inside getent passwd "$name" >/dev/null || fail "no user $name"
    [ "$(inside systemctl is-enabled "$name")" = enabled ] || fail "the unit isn't enabled"
    [ "$name" != canister-agent ] || [ "$(inside systemctl is-enabled "$name.path")" = enabled ] ||
        fail "what starts the service after \`join\` isn't enabled"

    step "$name: the unit"
    inside systemd-analyze verify --man=no "/usr/lib/systemd/system/$name.service" || fail "verify"
    inside systemd-analyze security --offline=true --threshold=15 "$name.service" >"$work/security" 2>&1 ||
        fail "$(tail -1 "$work/security")"
    tail -1 "$work/security"

    step "$name: upgrade keeps key and settings"
    echo "a key" >"$root$key"
    chmod 600 "$root$key"
    echo "a certificate" >"$root$certificate"
    # What was changed stays, with its mode, and what is new comes beside it; nothing is asked, for
    # there is nobody to answer.
    mine=${conffiles[0]}
    echo "# mine" >>"$root$mine"
    chmod 600 "$root$mine"
    said=$(inside dpkg --force-confdef --force-confold --install /new.deb 2>&1) || fail "upgrade: $said"
    ! grep -Eq "stopped, for|to take part" <<<"$said" || fail "upgrade: there is a certificate: $said"
    [ "$(inside dpkg-query --show --showformat '${Version} ${Status}' "$name")" = "$version install ok installed" ] ||
        fail "upgrade"
    grep -q "^# mine" "$root$mine" || fail "upgrade lost the settings"
    [ "$(stat -c %a "$root$mine")" = 600 ] || fail "upgrade opened the settings to others"
    cmp --quiet "$root$mine.dpkg-dist" <(dpkg-deb --fsys-tarfile "$package" | tar -xO ".$mine") ||
        fail "the new settings aren't beside the changed ones"
    # What was not changed is replaced.
    for file in "${conffiles[@]:1}"; do
        ! grep -q "^# old" "$root$file" || fail "upgrade left the old $file"
    done
    [ "$(cat "$root$key")" = "a key" ] || fail "upgrade lost the key"

    step "$name: remove, purge: nothing is asked, the key stays"
    said=$(inside dpkg --remove "$name" 2>&1) || fail "remove: $said"
    [ ! -e "$root/usr/bin/$name" ] || fail "remove left the program"
    for file in "$key" "${conffiles[@]}"; do
        [ -e "$root$file" ] || fail "remove lost $file"
    done
    said=$(inside dpkg --purge "$name" 2>&1) || fail "purge: $said"
    [ "$(cat "$root$key")" = "a key" ] || fail "purge lost the key"
    for file in "${conffiles[@]}"; do
        [ ! -e "$root$file" ] || fail "purge left $file"
    done
    grep -q "still" <<<"$said" || fail "purge doesn't say where the key is: $said"
    ! inside dpkg-query --show "$name" >/dev/null 2>&1 || fail "purge left the package"

    step "$name: installed again, the key is used; without one, purge leaves nothing"
    inside dpkg --install /new.deb >/dev/null 2>&1 || fail "install again"
    [ "$(cat "$root$key")" = "a key" ] || fail "a new install lost the key"
    rm "$root$key" "$root$certificate"
    inside dpkg --purge "$name" >/dev/null 2>&1 || fail "purge"
    left=$(cd "$root" && find etc var/lib usr -path "*$name*" -not -path 'var/lib/dpkg/*') || true
    [ -z "$left" ] || fail "purge left $left"
done
echo "deb test: all passed"
