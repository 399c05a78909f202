#!/usr/bin/env bash
# Runs every test and adds up what they say.
#
#   scripts/test.sh                 everything
#   scripts/test.sh unit sim        only groups with these names
#
# Groups: unit (each program of tests/unit, as shipped and under the sanitizers), sim (both builds), fuzz (the targets of
# tests/fuzz over their corpora, under the sanitizers), layers, wolfssl, every executable tests/<group>/run but bench, and
# profiled (the command and the ABI again, as `make install` installs them).
# A runner is told where the builds are (WEFT_BUILD, WEFT_BUILD_ASAN) and ends with a line "N passed, N failed"; unit
# tests end with Check's line. A runner that ends without its line, or fails without owning up to a failure, counts as
# one failed test: a crash cannot pass.
#
# The last line is exactly "N passed, N failed"; the exit code is 0 when nothing failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
root=$PWD
jobs=$(nproc 2>/dev/null || echo 2)
# No test has a time limit of its own. This one only stops what hangs for good.
hang=${WEFT_TEST_HANG:-3600}

export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0:strict_string_checks=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

# --- one runner: runs it, shows its output when it failed, leaves "passed failed" in a file ---------------------------
run_one() { # result file, label, command...
    local result=$1 label=$2 output status passed='' failed='' line
    shift 2
    output=$(timeout --kill-after=10 "$hang" "$@" 2>&1 </dev/null)
    status=$?
    line=$(grep -E '^[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+$|^[0-9]+ passed, [0-9]+ failed$' <<<"$output" | tail -n 1)
    if [[ $line =~ Checks:\ ([0-9]+),\ Failures:\ ([0-9]+),\ Errors:\ ([0-9]+) ]]; then
        failed=$((BASH_REMATCH[2] + BASH_REMATCH[3]))
        passed=$((BASH_REMATCH[1] - failed))
    elif [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=${BASH_REMATCH[1]} failed=${BASH_REMATCH[2]}
    else
        passed=0 failed=1
        output+=$'\n'"$label ended without saying how many tests passed (exit code $status)"
    fi
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
        failed=1
        output+=$'\n'"$label failed (exit code $status) though its tests passed"
    elif [ "$passed" -eq 0 ] && [ "$failed" -eq 0 ]; then
        failed=1
        output+=$'\n'"$label tested nothing"
    fi
    [ "$failed" -ne 0 ] && printf -- '--- %s\n%s\n' "$label" "$output"
    echo "$passed $failed" >"$result"
}

if [ "${1:-}" = --one ]; then # started by run_group, in parallel
    shift
    run_one "$@"
    exit 0
fi

export WEFT_BUILD=$root/build/release WEFT_BUILD_ASAN=$root/build/asan

# --- a group of runners -------------------------------------------------------------------------------------------------
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
total_passed=0 total_failed=0

count() { # group, passed, failed, seconds
    printf '%-24s %6d passed, %d failed  (%d s)\n' "$1" "$2" "$3" "$4"
    total_passed=$((total_passed + $2))
    total_failed=$((total_failed + $3))
}

run_group() { # name, how many at once; on stdin one runner a line
    local name=$1 parallel=$2 began=$SECONDS passed=0 failed=0 runner number=0 file p f
    rm -f "$results"/*
    while read -r runner; do
        number=$((number + 1))
        printf '%s\0%s\0%s\0' "$results/$number" "$name: ${runner#"$root"/}" "$runner"
    done | xargs -0 -r -n 3 -P "$parallel" "$root/scripts/test.sh" --one
    for file in "$results"/*; do
        [ -e "$file" ] || continue
        read -r p f <"$file"
        passed=$((passed + p)) failed=$((failed + f))
    done
    [ "$passed" -eq 0 ] && [ "$failed" -eq 0 ] && failed=1 # a group that is asked for and is not there
    count "$name" "$passed" "$failed" $((SECONDS - began))
}

build() { # preset, then targets, or all; leaves its log only when it fails
    local log=$root/build/$1.log began=$SECONDS
    mkdir -p "$root/build"
    printf 'building (%s) ...\n' "$1"
    if ! { cmake --preset "$1" -DWEFT_BUILD_TESTS=ON -DWEFT_BUILD_EXAMPLES=ON && cmake --build --preset "$1" -- -k 0 "${@:2}"; } >"$log" 2>&1; then
        # What could be built is tested all the same.
        grep -E '(error|warning): |FAILED|undefined reference|^CMake Error' "$log" | head -n 40
        echo "the whole log is $log"
        count "build ($1)" 0 1 $((SECONDS - began))
        return 1
    fi
}

wanted=" $* "
asked() { [ "$wanted" = "  " ] || [[ $wanted == *" $1 "* ]]; }

# The programs that the sources say there should be, not those that happen to lie in the build directory.
unit_programs() { # build directory
    local file room
    for file in tests/unit/*/test_*.c; do
        [ -e "$file" ] || continue
        room=$(basename "$(dirname "$file")")
        file=$(basename "$file" .c)
        echo "$1/tests/unit/unit_${room}_${file#test_}"
    done
}

scripts/setup.sh test || exit 1
build release
build asan

if asked unit; then
    run_group 'unit (release)' "$jobs" < <(unit_programs "$WEFT_BUILD")
    run_group 'unit (sanitizers)' "$jobs" < <(unit_programs "$WEFT_BUILD_ASAN")
fi
if asked sim && ls tests/sim/*.c >/dev/null 2>&1; then
    run_group 'sim (release)' 1 <<<"$WEFT_BUILD/tests/sim"
    run_group 'sim (sanitizers)' 1 <<<"$WEFT_BUILD_ASAN/tests/sim"
fi
if asked fuzz && ls tests/fuzz/fuzz_*.c >/dev/null 2>&1; then
    run_group 'fuzz corpora' "$jobs" < <(for file in tests/fuzz/fuzz_*.c; do
        echo "$WEFT_BUILD_ASAN/tests/fuzz/$(basename "$file" .c)"
    done)
fi
asked layers && run_group layers 1 <<<"$root/tests/layers.py"
asked wolfssl && run_group wolfssl 1 <<<"$root/scripts/check_wolfssl.sh"
for runner in tests/*/run; do
    [ -x "$runner" ] || continue # an unmatched pattern
    group=$(basename "$(dirname "$runner")")
    asked "$group" && [ "$group" != bench ] && run_group "$group" 1 <<<"$root/$runner"
done

# What is installed (WEFT_PGO): laid out, inlined and left out by counts. The command and the ABI go through all rooms.
if asked profiled && build profiled weft weft_shared weft_static cli_raw; then
    WEFT_BUILD=$root/build/profiled WEFT_BUILD_ASAN='' run_group profiled 1 < <(printf '%s\n' "$root"/tests/{cli,abi}/run)
fi

echo "$total_passed passed, $total_failed failed"
[ "$total_failed" -eq 0 ] && [ "$total_passed" -gt 0 ]
