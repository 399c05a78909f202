/* checker_frames.c - the rules about frames: where they may stand (RFC 9000 table 3), and whether what they say can be.
 *
 * Streams: the same byte at the same offset for ever, one final size, within the credit that has arrived.
 * Acknowledgements: only of what arrived, not from the future, not under an older key than what they acknowledge.
 * Connection IDs: within limits. Paths: answers only to questions.
 */
#include "checker.h"

#include <stdlib.h>

struct view { /* the frame being judged */
    struct checker *c;
    struct seen_datagram *d;
    struct seen_packet *p;
    struct check_conn *conn;
    struct check_side *self, *peer;
};

enum { I = 1u << CRYPTO_INITIAL, E = 1u << CRYPTO_EARLY, H = 1u << CRYPTO_HANDSHAKE, A = 1u << CRYPTO_APPLICATION };
enum { C = 1, S = 2 };

static const struct {
    uint8_t levels, roles, eliciting;
} places[] = {
    [QUIC_FRAME_PADDING] = {I | E | H | A, C | S, 0},
    [QUIC_FRAME_PING] = {I | E | H | A, C | S, 1},
    [QUIC_FRAME_ACK] = {I | H | A, C | S, 0},
    [QUIC_FRAME_ACK_ECN] = {I | H | A, C | S, 0},
    [QUIC_FRAME_RESET_STREAM] = {E | A, C | S, 1},
    [QUIC_FRAME_STOP_SENDING] = {E | A, C | S, 1},
    [QUIC_FRAME_CRYPTO] = {I | H | A, C | S, 1},
    [QUIC_FRAME_NEW_TOKEN] = {A, S, 1},
    [QUIC_FRAME_STREAM] = {E | A, C | S, 1},
    [QUIC_FRAME_MAX_DATA] = {E | A, C | S, 1},
    [QUIC_FRAME_MAX_STREAM_DATA] = {E | A, C | S, 1},
    [QUIC_FRAME_MAX_STREAMS_BIDI] = {E | A, C | S, 1},
    [QUIC_FRAME_MAX_STREAMS_UNI] = {E | A, C | S, 1},
    [QUIC_FRAME_DATA_BLOCKED] = {E | A, C | S, 1},
    [QUIC_FRAME_STREAM_DATA_BLOCKED] = {E | A, C | S, 1},
    [QUIC_FRAME_STREAMS_BLOCKED_BIDI] = {E | A, C | S, 1},
    [QUIC_FRAME_STREAMS_BLOCKED_UNI] = {E | A, C | S, 1},
    [QUIC_FRAME_NEW_CONNECTION_ID] = {E | A, C | S, 1},
    [QUIC_FRAME_RETIRE_CONNECTION_ID] = {A, C | S, 1},
    [QUIC_FRAME_PATH_CHALLENGE] = {E | A, C | S, 1},
    [QUIC_FRAME_PATH_RESPONSE] = {A, C | S, 1},
    [QUIC_FRAME_CONNECTION_CLOSE] = {I | E | H | A, C | S, 0},
    [QUIC_FRAME_CONNECTION_CLOSE_APP] = {E | A, C | S, 0},
    [QUIC_FRAME_HANDSHAKE_DONE] = {A, S, 1},
    [QUIC_FRAME_RESET_STREAM_AT] = {E | A, C | S, 1},
    [QUIC_FRAME_IMMEDIATE_ACK] = {A, C | S, 1},
    [QUIC_FRAME_ACK_FREQUENCY] = {A, C | S, 1},
    [QUIC_FRAME_DATAGRAM] = {E | A, C | S, 1},
    [QUIC_FRAME_DATAGRAM_LEN] = {E | A, C | S, 1},
};

static unsigned long long ull(uint64_t v) { return (unsigned long long)v; }

/* ---- ACK ---- */

