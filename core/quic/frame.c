/* frame.c - frames as bytes: RFC 9000 section 19 and the frame encoding rules of section 12.4, RFC 9221 section 4, and
 * the drafts ietf-quic-reliable-stream-reset and ietf-quic-ack-frequency.
 *
 * Knows the layout of every frame and the limits that can be seen in the frame alone. Does not know which packet a
 * frame came in, what state it meets, or whether a stream it names exists: that is rx_frame.c.
 *
 * The invariant that matters: a frame that was parsed without error is wholly inside the packet, and its numbers can
 * be added up without a check: no ACK range reaches below 0, no stream or CRYPTO byte lies beyond 2^62-1.
 *
 * STREAM and ACK frames come with nearly every packet. They are tried first, by one compare each; everything else goes
 * through a table by type, but for the one type of two bytes. A length is compared with what is left before it becomes
 * a size_t, which may be narrower.
 */
#include "quic/frame.h"

#define STREAM_FIN 0x01u
#define STREAM_LEN 0x02u
#define STREAM_OFF 0x04u

/* ---- reading -------------------------------------------------------------------------------------------------- */

/* Each of these reads a frame's fields after its type. False: a field is out of its range. Fields that are cut short
 * turn the reader bad, which the caller looks at; until then they read as 0. */
typedef bool (*frame_parser)(struct base_reader *in, struct quic_frame *frame);

static inline const uint8_t *read_bytes64(struct base_reader *in, uint64_t len) {
    if (len > base_reader_left(in)) {
        in->bad = true;
        return NULL;
    }
    return base_read_bytes(in, (size_t)len);
}

static inline bool read_stream(struct base_reader *in, struct quic_frame *frame) {
    uint64_t id = base_read_varint(in);
    uint64_t offset = frame->type & STREAM_OFF ? base_read_varint(in) : 0;
    uint64_t len = frame->type & STREAM_LEN ? base_read_varint(in) : base_reader_left(in);
    frame->u.stream.id = id;
    frame->u.stream.offset = offset;
    frame->u.stream.len = len;
    frame->u.stream.data = read_bytes64(in, len);
    frame->u.stream.fin = (frame->type & STREAM_FIN) != 0;
    return len <= BASE_VARINT_MAX - offset;
}

/* Walks all ranges once, so that nobody else has to check: each gap and each length must leave a number >= 0. */
static bool read_ack_ranges(struct base_reader *in, struct quic_frame_ack *ack) {
    if (ack->first_range > ack->largest)
        return false;
    if (ack->range_count > base_reader_left(in) / 2) { /* a range takes two bytes at least: bounds the walk */
        in->bad = true;
        return false;
    }
    const uint8_t *start = in->pos;
    uint64_t low = ack->largest - ack->first_range;
    for (uint64_t i = 0; i < ack->range_count; i++) {
        uint64_t gap = base_read_varint(in);
        uint64_t len = base_read_varint(in);
        if (in->bad || low < gap + 2 || low - gap - 2 < len)
            return false;
        low -= gap + 2 + len;
    }
    ack->ranges = (struct base_reader){start, in->pos, false};
    return true;
}

static inline bool read_ack(struct base_reader *in, struct quic_frame *frame) {
    struct quic_frame_ack *ack = &frame->u.ack;
    ack->largest = base_read_varint(in);
    ack->delay = base_read_varint(in);
    ack->range_count = base_read_varint(in);
    ack->first_range = base_read_varint(in);
    ack->ect0 = ack->ect1 = ack->ce = 0;
    if (!read_ack_ranges(in, ack))
        return false;
    if (frame->type == QUIC_FRAME_ACK_ECN) {
        ack->ect0 = base_read_varint(in);
        ack->ect1 = base_read_varint(in);
        ack->ce = base_read_varint(in);
    }
    return true;
}

/* A run of PADDING may be most of a datagram: eight bytes at a time. */
static bool read_padding(struct base_reader *in, struct quic_frame *frame) {
    const uint8_t *start = in->pos;
    while (base_reader_left(in) >= 8 && base_load_u64(in->pos) == 0)
        in->pos += 8;
    while (in->pos != in->end && *in->pos == 0)
        in->pos++;
    frame->u.padding.len = 1 + (uint64_t)(in->pos - start);
    return true;
}

static bool read_nothing(struct base_reader *in, struct quic_frame *frame) {
    (void)in;
    (void)frame;
    return true;
}

