/* versions.c - QUIC versions: which one client and server end up with, by either way, and that no attacker has a say
 * in it (RFC 9368, RFC 9369). */
#include "stage.h"

/* ---- what is seen ---- */

static struct {
    uint32_t client, server, original; /* versions when CONNECTED was heard */
    struct quic_cid dcid, scid;        /* of the client's first Initial */
    bool restarted;
    unsigned initials; /* datagrams of the client with a long header */
    bool taken;
} seen;

static void client_conn(struct sim_node *node, struct quic_conn *conn, uint32_t bits) {
    if (bits & QUIC_CONN_EV_CONNECTED) {
        seen.client = conn->version;
        seen.original = conn->original_version;
        seen.restarted = conn->version_restarted;
    }
    transfer_client_app.on_conn(node, conn, bits);
}

static void server_conn(struct sim_node *node, struct quic_conn *conn, uint32_t bits) {
    if (bits & QUIC_CONN_EV_CONNECTED)
        seen.server = conn->version;
    if (transfer_server_app.on_conn)
        transfer_server_app.on_conn(node, conn, bits);
}

static struct sim_app client_app, server_app;

static void open_watched(struct stage *stage) {
    memset(&seen, 0, sizeof seen);
    client_app = transfer_client_app;
    server_app = transfer_server_app;
    client_app.on_conn = client_conn;
    server_app.on_conn = server_conn;
    stage_open(stage);
    stage->c->app = &client_app;
    stage->s->app = &server_app;
}

/* ---- every pair of configurations ---- */

static bool speaks(const struct options *o, uint32_t version) {
    return o->versions == 0 || o->versions == (version == QUIC_VERSION_1 ? 1u : 2u);
}

/* What RFC 9368 makes of the two; 0: nothing. *first: what the client begins with. */
static uint32_t outcome(const struct options *client, const struct options *server, uint32_t *first) {
    static const uint32_t both[2] = {QUIC_VERSION_1, QUIC_VERSION_2};
    *first = both[client->version];
    if (!speaks(client, *first))
        *first = both[!client->version];
    if (!speaks(server, *first)) {
        uint32_t other = *first == QUIC_VERSION_1 ? QUIC_VERSION_2 : QUIC_VERSION_1;
        return speaks(client, other) ? other : 0;
    }
    if (!server->version_preference)
        return *first;
    uint32_t wanted = both[server->version_preference - 1];
    return speaks(server, wanted) && speaks(client, wanted) ? wanted : *first;
}

static void run_pairs(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    uint64_t pick = seed;
    stage.client.versions = pick % 3, pick /= 3;
    stage.client.version = pick % 2, pick /= 2;
    stage.server.versions = pick % 3, pick /= 3;
    stage.server.version_preference = pick % 3, pick /= 3;
    bool lossy = pick % 2, retry = pick / 2 % 2, hello_retry = pick / 4 % 2;
    stage_bad_link(&stage, lossy ? 0.15 : 0);
    stage.server.address_validation = retry;
    stage.client.handshake_timeout = stage.server.handshake_timeout = 120 * BASE_SEC;
    stage.t.download = 20000;
    uint32_t first, expected = outcome(&stage.client, &stage.server, &first);
    base_time began = world->now;
    open_watched(&stage);
    if (hello_retry) /* a HelloRetryRequest, too, is said in the version that the server wants */
        crypto_tls_config_groups(stage.sc->tls, "P-384", NULL);
    if (!expected) {
        stage.t.server_closed = true;
        stage_run(&stage, 300 * BASE_SEC);
        if (!stage.t.client_closed || stage.t.client_close.cause != QUIC_CAUSE_VERSION)
            sim_fail(world, "nothing in common: client closed %d, cause %u", stage.t.client_closed,
                     stage.t.client_close.cause);
        stage_close(&stage);
        return;
    }
    stage_finish(&stage);
    if (seen.client != expected || seen.server != expected)
        sim_fail(world, "versions %08x and %08x instead of %08x", seen.client, seen.server, expected);
    unsigned trips = 1u + retry + hello_retry + !speaks(&stage.server, first);
    if (!lossy && stage.t.connected_at - began > trips * 20 * BASE_MS + 10 * BASE_MS)
        sim_fail(world, "%llu us for a handshake of %u round trips",
                 (unsigned long long)(stage.t.connected_at - began) / BASE_US, trips);
    bool negotiated = stage.s->endpoint.stats.version_negotiations_sent != 0;
    if (negotiated == speaks(&stage.server, first))
        sim_fail(world, "Version Negotiation sent: %d", negotiated);
    stage_close(&stage);
}

/* The first answer is lost: the client does not know of the change yet, and the server still understands it. */
static unsigned answers;
static bool lose_answer(struct sim_world *world, const struct sim_datagram *d) {
    (void)world;
    return d->from->index != 1 || answers++ > 0;
}

