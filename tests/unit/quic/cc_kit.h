/* cc_kit.h - what the tests of congestion controllers share: a controller that is fed by hand. */
#ifndef CC_KIT_H
#define CC_KIT_H

#include "base/toolkit.h"
#include "quic/cc.h"

#define MTU 1200u
#define RTT (100 * BASE_MS)
#define START (10 * BASE_SEC)

struct feed {
    struct quic_cc cc;
    struct quic_rtt rtt;
    uint64_t next; /* packet number */
};

static inline void feed_init(struct feed *f, const struct quic_cc_ops *ops, bool hystart) {
    memset(f, 0, sizeof *f);
    quic_cc_init(&f->cc, NULL, ops, MTU, 10, hystart);
    f->cc.hystart.paced = true;
    f->rtt = (struct quic_rtt){.latest = RTT, .smoothed = RTT, .min = RTT, .sampled = true};
    f->next = 100;
}

/* `bytes`, sent a round trip before `now`, are acknowledged; the window was in use. */
static inline void feed_ack(struct feed *f, base_time now, uint64_t bytes, bool app_limited) {
    struct quic_cc_ack ack = {.now = now,
                              .acked_bytes = bytes,
                              .fresh_bytes = now - RTT > f->cc.recovery_start ? bytes : 0,
                              .bytes_in_flight = f->cc.window,
                              .prior_in_flight = f->cc.window,
                              .largest_sent_at = now - RTT,
                              .largest_number = f->next,
                              .next_number = f->next + f->cc.window / MTU,
                              .rtt_sample = RTT,
                              .rtt = &f->rtt,
                              .app_limited = app_limited};
    f->next++;
    f->cc.ops->on_ack(&f->cc, &ack);
}

/* Something sent at `sent_at` was lost (or marked). */
static inline void feed_loss(struct feed *f, base_time now, base_time sent_at, bool ecn) {
    struct quic_cc_loss loss = {.now = now,
                                .largest_lost_sent_at = sent_at,
                                .lost_bytes = MTU,
                                .bytes_in_flight = f->cc.window,
                                .largest_lost_number = f->next,
                                .next_number = f->next + 1,
                                .ecn = ecn};
    f->cc.ops->on_congestion(&f->cc, &loss);
}

#endif
