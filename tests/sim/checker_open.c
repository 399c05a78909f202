/* checker_open.c - from a datagram to opened packets, as a wire tap with the key log would do it.
 *
 * Works on a copy. Initial keys follow from the client's Destination Connection ID; the others come from the key log;
 * 1-RTT keys move on by generations as the Key Phase bit says. Datagrams are seen in the order of sending, so a side's
 * packet numbers and generations only grow, and whatever does not open is wrong.
 */
#include "checker.h"

#include <stdio.h>
#include <stdlib.h>

static enum crypto_version version_of(const struct check_conn *conn) {
    return conn->version == QUIC_VERSION_2 ? CRYPTO_QUIC_V2 : CRYPTO_QUIC_V1;
}

/* ---- connections appear ---- */

static struct check_conn *conn_new(struct checker *c, const struct sim_datagram *d, const struct quic_header *header) {
    struct check_conn *conn = calloc(1, sizeof *conn);
    if ((c->conn_count & (c->conn_count - 1)) == 0)
        c->conns = realloc(c->conns, 2 * (c->conn_count + 1) * sizeof *c->conns);
    conn->index = c->conn_count;
    c->conns[c->conn_count++] = conn;
    conn->sides[CHECK_CLIENT].node = d->from;
    conn->sides[CHECK_SERVER].node = d->to;
    conn->version = header->version;
    for (unsigned side = 0; side < 2; side++)
        for (unsigned s = 0; s < QUIC_SPACES; s++) {
            conn->sides[side].spaces[s].largest_acked = QUIC_NO_NUMBER;
            base_ranges_init(&conn->sides[side].spaces[s].delivered);
        }
    conn->initial_ids[conn->initial_count++] = header->dcid;
    conn->sides[CHECK_CLIENT].cids[0] = (struct check_cid){.cid = header->scid, .delivered = true};
    conn->sides[CHECK_CLIENT].cid_count = 1;
    check_id_add(c, &header->dcid, conn, CHECK_SERVER);
    check_id_add(c, &header->scid, conn, CHECK_CLIENT);
    return conn;
}

static bool initial_keys(struct checker *c, struct check_conn *conn, const struct quic_cid *id) {
    struct crypto_secret secrets[2];
    if (!crypto_initial_secrets(version_of(conn), id->id, id->len, &secrets[0], &secrets[1]))
        return false;
    conn->key_id = *id;
    for (unsigned side = 0; side < 2; side++) {
        struct check_side *s = &conn->sides[side];
        crypto_key_free(&c->mem, s->keys[CRYPTO_INITIAL]);
        crypto_mask_key_free(&c->mem, s->masks[CRYPTO_INITIAL]);
        s->keys[CRYPTO_INITIAL] = crypto_key_new(&c->mem, version_of(conn), &secrets[side]);
        s->masks[CRYPTO_INITIAL] = crypto_mask_key_new(&c->mem, version_of(conn), &secrets[side]);
    }
    return true;
}

/* ---- keys ---- */

static struct crypto_secret secret_of(const struct check_conn *conn, const struct check_secret *logged) {
    struct crypto_secret secret = {.aead = conn->aead_known ? conn->aead : CRYPTO_AES_128_GCM, .len = logged->len};
    if (!conn->aead_known && logged->len == 48)
        secret.aead = CRYPTO_AES_256_GCM;
    memcpy(secret.bytes, logged->bytes, logged->len);
    return secret;
}

static bool level_keys(struct checker *c, struct check_conn *conn, unsigned side, enum crypto_level level) {
    static const char *const labels[CRYPTO_LEVELS][2] = {
        [CRYPTO_EARLY] = {"CLIENT_EARLY_TRAFFIC_SECRET", ""},
        [CRYPTO_HANDSHAKE] = {"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET"},
        [CRYPTO_APPLICATION] = {"CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"},
    };
    struct check_side *s = &conn->sides[side];
    if (s->keys[level])
        return true;
    const struct check_secret *logged = labels[level][side] ? check_secret_find(c, conn, labels[level][side]) : NULL;
    if (!logged)
        return false;
    struct crypto_secret secret = secret_of(conn, logged);
    s->keys[level] = crypto_key_new(&c->mem, version_of(conn), &secret);
    s->masks[level] = crypto_mask_key_new(&c->mem, version_of(conn), &secret);
    if (level == CRYPTO_APPLICATION) {
        s->secret = secret;
        crypto_next_secret(version_of(conn), &secret, &s->next_secret);
        s->next_key = crypto_key_new(&c->mem, version_of(conn), &s->next_secret);
    }
    return true;
}

static void next_generation(struct checker *c, struct check_conn *conn, struct check_side *s) {
    crypto_key_free(&c->mem, s->keys[CRYPTO_APPLICATION]);
    s->keys[CRYPTO_APPLICATION] = s->next_key;
    s->secret = s->next_secret;
    crypto_next_secret(version_of(conn), &s->secret, &s->next_secret);
    s->next_key = crypto_key_new(&c->mem, version_of(conn), &s->next_secret);
}

