/* echo.c - a program like those of weft's users: a server and a client in one process, 100,000 bytes there and back.
 *
 * tests/abi/run compiles it with the oldest header there is, as C99 and as C++11, and runs it on today's library; and
 * with what is installed, linked in every way. So it uses what version 0.1 had, and nothing else of the project.
 *
 * It ends with 0 when every byte came back, and everything ended in its order; else it says what was wrong.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/weft.h>

#define BYTES 100000

static struct {
    weft_listener listener;
    weft_stream_callbacks to_client;
    unsigned char sent[BYTES], received[BYTES];
    size_t sent_len, received_len;
    int accepted, connected, finished, closed, listener_closed;
} state;

static void check(int good, const char *what) {
    if (good)
        return;
    fprintf(stderr, "echo: %s\n", what);
    exit(1);
}

/* ---- server ---- */

static void accepted(void *user, weft_listener listener, weft_conn conn) {
    check(user == &state, "the listener has lost its user pointer");
    check(listener.id == state.listener.id, "not this listener's handle");
    check(weft_conn_engine(conn).id != 0, "an accepted connection has no engine");
    state.accepted++;
}

static void echo(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    for (uint32_t i = 0; i < count; i++)
        check(weft_stream_write(stream, slices[i].data, slices[i].len, 0) == (int64_t)slices[i].len, "echo not taken");
    if (flags & WEFT_FIN)
        check(weft_stream_finish(stream) == 0, "echo not finished");
}

static void listener_closed(void *user, weft_listener listener) {
    (void)user;
    (void)listener;
    state.listener_closed++;
}

/* ---- client ---- */

static void send_more(void *user, weft_stream stream) {
    (void)user;
    if (state.sent_len == BYTES)
        return;
    int64_t taken = weft_stream_write(stream, state.sent + state.sent_len, BYTES - state.sent_len, WEFT_FIN);
    check(taken >= 0, "a write failed");
    state.sent_len += (size_t)taken;
}

static void connected(void *user, weft_conn conn) {
    weft_stream_params params;
    weft_stream stream;
    memset(&params, 0, sizeof params);
    params.size = sizeof params;
    params.callbacks = &state.to_client;
    params.user = user;
    state.connected++;
    check(weft_stream_open(conn, WEFT_BIDI, &params, &stream) == 0, "no stream");
    send_more(user, stream);
}

static void receive(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    for (uint32_t i = 0; i < count; i++) {
        check(slices[i].len <= BYTES - state.received_len, "more came back than was sent");
        memcpy(state.received + state.received_len, slices[i].data, slices[i].len);
        state.received_len += slices[i].len;
    }
    if (flags & WEFT_FIN)
        check(weft_conn_close(weft_stream_conn(stream), 7, "enough") == 0, "not closed");
}

static void finished(void *user, weft_stream stream) {
    (void)user;
    (void)stream;
    state.finished++;
}

/* Structs that this program knows shorter than the library does are filled in as far as they reach, and no further. */
static void closed(void *user, weft_conn conn, const weft_close *close) {
    struct {
        weft_conn_info info;
        uint64_t guard;
    } known;
    struct {
        weft_conn_stats stats;
        uint64_t guard;
    } counted;
    (void)user;
    check(close->cause == WEFT_CAUSE_LOCAL && close->app == 1 && close->code == 7, "closed by something else");
    check(strcmp(close->reason, "enough") == 0, "another reason");
    memset(&known, 0, sizeof known);
    known.info.size = sizeof known.info;
    known.guard = 0x6775617264;
    check(weft_conn_get_info(conn, &known.info) == 0, "nothing known about the connection");
    check(strcmp(known.info.alpn, "echo") == 0 && known.info.role == WEFT_CLIENT, "wrong things known");
    memset(&counted, 0, sizeof counted);
    counted.stats.size = sizeof counted.stats;
    counted.guard = 0x6775617264;
    check(weft_conn_get_stats(conn, &counted.stats) == 0, "no counters");
    check(counted.stats.stream_bytes_received == BYTES, "wrong counters");
    check(known.guard == 0x6775617264 && counted.guard == 0x6775617264, "written beyond a struct's size");
    state.closed++;
    check(weft_listener_close(state.listener, 0) == 0, "the listener does not close");
}

/* ---- both ---- */

static weft_config configure(uint32_t role, uint8_t pin[32]) {
    weft_config config;
    check(weft_config_new(role, &config) == 0, "no configuration");
    check(weft_config_set_alpn(config, "echo") == 0, "no ALPN");
    check(weft_config_set(config, "max_idle_timeout", "20s") == 0, "an option was refused");
    if (role == WEFT_SERVER) {
        check(weft_config_self_signed(config, "localhost", 1) == 0, "no certificate");
        check(weft_config_fingerprint(config, pin) == 0, "no fingerprint");
    } else {
        check(weft_config_add_pin(config, pin) == 0, "no pin");
    }
    return config;
}

int main(void) {
    uint8_t pin[32];
    weft_config server = configure(WEFT_SERVER, pin), client = configure(WEFT_CLIENT, pin);
    weft_engine engine;
    check(weft_engine_new(NULL, &engine) == 0, "no engine");
    for (size_t i = 0; i < BYTES; i++)
        state.sent[i] = (unsigned char)(i * 167 >> 3);

    weft_listener_callbacks on_listener;
    weft_stream_callbacks on_server_stream;
    weft_listen_params listen;
    memset(&on_listener, 0, sizeof on_listener);
    on_listener.size = sizeof on_listener;
    on_listener.on_accept = accepted;
    on_listener.on_closed = listener_closed;
    memset(&on_server_stream, 0, sizeof on_server_stream);
    on_server_stream.size = sizeof on_server_stream;
    on_server_stream.on_data = echo;
    memset(&listen, 0, sizeof listen);
    listen.size = sizeof listen;
    listen.callbacks = &on_listener;
    listen.stream_callbacks = &on_server_stream;
    listen.user = &state;
    check(weft_listen(engine, server, "127.0.0.1:0", &listen, &state.listener) == 0, "does not listen");

    weft_addr address;
    weft_conn_callbacks on_conn;
    weft_connect_params connect;
    weft_conn conn;
    check(weft_listener_address(state.listener, &address) == 0, "no address");
    memset(&on_conn, 0, sizeof on_conn);
    on_conn.size = sizeof on_conn;
    on_conn.on_connected = connected;
    on_conn.on_closed = closed;
    state.to_client.size = sizeof state.to_client;
    state.to_client.on_data = receive;
    state.to_client.on_writable = send_more;
    state.to_client.on_finished = finished;
    memset(&connect, 0, sizeof connect);
    connect.size = sizeof connect;
    connect.callbacks = &on_conn;
    connect.server_name = "localhost";
    check(weft_connect(engine, client, "127.0.0.1", address.port, &connect, &conn) == 0, "does not connect");

    check(weft_engine_run(engine) == 0, "the engine does not run");
    check(state.accepted == 1 && state.connected == 1 && state.closed == 1 && state.listener_closed == 1,
          "not everything happened once");
    check(state.received_len == BYTES && memcmp(state.sent, state.received, BYTES) == 0, "other bytes came back");
    check(state.finished <= 1, "finished twice");
    check(weft_conn_ping(conn) == WEFT_E_GONE, "the connection's handle has not ended");
    check(weft_engine_free(engine) == 0 && weft_config_free(server) == 0 && weft_config_free(client) == 0, "not freed");
    printf("echo: %d bytes there and back, weft %s\n", BYTES, weft_version_text());
    return 0;
}
