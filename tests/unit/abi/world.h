/* world.h - two engines in one process: a client and a server with external I/O, a clock that the test moves, and a
 * wire without loss between them. Everything goes through weft.h. */
#ifndef WORLD_H
#define WORLD_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <weft/weft.h>

#include "unit.h"

#define WORLD_EVENTS 4096

struct world_memory {        /* an allocator that fails at will */
    uint64_t calls, fail_at; /* 0: never */
    int64_t blocks;
};

struct world_log { /* events that came in batches, in order */
    weft_event events[WORLD_EVENTS];
    uint32_t count;
};

struct world {
    uint64_t now;
    weft_engine client, server;
    weft_config client_config, server_config;
    weft_listener listener;
    struct world_memory memory;
    struct world_log client_log, server_log;
};

extern const weft_addr world_client_addr, world_server_addr;

/* Engines, configurations that trust each other, a listener on 192.0.2.2:443. Without tables of callbacks, so all
 * events come in batches to the logs. */
void world_open(struct world *world);
/* The same in steps, for tests that want other parameters. */
void world_configs(struct world *world);
weft_engine world_engine(struct world *world, struct world_log *log);
void world_close(struct world *world);
/* Moves datagrams and time until neither side has anything to do before `until` (the world's clock). */
void world_run(struct world *world, uint64_t until);
/* One exchange of what both have to say; true when there was something. */
bool world_step(struct world *world);
/* Connects and runs until both sides are connected. */
weft_conn world_connect(struct world *world, const weft_connect_params *params);
/* The first event of this type in a log, from *from on, which then is behind it; NULL: none. */
const weft_event *world_find(const struct world_log *log, uint32_t type, uint32_t *from);
uint32_t world_count(const struct world_log *log, uint32_t type);

#endif