/* ---- packets ---- */

static bool open_packet(struct checker *c, struct seen_packet *p, uint8_t *packet, const struct quic_header *header) {
    struct check_conn *conn = p->conn;
    struct check_side *s = &conn->sides[p->side];
    if (!level_keys(c, conn, p->side, p->level)) {
        check_fail(c, "opens", "a packet of level %u, for which no secret was logged", p->level);
        return false;
    }
    struct crypto_open_item item = {
        .packet = packet, .len = (uint32_t)header->packet_len, .pn_offset = (uint16_t)header->pn_offset};
    if (!crypto_unmask(s->masks[p->level], &item, 1))
        return false;
    p->first = item.first;
    p->pn_len = item.pn_len;
    p->truncated = item.truncated;
    uint64_t next = s->spaces[p->space].next;
    p->number = quic_number_expand(next ? next - 1 : QUIC_NO_NUMBER, item.truncated, item.pn_len);
    p->generation = s->generation;
    bool updated = !p->is_long && ((item.first & 4) != 0) != (s->generation & 1);
    struct crypto_key *key = updated ? s->next_key : s->keys[p->level];
    int32_t len = crypto_open(key, &item, p->number);
    if (len < 0)
        return false;
    if (updated) {
        next_generation(c, conn, s);
        p->generation++;
    }
    p->payload = packet + item.pn_offset + item.pn_len;
    p->payload_len = (size_t)len;
    return true;
}

/* A server's Initial that does not open with the keys we think of may belong to another of the IDs a client has used (a
 * refusal without connection). */
static bool open_initial(struct checker *c, struct seen_packet *p, const uint8_t *packet,
                         const struct quic_header *header) {
    struct check_conn *conn = p->conn;
    static uint8_t work[QUIC_MAX_DATAGRAM];
    struct quic_cid before = conn->key_id;
    for (unsigned i = 0; i <= conn->initial_count; i++) {
        const struct quic_cid *id = i ? &conn->initial_ids[i - 1] : &before;
        if (i && (quic_cid_equal(id, &before) || !initial_keys(c, conn, id)))
            continue;
        memcpy(work, packet, header->packet_len);
        if (open_packet(c, p, work, header)) {
            memcpy((uint8_t *)packet, work, header->packet_len);
            p->payload = packet + (p->payload - work);
            return true;
        }
        if (p->side == CHECK_CLIENT)
            return false;
    }
    initial_keys(c, conn, &before);
    return false;
}

static enum crypto_level level_of(enum quic_packet_type type) {
    static const enum crypto_level levels[] = {CRYPTO_INITIAL, CRYPTO_EARLY,   CRYPTO_HANDSHAKE,
                                               CRYPTO_INITIAL, CRYPTO_INITIAL, CRYPTO_APPLICATION};
    return levels[type];
}

/* A client's Initial tells by its Destination Connection ID what the keys are made of, unless that ID is the server's
 * by now. */
static void follow_client_ids(struct checker *c, struct check_conn *conn, const struct quic_header *header) {
    for (unsigned i = 0; i < conn->initial_count; i++)
        if (quic_cid_equal(&conn->initial_ids[i], &header->dcid) && !quic_cid_equal(&conn->key_id, &header->dcid))
            initial_keys(c, conn, &header->dcid);
}

/* The server's ID is that of its first Initial that opens (what does not, under keys of an ID that the client never
 * chose, refuses a copy that was changed on its way). */
static void note_server_id(struct checker *c, struct check_conn *conn, const struct quic_header *header) {
    struct check_side *s = &conn->sides[CHECK_SERVER];
    for (unsigned i = 0; i < conn->initial_count; i++)
        if (quic_cid_equal(&conn->initial_ids[i], &header->scid))
            return; /* no connection speaks: it echoes the client's ID */
    if (!s->cid_count) {
        s->cids[s->cid_count++] = (struct check_cid){.cid = header->scid, .delivered = true};
        check_id_add(c, &header->scid, conn, CHECK_SERVER);
    }
}

/* Another ID means another connection object, and that the first is gone. */
static void follow_server_id(struct checker *c, struct check_conn *conn, const struct quic_header *header) {
    struct check_side *s = &conn->sides[CHECK_SERVER];
    for (unsigned i = 0; i < conn->initial_count; i++)
        if (quic_cid_equal(&conn->initial_ids[i], &header->scid))
            return; /* no connection speaks: it echoes the client's ID */
    if (s->cid_count && !quic_cid_equal(&s->cids[0].cid, &header->scid)) {
        struct quic_conn *object = check_object(s);
        if (object && object->state < QUIC_CONN_CLOSING)
            check_fail(c, "source-id", "the server's Source Connection ID has changed");
        conn->muddled = true;
    }
}

