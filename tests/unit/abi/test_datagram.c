/* Tests of datagram.c, and of how datagrams are told of: sent, received, kept, refused, lost; by callbacks and
 * batches. */
#include "world.h"

#define MS UINT64_C(1000000)

static struct world world;
static weft_conn client, server;

static struct {
    uint32_t count, flags;
    size_t lens[1024];
    uint8_t firsts[1024]; /* and all bytes of a datagram are the same */
    uint32_t outcomes, rooms, closed;
    uint64_t tokens[1024];
    uint32_t fates[1024];
    void *user;
    weft_buffer kept;
    const uint8_t *kept_data;
    size_t kept_len;
} heard;

static void hear(const uint8_t *data, size_t len, uint32_t flags) {
    for (size_t i = 1; i < len; i++)
        UNIT_CHECK(data[i] == data[0]);
    ck_assert_uint_lt(heard.count, 1024);
    heard.lens[heard.count] = len;
    heard.firsts[heard.count++] = len ? data[0] : 0;
    heard.flags = flags;
}

static void on_datagram(void *user, weft_conn conn, const weft_slice *datagram, uint32_t flags) {
    ck_assert_uint_ne(conn.id, 0);
    heard.user = user;
    hear(datagram->data, datagram->len, flags);
}

static void on_outcome(void *user, weft_conn conn, uint64_t token, uint32_t outcome) {
    (void)user;
    (void)conn;
    ck_assert_uint_lt(heard.outcomes, 1024);
    ck_assert_uint_eq(heard.closed, 0);
    heard.tokens[heard.outcomes] = token;
    heard.fates[heard.outcomes++] = outcome;
}

static void on_room(void *user, weft_conn conn) {
    (void)user;
    (void)conn;
    heard.rooms++;
}

static void on_closed(void *user, weft_conn conn, const weft_close *close) {
    (void)user;
    (void)conn;
    (void)close;
    heard.closed++;
}

static const weft_conn_callbacks all_callbacks = {.size = sizeof all_callbacks,
                                                  .on_closed = on_closed,
                                                  .on_datagram = on_datagram,
                                                  .on_datagram_outcome = on_outcome,
                                                  .on_datagram_room = on_room};

/* ---- worlds ---- */

static void setup(void) {
    memset(&heard, 0, sizeof heard);
    memset(&world, 0, sizeof world);
    world.now = 1000 * MS;
    world_configs(&world);
    world.client = world_engine(&world, &world.client_log);
    world.server = world_engine(&world, &world.server_log);
}

static void teardown(void) { world_close(&world); }

static void option(weft_config config, const char *name, uint64_t value) {
    ck_assert_int_eq(weft_config_set_uint(config, name, value), 0);
}

/* Frames of up to so many bytes to either side. */
static void accept_frames(uint64_t at_client, uint64_t at_server) {
    option(world.client_config, "max_datagram_frame_size", at_client);
    option(world.server_config, "max_datagram_frame_size", at_server);
}

static void listen_and_connect(void) {
    ck_assert_int_eq(weft_listen(world.server, world.server_config, "192.0.2.2:443", NULL, &world.listener), 0);
    client = world_connect(&world, NULL);
    server = world_find(&world.server_log, WEFT_EV_ACCEPTED, NULL)->conn;
}

static void run(uint64_t ms) { world_run(&world, world.now + ms * MS); }

static int32_t send_filled(weft_conn conn, uint8_t byte, size_t len, uint64_t token) {
    static uint8_t bytes[65536];
    memset(bytes, byte, len);
    return weft_datagram_send(conn, bytes, len, token);
}

static void expect_outcome(uint32_t at, uint64_t token, uint32_t fate) {
    ck_assert_uint_lt(at, heard.outcomes);
    ck_assert_uint_eq(heard.tokens[at], token);
    ck_assert_uint_eq(heard.fates[at], fate);
}

/* ---- sending and receiving ---- */

