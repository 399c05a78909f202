/* selftest.c - a checker that cannot fail checks nothing. For each rule a sound transfer is watched, and at one moment
 * what was seen (never what was sent) is changed so that the rule is broken: the checker must say so, under the rule's
 * name.
 */
#include <stdio.h>

#include "stage.h"

struct breach {
    const char *rule;
    bool (*packet)(struct checker *c, struct seen_datagram *d, struct seen_packet *p); /* true: done */
    bool (*raw)(struct checker *c, uint8_t *data, size_t len);
    bool (*idle)(struct checker *c);
};

static const struct breach *breach;
static bool done;
static uint8_t payload[2048];

static void doctor(struct checker *c, struct seen_datagram *d) {
    if (done)
        return;
    static struct seen_packet none;
    if (!d->count)
        done = breach->packet(c, d, &none);
    for (unsigned i = 0; i < d->count && !done; i++)
        done = breach->packet(c, d, &d->packets[i]);
}
static void doctor_raw(struct checker *c, uint8_t *data, size_t len) { done = done || breach->raw(c, data, len); }
static void doctor_idle(struct checker *c) { done = done || breach->idle(c); }

/* ---- helpers ---- */

static bool is_app(const struct seen_packet *p, unsigned side) {
    return p->conn && p->level == CRYPTO_APPLICATION && p->side == side && p->conn->sides[side].confirmed &&
           p->conn->sides[!side].confirmed && p->conn->sides[side].spaces[QUIC_APPLICATION].next > 3;
}
static struct base_writer begin(void) { return base_writer_of(payload, sizeof payload); }
static bool end(struct seen_packet *p, const struct base_writer *w) {
    p->payload = payload;
    p->payload_len = (size_t)(w->pos - payload);
    return true;
}
static struct check_side *self_of(struct seen_packet *p) { return &p->conn->sides[p->side]; }
static struct check_side *peer_of(struct seen_packet *p) { return &p->conn->sides[!p->side]; }
#define BREACH(name) static bool name(struct checker *c, struct seen_datagram *d, struct seen_packet *p)
#define UNUSED (void)c, (void)d, (void)p
enum { CL = CHECK_CLIENT, SV = CHECK_SERVER };

/* ---- packets ---- */

BREACH(number_grows) {
    UNUSED;
    return is_app(p, SV) && (p->number -= 2, true);
}
BREACH(number_dense) {
    UNUSED;
    return is_app(p, SV) && (p->number += 5, true);
}
BREACH(number_length) {
    UNUSED;
    if (!is_app(p, SV))
        return false;
    self_of(p)->spaces[QUIC_APPLICATION].largest_acked = p->number + 400;
    p->pn_len = 1;
    return true;
}
BREACH(fixed_bit) {
    UNUSED;
    return is_app(p, SV) && (p->first &= 0xbf, true);
}
BREACH(reserved_bits) {
    UNUSED;
    return is_app(p, SV) && (p->first |= 0x18, true);
}
BREACH(empty_packet) {
    UNUSED;
    return is_app(p, SV) && (p->payload_len = 0, true);
}
BREACH(destination_id) {
    UNUSED;
    return is_app(p, SV) && (p->dcid.id[3] ^= 1, true);
}
BREACH(destination_retired) {
    UNUSED;
    if (!is_app(p, SV))
        return false;
    check_cid_find(peer_of(p), &p->dcid)->retired = true;
    return true;
}
BREACH(source_id) {
    UNUSED;
    return p->conn && p->level == CRYPTO_HANDSHAKE && p->side == CL && (p->scid.id[3] ^= 1, true);
}
BREACH(token_of_server) {
    UNUSED;
    p->token = payload;
    return p->conn && p->level == CRYPTO_INITIAL && p->side == SV && (p->token_len = 1, true);
}
BREACH(token_changes) {
    UNUSED;
    p->token = payload;
    return p->conn && p->level == CRYPTO_INITIAL && p->side == CL && p->number > 0 && (p->token_len = 5, true);
}
BREACH(late_handshake) {
    UNUSED;
    if (!is_app(p, CL) || p->number < 20)
        return false;
    p->level = CRYPTO_HANDSHAKE;
    p->space = QUIC_HANDSHAKE;
    p->number = self_of(p)->spaces[QUIC_HANDSHAKE].next;
    return true;
}
BREACH(phase_skips) {
    UNUSED;
    return is_app(p, SV) && (p->generation += 2, true);
}
BREACH(phase_back) {
    UNUSED;
    return is_app(p, SV) && (self_of(p)->generation = 1, true);
}
BREACH(closing) {
    UNUSED;
    return is_app(p, SV) && (self_of(p)->closing = true);
}
BREACH(draining) {
    UNUSED;
    return is_app(p, SV) && (self_of(p)->heard_close = true);
}

