/* test_heap.c - the soonest deadline is always on top, wherever entries move. */
#include "base/heap.h"

#include "toolkit.h"

static struct toolkit_heap memory;
static struct base_mem mem;
static struct base_heap heap;

static void setup(void) {
    mem = toolkit_mem(&memory, 0);
    base_heap_init(&heap, &mem);
}

static void teardown(void) {
    base_heap_clear(&heap);
    toolkit_all_back(&memory, &mem);
}

static bool invariant_holds(void) {
    bool holds = heap.count <= heap.capacity;
    for (uint32_t i = 0; i < heap.count; i++) {
        holds &= heap.cells[i].entry->place == i + 1 && heap.cells[i].entry->key == heap.cells[i].key;
        holds &= i == 0 || heap.cells[(i - 1) / 4].key <= heap.cells[i].key;
    }
    return holds;
}

START_TEST(empty_heap)
{
    struct base_heap_entry entry = {0};
    ck_assert_ptr_null(base_heap_first(&heap));
    base_heap_remove(&heap, &entry);
    ck_assert_uint_eq(entry.place, 0);
    ck_assert(base_heap_reserve(&heap, 0));
    ck_assert_uint_eq(memory.calls, 0);
}
END_TEST

START_TEST(moves_both_ways)
{
    struct base_heap_entry a = {0}, b = {0}, c = {0};
    ck_assert(base_heap_reserve(&heap, 3));
    base_heap_set(&heap, &a, 30);
    base_heap_set(&heap, &b, 20);
    base_heap_set(&heap, &c, UINT64_MAX);
    ck_assert_ptr_eq(base_heap_first(&heap), &b);
    base_heap_set(&heap, &c, 0);
    ck_assert_ptr_eq(base_heap_first(&heap), &c);
    ck_assert_uint_eq(c.key, 0);
    base_heap_set(&heap, &c, 40);
    base_heap_set(&heap, &b, 35);
    base_heap_set(&heap, &b, 35);
    ck_assert_ptr_eq(base_heap_first(&heap), &a);
    ck_assert_uint_eq(heap.count, 3);
    base_heap_remove(&heap, &a);
    base_heap_remove(&heap, &a);
    ck_assert_uint_eq(a.place, 0);
    ck_assert_ptr_eq(base_heap_first(&heap), &b);
    base_heap_remove(&heap, &b);
    base_heap_remove(&heap, &c);
    ck_assert_ptr_null(base_heap_first(&heap));
    base_heap_set(&heap, &a, 1); /* and in again */
    ck_assert_ptr_eq(base_heap_first(&heap), &a);
    base_heap_clear(&heap);
    ck_assert_uint_eq(a.place, 0);
    ck_assert_ptr_null(base_heap_first(&heap));
}
END_TEST

START_TEST(reserve_is_what_can_fail)
{
    struct base_heap_entry entries[40] = {{0}};
    memory.left = 0;
    ck_assert(!base_heap_reserve(&heap, 1));
    ck_assert_uint_eq(heap.capacity, 0);
    memory.left = 1;
    ck_assert(base_heap_reserve(&heap, 10));
    ck_assert_uint_ge(heap.capacity, 10);
    uint32_t room = heap.capacity;
    for (uint32_t i = 0; i < room; i++)
        base_heap_set(&heap, &entries[i], 100 - i); /* no memory left, none needed */
    ck_assert(!base_heap_reserve(&heap, room + 1));
    ck_assert(invariant_holds());
    ck_assert_uint_eq(heap.count, room);
    ck_assert(base_heap_reserve(&heap, room));
    memory.left = -1;
    ck_assert(base_heap_reserve(&heap, room + 1));
    ck_assert_uint_eq(heap.capacity, 2 * room); /* one more each time costs O(1) */
    ck_assert(invariant_holds());
    ck_assert_ptr_eq(base_heap_first(&heap), &entries[room - 1]);
}
END_TEST

START_TEST(comes_out_sorted)
{
    static struct base_heap_entry entries[5000];
    struct toolkit_dice dice = {4};
    ck_assert(base_heap_reserve(&heap, 5000));
    for (int i = 0; i < 5000; i++) {
        entries[i].place = 0;
        base_heap_set(&heap, &entries[i], toolkit_roll(&dice) >> (i % 64));
    }
    ck_assert(invariant_holds());
    uint64_t last = 0, out = 0;
    bool sorted = true;
    for (struct base_heap_entry *entry; (entry = base_heap_first(&heap)) != NULL; out++) {
        sorted &= entry->key >= last;
        last = entry->key;
        base_heap_remove(&heap, entry);
    }
    ck_assert(sorted);
    ck_assert_uint_eq(out, 5000);
}
END_TEST

/* The model: for each entry whether it is in, and its key; the first must have the least key of all. */
START_TEST(agrees_with_a_model)
{
    enum { ENTRIES = 90 };
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct toolkit_dice dice = {seed};
        struct base_heap_entry entries[ENTRIES] = {{0}};
        bool in[ENTRIES] = {false};
        uint64_t keys[ENTRIES] = {0};
        uint32_t used = seed % 2 ? 7 : ENTRIES;
        ck_assert(base_heap_reserve(&heap, used));
        for (int step = 0; step < 2000; step++) {
            uint32_t at = toolkit_pick(&dice, used);
            if (toolkit_pick(&dice, 5) == 0 && heap.count)
                at = (uint32_t)(base_heap_first(&heap) - entries); /* as a timer does */
            if (toolkit_pick(&dice, 3)) {
                in[at] = true;
                keys[at] = toolkit_pick(&dice, 50);
                base_heap_set(&heap, &entries[at], keys[at]);
            } else {
                in[at] = false;
                base_heap_remove(&heap, &entries[at]);
            }
            uint32_t count = 0;
            uint64_t least = UINT64_MAX;
            bool right = invariant_holds();
            for (uint32_t i = 0; i < used; i++) {
                right &= in[i] == (entries[i].place != 0) && (!in[i] || entries[i].key == keys[i]);
                count += in[i];
                least = in[i] && keys[i] < least ? keys[i] : least;
            }
            const struct base_heap_entry *first = base_heap_first(&heap);
            right &= heap.count == count && (count ? first && first->key == least : !first);
            ck_assert_msg(right, "seed %llu, step %d", (unsigned long long)seed, step);
        }
        base_heap_clear(&heap);
    }
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {empty_heap, moves_both_ways, reserve_is_what_can_fail, comes_out_sorted,
                            agrees_with_a_model};
    return TOOLKIT_SUITE_WITH("base/heap", tests, setup, teardown);
}
