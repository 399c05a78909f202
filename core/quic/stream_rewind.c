/* stream_rewind.c - the start over after 0-RTT was rejected (RFC 9001 4.6.2, RFC 9000 7.4.1).
 *
 * Knows that nothing which was sent so far has reached anybody, and that the limits it was sent under were those of
 * another day. So every stream of ours goes back to its beginning with all its bytes still in hand, and every limit to
 * 0 until the server's parameters set the real ones. Those may be lower than what was remembered: bytes then wait for
 * credit as always, and streams beyond the limit of their kind are held. A held stream is in no list: neither its bytes
 * nor its control frames can go before MAX_STREAMS lets them.
 *
 * Does not know packets: the owner has told of the fate of all records before.
 *
 * The invariant that matters: what the application wrote is sent whole, once, in the connection that comes about.
 */
#include <assert.h>

#include "quic/stream_impl.h"

static void rewind_stream(struct quic_stream *s) {
    assert(quic_streams_is_local(s->set, s->id)); /* the peer could not open any yet */
    if (quic_stream_can_send(s))
        quic_stream_send_rewind(&s->send, s->set->mem);
    quic_flow_send_init(&s->send_flow, 0);
    s->want_blocked = QUIC_WANT_NOT;
    quic_sched_remove(&s->set->sched, &s->sched);
    base_list_remove(&s->control);
}

void quic_streams_rewind(struct quic_streams *set) {
    if (set->closed)
        return;
    set->peer_known = set->peer_reset_at = false;
    set->peer_initial_bidi_local = set->peer_initial_bidi_remote = set->peer_initial_uni = 0;
    quic_flow_send_init(&set->send_flow, 0);
    set->want_blocked = QUIC_WANT_NOT;
    set->starved = false;
    for (unsigned i = 0; i < 4; i++) {
        struct quic_stream_kind *kind = &set->kinds[i];
        if (!quic_streams_is_local(set, i))
            continue;
        kind->max = 0;
        kind->blocked_at = UINT64_MAX;
        kind->want_blocked = QUIC_WANT_NOT;
    }
    for (struct base_node *n = base_list_first(&set->all); n; n = base_list_next(&set->all, n))
        rewind_stream(BASE_CONTAINER(n, struct quic_stream, all));
}

void quic_streams_note_held(struct quic_streams *set, struct quic_stream_kind *kind) {
    if (kind->next <= kind->max || kind->blocked_at == kind->max)
        return;
    kind->blocked_at = kind->max;
    quic_streams_want_number(set, &kind->want_blocked);
}

void quic_streams_unhold(struct quic_streams *set, struct quic_stream_kind *kind, uint64_t from) {
    for (struct base_node *n = base_list_first(&set->all); n; n = base_list_next(&set->all, n)) {
        struct quic_stream *s = BASE_CONTAINER(n, struct quic_stream, all);
        if (quic_streams_kind(set, s->id) != kind || s->id >> 2 < from || quic_stream_is_held(s))
            continue;
        uint8_t *const wants[] = {&s->want_reset, &s->want_stop, &s->want_max_data};
        for (size_t i = 0; i < sizeof wants / sizeof *wants; i++)
            if (*wants[i] == QUIC_WANTED)
                quic_stream_want(s, wants[i]);
        quic_stream_schedule(s);
    }
}
