#!/usr/bin/env bash
# Ten million random calls of the ABI under the sanitizers (tests/abi/random_calls.c), then simulates networks with ever new
# seeds until interrupted, or for so many seconds. A failing seed ends the run and is printed, with the command that
# replays it.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-}
case $seconds in *[!0-9]*) echo "soak.sh: '$seconds' is no number of seconds" >&2; exit 2 ;; esac

scripts/setup.sh test
cmake --preset asan -DWEFT_BUILD_TESTS=ON
cmake --build --preset asan --target random_calls
build/asan/tests/abi/random_calls 10000000 "$(date +%s)"
cmake --preset release -DWEFT_BUILD_TESTS=ON
cmake --build --preset release --target sim
exec build/release/tests/sim --soak ${seconds:+--seconds "$seconds"}
