/* memory.c - every allocation fails once, and for good: no crash, no leak, no connection that stays; and the same seed
 * does the same again. */
#include "chaos.h"
#include "stage.h"

static void run_failing(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, 1 + seed / 4000);
    uint64_t number = (seed - 1) / 4 % 1000 + 1;
    world->fail_node = (seed - 1) % 2;
    world->fail_on = (seed - 1) / 2 % 2;
    world->fail_at = number;
    stage.t = (struct transfer){.streams = 3, .upload = 3000, .download = 30000, .close_when_done = true};
    stage.client.handshake_timeout = stage.server.handshake_timeout = 5 * BASE_SEC;
    stage.link.loss = (double)(seed / 4000 % 3) * 0.05;
    stage_open(&stage);
    stage_run(&stage, 120 * BASE_SEC);
    struct sim_node *node = world->fail_node ? stage.s : stage.c;
    bool failed = node->allocations >= number;
    if (!failed && !transfer_done(&stage.t))
        sim_fail(world, "nothing failed, but the transfer is not done");
    stage_wait(&stage, 120 * BASE_SEC);
    for (unsigned i = 0; i < 2; i++) {
        const struct sim_node *at = i ? stage.s : stage.c;
        /* a peer without any memory for good goes on refusing: only failures that pass must leave nothing */
        if (at->alive && at->endpoint.conn_count && !world->fail_on)
            sim_fail(world, "node %u: a connection stays for good", i);
    }
    stage_close(&stage);
}

/* The same with an application that does everything, and budgets that are too small. */
static void run_small_budget(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.limit = 200000 + sim_roll(&stage.dice) % 1500000;
    stage.client.handshake_timeout = stage.server.handshake_timeout = 5 * BASE_SEC;
    stage.t =
        (struct transfer){.streams = 40, .upload = 30000, .download = 30000, .eager = true, .close_when_done = true};
    world->fail_at = UINT64_MAX; /* whatever fails, fails cleanly */
    world->fail_node = (unsigned)(seed % 2);
    stage_open(&stage);
    stage_run(&stage, 100 * BASE_SEC);
    stage_wait(&stage, 100 * BASE_SEC);
    for (unsigned i = 0; i < 2; i++) {
        const struct sim_node *at = i ? stage.s : stage.c;
        if (at->alive && at->mem.peak > stage.limit)
            sim_fail(world, "node %u held %llu of %llu bytes", i, (unsigned long long)at->mem.peak,
                     (unsigned long long)stage.limit);
    }
    stage_close(&stage);
}

static uint64_t hash_of_run(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage_bad_link(&stage, 0.05);
    stage.t.download = 200000;
    stage.client.handshake_timeout = stage.server.handshake_timeout = 60 * BASE_SEC;
    stage_play(&stage);
    return world->checker->hash;
}

static void run_determinism(struct sim_world *world, uint64_t seed) {
    uint64_t first = hash_of_run(world, seed);
    sim_world_clear(world);
    sim_world_init(world, seed + 1);
    uint64_t other = hash_of_run(world, seed + 1);
    sim_world_clear(world);
    sim_world_init(world, seed);
    uint64_t second = hash_of_run(world, seed);
    if (first != second)
        sim_fail(world, "two runs of a seed differ: %016llx, %016llx", (unsigned long long)first,
                 (unsigned long long)second);
    if (first == other)
        sim_fail(world, "two seeds do the same");
}

static const struct scenario list[] = {
    {"failing-allocator", "each allocation of either side fails, once or from then on", 1000, run_failing},
    {"small-budget", "memory budgets of 0.2 to 1.7 MB", 60, run_small_budget},
    {"determinism", "the same seed sends the same datagrams, byte for byte", 10, run_determinism},
};
SCENARIOS(scenarios_memory, list);
