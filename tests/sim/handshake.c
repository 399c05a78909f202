/* handshake.c - the first round trips, when everything is still fragile. */
#include "stage.h"

/* ---- losing chosen datagrams ---- */

static struct { uint64_t number, drop[2]; } chosen;

static bool drop_chosen(struct sim_world *world, const struct sim_datagram *d) {
    (void)world;
    (void)d;
    uint64_t number = chosen.number++;
    return number != chosen.drop[0] && number != chosen.drop[1];
}

static void run_loss(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    chosen.number = 0;
    chosen.drop[0] = (seed - 1) % 20;
    chosen.drop[1] = seed <= 20 ? UINT64_MAX : (seed - 1) / 20 % 20;
    stage.large_chain = seed / 400 % 2;
    stage.t.download = 20000;
    world->filter = drop_chosen;
    stage_play(&stage);
}

/* ---- a Finished that is lost ---- */

static struct {
    base_time lossy;   /* how long the client's long headers are lost, from the server's first datagram on */
    base_time until;   /* 0: that has not come */
    base_time passed;  /* when the first of them came through again */
    base_time granted; /* when the server first sent 1-RTT packets, as it does once the handshake is complete */
} finish;

static bool drop_finished(struct sim_world *world, const struct sim_datagram *d) {
    bool is_long = d->data[0] & 0x80;
    if (d->from == &world->nodes[1]) {
        if (!finish.until)
            finish.until = world->now + finish.lossy;
        if (!is_long && !finish.granted)
            finish.granted = world->now;
        return true;
    }
    if (!is_long || !finish.until)
        return true;
    if (world->now < finish.until)
        return false;
    if (!finish.passed)
        finish.passed = world->now;
    return true;
}

/* Each Finished is lost for a while, and the client backs off; of what it sends after, 1-RTT packets arrive. The first
 * that comes through may be an ACK, in answer to the server's own probes: then the server asks at once, and does not
 * wait until the client's time has come. */
static void run_finished_lost(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    memset(&finish, 0, sizeof finish);
    finish.lossy = 500 * BASE_MS + stage_time(&stage, 6 * BASE_SEC);
    stage.link.delay = BASE_MS + stage_time(&stage, 20 * BASE_MS);
    stage.client.handshake_timeout = stage.server.handshake_timeout = 60 * BASE_SEC;
    stage.t.upload = 20000;
    world->filter = drop_finished;
    stage_play(&stage);
    if (!world->failure && finish.granted - finish.passed > 500 * BASE_MS)
        sim_fail(world, "the server waited for %llu ms",
                 (unsigned long long)(finish.granted - finish.passed) / BASE_MS);
}

static void run_heavy_loss(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage_bad_link(&stage, 0.35);
    stage.link.corrupt = 0.1;
    stage.large_chain = seed % 2;
    stage.client.handshake_timeout = stage.server.handshake_timeout = 300 * BASE_SEC;
    stage.client.max_idle_timeout = stage.server.max_idle_timeout = 280 * BASE_SEC;
    stage.t.download = 5000;
    stage_play(&stage);
}

static void run_large_chain(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.large_chain = true;
    stage.link.delay = 100 * BASE_MS;
    stage.link.loss = (double)(seed % 4) * 0.05;
    stage.client.handshake_timeout = stage.server.handshake_timeout = 60 * BASE_SEC;
    stage.t.download = 20000;
    stage_play(&stage);
}

static void run_long_rtt(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.large_chain = seed % 2;
    stage.link.delay = 500 * BASE_MS;
    stage.link.loss = (double)(seed % 3) * 0.01;
    stage.t.download = 200000;
    stage_play(&stage);
}

static void run_retry(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage_bad_link(&stage, seed % 2 ? 0.2 : 0);
    stage.server.address_validation = 1;
    stage.client.handshake_timeout = stage.server.handshake_timeout = 120 * BASE_SEC;
    stage.large_chain = seed % 4 == 3;
    stage.t.download = 20000;
    stage_open(&stage);
    stage_finish(&stage);
    if (!stage.s->endpoint.stats.retries_sent)
        sim_fail(world, "no Retry was sent");
    stage_close(&stage);
}

/* ---- versions ---- */

static const struct sim_app nobody;
static uint8_t heard[2048];
static size_t heard_len;

/* What the third node, from which a client of another version seems to speak, hears. */
static bool hear_third(struct sim_world *world, const struct sim_datagram *d) {
    (void)world;
    if (d->to->index == 2 && d->len <= sizeof heard) {
        memcpy(heard, d->data, d->len);
        heard_len = d->len;
    }
    return true;
}

