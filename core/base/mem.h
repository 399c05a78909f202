/* mem.h - memory that is given, counted and bounded.
 *
 * weft never calls malloc by itself: every engine is given an allocator, and every byte it holds is counted
 * against one budget. Frees carry the size, so counting costs no header in front of a block. When the budget is
 * used up an allocation fails exactly as an exhausted heap would; callers have one way to fail, not two.
 *
 * Invariant: `used` is the sum of the sizes of all live blocks, and it is 0 when the engine is gone.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct base_mem {
    void *(*alloc)(void *user, size_t size);                            /* like malloc */
    void *(*resize)(void *user, void *block, size_t from, size_t size); /* like realloc, told the old size */
    void (*release)(void *user, void *block, size_t size);              /* like free, told the size */
    void *user;
    uint64_t used;     /* bytes in live blocks */
    uint64_t peak;     /* the most `used` has been */
    uint64_t limit;    /* budget in bytes; 0 = none */
    uint64_t refusals; /* allocations refused by the budget or by the allocator */
};

/* Fill `mem` with the C library's allocator and the given budget (bytes, 0 = none). */
void base_mem_init(struct base_mem *mem, uint64_t limit);

/* Uninitialised memory of `size` > 0 bytes, or NULL. Owned by the caller until base_free with the same size. */
void *base_alloc(struct base_mem *mem, size_t size);
/* The same, all zero. */
void *base_zalloc(struct base_mem *mem, size_t size);
/* Grow or shrink to `size` > 0; on NULL the old block is still valid. `block` may be NULL when `from` is 0. */
void *base_resize(struct base_mem *mem, void *block, size_t from, size_t size);
/* The same for an array whose members have `each` bytes; NULL as well when its size is beyond size_t. */
void *base_resize_array(struct base_mem *mem, void *block, size_t from, size_t count, size_t each);
/* Give a block back. NULL is ignored. */
void base_free(struct base_mem *mem, void *block, size_t size);

/* Counts `size` bytes that somebody else allocates for the engine: a library with a heap of its own. False: the budget
 * does not allow it. Each charge is credited once. */
bool base_charge(struct base_mem *mem, uint64_t size);
void base_credit(struct base_mem *mem, uint64_t size);

#define BASE_NEW(mem, type) ((type *)base_zalloc((mem), sizeof(type)))
#define BASE_DELETE(mem, ptr) base_free((mem), (ptr), sizeof *(ptr))

#endif
