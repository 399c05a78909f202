/* Tests of conn.c, info.c and listener.c: ways into life and out of it, what can be asked, sessions, early data. */
#include "world.h"

static struct world world;

static void setup(void) { world_open(&world); }
static void teardown(void) { world_close(&world); }

static void run(uint64_t ns) { world_run(&world, world.now + ns); }

START_TEST(closed_before_anything_happened)
{
    weft_conn conn;
    ck_assert_int_eq(weft_connect(world.client, world.client_config, "192.0.2.9", 1, NULL, &conn), 0);
    weft_conn_info info = {.size = sizeof info};
    ck_assert_int_eq(weft_conn_get_info(conn, &info), 0);
    ck_assert_uint_eq(info.state, WEFT_CONN_CONNECTING);
    ck_assert_uint_eq(info.role, WEFT_CLIENT);
    weft_stream stream;
    ck_assert_int_eq(weft_stream_open(conn, WEFT_BIDI, NULL, &stream), WEFT_E_STATE);
    ck_assert_int_eq(weft_conn_close(conn, 9, "never mind"), 0);
    ck_assert_int_eq(weft_conn_close(conn, 9, NULL), WEFT_E_CLOSED);
    ck_assert_uint_eq(world.client_log.count, 0); /* told in a turn, not before */
    run(1000000);
    ck_assert_uint_eq(world.client_log.count, 1);
    const weft_event *closed = &world.client_log.events[0];
    ck_assert_uint_eq(closed->type, WEFT_EV_CONN_CLOSED);
    ck_assert_uint_eq(closed->cause, WEFT_CAUSE_LOCAL);
    ck_assert_uint_eq(closed->code, 9);
    ck_assert_int_eq(closed->error, 0);
    ck_assert_int_eq(weft_conn_ping(conn), WEFT_E_GONE);
}
END_TEST

START_TEST(nobody_answers)
{
    weft_conn conn;
    ck_assert_int_eq(weft_connect(world.client, world.client_config, "192.0.2.2", 444, NULL, &conn), 0);
    ck_assert_int_eq(weft_conn_keep(conn), 0);
    weft_engine_free(world.server);
    world.server.id = 0;
    for (int i = 0; i < 200 && !world.client_log.count; i++) {
        weft_datagram datagram = {.data = calloc(1, WEFT_TRAIN_SIZE)};
        weft_engine_turn(world.client);
        while (weft_engine_output(world.client, &datagram) == 1)
            datagram.segment = 0;
        free(datagram.data);
        world.now += 100000000;
    }
    ck_assert_uint_eq(world.client_log.count, 1);
    weft_close close = {.size = sizeof close};
    ck_assert_int_eq(weft_conn_get_close(conn, &close), 0);
    ck_assert_uint_eq(close.cause, WEFT_CAUSE_HANDSHAKE_TIMEOUT);
    ck_assert_int_eq(close.error, WEFT_E_TIMEOUT);
    ck_assert_int_eq(weft_conn_release(conn), 0);
    ck_assert_int_eq(weft_conn_release(conn), WEFT_E_GONE);
}
END_TEST

START_TEST(names_need_somebody_to_ask)
{
    weft_conn conn;
    ck_assert_int_eq(weft_connect(world.client, world.client_config, "example.org", 1, NULL, &conn),
                     WEFT_E_UNSUPPORTED);
    ck_assert_int_eq(weft_connect(world.client, world.server_config, "192.0.2.2", 1, NULL, &conn), WEFT_E_TLS);
    ck_assert_int_eq(weft_connect(world.client, (weft_config){0}, "192.0.2.2", 1, NULL, &conn), WEFT_E_HANDLE);
    ck_assert_int_eq(weft_connect(world.client, world.client_config, NULL, 1, NULL, &conn), WEFT_E_INVALID);
    weft_connect_params params = {.size = sizeof params, .family = 5};
    ck_assert_int_eq(weft_connect(world.client, world.client_config, "192.0.2.2", 1, &params, &conn), WEFT_E_INVALID);
}
END_TEST

