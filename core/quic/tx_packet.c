/* tx_packet.c - packets, datagrams and trains (RFC 9000 sections 12.2, 14; RFC 9001 section 5).
 *
 * A train is a row of datagrams of one size for one path, written into one buffer and sent with one system call. A
 * datagram is a row of packets, one a level. A packet is a header, frames (tx_frame.c) and room for a tag, written
 * once, by a cursor. When a handful of packets are written they are sealed in place in one pass, while they are still
 * in the cache.
 *
 * What may be sent is decided here: congestion window, pacing, the amplification limit and the path's MTU; probes and
 * ACKs may pass where data may not.
 *
 * Invariant: a packet number is used for exactly one packet, and what is recorded as sent is in the train.
 */
#include <assert.h>

#include "quic/walk.h"

#define TX_SEAL_BATCH 16u     /* packets sealed together: about what fits into the L1 cache */
#define TX_TRAIN_BYTES 65000u /* below the largest UDP payload, with GSO too */
#define TX_SKIP_LEAST 128u    /* packet numbers between two that are skipped */
#define TX_SKIP_SPREAD 2048u
#define TX_RETRY_AFTER (10 * BASE_MS) /* when there was no memory for keys */

struct tx_packet {                    /* written, not yet committed */
    uint8_t *start, *length_at, *end; /* end: of the payload, before the tag */
    uint16_t pn_offset;
    uint8_t pn_len;
    enum crypto_level level;
    bool eliciting, in_flight;
};

struct tx_train {
    struct quic_conn *conn;
    struct quic_path *path;
    struct quic_train *out;
    const struct quic_cid *dcid;
    base_time now;
    uint64_t pace;                           /* bytes the pacer still allows */
    struct tx_packet packets[CRYPTO_LEVELS]; /* of the datagram being written */
    unsigned packet_count;
    bool pad, mtu_probe, spin;
    bool may_mark;     /* ECN */
    enum quic_ecn ecn; /* of all its datagrams; decided with the first */
    struct crypto_seal_item items[TX_SEAL_BATCH];
    unsigned item_count;
    enum crypto_level item_level;
    unsigned sealed; /* 1-RTT packets; told to the key phase with the train: no update comes between header and seal */
    bool untold;     /* of an ACK alone, and nothing is kept of it (sent.h) */
    bool failed;     /* the cipher failed: nothing of this train may go out */
};

/* ---- sealing ---- */

static void tx_seal(struct tx_train *t) {
    unsigned count = t->item_count;
    t->item_count = 0;
    if (!count)
        return;
    struct quic_keys *keys = &t->conn->keys[t->item_level];
    if (!crypto_seal(keys->tx, keys->tx_mask, t->items, count))
        t->failed = true;
    else if (t->item_level == CRYPTO_APPLICATION)
        t->sealed += count;
}

static void tx_seal_later(struct tx_train *t, const struct tx_packet *packet, uint64_t number) {
    if (t->item_count == TX_SEAL_BATCH || (t->item_count && t->item_level != packet->level))
        tx_seal(t);
    t->item_level = packet->level;
    t->items[t->item_count++] = (struct crypto_seal_item){
        .packet = packet->start,
        .number = number,
        .len = (uint32_t)(packet->end - packet->start) + CRYPTO_TAG_SIZE,
        .pn_offset = packet->pn_offset,
        .pn_len = packet->pn_len,
    };
}

/* ---- one packet ---- */

static enum quic_packet_type tx_type(enum crypto_level level) {
    static const enum quic_packet_type types[CRYPTO_LEVELS] = {QUIC_PACKET_INITIAL, QUIC_PACKET_0RTT,
                                                               QUIC_PACKET_HANDSHAKE, QUIC_PACKET_1RTT};
    return types[level];
}

