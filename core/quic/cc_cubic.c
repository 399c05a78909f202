/* cc_cubic.c - CUBIC (RFC 9438).
 *
 * Knows bytes, time since the last congestion event, and the window at which that happened. After a reduction to 0.7
 * the window follows W(t) = C * (t - K)^3 + W_max: fast back towards W_max, slowly around it, then fast again; where
 * that is slower than a Reno flow would be, it follows Reno's estimate instead (4.3). Windows are in bytes, so C is
 * taken times the datagram size.
 *
 * Time in which the window was not the limit is no time: while the application had nothing to send, or nothing was in
 * flight, the epoch's beginning moves along (4.2, 5.8), or W(t) would run away and the next burst with it.
 *
 * The invariant that matters: the window grows by at most half of itself in a round trip (the target's bound in 4.2),
 * and is reduced once a recovery period.
 */
#include "quic/cc.h"

#define CUBIC_C 0.4
#define CUBIC_BETA 0.7
#define CUBIC_ALPHA (3.0 * (1.0 - CUBIC_BETA) / (1.0 + CUBIC_BETA))

/* Cube root of x >= 0 by Newton's method: once an epoch, so not worth a mathematics library. Starting at or above the
 * root, each step goes down until rounding stops it. */
static double cubic_root(double x) {
    if (x <= 0.0)
        return 0.0;
    double root = x > 1.0 ? x : 1.0;
    for (;;) {
        double next = (2.0 * root + x / (root * root)) / 3.0;
        if (next >= root)
            return root;
        root = next;
    }
}

static bool cubic_init(struct quic_cc *cc) {
    memset(&cc->u.cubic, 0, sizeof cc->u.cubic);
    return true;
}

/* 4.2: congestion avoidance begins, or begins again. */
static void cubic_start_epoch(struct quic_cc *cc, base_time now) {
    double window = (double)cc->window;
    cc->u.cubic.epoch_start = now;
    cc->u.cubic.w_est = window;
    cc->u.cubic.carry = 0.0;
    if (cc->u.cubic.w_max <= window) { /* after slow start without a loss, and after persistent congestion */
        cc->u.cubic.w_max = window;
        cc->u.cubic.k = 0.0;
    } else {
        cc->u.cubic.k = cubic_root((cc->u.cubic.w_max - window) / (CUBIC_C * cc->mtu));
    }
}

static double cubic_window_at(const struct quic_cc *cc, base_time elapsed) {
    double t = (double)elapsed / (double)BASE_SEC - cc->u.cubic.k;
    return CUBIC_C * cc->mtu * t * t * t + cc->u.cubic.w_max;
}

/* `bytes` were acknowledged in congestion avoidance. */
static void cubic_avoid(struct quic_cc *cc, uint64_t bytes, const struct quic_cc_ack *ack) {
    if (cc->u.cubic.epoch_start == 0)
        cubic_start_epoch(cc, ack->now);
    double window = (double)cc->window, share = (double)bytes / window;
    base_time elapsed = ack->now - cc->u.cubic.epoch_start;

    double alpha = cc->u.cubic.w_est < cc->u.cubic.prior ? CUBIC_ALPHA : 1.0;
    cc->u.cubic.w_est += alpha * cc->mtu * share;
    double growth = cc->u.cubic.w_est - window;
    if (cubic_window_at(cc, elapsed) >= cc->u.cubic.w_est) {
        double target = cubic_window_at(cc, elapsed + ack->rtt->smoothed);
        if (target > 1.5 * window)
            target = 1.5 * window;
        growth = cc->u.cubic.carry + (target > window ? (target - window) * share : 0.0);
    }
    if (growth <= 0.0)
        return;
    uint64_t whole = (uint64_t)growth;
    cc->window += whole;
    cc->u.cubic.carry = growth - (double)whole;
}

/* Time the window did not limit ends now. */
static void cubic_shift_epoch(struct quic_cc *cc, base_time *since, base_time now) {
    if (cc->u.cubic.epoch_start && *since)
        cc->u.cubic.epoch_start += now - base_time_max(*since, cc->u.cubic.epoch_start);
    *since = 0;
}

