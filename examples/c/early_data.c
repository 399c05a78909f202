/* early_data.c - a request in the very first packet (0-RTT, RFC 9001 4.6).
 *
 * The first connection gives us a session (event SESSION), which a program would keep in a file or a database. The
 * second one resumes it, and its request travels with the handshake. Such a request may be replayed by whoever has seen
 * it: send nothing early that must not happen twice (RFC 8446 8).
 *
 * Server and client share an engine here, which changes nothing for either.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/weft.h>

static weft_engine engine;
static weft_config client_config;
static weft_listener listener;
static weft_addr address;
static unsigned char session[8192];
static size_t session_len;
static int answers;
static uint8_t early = WEFT_EARLY_NONE; /* what became of the second connection's early data */

static void begin(void);

static void check(int64_t result, const char *what) {
    if (result >= 0)
        return;
    fprintf(stderr, "early_data: %s: %s\n", what, weft_strerror((int32_t)result));
    exit(1);
}

/* ---- server ---- */

static void request(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    (void)slices;
    (void)count;
    if (flags & WEFT_FIN)
        check(weft_stream_write(stream, "answer", 6, WEFT_FIN), "answer");
}

/* ---- client ---- */

static void ask(weft_conn conn) {
    weft_stream stream;
    check(weft_stream_open(conn, WEFT_BIDI, NULL, &stream), "stream");
    check(weft_stream_write(stream, "request", 7, WEFT_FIN), "request");
}

static void connected(void *user, weft_conn conn) {
    (void)user;
    if (session_len == 0)
        ask(conn); /* the first time there is no way but to wait for this */
}

static void got_session(void *user, weft_conn conn, const uint8_t *data, size_t len) {
    (void)user;
    if (session_len || len > sizeof session)
        return;
    memcpy(session, data, len);
    session_len = len;
    if (answers)
        check(weft_conn_close(conn, 0, NULL), "close");
}

static void answer(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    (void)slices;
    (void)count;
    if (!(flags & WEFT_FIN))
        return;
    answers++;
    if (session_len) /* else we wait for one */
        check(weft_conn_close(weft_stream_conn(stream), 0, NULL), "close");
}

static void closed(void *user, weft_conn conn, const weft_close *close) {
    weft_conn_info info = {.size = sizeof info};
    (void)user;
    if (close->cause != WEFT_CAUSE_LOCAL)
        check(WEFT_E_CLOSED, "closed by something else");
    check(weft_conn_get_info(conn, &info), "info");
    printf("connection %d: %s, early data %s\n", answers, info.resumed ? "resumed" : "new",
           info.early == WEFT_EARLY_ACCEPTED   ? "accepted"
           : info.early == WEFT_EARLY_REJECTED ? "rejected"
                                               : "none");
    early = info.early;
    if (answers == 1)
        begin();
    else
        check(weft_listener_close(listener, 0), "close");
}

static const weft_conn_callbacks on_conn = {
    .size = sizeof on_conn, .on_connected = connected, .on_session = got_session, .on_closed = closed};
static const weft_stream_callbacks on_answer = {.size = sizeof on_answer, .on_data = answer};

static void begin(void) {
    weft_connect_params params = {
        .size = sizeof params, .server_name = "localhost", .callbacks = &on_conn, .stream_callbacks = &on_answer};
    weft_conn conn;
    params.session = session_len ? session : NULL;
    params.session_len = session_len;
    check(weft_connect(engine, client_config, "127.0.0.1", address.port, &params, &conn), "connect");
    if (session_len)
        ask(conn); /* at once: it goes out with the first packet */
}

/* ---- both ---- */

int main(void) {
    static const weft_stream_callbacks on_request = {.size = sizeof on_request, .on_data = request};
    const weft_listen_params listen = {.size = sizeof listen, .stream_callbacks = &on_request};
    weft_config server_config;
    uint8_t sha256[32];
    check(weft_config_new(WEFT_SERVER, &server_config), "config");
    check(weft_config_set_alpn(server_config, "early"), "alpn");
    check(weft_config_set(server_config, "early_data", "on"), "option"); /* both sides must want it */
    check(weft_config_self_signed(server_config, "localhost", 30), "certificate");
    check(weft_config_fingerprint(server_config, sha256), "fingerprint");
    check(weft_config_new(WEFT_CLIENT, &client_config), "config");
    check(weft_config_set_alpn(client_config, "early"), "alpn");
    check(weft_config_set(client_config, "early_data", "on"), "option");
    check(weft_config_add_pin(client_config, sha256), "pin");
    check(weft_engine_new(NULL, &engine), "engine");
    check(weft_listen(engine, server_config, "127.0.0.1:0", &listen, &listener), "listen");
    check(weft_listener_address(listener, &address), "address");
    begin();
    check(weft_engine_run(engine), "run");
    check(weft_engine_free(engine), "free");
    check(weft_config_free(server_config), "free");
    check(weft_config_free(client_config), "free");
    return answers == 2 && early == WEFT_EARLY_ACCEPTED ? 0 : 1;
}
