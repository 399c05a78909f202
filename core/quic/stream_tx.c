/* stream_tx.c - frames of streams going out: what is said next, written straight into the packet (RFC 9000 13.3,
 * 19).
 *
 * Knows which frames are wanted and how to fit stream data into what is left of a packet. Does not know packets: it
 * is given a cursor and the log of the open packet.
 *
 * For each piece of data the way is short: the scheduler's first stream, its next piece, a header, one copy from the
 * stream's chunk into the packet, one record. A frame is written and recorded, or neither.
 *
 * The invariant that matters: state changes only with the record. Each record will meet its fate (stream_fate.c),
 * and through it whatever is lost is wanted again.
 */
#include <assert.h>

#include "quic/stream_impl.h"

#define LEAST_PIECE 24u /* fewer bytes of a longer piece are not worth a header at the end of a packet */

struct tx {
    struct quic_streams *set;
    struct base_writer *out;
    struct quic_sent *log;
    bool wrote;
};

/* Keeps what `trial` has written and its record, if there was room for both. */
static bool tx_keep(struct tx *tx, const struct base_writer *trial, const struct quic_sent_frame *record) {
    if (trial->bad || !quic_sent_frame(tx->log, record))
        return false;
    *tx->out = *trial;
    tx->wrote = true;
    return true;
}

/* ---- the connection's own frames ---- */

/* Writes the frame when it is wanted. False: no room. */
static bool tx_number(struct tx *tx, uint8_t *want, uint8_t type, uint64_t value) {
    if (*want != QUIC_WANTED)
        return true;
    struct base_writer trial = *tx->out;
    quic_frame_write_number(&trial, type, value);
    if (!tx_keep(tx, &trial, &(struct quic_sent_frame){.kind = type, .value = value}))
        return false;
    *want = QUIC_IN_FLIGHT;
    return true;
}

static bool tx_set_numbers(struct tx *tx) {
    struct quic_streams *set = tx->set;
    struct quic_stream_kind *bidi = &set->kinds[set->role], *uni = &set->kinds[2u | (unsigned)set->role];
    struct quic_stream_kind *peer_bidi = &set->kinds[!set->role], *peer_uni = &set->kinds[2u | (unsigned)!set->role];
    return tx_number(tx, &set->want_max_data, QUIC_FRAME_MAX_DATA, set->recv_flow.max) &&
           tx_number(tx, &peer_bidi->want_max, QUIC_FRAME_MAX_STREAMS_BIDI, peer_bidi->max) &&
           tx_number(tx, &peer_uni->want_max, QUIC_FRAME_MAX_STREAMS_UNI, peer_uni->max) &&
           tx_number(tx, &set->want_blocked, QUIC_FRAME_DATA_BLOCKED, set->send_flow.max) &&
           tx_number(tx, &bidi->want_blocked, QUIC_FRAME_STREAMS_BLOCKED_BIDI, bidi->max) &&
           tx_number(tx, &uni->want_blocked, QUIC_FRAME_STREAMS_BLOCKED_UNI, uni->max);
}

static bool tx_set_control(struct tx *tx) {
    if (tx->set->numbers_wanted && !tx_set_numbers(tx))
        return false;
    tx->set->numbers_wanted = false;
    return true;
}

/* ---- a stream's control frames ---- */

static bool tx_reset(struct tx *tx, struct quic_stream *s) {
    if (s->want_reset != QUIC_WANTED)
        return true;
    bool at = s->send.state < QUIC_SEND_RESET_SENT; /* RESET_STREAM_AT */
    if (at && !quic_stream_send_reset_at_due(&s->send)) {
        s->want_reset = QUIC_WANT_NOT; /* with the last byte that must arrive */
        return true;
    }
    uint8_t kind = at ? QUIC_FRAME_RESET_STREAM_AT : QUIC_FRAME_RESET_STREAM;
    struct base_writer trial = *tx->out;
    if (at)
        quic_frame_write_reset_stream_at(&trial, s->id, s->send.reset_code, s->send.final_size, s->send.reliable);
    else
        quic_frame_write_reset_stream(&trial, s->id, s->send.reset_code, s->send.final_size);
    if (!tx_keep(tx, &trial, &(struct quic_sent_frame){.kind = kind, .ref = s->handle, .value = s->send.reliable}))
        return false;
    s->want_reset = QUIC_IN_FLIGHT;
    return true;
}

