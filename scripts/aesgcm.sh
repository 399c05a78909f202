#!/usr/bin/env bash
# Builds the AES-GCM routines for x86-64 processors with VAES and VPCLMULQDQ that weft carries inside itself, and prints the
# prefix of a library with them. They are BoringSSL's, one assembly file; the crate ring has it in the form that an
# assembler reads, and its archive is small and the same for ever. wolfCrypt has nothing for these instructions yet.
#
#   scripts/aesgcm.sh            print the prefix of a ready build, building it first if there is none
#
# The prefix is $WEFT_CACHE/aesgcm-<version>-<hash of what shapes the build>; it appears by one rename when all is done.
# scripts/obtain.sh says where the source archive comes from; it is used only if its SHA-256 is the one pinned here.
#
# Environment: WEFT_CACHE (default ~/.cache/weft), WEFT_RING_TARBALL, CC.
set -euo pipefail

VERSION=0.17.14
SHA256=a4689e6c2294d81e88dc6261c768b63bc4fcdb852be6d1352498b114f61383b7
NAMES='gcm_init_vpclmulqdq_avx2 gcm_ghash_vpclmulqdq_avx2_1 aes_gcm_enc_update_vaes_avx2 aes_gcm_dec_update_vaes_avx2'
FLAGS='-fPIC -g1'

CC=${CC:-cc}
CACHE=${WEFT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft}
PREFIX=$CACHE/aesgcm-$VERSION-$(printf '%s\n' "$NAMES" "$FLAGS" "$($CC -dumpmachine)" "$($CC --version | head -n 1)" |
    sha256sum | cut -c1-12)

# shellcheck source=scripts/obtain.sh
. "$(dirname "$0")/obtain.sh"

ready() { [ -e "$PREFIX/lib/libaesgcm.a" ]; }

if ! ready; then
    mkdir -p "$CACHE"
    exec 9>"$CACHE/aesgcm.lock"
    flock 9
fi
if ! ready; then
    work=$(mktemp -d "$CACHE/.aesgcm.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    obtain ring $VERSION $SHA256 "$work/archive" "${WEFT_RING_TARBALL:-}" - "r/rust-ring/rust-ring_$VERSION.orig.tar.gz" ||
        die "no source has the archive of ring $VERSION that is pinned here; name a downloaded one with WEFT_RING_TARBALL," \
            "or configure with -DWEFT_WIDE_AES=OFF to do without"
    mkdir -p "$work/src/ring_core_generated" "$work/prefix/lib"
    tar -xzf "$work/archive" -C "$work/src" --strip-components=1
    # The file asks for a header that renames what it defines: here to names that nobody else's copy of it has.
    for name in $NAMES; do
        printf '#define %s aesgcm_%s\n' "$name" "$name"
    done >"$work/src/ring_core_generated/prefix_symbols_asm.h"
    # shellcheck disable=SC2086
    $CC $FLAGS -I "$work/src" -I "$work/src/include" -c "$work/src/pregenerated/aes-gcm-avx2-x86_64-elf.S" -o "$work/aesgcm.o"
    ar rcs "$work/prefix/lib/libaesgcm.a" "$work/aesgcm.o"
    cp "$work/src/LICENSE-BoringSSL" "$work/prefix/"
    rm -rf "$PREFIX"
    mv "$work/prefix" "$PREFIX"
fi
printf '%s\n' "$PREFIX"
