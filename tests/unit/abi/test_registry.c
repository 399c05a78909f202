/* Tests of registry.c: every function with handles that are stale, foreign, made up, and from the wrong thread. */
#include <pthread.h>
#include <stdio.h>

#include "world.h"

enum kind { ENGINE, CONFIG, LISTENER, CONN, STREAM, BUFFER };

static void nothing(void *arg) { (void)arg; }
static int32_t accept_all(void *user, const weft_verify *verify) {
    (void)user;
    (void)verify;
    return 0;
}

/* Room for whatever the functions write. */
static union {
    weft_conn_info conn_info;
    weft_engine_stats engine_stats;
    weft_stream_info stream_info;
    weft_close close;
    weft_path path;
    weft_path_stats paths;
    weft_path_news news;
    weft_conn_stats conn_stats;
    uint64_t number;
    weft_addr addr;
    uint8_t bytes[2048];
} out;
static weft_slice slices[4];
static weft_conn made_conn;
static weft_stream made_stream;
static weft_listener made_listener;

#define H(type) ((weft_##type){id})
#define CALL(name, kind, expression) \
    static int64_t call_##name(uint64_t id) { return (int64_t)(expression); }
#define CALLS(X)                                                                                                  \
    X(config_free, CONFIG, weft_config_free(H(config)))                                                           \
    X(config_set_preferred_address, CONFIG, weft_config_set_preferred_address(H(config), NULL, NULL))             \
    X(config_error, CONFIG, weft_config_error(H(config), NULL, 0))                                                \
    X(config_set, CONFIG, weft_config_set(H(config), "pacing", "on"))                                             \
    X(config_set_uint, CONFIG, weft_config_set_uint(H(config), "pacing", 1))                                      \
    X(config_get_uint, CONFIG, weft_config_get_uint(H(config), "pacing", &out.number))                            \
    X(config_set_alpn, CONFIG, weft_config_set_alpn(H(config), "a"))                                              \
    X(config_add_certificate, CONFIG, weft_config_add_certificate(H(config), WEFT_PEM, "a", 1, "b", 1))           \
    X(config_add_certificate_files, CONFIG, weft_config_add_certificate_files(H(config), "/none", "/none"))       \
    X(config_self_signed, CONFIG, weft_config_self_signed(H(config), "a", 1))                                     \
    X(config_fingerprint, CONFIG, weft_config_fingerprint(H(config), out.bytes))                                  \
    X(config_add_trust, CONFIG, weft_config_add_trust(H(config), WEFT_PEM, "a", 1))                               \
    X(config_add_trust_file, CONFIG, weft_config_add_trust_file(H(config), "/none"))                              \
    X(config_use_system_trust, CONFIG, weft_config_use_system_trust(H(config), 1))                                \
    X(config_set_verify, CONFIG, weft_config_set_verify(H(config), 1))                                            \
    X(config_add_pin, CONFIG, weft_config_add_pin(H(config), out.bytes))                                          \
    X(config_set_verify_callback, CONFIG, weft_config_set_verify_callback(H(config), accept_all, NULL))           \
    X(config_set_replay_callback, CONFIG, weft_config_set_replay_callback(H(config), NULL, NULL))                 \
    X(config_set_qlog, CONFIG, weft_config_set_qlog(H(config), NULL, NULL))                                       \
    X(config_set_qlog_dir, CONFIG, weft_config_set_qlog_dir(H(config), "/"))                                      \
    X(config_set_admission, CONFIG, weft_config_set_admission(H(config), NULL))                                   \
    X(config_set_congestion_control, CONFIG, weft_config_set_congestion_control(H(config), NULL))                 \
    X(config_set_keylog, CONFIG, weft_config_set_keylog(H(config), NULL, NULL))                                   \
    X(config_set_keylog_file, CONFIG, weft_config_set_keylog_file(H(config), "/none/none"))                       \
    X(config_set_ciphers, CONFIG, weft_config_set_ciphers(H(config), "TLS_AES_128_GCM_SHA256"))                   \
    X(config_set_groups, CONFIG, weft_config_set_groups(H(config), "X25519"))                                     \
    X(config_set_ticket_secret, CONFIG, weft_config_set_ticket_secret(H(config), out.bytes, 1))                   \
    X(engine_free, ENGINE, weft_engine_free(H(engine)))                                                           \
    X(engine_error, ENGINE, weft_engine_error(H(engine), NULL, 0))                                                \
    X(engine_run, ENGINE, weft_engine_run(H(engine)))                                                             \
    X(engine_stop, ENGINE, weft_engine_stop(H(engine)))                                                           \
    X(engine_turn, ENGINE, weft_engine_turn(H(engine)))                                                           \
    X(engine_fd, ENGINE, weft_engine_fd(H(engine)))                                                               \
    X(engine_deadline, ENGINE, weft_engine_deadline(H(engine), &out.number))                                      \
    X(engine_now, ENGINE, weft_engine_now(H(engine), &out.number))                                                \
    X(engine_wake, ENGINE, weft_engine_wake(H(engine)))                                                           \
    X(engine_post, ENGINE, weft_engine_post(H(engine), nothing, NULL))                                            \
    X(engine_adopt, ENGINE, weft_engine_adopt(H(engine)))                                                         \
    X(engine_input, ENGINE, weft_engine_input(H(engine), NULL, 0))                                                \
    X(engine_output, ENGINE, weft_engine_output(H(engine), &(weft_datagram){.data = out.bytes}))                  \
    X(engine_get_stats, ENGINE, (out.engine_stats.size = 8, weft_engine_get_stats(H(engine), &out.engine_stats))) \
    X(engine_set_quic_lb, ENGINE, weft_engine_set_quic_lb(H(engine), NULL))                                       \
    X(listen, ENGINE, weft_listen(H(engine), (weft_config){0}, "::1", NULL, &made_listener))                      \
    X(connect, ENGINE, weft_connect(H(engine), (weft_config){0}, "::1", 1, NULL, &made_conn))                     \
    X(listener_address, LISTENER, weft_listener_address(H(listener), &out.addr))                                  \
    X(listener_connections, LISTENER, weft_listener_connections(H(listener), (uint32_t *)&out.number))            \
    X(listener_reload, LISTENER, weft_listener_reload(H(listener), (weft_config){0}))                             \
    X(listener_stop, LISTENER, weft_listener_stop(H(listener)))                                                   \
    X(listener_close, LISTENER, weft_listener_close(H(listener), 0))                                              \
    X(listener_set_user, LISTENER, weft_listener_set_user(H(listener), NULL))                                     \
    X(conn_close, CONN, weft_conn_close(H(conn), 0, NULL))                                                        \
    X(conn_close_transport, CONN, weft_conn_close_transport(H(conn), 0, NULL))                                    \
    X(conn_keep, CONN, weft_conn_keep(H(conn)))                                                                   \
    X(conn_release, CONN, weft_conn_release(H(conn)))                                                             \
    X(conn_set_callbacks, CONN, weft_conn_set_callbacks(H(conn), NULL))                                           \
    X(conn_set_stream_callbacks, CONN, weft_conn_set_stream_callbacks(H(conn), NULL))                             \
    X(conn_set_stream_flags, CONN, weft_conn_set_stream_flags(H(conn), 0))                                        \
    X(conn_set_user, CONN, weft_conn_set_user(H(conn), NULL))                                                     \
    X(conn_get_info, CONN, (out.conn_info.size = 8, weft_conn_get_info(H(conn), &out.conn_info)))                 \
    X(conn_get_close, CONN, (out.close.size = 8, weft_conn_get_close(H(conn), &out.close)))                       \
    X(conn_peer_certificate, CONN, weft_conn_peer_certificate(H(conn), out.bytes, 8))                             \
    X(conn_session, CONN, weft_conn_session(H(conn), out.bytes, 8))                                               \
    X(conn_token, CONN, weft_conn_token(H(conn), out.bytes, 8))                                                   \
    X(conn_get_path, CONN, (out.path.size = 8, weft_conn_get_path(H(conn), &out.path)))                           \
    X(conn_get_path_stats, CONN, (out.paths.size = 8, weft_conn_get_path_stats(H(conn), 0, &out.paths)))          \
    X(conn_export, CONN, weft_conn_export(H(conn), "label", NULL, 0, out.bytes, 8))                               \
    X(conn_update_keys, CONN, weft_conn_update_keys(H(conn)))                                                     \
    X(conn_ping, CONN, weft_conn_ping(H(conn)))                                                                   \
    X(conn_migrate, CONN, weft_conn_migrate(H(conn), NULL))                                                       \
    X(conn_probe, CONN, weft_conn_probe(H(conn), NULL))                                                           \
    X(conn_path_news, CONN, (out.news.size = 8, weft_conn_path_news(H(conn), &out.news)))                         \
    X(conn_get_stats, CONN, (out.conn_stats.size = 8, weft_conn_get_stats(H(conn), &out.conn_stats)))             \
    X(datagram_send, CONN, weft_datagram_send(H(conn), "a", 1, 0))                                                \
    X(datagram_max, CONN, weft_datagram_max(H(conn)))                                                             \
    X(stream_open, CONN, weft_stream_open(H(conn), WEFT_BIDI, NULL, &made_stream))                                \
    X(stream_find, CONN, weft_stream_find(H(conn), 0, &made_stream))                                              \
    X(stream_write, STREAM, weft_stream_write(H(stream), "a", 1, 0))                                              \
    X(stream_writev, STREAM, weft_stream_writev(H(stream), NULL, 0, 0))                                           \
    X(stream_write_ref, STREAM, weft_stream_write_ref(H(stream), "a", 1, 1, 0))                                   \
    X(stream_finish, STREAM, weft_stream_finish(H(stream)))                                                       \
    X(stream_reset, STREAM, weft_stream_reset(H(stream), 0))                                                      \
    X(stream_read, STREAM, weft_stream_read(H(stream), out.bytes, 8, NULL))                                       \
    X(stream_peek, STREAM, weft_stream_peek(H(stream), slices, 4, NULL))                                          \
    X(stream_consume, STREAM, weft_stream_consume(H(stream), 0))                                                  \
    X(stream_credit, STREAM, weft_stream_credit(H(stream), 0))                                                    \
    X(stream_stop, STREAM, weft_stream_stop(H(stream), 0))                                                        \
    X(stream_pause, STREAM, weft_stream_pause(H(stream)))                                                         \
    X(stream_resume, STREAM, weft_stream_resume(H(stream)))                                                       \
    X(stream_detach, STREAM, weft_stream_detach(H(stream), 0))                                                    \
    X(stream_set_priority, STREAM, weft_stream_set_priority(H(stream), 3, 1))                                     \
    X(stream_set_deadline, STREAM, weft_stream_set_deadline(H(stream), UINT64_MAX, 0))                            \
    X(stream_set_flags, STREAM, weft_stream_set_flags(H(stream), 0))                                              \
    X(stream_set_callbacks, STREAM, weft_stream_set_callbacks(H(stream), NULL))                                   \
    X(stream_set_user, STREAM, weft_stream_set_user(H(stream), NULL))                                             \
    X(stream_get_info, STREAM, (out.stream_info.size = 8, weft_stream_get_info(H(stream), &out.stream_info)))     \
    X(buffer_release, BUFFER, weft_buffer_release(H(buffer)))

