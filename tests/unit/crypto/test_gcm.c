/* test_gcm.c - AES-GCM of packets: published vectors, and both implementations against each other over all lengths at
 * which they cut differently. On a processor without VAES both are the narrow one. */
#include "unit.h"

#include "crypto/gcm.h"
#include "crypto/keys.h"
#include "vectors.h"

#define TEXT_MAX 1600u
#define AAD_MAX 80u

/* Cases of "The Galois/Counter Mode of Operation" (McGrew, Viega), appendix B: key, nonce, associated data, text,
 * result. */
struct vector {
    const char *key, *nonce, *aad, *text, *sealed;
};

static const char long_text[] = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                                "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
static const char some_aad[] = "feedfacedeadbeeffeedfacedeadbeefabaddad2";

static const struct vector vectors[] = {
    {"00000000000000000000000000000000", "000000000000000000000000", "", "", "58e2fccefa7e3061367f1d57a4e7455a"},
    {"00000000000000000000000000000000", "000000000000000000000000", "", "00000000000000000000000000000000",
     "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf"},
    {"feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", some_aad, long_text,
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973"
     "d58e"
     "0915bc94fbc3221a5db94fae95ae7121a47"},
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "", "",
     "530f8afbc74536b9a963b4f1c4cb738b"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", some_aad,
     long_text,
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0ab"
     "cc9f"
     "66276fc6ece0f4e1768cddf8853bb2d551b"},
};

static uint8_t next_byte(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (uint8_t)(*state >> 24);
}

static void fill(uint8_t *at, size_t len, uint32_t seed) {
    for (size_t i = 0; i < len; i++)
        at[i] = next_byte(&seed);
}

START_TEST(published_vectors)
{
    bool wide = _i != 0 && gcm_is_wide();
    for (size_t v = 0; v < sizeof vectors / sizeof vectors[0]; v++) {
        struct gcm_key key;
        gcm_begin(&key, wide);
        uint8_t raw[32], nonce[GCM_NONCE_SIZE], aad[32], text[96], plain[96], sealed[96];
        size_t raw_len = unhex(vectors[v].key, raw), aad_len = unhex(vectors[v].aad, aad);
        size_t len = unhex(vectors[v].text, text), sealed_len = unhex(vectors[v].sealed, sealed);
        unhex(vectors[v].nonce, nonce);
        memcpy(plain, text, len);
        ck_assert_uint_eq(sealed_len, len + GCM_TAG_SIZE);
        ck_assert(gcm_set_key(&key, raw, raw_len));
        ck_assert(gcm_seal(&key, nonce, aad, aad_len, text, len));
        ck_assert_msg(!memcmp(text, sealed, sealed_len), "vector %zu", v);
        ck_assert(gcm_open(&key, nonce, aad, aad_len, text, len));
        ck_assert_msg(!memcmp(text, plain, len), "vector %zu", v);
        gcm_clear(&key);
    }
}
END_TEST

/* Seals with one, opens with the other, and what they seal is the same. */
static void agree(struct gcm_key *narrow, struct gcm_key *wide, size_t aad_len, size_t len) {
    static uint8_t aad[AAD_MAX], plain[TEXT_MAX], a[TEXT_MAX + GCM_TAG_SIZE + 1], b[TEXT_MAX + GCM_TAG_SIZE + 1];
    uint8_t nonce[GCM_NONCE_SIZE];
    fill(nonce, sizeof nonce, (uint32_t)(len * 131 + aad_len));
    fill(aad, aad_len, (uint32_t)len + 7);
    fill(plain, len, (uint32_t)aad_len + 3);
    memcpy(a, plain, len);
    memcpy(b, plain, len);
    a[len + GCM_TAG_SIZE] = b[len + GCM_TAG_SIZE] = 0x5a; /* nothing beyond the tag is written */
    ck_assert(gcm_seal(narrow, nonce, aad, aad_len, a, len));
    ck_assert(gcm_seal(wide, nonce, aad, aad_len, b, len));
    ck_assert_msg(!memcmp(a, b, len + GCM_TAG_SIZE + 1), "text of %zu, associated data of %zu", len, aad_len);
    ck_assert(gcm_open(wide, nonce, aad, aad_len, a, len));
    ck_assert(gcm_open(narrow, nonce, aad, aad_len, b, len));
    ck_assert(!memcmp(a, plain, len) && !memcmp(b, plain, len));
}