START_TEST(callbacks_are_given_datagrams_and_outcomes)
{
    int mark;
    accept_frames(65535, 65535);
    listen_and_connect();
    ck_assert_int_eq(weft_conn_set_callbacks(server, &all_callbacks), 0);
    ck_assert_int_eq(weft_conn_set_user(server, &mark), 0);
    ck_assert_int_eq(send_filled(client, 1, 10, 0), 0);
    ck_assert_int_eq(send_filled(client, 2, 1000, 0), 0);
    ck_assert_int_eq(weft_datagram_send(client, NULL, 0, 0), 0);
    run(100);
    ck_assert_uint_eq(heard.count, 3);
    ck_assert_uint_eq(heard.lens[0] + heard.lens[1] + heard.lens[2], 1010);
    ck_assert_uint_eq(heard.firsts[0], 1);
    ck_assert_uint_eq(heard.firsts[1], 2);
    ck_assert_uint_eq(heard.lens[2], 0);
    ck_assert_uint_eq(heard.flags, 0);
    ck_assert_ptr_eq(heard.user, &mark);
    ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_DATAGRAM_OUTCOME), 0);
    ck_assert_int_eq(send_filled(server, 3, 20, 0), 0);
    ck_assert_int_eq(send_filled(server, 4, 20, 77), 0);
    run(100);
    ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_DATAGRAM), 2);
    ck_assert_uint_eq(heard.outcomes, 2);
    expect_outcome(0, 77, WEFT_DATAGRAM_SENT);
    expect_outcome(1, 77, WEFT_DATAGRAM_ACKED);
    weft_conn_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(weft_conn_get_stats(server, &stats), 0);
    ck_assert_uint_eq(stats.datagram_frames_sent, 2);
    ck_assert_uint_eq(stats.datagram_frames_received, 3);
}
END_TEST

START_TEST(batches_are_given_the_same)
{
    accept_frames(65535, 65535);
    listen_and_connect();
    ck_assert_int_eq(weft_conn_set_user(server, &world), 0);
    ck_assert_int_eq(send_filled(client, 1, 300, UINT64_MAX), 0);
    run(100);
    uint32_t at = 0;
    const weft_event *event = world_find(&world.server_log, WEFT_EV_DATAGRAM, NULL);
    ck_assert_ptr_nonnull(event);
    ck_assert_uint_eq(event->conn.id, server.id);
    ck_assert_uint_eq(event->stream.id, 0);
    ck_assert_uint_eq(event->len, 300);
    ck_assert_uint_eq(event->flags, 0);
    ck_assert_uint_ne(event->source, 0);
    ck_assert_ptr_eq(event->user, &world);
    for (uint64_t fate = WEFT_DATAGRAM_SENT; fate <= WEFT_DATAGRAM_ACKED; fate++) {
        event = world_find(&world.client_log, WEFT_EV_DATAGRAM_OUTCOME, &at);
        ck_assert_ptr_nonnull(event);
        ck_assert_uint_eq(event->conn.id, client.id);
        ck_assert_uint_eq(event->token, UINT64_MAX);
        ck_assert_uint_eq(event->code, fate);
    }
    ck_assert_ptr_null(world_find(&world.client_log, WEFT_EV_DATAGRAM_OUTCOME, &at));
}
END_TEST

START_TEST(early_ones_are_marked)
{
    accept_frames(65535, 65535);
    ck_assert_int_eq(weft_config_set(world.client_config, "early_data", "on"), 0);
    ck_assert_int_eq(weft_config_set(world.server_config, "early_data", "on"), 0);
    listen_and_connect();
    run(100);
    uint8_t session[8192];
    weft_conn again;
    weft_connect_params params = {.size = sizeof params, .server_name = "example.test", .session = session};
    params.session_len = (size_t)weft_conn_session(client, session, sizeof session);
    ck_assert_int_eq(weft_connect(world.client, world.client_config, "192.0.2.2", 443, &params, &again), 0);
    ck_assert_int_gt(weft_datagram_max(again), 1000);
    ck_assert_int_eq(send_filled(again, 1, 100, 1), 0);
    world_step(&world); /* the server has the first flight, the client has heard nothing yet */
    const weft_event *event = world_find(&world.server_log, WEFT_EV_DATAGRAM, NULL);
    ck_assert_ptr_nonnull(event);
    ck_assert_uint_eq(event->len, 100);
    ck_assert_uint_eq(event->flags, WEFT_ZERO_RTT);
    run(100);
    ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_DATAGRAM_OUTCOME), 2);
}
END_TEST

/* ---- keeping ---- */

