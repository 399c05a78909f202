/* stream.c - streams as the application uses them: opened, written, read, credited.
 *
 * A stream's handle leads straight to the core's stream; there is no object between. What the application adds - a
 * user pointer, callbacks, flags of its own - is in a small block that most streams do not need (stream_state.c).
 *
 * Knows how calls map to the core, and that a connection with something to say must be marked. Does not know flow
 * control, states or frames: the core refuses what is not allowed.
 *
 * The invariant that matters: after every call that may have made something to send, abi_stream_touch runs.
 */
#include "abi.h"

#define WRITE_FLAGS ((uint32_t)WEFT_FIN)

/* ---- opening ---- */

static int32_t stream_params(const weft_stream_params *params, weft_stream_params *p) {
    int32_t error = abi_params(p, params, sizeof *p);
    if (error)
        return error;
    return p->flags & ~ABI_STREAM_FLAGS ? WEFT_E_INVALID : abi_table(p->callbacks);
}

int32_t weft_stream_open(weft_conn conn, uint32_t direction, const weft_stream_params *params, weft_stream *stream) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    if (!own)
        return error;
    weft_stream_params p;
    error = stream_params(params, &p);
    if (error || direction > WEFT_UNI || !stream)
        return error ? error : WEFT_E_INVALID;
    if (!own->core)
        return own->race ? WEFT_E_STATE : WEFT_E_CLOSED;
    struct quic_streams *set = &own->core->streams;
    if (!set->closed && !set->peer_known) /* neither connected nor with limits from an earlier session */
        return WEFT_E_STATE;
    struct abi_stream *block = params ? abi_stream_block_new(own) : NULL;
    if (params && !block)
        return WEFT_E_NOMEM;
    struct abi_stream_at at = {.engine = own->engine, .conn = own, .core = own->core};
    error = quic_streams_open(set, direction == WEFT_UNI, &at.stream);
    if (error) {
        if (block)
            abi_stream_block_free(own, block);
        quic_conn_mark_dirty(own->core); /* the peer may be told that we are blocked */
        abi_touch(own->engine);
        return error;
    }
    if (block) {
        block->user = p.user;
        block->callbacks = p.callbacks;
        block->flags = own->stream_flags | p.flags;
        at.stream->user = block;
    }
    stream->id = at.stream->handle;
    return WEFT_OK;
}

/* ---- writing ---- */

int64_t weft_stream_write(weft_stream stream, const void *data, size_t len, uint32_t flags) {
    struct abi_stream_at at;
    int32_t error;
    if (!abi_stream_get(stream.id, &at, &error))
        return error;
    if ((!data && len) || flags & ~WRITE_FLAGS || len > INT64_MAX)
        return WEFT_E_INVALID;
    int64_t taken = quic_stream_write(at.stream, (const uint8_t *)data, len, (flags & WEFT_FIN) != 0);
    abi_stream_touch(&at);
    return taken;
}

/* Piece after piece until one is not taken whole. */
static int64_t write_all(struct quic_stream *stream, const weft_bytes *bytes, uint32_t count, bool fin) {
    int64_t sum = 0;
    uint32_t last = count;
    while (last && !bytes[last - 1].len)
        last--; /* the FIN goes with the last byte */
    if (!last)
        return quic_stream_write(stream, NULL, 0, fin);
    for (uint32_t i = 0; i < last; i++) {
        if (!bytes[i].len)
            continue;
        int64_t taken = quic_stream_write(stream, (const uint8_t *)bytes[i].data, bytes[i].len, fin && i + 1 == last);
        if (taken < 0 && sum) /* out of memory: what was taken before will be acknowledged, and then there is room */
            quic_stream_owe_writable(stream);
        if (taken < 0)
            return sum ? sum : taken;
        sum += taken;
        if ((size_t)taken < bytes[i].len)
            return sum;
    }
    return sum;
}

int64_t weft_stream_writev(weft_stream stream, const weft_bytes *bytes, uint32_t count, uint32_t flags) {
    struct abi_stream_at at;
    int32_t error;
    if (!abi_stream_get(stream.id, &at, &error))
        return error;
    if ((!bytes && count) || flags & ~WRITE_FLAGS)
        return WEFT_E_INVALID;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        if ((!bytes[i].data && bytes[i].len) || bytes[i].len > INT64_MAX - sum)
            return WEFT_E_INVALID;
        sum += bytes[i].len;
    }
    int64_t taken = write_all(at.stream, bytes, count, (flags & WEFT_FIN) != 0);
    abi_stream_touch(&at);
    return taken;
}

int64_t weft_stream_write_ref(weft_stream stream, const void *data, size_t len, uint64_t token, uint32_t flags) {
    struct abi_stream_at at;
    int32_t error;
    if (!abi_stream_get(stream.id, &at, &error))
        return error;
    if (!data || !len || flags & ~WRITE_FLAGS || len > INT64_MAX)
        return WEFT_E_INVALID;
    error = quic_stream_write_reference(at.stream, (const uint8_t *)data, len, token, (flags & WEFT_FIN) != 0);
    abi_stream_touch(&at);
    return error == WEFT_E_BLOCKED ? 0 : error ? error : (int64_t)len;
}

