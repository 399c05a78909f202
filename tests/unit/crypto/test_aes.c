/* test_aes.c - AES over single blocks: the vectors of FIPS 197, and both implementations against each other. Where the
 * processor has no AES instructions both are wolfCrypt's. */
#include "unit.h"

#include "crypto/aes.h"
#include "vectors.h"

/* FIPS 197, appendices B and C. */
static const struct vector {
    const char *key, *plain, *cipher;
} vectors[] = {
    {"2b7e151628aed2a6abf7158809cf4f3c", "3243f6a8885a308d313198a2e0370734", "3925841d02dc09fbdc118597196a0b32"},
    {"000102030405060708090a0b0c0d0e0f", "00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a"},
    {"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "00112233445566778899aabbccddeeff",
     "8ea2b7ca516745bfeafc49904b496089"},
};

static void set(struct aes_key *aes, bool direct, const uint8_t *key, size_t len) {
    memset(aes, 0xa5, sizeof *aes); /* what the memory held before is no matter */
    aes_begin(aes, direct);
    ck_assert(aes_set_key(aes, key, len));
}

START_TEST(published_vectors)
{
    for (size_t v = 0; v < sizeof vectors / sizeof vectors[0]; v++) {
        struct aes_key aes;
        uint8_t key[32], block[1][AES_BLOCK], cipher[AES_BLOCK];
        size_t len = unhex(vectors[v].key, key);
        unhex(vectors[v].plain, block[0]);
        unhex(vectors[v].cipher, cipher);
        set(&aes, _i && aes_is_direct(), key, len);
        ck_assert(aes_encrypt(&aes, block, 1));
        ck_assert_mem_eq(block[0], cipher, AES_BLOCK);
        aes_clear(&aes);
    }
}
END_TEST

/* FIPS 197, appendices A.1 and A.3: the last round keys. */
START_TEST(published_schedules)
{
    static const char *const last[] = {"d014f9a8c9ee2589e13f0cc8b6630ca6", "fe4890d1e6188d0b046df344706c631e"};
    static const char *const keys[] = {"2b7e151628aed2a6abf7158809cf4f3c",
                                       "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"};
    for (unsigned i = 0; i < 2 && aes_is_direct(); i++) {
        struct aes_key aes;
        uint8_t key[32], expected[AES_BLOCK];
        unhex(last[i], expected);
        set(&aes, true, key, unhex(keys[i], key));
        const struct aes_schedule *schedule = &aes.u.schedule;
        ck_assert_uint_eq(schedule->rounds, i ? 13 : 9);
        ck_assert_mem_eq(&schedule->words[4 * (schedule->rounds + 1)], expected, AES_BLOCK);
        aes_clear(&aes);
    }
}
END_TEST

/* Any number of blocks, with nothing touched behind them. */
START_TEST(both_say_the_same)
{
    enum { BLOCKS = 35 };
    uint8_t key[32], one[BLOCKS][AES_BLOCK], other[BLOCKS][AES_BLOCK];
    uint32_t state = 7;
    for (size_t count = 0; count < BLOCKS; count++) {
        struct aes_key library, direct;
        for (size_t i = 0; i < sizeof key; i++)
            key[i] = (uint8_t)((state = state * 1664525u + 1013904223u) >> 24);
        for (size_t i = 0; i < sizeof one; i++)
            ((uint8_t *)one)[i] = (uint8_t)((state = state * 1664525u + 1013904223u) >> 24);
        memcpy(other, one, sizeof one);
        set(&library, false, key, count % 2 ? 16 : 32);
        set(&direct, aes_is_direct(), key, count % 2 ? 16 : 32);
        ck_assert(aes_encrypt(&library, one, count) || !count);
        ck_assert(aes_encrypt(&direct, other, count) || !count);
        ck_assert_mem_eq(one, other, sizeof one);
        aes_clear(&library);
        aes_clear(&direct);
    }
}
END_TEST

START_TEST(which_one_works_can_be_chosen)
{
    aes_force_library(true);
    ck_assert(!aes_is_direct());
    aes_force_library(false);
    ck_assert_uint_lt(aes_key_size(true), aes_key_size(false));
    ck_assert_uint_le(aes_key_size(false), sizeof(struct aes_key));
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("crypto/aes");
    TCase *tcase = tcase_create("aes");
    tcase_add_loop_test(tcase, published_vectors, 0, 2);
    tcase_add_test(tcase, published_schedules);
    tcase_add_test(tcase, both_say_the_same);
    tcase_add_test(tcase, which_one_works_can_be_chosen);
    suite_add_tcase(suite, tcase);
    return suite;
}
