/* recovery.h - loss detection and the state it shares with congestion control (RFC 9002).
 *
 * It is told of every packet sent and every ACK received; it decides which packets are lost, when to probe, and how
 * much may be sent. Frames of acknowledged and lost packets are handed to one function of the owner. Timers are not set
 * here: the owner asks for the deadline and calls quic_recovery_on_timeout.
 *
 * Congestion control, round-trip time, pacing and ECN belong to a path (struct quic_path_control): after a migration
 * the new path starts afresh, and packets sent on an old path do not touch it (RFC 9000 9.4).
 *
 * Invariant: path->bytes_in_flight is the sum of `bytes` of the OUTSTANDING in-flight packets of all spaces on it.
 */
#ifndef QUIC_RECOVERY_H
#define QUIC_RECOVERY_H

#include "quic/ack.h"
#include "quic/cc.h"
#include "quic/ecn.h"
#include "quic/sent.h"
#include "tables/stats.h"

#define QUIC_PATHS 4u
#define QUIC_PACKET_THRESHOLD 3u     /* kPacketThreshold (RFC 9002 6.1.1) */
#define QUIC_PERSISTENT_THRESHOLD 3u /* kPersistentCongestionThreshold (7.6.1) */

/* How far packets overtake each other on a path (RFC 9002 6.1; RFC 8985 6.2 step 4). All zero: not more than is usual,
 * and the thresholds are those of RFC 9002 6.1.1 and 6.1.2. */
struct quic_reordering {
    uint32_t packets; /* so many may be acknowledged above a packet that still comes; 0: QUIC_PACKET_THRESHOLD - 1 */
    base_time time;   /* it may come so much later than the RTT says; 0: an eighth of the RTT */
    uint8_t persist;  /* congestion events until this is forgotten */
};

struct quic_path_control {
    struct quic_rtt rtt;
    struct quic_cc cc;
    struct quic_pacer pacer;
    struct quic_ecn_path ecn; /* the owner starts it (quic_ecn_start) */
    struct path_stats stats;  /* what is received is counted by the owner */
    uint64_t bytes_in_flight;
    /* delivery rate */
    uint64_t delivered, lost; /* bytes so far */
    base_time delivered_at, first_sent_at;
    uint64_t app_limited_until; /* `delivered` + in flight when sending ran dry; 0 = not */
    base_time first_rtt_at;     /* when the first RTT sample was taken, 0 = none: persistent congestion needs it */
    base_time persistent_at;    /* when persistent congestion was found last; older losses do not prove it again */
    /* the last congestion event: is it undone when all its losses prove spurious? */
    uint32_t event_lost; /* its lost packets that were not acknowledged after all */
    uint16_t event;      /* its number, never 0 once there was one */
    bool event_sure;     /* ECN-CE or persistent congestion: there is nothing to undo */
    struct quic_reordering reordering;
};

/* PTO periods grow by backoff up to this. */
#define QUIC_PTO_MAX (60 * BASE_SEC)

enum quic_fate { QUIC_FATE_ACKED, QUIC_FATE_LOST };

/* What the last ACK frame was worth. */
enum quic_ack_result {
    QUIC_ACK_NEWS = 0,
    QUIC_ACK_NOTHING, /* it acknowledged nothing that was not before */
    QUIC_ACK_CUT,     /* it had more ranges than ack_ranges: those beyond count as not said */
};

struct quic_recovery_events {
    /* Every frame record of a packet that was acknowledged or lost, in the order of sending. A packet acknowledged
     * after it was declared lost gives ACKED after LOST. LOST also comes, once, for what a packet still in flight holds
     * when a PTO wants it to be sent again in a probe. Neither function may send, or call back into recovery. */
    void (*on_frame)(void *user, enum quic_space space, const struct quic_sent_frame *frame, enum quic_fate fate);
    /* Once for each packet that was newly acknowledged or lost, before its frames (MTU probes, ECN validation, key
     * phase). May be NULL. */
    void (*on_packet)(void *user, enum quic_space space, uint64_t number, const struct quic_sent_packet *packet,
                      enum quic_fate fate);
};

struct quic_recovery {
    struct base_mem *mem;
    const struct quic_recovery_events *events;
    void *user;
    struct conn_stats *stats;
    enum crypto_role role;
    struct quic_sent spaces[QUIC_SPACES];
    struct quic_path_control *paths[QUIC_PATHS]; /* the owner's; NULL = no such path */
    uint8_t active;                              /* index of the path new packets go on */
    uint8_t eras[QUIC_PATHS];                    /* how many paths each entry had before (low 8 bits) */
    uint8_t ack_result;                          /* enum quic_ack_result */
    uint32_t ack_ranges;                         /* most ranges of an ACK frame that are looked at */
    base_time loss_time[QUIC_SPACES];            /* when the next packet is lost by time; BASE_NEVER = none */
    uint32_t pto_count;
    uint8_t probes[QUIC_SPACES]; /* ack-eliciting packets the owner still has to send regardless of the window */
    bool probes_ride;        /* those of the Handshake space go with those of the Initial space, and end with them */
    base_time max_ack_delay; /* the peer's, ns */
    base_time held;          /* how long the packet being processed has waited here for its keys (5.3) */
    bool handshake_confirmed;
    bool handshake_acked; /* client: a Handshake ACK was received, or confirmed: the server has validated our address */
    bool finished_awaited; /* set by the owner, a server: 1-RTT packets came, only the client's Finished is missing */
    bool has_handshake_keys, has_application_keys;
    bool amplification_blocked; /* set by the owner: nothing may be sent, so no PTO is armed */
    base_time armed_at;         /* when the anti-deadlock timer was last restarted */
    struct quic_ecn_counts ecn[QUIC_SPACES];
};

