/* congestion.c - what the congestion controllers make of a network: how much of a link they use, how they share it, how
 * long a queue they keep, and how they live through what networks do. Endless downloads through one bottleneck, in
 * virtual time: the figures are the same on every machine, and each has a least (or a most) that it is held to.
 *
 * Nothing is decrypted or checked here: hundreds of megabytes go by.
 */
#include <stdio.h>

#include "scenario.h"

#define FLOWS 12u

struct flow {
    struct quic_conn *conn;
    uint64_t received, mark; /* bytes the client took; of these, at the last mark */
};

/* One client, one server, one line between them, whatever the number of connections. */
struct bench {
    struct sim_world *world;
    struct sim_node *c, *s;
    struct options client, server;
    struct quic_config *cc, *sc[3]; /* server: one for each controller */
    struct flow flows[FLOWS];
    unsigned count;
    base_time marked_at, queue_most; /* longest queue since the mark */
    uint64_t queue_sum, queue_samples;
};

enum { CUBIC = 0, NEWRENO = 1, BBR = 2 };
static const char *const names[] = {"cubic", "newreno", "bbr"};

/* ---- the application: a stream that never ends ---- */

static void client_conn(struct sim_node *node, struct quic_conn *conn, uint32_t bits) {
    struct quic_stream *stream;
    if (!(bits & QUIC_CONN_EV_CONNECTED))
        return;
    if (quic_streams_open(&conn->streams, false, &stream) ||
        quic_stream_write(stream, (const uint8_t *)"?", 1, true) != 1)
        sim_fail(node->world, "no stream");
}

static void client_stream(struct sim_node *node, struct quic_stream *stream, uint32_t bits) {
    struct quic_conn *conn = quic_conn_of(&node->slots, stream->set->conn_handle);
    struct quic_slice slice;
    if (!(bits & QUIC_STREAM_EV_READABLE) || !conn)
        return;
    struct flow *flow = conn->user;
    while (quic_stream_peek(stream, &slice, 1)) {
        flow->received += slice.len;
        quic_stream_consume(stream, slice.len, quic_path_active(conn)->control.rtt.smoothed, node->world->now);
    }
}

static void server_stream(struct sim_node *node, struct quic_stream *stream, uint32_t bits) {
    static const uint8_t block[65536];
    struct quic_slice slice;
    if (bits & QUIC_STREAM_EV_READABLE)
        while (quic_stream_peek(stream, &slice, 1))
            quic_stream_consume(stream, slice.len, 0, node->world->now);
    if (bits & (QUIC_STREAM_EV_READABLE | QUIC_STREAM_EV_WRITABLE))
        while (quic_stream_write(stream, block, sizeof block, false) == (int64_t)sizeof block)
            ;
}

static const struct sim_app client_app = {.on_conn = client_conn, .on_stream = client_stream};
static const struct sim_app server_app = {.on_stream = server_stream};

/* ---- the bench ---- */

static void bench_open(struct bench *b, struct sim_world *world, const struct sim_link *link) {
    *b = (struct bench){.world = world};
    world->unchecked = true;
    options_init(&b->client);
    options_init(&b->server);
    b->client.initial_max_data = b->client.max_data_window = 64 << 20;
    b->client.initial_max_stream_data_bidi_local = b->client.max_stream_data_window = 64 << 20;
    b->server.stream_send_buffer = 4 << 20;
    b->cc = sim_config(CRYPTO_CLIENT, &b->client);
    for (unsigned i = 0; i < 3; i++) {
        b->server.congestion_control = i;
        b->sc[i] = sim_config(CRYPTO_SERVER, &b->server);
    }
    b->c = sim_node_add(world, &client_app, 0);
    b->s = sim_node_add(world, &server_app, 0);
    sim_join(b->c, b->s, link);
    struct sim_link *back = &b->c->links[b->s->index];
    back->loss = 0; /* of the requests and ACKs: the figures are about the way down */
    sim_listen(b->s, b->sc[CUBIC]);
}

static struct sim_link *bench_line(struct bench *b) { return &b->s->links[b->c->index]; }

