/* pool.h - free lists for what streams are made of: a warm connection opens, fills and closes streams without
 * allocating.
 *
 * One struct quic_pools belongs to one set of streams; a half of a stream that has none (CRYPTO data) allocates and
 * frees.
 *
 * Invariant: a pool holds at most `keep` objects of exactly `size` bytes; what is given back beyond that is freed.
 */
#ifndef QUIC_POOL_H
#define QUIC_POOL_H

#include "base/mem.h"

struct quic_pool {
    void *free; /* each free object begins with a pointer to the next */
    uint32_t count, keep;
    size_t size;
};

#define QUIC_CHUNK_SIZES 4u

struct quic_pools {
    struct quic_pool chunks[QUIC_CHUNK_SIZES]; /* bytes to be sent, by size: chunk.c */
    struct quic_pool references;               /* chunks without bytes of their own */
    struct quic_pool slices;                   /* received segments that refer to a buffer: segment.c */
    struct quic_pool copies;                   /* received segments with room for a few small frames */
    uint64_t buffered;                         /* bytes that the sending halves hold, all together */
};

void quic_pools_init(struct quic_pools *pools);
void quic_pools_clear(struct quic_pools *pools, struct base_mem *mem); /* frees what is free; the pools stay usable */

/* An object of pool->size bytes, not initialised; NULL when out of memory. */
void *quic_pool_get(struct quic_pool *pool, struct base_mem *mem);
void quic_pool_put(struct quic_pool *pool, struct base_mem *mem, void *object);

#endif
