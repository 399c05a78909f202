/* stream_rx.c - frames of streams coming in: what each means and when it is an error (RFC 9000 section 19.4 to
 * 19.14).
 *
 * Knows one handler a frame. Does not know how frames look (frame.c) nor in which packets they may come
 * (rx_frame.c).
 *
 * Before a handler runs, the stream it speaks of is found, or made, by one rule for all: its direction must fit, a
 * stream of ours must have been opened, one of the peer's must be within its limit and opens all below it, and what
 * is closed is not heard any more (RFC 9000 2.1, 3, 4.6, 19).
 *
 * The invariant that matters: when a frame is refused, for an error or for want of memory, the set is as consistent
 * as before: what was taken in until then counts, and is counted in both windows.
 */
#include <assert.h>

#include "quic/glitch.h"
#include "quic/stream_impl.h"

enum rx_half { RX_NONE, RX_RECV, RX_SEND }; /* which half of a stream the frame is about */

struct rx {
    struct quic_streams *set;
    const struct quic_frame *frame;
    struct base_buf *buf;
    bool opened; /* by this frame */
};

/* The peer has broken off a stream of its own. Ours are its own business: how many there are we decide. */
static void rx_churn(struct quic_stream *s) {
    if (s->churned || quic_streams_is_local(s->set, s->id))
        return;
    s->churned = true;
    s->set->rx_glitch = QUIC_GLITCH_stream_reset;
}

/* ---- the receiving half ---- */

/* Final size and both windows, for a frame that says the stream reaches to `end`. */
static int rx_check_end(const struct quic_stream *s, uint64_t end, bool final) {
    if (quic_stream_recv_check(&s->recv, end, final) != QUIC_NO_ERROR)
        return QUIC_FINAL_SIZE_ERROR;
    if (end <= s->recv.highest)
        return 0;
    const struct quic_flow_recv *conn = &s->set->recv_flow;
    if (end > s->recv_flow.max || end - s->recv.highest > conn->max - conn->received)
        return QUIC_FLOW_CONTROL_ERROR;
    return 0;
}

/* Counts what `highest` has grown by. */
static uint64_t rx_count(struct quic_stream *s) {
    uint64_t grown = s->recv.highest - s->recv_flow.received;
    s->recv_flow.received = s->recv.highest;
    s->set->recv_flow.received += grown;
    return grown;
}

static int rx_stream(const struct rx *rx, struct quic_stream *s) {
    struct quic_streams *set = rx->set;
    const struct quic_frame *f = rx->frame;
    uint64_t end = f->u.stream.offset + f->u.stream.len;
    int error = rx_check_end(s, end, f->u.stream.fin);
    if (error)
        return error;
    bool fin_news = f->u.stream.fin && s->recv.final_size == UINT64_MAX;
    set->rx_glitch = QUIC_GLITCH_stream_useless; /* unless it is not */
    if (s->recv.state >= QUIC_RECV_DATA_RECVD)
        return 0;
    if (set->rx_early && end > s->early_to)
        s->early_to = end;
    uint64_t ready = s->recv.ready;
    enum quic_recv_result result = quic_stream_recv_insert(&s->recv, set->mem, rx->buf, f->u.stream.offset,
                                                           f->u.stream.data, (size_t)f->u.stream.len, f->u.stream.fin);
    if (result != QUIC_RECV_OK && s->recv.gaps >= QUIC_RECV_GAPS)
        set->rx_glitch = QUIC_GLITCH_stream_gap;
    else if (s->recv.news || fin_news || rx->opened || result != QUIC_RECV_OK)
        set->rx_glitch = QUIC_GLITCH_NONE;
    uint64_t grown = rx_count(s);
    set->stats->stream_bytes_received += grown;
    set->moved += grown + (s->recv.ready > ready ? s->recv.ready - ready : 0);
    set->waits |= s->recv.gaps > 0;
    if (s->recv.discarding)
        quic_stream_credit_dropped(s);
    else if (s->recv.first && !base_node_linked(&s->compact))
        base_list_push_back(&set->pinned, &s->compact);
    bool news = s->recv.ready > ready || s->recv.state == QUIC_RECV_DATA_RECVD;
    if (news && !s->paused && !s->recv.discarding)
        quic_stream_raise(s, QUIC_STREAM_EV_READABLE);
    if (s->recv.state != QUIC_RECV_RECV)
        quic_stream_recv_moved(s);
    return result == QUIC_RECV_OK ? 0 : QUIC_RX_DROP;
}

