/* early.c - coming back: sessions, 0-RTT and tokens (RFC 9001 4.6, RFC 9000 7.4.1 and 8.1.3). A first connection gets a
 * session and a token, the second one uses them. Whatever happens to early data, every byte arrives once. */
#include <stdlib.h>

#include "stage.h"

/* ---- what a client keeps, what is seen ---- */

static struct {
    uint8_t session[8192], token[512];
    size_t session_len, token_len;
    enum crypto_early early; /* the client's, at CONNECTED */
    uint32_t version;
    bool resumed;
    unsigned early_streams;  /* streams at the server that came as 0-RTT, counted when they may still be a replay */
    unsigned server_streams; /* streams the server heard of */
    unsigned early_conns;    /* connections of the server with early data accepted that the application heard of */
    uint64_t early_handle;   /* the last of them */
} kept;

static void client_conn(struct sim_node *node, struct quic_conn *conn, uint32_t bits) {
    if (bits & QUIC_CONN_EV_CONNECTED) {
        kept.early = quic_conn_early(conn);
        kept.version = conn->version;
        kept.resumed = conn->resumed;
    }
    if (bits & QUIC_CONN_EV_SESSION && conn->session_len <= sizeof kept.session) {
        memcpy(kept.session, conn->session, conn->session_len);
        kept.session_len = conn->session_len;
    }
    if (bits & QUIC_CONN_EV_TOKEN && conn->new_token_len <= sizeof kept.token) {
        memcpy(kept.token, conn->new_token, conn->new_token_len);
        kept.token_len = conn->new_token_len;
    }
    transfer_client_app.on_conn(node, conn, bits);
}

static void count_early(const struct quic_conn *conn) {
    if (!conn || quic_conn_early(conn) != CRYPTO_EARLY_ACCEPTED || conn->handle == kept.early_handle)
        return;
    kept.early_handle = conn->handle;
    kept.early_conns++;
}

static void server_conn(struct sim_node *node, struct quic_conn *conn, uint32_t bits) {
    if (bits & QUIC_CONN_EV_CONNECTED)
        count_early(conn);
    if (transfer_server_app.on_conn)
        transfer_server_app.on_conn(node, conn, bits);
}

static void server_stream(struct sim_node *node, struct quic_stream *stream, uint32_t bits) {
    struct quic_conn *conn = quic_conn_of(&node->slots, stream->set->conn_handle);
    if (bits & QUIC_STREAM_EV_OPENED) {
        kept.server_streams++;
        kept.early_streams += conn && quic_stream_may_be_replay(conn, stream);
        count_early(conn); /* all may be said and done before the handshake is complete */
    }
    transfer_server_app.on_stream(node, stream, bits);
}

static struct sim_app client_app, server_app;

static void watch(struct stage *stage) {
    client_app = transfer_client_app;
    server_app = transfer_server_app;
    client_app.on_conn = client_conn;
    server_app.on_conn = server_conn;
    server_app.on_stream = server_stream;
    stage->c->app = &client_app;
    stage->s->app = &server_app;
}

/* The first connection: a small transfer; afterwards there is a session. Both ends are idle then. */
static void first_visit(struct stage *stage) {
    memset(&kept, 0, sizeof kept);
    stage->client.early_data = stage->server.early_data = 1;
    stage->client.handshake_timeout = stage->server.handshake_timeout = 120 * BASE_SEC;
    stage->client.max_idle_timeout = stage->server.max_idle_timeout = 100 * BASE_SEC;
    stage->t.download = 1000;
    stage_open(stage);
    watch(stage);
    stage_finish(stage);
    stage_wait(stage, 20 * BASE_SEC);
    if (!kept.session_len)
        sim_fail(stage->world, "there is no session");
    kept.early_streams = kept.server_streams = kept.early_conns = 0;
}

