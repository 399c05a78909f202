/* rx_packet.c - from datagrams to opened packets (RFC 9000 sections 5.2, 12.2, 17; RFC 9001 section 5).
 *
 * A datagram is a row of packets. Each is parsed, found its keys, unmasked, numbered and opened in place; its frames go
 * to rx_frame.c; and only when all of that went well is it noted as received. Short-header packets of a batch - nearly
 * all there are - are unmasked together.
 *
 * Nothing here believes a byte that was not authenticated: what cannot be opened is dropped and counted, whatever its
 * headers claim. The exceptions are Version Negotiation and Retry, which have their own checks, and stateless resets,
 * which are recognised by their token.
 *
 * Invariant: a packet's frames are processed at most once (12.3), and a path's byte counts are raised before anything
 * is answered.
 */
#include <assert.h>

#include "quic/walk.h"

#define RX_BATCH 32u

/* A datagram and the path it came on (NULL: from addresses we do not know). */
struct rx_source {
    const struct quic_datagram *datagram;
    struct quic_path *path;
};

static void rx_drop(struct quic_conn *conn, unsigned type, size_t len, enum quic_qlog_drop why) {
    conn->stats.packets_dropped++;
    if (conn->qlog)
        quic_qlog_dropped(conn, type, len, why);
}

/* ---- after opening ---- */

/* The path of an authentic packet: known, or a new candidate once the handshake is confirmed. NULL: not to be
 * processed. */
static struct quic_path *rx_path(struct quic_conn *conn, struct rx_source *from, base_time now) {
    const struct quic_datagram *d = from->datagram;
    if (from->path && from->path != quic_path_active(conn)) /* packets before it in the batch may have made it go */
        from->path = quic_path_find(conn, &d->local, &d->remote);
    if (!from->path && conn->handshake_confirmed && conn->role == CRYPTO_SERVER) {
        from->path = quic_path_candidate(conn, d->socket, &d->local, &d->remote, now);
        if (from->path)
            quic_path_on_datagram(from->path, d->len);
    }
    return from->path;
}

static void rx_qlog(const struct quic_rx *rx, const struct crypto_open_item *item, size_t len) {
    struct quic_qlog_packet told = {.start = item->packet,
                                    .first = item->first,
                                    .pn_len = item->pn_len,
                                    .pn_offset = item->pn_offset,
                                    .level = rx->level,
                                    .number = rx->number,
                                    .payload = len,
                                    .path = rx->path->index};
    quic_qlog_packet_received(rx->conn, &told);
}

static enum quic_packet_type rx_type(enum crypto_level level) {
    static const enum quic_packet_type types[CRYPTO_LEVELS] = {QUIC_PACKET_INITIAL, QUIC_PACKET_0RTT,
                                                               QUIC_PACKET_HANDSHAKE, QUIC_PACKET_1RTT};
    return types[level];
}

/* Frames, then the note that it was received. The packet is authentic; `len` bytes of plaintext stand behind its
 * number. */
