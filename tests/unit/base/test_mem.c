/* test_mem.c - every byte is counted, the budget holds, and a refusal changes nothing. */
#include "base/mem.h"

#include "toolkit.h"

START_TEST(libc_allocator_works)
{
    struct base_mem mem;
    base_mem_init(&mem, 0);
    ck_assert_uint_eq(mem.used, 0);
    ck_assert_uint_eq(mem.limit, 0);
    uint8_t *block = base_zalloc(&mem, 1000);
    ck_assert_ptr_nonnull(block);
    for (int i = 0; i < 1000; i++)
        ck_assert_uint_eq(block[i], 0);
    memset(block, 7, 1000);
    block = base_resize(&mem, block, 1000, 5000);
    ck_assert_ptr_nonnull(block);
    ck_assert_uint_eq(block[999], 7);
    ck_assert_uint_eq(mem.used, 5000);
    block = base_resize(&mem, block, 5000, 10);
    ck_assert_ptr_nonnull(block);
    ck_assert_uint_eq(block[9], 7);
    ck_assert_uint_eq(mem.used, 10);
    ck_assert_uint_eq(mem.peak, 5000);
    base_free(&mem, block, 10);
    ck_assert_uint_eq(mem.used, 0);
    ck_assert_uint_eq(mem.refusals, 0);
}
END_TEST

START_TEST(counts_used_and_peak)
{
    struct toolkit_heap heap;
    struct base_mem mem = toolkit_mem(&heap, 0);
    void *a = base_alloc(&mem, 100), *b = base_alloc(&mem, 50);
    ck_assert_uint_eq(mem.used, 150);
    ck_assert_uint_eq(heap.bytes, 150);
    base_free(&mem, a, 100);
    ck_assert_uint_eq(mem.used, 50);
    ck_assert_uint_eq(mem.peak, 150);
    b = base_resize(&mem, b, 50, 149);
    ck_assert_uint_eq(mem.peak, 150);
    b = base_resize(&mem, b, 149, 151);
    ck_assert_uint_eq(mem.peak, 151);
    base_free(&mem, b, 151);
    base_free(&mem, NULL, 77);
    toolkit_all_back(&heap, &mem);
}
END_TEST

START_TEST(zalloc_clears_dirty_memory)
{
    struct toolkit_heap heap;
    struct base_mem mem = toolkit_mem(&heap, 0);
    uint8_t *block = base_zalloc(&mem, 333);
    for (int i = 0; i < 333; i++)
        ck_assert_uint_eq(block[i], 0);
    base_free(&mem, block, 333);
    struct pair {
        uint64_t a, b;
    } *pair = BASE_NEW(&mem, struct pair);
    ck_assert_uint_eq(pair->a | pair->b, 0);
    ck_assert_uint_eq(mem.used, sizeof *pair);
    BASE_DELETE(&mem, pair);
    toolkit_all_back(&heap, &mem);
}
END_TEST

START_TEST(budget_holds_to_the_byte)
{
    struct toolkit_heap heap;
    struct base_mem mem = toolkit_mem(&heap, 100);
    ck_assert_ptr_null(base_alloc(&mem, 101));
    ck_assert_ptr_null(base_alloc(&mem, SIZE_MAX));
    ck_assert_ptr_null(base_zalloc(&mem, 101));
    ck_assert_uint_eq(mem.refusals, 3);
    ck_assert_uint_eq(heap.calls, 0); /* the allocator is not even asked */
    uint8_t *a = base_alloc(&mem, 60);
    uint8_t *b = base_alloc(&mem, 40);
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    ck_assert_ptr_null(base_alloc(&mem, 1));
    memset(a, 9, 60);
    ck_assert_ptr_null(base_resize(&mem, a, 60, 61));
    ck_assert_uint_eq(a[59], 9);
    ck_assert_uint_eq(mem.used, 100);
    ck_assert_uint_eq(mem.refusals, 5);
    a = base_resize(&mem, a, 60, 60);
    ck_assert_ptr_nonnull(a);
    a = base_resize(&mem, a, 60, 59);
    ck_assert_ptr_nonnull(a);
    b = base_resize(&mem, b, 40, 41);
    ck_assert_ptr_nonnull(b);
    ck_assert_uint_eq(mem.used, 100);
    ck_assert_uint_eq(mem.peak, 100);
    base_free(&mem, a, 59);
    base_free(&mem, b, 41);
    toolkit_all_back(&heap, &mem);
}
END_TEST