/* Connects again, with the session, and writes `streams` requests at once, as far as is allowed. */
static void second_visit(struct stage *stage, unsigned streams, uint64_t upload, uint64_t download) {
    struct quic_connect connect = {.config = stage->cc,
                                   .socket = &stage->c->socket,
                                   .local = stage->c->socket.local,
                                   .remote = stage->s->socket.local,
                                   .server_name = "sim.test",
                                   .session = kept.session,
                                   .session_len = kept.session_len,
                                   .token = kept.token,
                                   .token_len = kept.token_len};
    stage->t = (struct transfer){.upload = upload, .download = download, .close_when_done = true};
    struct crypto_error why = {{0}};
    int result = quic_conn_connect(&stage->c->endpoint, &connect, stage->world->now, &stage->t.client, &why);
    if (result) {
        sim_fail(stage->world, "connect: %d %s", result, why.text);
        return;
    }
    stage->t.streams = streams;
    if (quic_conn_early(stage->t.client) == CRYPTO_EARLY_PENDING)
        transfer_more(stage->c, &stage->t);
}

static void expect_early(struct stage *stage, enum crypto_early early) {
    if (kept.early != early)
        sim_fail(stage->world, "0-RTT ended as %d, not as %d", kept.early, early);
    bool all = early != CRYPTO_EARLY_ACCEPTED || kept.early_conns == 1;
    if (!all || (early != CRYPTO_EARLY_ACCEPTED && kept.early_streams))
        sim_fail(stage->world, "the server accepted early data %u times, %u streams", kept.early_conns,
                 kept.early_streams);
    if (kept.server_streams != stage->t.streams)
        sim_fail(stage->world, "the server heard of %u streams, not %u", kept.server_streams, stage->t.streams);
}

static void restart_server_config(struct stage *stage) {
    sim_config_free(stage->sc);
    stage->sc = sim_config(CRYPTO_SERVER, &stage->server);
    sim_listen(stage->s, stage->sc);
}

/* ---- accepted ---- */

static void run_accepted(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.client.version = seed % 2;
    first_visit(&stage);
    base_time began = world->now;
    second_visit(&stage, 1 + (unsigned)(seed % 7), seed * 311 % 40000, 3000);
    if (stage.t.client && quic_conn_early(stage.t.client) != CRYPTO_EARLY_PENDING)
        sim_fail(world, "no 0-RTT is tried");
    stage_finish(&stage);
    expect_early(&stage, CRYPTO_EARLY_ACCEPTED);
    if (!kept.early_streams || !kept.resumed)
        sim_fail(world, "nothing came early: %u streams, resumed %d", kept.early_streams, kept.resumed);
    if (stage.t.streams == 1 && stage.t.upload < 5000 && stage.t.done_at - began > 25 * BASE_MS)
        sim_fail(world, "the answer took %llu us", (unsigned long long)(stage.t.done_at - began) / BASE_US);
    stage_close(&stage);
}

static void bad_links(struct stage *stage, double loss) {
    stage_bad_link(stage, loss);
    sim_join(stage->c, stage->s, &stage->link);
}

static void run_lossy(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.client.version = seed % 2;
    stage.server.version_preference = seed / 2 % 3;
    stage.client.max_idle_timeout = stage.server.max_idle_timeout =
        200 * BASE_SEC; /* seven time-outs in a row happen */
    first_visit(&stage);
    bad_links(&stage, seed % 3 ? 0.15 : 0.3);
    second_visit(&stage, 1 + (unsigned)(seed % 20), seed * 311 % 60000, 3000);
    stage_finish(&stage);
    expect_early(&stage, CRYPTO_EARLY_ACCEPTED);
    stage_close(&stage);
}

/* The first datagram of the client, with its Initial, comes last of the flight. */
static unsigned held_back;
static bool hold_first(struct sim_world *world, const struct sim_datagram *d) {
    (void)world;
    if (d->from->index == 0)
        d->from->links[d->to->index].delay = held_back++ ? 10 * BASE_MS : 15 * BASE_MS;
    return true;
}

