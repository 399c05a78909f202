/* stream.c - streams: their events, their end, what is set.
 *
 * The two directions live in files of their own (stream_send.c, stream_recv.c). Here is what they share: where a stream
 * comes from and how it ends. It ends once: when the core says so, when its owner is down, or with its connection or
 * engine. Then both directions are told, and whoever waits is answered.
 */
#include "nif.h"

struct stream *stream_new(struct conn *conn, weft_stream handle, uint64_t id) {
    struct stream *stream = (struct stream *)resource_new(RESOURCE_STREAM, sizeof *stream);
    if (!stream)
        return NULL;
    stream->engine = conn->engine;
    stream->conn = conn;
    enif_keep_resource(conn->engine);
    enif_keep_resource(conn);
    stream->handle = handle;
    stream->id = id;
    stream->open = stream->linked = true;
    stream->mode = conn->stream_mode;
    atomic_init(&stream->high, conn->high);
    atomic_init(&stream->low, conn->low);
    bool ours = false;
    weft_stream_info info = {.size = sizeof info};
    if (weft_stream_get_info(handle, &info) == WEFT_OK)
        ours = info.local;
    if ((id & 2) && !ours)
        atomic_init(&stream->send_fate, SEND_NEVER);
    stream->next = conn->streams;
    if (conn->streams)
        conn->streams->previous = stream;
    conn->streams = stream;
    COUNT(streams, 1);
    return stream;
}

/* Why its last call failed, or why it ended. */
term stream_fault(ErlNifEnv *env, const struct stream *stream, int32_t error) {
    if (error == WEFT_E_CLOSED || (!stream->open && stream->conn->close.cause != WEFT_CAUSE_NONE))
        return term_closed(env, stream->conn);
    return term_error(env, error);
}

void stream_ended(struct engine *engine, struct stream *stream) {
    struct conn *conn = stream->conn;
    if (!stream->linked)
        return;
    if (conn->close.cause == WEFT_CAUSE_NONE)
        weft_conn_get_close(conn->handle, &conn->close);
    /* What has arrived stays there for who accepts it later, unless the connection is ours to end. */
    bool kept = stream->queued && conn->close.cause != WEFT_CAUSE_NONE && conn->close.cause != WEFT_CAUSE_LOCAL;
    if (stream->owner.set || kept)
        stream_recv_rest(stream);
    kept = kept && (stream->has_stash || stream->recv_fate == RECV_FIN);
    stream->open = stream->linked = false;
    if (kept)
        conn_queue_keep(conn, stream);
    else if (stream->queued)
        conn_queue_remove(conn, stream);
    stream_send_abandon(stream, SEND_CLOSED);
    stream_recv_end(engine, stream, RECV_CLOSED);
    stream->untold |= SNOTE_CLOSED;
    stream_deliver(engine, stream);
    owner_clear(&stream->owner, stream);
    if (stream->previous)
        stream->previous->next = stream->next;
    else
        conn->streams = stream->next;
    if (stream->next)
        stream->next->previous = stream->previous;
    stream->next = stream->previous = NULL;
    COUNT(streams, -1);
    enif_release_resource(stream);
}

/* Of a detached stream the core tells no more but what it gives back. */
static void stream_drop(struct engine *engine, struct stream *stream, uint64_t code) {
    if (!stream->open)
        return;
    weft_stream_detach(stream->handle, code);
    stream_ended(engine, stream);
}

void stream_owner_down(struct engine *engine, struct stream *stream) {
    stream->mode = (struct mode){MODE_FALSE, 0, false};
    stream->owner.set = false;
    stream_drop(engine, stream, 0);
}

void stream_on_event(struct engine *engine, const weft_event *event) {
    struct stream *stream = (struct stream *)weft_stream_user(event->stream);
    if (!stream || !stream->linked)
        return;
    switch (event->type) {
    case WEFT_EV_READABLE: stream_deliver(engine, stream); break;
    case WEFT_EV_RESET:
        stream->reset_code = event->code;
        stream_recv_end(engine, stream, RECV_RESET);
        break;
    case WEFT_EV_STOPPED:
        atomic_store(&stream->stop_code, event->code);
        stream->untold |= SNOTE_STOPPED;
        stream_send_abandon(stream, SEND_STOPPED);
        stream_deliver(engine, stream);
        break;
    case WEFT_EV_WRITABLE: stream_send_on_writable(stream); break;
    case WEFT_EV_FINISHED: stream_send_on_finished(stream); break;
    case WEFT_EV_STREAM_CLOSED: stream_ended(engine, stream); break;
    default: break;
    }
}

/* ---- calls ---- */

static struct stream *get(ErlNifEnv *env, term value) {
    return (struct stream *)resource_get(env, value, RESOURCE_STREAM);
}

static void run_mode(struct engine *engine, struct command *command) {
    struct stream *stream = (struct stream *)command->object;
    bool passive;
    if (!mode_change(&stream->mode, &command->mode, &passive)) {
        if (command->waiter)
            command_answer(command, term_fail(command->waiter->env, AM(einval)));
        return;
    }
    command_answer_code(command, WEFT_OK);
    if (passive)
        events_send(engine, &stream->owner.pid,
                    enif_make_tuple2(engine->env, AM(weft_passive), term_stream(engine->env, stream)));
    stream_deliver(engine, stream);
}

