/* buf.h - receive buffers that are shared, not copied.
 *
 * One buffer holds what one receive call brought: a datagram, or a train of datagrams joined by GRO. Packets are
 * opened in place and in-order stream bytes are handed on as slices of the same memory, each holding a reference.
 * The pool recycles buffers, so a warm engine receives without allocating.
 *
 * Invariant: a buffer is on the free list exactly when its reference count is 0. References are not atomic: a
 * buffer belongs to one engine's thread.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "mem.h"

#define BASE_BUF_SIZE 65536u /* room for the largest GRO train the kernel delivers */

struct base_bufpool;

struct base_buf {
    struct base_bufpool *pool;
    struct base_buf *next; /* free list only */
    uint32_t refs;
    uint32_t size; /* bytes that fit into data[] */
    uint8_t data[];
};

struct base_bufpool {
    struct base_mem *mem;
    struct base_buf *free;
    uint32_t free_count;
    uint32_t live_count; /* buffers with references */
    uint32_t keep;       /* most buffers kept on the free list */
    uint32_t limit;      /* most live buffers; 0 = bounded by `mem` only */
};

void base_bufpool_init(struct base_bufpool *pool, struct base_mem *mem, uint32_t keep, uint32_t limit);
/* Frees the free list. All buffers must have been given back. */
void base_bufpool_clear(struct base_bufpool *pool);
/* A buffer of BASE_BUF_SIZE with one reference, or NULL when budget or limit is reached. */
struct base_buf *base_buf_get(struct base_bufpool *pool);
void base_buf_release(struct base_buf *buf); /* slow path of base_buf_unref: last reference is gone */

static inline struct base_buf *base_buf_ref(struct base_buf *buf) {
    buf->refs++;
    return buf;
}

static inline void base_buf_unref(struct base_buf *buf) {
    if (--buf->refs == 0)
        base_buf_release(buf);
}

#endif
