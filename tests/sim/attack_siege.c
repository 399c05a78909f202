/* attack_siege.c - an innocent connection beside each attack: it must not notice.
 *
 * A client asks its server for something every few milliseconds, over a path of 10 ms round trip, and how long each
 * answer takes is noted; so twice, without and with the attack. The server has a processor (world.h), so that work for
 * the attacker is time that the innocent waits. The 99th percentile must not more than double, the engine's memory must
 * stay within its budget, and a second client that comes in the middle of the attack must get in.
 *
 * An attack is one line of the table below: what it prepares, what it does each millisecond, and what must be true of
 * the server in the end. Those from inside a connection have one, `siege->traitor`, which is connected when they begin.
 * What it floods with is packets made by hand (forge.h), and when the server has closed it for that, it comes again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "checker.h"
#include "forge.h"
#include "scenario.h"
#include "transfer.h"

#define ASKS 300u
#define ASK_EVERY (5 * BASE_MS)
#define ANSWER 2000u /* bytes */
#define SPAN (ASKS * ASK_EVERY)
#define BUDGET (24u << 20) /* of the server's memory */
#define HELLOS 6000u
#define FORGED_FIRST 100000u /* number of a forged packet: beyond those of the connection itself */

struct hello {
    uint16_t len;
    uint8_t data[1500];
    struct quic_addr from;
};

struct siege {
    struct sim_world *world;
    struct sim_dice dice;
    struct sim_node *client, *server, *second, *attacker;
    struct quic_config *client_config, *server_config, *attacker_config;
    struct transfer server_transfer, second_transfer;
    struct quic_conn *conn;
    base_time asked_at[ASKS], took[ASKS];
    unsigned asked, answered;
    base_time begins, second_at;
    /* the attack's own */
    struct hello *hellos;
    unsigned hello_count, hello_next;
    uint64_t blow_bytes;
    struct quic_conn *traitor; /* the attacker's connection; NULL: none yet, or it was closed */
    bool deaf;                 /* it hears nothing: its own half would not understand the answers to what is forged */
    uint64_t number, turn;     /* of the next forged packet; how many frames were forged */
    unsigned frame;            /* in its packet */
    unsigned struck;           /* how often the server has closed it */
};

struct attack {
    const char *name;
    unsigned blows; /* a millisecond */
    void (*prepare)(struct siege *siege);
    void (*blow)(struct siege *siege);
    void (*judge)(struct siege *siege);
    bool inside; /* siege->traitor is to be connected */
    void (*put)(struct siege *siege, struct quic_conn *theirs, struct base_writer *frames); /* of `flood` */
};

static struct siege *present;

/* ---- the innocent ---- */

static void ask(struct siege *siege) {
    struct quic_stream *stream;
    if (siege->asked == ASKS || !siege->conn || quic_streams_open(&siege->conn->streams, false, &stream))
        return;
    uint8_t head[8];
    base_store_uint(head, ANSWER, 8);
    stream->user = malloc(sizeof siege->asked);
    memcpy(stream->user, &siege->asked, sizeof siege->asked);
    siege->asked_at[siege->asked++] = siege->world->now;
    if (quic_stream_write(stream, head, sizeof head, true) != sizeof head)
        sim_fail(siege->world, "a request was not taken");
}

static void on_conn(struct sim_node *node, struct quic_conn *conn, uint32_t bits) {
    if (!(bits & QUIC_CONN_EV_CONNECTED))
        return;
    present->conn = conn;
    node->wake = present->begins;
}

static void on_timer(struct sim_node *node) {
    ask(present);
    if (present->asked < ASKS)
        node->wake = node->world->now + ASK_EVERY;
}

static void on_closed(struct sim_node *node, struct quic_conn *conn) {
    (void)conn;
    present->conn = NULL;
    sim_fail(node->world, "the innocent connection was closed");
}

static void on_stream(struct sim_node *node, struct quic_stream *stream, uint32_t bits) {
    struct quic_slice slice;
    base_time now = node->world->now;
    while ((bits & QUIC_STREAM_EV_READABLE) && quic_stream_peek(stream, &slice, 1))
        quic_stream_consume(stream, slice.len, 0, now);
    if ((bits & QUIC_STREAM_EV_READABLE) && quic_stream_recv_at_end(&stream->recv) && stream->user) {
        quic_stream_consume(stream, 0, 0, now);
        unsigned number;
        memcpy(&number, stream->user, sizeof number);
        present->took[number] = now - present->asked_at[number];
        present->answered++;
        free(stream->user);
        stream->user = NULL;
    }
}

