/* test_stream_reset_at.c - both halves of a stream that is reset from an offset on
 * (draft-ietf-quic-reliable-stream-reset). */
#include "quic/stream_recv.h"
#include "quic/stream_send.h"

#include "base/toolkit.h"
#include "unit.h"

static struct toolkit_heap heap;
static struct base_mem mem;
static struct quic_stream_send s;
static struct quic_stream_recv r;
static const uint8_t zeros[4000];

static void setup(void) {
    memset(&heap, 0, sizeof heap);
    mem = toolkit_mem(&heap, 0);
    quic_stream_send_init(&s);
    quic_stream_recv_init(&r);
}

static void teardown(void) {
    quic_stream_send_clear(&s, &mem, NULL, NULL);
    quic_stream_recv_clear(&r, &mem);
    ck_assert_uint_eq(mem.used, 0);
}

static void send_bytes(uint64_t offset, uint64_t len, bool fin) {
    ck_assert(quic_stream_send_on_sent(&s, &mem, offset, len, fin));
}

static void insert(uint64_t offset, size_t len, bool fin) {
    ck_assert_int_eq(quic_stream_recv_check(&r, offset + len, fin), QUIC_NO_ERROR);
    ck_assert_int_eq(quic_stream_recv_insert(&r, &mem, NULL, offset, zeros, len, fin), QUIC_RECV_OK);
}

/* ---- sending ---- */

START_TEST(waits_for_what_was_not_sent)
{
    quic_stream_send_copy_in(&s, &mem, zeros, 3000);
    send_bytes(0, 1000, false);
    quic_stream_send_reset_at(&s, &mem, 7, 2000);
    ck_assert(!quic_stream_send_reset_at_due(&s));
    struct quic_send_piece piece;
    ck_assert(quic_stream_send_next(&s, UINT64_MAX, &piece));
    ck_assert(piece.offset == 1000 && piece.len == 1000 && !piece.fin);
    send_bytes(1000, 1000, false);
    ck_assert(quic_stream_send_reset_at_due(&s));
    ck_assert_uint_eq(s.final_size, 2000);
    ck_assert(!quic_stream_send_next(&s, UINT64_MAX, &piece));
    s.reset_acked = true;
    ck_assert(!quic_stream_send_reset_at_done(&s, &mem, NULL, NULL));
    quic_stream_send_on_acked(&s, &mem, 0, 1000, false, NULL, NULL);
    ck_assert(!quic_stream_send_reset_at_done(&s, &mem, NULL, NULL));
    quic_stream_send_on_acked(&s, &mem, 1000, 1000, false, NULL, NULL);
    ck_assert(quic_stream_send_reset_at_done(&s, &mem, NULL, NULL));
    ck_assert(quic_stream_send_done(&s));
}
END_TEST

START_TEST(only_reliable_bytes_are_repeated)
{
    quic_stream_send_copy_in(&s, &mem, zeros, 3000);
    send_bytes(0, 3000, false);
    quic_stream_send_on_lost(&s, &mem, 2500, 500, false);
    quic_stream_send_reset_at(&s, &mem, 7, 1500);
    ck_assert(quic_stream_send_reset_at_due(&s));
    ck_assert_uint_eq(s.final_size, 3000); /* so much was sent */
    struct quic_send_piece piece;
    ck_assert(!quic_stream_send_next(&s, UINT64_MAX, &piece));
    quic_stream_send_on_lost(&s, &mem, 1000, 1000, false);
    ck_assert(quic_stream_send_next(&s, UINT64_MAX, &piece));
    ck_assert(piece.offset == 1000 && piece.len == 500 && piece.again);
    quic_stream_send_reset_at(&s, &mem, 7, 1000); /* a smaller promise */
    ck_assert(!quic_stream_send_next(&s, UINT64_MAX, &piece));
}
END_TEST

START_TEST(a_fin_that_was_sent_stands)
{
    quic_stream_send_copy_in(&s, &mem, zeros, 1000);
    quic_stream_send_finish(&s);
    send_bytes(0, 1000, true);
    quic_stream_send_on_lost(&s, &mem, 0, 1000, true);
    quic_stream_send_reset_at(&s, &mem, 7, 500);
    ck_assert_uint_eq(s.final_size, 1000);
    struct quic_send_piece piece;
    ck_assert(quic_stream_send_next(&s, UINT64_MAX, &piece));
    ck_assert(piece.offset == 0 && piece.len == 500 && !piece.fin);
    teardown();
    setup();
    quic_stream_send_copy_in(&s, &mem, zeros, 1000); /* one that was not sent is taken back */
    quic_stream_send_finish(&s);
    send_bytes(0, 400, false);
    quic_stream_send_reset_at(&s, &mem, 7, 500);
    ck_assert(quic_stream_send_next(&s, UINT64_MAX, &piece));
    ck_assert(piece.offset == 400 && piece.len == 100 && !piece.fin);
}
END_TEST

