/* sha256.c - see sha256.h.
 *
 * Knows how the instructions of x86-64 do four rounds and four words of the message schedule. Does not know padding.
 *
 * The invariant that matters: nothing branches or indexes on what is hashed; only the number of blocks decides what is
 * done.
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
#include <immintrin.h>

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

static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* The working variables as the instructions take them. */
struct variables {
    __m128i abef, cdgh;
};

/* Four rounds with the four words at `words`. */
__attribute__((target("sha"), always_inline)) static inline void rounds(struct variables *now, __m128i words,
                                                                        const uint32_t *with) {
    __m128i sum = _mm_add_epi32(words, _mm_loadu_si128((const __m128i *)with));
    now->cdgh = _mm_sha256rnds2_epu32(now->cdgh, now->abef, sum);
    now->abef = _mm_sha256rnds2_epu32(now->abef, now->cdgh, _mm_shuffle_epi32(sum, 0x0e));
}

/* The four words of the schedule behind the sixteen a, b, c, d. */
__attribute__((target("sha,ssse3"), always_inline)) static inline __m128i next_words(__m128i a, __m128i b, __m128i c,
                                                                                     __m128i d) {
    return _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(a, b), _mm_alignr_epi8(d, c, 4)), d);
}

__attribute__((target("sha,sse4.1"))) static void block(struct variables *state, const uint8_t *at) {
    const __m128i swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    const __m128i *from = (const __m128i *)at;
    __m128i a = _mm_shuffle_epi8(_mm_loadu_si128(from), swap), b = _mm_shuffle_epi8(_mm_loadu_si128(from + 1), swap);
    __m128i c = _mm_shuffle_epi8(_mm_loadu_si128(from + 2), swap),
            d = _mm_shuffle_epi8(_mm_loadu_si128(from + 3), swap);
    struct variables now = *state;
    for (unsigned i = 0; i < 48; i += 16) {
        rounds(&now, a, constants + i);
        a = next_words(a, b, c, d);
        rounds(&now, b, constants + i + 4);
        b = next_words(b, c, d, a);
        rounds(&now, c, constants + i + 8);
        c = next_words(c, d, a, b);
        rounds(&now, d, constants + i + 12);
        d = next_words(d, a, b, c);
    }
    rounds(&now, a, constants + 48);
    rounds(&now, b, constants + 52);
    rounds(&now, c, constants + 56);
    rounds(&now, d, constants + 60);
    state->abef = _mm_add_epi32(state->abef, now.abef);
    state->cdgh = _mm_add_epi32(state->cdgh, now.cdgh);
}

__attribute__((target("sha,sse4.1"))) void sha256_blocks(uint32_t state[8], const uint8_t *blocks, size_t count) {
    __m128i low = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
    __m128i high = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
    struct variables now = {_mm_alignr_epi8(low, high, 8), _mm_blend_epi16(high, low, 0xf0)};
    for (; count; blocks += SHA256_BLOCK, count--)
        block(&now, blocks);
    low = _mm_shuffle_epi32(now.abef, 0x1b);
    high = _mm_shuffle_epi32(now.cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(low, high, 0xf0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(high, low, 8));
}

#else

bool sha256_is_direct(void) { return false; }

void sha256_blocks(uint32_t state[8], const uint8_t *blocks, size_t count) {
    (void)state, (void)blocks, (void)count; /* nobody calls it: sha256_is_direct */
}

#endif
