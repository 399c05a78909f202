/* qlog_frame.c - frames as qlog has them (draft-ietf-quic-qlog-quic-events section 12).
 *
 * The bytes are read with the same parser that reads what the peer sends. One table leads from a type to its name and
 * the function that writes its members. Frames of extensions the draft does not know (ACK_FREQUENCY, IMMEDIATE_ACK)
 * have members named after their fields.
 *
 * Lengths are told, contents are not; nor are tokens, which are as good as keys to whoever holds them.
 *
 * Invariant: each frame leaves QLOG_FRAME_LEAST bytes of room or is not written.
 */
#include "quic/frame.h"
#include "quic/qlog.h"

#define QLOG_FRAME_LEAST 1536u /* a CONNECTION_CLOSE with the longest reason we write fits */
#define QLOG_RANGE_LEAST 64u   /* of an ACK */
#define QLOG_REASON_MOST 256u

struct written { /* beside the frame itself */
    uint64_t exponent;
    size_t len; /* of the frame */
};

/* ---- errors ---- */

static const char *const transport_errors[] = {
    [QUIC_NO_ERROR] = "no_error",
    [QUIC_INTERNAL_ERROR] = "internal_error",
    [QUIC_CONNECTION_REFUSED] = "connection_refused",
    [QUIC_FLOW_CONTROL_ERROR] = "flow_control_error",
    [QUIC_STREAM_LIMIT_ERROR] = "stream_limit_error",
    [QUIC_STREAM_STATE_ERROR] = "stream_state_error",
    [QUIC_FINAL_SIZE_ERROR] = "final_size_error",
    [QUIC_FRAME_ENCODING_ERROR] = "frame_encoding_error",
    [QUIC_TRANSPORT_PARAMETER_ERROR] = "transport_parameter_error",
    [QUIC_CONNECTION_ID_LIMIT_ERROR] = "connection_id_limit_error",
    [QUIC_PROTOCOL_VIOLATION] = "protocol_violation",
    [QUIC_INVALID_TOKEN] = "invalid_token",
    [QUIC_APPLICATION_ERROR] = "application_error",
    [QUIC_CRYPTO_BUFFER_EXCEEDED] = "crypto_buffer_exceeded",
    [QUIC_KEY_UPDATE_ERROR] = "key_update_error",
    [QUIC_AEAD_LIMIT_REACHED] = "aead_limit_reached",
    [QUIC_NO_VIABLE_PATH] = "no_viable_path",
};

void quic_qlog_error(struct qlog_json *json, const char *name, bool app, uint64_t code) {
    if (!app && code >= QUIC_CRYPTO_ERROR && code < QUIC_CRYPTO_ERROR + 256) {
        static const char digits[] = "0123456789abcdef";
        char text[] = "crypto_error_0x100";
        text[sizeof text - 3] = digits[code >> 4 & 15];
        text[sizeof text - 2] = digits[code & 15];
        qlog_json_text(json, name, text);
    } else if (!app && code < sizeof transport_errors / sizeof *transport_errors) {
        qlog_json_text(json, name, transport_errors[code]);
    } else {
        qlog_json_text(json, name, "unknown");
        qlog_json_uint(json, "error_code", code);
    }
}

void quic_qlog_reason(struct qlog_json *json, const void *reason, size_t len) {
    if (len > QLOG_REASON_MOST)
        len = QLOG_REASON_MOST;
    if (!len)
        return;
    if (qlog_is_utf8(reason, len))
        qlog_json_bytes(json, "reason", reason, len);
    else
        qlog_json_hex(json, "reason_bytes", reason, len);
}

/* ---- the frames ---- */

static void raw(struct qlog_json *json, size_t len, uint64_t payload) {
    qlog_json_open(json, "raw", '{');
    qlog_json_uint(json, "length", len);
    qlog_json_uint(json, "payload_length", payload);
    qlog_json_close(json, '}');
}

static void frame_bare(struct qlog_json *json, const struct quic_frame *frame, const struct written *about) {
    (void)json;
    (void)frame;
    (void)about;
}