static void keep_it(void *user, weft_conn conn, const weft_slice *datagram, uint32_t flags) {
    on_datagram(user, conn, datagram, flags);
    if (!heard.kept.id) {
        ck_assert_int_eq(weft_buffer_retain(datagram, &heard.kept, &heard.kept_data), 0);
        heard.kept_len = datagram->len;
    }
}

START_TEST(bytes_can_be_kept)
{
    static const weft_conn_callbacks table = {.size = sizeof table, .on_datagram = keep_it};
    accept_frames(65535, 65535);
    listen_and_connect();
    ck_assert_int_eq(weft_conn_set_callbacks(server, &table), 0);
    size_t len = _i ? 1000 : 10; /* from the buffer, from the arena */
    ck_assert_int_eq(send_filled(client, 9, len, 0), 0);
    run(100);
    for (int i = 0; i < 50; i++) /* over where they were */
        ck_assert_int_eq(send_filled(client, 5, len, 0), 0);
    run(100);
    ck_assert_uint_eq(heard.count, 51);
    ck_assert_uint_eq(heard.kept_len, len);
    for (size_t i = 0; i < len; i++)
        UNIT_CHECK(heard.kept_data[i] == 9);
    ck_assert_int_eq(weft_buffer_release(heard.kept), 0);
}
END_TEST

static uint64_t read_clock(void *user) { return ((struct world *)user)->now; }

static void read_batch(void *user, const weft_event *events, uint32_t count) {
    (void)user;
    for (uint32_t i = 0; i < count; i++) {
        if (events[i].type != WEFT_EV_DATAGRAM)
            continue;
        hear(events[i].data, events[i].len, events[i].flags);
        weft_slice slice = {events[i].data, events[i].len, events[i].source};
        weft_buffer buffer;
        const uint8_t *data;
        ck_assert_int_eq(weft_buffer_retain(&slice, &buffer, &data), 0);
        for (size_t j = 0; j < slice.len; j++)
            UNIT_CHECK(data[j] == slice.data[0]);
        ck_assert_int_eq(weft_buffer_release(buffer), 0);
    }
}

static void on_accept(void *user, weft_listener listener, weft_conn conn) {
    (void)user;
    (void)listener;
    server = conn;
}

START_TEST(they_wait_for_somebody_who_takes_them)
{
    static const weft_conn_callbacks none = {.size = sizeof none};
    static const weft_listener_callbacks acceptor = {.size = sizeof acceptor, .on_accept = on_accept};
    accept_frames(65535, 65535);
    ck_assert_int_eq(weft_engine_free(world.server), 0);
    weft_engine_params params = {.size = sizeof params,
                                 .flags = WEFT_ENGINE_EXTERNAL,
                                 .clock = read_clock,
                                 .clock_user = &world,
                                 .on_events = read_batch};
    weft_listen_params listen = {.size = sizeof listen, .callbacks = &acceptor, .conn_callbacks = &none};
    ck_assert_int_eq(weft_engine_new(&params, &world.server), 0);
    ck_assert_int_eq(weft_listen(world.server, world.server_config, "192.0.2.2:443", &listen, &world.listener), 0);
    client = world_connect(&world, NULL);
    for (uint32_t i = 0; i < 200; i++) {
        ck_assert_int_eq(send_filled(client, (uint8_t)(1 + i), 1000, 0), 0);
        run(i % 8 ? 0 : 50);
    }
    run(200);
    ck_assert_uint_eq(heard.count, 0);
    ck_assert_int_eq(weft_conn_set_callbacks(server, _i ? &all_callbacks : NULL), 0);
    run(1);
    ck_assert_uint_eq(heard.count, 200);
    for (uint32_t i = 0; i < 200; i++) {
        ck_assert_uint_eq(heard.lens[i], 1000);
        ck_assert_uint_eq(heard.firsts[i], 1 + i);
    }
}
END_TEST

/* ---- limits ---- */

