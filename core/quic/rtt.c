/* rtt.c - the round-trip estimator (RFC 9002 section 5).
 *
 * Knows samples and their filter. Does not know packets: whether an ACK gives a sample, and how much of the peer's ACK
 * Delay is believed, is decided in recovery_ack.c (5.1, 5.3).
 *
 * The invariant that matters: once `sampled`, min <= every sample since it was set. ACK Delay never touches min, and is
 * subtracted only while what remains is not below min: a peer that lies about its delay can raise nothing and lower
 * nothing beyond what the path itself has shown.
 */
#include "quic/rtt.h"

void quic_rtt_init(struct quic_rtt *rtt, base_time initial) {
    *rtt = (struct quic_rtt){.smoothed = initial, .variation = initial / 2};
}

void quic_rtt_sample(struct quic_rtt *rtt, base_time sample, base_time ack_delay) {
    rtt->latest = sample;
    if (!rtt->sampled) {
        rtt->sampled = true;
        rtt->min = rtt->smoothed = sample;
        rtt->variation = sample / 2;
        return;
    }
    rtt->min = base_time_min(rtt->min, sample);
    base_time adjusted = sample - rtt->min >= ack_delay ? sample - ack_delay : sample;
    base_time deviation = rtt->smoothed > adjusted ? rtt->smoothed - adjusted : adjusted - rtt->smoothed;
    rtt->variation = rtt->variation - rtt->variation / 4 + deviation / 4;
    rtt->smoothed = rtt->smoothed - rtt->smoothed / 8 + adjusted / 8;
}

void quic_rtt_on_persistent(struct quic_rtt *rtt) {
    if (rtt->sampled)
        rtt->min = rtt->latest;
}
