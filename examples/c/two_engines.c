/* two_engines.c - a server on two cores, behind one port.
 *
 * weft_pool makes a thread and an engine for each core; weft_pool_listen has them all listen on one port. The system
 * spreads clients over them, and keeps each with its engine even if the client's address changes. An engine and what
 * belongs to it is used by its own thread alone, so callbacks need no lock for what is theirs; what they share, such as
 * the counters here, must stand it. Other threads ask for things to be done with weft_pool_post.
 */
#include <stdio.h>
#include <stdlib.h>
#include <weft/weft.h>

#define ENGINES 2
#define CLIENTS 20

static weft_pool pool;
static uint32_t accepted[ENGINES]; /* each touched by one thread */
static int answered;

static void check(int64_t result, const char *what) {
    if (result >= 0)
        return;
    fprintf(stderr, "two_engines: %s: %s\n", what, weft_strerror((int32_t)result));
    exit(1);
}

/* ---- on the pool's threads ---- */

static weft_engine engines[ENGINES];

static int32_t setup(void *user, weft_pool of, uint32_t index, weft_engine engine) {
    (void)user;
    (void)of;
    engines[index] = engine; /* before anything runs; weft_pool_new returns after the last */
    return 0;
}

static void on_accept(void *user, weft_listener listener, weft_conn conn) {
    (void)user;
    (void)listener;
    for (int i = 0; i < ENGINES; i++)
        if (engines[i].id == weft_conn_engine(conn).id)
            accepted[i]++;
}

static void echo(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    for (uint32_t i = 0; i < count; i++)
        check(weft_stream_write(stream, slices[i].data, slices[i].len, 0), "echo");
    if (flags & WEFT_FIN)
        check(weft_stream_finish(stream), "finish");
}

static void teardown(void *user, weft_pool of, uint32_t index, weft_engine engine) {
    weft_engine_stats stats = {.size = sizeof stats};
    (void)user;
    (void)of;
    check(weft_engine_get_stats(engine, &stats), "counters");
    if (stats.connections_accepted != accepted[index])
        check(WEFT_E_INTERNAL, "an engine has a connection that is not its own");
}

/* ---- the main thread: clients ---- */

static void connected(void *user, weft_conn conn) {
    weft_stream stream;
    (void)user;
    check(weft_stream_open(conn, WEFT_BIDI, NULL, &stream), "stream");
    check(weft_stream_write(stream, "hello", 5, WEFT_FIN), "write");
}

static void data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    (void)slices;
    (void)count;
    if (!(flags & WEFT_FIN))
        return;
    answered++;
    check(weft_conn_close(weft_stream_conn(stream), 0, NULL), "close");
}

/* Each client has an engine, and so a port, of its own: the system spreads by address and port. */
static void run_client(weft_config config, uint16_t port) {
    static const weft_conn_callbacks on_conn = {.size = sizeof on_conn, .on_connected = connected};
    static const weft_stream_callbacks on_stream = {.size = sizeof on_stream, .on_data = data};
    const weft_connect_params params = {
        .size = sizeof params, .server_name = "localhost", .callbacks = &on_conn, .stream_callbacks = &on_stream};
    weft_engine engine;
    weft_conn conn;
    check(weft_engine_new(NULL, &engine), "engine");
    check(weft_connect(engine, config, "127.0.0.1", port, &params, &conn), "connect");
    check(weft_engine_run(engine), "run");
    check(weft_engine_free(engine), "free");
}

int main(void) {
    static const weft_listener_callbacks on_listener = {.size = sizeof on_listener, .on_accept = on_accept};
    static const weft_stream_callbacks on_echo = {.size = sizeof on_echo, .on_data = echo};
    const weft_pool_params params = {.size = sizeof params, .engines = ENGINES, .setup = setup, .teardown = teardown};
    const weft_listen_params listen = {.size = sizeof listen, .callbacks = &on_listener, .stream_callbacks = &on_echo};
    weft_config server_config, client_config;
    weft_addr address;
    uint8_t sha256[32];
    check(weft_config_new(WEFT_SERVER, &server_config), "config");
    check(weft_config_set_alpn(server_config, "echo"), "alpn");
    check(weft_config_self_signed(server_config, "localhost", 30), "certificate");
    check(weft_config_fingerprint(server_config, sha256), "fingerprint");
    check(weft_config_new(WEFT_CLIENT, &client_config), "config");
    check(weft_config_set_alpn(client_config, "echo"), "alpn");
    check(weft_config_add_pin(client_config, sha256), "pin");
    check(weft_pool_new(&params, &pool), "pool");
    check(weft_pool_listen(pool, server_config, "127.0.0.1:0", &listen, &address), "listen");
    for (int i = 0; i < CLIENTS; i++)
        run_client(client_config, address.port);
    check(weft_pool_free(pool), "free"); /* stops the engines and waits for their threads */
    printf("%d clients: %u of engine 0, %u of engine 1\n", answered, accepted[0], accepted[1]);
    check(weft_config_free(server_config), "free");
    check(weft_config_free(client_config), "free");
    return answered == CLIENTS && accepted[0] + accepted[1] == CLIENTS ? 0 : 1;
}