START_TEST(without_negotiation_none_are_sent)
{
    ck_assert_uint_eq(weft_has_feature("datagrams"), 1);
    accept_frames(0, 0);
    weft_conn conn;
    weft_connect_params params = {.size = sizeof params, .server_name = "example.test"};
    ck_assert_int_eq(weft_connect(world.client, world.client_config, "192.0.2.2", 443, &params, &conn), 0);
    ck_assert_int_eq(weft_datagram_send(conn, "a", 1, 1), WEFT_E_STATE);
    ck_assert_int_eq(weft_datagram_max(conn), WEFT_E_STATE);
    ck_assert_int_eq(weft_conn_close(conn, 0, NULL), 0);
    run(5000);
    listen_and_connect();
    ck_assert_int_eq(weft_datagram_send(client, "a", 1, 1), WEFT_E_UNSUPPORTED);
    ck_assert_int_eq(weft_datagram_max(client), WEFT_E_UNSUPPORTED);
    ck_assert_int_eq(weft_conn_keep(client), 0);
    ck_assert_int_eq(weft_conn_close(client, 0, NULL), 0);
    ck_assert_int_eq(weft_datagram_send(client, "a", 1, 1), WEFT_E_CLOSED);
    ck_assert_int_eq(weft_datagram_max(client), WEFT_E_CLOSED);
    run(5000);
    ck_assert_int_eq(weft_datagram_send(client, "a", 1, 1), WEFT_E_CLOSED);
    ck_assert_int_eq(weft_datagram_max(client), WEFT_E_CLOSED);
    ck_assert_int_eq(weft_conn_release(client), 0);
    ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_DATAGRAM_OUTCOME), 0);
}
END_TEST

START_TEST(each_direction_has_its_limit)
{
    accept_frames(0, 102);
    listen_and_connect();
    ck_assert_int_eq(weft_datagram_max(server), WEFT_E_UNSUPPORTED);
    ck_assert_int_eq(weft_datagram_send(server, "a", 1, 0), WEFT_E_UNSUPPORTED);
    int32_t max = weft_datagram_max(client); /* type and Length count */
    ck_assert_int_eq(max, 99);
    ck_assert_int_eq(send_filled(client, 1, (size_t)max + 1, 1), WEFT_E_TOO_LARGE);
    ck_assert_int_eq(weft_datagram_send(client, NULL, 1, 1), WEFT_E_INVALID);
    ck_assert_int_eq(send_filled(client, 1, (size_t)max, 1), 0);
    run(100);
    ck_assert_uint_eq(world_find(&world.server_log, WEFT_EV_DATAGRAM, NULL)->len, 99);
}
END_TEST

START_TEST(only_empty_ones)
{
    accept_frames(0, 2);
    listen_and_connect();
    ck_assert_int_eq(weft_datagram_max(client), 0);
    ck_assert_int_eq(weft_datagram_send(client, "a", 1, 0), WEFT_E_TOO_LARGE);
    ck_assert_int_eq(weft_datagram_send(client, NULL, 0, 0), 0);
    run(100);
    ck_assert_uint_eq(world_count(&world.server_log, WEFT_EV_DATAGRAM), 1);
}
END_TEST

START_TEST(the_path_has_a_limit)
{
    accept_frames(65535, 65535);
    listen_and_connect();
    run(2000);
    weft_path path = {.size = sizeof path};
    ck_assert_int_eq(weft_conn_get_path(client, &path), 0);
    int32_t max = weft_datagram_max(client);
    ck_assert_int_gt(max, 1100);
    ck_assert_int_lt(max, (int32_t)path.mtu);
    ck_assert_int_eq(send_filled(client, 1, (size_t)max, 1), 0);
    ck_assert_int_eq(send_filled(client, 1, (size_t)max + 1, 2), WEFT_E_TOO_LARGE);
    run(100);
    ck_assert_uint_eq(world_find(&world.server_log, WEFT_EV_DATAGRAM, NULL)->len, (uint64_t)max);
}
END_TEST

START_TEST(a_full_queue_refuses_and_has_room_again)
{
    accept_frames(65535, 65535);
    option(world.client_config, "datagram_queue_count", 4);
    ck_assert_int_eq(weft_config_set_uint(world.client_config, "datagram_drop", 1), 0);
    listen_and_connect();
    if (_i)
        ck_assert_int_eq(weft_conn_set_callbacks(client, &all_callbacks), 0);
    for (uint64_t i = 1; i <= 4; i++)
        ck_assert_int_eq(send_filled(client, 1, 100, i), 0);
    ck_assert_int_eq(send_filled(client, 1, 100, 5), WEFT_E_BLOCKED);
    run(100);
    ck_assert_uint_eq(_i ? heard.rooms : world_count(&world.client_log, WEFT_EV_DATAGRAM_ROOM), 1);
    ck_assert_int_eq(send_filled(client, 1, 100, 5), 0);
    run(100);
    ck_assert_uint_eq(world_count(&world.server_log, WEFT_EV_DATAGRAM), 5);
    ck_assert_uint_eq(_i ? heard.outcomes : world_count(&world.client_log, WEFT_EV_DATAGRAM_OUTCOME), 10);
}
END_TEST

