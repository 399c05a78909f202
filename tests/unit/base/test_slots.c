/* test_slots.c - a handle finds its object while that lives and nothing ever after. */
#include "base/slots.h"

#include "toolkit.h"

static struct toolkit_heap heap;
static struct base_mem mem;
static struct base_slots table;

#define TAG 0xabc

static void setup(void) {
    mem = toolkit_mem(&heap, 0);
    base_slots_init(&table, &mem, TAG);
}

static void teardown(void) {
    base_slots_clear(&table);
    toolkit_all_back(&heap, &mem);
}

static void finds(uint8_t kind, uint64_t handle, void *object, enum base_lookup cause) {
    enum base_lookup why = (enum base_lookup)77;
    ck_assert_ptr_eq(base_slots_get(&table, kind, handle, &why), object);
    ck_assert_int_eq(why, cause);
    ck_assert_ptr_eq(base_slots_get(&table, kind, handle, NULL), object);
}

static uint64_t handle_of(uint8_t kind, uint16_t tag, uint32_t generation, uint32_t index) {
    return (uint64_t)kind << 60 | (uint64_t)tag << 48 | (uint64_t)generation << 24 | index;
}

START_TEST(parts_of_a_handle)
{
    int object;
    ck_assert_uint_eq(sizeof(struct base_slot), 8 + sizeof(void *));
    uint64_t handle = base_slots_add(&table, 7, &object);
    ck_assert_uint_eq(base_handle_kind(handle), 7);
    ck_assert_uint_eq(base_handle_tag(handle), TAG);
    ck_assert_uint_eq(base_handle_generation(handle), 1);
    ck_assert_uint_eq(base_handle_index(handle), 0);
    ck_assert_uint_eq(handle, handle_of(7, TAG, 1, 0));
    finds(7, handle, &object, BASE_LOOKUP_OK);
    ck_assert_uint_eq(table.live, 1);
    uint64_t other = base_slots_add(&table, 15, &table);
    ck_assert_uint_eq(other, handle_of(15, TAG, 1, 1));
    finds(15, other, &table, BASE_LOOKUP_OK);
    ck_assert_uint_eq(table.live, 2);
}
END_TEST

START_TEST(stale_handles_are_gone)
{
    int a, b;
    uint64_t first = base_slots_add(&table, 3, &a);
    base_slots_remove(&table, first);
    ck_assert_uint_eq(table.live, 0);
    finds(3, first, NULL, BASE_LOOKUP_GONE);
    uint64_t second = base_slots_add(&table, 3, &b);
    ck_assert_uint_eq(second, handle_of(3, TAG, 2, 0)); /* the same slot */
    finds(3, first, NULL, BASE_LOOKUP_GONE);
    finds(3, second, &b, BASE_LOOKUP_OK);
    finds(4, handle_of(4, TAG, 1, 0), NULL, BASE_LOOKUP_GONE); /* could have been */
}
END_TEST

