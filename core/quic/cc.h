/* cc.h - congestion control behind one table of functions (RFC 9002 section 7).
 *
 * A controller sees what was sent, acknowledged and lost on one path, and answers with a window in bytes and, if it has
 * an opinion, a pacing rate. It knows nothing of packets' content, streams or timers. What is small lies inside struct
 * quic_cc; a controller that needs more says how much (state_size), and each path it governs owns such a block.
 *
 * Invariant: window >= 2 * mtu.
 */
#ifndef QUIC_CC_H
#define QUIC_CC_H

#include "base/mem.h"
#include "quic/rtt.h"

/* What one ACK frame brought. */
struct quic_cc_ack {
    base_time now;
    uint64_t acked_bytes;                 /* newly acknowledged in-flight bytes */
    uint64_t fresh_bytes;                 /* of these, sent after cc->recovery_start as it was before the ACK */
    uint64_t lost_bytes;                  /* newly lost, found with the same ACK */
    uint64_t bytes_in_flight;             /* after the ACK */
    uint64_t prior_in_flight;             /* before it */
    base_time largest_sent_at;            /* when the largest newly acknowledged packet was sent */
    uint64_t largest_number, next_number; /* packet numbers: largest newly acknowledged; the next we will send */
    base_time rtt_sample;                 /* 0 = this ACK gave none */
    const struct quic_rtt *rtt;
    /* delivery rate of the newest acknowledged packet (draft-cheng-iccrg-delivery-rate-estimation) */
    uint64_t delivered;        /* total bytes delivered on the path so far */
    uint64_t sample_delivered; /* bytes delivered over sample_interval */
    uint64_t packet_delivered; /* `delivered` when that packet was sent */
    base_time sample_interval; /* 0 = no sample */
    uint64_t sample_in_flight; /* bytes in flight when that packet had been sent, it included */
    uint64_t sample_lost;      /* bytes declared lost between its sending and now */
    bool sample_app_limited;
    bool app_limited; /* the window was not used up when the newest acknowledged packet was sent: do not grow */
};

struct quic_cc_loss {
    base_time now;
    base_time largest_lost_sent_at; /* decides whether this is a new congestion event (RFC 9002 7.3.2) */
    uint64_t lost_bytes;
    uint64_t bytes_in_flight; /* after the loss */
    uint64_t delivered;       /* total bytes delivered on the path so far */
    uint64_t largest_lost_number, next_number;
    bool ecn; /* reported by ECN-CE instead of a loss */
};

/* One lost packet, for controllers that want to know at which flight the losses began. */
struct quic_cc_lost {
    base_time now, sent_at;
    uint64_t number, bytes;
    uint64_t in_flight; /* when it had been sent, it included */
    uint64_t lost;      /* bytes declared lost since, it included */
    uint64_t delivered; /* total bytes delivered on the path so far */
    bool app_limited;
};

struct quic_cc;
struct quic_resume;

/* A controller. What may be NULL is not called then. */
struct quic_cc_ops {
    const char *name;
    bool models;                       /* the window follows from a model of the path: nobody else can move it */
    size_t state_size;                 /* bytes of cc->state, all zero at init; 0 = none */
    bool (*init)(struct quic_cc *cc);  /* false: out of memory; clear is not called then */
    void (*clear)(struct quic_cc *cc); /* may be NULL */
    void (*on_sent)(struct quic_cc *cc, base_time now, uint64_t number, uint64_t bytes, uint64_t bytes_in_flight);
    void (*on_ack)(struct quic_cc *cc, const struct quic_cc_ack *ack);
    void (*on_lost)(struct quic_cc *cc,
                    const struct quic_cc_lost *lost); /* each packet, before on_congestion; may be NULL */
    void (*on_congestion)(struct quic_cc *cc,
                          const struct quic_cc_loss *loss);   /* may be within one event: it decides */
    void (*on_persistent)(struct quic_cc *cc, base_time now); /* RFC 9002 7.6 */
    void (*on_spurious)(struct quic_cc *cc, base_time now);   /* every loss of the last event was spurious: undo */
    void (*on_mtu)(struct quic_cc *cc, uint32_t mtu);
    const char *(*state_name)(const struct quic_cc *cc); /* for logs, static; NULL: that of RFC 9002 7.3 */
};

/* HyStart++ (RFC 9406), shared by newreno and cubic. */
struct quic_hystart {
    bool enabled, in_css;
    bool paced;          /* packets are paced: one ACK may grow the window by any amount (L = infinity) */
    uint64_t window_end; /* packet number that ends the round */
    base_time last_min, current_min, css_baseline;
    uint32_t samples, css_rounds;
};