START_TEST(a_full_queue_drops_the_oldest)
{
    accept_frames(65535, 65535);
    option(world.client_config, "datagram_queue_count", 2);
    listen_and_connect();
    ck_assert_int_eq(weft_conn_set_callbacks(client, &all_callbacks), 0);
    for (uint64_t i = 1; i <= 3; i++)
        ck_assert_int_eq(send_filled(client, (uint8_t)i, 100, i), 0);
    run(100);
    ck_assert_uint_eq(heard.outcomes, 5);
    expect_outcome(0, 1, WEFT_DATAGRAM_DROPPED);
    expect_outcome(1, 2, WEFT_DATAGRAM_SENT);
    expect_outcome(2, 3, WEFT_DATAGRAM_SENT);
    ck_assert_uint_eq(heard.rooms, 0);
}
END_TEST

/* ---- ends ---- */

START_TEST(the_end_says_what_became_of_each)
{
    accept_frames(65535, 65535);
    listen_and_connect();
    run(100);
    ck_assert_int_eq(weft_conn_set_callbacks(client, &all_callbacks), 0);
    ck_assert_int_eq(send_filled(client, 1, 100, 1), 0);
    static uint8_t train[WEFT_TRAIN_SIZE];
    weft_datagram out = {.data = train, .segment = 1};
    weft_engine_turn(world.client);
    ck_assert_int_eq(weft_engine_output(world.client, &out), 1); /* and goes nowhere */
    ck_assert_int_eq(send_filled(client, 2, 100, 2), 0);
    ck_assert_int_eq(weft_conn_close(client, 0, NULL), 0);
    run(5000);
    ck_assert_uint_eq(heard.closed, 1);
    ck_assert_uint_eq(heard.outcomes, 3);
    expect_outcome(0, 1, WEFT_DATAGRAM_SENT);
    expect_outcome(1, 2, WEFT_DATAGRAM_DROPPED);
    expect_outcome(2, 1, WEFT_DATAGRAM_LOST);
}
END_TEST

START_TEST(lost_ones_are_lost)
{
    accept_frames(65535, 65535);
    listen_and_connect();
    run(100);
    ck_assert_int_eq(weft_conn_set_callbacks(client, &all_callbacks), 0);
    ck_assert_int_eq(send_filled(client, 1, 100, 1), 0);
    static uint8_t train[WEFT_TRAIN_SIZE];
    weft_datagram out = {.data = train, .segment = 1};
    weft_engine_turn(world.client);
    ck_assert_int_eq(weft_engine_output(world.client, &out), 1);
    for (uint64_t i = 2; i <= 6; i++) {
        ck_assert_int_eq(send_filled(client, 1, 1000, i), 0);
        run(50);
    }
    uint32_t lost = 0, acked = 0;
    for (uint32_t i = 0; i < heard.outcomes; i++) {
        lost += heard.fates[i] == WEFT_DATAGRAM_LOST && heard.tokens[i] == 1;
        acked += heard.fates[i] == WEFT_DATAGRAM_ACKED && heard.tokens[i] != 1;
    }
    ck_assert_uint_eq(lost, 1);
    ck_assert_uint_eq(acked, 5);
    ck_assert_uint_eq(world_count(&world.server_log, WEFT_EV_DATAGRAM), 5);
}
END_TEST

/* ---- anything in a callback ---- */

static enum deed { DO_CLOSE, DO_FREE, DO_TAKE_AWAY, DO_ANSWER } deed;

static void do_deed(weft_conn conn) {
    switch (deed) {
    case DO_CLOSE: weft_conn_close(conn, 0, NULL); break;
    case DO_FREE: ck_assert_int_eq(weft_engine_free(weft_conn_engine(conn)), 0); break;
    case DO_TAKE_AWAY: ck_assert_int_eq(weft_conn_set_callbacks(conn, NULL), 0); break;
    case DO_ANSWER: ck_assert_int_eq(weft_datagram_send(conn, "answer", 6, 1), 0); break;
    }
}