static void frame_padding(struct qlog_json *json, const struct quic_frame *frame, const struct written *about) {
    (void)frame;
    raw(json, about->len, 0);
}

static void range(struct qlog_json *json, uint64_t low, uint64_t high) {
    qlog_json_open(json, NULL, '[');
    qlog_json_uint(json, NULL, low);
    if (high != low)
        qlog_json_uint(json, NULL, high);
    qlog_json_close(json, ']');
}

static void frame_ack(struct qlog_json *json, const struct quic_frame *frame, const struct written *about) {
    struct quic_frame_ack ack = frame->u.ack;
    uint64_t low = ack.largest - ack.first_range, high = ack.largest;
    uint64_t delay =
        ack.delay > (UINT64_MAX / BASE_US) >> about->exponent ? UINT64_MAX : (ack.delay << about->exponent) * BASE_US;
    qlog_json_ms(json, "ack_delay", delay);
    qlog_json_open(json, "acked_ranges", '[');
    do
        range(json, low, high);
    while (quic_frame_ack_next(&ack, &low, &high) && qlog_json_left(json) > QLOG_FRAME_LEAST + QLOG_RANGE_LEAST);
    qlog_json_close(json, ']');
    if (frame->type != QUIC_FRAME_ACK_ECN)
        return;
    qlog_json_uint(json, "ect1", ack.ect1);
    qlog_json_uint(json, "ect0", ack.ect0);
    qlog_json_uint(json, "ce", ack.ce);
}

static void frame_reset_stream(struct qlog_json *json, const struct quic_frame *frame, const struct written *about) {
    (void)about;
    qlog_json_uint(json, "stream_id", frame->u.reset_stream.id);
    quic_qlog_error(json, "error", true, frame->u.reset_stream.code);
    qlog_json_uint(json, "final_size", frame->u.reset_stream.final_size);
    if (frame->type == QUIC_FRAME_RESET_STREAM_AT)
        qlog_json_uint(json, "reliable_size", frame->u.reset_stream.reliable_size);
}

static void frame_stop_sending(struct qlog_json *json, const struct quic_frame *frame, const struct written *about) {
    (void)about;
    qlog_json_uint(json, "stream_id", frame->u.stop_sending.id);
    quic_qlog_error(json, "error", true, frame->u.stop_sending.code);
}

static void frame_crypto(struct qlog_json *json, const struct quic_frame *frame, const struct written *about) {
    qlog_json_uint(json, "offset", frame->u.crypto.offset);
    raw(json, about->len, frame->u.crypto.len);
}

static void frame_new_token(struct qlog_json *json, const struct quic_frame *frame, const struct written *about) {
    (void)about;
    qlog_json_open(json, "token", '{');
    qlog_json_text(json, "type", "resumption");
    qlog_json_open(json, "raw", '{');
    qlog_json_uint(json, "length", frame->u.new_token.len);
    qlog_json_close(json, '}');
    qlog_json_close(json, '}');
}

static void frame_stream(struct qlog_json *json, const struct quic_frame *frame, const struct written *about) {
    qlog_json_uint(json, "stream_id", frame->u.stream.id);
    qlog_json_uint(json, "offset", frame->u.stream.offset);
    if (frame->u.stream.fin)
        qlog_json_flag(json, "fin", true);
    raw(json, about->len, frame->u.stream.len);
}

static void frame_max(struct qlog_json *json, const struct quic_frame *frame, const struct written *about) {
    (void)about;
    if (frame->type == QUIC_FRAME_MAX_STREAM_DATA)
        qlog_json_uint(json, "stream_id", frame->u.max.id);
    if (frame->type == QUIC_FRAME_MAX_STREAMS_BIDI || frame->type == QUIC_FRAME_MAX_STREAMS_UNI)
        qlog_json_text(json, "stream_type",
                       frame->type == QUIC_FRAME_MAX_STREAMS_BIDI ? "bidirectional" : "unidirectional");
    qlog_json_uint(json, "maximum", frame->u.max.max);
}

