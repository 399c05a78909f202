/* rx_frame.c - what a received frame means (RFC 9000 sections 12.4 and 19).
 *
 * One table says for each frame type who handles it, in which packets it may stand, whether it asks for an
 * acknowledgement and whether it is a probing frame. One loop walks a packet's frames; there is no other. Handlers
 * return 0, a transport error to close with, or QUIC_RX_DROP when memory is missing and the packet must count as not
 * received: frames are idempotent, so the peer's repetition does no harm.
 *
 * Invariant: no handler runs for a frame its packet type or the sender's role does not allow.
 */
#include "quic/walk.h"
#include "tables/errors.h"

typedef int (*rx_handler)(struct quic_rx *rx, const struct quic_frame *frame);

/* ---- handlers ---- */

#define TINY 16u      /* bytes of data; less is tiny */
#define TINY_MANY 16u /* frames in a packet */

static int rx_nothing(struct quic_rx *rx, const struct quic_frame *frame) {
    (void)rx;
    (void)frame;
    return 0;
}

static int rx_ping(struct quic_rx *rx, const struct quic_frame *frame) {
    (void)frame;
    rx->glitch = QUIC_GLITCH_ping;
    return 0;
}

/* A frame with data. An application that sends byte by byte is nobody's enemy; a peer that fills packets with such
 * frames makes us work two hundred times for each of them. */
static void rx_weigh(struct quic_rx *rx, uint64_t len) {
    if (len < TINY && ++rx->tiny > TINY_MANY && rx->tiny % TINY_MANY == 0)
        rx->glitch = QUIC_GLITCH_tiny;
}

static int rx_ack(struct quic_rx *rx, const struct quic_frame *frame) {
    struct quic_conn *conn = rx->conn;
    struct quic_frame_ack ack = frame->u.ack;
    uint64_t exponent = rx->space == QUIC_APPLICATION ? conn->peer_params.ack_delay_exponent : 0;
    /* a delay that cannot be is taken as the longest that matters */
    base_time delay =
        ack.delay > (BASE_SEC * 60 / BASE_US) >> exponent ? 60 * BASE_SEC : (ack.delay << exponent) * BASE_US;
    conn->stats.acks_received++;
    enum quic_error error = quic_recovery_on_ack(&conn->recovery, rx->space, &ack, delay, rx->now);
    conn->stats.acks_optimistic += error != QUIC_NO_ERROR;
    if (conn->recovery.ack_result == QUIC_ACK_CUT)
        rx->glitch = QUIC_GLITCH_ack_ranges;
    else if (conn->recovery.ack_result == QUIC_ACK_NOTHING)
        rx->glitch = QUIC_GLITCH_ack_useless;
    if (rx->space == QUIC_APPLICATION && !error)
        quic_ack_frequency_adapt(conn, rx->now);
    quic_conn_mark_dirty(conn);
    return (int)error;
}

static int rx_crypto(struct quic_rx *rx, const struct quic_frame *frame) {
    struct quic_conn *conn = rx->conn;
    int result = quic_handshake_crypto(conn, rx->space, frame);
    if (result) {
        rx->glitch = QUIC_GLITCH_crypto_gap; /* too many gaps, or no memory for one more piece */
        return result;
    }
    const struct quic_stream_recv *recv = &conn->crypto[rx->space]->recv;
    rx_weigh(rx, frame->u.crypto.len);
    if (!recv->news)
        rx->glitch = QUIC_GLITCH_crypto_useless;
    else if (frame->u.crypto.offset > recv->ready)
        rx->glitch = QUIC_GLITCH_crypto_gap;
    quic_handshake_input(rx->conn, rx->space, rx->now);
    return 0;
}

static int rx_streams(struct quic_rx *rx, const struct quic_frame *frame) {
    struct quic_conn *conn = rx->conn;
    conn->streams.rx_early = rx->level == CRYPTO_EARLY;
    conn->streams.rx_glitch = QUIC_GLITCH_NONE;
    if (frame->type >= QUIC_FRAME_STREAM && frame->type < QUIC_FRAME_STREAM + 8 && !frame->u.stream.fin)
        rx_weigh(rx, frame->u.stream.len);
    int result = quic_streams_rx(&conn->streams, frame, rx->buf, rx->now);
    if (conn->streams.rx_glitch)
        rx->glitch = conn->streams.rx_glitch;
    if (conn->streams.want_send)
        quic_conn_mark_dirty(conn);
    return result;
}

