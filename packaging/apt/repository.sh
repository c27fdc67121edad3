#!/usr/bin/env bash
# Makes or renews a signed apt repository of the project's own packages, so that `apt upgrade` updates
# them. What is served is target/apt/public; target/apt has what reprepro remembers.
#
#     APT_KEY=FINGERPRINT packaging/apt/repository.sh [PACKAGE.deb...]
#
# Without packages those of `make deb` are taken. The key is a secret key of gpg's; GNUPGHOME names
# another folder of such. APT_FOLDER names another folder than target/apt, APT_URL where it will be
# served.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${APT_FOLDER:-target/apt}
url=${APT_URL:-https://apt.canister.me}

fail() {
    echo "apt-repository: $*" >&2
    exit 1
}
for tool in reprepro gpg; do
    command -v $tool >/dev/null || fail "$tool isn't here: apt-get install $tool"
done
[ -n "${APT_KEY:-}" ] || fail "APT_KEY isn't set: the fingerprint of the key to sign with, as \`gpg --list-secret-keys\` shows it"
gpg --batch --list-secret-keys "$APT_KEY" >/dev/null 2>&1 || fail "gpg has no secret key $APT_KEY"
packages=("$@")
if [ $# -eq 0 ]; then
    packages=(target/deb/*.deb)
    [ -e "${packages[0]}" ] || fail "there are no packages in target/deb: make deb"
fi

mkdir -p "$folder/conf" "$folder/public"
cat >"$folder/conf/distributions" <<END
Origin: Canister
Label: Canister
Suite: stable
Codename: stable
Components: main
Architectures: amd64 arm64 armhf
Description: Canister's agent and arbiter
SignWith: $APT_KEY
END
reprepro --silent --basedir "$folder" --outdir "+b/public" includedeb stable "${packages[@]}"
gpg --batch --yes --export --output "$folder/public/canister.gpg" "$APT_KEY"
cat >"$folder/public/canister.sources" <<END
Types: deb
URIs: $url
Suites: stable
Components: main
Signed-By: /usr/share/keyrings/canister.gpg
END
reprepro --basedir "$folder" --outdir "+b/public" list stable