static void frame_blocked(struct qlog_json *json, const struct quic_frame *frame, const struct written *about) {
    (void)about;
    if (frame->type == QUIC_FRAME_STREAM_DATA_BLOCKED)
        qlog_json_uint(json, "stream_id", frame->u.blocked.id);
    if (frame->type == QUIC_FRAME_STREAMS_BLOCKED_BIDI || frame->type == QUIC_FRAME_STREAMS_BLOCKED_UNI)
        qlog_json_text(json, "stream_type",
                       frame->type == QUIC_FRAME_STREAMS_BLOCKED_BIDI ? "bidirectional" : "unidirectional");
    qlog_json_uint(json, "limit", frame->u.blocked.limit);
}

static void frame_new_cid(struct qlog_json *json, const struct quic_frame *frame, const struct written *about) {
    (void)about;
    qlog_json_uint(json, "sequence_number", frame->u.new_cid.sequence);
    qlog_json_uint(json, "retire_prior_to", frame->u.new_cid.retire_prior_to);
    qlog_json_uint(json, "connection_id_length", frame->u.new_cid.cid.len);
    qlog_json_hex(json, "connection_id", frame->u.new_cid.cid.id, frame->u.new_cid.cid.len);
}

static void frame_retire_cid(struct qlog_json *json, const struct quic_frame *frame, const struct written *about) {
    (void)about;
    qlog_json_uint(json, "sequence_number", frame->u.retire_cid.sequence);
}

static void frame_path(struct qlog_json *json, const struct quic_frame *frame, const struct written *about) {
    (void)about;
    qlog_json_hex(json, "data", frame->u.path.data, 8);
}

static void frame_close(struct qlog_json *json, const struct quic_frame *frame, const struct written *about) {
    (void)about;
    bool app = frame->type == QUIC_FRAME_CONNECTION_CLOSE_APP;
    qlog_json_text(json, "error_space", app ? "application" : "transport");
    quic_qlog_error(json, "error", app, frame->u.close.code);
    quic_qlog_reason(json, frame->u.close.reason, (size_t)frame->u.close.reason_len);
    if (!app)
        qlog_json_uint(json, "trigger_frame_type", frame->u.close.frame_type);
}

static void frame_datagram(struct qlog_json *json, const struct quic_frame *frame, const struct written *about) {
    raw(json, about->len, frame->u.datagram.len);
}

static void frame_ack_frequency(struct qlog_json *json, const struct quic_frame *frame, const struct written *about) {
    (void)about;
    qlog_json_uint(json, "sequence_number", frame->u.ack_frequency.sequence);
    qlog_json_uint(json, "ack_eliciting_threshold", frame->u.ack_frequency.threshold);
    qlog_json_ms(json, "requested_max_ack_delay",
                 frame->u.ack_frequency.max_delay < UINT64_MAX / BASE_US ? frame->u.ack_frequency.max_delay * BASE_US
                                                                         : UINT64_MAX);
    qlog_json_uint(json, "reordering_threshold", frame->u.ack_frequency.reordering);
}

/* ---- the table ---- */

struct frame_row {
    const char *name;
    void (*write)(struct qlog_json *json, const struct quic_frame *frame, const struct written *about);
};

#define STREAM_ROW \
    { "stream", frame_stream }