static void frame_ack(struct view *v, const struct quic_frame *f) {
    struct check_space *acked = &v->peer->spaces[v->p->space];
    struct quic_frame_ack ack = f->u.ack;
    uint64_t high = ack.largest, low = high - ack.first_range;
    do {
        if (!base_ranges_covers(&acked->delivered, low, high + 1)) {
            check_fail(v->c, "ack-of-received",
                       "side %u acknowledges %llu..%llu of space %u, not all of which has arrived", v->p->side,
                       ull(low), ull(high), v->p->space);
            return;
        }
    } while (quic_frame_ack_next(&ack, &low, &high));
    const struct check_number *largest = &acked->list[ack.largest];
    unsigned exponent = v->p->space == QUIC_APPLICATION ? (unsigned)v->self->params.ack_delay_exponent : 0;
    uint64_t delay = (ack.delay << exponent) * BASE_US, real = v->c->world->now - largest->delivered_at;
    if (v->p->space == QUIC_APPLICATION && v->self->params_known && delay > real + BASE_US)
        check_fail(v->c, "ack-delay", "a delay of %llu us is told, it was %llu us", ull(delay / BASE_US),
                   ull(real / BASE_US));
    if (v->p->level == CRYPTO_APPLICATION && largest->generation > v->p->generation)
        check_fail(v->c, "ack-key", "a packet of generation %u is acknowledged under generation %u",
                   largest->generation, v->p->generation);
    if (v->p->space == QUIC_APPLICATION)
        acked->owed_since = 0;
    check_effect_add(v->c, EFFECT_ACK, v->p->level, v->p->space, f->u.ack.largest);
}

/* ---- bytes ---- */

static bool bytes_same(struct check_bytes *b, uint64_t offset, const uint8_t *data, uint64_t len) {
    if (offset > b->len)
        return false;
    uint64_t old = b->len - offset < len ? b->len - offset : len;
    if (old && memcmp(b->data + offset, data, (size_t)old) != 0)
        return false;
    if (offset + len <= b->len)
        return true;
    if (offset + len > b->capacity) {
        b->capacity = 2 * (offset + len);
        b->data = realloc(b->data, (size_t)b->capacity);
    }
    memcpy(b->data + offset, data, (size_t)len);
    b->len = offset + len;
    return true;
}

static void frame_crypto(struct view *v, const struct quic_frame *f) {
    struct check_bytes *b = &v->self->crypto[v->p->space];
    if (!bytes_same(b, f->u.crypto.offset, f->u.crypto.data, f->u.crypto.len))
        check_fail(v->c, "crypto-bytes", "side %u: other bytes at CRYPTO offset %llu", v->p->side,
                   ull(f->u.crypto.offset));
}

/* RFC 9000 2.1, 4.6: direction, and who may open it. */
static bool stream_allowed(struct view *v, uint64_t id, bool sends) {
    bool own = (id & 1) == v->p->side;
    if ((id & 2) && own != sends) {
        check_fail(v->c, "stream-direction", "side %u, stream %llu: that half does not exist", v->p->side, ull(id));
        return false;
    }
    if (own && v->p->level == CRYPTO_APPLICATION && id >> 2 >= v->self->max_streams[id >> 1 & 1]) {
        check_fail(v->c, "stream-limit", "side %u uses stream %llu, it may open %llu", v->p->side, ull(id),
                   ull(v->self->max_streams[id >> 1 & 1]));
        return false;
    }
    return true;
}

/* The stream reaches to `end`: final size and both limits. */
static void stream_reaches(struct view *v, struct check_stream *s, uint64_t id, uint64_t end, bool final) {
    if (end > s->final_size || (final && (end < s->highest || (s->final_size != UINT64_MAX && s->final_size != end))))
        check_fail(v->c, "final-size", "stream %llu: %llu, final size %llu, highest %llu", ull(id), ull(end),
                   ull(s->final_size), ull(s->highest));
    if (final)
        s->final_size = end;
    if (end <= s->highest)
        return;
    v->self->stream_sum += end - s->highest;
    s->highest = end;
    if (v->p->level == CRYPTO_EARLY)
        return; /* under remembered limits */
    if (end > s->limit)
        check_fail(v->c, "stream-credit", "stream %llu: %llu bytes, allowed are %llu", ull(id), ull(end),
                   ull(s->limit));
    if (v->self->stream_sum > v->self->max_data)
        check_fail(v->c, "connection-credit", "%llu bytes on all streams, allowed are %llu", ull(v->self->stream_sum),
                   ull(v->self->max_data));
}