/* RESET_STREAM, or RESET_STREAM_AT, which may leave bytes to come. */
static int rx_reset_stream(const struct rx *rx, struct quic_stream *s) {
    uint64_t final_size = rx->frame->u.reset_stream.final_size, code = rx->frame->u.reset_stream.code;
    if (s->recv.reset_at != UINT64_MAX && s->recv.reset_code != code)
        return QUIC_STREAM_STATE_ERROR;
    int error = rx_check_end(s, final_size, true);
    if (error)
        return error;
    if (s->recv.reset_at != UINT64_MAX || s->recv.state >= QUIC_RECV_DATA_RECVD)
        rx->set->rx_glitch = QUIC_GLITCH_reset_useless;
    else
        rx_churn(s);
    bool now =
        quic_stream_recv_reset_at(&s->recv, rx->set->mem, code, final_size, rx->frame->u.reset_stream.reliable_size);
    rx_count(s);
    if (!now) {
        quic_stream_recv_moved(s);
        return 0;
    }
    quic_stream_credit_dropped(s);
    if (!s->recv.discarding) {
        quic_stream_raise(s, QUIC_STREAM_EV_RESET);
        quic_stream_unraise(s, QUIC_STREAM_EV_READABLE);
    }
    quic_stream_recv_moved(s);
    return 0;
}

/* STREAM_DATA_BLOCKED is for the curious: credit follows consumption, and lost credit is sent again by itself. */
static int rx_stream_data_blocked(const struct rx *rx, struct quic_stream *s) {
    (void)s;
    rx->set->rx_glitch = QUIC_GLITCH_blocked;
    return 0;
}

/* ---- the sending half ---- */

static int rx_stop_sending(const struct rx *rx, struct quic_stream *s) {
    if (s->send.state >= QUIC_SEND_RESET_SENT) {
        rx->set->rx_glitch = QUIC_GLITCH_reset_useless;
        return 0;
    }
    rx_churn(s);
    s->stop_code_received = rx->frame->u.stop_sending.code;
    quic_stream_do_reset(s, s->stop_code_received); /* RFC 9000 3.5: with the code we were given */
    quic_stream_raise(s, QUIC_STREAM_EV_STOPPED);
    quic_stream_unraise(s, QUIC_STREAM_EV_WRITABLE);
    return 0;
}

static int rx_max_stream_data(const struct rx *rx, struct quic_stream *s) {
    if (rx->frame->u.max.max <= s->send_flow.max) {
        rx->set->rx_glitch = QUIC_GLITCH_credit_useless;
        return 0;
    }
    s->send_flow.max = rx->frame->u.max.max;
    quic_stream_unwant(s, &s->want_blocked);
    quic_stream_schedule(s);
    return 0;
}

/* ---- the connection ---- */

static int rx_max_data(const struct rx *rx, struct quic_stream *s) {
    (void)s;
    if (rx->frame->u.max.max <= rx->set->send_flow.max)
        rx->set->rx_glitch = QUIC_GLITCH_credit_useless;
    quic_streams_on_max_data(rx->set, rx->frame->u.max.max);
    return 0;
}

static int rx_max_streams(const struct rx *rx, struct quic_stream *s) {
    (void)s;
    uint64_t uni = rx->frame->type == QUIC_FRAME_MAX_STREAMS_UNI ? 2 : 0;
    struct quic_stream_kind *kind = quic_streams_kind(rx->set, uni | (uint64_t)rx->set->role);
    if (rx->frame->u.max.max <= kind->max)
        rx->set->rx_glitch = QUIC_GLITCH_credit_useless;
    quic_streams_on_max(rx->set, kind, rx->frame->u.max.max);
    return 0;
}

static int rx_data_blocked(const struct rx *rx, struct quic_stream *s) {
    (void)s;
    rx->set->rx_glitch = QUIC_GLITCH_blocked;
    return 0;
}

static int rx_streams_blocked(const struct rx *rx, struct quic_stream *s) {
    (void)s;
    uint64_t uni = rx->frame->type == QUIC_FRAME_STREAMS_BLOCKED_UNI ? 2 : 0;
    rx->set->rx_glitch = QUIC_GLITCH_blocked;
    quic_streams_raise_max(rx->set, quic_streams_kind(rx->set, uni | (uint64_t)!rx->set->role), true);
    return 0;
}

/* ---- which stream, which handler ---- */

/* Opens the peer's streams up to this ID. False: out of memory; those that were opened stay. */
static bool rx_open(struct quic_streams *set, uint64_t id) {
    struct quic_stream_kind *kind = quic_streams_kind(set, id);
    while (kind->next <= id >> 2) {
        struct quic_stream *s = quic_streams_create(set, kind->next << 2 | (id & 3));
        if (!s)
            return false;
        set->stats->streams_opened_remote++;
        quic_stream_raise(s, QUIC_STREAM_EV_OPENED);
    }
    return true;
}

