/* dispatch.c - the point of a turn where the application hears what has happened.
 *
 * The core raises events as bits on objects that stand in one line (core/base/event.h). Here they are taken off, one
 * object after the other, one bit after the other, and handed to deliver.c in the form the application asked for. What
 * is told is the object's state at this moment, not a record of the past.
 *
 * User code may do anything in between: close or free any object, raise more events, free the engine. The core's
 * objects stay where they are until the turn is over (the core frees nothing from within a call), so a pointer is good
 * during dispatch; but whether somebody still wants to hear of the object is asked anew before each bit.
 *
 * The invariant that matters: every event that is popped is told or belongs to nobody; what is left when the budget is
 * used up stays in the line, and the loop turns again at once.
 */
#include "abi.h"

#include <assert.h>

#define BUDGET 16384u /* objects a turn: whoever raises events in every callback does not stop the others */

/* ---- who it is about ---- */

/* The application's object of a core connection: made when a listener accepted it. NULL: nobody hears of it. */
static struct abi_conn *conn_accept(struct abi_engine *engine, struct quic_conn *core) {
    int32_t error;
    struct abi_listener *listener = (struct abi_listener *)abi_get(ABI_LISTENER, core->listener, NULL, &error);
    struct abi_conn *conn = listener ? abi_conn_new(engine) : NULL;
    if (!conn) {
        if (listener)
            abi_log(engine, WEFT_LOG_WARNING, "a client is turned away: out of memory");
        quic_conn_detach(core, abi_now(engine));
        return NULL;
    }
    conn->callbacks = listener->conn_callbacks;
    conn->stream_callbacks = listener->stream_callbacks;
    conn->user = listener->conn_user;
    abi_conn_attach(conn, core);
    abi_tell_listener(listener, WEFT_EV_ACCEPTED, conn);
    return conn;
}

/* ---- connections ---- */

static const struct {
    uint32_t bit, type;
} conn_events[] = {
    {QUIC_CONN_EV_CONNECTED, WEFT_EV_CONNECTED},
    {QUIC_CONN_EV_CONFIRMED, WEFT_EV_CONFIRMED},
    {QUIC_CONN_EV_SESSION, WEFT_EV_SESSION},
    {QUIC_CONN_EV_TOKEN, WEFT_EV_TOKEN},
    {QUIC_CONN_EV_PATH, WEFT_EV_PATH},
    {QUIC_CONN_EV_STREAMS, WEFT_EV_STREAMS},
    {QUIC_CONN_EV_DATAGRAM, WEFT_EV_DATAGRAM},
    {QUIC_CONN_EV_DATAGRAM_STATE, WEFT_EV_DATAGRAM_OUTCOME},
    {QUIC_CONN_EV_DATAGRAM_ROOM, WEFT_EV_DATAGRAM_ROOM},
    {QUIC_CONN_EV_PATHS, WEFT_EV_PATH_NEWS},
};

static void dispatch_closed(struct abi_engine *engine, struct quic_conn *core) {
    struct io_race *race = io_race_of(core);
    struct abi_conn *conn;
    if (race && io_race_on_event(race, core, QUIC_CONN_EV_CLOSED, true))
        return;
    conn = abi_conn_of(core);
    if (conn)
        abi_tell_conn(conn, WEFT_EV_CONN_CLOSED);
    else if (!engine->doomed)
        quic_endpoint_forget(core->endpoint, core);
}

static void dispatch_conn_event(struct abi_conn *conn, uint32_t type) {
    switch (type) {
    case WEFT_EV_DATAGRAM: abi_tell_datagrams(conn); break;
    case WEFT_EV_DATAGRAM_OUTCOME: abi_tell_outcomes(conn); break;
    default: abi_tell_conn(conn, type); break;
    }
}

static void dispatch_conn(struct abi_engine *engine, struct quic_conn *core, uint32_t bits) {
    struct io_race *race = io_race_of(core);
    if (race && io_race_on_event(race, core, bits, false))
        return;
    if (bits & QUIC_CONN_EV_ACCEPTED && !core->user && !conn_accept(engine, core))
        return;
    for (size_t i = 0; i < sizeof conn_events / sizeof *conn_events && !engine->doomed && core->user; i++) {
        if (!(bits & conn_events[i].bit))
            continue;
        abi_batch_way(engine, abi_conn_of(core)->callbacks != NULL);
        if (engine->doomed || !core->user)
            return;
        base_event_lower(&core->event, conn_events[i].bit);
        dispatch_conn_event(abi_conn_of(core), conn_events[i].type);
    }
}

/* ---- streams ---- */

