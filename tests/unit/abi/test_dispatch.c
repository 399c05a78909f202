/* Tests of dispatch.c and deliver.c: what is told, in which order, in both forms; and callbacks that do anything. */
#include "world.h"

static struct world world;

static void setup(void) { world_open(&world); }
static void teardown(void) { world_close(&world); }

/* Types of the events of one kind of object in a log, in order. */
static void check_types(const struct world_log *log, bool streams, const uint32_t *types) {
    uint32_t at = 0;
    for (uint32_t i = 0; i < log->count; i++) {
        const weft_event *event = &log->events[i];
        if ((event->stream.id != 0) != streams || event->type == WEFT_EV_TOKEN || event->type == WEFT_EV_SESSION)
            continue;
        ck_assert_msg(event->type == types[at], "%s where %s is expected", weft_event_name(event->type),
                      weft_event_name(types[at]));
        at++;
    }
    ck_assert_uint_eq(types[at], 0);
}

START_TEST(batches_tell_of_a_whole_life)
{
    weft_conn conn = world_connect(&world, NULL);
    const weft_event *accepted = world_find(&world.server_log, WEFT_EV_ACCEPTED, NULL);
    ck_assert_ptr_nonnull(accepted);
    ck_assert_uint_eq(accepted->listener.id, world.listener.id);
    weft_stream stream;
    ck_assert_int_eq(weft_stream_open(conn, WEFT_BIDI, NULL, &stream), 0);
    ck_assert_int_eq(weft_stream_write(stream, "hello", 5, WEFT_FIN), 5);
    world_run(&world, world.now + 100000000);
    const weft_event *data = world_find(&world.server_log, WEFT_EV_DATA, NULL);
    ck_assert_ptr_nonnull(data);
    ck_assert_uint_eq(data->len, 5);
    ck_assert_uint_eq(data->flags, WEFT_FIN);
    ck_assert_int_eq(weft_stream_write(data->stream, "world!", 6, WEFT_FIN), 6);
    world_run(&world, world.now + 100000000);
    ck_assert_int_eq(weft_stream_finish(stream), WEFT_E_GONE);
    ck_assert_int_eq(weft_conn_close(conn, 7, "bye"), 0);
    world_run(&world, world.now + 5000000000);
    const uint32_t conn_types[] = {WEFT_EV_CONNECTED, WEFT_EV_CONFIRMED, WEFT_EV_CONN_CLOSED, 0};
    const uint32_t stream_types[] = {WEFT_EV_FINISHED, WEFT_EV_DATA, WEFT_EV_STREAM_CLOSED, 0};
    const uint32_t server_conn[] = {WEFT_EV_ACCEPTED, WEFT_EV_CONNECTED, WEFT_EV_CONFIRMED, WEFT_EV_CONN_CLOSED, 0};
    const uint32_t server_stream[] = {WEFT_EV_STREAM_OPENED, WEFT_EV_DATA, WEFT_EV_FINISHED, WEFT_EV_STREAM_CLOSED, 0};
    check_types(&world.client_log, false, conn_types);
    check_types(&world.client_log, true, stream_types);
    check_types(&world.server_log, false, server_conn);
    check_types(&world.server_log, true, server_stream);
    const weft_event *closed = world_find(&world.server_log, WEFT_EV_CONN_CLOSED, NULL);
    ck_assert_uint_eq(closed->code, 7);
    ck_assert_uint_eq(closed->cause, WEFT_CAUSE_PEER);
    ck_assert_uint_eq(closed->flags, WEFT_APP);
    ck_assert_uint_eq(closed->len, 3);
    ck_assert_int_eq(weft_conn_close(conn, 0, NULL), WEFT_E_GONE);
    ck_assert_int_eq(weft_conn_close(closed->conn, 0, NULL), WEFT_E_GONE);
}
END_TEST

/* ---- callbacks ---- */