static const struct sim_app innocent_app = {on_conn, on_closed, on_stream, on_timer};

/* ---- attackers' tools ---- */

static struct quic_addr forged(struct siege *siege) {
    uint64_t roll = sim_roll(&siege->dice);
    return (struct quic_addr){.family = 4,
                              .ip = {(uint8_t)(11 + roll % 200), (uint8_t)(roll >> 8), (uint8_t)(roll >> 16), 1},
                              .port = (uint16_t)(1024 + (roll >> 24) % 60000)};
}

static void strike(struct siege *siege, const struct quic_addr *from, const uint8_t *data, size_t len) {
    siege->blow_bytes += len;
    sim_inject(siege->server, from, data, len, sim_roll(&siege->dice) % BASE_MS);
}

/* First datagrams of true clients that are never heard of again, ready to be sent from `from` each. */
static void make_hellos(struct siege *siege, unsigned count, bool proven) {
    struct sim_node *node = siege->attacker;
    siege->hellos = calloc(count, sizeof *siege->hellos);
    for (unsigned i = 0; i < count; i++) {
        struct hello *hello = &siege->hellos[siege->hello_count];
        hello->from = forged(siege);
        uint8_t token[4 + CRYPTO_TOKEN_MAX];
        base_store_uint(token, QUIC_VERSION_1, 4);
        struct quic_connect connect = {.config = siege->attacker_config,
                                       .socket = &node->socket,
                                       .local = node->socket.local,
                                       .remote = siege->server->socket.local,
                                       .server_name = "sim.test",
                                       .token = proven ? token : NULL};
        if (proven)
            connect.token_len = 4 + quic_endpoint_new_token(&siege->server->endpoint, QUIC_VERSION_1, &hello->from,
                                                            NULL, token + 4, sizeof token - 4, siege->world->now);
        struct quic_conn *conn;
        struct crypto_error why;
        struct quic_train train = {.data = node->train, .max_segments = 1};
        if (quic_conn_connect(&node->endpoint, &connect, siege->world->now, &conn, &why))
            break;
        if (quic_endpoint_output(&node->endpoint, &train, siege->world->now)) {
            memcpy(hello->data, train.data, hello->len = (uint16_t)train.len);
            siege->hello_count++;
        }
        conn->detached = true;
        quic_conn_free(conn);
    }
}

static void send_hello(struct siege *siege) {
    if (siege->hello_next == siege->hello_count)
        return;
    const struct hello *hello = &siege->hellos[siege->hello_next++];
    strike(siege, &hello->from, hello->data, hello->len);
}

/* ---- attacks ---- */

static void forged_hellos(struct siege *siege) { make_hellos(siege, HELLOS, false); }
static void proven_hellos(struct siege *siege) { make_hellos(siege, HELLOS, true); }

static void judge_guarded(struct siege *siege) {
    const struct engine_stats *stats = &siege->server->endpoint.stats;
    uint64_t strangers = siege->hello_next;
    if (!stats->half_open_guards || stats->retries_sent < strangers / 2)
        sim_fail(siege->world, "%llu Retries for %llu strangers", (unsigned long long)stats->retries_sent,
                 (unsigned long long)strangers);
    /* what they hold, or held at most, is less than 1 KiB for each */
    if (siege->server->mem.peak / strangers > 1024)
        sim_fail(siege->world, "%llu bytes for each stranger",
                 (unsigned long long)(siege->server->mem.peak / strangers));
}

static void noise(struct siege *siege) {
    uint8_t initial[1200] = {0xc0, 0, 0, 0, 1, 8};
    struct quic_addr from = forged(siege);
    for (size_t n = 6; n < 60; n++)
        initial[n] = (uint8_t)sim_roll(&siege->dice);
    initial[14] = initial[15] = 0; /* no Source Connection ID, no token, a length that fits */
    base_store_u16(initial + 16, 0x4000 | (sizeof initial - 18));
    strike(siege, &from, initial, sizeof initial);
}

static void unknown_version(struct siege *siege) {
    uint8_t initial[1200] = {0xc0, 0xba, 0xba, 0xba, 0x3a, 8};
    struct quic_addr from = forged(siege);
    initial[6] = (uint8_t)sim_roll(&siege->dice);
    initial[14] = 8;
    strike(siege, &from, initial, sizeof initial);
}

