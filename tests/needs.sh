#!/usr/bin/env bash
# Makes sure that tools are there: installs them where that is possible without asking (root on
# Debian), else says in one line what to install.
#
#     needs.sh [COMMAND:PACKAGE...]        (what `make test` runs)
set -euo pipefail

# Debian keeps PostgreSQL's programs out of PATH, a folder a version.
for folder in /usr/lib/postgresql/*/bin; do PATH=$PATH:$folder; done

needs=("$@")
[ $# -gt 0 ] || needs=(
    apt-ftparchive:apt-utils
    apt-get:apt
    aptly:aptly
    bzip2:bzip2
    cc:gcc
    chromium:chromium
    curl:curl
    dpkg-deb:dpkg
    faketime:faketime
    fish:fish
    gpg:gpg
    gpg-agent:gpg-agent
    gpgconf:gpgconf
    gpgv:gpgv
    gzip:gzip
    initdb:postgresql
    ip:iproute2
    openssl:openssl
    promtool:prometheus
    psql:postgresql-client
    python3:python3
    reprepro:reprepro
    script:bsdutils
    setpriv:util-linux
    sha256sum:coreutils
    ssh-keygen:openssh-client
    unshare:util-linux
    xz:xz-utils
    zsh:zsh
    zstd:zstd
)

# Modules of Debian's own python3, whichever other python3 comes first.
modules=()
[ $# -gt 0 ] || modules=(
    base58:python3-base58
    cryptography:python3-cryptography
    html5lib:python3-html5lib
    prometheus_client:python3-prometheus-client
)

missing() {
    for need in "${modules[@]}"; do
        /usr/bin/python3 -c "import ${need%%:*}" >/dev/null 2>&1 || echo "${need##*:}"
    done
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
echo "needs: these Debian packages are missing: apt-get install ${packages[*]}" >&2
exit 1