static void tx_header(struct tx_train *t, struct base_writer *out, struct tx_packet *packet, uint64_t number) {
    struct quic_conn *conn = t->conn;
    packet->length_at = NULL;
    if (packet->level == CRYPTO_APPLICATION) {
        quic_header_write_short(out, t->dcid, packet->pn_len, conn->phase.generation & 1, t->spin);
    } else {
        bool token = packet->level == CRYPTO_INITIAL;
        uint32_t version = packet->level == CRYPTO_EARLY ? conn->original_version : conn->version; /* RFC 9369 4.1 */
        quic_header_write_long(out, version, tx_type(packet->level), packet->pn_len, t->dcid,
                               &conn->local_cids.list[0].cid, token ? conn->token : NULL, token ? conn->token_len : 0,
                               &packet->length_at);
    }
    packet->pn_offset = (uint16_t)(out->pos - packet->start);
    base_write_uint(out, number & (UINT64_MAX >> (64 - 8 * packet->pn_len)), packet->pn_len);
}

/* Leaves out a packet number now and then: a peer that acknowledges it is lying (RFC 9000 21.4). */
static void tx_skip_number(struct quic_conn *conn) {
    struct quic_sent *log = &conn->recovery.spaces[QUIC_APPLICATION];
    if (log->next < conn->skip_number || !conn->config->options.initial_packet_number_skip)
        return;
    quic_sent_skip(log, conn->endpoint->mem);
    conn->skip_number = log->next + TX_SKIP_LEAST + base_random_u64(&conn->endpoint->random) % TX_SKIP_SPREAD;
}

/* Opens the log and writes the header. NULL: no memory, or no room. */
static struct tx_packet *tx_open(struct tx_train *t, struct base_writer *out, uint8_t *at, uint8_t *limit,
                                 enum crypto_level level) {
    struct quic_conn *conn = t->conn;
    struct quic_sent *log = &conn->recovery.spaces[quic_space_of(level)];
    struct tx_packet *packet = &t->packets[t->packet_count];
    if (limit - at <= (ptrdiff_t)CRYPTO_TAG_SIZE)
        return NULL;
    if (level == CRYPTO_APPLICATION)
        tx_skip_number(conn);
    if (t->untold)
        quic_sent_open_untold(log);
    else if (!quic_sent_open(log, conn->endpoint->mem))
        return NULL;
    *out = base_writer_of(at, (size_t)(limit - at) - CRYPTO_TAG_SIZE);
    *packet = (struct tx_packet){.start = at, .level = level, .pn_len = quic_number_len(log->next, log->largest_acked)};
    tx_header(t, out, packet, log->next);
    if (out->bad || base_writer_left(out) < 4) {
        quic_sent_abort(log);
        return NULL;
    }
    return packet;
}

/* Header protection samples 16 bytes from 4 after the packet number's start (RFC 9001 5.4.2). */
static void tx_close_packet(struct tx_train *t, struct tx_packet *packet, struct base_writer *out) {
    size_t body = (size_t)(out->pos - packet->start) - packet->pn_offset;
    if (body < 4)
        quic_frame_write_padding(out, 4 - body);
    packet->end = out->pos;
    t->packet_count++;
}

static bool tx_packet(struct tx_train *t, uint8_t *at, uint8_t *limit, enum crypto_level level, bool window_open) {
    struct quic_conn *conn = t->conn;
    struct base_writer out;
    struct tx_packet *packet = tx_open(t, &out, at, limit, level);
    if (!packet)
        return false;
    enum quic_space space = quic_space_of(level);
    struct quic_tx tx = {.conn = conn,
                         .path = t->path,
                         .out = out,
                         .level = level,
                         .space = space,
                         .now = t->now,
                         .window_open = window_open,
                         .probe = level != CRYPTO_EARLY && conn->recovery.probes[space] > 0};
    if (!quic_tx_fill(&tx)) {
        quic_sent_abort(&conn->recovery.spaces[space]);
        return false;
    }
    packet->eliciting = tx.eliciting;
    packet->in_flight = tx.in_flight;
    t->pad |= tx.pad || (level == CRYPTO_INITIAL && (tx.eliciting || conn->role == CRYPTO_CLIENT));
    tx_close_packet(t, packet, &tx.out);
    return true;
}

/* ---- one datagram ---- */

/* Fills the last packet up so that the datagram has `size` bytes. */
static void tx_pad_to(struct tx_train *t, uint8_t *start, size_t size) {
    struct tx_packet *last = &t->packets[t->packet_count - 1];
    size_t have = (size_t)(last->end - start) + CRYPTO_TAG_SIZE;
    if (have >= size)
        return;
    memset(last->end, QUIC_FRAME_PADDING, size - have);
    last->end += size - have;
    last->in_flight = true; /* RFC 9002 2: PADDING counts */
}

