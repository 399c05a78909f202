#!/usr/bin/env bash
# Builds what of BoringSSL weft carries inside itself on x86-64, and prints the prefix of a library with it: AES-GCM for
# processors with VAES and VPCLMULQDQ, for which wolfCrypt has nothing yet; AES's key schedule and SHA-256's blocks, which
# wolfCrypt has behind objects that cost as much as one block. All are assembly; the crate ring has them in the form that
# an assembler reads, and its archive is small and the same for ever.
#
#   scripts/boringssl.sh         print the prefix of a ready build, building it first if there is none
#
# The prefix is $WEFT_CACHE/boringssl-<version>-<hash of what shapes the build>; it appears by one rename when all is done.
# scripts/obtain.sh says where the source archive comes from; it is used only if its SHA-256 is the one pinned here.
#
# Environment: WEFT_CACHE (default ~/.cache/weft), WEFT_RING_TARBALL, CC.
set -euo pipefail

VERSION=0.17.14
SHA256=a4689e6c2294d81e88dc6261c768b63bc4fcdb852be6d1352498b114f61383b7
FILES='aes-gcm-avx2 aesni sha256'
NAMES='gcm_init_vpclmulqdq_avx2 gcm_ghash_vpclmulqdq_avx2_1 aes_gcm_enc_update_vaes_avx2 aes_gcm_dec_update_vaes_avx2
 aes_hw_ctr32_encrypt_blocks aes_hw_set_encrypt_key_base aes_hw_set_encrypt_key_alt
 sha256_block_data_order_nohw sha256_block_data_order_hw sha256_block_data_order_ssse3 sha256_block_data_order_avx'
FLAGS='-fPIC -g1'

CC=${CC:-cc}
CACHE=${WEFT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft}
PREFIX=$CACHE/boringssl-$VERSION-$(printf '%s\n' "$FILES" "$NAMES" "$FLAGS" "$($CC -dumpmachine)" "$($CC --version | head -n 1)" |
    sha256sum | cut -c1-12)

# shellcheck source=scripts/obtain.sh
. "$(dirname "$0")/obtain.sh"

ready() { [ -e "$PREFIX/lib/libboringssl.a" ]; }

if ! ready; then
    mkdir -p "$CACHE"
    exec 9>"$CACHE/boringssl.lock"
    flock 9
fi
if ! ready; then
    work=$(mktemp -d "$CACHE/.boringssl.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    obtain ring $VERSION $SHA256 "$work/archive" "${WEFT_RING_TARBALL:-}" - "r/rust-ring/rust-ring_$VERSION.orig.tar.gz" ||
        die "no source has the archive of ring $VERSION that is pinned here; name a downloaded one with WEFT_RING_TARBALL," \
            "or configure with -DWEFT_WIDE_AES=OFF to do without"
    mkdir -p "$work/src/ring_core_generated" "$work/prefix/lib"
    tar -xzf "$work/archive" -C "$work/src" --strip-components=1
    # The file asks for a header that renames what it defines: here to names that nobody else's copy of it has.
    for name in $NAMES; do
        printf '#define %s bssl_%s\n' "$name" "$name"
    done >"$work/src/ring_core_generated/prefix_symbols_asm.h"
    mkdir "$work/objects"
    for file in $FILES; do
        # shellcheck disable=SC2086
        $CC $FLAGS -I "$work/src" -I "$work/src/include" -c "$work/src/pregenerated/$file-x86_64-elf.S" -o "$work/objects/bssl_$file.o"
    done
    ar rcs "$work/prefix/lib/libboringssl.a" "$work"/objects/*.o
    cp "$work/src/LICENSE-BoringSSL" "$work/prefix/"
    rm -rf "$PREFIX"
    mv "$work/prefix" "$PREFIX"
fi
printf '%s\n' "$PREFIX"
