/* stream_app.c - the application's side of a stream: open, write, read, reset, stop, let go (RFC 9000 section 2.4).
 *
 * Knows what may be asked of a stream in which state. Does not know frames: it changes state, and what is to be said
 * follows from the state.
 *
 * Writing is bounded by the option stream_send_buffer, the high mark; whoever was refused, or filled it, hears WRITABLE
 * when half of it has been acknowledged. All streams of a connection together are bounded too: a peer that asks on each
 * of a hundred streams and takes nothing must not get the engine's memory. When they are full a stream that holds
 * nothing may still take a little, so no stream waits for another. Reading gives credit back: taking is what lets the
 * peer send on.
 *
 * The invariant that matters: a refused call changes nothing.
 */
#include <assert.h>

#include "base/cursor.h"
#include "quic/stream_impl.h"
#include "tables/errors.h"

#define BUDGET_SHARE 8u    /* of the memory budget: what a connection may have waiting */
#define STREAM_LEAST 4096u /* what an empty stream may take all the same */

int quic_streams_open(struct quic_streams *set, bool uni, struct quic_stream **out) {
    if (set->closed)
        return ERR_CLOSED;
    struct quic_stream_kind *kind = &set->kinds[(uni ? 2u : 0u) | (unsigned)set->role];
    if (kind->next >= kind->max) {
        set->open_blocked = true;
        if (set->peer_known && kind->blocked_at != kind->max) {
            kind->blocked_at = kind->max;
            quic_streams_want_number(set, &kind->want_blocked);
        }
        return ERR_STREAM_LIMIT;
    }
    uint64_t id = kind->next << 2 | (uni ? 2u : 0u) | (uint64_t)set->role;
    struct quic_stream *s = quic_streams_create(set, id);
    if (!s)
        return ERR_NOMEM;
    set->stats->streams_opened_local++;
    *out = s;
    return 0;
}

/* ---- writing ---- */

/* 0 when more bytes may be written at all. */
static int stream_writable(const struct quic_stream *s, size_t len) {
    if (s->set->closed)
        return ERR_CLOSED;
    if (s->send.state >= QUIC_SEND_DATA_SENT || s->send.fin || s->send.reset_at)
        return ERR_STREAM_CLOSED;
    return len > BASE_VARINT_MAX - s->send.written ? ERR_TOO_LARGE : 0;
}

bool quic_stream_is_writable(const struct quic_stream *s) { return s->told_writable && stream_writable(s, 0) == 0; }

void quic_stream_owe_writable(struct quic_stream *s) { s->told_writable = false; }

static uint64_t stream_room(const struct quic_stream *s) {
    const struct quic_streams *set = s->set;
    uint64_t high = set->options->stream_send_buffer, most = set->options->connection_send_buffer;
    uint64_t room = s->send.buffered < high ? high - s->send.buffered : 0;
    if (set->mem->limit && set->mem->limit / BUDGET_SHARE < most)
        most = set->mem->limit / BUDGET_SHARE;
    if (most < high) /* a stream alone may be filled */
        most = high;
    uint64_t left = set->pools.buffered < most ? most - set->pools.buffered : 0;
    if (left < STREAM_LEAST && !s->send.buffered)
        left = STREAM_LEAST;
    return left < room ? left : room;
}

/* What did not fit would have, if the stream were alone. */
static void stream_count_limited(const struct quic_stream *s, uint64_t room, size_t len) {
    if (len > room && s->send.buffered + room < s->set->options->stream_send_buffer)
        s->set->stats->writes_limited++;
}

int64_t quic_stream_write(struct quic_stream *s, const uint8_t *data, size_t len, bool fin) {
    int error = stream_writable(s, len);
    if (error)
        return error;
    uint64_t room = stream_room(s);
    size_t taken = len < room ? len : (size_t)room;
    stream_count_limited(s, room, len);
    if (taken) {
        error = quic_stream_send_copy_in(&s->send, s->set->mem, data, taken);
        if (error)
            return error;
    }
    if (fin && taken == len)
        quic_stream_send_finish(&s->send);
    else if (taken < len || (taken && taken == room))
        s->told_writable = false;
    quic_stream_schedule(s);
    return (int64_t)taken;
}

/* Room for one token more, so that telling of it later cannot fail. */
static bool stream_reserve_token(struct quic_stream *s) {
    uint32_t wanted = s->references + s->released_count + 1;
    if (wanted <= s->released_capacity)
        return true;
    uint32_t capacity = s->released_capacity ? s->released_capacity * 2 : 4;
    void *tokens = base_resize_array(s->set->mem, s->released, s->released_capacity, capacity, sizeof *s->released);
    if (!tokens)
        return false;
    s->released = (uint64_t *)tokens;
    s->released_capacity = capacity;
    return true;
}

int quic_stream_write_reference(struct quic_stream *s, const uint8_t *data, size_t len, uint64_t token, bool fin) {
    int error = stream_writable(s, len);
    if (error)
        return error;
    uint64_t room = stream_room(s);
    stream_count_limited(s, room, len);
    if (s->send.buffered && len > room) { /* an empty buffer takes any size, or the largest could never go */
        s->told_writable = false;
        return ERR_BLOCKED;
    }
    if (!stream_reserve_token(s))
        return ERR_NOMEM;
    if (len) {
        error = quic_stream_send_reference(&s->send, s->set->mem, data, len, token);
        if (error)
            return error;
    }
    s->references++;
    if (!len)
        quic_stream_on_release(s, token);
    if (fin)
        quic_stream_send_finish(&s->send);
    else if (len >= room)
        s->told_writable = false;
    quic_stream_schedule(s);
    return 0;
}

