/* hash.h - SipHash and a hash table whose keys an attacker may choose.
 *
 * Connection IDs and addresses come from the peer, so they are hashed with a secret key (SipHash-2-4). The map keeps
 * short byte strings as keys and one 64-bit value each, open addressing with linear probing and backward-shift
 * deletion: no tombstones, no per-entry allocation.
 *
 * Invariant: from an entry's home to the entry no place is empty, and at most 3/4 of the table is used: a miss, the
 * answer to every stranger's packet, then looks at 9 entries on average when the table is fullest; at 7/8 it is 33.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdbool.h>

#include "mem.h"

#define BASE_MAP_KEY_MAX 23

uint64_t base_siphash(const uint8_t key[16], const void *data, size_t len);

struct base_map_entry {
    uint8_t key[BASE_MAP_KEY_MAX]; /* zero beyond its length, so that key and len compare as 24 bytes */
    uint8_t len;                   /* key length + 1; 0 = empty */
    uint64_t value;
};

struct base_map {
    struct base_mem *mem;
    struct base_map_entry *entries;
    uint32_t capacity; /* power of two, or 0 */
    uint32_t count;
    uint8_t secret[16];
};

void base_map_init(struct base_map *map, struct base_mem *mem, const uint8_t secret[16]);
void base_map_clear(struct base_map *map); /* frees, leaves an empty, usable map */
/* Sets key -> value, replacing (which cannot fail). False when out of memory; len <= BASE_MAP_KEY_MAX. */
bool base_map_put(struct base_map *map, const void *key, size_t len, uint64_t value);
/* True and *value when found. */
bool base_map_get(const struct base_map *map, const void *key, size_t len, uint64_t *value);
/* True when it was there. */
bool base_map_remove(struct base_map *map, const void *key, size_t len);

#endif
