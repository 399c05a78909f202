/* stream_impl.h - what the files of the stream machine share. Nobody else includes this.
 *
 *   stream.c        the set: limits, birth and death of streams, what they want to say
 *   stream_table.c  from ID to stream
 *   stream_app.c    the application's side
 *   stream_rx.c     frames in
 *   stream_tx.c     frames out
 *   stream_fate.c   what became of them
 *   stream_rewind.c the start over after 0-RTT was rejected
 */
#ifndef QUIC_STREAM_IMPL_H
#define QUIC_STREAM_IMPL_H

#include "quic/stream.h"

static inline struct quic_stream_kind *quic_streams_kind(struct quic_streams *set, uint64_t id) {
    return &set->kinds[id & 3];
}
static inline bool quic_streams_is_local(const struct quic_streams *set, uint64_t id) {
    return quic_stream_is_of(id, set->role);
}
static inline bool quic_stream_can_send(const struct quic_stream *s) {
    return !quic_stream_is_uni(s->id) || quic_streams_is_local(s->set, s->id);
}
static inline bool quic_stream_can_recv(const struct quic_stream *s) {
    return !quic_stream_is_uni(s->id) || !quic_streams_is_local(s->set, s->id);
}

/* Opened under remembered limits that turned out higher than the real ones (RFC 9000 7.4.1): nothing of it is sent
 * yet. */
static inline bool quic_stream_is_held(const struct quic_stream *s) {
    return quic_streams_is_local(s->set, s->id) && s->id >> 2 >= s->set->kinds[s->id & 3].max;
}

/* There is something to say: tells the owner, who makes the connection dirty. */
static inline void quic_streams_want(struct quic_streams *set) {
    set->want_send = true;
    if (set->on_want)
        set->on_want(set->user);
}

/* One of the connection's own frames is wanted (again); `want` is one of the set's or of its kinds'. */
static inline void quic_streams_want_number(struct quic_streams *set, uint8_t *want) {
    *want = QUIC_WANTED;
    set->numbers_wanted = true;
    quic_streams_want(set);
}

/* ---- stream_table.c ---- */
/* False: out of memory. */
bool quic_stream_table_put(struct quic_streams *set, struct quic_stream *s);
void quic_stream_table_remove(struct quic_streams *set, const struct quic_stream *s);
void quic_stream_table_clear(struct quic_streams *set);
void quic_stream_table_trim(struct quic_streams *set); /* frees windows of kinds without streams */

/* ---- stream.c ---- */
/* Makes the stream with this ID, which must be the next of its kind. NULL: out of memory. */
struct quic_stream *quic_streams_create(struct quic_streams *set, uint64_t id);
/* Raises the number of streams the peer may open when that is due; `asked`: the peer waits for it. */
void quic_streams_raise_max(struct quic_streams *set, struct quic_stream_kind *kind, bool asked);
/* Streams of this kind are held: says STREAMS_BLOCKED, once a limit. */
void quic_streams_note_held(struct quic_streams *set, struct quic_stream_kind *kind);
/* Those of this kind with a sequence of at least `from` are not held any more. */
void quic_streams_unhold(struct quic_streams *set, struct quic_stream_kind *kind, uint64_t from);
/* The peer allows streams of this kind below `max`. */
void quic_streams_on_max(struct quic_streams *set, struct quic_stream_kind *kind, uint64_t max);
/* The peer allows `max` bytes in all. */
void quic_streams_on_max_data(struct quic_streams *set, uint64_t max);

/* A control frame is wanted (again), or not any more; `want` is one of the stream's. */
void quic_stream_want(struct quic_stream *s, uint8_t *want);
void quic_stream_unwant(struct quic_stream *s, uint8_t *want);
/* The highest offset that flow control lets the stream send. */
uint64_t quic_stream_limit(const struct quic_stream *s);
/* Puts the stream among those with something to send, or takes it out; notes what blocks it. */
void quic_stream_schedule(struct quic_stream *s);
void quic_streams_schedule_all(struct quic_streams *set);

void quic_stream_raise(struct quic_stream *s, uint32_t events);
void quic_stream_unraise(struct quic_stream *s, uint32_t events);
/* Credit for `bytes` that were taken or dropped goes back to the connection. */
void quic_streams_credit(struct quic_streams *set, uint64_t bytes, base_time rtt, base_time now);
/* The same for everything the stream received that was not taken and never will be. */
void quic_stream_credit_dropped(struct quic_stream *s);
/* The receiving half got further in its life: frames that lost their sense are not sent. */
void quic_stream_recv_moved(struct quic_stream *s);
void quic_stream_do_reset(struct quic_stream *s, uint64_t code);
void quic_stream_on_release(void *stream, uint64_t token); /* a quic_release_cb */
/* Ends the stream when both halves are done. */
void quic_stream_check_closed(struct quic_stream *s);

#endif