/* Within what a server keeps of packets that come before their keys, 8 of them. */
static void run_overtaken(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    first_visit(&stage);
    held_back = 0;
    world->filter = hold_first;
    second_visit(&stage, 1, 3000 + seed * 97 % 5000, 1000);
    base_time began = world->now;
    stage_finish(&stage);
    expect_early(&stage, CRYPTO_EARLY_ACCEPTED);
    if (stage.t.done_at - began > 32 * BASE_MS) /* 15 + 10 + a moment: nothing had to be sent again */
        sim_fail(world, "the answer took %llu us", (unsigned long long)(stage.t.done_at - began) / BASE_US);
    stage_close(&stage);
}

static void run_retry(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    first_visit(&stage);
    stage.server.address_validation = 1;
    restart_server_config(&stage);
    if (seed % 2)
        bad_links(&stage, 0.1);
    kept.token_len = 0;
    second_visit(&stage, 3, seed * 311 % 20000, 3000);
    stage_finish(&stage);
    expect_early(&stage, CRYPTO_EARLY_ACCEPTED);
    if (!stage.s->endpoint.stats.retries_sent)
        sim_fail(world, "no Retry was sent");
    stage_close(&stage);
}

/* 0-RTT in the original version, everything else in the one the server changes to (RFC 9369 4.1). */
static void run_upgraded(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.client.version = seed % 2;
    first_visit(&stage);
    stage.server.version_preference = 1 + !(seed % 2);
    restart_server_config(&stage);
    if (seed / 2 % 2)
        bad_links(&stage, 0.15);
    second_visit(&stage, 3, seed * 311 % 40000, 3000);
    kept.session_len = 0;
    stage_finish(&stage);
    expect_early(&stage, CRYPTO_EARLY_ACCEPTED);
    if (kept.version != (seed % 2 ? QUIC_VERSION_1 : QUIC_VERSION_2))
        sim_fail(world, "the version is %08x", kept.version);
    if (seed / 2 % 2 == 0 && !kept.early_streams)
        sim_fail(world, "nothing came early");
    stage_wait(&stage, 20 * BASE_SEC);
    if (kept.session_len) { /* else its tickets were lost. The new session is of the new version: early data again */
        kept.server_streams = kept.early_conns = 0;
        second_visit(&stage, 1, 1000, 1000);
        stage_finish(&stage);
        expect_early(&stage, CRYPTO_EARLY_ACCEPTED);
    }
    stage_close(&stage);
}

/* Of the server's first datagram with Handshake packets only the Initial arrives: the client knows the new version, and
 * not yet the keys. */
static unsigned cut_off;
static bool cut_handshake(struct sim_world *world, const struct sim_datagram *d) {
    struct quic_header header;
    if (d->from->index != 1 || cut_off || !quic_header_parse(d->data, d->len, QUIC_LOCAL_CID_LEN, &header) ||
        header.packet_len == d->len)
        return true;
    cut_off++;
    sim_inject_changed(d->to, &d->src, d->data, header.packet_len, 10 * BASE_MS, d);
    (void)world;
    return false;
}

static void run_after_change(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.client.version = seed % 2;
    first_visit(&stage);
    stage.server.version_preference = 1 + !(seed % 2);
    restart_server_config(&stage);
    cut_off = 0;
    world->filter = cut_handshake;
    second_visit(&stage, 1, 100, 100);
    stage_wait(&stage, 25 * BASE_MS);
    struct quic_conn *conn = stage.t.client;
    if (!conn || conn->version == conn->original_version || conn->handshake_complete)
        sim_fail(world, "the client does not stand between two versions");
    stage.t.streams = 2;
    if (conn)
        transfer_more(stage.c, &stage.t); /* still 0-RTT, of the version it was begun in */
    stage_wait(&stage, 15 * BASE_MS);
    if (kept.early_streams != 2)
        sim_fail(world, "%u streams came early", kept.early_streams);
    stage_finish(&stage);
    expect_early(&stage, CRYPTO_EARLY_ACCEPTED);
    stage_close(&stage);
}