static void unknown_id(struct siege *siege) {
    uint8_t packet[300] = {0x41, (uint8_t)siege->server->index};
    struct quic_addr from = forged(siege);
    for (size_t n = 2; n < 40; n++)
        packet[n] = (uint8_t)sim_roll(&siege->dice);
    strike(siege, &from, packet, sizeof packet);
}

static void judge_reflection(struct siege *siege) {
    if (siege->server->stray_bytes > siege->blow_bytes / 2)
        sim_fail(siege->world, "%llu bytes reflected for %llu", (unsigned long long)siege->server->stray_bytes,
                 (unsigned long long)siege->blow_bytes);
    const struct engine_stats *stats = &siege->server->endpoint.stats;
    uint64_t most = 2000 * (SPAN / BASE_MS) / 1000 + 2000;
    if (stats->stateless_resets_sent > most || stats->version_negotiations_sent > 10 * most)
        sim_fail(siege->world, "%llu resets, %llu Version Negotiation packets",
                 (unsigned long long)stats->stateless_resets_sent,
                 (unsigned long long)stats->version_negotiations_sent);
}

/* 0-RTT packets for connections that nobody opens, and Handshake packets for one that is there. */
static void keyless(struct siege *siege) {
    uint8_t packet[1200] = {0xd0, 0, 0, 0, 1, 8};
    struct quic_addr from = forged(siege);
    for (size_t n = 6; n < 60; n++)
        packet[n] = (uint8_t)sim_roll(&siege->dice);
    packet[14] = 0;
    base_store_u16(packet + 15, 0x4000 | (sizeof packet - 17));
    if (siege->conn && sim_roll(&siege->dice) % 2) {
        packet[0] = 0xe0;
        memcpy(packet + 6, siege->conn->remote_cids.list[0].cid.id, 8);
    }
    strike(siege, &from, packet, sizeof packet);
}

/* Short packets with the innocent's own ID and nothing authentic in them. */
static void forged_packets(struct siege *siege) {
    uint8_t packet[300] = {0x41};
    struct quic_addr from = siege->client->socket.local;
    for (size_t n = 1; n < 60; n++)
        packet[n] = (uint8_t)sim_roll(&siege->dice);
    if (siege->conn)
        memcpy(packet + 1, siege->conn->remote_cids.list[0].cid.id, 8);
    strike(siege, &from, packet, sizeof packet);
}

/* Connections that the server has closed are sent packets without end. */
static void closed_ones(struct siege *siege) {
    make_hellos(siege, 40, true);
    for (unsigned i = 0; i < siege->hello_count; i++)
        sim_inject(siege->server, &siege->hellos[i].from, siege->hellos[i].data, siege->hellos[i].len, i * BASE_MS);
}

static void to_closed(struct siege *siege) {
    struct base_list *conns = &siege->server->endpoint.conns;
    if (siege->hello_next == 0) /* all but the innocent, which was the first */
        for (struct base_node *node = base_list_next(conns, base_list_first(conns)); node;
             node = base_list_next(conns, node)) {
            struct quic_conn *conn = BASE_CONTAINER(node, struct quic_conn, all);
            if (!conn->handshake_complete)
                quic_conn_close(conn, true, 1, "storm", 5, siege->world->now);
        }
    const struct hello *hello = &siege->hellos[siege->hello_next++ % siege->hello_count];
    strike(siege, &hello->from, hello->data, hello->len);
}

static void judge_closed(struct siege *siege) {
    /* 30,000 packets for 40 connections: each answers the 1st, 2nd, 4th ... of 750 */
    if (siege->server->strays > siege->hello_count * 20 || siege->server->endpoint.stats.connections_accepted > 45)
        sim_fail(siege->world, "%llu answers of closed connections", (unsigned long long)siege->server->strays);
}

/* ---- attacks from inside a connection: by an honest stack ---- */

static void traitor_conn(struct sim_node *node, struct quic_conn *conn, uint32_t bits) {
    (void)node;
    if (bits & QUIC_CONN_EV_CONNECTED)
        present->traitor = conn;
}

static void traitor_closed(struct sim_node *node, struct quic_conn *conn) {
    (void)node;
    if (present->traitor == conn)
        present->traitor = NULL;
}

/* Takes nothing of what comes. */
static const struct sim_app traitor_app = {traitor_conn, traitor_closed, NULL, NULL};