static const struct frame_row rows[] = {
    [QUIC_FRAME_PADDING] = {"padding", frame_padding},
    [QUIC_FRAME_PING] = {"ping", frame_bare},
    [QUIC_FRAME_ACK] = {"ack", frame_ack},
    [QUIC_FRAME_ACK_ECN] = {"ack", frame_ack},
    [QUIC_FRAME_RESET_STREAM] = {"reset_stream", frame_reset_stream},
    [QUIC_FRAME_STOP_SENDING] = {"stop_sending", frame_stop_sending},
    [QUIC_FRAME_CRYPTO] = {"crypto", frame_crypto},
    [QUIC_FRAME_NEW_TOKEN] = {"new_token", frame_new_token},
    [QUIC_FRAME_STREAM] = STREAM_ROW,
    [QUIC_FRAME_STREAM + 1] = STREAM_ROW,
    [QUIC_FRAME_STREAM + 2] = STREAM_ROW,
    [QUIC_FRAME_STREAM + 3] = STREAM_ROW,
    [QUIC_FRAME_STREAM + 4] = STREAM_ROW,
    [QUIC_FRAME_STREAM + 5] = STREAM_ROW,
    [QUIC_FRAME_STREAM + 6] = STREAM_ROW,
    [QUIC_FRAME_STREAM + 7] = STREAM_ROW,
    [QUIC_FRAME_MAX_DATA] = {"max_data", frame_max},
    [QUIC_FRAME_MAX_STREAM_DATA] = {"max_stream_data", frame_max},
    [QUIC_FRAME_MAX_STREAMS_BIDI] = {"max_streams", frame_max},
    [QUIC_FRAME_MAX_STREAMS_UNI] = {"max_streams", frame_max},
    [QUIC_FRAME_DATA_BLOCKED] = {"data_blocked", frame_blocked},
    [QUIC_FRAME_STREAM_DATA_BLOCKED] = {"stream_data_blocked", frame_blocked},
    [QUIC_FRAME_STREAMS_BLOCKED_BIDI] = {"streams_blocked", frame_blocked},
    [QUIC_FRAME_STREAMS_BLOCKED_UNI] = {"streams_blocked", frame_blocked},
    [QUIC_FRAME_NEW_CONNECTION_ID] = {"new_connection_id", frame_new_cid},
    [QUIC_FRAME_RETIRE_CONNECTION_ID] = {"retire_connection_id", frame_retire_cid},
    [QUIC_FRAME_PATH_CHALLENGE] = {"path_challenge", frame_path},
    [QUIC_FRAME_PATH_RESPONSE] = {"path_response", frame_path},
    [QUIC_FRAME_CONNECTION_CLOSE] = {"connection_close", frame_close},
    [QUIC_FRAME_CONNECTION_CLOSE_APP] = {"connection_close", frame_close},
    [QUIC_FRAME_HANDSHAKE_DONE] = {"handshake_done", frame_bare},
    [QUIC_FRAME_IMMEDIATE_ACK] = {"immediate_ack", frame_bare},
    [QUIC_FRAME_RESET_STREAM_AT] = {"reset_stream_at", frame_reset_stream},
    [QUIC_FRAME_DATAGRAM] = {"datagram", frame_datagram},
    [QUIC_FRAME_DATAGRAM_LEN] = {"datagram", frame_datagram},
    [QUIC_FRAME_ACK_FREQUENCY] = {"ack_frequency", frame_ack_frequency},
};

static void write_frame(struct qlog_json *json, const struct quic_frame *frame, bool good,
                        const struct written *about) {
    const struct frame_row *row = good && frame->type < sizeof rows / sizeof *rows ? &rows[frame->type] : NULL;
    qlog_json_open(json, NULL, '{');
    if (row && row->name) {
        qlog_json_text(json, "frame_type", row->name);
        row->write(json, frame, about);
    } else { /* no frame that we know, or cut short: nobody knows where the next one begins */
        qlog_json_text(json, "frame_type", "unknown");
        qlog_json_uint(json, "frame_type_bytes", frame->type);
        raw(json, about->len, 0);
    }
    qlog_json_close(json, '}');
}

void quic_qlog_frames(struct qlog_json *json, const uint8_t *payload, size_t len, uint64_t exponent) {
    struct base_reader in = base_reader_of(payload, len);
    uint64_t omitted = 0;
    bool good = true;
    qlog_json_open(json, "frames", '[');
    while (good && base_reader_left(&in)) {
        struct quic_frame frame = {.type = 0};
        const uint8_t *start = in.pos;
        size_t left = base_reader_left(&in);
        good = quic_frame_parse(&in, &frame) == QUIC_NO_ERROR;
        struct written about = {exponent, good ? (size_t)(in.pos - start) : left};
        if (qlog_json_left(json) < 2 * QLOG_FRAME_LEAST)
            omitted++;
        else
            write_frame(json, &frame, good, &about);
    }
    qlog_json_close(json, ']');
    if (omitted)
        qlog_json_uint(json, "frames_omitted", omitted);
}
