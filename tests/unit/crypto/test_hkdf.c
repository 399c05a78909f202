/* Labels of one secret, prepared once, are what RFC 8446's HKDF-Expand-Label gives for each; and the HMAC below them is
 * that of RFC 2104, whatever the length of what it authenticates. */
#include "../../../core/crypto/hkdf.h"
#include "../../../core/crypto/sha256.h"

#include <string.h>

#include "unit.h"

#include <wolfssl/wolfcrypt/hmac.h>
#include <wolfssl/wolfcrypt/kdf.h>

static const char *const labels[] = {"quic key",  "quic iv", "quic hp",         "quicv2 ku",
                                     "client in", "x",       "sixteen letters!"};

static void compare(size_t secret_len, int hash) {
    uint8_t secret[48], got[48], want[48];
    struct hkdf hkdf;
    memset(&hkdf, 0, sizeof hkdf);
    for (size_t i = 0; i < secret_len; i++)
        secret[i] = (uint8_t)(i * 37 + secret_len);
    ck_assert(hkdf_begin(&hkdf, hash == WC_SHA384, secret, secret_len));
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++)
        for (size_t len = 1; len <= secret_len; len++) {
            ck_assert(hkdf_label(&hkdf, labels[i], got, len));
            ck_assert_int_eq(wc_Tls13_HKDF_Expand_Label(want, (word32)len, secret, (word32)secret_len,
                                                        (const byte *)"tls13 ", 6, (const byte *)labels[i],
                                                        (word32)strlen(labels[i]), NULL, 0, hash),
                             0);
            ck_assert_mem_eq(got, want, len);
        }
    hkdf_end(&hkdf);
    const uint8_t *bytes = (const uint8_t *)&hkdf;
    for (size_t i = 0; i < sizeof hkdf; i++)
        ck_assert_uint_eq(bytes[i], 0);
}

START_TEST(as_wolfcrypt_with_sha256)
{
    sha256_force_library(_i);
    compare(32, WC_SHA256);
}
END_TEST

START_TEST(as_wolfcrypt_with_sha384)
{ compare(48, WC_SHA384); }
END_TEST

/* Every length around the ends of a block, where the padding goes into one more; every length of a key. */
static void compare_mac(bool wide, size_t key_len, size_t most) {
    uint8_t key[128], data[300], got[HKDF_MOST + 1], want[HKDF_MOST];
    int type = wide ? WC_SHA384 : WC_SHA256;
    size_t digest = wide ? 48 : 32;
    struct hkdf hkdf;
    Hmac hmac;
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)(i * 41 + key_len);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 29 + 3);
    ck_assert(hkdf_begin(&hkdf, wide, key, key_len));
    for (size_t len = 0; len <= most; len++) {
        got[digest] = 0xa5;
        ck_assert(hkdf_mac(&hkdf, data, len, got, digest));
        ck_assert_int_eq(wc_HmacInit(&hmac, NULL, INVALID_DEVID), 0);
        ck_assert_int_eq(wc_HmacSetKey_ex(&hmac, type, key, (word32)key_len, 1), 0);
        ck_assert_int_eq(wc_HmacUpdate(&hmac, data, (word32)len), 0);
        ck_assert_int_eq(wc_HmacFinal(&hmac, want), 0);
        wc_HmacFree(&hmac);
        ck_assert_mem_eq(got, want, digest);
        ck_assert_uint_eq(got[digest], 0xa5);
    }
    hkdf_end(&hkdf);
}

START_TEST(mac_as_wolfcrypt)
{
    sha256_force_library(_i);
    compare_mac(false, 32, 300);
    compare_mac(true, 48, 300);
    for (size_t key_len = 0; key_len <= 64; key_len++)
        compare_mac(false, key_len, 1);
    for (size_t key_len = 0; key_len <= 128; key_len++)
        compare_mac(true, key_len, 1);
}
END_TEST

/* FIPS 180-4: the hash of "abc", and many blocks at once as one after the other. */
START_TEST(blocks_of_the_processor)
{
    static const uint8_t want[32] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                     0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                     0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    uint8_t blocks[5 * SHA256_BLOCK] = "abc\x80", got[32], other[32];
    uint32_t state[8];
    sha256_force_library(true);
    ck_assert(!sha256_is_direct());
    sha256_force_library(false);
    if (!sha256_is_direct())
        return; /* this processor leaves it to wolfCrypt */
    blocks[SHA256_BLOCK - 1] = 24;
    sha256_begin(state);
    sha256_blocks(state, blocks, 1);
    sha256_bytes(state, got);
    ck_assert_mem_eq(got, want, sizeof want);
    for (size_t i = SHA256_BLOCK; i < sizeof blocks; i++)
        blocks[i] = (uint8_t)(i * 7);
    sha256_begin(state);
    sha256_blocks(state, blocks, 5);
    sha256_bytes(state, got);
    sha256_begin(state);
    for (size_t i = 0; i < 5; i++)
        sha256_blocks(state, blocks + i * SHA256_BLOCK, 1);
    sha256_bytes(state, other);
    ck_assert_mem_eq(got, other, sizeof got);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("hkdf");
    TCase *tests = tcase_create("hkdf");
    tcase_add_loop_test(tests, as_wolfcrypt_with_sha256, 0, 2);
    tcase_add_test(tests, as_wolfcrypt_with_sha384);
    tcase_add_loop_test(tests, mac_as_wolfcrypt, 0, 2);
    tcase_add_test(tests, blocks_of_the_processor);
    suite_add_tcase(suite, tests);
    return suite;
}
