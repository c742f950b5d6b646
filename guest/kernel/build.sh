#!/bin/bash
# Builds the guest kernel of the utility VM from Debian's kernel source, once per set of inputs.
#
#   build.sh OUT_VMLINUX                build if needed, then put the kernel at OUT_VMLINUX
#   build.sh --print-path               print where the cached kernel is or would be; build nothing
#   build.sh --print-path OUT_VMLINUX   both: build if needed, put it there, print the cached path
#
# Owns ${CASEMATE_CACHE:-/var/cache/casemate}/kernel/<key>/{vmlinux,config,build.log}. The key is a
# hash of everything that decides the result. An entry appears by one rename when it is complete;
# a lock per key makes a second build of the same kernel wait for the first. A failed build leaves
# its log beside the entry's place (<key>.failed.log) and nothing else.
#
# Installs nothing: packages.txt names what must be there. Exit code 1: could not build; 2: usage.
set -euo pipefail
export LC_ALL=C

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
package=linux-source-6.12
tarball=/usr/src/$package.tar.xz
fragment=$here/config.fragment
# How many lines a whole build logs, for the percentage shown; being wrong harms nothing else.
expected_lines=1940

fail() {
    printf 'guest kernel: %s\n' "$@" >&2
    exit 1
}

usage() {
    sed -n '4,6s/^# *//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

check_packages() {
    local name missing=()
    while read -r name; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || missing+=("$name")
    done <"$here/packages.txt"
    ((${#missing[@]} == 0)) || fail "missing packages; install them with" "    apt-get install --no-install-recommends ${missing[*]}"
    [[ -r $tarball ]] || fail "$package is installed but $tarball is missing"
    [[ $(uname -m) == x86_64 ]] || fail "builds on x86_64 only, this is $(uname -m)"
}

inputs_key() {
    {
        cat -- "${BASH_SOURCE[0]}" "$fragment"
        sha256sum "$here"/patches/*.patch | cut -d' ' -f1
        dpkg-query -W -f '${Package} ${Version}\n' "$package"
        gcc --version | head -n1
        ld --version | head -n1
    } | sha256sum | cut -d' ' -f1
}

# The same kernel from the same inputs, whoever builds it, wherever, and from whatever make.
kernel_make() {
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES -u CROSS_COMPILE -u KBUILD_OUTPUT -u KCONFIG_CONFIG \
        ARCH=x86_64 KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' KBUILD_BUILD_VERSION=1 \
        KBUILD_BUILD_USER=casemate KBUILD_BUILD_HOST=casemate \
        make -C "$1" "${@:2}"
}

# Reads the build's output; shows one moving line on a terminal, a line every 30 seconds elsewhere.
show_progress() {
    local lines=0 shown=0 percent line
    while IFS= read -r line; do
        lines=$((lines + 1))
        percent=$((lines * 100 / expected_lines))
        ((percent < 99)) || percent=99
        if [[ -t 2 ]]; then
            ((SECONDS == shown)) || printf '\rguest kernel: building, %d%% after %d s ' "$percent" "$SECONDS" >&2
            shown=$SECONDS
        elif ((SECONDS >= shown + 30)); then
            printf 'guest kernel: building, %d%% after %d s\n' "$percent" "$SECONDS" >&2
            shown=$SECONDS
        fi
    done
    [[ ! -t 2 ]] || printf '\r\033[K' >&2
}

# The options of the fragment that the finished configuration ($1) does not have as asked.
lost_options() {
    local line name
    while IFS= read -r line; do
        [[ $line == CONFIG_*=* ]] || continue
        name=${line%%=*}
        if [[ ${line#*=} == n ]]; then
            ! grep -q "^$name=" "$1" || printf '    %s (is %s)\n' "$line" "$(grep "^$name=" "$1")"
        else
            grep -qxF -- "$line" "$1" || printf '    %s (is %s)\n' "$line" "$(grep -E "^$name=|^# $name is" "$1" || echo absent)"
        fi
    done <"$fragment"
}

# The three steps run on the left of ||, where bash ignores -e: each line returns by itself.
unpack() {
    local patch
    mkdir "$1" || return
    tar -xf "$tarball" -C "$1" --strip-components=1 || return
    for patch in "$here"/patches/*.patch; do
        patch -d "$1" -p1 --no-backup-if-mismatch <"$patch" || return
    done
}

configure() {
    local tree=$1 lost
    kernel_make "$tree" allnoconfig || return
    (cd "$tree" && scripts/kconfig/merge_config.sh -m .config "$fragment") || return
    kernel_make "$tree" olddefconfig || return
    lost=$(lost_options "$tree/.config")
    [[ -z $lost ]] || {
        printf 'options of config.fragment that the configuration does not have:\n%s\n' "$lost"
        return 1
    }
}

compile() {
    kernel_make "$1" -j"$(nproc)" vmlinux
}

# Keeps the log of what failed and quotes its end.
fail_with_log() {
    cp -- "$log" "$entry.failed.log"
    printf 'guest kernel: %s failed; the end of %s:\n' "$1" "$entry.failed.log" >&2
    tail -n 25 -- "$log" >&2
    exit 1
}

build() {
    log=$work/entry/build.log
    SECONDS=0
    # This key's lock is held: what lies here is from a build that was killed.
    rm -rf -- "$work"
    trap 'rm -rf -- "$work"' EXIT
    mkdir -p -- "$work/entry"
    printf 'guest kernel: building %s, once; this takes some minutes\n' \
        "$(dpkg-query -W -f '${Package} ${Version}' "$package")" >&2
    unpack "$work/source" >>"$log" 2>&1 || fail_with_log unpacking
    configure "$work/source" >>"$log" 2>&1 || fail_with_log configuring
    compile "$work/source" 2>&1 | tee -a "$log" | show_progress || fail_with_log compiling
    strip -o "$work/entry/vmlinux" "$work/source/vmlinux" >>"$log" 2>&1 || fail_with_log stripping
    cp -- "$work/source/.config" "$work/entry/config"
    chmod 644 -- "$work/entry"/*
    rm -f -- "$entry.failed.log"
    mv -T -- "$work/entry" "$entry"
    printf 'guest kernel: built in %d s\n' "$SECONDS" >&2
}

# A link where the file system allows it; complete or absent at any moment.
deliver() {
    local from=$1 to=$2 part=$2.part.$$
    mkdir -p -- "$(dirname -- "$to")"
    ln -f -- "$from" "$part" 2>/dev/null || cp -- "$from" "$part"
    mv -fT -- "$part" "$to"
    # rename(2) between two links of one file succeeds and leaves both
    rm -f -- "$part"
}

print_path=no
if [[ ${1-} == --print-path ]]; then
    print_path=yes
    shift
fi
(($# <= 1)) && [[ ${1-} != -* ]] || usage
[[ $# == 1 || $print_path == yes ]] || usage

check_packages
cache=${CASEMATE_CACHE:-/var/cache/casemate}/kernel
entry=$cache/$(inputs_key)
work=$entry.building
if (($# == 1)); then
    mkdir -p -- "$cache"
    if [[ ! -e $entry/vmlinux ]]; then
        exec 9>"$entry.lock"
        flock -n 9 || {
            printf 'guest kernel: another build of the same kernel is running; waiting for it\n' >&2
            flock 9
        }
        [[ -e $entry/vmlinux ]] || build
        exec 9>&-
    fi
    deliver "$entry/vmlinux" "$1"
fi
[[ $print_path == no ]] || printf '%s\n' "$entry/vmlinux"
