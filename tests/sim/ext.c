/* ext.c - the extensions: datagrams (RFC 9221). What arrives is what was sent, at most once; whoever asked what became
 * of a datagram hears one end of it, and the truth. The spin bit turns once a round trip. */
#include "stage.h"

/* ---- datagrams ---- */

#define TOKENS 20000u

struct talker { /* one side: what it has sent, and what the other has of it */
    struct sim_node *node;
    struct quic_conn *conn;
    unsigned burst;  /* datagrams each time */
    base_time every; /* 0 = says nothing */
    uint64_t most;   /* sizes up to this */
    uint64_t asked;  /* tokens 1 .. asked were taken */
    bool sent[TOKENS], received[TOKENS];
    uint8_t end[TOKENS]; /* enum quic_datagram_fate; 0 = not heard */
    uint64_t highest, count[QUIC_DATAGRAM_DROPPED + 1], refused, rooms, taken;
    bool in_order; /* the link keeps order: so must the datagrams */
    bool deaf;     /* takes nothing */
    bool waits;    /* was refused: until there is room */
};

static struct talker talkers[2]; /* client, server */
static struct stage *present;

static uint8_t talk_byte(unsigned side, uint64_t token, size_t at) {
    return transfer_byte(1000 + side * 50000 + token, at);
}

static void talk_send(struct talker *k) {
    uint8_t data[2000];
    unsigned side = k == &talkers[1];
    for (unsigned i = 0; i < k->burst && !k->waits && k->asked + 1 < TOKENS; i++) {
        uint64_t token = k->asked + 1;
        size_t max = quic_conn_datagram_max(k->conn);
        size_t len = sim_roll(&present->dice) % 4 ? sim_roll(&present->dice) % (max + 1) : max;
        if (max < 8 || max > sizeof data)
            return;
        if (k->most && len > k->most)
            len = (size_t)k->most;
        if (len < 8)
            len = 8;
        base_store_uint(data, token, 8);
        for (size_t b = 8; b < len; b++)
            data[b] = talk_byte(side, token, b);
        int result = quic_conn_datagram_send(k->conn, data, len, token);
        if (result == 0)
            k->asked = token;
        else if (result == ERR_BLOCKED)
            k->refused++, k->waits = true;
        else if (result != ERR_NOMEM && result != ERR_CLOSED)
            sim_fail(k->node->world, "datagram of %zu of %zu bytes: %d", len, max, result);
        if (result)
            return;
    }
}

static void talk_take(struct talker *k) {
    struct quic_datagram_view view;
    struct talker *other = &talkers[k == &talkers[0]];
    unsigned side = other == &talkers[1];
    while (!k->deaf && quic_conn_datagram_peek(k->conn, &view)) {
        uint64_t token = view.len < 8 ? 0 : base_load_u64(view.data);
        if (!token || token > other->asked || other->received[token])
            sim_fail(k->node->world, "datagram %llu of %llu arrived twice or was never sent", (unsigned long long)token,
                     (unsigned long long)other->asked);
        for (size_t b = 8; b < view.len; b++)
            if (view.data[b] != talk_byte(side, token, b)) {
                sim_fail(k->node->world, "datagram %llu: wrong byte at %zu of %zu", (unsigned long long)token, b,
                         view.len);
                break;
            }
        if (other->in_order && token < other->highest)
            sim_fail(k->node->world, "datagram %llu came after %llu", (unsigned long long)token,
                     (unsigned long long)other->highest);
        if (token > other->highest)
            other->highest = token;
        if (token < TOKENS)
            other->received[token] = true;
        k->taken++;
        quic_conn_datagram_take(k->conn);
    }
}

static void talk_note(struct talker *k, const struct quic_datagram_note *n) {
    if (n->token == 0 || n->token > k->asked) {
        sim_fail(k->node->world, "word of datagram %llu, which nobody sent", (unsigned long long)n->token);
        return;
    }
    if (k->end[n->token] || (n->fate == QUIC_DATAGRAM_SENT && k->sent[n->token]))
        sim_fail(k->node->world, "datagram %llu: fate %u after %u", (unsigned long long)n->token, n->fate,
                 k->end[n->token]);
    if ((n->fate == QUIC_DATAGRAM_DROPPED) == k->sent[n->token] && n->fate != QUIC_DATAGRAM_SENT)
        sim_fail(k->node->world, "datagram %llu: fate %u, sent %d", (unsigned long long)n->token, n->fate,
                 k->sent[n->token]);
    k->count[n->fate]++;
    if (n->fate == QUIC_DATAGRAM_SENT)
        k->sent[n->token] = true;
    else
        k->end[n->token] = n->fate;
}