static void look(weft_conn conn, uint8_t role) {
    weft_conn_info info = {.size = sizeof info};
    ck_assert_int_eq(weft_conn_get_info(conn, &info), 0);
    ck_assert_uint_eq(info.role, role);
    ck_assert_uint_eq(info.state, WEFT_CONN_OPEN);
    ck_assert_uint_eq(info.version, 1);
    ck_assert_str_eq(info.alpn, "echo");
    ck_assert_str_eq(info.server_name, "example.test");
    ck_assert_str_eq(info.cipher, "TLS_AES_128_GCM_SHA256");
    ck_assert_str_ne(info.group, "");
    ck_assert_uint_eq(info.remote.port, role == WEFT_CLIENT ? 443 : 5000);
    ck_assert_uint_eq(info.listener.id, role == WEFT_CLIENT ? 0 : world.listener.id);
    ck_assert_uint_gt(info.connected_at, 0);
    ck_assert_uint_eq(info.peer_initial_max_streams_bidi, 128);
}

START_TEST(what_can_be_asked)
{
    weft_conn conn = world_connect(&world, NULL);
    weft_conn peer = world_find(&world.server_log, WEFT_EV_ACCEPTED, NULL)->conn;
    look(conn, WEFT_CLIENT);
    look(peer, WEFT_SERVER);
    uint8_t certificate[4096];
    int64_t len = weft_conn_peer_certificate(conn, NULL, 0);
    ck_assert_int_gt(len, 100);
    certificate[0] = 0xee;
    ck_assert_int_eq(weft_conn_peer_certificate(conn, certificate, 8), len);
    ck_assert_uint_eq(certificate[0], 0xee);
    ck_assert_int_eq(weft_conn_peer_certificate(conn, certificate, sizeof certificate), len);
    ck_assert_uint_eq(certificate[0], 0x30);
    ck_assert_int_eq(weft_conn_peer_certificate(peer, NULL, 0), 0);
    weft_path path = {.size = sizeof path};
    ck_assert_int_eq(weft_conn_get_path(conn, &path), 0);
    ck_assert_uint_gt(path.congestion_window, 10000);
    ck_assert_uint_eq(path.validated, 1);
    ck_assert_int_eq(weft_conn_ping(conn), 0);
    ck_assert_int_eq(weft_conn_update_keys(conn), 0);
    run(100000000);
    weft_conn_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(weft_conn_get_stats(conn, &stats), 0);
    ck_assert_uint_gt(stats.packets_sent, 2);
    ck_assert_uint_eq(stats.key_updates, 1);
    weft_engine_stats all = {.size = sizeof all};
    ck_assert_int_eq(weft_engine_get_stats(world.client, &all), 0);
    ck_assert_uint_eq(all.conns.packets_sent, stats.packets_sent);
    ck_assert_uint_eq(all.connections, 1);
    ck_assert_uint_eq(all.handshakes_completed, 1);
    uint8_t key[32];
    ck_assert_int_eq(weft_conn_export(conn, "EXPORTER-test", NULL, 0, key, sizeof key), 0);
}
END_TEST

static uint8_t exported[2][32];

static void export_key(void *user, weft_conn conn) {
    ck_assert_int_eq(weft_conn_export(conn, "EXPORTER-test", "c", 1, user, 32), 0);
}

static void export_accepted(void *user, weft_listener listener, weft_conn conn) {
    static const weft_conn_callbacks table = {.size = sizeof table, .on_connected = export_key};
    (void)listener;
    ck_assert_int_eq(weft_conn_set_callbacks(conn, &table), 0);
    ck_assert_int_eq(weft_conn_set_user(conn, user), 0);
}

START_TEST(both_sides_export_the_same)
{
    static const weft_conn_callbacks table = {.size = sizeof table, .on_connected = export_key};
    static const weft_listener_callbacks accept = {.size = sizeof accept, .on_accept = export_accepted};
    weft_listen_params listen = {.size = sizeof listen, .callbacks = &accept, .user = exported[1]};
    weft_listener listener;
    ck_assert_int_eq(weft_listen(world.server, world.server_config, "192.0.2.2:444", &listen, &listener), 0);
    weft_connect_params params = {
        .size = sizeof params, .server_name = "example.test", .callbacks = &table, .user = exported[0]};
    weft_conn conn;
    ck_assert_int_eq(weft_connect(world.client, world.client_config, "192.0.2.2", 444, &params, &conn), 0);
    run(1000000000);
    static const uint8_t zero[32];
    ck_assert_mem_ne(exported[0], zero, 32);
    ck_assert_mem_eq(exported[0], exported[1], 32);
}
END_TEST

