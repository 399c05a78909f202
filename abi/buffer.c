/* buffer.c - received bytes that the application looks at, and those it keeps.
 *
 * Bytes are shown where the socket put them: a slice holds a reference to its receive buffer until the callback is
 * over, so nothing the callback does can take them away. Small pieces, which the core keeps as copies, are put into an
 * arena that is used again after every callback.
 *
 * A slice names itself by a number (`source`) that looks like a handle but is none: kind, engine, serial number of the
 * showing, index. It ends with the showing. To keep bytes is to make an object with a handle: a reference to the
 * buffer, or, when the bytes would pin a mostly empty one, a copy.
 *
 * The invariant that matters: shown[i].buf, when there is one, holds a reference, and shown_serial moves on whenever
 * they are given back.
 */
#include <assert.h>

#include "abi.h"

#define PEEKED UINT32_C(0x800000) /* in a source's index: shown by weft_stream_peek */
#define PEEK_MOST 64u
#define KEEP_LEAST 4096u /* fewer bytes are copied: they are not worth a buffer of 64 KiB */

/* ---- showing ---- */

static void show_one(struct abi_engine *engine, const struct quic_slice *slice, size_t len) {
    struct abi_shown *shown = &engine->shown[engine->shown_count++];
    *shown = (struct abi_shown){.data = slice->data, .len = len, .buf = slice->buf};
    if (slice->buf) {
        base_buf_ref(slice->buf);
        return;
    }
    shown->data = engine->arena + engine->arena_used;
    memcpy(engine->arena + engine->arena_used, slice->data, len);
    engine->arena_used += (uint32_t)len;
}

uint32_t abi_show(struct abi_engine *engine, struct quic_stream *stream, uint32_t max, uint64_t *len) {
    struct quic_slice slices[ABI_SHOWN];
    assert(max <= ABI_SHOWN && engine->shown_count + max <= ABI_BATCH);
    size_t count = quic_stream_peek(stream, slices, max);
    *len = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t room = slices[i].buf ? slices[i].len : ABI_ARENA - engine->arena_used;
        size_t part = slices[i].len < room ? slices[i].len : room;
        if (!part)
            return i;
        show_one(engine, &slices[i], part);
        *len += part;
        if (part < slices[i].len)
            return i + 1;
    }
    return (uint32_t)count;
}

bool abi_show_datagram(struct abi_engine *engine, const struct quic_datagram_view *view) {
    if (engine->shown_count == ABI_BATCH || (!view->buf && view->len > ABI_ARENA - engine->arena_used))
        return false;
    struct quic_slice slice = {.data = view->data, .len = view->len, .buf = view->buf};
    show_one(engine, &slice, view->len);
    return true;
}

static uint32_t next_serial(uint32_t serial) { return serial < BASE_GENERATION_MAX ? serial + 1 : 1; }

void abi_unshow(struct abi_engine *engine) {
    if (!engine->shown_count)
        return;
    for (uint32_t i = 0; i < engine->shown_count; i++)
        if (engine->shown[i].buf)
            base_buf_unref(engine->shown[i].buf);
    engine->shown_count = 0;
    engine->arena_used = 0;
    engine->shown_serial = next_serial(engine->shown_serial);
}

static uint64_t source_of(const struct abi_engine *engine, uint32_t serial, uint32_t index) {
    return (uint64_t)ABI_SLICE << 60 | (uint64_t)base_handle_tag(engine->handle) << 48 | (uint64_t)serial << 24 | index;
}

uint64_t abi_source(const struct abi_engine *engine, uint32_t index) {
    return source_of(engine, engine->shown_serial, index);
}

int64_t weft_stream_peek(weft_stream stream, weft_slice *slices, uint32_t max, uint32_t *flags) {
    struct abi_stream_at at;
    int32_t error;
    if (!abi_stream_get(stream.id, &at, &error))
        return error;
    if (!slices && max)
        return WEFT_E_INVALID;
    if (at.stream->recv.state >= QUIC_RECV_RESET_RECVD || at.stream->stopped)
        return WEFT_E_STREAM_CLOSED;
    struct quic_slice found[PEEK_MOST];
    struct abi_engine *engine = at.engine;
    size_t count = quic_stream_peek(at.stream, found, max < PEEK_MOST ? max : PEEK_MOST);
    engine->peeked_serial = next_serial(engine->peeked_serial);
    engine->peeked_stream = stream.id;
    engine->peeked_offset = at.stream->recv.taken;
    uint64_t len = 0;
    for (uint32_t i = 0; i < count; i++) {
        slices[i] = (weft_slice){found[i].data, found[i].len, source_of(engine, engine->peeked_serial, PEEKED | i)};
        len += found[i].len;
    }
    if (flags)
        *flags = abi_stream_reaches_end(at.stream, len) ? WEFT_FIN : 0;
    return (int64_t)count;
}