static int rx_reset_stream_at(struct quic_rx *rx, const struct quic_frame *frame) {
    return rx->conn->config->options.reset_stream_at ? rx_streams(rx, frame) : QUIC_FRAME_ENCODING_ERROR;
}

static int rx_ack_frequency(struct quic_rx *rx, const struct quic_frame *frame) {
    rx->glitch = QUIC_GLITCH_ack_frequency;
    return rx->conn->config->options.ack_frequency ? quic_ack_frequency_rx(rx->conn, frame) : QUIC_FRAME_ENCODING_ERROR;
}

static int rx_immediate_ack(struct quic_rx *rx, const struct quic_frame *frame) {
    (void)frame;
    if (!rx->conn->config->options.ack_frequency)
        return QUIC_FRAME_ENCODING_ERROR;
    quic_ack_at_once(&rx->conn->acks[rx->space], rx->now);
    rx->glitch = QUIC_GLITCH_immediate_ack;
    return 0;
}

static int rx_datagram(struct quic_rx *rx, const struct quic_frame *frame) {
    rx_weigh(rx, frame->u.datagram.len);
    return quic_conn_datagram_rx(rx->conn, frame, rx->buf, rx->level == CRYPTO_EARLY);
}

static int rx_new_token(struct quic_rx *rx, const struct quic_frame *frame) {
    struct quic_conn *conn = rx->conn;
    struct base_mem *mem = conn->endpoint->mem;
    if (conn->role == CRYPTO_SERVER)
        return QUIC_PROTOCOL_VIOLATION; /* 19.7 */
    rx->glitch = QUIC_GLITCH_new_token;
    size_t len = 4 + (size_t)frame->u.new_token.len; /* a token is good for the version it came in (RFC 9369 5) */
    uint8_t *token = base_alloc(mem, len);
    if (!token)
        return QUIC_RX_DROP;
    base_store_uint(token, conn->version, 4);
    memcpy(token + 4, frame->u.new_token.token, len - 4);
    base_free(mem, conn->new_token, conn->new_token_len);
    conn->new_token = token;
    conn->new_token_len = len;
    base_event_raise(conn->endpoint->events, &conn->event, QUIC_CONN_EV_TOKEN);
    return 0;
}

static int rx_new_cid(struct quic_rx *rx, const struct quic_frame *frame) {
    struct quic_conn *conn = rx->conn;
    unsigned retired = 0;
    enum quic_error error =
        quic_remote_cids_add(&conn->remote_cids, frame->u.new_cid.sequence, frame->u.new_cid.retire_prior_to,
                             &frame->u.new_cid.cid, frame->u.new_cid.reset_token, &retired);
    if (error)
        return (int)error;
    rx->glitch = QUIC_GLITCH_new_connection_id;
    if (!quic_path_replace_cids(conn, retired, rx->now))
        return QUIC_PROTOCOL_VIOLATION; /* every ID we could use is retired, and none was given */
    conn->control_wanted = true;        /* RETIRE_CONNECTION_ID may be owed */
    quic_conn_mark_dirty(conn);
    return 0;
}

static int rx_retire_cid(struct quic_rx *rx, const struct quic_frame *frame) {
    struct quic_conn *conn = rx->conn;
    if (frame->u.retire_cid.sequence >= conn->local_cids.next_sequence)
        return QUIC_PROTOCOL_VIOLATION;
    enum quic_error error = quic_endpoint_retire_cid(conn->endpoint, conn, frame->u.retire_cid.sequence, rx->dcid);
    if (error)
        return (int)error;
    rx->glitch = QUIC_GLITCH_retire_connection_id;
    while (quic_local_cids_room(&conn->local_cids) && quic_endpoint_issue_cid(conn->endpoint, conn))
        conn->control_wanted = true;
    quic_conn_mark_dirty(conn);
    return 0;
}

static int rx_path_challenge(struct quic_rx *rx, const struct quic_frame *frame) {
    rx->glitch = QUIC_GLITCH_path_challenge;
    quic_path_on_challenge(rx->path, frame->u.path.data);
    quic_conn_mark_dirty(rx->conn);
    return 0;
}

static int rx_path_response(struct quic_rx *rx, const struct quic_frame *frame) {
    if (quic_path_on_response(rx->conn, frame->u.path.data, rx->now))
        quic_conn_mark_dirty(rx->conn);
    else
        rx->glitch = QUIC_GLITCH_path_response;
    return 0; /* one that matches nothing may be late: ignored (8.2.3 lets us) */
}