static void frame_stream(struct view *v, const struct quic_frame *f) {
    uint64_t id = f->u.stream.id, end = f->u.stream.offset + f->u.stream.len;
    if (!stream_allowed(v, id, true))
        return;
    struct check_stream *s = check_stream_of(v->c, v->conn, v->p->side, id);
    if (s->reset)
        check_fail(v->c, "after-reset", "STREAM after RESET_STREAM on stream %llu", ull(id));
    if (s->reset_at && end > s->reliable)
        check_fail(v->c, "after-reset", "STREAM up to %llu after RESET_STREAM_AT %llu on stream %llu", ull(end),
                   ull(s->reliable), ull(id));
    stream_reaches(v, s, id, end, f->u.stream.fin);
    if (f->u.stream.len && !bytes_same(&s->bytes, f->u.stream.offset, f->u.stream.data, f->u.stream.len))
        check_fail(v->c, "stream-bytes", "stream %llu: other bytes at offset %llu", ull(id), ull(f->u.stream.offset));
}

static void frame_reset(struct view *v, const struct quic_frame *f) {
    uint64_t id = f->u.reset_stream.id;
    if (!stream_allowed(v, id, true))
        return;
    struct check_stream *s = check_stream_of(v->c, v->conn, v->p->side, id);
    stream_reaches(v, s, id, f->u.reset_stream.final_size, true);
    if ((s->reset || s->reset_at) && s->reset_code != f->u.reset_stream.code)
        check_fail(v->c, "reset-code", "stream %llu: code %llu, before it was %llu", ull(id),
                   ull(f->u.reset_stream.code), ull(s->reset_code));
    s->reset = true;
    s->reset_code = f->u.reset_stream.code;
}

/* All that is reliable has been sent before, the code stays, and promises only shrink. */
static void frame_reset_at(struct view *v, const struct quic_frame *f) {
    uint64_t id = f->u.reset_stream.id, reliable = f->u.reset_stream.reliable_size;
    if (!stream_allowed(v, id, true))
        return;
    struct check_stream *s = check_stream_of(v->c, v->conn, v->p->side, id);
    if (reliable > s->highest || s->reset ||
        (s->reset_at && (reliable > s->reliable || s->reset_code != f->u.reset_stream.code)))
        check_fail(v->c, "reset-at", "stream %llu: RESET_STREAM_AT %llu of %llu, code %llu", ull(id), ull(reliable),
                   ull(s->highest), ull(f->u.reset_stream.code));
    if (v->peer->params_known && !v->peer->params.reset_stream_at && v->p->level != CRYPTO_EARLY)
        check_fail(v->c, "reset-at", "stream %llu: the peer does not know RESET_STREAM_AT", ull(id));
    stream_reaches(v, s, id, f->u.reset_stream.final_size, true);
    s->reset_at = true;
    s->reliable = reliable;
    s->reset_code = f->u.reset_stream.code;
}

/* STOP_SENDING, MAX_STREAM_DATA and STREAM_DATA_BLOCKED */
static void frame_stop(struct view *v, const struct quic_frame *f) { stream_allowed(v, f->u.stop_sending.id, false); }
static void frame_stream_blocked(struct view *v, const struct quic_frame *f) {
    if (!stream_allowed(v, f->u.blocked.id, true) || !v->peer->params_known)
        return;
    const struct check_stream *s = check_stream_of(v->c, v->conn, v->p->side, f->u.blocked.id);
    if (f->u.blocked.limit > s->limit)
        check_fail(v->c, "blocked", "blocked at %llu, the limit is %llu", ull(f->u.blocked.limit), ull(s->limit));
}
static void frame_max_stream_data(struct view *v, const struct quic_frame *f) {
    if (stream_allowed(v, f->u.max.id, false))
        check_effect_add(v->c, EFFECT_MAX_STREAM_DATA, v->p->level, f->u.max.id, f->u.max.max);
}
static void frame_max_data(struct view *v, const struct quic_frame *f) {
    check_effect_add(v->c, EFFECT_MAX_DATA, v->p->level, f->u.max.max, 0);
}
static void frame_max_streams(struct view *v, const struct quic_frame *f) {
    check_effect_add(v->c, EFFECT_MAX_STREAMS, v->p->level, f->type == QUIC_FRAME_MAX_STREAMS_UNI, f->u.max.max);
}
static void frame_blocked(struct view *v, const struct quic_frame *f) {
    if (v->peer->params_known && f->u.blocked.limit > v->self->max_data)
        check_fail(v->c, "blocked", "blocked at %llu, the limit is %llu", ull(f->u.blocked.limit),
                   ull(v->self->max_data));
}
static void frame_streams_blocked(struct view *v, const struct quic_frame *f) {
    if (v->peer->params_known && f->u.blocked.limit > v->self->max_streams[f->type == QUIC_FRAME_STREAMS_BLOCKED_UNI])
        check_fail(v->c, "blocked", "blocked at %llu streams", ull(f->u.blocked.limit));
}

