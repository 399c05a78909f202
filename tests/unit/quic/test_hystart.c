/* test_hystart.c - RFC 9406 round by round. */
#include "cc_kit.h"

struct hystart {
    struct quic_hystart h;
    uint64_t number; /* largest acknowledged */
    bool left;
    unsigned divisor;
};

static void start(struct hystart *s, bool enabled) {
    memset(s, 0, sizeof *s);
    quic_hystart_init(&s->h, enabled);
}

static void sample(struct hystart *s, base_time rtt, uint64_t next) {
    struct quic_cc_ack ack = {.largest_number = s->number, .next_number = next, .rtt_sample = rtt};
    s->left |= quic_hystart_on_ack(&s->h, &ack, &s->divisor);
}

/* A round of `count` ACKs with this RTT; the last one ends it. */
static void round_of(struct hystart *s, base_time rtt, uint32_t count) {
    uint64_t end = s->h.window_end;
    for (uint32_t i = 0; i < count; i++) {
        s->number = i + 1 == count ? end : end > count ? end - count + i : 0;
        sample(s, rtt, end + 100);
    }
}

START_TEST(steady_delay_is_no_reason)
{
    struct hystart s;
    start(&s, true);
    for (int i = 0; i < 50; i++)
        round_of(&s, 100 * BASE_MS, 20);
    ck_assert(!s.left && !s.h.in_css);
    ck_assert_uint_eq(s.divisor, 1);
}
END_TEST

