/* Tests of what the application hands over: tables and structs that ask for what this version does not know, callbacks
 * that call weft in the midst of things, arguments beyond every limit. */
#include "world.h"

static struct world world;

static void setup(void) { world_open(&world); }
static void teardown(void) { world_close(&world); }

/* ---- tables ---- */

static weft_config fresh(uint32_t role) {
    weft_config config;
    ck_assert_int_eq(weft_config_new(role, &config), 0);
    return config;
}

START_TEST(copied_tables_of_later_versions)
{
    struct {
        weft_admission known;
        void *later;
    } admission = {.known = {.size = sizeof admission}};
    struct {
        weft_congestion_control known;
        void *later;
    } control = {.known = {.size = sizeof control}};
    weft_config config = fresh(WEFT_SERVER);
    char text[200];
    ck_assert_int_eq(weft_config_set_admission(config, &admission.known), 0);
    ck_assert_int_eq(weft_config_set_congestion_control(config, &control.known), 0);
    admission.later = control.later = &world; /* a question that this version would never ask */
    ck_assert_int_eq(weft_config_set_admission(config, &admission.known), WEFT_E_UNSUPPORTED);
    ck_assert_int_gt(weft_config_error(config, text, sizeof text), 0);
    ck_assert_ptr_nonnull(strstr(text, "does not know"));
    ck_assert_int_eq(weft_config_set_congestion_control(config, &control.known), WEFT_E_UNSUPPORTED);
    admission.later = control.later = NULL;
    admission.known.reserved = control.known.reserved = 1;
    ck_assert_int_eq(weft_config_set_admission(config, &admission.known), WEFT_E_UNSUPPORTED);
    ck_assert_int_eq(weft_config_set_congestion_control(config, &control.known), WEFT_E_UNSUPPORTED);
    ck_assert_int_eq(weft_config_free(config), 0);
}
END_TEST

START_TEST(reserved_is_zero)
{
    static const weft_conn_callbacks conns = {.size = sizeof conns, .reserved = 1};
    static const weft_stream_callbacks streams = {.size = sizeof streams, .reserved = 1};
    static const weft_listener_callbacks accepts = {.size = sizeof accepts, .reserved = 1};
    static const weft_stream_callbacks sizeless = {.size = 7};
    weft_conn conn = world_connect(&world, NULL), another;
    weft_stream stream;
    weft_listener listener;
    ck_assert_int_eq(weft_conn_set_callbacks(conn, &conns), WEFT_E_UNSUPPORTED);
    ck_assert_int_eq(weft_conn_set_stream_callbacks(conn, &streams), WEFT_E_UNSUPPORTED);
    ck_assert_int_eq(weft_conn_set_stream_callbacks(conn, &sizeless), WEFT_E_INVALID);
    weft_stream_params open = {.size = sizeof open, .callbacks = &streams};
    ck_assert_int_eq(weft_stream_open(conn, WEFT_BIDI, &open, &stream), WEFT_E_UNSUPPORTED);
    ck_assert_int_eq(weft_stream_open(conn, WEFT_BIDI, NULL, &stream), 0);
    ck_assert_int_eq(weft_stream_set_callbacks(stream, &streams), WEFT_E_UNSUPPORTED);
    weft_connect_params to = {.size = sizeof to, .server_name = "example.test", .callbacks = &conns};
    ck_assert_int_eq(weft_connect(world.client, world.client_config, "192.0.2.2", 443, &to, &another),
                     WEFT_E_UNSUPPORTED);
    to = (weft_connect_params){.size = sizeof to, .server_name = "example.test", .stream_callbacks = &streams};
    ck_assert_int_eq(weft_connect(world.client, world.client_config, "192.0.2.2", 443, &to, &another),
                     WEFT_E_UNSUPPORTED);
    const weft_listen_params listens[] = {{.size = sizeof *listens, .callbacks = &accepts},
                                          {.size = sizeof *listens, .conn_callbacks = &conns},
                                          {.size = sizeof *listens, .stream_callbacks = &streams}};
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(weft_listen(world.server, world.server_config, "192.0.2.2:445", &listens[i], &listener),
                         WEFT_E_UNSUPPORTED);
}
END_TEST