/* ---- connection IDs ---- */

static void frame_new_cid(struct view *v, const struct quic_frame *f) {
    struct check_side *s = v->self;
    const struct quic_cid *cid = &f->u.new_cid.cid;
    if (f->u.new_cid.retire_prior_to < s->retire_prior_to)
        s->retire_prior_to = s->retire_prior_to; /* 19.15: an old frame said again; it has no effect */
    else
        s->retire_prior_to = f->u.new_cid.retire_prior_to;
    check_effect_add(v->c, EFFECT_NEW_CID, v->p->level, f->u.new_cid.sequence, 0);
    unsigned active = 0;
    for (unsigned i = 0; i < s->cid_count; i++) {
        bool same = s->cids[i].sequence == f->u.new_cid.sequence;
        if (same != quic_cid_equal(&s->cids[i].cid, cid)) {
            check_fail(v->c, "new-id", "sequence %llu says something else than before", ull(f->u.new_cid.sequence));
            return;
        }
        if (same)
            return;
        active += !s->cids[i].retire_delivered && s->cids[i].sequence >= s->retire_prior_to;
    }
    if (v->peer->params_known && active + 1 > v->peer->params.active_connection_id_limit)
        check_fail(v->c, "id-limit", "side %u issues its %uth connection ID, the peer takes %llu", v->p->side,
                   active + 1, ull(v->peer->params.active_connection_id_limit));
    if (s->cid_count == 64) { /* forget the oldest retired one */
        memmove(s->cids + 1, s->cids + 2, 62 * sizeof *s->cids);
        s->cid_count--;
    }
    s->cids[s->cid_count++] = (struct check_cid){.cid = *cid, .sequence = f->u.new_cid.sequence};
    check_id_add(v->c, cid, v->conn, v->p->side);
}

static void frame_retire_cid(struct view *v, const struct quic_frame *f) {
    bool found = false;
    for (unsigned i = 0; i < v->peer->cid_count; i++) {
        struct check_cid *cid = &v->peer->cids[i];
        if (cid->sequence != f->u.retire_cid.sequence)
            continue;
        found = cid->delivered;
        if (quic_cid_equal(&cid->cid, &v->p->dcid))
            check_fail(v->c, "retire-id", "side %u retires the ID the packet goes to", v->p->side);
        cid->retired = true;
    }
    if (!found)
        check_fail(v->c, "retire-id", "side %u retires ID %llu, which it was not given", v->p->side,
                   ull(f->u.retire_cid.sequence));
    check_effect_add(v->c, EFFECT_RETIRE_CID, v->p->level, f->u.retire_cid.sequence, 0);
}

/* ---- paths ---- */

