/* stream_deadline.c - streams that must be done by a time.
 *
 * A deadline is the application's: RFC 9000 knows none. When it passes, what is not done is broken off as the
 * application would do it itself, by RESET_STREAM and STOP_SENDING; the stream then closes as any other, and remembers
 * that it has expired.
 *
 * Few streams have one, so there is no heap of them: the set knows a time before which nothing is due, and walks its
 * streams only then.
 *
 * Invariant: set->deadline <= the deadline of every stream that has one.
 */
#include "quic/stream_impl.h"

void quic_stream_set_deadline(struct quic_stream *s, base_time when, uint64_t code) {
    s->deadline = when;
    s->deadline_code = code;
    if (!when || when >= s->set->deadline)
        return;
    s->set->deadline = when;
    quic_streams_want(s->set); /* the connection's timer follows when it has looked for something to send */
}

static void stream_expire(struct quic_stream *s) {
    bool done = quic_stream_send_done(&s->send) && quic_stream_recv_done(&s->recv);
    s->deadline = 0;
    if (done)
        return;
    s->expired = true;
    if (quic_stream_can_send(s) && !quic_stream_send_done(&s->send))
        quic_stream_reset(s, s->deadline_code);
    if (quic_stream_can_recv(s) && !quic_stream_recv_done(&s->recv))
        quic_stream_stop(s, s->deadline_code);
}

void quic_streams_on_deadline(struct quic_streams *set, base_time now) {
    base_time next = BASE_NEVER;
    struct base_node *node = base_list_first(&set->all);
    while (node) {
        struct quic_stream *s = BASE_CONTAINER(node, struct quic_stream, all);
        node = base_list_next(&set->all, node); /* breaking off frees nothing: streams go when they are reaped */
        if (s->deadline && s->deadline <= now)
            stream_expire(s);
        else if (s->deadline)
            next = base_time_min(next, s->deadline);
    }
    set->deadline = next;
}
