/* hkdf.c - see hkdf.h. HMAC (RFC 2104) as two hashes whose first block, the padded key, is already in them; HKDF-Expand
 * of at most one block of output is one HMAC over the label and the octet 1.
 *
 * Nearly all that is hashed here fits into one block together with its padding. That block is written at once, so what
 * an HMAC costs is its two compressions and little beside.
 *
 * Knows two hashes, those of QUIC's ciphers, and their padding; wolfCrypt knows how they are computed, and of SHA-256
 * the processor (sha256.h). Does not know what labels are for.
 *
 * The invariant that matters: what is derived from the key is wiped wherever it was, whether or not all went well.
 */
#include "hkdf.h"

#include <assert.h>
#include <string.h>

#include "base/cursor.h"
#include "keys.h"
#include "sha256.h"

#ifdef WOLFSSL_SMALL_STACK_CACHE
#error "this wolfSSL's hashes hold memory of their own: they cannot be copied as they are here"
#endif

#define BLOCK_MOST 128u /* of SHA-384 */

/* A hash behind a few functions, so that what follows is written once. Only whole blocks are given to it. */
struct hash_calls {
    size_t block, digest, length; /* of a block; of what comes out; of the number of bits in the last block */
    size_t state;                 /* the bytes of a hash: what is to be copied, and wiped */
    int (*init)(union hkdf_hash *hash);
    int (*update)(union hkdf_hash *hash, const uint8_t *blocks, size_t len);
    int (*bytes)(union hkdf_hash *hash, uint8_t *out);
};

static int init_256(union hkdf_hash *hash) { return wc_InitSha256(&hash->sha256); }
static int init_384(union hkdf_hash *hash) { return wc_InitSha384(&hash->sha384); }
static int init_direct(union hkdf_hash *hash) { return sha256_begin(hash->words), 0; }
static int update_256(union hkdf_hash *hash, const uint8_t *blocks, size_t len) {
    return wc_Sha256Update(&hash->sha256, blocks, (word32)len);
}
static int update_384(union hkdf_hash *hash, const uint8_t *blocks, size_t len) {
    return wc_Sha384Update(&hash->sha384, blocks, (word32)len);
}
static int update_direct(union hkdf_hash *hash, const uint8_t *blocks, size_t len) {
    return sha256_blocks(hash->words, blocks, len / SHA256_BLOCK), 0;
}
static int bytes_256(union hkdf_hash *hash, uint8_t *out) { return wc_Sha256FinalRaw(&hash->sha256, out); }
static int bytes_384(union hkdf_hash *hash, uint8_t *out) { return wc_Sha384FinalRaw(&hash->sha384, out); }
static int bytes_direct(union hkdf_hash *hash, uint8_t *out) { return sha256_bytes(hash->words, out), 0; }

static const struct hash_calls hashes[] = {
    [HKDF_SHA256] = {WC_SHA256_BLOCK_SIZE, WC_SHA256_DIGEST_SIZE, 8, sizeof(wc_Sha256), init_256, update_256,
                     bytes_256},
    [HKDF_SHA384] = {WC_SHA384_BLOCK_SIZE, WC_SHA384_DIGEST_SIZE, 16, sizeof(wc_Sha384), init_384, update_384,
                     bytes_384},
    [HKDF_SHA256_DIRECT] = {SHA256_BLOCK, WC_SHA256_DIGEST_SIZE, 8, 8 * sizeof(uint32_t), init_direct, update_direct,
                            bytes_direct},
};

static bool begin_pad(const struct hash_calls *hash, union hkdf_hash *state, const uint8_t *key, size_t len,
                      uint8_t pad) {
    uint64_t block[BLOCK_MOST / 8] = {0};
    if (len)
        memcpy(block, key, len);
    for (size_t i = 0; i < hash->block / 8; i++)
        block[i] ^= pad * UINT64_C(0x0101010101010101);
    bool ok = hash->init(state) == 0 && hash->update(state, (const uint8_t *)block, hash->block) == 0;
    crypto_wipe(block, sizeof block);
    return ok;
}

bool hkdf_begin(struct hkdf *hkdf, bool wide, const uint8_t *key, size_t len) {
    hkdf->kind = wide ? HKDF_SHA384 : sha256_is_direct() ? HKDF_SHA256_DIRECT : HKDF_SHA256;
    const struct hash_calls *hash = &hashes[hkdf->kind];
    assert(len <= hash->block);
    return begin_pad(hash, &hkdf->inner, key, len, 0x36) && begin_pad(hash, &hkdf->outer, key, len, 0x5c);
}

/* What `from`, in which one block is, makes of `data`. */
static bool continue_with(const struct hash_calls *hash, const union hkdf_hash *from, const uint8_t *data, size_t len,
                          uint8_t *out) {
    union hkdf_hash state;
    uint8_t last[2 * BLOCK_MOST];
    size_t rest = len % hash->block, whole = len - rest;
    size_t end = rest + 1 + hash->length <= hash->block ? hash->block : 2 * hash->block;
    /* RFC 6234 4: a bit, zeros, the number of bits. */
    if (rest)
        memcpy(last, data + whole, rest);
    last[rest] = 0x80;
    memset(last + rest + 1, 0, end - rest - 5);
    base_store_u32(last + end - 4, (uint32_t)(8 * (hash->block + len)));
    memcpy(&state, from, hash->state);
    bool ok = (!whole || hash->update(&state, data, whole) == 0) && hash->update(&state, last, end) == 0 &&
              hash->bytes(&state, out) == 0;
    crypto_wipe(last, end);
    crypto_wipe(&state, hash->state);
    return ok;
}

bool hkdf_mac(const struct hkdf *hkdf, const uint8_t *data, size_t len, uint8_t *out, size_t out_len) {
    const struct hash_calls *hash = &hashes[hkdf->kind];
    uint8_t digest[HKDF_MOST];
    assert(out_len <= hash->digest);
    bool ok = continue_with(hash, &hkdf->inner, data, len, digest) &&
              continue_with(hash, &hkdf->outer, digest, hash->digest, digest);
    if (ok)
        memcpy(out, digest, out_len);
    crypto_wipe(digest, sizeof digest);
    return ok;
}

bool hkdf_expand(const struct hkdf *hkdf, const char *label, size_t label_len, const uint8_t *context,
                 size_t context_len, uint8_t *out, size_t len) {
    uint8_t info[11 + HKDF_LABEL + HKDF_MOST];
    assert(label_len <= HKDF_LABEL && context_len <= HKDF_MOST);
    /* RFC 8446 7.1: uint16 length, opaque label<7..255>, opaque context<0..255>; then the octet 1 of RFC 5869. */
    info[0] = 0;
    info[1] = (uint8_t)len;
    info[2] = (uint8_t)(6 + label_len);
    memcpy(info + 3, "tls13 ", 6);
    memcpy(info + 9, label, label_len);
    info[9 + label_len] = (uint8_t)context_len;
    if (context_len)
        memcpy(info + 10 + label_len, context, context_len);
    info[10 + label_len + context_len] = 1;
    return hkdf_mac(hkdf, info, 11 + label_len + context_len, out, len);
}

bool hkdf_label(const struct hkdf *hkdf, const char *label, uint8_t *out, size_t len) {
    return hkdf_expand(hkdf, label, strlen(label), NULL, 0, out, len);
}

void hkdf_end(struct hkdf *hkdf) { crypto_wipe(hkdf, sizeof *hkdf); }
