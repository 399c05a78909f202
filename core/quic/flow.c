/* flow.c - flow control credit (RFC 9000 section 4).
 *
 * Knows one limit and how much of it is used, for a stream or for a connection alike. Does not know frames: it says
 * when the peer should hear of a new limit, and the owner tells it.
 *
 * A new limit is due when half of the window has been used up: later would stall the peer for a round trip, earlier
 * would spend a frame on a few bytes. Two halves emptied within two round trips mean that the window, not the
 * application, sets the pace; then it doubles.
 *
 * The invariant that matters: consumed <= received <= max, and max never falls (RFC 9000 4.1).
 */
#include "quic/flow.h"

#include <assert.h>

#include "base/cursor.h"

void quic_flow_recv_init(struct quic_flow_recv *flow, uint64_t window, uint64_t window_max) {
    *flow = (struct quic_flow_recv){
        .max = window, .window = window, .window_max = window_max > window ? window_max : window};
}

static void flow_tune(struct quic_flow_recv *flow, base_time rtt, base_time now) {
    bool fast = flow->updated_at && rtt && now - flow->updated_at < base_time_add(rtt, rtt);
    if (!fast || flow->window >= flow->window_max)
        return;
    flow->window = flow->window > flow->window_max / 2 ? flow->window_max : flow->window * 2;
}

bool quic_flow_recv_consume(struct quic_flow_recv *flow, uint64_t bytes, base_time rtt, base_time now) {
    flow->consumed += bytes;
    assert(flow->consumed <= flow->received && flow->received <= flow->max);
    if (flow->max - flow->consumed > flow->window / 2)
        return false;
    flow_tune(flow, rtt, now);
    uint64_t max = flow->window > BASE_VARINT_MAX - flow->consumed ? BASE_VARINT_MAX : flow->consumed + flow->window;
    if (max <= flow->max)
        return false;
    flow->max = max;
    flow->updated_at = now;
    return true;
}

void quic_flow_send_init(struct quic_flow_send *flow, uint64_t max) {
    *flow = (struct quic_flow_send){.max = max, .blocked_at = UINT64_MAX};
}
