/* stream_fate.c - what became of the frames of streams that were sent (RFC 9000 13.3).
 *
 * Knows one handler a kind of record. Does not know packets, nor why one counts as lost.
 *
 * A lost frame is a wanted frame, if what it said still matters and has not been said better since: a limit that was
 * raised again, or raised by the peer, makes the older record void, and so does the end of the half it spoke of. A
 * record whose stream is gone is void, too: its handle finds nothing.
 *
 * The invariant that matters: fates may come late, and a lost frame may turn out to have arrived. Nothing here
 * relies on hearing of a frame once.
 */
#include <assert.h>

#include "quic/stream_impl.h"

/* A limit, or word of being blocked by one: lost, it is wanted again while the limit is still the same. */
static bool fate_again(uint8_t want, uint64_t said, uint64_t now) { return want == QUIC_IN_FLIGHT && said == now; }

static void fate_number(struct quic_streams *set, uint8_t *want, uint64_t said, uint64_t now, bool acked) {
    if (!fate_again(*want, said, now))
        return;
    if (acked)
        *want = QUIC_WANT_DONE;
    else
        quic_streams_want_number(set, want);
}

static void fate_stream_number(struct quic_stream *s, uint8_t *want, uint64_t said, uint64_t now, bool acked) {
    if (!fate_again(*want, said, now))
        return;
    if (acked)
        *want = QUIC_WANT_DONE;
    else
        quic_stream_want(s, want);
}

/* ---- data ---- */

static void fate_stream_acked(struct quic_stream *s, const struct quic_sent_frame *f) {
    struct quic_stream_send *send = &s->send;
    if (send->state >= QUIC_SEND_RESET_SENT)
        return;
    s->set->moved += f->len;
    bool repeating = !base_ranges_empty(&send->lost) || send->fin_lost;
    quic_stream_send_on_acked(send, s->set->mem, f->value, f->len, f->flags & QUIC_SENT_FIN, quic_stream_on_release, s);
    if (repeating || !base_ranges_empty(&send->lost))
        quic_stream_schedule(s);
    if (quic_stream_send_reset_at_done(send, s->set->mem, quic_stream_on_release, s)) {
        quic_sched_remove(&s->set->sched, &s->sched);
        quic_stream_check_closed(s);
    } else if (send->state == QUIC_SEND_DATA_RECVD) {
        quic_stream_unwant(s, &s->want_reset); /* it all came after all */
        quic_stream_raise(s, QUIC_STREAM_EV_FINISHED);
        quic_stream_check_closed(s);
    } else if (!s->told_writable && !send->fin && send->buffered <= s->set->options->stream_send_buffer / 2) {
        s->told_writable = true;
        quic_stream_raise(s, QUIC_STREAM_EV_WRITABLE);
    }
}

static void fate_stream(struct quic_stream *s, const struct quic_sent_frame *f, bool acked) {
    if (acked) {
        fate_stream_acked(s, f);
        return;
    }
    quic_stream_send_on_lost(&s->send, s->set->mem, f->value, f->len, f->flags & QUIC_SENT_FIN);
    quic_stream_schedule(s);
}

/* ---- a stream's control frames ---- */

static void fate_reset(struct quic_stream *s, const struct quic_sent_frame *f, bool acked) {
    (void)f;
    if (s->send.state != QUIC_SEND_RESET_SENT)
        return;
    if (!acked) {
        quic_stream_want(s, &s->want_reset);
        return;
    }
    quic_stream_unwant(s, &s->want_reset);
    s->want_reset = QUIC_WANT_DONE;
    s->send.state = QUIC_SEND_RESET_RECVD;
    quic_stream_check_closed(s);
}

static void fate_reset_at(struct quic_stream *s, const struct quic_sent_frame *f, bool acked) {
    if (s->send.state >= QUIC_SEND_RESET_SENT || f->value != s->send.reliable || s->send.reset_acked)
        return; /* something stronger, or less, was said since */
    if (!acked) {
        quic_stream_want(s, &s->want_reset);
        return;
    }
    quic_stream_unwant(s, &s->want_reset);
    s->want_reset = QUIC_WANT_DONE;
    s->send.reset_acked = true;
    if (quic_stream_send_reset_at_done(&s->send, s->set->mem, quic_stream_on_release, s)) {
        quic_sched_remove(&s->set->sched, &s->sched);
        quic_stream_check_closed(s);
    }
}