static void run_unknown_version(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage_open(&stage);
    struct sim_node *third = sim_node_add(world, &nobody, 0);
    sim_join(stage.s, third, &stage.link);
    world->filter = hear_third;
    heard_len = 0;
    uint8_t ask[1200] = {0xc0 | (uint8_t)(seed % 64), 0x1a, 0x2a, 0x3a, (uint8_t)seed, 20};
    for (size_t i = 6; i < sizeof ask; i++)
        ask[i] = (uint8_t)sim_roll(&stage.dice);
    ask[26] = (uint8_t)(seed % 21);
    size_t len = seed % 5 ? sizeof ask : 1199; /* too small: no answer */
    sim_inject(stage.s, &third->socket.local, ask, len, stage_time(&stage, 20 * BASE_MS));
    stage_finish(&stage);
    struct quic_header header;
    if (len < sizeof ask) {
        if (heard_len)
            sim_fail(world, "a datagram of 1199 bytes was answered");
    } else if (!heard_len || !quic_header_parse(heard, heard_len, 8, &header) ||
               header.type != QUIC_PACKET_VERSION_NEGOTIATION || header.dcid.len != ask[26] ||
               memcmp(header.dcid.id, ask + 27, ask[26]) != 0 || header.scid.len != 20 ||
               memcmp(header.scid.id, ask + 6, 20) != 0 || quic_header_version_count(&header) < 2) {
        sim_fail(world, "no Version Negotiation, or a wrong one (%zu bytes)", heard_len);
    }
    sim_node_remove(third);
    stage_close(&stage);
}

/* A client hears Version Negotiation: with its own version in it, it is a forgery; without, it is the end - unless the
 * server has spoken before. */
static struct {
    unsigned when;
    bool with_own;
} negotiation;

static bool negotiate(struct sim_world *world, const struct sim_datagram *d) {
    if (d->from->index != negotiation.when || heard_len)
        return true;
    struct quic_header cause;
    const struct sim_node *client = &world->nodes[0];
    if (d->from->index == 1) { /* the server's first datagram: swap the IDs back */
        if (!quic_header_parse(d->data, d->len, 8, &cause))
            return true;
        struct quic_cid t = cause.dcid;
        cause.dcid = cause.scid;
        cause.scid = t;
    } else if (!quic_header_parse(d->data, d->len, 8, &cause)) {
        return true;
    }
    cause.long_dcid = cause.dcid.id, cause.long_dcid_len = cause.dcid.len;
    cause.long_scid = cause.scid.id, cause.long_scid_len = cause.scid.len;
    const uint32_t versions[2] = {0x1a1a1a1a, negotiation.with_own ? QUIC_VERSION_1 : 0x2a2a2a2a};
    heard_len = quic_header_write_version_negotiation(heard, sizeof heard, &cause, 0x2a, versions, 2);
    sim_inject(&world->nodes[client->index], &world->nodes[1].socket.local, heard, heard_len,
               d->from->index == 1 ? 12 * BASE_MS : BASE_MS);
    return true;
}

static void run_negotiation(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    heard_len = 0;
    negotiation.with_own = seed % 2;
    negotiation.when = seed % 3 == 0;
    world->filter = negotiate;
    stage_open(&stage);
    if (negotiation.with_own || negotiation.when == 1) {
        stage_finish(&stage);
    } else {
        stage_run(&stage, 5 * BASE_SEC);
        if (!stage.t.client_closed || stage.t.client_close.cause != QUIC_CAUSE_VERSION)
            sim_fail(world, "the client closed: %d, cause %u", stage.t.client_closed, stage.t.client_close.cause);
    }
    stage_close(&stage);
}

static void run_version_2(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage_bad_link(&stage, seed % 2 ? 0.1 : 0);
    stage.client.version = seed / 2 % 2;
    stage.server.version_preference = seed / 4 % 3;
    stage.server.address_validation = seed / 12 % 2;
    stage.client.handshake_timeout = stage.server.handshake_timeout = 60 * BASE_SEC;
    stage_play(&stage);
}

/* ---- nobody there ---- */

static void run_silence(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.client.handshake_timeout = (1 + seed % 10) * BASE_SEC;
    stage.link.cut = true;
    if (seed % 2) { /* the way back only: the server makes a connection, and gives up too */
        stage.link.cut = false;
        stage.back = stage.link;
        stage.back.cut = true;
    } else {
        stage.t.server_closed = true;
    }
    base_time began = world->now;
    stage_open(&stage);
    stage_run(&stage, 60 * BASE_SEC);
    uint8_t cause = stage.t.client_close.cause;
    if (!stage.t.client_closed || cause != QUIC_CAUSE_HANDSHAKE_TIMEOUT)
        sim_fail(world, "the client closed: %d, cause %u", stage.t.client_closed, cause);
    if (!stage.t.server_closed)
        sim_fail(world, "the server's half-open connection stays");
    (void)began;
    stage_wait(&stage, 60 * BASE_SEC);
    if (stage.c->endpoint.conn_count || stage.s->endpoint.conn_count)
        sim_fail(world, "%u and %u connections are left", stage.c->endpoint.conn_count, stage.s->endpoint.conn_count);
    stage_close(&stage);
}

