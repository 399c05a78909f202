/* test_frame.c - every frame there and back, cut short everywhere, and against every rule of RFC 9000 section 19. */
#include "quic/frame.h"

#include "hex.h"

struct sample {
    const char *hex;
    uint64_t type;
    size_t least; /* shortest start of it that is a frame by itself; 0 = only all of it */
};

/* One of each type, and all sizes of varint. */
static const struct sample samples[] = {
    {"00", 0x00, 0},
    {"000000000000000000000000000000000000000000", 0x00, 1},
    {"01", 0x01, 0},
    {"02 05 00 00 05", 0x02, 0},
    {"02 4064 19 02 0a 03 02 00 00", 0x02, 0},
    {"02 ffffffffffffffff 7fff 00 ffffffffffffffff", 0x02, 0},
    {"03 4064 19 01 0a 03 02 01 4080 80010000", 0x03, 0},
    {"04 04 4100 80010000", 0x04, 0},
    {"05 04 c000000100000000", 0x05, 0},
    {"06 00 04 01020304", 0x06, 0},
    {"06 fffffffffffffffb 04 01020304", 0x06, 0},
    {"07 03 aabbcc", 0x07, 0},
    {"08 04 010203", 0x08, 2},
    {"09 04 010203", 0x09, 2},
    {"0a 04 03 010203", 0x0a, 0},
    {"0b 04 4003 010203", 0x0b, 0},
    {"0b 04 00", 0x0b, 0},
    {"0c 04 4100 010203", 0x0c, 4},
    {"0d 04 4100 010203", 0x0d, 4},
    {"0e 04 80010000 4003 010203", 0x0e, 0},
    {"0f 7fff fffffffffffffffc 03 010203", 0x0f, 0},
    {"10 ffffffffffffffff", 0x10, 0},
    {"11 04 7fff", 0x11, 0},
    {"12 d000000000000000", 0x12, 0},
    {"13 05", 0x13, 0},
    {"14 7fff", 0x14, 0},
    {"15 08 bfffffff", 0x15, 0},
    {"16 d000000000000000", 0x16, 0},
    {"17 00", 0x17, 0},
    {"18 05 05 01 aa 000102030405060708090a0b0c0d0e0f", 0x18, 0},
    {"18 4105 00 14 000102030405060708090a0b0c0d0e0f10111213 000102030405060708090a0b0c0d0e0f", 0x18, 0},
    {"19 4105", 0x19, 0},
    {"1a 0102030405060708", 0x1a, 0},
    {"1b 0102030405060708", 0x1b, 0},
    {"1c 0a 08 03 616263", 0x1c, 0},
    {"1c 4100 00 00", 0x1c, 0},
    {"1d bfffffff 03 616263", 0x1d, 0},
    {"1e", 0x1e, 0},
    {"1f", 0x1f, 0},
    {"24 04 4100 7fff 4100", 0x24, 0},
    {"30", 0x30, 1},
    {"30 010203", 0x30, 1},
    {"31 00", 0x31, 0},
    {"31 03 010203", 0x31, 0},
};
#define SAMPLES ((int)(sizeof samples / sizeof *samples))

static enum quic_error parse(const struct bytes *bytes, struct quic_frame *frame, size_t *used) {
    struct base_reader in = base_reader_of(bytes->at, bytes->len);
    memset(frame, 0xaa, sizeof *frame);
    enum quic_error error = quic_frame_parse(&in, frame);
    ck_assert(in.pos <= in.end);
    *used = (size_t)(in.pos - bytes->at);
    return error;
}

static enum quic_error parse_hex(const char *text, struct quic_frame *frame) {
    struct bytes bytes = hex(text);
    size_t used;
    enum quic_error error = parse(&bytes, frame, &used);
    free(bytes.at);
    return error;
}

static void write_ack(struct base_writer *out, const struct quic_frame *frame) {
    struct quic_frame_ack ack = frame->u.ack;
    base_write_varint(out, frame->type);
    base_write_varint(out, ack.largest);
    base_write_varint(out, ack.delay);
    base_write_varint(out, ack.range_count);
    base_write_varint(out, ack.first_range);
    uint64_t low = ack.largest - ack.first_range, next_low = low, high, count = 0;
    while (quic_frame_ack_next(&ack, &next_low, &high)) {
        ck_assert(next_low <= high && high + 2 <= low);
        base_write_varint(out, low - high - 2);
        base_write_varint(out, high - next_low);
        low = next_low;
        count++;
    }
    ck_assert_uint_eq(count, ack.range_count);
    if (frame->type == QUIC_FRAME_ACK_ECN) {
        base_write_varint(out, ack.ect0);
        base_write_varint(out, ack.ect1);
        base_write_varint(out, ack.ce);
    }
}