/* A request for `answer` bytes. NULL: not now. */
static struct quic_stream *traitor_asks(struct siege *siege, uint64_t answer) {
    struct quic_conn *conn = siege->traitor;
    struct quic_stream *stream;
    if (!conn || conn->state >= QUIC_CONN_CLOSING || quic_streams_open(&conn->streams, false, &stream))
        return NULL;
    uint8_t head[8];
    base_store_uint(head, answer, 8);
    quic_stream_write(stream, head, sizeof head, false);
    quic_conn_mark_dirty(conn);
    return stream;
}

/* Requests that are taken back at once, as many as the server lets be opened. */
static void churn(struct siege *siege) {
    struct quic_stream *stream = traitor_asks(siege, 100000);
    if (!stream)
        return;
    struct quic_conn *conn = siege->traitor;
    quic_stream_reset(stream, 0);
    quic_stream_stop(stream, 0);
    quic_conn_mark_dirty(conn);
}

/* Asks for a megabyte on each stream there may be, and takes no byte. */
static void slow_reader(struct siege *siege) {
    struct quic_stream *stream = traitor_asks(siege, 1 << 20);
    if (stream)
        quic_stream_write(stream, NULL, 0, true);
}

/* Requests that never end: a byte a millisecond on one of them, in turn. */
static void slow_writer(struct siege *siege) {
    struct quic_conn *conn = siege->traitor;
    if (!conn || conn->state >= QUIC_CONN_CLOSING)
        return;
    traitor_asks(siege, 1000);
    struct quic_stream *stream = quic_streams_find(&conn->streams, 4 * (siege->turn++ % 500));
    if (stream) {
        uint8_t byte = transfer_byte(stream->id, stream->send.written);
        quic_stream_write(stream, &byte, 1, false);
    }
    quic_conn_mark_dirty(conn);
}

/* Connections that are closed as soon as they are there, and the next. */
static void come_and_go(struct siege *siege) {
    if (siege->traitor && siege->traitor->state < QUIC_CONN_CLOSING) {
        siege->struck++;
        quic_conn_close(siege->traitor, true, 7, "bye", 3, siege->world->now);
    }
    if (siege->turn++ % 4 == 0)
        sim_connect(siege->attacker, siege->server, siege->client_config, NULL);
}

/* ---- ... and with packets made by hand ---- */

static bool deaf(struct sim_world *world, const struct sim_datagram *d) {
    (void)world;
    return !present->deaf || d->to != present->attacker;
}

/* The server's half of the traitor's connection, or NULL. */
static struct quic_conn *traitors_other(struct siege *siege) {
    struct base_list *conns = &siege->server->endpoint.conns;
    for (struct base_node *node = base_list_first(conns); node; node = base_list_next(conns, node)) {
        struct quic_conn *conn = BASE_CONTAINER(node, struct quic_conn, all);
        if (conn->state < QUIC_CONN_CLOSING && conn->handshake_confirmed &&
            quic_addr_equal(&quic_path_active(conn)->remote, &siege->attacker->socket.local))
            return conn;
    }
    return NULL;
}

/* A packet full of whatever the attack is; when the server has had enough, the next connection begins. */
static void flood_with(struct siege *siege, void (*put)(struct siege *, struct quic_conn *, struct base_writer *)) {
    uint8_t frames[SIM_FORGE_MOST], packet[1200];
    struct quic_conn *theirs = traitors_other(siege);
    if (siege->deaf && !theirs) {
        struct quic_close close = {.cause = QUIC_CAUSE_LOCAL};
        siege->struck++;
        siege->deaf = false;
        quic_close_silent(siege->traitor, &close, siege->world->now);
        siege->traitor = NULL;
        sim_connect(siege->attacker, siege->server, siege->client_config, NULL);
    }
    if (!siege->traitor || !siege->traitor->handshake_confirmed || !theirs)
        return;
    if (!siege->deaf) {
        siege->deaf = true;
        siege->number = FORGED_FIRST;
        siege->turn = 0;
    }
    struct base_writer f = base_writer_of(frames, sizeof frames);
    for (siege->frame = 0; siege->frame < 200 && base_writer_left(&f) > 60; siege->frame++, siege->turn++)
        put(siege, theirs, &f);
    size_t len = sim_forge(siege->traitor, siege->number++, frames, (size_t)(f.pos - frames), packet);
    strike(siege, &siege->attacker->socket.local, packet, len);
}