/* Finds the stream that a frame about this half speaks of; *s is NULL when it is closed. */
static int rx_find(struct quic_streams *set, uint64_t id, enum rx_half half, struct quic_stream **s) {
    bool local = quic_streams_is_local(set, id);
    if (quic_stream_is_uni(id) && (half == RX_RECV) == local)
        return QUIC_STREAM_STATE_ERROR; /* that half does not exist */
    const struct quic_stream_kind *kind = quic_streams_kind(set, id);
    if (id >> 2 >= kind->next) {
        if (local)
            return QUIC_STREAM_STATE_ERROR;
        if (id >> 2 >= kind->max)
            return QUIC_STREAM_LIMIT_ERROR;
        if (!rx_open(set, id))
            return QUIC_RX_DROP;
    }
    *s = quic_streams_find(set, id);
    return 0;
}

static const struct rx_row {
    int (*handle)(const struct rx *rx, struct quic_stream *s);
    enum rx_half half;
    uint8_t late; /* enum quic_glitch: what it is for a stream that is closed */
} rx_table[] = {
    [QUIC_FRAME_RESET_STREAM] = {rx_reset_stream, RX_RECV, QUIC_GLITCH_reset_useless},
    [QUIC_FRAME_RESET_STREAM_AT] = {rx_reset_stream, RX_RECV, QUIC_GLITCH_reset_useless},
    [QUIC_FRAME_STOP_SENDING] = {rx_stop_sending, RX_SEND, QUIC_GLITCH_reset_useless},
    [QUIC_FRAME_STREAM] = {rx_stream, RX_RECV, QUIC_GLITCH_stream_useless},
    [QUIC_FRAME_MAX_DATA] = {rx_max_data, RX_NONE, 0},
    [QUIC_FRAME_MAX_STREAM_DATA] = {rx_max_stream_data, RX_SEND, QUIC_GLITCH_credit_useless},
    [QUIC_FRAME_MAX_STREAMS_BIDI] = {rx_max_streams, RX_NONE, 0},
    [QUIC_FRAME_MAX_STREAMS_UNI] = {rx_max_streams, RX_NONE, 0},
    [QUIC_FRAME_DATA_BLOCKED] = {rx_data_blocked, RX_NONE, 0},
    [QUIC_FRAME_STREAM_DATA_BLOCKED] = {rx_stream_data_blocked, RX_RECV, QUIC_GLITCH_blocked},
    [QUIC_FRAME_STREAMS_BLOCKED_BIDI] = {rx_streams_blocked, RX_NONE, 0},
    [QUIC_FRAME_STREAMS_BLOCKED_UNI] = {rx_streams_blocked, RX_NONE, 0},
};

static uint64_t rx_stream_id(const struct quic_frame *frame, uint64_t type) {
    switch (type) {
    case QUIC_FRAME_STREAM: return frame->u.stream.id;
    case QUIC_FRAME_RESET_STREAM_AT:
    case QUIC_FRAME_RESET_STREAM: return frame->u.reset_stream.id;
    case QUIC_FRAME_STOP_SENDING: return frame->u.stop_sending.id;
    case QUIC_FRAME_MAX_STREAM_DATA: return frame->u.max.id;
    default: return frame->u.blocked.id;
    }
}

int quic_streams_rx(struct quic_streams *set, const struct quic_frame *frame, struct base_buf *buf, base_time now) {
    (void)now;
    if (set->closed)
        return 0;
    uint64_t type =
        frame->type >= QUIC_FRAME_STREAM && frame->type < QUIC_FRAME_STREAM + 8 ? QUIC_FRAME_STREAM : frame->type;
    if (type >= sizeof rx_table / sizeof *rx_table || !rx_table[type].handle)
        return QUIC_INTERNAL_ERROR; /* not a frame of streams: the caller's table is wrong */
    const struct rx_row *row = &rx_table[type];
    struct quic_stream *s = NULL;
    uint64_t opened = set->stats->streams_opened_remote;
    if (row->half != RX_NONE) {
        int error = rx_find(set, rx_stream_id(frame, type), row->half, &s);
        if (!error && !s)
            set->rx_glitch = row->late;
        if (error || !s)
            return error;
    }
    struct rx rx = {set, frame, buf, set->stats->streams_opened_remote != opened};
    return row->handle(&rx, s);
}
