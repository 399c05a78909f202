/* test_options.c - defaults, limits, and every way to write a value; what a refusal says. */
#include "tables/options.h"

#include <stdio.h>
#include <string.h>

#include "tables/errors.h"
#include "unit.h"

static struct options options;
static char why[256];

static void setup(void) {
    options_init(&options);
    memset(why, 0, sizeof why);
}

static int set(const char *name, const char *value) { return options_set_text(&options, name, value, why, sizeof why); }

START_TEST(table_makes_sense)
{
    ck_assert_int_eq(options_find(options_table[_i].name), _i);
    const struct option_info *info = &options_table[_i];
    ck_assert_uint_le(info->least, info->standard);
    ck_assert_uint_le(info->standard, info->greatest);
    ck_assert_uint_gt(strlen(info->text), 10);
    ck_assert_int_eq(info->type == OPTION_CHOICE, info->choices != NULL);
    if (info->type == OPTION_FLAG)
        ck_assert(info->least == 0 && info->greatest == 1);
    if (info->type == OPTION_CHOICE) {
        uint64_t count = 0;
        while (info->choices[count])
            count++;
        ck_assert(info->least == 0 && info->greatest == count - 1);
    }
    ck_assert_uint_eq(options_get(&options, _i), info->standard);
}
END_TEST

START_TEST(limits_hold)
{
    const struct option_info *info = &options_table[_i];
    ck_assert_int_eq(options_set(&options, _i, info->least, why, sizeof why), 0);
    ck_assert_uint_eq(options_get(&options, _i), info->least);
    ck_assert_int_eq(options_set(&options, _i, info->greatest, why, sizeof why), 0);
    ck_assert_uint_eq(options_get(&options, _i), info->greatest);
    ck_assert_str_eq(why, "");
    ck_assert_int_eq(options_set(&options, _i, info->greatest + 1, why, sizeof why), ERR_VALUE);
    ck_assert_uint_eq(options_get(&options, _i), info->greatest);
    ck_assert_ptr_eq(strstr(why, info->name), why);
    ck_assert(strstr(why, "allowed: ") != NULL);
    if (info->least > 0)
        ck_assert_int_eq(options_set(&options, _i, info->least - 1, why, sizeof why), ERR_VALUE);
    ck_assert_int_eq(options_set(&options, _i, UINT64_MAX, NULL, 0), ERR_VALUE);
}
END_TEST

/* What a refusal prints as allowed can be given back as it stands. */
START_TEST(printed_limits_are_read)
{
    const struct option_info *info = &options_table[_i];
    ck_assert_int_eq(options_set(&options, _i, UINT64_MAX, why, sizeof why), ERR_VALUE);
    char least[64], between[16];
    ck_assert_int_eq(sscanf(strstr(why, "allowed: ") + 9, "%63[^, ]%*[, ]%15s", least, between), 2);
    const char *greatest = strrchr(why, ' ') + 1;
    bool flag = info->type == OPTION_FLAG;
    ck_assert_int_eq(set(info->name, least), 0);
    ck_assert_uint_eq(options_get(&options, _i), flag ? info->greatest : info->least);
    ck_assert_int_eq(set(info->name, greatest), 0);
    ck_assert_uint_eq(options_get(&options, _i), flag ? info->least : info->greatest);
}
END_TEST

static const struct {
    const char *name, *value;
    uint64_t means;
} readable[] = {
    {"max_idle_timeout", "30s", 30 * BASE_SEC},
    {"max_idle_timeout", "250ms", 250 * BASE_MS},
    {"max_idle_timeout", "7us", 7 * BASE_US},
    {"max_idle_timeout", "7ns", 7},
    {"max_idle_timeout", "2m", 120 * BASE_SEC},
    {"max_idle_timeout", "1h", 3600 * BASE_SEC},
    {"max_idle_timeout", "0", 0},
    {"max_idle_timeout", "0s", 0},
    {"initial_max_data", "65536", 65536},
    {"initial_max_data", "5B", 5},
    {"initial_max_data", "64k", 65536},
    {"initial_max_data", "64K", 65536},
    {"initial_max_data", "64KiB", 65536},
    {"initial_max_data", "64kB", 64000},
    {"initial_max_data", "3M", 3 << 20},
    {"initial_max_data", "3MiB", 3 << 20},
    {"initial_max_data", "3MB", 3000000},
    {"initial_max_data", "1G", 1 << 30},
    {"initial_max_data", "1GiB", 1 << 30},
    {"initial_max_data", "1GB", 1000000000},
    {"initial_max_data", "1TiB", UINT64_C(1) << 40},
    {"initial_max_data", "1EiB", UINT64_C(1) << 60},
    {"initial_max_data", "1152921504606846976", UINT64_C(1) << 60},
    {"initial_max_streams_bidi", "17", 17},
    {"initial_max_streams_bidi", "0017", 17},
    {"pacing", "on", 1},
    {"pacing", "off", 0},
    {"pacing", "true", 1},
    {"pacing", "false", 0},
    {"pacing", "yes", 1},
    {"pacing", "no", 0},
    {"pacing", "1", 1},
    {"pacing", "0", 0},
    {"congestion_control", "cubic", 0},
    {"congestion_control", "newreno", 1},
    {"congestion_control", "bbr", 2},
    {"address_validation", "never", 0},
    {"address_validation", "always", 1},
};

START_TEST(values_are_read)
{
    int id = options_find(readable[_i].name);
    /* Start from another value, so that one that is not stored shows. */
    uint64_t other =
        options_table[id].greatest == readable[_i].means ? options_table[id].least : options_table[id].greatest;
    ck_assert_int_eq(options_set(&options, id, other, why, sizeof why), 0);
    ck_assert_msg(set(readable[_i].name, readable[_i].value) == 0, "%s", why);
    ck_assert_uint_eq(options_get(&options, id), readable[_i].means);
}
END_TEST

