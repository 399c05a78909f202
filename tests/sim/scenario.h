/* scenario.h - one thing that must hold for every seed. */
#ifndef SIM_SCENARIO_H
#define SIM_SCENARIO_H

#include "world.h"

struct scenario {
    const char *name;
    const char *text;                                    /* what must hold, for people */
    unsigned seeds;                                      /* how many seeds `make test` runs */
    void (*run)(struct sim_world *world, uint64_t seed); /* reports by sim_fail */
};

struct scenarios {
    const struct scenario *list;
    size_t count;
};
#define SCENARIOS(name, array) const struct scenarios name = {array, sizeof array / sizeof *array}

extern const struct scenarios scenarios_basics, scenarios_handshake, scenarios_paths, scenarios_attacks,
    scenarios_streams, scenarios_ends, scenarios_keys, scenarios_speed, scenarios_memory, scenarios_versions,
    scenarios_early, scenarios_ext, scenarios_ecn, scenarios_congestion, scenarios_idle, scenarios_migration,
    scenarios_mtu, scenarios_siege, scenarios_attack_conn, scenarios_crowd, scenarios_resume;

#endif
