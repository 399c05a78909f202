/* deliver.c - how the application hears of one thing: by the object's callback, or in the engine's batch.
 *
 * An object with a table of callbacks is told through it, and through nothing else; one without goes into the batch.
 * To keep the order that everything happened in, the batch is handed over before any callback runs. While events are
 * collected no user code runs, so what they say is true until the batch is handed over; what ends with them - streams,
 * connections, listeners - ends when it was.
 *
 * The invariant that matters: between batch_add and the end of abi_batch_flush nothing that an event points to is
 * freed: bytes hold references, reasons belong to objects that end only here.
 */
#include "abi.h"

#include <assert.h>

/* The callback, or NULL: not in this table, or beyond what the caller's version knows. */
#define CALLBACK(table, member) (ABI_HAS(table, member) ? (table)->member : NULL)

/* ---- what ends ---- */

static void stream_ended(struct quic_stream *stream) {
    struct quic_conn *core = abi_stream_core(stream);
    struct abi_conn *conn = (struct abi_conn *)core->user;
    if (stream->closed_told)
        return;
    uint64_t owed = quic_stream_owed(stream);
    if (owed) /* what was taken and never credited is not lost to the connection */
        quic_stream_credit(stream, owed, abi_conn_rtt(core), core->endpoint->now);
    if (core->streams.want_send)
        quic_conn_mark_dirty(core);
    if (conn)
        abi_stream_free_own(conn, stream);
    quic_stream_told_closed(stream);
}

/* ---- the batch ---- */

static void batch_end(struct abi_engine *engine, const weft_event *event) {
    int32_t error;
    void *object;
    switch (event->type) {
    case WEFT_EV_STREAM_CLOSED:
        object = abi_get(ABI_STREAM, event->stream.id, NULL, &error);
        if (object)
            stream_ended((struct quic_stream *)object);
        break;
    case WEFT_EV_CONN_CLOSED:
        object = abi_get(ABI_CONN, event->conn.id, NULL, &error);
        if (object)
            abi_conn_ended((struct abi_conn *)object);
        break;
    case WEFT_EV_LISTENER_CLOSED:
        object = abi_get(ABI_LISTENER, event->listener.id, NULL, &error);
        if (object)
            abi_listener_free((struct abi_listener *)object);
        break;
    default: break;
    }
    (void)engine;
}

void abi_batch_hand_over(struct abi_engine *engine) {
    uint32_t count = engine->batched;
    if (engine->on_events)
        engine->on_events(engine->events_user, engine->batch, count);
    if (engine->doomed)
        return;
    engine->batched = 0;
    abi_unshow(engine);
    for (uint32_t i = 0; i < count; i++)
        batch_end(engine, &engine->batch[i]);
}

/* A new event in the batch. The batch has room. */
static weft_event *batch_add(struct abi_engine *engine, uint32_t type) {
    assert(engine->batched < ABI_BATCH);
    weft_event *event = &engine->batch[engine->batched++];
    *event = (weft_event){.type = type};
    return event;
}

/* Room for one more. False: the engine is doomed. */
static bool batch_room(struct abi_engine *engine) {
    if (engine->batched == ABI_BATCH)
        abi_batch_flush(engine);
    return !engine->doomed;
}

/* ---- listeners ---- */

static void listener_callback(struct abi_listener *listener, uint32_t type, struct abi_conn *conn) {
    const weft_listener_callbacks *table = listener->callbacks;
    weft_listener handle = {listener->handle};
    if (type == WEFT_EV_ACCEPTED && CALLBACK(table, on_accept))
        table->on_accept(listener->user, handle, (weft_conn){conn->handle});
    else if (type == WEFT_EV_LISTENER_CLOSED && CALLBACK(table, on_closed))
        table->on_closed(listener->user, handle);
}

void abi_tell_listener(struct abi_listener *listener, uint32_t type, struct abi_conn *conn) {
    struct abi_engine *engine = listener->engine;
    uint64_t handle = listener->handle;
    int32_t error;
    if (!listener->callbacks) {
        if (!batch_room(engine))
            return;
        weft_event *event = batch_add(engine, type);
        event->listener.id = handle;
        event->conn.id = conn ? conn->handle : 0;
        event->user = listener->user;
        return;
    }
    abi_batch_flush(engine);
    if (engine->doomed)
        return;
    listener_callback(listener, type, conn);
    if (type == WEFT_EV_LISTENER_CLOSED && !engine->doomed && abi_get(ABI_LISTENER, handle, NULL, &error))
        abi_listener_free(listener);
}

/* ---- connections ---- */