static bool tx_stop(struct tx *tx, struct quic_stream *s) {
    if (s->want_stop != QUIC_WANTED)
        return true;
    struct base_writer trial = *tx->out;
    quic_frame_write_stop_sending(&trial, s->id, s->stop_code);
    if (!tx_keep(tx, &trial, &(struct quic_sent_frame){.kind = QUIC_FRAME_STOP_SENDING, .ref = s->handle}))
        return false;
    s->want_stop = QUIC_IN_FLIGHT;
    return true;
}

static bool tx_stream_number(struct tx *tx, struct quic_stream *s, uint8_t *want, uint8_t type, uint64_t value) {
    if (*want != QUIC_WANTED)
        return true;
    struct base_writer trial = *tx->out;
    quic_frame_write_stream_number(&trial, type, s->id, value);
    if (!tx_keep(tx, &trial, &(struct quic_sent_frame){.kind = type, .ref = s->handle, .value = value}))
        return false;
    *want = QUIC_IN_FLIGHT;
    return true;
}

static bool tx_stream_control(struct tx *tx, struct quic_stream *s) {
    if (!tx_reset(tx, s) || !tx_stop(tx, s) ||
        !tx_stream_number(tx, s, &s->want_max_data, QUIC_FRAME_MAX_STREAM_DATA, s->recv_flow.max))
        return false;
    bool blocked = s->want_blocked == QUIC_WANTED;
    if (!tx_stream_number(tx, s, &s->want_blocked, QUIC_FRAME_STREAM_DATA_BLOCKED, s->send_flow.max))
        return false;
    if (blocked && s->send.state == QUIC_SEND_READY)
        s->send.state = QUIC_SEND_SEND; /* RFC 9000 3.1: this frame, too, makes the stream known */
    return true;
}

/* All control frames that are wanted. False: no room for all. */
static bool tx_control(struct tx *tx) {
    if (!tx_set_control(tx))
        return false;
    struct base_node *node;
    while ((node = base_list_first(&tx->set->control)) != NULL) {
        if (!tx_stream_control(tx, BASE_CONTAINER(node, struct quic_stream, control)))
            return false;
        base_list_remove(node);
    }
    return true;
}

/* ---- data ---- */

struct tx_shape {
    size_t len;      /* bytes of the piece that go */
    size_t len_size; /* of the length field; 0: the frame reaches to the end of the packet */
    size_t padding;  /* before the frame */
};

/* How much of the piece goes into `room` bytes. A frame that reaches to the end of the packet saves its length
 * field; where just this field would not fit, PADDING before the frame takes up the difference. False: not worth it. */
static bool tx_shape(const struct quic_send_piece *piece, size_t overhead, size_t room, struct tx_shape *shape) {
    if (room < overhead)
        return false;
    size_t space = room - overhead;
    if (piece->len >= space) {
        *shape = (struct tx_shape){.len = space};
        return space >= LEAST_PIECE || piece->len == space;
    }
    size_t len = (size_t)piece->len, len_size = base_varint_size(len);
    if (len + len_size <= space)
        *shape = (struct tx_shape){.len = len, .len_size = len_size};
    else
        *shape = (struct tx_shape){.len = len, .padding = space - len};
    return true;
}