static void deed_on_datagram(void *user, weft_conn conn, const weft_slice *datagram, uint32_t flags) {
    do_deed(conn);
    if (deed != DO_FREE) /* its bytes are still there */
        on_datagram(user, conn, datagram, flags);
    else
        heard.count++;
}

static void deed_on_outcome(void *user, weft_conn conn, uint64_t token, uint32_t outcome) {
    (void)user;
    (void)token;
    (void)outcome;
    heard.outcomes++;
    if (deed != DO_ANSWER)
        do_deed(conn);
}

START_TEST(anything_is_allowed_in_a_callback)
{
    static const weft_conn_callbacks table = {
        .size = sizeof table, .on_datagram = deed_on_datagram, .on_datagram_outcome = deed_on_outcome};
    deed = (enum deed)(_i / 2);
    accept_frames(65535, 65535);
    listen_and_connect();
    run(100);
    weft_conn deedful = _i % 2 ? server : client; /* hears of datagrams, or of outcomes */
    uint32_t *tellings = _i % 2 ? &heard.count : &heard.outcomes;
    ck_assert_int_eq(weft_conn_set_callbacks(deedful, &table), 0);
    for (uint64_t i = 1; i <= 5; i++)
        ck_assert_int_eq(send_filled(client, 1, 400, i), 0);
    run(5000);
    static const uint32_t expected[][2] = {
        [DO_CLOSE] = {10, 5}, [DO_FREE] = {1, 1}, [DO_TAKE_AWAY] = {1, 1}, [DO_ANSWER] = {10, 5}};
    ck_assert_uint_eq(*tellings, expected[deed][_i % 2]);
    if (deed == DO_TAKE_AWAY && _i % 2) /* the rest went into batches */
        ck_assert_uint_eq(world_count(&world.server_log, WEFT_EV_DATAGRAM), 4);
    else if (deed == DO_TAKE_AWAY)
        ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_DATAGRAM_OUTCOME), 9);
}
END_TEST

START_TEST(memory_may_run_out)
{
    accept_frames(65535, 65535);
    listen_and_connect();
    run(100);
    int failed = 0;
    for (uint64_t at = 1; at <= 8; at++) {
        world.memory.calls = 0;
        world.memory.fail_at = at;
        int32_t error = send_filled(client, 1, 500, at);
        ck_assert(error == 0 || error == WEFT_E_NOMEM);
        failed += error != 0;
        run(50);
        world.memory.fail_at = 0;
    }
    ck_assert_int_gt(failed, 1);
    ck_assert_int_eq(send_filled(client, 1, 500, 100), 0);
    run(100);
    uint32_t ends = 0;
    for (uint32_t i = 0; i < world.client_log.count; i++) /* each that was taken has one end */
        ends += world.client_log.events[i].type == WEFT_EV_DATAGRAM_OUTCOME &&
                world.client_log.events[i].code != WEFT_DATAGRAM_SENT;
    ck_assert_int_eq((int)ends, 9 - failed);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("abi/datagram");
    TCase *tests = tcase_create("datagram");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, callbacks_are_given_datagrams_and_outcomes);
    tcase_add_test(tests, batches_are_given_the_same);
    tcase_add_test(tests, early_ones_are_marked);
    tcase_add_loop_test(tests, bytes_can_be_kept, 0, 2);
    tcase_add_loop_test(tests, they_wait_for_somebody_who_takes_them, 0, 2);
    tcase_add_test(tests, without_negotiation_none_are_sent);
    tcase_add_test(tests, each_direction_has_its_limit);
    tcase_add_test(tests, only_empty_ones);
    tcase_add_test(tests, the_path_has_a_limit);
    tcase_add_loop_test(tests, a_full_queue_refuses_and_has_room_again, 0, 2);
    tcase_add_test(tests, a_full_queue_drops_the_oldest);
    tcase_add_test(tests, the_end_says_what_became_of_each);
    tcase_add_test(tests, lost_ones_are_lost);
    tcase_add_loop_test(tests, anything_is_allowed_in_a_callback, 0, 2 * (DO_ANSWER + 1));
    tcase_add_test(tests, memory_may_run_out);
    suite_add_tcase(suite, tests);
    return suite;
}
