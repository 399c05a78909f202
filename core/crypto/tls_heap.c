/* tls_heap.c - what the TLS library allocates for a handshake counts against the engine's memory budget.
 *
 * wolfSSL asks for memory through three functions of the process and says neither for whom nor, when it gives back, how
 * much. So each block carries a head of 16 bytes, and who it is for is a note of the thread: while a session is being
 * worked on, its heap is the present one, and what is allocated is charged to its engine. A budget that is used up
 * refuses, and wolfSSL's call fails as with an exhausted heap.
 *
 * A handshake asks 52 times, 43 times for less than half a KiB, and nearly all of it goes with the session. So small
 * blocks are cut from slabs of the session, which are charged and freed as a whole; the first one lies behind the heap
 * itself. What is given back of them, unless it was cut last, waits in a list for its size. AddressSanitizer would see
 * nothing of that: with it every block is the system's.
 *
 * A session leaves things behind in what it shares with others (an intermediate certificate that was verified stays
 * with the trusted ones, for instance). Those are charged as long as the session lives, which is when they were its
 * doing; then they belong to the configuration and are nobody's, and a small one keeps the slabs. Another thread may
 * free them: it changes no engine's count.
 *
 * The invariants that matter: `held` of a heap is what its engine was charged for and not yet credited, it is changed
 * by the engine's own thread alone, and it is 0 when the session is gone. The heap itself is freed by whoever gives the
 * last block back. Only blocks that others free are counted by an atomic operation: `refs` is so large while the
 * session lives that they cannot use it up, and what is still out is settled when it ends.
 *
 * With a wolfSSL that other parts of the process use as well (WEFT_SYSTEM_WOLFSSL) its allocator is not ours to change:
 * then a session is charged an estimate.
 */
#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "tls_impl.h"

static struct base_mem outside; /* where the blocks come from: the system's heap, uncounted; set once, then only read */

#ifdef WEFT_OWN_WOLFSSL

#if defined(__SANITIZE_ADDRESS__)
#define WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WATCHED 1
#endif
#endif

#define GRAIN 16u        /* sizes are multiples of it; blocks are aligned as malloc's are */
#define SMALL_MOST 512u  /* the largest block of a slab, with its head */
#define FIRST_SLAB 4096u /* enough for what one handshake has of small blocks */
#define NEXT_SLAB 2048u
#define SESSION_LIVES (SIZE_MAX / 2)

struct block {
    union {
        struct tls_heap *heap;
        struct block *next; /* given back */
    } u;
    size_t size; /* with this head */
};
static_assert(sizeof(struct block) == GRAIN, "blocks keep the alignment of malloc");

struct slab {
    struct slab *next;
    size_t size;
    uint8_t room[];
};
static_assert(offsetof(struct slab, room) % GRAIN == 0, "so do those of slabs");

struct tls_heap {
    struct base_mem *mem; /* NULL: the session is gone */
    uint64_t held;
    size_t out; /* blocks, less those that came back while this was the present heap */
    atomic_size_t refs;
    struct slab *slabs; /* but the first */
    uint8_t *unused, *end;
    struct block *back[SMALL_MOST / GRAIN + 1]; /* small blocks that were given back, by size */
    _Alignas(GRAIN) uint8_t first[FIRST_SLAB];
};

static bool is_small(size_t whole) {
#ifdef WATCHED
    (void)whole;
    return false;
#else
    return whole <= SMALL_MOST;
#endif
}

struct tls_heap *tls_heap_new(struct base_mem *mem) {
    assert(outside.alloc); /* crypto_init was called */
    if (!base_charge(mem, sizeof(struct tls_heap)))
        return NULL;
    struct tls_heap *heap = outside.alloc(outside.user, sizeof *heap); /* may outlive the engine */
    if (!heap) {
        base_credit(mem, sizeof *heap);
        return NULL;
    }
    memset(heap, 0, offsetof(struct tls_heap, first));
    heap->mem = mem;
    heap->held = sizeof *heap;
    heap->unused = heap->first;
    heap->end = heap->first + sizeof heap->first;
    atomic_init(&heap->refs, SESSION_LIVES);
    return heap;
}

