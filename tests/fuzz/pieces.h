/* pieces.h - an input that is read in pieces of one size, as a file may come: what readers of `weft` are fuzzed
 * with. */
#ifndef FUZZ_PIECES_H
#define FUZZ_PIECES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
    const uint8_t *data;
    size_t left, piece;
};

static long give(void *user, void *to, size_t len) {
    struct input *input = user;
    size_t now = input->left < input->piece ? input->left : input->piece;
    now = now < len ? now : len;
    if (now)
        memcpy(to, input->data, now);
    input->data += now;
    input->left -= now;
    return (long)now;
}

#endif
