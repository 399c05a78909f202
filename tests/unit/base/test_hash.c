/* test_hash.c - SipHash against its authors' vectors, the map against a naive one. */
#include "base/hash.h"

#include "toolkit.h"

/* SipHash-2-4 of the bytes 00 01 .. (i - 1) with the key 00 01 .. 0f: the reference implementation's 64 vectors. */
static const uint64_t sip_vectors[64] = {
    0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d, 0xcf2794e0277187b7,
    0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137, 0x93f5f5799a932462, 0x9e0082df0ba9e4b0,
    0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7, 0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee,
    0xa129ca6149be45e5, 0x3f2acc7f57c29bdb, 0x699ae9f52cbe4794, 0x4bc1b3f0968dd39c, 0xbb6dc91da77961bd,
    0xbed65cf21aa2ee98, 0xd0f2cbb02e3b67c7, 0x93536795e3a33e88, 0xa80c038ccd5ccec8, 0xb8ad50c6f649af94,
    0xbce192de8a85b8ea, 0x17d835b85bbb15f3, 0x2f2e6163076bcfad, 0xde4daaaca71dc9a5, 0xa6a2506687956571,
    0xad87a3535c49ef28, 0x32d892fad841c342, 0x7127512f72f27cce, 0xa7f32346f95978e3, 0x12e0b01abb051238,
    0x15e034d40fa197ae, 0x314dffbe0815a3b4, 0x027990f029623981, 0xcadcd4e59ef40c4d, 0x9abfd8766a33735c,
    0x0e3ea96b5304a7d0, 0xad0c42d6fc585992, 0x187306c89bc215a9, 0xd4a60abcf3792b95, 0xf935451de4f21df2,
    0xa9538f0419755787, 0xdb9acddff56ca510, 0xd06c98cd5c0975eb, 0xe612a3cb9ecba951, 0xc766e62cfcadaf96,
    0xee64435a9752fe72, 0xa192d576b245165a, 0x0a8787bf8ecb74b2, 0x81b3e73d20b49b6f, 0x7fa8220ba3b2ecea,
    0x245731c13ca42499, 0xb78dbfaf3a8d83bd, 0xea1ad565322a1a0b, 0x60e61c23a3795013, 0x6606d7e446282b93,
    0x6ca4ecb15c5f91e1, 0x9f626da15c9625f3, 0xe51b38608ef25f57, 0x958a324ceb064572,
};

