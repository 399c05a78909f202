/* test_range.c - a set of ranges behaves as the set of numbers it stands for. */
#include "base/range.h"

#include <stdio.h>

#include "toolkit.h"

#define ANY UINT32_MAX

static bool invariant_holds(const struct base_ranges *set) {
    bool holds = set->count <= set->capacity;
    for (uint32_t i = 0; i < set->count; i++)
        holds &= set->list[i].start < set->list[i].end && (i == 0 || set->list[i - 1].end < set->list[i].start);
    return holds;
}

/* The set, written "1-3 5-9". */
static void looks_like(const struct base_ranges *set, const char *expect) {
    char text[512] = "";
    size_t at = 0;
    for (uint32_t i = 0; i < set->count; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%llu-%llu", i ? " " : "",
                               (unsigned long long)set->list[i].start, (unsigned long long)set->list[i].end);
    ck_assert_str_eq(text, expect);
    ck_assert(invariant_holds(set));
}

static struct toolkit_heap heap;
static struct base_mem mem;
static struct base_ranges set;

static void setup(void) {
    mem = toolkit_mem(&heap, 0);
    base_ranges_init(&set);
}

static void teardown(void) {
    base_ranges_clear(&set, &mem);
    ck_assert(base_ranges_empty(&set));
    toolkit_all_back(&heap, &mem);
}

static void add(uint64_t start, uint64_t end) {
    ck_assert_int_eq(base_ranges_add(&set, &mem, start, end, ANY), BASE_RANGES_OK);
}

static void take(uint64_t start, uint64_t end) {
    ck_assert_int_eq(base_ranges_remove(&set, &mem, start, end, ANY), BASE_RANGES_OK);
}

START_TEST(adding_joins_what_touches)
{
    looks_like(&set, "");
    add(5, 5);
    looks_like(&set, "");
    add(10, 20);
    add(20, 25); /* touches above */
    looks_like(&set, "10-25");
    add(8, 10); /* touches below */
    looks_like(&set, "8-25");
    add(9, 12);
    add(8, 25);
    add(25, 25);
    looks_like(&set, "8-25");
    add(26, 30);
    looks_like(&set, "8-25 26-30");
    add(25, 26);
    looks_like(&set, "8-30");
    ck_assert_uint_eq(heap.calls, 0); /* two ranges need no memory */
    add(40, 41);
    add(0, 1);
    add(35, 36);
    looks_like(&set, "0-1 8-30 35-36 40-41");
    add(1, 35);
    looks_like(&set, "0-36 40-41");
    add(0, 100);
    looks_like(&set, "0-100");
}
END_TEST

START_TEST(adding_over_several)
{
    for (uint64_t i = 0; i < 10; i++)
        add(10 * i, 10 * i + 5);
    ck_assert_uint_eq(set.count, 10);
    add(12, 42);
    looks_like(&set, "0-5 10-45 50-55 60-65 70-75 80-85 90-95");
    add(57, 68);
    looks_like(&set, "0-5 10-45 50-55 57-68 70-75 80-85 90-95");
    add(7, 200);
    looks_like(&set, "0-5 7-200");
}
END_TEST

START_TEST(removing_trims_and_splits)
{
    take(0, 10);
    add(10, 20);
    take(20, 30);
    take(0, 10);
    take(15, 15);
    looks_like(&set, "10-20");
    take(12, 14);
    looks_like(&set, "10-12 14-20");
    take(9, 11);
    looks_like(&set, "11-12 14-20");
    take(18, 25);
    looks_like(&set, "11-12 14-18");
    take(12, 14);
    looks_like(&set, "11-12 14-18");
    take(11, 12);
    looks_like(&set, "14-18");
    take(13, 19);
    looks_like(&set, "");
    for (uint64_t i = 0; i < 6; i++)
        add(10 * i, 10 * i + 5);
    take(12, 42);
    looks_like(&set, "0-5 10-12 42-45 50-55");
    take(5, 50);
    looks_like(&set, "0-5 50-55");
    take(0, UINT64_MAX);
    looks_like(&set, "");
}
END_TEST