START_TEST(lowered_budget_stops_growth_only)
{
    struct toolkit_heap heap;
    struct base_mem mem = toolkit_mem(&heap, 100);
    void *a = base_alloc(&mem, 80);
    mem.limit = 10;
    ck_assert_ptr_null(base_alloc(&mem, 1));
    ck_assert_ptr_null(base_resize(&mem, a, 80, 81));
    a = base_resize(&mem, a, 80, 9);
    ck_assert_ptr_nonnull(a);
    void *b = base_alloc(&mem, 1);
    ck_assert_ptr_nonnull(b);
    base_free(&mem, a, 9);
    base_free(&mem, b, 1);
    toolkit_all_back(&heap, &mem);
}
END_TEST

START_TEST(allocator_failure_changes_nothing)
{
    struct toolkit_heap heap;
    struct base_mem mem = toolkit_mem(&heap, 0);
    uint8_t *a = base_alloc(&mem, 20);
    memset(a, 3, 20);
    heap.left = 0;
    ck_assert_ptr_null(base_alloc(&mem, 20));
    ck_assert_ptr_null(base_zalloc(&mem, 20));
    ck_assert_ptr_null(base_resize(&mem, a, 20, 30));
    ck_assert_ptr_null(base_resize(&mem, a, 20, 10));
    ck_assert_ptr_null(base_resize(&mem, NULL, 0, 10));
    ck_assert_uint_eq(mem.refusals, 5);
    ck_assert_uint_eq(mem.used, 20);
    ck_assert_uint_eq(mem.peak, 20);
    ck_assert_uint_eq(a[19], 3);
    base_free(&mem, a, 20);
    toolkit_all_back(&heap, &mem);
}
END_TEST

START_TEST(arrays_do_not_wrap)
{
    struct toolkit_heap heap;
    struct base_mem mem = toolkit_mem(&heap, 0);
    ck_assert_ptr_null(base_resize_array(&mem, NULL, 0, SIZE_MAX / 16 + 1, 16));
    ck_assert_uint_eq(mem.refusals, 1);
    ck_assert_uint_eq(heap.calls, 0);
    uint32_t *list = base_resize_array(&mem, NULL, 0, 3, sizeof *list);
    ck_assert_uint_eq(mem.used, 12);
    list[2] = 42;
    list = base_resize_array(&mem, list, 3, 100, sizeof *list);
    ck_assert_uint_eq(mem.used, 400);
    ck_assert_uint_eq(list[2], 42);
    ck_assert_ptr_null(base_resize_array(&mem, list, 100, SIZE_MAX, sizeof *list));
    ck_assert_uint_eq(list[2], 42);
    base_free(&mem, list, 400);
    toolkit_all_back(&heap, &mem);
}
END_TEST

START_TEST(charges_count_as_blocks_do)
{
    struct toolkit_heap heap;
    struct base_mem mem = toolkit_mem(&heap, 100);
    ck_assert(base_charge(&mem, 60));
    ck_assert(!base_charge(&mem, 41));
    ck_assert_ptr_null(base_alloc(&mem, 41));
    ck_assert_uint_eq(mem.refusals, 2);
    ck_assert_uint_eq(heap.calls, 0);
    ck_assert(base_charge(&mem, 40));
    ck_assert_uint_eq(mem.peak, 100);
    base_credit(&mem, 60);
    base_credit(&mem, 40);
    toolkit_all_back(&heap, &mem);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {
        libc_allocator_works,
        counts_used_and_peak,
        zalloc_clears_dirty_memory,
        budget_holds_to_the_byte,
        lowered_budget_stops_growth_only,
        allocator_failure_changes_nothing,
        arrays_do_not_wrap,
        charges_count_as_blocks_do,
    };
    return TOOLKIT_SUITE("base/mem", tests);
}
