/* paths.c - networks that change under a connection: outages, MTU black holes, rebinding, migration. */
#include "stage.h"

static struct sim_link *link_out(struct stage *stage) { return &stage->c->links[stage->s->index]; }
static struct sim_link *link_back(struct stage *stage) { return &stage->s->links[stage->c->index]; }

static void set_cut(struct stage *stage, bool cut) {
    if (stage->c->alive)
        link_out(stage)->cut = cut;
    if (stage->s->alive)
        link_back(stage)->cut = cut;
}

static void choose_direction(struct stage *stage, uint64_t seed) {
    if (seed % 3 == 1)
        stage->t = (struct transfer){.streams = 2, .upload = 500000, .download = 10, .close_when_done = true};
    if (seed % 3 == 2)
        stage->t = (struct transfer){
            .streams = 2, .upload = 300000, .download = 300000, .eager = true, .close_when_done = true};
}

static void run_outage(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    choose_direction(&stage, seed);
    stage.link.bits_per_second = 20000000;
    stage_open(&stage);
    stage_wait(&stage, 50 * BASE_MS + stage_time(&stage, 200 * BASE_MS));
    bool during = !stage.t.client_closed;
    set_cut(&stage, true);
    stage_wait(&stage, 5 * BASE_SEC);
    set_cut(&stage, false);
    base_time healed = world->now;
    stage_finish(&stage);
    if (during && stage.t.done_at > healed + 20 * BASE_SEC)
        sim_fail(world, "it took %.1f s after the outage", (double)(stage.t.done_at - healed) / 1e9);
    if (during && seed % 3 == 0 && !stage.t.server_stats.persistent_congestions)
        sim_fail(world, "5 s without an answer are no persistent congestion?");
    stage_close(&stage);
}

static void run_mtu(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    choose_direction(&stage, seed);
    stage.link.mtu = 1200 + (uint32_t)(seed % 253);
    stage.link.loss = (double)(seed % 2) * 0.02;
    stage_play(&stage);
}

static void run_mtu_shrinks(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    choose_direction(&stage, seed);
    stage.link.bits_per_second = 20000000;
    stage.link.loss = (double)(seed % 2) * 0.02;
    stage_open(&stage);
    stage_wait(&stage, 60 * BASE_MS + stage_time(&stage, 100 * BASE_MS));
    link_out(&stage)->mtu = link_back(&stage)->mtu = 1250;
    base_time shrunk = world->now;
    stage_finish(&stage);
    if (stage.t.done_at > shrunk + 30 * BASE_SEC)
        sim_fail(world, "it took %.1f s after the MTU shrank", (double)(stage.t.done_at - shrunk) / 1e9);
    stage_close(&stage);
}

/* ---- NATs ---- */

static void move(struct stage *stage, bool port_only) {
    struct quic_addr addr = stage->c->seen_as.family ? stage->c->seen_as : stage->c->socket.local;
    addr.port = (uint16_t)(1024 + sim_roll(&stage->dice) % 60000);
    if (!port_only)
        addr.ip[2] = (uint8_t)sim_roll(&stage->dice);
    stage->c->seen_as = addr;
}

static void run_rebinding(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    choose_direction(&stage, seed);
    stage_bad_link(&stage, (double)(seed % 4) * 0.02);
    stage.link.bits_per_second = 20000000;
    stage.client.keep_alive = 500 * BASE_MS; /* a client that only listens would not be found again */
    stage_open(&stage);
    unsigned moves = 1 + (unsigned)(seed % 5);
    for (unsigned i = 0; i < moves && !stage.t.client_closed; i++) {
        stage_wait(&stage, (i ? 0 : 60 * BASE_MS) + stage_time(&stage, 150 * BASE_MS));
        if (stage.t.client && stage.t.client->handshake_confirmed)
            move(&stage, sim_roll(&stage.dice) % 2);
    }
    stage_finish(&stage);
    stage_close(&stage);
}

/* An idle connection that is rebound, and then used again: the client speaks first. */
static void run_rebound_idle(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.t.streams = 1;
    stage.t.close_when_done = false;
    stage_open(&stage);
    stage_wait(&stage, 5 * BASE_SEC);
    if (!transfer_done(&stage.t))
        sim_fail(world, "the first transfer failed");
    move(&stage, seed % 2);
    stage.t.streams = 2;
    stage.t.close_when_done = true;
    if (stage.t.client)
        transfer_more(stage.c, &stage.t);
    stage_finish(&stage);
    stage_close(&stage);
}

/* Moves without end: every connection ID is used up and replaced. */
static void run_wanderer(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage_bad_link(&stage, seed % 2 ? 0.03 : 0);
    stage.link.bits_per_second = 4000000;
    stage.client.keep_alive = 100 * BASE_MS;
    stage.client.active_connection_id_limit = 2 + seed % 7;
    stage.server.active_connection_id_limit = 2 + seed % 5;
    stage.t.download = 3 << 20;
    stage_open(&stage);
    stage_wait(&stage, 100 * BASE_MS);
    for (unsigned i = 0; i < 60 && !stage.t.client_closed; i++) {
        move(&stage, seed % 3 == 0);
        stage_wait(&stage, stage_time(&stage, 150 * BASE_MS));
    }
    stage_finish(&stage);
    stage_close(&stage);
}

/* ---- idle ---- */