START_TEST(kept_connections_answer_after_their_end)
{
    weft_conn conn = world_connect(&world, NULL);
    ck_assert_int_eq(weft_conn_release(conn), WEFT_E_STATE);
    ck_assert_int_eq(weft_conn_keep(conn), 0);
    ck_assert_int_eq(weft_conn_keep(conn), 0);
    run(100000000);
    weft_conn_info before = {.size = sizeof before}, after = {.size = sizeof after};
    ck_assert_int_eq(weft_conn_get_info(conn, &before), 0);
    int64_t certificate = weft_conn_peer_certificate(conn, NULL, 0), session = weft_conn_session(conn, NULL, 0);
    ck_assert_int_gt(session, 0);
    uint64_t closed_at = world.now;
    ck_assert_int_eq(weft_conn_close(conn, 3, "enough"), 0);
    run(10000000000);
    ck_assert_int_eq(weft_conn_get_info(conn, &after), 0);
    ck_assert_uint_eq(after.state, WEFT_CONN_CLOSED);
    /* RFC 9000 10.2: three probe timeouts, at most those of a connection that has no round trip measured. */
    ck_assert_uint_eq(before.closing_until, 0);
    ck_assert_uint_gt(after.closing_until, closed_at);
    ck_assert_uint_le(after.closing_until, closed_at + 3000000000);
    after.state = before.state;
    after.closing_until = 0;
    ck_assert_mem_eq(&before, &after, sizeof before);
    ck_assert_int_eq(weft_conn_peer_certificate(conn, NULL, 0), certificate);
    ck_assert_int_eq(weft_conn_session(conn, NULL, 0), session);
    weft_conn_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(weft_conn_get_stats(conn, &stats), 0);
    ck_assert_uint_gt(stats.packets_sent, 0);
    weft_path_stats path = {.size = sizeof path}; /* one path, which was all the connection had */
    ck_assert_int_eq(weft_conn_get_path_stats(conn, 1, &path), 0);
    ck_assert_int_eq(weft_conn_get_path_stats(conn, 0, &path), 1);
    ck_assert_uint_eq(path.use, WEFT_PATH_IN_USE);
    ck_assert_mem_eq(&path.remote, &before.remote, sizeof path.remote);
    ck_assert_uint_gt(path.rtt, 0);
    ck_assert_uint_gt(path.rtt_samples, 0);
    ck_assert_uint_eq(path.packets_sent, stats.packets_sent);
    ck_assert_uint_eq(path.packets_received, stats.packets_received);
    ck_assert_uint_eq(path.bytes_sent, stats.bytes_sent);
    ck_assert_uint_eq(path.bytes_received, stats.bytes_received);
    ck_assert_uint_eq(path.datagrams_sent, stats.datagrams_sent);
    ck_assert_uint_eq(path.datagrams_received, stats.datagrams_received);
    path.size = 2;
    ck_assert_int_eq(weft_conn_get_path_stats(conn, 0, &path), WEFT_E_INVALID);
    weft_close close = {.size = sizeof close};
    ck_assert_int_eq(weft_conn_get_close(conn, &close), 0);
    ck_assert_uint_eq(close.code, 3);
    ck_assert_str_eq(close.reason, "enough");
    ck_assert_int_eq(weft_conn_close(conn, 0, NULL), WEFT_E_CLOSED);
    ck_assert_int_eq(weft_conn_ping(conn), WEFT_E_CLOSED);
    ck_assert_int_eq(weft_conn_release(conn), 0);
    ck_assert_int_eq(weft_conn_get_close(conn, &close), 0);
    ck_assert_int_eq(weft_conn_release(conn), 0);
    ck_assert_int_eq(weft_conn_get_close(conn, &close), WEFT_E_GONE);
}
END_TEST

START_TEST(sessions_are_resumed)
{
    weft_conn conn = world_connect(&world, NULL);
    run(100000000);
    ck_assert_uint_ge(world_count(&world.client_log, WEFT_EV_SESSION), 1);
    ck_assert_uint_ge(world_count(&world.client_log, WEFT_EV_TOKEN), 1);
    uint8_t session[8192], token[512];
    weft_connect_params params = {
        .size = sizeof params, .server_name = "example.test", .session = session, .token = token};
    params.session_len = (size_t)weft_conn_session(conn, session, sizeof session);
    params.token_len = (size_t)weft_conn_token(conn, token, sizeof token);
    ck_assert_uint_gt(params.session_len, 0);
    ck_assert_uint_gt(params.token_len, 0);
    ck_assert_uint_lt(params.session_len, sizeof session);
    weft_conn again = world_connect(&world, &params);
    weft_conn_info info = {.size = sizeof info};
    ck_assert_int_eq(weft_conn_get_info(again, &info), 0);
    ck_assert_uint_eq(info.resumed, 1);
    ck_assert_uint_eq(info.early, WEFT_EARLY_NONE);
}
END_TEST

