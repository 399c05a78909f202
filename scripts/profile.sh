#!/bin/sh
# What the compiler should know of weft at work: builds it with counters, lets it work, and leaves the counts where a
# second build looks for them (WEFT_PGO, cmake/WeftProfile.cmake).
#
#     profile.sh SOURCE BUILD [CMAKE ARGUMENTS...]        counts for the build in BUILD, in BUILD/profile
#
# The work is what `weft perf` measures, over loopback: requests one at a time and many at once, bulk in both directions,
# handshakes. What was never called is compiled as if there were no counts. The names of the counts' files say where the
# objects of the build with counters lay; they are changed to those of BUILD.
set -eu
source=$1
build=$2
shift 2
scratch=$build/profile
rm -rf "$scratch"
mkdir -p "$scratch/counts"
flags="-fprofile-generate -fprofile-update=single -fprofile-dir=$scratch/counts"
cmake -S "$source" -B "$scratch/build" -DCMAKE_BUILD_TYPE=Release -DWEFT_PGO=OFF -DWEFT_BUILD_TESTS=OFF "$@" "-DCMAKE_C_FLAGS=$flags"
cmake --build "$scratch/build" --target weft_command

server=
trap 'test -z "$server" || kill "$server" 2>/dev/null || true' EXIT
work() { # arguments of the client; a server for each, whose counts are written when it ends
    : >"$scratch/address" # there to be read before the server is
    "$scratch/build/weft" perf server --quiet --listen 127.0.0.1:0 --json >"$scratch/address" 2>"$scratch/errors" &
    server=$!
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        address=$(sed -n 's/^listening on //p' "$scratch/address")
        test -z "$address" || break
        sleep 0.5
    done
    "$scratch/build/weft" perf client --insecure --quiet "$@" "$address" >/dev/null
    kill "$server"
    wait "$server"
    server=
}
work --requests 20000 --download 100 --upload 92
work --requests 100000 --streams 100 --download 100 --upload 92
work --download 100MB
work --download 0 --upload 100MB
work --handshakes 200

for file in "$scratch"/counts/*.gcda; do
    name=${file##*/}
    mangled=$(printf %s "$scratch/build" | tr / '#')
    mv "$file" "$scratch/counts/$(printf %s "$build" | tr / '#')${name#"$mangled"}"
done
rm -rf "$scratch/build"
