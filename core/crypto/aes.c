/* aes.c - AES (FIPS 197) over single blocks.
 *
 * Knows: how the instructions of x86-64 make a key schedule and encrypt. Does not know what the blocks are for.
 *
 * The invariant that matters: nothing branches or indexes on keys or text; only the key's length decides what is done.
 */
#include "aes.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

static atomic_bool library_forced;

void aes_force_library(bool library) { atomic_store(&library_forced, library); }

size_t aes_key_size(bool direct) {
    return offsetof(struct aes_key, u) + (direct ? sizeof(struct aes_schedule) : sizeof(Aes));
}

#ifdef WEFT_WIDE_AES

#include <immintrin.h>

bool aes_is_direct(void) {
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("ssse3") &&
           !atomic_load_explicit(&library_forced, memory_order_relaxed);
}

/* FIPS 197 5.2: each word of a round key is XORed with all before it in the key, and with `first`. */
static inline __m128i next_words(__m128i key, __m128i first) {
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    key = _mm_xor_si128(key, _mm_slli_si128(key, 8));
    return _mm_xor_si128(key, first);
}

/* The last round of the cipher is SubBytes, ShiftRows and a key. Where all words are the same ShiftRows changes
 * nothing, so what is left is SubWord and the round's constant. */
__attribute__((target("aes,ssse3"))) static inline __m128i rotated_word(__m128i key, int constant) {
    __m128i rotated = _mm_shuffle_epi8(key, _mm_set1_epi32(0x0c0f0e0d)); /* RotWord of the last, four times */
    return _mm_aesenclast_si128(rotated, _mm_set1_epi32(constant));
}

__attribute__((target("aes"))) static inline __m128i plain_word(__m128i key) {
    return _mm_aesenclast_si128(_mm_shuffle_epi32(key, 0xff), _mm_setzero_si128());
}

static const uint8_t constants[] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36};

__attribute__((target("aes,ssse3"))) void aes_expand(struct aes_schedule *schedule, const uint8_t *key,
                                                     size_t key_len) {
    __m128i *round = (__m128i *)schedule->words;
    assert(key_len == 16 || key_len == 32);
    __m128i even = _mm_loadu_si128((const __m128i *)key);
    _mm_storeu_si128(round++, even);
    if (key_len == 16) {
        for (unsigned i = 0; i < 10; i++) {
            even = next_words(even, rotated_word(even, constants[i]));
            _mm_storeu_si128(round++, even);
        }
        schedule->rounds = 9;
        return;
    }
    __m128i odd = _mm_loadu_si128((const __m128i *)(key + AES_BLOCK));
    _mm_storeu_si128(round++, odd);
    for (unsigned i = 0; i < 7; i++) {
        even = next_words(even, rotated_word(odd, constants[i]));
        _mm_storeu_si128(round++, even);
        if (i < 6) {
            odd = next_words(odd, plain_word(even));
            _mm_storeu_si128(round++, odd);
        }
    }
    schedule->rounds = 13;
}

/* Four blocks share the cipher's latency. Written out: a compiler that does not unroll would keep them in memory. */
__attribute__((target("aes"))) static void encrypt_four(const struct aes_schedule *schedule, __m128i *blocks) {
    const __m128i *round = (const __m128i *)schedule->words;
    __m128i key = _mm_loadu_si128(round);
    __m128i a = _mm_xor_si128(_mm_loadu_si128(blocks), key), b = _mm_xor_si128(_mm_loadu_si128(blocks + 1), key);
    __m128i c = _mm_xor_si128(_mm_loadu_si128(blocks + 2), key), d = _mm_xor_si128(_mm_loadu_si128(blocks + 3), key);
    for (uint32_t left = schedule->rounds; left; left--) {
        key = _mm_loadu_si128(++round);
        a = _mm_aesenc_si128(a, key);
        b = _mm_aesenc_si128(b, key);
        c = _mm_aesenc_si128(c, key);
        d = _mm_aesenc_si128(d, key);
    }
    key = _mm_loadu_si128(++round);
    _mm_storeu_si128(blocks, _mm_aesenclast_si128(a, key));
    _mm_storeu_si128(blocks + 1, _mm_aesenclast_si128(b, key));
    _mm_storeu_si128(blocks + 2, _mm_aesenclast_si128(c, key));
    _mm_storeu_si128(blocks + 3, _mm_aesenclast_si128(d, key));
}

__attribute__((target("aes"))) static void encrypt_one(const struct aes_schedule *schedule, __m128i *block) {
    const __m128i *round = (const __m128i *)schedule->words;
    __m128i state = _mm_xor_si128(_mm_loadu_si128(block), _mm_loadu_si128(round));
    for (uint32_t left = schedule->rounds; left; left--)
        state = _mm_aesenc_si128(state, _mm_loadu_si128(++round));
    _mm_storeu_si128(block, _mm_aesenclast_si128(state, _mm_loadu_si128(++round)));
}

static void encrypt_blocks(const struct aes_schedule *schedule, uint8_t (*blocks)[AES_BLOCK], size_t count) {
    for (; count >= 4; blocks += 4, count -= 4)
        encrypt_four(schedule, (__m128i *)blocks);
    for (; count; blocks++, count--)
        encrypt_one(schedule, (__m128i *)blocks);
}

#else

bool aes_is_direct(void) { return false; }

#endif

void aes_begin(struct aes_key *aes, bool direct) {
    aes->direct = direct;
    if (!direct)
        memset(&aes->u.library, 0, sizeof aes->u.library);
}

bool aes_set_key(struct aes_key *aes, const uint8_t *key, size_t key_len) {
#ifdef WEFT_WIDE_AES
    if (aes->direct) {
        aes_expand(&aes->u.schedule, key, key_len);
        return true;
    }
#endif
    return wc_AesInit(&aes->u.library, NULL, INVALID_DEVID) == 0 &&
           wc_AesSetKey(&aes->u.library, key, (word32)key_len, NULL, AES_ENCRYPTION) == 0;
}

void aes_clear(struct aes_key *aes) {
    if (!aes->direct)
        wc_AesFree(&aes->u.library);
}

bool aes_encrypt(struct aes_key *aes, uint8_t (*blocks)[AES_BLOCK], size_t count) {
#ifdef WEFT_WIDE_AES
    if (aes->direct) {
        encrypt_blocks(&aes->u.schedule, blocks, count);
        return true;
    }
#endif
    return wc_AesEcbEncrypt(&aes->u.library, blocks[0], blocks[0], (word32)(count * AES_BLOCK)) == 0;
}
