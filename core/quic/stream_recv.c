/* stream_recv.c - the receiving half of a stream: bytes arrive in any order and are taken in order (RFC 9000 2.2,
 * 3.2, 4.5).
 *
 * Knows which bytes are here, in which buffers, and the final size. Does not know credit: the owner checks limits
 * before and reads `highest` after.
 *
 * Segments stand in one list by offset. `tip` is the last one of the contiguous run [taken, ready), so that in-order
 * bytes, bytes behind everything else and bytes that close the first gap find their place without a walk. Small
 * pieces are copied, one behind the other, so that a stream of single bytes costs bytes and not segments; large ones
 * stay where they came in. What is still there at the end of a turn, and makes up less than half of its buffer, is
 * then copied by quic_stream_recv_compact.
 *
 * The invariant that matters: segments are disjoint, ascending, and none lies below `taken`; `gaps` counts the
 * places where one does not begin where the one before ends, and is never above QUIC_RECV_GAPS. A piece that begins
 * at `ready` never makes a gap more, so the bytes everybody waits for are always accepted.
 */
#include "quic/stream_recv.h"

#include <assert.h>

#include "base/cursor.h"
#include "quic/segment.h"

#define SMALL 256u /* bytes that are cheaper to copy than to refer to */
#define NO_SIZE UINT64_MAX

void quic_stream_recv_init(struct quic_stream_recv *r) {
    *r = (struct quic_stream_recv){.final_size = NO_SIZE, .reset_at = NO_SIZE, .state = QUIC_RECV_RECV};
}

static void recv_drop_first(struct quic_stream_recv *r, struct base_mem *mem) {
    struct quic_segment *segment = r->first;
    r->first = segment->next;
    if (r->last == segment)
        r->last = NULL;
    if (r->tip == segment)
        r->tip = NULL;
    if (r->settled == segment)
        r->settled = NULL;
    quic_segment_free(segment, r->pools, mem);
}

static void recv_drop_all(struct quic_stream_recv *r, struct base_mem *mem) {
    while (r->first)
        recv_drop_first(r, mem);
    r->gaps = 0;
    r->ready = r->taken;
}

void quic_stream_recv_clear(struct quic_stream_recv *r, struct base_mem *mem) { recv_drop_all(r, mem); }

enum quic_error quic_stream_recv_check(const struct quic_stream_recv *r, uint64_t end, bool final) {
    if (r->final_size != NO_SIZE)
        return end > r->final_size || (final && end != r->final_size) ? QUIC_FINAL_SIZE_ERROR : QUIC_NO_ERROR;
    return final && end < r->highest ? QUIC_FINAL_SIZE_ERROR : QUIC_NO_ERROR;
}

/* ---- in ---- */

struct recv_piece {
    struct base_buf *buf;
    const uint8_t *data;
    uint64_t offset, end;
};

static void piece_cut(struct recv_piece *piece, uint64_t to) {
    if (to <= piece->offset)
        return;
    if (to > piece->end)
        to = piece->end;
    piece->data += to - piece->offset;
    piece->offset = to;
}

/* Room of a copy of `len` bytes. In order, more of the same kind is likely to follow: leave room. Behind a gap take
 * what it needs, or a peer that sends every other byte would make us hold far more than it sent; but each segment that
 * goes on where another copy ends is larger than that, or a peer that sends every byte alone would make us hold a
 * segment for each. */
static uint32_t recv_room(const struct quic_stream_recv *r, const struct quic_segment *prev,
                          const struct recv_piece *piece, uint32_t len) {
    const uint32_t most = (uint32_t)QUIC_SEGMENT_ROOM;
    if (len >= most)
        return len;
    if (piece->offset == r->ready)
        return most;
    if (!prev || prev->buf || quic_segment_end(prev) != piece->offset)
        return len;
    uint32_t twice = prev->capacity < most / 2 ? 2 * prev->capacity : most;
    return twice > len ? twice : len;
}

/* A segment for `len` bytes at the head of the piece, filled, to stand behind `prev`. */
static struct quic_segment *recv_new_segment(const struct quic_stream_recv *r, struct base_mem *mem,
                                             const struct quic_segment *prev, const struct recv_piece *piece,
                                             uint32_t len) {
    struct quic_segment *segment;
    if (piece->buf && len >= SMALL) {
        segment = quic_segment_new_slice(r->pools, mem, piece->buf, piece->data, len);
    } else {
        segment = quic_segment_new_copy(r->pools, mem, recv_room(r, prev, piece, len));
        if (segment) {
            memcpy(segment->bytes, piece->data, len);
            segment->len = len;
        }
    }
    if (segment)
        segment->offset = piece->offset;
    return segment;
}

/* The run of contiguous bytes now reaches to the end of `segment`, and on through those that follow without a gap. */
static void recv_extend_ready(struct quic_stream_recv *r, struct quic_segment *segment) {
    while (segment->next && segment->next->offset == quic_segment_end(segment))
        segment = segment->next;
    r->tip = segment;
    r->ready = quic_segment_end(segment);
}

