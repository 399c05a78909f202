/* No byte is drawn twice, not by two processes of one fork either; wolfSSL draws here. */
#include "../../../core/crypto/tls_impl.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#include <wolfssl/wolfcrypt/random.h>

static void setup(void) { ck_assert(crypto_init()); }
static void teardown(void) { crypto_cleanup(); }

START_TEST(nothing_is_drawn_twice)
{
    enum { DRAWS = 1024, SIZE = 8 }; /* sixteen times what is kept */
    static uint64_t drawn[DRAWS];
    unsigned twice = 0;
    for (size_t i = 0; i < DRAWS; i++) {
        ck_assert(crypto_random((uint8_t *)&drawn[i], SIZE));
        for (size_t j = 0; j < i; j++)
            twice += drawn[i] == drawn[j];
    }
    ck_assert_uint_eq(twice, 0);
}
END_TEST

/* Lengths around what is kept at a time: all of it is written, none beside it. */
START_TEST(any_length)
{
    for (size_t len = 0; len < 1500; len += 1 + len / 9) {
        uint8_t out[1502], seen[1500] = {0};
        for (int round = 0; round < 8; round++) {
            memset(out, 0xa5, sizeof out);
            ck_assert(crypto_random(out + 1, len));
            ck_assert(out[0] == 0xa5 && out[len + 1] == 0xa5);
            for (size_t i = 0; i < len; i++)
                seen[i] |= out[1 + i] ^ 0xa5;
        }
        ck_assert_ptr_null(memchr(seen, 0, len)); /* wrong once in 2^64 for each byte */
    }
}
END_TEST

static void child_draws(int to, unsigned generations) {
    uint8_t drawn[32];
    if (fork() != 0) { /* its parent only waits */
        int status;
        ck_assert(wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
        return;
    }
    if (generations)
        child_draws(to, generations - 1);
    bool ok = crypto_random(drawn, sizeof drawn) && write(to, drawn, sizeof drawn) == (ssize_t)sizeof drawn;
    _exit(ok ? 0 : 1);
}

/* What was kept in the parent is in its children, and theirs, as well. */
START_TEST(a_fork_draws_for_itself)
{
    enum { CHILDREN = 3, GENERATIONS = 2, ALL = CHILDREN * (GENERATIONS + 1) + 1 };
    uint8_t drawn[ALL][32];
    int pipes[2];
    ck_assert_int_eq(pipe(pipes), 0);
    ck_assert(crypto_random(drawn[0], 1)); /* something is kept */
    for (int i = 0; i < CHILDREN; i++)
        child_draws(pipes[1], GENERATIONS);
    ck_assert(crypto_random(drawn[0], sizeof drawn[0]));
    for (int i = 1; i < ALL; i++)
        ck_assert_int_eq(read(pipes[0], drawn[i], sizeof drawn[i]), sizeof drawn[i]);
    for (int i = 0; i < ALL; i++)
        for (int j = 0; j < i; j++)
            ck_assert_mem_ne(drawn[i], drawn[j], sizeof drawn[i]);
    close(pipes[0]);
    close(pipes[1]);
}
END_TEST

START_TEST(a_simulation_draws_the_same)
{
    uint8_t seed[32] = {7}, first[100], second[100];
    crypto_deterministic(seed);
    ck_assert(crypto_random(first, sizeof first));
    crypto_deterministic(seed);
    ck_assert(crypto_random(second, sizeof second));
    ck_assert_mem_eq(first, second, sizeof first);
    ck_assert(crypto_random(second, sizeof second));
    ck_assert_mem_ne(first, second, sizeof first);
    crypto_deterministic(NULL);
    ck_assert(crypto_random(second, sizeof second));
    ck_assert_mem_ne(first, second, sizeof first);
}
END_TEST

/* With a wolfSSL of our own a generator is no more than a name for crypto_random. */
START_TEST(wolfssl_draws_here)
{
    uint8_t seed[32] = {9}, ours[48], wolfs[48];
    WC_RNG rng;
    crypto_deterministic(seed);
    ck_assert(crypto_random(ours, sizeof ours));
    crypto_deterministic(seed);
    ck_assert_int_eq(wc_InitRng(&rng), 0);
    ck_assert_int_eq(wc_RNG_GenerateBlock(&rng, wolfs, sizeof wolfs), 0);
    wc_FreeRng(&rng);
    crypto_deterministic(NULL);
#ifdef CUSTOM_RAND_GENERATE_BLOCK
    ck_assert_mem_eq(ours, wolfs, sizeof ours);
#else
    ck_assert_mem_ne(ours, wolfs, sizeof ours);
#endif
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("random");
    TCase *tests = tcase_create("random");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, nothing_is_drawn_twice);
    tcase_add_test(tests, any_length);
    tcase_add_test(tests, a_fork_draws_for_itself);
    tcase_add_test(tests, a_simulation_draws_the_same);
    tcase_add_test(tests, wolfssl_draws_here);
    suite_add_tcase(suite, tests);
    return suite;
}
