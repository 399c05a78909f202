#!/usr/bin/env bash
# Checks that the wolfSSL we build has what weft is fast and complete by: configure options are easily ignored without a
# word, and a build without the assembly code works, only many times slower. Prints "N passed, N failed".
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
prefix=${1:-$("$here/wolfssl.sh")}
archive=$prefix/lib/libwolfssl.a
[ -r "$archive" ] || {
    echo "$archive does not exist"
    echo '0 passed, 1 failed'
    exit 1
}

symbols=$(nm --defined-only "$archive" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u)
options=$prefix/include/wolfssl/options.h
passed=0 failed=0

check() { # what it is, then a command that is true when it is there
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "missing in $archive: $what"
    fi
}
symbol() { grep -qxE "$1" <<<"$symbols"; }
called() { nm --undefined-only "$archive" 2>/dev/null | grep -E " U $1\$" >/dev/null; }
option() { grep -qE "^#define $1( |$)" "$options"; }

case ${WEFT_HOST:-$(${CC:-cc} -dumpmachine)} in
    x86_64-*)
        for level in aesni avx1 avx2; do
            check "AES-GCM sealing, $level" symbol "AES_GCM_encrypt_(update_)?$level"
            check "AES-GCM opening, $level" symbol "AES_GCM_decrypt_(update_)?$level"
        done
        check 'AES blocks with AES-NI' symbol 'AES_ECB_encrypt_AESNI'
        check 'P-256 with AVX2/BMI2' symbol 'sp_256_mont_mul_avx2_4'
        check 'P-384 with AVX2/BMI2' symbol 'sp_384_cond_sub_avx2_6'
        check 'RSA-2048 with AVX2/BMI2' symbol 'sp_2048_mont_reduce_avx2_(32|16)'
        check 'ChaCha20 with AVX2' symbol 'chacha_encrypt_avx2'
        check 'Poly1305 with AVX2' symbol 'poly1305_blocks_avx2'
        check 'SHA-256 with AVX2' symbol 'Transform_Sha256_AVX2'
        for name in curve25519_x25519_byte curve25519_x25519base_byte bignum_modinv bignum_montinv_p256 p256_scalarmulbase; do
            check "s2n-bignum's $name (scripts/bignum.sh)" symbol "s2n_$name"
            check "a call of s2n-bignum's $name" called "s2n_$name"
        done
        ;;
    aarch64-*)
        check 'AES-GCM with the crypto extension' symbol 'AES_GCM_encrypt_AARCH64|AES_GCM_encrypt_update_AARCH64'
        check 'P-256 in assembly' symbol 'sp_256_mont_mul_4'
        ;;
esac
for name in wolfSSL_set_quic_method wolfSSL_provide_quic_data wolfSSL_set_quic_early_data_enabled \
    wolfSSL_CTX_set_alpn_select_cb wolfSSL_CTX_set_TicketEncCb wolfSSL_export_keying_material \
    wc_AesGcmEncrypt wc_AesEcbEncrypt wc_AesEncryptDirect wc_ChaCha20Poly1305_Encrypt wc_Chacha_Process \
    wc_Tls13_HKDF_Expand_Label wc_SignCert wc_SetAltNamesBuffer wolfTLSv1_3_server_method wolfTLSv1_2_server_method \
    wolfSSL_CTX_SetHKDFExtractCb wolfSSL_CTX_SetHKDFExpandLabelCb wolfSSL_CTX_SetEccSignCb; do
    check "$name" symbol "$name"
done
for name in WOLFSSL_QUIC WOLFSSL_EARLY_DATA HAVE_SESSION_TICKET HAVE_ALPN HAVE_SNI WOLFSSL_ALWAYS_VERIFY_CB NO_OLD_TLS \
    HAVE_PK_CALLBACKS; do
    check "the option $name" option "$name"
done

# Randomness comes from weft (core/crypto/random.c): asked of it, and made by nobody else.
draws_from_us() { grep -q ' crypto_random_block$' <<<"$(nm --undefined-only "$archive" 2>/dev/null)"; }
no_generator() { ! symbol 'wc_Sha256Drbg_Disable|wc_RNG_HealthTest'; }
check 'draws from crypto_random_block' draws_from_us
check 'no generator of its own' no_generator

# The build changes lines of wolfSSL's source and says in "changes" which it found.
check 'a list of what was changed in the source' test -s "$prefix/changes"
while read -r made what; do
    check "the change in $what" test "$made" = changed
done < <(cat "$prefix/changes" || true)

# Some combinations of options compile and do not link.
links() {
    local program=$scratch/program
    printf '%s\n' '#include <wolfssl/options.h>' '#include <wolfssl/ssl.h>' '#include <wolfssl/wolfcrypt/random.h>' \
        'int crypto_random_block(unsigned char *out, unsigned int len) { return out == NULL || len == 0; }' \
        'int wc_GenerateSeed(OS_Seed *os, byte *out, word32 len) { return os == NULL || out == NULL || len == 0; }' \
        'int main(void) { return wolfSSL_CTX_new(wolfTLSv1_3_server_method()) == NULL; }' >"$program.c"
    "${CC:-cc}" -I"$prefix/include" "$program.c" "$archive" -lm -pthread -o "$program"
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
check 'a TLS program links' links

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
