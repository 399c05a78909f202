/* tx_frame.c - what a connection has to say next, and what became of what it said (RFC 9000 section 13.3).
 *
 * A packet is filled in order of need: acknowledgement, handshake, paths, connection control, streams. Control state is
 * kept as wanted / in flight / done; a packet's frame records lead back to it when the packet is acknowledged or lost.
 * Nothing is ever resent as it was: it is said again, as it is true then.
 *
 * Whether something may be said (congestion, pacing, amplification) is tx_packet.c's business and comes in as
 * tx->window_open.
 *
 * Invariant: every ack-eliciting frame written has a record in the open packet of the sent log (PING, PADDING and PATH
 * frames need none).
 */
#include "quic/resume.h"
#include "quic/walk.h"

/* Records a frame that has just been written; when the log has no room for it the frame is taken back. */
static bool tx_record(struct quic_tx *tx, uint8_t *before, struct quic_sent_frame record) {
    if (tx->out.bad || !quic_sent_frame(&tx->conn->recovery.spaces[tx->space], &record)) {
        tx->out.pos = before;
        tx->out.bad = false;
        return false;
    }
    tx->eliciting = true;
    return true;
}

/* ---- ACK ---- */

static void tx_ack(struct quic_tx *tx, bool bundle) {
    struct quic_conn *conn = tx->conn;
    struct quic_ack *ack = &conn->acks[tx->space];
    if (tx->level == CRYPTO_EARLY)
        return;
    /* a probe says again what was acknowledged: what it asks for may be missing because an ACK was lost */
    if (!quic_ack_wanted(ack, tx->now, bundle) && !(tx->probe && tx->window_open))
        return;
    uint8_t *before = tx->out.pos;
    uint64_t largest;
    unsigned exponent = tx->space == QUIC_APPLICATION ? (unsigned)conn->config->options.ack_delay_exponent : 0;
    if (!quic_ack_write(ack, &tx->out, tx->now, exponent, &largest))
        return;
    struct quic_sent_frame record = {.kind = QUIC_FRAME_ACK, .value = largest};
    if (!quic_sent_frame(&conn->recovery.spaces[tx->space], &record)) {
        tx->out.pos = before;
        return;
    }
    quic_ack_on_sent(ack);
    conn->stats.acks_sent++;
    tx->has_ack = true;
}

/* ---- CRYPTO ---- */

static bool crypto_wanted(const struct quic_conn *conn, enum quic_space space) {
    struct quic_send_piece piece;
    const struct quic_crypto_stream *stream = conn->crypto[space];
    return stream && stream->send.buffered && quic_stream_send_next(&stream->send, UINT64_MAX, &piece);
}

static void tx_crypto(struct quic_tx *tx) {
    struct quic_crypto_stream *stream = tx->conn->crypto[tx->space];
    struct base_mem *mem = tx->conn->endpoint->mem;
    struct quic_send_piece piece;
    while (stream && stream->send.buffered && quic_stream_send_next(&stream->send, UINT64_MAX, &piece)) {
        size_t room = base_writer_left(&tx->out);
        size_t overhead = quic_frame_crypto_overhead(piece.offset, piece.len < room ? piece.len : room);
        if (room <= overhead)
            return;
        size_t len = piece.len < room - overhead ? (size_t)piece.len : room - overhead;
        uint8_t *before = tx->out.pos;
        base_write_varint(&tx->out, QUIC_FRAME_CRYPTO);
        base_write_varint(&tx->out, piece.offset);
        base_write_varint(&tx->out, len);
        uint8_t *at = base_write_space(&tx->out, len);
        if (at)
            quic_stream_send_copy_out(&stream->send, piece.offset, at, len);
        struct quic_sent_frame record = {.kind = QUIC_FRAME_CRYPTO, .len = (uint16_t)len, .value = piece.offset};
        uint32_t records = quic_sent_open_frames(&tx->conn->recovery.spaces[tx->space]);
        if (!tx_record(tx, before, record))
            return;
        if (!quic_stream_send_on_sent(&stream->send, mem, piece.offset, len, false)) {
            quic_sent_rewind(&tx->conn->recovery.spaces[tx->space], records);
            tx->out.pos = before;
            return;
        }
    }
}

/* ---- paths ---- */

static bool path_wanted(const struct quic_path *path) { return path->challenge_wanted || path->response_count; }

