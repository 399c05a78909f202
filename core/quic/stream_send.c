/* stream_send.c - the sending half of a stream: bytes that wait, fly and are acknowledged (RFC 9000 section 3.1).
 *
 * Knows offsets, what is lost and what has arrived, and where the bytes are. Does not know packets, credit or the
 * application: it is told the limit, and says what could go next.
 *
 * The usual life of a byte touches no set and walks no list: it is appended to the last chunk, copied out at the
 * cursor, and acknowledged in order, which moves `acked_to` and recycles chunks. The two range sets only hold what
 * went wrong.
 *
 * The invariant that matters: every byte of [acked_to, sent) is in exactly one place - in flight (some packet's
 * record will meet its fate), in `acked`, or in `lost`. Where memory for the sets runs out, bytes move to `lost`:
 * sending once too often is harmless, forgetting a byte is not.
 */
#include "quic/stream_send.h"

#include <assert.h>

#include "quic/chunk.h"
#include "tables/errors.h"

#define NO_LIMIT UINT32_MAX /* the sets are bounded by the packets in flight */

void quic_stream_send_init(struct quic_stream_send *s) {
    *s = (struct quic_stream_send){.state = QUIC_SEND_READY};
    base_ranges_init(&s->acked);
    base_ranges_init(&s->lost);
}

/* ---- chunks ---- */

static void send_drop_first(struct quic_stream_send *s, struct base_mem *mem, quic_release_cb release, void *user) {
    struct quic_chunk *chunk = s->first;
    s->first = chunk->next;
    if (s->last == chunk)
        s->last = NULL;
    if (s->cursor == chunk)
        s->cursor = NULL; /* the next look starts at the first, which is right: chunks go in order */
    bool reference = quic_chunk_is_reference(chunk);
    uint64_t token = chunk->token;
    quic_chunk_free(chunk, s->pools, mem);
    if (reference && release)
        release(user, token);
}

static void send_append(struct quic_stream_send *s, struct quic_chunk *chunk) {
    if (s->last)
        s->last->next = chunk;
    else
        s->first = chunk;
    s->last = chunk;
}

static void send_hold(struct quic_stream_send *s, uint64_t buffered) {
    if (s->pools)
        s->pools->buffered += buffered - s->buffered;
    s->buffered = buffered;
}

static void send_drop_all(struct quic_stream_send *s, struct base_mem *mem, quic_release_cb release, void *user) {
    while (s->first)
        send_drop_first(s, mem, release, user);
    base_ranges_clear(&s->acked, mem);
    base_ranges_clear(&s->lost, mem);
    send_hold(s, 0);
}

void quic_stream_send_clear(struct quic_stream_send *s, struct base_mem *mem, quic_release_cb release, void *user) {
    send_drop_all(s, mem, release, user);
}

/* Empty chunks for `len` bytes, or NULL when there is no memory for all of them. */
static struct quic_chunk *send_new_chunks(struct quic_stream_send *s, struct base_mem *mem, size_t len) {
    struct quic_chunk *list = NULL;
    while (len) {
        struct quic_chunk *chunk = quic_chunk_new(s->pools, mem, len > s->buffered ? len : s->buffered);
        if (!chunk)
            break;
        chunk->next = list;
        list = chunk;
        len -= len < chunk->capacity ? len : chunk->capacity;
    }
    if (!len)
        return list;
    while (list) {
        struct quic_chunk *next = list->next;
        quic_chunk_free(list, s->pools, mem);
        list = next;
    }
    return NULL;
}

/* As many bytes as fit go to the end of the last chunk; returns how many. */
static size_t send_fill(struct quic_stream_send *s, const uint8_t *data, size_t len) {
    struct quic_chunk *chunk = s->last;
    size_t room = chunk ? quic_chunk_room(chunk) : 0;
    if (len > room)
        len = room;
    if (!len)
        return 0;
    memcpy(chunk->bytes + chunk->len, data, len);
    chunk->len += len;
    s->written += len;
    send_hold(s, s->buffered + len);
    return len;
}

int quic_stream_send_copy_in(struct quic_stream_send *s, struct base_mem *mem, const uint8_t *data, size_t len) {
    assert(!s->fin && s->state < QUIC_SEND_DATA_SENT);
    size_t room = s->last ? quic_chunk_room(s->last) : 0;
    struct quic_chunk *fresh = NULL;
    if (len > room) {
        fresh = send_new_chunks(s, mem, len - room);
        if (!fresh)
            return ERR_NOMEM;
    }
    size_t done = send_fill(s, data, len);
    while (fresh) {
        struct quic_chunk *chunk = fresh;
        fresh = chunk->next;
        chunk->next = NULL;
        chunk->offset = s->written;
        send_append(s, chunk);
        done += send_fill(s, data + done, len - done);
    }
    assert(done == len);
    return 0;
}

