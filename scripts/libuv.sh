#!/usr/bin/env bash
# Builds the static, position-independent libuv that Python's wheels carry inside, and prints its prefix. (libweft and the
# command use the system's libuv; a wheel must run where there is none.)
#
#   scripts/libuv.sh            print the prefix of a ready build, building it first if there is none
#
# The prefix is $WEFT_CACHE/libuv-<version>-<hash of what shapes the build>; it appears by one rename when all is done. The
# source archive comes from the first of these that has it, and is used only if its SHA-256 is pinned here: the file named by
# WEFT_LIBUV_TARBALL; upstream's releases; the distribution's source archive, from the mirrors this machine is configured for.
#
# Environment: WEFT_CACHE (default ~/.cache/weft), WEFT_LIBUV_TARBALL, WEFT_JOBS, CC.
set -euo pipefail

VERSION=1.50.0
# One archive a line: upstream's, the distribution's. The files in them are the same.
PINS='
ec9de6ecf2a780fd2afb3b007947d2cd57c3bb17f3b9e721a66774980d35cd4d
'

CC=${CC:-cc}
CACHE=${WEFT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft}
FLAGS='-DCMAKE_BUILD_TYPE=Release -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DLIBUV_BUILD_TESTS=OFF -DLIBUV_BUILD_SHARED=OFF'
FLAGS="$FLAGS -DCMAKE_C_VISIBILITY_PRESET=hidden"
PREFIX=$CACHE/libuv-$VERSION-$(printf '%s\n' "$FLAGS" "$($CC -dumpmachine)" "$($CC --version | head -n 1)" | sha256sum | cut -c1-12)

say() { printf 'libuv.sh: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

is_pinned() { # file
    [ -f "$1" ] && grep -qxF "$(sha256sum <"$1" | cut -d' ' -f1)" <<<"$PINS"
}

mirrors() {
    {
        { cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true; } |
            sed -nE 's/^[[:space:]]*deb(-src)?[[:space:]]+(\[[^]]*\][[:space:]]*)?([^[:space:]]+).*/\3/p'
        { cat /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } | sed -nE 's/^URIs:[[:space:]]*(.*)/\1/Ip' | tr -s ' \t' '\n\n'
    } | sed 's#/*$##' | awk 'NF && !seen[$0]++'
}

obtain() { # file
    local mirror helper=/usr/lib/apt/apt-helper
    if [ -n "${WEFT_LIBUV_TARBALL:-}" ]; then
        is_pinned "$WEFT_LIBUV_TARBALL" || die "$WEFT_LIBUV_TARBALL is not the archive that is pinned here"
        cp -- "$WEFT_LIBUV_TARBALL" "$1"
        return
    fi
    curl -fsSL --connect-timeout 4 --max-time 300 -o "$1" \
        "https://github.com/libuv/libuv/archive/refs/tags/v$VERSION.tar.gz" 2>/dev/null && is_pinned "$1" && return
    for mirror in $([ -x $helper ] && mirrors); do
        rm -f "$1"
        $helper -o Acquire::http::Timeout=10 -o Acquire::Retries=1 -o APT::Sandbox::User= download-file \
            "$mirror/pool/main/libu/libuv1/libuv1_$VERSION.orig.tar.gz" "$1" >/dev/null 2>&1 && is_pinned "$1" && return
    done
    die "no source of libuv $VERSION could be reached; name a downloaded archive with WEFT_LIBUV_TARBALL"
}

ready() { [ -e "$PREFIX/lib/libuv.a" ]; }

if ! ready; then
    mkdir -p "$CACHE"
    exec 9>"$CACHE/libuv.lock"
    flock 9
fi
if ! ready; then
    work=$(mktemp -d "$CACHE/.libuv.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    obtain "$work/archive"
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
