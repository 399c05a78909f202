/* checker_rules.c - the rules about datagrams and packets: sizes, numbers, connection IDs, keys, the amplification
 * limit, the window, the end.
 *
 * Each rule has a name, under which the self-test breaks it. Judging and remembering go together: what was judged
 * becomes what the next is judged by.
 */
#include "checker.h"

#include <stdlib.h>

/* ---- packets ---- */

static struct check_number *number_at(struct check_space *s, uint64_t number) {
    if (number >= s->capacity) {
        uint64_t capacity = 2 * number + 64;
        s->list = realloc(s->list, capacity * sizeof *s->list);
        memset(s->list + s->capacity, 0, (capacity - s->capacity) * sizeof *s->list);
        s->capacity = capacity;
    }
    return &s->list[number];
}

/* RFC 9000 12.3, 17.1: never reused, always growing; enough of it is sent for whoever has got only what was
 * acknowledged. */
static void packet_number(struct checker *c, struct seen_packet *p) {
    struct check_space *s = &p->conn->sides[p->side].spaces[p->space];
    if (p->number < s->next)
        check_fail(c, "number-grows", "side %u space %u: number %llu after %llu", p->side, p->space,
                   (unsigned long long)p->number, (unsigned long long)s->next - 1);
    if (p->number > s->next + 1)
        check_fail(c, "number-dense", "side %u space %u: number %llu after %llu", p->side, p->space,
                   (unsigned long long)p->number, (unsigned long long)s->next - 1);
    uint32_t truncated = (uint32_t)(p->number & (UINT64_MAX >> (64 - 8 * p->pn_len)));
    if (quic_number_expand(s->largest_acked, truncated, p->pn_len) != p->number)
        check_fail(c, "number-length", "side %u space %u: %u bytes of number %llu, acknowledged %llu", p->side,
                   p->space, p->pn_len, (unsigned long long)p->number, (unsigned long long)s->largest_acked);
    if (c->world->failure)
        return;
    struct check_number *n = number_at(s, p->number);
    *n = (struct check_number){.sent_at = c->world->now, .generation = (uint8_t)p->generation, .sent = true};
    s->next = p->number + 1;
    check_effect_add(c, EFFECT_PACKET, p->level, p->number, 0);
}

static void packet_header(struct checker *c, const struct seen_packet *p) {
    if (!(p->first & 0x40))
        check_fail(c, "fixed-bit", "the fixed bit is 0");
    if (p->first & (p->is_long ? 0x0c : 0x18))
        check_fail(c, "reserved-bits", "reserved bits are set");
    if (!p->payload_len)
        check_fail(c, "empty-packet", "a packet without frames");
}

/* RFC 9000 5.1: only IDs the receiver has issued, that have arrived and were not retired; 7.2: in the handshake, the
 * first ones. */
static void packet_ids(struct checker *c, const struct seen_packet *p) {
    struct check_conn *conn = p->conn;
    struct check_side *owner = &conn->sides[!p->side];
    const struct check_cid *cid = check_cid_find(owner, &p->dcid);
    if (cid) {
        if (cid->retired)
            check_fail(c, "destination-id", "side %u sends to ID %llu, which it has retired", p->side,
                       (unsigned long long)cid->sequence);
        if (!cid->delivered)
            check_fail(c, "destination-id", "side %u sends to ID %llu, which it cannot know", p->side,
                       (unsigned long long)cid->sequence);
        if (p->is_long && cid->sequence)
            check_fail(c, "destination-id", "long header with ID %llu", (unsigned long long)cid->sequence);
    } else if (!p->is_long || p->side == CHECK_SERVER || p->level == CRYPTO_HANDSHAKE) {
        check_fail(c, "destination-id", "side %u sends to an ID that was never issued", p->side);
    }
    const struct check_side *self = &conn->sides[p->side];
    if (p->is_long && !p->stateless && self->cid_count && !quic_cid_equal(&self->cids[0].cid, &p->scid))
        check_fail(c, "source-id", "side %u has changed its Source Connection ID", p->side);
}

/* RFC 9000 17.2.2, 8.1: a server's Initial has no token; a client's has the Retry's once it follows one, and always the
 * same. */