START_TEST(reserved_in_datagrams_and_balancers)
{
    uint8_t bytes[1200] = {0}, id[16];
    weft_datagram datagram = {
        .data = bytes, .len = sizeof bytes, .local = world_server_addr, .remote = world_client_addr};
    ck_assert_int_eq(weft_engine_input(world.server, &datagram, 1), 1);
    datagram.reserved[2] = 1;
    ck_assert_int_eq(weft_engine_input(world.server, &datagram, 1), WEFT_E_UNSUPPORTED);
    weft_conn conn;
    static uint8_t train[WEFT_TRAIN_SIZE];
    datagram.data = train; /* what comes out may go in elsewhere, whatever lay there before */
    datagram.segment = 1;
    ck_assert_int_eq(weft_connect(world.client, world.client_config, "192.0.2.2", 443, NULL, &conn), 0);
    ck_assert_int_ge(weft_engine_turn(world.client), 0);
    ck_assert_int_eq(weft_engine_output(world.client, &datagram), 1);
    ck_assert_uint_eq(datagram.reserved[2], 0);
    const weft_quic_lb good = {.size = sizeof good, .server_id_len = 2, .nonce_len = 6};
    weft_quic_lb lb = good;
    ck_assert_int_eq(weft_quic_lb_decode(&lb, bytes, 9, id, NULL), 0);
    lb.reserved[6] = 1;
    ck_assert_int_eq(weft_quic_lb_decode(&lb, bytes, 9, id, NULL), WEFT_E_UNSUPPORTED);
    lb = good;
    lb.encrypted = 2;
    ck_assert_int_eq(weft_quic_lb_decode(&lb, bytes, 9, id, NULL), WEFT_E_INVALID);
    lb = good;
    lb.encode_length = 2;
    ck_assert_int_eq(weft_quic_lb_decode(&lb, bytes, 9, id, NULL), WEFT_E_INVALID);
}
END_TEST

/* ---- lengths ---- */

static int exports;

static void export_too_much(void *user, weft_conn conn) {
    static uint8_t out[8161];
    char label[55];
    (void)user;
    memset(label, 'l', sizeof label);
    label[54] = 0;
    ck_assert_int_eq(weft_conn_export(conn, label, NULL, 0, out, 32), WEFT_E_VALUE);
    ck_assert_int_eq(weft_conn_export(conn, "EXPORTER-test", NULL, 0, out, 8161), WEFT_E_VALUE);
    ck_assert_int_eq(weft_conn_export(conn, "EXPORTER-test", NULL, 0, out, SIZE_MAX), WEFT_E_VALUE);
    label[53] = 0;
    ck_assert_int_eq(weft_conn_export(conn, label, NULL, 0, out, 32), 0);
    ck_assert_int_eq(weft_conn_export(conn, "EXPORTER-test", NULL, 0, out, 8160), 0);
    exports++;
}

START_TEST(exports_have_limits)
{
    static const weft_conn_callbacks table = {.size = sizeof table, .on_connected = export_too_much};
    weft_connect_params params = {.size = sizeof params, .server_name = "example.test", .callbacks = &table};
    weft_conn conn;
    ck_assert_int_eq(weft_connect(world.client, world.client_config, "192.0.2.2", 443, &params, &conn), 0);
    world_run(&world, world.now + 1000000000);
    ck_assert_int_eq(exports, 1);
}
END_TEST

/* ---- in the midst of things ---- */

static struct {
    uint32_t randoms, clocks, wall_clocks, allocs, resizes, releases, logs;
    bool on, freed;
    weft_engine engine;
} midst;

