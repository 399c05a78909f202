/* stream.c - the streams of one connection: limits, birth and death, and what they want to say (RFC 9000 sections 2,
 * 3, 4.6).
 *
 * Knows when a stream begins and ends, who may open how many, which streams have data to send and which have control
 * frames to send. Does not know how frames look (stream_rx.c, stream_tx.c) nor what the application asks for
 * (stream_app.c).
 *
 * A stream is born when we open it or the peer's first frame for it, or for a higher one of its kind, arrives. When
 * both halves are done CLOSED is raised, its place in the event line keeping everything else before it; when that
 * was told it waits for the reaper, and its object for the next stream. Only then does it count as closed for the
 * peer's limit: so the peer's streams that we hold memory for are never more than we allowed.
 *
 * The invariant that matters: a stream stands in the scheduler exactly when quic_stream_send_next finds something
 * under its present limits, and in `control` exactly when one of its wants is QUIC_WANTED. So "is there anything to
 * send" is two looks.
 */
#include "quic/stream.h"

#include <assert.h>

#include "quic/stream_impl.h"

#define STREAMS_KEPT 128u /* stream objects kept for the next ones */

/* ---- the set ---- */

void quic_streams_init(struct quic_streams *set, struct base_mem *mem, struct base_slots *slots,
                       struct base_events *events, struct conn_stats *stats, const struct options *options,
                       enum crypto_role role, uint64_t conn_handle, const uint8_t map_secret[16]) {
    *set = (struct quic_streams){.mem = mem,
                                 .slots = slots,
                                 .events = events,
                                 .stats = stats,
                                 .options = options,
                                 .role = role,
                                 .conn_handle = conn_handle,
                                 .deadline = BASE_NEVER};
    for (uint64_t i = 0; i < 4; i++) {
        struct quic_stream_kind *kind = &set->kinds[i];
        kind->blocked_at = UINT64_MAX;
        if (!quic_streams_is_local(set, i))
            kind->max = kind->limit =
                quic_stream_is_uni(i) ? options->initial_max_streams_uni : options->initial_max_streams_bidi;
    }
    base_map_init(&set->outliers, mem, map_secret);
    base_list_init(&set->all);
    base_list_init(&set->control);
    base_list_init(&set->pinned);
    base_list_init(&set->closing);
    quic_pools_init(&set->pools);
    quic_sched_init(&set->sched);
    quic_flow_recv_init(&set->recv_flow, options->initial_max_data, options->max_data_window);
    quic_flow_send_init(&set->send_flow, 0);
}

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* What the peer's parameters allow us to send on a stream of this type at first. */
static uint64_t streams_peer_initial(const struct quic_streams *set, uint64_t id) {
    if (quic_stream_is_uni(id))
        return quic_streams_is_local(set, id) ? set->peer_initial_uni : 0;
    return quic_streams_is_local(set, id) ? set->peer_initial_bidi_remote : set->peer_initial_bidi_local;
}

void quic_streams_set_peer(struct quic_streams *set, const struct quic_params *params) {
    set->peer_known = true;
    set->peer_reset_at |= params->reset_stream_at;
    set->peer_initial_bidi_local = larger(set->peer_initial_bidi_local, params->initial_max_stream_data_bidi_local);
    set->peer_initial_bidi_remote = larger(set->peer_initial_bidi_remote, params->initial_max_stream_data_bidi_remote);
    set->peer_initial_uni = larger(set->peer_initial_uni, params->initial_max_stream_data_uni);
    for (struct base_node *n = base_list_first(&set->all); n; n = base_list_next(&set->all, n)) {
        struct quic_stream *s = BASE_CONTAINER(n, struct quic_stream, all);
        if (s->send.reset_at && !set->peer_reset_at && s->send.state < QUIC_SEND_RESET_SENT)
            quic_stream_do_reset(s, s->send.reset_code); /* promised early, to a server that has lost the extension */
        uint64_t initial = streams_peer_initial(set, s->id);
        if (initial <= s->send_flow.max)
            continue;
        s->send_flow.max = initial;
        quic_stream_unwant(s, &s->want_blocked);
    }
    quic_streams_on_max_data(set, params->initial_max_data);
    quic_streams_schedule_all(set);
    struct quic_stream_kind *bidi = &set->kinds[set->role], *uni = &set->kinds[2u | (unsigned)set->role];
    quic_streams_on_max(set, bidi, params->initial_max_streams_bidi);
    quic_streams_on_max(set, uni, params->initial_max_streams_uni);
    quic_streams_note_held(set, bidi);
    quic_streams_note_held(set, uni);
}