static void packet_token(struct checker *c, const struct seen_packet *p) {
    struct check_conn *conn = p->conn;
    if (p->level != CRYPTO_INITIAL)
        return;
    if (p->side == CHECK_SERVER) {
        if (p->token_len)
            check_fail(c, "token", "a server's Initial with a token");
        return;
    }
    if (p->token_len)
        check_effect_add(c, EFFECT_TOKEN, CRYPTO_INITIAL, 0, 0);
    for (unsigned i = 1; i < conn->initial_count; i++)
        if (quic_cid_equal(&conn->initial_ids[i], &conn->key_id) &&
            (p->token_len != conn->retry_token_lens[i] || memcmp(p->token, conn->retry_tokens[i], p->token_len) != 0))
            check_fail(c, "token", "an Initial after Retry without the token it brought");
    if (conn->initial_count > 1 && !quic_cid_equal(&conn->initial_ids[0], &conn->key_id))
        return;
    if (conn->token_known &&
        (p->token_len != conn->token_len || (p->token_len && memcmp(p->token, conn->token, p->token_len) != 0)))
        check_fail(c, "token", "an Initial with another token than the first");
    if (conn->token_known)
        return;
    conn->token_known = true;
    conn->token_len = p->token_len;
    conn->token = malloc(p->token_len + 1);
    memcpy(conn->token, p->token ? p->token : (const uint8_t *)"", p->token_len);
}

/* RFC 9001 4.9: levels that are over. 5.7: levels that have not begun are known by their keys missing. */
static void packet_level(struct checker *c, const struct seen_packet *p) {
    struct check_side *self = &p->conn->sides[p->side];
    bool client = p->side == CHECK_CLIENT;
    if (p->level == CRYPTO_EARLY && !client)
        check_fail(c, "level", "0-RTT from a server");
    if (p->level == CRYPTO_HANDSHAKE && self->confirmed &&
        !self->node->mem.refusals) /* what memory refuses is not heard */
        check_fail(c, "level", "side %u sends a Handshake packet after the handshake was confirmed", p->side);
    if (p->level == CRYPTO_EARLY && self->spaces[QUIC_APPLICATION].next && self->keys[CRYPTO_APPLICATION] &&
        self->generation_first)
        check_fail(c, "level", "0-RTT after 1-RTT");
}

/* RFC 9001 6.1: not before the handshake is confirmed, and not before a packet of the present phase was
 * acknowledged. */
static void packet_phase(struct checker *c, struct seen_packet *p) {
    struct check_side *self = &p->conn->sides[p->side], *peer = &p->conn->sides[!p->side];
    if (p->level != CRYPTO_APPLICATION)
        return;
    if (p->generation < self->generation)
        check_fail(c, "key-phase", "side %u goes back to an earlier key", p->side);
    if (p->generation == self->generation)
        return;
    if (p->generation > self->generation + 1)
        check_fail(c, "key-phase", "side %u skips a generation", p->side);
    uint64_t acked = self->spaces[QUIC_APPLICATION].largest_acked;
    bool follows = peer->generation >= p->generation;
    if (!follows && !self->heard_done && p->side == CHECK_CLIENT) /* the server's may overtake its HANDSHAKE_DONE */
        check_fail(c, "key-phase", "key update before the handshake is confirmed");
    if (!follows && self->generation && (acked == QUIC_NO_NUMBER || acked < self->generation_first))
        check_fail(c, "key-phase", "side %u updates again before generation %u was acknowledged", p->side,
                   self->generation);
    self->generation = p->generation;
    self->generation_first = p->number;
}

/* RFC 9000 10.2: closing says nothing but CONNECTION_CLOSE, and that not more often than it is asked; draining says
 * nothing. */
