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
        sim_fail(stage->world,
                 "not done: client %u of %u streams closed, %u acts left; server %u of %u, %u left; causes %u %u",
                 chaos->sides[0].closed, chaos->sides[0].opened, chaos->sides[0].acts, chaos->sides[1].closed,
                 chaos->sides[1].opened, chaos->sides[1].acts, chaos->sides[0].close.cause,
                 chaos->sides[1].close.cause);
    if (chaos->sides[0].conn_closed || chaos->sides[1].conn_closed)
        sim_fail(stage->world, "closed by itself: causes %u (code %llu %.*s), %u (code %llu %.*s)",
                 chaos->sides[0].close.cause, (unsigned long long)chaos->sides[0].close.code,
                 chaos->sides[0].close.reason_len, chaos->sides[0].close.reason, chaos->sides[1].close.cause,
                 (unsigned long long)chaos->sides[1].close.code, chaos->sides[1].close.reason_len,
                 chaos->sides[1].close.reason);
    if (chaos->sides[0].opened != chaos->sides[1].opened &&
        !stage->world->failure) /* a stream may be reset before a byte of it went out */
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
        o->initial_max_stream_data_bidi_local = o->initial_max_stream_data_bidi_remote = o->max_stream_data_window =
            1024;
        o->initial_max_data = o->max_data_window = seed % 2 ? 1024 : 3000;
    }
    stage.t = (struct transfer){
        .streams = 5, .upload = 8000, .download = 8000, .eager = seed % 4 > 1, .close_when_done = true};
    stage_play(&stage);
}

/* No credit at first: the peer says that it is blocked, and gets none before somebody reads - which cannot be, so
 * limits of 0 are a special case. */
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

/* Streams that are opened and left alone by their reader take no more memory than their windows, and the others go
 * on. */
static void run_stalled_streams(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.client.initial_max_stream_data_bidi_local = stage.client.max_stream_data_window = 32768;
    stage.t = (struct transfer){.streams = 20,
                                .upload = 10,
                                .download = 100000,
                                .reader_stops_at = BASE_SEC + 25 * BASE_MS,
                                .reader_stops_for = (1 + seed % 5) * BASE_SEC,
                                .close_when_done = true};
    stage.limit = 6 << 20;
    stage_play(&stage);
}

/* ---- deadlines ---- */

#define DEADLINE_CODE 99u

static struct {
    struct quic_conn *client;
    base_time due, client_closed, server_closed;
    uint64_t reset_code, stop_code;
    bool expired, early_expired;
} deadline;

static void deadline_client_conn(struct sim_node *node, struct quic_conn *conn, uint32_t bits) {
    if (!(bits & QUIC_CONN_EV_CONNECTED))
        return;
    struct quic_stream *late, *early;
    deadline.client = conn;
    deadline.due = node->world->now + 100 * BASE_MS;
    if (quic_streams_open(&conn->streams, false, &late) || quic_streams_open(&conn->streams, true, &early)) {
        sim_fail(node->world, "no streams");
        return;
    }
    quic_stream_write(late, (const uint8_t *)"never done", 10, false);
    quic_stream_set_deadline(late, deadline.due, DEADLINE_CODE);
    quic_stream_write(early, (const uint8_t *)"done", 4, true);
    quic_stream_set_deadline(early, deadline.due, DEADLINE_CODE);
}

static void deadline_client_stream(struct sim_node *node, struct quic_stream *stream, uint32_t bits) {
    if (!(bits & QUIC_STREAM_EV_CLOSED))
        return;
    if (quic_stream_is_uni(stream->id)) {
        deadline.early_expired = stream->expired;
        return;
    }
    deadline.client_closed = node->world->now;
    deadline.expired = stream->expired;
}

static void deadline_server_stream(struct sim_node *node, struct quic_stream *stream, uint32_t bits) {
    if (bits & QUIC_STREAM_EV_OPENED && !quic_stream_is_uni(stream->id))
        quic_stream_write(stream, (const uint8_t *)"nor this", 8, false);
    if (bits & QUIC_STREAM_EV_READABLE)
        quic_stream_consume(stream, stream->recv.ready - stream->recv.taken, 0, node->world->now);
    if (bits & QUIC_STREAM_EV_RESET)
        deadline.reset_code = stream->recv.reset_code;
    if (bits & QUIC_STREAM_EV_STOPPED)
        deadline.stop_code = stream->stop_code_received;
    if (bits & QUIC_STREAM_EV_CLOSED && !quic_stream_is_uni(stream->id))
        deadline.server_closed = node->world->now;
}

static bool deadline_over(struct sim_world *world) {
    (void)world;
    return deadline.client_closed && deadline.server_closed;
}

static void run_deadline(struct sim_world *world, uint64_t seed) {
    static const struct sim_app client = {deadline_client_conn, NULL, deadline_client_stream, NULL};
    static const struct sim_app server = {NULL, NULL, deadline_server_stream, NULL};
    struct stage stage;
    memset(&deadline, 0, sizeof deadline);
    stage_init(&stage, world, seed);
    stage_bad_link(&stage, (double)(seed % 2) * 0.1);
    stage_open(&stage);
    stage.c->app = &client;
    stage.s->app = &server;
    if (!sim_run(world, world->now + 60 * BASE_SEC, deadline_over))
        sim_fail(world, "the stream outlives its deadline");
    else if (deadline.client_closed < deadline.due)
        sim_fail(world, "broken off too early");
    else if (!deadline.expired ||
             (deadline.early_expired && seed % 2 == 0)) /* where packets get lost it may be late as well */
        sim_fail(world, "expired: %d, and the one that was done: %d", deadline.expired, deadline.early_expired);
    else if (deadline.reset_code != DEADLINE_CODE || deadline.stop_code != DEADLINE_CODE)
        sim_fail(world, "codes %llu and %llu", (unsigned long long)deadline.reset_code,
                 (unsigned long long)deadline.stop_code);
    else if (deadline.client->state != QUIC_CONN_ESTABLISHED)
        sim_fail(world, "the connection is gone");
    stage_close(&stage);
}

static const struct scenario list[] = {
    {"chaos",
     "200 random acts of either side: open, write, finish, reset, stop, read, pause; each is heard of as it was done",
     200, run_chaos},
    {"tiny-windows", "windows of 1 KiB", 40, run_tiny_windows},
    {"tuning", "windows grow with what the path needs", 5, run_tuning},
    {"few-streams", "one to three streams at a time, 60 in all", 30, run_few_streams},
    {"sips", "a reader that takes a byte or two at a time", 10, run_sips},
    {"deadline",
     "a stream that is not done by its deadline is broken off both ways, with its code; one that is done is not", 40,
     run_deadline},
    {"stalled-streams", "20 streams whose reader stops for seconds", 20, run_stalled_streams},
};
SCENARIOS(scenarios_streams, list);