static void rx_process(struct quic_rx *rx, struct rx_source *from, const struct crypto_open_item *item, size_t len) {
    struct quic_conn *conn = rx->conn;
    struct quic_ack *ack = &conn->acks[rx->space];
    if (quic_ack_is_duplicate(ack, rx->number)) {
        conn->stats.packets_duplicate++;
        if (conn->qlog)
            quic_qlog_dropped(conn, rx_type(rx->level), item->len, QUIC_QLOG_DROP_DUPLICATE);
        return;
    }
    rx->path = rx_path(conn, from, rx->now); /* after the check above: a replayed packet makes no path */
    if (!rx->path) {
        rx_drop(conn, rx_type(rx->level), item->len, QUIC_QLOG_DROP_REJECTED);
        return;
    }
    if (len == 0) {
        quic_conn_fail(conn, QUIC_PROTOCOL_VIOLATION, 0, "packet without frames", rx->now);
        return;
    }
    if (rx->level == CRYPTO_HANDSHAKE && conn->role == CRYPTO_SERVER)
        quic_rx_address_proven(conn); /* RFC 9000 8.1: only the real address could have learnt these keys */
    conn->stats.packets_received++;
    rx->path->control.stats.packets_received++;
    uint64_t largest = quic_ack_largest(ack);
    if (largest != QUIC_NO_NUMBER && rx->number < largest)
        conn->stats.packets_reordered++;
    quic_conn_on_received(conn, rx->now);
    if (conn->qlog)
        rx_qlog(rx, item, len);
    int result = quic_rx_frames(rx, item->packet + item->pn_offset + item->pn_len, len);
    if (conn->qlog)
        quic_qlog_poll(conn);
    if (result || conn->state >= QUIC_CONN_CLOSING)
        return;
    conn->glitches.good += !rx->glitched;
    conn->eliciting_in_batch += rx->eliciting;
    if (!rx->lone)
        quic_keyphase_unpack(conn); /* more will come of it; without memory it rests on */
    bool at_once = rx->space != QUIC_APPLICATION || !conn->handshake_complete || conn->keys_packed;
    if (!quic_ack_on_packet(ack, conn->endpoint->mem, rx->number, rx->eliciting, (enum quic_ecn)from->datagram->ecn,
                            rx->now, at_once ? NULL : &conn->ack_policy))
        return;
    bool is_largest = largest == QUIC_NO_NUMBER || rx->number > largest;
    if (rx->space == QUIC_APPLICATION && is_largest && !rx->probing && rx->path != quic_path_active(conn) &&
        rx->path->state != QUIC_PATH_NONE) /* the packet itself may have withdrawn the path's ID */
        quic_path_on_moved(conn, rx->path, rx->now);
    if (ack->deadline <= rx->now)
        quic_conn_mark_dirty(conn);
}

void quic_rx_address_proven(struct quic_conn *conn) {
    if (conn->address_validated)
        return;
    conn->address_validated = true;
    quic_gate_proven(conn);
    quic_path_on_validated(quic_path_active(conn), conn->endpoint->now);
    quic_conn_mark_dirty(conn);
}

static bool rx_is_reset(struct quic_conn *conn, const uint8_t *data, size_t len) {
    return len >= 21 && quic_remote_cids_is_reset(&conn->remote_cids, data + len - 16);
}

static void rx_on_reset(struct quic_conn *conn, base_time now) {
    struct quic_close close = {.cause = QUIC_CAUSE_RESET};
    quic_close_drain(conn, &close, now);
}

/* ---- short headers, many at a time ---- */

static void rx_open_short(struct quic_conn *conn, struct rx_source *from, const struct crypto_open_item *item,
                          base_time now) {
    uint64_t number =
        quic_number_expand(quic_ack_largest(&conn->acks[QUIC_APPLICATION]), item->truncated, item->pn_len);
    int32_t len = quic_keyphase_open(conn, item, number, now);
    if (len < 0) {
        const struct quic_datagram *d = from->datagram;
        if (conn->state < QUIC_CONN_CLOSING && rx_is_reset(conn, d->data, d->len))
            rx_on_reset(conn, now);
        rx_drop(conn, QUIC_PACKET_1RTT, item->len, QUIC_QLOG_DROP_DECRYPTION);
        return;
    }
    if (item->first & 0x18) {
        quic_conn_fail(conn, QUIC_PROTOCOL_VIOLATION, 0, "reserved bits are set", now);
        return;
    }
    struct quic_cid dcid = {.len = conn->endpoint->cid_len};
    memcpy(dcid.id, item->packet + 1, dcid.len);
    struct quic_rx rx = {.conn = conn,
                         .buf = from->datagram->buf,
                         .dcid = &dcid,
                         .level = CRYPTO_APPLICATION,
                         .space = QUIC_APPLICATION,
                         .number = number,
                         .now = now};
    rx_process(&rx, from, item, (size_t)len);
    if (rx.path)
        quic_path_on_spin(conn, rx.path, number, item->first & 0x20);
}

struct rx_batch {
    struct crypto_open_item items[RX_BATCH];
    struct rx_source sources[RX_BATCH];
    size_t count;
};