void quic_streams_on_max(struct quic_streams *set, struct quic_stream_kind *kind, uint64_t max) {
    if (max <= kind->max)
        return;
    uint64_t before = kind->max;
    kind->max = max;
    kind->want_blocked = QUIC_WANT_NOT;
    if (kind->next > before) {
        quic_streams_unhold(set, kind, before);
        quic_streams_note_held(set, kind);
    }
    if (!set->open_blocked)
        return;
    set->open_blocked = false;
    set->streams_available = true;
    if (set->on_available)
        set->on_available(set->user);
}

void quic_streams_on_max_data(struct quic_streams *set, uint64_t max) {
    if (max <= set->send_flow.max)
        return;
    set->send_flow.max = max;
    set->want_blocked = QUIC_WANT_NOT;
    if (!set->starved)
        return;
    set->starved = false;
    quic_streams_schedule_all(set);
}

void quic_streams_raise_max(struct quic_streams *set, struct quic_stream_kind *kind, bool asked) {
    uint64_t max = kind->limit > QUIC_MAX_STREAMS - kind->closed ? QUIC_MAX_STREAMS : kind->closed + kind->limit;
    if (max <= kind->max || (!asked && max - kind->max < kind->limit / 8))
        return;
    kind->max = max;
    quic_streams_want_number(set, &kind->want_max);
}

void quic_streams_credit(struct quic_streams *set, uint64_t bytes, base_time rtt, base_time now) {
    if (!quic_flow_recv_consume(&set->recv_flow, bytes, rtt, now) || set->closed)
        return;
    quic_streams_want_number(set, &set->want_max_data);
}

/* ---- birth ---- */

/* A zeroed stream object; one that was used before keeps its array of tokens. */
static struct quic_stream *stream_take(struct quic_streams *set) {
    struct quic_stream *s = set->free;
    if (!s)
        return BASE_NEW(set->mem, struct quic_stream);
    set->free = (struct quic_stream *)s->user;
    set->free_count--;
    uint64_t *released = s->released;
    uint32_t capacity = s->released_capacity;
    memset(s, 0, sizeof *s);
    s->released = released;
    s->released_capacity = capacity;
    return s;
}

static void stream_delete(struct quic_streams *set, struct quic_stream *s) {
    base_free(set->mem, s->released, s->released_capacity * sizeof *s->released);
    BASE_DELETE(set->mem, s);
}

static void stream_give_back(struct quic_streams *set, struct quic_stream *s) {
    if (set->free_count >= STREAMS_KEPT) {
        stream_delete(set, s);
        return;
    }
    s->user = set->free;
    set->free = s;
    set->free_count++;
}

static uint64_t stream_recv_window(const struct quic_streams *set, uint64_t id) {
    if (quic_stream_is_uni(id))
        return set->options->initial_max_stream_data_uni;
    return quic_streams_is_local(set, id) ? set->options->initial_max_stream_data_bidi_local
                                          : set->options->initial_max_stream_data_bidi_remote;
}

static void stream_init(struct quic_stream *s, struct quic_streams *set, uint64_t id) {
    s->id = id;
    s->set = set;
    quic_stream_send_init(&s->send);
    quic_stream_recv_init(&s->recv);
    s->send.pools = s->recv.pools = &set->pools;
    if (!quic_stream_can_send(s))
        s->send.state = QUIC_SEND_DATA_RECVD;
    if (!quic_stream_can_recv(s))
        s->recv.state = QUIC_RECV_DATA_READ;
    quic_flow_send_init(&s->send_flow, streams_peer_initial(set, id));
    quic_flow_recv_init(&s->recv_flow, stream_recv_window(set, id), set->options->max_stream_data_window);
    s->sched.urgency = QUIC_URGENCY_DEFAULT;
    s->sched.incremental = true; /* whoever does not ask shares with the others */
    s->told_writable = true;
}

struct quic_stream *quic_streams_create(struct quic_streams *set, uint64_t id) {
    struct quic_stream_kind *kind = quic_streams_kind(set, id);
    assert(id >> 2 == kind->next && kind->next < kind->max);
    struct quic_stream *s = stream_take(set);
    if (!s)
        return NULL;
    stream_init(s, set, id);
    s->handle = base_slots_add(set->slots, QUIC_SLOT_STREAM, s);
    if (!s->handle) {
        stream_give_back(set, s);
        return NULL;
    }
    if (!quic_stream_table_put(set, s)) {
        base_slots_remove(set->slots, s->handle);
        stream_give_back(set, s);
        return NULL;
    }
    s->event.handle = s->handle;
    kind->next++;
    base_list_push_back(&set->all, &s->all);
    return s;
}