static void fill_closed(const struct abi_conn *conn, weft_event *event) {
    weft_close close;
    abi_info_close_of(conn, &close);
    event->code = close.code;
    event->cause = close.cause;
    event->error = close.error;
    event->flags = close.app ? WEFT_APP : 0;
    event->data = (const uint8_t *)(conn->core ? conn->core->close.reason : conn->last->close.reason);
    event->len = close.reason_len;
}

static weft_event *conn_batch(struct abi_conn *conn, uint32_t type) {
    weft_event *event = batch_add(conn->engine, type);
    event->conn.id = conn->handle;
    event->listener.id = 0;
    event->user = conn->user;
    if (type == WEFT_EV_CONN_CLOSED) {
        fill_closed(conn, event);
    } else if (type == WEFT_EV_SESSION) {
        event->data = conn->core->session;
        event->len = conn->core->session_len;
    } else if (type == WEFT_EV_TOKEN) {
        event->data = conn->core->new_token;
        event->len = conn->core->new_token_len;
    }
    return event;
}

static void conn_callback(struct abi_conn *conn, uint32_t type) {
    const weft_conn_callbacks *table = conn->callbacks;
    weft_conn handle = {conn->handle};
    struct quic_conn *core = conn->core;
    void (*plain)(void *, weft_conn) = NULL;
    switch (type) {
    case WEFT_EV_CONNECTED: plain = CALLBACK(table, on_connected); break;
    case WEFT_EV_CONFIRMED: plain = CALLBACK(table, on_confirmed); break;
    case WEFT_EV_PATH: plain = CALLBACK(table, on_path); break;
    case WEFT_EV_STREAMS: plain = CALLBACK(table, on_streams); break;
    case WEFT_EV_PATH_NEWS: plain = CALLBACK(table, on_path_news); break;
    case WEFT_EV_DATAGRAM_ROOM: plain = CALLBACK(table, on_datagram_room); break;
    case WEFT_EV_SESSION:
        if (CALLBACK(table, on_session))
            table->on_session(conn->user, handle, core->session, core->session_len);
        break;
    case WEFT_EV_TOKEN:
        if (CALLBACK(table, on_token))
            table->on_token(conn->user, handle, core->new_token, core->new_token_len);
        break;
    case WEFT_EV_CONN_CLOSED:
        if (CALLBACK(table, on_closed)) {
            weft_close close;
            abi_info_close_of(conn, &close);
            table->on_closed(conn->user, handle, &close);
        }
        break;
    default: break;
    }
    if (plain)
        plain(conn->user, handle);
}

/* After user code: the connection may still hear something. */
static bool conn_is_there(const struct abi_engine *engine, const struct abi_conn *conn, uint64_t handle) {
    int32_t error;
    return !engine->doomed && abi_get(ABI_CONN, handle, NULL, &error) == conn;
}

/* Ready to tell of one more thing. User code may have run. False: nobody is there any more. */
static bool conn_prepare(struct abi_engine *engine, struct abi_conn *conn, uint64_t handle) {
    if (conn->callbacks)
        abi_batch_flush(engine);
    else if (!batch_room(engine))
        return false;
    return conn_is_there(engine, conn, handle);
}

/* There is something to tell. News that there is room goes untold when it was refused anew since: it is owed once
 * more. */
static bool conn_holds(const struct abi_conn *conn, uint32_t type) {
    const struct quic_conn *core = conn->core;
    if (conn->told || type == WEFT_EV_CONN_CLOSED)
        return !conn->told;
    if (!core || (type == WEFT_EV_STREAMS && core->streams.open_blocked))
        return false;
    return type != WEFT_EV_DATAGRAM_ROOM || !core->datagrams || !core->datagrams->refused;
}

void abi_tell_conn(struct abi_conn *conn, uint32_t type) {
    struct abi_engine *engine = conn->engine;
    if (!conn_prepare(engine, conn, conn->handle) || !conn_holds(conn, type))
        return;
    conn->told = type == WEFT_EV_CONN_CLOSED;
    if (!conn->callbacks) { /* also when the batch's callback took them away */
        conn_batch(conn, type);
        return;
    }
    conn_callback(conn, type);
    if (type == WEFT_EV_CONN_CLOSED && !engine->doomed)
        abi_conn_ended(conn);
}

/* ---- datagrams ---- */

