/* many.c - many connections, near idle: what each costs a server in memory, and what keeping them alive costs in time.
 *
 *     bench_many server PORT CERT KEY
 *     bench_many client PORT COUNT KEEP-ALIVE [RATE]
 *
 * The client opens COUNT connections, a few at a time, and says "open COUNT". Each then says something every
 * KEEP-ALIVE (an option's text: "30s", or "0" for silence). With RATE, bytes a second, each also sends one request of
 * so many bytes every second and waits for its echo; "latency p50 NS p99 NS" is printed every five seconds. Who
 * measures (./scale) looks at the two processes from outside. */
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/weft.h>

#define AT_ONCE 32     /* handshakes under way: fewer than what a server takes for a crowd of strangers */
#define LOST_MAX 1000u /* handshakes that may fail, and are begun anew, before the client gives up */
#define SLOTS 4096     /* of the histogram: 50 us each */

struct link {
    weft_stream stream;
    uint64_t asked_at;
    bool connected;
};

static weft_engine engine;
static weft_config config;
static struct link *links;
static uint32_t wanted, begun, open, failed;
static uint16_t port;
static uint64_t rate, next_report;
static uint32_t next_turn_of;
static uint32_t histogram[SLOTS + 1];
static char message[4096];

static void check(int64_t result, const char *what) {
    if (result >= 0)
        return;
    char why[256] = "";
    if (engine.id)
        weft_engine_error(engine, why, sizeof why);
    fprintf(stderr, "many: %s: %s %s\n", what, weft_strerror((int32_t)result), why);
    exit(1);
}

static uint64_t now_ns(void) {
    uint64_t now = 0;
    weft_engine_now(engine, &now);
    return now;
}

/* ---- server: an echo ---- */

static void echo(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    for (uint32_t i = 0; i < count; i++)
        check(weft_stream_write(stream, slices[i].data, slices[i].len, 0), "echo");
    if (flags & WEFT_FIN)
        weft_stream_finish(stream);
}

static void serve(char **argv) {
    static const weft_stream_callbacks on_stream = {.size = sizeof on_stream, .on_data = echo};
    const weft_listen_params params = {.size = sizeof params, .stream_callbacks = &on_stream};
    weft_listener listener;
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%s", argv[2]);
    check(weft_config_new(WEFT_SERVER, &config), "config");
    check(weft_config_set_alpn(config, "many"), "alpn");
    check(weft_config_set(config, "max_idle_timeout", "10m"), "option");
    check(weft_config_set(config, "max_connections", "1000000"), "option");
    check(weft_config_add_certificate_files(config, argv[3], argv[4]), "certificate");
    check(weft_listen(engine, config, address, &params, &listener), "listen");
    puts("ready");
    fflush(stdout);
    check(weft_engine_run(engine), "run");
}

/* ---- client ---- */

static void begin(struct link *link);
static void begin_one(void);

static void ask(struct link *link) {
    size_t len = rate < sizeof message ? (size_t)rate : sizeof message;
    link->asked_at = now_ns();
    check(weft_stream_write(link->stream, message, len, 0), "ask");
}

static void on_echo(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    struct link *link = user;
    (void)stream, (void)slices, (void)count, (void)flags;
    if (!link->asked_at)
        return;
    uint64_t slot = (now_ns() - link->asked_at) / 50000;
    histogram[slot < SLOTS ? slot : SLOTS]++;
    link->asked_at = 0;
}

static void connected(void *user, weft_conn conn) {
    struct link *link = user;
    link->connected = true;
    if (rate) {
        const weft_stream_params params = {.size = sizeof params, .user = link};
        check(weft_stream_open(conn, WEFT_BIDI, &params, &link->stream), "stream");
    }
    if (++open % 10000 == 0)
        fprintf(stderr, "many: %u open, %u handshakes failed\n", open, failed);
    if (open == wanted) {
        printf("open %u\n", open);
        fflush(stdout);
        next_report = now_ns() + UINT64_C(5000000000);
    }
    begin_one();
}

static void lost(void *user, weft_conn conn, const weft_close *close) {
    struct link *link = user;
    (void)conn;
    if (!link->connected && failed++ < LOST_MAX) {
        begin(link);
        return;
    }
    fprintf(stderr, "many: a connection was lost: cause %u, code %llu %s\n", close->cause,
            (unsigned long long)close->code, close->reason);
    exit(1);
}