static void bench_close(struct bench *b) {
    sim_node_remove(b->c);
    sim_node_remove(b->s);
    sim_config_free(b->cc);
    for (unsigned i = 0; i < 3; i++)
        sim_config_free(b->sc[i]);
}

static base_time bench_queue(struct bench *b) {
    base_time free = bench_line(b)->line_free;
    return free > b->world->now ? free - b->world->now : 0;
}

/* Runs, and looks at the queue each 2 ms. */
static void bench_run(struct bench *b, base_time span) {
    base_time end = b->world->now + span;
    while (b->world->now < end && !b->world->failure) {
        base_time until = base_time_min(end, b->world->now + 2 * BASE_MS), queue;
        sim_run(b->world, until, NULL);
        b->world->now = base_time_max(b->world->now, until);
        queue = bench_queue(b);
        b->queue_most = base_time_max(b->queue_most, queue);
        b->queue_sum += queue;
        b->queue_samples++;
    }
}

static struct flow *bench_add(struct bench *b, unsigned controller) {
    struct flow *flow = &b->flows[b->count++];
    b->s->listener.config = b->sc[controller];
    flow->conn = sim_connect(b->c, b->s, b->cc, flow);
    if (flow->conn)
        bench_run(b, 300 * BASE_MS); /* the server has chosen by then */
    return flow;
}

static void bench_mark(struct bench *b) {
    for (unsigned i = 0; i < b->count; i++)
        b->flows[i].mark = b->flows[i].received;
    b->marked_at = b->world->now;
    b->queue_most = b->queue_sum = b->queue_samples = 0;
}

/* Bits a second since the mark, with what each datagram of 1452 bytes needs beside its stream data. */
#define GOODPUT (1415.0 / (1452 + 28))
static double bench_rate(const struct bench *b, const struct flow *flow) {
    return (double)(flow->received - flow->mark) * 8e9 / GOODPUT / (double)(b->world->now - b->marked_at);
}

static double bench_use(struct bench *b) {
    double sum = 0;
    for (unsigned i = 0; i < b->count; i++)
        sum += bench_rate(b, &b->flows[i]);
    return sum / (double)bench_line(b)->bits_per_second;
}

static double bench_jain(const struct bench *b) {
    double sum = 0, squares = 0;
    for (unsigned i = 0; i < b->count; i++) {
        double rate = bench_rate(b, &b->flows[i]);
        sum += rate;
        squares += rate * rate;
    }
    return sum * sum / ((double)b->count * squares);
}

static double bench_queue_mean(const struct bench *b) { return (double)b->queue_sum / (double)b->queue_samples / 1e6; }

static void expect_least(struct bench *b, const char *what, double value, double least) {
    if (value < least)
        sim_fail(b->world, "%s: %.3f, at least %.3f should be", what, value, least);
}

static void expect_most(struct bench *b, const char *what, double value, double most) {
    if (value > most)
        sim_fail(b->world, "%s: %.3f, at most %.3f should be", what, value, most);
}

/* ---- scenarios ---- */

static const struct sim_link line = {.delay = 25 * BASE_MS, .bits_per_second = 100000000, .queue = 50 * BASE_MS};

/* What CUBIC makes of random losses is what RFC 9438 says it does: at 50 ms, where it is as fast as Reno, about
 * 1.2 / sqrt(p) datagrams a round trip: 9 and 3 % of this link. */
static void run_link_use(struct sim_world *world, uint64_t seed) {
    static const double losses[] = {0, 0.001, 0.01}, least[2][3] = {{0.98, 0.08, 0.022}, {0.95, 0.93, 0.9}};
    unsigned bbr = (unsigned)(seed - 1) % 2, loss = (unsigned)(seed - 1) / 2 % 3;
    struct bench b;
    struct sim_link link = line;
    link.loss = losses[loss];
    bench_open(&b, world, &link);
    bench_add(&b, bbr ? BBR : CUBIC);
    bench_run(&b, 2 * BASE_SEC);
    bench_mark(&b);
    bench_run(&b, 20 * BASE_SEC);
    printf("    100 Mbit/s, 50 ms, %.1f %% loss, %s: %.1f %% of the link, queue %.1f ms\n", 100 * losses[loss],
           bbr ? "bbr" : "cubic", 100 * bench_use(&b), bench_queue_mean(&b));
    expect_least(&b, "link use", bench_use(&b), least[bbr][loss]);
    bench_close(&b);
}