/* Says a parsed frame again. len_size: of a STREAM frame's length field. */
static void rewrite(struct base_writer *out, const struct quic_frame *frame, size_t len_size) {
    switch (frame->type) {
    case QUIC_FRAME_PADDING: quic_frame_write_padding(out, frame->u.padding.len); break;
    case QUIC_FRAME_PING:
    case QUIC_FRAME_IMMEDIATE_ACK:
    case QUIC_FRAME_HANDSHAKE_DONE: quic_frame_write_type(out, frame->type); break;
    case QUIC_FRAME_ACK:
    case QUIC_FRAME_ACK_ECN: write_ack(out, frame); break;
    case QUIC_FRAME_RESET_STREAM:
        quic_frame_write_reset_stream(out, frame->u.reset_stream.id, frame->u.reset_stream.code,
                                      frame->u.reset_stream.final_size);
        break;
    case QUIC_FRAME_RESET_STREAM_AT:
        quic_frame_write_reset_stream_at(out, frame->u.reset_stream.id, frame->u.reset_stream.code,
                                         frame->u.reset_stream.final_size, frame->u.reset_stream.reliable_size);
        break;
    case QUIC_FRAME_DATAGRAM:
    case QUIC_FRAME_DATAGRAM_LEN:
        quic_frame_write_datagram_header(out, frame->u.datagram.len, frame->type == QUIC_FRAME_DATAGRAM_LEN);
        base_write_bytes(out, frame->u.datagram.data, frame->u.datagram.len);
        break;
    case QUIC_FRAME_STOP_SENDING:
        quic_frame_write_stop_sending(out, frame->u.stop_sending.id, frame->u.stop_sending.code);
        break;
    case QUIC_FRAME_CRYPTO:
        quic_frame_write_crypto(out, frame->u.crypto.offset, frame->u.crypto.data, frame->u.crypto.len);
        break;
    case QUIC_FRAME_NEW_TOKEN: quic_frame_write_new_token(out, frame->u.new_token.token, frame->u.new_token.len); break;
    case QUIC_FRAME_MAX_DATA:
    case QUIC_FRAME_MAX_STREAMS_BIDI:
    case QUIC_FRAME_MAX_STREAMS_UNI:
        ck_assert_uint_eq(frame->u.max.id, 0);
        quic_frame_write_number(out, frame->type, frame->u.max.max);
        break;
    case QUIC_FRAME_DATA_BLOCKED:
    case QUIC_FRAME_STREAMS_BLOCKED_BIDI:
    case QUIC_FRAME_STREAMS_BLOCKED_UNI:
        ck_assert_uint_eq(frame->u.blocked.id, 0);
        quic_frame_write_number(out, frame->type, frame->u.blocked.limit);
        break;
    case QUIC_FRAME_MAX_STREAM_DATA:
        quic_frame_write_stream_number(out, frame->type, frame->u.max.id, frame->u.max.max);
        break;
    case QUIC_FRAME_STREAM_DATA_BLOCKED:
        quic_frame_write_stream_number(out, frame->type, frame->u.blocked.id, frame->u.blocked.limit);
        break;
    case QUIC_FRAME_NEW_CONNECTION_ID:
        quic_frame_write_new_cid(out, frame->u.new_cid.sequence, frame->u.new_cid.retire_prior_to,
                                 &frame->u.new_cid.cid, frame->u.new_cid.reset_token);
        break;
    case QUIC_FRAME_RETIRE_CONNECTION_ID:
        quic_frame_write_number(out, frame->type, frame->u.retire_cid.sequence);
        break;
    case QUIC_FRAME_PATH_CHALLENGE:
    case QUIC_FRAME_PATH_RESPONSE: quic_frame_write_path(out, frame->type, frame->u.path.data); break;
    case QUIC_FRAME_CONNECTION_CLOSE:
    case QUIC_FRAME_CONNECTION_CLOSE_APP:
        quic_frame_write_close(out, frame->type == QUIC_FRAME_CONNECTION_CLOSE_APP, frame->u.close.code,
                               frame->u.close.frame_type, (const char *)frame->u.close.reason,
                               frame->u.close.reason_len);
        break;
    default:
        ck_assert_uint_eq(frame->type & ~UINT64_C(7), QUIC_FRAME_STREAM);
        quic_frame_write_stream_header(out, frame->u.stream.id, frame->u.stream.offset, frame->u.stream.len, len_size,
                                       frame->u.stream.fin);
        base_write_bytes(out, frame->u.stream.data, frame->u.stream.len);
    }
}

