/* aes.c - AES (FIPS 197) over single blocks.
 *
 * Knows: how the instructions of x86-64 encrypt; BoringSSL knows how they make a key schedule. Does not know what the
 * blocks are for.
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

/* BoringSSL's, under the name that scripts/boringssl.sh gives it. 0: done. */
int bssl_aes_hw_set_encrypt_key_alt(const uint8_t *key, int bits, struct aes_schedule *schedule);

void aes_expand(struct aes_schedule *schedule, const uint8_t *key, size_t key_len) {
    int refused = bssl_aes_hw_set_encrypt_key_alt(key, (int)(8 * key_len), schedule);
    assert(!refused);
    (void)refused;
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