static bool read_reset_stream(struct base_reader *in, struct quic_frame *frame) {
    frame->u.reset_stream.id = base_read_varint(in);
    frame->u.reset_stream.code = base_read_varint(in);
    frame->u.reset_stream.final_size = base_read_varint(in);
    frame->u.reset_stream.reliable_size = 0;
    return true;
}

static bool read_reset_stream_at(struct base_reader *in, struct quic_frame *frame) {
    read_reset_stream(in, frame);
    frame->u.reset_stream.reliable_size = base_read_varint(in);
    return frame->u.reset_stream.reliable_size <= frame->u.reset_stream.final_size;
}

static bool read_stop_sending(struct base_reader *in, struct quic_frame *frame) {
    frame->u.stop_sending.id = base_read_varint(in);
    frame->u.stop_sending.code = base_read_varint(in);
    return true;
}

static bool read_crypto(struct base_reader *in, struct quic_frame *frame) {
    uint64_t offset = base_read_varint(in);
    uint64_t len = base_read_varint(in);
    frame->u.crypto.offset = offset;
    frame->u.crypto.len = len;
    frame->u.crypto.data = read_bytes64(in, len);
    return len <= BASE_VARINT_MAX - offset;
}

static bool read_new_token(struct base_reader *in, struct quic_frame *frame) {
    uint64_t len = base_read_varint(in);
    frame->u.new_token.len = len;
    frame->u.new_token.token = read_bytes64(in, len);
    return len != 0;
}

static bool read_max_data(struct base_reader *in, struct quic_frame *frame) {
    frame->u.max.id = 0;
    frame->u.max.max = base_read_varint(in);
    return true;
}

static bool read_max_stream_data(struct base_reader *in, struct quic_frame *frame) {
    frame->u.max.id = base_read_varint(in);
    frame->u.max.max = base_read_varint(in);
    return true;
}

static bool read_max_streams(struct base_reader *in, struct quic_frame *frame) {
    return read_max_data(in, frame) && frame->u.max.max <= QUIC_MAX_STREAMS;
}

static bool read_data_blocked(struct base_reader *in, struct quic_frame *frame) {
    frame->u.blocked.id = 0;
    frame->u.blocked.limit = base_read_varint(in);
    return true;
}

static bool read_stream_data_blocked(struct base_reader *in, struct quic_frame *frame) {
    frame->u.blocked.id = base_read_varint(in);
    frame->u.blocked.limit = base_read_varint(in);
    return true;
}

static bool read_streams_blocked(struct base_reader *in, struct quic_frame *frame) {
    return read_data_blocked(in, frame) && frame->u.blocked.limit <= QUIC_MAX_STREAMS;
}

static bool read_new_cid(struct base_reader *in, struct quic_frame *frame) {
    uint64_t sequence = base_read_varint(in);
    uint64_t retire_prior_to = base_read_varint(in);
    struct quic_cid *cid = &frame->u.new_cid.cid;
    frame->u.new_cid.sequence = sequence;
    frame->u.new_cid.retire_prior_to = retire_prior_to;
    cid->len = base_read_u8(in);
    if (cid->len < 1 || cid->len > QUIC_CID_MAX)
        return false;
    const uint8_t *id = base_read_bytes(in, cid->len);
    if (!id)
        return false;
    memcpy(cid->id, id, cid->len);
    frame->u.new_cid.reset_token = base_read_bytes(in, 16);
    return retire_prior_to <= sequence;
}

static bool read_retire_cid(struct base_reader *in, struct quic_frame *frame) {
    frame->u.retire_cid.sequence = base_read_varint(in);
    return true;
}

static bool read_path(struct base_reader *in, struct quic_frame *frame) {
    frame->u.path.data = base_read_bytes(in, 8);
    return true;
}

static bool read_close(struct base_reader *in, struct quic_frame *frame) {
    frame->u.close.code = base_read_varint(in);
    frame->u.close.frame_type = frame->type == QUIC_FRAME_CONNECTION_CLOSE ? base_read_varint(in) : 0;
    frame->u.close.reason_len = base_read_varint(in);
    frame->u.close.reason = read_bytes64(in, frame->u.close.reason_len);
    return true;
}

static bool read_datagram(struct base_reader *in, struct quic_frame *frame) {
    const uint8_t *start = in->pos;
    uint64_t len = frame->type == QUIC_FRAME_DATAGRAM_LEN ? base_read_varint(in) : base_reader_left(in);
    frame->u.datagram.len = len;
    frame->u.datagram.data = read_bytes64(in, len);
    frame->u.datagram.size = 1 + (uint64_t)(in->pos - start);
    return true;
}