/* The size of the length field in the sample: what is neither header without it nor data. */
static size_t sample_len_size(const struct quic_frame *frame, size_t total) {
    if ((frame->type & ~UINT64_C(7)) != QUIC_FRAME_STREAM)
        return 0;
    return total - frame->u.stream.len - quic_frame_stream_overhead(frame->u.stream.id, frame->u.stream.offset, 0);
}

START_TEST(each_frame_there_and_back)
{
    const struct sample *sample = &samples[_i];
    struct bytes bytes = hex(sample->hex);
    struct quic_frame frame;
    size_t used;
    ck_assert_int_eq(parse(&bytes, &frame, &used), QUIC_NO_ERROR);
    ck_assert_uint_eq(used, bytes.len);
    ck_assert_uint_eq(frame.type, sample->type);
    uint8_t out[128];
    struct base_writer writer = base_writer_of(out, sizeof out);
    rewrite(&writer, &frame, sample_len_size(&frame, bytes.len));
    ck_assert(!writer.bad);
    ck_assert_uint_eq((size_t)(writer.pos - out), bytes.len);
    ck_assert_mem_eq(out, bytes.at, bytes.len);
    free(bytes.at);
}
END_TEST

START_TEST(each_frame_cut_short)
{
    const struct sample *sample = &samples[_i];
    struct bytes whole = hex(sample->hex);
    for (size_t len = 0; len < whole.len; len++) {
        struct bytes part = bytes_of(whole.at, len);
        struct quic_frame frame;
        size_t used;
        enum quic_error error = parse(&part, &frame, &used);
        if (sample->least && len >= sample->least)
            ck_assert_int_eq(error, QUIC_NO_ERROR);
        else
            ck_assert_msg(error == QUIC_FRAME_ENCODING_ERROR, "%zu bytes of %s", len, sample->hex);
        ck_assert_uint_eq(frame.type, len ? sample->type : 0);
        free(part.at);
    }
    free(whole.at);
}
END_TEST

START_TEST(each_frame_with_no_room)
{
    const struct sample *sample = &samples[_i];
    struct bytes whole = hex(sample->hex);
    struct quic_frame frame;
    size_t used;
    ck_assert_int_eq(parse(&whole, &frame, &used), QUIC_NO_ERROR);
    bool cuts = frame.type == QUIC_FRAME_CONNECTION_CLOSE || frame.type == QUIC_FRAME_CONNECTION_CLOSE_APP;
    size_t reason_len = cuts ? frame.u.close.reason_len : 0;
    for (size_t room = 0; room < whole.len - reason_len; room++) {
        uint8_t *out = malloc(room);
        struct base_writer writer = base_writer_of(out, room);
        rewrite(&writer, &frame, sample_len_size(&frame, whole.len));
        ck_assert_msg(writer.bad, "%s in %zu bytes", sample->hex, room);
        free(out);
    }
    free(whole.at);
}
END_TEST

/* Frames follow each other without anything between. */
START_TEST(frames_in_a_row)
{
    struct bytes bytes = hex("01 0a0403010203 000000 10 05 0804ffff");
    struct base_reader in = base_reader_of(bytes.at, bytes.len);
    static const uint64_t types[] = {QUIC_FRAME_PING, 0x0a, QUIC_FRAME_PADDING, QUIC_FRAME_MAX_DATA, 0x08};
    struct quic_frame frame;
    for (size_t i = 0; i < 5; i++) {
        ck_assert_int_eq(quic_frame_parse(&in, &frame), QUIC_NO_ERROR);
        ck_assert_uint_eq(frame.type, types[i]);
        if (frame.type == QUIC_FRAME_PADDING)
            ck_assert_uint_eq(frame.u.padding.len, 3);
    }
    ck_assert_uint_eq(frame.u.stream.len, 2);
    ck_assert_uint_eq(base_reader_left(&in), 0);
    ck_assert_int_eq(quic_frame_parse(&in, &frame), QUIC_FRAME_ENCODING_ERROR);
    free(bytes.at);
}
END_TEST

