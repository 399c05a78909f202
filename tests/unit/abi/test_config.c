/* Tests of config.c, config_tls.c, files.c and errors.c: options, introspection, texts of errors, files. */
#include <stdio.h>
#include <unistd.h>

#include "tables/options.h"
#include "tables/stats.h"
#include "world.h"

static weft_config config;

static void setup(void) { ck_assert_int_eq(weft_config_new(WEFT_SERVER, &config), 0); }
static void teardown(void) { weft_config_free(config); }

static const char *why(void) {
    static char text[256];
    ck_assert_int_ge(weft_config_error(config, text, sizeof text), 0);
    return text;
}

START_TEST(introspection_is_the_table)
{
    ck_assert_uint_eq(weft_option_count(), OPTION_IDS);
    for (uint32_t i = 0; i < OPTION_IDS; i++) {
        weft_option option = {.size = sizeof option};
        uint64_t value;
        ck_assert_int_eq(weft_option_info(i, &option), 0);
        ck_assert_str_eq(option.name, options_table[i].name);
        ck_assert_uint_eq(option.type, options_table[i].type);
        ck_assert_uint_eq(option.least, options_table[i].least);
        ck_assert_uint_eq(option.greatest, options_table[i].greatest);
        ck_assert_int_eq(weft_config_get_uint(config, option.name, &value), 0);
        ck_assert_uint_eq(value, option.standard);
        ck_assert_int_eq(weft_config_set_uint(config, option.name, option.greatest), 0);
        ck_assert_int_eq(weft_config_get_uint(config, option.name, &value), 0);
        ck_assert_uint_eq(value, option.greatest);
        if (option.greatest < UINT64_MAX) {
            ck_assert_int_eq(weft_config_set_uint(config, option.name, option.greatest + 1), WEFT_E_VALUE);
            ck_assert_ptr_nonnull(strstr(why(), option.name));
        }
    }
    weft_option option = {.size = sizeof option};
    ck_assert_int_eq(weft_option_info(OPTION_IDS, &option), WEFT_E_OPTION);
}
END_TEST

START_TEST(counters_have_names_and_places)
{
    weft_stat stat = {.size = sizeof stat};
    bool found = false;
    for (uint32_t i = 0; i < weft_stat_count(); i++) {
        ck_assert_int_eq(weft_stat_info(i, &stat), 0);
        ck_assert_uint_eq(stat.offset % 8, 0);
        static const size_t sizes[] = {[WEFT_STAT_CONN] = sizeof(weft_conn_stats),
                                       [WEFT_STAT_ENGINE] = sizeof(weft_engine_stats),
                                       [WEFT_STAT_PATH] = sizeof(weft_path_stats)};
        ck_assert_uint_le(stat.scope, WEFT_STAT_PATH);
        ck_assert_uint_lt(stat.offset, sizes[stat.scope]);
        if (stat.scope == WEFT_STAT_CONN && strcmp(stat.name, "packets_lost") == 0) {
            ck_assert_uint_eq(stat.offset, offsetof(weft_conn_stats, packets_lost));
            found = true;
        }
    }
    ck_assert(found);
    ck_assert_uint_eq(offsetof(weft_engine_stats, connections_accepted), 8 + 8 + 64 * 8); /* for ever */
    ck_assert_int_eq(weft_stat_info(weft_stat_count(), &stat), WEFT_E_INVALID);
}
END_TEST

