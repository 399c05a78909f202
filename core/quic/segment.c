/* segment.c - memory for received bytes.
 *
 * Knows where a segment comes from and goes, and that a slice holds a reference. Does not know order or gaps: the
 * receiving half that owns the segments keeps them.
 *
 * The invariant that matters: a copy of QUIC_SEGMENT_ROOM bytes belongs to the pool of copies, every other one to
 * the allocator; so the capacity alone says where it goes.
 */
#include "quic/segment.h"

struct quic_segment *quic_segment_new_slice(struct quic_pools *pools, struct base_mem *mem, struct base_buf *buf,
                                            const uint8_t *data, uint32_t len) {
    void *block = pools ? quic_pool_get(&pools->slices, mem) : base_alloc(mem, sizeof(struct quic_segment));
    if (!block)
        return NULL;
    struct quic_segment *segment = (struct quic_segment *)block;
    *segment = (struct quic_segment){.data = data, .buf = base_buf_ref(buf), .len = len};
    return segment;
}

struct quic_segment *quic_segment_new_copy(struct quic_pools *pools, struct base_mem *mem, uint32_t capacity) {
    bool pooled = pools && capacity == QUIC_SEGMENT_ROOM;
    void *block = pooled ? quic_pool_get(&pools->copies, mem) : base_alloc(mem, sizeof(struct quic_segment) + capacity);
    if (!block)
        return NULL;
    struct quic_segment *segment = (struct quic_segment *)block;
    *segment = (struct quic_segment){.data = segment->bytes, .capacity = capacity};
    return segment;
}

void quic_segment_free(struct quic_segment *segment, struct quic_pools *pools, struct base_mem *mem) {
    if (segment->buf)
        base_buf_unref(segment->buf);
    if (pools && segment->buf)
        quic_pool_put(&pools->slices, mem, segment);
    else if (pools && segment->capacity == QUIC_SEGMENT_ROOM)
        quic_pool_put(&pools->copies, mem, segment);
    else
        base_free(mem, segment, sizeof *segment + segment->capacity);
}
