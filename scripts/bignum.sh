#!/usr/bin/env bash
# Builds the arithmetic of X25519 and P-256 for x86-64 that scripts/wolfssl.sh puts into wolfSSL, and prints the prefix of a
# library with it. The routines are s2n-bignum's: in assembly, in constant time, and each with a machine-checked proof
# that it computes what it promises. AWS-LC carries them, and AWS-LC lies in the source of a crate, whose archive is
# the same for ever.
#
#   scripts/bignum.sh             print the prefix of a ready build, building it first if there is none
#   scripts/bignum.sh --cached    print the prefix of a ready build, or fail at once
#
# The prefix is $WEFT_CACHE/bignum-<version>-<hash of what shapes the build>; it appears by one rename when all is done.
# scripts/obtain.sh says where the source archive comes from; it is used only if its SHA-256 is the one pinned here.
#
# Environment: WEFT_CACHE (default ~/.cache/weft), WEFT_BIGNUM_TARBALL, CC.
set -euo pipefail

VERSION=0.42.0+dfsg
SHA256=620e70a494cb11290e5a9665a739d97bef57971faf902da969a2b636cdd4bf1c
# Each is a file of that name. What it defines gets "s2n_" in front, hidden: nobody else's copy is disturbed by ours.
FILES='curve25519/curve25519_x25519 curve25519/curve25519_x25519base generic/bignum_modinv p256/bignum_montinv_p256
 p256/p256_scalarmulbase'
# bignum_table.c, which makes the table that the last of them reads, needs these.
TABLE_FILES='p256/p256_scalarmul_alt p256/bignum_tomont_p256_alt'
NAMES='curve25519_x25519 curve25519_x25519_byte curve25519_x25519base curve25519_x25519base_byte
 bignum_modinv bignum_montinv_p256 p256_scalarmulbase p256_scalarmul_alt bignum_tomont_p256_alt'
FLAGS='-fPIC -g1 -fcf-protection -DS2N_BN_HIDE_SYMBOLS'

HERE=$(cd "$(dirname "$0")" && pwd)
CC=${CC:-cc}
CACHE=${WEFT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft}
PREFIX=$CACHE/bignum-$VERSION-$(printf '%s\n' "$FILES" "$NAMES" "$FLAGS" "$($CC -dumpmachine)" "$($CC --version | head -n 1)" |
    cat - "$HERE/bignum_table.c" | sha256sum | cut -c1-12)

# shellcheck source=scripts/obtain.sh
. "$HERE/obtain.sh"

ready() { [ -e "$PREFIX/lib/libbignum.a" ]; }

if ! ready; then
    [ "${1:-}" != --cached ] || exit 1
    mkdir -p "$CACHE"
    exec 9>"$CACHE/bignum.lock"
    flock 9
fi
if ! ready; then
    work=$(mktemp -d "$CACHE/.bignum.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    obtain AWS-LC $VERSION $SHA256 "$work/archive" "${WEFT_BIGNUM_TARBALL:-}" - \
        "r/rust-aws-lc-sys/rust-aws-lc-sys_$VERSION.orig.tar.gz" || {
        [ -z "${WEFT_BIGNUM_TARBALL:-}" ] || die "$WEFT_BIGNUM_TARBALL is not the archive of AWS-LC $VERSION that is pinned here"
        die "no source has the archive of AWS-LC $VERSION that is pinned here; WEFT_BIGNUM_TARBALL names a downloaded one"
    }
    mkdir -p "$work/src" "$work/include/openssl" "$work/objects" "$work/prefix/lib"
    tar -xzf "$work/archive" -C "$work/src" --strip-components=2 --wildcards '*/aws-lc/LICENSE' \
        '*/s2n-bignum-imported/include/*' '*/s2n-bignum-imported/x86_att/*'
    # The files ask for a header that renames what they define.
    for name in $NAMES; do
        printf '#define %s s2n_%s\n' "$name" "$name"
    done >"$work/include/openssl/boringssl_prefix_symbols_asm.h"
    source=$work/src/third_party/s2n-bignum/s2n-bignum-imported
    assemble() { # file, object
        # shellcheck disable=SC2086
        $CC $FLAGS -I "$work/include" -I "$source/include" -c "$source/x86_att/$1.S" -o "$2"
    }
    for file in $FILES; do
        assemble "$file" "$work/objects/s2n_${file##*/}.o"
    done
    for file in $TABLE_FILES; do
        assemble "$file" "$work/${file##*/}.o"
    done
    $CC -O1 "$HERE/bignum_table.c" "$work"/*.o -o "$work/table"
    "$work/table" >"$work/table.c"
    # shellcheck disable=SC2086
    $CC $FLAGS -c "$work/table.c" -o "$work/objects/s2n_p256_table.o"
    ar rcs "$work/prefix/lib/libbignum.a" "$work"/objects/*.o
    cp "$work/src/LICENSE" "$work/prefix/LICENSE-AWS-LC"
    rm -rf "$PREFIX"
    mv "$work/prefix" "$PREFIX"
fi
printf '%s\n' "$PREFIX"
