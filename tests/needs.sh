#!/usr/bin/env bash
# Makes sure that the tools which the tests run are there: installs them where that is possible
# without asking (root on Debian), else says in one line what to install.
set -euo pipefail

# Debian keeps PostgreSQL's programs out of PATH, a folder a version.
for folder in /usr/lib/postgresql/*/bin; do PATH=$PATH:$folder; done

# command:package
needs=(
    apt-ftparchive:apt-utils
    apt-get:apt
    bzip2:bzip2
    cc:gcc
    curl:curl
    dpkg-deb:dpkg
    gpg:gpg
    gpg-agent:gpg-agent
    gpgconf:gpgconf
    gpgv:gpgv
    gzip:gzip
    initdb:postgresql
    ip:iproute2
    openssl:openssl
    psql:postgresql-client
    script:bsdutils
    setpriv:util-linux
    sha256sum:coreutils
    unshare:util-linux
    xz:xz-utils
    zstd:zstd
)

missing() {
    for need in "${needs[@]}"; do
        command -v "${need%%:*}" >/dev/null 2>&1 || echo "${need##*:}"
    done
}

mapfile -t packages < <(missing)
[ "${#packages[@]}" -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "needs: installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    install() {
        apt-get -qq -o Dpkg::Use-Pty=0 install --no-install-recommends -y "${packages[@]}" </dev/null
    }
    # A fresh machine has no package lists, an old one has stale ones.
    install >/dev/null 2>&1 || { apt-get -qq update </dev/null && install; } || true
    mapfile -t packages < <(missing)
    [ "${#packages[@]}" -eq 0 ] && exit 0
fi
echo "needs: the tests need these Debian packages: apt-get install ${packages[*]}" >&2
exit 1
