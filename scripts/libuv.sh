#!/usr/bin/env bash
# Builds the static, position-independent libuv that Python's wheels carry inside, and prints its prefix. (libweft and the
# command use the system's libuv; a wheel must run where there is none.)
#
#   scripts/libuv.sh            print the prefix of a ready build, building it first if there is none
#
# The prefix is $WEFT_CACHE/libuv-<version>-<hash of what shapes the build>; it appears by one rename when all is done.
# scripts/obtain.sh says where the source archive comes from; it is used only if its SHA-256 is the one pinned here.
#
# Environment: WEFT_CACHE (default ~/.cache/weft), WEFT_LIBUV_TARBALL, WEFT_JOBS, CC.
set -euo pipefail

VERSION=1.50.0
SHA256=ec9de6ecf2a780fd2afb3b007947d2cd57c3bb17f3b9e721a66774980d35cd4d

CC=${CC:-cc}
CACHE=${WEFT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft}
FLAGS='-DCMAKE_BUILD_TYPE=Release -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DLIBUV_BUILD_TESTS=OFF -DLIBUV_BUILD_SHARED=OFF'
FLAGS="$FLAGS -DCMAKE_C_VISIBILITY_PRESET=hidden"
PREFIX=$CACHE/libuv-$VERSION-$(printf '%s\n' "$FLAGS" "$($CC -dumpmachine)" "$($CC --version | head -n 1)" | sha256sum | cut -c1-12)

# shellcheck source=scripts/obtain.sh
. "$(dirname "$0")/obtain.sh"

ready() { [ -e "$PREFIX/lib/libuv.a" ]; }

if ! ready; then
    mkdir -p "$CACHE"
    exec 9>"$CACHE/libuv.lock"
    flock 9
fi
if ! ready; then
    work=$(mktemp -d "$CACHE/.libuv.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    obtain libuv $VERSION $SHA256 "$work/archive" "${WEFT_LIBUV_TARBALL:-}" \
        "https://github.com/libuv/libuv/archive/refs/tags/v$VERSION.tar.gz" "libu/libuv1/libuv1_$VERSION.orig.tar.gz" ||
        die "no source has the archive of libuv $VERSION that is pinned here; name a downloaded one with WEFT_LIBUV_TARBALL"
    say "building libuv $VERSION"
    mkdir "$work/src"
    tar -xzf "$work/archive" -C "$work/src" --strip-components=1
    {
        # shellcheck disable=SC2086
        CC=$CC cmake -S "$work/src" -B "$work/build" $FLAGS -DCMAKE_INSTALL_PREFIX="$PREFIX" -DCMAKE_INSTALL_LIBDIR=lib
        cmake --build "$work/build" --parallel "${WEFT_JOBS:-$(nproc)}"
        DESTDIR=$work/stage cmake --install "$work/build"
    } >"$CACHE/libuv.log" 2>&1 || {
        tail -n 20 "$CACHE/libuv.log" >&2
        die "the build of libuv failed; the whole log is $CACHE/libuv.log"
    }
    [ -e "$work/stage$PREFIX/lib/libuv.a" ] || die "the build left no libuv.a; log: $CACHE/libuv.log"
    rm -rf "$PREFIX"
    mv "$work/stage$PREFIX" "$PREFIX"
fi
printf '%s\n' "$PREFIX"