static void seen_retry(struct checker *c, struct seen_datagram *d, struct check_conn *conn,
                       const struct quic_header *header) {
    d->unprotected = true;
    if (c->world->tampered && !quic_header_retry_valid(header, &conn->initial_ids[0]))
        return; /* it answers an Initial that was changed on its way */
    if (!quic_header_retry_valid(header, &conn->initial_ids[0]))
        check_fail(c, "retry", "a Retry with a wrong tag");
    if (!header->token_len)
        check_fail(c, "retry", "a Retry without token");
    if (quic_cid_equal(&header->scid, &conn->initial_ids[0]))
        check_fail(c, "retry", "a Retry must choose an ID of its own");
    if (conn->initial_count == 16)
        return;
    unsigned i = conn->initial_count++;
    conn->initial_ids[i] = header->scid;
    conn->retry_tokens[i] = malloc(header->token_len);
    memcpy(conn->retry_tokens[i], header->token, header->token_len);
    conn->retry_token_lens[i] = header->token_len;
    check_id_add(c, &header->scid, conn, CHECK_SERVER);
}

static bool owns_id(struct sim_node *node, const struct quic_cid *cid) {
    struct base_list *all = &node->endpoint.conns;
    for (struct base_node *n = base_list_first(all); n; n = base_list_next(all, n))
        if (quic_local_cids_find(&BASE_CONTAINER(n, struct quic_conn, all)->local_cids, cid->id, cid->len))
            return true;
    return false;
}

/* A server answers the same client from another ID. That is another connection, born of a first Initial that came again
 * when the first connection had forgotten its beginning; or no connection at all, and an Initial that was changed on
 * its way. */
static bool foreign_answer(const struct checker *c, struct check_conn *conn, unsigned side,
                           const struct quic_header *header) {
    struct check_side *s = &conn->sides[CHECK_SERVER];
    if (side == CHECK_CLIENT || !header->is_long || !s->cid_count || quic_cid_equal(&s->cids[0].cid, &header->scid))
        return false;
    for (unsigned i = 0; i < conn->initial_count; i++)
        if (quic_cid_equal(&conn->initial_ids[i], &header->scid))
            return false;
    return c->world->tampered || (check_object(s) && owns_id(s->node, &header->scid));
}

/* One packet at `at`. False: nothing more can be read in this datagram. */
static bool open_one(struct checker *c, struct seen_datagram *d, uint8_t *at, const struct quic_header *header) {
    unsigned leads_to = 0;
    struct check_conn *conn = check_id_find(c, header->dcid.id, header->dcid.len, &leads_to);
    bool first = header->is_long && header->type == QUIC_PACKET_INITIAL && header->version_known;
    if (!conn && first && c->world->tampered && d->raw->from->socket.listener) {
        d->foreign = true; /* a server refuses an Initial whose Source Connection ID was changed */
        return false;
    }
    if (!conn && d->raw->to && first) {
        conn = conn_new(c, d->raw, header);
        leads_to = CHECK_SERVER;
        initial_keys(c, conn, &header->dcid);
    }
    if (!conn && !d->raw->to) {
        d->foreign = true; /* into the void */
        return false;
    }
    if (!conn) {
        d->unprotected = true; /* a stateless reset: it looks like a short header with an ID that nobody knows */
        if (header->is_long && header->type != QUIC_PACKET_VERSION_NEGOTIATION && !c->world->tampered)
            check_fail(c, "destination-id", "a long header packet to an ID that was never used");
        return false;
    }
    if (header->type == QUIC_PACKET_VERSION_NEGOTIATION) {
        d->unprotected = true;
        return false;
    }
    unsigned side = !leads_to;
    if (conn->sides[side].node != d->raw->from) {
        if (!header->is_long) {
            d->unprotected = true; /* a stateless reset that looks like it by chance cannot be: 8 random bytes */
        }
        check_fail(c, "destination-id", "node %u sends to an ID of its own side", d->raw->from->index);
        return false;
    }
    if (!d->conn) {
        d->conn = conn;
        d->side = side;
    }
    if (header->type == QUIC_PACKET_RETRY) {
        seen_retry(c, d, conn, header);
        return false;
    }
    struct seen_packet *p = &d->packets[d->count];
    *p = (struct seen_packet){.conn = conn,
                              .side = side,
                              .level = level_of(header->type),
                              .is_long = header->is_long,
                              .dcid = header->dcid,
                              .scid = header->scid,
                              .token = header->token,
                              .token_len = header->token_len};
    p->space = quic_space_of(p->level);
    if (foreign_answer(c, conn, side, header)) {
        d->foreign = true;
        return false;
    }
    if (header->is_long && header->version != conn->version) { /* RFC 9368: the server has chosen another */
        conn->version = header->version;
        struct quic_cid id = conn->key_id;
        initial_keys(c, conn, &id);
    }
    if (header->is_long && side == CHECK_CLIENT)
        follow_client_ids(c, conn, header);
    if (header->is_long && side == CHECK_SERVER)
        follow_server_id(c, conn, header);
    if (conn->muddled)
        return false;
    bool opened = p->level == CRYPTO_INITIAL ? open_initial(c, p, at, header) : open_packet(c, p, at, header);
    if (!opened && c->world->tampered && p->level == CRYPTO_INITIAL && side == CHECK_SERVER) {
        d->foreign = true; /* under keys that follow from an ID the client never chose */
        return false;
    }
    if (!opened) {
        check_fail(c, "opens", "%s packet of side %u does not open", quic_packet_type_name(header->type), side);
        return false;
    }
    d->count++;
    if (header->is_long && side == CHECK_SERVER)
        note_server_id(c, conn, header);
    if (p->level == CRYPTO_INITIAL || p->level == CRYPTO_HANDSHAKE) { /* the next packet may need what this one tells */
        struct base_reader in = base_reader_of(p->payload, p->payload_len);
        struct quic_frame frame;
        while (in.pos < in.end && !quic_frame_parse(&in, &frame))
            if (frame.type == QUIC_FRAME_CRYPTO && frame.u.crypto.offset == conn->sides[side].crypto[p->space].len) {
                struct check_bytes *b = &conn->sides[side].crypto[p->space];
                if (b->capacity < b->len + frame.u.crypto.len) {
                    b->capacity = 2 * (b->len + frame.u.crypto.len);
                    b->data = realloc(b->data, b->capacity);
                }
                memcpy(b->data + b->len, frame.u.crypto.data, frame.u.crypto.len);
                b->len += frame.u.crypto.len;
                check_tls(c, conn, side, p->space);
            }
    }
    return true;
}