static void cubic_on_sent(struct quic_cc *cc, base_time now, uint64_t number, uint64_t bytes,
                          uint64_t bytes_in_flight) {
    (void)number;
    if (bytes_in_flight != bytes)
        return;
    if (cc->u.cubic.limited_since) /* that time is counted already */
        cc->u.cubic.quiet_since = 0;
    cubic_shift_epoch(cc, &cc->u.cubic.quiet_since, now);
}

static void cubic_on_ack(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    if (ack->bytes_in_flight == 0)
        cc->u.cubic.quiet_since = ack->now;
    if (ack->app_limited && cc->u.cubic.limited_since == 0)
        cc->u.cubic.limited_since = ack->now;
    if (!ack->app_limited)
        cubic_shift_epoch(cc, &cc->u.cubic.limited_since, ack->now);
    if (ack->largest_sent_at <= cc->recovery_start)
        return;
    uint64_t bytes = ack->app_limited ? 0 : ack->fresh_bytes;
    if (cc->window < cc->threshold)
        bytes = quic_cc_slow_start(cc, ack);
    if (bytes > 0)
        cubic_avoid(cc, bytes, ack);
}

static void cubic_on_congestion(struct quic_cc *cc, const struct quic_cc_loss *loss) {
    if (loss->largest_lost_sent_at <= cc->recovery_start)
        return;
    cc->events++;
    cc->u.cubic.undo_window = cc->window;
    cc->u.cubic.undo_threshold = cc->threshold;
    cc->u.cubic.undo_recovery = cc->recovery_start;
    cc->u.cubic.undo_w_max = cc->u.cubic.w_max;
    cc->u.cubic.undo_k = cc->u.cubic.k;
    cc->u.cubic.undo_w_est = cc->u.cubic.w_est;
    cc->u.cubic.undo_prior = cc->u.cubic.prior;
    cc->u.cubic.undo_epoch = cc->u.cubic.epoch_start;

    double window = (double)cc->window;
    /* 4.7 fast convergence: a flow that did not get back to where it was makes room for others. */
    cc->u.cubic.w_max = window < cc->u.cubic.w_max ? window * (1.0 + CUBIC_BETA) / 2.0 : window;
    cc->u.cubic.prior = window;
    cc->u.cubic.epoch_start = 0;
    cc->recovery_start = loss->now;
    cc->window = (uint64_t)(window * CUBIC_BETA);
    if (cc->window < quic_cc_least_window(cc))
        cc->window = quic_cc_least_window(cc);
    cc->threshold = cc->window;
}

/* 4.8, as after a time-out: slow start up to the threshold, then a new epoch that starts from where it is. */
static void cubic_on_persistent(struct quic_cc *cc, base_time now) {
    (void)now;
    cc->window = quic_cc_least_window(cc);
    cc->recovery_start = 0;
    cc->u.cubic.w_max = 0.0;
    cc->u.cubic.epoch_start = 0;
    cc->u.cubic.undo_window = 0;
}

/* 4.9.2 */
static void cubic_on_spurious(struct quic_cc *cc, base_time now) {
    (void)now;
    if (cc->u.cubic.undo_window == 0)
        return;
    if (cc->window < cc->u.cubic.undo_window)
        cc->window = cc->u.cubic.undo_window;
    cc->threshold = cc->u.cubic.undo_threshold;
    cc->recovery_start = cc->u.cubic.undo_recovery;
    cc->u.cubic.w_max = cc->u.cubic.undo_w_max;
    cc->u.cubic.k = cc->u.cubic.undo_k;
    cc->u.cubic.w_est = cc->u.cubic.undo_w_est;
    cc->u.cubic.prior = cc->u.cubic.undo_prior;
    cc->u.cubic.epoch_start = cc->u.cubic.undo_epoch;
    cc->u.cubic.undo_window = 0;
}

const struct quic_cc_ops quic_cc_cubic = {.name = "cubic",
                                          .init = cubic_init,
                                          .on_sent = cubic_on_sent,
                                          .on_ack = cubic_on_ack,
                                          .on_congestion = cubic_on_congestion,
                                          .on_persistent = cubic_on_persistent,
                                          .on_spurious = cubic_on_spurious,
                                          .on_mtu = quic_cc_on_mtu};
