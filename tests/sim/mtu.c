/* mtu.c - how large datagrams may be: found, as large as path and interface allow; noticed, when the path takes less
 * than it did; found again, when it takes more. */
#include "stage.h"

static uint32_t interface_takes; /* of the run in progress */

static uint32_t payload_size(struct quic_socket *socket, const struct quic_addr *remote) {
    (void)socket;
    (void)remote;
    return interface_takes;
}
static const struct quic_socket_ops ops = {.payload_size = payload_size};

static struct quic_path *server_path(struct stage *stage) {
    struct quic_conn *server = stage_server_conn(stage);
    return server && server->state < QUIC_CONN_CLOSING ? quic_path_active(server) : NULL;
}

static void end(struct stage *stage) {
    if (stage->t.client && stage->t.client->state < QUIC_CONN_CLOSING)
        quic_conn_close(stage->t.client, true, 0, "done", 4, stage->world->now);
    stage->t.close_when_done = true;
    stage_finish(stage);
    stage_close(stage);
}

/* A path and an interface of any size: the smaller of both is found, but for a few bytes. */
static void run_jumbo(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.link.mtu = 1200 + (uint32_t)(sim_roll(&stage.dice) % (seed % 2 ? 64300 : 8000));
    stage.link.bits_per_second = 1000000000;
    interface_takes = seed % 4 == 3 ? 0 : 1500 + (uint32_t)(sim_roll(&stage.dice) % 64000);
    stage.server.send_udp_payload_size = 0;
    stage.t.close_when_done = false;
    stage.t.download = 4 << 20;
    stage_open(&stage);
    stage.s->socket.ops = &ops;
    stage_wait(&stage, 20 * BASE_SEC);
    uint32_t most = interface_takes ? interface_takes : 1452;
    most = most > QUIC_MTU_MOST ? QUIC_MTU_MOST : most;
    most = most > stage.link.mtu ? stage.link.mtu : most;
    struct quic_path *path = server_path(&stage);
    if (!path || path->mtu > most || path->mtu + 16 < most)
        sim_fail(world, "datagrams of %u bytes where %u pass", path ? path->mtu : 0, most);
    if (!transfer_done(&stage.t))
        sim_fail(world, "the transfer failed");
    end(&stage);
}

/* The path takes less from now on: that is noticed in a few round trips, and what it does take is found. */
static void run_hole(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.link.bits_per_second = 20000000;
    stage.link.loss = seed % 2 ? 0.01 : 0;
    stage.t.download = 3 << 20;
    stage.t.close_when_done = false;
    stage_open(&stage);
    stage_wait(&stage, 150 * BASE_MS + stage_time(&stage, 300 * BASE_MS));
    struct quic_path *path = server_path(&stage);
    if (!path || path->mtu != 1452)
        sim_fail(world, "no large datagrams");
    uint32_t takes = 1200 + (uint32_t)(seed % 200);
    stage.s->links[stage.c->index].mtu = takes;
    base_time from = world->now;
    stage_wait(&stage, 2 * BASE_SEC);
    path = server_path(&stage);
    if (!path || path->mtu > takes)
        sim_fail(world, "still datagrams of %u bytes after 2 s", path ? path->mtu : 0);
    stage_wait(&stage, 18 * BASE_SEC);
    path = server_path(&stage);
    if (!path || path->mtu > takes || path->mtu + 16 < takes)
        sim_fail(world, "datagrams of %u bytes where %u pass", path ? path->mtu : 0, takes);
    if (!transfer_done(&stage.t) || stage.t.done_at > from + 10 * BASE_SEC)
        sim_fail(world, "it took %.1f s", stage.t.done_at ? (double)(stage.t.done_at - from) / 1e9 : 0.);
    end(&stage);
    if (!stage.t.server_stats.mtu_black_holes)
        sim_fail(world, "nothing was noticed");
}

/* Losses alone, bursts among them, are no black hole. */
static void run_no_hole(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.link.bits_per_second = 10000000;
    stage.link.queue = 20 * BASE_MS;
    stage.link.loss = (double)(seed % 3) * 0.03;
    stage.t.upload = stage.t.download = 2 << 20;
    stage.t.eager = true;
    stage_play(&stage);
    if (stage.t.server_stats.mtu_black_holes > (seed % 3 == 2) ||
        stage.t.client_stats.mtu_black_holes > (seed % 3 == 2))
        sim_fail(world, "%llu and %llu black holes where there is none",
                 (unsigned long long)stage.t.client_stats.mtu_black_holes,
                 (unsigned long long)stage.t.server_stats.mtu_black_holes);
}

/* Ten minutes later the path takes more, and that is found when there is something to send, not before. */
static void run_raise(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.link.mtu = 1300;
    stage.client.max_idle_timeout = stage.server.max_idle_timeout = 0;
    stage.t.close_when_done = false;
    stage_open(&stage);
    stage_wait(&stage, 5 * BASE_SEC);
    uint64_t sent = stage.s->links[stage.c->index].sent;
    stage.s->links[stage.c->index].mtu = 0;
    stage_wait(&stage, 300 * BASE_SEC);
    stage.t.streams = 2;
    if (stage.t.client)
        transfer_more(stage.c, &stage.t);
    stage_wait(&stage, 10 * BASE_SEC);
    struct quic_path *path = server_path(&stage);
    if (!path || path->mtu > 1300)
        sim_fail(world, "tried again too early");
    sent = stage.s->links[stage.c->index].sent;
    stage_wait(&stage, 400 * BASE_SEC);
    if (stage.s->links[stage.c->index].sent != sent)
        sim_fail(world, "an idle connection was woken");
    stage.t.streams = 3;
    if (stage.t.client)
        transfer_more(stage.c, &stage.t);
    stage_wait(&stage, 5 * BASE_SEC);
    path = server_path(&stage);
    if (!path || path->mtu != 1452)
        sim_fail(world, "datagrams of %u bytes", path ? path->mtu : 0);
    end(&stage);
}

static const struct scenario list[] = {
    {"mtu-jumbo", "as large as path and interface take, up to 65000 bytes", 60, run_jumbo},
    {"mtu-hole", "the path takes less in mid transfer: noticed within seconds, the new size found", 80, run_hole},
    {"mtu-no-hole", "loss and full queues are not taken for a black hole", 30, run_no_hole},
    {"mtu-raise", "ten minutes later larger datagrams are tried again, but no idle connection wakes for it", 10,
     run_raise},
};
SCENARIOS(scenarios_mtu, list);