static void trace(struct checker *c, const struct seen_datagram *d) {
    printf("%10.6f  %u -> %d  %4zu%s", (double)c->world->now / 1e9, d->raw->from->index,
           d->raw->to ? (int)d->raw->to->index : -1, d->len, d->unprotected ? " (unprotected)" : "");
    for (unsigned i = 0; i < d->count; i++) {
        const struct seen_packet *p = &d->packets[i];
        static const char *const names[] = {"I", "E", "H", "A"};
        printf("  %s%llu", names[p->level], (unsigned long long)p->number);
        if (p->generation)
            printf("'%u", p->generation);
        struct base_reader in = base_reader_of(p->payload, p->payload_len);
        struct quic_frame f;
        while (in.pos < in.end && !quic_frame_parse(&in, &f)) {
            printf(" %s", quic_frame_name(f.type));
            if ((f.type & ~1u) == QUIC_FRAME_ACK)
                printf("(%llu-%llu+%llu)", (unsigned long long)(f.u.ack.largest - f.u.ack.first_range),
                       (unsigned long long)f.u.ack.largest, (unsigned long long)f.u.ack.range_count);
            else if (f.type >= QUIC_FRAME_STREAM && f.type < QUIC_FRAME_STREAM + 8)
                printf("(%llu:%llu+%llu%s)", (unsigned long long)f.u.stream.id, (unsigned long long)f.u.stream.offset,
                       (unsigned long long)f.u.stream.len, f.u.stream.fin ? " fin" : "");
            else if (f.type == QUIC_FRAME_CRYPTO)
                printf("(%llu+%llu)", (unsigned long long)f.u.crypto.offset, (unsigned long long)f.u.crypto.len);
            else if (f.type == QUIC_FRAME_CONNECTION_CLOSE || f.type == QUIC_FRAME_CONNECTION_CLOSE_APP)
                printf("(%llu %.*s)", (unsigned long long)f.u.close.code, (int)f.u.close.reason_len, f.u.close.reason);
        }
    }
    printf("\n");
}

bool check_open(struct checker *c, struct seen_datagram *d) {
    uint8_t *at = c->copy, *end = at + d->len;
    struct quic_header header;
    while (at < end && d->count < 8) {
        if (!quic_header_parse(at, (size_t)(end - at), QUIC_LOCAL_CID_LEN, &header)) {
            if (at != c->copy)
                check_fail(c, "header", "bytes behind the last packet of a datagram");
            d->unprotected = true; /* a short stateless reset */
            break;
        }
        uint8_t *packet = at;
        if (header.is_long && !header.version_known && header.version) {
            d->unprotected = true; /* of a version nobody here speaks */
            break;
        }
        at += header.packet_len;
        if (!open_one(c, d, packet, &header))
            break;
    }
    if (c->trace)
        trace(c, d);
    return !d->foreign && !(d->conn && d->conn->muddled);
}
