/* flow.h - flow control credit in both directions (RFC 9000 section 4). The same two structs serve a connection and
 * a stream.
 *
 * Credit follows consumption: what the application has taken is what the peer may send again. The receive window
 * starts at the advertised size and doubles while the application empties it faster than twice a round trip, up to
 * its limit, so that a fast reader on a long path is not held back and a slow reader never holds more than one
 * window.
 *
 * Invariant: received <= max (the peer broke the protocol otherwise) and consumed <= received.
 */
#ifndef QUIC_FLOW_H
#define QUIC_FLOW_H

#include "base/clock.h"
#include "quic/types.h"

struct quic_flow_recv {
    uint64_t max;      /* limit we have told the peer (or will tell with the wanted update) */
    uint64_t received; /* highest offset (stream), or sum of them (connection) */
    uint64_t consumed; /* taken by the application */
    uint64_t window, window_max;
    base_time updated_at; /* when max was last raised */
};

struct quic_flow_send {
    uint64_t max;        /* the peer's limit */
    uint64_t used;       /* highest offset sent, or sum of them */
    uint64_t blocked_at; /* the limit we were last blocked by and told of; UINT64_MAX = none */
};

void quic_flow_recv_init(struct quic_flow_recv *flow, uint64_t window, uint64_t window_max);
/* The application took `bytes`. True when `max` was raised: tell the peer. `rtt` steers auto-tuning. */
bool quic_flow_recv_consume(struct quic_flow_recv *flow, uint64_t bytes, base_time rtt, base_time now);
void quic_flow_send_init(struct quic_flow_send *flow, uint64_t max);
static inline uint64_t quic_flow_send_left(const struct quic_flow_send *flow) { return flow->max - flow->used; }

#endif