int quic_stream_reset(struct quic_stream *s, uint64_t code) {
    if (s->set->closed)
        return ERR_CLOSED;
    if (code > BASE_VARINT_MAX)
        return ERR_INVALID;
    if (s->send.state >= QUIC_SEND_RESET_SENT)
        return ERR_STREAM_CLOSED;
    quic_stream_do_reset(s, code);
    return 0;
}

int quic_stream_reset_at(struct quic_stream *s, uint64_t code, uint64_t reliable) {
    if (s->set->closed)
        return ERR_CLOSED;
    if (code > BASE_VARINT_MAX || reliable > s->send.written ||
        (s->send.reset_at && (code != s->send.reset_code || reliable > s->send.reliable)))
        return ERR_INVALID;
    if (s->send.state >= QUIC_SEND_RESET_SENT || s->send.reset_acked)
        return ERR_STREAM_CLOSED;
    if (reliable == 0)
        return quic_stream_reset(s, code);
    if (!s->set->peer_reset_at)
        return ERR_UNSUPPORTED;
    quic_stream_send_reset_at(&s->send, s->set->mem, code, reliable);
    s->told_writable = true;
    quic_stream_unraise(s, QUIC_STREAM_EV_WRITABLE);
    if (quic_stream_send_reset_at_due(&s->send))
        quic_stream_want(s, &s->want_reset);
    quic_stream_schedule(s);
    return 0;
}

/* ---- reading ---- */

size_t quic_stream_peek(struct quic_stream *s, struct quic_slice *slices, size_t max) {
    return quic_stream_recv_peek(&s->recv, slices, max);
}

int quic_stream_take(struct quic_stream *s, uint64_t len) {
    if (len > s->recv.ready - s->recv.taken)
        return ERR_INVALID;
    bool waits = s->recv.reset_at != UINT64_MAX;
    quic_stream_recv_consume(&s->recv, s->set->mem, len);
    if (waits && s->recv.state == QUIC_RECV_RESET_RECVD) { /* that was the last the peer wanted us to have */
        quic_stream_credit_dropped(s);
        quic_stream_raise(s, QUIC_STREAM_EV_RESET);
        quic_stream_recv_moved(s);
    }
    /* The rest of a buffer that was dense may be little now. */
    if (len && s->recv.ready > s->recv.taken && !base_node_linked(&s->compact))
        base_list_push_back(&s->set->pinned, &s->compact);
    if (s->recv.state >= QUIC_RECV_DATA_READ)
        s->told_end = true;
    if (!quic_stream_is_readable(s))
        quic_stream_unraise(s, QUIC_STREAM_EV_READABLE);
    if (s->told_end)
        quic_stream_check_closed(s);
    return 0;
}

uint64_t quic_stream_owed(const struct quic_stream *s) {
    return s->recv.taken > s->recv_flow.consumed ? s->recv.taken - s->recv_flow.consumed : 0;
}

void quic_stream_credit(struct quic_stream *s, uint64_t len, base_time rtt, base_time now) {
    struct quic_streams *set = s->set;
    assert(len <= quic_stream_owed(s));
    if (quic_flow_recv_consume(&s->recv_flow, len, rtt, now) && s->recv.state == QUIC_RECV_RECV && !set->closed)
        quic_stream_want(s, &s->want_max_data);
    quic_streams_credit(set, len, rtt, now);
}

int quic_stream_consume(struct quic_stream *s, uint64_t len, base_time rtt, base_time now) {
    int error = quic_stream_take(s, len);
    uint64_t owed = quic_stream_owed(s); /* none when a reset has taken effect */
    if (!error && len && owed)
        quic_stream_credit(s, len < owed ? len : owed, rtt, now);
    return error;
}

int quic_stream_stop(struct quic_stream *s, uint64_t code) {
    struct quic_streams *set = s->set;
    if (set->closed)
        return ERR_CLOSED;
    if (code > BASE_VARINT_MAX)
        return ERR_INVALID;
    if (s->stopped || s->recv.state >= QUIC_RECV_RESET_RECVD)
        return ERR_STREAM_CLOSED;
    bool ask = s->recv.state < QUIC_RECV_DATA_RECVD; /* else there is nothing left to stop (RFC 9000 3.5) */
    s->stopped = true;
    s->stop_code = code;
    quic_stream_recv_discard(&s->recv, set->mem);
    quic_stream_credit_dropped(s);
    quic_stream_unraise(s, QUIC_STREAM_EV_READABLE);
    if (ask)
        quic_stream_want(s, &s->want_stop);
    quic_stream_recv_moved(s);
    return 0;
}

void quic_stream_pause(struct quic_stream *s, bool paused) {
    s->paused = paused;
    if (paused)
        quic_stream_unraise(s, QUIC_STREAM_EV_READABLE);
    else if (quic_stream_is_readable(s))
        quic_stream_raise(s, QUIC_STREAM_EV_READABLE);
}

/* ---- both ---- */

void quic_stream_priority(struct quic_stream *s, uint8_t urgency, bool incremental) {
    if (urgency >= QUIC_URGENCIES)
        urgency = QUIC_URGENCIES - 1;
    quic_sched_set(&s->set->sched, &s->sched, urgency, incremental);
}

void quic_stream_detach(struct quic_stream *s, uint64_t code) {
    if (s->detached)
        return;
    s->detached = true;
    quic_stream_unraise(s, ~(uint32_t)QUIC_STREAM_EV_RELEASED);
    if (s->closed_raised) {
        quic_stream_told_closed(s);
        return;
    }
    if (!s->send.fin && !s->send.reset_at && s->send.state < QUIC_SEND_RESET_SENT)
        quic_stream_reset(s, code);
    quic_stream_stop(s, code); /* refused where there is nothing to stop */
    quic_stream_check_closed(s);
}