static void tx_qlog(const struct tx_train *t, const struct tx_packet *packet, enum quic_space space) {
    struct quic_qlog_packet told = {.start = packet->start,
                                    .first = packet->start[0],
                                    .pn_len = packet->pn_len,
                                    .pn_offset = packet->pn_offset,
                                    .level = packet->level,
                                    .number = t->conn->recovery.spaces[space].next,
                                    .payload =
                                        (size_t)(packet->end - packet->start) - packet->pn_offset - packet->pn_len,
                                    .path = t->path->index,
                                    .mtu_probe = t->mtu_probe};
    quic_qlog_packet_sent(t->conn, &told);
}

static void tx_commit_packet(struct tx_train *t, struct tx_packet *packet) {
    struct quic_conn *conn = t->conn;
    enum quic_space space = quic_space_of(packet->level);
    uint32_t bytes = (uint32_t)(packet->end - packet->start) + CRYPTO_TAG_SIZE;
    if (packet->length_at)
        quic_header_patch_length(packet->length_at, bytes - packet->pn_offset);
    if (conn->qlog)
        tx_qlog(t, packet, space);
    uint64_t number = quic_recovery_on_sent_over(&conn->recovery, t->path->index, space, t->now, bytes,
                                                 packet->eliciting, packet->in_flight, t->ecn);
    if (t->mtu_probe)
        quic_sent_at(&conn->recovery.spaces[space], number)->mtu_probe = true;
    if (packet->eliciting)
        quic_conn_on_sent_eliciting(conn, t->now);
    tx_seal_later(t, packet, number);
}

/* The mark for the next datagram. What the network does to marked packets is not known at first, so the first flights
 * go without: a mark may cost an established connection a moment, never a handshake. Nor is a lone ACK marked: nobody
 * would notice if it vanished for it. */
static enum quic_ecn tx_mark(const struct tx_train *t) {
    struct quic_ecn_path *ecn = &t->path->control.ecn;
    if (!t->may_mark || t->conn->keys[CRYPTO_INITIAL].tx)
        return QUIC_NOT_ECT;
    bool live = quic_ecn_is_live(ecn);
    enum quic_ecn mark = quic_ecn_mark(ecn, t->now);
    quic_recovery_count_failure(&t->conn->recovery, &t->path->control, live && !quic_ecn_is_live(ecn));
    return mark;
}

static void tx_decide_mark(struct tx_train *t) {
    bool in_flight = false;
    for (unsigned i = 0; i < t->packet_count; i++)
        in_flight |= t->packets[i].in_flight;
    t->ecn = in_flight ? tx_mark(t) : QUIC_NOT_ECT;
    t->out->ecn = (uint8_t)t->ecn;
}

/* The packets written become the next datagram of the train. Returns its size. */
static size_t tx_commit(struct tx_train *t, uint8_t *start) {
    struct quic_conn *conn = t->conn;
    struct quic_train *out = t->out;
    bool handshake = false;
    size_t len = (size_t)(t->packets[t->packet_count - 1].end - start) + CRYPTO_TAG_SIZE;
    if (!out->count)
        tx_decide_mark(t);
    for (unsigned i = 0; i < t->packet_count; i++) {
        /* tags follow each payload at once: the next packet was started behind them */
        tx_commit_packet(t, &t->packets[i]);
        handshake |= t->packets[i].level == CRYPTO_HANDSHAKE;
    }
    if (!out->count)
        out->segment = (uint32_t)len;
    out->count++;
    out->len += len;
    quic_path_on_datagram_sent(t->path, len);
    t->pace -= t->pace < len ? t->pace : len;
    conn->stats.datagrams_sent++;
    conn->stats.bytes_sent += len;
    if (handshake && conn->role == CRYPTO_CLIENT && conn->keys[CRYPTO_INITIAL].tx) {
        tx_seal(t);
        quic_handshake_discard(conn, QUIC_INITIAL); /* RFC 9001 4.9.1 */
    }
    return len;
}

