/* test_bucket.c - so many a second, so many at once, exactly. */
#include "base/bucket.h"

#include "toolkit.h"

#define SEC UINT64_C(1000000000)

START_TEST(starts_full_and_runs_dry)
{
    struct base_bucket bucket;
    base_bucket_init(&bucket, 10, 5, 1000);
    ck_assert(base_bucket_take(&bucket, 0, 1000));
    ck_assert(base_bucket_take(&bucket, 3, 1000));
    ck_assert(!base_bucket_take(&bucket, 3, 1000)); /* and nothing is taken */
    ck_assert(base_bucket_take(&bucket, 2, 1000));
    ck_assert(!base_bucket_take(&bucket, 1, 1000));
    ck_assert(base_bucket_take(&bucket, 0, 1000));
}
END_TEST

START_TEST(refills_to_the_nanosecond)
{
    struct base_bucket bucket;
    base_bucket_init(&bucket, 10, 5, 0);
    ck_assert(base_bucket_take(&bucket, 5, 0));
    ck_assert(!base_bucket_take(&bucket, 1, SEC / 10 - 1));
    ck_assert(base_bucket_take(&bucket, 1, SEC / 10));
    ck_assert(!base_bucket_take(&bucket, 1, SEC / 5 - 1));
    ck_assert(base_bucket_take(&bucket, 1, SEC / 5));
}
END_TEST

START_TEST(asking_often_loses_nothing)
{
    struct base_bucket bucket;
    base_bucket_init(&bucket, 1, 1, 0);
    ck_assert(base_bucket_take(&bucket, 1, 0));
    bool granted = false;
    for (uint64_t now = 1; now < SEC; now += 999)
        granted |= base_bucket_take(&bucket, 1, now);
    ck_assert(!granted);
    ck_assert(!base_bucket_take(&bucket, 1, SEC - 1));
    ck_assert(base_bucket_take(&bucket, 1, SEC));
}
END_TEST

START_TEST(never_more_than_the_burst)
{
    struct base_bucket bucket;
    base_bucket_init(&bucket, 1000, 5, 0);
    ck_assert(base_bucket_take(&bucket, 1, 0));
    ck_assert(!base_bucket_take(&bucket, 6, 100 * SEC));
    ck_assert(base_bucket_take(&bucket, 5, 100 * SEC));
    ck_assert(!base_bucket_take(&bucket, 1, 100 * SEC));
    ck_assert(!base_bucket_take(&bucket, UINT64_MAX, 200 * SEC));
    ck_assert(!base_bucket_take(&bucket, UINT64_MAX / SEC + 2, 200 * SEC)); /* its nano-tokens wrap to a small number */
    ck_assert(base_bucket_take(&bucket, 5, 200 * SEC));
}
END_TEST

START_TEST(extremes_do_not_wrap)
{
    struct base_bucket bucket;
    uint64_t most = UINT64_C(1) << 32;
    base_bucket_init(&bucket, UINT64_MAX, most, 0);
    ck_assert(base_bucket_take(&bucket, most, 0));
    ck_assert(base_bucket_take(&bucket, most, 1)); /* 2^64 - 1 nano-tokens in a nanosecond fill it */
    ck_assert(base_bucket_take(&bucket, most, UINT64_MAX));
    ck_assert(!base_bucket_take(&bucket, 1, UINT64_MAX));
    base_bucket_init(&bucket, 3, most, 0);
    ck_assert(base_bucket_take(&bucket, most, 0));
    ck_assert(base_bucket_take(&bucket, most, UINT64_MAX));
    ck_assert_uint_eq(bucket.level, 0);
}
END_TEST

START_TEST(rate_and_burst_of_nothing)
{
    struct base_bucket bucket;
    base_bucket_init(&bucket, 0, 2, 0);
    ck_assert(base_bucket_take(&bucket, 2, 0));
    ck_assert(!base_bucket_take(&bucket, 1, UINT64_MAX));
    base_bucket_init(&bucket, 5, 0, 0);
    ck_assert(base_bucket_take(&bucket, 0, 9 * SEC));
    ck_assert(!base_bucket_take(&bucket, 1, 10 * SEC));
}
END_TEST

START_TEST(time_that_goes_back_is_no_time)
{
    struct base_bucket bucket;
    base_bucket_init(&bucket, 1, 1, 10 * SEC);
    ck_assert(base_bucket_take(&bucket, 1, 10 * SEC));
    ck_assert(!base_bucket_take(&bucket, 1, 5 * SEC));
    ck_assert(!base_bucket_take(&bucket, 1, 11 * SEC - 1));
    ck_assert(base_bucket_take(&bucket, 1, 11 * SEC));
}
END_TEST

/* Over any run no more is granted than burst + rate * time, and a taker who always asks gets all of it. */
START_TEST(grants_exactly_the_rate)
{
    struct toolkit_dice dice = {7};
    for (int run = 0; run < 100; run++) {
        struct base_bucket bucket;
        uint64_t rate = 1 + toolkit_pick(&dice, 5000), burst = 2 + toolkit_pick(&dice, 20), now = 0, granted = 0;
        base_bucket_init(&bucket, rate, burst, 0);
        bool right = true;
        while (base_bucket_take(&bucket, 1, 0))
            granted++;
        for (int step = 0; step < 2000; step++) {
            now +=
                toolkit_pick(&dice, (uint32_t)(SEC / rate)); /* less than a token: an emptied bucket never overflows */
            while (base_bucket_take(&bucket, 1, now))
                granted++;
            right &= granted == (burst * SEC + rate * now) / SEC;
        }
        ck_assert_msg(right, "run %d", run);
    }
}
END_TEST

START_TEST(gives_back_and_is_adjusted)
{
    struct base_bucket bucket;
    base_bucket_init(&bucket, 0, 10, 0);
    ck_assert(base_bucket_take(&bucket, 7, 0));
    ck_assert_uint_eq(base_bucket_left(&bucket, 0), 3);
    base_bucket_give(&bucket, 2);
    ck_assert_uint_eq(base_bucket_left(&bucket, 0), 5);
    base_bucket_give(&bucket, UINT64_MAX); /* never more than the burst */
    ck_assert_uint_eq(base_bucket_left(&bucket, 0), 10);
    base_bucket_adjust(&bucket, 2, 4);
    ck_assert_uint_eq(base_bucket_left(&bucket, 0), 4);
    ck_assert(base_bucket_take(&bucket, 4, 0));
    base_bucket_adjust(&bucket, 2, 6); /* to and fro gives nothing */
    ck_assert_uint_eq(base_bucket_left(&bucket, 0), 0);
    ck_assert_uint_eq(base_bucket_left(&bucket, 10 * SEC), 6);
    base_bucket_init(&bucket, 0, 0, 0);
    base_bucket_adjust(&bucket, 1, 5);
    ck_assert_uint_eq(base_bucket_left(&bucket, 0), 5);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {
        starts_full_and_runs_dry,       refills_to_the_nanosecond, asking_often_loses_nothing,
        never_more_than_the_burst,      extremes_do_not_wrap,      rate_and_burst_of_nothing,
        time_that_goes_back_is_no_time, grants_exactly_the_rate,   gives_back_and_is_adjusted,
    };
    return TOOLKIT_SUITE("base/bucket", tests);
}