static unsigned replay_calls;
static int32_t judge_replay(void *user, const uint8_t id[16], uint32_t seconds) {
    ck_assert_uint_gt(seconds, 0);
    ck_assert_ptr_nonnull(id);
    replay_calls++;
    return *(int32_t *)user;
}

/* A fleet's register of tickets decides about early data; without it a full handshake carries the same bytes. */
static void try_early_with_register(int32_t answer, uint32_t expected) {
    world_close(&world);
    memset(&world, 0, sizeof world);
    world.now = 1000000000;
    replay_calls = 0;
    world_configs(&world);
    ck_assert_int_eq(weft_config_set(world.client_config, "early_data", "on"), 0);
    ck_assert_int_eq(weft_config_set(world.server_config, "early_data", "on"), 0);
    ck_assert_int_eq(weft_config_set_replay_callback(world.server_config, judge_replay, &answer), 0);
    world.client = world_engine(&world, &world.client_log);
    world.server = world_engine(&world, &world.server_log);
    ck_assert_int_eq(weft_listen(world.server, world.server_config, "192.0.2.2:443", NULL, &world.listener), 0);
    weft_conn conn = world_connect(&world, NULL), again;
    run(100000000);
    uint8_t session[8192];
    weft_connect_params params = {.size = sizeof params, .server_name = "example.test", .session = session};
    params.session_len = (size_t)weft_conn_session(conn, session, sizeof session);
    ck_assert_int_eq(weft_connect(world.client, world.client_config, "192.0.2.2", 443, &params, &again), 0);
    weft_stream stream;
    ck_assert_int_eq(weft_stream_open(again, WEFT_UNI, NULL, &stream), 0);
    ck_assert_int_eq(weft_stream_write(stream, "early", 5, WEFT_FIN), 5);
    run(200000000);
    weft_conn_info info = {.size = sizeof info};
    ck_assert_int_eq(weft_conn_get_info(again, &info), 0);
    ck_assert_uint_eq(info.early, expected);
    ck_assert_uint_eq(replay_calls, 1);
    ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_FINISHED), 1);
}

START_TEST(a_register_of_tickets_decides_about_early_data)
{
    try_early_with_register(1, WEFT_EARLY_ACCEPTED);
    try_early_with_register(0, WEFT_EARLY_REJECTED);
}
END_TEST

START_TEST(features_have_names)
{
    ck_assert_uint_eq(weft_has_feature("quic-v2"), 1);
    ck_assert_uint_eq(weft_has_feature("telepathy"), 0);
    ck_assert_uint_eq(weft_has_feature(NULL), 0);
}
END_TEST

START_TEST(early_data_goes_with_the_first_packet)
{
    world_close(&world);
    memset(&world, 0, sizeof world);
    world.now = 1000000000;
    world_configs(&world);
    ck_assert_int_eq(weft_config_set(world.client_config, "early_data", "on"), 0);
    ck_assert_int_eq(weft_config_set(world.server_config, "early_data", "on"), 0);
    world.client = world_engine(&world, &world.client_log);
    world.server = world_engine(&world, &world.server_log);
    ck_assert_int_eq(weft_listen(world.server, world.server_config, "192.0.2.2:443", NULL, &world.listener), 0);
    weft_conn conn = world_connect(&world, NULL), again;
    run(100000000);
    uint8_t session[8192];
    weft_connect_params params = {.size = sizeof params, .server_name = "example.test", .session = session};
    params.session_len = (size_t)weft_conn_session(conn, session, sizeof session);
    ck_assert_int_eq(weft_connect(world.client, world.client_config, "192.0.2.2", 443, &params, &again), 0);
    weft_stream stream;
    ck_assert_int_eq(weft_stream_open(again, WEFT_UNI, NULL, &stream), 0);
    ck_assert_int_eq(weft_stream_write(stream, "early", 5, WEFT_FIN), 5);
    world_step(&world); /* the server has the first flight, the client has heard nothing yet */
    const weft_event *data = world_find(&world.server_log, WEFT_EV_DATA, NULL);
    ck_assert_ptr_nonnull(data);
    ck_assert_uint_eq(data->len, 5);
    run(100000000);
    weft_conn_info info = {.size = sizeof info};
    ck_assert_int_eq(weft_conn_get_info(again, &info), 0);
    ck_assert_uint_eq(info.resumed, 1);
    ck_assert_uint_eq(info.early, WEFT_EARLY_ACCEPTED);
    ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_FINISHED), 1);
}
END_TEST

