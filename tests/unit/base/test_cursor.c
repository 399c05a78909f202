/* test_cursor.c - cursors never pass an end, and varints are those of RFC 9000 section 16. */
#include "base/cursor.h"

#include "toolkit.h"

/* RFC 9000 A.1, and the borders between the lengths. */
static const struct {
    uint8_t wire[8];
    size_t len;
    uint64_t value;
    bool shortest;
} varints[] = {
    {{0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c}, 8, UINT64_C(151288809941952652), true},
    {{0x9d, 0x7f, 0x3e, 0x7d}, 4, 494878333, true},
    {{0x7b, 0xbd}, 2, 15293, true},
    {{0x25}, 1, 37, true},
    {{0x40, 0x25}, 2, 37, false},
    {{0x00}, 1, 0, true},
    {{0x3f}, 1, 63, true},
    {{0x40, 0x40}, 2, 64, true},
    {{0x7f, 0xff}, 2, 16383, true},
    {{0x80, 0x00, 0x40, 0x00}, 4, 16384, true},
    {{0xbf, 0xff, 0xff, 0xff}, 4, 1073741823, true},
    {{0xc0, 0, 0, 0, 0x40, 0, 0, 0}, 8, 1073741824, true},
    {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 8, BASE_VARINT_MAX, true},
    {{0x80, 0, 0, 0}, 4, 0, false},
    {{0xc0, 0, 0, 0, 0, 0, 0, 0x3f}, 8, 63, false},
};
#define VARINTS (sizeof varints / sizeof *varints)

/* Input in a block of exactly its size, so that a sanitizer sees one byte too many. */
static uint8_t *exact(const void *data, size_t len) {
    uint8_t *block = malloc(len ? len : 1);
    ck_assert_ptr_nonnull(block);
    if (len)
        memcpy(block, data, len);
    return block;
}

START_TEST(varint_vectors_read)
{
    for (size_t i = 0; i < VARINTS; i++) {
        for (size_t behind = 0; behind < 9; behind++) { /* with and without eight bytes left */
            uint8_t wire[17];
            memset(wire, 0xee, sizeof wire);
            memcpy(wire, varints[i].wire, varints[i].len);
            uint8_t *input = exact(wire, varints[i].len + behind);
            struct base_reader r = base_reader_of(input, varints[i].len + behind);
            ck_assert_uint_eq(base_read_varint(&r), varints[i].value);
            ck_assert(!r.bad);
            ck_assert_uint_eq(base_reader_left(&r), behind);
            free(input);
        }
    }
}
END_TEST

START_TEST(varint_truncated_is_bad)
{
    for (size_t i = 0; i < VARINTS; i++) {
        for (size_t len = 0; len < varints[i].len; len++) {
            uint8_t *input = exact(varints[i].wire, len);
            struct base_reader r = base_reader_of(input, len);
            ck_assert_uint_eq(base_read_varint(&r), 0);
            ck_assert(r.bad);
            ck_assert_ptr_eq(r.pos, input);
            free(input);
        }
    }
}
END_TEST

START_TEST(varint_vectors_write)
{
    for (size_t i = 0; i < VARINTS; i++) {
        uint8_t out[8];
        memset(out, 0xee, sizeof out);
        base_store_varint(out, varints[i].value, varints[i].len);
        ck_assert_mem_eq(out, varints[i].wire, varints[i].len);
        for (size_t k = varints[i].len; k < 8; k++)
            ck_assert_uint_eq(out[k], 0xee);
        if (!varints[i].shortest)
            continue;
        ck_assert_uint_eq(base_varint_size(varints[i].value), varints[i].len);
        for (size_t room = 0; room < 9; room++) {
            uint8_t *block = exact("........", room);
            struct base_writer w = base_writer_of(block, room);
            base_write_varint(&w, varints[i].value);
            ck_assert_int_eq(w.bad, room < varints[i].len);
            ck_assert_uint_eq((size_t)(w.pos - block), w.bad ? 0 : varints[i].len);
            ck_assert_mem_eq(block, w.bad ? (const void *)"........" : varints[i].wire, w.bad ? room : varints[i].len);
            free(block);
        }
    }
}
END_TEST