static void packet_end(struct checker *c, const struct seen_packet *p) {
    struct check_side *self = &p->conn->sides[p->side];
    if (p->stateless)
        return;
    if (self->closing && !p->only_close)
        check_fail(c, "closing", "side %u sends something else after CONNECTION_CLOSE", p->side);
    if (!self->closing && self->heard_close)
        check_fail(c, "draining", "side %u answers a CONNECTION_CLOSE", p->side);
    /* RFC 9001 4.9.1; a server that fails over a Handshake packet still has its Initial keys */
    bool over = p->side == CHECK_CLIENT ? self->sent_handshake : self->got_handshake && !p->only_close;
    if (p->level == CRYPTO_INITIAL && over)
        check_fail(c, "level", "side %u sends an Initial after Handshake packets", p->side);
    const struct quic_conn *object = check_object(self);
    if (object && object->state == QUIC_CONN_DRAINING && !self->closing)
        check_fail(c, "draining", "side %u sends while draining", p->side);
}

/* A client's first 1-RTT packet: early data that were rejected never were, and what streams said then counts no more
 * (RFC 9001 4.6.2). */
static void settle_early(struct seen_packet *p) {
    struct check_side *self = &p->conn->sides[p->side];
    if (p->side != CHECK_CLIENT || p->level != CRYPTO_APPLICATION || p->conn->early_settled)
        return;
    p->conn->early_settled = true;
    if (!self->keys[CRYPTO_EARLY] || p->conn->early_accepted)
        return;
    self->stream_sum = 0;
    for (unsigned kind = 0; kind < 4; kind++)
        for (uint64_t i = 0; i < self->stream_capacity[kind]; i++) {
            struct check_stream *s = &self->streams[kind][i];
            s->highest = s->bytes.len = 0;
            s->final_size = UINT64_MAX;
            s->reset = s->reset_at = s->fin = false;
        }
}

static void check_packet(struct checker *c, struct seen_datagram *d, struct seen_packet *p) {
    struct check_side *self = &p->conn->sides[p->side];
    settle_early(p);
    packet_header(c, p);
    packet_ids(c, p);
    packet_token(c, p);
    packet_level(c, p);
    if (!p->stateless)
        packet_number(c, p);
    packet_phase(c, p);
    if (c->world->failure)
        return;
    check_frames(c, d, p);
    packet_end(c, p);
    if (p->level == CRYPTO_HANDSHAKE)
        self->sent_handshake = true;
    c->packets++;
}

/* ---- datagrams ---- */

/* RFC 9000 14.1: what carries an Initial has 1200 bytes; a server's only when it asks for an acknowledgement. */
static void datagram_size(struct checker *c, const struct seen_datagram *d) {
    const struct check_side *peer = &d->conn->sides[!d->side];
    bool initial = false;
    for (unsigned i = 0; i < d->count; i++)
        initial |= d->packets[i].level == CRYPTO_INITIAL && !d->packets[i].stateless &&
                   (d->side == CHECK_CLIENT || d->packets[i].eliciting);
    if (initial && d->len < QUIC_MIN_INITIAL)
        check_fail(c, "initial-size", "side %u sends an Initial in %zu bytes", d->side, d->len);
    if (peer->params_known && d->len > peer->params.max_udp_payload_size)
        check_fail(c, "datagram-size", "%zu bytes, the peer takes %llu", d->len,
                   (unsigned long long)peer->params.max_udp_payload_size);
}

/* RFC 9000 12.2: one connection ID, 1-RTT last, a level once (ours does). */
static void datagram_coalesced(struct checker *c, const struct seen_datagram *d) {
    for (unsigned i = 1; i < d->count; i++) {
        if (!quic_cid_equal(&d->packets[i].dcid, &d->packets[0].dcid))
            check_fail(c, "coalesced", "two Destination Connection IDs in one datagram");
        if (!d->packets[i - 1].is_long)
            check_fail(c, "coalesced", "a packet behind a short header packet");
        if (d->packets[i].level == d->packets[i - 1].level)
            check_fail(c, "coalesced", "two packets of a level in one datagram");
    }
}

/* RFC 9000 8.1, 9.3: three times what came from an address, until it is validated. */
static void datagram_amplification(struct checker *c, const struct seen_datagram *d) {
    if (d->side != CHECK_SERVER)
        return;
    struct check_addr *addr = check_addr_of(d->conn, &d->raw->dst);
    addr->sent += d->len;
    if (!addr->validated && addr->sent > 3 * addr->received)
        check_fail(c, "amplification", "%llu bytes sent for %llu received, not validated",
                   (unsigned long long)addr->sent, (unsigned long long)addr->received);
}

