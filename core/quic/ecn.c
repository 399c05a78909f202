/* ecn.c - the test of a path, and the check of counts (RFC 9000 section 13.4.2, appendix A.4).
 *
 * Networks do four things to the mark on a packet: keep it, clear it, change it, or drop the packet for it. So a path
 * is tested with its first ten packets, or for three PTO. One that is acknowledged as it was sent proves the path
 * capable. What speaks against it: an ACK that does not account for the marks it acknowledges (cleared, or changed to
 * ECT(1)); marks that all come back as CE, for a queue that is full from the first packet on and marks each of ten is
 * far rarer than a box that sets both bits; and losing all of them. A probe time-out ends the test at once, so that
 * probes are not marked: a network that drops what is marked costs one PTO. A single lost packet is not held against
 * the path, though.
 *
 * Not here: what a CE mark does to the window (recovery_ack.c), which datagrams may be marked (tx_packet.c).
 *
 * The invariant that matters: from TESTING and UNKNOWN there is one way to CAPABLE, an acknowledgement of ECT(0).
 */
#include "quic/ecn.h"

#define ECN_TEST_PACKETS 10u /* A.4 */
#define ECN_TEST_LEAST 3u    /* fewer losses than these prove nothing */
#define ECN_PAUSE_PTOS 3u

void quic_ecn_start(struct quic_ecn_path *path, bool wanted, base_time now) {
    *path = (struct quic_ecn_path){.state = wanted ? QUIC_ECN_TESTING : QUIC_ECN_OFF, .test_start = now};
}

/* All packets of the test have met their fate, and none arrived as it was sent. */
static bool ecn_test_failed(struct quic_ecn_path *path) {
    if (path->state != QUIC_ECN_UNKNOWN || path->acked + path->lost < path->sent)
        return false;
    if (path->sent < ECN_TEST_LEAST) {
        path->state = QUIC_ECN_TESTING; /* goes on with the next packets */
        path->test_end = 0;
        return false;
    }
    path->state = QUIC_ECN_FAILED;
    return true;
}

enum quic_ecn quic_ecn_mark(struct quic_ecn_path *path, base_time now) {
    if (path->state == QUIC_ECN_TESTING && path->test_end && now >= path->test_end) {
        path->state = QUIC_ECN_UNKNOWN;
        (void)ecn_test_failed(path); /* all may be settled by now */
    }
    return path->state == QUIC_ECN_TESTING || path->state == QUIC_ECN_CAPABLE ? QUIC_ECT0 : QUIC_NOT_ECT;
}

void quic_ecn_on_sent(struct quic_ecn_path *path, base_time now, base_time period) {
    if (path->state != QUIC_ECN_TESTING)
        return;
    if (!path->test_end)
        path->test_end = base_time_add(now, period);
    if (++path->sent >= ECN_TEST_PACKETS)
        path->state = QUIC_ECN_UNKNOWN;
}

static bool ecn_is_tested_with(const struct quic_ecn_path *path, base_time sent_at) {
    return (path->state == QUIC_ECN_TESTING || path->state == QUIC_ECN_UNKNOWN) && sent_at >= path->test_start;
}

bool quic_ecn_on_lost(struct quic_ecn_path *path, base_time sent_at) {
    if (!ecn_is_tested_with(path, sent_at))
        return false;
    path->lost++;
    return ecn_test_failed(path);
}

bool quic_ecn_on_withdrawn(struct quic_ecn_path *path, base_time sent_at) {
    if (!ecn_is_tested_with(path, sent_at) || path->sent == 0)
        return false;
    path->sent--;
    return ecn_test_failed(path); /* it may have been the last that the test waited for */
}

void quic_ecn_on_heard(struct quic_ecn_path *path, base_time now) {
    if (path->state == QUIC_ECN_PAUSED)
        quic_ecn_start(path, true, now);
}

void quic_ecn_on_timeout(struct quic_ecn_path *path, uint32_t count) {
    if (path->state == QUIC_ECN_TESTING && path->sent)
        path->state = QUIC_ECN_UNKNOWN;
    else if (path->state == QUIC_ECN_CAPABLE && count >= ECN_PAUSE_PTOS)
        path->state = QUIC_ECN_PAUSED;
}

bool quic_ecn_check(struct quic_ecn_counts *counts, uint64_t ect0, uint64_t ect1, uint64_t ce, uint64_t acked,
                    uint64_t *more_ect0, uint64_t *more_ce) {
    *more_ect0 = ect0 > counts->ect0 ? ect0 - counts->ect0 : 0;
    *more_ce = ce > counts->ce ? ce - counts->ce : 0;
    if (!ect0 && !ect1 && !ce)
        return acked == 0;
    bool shrunk = ect0 < counts->ect0 || ect1 < counts->ect1 || ce < counts->ce;
    bool strange = ect1 > counts->ect1 || ect0 > counts->sent || ce > counts->sent || ect0 + ce > counts->sent;
    bool missing = *more_ect0 + *more_ce < acked;
    counts->ect0 += *more_ect0; /* judged or not: what is told later is compared with what is known now */
    counts->ect1 = ect1 > counts->ect1 ? ect1 : counts->ect1;
    counts->ce += *more_ce;
    return !shrunk && !strange && !missing;
}

bool quic_ecn_judge(struct quic_ecn_path *path, bool good, uint32_t acked, bool kept) {
    if (!quic_ecn_is_live(path))
        return false;
    if (!good) {
        path->state = QUIC_ECN_FAILED;
        return true;
    }
    if (path->state != QUIC_ECN_TESTING && path->state != QUIC_ECN_UNKNOWN)
        return false;
    if (kept) {
        path->state = QUIC_ECN_CAPABLE;
        return false;
    }
    path->acked += acked;
    return ecn_test_failed(path);
}
