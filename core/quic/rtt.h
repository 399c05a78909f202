/* rtt.h - round-trip time of one path (RFC 9002 section 5). All times in ns. */
#ifndef QUIC_RTT_H
#define QUIC_RTT_H

#include "base/clock.h"
#include "quic/types.h"

#define QUIC_GRANULARITY (1 * BASE_MS) /* RFC 9002 6.1.2 */

struct quic_rtt {
    base_time latest, smoothed, variation, min;
    bool sampled; /* false: smoothed and variation stand for the initial value */
};

void quic_rtt_init(struct quic_rtt *rtt, base_time initial);
/* `ack_delay`: already scaled, and limited to max_ack_delay by the caller once the handshake is confirmed (RFC 9002
 * 5.3). */
void quic_rtt_sample(struct quic_rtt *rtt, base_time sample, base_time ack_delay);
/* Persistent congestion was found: the path may have changed, so the minimum starts again from the newest sample
 * (5.2). */
void quic_rtt_on_persistent(struct quic_rtt *rtt);

/* smoothed + max(4 * variation, granularity): the PTO without max_ack_delay and backoff. */
static inline base_time quic_rtt_pto(const struct quic_rtt *rtt) {
    return rtt->smoothed + base_time_max(4 * rtt->variation, QUIC_GRANULARITY);
}

#endif