static void outcome_tell(struct abi_conn *conn, const struct quic_datagram_note *note) {
    const weft_conn_callbacks *table = conn->callbacks;
    if (!table) {
        weft_event *event = conn_batch(conn, WEFT_EV_DATAGRAM_OUTCOME);
        event->token = note->token;
        event->code = note->fate;
    } else if (CALLBACK(table, on_datagram_outcome)) {
        table->on_datagram_outcome(conn->user, (weft_conn){conn->handle}, note->token, note->fate);
    }
}

void abi_tell_outcomes(struct abi_conn *conn) {
    struct abi_engine *engine = conn->engine;
    uint64_t handle = conn->handle;
    struct quic_datagram_note note;
    /* One at a time: each belongs to whoever has the connection's callbacks when its turn comes. */
    while (conn_is_there(engine, conn, handle) && conn_prepare(engine, conn, handle) && conn->core && !conn->told &&
           quic_conn_datagram_notes(conn->core, &note, 1))
        outcome_tell(conn, &note);
}

/* Somebody takes datagrams; else they wait. */
static bool wants_datagrams(const struct abi_conn *conn) {
    return conn->callbacks ? CALLBACK(conn->callbacks, on_datagram) != NULL : conn->engine->on_events != NULL;
}

/* The next one; false: there is none, or nobody to take it. */
static bool datagram_tell(struct abi_engine *engine, struct abi_conn *conn) {
    struct quic_datagram_view view;
    if (!conn->core || !wants_datagrams(conn) || !quic_conn_datagram_peek(conn->core, &view))
        return false;
    if (!abi_show_datagram(engine, &view)) { /* room again when the batch was handed over: look anew */
        abi_batch_flush(engine);
        return true;
    }
    const struct abi_shown *shown = &engine->shown[engine->shown_count - 1];
    weft_slice slice = {shown->data, shown->len, abi_source(engine, engine->shown_count - 1)};
    uint32_t flags = view.early ? WEFT_ZERO_RTT : 0;
    quic_conn_datagram_take(conn->core);
    if (!conn->callbacks) {
        weft_event *event = conn_batch(conn, WEFT_EV_DATAGRAM);
        event->data = slice.data;
        event->len = slice.len;
        event->source = slice.source;
        event->flags = flags;
        return true;
    }
    conn->callbacks->on_datagram(conn->user, (weft_conn){conn->handle}, &slice, flags);
    if (!engine->doomed)
        abi_unshow(engine);
    return true;
}

void abi_tell_datagrams(struct abi_conn *conn) {
    struct abi_engine *engine = conn->engine;
    uint64_t handle = conn->handle;
    while (conn_is_there(engine, conn, handle) && conn_prepare(engine, conn, handle) && !conn->told &&
           datagram_tell(engine, conn))
        continue;
}

/* ---- streams ---- */

static weft_event *stream_batch(struct abi_engine *engine, struct abi_conn *conn, struct quic_stream *stream,
                                uint32_t type, uint64_t value) {
    weft_event *event = batch_add(engine, type);
    event->conn.id = conn->handle;
    event->stream.id = stream->handle;
    event->stream_id = stream->id;
    event->user = abi_stream_user(conn, stream);
    if (type == WEFT_EV_RELEASED)
        event->token = value;
    else
        event->code = value;
    return event;
}

static void stream_callback(const weft_stream_callbacks *table, void *user, weft_stream stream, uint32_t type,
                            uint64_t value) {
    void (*plain)(void *, weft_stream) = NULL;
    void (*with_value)(void *, weft_stream, uint64_t) = NULL;
    switch (type) {
    case WEFT_EV_STREAM_OPENED: plain = CALLBACK(table, on_opened); break;
    case WEFT_EV_READABLE: plain = CALLBACK(table, on_readable); break;
    case WEFT_EV_RESET: with_value = CALLBACK(table, on_reset); break;
    case WEFT_EV_STOPPED: with_value = CALLBACK(table, on_stopped); break;
    case WEFT_EV_WRITABLE: plain = CALLBACK(table, on_writable); break;
    case WEFT_EV_RELEASED: with_value = CALLBACK(table, on_released); break;
    case WEFT_EV_FINISHED: plain = CALLBACK(table, on_finished); break;
    case WEFT_EV_STREAM_CLOSED: plain = CALLBACK(table, on_closed); break;
    default: break;
    }
    if (plain)
        plain(user, stream);
    else if (with_value)
        with_value(user, stream, value);
}

/* Somebody hears of it, perhaps only of what he lent; and it is still true: since WRITABLE was raised user code may
 * have filled the buffer again, or ended the direction. */