/* Puts [piece->offset, stop) behind `prev` (NULL: first), where nothing is yet. Returns the segment that holds it
 * now, or NULL. */
static struct quic_segment *recv_put(struct quic_stream_recv *r, struct base_mem *mem, struct quic_segment *prev,
                                     const struct recv_piece *piece, uint64_t stop) {
    struct quic_segment *next = prev ? prev->next : r->first;
    uint64_t prev_end = prev ? quic_segment_end(prev) : r->taken;
    unsigned before = next != NULL;
    unsigned after = (unsigned)(piece->offset > prev_end) + (unsigned)(next && stop < next->offset);
    if (r->gaps + after > QUIC_RECV_GAPS + before)
        return NULL;
    uint32_t len = (uint32_t)(stop - piece->offset);
    struct quic_segment *segment;
    if (prev && prev_end == piece->offset && len < SMALL && quic_segment_room(prev) >= len) {
        memcpy(prev->bytes + (prev->data - prev->bytes) + prev->len, piece->data, len);
        prev->len += len;
        segment = prev;
    } else {
        segment = recv_new_segment(r, mem, prev, piece, len);
        if (!segment)
            return NULL;
        segment->next = next;
        if (prev)
            prev->next = segment;
        else
            r->first = segment;
        if (next)
            r->settled = NULL; /* perhaps behind it; looking again is harmless */
        else
            r->last = segment;
    }
    r->gaps = r->gaps + after - before;
    r->news = true;
    if (stop > r->highest)
        r->highest = stop;
    if (piece->offset == r->ready)
        recv_extend_ready(r, segment);
    return segment;
}

/* Fills the holes that the piece covers. False: no memory or too many gaps; what was put in before stays. */
static bool recv_take_in(struct quic_stream_recv *r, struct base_mem *mem, struct recv_piece piece) {
    piece_cut(&piece, r->ready);
    bool behind = r->last && piece.offset >= quic_segment_end(r->last);
    struct quic_segment *prev = behind ? r->last : r->tip;
    while (piece.offset < piece.end) {
        struct quic_segment *next = prev ? prev->next : r->first;
        if (next && next->offset <= piece.offset) {
            piece_cut(&piece, quic_segment_end(next));
            prev = next;
            continue;
        }
        uint64_t stop = next && next->offset < piece.end ? next->offset : piece.end;
        prev = recv_put(r, mem, prev, &piece, stop);
        if (!prev)
            return false;
        piece_cut(&piece, stop);
    }
    return true;
}

/* What is known about the end may have changed the state. */
static void recv_update_state(struct quic_stream_recv *r) {
    if (r->discarding)
        r->taken = r->ready = r->highest;
    if (r->final_size == NO_SIZE)
        return;
    if (r->discarding)
        r->state = QUIC_RECV_DATA_READ;
    else
        r->state = r->ready == r->final_size && r->reset_at == NO_SIZE ? QUIC_RECV_DATA_RECVD : QUIC_RECV_SIZE_KNOWN;
}

enum quic_recv_result quic_stream_recv_insert(struct quic_stream_recv *r, struct base_mem *mem, struct base_buf *buf,
                                              uint64_t offset, const uint8_t *data, size_t len, bool fin) {
    uint64_t end = offset + len;
    assert(quic_stream_recv_check(r, end, fin) == QUIC_NO_ERROR && len <= UINT32_MAX);
    r->news = r->discarding && end > r->highest;
    if (r->state >= QUIC_RECV_DATA_RECVD)
        return QUIC_RECV_OK;
    struct recv_piece piece = {buf, data, offset, end};
    if (!r->discarding && !recv_take_in(r, mem, piece))
        return QUIC_RECV_DROP;
    if (end > r->highest)
        r->highest = end;
    if (fin)
        r->final_size = end;
    recv_update_state(r);
    return QUIC_RECV_OK;
}

bool quic_stream_recv_reset(struct quic_stream_recv *r, struct base_mem *mem, uint64_t code, uint64_t final_size) {
    assert(quic_stream_recv_check(r, final_size, true) == QUIC_NO_ERROR);
    if (r->state >= QUIC_RECV_DATA_RECVD)
        return false;
    recv_drop_all(r, mem);
    r->final_size = r->highest = final_size;
    r->reset_code = code;
    r->reset_at = NO_SIZE;
    r->state = r->discarding ? QUIC_RECV_RESET_READ : QUIC_RECV_RESET_RECVD;
    if (r->discarding)
        r->taken = r->ready = final_size;
    return true;
}

