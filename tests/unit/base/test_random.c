/* test_random.c - random bytes come from the injected source, all of them and no others. */
#include "base/random.h"

#include "toolkit.h"

/* Counts up from *user, a byte at a time. */
static void counting_fill(void *user, uint8_t *out, size_t len) {
    uint8_t *next = (uint8_t *)user;
    for (size_t i = 0; i < len; i++)
        out[i] = (*next)++;
}

START_TEST(fills_what_is_asked)
{
    uint8_t next = 1, out[8];
    struct base_random random = {counting_fill, &next};
    memset(out, 0xee, sizeof out);
    base_random_fill(&random, out + 1, 5);
    static const uint8_t expect[8] = {0xee, 1, 2, 3, 4, 5, 0xee, 0xee};
    ck_assert_mem_eq(out, expect, sizeof out);
    base_random_fill(&random, out, 0);
    ck_assert_uint_eq(next, 6);
}
END_TEST

START_TEST(numbers_have_all_their_bits)
{
    uint8_t next = 0x81;
    struct base_random random = {counting_fill, &next};
    static const uint8_t bytes[8] = {0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88};
    uint64_t expect;
    memcpy(&expect, bytes, sizeof expect);
    ck_assert_uint_eq(base_random_u64(&random), expect);
    ck_assert_uint_ne(base_random_u64(&random), expect);
    ck_assert_uint_eq(next, 0x91);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {fills_what_is_asked, numbers_have_all_their_bits};
    return TOOLKIT_SUITE("base/random", tests);
}