int quic_stream_send_reference(struct quic_stream_send *s, struct base_mem *mem, const uint8_t *data, size_t len,
                               uint64_t token) {
    assert(!s->fin && s->state < QUIC_SEND_DATA_SENT && len > 0);
    struct quic_chunk *chunk = quic_chunk_new_reference(s->pools, mem, data, len, token);
    if (!chunk)
        return ERR_NOMEM;
    chunk->offset = s->written;
    send_append(s, chunk);
    s->written += len;
    send_hold(s, s->buffered + len);
    return 0;
}

void quic_stream_send_finish(struct quic_stream_send *s) {
    assert(s->state < QUIC_SEND_DATA_SENT);
    s->fin = true;
    s->final_size = s->written;
}

void quic_stream_send_reset(struct quic_stream_send *s, struct base_mem *mem, uint64_t code, quic_release_cb release,
                            void *user) {
    assert(s->state < QUIC_SEND_RESET_SENT);
    s->state = QUIC_SEND_RESET_SENT;
    s->reset_code = code;
    s->final_size = s->sent;
    send_drop_all(s, mem, release, user);
}

/* Bytes at and beyond `reliable` need not arrive any more. */
static void send_forgive(struct quic_stream_send *s, struct base_mem *mem) {
    if (!base_ranges_empty(&s->lost) && s->reliable < s->sent)
        base_ranges_remove(&s->lost, mem, s->reliable, s->sent, NO_LIMIT); /* a tail: takes no memory */
}

void quic_stream_send_reset_at(struct quic_stream_send *s, struct base_mem *mem, uint64_t code, uint64_t reliable) {
    assert(s->state < QUIC_SEND_RESET_SENT && reliable <= s->written && !s->reset_acked);
    s->reset_at = true;
    s->reset_code = code;
    s->reliable = reliable;
    if (!s->fin_sent) {
        s->fin = false;
        s->written = reliable > s->sent ? reliable : s->sent;
        send_hold(s, s->written - s->acked_to);
    }
    s->fin_lost = false;
    s->final_size = s->written;
    send_forgive(s, mem);
}

bool quic_stream_send_reset_at_done(struct quic_stream_send *s, struct base_mem *mem, quic_release_cb release,
                                    void *user) {
    if (!s->reset_at || !s->reset_acked || s->acked_to < s->reliable || s->state >= QUIC_SEND_RESET_SENT)
        return false;
    s->state = QUIC_SEND_RESET_RECVD;
    send_drop_all(s, mem, release, user);
    return true;
}

/* ---- out ---- */

bool quic_stream_send_next(const struct quic_stream_send *s, uint64_t limit, struct quic_send_piece *piece) {
    if (s->state >= QUIC_SEND_RESET_SENT)
        return false;
    uint64_t start, end;
    if (!base_ranges_empty(&s->lost)) {
        start = s->lost.list[0].start;
        end = s->lost.list[0].end;
    } else {
        start = s->sent;
        end = s->written < limit ? s->written : limit;
        bool fin_due = s->fin && s->sent == s->written && (!s->fin_sent || s->fin_lost);
        if (end <= start && !fin_due)
            return false;
        if (end < start)
            end = start;
    }
    piece->offset = start;
    piece->len = end - start;
    piece->fin = s->fin && end == s->written;
    piece->again = start < s->sent || s->fin_sent;
    return true;
}

void quic_stream_send_copy_out(struct quic_stream_send *s, uint64_t offset, uint8_t *out, size_t len) {
    assert(offset >= s->acked_to && offset + len <= s->written);
    bool fresh = offset == s->sent;
    struct quic_chunk *chunk = s->cursor && s->cursor->offset <= offset ? s->cursor : s->first;
    while (len) {
        while (offset >= quic_chunk_end(chunk))
            chunk = chunk->next;
        size_t at = (size_t)(offset - chunk->offset);
        size_t n = (size_t)(chunk->len - at) < len ? (size_t)(chunk->len - at) : len;
        memcpy(out, chunk->data + at, n);
        out += n;
        offset += n;
        len -= n;
    }
    if (fresh)
        s->cursor = chunk;
}

bool quic_stream_send_on_sent(struct quic_stream_send *s, struct base_mem *mem, uint64_t offset, uint64_t len,
                              bool fin) {
    assert(s->state < QUIC_SEND_RESET_SENT && offset <= s->sent);
    if (offset < s->sent) {
        assert(offset + len <= s->sent);
        if (base_ranges_remove(&s->lost, mem, offset, offset + len, NO_LIMIT) != BASE_RANGES_OK)
            return false;
    } else {
        s->sent += len;
    }
    if (s->state == QUIC_SEND_READY)
        s->state = QUIC_SEND_SEND;
    if (fin) {
        assert(s->fin && offset + len == s->written && s->sent == s->written);
        s->fin_sent = true;
        s->fin_lost = false;
        s->state = QUIC_SEND_DATA_SENT;
    }
    return true;
}