static void put_ping(struct siege *siege, struct quic_conn *theirs, struct base_writer *f) {
    (void)siege;
    (void)theirs;
    quic_frame_write_type(f, QUIC_FRAME_PING);
}

static void put_challenge(struct siege *siege, struct quic_conn *theirs, struct base_writer *f) {
    uint8_t data[8];
    (void)theirs;
    base_store_uint(data, siege->turn, 8);
    quic_frame_write_path(f, QUIC_FRAME_PATH_CHALLENGE, data);
}

/* Each takes the place of the one before. */
static void put_cid(struct siege *siege, struct quic_conn *theirs, struct base_writer *f) {
    struct quic_cid cid = {.len = 8};
    uint8_t token[16] = {1};
    (void)theirs;
    base_store_uint(cid.id, siege->turn + 1, 8);
    base_store_uint(token + 8, siege->turn, 8);
    quic_frame_write_new_cid(f, 100 + siege->turn, 100 + siege->turn, &cid, token);
}

/* The newest ID is given back, for which there is a newer one. */
static void put_retire(struct siege *siege, struct quic_conn *theirs, struct base_writer *f) {
    quic_frame_write_number(f, QUIC_FRAME_RETIRE_CONNECTION_ID, theirs->local_cids.next_sequence - 1 + siege->frame);
}

/* All of them new, in order, and a byte long. */
static void put_tiny(struct siege *siege, struct quic_conn *theirs, struct base_writer *f) {
    (void)theirs;
    quic_frame_write_stream_header(f, 0, siege->turn, 1, 1, false);
    base_write_u8(f, siege->turn < 8 ? 0 : transfer_byte(0, siege->turn));
}

static void put_hole(struct siege *siege, struct quic_conn *theirs, struct base_writer *f) {
    (void)theirs;
    quic_frame_write_stream_header(f, 4 * (siege->turn / 4000 % 8), 1 + 2 * (siege->turn % 4000), 1, 1, false);
    base_write_u8(f, 0);
}

static void put_gap(struct siege *siege, struct quic_conn *theirs, struct base_writer *f) {
    static const uint8_t byte[1];
    (void)theirs;
    quic_frame_write_crypto(f, 1 + 2 * (siege->turn % 30000), byte, 1);
}

/* What makes a stack answer, or say again, what it wants of the peer. */
static void put_control(struct siege *siege, struct quic_conn *theirs, struct base_writer *f) {
    static const uint64_t types[] = {
        QUIC_FRAME_MAX_DATA,     QUIC_FRAME_MAX_STREAMS_BIDI,     QUIC_FRAME_MAX_STREAMS_UNI,
        QUIC_FRAME_DATA_BLOCKED, QUIC_FRAME_STREAMS_BLOCKED_BIDI, QUIC_FRAME_STREAMS_BLOCKED_UNI};
    (void)theirs;
    quic_frame_write_number(f, types[siege->turn % 6], siege->turn % 6 < 3 ? siege->turn : 1);
    quic_frame_write_stream_number(f, siege->turn % 2 ? QUIC_FRAME_MAX_STREAM_DATA : QUIC_FRAME_STREAM_DATA_BLOCKED, 0,
                                   siege->turn);
}

/* Every second packet of the newest ones, again and again. */
static void put_ranges(struct siege *siege, struct quic_conn *theirs, struct base_writer *f) {
    uint64_t next = theirs->recovery.spaces[QUIC_APPLICATION].next, ranges = next / 2 > 8 ? 8 : next / 2;
    (void)siege;
    if (!ranges)
        return;
    base_write_u8(f, QUIC_FRAME_ACK);
    base_write_varint(f, next - 1);
    base_write_varint(f, 0);
    base_write_varint(f, ranges - 1);
    base_write_varint(f, 0);
    for (uint64_t i = 1; i < ranges; i++) {
        base_write_varint(f, 0);
        base_write_varint(f, 0);
    }
}