static void talk_hear(struct talker *k) {
    struct quic_datagram_note notes[16];
    size_t count;
    while ((count = quic_conn_datagram_notes(k->conn, notes, 16)) > 0)
        for (size_t i = 0; i < count; i++)
            talk_note(k, &notes[i]);
}

static struct talker *talker_of(struct sim_node *node) { return &talkers[node == present->s]; }

static void ext_conn(struct sim_node *node, struct quic_conn *conn, uint32_t bits) {
    struct talker *k = talker_of(node);
    const struct sim_app *app = node == present->s ? &transfer_server_app : &transfer_client_app;
    k->conn = conn;
    if (bits & QUIC_CONN_EV_CONNECTED && k->every)
        node->wake = node->world->now;
    if (bits & QUIC_CONN_EV_DATAGRAM)
        talk_take(k);
    if (bits & QUIC_CONN_EV_DATAGRAM_STATE)
        talk_hear(k);
    if (bits & QUIC_CONN_EV_DATAGRAM_ROOM)
        k->rooms++, k->waits = false;
    if (app->on_conn)
        app->on_conn(node, conn, bits);
}

/* Everything must have been told by now. */
static void ext_closed(struct sim_node *node, struct quic_conn *conn) {
    struct talker *k = talker_of(node);
    k->deaf = false;
    talk_take(k);
    talk_hear(k);
    for (uint64_t token = 1; token <= k->asked; token++)
        if (!k->end[token])
            sim_fail(node->world, "side %d never hears what became of datagram %llu", node == present->s,
                     (unsigned long long)token);
    k->conn = NULL;
    k->every = 0;
    (node == present->s ? &transfer_server_app : &transfer_client_app)->on_closed(node, conn);
}

static void ext_timer(struct sim_node *node) {
    struct talker *k = talker_of(node);
    if (!k->conn || !k->every)
        return;
    talk_send(k);
    node->wake = node->world->now + k->every;
}

static struct sim_app ext_client, ext_server;

static void ext_open(struct stage *stage) {
    present = stage;
    ext_client = transfer_client_app;
    ext_server = transfer_server_app;
    ext_client.on_conn = ext_server.on_conn = ext_conn;
    ext_client.on_closed = ext_server.on_closed = ext_closed;
    ext_client.on_timer = ext_server.on_timer = ext_timer;
    stage_open(stage);
    stage->c->app = &ext_client;
    stage->s->app = &ext_server;
    talkers[0].node = stage->c;
    talkers[1].node = stage->s;
}

static void ext_init(struct stage *stage, struct sim_world *world, uint64_t seed) {
    memset(talkers, 0, sizeof talkers);
    stage_init(stage, world, seed);
    stage->client.max_datagram_frame_size = stage->server.max_datagram_frame_size = 65535;
}

/* What was acknowledged has arrived, what was dropped has not, and at the end nothing is unknown. */
static void ext_judge(struct stage *stage, bool all_taken) {
    for (unsigned side = 0; side < 2; side++) {
        const struct talker *k = &talkers[side];
        for (uint64_t token = 1; token <= k->asked; token++) {
            if (k->end[token] == QUIC_DATAGRAM_DROPPED && k->received[token])
                sim_fail(stage->world, "datagram %llu was dropped and arrived", (unsigned long long)token);
            if (k->end[token] == QUIC_DATAGRAM_ACKED && !k->received[token] && all_taken)
                sim_fail(stage->world, "datagram %llu was acknowledged and never arrived", (unsigned long long)token);
        }
    }
}

static void run_datagrams(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    ext_init(&stage, world, seed);
    if (seed % 3)
        stage_bad_link(&stage, 0.02 * (double)(seed % 5));
    stage.client.datagram_priority = stage.server.datagram_priority = seed / 2 % 2;
    if (seed % 7 == 0)
        stage.server.max_datagram_frame_size = 2 + sim_roll(&stage.dice) % 300;
    for (unsigned side = 0; side < 2; side++) {
        talkers[side].burst = 1 + (unsigned)(seed % 4);
        talkers[side].every = 1 + stage_time(&stage, 4 * BASE_MS);
        talkers[side].in_order = seed % 3 == 0;
    }
    ext_open(&stage);
    stage_finish(&stage);
    ext_judge(&stage, true);
    for (unsigned side = 0; side < 2; side++) {
        const struct talker *k = &talkers[side];
        if (k->asked > 20 && !stage.client.datagram_priority && k->count[QUIC_DATAGRAM_ACKED] == 0)
            sim_fail(world, "side %u: none of %llu datagrams was acknowledged", side, (unsigned long long)k->asked);
    }
    stage_close(&stage);
}

