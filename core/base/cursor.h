/* cursor.h - reading and writing wire data without ever passing an end.
 *
 * A reader or writer that would overrun does not move and turns `bad`; it stays bad. So a parser reads a whole
 * structure and asks once, at the end, whether it was all there. Integers are big-endian; varints are those of
 * RFC 9000 section 16.
 *
 * Invariant: pos <= end, always.
 */
#ifndef BASE_CURSOR_H
#define BASE_CURSOR_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BASE_VARINT_MAX ((UINT64_C(1) << 62) - 1)

struct base_reader {
    const uint8_t *pos, *end;
    bool bad;
};

struct base_writer {
    uint8_t *pos, *end;
    bool bad;
};

static inline struct base_reader base_reader_of(const void *data, size_t len) {
    const uint8_t *p = (const uint8_t *)data;
    return (struct base_reader){p, len ? p + len : p, false};
}

static inline struct base_writer base_writer_of(void *data, size_t len) {
    uint8_t *p = (uint8_t *)data;
    return (struct base_writer){p, len ? p + len : p, false};
}

static inline size_t base_reader_left(const struct base_reader *r) { return (size_t)(r->end - r->pos); }
static inline size_t base_writer_left(const struct base_writer *w) { return (size_t)(w->end - w->pos); }

/* The next `len` bytes, borrowed from the input; NULL (and bad) when fewer are left. */
static inline const uint8_t *base_read_bytes(struct base_reader *r, size_t len) {
    if (r->bad || base_reader_left(r) < len) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *at = r->pos;
    r->pos = len ? at + len : at; /* no arithmetic on the NULL of an empty input */
    return at;
}

/* Spelled out without loops: compilers make each of these one load or store and a byte swap. */
static inline uint16_t base_load_u16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

static inline uint32_t base_load_u32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline uint64_t base_load_u64(const uint8_t *at) {
    return (uint64_t)at[0] << 56 | (uint64_t)at[1] << 48 | (uint64_t)at[2] << 40 | (uint64_t)at[3] << 32 |
           (uint64_t)at[4] << 24 | (uint64_t)at[5] << 16 | (uint64_t)at[6] << 8 | at[7];
}

static inline void base_store_u16(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void base_store_u32(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

static inline void base_store_u64(uint8_t *at, uint64_t value) {
    base_store_u32(at, (uint32_t)(value >> 32));
    base_store_u32(at + 4, (uint32_t)value);
}

/* Unsigned integers of 1 to 8 bytes; 0 when bad. */
static inline uint64_t base_read_uint(struct base_reader *r, size_t len) {
    const uint8_t *at = base_read_bytes(r, len);
    if (!at)
        return 0;
    if (len == 8)
        return base_load_u64(at);
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++)
        value = value << 8 | at[i];
    return value;
}

static inline uint8_t base_read_u8(struct base_reader *r) {
    const uint8_t *at = base_read_bytes(r, 1);
    return at ? *at : 0;
}

static inline uint16_t base_read_u16(struct base_reader *r) {
    const uint8_t *at = base_read_bytes(r, 2);
    return at ? base_load_u16(at) : 0;
}

static inline uint32_t base_read_u32(struct base_reader *r) {
    const uint8_t *at = base_read_bytes(r, 4);
    return at ? base_load_u32(at) : 0;
}

/* A variable-length integer; 0 when bad. Where eight bytes are left, which is nearly always, there is no loop: shifting
 * left drops the two bits that tell the length, shifting right drops what follows the integer. */
static inline uint64_t base_read_varint(struct base_reader *r) {
    if (r->bad || r->pos == r->end) {
        r->bad = true;
        return 0;
    }
    size_t len = (size_t)1 << (*r->pos >> 6);
    if (base_reader_left(r) >= 8) {
        uint64_t value = base_load_u64(r->pos) << 2 >> (66 - 8 * len);
        r->pos += len;
        return value;
    }
    uint64_t value = base_read_uint(r, len);
    return value & (UINT64_MAX >> (66 - 8 * len));
}

/* Space for `len` bytes to be filled by the caller; NULL (and bad) when there is no room. */
static inline uint8_t *base_write_space(struct base_writer *w, size_t len) {
    if (w->bad || base_writer_left(w) < len) {
        w->bad = true;
        return NULL;
    }
    uint8_t *at = w->pos;
    w->pos = len ? at + len : at;
    return at;
}

static inline void base_write_bytes(struct base_writer *w, const void *data, size_t len) {
    uint8_t *at = base_write_space(w, len);
    if (at && len)
        memcpy(at, data, len);
}

static inline void base_store_uint(uint8_t *at, uint64_t value, size_t len) {
    while (len--) {
        at[len] = (uint8_t)value;
        value >>= 8;
    }
}

static inline void base_write_uint(struct base_writer *w, uint64_t value, size_t len) {
    uint8_t *at = base_write_space(w, len);
    if (at)
        base_store_uint(at, value, len);
}

static inline void base_write_u8(struct base_writer *w, uint8_t v) {
    uint8_t *at = base_write_space(w, 1);
    if (at)
        *at = v;
}

static inline void base_write_u16(struct base_writer *w, uint16_t v) {
    uint8_t *at = base_write_space(w, 2);
    if (at)
        base_store_u16(at, v);
}

static inline void base_write_u32(struct base_writer *w, uint32_t v) {
    uint8_t *at = base_write_space(w, 4);
    if (at)
        base_store_u32(at, v);
}

/* Bytes the shortest encoding of `value` (<= BASE_VARINT_MAX) takes: 1, 2, 4 or 8. */
static inline size_t base_varint_size(uint64_t value) {
    return value < 64 ? 1 : value < 16384 ? 2 : value < 1073741824 ? 4 : 8;
}

/* Writes `value` in exactly `len` (1, 2, 4, 8) bytes; it must fit. Used where a length is patched in later. */
static inline void base_store_varint(uint8_t *at, uint64_t value, size_t len) {
    assert(len <= 8 && value >> (8 * len - 2) == 0);
    if (len == 1)
        *at = (uint8_t)value;
    else if (len == 2)
        base_store_u16(at, (uint16_t)(value | 0x4000));
    else if (len == 4)
        base_store_u32(at, (uint32_t)value | UINT32_C(0x80000000));
    else
        base_store_u64(at, value | UINT64_C(0xc000000000000000));
}

/* Writes the shortest encoding of `value` (<= BASE_VARINT_MAX). */
static inline void base_write_varint(struct base_writer *w, uint64_t value) {
    size_t len = base_varint_size(value);
    uint8_t *at = base_write_space(w, len);
    if (at)
        base_store_varint(at, value, len);
}

#endif