static void rx_flush(struct quic_conn *conn, struct rx_batch *batch, base_time now) {
    size_t count = batch->count;
    batch->count = 0;
    if (!count || conn->state >= QUIC_CONN_CLOSING)
        return;
    if (!crypto_unmask(conn->keys[CRYPTO_APPLICATION].rx_mask, batch->items, count))
        return;
    for (size_t i = 0; i < count && conn->state < QUIC_CONN_CLOSING; i++)
        rx_open_short(conn, &batch->sources[i], &batch->items[i], now);
    quic_keyphase_on_batch(conn);
}

/* ---- packets that came too early ---- */

/* Copied: nothing says that it is authentic, and it must not hold a buffer of 64 KiB. */
static void rx_stash(struct quic_conn *conn, const struct rx_source *from, const struct quic_header *header,
                     enum crypto_level level, base_time now) {
    struct base_mem *mem = conn->endpoint->mem;
    if (!from->path || conn->early_count >= conn->config->options.early_packets) {
        rx_drop(conn, rx_type(level), header->packet_len, QUIC_QLOG_DROP_KEY);
        return;
    }
    if (!conn->early)
        conn->early = base_alloc(mem, QUIC_EARLY_PACKETS * sizeof *conn->early);
    uint8_t *data = conn->early ? base_alloc(mem, header->packet_len) : NULL;
    if (!data)
        return;
    memcpy(data, header->packet, header->packet_len);
    if (conn->qlog)
        quic_qlog_buffered(conn, level, header->packet_len);
    conn->early[conn->early_count++] = (struct quic_early_packet){
        .data = data,
        .at = now,
        .len = (uint32_t)header->packet_len,
        .path = from->path->index,
        .ecn = from->datagram->ecn,
        .level = (uint8_t)level,
    };
}

/* Keys to read this level are there and may be used: a server reads no 1-RTT before the handshake is complete (RFC 9001
 * 5.7). */
static bool rx_can_read(const struct quic_conn *conn, enum crypto_level level) {
    if (!conn->keys[level].rx)
        return false;
    return level != CRYPTO_APPLICATION || conn->handshake_complete;
}

static bool rx_may_come(const struct quic_conn *conn, enum crypto_level level) {
    if (level == CRYPTO_EARLY)
        return conn->role == CRYPTO_SERVER && !conn->keys[CRYPTO_HANDSHAKE].tx &&
               !conn->handshake_complete; /* by then it is decided */
    return level != CRYPTO_INITIAL && !conn->handshake_confirmed;
}

/* ---- long headers, one at a time ---- */

static enum crypto_level rx_level(enum quic_packet_type type) {
    switch (type) {
    case QUIC_PACKET_INITIAL: return CRYPTO_INITIAL;
    case QUIC_PACKET_0RTT: return CRYPTO_EARLY;
    case QUIC_PACKET_HANDSHAKE: return CRYPTO_HANDSHAKE;
    default: return CRYPTO_APPLICATION;
    }
}

/* A client takes over the ID of the server's first Initial; later packets must keep it (RFC 9000 7.2). */
static bool rx_check_scid(struct quic_conn *conn, const struct quic_header *header, bool authentic) {
    struct quic_remote_cid *remote = quic_remote_cids_of_path(&conn->remote_cids, 0);
    if (conn->role == CRYPTO_CLIENT && !conn->first_flight_received) {
        if (authentic) {
            quic_remote_cids_set_initial(&conn->remote_cids, &header->scid);
            conn->first_flight_received = true;
        }
        return true;
    }
    return !remote || remote->sequence != 0 || quic_cid_equal(&remote->cid, &header->scid);
}

/* May a packet of this level come in this version? Handshake packets may show up before the Initial that tells of the
 * change. */
static bool rx_version_fits(const struct quic_conn *conn, const struct quic_header *header, enum crypto_level level) {
    if (level == CRYPTO_EARLY)
        return header->version == conn->original_version; /* RFC 9369 4.1 */
    if (header->version == conn->version)
        return true;
    if (level == CRYPTO_INITIAL && conn->original_keys.rx)
        return header->version == conn->original_version;
    return quic_version_may_change(conn, header->version);
}

/* Unmasks and opens. Length of the plaintext, or -1. */
static int32_t rx_unprotect(struct quic_conn *conn, const struct quic_keys *keys, enum quic_space space,
                            struct crypto_open_item *item, uint64_t *number) {
    if (!crypto_unmask(keys->rx_mask, item, 1))
        return -1;
    *number = quic_number_expand(quic_ack_largest(&conn->acks[space]), item->truncated, item->pn_len);
    return crypto_open(keys->rx, item, *number);
}