static void dispatch_released(struct abi_engine *engine, struct quic_stream *stream) {
    /* More may be added at the end while the application hears of the first. */
    for (uint32_t i = 0; i < stream->released_count && !engine->doomed; i++)
        abi_tell_stream(engine, stream, WEFT_EV_RELEASED, stream->released[i]);
    if (engine->doomed)
        return;
    stream->released_count = 0;
    struct abi_conn *conn = abi_conn_of(abi_stream_core(stream));
    if (conn && stream->detached && !stream->references)
        abi_stream_free_own(conn, stream);
}

static void dispatch_readable(struct abi_engine *engine, struct quic_stream *stream) {
    if (!quic_stream_is_readable(stream) || stream->paused)
        return;
    abi_tell_data(engine, stream);
}

static void dispatch_stream_bit(struct abi_engine *engine, struct quic_stream *stream, uint32_t bit) {
    switch (bit) {
    case QUIC_STREAM_EV_OPENED: abi_tell_stream(engine, stream, WEFT_EV_STREAM_OPENED, 0); break;
    case QUIC_STREAM_EV_READABLE: dispatch_readable(engine, stream); break;
    case QUIC_STREAM_EV_RESET: abi_tell_stream(engine, stream, WEFT_EV_RESET, stream->recv.reset_code); break;
    case QUIC_STREAM_EV_STOPPED: abi_tell_stream(engine, stream, WEFT_EV_STOPPED, stream->stop_code_received); break;
    case QUIC_STREAM_EV_WRITABLE: abi_tell_stream(engine, stream, WEFT_EV_WRITABLE, 0); break;
    case QUIC_STREAM_EV_RELEASED: dispatch_released(engine, stream); break;
    case QUIC_STREAM_EV_FINISHED: abi_tell_stream(engine, stream, WEFT_EV_FINISHED, 0); break;
    case QUIC_STREAM_EV_CLOSED: abi_tell_stream(engine, stream, WEFT_EV_STREAM_CLOSED, 0); break;
    default: break;
    }
}

static void dispatch_stream(struct abi_engine *engine, struct quic_stream *stream, uint32_t bits) {
    struct quic_conn *core = abi_stream_core(stream);
    if (!core->user) { /* nobody's: its connection was never accepted, or has been told of as closed */
        stream->released_count = 0;
        if (bits & QUIC_STREAM_EV_CLOSED)
            quic_stream_told_closed(stream);
        return;
    }
    for (uint32_t left = bits, bit; (bit = left & -left) != 0 && !engine->doomed && core->user; left ^= bit) {
        abi_batch_way(engine, abi_stream_callbacks(abi_conn_of(core), stream) != NULL);
        if (engine->doomed || !core->user || (bit != QUIC_STREAM_EV_RELEASED && !abi_stream_is_heard(engine, stream)))
            continue;
        base_event_lower(&stream->event, bit); /* raised anew by user code since: it is told once */
        dispatch_stream_bit(engine, stream, bit);
    }
    if (bits & QUIC_STREAM_EV_CLOSED && !engine->doomed)
        quic_conn_mark_dirty(core); /* whoever is dirty is settled: closed streams go */
}

/* ---- the line ---- */

static void dispatch_one(struct abi_engine *engine, const struct base_event *event, uint32_t bits) {
    struct base_slots *slots = abi_slots(engine);
    uint64_t handle = event->handle;
    uint8_t kind = base_handle_kind(handle);
    void *object = base_slots_get(slots, kind, handle, NULL);
    if (!object)
        return;
    switch (kind) {
    case QUIC_SLOT_CONN: {
        struct quic_conn *core = (struct quic_conn *)object;
        if (event == &core->closed_event)
            dispatch_closed(engine, core);
        else
            dispatch_conn(engine, core, bits);
        break;
    }
    case ABI_STREAM: dispatch_stream(engine, (struct quic_stream *)object, bits); break;
    case ABI_CONN: abi_tell_conn((struct abi_conn *)object, WEFT_EV_CONN_CLOSED); break;
    case ABI_LISTENER: abi_tell_listener((struct abi_listener *)object, WEFT_EV_LISTENER_CLOSED, NULL); break;
    default: assert(kind == ABI_LISTENER); break;
    }
}

void abi_dispatch(void *user) {
    struct abi_engine *engine = (struct abi_engine *)user;
    struct base_event *event;
    uint32_t bits;
    if (engine->doomed)
        return;
    engine->telling = true;
    abi_engine_run_posts(engine);
    if (!engine->doomed)
        abi_listeners_check(engine);
    for (uint32_t left = BUDGET; left && !engine->doomed; left--) {
        event = base_events_pop(&engine->loop.events, &bits);
        if (!event && !engine->batched)
            break;
        if (event)
            dispatch_one(engine, event, bits);
        else
            abi_batch_flush(engine); /* whose callbacks may raise more */
    }
    if (!engine->doomed)
        abi_batch_flush(engine);
    engine->telling = false;
}
