/* tls_heap.c - what the TLS library allocates for a handshake counts against the engine's memory budget.
 *
 * wolfSSL asks for memory through three functions of the process and says neither for whom nor, when it gives back, how
 * much. So each block carries a head of 16 bytes, and who it is for is a note of the thread: while a session is being
 * worked on, its heap is the present one, and what is allocated is charged to its engine. A budget that is used up
 * refuses, and wolfSSL's call fails as with an exhausted heap.
 *
 * A session leaves things behind in what it shares with others (an intermediate certificate that was verified stays
 * with the trusted ones, for instance). Those are charged as long as the session lives, which is when they were its
 * doing; then they belong to the configuration and are nobody's. Another thread may free them: it changes no engine's
 * count.
 *
 * The invariant that matters: `held` of a heap is what its engine was charged for and not yet credited, it is changed
 * by the engine's own thread alone, and it is 0 when the session is gone.
 *
 * With a wolfSSL that other parts of the process use as well (WEFT_SYSTEM_WOLFSSL) its allocator is not ours to change:
 * then a session is charged an estimate.
 */
#include <assert.h>
#include <string.h>

#include "tls_impl.h"

static struct base_mem outside; /* where the blocks come from: the system's heap, uncounted; set once, then only read */

struct tls_heap {
    struct base_mem *mem; /* NULL: the session is gone */
    uint64_t held;
    atomic_size_t refs; /* blocks, and the session */
};

struct tls_heap *tls_heap_new(struct base_mem *mem) {
    assert(outside.alloc);                                             /* crypto_init was called */
    struct tls_heap *heap = outside.alloc(outside.user, sizeof *heap); /* may outlive the engine */
    if (!heap)
        return NULL;
    *heap = (struct tls_heap){.mem = mem};
    atomic_init(&heap->refs, 1);
#ifndef WEFT_OWN_WOLFSSL
    if (!base_charge(mem, TLS_HEAP_ESTIMATE)) {
        outside.release(outside.user, heap, sizeof *heap);
        return NULL;
    }
    heap->held = TLS_HEAP_ESTIMATE;
#endif
    return heap;
}

static void heap_unref(struct tls_heap *heap) {
    if (atomic_fetch_sub_explicit(&heap->refs, 1, memory_order_acq_rel) == 1)
        outside.release(outside.user, heap, sizeof *heap);
}

void tls_heap_free(struct tls_heap *heap) {
    if (!heap)
        return;
    base_credit(heap->mem, heap->held);
    heap->held = 0;
    heap->mem = NULL;
    heap_unref(heap);
}

uint64_t tls_heap_held(const struct tls_heap *heap) { return heap->held; }

static _Thread_local struct tls_heap *present;

struct tls_heap *tls_heap_enter(struct tls_heap *heap) {
    struct tls_heap *before = present;
    present = heap;
    return before;
}

#ifdef WEFT_OWN_WOLFSSL

struct block { /* 16 bytes: what follows is aligned as malloc's is */
    struct tls_heap *heap;
    size_t size; /* with this head */
};
static_assert(sizeof(struct block) % 16 == 0, "blocks keep the alignment of malloc");

static bool block_charge(struct tls_heap *heap, size_t size) {
    if (!heap || !heap->mem)
        return true;
    if (!base_charge(heap->mem, size))
        return false;
    heap->held += size;
    return true;
}

/* Only the thread that works on the session may touch its engine's count. */
static void block_credit(struct tls_heap *heap, size_t size) {
    if (!heap || heap != present || !heap->mem)
        return;
    base_credit(heap->mem, size);
    heap->held -= size;
}

static void *heap_malloc(size_t size) {
    struct tls_heap *heap = present;
    size_t whole = size + sizeof(struct block);
    if (whole < size || !block_charge(heap, whole))
        return NULL;
    struct block *block = outside.alloc(outside.user, whole);
    if (!block) {
        block_credit(heap, whole);
        return NULL;
    }
    *block = (struct block){heap, whole};
    if (heap)
        atomic_fetch_add_explicit(&heap->refs, 1, memory_order_relaxed);
    return block + 1;
}

static void heap_free(void *data) {
    if (!data)
        return;
    struct block *block = (struct block *)data - 1;
    struct tls_heap *heap = block->heap;
    block_credit(heap, block->size);
    outside.release(outside.user, block, block->size);
    if (heap)
        heap_unref(heap);
}

/* Moves: wolfSSL resizes little and seldom, and a block may change hands. */
static void *heap_realloc(void *data, size_t size) {
    void *moved = heap_malloc(size);
    if (!moved || !data)
        return moved;
    size_t had = ((struct block *)data - 1)->size - sizeof(struct block);
    memcpy(moved, data, had < size ? had : size);
    heap_free(data);
    return moved;
}

bool tls_heap_install(void) {
    base_mem_init(&outside, 0);
    return wolfSSL_SetAllocators(heap_malloc, heap_free, heap_realloc) == 0;
}

#else

bool tls_heap_install(void) {
    base_mem_init(&outside, 0);
    return true;
}

#endif