START_TEST(shrinking_gives_memory_back)
{
    for (uint64_t i = 0; i < 20; i++)
        add(i * 10, i * 10 + 2);
    base_ranges_shrink(&set, &mem); /* too many to fit inside */
    ck_assert_uint_eq(set.count, 20);
    ck_assert_uint_gt(mem.used, 0);
    base_ranges_drop_below(&set, 180);
    base_ranges_shrink(&set, &mem);
    ck_assert_uint_eq(mem.used, 0);
    looks_like(&set, "180-182 190-192");
    base_ranges_shrink(&set, &mem);
    add(200, 201);
    looks_like(&set, "180-182 190-192 200-201");
}
END_TEST

START_TEST(dropping_from_below)
{
    base_ranges_drop_below(&set, 5);
    looks_like(&set, "");
    for (uint64_t i = 0; i < 5; i++)
        add(10 * i, 10 * i + 5);
    base_ranges_drop_below(&set, 0);
    base_ranges_drop_below(&set, 5);
    looks_like(&set, "10-15 20-25 30-35 40-45");
    base_ranges_drop_below(&set, 22);
    looks_like(&set, "22-25 30-35 40-45");
    base_ranges_drop_below(&set, 30);
    looks_like(&set, "30-35 40-45");
    base_ranges_drop_first(&set);
    looks_like(&set, "40-45");
    base_ranges_drop_first(&set);
    looks_like(&set, "");
    add(1, 2);
    base_ranges_drop_below(&set, UINT64_MAX);
    looks_like(&set, "");
}
END_TEST

START_TEST(questions)
{
    ck_assert(!base_ranges_contains(&set, 0));
    ck_assert(base_ranges_covers(&set, 4, 4));
    ck_assert(!base_ranges_covers(&set, 4, 5));
    ck_assert_uint_eq(base_ranges_find(&set, 0), 0);
    ck_assert_uint_eq(base_ranges_total(&set), 0);
    add(10, 20);
    add(30, 40);
    ck_assert(!base_ranges_contains(&set, 9));
    ck_assert(base_ranges_contains(&set, 10));
    ck_assert(base_ranges_contains(&set, 19));
    ck_assert(!base_ranges_contains(&set, 20));
    ck_assert(base_ranges_covers(&set, 10, 20));
    ck_assert(!base_ranges_covers(&set, 10, 21));
    ck_assert(!base_ranges_covers(&set, 9, 11));
    ck_assert(!base_ranges_covers(&set, 15, 35));
    ck_assert_uint_eq(base_ranges_find(&set, 19), 0);
    ck_assert_uint_eq(base_ranges_find(&set, 20), 1);
    ck_assert_uint_eq(base_ranges_find(&set, 40), 2);
    ck_assert_uint_eq(base_ranges_total(&set), 20);
}
END_TEST

START_TEST(ends_of_the_number_line)
{
    add(UINT64_MAX - 1, UINT64_MAX);
    add(0, 1);
    ck_assert(base_ranges_contains(&set, UINT64_MAX - 1));
    ck_assert(!base_ranges_contains(&set, UINT64_MAX));
    add(1, UINT64_MAX - 1);
    ck_assert_uint_eq(set.count, 1);
    ck_assert_uint_eq(base_ranges_total(&set), UINT64_MAX);
    ck_assert(base_ranges_covers(&set, 0, UINT64_MAX));
    take(5, UINT64_MAX);
    looks_like(&set, "0-5");
}
END_TEST

