/* test_tls_heap.c - the memory of TLS sessions: what wolfSSL's allocator gives, charges and takes back. */
#include "../../../core/crypto/tls_impl.h"
#include "unit.h"

#include <pthread.h>

#ifdef WEFT_OWN_WOLFSSL

#define OVERHEAD 16384u /* of a heap, and of slabs that are not full */

static struct base_mem mem;
static struct tls_heap *heap;

static void setup(void) {
    ck_assert(crypto_init());
    base_mem_init(&mem, 0);
    heap = tls_heap_new(&mem);
    ck_assert_ptr_nonnull(heap);
    tls_heap_enter(heap);
}

static void end(void) {
    tls_heap_enter(NULL);
    tls_heap_free(heap);
    heap = NULL;
    ck_assert(mem.used == 0);
}

static unsigned pick(uint32_t *state, unsigned below) {
    return (*state = *state * 1664525u + 1013904223u) / 256 % below;
}

/* Blocks of all sizes come and go: each is aligned and its owner's alone, and the count follows them. */
START_TEST(blocks_are_their_owners)
{
    enum { BLOCKS = 200 };
    uint8_t *blocks[BLOCKS] = {NULL};
    size_t sizes[BLOCKS] = {0}, live = 0;
    uint32_t dice = 5;
    for (unsigned turn = 0; turn < 20000; turn++) {
        unsigned i = pick(&dice, BLOCKS);
        for (size_t b = 0; b < sizes[i]; b++)
            ck_assert_uint_eq(blocks[i][b], (uint8_t)(i + sizes[i]));
        live -= sizes[i];
        sizes[i] = pick(&dice, turn % 3 ? 600 : 40) + 1;
        if (turn % 5 == 0) {
            blocks[i] = wolfSSL_Realloc(blocks[i], sizes[i]);
        } else {
            wolfSSL_Free(blocks[i]);
            blocks[i] = wolfSSL_Malloc(sizes[i]);
        }
        ck_assert_ptr_nonnull(blocks[i]);
        ck_assert_uint_eq((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], (uint8_t)(i + sizes[i]), sizes[i]);
        live += sizes[i];
        ck_assert_uint_eq(mem.used, tls_heap_held(heap));
        ck_assert_uint_ge(mem.used, live);
    }
    for (unsigned i = 0; i < BLOCKS; i++)
        wolfSSL_Free(blocks[i]);
    end();
}
END_TEST

/* What was given back is used again: a session may go on for as long as it likes. */
START_TEST(what_came_back_is_used_again)
{
    uint64_t before = mem.used;
    for (unsigned turn = 0; turn < 20000; turn++) {
        void *a = wolfSSL_Malloc(turn % 900 + 1), *b = wolfSSL_Malloc(turn % 7 + 1);
        wolfSSL_Free(turn % 2 ? a : b);
        wolfSSL_Free(turn % 2 ? b : a);
    }
    ck_assert_uint_le(mem.used, before + 4 * OVERHEAD);
    uint64_t after = mem.used;
    for (unsigned turn = 0; turn < 2000; turn++)
        wolfSSL_Free(wolfSSL_Malloc(turn % 900 + 1));
    ck_assert_uint_eq(mem.used, after);
    end();
}
END_TEST

/* A handshake's worth of small blocks: of the heap itself and a slab or so, not one by one. */
START_TEST(small_blocks_cost_little_more)
{
    void *blocks[100];
    size_t sum = 0;
    for (unsigned i = 0; i < 100; i++) {
        blocks[i] = wolfSSL_Malloc(24 + i);
        sum += 24 + i + 16;
    }
    ck_assert_uint_lt(mem.used, sum + OVERHEAD / 2);
    for (unsigned i = 0; i < 100; i++)
        wolfSSL_Free(blocks[i]);
    end();
}
END_TEST