int32_t weft_stream_finish(weft_stream stream) {
    struct abi_stream_at at;
    int32_t error;
    if (!abi_stream_get(stream.id, &at, &error))
        return error;
    int64_t result = quic_stream_write(at.stream, NULL, 0, true);
    abi_stream_touch(&at);
    return (int32_t)result;
}

int32_t weft_stream_reset(weft_stream stream, uint64_t code) {
    struct abi_stream_at at;
    int32_t error;
    if (!abi_stream_get(stream.id, &at, &error))
        return error;
    if (code > WEFT_CODE_MAX)
        return WEFT_E_VALUE;
    error = quic_stream_reset(at.stream, code);
    abi_stream_touch(&at);
    return error;
}

/* ---- reading ---- */

/* Nothing more can be read: reset, stopped, the end was told, or a direction that is not ours to read. */
static bool is_read_out(const struct quic_stream *stream) {
    return stream->stopped || stream->recv.state >= QUIC_RECV_RESET_RECVD;
}

bool abi_stream_reaches_end(const struct quic_stream *stream, uint64_t len) {
    const struct quic_stream_recv *recv = &stream->recv;
    return recv->state == QUIC_RECV_DATA_RECVD && recv->taken + len == recv->final_size;
}

void abi_stream_take(const struct abi_stream_at *at, uint64_t len) {
    int error = quic_stream_take(at->stream, len);
    if (!error && !(abi_stream_flags(at->conn, at->stream) & WEFT_STREAM_MANUAL_CREDIT))
        quic_stream_credit(at->stream, quic_stream_owed(at->stream), abi_conn_rtt(at->core), abi_turn_now(at->engine));
    abi_stream_touch(at);
}

/* Copies what is there, as far as there is room. */
static size_t read_out(struct quic_stream *stream, uint8_t *out, size_t capacity) {
    struct quic_slice slices[32];
    size_t done = 0, count = quic_stream_peek(stream, slices, 32);
    for (size_t i = 0; i < count && done < capacity; i++) {
        size_t part = slices[i].len < capacity - done ? slices[i].len : capacity - done;
        memcpy(out + done, slices[i].data, part);
        done += part;
    }
    return done;
}

int64_t weft_stream_read(weft_stream stream, void *out, size_t capacity, uint32_t *flags) {
    struct abi_stream_at at;
    int32_t error;
    if (!abi_stream_get(stream.id, &at, &error))
        return error;
    if ((!out && capacity) || capacity > INT64_MAX)
        return WEFT_E_INVALID;
    if (is_read_out(at.stream))
        return WEFT_E_STREAM_CLOSED;
    size_t done = 0;
    for (;;) {
        size_t part = read_out(at.stream, (uint8_t *)out + done, capacity - done);
        bool end = abi_stream_reaches_end(at.stream, part);
        if (part || end)
            abi_stream_take(&at, part);
        done += part;
        if (flags)
            *flags = end ? WEFT_FIN : 0;
        if (!part || end || done == capacity)
            return (int64_t)done;
    }
}

int32_t weft_stream_consume(weft_stream stream, uint64_t len) {
    struct abi_stream_at at;
    int32_t error;
    if (!abi_stream_get(stream.id, &at, &error))
        return error;
    if (is_read_out(at.stream))
        return WEFT_E_STREAM_CLOSED;
    if (len > at.stream->recv.ready - at.stream->recv.taken)
        return WEFT_E_VALUE;
    abi_stream_take(&at, len);
    return WEFT_OK;
}

int32_t weft_stream_credit(weft_stream stream, uint64_t len) {
    struct abi_stream_at at;
    int32_t error;
    if (!abi_stream_get(stream.id, &at, &error))
        return error;
    uint64_t owed = quic_stream_owed(at.stream);
    bool over = at.stream->stopped || at.stream->recv.state == QUIC_RECV_RESET_RECVD ||
                at.stream->recv.state == QUIC_RECV_RESET_READ; /* all credit was given then */
    if (len > owed && !over)
        return WEFT_E_VALUE;
    len = len < owed ? len : owed;
    quic_stream_credit(at.stream, len, abi_conn_rtt(at.core), abi_now(at.engine));
    abi_stream_touch(&at);
    return WEFT_OK;
}

int32_t weft_stream_stop(weft_stream stream, uint64_t code) {
    struct abi_stream_at at;
    int32_t error;
    if (!abi_stream_get(stream.id, &at, &error))
        return error;
    if (code > WEFT_CODE_MAX)
        return WEFT_E_VALUE;
    error = quic_stream_stop(at.stream, code);
    abi_stream_touch(&at);
    return error;
}

static int32_t set_paused(weft_stream stream, bool paused) {
    struct abi_stream_at at;
    int32_t error;
    if (!abi_stream_get(stream.id, &at, &error))
        return error;
    quic_stream_pause(at.stream, paused);
    abi_touch(at.engine);
    return WEFT_OK;
}

int32_t weft_stream_pause(weft_stream stream) { return set_paused(stream, true); }

int32_t weft_stream_resume(weft_stream stream) { return set_paused(stream, false); }