static int rx_close(struct quic_rx *rx, const struct quic_frame *frame) {
    struct quic_close close = {.cause = QUIC_CAUSE_PEER,
                               .app = frame->type == QUIC_FRAME_CONNECTION_CLOSE_APP,
                               .code = frame->u.close.code,
                               .frame_type = frame->u.close.frame_type};
    uint64_t len = frame->u.close.reason_len;
    close.reason_len = (uint8_t)(len < QUIC_REASON_MAX ? len : QUIC_REASON_MAX);
    if (close.reason_len)
        memcpy(close.reason, frame->u.close.reason, close.reason_len);
    quic_close_drain(rx->conn, &close, rx->now);
    return 0;
}

static int rx_handshake_done(struct quic_rx *rx, const struct quic_frame *frame) {
    (void)frame;
    if (rx->conn->role == CRYPTO_SERVER)
        return QUIC_PROTOCOL_VIOLATION; /* 19.20 */
    if (rx->conn->handshake_confirmed)
        rx->glitch = QUIC_GLITCH_handshake_done;
    quic_handshake_confirm(rx->conn, rx->now);
    return 0;
}

/* ---- the table: RFC 9000 table 3, and the extensions ---- */

enum {
    IN_INITIAL = 1u << CRYPTO_INITIAL,
    IN_0RTT = 1u << CRYPTO_EARLY,
    IN_HANDSHAKE = 1u << CRYPTO_HANDSHAKE,
    IN_1RTT = 1u << CRYPTO_APPLICATION
};
#define IN_ALL (IN_INITIAL | IN_0RTT | IN_HANDSHAKE | IN_1RTT)
#define IN_KEYED (IN_INITIAL | IN_HANDSHAKE | IN_1RTT)
#define IN_DATA (IN_0RTT | IN_1RTT)
enum { ELICITS = 1, PROBES = 2, LONE = 4 };

struct rx_rule {
    rx_handler handler;
    uint8_t levels;
    uint8_t flags;
};

#define STREAM_RULE \
    { rx_streams, IN_DATA, ELICITS }

static const struct rx_rule rules[] = {
    [QUIC_FRAME_PADDING] = {rx_nothing, IN_ALL, PROBES | LONE},
    [QUIC_FRAME_PING] = {rx_ping, IN_ALL, ELICITS | LONE},
    [QUIC_FRAME_ACK] = {rx_ack, IN_KEYED, LONE},
    [QUIC_FRAME_ACK_ECN] = {rx_ack, IN_KEYED, LONE},
    [QUIC_FRAME_RESET_STREAM] = STREAM_RULE,
    [QUIC_FRAME_STOP_SENDING] = STREAM_RULE,
    [QUIC_FRAME_CRYPTO] = {rx_crypto, IN_KEYED, ELICITS},
    [QUIC_FRAME_NEW_TOKEN] = {rx_new_token, IN_1RTT, ELICITS},
    [QUIC_FRAME_STREAM] = STREAM_RULE,
    [QUIC_FRAME_STREAM + 1] = STREAM_RULE,
    [QUIC_FRAME_STREAM + 2] = STREAM_RULE,
    [QUIC_FRAME_STREAM + 3] = STREAM_RULE,
    [QUIC_FRAME_STREAM + 4] = STREAM_RULE,
    [QUIC_FRAME_STREAM + 5] = STREAM_RULE,
    [QUIC_FRAME_STREAM + 6] = STREAM_RULE,
    [QUIC_FRAME_STREAM + 7] = STREAM_RULE,
    [QUIC_FRAME_MAX_DATA] = STREAM_RULE,
    [QUIC_FRAME_MAX_STREAM_DATA] = STREAM_RULE,
    [QUIC_FRAME_MAX_STREAMS_BIDI] = STREAM_RULE,
    [QUIC_FRAME_MAX_STREAMS_UNI] = STREAM_RULE,
    [QUIC_FRAME_DATA_BLOCKED] = STREAM_RULE,
    [QUIC_FRAME_STREAM_DATA_BLOCKED] = STREAM_RULE,
    [QUIC_FRAME_STREAMS_BLOCKED_BIDI] = STREAM_RULE,
    [QUIC_FRAME_STREAMS_BLOCKED_UNI] = STREAM_RULE,
    [QUIC_FRAME_NEW_CONNECTION_ID] = {rx_new_cid, IN_DATA, ELICITS | PROBES},
    [QUIC_FRAME_RETIRE_CONNECTION_ID] = {rx_retire_cid, IN_1RTT, ELICITS}, /* 12.5: not in 0-RTT */
    [QUIC_FRAME_PATH_CHALLENGE] = {rx_path_challenge, IN_DATA, ELICITS | PROBES},
    [QUIC_FRAME_PATH_RESPONSE] = {rx_path_response, IN_1RTT, ELICITS | PROBES},
    [QUIC_FRAME_CONNECTION_CLOSE] = {rx_close, IN_ALL, 0},
    [QUIC_FRAME_CONNECTION_CLOSE_APP] = {rx_close, IN_DATA, 0},
    [QUIC_FRAME_HANDSHAKE_DONE] = {rx_handshake_done, IN_1RTT, ELICITS},
    [QUIC_FRAME_IMMEDIATE_ACK] = {rx_immediate_ack, IN_1RTT, ELICITS},
    [QUIC_FRAME_ACK_FREQUENCY] = {rx_ack_frequency, IN_1RTT, ELICITS},
    [QUIC_FRAME_RESET_STREAM_AT] = {rx_reset_stream_at, IN_DATA, ELICITS},
    [QUIC_FRAME_DATAGRAM] = {rx_datagram, IN_DATA, ELICITS},
    [QUIC_FRAME_DATAGRAM_LEN] = {rx_datagram, IN_DATA, ELICITS},
};