static const uint8_t secret[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static struct toolkit_heap heap;
static struct base_mem mem;
static struct base_map map;

static void setup(void) {
    mem = toolkit_mem(&heap, 0);
    base_map_init(&map, &mem, secret);
}

static void teardown(void) {
    base_map_clear(&map);
    toolkit_all_back(&heap, &mem);
}

START_TEST(siphash_vectors)
{
    uint8_t input[65];
    for (size_t shift = 0; shift < 2; shift++) { /* at any alignment */
        for (size_t i = 0; i < 64; i++)
            input[shift + i] = (uint8_t)i;
        for (size_t len = 0; len < 64; len++)
            ck_assert_uint_eq(base_siphash(secret, input + shift, len), sip_vectors[len]);
    }
    ck_assert_uint_eq(base_siphash(secret, NULL, 0), sip_vectors[0]);
}
END_TEST

START_TEST(put_get_remove)
{
    uint64_t value = 77;
    ck_assert(!base_map_get(&map, "a", 1, &value));
    ck_assert(!base_map_remove(&map, "a", 1));
    ck_assert_uint_eq(heap.calls, 0); /* an empty map holds nothing */
    ck_assert(base_map_put(&map, "a", 1, 10));
    ck_assert(base_map_put(&map, "b", 1, 20));
    ck_assert(base_map_get(&map, "a", 1, &value));
    ck_assert_uint_eq(value, 10);
    ck_assert(base_map_put(&map, "a", 1, 11));
    ck_assert(base_map_get(&map, "a", 1, &value));
    ck_assert_uint_eq(value, 11);
    ck_assert_uint_eq(map.count, 2);
    ck_assert(base_map_remove(&map, "a", 1));
    ck_assert(!base_map_remove(&map, "a", 1));
    value = 77;
    ck_assert(!base_map_get(&map, "a", 1, &value));
    ck_assert_uint_eq(value, 77); /* untouched on a miss */
    ck_assert(base_map_get(&map, "b", 1, &value));
    ck_assert_uint_eq(value, 20);
    ck_assert_uint_eq(map.count, 1);
}
END_TEST

START_TEST(length_is_part_of_the_key)
{
    static const uint8_t zeros[BASE_MAP_KEY_MAX] = {0};
    uint64_t value;
    for (size_t len = 0; len <= BASE_MAP_KEY_MAX; len++)
        ck_assert(base_map_put(&map, len ? zeros : NULL, len, len));
    ck_assert_uint_eq(map.count, BASE_MAP_KEY_MAX + 1);
    for (size_t len = 0; len <= BASE_MAP_KEY_MAX; len++) {
        ck_assert(base_map_get(&map, zeros, len, &value));
        ck_assert_uint_eq(value, len);
    }
    uint8_t other[BASE_MAP_KEY_MAX] = {0};
    other[BASE_MAP_KEY_MAX - 1] = 1; /* every byte counts */
    ck_assert(!base_map_get(&map, other, BASE_MAP_KEY_MAX, &value));
    for (size_t len = 0; len <= BASE_MAP_KEY_MAX; len++)
        ck_assert(base_map_remove(&map, zeros, len));
    ck_assert_uint_eq(map.count, 0);
    ck_assert(base_map_put(&map, zeros, 3, UINT64_MAX));
    ck_assert(base_map_get(&map, zeros, 3, &value));
    ck_assert_uint_eq(value, UINT64_MAX);
}
END_TEST

START_TEST(grows_and_stays_below_three_quarters)
{
    bool right = true;
    uint64_t value;
    for (uint32_t i = 0; i < 20000; i++) {
        right &= base_map_put(&map, &i, sizeof i, i * UINT64_C(3));
        right &= map.count == i + 1 && map.count <= map.capacity / 4 * 3;
    }
    for (uint32_t i = 0; i < 40000; i++)
        right &= base_map_get(&map, &i, sizeof i, &value) == (i < 20000) && (i >= 20000 || value == i * UINT64_C(3));
    ck_assert(right);
    ck_assert_uint_eq(mem.used, map.capacity * sizeof(struct base_map_entry));
    base_map_clear(&map);
    ck_assert_uint_eq(mem.used, 0);
    ck_assert(!base_map_get(&map, "abcd", 4, &value));
    ck_assert(base_map_put(&map, "abcd", 4, 1)); /* a cleared map is usable */
}
END_TEST

START_TEST(failed_growth_changes_nothing)
{
    uint64_t value;
    heap.left = 0;
    ck_assert(!base_map_put(&map, "x", 1, 1));
    ck_assert_uint_eq(map.count, 0);
    heap.left = 1;
    uint32_t count = 0;
    while (base_map_put(&map, &count, sizeof count, count))
        count++;
    ck_assert_uint_eq(count, map.capacity / 4 * 3);
    ck_assert_uint_eq(map.count, count);
    for (uint32_t i = 0; i < count; i++) {
        ck_assert(base_map_put(&map, &i, sizeof i, i + 100u)); /* replacing needs no memory, even when full */
        ck_assert(base_map_get(&map, &i, sizeof i, &value));
        ck_assert_uint_eq(value, i + 100u);
    }
    uint32_t gone = 3;
    ck_assert(base_map_remove(&map, &gone, sizeof gone));
    ck_assert(base_map_put(&map, &count, sizeof count, 5));
    heap.left = -1;
    ck_assert(base_map_put(&map, &gone, sizeof gone, 6));
    ck_assert_uint_eq(map.count, count + 1);
}
END_TEST

START_TEST(secret_decides_the_places)
{
    uint8_t other_secret[16] = {9};
    struct base_map other;
    base_map_init(&other, &mem, other_secret);
    for (uint32_t i = 0; i < 48; i++) {
        base_map_put(&map, &i, sizeof i, i);
        base_map_put(&other, &i, sizeof i, i);
    }
    ck_assert_uint_eq(map.capacity, other.capacity);
    ck_assert(memcmp(map.entries, other.entries, map.capacity * sizeof *map.entries) != 0);
    base_map_clear(&other);
}
END_TEST

/* --- against a naive map --- */

/* From an entry's home to the entry no place is empty, unused places are all zero, and the count is right. */
static bool invariant_holds(void) {
    uint32_t count = 0, mask = map.capacity - 1;
    for (uint32_t i = 0; i < map.capacity; i++) {
        const struct base_map_entry *entry = &map.entries[i];
        count += entry->len != 0;
        if (!entry->len)
            continue;
        for (uint32_t at = (uint32_t)base_siphash(secret, entry->key, entry->len - 1u) & mask; at != i;
             at = (at + 1) & mask)
            if (!map.entries[at].len)
                return false;
    }
    return count == map.count && count <= map.capacity / 4 * 3;
}

#define KEYS 200u

struct naive {
    uint8_t key[BASE_MAP_KEY_MAX];
    size_t len;
    bool there;
    uint64_t value;
};

static bool agrees(const struct naive *naive) {
    bool same = invariant_holds();
    uint32_t count = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        uint64_t value = 0;
        same &= base_map_get(&map, naive[i].key, naive[i].len, &value) == naive[i].there;
        same &= !naive[i].there || value == naive[i].value;
        count += naive[i].there;
    }
    return same && count == map.count;
}

static void fill_keys(struct naive *naive, struct toolkit_dice *dice) {
    for (uint32_t i = 0; i < KEYS; i++) {
        naive[i] = (struct naive){.len = 1 + toolkit_pick(dice, BASE_MAP_KEY_MAX)};
        for (size_t k = 1; k < naive[i].len; k++)
            naive[i].key[k] = (uint8_t)toolkit_pick(dice, 3);
        naive[i].key[0] = (uint8_t)i; /* no two alike */
    }
}

START_TEST(agrees_with_a_naive_map)
{
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct toolkit_dice dice = {seed};
        struct naive naive[KEYS];
        fill_keys(naive, &dice);
        /* Few keys at first, so that the smallest table is full again and again and its clusters wrap. */
        uint32_t keys = seed % 3 ? 14 : KEYS;
        for (int step = 0; step < 2000; step++) {
            struct naive *one = &naive[toolkit_pick(&dice, keys)];
            bool right = true;
            if (toolkit_pick(&dice, 2)) {
                uint64_t value = toolkit_roll(&dice);
                right = base_map_put(&map, one->key, one->len, value);
                one->there = true;
                one->value = value;
            } else {
                right = base_map_remove(&map, one->key, one->len) == one->there;
                one->there = false;
            }
            ck_assert_msg(right && agrees(naive), "seed %llu, step %d", (unsigned long long)seed, step);
        }
        base_map_clear(&map);
    }
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {
        siphash_vectors,
        put_get_remove,
        length_is_part_of_the_key,
        grows_and_stays_below_three_quarters,
        failed_growth_changes_nothing,
        secret_decides_the_places,
        agrees_with_a_naive_map,
    };
    return TOOLKIT_SUITE_WITH("base/hash", tests, setup, teardown);
}
