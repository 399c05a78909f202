/* mem.c - memory that is given, counted and bounded.
 *
 * Knows the allocator it was given and how many bytes are out. Does not know what they are for, and keeps no list of
 * blocks: whoever frees says how much, which is what makes counting free of charge.
 *
 * The invariant that matters: `used` changes only after the allocator has done its part, so a refusal, by the budget or
 * by the allocator, leaves the count and every block as they were.
 */
#include "base/mem.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void *libc_alloc(void *user, size_t size) {
    (void)user;
    return malloc(size);
}

static void *libc_resize(void *user, void *block, size_t from, size_t size) {
    (void)user;
    (void)from;
    return realloc(block, size);
}

static void libc_release(void *user, void *block, size_t size) {
    (void)user;
    (void)size;
    free(block);
}

void base_mem_init(struct base_mem *mem, uint64_t limit) {
    *mem = (struct base_mem){.alloc = libc_alloc, .resize = libc_resize, .release = libc_release, .limit = limit};
}

/* Whether the budget has `more` bytes left. The limit may have been lowered below what is in use. */
static bool mem_allows(const struct base_mem *mem, uint64_t more) {
    return mem->limit == 0 || (mem->used <= mem->limit && more <= mem->limit - mem->used);
}

static void mem_count(struct base_mem *mem, uint64_t more) {
    mem->used += more;
    if (mem->used > mem->peak)
        mem->peak = mem->used;
}

void *base_alloc(struct base_mem *mem, size_t size) {
    assert(size > 0);
    void *block = mem_allows(mem, size) ? mem->alloc(mem->user, size) : NULL;
    if (!block) {
        mem->refusals++;
        return NULL;
    }
    mem_count(mem, size);
    return block;
}

void *base_zalloc(struct base_mem *mem, size_t size) {
    void *block = base_alloc(mem, size);
    if (block)
        memset(block, 0, size);
    return block;
}

void *base_resize(struct base_mem *mem, void *block, size_t from, size_t size) {
    if (!block) {
        assert(from == 0);
        return base_alloc(mem, size);
    }
    assert(size > 0 && from > 0 && from <= mem->used);
    /* Only growth asks the budget: giving back must be possible however little is left. */
    void *moved = size <= from || mem_allows(mem, size - from) ? mem->resize(mem->user, block, from, size) : NULL;
    if (!moved) {
        mem->refusals++;
        return NULL;
    }
    mem->used -= from;
    mem_count(mem, size);
    return moved;
}

void *base_resize_array(struct base_mem *mem, void *block, size_t from, size_t count, size_t each) {
    if (count > SIZE_MAX / each) {
        mem->refusals++;
        return NULL;
    }
    return base_resize(mem, block, from * each, count * each);
}

void base_free(struct base_mem *mem, void *block, size_t size) {
    if (!block)
        return;
    assert(size > 0 && size <= mem->used);
    mem->used -= size;
    mem->release(mem->user, block, size);
}

bool base_charge(struct base_mem *mem, uint64_t size) {
    if (!mem_allows(mem, size)) {
        mem->refusals++;
        return false;
    }
    mem_count(mem, size);
    return true;
}

void base_credit(struct base_mem *mem, uint64_t size) {
    assert(size <= mem->used);
    mem->used -= size;
}