START_TEST(limit_is_the_most_there_can_be)
{
    for (uint64_t i = 1; i <= 3; i++)
        ck_assert_int_eq(base_ranges_add(&set, &mem, 10 * i, 10 * i + 5, 3), BASE_RANGES_OK);
    ck_assert_int_eq(base_ranges_add(&set, &mem, 50, 51, 3), BASE_RANGES_FULL); /* above */
    ck_assert_int_eq(base_ranges_add(&set, &mem, 17, 18, 3), BASE_RANGES_FULL); /* between */
    ck_assert_int_eq(base_ranges_add(&set, &mem, 0, 1, 3), BASE_RANGES_FULL);   /* below */
    ck_assert_int_eq(base_ranges_remove(&set, &mem, 21, 22, 3), BASE_RANGES_FULL);
    looks_like(&set, "10-15 20-25 30-35");
    ck_assert_int_eq(base_ranges_add(&set, &mem, 35, 40, 3), BASE_RANGES_OK); /* joins: no range more */
    ck_assert_int_eq(base_ranges_add(&set, &mem, 8, 10, 3), BASE_RANGES_OK);
    ck_assert_int_eq(base_ranges_remove(&set, &mem, 24, 31, 3), BASE_RANGES_OK);
    looks_like(&set, "8-15 20-24 31-40");
    ck_assert_int_eq(base_ranges_add(&set, &mem, 12, 22, 1),
                     BASE_RANGES_OK); /* a limit below the count stops growth only */
    ck_assert_int_eq(base_ranges_remove(&set, &mem, 8, 10, 0), BASE_RANGES_OK);
    looks_like(&set, "10-24 31-40");
    ck_assert_int_eq(base_ranges_add(&set, &mem, 50, 51, 0), BASE_RANGES_FULL);
}
END_TEST

START_TEST(memory_stays_within_the_limit)
{
    for (uint64_t i = 0; i < 11; i++)
        ck_assert_int_eq(base_ranges_add(&set, &mem, 2 * i, 2 * i + 1, 11), BASE_RANGES_OK);
    ck_assert_uint_eq(set.count, 11);
    ck_assert_uint_eq(set.capacity, 11);
    ck_assert_uint_eq(mem.used, 11 * sizeof(struct base_range));
}
END_TEST

START_TEST(failed_allocation_changes_nothing)
{
    add(10, 20);
    add(30, 40);
    heap.left = 0;
    ck_assert_int_eq(base_ranges_add(&set, &mem, 50, 60, ANY), BASE_RANGES_NOMEM);
    ck_assert_int_eq(base_ranges_add(&set, &mem, 0, 1, ANY), BASE_RANGES_NOMEM);
    ck_assert_int_eq(base_ranges_remove(&set, &mem, 12, 14, ANY), BASE_RANGES_NOMEM);
    looks_like(&set, "10-20 30-40");
    ck_assert_int_eq(base_ranges_add(&set, &mem, 20, 30, ANY), BASE_RANGES_OK);
    take(12, 14);
    looks_like(&set, "10-12 14-40");
    heap.left = 1;
    for (uint64_t i = 5; i < 11; i++)
        add(10 * i, 10 * i + 1);
    looks_like(&set, "10-12 14-40 50-51 60-61 70-71 80-81 90-91 100-101");
    ck_assert_int_eq(base_ranges_add(&set, &mem, 110, 111, ANY), BASE_RANGES_NOMEM); /* the heap copy is full as well */
    looks_like(&set, "10-12 14-40 50-51 60-61 70-71 80-81 90-91 100-101");
}
END_TEST

START_TEST(cleared_set_is_usable)
{
    for (uint64_t i = 0; i < 100; i++)
        add(2 * i, 2 * i + 1);
    base_ranges_clear(&set, &mem);
    ck_assert_uint_eq(mem.used, 0);
    looks_like(&set, "");
    add(1, 2);
    looks_like(&set, "1-2");
}
END_TEST

/* --- against a bitmap --- */

#define SPAN 96u

static uint32_t runs_in(const bool *bits) {
    uint32_t runs = 0;
    for (uint32_t i = 0; i < SPAN; i++)
        runs += bits[i] && (i == 0 || !bits[i - 1]);
    return runs;
}