/* ---- rejected ---- */

static void other_tickets(struct stage *stage) {
    static const uint8_t secret[32] = "another secret";
    restart_server_config(stage);
    crypto_tls_config_tickets(stage->sc->tls, secret, 3600, NULL);
}

static void lower_limits(struct stage *stage) {
    stage->server.initial_max_data = 3000;
    stage->server.initial_max_stream_data_bidi_remote = 700;
    stage->server.initial_max_streams_bidi = 2;
    stage->server.max_data_window = stage->server.max_stream_data_window = 3000;
    restart_server_config(stage);
}

static void early_is_off(struct stage *stage) {
    stage->server.early_data = 0;
    restart_server_config(stage);
}

static void other_groups(struct stage *stage) { /* a HelloRetryRequest */
    restart_server_config(stage);
    crypto_tls_config_groups(stage->sc->tls, "P-384", NULL);
}

static void other_version(struct stage *stage) { /* and Version Negotiation */
    stage->server.versions = kept.version == QUIC_VERSION_1 ? 2 : 1;
    restart_server_config(stage);
}

static void other_version_and_limits(struct stage *stage) {
    lower_limits(stage);
    other_version(stage);
}

static void run_rejected(struct sim_world *world, uint64_t seed) {
    static void (*const ways[])(struct stage *) = {other_tickets, lower_limits,  early_is_off,
                                                   other_groups,  other_version, other_version_and_limits};
    const unsigned count = sizeof ways / sizeof *ways;
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.client.version = seed / count % 2;
    first_visit(&stage);
    ways[seed % count](&stage);
    if (seed / count / 2 % 2)
        bad_links(&stage, 0.15);
    unsigned streams = 1 + (unsigned)(seed % 11);
    second_visit(&stage, streams, seed * 311 % 30000, 2000);
    stage_finish(&stage);
    expect_early(&stage, CRYPTO_EARLY_REJECTED);
    stage_close(&stage);
}

/* A stream that was reset while it was early: the reset is all the server hears of it. */
static void run_rejected_reset(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    first_visit(&stage);
    lower_limits(&stage);
    second_visit(&stage, 1 + (unsigned)(seed % 5), seed * 311 % 5000, 2000);
    struct quic_stream *stream = NULL;
    uint8_t bytes[2000] = {0};
    if (stage.t.client && quic_streams_open(&stage.t.client->streams, true, &stream) == 0) {
        quic_stream_write(stream, bytes, sizeof bytes, false);
        stage_wait(&stage, seed % 3 * BASE_MS);
        quic_stream_detach(stream, 7);
    }
    stage.t.streams++; /* the server hears of it, too */
    stage.t.opened++;
    stage.t.finished++;
    stage_finish(&stage);
    if (kept.early != CRYPTO_EARLY_REJECTED)
        sim_fail(world, "0-RTT ended as %d", kept.early);
    stage_close(&stage);
}

/* A server that accepts early data and then allows less than the client remembers: any of the limits. */
static void run_lowered(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    bool extension = seed % 9 == 8; /* no number, and there or not */
    stage.server.reset_stream_at = !extension;
    first_visit(&stage);
    second_visit(&stage, 1, 100, 100);
    struct quic_params *remembered = stage.t.client ? stage.t.client->remembered : NULL;
    if (remembered && extension)
        remembered->reset_stream_at = true;
    if (remembered && !extension) {
        uint64_t *const limits[] = {&remembered->active_connection_id_limit,
                                    &remembered->initial_max_data,
                                    &remembered->initial_max_stream_data_bidi_local,
                                    &remembered->initial_max_stream_data_uni,
                                    &remembered->initial_max_stream_data_bidi_remote,
                                    &remembered->initial_max_streams_bidi,
                                    &remembered->initial_max_streams_uni,
                                    &remembered->max_datagram_frame_size};
        ++*limits[seed % 9];
    }
    stage_run(&stage, 20 * BASE_SEC);
    if (!remembered || stage.t.client_close.cause != QUIC_CAUSE_PROTOCOL ||
        stage.t.client_close.code != QUIC_PROTOCOL_VIOLATION)
        sim_fail(world, "cause %u, code %llu", stage.t.client_close.cause,
                 (unsigned long long)stage.t.client_close.code);
    stage_close(&stage);
}

