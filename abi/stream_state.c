/* stream_state.c - what the application attaches to a stream, asks about it and sets on it.
 *
 * A stream uses its connection's callbacks, user pointer and flags until it is given its own; these are in a block
 * that quic_stream.user points to. Blocks are used again, so that a server which gives each request a pointer
 * allocates nothing once it is warm.
 *
 * The invariant that matters: a block is in its connection's list from the moment it is attached until STREAM_CLOSED
 * was told, the stream was detached, or the connection's object goes.
 */
#include "abi.h"

#define SPARE_MOST 1024u

/* ---- finding ---- */

struct quic_conn *abi_stream_core(const struct quic_stream *stream) {
    return BASE_CONTAINER(stream->set, struct quic_conn, streams);
}

bool abi_stream_get(uint64_t handle, struct abi_stream_at *at, int32_t *error) {
    at->stream = (struct quic_stream *)abi_get(ABI_STREAM, handle, &at->engine, error);
    if (!at->stream)
        return false;
    at->core = abi_stream_core(at->stream);
    at->conn = (struct abi_conn *)at->core->user;
    if (!abi_stream_is_heard(at->engine, at->stream)) {
        *error = WEFT_E_GONE;
        return false;
    }
    return true;
}

bool abi_stream_is_heard(const struct abi_engine *engine, const struct quic_stream *stream) {
    const struct abi_conn *conn = (const struct abi_conn *)abi_stream_core(stream)->user;
    return !engine->doomed && conn && !stream->closed_told && !stream->detached;
}

void abi_stream_touch(const struct abi_stream_at *at) {
    if (at->core->streams.want_send)
        quic_conn_mark_dirty(at->core);
    abi_touch(at->engine);
}

/* ---- blocks ---- */

struct abi_stream *abi_stream_block_new(struct abi_conn *conn) {
    struct abi_engine *engine = conn->engine;
    struct base_node *node = base_list_pop_front(&engine->spare_streams);
    struct abi_stream *block = node ? BASE_CONTAINER(node, struct abi_stream, node)
                                    : (struct abi_stream *)BASE_NEW(&engine->mem, struct abi_stream);
    if (!block)
        return NULL;
    engine->spare_count -= node != NULL;
    *block = (struct abi_stream){.user = conn->user, .flags = conn->stream_flags};
    base_list_push_back(&conn->streams, &block->node);
    return block;
}

void abi_stream_block_free(struct abi_conn *conn, struct abi_stream *block) {
    struct abi_engine *engine = conn->engine;
    base_list_remove(&block->node);
    if (engine->spare_count >= SPARE_MOST) {
        BASE_DELETE(&engine->mem, block);
        return;
    }
    base_list_push_back(&engine->spare_streams, &block->node);
    engine->spare_count++;
}

void abi_stream_free_own(struct abi_conn *conn, struct quic_stream *stream) {
    if (stream->user)
        abi_stream_block_free(conn, (struct abi_stream *)stream->user);
    stream->user = NULL;
}

/* The stream's block, made if need be; NULL: out of memory. */
static struct abi_stream *block_of(const struct abi_stream_at *at) {
    if (!at->stream->user)
        at->stream->user = abi_stream_block_new(at->conn);
    return (struct abi_stream *)at->stream->user;
}

const weft_stream_callbacks *abi_stream_callbacks(const struct abi_conn *conn, const struct quic_stream *stream) {
    const struct abi_stream *block = (const struct abi_stream *)stream->user;
    return block && block->callbacks ? block->callbacks : conn->stream_callbacks;
}

void *abi_stream_user(const struct abi_conn *conn, const struct quic_stream *stream) {
    const struct abi_stream *block = (const struct abi_stream *)stream->user;
    return block ? block->user : conn->user;
}

uint32_t abi_stream_flags(const struct abi_conn *conn, const struct quic_stream *stream) {
    const struct abi_stream *block = (const struct abi_stream *)stream->user;
    return block ? block->flags : conn->stream_flags;
}

/* ---- setting ---- */

int32_t weft_stream_set_user(weft_stream stream, void *user) {
    struct abi_stream_at at;
    int32_t error;
    if (!abi_stream_get(stream.id, &at, &error))
        return error;
    struct abi_stream *block = block_of(&at);
    if (!block)
        return WEFT_E_NOMEM;
    block->user = user;
    return WEFT_OK;
}

void *weft_stream_user(weft_stream stream) {
    struct abi_stream_at at;
    int32_t error;
    return abi_stream_get(stream.id, &at, &error) ? abi_stream_user(at.conn, at.stream) : NULL;
}

/* What came while nobody would have been told is told now. */
static void tell_again(const struct abi_stream_at *at) {
    if (at->stream->paused)
        return;
    quic_stream_pause(at->stream, false);
    abi_touch(at->engine);
}

int32_t weft_stream_set_callbacks(weft_stream stream, const weft_stream_callbacks *callbacks) {
    struct abi_stream_at at;
    int32_t error;
    if (!abi_stream_get(stream.id, &at, &error))
        return error;
    error = abi_table(callbacks);
    if (error)
        return error;
    struct abi_stream *block = block_of(&at);
    if (!block)
        return WEFT_E_NOMEM;
    block->callbacks = callbacks;
    tell_again(&at);
    return WEFT_OK;
}

