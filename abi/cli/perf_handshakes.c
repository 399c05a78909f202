/* perf_handshakes.c - `weft perf client --handshakes`: connections one after the other, and what each costs.
 *
 * A connection is made, asks for what --download and --upload say if they say anything, and is closed; then comes the
 * next. With --at-once so many are under way side by side. What is measured goes from the first to the end of the last.
 * A handshake's time is from the call that connects to the word that it is complete.
 *
 * Invariant: `under_way` connections have been made and are not done; one that is done counts once, in `completed` or
 * `failed`, and lives on until the library says that it is closed.
 */
#include <stdlib.h>

#include "perf.h"

#define TICK 100000000u /* ns between looks at the progress */

struct measurement {
    const struct perf_handshakes *wanted;
    weft_engine engine;
    struct cli_progress progress;
    struct cli_histogram handshake;
    struct cli_cpu before, after;
    weft_engine_stats stats;
    uint64_t made, under_way, completed, failed, open; /* connections */
    uint64_t began, ended;
    struct hand *hands; /* those that are open */
    bool interrupted;
    int code;
};

struct hand { /* a connection */
    struct measurement *of;
    struct hand *next, **link;
    weft_conn conn;
    uint64_t began, upload_left;
    bool done, answered, uploaded; /* acknowledged */
};

static void go_on(struct measurement *all);

static void on_signal(void *user) {
    struct measurement *all = user;
    if (all->interrupted)
        weft_engine_stop(all->engine);
    all->interrupted = true;
    for (struct hand *hand = all->hands; hand; hand = hand->next)
        weft_conn_close(hand->conn, 0, "interrupted");
    go_on(all);
}

static void on_tick(void *user) {
    struct measurement *all = user;
    if (!all->ended)
        cli_progress_show(&all->progress, all->completed, all->wanted->count, "handshakes", 0);
}

/* ---- one connection ---------------------------------------------------------------------------------------------- */

static void finish(struct hand *hand, bool good) {
    struct measurement *all = hand->of;
    if (hand->done)
        return;
    hand->done = true;
    all->under_way--;
    all->completed += good;
    all->failed += !good;
}

static void maybe_finish(struct hand *hand) {
    if (!hand->answered || !hand->uploaded || hand->done)
        return;
    finish(hand, true);
    weft_conn_close(hand->conn, 0, NULL);
    go_on(hand->of);
}

static void upload(struct hand *hand, weft_stream stream) {
    int64_t sent = hand->upload_left ? perf_send(stream, hand->upload_left) : 0;
    if (sent > 0)
        hand->upload_left -= (uint64_t)sent;
}

static void on_data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    struct hand *hand = user;
    (void)stream, (void)slices, (void)count;
    if (!(flags & WEFT_FIN))
        return;
    hand->answered = true;
    maybe_finish(hand);
}

static void on_writable(void *user, weft_stream stream) { upload(user, stream); }

static void on_finished(void *user, weft_stream stream) {
    struct hand *hand = user;
    (void)stream;
    hand->uploaded = true;
    maybe_finish(hand);
}

static void on_connected(void *user, weft_conn conn) {
    struct hand *hand = user;
    const struct perf_handshakes *wanted = hand->of->wanted;
    cli_histogram_add(&hand->of->handshake, cli_now() - hand->began);
    if (!wanted->download && !wanted->upload) {
        hand->answered = hand->uploaded = true;
        maybe_finish(hand);
        return;
    }
    weft_stream_params params = {.size = sizeof params, .user = hand};
    weft_stream stream;
    uint8_t header[PERF_HEADER];
    perf_header(wanted->download, header);
    if (weft_stream_open(conn, WEFT_BIDI, &params, &stream)) {
        weft_conn_close(conn, 0, NULL); /* that it had no answer is told with its end */
        return;
    }
    hand->upload_left = wanted->upload;
    weft_stream_write(stream, header, sizeof header, wanted->upload ? 0 : WEFT_FIN);
    upload(hand, stream);
}

static void on_closed(void *user, weft_conn conn, const weft_close *close) {
    struct hand *hand = user;
    struct measurement *all = hand->of;
    char why[400];
    (void)conn;
    if (!hand->done && !all->interrupted && all->code == CLI_OK) {
        all->code = cli_explain_close(close, why, sizeof why);
        if (all->code == CLI_OK)
            all->code = CLI_FAILED;
        cli_progress_clear(&all->progress);
        cli_error("%s port %u: %s", all->wanted->host, all->wanted->port, why);
    }
    finish(hand, false);
    *hand->link = hand->next;
    if (hand->next)
        hand->next->link = hand->link;
    free(hand);
    all->open--;
    go_on(all);
}

static const weft_conn_callbacks on_conn = {
    .size = sizeof on_conn, .on_connected = on_connected, .on_closed = on_closed};
static const weft_stream_callbacks on_stream = {
    .size = sizeof on_stream, .on_data = on_data, .on_writable = on_writable, .on_finished = on_finished};