/* ---- datagrams ---- */

#define GRAMS 40u

static struct {
    unsigned count;                         /* tokens 1 .. count were taken */
    bool sent[GRAMS + 1], hasty[GRAMS + 1]; /* it left; ... while nobody knew what becomes of early data */
    uint8_t end[GRAMS + 1];                 /* enum quic_datagram_fate; 0 = not heard */
    bool received[GRAMS + 1];
    bool early[GRAMS + 1]; /* marked as 0-RTT at the server */
} grams;

static void grams_send(struct stage *stage, unsigned count, size_t most) {
    uint8_t data[1200] = {0};
    struct quic_conn *conn = stage->t.client;
    for (; conn && grams.count < count; grams.count++) {
        size_t max = quic_conn_datagram_max(conn), len = most < max ? most : max;
        base_store_uint(data, grams.count + 1, 8);
        int result = quic_conn_datagram_send(conn, data, len, grams.count + 1);
        if (result) {
            sim_fail(stage->world, "a datagram of %zu bytes before the handshake: %d", len, result);
            return;
        }
    }
}

static void grams_hear(struct sim_node *node, struct quic_conn *conn) {
    struct quic_datagram_note note;
    while (quic_conn_datagram_notes(conn, &note, 1)) {
        if (note.token == 0 || note.token > grams.count || grams.end[note.token] ||
            (note.fate == QUIC_DATAGRAM_SENT && grams.sent[note.token])) {
            sim_fail(node->world, "datagram %llu: fate %u too much", (unsigned long long)note.token, note.fate);
            return;
        }
        if (note.fate != QUIC_DATAGRAM_SENT)
            grams.end[note.token] = note.fate;
        else if ((grams.sent[note.token] = true) && quic_conn_early(conn) == CRYPTO_EARLY_PENDING)
            grams.hasty[note.token] = true;
    }
}

static void grams_take(struct sim_node *node, struct quic_conn *conn) {
    struct quic_datagram_view view;
    for (; quic_conn_datagram_peek(conn, &view); quic_conn_datagram_take(conn)) {
        uint64_t token = view.len < 8 ? 0 : base_load_u64(view.data);
        if (token == 0 || token > grams.count || grams.received[token]) {
            sim_fail(node->world, "datagram %llu came twice or was never sent", (unsigned long long)token);
            continue;
        }
        grams.received[token] = true;
        grams.early[token] = view.early;
    }
}

static void grams_client(struct sim_node *node, struct quic_conn *conn, uint32_t bits) {
    grams_hear(node, conn);
    client_conn(node, conn, bits);
}

static void grams_client_closed(struct sim_node *node, struct quic_conn *conn) {
    grams_hear(node, conn);
    transfer_client_app.on_closed(node, conn);
}

static void grams_server(struct sim_node *node, struct quic_conn *conn, uint32_t bits) {
    grams_take(node, conn);
    server_conn(node, conn, bits);
}

static void no_datagrams(struct stage *stage) {
    stage->server.max_datagram_frame_size = 0;
    restart_server_config(stage);
}