/* ---- datagrams ---- */

BREACH(coalesced) {
    UNUSED;
    return d->count > 1 && (d->packets[1].dcid.id[2] ^= 1, true);
}
BREACH(initial_size) {
    UNUSED;
    return p->conn && p->level == CRYPTO_INITIAL && p->side == CL && (d->len = 1199, true);
}
BREACH(server_initial_size) {
    UNUSED;
    struct base_writer w = begin();
    base_write_u8(&w, QUIC_FRAME_PING);
    return p->conn && p->level == CRYPTO_INITIAL && p->side == SV && (d->len = 1199, end(p, &w));
}
BREACH(datagram_size) {
    UNUSED;
    return is_app(p, SV) && (peer_of(p)->params.max_udp_payload_size = 30, true);
}
BREACH(amplification) {
    UNUSED;
    if (!p->conn || p->side != SV || d->len < 400) /* more than three times what was received */
        return false;
    check_addr_of(p->conn, &d->raw->dst)->received = 100;
    check_addr_of(p->conn, &d->raw->dst)->validated = false;
    return true;
}
BREACH(window) {
    UNUSED;
    struct quic_conn *object = is_app(p, SV) ? check_object(self_of(p)) : NULL;
    if (!object || p->number < 10 || !quic_path_active(object)->control.bytes_in_flight)
        return false;
    quic_path_active(object)->control.cc.window = 1;
    self_of(p)->probes = 0;
    return true;
}
BREACH(stateless_size) {
    UNUSED;
    return d->unprotected && (c->biggest[d->raw->from->index] = 20, true);
}

/* ---- frames ---- */

