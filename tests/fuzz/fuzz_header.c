/* fuzz_header.c - any bytes as a datagram of coalesced packets: nothing is read beyond them, and what a parsed header
 * promises holds. The first byte is the length of our connection IDs. */
#include <stdlib.h>

#include "quic/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds) {
    if (!holds)
        abort();
}

static void touch(const uint8_t *at, size_t len) {
    static volatile uint8_t sink;
    for (size_t i = 0; i < len; i++)
        sink = (uint8_t)(sink ^ at[i]);
}

static void check_version_negotiation(const struct quic_header *header) {
    size_t count = quic_header_version_count(header);
    require(count > 0);
    for (size_t i = 0; i < count; i++)
        (void)quic_header_version_at(header, i);
}

/* Answers the packet as an endpoint would that speaks none of its versions: both IDs come back, swapped. */
static void check_answer(const struct quic_header *header) {
    static const uint32_t versions[] = {QUIC_VERSION_1, QUIC_VERSION_2};
    uint8_t out[1200];
    size_t len = quic_header_write_version_negotiation(out, sizeof out, header, header->first, versions, 2);
    struct quic_header answer;
    require(len > 0 && quic_header_parse(out, len, 0, &answer));
    require(answer.type == QUIC_PACKET_VERSION_NEGOTIATION && quic_header_version_count(&answer) == 2);
    require(answer.long_dcid_len == header->long_scid_len && answer.long_scid_len == header->long_dcid_len);
    require(memcmp(answer.long_dcid, header->long_scid, header->long_scid_len) == 0);
}

static void check(const struct quic_header *header, size_t left) {
    require(header->packet_len > 0 && header->packet_len <= left);
    require(header->dcid.len <= QUIC_CID_MAX && header->scid.len <= QUIC_CID_MAX);
    touch(header->long_dcid, header->long_dcid_len);
    touch(header->long_scid, header->long_scid_len);
    touch(header->token, header->token_len);
    if (header->pn_offset)
        require(header->pn_offset + 4 + CRYPTO_SAMPLE_SIZE <= header->packet_len);
    if (header->is_long && header->type == QUIC_PACKET_VERSION_NEGOTIATION && header->version == 0)
        check_version_negotiation(header);
    else if (header->is_long)
        check_answer(header);
    if (header->version_known) {
        require(!header->oversize && quic_version_known(header->version));
        require((header->type == QUIC_PACKET_RETRY) == (header->pn_offset == 0));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    size_t short_dcid_len = data[0] % (QUIC_CID_MAX + 1);
    data++;
    size--;
    while (size > 0) {
        struct quic_header header;
        bool ok = quic_header_parse(data, size, short_dcid_len, &header);
        const uint8_t *dcid;
        size_t dcid_len;
        bool is_long;
        bool peeked = quic_header_peek_dcid(data, size, short_dcid_len, &dcid, &dcid_len, &is_long);
        require(peeked || !ok);
        if (peeked)
            touch(dcid, dcid_len);
        if (ok) {
            check(&header, size);
            require(dcid == header.long_dcid && dcid_len == header.long_dcid_len && is_long == header.is_long);
        }
        require(header.packet_len <= size);
        if (header.packet_len == 0)
            break;
        data += header.packet_len;
        size -= header.packet_len;
    }
    return 0;
}
