/* many_connections.c - a thousand connections on one engine, one thread and two sockets.
 *
 * One struct a connection is its user pointer; everything else is in the tables of callbacks, which all of them share.
 * The clients begin a few at a time: handshakes cost far more than anything that follows.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft/weft.h>

#define CONNECTIONS 1000
#define AT_ONCE 50 /* handshakes under way */

struct client {
    uint32_t number;
    uint32_t answer;
    uint32_t received; /* bytes of it */
};

static weft_engine engine;
static weft_config server_config, client_config;
static weft_listener listener;
static weft_addr address;
static struct client clients[CONNECTIONS];
static weft_conn conns[CONNECTIONS];
static uint32_t begun, answered, closed_count, wrong;

static void check(int64_t result, const char *what) {
    if (result >= 0)
        return;
    fprintf(stderr, "many_connections: %s: %s\n", what, weft_strerror((int32_t)result));
    exit(1);
}

static void echo(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    for (uint32_t i = 0; i < count; i++)
        check(weft_stream_write(stream, slices[i].data, slices[i].len, 0), "echo"); /* four bytes: there is room */
    if (flags & WEFT_FIN)
        check(weft_stream_finish(stream), "finish");
}

static void connected(void *user, weft_conn conn);
static void closed(void *user, weft_conn conn, const weft_close *close);
static void data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags);

static const weft_conn_callbacks on_conn = {.size = sizeof on_conn, .on_connected = connected, .on_closed = closed};
static const weft_stream_callbacks on_stream = {.size = sizeof on_stream, .on_data = data};
static const weft_stream_callbacks on_echo = {.size = sizeof on_echo, .on_data = echo};

static void begin_next(void) {
    if (begun == CONNECTIONS)
        return;
    struct client *client = &clients[begun];
    weft_connect_params params = {.size = sizeof params,
                                  .server_name = "localhost",
                                  .callbacks = &on_conn,
                                  .stream_callbacks = &on_stream,
                                  .user = client};
    client->number = begun;
    check(weft_connect(engine, client_config, "127.0.0.1", address.port, &params, &conns[begun]), "connect");
    begun++;
}

static void connected(void *user, weft_conn conn) {
    struct client *client = user;
    weft_stream stream;
    check(weft_stream_open(conn, WEFT_BIDI, NULL, &stream), "stream"); /* its user pointer is the connection's */
    check(weft_stream_write(stream, &client->number, sizeof client->number, WEFT_FIN), "write");
    begin_next();
}

static void data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    struct client *client = user;
    (void)stream;
    for (uint32_t i = 0; i < count; i++)
        for (size_t at = 0; at < slices[i].len && client->received < sizeof client->answer; at++)
            ((unsigned char *)&client->answer)[client->received++] = slices[i].data[at];
    if (!(flags & WEFT_FIN))
        return;
    wrong += client->received != sizeof client->answer || client->answer != client->number;
    if (++answered < CONNECTIONS)
        return;
    /* All thousand are open at this moment. */
    weft_engine_stats stats = {.size = sizeof stats};
    check(weft_engine_get_stats(engine, &stats), "counters");
    printf("%" PRIu64 " connections, both ends of %d, in %" PRIu64 " KiB\n", stats.connections, CONNECTIONS,
           stats.memory_used / 1024);
    for (uint32_t i = 0; i < CONNECTIONS; i++)
        check(weft_conn_close(conns[i], 0, NULL), "close");
}

static void closed(void *user, weft_conn conn, const weft_close *close) {
    (void)user;
    (void)conn;
    wrong += close->cause != WEFT_CAUSE_LOCAL;
    if (++closed_count == CONNECTIONS)
        check(weft_listener_close(listener, 0), "close");
}

int main(void) {
    const weft_listen_params listen = {.size = sizeof listen, .stream_callbacks = &on_echo};
    uint8_t sha256[32];
    check(weft_config_new(WEFT_SERVER, &server_config), "config");
    check(weft_config_set_alpn(server_config, "many"), "alpn");
    check(weft_config_self_signed(server_config, "localhost", 30), "certificate");
    check(weft_config_fingerprint(server_config, sha256), "fingerprint");
    check(weft_config_new(WEFT_CLIENT, &client_config), "config");
    check(weft_config_set_alpn(client_config, "many"), "alpn");
    check(weft_config_set(client_config, "max_idle_timeout", "300s"), "option"); /* slow machines take their time */
    check(weft_config_set(client_config, "handshake_timeout", "60s"), "option");
    check(weft_config_set(server_config, "max_idle_timeout", "300s"), "option");
    check(weft_config_add_pin(client_config, sha256), "pin"); /* one configuration serves all */
    check(weft_engine_new(NULL, &engine), "engine");
    check(weft_listen(engine, server_config, "127.0.0.1:0", &listen, &listener), "listen");
    check(weft_listener_address(listener, &address), "address");
    for (int i = 0; i < AT_ONCE; i++)
        begin_next();
    check(weft_engine_run(engine), "run");
    check(weft_engine_free(engine), "free");
    check(weft_config_free(server_config), "free");
    check(weft_config_free(client_config), "free");
    return answered == CONNECTIONS && wrong == 0 ? 0 : 1;
}
