/* The key schedule is RFC 8446's: as RFC 8448 prints it, and label by label as wolfCrypt has it; and nothing of it is kept
 * when a handshake has been worked on. */
#include "../../../core/crypto/tls_impl.h"

#include <string.h>

#include "tls_pair.h"
#include "unit.h"

#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/kdf.h>
#include <wolfssl/wolfcrypt/sha256.h>

static void begin(void) { ck_assert(crypto_init()); }

static void end(void) {
    tls_schedule_forget();
    crypto_cleanup();
}

static size_t size_of(int hash) { return hash == WC_SHA256 ? 32 : 48; }

static void expand(uint8_t *out, const uint8_t *secret, const char *label, const uint8_t *context, int hash) {
    word32 size = (word32)size_of(hash);
    ck_assert_int_eq(tls_on_expand(out, size, secret, size, (const byte *)"tls13 ", 6, (const byte *)label,
                                   (word32)strlen(label), context, context ? size : 0, hash, 0),
                     0);
}

/* RFC 8448 3: "{server} extract secret early" to "... master". */
START_TEST(as_rfc8448)
{
    static const uint8_t early[] = {0x33, 0xad, 0x0a, 0x1c, 0x60, 0x7e, 0xc0, 0x3b, 0x09, 0xe6, 0xcd,
                                    0x98, 0x93, 0x68, 0x0c, 0xe2, 0x10, 0xad, 0xf3, 0x00, 0xaa, 0x1f,
                                    0x26, 0x60, 0xe1, 0xb2, 0x2e, 0x10, 0xf1, 0x70, 0xf9, 0x2a};
    static const uint8_t derived[] = {0x6f, 0x26, 0x15, 0xa1, 0x08, 0xc7, 0x02, 0xc5, 0x67, 0x8f, 0x54,
                                      0xfc, 0x9d, 0xba, 0xb6, 0x97, 0x16, 0xc0, 0x76, 0x18, 0x9c, 0x48,
                                      0x25, 0x0c, 0xeb, 0xea, 0xc3, 0x57, 0x6c, 0x36, 0x11, 0xba};
    static const uint8_t shared[] = {0x8b, 0xd4, 0x05, 0x4f, 0xb5, 0x5b, 0x9d, 0x63, 0xfd, 0xfb, 0xac,
                                     0xf9, 0xf0, 0x4b, 0x9f, 0x0d, 0x35, 0xe6, 0xd6, 0x3f, 0x53, 0x75,
                                     0x63, 0xef, 0xd4, 0x62, 0x72, 0x90, 0x0f, 0x89, 0x49, 0x2d};
    static const uint8_t handshake[] = {0x1d, 0xc8, 0x26, 0xe9, 0x36, 0x06, 0xaa, 0x6f, 0xdc, 0x0a, 0xad,
                                        0xc1, 0x2f, 0x74, 0x1b, 0x01, 0x04, 0x6a, 0xa6, 0xb9, 0x9f, 0x69,
                                        0x1e, 0xd2, 0x21, 0xa9, 0xf0, 0xca, 0x04, 0x3f, 0xbe, 0xac};
    static const uint8_t master[] = {0x18, 0xdf, 0x06, 0x84, 0x3d, 0x13, 0xa0, 0x8b, 0xf2, 0xa4, 0x49,
                                     0x84, 0x4c, 0x5f, 0x8a, 0x47, 0x80, 0x01, 0xbc, 0x4d, 0x4c, 0x62,
                                     0x79, 0x84, 0xd5, 0xa4, 0x1d, 0xa8, 0xd0, 0x40, 0x29, 0x19};
    uint8_t nothing[32], secret[48], salt[48], input[48];
    ck_assert_int_eq(wc_Sha256Hash((const byte *)"", 0, nothing), 0);
    ck_assert_int_eq(tls_on_extract(secret, NULL, 0, input, 0, WC_SHA256, NULL), 0);
    ck_assert_mem_eq(secret, early, 32);
    expand(salt, secret, "derived", nothing, WC_SHA256);
    ck_assert_mem_eq(salt, derived, 32);
    memcpy(secret, shared, 32);
    ck_assert_int_eq(tls_on_extract(secret, salt, 32, secret, 32, WC_SHA256, NULL), 0); /* in place, as wolfSSL does */
    ck_assert_mem_eq(secret, handshake, 32);
    expand(salt, secret, "derived", nothing, WC_SHA256);
    ck_assert_int_eq(tls_on_extract(secret, salt, 32, secret, 0, WC_SHA256, NULL), 0);
    ck_assert_mem_eq(secret, master, 32);
}
END_TEST

static void compare_expand(const uint8_t *secret, const char *label, const uint8_t *context, int hash) {
    uint8_t got[48], want[48];
    word32 size = (word32)size_of(hash);
    expand(got, secret, label, context, hash);
    ck_assert_int_eq(wc_Tls13_HKDF_Expand_Label(want, size, secret, size, (const byte *)"tls13 ", 6,
                                                (const byte *)label, (word32)strlen(label), context, context ? size : 0,
                                                hash),
                     0);
    ck_assert_mem_eq(got, want, size);
}

