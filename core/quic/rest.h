/* rest.h - a connection at rest: what it gives back, and how it answers without taking it again.
 *
 * A busy connection keeps rings, pools and expanded keys, so that it need not allocate. QUIC_REST_AFTER the last thing
 * there was to do they are given back: there may be a million like it. What comes to most connections at rest is a
 * keep-alive, so that must cost no more than itself. A datagram with nothing but PING, ACK and PADDING is taken with
 * the keys as they are, packed; the PING is acknowledged at once (RFC 9000 13.2.1 leaves the delay to us), by a packet
 * of which nothing is kept; and a PING of our own takes the log for as long as it is in flight. No timer runs for it
 * afterwards: it never left its rest.
 *
 * Whatever else comes or is to be said wakes the connection: its keys are unpacked, and it rests again in its time. So
 * does a peer that sends more than QUIC_REST_PACKETS in QUIC_REST_AFTER: from then on expanded keys are cheaper.
 *
 * Invariant: conn->keys_packed says that it rests; then it has no expanded 1-RTT keys, and a sent log only while a PING
 * is in flight.
 */
#ifndef QUIC_REST_H
#define QUIC_REST_H

#include "base/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct quic_conn;

#define QUIC_REST_AFTER BASE_SEC
#define QUIC_REST_PACKETS 4u

/* What was taken in and sent while at rest, lately. */
struct quic_rest {
    base_time since;
    uint8_t packets; /* since then */
};

/* Arms the timer after which it rests, if nothing but time-outs is left to happen; called with the other timers. */
void quic_rest_arm(struct quic_conn *conn, base_time now);
/* The timer: everything kept for speed is given back. */
void quic_rest_begin(struct quic_conn *conn);
/* Of one that rests: it may take this many datagrams as it is. */
bool quic_rest_hears_now(struct quic_conn *conn, size_t datagrams, base_time now);
/* Of one that rests: it has no more to say than an ACK, a PING or nothing. */
bool quic_rest_speaks_now(struct quic_conn *conn, base_time now);

#endif
