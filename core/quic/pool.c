/* pool.c - free lists for what streams are made of.
 *
 * Knows sizes and how many of each to keep. Does not know what is in the objects. Most kept at a time, all together, is
 * about 550 KiB for a connection that has been busy with everything; an idle one gives it back (quic_streams_trim).
 *
 * The invariant that matters: an object comes back to the pool it was taken from, or to one of the same size.
 */
#include "quic/pool.h"

#include <assert.h>

#include "quic/chunk.h"
#include "quic/segment.h"

static void pool_init(struct quic_pool *pool, size_t size, uint32_t keep) {
    assert(size >= sizeof(void *));
    *pool = (struct quic_pool){.size = size, .keep = keep};
}

static void pool_clear(struct quic_pool *pool, struct base_mem *mem) {
    while (pool->free) {
        void *object = pool->free;
        pool->free = *(void **)object;
        base_free(mem, object, pool->size);
    }
    pool->count = 0;
}

void quic_pools_init(struct quic_pools *pools) {
    static const uint32_t keep[QUIC_CHUNK_SIZES] = {128, 16, 4, 4};
    for (unsigned i = 0; i < QUIC_CHUNK_SIZES; i++)
        pool_init(&pools->chunks[i], quic_chunk_bytes(i), keep[i]);
    pool_init(&pools->references, sizeof(struct quic_chunk), 64);
    pool_init(&pools->slices, sizeof(struct quic_segment), 512);
    pool_init(&pools->copies, sizeof(struct quic_segment) + QUIC_SEGMENT_ROOM, 128);
}

void quic_pools_clear(struct quic_pools *pools, struct base_mem *mem) {
    for (unsigned i = 0; i < QUIC_CHUNK_SIZES; i++)
        pool_clear(&pools->chunks[i], mem);
    pool_clear(&pools->references, mem);
    pool_clear(&pools->slices, mem);
    pool_clear(&pools->copies, mem);
}

void *quic_pool_get(struct quic_pool *pool, struct base_mem *mem) {
    void *object = pool->free;
    if (!object)
        return base_alloc(mem, pool->size);
    pool->free = *(void **)object;
    pool->count--;
    return object;
}

void quic_pool_put(struct quic_pool *pool, struct base_mem *mem, void *object) {
    if (pool->count >= pool->keep) {
        base_free(mem, object, pool->size);
        return;
    }
    *(void **)object = pool->free;
    pool->free = object;
    pool->count++;
}
