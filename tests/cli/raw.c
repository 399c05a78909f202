/* raw.c - a client for requests that `weft get` would never send.
 *
 *     raw ADDRESS PORT STREAM...
 *
 * Each STREAM is KIND:TEXT, where \r, \n, \0 and \\ in TEXT mean what they mean in C. Kinds:
 *
 *     fin     a bidirectional stream with TEXT, then its end
 *     open    the same without an end
 *     slow    byte by byte, each in a packet of its own, then the end
 *     reset   TEXT, then RESET_STREAM
 *     stop    TEXT and the end, then STOP_SENDING
 *     uni     a unidirectional stream
 *
 * Certificates are not verified. For each stream, in order, one line tells what came back: "N bytes", "reset 0xCODE",
 * "cannot be opened", or "nothing" when the connection ended first. Nothing else is expected when all streams that can
 * have an answer have theirs.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weft/weft.h>

#define STREAMS 32

struct stream {
    const char *kind;
    char text[8192];
    size_t len, sent;
    weft_stream handle;
    uint64_t received, code;
    bool ended, reset, refused;
};

static struct stream streams[STREAMS];
static int count, waiting;
static weft_engine engine;
static weft_conn connection;

static void one_done(void) {
    if (!--waiting)
        weft_conn_close(connection, 0, NULL);
}

/* "slow": the next byte goes in another turn, so in another packet. */
static void next_byte(void *arg) {
    struct stream *s = arg;
    bool last = s->sent + 1 >= s->len;
    if (weft_stream_write(s->handle, s->text + s->sent, 1, last ? WEFT_FIN : 0) != 1)
        return;
    s->sent++;
    if (!last)
        weft_engine_post(engine, next_byte, s);
}

static void begin(struct stream *s) {
    bool uni = !strcmp(s->kind, "uni");
    weft_stream_params params = {.size = sizeof params, .user = s};
    if (weft_stream_open(connection, uni ? WEFT_UNI : WEFT_BIDI, &params, &s->handle)) {
        s->refused = true;
        one_done();
        return;
    }
    if (!strcmp(s->kind, "slow")) {
        next_byte(s);
        return;
    }
    bool open = !strcmp(s->kind, "open") || !strcmp(s->kind, "reset");
    weft_stream_write(s->handle, s->text, s->len, open ? 0 : WEFT_FIN);
    if (!strcmp(s->kind, "reset"))
        weft_stream_reset(s->handle, 7);
    if (!strcmp(s->kind, "stop"))
        weft_stream_stop(s->handle, 7);
}

static void on_connected(void *user, weft_conn conn) {
    (void)user;
    (void)conn;
    for (int i = 0; i < count; i++)
        begin(&streams[i]);
}

static void on_conn_closed(void *user, weft_conn conn, const weft_close *close) {
    (void)user;
    (void)conn;
    if (close->cause != WEFT_CAUSE_LOCAL)
        printf("closed: cause %u code 0x%llx %s\n", close->cause, (unsigned long long)close->code, close->reason);
    weft_engine_stop(engine);
}

static void end(struct stream *s) {
    if (!s->ended)
        one_done();
    s->ended = true;
}

static void on_data(void *user, weft_stream stream, const weft_slice *slices, uint32_t slice_count, uint32_t flags) {
    struct stream *s = user;
    (void)stream;
    for (uint32_t i = 0; i < slice_count; i++)
        s->received += slices[i].len;
    if (flags & WEFT_FIN)
        end(s);
}

static void on_reset(void *user, weft_stream stream, uint64_t code) {
    struct stream *s = user;
    (void)stream;
    s->reset = true;
    s->code = code;
    end(s);
}

static void on_stream_closed(void *user, weft_stream stream) {
    (void)stream;
    end(user);
}

static void unescape(struct stream *s, const char *text) {
    static const char *const escapes = "r\rn\n0\0\\\\";
    for (; *text && s->len < sizeof s->text; text++) {
        const char *found = NULL;
        for (int i = 0; *text == '\\' && i < 8 && !found; i += 2)
            if (escapes[i] == text[1])
                found = escapes + i + 1;
        s->text[s->len++] = found ? *found : *text;
        text += found != NULL;
    }
}

int main(int argc, char **argv) {
    static const weft_conn_callbacks on_conn = {
        .size = sizeof on_conn, .on_connected = on_connected, .on_closed = on_conn_closed};
    static const weft_stream_callbacks on_stream = {
        .size = sizeof on_stream, .on_data = on_data, .on_reset = on_reset, .on_closed = on_stream_closed};
    weft_connect_params params = {.size = sizeof params, .callbacks = &on_conn, .stream_callbacks = &on_stream};
    weft_config config;
    if (argc < 4 || argc - 3 > STREAMS)
        return 2;
    for (int i = 3; i < argc; i++) {
        struct stream *s = &streams[count++];
        char *colon = strchr(argv[i], ':');
        if (!colon)
            return 2;
        *colon = 0;
        s->kind = argv[i];
        unescape(s, colon + 1);
    }
    waiting = count;
    if (weft_config_new(WEFT_CLIENT, &config) || weft_config_set_alpn(config, "hq-interop") ||
        weft_config_set_verify(config, 0) || weft_engine_new(NULL, &engine) ||
        weft_connect(engine, config, argv[1], (uint16_t)atoi(argv[2]), &params, &connection))
        return 1;
    weft_engine_run(engine);
    for (int i = 0; i < count; i++) {
        const struct stream *s = &streams[i];
        if (s->refused)
            puts("cannot be opened");
        else if (s->reset)
            printf("reset 0x%llx\n", (unsigned long long)s->code);
        else if (s->ended)
            printf("%llu bytes\n", (unsigned long long)s->received);
        else
            puts("nothing");
    }
    weft_engine_free(engine);
    weft_config_free(config);
    return 0;
}
