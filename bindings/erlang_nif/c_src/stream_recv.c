/* stream_recv.c - bytes from the core to Erlang.
 *
 * The core keeps what has arrived until it is taken here, and gives the peer credit for what is taken. So a stream that
 * nobody reads costs what its window allows, and stops its peer; nothing else notices. Bytes are taken for a process
 * that waits in recv, or as messages when the stream's mode asks for them: one message for what is there, up to 64 KiB.
 *
 * The order is that of the stream: bytes, then its end (fin or reset), then its closing. What the mode holds back is
 * kept as bits (`untold`) and told when the mode changes. When the connection ends before everything was taken, the
 * rest is kept here (`stash`), for whoever still wants it: as with a socket of inet.
 */
#include "nif.h"

#define MESSAGE_MOST 65536u
#define SLICES 64u
#define ALONE_LEAST 4096u /* a slice that large is a message of its own: bytes_take need not copy it */

/* ---- taking ---- */

/* How many of the slices make the next binary, of at most `most` bytes; the last may be cut. */
static size_t choose(weft_slice *slices, size_t count, size_t most, size_t *len) {
    size_t used = 0;
    *len = 0;
    while (used < count && *len < most) {
        if (used && slices[used].len >= ALONE_LEAST)
            break;
        if (slices[used].len > most - *len)
            slices[used].len = most - *len;
        *len += slices[used].len;
        used++;
        if (slices[used - 1].len >= ALONE_LEAST)
            break;
    }
    return used;
}

/* Looks at what is there. False: nothing, not even the end. */
static bool look(struct stream *stream, weft_slice *slices, size_t *count, uint32_t *flags) {
    int64_t found = weft_stream_peek(stream->handle, slices, SLICES, flags);
    if (found < 0)
        return false;
    *count = (size_t)found;
    return found > 0 || (*flags & WEFT_FIN);
}

static void take_stash(struct stream *stream, ErlNifEnv *env, size_t most, term *out) {
    size_t left = stream->stash.size - stream->stash_at;
    size_t len = left < most ? left : most;
    *out = term_binary(env, stream->stash.data + stream->stash_at, len);
    stream->stash_at += len;
    if (len == left) {
        enif_release_binary(&stream->stash);
        stream->has_stash = false;
    }
}

static void took_end(struct stream *stream) {
    stream->recv_fate = RECV_FIN;
    stream->untold |= SNOTE_FIN;
}

/* The next binary of at most `most` bytes. False: no bytes now. May find the end, too. */
static bool take(struct stream *stream, ErlNifEnv *env, size_t most, term *out) {
    weft_slice slices[SLICES];
    size_t count, shown = 0, len;
    uint32_t flags = 0;
    if (stream->has_stash) {
        take_stash(stream, env, most, out);
        return true;
    }
    if (stream->recv_fate != RECV_OPEN || !stream->open || !look(stream, slices, &count, &flags))
        return false;
    for (size_t i = 0; i < count; i++)
        shown += slices[i].len;
    size_t used = choose(slices, count, most, &len);
    if (len)
        *out = bytes_take(stream->engine, env, slices, used, len);
    weft_stream_consume(stream->handle, len);
    if (flags & WEFT_FIN && len == shown)
        took_end(stream);
    return len > 0;
}

/* ---- for those who wait ---- */

/* More of what a waiter wants. */
static void fill(struct stream *stream, struct waiter *waiter) {
    weft_slice slices[SLICES];
    size_t count;
    uint32_t flags = 0;
    while (waiter->have < waiter->want && stream->recv_fate == RECV_OPEN && stream->open &&
           look(stream, slices, &count, &flags)) {
        size_t taken = 0, shown = 0;
        for (size_t i = 0; i < count; i++) {
            size_t room = waiter->part.size - waiter->have;
            size_t len = slices[i].len < room ? slices[i].len : room;
            memcpy(waiter->part.data + waiter->have, slices[i].data, len);
            waiter->have += len;
            taken += len;
            shown += slices[i].len;
        }
        weft_stream_consume(stream->handle, taken);
        if (flags & WEFT_FIN && taken == shown)
            took_end(stream);
    }
}

