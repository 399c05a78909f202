/* test_pacer.c - rate, burst, debt, and a timer worth waking for. */
#include "cc_kit.h"

struct pace {
    struct feed f;
    struct quic_pacer pacer;
};

/* Congestion avoidance with a window of `segments` and an RTT of 100 ms. */
static void start(struct pace *p, uint64_t segments) {
    feed_init(&p->f, &quic_cc_newreno, false);
    p->f.cc.window = p->f.cc.threshold = segments * MTU;
    quic_pacer_init(&p->pacer, true);
}

static uint64_t allowance(struct pace *p, base_time now) {
    return quic_pacer_allowance(&p->pacer, &p->f.cc, &p->f.rtt, now);
}
static base_time deadline(struct pace *p, base_time now) {
    return quic_pacer_deadline(&p->pacer, &p->f.cc, &p->f.rtt, now);
}

START_TEST(switched_off_it_lets_everything_pass)
{
    struct pace p;
    start(&p, 10);
    quic_pacer_init(&p.pacer, false);
    quic_pacer_on_sent(&p.pacer, 1000000000);
    ck_assert_uint_eq(allowance(&p, START), UINT64_MAX);
    ck_assert_uint_eq(deadline(&p, START), START);
}
END_TEST

START_TEST(rate_is_above_a_window_a_round_trip)
{
    struct pace p;
    start(&p, 100);
    ck_assert_uint_eq(quic_pacer_rate(&p.f.cc, &p.f.rtt), 100 * MTU * 10 * 5 / 4);
    p.f.cc.threshold = UINT64_MAX; /* slow start */
    ck_assert_uint_eq(quic_pacer_rate(&p.f.cc, &p.f.rtt), 100 * MTU * 10 * 2);
    p.f.cc.pacing_rate = 777;
    ck_assert_uint_eq(quic_pacer_rate(&p.f.cc, &p.f.rtt), 777);
    p.f.cc.pacing_rate = 0;
    p.f.cc.window = UINT64_C(1) << 50; /* no overflow */
    p.f.rtt.smoothed = BASE_SEC;
    ck_assert_uint_ge(quic_pacer_rate(&p.f.cc, &p.f.rtt), UINT64_C(1) << 51);
    p.f.rtt.smoothed = 0;
    ck_assert_uint_gt(quic_pacer_rate(&p.f.cc, &p.f.rtt), 0);
}
END_TEST

START_TEST(burst_is_two_milliseconds_within_bounds)
{
    struct pace p;
    start(&p, 10);
    ck_assert_uint_eq(quic_pacer_burst(&p.f.cc, 1000), 10 * MTU);
    ck_assert_uint_eq(quic_pacer_burst(&p.f.cc, 10000000), 20000);
    ck_assert_uint_eq(quic_pacer_burst(&p.f.cc, UINT64_C(1) << 40), 54 * MTU); /* 65536 / 1200 */
    p.f.cc.mtu = 9000;
    ck_assert_uint_eq(quic_pacer_burst(&p.f.cc, UINT64_C(1) << 40), 10 * 9000);
}
END_TEST

START_TEST(first_burst_then_the_rate)
{
    struct pace p;
    start(&p, 100); /* 1.5 MB/s, burst 12000 */
    ck_assert_uint_eq(allowance(&p, START), 10 * MTU);
    ck_assert_uint_eq(deadline(&p, START), START);
    quic_pacer_on_sent(&p.pacer, 10 * MTU);
    ck_assert_uint_eq(allowance(&p, START), 0);
    ck_assert_uint_eq(allowance(&p, START + 799 * BASE_US), 0); /* not yet a datagram */
    ck_assert_uint_ge(allowance(&p, START + 801 * BASE_US), MTU);
    ck_assert_uint_eq(allowance(&p, START + BASE_SEC), 10 * MTU); /* idle time saves up a burst, no more */
}
END_TEST

START_TEST(the_timer_wakes_for_half_a_burst)
{
    struct pace p;
    start(&p, 100);
    (void)allowance(&p, START);
    quic_pacer_on_sent(&p.pacer, 10 * MTU);
    base_time at = deadline(&p, START);
    ck_assert_uint_ge(at, START + 4 * BASE_MS); /* 6000 bytes at 1.5 MB/s */
    ck_assert_uint_le(at, START + 4 * BASE_MS + 10);
    ck_assert_uint_ge(allowance(&p, at), 5 * MTU);
}
END_TEST

START_TEST(a_train_may_overdraw_and_is_paid_for)
{
    struct pace p;
    start(&p, 100);
    (void)allowance(&p, START);
    quic_pacer_on_sent(&p.pacer, 60000); /* 48000 more than there were */
    base_time at = deadline(&p, START);
    ck_assert_uint_ge(at, START + 36 * BASE_MS); /* (48000 + 6000) / 1.5 MB/s */
    ck_assert_uint_le(at, START + 36 * BASE_MS + 10);
    ck_assert_uint_eq(allowance(&p, START + 32 * BASE_MS), 0);
    ck_assert_uint_gt(allowance(&p, at), 0);
}
END_TEST

START_TEST(asking_often_loses_nothing)
{
    struct pace p;
    start(&p, 2); /* 30 kB/s: a byte every 33 us */
    (void)allowance(&p, START);
    quic_pacer_on_sent(&p.pacer, 10 * MTU);
    base_time now = START;
    uint64_t calls = 0;
    while (allowance(&p, now) == 0 && calls++ < 1000000)
        now += 7 * BASE_US;
    ck_assert_uint_le(now, START + 40 * BASE_MS + 50 * BASE_US); /* a datagram: 40 ms */
    ck_assert_uint_ge(now, START + 40 * BASE_MS - 50 * BASE_US);
}
END_TEST

/* A sender that sends whatever it may, whenever it may: over any time burst + rate * time, and one train. */
START_TEST(the_rate_holds)
{
    struct toolkit_dice dice = {(uint64_t)_i + 3};
    struct pace p;
    start(&p, 10 + toolkit_pick(&dice, 5000));
    uint64_t rate = quic_pacer_rate(&p.f.cc, &p.f.rtt), burst = quic_pacer_burst(&p.f.cc, rate), sent = 0;
    base_time now = START;
    while (now < START + 2 * BASE_SEC) {
        uint64_t allowed = allowance(&p, now);
        if (allowed > 0) {
            uint64_t packets = (allowed + MTU - 1) / MTU;
            quic_pacer_on_sent(&p.pacer, packets * MTU);
            sent += packets * MTU;
        }
        double most = (double)burst + (double)rate * (double)(now - START) / 1e9 + MTU;
        if ((double)sent > most)
            ck_abort_msg("sent %f of %f", (double)sent, most);
        base_time next = deadline(&p, now);
        now = next > now ? next + toolkit_pick(&dice, 1000) : now;
    }
    ck_assert_uint_ge(sent, 2 * rate / 100 * 97); /* and the rate is reached */
}
END_TEST

Suite *unit_suite(void) {
    const TTest *const tests[] = {switched_off_it_lets_everything_pass,
                                  rate_is_above_a_window_a_round_trip,
                                  burst_is_two_milliseconds_within_bounds,
                                  first_burst_then_the_rate,
                                  the_timer_wakes_for_half_a_burst,
                                  a_train_may_overdraw_and_is_paid_for,
                                  asking_often_loses_nothing};
    Suite *suite = TOOLKIT_SUITE("pacer", tests);
    TCase *random = tcase_create("random");
    tcase_add_loop_test(random, the_rate_holds, 0, 20);
    suite_add_tcase(suite, random);
    return suite;
}
