/* JSON into a fixed space: commas, numbers, escapes, UTF-8, and what happens when there is no room. */
#include "quic/qlog_json.h"
#include "unit.h"

#include <string.h>

static char space[256];

static void expect(struct qlog_json *json, const char *text) {
    ck_assert(!json->bad);
    ck_assert_uint_lt((size_t)(json->at - space), sizeof space);
    *json->at = 0;
    ck_assert_str_eq(space, text);
}

START_TEST(commas_follow_from_what_stands_before)
{
    struct qlog_json json = qlog_json_of(space, sizeof space - 1);
    qlog_json_open(&json, NULL, '{');
    qlog_json_uint(&json, "a", 1);
    qlog_json_open(&json, "b", '[');
    qlog_json_open(&json, NULL, '[');
    qlog_json_close(&json, ']');
    qlog_json_uint(&json, NULL, UINT64_MAX);
    qlog_json_flag(&json, NULL, true);
    qlog_json_close(&json, ']');
    qlog_json_flag(&json, "c", false);
    qlog_json_hex(&json, "d", "\x01\xfe", 2);
    qlog_json_hex(&json, "e", "", 0);
    qlog_json_hex32(&json, "f", 0x6b3343cf);
    qlog_json_close(&json, '}');
    expect(&json,
           "{\"a\":1,\"b\":[[],18446744073709551615,true],\"c\":false,\"d\":\"01fe\",\"e\":\"\",\"f\":\"6b3343cf\"}");
}
END_TEST

START_TEST(times_are_milliseconds)
{
    static const struct {
        uint64_t ns;
        const char *text;
    } cases[] = {{0, "0"},
                 {1, "0.000001"},
                 {1000000, "1"},
                 {1500000, "1.5"},
                 {123456789, "123.456789"},
                 {1000100, "1.0001"},
                 {UINT64_MAX, "18446744073709.551615"}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qlog_json json = qlog_json_of(space, sizeof space - 1);
        qlog_json_ms(&json, NULL, cases[i].ns);
        expect(&json, cases[i].text);
    }
}
END_TEST

START_TEST(texts_are_escaped)
{
    struct qlog_json json = qlog_json_of(space, sizeof space - 1);
    qlog_json_bytes(&json, "t", "a\"b\\c\n\x01\x7f\xc3\xa4", 10);
    expect(&json, "\"t\":\"a\\\"b\\\\c\\u000a\\u0001\\u007f\xc3\xa4\"");
}
END_TEST

START_TEST(what_is_text_and_what_is_not)
{
    static const char *const good[] = {
        "", "plain", "\xc2\x80", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc3",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xe2\x82",
                                      "\xe2\x28\xa1",
                                      "a\xff"};
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++)
        ck_assert_msg(qlog_is_utf8(good[i], strlen(good[i])), "%u", i);
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!qlog_is_utf8(bad[i], strlen(bad[i])), "%u", i);
}
END_TEST

/* For every size of the space: nothing is written beyond it, and `bad` says that something is missing. */
START_TEST(no_room_is_noticed_and_never_passed)
{
    for (size_t size = 0; size < 60; size++) {
        memset(space, 0x55, sizeof space);
        struct qlog_json json = qlog_json_of(space, size);
        qlog_json_open(&json, NULL, '{');
        qlog_json_ms(&json, "time", 1234567);
        qlog_json_hex(&json, "hex", "\x01\x02\x03", 3);
        qlog_json_text(&json, "text", "a\n");
        qlog_json_close(&json, '}');
        ck_assert_int_eq(json.bad, size < 49);
        ck_assert(json.at <= space + size);
        for (size_t i = size; i < sizeof space; i++)
            ck_assert_int_eq(space[i], 0x55);
    }
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("qlog_json");
    TCase *tcase = tcase_create("json");
    tcase_add_test(tcase, commas_follow_from_what_stands_before);
    tcase_add_test(tcase, times_are_milliseconds);
    tcase_add_test(tcase, texts_are_escaped);
    tcase_add_test(tcase, what_is_text_and_what_is_not);
    tcase_add_test(tcase, no_room_is_noticed_and_never_passed);
    suite_add_tcase(suite, tcase);
    return suite;
}