static void heap_unref(struct tls_heap *heap, size_t refs) {
    if (atomic_fetch_sub_explicit(&heap->refs, refs, memory_order_acq_rel) != refs)
        return;
    for (struct slab *slab = heap->slabs; slab;) {
        struct slab *next = slab->next;
        outside.release(outside.user, slab, slab->size);
        slab = next;
    }
    outside.release(outside.user, heap, sizeof *heap);
}

void tls_heap_free(struct tls_heap *heap) {
    if (!heap)
        return;
    base_credit(heap->mem, heap->held);
    heap->held = 0;
    heap->mem = NULL;
    heap_unref(heap, SESSION_LIVES - heap->out);
}

#else

struct tls_heap {
    struct base_mem *mem;
    uint64_t held;
};

struct tls_heap *tls_heap_new(struct base_mem *mem) {
    if (!base_charge(mem, TLS_HEAP_ESTIMATE))
        return NULL;
    struct tls_heap *heap = outside.alloc(outside.user, sizeof *heap);
    if (heap)
        *heap = (struct tls_heap){.mem = mem, .held = TLS_HEAP_ESTIMATE};
    else
        base_credit(mem, TLS_HEAP_ESTIMATE);
    return heap;
}

void tls_heap_free(struct tls_heap *heap) {
    if (!heap)
        return;
    base_credit(heap->mem, heap->held);
    outside.release(outside.user, heap, sizeof *heap);
}

#endif

uint64_t tls_heap_held(const struct tls_heap *heap) { return heap->held; }

static _Thread_local struct tls_heap *present;

struct tls_heap *tls_heap_enter(struct tls_heap *heap) {
    struct tls_heap *before = present;
    present = heap;
    return before;
}

#ifdef WEFT_OWN_WOLFSSL

/* From the system, charged to the heap, if there is one. */
static void *charged_alloc(struct tls_heap *heap, size_t size) {
    if (heap && !base_charge(heap->mem, size))
        return NULL;
    void *memory = outside.alloc(outside.user, size);
    if (memory && heap)
        heap->held += size;
    else if (heap)
        base_credit(heap->mem, size);
    return memory;
}

static bool slab_add(struct tls_heap *heap) {
    struct slab *slab = charged_alloc(heap, NEXT_SLAB);
    if (!slab)
        return false;
    *slab = (struct slab){.next = heap->slabs, .size = NEXT_SLAB};
    heap->slabs = slab;
    heap->unused = slab->room; /* the rest of the last one is too small for what is asked, and given up */
    heap->end = (uint8_t *)slab + NEXT_SLAB;
    return true;
}

static struct block *small_alloc(struct tls_heap *heap, size_t whole) {
    struct block **back = &heap->back[whole / GRAIN], *block = *back;
    if (block) {
        *back = block->u.next;
        return block;
    }
    if ((size_t)(heap->end - heap->unused) < whole && !slab_add(heap))
        return NULL;
    block = (struct block *)(void *)heap->unused;
    heap->unused += whole;
    return block;
}

static void *heap_malloc(size_t size) {
    struct tls_heap *heap = present;
    size_t whole = size + sizeof(struct block);
    if (whole < size)
        return NULL;
    if (is_small(whole))
        whole = (whole + GRAIN - 1) / GRAIN * GRAIN;
    struct block *block = heap && is_small(whole) ? small_alloc(heap, whole) : charged_alloc(heap, whole);
    if (!block)
        return NULL;
    *block = (struct block){.u.heap = heap, .size = whole};
    if (heap)
        heap->out++;
    return block + 1;
}

/* Only the thread that works on the session may touch its lists and its engine's count. */
static void heap_free(void *data) {
    if (!data)
        return;
    struct block *block = (struct block *)data - 1;
    struct tls_heap *heap = block->u.heap;
    size_t size = block->size;
    bool own = heap && heap == present, small = heap && is_small(size);
    if (!small)
        outside.release(outside.user, block, size);
    if (!own) {
        if (heap)
            heap_unref(heap, 1);
        return;
    }
    heap->out--;
    if (small && (uint8_t *)block + size == heap->unused) {
        heap->unused = (uint8_t *)block;
    } else if (small) {
        block->u.next = heap->back[size / GRAIN];
        heap->back[size / GRAIN] = block;
    } else {
        base_credit(heap->mem, size);
        heap->held -= size;
    }
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