/* What became of each: one end, and the true one. What left early and was rejected is LOST and never arrives. */
static void grams_judge(struct stage *stage, bool rejected, bool clean) {
    for (unsigned i = 1; i <= grams.count; i++) {
        bool acked = grams.end[i] == QUIC_DATAGRAM_ACKED, dropped = grams.end[i] == QUIC_DATAGRAM_DROPPED;
        bool wrong = !grams.end[i] || dropped == grams.sent[i] || (acked && !grams.received[i]) ||
                     (dropped && grams.received[i]);
        if (rejected)
            wrong |= grams.early[i] || (grams.hasty[i] && (grams.received[i] || grams.end[i] != QUIC_DATAGRAM_LOST));
        else
            wrong |= clean && (!acked || (grams.hasty[i] && !grams.early[i]));
        if (wrong)
            sim_fail(stage->world, "datagram %u of %u: sent %d, early %d, end %u, received %d, marked %d", i,
                     grams.count, grams.sent[i], grams.hasty[i], grams.end[i], grams.received[i], grams.early[i]);
    }
    if (clean && !grams.hasty[1])
        sim_fail(stage->world, "no datagram went early");
}

static void run_datagrams(struct sim_world *world, uint64_t seed) {
    static void (*const ways[])(struct stage *) = {NULL, NULL, other_tickets, early_is_off, other_groups, no_datagrams};
    const unsigned count = sizeof ways / sizeof *ways;
    struct stage stage;
    stage_init(&stage, world, seed);
    memset(&grams, 0, sizeof grams);
    stage.client.max_datagram_frame_size = stage.server.max_datagram_frame_size = 65535;
    stage.client.version = seed / count % 2;
    first_visit(&stage);
    client_app.on_conn = grams_client;
    client_app.on_closed = grams_client_closed;
    server_app.on_conn = grams_server;
    bool rejected = ways[seed % count] != NULL, clean = seed / count / 2 % 2 == 0;
    if (rejected)
        ways[seed % count](&stage);
    if (!clean)
        bad_links(&stage, 0.15);
    second_visit(&stage, 1, 20000, 3000);
    grams_send(&stage, 1 + (unsigned)(seed % GRAMS),
               8 + seed * 37 % 1000); /* more than may leave before an answer, at times */
    stage_finish(&stage);
    expect_early(&stage, rejected ? CRYPTO_EARLY_REJECTED : CRYPTO_EARLY_ACCEPTED);
    grams_judge(&stage, rejected, clean);
    stage_close(&stage);
}

/* ---- resets that let something through ---- */

static struct {
    uint64_t id, least; /* the stream; bytes that were promised */
    uint64_t taken, code;
    unsigned resets;
} promise;

static void promise_stream(struct sim_node *node, struct quic_stream *stream, uint32_t bits) {
    struct quic_slice slice;
    if (stream->id != promise.id) {
        server_stream(node, stream, bits);
        return;
    }
    while (quic_stream_peek(stream, &slice, 1)) {
        for (size_t b = 0; b < slice.len; b++)
            if (slice.data[b] != transfer_byte(promise.id, promise.taken + b)) {
                sim_fail(node->world, "wrong byte at %llu", (unsigned long long)promise.taken + b);
                break;
            }
        promise.taken += slice.len;
        quic_stream_consume(stream, slice.len, 0, node->world->now);
    }
    if (bits & QUIC_STREAM_EV_RESET) {
        promise.resets++;
        promise.code = stream->recv.reset_code;
    }
}

static void no_reset_at(struct stage *stage) {
    stage->server.reset_stream_at = 0;
    restart_server_config(stage);
}

