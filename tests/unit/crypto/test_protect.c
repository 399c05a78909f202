/* Packet protection: the packets of RFC 9001 A.2 to A.5 and RFC 9369 A.2 to A.5, round trips, and corruption. */
#include "unit.h"

#include "crypto/gcm.h"
#include "crypto/protect.h"
#include "vectors.h"

#define PACKET_MAX 2048

struct keys {
    struct base_mem mem;
    struct crypto_key *key;
    struct crypto_mask_key *mask;
};

static void make_keys(struct keys *keys, enum crypto_version version, const struct crypto_secret *secret) {
    base_mem_init(&keys->mem, 0);
    keys->key = crypto_key_new(&keys->mem, version, secret);
    keys->mask = crypto_mask_key_new(&keys->mem, version, secret);
    ck_assert(keys->key && keys->mask);
}

static void drop_keys(struct keys *keys) {
    crypto_key_free(&keys->mem, keys->key);
    crypto_mask_key_free(&keys->mem, keys->mask);
    ck_assert(keys->mem.used == 0);
}

static void keys_of(struct keys *keys, enum crypto_aead aead) {
    struct crypto_secret secret = {.aead = aead, .len = aead == CRYPTO_AES_256_GCM ? 48 : 32};
    for (size_t i = 0; i < secret.len; i++)
        secret.bytes[i] = (uint8_t)(i * 7 + (unsigned)aead);
    make_keys(keys, CRYPTO_QUIC_V1, &secret);
}

/* Seals a worked example, compares, and opens it again. */
static void run_vector(struct keys *keys, const struct packet_vector *vector) {
    uint8_t header[64], plain[PACKET_MAX] = {0}, want[PACKET_MAX], packet[PACKET_MAX] = {0};
    size_t header_len = unhex(vector->header, header), want_len = unhex(vector->sealed, want);
    unhex(vector->plain, plain);
    size_t pn_len = (header[0] & 3u) + 1, plain_len = want_len - header_len - CRYPTO_TAG_SIZE;
    memcpy(packet, header, header_len);
    memcpy(packet + header_len, plain, plain_len);
    struct crypto_seal_item item = {.packet = packet,
                                    .number = vector->number,
                                    .len = (uint32_t)want_len,
                                    .pn_offset = (uint16_t)(header_len - pn_len),
                                    .pn_len = (uint8_t)pn_len};
    ck_assert(crypto_seal(keys->key, keys->mask, &item, 1));
    ck_assert_mem_eq(packet, want, want_len);

    struct crypto_open_item open = {.packet = packet, .len = item.len, .pn_offset = item.pn_offset};
    ck_assert(crypto_unmask(keys->mask, &open, 1));
    ck_assert_uint_eq(open.first, header[0]);
    ck_assert_uint_eq(open.pn_len, pn_len);
    ck_assert_mem_eq(packet, header, header_len);
    ck_assert(open.truncated == (vector->number & (UINT32_MAX >> (32 - 8 * pn_len))));
    ck_assert_int_eq(crypto_open(keys->key, &open, vector->number), (int)plain_len);
    ck_assert_mem_eq(packet + header_len, plain, plain_len);
}

START_TEST(worked_examples)
{
    enum crypto_version version = (enum crypto_version)_i;
    uint8_t dcid[20];
    struct crypto_secret secrets[3] = {[2] = {.aead = CRYPTO_CHACHA20_POLY1305, .len = 32}};
    ck_assert(crypto_initial_secrets(version, dcid, unhex(VECTOR_DCID, dcid), &secrets[0], &secrets[1]));
    unhex(VECTOR_CHACHA_SECRET, secrets[2].bytes);
    for (size_t i = 0; i < 3; i++) {
        struct keys keys;
        make_keys(&keys, version, &secrets[i]);
        run_vector(&keys, &packet_vectors[version][i]);
        drop_keys(&keys);
    }
}
END_TEST

START_TEST(retry_tags)
{
    static const char *const packets[CRYPTO_VERSIONS] = {
        "ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba",
        "cf6b3343cf0008f067a5502a4262b5746f6b656ec8646ce8bfe33952d955543665dcc7b6",
    };
    uint8_t odcid[20], packet[64], tag[CRYPTO_TAG_SIZE];
    size_t odcid_len = unhex(VECTOR_DCID, odcid);
    for (int v = 0; v < CRYPTO_VERSIONS; v++) {
        size_t len = unhex(packets[v], packet) - CRYPTO_TAG_SIZE;
        ck_assert(crypto_retry_tag((enum crypto_version)v, odcid, odcid_len, packet, len, tag));
        ck_assert_mem_eq(tag, packet + len, sizeof tag);
        odcid[0] ^= 1; /* the client's ID is part of it */
        ck_assert(crypto_retry_tag((enum crypto_version)v, odcid, odcid_len, packet, len, tag));
        ck_assert_mem_ne(tag, packet + len, sizeof tag);
        odcid[0] ^= 1;
    }
    static const uint8_t big[4096];
    ck_assert(!crypto_retry_tag(CRYPTO_QUIC_V1, odcid, 21, packet, 10, tag));
    ck_assert(!crypto_retry_tag(CRYPTO_QUIC_V1, odcid, 8, big, sizeof big, tag));
}
END_TEST