/* Whatever was sent has arrived, and so has what was not. */
static void put_optimistic(struct siege *siege, struct quic_conn *theirs, struct base_writer *f) {
    uint64_t next = theirs->recovery.spaces[QUIC_APPLICATION].next;
    uint8_t head[8];
    uint64_t packet = siege->number - FORGED_FIRST;
    if (siege->frame == 0 && packet < 8) { /* something large is wanted */
        base_store_uint(head, 4 << 20, 8);
        quic_frame_write_stream_header(f, 4 * packet, 0, 8, 1, true);
        base_write_bytes(f, head, 8);
    } else if (siege->frame == 1 && next) {
        base_write_u8(f, QUIC_FRAME_ACK);
        base_write_varint(f, next - 1);
        base_write_varint(f, 0);
        base_write_varint(f, 0);
        base_write_varint(f, next - 1);
    }
}

static void judge_struck(struct siege *siege) {
    if (!siege->struck)
        sim_fail(siege->world, "the connection went on until the end");
}

static void judge_glitched(struct siege *siege) {
    judge_struck(siege);
    if (!siege->server->endpoint.stats.connections_glitched)
        sim_fail(siege->world, "no connection was closed for glitches");
}

static void judge_optimistic(struct siege *siege) {
    judge_struck(siege);
    if (!siege->server->endpoint.stats.acks_optimistic)
        sim_fail(siege->world, "nobody noticed what was acknowledged");
}

/* ---- the siege ---- */

static void siege_open(struct siege *siege, struct sim_world *world, uint64_t seed) {
    *siege = (struct siege){.world = world, .dice = {seed ^ 0x51e9e}};
    present = siege;
    world->unchecked = true; /* figures count: each datagram is looked at in other scenarios */
    struct options client, server;
    options_init(&client);
    options_init(&server);
    server.early_data = 1;
    client.initial_max_streams_bidi = server.initial_max_streams_bidi = 1000;
    siege->client_config = sim_config(CRYPTO_CLIENT, &client);
    siege->server_config = sim_config(CRYPTO_SERVER, &server);
    siege->attacker_config = sim_config(CRYPTO_CLIENT, &client);
    crypto_tls_config_groups(siege->attacker_config->tls, "X25519", NULL); /* hellos of one datagram */
    siege->client = sim_node_add(world, &innocent_app, 0);
    siege->server = sim_node_add(world, &transfer_server_app, BUDGET);
    siege->second = sim_node_add(world, &transfer_client_app, 0);
    siege->attacker = sim_node_add(world, &traitor_app, 0);
    siege->server->user = &siege->server_transfer;
    siege->second->user = &siege->second_transfer;
    siege->second_transfer = (struct transfer){.streams = 1, .upload = 10, .download = 1000};
    struct sim_link link = {.delay = 5 * BASE_MS, .bits_per_second = 1000000000};
    sim_join(siege->client, siege->server, &link);
    sim_join(siege->second, siege->server, &link);
    sim_join(siege->attacker, siege->server, &link);
    sim_listen(siege->server, siege->server_config);
    sim_node_cpu(siege->server);
    siege->begins = world->now + 200 * BASE_MS;
    if (!sim_connect(siege->client, siege->server, siege->client_config, NULL))
        sim_fail(world, "the innocent does not connect");
    sim_run(world, siege->begins - 50 * BASE_MS, NULL);
}

static void siege_close(struct siege *siege) {
    struct sim_node *nodes[] = {siege->client, siege->server, siege->second, siege->attacker};
    for (unsigned i = 0; i < 4; i++)
        sim_node_remove(nodes[i]);
    sim_config_free(siege->client_config);
    sim_config_free(siege->server_config);
    sim_config_free(siege->attacker_config);
    free(siege->hellos);
}