CALLS(CALL)

static const struct {
    const char *name;
    enum kind kind;
    int64_t (*call)(uint64_t id);
} calls[] = {
#define ROW(name, kind, expression) {#name, kind, call_##name},
    CALLS(ROW)};

#define COUNT (sizeof calls / sizeof *calls)

static void expect_all(const uint64_t *ids, int64_t expected) {
    for (size_t i = 0; i < COUNT; i++) {
        int64_t result = calls[i].call(ids[calls[i].kind]);
        ck_assert_msg(result == expected, "weft_%s gives %lld where %lld is expected", calls[i].name, (long long)result,
                      (long long)expected);
    }
}

/* The functions that give a pointer or handle. */
static void expect_nothing(const uint64_t *ids) {
    ck_assert_ptr_null(weft_listener_user((weft_listener){ids[LISTENER]}));
    ck_assert_ptr_null(weft_conn_user((weft_conn){ids[CONN]}));
    ck_assert_ptr_null(weft_stream_user((weft_stream){ids[STREAM]}));
    ck_assert_uint_eq(weft_conn_engine((weft_conn){ids[CONN]}).id, 0);
    ck_assert_uint_eq(weft_stream_conn((weft_stream){ids[STREAM]}).id, 0);
}

/* Handles of each kind, alive in a world. */
static void live(struct world *world, uint64_t ids[6]) {
    world_open(world);
    int mark;
    weft_connect_params params = {.size = sizeof params, .server_name = "example.test", .user = &mark};
    weft_conn conn = world_connect(world, &params);
    weft_stream stream;
    ck_assert_int_eq(weft_stream_open(conn, WEFT_BIDI, NULL, &stream), 0);
    ids[ENGINE] = world->client.id;
    ids[CONFIG] = world->client_config.id;
    ids[LISTENER] = world->listener.id;
    ids[CONN] = conn.id;
    ids[STREAM] = stream.id;
    ids[BUFFER] = UINT64_C(0x7001000001000000); /* replaced where it matters */
}