static void fill_from_stash(struct stream *stream, struct waiter *waiter) {
    size_t left = stream->stash.size - stream->stash_at, room = waiter->part.size - waiter->have;
    size_t len = left < room ? left : room;
    memcpy(waiter->part.data + waiter->have, stream->stash.data + stream->stash_at, len);
    waiter->have += len;
    stream->stash_at += len;
    if (len == left) {
        enif_release_binary(&stream->stash);
        stream->has_stash = false;
    }
}

/* True: so many as were wanted, or all there will ever be. */
static bool serve_exactly(struct stream *stream, struct waiter *waiter, term *result) {
    if (!waiter->has_part) {
        if (!enif_alloc_binary((size_t)waiter->want, &waiter->part)) {
            *result = term_error(waiter->env, WEFT_E_NOMEM);
            return true;
        }
        waiter->has_part = true;
    }
    if (stream->has_stash)
        fill_from_stash(stream, waiter);
    fill(stream, waiter);
    if (waiter->have < waiter->want && stream->recv_fate == RECV_OPEN)
        return false;
    if (!waiter->have) {
        *result = stream_recv_fault(waiter->env, stream);
        return true;
    }
    if (waiter->have < waiter->part.size)
        enif_realloc_binary(&waiter->part, waiter->have);
    waiter->has_part = false;
    *result = term_ok(waiter->env, enif_make_binary(waiter->env, &waiter->part));
    return true;
}

/* Answers the first that waits. False: it goes on waiting. */
static bool serve(struct stream *stream) {
    struct waiter *waiter = stream->receiving.first;
    term result;
    if (waiter->want) {
        if (!serve_exactly(stream, waiter, &result))
            return false;
    } else if (take(stream, waiter->env, MESSAGE_MOST, &result)) {
        result = term_ok(waiter->env, result);
    } else if (stream->recv_fate != RECV_OPEN) {
        result = stream_recv_fault(waiter->env, stream);
    } else {
        return false;
    }
    waiters_take(&stream->receiving);
    waiter_answer(waiter, result);
    return true;
}

void stream_recv_keep(struct stream *stream, struct waiter *waiter) {
    if (!waiter->has_part || !waiter->have || stream->has_stash)
        return;
    stream->stash = waiter->part;
    enif_realloc_binary(&stream->stash, waiter->have);
    stream->stash_at = 0;
    stream->has_stash = true;
    waiter->has_part = false;
}

void stream_recv_forget(struct stream *stream, const ErlNifPid *pid) {
    for (struct waiter *waiter = waiters_take_of(&stream->receiving, pid); waiter;
         waiter = waiters_take_of(&stream->receiving, pid)) {
        stream_recv_keep(stream, waiter);
        waiter_free(waiter);
    }
}

/* ---- messages ---- */

static bool note(struct stream *stream, uint32_t which) {
    bool there = (stream->untold & which) != 0;
    stream->untold &= ~which;
    return there;
}

static void tell_code(struct engine *engine, struct stream *stream, term tag, uint64_t code) {
    events_send(
        engine, &stream->owner.pid,
        enif_make_tuple3(engine->env, tag, term_stream(engine->env, stream), enif_make_uint64(engine->env, code)));
}

static void tell_notes(struct engine *engine, struct stream *stream) {
    ErlNifEnv *env = engine->env;
    if (note(stream, SNOTE_FIN))
        events_send(engine, &stream->owner.pid, enif_make_tuple2(env, AM(weft_fin), term_stream(env, stream)));
    if (note(stream, SNOTE_RESET))
        tell_code(engine, stream, AM(weft_reset), stream->reset_code);
    if (note(stream, SNOTE_STOPPED))
        tell_code(engine, stream, AM(weft_stopped), atomic_load(&stream->stop_code));
    if (note(stream, SNOTE_CLOSED)) {
        const weft_close *close = &stream->conn->close;
        term reason = close->cause == WEFT_CAUSE_NONE ? enif_make_atom(env, "normal") : term_close(env, close);
        events_send(engine, &stream->owner.pid,
                    enif_make_tuple3(env, AM(weft_closed), term_stream(env, stream), reason));
    }
}