/* A run of PADDING of any length is one frame, and ends at the first byte that is not 0. */
START_TEST(padding_runs)
{
    uint8_t data[70];
    for (size_t len = 1; len < 64; len++) {
        memset(data, 0, sizeof data);
        data[len] = 1;
        struct base_reader in = base_reader_of(data, len + 1);
        struct quic_frame frame;
        ck_assert_int_eq(quic_frame_parse(&in, &frame), QUIC_NO_ERROR);
        ck_assert_uint_eq(frame.u.padding.len, len);
        ck_assert_uint_eq(base_reader_left(&in), 1);
        struct base_reader all = base_reader_of(data, len);
        ck_assert_int_eq(quic_frame_parse(&all, &frame), QUIC_NO_ERROR);
        ck_assert_uint_eq(frame.u.padding.len, len);
    }
}
END_TEST

static const struct {
    const char *hex;
    enum quic_error error;
    const char *rule;
} refused[] = {
    {"", QUIC_FRAME_ENCODING_ERROR, "nothing"},
    {"20", QUIC_FRAME_ENCODING_ERROR, "unknown type"},
    {"23", QUIC_FRAME_ENCODING_ERROR, "unknown type between known ones"},
    {"32", QUIC_FRAME_ENCODING_ERROR, "unknown type"},
    {"31 04 010203", QUIC_FRAME_ENCODING_ERROR, "DATAGRAM length beyond the packet"},
    {"24 04 00 05 06", QUIC_FRAME_ENCODING_ERROR, "RESET_STREAM_AT: more is reliable than there is"},
    {"40af 01 02 03", QUIC_FRAME_ENCODING_ERROR, "ACK_FREQUENCY cut short"},
    {"800000af 01 02 03 04", QUIC_PROTOCOL_VIOLATION, "ACK_FREQUENCY, not in its shortest form"},
    {"3f", QUIC_FRAME_ENCODING_ERROR, "unknown type"},
    {"4040", QUIC_FRAME_ENCODING_ERROR, "unknown type of two bytes"},
    {"c123456789abcdef", QUIC_FRAME_ENCODING_ERROR, "unknown type of eight bytes"},
    {"40", QUIC_FRAME_ENCODING_ERROR, "type cut short"},
    {"c0000000000000", QUIC_FRAME_ENCODING_ERROR, "type cut short"},
    {"4001", QUIC_PROTOCOL_VIOLATION, "PING in two bytes"},
    {"80000001", QUIC_PROTOCOL_VIOLATION, "PING in four bytes"},
    {"c000000000000001", QUIC_PROTOCOL_VIOLATION, "PING in eight bytes"},
    {"80000040", QUIC_PROTOCOL_VIOLATION, "unknown type, not in its shortest form"},
    {"c00000003fffffff", QUIC_PROTOCOL_VIOLATION, "unknown type, not in its shortest form"},
    {"02 05 00 00 06", QUIC_FRAME_ENCODING_ERROR, "first ACK range below 0"},
    {"02 05 00 01 03 01 00", QUIC_FRAME_ENCODING_ERROR, "ACK gap below 0"},
    {"02 05 00 01 03 3f 00", QUIC_FRAME_ENCODING_ERROR, "ACK gap far below 0"},
    {"02 05 00 01 03 00 01", QUIC_FRAME_ENCODING_ERROR, "ACK range below 0"},
    {"02 05 00 01 03 ffffffffffffffff ffffffffffffffff", QUIC_FRAME_ENCODING_ERROR, "greatest ACK gap and range"},
    {"02 ffffffffffffffff 00 02 00 ffffffffffffffff 00 00 00", QUIC_FRAME_ENCODING_ERROR, "ACK gap below 0"},
    {"02 7fff 00 02 00 00 00 00", QUIC_FRAME_ENCODING_ERROR, "more ACK ranges told than there are"},
    {"02 7fff 00 ffffffffffffffff 00 00 00 00 00", QUIC_FRAME_ENCODING_ERROR, "more ACK ranges told than can be"},
    {"06 ffffffffffffffff 01 00", QUIC_FRAME_ENCODING_ERROR, "CRYPTO beyond 2^62-1"},
    {"06 00 ffffffffffffffff", QUIC_FRAME_ENCODING_ERROR, "CRYPTO length beyond the packet"},
    {"07 00", QUIC_FRAME_ENCODING_ERROR, "empty token"},
    {"07 00 01", QUIC_FRAME_ENCODING_ERROR, "empty token"},
    {"0e 00 ffffffffffffffff 01 00", QUIC_FRAME_ENCODING_ERROR, "STREAM beyond 2^62-1"},
    {"0c 00 ffffffffffffffff 00", QUIC_FRAME_ENCODING_ERROR, "STREAM without length beyond 2^62-1"},
    {"0a 00 ffffffffffffffff", QUIC_FRAME_ENCODING_ERROR, "STREAM length beyond the packet"},
    {"12 d000000000000001", QUIC_FRAME_ENCODING_ERROR, "MAX_STREAMS over 2^60"},
    {"13 d000000000000001", QUIC_FRAME_ENCODING_ERROR, "MAX_STREAMS over 2^60"},
    {"16 d000000000000001", QUIC_FRAME_ENCODING_ERROR, "STREAMS_BLOCKED over 2^60"},
    {"17 d000000000000001", QUIC_FRAME_ENCODING_ERROR, "STREAMS_BLOCKED over 2^60"},
    {"18 00 00 00 000102030405060708090a0b0c0d0e0f", QUIC_FRAME_ENCODING_ERROR, "connection ID of no bytes"},
    {"18 00 00 15 000102030405060708090a0b0c0d0e0f1011121314 000102030405060708090a0b0c0d0e0f",
     QUIC_FRAME_ENCODING_ERROR, "connection ID of 21 bytes"},
    {"18 04 05 01 aa 000102030405060708090a0b0c0d0e0f", QUIC_FRAME_ENCODING_ERROR, "retire_prior_to over sequence"},
    {"1c 00 00 ffffffffffffffff", QUIC_FRAME_ENCODING_ERROR, "reason beyond the packet"},
};