static void compare_extract(size_t salt_len, size_t input_len, int hash) {
    static const char *const labels[] = {"c hs traffic", "s hs traffic", "finished", "derived", "exp master"};
    uint8_t salt[48], input[1200], copy[1200], secret[48], want[48], other[48], context[48];
    for (size_t i = 0; i < sizeof input; i++)
        copy[i] = input[i] = (uint8_t)(i * 31 + salt_len);
    for (size_t i = 0; i < sizeof salt; i++)
        salt[i] = (uint8_t)(i * 17), context[i] = (uint8_t)(i + 99), other[i] = (uint8_t)(i ^ 0x5a);
    const uint8_t *used = salt_len ? salt : NULL;
    ck_assert_int_eq(tls_on_extract(secret, used, (word32)salt_len, input, (word32)input_len, hash, NULL), 0);
    ck_assert_int_eq(wc_Tls13_HKDF_Extract(want, used, (word32)salt_len, copy, (word32)input_len, hash), 0);
    ck_assert_mem_eq(secret, want, size_of(hash));
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        compare_expand(secret, labels[i], context, hash);
        compare_expand(secret, labels[i], NULL, hash);
        compare_expand(other, labels[i], context, hash); /* of another secret, between those of the last */
    }
    tls_schedule_forget();
    compare_expand(secret, labels[0], context, hash);
}

START_TEST(as_wolfcrypt)
{
    static const size_t inputs[] = {0, 1, 32, 48, 55, 56, 64, 66, 111, 112, 1200};
    static const int ids[] = {WC_SHA256, WC_SHA384};
    for (size_t h = 0; h < 2; h++)
        for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
            compare_extract(0, inputs[i], ids[h]);
            compare_extract(size_of(ids[h]), inputs[i], ids[h]);
        }
}
END_TEST

/* "derived" is a constant of the one early secret only. */
START_TEST(derived_of_others)
{
    uint8_t nothing[32], secret[48], zeros[48] = {0};
    ck_assert_int_eq(wc_Sha256Hash((const byte *)"", 0, nothing), 0);
    ck_assert_int_eq(tls_on_extract(secret, NULL, 0, zeros, 0, WC_SHA256, NULL), 0);
    compare_expand(secret, "derived", nothing, WC_SHA256);
    compare_expand(secret, "deriveD", nothing, WC_SHA256);
    secret[31] ^= 1;
    compare_expand(secret, "derived", nothing, WC_SHA256);
    ck_assert_int_eq(tls_on_extract(secret, NULL, 0, zeros, 0, WC_SHA384, NULL), 0);
    compare_expand(secret, "derived", zeros, WC_SHA384);
}
END_TEST

START_TEST(unusual_is_left_to_wolfssl)
{
    static const struct {
        word32 out, secret, prefix, label, context;
        int hash;
    } cases[] = {
        {33, 32, 6, 8, 32, WC_SHA256}, {49, 48, 6, 8, 48, WC_SHA384}, {32, 48, 6, 8, 32, WC_SHA256},
        {32, 32, 6, 17, 0, WC_SHA256}, {32, 32, 6, 8, 33, WC_SHA256}, {32, 32, 5, 8, 32, WC_SHA256},
        {32, 64, 6, 8, 32, WC_SHA512}, {32, 32, 6, 8, 32, WC_SHA},
    };
    uint8_t out[64], secret[64] = {1}, context[64] = {2};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_int_eq(tls_on_expand(out, cases[i].out, secret, cases[i].secret, (const byte *)"tls13 ",
                                       cases[i].prefix, (const byte *)"seventeen letters", cases[i].label, context,
                                       cases[i].context, cases[i].hash, 0),
                         NOT_COMPILED_IN);
    ck_assert_int_eq(tls_on_expand(out, 32, secret, 32, (const byte *)"dtls13", 6, (const byte *)"finished", 8, context,
                                   32, WC_SHA256, 0),
                     NOT_COMPILED_IN);
    ck_assert_int_eq(tls_on_expand(out, 32, secret, 32, (const byte *)"tls13 ", 6, (const byte *)"sixteen letters!", 16,
                                   context, 32, WC_SHA256, 0),
                     0);
}
END_TEST

START_TEST(nothing_is_kept)
{
    struct pair pair;
    uint8_t secret[48], salt[32] = {1}, input[32] = {2};
    memset(&pair, 0, sizeof pair);
    pair.server_config = pair_server_config();
    pair.client_config = pair_client_config();
    ck_assert(!tls_schedule_forget());
    pair_open(&pair);
    while (pair_carry(&pair, &pair.client, &pair.server) | pair_carry(&pair, &pair.server, &pair.client))
        ck_assert(!tls_schedule_forget());
    pair_check_complete(&pair);
    pair_close(&pair);
    ck_assert_int_eq(tls_on_extract(secret, salt, 32, input, 32, WC_SHA256, NULL), 0);
    ck_assert(tls_schedule_forget());
    ck_assert(!tls_schedule_forget());
    crypto_tls_config_unref(pair.client_config);
    crypto_tls_config_unref(pair.server_config);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("tls_schedule");
    TCase *tests = tcase_create("schedule");
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_test(tests, as_rfc8448);
    tcase_add_test(tests, as_wolfcrypt);
    tcase_add_test(tests, derived_of_others);
    tcase_add_test(tests, unusual_is_left_to_wolfssl);
    tcase_add_test(tests, nothing_is_kept);
    suite_add_tcase(suite, tests);
    return suite;
}
