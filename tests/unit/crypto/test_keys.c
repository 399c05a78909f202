/* Key schedule: the worked examples of RFC 9001 A.1, A.5 and RFC 9369 A.1, A.5; limits; small helpers. */
#include "unit.h"

#include "crypto/keys.h"
#include "vectors.h"

static void check_label(const struct crypto_secret *secret, const char *label, const char *want) {
    uint8_t expect[64], got[64];
    size_t len = unhex(want, expect);
    ck_assert(crypto_expand_label(secret, label, got, len));
    ck_assert_mem_eq(got, expect, len);
}

static void check_secret(const struct crypto_secret *secret, const char *want) {
    uint8_t expect[64];
    size_t len = unhex(want, expect);
    ck_assert_uint_eq(secret->len, len);
    ck_assert_mem_eq(secret->bytes, expect, len);
}

static void initial(enum crypto_version version, struct crypto_secret *client, struct crypto_secret *server) {
    uint8_t dcid[20];
    size_t len = unhex(VECTOR_DCID, dcid);
    ck_assert(crypto_initial_secrets(version, dcid, len, client, server));
    ck_assert_int_eq((int)client->aead, CRYPTO_AES_128_GCM);
    ck_assert_int_eq((int)server->aead, CRYPTO_AES_128_GCM);
}

START_TEST(initial_secrets_v1)
{
    struct crypto_secret client, server;
    initial(CRYPTO_QUIC_V1, &client, &server);
    check_secret(&client, "c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea");
    check_label(&client, "quic key", "1f369613dd76d5467730efcbe3b1a22d");
    check_label(&client, "quic iv", "fa044b2f42a3fd3b46fb255c");
    check_label(&client, "quic hp", "9f50449e04a0e810283a1e9933adedd2");
    check_secret(&server, "3c199828fd139efd216c155ad844cc81fb82fa8d7446fa7d78be803acdda951b");
    check_label(&server, "quic key", "cf3a5331653c364c88f0f379b6067e37");
    check_label(&server, "quic iv", "0ac1493ca1905853b0bba03e");
    check_label(&server, "quic hp", "c206b8d9b9f0f37644430b490eeaa314");
}
END_TEST

START_TEST(initial_secrets_v2)
{
    struct crypto_secret client, server;
    initial(CRYPTO_QUIC_V2, &client, &server);
    check_secret(&client, "14ec9d6eb9fd7af83bf5a668bc17a7e283766aade7ecd0891f70f9ff7f4bf47b");
    check_label(&client, "quicv2 key", "8b1a0bc121284290a29e0971b5cd045d");
    check_label(&client, "quicv2 iv", "91f73e2351d8fa91660e909f");
    check_label(&client, "quicv2 hp", "45b95e15235d6f45a6b19cbcb0294ba9");
    check_secret(&server, "0263db1782731bf4588e7e4d93b7463907cb8cd8200b5da55a8bd488eafc37c1");
    check_label(&server, "quicv2 key", "82db637861d55e1d011f19ea71d5d2a7");
    check_label(&server, "quicv2 iv", "dd13c276499c0249d3310652");
    check_label(&server, "quicv2 hp", "edf6d05c83121201b436e16877593c3a");
}
END_TEST

START_TEST(next_secrets)
{
    struct crypto_secret now = {.aead = CRYPTO_CHACHA20_POLY1305, .len = 32}, next;
    unhex(VECTOR_CHACHA_SECRET, now.bytes);
    ck_assert(crypto_next_secret(CRYPTO_QUIC_V1, &now, &next));
    check_secret(&next, "1223504755036d556342ee9361d253421a826c9ecdf3c7148684b36b714881f9");
    ck_assert_int_eq((int)next.aead, CRYPTO_CHACHA20_POLY1305);
    ck_assert(crypto_next_secret(CRYPTO_QUIC_V2, &now, &next));
    check_secret(&next, "c69374c49e3d2a9466fa689e49d476db5d0dfbc87d32ceeaa6343fd0ae4c7d88");
    ck_assert(crypto_next_secret(CRYPTO_QUIC_V1, &now, &now)); /* in place */
    check_secret(&now, "1223504755036d556342ee9361d253421a826c9ecdf3c7148684b36b714881f9");
}
END_TEST