static void fate_stop(struct quic_stream *s, const struct quic_sent_frame *f, bool acked) {
    (void)f;
    if (s->recv.state >= QUIC_RECV_DATA_RECVD || s->want_stop == QUIC_WANT_DONE)
        return;
    if (!acked) {
        quic_stream_want(s, &s->want_stop);
        return;
    }
    quic_stream_unwant(s, &s->want_stop);
    s->want_stop = QUIC_WANT_DONE;
    quic_stream_recv_on_stop_acked(&s->recv);
    quic_stream_recv_moved(s);
}

static void fate_max_stream_data(struct quic_stream *s, const struct quic_sent_frame *f, bool acked) {
    fate_stream_number(s, &s->want_max_data, f->value, s->recv_flow.max, acked);
}

static void fate_stream_data_blocked(struct quic_stream *s, const struct quic_sent_frame *f, bool acked) {
    fate_stream_number(s, &s->want_blocked, f->value, s->send_flow.max, acked);
}

/* ---- the connection's ---- */

static void fate_max_data(struct quic_streams *set, const struct quic_sent_frame *f, bool acked) {
    fate_number(set, &set->want_max_data, f->value, set->recv_flow.max, acked);
}

static void fate_data_blocked(struct quic_streams *set, const struct quic_sent_frame *f, bool acked) {
    fate_number(set, &set->want_blocked, f->value, set->send_flow.max, acked);
}

static void fate_max_streams(struct quic_streams *set, const struct quic_sent_frame *f, bool acked) {
    unsigned uni = f->kind == QUIC_FRAME_MAX_STREAMS_UNI ? 2 : 0;
    struct quic_stream_kind *kind = &set->kinds[uni | (unsigned)!set->role];
    fate_number(set, &kind->want_max, f->value, kind->max, acked);
}

static void fate_streams_blocked(struct quic_streams *set, const struct quic_sent_frame *f, bool acked) {
    unsigned uni = f->kind == QUIC_FRAME_STREAMS_BLOCKED_UNI ? 2 : 0;
    struct quic_stream_kind *kind = &set->kinds[uni | (unsigned)set->role];
    fate_number(set, &kind->want_blocked, f->value, kind->max, acked);
}

/* One of the two for each kind of record. */
static const struct fate_row {
    void (*of_stream)(struct quic_stream *s, const struct quic_sent_frame *f, bool acked);
    void (*of_set)(struct quic_streams *set, const struct quic_sent_frame *f, bool acked);
} fate_table[] = {
    [QUIC_FRAME_RESET_STREAM] = {.of_stream = fate_reset},
    [QUIC_FRAME_RESET_STREAM_AT] = {.of_stream = fate_reset_at},
    [QUIC_FRAME_STOP_SENDING] = {.of_stream = fate_stop},
    [QUIC_FRAME_STREAM] = {.of_stream = fate_stream},
    [QUIC_FRAME_MAX_DATA] = {.of_set = fate_max_data},
    [QUIC_FRAME_MAX_STREAM_DATA] = {.of_stream = fate_max_stream_data},
    [QUIC_FRAME_MAX_STREAMS_BIDI] = {.of_set = fate_max_streams},
    [QUIC_FRAME_MAX_STREAMS_UNI] = {.of_set = fate_max_streams},
    [QUIC_FRAME_DATA_BLOCKED] = {.of_set = fate_data_blocked},
    [QUIC_FRAME_STREAM_DATA_BLOCKED] = {.of_stream = fate_stream_data_blocked},
    [QUIC_FRAME_STREAMS_BLOCKED_BIDI] = {.of_set = fate_streams_blocked},
    [QUIC_FRAME_STREAMS_BLOCKED_UNI] = {.of_set = fate_streams_blocked},
};

bool quic_streams_on_fate(struct quic_streams *set, const struct quic_sent_frame *frame, bool acked) {
    if (frame->kind >= sizeof fate_table / sizeof *fate_table)
        return false;
    const struct fate_row *row = &fate_table[frame->kind];
    if (!row->of_stream && !row->of_set)
        return false;
    if (set->closed)
        return true;
    if (row->of_set) {
        row->of_set(set, frame, acked);
        return true;
    }
    struct quic_stream *s = quic_stream_of(set->slots, frame->ref);
    if (s)
        row->of_stream(s, frame, acked);
    return true;
}
