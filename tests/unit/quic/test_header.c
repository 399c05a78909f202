/* test_header.c - packet headers against the examples of RFC 9001 appendix A and RFC 9369 appendix A, cut short
 * everywhere, coalesced, of unknown versions; the packets that are only a header; packet numbers against RFC 9000
 * appendix A. */
#include "quic/header.h"

#include "hex.h"

#define V1 QUIC_VERSION_1
#define V2 QUIC_VERSION_2
#define UNKNOWN_VERSION UINT32_C(0x1a2a3a4a)

static const struct quic_cid client_cid = {8, {0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08}};
static const struct quic_cid server_cid = {8, {0xf0, 0x67, 0xa5, 0x50, 0x2a, 0x42, 0x62, 0xb5}};
static const struct quic_cid no_cid;

static void fill(void *user, uint8_t *out, size_t len) {
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)roll(user);
}

/* ---- the RFCs' examples --------------------------------------------------------------------------------------- */

/* Headers before protection; the packet's length comes out of the length field. */
static const struct {
    const char *hex;
    uint32_t version;
    enum quic_packet_type type;
    const struct quic_cid *dcid, *scid;
    uint8_t pn_len;
    size_t length;
} examples[] = {
    {"c300000001088394c8f03e5157080000449e00000002", V1, QUIC_PACKET_INITIAL, &client_cid, &no_cid, 4, 1182},
    {"c1000000010008f067a5502a4262b50040750001", V1, QUIC_PACKET_INITIAL, &no_cid, &server_cid, 2, 117},
    {"d36b3343cf088394c8f03e5157080000449e00000002", V2, QUIC_PACKET_INITIAL, &client_cid, &no_cid, 4, 1182},
    {"d16b3343cf0008f067a5502a4262b50040750001", V2, QUIC_PACKET_INITIAL, &no_cid, &server_cid, 2, 117},
    {"e1000000010008f067a5502a4262b540750001", V1, QUIC_PACKET_HANDSHAKE, &no_cid, &server_cid, 2, 117},
    {"f16b3343cf0008f067a5502a4262b540750001", V2, QUIC_PACKET_HANDSHAKE, &no_cid, &server_cid, 2, 117},
    {"d0000000010008f067a5502a4262b5401401", V1, QUIC_PACKET_0RTT, &no_cid, &server_cid, 1, 20},
    {"e06b3343cf0008f067a5502a4262b5401401", V2, QUIC_PACKET_0RTT, &no_cid, &server_cid, 1, 20},
};
#define EXAMPLES ((int)(sizeof examples / sizeof *examples))

/* The example's header, and zeros up to the end of its packet. */
static struct bytes example_packet(int i) {
    struct bytes header = hex(examples[i].hex);
    struct bytes packet = {calloc(1, header.len - examples[i].pn_len + examples[i].length), 0};
    packet.len = header.len - examples[i].pn_len + examples[i].length;
    memcpy(packet.at, header.at, header.len);
    free(header.at);
    return packet;
}

START_TEST(example_is_read)
{
    struct bytes packet = example_packet(_i);
    struct quic_header header;
    ck_assert(quic_header_parse(packet.at, packet.len, 8, &header));
    ck_assert(header.is_long && header.version_known && !header.oversize);
    ck_assert_uint_eq(header.version, examples[_i].version);
    ck_assert_int_eq(header.type, examples[_i].type);
    ck_assert_uint_eq(header.first, packet.at[0]);
    ck_assert(quic_cid_equal(&header.dcid, examples[_i].dcid));
    ck_assert(quic_cid_equal(&header.scid, examples[_i].scid));
    ck_assert_uint_eq(header.token_len, 0);
    ck_assert_ptr_eq(header.packet, packet.at);
    ck_assert_uint_eq(header.packet_len, packet.len);
    ck_assert_uint_eq(header.pn_offset, packet.len - examples[_i].length);
    free(packet.at);
}
END_TEST

