/* stream_send.c - bytes from Erlang into the core.
 *
 * A NIF accepts bytes as long as fewer than the high watermark wait; one call's bytes are accepted whole, so at most
 * the watermark and one call's are held for a stream, and the core's own buffer behind them. Small bytes are copied
 * into the command, large binaries are referred to, and the core refers to them in its turn until they are
 * acknowledged: they are never copied. Who finds the mark reached is told when the low one is.
 *
 * `pending` and `send_fate` are shared with NIFs: a NIF adds and reads, the engine's thread subtracts and decides.
 *
 * The invariant that matters: an outgoing with pieces lent to the core lives until all have come back (RELEASED), or
 * the core's engine is gone.
 */
#include "nif.h"

#define REFER_LEAST 16384u /* fewer bytes are copied */
#define PIECE 65536u       /* what is lent at a time */

/* ---- outgoing ---- */

static void outgoing_free(struct outgoing *out) {
    if (out->env)
        enif_free_env(out->env);
    nif_free(out);
    COUNT(outgoing, -1);
}

static void lent_remove(struct outgoing *out) {
    *out->lent_at = out->lent_next;
    if (out->lent_next)
        out->lent_next->lent_at = out->lent_at;
}

static void lend(struct engine *engine, struct outgoing *out) {
    if (out->lent++)
        return;
    out->lent_next = engine->lent;
    if (engine->lent)
        engine->lent->lent_at = &out->lent_next;
    out->lent_at = &engine->lent;
    engine->lent = out;
}

void stream_send_on_released(uint64_t token) {
    struct outgoing *out = (struct outgoing *)(uintptr_t)token;
    if (--out->lent)
        return;
    lent_remove(out);
    if (!out->queued)
        outgoing_free(out);
}

void stream_send_forget_lent(struct engine *engine) {
    for (struct outgoing *out = engine->lent; out; out = engine->lent) {
        lent_remove(out);
        outgoing_free(out);
    }
}

static void queue_pop(struct stream *stream) {
    struct outgoing *out = stream->out;
    stream->out = out->next;
    if (!stream->out)
        stream->out_last = NULL;
    out->queued = false;
    if (!out->lent)
        outgoing_free(out);
}

/* ---- into the core ---- */

/* How many bytes were taken, 0 for none now, or an error. */
static int64_t offer(struct stream *stream, struct outgoing *out) {
    size_t left = out->len - out->taken;
    const uint8_t *data = out->data + out->taken;
    size_t piece = left < PIECE ? left : PIECE;
    if (!out->env)
        return weft_stream_write(stream->handle, data, left, out->fin ? WEFT_FIN : 0);
    int64_t taken = weft_stream_write_ref(stream->handle, data, piece, (uint64_t)(uintptr_t)out,
                                          out->fin && piece == left ? WEFT_FIN : 0);
    if (taken > 0) {
        lend(stream->engine, out);
        return taken;
    }
    weft_stream_info info = {.size = sizeof info};
    if (taken < 0 || weft_stream_get_info(stream->handle, &info) != WEFT_OK || info.buffered)
        return taken;
    /* The buffer is empty and this is still too much: it is smaller than a piece. */
    return weft_stream_write(stream->handle, data, left, out->fin ? WEFT_FIN : 0);
}

/* Those who wait for room, when there is some. */
static void tell_writable(struct stream *stream) {
    if (atomic_load(&stream->pending) > atomic_load(&stream->low))
        return;
    waiters_answer_error(&stream->writable, WEFT_OK);
    if (atomic_exchange(&stream->wants_writable, false) && stream->owner.set)
        events_send(stream->engine, &stream->owner.pid,
                    enif_make_tuple2(stream->engine->env, AM(weft_writable), term_stream(stream->engine->env, stream)));
}

static void queue_drop(struct stream *stream) {
    while (stream->out) {
        atomic_fetch_sub(&stream->pending, stream->out->len - stream->out->taken);
        queue_pop(stream);
    }
}

