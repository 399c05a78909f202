/* conn.c - connections: their events, and whom they go to.
 *
 * What a connection has to hand out - the peer's streams, datagrams, news - goes first to processes that wait for it
 * in a call, then to the owner as messages, as the mode allows, else it waits here. Streams that wait are bounded by
 * what the peer may open, datagrams by a queue of their own; news is one of a kind.
 *
 * The end comes from the core, once, after the end of every stream. Then whoever waits is answered with cause, code and
 * reason, and what is left of the object is the reason - and, when the end was not our wish, what had arrived and
 * nobody has taken yet: datagrams, and streams with their bytes. A stream that has ended and waits is the queue's, and
 * refers to the connection only from when it is handed out: else neither would ever go.
 */
#include "nif.h"

struct conn *conn_new(struct engine *engine) {
    struct conn *conn = (struct conn *)resource_new(RESOURCE_CONN, sizeof *conn);
    if (!conn)
        return NULL;
    conn->engine = engine;
    conn->close.size = sizeof conn->close;
    enif_keep_resource(engine);
    return conn;
}

/* The core knows it from now on; it takes over one reference. */
void conn_link(struct engine *engine, struct conn *conn, weft_conn handle) {
    conn->handle = handle;
    conn->open = conn->linked = true;
    conn->next = engine->conns;
    if (engine->conns)
        engine->conns->previous = conn;
    engine->conns = conn;
    COUNT(conns, 1);
}

static void conn_forget_listener(struct conn *conn) {
    if (!conn->listener)
        return;
    if (conn->queued)
        listener_withdraw(conn->listener, conn);
    conn->listener->conns--;
    listener_check(conn->listener);
    enif_release_resource(conn->listener);
    conn->listener = NULL;
}

bool conn_hand(struct engine *engine, struct conn *conn, const ErlNifPid *pid) {
    (void)engine;
    if (!owner_set(&conn->owner, conn, pid))
        return false;
    conn->handed = true;
    return true;
}

void conn_accepted(struct engine *engine, const weft_event *event) {
    struct listener *listener = (struct listener *)weft_listener_user(event->listener);
    struct conn *conn = listener ? conn_new(engine) : NULL;
    if (!conn) {
        weft_conn_close_transport(event->conn, 2, NULL);
        return;
    }
    weft_conn_set_user(event->conn, conn);
    conn_link(engine, conn, event->conn);
    conn->mode = listener->conn_mode;
    conn->stream_mode = listener->stream_mode;
    conn->high = listener->high;
    conn->low = listener->low;
    conn->datagram_limit = listener->datagram_limit;
    conn->datagram_most = listener->datagram_most;
    conn->listener = listener;
    listener->conns++;
    enif_keep_resource(listener);
    if (listener->accept_early)
        listener_offer(engine, listener, conn);
}

/* ---- handing out ---- */

static bool owner_hears(const struct conn *conn) { return conn->owner.set && mode_is_active(&conn->mode); }

/* A counted message was sent. */
static void spend(struct engine *engine, struct conn *conn) {
    if (mode_spend(&conn->mode))
        events_send(engine, &conn->owner.pid,
                    enif_make_tuple2(engine->env, AM(weft_passive), term_conn(engine->env, conn)));
}

static struct stream *queue_take(struct conn *conn) {
    struct stream *stream = conn->queue;
    conn->queue = stream->queue_next;
    if (!conn->queue)
        conn->queue_last = NULL;
    stream->queued = false;
    if (!stream->linked)
        enif_keep_resource(conn);
    return stream;
}

void conn_queue_keep(struct conn *conn, struct stream *stream) {
    enif_keep_resource(stream);
    enif_release_resource(conn);
}

void conn_queue_clear(struct conn *conn) {
    while (conn->queue) {
        struct stream *stream = conn->queue;
        conn->queue = stream->queue_next;
        stream->conn = NULL;
        enif_release_resource(stream);
    }
}

/* What is left to do for a stream that has an owner now, and of which there are terms. */
static void handed_out(struct engine *engine, struct stream *stream) {
    stream_deliver(engine, stream);
    if (stream->linked)
        return;
    owner_clear(&stream->owner, stream);
    enif_release_resource(stream);
}

static void queue_return(struct conn *conn, struct stream *stream) {
    if (!stream->linked)
        enif_release_resource(conn);
    stream->queue_next = conn->queue;
    conn->queue = stream;
    if (!conn->queue_last)
        conn->queue_last = stream;
    stream->queued = true;
}

