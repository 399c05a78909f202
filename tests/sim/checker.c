/* checker.c - what the observer remembers: connections by ID, secrets, and what arrives where.
 *
 * A datagram leaves, is opened, judged, and turned into a record: the effects it will have on the receiver's rights
 * (credit, connection IDs, acknowledgements) should it arrive. The link decides; an arrival looks its record up and
 * lets the effects happen. So limits are those the sender can know.
 *
 * Invariant: records are never changed after the datagram has left; the same one may arrive twice.
 */
#include "checker.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool checker_trace;
static struct checker *checker_present; /* there is one world at a time; TLS logs without saying in which */

void check_fail(struct checker *c, const char *rule, const char *format, ...) {
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    sim_fail(c->world, "rule %s: %s", rule, text);
}

struct checker *checker_new(struct sim_world *world) {
    static const uint8_t secret[16] = "checker of sims";
    struct checker *c = calloc(1, sizeof *c);
    c->world = world;
    c->trace = checker_trace;
    c->hash = UINT64_C(0xcbf29ce484222325);
    base_mem_init(&c->mem, 0);
    base_map_init(&c->ids, &c->mem, secret);
    base_map_init(&c->sent, &c->mem, secret);
    checker_present = c;
    return c;
}

static void side_clear(struct checker *c, struct check_side *side) {
    for (unsigned i = 0; i < QUIC_SPACES; i++) {
        free(side->spaces[i].list);
        base_ranges_clear(&side->spaces[i].delivered, &c->mem);
        free(side->crypto[i].data);
    }
    for (unsigned i = 0; i < CRYPTO_LEVELS; i++) {
        crypto_key_free(&c->mem, side->keys[i]);
        crypto_mask_key_free(&c->mem, side->masks[i]);
    }
    crypto_key_free(&c->mem, side->next_key);
    for (unsigned kind = 0; kind < 4; kind++) {
        for (uint64_t i = 0; i < side->stream_capacity[kind]; i++)
            free(side->streams[kind][i].bytes.data);
        free(side->streams[kind]);
    }
}

void checker_free(struct checker *c) {
    for (uint32_t i = 0; i < c->conn_count; i++) {
        struct check_conn *conn = c->conns[i];
        side_clear(c, &conn->sides[0]);
        side_clear(c, &conn->sides[1]);
        free(conn->token);
        for (unsigned t = 0; t < 16; t++)
            free(conn->retry_tokens[t]);
        free(conn);
    }
    free(c->conns);
    free(c->records);
    free(c->effects);
    free(c->secrets);
    base_map_clear(&c->ids);
    base_map_clear(&c->sent);
    checker_present = NULL;
    free(c);
}

/* ---- secrets ---- */

static unsigned hex_digit(char c) { return c >= 'a' ? (unsigned)(c - 'a') + 10 : (unsigned)(c - '0'); }

static size_t hex_bytes(const char *text, uint8_t *out, size_t most) {
    size_t len = 0;
    for (; text[0] && text[0] != ' ' && text[1] && len < most; text += 2)
        out[len++] = (uint8_t)(hex_digit(text[0]) << 4 | hex_digit(text[1]));
    return len;
}

void checker_keylog(void *user, const char *line) {
    (void)user;
    struct checker *c = checker_present;
    const char *random = strchr(line, ' ');
    if (!c || !random || (size_t)(random - line) >= sizeof c->secrets->label)
        return;
    const char *bytes = strchr(random + 1, ' ');
    if (!bytes)
        return;
    if ((c->secret_count & (c->secret_count - 1)) == 0) /* a power of two: grow to the next */
        c->secrets = realloc(c->secrets, 2 * (c->secret_count + 1) * sizeof *c->secrets);
    struct check_secret *s = &c->secrets[c->secret_count++];
    *s = (struct check_secret){0};
    memcpy(s->label, line, (size_t)(random - line));
    hex_bytes(random + 1, s->random, sizeof s->random);
    s->len = (uint8_t)hex_bytes(bytes + 1, s->bytes, sizeof s->bytes);
}

