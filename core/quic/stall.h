/* stall.h - peers that stay and take nothing, or let nothing come to an end.
 *
 * The idle time-out of RFC 9000 10.1 follows packets: a PING every few seconds keeps a connection for ever, and with it
 * all that we hold for it. Two more clocks follow what applications get done.
 *
 * stall_timeout: bytes of ours wait for the peer's acknowledgement or credit, or bytes of the peer's lie behind a hole
 * that it does not fill, and next to nothing of it moves. An application of ours that does not read is no stall.
 * progress_timeout: no byte of any stream and no datagram was new in either direction, whether something waits or not.
 *
 * Both look twice in their time, so they come true between once and one and a half times of it. The connection is
 * closed with NO_ERROR and a reason; its owner hears of QUIC_CAUSE_IDLE.
 *
 * Invariant: no clock runs in a connection of which nothing waits, unless progress_timeout is set.
 */
#ifndef QUIC_STALL_H
#define QUIC_STALL_H

#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>

struct quic_conn;

struct quic_stall {
    uint64_t waiting;  /* bytes that waited at the last look */
    uint64_t moved;    /* streams.moved then */
    uint64_t progress; /* and all that applications had got done */
    uint8_t quiet;     /* looks in a row without progress */
};

/* Arms the clocks if there is a reason; called with the other timers. */
void quic_stall_arm(struct quic_conn *conn, base_time now);
/* Stops the stall clock when nothing waits: the connection is quiet. */
void quic_stall_rest(struct quic_conn *conn);
void quic_stall_on_timeout(struct quic_conn *conn, base_time now);
void quic_stall_on_progress_timeout(struct quic_conn *conn, base_time now);

#endif