/* Small and large ones, and a session as a whole; what was given stays within. */
START_TEST(a_budget_refuses)
{
    enum { MOST = 1000 };
    void *blocks[MOST];
    unsigned count = 0;
    mem.limit = mem.used + 8000;
    ck_assert_ptr_null(wolfSSL_Malloc(9000));
    ck_assert_ptr_null(wolfSSL_Malloc(SIZE_MAX));
    ck_assert_ptr_null(wolfSSL_Malloc(SIZE_MAX - 20));
    while (count < MOST && (blocks[count] = wolfSSL_Malloc(100)))
        count++;
    ck_assert_uint_ge(count, 50);
    ck_assert_uint_le(count, 130);
    ck_assert_uint_le(mem.used, mem.limit);
    ck_assert_ptr_null(tls_heap_new(&mem));
    wolfSSL_Free(blocks[--count]);
    ck_assert_ptr_nonnull(blocks[count] = wolfSSL_Malloc(100));
    for (count++; count; count--)
        wolfSSL_Free(blocks[count - 1]);
    end();
}
END_TEST

static void *free_elsewhere(void *blocks) {
    for (void **at = blocks; *at; at++)
        wolfSSL_Free(*at);
    return NULL;
}

static void free_by_thread(void **blocks) {
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, free_elsewhere, blocks), 0);
    pthread_join(thread, NULL);
}

/* Blocks may outlive their session, and be freed by anybody, before and after; who frees the last one frees the heap
 * (LeakSanitizer sees to that). */
START_TEST(blocks_may_outlive_their_session)
{
    void *early[] = {wolfSSL_Malloc(40), wolfSSL_Malloc(4000), NULL};
    void *late[] = {wolfSSL_Malloc(50), wolfSSL_Malloc(5000), NULL}, *mine = wolfSSL_Malloc(60);
    memset(late[0], 1, 50);
    memset(late[1], 1, 5000);
    uint64_t before = mem.used;
    free_by_thread(early);
    ck_assert_uint_eq(mem.used, before); /* charged until the session ends */
    wolfSSL_Free(mine);
    tls_heap_enter(NULL);
    tls_heap_free(heap);
    ck_assert(mem.used == 0);
    for (unsigned i = 0; i < 50; i++)
        ck_assert_uint_eq(((uint8_t *)late[0])[i], 1);
    if (_i)
        free_by_thread(late);
    else
        free_elsewhere(late);
    ck_assert(mem.used == 0);
}
END_TEST

/* All were freed by others before it ended: then its end frees the heap. */
START_TEST(a_session_may_be_the_last)
{
    void *blocks[] = {wolfSSL_Malloc(40), wolfSSL_Malloc(600), NULL};
    free_by_thread(blocks);
    end();
}
END_TEST

/* One session's blocks freed while another is worked on, and blocks that are nobody's. */
START_TEST(sessions_do_not_mix)
{
    struct base_mem other_mem;
    base_mem_init(&other_mem, 0);
    struct tls_heap *other = tls_heap_new(&other_mem);
    void *a = wolfSSL_Malloc(100), *b = wolfSSL_Malloc(1000);
    uint64_t used = mem.used, other_used = other_mem.used;
    ck_assert_ptr_eq(tls_heap_enter(other), heap);
    wolfSSL_Free(a);
    wolfSSL_Free(b);
    ck_assert_uint_eq(mem.used, used);
    ck_assert_uint_eq(other_mem.used, other_used);
    void *c = wolfSSL_Malloc(100);
    tls_heap_enter(NULL);
    void *nobodys = wolfSSL_Malloc(100);
    ck_assert_uint_eq(mem.used, used);
    tls_heap_enter(heap);
    wolfSSL_Free(nobodys);
    wolfSSL_Free(c);
    ck_assert_uint_eq(mem.used, used);
    end();
    tls_heap_free(other);
    ck_assert(other_mem.used == 0);
}
END_TEST

#endif

Suite *unit_suite(void) {
    Suite *suite = suite_create("crypto/tls_heap");
    TCase *tcase = tcase_create("heap");
#ifdef WEFT_OWN_WOLFSSL /* else its allocator is not ours */
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, blocks_are_their_owners);
    tcase_add_test(tcase, what_came_back_is_used_again);
    tcase_add_test(tcase, small_blocks_cost_little_more);
    tcase_add_test(tcase, a_budget_refuses);
    tcase_add_loop_test(tcase, blocks_may_outlive_their_session, 0, 2);
    tcase_add_test(tcase, a_session_may_be_the_last);
    tcase_add_test(tcase, sessions_do_not_mix);
#endif
    suite_add_tcase(suite, tcase);
    return suite;
}
