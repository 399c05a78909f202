/* ecn.h - explicit congestion notification: whether packets of a path are marked, and whether what comes back about the
 * marks is believed (RFC 9000 section 13.4, appendix A.4; RFC 9002 sections 7.1 and 8.3).
 *
 * There are two pieces of state, for the peer counts marks in each packet number space, over all paths, while it is a
 * path that keeps, bleaches, mangles or swallows them. The counts are checked once an ACK; the verdict goes to the
 * paths whose packets it acknowledged.
 *
 * Invariant: only a path in state CAPABLE lets CE marks speak; a path that has FAILED is never marked again.
 */
#ifndef QUIC_ECN_H
#define QUIC_ECN_H

#include "quic/types.h"

enum quic_ecn_state {
    QUIC_ECN_OFF = 0, /* not wanted */
    QUIC_ECN_TESTING, /* the first packets are marked */
    QUIC_ECN_UNKNOWN, /* enough were marked; nothing more is until one of them is acknowledged with its mark */
    QUIC_ECN_CAPABLE,
    QUIC_ECN_PAUSED, /* it was capable, then nothing came through any more: tested again when something does */
    QUIC_ECN_FAILED,
};

struct quic_ecn_path {
    uint8_t state;        /* enum quic_ecn_state */
    uint32_t sent;        /* packets of the test: marked and in flight; ... */
    uint32_t acked, lost; /* ... of these, acknowledged as CE, and lost */
    base_time test_start; /* packets sent earlier do not belong to the test */
    base_time test_end;   /* no more marks then, whatever was sent; 0 = the test has not sent anything yet */
};

/* What was marked in a packet number space, and what the peer has counted. */
struct quic_ecn_counts {
    uint64_t sent;           /* packets marked ECT(0) */
    uint64_t ect0, ect1, ce; /* the largest counts told */
};

/* A path begins (or begins again): tests, when marks are wanted. */
void quic_ecn_start(struct quic_ecn_path *path, bool wanted, base_time now);
/* The mark for the next datagram on this path. The path may fail by it: the test was over, and nothing had come of
 * it. */
enum quic_ecn quic_ecn_mark(struct quic_ecn_path *path, base_time now);
/* A marked packet left. `period`: how long a test may last (3 PTO). */
void quic_ecn_on_sent(struct quic_ecn_path *path, base_time now, base_time period);
/* A marked packet that was in flight is lost. True: the path has failed by it. */
bool quic_ecn_on_lost(struct quic_ecn_path *path, base_time sent_at);
/* ... or will never be known to have arrived or not: its keys are gone. */
bool quic_ecn_on_withdrawn(struct quic_ecn_path *path, base_time sent_at);
/* Something on this path was acknowledged, marked or not. */
void quic_ecn_on_heard(struct quic_ecn_path *path, base_time now);
/* The `count`th probe time-out in a row. */
void quic_ecn_on_timeout(struct quic_ecn_path *path, uint32_t count);
/* Marks on this path count in quic_ecn_check. */
static inline bool quic_ecn_is_live(const struct quic_ecn_path *path) {
    return path->state != QUIC_ECN_OFF && path->state != QUIC_ECN_FAILED;
}

/* The counts of an ACK that raises the largest number acknowledged in the space (others may be older than one already
 * seen, 13.4.2.1); all 0: it had none. `acked`: packets it newly acknowledges that were marked on live paths. False:
 * they cannot be true. *more_ect0, *more_ce: by how much the counts have grown. */
bool quic_ecn_check(struct quic_ecn_counts *counts, uint64_t ect0, uint64_t ect1, uint64_t ce, uint64_t acked,
                    uint64_t *more_ect0, uint64_t *more_ce);
/* The verdict for a path of which `acked` marked packets were acknowledged. `kept`: some arrived as ECT(0). True: the
 * path has failed by it. */
bool quic_ecn_judge(struct quic_ecn_path *path, bool good, uint32_t acked, bool kept);

#endif