static bool read_ack_frequency(struct base_reader *in, struct quic_frame *frame) {
    frame->u.ack_frequency.sequence = base_read_varint(in);
    frame->u.ack_frequency.threshold = base_read_varint(in);
    frame->u.ack_frequency.max_delay = base_read_varint(in);
    frame->u.ack_frequency.reordering = base_read_varint(in);
    return true;
}

/* Types of one byte; those between that are nobody's are empty rows. */
static const struct {
    frame_parser parse;
    const char *name;
} frame_kinds[] = {
    [QUIC_FRAME_PADDING] = {read_padding, "PADDING"},
    [QUIC_FRAME_PING] = {read_nothing, "PING"},
    [QUIC_FRAME_ACK] = {read_ack, "ACK"},
    [QUIC_FRAME_ACK_ECN] = {read_ack, "ACK_ECN"},
    [QUIC_FRAME_RESET_STREAM] = {read_reset_stream, "RESET_STREAM"},
    [QUIC_FRAME_STOP_SENDING] = {read_stop_sending, "STOP_SENDING"},
    [QUIC_FRAME_CRYPTO] = {read_crypto, "CRYPTO"},
    [QUIC_FRAME_NEW_TOKEN] = {read_new_token, "NEW_TOKEN"},
    [QUIC_FRAME_STREAM] = {read_stream, "STREAM"},
    [QUIC_FRAME_STREAM | 1] = {read_stream, "STREAM"},
    [QUIC_FRAME_STREAM | 2] = {read_stream, "STREAM"},
    [QUIC_FRAME_STREAM | 3] = {read_stream, "STREAM"},
    [QUIC_FRAME_STREAM | 4] = {read_stream, "STREAM"},
    [QUIC_FRAME_STREAM | 5] = {read_stream, "STREAM"},
    [QUIC_FRAME_STREAM | 6] = {read_stream, "STREAM"},
    [QUIC_FRAME_STREAM | 7] = {read_stream, "STREAM"},
    [QUIC_FRAME_MAX_DATA] = {read_max_data, "MAX_DATA"},
    [QUIC_FRAME_MAX_STREAM_DATA] = {read_max_stream_data, "MAX_STREAM_DATA"},
    [QUIC_FRAME_MAX_STREAMS_BIDI] = {read_max_streams, "MAX_STREAMS_BIDI"},
    [QUIC_FRAME_MAX_STREAMS_UNI] = {read_max_streams, "MAX_STREAMS_UNI"},
    [QUIC_FRAME_DATA_BLOCKED] = {read_data_blocked, "DATA_BLOCKED"},
    [QUIC_FRAME_STREAM_DATA_BLOCKED] = {read_stream_data_blocked, "STREAM_DATA_BLOCKED"},
    [QUIC_FRAME_STREAMS_BLOCKED_BIDI] = {read_streams_blocked, "STREAMS_BLOCKED_BIDI"},
    [QUIC_FRAME_STREAMS_BLOCKED_UNI] = {read_streams_blocked, "STREAMS_BLOCKED_UNI"},
    [QUIC_FRAME_NEW_CONNECTION_ID] = {read_new_cid, "NEW_CONNECTION_ID"},
    [QUIC_FRAME_RETIRE_CONNECTION_ID] = {read_retire_cid, "RETIRE_CONNECTION_ID"},
    [QUIC_FRAME_PATH_CHALLENGE] = {read_path, "PATH_CHALLENGE"},
    [QUIC_FRAME_PATH_RESPONSE] = {read_path, "PATH_RESPONSE"},
    [QUIC_FRAME_CONNECTION_CLOSE] = {read_close, "CONNECTION_CLOSE"},
    [QUIC_FRAME_CONNECTION_CLOSE_APP] = {read_close, "CONNECTION_CLOSE_APP"},
    [QUIC_FRAME_HANDSHAKE_DONE] = {read_nothing, "HANDSHAKE_DONE"},
    [QUIC_FRAME_IMMEDIATE_ACK] = {read_nothing, "IMMEDIATE_ACK"},
    [QUIC_FRAME_RESET_STREAM_AT] = {read_reset_stream_at, "RESET_STREAM_AT"},
    [QUIC_FRAME_DATAGRAM] = {read_datagram, "DATAGRAM"},
    [QUIC_FRAME_DATAGRAM_LEN] = {read_datagram, "DATAGRAM"},
};
#define FRAME_KINDS (sizeof frame_kinds / sizeof *frame_kinds)