/* A packet whose every byte follows from its length and number. */
static size_t build(uint8_t *packet, bool long_header, size_t pn_len, size_t plain_len, uint64_t number,
                    struct crypto_seal_item *item) {
    size_t pn_offset = long_header ? 18 : 9;
    for (size_t i = 0; i < pn_offset; i++)
        packet[i] = (uint8_t)(i * 31 + 5);
    packet[0] = (uint8_t)((long_header ? 0xc0u : 0x40u) | (pn_len - 1));
    for (size_t i = 0; i < pn_len; i++)
        packet[pn_offset + i] = (uint8_t)(number >> (8 * (pn_len - 1 - i)));
    for (size_t i = 0; i < plain_len; i++)
        packet[pn_offset + pn_len + i] = (uint8_t)(i + number);
    size_t len = pn_offset + pn_len + plain_len + CRYPTO_TAG_SIZE;
    *item = (struct crypto_seal_item){.packet = packet,
                                      .number = number,
                                      .len = (uint32_t)len,
                                      .pn_offset = (uint16_t)pn_offset,
                                      .pn_len = (uint8_t)pn_len};
    return len;
}

static void round_trip(struct keys *keys, bool long_header, size_t pn_len, size_t plain_len) {
    uint8_t packet[PACKET_MAX], copy[PACKET_MAX];
    struct crypto_seal_item item;
    uint64_t number = UINT64_C(0x3ffffffffffffe00) + plain_len;
    size_t len = build(packet, long_header, pn_len, plain_len, number, &item);
    memcpy(copy, packet, len);
    ck_assert(crypto_seal(keys->key, keys->mask, &item, 1));
    ck_assert_mem_ne(packet + item.pn_offset, copy + item.pn_offset, len - item.pn_offset);
    struct crypto_open_item open = {.packet = packet, .len = (uint32_t)len, .pn_offset = item.pn_offset};
    ck_assert(crypto_unmask(keys->mask, &open, 1));
    ck_assert_uint_eq(open.pn_len, pn_len);
    ck_assert_int_eq(crypto_open(keys->key, &open, number), (int)plain_len);
    ck_assert_mem_eq(packet, copy, len - CRYPTO_TAG_SIZE);
}

START_TEST(all_lengths)
{
    struct keys keys;
    keys_of(&keys, (enum crypto_aead)_i);
    for (size_t pn_len = 1; pn_len <= 4; pn_len++)
        for (size_t plain_len = 4 - pn_len; plain_len <= 1500;
             plain_len += plain_len < 300 || plain_len > 1400 ? 1 : 37) {
            round_trip(&keys, false, pn_len, plain_len);
            round_trip(&keys, true, pn_len, plain_len);
        }
    drop_keys(&keys);
}
END_TEST

/* A batch gives byte for byte what single packets give, for sizes around the chunk. */
START_TEST(batches)
{
    enum { MOST = 70 };
    static uint8_t packets[MOST][PACKET_MAX], single[PACKET_MAX];
    struct keys keys;
    keys_of(&keys, (enum crypto_aead)_i);
    for (size_t count = 0; count <= MOST; count++) {
        struct crypto_seal_item items[MOST], one;
        struct crypto_open_item opens[MOST];
        for (size_t i = 0; i < count; i++) {
            build(packets[i], i % 3 == 0, i % 4 + 1, 30 + i * 11, i, &items[i]);
            opens[i] =
                (struct crypto_open_item){.packet = packets[i], .len = items[i].len, .pn_offset = items[i].pn_offset};
        }
        ck_assert(crypto_seal(keys.key, keys.mask, items, count));
        for (size_t i = 0; i < count; i++) {
            size_t len = build(single, i % 3 == 0, i % 4 + 1, 30 + i * 11, i, &one);
            ck_assert(crypto_seal(keys.key, keys.mask, &one, 1));
            ck_assert_mem_eq(packets[i], single, len);
        }
        ck_assert(crypto_unmask(keys.mask, opens, count));
        for (size_t i = 0; i < count; i++)
            ck_assert_int_eq(crypto_open(keys.key, &opens[i], i), (int)(30 + i * 11));
    }
    drop_keys(&keys);
}
END_TEST

static int32_t open_again(struct keys *keys, const uint8_t *sealed, const struct crypto_seal_item *item,
                          uint64_t number) {
    uint8_t packet[PACKET_MAX];
    memcpy(packet, sealed, item->len);
    struct crypto_open_item open = {.packet = packet, .len = item->len, .pn_offset = item->pn_offset};
    ck_assert(crypto_unmask(keys->mask, &open, 1));
    return crypto_open(keys->key, &open, number);
}

