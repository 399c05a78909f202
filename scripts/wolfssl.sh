#!/usr/bin/env bash
# Builds the static, position-independent wolfSSL that weft carries inside itself, and prints its prefix.
#
#   scripts/wolfssl.sh            print the prefix of a ready build, building it first if there is none
#   scripts/wolfssl.sh --cached   print the prefix of a ready build, or fail at once
#
# The prefix is $WEFT_CACHE/wolfssl-<version>-<hash of everything that shapes the build>; it appears by one rename when
# all is done, so a prefix that exists is complete. A lock lets any number of builds ask at once; one does the work.
#
# gcc compiles it twice: the second time for what the first one was seen to do in handshakes of QUIC (wolfssl_work.c). Of a
# handshake's time most goes into code that runs once and cold; laid out in the order it runs in, it takes a few percent
# less of the whole. Every build has that, as this is done once for a machine.
#
# On x86-64 s2n-bignum's routines for X25519 and P-256 (scripts/bignum.sh) take the places of wolfCrypt's slower ones. Where
# their archive cannot be had, wolfSSL is built without, which is another prefix, and they are asked for again a day later.
#
# scripts/obtain.sh says where the source archive comes from; it is used only if its SHA-256 is the one pinned here. What was
# changed in the source is listed in the prefix, in the file "changes".
#
# Environment: WEFT_CACHE (default ~/.cache/weft), WEFT_WOLFSSL_TARBALL, WEFT_BIGNUM_TARBALL, WEFT_JOBS, CC, and for a cross
# build WEFT_HOST.
set -euo pipefail

VERSION=5.9.2
SHA256=2f4ef3d4fd387a9b3191d36a6316d69116c46ff69bb9583b6c82b36d7b8ca114

CC=${CC:-cc}
CACHE=${WEFT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft}
MACHINE=${WEFT_HOST:-$($CC -dumpmachine)}

# What weft needs of it: the QUIC handshake with tickets and 0-RTT, TLS 1.2 and 1.3 over TCP, raw AEADs and header
# protection, HKDF, exporters, and certificate generation (a server that is given no certificate makes its own).
FLAGS='--disable-shared --enable-static --with-pic --disable-examples --disable-crypttests
 --enable-quic --enable-earlydata --enable-session-ticket --enable-alpn --enable-sni --enable-keying-material
 --enable-hkdf --enable-pkcallbacks --enable-certgen --enable-certreq --enable-certext --enable-keygen
 --enable-sp --enable-sp-asm --disable-hashdrbg'
case $MACHINE in
    x86_64-*) FLAGS="$FLAGS --enable-intelasm" ;;
    aarch64-*) FLAGS="$FLAGS --enable-armasm" ;;
esac
# AES_DIRECT, AES_ECB: AES blocks for header protection. ALT_NAMES, IP_ALT_NAME: subjectAltName in certificates that we
# generate or read. ALWAYS_VERIFY_CB: whoever judges chains is asked also when wolfSSL found nothing wrong (pins!).
# CUSTOM_RAND_GENERATE_BLOCK and the line of TIME: randomness and the wall clock come from us, so that a simulation replays
# byte for byte and no session instantiates a generator of its own. SMALL_SESSION_CACHE: we keep sessions in tickets and turn
# the cache off, but wolfSSL 5.9.2 does not link without one. SECRET_CALLBACK: the key log. TICKET_NONCE_MALLOC: tickets with
# nonces over 8 bytes, which the servers of rustls send.
WOLF_CFLAGS='-O2 -g1 -fno-omit-frame-pointer -fstack-protector-strong
 -DHAVE_AES_ECB -DWOLFSSL_AES_DIRECT -DWOLFSSL_ALT_NAMES -DWOLFSSL_IP_ALT_NAME -DWOLFSSL_ALWAYS_VERIFY_CB
 -DCUSTOM_RAND_GENERATE_BLOCK=crypto_random_block -DSMALL_SESSION_CACHE -DHAVE_SECRET_CALLBACK
 -DWOLFSSL_TICKET_NONCE_MALLOC -DTIME_OVERRIDES -DHAVE_TIME_T_TYPE -DHAVE_TM_TYPE -DXTIME=time -DXGMTIME=gmtime_r'