void conn_queue_remove(struct conn *conn, struct stream *stream) {
    struct stream **at = &conn->queue, *previous = NULL;
    for (; *at && *at != stream; at = &(*at)->queue_next)
        previous = *at;
    if (!*at)
        return;
    *at = stream->queue_next;
    if (conn->queue_last == stream)
        conn->queue_last = previous;
    stream->queued = false;
}

/* The first stream that waits, to the first process that does. False: nothing to do. */
static bool answer_stream(struct engine *engine, struct conn *conn) {
    if (!conn->queue || !conn->accepting.first)
        return false;
    struct stream *stream = queue_take(conn);
    struct waiter *waiter = waiters_take(&conn->accepting);
    if (!owner_set(&stream->owner, stream, &waiter->pid)) {
        queue_return(conn, stream);
        waiter_free(waiter);
        return true;
    }
    if (waiter->has_mode)
        stream->mode = waiter->mode;
    waiter_answer(waiter, term_ok(waiter->env, term_stream(waiter->env, stream)));
    handed_out(engine, stream);
    return true;
}

static bool tell_stream(struct engine *engine, struct conn *conn) {
    if (!conn->queue || !owner_hears(conn))
        return false;
    struct stream *stream = queue_take(conn);
    if (!owner_set(&stream->owner, stream, &conn->owner.pid)) {
        queue_return(conn, stream); /* the owner is down; what follows from that is on its way */
        return false;
    }
    events_send(
        engine, &conn->owner.pid,
        enif_make_tuple3(engine->env, AM(weft_stream), term_conn(engine->env, conn), term_stream(engine->env, stream)));
    spend(engine, conn);
    handed_out(engine, stream);
    return true;
}

static bool hand_datagram(struct engine *engine, struct conn *conn) {
    struct datagram *datagram;
    struct waiter *waiter = conn->datagrams_wanted.first;
    if ((!waiter && !owner_hears(conn)) || !datagram_next(conn, &datagram))
        return false;
    if (waiter) {
        waiters_take(&conn->datagrams_wanted);
        waiter_answer(waiter, term_ok(waiter->env, datagram_term(waiter->env, datagram)));
    } else {
        events_send(engine, &conn->owner.pid,
                    enif_make_tuple3(engine->env, AM(weft_datagram), term_conn(engine->env, conn),
                                     datagram_term(engine->env, datagram)));
        spend(engine, conn);
    }
    nif_free(datagram);
    return true;
}

typedef int64_t (*blob_get)(weft_conn conn, void *out, size_t capacity);

term conn_blob(ErlNifEnv *env, const struct conn *conn, blob_get get) {
    term result;
    int64_t len = get(conn->handle, NULL, 0);
    if (len <= 0)
        return AM(undefined);
    get(conn->handle, enif_make_new_binary(env, (size_t)len, &result), (size_t)len);
    return result;
}

static void tell_blob(struct engine *engine, struct conn *conn, term tag, blob_get get) {
    term blob = conn->open ? conn_blob(engine->env, conn, get) : AM(undefined);
    if (enif_is_identical(blob, AM(undefined)))
        enif_clear_env(engine->env);
    else
        events_send(engine, &conn->owner.pid, enif_make_tuple3(engine->env, tag, term_conn(engine->env, conn), blob));
}

static void tell_paths(struct engine *engine, struct conn *conn) {
    const term names[] = {AM(none), AM(validated), AM(failed), AM(active)};
    weft_path_news news = {.size = sizeof news};
    while (conn->open && weft_conn_path_news(conn->handle, &news) == 1) {
        ErlNifEnv *env = engine->env;
        term kind = news.news < sizeof names / sizeof *names ? names[news.news] : AM(none);
        events_send(
            engine, &conn->owner.pid,
            enif_make_tuple4(env, AM(weft_path), term_conn(env, conn), kind,
                             enif_make_tuple2(env, term_address(env, &news.local), term_address(env, &news.remote))));
    }
}

static void tell_plain(struct engine *engine, struct conn *conn, term tag) {
    events_send(engine, &conn->owner.pid, enif_make_tuple2(engine->env, tag, term_conn(engine->env, conn)));
}

static void tell_closed(struct engine *engine, struct conn *conn) {
    ErlNifEnv *env = engine->env;
    events_send(engine, &conn->owner.pid,
                enif_make_tuple3(env, AM(weft_closed), term_conn(env, conn), term_close(env, &conn->close)));
}

