/* range.h - a small ordered set of disjoint half-open ranges [start, end) of 64-bit numbers.
 *
 * One structure says which stream bytes were acknowledged, which must be sent again, which have arrived, and which
 * packet numbers to acknowledge. In the common case there are one or two ranges, so the first few live inside the
 * struct and nothing is allocated; adding at the upper end, the usual case, is O(1).
 *
 * Invariant: ranges ascend, none is empty, and no two touch or overlap. The number of ranges never grows beyond
 * `limit`: a peer cannot make us hold more than the owner of the set allows.
 *
 * The set points into itself: its struct is neither copied nor moved once it is initialised.
 */
#ifndef BASE_RANGE_H
#define BASE_RANGE_H

#include <stdbool.h>

#include "mem.h"

struct base_range {
    uint64_t start, end; /* [start, end) */
};

#define BASE_RANGES_INLINE 2

struct base_ranges {
    struct base_range *list; /* == fixed until it has grown */
    uint32_t count, capacity;
    struct base_range fixed[BASE_RANGES_INLINE];
};

void base_ranges_init(struct base_ranges *set);
void base_ranges_clear(struct base_ranges *set, struct base_mem *mem); /* frees, leaves an empty, usable set */
/* Gives memory back when what is left fits into the struct itself. */
void base_ranges_shrink(struct base_ranges *set, struct base_mem *mem);

/* Only an operation that leaves the set with one range more than before can fail. */
enum base_ranges_result {
    BASE_RANGES_OK = 0,
    BASE_RANGES_FULL = -1,  /* would need more than `limit` ranges; set unchanged */
    BASE_RANGES_NOMEM = -2, /* allocation failed; set unchanged */
};

/* Add [start, end), start <= end. `limit` is the most ranges the set may hold afterwards. */
int base_ranges_add(struct base_ranges *set, struct base_mem *mem, uint64_t start, uint64_t end, uint32_t limit);
/* Take [start, end) out, whatever of it is there. Splitting a range may need memory: same results as add. */
int base_ranges_remove(struct base_ranges *set, struct base_mem *mem, uint64_t start, uint64_t end, uint32_t limit);
/* Remove everything below `bound`. Never fails. */
void base_ranges_drop_below(struct base_ranges *set, uint64_t bound);
/* Remove the lowest range. Never fails; the set must not be empty. */
void base_ranges_drop_first(struct base_ranges *set);
bool base_ranges_contains(const struct base_ranges *set, uint64_t value);
/* True when all of [start, end) is in the set; so always when it is empty. */
bool base_ranges_covers(const struct base_ranges *set, uint64_t start, uint64_t end);
/* Index of the first range with end > value, or count. */
uint32_t base_ranges_find(const struct base_ranges *set, uint64_t value);
/* Sum of the lengths. */
uint64_t base_ranges_total(const struct base_ranges *set);

static inline bool base_ranges_empty(const struct base_ranges *set) { return set->count == 0; }

#endif