static void frame_challenge(struct view *v, const struct quic_frame *f) {
    uint64_t data = base_load_u64(f->u.path.data);
    check_effect_add(v->c, EFFECT_CHALLENGE, v->p->level, data, 0);
    if (v->p->side != CHECK_SERVER)
        return;
    struct check_addr *addr = check_addr_of(v->conn, &v->d->raw->dst);
    for (unsigned i = 0; i < addr->challenge_count; i++)
        if (addr->challenges[i] == data)
            check_fail(v->c, "challenge", "the same challenge twice"); /* 8.2.1: unpredictable, each */
    addr->challenges[addr->challenge_count < 32 ? addr->challenge_count++ : 31] = data;
    /* what came before a path could be made, for want of an ID, was dropped and does not count */
    struct quic_conn *object = check_object(v->self);
    const struct quic_path *path = object ? quic_path_find(object, &v->d->raw->src, &v->d->raw->dst) : NULL;
    uint64_t received = path && path->control.stats.bytes_received < addr->received ? path->control.stats.bytes_received
                                                                                    : addr->received;
    if (v->d->len < QUIC_MIN_INITIAL && !addr->validated && 3 * received >= addr->sent + QUIC_MIN_INITIAL)
        check_fail(v->c, "path-size", "PATH_CHALLENGE in %zu bytes; %llu received, %llu sent, validated %d", v->d->len,
                   ull(addr->received), ull(addr->sent), addr->validated);
}

static void frame_response(struct view *v, const struct quic_frame *f) {
    uint64_t data = base_load_u64(f->u.path.data);
    check_effect_add(v->c, EFFECT_RESPONSE, v->p->level, data, 0);
    struct check_side *s = v->self;
    for (unsigned i = 0; i < s->challenge_count; i++)
        if (s->challenges[i] == data) {
            s->challenges[i] = s->challenges[--s->challenge_count];
            return;
        }
    check_fail(v->c, "response", "a PATH_RESPONSE that nobody asked for");
}

/* ---- the rest ---- */

static void frame_close(struct view *v, const struct quic_frame *f) {
    check_effect_add(v->c, EFFECT_CLOSE, v->p->level, f->u.close.code, 0);
    if (f->type == QUIC_FRAME_CONNECTION_CLOSE && v->p->level != CRYPTO_APPLICATION &&
        f->u.close.code == QUIC_APPLICATION_ERROR && f->u.close.reason_len)
        check_fail(v->c, "close-hidden", "an application's reason is shown before the handshake is over"); /* 10.2.3 */
}

static void frame_done(struct view *v, const struct quic_frame *f) {
    (void)f;
    v->self->confirmed = true;
    check_effect_add(v->c, EFFECT_DONE, v->p->level, v->p->number, 0);
}

static void frame_token(struct view *v, const struct quic_frame *f) {
    if (!f->u.new_token.len)
        check_fail(v->c, "new-token", "an empty token");
}

static void frame_datagram(struct view *v, const struct quic_frame *f) {
    if (v->p->level == CRYPTO_EARLY)
        return; /* under the limit of another day; a server with a lower one does not read it */
    if (v->peer->params_known && f->u.datagram.size > v->peer->params.max_datagram_frame_size)
        check_fail(v->c, "datagram-size", "a DATAGRAM frame of %llu bytes, the peer takes %llu",
                   ull(f->u.datagram.size), ull(v->peer->params.max_datagram_frame_size));
}

static void frame_ack_frequency(struct view *v, const struct quic_frame *f) {
    if (v->peer->params_known && (v->peer->params.min_ack_delay == QUIC_NO_MIN_ACK_DELAY ||
                                  f->u.ack_frequency.max_delay < v->peer->params.min_ack_delay))
        check_fail(v->c, "ack-frequency", "a delay of %llu us is asked for", ull(f->u.ack_frequency.max_delay));
}

static void frame_none(struct view *v, const struct quic_frame *f) {
    (void)v;
    (void)f;
}