/* More than the line takes, and a receiver that takes nothing: both queues stay within their bounds, by either
 * policy. */
static void run_overflow(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    ext_init(&stage, world, seed);
    stage.link.bits_per_second = 4000000;
    stage.t.download = 100000;
    bool newest = seed % 2;
    stage.client.datagram_drop = stage.server.datagram_drop = newest;
    stage.client.datagram_queue_count = stage.server.datagram_queue_count = 40;
    stage.server.datagram_receive_queue = 20000;
    stage.limit = 3 << 20;
    talkers[0].burst = 20;
    talkers[0].every = 5 * BASE_MS;
    talkers[1].deaf = true;
    ext_open(&stage);
    stage_finish(&stage);
    ext_judge(&stage, false);
    const struct talker *k = &talkers[0];
    if (newest && (!k->refused || !k->rooms || stage.t.client_stats.datagram_frames_dropped > 40))
        sim_fail(world, "refused %llu times, told of room %llu times, %llu dropped", (unsigned long long)k->refused,
                 (unsigned long long)k->rooms, (unsigned long long)stage.t.client_stats.datagram_frames_dropped);
    if (!newest && (k->refused || k->count[QUIC_DATAGRAM_DROPPED] < 40))
        sim_fail(world, "refused %llu times, %llu dropped", (unsigned long long)k->refused,
                 (unsigned long long)k->count[QUIC_DATAGRAM_DROPPED]);
    if (talkers[1].taken > 40 || !stage.t.server_stats.datagram_frames_dropped)
        sim_fail(world, "%llu datagrams waited, %llu were dropped", (unsigned long long)talkers[1].taken,
                 (unsigned long long)stage.t.server_stats.datagram_frames_dropped);
    stage_close(&stage);
}

/* A peer that takes none is sent none, and is not allowed to be sent any. */
static void run_unwanted(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    ext_init(&stage, world, seed);
    stage.server.max_datagram_frame_size = 0;
    stage.t.close_when_done = false;
    talkers[0].deaf = true;
    ext_open(&stage);
    stage_wait(&stage, 500 * BASE_MS);
    struct quic_conn *server = stage_server_conn(&stage), *client = talkers[0].conn;
    uint8_t byte = 0;
    struct quic_frame frame = {.type = QUIC_FRAME_DATAGRAM};
    frame.u.datagram.size = 1;
    if (!server || !client)
        sim_fail(world, "no connection");
    else if (client->datagrams || server->datagrams)
        sim_fail(world, "memory for datagrams that never were");
    else if (quic_conn_datagram_send(client, &byte, 1, 1) != ERR_UNSUPPORTED || quic_conn_datagram_max(client) != 0)
        sim_fail(world, "a datagram was taken for a peer that takes none");
    else if (quic_conn_datagram_rx(server, &frame, NULL, false) != QUIC_PROTOCOL_VIOLATION)
        sim_fail(world, "a DATAGRAM frame was taken that was not negotiated");
    else if (quic_conn_datagram_send(server, &byte, 1, 0) != 0) /* the other direction is another matter */
        sim_fail(world, "no datagram to a peer that takes them");
    stage_wait(&stage, 500 * BASE_MS);
    stage_close(&stage);
}

/* ---- the spin bit ---- */

#define EDGES 2000u

/* An observer beside the line: sees the third bit of short headers from the server, and when it changes. */
static struct {
    unsigned value, count;
    base_time at[EDGES];
    bool seen;
} spin;

static bool observe(struct sim_world *world, const struct sim_datagram *d) {
    unsigned value = d->data[0] >> 5 & 1;
    if (d->from != present->s || d->data[0] & 0x80)
        return true;
    if (spin.seen && value != spin.value && spin.count < EDGES)
        spin.at[spin.count++] = world->now;
    spin.seen = true;
    spin.value = value;
    return true;
}

