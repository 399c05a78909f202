/* echo_client.c - sends text to echo.c and prints what comes back.
 *
 *     echo_client port [text]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/weft.h>

static const char *text = "hello";
static int status = 1;

static void check(int32_t result, const char *what) {
    if (result >= 0)
        return;
    fprintf(stderr, "echo_client: %s: %s\n", what, weft_strerror(result));
    exit(1);
}

/* The handshake is done: streams can be opened. */
static void connected(void *user, weft_conn conn) {
    weft_stream stream;
    (void)user;
    check(weft_stream_open(conn, WEFT_BIDI, NULL, &stream), "stream");
    /* A short text fits into the buffer of a new stream (option stream_send_buffer); more would go in parts, the next
     * one whenever on_writable is called. */
    if (weft_stream_write(stream, text, strlen(text), WEFT_FIN) != (int64_t)strlen(text))
        check(WEFT_E_TOO_LARGE, "text");
}

/* Bytes are shown where the network put them, and are gone when this returns. */
static void data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    for (uint32_t i = 0; i < count; i++)
        if (fwrite(slices[i].data, 1, slices[i].len, stdout) != slices[i].len)
            check(WEFT_E_IO, "stdout");
    if (flags & WEFT_FIN) { /* all is here */
        status = 0;
        putchar('\n');
        check(weft_conn_close(weft_stream_conn(stream), 0, "thanks"), "close");
    }
}

/* Comes exactly once, whatever happened: refused, timed out, closed by either side. */
static void closed(void *user, weft_conn conn, const weft_close *close) {
    (void)user;
    (void)conn;
    if (close->cause != WEFT_CAUSE_LOCAL)
        fprintf(stderr, "echo_client: %s (%s)\n", weft_strerror(close->error), close->reason);
}

int main(int argc, char **argv) {
    weft_engine engine;
    weft_config config;
    weft_conn conn;
    const weft_conn_callbacks on_conn = {.size = sizeof on_conn, .on_connected = connected, .on_closed = closed};
    const weft_stream_callbacks on_stream = {.size = sizeof on_stream, .on_data = data};
    const weft_connect_params params = {
        .size = sizeof params, .server_name = "localhost", .callbacks = &on_conn, .stream_callbacks = &on_stream};
    if (argc < 2) {
        fprintf(stderr, "usage: echo_client port [text]\n");
        return 2;
    }
    if (argc > 2)
        text = argv[2];
    check(weft_config_new(WEFT_CLIENT, &config), "config");
    check(weft_config_set_alpn(config, "echo"), "alpn");
    /* The example server signs its certificate itself, so there is nothing to verify it by. Real clients leave this out
     * (the system's authorities are used then), or know the server by weft_config_add_pin. */
    check(weft_config_set_verify(config, 0), "verify");
    check(weft_engine_new(NULL, &engine), "engine");
    check(weft_connect(engine, config, "127.0.0.1", (uint16_t)atoi(argv[1]), &params, &conn), "connect");
    check(weft_engine_run(engine), "run"); /* returns when the connection is gone: nothing is left to wait for */
    check(weft_engine_free(engine), "free");
    check(weft_config_free(config), "free");
    return status;
}