BREACH(frame_syntax) {
    UNUSED;
    struct base_writer w = begin();
    base_write_u8(&w, 0x3e);
    return is_app(p, SV) && end(p, &w);
}
BREACH(frame_role) {
    UNUSED;
    struct base_writer w = begin();
    base_write_u8(&w, QUIC_FRAME_HANDSHAKE_DONE);
    return is_app(p, CL) && end(p, &w);
}
BREACH(frame_level) {
    UNUSED;
    struct base_writer w = begin();
    quic_frame_write_number(&w, QUIC_FRAME_MAX_DATA, 5);
    return p->conn && p->level == CRYPTO_HANDSHAKE && end(p, &w);
}
static bool write_ack(struct seen_packet *p, uint64_t largest, uint64_t delay) {
    struct base_writer w = begin();
    base_write_u8(&w, QUIC_FRAME_ACK);
    base_write_varint(&w, largest);
    base_write_varint(&w, delay);
    base_write_varint(&w, 0);
    base_write_varint(&w, 0);
    return end(p, &w);
}
BREACH(ack_of_unsent) {
    UNUSED;
    return is_app(p, CL) && write_ack(p, peer_of(p)->spaces[QUIC_APPLICATION].next + 5, 0);
}
BREACH(ack_of_lost) {
    UNUSED;
    struct check_space *s = is_app(p, CL) ? &peer_of(p)->spaces[QUIC_APPLICATION] : NULL;
    return s && !base_ranges_contains(&s->delivered, s->next - 1) && write_ack(p, s->next - 1, 0);
}
static uint64_t last_delivered(const struct check_space *s) {
    return s->delivered.list[s->delivered.count - 1].end - 1;
}
BREACH(ack_delay) {
    UNUSED;
    return is_app(p, CL) && write_ack(p, last_delivered(&peer_of(p)->spaces[QUIC_APPLICATION]), 100000);
}
BREACH(ack_key) {
    UNUSED;
    struct check_space *s = is_app(p, CL) ? &peer_of(p)->spaces[QUIC_APPLICATION] : NULL;
    return s && (s->list[last_delivered(s)].generation = 3) && write_ack(p, last_delivered(s), 0);
}
BREACH(crypto_bytes) {
    UNUSED;
    struct base_writer w = begin();
    const uint8_t wrong[4] = {9, 9, 9, 9};
    quic_frame_write_crypto(&w, 0, wrong, 4);
    return p->conn && p->level == CRYPTO_HANDSHAKE && end(p, &w);
}
static bool write_stream(struct seen_packet *p, uint64_t id, uint64_t offset, uint64_t len, bool fin) {
    struct base_writer w = begin();
    quic_frame_write_stream_header(&w, id, offset, len, 2, fin);
    memset(base_write_space(&w, (size_t)len), 0x5a, (size_t)len);
    return end(p, &w);
}
static struct check_stream *first_stream(struct checker *c, struct seen_packet *p) {
    return check_stream_of(c, p->conn, p->side, 0);
}
BREACH(stream_bytes) {
    UNUSED;
    return is_app(p, SV) && first_stream(c, p)->highest > 100 && write_stream(p, 0, 0, 50, false);
}
BREACH(stream_direction) {
    UNUSED;
    return is_app(p, CL) && write_stream(p, 3, 0, 5, false);
}
BREACH(stream_limit) {
    UNUSED;
    return is_app(p, CL) && write_stream(p, 4 * self_of(p)->max_streams[0], 0, 5, false);
}
BREACH(stream_credit) {
    UNUSED;
    return is_app(p, SV) && write_stream(p, 0, first_stream(c, p)->limit, 5, false);
}
BREACH(connection_credit) {
    UNUSED;
    return is_app(p, SV) && (self_of(p)->max_data = 1) && write_stream(p, 0, first_stream(c, p)->highest, 5, false);
}
static bool write_reset(struct seen_packet *p, uint64_t final_size, unsigned times) {
    struct base_writer w = begin();
    for (unsigned i = 0; i < times; i++)
        quic_frame_write_reset_stream(&w, 0, i, final_size);
    return end(p, &w);
}
BREACH(final_size) {
    UNUSED;
    return is_app(p, SV) && first_stream(c, p)->highest > 100 && write_reset(p, 50, 1);
}
BREACH(final_size_moves) {
    UNUSED;
    if (!is_app(p, SV) || !first_stream(c, p)->highest)
        return false;
    first_stream(c, p)->final_size = first_stream(c, p)->highest;
    return write_stream(p, 0, first_stream(c, p)->highest, 5, false);
}
BREACH(reset_code) {
    UNUSED;
    return is_app(p, SV) && write_reset(p, first_stream(c, p)->highest, 2);
}
BREACH(after_reset) {
    UNUSED;
    return is_app(p, SV) && (first_stream(c, p)->reset = true) && write_stream(p, 0, 0, 1, false);
}
static bool write_number(struct seen_packet *p, uint64_t type, uint64_t value) {
    struct base_writer w = begin();
    quic_frame_write_number(&w, type, value);
    return end(p, &w);
}
BREACH(blocked) {
    UNUSED;
    return is_app(p, SV) && write_number(p, QUIC_FRAME_DATA_BLOCKED, BASE_VARINT_MAX);
}
BREACH(streams_blocked) {
    UNUSED;
    return is_app(p, SV) && write_number(p, QUIC_FRAME_STREAMS_BLOCKED_UNI, QUIC_MAX_STREAMS);
}
static bool write_ids(struct seen_packet *p, uint64_t first, unsigned count) {
    struct base_writer w = begin();
    for (unsigned i = 0; i < count; i++) {
        struct quic_cid cid = {8, {0xaa, (uint8_t)i}};
        static const uint8_t token[16];
        quic_frame_write_new_cid(&w, first + i, 0, &cid, token);
    }
    return end(p, &w);
}
BREACH(new_id) {
    UNUSED;
    return is_app(p, SV) && write_ids(p, 0, 1);
}
BREACH(id_limit) {
    UNUSED;
    return is_app(p, SV) && write_ids(p, 50, 9);
}
BREACH(retire_unknown) {
    UNUSED;
    return is_app(p, SV) && write_number(p, QUIC_FRAME_RETIRE_CONNECTION_ID, 99);
}
BREACH(retire_in_use) {
    UNUSED;
    return is_app(p, SV) &&
           write_number(p, QUIC_FRAME_RETIRE_CONNECTION_ID, check_cid_find(peer_of(p), &p->dcid)->sequence);
}
static bool write_path(struct seen_packet *p, uint64_t type, unsigned times) {
    struct base_writer w = begin();
    static const uint8_t data[8] = "answer?";
    for (unsigned i = 0; i < times; i++)
        quic_frame_write_path(&w, type, data);
    return end(p, &w);
}
BREACH(response) {
    UNUSED;
    return is_app(p, SV) && write_path(p, QUIC_FRAME_PATH_RESPONSE, 1);
}
BREACH(challenge) {
    UNUSED;
    return is_app(p, SV) && (d->len = 1200, write_path(p, QUIC_FRAME_PATH_CHALLENGE, 2));
}
BREACH(path_size) {
    UNUSED;
    if (!is_app(p, SV))
        return false;
    struct check_addr *addr = check_addr_of(p->conn, &d->raw->dst);
    addr->validated = false;
    addr->received = addr->sent + 10000;
    d->len = 100;
    return write_path(p, QUIC_FRAME_PATH_CHALLENGE, 1);
}
BREACH(close_hidden) {
    UNUSED;
    struct base_writer w = begin();
    quic_frame_write_close(&w, false, QUIC_APPLICATION_ERROR, 0, "secret", 6);
    return p->conn && p->level == CRYPTO_HANDSHAKE && end(p, &w);
}
BREACH(new_token_of_client) {
    UNUSED;
    struct base_writer w = begin();
    quic_frame_write_new_token(&w, payload + 100, 4);
    return is_app(p, CL) && end(p, &w);
}

