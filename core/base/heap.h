/* heap.h - a 4-ary min-heap of intrusive entries keyed by a time.
 *
 * An engine keeps one entry a connection: its soonest deadline. The entry remembers its place, so moving or removing
 * it needs no search. Four children a node keep the tree shallow, and each key stands beside its pointer in the array:
 * comparing four children reads 64 neighbouring bytes and touches no entry.
 *
 * Invariant: entry->place is its index + 1 in the array, or 0 when it is not in the heap; cells[i].key is
 * cells[i].entry->key. Room for every entry is reserved beforehand (base_heap_reserve), so setting a deadline can
 * never fail. An entry starts out all zero, and neither of its members is written by its owner.
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>

#include "mem.h"

struct base_heap_entry {
    uint64_t key;
    uint32_t place;
};

struct base_heap_cell {
    uint64_t key;
    struct base_heap_entry *entry;
};

struct base_heap {
    struct base_mem *mem;
    struct base_heap_cell *cells;
    uint32_t count, capacity;
};

void base_heap_init(struct base_heap *heap, struct base_mem *mem);
void base_heap_clear(struct base_heap *heap); /* takes every entry out, frees the array */
/* Makes sure `total` entries fit; grows by doubling, so asking for one more each time is cheap. False when out of
 * memory. */
bool base_heap_reserve(struct base_heap *heap, uint32_t total);
/* Inserts the entry or moves it to its new key. Never fails within the reserve. */
void base_heap_set(struct base_heap *heap, struct base_heap_entry *entry, uint64_t key);
/* Takes the entry out; nothing happens when it is not in. */
void base_heap_remove(struct base_heap *heap, struct base_heap_entry *entry);

static inline struct base_heap_entry *base_heap_first(const struct base_heap *heap) {
    return heap->count ? heap->cells[0].entry : NULL;
}

#endif