static const struct {
    const char *name, *value;
    int error;
    const char *text;
} refusals[] = {
    {"max_idle", "30s", ERR_OPTION, "there is no option \"max_idle\""},
    {"", "30s", ERR_OPTION, "there is no option \"\""},
    {"handshake_timeout", "5ms", ERR_VALUE, "handshake_timeout: 5ms is not allowed; allowed: 10ms to 1h"},
    {"handshake_timeout", "5000us", ERR_VALUE, "handshake_timeout: 5000us is not allowed; allowed: 10ms to 1h"},
    {"handshake_timeout", "0", ERR_VALUE, "handshake_timeout: 0 is not allowed; allowed: 10ms to 1h"},
    {"handshake_timeout", "30", ERR_VALUE,
     "handshake_timeout: \"30\" is not a time such as 250ms or 30s (units: ns, us, ms, s, m, h); allowed: 10ms to 1h"},
    {"stream_send_buffer", "2TiB", ERR_VALUE, "stream_send_buffer: 2TiB is not allowed; allowed: 1KiB to 1TiB"},
    {"stream_send_buffer", "2 KiB", ERR_VALUE,
     "stream_send_buffer: \"2 KiB\" is not a size such as 65536, 64KiB or 4MiB (units: B, KiB, MiB, GiB, kB, MB, GB); "
     "allowed: 1KiB to 1TiB"},
    {"initial_max_data", "99999999999999999999", ERR_VALUE,
     "initial_max_data: 99999999999999999999 is not allowed; allowed: 0 to 1EiB"},
    {"initial_max_data", "18446744073709551617", ERR_VALUE, /* 2^64 + 1 */
     "initial_max_data: 18446744073709551617 is not allowed; allowed: 0 to 1EiB"},
    {"initial_max_data", "16EiB", ERR_VALUE, "initial_max_data: 16EiB is not allowed; allowed: 0 to 1EiB"},
    {"ack_delay_exponent", "21", ERR_VALUE, "ack_delay_exponent: 21 is not allowed; allowed: 0 to 20"},
    {"ack_delay_exponent", "-1", ERR_VALUE, "ack_delay_exponent: \"-1\" is not a whole number; allowed: 0 to 20"},
    {"ack_delay_exponent", "", ERR_VALUE, "ack_delay_exponent: \"\" is not a whole number; allowed: 0 to 20"},
    {"ack_delay_exponent", "3k", ERR_VALUE, "ack_delay_exponent: \"3k\" is not a whole number; allowed: 0 to 20"},
    {"pacing", "maybe", ERR_VALUE, "pacing: \"maybe\" is neither; allowed: on or off"},
    {"pacing", "ON", ERR_VALUE, "pacing: \"ON\" is neither; allowed: on or off"},
    {"congestion_control", "vegas", ERR_VALUE,
     "congestion_control: \"vegas\" is not one of its names; allowed: cubic, newreno or bbr"},
};

START_TEST(refusals_say_why)
{
    struct options before = options;
    ck_assert_int_eq(set(refusals[_i].name, refusals[_i].value), refusals[_i].error);
    ck_assert_str_eq(why, refusals[_i].text);
    ck_assert_mem_eq(&options, &before, sizeof options);
    ck_assert_int_eq(options_set_text(&options, refusals[_i].name, refusals[_i].value, NULL, 0), refusals[_i].error);
    char small[8];
    memset(small, 'x', sizeof small);
    options_set_text(&options, refusals[_i].name, refusals[_i].value, small, sizeof small - 1);
    ck_assert(small[6] == 0 && small[7] == 'x');
}
END_TEST

START_TEST(numbers_are_refused_in_words)
{
    ck_assert_int_eq(options_set(&options, OPTION_ID_handshake_timeout, 5 * BASE_MS, why, sizeof why), ERR_VALUE);
    ck_assert_str_eq(why, "handshake_timeout: 5ms is not allowed; allowed: 10ms to 1h");
    ck_assert_int_eq(options_set(&options, OPTION_ID_congestion_control, 3, why, sizeof why), ERR_VALUE);
    ck_assert_str_eq(why, "congestion_control: 3 is not allowed; allowed: cubic, newreno or bbr");
    ck_assert_int_eq(options_set(&options, OPTION_IDS, 0, why, sizeof why), ERR_OPTION);
    ck_assert_int_eq(options_set(&options, -1, 0, why, sizeof why), ERR_OPTION);
    ck_assert_int_eq(options_set(&options, -1, 0, NULL, 0), ERR_OPTION);
}
END_TEST

START_TEST(fields_and_numbers_agree)
{
    ck_assert_int_eq(options_set(&options, OPTION_ID_spin_bit, 1, why, sizeof why), 0);
    ck_assert_uint_eq(options.spin_bit, 1);
    options.initial_window = 77;
    ck_assert_uint_eq(options_get(&options, options_find("initial_window")), 77);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

Suite *unit_suite(void) {
    Suite *suite = suite_create("tables/options");
    TCase *tests = tcase_create("options");
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, table_makes_sense, 0, OPTION_IDS);
    tcase_add_loop_test(tests, limits_hold, 0, OPTION_IDS);
    tcase_add_loop_test(tests, printed_limits_are_read, 0, OPTION_IDS);
    tcase_add_loop_test(tests, values_are_read, 0, COUNT(readable));
    tcase_add_loop_test(tests, refusals_say_why, 0, COUNT(refusals));
    tcase_add_test(tests, numbers_are_refused_in_words);
    tcase_add_test(tests, fields_and_numbers_agree);
    suite_add_tcase(suite, tests);
    return suite;
}
