/* qlogs through the ABI: to a callback, to a directory, to both; who is named; what a callback may not do; what is
 * refused. */
#include <stdio.h>
#include <unistd.h>

#include "world.h"

struct taken {
    char data[1 << 18];
    size_t len;
    uint32_t pieces, last, role, odcid_len;
    uint8_t odcid[20];
    weft_conn conn;
    int32_t inner, result;
};

static struct world world;
static struct taken client, server;

static int32_t take(void *user, const weft_qlog *qlog) {
    struct taken *taken = (struct taken *)user;
    weft_conn_stats stats = {.size = sizeof stats};
    ck_assert_uint_eq(qlog->size, sizeof *qlog);
    ck_assert_uint_eq(taken->last, 0);
    ck_assert_uint_eq(qlog->last, qlog->len == 0);
    ck_assert_uint_lt(taken->len + qlog->len, sizeof taken->data);
    if (qlog->len)
        memcpy(taken->data + taken->len, qlog->data, qlog->len);
    taken->len += qlog->len;
    taken->data[taken->len] = 0;
    taken->pieces++;
    taken->last = qlog->last;
    taken->role = qlog->role;
    taken->odcid_len = qlog->odcid_len;
    memcpy(taken->odcid, qlog->odcid, qlog->odcid_len);
    if (qlog->conn.id) {
        taken->conn = qlog->conn;
        taken->inner = weft_conn_get_stats(qlog->conn, &stats);
    }
    return taken->result;
}

static void setup(void) {
    memset(&client, 0, sizeof client);
    memset(&server, 0, sizeof server);
    memset(&world, 0, sizeof world);
    world.now = 1000000000;
    world_configs(&world);
}

static void start(void) {
    world.client = world_engine(&world, &world.client_log);
    world.server = world_engine(&world, &world.server_log);
    ck_assert_int_eq(weft_listen(world.server, world.server_config, "192.0.2.2:443", NULL, &world.listener), 0);
}

START_TEST(both_sides_tell)
{
    ck_assert_int_eq(weft_config_set_qlog(world.client_config, take, &client), 0);
    ck_assert_int_eq(weft_config_set_qlog(world.server_config, take, &server), 0);
    start();
    weft_conn conn = world_connect(&world, NULL);
    weft_conn_close(conn, 7, "enough");
    world_run(&world, world.now + 100000000000);
    ck_assert_uint_eq(client.last, 1);
    ck_assert_uint_eq(server.last, 1);
    ck_assert_uint_eq(client.role, WEFT_CLIENT);
    ck_assert_uint_eq(server.role, WEFT_SERVER);
    ck_assert_uint_eq(client.odcid_len, 8);
    ck_assert_mem_eq(client.odcid, server.odcid, 8);
    ck_assert_int_eq(client.data[0], 0x1e);
    ck_assert_ptr_nonnull(strstr(client.data, "\"type\":\"client\""));
    ck_assert_ptr_nonnull(strstr(client.data,
                                 "\"initiator\":\"local\",\"application_error\":\"unknown\",\"error_code\":7,"
                                 "\"reason\":\"enough\",\"trigger\":\"application\""));
    ck_assert_ptr_nonnull(
        strstr(server.data, "\"initiator\":\"remote\",\"application_error\":\"unknown\",\"error_code\":7"));
    world_close(&world);
}
END_TEST

START_TEST(the_connection_is_named_and_calls_are_refused)
{
    ck_assert_int_eq(weft_config_set_qlog(world.client_config, take, &client), 0);
    start();
    weft_conn conn = world_connect(&world, NULL);
    world_run(&world, world.now + 5000000000); /* it rests, and hands over what there is */
    ck_assert_uint_gt(client.len, 0);
    ck_assert_uint_eq(client.conn.id, conn.id);
    ck_assert_int_eq(client.inner, WEFT_E_STATE);
    ck_assert_uint_eq(client.last, 0);
    world_close(&world);
    ck_assert_uint_eq(client.last, 1); /* the engine's end is the log's */
}
END_TEST

START_TEST(what_is_not_taken_is_counted)
{
    client.result = 1;
    ck_assert_int_eq(weft_config_set_qlog(world.client_config, take, &client), 0);
    start();
    weft_conn conn = world_connect(&world, NULL);
    ck_assert_int_eq(weft_conn_keep(conn), 0);
    world_run(&world, world.now + 5000000000);
    weft_conn_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(weft_conn_get_stats(conn, &stats), 0);
    ck_assert_uint_gt(stats.qlog_dropped, 10);
    weft_conn_close(conn, 0, NULL);
    world_run(&world, world.now + 100000000000);
    ck_assert_int_eq(weft_conn_get_stats(conn, &stats), 0); /* readable after the end */
    ck_assert_uint_gt(stats.qlog_dropped, 10);
    weft_engine_stats engine = {.size = sizeof engine};
    ck_assert_int_eq(weft_engine_get_stats(world.client, &engine), 0);
    ck_assert_uint_ge(engine.conns.qlog_dropped, stats.qlog_dropped);
    weft_conn_release(conn);
    world_close(&world);
}
END_TEST

START_TEST(files_and_callback)
{
    char where[] = "/tmp/weft-abi-qlog-XXXXXX", path[128], hex[17];
    ck_assert_ptr_nonnull(mkdtemp(where));
    ck_assert_int_eq(weft_config_set_qlog(world.client_config, take, &client), 0);
    ck_assert_int_eq(weft_config_set_qlog_dir(world.client_config, where), 0);
    start();
    weft_conn conn = world_connect(&world, NULL);
    weft_conn_close(conn, 0, NULL);
    world_run(&world, world.now + 100000000000);
    world_close(&world); /* frees the configurations: all is written */
    for (unsigned i = 0; i < 8; i++)
        snprintf(hex + 2 * i, 3, "%02x", client.odcid[i]);
    snprintf(path, sizeof path, "%s/%s_client.sqlog", where, hex);
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s", path);
    static char text[1 << 18];
    size_t len = fread(text, 1, sizeof text, file);
    fclose(file);
    ck_assert_uint_eq(len, client.len);
    ck_assert_mem_eq(text, client.data, len);
    unlink(path);
    rmdir(where);
}
END_TEST

START_TEST(what_is_refused)
{
    char text[200];
    ck_assert_int_eq(weft_config_set_qlog_dir(world.client_config, "/nowhere/at/all"), WEFT_E_IO);
    weft_config_error(world.client_config, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "/nowhere/at/all"));
    ck_assert_int_eq(weft_config_set_qlog_dir(world.client_config, NULL), 0);
    ck_assert_int_eq(weft_config_set_qlog(world.client_config, take, &client), 0);
    ck_assert_int_eq(weft_config_set_qlog(world.client_config, NULL, NULL), 0);
    ck_assert_uint_eq(weft_has_feature("qlog"), 1);
    start();
    world_connect(&world, NULL);
    ck_assert_int_eq(weft_config_set_qlog(world.client_config, take, &client), WEFT_E_STATE);
    ck_assert_int_eq(weft_config_set_qlog_dir(world.client_config, "/tmp"), WEFT_E_STATE);
    world_close(&world);
    ck_assert_uint_eq(client.pieces, 0);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("abi_qlog");
    TCase *tcase = tcase_create("qlog");
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, both_sides_tell);
    tcase_add_test(tcase, the_connection_is_named_and_calls_are_refused);
    tcase_add_test(tcase, what_is_not_taken_is_counted);
    tcase_add_test(tcase, files_and_callback);
    tcase_add_test(tcase, what_is_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
