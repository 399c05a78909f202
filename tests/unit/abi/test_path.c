/* Tests of path.c: moves of a client over real sockets and with external I/O, the preferred address, news of paths,
 * sockets that go when they are left. */
#include <dirent.h>
#include <stdio.h>

#include "world.h"

static weft_config client_config, server_config;
static weft_engine engine;
static weft_conn client;
static bool confirmed, closed;
static uint32_t moves, validated, failed;
static weft_addr active_local, active_remote;

static unsigned descriptors(void) {
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    ck_assert_ptr_nonnull(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static void on_confirmed(void *user, weft_conn conn) {
    (void)user;
    (void)conn;
    confirmed = true;
}

static void on_path_news(void *user, weft_conn conn) {
    weft_path_news news = {.size = sizeof news};
    (void)user;
    while (weft_conn_path_news(conn, &news) == 1) {
        validated += news.news == WEFT_PATH_VALIDATED;
        failed += news.news == WEFT_PATH_FAILED;
        if (news.news != WEFT_PATH_ACTIVE)
            continue;
        moves++;
        active_local = news.local;
        active_remote = news.remote;
    }
}

static void on_closed(void *user, weft_conn conn, const weft_close *close) {
    (void)user;
    (void)conn;
    ck_assert_int_eq(close->error, WEFT_OK);
    closed = true;
}

static const weft_conn_callbacks table = {
    .size = sizeof table, .on_confirmed = on_confirmed, .on_path_news = on_path_news, .on_closed = on_closed};
static const weft_conn_callbacks server_table = {.size = sizeof server_table};

static void setup(void) {
    struct world configs;
    world_configs(&configs);
    client_config = configs.client_config;
    server_config = configs.server_config;
    confirmed = closed = false;
    moves = validated = failed = 0;
    weft_engine_params params = {.size = sizeof params};
    ck_assert_int_eq(weft_engine_new(&params, &engine), 0);
}

static void teardown(void) {
    weft_engine_free(engine);
    weft_config_free(client_config);
    weft_config_free(server_config);
}

static weft_listener serve(const char *text, weft_addr *address) {
    weft_listener listener;
    weft_listen_params listen = {.size = sizeof listen, .conn_callbacks = &server_table};
    ck_assert_int_eq(weft_listen(engine, server_config, text, &listen, &listener), 0);
    ck_assert_int_eq(weft_listener_address(listener, address), 0);
    return listener;
}

static void dial(uint16_t port) {
    weft_connect_params connect = {.size = sizeof connect, .server_name = "example.test", .callbacks = &table};
    ck_assert_int_eq(weft_connect(engine, client_config, "127.0.0.1", port, &connect, &client), 0);
}

static void turn_until(const bool *flag) {
    while (!*flag)
        ck_assert_int_ge(weft_engine_turn(engine), 0);
}

static void turn_until_moves(uint32_t count) {
    while (moves < count)
        ck_assert_int_ge(weft_engine_turn(engine), 0);
}

/* Each path that was used tells of itself, the one in use first; together they are what the connection counts. */
static void expect_paths(void) {
    weft_conn_stats stats = {.size = sizeof stats};
    weft_path_stats path = {.size = sizeof path}, sum = {0};
    uint32_t count = 0, challenged = 0;
    ck_assert_int_eq(weft_conn_get_stats(client, &stats), 0);
    for (; weft_conn_get_path_stats(client, count, &path) == 1; count++) {
        ck_assert((path.use == WEFT_PATH_IN_USE) == (count == 0));
        ck_assert_uint_ne(path.local.port, 0);
        sum.packets_sent += path.packets_sent;
        sum.packets_received += path.packets_received;
        sum.bytes_sent += path.bytes_sent;
        sum.bytes_received += path.bytes_received;
        challenged += path.challenges_sent > 0;
        if (count == 0)
            ck_assert_uint_eq(path.local.ip[3], 2);
    }
    ck_assert_uint_eq(count, 3);
    ck_assert_uint_ge(challenged, 2);
    ck_assert_uint_eq(sum.packets_sent, stats.packets_sent);
    ck_assert_uint_eq(sum.packets_received, stats.packets_received);
    ck_assert_uint_eq(sum.bytes_sent, stats.bytes_sent);
    ck_assert_uint_eq(sum.bytes_received, stats.bytes_received);
}

START_TEST(a_client_moves)
{
    weft_addr address;
    serve("127.0.0.1:0", &address);
    dial(address.port);
    ck_assert_int_eq(weft_conn_migrate(client, NULL), WEFT_E_STATE);
    turn_until(&confirmed);
    while (weft_conn_migrate(client, NULL) == WEFT_E_BLOCKED) /* IDs are on their way */
        weft_engine_turn(engine);
    turn_until_moves(1);
    uint16_t port = active_local.port;
    ck_assert_uint_ne(port, 0);
    ck_assert_uint_eq(active_remote.port, address.port);
    while (weft_conn_migrate(client, "127.0.0.2") == WEFT_E_BLOCKED)
        weft_engine_turn(engine);
    turn_until_moves(2);
    ck_assert_uint_eq(active_local.ip[3], 2);
    weft_path path = {.size = sizeof path};
    ck_assert_int_eq(weft_conn_get_path(client, &path), 0);
    ck_assert_uint_eq(path.local.ip[3], 2);
    ck_assert_uint_eq(path.validated, 1);
    ck_assert_uint_eq(validated, 2);
    ck_assert_uint_eq(failed, 0);
    unsigned open = descriptors();
    while (descriptors() >= open) /* the socket of the first move goes */
        ck_assert_int_ge(weft_engine_turn(engine), 0);
    ck_assert_int_eq(weft_conn_ping(client), 0);
    expect_paths();
    ck_assert_int_eq(weft_conn_keep(client), 0);
    ck_assert_int_eq(weft_conn_close(client, 0, NULL), 0);
    turn_until(&closed);
    expect_paths();
    ck_assert_int_eq(weft_conn_release(client), 0);
}
END_TEST

START_TEST(what_a_move_refuses)
{
    weft_addr address;
    serve("127.0.0.1:0", &address);
    dial(address.port);
    turn_until(&confirmed);
    unsigned open = descriptors();
    ck_assert_int_eq(weft_conn_migrate(client, "somewhere"), WEFT_E_ADDRESS);
    ck_assert_int_eq(weft_conn_migrate(client, "::1"), WEFT_E_ADDRESS); /* not the family in use */
    ck_assert_int_lt(weft_conn_migrate(client, "192.0.2.77"), 0);       /* nobody's here */
    ck_assert_int_eq(weft_conn_path_news(client, NULL), WEFT_E_INVALID);
    weft_engine_turn(engine);
    ck_assert_uint_eq(descriptors(), open);
    ck_assert_int_eq(weft_conn_close(client, 0, NULL), 0);
    ck_assert_int_eq(weft_conn_migrate(client, NULL), WEFT_E_CLOSED);
    turn_until(&closed);
    ck_assert_int_eq(weft_conn_migrate(client, NULL), WEFT_E_GONE);
}
END_TEST

START_TEST(clients_go_where_the_server_wants_them)
{
    weft_addr first, second;
    char text[64];
    ck_assert_int_eq(weft_config_set_preferred_address(server_config, "127.0.0.3", NULL), WEFT_E_ADDRESS); /* no port */
    ck_assert_int_eq(weft_config_set_preferred_address(server_config, "[::1]:1", NULL), WEFT_E_ADDRESS);
    ck_assert_int_eq(weft_config_set_preferred_address(server_config, NULL, "127.0.0.3:1"), WEFT_E_ADDRESS);
    weft_listener second_listener; /* of another configuration: this one must not be in use yet */
    struct world configs;
    world_configs(&configs);
    weft_listen_params listen = {.size = sizeof listen, .conn_callbacks = &server_table};
    ck_assert_int_eq(weft_listen(engine, configs.server_config, "127.0.0.3:0", &listen, &second_listener), 0);
    ck_assert_int_eq(weft_listener_address(second_listener, &second), 0);
    snprintf(text, sizeof text, "127.0.0.3:%u", second.port);
    ck_assert_int_eq(weft_config_set_preferred_address(server_config, text, NULL), 0);
    serve("127.0.0.1:0", &first);
    dial(first.port);
    turn_until_moves(1);
    ck_assert_uint_eq(active_remote.port, second.port);
    ck_assert_uint_eq(active_remote.ip[3], 3);
    ck_assert_int_eq(weft_conn_close(client, 0, NULL), 0);
    turn_until(&closed);
    weft_config_free(configs.client_config);
    weft_config_free(configs.server_config);
}
END_TEST

START_TEST(with_external_io_an_address_is_all)
{
    static struct world world;
    world_open(&world);
    weft_conn conn = world_connect(&world, NULL);
    world_run(&world, world.now + 100000000);
    ck_assert_int_eq(weft_conn_migrate(conn, NULL), WEFT_E_INVALID);
    ck_assert_int_eq(weft_conn_migrate(conn, "192.0.2.1"), WEFT_E_ADDRESS);
    ck_assert_int_eq(weft_conn_probe(conn, "192.0.2.1:6000"), 0);
    world_run(&world, world.now + 3000000000u);
    ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_PATH_NEWS), 1);
    ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_PATH), 0);
    weft_path_news news = {.size = sizeof news};
    ck_assert_int_eq(weft_conn_path_news(conn, &news), 1);
    ck_assert_uint_eq(news.news, WEFT_PATH_VALIDATED);
    ck_assert_uint_eq(news.local.port, 6000);
    ck_assert_int_eq(weft_conn_path_news(conn, &news), 0);
    ck_assert_int_eq(weft_conn_migrate(conn, "192.0.2.1:6000"), 0);
    weft_path path = {.size = sizeof path};
    ck_assert_int_eq(weft_conn_get_path(conn, &path), 0);
    ck_assert_uint_eq(path.local.port, 6000);
    world_run(&world, world.now + 3000000000u);
    ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_PATH), 1);
    ck_assert_uint_ge(world_count(&world.server_log, WEFT_EV_PATH), 1); /* it followed */
    world_close(&world);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("abi/path");
    TCase *tcase = tcase_create("path");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_client_moves);
    tcase_add_test(tcase, what_a_move_refuses);
    tcase_add_test(tcase, clients_go_where_the_server_wants_them);
    tcase_add_test(tcase, with_external_io_an_address_is_all);
    suite_add_tcase(suite, tcase);
    return suite;
}
