/* gcm.c - AES-GCM of a packet: NIST SP 800-38D with a nonce of 12 bytes, as RFC 9001 5.3 uses it.
 *
 * Knows: how a packet is cut for the wide routines, which take whole blocks: associated data in blocks padded with
 * zeros, the text's whole blocks in one call, its last bytes and the lengths by hand. Does not know QUIC.
 *
 * The invariant that matters: nothing branches or indexes on keys or text; only lengths, which everybody sees, decide
 * what is done. The routines that do the arithmetic are constant-time by their instructions.
 *
 * A datagram of 1,452 bytes costs two thirds of what AVX2 with AES-NI takes, one of 64 KiB little more than half.
 */
#include "gcm.h"

#include <stdatomic.h>
#include <string.h>

#include "base/cursor.h"
#include "keys.h"

static atomic_bool narrow_forced;

void gcm_force_narrow(bool narrow) { atomic_store(&narrow_forced, narrow); }

size_t gcm_key_size(bool wide) { return offsetof(struct gcm_key, u) + (wide ? sizeof(struct gcm_wide) : sizeof(Aes)); }

#ifdef WEFT_WIDE_AES

#include <cpuid.h>
#include <immintrin.h>

#define BLOCK 16u
#define VAES_BIT (1u << 9) /* of ECX in leaf 7 of CPUID; both say nothing about the system, but AVX2 does */
#define VPCLMULQDQ_BIT (1u << 10)

/* BoringSSL's, under the names that scripts/boringssl.sh gives them. Lengths are in bytes, and whole blocks. */
void bssl_gcm_init_vpclmulqdq_avx2(uint8_t powers[256], const uint64_t hash_key[2]);
void bssl_gcm_ghash_vpclmulqdq_avx2_1(uint8_t hash[BLOCK], const uint8_t powers[256], const uint8_t in[BLOCK],
                                      size_t len);
void bssl_aes_gcm_enc_update_vaes_avx2(const uint8_t *in, uint8_t *out, size_t len, const uint32_t *schedule,
                                       const __m128i *counter, const uint8_t powers[256], uint8_t hash[BLOCK]);
void bssl_aes_gcm_dec_update_vaes_avx2(const uint8_t *in, uint8_t *out, size_t len, const uint32_t *schedule,
                                       const __m128i *counter, const uint8_t powers[256], uint8_t hash[BLOCK]);

bool gcm_is_wide(void) {
    static atomic_int known; /* 0: not asked yet. CPUID is slow in virtual machines */
    int state = atomic_load_explicit(&known, memory_order_relaxed);
    if (!state) {
        unsigned a, b, c = 0, d;
        bool able = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("aes") &&
                    __builtin_cpu_supports("ssse3") && __get_cpuid_count(7, 0, &a, &b, &c, &d) && c & VAES_BIT &&
                    c & VPCLMULQDQ_BIT;
        state = able ? 1 : -1;
        atomic_store_explicit(&known, state, memory_order_relaxed);
    }
    return state > 0 && !atomic_load_explicit(&narrow_forced, memory_order_relaxed);
}

/* Two blocks through the cipher: independent of each other, they share its latency. */
__attribute__((target("aes"))) static void encrypt_two(const struct gcm_wide *key, __m128i blocks[2]) {
    const __m128i *round = (const __m128i *)key->aes.words;
    __m128i a = _mm_xor_si128(blocks[0], _mm_loadu_si128(round)), b = _mm_xor_si128(blocks[1], _mm_loadu_si128(round));
    for (uint32_t i = key->aes.rounds; i; i--) {
        __m128i k = _mm_loadu_si128(++round);
        a = _mm_aesenc_si128(a, k);
        b = _mm_aesenc_si128(b, k);
    }
    __m128i last = _mm_loadu_si128(++round);
    blocks[0] = _mm_aesenclast_si128(a, last);
    blocks[1] = _mm_aesenclast_si128(b, last);
}

static void wide_set_key(struct gcm_wide *wide, const uint8_t *key, size_t key_len) {
    aes_expand(&wide->aes, key, key_len);
    __m128i blocks[2] = {_mm_setzero_si128(), _mm_setzero_si128()};
    encrypt_two(wide, blocks);
    const uint8_t *block = (const uint8_t *)&blocks[0];
    uint64_t hash_key[2] = {base_load_u64(block), base_load_u64(block + 8)};
    bssl_gcm_init_vpclmulqdq_avx2(wide->powers, hash_key);
    crypto_wipe(hash_key, sizeof hash_key);
    crypto_wipe(blocks, sizeof blocks);
}

/* What is on its way from the first byte of a packet to its tag. */
struct gcm_run {
    const struct gcm_wide *key;
    __m128i masks[2]; /* of the tag, of the text's last bytes */
    __m128i counter;  /* nonce and the number of the text's first block */
    uint8_t hash[BLOCK];
};

/* A counter block. Made in a register: written in two parts and read as one it would wait for the processor's
 * stores. */
__attribute__((target("sse4.1"))) static inline __m128i counter_block(__m128i nonce, size_t number) {
    return _mm_insert_epi32(nonce, (int)__builtin_bswap32((uint32_t)number), 3);
}

static void hash_block(struct gcm_run *run, const uint8_t block[BLOCK]) {
    bssl_gcm_ghash_vpclmulqdq_avx2_1(run->hash, run->key->powers, block, BLOCK);
}

