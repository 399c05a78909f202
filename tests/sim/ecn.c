/* ecn.c - what networks do to the marks on packets, and what becomes of them: marks that arrive are used, those that do
 * not are given up, and none of it costs the transfer anything that can be seen. */
#include "stage.h"

struct ends {
    enum quic_ecn_state client, server; /* of the active path, as late as could be seen */
};
static struct ends ends; /* of the run in progress */

static void look(struct stage *stage) {
    struct quic_conn *server = stage_server_conn(stage);
    if (stage->t.client && stage->t.client->state < QUIC_CONN_CLOSING)
        ends.client = (enum quic_ecn_state)quic_path_active(stage->t.client)->control.ecn.state;
    if (server && server->state < QUIC_CONN_CLOSING)
        ends.server = (enum quic_ecn_state)quic_path_active(server)->control.ecn.state;
}

/* A transfer both ways over links as `stage` has them, looked at every 10 ms. */
static void play(struct stage *stage) {
    ends = (struct ends){QUIC_ECN_OFF, QUIC_ECN_OFF};
    stage->t.upload = stage->t.download = 400000;
    stage_open(stage);
    while (!stage->world->failure && !stage->t.client_closed && stage->world->now < 60 * BASE_SEC) {
        look(stage);
        stage_wait(stage, 10 * BASE_MS);
    }
    stage_finish(stage);
    stage_close(stage);
}

static void expect(struct stage *stage, enum quic_ecn_state client, enum quic_ecn_state server) {
    if (ends.client != client || ends.server != server)
        sim_fail(stage->world, "the client's path ended in state %u, not %u; the server's in %u, not %u", ends.client,
                 client, ends.server, server);
}

static void run_clean(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    if (seed % 2)
        stage_bad_link(&stage, 0.03);
    play(&stage);
    expect(&stage, QUIC_ECN_CAPABLE, QUIC_ECN_CAPABLE);
    if (stage.t.client_stats.ecn_marked * 2 < stage.t.client_stats.packets_sent || stage.t.client_stats.ecn_ce)
        sim_fail(world, "%llu of %llu packets were marked, %llu came as CE",
                 (unsigned long long)stage.t.client_stats.ecn_marked,
                 (unsigned long long)stage.t.client_stats.packets_sent,
                 (unsigned long long)stage.t.client_stats.ecn_ce);
}

static void run_off(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.client.ecn = 0;
    play(&stage);
    expect(&stage, QUIC_ECN_OFF, QUIC_ECN_CAPABLE);
    if (stage.t.client_stats.ecn_marked || !stage.t.server_stats.ecn_marked)
        sim_fail(world, "marked: %llu, %llu", (unsigned long long)stage.t.client_stats.ecn_marked,
                 (unsigned long long)stage.t.server_stats.ecn_marked);
}

/* One direction does something to marks: the sender of that direction stops marking, the other goes on. */
static void spoil(struct stage *stage, struct sim_link *link, unsigned how) {
    link->bleach = how == 0;
    link->remark = how == 1 ? QUIC_ECT1 : how == 2 ? QUIC_CE : 0;
    link->drop_marked = how == 3;
    (void)stage;
}

static void run_spoilt(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    unsigned how = (unsigned)(seed % 4);
    bool upwards = seed / 4 % 2;
    if (seed / 8 % 2)
        stage_bad_link(&stage, 0.02);
    stage.back = stage.link;
    spoil(&stage, upwards ? &stage.link : &stage.back, how);
    play(&stage);
    expect(&stage, upwards ? QUIC_ECN_FAILED : QUIC_ECN_CAPABLE, upwards ? QUIC_ECN_CAPABLE : QUIC_ECN_FAILED);
    const struct conn_stats *stats = upwards ? &stage.t.client_stats : &stage.t.server_stats;
    if (stats->ecn_failures != 1 || stats->ecn_marked > 60)
        sim_fail(world, "way %u: %llu failures, %llu packets marked", how, (unsigned long long)stats->ecn_failures,
                 (unsigned long long)stats->ecn_marked);
    if (stage.t.done_at > 10 * BASE_SEC)
        sim_fail(world, "way %u: it took %.1f s", how, (double)stage.t.done_at / 1e9);
}

/* A queue that marks before it drops: congestion is answered, and next to nothing is lost. */
static void run_queue(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.link.bits_per_second = 10000000;
    stage.link.queue = 200 * BASE_MS;
    stage.link.mark_after = 5 * BASE_MS;
    stage.back = stage.link;
    stage.client.hystart = stage.server.hystart = 0;
    stage.t.streams = 4;
    play(&stage);
    expect(&stage, QUIC_ECN_CAPABLE, QUIC_ECN_CAPABLE);
    const struct conn_stats *stats = &stage.t.server_stats;
    if (!stats->ecn_ce || !stats->congestion_events || stats->packets_lost > 5)
        sim_fail(world, "%llu CE marks, %llu congestion events, %llu packets lost", (unsigned long long)stats->ecn_ce,
                 (unsigned long long)stats->congestion_events, (unsigned long long)stats->packets_lost);
}

/* The network changes its mind in mid transfer: marked packets vanish from now on. */
static void run_later(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.link.bits_per_second = 20000000;
    stage.t.download = 2 << 20;
    stage_open(&stage);
    stage_wait(&stage, 100 * BASE_MS + stage_time(&stage, 200 * BASE_MS));
    stage.s->links[stage.c->index].drop_marked = true;
    stage.c->links[stage.s->index].drop_marked = true;
    base_time from = world->now;
    stage_finish(&stage);
    if (stage.t.done_at > from + 15 * BASE_SEC)
        sim_fail(world, "it took %.1f s", (double)(stage.t.done_at - from) / 1e9);
    stage_close(&stage);
}

static const struct scenario list[] = {
    {"ecn", "marks arrive and are used, with and without loss", 40, run_clean},
    {"ecn-off", "the option turns one side's marks off", 8, run_off},
    {"ecn-spoilt", "marks are cleared, changed to ECT(1) or CE, or cost the packet its life: given up in time", 160,
     run_spoilt},
    {"ecn-queue", "a queue marks instead of dropping: the window follows", 40, run_queue},
    {"ecn-later", "a network begins to drop marked packets in mid transfer", 40, run_later},
};
SCENARIOS(scenarios_ecn, list);
