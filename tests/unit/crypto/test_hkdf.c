/* Labels of one secret, prepared once, are what RFC 8446's HKDF-Expand-Label gives for each. */
#include "../../../core/crypto/hkdf.h"

#include <string.h>

#include "unit.h"

#include <wolfssl/wolfcrypt/kdf.h>

static const char *const labels[] = {"quic key",  "quic iv", "quic hp",         "quicv2 ku",
                                     "client in", "x",       "sixteen letters!"};

static void compare(size_t secret_len, int hash) {
    uint8_t secret[48], got[48], want[48];
    struct hkdf hkdf;
    for (size_t i = 0; i < secret_len; i++)
        secret[i] = (uint8_t)(i * 37 + secret_len);
    ck_assert(hkdf_begin(&hkdf, secret, secret_len));
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
{ compare(32, WC_SHA256); }
END_TEST

START_TEST(as_wolfcrypt_with_sha384)
{ compare(48, WC_SHA384); }
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("hkdf");
    TCase *tests = tcase_create("hkdf");
    tcase_add_test(tests, as_wolfcrypt_with_sha256);
    tcase_add_test(tests, as_wolfcrypt_with_sha384);
    suite_add_tcase(suite, tests);
    return suite;
}
