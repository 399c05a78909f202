/* segment.h - received bytes that wait for the application: a slice of a receive buffer, or a copy.
 *
 * Invariant: `buf` is not NULL exactly when the bytes are in a shared buffer, and then one reference to it is held;
 * else they are in bytes[], where more may be appended as long as there is room behind them.
 */
#ifndef QUIC_SEGMENT_H
#define QUIC_SEGMENT_H

#include <stdbool.h>

#include "base/buf.h"
#include "quic/pool.h"

struct quic_segment {
    struct quic_segment *next;
    const uint8_t *data;
    struct base_buf *buf;
    uint64_t offset;
    uint32_t len;
    uint32_t capacity; /* copies: size of bytes[] */
    uint8_t bytes[];
};

#define QUIC_SEGMENT_ROOM (512u - sizeof(struct quic_segment)) /* of a copy from the pool */

static inline uint64_t quic_segment_end(const struct quic_segment *segment) { return segment->offset + segment->len; }

/* The unused room behind a copy's bytes. */
static inline size_t quic_segment_room(const struct quic_segment *segment) {
    return segment->buf ? 0 : (size_t)(segment->bytes + segment->capacity - (segment->data + segment->len));
}

/* A slice of `buf`; takes a reference. `pools` may be NULL. NULL: out of memory. */
struct quic_segment *quic_segment_new_slice(struct quic_pools *pools, struct base_mem *mem, struct base_buf *buf,
                                            const uint8_t *data, uint32_t len);
/* An empty copy with at least `capacity` bytes of room. */
struct quic_segment *quic_segment_new_copy(struct quic_pools *pools, struct base_mem *mem, uint32_t capacity);
void quic_segment_free(struct quic_segment *segment, struct quic_pools *pools, struct base_mem *mem);

#endif