/* The extension is remembered; what was promised early holds after a rejection, too, unless the server has lost it. */
static void run_reset_at(struct sim_world *world, uint64_t seed) {
    static void (*const ways[])(struct stage *) = {NULL, other_tickets, no_reset_at, lower_limits};
    static uint8_t bytes[2000];
    struct stage stage;
    stage_init(&stage, world, seed);
    first_visit(&stage);
    server_app.on_stream = promise_stream;
    bool rejected = ways[seed % 4] != NULL, lost = ways[seed % 4] == no_reset_at;
    if (rejected)
        ways[seed % 4](&stage);
    if (seed / 4 % 2)
        bad_links(&stage, 0.15);
    memset(&promise, 0, sizeof promise);
    promise.id = UINT64_MAX;
    second_visit(&stage, 1, 1000, 1000);
    struct quic_stream *stream = NULL;
    if (stage.t.client && quic_streams_open(&stage.t.client->streams, false, &stream) == 0) {
        promise.id = stream->id;
        promise.least = 1 + seed * 131 % 1500;
        for (size_t b = 0; b < sizeof bytes; b++)
            bytes[b] = transfer_byte(stream->id, b);
        quic_stream_write(stream, bytes, sizeof bytes, false);
        stage_wait(&stage, seed / 8 % 3 * BASE_MS);
        int result = quic_stream_reset_at(stream, 7, promise.least);
        if (result)
            sim_fail(world, "RESET_STREAM_AT in 0-RTT: %d", result);
    }
    stage.t.close_when_done = false;
    stage_wait(&stage, 30 * BASE_SEC);
    if (promise.resets != 1 || promise.code != 7 || (!lost && promise.taken < promise.least))
        sim_fail(world, "%u resets, code %llu, after %llu of %llu bytes", promise.resets,
                 (unsigned long long)promise.code, (unsigned long long)promise.taken,
                 (unsigned long long)promise.least);
    expect_early(&stage, rejected ? CRYPTO_EARLY_REJECTED : CRYPTO_EARLY_ACCEPTED);
    stage_close(&stage);
}

/* ---- replayed ---- */

static struct {
    uint8_t data[16][1500];
    size_t lens[16];
    unsigned count, most;
} flight;

static bool record(struct sim_world *world, const struct sim_datagram *d) {
    (void)world;
    if (d->from->index == 0 && flight.count < flight.most && d->len <= sizeof flight.data[0]) {
        memcpy(flight.data[flight.count], d->data, d->len);
        flight.lens[flight.count++] = d->len;
    }
    return true;
}

static void replay(struct stage *stage, const struct quic_addr *src, base_time spread) {
    for (unsigned i = 0; i < flight.count; i++)
        sim_inject(stage->s, src, flight.data[i], flight.lens[i], BASE_MS + stage_time(stage, spread));
}

static unsigned asked;
static uint8_t known_ids[64][16];
static bool fleet_register(void *user, const uint8_t id[16], uint32_t seconds) {
    (void)user;
    (void)seconds;
    for (unsigned i = 0; i < asked; i++)
        if (memcmp(known_ids[i], id, 16) == 0)
            return false;
    memcpy(known_ids[asked++ % 64], id, 16);
    return true;
}

/* The client's first flight of 0-RTT comes again: at once, when the connection is long over, and at another server of
 * the fleet. */
static void run_replayed(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    first_visit(&stage);
    asked = 0;
    bool fleet = seed % 3 == 2;
    if (fleet)
        crypto_tls_config_replay(stage.sc->tls, fleet_register, NULL);
    struct sim_node *attacker = sim_node_add(world, &(struct sim_app){0}, 0);
    sim_join(attacker, stage.s, &stage.link);
    flight.count = 0;
    flight.most = 4;
    world->filter = record;
    second_visit(&stage, 2, 2000, 1000);
    if (seed % 3 == 0) {
        stage_wait(&stage, 11 * BASE_MS);
        replay(&stage, seed % 2 ? &attacker->socket.local : &stage.c->socket.local, 40 * BASE_MS);
    }
    stage_finish(&stage);
    if (fleet) { /* its own register is empty */
        stage_wait(&stage, 5 * BASE_SEC);
        restart_server_config(&stage);
        crypto_tls_config_replay(stage.sc->tls, fleet_register, NULL);
    } else {
        stage_wait(&stage, stage_time(&stage, 10 * BASE_SEC));
    }
    replay(&stage, seed / 3 % 2 ? &attacker->socket.local : &stage.c->socket.local, 10 * BASE_MS);
    stage_wait(&stage, 200 * BASE_SEC);
    expect_early(&stage, CRYPTO_EARLY_ACCEPTED);
    if (fleet && asked != 1)
        sim_fail(world, "the fleet's register was told of %u tickets", asked);
    sim_node_remove(attacker);
    stage_close(&stage);
}