void quic_recovery_init(struct quic_recovery *r, struct base_mem *mem, enum crypto_role role,
                        const struct quic_recovery_events *events, void *user, struct conn_stats *stats);
void quic_recovery_clear(struct quic_recovery *r);
/* False: out of memory, and there is nothing to clear. */
bool quic_path_control_init(struct quic_path_control *path, struct base_mem *mem, const struct quic_cc_ops *cc,
                            uint32_t mtu, uint32_t initial_packets, bool hystart, bool pacing, base_time initial_rtt);
/* Frees the controller's state; after recovery was cleared, or the path forgotten. */
void quic_path_control_clear(struct quic_path_control *path, struct base_mem *mem);

/* Completes the packet opened in r->spaces[space] (see sent.h) on path r->active, and counts it (packets_sent). Returns
 * its number. For an MTU probe or a key phase the caller sets mtu_probe and key_phase of quic_sent_at(number)
 * afterwards. */
uint64_t quic_recovery_on_sent(struct quic_recovery *r, enum quic_space space, base_time now, uint32_t bytes,
                               bool eliciting, bool in_flight, enum quic_ecn ecn);
/* The same for a packet that went on another path than the active one: a path probe. */
uint64_t quic_recovery_on_sent_over(struct quic_recovery *r, uint8_t path, enum quic_space space, base_time now,
                                    uint32_t bytes, bool eliciting, bool in_flight, enum quic_ecn ecn);

/* An ACK frame. `delay`: ACK Delay, scaled to ns, not limited (5.3 is done here). 0, or the
 * transport error to close with: PROTOCOL_VIOLATION for a number never sent or skipped. */
enum quic_error quic_recovery_on_ack(struct quic_recovery *r, enum quic_space space, struct quic_frame_ack *ack,
                                     base_time delay, base_time now);

/* The soonest of: time-threshold loss, PTO (RFC 9002 6.2, A.8); BASE_NEVER when neither is armed. */
base_time quic_recovery_deadline(const struct quic_recovery *r, base_time now);
/* Hands out once more what the oldest packet held that was not handed out yet, the probe sent last among them, so that
 * the next probe does not go without. */
void quic_recovery_repeat(struct quic_recovery *r, enum quic_space space);
/* The deadline has passed (does nothing otherwise): declares losses, or sets r->probes for the spaces to probe (RFC
 * 9002 6.2.4: two, so that one may be lost; one in other spaces with something in flight, but two in the Handshake
 * space beside those in the Initial space; one against the amplification deadlock for a client with nothing in flight
 * in Initial and Handshake, and for a server that waits for a lost Finished). What the oldest packets of such a space
 * held meets LOST, so that probes have something to say. */
void quic_recovery_on_timeout(struct quic_recovery *r, base_time now);

/* Keys of this space are gone (RFC 9001 4.9): its packets leave the flight without being lost or acknowledged; PTO
 * backoff restarts. */
void quic_recovery_discard_space(struct quic_recovery *r, enum quic_space space);
/* Retry was received: Initial packets must be sent again under the new keys, numbers going on (RFC 9000 17.2.5.3):
 * every outstanding Initial (and 0-RTT) record meets LOST without touching congestion control. The packets are
 * forgotten. */
void quic_recovery_on_retry(struct quic_recovery *r);
/* 0-RTT was rejected: the same for what was sent in the application space so far. */
void quic_recovery_on_early_rejected(struct quic_recovery *r);

/* The owner drops a path, or gives its index to another: packets sent on it do not touch the path control there any
 * more. */
void quic_recovery_forget_path(struct quic_recovery *r, unsigned path);

/* A path was found not to carry marks (`failed`), or was not. */
static inline void quic_recovery_count_failure(struct quic_recovery *r, struct quic_path_control *path, bool failed) {
    r->stats->ecn_failures += failed;
    path->stats.ecn_failures += failed;
}

/* Bytes the window leaves on the active path: 0 when full. Probes may be sent regardless. */
uint64_t quic_recovery_window_left(const struct quic_recovery *r);
/* Nothing more to send though the window is open: the next samples are application-limited. */
void quic_recovery_on_app_limited(struct quic_recovery *r);
/* PTO interval of the active path, incl. max_ack_delay when `space` is application, without backoff. */
base_time quic_recovery_pto(const struct quic_recovery *r, enum quic_space space);

#endif