static bool take_note(struct conn *conn, uint32_t note) {
    bool there = (conn->untold & note) != 0;
    conn->untold &= ~note;
    return there;
}

static void tell_notes(struct engine *engine, struct conn *conn) {
    if (take_note(conn, NOTE_CONNECTED))
        tell_plain(engine, conn, AM(weft_connected));
    if (take_note(conn, NOTE_CONFIRMED))
        tell_plain(engine, conn, AM(weft_confirmed));
    if (take_note(conn, NOTE_SESSION))
        tell_blob(engine, conn, AM(weft_session), weft_conn_session);
    if (take_note(conn, NOTE_TOKEN))
        tell_blob(engine, conn, AM(weft_token), weft_conn_token);
    if (take_note(conn, NOTE_PATH))
        tell_paths(engine, conn);
}

void conn_deliver(struct engine *engine, struct conn *conn) {
    if (owner_hears(conn) && conn->untold)
        tell_notes(engine, conn);
    while (answer_stream(engine, conn) || tell_stream(engine, conn))
        continue;
    while (hand_datagram(engine, conn))
        continue;
    if (owner_hears(conn) && take_note(conn, NOTE_CLOSED))
        tell_closed(engine, conn);
}

/* ---- streams of the peer ---- */

void conn_stream_opened(struct engine *engine, const weft_event *event) {
    struct conn *conn = (struct conn *)weft_conn_user(event->conn);
    if (!conn || !conn->linked)
        return;
    struct stream *stream = stream_new(conn, event->stream, event->stream_id);
    if (!stream) {
        weft_stream_detach(event->stream, 0);
        return;
    }
    weft_stream_set_user(event->stream, stream);
    stream->queued = true;
    if (conn->queue_last)
        conn->queue_last->queue_next = stream;
    else
        conn->queue = stream;
    conn->queue_last = stream;
    conn_deliver(engine, conn);
}

/* ---- opening ---- */

/* 1: answered, 0: it has to wait for the peer's leave. */
bool conn_open_for(struct engine *engine, struct conn *conn, struct waiter *waiter, bool wait) {
    weft_stream handle;
    weft_stream_info info = {.size = sizeof info};
    int32_t error = weft_stream_open(conn->handle, waiter->direction, NULL, &handle);
    if (error == WEFT_E_STREAM_LIMIT && wait)
        return false;
    if (error != WEFT_OK) {
        waiter_answer(waiter, conn_fault(waiter->env, conn, error));
        return true;
    }
    weft_stream_get_info(handle, &info);
    struct stream *stream = stream_new(conn, handle, info.id);
    if (!stream || !owner_set(&stream->owner, stream, &waiter->pid)) {
        weft_stream_detach(handle, 0);
        if (stream)
            stream_ended(engine, stream);
        waiter_answer(waiter, term_error(waiter->env, stream ? WEFT_E_CLOSED : WEFT_E_NOMEM));
        return true;
    }
    weft_stream_set_user(handle, stream);
    if (waiter->direction == WEFT_UNI)
        stream->recv_fate = RECV_NEVER;
    if (waiter->has_mode)
        stream->mode = waiter->mode;
    waiter_answer(waiter, term_ok(waiter->env, term_stream(waiter->env, stream)));
    return true;
}

static void open_more(struct engine *engine, struct conn *conn) {
    struct waiters waiting = conn->opening;
    conn->opening = (struct waiters){0};
    for (struct waiter *waiter = waiters_take(&waiting); waiter; waiter = waiters_take(&waiting))
        if (!conn_open_for(engine, conn, waiter, true))
            waiters_add(&conn->opening, waiter, conn);
    if (owner_hears(conn))
        tell_plain(engine, conn, AM(weft_streams));
}

/* ---- the end ---- */

term conn_fault(ErlNifEnv *env, const struct conn *conn, int32_t error) {
    if (!conn->open || error == WEFT_E_CLOSED || error == WEFT_E_GONE)
        return term_closed(env, conn);
    return term_error(env, error);
}

static void answer_all(struct conn *conn) {
    waiters_answer_closed(&conn->connecting, conn);
    waiters_answer_closed(&conn->opening, conn);
    waiters_answer_closed(&conn->accepting, conn);
    waiters_answer_closed(&conn->datagrams_wanted, conn);
    waiters_answer_error(&conn->closing, WEFT_OK);
}