/* ---- fate ---- */

/* No memory to say precisely what is lost: everything from the first byte that is, is. This takes no memory, because
 * neither set has more ranges afterwards, and `start` lies in no range of `acked`. */
static void send_lose_from(struct quic_stream_send *s, struct base_mem *mem, uint64_t start) {
    if (!base_ranges_empty(&s->lost) && s->lost.list[0].start < start)
        start = s->lost.list[0].start;
    int a = base_ranges_remove(&s->acked, mem, start, s->sent, NO_LIMIT);
    int b = base_ranges_add(&s->lost, mem, start, s->sent, NO_LIMIT);
    assert(a == BASE_RANGES_OK && b == BASE_RANGES_OK);
    (void)a;
    (void)b;
}

/* Of [start, end), what has not been acknowledged must be sent again. */
static void send_lose(struct quic_stream_send *s, struct base_mem *mem, uint64_t start, uint64_t end) {
    if (start < s->acked_to)
        start = s->acked_to;
    uint32_t i = base_ranges_find(&s->acked, start);
    while (start < end) {
        bool hole = i < s->acked.count;
        uint64_t stop = hole && s->acked.list[i].start < end ? s->acked.list[i].start : end;
        if (stop > start && base_ranges_add(&s->lost, mem, start, stop, NO_LIMIT) != BASE_RANGES_OK) {
            send_lose_from(s, mem, start);
            return;
        }
        start = hole && s->acked.list[i].start <= stop ? s->acked.list[i].end : stop;
        i++;
    }
}

/* Everything below `to` has arrived. */
static void send_advance(struct quic_stream_send *s, struct base_mem *mem, uint64_t to, quic_release_cb release,
                         void *user) {
    while (!base_ranges_empty(&s->acked) && s->acked.list[0].start <= to) {
        if (s->acked.list[0].end > to)
            to = s->acked.list[0].end;
        base_ranges_drop_first(&s->acked);
    }
    if (!base_ranges_empty(&s->lost))
        base_ranges_drop_below(&s->lost, to);
    s->acked_to = to;
    send_hold(s, s->written - to);
    while (s->first && quic_chunk_end(s->first) <= to)
        send_drop_first(s, mem, release, user);
}

void quic_stream_send_on_acked(struct quic_stream_send *s, struct base_mem *mem, uint64_t offset, uint64_t len,
                               bool fin, quic_release_cb release, void *user) {
    if (s->state >= QUIC_SEND_RESET_SENT)
        return;
    uint64_t end = offset + len;
    assert(end <= s->sent);
    if (offset <= s->acked_to) {
        if (end > s->acked_to)
            send_advance(s, mem, end, release, user);
    } else if (len) {
        /* Declared lost before, perhaps; the acknowledgement came late. */
        bool ok = base_ranges_remove(&s->lost, mem, offset, end, NO_LIMIT) == BASE_RANGES_OK &&
                  base_ranges_add(&s->acked, mem, offset, end, NO_LIMIT) == BASE_RANGES_OK;
        if (!ok)
            send_lose(s, mem, offset, end);
    }
    if (fin) {
        s->fin_acked = true;
        s->fin_lost = false;
    }
    if (s->fin_acked && s->acked_to == s->final_size)
        s->state = QUIC_SEND_DATA_RECVD;
}

void quic_stream_send_on_lost(struct quic_stream_send *s, struct base_mem *mem, uint64_t offset, uint64_t len,
                              bool fin) {
    if (s->state >= QUIC_SEND_RESET_SENT)
        return;
    assert(offset + len <= s->sent);
    send_lose(s, mem, offset, offset + len);
    if (s->reset_at)
        send_forgive(s, mem);
    else if (fin && !s->fin_acked)
        s->fin_lost = true;
}

/* ---- 0-RTT was rejected ---- */

void quic_stream_send_rewind(struct quic_stream_send *s, struct base_mem *mem) {
    assert(s->acked_to == 0 && base_ranges_empty(&s->acked) && !s->fin_acked);
    base_ranges_clear(&s->lost, mem);
    s->cursor = NULL;
    s->sent = 0;
    s->fin_sent = s->fin_lost = false;
    if (s->reset_at)
        s->fin = false; /* all that is written goes out again, and then the frame */
    if (s->state >= QUIC_SEND_RESET_SENT)
        s->final_size = 0;
    else
        s->state = QUIC_SEND_READY;
}