struct quic_stream *quic_stream_of(struct base_slots *slots, uint64_t handle) {
    return (struct quic_stream *)base_slots_get(slots, QUIC_SLOT_STREAM, handle, NULL);
}

/* ---- what a stream wants ---- */

void quic_stream_want(struct quic_stream *s, uint8_t *want) {
    *want = QUIC_WANTED;
    if (quic_stream_is_held(s))
        return;
    if (!base_node_linked(&s->control))
        base_list_push_back(&s->set->control, &s->control);
    quic_streams_want(s->set);
}

void quic_stream_unwant(struct quic_stream *s, uint8_t *want) {
    *want = QUIC_WANT_NOT;
    if (s->want_max_data != QUIC_WANTED && s->want_blocked != QUIC_WANTED && s->want_reset != QUIC_WANTED &&
        s->want_stop != QUIC_WANTED)
        base_list_remove(&s->control);
}

uint64_t quic_stream_limit(const struct quic_stream *s) {
    uint64_t left = quic_flow_send_left(&s->set->send_flow);
    return s->send_flow.max - s->send.sent < left ? s->send_flow.max : s->send.sent + left;
}

/* Bytes wait and none may go: the peer hears of it, once for each limit. */
static void stream_note_blocked(struct quic_stream *s) {
    struct quic_streams *set = s->set;
    if (!set->peer_known)
        return;
    if (s->send.sent == s->send_flow.max && s->send_flow.blocked_at != s->send_flow.max) {
        s->send_flow.blocked_at = s->send_flow.max;
        quic_stream_want(s, &s->want_blocked);
        set->stats->flow_blocked++;
    }
    if (quic_flow_send_left(&set->send_flow) > 0)
        return;
    set->starved = true;
    if (set->send_flow.blocked_at == set->send_flow.max)
        return;
    set->send_flow.blocked_at = set->send_flow.max;
    quic_streams_want_number(set, &set->want_blocked);
    set->stats->flow_blocked++;
}

void quic_stream_schedule(struct quic_stream *s) {
    struct quic_send_piece piece;
    s->set->waits |= s->send.buffered > 0;
    if (!s->set->closed && !quic_stream_is_held(s) && quic_stream_send_next(&s->send, quic_stream_limit(s), &piece)) {
        quic_sched_add(&s->set->sched, &s->sched);
        quic_streams_want(s->set);
        return;
    }
    quic_sched_remove(&s->set->sched, &s->sched);
    if (!s->set->closed && !quic_stream_is_held(s) && s->send.state < QUIC_SEND_DATA_SENT &&
        s->send.sent < s->send.written)
        stream_note_blocked(s);
}

void quic_streams_schedule_all(struct quic_streams *set) {
    for (struct base_node *n = base_list_first(&set->all); n; n = base_list_next(&set->all, n))
        quic_stream_schedule(BASE_CONTAINER(n, struct quic_stream, all));
}

/* ---- events ---- */

void quic_stream_raise(struct quic_stream *s, uint32_t events) {
    if (s->detached)
        events &= QUIC_STREAM_EV_RELEASED;
    base_event_raise(s->set->events, &s->event, events);
}

void quic_stream_unraise(struct quic_stream *s, uint32_t events) { base_event_lower(&s->event, events); }

bool quic_stream_is_readable(const struct quic_stream *s) {
    return s->recv.ready > s->recv.taken || s->recv.state == QUIC_RECV_DATA_RECVD;
}

void quic_stream_on_release(void *stream, uint64_t token) {
    struct quic_stream *s = (struct quic_stream *)stream;
    assert(s->references > 0 && s->released_count < s->released_capacity);
    s->references--;
    s->released[s->released_count++] = token;
    quic_stream_raise(s, QUIC_STREAM_EV_RELEASED);
}

/* ---- the halves' ends ---- */

void quic_stream_credit_dropped(struct quic_stream *s) {
    uint64_t dropped = s->recv.highest - s->recv_flow.consumed;
    s->recv_flow.consumed = s->recv.highest;
    quic_streams_credit(s->set, dropped, 0, 0);
}