# In front of each of its files in C: what it calls and we define (core/crypto/random.c); and a question that `fit` puts
# into its transcripts of a handshake. wolfSSL hashes every message three times, as if TLS 1.2 could still ask for each of the
# hashes. TLS 1.3 asks only for that of the cipher suite (RFC 8446 4.4.1), which stands when the ServerHello does; QUIC
# is always TLS 1.3, and no suite of that has SHA-512.
HOOKS='int crypto_random_block(unsigned char *out, unsigned int len);
#define WEFT_HASHES_384(ssl) (!IsAtLeastTLSv1_3((ssl)->version) || (ssl)->options.serverState < SERVER_HELLO_COMPLETE || \
    (ssl)->specs.mac_algorithm != sha256_mac)
#define WEFT_HASHES_512(ssl) (!WOLFSSL_IS_QUIC(ssl))
#define WEFT_SIGNS(ssl) ((ssl)->buffers.key == NULL || wolfSSL_CTX_IsPrivatePkSet((ssl)->ctx))'
[ -n "${WEFT_HOST:-}" ] && FLAGS="$FLAGS --host=$WEFT_HOST"
# What the two compilations are told beside; nothing where there is one: by another compiler, or for another machine.
COUNT= USE=
if [ -z "${WEFT_HOST:-}" ] && $CC --version | grep -q 'Free Software Foundation'; then
    COUNT='-fprofile-generate -fprofile-update=single'
    USE='-fprofile-partial-training -Wno-missing-profile -Wno-coverage-mismatch'
fi

HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/obtain.sh
. "$HERE/obtain.sh"

# The prefix of scripts/bignum.sh, or nothing where its routines cannot run or cannot be had.
BIGNUM=
can_bignum() { [[ $MACHINE == x86_64-*linux* && -z ${WEFT_HOST:-} ]]; } # a cross build could not run bignum_table.c
ask_bignum() { CC=$CC "$HERE/bignum.sh" "$@"; }

prefix_of() {
    local id
    id=$({
        printf '%s\n' "$FLAGS" "$WOLF_CFLAGS" "$HOOKS" "$MACHINE" "$($CC --version | head -n 1)" "$COUNT" "$USE" \
            "$(declare -f fit fit_bignum)"
        [ -z "$COUNT" ] || cat "$HERE/wolfssl_work.c"
        [ -z "$BIGNUM" ] || cat <(echo "${BIGNUM##*/}") "$HERE/wolfssl_bignum.h"
    } | sha256sum | cut -c1-12)
    printf '%s/wolfssl-%s-%s\n' "$CACHE" $VERSION "$id"
}

# The prefix, if it is already built.
cached() {
    local prefix
    prefix=$(prefix_of)
    [ -e "$prefix/lib/libwolfssl.a" ] && printf '%s\n' "$prefix"
}

# Changes lines of the unpacked source. A source in which they are not found as often as they should be is built as it is:
# right, and a little slower. Which it was stands in "changes" (scripts/check_wolfssl.sh).
change() { # directory, file in it, how often, pattern, replacement, in which lines: as for sed
    local done=changed
    if [ "$(sed -n "${6:-}{/$4/p}" "$1/$2" | wc -l)" -eq "$3" ]; then
        sed -i "${6:-}s/$4/$5/" "$1/$2"
    else
        done=left
        say "this wolfSSL has other lines in ${2##*/}; handshakes will take a little longer"
    fi
    printf '%s %s: %s\n' "$done" "$2" "$4" >>"$1/changes"
}