/* The functions that are called elsewhere: expect_nothing, stale_sources, or there is no handle to be wrong. */
static bool is_tested_elsewhere(const char *name) {
    static const char *const others[] = {"listener_user", "conn_user",     "stream_user", "conn_engine",
                                         "stream_conn",   "buffer_retain", "engine_new",  "config_new"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(name, others[i]) == 0)
            return true;
    return false;
}

static bool is_in_table(const char *name) {
    for (size_t i = 0; i < COUNT; i++)
        if (strcmp(name, calls[i].name) == 0)
            return true;
    return false;
}

START_TEST(no_function_is_forgotten)
{
    static const char *const objects[] = {"config", "engine", "listener", "conn",    "stream",
                                          "buffer", "listen", "connect",  "datagram"};
    char path[1024], line[512];
    snprintf(path, sizeof path, "%s", __FILE__);
    char *tests = strstr(path, "/tests/unit/abi/");
    ck_assert_ptr_nonnull(tests);
    snprintf(tests, sizeof path - (size_t)(tests - path), "/abi/include/weft/weft.h");
    FILE *header = fopen(path, "r");
    ck_assert_ptr_nonnull(header);
    int found = 0;
    while (fgets(line, sizeof line, header)) {
        char *end = strchr(line, '('), *name = end;
        if (strncmp(line, "WEFT_API ", 9) != 0 || !end)
            continue;
        *end = 0;
        while (name[-1] != ' ' && name[-1] != '*')
            name--;
        name += strlen("weft_");
        bool takes_handle = false;
        for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
            size_t len = strlen(objects[i]);
            takes_handle = takes_handle || (strncmp(name, objects[i], len) == 0 && (name[len] == '_' || !name[len]));
        }
        found += takes_handle;
        if (takes_handle)
            ck_assert_msg(is_in_table(name) || is_tested_elsewhere(name), "weft_%s is not called", name);
    }
    fclose(header);
    ck_assert_int_eq(found, (int)COUNT + 8);
}
END_TEST