static void run_spin(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    ext_init(&stage, world, seed);
    memset(&spin, 0, sizeof spin);
    world->filter = observe;
    stage.link.delay = (5 + seed % 40) * BASE_MS;
    stage.t.download = 16 << 20;
    stage.t.close_when_done = false;
    stage.client.spin_bit = 1;
    stage.server.spin_bit = seed % 8 != 7;
    stage.client.disable_active_migration = stage.server.disable_active_migration = 1;
    ext_open(&stage);
    stage_wait(&stage, 40 * stage.link.delay);
    const struct quic_conn *server = stage_server_conn(&stage);
    bool both = server && talkers[0].conn && server->spin_enabled && talkers[0].conn->spin_enabled;
    if (!both && server && !server->spin_enabled && spin.count)
        sim_fail(world, "the bit is off and changes");
    if (both && spin.count < 6) /* the line has a queue: a round trip is longer than the link */
        sim_fail(world, "%u edges in 20 round trips", spin.count);
    for (unsigned i = 3; both && i < spin.count; i++) { /* the first wait for the handshake */
        base_time period = spin.at[i] - spin.at[i - 1], rtt = 2 * stage.link.delay;
        if (period < rtt || period > 2 * rtt + 130 * BASE_MS)
            sim_fail(world, "a period of %llu us, the RTT is %llu us", (unsigned long long)period / 1000,
                     (unsigned long long)rtt / 1000);
    }
    if (talkers[0].conn)
        quic_conn_close(talkers[0].conn, true, 0, NULL, 0, world->now);
    stage_run(&stage, 60 * BASE_SEC);
    stage_close(&stage);
}

/* ---- streams that are reset from an offset on ---- */

#define RESETS 20u

static struct { /* by sequence of the client's streams */
    uint64_t promised, taken, code;
    bool reset, ended, closed, opened;
} resets[RESETS];

static unsigned resets_opened, resets_heard;

static void reset_open(struct sim_node *node, struct quic_conn *conn) {
    static uint8_t data[60000];
    struct quic_stream *stream;
    while (resets_opened < RESETS && quic_streams_open(&conn->streams, true, &stream) == 0) {
        unsigned i = resets_opened++;
        size_t len = 1 + sim_roll(&present->dice) % sizeof data;
        for (size_t b = 0; b < len; b++)
            data[b] = transfer_byte(stream->id, b);
        int64_t written = quic_stream_write(stream, data, len, sim_chance(&present->dice, 0.2));
        resets[i].promised = written > 0 ? sim_roll(&present->dice) % ((uint64_t)written + 1) : 0;
        resets[i].code = i;
        resets[i].opened = true;
    }
    node->wake = node->world->now + stage_time(present, 80 * BASE_MS);
}

static void reset_conn(struct sim_node *node, struct quic_conn *conn, uint32_t bits) {
    talkers[0].conn = conn;
    if (bits & (QUIC_CONN_EV_CONNECTED | QUIC_CONN_EV_STREAMS))
        reset_open(node, conn);
}

static void reset_timer(struct sim_node *node) {
    for (unsigned i = 0; talkers[0].conn && i < RESETS; i++) {
        struct quic_stream *stream = quic_streams_find(&talkers[0].conn->streams, i << 2 | 2);
        if (!stream || quic_stream_send_done(&stream->send))
            continue; /* it has all arrived already */
        int result = quic_stream_reset_at(stream, i, resets[i].promised);
        if (result && result != ERR_STREAM_CLOSED && result != ERR_INVALID)
            sim_fail(node->world, "reset at %llu: %d", (unsigned long long)resets[i].promised, result);
    }
}

static void reset_hear(struct sim_node *node, struct quic_stream *stream, uint32_t bits) {
    uint64_t i = stream->id >> 2;
    struct quic_slice slice;
    while (quic_stream_peek(stream, &slice, 1)) {
        size_t len = 1 + sim_roll(&present->dice) % slice.len;
        for (size_t b = 0; b < len; b++)
            if (slice.data[b] != transfer_byte(stream->id, resets[i].taken + b))
                sim_fail(node->world, "stream %llu: wrong byte", (unsigned long long)stream->id);
        resets[i].taken += len;
        quic_stream_consume(stream, len, 0, node->world->now);
    }
    if (quic_stream_recv_at_end(&stream->recv) && stream->recv.state == QUIC_RECV_DATA_RECVD) {
        quic_stream_consume(stream, 0, 0, node->world->now);
        resets[i].ended = true;
    }
    resets[i].ended |= stream->recv.state == QUIC_RECV_DATA_READ;
    if (bits & QUIC_STREAM_EV_RESET) {
        resets[i].reset = true;
        if (resets[i].taken < resets[i].promised || stream->recv.reset_code != i)
            sim_fail(node->world, "stream %llu: reset after %llu of %llu bytes, code %llu",
                     (unsigned long long)stream->id, (unsigned long long)resets[i].taken,
                     (unsigned long long)resets[i].promised, (unsigned long long)stream->recv.reset_code);
    }
    if (bits & QUIC_STREAM_EV_CLOSED && !resets[i].closed) {
        resets[i].closed = true;
        if (++resets_heard == RESETS)
            quic_conn_close(talkers[0].conn, true, 0, NULL, 0, node->world->now);
    }
}