START_TEST(both_seal_the_same)
{
    uint8_t raw[32];
    fill(raw, sizeof raw, 99);
    for (size_t size = 16; size <= 32; size += 16) {
        struct gcm_key narrow, wide;
        gcm_begin(&narrow, false);
        gcm_begin(&wide, gcm_is_wide());
        ck_assert(gcm_set_key(&narrow, raw, size));
        ck_assert(gcm_set_key(&wide, raw, size));
        for (size_t len = 0; len <= 600; len++)
            agree(&narrow, &wide, len % AAD_MAX, len);
        for (size_t len = 1300; len <= TEXT_MAX; len++)
            agree(&narrow, &wide, 11, len);
        for (size_t aad_len = 0; aad_len < AAD_MAX; aad_len++)
            agree(&narrow, &wide, aad_len, 100);
        gcm_clear(&narrow);
        gcm_clear(&wide);
    }
}
END_TEST

START_TEST(what_was_changed_is_not_opened)
{
    bool wide = _i != 0 && gcm_is_wide();
    static const size_t lengths[] = {0, 1, 15, 16, 17, 127, 128, 200};
    uint8_t raw[16] = {1}, nonce[GCM_NONCE_SIZE] = {2}, aad[20] = {3}, sealed[256], text[256];
    struct gcm_key key;
    gcm_begin(&key, wide);
    ck_assert(gcm_set_key(&key, raw, sizeof raw));
    for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
        size_t len = lengths[l];
        fill(sealed, len, (uint32_t)len);
        ck_assert(gcm_seal(&key, nonce, aad, sizeof aad, sealed, len));
        for (size_t bit = 0; bit < 8 * (len + GCM_TAG_SIZE); bit++) {
            memcpy(text, sealed, len + GCM_TAG_SIZE);
            text[bit / 8] ^= (uint8_t)(1u << bit % 8);
            ck_assert_msg(!gcm_open(&key, nonce, aad, sizeof aad, text, len), "text of %zu, bit %zu", len, bit);
        }
        for (size_t bit = 0; bit < 8 * (sizeof aad + sizeof nonce); bit++) {
            uint8_t *at = bit < 8 * sizeof aad ? &aad[bit / 8] : &nonce[bit / 8 - sizeof aad];
            *at ^= (uint8_t)(1u << bit % 8);
            memcpy(text, sealed, len + GCM_TAG_SIZE);
            ck_assert_msg(!gcm_open(&key, nonce, aad, sizeof aad, text, len), "text of %zu, header bit %zu", len, bit);
            *at ^= (uint8_t)(1u << bit % 8);
        }
    }
    gcm_clear(&key);
}
END_TEST

struct pair {
    struct crypto_key *key;
    struct crypto_mask_key *mask;
};

static struct pair new_pair(struct base_mem *mem) {
    struct crypto_secret secret = {.aead = CRYPTO_AES_128_GCM, .len = 32};
    struct pair pair;
    fill(secret.bytes, 32, 5);
    ck_assert(crypto_keys_new(mem, CRYPTO_QUIC_V1, &secret, &pair.key, &pair.mask));
    return pair;
}

static void pack_and_unpack(struct base_mem *mem, struct pair *pair) {
    pair->key = crypto_key_unpack(mem, crypto_key_pack(mem, pair->key));
    pair->mask = crypto_mask_key_unpack(mem, crypto_mask_key_pack(mem, pair->mask));
    ck_assert(pair->key && pair->mask);
}

static void free_pair(struct base_mem *mem, struct pair pair) {
    crypto_key_free(mem, pair.key);
    crypto_mask_key_free(mem, pair.mask);
}

static void force(bool plain) {
    gcm_force_narrow(plain);
    aes_force_library(plain);
}

/* A key is freed and packed as what it is, whatever would be chosen for a new one, and unpacked as a new one. */
START_TEST(a_key_is_freed_as_what_it_is)
{
    struct base_mem mem;
    base_mem_init(&mem, 0);
    force(false);
    struct pair first = new_pair(&mem);
    force(true);
    ck_assert(!gcm_is_wide() && !aes_is_direct());
    struct pair second = new_pair(&mem);
    pack_and_unpack(&mem, &first);
    force(false);
    pack_and_unpack(&mem, &second);
    free_pair(&mem, first);
    free_pair(&mem, second);
    ck_assert(mem.used == 0);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("gcm");
    TCase *tcase = tcase_create("gcm");
    tcase_add_loop_test(tcase, published_vectors, 0, 2);
    tcase_add_test(tcase, both_seal_the_same);
    tcase_add_loop_test(tcase, what_was_changed_is_not_opened, 0, 2);
    tcase_add_test(tcase, a_key_is_freed_as_what_it_is);
    suite_add_tcase(suite, tcase);
    return suite;
}