# Leaves out what nobody asks for: see HOOKS; and
# - with QUIC TLS protects no records, so their keys and IVs (RFC 8446 7.3) need not be derived, nor ciphers set up with
#   them;
# - whether a ticket was encrypted is asked twice, by an MD5 of it before and after: our callback does nothing else;
# - memory is wiped between two fences for all cores, of which each takes longer than most wipes. It is enough that the
#   compiler cannot leave it out;
# - a private key is decoded for each signature, also when a callback signs that holds it (core/crypto/tls_sign.c).
# Adds what was forgotten: the look-ups in tables with AVX2 return with the upper halves of the registers in use, and then
# every SSE instruction costs more, wherever it stands: four of a signature's seventeen microseconds, and some of what comes
# after it.
fit() { # directory
    change "$1" src/internal.c 2 '^ *ret = wc_Sha\(384\|512\)Update(&ssl->hsHashes->hashSha' 'if (WEFT_HASHES_\1(ssl)) &'
    change "$1" src/tls13.c 1 '^    if (!store)$' '    if (!store || WOLFSSL_IS_QUIC(ssl))'
    change "$1" src/keys.c 1 '^ *ret = SetKeys(wc_encrypt, wc_decrypt, keys, &ssl->specs, ssl->options.side,$' \
        '        if (WOLFSSL_IS_QUIC(ssl)) ret = 0; else\n&'
    change "$1" src/internal.c 1 'itHash = HashObject(.*);' 'itHash = 1;'
    change "$1" src/internal.c 1 'itHash == HashObject((byte\*)it, (word32)internalTicketSz, &error)' 'itHash == 0'
    change "$1" wolfcrypt/src/misc.c 2 '^    XFENCE();$' '    __asm__ __volatile__("" : : "r"(mem) : "memory");'
    change "$1" src/tls13.c 1 '^            if (ssl->buffers.key == NULL) {$' '            if (WEFT_SIGNS(ssl)) {'
    change "$1" wolfcrypt/src/sp_x86_64_asm.S 14 '^ *repz retq$' '        vzeroupper\n&' '/^sp_.*_get_.*avx2_[0-9]*:$/,/retq$/'
    [ -z "$BIGNUM" ] || fit_bignum "$1"
}

# Puts s2n-bignum's routines in (wolfssl_bignum.h): for X25519; for multiples of P-256's base point that are made affine; for
# the inverse of the nonce when ECDSA signs and that of s when it verifies; and for that of Z when any other point of P-256
# is made affine.
fit_bignum() { # directory
    local x25519=wolfcrypt/src/curve25519.c p256=wolfcrypt/src/sp_x86_64.c avx2
    cp "$HERE/wolfssl_bignum.h" "$1/wolfcrypt/src/"
    change "$1" $x25519 1 '^#include <wolfssl.wolfcrypt.ge_operations.h>$' '&\n#include "wolfssl_bignum.h"'
    change "$1" $x25519 1 '^#if defined(WOLFSSL_CURVE25519_USE_ED25519)$' 'if (s2n_x25519_base(pub, priv)) ret = 0; else\n&'
    change "$1" $x25519 1 'ret = curve25519\((o.point, private_key->k, public_key->p.point)\);' \
        'if (s2n_x25519\1) ret = 0; else &'
    change "$1" $p256 1 '^#include <wolfssl.wolfcrypt.cpuid.h>$' '&\n#include "wolfssl_bignum.h"'
    change "$1" $p256 1 '^    return sp_256_ecc_mulmod_add_only_avx2_4(r, NULL, p256_table,$' \
        '    if (map) {\n        s2n_p256_base(r->x, r->y, r->z, k);\n        return MP_OKAY;\n    }\n&'
    for avx2 in '' avx2_; do
        change "$1" $p256 1 "sp_256_mont_inv_order_${avx2}4(kInv, k, tmp);" \
            "sp_256_mont_mul_order_${avx2}4(kInv, s2n_order_inverse(k, p256_order, tmp), s2n_order_form);"
        change "$1" $p256 1 "sp_256_mod_inv_${avx2}4(s, s, p256_order);" \
            'XMEMCPY(s, s2n_order_inverse(s, p256_order, tmp), 4 * sizeof(sp_digit));'
        change "$1" $p256 1 "sp_256_mont_inv_${avx2}4(t1, p->z, t + 2\\*4);" 's2n_bignum_montinv_p256(t1, p->z);'
    done
}

# In the configured source: compiles it so that it counts, lets it work, and takes away what was compiled.
count() { # CFLAGS, directory for the counts
    make -j"${WEFT_JOBS:-$(nproc)}" CFLAGS="$1 $COUNT -fprofile-dir=$2" src/libwolfssl.la
    # shellcheck disable=SC2086
    $CC -O1 -I. "$HERE/wolfssl_work.c" -o wolfssl_work src/.libs/libwolfssl.a ${BIGNUM:+"$BIGNUM/lib/libbignum.a"} \
        $COUNT -fprofile-dir="$2" -lm -lpthread
    ./wolfssl_work
    make clean
}

