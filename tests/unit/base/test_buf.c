/* test_buf.c - buffers live as long as a reference does, and a warm pool allocates nothing. */
#include "base/buf.h"

#include <stdbool.h>

#include "toolkit.h"

START_TEST(references_keep_a_buffer)
{
    struct toolkit_heap heap;
    struct base_mem mem = toolkit_mem(&heap, 0);
    struct base_bufpool pool;
    base_bufpool_init(&pool, &mem, 4, 0);
    struct base_buf *buf = base_buf_get(&pool);
    ck_assert_ptr_nonnull(buf);
    ck_assert_uint_eq(buf->refs, 1);
    ck_assert_uint_eq(buf->size, BASE_BUF_SIZE);
    ck_assert_ptr_eq(buf->pool, &pool);
    memset(buf->data, 0x77, BASE_BUF_SIZE); /* all of it is ours */
    ck_assert_ptr_eq(base_buf_ref(buf), buf);
    ck_assert_uint_eq(buf->refs, 2);
    base_buf_unref(buf);
    ck_assert_uint_eq(pool.live_count, 1);
    ck_assert_uint_eq(pool.free_count, 0);
    ck_assert_uint_eq(buf->data[BASE_BUF_SIZE - 1], 0x77);
    base_buf_unref(buf);
    ck_assert_uint_eq(pool.live_count, 0);
    ck_assert_uint_eq(pool.free_count, 1);
    base_bufpool_clear(&pool);
    ck_assert_uint_eq(pool.free_count, 0);
    toolkit_all_back(&heap, &mem);
}
END_TEST

START_TEST(last_given_back_comes_first)
{
    struct toolkit_heap heap;
    struct base_mem mem = toolkit_mem(&heap, 0);
    struct base_bufpool pool;
    base_bufpool_init(&pool, &mem, 8, 0);
    struct base_buf *a = base_buf_get(&pool), *b = base_buf_get(&pool), *c = base_buf_get(&pool);
    base_buf_unref(b);
    base_buf_unref(c);
    base_buf_unref(a);
    uint64_t calls = heap.calls;
    ck_assert_ptr_eq(base_buf_get(&pool), a);
    ck_assert_ptr_eq(base_buf_get(&pool), c);
    ck_assert_ptr_eq(base_buf_get(&pool), b);
    ck_assert_uint_eq(heap.calls, calls); /* warm: no allocation */
    ck_assert_uint_eq(a->refs, 1);
    memset(a->data, 1, BASE_BUF_SIZE);
    base_buf_unref(a);
    base_buf_unref(b);
    base_buf_unref(c);
    base_bufpool_clear(&pool);
    toolkit_all_back(&heap, &mem);
}
END_TEST

START_TEST(keeps_no_more_than_told)
{
    struct toolkit_heap heap;
    struct base_mem mem = toolkit_mem(&heap, 0);
    struct base_bufpool pool;
    base_bufpool_init(&pool, &mem, 2, 0);
    struct base_buf *bufs[5];
    for (int i = 0; i < 5; i++)
        bufs[i] = base_buf_get(&pool);
    ck_assert_uint_eq(heap.blocks, 5);
    for (int i = 0; i < 5; i++)
        base_buf_unref(bufs[i]);
    ck_assert_uint_eq(pool.free_count, 2);
    ck_assert_uint_eq(heap.blocks, 2);
    base_bufpool_clear(&pool);
    toolkit_all_back(&heap, &mem);

    base_bufpool_init(&pool, &mem, 0, 0);
    base_buf_unref(base_buf_get(&pool));
    toolkit_all_back(&heap, &mem);
    base_bufpool_clear(&pool);
}
END_TEST

START_TEST(limit_counts_live_buffers)
{
    struct toolkit_heap heap;
    struct base_mem mem = toolkit_mem(&heap, 0);
    struct base_bufpool pool;
    base_bufpool_init(&pool, &mem, 4, 2);
    struct base_buf *a = base_buf_get(&pool), *b = base_buf_get(&pool);
    ck_assert_ptr_null(base_buf_get(&pool));
    ck_assert_uint_eq(mem.refusals, 0); /* our own limit, not the memory's */
    base_buf_unref(a);
    a = base_buf_get(&pool);
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_null(base_buf_get(&pool));
    base_buf_unref(a);
    base_buf_unref(b);
    base_bufpool_clear(&pool);
    toolkit_all_back(&heap, &mem);
}
END_TEST

START_TEST(budget_is_a_limit_too)
{
    struct toolkit_heap heap;
    struct base_mem mem = toolkit_mem(&heap, 2 * BASE_BUF_SIZE + 1000);
    struct base_bufpool pool;
    base_bufpool_init(&pool, &mem, 4, 0);
    struct base_buf *a = base_buf_get(&pool), *b = base_buf_get(&pool);
    ck_assert_ptr_nonnull(b);
    ck_assert_ptr_null(base_buf_get(&pool));
    ck_assert_uint_eq(pool.live_count, 2);
    base_buf_unref(a);
    a = base_buf_get(&pool);
    ck_assert_ptr_nonnull(a);
    base_buf_unref(a);
    base_buf_unref(b);
    base_bufpool_clear(&pool);
    toolkit_all_back(&heap, &mem);
}
END_TEST

START_TEST(random_life_agrees_with_a_count)
{
    struct toolkit_heap heap;
    struct base_mem mem = toolkit_mem(&heap, 0);
    struct toolkit_dice dice = {1};
    struct base_bufpool pool;
    base_bufpool_init(&pool, &mem, 3, 12);
    struct base_buf *held[64]; /* one element a reference */
    uint32_t refs = 0;
    for (int step = 0; step < 20000; step++) {
        uint32_t what = toolkit_pick(&dice, 4);
        if (what == 0 && refs < 64) {
            uint32_t live = pool.live_count;
            struct base_buf *buf = base_buf_get(&pool);
            ck_assert_int_eq(buf != NULL, live < 12);
            if (buf) {
                for (uint32_t i = 0; i < refs; i++)
                    ck_assert_ptr_ne(held[i], buf);
                held[refs++] = buf;
            }
        } else if (what == 1 && refs && refs < 64) {
            struct base_buf *buf = held[toolkit_pick(&dice, refs)];
            held[refs++] = base_buf_ref(buf);
        } else if (refs) {
            uint32_t at = toolkit_pick(&dice, refs);
            base_buf_unref(held[at]);
            held[at] = held[--refs];
        }
        uint32_t total = 0;
        for (uint32_t i = 0; i < refs; i++) {
            bool first = true;
            for (uint32_t j = 0; j < i; j++)
                first &= held[j] != held[i];
            total += first ? held[i]->refs : 0;
        }
        ck_assert_uint_eq(total, refs);
        ck_assert_uint_le(pool.free_count, 3);
        ck_assert_uint_le(pool.live_count, 12);
        ck_assert_uint_eq(heap.blocks, pool.live_count + pool.free_count);
    }
    while (refs)
        base_buf_unref(held[--refs]);
    base_bufpool_clear(&pool);
    toolkit_all_back(&heap, &mem);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {
        references_keep_a_buffer,  last_given_back_comes_first, keeps_no_more_than_told,
        limit_counts_live_buffers, budget_is_a_limit_too,       random_life_agrees_with_a_count,
    };
    return TOOLKIT_SUITE("base/buf", tests);
}
