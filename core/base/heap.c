/* heap.c - a 4-ary min-heap of intrusive entries.
 *
 * Knows keys and places. Does not know what a key means or what an entry is part of. Both sifts move a hole instead of
 * swapping: a level costs one copy of a cell and one write of a place.
 *
 * The invariant that matters: no cell has a smaller key than its parent, and every entry's place tells where it is.
 * Cell i's children are cells 4i + 1 to 4i + 4.
 */
#include "base/heap.h"

#include <assert.h>

#define HEAP_LEAST 16u

void base_heap_init(struct base_heap *heap, struct base_mem *mem) { *heap = (struct base_heap){.mem = mem}; }

void base_heap_clear(struct base_heap *heap) {
    for (uint32_t i = 0; i < heap->count; i++)
        heap->cells[i].entry->place = 0;
    base_free(heap->mem, heap->cells, heap->capacity * sizeof *heap->cells);
    base_heap_init(heap, heap->mem);
}

bool base_heap_reserve(struct base_heap *heap, uint32_t total) {
    if (total <= heap->capacity)
        return true;
    uint64_t capacity = heap->capacity ? heap->capacity : HEAP_LEAST;
    while (capacity < total)
        capacity *= 2;
    if (capacity > UINT32_MAX)
        capacity = UINT32_MAX;
    void *cells = base_resize_array(heap->mem, heap->cells, heap->capacity, (size_t)capacity, sizeof *heap->cells);
    if (!cells)
        return false;
    heap->cells = (struct base_heap_cell *)cells;
    heap->capacity = (uint32_t)capacity;
    return true;
}

static void heap_put(struct base_heap *heap, uint32_t at, struct base_heap_cell cell) {
    heap->cells[at] = cell;
    cell.entry->place = at + 1;
}

/* Moves the hole at `at` up until `cell` may fill it. */
static void heap_sift_up(struct base_heap *heap, uint32_t at, struct base_heap_cell cell) {
    while (at > 0) {
        uint32_t parent = (at - 1) / 4;
        if (heap->cells[parent].key <= cell.key)
            break;
        heap_put(heap, at, heap->cells[parent]);
        at = parent;
    }
    heap_put(heap, at, cell);
}

/* Moves the hole at `at` down until `cell` may fill it. */
static void heap_sift_down(struct base_heap *heap, uint32_t at, struct base_heap_cell cell) {
    for (;;) {
        uint64_t child = (uint64_t)at * 4 + 1;
        if (child >= heap->count)
            break;
        uint32_t least = (uint32_t)child;
        uint32_t left = heap->count - least;
        for (uint32_t i = 1; i < 4 && i < left; i++)
            if (heap->cells[child + i].key < heap->cells[least].key)
                least = (uint32_t)child + i;
        if (cell.key <= heap->cells[least].key)
            break;
        heap_put(heap, at, heap->cells[least]);
        at = least;
    }
    heap_put(heap, at, cell);
}

static void heap_place(struct base_heap *heap, uint32_t at, struct base_heap_cell cell) {
    if (at > 0 && cell.key < heap->cells[(at - 1) / 4].key)
        heap_sift_up(heap, at, cell);
    else
        heap_sift_down(heap, at, cell);
}

void base_heap_set(struct base_heap *heap, struct base_heap_entry *entry, uint64_t key) {
    if (entry->place == 0) {
        assert(heap->count < heap->capacity);
        entry->key = key;
        heap_sift_up(heap, heap->count++, (struct base_heap_cell){key, entry});
        return;
    }
    assert(entry->place <= heap->count && heap->cells[entry->place - 1].entry == entry);
    if (entry->key == key)
        return;
    entry->key = key;
    heap_place(heap, entry->place - 1, (struct base_heap_cell){key, entry});
}

void base_heap_remove(struct base_heap *heap, struct base_heap_entry *entry) {
    if (entry->place == 0)
        return;
    uint32_t at = entry->place - 1;
    assert(at < heap->count && heap->cells[at].entry == entry);
    entry->place = 0;
    struct base_heap_cell last = heap->cells[--heap->count];
    if (last.entry != entry)
        heap_place(heap, at, last);
}
