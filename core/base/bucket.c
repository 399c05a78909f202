/* bucket.c - a token bucket.
 *
 * Knows one rate, one burst and when it was last asked. A rate of one token a second is one nano-token a nanosecond, so
 * the level is kept in nano-tokens and refilling is exact: no rounding, at any rate, however often it is asked.
 *
 * The invariant that matters: 0 <= level <= burst * 1e9, which fits 64 bits because burst <= 2^32.
 */
#include "base/bucket.h"

#include <assert.h>

#define NANO UINT64_C(1000000000)

void base_bucket_init(struct base_bucket *bucket, uint64_t rate, uint64_t burst, uint64_t now) {
    assert(burst <= UINT64_C(1) << 32);
    *bucket = (struct base_bucket){.rate = rate, .burst = burst, .level = burst * NANO, .last = now};
}

static void bucket_refill(struct base_bucket *bucket, uint64_t now) {
    if (now <= bucket->last)
        return;
    uint64_t elapsed = now - bucket->last;
    uint64_t missing = bucket->burst * NANO - bucket->level;
    bucket->last = now;
    /* Divided, not multiplied, for the question: rate * elapsed need not fit 64 bits. */
    if (bucket->rate && elapsed > missing / bucket->rate)
        bucket->level += missing;
    else
        bucket->level += bucket->rate * elapsed;
}

bool base_bucket_take(struct base_bucket *bucket, uint64_t count, uint64_t now) {
    bucket_refill(bucket, now);
    if (count > bucket->burst || count * NANO > bucket->level)
        return false;
    bucket->level -= count * NANO;
    return true;
}

void base_bucket_give(struct base_bucket *bucket, uint64_t count) {
    uint64_t missing = bucket->burst * NANO - bucket->level;
    bucket->level += count > missing / NANO ? missing : count * NANO;
}

uint64_t base_bucket_left(struct base_bucket *bucket, uint64_t now) {
    bucket_refill(bucket, now);
    return bucket->level / NANO;
}

void base_bucket_adjust(struct base_bucket *bucket, uint64_t rate, uint64_t burst) {
    assert(burst <= UINT64_C(1) << 32);
    if (!bucket->burst)
        bucket->level = burst * NANO;
    else if (bucket->level > burst * NANO)
        bucket->level = burst * NANO;
    bucket->rate = rate;
    bucket->burst = burst;
}
