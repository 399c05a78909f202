/* test_rtt.c - the estimator against the formulas of RFC 9002 5.3, and what ACK Delay may and may not do. */
#include "quic/rtt.h"

#include "base/toolkit.h"

#define INITIAL (333 * BASE_MS)

START_TEST(starts_from_the_initial_value)
{
    struct quic_rtt rtt;
    quic_rtt_init(&rtt, INITIAL);
    ck_assert(!rtt.sampled);
    ck_assert_uint_eq(rtt.smoothed, INITIAL);
    ck_assert_uint_eq(rtt.variation, INITIAL / 2);
    ck_assert_uint_eq(quic_rtt_pto(&rtt), INITIAL + 4 * (INITIAL / 2)); /* 6.2.2: about a second */
}
END_TEST

START_TEST(first_sample_ignores_ack_delay)
{
    struct quic_rtt rtt;
    quic_rtt_init(&rtt, INITIAL);
    quic_rtt_sample(&rtt, 80 * BASE_MS, 25 * BASE_MS);
    ck_assert(rtt.sampled);
    ck_assert_uint_eq(rtt.latest, 80 * BASE_MS);
    ck_assert_uint_eq(rtt.min, 80 * BASE_MS);
    ck_assert_uint_eq(rtt.smoothed, 80 * BASE_MS);
    ck_assert_uint_eq(rtt.variation, 40 * BASE_MS);
}
END_TEST

START_TEST(later_samples_follow_the_formulas)
{
    struct quic_rtt rtt;
    quic_rtt_init(&rtt, INITIAL);
    quic_rtt_sample(&rtt, 80 * BASE_MS, 0);
    quic_rtt_sample(&rtt, 120 * BASE_MS, 24 * BASE_MS); /* adjusted 96 */
    ck_assert_uint_eq(rtt.latest, 120 * BASE_MS);
    ck_assert_uint_eq(rtt.min, 80 * BASE_MS);
    ck_assert_uint_eq(rtt.variation, 34 * BASE_MS); /* 3/4 * 40 + 1/4 * |80 - 96| */
    ck_assert_uint_eq(rtt.smoothed, 82 * BASE_MS);  /* 7/8 * 80 + 1/8 * 96 */
    ck_assert_uint_eq(quic_rtt_pto(&rtt), 82 * BASE_MS + 4 * 34 * BASE_MS);
}
END_TEST

START_TEST(delay_never_goes_below_the_minimum)
{
    struct quic_rtt rtt;
    quic_rtt_init(&rtt, INITIAL);
    quic_rtt_sample(&rtt, 80 * BASE_MS, 0);
    quic_rtt_sample(&rtt, 88 * BASE_MS, 9 * BASE_MS); /* 79 would be below min: the delay is not believed */
    ck_assert_uint_eq(rtt.smoothed, 81 * BASE_MS);
    quic_rtt_init(&rtt, INITIAL);
    quic_rtt_sample(&rtt, 80 * BASE_MS, 0);
    quic_rtt_sample(&rtt, 88 * BASE_MS, 8 * BASE_MS); /* exactly min: believed */
    ck_assert_uint_eq(rtt.smoothed, 80 * BASE_MS);
    quic_rtt_sample(&rtt, 88 * BASE_MS, UINT64_MAX); /* no overflow either */
    ck_assert_uint_eq(rtt.smoothed, 81 * BASE_MS);
}
END_TEST

START_TEST(minimum_ignores_ack_delay_and_follows_down)
{
    struct quic_rtt rtt;
    quic_rtt_init(&rtt, INITIAL);
    quic_rtt_sample(&rtt, 80 * BASE_MS, 0);
    quic_rtt_sample(&rtt, 100 * BASE_MS, 20 * BASE_MS);
    ck_assert_uint_eq(rtt.min, 80 * BASE_MS);
    quic_rtt_sample(&rtt, 60 * BASE_MS, 20 * BASE_MS);
    ck_assert_uint_eq(rtt.min, 60 * BASE_MS);
}
END_TEST

START_TEST(persistent_congestion_restarts_the_minimum)
{
    struct quic_rtt rtt;
    quic_rtt_init(&rtt, INITIAL);
    quic_rtt_on_persistent(&rtt); /* without a sample there is nothing to restart from */
    ck_assert_uint_eq(rtt.min, 0);
    quic_rtt_sample(&rtt, 60 * BASE_MS, 0);
    quic_rtt_sample(&rtt, 90 * BASE_MS, 0);
    quic_rtt_on_persistent(&rtt);
    ck_assert_uint_eq(rtt.min, 90 * BASE_MS);
}
END_TEST

START_TEST(granularity_is_the_least_variation_of_a_pto)
{
    struct quic_rtt rtt;
    quic_rtt_init(&rtt, INITIAL);
    for (int i = 0; i < 200; i++)
        quic_rtt_sample(&rtt, 8000, 0);
    ck_assert_uint_lt(rtt.variation, 10);
    ck_assert_uint_eq(quic_rtt_pto(&rtt), rtt.smoothed + QUIC_GRANULARITY);
}
END_TEST

START_TEST(estimate_stays_within_the_samples)
{
    struct toolkit_dice dice = {7};
    struct quic_rtt rtt;
    quic_rtt_init(&rtt, INITIAL);
    for (int i = 0; i < 20000; i++) {
        quic_rtt_sample(&rtt, 10 * BASE_MS + toolkit_roll(&dice) % (90 * BASE_MS),
                        toolkit_roll(&dice) % (30 * BASE_MS));
        ck_assert_uint_ge(rtt.min, 10 * BASE_MS);
        ck_assert_uint_ge(rtt.smoothed + 16, rtt.min); /* divisions round down */
        ck_assert_uint_lt(rtt.smoothed, 100 * BASE_MS);
        ck_assert_uint_lt(rtt.variation, 90 * BASE_MS);
    }
}
END_TEST

Suite *unit_suite(void) {
    const TTest *const tests[] = {starts_from_the_initial_value,
                                  first_sample_ignores_ack_delay,
                                  later_samples_follow_the_formulas,
                                  delay_never_goes_below_the_minimum,
                                  minimum_ignores_ack_delay_and_follows_down,
                                  persistent_congestion_restarts_the_minimum,
                                  granularity_is_the_least_variation_of_a_pto,
                                  estimate_stays_within_the_samples};
    return TOOLKIT_SUITE("rtt", tests);
}