build() { # archive prefix
    local work=$CACHE/build.$$ log=$CACHE/wolfssl-$VERSION.log stage flags
    stage=$work/stage
    flags="$(tr '\n' ' ' <<<"$WOLF_CFLAGS") -include $work/hooks.h"
    say "building wolfSSL $VERSION for $MACHINE; log: $log"
    mkdir -p "$work/src"
    tar -xzf "$1" -C "$work/src" --strip-components=1
    fit "$work/src"
    printf '#ifndef __ASSEMBLER__\n%s\n#endif\n' "$HOOKS" >"$work/hooks.h"
    (
        cd "$work/src"
        export CC
        ./autogen.sh
        # A jobs' worth of make is ours to choose; the archive's own guess would oversubscribe small machines.
        # shellcheck disable=SC2086
        ./configure --prefix="$2" --enable-jobserver=no $FLAGS CFLAGS="$flags"
        if [ -n "$COUNT" ]; then
            count "$flags" "$work/counts"
            flags="$flags -fprofile-use=$work/counts $USE"
        fi
        make -j"${WEFT_JOBS:-$(nproc)}" CFLAGS="$flags"
        make install DESTDIR="$stage" CFLAGS="$flags"
    ) >"$log" 2>&1 || {
        tail -n 25 "$log" >&2
        die "the build of wolfSSL failed; the whole log is $log"
    }
    if [ -n "$BIGNUM" ]; then
        mkdir "$work/objects"
        (cd "$work/objects" && ar x "$BIGNUM/lib/libbignum.a" && ar rs "$stage$2/lib/libwolfssl.a" ./*.o) >>"$log" 2>&1 ||
            die "s2n-bignum's objects do not go into libwolfssl.a; the whole log is $log"
        cp "$BIGNUM"/LICENSE* "$stage$2/"
    fi
    rm -rf "$stage$2/share" "$stage$2/bin" "$stage$2/lib/libwolfssl.la"
    cp "$work/src"/COPYING "$work/src"/changes "$stage$2/"
    cp "$work/src"/LICENSING "$stage$2/" 2>/dev/null || true
    [ -e "$stage$2/lib/libwolfssl.a" ] || die "the build left no libwolfssl.a; log: $log"
    rm -rf "$2"
    mv "$stage$2" "$2"
    rm -rf "$work"
}

# A build without s2n-bignum, from the last 24 hours: so long nobody is asked again for an archive that could not be had.
lately_without() {
    [ -z "${WEFT_BIGNUM_TARBALL:-}" ] && [ -n "$(find "$(cached)" -maxdepth 0 -mtime -1 2>/dev/null)" ]
}

find_bignum() { # --cached: only one that is ready
    BIGNUM=$(ask_bignum --cached) || [ "${1:-}" = --cached ] || lately_without || BIGNUM=$(ask_bignum) || {
        [ -z "${WEFT_BIGNUM_TARBALL:-}" ] || exit 1
        touch -c "$(cached || echo "$CACHE")"
    }
    [ -n "$BIGNUM" ] || say "wolfSSL goes without s2n-bignum (X25519, P-256); handshakes will take a little longer"
}

main() {
    local prefix archive
    can_bignum && find_bignum "$@"
    cached && return 0
    [ "${1:-}" = --cached ] && return 1

    for tool in $CC make autoconf automake libtoolize sha256sum flock tar; do
        command -v "$tool" >/dev/null || die "'$tool' is missing; scripts/setup.sh installs what weft needs"
    done
    mkdir -p "$CACHE"
    exec 9>"$CACHE/wolfssl.lock"
    flock 9
    cached && return 0 # someone else built it while we waited

    trap 'rm -rf "$CACHE/build.$$" "$CACHE/archive.$$"' EXIT
    archive=$CACHE/archive.$$
    obtain wolfSSL $VERSION $SHA256 "$archive" "${WEFT_WOLFSSL_TARBALL:-}" \
        "https://github.com/wolfSSL/wolfssl/archive/refs/tags/v$VERSION-stable.tar.gz" "w/wolfssl/wolfssl_$VERSION.orig.tar.gz" || {
        [ -z "${WEFT_WOLFSSL_TARBALL:-}" ] || die "$WEFT_WOLFSSL_TARBALL is not the archive that is pinned here"
        die "no source of wolfSSL could be reached; name a downloaded release with WEFT_WOLFSSL_TARBALL"
    }
    prefix=$(prefix_of)
    build "$archive" "$prefix" 9>&-
    printf '%s\n' "$prefix"
}

main "$@"
