/* scenario.h - one thing that must hold for every seed. */
#ifndef SIM_SCENARIO_H
#define SIM_SCENARIO_H

#include "world.h"

struct scenario {
    const char *name;
    const char *text;   /* what must hold, for people */
    unsigned seeds;     /* how many seeds `make test` runs */
    void (*run)(struct sim_world *world, uint64_t seed); /* reports by sim_fail */
};

extern const struct scenario scenarios[];
extern const size_t scenario_count;

#endif