START_TEST(example_is_written)
{
    struct bytes want = hex(examples[_i].hex);
    size_t header_len = want.len - examples[_i].pn_len;
    uint8_t out[64], *length_at;
    for (size_t room = 0; room <= header_len; room++) {
        struct base_writer writer = base_writer_of(out, room);
        quic_header_write_long(&writer, examples[_i].version, examples[_i].type, examples[_i].pn_len, examples[_i].dcid,
                               examples[_i].scid, NULL, 0, &length_at);
        ck_assert_int_eq(writer.bad, room < header_len);
        if (!writer.bad)
            ck_assert_uint_eq((size_t)(writer.pos - out), header_len);
    }
    quic_header_patch_length(length_at, examples[_i].length);
    ck_assert_mem_eq(out, want.at, header_len);
    free(want.at);
}
END_TEST

START_TEST(example_cut_short)
{
    struct bytes whole = example_packet(_i);
    for (size_t len = 0; len < whole.len; len++) {
        struct bytes part = bytes_of(whole.at, len);
        struct quic_header header;
        ck_assert(!quic_header_parse(part.at, len, 8, &header));
        ck_assert_uint_eq(header.packet_len, 0);
        const uint8_t *dcid;
        size_t dcid_len;
        bool is_long;
        bool peeked = quic_header_peek_dcid(part.at, len, 8, &dcid, &dcid_len, &is_long);
        ck_assert_int_eq(peeked, len >= 6 + (size_t)examples[_i].dcid->len);
        free(part.at);
    }
    free(whole.at);
}
END_TEST

START_TEST(short_header)
{
    uint8_t packet[64];
    struct base_writer writer = base_writer_of(packet, sizeof packet);
    quic_header_write_short(&writer, &client_cid, 3, false, false);
    ck_assert_uint_eq((size_t)(writer.pos - packet), 9);
    ck_assert_uint_eq(packet[0], 0x42); /* RFC 9001 A.5 */
    struct quic_header header;
    for (size_t len = 0; len <= 40; len++) {
        struct bytes part = bytes_of(packet, len);
        ck_assert_int_eq(quic_header_parse(part.at, len, 8, &header), len >= 1 + 8 + 4 + 16);
        free(part.at);
    }
    ck_assert(quic_header_parse(packet, 40, 8, &header));
    ck_assert(!header.is_long && !header.version_known);
    ck_assert_int_eq(header.type, QUIC_PACKET_1RTT);
    ck_assert(quic_cid_equal(&header.dcid, &client_cid));
    ck_assert_uint_eq(header.pn_offset, 9);
    ck_assert_uint_eq(header.packet_len, 40);
    ck_assert(quic_header_parse(packet, 21, 0, &header));
    ck_assert_uint_eq(header.pn_offset, 1);
    packet[0] &= 0xbf; /* fixed bit */
    ck_assert(!quic_header_parse(packet, 40, 8, &header));

    writer = base_writer_of(packet, sizeof packet);
    quic_header_write_short(&writer, &no_cid, 1, true, true);
    ck_assert_uint_eq(packet[0], 0x64);
    writer = base_writer_of(packet, 8);
    quic_header_write_short(&writer, &client_cid, 1, true, true);
    ck_assert(writer.bad);
}
END_TEST

/* ---- rules ---------------------------------------------------------------------------------------------------- */

START_TEST(initial_token)
{
    uint8_t packet[256], *length_at;
    struct base_writer writer = base_writer_of(packet, sizeof packet);
    uint8_t token[70] = {1, 2, 3};
    quic_header_write_long(&writer, V1, QUIC_PACKET_INITIAL, 1, &client_cid, &server_cid, token, sizeof token,
                           &length_at);
    size_t header_len = (size_t)(writer.pos - packet);
    ck_assert_uint_eq(header_len, 1 + 4 + 9 + 9 + 2 + 70 + 2);
    quic_header_patch_length(length_at, 20);
    struct quic_header header;
    ck_assert(quic_header_parse(packet, header_len + 20, 8, &header));
    ck_assert_uint_eq(header.token_len, sizeof token);
    ck_assert_mem_eq(header.token, token, sizeof token);
    for (size_t len = 0; len < header_len + 20; len++) {
        struct bytes part = bytes_of(packet, len);
        ck_assert(!quic_header_parse(part.at, len, 8, &header));
        free(part.at);
    }
}
END_TEST

