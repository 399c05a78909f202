/* stream_recv.h - the receiving half of a stream: bytes arrive in any order and are taken in order (RFC 9000 section
 * 3.2).
 *
 * Bytes stay where the socket put them: a segment is a slice of a receive buffer with a reference. A few bytes are
 * copied at once, and quic_stream_recv_compact copies whatever the application has not taken by the end of a turn
 * and pins a mostly empty buffer: nobody can pin 64 KiB with a byte.
 *
 * The same structure reassembles CRYPTO data.
 *
 * Invariant: segments are disjoint, ordered by offset, and none lies below `taken`; at most QUIC_RECV_GAPS gaps.
 */
#ifndef QUIC_STREAM_RECV_H
#define QUIC_STREAM_RECV_H

#include "base/buf.h"
#include "quic/types.h"

enum quic_recv_state { /* RFC 9000 figure 3 */
                       QUIC_RECV_RECV = 0,
                       QUIC_RECV_SIZE_KNOWN,
                       QUIC_RECV_DATA_RECVD,
                       QUIC_RECV_RESET_RECVD,
                       QUIC_RECV_DATA_READ,
                       QUIC_RECV_RESET_READ,
};

#define QUIC_RECV_GAPS 1024u /* most gaps between segments; a frame that would make more is not accepted */

struct quic_segment;
struct quic_pools;

struct quic_stream_recv {
    struct quic_segment *first, *last;
    struct quic_segment *tip;     /* last of the contiguous run [taken, ready); NULL when it is empty */
    struct quic_segment *settled; /* compaction has looked at everything up to this one; NULL: at nothing */
    struct quic_pools *pools;     /* where segments come from and go; NULL (as after init): allocated one by one */
    uint64_t taken;               /* everything below was taken by the application */
    uint64_t ready;               /* [taken, ready) is here without a gap */
    uint64_t highest;             /* highest offset + 1 seen */
    uint64_t final_size;          /* UINT64_MAX = not known */
    uint64_t reset_code;
    uint64_t reset_at; /* reset once everything below it was taken; UINT64_MAX = no such thing */
    uint32_t gaps;
    uint8_t state;   /* enum quic_recv_state */
    bool discarding; /* nobody wants the bytes any more */
    bool news;       /* the last quic_stream_recv_insert brought bytes that were not there */
};

struct quic_slice {
    const uint8_t *data;
    size_t len;
    struct base_buf *buf; /* to keep the bytes longer than the next call: take a reference; NULL = must be copied */
};

enum quic_recv_result {
    QUIC_RECV_OK = 0,
    QUIC_RECV_DROP = -1, /* no memory or too many gaps: treat the packet as not received */
};

void quic_stream_recv_init(struct quic_stream_recv *r);
void quic_stream_recv_clear(struct quic_stream_recv *r, struct base_mem *mem);
/* Checks final size rules (RFC 9000 4.5) for a STREAM or RESET_STREAM frame ending at `end`: 0 or FINAL_SIZE_ERROR.
 * Changes nothing. */
enum quic_error quic_stream_recv_check(const struct quic_stream_recv *r, uint64_t end, bool final);
/* Bytes at `offset`, in `buf` (NULL: copy). Repeated bytes are dropped: what came first stays (RFC 9000 2.2).
 * quic_stream_recv_check came before. After QUIC_RECV_DROP a part may have been taken in; `highest` covers exactly
 * what was. */
enum quic_recv_result quic_stream_recv_insert(struct quic_stream_recv *r, struct base_mem *mem, struct base_buf *buf,
                                              uint64_t offset, const uint8_t *data, size_t len, bool fin);
/* RESET_STREAM: drops what is held. No effect once all data have arrived (RFC 9000 3.2 lets us choose). True when it
 * took effect. */
bool quic_stream_recv_reset(struct quic_stream_recv *r, struct base_mem *mem, uint64_t code, uint64_t final_size);
/* RESET_STREAM_AT: the bytes below `reliable` still come and are to be taken; then the reset takes effect by itself
 * (draft-ietf-quic-reliable-stream- reset). True when it took effect at once; else nothing was dropped. A smaller
 * `reliable` counts, a larger one does not. */
bool quic_stream_recv_reset_at(struct quic_stream_recv *r, struct base_mem *mem, uint64_t code, uint64_t final_size,
                               uint64_t reliable);
/* Slices of the bytes that can be taken now, in order; returns how many were filled in. */
size_t quic_stream_recv_peek(const struct quic_stream_recv *r, struct quic_slice *slices, size_t max);
/* The application took `len` <= ready - taken bytes. A reset that waited for them takes effect. */
void quic_stream_recv_consume(struct quic_stream_recv *r, struct base_mem *mem, uint64_t len);
/* Drops everything held and everything to come (after STOP_SENDING): only `highest` and the final size still matter.
 * A half that knew its size already ends with the next frame for it, or when STOP_SENDING was acknowledged. */
void quic_stream_recv_discard(struct quic_stream_recv *r, struct base_mem *mem);
void quic_stream_recv_on_stop_acked(struct quic_stream_recv *r);
/* Copies slices that pin mostly empty buffers. False: out of memory, some are still pinned. */
bool quic_stream_recv_compact(struct quic_stream_recv *r, struct base_mem *mem);

/* All bytes are there: the end can be reported once they are taken. */
static inline bool quic_stream_recv_at_end(const struct quic_stream_recv *r) { return r->taken == r->final_size; }
static inline bool quic_stream_recv_done(const struct quic_stream_recv *r) { return r->state >= QUIC_RECV_DATA_READ; }

#endif