static void run_original(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.client.version = seed % 2;
    stage.server.version_preference = 1 + !(seed % 2);
    stage.client.initial_rtt = 30 * BASE_MS; /* the client is the first to try again */
    stage.t.download = 2000;
    answers = 0;
    world->filter = lose_answer;
    open_watched(&stage);
    stage_wait(&stage, 150 * BASE_MS);
    const struct quic_conn *conn = stage_server_conn(&stage);
    if (!conn || conn->version == conn->original_version || conn->stats.packets_received < 2 ||
        conn->stats.packets_dropped)
        sim_fail(world, "the server received %llu packets and dropped %llu",
                 conn ? (unsigned long long)conn->stats.packets_received : 0,
                 conn ? (unsigned long long)conn->stats.packets_dropped : 0);
    stage_finish(&stage);
    stage_close(&stage);
}

/* ---- key updates ---- */

/* The labels of later generations are the version's, too: the observer would open nothing otherwise. */
static void update_often(struct sim_node *node, struct quic_stream *stream, uint32_t bits) {
    struct quic_conn *conn = quic_conn_of(&node->slots, stream->set->conn_handle);
    if (conn && conn->state == QUIC_CONN_ESTABLISHED)
        quic_conn_update_keys(conn);
    (node->index == 0 ? transfer_client_app : transfer_server_app).on_stream(node, stream, bits);
}

static void run_keys(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage_bad_link(&stage, seed % 2 ? 0.05 : 0);
    stage.client.version = seed / 2 % 2;
    stage.server.version_preference = seed / 4 % 3;
    open_watched(&stage);
    client_app.on_stream = server_app.on_stream = update_often;
    stage_finish(&stage);
    if (!stage.t.client_stats.key_updates)
        sim_fail(world, "no key was updated");
    stage_close(&stage);
}

/* ---- attackers ---- */

static struct {
    struct sim_dice dice;
    uint32_t versions[3];
    size_t count;
    bool after_server; /* only once the server has been heard */
    bool wrong_id;
    base_time delay;
    unsigned times;
    bool heard;
} forger;

static void forge(struct sim_world *world, base_time delay) {
    struct quic_header cause = {.long_dcid = seen.dcid.id,
                                .long_dcid_len = seen.dcid.len,
                                .long_scid = seen.scid.id,
                                .long_scid_len = seen.scid.len};
    struct quic_cid wrong = seen.dcid; /* the server's, in the eyes of the client */
    if (forger.wrong_id) {
        wrong.id[0] ^= 1;
        cause.long_dcid = wrong.id;
    }
    uint8_t packet[128];
    size_t len = quic_header_write_version_negotiation(
        packet, sizeof packet, &cause, (uint8_t)(sim_roll(&forger.dice) & 0x3f), forger.versions, forger.count);
    sim_inject(&world->nodes[0], &world->nodes[1].socket.local, packet, len, delay);
}

/* Sees the client's first Initial, and sends Version Negotiation packets. */
static bool forging(struct sim_world *world, const struct sim_datagram *d) {
    struct quic_header header;
    if (!quic_header_parse(d->data, d->len, QUIC_LOCAL_CID_LEN, &header) || !header.is_long)
        return true;
    if (d->from->index == 0 && !seen.taken && header.type == QUIC_PACKET_INITIAL) {
        seen.taken = true;
        seen.dcid = header.dcid;
        seen.scid = header.scid;
        for (unsigned i = 0; !forger.after_server && i < forger.times; i++)
            forge(world, i ? 1 + sim_roll(&forger.dice) % (100 * BASE_MS) : forger.delay);
    } else if (d->from->index == 1 && forger.after_server && !forger.heard) {
        forger.heard = true; /* this datagram takes 10 ms */
        seen.dcid = header.scid;
        for (unsigned i = 0; i < forger.times; i++)
            forge(world, 11 * BASE_MS + sim_roll(&forger.dice) % (100 * BASE_MS));
    }
    return true;
}

/* Forgeries that everybody on the path, or off it, can make, and that change nothing. */
static void run_forged(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.client.version = seed % 2;
    stage.server.version_preference = seed / 2 % 3;
    memset(&forger, 0, sizeof forger);
    forger.dice.state = seed;
    forger.times = 20;
    forger.delay = stage_time(&stage, 15 * BASE_MS);
    forger.after_server = seed % 3 == 0;
    forger.wrong_id = seed % 3 == 1;
    uint32_t own = stage.client.version ? QUIC_VERSION_2 : QUIC_VERSION_1,
             other = own ^ QUIC_VERSION_1 ^ QUIC_VERSION_2;
    forger.versions[forger.count++] = other;
    forger.versions[forger.count++] = 0x1a2a3a4a;
    if (seed % 3 == 2)
        forger.versions[forger.count++] = own; /* lists what the client has sent: no answer to it */
    world->filter = forging;
    uint32_t first, expected = outcome(&stage.client, &stage.server, &first);
    stage.t.download = 50000;
    open_watched(&stage);
    stage_finish(&stage);
    if (seen.client != expected || seen.server != expected || seen.original != own || seen.restarted)
        sim_fail(world, "versions %08x and %08x instead of %08x", seen.client, seen.server, expected);
    stage_close(&stage);
}

