/* test_stream_recv.c - the receiving half against a model that knows every byte: orders, overlaps, duplicates,
 * copies. */
#include "quic/stream_recv.h"

#include "base/toolkit.h"
#include "quic/segment.h"

#define MOST 60000u

enum { ABSENT, PRESENT };

static struct fixture {
    struct toolkit_heap heap;
    struct base_mem mem;
    struct base_bufpool bufs;
    struct quic_pools pools;
    struct quic_stream_recv recv;
    struct toolkit_dice dice;
    uint8_t state[MOST], bytes[MOST]; /* what came first for each offset */
    uint64_t taken, highest;
} f;

static void begin(uint64_t seed, bool pools) {
    memset(&f, 0, sizeof f);
    f.mem = toolkit_mem(&f.heap, 0);
    f.dice.state = seed;
    base_bufpool_init(&f.bufs, &f.mem, 4, 0);
    quic_pools_init(&f.pools);
    quic_stream_recv_init(&f.recv);
    if (pools)
        f.recv.pools = &f.pools;
}

static void teardown(void) {
    f.heap.left = -1;
    quic_stream_recv_clear(&f.recv, &f.mem);
    ck_assert_uint_eq(f.bufs.live_count, 0); /* every reference came back */
    base_bufpool_clear(&f.bufs);
    quic_pools_clear(&f.pools, &f.mem);
    toolkit_all_back(&f.heap, &f.mem);
}

/* Each test begins with this one. */
static void setup(void) { begin(1, true); }

static void again(uint64_t seed, bool pools) {
    teardown();
    begin(seed, pools);
}

static uint64_t model_ready(void) {
    uint64_t ready = f.taken;
    while (ready < MOST && f.state[ready] == PRESENT)
        ready++;
    return ready;
}

/* A gap ends where a present byte follows an absent one; bytes that were taken count as present. */
static unsigned model_gaps(void) {
    unsigned gaps = 0;
    for (uint64_t i = f.taken; i < MOST; i++)
        gaps += f.state[i] == PRESENT && i > 0 && f.state[i - 1] == ABSENT;
    return gaps;
}

/* Fresh junk each time, so that a byte tells which frame it came from. */
static void put(struct base_buf *buf, size_t at, uint64_t offset, size_t len, bool fin) {
    static uint8_t loose[MOST];
    uint8_t *data = buf ? buf->data + at : loose;
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)toolkit_roll(&f.dice);
    ck_assert_int_eq(quic_stream_recv_insert(&f.recv, &f.mem, buf, offset, data, len, fin), QUIC_RECV_OK);
    for (size_t i = 0; i < len; i++)
        if (f.state[offset + i] == ABSENT) {
            f.state[offset + i] = PRESENT;
            f.bytes[offset + i] = data[i];
        }
    if (offset + len > f.highest)
        f.highest = offset + len;
}

static void compare(void) {
    ck_assert_uint_eq(f.recv.taken, f.taken);
    ck_assert_uint_eq(f.recv.ready, model_ready());
    ck_assert_uint_eq(f.recv.highest, f.highest);
    ck_assert_uint_eq(f.recv.gaps, model_gaps());
    struct quic_slice slices[64];
    size_t n = quic_stream_recv_peek(&f.recv, slices, 64);
    uint64_t at = f.taken;
    for (size_t i = 0; i < n; i++) {
        ck_assert_uint_gt(slices[i].len, 0);
        ck_assert_mem_eq(slices[i].data, f.bytes + at, slices[i].len);
        at += slices[i].len;
    }
    if (n < 64)
        ck_assert_uint_eq(at, model_ready());
}

static void take(uint64_t len) {
    quic_stream_recv_consume(&f.recv, &f.mem, len);
    f.taken += len;
}

static size_t some_size(void) {
    static const uint32_t sizes[] = {2, 40, 400, 3000, 20000};
    return toolkit_pick(&f.dice, sizes[toolkit_pick(&f.dice, 5)]);
}