START_TEST(made_up_handles)
{
    const uint64_t numbers[] = {0, 1, UINT64_MAX, UINT64_MAX >> 1, UINT64_C(1) << 60, UINT64_C(0x4001000001000000)};
    for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) {
        uint64_t ids[6];
        for (int kind = 0; kind < 6; kind++)
            ids[kind] = numbers[n];
        expect_all(ids, WEFT_E_HANDLE);
        expect_nothing(ids);
    }
}
END_TEST

START_TEST(handles_of_another_kind)
{
    struct world world;
    uint64_t ids[6];
    live(&world, ids);
    for (size_t i = 0; i < COUNT; i++)
        for (int kind = 0; kind < 6; kind++)
            if (calls[i].kind != (enum kind)kind) {
                int64_t result = calls[i].call(ids[kind]);
                ck_assert_msg(result == WEFT_E_HANDLE, "weft_%s: %lld", calls[i].name, (long long)result);
            }
    world_close(&world);
}
END_TEST

START_TEST(never_issued_handles)
{
    struct world world;
    uint64_t ids[6], far[6];
    live(&world, ids);
    for (int kind = 0; kind < 6; kind++)
        far[kind] = kind == ENGINE ? ids[kind] + (UINT64_C(1) << 24) : ids[kind] + 0x800000;
    expect_all(far, WEFT_E_HANDLE);
    world_close(&world);
}
END_TEST

