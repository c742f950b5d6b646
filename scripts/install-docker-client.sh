#!/bin/sh
# Makes sure that there is Docker's client, for the tests: scripts/install-docker-client.sh DIRECTORY. One that is on the
# PATH is left alone; otherwise Debian's is put into the directory. Only the client: on Debian 12 it comes in one package
# with the daemon, which must not be started, or even installed, for a test.
set -eu
directory=$1
if command -v docker >/dev/null || [ -x "$directory/docker" ]; then
    exit 0
fi
apt-get update -q
package=docker.io
apt-cache show docker-cli >/dev/null 2>&1 && package=docker-cli
echo "Taking Docker's client from the package $package"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
(cd "$scratch" && apt-get download -q -o APT::Sandbox::User=root "$package")
dpkg-deb --fsys-tarfile "$scratch/$package"_*.deb | tar -x -C "$scratch" ./usr/bin/docker
install -D "$scratch/usr/bin/docker" "$directory/docker"
