/* walk.c - both walks of a datagram, in one process and virtual time, so that a tool can count the instructions of one
 * stretch of them.
 *
 *     walk REGION
 *
 * Two engines with external I/O hand each other trains of datagrams, as the kernel would with GSO and GRO. Callgrind
 * collects only while the region runs, and the last line says how many units went through it: packets, ACKs,
 * handshakes, requests. Nothing depends on time or on the machine's load: clock and randomness are given, and what
 * differs from run to run (the length of an ECDSA signature) is lost in the number of units. One invariant: outside of
 * the region everything is done as well, it is only not counted.
 *
 * ./run starts it, divides and compares with the numbers that are kept. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/callgrind.h>
#include <weft/weft.h>

enum { CLIENT, SERVER };
/* Half of what an engine does for a datagram: taking it in and delivering (INPUT), or saying something (OUTPUT). */
enum half { INPUT, OUTPUT };

#define TICK 250000u            /* ns between two rounds: so many trains a round as a fast host has in that time */
#define WARM UINT64_C(8000000)  /* bytes before the region of a transfer begins */
#define BULK UINT64_C(24000000) /* bytes of the region */
#define HANDSHAKES 24
#define WARM_REQUESTS 2000
#define REQUESTS 8000
#define IN_FLIGHT 100
#define MESSAGE 100
#define TRAINS 512 /* under way in one direction */

struct train {
    unsigned char *data;
    weft_datagram datagram;
};

struct side {
    weft_engine engine;
    weft_addr addr;
    struct train queue[TRAINS]; /* towards this side */
    unsigned count;
};

/* What is counted: one engine's half, while `armed`. */
struct region {
    const char *name;
    const char *unit;
    void (*run)(void);
    int side; /* -1: both */
    bool in, out;
};

static struct side sides[2];
static const struct region *region;
static bool armed;
static uint64_t now = UINT64_C(1000000000);
static uint64_t seed = 88172645463325252u;
static uint64_t units;
static weft_config configs[2];
static weft_conn client_conn;
static bool connected, closed;
static uint64_t bulk_left, bulk_received;
static unsigned requests_begun, requests_done, requests_wanted;
static unsigned char content[65536];

static void check(int64_t result, const char *what) {
    if (result >= 0)
        return;
    fprintf(stderr, "walk: %s: %s\n", what, weft_strerror((int32_t)result));
    exit(1);
}

/* ---- what is injected ---- */

static uint64_t clock_ns(void *user) {
    (void)user;
    return now;
}

static void random_bytes(void *user, uint8_t *out, size_t len) {
    (void)user;
    for (size_t i = 0; i < len; i++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        out[i] = (uint8_t)(seed >> 24);
    }
}

/* ---- the network ---- */

static bool counts(int side, enum half half) {
    return armed && (region->side < 0 || region->side == side) && (half == INPUT ? region->in : region->out);
}

static void take_in(int index) {
    struct side *side = &sides[index];
    unsigned count = side->count;
    weft_datagram datagrams[TRAINS];
    for (unsigned i = 0; i < count; i++)
        datagrams[i] = side->queue[i].datagram;
    bool counted = counts(index, INPUT);
    if (counted)
        CALLGRIND_TOGGLE_COLLECT;
    if (count)
        check(weft_engine_input(side->engine, datagrams, count), "input");
    check(weft_engine_turn(side->engine), "turn");
    if (counted)
        CALLGRIND_TOGGLE_COLLECT;
    side->count = 0;
}

static void say(int index) {
    struct side *from = &sides[index], *to = &sides[!index];
    bool counted = counts(index, OUTPUT);
    while (to->count < TRAINS) {
        struct train *train = &to->queue[to->count];
        train->datagram = (weft_datagram){.data = train->data, .segment = WEFT_TRAIN_MAX};
        if (counted)
            CALLGRIND_TOGGLE_COLLECT;
        int32_t some = weft_engine_output(from->engine, &train->datagram);
        if (counted)
            CALLGRIND_TOGGLE_COLLECT;
        check(some, "output");
        if (!some)
            return;
        weft_addr towards = train->datagram.remote;
        train->datagram.remote = from->addr;
        train->datagram.local = towards;
        to->count++;
    }
}