START_TEST(texts_and_units)
{
    uint64_t value;
    ck_assert_int_eq(weft_config_set(config, "max_idle_timeout", "250ms"), 0);
    ck_assert_int_eq(weft_config_get_uint(config, "max_idle_timeout", &value), 0);
    ck_assert_uint_eq(value, 250000000);
    ck_assert_int_eq(weft_config_set(config, "max_idle_timeout", "soon"), WEFT_E_VALUE);
    ck_assert_ptr_nonnull(strstr(why(), "max_idle_timeout"));
    ck_assert_ptr_nonnull(strstr(why(), "soon"));
    ck_assert_int_eq(weft_config_set(config, "colour", "red"), WEFT_E_OPTION);
    ck_assert_ptr_nonnull(strstr(why(), "colour"));
    ck_assert_int_eq(weft_config_set_uint(config, "colour", 1), WEFT_E_OPTION);
    ck_assert_int_eq(weft_config_set(config, NULL, "x"), WEFT_E_INVALID);
    char cut[5];
    ck_assert_int_gt(weft_config_error(config, cut, sizeof cut), 4);
    ck_assert_uint_eq(strlen(cut), 4);
    ck_assert_str_eq(weft_error_name(WEFT_E_VALUE), "VALUE");
    ck_assert_str_eq(weft_error_name(-999), "UNKNOWN");
    ck_assert_str_eq(weft_event_name(WEFT_EV_STREAM_OPENED), "STREAM_OPENED");
    ck_assert_str_eq(weft_event_name(15), "UNKNOWN");
    ck_assert_str_eq(weft_version_text(), WEFT_VERSION);
}
END_TEST

START_TEST(lists_that_are_none)
{
    ck_assert_int_eq(weft_config_set_alpn(config, ""), WEFT_E_TLS);
    ck_assert_int_eq(weft_config_set_alpn(config, "a,,b"), WEFT_E_TLS);
    ck_assert_int_eq(weft_config_set_alpn(config, "a,"), WEFT_E_TLS);
    ck_assert_int_eq(weft_config_set_alpn(config, "h3,hq-interop"), 0);
    ck_assert_int_eq(weft_config_set_ciphers(config, "TLS_ROT13"), WEFT_E_TLS);
    ck_assert_ptr_nonnull(strstr(why(), "TLS_ROT13"));
    ck_assert_int_eq(weft_config_set_groups(config, "X25519:P-256"), 0);
    ck_assert_int_eq(weft_config_self_signed(config, "", 1), WEFT_E_INVALID);
    ck_assert_int_eq(weft_config_self_signed(config, "a", 0), WEFT_E_INVALID);
    uint8_t sha256[32], secret[32] = {0};
    ck_assert_int_eq(weft_config_fingerprint(config, sha256), WEFT_E_STATE);
    ck_assert_int_eq(weft_config_set_ticket_secret(config, secret, 604801), WEFT_E_TLS);
    ck_assert_int_eq(weft_config_set_ticket_secret(config, secret, 3600), 0);
    weft_config other;
    ck_assert_int_eq(weft_config_new(2, &other), WEFT_E_INVALID);
}
END_TEST

START_TEST(files_and_their_faults)
{
    char path[] = "/tmp/weft-test-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(weft_config_add_certificate_files(config, "/nowhere/a.pem", path), WEFT_E_IO);
    ck_assert_ptr_nonnull(strstr(why(), "/nowhere/a.pem"));
    ck_assert_int_eq(weft_config_add_certificate_files(config, "/tmp", path), WEFT_E_IO);
    ck_assert_int_eq(weft_config_add_certificate_files(config, path, path), WEFT_E_CERTIFICATE);
    ck_assert_ptr_nonnull(strstr(why(), path));
    ck_assert_int_eq(weft_config_add_trust_file(config, path), WEFT_E_CERTIFICATE);
    ck_assert_int_eq(ftruncate(fd, 2 << 20), 0);
    ck_assert_int_eq(weft_config_add_certificate_files(config, path, path), WEFT_E_TOO_LARGE);
    ck_assert_int_eq(weft_config_set_keylog_file(config, path), 0);
    ck_assert_int_eq(weft_config_set_keylog_file(config, "/nowhere/keys"), WEFT_E_IO);
    ck_assert_int_eq(weft_config_add_certificate_files(config, "/dev/zero", "/dev/zero"), WEFT_E_CERTIFICATE);
    close(fd);
    unlink(path);
}
END_TEST