static bool parses(const char *text, struct quic_header *header) {
    static struct bytes kept; /* header borrows it until the next call */
    free(kept.at);
    kept = hex(text);
    return quic_header_parse(kept.at, kept.len, 8, header);
}

#define ZEROS_19 "00000000000000000000000000000000000000"

START_TEST(lengths)
{
    struct quic_header header;
    ck_assert(parses("c0 00000001 00 00 00 14 00" ZEROS_19, &header));
    ck_assert(!parses("c0 00000001 00 00 00 15 00" ZEROS_19, &header)); /* beyond the datagram */
    ck_assert(!parses("c0 00000001 00 00 00 ffffffffffffffff 00" ZEROS_19, &header));
    ck_assert(!parses("c0 00000001 00 00 ffffffffffffffff 14 00" ZEROS_19, &header)); /* token */
    ck_assert_uint_eq(header.packet_len, 0);
    ck_assert(!parses("c0 00000001 00 00 00 13" ZEROS_19 "aabb", &header)); /* no sample, but it tells where it ends */
    ck_assert_uint_eq(header.packet_len, 9 + 19);
    ck_assert(!parses("80 00000001 00 00 00 14 00" ZEROS_19 "aabb", &header)); /* fixed bit 0 */
    ck_assert_uint_eq(header.packet_len, 9 + 20);
    ck_assert(parses("e0 00000001 00 00 c000000000000014 00" ZEROS_19, &header)); /* length in eight bytes */
    ck_assert(parses("c0 00000001 00 00 4001 ff 14 00" ZEROS_19, &header));       /* token length in two */
    ck_assert_uint_eq(header.token_len, 1);
}
END_TEST

START_TEST(connection_id_sizes)
{
    for (size_t len = 0; len <= 255; len++) {
        for (int known = 0; known < 2; known++) {
            uint8_t packet[600];
            struct base_writer writer = base_writer_of(packet, sizeof packet);
            base_write_u8(&writer, 0xe0);
            base_write_u32(&writer, known ? V1 : UNKNOWN_VERSION);
            base_write_u8(&writer, (uint8_t)len);
            for (size_t i = 0; i < len; i++)
                base_write_u8(&writer, (uint8_t)i);
            base_write_u8(&writer, (uint8_t)(255 - len));
            for (size_t i = 0; i < 255 - len; i++)
                base_write_u8(&writer, (uint8_t)(i ^ 0x80));
            base_write_u8(&writer, 20);
            for (int i = 0; i < 20; i++)
                base_write_u8(&writer, 0);
            struct bytes whole = bytes_of(packet, (size_t)(writer.pos - packet));
            struct quic_header header;
            bool ok = quic_header_parse(whole.at, whole.len, 8, &header);
            ck_assert_int_eq(ok, !known); /* one of both IDs is over 20 bytes */
            ck_assert(header.oversize);
            ck_assert_uint_eq(header.long_dcid_len, len);
            ck_assert_uint_eq(header.long_scid_len, 255 - len);
            ck_assert_ptr_eq(header.long_dcid, whole.at + 6);
            ck_assert_ptr_eq(header.long_scid, whole.at + 7 + len);
            ck_assert_uint_eq(header.dcid.len, len > 20 ? 20 : len);
            free(whole.at);
        }
    }
}
END_TEST

/* Of an unknown version nothing is known but what RFC 8999 says: not even the fixed bit. */
START_TEST(unknown_version)
{
    struct quic_header header;
    ck_assert(parses("80 1a2a3a4a 02 aabb 03 ccddee", &header));
    ck_assert(header.is_long && !header.version_known && !header.oversize);
    ck_assert_uint_eq(header.version, UNKNOWN_VERSION);
    ck_assert_uint_eq(header.packet_len, 12);
    ck_assert(!parses("80 1a2a3a4a 02 aabb 03 ccdd", &header));
    ck_assert(!quic_version_known(UNKNOWN_VERSION) && quic_version_known(V1) && quic_version_known(V2));
    ck_assert(!quic_version_known(0));
}
END_TEST