/* The server vanishes after its first datagrams. */
static void run_half_way(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.large_chain = seed % 2;
    stage_open(&stage);
    stage_wait(&stage, stage_time(&stage, 45 * BASE_MS));
    sim_node_remove(stage.s);
    stage.t.server_closed = true;
    stage_run(&stage, 200 * BASE_SEC);
    uint8_t cause = stage.t.client_close.cause;
    if (!stage.t.client_closed || (cause != QUIC_CAUSE_HANDSHAKE_TIMEOUT && cause != QUIC_CAUSE_IDLE))
        sim_fail(world, "the client closed: %d, cause %u", stage.t.client_closed, cause);
    stage_close(&stage);
}

/* ---- many clients ---- */

static unsigned crowd_size;
static bool crowd_gone(struct sim_world *world) {
    (void)world;
    return crowd_size == 0;
}
static void crowd_closed(struct sim_node *node, struct quic_conn *conn) {
    transfer_client_app.on_closed(node, conn);
    crowd_size--;
}

static void run_crowd(struct sim_world *world, uint64_t seed) {
    static struct transfer transfers[200];
    struct stage stage;
    stage_init(&stage, world, seed);
    stage_bad_link(&stage, seed % 2 ? 0.05 : 0);
    stage.link.bits_per_second = 1000000000;
    stage.client.handshake_timeout = stage.server.handshake_timeout = 60 * BASE_SEC;
    stage.server.address_validation = seed % 3 == 0;
    struct sim_app app = transfer_client_app;
    app.on_closed = crowd_closed;
    stage.t.streams = 0;
    stage_open(&stage);
    stage.c->app = &app;
    crowd_size = 201;
    for (unsigned i = 0; i < 200; i++) {
        transfers[i] = (struct transfer){.streams = 2, .upload = 100 * i, .download = 10000, .close_when_done = true};
        transfers[i].client = sim_connect(stage.c, stage.s, stage.cc, &transfers[i]);
        if (i % 20 == 0)
            stage_wait(&stage, 5 * BASE_MS);
    }
    sim_run(world, world->now + 300 * BASE_SEC, crowd_gone); /* the first, with nothing to do, idles out */
    for (unsigned i = 0; i < 200; i++)
        if (!transfer_done(&transfers[i]))
            sim_fail(world, "client %u: %u of 2 streams, cause %u", i, transfers[i].finished,
                     transfers[i].client_close.cause);
    stage_wait(&stage, 60 * BASE_SEC);
    if (stage.c->endpoint.conn_count || stage.s->endpoint.conn_count || stage.s->listener.connections)
        sim_fail(world, "%u and %u connections are left", stage.c->endpoint.conn_count, stage.s->endpoint.conn_count);
    stage_close(&stage);
}

static const struct scenario list[] = {
    {"handshake-loss", "each single datagram lost, then each pair: the handshake and a small transfer succeed", 420,
     run_loss},
    {"handshake-finished-lost", "a client's Finished is lost and it has backed off: the server asks for it", 60,
     run_finished_lost},
    {"handshake-heavy-loss", "35 % loss, 10 % corruption", 100, run_heavy_loss},
    {"large-chain", "a certificate chain of 16 KB: the amplification limit holds, and does not lock", 40,
     run_large_chain},
    {"long-rtt", "a second for a round trip", 20, run_long_rtt},
    {"retry", "every address is validated by Retry, clean and lossy", 60, run_retry},
    {"unknown-version", "a client of another version is told which there are, if it has paid for the answer", 25,
     run_unknown_version},
    {"negotiation", "a client gives up on Version Negotiation, but not on a forged or late one", 12, run_negotiation},
    {"version-2", "clients that begin with either version, servers that prefer either", 48, run_version_2},
    {"silence", "nobody answers, or the answers are lost: both sides give up in time and keep nothing", 20,
     run_silence},
    {"half-way", "the server vanishes in the middle of the handshake", 40, run_half_way},
    {"crowd", "200 clients at one server", 4, run_crowd},
};
SCENARIOS(scenarios_handshake, list);
