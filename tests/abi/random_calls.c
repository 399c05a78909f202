/* random_calls.c - calls of weft.h at random, by seed, in many short lives of two engines (tests/fuzz/calls.c).
 *
 *     random_calls [count [seed]]       200,000 calls from seed 1 unless given
 *
 * A finding is a crash, an abort with a line about it, or a sanitizer's report; the life's seed is printed before. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "../fuzz/calls.h"

#define LIFE 4000u /* calls in one life */

static uint64_t dice;

static uint64_t on_next(void *user) { /* splitmix64 */
    (void)user;
    uint64_t z = dice += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) >> 8;
}

static bool on_more(void *user) {
    (void)user;
    return true;
}

int main(int argc, char **argv) {
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 200000, seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    const struct calls_source source = {on_next, on_more, NULL};
    for (uint64_t made = 0; made < count; seed++) {
        uint64_t left = count - made;
        dice = seed;
        fprintf(stderr, "\rseed %" PRIu64 " ", seed);
        made += calls_run(&source, seed, left < LIFE ? left : LIFE);
    }
    fprintf(stderr, "\r%" PRIu64 " calls\n1 passed, 0 failed\n", count);
    return 0;
}