/* An Initial in another version than the one in use. A server that has changed the version still reads the original
 * one; a client takes the first authentic one for the news of the change. */
static int32_t rx_unprotect_other(struct quic_conn *conn, const struct quic_header *header,
                                  struct crypto_open_item *item, uint64_t *number) {
    if (conn->role == CRYPTO_SERVER)
        return rx_unprotect(conn, &conn->original_keys, QUIC_INITIAL, item, number);
    struct quic_keys keys = {0};
    int32_t len = -1;
    if (quic_handshake_candidate(conn, header->version, &keys))
        len = rx_unprotect(conn, &keys, QUIC_INITIAL, item, number);
    if (len < 0)
        quic_handshake_drop_keys(conn, &keys);
    else
        quic_handshake_take_version(conn, header->version, &keys);
    return len;
}

static void rx_open_long(struct quic_conn *conn, struct rx_source *from, const struct quic_header *header,
                         base_time now) {
    enum crypto_level level = rx_level(header->type);
    enum quic_space space = quic_space_of(level);
    struct crypto_open_item item = {.packet = from->datagram->data + (header->packet - from->datagram->data),
                                    .len = (uint32_t)header->packet_len,
                                    .pn_offset = (uint16_t)header->pn_offset};
    uint64_t number;
    int32_t len = -1;
    if (from->path && rx_check_scid(conn, header, false))
        len = level == CRYPTO_INITIAL && header->version != conn->version
                  ? rx_unprotect_other(conn, header, &item, &number)
                  : rx_unprotect(conn, &conn->keys[level], space, &item, &number);
    if (len < 0) {
        rx_drop(conn, header->type, header->packet_len, QUIC_QLOG_DROP_DECRYPTION);
        return;
    }
    rx_check_scid(conn, header, true);
    if (item.first & 0x0c) {
        quic_conn_fail(conn, QUIC_PROTOCOL_VIOLATION, 0, "reserved bits are set", now);
        return;
    }
    if (conn->role == CRYPTO_CLIENT && level == CRYPTO_INITIAL && header->token_len) {
        quic_conn_fail(conn, QUIC_PROTOCOL_VIOLATION, 0, "Initial with a token from a server", now); /* 17.2.2 */
        return;
    }
    struct quic_rx rx = {.conn = conn,
                         .buf = from->datagram->buf,
                         .dcid = &header->dcid,
                         .level = level,
                         .space = space,
                         .number = number,
                         .now = now};
    rx_process(&rx, from, &item, (size_t)len);
    if (level == CRYPTO_HANDSHAKE && conn->role == CRYPTO_SERVER && conn->state < QUIC_CONN_CLOSING &&
        conn->keys[CRYPTO_INITIAL].rx)
        quic_handshake_discard(conn, QUIC_INITIAL); /* RFC 9001 4.9.1 */
}

/* ---- packets without protection (client) ---- */

static void rx_retry(struct quic_conn *conn, const struct quic_header *header, base_time now) {
    struct base_mem *mem = conn->endpoint->mem;
    if (conn->role != CRYPTO_CLIENT || conn->first_flight_received || conn->retried || !header->token_len ||
        quic_cid_equal(&header->scid, &conn->original_dcid) || !quic_header_retry_valid(header, &conn->original_dcid))
        return; /* 17.2.5: at most one, before anything else, authentic, with a token and an ID of the server's own */
    uint8_t *token = base_alloc(mem, header->token_len);
    if (!token)
        return;
    memcpy(token, header->token, header->token_len);
    base_free(mem, conn->token, conn->token_len);
    conn->token = token;
    conn->token_len = header->token_len;
    conn->retried = true;
    conn->retry_scid = header->scid;
    quic_remote_cids_set_initial(&conn->remote_cids, &header->scid);
    if (!quic_handshake_initial_keys(conn, &header->scid)) {
        quic_conn_fail(conn, QUIC_INTERNAL_ERROR, 0, "out of memory", now);
        return;
    }
    quic_recovery_on_retry(&conn->recovery);
    quic_conn_mark_dirty(conn);
}

