/* test_cc_cubic.c - the window over time against the formulas of RFC 9438, computed here a second time, in segments. */
#include "cc_kit.h"

#define ALPHA (3.0 * 0.3 / 1.7)

/* A connection in congestion avoidance: `segments` wide when the loss came at START. */
static void after_loss(struct feed *f, uint64_t segments) {
    feed_init(f, &quic_cc_cubic, false);
    f->cc.window = segments * MTU;
    feed_loss(f, START, START - RTT, false);
}

/* A round trip's ACKs, ten of them, up to `now`. */
static void round_trip(struct feed *f, base_time now) {
    uint64_t tenth = f->cc.window / 10;
    for (base_time i = 1; i <= 10; i++)
        feed_ack(f, now - RTT + i * RTT / 10, tenth, false);
}

static double cube(double x) { return x * x * x; }

/* By halving, unlike the controller. */
static double root(double x) {
    double low = 0.0, high = 1000.0;
    for (int i = 0; i < 200; i++) {
        double middle = (low + high) / 2.0;
        if (cube(middle) < x)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void near(double value, double expected, double tolerance) {
    if (value > expected * (1.0 + tolerance) || value < expected * (1.0 - tolerance))
        ck_abort_msg("%f is not near %f", value, expected);
}

START_TEST(a_loss_leaves_seven_tenths)
{
    struct feed f;
    after_loss(&f, 1000);
    ck_assert_uint_eq(f.cc.window, 700 * MTU);
    ck_assert_uint_eq(f.cc.threshold, 700 * MTU);
    feed_loss(&f, START + 1, START, false); /* same period */
    ck_assert_uint_eq(f.cc.window, 700 * MTU);
    ck_assert_uint_eq(f.cc.events, 1);
    for (int i = 1; i < 40; i++)
        feed_loss(&f, START + (base_time)i * 2 * RTT, START + (base_time)i * 2 * RTT - 1, i % 2);
    ck_assert_uint_eq(f.cc.window, 2 * MTU);
    ck_assert_uint_eq(f.cc.events, 40);
}
END_TEST

START_TEST(the_window_follows_the_cubic_curve)
{
    struct feed f;
    after_loss(&f, 1000);
    double k = root((1000.0 - 700.0) / 0.4); /* 9.09 s */
    base_time epoch = START + 2 * RTT;       /* the first ACK after recovery starts it */
    feed_ack(&f, epoch, MTU, false);
    near(f.cc.u.cubic.k, k, 1e-6);
    for (base_time now = epoch + RTT; now < epoch + 14 * BASE_SEC; now += RTT) {
        round_trip(&f, now);
        double t = (double)(now - epoch) / (double)BASE_SEC, w = 0.4 * cube(t - k) + 1000.0;
        near((double)f.cc.window / MTU, w, 0.005); /* the target is one round trip ahead, and reached within it */
    }
    ck_assert_uint_gt(f.cc.window, 1040 * MTU); /* beyond W_max, convex */
}
END_TEST

/* 4.3: small windows and short round trips follow Reno: alpha segments a window until cwnd_prior, then one. */
START_TEST(the_window_is_no_smaller_than_renos)
{
    struct feed f;
    after_loss(&f, 20);
    ck_assert_uint_eq(f.cc.window, 14 * MTU);
    f.rtt.smoothed = 5 * BASE_MS;
    double estimate = 14.0;
    base_time now = START + 2 * RTT;
    for (int i = 0; i < 3000; i++, now += BASE_MS / 2) { /* ten ACKs in 5 ms, each for a tenth of the window */
        uint64_t bytes = f.cc.window / 10;
        estimate += (estimate < 20.0 ? ALPHA : 1.0) * (double)bytes / (double)f.cc.window;
        feed_ack(&f, now, bytes, false);
        double w = 0.4 * cube((double)(now - START - 2 * RTT) / 1e9 - root(6.0 / 0.4)) + 20.0;
        if (w < estimate)
            near((double)f.cc.window / MTU, estimate, 0.002);
    }
    ck_assert_uint_gt(f.cc.window, 100 * MTU);
}
END_TEST

START_TEST(small_acks_grow_as_much_as_large_ones)
{
    uint64_t windows[2];
    for (int small = 0; small < 2; small++) {
        struct feed f;
        after_loss(&f, 1000);
        base_time now = START + 2 * RTT;
        feed_ack(&f, now, MTU, false);
        for (int i = 0; i < (small ? 20000 : 20); i++)
            feed_ack(&f, now + BASE_SEC, small ? 6 : 6000, false); /* 6 bytes: less than a byte each */
        windows[small] = f.cc.window;
    }
    ck_assert_uint_gt(windows[0], 705 * MTU);
    near((double)(windows[1] - 700 * MTU), (double)(windows[0] - 700 * MTU), 0.01);
}
END_TEST

START_TEST(growth_is_bounded_by_half_a_window)
{
    struct feed f;
    after_loss(&f, 1000);
    base_time now = START + 2 * RTT;
    feed_ack(&f, now, MTU, false);
    f.cc.u.cubic.epoch_start = now - 9 * BASE_SEC - 400 * BASE_SEC; /* the curve has run far away */
    uint64_t window = f.cc.window;
    feed_ack(&f, now, window, false); /* a whole window at once */
    ck_assert_uint_le(f.cc.window, window + window / 2);
    ck_assert_uint_ge(f.cc.window, window + window / 2 - MTU);
}
END_TEST

START_TEST(fast_convergence_makes_room)
{
    struct feed f;
    after_loss(&f, 1000);
    near(f.cc.u.cubic.w_max, 1000.0 * MTU, 1e-9);
    feed_loss(&f, START + 2 * RTT, START + RTT, false); /* at 700, below W_max 1000 */
    near(f.cc.u.cubic.w_max, 700.0 * MTU * 0.85, 1e-9);
    ck_assert_uint_eq(f.cc.window, 490 * MTU);
    f.cc.window = 800 * MTU;
    feed_loss(&f, START + 4 * RTT, START + 3 * RTT, false); /* above: W_max is the window */
    near(f.cc.u.cubic.w_max, 800.0 * MTU, 1e-9);
}
END_TEST

/* Grows for two seconds in all, with a pause of 60 s in the middle as `pause` says; returns the window. */
enum pause { NO_PAUSE, APP_LIMITED, QUIET };
static uint64_t window_after(enum pause pause) {
    struct feed f;
    after_loss(&f, 1000);
    base_time now = START + 2 * RTT;
    for (int i = 0; i < 10; i++, now += RTT)
        round_trip(&f, now);
    uint64_t before = f.cc.window;
    if (pause == APP_LIMITED) {
        base_time end = now + 60 * BASE_SEC;
        feed_ack(&f, now, MTU, true);
        for (; now < end; now += BASE_SEC) { /* a packet now and then, each after silence */
            f.cc.ops->on_sent(&f.cc, now, f.next, MTU, MTU);
            struct quic_cc_ack all = {
                .now = now + RTT, .fresh_bytes = MTU, .largest_sent_at = now, .rtt = &f.rtt, .app_limited = true};
            f.cc.ops->on_ack(&f.cc, &all); /* nothing in flight after it */
        }
        now = end;
        ck_assert_uint_eq(f.cc.window, before);
    } else if (pause == QUIET) {
        struct quic_cc_ack last = {.now = now, .largest_sent_at = now - RTT, .rtt = &f.rtt};
        f.cc.ops->on_ack(&f.cc, &last);
        now += 60 * BASE_SEC;
        f.cc.ops->on_sent(&f.cc, now, f.next, MTU, MTU);
    }
    for (int i = 0; i < 10; i++, now += RTT)
        round_trip(&f, now);
    return f.cc.window;
}

START_TEST(time_without_use_is_no_time)
{
    uint64_t steady = window_after(NO_PAUSE);
    near((double)window_after(APP_LIMITED), (double)steady, 0.01);
    near((double)window_after(QUIET), (double)steady, 0.01);
}
END_TEST

START_TEST(slow_start_without_loss_starts_from_where_it_is)
{
    struct feed f;
    feed_init(&f, &quic_cc_cubic, false);
    f.cc.threshold = f.cc.window = 100 * MTU; /* left by HyStart++ */
    base_time now = START;
    feed_ack(&f, now, MTU, false);
    near(f.cc.u.cubic.w_max, 100.0 * MTU, 1e-9);
    ck_assert(f.cc.u.cubic.k <= 0.0);
    for (base_time t = RTT; t <= 4 * BASE_SEC; t += RTT)
        round_trip(&f, now + t);
    double reno = 100.0 + 40.0; /* no cwnd_prior: a segment a round trip */
    ck_assert_uint_ge(f.cc.window, (uint64_t)(0.98 * reno * MTU));
}
END_TEST

START_TEST(persistent_congestion_forgets_the_curve)
{
    struct feed f;
    after_loss(&f, 1000);
    f.cc.ops->on_persistent(&f.cc, START + 1);
    ck_assert_uint_eq(f.cc.window, 2 * MTU);
    ck_assert_uint_eq(f.cc.threshold, 700 * MTU);
    base_time now = START + RTT;
    while (f.cc.window < f.cc.threshold)
        feed_ack(&f, now += RTT, f.cc.window, false);
    feed_ack(&f, now += RTT, MTU, false);
    ck_assert(f.cc.u.cubic.k <= 0.0); /* 4.8: K = 0, W_max = where it is */
    near(f.cc.u.cubic.w_max, 700.0 * MTU, 0.01);
}
END_TEST

START_TEST(a_spurious_event_is_undone)
{
    struct feed f;
    after_loss(&f, 1000);
    base_time now = START + 2 * RTT;
    for (int i = 0; i < 20; i++, now += RTT)
        round_trip(&f, now);
    struct quic_cc before = f.cc;
    feed_loss(&f, now, now - RTT, false);
    ck_assert_uint_lt(f.cc.window, before.window);
    f.cc.ops->on_spurious(&f.cc, now + 1);
    ck_assert_uint_eq(f.cc.window, before.window);
    ck_assert_uint_eq(f.cc.threshold, before.threshold);
    ck_assert_uint_eq(f.cc.recovery_start, before.recovery_start);
    ck_assert_uint_eq(f.cc.u.cubic.epoch_start, before.u.cubic.epoch_start);
    near(f.cc.u.cubic.w_max, before.u.cubic.w_max, 1e-12);
    near(f.cc.u.cubic.k, before.u.cubic.k, 1e-12);
    near(f.cc.u.cubic.prior, before.u.cubic.prior, 1e-12);
    f.cc.window += MTU;
    f.cc.ops->on_spurious(&f.cc, now + 2); /* once */
    ck_assert_uint_eq(f.cc.window, before.window + MTU);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *const tests[] = {small_acks_grow_as_much_as_large_ones,
                                  a_loss_leaves_seven_tenths,
                                  the_window_follows_the_cubic_curve,
                                  the_window_is_no_smaller_than_renos,
                                  growth_is_bounded_by_half_a_window,
                                  fast_convergence_makes_room,
                                  time_without_use_is_no_time,
                                  slow_start_without_loss_starts_from_where_it_is,
                                  persistent_congestion_forgets_the_curve,
                                  a_spurious_event_is_undone};
    return TOOLKIT_SUITE("cc_cubic", tests);
}