/* The threshold is an eighth of the last round's minimum, between 4 and 16 ms. */
START_TEST(thresholds)
{
    static const struct {
        base_time last, now;
        bool enters;
    } cases[] = {{100 * BASE_MS, 112400 * BASE_US, false}, {100 * BASE_MS, 112500 * BASE_US, true},
                 {8 * BASE_MS, 11900 * BASE_US, false},    {8 * BASE_MS, 12 * BASE_MS, true},
                 {400 * BASE_MS, 415 * BASE_MS, false},    {400 * BASE_MS, 416 * BASE_MS, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hystart s;
        start(&s, true);
        round_of(&s, cases[i].last, 1); /* number 0 ends the first round */
        round_of(&s, cases[i].last, 10);
        round_of(&s, cases[i].now, 10);
        ck_assert(s.h.in_css == cases[i].enters);
        ck_assert_uint_eq(s.divisor, cases[i].enters ? 4 : 1);
        ck_assert(!s.left);
    }
}
END_TEST

START_TEST(eight_samples_are_needed)
{
    for (uint32_t count = 7; count <= 8; count++) {
        struct hystart s;
        start(&s, true);
        round_of(&s, 100 * BASE_MS, 1);
        round_of(&s, 100 * BASE_MS, 10);
        s.number = s.h.window_end - 50;
        for (uint32_t i = 0; i < count; i++) {
            sample(&s, 150 * BASE_MS, 500);
            sample(&s, 0, 500); /* an ACK without sample does not count */
        }
        ck_assert(s.h.in_css == (count == 8));
    }
}
END_TEST

START_TEST(one_quick_packet_keeps_slow_start)
{
    struct hystart s;
    start(&s, true);
    round_of(&s, 100 * BASE_MS, 1);
    round_of(&s, 100 * BASE_MS, 10);
    s.number = s.h.window_end - 50;
    sample(&s, 100 * BASE_MS, 500); /* the minimum counts */
    for (int i = 0; i < 20; i++)
        sample(&s, 150 * BASE_MS, 500);
    ck_assert(!s.h.in_css);
}
END_TEST

START_TEST(css_ends_after_five_rounds)
{
    struct hystart s;
    start(&s, true);
    round_of(&s, 100 * BASE_MS, 1);
    round_of(&s, 100 * BASE_MS, 10);
    round_of(&s, 150 * BASE_MS, 10); /* entered in the middle: this part of a round counts */
    ck_assert(s.h.in_css);
    for (int i = 0; i < 3; i++) {
        round_of(&s, 150 * BASE_MS, 10);
        ck_assert(!s.left);
        ck_assert_uint_eq(s.divisor, 4);
    }
    round_of(&s, 150 * BASE_MS, 10);
    ck_assert(s.left);
}
END_TEST

START_TEST(jitter_resumes_slow_start)
{
    struct hystart s;
    start(&s, true);
    round_of(&s, 100 * BASE_MS, 1);
    round_of(&s, 100 * BASE_MS, 10);
    round_of(&s, 150 * BASE_MS, 10);
    ck_assert(s.h.in_css);
    round_of(&s, 149 * BASE_MS, 7); /* lower, but too few samples to say so */
    ck_assert(s.h.in_css);
    round_of(&s, 149 * BASE_MS, 8);
    ck_assert(!s.h.in_css);
    ck_assert_uint_eq(s.divisor, 1);
    round_of(&s, 190 * BASE_MS, 10); /* and it may be entered again, with five rounds of its own */
    ck_assert(s.h.in_css);
    for (int i = 0; i < 3; i++)
        round_of(&s, 190 * BASE_MS, 10);
    ck_assert(!s.left);
    round_of(&s, 190 * BASE_MS, 10);
    ck_assert(s.left);
}
END_TEST

START_TEST(switched_off_it_says_nothing)
{
    struct hystart s;
    start(&s, false);
    round_of(&s, 100 * BASE_MS, 1);
    for (base_time i = 0; i < 20; i++)
        round_of(&s, (100 + 50 * i) * BASE_MS, 10);
    ck_assert(!s.left && !s.h.in_css);
    ck_assert_uint_eq(s.divisor, 1);
}
END_TEST

/* Through a controller: growth falls to a quarter, then slow start ends where the window is; later slow starts do
 * without. */
START_TEST(controllers_leave_slow_start)
{
    struct feed f;
    feed_init(&f, quic_cc_at((unsigned)_i), true);
    base_time rtt = RTT, now = START;
    uint64_t number = 0, next = 0;
    for (int i = 0; i < 12 && f.cc.threshold == UINT64_MAX; i++) {
        uint64_t window = f.cc.window, growth_before = f.cc.window;
        bool css = f.cc.hystart.in_css;
        uint64_t end = next;
        next += 100;
        for (uint32_t k = 0; k < 10; k++) {
            number = k == 9 ? end : number;
            struct quic_cc_ack ack = {.now = now,
                                      .fresh_bytes = window / 10,
                                      .acked_bytes = window / 10,
                                      .bytes_in_flight = window,
                                      .largest_sent_at = now - RTT,
                                      .largest_number = number,
                                      .next_number = next,
                                      .rtt_sample = rtt,
                                      .rtt = &f.rtt};
            f.cc.ops->on_ack(&f.cc, &ack);
        }
        if (css)
            ck_assert_uint_le(f.cc.window, growth_before + growth_before / 4);
        now += RTT;
        if (i == 3)
            rtt = 2 * RTT;
    }
    ck_assert_uint_eq(f.cc.threshold, f.cc.window);
    ck_assert_uint_eq(f.cc.events, 0);
    f.cc.ops->on_persistent(&f.cc, now);
    struct quic_hystart before = f.cc.hystart;
    feed_ack(&f, now + RTT, 2 * MTU, false);
    ck_assert_uint_eq(f.cc.window, 4 * MTU);
    ck_assert_mem_eq(&before, &f.cc.hystart, sizeof before);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *const tests[] = {steady_delay_is_no_reason,   thresholds,
                                  eight_samples_are_needed,    one_quick_packet_keeps_slow_start,
                                  css_ends_after_five_rounds,  jitter_resumes_slow_start,
                                  switched_off_it_says_nothing};
    Suite *suite = TOOLKIT_SUITE("hystart", tests);
    TCase *each = tcase_create("each");
    tcase_add_loop_test(each, controllers_leave_slow_start, 0, 2);
    suite_add_tcase(suite, each);
    return suite;
}