static bool agrees(const bool *bits) {
    bool same = invariant_holds(&set) && set.count == runs_in(bits);
    uint64_t total = 0;
    uint32_t index = 0;
    for (uint32_t i = 0; i < SPAN; i++) {
        same &= base_ranges_contains(&set, i) == bits[i];
        same &= base_ranges_find(&set, i) == index;
        total += bits[i];
        index += bits[i] && !(i + 1 < SPAN && bits[i + 1]);
    }
    return same && base_ranges_total(&set) == total;
}

/* Applies the operation to a copy of the bitmap and says what the set must answer. */
static int expected(bool *bits, uint32_t start, uint32_t end, bool value, uint32_t limit, bool *needs_more) {
    uint32_t before = runs_in(bits);
    bool after[SPAN];
    memcpy(after, bits, sizeof after);
    for (uint32_t i = start; i < end; i++)
        after[i] = value;
    *needs_more = runs_in(after) > before;
    if (*needs_more && runs_in(after) > limit)
        return BASE_RANGES_FULL;
    memcpy(bits, after, sizeof after);
    return BASE_RANGES_OK;
}

static void one_step(bool *bits, struct toolkit_dice *dice) {
    uint32_t a = toolkit_pick(dice, SPAN + 1),
             b = toolkit_pick(dice, 3) ? a + toolkit_pick(dice, 6) : toolkit_pick(dice, SPAN + 1);
    uint32_t start = a < b ? a : b, end = a < b ? b : a;
    end = end > SPAN ? SPAN : end;
    uint32_t limit = toolkit_pick(dice, 2) ? ANY : toolkit_pick(dice, 20);
    uint32_t what = toolkit_pick(dice, 40);
    if (what == 0) {
        base_ranges_drop_below(&set, start);
        memset(bits, 0, start);
    } else if (what == 1) {
        if (base_ranges_empty(&set))
            return;
        uint64_t first_end = set.list[0].end;
        base_ranges_drop_first(&set);
        memset(bits, 0, first_end);
    } else if (what == 2) {
        bool all = true;
        for (uint32_t i = start; i < end; i++)
            all &= bits[i];
        ck_assert_int_eq(base_ranges_covers(&set, start, end), all);
    } else {
        bool value = what % 2, needs_more, old[SPAN];
        memcpy(old, bits, sizeof old);
        heap.left = toolkit_pick(dice, 3) ? -1 : 0;
        int expect = expected(bits, start, end, value, limit, &needs_more);
        bool must_grow = needs_more && set.count == set.capacity;
        if (expect == BASE_RANGES_OK && must_grow && heap.left == 0) {
            expect = BASE_RANGES_NOMEM;
            memcpy(bits, old, sizeof old);
        }
        int got =
            value ? base_ranges_add(&set, &mem, start, end, limit) : base_ranges_remove(&set, &mem, start, end, limit);
        ck_assert_int_eq(got, expect);
    }
}

START_TEST(agrees_with_a_bitmap)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct toolkit_dice dice = {seed};
        bool bits[SPAN] = {false};
        for (int step = 0; step < 300; step++) {
            one_step(bits, &dice);
            ck_assert_msg(agrees(bits), "seed %llu, step %d", (unsigned long long)seed, step);
        }
        heap.left = -1;
        base_ranges_clear(&set, &mem);
        ck_assert_uint_eq(mem.used, 0);
    }
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {
        adding_joins_what_touches,     adding_over_several,
        removing_trims_and_splits,     shrinking_gives_memory_back,
        dropping_from_below,           questions,
        ends_of_the_number_line,       limit_is_the_most_there_can_be,
        memory_stays_within_the_limit, failed_allocation_changes_nothing,
        cleared_set_is_usable,         agrees_with_a_bitmap,
    };
    return TOOLKIT_SUITE_WITH("base/range", tests, setup, teardown);
}