/* One message of bytes, if there are any. */
static bool tell_bytes(struct engine *engine, struct stream *stream) {
    term data;
    if (!take(stream, engine->env, MESSAGE_MOST, &data))
        return false;
    ErlNifEnv *env = engine->env;
    events_send(engine, &stream->owner.pid, enif_make_tuple3(env, AM(weft), term_stream(env, stream), data));
    if (mode_spend(&stream->mode))
        events_send(engine, &stream->owner.pid, enif_make_tuple2(env, AM(weft_passive), term_stream(env, stream)));
    return true;
}

void stream_deliver(struct engine *engine, struct stream *stream) {
    while (stream->receiving.first)
        if (!serve(stream))
            return;
    if (!stream->owner.set)
        return;
    while (mode_is_active(&stream->mode) && tell_bytes(engine, stream))
        continue;
    if (mode_is_active(&stream->mode) && stream->untold && !stream->has_stash)
        tell_notes(engine, stream);
}

/* ---- the end ---- */

static bool stash_grow(struct stream *stream, size_t size) {
    bool done = stream->has_stash ? enif_realloc_binary(&stream->stash, size) : enif_alloc_binary(size, &stream->stash);
    if (done && !stream->has_stash)
        stream->stash_at = 0;
    stream->has_stash = stream->has_stash || done;
    return done;
}

void stream_recv_rest(struct stream *stream) {
    weft_stream_info info = {.size = sizeof info};
    uint32_t flags = 0;
    if (stream->recv_fate != RECV_OPEN || weft_stream_get_info(stream->handle, &info) != WEFT_OK)
        return;
    size_t had = stream->has_stash ? stream->stash.size : 0;
    size_t rest = (size_t)(info.received - info.taken);
    if (rest && stash_grow(stream, had + rest)) {
        int64_t got = weft_stream_read(stream->handle, stream->stash.data + had, rest, &flags);
        size_t size = had + (got > 0 ? (size_t)got : 0);
        if (!size) {
            enif_release_binary(&stream->stash);
            stream->has_stash = false;
        } else if (size < had + rest) {
            enif_realloc_binary(&stream->stash, size);
        }
    } else if (!rest && weft_stream_peek(stream->handle, NULL, 0, &flags) < 0) {
        return;
    }
    if (flags & WEFT_FIN)
        took_end(stream);
}

term stream_recv_fault(ErlNifEnv *env, const struct stream *stream) {
    switch (stream->recv_fate) {
    case RECV_FIN: return term_fail(env, AM(fin));
    case RECV_RESET: return term_fail(env, enif_make_tuple2(env, AM(reset), enif_make_uint64(env, stream->reset_code)));
    case RECV_CLOSED: return stream_fault(env, stream, WEFT_E_GONE);
    default: return term_error(env, WEFT_E_STREAM_CLOSED);
    }
}

void stream_recv_end(struct engine *engine, struct stream *stream, enum recv_fate fate) {
    if (stream->recv_fate == RECV_OPEN) {
        stream->recv_fate = fate;
        if (fate == RECV_RESET)
            stream->untold |= SNOTE_RESET;
    }
    stream_deliver(engine, stream);
}

/* ---- calls ---- */

static void run_recv(struct engine *engine, struct command *command) {
    struct stream *stream = (struct stream *)command->object;
    if (stream->mode.kind != MODE_FALSE) {
        command_answer(command, term_fail(command->waiter->env, AM(einval)));
        return;
    }
    waiters_add(&stream->receiving, command_take_waiter(command), stream);
    stream_deliver(engine, stream);
}

/* stream_recv(Stream, Len, Ref): {Ref, {ok, Binary} | {error, _}} follows. Len 0: what there is. */
NIF(nif_stream_recv) {
    struct stream *stream = (struct stream *)resource_get(env, argv[0], RESOURCE_STREAM);
    ErlNifUInt64 want;
    (void)argc;
    if (!stream)
        return AM(closed);
    if (!enif_get_uint64(env, argv[1], &want))
        return enif_make_badarg(env);
    struct command *command = command_new(run_recv, stream, 0);
    if (!command)
        return AM(error);
    command->waiter = waiter_new(env, argv[2]);
    command->waiter->want = want;
    return command_post(stream->engine, command);
}
