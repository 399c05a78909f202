#!/usr/bin/env bash
# The demonstration: builds weft, serves a gigabyte and 200 small files over QUIC to itself, fetches them back, compares
# the SHA-256 of every one, and says how fast it went and what it cost.
#
# Environment: DEMO_MIB, the size of the large file (default 1024); DEMO_FILES, how many small ones (default 200).
set -euo pipefail
cd "$(dirname "$0")/.."
mib=${DEMO_MIB:-1024}
files=${DEMO_FILES:-200}
weft=$PWD/build/release/weft

say() { printf '\n== %s\n' "$*"; }
die() {
    printf 'demo.sh: %s\n' "$*" >&2
    exit 1
}

say 'building'
make --no-print-directory build
[ -x "$weft" ] || die "the build left no $weft"

work=$(mktemp -d "${TMPDIR:-/tmp}/weft-demo.XXXXXX")
server=
# SC2317: called by trap.
# shellcheck disable=SC2317
cleanup() {
    [ -n "$server" ] && kill "$server" 2>/dev/null && wait "$server" 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
mkdir "$work/site" "$work/fetched"

need=$((2 * mib + 64))
have=$(($(df -Pk "$work" | awk 'NR == 2 { print $4 }') / 1024))
[ "$have" -ge "$need" ] || die "$work has $have MiB free, $need are needed (DEMO_MIB makes the file smaller)"

say "making a file of $mib MiB and $files small ones"
# Random bytes once, then repeated under a changing first line, so that no two parts of the file are the same.
head -c 16M /dev/urandom >"$work/block"
left=$mib part=0
while [ "$left" -gt 0 ]; do
    chunk=$((left < 16 ? left : 16))
    { printf 'part %027d' "$part" && head -c $((chunk * 1048576)) "$work/block" | tail -c +33; } >>"$work/site/large.bin"
    left=$((left - chunk)) part=$((part + 1))
done
rm "$work/block"
names=()
for i in $(seq "$files"); do
    name=small-$i.bin
    head -c $((i * 311 % 60000)) /dev/urandom >"$work/site/$name" # the sizes go from 0 to 60,000 bytes
    names+=("$name")
done

say 'serving'
"$weft" serve --json --listen 127.0.0.1:0 --root "$work/site" >"$work/server.out" 2>"$work/server.err" &
server=$!
address='' fingerprint=''
for _ in $(seq 600); do
    address=$(sed -n 's/^listening on //p' "$work/server.out")
    fingerprint=$(sed -n 's/^fingerprint sha256://p' "$work/server.out")
    [ -n "$address" ] && [ -n "$fingerprint" ] && break
    kill -0 "$server" 2>/dev/null || {
        cat "$work/server.err" >&2
        die 'the server ended'
    }
    sleep 0.1
done
[ -n "$address" ] && [ -n "$fingerprint" ] || die 'the server did not say where it listens'
echo "listening on $address, certificate sha256:$fingerprint"

# A summary is one line of JSON, the last that starts with a brace.
summary() { grep '^{' "$1" | tail -n 1; }
field() { sed -nE "s/.*\"$2\": *([0-9.eE+-]+).*/\1/p" <<<"$1"; }

get() { # label, paths...
    local label=$1
    shift
    local errors=$work/$label.err
    [ ! -t 2 ] || errors=/dev/stderr # the progress bar is for people
    : >"$work/$label.err"
    "$weft" get --json --pin "$fingerprint" --output "$work/fetched" "$address" "$@" >"$work/$label.out" 2>"$errors" || {
        cat "$work/$label.err" >&2
        die "weft get failed ($label)"
    }
}
report() { # who, summary
    [ -n "$2" ] || die "$1 printed no summary"
    printf '%-8s %9.3f s  %8.3f Gbit/s  %11.0f bytes  packets: %8.0f sent %8.0f received %6.0f lost  CPU %7.3f s\n' "$1" \
        "$(field "$2" seconds)" "$(field "$2" gbit_per_second)" "$(field "$2" bytes)" "$(field "$2" packets_sent)" \
        "$(field "$2" packets_received)" "$(field "$2" packets_lost)" "$(field "$2" cpu_seconds)"
}

say "fetching large.bin ($mib MiB)"
get large /large.bin
report client "$(summary "$work/large.out")"

say "fetching $files small files over one connection"
get small "${names[@]/#//}"
report client "$(summary "$work/small.out")"

say 'stopping the server'
kill -INT "$server"
status=0
wait "$server" || status=$?
server=
[ "$status" -eq 0 ] || {
    cat "$work/server.err" >&2
    die "the server ended with code $status"
}
report server "$(summary "$work/server.out")"

say 'comparing'
(cd "$work/site" && sha256sum -- *) >"$work/sums" &
(cd "$work/fetched" && sha256sum -- *) >"$work/sums-fetched" # both at once: hashing takes longer than fetching
wait $!
cmp "$work/sums" "$work/sums-fetched" || die 'what arrived is not what was sent'
echo "all $((files + 1)) files arrived as they were sent (SHA-256)"
