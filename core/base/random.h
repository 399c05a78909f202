/* random.h - where random bytes come from: injected, so that one seed replays a whole network. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct base_random {
    void (*fill)(void *user, uint8_t *out, size_t len); /* must not fail; unpredictable outside of tests */
    void *user;
};

static inline void base_random_fill(const struct base_random *random, void *out, size_t len) {
    random->fill(random->user, (uint8_t *)out, len);
}

static inline uint64_t base_random_u64(const struct base_random *random) {
    uint64_t value;
    random->fill(random->user, (uint8_t *)&value, sizeof value);
    return value;
}

#endif
