/* header.h - packet headers as bytes: the invariants of RFC 8999, the long and short headers of RFC 9000 section 17,
 * and the packets that are nothing but a header (Version Negotiation, Retry, stateless reset).
 *
 * Parsing here trusts nothing and protects nothing: header protection is still on, so only what lies outside of it is
 * read.
 */
#ifndef QUIC_HEADER_H
#define QUIC_HEADER_H

#include "base/cursor.h"
#include "base/random.h"
#include "quic/types.h"

enum quic_packet_type {
    QUIC_PACKET_INITIAL = 0,
    QUIC_PACKET_0RTT,
    QUIC_PACKET_HANDSHAKE,
    QUIC_PACKET_RETRY,
    QUIC_PACKET_VERSION_NEGOTIATION,
    QUIC_PACKET_1RTT,
};

struct quic_header {
    enum quic_packet_type type; /* meaningful when version_known or short or Version Negotiation */
    bool is_long;
    bool version_known;         /* long header of a version this build speaks */
    uint8_t first;              /* first byte, still protected */
    uint32_t version;           /* long headers */
    struct quic_cid dcid, scid; /* for an unknown version, IDs longer than 20 are cut off and `oversize` is set */
    bool oversize;
    const uint8_t *long_dcid, *long_scid; /* IDs in full, for Version Negotiation echoes of unknown versions */
    uint8_t long_dcid_len, long_scid_len;
    const uint8_t *token; /* Initial: token; Retry: token */
    size_t token_len;
    const uint8_t *packet; /* first byte of this packet */
    size_t packet_len;     /* of this packet in the datagram: the rest of it may hold another (coalesced) one */
    size_t pn_offset;      /* where the packet number starts; 0 for Retry and Version Negotiation */
};

/* Reads the packet at the start of data[0, len). `short_dcid_len`: length of our own connection IDs. False when it is
 * no QUIC packet that could be answered or opened: cut short, fixed bit 0 in a known version, lengths that pass the
 * end, connection ID over 20 bytes in a known version, a Retry without token, too short to hold a sample (pn_offset +
 * 4 + 16).
 *
 * When false, packet_len is still set when it is known, and 0 when not: what lies behind a packet that cannot be used
 * must be looked at all the same (RFC 9000 12.2). A stateless reset may be as short as 21 bytes and fail here: look
 * for the token then too. Fixed bit 0 is always refused, so we never advertise grease_quic_bit (RFC 9287). */
bool quic_header_parse(const uint8_t *data, size_t len, size_t short_dcid_len, struct quic_header *header);
/* The versions a Version Negotiation packet lists: count, and the i-th. */
size_t quic_header_version_count(const struct quic_header *header);
uint32_t quic_header_version_at(const struct quic_header *header, size_t i);

/* Only the Destination Connection ID of a datagram's first packet: the look-up's fast path. False when cut short. */
bool quic_header_peek_dcid(const uint8_t *data, size_t len, size_t short_dcid_len, const uint8_t **dcid,
                           size_t *dcid_len, bool *is_long);

bool quic_version_known(uint32_t version);
/* First byte of a long header (not Version Negotiation) with these four low bits. */
uint8_t quic_header_long_first(uint32_t version, enum quic_packet_type type, uint8_t low);
/* Writes a long header up to and without the packet number. `pn_len` 1..4 goes into the first byte. The length field
 * always takes 2 bytes, at *length_at, to be filled with quic_header_patch_length when the packet's size is known. */
void quic_header_write_long(struct base_writer *out, uint32_t version, enum quic_packet_type type, uint8_t pn_len,
                            const struct quic_cid *dcid, const struct quic_cid *scid, const uint8_t *token,
                            size_t token_len, uint8_t **length_at);
void quic_header_patch_length(uint8_t *length_at, size_t len); /* len: packet number + payload + tag, < 16384 */
void quic_header_write_short(struct base_writer *out, const struct quic_cid *dcid, uint8_t pn_len, bool key_phase,
                             bool spin);

/* Whole packets. Each returns the length written, 0 when it does not fit. */
size_t quic_header_write_version_negotiation(uint8_t *out, size_t capacity, const struct quic_header *cause,
                                             uint8_t random, const uint32_t *versions, size_t count);
/* Retry with its integrity tag; `odcid` is the ID the client chose. */
size_t quic_header_write_retry(uint8_t *out, size_t capacity, uint32_t version, const struct quic_cid *dcid,
                               const struct quic_cid *scid, const struct quic_cid *odcid, const uint8_t *token,
                               size_t token_len, uint8_t random);
/* Checks the tag of a received Retry against the ID we chose. */
bool quic_header_retry_valid(const struct quic_header *header, const struct quic_cid *odcid);
/* A stateless reset of `len` bytes (21..) ending in the token (RFC 9000 10.3). */
size_t quic_header_write_stateless_reset(uint8_t *out, size_t len, const uint8_t token[16],
                                         const struct base_random *random);

/* Packet numbers (RFC 9000 17.1, appendix A). `largest` QUIC_NO_NUMBER = none. */
uint8_t quic_number_len(uint64_t number, uint64_t largest_acked);
uint64_t quic_number_expand(uint64_t largest_received, uint32_t truncated, uint8_t len);

const char *quic_packet_type_name(enum quic_packet_type type);

#endif
