/* Tests of pool.c: engines on threads, one port for all, their beginning, their end, and wrong use. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "world.h"

#define ENGINES 3
#define CONNS 24

static weft_config server_config, client_config;
static weft_pool pool;
static pthread_t threads[ENGINES + 1];
static weft_engine set_up[ENGINES + 1];
static _Atomic int setups, teardowns, accepted[ENGINES], done, fail_at, stop_at, freed_at;

/* ---- what the pool calls ---- */

static int32_t on_setup(void *user, weft_pool of, uint32_t index, weft_engine engine) {
    uint64_t now;
    ck_assert_ptr_eq(user, &setups);
    ck_assert_int_eq(weft_engine_now(engine, &now), 0);         /* ours: we are its thread */
    ck_assert_int_eq(atomic_fetch_add(&setups, 1), (int)index); /* in order, one after the other */
    ck_assert_int_eq(weft_pool_join(of), WEFT_E_STATE);
    ck_assert_int_eq(weft_pool_free(of), WEFT_E_STATE);
    ck_assert_int_eq(weft_pool_listen(of, server_config, "127.0.0.1:0", NULL, NULL), WEFT_E_STATE);
    weft_pool another;
    ck_assert_int_eq(weft_pool_new(NULL, &another), WEFT_E_STATE);
    threads[index] = pthread_self();
    set_up[index] = engine;
    if (atomic_load(&stop_at) == (int)index + 1)
        ck_assert_int_eq(weft_pool_stop(of), 0);
    return atomic_load(&fail_at) == (int)index + 1 ? -4711 : 0;
}

static void on_teardown(void *user, weft_pool of, uint32_t index, weft_engine engine) {
    uint64_t now;
    ck_assert_ptr_eq(user, &setups);
    ck_assert_uint_ne(of.id, 0);
    ck_assert(pthread_equal(pthread_self(), threads[index]));
    ck_assert_int_eq(weft_engine_now(engine, &now), atomic_load(&freed_at) == (int)index + 1 ? WEFT_E_GONE : 0);
    atomic_fetch_add(&teardowns, 1);
}

static int32_t make(uint32_t engines) {
    weft_pool_params params = {
        .size = sizeof params, .engines = engines, .setup = on_setup, .teardown = on_teardown, .user = &setups};
    return weft_pool_new(&params, &pool);
}

static void setup(void) {
    uint8_t sha256[32];
    ck_assert_int_eq(weft_config_new(WEFT_SERVER, &server_config), 0);
    ck_assert_int_eq(weft_config_set_alpn(server_config, "test"), 0);
    ck_assert_int_eq(weft_config_self_signed(server_config, "example.test", 10), 0);
    ck_assert_int_eq(weft_config_fingerprint(server_config, sha256), 0);
    ck_assert_int_eq(weft_config_new(WEFT_CLIENT, &client_config), 0);
    ck_assert_int_eq(weft_config_set_alpn(client_config, "test"), 0);
    ck_assert_int_eq(weft_config_add_pin(client_config, sha256), 0);
}

static void teardown(void) {
    weft_config_free(server_config);
    weft_config_free(client_config);
}

static void post_done(void *arg) {
    (void)arg;
    atomic_fetch_add(&done, 1);
}

static void wait_for(int count) {
    while (atomic_load(&done) < count)
        usleep(1000);
}

/* ---- life ---- */