static struct {
    int connected, data, closed, stream_closed, opened, writable;
    uint8_t bytes[1 << 20];
    size_t len;
    bool fin;
    weft_close close;
    void *user;
    int32_t close_in_closed;
} heard;

static void on_connected(void *user, weft_conn conn) {
    (void)conn;
    heard.user = user;
    heard.connected++;
}

static void on_closed(void *user, weft_conn conn, const weft_close *close) {
    (void)user;
    weft_conn_info info = {.size = sizeof info};
    ck_assert_int_eq(weft_conn_get_info(conn, &info), 0);
    heard.closed++;
    heard.close = *close;
    heard.close_in_closed = weft_conn_close(conn, 0, NULL);
}

static void on_opened(void *user, weft_stream stream) {
    (void)user;
    (void)stream;
    heard.opened++;
}

static void on_data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    (void)stream;
    heard.data++;
    ck_assert(!heard.fin);
    for (uint32_t i = 0; i < count; i++) {
        memcpy(heard.bytes + heard.len, slices[i].data, slices[i].len);
        heard.len += slices[i].len;
    }
    heard.fin = flags & WEFT_FIN;
}

static void on_stream_closed(void *user, weft_stream stream) {
    (void)user;
    ck_assert_ptr_eq(weft_stream_user(stream), user);
    heard.stream_closed++;
}

static const weft_conn_callbacks conn_table = {
    .size = sizeof conn_table, .on_connected = on_connected, .on_closed = on_closed};
static const weft_stream_callbacks stream_table = {
    .size = sizeof stream_table, .on_opened = on_opened, .on_data = on_data, .on_closed = on_stream_closed};

