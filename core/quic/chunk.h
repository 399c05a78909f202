/* chunk.h - a run of bytes of a stream's sending half: copied, with room to grow, or referenced.
 *
 * Copies come in four sizes. A message takes the smallest that holds it; a stream that already holds much takes larger
 * ones, so that bulk data lie in few.
 *
 * Invariant: offset and len never shrink; a copy's bytes are bytes[0 .. len).
 */
#ifndef QUIC_CHUNK_H
#define QUIC_CHUNK_H

#include <stdbool.h>

#include "quic/pool.h"

struct quic_chunk {
    struct quic_chunk *next;
    const uint8_t *data;
    uint64_t offset, len;
    uint64_t token;    /* references: to be released with */
    uint32_t capacity; /* copies: bytes that fit; 0 = a reference */
    uint32_t size;     /* copies: which of the QUIC_CHUNK_SIZES */
    uint8_t bytes[];
};

#define QUIC_CHUNK_LARGEST 65536u /* data of the largest copy */

size_t quic_chunk_bytes(unsigned size); /* memory a copy of this size takes */
/* An empty copy that holds `want` bytes, or as many as the largest does. `pools` may be NULL. NULL: out of memory. */
struct quic_chunk *quic_chunk_new(struct quic_pools *pools, struct base_mem *mem, uint64_t want);
struct quic_chunk *quic_chunk_new_reference(struct quic_pools *pools, struct base_mem *mem, const uint8_t *data,
                                            size_t len, uint64_t token);
void quic_chunk_free(struct quic_chunk *chunk, struct quic_pools *pools, struct base_mem *mem);

static inline uint64_t quic_chunk_end(const struct quic_chunk *chunk) { return chunk->offset + chunk->len; }
static inline bool quic_chunk_is_reference(const struct quic_chunk *chunk) { return chunk->capacity == 0; }
/* Bytes that can still be appended: none to a reference. */
static inline size_t quic_chunk_room(const struct quic_chunk *chunk) {
    return chunk->capacity ? chunk->capacity - (size_t)chunk->len : 0;
}

#endif
