/* Tests of engine.c: the ways to drive an engine, with real sockets on the loopback interface; other threads; the
 * end. */
#include <poll.h>
#include <pthread.h>
#include <uv.h>

#include "world.h"

static weft_config client_config, server_config;
static weft_engine engine;
static weft_listener listener;
static weft_addr address;
static char echoed[64];
static size_t echoed_len;
static int closed_count;

/* ---- an echo, client and server on one engine ---- */

static void echo_data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    for (uint32_t i = 0; i < count; i++)
        weft_stream_write(stream, slices[i].data, slices[i].len, 0);
    if (flags & WEFT_FIN)
        weft_stream_finish(stream);
}

static void client_data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    for (uint32_t i = 0; i < count && echoed_len + slices[i].len < sizeof echoed; i++) {
        memcpy(echoed + echoed_len, slices[i].data, slices[i].len);
        echoed_len += slices[i].len;
    }
    if (flags & WEFT_FIN)
        weft_conn_close(weft_stream_conn(stream), 0, "done");
}

static void client_connected(void *user, weft_conn conn) {
    weft_stream stream;
    (void)user;
    ck_assert_int_eq(weft_stream_open(conn, WEFT_BIDI, NULL, &stream), 0);
    ck_assert_int_eq(weft_stream_write(stream, "over the wire", 13, WEFT_FIN), 13);
}

static void client_closed(void *user, weft_conn conn, const weft_close *close) {
    (void)conn;
    (void)close;
    closed_count++;
    if (user)
        ck_assert_int_eq(weft_engine_free(*(weft_engine *)user), 0);
    else
        ck_assert_int_eq(weft_listener_close(listener, 0), 0); /* nothing is left to wait for */
}

static const weft_stream_callbacks echo_table = {.size = sizeof echo_table, .on_data = echo_data};
static const weft_stream_callbacks client_table = {.size = sizeof client_table, .on_data = client_data};
static const weft_conn_callbacks conn_table = {
    .size = sizeof conn_table, .on_connected = client_connected, .on_closed = client_closed};

static void begin(uv_loop_t *loop, weft_engine *end_with) {
    weft_engine_params params = {.size = sizeof params, .uv_loop = loop};
    ck_assert_int_eq(weft_engine_new(&params, &engine), 0);
    weft_listen_params listen = {.size = sizeof listen, .stream_callbacks = &echo_table};
    ck_assert_int_eq(weft_listen(engine, server_config, "127.0.0.1:0", &listen, &listener), 0);
    ck_assert_int_eq(weft_listener_address(listener, &address), 0);
    ck_assert_uint_ne(address.port, 0);
    weft_connect_params connect = {.size = sizeof connect,
                                   .server_name = "example.test",
                                   .callbacks = &conn_table,
                                   .stream_callbacks = &client_table,
                                   .user = end_with};
    weft_conn conn;
    ck_assert_int_eq(weft_connect(engine, client_config, "127.0.0.1", address.port, &connect, &conn), 0);
}

static void check_echo(void) {
    ck_assert_int_eq(closed_count, 1);
    ck_assert_uint_eq(echoed_len, 13);
    ck_assert_mem_eq(echoed, "over the wire", 13);
}

static void setup(void) {
    struct world configs;
    world_configs(&configs);
    client_config = configs.client_config;
    server_config = configs.server_config;
    echoed_len = 0;
    closed_count = 0;
}

static void teardown(void) {
    weft_config_free(client_config);
    weft_config_free(server_config);
}

START_TEST(run_until_nothing_is_left)
{
    begin(NULL, NULL);
    ck_assert_int_eq(weft_engine_run(engine), 0);
    check_echo();
    ck_assert_int_eq(weft_listener_stop(listener), WEFT_E_GONE);
    ck_assert_int_eq(weft_engine_free(engine), 0);
}
END_TEST

