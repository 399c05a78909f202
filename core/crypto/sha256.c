/* sha256.c - see sha256.h.
 *
 * Knows where a hash begins and whose routine goes on. Does not know padding.
 */
#include "sha256.h"

#include <stdatomic.h>
#include <string.h>

#include "base/cursor.h"

static atomic_bool library_forced;

void sha256_force_library(bool library) { atomic_store(&library_forced, library); }

void sha256_begin(uint32_t state[8]) {
    static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(state, initial, sizeof initial);
}

void sha256_bytes(const uint32_t state[8], uint8_t out[32]) {
    for (size_t i = 0; i < 8; i++)
        base_store_u32(out + 4 * i, state[i]);
}

#ifdef WEFT_WIDE_AES

#include <cpuid.h>

#define SHA_BIT (1u << 29) /* of EBX in leaf 7 of CPUID */

bool sha256_is_direct(void) {
    static atomic_int known; /* 0: not asked yet. CPUID is slow in virtual machines */
    int state = atomic_load_explicit(&known, memory_order_relaxed);
    if (!state) {
        unsigned a, b = 0, c, d;
        bool able = __builtin_cpu_supports("sse4.1") && __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & SHA_BIT;
        state = able ? 1 : -1;
        atomic_store_explicit(&known, state, memory_order_relaxed);
    }
    return state > 0 && !atomic_load_explicit(&library_forced, memory_order_relaxed);
}

/* BoringSSL's, under the name that scripts/boringssl.sh gives it. */
void bssl_sha256_block_data_order_hw(uint32_t state[8], const uint8_t *blocks, size_t count);

void sha256_blocks(uint32_t state[8], const uint8_t *blocks, size_t count) {
    bssl_sha256_block_data_order_hw(state, blocks, count);
}

#else

bool sha256_is_direct(void) { return false; }

void sha256_blocks(uint32_t state[8], const uint8_t *blocks, size_t count) {
    (void)state, (void)blocks, (void)count; /* nobody calls it: sha256_is_direct */
}

#endif
