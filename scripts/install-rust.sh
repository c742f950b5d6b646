#!/bin/sh
# Makes sure that there is a cargo new enough for this workspace (see rust-version in Cargo.toml). One that is on the
# PATH is left alone; otherwise Debian's is installed: rustc where it is new enough, or else rustc-web, which Debian 12 and
# 13 have for browsers.
set -eu
needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

new_enough() {
    found=$(rustc --version 2>/dev/null | cut -d ' ' -f 2) && command -v cargo >/dev/null &&
        [ "$(printf '%s\n%s\n' "$needed" "$found" | sort -V | head -n 1)" = "$needed" ]
}

new_enough && exit 0
if [ "$(id -u)" -ne 0 ]; then
    echo "casemate: Rust $needed or newer is needed; as root this script installs Debian's" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
candidate=$(apt-cache policy rustc | sed -n 's/ *Candidate: //p')
if dpkg --compare-versions "${candidate:-0}" ge "$needed"; then
    apt-get install -q -y --no-install-recommends rustc cargo
else
    apt-get install -q -y --no-install-recommends rustc-web cargo-web
fi
new_enough || {
    echo "casemate: no Rust $needed or newer is to be had from this Debian's packages; see https://rustup.rs" >&2
    exit 1
}