static void run_reset_at(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    ext_init(&stage, world, seed);
    memset(resets, 0, sizeof resets);
    resets_opened = resets_heard = 0;
    if (seed % 4)
        stage_bad_link(&stage, 0.03 * (double)(seed % 4));
    if (seed % 5 == 0)
        stage.server.initial_max_stream_data_uni = stage.server.max_stream_data_window = 8192;
    if (seed % 6 == 0)
        stage.server.initial_max_data = stage.server.max_data_window = 16384;
    stage.link.bits_per_second = 8000000;
    present = &stage;
    ext_client = transfer_client_app;
    ext_client.on_conn = reset_conn;
    ext_client.on_timer = reset_timer;
    ext_client.on_stream = NULL;
    ext_server = transfer_server_app;
    ext_server.on_stream = reset_hear;
    stage_open(&stage);
    stage.c->app = &ext_client;
    stage.s->app = &ext_server;
    stage_run(&stage, 120 * BASE_SEC);
    for (unsigned i = 0; i < RESETS && !world->failure; i++)
        if (!resets[i].closed || resets[i].reset == resets[i].ended)
            sim_fail(world, "stream %u: closed %d, reset %d, ended %d after %llu of %llu", i, resets[i].closed,
                     resets[i].reset, resets[i].ended, (unsigned long long)resets[i].taken,
                     (unsigned long long)resets[i].promised);
    stage_close(&stage);
}

/* ---- how often to acknowledge ---- */

static void run_ack_frequency(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    ext_init(&stage, world, seed);
    stage.t.upload = 8 << 20;
    stage.t.download = 100;
    stage.link.delay = 20 * BASE_MS;
    stage.client.ack_frequency = 1;
    stage.server.ack_frequency = seed % 4 != 3;
    if (seed % 2 == 0)
        stage_bad_link(&stage, 0.01);
    ext_open(&stage);
    stage_wait(&stage, 600 * BASE_MS);
    const struct quic_conn *server = stage_server_conn(&stage), *client = talkers[0].conn;
    bool spoken = client && client->ack_request.threshold > 0, asked = server && server->ack_policy.asked;
    if (spoken != (stage.server.ack_frequency != 0) && seed % 2) /* under loss the window may stay small */
        sim_fail(world, "asked: %d, the server speaks the extension: %d", spoken, (int)stage.server.ack_frequency);
    if (seed % 2 && asked != spoken)
        sim_fail(world, "the server was asked: %d, and heard of it: %d", spoken, asked);
    if (asked && (server->ack_policy.max_delay > 25 * BASE_MS || server->ack_policy.max_delay < BASE_MS))
        sim_fail(world, "a delay of %llu us was asked for", (unsigned long long)server->ack_policy.max_delay / 1000);
    stage_finish(&stage);
    uint64_t packets = stage.t.server_stats.packets_received, acks = stage.t.server_stats.acks_sent;
    if (stage.server.ack_frequency && seed % 2 && acks * 8 > packets)
        sim_fail(world, "%llu ACKs for %llu packets", (unsigned long long)acks, (unsigned long long)packets);
    stage_close(&stage);
}

static const struct scenario list[] = {
    {"datagrams", "datagrams both ways beside a stream, on good and bad links: at most once, and one true end for each",
     300, run_datagrams},
    {"datagram-overflow",
     "more than line and receiver take: queues stay bounded, by dropping the oldest or refusing the newest", 60,
     run_overflow},
    {"datagram-unwanted", "no datagrams to a peer that takes none", 2, run_unwanted},
    {"spin-bit", "an observer measures the round trip by the spin bit, if both sides let it", 160, run_spin},
    {"reset-at",
     "streams that are reset from an offset on, under loss and little credit: every byte below it comes first", 200,
     run_reset_at},
    {"ack-frequency", "a sender in bulk asks for fewer ACKs where the peer speaks the extension, and gets them", 40,
     run_ack_frequency},
};
SCENARIOS(scenarios_ext, list);