static const char *rx_error_text(int error) {
    switch (error) {
    case QUIC_FRAME_ENCODING_ERROR: return "malformed frame";
    case QUIC_FLOW_CONTROL_ERROR: return "more data than allowed";
    case QUIC_STREAM_LIMIT_ERROR: return "more streams than allowed";
    case QUIC_STREAM_STATE_ERROR: return "frame not allowed in this state of the stream";
    case QUIC_FINAL_SIZE_ERROR: return "final size changed";
    case QUIC_CRYPTO_BUFFER_EXCEEDED: return "too much CRYPTO data ahead of order";
    case QUIC_CONNECTION_ID_LIMIT_ERROR: return "more connection IDs than allowed";
    default: return "frame not allowed here";
    }
}

/* One frame. 0; QUIC_RX_DROP; or the error to close with. */
static int rx_frame(struct quic_rx *rx, const struct quic_frame *frame) {
    const struct rx_rule *rule = frame->type < sizeof rules / sizeof *rules ? &rules[frame->type] : NULL;
    if (!rule || !rule->handler)
        return QUIC_FRAME_ENCODING_ERROR;
    if (!(rule->levels & (1u << rx->level)))
        return QUIC_PROTOCOL_VIOLATION;
    rx->eliciting |= (rule->flags & ELICITS) != 0;
    rx->probing &= (rule->flags & PROBES) != 0;
    rx->lone &= (rule->flags & LONE) != 0;
    rx->glitch = QUIC_GLITCH_NONE;
    int result = rule->handler(rx, frame);
    if (rx->glitch && result <= 0) { /* also when the packet is to be dropped: it was work */
        rx->glitched = true;
        quic_glitch(rx->conn, (enum quic_glitch)rx->glitch, frame->type, rx->now);
    }
    return result;
}

int quic_rx_frames(struct quic_rx *rx, const uint8_t *payload, size_t len) {
    struct quic_conn *conn = rx->conn;
    struct base_reader in = base_reader_of(payload, len);
    struct quic_frame frame;
    rx->eliciting = false;
    rx->probing = rx->lone = true;
    while (in.pos < in.end && conn->state < QUIC_CONN_CLOSING) {
        int result = (int)quic_frame_parse(&in, &frame);
        if (!result)
            result = rx_frame(rx, &frame);
        if (result == QUIC_RX_DROP)
            return result;
        if (result) {
            bool lied = conn->stats.acks_optimistic != 0; /* it is the end, so there is no second */
            quic_conn_fail(conn, (uint64_t)result, frame.type,
                           lied ? "acknowledgement of a packet that was not sent" : rx_error_text(result), rx->now);
            return result;
        }
    }
    if (conn->early_count && rx->space != QUIC_APPLICATION)
        quic_rx_early(conn, rx->now); /* the handshake may have brought keys */
    return 0;
}