static void round_once(void) {
    for (int i = 0; i < 2; i++) {
        take_in(i);
        say(i);
    }
    now += TICK;
}

/* When nothing is under way the clock goes to the next deadline. */
static void rounds_until(const bool *done) {
    while (!*done)
        round_once();
}

/* ---- the applications ---- */

static void fill(weft_stream stream) {
    while (bulk_left) {
        size_t want = bulk_left < sizeof content ? (size_t)bulk_left : sizeof content;
        int64_t took = weft_stream_write(stream, content, want, 0);
        check(took, "write");
        bulk_left -= (uint64_t)took;
        if ((size_t)took < want)
            return;
    }
}

static void on_connected(void *user, weft_conn conn) {
    (void)user, (void)conn;
    connected = true;
}

static void on_conn_closed(void *user, weft_conn conn, const weft_close *close) {
    (void)user, (void)conn, (void)close;
    closed = true;
}

static void request(void) {
    weft_stream stream;
    check(weft_stream_open(client_conn, WEFT_BIDI, NULL, &stream), "stream");
    check(weft_stream_write(stream, content, MESSAGE, WEFT_FIN), "request");
    requests_begun++;
}

static void on_client_data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user, (void)stream, (void)slices, (void)count;
    if (!(flags & WEFT_FIN))
        return;
    requests_done++;
    if (requests_begun < requests_wanted)
        request();
}

static void on_client_writable(void *user, weft_stream stream) {
    (void)user;
    fill(stream);
}

static void on_server_data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    for (uint32_t i = 0; i < count; i++)
        bulk_received += slices[i].len;
    if (flags & WEFT_FIN)
        check(weft_stream_write(stream, content, MESSAGE, WEFT_FIN), "reply");
}

static const weft_conn_callbacks on_client = {
    .size = sizeof on_client, .on_connected = on_connected, .on_closed = on_conn_closed};
static const weft_stream_callbacks on_client_stream = {
    .size = sizeof on_client_stream, .on_data = on_client_data, .on_writable = on_client_writable};
static const weft_stream_callbacks on_server_stream = {.size = sizeof on_server_stream, .on_data = on_server_data};

/* ---- the regions ---- */

static void join(void) {
    const weft_connect_params params = {.size = sizeof params,
                                        .server_name = "localhost",
                                        .callbacks = &on_client,
                                        .stream_callbacks = &on_client_stream};
    connected = closed = false;
    check(weft_connect(sides[CLIENT].engine, configs[CLIENT], "192.0.2.2", 4433, &params, &client_conn), "connect");
    rounds_until(&connected);
}

static void settle(void) {
    for (int i = 0; i < 400; i++)
        round_once();
}

static uint64_t stat_of(int side, size_t offset) {
    weft_engine_stats stats = {.size = sizeof stats};
    check(weft_engine_get_stats(sides[side].engine, &stats), "stats");
    return *(const uint64_t *)(const void *)((const char *)&stats + offset);
}
#define CONN_STAT(side, name) stat_of(side, offsetof(weft_engine_stats, conns) + offsetof(weft_conn_stats, name))

static void run_bulk(void) {
    weft_stream stream;
    join();
    settle();
    check(weft_stream_open(client_conn, WEFT_BIDI, NULL, &stream), "stream");
    bulk_left = WARM + BULK;
    fill(stream);
    while (bulk_received < WARM)
        round_once();
    uint64_t packets = CONN_STAT(CLIENT, packets_sent), acks = CONN_STAT(SERVER, packets_sent);
    armed = true;
    while (bulk_received < WARM + BULK)
        round_once();
    armed = false;
    packets = CONN_STAT(CLIENT, packets_sent) - packets;
    acks = CONN_STAT(SERVER, packets_sent) - acks;
    units = !strcmp(region->unit, "ACK") ? acks : packets;
}