const struct check_secret *check_secret_find(const struct checker *c, const struct check_conn *conn,
                                             const char *label) {
    for (uint32_t i = c->secret_count; i-- > 0;)
        if (memcmp(c->secrets[i].random, conn->random, 32) == 0 && strcmp(c->secrets[i].label, label) == 0)
            return &c->secrets[i];
    return NULL;
}

/* ---- who is who ---- */

bool check_id_add(struct checker *c, const struct quic_cid *cid, const struct check_conn *conn, unsigned leads_to) {
    return base_map_put(&c->ids, cid->id, cid->len, (uint64_t)conn->index * 2 + leads_to);
}

struct check_conn *check_id_find(struct checker *c, const uint8_t *id, size_t len, unsigned *leads_to) {
    uint64_t value;
    if (len > QUIC_CID_MAX || !base_map_get(&c->ids, id, len, &value))
        return NULL;
    *leads_to = (unsigned)(value & 1);
    return c->conns[value >> 1];
}

struct check_cid *check_cid_find(struct check_side *owner, const struct quic_cid *cid) {
    for (unsigned i = owner->cid_count; i-- > 0;)
        if (quic_cid_equal(&owner->cids[i].cid, cid))
            return &owner->cids[i];
    return NULL;
}

/* The connection object of a side, or NULL when it is gone (or not yet there). */
struct quic_conn *check_object(struct check_side *side) {
    if (!side->node || !side->node->alive)
        return NULL;
    if (!side->handle) {
        if (!side->cid_count)
            return NULL;
        const struct quic_cid *cid = &side->cids[0].cid;
        struct base_list *all = &side->node->endpoint.conns;
        for (struct base_node *n = base_list_first(all); n && !side->handle; n = base_list_next(all, n)) {
            struct quic_conn *conn = BASE_CONTAINER(n, struct quic_conn, all);
            if (quic_local_cids_find(&conn->local_cids, cid->id, cid->len))
                side->handle = conn->handle;
        }
    }
    return side->handle ? base_slots_get(&side->node->slots, QUIC_SLOT_CONN, side->handle, NULL) : NULL;
}

struct check_addr *check_addr_of(struct check_conn *conn, const struct quic_addr *addr) {
    for (unsigned i = 0; i < conn->addr_count; i++)
        if (quic_addr_equal(&conn->addrs[i].addr, addr))
            return &conn->addrs[i];
    struct check_addr *at = &conn->addrs[conn->addr_count < 128 ? conn->addr_count++ : 127];
    *at = (struct check_addr){.addr = *addr};
    return at;
}

struct check_stream *check_stream_of(struct checker *c, struct check_conn *conn, unsigned side, uint64_t id) {
    struct check_side *s = &conn->sides[side];
    const struct check_side *peer = &conn->sides[!side];
    unsigned kind = id & 3;
    uint64_t sequence = id >> 2;
    if (sequence >= 1u << 20) {
        check_fail(c, "stream-limit", "stream %llu", (unsigned long long)id);
        sequence = 0;
    }
    if (sequence >= s->stream_capacity[kind]) {
        uint64_t capacity = 2 * sequence + 16;
        s->streams[kind] = realloc(s->streams[kind], capacity * sizeof **s->streams);
        memset(s->streams[kind] + s->stream_capacity[kind], 0,
               (capacity - s->stream_capacity[kind]) * sizeof **s->streams);
        s->stream_capacity[kind] = capacity;
    }
    struct check_stream *stream = &s->streams[kind][sequence];
    if (!stream->touched) {
        stream->touched = true;
        stream->final_size = UINT64_MAX;
        const struct quic_params *p = &peer->params;
        uint64_t limit = id & 2             ? p->initial_max_stream_data_uni
                         : (id & 1) == side ? p->initial_max_stream_data_bidi_remote
                                            : p->initial_max_stream_data_bidi_local;
        if (limit > stream->limit)
            stream->limit = limit;
    }
    return stream;
}

/* ---- records and effects ---- */