/* May packets that congestion control counts go out now? */
static bool tx_window_open(const struct tx_train *t) {
    uint64_t left = quic_recovery_window_left(&t->conn->recovery);
    return t->pace && !t->untold && (left >= t->path->mtu || (left && !t->path->control.bytes_in_flight));
}

/* May this level's packets go out although the window is full? Probes may; so may handshake data when none are in
 * flight: what fills the window may be 1-RTT packets that the peer cannot acknowledge before it has these very data,
 * and no timer would ever resolve that. */
static bool tx_may_pass(const struct quic_conn *conn, enum crypto_level level) {
    const struct quic_recovery *r = &conn->recovery;
    enum quic_space space = quic_space_of(level);
    if (level == CRYPTO_EARLY)
        return false;
    return r->probes[space] > 0 || (space != QUIC_APPLICATION && r->spaces[space].eliciting == 0);
}

/* Writes and commits one datagram of at most `size` bytes. Returns its length; 0: nothing to send. */
static size_t tx_datagram(struct tx_train *t, size_t size) {
    static const enum crypto_level order[] = {CRYPTO_INITIAL, CRYPTO_EARLY, CRYPTO_HANDSHAKE, CRYPTO_APPLICATION};
    struct quic_conn *conn = t->conn;
    uint8_t *start = t->out->data + t->out->len, *at = start, *limit = start + size;
    t->packet_count = 0;
    t->pad = false;
    bool open = tx_window_open(t);
    for (unsigned i = 0; i < CRYPTO_LEVELS; i++) {
        enum crypto_level level = order[i];
        if (!conn->keys[level].tx || (level == CRYPTO_EARLY && conn->keys[CRYPTO_APPLICATION].tx))
            continue;
        bool may = open || tx_may_pass(conn, level);
        if (quic_tx_wants(conn, level, may, t->now) && tx_packet(t, at, limit, level, may))
            at = t->packets[t->packet_count - 1].end + CRYPTO_TAG_SIZE;
    }
    if (!t->packet_count)
        return 0;
    if (t->pad)
        tx_pad_to(t, start, size < QUIC_MIN_INITIAL ? size : QUIC_MIN_INITIAL);
    return tx_commit(t, start);
}

/* ---- trains ---- */

void quic_tx_address(const struct quic_path *path, struct quic_train *train, size_t len) {
    train->socket = path->socket;
    train->local = path->local;
    train->remote = path->remote;
    train->ecn = QUIC_NOT_ECT;
    if (len) {
        train->len = len;
        train->segment = (uint32_t)len;
        train->count = 1;
    }
}

static bool tx_begin(struct tx_train *t, struct quic_conn *conn, struct quic_path *path, struct quic_train *out,
                     base_time now) {
    struct quic_remote_cid *remote = quic_remote_cids_of_path(&conn->remote_cids, path->index);
    t->conn = conn;
    t->path = path;
    t->out = out;
    t->now = now;
    t->item_count = t->packet_count = t->sealed = 0;
    t->failed = t->mtu_probe = t->pad = t->untold = false;
    t->may_mark = false;
    t->ecn = QUIC_NOT_ECT;
    t->dcid = remote ? &remote->cid : NULL;
    t->spin = remote && quic_path_spin(conn, path, remote);
    out->len = 0;
    out->count = 0;
    out->segment = 0;
    quic_tx_address(path, out, 0);
    return remote != NULL;
}

static bool tx_end(struct tx_train *t) {
    tx_seal(t);
    if (t->failed) {
        t->out->count = 0;
        t->out->len = 0;
        quic_conn_fail(t->conn, QUIC_INTERNAL_ERROR, 0, "packet protection failed", t->now);
    } else if (t->sealed && t->conn->state < QUIC_CONN_CLOSING) {
        quic_keyphase_on_sealed(t->conn, t->sealed, t->now);
    }
    if (t->conn->qlog && t->out->count)
        quic_qlog_datagrams_sent(t->conn, t->out);
    return t->out->count > 0;
}

/* A path that is being validated beside the active one gets datagrams of its own. They count on that path, whose window
 * they need not ask: a challenge a round trip congests nothing, and what becomes of it says nothing about the active
 * path. */