static void run_ten(struct sim_world *world, uint64_t seed) {
    unsigned controller = seed % 2 ? CUBIC : BBR;
    struct bench b;
    bench_open(&b, world, &line);
    for (unsigned i = 0; i < 10; i++)
        bench_add(&b, controller);
    bench_run(&b, 30 * BASE_SEC);
    bench_mark(&b);
    bench_run(&b, 40 * BASE_SEC);
    printf("    ten %s flows: fairness %.3f, %.1f %% of the link, queue %.1f ms\n", names[controller], bench_jain(&b),
           100 * bench_use(&b), bench_queue_mean(&b));
    expect_least(&b, "fairness", bench_jain(&b), 0.9);
    expect_least(&b, "link use", bench_use(&b), 0.95);
    bench_close(&b);
}

static void run_mixed(struct sim_world *world, uint64_t seed) {
    struct bench b;
    bench_open(&b, world, &line);
    struct flow *first = bench_add(&b, seed % 2 ? CUBIC : BBR), *second = bench_add(&b, seed % 2 ? BBR : CUBIC);
    bench_run(&b, 10 * BASE_SEC);
    bench_mark(&b);
    bench_run(&b, 30 * BASE_SEC);
    double share = bench_rate(&b, second) / (bench_rate(&b, first) + bench_rate(&b, second));
    printf("    %s, then %s: %.1f and %.1f Mbit/s, %.1f %% of the link\n", seed % 2 ? "cubic" : "bbr",
           seed % 2 ? "bbr" : "cubic", bench_rate(&b, first) / 1e6, bench_rate(&b, second) / 1e6, 100 * bench_use(&b));
    expect_least(&b, "share of the second", share, 0.1);
    expect_most(&b, "share of the second", share, 0.9);
    expect_least(&b, "link use", bench_use(&b), 0.9);
    bench_close(&b);
}

static void run_bufferbloat(struct sim_world *world, uint64_t seed) {
    (void)seed;
    struct bench b;
    struct sim_link link = {.delay = 25 * BASE_MS, .bits_per_second = 20000000, .queue = BASE_SEC};
    bench_open(&b, world, &link);
    bench_add(&b, BBR);
    bench_run(&b, 3 * BASE_SEC);
    bench_mark(&b);
    bench_run(&b, 20 * BASE_SEC);
    printf("    bbr and a buffer of one second: queue %.1f ms, at most %.1f ms, %.1f %% of the link\n",
           bench_queue_mean(&b), (double)b.queue_most / 1e6, 100 * bench_use(&b));
    expect_most(&b, "mean queue in ms", bench_queue_mean(&b), 15);
    expect_most(&b, "queue in ms", (double)b.queue_most / 1e6, 80);
    expect_least(&b, "link use", bench_use(&b), 0.93);
    bench_close(&b);
}

/* A buffer of a tenth of what is under way: what BBR loses there is what its probes lose, and they end at 2 %, give or
 * take. */
static void run_shallow(struct sim_world *world, uint64_t seed) {
    struct bench b;
    struct sim_link link = line;
    link.queue = 5 * BASE_MS;
    (void)seed;
    bench_open(&b, world, &link);
    bench_add(&b, BBR);
    bench_run(&b, 3 * BASE_SEC);
    bench_mark(&b);
    uint64_t sent = bench_line(&b)->sent, lost = bench_line(&b)->lost;
    bench_run(&b, 20 * BASE_SEC);
    double share = (double)(bench_line(&b)->lost - lost) / (double)(bench_line(&b)->sent - sent);
    printf("    bbr and a buffer of 5 ms: %.2f %% lost, %.1f %% of the link\n", 100 * share, 100 * bench_use(&b));
    expect_most(&b, "share of what is lost", share, 0.02);
    expect_least(&b, "link use", bench_use(&b), 0.9);
    bench_close(&b);
}