START_TEST(from_beginning_to_end)
{
    uint32_t count;
    weft_engine engine;
    uint64_t now;
    ck_assert_int_eq(make(ENGINES), 0);
    ck_assert_int_eq(setups, ENGINES);
    ck_assert_int_eq(weft_pool_count(pool, &count), 0);
    ck_assert_uint_eq(count, ENGINES);
    for (uint32_t i = 0; i < ENGINES; i++) {
        ck_assert_int_eq(weft_pool_engine(pool, i, &engine), 0);
        ck_assert_uint_eq(engine.id, set_up[i].id);
        ck_assert_int_eq(weft_engine_now(engine, &now), WEFT_E_THREAD);
        ck_assert_int_eq(weft_pool_post(pool, i, post_done, NULL), 0);
    }
    wait_for(ENGINES);
    usleep(20000); /* nothing to wait for: they stay */
    for (uint32_t i = 0; i < ENGINES; i++)
        ck_assert_int_eq(weft_pool_post(pool, i, post_done, NULL), 0);
    wait_for(2 * ENGINES);
    ck_assert_int_eq(weft_pool_engine(pool, ENGINES, &engine), WEFT_E_VALUE);
    ck_assert_int_eq(weft_pool_post(pool, ENGINES, post_done, NULL), WEFT_E_VALUE);
    ck_assert_int_eq(weft_pool_post(pool, 0, NULL, NULL), WEFT_E_INVALID);
    ck_assert_int_eq(teardowns, 0);
    ck_assert_int_eq(weft_pool_stop(pool), 0);
    ck_assert_int_eq(weft_pool_stop(pool), 0);
    ck_assert_int_eq(weft_pool_join(pool), 0);
    ck_assert_int_eq(weft_pool_join(pool), 0);
    ck_assert_int_eq(teardowns, ENGINES);
    ck_assert_int_eq(weft_pool_post(pool, 0, post_done, NULL), WEFT_E_GONE);
    ck_assert_int_eq(weft_pool_listen(pool, server_config, "127.0.0.1:0", NULL, NULL), WEFT_E_STATE);
    ck_assert_int_eq(weft_pool_free(pool), 0);
    ck_assert_int_eq(weft_pool_free(pool), WEFT_E_GONE);
    ck_assert_int_eq(weft_pool_stop(pool), WEFT_E_GONE);
    ck_assert_int_eq(weft_pool_count((weft_pool){12345}, &count), WEFT_E_HANDLE);
}
END_TEST

START_TEST(a_setup_that_fails)
{
    fail_at = 2;
    pool.id = 77;
    ck_assert_int_eq(make(ENGINES), -4711);
    ck_assert_uint_eq(pool.id, 77);
    ck_assert_int_eq(setups, 2);
    ck_assert_int_eq(teardowns, 1); /* of the one that was set up */
}
END_TEST

START_TEST(stopped_while_it_begins)
{
    stop_at = 2;
    ck_assert_int_eq(make(ENGINES), 0);
    ck_assert_int_eq(weft_pool_join(pool), 0);
    ck_assert_int_eq(setups, 2);
    ck_assert_int_eq(teardowns, 2);
    ck_assert_int_eq(weft_pool_free(pool), 0);
}
END_TEST

START_TEST(wrong_arguments)
{
    weft_engine_params external = {.size = sizeof external, .flags = WEFT_ENGINE_EXTERNAL};
    weft_pool_params params = {.size = sizeof params, .engines = 257};
    ck_assert_int_eq(weft_pool_new(NULL, NULL), WEFT_E_INVALID);
    ck_assert_int_eq(weft_pool_new(&params, &pool), WEFT_E_INVALID);
    params = (weft_pool_params){.size = sizeof params, .engine_params = &external};
    ck_assert_int_eq(weft_pool_new(&params, &pool), WEFT_E_INVALID);
    ck_assert_int_eq(make(1), 0);
    ck_assert_int_eq(weft_pool_count(pool, NULL), WEFT_E_INVALID);
    ck_assert_int_eq(weft_pool_engine(pool, 0, NULL), WEFT_E_INVALID);
    ck_assert_int_eq(weft_pool_listen(pool, server_config, NULL, NULL, NULL), WEFT_E_INVALID);
    ck_assert_int_eq(weft_pool_listen(pool, server_config, "nowhere", NULL, NULL), WEFT_E_ADDRESS);
    ck_assert_int_eq(weft_pool_listen(pool, client_config, "127.0.0.1:0", NULL, NULL), WEFT_E_TLS);
    ck_assert_int_eq(weft_pool_free(pool), 0);
    weft_listen_params listen = {.size = sizeof listen, .flags = WEFT_LISTEN_STEER};
    weft_engine engine;
    weft_listener listener;
    ck_assert_int_eq(weft_engine_new(NULL, &engine), 0);
    ck_assert_int_eq(weft_listen(engine, server_config, "127.0.0.1:0", &listen, &listener), WEFT_E_INVALID);
    ck_assert_int_eq(weft_engine_free(engine), 0);
}
END_TEST