void quic_tx_path_frames(struct quic_tx *tx) {
    struct quic_path *path = tx->path;
    while (path->response_count && base_writer_left(&tx->out) >= 9) {
        quic_frame_write_path(&tx->out, QUIC_FRAME_PATH_RESPONSE, path->responses[--path->response_count]);
        tx->eliciting = tx->pad = true; /* 8.2.2: expanded, too */
    }
    if (path->challenge_wanted && base_writer_left(&tx->out) >= 9) {
        quic_frame_write_path(&tx->out, QUIC_FRAME_PATH_CHALLENGE, path->challenge);
        quic_path_on_challenge_sent(path);
        tx->eliciting = true;
        tx->pad |= path->expand;
    }
}

/* ---- connection control ---- */

static void tx_handshake_done(struct quic_tx *tx) {
    if (tx->conn->want_handshake_done != QUIC_WANTED)
        return;
    uint8_t *before = tx->out.pos;
    quic_frame_write_type(&tx->out, QUIC_FRAME_HANDSHAKE_DONE);
    if (tx_record(tx, before, (struct quic_sent_frame){.kind = QUIC_FRAME_HANDSHAKE_DONE}))
        tx->conn->want_handshake_done = QUIC_IN_FLIGHT;
}

static void tx_new_token(struct quic_tx *tx) {
    struct quic_conn *conn = tx->conn;
    if (conn->want_new_token != QUIC_WANTED)
        return;
    uint8_t token[CRYPTO_TOKEN_MAX];
    const struct quic_admission *admission = conn->config->admission;
    struct quic_resume_saved saved;
    bool known = quic_resume_observed(&tx->path->control.cc, &saved);
    size_t len = admission && admission->make
                     ? admission->make(admission, &tx->path->remote, token, sizeof token)
                     : quic_endpoint_new_token(conn->endpoint, conn->version, &tx->path->remote, known ? &saved : NULL,
                                               token, sizeof token, tx->now);
    uint8_t *before = tx->out.pos;
    if (!len) {
        conn->want_new_token = QUIC_WANT_DONE; /* there is none to give */
        return;
    }
    quic_frame_write_new_token(&tx->out, token, len);
    if (tx_record(tx, before, (struct quic_sent_frame){.kind = QUIC_FRAME_NEW_TOKEN, .value = conn->new_tokens}))
        conn->want_new_token = QUIC_IN_FLIGHT;
}

static void tx_new_cids(struct quic_tx *tx) {
    struct quic_conn *conn = tx->conn;
    for (unsigned i = 0; i < QUIC_CIDS; i++) {
        struct quic_local_cid *cid = &conn->local_cids.list[i];
        if (!cid->used || cid->want != QUIC_WANTED)
            continue;
        uint8_t token[CRYPTO_RESET_TOKEN_SIZE];
        crypto_reset_token(conn->endpoint->fleet, 0, cid->cid.id, cid->cid.len, token);
        uint8_t *before = tx->out.pos;
        quic_frame_write_new_cid(&tx->out, cid->sequence, conn->local_cids.retire_prior_to, &cid->cid, token);
        struct quic_sent_frame record = {.kind = QUIC_FRAME_NEW_CONNECTION_ID, .extra = i, .value = cid->sequence};
        if (!tx_record(tx, before, record))
            return;
        cid->want = QUIC_IN_FLIGHT;
    }
}

static void tx_retire_cids(struct quic_tx *tx) {
    struct quic_remote_cids *set = &tx->conn->remote_cids;
    for (unsigned i = 0; i < QUIC_RETIRES; i++) {
        if (set->retire[i].want != QUIC_WANTED)
            continue;
        uint8_t *before = tx->out.pos;
        quic_frame_write_number(&tx->out, QUIC_FRAME_RETIRE_CONNECTION_ID, set->retire[i].sequence);
        struct quic_sent_frame record = {
            .kind = QUIC_FRAME_RETIRE_CONNECTION_ID, .extra = i, .value = set->retire[i].sequence};
        if (!tx_record(tx, before, record))
            return;
        set->retire[i].want = QUIC_IN_FLIGHT;
    }
}

static bool control_wanted(const struct quic_conn *conn) {
    if (conn->want_handshake_done == QUIC_WANTED || conn->want_new_token == QUIC_WANTED ||
        conn->ack_request.want == QUIC_WANTED)
        return true;
    for (unsigned i = 0; i < QUIC_CIDS; i++)
        if (conn->local_cids.list[i].used && conn->local_cids.list[i].want == QUIC_WANTED)
            return true;
    for (unsigned i = 0; i < QUIC_RETIRES; i++)
        if (conn->remote_cids.retire[i].want == QUIC_WANTED)
            return true;
    return false;
}

