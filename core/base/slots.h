/* slots.h - handles that cannot dangle.
 *
 * Every object the outside can name sits in a slot. Its handle is a number made of the object's kind, the tag of the
 * engine that owns it, the slot's generation and the slot's index; a look-up is an index and a compare. When the
 * object goes, the generation moves on, so an old handle finds nothing - whatever lives in the slot now.
 *
 *     63..60 kind | 59..48 tag | 47..24 generation | 23..0 index
 *
 * Invariant: no handle value is ever issued twice by one table: a slot whose generations are used up is retired.
 * A handle of 0 is never valid (kind 0 and generation 0 are reserved).
 */
#ifndef BASE_SLOTS_H
#define BASE_SLOTS_H

#include <stdbool.h>

#include "mem.h"

#define BASE_SLOTS_MAX (UINT32_C(1) << 24)
#define BASE_GENERATION_MAX ((UINT32_C(1) << 24) - 1)

struct base_slot {
    void *object;       /* NULL when free */
    uint32_t stamp;     /* occupied: kind << 28 | generation; free: the next generation; starts at 1 */
    uint32_t next_free; /* the slot behind this one in the free list; only read when there is one */
};

struct base_slots {
    struct base_mem *mem;
    struct base_slot *slots;
    uint32_t capacity;  /* allocated slots, a power of two */
    uint32_t fresh;     /* slots from here on were never used */
    uint32_t free_head; /* first in, first out, so that generations last; UINT32_MAX = none */
    uint32_t free_tail; /* only read when there is a head */
    uint32_t live;
    uint32_t first; /* generation of slots that were never used */
    uint16_t tag;   /* 12 bits */
};

enum base_lookup {
    BASE_LOOKUP_OK = 0,
    BASE_LOOKUP_GONE = -1,  /* was ours once, or could have been, but is not alive */
    BASE_LOOKUP_WRONG = -2, /* another kind, another engine's tag, or never issued */
};

void base_slots_init(struct base_slots *table, struct base_mem *mem, uint16_t tag);
/* A table that follows another one with the same tag: lower generations are the other's, so their handles are gone
 * here, and are never issued again. Before the first add; 1 <= generation <= BASE_GENERATION_MAX. */
void base_slots_continue(struct base_slots *table, uint32_t generation);
/* The lowest generation that no handle of this table has; beyond BASE_GENERATION_MAX the tag cannot be used again. */
uint32_t base_slots_generation(const struct base_slots *table);
/* Frees the table, whose handles then end; objects are their owners'. It may not be used again without init. */
void base_slots_clear(struct base_slots *table);
/* Puts `object` (not NULL) into a slot and returns its handle, or 0 when memory or slots are used up. kind: 1..15. */
uint64_t base_slots_add(struct base_slots *table, uint8_t kind, void *object);
/* Ends the handle. It must be live: one that is not is a defect of the caller, and changes nothing. */
void base_slots_remove(struct base_slots *table, uint64_t handle);
/* The object behind a live handle of this kind, or NULL; in any case the cause is in *why (which may be NULL). */
void *base_slots_get(const struct base_slots *table, uint8_t kind, uint64_t handle, enum base_lookup *why);

/* The object of this kind that lives in a slot now, or NULL. For numbers too short to hold a handle: the caller must
 * compare more before it believes the answer. */
static inline void *base_slots_at(const struct base_slots *table, uint8_t kind, uint32_t index) {
    if (index >= table->fresh)
        return NULL;
    const struct base_slot *slot = &table->slots[index];
    return slot->object && slot->stamp >> 28 == kind ? slot->object : NULL;
}

static inline uint8_t base_handle_kind(uint64_t handle) { return (uint8_t)(handle >> 60); }
static inline uint16_t base_handle_tag(uint64_t handle) { return (uint16_t)((handle >> 48) & 0xfff); }
static inline uint32_t base_handle_generation(uint64_t handle) { return (uint32_t)((handle >> 24) & 0xffffff); }
static inline uint32_t base_handle_index(uint64_t handle) { return (uint32_t)(handle & 0xffffff); }

#endif
