/* range.c - an ordered set of disjoint half-open ranges.
 *
 * Knows numbers. Does not know whether they are stream offsets or packet numbers, nor how many ranges are wise: the
 * caller says so with each call. All work is a binary search and one move of the ranges above; the search is left out
 * at the upper end, where nearly every add happens.
 *
 * The invariant that matters: for neighbours a, b in the list a.start < a.end < b.start. All memory is asked for before
 * anything is changed, so a failed call leaves the set as it was.
 */
#include "base/range.h"

#include <assert.h>
#include <string.h>

#define RANGES_FIRST_GROWTH 8u

void base_ranges_init(struct base_ranges *set) {
    set->list = set->fixed;
    set->count = 0;
    set->capacity = BASE_RANGES_INLINE;
}

void base_ranges_clear(struct base_ranges *set, struct base_mem *mem) {
    if (set->list != set->fixed)
        base_free(mem, set->list, set->capacity * sizeof *set->list);
    base_ranges_init(set);
}

void base_ranges_shrink(struct base_ranges *set, struct base_mem *mem) {
    if (set->list == set->fixed || set->count > BASE_RANGES_INLINE)
        return;
    memcpy(set->fixed, set->list, set->count * sizeof *set->list);
    base_free(mem, set->list, set->capacity * sizeof *set->list);
    set->list = set->fixed;
    set->capacity = BASE_RANGES_INLINE;
}

/* Makes room for one range more, within `limit`. */
static int ranges_make_room(struct base_ranges *set, struct base_mem *mem, uint32_t limit) {
    if (set->count >= limit)
        return BASE_RANGES_FULL;
    if (set->count < set->capacity)
        return BASE_RANGES_OK;
    uint32_t capacity = set->capacity > UINT32_MAX / 2 ? UINT32_MAX : set->capacity * 2;
    if (capacity < RANGES_FIRST_GROWTH)
        capacity = RANGES_FIRST_GROWTH;
    if (capacity > limit)
        capacity = limit; /* still more than count */
    bool is_fixed = set->list == set->fixed;
    void *list =
        base_resize_array(mem, is_fixed ? NULL : set->list, is_fixed ? 0 : set->capacity, capacity, sizeof *set->list);
    if (!list)
        return BASE_RANGES_NOMEM;
    if (is_fixed)
        memcpy(list, set->fixed, set->count * sizeof *set->list);
    set->list = (struct base_range *)list;
    set->capacity = capacity;
    return BASE_RANGES_OK;
}

static int ranges_insert(struct base_ranges *set, struct base_mem *mem, uint32_t at, struct base_range range,
                         uint32_t limit) {
    int result = ranges_make_room(set, mem, limit);
    if (result != BASE_RANGES_OK)
        return result;
    memmove(&set->list[at + 1], &set->list[at], (set->count - at) * sizeof *set->list);
    set->list[at] = range;
    set->count++;
    return BASE_RANGES_OK;
}

/* Takes the ranges from index `from` up to, not including, `to` out of the list. */
static void ranges_cut(struct base_ranges *set, uint32_t from, uint32_t to) {
    if (from == to)
        return;
    memmove(&set->list[from], &set->list[to], (set->count - to) * sizeof *set->list);
    set->count -= to - from;
}

uint32_t base_ranges_find(const struct base_ranges *set, uint64_t value) {
    uint32_t low = 0, high = set->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (set->list[middle].end > value)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

int base_ranges_add(struct base_ranges *set, struct base_mem *mem, uint64_t start, uint64_t end, uint32_t limit) {
    assert(start <= end);
    if (start == end)
        return BASE_RANGES_OK;
    struct base_range added = {start, end};
    struct base_range *last = set->count ? &set->list[set->count - 1] : NULL;
    if (!last || start > last->end)
        return ranges_insert(set, mem, set->count, added, limit);
    if (start >= last->start) {
        if (end > last->end)
            last->end = end;
        return BASE_RANGES_OK;
    }

    /* The first range that reaches up to `start` or beyond; touching it is enough to join it. */
    uint32_t first = start ? base_ranges_find(set, start - 1) : 0;
    if (end < set->list[first].start)
        return ranges_insert(set, mem, first, added, limit);
    uint32_t past = first + 1;
    while (past < set->count && set->list[past].start <= end)
        past++;
    struct base_range *joined = &set->list[first];
    if (start < joined->start)
        joined->start = start;
    joined->end = end > set->list[past - 1].end ? end : set->list[past - 1].end;
    ranges_cut(set, first + 1, past);
    return BASE_RANGES_OK;
}

int base_ranges_remove(struct base_ranges *set, struct base_mem *mem, uint64_t start, uint64_t end, uint32_t limit) {
    assert(start <= end);
    uint32_t first = base_ranges_find(set, start);
    if (start == end || first == set->count)
        return BASE_RANGES_OK;
    struct base_range *range = &set->list[first];
    if (range->start < start && end < range->end) {
        struct base_range upper = {end, range->end};
        int result = ranges_insert(set, mem, first + 1, upper, limit);
        if (result == BASE_RANGES_OK)
            set->list[first].end = start;
        return result;
    }
    if (range->start < start) {
        range->end = start;
        first++;
    }
    uint32_t past = first;
    while (past < set->count && set->list[past].end <= end)
        past++;
    if (past < set->count && set->list[past].start < end)
        set->list[past].start = end;
    ranges_cut(set, first, past);
    return BASE_RANGES_OK;
}

void base_ranges_drop_below(struct base_ranges *set, uint64_t bound) {
    ranges_cut(set, 0, base_ranges_find(set, bound));
    if (set->count && set->list[0].start < bound)
        set->list[0].start = bound;
}

void base_ranges_drop_first(struct base_ranges *set) {
    assert(set->count > 0);
    ranges_cut(set, 0, 1);
}

bool base_ranges_contains(const struct base_ranges *set, uint64_t value) {
    uint32_t at = base_ranges_find(set, value);
    return at < set->count && set->list[at].start <= value;
}

bool base_ranges_covers(const struct base_ranges *set, uint64_t start, uint64_t end) {
    assert(start <= end);
    if (start == end)
        return true;
    uint32_t at = base_ranges_find(set, start);
    return at < set->count && set->list[at].start <= start && end <= set->list[at].end;
}

uint64_t base_ranges_total(const struct base_ranges *set) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < set->count; i++)
        total += set->list[i].end - set->list[i].start;
    return total;
}
