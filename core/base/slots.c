/* slots.c - the table behind every handle.
 *
 * Knows which handles were issued and which are alive. Does not know what the objects are; their kind is a number. A
 * handle from outside is only a claim, and every part of it is checked before the slot is believed.
 *
 * The invariant that matters: no handle is issued twice. A slot's generation only rises; when the last one has been
 * used the slot is retired, its stamp standing one above every generation a handle can carry. Kind is part of the stamp
 * of an occupied slot and absent from that of a free one, so a single compare says: alive, of this generation, of this
 * kind. The free list's last link is never read, so all 2^24 indices can be in it without a sentinel among them.
 */
#include "base/slots.h"

#include <assert.h>

#define SLOTS_LEAST 16u
#define SLOTS_NONE UINT32_MAX
#define STAMP_KIND_SHIFT 28
#define STAMP_RETIRED (BASE_GENERATION_MAX + 1)

_Static_assert(STAMP_RETIRED < UINT32_C(1) << STAMP_KIND_SHIFT, "a retired stamp must not look like a kind");

static uint32_t stamp_of(uint8_t kind, uint32_t generation) { return (uint32_t)kind << STAMP_KIND_SHIFT | generation; }

static uint32_t stamp_generation(uint32_t stamp) { return stamp & ((UINT32_C(1) << STAMP_KIND_SHIFT) - 1); }

void base_slots_init(struct base_slots *table, struct base_mem *mem, uint16_t tag) {
    assert(tag <= 0xfff);
    *table = (struct base_slots){
        .mem = mem, .free_head = SLOTS_NONE, .free_tail = SLOTS_NONE, .first = 1, .tag = tag & 0xfff};
}

void base_slots_continue(struct base_slots *table, uint32_t generation) {
    assert(generation >= 1 && generation <= BASE_GENERATION_MAX && !table->fresh);
    table->first = generation;
}

uint32_t base_slots_generation(const struct base_slots *table) {
    uint32_t next = table->first;
    for (uint32_t i = 0; i < table->fresh; i++) {
        const struct base_slot *slot = &table->slots[i];
        uint32_t unused = stamp_generation(slot->stamp) + (slot->object ? 1 : 0);
        next = unused > next ? unused : next;
    }
    return next;
}

void base_slots_clear(struct base_slots *table) {
    base_free(table->mem, table->slots, table->capacity * sizeof *table->slots);
    base_slots_init(table, table->mem, table->tag);
}

static bool slots_grow(struct base_slots *table) {
    if (table->capacity == BASE_SLOTS_MAX)
        return false;
    uint32_t capacity = table->capacity ? table->capacity * 2 : SLOTS_LEAST;
    void *slots = base_resize_array(table->mem, table->slots, table->capacity, capacity, sizeof *table->slots);
    if (!slots)
        return false;
    table->slots = (struct base_slot *)slots;
    table->capacity = capacity;
    return true;
}

/* The index of a free slot, taken off the free list or never used before; SLOTS_NONE when there is none. */
static uint32_t slots_take(struct base_slots *table) {
    uint32_t index = table->free_head;
    if (index != SLOTS_NONE) {
        table->free_head = index == table->free_tail ? SLOTS_NONE : table->slots[index].next_free;
        return index;
    }
    if (table->fresh == table->capacity && !slots_grow(table))
        return SLOTS_NONE;
    index = table->fresh++;
    table->slots[index] = (struct base_slot){.stamp = stamp_of(0, table->first)};
    return index;
}

uint64_t base_slots_add(struct base_slots *table, uint8_t kind, void *object) {
    assert(kind >= 1 && kind <= 15 && object);
    uint32_t index = slots_take(table);
    if (index == SLOTS_NONE)
        return 0;
    struct base_slot *slot = &table->slots[index];
    uint32_t generation = slot->stamp;
    slot->object = object;
    slot->stamp = stamp_of(kind, generation);
    table->live++;
    return (uint64_t)kind << 60 | (uint64_t)table->tag << 48 | (uint64_t)generation << 24 | index;
}

void base_slots_remove(struct base_slots *table, uint64_t handle) {
    bool live = base_slots_get(table, base_handle_kind(handle), handle, NULL) != NULL;
    assert(live);
    if (!live)
        return;
    uint32_t index = base_handle_index(handle);
    struct base_slot *slot = &table->slots[index];
    slot->object = NULL;
    slot->stamp = stamp_of(0, stamp_generation(slot->stamp) + 1);
    table->live--;
    if (slot->stamp == STAMP_RETIRED)
        return;
    if (table->free_head == SLOTS_NONE)
        table->free_head = index;
    else
        table->slots[table->free_tail].next_free = index;
    table->free_tail = index;
}

/* Why a handle with the right kind and tag found nothing. Generations below the slot's present one have all been
 * issued; the others have not: not to a handle of this kind, or not yet. */
static enum base_lookup slots_cause(const struct base_slots *table, uint64_t handle) {
    uint32_t index = base_handle_index(handle);
    uint32_t generation = base_handle_generation(handle);
    if (generation == 0)
        return BASE_LOOKUP_WRONG;
    if (generation < table->first)
        return BASE_LOOKUP_GONE;
    if (index >= table->fresh)
        return BASE_LOOKUP_WRONG;
    return generation < stamp_generation(table->slots[index].stamp) ? BASE_LOOKUP_GONE : BASE_LOOKUP_WRONG;
}

void *base_slots_get(const struct base_slots *table, uint8_t kind, uint64_t handle, enum base_lookup *why) {
    uint32_t index = base_handle_index(handle);
    bool ours = kind && handle >> 48 == ((uint64_t)kind << 12 | table->tag);
    if (ours && index < table->fresh && table->slots[index].stamp == stamp_of(kind, base_handle_generation(handle))) {
        if (why)
            *why = BASE_LOOKUP_OK;
        return table->slots[index].object;
    }
    if (why)
        *why = ours ? slots_cause(table, handle) : BASE_LOOKUP_WRONG;
    return NULL;
}
