/* mtu.h - how large datagrams on the active path may be (RFC 9000 section 14.3, RFC 8899).
 *
 * A path starts with 1200 bytes. Once the handshake is confirmed, PINGs padded to a larger size are sent; when one is
 * acknowledged the size is known to pass. A probe that is lost says nothing about congestion. When large datagrams stop
 * arriving while small ones do (a black hole), the path falls back to 1200 and the search starts again below what
 * failed.
 *
 * Invariant: 1200 <= paths[active].mtu <= target, and only sizes that were acknowledged are above 1200.
 */
#ifndef QUIC_MTU_H
#define QUIC_MTU_H

#include "quic/types.h"

struct quic_conn;
struct quic_sent_packet;

#define QUIC_MTU_TRIES 3u
#define QUIC_MTU_MOST 65000u /* what fits into a train */

struct quic_mtu {
    uint32_t target;  /* the most we would send: option, interface and the peer's max_udp_payload_size */
    uint32_t failed;  /* smallest size known not to pass; 0 = none */
    uint32_t probing; /* size of the probe in flight or wanted; 0 = none */
    uint8_t tries;    /* probes of this size lost */
    bool in_flight;
    uint64_t probe;        /* its packet number */
    base_time raise_at;    /* the search ended below the target: again then; BASE_NEVER = not */
    uint64_t large_passed; /* the newest large packet acknowledged, + 1 */
    uint8_t strikes;       /* losses of newer large ones, a round trip apart, while smaller packets passed */
    base_time struck_at;
};

/* The handshake is confirmed, or the path is a new one: start over. */
void quic_mtu_start(struct quic_conn *conn);
/* Size of the probe to send now, 0 = none. */
uint32_t quic_mtu_wanted(struct quic_conn *conn, base_time now);
/* The probe went out as 1-RTT packet `number`. */
void quic_mtu_on_sent(struct quic_conn *conn, uint64_t number);
/* A 1-RTT packet was acknowledged or lost. */
void quic_mtu_on_packet(struct quic_conn *conn, uint64_t number, const struct quic_sent_packet *packet, bool acked);
/* A probe time-out: several in a row with large datagrams may mean a black hole that lets no packet of ours through. */
void quic_mtu_on_timeout(struct quic_conn *conn);
/* Probes of a time-out are of two sizes, so that one passes a black hole: is the next one the small one? */
bool quic_mtu_wants_small(const struct quic_conn *conn);

#endif