START_TEST(next_secret_of_48_bytes)
{
    struct crypto_secret now = {.aead = CRYPTO_AES_256_GCM, .len = 48}, next;
    ck_assert(crypto_next_secret(CRYPTO_QUIC_V1, &now, &next));
    ck_assert_uint_eq(next.len, 48);
    uint8_t zeros[48] = {0};
    ck_assert_mem_ne(next.bytes, zeros, 48);
}
END_TEST

START_TEST(limits)
{
    ck_assert(crypto_confidentiality_limit(CRYPTO_AES_128_GCM) == UINT64_C(1) << 23);
    ck_assert(crypto_confidentiality_limit(CRYPTO_AES_256_GCM) == UINT64_C(1) << 23);
    ck_assert(crypto_confidentiality_limit(CRYPTO_CHACHA20_POLY1305) >= UINT64_C(1) << 62);
    ck_assert(crypto_integrity_limit(CRYPTO_AES_128_GCM) == UINT64_C(1) << 52);
    ck_assert(crypto_integrity_limit(CRYPTO_AES_256_GCM) == UINT64_C(1) << 52);
    ck_assert(crypto_integrity_limit(CRYPTO_CHACHA20_POLY1305) == UINT64_C(1) << 36);
}
END_TEST

START_TEST(equal_and_wipe)
{
    uint8_t a[33], b[33];
    memset(a, 7, sizeof a);
    memset(b, 7, sizeof b);
    ck_assert(crypto_equal(a, b, sizeof a));
    ck_assert(crypto_equal(a, b, 0));
    for (size_t i = 0; i < sizeof a; i++) {
        b[i] ^= 0x80;
        ck_assert(!crypto_equal(a, b, sizeof a));
        b[i] ^= 0x80;
    }
    crypto_wipe(a, sizeof a);
    for (size_t i = 0; i < sizeof a; i++)
        ck_assert_uint_eq(a[i], 0);
}
END_TEST

START_TEST(keys_are_counted)
{
    for (int aead = 0; aead < CRYPTO_AEADS; aead++) {
        struct base_mem mem;
        base_mem_init(&mem, 0);
        struct crypto_secret secret = {.aead = (enum crypto_aead)aead, .len = aead == CRYPTO_AES_256_GCM ? 48 : 32};
        struct crypto_key *key = crypto_key_new(&mem, CRYPTO_QUIC_V1, &secret);
        struct crypto_mask_key *mask = crypto_mask_key_new(&mem, CRYPTO_QUIC_V1, &secret);
        ck_assert(key && mask && mem.used > 0);
        crypto_key_free(&mem, key);
        crypto_mask_key_free(&mem, mask);
        ck_assert(crypto_keys_new(&mem, CRYPTO_QUIC_V1, &secret, &key, &mask));
        crypto_key_free(&mem, key);
        crypto_mask_key_free(&mem, mask);
        crypto_key_free(&mem, NULL);
        crypto_mask_key_free(&mem, NULL);
        ck_assert(mem.used == 0);
    }
}
END_TEST

START_TEST(keys_need_memory)
{
    struct base_mem mem;
    base_mem_init(&mem, 8);
    struct crypto_secret secret = {.aead = CRYPTO_AES_128_GCM, .len = 32};
    ck_assert_ptr_null(crypto_key_new(&mem, CRYPTO_QUIC_V1, &secret));
    ck_assert_ptr_null(crypto_mask_key_new(&mem, CRYPTO_QUIC_V1, &secret));
    struct crypto_key *key;
    struct crypto_mask_key *mask;
    for (uint64_t limit = 8;; limit += 8) { /* neither, or both */
        base_mem_init(&mem, limit);
        bool made = crypto_keys_new(&mem, CRYPTO_QUIC_V1, &secret, &key, &mask);
        ck_assert(made == (key != NULL) && made == (mask != NULL));
        crypto_key_free(&mem, key);
        crypto_mask_key_free(&mem, mask);
        ck_assert(mem.used == 0);
        if (made)
            break;
    }
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("keys");
    TCase *tests = tcase_create("keys");
    tcase_add_test(tests, initial_secrets_v1);
    tcase_add_test(tests, initial_secrets_v2);
    tcase_add_test(tests, next_secrets);
    tcase_add_test(tests, next_secret_of_48_bytes);
    tcase_add_test(tests, limits);
    tcase_add_test(tests, equal_and_wipe);
    tcase_add_test(tests, keys_are_counted);
    tcase_add_test(tests, keys_need_memory);
    suite_add_tcase(suite, tests);
    return suite;
}