/* stream_mode(Stream, Mode, Ref | undefined) -> ok | closed. What cannot fail needs no answer. */
NIF(nif_stream_mode) {
    struct stream *stream = get(env, argv[0]);
    struct mode mode;
    (void)argc;
    if (!stream)
        return AM(closed);
    if (!term_get_mode(env, argv[1], &mode))
        return enif_make_badarg(env);
    struct command *command = command_new(run_mode, stream, 0);
    if (!command)
        return AM(error);
    command->mode = mode;
    if (enif_is_ref(env, argv[2]))
        return command_ask(env, stream->engine, command, argv[2]);
    return command_post(stream->engine, command);
}

enum { SET_WATERMARKS, SET_PRIORITY, SET_DEADLINE };

static void run_set(struct engine *engine, struct command *command) {
    struct stream *stream = (struct stream *)command->object;
    int32_t error = WEFT_OK;
    (void)engine;
    switch (command->flags) {
    case SET_WATERMARKS:
        atomic_store(&stream->high, (uint32_t)command->number);
        atomic_store(&stream->low, (uint32_t)command->other);
        stream_send_on_writable(stream);
        break;
    case SET_PRIORITY:
        error = weft_stream_set_priority(stream->handle, (uint32_t)command->number, (uint32_t)command->other);
        break;
    default: error = weft_stream_set_deadline(stream->handle, command->number, command->other); break;
    }
    if (command->waiter)
        command_answer(command, error ? stream_fault(command->waiter->env, stream, error) : AM(ok));
}

/* stream_set(Stream, watermarks | priority | deadline, A, B, Ref): {High, Low}, {Urgency, Incremental}, {Ns, Code} */
NIF(nif_stream_set) {
    static const char *const names[] = {"watermarks", "priority", "deadline"};
    struct stream *stream = get(env, argv[0]);
    char name[16];
    ErlNifUInt64 first, second;
    (void)argc;
    if (!stream)
        return AM(closed);
    if (!enif_get_atom(env, argv[1], name, sizeof name, ERL_NIF_LATIN1) || !enif_get_uint64(env, argv[2], &first) ||
        !enif_get_uint64(env, argv[3], &second))
        return enif_make_badarg(env);
    for (uint32_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) != 0)
            continue;
        struct command *command = command_new(run_set, stream, 0);
        if (command) {
            command->flags = i;
            command->number = first;
            command->other = second;
        }
        return command_ask(env, stream->engine, command, argv[4]);
    }
    return enif_make_badarg(env);
}

enum { END_RESET = 1, END_STOP = 2, END_DROP = 4 };

/* Gives up what is asked for. What has ended by itself is no error. */
static void run_end(struct engine *engine, struct command *command) {
    struct stream *stream = (struct stream *)command->object;
    int32_t error = WEFT_OK;
    if (!stream->open) {
        command_answer_code(command, WEFT_OK);
        return;
    }
    if (command->flags & END_RESET) {
        error = weft_stream_reset(stream->handle, command->number);
        stream_send_abandon(stream, SEND_RESET);
    }
    if (command->flags & END_STOP && stream->recv_fate == RECV_OPEN) {
        error = weft_stream_stop(stream->handle, command->number);
        stream_recv_end(engine, stream, RECV_STOPPED);
    }
    if (command->flags & END_DROP)
        stream_drop(engine, stream, command->number);
    if (error == WEFT_E_STREAM_CLOSED)
        error = WEFT_OK;
    command_answer_code(command, error);
}

/* stream_end(Stream, Flags, Code, Ref) */
NIF(nif_stream_end) {
    struct stream *stream = get(env, argv[0]);
    unsigned flags;
    ErlNifUInt64 code;
    (void)argc;
    if (!stream)
        return AM(closed);
    if (!enif_get_uint(env, argv[1], &flags) || !enif_get_uint64(env, argv[2], &code) || code > WEFT_CODE_MAX)
        return enif_make_badarg(env);
    struct command *command = command_new(run_end, stream, 0);
    if (command) {
        command->flags = flags;
        command->number = code;
    }
    return command_ask(env, stream->engine, command, argv[3]);
}

static void run_cancel(struct engine *engine, struct command *command) {
    struct stream *stream = (struct stream *)command->object;
    struct waiters *lists[] = {&stream->receiving, &stream->writable, &stream->finishing};
    (void)engine;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct waiter *waiter = waiters_find(lists[i], command->env, command->value);
        if (!waiter)
            continue;
        stream_recv_keep(stream, waiter);
        waiter_answer(waiter, term_fail(waiter->env, AM(timeout)));
    }
}

/* stream_cancel(Stream, Ref) */
NIF(nif_stream_cancel) {
    struct stream *stream = get(env, argv[0]);
    (void)argc;
    struct command *command = stream ? command_new(run_cancel, stream, 0) : NULL;
    if (!command)
        return AM(closed);
    command->env = enif_alloc_env();
    command->value = enif_make_copy(command->env, argv[1]);
    return command_post(stream->engine, command);
}
