/* basics.c - what a transport must do on any network: the handshake completes, every byte arrives once and in order, memory stays bounded, and both
 * sides learn how it ended. */
#include "scenario.h"
#include "transfer.h"

static struct transfer *shared; /* of the run in progress, for `done` */

static bool both_closed(struct sim_world *world) {
    (void)world;
    return shared->client_closed && shared->server_closed;
}

static const struct sim_link clean = {.delay = 10 * BASE_MS, .bits_per_second = 100000000};
static const struct sim_link bad = {.delay = 10 * BASE_MS, .bits_per_second = 100000000, .loss = 0.10, .reorder = 0.05,
                                    .duplicate = 0.02, .corrupt = 0.01};

/* Client and server with these options run `t` over `link`; fails unless everything is through and both ends heard of the close. */
static void run_transfer(struct sim_world *world, struct transfer *t, const struct sim_link *link, const struct options *client,
                         const struct options *server, uint64_t limit) {
    shared = t;
    t->close_when_done = true;
    struct quic_config *cc = sim_config(CRYPTO_CLIENT, client), *sc = sim_config(CRYPTO_SERVER, server);
    struct sim_node *c = sim_node_add(world, &transfer_client_app, limit), *s = sim_node_add(world, &transfer_server_app, limit);
    c->user = s->user = t;
    sim_join(c, s, link);
    sim_listen(s, sc);
    t->client = sim_connect(c, s, cc, NULL);
    sim_run(world, world->now + 600 * BASE_SEC, both_closed);
    if (!transfer_done(t))
        sim_fail(world, "%u of %u streams finished, connected %d, client closed %d (cause %u code %llu %.*s), server closed %d (cause %u code %llu %.*s)",
                 t->finished, t->streams, t->connected, t->client_closed, t->client_close.cause, (unsigned long long)t->client_close.code,
                 t->client_close.reason_len, t->client_close.reason, t->server_closed, t->server_close.cause,
                 (unsigned long long)t->server_close.code, t->server_close.reason_len, t->server_close.reason);
    else if (t->client_close.cause != QUIC_CAUSE_LOCAL)
        sim_fail(world, "client closed with cause %u code %llu", t->client_close.cause, (unsigned long long)t->client_close.code);
    else if (!t->server_closed || (t->server_close.cause != QUIC_CAUSE_PEER && t->server_close.cause != QUIC_CAUSE_IDLE))
        sim_fail(world, "server closed: %d, cause %u", t->server_closed, t->server_close.cause);
    sim_node_remove(c);
    sim_node_remove(s);
    sim_config_free(cc);
    sim_config_free(sc);
}

static void run_clean(struct sim_world *world, uint64_t seed) {
    (void)seed;
    struct transfer t = {.streams = 1, .upload = 1000, .download = 1 << 20};
    run_transfer(world, &t, &clean, NULL, NULL, 0);
}

static void run_bad(struct sim_world *world, uint64_t seed) {
    struct transfer t = {.streams = 1, .upload = 100, .download = 1 << 20};
    if (seed % 2)
        t = (struct transfer){.streams = 1, .upload = 1 << 20, .download = 100};
    run_transfer(world, &t, &bad, NULL, NULL, 0);
}

static void run_many(struct sim_world *world, uint64_t seed) {
    struct transfer t = {.streams = 300, .upload = seed % 3000, .download = seed % 7000};
    run_transfer(world, &t, seed % 2 ? &bad : &clean, NULL, NULL, 0);
}

static void run_slow_reader(struct sim_world *world, uint64_t seed) {
    struct options small;
    options_init(&small);
    small.initial_max_data = small.initial_max_stream_data_bidi_local = small.initial_max_stream_data_bidi_remote = 65536;
    small.max_data_window = small.max_stream_data_window = 65536;
    struct transfer t = {.streams = 1, .upload = 10, .download = 1 << 20, .reader_stops_at = BASE_SEC + 200 * BASE_MS,
                         .reader_stops_for = 2 * BASE_SEC};
    run_transfer(world, &t, seed % 2 ? &bad : &clean, &small, NULL, 4 << 20);
}

const struct scenario scenarios[] = {
    {"clean", "1 MiB over a clean link", 50, run_clean},
    {"bad-network", "1 MiB with 10 % loss, 5 % reordering, 2 % duplicates, 1 % corruption each way", 1000, run_bad},
    {"many-streams", "300 streams, clean and bad links", 200, run_many},
    {"slow-reader", "a 64 KiB window and a reader that stops for 2 s: nothing lost, 4 MiB of memory suffice", 200, run_slow_reader},
};
const size_t scenario_count = sizeof scenarios / sizeof *scenarios;