static void run_black_hole(struct sim_world *world, uint64_t seed) {
    unsigned controller = seed % 2 ? CUBIC : BBR;
    struct bench b;
    bench_open(&b, world, &line);
    bench_add(&b, controller);
    bench_run(&b, 5 * BASE_SEC);
    bench_line(&b)->cut = b.c->links[b.s->index].cut = true;
    bench_run(&b, 5 * BASE_SEC);
    bench_line(&b)->cut = b.c->links[b.s->index].cut = false;
    bench_run(&b, 8 * BASE_SEC);
    bench_mark(&b);
    bench_run(&b, 5 * BASE_SEC);
    printf("    %s, 8 s after a black hole of 5 s: %.1f %% of the link\n", names[controller], 100 * bench_use(&b));
    expect_least(&b, "link use after the black hole", bench_use(&b), 0.9);
    bench_close(&b);
}

static void run_rate_changes(struct sim_world *world, uint64_t seed) {
    unsigned controller = seed % 2 ? CUBIC : BBR;
    struct bench b;
    bench_open(&b, world, &line);
    bench_add(&b, controller);
    bench_run(&b, 5 * BASE_SEC);
    bench_line(&b)->bits_per_second = 10000000;
    bench_run(&b, 10 * BASE_SEC);
    bench_mark(&b);
    bench_run(&b, 10 * BASE_SEC);
    double low = bench_use(&b), queue = bench_queue_mean(&b);
    bench_line(&b)->bits_per_second = 100000000;
    bench_run(&b, 15 * BASE_SEC);
    bench_mark(&b);
    bench_run(&b, 10 * BASE_SEC);
    printf("    %s, 100 Mbit/s to 10 and back: %.1f %% of 10 (queue %.1f ms), %.1f %% of 100\n", names[controller],
           100 * low, queue, 100 * bench_use(&b));
    expect_least(&b, "use of the slow link", low, 0.9);
    expect_least(&b, "use of the fast link", bench_use(&b), 0.9);
    bench_close(&b);
}

/* A path that holds back 5 % of the datagrams by up to some ms, so that what comes after overtakes them, loses nothing:
 * it may not cost more than a fifth of its rate. */
static void run_reordering(struct sim_world *world, uint64_t seed) {
    static const base_time late[] = {BASE_MS, 8 * BASE_MS, 20 * BASE_MS};
    unsigned controller = seed % 2 ? CUBIC : BBR;
    base_time most = late[(seed - 1) / 2 % 3];
    struct bench b;
    struct sim_link link = line;
    link.reorder = 0.05;
    link.reorder_delay = most;
    bench_open(&b, world, &link);
    bench_add(&b, controller);
    bench_run(&b, 2 * BASE_SEC);
    bench_mark(&b);
    bench_run(&b, 20 * BASE_SEC);
    printf("    %s, 5 %% late by up to %llu ms: %.1f %% of the link, queue %.1f ms\n", names[controller],
           (unsigned long long)(most / BASE_MS), 100 * bench_use(&b), bench_queue_mean(&b));
    expect_least(&b, "link use", bench_use(&b), 0.8);
    bench_close(&b);
}

static const struct scenario list[] = {
    {"cc-link-use", "cubic and bbr, 100 Mbit/s, 50 ms, 0, 0.1 and 1 % random loss", 24, run_link_use},
    {"cc-reordering", "a path that reorders 5 % of its datagrams keeps four fifths of its rate", 6, run_reordering},
    {"cc-ten-flows", "ten flows of one kind share a link fairly", 2, run_ten},
    {"cc-mixed", "a cubic and a bbr flow share a link, neither starves", 2, run_mixed},
    {"cc-bufferbloat", "bbr keeps the queue short where the buffer is long", 1, run_bufferbloat},
    {"cc-shallow", "bbr loses little where the buffer is short", 1, run_shallow},
    {"cc-black-hole", "the rate comes back after 5 s of nothing", 2, run_black_hole},
    {"cc-rate-changes", "a link of 100 Mbit/s has 10 for a while", 2, run_rate_changes},
};
SCENARIOS(scenarios_congestion, list);
