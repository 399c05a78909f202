/* test_flow.c - credit follows consumption, the window grows for fast readers only, and limits stay within a varint. */
#include "quic/flow.h"

#include "base/toolkit.h"

#define RTT (50 * BASE_MS)

START_TEST(credit_is_given_when_half_of_the_window_is_used)
{
    struct quic_flow_recv flow;
    quic_flow_recv_init(&flow, 1000, 1000);
    ck_assert_uint_eq(flow.max, 1000);
    flow.received = 1000;
    ck_assert(!quic_flow_recv_consume(&flow, 499, RTT, BASE_SEC));
    ck_assert_uint_eq(flow.max, 1000);
    ck_assert(quic_flow_recv_consume(&flow, 1, RTT, BASE_SEC));
    ck_assert_uint_eq(flow.max, 1500);
    ck_assert(!quic_flow_recv_consume(&flow, 0, RTT, BASE_SEC));
    ck_assert(quic_flow_recv_consume(&flow, 500, RTT, BASE_SEC));
    ck_assert_uint_eq(flow.max, 2000);
}
END_TEST

START_TEST(a_slow_reader_keeps_its_window)
{
    struct quic_flow_recv flow;
    quic_flow_recv_init(&flow, 1000, 64000);
    base_time now = BASE_SEC;
    for (int i = 0; i < 20; i++, now += 2 * RTT) {
        flow.received = flow.max;
        ck_assert(quic_flow_recv_consume(&flow, 500, RTT, now));
    }
    ck_assert_uint_eq(flow.window, 1000);
}
END_TEST

START_TEST(a_fast_reader_gets_a_larger_window_up_to_its_limit)
{
    struct quic_flow_recv flow;
    quic_flow_recv_init(&flow, 1000, 6000);
    base_time now = BASE_SEC;
    uint64_t windows[] = {1000, 2000, 4000, 6000, 6000};
    for (unsigned i = 0; i < 5; i++, now += 2 * RTT - 1) {
        flow.received = flow.max;
        ck_assert(quic_flow_recv_consume(&flow, flow.max - flow.consumed, RTT, now));
        ck_assert_uint_eq(flow.window, windows[i]);
        ck_assert_uint_eq(flow.max, flow.consumed + flow.window);
    }
}
END_TEST

START_TEST(without_a_round_trip_time_nothing_is_tuned)
{
    struct quic_flow_recv flow;
    quic_flow_recv_init(&flow, 1000, 6000);
    for (int i = 0; i < 5; i++) {
        flow.received = flow.max;
        ck_assert(quic_flow_recv_consume(&flow, 600, 0, BASE_SEC));
    }
    ck_assert_uint_eq(flow.window, 1000);
}
END_TEST

START_TEST(a_limit_below_the_window_does_not_shrink_it)
{
    struct quic_flow_recv flow;
    quic_flow_recv_init(&flow, 1000, 10);
    flow.received = 1000;
    ck_assert(quic_flow_recv_consume(&flow, 1000, RTT, BASE_SEC));
    ck_assert_uint_eq(flow.max, 2000);
}
END_TEST

START_TEST(no_limit_beyond_a_varint)
{
    const uint64_t most = (UINT64_C(1) << 62) - 1;
    struct quic_flow_recv flow;
    quic_flow_recv_init(&flow, UINT64_C(1) << 60, UINT64_C(1) << 60);
    flow.max = flow.received = most - 10;
    ck_assert(quic_flow_recv_consume(&flow, most - 11, RTT, BASE_SEC));
    ck_assert_uint_eq(flow.max, most);
    ck_assert(!quic_flow_recv_consume(&flow, 1, RTT, BASE_SEC));
    ck_assert_uint_eq(flow.max, most);
}
END_TEST

START_TEST(a_window_of_nothing_stays_shut)
{
    struct quic_flow_recv flow;
    quic_flow_recv_init(&flow, 0, 0);
    ck_assert(!quic_flow_recv_consume(&flow, 0, RTT, BASE_SEC));
    ck_assert_uint_eq(flow.max, 0);
}
END_TEST

START_TEST(sending_credit_is_what_is_left)
{
    struct quic_flow_send flow;
    quic_flow_send_init(&flow, 100);
    ck_assert_uint_eq(flow.blocked_at, UINT64_MAX);
    flow.used = 40;
    ck_assert_uint_eq(quic_flow_send_left(&flow), 60);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {credit_is_given_when_half_of_the_window_is_used,
                            a_slow_reader_keeps_its_window,
                            a_fast_reader_gets_a_larger_window_up_to_its_limit,
                            without_a_round_trip_time_nothing_is_tuned,
                            a_limit_below_the_window_does_not_shrink_it,
                            no_limit_beyond_a_varint,
                            a_window_of_nothing_stays_shut,
                            sending_credit_is_what_is_left};
    return TOOLKIT_SUITE("quic/flow", tests);
}