START_TEST(stale_handles)
{
    struct world world;
    uint64_t ids[6];
    live(&world, ids);
    world_close(&world);
    expect_all(ids, WEFT_E_GONE);
    expect_nothing(ids);
}
END_TEST

START_TEST(stale_handles_under_a_successor)
{
    /* A place of the registry is used again after all others: then too, nothing old may be found. */
    struct world world;
    uint64_t ids[6];
    live(&world, ids);
    world_close(&world);
    for (int round = 0; round < 4200; round++) {
        weft_engine engine;
        weft_engine_params params = {.size = sizeof params, .flags = WEFT_ENGINE_EXTERNAL};
        UNIT_CHECK(weft_engine_new(&params, &engine) == 0);
        UNIT_CHECK(weft_conn_ping((weft_conn){ids[CONN]}) == WEFT_E_GONE);
        UNIT_CHECK(weft_engine_turn((weft_engine){ids[ENGINE]}) == WEFT_E_GONE);
        UNIT_CHECK(weft_engine_free(engine) == 0);
    }
    expect_all(ids, WEFT_E_GONE);
}
END_TEST

static void *elsewhere(void *arg) {
    const uint64_t *ids = arg;
    for (size_t i = 0; i < COUNT; i++) {
        bool any_thread = calls[i].kind == CONFIG || calls[i].call == call_engine_wake ||
                          calls[i].call == call_engine_post || calls[i].call == call_engine_adopt;
        if (any_thread)
            continue;
        int64_t result = calls[i].call(ids[calls[i].kind]);
        ck_assert_msg(result == WEFT_E_THREAD, "weft_%s: %lld", calls[i].name, (long long)result);
    }
    expect_nothing(ids);
    ck_assert_int_eq(call_engine_wake(ids[ENGINE]), 0);
    ck_assert_int_eq(call_engine_post(ids[ENGINE]), 0);
    ck_assert_int_eq(weft_engine_adopt((weft_engine){ids[ENGINE]}), 0);
    ck_assert_int_ge(weft_engine_turn((weft_engine){ids[ENGINE]}), 0);
    return NULL;
}

START_TEST(wrong_thread)
{
    struct world world;
    uint64_t ids[6];
    live(&world, ids);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, elsewhere, ids), 0);
    pthread_join(thread, NULL);
    ck_assert_int_eq(weft_engine_turn(world.client), WEFT_E_THREAD);
    ck_assert_int_eq(weft_engine_adopt(world.client), 0);
    ck_assert_int_ge(weft_engine_turn(world.client), 0);
    world_close(&world);
}
END_TEST

START_TEST(stale_sources)
{
    weft_buffer buffer;
    const uint8_t *data;
    weft_slice slice = {(const uint8_t *)"a", 1, 0};
    ck_assert_int_eq(weft_buffer_retain(&slice, &buffer, &data), WEFT_E_HANDLE);
    struct world world;
    uint64_t ids[6];
    live(&world, ids);
    slice.source = UINT64_C(8) << 60 | (ids[ENGINE] & UINT64_C(0x0fff000000000000)) | 1 << 24;
    ck_assert_int_eq(weft_buffer_retain(&slice, &buffer, &data), WEFT_E_GONE);
    world_close(&world);
    ck_assert_int_eq(weft_buffer_retain(&slice, &buffer, &data), WEFT_E_GONE);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("abi/registry");
    TCase *tests = tcase_create("registry");
    tcase_add_test(tests, no_function_is_forgotten);
    tcase_add_test(tests, made_up_handles);
    tcase_add_test(tests, handles_of_another_kind);
    tcase_add_test(tests, never_issued_handles);
    tcase_add_test(tests, stale_handles);
    tcase_add_test(tests, stale_handles_under_a_successor);
    tcase_add_test(tests, wrong_thread);
    tcase_add_test(tests, stale_sources);
    suite_add_tcase(suite, tests);
    return suite;
}