static bool tx_probe_path(struct quic_conn *conn, struct quic_path *path, struct quic_train *train, base_time now) {
    struct tx_train t;
    uint64_t allowance = quic_path_allowance(path);
    size_t size = allowance < QUIC_MIN_INITIAL ? (size_t)allowance : QUIC_MIN_INITIAL;
    struct base_writer out;
    struct tx_packet *packet;
    if (!conn->keys[CRYPTO_APPLICATION].tx || size < 64 || !tx_begin(&t, conn, path, train, now) ||
        !(packet = tx_open(&t, &out, train->data, train->data + size, CRYPTO_APPLICATION)))
        return false;
    struct quic_tx tx = {
        .conn = conn, .path = path, .out = out, .level = CRYPTO_APPLICATION, .space = QUIC_APPLICATION, .now = now};
    quic_tx_path_frames(&tx);
    packet->eliciting = tx.eliciting;
    tx_close_packet(&t, packet, &tx.out);
    if (tx.pad)
        tx_pad_to(&t, train->data, size);
    packet->in_flight = true;
    tx_commit(&t, train->data);
    return tx_end(&t);
}

/* Size of the next datagram: the path's MTU, what the amplification limit leaves, and the train's segment. */
static size_t tx_datagram_size(const struct tx_train *t) {
    uint64_t size = t->path->mtu, allowance = quic_path_allowance(t->path);
    if (quic_mtu_wants_small(t->conn) && size > QUIC_MIN_INITIAL)
        size = QUIC_MIN_INITIAL;
    if (allowance < size)
        size = allowance;
    if (t->out->count && size > t->out->segment)
        size = t->out->segment;
    if (t->conn->keys[CRYPTO_INITIAL].tx && size < QUIC_MIN_INITIAL)
        return 0; /* an Initial could not be expanded as it must (RFC 9000 14.1) */
    return t->out->len + size > TX_TRAIN_BYTES ? 0 : (size_t)size;
}

/* Nothing more went out: because of pacing (wake up when it may), the window, or because all is said. */
static void tx_rest(struct tx_train *t, bool said_all) {
    struct quic_conn *conn = t->conn;
    struct quic_path_control *control = &t->path->control;
    if (!t->pace && quic_recovery_window_left(&conn->recovery))
        quic_conn_set_timer(conn, QUIC_TIMER_PACING,
                            quic_pacer_deadline(&control->pacer, &control->cc, &control->rtt, t->now));
    else if (said_all)
        quic_recovery_on_app_limited(&conn->recovery);
}

/* Adds datagrams until the train is full, there is nothing more to say, or one is too short to be followed. */
static void tx_fill_train(struct tx_train *t) {
    struct quic_train *train = t->out;
    struct quic_path_control *control = &t->path->control;
    t->pace = quic_pacer_allowance(&control->pacer, &control->cc, &control->rtt, t->now);
    bool said_all = false;
    while (train->count < train->max_segments && t->conn->state < QUIC_CONN_CLOSING &&
           (!train->count || t->ecn == tx_mark(t))) {
        size_t size = tx_datagram_size(t);
        if (!size)
            break;
        size_t len = tx_datagram(t, size);
        said_all = len < size;
        if (!len || len < train->segment)
            break;
    }
    if (said_all)
        tx_rest(t, tx_window_open(t));
}

static bool tx_active(struct quic_conn *conn, struct quic_path *path, struct quic_train *train, bool untold,
                      base_time now) {
    struct tx_train t;
    if (!tx_begin(&t, conn, path, train, now))
        return false;
    t.may_mark = true;
    t.untold = untold;
    tx_fill_train(&t);
    return tx_end(&t);
}

/* A server's probe takes the next datagram with it, when there is something to say: it is shorter, as the last one of a
 * train may be, and costs no system call of its own. Where the interface refuses the probe, io sends what follows
 * alone. A train has one mark and probes have none; a client's request may be all that it ever sends that could be
 * marked, so it goes by itself. */