/* Whatever is called is refused: what has a handle, and what makes one. */
static void refused(uint32_t *count) {
    uint64_t now;
    weft_engine engine;
    weft_config config;
    weft_pool pool;
    weft_pair pair;
    weft_engine engines[2];
    if (!midst.on)
        return;
    (*count)++;
    int32_t result = midst.freed ? WEFT_E_GONE : WEFT_E_STATE;
    ck_assert_int_eq(weft_engine_now(midst.engine, &now), result);
    ck_assert_int_eq(weft_engine_free(midst.engine), result);
    ck_assert_int_eq(weft_config_free(world.client_config), WEFT_E_STATE);
    ck_assert_int_eq(weft_engine_new(NULL, &engine), WEFT_E_STATE);
    ck_assert_int_eq(weft_config_new(WEFT_CLIENT, &config), WEFT_E_STATE);
    ck_assert_int_eq(weft_pool_new(NULL, &pool), WEFT_E_STATE);
    ck_assert_int_eq(weft_pair_new(NULL, &pair, engines), WEFT_E_STATE);
}

static void my_random(void *user, uint8_t *out, size_t len) {
    static uint8_t next;
    (void)user;
    refused(&midst.randoms);
    for (size_t i = 0; i < len; i++)
        out[i] = next++;
}

static uint64_t my_clock(void *user) {
    refused(&midst.clocks);
    return *(uint64_t *)user;
}

static uint64_t my_wall_clock(void *user) {
    refused(&midst.wall_clocks);
    return UINT64_C(1893456000000000000) + *(uint64_t *)user;
}

static void *my_alloc(void *user, size_t size) {
    (void)user;
    refused(&midst.allocs);
    return malloc(size);
}

static void *my_resize(void *user, void *block, size_t from, size_t size) {
    (void)user;
    (void)from;
    refused(&midst.resizes);
    return realloc(block, size);
}

static void my_release(void *user, void *block, size_t size) {
    (void)user;
    (void)size;
    refused(&midst.releases);
    free(block);
}

static void my_log(void *user, uint32_t level, const char *text) {
    (void)user;
    (void)level;
    (void)text;
    refused(&midst.logs);
}

START_TEST(every_call_is_refused_in_the_midst_of_things)
{
    weft_allocator allocator = {
        .size = sizeof allocator, .alloc = my_alloc, .resize = my_resize, .release = my_release};
    weft_engine_params params = {.size = sizeof params,
                                 .flags = WEFT_ENGINE_EXTERNAL,
                                 .allocator = &allocator,
                                 .clock = my_clock,
                                 .wall_clock = my_wall_clock,
                                 .clock_user = &world.now,
                                 .random = my_random,
                                 .log = my_log};
    weft_listener listener;
    ck_assert_int_eq(weft_engine_free(world.server), 0);
    world_run(&world, world.now + 10000000);
    ck_assert_int_eq(weft_engine_new(&params, &world.server), 0);
    midst.engine = world.server;
    memset(&allocator, 0, sizeof allocator); /* it was copied */
    midst.on = true;
    ck_assert_int_eq(weft_listen(world.server, world.server_config, "192.0.2.2:443", NULL, &listener), 0);
    weft_conn conn;
    ck_assert_int_eq(
        weft_connect(world.client, world.client_config, "192.0.2.2", 443,
                     &(weft_connect_params){.size = sizeof(weft_connect_params), .server_name = "example.test"}, &conn),
        0);
    world_run(&world, world.now + 1000000000);
    ck_assert_uint_gt(world_count(&world.client_log, WEFT_EV_CONNECTED), 0);
    midst.freed = true;
    ck_assert_int_eq(weft_engine_free(world.server), 0);
    midst.on = false;
    ck_assert_uint_gt(midst.randoms, 0);
    ck_assert_uint_gt(midst.clocks, 0);
    ck_assert_uint_gt(midst.allocs, 0);
    ck_assert_uint_gt(midst.releases, 0);
    ck_assert_uint_gt(midst.logs, 0);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *all[] = {copied_tables_of_later_versions, reserved_is_zero, reserved_in_datagrams_and_balancers,
                          exports_have_limits, every_call_is_refused_in_the_midst_of_things};
    Suite *suite = suite_create("abi/params");
    TCase *tests = tcase_create("params");
    tcase_add_checked_fixture(tests, setup, teardown);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tcase_add_test(tests, all[i]);
    suite_add_tcase(suite, tests);
    return suite;
}