/* ---- datagrams ---- */

static void rx_long(struct quic_conn *conn, struct rx_source *from, const struct quic_header *header, base_time now) {
    bool retry = header->type == QUIC_PACKET_RETRY && header->version_known && header->version == conn->version;
    if (conn->qlog && (retry || header->type == QUIC_PACKET_VERSION_NEGOTIATION))
        quic_qlog_unprotected(conn, header);
    if (header->type == QUIC_PACKET_VERSION_NEGOTIATION) {
        quic_version_negotiate(conn, header, now);
    } else if (!header->version_known || (header->type == QUIC_PACKET_RETRY && !retry)) {
        rx_drop(conn, header->type, header->packet_len, QUIC_QLOG_DROP_UNSUPPORTED);
    } else if (retry) {
        rx_retry(conn, header, now);
    } else {
        enum crypto_level level = rx_level(header->type);
        bool small = level == CRYPTO_INITIAL && conn->role == CRYPTO_SERVER && from->datagram->len < QUIC_MIN_INITIAL;
        if (small || !rx_version_fits(conn, header, level)) /* RFC 9000 14.1 */
            rx_drop(conn, header->type, header->packet_len, QUIC_QLOG_DROP_INVALID);
        else if (rx_can_read(conn, level))
            rx_open_long(conn, from, header, now);
        else if (rx_may_come(conn, level))
            rx_stash(conn, from, header, level, now);
        else
            rx_drop(conn, header->type, header->packet_len, QUIC_QLOG_DROP_KEY);
    }
}

/* The packets of one datagram; a short-header packet, always the last, joins the batch. */
static void rx_datagram(struct quic_conn *conn, struct rx_source *from, struct rx_batch *batch, base_time now) {
    const uint8_t *at = from->datagram->data, *end = at + from->datagram->len;
    struct quic_header header;
    struct quic_cid first = {0};
    bool have_first = false;
    while (at < end && conn->state < QUIC_CONN_CLOSING) {
        if (!quic_header_parse(at, (size_t)(end - at), conn->endpoint->cid_len, &header)) {
            if (at == from->datagram->data && rx_is_reset(conn, at, (size_t)(end - at)))
                rx_on_reset(conn, now);
            rx_drop(conn, QUIC_QLOG_TYPE_UNKNOWN, (size_t)(end - at), QUIC_QLOG_DROP_INVALID);
            if (!header.packet_len)
                return;
            at += header.packet_len; /* 12.2: others in the datagram may still be good */
            continue;
        }
        at += header.packet_len;
        if (!have_first) {
            first = header.dcid;
            have_first = true;
        } else if (!quic_cid_equal(&first, &header.dcid)) { /* 12.2: not coalesced by the peer we talk to */
            rx_drop(conn, header.type, header.packet_len, QUIC_QLOG_DROP_REJECTED);
            continue;
        }
        if (header.is_long) {
            rx_long(conn, from, &header, now);
        } else if (rx_can_read(conn, CRYPTO_APPLICATION)) {
            batch->items[batch->count] =
                (struct crypto_open_item){.packet = from->datagram->data + (header.packet - from->datagram->data),
                                          .len = (uint32_t)header.packet_len,
                                          .pn_offset = (uint16_t)header.pn_offset};
            batch->sources[batch->count++] = *from;
            if (batch->count == RX_BATCH)
                rx_flush(conn, batch, now);
        } else if (rx_may_come(conn, CRYPTO_APPLICATION)) {
            conn->recovery.finished_awaited = conn->role == CRYPTO_SERVER;
            rx_stash(conn, from, &header, CRYPTO_APPLICATION, now);
        } else {
            rx_drop(conn, QUIC_PACKET_1RTT, header.packet_len, QUIC_QLOG_DROP_KEY);
        }
    }
}

