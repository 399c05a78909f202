/* types.h - the words the room shares: versions, spaces, connection IDs, addresses, error codes, frame types.
 * Names and numbers are those of RFC 9000, 9001 and 9369. */
#ifndef QUIC_TYPES_H
#define QUIC_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/clock.h"
#include "crypto/tls.h"

#define QUIC_VERSION_1 UINT32_C(0x00000001)
#define QUIC_VERSION_2 UINT32_C(0x6b3343cf)

#define QUIC_MIN_INITIAL 1200u   /* smallest datagram that carries an Initial (RFC 9000 14.1) */
#define QUIC_MAX_DATAGRAM 65527u /* largest UDP payload */
#define QUIC_CID_MAX 20u
#define QUIC_LOCAL_CID_LEN 10u /* connection IDs we issue, unless a load balancer wants others (lb.h) */
#define QUIC_MAX_STREAMS (UINT64_C(1) << 60)
#define QUIC_NO_NUMBER UINT64_MAX /* "no packet number yet" */

enum quic_space { QUIC_INITIAL = 0, QUIC_HANDSHAKE, QUIC_APPLICATION, QUIC_SPACES };

enum quic_ecn { QUIC_NOT_ECT = 0, QUIC_ECT1 = 1, QUIC_ECT0 = 2, QUIC_CE = 3 }; /* the IP header's bits */

struct quic_cid {
    uint8_t len;
    uint8_t id[QUIC_CID_MAX];
};

static inline bool quic_cid_equal(const struct quic_cid *a, const struct quic_cid *b) {
    return a->len == b->len && memcmp(a->id, b->id, a->len) == 0;
}

/* An address and UDP port. IPv4-mapped IPv6 never appears: io turns it into family 4. */
struct quic_addr {
    uint8_t family; /* 4, 6, or 0 = none */
    uint8_t ip[16]; /* 4 or 16 bytes in network order, the rest 0 */
    uint16_t port;  /* host order */
    uint32_t scope; /* IPv6 link-local interface, else 0 */
};

static inline bool quic_addr_same_ip(const struct quic_addr *a, const struct quic_addr *b) {
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof a->ip) == 0 && a->scope == b->scope;
}

static inline bool quic_addr_equal(const struct quic_addr *a, const struct quic_addr *b) {
    return a->port == b->port && quic_addr_same_ip(a, b);
}

/* RFC 9000 20.1 */
enum quic_error {
    QUIC_NO_ERROR = 0x0,
    QUIC_INTERNAL_ERROR = 0x1,
    QUIC_CONNECTION_REFUSED = 0x2,
    QUIC_FLOW_CONTROL_ERROR = 0x3,
    QUIC_STREAM_LIMIT_ERROR = 0x4,
    QUIC_STREAM_STATE_ERROR = 0x5,
    QUIC_FINAL_SIZE_ERROR = 0x6,
    QUIC_FRAME_ENCODING_ERROR = 0x7,
    QUIC_TRANSPORT_PARAMETER_ERROR = 0x8,
    QUIC_CONNECTION_ID_LIMIT_ERROR = 0x9,
    QUIC_PROTOCOL_VIOLATION = 0xa,
    QUIC_INVALID_TOKEN = 0xb,
    QUIC_APPLICATION_ERROR = 0xc,
    QUIC_CRYPTO_BUFFER_EXCEEDED = 0xd,
    QUIC_KEY_UPDATE_ERROR = 0xe,
    QUIC_AEAD_LIMIT_REACHED = 0xf,
    QUIC_NO_VIABLE_PATH = 0x10,
    QUIC_VERSION_NEGOTIATION_ERROR = 0x11, /* RFC 9368 */
    QUIC_CRYPTO_ERROR = 0x100,             /* + TLS alert */
};

/* RFC 9000 19 */
enum quic_frame_type {
    QUIC_FRAME_PADDING = 0x00,
    QUIC_FRAME_PING = 0x01,
    QUIC_FRAME_ACK = 0x02,
    QUIC_FRAME_ACK_ECN = 0x03,
    QUIC_FRAME_RESET_STREAM = 0x04,
    QUIC_FRAME_STOP_SENDING = 0x05,
    QUIC_FRAME_CRYPTO = 0x06,
    QUIC_FRAME_NEW_TOKEN = 0x07,
    QUIC_FRAME_STREAM = 0x08, /* .. 0x0f: + FIN 1, LEN 2, OFF 4 */
    QUIC_FRAME_MAX_DATA = 0x10,
    QUIC_FRAME_MAX_STREAM_DATA = 0x11,
    QUIC_FRAME_MAX_STREAMS_BIDI = 0x12,
    QUIC_FRAME_MAX_STREAMS_UNI = 0x13,
    QUIC_FRAME_DATA_BLOCKED = 0x14,
    QUIC_FRAME_STREAM_DATA_BLOCKED = 0x15,
    QUIC_FRAME_STREAMS_BLOCKED_BIDI = 0x16,
    QUIC_FRAME_STREAMS_BLOCKED_UNI = 0x17,
    QUIC_FRAME_NEW_CONNECTION_ID = 0x18,
    QUIC_FRAME_RETIRE_CONNECTION_ID = 0x19,
    QUIC_FRAME_PATH_CHALLENGE = 0x1a,
    QUIC_FRAME_PATH_RESPONSE = 0x1b,
    QUIC_FRAME_CONNECTION_CLOSE = 0x1c,
    QUIC_FRAME_CONNECTION_CLOSE_APP = 0x1d,
    QUIC_FRAME_HANDSHAKE_DONE = 0x1e,
    QUIC_FRAME_IMMEDIATE_ACK = 0x1f,   /* draft-ietf-quic-ack-frequency */
    QUIC_FRAME_RESET_STREAM_AT = 0x24, /* draft-ietf-quic-reliable-stream-reset */
    QUIC_FRAME_DATAGRAM = 0x30,        /* RFC 9221: to the end of the packet */
    QUIC_FRAME_DATAGRAM_LEN = 0x31,    /* with a length field */
    QUIC_FRAME_ACK_FREQUENCY = 0xaf,
};

/* Stream IDs (RFC 9000 2.1): bit 0 = opened by the server, bit 1 = unidirectional. */
static inline bool quic_stream_is_uni(uint64_t id) { return (id & 2) != 0; }
static inline bool quic_stream_is_of(uint64_t id, enum crypto_role role) { return (id & 1) == (uint64_t)role; }

#endif
