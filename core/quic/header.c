/* header.c - packet headers as bytes: RFC 8999, RFC 9000 section 17, RFC 9369 section 3.2 (version 2's type bits).
 *
 * Knows where a packet's parts lie and how packet numbers are cut short. Does not know keys or connections: what
 * header protection hides (packet number, key phase, reserved bits) is not looked at here. Packets that are nothing
 * but a header are written in header_stateless.c.
 *
 * The invariant that matters: a header that was parsed without error describes bytes inside the datagram only, and a
 * packet with a packet number is long enough to be unmasked (RFC 9001 5.4.2).
 */
#include "quic/header.h"

#define FORM_LONG 0x80u
#define FIXED_BIT 0x40u
#define SPIN_BIT 0x20u
#define KEY_PHASE_BIT 0x04u

#define SAMPLE_END (4u + CRYPTO_SAMPLE_SIZE) /* from the start of the packet number */

/* The two type bits of a long header, by version. Anything that differs between versions on the wire is in these
 * rows. */
struct version_bits {
    uint32_t version;
    uint8_t type_of[4]; /* enum quic_packet_type by bits */
    uint8_t bits_of[4]; /* and back */
};

static const struct version_bits versions_known[] = {
    {QUIC_VERSION_1, {QUIC_PACKET_INITIAL, QUIC_PACKET_0RTT, QUIC_PACKET_HANDSHAKE, QUIC_PACKET_RETRY}, {0, 1, 2, 3}},
    {QUIC_VERSION_2, {QUIC_PACKET_RETRY, QUIC_PACKET_INITIAL, QUIC_PACKET_0RTT, QUIC_PACKET_HANDSHAKE}, {1, 2, 3, 0}},
};
#define VERSIONS_KNOWN (sizeof versions_known / sizeof *versions_known)

static const struct version_bits *version_find(uint32_t version) {
    for (size_t i = 0; i < VERSIONS_KNOWN; i++)
        if (versions_known[i].version == version)
            return &versions_known[i];
    return NULL;
}

bool quic_version_known(uint32_t version) { return version_find(version) != NULL; }

/* ---- reading -------------------------------------------------------------------------------------------------- */

static bool parse_short(size_t len, size_t short_dcid_len, struct quic_header *header) {
    assert(short_dcid_len <= QUIC_CID_MAX);
    if (!(header->first & FIXED_BIT) || len < 1 + short_dcid_len + SAMPLE_END)
        return false;
    header->type = QUIC_PACKET_1RTT;
    header->dcid.len = (uint8_t)short_dcid_len;
    if (short_dcid_len)
        memcpy(header->dcid.id, header->packet + 1, short_dcid_len);
    header->long_dcid = header->packet + 1;
    header->long_dcid_len = (uint8_t)short_dcid_len;
    header->packet_len = len;
    header->pn_offset = 1 + short_dcid_len;
    return true;
}

static const uint8_t *parse_cid(struct base_reader *in, struct quic_cid *cid, uint8_t *full_len, bool *oversize) {
    uint8_t len = base_read_u8(in);
    const uint8_t *id = base_read_bytes(in, len);
    if (!id)
        return NULL;
    *full_len = len;
    *oversize |= len > QUIC_CID_MAX;
    cid->len = len > QUIC_CID_MAX ? QUIC_CID_MAX : len;
    memcpy(cid->id, id, cid->len);
    return id;
}

/* Version Negotiation (RFC 8999 section 6): at least one version, and none cut short. */
static bool parse_version_negotiation(const struct base_reader *in, struct quic_header *header) {
    size_t left = base_reader_left(in);
    header->type = QUIC_PACKET_VERSION_NEGOTIATION;
    return left > 0 && left % 4 == 0;
}

/* Retry is the rest of the datagram: token, then integrity tag. One without a token must be discarded (17.2.5.2). */
static bool parse_retry(const struct base_reader *in, struct quic_header *header) {
    size_t left = base_reader_left(in);
    if (left <= CRYPTO_TAG_SIZE)
        return false;
    header->token = in->pos;
    header->token_len = left - CRYPTO_TAG_SIZE;
    return true;
}

/* The rest of a long header with a packet number. Sets packet_len as soon as it is known: a packet too short to be
 * opened must not hide the one behind it. */
static bool parse_numbered(struct base_reader *in, struct quic_header *header) {
    if (header->type == QUIC_PACKET_INITIAL) {
        uint64_t token_len = base_read_varint(in);
        if (in->bad || token_len > base_reader_left(in))
            return false;
        header->token = base_read_bytes(in, (size_t)token_len);
        header->token_len = (size_t)token_len;
    }
    uint64_t len = base_read_varint(in);
    if (in->bad || len > base_reader_left(in))
        return false;
    header->pn_offset = (size_t)(in->pos - header->packet);
    header->packet_len = header->pn_offset + (size_t)len;
    return len >= SAMPLE_END;
}

static bool parse_long(const uint8_t *data, size_t len, struct quic_header *header) {
    struct base_reader in = base_reader_of(data, len);
    in.pos++;
    header->is_long = true;
    header->version = base_read_u32(&in);
    header->long_dcid = parse_cid(&in, &header->dcid, &header->long_dcid_len, &header->oversize);
    header->long_scid = parse_cid(&in, &header->scid, &header->long_scid_len, &header->oversize);
    if (in.bad)
        return false;
    if (header->version == 0) {
        header->packet_len = len;
        return parse_version_negotiation(&in, header);
    }
    const struct version_bits *known = version_find(header->version);
    if (!known) {
        header->packet_len = len;
        return true;
    }
    header->version_known = true;
    header->type = (enum quic_packet_type)known->type_of[header->first >> 4 & 3];
    bool ok = (header->first & FIXED_BIT) && !header->oversize;
    if (header->type != QUIC_PACKET_RETRY)
        return parse_numbered(&in, header) && ok;
    header->packet_len = len;
    return parse_retry(&in, header) && ok;
}

