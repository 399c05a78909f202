/* basics.c - transfers over good and bad links: everything arrives once and in order, memory stays bounded, both sides
 * learn how it ended. */
#include "stage.h"

static void run_clean(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage_play(&stage);
}

static void run_bad(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage_bad_link(&stage, 0.10);
    if (seed % 2)
        stage.t = (struct transfer){.streams = 1, .upload = 1 << 20, .download = 100, .close_when_done = true};
    stage_play(&stage);
}

static void run_both_ways(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage_bad_link(&stage, seed % 2 ? 0.05 : 0);
    stage.t =
        (struct transfer){.streams = 4, .upload = 200000, .download = 200000, .eager = true, .close_when_done = true};
    stage_play(&stage);
}

static void run_many(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage_bad_link(&stage, seed % 2 ? 0.10 : 0);
    stage.t =
        (struct transfer){.streams = 300, .upload = seed % 3000, .download = seed % 7000, .close_when_done = true};
    stage_play(&stage);
}

static void run_slow_reader(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage_bad_link(&stage, seed % 2 ? 0.10 : 0);
    struct options *small = &stage.client;
    small->initial_max_data = small->initial_max_stream_data_bidi_local = small->initial_max_stream_data_bidi_remote =
        65536;
    small->max_data_window = small->max_stream_data_window = 65536;
    stage.t.reader_stops_at = BASE_SEC + 200 * BASE_MS;
    stage.t.reader_stops_for = 2 * BASE_SEC;
    stage.limit = 4 << 20;
    stage_play(&stage);
}

static void run_asymmetric(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.link = (struct sim_link){
        .delay = 5 * BASE_MS, .bits_per_second = 256000, .loss = (double)(seed % 3) * 0.01, .jitter = 3 * BASE_MS};
    stage.back =
        (struct sim_link){.delay = 80 * BASE_MS, .bits_per_second = 50000000, .loss = (double)(seed % 5) * 0.005};
    stage_play(&stage);
}

static void run_jitter(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.link.jitter = 15 * BASE_MS;
    stage.link.bleach = seed % 2;
    stage_play(&stage);
}

static const struct scenario list[] = {
    {"clean", "1 MiB over a clean link", 20, run_clean},
    {"bad-network", "1 MiB with 10 % loss, 5 % reordering, 2 % duplicates, 1 % corruption each way", 300, run_bad},
    {"both-ways", "four streams with 200 KB in both directions at once", 60, run_both_ways},
    {"many-streams", "300 streams, clean and bad links", 100, run_many},
    {"slow-reader", "a 64 KiB window and a reader that stops for 2 s: nothing lost, 4 MiB of memory suffice", 60,
     run_slow_reader},
    {"asymmetric", "fast and far one way, slow and near the other", 30, run_asymmetric},
    {"jitter", "every datagram is late by up to 15 ms: order means nothing", 50, run_jitter},
};
SCENARIOS(scenarios_basics, list);
