/* cc_newreno.c - NewReno as RFC 9002 has it (section 7, appendix B).
 *
 * Knows bytes acknowledged and lost. Slow start doubles the window each round trip, congestion avoidance adds one
 * datagram for each window acknowledged, a congestion event halves it. Acknowledged bytes are saved up until they make
 * a window, so there is no division, and ACKs of any size give the same growth.
 *
 * The invariant that matters: one reduction a recovery period. What was sent up to recovery_start belongs to the event
 * that started it: losing it reduces nothing, acknowledging it grows nothing.
 */
#include "quic/cc.h"

static bool newreno_init(struct quic_cc *cc) {
    memset(&cc->u.newreno, 0, sizeof cc->u.newreno);
    return true;
}

static void newreno_on_sent(struct quic_cc *cc, base_time now, uint64_t number, uint64_t bytes,
                            uint64_t bytes_in_flight) {
    (void)cc, (void)now, (void)number, (void)bytes, (void)bytes_in_flight;
}

static void newreno_on_ack(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    if (ack->largest_sent_at <= cc->recovery_start)
        return;
    uint64_t bytes = ack->app_limited ? 0 : ack->fresh_bytes;
    if (cc->window < cc->threshold)
        bytes = quic_cc_slow_start(cc, ack);
    cc->u.newreno.acked += bytes;
    while (cc->u.newreno.acked >= cc->window) {
        cc->u.newreno.acked -= cc->window;
        cc->window += cc->mtu;
    }
}

static void newreno_on_congestion(struct quic_cc *cc, const struct quic_cc_loss *loss) {
    if (loss->largest_lost_sent_at <= cc->recovery_start)
        return;
    cc->events++;
    cc->u.newreno.undo_window = cc->window;
    cc->u.newreno.undo_threshold = cc->threshold;
    cc->u.newreno.undo_recovery = cc->recovery_start;
    cc->u.newreno.acked = 0;
    cc->recovery_start = loss->now;
    cc->window /= 2; /* kLossReductionFactor */
    if (cc->window < quic_cc_least_window(cc))
        cc->window = quic_cc_least_window(cc);
    cc->threshold = cc->window;
}

static void newreno_on_persistent(struct quic_cc *cc, base_time now) {
    (void)now;
    cc->window = quic_cc_least_window(cc);
    cc->recovery_start = 0;
    cc->u.newreno.acked = 0;
    cc->u.newreno.undo_window = 0;
}

static void newreno_on_spurious(struct quic_cc *cc, base_time now) {
    (void)now;
    if (cc->u.newreno.undo_window == 0)
        return;
    if (cc->window < cc->u.newreno.undo_window)
        cc->window = cc->u.newreno.undo_window;
    cc->threshold = cc->u.newreno.undo_threshold;
    cc->recovery_start = cc->u.newreno.undo_recovery;
    cc->u.newreno.undo_window = 0;
}

const struct quic_cc_ops quic_cc_newreno = {.name = "newreno",
                                            .init = newreno_init,
                                            .on_sent = newreno_on_sent,
                                            .on_ack = newreno_on_ack,
                                            .on_congestion = newreno_on_congestion,
                                            .on_persistent = newreno_on_persistent,
                                            .on_spurious = newreno_on_spurious,
                                            .on_mtu = quic_cc_on_mtu};
