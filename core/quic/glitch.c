/* glitch.c - the score of what a peer does to no use, and the end it leads to.
 *
 * Knows names, weights, the score's arithmetic and how to count. Does not know what a glitch is: whoever handles a
 * frame says so.
 *
 * The score is a token bucket read upside down: 0 is its rest, it drains at glitch_rate points a second and by a
 * quarter of a point for each packet without a glitch. Draining is worked out when the next glitch comes, so that a
 * good packet costs one increment and an idle connection nothing.
 *
 * The invariant that matters: score <= glitch_burst * 1e9 between calls, which fits 64 bits as glitch_burst <= 2^31.
 */
#include "quic/glitch.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "quic/conn.h"

#define POINT UINT64_C(1000000000)
#define GOOD (POINT / 4)             /* what a packet without a glitch is worth */
#define NO_BURST (UINT64_C(1) << 31) /* where the score ends when it may be as high as it likes */

static const struct glitch_row {
    const char *name;
    uint32_t weight;
    uint32_t counter; /* where it is counted in an engine's stats */
} table[QUIC_GLITCHES] = {
#define GLITCH(name, weight, text) \
    [QUIC_GLITCH_##name] = {#name, weight, (uint32_t)offsetof(struct engine_stats, glitch_##name)},
#include "tables/glitches.def"
#undef GLITCH
};

const char *quic_glitch_name(enum quic_glitch what) { return table[what].name; }
uint32_t quic_glitch_weight(enum quic_glitch what) { return table[what].weight; }

/* What has drained since the score was settled. */
static uint64_t glitches_drained(const struct quic_glitches *g, const struct options *options, base_time now) {
    uint64_t elapsed = now > g->since ? now - g->since : 0, rate = options->glitch_rate;
    uint64_t by_time = rate && elapsed > g->score / rate ? g->score : rate * elapsed;
    uint64_t drained = by_time + g->good * GOOD;
    return drained < g->score ? drained : g->score;
}

uint64_t quic_glitches_score(const struct quic_glitches *g, const struct options *options, base_time now) {
    return (g->score - glitches_drained(g, options, now)) / POINT;
}

bool quic_glitches_add(struct quic_glitches *g, const struct options *options, uint32_t weight, base_time now) {
    g->score -= glitches_drained(g, options, now);
    g->score += weight * POINT;
    g->since = base_time_max(g->since, now);
    g->good = 0;
    uint64_t points = g->score / POINT;
    if (points > g->peak)
        g->peak = (uint32_t)points;
    uint64_t burst = options->glitch_burst ? options->glitch_burst : NO_BURST;
    if (g->score <= burst * POINT)
        return true;
    g->score = burst * POINT;
    return options->glitch_burst == 0;
}

void quic_glitch(struct quic_conn *conn, enum quic_glitch what, uint64_t frame_type, base_time now) {
    const struct glitch_row *row = &table[what];
    if (conn->state >= QUIC_CONN_CLOSING)
        return;
    struct engine_stats *stats = &conn->endpoint->stats;
    uint64_t *counter = (uint64_t *)((uint8_t *)stats + row->counter);
    ++*counter;
    conn->stats.glitches += row->weight;
    if (quic_glitches_add(&conn->glitches, &conn->config->options, row->weight, now))
        return;
    stats->connections_glitched++;
    char text[QUIC_REASON_MAX];
    snprintf(text, sizeof text, "too much to no use, the last: %s", row->name);
    quic_conn_fail(conn, QUIC_PROTOCOL_VIOLATION, frame_type, text, now);
}
