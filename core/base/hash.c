/* hash.c - SipHash-2-4 and the map of short keys.
 *
 * Knows byte strings of at most 23 bytes and a secret. Does not know what the values name. SipHash is that of Aumasson
 * and Bernstein (2012), two rounds a word and four at the end: a peer that cannot see the secret cannot choose keys
 * that meet in one place.
 *
 * The invariant that matters: walking from an entry's home (its hash modulo the capacity) to the entry meets no empty
 * place. Removing therefore shifts later entries back over the hole instead of leaving a tombstone, so look-ups do not
 * grow slower as connections come and go.
 */
#include "base/hash.h"

#include <assert.h>
#include <string.h>

#define MAP_LEAST 16u

static uint64_t load_le64(const uint8_t *at) {
    return (uint64_t)at[7] << 56 | (uint64_t)at[6] << 48 | (uint64_t)at[5] << 40 | (uint64_t)at[4] << 32 |
           (uint64_t)at[3] << 24 | (uint64_t)at[2] << 16 | (uint64_t)at[1] << 8 | at[0];
}

static uint64_t rotate_left(uint64_t value, unsigned bits) { return value << bits | value >> (64 - bits); }

static inline void sip_rounds(uint64_t v[4], unsigned rounds) {
    while (rounds--) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate_left(v[1], 13) ^ v[0];
        v[3] = rotate_left(v[3], 16) ^ v[2];
        v[0] = rotate_left(v[0], 32) + v[3];
        v[2] += v[1];
        v[3] = rotate_left(v[3], 21) ^ v[0];
        v[1] = rotate_left(v[1], 17) ^ v[2];
        v[2] = rotate_left(v[2], 32);
    }
}

static inline void sip_word(uint64_t v[4], uint64_t word) {
    v[3] ^= word;
    sip_rounds(v, 2);
    v[0] ^= word;
}

uint64_t base_siphash(const uint8_t key[16], const void *data, size_t len) {
    const uint8_t *at = (const uint8_t *)data;
    uint64_t k0 = load_le64(key), k1 = load_le64(key + 8);
    uint64_t v[4] = {
        k0 ^ UINT64_C(0x736f6d6570736575), /* "somepseudorandomlygeneratedbytes" */
        k1 ^ UINT64_C(0x646f72616e646f6d),
        k0 ^ UINT64_C(0x6c7967656e657261),
        k1 ^ UINT64_C(0x7465646279746573),
    };
    size_t left = len;
    for (; left >= 8; left -= 8, at += 8)
        sip_word(v, load_le64(at));
    uint64_t last = (uint64_t)(len & 0xff) << 56;
    for (size_t i = 0; i < left; i++)
        last |= (uint64_t)at[i] << (8 * i);
    sip_word(v, last);
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Key and length together are 24 bytes without padding: two entries have the same key exactly when these are equal. */
#define MAP_COMPARED (offsetof(struct base_map_entry, len) + 1)
_Static_assert(MAP_COMPARED == 24 && sizeof(struct base_map_entry) == 32, "an entry is half a cache line");

void base_map_init(struct base_map *map, struct base_mem *mem, const uint8_t secret[16]) {
    *map = (struct base_map){.mem = mem};
    memcpy(map->secret, secret, sizeof map->secret);
}

void base_map_clear(struct base_map *map) {
    base_free(map->mem, map->entries, map->capacity * sizeof *map->entries);
    map->entries = NULL;
    map->capacity = map->count = 0;
}

static struct base_map_entry map_entry(const void *key, size_t len, uint64_t value) {
    assert(len <= BASE_MAP_KEY_MAX);
    struct base_map_entry entry = {.len = (uint8_t)(len + 1), .value = value};
    if (len)
        memcpy(entry.key, key, len);
    return entry;
}

static uint32_t map_home(const struct base_map *map, const struct base_map_entry *entry) {
    return (uint32_t)base_siphash(map->secret, entry->key, entry->len - 1u) & (map->capacity - 1);
}

/* The place of the entry's key, or the empty place where it belongs. The table must not be empty. */
static uint32_t map_find(const struct base_map *map, const struct base_map_entry *entry) {
    uint32_t at = map_home(map, entry);
    while (map->entries[at].len && memcmp(&map->entries[at], entry, MAP_COMPARED) != 0)
        at = (at + 1) & (map->capacity - 1);
    return at;
}

static bool map_grow(struct base_map *map) {
    if (map->capacity > UINT32_MAX / 2)
        return false;
    uint32_t capacity = map->capacity ? map->capacity * 2 : MAP_LEAST;
    struct base_map_entry *entries =
        (struct base_map_entry *)base_resize_array(map->mem, NULL, 0, capacity, sizeof *entries);
    if (!entries)
        return false;
    memset(entries, 0, capacity * sizeof *entries);
    struct base_map_entry *old = map->entries;
    uint32_t old_capacity = map->capacity;
    map->entries = entries;
    map->capacity = capacity;
    for (uint32_t i = 0; i < old_capacity; i++)
        if (old[i].len)
            map->entries[map_find(map, &old[i])] = old[i];
    base_free(map->mem, old, old_capacity * sizeof *old);
    return true;
}

bool base_map_put(struct base_map *map, const void *key, size_t len, uint64_t value) {
    struct base_map_entry entry = map_entry(key, len, value);
    uint32_t at = map->capacity ? map_find(map, &entry) : 0;
    if (map->capacity && map->entries[at].len) {
        map->entries[at].value = value;
        return true;
    }
    if (map->count >= map->capacity - map->capacity / 4) {
        if (!map_grow(map))
            return false;
        at = map_find(map, &entry);
    }
    map->entries[at] = entry;
    map->count++;
    return true;
}

bool base_map_get(const struct base_map *map, const void *key, size_t len, uint64_t *value) {
    if (map->count == 0)
        return false;
    struct base_map_entry entry = map_entry(key, len, 0);
    const struct base_map_entry *found = &map->entries[map_find(map, &entry)];
    if (!found->len)
        return false;
    *value = found->value;
    return true;
}

bool base_map_remove(struct base_map *map, const void *key, size_t len) {
    if (map->count == 0)
        return false;
    struct base_map_entry entry = map_entry(key, len, 0);
    uint32_t mask = map->capacity - 1;
    uint32_t hole = map_find(map, &entry);
    if (!map->entries[hole].len)
        return false;
    for (uint32_t at = (hole + 1) & mask; map->entries[at].len; at = (at + 1) & mask) {
        /* An entry may fill the hole unless its home lies behind the hole: then it would be found before its home. */
        uint32_t from_home = (at - map_home(map, &map->entries[at])) & mask;
        if (from_home >= ((at - hole) & mask)) {
            map->entries[hole] = map->entries[at];
            hole = at;
        }
    }
    map->entries[hole] = (struct base_map_entry){.len = 0};
    map->count--;
    return true;
}