/* ---- bytes, and silence ---- */

static bool raw_opens(struct checker *c, uint8_t *data, size_t len) {
    if (c->packets < 20)
        return false;
    data[len - 1] ^= 1;
    return true;
}
static bool raw_retry(struct checker *c, uint8_t *data, size_t len) {
    (void)c;
    if ((data[0] & 0xf0) != 0xf0)
        return false;
    data[len - 1] ^= 1;
    return true;
}
static struct quic_conn *server_conn(struct checker *c) {
    struct check_conn *conn = c->conn_count ? c->conns[0] : NULL;
    struct quic_conn *object =
        conn && conn->sides[0].confirmed && conn->sides[1].confirmed ? check_object(&conn->sides[SV]) : NULL;
    return object && object->state == QUIC_CONN_ESTABLISHED ? object : NULL;
}
/* Bytes are written, and nobody is told. */
static bool idle_with_bytes(struct checker *c) {
    struct quic_conn *conn = server_conn(c);
    struct quic_stream *stream;
    static const uint8_t bytes[100];
    if (!conn || c->packets < 20 || c->idle_next <= c->world->now + BASE_MS ||
        quic_recovery_window_left(&conn->recovery) < 3000 || quic_streams_open(&conn->streams, true, &stream) ||
        quic_stream_write(stream, bytes, sizeof bytes, false) <= 0)
        return false;
    base_list_remove(&conn->dirty);
    conn->deadlines[QUIC_TIMER_PACING] = BASE_NEVER;
    return true;
}
static bool ack_promptness(struct checker *c) {
    struct quic_conn *conn = server_conn(c);
    if (!conn)
        return false;
    c->conns[0]->sides[CL].spaces[QUIC_APPLICATION].owed_since = 1;
    conn->acks[QUIC_APPLICATION].deadline = 1;
    return true;
}
static bool memory_budget(struct checker *c) { return (c->world->nodes[1].mem.limit = 1); }