static void tx_control(struct quic_tx *tx) {
    struct quic_conn *conn = tx->conn;
    if (!conn->control_wanted)
        return;
    tx_handshake_done(tx);
    tx_new_token(tx);
    tx_new_cids(tx);
    tx_retire_cids(tx);
    quic_ack_frequency_tx(tx);
    conn->control_wanted = control_wanted(conn);
}

/* ---- streams and datagrams ---- */

static void tx_streams(struct quic_tx *tx, bool data) {
    struct quic_conn *conn = tx->conn;
    if (conn->streams.want_send && quic_streams_tx(&conn->streams, &tx->out, &conn->recovery.spaces[tx->space], data))
        tx->eliciting = true;
}

/* Credit and other control of streams goes before datagrams, whatever datagrams and stream data are to each other. */
static void tx_data(struct quic_tx *tx) {
    struct quic_conn *conn = tx->conn;
    bool datagrams = quic_datagrams_sendable(conn->datagrams), after = conn->config->options.datagram_priority != 0;
    if (datagrams)
        tx_streams(tx, after);
    if (datagrams &&
        quic_datagrams_tx(conn->datagrams, &tx->out, &conn->recovery.spaces[tx->space], quic_conn_datagram_max(conn)))
        tx->eliciting = true;
    if (!datagrams || !after)
        tx_streams(tx, true);
}

/* ---- a whole packet ---- */

static inline bool tx_has_news(struct quic_conn *conn) {
    return crypto_wanted(conn, QUIC_APPLICATION) || quic_datagrams_sendable(conn->datagrams) || conn->control_wanted ||
           path_wanted(quic_path_active(conn)) || (conn->streams.want_send && quic_streams_sendable(&conn->streams));
}

bool quic_tx_has_news(struct quic_conn *conn) { return tx_has_news(conn); }

/* What there is to say at this level besides acknowledging. */
static bool tx_wants_more(struct quic_conn *conn, enum crypto_level level) {
    if (level == CRYPTO_APPLICATION)
        return conn->ping_wanted || tx_has_news(conn);
    if (level == CRYPTO_EARLY)
        return quic_datagrams_sendable(conn->datagrams) || quic_streams_sendable(&conn->streams);
    return crypto_wanted(conn, quic_space_of(level));
}

bool quic_tx_wants(struct quic_conn *conn, enum crypto_level level, bool window_open, base_time now) {
    enum quic_space space = quic_space_of(level);
    if (level != CRYPTO_EARLY && quic_ack_wanted(&conn->acks[space], now, false))
        return true;
    if (!window_open)
        return false;
    return (level != CRYPTO_EARLY && conn->recovery.probes[space]) || tx_wants_more(conn, level);
}

bool quic_tx_fill(struct quic_tx *tx) {
    struct quic_conn *conn = tx->conn;
    uint8_t *start = tx->out.pos;
    /* During the handshake every probe says what is missing: a PING to a server that has not seen the ClientHello is
     * worth nothing (RFC 9000 17.2.2), and a second copy of it doubles the chance. */
    if (tx->probe && tx->level != CRYPTO_APPLICATION && !tx_wants_more(conn, tx->level))
        quic_recovery_repeat(&conn->recovery, tx->space);
    tx_ack(tx, tx->window_open && (tx->probe || tx_wants_more(conn, tx->level)));
    if (tx->window_open) {
        if (tx->level != CRYPTO_EARLY)
            tx_crypto(tx);
        if (tx->level == CRYPTO_APPLICATION) {
            quic_tx_path_frames(tx);
            tx_control(tx);
        }
        if (tx->space == QUIC_APPLICATION)
            tx_data(tx);
        bool ping = tx->probe || (conn->ping_wanted && tx->level == CRYPTO_APPLICATION);
        if (ping && !tx->eliciting && base_writer_left(&tx->out)) {
            quic_frame_write_type(&tx->out, QUIC_FRAME_PING);
            tx->eliciting = true;
        }
        if (tx->eliciting && tx->level == CRYPTO_APPLICATION)
            conn->ping_wanted = false;
    }
    tx->in_flight = tx->eliciting;
    return tx->out.pos != start;
}

/* ---- fate ---- */

static void fate_ack(struct quic_conn *conn, enum quic_space space, const struct quic_sent_frame *frame, bool acked) {
    if (acked)
        quic_ack_on_acked(&conn->acks[space], frame->value);
}