/* The core takes no more. Mostly an event says why, later in this turn: it is that which decides what callers are told.
 * Else bytes that were accepted are lost, and the peer must not take the rest for all. */
static void give_up(struct stream *stream, int32_t error) {
    queue_drop(stream);
    if (error == WEFT_E_STREAM_CLOSED || error == WEFT_E_CLOSED || error == WEFT_E_GONE)
        return;
    weft_stream_reset(stream->handle, 0);
    stream_send_abandon(stream, SEND_CLOSED);
}

static void pump(struct stream *stream) {
    while (stream->out) {
        struct outgoing *out = stream->out;
        int64_t taken = 0;
        if (out->taken < out->len) {
            taken = offer(stream, out);
        } else if (out->fin) {
            int32_t error = weft_stream_finish(stream->handle);
            taken = error;
        }
        if (taken < 0) {
            give_up(stream, (int32_t)taken);
            return;
        }
        out->taken += (size_t)taken;
        atomic_fetch_sub(&stream->pending, (size_t)taken);
        if (out->taken < out->len && !taken)
            break;
        if (out->taken == out->len)
            queue_pop(stream);
    }
    tell_writable(stream);
}

void stream_send_on_writable(struct stream *stream) {
    if (stream->open)
        pump(stream);
}

void stream_send_on_finished(struct stream *stream) {
    stream->told_finished = true;
    waiters_answer_error(&stream->finishing, WEFT_OK);
}

void stream_send_abandon(struct stream *stream, enum send_fate fate) {
    unsigned before = atomic_load(&stream->send_fate);
    if (before == SEND_OPEN || before == SEND_FIN)
        atomic_store(&stream->send_fate, (unsigned)fate);
    queue_drop(stream);
    struct waiters *lists[] = {&stream->writable, &stream->finishing};
    for (size_t i = 0; i < 2; i++)
        for (struct waiter *waiter = waiters_take(lists[i]); waiter; waiter = waiters_take(lists[i]))
            waiter_answer(waiter, stream->told_finished ? AM(ok) : stream_send_fault(waiter->env, stream));
}

term stream_send_fault(ErlNifEnv *env, const struct stream *stream) {
    switch (atomic_load(&stream->send_fate)) {
    case SEND_STOPPED:
        return term_fail(env,
                         enif_make_tuple2(env, AM(stopped), enif_make_uint64(env, atomic_load(&stream->stop_code))));
    case SEND_CLOSED: return stream_fault(env, stream, WEFT_E_GONE);
    default: return term_error(env, WEFT_E_STREAM_CLOSED);
    }
}

/* ---- calls ---- */

static void run_send(struct engine *engine, struct command *command) {
    struct stream *stream = (struct stream *)command->object;
    struct outgoing *out = (struct outgoing *)(void *)command->data;
    (void)engine;
    if (!stream->open || atomic_load(&stream->send_fate) > SEND_FIN) {
        atomic_fetch_sub(&stream->pending, out->len);
        outgoing_free(out);
        return;
    }
    out->queued = true;
    bool idle = !stream->out;
    if (idle)
        stream->out = out;
    else
        stream->out_last->next = out;
    stream->out_last = out;
    if (idle) /* else the core is full; it says when it is not */
        pump(stream);
}

static struct outgoing *outgoing_new(ErlNifEnv *env, term value, const ErlNifBinary *data, bool is_binary) {
    bool refer = data->size >= REFER_LEAST;
    struct outgoing *out = (struct outgoing *)nif_alloc(sizeof *out + (refer ? 0 : data->size));
    if (!out)
        return NULL;
    *out = (struct outgoing){.len = data->size};
    COUNT(outgoing, 1);
    if (!refer) {
        memcpy(out->inline_data, data->data, data->size);
        out->data = out->inline_data;
        return out;
    }
    ErlNifBinary copy;
    out->env = enif_alloc_env();
    if (!is_binary) { /* the flattened list becomes a binary of its own */
        ErlNifBinary flat = *data;
        value = enif_make_binary(env, &flat);
    }
    enif_inspect_binary(out->env, enif_make_copy(out->env, value), &copy);
    out->data = copy.data;
    return out;
}