static void (*const judges[])(struct view *, const struct quic_frame *) = {
    [QUIC_FRAME_PADDING] = frame_none,
    [QUIC_FRAME_PING] = frame_none,
    [QUIC_FRAME_ACK] = frame_ack,
    [QUIC_FRAME_ACK_ECN] = frame_ack,
    [QUIC_FRAME_RESET_STREAM] = frame_reset,
    [QUIC_FRAME_STOP_SENDING] = frame_stop,
    [QUIC_FRAME_CRYPTO] = frame_crypto,
    [QUIC_FRAME_NEW_TOKEN] = frame_token,
    [QUIC_FRAME_STREAM] = frame_stream,
    [QUIC_FRAME_MAX_DATA] = frame_max_data,
    [QUIC_FRAME_MAX_STREAM_DATA] = frame_max_stream_data,
    [QUIC_FRAME_MAX_STREAMS_BIDI] = frame_max_streams,
    [QUIC_FRAME_MAX_STREAMS_UNI] = frame_max_streams,
    [QUIC_FRAME_DATA_BLOCKED] = frame_blocked,
    [QUIC_FRAME_STREAM_DATA_BLOCKED] = frame_stream_blocked,
    [QUIC_FRAME_STREAMS_BLOCKED_BIDI] = frame_streams_blocked,
    [QUIC_FRAME_STREAMS_BLOCKED_UNI] = frame_streams_blocked,
    [QUIC_FRAME_NEW_CONNECTION_ID] = frame_new_cid,
    [QUIC_FRAME_RETIRE_CONNECTION_ID] = frame_retire_cid,
    [QUIC_FRAME_PATH_CHALLENGE] = frame_challenge,
    [QUIC_FRAME_PATH_RESPONSE] = frame_response,
    [QUIC_FRAME_CONNECTION_CLOSE] = frame_close,
    [QUIC_FRAME_CONNECTION_CLOSE_APP] = frame_close,
    [QUIC_FRAME_HANDSHAKE_DONE] = frame_done,
    [QUIC_FRAME_RESET_STREAM_AT] = frame_reset_at,
    [QUIC_FRAME_IMMEDIATE_ACK] = frame_none,
    [QUIC_FRAME_ACK_FREQUENCY] = frame_ack_frequency,
    [QUIC_FRAME_DATAGRAM] = frame_datagram,
    [QUIC_FRAME_DATAGRAM_LEN] = frame_datagram,
};

/* RFC 9001 4.6.2: what was sent as 0-RTT and rejected was never sent. The bytes must still be the same. */
static void forget_rejected(struct view *v) {
    struct check_side *self = v->self;
    if (v->p->side != CHECK_CLIENT || v->p->level != CRYPTO_APPLICATION || self->early_judged)
        return;
    self->early_judged = true;
    const struct quic_conn *object = check_object(self);
    if (!object || quic_conn_early(object) != CRYPTO_EARLY_REJECTED)
        return;
    self->stream_sum = 0;
    for (unsigned kind = 0; kind < 4; kind++)
        for (uint64_t i = 0; i < self->stream_capacity[kind]; i++) {
            struct check_stream *s = &self->streams[kind][i];
            s->highest = 0;
            s->final_size = UINT64_MAX;
            s->fin = s->reset = s->reset_at = false;
        }
}

void check_frames(struct checker *c, struct seen_datagram *d, struct seen_packet *p) {
    struct view v = {c, d, p, p->conn, &p->conn->sides[p->side], &p->conn->sides[!p->side]};
    forget_rejected(&v);
    struct base_reader in = base_reader_of(p->payload, p->payload_len);
    bool close = false, other = false;
    while (in.pos < in.end && !c->world->failure) {
        struct quic_frame frame;
        if (quic_frame_parse(&in, &frame)) {
            check_fail(c, "frame-syntax", "side %u: a malformed frame of type %llu", p->side, ull(frame.type));
            return;
        }
        uint64_t type =
            frame.type >= QUIC_FRAME_STREAM && frame.type < QUIC_FRAME_STREAM + 8 ? QUIC_FRAME_STREAM : frame.type;
        if (type >= sizeof places / sizeof *places || !(places[type].levels & (1u << p->level)) ||
            !(places[type].roles & (p->side == CHECK_CLIENT ? C : S))) {
            check_fail(c, "frame-place", "%s from side %u at level %u", quic_frame_name(type), p->side, p->level);
            return;
        }
        bool is_close = type == QUIC_FRAME_CONNECTION_CLOSE || type == QUIC_FRAME_CONNECTION_CLOSE_APP;
        close |= is_close;
        other |= !is_close && type != QUIC_FRAME_PADDING;
        p->eliciting |= places[type].eliciting;
        if (!p->stateless)
            judges[type](&v, &frame);
    }
    p->only_close = close && !other;
    if (!p->stateless && p->number < v.self->spaces[p->space].next)
        v.self->spaces[p->space].list[p->number].eliciting = p->eliciting;
}