static bool begin(struct measurement *all) {
    const struct perf_handshakes *wanted = all->wanted;
    struct hand *hand = calloc(1, sizeof *hand);
    weft_connect_params params = {.size = sizeof params,
                                  .family = cli_client_family(wanted->client),
                                  .server_name = wanted->client->server_name,
                                  .user = hand,
                                  .callbacks = &on_conn,
                                  .stream_callbacks = &on_stream};
    int32_t error = WEFT_E_NOMEM;
    if (hand) {
        *hand = (struct hand){.of = all, .began = cli_now()};
        error = weft_connect(all->engine, wanted->config, wanted->host, wanted->port, &params, &hand->conn);
    }
    if (error) {
        char why[512];
        if (!hand || weft_engine_error(all->engine, why, sizeof why) <= 0)
            snprintf(why, sizeof why, "%s", weft_strerror(error));
        cli_error("%s port %u: %s", wanted->host, wanted->port, why);
        all->code = CLI_NO_CONNECTION;
        free(hand);
        return false;
    }
    hand->next = all->hands;
    hand->link = &all->hands;
    if (hand->next)
        hand->next->link = &hand->next;
    all->hands = hand;
    all->made++;
    all->open++;
    all->under_way++;
    return true;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

static void measured(struct measurement *all) {
    all->ended = cli_now();
    all->after = cli_cpu_used();
    all->stats.size = sizeof all->stats;
    weft_engine_get_stats(all->engine, &all->stats);
}

/* Makes as many as may be under way. The first that fails is the last that is made. */
static void go_on(struct measurement *all) {
    const struct perf_handshakes *wanted = all->wanted;
    bool stop = all->interrupted || all->code != CLI_OK;
    while (!stop && all->made < wanted->count && all->under_way < wanted->at_once)
        stop = !begin(all);
    if (!all->ended && !all->under_way && (stop || all->made == wanted->count))
        measured(all);
    if (!all->open)
        weft_engine_stop(all->engine);
}

static const struct {
    const char *name;
    double share;
} percentiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}};
#define PERCENTILES (sizeof percentiles / sizeof percentiles[0])

static void report(const struct measurement *all) {
    double seconds = all->ended > all->began ? (double)(all->ended - all->began) / 1e9 : 1e-9;
    double user = all->after.user - all->before.user, system = all->after.system - all->before.system;
    double count = all->completed ? (double)all->completed : 1;
    const struct cli_histogram *took = &all->handshake;
    if (all->wanted->json) {
        struct cli_json json = cli_json_begin(stdout);
        cli_json_uint(&json, "handshakes", all->completed);
        cli_json_uint(&json, "handshakes_failed", all->failed);
        cli_json_uint(&json, "at_once", all->wanted->at_once);
        cli_json_real(&json, "seconds", seconds);
        cli_json_real(&json, "handshakes_per_second", (double)all->completed / seconds);
        cli_json_real(&json, "cpu_seconds", user + system);
        cli_json_real(&json, "cpu_user_seconds", user);
        cli_json_real(&json, "cpu_system_seconds", system);
        cli_json_real(&json, "cpu_seconds_per_handshake", (user + system) / count);
        cli_json_real(&json, "handshake_min_seconds", (double)took->least / 1e9);
        cli_json_real(&json, "handshake_mean_seconds", cli_histogram_mean(took) / 1e9);
        for (size_t i = 0; i < PERCENTILES; i++) {
            char name[40];
            snprintf(name, sizeof name, "handshake_%s_seconds", percentiles[i].name);
            cli_json_real(&json, name, (double)cli_histogram_at(took, percentiles[i].share) / 1e9);
        }
        cli_json_real(&json, "handshake_max_seconds", (double)took->greatest / 1e9);
        cli_json_uint(&json, "packets_sent", all->stats.conns.packets_sent);
        cli_json_uint(&json, "packets_received", all->stats.conns.packets_received);
        cli_json_uint(&json, "packets_lost", all->stats.conns.packets_lost);
        cli_json_uint(&json, "memory_peak", all->stats.memory_peak);
        cli_json_flag(&json, "interrupted", all->interrupted);
        cli_json_end(&json);
        return;
    }
    char a[CLI_UNIT_TEXT];
    printf("handshakes   %llu, %llu at once, in %.3f s: %.1f a second\n", (unsigned long long)all->completed,
           (unsigned long long)all->wanted->at_once, seconds, (double)all->completed / seconds);
    printf("each         min %s", cli_format_time((double)took->least / 1e9, a));
    for (size_t i = 0; i < PERCENTILES; i++)
        printf(", %s %s", percentiles[i].name,
               cli_format_time((double)cli_histogram_at(took, percentiles[i].share) / 1e9, a));
    printf(", max %s\n", cli_format_time((double)took->greatest / 1e9, a));
    printf("CPU          %.3f s user, %.3f s system, %s for each handshake\n", user, system,
           cli_format_time((user + system) / count, a));
}

int perf_handshakes_run(const struct perf_handshakes *wanted) {
    struct measurement *all = calloc(1, sizeof *all);
    int32_t error = WEFT_E_NOMEM;
    cli_watch_prepare();
    if (all)
        error = weft_engine_new(NULL, &all->engine);
    if (error) {
        cli_error("%s", weft_strerror(error));
        free(all);
        return CLI_FAILED;
    }
    all->wanted = wanted;
    struct cli_watch *watch = cli_watch_new(all->engine, on_signal, on_tick, TICK, all);
    if (watch) {
        cli_progress_begin(&all->progress, wanted->quiet);
        all->before = cli_cpu_used();
        all->began = cli_now();
        go_on(all);
        error = all->open ? weft_engine_run(all->engine) : 0;
        if (error)
            cli_error("%s", weft_strerror(error));
        cli_progress_clear(&all->progress);
    }
    if (all->ended && all->completed)
        report(all);
    int code = !watch || error ? CLI_FAILED : all->interrupted ? CLI_INTERRUPTED : all->code;
    cli_watch_free(watch);
    weft_engine_free(all->engine);
    for (struct hand *hand = all->hands, *next; hand; hand = next) { /* when it was stopped by a second signal */
        next = hand->next;
        free(hand);
    }
    free(all);
    return code;
}