static void random_frame(void) {
    size_t len = some_size();
    uint64_t offset;
    switch (toolkit_pick(&f.dice, 3)) {
    case 0: offset = f.recv.ready; break;
    case 1: offset = toolkit_pick(&f.dice, MOST); break;
    default: offset = f.recv.ready + toolkit_pick(&f.dice, 3000);
    }
    if (offset >= MOST)
        return;
    if (len > MOST - offset)
        len = (size_t)(MOST - offset);
    struct base_buf *buf = toolkit_pick(&f.dice, 4) ? base_buf_get(&f.bufs) : NULL;
    put(buf, toolkit_pick(&f.dice, 1000), offset, len, false);
    if (buf && toolkit_pick(&f.dice, 2) && offset + len < MOST) /* a second frame in the same datagram */
        put(buf, 30000, offset + len, (size_t)(MOST - offset - len) < 500 ? (size_t)(MOST - offset - len) : 500, false);
    if (buf)
        base_buf_unref(buf);
}

START_TEST(random_orders)
{
    for (uint64_t seed = 0; seed < 40; seed++) {
        again(seed, seed % 2);
        while (f.taken < MOST) {
            random_frame();
            if (toolkit_pick(&f.dice, 3) == 0)
                take(toolkit_pick(&f.dice, (uint32_t)(f.recv.ready - f.taken) + 1));
            if (toolkit_pick(&f.dice, 3) == 0)
                ck_assert(quic_stream_recv_compact(&f.recv, &f.mem));
            compare();
        }
        put(NULL, 0, MOST, 0, true);
        ck_assert_int_eq(f.recv.state, QUIC_RECV_DATA_RECVD);
        take(0);
        ck_assert_int_eq(f.recv.state, QUIC_RECV_DATA_READ);
    }
}
END_TEST

START_TEST(compaction_lets_go_of_mostly_empty_buffers)
{
    for (uint64_t seed = 0; seed < 10; seed++) {
        again(seed, true);
        for (unsigned i = 0; i < 60; i++)
            random_frame();
        ck_assert(quic_stream_recv_compact(&f.recv, &f.mem));
        compare();
        ck_assert_uint_eq(f.bufs.live_count, 0); /* no frame here is half of a buffer */
    }
}
END_TEST

START_TEST(a_dense_buffer_is_kept_until_little_of_it_is_left)
{
    struct base_buf *buf = base_buf_get(&f.bufs);
    for (unsigned i = 0; i < 40; i++)
        put(buf, i * 1500u, i * 1400u, 1400, false);
    base_buf_unref(buf);
    ck_assert(quic_stream_recv_compact(&f.recv, &f.mem));
    ck_assert_uint_eq(f.bufs.live_count, 1);
    take(30000);
    compare();
    ck_assert(quic_stream_recv_compact(&f.recv, &f.mem));
    ck_assert_uint_eq(f.bufs.live_count, 0);
    compare();
}
END_TEST

START_TEST(compaction_sees_what_came_between)
{
    const uint64_t offsets[] = {20000, 50000, 30000, 40000, 10000, 0};
    for (unsigned i = 0; i < 6; i++) {
        struct base_buf *buf = base_buf_get(&f.bufs);
        put(buf, 0, offsets[i], 1000, false);
        base_buf_unref(buf);
        ck_assert(quic_stream_recv_compact(&f.recv, &f.mem));
        ck_assert_uint_eq(f.bufs.live_count, 0);
        compare();
    }
}
END_TEST

START_TEST(single_bytes_share_segments)
{
    struct base_buf *buf = base_buf_get(&f.bufs);
    for (unsigned i = 0; i < 40000; i++)
        put(buf, 0, i, 1, false);
    base_buf_unref(buf);
    ck_assert_uint_eq(f.bufs.live_count, 0);
    ck_assert_uint_lt(f.mem.used - BASE_BUF_SIZE, 60000);
    compare();
}
END_TEST