static void hash_part(struct gcm_run *run, const uint8_t *part, size_t len) {
    uint8_t block[BLOCK] = {0};
    memcpy(block, part, len);
    hash_block(run, block);
}

__attribute__((target("aes,sse4.1"))) static void run_begin(struct gcm_run *run, const struct gcm_wide *key,
                                                            const uint8_t *nonce, const uint8_t *aad, size_t aad_len,
                                                            size_t len) {
    uint32_t first; /* read as make_nonce of protect.c wrote it */
    uint64_t rest;
    memcpy(&first, nonce, sizeof first);
    memcpy(&rest, nonce + sizeof first, sizeof rest);
    __m128i base = _mm_set_epi64x((long long)(rest >> 32), (long long)(rest << 32 | first));
    run->key = key;
    run->masks[0] = counter_block(base, 1);
    run->masks[1] = counter_block(base, 2 + len / BLOCK);
    run->counter = counter_block(base, 2);
    encrypt_two(key, run->masks);
    memset(run->hash, 0, sizeof run->hash);
    for (; aad_len >= BLOCK; aad += BLOCK, aad_len -= BLOCK)
        hash_block(run, aad);
    if (aad_len)
        hash_part(run, aad, aad_len);
}

/* XORs the last bytes of the text, fewer than a block, with their part of the key stream. */
static void mask_rest(const struct gcm_run *run, uint8_t *rest, size_t len) {
    const uint8_t *stream = (const uint8_t *)&run->masks[1];
    for (size_t i = 0; i < len; i++)
        rest[i] ^= stream[i];
}

static void run_end(struct gcm_run *run, size_t aad_len, size_t len, uint8_t tag[GCM_TAG_SIZE]) {
    __m128i bits = _mm_set_epi64x((long long)__builtin_bswap64(len * UINT64_C(8)),
                                  (long long)__builtin_bswap64(aad_len * UINT64_C(8)));
    hash_block(run, (const uint8_t *)&bits);
    __m128i sum = _mm_xor_si128(_mm_loadu_si128((const __m128i *)run->hash), run->masks[0]);
    _mm_storeu_si128((__m128i *)tag, sum);
}

/* From the text to its tag. What is hashed is the encrypted text: of the last bytes, that the wide routines do not
 * take, that is before they are decrypted, or after they are encrypted. Inlined, for each caller knows which of the
 * two. */
__attribute__((always_inline)) static inline void wide_run(const struct gcm_wide *key, bool seal, const uint8_t *nonce,
                                                           const uint8_t *aad, size_t aad_len, uint8_t *text,
                                                           size_t len, uint8_t tag[GCM_TAG_SIZE]) {
    struct gcm_run run;
    size_t rest = len % BLOCK, whole = len - rest;
    run_begin(&run, key, nonce, aad, aad_len, len);
    if (whole)
        (seal ? bssl_aes_gcm_enc_update_vaes_avx2 : bssl_aes_gcm_dec_update_vaes_avx2)(
            text, text, whole, key->aes.words, &run.counter, key->powers, run.hash);
    if (rest) {
        if (!seal)
            hash_part(&run, text + whole, rest);
        mask_rest(&run, text + whole, rest);
        if (seal)
            hash_part(&run, text + whole, rest);
    }
    run_end(&run, aad_len, len, tag);
}

#else

bool gcm_is_wide(void) { return false; }

#endif

void gcm_begin(struct gcm_key *gcm, bool wide) {
    gcm->wide = wide;
    if (!wide)
        memset(&gcm->u.narrow, 0, sizeof gcm->u.narrow);
}

bool gcm_set_key(struct gcm_key *gcm, const uint8_t *key, size_t key_len) {
#ifdef WEFT_WIDE_AES
    if (gcm->wide) {
        wide_set_key(&gcm->u.wide, key, key_len);
        return true;
    }
#endif
    return wc_AesInit(&gcm->u.narrow, NULL, INVALID_DEVID) == 0 &&
           wc_AesGcmSetKey(&gcm->u.narrow, key, (word32)key_len) == 0;
}

void gcm_clear(struct gcm_key *gcm) {
    if (!gcm->wide)
        wc_AesFree(&gcm->u.narrow);
}

bool gcm_seal(struct gcm_key *gcm, const uint8_t nonce[GCM_NONCE_SIZE], const uint8_t *aad, size_t aad_len,
              uint8_t *text, size_t len) {
#ifdef WEFT_WIDE_AES
    if (gcm->wide) {
        wide_run(&gcm->u.wide, true, nonce, aad, aad_len, text, len, text + len);
        return true;
    }
#endif
    return wc_AesGcmEncrypt(&gcm->u.narrow, text, text, (word32)len, nonce, GCM_NONCE_SIZE, text + len, GCM_TAG_SIZE,
                            aad, (word32)aad_len) == 0;
}

bool gcm_open(struct gcm_key *gcm, const uint8_t nonce[GCM_NONCE_SIZE], const uint8_t *aad, size_t aad_len,
              uint8_t *text, size_t len) {
#ifdef WEFT_WIDE_AES
    if (gcm->wide) {
        uint8_t tag[GCM_TAG_SIZE];
        wide_run(&gcm->u.wide, false, nonce, aad, aad_len, text, len, tag);
        return crypto_equal(tag, text + len, sizeof tag);
    }
#endif
    return wc_AesGcmDecrypt(&gcm->u.narrow, text, text, (word32)len, nonce, GCM_NONCE_SIZE, text + len, GCM_TAG_SIZE,
                            aad, (word32)aad_len) == 0;
}