START_TEST(each_rule)
{
    struct quic_frame frame;
    ck_assert_msg(parse_hex(refused[_i].hex, &frame) == refused[_i].error, "%s: %s", refused[_i].rule, refused[_i].hex);
}
END_TEST

START_TEST(error_names_the_type)
{
    struct quic_frame frame;
    parse_hex("4040", &frame);
    ck_assert_uint_eq(frame.type, 0x40);
    parse_hex("4001", &frame);
    ck_assert_uint_eq(frame.type, 1);
    parse_hex("21", &frame);
    ck_assert_uint_eq(frame.type, 0x21);
    parse_hex("07 00", &frame);
    ck_assert_uint_eq(frame.type, QUIC_FRAME_NEW_TOKEN);
}
END_TEST

/* The one type of two bytes. */
START_TEST(ack_frequency_there_and_back)
{
    static const uint64_t values[] = {7, 100, 25000, 3};
    uint8_t out[32];
    struct base_writer writer = base_writer_of(out, sizeof out);
    quic_frame_write_ack_frequency(&writer, values[0], values[1], values[2], values[3]);
    struct base_reader in = base_reader_of(out, (size_t)(writer.pos - out));
    struct quic_frame frame;
    ck_assert_int_eq(quic_frame_parse(&in, &frame), QUIC_NO_ERROR);
    ck_assert_uint_eq(base_reader_left(&in), 0);
    ck_assert_uint_eq(frame.type, QUIC_FRAME_ACK_FREQUENCY);
    ck_assert_mem_eq(&frame.u.ack_frequency, values, sizeof values);
    ck_assert_str_eq(quic_frame_name(frame.type), "ACK_FREQUENCY");
    ck_assert_str_eq(quic_frame_name(0x23), "unknown");
}
END_TEST

/* What RFC 9221 section 3 limits is the frame, not its data. */
START_TEST(datagram_size_is_the_frame)
{
    struct quic_frame frame;
    ck_assert_int_eq(parse_hex("31 4003 010203", &frame), QUIC_NO_ERROR);
    ck_assert_uint_eq(frame.u.datagram.len, 3);
    ck_assert_uint_eq(frame.u.datagram.size, 6);
    ck_assert_int_eq(parse_hex("30 010203", &frame), QUIC_NO_ERROR);
    ck_assert_uint_eq(frame.u.datagram.size, 4);
}
END_TEST

