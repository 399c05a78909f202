/* hystart.c - HyStart++: leaving slow start before it overshoots (RFC 9406).
 *
 * Knows the RTT samples of a round and packet numbers that mark rounds. Does not know the window.
 *
 * A round is one window's worth of packets: it ends when a packet that was the next to be sent at its beginning is
 * acknowledged. When the smallest RTT of a round is clearly above that of the round before, a queue is building up, and
 * conservative slow start (CSS) grows at a quarter of the pace. It ends in congestion avoidance after five rounds, or
 * in slow start again when the delay turns out to have been jitter.
 *
 * The invariant that matters: a verdict needs eight samples of the present round and at least one of the one before.
 */
#include "quic/cc.h"

#define HYSTART_MIN_THRESH (4 * BASE_MS)
#define HYSTART_MAX_THRESH (16 * BASE_MS)
#define HYSTART_DIVISOR 8u
#define HYSTART_SAMPLES 8u
#define HYSTART_CSS_DIVISOR 4u
#define HYSTART_CSS_ROUNDS 5u

void quic_hystart_init(struct quic_hystart *h, bool enabled) {
    *h = (struct quic_hystart){
        .enabled = enabled, .last_min = BASE_NEVER, .current_min = BASE_NEVER, .css_baseline = BASE_NEVER};
}

/* 4.2: with enough samples, has the delay gone up since the last round? */
static bool hystart_delay_increased(const struct quic_hystart *h) {
    if (h->samples < HYSTART_SAMPLES || h->current_min == BASE_NEVER || h->last_min == BASE_NEVER)
        return false;
    base_time threshold =
        base_time_max(HYSTART_MIN_THRESH, base_time_min(h->last_min / HYSTART_DIVISOR, HYSTART_MAX_THRESH));
    return h->current_min >= h->last_min + threshold;
}

/* The ACK of `largest` may end the round. */
static void hystart_round(struct quic_hystart *h, const struct quic_cc_ack *ack) {
    if (ack->largest_number < h->window_end)
        return;
    h->window_end = ack->next_number;
    h->last_min = h->current_min;
    h->current_min = BASE_NEVER;
    h->samples = 0;
    h->css_rounds += h->in_css;
}

bool quic_hystart_on_ack(struct quic_hystart *h, const struct quic_cc_ack *ack, unsigned *divisor) {
    *divisor = 1;
    if (!h->enabled)
        return false;
    if (ack->rtt_sample) {
        h->current_min = base_time_min(h->current_min, ack->rtt_sample);
        h->samples++;
    }
    if (!h->in_css) {
        if (hystart_delay_increased(h)) {
            h->css_baseline = h->current_min;
            h->in_css = true;
            h->css_rounds = 0;
        }
    } else if (h->samples >= HYSTART_SAMPLES && h->current_min < h->css_baseline) {
        h->css_baseline = BASE_NEVER; /* it was jitter */
        h->in_css = false;
    }
    if (h->in_css)
        *divisor = HYSTART_CSS_DIVISOR;
    hystart_round(h, ack);
    return h->in_css && h->css_rounds >= HYSTART_CSS_ROUNDS;
}