static void fate_crypto(struct quic_conn *conn, enum quic_space space, const struct quic_sent_frame *frame,
                        bool acked) {
    struct quic_crypto_stream *stream = conn->crypto[space];
    if (!stream)
        return;
    if (acked)
        quic_stream_send_on_acked(&stream->send, conn->endpoint->mem, frame->value, frame->len, false, NULL, NULL);
    else
        quic_stream_send_on_lost(&stream->send, conn->endpoint->mem, frame->value, frame->len, false);
}

static void fate_want(struct quic_conn *conn, uint8_t *want, bool acked) {
    if (acked) {
        *want = QUIC_WANT_DONE;
    } else if (*want == QUIC_IN_FLIGHT) {
        *want = QUIC_WANTED;
        conn->control_wanted = true;
    }
}

static void fate_handshake_done(struct quic_conn *conn, enum quic_space space, const struct quic_sent_frame *frame,
                                bool acked) {
    (void)space;
    (void)frame;
    fate_want(conn, &conn->want_handshake_done, acked);
}

static void fate_new_token(struct quic_conn *conn, enum quic_space space, const struct quic_sent_frame *frame,
                           bool acked) {
    (void)space;
    if (frame->value == conn->new_tokens) /* else there is a newer one */
        fate_want(conn, &conn->want_new_token, acked);
}

static void fate_new_cid(struct quic_conn *conn, enum quic_space space, const struct quic_sent_frame *frame,
                         bool acked) {
    (void)space;
    struct quic_local_cid *cid = &conn->local_cids.list[frame->extra];
    if (cid->used && cid->sequence == frame->value)
        fate_want(conn, &cid->want, acked);
}

static void fate_retire_cid(struct quic_conn *conn, enum quic_space space, const struct quic_sent_frame *frame,
                            bool acked) {
    (void)space;
    struct quic_remote_cids *set = &conn->remote_cids;
    if (set->retire[frame->extra].sequence != frame->value || set->retire[frame->extra].want == QUIC_WANT_NOT)
        return;
    fate_want(conn, &set->retire[frame->extra].want, acked);
    if (acked)
        set->retire[frame->extra].want = QUIC_WANT_NOT; /* the entry is free again */
}

static void fate_datagram(struct quic_conn *conn, enum quic_space space, const struct quic_sent_frame *frame,
                          bool acked) {
    (void)space;
    quic_conn_datagram_fate(conn, frame, acked);
}

static void fate_ack_frequency(struct quic_conn *conn, enum quic_space space, const struct quic_sent_frame *frame,
                               bool acked) {
    (void)space;
    quic_ack_frequency_fate(conn, frame, acked);
}

void quic_tx_on_fate(void *user, enum quic_space space, const struct quic_sent_frame *frame, enum quic_fate fate) {
    static void (*const fates[])(struct quic_conn *, enum quic_space, const struct quic_sent_frame *, bool) = {
        [QUIC_FRAME_ACK] = fate_ack,
        [QUIC_FRAME_CRYPTO] = fate_crypto,
        [QUIC_FRAME_NEW_TOKEN] = fate_new_token,
        [QUIC_FRAME_NEW_CONNECTION_ID] = fate_new_cid,
        [QUIC_FRAME_RETIRE_CONNECTION_ID] = fate_retire_cid,
        [QUIC_FRAME_HANDSHAKE_DONE] = fate_handshake_done,
        [QUIC_FRAME_DATAGRAM] = fate_datagram,
        [QUIC_FRAME_ACK_FREQUENCY] = fate_ack_frequency,
    };
    struct quic_conn *conn = user;
    bool acked = fate == QUIC_FATE_ACKED;
    if (space == QUIC_APPLICATION && quic_streams_on_fate(&conn->streams, frame, acked))
        return;
    if (frame->kind < sizeof fates / sizeof *fates && fates[frame->kind])
        fates[frame->kind](conn, space, frame, acked);
}

void quic_tx_on_packet(void *user, enum quic_space space, uint64_t number, const struct quic_sent_packet *packet,
                       enum quic_fate fate) {
    struct quic_conn *conn = user;
    if (conn->qlog && fate == QUIC_FATE_LOST && packet->in_flight)
        quic_qlog_lost(conn, space, number, packet);
    if (space != QUIC_APPLICATION)
        return;
    if (fate == QUIC_FATE_ACKED)
        quic_keyphase_on_acked(conn, number);
    if (fate == QUIC_FATE_LOST && packet->requeued && conn->datagrams)
        quic_conn_datagram_lost_packet(conn, packet);
    quic_mtu_on_packet(conn, number, packet, fate == QUIC_FATE_ACKED);
}
