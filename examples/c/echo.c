/* echo.c - a QUIC server that sends back what it gets.
 *
 *     echo [address]          127.0.0.1:4433 unless given; try it with echo_client
 */
#include <stdio.h>
#include <stdlib.h>
#include <weft/weft.h>

static void check(int32_t result, const char *what) { /* 0 or a count is good, less is a WEFT_E_* */
    if (result < 0) {
        fprintf(stderr, "echo: %s: %s\n", what, weft_strerror(result));
        exit(1);
    }
}

/* Called when a stream has bytes for us, and when it has room again. What finds no room stays in the stream: then flow
 * control makes the client wait, and we never hold more than its share. */
static void pump(void *user, weft_stream stream) {
    weft_slice slice = {0};
    uint32_t flags = 0;
    int64_t shown;
    (void)user;
    while ((shown = weft_stream_peek(stream, &slice, 1, &flags)) == 1 || (shown == 0 && flags & WEFT_FIN)) {
        size_t len = shown ? slice.len : 0;
        int64_t taken = weft_stream_write(stream, slice.data, len, flags & WEFT_FIN); /* FIN: if it takes all */
        if (taken < 0 || weft_stream_consume(stream, (uint64_t)taken) < 0) {
            weft_stream_detach(stream, 0); /* the client wants no more of it */
            return;
        }
        if ((size_t)taken < len)
            return; /* WRITABLE follows */
    }
}

int main(int argc, char **argv) {
    weft_engine engine;
    weft_config config;
    weft_listener listener;
    weft_addr address;
    char text[WEFT_ADDR_TEXT], error[256] = "";
    /* Without on_data, bytes wait until they are taken. */
    const weft_stream_callbacks on_stream = {.size = sizeof on_stream, .on_readable = pump, .on_writable = pump};
    const weft_listen_params params = {.size = sizeof params, .stream_callbacks = &on_stream};
    check(weft_config_new(WEFT_SERVER, &config), "config");
    check(weft_config_set_alpn(config, "echo"), "alpn");
    check(weft_config_self_signed(config, "localhost", 30), "certificate");
    check(weft_engine_new(NULL, &engine), "engine");
    int32_t result = weft_listen(engine, config, argc > 1 ? argv[1] : "127.0.0.1:4433", &params, &listener);
    weft_engine_error(engine, error, sizeof error);
    check(result, error);
    check(weft_listener_address(listener, &address), "address");
    check(weft_addr_format(&address, text, sizeof text), "address");
    printf("listening on %s\n", text);
    fflush(stdout);
    return weft_engine_run(engine); /* for as long as there is a listener */
}