START_TEST(callbacks_hear_the_same)
{
    memset(&heard, 0, sizeof heard);
    int mark;
    weft_connect_params params = {.size = sizeof params,
                                  .server_name = "example.test",
                                  .callbacks = &conn_table,
                                  .stream_callbacks = &stream_table,
                                  .user = &mark};
    weft_conn conn = world_connect(&world, &params);
    ck_assert_int_eq(heard.connected, 1);
    ck_assert_ptr_eq(heard.user, &mark);
    weft_conn peer = world_find(&world.server_log, WEFT_EV_ACCEPTED, NULL)->conn;
    weft_stream stream;
    static uint8_t bytes[300000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    ck_assert_int_eq(weft_stream_open(peer, WEFT_UNI, NULL, &stream), 0);
    ck_assert_int_eq(weft_stream_write(stream, bytes, sizeof bytes, WEFT_FIN), sizeof bytes);
    world_run(&world, world.now + 1000000000);
    ck_assert_int_eq(heard.opened, 1);
    ck_assert_uint_eq(heard.len, sizeof bytes);
    ck_assert_mem_eq(heard.bytes, bytes, sizeof bytes);
    ck_assert(heard.fin);
    ck_assert_int_eq(heard.stream_closed, 1);
    ck_assert_int_eq(weft_conn_close_transport(peer, 0, "over"), 0);
    world_run(&world, world.now + 1000000000);
    ck_assert_int_eq(heard.closed, 1);
    ck_assert_uint_eq(heard.close.cause, WEFT_CAUSE_PEER);
    ck_assert_uint_eq(heard.close.app, 0);
    ck_assert_str_eq(heard.close.reason, "over");
    ck_assert_int_eq(heard.close_in_closed, WEFT_E_CLOSED);
    ck_assert_int_eq(weft_conn_close(conn, 0, NULL), WEFT_E_GONE);
    ck_assert_uint_eq(world.client_log.count, 0);
}
END_TEST

static enum deed { DO_CLOSE, DO_STOP, DO_DETACH, DO_FREE, DO_PAUSE, DO_OPEN } deed;
static int deeds;

static void do_deed(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    weft_conn conn = weft_stream_conn(stream);
    weft_stream more;
    (void)user;
    (void)flags;
    deeds++;
    switch (deed) {
    case DO_CLOSE: ck_assert_int_eq(weft_conn_close(conn, 1, NULL), 0); break;
    case DO_STOP: ck_assert_int_eq(weft_stream_stop(stream, 1), 0); break;
    case DO_DETACH: ck_assert_int_eq(weft_stream_detach(stream, 1), 0); break;
    case DO_FREE:
        ck_assert_int_eq(weft_engine_free(weft_conn_engine(conn)), 0);
        ck_assert_int_eq(weft_stream_stop(stream, 1), WEFT_E_GONE);
        break;
    case DO_PAUSE: ck_assert_int_eq(weft_stream_pause(stream), 0); break;
    case DO_OPEN: ck_assert_int_eq(weft_stream_open(conn, WEFT_UNI, NULL, &more), 0); break;
    }
    if (deed == DO_FREE)
        return; /* bytes that were shown end with the engine */
    ck_assert_int_eq(weft_engine_turn(weft_conn_engine(conn)), WEFT_E_STATE);
    for (uint32_t i = 0; i < count; i++) /* still there, whatever was done */
        for (size_t j = 0; j < slices[i].len; j++)
            UNIT_CHECK(slices[i].data[j] == 3);
}

START_TEST(anything_is_allowed_in_a_callback)
{
    static const weft_stream_callbacks table = {.size = sizeof table, .on_data = do_deed};
    deed = (enum deed)_i;
    deeds = 0;
    weft_connect_params params = {.size = sizeof params, .server_name = "example.test", .stream_callbacks = &table};
    weft_conn conn = world_connect(&world, &params);
    weft_conn peer = world_find(&world.server_log, WEFT_EV_ACCEPTED, NULL)->conn;
    static uint8_t threes[200000];
    memset(threes, 3, sizeof threes);
    weft_stream stream;
    ck_assert_int_eq(weft_stream_open(peer, WEFT_UNI, NULL, &stream), 0);
    ck_assert_int_eq(weft_stream_write(stream, threes, sizeof threes, WEFT_FIN), sizeof threes);
    weft_stream own;
    ck_assert_int_eq(weft_stream_open(conn, WEFT_BIDI, NULL, &own), 0);
    ck_assert_int_eq(weft_stream_write(own, "x", 1, 0), 1);
    world_run(&world, world.now + 3000000000);
    if (deed == DO_OPEN)
        ck_assert_int_gt(deeds, 1);
    else
        ck_assert_int_eq(deeds, 1);
    ck_assert_int_eq(weft_stream_write(own, "x", 1, 0), deed == DO_CLOSE || deed == DO_FREE ? WEFT_E_GONE : 1);
}
END_TEST

static void free_own_engine(void *user, const weft_event *events, uint32_t count) {
    (void)events;
    (void)count;
    ck_assert_int_eq(weft_engine_free(*(weft_engine *)user), 0);
}

START_TEST(engine_freed_in_a_batch)
{
    weft_engine engine;
    weft_engine_params params = {
        .size = sizeof params, .flags = WEFT_ENGINE_EXTERNAL, .on_events = free_own_engine, .events_user = &engine};
    ck_assert_int_eq(weft_engine_new(&params, &engine), 0);
    weft_conn conn;
    ck_assert_int_eq(weft_connect(engine, world.client_config, "192.0.2.2", 443, NULL, &conn), 0);
    ck_assert_int_eq(weft_conn_close(conn, 0, NULL), 0);
    for (int i = 0; i < 5 && weft_engine_turn(engine) >= 0; i++)
        continue;
    ck_assert_int_eq(weft_engine_turn(engine), WEFT_E_GONE);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("abi/dispatch");
    TCase *tests = tcase_create("dispatch");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, batches_tell_of_a_whole_life);
    tcase_add_test(tests, callbacks_hear_the_same);
    tcase_add_loop_test(tests, anything_is_allowed_in_a_callback, DO_CLOSE, DO_OPEN + 1);
    tcase_add_test(tests, engine_freed_in_a_batch);
    suite_add_tcase(suite, tests);
    return suite;
}