/* RFC 9002 7: nothing ack-eliciting beyond the window but two probes a time-out and space (6.2.4). */
static void datagram_window(struct checker *c, const struct seen_datagram *d) {
    struct check_side *self = &d->conn->sides[d->side];
    struct quic_conn *object = check_object(self);
    bool eliciting = false;
    for (unsigned i = 0; i < d->count; i++) {
        eliciting |= d->packets[i].eliciting;
        /* what the handshake waits for may pass when 1-RTT packets, which nobody can acknowledge yet, fill the
         * window */
        if (d->packets[i].level != CRYPTO_APPLICATION && !self->confirmed)
            return;
    }
    if (!object || object->state >= QUIC_CONN_CLOSING || !eliciting)
        return;
    self->probes += 6 * (int64_t)(object->stats.ptos - self->ptos);
    self->ptos = object->stats.ptos;
    const struct quic_path *active = quic_path_active(object);
    const struct quic_path_control *control = &active->control;
    bool elsewhere = !quic_addr_equal(&active->remote, &d->raw->dst) || /* the probe of another path */
                     (!self->node->seen_as.family && !quic_addr_equal(&active->socket->local, &d->raw->src));
    if (control->bytes_in_flight <= control->cc.window || elsewhere)
        return;
    if (--self->probes < 0)
        check_fail(c, "window", "side %u has %llu bytes in flight, its window is %llu", d->side,
                   (unsigned long long)control->bytes_in_flight, (unsigned long long)control->cc.window);
}

static uint64_t datagram_hash(const struct seen_datagram *d) {
    static const uint8_t key[16];
    return base_siphash(key, d->raw->data, d->raw->len);
}

static void datagram_closes(struct checker *c, const struct seen_datagram *d, bool again) {
    struct check_side *self = &d->conn->sides[d->side];
    bool close = again;
    for (unsigned i = 0; i < d->count; i++)
        close |= d->packets[i].only_close && !d->packets[i].stateless;
    if (!close)
        return;
    if (!self->closing)
        self->arrivals = 0;
    self->closing = true;
    self->close_hash = datagram_hash(d);
    if (++self->closes > 1 + self->arrivals)
        check_fail(c, "closing", "side %u repeats CONNECTION_CLOSE though nothing arrived", d->side);
}

/* What a node says without a connection is never longer than what it answers (RFC 9000 6, 10.3). */
static void datagram_unprotected(struct checker *c, const struct seen_datagram *d) {
    if ((d->raw->data[0] & 0x80) && base_load_u32(d->raw->data + 1) &&
        !quic_version_known(base_load_u32(d->raw->data + 1)))
        return;
    if (d->len >= c->biggest[d->raw->from->index] + (d->raw->data[0] & 0x80 ? 1 : 0))
        check_fail(c, "stateless-size", "%zu bytes answer %llu", d->len,
                   (unsigned long long)c->biggest[d->raw->from->index]);
}

void check_datagram(struct checker *c, struct seen_datagram *d) {
    if (d->unprotected) {
        datagram_unprotected(c, d);
        return;
    }
    if (!d->conn)
        return;
    struct check_side *self = &d->conn->sides[d->side];
    for (unsigned i = 0; i < d->count; i++) {
        struct seen_packet *p = &d->packets[i];
        p->stateless =
            p->is_long && d->side == CHECK_SERVER && self->cid_count && !quic_cid_equal(&p->scid, &self->cids[0].cid);
        p->stateless |= p->is_long && d->side == CHECK_SERVER && !self->cid_count;
    }
    if (self->closing && datagram_hash(d) == self->close_hash) {
        datagram_amplification(c, d);
        datagram_closes(c, d, true);
        return;
    }
    datagram_coalesced(c, d);
    for (unsigned i = 0; i < d->count && !c->world->failure; i++)
        check_packet(c, d, &d->packets[i]);
    if (c->world->failure)
        return;
    datagram_size(c, d);
    datagram_amplification(c, d);
    datagram_window(c, d);
    datagram_closes(c, d, false);
}