START_TEST(wrong_certificates_are_named)
{
    weft_config config;
    uint8_t sha256[32] = {1};
    ck_assert_int_eq(weft_config_new(WEFT_CLIENT, &config), 0);
    ck_assert_int_eq(weft_config_set_alpn(config, "echo"), 0);
    ck_assert_int_eq(weft_config_add_pin(config, sha256), 0);
    weft_conn conn;
    ck_assert_int_eq(weft_connect(world.client, config, "192.0.2.2", 443, NULL, &conn), 0);
    ck_assert_int_eq(weft_config_free(config), 0); /* the connection keeps it */
    run(2000000000);
    const weft_event *closed = world_find(&world.client_log, WEFT_EV_CONN_CLOSED, NULL);
    ck_assert_ptr_nonnull(closed);
    ck_assert_uint_eq(closed->cause, WEFT_CAUSE_PROTOCOL);
    ck_assert_int_eq(closed->error, WEFT_E_CERTIFICATE);
    ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_CONNECTED), 0);
}
END_TEST

/* ---- listeners ---- */

START_TEST(listeners_stop_and_close)
{
    weft_conn conn = world_connect(&world, NULL), late;
    uint32_t count;
    weft_addr addr;
    ck_assert_int_eq(weft_listener_connections(world.listener, &count), 0);
    ck_assert_uint_eq(count, 1);
    ck_assert_int_eq(weft_listener_address(world.listener, &addr), 0);
    ck_assert_uint_eq(addr.port, 443);
    ck_assert_int_eq(weft_listener_stop(world.listener), 0);
    ck_assert_int_eq(weft_connect(world.client, world.client_config, "192.0.2.2", 443, NULL, &late), 0);
    run(1000000000);
    uint32_t from = 0;
    const weft_event *refused = world_find(&world.client_log, WEFT_EV_CONN_CLOSED, &from);
    ck_assert_ptr_nonnull(refused);
    ck_assert_uint_eq(refused->conn.id, late.id);
    ck_assert_uint_eq(refused->code, 2); /* CONNECTION_REFUSED */
    ck_assert_int_eq(weft_conn_ping(conn), 0);
    ck_assert_int_eq(weft_listener_close(world.listener, 21), 0);
    ck_assert_int_eq(weft_listener_close(world.listener, 21), WEFT_E_CLOSED);
    ck_assert_int_eq(weft_listener_address(world.listener, &addr), WEFT_E_CLOSED);
    ck_assert_uint_eq(world_count(&world.server_log, WEFT_EV_LISTENER_CLOSED), 0);
    run(30000000000);
    const weft_event *closed = world_find(&world.client_log, WEFT_EV_CONN_CLOSED, &from);
    ck_assert_ptr_nonnull(closed);
    ck_assert_uint_eq(closed->code, 21);
    ck_assert_uint_eq(world_count(&world.server_log, WEFT_EV_LISTENER_CLOSED), 1);
    ck_assert_int_eq(weft_listener_stop(world.listener), WEFT_E_GONE);
}
END_TEST

START_TEST(reloading_changes_the_certificate)
{
    weft_config fresh;
    uint8_t sha256[32];
    ck_assert_int_eq(weft_config_new(WEFT_SERVER, &fresh), 0);
    ck_assert_int_eq(weft_config_set_alpn(fresh, "echo"), 0);
    ck_assert_int_eq(weft_listener_reload(world.listener, fresh), WEFT_E_TLS); /* no certificate */
    ck_assert_int_eq(weft_config_self_signed(fresh, "example.test,192.0.2.2", 1), 0);
    ck_assert_int_eq(weft_config_fingerprint(fresh, sha256), 0);
    ck_assert_int_eq(weft_listener_reload(world.listener, fresh), 0);
    weft_config_free(fresh);
    world_connect(&world, NULL); /* pins the old one */
    run(1000000000);
    ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_CONNECTED), 0);
    weft_config_free(world.client_config);
    ck_assert_int_eq(weft_config_new(WEFT_CLIENT, &world.client_config), 0);
    ck_assert_int_eq(weft_config_set_alpn(world.client_config, "echo"), 0);
    ck_assert_int_eq(weft_config_add_pin(world.client_config, sha256), 0);
    world_connect(&world, NULL);
    ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_CONNECTED), 1);
}
END_TEST

