/* test_clock.c - time that adds up and never wraps. */
#include "base/clock.h"

#include "toolkit.h"

START_TEST(units)
{
    ck_assert_uint_eq(BASE_SEC, 1000 * BASE_MS);
    ck_assert_uint_eq(BASE_MS, 1000 * BASE_US);
    ck_assert_uint_eq(BASE_US, 1000);
}
END_TEST

START_TEST(sooner_and_later)
{
    ck_assert_uint_eq(base_time_min(1, 2), 1);
    ck_assert_uint_eq(base_time_min(2, 1), 1);
    ck_assert_uint_eq(base_time_min(5, BASE_NEVER), 5);
    ck_assert_uint_eq(base_time_max(1, 2), 2);
    ck_assert_uint_eq(base_time_max(2, 1), 2);
    ck_assert_uint_eq(base_time_max(5, BASE_NEVER), BASE_NEVER);
}
END_TEST

START_TEST(adding_stays_at_never)
{
    ck_assert_uint_eq(base_time_add(0, 0), 0);
    ck_assert_uint_eq(base_time_add(3, 4), 7);
    ck_assert_uint_eq(base_time_add(BASE_NEVER, 0), BASE_NEVER);
    ck_assert_uint_eq(base_time_add(0, BASE_NEVER), BASE_NEVER);
    ck_assert_uint_eq(base_time_add(BASE_NEVER, 1), BASE_NEVER);
    ck_assert_uint_eq(base_time_add(1, BASE_NEVER), BASE_NEVER);
    ck_assert_uint_eq(base_time_add(BASE_NEVER, BASE_NEVER), BASE_NEVER);
    ck_assert_uint_eq(base_time_add(BASE_NEVER - 5, 4), BASE_NEVER - 1);
    ck_assert_uint_eq(base_time_add(BASE_NEVER - 5, 5), BASE_NEVER);
    ck_assert_uint_eq(base_time_add(BASE_NEVER - 5, 6), BASE_NEVER);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {units, sooner_and_later, adding_stays_at_never};
    return TOOLKIT_SUITE("base/clock", tests);
}