static const weft_conn_callbacks on_conn = {.size = sizeof on_conn, .on_connected = connected, .on_closed = lost};
static const weft_stream_callbacks on_stream = {.size = sizeof on_stream, .on_data = on_echo};

static void begin(struct link *link) {
    weft_conn conn;
    const weft_connect_params params = {.size = sizeof params,
                                        .server_name = "localhost",
                                        .callbacks = &on_conn,
                                        .stream_callbacks = &on_stream,
                                        .user = link};
    check(weft_connect(engine, config, "127.0.0.1", port, &params, &conn), "connect");
}

static void begin_one(void) {
    if (begun < wanted)
        begin(&links[begun++]);
}

static uint64_t percentile(uint64_t total, uint64_t of_thousand) {
    uint64_t seen = 0;
    for (uint32_t i = 0; i <= SLOTS; i++)
        if ((seen += histogram[i]) * 1000 >= total * of_thousand)
            return (uint64_t)(i + 1) * 50000;
    return 0;
}

static void report(void) {
    uint64_t total = 0;
    for (uint32_t i = 0; i <= SLOTS; i++)
        total += histogram[i];
    printf("latency p50 %llu p99 %llu count %llu\n", (unsigned long long)percentile(total, 500),
           (unsigned long long)percentile(total, 990), (unsigned long long)total);
    fflush(stdout);
    memset(histogram, 0, sizeof histogram);
}

/* The connections take turns: in a second each has asked once. */
static void pace(uint64_t began) {
    uint64_t due = (now_ns() - began) * wanted / UINT64_C(1000000000);
    for (; next_turn_of < due; next_turn_of++) {
        struct link *link = &links[next_turn_of % wanted];
        if (!link->asked_at)
            ask(link);
    }
    if (now_ns() >= next_report) {
        report();
        next_report += UINT64_C(5000000000);
    }
}

/* Turns the engine when it is due, and at least once a millisecond while there is something to pace. */
static void turn_for_ever(void) {
    uint64_t began = 0, ns;
    struct pollfd fd = {.fd = weft_engine_fd(engine), .events = POLLIN};
    check(fd.fd, "fd");
    for (;;) {
        check(weft_engine_turn(engine), "turn");
        if (rate && open == wanted) {
            if (!began)
                began = now_ns();
            pace(began);
        }
        check(weft_engine_deadline(engine, &ns), "deadline");
        uint64_t most = rate ? 1 : 1000, ms = ns / 1000000;
        poll(&fd, 1, (int)(ms < most ? ms + (ns != 0) : most));
    }
}

static void load(int argc, char **argv) {
    wanted = (uint32_t)strtoul(argv[3], NULL, 10);
    rate = argc > 5 ? strtoull(argv[5], NULL, 10) : 0;
    port = (uint16_t)atoi(argv[2]);
    links = calloc(wanted, sizeof *links);
    check(links && wanted ? 0 : WEFT_E_NOMEM, "links");
    check(weft_config_new(WEFT_CLIENT, &config), "config");
    check(weft_config_set_alpn(config, "many"), "alpn");
    check(weft_config_set_verify(config, 0), "verify");
    check(weft_config_set_groups(config, "X25519"), "groups"); /* half the time to open them all */
    check(weft_config_set(config, "max_idle_timeout", "10m"), "option");
    check(weft_config_set(config, "handshake_timeout", "1m"), "option");
    check(weft_config_set(config, "keep_alive", argv[4]), "option");
    for (int i = 0; i < AT_ONCE; i++)
        begin_one();
    turn_for_ever();
}

int main(int argc, char **argv) {
    const weft_engine_params params = {.size = sizeof params};
    if (argc < 5) {
        fprintf(stderr, "usage: bench_many server PORT CERT KEY | client PORT COUNT KEEP-ALIVE [RATE]\n");
        return 2;
    }
    check(weft_engine_new(&params, &engine), "engine");
    if (strcmp(argv[1], "server"))
        load(argc, argv);
    else
        serve(argv);
    return 0;
}
