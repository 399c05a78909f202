#!/usr/bin/env bash
# How much of core/ the tests reach: units, the simulator and the fuzz corpora, built with gcov (build/coverage).
#
#   scripts/coverage.sh             build, run, report; fails below 92 % of lines or 80 % of branches
#   scripts/coverage.sh --seeds N   with so many seeds for each scenario of the simulator; else one
#   scripts/coverage.sh --report    report on what the last run has left, file by file
#
# Every line and branch that nothing reached is listed in build/coverage/missing.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/coverage
mkdir -p build
seeds=1
files=
case "${1:-}" in
"") ;;
--report) files=--files ;;
--seeds) seeds=${2:?"--seeds needs a number"} ;;
*)
    echo "coverage.sh: $1 is no option; there are --seeds N and --report" >&2
    exit 2
    ;;
esac
if [ "${1:-}" != --report ]; then
    scripts/setup.sh test
    cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DWEFT_BUILD_TESTS=ON -DWEFT_LTO=OFF \
        -DCMAKE_C_FLAGS='--coverage -fprofile-update=atomic' >"$build.log" 2>&1 ||
        { cat "$build.log"; exit 1; }
    cmake --build "$build" --target unit sim fuzz_targets >>"$build.log" 2>&1 || { tail -n 40 "$build.log"; exit 1; }
    find "$build" -name '*.gcda' -delete
    failed=0
    # What the tests find is the business of `make test`; here a test that fails is only told of.
    for program in "$build"/tests/unit/unit_* "$build"/tests/fuzz/fuzz_*; do
        [ -x "$program" ] && [ -f "$program" ] || continue
        "$program" >"$build/out.txt" 2>&1 || { echo "$(basename "$program") failed"; failed=1; }
    done
    "$build"/tests/sim --seeds "$seeds" >"$build/out.txt" 2>&1 || { grep FAILED "$build/out.txt"; failed=1; }
    [ "$failed" -eq 0 ] || echo "tests failed: what follows may be too little"
fi
exec scripts/coverage.py "$build" --lines 92 --branches 80 $files