START_TEST(used_means_frozen)
{
    struct world world;
    world_open(&world);
    ck_assert_int_eq(weft_config_set(world.server_config, "pacing", "off"), WEFT_E_STATE);
    ck_assert_int_eq(weft_config_set_alpn(world.server_config, "x"), WEFT_E_STATE);
    uint64_t value;
    ck_assert_int_eq(weft_config_get_uint(world.server_config, "pacing", &value), 0);
    /* what is missing is said */
    weft_listener listener;
    char text[200];
    ck_assert_int_eq(weft_listen(world.server, config, "192.0.2.2:1", NULL, &listener), WEFT_E_TLS);
    weft_engine_error(world.server, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "ALPN"));
    ck_assert_int_eq(weft_config_set_alpn(config, "x"), 0);
    ck_assert_int_eq(weft_listen(world.server, config, "192.0.2.2:1", NULL, &listener), WEFT_E_TLS);
    weft_engine_error(world.server, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "certificate"));
    /* what does not go together, too */
    weft_config clash;
    ck_assert_int_eq(weft_config_new(WEFT_CLIENT, &clash), 0);
    ck_assert_int_eq(weft_config_set_alpn(clash, "x"), 0);
    ck_assert_int_eq(weft_config_set(clash, "careful_resume", "on"), 0);
    ck_assert_int_eq(weft_config_set(clash, "congestion_control", "bbr"), 0);
    weft_connect_params params = {.size = sizeof params};
    weft_conn conn;
    ck_assert_int_eq(weft_connect(world.client, clash, "192.0.2.2", 1, &params, &conn), WEFT_E_VALUE);
    weft_engine_error(world.client, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "cubic or newreno"));
    ck_assert_int_eq(weft_config_set(clash, "congestion_control", "newreno"), 0);
    ck_assert_int_eq(weft_config_set(clash, "pacing", "off"), 0);
    ck_assert_int_eq(weft_connect(world.client, clash, "192.0.2.2", 1, &params, &conn), WEFT_E_VALUE);
    weft_engine_error(world.client, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "pacing"));
    weft_config_free(clash);
    ck_assert_int_eq(weft_listen(world.server, world.client_config, "192.0.2.2:1", NULL, &listener), WEFT_E_TLS);
    ck_assert_int_eq(weft_listen(world.server, world.server_config, "host", NULL, &listener), WEFT_E_ADDRESS);
    weft_engine_error(world.server, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "host"));
    world_close(&world);
}
END_TEST

START_TEST(structs_of_other_versions)
{
    weft_option small = {.size = 16, .text = "untouched"};
    ck_assert_int_eq(weft_option_info(0, &small), 0);
    ck_assert_str_eq(small.text, "untouched");
    ck_assert_uint_eq(small.size, 16);
    small.size = 0;
    ck_assert_int_eq(weft_option_info(0, &small), WEFT_E_INVALID);
    struct {
        weft_engine_params known;
        uint64_t later;
    } params = {.known = {.size = sizeof params, .flags = WEFT_ENGINE_EXTERNAL}};
    weft_engine engine;
    ck_assert_int_eq(weft_engine_new(&params.known, &engine), 0);
    weft_engine_free(engine);
    params.later = 1; /* something this library does not know is asked of it */
    ck_assert_int_eq(weft_engine_new(&params.known, &engine), WEFT_E_UNSUPPORTED);
}
END_TEST

START_TEST(addresses_as_text)
{
    weft_addr addr;
    char text[WEFT_ADDR_TEXT];
    ck_assert_int_eq(weft_addr_parse("[2001:db8::1]:443", 1, &addr), 0);
    ck_assert_uint_eq(addr.port, 443);
    ck_assert_int_eq(weft_addr_format(&addr, text, sizeof text), 17);
    ck_assert_str_eq(text, "[2001:db8::1]:443");
    ck_assert_int_eq(weft_addr_format(&addr, text, 17), WEFT_E_TOO_LARGE);
    ck_assert_int_eq(weft_addr_parse("example.org", 1, &addr), WEFT_E_ADDRESS);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *all[] = {introspection_is_the_table,
                          counters_have_names_and_places,
                          texts_and_units,
                          lists_that_are_none,
                          files_and_their_faults,
                          used_means_frozen,
                          structs_of_other_versions,
                          addresses_as_text};
    Suite *suite = suite_create("abi/config");
    TCase *tests = tcase_create("config");
    tcase_add_checked_fixture(tests, setup, teardown);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tcase_add_test(tests, all[i]);
    suite_add_tcase(suite, tests);
    return suite;
}
