/* Self-signed certificates: names, dates, fingerprints, and what does not fit. Whether peers take them: test_tls.c. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "crypto/tls.h"

static char cert[8192], key[4096];
static struct crypto_error error;

static void begin(void) { ck_assert(crypto_init()); }
static void end(void) { crypto_cleanup(); }

static bool make(const char *const *names, size_t count, unsigned days) {
    return crypto_selfsigned(names, count, days, cert, sizeof cert, key, sizeof key, &error);
}

START_TEST(makes_pem)
{
    static const char *const names[] = {"example.org", "192.0.2.7", "2001:db8::1"};
    ck_assert_msg(make(names, 3, 30), "%s", error.text);
    ck_assert_ptr_nonnull(strstr(cert, "-----BEGIN CERTIFICATE-----"));
    ck_assert_ptr_nonnull(strstr(key, "-----BEGIN PRIVATE KEY-----"));
    struct crypto_tls_config *config = crypto_tls_config_new(CRYPTO_SERVER, &error);
    ck_assert_msg(crypto_tls_config_certificate(config, CRYPTO_PEM, (const uint8_t *)cert, strlen(cert),
                                                (const uint8_t *)key, strlen(key), &error),
                  "%s", error.text);
    crypto_tls_config_unref(config);
}
END_TEST

START_TEST(every_one_is_new)
{
    static const char *const names[] = {"localhost"};
    uint8_t one[32], two[32];
    ck_assert(make(names, 1, 1));
    ck_assert(crypto_certificate_sha256(CRYPTO_PEM, (const uint8_t *)cert, strlen(cert), one));
    ck_assert(make(names, 1, 1));
    ck_assert(crypto_certificate_sha256(CRYPTO_PEM, (const uint8_t *)cert, strlen(cert), two));
    ck_assert_mem_ne(one, two, 32);
}
END_TEST

START_TEST(long_lists_of_names)
{
    /* The list's length takes 1, 2 and 3 bytes. */
    static char text[40][64];
    static const char *names[40];
    for (size_t i = 0; i < 40; i++) {
        snprintf(text[i], sizeof text[i], "a-name-of-some-length-%zu.example.org", i);
        names[i] = text[i];
    }
    for (size_t count = 1; count <= 40; count++)
        ck_assert_msg(make(names, count, 7), "%zu names: %s", count, error.text);
}
END_TEST

START_TEST(long_validity)
{
    static const char *const names[] = {"localhost"};
    ck_assert_msg(make(names, 1, 36500), "%s", error.text); /* beyond 2049 dates have another form */
    ck_assert(!make(names, 1, 36501));
    ck_assert(!make(names, 1, 0));
}
END_TEST

START_TEST(refuses)
{
    static const char *const empty[] = {""};
    static char long_name[200];
    static const char *long_names[] = {long_name};
    memset(long_name, 'a', sizeof long_name - 1);
    ck_assert(!make(empty, 1, 1));
    ck_assert(!make(long_names, 1, 1));
    ck_assert(!make(long_names, 0, 1));
    static const char *const names[] = {"localhost"};
    ck_assert(!crypto_selfsigned(names, 1, 1, cert, 100, key, sizeof key, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "fit"));
    ck_assert(!crypto_selfsigned(names, 1, 1, cert, sizeof cert, key, 100, &error));
    ck_assert(!crypto_selfsigned(names, 1, 1, cert, sizeof cert, key, 0, NULL));
}
END_TEST

START_TEST(fingerprints)
{
    uint8_t hash[32];
    ck_assert(!crypto_certificate_sha256(CRYPTO_PEM, (const uint8_t *)"nothing", 7, hash));
    ck_assert(!crypto_certificate_sha256(CRYPTO_DER, (const uint8_t *)"\x30\x05\x00", 3, hash));
    /* DER is hashed as it stands: SHA-256 of 30 00. */
    ck_assert(crypto_certificate_sha256(CRYPTO_DER, (const uint8_t *)"\x30\x00", 2, hash));
    static const uint8_t want[32] = {0xe4, 0xf6, 0x0d, 0x0a, 0xa6, 0xd7, 0xf3, 0xd3, 0xb6, 0xa6, 0x49,
                                     0x4b, 0x1c, 0x86, 0x1b, 0x99, 0xf6, 0x49, 0xc6, 0xf9, 0xec, 0x51,
                                     0xab, 0xaf, 0x20, 0x1b, 0x20, 0xf2, 0x97, 0x32, 0x7c, 0x95};
    ck_assert_mem_eq(hash, want, 32);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("selfsigned");
    TCase *tests = tcase_create("selfsigned");
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_test(tests, makes_pem);
    tcase_add_test(tests, every_one_is_new);
    tcase_add_test(tests, long_lists_of_names);
    tcase_add_test(tests, long_validity);
    tcase_add_test(tests, refuses);
    tcase_add_test(tests, fingerprints);
    suite_add_tcase(suite, tests);
    return suite;
}
