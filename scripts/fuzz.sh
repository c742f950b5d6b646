#!/bin/sh
# Builds the fuzz targets and runs each for SECONDS: scripts/fuzz.sh SECONDS [TARGET...], all of them by default.
# libFuzzer with coverage, on a stable compiler: the flags are those that `cargo fuzz` passes to a nightly one, without
# the address sanitizer that only a nightly one has.
set -eu
targets='frames connection archive body dns'
case ${1:-} in
'' | *[!0-9]*)
    echo "usage: $0 SECONDS [TARGET...]; targets: $targets" >&2
    exit 2
    ;;
esac
seconds=$1
shift
[ $# -eq 0 ] || targets=$*
root=$(cd "$(dirname "$0")/.." && pwd)
: "${CARGO_TARGET_DIR:=$root/target}"
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/fuzz"
artifacts=$CARGO_TARGET_DIR/artifacts

coverage='-C passes=sancov-module -C codegen-units=1
    -C llvm-args=-sanitizer-coverage-level=4
    -C llvm-args=-sanitizer-coverage-inline-8bit-counters
    -C llvm-args=-sanitizer-coverage-pc-table
    -C llvm-args=-sanitizer-coverage-trace-compares
    -C llvm-args=-simplifycfg-branch-fold-threshold=0'
# A target triple of its own, so that build scripts and macros are built without these flags.
triple=$("${RUSTC:-rustc}" -vV | sed -n 's/^host: //p')
set --
for target in $targets; do
    set -- "$@" --bin "$target"
    # Only these are worth the time that their dependencies take to build.
    case $target in archive | body | dns) set -- "$@" --features "$target" ;; esac
done
# shellcheck disable=SC2086 # a list of words
RUSTFLAGS=$(echo $coverage --cfg fuzzing) "${CARGO:-cargo}" build --release --locked --target "$triple" \
    --manifest-path "$root/fuzz/Cargo.toml" "$@"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$artifacts"
for target in $targets; do
    echo "== $target: $seconds s"
    # What is found goes to the copy: the corpus that is kept changes by hand only.
    cp -r "$root/fuzz/corpus/$target" "$scratch/$target"
    dictionary=$root/fuzz/dictionaries/$target
    set --
    [ ! -e "$dictionary" ] || set -- "-dict=$dictionary"
    # The largest input is the largest that stays quick; every target sets a tighter limit on memory itself.
    status=0
    "$CARGO_TARGET_DIR/$triple/release/$target" "$@" -max_total_time="$seconds" -max_len=65536 -timeout=10 \
        -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$scratch/found-" "$scratch/$target" \
        >"$scratch/log" 2>&1 || status=$?
    if [ "$status" -ne 0 ]; then
        # From the panic on, if it was one; the rest is libFuzzer's progress.
        if grep -q 'panicked at' "$scratch/log"; then
            sed -n '/panicked at/,$p' "$scratch/log" | head -n 60 >&2
        else
            tail -n 60 "$scratch/log" >&2
        fi
        for found in "$scratch"/found-*; do
            [ -e "$found" ] || continue
            kept=$artifacts/$target-${found##*/found-}
            mv "$found" "$kept"
            echo "fuzz: $target fails; the input is $kept, in base64:" >&2
            base64 "$kept" >&2
        done
        exit 1
    fi
    grep -e '^#[0-9]*[[:space:]]*\(INITED\|DONE\)' -e '^stat::' "$scratch/log"
done