START_TEST(bad_reader_stays_bad)
{
    uint8_t ping = 1;
    struct base_reader in = base_reader_of(&ping, 1);
    in.bad = true;
    struct quic_frame frame;
    ck_assert_int_eq(quic_frame_parse(&in, &frame), QUIC_FRAME_ENCODING_ERROR);
}
END_TEST

/* Only the type must be in its shortest form (12.4). */
START_TEST(long_fields_are_fine)
{
    struct quic_frame frame;
    ck_assert_int_eq(parse_hex("0e 4004 80000001 c000000000000000", &frame), QUIC_NO_ERROR);
    ck_assert_uint_eq(frame.u.stream.id, 4);
    ck_assert_uint_eq(frame.u.stream.offset, 1);
    ck_assert_uint_eq(frame.u.stream.len, 0);
    ck_assert(!frame.u.stream.fin);
}
END_TEST

START_TEST(stream_fields)
{
    struct bytes bytes = hex("0f 08 4100 02 aabb ff");
    struct quic_frame frame;
    size_t used;
    ck_assert_int_eq(parse(&bytes, &frame, &used), QUIC_NO_ERROR);
    ck_assert_uint_eq(used, bytes.len - 1);
    ck_assert_uint_eq(frame.u.stream.id, 8);
    ck_assert_uint_eq(frame.u.stream.offset, 0x100);
    ck_assert_uint_eq(frame.u.stream.len, 2);
    ck_assert(frame.u.stream.fin);
    ck_assert_ptr_eq(frame.u.stream.data, bytes.at + 5); /* borrowed */
    free(bytes.at);
}
END_TEST

/* RFC 9000 19.3.1: ranges 90-100, 85-85, 80-83 of largest 100. */
START_TEST(ack_ranges)
{
    struct bytes bytes = hex("03 4064 19 02 0a 03 00 00 03 01 02 03");
    struct quic_frame frame;
    size_t used;
    ck_assert_int_eq(parse(&bytes, &frame, &used), QUIC_NO_ERROR);
    ck_assert_uint_eq(frame.u.ack.largest, 100);
    ck_assert_uint_eq(frame.u.ack.delay, 0x19);
    ck_assert_uint_eq(frame.u.ack.ect0, 1);
    ck_assert_uint_eq(frame.u.ack.ect1, 2);
    ck_assert_uint_eq(frame.u.ack.ce, 3);
    uint64_t low = frame.u.ack.largest - frame.u.ack.first_range, high;
    ck_assert_uint_eq(low, 90);
    ck_assert(quic_frame_ack_next(&frame.u.ack, &low, &high));
    ck_assert(low == 85 && high == 85);
    ck_assert(quic_frame_ack_next(&frame.u.ack, &low, &high));
    ck_assert(low == 80 && high == 83);
    ck_assert(!quic_frame_ack_next(&frame.u.ack, &low, &high));
    free(bytes.at);
    bytes = hex("02 05 00 01 03 00 00"); /* down to 0 and not below */
    ck_assert_int_eq(parse(&bytes, &frame, &used), QUIC_NO_ERROR);
    low = 2;
    ck_assert(quic_frame_ack_next(&frame.u.ack, &low, &high) && low == 0 && high == 0);
    free(bytes.at);
}
END_TEST

START_TEST(close_cuts_its_reason)
{
    static const char reason[] =
        "a long reason \xe2\x82\xac with a sign of three bytes, and then more than fills a byte of length";
    const size_t reason_len = sizeof reason - 1;
    uint8_t out[160];
    for (size_t room = 4; room < sizeof out; room++) {
        struct base_writer writer = base_writer_of(out, room);
        quic_frame_write_close(&writer, false, 5, 8, reason, reason_len);
        ck_assert(!writer.bad);
        struct base_reader in = base_reader_of(out, (size_t)(writer.pos - out));
        struct quic_frame frame;
        ck_assert_int_eq(quic_frame_parse(&in, &frame), QUIC_NO_ERROR);
        size_t len = frame.u.close.reason_len;
        ck_assert(len <= reason_len && base_reader_left(&in) == 0);
        ck_assert_mem_eq(frame.u.close.reason, reason, len);
        ck_assert(len == reason_len || ((uint8_t)reason[len] & 0xc0) != 0x80);
        ck_assert_msg(len == reason_len || len + 8 >= room, "%zu of %zu bytes used", len, room);
        if (room >= 3 + 2 + reason_len)
            ck_assert_uint_eq(len, reason_len);
    }
    struct base_writer writer = base_writer_of(out, sizeof out);
    quic_frame_write_close(&writer, true, 5, 8, NULL, 0);
    ck_assert_uint_eq((size_t)(writer.pos - out), 3);
}
END_TEST