bool quic_header_parse(const uint8_t *data, size_t len, size_t short_dcid_len, struct quic_header *header) {
    *header = (struct quic_header){.packet = data};
    if (len == 0)
        return false;
    header->first = data[0];
    return header->first & FORM_LONG ? parse_long(data, len, header) : parse_short(len, short_dcid_len, header);
}

bool quic_header_peek_dcid(const uint8_t *data, size_t len, size_t short_dcid_len, const uint8_t **dcid,
                           size_t *dcid_len, bool *is_long) {
    if (len == 0)
        return false;
    *is_long = (data[0] & FORM_LONG) != 0;
    size_t at = *is_long ? 6 : 1; /* first byte, version, length byte */
    if (len < at)
        return false;
    *dcid_len = *is_long ? data[5] : short_dcid_len;
    *dcid = data + at;
    return *dcid_len <= len - at;
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

uint8_t quic_header_long_first(uint32_t version, enum quic_packet_type type, uint8_t low) {
    const struct version_bits *known = version_find(version);
    assert(known && type <= QUIC_PACKET_RETRY && low <= 0x0f);
    return (uint8_t)(FORM_LONG | FIXED_BIT | (unsigned)known->bits_of[type] << 4 | low);
}

void quic_header_write_long(struct base_writer *out, uint32_t version, enum quic_packet_type type, uint8_t pn_len,
                            const struct quic_cid *dcid, const struct quic_cid *scid, const uint8_t *token,
                            size_t token_len, uint8_t **length_at) {
    assert(type <= QUIC_PACKET_HANDSHAKE && pn_len >= 1 && pn_len <= 4);
    assert(type == QUIC_PACKET_INITIAL || token_len == 0);
    base_write_u8(out, quic_header_long_first(version, type, (uint8_t)(pn_len - 1)));
    base_write_u32(out, version);
    base_write_u8(out, dcid->len);
    base_write_bytes(out, dcid->id, dcid->len);
    base_write_u8(out, scid->len);
    base_write_bytes(out, scid->id, scid->len);
    if (type == QUIC_PACKET_INITIAL) {
        base_write_varint(out, token_len);
        base_write_bytes(out, token, token_len);
    }
    *length_at = base_write_space(out, 2);
    if (*length_at)
        base_store_varint(*length_at, 0, 2);
}

void quic_header_patch_length(uint8_t *length_at, size_t len) { base_store_varint(length_at, len, 2); }

void quic_header_write_short(struct base_writer *out, const struct quic_cid *dcid, uint8_t pn_len, bool key_phase,
                             bool spin) {
    assert(pn_len >= 1 && pn_len <= 4);
    base_write_u8(out, (uint8_t)(FIXED_BIT | (spin ? SPIN_BIT : 0) | (key_phase ? KEY_PHASE_BIT : 0) | (pn_len - 1u)));
    base_write_bytes(out, dcid->id, dcid->len);
}

/* ---- packet numbers ------------------------------------------------------------------------------------------- */

/* 17.1: the range must be more than twice the distance to the largest acknowledged. QUIC_NO_NUMBER + 1 is 0, so with
 * nothing acknowledged the distance is number + 1, as in A.2. */
uint8_t quic_number_len(uint64_t number, uint64_t largest_acked) {
    uint64_t distance = number - largest_acked;
    return distance < UINT64_C(1) << 7 ? 1 : distance < UINT64_C(1) << 15 ? 2 : distance < UINT64_C(1) << 23 ? 3 : 4;
}

/* A.3: the number closest to the next expected one whose low bits are `truncated`. Never above 2^62-1, which A.3 lets
 * happen at the very end of the space: such a number could not be written into an ACK frame. */
uint64_t quic_number_expand(uint64_t largest_received, uint32_t truncated, uint8_t len) {
    assert(len >= 1 && len <= 4);
    const uint64_t window = UINT64_C(1) << 8 * len, half = window / 2;
    uint64_t expected = largest_received + 1; /* 0 after QUIC_NO_NUMBER */
    uint64_t candidate = (expected & ~(window - 1)) | (truncated & (window - 1));
    if (candidate + half <= expected)
        candidate += window;
    else if (candidate > expected + half && candidate >= window)
        candidate -= window;
    return candidate > BASE_VARINT_MAX ? candidate - window : candidate;
}

const char *quic_packet_type_name(enum quic_packet_type type) {
    static const char *const names[] = {
        [QUIC_PACKET_INITIAL] = "Initial",
        [QUIC_PACKET_0RTT] = "0-RTT",
        [QUIC_PACKET_HANDSHAKE] = "Handshake",
        [QUIC_PACKET_RETRY] = "Retry",
        [QUIC_PACKET_VERSION_NEGOTIATION] = "Version Negotiation",
        [QUIC_PACKET_1RTT] = "1-RTT",
    };
    return (size_t)type < sizeof names / sizeof *names ? names[type] : "unknown";
}
