/* header_stateless.c - whole packets that carry no packet number: Version Negotiation (RFC 8999 section 6, RFC 9000
 * 17.2.1), Retry (RFC 9000 17.2.5, RFC 9001 5.8, RFC 9369 3.3.3) and stateless reset (RFC 9000 10.3).
 *
 * An endpoint sends these without having a connection, so everything they say comes from the packet they answer and
 * from the arguments; nothing is kept. When and how often they may be sent is the endpoint's business.
 *
 * The invariant that matters: a packet that does not fit is not written at all; 0 is returned.
 */
#include "quic/header.h"

#include "crypto/protect.h"

#define RESET_LEAST 21u /* 5 bytes that look like a short header, and the token */
#define RESET_TOKEN_SIZE 16u

static size_t written(const struct base_writer *out, const uint8_t *start) {
    return out->bad ? 0 : (size_t)(out->pos - start);
}

/* The list begins behind first byte, version and two IDs with their length bytes. */
static size_t version_list_at(const struct quic_header *header) {
    return 1 + 4 + 1 + (size_t)header->long_dcid_len + 1 + (size_t)header->long_scid_len;
}

size_t quic_header_version_count(const struct quic_header *header) {
    assert(header->is_long && header->type == QUIC_PACKET_VERSION_NEGOTIATION);
    return (header->packet_len - version_list_at(header)) / 4;
}

uint32_t quic_header_version_at(const struct quic_header *header, size_t i) {
    assert(i < quic_header_version_count(header));
    return base_load_u32(header->packet + version_list_at(header) + 4 * i);
}

/* The bit that is fixed elsewhere is set here too, so that QUIC can be told from other protocols on the port
 * (17.2.1). */
size_t quic_header_write_version_negotiation(uint8_t *out, size_t capacity, const struct quic_header *cause,
                                             uint8_t random, const uint32_t *versions, size_t count) {
    struct base_writer w = base_writer_of(out, capacity);
    base_write_u8(&w, 0xc0 | random);
    base_write_u32(&w, 0);
    base_write_u8(&w, cause->long_scid_len);
    base_write_bytes(&w, cause->long_scid, cause->long_scid_len);
    base_write_u8(&w, cause->long_dcid_len);
    base_write_bytes(&w, cause->long_dcid, cause->long_dcid_len);
    for (size_t i = 0; i < count; i++)
        base_write_u32(&w, versions[i]);
    return written(&w, out);
}

static enum crypto_version retry_version(uint32_t version) {
    return version == QUIC_VERSION_2 ? CRYPTO_QUIC_V2 : CRYPTO_QUIC_V1;
}

size_t quic_header_write_retry(uint8_t *out, size_t capacity, uint32_t version, const struct quic_cid *dcid,
                               const struct quic_cid *scid, const struct quic_cid *odcid, const uint8_t *token,
                               size_t token_len, uint8_t random) {
    assert(token_len > 0);
    struct base_writer w = base_writer_of(out, capacity);
    base_write_u8(&w, quic_header_long_first(version, QUIC_PACKET_RETRY, random & 0x0f));
    base_write_u32(&w, version);
    base_write_u8(&w, dcid->len);
    base_write_bytes(&w, dcid->id, dcid->len);
    base_write_u8(&w, scid->len);
    base_write_bytes(&w, scid->id, scid->len);
    base_write_bytes(&w, token, token_len);
    size_t len = written(&w, out);
    uint8_t *tag = base_write_space(&w, CRYPTO_TAG_SIZE);
    if (!tag || !crypto_retry_tag(retry_version(version), odcid->id, odcid->len, out, len, tag))
        return 0;
    return written(&w, out);
}

/* The tag's key is public, so comparing it tells an attacker nothing by its time. */
bool quic_header_retry_valid(const struct quic_header *header, const struct quic_cid *odcid) {
    assert(header->version_known && header->type == QUIC_PACKET_RETRY);
    size_t len = header->packet_len - CRYPTO_TAG_SIZE;
    uint8_t tag[CRYPTO_TAG_SIZE];
    return crypto_retry_tag(retry_version(header->version), odcid->id, odcid->len, header->packet, len, tag) &&
           memcmp(tag, header->packet + len, sizeof tag) == 0;
}

size_t quic_header_write_stateless_reset(uint8_t *out, size_t len, const uint8_t token[16],
                                         const struct base_random *random) {
    if (len < RESET_LEAST)
        return 0;
    base_random_fill(random, out, len - RESET_TOKEN_SIZE);
    out[0] = (uint8_t)(0x40 | (out[0] & 0x3f)); /* a short header, to an onlooker */
    memcpy(out + len - RESET_TOKEN_SIZE, token, RESET_TOKEN_SIZE);
    return len;
}