void check_effect_add(struct checker *c, enum check_effect_kind kind, enum crypto_level level, uint64_t a, uint64_t b) {
    if (!c->record)
        return;
    if (c->effect_count == c->effect_capacity) {
        c->effect_capacity = c->effect_capacity ? 2 * c->effect_capacity : 1024;
        c->effects = realloc(c->effects, c->effect_capacity * sizeof *c->effects);
    }
    c->effects[c->effect_count++] = (struct check_effect){(uint8_t)kind, (uint8_t)level, a, b};
    c->record->count++;
}

static void hash_datagram(struct checker *c, const struct sim_datagram *d) {
    uint64_t h = c->hash ^ (d->from->world->now * UINT64_C(0x9e3779b97f4a7c15)) ^ (d->len << 8 | d->from->index);
    for (size_t i = 0; i < d->len; i++)
        h = (h ^ d->data[i]) * UINT64_C(0x100000001b3);
    c->hash = h;
}

static uint64_t sent_key(const uint8_t *data, size_t len) {
    static const uint8_t key[16] = "datagram";
    return base_siphash(key, data, len);
}

uint32_t checker_tag_of(const struct checker *c, const uint8_t *data, size_t len) {
    uint64_t key = sent_key(data, len), tag;
    return base_map_get(&c->sent, &key, sizeof key, &tag) ? (uint32_t)tag : 0;
}

uint32_t checker_on_sent(struct checker *c, const struct sim_datagram *d) {
    hash_datagram(c, d);
    if (c->world->failure)
        return 0;
    if (c->record_count == c->record_capacity) {
        c->record_capacity = c->record_capacity ? 2 * c->record_capacity : 256;
        c->records = realloc(c->records, c->record_capacity * sizeof *c->records);
    }
    c->record = &c->records[c->record_count++];
    *c->record = (struct check_record){.first = c->effect_count};
    static struct seen_datagram seen;
    seen = (struct seen_datagram){.raw = d, .len = d->len};
    memcpy(c->copy, d->data, d->len);
    if (c->doctor_raw)
        c->doctor_raw(c, c->copy, d->len);
    if (check_open(c, &seen) && !c->world->failure) {
        if (c->doctor)
            c->doctor(c, &seen);
        if (seen.conn) {
            c->record->conn = seen.conn->index + 1;
            c->record->side = (uint8_t)seen.side;
        }
        check_datagram(c, &seen);
    }
    c->record = NULL;
    if (c->world->filter) {
        uint64_t key = sent_key(d->data, d->len);
        base_map_put(&c->sent, &key, sizeof key, c->record_count);
    }
    return c->record_count;
}

static void arrive_packet(struct checker *c, struct check_conn *conn, unsigned side, const struct check_effect *e,
                          const struct quic_addr *from, bool intact) {
    enum quic_space space = quic_space_of((enum crypto_level)e->level);
    struct check_space *s = &conn->sides[side].spaces[space];
    struct check_number *number = &s->list[e->a];
    if (!number->delivered_at) {
        number->delivered_at = c->world->now;
        base_ranges_add(&s->delivered, &c->mem, e->a, e->a + 1, UINT32_MAX);
        if (number->eliciting && intact && !s->owed_since && space == QUIC_APPLICATION && conn->sides[!side].confirmed)
            s->owed_since = c->world->now;
    }
    if (e->level == CRYPTO_HANDSHAKE) {
        conn->sides[!side].got_handshake |= intact;
        if (side == CHECK_CLIENT)
            check_addr_of(conn, from)->validated = true;
    }
}

static void arrive_cid(struct check_side *owner, uint64_t sequence, bool retire) {
    for (unsigned i = 0; i < owner->cid_count; i++)
        if (owner->cids[i].sequence == sequence)
            *(retire ? &owner->cids[i].retire_delivered : &owner->cids[i].delivered) = true;
}