START_TEST(in_order_slices_do_not_allocate_once_warm)
{
    struct base_buf *buf = base_buf_get(&f.bufs);
    uint64_t calls = 0;
    for (unsigned i = 0; i < 40; i++) {
        put(buf, 0, i * 1200u, 1200, false);
        take(1200);
        if (i == 0)
            calls = f.heap.calls;
    }
    ck_assert_uint_eq(f.heap.calls, calls);
    base_buf_unref(buf);
}
END_TEST

START_TEST(gaps_are_limited_but_the_first_bytes_always_fit)
{
    for (unsigned i = 1; i <= QUIC_RECV_GAPS; i++)
        put(NULL, 0, i * 4u, 1, false);
    ck_assert_uint_eq(f.recv.gaps, QUIC_RECV_GAPS);
    uint64_t highest = f.recv.highest;
    const uint8_t byte = 1;
    ck_assert_int_eq(quic_stream_recv_insert(&f.recv, &f.mem, NULL, 20000, &byte, 1, false), QUIC_RECV_DROP);
    ck_assert_int_eq(quic_stream_recv_insert(&f.recv, &f.mem, NULL, 6, &byte, 1, false), QUIC_RECV_DROP);
    ck_assert_uint_eq(f.recv.highest, highest);
    put(NULL, 0, 5, 1, false);  /* touches what is there */
    put(NULL, 0, 0, 2, false);  /* what everybody waits for */
    put(NULL, 0, 2, 10, false); /* fills gaps */
    compare();
    put(NULL, 0, 20000, 1, false); /* now there is room */
}
END_TEST

START_TEST(final_sizes_are_checked)
{
    struct quic_stream_recv r;
    quic_stream_recv_init(&r);
    uint8_t data[100] = {0};
    ck_assert_int_eq(quic_stream_recv_insert(&r, &f.mem, NULL, 10, data, 10, false), QUIC_RECV_OK);
    ck_assert_int_eq(quic_stream_recv_check(&r, 19, true), QUIC_FINAL_SIZE_ERROR);
    ck_assert_int_eq(quic_stream_recv_check(&r, 19, false), QUIC_NO_ERROR);
    ck_assert_int_eq(quic_stream_recv_check(&r, 20, true), QUIC_NO_ERROR);
    ck_assert_int_eq(quic_stream_recv_insert(&r, &f.mem, NULL, 30, data, 0, true), QUIC_RECV_OK); /* empty, ahead */
    ck_assert_int_eq(r.state, QUIC_RECV_SIZE_KNOWN);
    ck_assert_uint_eq(r.final_size, 30);
    ck_assert_int_eq(quic_stream_recv_check(&r, 31, false), QUIC_FINAL_SIZE_ERROR);
    ck_assert_int_eq(quic_stream_recv_check(&r, 29, true), QUIC_FINAL_SIZE_ERROR);
    ck_assert_int_eq(quic_stream_recv_check(&r, 31, true), QUIC_FINAL_SIZE_ERROR);
    ck_assert_int_eq(quic_stream_recv_check(&r, 30, true), QUIC_NO_ERROR);
    ck_assert_int_eq(quic_stream_recv_insert(&r, &f.mem, NULL, 0, data, 30, false), QUIC_RECV_OK);
    ck_assert_int_eq(r.state, QUIC_RECV_DATA_RECVD);
    ck_assert(!quic_stream_recv_reset(&r, &f.mem, 1, 30)); /* too late: all is here */
    ck_assert(!quic_stream_recv_at_end(&r));
    quic_stream_recv_consume(&r, &f.mem, 30);
    ck_assert(quic_stream_recv_at_end(&r));
    ck_assert_int_eq(r.state, QUIC_RECV_DATA_READ);
    quic_stream_recv_clear(&r, &f.mem);
}
END_TEST