void quic_rx_datagrams(struct quic_conn *conn, const struct quic_datagram *datagrams, size_t count, base_time now) {
    struct rx_batch batch;
    batch.count = 0;
    struct quic_path *path = NULL;
    if (conn->qlog)
        quic_qlog_datagrams_received(conn, datagrams, count);
    if (!quic_rest_hears(conn, count, now) && !quic_keyphase_unpack(conn)) { /* out of memory: lost, as if on the way */
        conn->stats.packets_dropped += count;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const struct quic_datagram *d = &datagrams[i];
        if (!path || !quic_addr_equal(&path->remote, &d->remote) || !quic_addr_equal(&path->local, &d->local))
            path = quic_path_find(conn, &d->local, &d->remote);
        conn->stats.datagrams_received++;
        conn->stats.bytes_received += d->len;
        if (path)
            quic_path_on_datagram(path, d->len);
        if (conn->state >= QUIC_CONN_CLOSING) {
            quic_rx_while_closing(conn, d, now);
            continue;
        }
        if (batch.count && !(d->len && !(d->data[0] & 0x80)))
            rx_flush(conn, &batch, now); /* long headers keep their place in the order */
        struct rx_source from = {d, path};
        rx_datagram(conn, &from, &batch, now);
    }
    rx_flush(conn, &batch, now);
    if (conn->state < QUIC_CONN_CLOSING && path && conn->recovery.amplification_blocked)
        quic_conn_mark_dirty(conn); /* more may be sent now */
    if (conn->eliciting_in_batch && !conn->ack_policy.asked)
        quic_ack_policy_adapt(&conn->ack_policy, conn->eliciting_in_batch, quic_path_active(conn)->control.rtt.min,
                              conn->config->options.max_ack_delay);
    conn->eliciting_in_batch = 0;
    if (base_node_linked(&conn->unfinished))
        quic_gate_weigh(conn, now);
    if (!conn->keys_packed || !base_node_linked(&conn->dirty)) /* at rest: with the answer */
        quic_conn_update_timers(conn, now);
}

/* closing: answered by count; a stateless reset or the peer's own close would make it draining, but its keys are gone
 * by now. */
void quic_rx_while_closing(struct quic_conn *conn, const struct quic_datagram *datagram, base_time now) {
    if (rx_is_reset(conn, datagram->data, datagram->len)) {
        rx_on_reset(conn, now);
        return;
    }
    quic_close_on_datagram(conn, now);
}

static void rx_early_one(struct quic_conn *conn, const struct quic_early_packet *early, base_time now) {
    struct base_buf *buf = base_buf_get(conn->endpoint->bufs); /* what it brings may stay in it */
    if (!buf)
        return;
    assert(early->len <= buf->size);
    memcpy(buf->data, early->data, early->len);
    struct quic_path *path = conn->paths[early->path];
    struct quic_datagram d = {buf, buf->data, early->len, path->socket, path->local, path->remote, early->ecn};
    struct rx_source from = {&d, path};
    struct rx_batch batch;
    batch.count = 0;
    base_time held = conn->recovery.held; /* one may bring the keys of another */
    conn->recovery.held = now - early->at;
    rx_datagram(conn, &from, &batch, now);
    rx_flush(conn, &batch, now);
    conn->recovery.held = held;
    base_buf_unref(buf);
}

void quic_rx_early(struct quic_conn *conn, base_time now) {
    struct base_mem *mem = conn->endpoint->mem;
    struct quic_early_packet *early = conn->early;
    uint8_t count = conn->early_count, kept = 0;
    if (!early)
        return;
    conn->early = NULL;
    conn->early_count = 0;
    for (uint8_t i = 0; i < count; i++) {
        struct quic_early_packet *e = &early[i];
        bool ready = rx_can_read(conn, (enum crypto_level)e->level);
        if (!ready && rx_may_come(conn, (enum crypto_level)e->level) && conn->state < QUIC_CONN_CLOSING) {
            early[kept++] = *e;
            continue;
        }
        if (ready && conn->state < QUIC_CONN_CLOSING)
            rx_early_one(conn, e, now);
        base_free(mem, e->data, e->len);
    }
    if (conn->early || !kept) { /* a nested call has kept others: ours are too old to matter then */
        for (uint8_t i = 0; i < kept; i++)
            base_free(mem, early[i].data, early[i].len);
        base_free(mem, early, QUIC_EARLY_PACKETS * sizeof *early);
        return;
    }
    conn->early = early;
    conn->early_count = kept;
}