static bool tx_mtu_probe(struct quic_conn *conn, struct quic_path *path, struct quic_train *train, uint32_t size,
                         base_time now) {
    struct tx_train t;
    struct base_writer out;
    struct tx_packet *packet;
    if (!tx_begin(&t, conn, path, train, now) ||
        !(packet = tx_open(&t, &out, train->data, train->data + size, CRYPTO_APPLICATION)))
        return false;
    t.mtu_probe = true;
    quic_frame_write_type(&out, QUIC_FRAME_PING);
    packet->eliciting = packet->in_flight = true;
    tx_close_packet(&t, packet, &out);
    tx_pad_to(&t, train->data, size);
    tx_commit(&t, train->data);
    quic_mtu_on_sent(conn, conn->recovery.spaces[QUIC_APPLICATION].next - 1);
    t.mtu_probe = false;
    if (conn->role == CRYPTO_SERVER)
        tx_fill_train(&t);
    return tx_end(&t);
}

/* What a connection at rest has to say. Of an ACK alone nothing need be known later: that it was acknowledged would
 * change nothing. */
static bool tx_at_rest(struct quic_conn *conn, struct quic_path *path, struct quic_train *train, base_time now) {
    const struct quic_sent *log = &conn->recovery.spaces[QUIC_APPLICATION];
    if (!conn->ping_wanted && !quic_ack_wanted(&conn->acks[QUIC_APPLICATION], now, false))
        return false;
    return tx_active(conn, path, train, !conn->ping_wanted && log->base == log->next, now);
}

bool quic_tx_train(struct quic_conn *conn, struct quic_train *train, base_time now) {
    if (conn->state >= QUIC_CONN_CLOSING)
        return quic_close_tx(conn, train, now);
    struct quic_path *active = quic_path_active(conn);
    if (quic_rest_speaks(conn, now)) {
        bool filled = tx_at_rest(conn, active, train, now);
        quic_conn_update_timers(conn, now);
        return filled;
    }
    if (!quic_keyphase_unpack(conn)) {
        quic_conn_set_timer(conn, QUIC_TIMER_PACING, base_time_add(now, TX_RETRY_AFTER));
        quic_conn_update_timers(conn, now);
        return false;
    }
    bool sent = false;
    for (unsigned i = 0; i < QUIC_PATHS && !sent; i++) {
        struct quic_path *path = quic_path_at(conn, i);
        if (path && path != active && (path->challenge_wanted || path->response_count))
            sent = tx_probe_path(conn, path, train, now);
    }
    /* not where the peer has not proven to be: a probe is large, and the amplification limit small (RFC 9000 8.1) */
    uint32_t probe = sent || active->state != QUIC_PATH_VALIDATED ? 0 : quic_mtu_wanted(conn, now);
    if (probe && quic_recovery_window_left(&conn->recovery) >= probe)
        sent = tx_mtu_probe(conn, active, train, probe, now);
    if (!sent)
        sent = tx_active(conn, active, train, false, now);
    if (conn->state >= QUIC_CONN_CLOSING && !sent)
        sent = quic_close_tx(conn, train, now);
    quic_conn_update_timers(conn, now);
    return sent;
}

bool quic_tx_close_datagram(struct quic_conn *conn, struct quic_train *train, unsigned levels, base_time now) {
    struct tx_train t;
    struct quic_path *path = quic_path_active(conn);
    uint64_t allowance = quic_path_allowance(path);
    size_t size = allowance < QUIC_MIN_INITIAL ? (size_t)allowance : QUIC_MIN_INITIAL;
    if (!tx_begin(&t, conn, path, train, now))
        return false;
    t.pace = UINT64_MAX;
    uint8_t *at = train->data, *limit = train->data + size;
    for (unsigned level = 0; level < CRYPTO_LEVELS; level++) {
        struct base_writer out;
        struct tx_packet *packet;
        if (!(levels & (1u << level)) || !(packet = tx_open(&t, &out, at, limit, (enum crypto_level)level)))
            continue;
        struct quic_tx tx = {.conn = conn, .out = out, .level = (enum crypto_level)level};
        if (!quic_close_fill(&tx)) {
            quic_sent_abort(&conn->recovery.spaces[quic_space_of((enum crypto_level)level)]);
            continue;
        }
        t.pad |= level == CRYPTO_INITIAL && conn->role == CRYPTO_CLIENT;
        tx_close_packet(&t, packet, &tx.out);
        at = packet->end + CRYPTO_TAG_SIZE;
    }
    if (!t.packet_count)
        return false;
    if (t.pad)
        tx_pad_to(&t, train->data, size);
    tx_commit(&t, train->data);
    return tx_end(&t);
}