START_TEST(wrong_handles_are_wrong)
{
    int a;
    finds(1, handle_of(1, TAG, 1, 0), NULL, BASE_LOOKUP_WRONG); /* an empty table */
    finds(1, 0, NULL, BASE_LOOKUP_WRONG);
    uint64_t handle = base_slots_add(&table, 3, &a);
    for (uint32_t kind = 0; kind < 256; kind++)
        finds((uint8_t)kind, handle, kind == 3 ? &a : NULL, kind == 3 ? BASE_LOOKUP_OK : BASE_LOOKUP_WRONG);
    for (unsigned bit = 0; bit < 64; bit++) /* a handle one bit off is another handle */
        finds(3, handle ^ UINT64_C(1) << bit, NULL, BASE_LOOKUP_WRONG);
    finds(5, handle_of(5, TAG, 1, 0), NULL, BASE_LOOKUP_WRONG);                   /* live, but not of this kind */
    finds(3, handle_of(3, TAG ^ 1, 1, 0), NULL, BASE_LOOKUP_WRONG);               /* another engine's */
    finds(3, handle_of(3, TAG, 0, 0), NULL, BASE_LOOKUP_WRONG);                   /* no such generation */
    finds(3, handle_of(3, TAG, 2, 0), NULL, BASE_LOOKUP_WRONG);                   /* not issued yet */
    finds(3, handle_of(3, TAG, BASE_GENERATION_MAX, 0), NULL, BASE_LOOKUP_WRONG); /* not issued yet */
    finds(3, handle_of(3, TAG, 1, 1), NULL, BASE_LOOKUP_WRONG);                   /* a slot never used */
    finds(3, handle_of(3, TAG, 1, BASE_SLOTS_MAX - 1), NULL, BASE_LOOKUP_WRONG);  /* beyond the table */
    finds(3, UINT64_MAX, NULL, BASE_LOOKUP_WRONG);
    base_slots_remove(&table, handle);
    finds(3, handle_of(3, TAG, 2, 0), NULL, BASE_LOOKUP_WRONG); /* the next occupant's, who is not there yet */
    finds(0, handle_of(0, TAG, 2, 0), NULL, BASE_LOOKUP_WRONG); /* looks like the free slot's own stamp */
    finds(3, handle, NULL, BASE_LOOKUP_GONE);
    finds(4, handle, NULL, BASE_LOOKUP_WRONG);
}
END_TEST

START_TEST(free_slots_are_used_in_turn)
{
    int object;
    uint64_t handles[20];
    for (int i = 0; i < 20; i++)
        handles[i] = base_slots_add(&table, 1, &object);
    static const uint32_t order[] = {7, 3, 19, 0};
    for (int i = 0; i < 4; i++)
        base_slots_remove(&table, handles[order[i]]);
    for (int i = 0; i < 2; i++)
        ck_assert_uint_eq(base_handle_index(base_slots_add(&table, 1, &object)), order[i]);
    base_slots_remove(&table, handles[5]);
    ck_assert_uint_eq(base_handle_index(base_slots_add(&table, 1, &object)), 19);
    ck_assert_uint_eq(base_handle_index(base_slots_add(&table, 1, &object)), 0);
    ck_assert_uint_eq(base_handle_index(base_slots_add(&table, 1, &object)), 5);
    ck_assert_uint_eq(base_handle_index(base_slots_add(&table, 1, &object)), 20); /* a fresh one */
    ck_assert_uint_eq(table.live, 21);
}
END_TEST

START_TEST(table_doubles)
{
    static char objects[1000];
    uint64_t handles[1000];
    for (uint32_t i = 0; i < 1000; i++) {
        handles[i] = base_slots_add(&table, 2, &objects[i]);
        ck_assert_uint_eq(base_handle_index(handles[i]), i);
        ck_assert_uint_eq(table.capacity & (table.capacity - 1), 0);
    }
    ck_assert_uint_eq(table.capacity, 1024);
    ck_assert_uint_eq(mem.used, 1024 * sizeof(struct base_slot));
    for (uint32_t i = 0; i < 1000; i++)
        finds(2, handles[i], &objects[i], BASE_LOOKUP_OK);
}
END_TEST

START_TEST(failed_growth_issues_nothing)
{
    static char objects[64];
    uint64_t handles[64];
    heap.left = 0;
    ck_assert_uint_eq(base_slots_add(&table, 1, objects), 0);
    heap.left = 1;
    uint32_t count = 0;
    while ((handles[count] = base_slots_add(&table, 1, &objects[count])) != 0)
        count++;
    ck_assert_uint_eq(count, table.capacity);
    ck_assert_uint_eq(table.live, count);
    for (uint32_t i = 0; i < count; i++)
        finds(1, handles[i], &objects[i], BASE_LOOKUP_OK);
    base_slots_remove(&table, handles[4]);
    ck_assert_uint_eq(base_slots_add(&table, 1, objects), handle_of(1, TAG, 2, 4)); /* a free slot needs no memory */
    heap.left = -1;
    ck_assert_uint_eq(base_slots_add(&table, 1, objects), handle_of(1, TAG, 1, count));
}
END_TEST