START_TEST(as_many_as_processors)
{
    uint32_t count = 0;
    ck_assert_int_eq(weft_pool_new(NULL, &pool), 0);
    ck_assert_int_eq(weft_pool_count(pool, &count), 0);
    ck_assert_uint_ge(count, 1);
    ck_assert_int_eq(weft_pool_free(pool), 0);
}
END_TEST

/* ---- one port ---- */

static void on_accept(void *user, weft_listener listener, weft_conn conn) {
    (void)user;
    (void)listener;
    for (int i = 0; i < ENGINES; i++)
        if (weft_conn_engine(conn).id == set_up[i].id && pthread_equal(pthread_self(), threads[i]))
            atomic_fetch_add(&accepted[i], 1);
}

static void echo(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    for (uint32_t i = 0; i < count; i++)
        ck_assert_int_eq(weft_stream_write(stream, slices[i].data, slices[i].len, 0), (int64_t)slices[i].len);
    if (flags & WEFT_FIN)
        ck_assert_int_eq(weft_stream_finish(stream), 0);
}

static void connected(void *user, weft_conn conn) {
    weft_stream stream;
    (void)user;
    ck_assert_int_eq(weft_stream_open(conn, WEFT_BIDI, NULL, &stream), 0);
    ck_assert_int_eq(weft_stream_write(stream, "hello", 5, WEFT_FIN), 5);
}

static void answered(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    (void)slices;
    (void)count;
    if (flags & WEFT_FIN) {
        atomic_fetch_add(&done, 1);
        ck_assert_int_eq(weft_conn_close(weft_stream_conn(stream), 0, NULL), 0);
    }
}

static const weft_listener_callbacks listener_table = {.size = sizeof listener_table, .on_accept = on_accept};
static const weft_stream_callbacks echo_table = {.size = sizeof echo_table, .on_data = echo};
static const weft_conn_callbacks conn_table = {.size = sizeof conn_table, .on_connected = connected};
static const weft_stream_callbacks stream_table = {.size = sizeof stream_table, .on_data = answered};

START_TEST(clients_of_one_port)
{
    weft_listen_params listen = {.size = sizeof listen, .callbacks = &listener_table, .stream_callbacks = &echo_table};
    weft_addr bound;
    ck_assert_int_eq(make(ENGINES), 0);
    ck_assert_int_eq(weft_pool_listen(pool, server_config, "127.0.0.1:0", &listen, &bound), 0);
    ck_assert_uint_ne(bound.port, 0);
    weft_connect_params params = {.size = sizeof params, .callbacks = &conn_table, .stream_callbacks = &stream_table};
    for (int i = 0; i < CONNS; i++) { /* each from an engine, so a port, of its own */
        weft_engine engine;
        weft_conn conn;
        ck_assert_int_eq(weft_engine_new(NULL, &engine), 0);
        ck_assert_int_eq(weft_connect(engine, client_config, "127.0.0.1", bound.port, &params, &conn), 0);
        ck_assert_int_eq(weft_engine_run(engine), 0);
        ck_assert_int_eq(weft_engine_free(engine), 0);
    }
    ck_assert_int_eq(done, CONNS);
    int sum = 0;
    for (int i = 0; i < ENGINES; i++) {
        ck_assert_int_lt(accepted[i], CONNS);
        sum += accepted[i];
    }
    ck_assert_int_eq(sum, CONNS);
    ck_assert_int_eq(weft_pool_free(pool), 0);
}
END_TEST