/* A type of more than one byte: one is known, and one that would have been shorter breaks the rule of 12.4. */
static enum quic_error parse_long_type(struct base_reader *in, struct quic_frame *frame) {
    const uint8_t *start = in->pos;
    uint64_t type = base_read_varint(in);
    if (in->bad)
        return QUIC_FRAME_ENCODING_ERROR;
    frame->type = type;
    if ((size_t)(in->pos - start) != base_varint_size(type))
        return QUIC_PROTOCOL_VIOLATION;
    bool ok = type == QUIC_FRAME_ACK_FREQUENCY && read_ack_frequency(in, frame);
    return ok && !in->bad ? QUIC_NO_ERROR : QUIC_FRAME_ENCODING_ERROR;
}

enum quic_error quic_frame_parse(struct base_reader *in, struct quic_frame *frame) {
    frame->type = 0;
    if (in->pos == in->end)
        return QUIC_FRAME_ENCODING_ERROR;
    uint8_t type = *in->pos;
    if (type >= 0x40)
        return parse_long_type(in, frame);
    in->pos++;
    frame->type = type;
    bool ok;
    if ((type & ~7u) == QUIC_FRAME_STREAM)
        ok = read_stream(in, frame);
    else if ((type & ~1u) == QUIC_FRAME_ACK)
        ok = read_ack(in, frame);
    else
        ok = type < FRAME_KINDS && frame_kinds[type].parse && frame_kinds[type].parse(in, frame);
    return ok && !in->bad ? QUIC_NO_ERROR : QUIC_FRAME_ENCODING_ERROR;
}

bool quic_frame_ack_next(struct quic_frame_ack *ack, uint64_t *low, uint64_t *high) {
    if (ack->ranges.pos == ack->ranges.end)
        return false;
    uint64_t gap = base_read_varint(&ack->ranges);
    uint64_t len = base_read_varint(&ack->ranges);
    *high = *low - gap - 2;
    *low = *high - len;
    return true;
}