/* The whole life of a slot: 2^24 - 1 handles, then it is retired and the next slot is used. */
START_TEST(used_up_slot_is_retired)
{
    int object;
    uint64_t handle = 0;
    bool right = true;
    for (uint32_t generation = 1; generation <= BASE_GENERATION_MAX; generation++) {
        handle = base_slots_add(&table, 9, &object);
        right &= handle == handle_of(9, TAG, generation, 0);
        if (generation < BASE_GENERATION_MAX)
            base_slots_remove(&table, handle);
    }
    ck_assert(right);
    finds(9, handle, &object, BASE_LOOKUP_OK);
    base_slots_remove(&table, handle);
    finds(9, handle, NULL, BASE_LOOKUP_GONE);
    for (uint8_t kind = 0; kind < 16; kind++) { /* nothing made up finds it */
        finds(kind, handle_of(kind, TAG, 0, 0), NULL, BASE_LOOKUP_WRONG);
        finds(kind, handle_of(kind, TAG, BASE_GENERATION_MAX, 0), NULL, kind ? BASE_LOOKUP_GONE : BASE_LOOKUP_WRONG);
    }
    ck_assert_uint_eq(base_slots_add(&table, 9, &object), handle_of(9, TAG, 1, 1));
    ck_assert_uint_eq(table.live, 1);
}
END_TEST

START_TEST(every_index_used_up)
{
    int object;
    uint64_t handle = base_slots_add(&table, 1, &object);
    struct base_slots full = table; /* as if all 2^24 slots had been handed out */
    full.capacity = full.fresh = BASE_SLOTS_MAX;
    uint64_t calls = heap.calls;
    ck_assert_uint_eq(base_slots_add(&full, 1, &object), 0);
    ck_assert_uint_eq(heap.calls, calls);
    base_slots_remove(&full, handle);
    ck_assert_uint_eq(base_slots_add(&full, 1, &object), handle_of(1, TAG, 2, 0));
    ck_assert_uint_eq(base_slots_add(&full, 1, &object), 0);
}
END_TEST

START_TEST(greatest_tag_and_cleared_table)
{
    int object;
    struct base_slots other;
    base_slots_init(&other, &mem, 0xfff);
    uint64_t handle = base_slots_add(&other, 1, &object);
    ck_assert_uint_eq(base_handle_tag(handle), 0xfff);
    ck_assert_ptr_eq(base_slots_get(&other, 1, handle, NULL), &object);
    finds(1, handle, NULL, BASE_LOOKUP_WRONG);
    base_slots_clear(&other);
    ck_assert_ptr_null(base_slots_get(&other, 1, handle, NULL));
}
END_TEST

/* --- against a naive list of everything that was ever issued --- */

#define ISSUED_MAX 3000u

static struct issued {
    uint64_t handle;
    void *object; /* NULL: ended */
} issued[ISSUED_MAX];
static uint32_t issued_count;

static const struct issued *issued_find(uint64_t handle) {
    for (uint32_t i = 0; i < issued_count; i++)
        if (issued[i].handle == handle)
            return &issued[i];
    return NULL;
}

/* Made-up, foreign and bent handles: alive only if exactly that handle was issued and has not ended. */
static bool made_up_agrees(struct toolkit_dice *dice) {
    uint8_t kind = (uint8_t)toolkit_pick(dice, 5);
    uint16_t tag = toolkit_pick(dice, 8) ? TAG : (uint16_t)toolkit_pick(dice, 4096);
    uint64_t handle = handle_of(kind, tag, toolkit_pick(dice, 12), toolkit_pick(dice, 70));
    if (toolkit_pick(dice, 8) == 0)
        handle = toolkit_roll(dice);
    else if (issued_count && toolkit_pick(dice, 8) == 0)
        handle = issued[toolkit_pick(dice, issued_count)].handle ^ UINT64_C(1) << toolkit_pick(dice, 64);
    uint8_t asked = toolkit_pick(dice, 6) ? base_handle_kind(handle) : (uint8_t)toolkit_pick(dice, 5);
    const struct issued *known = issued_find(handle);
    enum base_lookup why;
    void *found = base_slots_get(&table, asked, handle, &why);
    if (known && asked == base_handle_kind(handle))
        return found == known->object && why == (known->object ? BASE_LOOKUP_OK : BASE_LOOKUP_GONE);
    return !found && why != BASE_LOOKUP_OK && (why == BASE_LOOKUP_WRONG || asked == base_handle_kind(handle));
}