bool quic_stream_recv_reset_at(struct quic_stream_recv *r, struct base_mem *mem, uint64_t code, uint64_t final_size,
                               uint64_t reliable) {
    if (reliable <= r->taken || r->discarding)
        return quic_stream_recv_reset(r, mem, code, final_size);
    if (r->state >= QUIC_RECV_DATA_RECVD || r->reset_at <= reliable)
        return false;
    r->final_size = r->highest = final_size;
    r->reset_code = code;
    r->reset_at = reliable;
    r->state = QUIC_RECV_SIZE_KNOWN;
    return false;
}

/* ---- out ---- */

size_t quic_stream_recv_peek(const struct quic_stream_recv *r, struct quic_slice *slices, size_t max) {
    size_t count = 0;
    if (r->taken == r->ready)
        return 0;
    for (const struct quic_segment *segment = r->first; count < max; segment = segment->next) {
        slices[count++] = (struct quic_slice){segment->data, segment->len, segment->buf};
        if (segment == r->tip)
            break;
    }
    return count;
}

void quic_stream_recv_consume(struct quic_stream_recv *r, struct base_mem *mem, uint64_t len) {
    assert(len <= r->ready - r->taken);
    r->taken += len;
    while (r->first && quic_segment_end(r->first) <= r->taken)
        recv_drop_first(r, mem);
    struct quic_segment *first = r->first;
    if (first && first->offset < r->taken) {
        uint32_t cut = (uint32_t)(r->taken - first->offset);
        first->data += cut;
        first->len -= cut;
        first->offset = r->taken;
    }
    if (r->reset_at <= r->taken)
        quic_stream_recv_reset(r, mem, r->reset_code, r->final_size);
    else if (r->state == QUIC_RECV_DATA_RECVD && r->taken == r->final_size)
        r->state = QUIC_RECV_DATA_READ;
    else if (r->state == QUIC_RECV_RESET_RECVD)
        r->state = QUIC_RECV_RESET_READ;
}

void quic_stream_recv_discard(struct quic_stream_recv *r, struct base_mem *mem) {
    recv_drop_all(r, mem);
    r->discarding = true;
    r->taken = r->ready = r->highest;
    if (r->state == QUIC_RECV_DATA_RECVD)
        r->state = QUIC_RECV_DATA_READ;
    else if (r->state == QUIC_RECV_RESET_RECVD)
        r->state = QUIC_RECV_RESET_READ;
}

void quic_stream_recv_on_stop_acked(struct quic_stream_recv *r) {
    if (r->discarding && r->state == QUIC_RECV_SIZE_KNOWN)
        r->state = QUIC_RECV_DATA_READ;
}

/* ---- holding no more than was sent ---- */

/* Replaces the segments behind `prev` up to and including `end`, `total` contiguous bytes, by one copy. */
static struct quic_segment *recv_join(struct quic_stream_recv *r, struct base_mem *mem, struct quic_segment *prev,
                                      struct quic_segment *end, uint32_t total) {
    struct quic_segment *copy = quic_segment_new_copy(r->pools, mem, total);
    if (!copy)
        return NULL;
    struct quic_segment *segment = prev ? prev->next : r->first, *stop = end->next;
    bool has_tip = r->tip == end, has_last = r->last == end;
    copy->offset = segment->offset;
    copy->next = stop;
    while (segment != stop) {
        struct quic_segment *next = segment->next;
        memcpy(copy->bytes + copy->len, segment->data, segment->len);
        copy->len += segment->len;
        if (r->settled == segment)
            r->settled = NULL;
        quic_segment_free(segment, r->pools, mem);
        segment = next;
    }
    if (prev)
        prev->next = copy;
    else
        r->first = copy;
    if (has_tip)
        r->tip = copy;
    if (has_last)
        r->last = copy;
    return copy;
}

/* Looks at the contiguous segments behind `prev` that lie in one buffer: copied if they are less than half of it.
 * Returns the last of them, or the copy; NULL when there is no memory for it. */
static struct quic_segment *recv_compact_run(struct quic_stream_recv *r, struct base_mem *mem,
                                             struct quic_segment *prev) {
    struct quic_segment *segment = prev ? prev->next : r->first;
    struct base_buf *buf = segment->buf;
    uint64_t total = segment->len;
    struct quic_segment *end = segment;
    while (end->next && end->next->buf == buf && end->next->offset == quic_segment_end(end)) {
        end = end->next;
        total += end->len;
    }
    if (!buf || total >= buf->size / 2)
        return end;
    return recv_join(r, mem, prev, end, (uint32_t)total);
}

bool quic_stream_recv_compact(struct quic_stream_recv *r, struct base_mem *mem) {
    /* The first run may have been taken in part since it was looked at; otherwise only what is new is looked at. */
    struct quic_segment *settled = NULL;
    if (r->first) {
        settled = recv_compact_run(r, mem, NULL);
        if (!settled)
            return false;
        if (r->settled && r->settled->offset > settled->offset)
            settled = r->settled;
    }
    while (settled && settled->next) {
        struct quic_segment *end = recv_compact_run(r, mem, settled);
        if (!end)
            return false;
        settled = end;
    }
    r->settled = settled;
    return true;
}