static int by_size(const void *a, const void *b) {
    base_time x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

/* The 99th percentile of what answers took; what never came took for ever. */
static base_time siege_run(struct siege *siege, const struct attack *attack) {
    struct sim_world *world = siege->world;
    base_time end = siege->begins + SPAN;
    world->hostile = attack && attack->inside;
    world->filter = deaf;
    if (attack && attack->inside)
        sim_connect(siege->attacker, siege->server, siege->client_config, NULL);
    if (attack && attack->prepare)
        attack->prepare(siege);
    sim_run(world, siege->begins, NULL);
    for (base_time now = siege->begins; now < end && !world->failure; now += BASE_MS) {
        for (unsigned i = 0; attack && i < attack->blows; i++)
            if (attack->put)
                flood_with(siege, attack->put);
            else
                attack->blow(siege);
        if (now == siege->begins + SPAN / 2)
            sim_connect(siege->second, siege->server, siege->client_config, NULL);
        sim_run(world, now + BASE_MS, NULL);
        world->now = base_time_max(world->now, now + BASE_MS);
    }
    for (unsigned i = siege->asked; i < ASKS; i++)
        siege->took[i] = BASE_NEVER;
    if (attack && !siege->second_transfer.connected)
        sim_fail(world, "a client that came during the attack did not get in");
    if (siege->server->mem.peak > BUDGET)
        sim_fail(world, "the server held %llu bytes", (unsigned long long)siege->server->mem.peak);
    if (attack && attack->judge)
        attack->judge(siege);
    sim_run(world, end + BASE_SEC, NULL);
    for (unsigned i = 0; i < ASKS; i++)
        siege->took[i] = siege->took[i] ? siege->took[i] : BASE_NEVER;
    qsort(siege->took, ASKS, sizeof *siege->took, by_size);
    return siege->took[ASKS * 99 / 100];
}

static const struct attack attacks[] = {
    {"noise", 20, NULL, noise, NULL, false, NULL},
    {"forged hellos", 4, forged_hellos, send_hello, judge_guarded, false, NULL},
    {"proven hellos", 2, proven_hellos, send_hello, NULL, false, NULL},
    {"unknown versions", 20, NULL, unknown_version, judge_reflection, false, NULL},
    {"unknown IDs", 20, NULL, unknown_id, judge_reflection, false, NULL},
    {"packets without keys", 20, NULL, keyless, NULL, false, NULL},
    {"forged packets", 20, NULL, forged_packets, NULL, false, NULL},
    {"close storm", 20, closed_ones, to_closed, judge_closed, false, NULL},
    {"stream churn", 10, NULL, churn, NULL, true, NULL},
    {"slow readers", 10, NULL, slow_reader, NULL, true, NULL},
    {"slow writers", 10, NULL, slow_writer, NULL, true, NULL},
    {"come and go", 1, NULL, come_and_go, judge_struck, true, NULL},
    {"PING", 2, NULL, NULL, judge_glitched, true, put_ping},
    {"PATH_CHALLENGE", 2, NULL, NULL, judge_glitched, true, put_challenge},
    {"NEW_CONNECTION_ID", 2, NULL, NULL, judge_struck, true, put_cid},
    {"RETIRE_CONNECTION_ID", 2, NULL, NULL, judge_struck, true, put_retire},
    {"a byte a frame", 2, NULL, NULL, judge_glitched, true, put_tiny},
    {"holes in streams", 2, NULL, NULL, judge_glitched, true, put_hole},
    {"CRYPTO gaps", 2, NULL, NULL, judge_struck, true, put_gap},
    {"control frames", 2, NULL, NULL, judge_glitched, true, put_control},
    {"ACK ranges", 2, NULL, NULL, judge_struck, true, put_ranges},
    {"optimistic ACKs", 2, NULL, NULL, judge_optimistic, true, put_optimistic},
};

/* Each seed is one of the attacks. */
static void run_siege(struct sim_world *world, uint64_t seed) {
    const struct attack *attack = &attacks[(seed - 1) % (sizeof attacks / sizeof *attacks)];
    struct siege siege;
    siege_open(&siege, world, seed);
    base_time quiet = siege_run(&siege, NULL);
    siege_close(&siege);
    sim_world_clear(world);
    if (world->failure)
        return;
    sim_world_init(world, seed);
    siege_open(&siege, world, seed);
    base_time besieged = siege_run(&siege, attack);
    printf("    %-22s p99 %.2f ms, quiet %.2f ms; the processor worked %.0f %%, %llu datagrams found no room, %.1f MB "
           "at most\n",
           attack->name, (double)besieged / 1e6, (double)quiet / 1e6,
           100.0 * (double)siege.server->cpu.worked / (double)(world->now - BASE_SEC),
           (unsigned long long)siege.server->cpu.overflowed, (double)siege.server->mem.peak / 1e6);
    if (besieged > 2 * quiet)
        sim_fail(world, "%s: p99 of %.2f ms became %.2f ms", attack->name, (double)quiet / 1e6, (double)besieged / 1e6);
    siege_close(&siege);
}

/* Each once; and the first three again, as a client that comes among thousands of true addresses has no luck in the
 * second run alone, unless it may wait for a place. */
#define SIEGES (sizeof attacks / sizeof *attacks + 3)

static const struct scenario list[] = {
    {"attack-siege", "no attack on an engine doubles another connection's p99", SIEGES, run_siege},
};
SCENARIOS(scenarios_siege, list);