/* All engines listen or none: the second address is taken by a socket that shares nothing. */
START_TEST(listening_fails_for_all)
{
    weft_engine engine;
    weft_listener listener;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT];
    ck_assert_int_eq(make(ENGINES), 0);
    ck_assert_int_eq(weft_engine_new(NULL, &engine), 0);
    ck_assert_int_eq(weft_listen(engine, server_config, "127.0.0.1:0", NULL, &listener), 0);
    ck_assert_int_eq(weft_listener_address(listener, &addr), 0);
    ck_assert_int_gt(weft_addr_format(&addr, text, sizeof text), 0);
    ck_assert_int_eq(weft_pool_listen(pool, server_config, text, NULL, NULL), WEFT_E_IO);
    ck_assert_int_eq(weft_engine_free(engine), 0);
    ck_assert_int_eq(weft_pool_listen(pool, server_config, text, NULL, &addr), 0);
    ck_assert_int_eq(weft_pool_free(pool), 0);
}
END_TEST

static _Atomic bool waits;

static void free_own_engine(void *arg) {
    uint32_t index = *(uint32_t *)arg;
    weft_engine engine;
    while (!atomic_load(&waits))
        usleep(1000);
    usleep(50000); /* so that the other call is likely to wait already; else it finds no engine */
    ck_assert_int_eq(weft_pool_engine(pool, index, &engine), 0);
    atomic_store(&freed_at, (int)index + 1);
    ck_assert_int_eq(weft_engine_free(engine), 0);
}

static void now_it_waits(void *arg) {
    (void)arg;
    atomic_store(&waits, true);
}

/* An engine that the application has freed answers no more; nobody waits for it until the pool is stopped. */
START_TEST(listening_does_not_wait_for_an_engine_that_is_freed)
{
    static uint32_t last = ENGINES - 1;
    ck_assert_int_eq(make(ENGINES), 0);
    ck_assert_int_eq(weft_pool_post(pool, last, free_own_engine, &last), 0);
    ck_assert_int_eq(weft_pool_post(pool, 0, now_it_waits, NULL), 0);
    ck_assert_int_eq(weft_pool_listen(pool, server_config, "127.0.0.1:0", NULL, NULL), WEFT_E_STATE);
    ck_assert_int_eq(weft_pool_free(pool), 0);
}
END_TEST

/* ---- from many threads ---- */

static void *poster(void *arg) {
    (void)arg;
    for (int i = 0; i < 2000; i++) {
        int32_t result = weft_pool_post(pool, (uint32_t)i % ENGINES, post_done, NULL);
        ck_assert(result == 0 || result == WEFT_E_GONE);
    }
    return NULL;
}

START_TEST(freed_while_others_post)
{
    pthread_t posters[4];
    ck_assert_int_eq(make(ENGINES), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&posters[i], NULL, poster, NULL), 0);
    wait_for(100);
    ck_assert_int_eq(weft_pool_free(pool), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(posters[i], NULL);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("abi/pool");
    TCase *all = tcase_create("pool");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_set_timeout(all, 0);
    tcase_add_test(all, from_beginning_to_end);
    tcase_add_test(all, a_setup_that_fails);
    tcase_add_test(all, stopped_while_it_begins);
    tcase_add_test(all, wrong_arguments);
    tcase_add_test(all, as_many_as_processors);
    tcase_add_test(all, clients_of_one_port);
    tcase_add_test(all, listening_fails_for_all);
    tcase_add_test(all, listening_does_not_wait_for_an_engine_that_is_freed);
    tcase_add_test(all, freed_while_others_post);
    suite_add_tcase(suite, all);
    return suite;
}
