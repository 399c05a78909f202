/* main.c - runs scenarios over seeds.
 *
 *     sim                             every scenario with its number of seeds
 *     sim --scenario NAME --seed N    one run, to look at a failure
 *     sim --seeds N                   another number of seeds for each
 *     sim ... --trace                 prints every datagram, decrypted
 *     sim ... --qlog DIR              writes a qlog of every connection into this directory
 *     sim ... --set NAME=VALUE        an option of the servers, to measure what it does
 *     sim --soak --seconds N          new seeds until the time is over
 *
 * Without a name it begins with the self-test of the checker. Each run and each rule is one check; the last line says
 * how many passed and failed. A failing run prints the command that repeats it. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "checker.h"
#include "scenario.h"

/* Under the sanitizers everything takes ten times as long: a tenth of the seeds, but each scenario. */
#if defined(__SANITIZE_ADDRESS__)
#define SEEDS_SHARE 10u
#else
#define SEEDS_SHARE 1u
#endif

static unsigned long passed, failed;

static void run_one(const struct scenario *scenario, uint64_t seed) {
    static struct sim_world world;
    sim_world_init(&world, seed);
    scenario->run(&world, seed);
    sim_world_clear(&world);
    if (world.failure) {
        failed++;
        printf("FAILED %s at %.6f s: %s\n    repeat: sim --scenario %s --seed %llu\n", scenario->name,
               (double)world.now / 1e9, world.failure_text, scenario->name, (unsigned long long)seed);
    } else {
        passed++;
    }
}

static const struct scenarios *const themes[] = {
    &scenarios_basics,    &scenarios_handshake, &scenarios_paths, &scenarios_attacks,     &scenarios_streams,
    &scenarios_ends,      &scenarios_keys,      &scenarios_speed, &scenarios_memory,      &scenarios_versions,
    &scenarios_early,     &scenarios_ext,       &scenarios_ecn,   &scenarios_congestion,  &scenarios_idle,
    &scenarios_migration, &scenarios_mtu,       &scenarios_siege, &scenarios_attack_conn, &scenarios_crowd,
    &scenarios_resume,
};
#define THEMES (sizeof themes / sizeof *themes)

static void run_seeds(const struct scenario *scenario, uint64_t first, unsigned count) {
    unsigned long before = failed;
    for (unsigned i = 0; i < count && failed - before < 10; i++)
        run_one(scenario, first + i);
    printf("%-28s %5u seeds, %lu failed: %s\n", scenario->name, count, failed - before, scenario->text);
    fflush(stdout);
}

static int list_all(void) {
    for (size_t t = 0; t < THEMES; t++)
        for (size_t s = 0; s < themes[t]->count; s++)
            printf("%-28s %s\n", themes[t]->list[s].name, themes[t]->list[s].text);
    return 0;
}

static void run_all(const char *name, uint64_t first, unsigned seeds) {
    for (size_t t = 0; t < THEMES; t++)
        for (size_t s = 0; s < themes[t]->count; s++) {
            const struct scenario *scenario = &themes[t]->list[s];
            if (!name || !strcmp(name, scenario->name))
                run_seeds(scenario, first, seeds ? seeds : (scenario->seeds + SEEDS_SHARE - 1) / SEEDS_SHARE);
        }
}

static int usage(void) {
    fprintf(stderr, "usage: sim [--scenario NAME] [--seed N | --seeds N | --soak --seconds N] [--trace] [--qlog DIR] "
                    "[--set NAME=VALUE] [--list]\n");
    return 2;
}

int main(int argc, char **argv) {
    const char *name = NULL;
    uint64_t first = 1;
    unsigned seeds = 0, seconds = 0;
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (!strcmp(argv[i], "--scenario") && more)
            name = argv[++i];
        else if (!strcmp(argv[i], "--seed") && more)
            first = strtoull(argv[++i], NULL, 0), seeds = 1;
        else if (!strcmp(argv[i], "--seeds") && more)
            seeds = (unsigned)strtoul(argv[++i], NULL, 0);
        else if (!strcmp(argv[i], "--seconds") && more)
            seconds = (unsigned)strtoul(argv[++i], NULL, 0);
        else if (!strcmp(argv[i], "--soak"))
            seconds = seconds ? seconds : 600;
        else if (!strcmp(argv[i], "--qlog") && more)
            sim_qlog_to(argv[++i]);
        else if (!strcmp(argv[i], "--set") && more && sim_set(argv[i + 1]))
            i++;
        else if (!strcmp(argv[i], "--trace"))
            checker_trace = true;
        else if (!strcmp(argv[i], "--list")) {
            return list_all();
        } else
            return usage();
    }
    if (!crypto_init() || !sim_prepare())
        return 3;
    time_t end = seconds ? time(NULL) + seconds : 0;
    if (seconds)
        first = (uint64_t)time(NULL) << 20; /* seeds nobody has tried; each is printed when it fails */
    do {
        if (!name && !seconds) {
            unsigned long missed = checker_selftest(&passed);
            printf("%-28s %5lu rules, %lu not found broken\n", "self-test", passed + missed, missed);
            failed += missed;
        }
        run_all(name, first, seeds);
        first += 1u << 16;
    } while (end && time(NULL) < end && !failed);
    crypto_cleanup();
    printf("glitches: at most %.1f %% of what ends a connection\n", 100 * sim_glitch_peak);
    printf("%lu passed, %lu failed\n", passed, failed);
    return failed || !passed;
}
