/* toolkit.h - what the tests of base/ share: numbers that look random and replay, and an allocator that trusts nobody.
 *
 * The strict allocator remembers each block's size and checks it when the block comes back, moves every block that is
 * resized, fills what it gives and what it takes with junk, and can be told to fail from the n-th call on.
 */
#ifndef TOOLKIT_H
#define TOOLKIT_H

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "unit.h"

struct toolkit_dice {
    uint64_t state;
};

/* splitmix64 */
static inline uint64_t toolkit_roll(struct toolkit_dice *dice) {
    uint64_t z = dice->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* 0 .. below - 1 */
static inline uint32_t toolkit_pick(struct toolkit_dice *dice, uint32_t below) {
    return (uint32_t)(toolkit_roll(dice) % below);
}

struct toolkit_heap {
    uint64_t blocks, bytes; /* that are out now */
    uint64_t calls;         /* allocations asked for */
    int64_t left;           /* calls that will still succeed; < 0 = all */
};

#define TOOLKIT_FRONT 16u

static inline void *toolkit_alloc(void *user, size_t size) {
    struct toolkit_heap *heap = (struct toolkit_heap *)user;
    heap->calls++;
    if (heap->left == 0)
        return NULL;
    if (heap->left > 0)
        heap->left--;
    uint8_t *front = (uint8_t *)malloc(TOOLKIT_FRONT + size);
    ck_assert_ptr_nonnull(front);
    memcpy(front, &size, sizeof size);
    memset(front + TOOLKIT_FRONT, 0xa5, size);
    heap->blocks++;
    heap->bytes += size;
    return front + TOOLKIT_FRONT;
}

static inline void toolkit_release(void *user, void *block, size_t size) {
    struct toolkit_heap *heap = (struct toolkit_heap *)user;
    uint8_t *front = (uint8_t *)block - TOOLKIT_FRONT;
    size_t real;
    memcpy(&real, front, sizeof real);
    ck_assert_uint_eq(real, size);
    memset(block, 0x5a, size);
    free(front);
    heap->blocks--;
    heap->bytes -= size;
}

static inline void *toolkit_resize(void *user, void *block, size_t from, size_t size) {
    void *moved = toolkit_alloc(user, size);
    if (!moved)
        return NULL;
    memcpy(moved, block, from < size ? from : size);
    toolkit_release(user, block, from);
    return moved;
}

static inline struct base_mem toolkit_mem(struct toolkit_heap *heap, uint64_t limit) {
    *heap = (struct toolkit_heap){.left = -1};
    return (struct base_mem){
        .alloc = toolkit_alloc, .resize = toolkit_resize, .release = toolkit_release, .user = heap, .limit = limit};
}

/* At the end of a test: nothing is out, and the count agrees. */
static inline void toolkit_all_back(const struct toolkit_heap *heap, const struct base_mem *mem) {
    ck_assert_uint_eq(heap->blocks, 0);
    ck_assert_uint_eq(heap->bytes, 0);
    ck_assert_uint_eq(mem->used, 0);
}

/* A suite of one case, from a table of tests. Set-up and tear-down go around each test; they may be NULL. */
static inline Suite *toolkit_suite(const char *name, const TTest *const *tests, size_t count, SFun setup,
                                   SFun teardown) {
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}

#define TOOLKIT_SUITE_WITH(name, tests, setup, teardown) \
    toolkit_suite((name), (tests), sizeof(tests) / sizeof *(tests), (setup), (teardown))
#define TOOLKIT_SUITE(name, tests) TOOLKIT_SUITE_WITH(name, tests, NULL, NULL)

#endif
