/* streams.c - what applications do with streams: limits, credit, resets, readers that sip. */
#include "chaos.h"
#include "stage.h"

static struct chaos *present;
static bool all_done(struct sim_world *world) {
    (void)world;
    return chaos_done(present);
}
static bool all_closed(struct sim_world *world) {
    (void)world;
    return present->sides[0].conn_closed && present->sides[1].conn_closed;
}

/* A stage with the chaotic application on both sides. */
static void chaos_open(struct stage *stage, struct chaos *chaos, unsigned acts) {
    present = chaos;
    *chaos = (struct chaos){{{.acts = acts, .pause = 4 * BASE_MS}, {.acts = acts, .pause = 4 * BASE_MS}}};
    stage_open(stage);
    stage->c->app = stage->s->app = &chaos_app;
    stage->c->user = stage->s->user = chaos;
    chaos->sides[0].conn = stage->t.client;
}

static void chaos_finish(struct stage *stage, struct chaos *chaos) {
    if (!sim_run(stage->world, stage->world->now + 300 * BASE_SEC, all_done))
        sim_fail(stage->world, "not done: client %u of %u streams closed, %u acts left; server %u of %u, %u left; causes %u %u", chaos->sides[0].closed,
                 chaos->sides[0].opened, chaos->sides[0].acts, chaos->sides[1].closed, chaos->sides[1].opened, chaos->sides[1].acts,
                 chaos->sides[0].close.cause, chaos->sides[1].close.cause);
    if (chaos->sides[0].conn_closed || chaos->sides[1].conn_closed)
        sim_fail(stage->world, "closed by itself: causes %u (code %llu %.*s), %u (code %llu %.*s)", chaos->sides[0].close.cause,
                 (unsigned long long)chaos->sides[0].close.code, chaos->sides[0].close.reason_len, chaos->sides[0].close.reason,
                 chaos->sides[1].close.cause, (unsigned long long)chaos->sides[1].close.code, chaos->sides[1].close.reason_len,
                 chaos->sides[1].close.reason);
    if (chaos->sides[0].opened != chaos->sides[1].opened && !stage->world->failure) /* a stream may be reset before a byte of it went out */
        if (chaos->sides[0].opened == 0 || chaos->sides[1].opened == 0)
            sim_fail(stage->world, "%u and %u streams", chaos->sides[0].opened, chaos->sides[1].opened);
    if (chaos->sides[0].conn)
        quic_conn_close(chaos->sides[0].conn, true, 7, "enough", 6, stage->world->now);
    sim_run(stage->world, stage->world->now + 60 * BASE_SEC, all_closed);
    stage_close(stage);
}

static void run_chaos(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    struct chaos chaos;
    stage_init(&stage, world, seed);
    stage_bad_link(&stage, (double)(seed % 4) * 0.04);
    stage.client.handshake_timeout = stage.server.handshake_timeout = 60 * BASE_SEC;
    if (seed % 3 == 0) { /* scarce credit */
        stage.client.initial_max_streams_bidi = stage.server.initial_max_streams_uni = 2;
        stage.client.initial_max_data = stage.server.initial_max_data = 20000;
        stage.server.initial_max_stream_data_bidi_remote = stage.client.initial_max_stream_data_uni = 3000;
    }
    chaos_open(&stage, &chaos, 200);
    chaos_finish(&stage, &chaos);
}

/* Credit of a kilobyte, for streams and for the connection: nothing may stop for good. */
static void run_tiny_windows(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage_bad_link(&stage, (double)(seed % 3) * 0.05);
    stage.client.handshake_timeout = stage.server.handshake_timeout = 60 * BASE_SEC;
    for (unsigned i = 0; i < 2; i++) {
        struct options *o = i ? &stage.server : &stage.client;
        o->initial_max_stream_data_bidi_local = o->initial_max_stream_data_bidi_remote = o->max_stream_data_window = 1024;
        o->initial_max_data = o->max_data_window = seed % 2 ? 1024 : 3000;
    }
    stage.t = (struct transfer){.streams = 5, .upload = 8000, .download = 8000, .eager = seed % 4 > 1, .close_when_done = true};
    stage_play(&stage);
}

/* No credit at first: the peer says that it is blocked, and gets none before somebody reads - which cannot be, so limits of 0 are a special case. */
static void run_tuning(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.link.delay = 40 * BASE_MS;
    stage.client.initial_max_stream_data_bidi_local = 16384;
    stage.client.initial_max_data = 32768;
    stage.t.download = 8 << 20;
    stage_play(&stage);
    /* 16 KiB each 80 ms would take 41 s */
    if (stage.t.done_at > 10 * BASE_SEC)
        sim_fail(world, "windows have not grown: %.1f s", (double)stage.t.done_at / 1e9);
}

static void run_few_streams(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage_bad_link(&stage, (double)(seed % 3) * 0.03);
    stage.server.initial_max_streams_bidi = 1 + seed % 3;
    stage.t = (struct transfer){.streams = 60, .upload = 300, .download = 700, .close_when_done = true};
    stage_play(&stage);
}

static void run_sips(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage_bad_link(&stage, (double)(seed % 2) * 0.05);
    stage.t.download = 12000;
    stage.t.sip = 1 + seed % 2;
    stage.client.initial_max_stream_data_bidi_local = stage.client.max_stream_data_window = 2048;
    stage_play(&stage);
}

/* Streams that are opened and left alone by their reader take no more memory than their windows, and the others go on. */
static void run_stalled_streams(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.client.initial_max_stream_data_bidi_local = stage.client.max_stream_data_window = 32768;
    stage.t = (struct transfer){.streams = 20, .upload = 10, .download = 100000, .reader_stops_at = BASE_SEC + 25 * BASE_MS,
                                .reader_stops_for = (1 + seed % 5) * BASE_SEC, .close_when_done = true};
    stage.limit = 6 << 20;
    stage_play(&stage);
}

static const struct scenario list[] = {
    {"chaos", "200 random acts of either side: open, write, finish, reset, stop, read, pause; each is heard of as it was done", 200, run_chaos},
    {"tiny-windows", "windows of 1 KiB", 40, run_tiny_windows},
    {"tuning", "windows grow with what the path needs", 5, run_tuning},
    {"few-streams", "one to three streams at a time, 60 in all", 30, run_few_streams},
    {"sips", "a reader that takes a byte or two at a time", 10, run_sips},
    {"stalled-streams", "20 streams whose reader stops for seconds", 20, run_stalled_streams},
};
SCENARIOS(scenarios_streams, list);