static void arrive_response(struct check_conn *conn, uint64_t data) {
    for (unsigned i = 0; i < conn->addr_count; i++)
        for (unsigned k = 0; k < conn->addrs[i].challenge_count; k++)
            if (conn->addrs[i].challenges[k] == data)
                conn->addrs[i].validated = true;
}

static void larger(uint64_t *at, uint64_t value) {
    if (value > *at)
        *at = value;
}

/* One effect of a datagram sent by `side`, on its receiver. */
static void arrive_effect(struct checker *c, struct check_conn *conn, unsigned side, const struct check_effect *e,
                          const struct quic_addr *from, bool intact) {
    struct check_side *to = &conn->sides[!side];
    switch ((enum check_effect_kind)e->kind) {
    case EFFECT_PACKET: arrive_packet(c, conn, side, e, from, intact); break;
    case EFFECT_ACK: {
        struct check_space *s = &to->spaces[e->a];
        if (s->largest_acked == QUIC_NO_NUMBER || e->b > s->largest_acked)
            s->largest_acked = e->b;
        break;
    }
    case EFFECT_MAX_DATA: larger(&to->max_data, e->a); break;
    case EFFECT_MAX_STREAM_DATA: larger(&check_stream_of(c, conn, !side, e->a)->limit, e->b); break;
    case EFFECT_MAX_STREAMS: larger(&to->max_streams[e->a], e->b); break;
    case EFFECT_NEW_CID: arrive_cid(&conn->sides[side], e->a, false); break;
    case EFFECT_RETIRE_CID: arrive_cid(to, e->a, true); break;
    case EFFECT_CHALLENGE:
        if (to->challenge_count < 64)
            to->challenges[to->challenge_count++] = e->a;
        break;
    case EFFECT_RESPONSE: arrive_response(conn, e->a); break;
    case EFFECT_DONE: { /* what comes late may be below what its receiver has forgotten, and is dropped then */
        const struct base_ranges *delivered = &conn->sides[side].spaces[QUIC_APPLICATION].delivered;
        to->heard_done = true;
        to->confirmed |= delivered->count && e->a + 1 == delivered->list[delivered->count - 1].end;
        break;
    }
    case EFFECT_CLOSE: to->heard_close |= e->level == CRYPTO_APPLICATION && to->confirmed; break;
    case EFFECT_TOKEN: check_addr_of(conn, from)->validated = true; break;
    }
}

void checker_on_arrival(struct checker *c, struct sim_node *node, const struct quic_addr *from, const uint8_t *data,
                        size_t len, uint32_t tag, bool intact) {
    larger(&c->biggest[node->index], len);
    struct check_conn *conn = NULL;
    unsigned leads_to = 0;
    const uint8_t *id;
    size_t id_len;
    bool is_long;
    if (quic_header_peek_dcid(data, len, QUIC_LOCAL_CID_LEN, &id, &id_len, &is_long))
        conn = check_id_find(c, id, id_len, &leads_to);
    if (conn && conn->sides[leads_to].node == node) {
        conn->sides[leads_to].arrivals++;
        if (leads_to == CHECK_SERVER)
            check_addr_of(conn, from)->received += len;
    }
    if (!tag)
        return;
    const struct check_record *record = &c->records[tag - 1];
    conn = record->conn ? c->conns[record->conn - 1] : NULL;
    if (!conn || conn->sides[!record->side].node != node)
        return;
    intact &= node->mem.refusals == 0; /* what memory refuses is not taken in */
    /* One packet of a damaged datagram may still be good: what gives rights counts, what imposes duties does not. */
    for (uint32_t i = 0; i < record->count; i++) {
        const struct check_effect *e = &c->effects[record->first + i];
        if (intact || (e->kind != EFFECT_CLOSE && e->kind != EFFECT_DONE))
            arrive_effect(c, conn, record->side, e, from, intact);
    }
}

/* ---- while nothing happens ---- */