START_TEST(a_reset_drops_what_is_held)
{
    for (unsigned i = 0; i < 30; i++)
        random_frame();
    ck_assert(quic_stream_recv_reset(&f.recv, &f.mem, 9, MOST));
    ck_assert_int_eq(f.recv.state, QUIC_RECV_RESET_RECVD);
    ck_assert_ptr_null(f.recv.first);
    ck_assert_uint_eq(f.recv.ready, f.recv.taken);
    ck_assert_uint_eq(f.bufs.live_count, 0);
    ck_assert_uint_eq(f.recv.reset_code, 9);
    take(0);
    ck_assert_int_eq(f.recv.state, QUIC_RECV_RESET_READ);
}
END_TEST

START_TEST(after_discard_only_sizes_matter)
{
    for (unsigned i = 0; i < 30; i++)
        random_frame();
    quic_stream_recv_discard(&f.recv, &f.mem);
    ck_assert_ptr_null(f.recv.first);
    ck_assert_uint_eq(f.recv.taken, f.recv.highest);
    uint8_t data[10] = {0};
    ck_assert_int_eq(quic_stream_recv_insert(&f.recv, &f.mem, NULL, MOST + 100, data, 10, false), QUIC_RECV_OK);
    ck_assert_ptr_null(f.recv.first);
    ck_assert_uint_eq(f.recv.highest, MOST + 110);
    ck_assert_int_eq(f.recv.state, QUIC_RECV_RECV);
    ck_assert_int_eq(quic_stream_recv_insert(&f.recv, &f.mem, NULL, MOST + 110, data, 10, true), QUIC_RECV_OK);
    ck_assert_int_eq(f.recv.state, QUIC_RECV_DATA_READ);
}
END_TEST

START_TEST(failing_memory_never_loses_count)
{
    for (uint64_t seed = 0; seed < 40; seed++) {
        again(seed, seed % 2);
        static uint8_t data[MOST];
        for (unsigned i = 0; i < MOST; i++)
            data[i] = (uint8_t)(i * 31 + (i >> 8));
        uint64_t at = 0;
        while (at < MOST) {
            uint64_t offset = f.recv.ready + (toolkit_pick(&f.dice, 2) ? 0 : toolkit_pick(&f.dice, 5000));
            if (offset >= MOST)
                continue;
            size_t len = some_size();
            if (len > MOST - offset)
                len = (size_t)(MOST - offset);
            f.heap.left = toolkit_pick(&f.dice, 3);
            enum quic_recv_result got =
                quic_stream_recv_insert(&f.recv, &f.mem, NULL, offset, data + offset, len, false);
            if (got == QUIC_RECV_OK && len)
                ck_assert_uint_ge(f.recv.highest, offset + len);
            if (toolkit_pick(&f.dice, 2))
                (void)quic_stream_recv_compact(&f.recv, &f.mem);
            struct quic_slice slice;
            while (quic_stream_recv_peek(&f.recv, &slice, 1)) {
                ck_assert_mem_eq(slice.data, data + at, slice.len);
                at += slice.len;
                quic_stream_recv_consume(&f.recv, &f.mem, slice.len);
            }
        }
        ck_assert_uint_eq(f.recv.gaps, 0);
    }
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {random_orders,
                            compaction_lets_go_of_mostly_empty_buffers,
                            a_dense_buffer_is_kept_until_little_of_it_is_left,
                            compaction_sees_what_came_between,
                            single_bytes_share_segments,
                            in_order_slices_do_not_allocate_once_warm,
                            gaps_are_limited_but_the_first_bytes_always_fit,
                            final_sizes_are_checked,
                            a_reset_drops_what_is_held,
                            after_discard_only_sizes_matter,
                            failing_memory_never_loses_count};
    return TOOLKIT_SUITE_WITH("quic/stream_recv", tests, setup, teardown);
}
