/* pacer.c - a leaky bucket between the window and the wire (RFC 9002 section 7.7).
 *
 * Knows bytes and time. Does not know packets: a train may overdraw the bucket, the debt is paid before the next one
 * goes.
 *
 * The rate is a little more than a window each round trip (twice in slow start, where the window doubles meanwhile), so
 * that pacing alone never leaves the window unused. The burst is what makes segmentation offload worth while: a timer
 * that fires wakes us for half of it, not for one packet.
 *
 * The invariant that matters: over any time, no more than burst + rate * time + one train goes out. Time that did not
 * amount to a byte is not lost: `last` moves only by what was turned into credit.
 */
#include "quic/cc.h"

#include <assert.h>

#define PACER_BURST_TIME (2 * BASE_MS)
#define PACER_BURST_PACKETS 10u
#define PACER_BURST_BYTES 65536u

void quic_pacer_init(struct quic_pacer *pacer, bool enabled) {
    *pacer = (struct quic_pacer){.enabled = enabled, .credit = INT64_MAX}; /* cut to the burst when first used */
}

/* a * b / c without overflow where the result fits; what would not fit stays at the most. c > 0. */
static uint64_t pacer_scale(uint64_t a, uint64_t b, uint64_t c) {
    if (a == 0 || b <= UINT64_MAX / a)
        return a * b / c;
    double exact = (double)a * (double)b / (double)c;
    return exact < 9.0e18 ? (uint64_t)exact : UINT64_C(9000000000000000000);
}

uint64_t quic_pacer_rate(const struct quic_cc *cc, const struct quic_rtt *rtt) {
    if (cc->pacing_rate)
        return cc->pacing_rate;
    base_time smoothed = rtt->smoothed ? rtt->smoothed : 1;
    uint64_t quarters = cc->window < cc->threshold ? 8 : 5; /* 2 or 1.25 windows */
    uint64_t rate = pacer_scale(cc->window * quarters / 4, BASE_SEC, smoothed);
    return rate ? rate : 1;
}

uint64_t quic_pacer_burst(const struct quic_cc *cc, uint64_t rate) {
    if (cc->quantum)
        return cc->quantum;
    uint64_t least = PACER_BURST_PACKETS * (uint64_t)cc->mtu, most = PACER_BURST_BYTES / cc->mtu * (uint64_t)cc->mtu;
    uint64_t burst = rate / (BASE_SEC / PACER_BURST_TIME);
    if (burst > most)
        burst = most;
    return burst > least ? burst : least;
}

uint64_t quic_pacer_allowance(struct quic_pacer *pacer, const struct quic_cc *cc, const struct quic_rtt *rtt,
                              base_time now) {
    if (!pacer->enabled)
        return UINT64_MAX;
    uint64_t rate = quic_pacer_rate(cc, rtt);
    int64_t burst = (int64_t)quic_pacer_burst(cc, rate);
    if (pacer->credit < burst && now > pacer->last) {
        uint64_t missing = (uint64_t)(burst - pacer->credit), gained = pacer_scale(rate, now - pacer->last, BASE_SEC);
        if (gained >= missing) {
            pacer->credit = burst;
            pacer->last = now;
        } else if (gained > 0) {
            pacer->credit += (int64_t)gained;
            pacer->last = base_time_min(now, pacer->last + pacer_scale(gained, BASE_SEC, rate) +
                                                 1); /* rounded up: never above the rate */
        }
    }
    if (pacer->credit >= burst) {
        pacer->credit = burst;
        pacer->last = now;
    }
    return pacer->credit >= (int64_t)cc->mtu ? (uint64_t)pacer->credit : 0;
}

void quic_pacer_on_sent(struct quic_pacer *pacer, uint64_t bytes) {
    if (pacer->enabled)
        pacer->credit -= (int64_t)bytes;
}

base_time quic_pacer_deadline(const struct quic_pacer *pacer, const struct quic_cc *cc, const struct quic_rtt *rtt,
                              base_time now) {
    struct quic_pacer at_now = *pacer;
    if (quic_pacer_allowance(&at_now, cc, rtt, now) > 0)
        return now;
    uint64_t rate = quic_pacer_rate(cc, rtt);
    int64_t useful = (int64_t)(quic_pacer_burst(cc, rate) / 2);
    assert(at_now.credit < useful); /* half a burst is a datagram at least */
    base_time when = base_time_add(at_now.last, pacer_scale((uint64_t)(useful - at_now.credit), BASE_SEC, rate) + 1);
    return base_time_max(when, now + 1);
}