/* What is still asked of a connection that the core has forgotten. */
static void conn_remember(struct conn *conn) {
    weft_conn_info info = {.size = sizeof info};
    weft_conn_stats stats = {.size = sizeof stats};
    if (weft_conn_get_info(conn->handle, &info) == WEFT_OK)
        conn->closing_until = info.closing_until;
    if (!conn->last_stats && weft_conn_get_stats(conn->handle, &stats) == WEFT_OK &&
        (conn->last_stats = (weft_conn_stats *)nif_alloc(sizeof stats)))
        *conn->last_stats = stats;
}

void conn_ended(struct engine *engine, struct conn *conn) {
    if (!conn->linked)
        return;
    if (conn->close.cause == WEFT_CAUSE_NONE)
        weft_conn_get_close(conn->handle, &conn->close);
    if (conn->close.cause == WEFT_CAUSE_NONE)
        conn->close.cause = WEFT_CAUSE_LOCAL; /* the engine ends */
    conn_remember(conn);
    while (conn->streams)
        stream_ended(engine, conn->streams);
    conn->open = conn->linked = false;
    conn_forget_listener(conn);
    answer_all(conn);
    conn->untold |= NOTE_CLOSED;
    conn_deliver(engine, conn);
    owner_clear(&conn->owner, conn);
    if (conn->previous)
        conn->previous->next = conn->next;
    else
        engine->conns = conn->next;
    if (conn->next)
        conn->next->previous = conn->previous;
    conn->next = conn->previous = NULL;
    COUNT(conns, -1);
    enif_release_resource(conn);
}

void conn_owner_down(struct engine *engine, struct conn *conn) {
    (void)engine;
    conn->mode = (struct mode){MODE_FALSE, 0, false};
    conn->owner.set = false;
    if (conn->open)
        weft_conn_close(conn->handle, 0, NULL);
}

/* ---- events ---- */

static void note(struct engine *engine, struct conn *conn, uint32_t what) {
    conn->untold |= what;
    conn_deliver(engine, conn);
}

static void on_connected(struct engine *engine, struct conn *conn) {
    conn->connected = true;
    bool asked = conn->connecting.first != NULL;
    for (struct waiter *waiter = waiters_take(&conn->connecting); waiter; waiter = waiters_take(&conn->connecting))
        waiter_answer(waiter, AM(ok));
    if (conn->handed && !asked) /* the others learn it from the answer */
        note(engine, conn, NOTE_CONNECTED);
    if (conn->listener && !conn->handed && !conn->queued)
        listener_offer(engine, conn->listener, conn);
}

static void on_outcome(struct engine *engine, struct conn *conn, const weft_event *event) {
    const term names[] = {AM(none), AM(sent), AM(acked), AM(lost), AM(dropped)};
    if (!owner_hears(conn) || event->code >= sizeof names / sizeof *names)
        return;
    events_send(engine, &conn->owner.pid,
                enif_make_tuple4(engine->env, AM(weft_datagram_outcome), term_conn(engine->env, conn),
                                 enif_make_uint64(engine->env, event->token), names[event->code]));
}

void conn_on_event(struct engine *engine, const weft_event *event) {
    struct conn *conn = (struct conn *)weft_conn_user(event->conn);
    if (!conn || !conn->linked)
        return;
    switch (event->type) {
    case WEFT_EV_CONNECTED: on_connected(engine, conn); break;
    case WEFT_EV_CONFIRMED: note(engine, conn, NOTE_CONFIRMED); break;
    case WEFT_EV_SESSION: note(engine, conn, NOTE_SESSION); break;
    case WEFT_EV_TOKEN: note(engine, conn, NOTE_TOKEN); break;
    case WEFT_EV_PATH_NEWS: note(engine, conn, NOTE_PATH); break;
    case WEFT_EV_STREAMS: open_more(engine, conn); break;
    case WEFT_EV_DATAGRAM:
        datagram_on_event(engine, conn, event);
        conn_deliver(engine, conn);
        break;
    case WEFT_EV_DATAGRAM_OUTCOME: on_outcome(engine, conn, event); break;
    case WEFT_EV_DATAGRAM_ROOM:
        if (owner_hears(conn))
            tell_plain(engine, conn, AM(weft_datagram_room));
        break;
    case WEFT_EV_CONN_CLOSED: conn_ended(engine, conn); break;
    default: break;
    }
}