START_TEST(starting_over_sends_all_of_it)
{
    quic_stream_send_copy_in(&s, &mem, zeros, 1000);
    send_bytes(0, 1000, false);
    quic_stream_send_reset_at(&s, &mem, 7, 500);
    quic_stream_send_rewind(&s, &mem);
    ck_assert(!quic_stream_send_reset_at_due(&s));
    send_bytes(0, 1000, false);
    ck_assert(quic_stream_send_reset_at_due(&s));
}
END_TEST

/* ---- receiving ---- */

START_TEST(takes_effect_when_all_was_taken)
{
    insert(0, 400, false);
    ck_assert(!quic_stream_recv_reset_at(&r, &mem, 9, 2000, 1000));
    ck_assert_uint_eq(r.highest, 2000);
    quic_stream_recv_consume(&r, &mem, 400);
    ck_assert_int_eq(r.state, QUIC_RECV_SIZE_KNOWN);
    insert(1500, 500, false); /* not needed any more, but allowed */
    insert(400, 600, false);
    quic_stream_recv_consume(&r, &mem, 599);
    ck_assert_int_eq(r.state, QUIC_RECV_SIZE_KNOWN);
    quic_stream_recv_consume(&r, &mem, 1);
    ck_assert_int_eq(r.state, QUIC_RECV_RESET_RECVD);
    ck_assert_uint_eq(r.reset_code, 9);
    ck_assert_uint_eq(r.ready, r.taken);
    ck_assert_ptr_null(r.first);
}
END_TEST

START_TEST(at_once_when_nothing_is_missing)
{
    insert(0, 400, false);
    quic_stream_recv_consume(&r, &mem, 300);
    ck_assert(quic_stream_recv_reset_at(&r, &mem, 9, 2000, 300));
    ck_assert_int_eq(r.state, QUIC_RECV_RESET_RECVD);
}
END_TEST

/* Even with every byte here it is a reset, not an end. */
START_TEST(all_bytes_are_no_end)
{
    ck_assert(!quic_stream_recv_reset_at(&r, &mem, 9, 500, 500));
    insert(0, 500, true);
    ck_assert_int_eq(r.state, QUIC_RECV_SIZE_KNOWN);
    quic_stream_recv_consume(&r, &mem, 500);
    ck_assert_int_eq(r.state, QUIC_RECV_RESET_RECVD);
    ck_assert(!quic_stream_recv_reset_at(&r, &mem, 9, 500, 0));
}
END_TEST

START_TEST(promises_shrink_only)
{
    ck_assert(!quic_stream_recv_reset_at(&r, &mem, 9, 500, 300));
    ck_assert(!quic_stream_recv_reset_at(&r, &mem, 9, 500, 400));
    ck_assert_uint_eq(r.reset_at, 300);
    ck_assert(!quic_stream_recv_reset_at(&r, &mem, 9, 500, 200));
    ck_assert_uint_eq(r.reset_at, 200);
    ck_assert(quic_stream_recv_reset_at(&r, &mem, 9, 500, 0)); /* RESET_STREAM */
}
END_TEST

START_TEST(nothing_for_who_does_not_listen)
{
    quic_stream_recv_discard(&r, &mem);
    ck_assert(quic_stream_recv_reset_at(&r, &mem, 9, 500, 300));
    ck_assert(quic_stream_recv_done(&r));
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {waits_for_what_was_not_sent,
                            only_reliable_bytes_are_repeated,
                            a_fin_that_was_sent_stands,
                            starting_over_sends_all_of_it,
                            takes_effect_when_all_was_taken,
                            at_once_when_nothing_is_missing,
                            all_bytes_are_no_end,
                            promises_shrink_only,
                            nothing_for_who_does_not_listen};
    return TOOLKIT_SUITE_WITH("quic/stream_reset_at", tests, setup, teardown);
}
