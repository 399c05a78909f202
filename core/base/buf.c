/* buf.c - the pool behind the shared receive buffers.
 *
 * Knows how many buffers are out and which are at rest. Does not know what is in them, nor who holds the references.
 * The free list is last in, first out: the buffer that was just given back is the one whose bytes are still in the
 * cache.
 *
 * The invariant that matters: a buffer is on the free list exactly when its reference count is 0, and then nobody may
 * look into it. Under AddressSanitizer a resting buffer is poisoned, so a slice that outlived its reference is caught
 * although the memory was never freed.
 */
#include "base/buf.h"

#include <assert.h>

#if defined(__SANITIZE_ADDRESS__)
#define BUF_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BUF_POISON 1
#endif
#endif

#ifdef BUF_POISON
#include <sanitizer/asan_interface.h>
static void buf_rest(struct base_buf *buf) { __asan_poison_memory_region(buf->data, BASE_BUF_SIZE); }
static void buf_wake(struct base_buf *buf) { __asan_unpoison_memory_region(buf->data, BASE_BUF_SIZE); }
#else
static void buf_rest(struct base_buf *buf) { (void)buf; }
static void buf_wake(struct base_buf *buf) { (void)buf; }
#endif

#define BUF_BYTES (sizeof(struct base_buf) + BASE_BUF_SIZE)

void base_bufpool_init(struct base_bufpool *pool, struct base_mem *mem, uint32_t keep, uint32_t limit) {
    *pool = (struct base_bufpool){.mem = mem, .keep = keep, .limit = limit};
}

void base_bufpool_clear(struct base_bufpool *pool) {
    assert(pool->live_count == 0);
    while (pool->free) {
        struct base_buf *buf = pool->free;
        pool->free = buf->next;
        buf_wake(buf);
        base_free(pool->mem, buf, BUF_BYTES);
    }
    pool->free_count = 0;
}

struct base_buf *base_buf_get(struct base_bufpool *pool) {
    if (pool->limit && pool->live_count >= pool->limit)
        return NULL;
    struct base_buf *buf = pool->free;
    if (buf) {
        assert(buf->refs == 0);
        pool->free = buf->next;
        pool->free_count--;
        buf_wake(buf);
    } else {
        buf = (struct base_buf *)base_alloc(pool->mem, BUF_BYTES);
        if (!buf)
            return NULL;
        buf->pool = pool;
        buf->size = BASE_BUF_SIZE;
    }
    buf->next = NULL;
    buf->refs = 1;
    pool->live_count++;
    return buf;
}

void base_buf_release(struct base_buf *buf) {
    struct base_bufpool *pool = buf->pool;
    assert(buf->refs == 0 && pool->live_count > 0);
    pool->live_count--;
    if (pool->free_count >= pool->keep) {
        base_free(pool->mem, buf, BUF_BYTES);
        return;
    }
    buf->next = pool->free;
    pool->free = buf;
    pool->free_count++;
    buf_rest(buf);
}
