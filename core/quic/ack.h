/* ack.h - which packets have arrived, and when to say so (RFC 9000 section 13.2).
 *
 * One tracker a packet number space. It suppresses duplicates (12.3), keeps the ranges an ACK frame reports, counts ECN
 * marks and decides when an ACK is due. It knows neither keys nor packets' content, only "ack-eliciting or not".
 *
 * The ranges are those not yet known to have reached the peer: when a packet of ours that carried an ACK is
 * acknowledged, everything the ACK told below its `largest` is forgotten (13.2.4). Forgotten numbers are still refused
 * as duplicates: everything below `floor` counts as received.
 *
 * Invariant: at most QUIC_ACK_RANGES ranges; the lowest is dropped (and floor raised) when another would come.
 */
#ifndef QUIC_ACK_H
#define QUIC_ACK_H

#include "base/cursor.h"
#include "base/range.h"
#include "quic/frame.h"

#define QUIC_ACK_RANGES 32

struct quic_ack {
    struct base_ranges received; /* packet numbers, [start, end) */
    uint64_t floor;              /* below: received or given up, always a duplicate */
    uint64_t eliciting_end;      /* largest ack-eliciting number received + 1; 0 = none yet */
    base_time largest_at;        /* arrival of the largest */
    base_time deadline;          /* when an ACK must go; BASE_NEVER = none owed */
    uint32_t eliciting;          /* ack-eliciting packets since the last ACK we sent */
    bool any;                    /* something was received since the last ACK */
    uint64_t ect0, ect1, ce;     /* marks received */
    uint64_t told_end;           /* largest number an ACK told + 1; 0 = none */
};

/* How an application-space receiver paces its ACKs; Initial and Handshake are acknowledged at once. */
struct quic_ack_policy {
    base_time max_delay; /* our max_ack_delay, or less (quic_ack_policy_adapt) */
    uint32_t every;      /* ACK at the latest after so many ack-eliciting packets (13.2.2: 2; grows with the rate) */
    uint32_t reordering; /* ACK at once with a hole this far below the largest; 0: any (13.2.1), UINT32_MAX: never */
    bool asked;          /* by the peer (ack_frequency.h): does not adapt */
};

#define QUIC_ACK_EVERY 2u      /* where `every` starts and what it falls back to */
#define QUIC_ACK_EVERY_MAX 16u /* where it ends */

/* After a turn in which `batch` ack-eliciting packets came in: adapts the policy to how the peer sends.
 *
 * Every ACK costs both sides a packet, and a peer that sends in trains gains nothing from two ACKs within one train. So
 * `every` follows the size of the trains: it at most doubles a turn, up to QUIC_ACK_EVERY_MAX, and falls half the way
 * back at once when trains get shorter, for a peer with a small window needs its ACKs sooner. While it is above 2, an
 * ACK waits a quarter of `min_rtt` at most: the peer hears four times a round trip whatever the count says, and a train
 * that ends early costs it that quarter, not our whole max_ack_delay. Nothing is thinned before min_rtt is known (0).
 * `max_ack_delay`: the one we told the peer. */
void quic_ack_policy_adapt(struct quic_ack_policy *policy, uint32_t batch, base_time min_rtt, base_time max_ack_delay);

void quic_ack_init(struct quic_ack *ack);
void quic_ack_clear(struct quic_ack *ack, struct base_mem *mem);
/* True when the number was received before (or is too old to know). */
bool quic_ack_is_duplicate(const struct quic_ack *ack, uint64_t number);
/* Notes a packet that is no duplicate, after it was opened and its frames were processed. Only an ack-eliciting packet
 * makes an ACK due; `policy` NULL: at once. It is due at once too when the packet is out of order: below another
 * ack-eliciting one, or with a packet missing between it and the largest ack-eliciting one before it (13.2.1), or
 * marked CE. False: out of memory, nothing noted; the packet must be treated as not received. */
bool quic_ack_on_packet(struct quic_ack *ack, struct base_mem *mem, uint64_t number, bool eliciting, enum quic_ecn ecn,
                        base_time now, const struct quic_ack_policy *policy);
/* The peer wants one now (IMMEDIATE_ACK). */
void quic_ack_at_once(struct quic_ack *ack, base_time now);
/* Largest received, QUIC_NO_NUMBER = none. */
uint64_t quic_ack_largest(const struct quic_ack *ack);
/* True when an ACK frame should be written: owed by `now`, or `bundle` and there is something new to tell. */
bool quic_ack_wanted(const struct quic_ack *ack, base_time now, bool bundle);
/* Writes one ACK frame (ACK_ECN when any mark was counted), as many ranges as fit, newest first. ACK Delay counts from
 * largest_at, scaled by the exponent. False (nothing written) when not even one range fits. *largest: what the frame
 * tells. */
bool quic_ack_write(const struct quic_ack *ack, struct base_writer *out, base_time now, unsigned exponent,
                    uint64_t *largest);
/* The frame just written is really going out. */
void quic_ack_on_sent(struct quic_ack *ack);
/* A packet that carried an ACK frame up to `largest` was acknowledged. */
void quic_ack_on_acked(struct quic_ack *ack, uint64_t largest);

#endif