/* Whether more may be accepted now; if not, `notify` has the owner told when it may. */
static bool has_room(struct stream *stream, bool notify) {
    if (atomic_load(&stream->pending) < atomic_load(&stream->high))
        return true;
    if (notify)
        atomic_store(&stream->wants_writable, true);
    return atomic_load(&stream->pending) < atomic_load(&stream->high); /* it may have drained in between */
}

/* stream_send(Stream, Data, Fin, Notify) -> ok | busy | fault | closed. Data: iodata, of which the caller sees to it
 * that only binaries are large. busy: nothing was taken. fault: stream_get(_, send_fault, _) says why. */
NIF(nif_stream_send) {
    struct stream *stream = (struct stream *)resource_get(env, argv[0], RESOURCE_STREAM);
    ErlNifBinary data;
    bool fin, notify;
    (void)argc;
    if (!stream)
        return AM(closed);
    bool is_binary = enif_is_binary(env, argv[1]);
    if (!enif_inspect_iolist_as_binary(env, argv[1], &data) || !term_get_bool(argv[2], &fin) ||
        !term_get_bool(argv[3], &notify))
        return enif_make_badarg(env);
    if (atomic_load(&stream->send_fate) != SEND_OPEN)
        return enif_make_atom(env, "fault");
    if (data.size && !has_room(stream, notify))
        return AM(busy);
    unsigned expected = SEND_OPEN;
    if (fin && !atomic_compare_exchange_strong(&stream->send_fate, &expected, SEND_FIN))
        return enif_make_atom(env, "fault");
    size_t len = data.size;
    struct outgoing *out = outgoing_new(env, argv[1], &data, is_binary);
    struct command *command = out ? command_new(run_send, stream, 0) : NULL;
    if (!command)
        return AM(error);
    out->fin = fin;
    command->data = (const uint8_t *)out;
    atomic_fetch_add(&stream->pending, len);
    if (len > 8192)
        enif_consume_timeslice(env, 1 + (len >= REFER_LEAST && is_binary ? 0 : (int)(len >> 14)));
    if (command_push(stream->engine, command))
        return AM(ok);
    atomic_fetch_sub(&stream->pending, len);
    outgoing_free(out);
    return AM(closed);
}

static void run_wait_writable(struct engine *engine, struct command *command) {
    struct stream *stream = (struct stream *)command->object;
    (void)engine;
    if (!stream->open || atomic_load(&stream->send_fate) > SEND_FIN)
        command_answer(command, stream_send_fault(command->waiter->env, stream));
    else if (atomic_load(&stream->pending) <= atomic_load(&stream->low))
        command_answer_code(command, WEFT_OK);
    else
        waiters_add(&stream->writable, command_take_waiter(command), stream);
}

/* stream_wait_writable(Stream, Ref): {Ref, ok} when no more than the low watermark waits. */
NIF(nif_stream_wait_writable) {
    struct stream *stream = (struct stream *)resource_get(env, argv[0], RESOURCE_STREAM);
    (void)argc;
    return stream ? command_ask(env, stream->engine, command_new(run_wait_writable, stream, 0), argv[1]) : AM(closed);
}

static void run_wait_finished(struct engine *engine, struct command *command) {
    struct stream *stream = (struct stream *)command->object;
    (void)engine;
    if (stream->told_finished)
        command_answer_code(command, WEFT_OK);
    else if (!stream->open || atomic_load(&stream->send_fate) > SEND_FIN)
        command_answer(command, stream_send_fault(command->waiter->env, stream));
    else
        waiters_add(&stream->finishing, command_take_waiter(command), stream);
}

/* stream_wait_finished(Stream, Ref): {Ref, ok} when the peer's side has everything. */
NIF(nif_stream_wait_finished) {
    struct stream *stream = (struct stream *)resource_get(env, argv[0], RESOURCE_STREAM);
    (void)argc;
    return stream ? command_ask(env, stream->engine, command_new(run_wait_finished, stream, 0), argv[1]) : AM(closed);
}
