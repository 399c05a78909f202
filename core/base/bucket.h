/* bucket.h - a token bucket: how often something may happen, with room for a burst.
 * Invariant: 0 <= tokens <= burst (in units of 1/1e9 token, so that slow rates do not round to nothing). */
#ifndef BASE_BUCKET_H
#define BASE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct base_bucket {
    uint64_t rate;  /* tokens a second */
    uint64_t burst; /* most tokens held, <= 2^32 */
    uint64_t level; /* nano-tokens */
    uint64_t last;  /* nanoseconds */
};

/* A full bucket. */
void base_bucket_init(struct base_bucket *bucket, uint64_t rate, uint64_t burst, uint64_t now);
/* Takes `count` tokens if they are there; false (and nothing taken) if not. `now` in ns;
 * where it goes back, no time has passed. */
bool base_bucket_take(struct base_bucket *bucket, uint64_t count, uint64_t now);
/* Gives back what was taken and not used; what does not fit is lost. */
void base_bucket_give(struct base_bucket *bucket, uint64_t count);
/* Whole tokens that are there. */
uint64_t base_bucket_left(struct base_bucket *bucket, uint64_t now);
/* Another rate and burst from now on. A bucket that had no burst at all is full, room that is added to one is empty. */
void base_bucket_adjust(struct base_bucket *bucket, uint64_t rate, uint64_t burst);

#endif