START_TEST(coalesced)
{
    struct bytes bytes = hex("c0 00000001 01aa 01bb 00 14 00" ZEROS_19 "e0 00000001 01aa 01bb 15 0000" ZEROS_19
                             "40 aa" ZEROS_19 ZEROS_19);
    static const enum quic_packet_type types[] = {QUIC_PACKET_INITIAL, QUIC_PACKET_HANDSHAKE, QUIC_PACKET_1RTT};
    size_t at = 0;
    for (size_t i = 0; i < 3; i++) {
        struct quic_header header;
        ck_assert(quic_header_parse(bytes.at + at, bytes.len - at, 1, &header));
        ck_assert_int_eq(header.type, types[i]);
        ck_assert(header.dcid.len == 1 && header.dcid.id[0] == 0xaa);
        at += header.packet_len;
    }
    ck_assert_uint_eq(at, bytes.len);
    free(bytes.at);
}
END_TEST

START_TEST(peek)
{
    struct bytes bytes = hex("ff 1a2a3a4a 03 aabbcc");
    const uint8_t *dcid;
    size_t dcid_len;
    bool is_long;
    ck_assert(quic_header_peek_dcid(bytes.at, bytes.len, 8, &dcid, &dcid_len, &is_long));
    ck_assert(is_long && dcid_len == 3 && dcid == bytes.at + 6);
    ck_assert(!quic_header_peek_dcid(bytes.at, bytes.len - 1, 8, &dcid, &dcid_len, &is_long));
    bytes.at[0] = 0x40;
    ck_assert(quic_header_peek_dcid(bytes.at, bytes.len, 8, &dcid, &dcid_len, &is_long));
    ck_assert(!is_long && dcid_len == 8 && dcid == bytes.at + 1);
    ck_assert(!quic_header_peek_dcid(bytes.at, bytes.len, 9, &dcid, &dcid_len, &is_long));
    ck_assert(!quic_header_peek_dcid(bytes.at, 0, 8, &dcid, &dcid_len, &is_long));
    free(bytes.at);
}
END_TEST

/* ---- packets that are only a header --------------------------------------------------------------------------- */

START_TEST(version_negotiation)
{
    static const uint32_t versions[] = {V1, V2, UNKNOWN_VERSION};
    struct quic_header cause, answer;
    uint8_t packet[600] = {0x80, 0x1a, 0x2a, 0x3a, 0x4a, 255}, out[600];
    memset(packet + 6, 0x11, 255);
    packet[6 + 255] = 200;
    memset(packet + 7 + 255, 0x22, 200);
    ck_assert(quic_header_parse(packet, 7 + 255 + 200, 8, &cause));
    const size_t want = 7 + 255 + 200 + 12;
    for (size_t room = 0; room < want; room++)
        ck_assert_uint_eq(quic_header_write_version_negotiation(out, room, &cause, 0x15, versions, 3), 0);
    size_t len = quic_header_write_version_negotiation(out, want, &cause, 0x15, versions, 3);
    ck_assert_uint_eq(len, want);
    ck_assert_uint_eq(out[0], 0xd5);
    ck_assert(quic_header_parse(out, len, 8, &answer));
    ck_assert_int_eq(answer.type, QUIC_PACKET_VERSION_NEGOTIATION);
    ck_assert(answer.long_dcid_len == 200 && answer.long_scid_len == 255 && answer.oversize);
    ck_assert_mem_eq(answer.long_dcid, packet + 7 + 255, 200);
    ck_assert_mem_eq(answer.long_scid, packet + 6, 255);
    ck_assert_uint_eq(answer.pn_offset, 0);
    ck_assert_uint_eq(quic_header_version_count(&answer), 3);
    for (size_t i = 0; i < 3; i++)
        ck_assert_uint_eq(quic_header_version_at(&answer, i), versions[i]);
    for (size_t cut = 1; cut <= 12; cut++) /* no version, or one cut short */
        ck_assert_int_eq(quic_header_parse(out, len - cut, 8, &answer), cut % 4 == 0 && cut < 12);
    ck_assert(parses("80 00000000 00 00 00000001", &answer)); /* its other bits say nothing */
}
END_TEST

