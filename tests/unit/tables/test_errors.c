/* test_errors.c - every error has a name and a text, and its number is what the table says for ever. */
#include "tables/errors.h"

#include <limits.h>

#include "unit.h"

START_TEST(all_are_named)
{
#define ERROR(name, number, text)                  \
    ck_assert_int_eq(ERR_##name, -(number));       \
    ck_assert_str_eq(err_name(ERR_##name), #name); \
    ck_assert_str_eq(err_text(ERR_##name), text);
#include "tables/errors.def"
#undef ERROR
    ck_assert_int_eq(ERR_GONE, -4);
    ck_assert_str_eq(err_name(0), "OK");
    ck_assert_str_eq(err_text(0), "no error");
}
END_TEST

START_TEST(others_too)
{
    static const int others[] = {1, 5, INT_MAX, INT_MIN, -1000, ERR_INTERNAL - 1};
    ck_assert_str_eq(err_name(others[_i]), "UNKNOWN");
    ck_assert_str_eq(err_text(others[_i]), "not an error number of weft");
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("tables/errors");
    TCase *tests = tcase_create("errors");
    tcase_add_test(tests, all_are_named);
    tcase_add_loop_test(tests, others_too, 0, 6);
    suite_add_tcase(suite, tests);
    return suite;
}
