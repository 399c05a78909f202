/* file_transfer.c - a file from a server to a client, with no copy of it on the way out.
 *
 *     file_transfer serve FILE              prints the port and the fingerprint of its certificate; serves one client
 *     file_transfer get PORT FINGERPRINT FILE
 *
 * The server gives the stream its bytes by reference (weft_stream_write_ref): they must stay where they are until
 * RELEASED, which is when the client has acknowledged them. The client writes to the disk what it is shown; while it
 * does it takes nothing more, and flow control slows the server down.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/weft.h>

#define PIECE 65536 /* bytes given to the stream at a time */

static unsigned char *bytes; /* the server's: the file */
static size_t bytes_len;
static size_t given, released; /* how much the stream was given, and how much of that it has given back */
static weft_listener listener;
static FILE *out; /* the client's */
static int status = 1;

static void check(int64_t result, const char *what) {
    if (result >= 0)
        return;
    fprintf(stderr, "file_transfer: %s: %s\n", what, weft_strerror((int32_t)result));
    exit(1);
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* ---- server ---- */

/* Gives pieces until the stream takes no more; called again when there is room. */
static void give(void *user, weft_stream stream) {
    (void)user;
    while (given < bytes_len) {
        size_t len = bytes_len - given < PIECE ? bytes_len - given : PIECE;
        uint32_t flags = given + len == bytes_len ? WEFT_FIN : 0;
        int64_t taken = weft_stream_write_ref(stream, bytes + given, len, len, flags); /* the token is its length */
        check(taken, "write");
        if (taken == 0)
            return; /* all or nothing: WRITABLE follows */
        given += len;
    }
}

static void released_piece(void *user, weft_stream stream, uint64_t token) {
    (void)user;
    (void)stream;
    released += (size_t)token; /* here a piece could be freed, or used for the next part of the file */
}

static void server_connected(void *user, weft_conn conn) {
    weft_stream stream;
    check(weft_stream_open(conn, WEFT_UNI, NULL, &stream), "stream");
    if (bytes_len == 0)
        check(weft_stream_finish(stream), "finish");
    give(user, stream);
}

static void server_closed(void *user, weft_conn conn, const weft_close *close) {
    (void)user;
    (void)conn;
    status = close->cause == WEFT_CAUSE_PEER && close->code == 0 && released == bytes_len ? 0 : 1;
    check(weft_listener_close(listener, 0), "close"); /* one client is enough; nothing is left to run for */
}

static void load(const char *name) {
    FILE *file = fopen(name, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0)
        fail(name);
    long size = ftell(file);
    if (size < 0 || fseek(file, 0, SEEK_SET) != 0)
        fail(name);
    bytes_len = (size_t)size;
    bytes = malloc(bytes_len + 1);
    if (!bytes || fread(bytes, 1, bytes_len, file) != bytes_len || fclose(file) != 0)
        fail(name);
}

static void serve(const char *name) {
    static const weft_conn_callbacks on_conn = {
        .size = sizeof on_conn, .on_connected = server_connected, .on_closed = server_closed};
    static const weft_stream_callbacks on_stream = {
        .size = sizeof on_stream, .on_writable = give, .on_released = released_piece};
    const weft_listen_params params = {
        .size = sizeof params, .conn_callbacks = &on_conn, .stream_callbacks = &on_stream};
    weft_engine engine;
    weft_config config;
    weft_addr address;
    uint8_t sha256[32];
    load(name);
    check(weft_config_new(WEFT_SERVER, &config), "config");
    check(weft_config_set_alpn(config, "file"), "alpn");
    check(weft_config_self_signed(config, "localhost", 30), "certificate");
    check(weft_config_fingerprint(config, sha256), "fingerprint");
    check(weft_engine_new(NULL, &engine), "engine");
    check(weft_listen(engine, config, "127.0.0.1:0", &params, &listener), "listen");
    check(weft_listener_address(listener, &address), "address");
    printf("%u ", address.port);
    for (int i = 0; i < 32; i++)
        printf("%02x", sha256[i]);
    putchar('\n');
    fflush(stdout);
    check(weft_engine_run(engine), "run");
    check(weft_engine_free(engine), "free");
    check(weft_config_free(config), "free");
    free(bytes);
}

/* ---- client ---- */

static void received(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    for (uint32_t i = 0; i < count; i++)
        if (fwrite(slices[i].data, 1, slices[i].len, out) != slices[i].len)
            fail("write");
    if (!(flags & WEFT_FIN))
        return;
    status = 0;
    check(weft_conn_close(weft_stream_conn(stream), 0, "have it all"), "close");
}

static void client_closed(void *user, weft_conn conn, const weft_close *close) {
    weft_conn_stats stats = {.size = sizeof stats};
    (void)user;
    if (close->cause != WEFT_CAUSE_LOCAL)
        fprintf(stderr, "file_transfer: %s\n", weft_strerror(close->error));
    check(weft_conn_get_stats(conn, &stats), "counters"); /* the handle is good until this callback returns */
    printf("%" PRIu64 " bytes\n", stats.stream_bytes_received);
}

static void get(const char *port, const char *fingerprint, const char *name) {
    static const weft_conn_callbacks on_conn = {.size = sizeof on_conn, .on_closed = client_closed};
    static const weft_stream_callbacks on_stream = {.size = sizeof on_stream, .on_data = received};
    const weft_connect_params params = {
        .size = sizeof params, .server_name = "localhost", .callbacks = &on_conn, .stream_callbacks = &on_stream};
    weft_engine engine;
    weft_config config;
    weft_conn conn;
    uint8_t sha256[32];
    for (int i = 0; i < 32; i++) {
        unsigned byte = 0;
        if (strlen(fingerprint) != 64 || sscanf(fingerprint + 2 * i, "%2x", &byte) != 1)
            check(WEFT_E_VALUE, "fingerprint");
        sha256[i] = (uint8_t)byte;
    }
    out = fopen(name, "wb");
    if (!out)
        fail(name);
    check(weft_config_new(WEFT_CLIENT, &config), "config");
    check(weft_config_set_alpn(config, "file"), "alpn");
    check(weft_config_add_pin(config, sha256), "pin"); /* exactly this server, whoever signed its certificate */
    check(weft_engine_new(NULL, &engine), "engine");
    check(weft_connect(engine, config, "127.0.0.1", (uint16_t)atoi(port), &params, &conn), "connect");
    check(weft_engine_run(engine), "run");
    check(weft_engine_free(engine), "free");
    check(weft_config_free(config), "free");
    if (fclose(out) != 0)
        fail(name);
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "serve") == 0) {
        serve(argv[2]);
    } else if (argc == 5 && strcmp(argv[1], "get") == 0) {
        get(argv[2], argv[3], argv[4]);
    } else {
        fprintf(stderr, "usage: file_transfer serve FILE | file_transfer get PORT FINGERPRINT FILE\n");
        return 2;
    }
    return status;
}