static const struct breach breaches[] = {
    {"number-grows", number_grows, NULL, NULL},
    {"number-dense", number_dense, NULL, NULL},
    {"number-length", number_length, NULL, NULL},
    {"fixed-bit", fixed_bit, NULL, NULL},
    {"reserved-bits", reserved_bits, NULL, NULL},
    {"empty-packet", empty_packet, NULL, NULL},
    {"destination-id", destination_id, NULL, NULL},
    {"destination-id", destination_retired, NULL, NULL},
    {"source-id", source_id, NULL, NULL},
    {"token", token_of_server, NULL, NULL},
    {"token", token_changes, NULL, NULL},
    {"level", late_handshake, NULL, NULL},
    {"key-phase", phase_skips, NULL, NULL},
    {"key-phase", phase_back, NULL, NULL},
    {"closing", closing, NULL, NULL},
    {"draining", draining, NULL, NULL},
    {"coalesced", coalesced, NULL, NULL},
    {"initial-size", initial_size, NULL, NULL},
    {"initial-size", server_initial_size, NULL, NULL},
    {"datagram-size", datagram_size, NULL, NULL},
    {"amplification", amplification, NULL, NULL},
    {"window", window, NULL, NULL},
    {"stateless-size", stateless_size, NULL, NULL},
    {"frame-syntax", frame_syntax, NULL, NULL},
    {"frame-place", frame_role, NULL, NULL},
    {"frame-place", frame_level, NULL, NULL},
    {"frame-place", new_token_of_client, NULL, NULL},
    {"ack-of-received", ack_of_unsent, NULL, NULL},
    {"ack-of-received", ack_of_lost, NULL, NULL},
    {"ack-delay", ack_delay, NULL, NULL},
    {"ack-key", ack_key, NULL, NULL},
    {"crypto-bytes", crypto_bytes, NULL, NULL},
    {"stream-bytes", stream_bytes, NULL, NULL},
    {"stream-direction", stream_direction, NULL, NULL},
    {"stream-limit", stream_limit, NULL, NULL},
    {"stream-credit", stream_credit, NULL, NULL},
    {"connection-credit", connection_credit, NULL, NULL},
    {"final-size", final_size, NULL, NULL},
    {"final-size", final_size_moves, NULL, NULL},
    {"reset-code", reset_code, NULL, NULL},
    {"after-reset", after_reset, NULL, NULL},
    {"blocked", blocked, NULL, NULL},
    {"blocked", streams_blocked, NULL, NULL},
    {"new-id", new_id, NULL, NULL},
    {"id-limit", id_limit, NULL, NULL},
    {"retire-id", retire_unknown, NULL, NULL},
    {"retire-id", retire_in_use, NULL, NULL},
    {"response", response, NULL, NULL},
    {"challenge", challenge, NULL, NULL},
    {"path-size", path_size, NULL, NULL},
    {"close-hidden", close_hidden, NULL, NULL},
    {"opens", NULL, raw_opens, NULL},
    {"retry", NULL, raw_retry, NULL},
    {"idle-with-bytes", NULL, NULL, idle_with_bytes},
    {"ack-promptness", NULL, NULL, ack_promptness},
    {"memory-budget", NULL, NULL, memory_budget},
};

/* A slow, long transfer with some loss, after a Retry: there is something of everything. */
static void run_breach(struct sim_world *world) {
    struct stage stage;
    stage_init(&stage, world, 1);
    world->checker->doctor = breach->packet ? doctor : NULL;
    world->checker->doctor_raw = breach->raw ? doctor_raw : NULL;
    world->checker->doctor_idle = breach->idle ? doctor_idle : NULL;
    stage.server.address_validation = 1;
    stage.link.loss = 0.02;
    stage.t.download = 300000;
    stage_open(&stage);
    stage_run(&stage, 60 * BASE_SEC);
    stage_close(&stage);
}

unsigned long checker_selftest(unsigned long *passed) {
    static struct sim_world world;
    unsigned long missed = 0;
    for (size_t i = 0; i < sizeof breaches / sizeof *breaches; i++) {
        breach = &breaches[i];
        done = false;
        sim_world_init(&world, 7);
        run_breach(&world);
        char expected[64];
        snprintf(expected, sizeof expected, "rule %s:", breach->rule);
        bool found = world.failure && strncmp(world.failure, expected, strlen(expected)) == 0;
        sim_world_clear(&world);
        if (found) {
            ++*passed;
            continue;
        }
        missed++;
        printf("FAILED self-test: rule %s (breach %zu) was %s: %s\n", breach->rule, i,
               done ? "broken, unnoticed" : "never broken", world.failure ? world.failure_text : "nothing was found");
    }
    return missed;
}