void quic_stream_recv_moved(struct quic_stream *s) {
    if (s->recv.state != QUIC_RECV_RECV || s->stopped)
        quic_stream_unwant(s, &s->want_max_data);
    if (s->recv.state >= QUIC_RECV_DATA_RECVD)
        quic_stream_unwant(s, &s->want_stop);
    quic_stream_check_closed(s);
}

void quic_stream_do_reset(struct quic_stream *s, uint64_t code) {
    if (s->send.reset_at) /* perhaps told already; the code may not change */
        code = s->send.reset_code;
    quic_stream_send_reset(&s->send, s->set->mem, code, quic_stream_on_release, s);
    quic_sched_remove(&s->set->sched, &s->sched);
    quic_stream_unwant(s, &s->want_blocked);
    quic_stream_want(s, &s->want_reset);
    s->told_writable = true;
}

/* ---- death ---- */

static void stream_end(struct quic_stream *s) {
    s->closed_raised = true;
    quic_sched_remove(&s->set->sched, &s->sched);
    base_list_remove(&s->control);
    if (s->detached)
        quic_stream_told_closed(s);
    else
        quic_stream_raise(s, QUIC_STREAM_EV_CLOSED);
}

void quic_stream_check_closed(struct quic_stream *s) {
    /* A reset needs no taking: RESET stands before CLOSED in the event line. */
    if (!s->closed_raised && quic_stream_send_done(&s->send) && s->recv.state >= QUIC_RECV_RESET_RECVD)
        stream_end(s);
}

void quic_stream_told_closed(struct quic_stream *s) {
    assert(s->closed_raised);
    if (s->closed_told)
        return;
    s->closed_told = true;
    base_list_remove(&s->all);
    base_list_push_back(&s->set->closing, &s->all);
}

void quic_streams_close(struct quic_streams *set) {
    if (set->closed)
        return;
    set->closed = true;
    set->want_send = false;
    struct base_node *next;
    for (struct base_node *n = base_list_first(&set->all); n; n = next) {
        next = base_list_next(&set->all, n);
        struct quic_stream *s = BASE_CONTAINER(n, struct quic_stream, all);
        quic_stream_send_clear(&s->send, set->mem, quic_stream_on_release, s);
        if (!s->closed_raised)
            stream_end(s);
    }
}

static void stream_free(struct quic_stream *s) {
    struct quic_streams *set = s->set;
    struct quic_stream_kind *kind = quic_streams_kind(set, s->id);
    base_event_cancel(&s->event);
    quic_sched_remove(&set->sched, &s->sched);
    base_list_remove(&s->control);
    base_list_remove(&s->compact);
    base_list_remove(&s->all);
    quic_stream_send_clear(&s->send, set->mem, NULL, NULL);
    quic_stream_recv_clear(&s->recv, set->mem);
    quic_stream_table_remove(set, s);
    base_slots_remove(set->slots, s->handle);
    bool remote = !quic_streams_is_local(set, s->id);
    stream_give_back(set, s);
    if (!remote)
        return;
    kind->closed++;
    if (!set->closed)
        quic_streams_raise_max(set, kind, false);
}

void quic_streams_reap(struct quic_streams *set) {
    struct base_node *next;
    for (struct base_node *n = base_list_first(&set->closing); n; n = next) {
        next = base_list_next(&set->closing, n);
        struct quic_stream *s = BASE_CONTAINER(n, struct quic_stream, all);
        if (!s->event.bits && !s->released_count)
            stream_free(s);
    }
}

void quic_streams_compact(struct quic_streams *set) {
    struct base_node *next;
    for (struct base_node *n = base_list_first(&set->pinned); n; n = next) {
        next = base_list_next(&set->pinned, n);
        struct quic_stream *s = BASE_CONTAINER(n, struct quic_stream, compact);
        if (quic_stream_recv_compact(&s->recv, set->mem))
            base_list_remove(n);
    }
}

void quic_streams_trim(struct quic_streams *set) {
    while (set->free) {
        struct quic_stream *s = set->free;
        set->free = (struct quic_stream *)s->user;
        stream_delete(set, s);
    }
    set->free_count = 0;
    quic_pools_clear(&set->pools, set->mem);
    quic_stream_table_trim(set);
}

void quic_streams_clear(struct quic_streams *set) {
    set->closed = true;
    struct base_list *lists[] = {&set->closing, &set->all};
    for (unsigned i = 0; i < 2; i++)
        while (!base_list_empty(lists[i]))
            stream_free(BASE_CONTAINER(base_list_first(lists[i]), struct quic_stream, all));
    quic_stream_table_clear(set);
    quic_streams_trim(set);
}
