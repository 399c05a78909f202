/* test_cc_newreno.c - RFC 9002 section 7 and appendix B in numbers. */
#include "cc_kit.h"

START_TEST(slow_start_adds_what_is_acknowledged)
{
    struct feed f;
    feed_init(&f, &quic_cc_newreno, false);
    ck_assert_uint_eq(f.cc.window, 12000);
    feed_ack(&f, START, 3000, false);
    ck_assert_uint_eq(f.cc.window, 15000);
    feed_ack(&f, START, 15000, true); /* not used: no growth */
    ck_assert_uint_eq(f.cc.window, 15000);
}
END_TEST

START_TEST(a_loss_halves)
{
    struct feed f;
    feed_init(&f, &quic_cc_newreno, false);
    feed_loss(&f, START, START - RTT, false);
    ck_assert_uint_eq(f.cc.window, 6000);
    ck_assert_uint_eq(f.cc.threshold, 6000);
    ck_assert_uint_eq(f.cc.recovery_start, START);
    ck_assert_uint_eq(f.cc.events, 1);
    feed_loss(&f, START + 10, START, false); /* sent at the very moment: same period (B.5: <=) */
    ck_assert_uint_eq(f.cc.events, 1);
    feed_loss(&f, START + RTT, START + 1, true); /* a mark is as good as a loss */
    ck_assert_uint_eq(f.cc.window, 3000);
    feed_loss(&f, START + 3 * RTT, START + 2 * RTT, false);
    ck_assert_uint_eq(f.cc.window, 2 * MTU);
    ck_assert_uint_eq(f.cc.events, 3);
}
END_TEST

START_TEST(avoidance_adds_a_datagram_a_window)
{
    struct feed f;
    feed_init(&f, &quic_cc_newreno, false);
    feed_loss(&f, START, START - RTT, false);
    feed_ack(&f, START + RTT, 6000, false); /* sent in the recovery period */
    ck_assert_uint_eq(f.cc.window, 6000);
    base_time now = START + 2 * RTT;
    for (uint64_t i = 0; i < 50; i++, now += RTT) {
        ck_assert_uint_eq(f.cc.window, 6000 + i * MTU);
        uint64_t left = f.cc.window; /* a window's worth, in uneven pieces */
        for (uint64_t piece = 700; left > 0; piece += 333) {
            uint64_t bytes = piece < left ? piece : left;
            feed_ack(&f, now, bytes, false);
            left -= bytes;
        }
    }
}
END_TEST

START_TEST(slow_start_stops_at_the_threshold)
{
    struct feed f;
    feed_init(&f, &quic_cc_newreno, false);
    f.cc.threshold = 14000;
    feed_ack(&f, START, 12000, false); /* 2000 to the threshold, 10000 towards the next datagram */
    ck_assert_uint_eq(f.cc.window, 14000);
    feed_ack(&f, START, 3999, false);
    ck_assert_uint_eq(f.cc.window, 14000);
    feed_ack(&f, START, 1, false);
    ck_assert_uint_eq(f.cc.window, 14000 + MTU);
}
END_TEST

START_TEST(persistent_congestion_starts_over)
{
    struct feed f;
    feed_init(&f, &quic_cc_newreno, false);
    for (int i = 0; i < 4; i++)
        feed_ack(&f, START, f.cc.window, false);
    uint64_t window = f.cc.window;
    feed_loss(&f, START, START - RTT, false);
    f.cc.ops->on_persistent(&f.cc, START);
    ck_assert_uint_eq(f.cc.window, 2 * MTU);
    ck_assert_uint_eq(f.cc.threshold, window / 2);
    ck_assert_uint_eq(f.cc.recovery_start, 0);
    feed_ack(&f, START + 1, 2 * MTU, false); /* slow start at once */
    ck_assert_uint_eq(f.cc.window, 4 * MTU);
    f.cc.ops->on_spurious(&f.cc, START + 2); /* nothing to undo any more */
    ck_assert_uint_eq(f.cc.window, 4 * MTU);
}
END_TEST

START_TEST(a_spurious_event_is_undone)
{
    struct feed f;
    feed_init(&f, &quic_cc_newreno, false);
    feed_ack(&f, START, 12000, false);
    feed_loss(&f, START + 1, START - RTT, false);
    f.cc.ops->on_spurious(&f.cc, START + 2);
    ck_assert_uint_eq(f.cc.window, 24000);
    ck_assert_uint_eq(f.cc.threshold, UINT64_MAX);
    ck_assert_uint_eq(f.cc.recovery_start, 0);
    feed_ack(&f, START + 3, 1200, false); /* slow start goes on */
    ck_assert_uint_eq(f.cc.window, 25200);
    f.cc.ops->on_spurious(&f.cc, START + 4); /* once */
    ck_assert_uint_eq(f.cc.window, 25200);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *const tests[] = {slow_start_adds_what_is_acknowledged, a_loss_halves,
                                  avoidance_adds_a_datagram_a_window,   slow_start_stops_at_the_threshold,
                                  persistent_congestion_starts_over,    a_spurious_event_is_undone};
    return TOOLKIT_SUITE("cc_newreno", tests);
}
