/* hex.h - wire data in tests: bytes written as hex, and copies that end where the data end, so that a sanitizer sees
 * every byte read beyond; and numbers that look random and replay. */
#ifndef HEX_H
#define HEX_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "unit.h"

struct bytes {
    uint8_t *at; /* malloc'd, exactly `len` bytes */
    size_t len;
};

static inline struct bytes bytes_of(const void *data, size_t len) {
    struct bytes bytes = {malloc(len), len};
    ck_assert(bytes.at || len == 0);
    if (len)
        memcpy(bytes.at, data, len);
    return bytes;
}

static inline int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Spaces are ignored. */
static inline struct bytes hex(const char *text) {
    struct bytes bytes = {malloc(strlen(text) / 2 + 1), 0};
    ck_assert(bytes.at != NULL);
    int high = -1;
    for (; *text; text++) {
        int digit = hex_digit(*text);
        if (digit < 0)
            continue;
        if (high < 0) {
            high = digit;
        } else {
            bytes.at[bytes.len++] = (uint8_t)(high << 4 | digit);
            high = -1;
        }
    }
    ck_assert_msg(high < 0, "odd number of hex digits");
    struct bytes copy = bytes_of(bytes.at, bytes.len);
    free(bytes.at);
    return copy;
}

/* Asserts inside of long loops: Check's own note every passed one down, which takes longer than what is tested. */
static inline void require(bool holds, const char *what) {
    if (!holds)
        ck_abort_msg("%s", what);
}

/* splitmix64 */
static inline uint64_t roll(uint64_t *dice) {
    uint64_t z = *dice += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* A number a varint can hold; each number of bits is as likely as any other. */
static inline uint64_t roll_varint(uint64_t *dice) {
    unsigned bits = (unsigned)(roll(dice) % 63);
    return bits ? roll(dice) >> (64 - bits) : 0;
}

#endif