/* ---- memory ---- */

/* The n-th allocation fails, for every n: nothing crashes, nothing leaks, and who is told is told the truth. */
static bool life(struct world *failing, uint64_t fail_at) {
    memset(&failing->client_log, 0, sizeof failing->client_log);
    memset(&failing->server_log, 0, sizeof failing->server_log);
    failing->memory = (struct world_memory){.fail_at = fail_at};
    failing->client = world_engine(failing, &failing->client_log);
    failing->server = world_engine(failing, &failing->server_log);
    weft_conn conn = {0};
    weft_stream stream;
    weft_connect_params params = {.size = sizeof params, .server_name = "example.test"};
    weft_listen(failing->server, failing->server_config, "192.0.2.2:443", NULL, &failing->listener);
    weft_connect(failing->client, failing->client_config, "192.0.2.2", 443, &params, &conn);
    for (int i = 0; i < 12; i++)
        world_step(failing);
    if (weft_stream_open(conn, WEFT_BIDI, NULL, &stream) == 0) {
        weft_stream_set_user(stream, failing);
        weft_stream_write(stream, "hello", 5, 0);
        weft_stream_write_ref(stream, "lent", 4, 1, WEFT_FIN);
    }
    for (int i = 0; i < 12; i++)
        world_step(failing);
    weft_conn_keep(conn);
    weft_conn_close(conn, 0, NULL);
    for (int i = 0; i < 6; i++)
        world_step(failing);
    weft_engine_free(failing->client);
    weft_engine_free(failing->server);
    UNIT_CHECK(failing->memory.blocks == 0);
    return failing->memory.calls >= fail_at;
}

START_TEST(every_allocation_may_fail)
{
    static struct world failing;
    failing.now = 1000000000;
    world_configs(&failing);
    uint64_t n = 1;
    while (life(&failing, n))
        n++;
    ck_assert_uint_gt(n, 50);
    ck_assert_uint_eq(world_count(&failing.server_log, WEFT_EV_DATA), 1); /* the last one had enough */
    weft_config_free(failing.client_config);
    weft_config_free(failing.server_config);
}
END_TEST

START_TEST(memory_has_a_limit)
{
    weft_engine_params params = {.size = sizeof params, .flags = WEFT_ENGINE_EXTERNAL, .memory_limit = 100};
    weft_engine engine;
    ck_assert_int_eq(weft_engine_new(&params, &engine), WEFT_E_NOMEM);
    params.memory_limit = 4 << 20;
    ck_assert_int_eq(weft_engine_new(&params, &engine), 0);
    weft_conn conn;
    int32_t error = 0;
    for (int i = 0; i < 10000 && !error; i++)
        error = weft_connect(engine, world.client_config, "192.0.2.2", 443, NULL, &conn);
    ck_assert_int_eq(error, WEFT_E_NOMEM);
    weft_engine_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(weft_engine_get_stats(engine, &stats), 0);
    ck_assert_uint_le(stats.memory_peak, 4 << 20);
    ck_assert_uint_gt(stats.memory_refusals, 0);
    ck_assert_int_eq(weft_engine_free(engine), 0);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *all[] = {closed_before_anything_happened,
                          nobody_answers,
                          names_need_somebody_to_ask,
                          what_can_be_asked,
                          both_sides_export_the_same,
                          kept_connections_answer_after_their_end,
                          sessions_are_resumed,
                          early_data_goes_with_the_first_packet,
                          a_register_of_tickets_decides_about_early_data,
                          features_have_names,
                          wrong_certificates_are_named,
                          listeners_stop_and_close,
                          reloading_changes_the_certificate,
                          every_allocation_may_fail,
                          memory_has_a_limit};
    Suite *suite = suite_create("abi/conn");
    TCase *tests = tcase_create("conn");
    tcase_add_checked_fixture(tests, setup, teardown);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tcase_add_test(tests, all[i]);
    suite_add_tcase(suite, tests);
    return suite;
}
