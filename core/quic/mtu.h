/* mtu.h - how large datagrams on the active path may be (RFC 9000 section 14.3, RFC 8899).
 *
 * A path starts with 1200 bytes. Once the handshake is confirmed, PINGs padded to a larger size are sent; when one is acknowledged the size is known to
 * pass. A probe that is lost says nothing about congestion. When datagrams of the larger size stop arriving altogether (a black hole), the path
 * falls back to 1200 and probing starts again later.
 *
 * Invariant: confirmed <= target, and paths[active].mtu == confirmed.
 */
#ifndef QUIC_MTU_H
#define QUIC_MTU_H

#include "quic/types.h"

struct quic_conn;

#define QUIC_MTU_TRIES 3u

struct quic_mtu {
    uint32_t target;    /* the most we would send: option and peer's max_udp_payload_size */
    uint32_t failed;    /* smallest size known not to pass; 0 = none */
    uint32_t probing;   /* size of the probe in flight or wanted; 0 = none */
    uint8_t tries;      /* probes of this size lost */
    bool in_flight;
    base_time retry_at; /* after a black hole: not before */
};

/* The handshake is confirmed, or the path is a new one: start over. */
void quic_mtu_start(struct quic_conn *conn);
/* Size of the probe to send now, 0 = none. */
uint32_t quic_mtu_wanted(const struct quic_conn *conn, base_time now);
void quic_mtu_on_sent(struct quic_conn *conn);
void quic_mtu_on_fate(struct quic_conn *conn, uint32_t size, bool acked);
/* A probe time-out: several in a row with large datagrams mean a black hole. */
void quic_mtu_on_timeout(struct quic_conn *conn);

#endif
