#!/usr/bin/env bash
# Fuzzes each target of tests/fuzz for so many seconds (default 60), one process a core, keeping what it learns in
# build/fuzz/corpus/<target>. The corpora in tests/fuzz/corpus/<target> are where it starts. A crash stops the run and
# leaves its input in build/fuzz/crashes.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
case $seconds in '' | *[!0-9]*) echo "fuzz.sh: '$seconds' is no number of seconds" >&2; exit 2 ;; esac

scripts/setup.sh dev
cmake --preset fuzz
cmake --build --preset fuzz

found=0
for target in build/fuzz/tests/fuzz/fuzz_*; do
    [ -x "$target" ] && [ -f "$target" ] || continue
    found=$((found + 1))
    name=$(basename "$target")
    name=${name#fuzz_}
    corpus=build/fuzz/corpus/$name
    mkdir -p "$corpus" build/fuzz/crashes
    seeds=()
    [ -d "tests/fuzz/corpus/$name" ] && seeds=("tests/fuzz/corpus/$name")
    echo "== $name, $seconds s"
    "$target" -max_total_time="$seconds" -jobs="$(nproc)" -workers="$(nproc)" -print_final_stats=1 \
        -artifact_prefix="build/fuzz/crashes/$name-" "$corpus" "${seeds[@]}"
done
[ "$found" -gt 0 ] || { echo "fuzz.sh: no targets in tests/fuzz" >&2; exit 1; }
rm -f fuzz-[0-9]*.log