START_TEST(corruption)
{
    struct keys keys;
    keys_of(&keys, (enum crypto_aead)_i);
    uint8_t packet[PACKET_MAX];
    struct crypto_seal_item item;
    size_t len = build(packet, false, 2, 100, 77, &item);
    ck_assert(crypto_seal(keys.key, keys.mask, &item, 1));
    ck_assert_int_eq(open_again(&keys, packet, &item, 77), 100);
    ck_assert_int_eq(open_again(&keys, packet, &item, 78), -1);
    for (size_t at = 0; at < len; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            packet[at] ^= (uint8_t)(1u << bit);
            ck_assert_int_eq(open_again(&keys, packet, &item, 77), -1);
            packet[at] ^= (uint8_t)(1u << bit);
        }
    for (item.len = item.pn_offset + 20u; item.len < len; item.len++)
        ck_assert_int_eq(open_again(&keys, packet, &item, 77), -1);
    drop_keys(&keys);
}
END_TEST

START_TEST(too_short_to_open)
{
    struct keys keys;
    keys_of(&keys, CRYPTO_AES_128_GCM);
    uint8_t packet[64] = {0};
    struct crypto_open_item open = {.packet = packet, .len = 9 + 4 + 15, .pn_offset = 9, .pn_len = 4};
    ck_assert_int_eq(crypto_open(keys.key, &open, 0), -1);
    drop_keys(&keys);
}
END_TEST

START_TEST(packed_keys)
{
    for (int aead = 0; aead < (int)CRYPTO_AEADS; aead++) {
        struct keys keys;
        keys_of(&keys, (enum crypto_aead)aead);
        uint8_t before[100] = {0x41, 1}, after[100] = {0x41, 1};
        struct crypto_seal_item item = {
            .packet = before, .number = 9, .len = sizeof before, .pn_offset = 1, .pn_len = 2};
        ck_assert(crypto_seal(keys.key, keys.mask, &item, 1));
        uint64_t expanded = keys.mem.used;
        keys.key = crypto_key_pack(&keys.mem, keys.key);
        keys.mask = crypto_mask_key_pack(&keys.mem, keys.mask);
        ck_assert_ptr_eq(crypto_key_pack(&keys.mem, keys.key), keys.key); /* it is */
        if (aead != (int)CRYPTO_CHACHA20_POLY1305) {
            ck_assert_uint_lt(keys.mem.used, expanded / 4);
            keys.mem.limit = keys.mem.used;
            ck_assert_ptr_null(crypto_key_unpack(&keys.mem, keys.key));
            ck_assert_ptr_null(crypto_mask_key_unpack(&keys.mem, keys.mask));
            keys.mem.limit = 0;
        }
        item.packet = after; /* packed ones work as they are, and stay packed */
        ck_assert(crypto_seal(keys.key, keys.mask, &item, 1));
        ck_assert_mem_eq(before, after, sizeof before);
        struct crypto_open_item open = {.packet = after, .len = sizeof after, .pn_offset = 1};
        ck_assert(crypto_unmask(keys.mask, &open, 1));
        ck_assert_int_eq(crypto_open(keys.key, &open, 9), (int)(sizeof after - 3 - CRYPTO_TAG_SIZE));
        ck_assert_int_eq(crypto_open(keys.key, &open, 10), -1);
        ck_assert_ptr_eq(crypto_key_pack(&keys.mem, keys.key), keys.key);
        memset(after, 0, sizeof after);
        memcpy(after, "\x41\x01", 2);
        keys.key = crypto_key_unpack(&keys.mem, keys.key);
        keys.mask = crypto_mask_key_unpack(&keys.mem, keys.mask);
        ck_assert_uint_eq(keys.mem.used, expanded);
        item.packet = after;
        ck_assert(crypto_seal(keys.key, keys.mask, &item, 1));
        ck_assert_mem_eq(before, after, sizeof before);
        keys.key = crypto_key_pack(&keys.mem, keys.key);
        keys.mask = crypto_mask_key_pack(&keys.mem, keys.mask);
        drop_keys(&keys); /* packed ones are freed, too */
    }
    ck_assert_ptr_null(crypto_key_pack(NULL, NULL));
    ck_assert_ptr_null(crypto_mask_key_unpack(NULL, NULL));
}
END_TEST

static void by_wolfcrypt(void) {
    gcm_force_narrow(true);
    aes_force_library(true);
}

static void by_the_processor(void) {
    gcm_force_narrow(false);
    aes_force_library(false);
}

static TCase *all_tests(const char *name, void (*setup)(void)) {
    TCase *tests = tcase_create(name);
    tcase_add_checked_fixture(tests, setup, by_the_processor);
    tcase_add_loop_test(tests, worked_examples, 0, CRYPTO_VERSIONS);
    tcase_add_loop_test(tests, all_lengths, 0, CRYPTO_AEADS);
    tcase_add_loop_test(tests, batches, 0, CRYPTO_AEADS);
    tcase_add_loop_test(tests, corruption, 0, CRYPTO_AEADS);
    tcase_add_test(tests, too_short_to_open);
    tcase_add_test(tests, packed_keys);
    return tests;
}

Suite *unit_suite(void) {
    Suite *suite = suite_create("protect");
    TCase *tests = all_tests("by the processor", by_the_processor);
    tcase_add_test(tests, retry_tags);
    suite_add_tcase(suite, tests);
    suite_add_tcase(suite, all_tests("by wolfCrypt", by_wolfcrypt));
    return suite;
}