static const struct {
    const char *hex; /* RFC 9001 A.4, RFC 9369 A.4: the ID the client chose is client_cid */
    uint32_t version;
} retries[] = {
    {"ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba", V1},
    {"cf6b3343cf0008f067a5502a4262b5746f6b656ec8646ce8bfe33952d955543665dcc7b6", V2},
};

START_TEST(retry)
{
    struct bytes want = hex(retries[_i].hex);
    uint8_t out[64];
    for (size_t room = 0; room < want.len; room++)
        ck_assert_uint_eq(quic_header_write_retry(out, room, retries[_i].version, &no_cid, &server_cid, &client_cid,
                                                  (const uint8_t *)"token", 5, 0x0f),
                          0);
    size_t len = quic_header_write_retry(out, sizeof out, retries[_i].version, &no_cid, &server_cid, &client_cid,
                                         (const uint8_t *)"token", 5, 0xff);
    ck_assert_uint_eq(len, want.len);
    ck_assert_mem_eq(out, want.at, len);
    struct quic_header header;
    ck_assert(quic_header_parse(want.at, want.len, 8, &header));
    ck_assert_int_eq(header.type, QUIC_PACKET_RETRY);
    ck_assert_uint_eq(header.token_len, 5);
    ck_assert_mem_eq(header.token, "token", 5);
    ck_assert(header.pn_offset == 0 && header.packet_len == want.len);
    ck_assert(quic_header_retry_valid(&header, &client_cid));
    ck_assert(!quic_header_retry_valid(&header, &server_cid));
    ck_assert(!quic_header_parse(want.at, want.len - 5, 8, &header)); /* no token left */
    for (size_t i = 0; i < want.len; i++) {
        if (i >= 1 && i < 6) /* another version, another length: another packet altogether */
            continue;
        want.at[i] ^= 1;
        if (quic_header_parse(want.at, want.len, 8, &header) && header.type == QUIC_PACKET_RETRY)
            ck_assert_msg(!quic_header_retry_valid(&header, &client_cid), "byte %zu changed", i);
        want.at[i] ^= 1;
    }
    free(want.at);
}
END_TEST

