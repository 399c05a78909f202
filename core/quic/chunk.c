/* chunk.c - memory for bytes that wait to be sent and acknowledged.
 *
 * Knows the four sizes and where each comes from and goes. Does not know offsets: the sending half that owns the chunks
 * puts them in order.
 *
 * The invariant that matters: a chunk goes back to the pool of its size, or to the allocator with its exact size.
 */
#include "quic/chunk.h"

/* Powers of two with the header, but for the largest, which holds the 64 KiB people like to write. */
static const uint32_t chunk_capacity[QUIC_CHUNK_SIZES] = {512 - sizeof(struct quic_chunk),
                                                          4096 - sizeof(struct quic_chunk),
                                                          16384 - sizeof(struct quic_chunk), QUIC_CHUNK_LARGEST};

size_t quic_chunk_bytes(unsigned size) { return sizeof(struct quic_chunk) + chunk_capacity[size]; }

struct quic_chunk *quic_chunk_new(struct quic_pools *pools, struct base_mem *mem, uint64_t want) {
    unsigned size = 0;
    while (size < QUIC_CHUNK_SIZES - 1 && chunk_capacity[size] < want)
        size++;
    void *block = pools ? quic_pool_get(&pools->chunks[size], mem) : base_alloc(mem, quic_chunk_bytes(size));
    if (!block)
        return NULL;
    struct quic_chunk *chunk = (struct quic_chunk *)block;
    *chunk = (struct quic_chunk){.data = chunk->bytes, .capacity = chunk_capacity[size], .size = size};
    return chunk;
}

struct quic_chunk *quic_chunk_new_reference(struct quic_pools *pools, struct base_mem *mem, const uint8_t *data,
                                            size_t len, uint64_t token) {
    void *block = pools ? quic_pool_get(&pools->references, mem) : base_alloc(mem, sizeof(struct quic_chunk));
    if (!block)
        return NULL;
    struct quic_chunk *chunk = (struct quic_chunk *)block;
    *chunk = (struct quic_chunk){.data = data, .len = len, .token = token};
    return chunk;
}

void quic_chunk_free(struct quic_chunk *chunk, struct quic_pools *pools, struct base_mem *mem) {
    bool reference = quic_chunk_is_reference(chunk);
    if (pools)
        quic_pool_put(reference ? &pools->references : &pools->chunks[chunk->size], mem, chunk);
    else
        base_free(mem, chunk, reference ? sizeof *chunk : quic_chunk_bytes(chunk->size));
}