struct quic_cc {
    const struct quic_cc_ops *ops;
    uint64_t window;      /* congestion window, bytes */
    uint64_t threshold;   /* slow start threshold, bytes; UINT64_MAX at first */
    uint64_t pacing_rate; /* bytes a second; 0 = let the pacer derive it from window and RTT */
    uint64_t quantum;     /* bytes that may go in one burst, >= 2 * mtu; 0 = the pacer's choice */
    uint32_t mtu;
    uint32_t initial_packets;
    base_time recovery_start; /* packets sent before this belong to the last congestion event; 0 = none */
    bool app_limited;         /* kept by recovery: nothing more was there to send, or the controller held back */
    bool holds_back;          /* kept by the controller: what is sent now says nothing about the path's bandwidth */
    struct quic_hystart hystart;
    uint64_t events;            /* congestion events, for the counters */
    void *state;                /* ops->state_size bytes, owned by this struct */
    struct quic_resume *resume; /* stands before the controller, owned by this struct; NULL = none (resume.h) */
    union {
        struct {
            uint64_t acked;                       /* bytes acknowledged towards the next increase */
            uint64_t undo_window, undo_threshold; /* undo_window 0 = nothing to undo */
            base_time undo_recovery;
        } newreno;
        struct {
            double w_max, k, w_est, prior; /* RFC 9438 4.1.2 (prior: cwnd_prior), in bytes and seconds */
            double carry;                  /* growth below one byte */
            base_time epoch_start;         /* 0 = no epoch; moved on by the time the window was not used */
            base_time limited_since;       /* application-limited since then; 0 = not */
            base_time quiet_since;         /* nothing in flight since then; 0 = something is */
            double undo_w_max, undo_k, undo_w_est, undo_prior;
            uint64_t undo_window, undo_threshold; /* undo_window 0 = nothing to undo */
            base_time undo_recovery, undo_epoch;
        } cubic;
    } u;
};

extern const struct quic_cc_ops quic_cc_newreno; /* RFC 9002 7, appendix B */
extern const struct quic_cc_ops quic_cc_cubic;   /* RFC 9438 */
extern const struct quic_cc_ops quic_cc_bbr;     /* draft-ietf-ccwg-bbr: BBRv3 */

/* By name or index (the order of the congestion_control option); NULL when there is none. */
const struct quic_cc_ops *quic_cc_find(const char *name);
const struct quic_cc_ops *quic_cc_at(unsigned index);

/* False: out of memory, and there is nothing to clear. `mem` is not used by controllers without a state. */
bool quic_cc_init(struct quic_cc *cc, struct base_mem *mem, const struct quic_cc_ops *ops, uint32_t mtu,
                  uint32_t initial_packets, bool hystart);
void quic_cc_clear(struct quic_cc *cc, struct base_mem *mem); /* idempotent */
/* min(initial_packets * mtu, max(14720, 2 * mtu)) for the default of 10 packets; initial_packets * mtu when asked for
 * more. */
uint64_t quic_cc_initial_window(uint32_t mtu, uint32_t initial_packets);

/* ---- for controllers ---- */

/* 2 * mtu (RFC 9002 7.2). */
static inline uint64_t quic_cc_least_window(const struct quic_cc *cc) { return 2 * (uint64_t)cc->mtu; }
/* Grows the window by an ACK's fresh bytes, as far as the threshold, and leaves slow start when HyStart++ says so
 * (which is asked in the first slow start only, RFC 9406 4.3). Returns the bytes that are left for congestion
 * avoidance. */
uint64_t quic_cc_slow_start(struct quic_cc *cc, const struct quic_cc_ack *ack);
/* The usual on_mtu: the window keeps to its minimum; one that has seen nothing yet becomes the new initial window (RFC
 * 9002 7.2). */
void quic_cc_on_mtu(struct quic_cc *cc, uint32_t mtu);

/* HyStart++: true: leave slow start now. *divisor is what to divide slow start growth by (1, or 4 in conservative slow
 * start). */
void quic_hystart_init(struct quic_hystart *h, bool enabled);
bool quic_hystart_on_ack(struct quic_hystart *h, const struct quic_cc_ack *ack, unsigned *divisor);

/* ---- pacing (RFC 9002 7.7) ---- */

/* A leaky bucket of bytes: bursts up to `burst`, then the rate. */
struct quic_pacer {
    bool enabled;
    int64_t credit; /* bytes that may go now; may be overdrawn by one train */
    base_time last; /* when credit was last filled */
};

void quic_pacer_init(struct quic_pacer *pacer, bool enabled);
/* Bytes a second for this controller now: its own rate, or window / smoothed RTT * 2 in slow start, * 1.25 after. */
uint64_t quic_pacer_rate(const struct quic_cc *cc, const struct quic_rtt *rtt);
/* Largest burst: the controller's quantum, or about 2 ms of the rate, at least 10 and at most 64 KiB / mtu (but >= 10)
 * datagrams. */
uint64_t quic_pacer_burst(const struct quic_cc *cc, uint64_t rate);
/* Bytes that may be sent now (0: wait). UINT64_MAX when pacing is off. */
uint64_t quic_pacer_allowance(struct quic_pacer *pacer, const struct quic_cc *cc, const struct quic_rtt *rtt,
                              base_time now);
void quic_pacer_on_sent(struct quic_pacer *pacer, uint64_t bytes);
/* When the next train may go; `now` when it may go at once. Rounded so that a timer wakes for a useful amount, not a
 * packet. */
base_time quic_pacer_deadline(const struct quic_pacer *pacer, const struct quic_cc *cc, const struct quic_rtt *rtt,
                              base_time now);

#endif