static void tx_header(struct base_writer *out, const struct quic_stream *s, uint64_t offset,
                      const struct tx_shape *shape, bool fin) {
    quic_frame_write_padding(out, shape->padding);
    unsigned type = QUIC_FRAME_STREAM | (fin ? 1u : 0) | (shape->len_size ? 2u : 0) | (offset ? 4u : 0);
    base_write_u8(out, (uint8_t)type);
    base_write_varint(out, s->id);
    if (offset)
        base_write_varint(out, offset);
    if (shape->len_size)
        base_write_varint(out, shape->len);
}

/* Counts bytes that went out for the first time. */
static void tx_use_credit(struct quic_stream *s, uint64_t len) {
    struct quic_streams *set = s->set;
    s->send_flow.used = s->send.sent;
    set->send_flow.used += len;
    set->stats->stream_bytes_sent += len;
    if (len && quic_flow_send_left(&set->send_flow) == 0)
        quic_streams_schedule_all(set); /* only those with something to repeat may stay */
}

/* One STREAM frame. False: the packet is full. */
static bool tx_stream(struct tx *tx, struct quic_stream *s) {
    struct quic_send_piece piece;
    if (!quic_stream_send_next(&s->send, quic_stream_limit(s), &piece)) {
        quic_stream_schedule(s); /* not in the scheduler any more */
        return true;
    }
    struct tx_shape shape;
    size_t overhead = quic_frame_stream_overhead(s->id, piece.offset, 0);
    if (!tx_shape(&piece, overhead, base_writer_left(tx->out), &shape))
        return false;
    bool fin = piece.fin && shape.len == piece.len;
    struct base_writer trial = *tx->out;
    tx_header(&trial, s, piece.offset, &shape, fin);
    uint8_t *to = base_write_space(&trial, shape.len);
    assert(to && shape.len <= UINT16_MAX);
    uint32_t records = quic_sent_open_frames(tx->log);
    const struct quic_sent_frame record = {.kind = QUIC_FRAME_STREAM,
                                           .flags = fin ? QUIC_SENT_FIN : 0,
                                           .len = (uint16_t)shape.len,
                                           .ref = s->handle,
                                           .value = piece.offset};
    if (!quic_sent_frame(tx->log, &record))
        return false;
    quic_stream_send_copy_out(&s->send, piece.offset, to, shape.len);
    if (!quic_stream_send_on_sent(&s->send, tx->set->mem, piece.offset, shape.len, fin)) {
        quic_sent_rewind(tx->log, records);
        return false;
    }
    *tx->out = trial;
    tx->wrote = true;
    if (piece.again)
        tx->set->stats->stream_bytes_retransmitted += shape.len;
    else
        tx_use_credit(s, shape.len);
    if (s->send.reset_at && quic_stream_send_reset_at_due(&s->send) && s->want_reset == QUIC_WANT_NOT)
        quic_stream_want(s, &s->want_reset);
    if (piece.again || shape.len == piece.len) /* else the rest of the piece is next, within the same limits */
        quic_stream_schedule(s);
    return true;
}

static void tx_data(struct tx *tx) {
    struct quic_sched_node *node, *last = NULL;
    while (base_writer_left(tx->out) && (node = quic_sched_first(&tx->set->sched)) != NULL) {
        struct quic_stream *s = BASE_CONTAINER(node, struct quic_stream, sched);
        if (!tx_stream(tx, s))
            break;
        last = node;
    }
    if (last)
        quic_sched_served(&tx->set->sched, last);
}

bool quic_streams_sendable(const struct quic_streams *set) {
    if (set->closed)
        return false;
    return set->sched.mask || set->numbers_wanted || !base_list_empty(&set->control);
}

bool quic_streams_tx(struct quic_streams *set, struct base_writer *out, struct quic_sent *log, bool data) {
    if (set->closed)
        return false;
    struct tx tx = {.set = set, .out = out, .log = log};
    if (tx_control(&tx) && data) {
        tx_data(&tx);
        tx_control(&tx); /* that credit ran out is said at once */
    }
    set->want_send = quic_streams_sendable(set);
    return tx.wrote;
}