static bool stream_forgotten(const struct quic_streams *set) {
    uint64_t left = set->send_flow.max - set->send_flow.used;
    for (struct base_node *n = base_list_first(&set->all); n; n = base_list_next(&set->all, n)) {
        const struct quic_stream *s = BASE_CONTAINER(n, struct quic_stream, all);
        if (quic_stream_is_of(s->id, set->role) && s->id >> 2 >= set->kinds[s->id & 3].max)
            continue; /* opened early, under a limit that was lowered: it has to wait */
        uint64_t limit = s->send_flow.max - s->send.sent < left ? s->send_flow.max : s->send.sent + left;
        struct quic_send_piece piece;
        if (s->send.state < QUIC_SEND_RESET_SENT && quic_stream_send_next(&s->send, limit, &piece))
            return true;
    }
    return false;
}

/* Bytes that could go, window, pace, credit and room: then it must not wait for anything. */
static void idle_conn(struct checker *c, struct sim_node *node, struct quic_conn *conn, base_time next) {
    if (conn->state != QUIC_CONN_ESTABLISHED || base_node_linked(&conn->dirty) || next <= c->world->now + BASE_MS)
        return;
    struct quic_path *path = quic_path_active(conn);
    struct quic_path_control *control = &path->control;
    if (quic_path_allowance(path) < path->mtu || quic_recovery_window_left(&conn->recovery) < path->mtu ||
        !conn->handshake_confirmed || (node->mem.limit && node->mem.used > node->mem.limit / 2) || node->mem.refusals)
        return;
    if (!stream_forgotten(&conn->streams) && !quic_streams_sendable(&conn->streams))
        return;
    /* The pacer wakes for half a burst; meanwhile a packet may be ready to go, and waits for company. */
    base_time pacing = conn->deadlines[QUIC_TIMER_PACING], rate = quic_pacer_rate(&control->cc, &control->rtt);
    base_time most = c->world->now + 64 * (uint64_t)path->mtu * BASE_SEC / rate + BASE_MS;
    if (pacing <= c->world->now || pacing > most)
        check_fail(c, "idle-with-bytes", "node %u waits %.3f s though it could send", node->index,
                   (double)(next - c->world->now) / 1e9);
}

static void idle_acks(struct checker *c, struct check_conn *conn, base_time next) {
    for (unsigned side = 0; side < 2; side++) {
        struct check_space *s = &conn->sides[side].spaces[QUIC_APPLICATION];
        struct check_side *owes = &conn->sides[!side];
        if (!s->owed_since || conn->muddled)
            continue;
        if (owes->node->mem.refusals) { /* what memory refused was not received */
            s->owed_since = 0;
            continue;
        }
        struct quic_conn *object = check_object(owes);
        if (!object || object->state != QUIC_CONN_ESTABLISHED ||
            object->acks[QUIC_APPLICATION].deadline == BASE_NEVER ||
            quic_path_allowance(quic_path_active(object)) < 100) {
            s->owed_since = 0; /* not taken in, or it may not speak */
            continue;
        }
        base_time most = owes->params.max_ack_delay * BASE_MS + 2 * BASE_MS;
        if (next > s->owed_since + most)
            check_fail(c, "ack-promptness", "an ACK owed since %.6f will not go before %.6f",
                       (double)s->owed_since / 1e9, (double)next / 1e9);
    }
}

void checker_on_idle(struct checker *c, base_time next) {
    if (c->world->failure)
        return;
    c->idle_next = next;
    if (c->doctor_idle)
        c->doctor_idle(c);
    for (unsigned i = 0; i < c->world->node_count; i++) {
        struct sim_node *node = &c->world->nodes[i];
        if (!node->alive)
            continue;
        if (node->mem.limit && node->mem.used > node->mem.limit)
            check_fail(c, "memory-budget", "node %u holds %llu bytes", i, (unsigned long long)node->mem.used);
        struct base_list *all = &node->endpoint.conns;
        for (struct base_node *n = base_list_first(all); n; n = base_list_next(all, n))
            idle_conn(c, node, BASE_CONTAINER(n, struct quic_conn, all), next);
    }
    for (uint32_t i = 0; i < c->conn_count; i++)
        idle_acks(c, c->conns[i], next);
}