static void run_handshakes(void) {
    join(); /* the first one fills pools and caches */
    for (int i = 0; i < HANDSHAKES; i++) {
        check(weft_conn_close(client_conn, 0, NULL), "close");
        rounds_until(&closed);
        settle();
        armed = true;
        join();
        for (int j = 0; j < 8; j++) /* HANDSHAKE_DONE, tickets, tokens */
            round_once();
        armed = false;
    }
    units = HANDSHAKES;
}

static void run_requests(void) {
    join();
    settle();
    requests_wanted = WARM_REQUESTS + REQUESTS;
    for (int i = 0; i < IN_FLIGHT; i++)
        request();
    while (requests_done < WARM_REQUESTS)
        round_once();
    unsigned before = requests_done;
    armed = true;
    while (requests_done < requests_wanted)
        round_once();
    armed = false;
    units = requests_done - before;
}

static const struct region regions[] = {
    {"send", "packet", run_bulk, CLIENT, false, true},
    {"sender-turn", "packet", run_bulk, CLIENT, true, false},
    {"receive", "packet", run_bulk, SERVER, true, false},
    {"acknowledge", "ACK", run_bulk, SERVER, false, true},
    {"handshake-client", "handshake", run_handshakes, CLIENT, true, true},
    {"handshake-server", "handshake", run_handshakes, SERVER, true, true},
    {"request-client", "request", run_requests, CLIENT, true, true},
    {"request-server", "request", run_requests, SERVER, true, true},
};

/* ---- the frame ---- */

static void set_up(void) {
    weft_listener listener;
    uint8_t sha256[32];
    static const char *const texts[2] = {"192.0.2.1:5000", "192.0.2.2:4433"};
    const weft_engine_params params = {
        .size = sizeof params, .flags = WEFT_ENGINE_EXTERNAL, .clock = clock_ns, .random = random_bytes};
    const weft_listen_params listen = {.size = sizeof listen, .stream_callbacks = &on_server_stream};
    for (int i = 0; i < 2; i++) {
        check(weft_engine_new(&params, &sides[i].engine), "engine");
        check(weft_addr_parse(texts[i], 0, &sides[i].addr), "address");
        check(weft_config_new(i == SERVER ? WEFT_SERVER : WEFT_CLIENT, &configs[i]), "config");
        check(weft_config_set_alpn(configs[i], "walk"), "alpn");
        for (unsigned j = 0; j < TRAINS; j++)
            if (!(sides[i].queue[j].data = malloc(WEFT_TRAIN_SIZE)))
                check(WEFT_E_NOMEM, "trains");
    }
    check(weft_config_set(configs[SERVER], "initial_max_streams_bidi", "256"), "option");
    check(weft_config_self_signed(configs[SERVER], "localhost", 30), "certificate");
    check(weft_config_fingerprint(configs[SERVER], sha256), "fingerprint");
    check(weft_config_add_pin(configs[CLIENT], sha256), "pin");
    check(weft_listen(sides[SERVER].engine, configs[SERVER], texts[SERVER], &listen, &listener), "listen");
}

static void tear_down(void) {
    for (int i = 0; i < 2; i++) {
        check(weft_engine_free(sides[i].engine), "free");
        check(weft_config_free(configs[i]), "free");
        for (unsigned j = 0; j < TRAINS; j++)
            free(sides[i].queue[j].data);
    }
}

int main(int argc, char **argv) {
    for (size_t i = 0; argc == 2 && i < sizeof regions / sizeof *regions; i++)
        if (!strcmp(argv[1], regions[i].name))
            region = &regions[i];
    if (!region) {
        fprintf(stderr, "usage: walk REGION, one of:\n");
        for (size_t i = 0; i < sizeof regions / sizeof *regions; i++)
            fprintf(stderr, "  %-18s per %s\n", regions[i].name, regions[i].unit);
        return 2;
    }
    set_up();
    region->run();
    tear_down();
    printf("%llu %s\n", (unsigned long long)units, region->unit);
    return 0;
}
