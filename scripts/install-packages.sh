#!/bin/sh
# Installs the Debian packages named in the given lists, those that are missing only.
set -eu
missing=
for list in "$@"; do
    while read -r package; do
        case $package in '' | '#'*) continue ;; esac
        status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
        case $status in ii*) ;; *) missing="$missing $package" ;; esac
    done <"$list"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
    echo "casemate: these packages are missing; as root: apt-get install$missing" >&2
    exit 1
fi
echo "Installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# shellcheck disable=SC2086 # a list of words
apt-get install -q -y --no-install-recommends $missing