static bool random_step(struct toolkit_dice *dice, uint32_t *live) {
    static char objects[64];
    uint32_t what = toolkit_pick(dice, 8);
    if (what < 3 && issued_count < ISSUED_MAX && *live < 64) {
        void *object = &objects[toolkit_pick(dice, 64)];
        uint8_t kind = (uint8_t)(1 + toolkit_pick(dice, 4));
        heap.left = toolkit_pick(dice, 2) ? -1 : 0;
        bool may_fail = heap.left == 0 && table.free_head == UINT32_MAX && table.fresh == table.capacity;
        uint64_t handle = base_slots_add(&table, kind, object);
        if (handle == 0)
            return may_fail;
        if (may_fail || issued_find(handle) || base_handle_kind(handle) != kind || base_handle_tag(handle) != TAG)
            return false;
        issued[issued_count++] = (struct issued){handle, object};
        ++*live;
    } else if (what < 6 && *live) {
        uint32_t at = toolkit_pick(dice, issued_count);
        while (!issued[at].object)
            at = (at + 1) % issued_count;
        base_slots_remove(&table, issued[at].handle);
        issued[at].object = NULL;
        --*live;
    }
    for (int i = 0; i < 4 && issued_count; i++) {
        const struct issued *known = &issued[toolkit_pick(dice, issued_count)];
        enum base_lookup why;
        void *found = base_slots_get(&table, base_handle_kind(known->handle), known->handle, &why);
        if (found != known->object || why != (found ? BASE_LOOKUP_OK : BASE_LOOKUP_GONE))
            return false;
    }
    return made_up_agrees(dice) && table.live == *live;
}

START_TEST(agrees_with_a_list)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct toolkit_dice dice = {seed};
        uint32_t live = 0;
        issued_count = 0;
        for (int step = 0; step < 4000; step++)
            ck_assert_msg(random_step(&dice, &live), "seed %llu, step %d", (unsigned long long)seed, step);
        base_slots_clear(&table);
        base_slots_init(&table, &mem, TAG);
    }
}
END_TEST

START_TEST(successor_issues_nothing_twice)
{
    int thing;
    uint64_t old = base_slots_add(&table, 3, &thing);
    base_slots_remove(&table, old);
    old = base_slots_add(&table, 3, &thing);
    uint32_t next = base_slots_generation(&table);
    ck_assert_uint_gt(next, base_handle_generation(old));
    base_slots_clear(&table);
    base_slots_continue(&table, next);
    enum base_lookup why;
    ck_assert_ptr_null(base_slots_get(&table, 3, old, &why));
    ck_assert_int_eq(why, BASE_LOOKUP_GONE);
    for (int i = 0; i < 100; i++) {
        ck_assert_uint_ge(base_handle_generation(base_slots_add(&table, 3, &thing)), next);
        ck_assert_ptr_null(base_slots_get(&table, 3, old, &why));
        ck_assert_int_eq(why, BASE_LOOKUP_GONE);
    }
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {
        parts_of_a_handle,
        stale_handles_are_gone,
        wrong_handles_are_wrong,
        free_slots_are_used_in_turn,
        table_doubles,
        failed_growth_issues_nothing,
        used_up_slot_is_retired,
        every_index_used_up,
        greatest_tag_and_cleared_table,
        agrees_with_a_list,
        successor_issues_nothing_twice,
    };
    return TOOLKIT_SUITE_WITH("base/slots", tests, setup, teardown);
}