static void run_idle(struct sim_world *world, uint64_t seed) {
    static const base_time periods[] = {0, 2 * BASE_SEC, 5 * BASE_SEC, 30 * BASE_SEC};
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.client.max_idle_timeout = periods[seed % 4];
    stage.server.max_idle_timeout = periods[seed / 4 % 4];
    base_time a = stage.client.max_idle_timeout, b = stage.server.max_idle_timeout,
              least = !a      ? b
                      : !b    ? a
                      : a < b ? a
                              : b;
    stage.t.close_when_done = false;
    stage_open(&stage);
    stage_wait(&stage, BASE_SEC);
    base_time quiet = world->now; /* the last packet was a little earlier */
    if (!transfer_done(&stage.t))
        sim_fail(world, "the transfer failed");
    stage_run(&stage, 200 * BASE_SEC);
    if (!least) {
        if (stage.t.client_closed || stage.t.server_closed)
            sim_fail(world, "closed without an idle time-out: causes %u %u", stage.t.client_close.cause,
                     stage.t.server_close.cause);
    } else if (!stage.t.client_closed || !stage.t.server_closed) {
        sim_fail(world, "not closed by the idle time-out");
    } else if (stage.t.client_close.cause != QUIC_CAUSE_IDLE || stage.t.server_close.cause != QUIC_CAUSE_IDLE) {
        sim_fail(world, "closed with causes %u %u", stage.t.client_close.cause, stage.t.server_close.cause);
    } else if (world->now > quiet + least || world->now + BASE_SEC < quiet + least) {
        sim_fail(world, "closed %.3f s after the last packet, not %.3f", (double)(world->now - quiet) / 1e9,
                 (double)least / 1e9);
    }
    stage_close(&stage);
}

static void run_keep_alive(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.client.max_idle_timeout = stage.server.max_idle_timeout = 3 * BASE_SEC;
    *(seed % 2 ? &stage.client.keep_alive : &stage.server.keep_alive) = BASE_SEC;
    stage.link.loss = (double)(seed % 3) * 0.1;
    stage.t.close_when_done = false;
    stage_open(&stage);
    stage_wait(&stage, 100 * BASE_SEC);
    if (stage.t.client_closed || stage.t.server_closed)
        sim_fail(world, "closed in spite of keep-alive: causes %u %u", stage.t.client_close.cause,
                 stage.t.server_close.cause);
    stage_close(&stage);
}

/* ---- death ---- */

static void run_dead_peer(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    choose_direction(&stage, seed);
    stage.link.bits_per_second = 10000000;
    stage_open(&stage);
    stage_wait(&stage, 50 * BASE_MS + stage_time(&stage, 200 * BASE_MS));
    bool client = seed % 2;
    sim_node_remove(client ? stage.c : stage.s);
    *(client ? &stage.t.client_closed : &stage.t.server_closed) = true;
    stage_run(&stage, 300 * BASE_SEC);
    uint8_t cause = client ? stage.t.server_close.cause : stage.t.client_close.cause;
    if (!stage.t.client_closed || !stage.t.server_closed || cause != QUIC_CAUSE_IDLE)
        sim_fail(world, "the survivor closed: %d %d, cause %u", stage.t.client_closed, stage.t.server_closed, cause);
    stage_close(&stage);
}

static void run_restart(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    choose_direction(&stage, seed);
    stage.link.bits_per_second = 10000000;
    stage.link.loss = (double)(seed % 2) * 0.05;
    stage_open(&stage);
    stage_wait(&stage, 70 * BASE_MS + stage_time(&stage, 200 * BASE_MS));
    base_time at = world->now;
    if (stage.t.client_closed || !stage.t.client || !stage.t.client->handshake_confirmed) {
        stage_close(&stage);
        return;
    }
    sim_node_restart(stage.s);
    stage.t.server_closed = true;
    stage_run(&stage, 300 * BASE_SEC);
    if (!stage.t.client_closed || stage.t.client_close.cause != QUIC_CAUSE_RESET)
        sim_fail(world, "the client closed: %d, cause %u", stage.t.client_closed, stage.t.client_close.cause);
    else if (world->now > at + 10 * BASE_SEC)
        sim_fail(world, "the reset was noticed after %.1f s", (double)(world->now - at) / 1e9);
    stage_close(&stage);
}

static const struct scenario list[] = {
    {"outage", "5 s without a network in the middle of a transfer", 40, run_outage},
    {"mtu", "paths that take datagrams of 1200 to 1452 bytes", 40, run_mtu},
    {"mtu-shrinks", "the path's MTU falls to 1250 in the middle of a transfer", 40, run_mtu_shrinks},
    {"rebinding", "a NAT gives the client new ports and addresses in the middle of a transfer", 120, run_rebinding},
    {"rebound-idle", "a NAT forgets an idle client, which then goes on", 20, run_rebound_idle},
    {"wanderer", "60 moves: connection IDs are retired and replaced", 20, run_wanderer},
    {"idle", "idle time-outs of both sides, equal, different and none", 16, run_idle},
    {"keep-alive", "either side's keep-alive holds an idle connection", 12, run_keep_alive},
    {"dead-peer", "the other side dies without a word", 20, run_dead_peer},
    {"restart", "the server starts again with the fleet's secret: its stateless reset ends the connection at once", 30,
     run_restart},
};
SCENARIOS(scenarios_paths, list);