START_TEST(stateless_reset)
{
    uint64_t dice = 7;
    const struct base_random random = {fill, &dice};
    const uint8_t token[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    for (size_t len = 0; len < 100; len++) {
        uint8_t out[100] = {0}, before[100];
        memset(out, 0xee, sizeof out);
        memset(before, 0xee, sizeof before);
        size_t wrote = quic_header_write_stateless_reset(out, len, token, &random);
        ck_assert_uint_eq(wrote, len < 21 ? 0 : len);
        ck_assert_mem_eq(out + wrote, before + wrote, sizeof out - wrote);
        if (wrote) {
            ck_assert_uint_eq(out[0] >> 6, 1);
            ck_assert_mem_eq(out + len - 16, token, 16);
        }
    }
}
END_TEST

/* ---- packet numbers ------------------------------------------------------------------------------------------- */

START_TEST(number_examples)
{
    ck_assert_uint_eq(quic_number_len(0xac5c02, 0xabe8b3), 2);
    ck_assert_uint_eq(quic_number_len(0xace8fe, 0xabe8b3), 3);
    ck_assert_uint_eq(quic_number_expand(0xa82f30ea, 0x9b32, 2), 0xa82f9b32);
    ck_assert_uint_eq(quic_number_len(0, QUIC_NO_NUMBER), 1);
    ck_assert_uint_eq(quic_number_expand(QUIC_NO_NUMBER, 0, 1), 0);
    ck_assert_uint_eq(quic_number_len(126, QUIC_NO_NUMBER), 1);
    ck_assert_uint_eq(quic_number_len(127, QUIC_NO_NUMBER), 2);
    ck_assert_uint_eq(quic_number_len(UINT64_C(1) << 40, 0), 4);
}
END_TEST

/* A.3, said another way: of the numbers with these low bits the one in (expected - half, expected + half], which at the
 * start of the space may be out of reach: then the lowest. */
START_TEST(expand_all_small)
{
    for (uint64_t expected = 0; expected < 1000; expected++) {
        for (uint32_t low = 0; low < 256; low++) {
            uint64_t want = low;
            while (want + 128 <= expected)
                want += 256;
            require(quic_number_expand(expected - 1, low, 1) == want, "expanded");
            require(quic_number_expand(expected - 1, low | 0xabcd00, 1) == want, "more bits than were sent");
        }
    }
}
END_TEST

/* Whatever the receiver has seen since the acknowledgement, it finds the number that was meant. */
START_TEST(numbers_there_and_back)
{
    uint64_t dice = 3;
    for (int i = 0; i < 2000000; i++) {
        uint64_t acked = roll_varint(&dice) >> 1;
        uint64_t number = acked + 1 + (roll(&dice) >> (34 + roll(&dice) % 30));
        uint8_t len = quic_number_len(number, acked);
        if (number - acked >= UINT64_C(1) << 31)
            continue;
        uint64_t half = UINT64_C(1) << (8 * len - 1);
        require(number - acked < half, "more than twice the range");
        require(len == 1 || number - acked >= half >> 8, "shortest");
        uint64_t received = acked + roll(&dice) % (number - acked);
        uint32_t sent = (uint32_t)number & (uint32_t)(2 * half - 1);
        require(quic_number_expand(received, sent, len) == number, "comes in time");
        require(quic_number_expand(number + roll(&dice) % (half - 1), sent, len) == number, "comes late");
    }
}
END_TEST

START_TEST(number_never_too_large)
{
    for (uint8_t len = 1; len <= 4; len++)
        for (uint64_t back = 0; back < 300; back++)
            for (uint32_t low = 0; low < 256; low++) {
                uint64_t number = quic_number_expand(BASE_VARINT_MAX - back, low, len);
                require(number <= BASE_VARINT_MAX, "a packet number");
                require((number & 0xff) == low, "with these bits");
            }
    ck_assert_uint_eq(quic_number_expand(BASE_VARINT_MAX - 1, 0xff, 1), BASE_VARINT_MAX);
}
END_TEST

START_TEST(type_names)
{
    ck_assert_str_eq(quic_packet_type_name(QUIC_PACKET_INITIAL), "Initial");
    ck_assert_str_eq(quic_packet_type_name(QUIC_PACKET_1RTT), "1-RTT");
    ck_assert_str_eq(quic_packet_type_name((enum quic_packet_type)99), "unknown");
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("quic/header");
    TCase *headers = tcase_create("headers");
    tcase_add_loop_test(headers, example_is_read, 0, EXAMPLES);
    tcase_add_loop_test(headers, example_is_written, 0, EXAMPLES);
    tcase_add_loop_test(headers, example_cut_short, 0, EXAMPLES);
    tcase_add_test(headers, short_header);
    tcase_add_test(headers, initial_token);
    tcase_add_test(headers, lengths);
    tcase_add_test(headers, connection_id_sizes);
    tcase_add_test(headers, unknown_version);
    tcase_add_test(headers, coalesced);
    tcase_add_test(headers, peek);
    tcase_add_test(headers, type_names);
    suite_add_tcase(suite, headers);
    TCase *stateless = tcase_create("stateless");
    tcase_add_test(stateless, version_negotiation);
    tcase_add_loop_test(stateless, retry, 0, 2);
    tcase_add_test(stateless, stateless_reset);
    suite_add_tcase(suite, stateless);
    TCase *numbers = tcase_create("numbers");
    tcase_add_test(numbers, number_examples);
    tcase_add_test(numbers, expand_all_small);
    tcase_add_test(numbers, numbers_there_and_back);
    tcase_add_test(numbers, number_never_too_large);
    suite_add_tcase(suite, numbers);
    return suite;
}
