/* test_cc.c - the table of controllers, initial windows, and what all controllers have in common. */
#include "cc_kit.h"

START_TEST(controllers_are_found)
{
    ck_assert_ptr_eq(quic_cc_at(0), &quic_cc_cubic); /* the order of the option's text */
    ck_assert_ptr_eq(quic_cc_at(1), &quic_cc_newreno);
    ck_assert_ptr_eq(quic_cc_at(2), &quic_cc_bbr);
    ck_assert_ptr_null(quic_cc_at(3));
    ck_assert_ptr_eq(quic_cc_find("cubic"), &quic_cc_cubic);
    ck_assert_ptr_eq(quic_cc_find("newreno"), &quic_cc_newreno);
    ck_assert_ptr_eq(quic_cc_find("bbr"), &quic_cc_bbr);
    ck_assert_ptr_null(quic_cc_find("vegas"));
}
END_TEST

START_TEST(initial_windows_follow_the_rfc)
{
    ck_assert_uint_eq(quic_cc_initial_window(1200, 10), 12000);
    ck_assert_uint_eq(quic_cc_initial_window(1472, 10), 14720);
    ck_assert_uint_eq(quic_cc_initial_window(1500, 10), 14720);
    ck_assert_uint_eq(quic_cc_initial_window(9000, 10), 18000);
    ck_assert_uint_eq(quic_cc_initial_window(1452, 32), 32 * 1452);
    ck_assert_uint_eq(quic_cc_initial_window(1200, 2), 2400);
    ck_assert_uint_eq(quic_cc_initial_window(1200, 1), 2400);
}
END_TEST

START_TEST(the_window_follows_the_mtu)
{
    struct feed f;
    feed_init(&f, quic_cc_at((unsigned)_i), true);
    f.cc.ops->on_mtu(&f.cc, 1452);
    ck_assert_uint_eq(f.cc.window, 12000); /* a larger MTU is no reason to send more */
    ck_assert_uint_eq(f.cc.mtu, 1452);
    f.cc.ops->on_mtu(&f.cc, 9000);
    ck_assert_uint_eq(f.cc.window, 18000); /* but the minimum holds */
    feed_init(&f, quic_cc_at((unsigned)_i), true);
    f.cc.ops->on_mtu(&f.cc, 1100); /* smaller before anything happened: the new initial window */
    ck_assert_uint_eq(f.cc.window, 11000);
    feed_loss(&f, START, START - RTT, false);
    uint64_t window = f.cc.window;
    f.cc.ops->on_mtu(&f.cc, 1000);
    ck_assert_uint_eq(f.cc.window, window);
}
END_TEST

START_TEST(unpaced_senders_grow_in_small_steps)
{
    struct feed f;
    feed_init(&f, quic_cc_at((unsigned)_i), true);
    f.cc.hystart.paced = false;
    feed_ack(&f, START, 10 * MTU, false);
    ck_assert_uint_eq(f.cc.window, 18 * MTU); /* L = 8 (RFC 9406 4.3) */
    f.cc.hystart.paced = true;
    feed_ack(&f, START + RTT, 18 * MTU, false);
    ck_assert_uint_eq(f.cc.window, 36 * MTU);
}
END_TEST

/* The ACK that reveals a loss does not grow what was just reduced, though its bytes were fresh when they were
 * counted. */
START_TEST(no_growth_with_the_reduction)
{
    struct feed f;
    feed_init(&f, quic_cc_at((unsigned)_i), true);
    feed_loss(&f, START, START - RTT, false);
    uint64_t window = f.cc.window;
    struct quic_cc_ack ack = {.now = START, .fresh_bytes = 100 * MTU, .largest_sent_at = START - RTT, .rtt = &f.rtt};
    f.cc.ops->on_ack(&f.cc, &ack);
    ck_assert_uint_eq(f.cc.window, window);
}
END_TEST

/* Whatever comes: the minimum holds, one event lowers at most by its factor, and no growth within a recovery period. */
START_TEST(random_signals_keep_the_bounds)
{
    struct toolkit_dice dice = {(uint64_t)_i + 5};
    struct feed f;
    feed_init(&f, quic_cc_at((unsigned)_i % 2), _i % 4 < 2);
    base_time now = START;
    for (int step = 0; step < 20000; step++) {
        now += toolkit_roll(&dice) % (20 * BASE_MS);
        uint64_t window = f.cc.window;
        uint32_t what = toolkit_pick(&dice, 1000);
        if (what < 980) {
            bool recovering = now - RTT <= f.cc.recovery_start;
            feed_ack(&f, now, toolkit_pick(&dice, 20) * MTU, toolkit_pick(&dice, 10) == 0);
            if (f.cc.window < window || (recovering && f.cc.window != window))
                ck_abort_msg("step %d: an ACK made %u of %u", step, (unsigned)f.cc.window, (unsigned)window);
        } else if (what < 995) {
            feed_loss(&f, now, now - toolkit_roll(&dice) % (2 * RTT), what % 2);
            if (f.cc.window < window / 2 && f.cc.window != 2 * MTU)
                ck_abort_msg("step %d: a loss made %u of %u", step, (unsigned)f.cc.window, (unsigned)window);
        } else if (what < 998) {
            f.cc.ops->on_spurious(&f.cc, now);
        } else {
            f.cc.ops->on_persistent(&f.cc, now);
            ck_assert_uint_eq(f.cc.window, 2 * MTU);
        }
        if (f.cc.window < 2 * MTU)
            ck_abort_msg("step %d: %u is too small", step, (unsigned)f.cc.window);
        f.cc.ops->on_sent(&f.cc, now, f.next, MTU, toolkit_pick(&dice, 2) ? MTU : f.cc.window);
    }
}
END_TEST

Suite *unit_suite(void) {
    const TTest *const tests[] = {controllers_are_found, initial_windows_follow_the_rfc};
    Suite *suite = TOOLKIT_SUITE("cc", tests);
    TCase *each = tcase_create("each");
    tcase_add_loop_test(each, the_window_follows_the_mtu, 0, 2);
    tcase_add_loop_test(each, unpaced_senders_grow_in_small_steps, 0, 2);
    tcase_add_loop_test(each, no_growth_with_the_reduction, 0, 2);
    tcase_add_loop_test(each, random_signals_keep_the_bounds, 0, 16);
    suite_add_tcase(suite, each);
    return suite;
}