const char *quic_frame_name(uint64_t type) {
    if (type == QUIC_FRAME_ACK_FREQUENCY)
        return "ACK_FREQUENCY";
    return type < FRAME_KINDS && frame_kinds[type].name ? frame_kinds[type].name : "unknown";
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

size_t quic_frame_stream_overhead(uint64_t id, uint64_t offset, size_t len_size) {
    return 1 + base_varint_size(id) + (offset ? base_varint_size(offset) : 0) + len_size;
}

size_t quic_frame_crypto_overhead(uint64_t offset, uint64_t len) {
    return 1 + base_varint_size(offset) + base_varint_size(len);
}

void quic_frame_write_padding(struct base_writer *out, size_t len) {
    uint8_t *at = base_write_space(out, len);
    if (at && len)
        memset(at, 0, len);
}

void quic_frame_write_type(struct base_writer *out, uint64_t type) {
    assert(type == QUIC_FRAME_PING || type == QUIC_FRAME_HANDSHAKE_DONE || type == QUIC_FRAME_IMMEDIATE_ACK);
    base_write_u8(out, (uint8_t)type);
}

void quic_frame_write_stream_header(struct base_writer *out, uint64_t id, uint64_t offset, uint64_t len,
                                    size_t len_size, bool fin) {
    assert(len <= BASE_VARINT_MAX - offset);
    base_write_u8(out, (uint8_t)(QUIC_FRAME_STREAM | (fin ? STREAM_FIN : 0) | (len_size ? STREAM_LEN : 0) |
                                 (offset ? STREAM_OFF : 0)));
    base_write_varint(out, id);
    if (offset)
        base_write_varint(out, offset);
    uint8_t *at = len_size ? base_write_space(out, len_size) : NULL;
    if (at)
        base_store_varint(at, len, len_size);
}

void quic_frame_write_crypto(struct base_writer *out, uint64_t offset, const uint8_t *data, size_t len) {
    assert(len <= BASE_VARINT_MAX - offset);
    base_write_u8(out, QUIC_FRAME_CRYPTO);
    base_write_varint(out, offset);
    base_write_varint(out, len);
    base_write_bytes(out, data, len);
}

void quic_frame_write_reset_stream(struct base_writer *out, uint64_t id, uint64_t code, uint64_t final_size) {
    base_write_u8(out, QUIC_FRAME_RESET_STREAM);
    base_write_varint(out, id);
    base_write_varint(out, code);
    base_write_varint(out, final_size);
}

void quic_frame_write_reset_stream_at(struct base_writer *out, uint64_t id, uint64_t code, uint64_t final_size,
                                      uint64_t reliable_size) {
    assert(reliable_size <= final_size);
    base_write_u8(out, QUIC_FRAME_RESET_STREAM_AT);
    base_write_varint(out, id);
    base_write_varint(out, code);
    base_write_varint(out, final_size);
    base_write_varint(out, reliable_size);
}

void quic_frame_write_datagram_header(struct base_writer *out, uint64_t len, bool with_len) {
    base_write_u8(out, with_len ? QUIC_FRAME_DATAGRAM_LEN : QUIC_FRAME_DATAGRAM);
    if (with_len)
        base_write_varint(out, len);
}

void quic_frame_write_ack_frequency(struct base_writer *out, uint64_t sequence, uint64_t threshold, uint64_t max_delay,
                                    uint64_t reordering) {
    base_write_varint(out, QUIC_FRAME_ACK_FREQUENCY);
    base_write_varint(out, sequence);
    base_write_varint(out, threshold);
    base_write_varint(out, max_delay);
    base_write_varint(out, reordering);
}

void quic_frame_write_stop_sending(struct base_writer *out, uint64_t id, uint64_t code) {
    base_write_u8(out, QUIC_FRAME_STOP_SENDING);
    base_write_varint(out, id);
    base_write_varint(out, code);
}

void quic_frame_write_new_token(struct base_writer *out, const uint8_t *token, size_t len) {
    assert(len > 0);
    base_write_u8(out, QUIC_FRAME_NEW_TOKEN);
    base_write_varint(out, len);
    base_write_bytes(out, token, len);
}

void quic_frame_write_number(struct base_writer *out, uint64_t type, uint64_t value) {
    assert(type == QUIC_FRAME_MAX_DATA || type == QUIC_FRAME_DATA_BLOCKED || type == QUIC_FRAME_RETIRE_CONNECTION_ID ||
           ((type == QUIC_FRAME_MAX_STREAMS_BIDI || type == QUIC_FRAME_MAX_STREAMS_UNI ||
             type == QUIC_FRAME_STREAMS_BLOCKED_BIDI || type == QUIC_FRAME_STREAMS_BLOCKED_UNI) &&
            value <= QUIC_MAX_STREAMS));
    base_write_u8(out, (uint8_t)type);
    base_write_varint(out, value);
}

void quic_frame_write_stream_number(struct base_writer *out, uint64_t type, uint64_t id, uint64_t value) {
    assert(type == QUIC_FRAME_MAX_STREAM_DATA || type == QUIC_FRAME_STREAM_DATA_BLOCKED);
    base_write_u8(out, (uint8_t)type);
    base_write_varint(out, id);
    base_write_varint(out, value);
}

void quic_frame_write_new_cid(struct base_writer *out, uint64_t sequence, uint64_t retire_prior_to,
                              const struct quic_cid *cid, const uint8_t reset_token[16]) {
    assert(retire_prior_to <= sequence && cid->len >= 1 && cid->len <= QUIC_CID_MAX);
    base_write_u8(out, QUIC_FRAME_NEW_CONNECTION_ID);
    base_write_varint(out, sequence);
    base_write_varint(out, retire_prior_to);
    base_write_u8(out, cid->len);
    base_write_bytes(out, cid->id, cid->len);
    base_write_bytes(out, reset_token, 16);
}

void quic_frame_write_path(struct base_writer *out, uint64_t type, const uint8_t data[8]) {
    assert(type == QUIC_FRAME_PATH_CHALLENGE || type == QUIC_FRAME_PATH_RESPONSE);
    base_write_u8(out, (uint8_t)type);
    base_write_bytes(out, data, 8);
}

/* The longest start of `reason` that fits `room` together with its length field, not ending inside a UTF-8 sequence (a
 * reason phrase should be UTF-8, 19.19). */
static size_t close_reason_fit(const char *reason, size_t len, size_t room) {
    size_t len_size = base_varint_size(len); /* of the cut phrase perhaps less: not worth a search */
    if (len_size + len <= room)
        return len;
    size_t fit = room > len_size ? room - len_size : 0;
    while (fit > 0 && ((uint8_t)reason[fit] & 0xc0) == 0x80)
        fit--;
    return fit;
}

void quic_frame_write_close(struct base_writer *out, bool app, uint64_t code, uint64_t frame_type, const char *reason,
                            size_t reason_len) {
    base_write_u8(out, app ? QUIC_FRAME_CONNECTION_CLOSE_APP : QUIC_FRAME_CONNECTION_CLOSE);
    base_write_varint(out, code);
    if (!app)
        base_write_varint(out, frame_type);
    size_t fit = close_reason_fit(reason, reason_len, base_writer_left(out));
    base_write_varint(out, fit);
    base_write_bytes(out, reason, fit);
}