/* On the path, in time, with the right IDs: the client follows, and finds out before it believes anything. */
static void run_downgrade(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.client.version = seed % 2;
    stage.server.version_preference = seed / 2 % 2 ? 1 + !(seed % 2) : 0;
    stage.server.address_validation = seed / 4 % 2;
    memset(&forger, 0, sizeof forger);
    forger.dice.state = seed;
    forger.times = 1;
    forger.delay = stage_time(&stage, 19 * BASE_MS);
    forger.versions[forger.count++] = stage.client.version ? QUIC_VERSION_1 : QUIC_VERSION_2;
    world->filter = forging;
    open_watched(&stage);
    stage_run(&stage, 200 * BASE_SEC);
    if (stage.t.connected || !stage.t.client_closed || stage.t.client_close.code != QUIC_VERSION_NEGOTIATION_ERROR ||
        stage.t.client_close.cause != QUIC_CAUSE_PROTOCOL)
        sim_fail(world, "downgraded: connected %d, closed %d, cause %u, code %llu", stage.t.connected,
                 stage.t.client_closed, stage.t.client_close.cause, (unsigned long long)stage.t.client_close.code);
    stage_close(&stage);
}

/* The client's Initials in the other version's clothes: same bytes of TLS, another header and other keys, as anybody
 * on the path can make them. */
static bool translate(struct sim_world *world, const struct sim_datagram *d) {
    static uint8_t work[QUIC_MAX_DATAGRAM];
    static struct base_mem mem;
    struct quic_header h;
    if (d->from->index != 0)
        return true;
    memcpy(work, d->data, d->len);
    if (!quic_header_parse(work, d->len, QUIC_LOCAL_CID_LEN, &h) || h.type != QUIC_PACKET_INITIAL || !h.is_long ||
        seen.initials++ > 1)
        return false; /* a ClientHello takes two at most */
    base_mem_init(&mem, 0);
    enum crypto_version from = h.version == QUIC_VERSION_2 ? CRYPTO_QUIC_V2 : CRYPTO_QUIC_V1, to = !from;
    struct crypto_secret c, s;
    struct crypto_open_item item = {.packet = work, .len = (uint32_t)h.packet_len, .pn_offset = (uint16_t)h.pn_offset};
    crypto_initial_secrets(from, h.dcid.id, h.dcid.len, &c, &s);
    struct crypto_key *key = crypto_key_new(&mem, from, &c);
    struct crypto_mask_key *mask = crypto_mask_key_new(&mem, from, &c);
    bool opened = crypto_unmask(mask, &item, 1) && crypto_open(key, &item, item.truncated) >= 0;
    crypto_key_free(&mem, key);
    crypto_mask_key_free(&mem, mask);
    uint32_t version = to == CRYPTO_QUIC_V2 ? QUIC_VERSION_2 : QUIC_VERSION_1;
    work[0] = quic_header_long_first(version, QUIC_PACKET_INITIAL, work[0] & 0x0f);
    base_store_uint(work + 1, version, 4);
    crypto_initial_secrets(to, h.dcid.id, h.dcid.len, &c, &s);
    key = crypto_key_new(&mem, to, &c);
    mask = crypto_mask_key_new(&mem, to, &c);
    struct crypto_seal_item seal = {.packet = work,
                                    .number = item.truncated,
                                    .len = (uint32_t)h.packet_len,
                                    .pn_offset = (uint16_t)h.pn_offset,
                                    .pn_len = item.pn_len};
    if (!opened || !crypto_seal(key, mask, &seal, 1))
        sim_fail(world, "the attacker cannot work");
    crypto_key_free(&mem, key);
    crypto_mask_key_free(&mem, mask);
    sim_inject(d->to, &d->src, work, h.packet_len, 10 * BASE_MS);
    return false;
}

static void run_translated(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.client.version = seed % 2;
    stage.server.version_preference = seed / 2 % 3;
    world->filter = translate;
    open_watched(&stage);
    stage_run(&stage, 60 * BASE_SEC);
    if (stage.t.connected || !stage.t.server_closed || stage.t.server_close.code != QUIC_VERSION_NEGOTIATION_ERROR)
        sim_fail(world, "translated: connected %d, server closed %d, code %llu", stage.t.connected,
                 stage.t.server_closed, (unsigned long long)stage.t.server_close.code);
    stage_close(&stage);
}

static const struct scenario list[] = {
    {"version-pairs",
     "every pair of versions spoken, begun with and preferred: the right one, in as few round trips as can be", 432,
     run_pairs},
    {"version-original", "a server that has changed the version still reads Initials of the first one", 4,
     run_original},
    {"version-keys", "key updates in both versions, begun with or changed to", 24, run_keys},
    {"version-forged", "forged Version Negotiation packets change nothing", 60, run_forged},
    {"version-downgrade", "a version that an attacker talked the client into does not last", 40, run_downgrade},
    {"version-translated", "Initials that an attacker translated to another version are refused", 12, run_translated},
};
SCENARIOS(scenarios_versions, list);