int32_t weft_stream_set_flags(weft_stream stream, uint32_t flags) {
    struct abi_stream_at at;
    int32_t error;
    if (!abi_stream_get(stream.id, &at, &error))
        return error;
    if (flags & ~ABI_STREAM_FLAGS)
        return WEFT_E_INVALID;
    struct abi_stream *block = block_of(&at);
    if (!block)
        return WEFT_E_NOMEM;
    block->flags = flags;
    if (!(flags & WEFT_STREAM_MANUAL_CREDIT))
        quic_stream_credit(at.stream, quic_stream_owed(at.stream), abi_conn_rtt(at.core), abi_now(at.engine));
    abi_stream_touch(&at);
    tell_again(&at);
    return WEFT_OK;
}

int32_t weft_stream_set_priority(weft_stream stream, uint32_t urgency, uint32_t incremental) {
    struct abi_stream_at at;
    int32_t error;
    if (!abi_stream_get(stream.id, &at, &error))
        return error;
    if (urgency >= QUIC_URGENCIES || incremental > 1)
        return WEFT_E_VALUE;
    quic_stream_priority(at.stream, (uint8_t)urgency, incremental != 0);
    return WEFT_OK;
}

int32_t weft_stream_set_deadline(weft_stream stream, uint64_t ns, uint64_t code) {
    struct abi_stream_at at;
    int32_t error;
    if (!abi_stream_get(stream.id, &at, &error))
        return error;
    if (code > WEFT_CODE_MAX)
        return WEFT_E_VALUE;
    base_time when = base_time_add(abi_now(at.engine), ns);
    quic_stream_set_deadline(at.stream, when == BASE_NEVER ? 0 : when, code);
    abi_stream_touch(&at);
    return WEFT_OK;
}

int32_t weft_stream_detach(weft_stream stream, uint64_t code) {
    struct abi_stream_at at;
    int32_t error;
    if (!abi_stream_get(stream.id, &at, &error))
        return error;
    if (code > WEFT_CODE_MAX)
        return WEFT_E_VALUE;
    quic_stream_credit(at.stream, quic_stream_owed(at.stream), abi_conn_rtt(at.core), abi_now(at.engine));
    if (!at.stream->references && !at.stream->released_count)
        abi_stream_free_own(at.conn, at.stream); /* else RELEASED still needs it */
    quic_stream_detach(at.stream, code);
    quic_conn_mark_dirty(at.core); /* so that it is reaped in this turn */
    abi_stream_touch(&at);
    return WEFT_OK;
}

/* ---- asking ---- */

weft_conn weft_stream_conn(weft_stream stream) {
    struct abi_stream_at at;
    int32_t error;
    return (weft_conn){abi_stream_get(stream.id, &at, &error) ? at.conn->handle : 0};
}

int32_t weft_stream_find(weft_conn conn, uint64_t id, weft_stream *stream) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    if (!own)
        return error;
    if (!stream)
        return WEFT_E_INVALID;
    struct quic_stream *found = own->core ? quic_streams_find(&own->core->streams, id) : NULL;
    if (!found || !abi_stream_is_heard(own->engine, found))
        return WEFT_E_GONE;
    stream->id = found->handle;
    return WEFT_OK;
}

int32_t weft_stream_get_info(weft_stream stream, weft_stream_info *info) {
    static const uint8_t send_states[] = {
        [QUIC_SEND_READY] = WEFT_SEND_OPEN,         [QUIC_SEND_SEND] = WEFT_SEND_OPEN,
        [QUIC_SEND_DATA_SENT] = WEFT_SEND_FINISHED, [QUIC_SEND_RESET_SENT] = WEFT_SEND_RESET,
        [QUIC_SEND_DATA_RECVD] = WEFT_SEND_DONE,    [QUIC_SEND_RESET_RECVD] = WEFT_SEND_DONE};
    static const uint8_t recv_states[] = {
        [QUIC_RECV_RECV] = WEFT_RECV_OPEN,      [QUIC_RECV_SIZE_KNOWN] = WEFT_RECV_OPEN,
        [QUIC_RECV_DATA_RECVD] = WEFT_RECV_ALL, [QUIC_RECV_RESET_RECVD] = WEFT_RECV_RESET,
        [QUIC_RECV_DATA_READ] = WEFT_RECV_DONE, [QUIC_RECV_RESET_READ] = WEFT_RECV_RESET};
    struct abi_stream_at at;
    int32_t error;
    if (!abi_stream_get(stream.id, &at, &error))
        return error;
    const struct quic_stream *s = at.stream;
    weft_stream_info all = {.local = quic_stream_is_of(s->id, s->set->role),
                            .direction = quic_stream_is_uni(s->id) ? WEFT_UNI : WEFT_BIDI,
                            .send_state = send_states[s->send.state],
                            .recv_state = recv_states[s->recv.state],
                            .id = s->id,
                            .written = s->send.written,
                            .acknowledged = s->send.acked_to,
                            .buffered = s->send.buffered,
                            .received = s->recv.ready,
                            .taken = s->recv.taken,
                            .urgency = s->sched.urgency,
                            .expired = s->expired,
                            .incremental = s->sched.incremental,
                            .paused = s->paused};
    if (s->send.fin && all.send_state == WEFT_SEND_OPEN)
        all.send_state = WEFT_SEND_FINISHED;
    return abi_give(info, &all, sizeof all);
}