/* Two connections with one ticket: early data is for the first. */
static void run_twice(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    first_visit(&stage);
    static uint8_t session[sizeof kept.session];
    size_t len = kept.session_len;
    memcpy(session, kept.session, len);
    second_visit(&stage, 2, 3000, 1000);
    stage_finish(&stage);
    expect_early(&stage, CRYPTO_EARLY_ACCEPTED);
    stage_wait(&stage, stage_time(&stage, 20 * BASE_SEC));
    memcpy(kept.session, session, len);
    kept.session_len = len;
    kept.early_conns = kept.early_streams = kept.server_streams = 0;
    second_visit(&stage, 2, 3000, 1000);
    stage_finish(&stage);
    expect_early(&stage, CRYPTO_EARLY_REJECTED);
    stage_close(&stage);
}

/* ---- tokens ---- */

static void run_token(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.server.address_validation = 1;
    stage.client.version = seed % 2;
    first_visit(&stage);
    uint64_t retries = stage.s->endpoint.stats.retries_sent;
    if (!retries || retries > 2 || !kept.token_len) /* one for each datagram of a ClientHello */
        sim_fail(world, "%llu Retries, token of %zu bytes", (unsigned long long)retries, kept.token_len);
    kept.session_len = seed / 2 % 2 ? kept.session_len : 0;
    bool spoilt = seed / 4 % 2;
    if (spoilt) /* behind the version: the server does not know it, and that is no error */
        kept.token[4 + seed % (kept.token_len - 4)] ^= 1;
    base_time began = world->now;
    second_visit(&stage, 1, 1000, 1000);
    stage_finish(&stage);
    uint64_t more = stage.s->endpoint.stats.retries_sent - retries;
    if (spoilt ? !more || more > 2 : more)
        sim_fail(world, "%llu more Retries", (unsigned long long)more);
    if (!spoilt && stage.t.connected_at - began > 30 * BASE_MS)
        sim_fail(world, "the handshake took %llu us", (unsigned long long)(stage.t.connected_at - began) / BASE_US);
    stage_close(&stage);
}

static const struct scenario list[] = {
    {"early-accepted", "0-RTT: the answer comes after one round trip", 40, run_accepted},
    {"early-lossy", "0-RTT packets lost, reordered, doubled and corrupted: every byte once", 150, run_lossy},
    {"early-overtaken", "0-RTT packets before their Initial wait for it", 20, run_overtaken},
    {"early-retry", "0-RTT again after a Retry", 30, run_retry},
    {"early-upgraded", "0-RTT in one version, the rest in another", 40, run_upgraded},
    {"early-after-change", "0-RTT stays in its version when the client has heard of another", 4, run_after_change},
    {"early-rejected", "0-RTT rejected for all reasons there are, lower limits among them: every byte once", 240,
     run_rejected},
    {"early-rejected-reset", "streams that were reset early, in a connection where early data is rejected", 30,
     run_rejected_reset},
    {"early-lowered", "a server that accepts 0-RTT and lowers a limit breaks the protocol", 9, run_lowered},
    {"early-datagrams", "datagrams as 0-RTT: marked, lost when rejected, at most once and one end for each", 96,
     run_datagrams},
    {"early-reset-at", "RESET_STREAM_AT as 0-RTT: what it promises holds, rejected or not", 48, run_reset_at},
    {"early-replayed", "a recorded first flight brings nothing to the application a second time", 60, run_replayed},
    {"early-twice", "a ticket allows 0-RTT once", 10, run_twice},
    {"token", "a token from NEW_TOKEN spares the next connection the Retry", 24, run_token},
};
SCENARIOS(scenarios_early, list);
