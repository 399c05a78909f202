/* stage.h - what nearly every scenario has: a client and a server, a link, a transfer, and what is expected of it. */
#ifndef SIM_STAGE_H
#define SIM_STAGE_H

#include "checker.h"
#include "scenario.h"
#include "transfer.h"

struct stage {
    struct sim_world *world;
    struct sim_dice dice; /* of the scenario's own decisions */
    struct transfer t;
    struct sim_link link; /* client to server, and back unless `back` has a delay */
    struct sim_link back;
    struct options client, server;
    bool large_chain;
    uint64_t limit; /* memory of each node; 0 = none */
    struct sim_node *c, *s;
    struct quic_config *cc, *sc;
};

/* Defaults: 10 ms, 100 Mbit/s, 1 MiB down, closed by the client when done. */
void stage_init(struct stage *stage, struct sim_world *world, uint64_t seed);
/* Loss, reordering, duplicates and corruption in both directions. */
void stage_bad_link(struct stage *stage, double loss);
/* Nodes, configurations, connection. */
void stage_open(struct stage *stage);
/* Runs for so long at most; true when both sides have heard of the end. */
bool stage_run(struct stage *stage, base_time span);
/* Runs `span` whatever happens. */
void stage_wait(struct stage *stage, base_time span);
/* Runs until the transfer is through and closed, and fails if it is not (after 10 simulated minutes) or ended
 * wrongly. */
void stage_finish(struct stage *stage);
/* Takes everything down. */
void stage_close(struct stage *stage);
/* All of it. */
void stage_play(struct stage *stage);
/* A random time of up to `most`. */
base_time stage_time(struct stage *stage, base_time most);
struct quic_conn *stage_server_conn(struct stage *stage); /* the first of the server's; NULL = none */

#endif
