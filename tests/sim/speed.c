/* speed.c - how much of a link a connection uses, in virtual time: the figures are the same on every machine. The least
 * that is asked is generous; what counts is that a change that halves a figure is seen.
 */
#include <stdio.h>

#include "stage.h"

static double use_of(struct stage *stage) {
    double seconds = (double)(stage->t.done_at - stage->t.connected_at) / 1e9;
    return (double)stage->t.download * (double)stage->t.streams * 8 / seconds / (double)stage->link.bits_per_second;
}

static void run_link_use(struct sim_world *world, uint64_t seed) {
    static const double least[2][2] = {{0.60, 0.60}, {0.08, 0.05}}; /* loss 0, 0.1 %; cubic, newreno */
    bool newreno = (seed - 1) % 2, lossy = (seed - 1) / 2 % 2, unpaced = (seed - 1) / 4 % 2;
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.link = (struct sim_link){
        .delay = 25 * BASE_MS, .bits_per_second = 100000000, .loss = lossy ? 0.001 : 0, .queue = 50 * BASE_MS};
    stage.server.congestion_control = newreno;
    stage.server.pacing = !unpaced;
    stage.t.download = 20000000;
    stage_open(&stage);
    stage_finish(&stage);
    double use = use_of(&stage);
    printf("    100 Mbit/s, 50 ms, %s loss, %s, %s: %.1f %% of the link, %llu packets of %llu lost\n",
           lossy ? "0.1 %" : "no", newreno ? "newreno" : "cubic", unpaced ? "not paced" : "paced", 100 * use,
           (unsigned long long)stage.t.server_stats.packets_lost,
           (unsigned long long)stage.t.server_stats.packets_sent);
    if (!world->failure && use < least[lossy][newreno])
        sim_fail(world, "%.1f %% of the link are used, at least %.0f %% should be", 100 * use,
                 100 * least[lossy][newreno]);
    stage_close(&stage);
}

/* Two downloads through one bottleneck, the second begins later: neither starves. */
static void run_fairness(struct sim_world *world, uint64_t seed) {
    static struct transfer t[2];
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.link = (struct sim_link){.delay = 20 * BASE_MS, .bits_per_second = 20000000, .queue = 60 * BASE_MS};
    stage.server.congestion_control = seed % 2;
    stage.t.streams = 0;
    stage_open(&stage);
    for (unsigned i = 0; i < 2; i++) {
        t[i] = (struct transfer){.streams = 1, .upload = 10, .download = 200 << 20};
        t[i].client = sim_connect(stage.c, stage.s, stage.cc, &t[i]);
        stage_wait(&stage, i ? 5 * BASE_SEC : BASE_SEC);
    }
    uint64_t before[2] = {t[0].received, t[1].received};
    stage_wait(&stage, 10 * BASE_SEC);
    double a = (double)(t[0].received - before[0]), b = (double)(t[1].received - before[1]);
    double jain = (a + b) * (a + b) / (2 * (a * a + b * b)), use = (a + b) * 8 / 10 / 20e6;
    printf("    two %s connections at 20 Mbit/s: %.1f and %.1f Mbit/s, fairness %.3f, %.1f %% of the link\n",
           seed % 2 ? "newreno" : "cubic", a * 8 / 10e6, b * 8 / 10e6, jain, 100 * use);
    if (!world->failure && (jain < 0.7 || use < 0.7))
        sim_fail(world, "fairness %.3f, link use %.3f", jain, use);
    stage_close(&stage);
}

static const struct scenario list[] = {
    {"link-use", "20 MB at 100 Mbit/s and 50 ms: cubic and newreno, with and without 0.1 % loss and pacing", 8,
     run_link_use},
    {"fairness", "two connections share a bottleneck", 2, run_fairness},
};
SCENARIOS(scenarios_speed, list);
