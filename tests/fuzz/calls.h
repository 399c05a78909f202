/* calls.h - random calls of weft.h: sequences that no program would make, with handles that live, have ended, are of
 * another kind or were never issued, from without and from within callbacks, between two engines that weft_pair
 * joins. */
#ifndef CALLS_H
#define CALLS_H

#include <stdbool.h>
#include <stdint.h>

struct calls_source {
    uint64_t (*next)(void *user); /* any number */
    bool (*more)(void *user);     /* false: the sequence is over */
    void *user;
};

/* One life of two engines: made, called as the source says, freed. Aborts when a result is none that weft.h knows, when
 * something inside says INTERNAL, or when a block of memory is left. Returns how many calls were made. */
uint64_t calls_run(const struct calls_source *source, uint64_t seed, uint64_t most);

#endif