START_TEST(varint_round_trip)
{
    struct toolkit_dice dice = {2};
    for (int i = 0; i < 100000; i++) {
        uint64_t value = toolkit_roll(&dice) >> (2 + toolkit_pick(&dice, 62));
        uint8_t out[16] = {0};
        struct base_writer w = base_writer_of(out, sizeof out);
        base_write_varint(&w, value);
        size_t len = (size_t)(w.pos - out);
        struct base_reader whole = base_reader_of(out, sizeof out), tight = base_reader_of(out, len);
        bool same = len == base_varint_size(value) && base_read_varint(&whole) == value &&
                    base_read_varint(&tight) == value && base_reader_left(&tight) == 0;
        ck_assert_msg(same, "%llu", (unsigned long long)value);
    }
}
END_TEST

START_TEST(integers_are_big_endian)
{
    const uint8_t wire[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    struct base_reader r = base_reader_of(wire, sizeof wire);
    ck_assert_uint_eq(base_read_u8(&r), 0x01);
    ck_assert_uint_eq(base_read_u16(&r), 0x0203);
    ck_assert_uint_eq(base_read_u32(&r), 0x04050607);
    ck_assert_uint_eq(base_read_uint(&r, 8), UINT64_C(0x08090a0b0c0d0e0f));
    ck_assert(!r.bad);
    ck_assert_uint_eq(base_reader_left(&r), 0);
    for (size_t len = 1; len <= 8; len++) {
        uint64_t expect = UINT64_C(0x0102030405060708) >> (64 - 8 * len);
        r = base_reader_of(wire, len);
        ck_assert_uint_eq(base_read_uint(&r, len), expect);
        uint8_t out[9];
        memset(out, 0xee, sizeof out);
        struct base_writer w = base_writer_of(out, len);
        base_write_uint(&w, UINT64_C(0xffff) << (8 * len - 1) << 1 | expect, len); /* what does not fit is cut */
        ck_assert_mem_eq(out, wire, len);
        ck_assert_uint_eq(out[len], 0xee);
    }
    uint8_t out[15];
    struct base_writer w = base_writer_of(out, sizeof out);
    base_write_u8(&w, 0x01);
    base_write_u16(&w, 0x0203);
    base_write_u32(&w, 0x04050607);
    base_write_uint(&w, UINT64_C(0x08090a0b0c0d0e0f), 8);
    ck_assert(!w.bad);
    ck_assert_mem_eq(out, wire, sizeof out);
    base_store_u64(out, UINT64_C(0xfffefdfcfbfaf9f8));
    ck_assert_uint_eq(base_load_u64(out), UINT64_C(0xfffefdfcfbfaf9f8));
    ck_assert_uint_eq(base_load_u32(out), 0xfffefdfc);
    ck_assert_uint_eq(base_load_u16(out), 0xfffe);
}
END_TEST

/* One operation of each sort. */
enum { OP_U8, OP_U16, OP_U32, OP_U64, OP_VARINT, OP_BYTES_0, OP_BYTES_3, OPS };

/* Does it, and returns the bytes it wants. *clean: a bad reader gave nothing. */
static size_t read_op(struct base_reader *r, int op, bool *clean) {
    static const size_t wants[] = {1, 2, 4, 8, 0, 0, 3};
    size_t want = wants[op];
    uint64_t value = 0;
    const uint8_t *bytes = NULL;
    switch (op) {
    case OP_U8: value = base_read_u8(r); break;
    case OP_U16: value = base_read_u16(r); break;
    case OP_U32: value = base_read_u32(r); break;
    case OP_U64: value = base_read_uint(r, 8); break;
    case OP_VARINT:
        want = r->pos < r->end ? (size_t)1 << (*r->pos >> 6) : 1;
        value = base_read_varint(r);
        break;
    default: bytes = base_read_bytes(r, want);
    }
    *clean = !r->bad || (value == 0 && !bytes);
    return want;
}

/* Every input size up to 16 and every sequence of three operations: the cursor stays inside, moves by exactly what it
 * read, and once bad neither moves nor recovers. */
START_TEST(reader_cannot_overrun)
{
    uint8_t wire[16];
    struct toolkit_dice dice = {3};
    for (size_t len = 0; len <= sizeof wire; len++) {
        for (int plan = 0; plan < OPS * OPS * OPS; plan++) {
            for (size_t i = 0; i < sizeof wire; i++)
                wire[i] = (uint8_t)toolkit_roll(&dice);
            uint8_t *input = exact(wire, len);
            struct base_reader r = base_reader_of(input, len);
            size_t at = 0;
            bool bad = false;
            for (int step = 0, rest = plan; step < 3; step++, rest /= OPS) {
                bool clean;
                size_t want = read_op(&r, rest % OPS, &clean);
                bad |= want > len - at;
                at += bad ? 0 : want;
                ck_assert(r.bad == bad && r.pos == input + at && r.end == input + len && clean);
            }
            free(input);
        }
    }
}
END_TEST

START_TEST(writer_cannot_overrun)
{
    for (size_t len = 0; len <= 16; len++) {
        for (int plan = 0; plan < OPS * OPS * OPS; plan++) {
            uint8_t *block = exact("................", len);
            struct base_writer w = base_writer_of(block, len);
            size_t at = 0;
            bool bad = false;
            for (int step = 0, rest = plan; step < 3; step++, rest /= OPS) {
                static const size_t wants[] = {1, 2, 4, 8, 4, 0, 3};
                switch (rest % OPS) {
                case OP_U8: base_write_u8(&w, 0x11); break;
                case OP_U16: base_write_u16(&w, 0x1111); break;
                case OP_U32: base_write_u32(&w, 0x11111111); break;
                case OP_U64: base_write_uint(&w, UINT64_C(0x1111111111111111), 8); break;
                case OP_VARINT: base_write_varint(&w, 0x11111111); break;
                default: base_write_bytes(&w, "\x11\x11\x11", wants[rest % OPS]);
                }
                bad |= wants[rest % OPS] > len - at;
                at += bad ? 0 : wants[rest % OPS];
                ck_assert(w.bad == bad && w.pos == block + at && w.end == block + len);
            }
            bool untouched = true; /* nothing of what did not fit was written */
            for (size_t i = at; i < len; i++)
                untouched &= block[i] == '.';
            ck_assert(untouched);
            free(block);
        }
    }
}
END_TEST

START_TEST(lengths_cannot_wrap)
{
    uint8_t block[4] = {0};
    struct base_reader r = base_reader_of(block, 4);
    ck_assert_ptr_null(base_read_bytes(&r, SIZE_MAX));
    ck_assert(r.bad);
    ck_assert_ptr_eq(r.pos, block);
    struct base_writer w = base_writer_of(block, 4);
    ck_assert_ptr_null(base_write_space(&w, SIZE_MAX - 3));
    ck_assert(w.bad);
    ck_assert_ptr_null(base_write_space(&w, 1));
    ck_assert_ptr_null(base_write_space(&w, 0));
}
END_TEST

START_TEST(nothing_at_all)
{
    struct base_reader r = base_reader_of(NULL, 0);
    ck_assert_uint_eq(base_reader_left(&r), 0);
    base_read_bytes(&r, 0);
    ck_assert(!r.bad);
    ck_assert_uint_eq(base_read_u8(&r), 0);
    ck_assert(r.bad);
    struct base_writer w = base_writer_of(NULL, 0);
    base_write_bytes(&w, NULL, 0);
    ck_assert(!w.bad);
    ck_assert_uint_eq(base_writer_left(&w), 0);
    base_write_u8(&w, 1);
    ck_assert(w.bad);
}
END_TEST

START_TEST(bytes_are_borrowed)
{
    uint8_t block[5] = {'h', 'e', 'l', 'l', 'o'};
    struct base_reader r = base_reader_of(block, 5);
    ck_assert_ptr_eq(base_read_bytes(&r, 2), block);
    ck_assert_ptr_eq(base_read_bytes(&r, 3), block + 2);
    ck_assert_ptr_eq(base_read_bytes(&r, 0), block + 5);
    ck_assert(!r.bad);
    struct base_writer w = base_writer_of(block, 5);
    ck_assert_ptr_eq(base_write_space(&w, 2), block);
    base_write_bytes(&w, "LLO", 3);
    ck_assert_mem_eq(block, "heLLO", 5);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {
        varint_vectors_read,     varint_truncated_is_bad, varint_vectors_write,  varint_round_trip,
        integers_are_big_endian, reader_cannot_overrun,   writer_cannot_overrun, lengths_cannot_wrap,
        nothing_at_all,          bytes_are_borrowed,
    };
    return TOOLKIT_SUITE("base/cursor", tests);
}
