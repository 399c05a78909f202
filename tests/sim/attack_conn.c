/* attack_conn.c - a client with keys of its own that means no good, beside one that only wants its bytes.
 *
 * The hostile client makes a true connection, and then packets by hand, at 2000 a second. Whatever it does to no use -
 * always the same, or of everything a little - the server closes its connection, holds no more memory than its budget,
 * and the other client does not notice. */
#include "forge.h"
#include "stage.h"

static struct hostile {
    struct stage *stage;
    struct sim_node *node;
    struct quic_conn *conn;
    struct transfer t;
    uint64_t number, stream; /* the next of each */
    unsigned kind;
} hostile;

static uint64_t roll(uint64_t below) { return sim_roll(&hostile.stage->dice) % below; }

static void put_ping(struct base_writer *f) { quic_frame_write_type(f, QUIC_FRAME_PING); }

static void put_challenge(struct base_writer *f) {
    uint8_t data[8];
    base_store_uint(data, sim_roll(&hostile.stage->dice), 8);
    quic_frame_write_path(f, roll(2) ? QUIC_FRAME_PATH_CHALLENGE : QUIC_FRAME_PATH_RESPONSE, data);
}

static void put_cid(struct base_writer *f) {
    const struct quic_cid cid = {.len = 8, .id = {99, 1}};
    const uint8_t token[16] = {9};
    quic_frame_write_new_cid(f, 20, 20, &cid, token);
}

static void put_retire(struct base_writer *f) { quic_frame_write_number(f, QUIC_FRAME_RETIRE_CONNECTION_ID, 1); }

static void put_credit(struct base_writer *f) {
    static const uint64_t types[] = {QUIC_FRAME_MAX_DATA, QUIC_FRAME_MAX_STREAMS_BIDI, QUIC_FRAME_DATA_BLOCKED,
                                     QUIC_FRAME_STREAMS_BLOCKED_UNI};
    quic_frame_write_number(f, types[roll(4)], 1);
}

static void put_ack(struct base_writer *f) {
    base_write_u8(f, QUIC_FRAME_ACK);
    for (unsigned i = 0; i < 4; i++)
        base_write_varint(f, 0);
}

static void put_empty(struct base_writer *f) { quic_frame_write_stream_header(f, 4, 0, 0, 2, false); }

static void put_churn(struct base_writer *f) {
    uint64_t id = 2 + 4 * hostile.stream;
    struct base_node *node = base_list_first(&hostile.stage->s->endpoint.conns);
    for (; node; node = base_list_next(&hostile.stage->s->endpoint.conns, node)) {
        const struct quic_conn *conn = BASE_CONTAINER(node, struct quic_conn, all);
        if (conn->first_path.remote.ip[3] == hostile.node->socket.local.ip[3] && id >> 2 < conn->streams.kinds[2].max) {
            hostile.stream++;
            quic_frame_write_reset_stream(f, id, 1, 0);
            return;
        }
    }
    put_ping(f);
}

static void put_gap(struct base_writer *f) {
    static const uint8_t byte[1];
    quic_frame_write_crypto(f, 1 + 2 * roll(30000), byte, 1);
}

static void (*const kinds[])(struct base_writer *) = {put_ping, put_challenge, put_cid,   put_retire, put_credit,
                                                      put_ack,  put_empty,     put_churn, put_gap};
#define KINDS (sizeof kinds / sizeof *kinds)

static void strike(base_time delay) {
    uint8_t frames[1100], packet[1200];
    struct base_writer f = base_writer_of(frames, sizeof frames);
    for (unsigned i = 0; i < 60 && base_writer_left(&f) > 60; i++)
        kinds[hostile.kind < KINDS ? hostile.kind : roll(KINDS)](&f);
    size_t len = sim_forge(hostile.conn, hostile.number++, frames, (size_t)(f.pos - frames), packet);
    if (!len)
        sim_fail(hostile.stage->world, "the packet could not be made");
    sim_inject(hostile.stage->s, &hostile.node->socket.local, packet, (uint32_t)len, delay);
}

static bool struck_down(void) { return hostile.stage->s->endpoint.stats.connections_glitched > 0; }

/* Its own half would not understand the answers to packets that it has not sent. */
static bool deaf(struct sim_world *world, const struct sim_datagram *d) {
    (void)world;
    return d->to != hostile.node;
}

static void expect_end(struct stage *stage, const struct quic_close *close) {
    if (close->cause != QUIC_CAUSE_PROTOCOL || close->app || close->code != QUIC_PROTOCOL_VIOLATION)
        sim_fail(stage->world, "attack %u ended with cause %u code %llu %.*s", hostile.kind, close->cause,
                 (unsigned long long)close->code, close->reason_len, close->reason);
    if (stage->s->endpoint.stats.connections_glitched != 1)
        sim_fail(stage->world, "%llu connections were closed for glitches",
                 (unsigned long long)stage->s->endpoint.stats.connections_glitched);
    if (!transfer_done(&stage->t))
        sim_fail(stage->world, "the other client has %llu bytes, closed by %u", (unsigned long long)stage->t.received,
                 stage->t.client_close.cause);
    if (stage->s->mem.peak > stage->limit)
        sim_fail(stage->world, "the server held %llu bytes", (unsigned long long)stage->s->mem.peak);
}

static void run_hostile(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    hostile = (struct hostile){.stage = &stage, .number = 1000, .kind = (unsigned)(seed % (KINDS + 2))};
    world->hostile = world->unchecked = true;
    stage.t.download = 8 << 20;
    stage.limit = 8 << 20;
    stage_open(&stage);
    hostile.node = sim_node_add(world, &transfer_client_app, 0);
    hostile.node->user = &hostile.t;
    sim_join(hostile.node, stage.s, &stage.link);
    hostile.conn = sim_connect(hostile.node, stage.s, stage.cc, &hostile.t);
    stage_wait(&stage, 200 * BASE_MS);
    if (!hostile.conn->handshake_confirmed)
        sim_fail(world, "the handshake is not through");
    world->filter = deaf;
    for (unsigned i = 0; i < 5000 && !struck_down() && !world->failure; i++) {
        strike(BASE_MS);
        stage_wait(&stage, 500 * BASE_US);
    }
    const struct quic_close close = stage.t.server_close;
    for (unsigned i = 0; i < 100 && !transfer_done(&stage.t); i++)
        stage_wait(&stage, 100 * BASE_MS);
    expect_end(&stage, &close);
    sim_node_remove(hostile.node);
    stage_close(&stage);
}

static const struct scenario list[] = {
    {"hostile-peer", "a client that floods with what is of no use is closed; its neighbour does not notice", 24,
     run_hostile},
};
SCENARIOS(scenarios_attack_conn, list);
