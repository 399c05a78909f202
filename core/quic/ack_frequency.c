/* ack_frequency.c - the sender's word in how often its packets are acknowledged (draft-ietf-quic-ack-frequency).
 *
 * Asking: an eighth of the window in packets, and a quarter of the round trip but no more than 25 ms. It is said again
 * when the window has doubled or halved, at most once a round trip. Until the frame is acknowledged either delay may be
 * in force, so the probe time-out counts with the longer one.
 *
 * Being asked: the threshold and the delay go into the policy of ack.c, which then does not adapt by itself any more.
 *
 * The invariant that matters: recovery.max_ack_delay is never below what the peer may be using. Sections 4, 5, 6 and 7
 * of the draft.
 */
#include "quic/ack_frequency.h"

#include "quic/walk.h"

#define LONGEST (25 * BASE_MS)

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

static bool is_other(uint64_t wanted, uint64_t said) { return wanted >= 2 * said || 2 * wanted <= said; }

void quic_ack_frequency_adapt(struct quic_conn *conn, base_time now) {
    struct quic_ack_request *request = &conn->ack_request;
    const struct quic_path_control *control = &quic_path_active(conn)->control;
    if (!conn->config->options.ack_frequency || conn->peer_params.min_ack_delay == QUIC_NO_MIN_ACK_DELAY ||
        !conn->handshake_confirmed || !control->rtt.sampled ||
        (request->at && now - request->at < control->rtt.smoothed))
        return;
    uint64_t every = control->cc.window / control->cc.mtu / 8;
    every = every < QUIC_ACK_EVERY ? QUIC_ACK_EVERY : every > QUIC_ACK_TOLERANCE_MAX ? QUIC_ACK_TOLERANCE_MAX : every;
    base_time delay = base_time_min(LONGEST, control->rtt.smoothed / 4);
    delay = larger(delay - delay % BASE_US, conn->peer_params.min_ack_delay * BASE_US);
    uint64_t said = request->threshold ? request->threshold + 1 : QUIC_ACK_EVERY;
    if (!is_other(every, said) && (!request->threshold || !is_other(delay, request->max_delay)))
        return;
    request->sequence += request->threshold != 0;
    request->threshold = every - 1;
    request->max_delay = delay;
    request->at = now;
    request->want = QUIC_WANTED;
    conn->recovery.max_ack_delay = larger(conn->recovery.max_ack_delay, delay);
    conn->control_wanted = true;
    quic_conn_mark_dirty(conn);
}

void quic_ack_frequency_tx(struct quic_tx *tx) {
    struct quic_ack_request *request = &tx->conn->ack_request;
    const struct quic_sent_frame record = {.kind = QUIC_FRAME_ACK_FREQUENCY, .value = request->sequence};
    struct base_writer trial = tx->out;
    if (request->want != QUIC_WANTED)
        return;
    quic_frame_write_ack_frequency(&trial, request->sequence, request->threshold, request->max_delay / BASE_US,
                                   QUIC_ACK_REORDERING);
    if (trial.bad || !quic_sent_frame(&tx->conn->recovery.spaces[tx->space], &record))
        return;
    tx->out = trial;
    tx->eliciting = true;
    request->want = QUIC_IN_FLIGHT;
}

void quic_ack_frequency_fate(struct quic_conn *conn, const struct quic_sent_frame *frame, bool acked) {
    struct quic_ack_request *request = &conn->ack_request;
    if (frame->value != request->sequence || request->want == QUIC_WANT_DONE)
        return; /* something newer was said since */
    request->want = acked ? QUIC_WANT_DONE : QUIC_WANTED;
    if (acked)
        conn->recovery.max_ack_delay = request->max_delay;
    else
        conn->control_wanted = true;
}

int quic_ack_frequency_rx(struct quic_conn *conn, const struct quic_frame *frame) {
    uint64_t delay = frame->u.ack_frequency.max_delay, sequence = frame->u.ack_frequency.sequence;
    if (delay < QUIC_MIN_ACK_DELAY / BASE_US || delay >= (UINT64_C(1) << 14) * 1000)
        return QUIC_PROTOCOL_VIOLATION;
    if (sequence < conn->ack_request.heard)
        return 0;
    uint64_t threshold = frame->u.ack_frequency.threshold, reordering = frame->u.ack_frequency.reordering;
    conn->ack_request.heard = sequence + 1;
    conn->ack_policy = (struct quic_ack_policy){.max_delay = delay * BASE_US,
                                                .every = threshold < UINT32_MAX ? (uint32_t)threshold + 1 : UINT32_MAX,
                                                .reordering = reordering == 0 || reordering >= UINT32_MAX ? UINT32_MAX
                                                              : reordering == 1                           ? 0
                                                                                : (uint32_t)reordering,
                                                .asked = true};
    return 0;
}