/* ---- keeping ---- */

/* What a source names, as long as it is shown. */
static bool shown_at(struct abi_engine *engine, uint64_t source, struct abi_shown *shown) {
    uint32_t index = base_handle_index(source);
    if (!(index & PEEKED)) {
        if (base_handle_generation(source) != engine->shown_serial || index >= engine->shown_count)
            return false;
        *shown = engine->shown[index];
        return true;
    }
    struct abi_stream_at at;
    int32_t error;
    index &= ~PEEKED;
    if (base_handle_generation(source) != engine->peeked_serial || index >= PEEK_MOST ||
        !abi_stream_get(engine->peeked_stream, &at, &error) || at.stream->recv.taken != engine->peeked_offset)
        return false;
    struct quic_slice found[PEEK_MOST];
    if (quic_stream_peek(at.stream, found, index + 1) <= index)
        return false;
    *shown = (struct abi_shown){.data = found[index].data, .len = found[index].len, .buf = found[index].buf};
    return true;
}

/* True when the caller's slice, or the part of it he wants, lies within what was shown. */
static bool is_within(const weft_slice *slice, const struct abi_shown *shown) {
    uintptr_t from = (uintptr_t)slice->data, first = (uintptr_t)shown->data;
    return from >= first && from - first <= shown->len && slice->len <= shown->len - (from - first);
}

int32_t weft_buffer_retain(const weft_slice *slice, weft_buffer *buffer, const uint8_t **data) {
    if (!slice || !buffer || !data)
        return WEFT_E_INVALID;
    int32_t error;
    if (base_handle_kind(slice->source) != ABI_SLICE)
        return WEFT_E_HANDLE;
    struct abi_engine *engine = abi_engine_of(slice->source, &error);
    if (!engine)
        return error;
    struct abi_shown shown;
    if (!shown_at(engine, slice->source, &shown))
        return WEFT_E_GONE;
    if (!is_within(slice, &shown))
        return WEFT_E_INVALID;
    bool copy = !shown.buf || slice->len < KEEP_LEAST;
    size_t len = copy ? slice->len : 0;
    struct abi_buffer *kept = (struct abi_buffer *)base_zalloc(&engine->mem, sizeof *kept + len);
    if (!kept)
        return WEFT_E_NOMEM;
    kept->len = len;
    kept->handle = base_slots_add(abi_slots(engine), ABI_BUFFER, kept);
    if (!kept->handle) {
        base_free(&engine->mem, kept, sizeof *kept + len);
        return WEFT_E_NOMEM;
    }
    if (copy)
        memcpy(kept->bytes, slice->data, len);
    else
        kept->buf = base_buf_ref(shown.buf);
    base_list_push_back(&engine->buffers, &kept->node);
    engine->buffers_retained++;
    buffer->id = kept->handle;
    *data = copy ? kept->bytes : slice->data;
    return WEFT_OK;
}

void abi_buffer_free(struct abi_engine *engine, struct abi_buffer *buffer) {
    base_list_remove(&buffer->node);
    engine->buffers_retained--;
    base_slots_remove(abi_slots(engine), buffer->handle);
    if (buffer->buf)
        base_buf_unref(buffer->buf);
    base_free(&engine->mem, buffer, sizeof *buffer + buffer->len);
}

int32_t weft_buffer_release(weft_buffer buffer) {
    int32_t error;
    struct abi_engine *engine;
    struct abi_buffer *kept = (struct abi_buffer *)abi_get(ABI_BUFFER, buffer.id, &engine, &error);
    if (!kept)
        return error;
    abi_buffer_free(engine, kept);
    return WEFT_OK;
}