static bool is_told(const struct abi_engine *engine, const struct quic_stream *stream, uint32_t type) {
    if (type == WEFT_EV_RELEASED)
        return !engine->doomed && abi_stream_core(stream)->user != NULL;
    return abi_stream_is_heard(engine, stream) && (type != WEFT_EV_WRITABLE || quic_stream_is_writable(stream));
}

void abi_tell_stream(struct abi_engine *engine, struct quic_stream *stream, uint32_t type, uint64_t value) {
    struct abi_conn *conn = (struct abi_conn *)abi_stream_core(stream)->user;
    if (abi_stream_callbacks(conn, stream))
        abi_batch_flush(engine);
    else
        batch_room(engine);
    if (!is_told(engine, stream, type)) /* user code has run */
        return;
    conn = (struct abi_conn *)abi_stream_core(stream)->user;
    const weft_stream_callbacks *table = abi_stream_callbacks(conn, stream);
    if (!table) {
        stream_batch(engine, conn, stream, type, value);
        return;
    }
    stream_callback(table, abi_stream_user(conn, stream), (weft_stream){stream->handle}, type, value);
    if (type == WEFT_EV_STREAM_CLOSED && !engine->doomed)
        stream_ended(stream);
}

/* ---- bytes ---- */

static bool wants_data(const struct abi_engine *engine, const struct quic_stream *stream) {
    return abi_stream_is_heard(engine, stream) && !stream->paused && quic_stream_is_readable(stream);
}

/* One callback with what can be shown at a time. False: there is no more, or nobody wants it. */
static bool data_callback(struct abi_engine *engine, const struct abi_stream_at *at,
                          const weft_stream_callbacks *table) {
    weft_slice slices[ABI_SHOWN];
    uint64_t len;
    uint32_t count = abi_show(engine, at->stream, ABI_SHOWN, &len);
    bool end = abi_stream_reaches_end(at->stream, len);
    if (!count && !end)
        return false;
    for (uint32_t i = 0; i < count; i++)
        slices[i] = (weft_slice){engine->shown[i].data, engine->shown[i].len, abi_source(engine, i)};
    abi_stream_take(at, len);
    table->on_data(abi_stream_user(at->conn, at->stream), (weft_stream){at->stream->handle}, slices, count,
                   end ? WEFT_FIN : 0);
    if (engine->doomed)
        return false;
    abi_unshow(engine);
    return !end && wants_data(engine, at->stream);
}

/* The same for the batch: one event a slice, as many as fit. */
static bool data_batch(struct abi_engine *engine, const struct abi_stream_at *at) {
    uint32_t first = engine->shown_count, room = ABI_BATCH - engine->batched;
    uint32_t shown_room = ABI_BATCH - engine->shown_count;
    uint32_t most = room < shown_room ? room : shown_room;
    uint64_t len;
    uint32_t count = abi_show(engine, at->stream, most < ABI_SHOWN ? most : ABI_SHOWN, &len);
    bool end = abi_stream_reaches_end(at->stream, len);
    for (uint32_t i = 0; i < count; i++) {
        weft_event *event = stream_batch(engine, at->conn, at->stream, WEFT_EV_DATA, 0);
        event->data = engine->shown[first + i].data;
        event->len = engine->shown[first + i].len;
        event->source = abi_source(engine, first + i);
        event->flags = end && i + 1 == count ? WEFT_FIN : 0;
    }
    if (!count && end)
        stream_batch(engine, at->conn, at->stream, WEFT_EV_DATA, 0)->flags = WEFT_FIN;
    if (count || end)
        abi_stream_take(at, len);
    if (!end && quic_stream_is_readable(at->stream)) /* the batch or the arena is full */
        abi_batch_flush(engine);
    return !end && wants_data(engine, at->stream);
}

void abi_tell_data(struct abi_engine *engine, struct quic_stream *stream) {
    for (bool more = true; more;) {
        struct abi_stream_at at = {engine, (struct abi_conn *)abi_stream_core(stream)->user, abi_stream_core(stream),
                                   stream};
        const weft_stream_callbacks *table = abi_stream_callbacks(at.conn, stream);
        bool pull = abi_stream_flags(at.conn, stream) & WEFT_STREAM_PULL || (table && !CALLBACK(table, on_data)) ||
                    (!table && !engine->on_events);
        if (table ? engine->batched > 0 : engine->batched == ABI_BATCH) {
            abi_batch_flush(engine); /* user code: look again */
            more = wants_data(engine, stream);
            continue;
        }
        if (pull) {
            abi_tell_stream(engine, stream, WEFT_EV_READABLE, 0);
            return;
        }
        more = table ? data_callback(engine, &at, table) : data_batch(engine, &at);
    }
}