/* Writing is what the parser undoes, whatever the numbers; and the overheads are what is written. */
START_TEST(random_frames_there_and_back)
{
    uint64_t dice = 1;
    uint8_t data[40] = {1, 2, 3}, out[160];
    for (int i = 0; i < 50000; i++) {
        struct quic_frame got;
        size_t data_len = roll(&dice) % sizeof data;
        uint64_t a = roll_varint(&dice), b = roll_varint(&dice), c = roll_varint(&dice);
        struct base_writer writer = base_writer_of(out, sizeof out);
        size_t size = 0;
        switch (roll(&dice) % 5) {
        case 0:
            b = b > BASE_VARINT_MAX - data_len ? 0 : b;
            quic_frame_write_stream_header(&writer, a, b, data_len, 2, c & 1);
            size = quic_frame_stream_overhead(a, b, 2) + data_len;
            base_write_bytes(&writer, data, data_len);
            break;
        case 1:
            b = b > BASE_VARINT_MAX - data_len ? 0 : b;
            quic_frame_write_crypto(&writer, b, data, data_len);
            size = quic_frame_crypto_overhead(b, data_len) + data_len;
            break;
        case 2: quic_frame_write_reset_stream(&writer, a, b, c); break;
        case 3: quic_frame_write_stream_number(&writer, QUIC_FRAME_MAX_STREAM_DATA, a, b); break;
        default: quic_frame_write_close(&writer, false, a, b, (const char *)data, data_len); break;
        }
        require(!writer.bad, "written");
        size_t len = (size_t)(writer.pos - out);
        require(size == 0 || size == len, "overhead");
        struct base_reader in = base_reader_of(out, len);
        require(quic_frame_parse(&in, &got) == QUIC_NO_ERROR && base_reader_left(&in) == 0, "read");
        uint8_t again[160];
        struct base_writer second = base_writer_of(again, sizeof again);
        rewrite(&second, &got, sample_len_size(&got, len));
        require((size_t)(second.pos - again) == len && memcmp(again, out, len) == 0, "the same again");
    }
}
END_TEST

START_TEST(names)
{
    ck_assert_str_eq(quic_frame_name(QUIC_FRAME_ACK), "ACK");
    for (uint64_t type = 0x08; type <= 0x0f; type++)
        ck_assert_str_eq(quic_frame_name(type), "STREAM");
    for (uint64_t type = 0; type <= 0x1e; type++)
        ck_assert_str_ne(quic_frame_name(type), "unknown");
    ck_assert_str_eq(quic_frame_name(0x22), "unknown");
    ck_assert_str_eq(quic_frame_name(UINT64_MAX), "unknown");
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("quic/frame");
    TCase *samples_case = tcase_create("samples");
    tcase_add_loop_test(samples_case, each_frame_there_and_back, 0, SAMPLES);
    tcase_add_loop_test(samples_case, each_frame_cut_short, 0, SAMPLES);
    tcase_add_loop_test(samples_case, each_frame_with_no_room, 0, SAMPLES);
    suite_add_tcase(suite, samples_case);
    TCase *rules = tcase_create("rules");
    tcase_add_loop_test(rules, each_rule, 0, (int)(sizeof refused / sizeof *refused));
    tcase_add_test(rules, error_names_the_type);
    tcase_add_test(rules, bad_reader_stays_bad);
    tcase_add_test(rules, ack_frequency_there_and_back);
    tcase_add_test(rules, datagram_size_is_the_frame);
    tcase_add_test(rules, long_fields_are_fine);
    tcase_add_test(rules, frames_in_a_row);
    tcase_add_test(rules, padding_runs);
    tcase_add_test(rules, stream_fields);
    tcase_add_test(rules, ack_ranges);
    tcase_add_test(rules, close_cuts_its_reason);
    tcase_add_test(rules, random_frames_there_and_back);
    tcase_add_test(rules, names);
    suite_add_tcase(suite, rules);
    return suite;
}