START_TEST(turn_by_turn)
{
    begin(NULL, NULL);
    int fd = weft_engine_fd(engine);
    ck_assert_int_ge(fd, 0);
    while (!closed_count) {
        uint64_t wait;
        ck_assert_int_eq(weft_engine_deadline(engine, &wait), 0);
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        poll(&poll_fd, 1, wait > 1000000000 ? 1000 : (int)(wait / 1000000));
        ck_assert_int_ge(weft_engine_turn(engine), 0);
    }
    check_echo();
    ck_assert_int_eq(weft_engine_free(engine), 0);
}
END_TEST

START_TEST(on_a_loop_of_the_caller)
{
    uv_loop_t loop;
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    begin(&loop, NULL);
    ck_assert_int_eq(weft_engine_run(engine), WEFT_E_STATE);
    ck_assert_int_eq(weft_engine_turn(engine), WEFT_E_STATE);
    uv_run(&loop, UV_RUN_DEFAULT);
    check_echo();
    ck_assert_int_eq(weft_engine_free(engine), 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

START_TEST(freed_in_its_own_callback)
{
    begin(NULL, &engine);
    ck_assert_int_eq(weft_engine_run(engine), 0);
    check_echo();
    ck_assert_int_eq(weft_engine_free(engine), WEFT_E_GONE);
}
END_TEST

START_TEST(freed_in_its_own_callback_on_a_loop_of_the_caller)
{
    uv_loop_t loop;
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    begin(&loop, &engine);
    uv_run(&loop, UV_RUN_DEFAULT);
    check_echo();
    ck_assert_int_eq(weft_engine_free(engine), WEFT_E_GONE);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

START_TEST(freed_in_the_midst_of_it)
{
    begin(NULL, NULL);
    for (int i = 0; i < _i; i++)
        weft_engine_turn(engine);
    ck_assert_int_eq(weft_engine_free(engine), 0);
    ck_assert_int_eq(weft_engine_turn(engine), WEFT_E_GONE);
}
END_TEST

/* ---- many requests at once ---- */

#define MANY 100

static unsigned asked, run, longest_run; /* run: of requests heard, none of which is answered yet */
static uint64_t calls;

static uint64_t send_calls(weft_engine of) {
    weft_engine_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(weft_engine_get_stats(of, &stats), 0);
    return stats.send_calls;
}

static void many_data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user, (void)slices, (void)count;
    if (!(flags & WEFT_FIN))
        return; /* the rest is in the next datagram */
    ck_assert_int_eq(weft_stream_finish(stream), 0);
    uint64_t now = send_calls(engine);
    run = now == calls ? run + 1 : 1;
    calls = now;
    longest_run = run > longest_run ? run : longest_run;
    asked++;
}

static void many_connected(void *user, weft_conn conn) { *(weft_conn *)user = conn; }

static const weft_stream_callbacks many_table = {.size = sizeof many_table, .on_data = many_data};
static const weft_conn_callbacks many_conn = {.size = sizeof many_conn, .on_connected = many_connected};

/* What came in one train is not taken in whole before the first of it is answered: the peer has something to do
 * meanwhile. */
START_TEST(many_are_answered_in_pieces)
{
    static const uint8_t message[100];
    weft_engine client;
    weft_conn conn = {0}, unused;
    weft_listen_params listen = {.size = sizeof listen, .stream_callbacks = &many_table};
    weft_connect_params connect = {
        .size = sizeof connect, .server_name = "example.test", .callbacks = &many_conn, .user = &conn};
    asked = run = longest_run = 0;
    ck_assert_int_eq(weft_engine_new(NULL, &engine), 0);
    ck_assert_int_eq(weft_engine_new(NULL, &client), 0);
    ck_assert_int_eq(weft_listen(engine, server_config, "127.0.0.1:0", &listen, &listener), 0);
    ck_assert_int_eq(weft_listener_address(listener, &address), 0);
    ck_assert_int_eq(weft_connect(client, client_config, "127.0.0.1", address.port, &connect, &unused), 0);
    while (!conn.id) {
        weft_engine_turn(client);
        weft_engine_turn(engine);
    }
    for (int i = 0; i < MANY; i++) {
        weft_stream stream;
        ck_assert_int_eq(weft_stream_open(conn, WEFT_BIDI, NULL, &stream), 0);
        ck_assert_int_eq(weft_stream_write(stream, message, sizeof message, WEFT_FIN), sizeof message);
    }
    uint64_t quiet = 0;
    while (quiet < 1000000) { /* until only an answer could make it say more */
        weft_engine_turn(client);
        ck_assert_int_eq(weft_engine_deadline(client, &quiet), 0);
    }
    for (int i = 0; i < 4; i++) /* one takes what woke the loop, another the train */
        weft_engine_turn(engine);
    ck_assert_uint_ge(asked, MANY * 3 / 4);
    ck_assert_uint_le(longest_run, MANY * 2 / 3);
    ck_assert_int_eq(weft_engine_free(client), 0);
    ck_assert_int_eq(weft_engine_free(engine), 0);
}
END_TEST

/* ---- other threads ---- */

static int order[100], posted;

static void note(void *arg) {
    order[posted++] = *(int *)arg;
    if (posted == 100)
        ck_assert_int_eq(weft_engine_stop(engine), 0);
}

static void *poster(void *arg) {
    int *numbers = arg;
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(weft_engine_post(engine, note, &numbers[i]), 0);
        ck_assert_int_eq(weft_engine_wake(engine), 0);
    }
    return NULL;
}

START_TEST(posts_come_in_order)
{
    int numbers[100];
    for (int i = 0; i < 100; i++)
        numbers[i] = i;
    begin(NULL, NULL);
    posted = 0;
    pthread_t thread;
    ck_assert_int_eq(weft_engine_post(engine, NULL, NULL), WEFT_E_INVALID);
    ck_assert_int_eq(pthread_create(&thread, NULL, poster, numbers), 0);
    while (posted < 100)
        ck_assert_int_eq(weft_engine_run(engine), 0);
    pthread_join(thread, NULL);
    ck_assert_mem_eq(order, numbers, sizeof order);
    ck_assert_int_eq(weft_engine_post(engine, note, numbers), 0); /* never called */
    ck_assert_int_eq(weft_engine_free(engine), 0);
    ck_assert_int_eq(posted, 100);
    ck_assert_int_eq(weft_engine_post(engine, note, numbers), WEFT_E_GONE);
}
END_TEST

START_TEST(ports_in_use_are_named)
{
    begin(NULL, NULL);
    char text[64], why[200];
    weft_listener second;
    weft_addr_format(&address, text, sizeof text);
    ck_assert_int_lt(weft_listen(engine, server_config, text, NULL, &second), 0);
    ck_assert_int_gt(weft_engine_error(engine, why, sizeof why), 0);
    ck_assert_int_eq(weft_engine_free(engine), 0);
}
END_TEST

START_TEST(parameters_that_do_not_go_together)
{
    uv_loop_t loop;
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    weft_engine made;
    weft_engine_params params = {.size = sizeof params, .uv_loop = &loop, .flags = WEFT_ENGINE_EXTERNAL};
    ck_assert_int_eq(weft_engine_new(&params, &made), WEFT_E_INVALID);
    params = (weft_engine_params){.size = sizeof params, .number = 256};
    ck_assert_int_eq(weft_engine_new(&params, &made), WEFT_E_INVALID);
    params = (weft_engine_params){.size = sizeof params, .flags = 2};
    ck_assert_int_eq(weft_engine_new(&params, &made), WEFT_E_INVALID);
    ck_assert_int_eq(weft_engine_new(NULL, NULL), WEFT_E_INVALID);
    uv_loop_close(&loop);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *all[] = {run_until_nothing_is_left,
                          turn_by_turn,
                          on_a_loop_of_the_caller,
                          freed_in_its_own_callback,
                          freed_in_its_own_callback_on_a_loop_of_the_caller,
                          many_are_answered_in_pieces,
                          posts_come_in_order,
                          ports_in_use_are_named,
                          parameters_that_do_not_go_together};
    Suite *suite = suite_create("abi/engine");
    TCase *tests = tcase_create("engine");
    tcase_add_checked_fixture(tests, setup, teardown);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tcase_add_test(tests, all[i]);
    tcase_add_loop_test(tests, freed_in_the_midst_of_it, 0, 8);
    suite_add_tcase(suite, tests);
    return suite;
}
