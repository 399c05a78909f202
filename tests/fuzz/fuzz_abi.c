/* fuzz_abi.c - bytes as a sequence of calls of weft.h. Two bytes are a number (calls.c); when they are used up, the
 * sequence is over. */
#include <stddef.h>

#include "calls.h"

#define MOST 400u /* calls: a run stays short */

struct bytes {
    const uint8_t *data;
    size_t len;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t on_next(void *user) {
    struct bytes *bytes = user;
    uint64_t number = 0;
    for (int i = 0; i < 2 && bytes->len; i++, bytes->len--)
        number = number << 8 | *bytes->data++;
    return number;
}

static bool on_more(void *user) { return ((struct bytes *)user)->len > 0; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bytes bytes = {data, size};
    const struct calls_source source = {on_next, on_more, &bytes};
    calls_run(&source, 1, MOST);
    return 0;
}
