/* ack_frequency.h - how often the peer is asked to acknowledge, and what we are asked (draft-ietf-quic-ack-frequency).
 *
 * Every ACK costs both sides a packet. A sender knows best how many it needs: about eight in a round trip keep window,
 * pacing and loss detection going. So, where the peer speaks the extension, it is told so as the window grows and
 * shrinks.
 *
 * Invariant: a frame is wanted or in flight only if the peer sent min_ack_delay.
 */
#ifndef QUIC_ACK_FREQUENCY_H
#define QUIC_ACK_FREQUENCY_H

#include "base/clock.h"
#include "quic/types.h"

#define QUIC_MIN_ACK_DELAY BASE_MS /* what we tell the peer: less than this we cannot promise */
#define QUIC_ACK_TOLERANCE_MAX 64u /* packets an ACK is asked for at the most */
#define QUIC_ACK_REORDERING 3u     /* as loss detection's packet threshold */

struct quic_conn;
struct quic_frame;
struct quic_sent_frame;
struct quic_tx;

struct quic_ack_request { /* of a connection */
    uint64_t sequence;    /* of the newest frame; 0 and threshold 0: none yet */
    uint64_t threshold;   /* packets that may go unacknowledged; 0: as in RFC 9000 (1) */
    base_time max_delay;
    base_time at;   /* when it was decided */
    uint64_t heard; /* highest sequence received + 1 */
    uint8_t want;   /* enum quic_want */
};

/* An ACK came: is it time to ask for another rate? */
void quic_ack_frequency_adapt(struct quic_conn *conn, base_time now);
/* 0 or PROTOCOL_VIOLATION. */
int quic_ack_frequency_rx(struct quic_conn *conn, const struct quic_frame *frame);
void quic_ack_frequency_tx(struct quic_tx *tx);
void quic_ack_frequency_fate(struct quic_conn *conn, const struct quic_sent_frame *frame, bool acked);

#endif
