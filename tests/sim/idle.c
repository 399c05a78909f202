/* idle.c - what a connection costs that says nothing: a server may hold a million of them. */
#include <stdio.h>

#include "stage.h"

#define CONNS 16u
#define MOST 11500u /* bytes for each, of everything the engine allocates; nearly half are keys */

/* One client opens many connections, each transfers something and then is silent. */
static void run_bytes(struct sim_world *world, uint64_t seed) {
    static struct transfer t[CONNS];
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.t.close_when_done = false;
    stage.server.congestion_control = seed % 3;
    stage_open(&stage);
    stage_wait(&stage, 4 * BASE_SEC);
    uint64_t one = stage.s->mem.used, busiest = 0;
    for (unsigned i = 0; i < CONNS; i++) {
        t[i] = (struct transfer){.streams = 20, .upload = 20000, .download = 50000};
        t[i].client = sim_connect(stage.c, stage.s, stage.cc, &t[i]);
        stage.c->user = &t[i];
        stage_wait(&stage, BASE_SEC);
        busiest = stage.s->mem.used - one > busiest ? stage.s->mem.used - one : busiest;
        if (!transfer_done(&t[i]))
            sim_fail(world, "transfer %u: %u of 20 streams", i, t[i].finished);
    }
    stage_wait(&stage, 4 * BASE_SEC);
    uint64_t each = (stage.s->mem.used - one) / CONNS;
    printf("    %llu bytes for an idle connection of a server, %zu of them struct quic_conn (busiest: %llu)\n",
           (unsigned long long)each, sizeof(struct quic_conn), (unsigned long long)busiest / CONNS);
    if (each > MOST)
        sim_fail(world, "an idle connection takes %llu bytes, %u at most", (unsigned long long)each, MOST);
    for (unsigned i = 0; i < CONNS; i++) { /* and each works as before */
        t[i].streams += 5;
        stage.c->user = &t[i];
        transfer_more(stage.c, &t[i]);
        stage_wait(&stage, BASE_SEC);
        if (!transfer_done(&t[i]))
            sim_fail(world, "transfer %u does not go on: %u of 25 streams", i, t[i].finished);
    }
    stage.c->user = &stage.t;
    stage_close(&stage);
}

/* Once the memory is given back nothing happens any more, until the idle time-out: no timer that runs for nothing. */
static void run_still(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.t.close_when_done = false;
    stage_open(&stage);
    stage_wait(&stage, 4 * BASE_SEC);
    uint64_t turns = world->turns;
    stage_wait(&stage, 20 * BASE_SEC);
    if (world->turns - turns > 4)
        sim_fail(world, "%llu turns while nothing happens", (unsigned long long)(world->turns - turns));
    stage_close(&stage);
}

static const struct scenario list[] = {
    {"idle-bytes", "an idle connection of a server is small, and works when it is needed again", 3, run_bytes},
    {"idle-still", "an idle connection wakes nobody", 4, run_still},
};
SCENARIOS(scenarios_idle, list);
