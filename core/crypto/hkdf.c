/* hkdf.c - see hkdf.h. HMAC (RFC 2104) as two hashes whose first block, the padded key, is already in them; HKDF-Expand
 * of at most one block of output is one HMAC over the label and the octet 1.
 *
 * Nearly all that is hashed here fits into one block together with its padding. That block is written at once, so what
 * an HMAC costs is its two compressions and little beside.
 *
 * Knows two hashes, those of QUIC's ciphers; wolfCrypt knows how they are computed. Does not know what labels are for.
 *
 * The invariant that matters: what is derived from the key is wiped wherever it was, whether or not all went well.
 */
#include "hkdf.h"

#include <assert.h>
#include <string.h>

#include "keys.h"

#ifdef WOLFSSL_SMALL_STACK_CACHE
#error "this wolfSSL's hashes hold memory of their own: they cannot be copied as they are here"
#endif

#define BLOCK_MOST 128u /* of SHA-384 */

/* One of the two hashes behind a few functions, so that what follows is written once. */
struct hash_calls {
    size_t block, digest, length; /* of a block; of what comes out; of the number of bits in the last block */
    size_t state;                 /* what is to be wiped */
    int (*init)(union hkdf_hash *hash);
    void (*copy)(const union hkdf_hash *from, union hkdf_hash *to);
    int (*update)(union hkdf_hash *hash, const uint8_t *data, size_t len);
    int (*final)(union hkdf_hash *hash, uint8_t *out);
    int (*raw)(union hkdf_hash *hash, uint8_t *out); /* after whole blocks, the last of them padded already */
};

static int init_256(union hkdf_hash *hash) { return wc_InitSha256(&hash->sha256); }
static int init_384(union hkdf_hash *hash) { return wc_InitSha384(&hash->sha384); }
static void copy_256(const union hkdf_hash *from, union hkdf_hash *to) { to->sha256 = from->sha256; }
static void copy_384(const union hkdf_hash *from, union hkdf_hash *to) { to->sha384 = from->sha384; }
static int update_256(union hkdf_hash *hash, const uint8_t *data, size_t len) {
    return wc_Sha256Update(&hash->sha256, data, (word32)len);
}
static int update_384(union hkdf_hash *hash, const uint8_t *data, size_t len) {
    return wc_Sha384Update(&hash->sha384, data, (word32)len);
}
static int final_256(union hkdf_hash *hash, uint8_t *out) { return wc_Sha256Final(&hash->sha256, out); }
static int final_384(union hkdf_hash *hash, uint8_t *out) { return wc_Sha384Final(&hash->sha384, out); }
static int raw_256(union hkdf_hash *hash, uint8_t *out) { return wc_Sha256FinalRaw(&hash->sha256, out); }
static int raw_384(union hkdf_hash *hash, uint8_t *out) { return wc_Sha384FinalRaw(&hash->sha384, out); }

static const struct hash_calls hashes[] = {
    {WC_SHA256_BLOCK_SIZE, WC_SHA256_DIGEST_SIZE, 8, sizeof(wc_Sha256), init_256, copy_256, update_256, final_256,
     raw_256},
    {WC_SHA384_BLOCK_SIZE, WC_SHA384_DIGEST_SIZE, 16, sizeof(wc_Sha384), init_384, copy_384, update_384, final_384,
     raw_384},
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
    const struct hash_calls *hash = &hashes[wide];
    assert(len <= hash->block);
    hkdf->wide = wide;
    return begin_pad(hash, &hkdf->inner, key, len, 0x36) && begin_pad(hash, &hkdf->outer, key, len, 0x5c);
}

/* What `from`, in which one block is, makes of `data`. */
static bool continue_with(const struct hash_calls *hash, const union hkdf_hash *from, const uint8_t *data, size_t len,
                          uint8_t *out) {
    union hkdf_hash state;
    uint8_t last[BLOCK_MOST];
    bool ok;
    hash->copy(from, &state);
    if (len + 1 + hash->length <= hash->block) { /* RFC 6234 4: a bit, zeros, the number of bits */
        size_t bits = 8 * (hash->block + len);
        memcpy(last, data, len);
        last[len] = 0x80;
        memset(last + len + 1, 0, hash->block - len - 3);
        last[hash->block - 2] = (uint8_t)(bits >> 8);
        last[hash->block - 1] = (uint8_t)bits;
        ok = hash->update(&state, last, hash->block) == 0 && hash->raw(&state, out) == 0;
        crypto_wipe(last, hash->block);
    } else {
        ok = hash->update(&state, data, len) == 0 && hash->final(&state, out) == 0;
    }
    crypto_wipe(&state, hash->state);
    return ok;
}

bool hkdf_mac(const struct hkdf *hkdf, const uint8_t *data, size_t len, uint8_t *out) {
    const struct hash_calls *hash = &hashes[hkdf->wide];
    uint8_t digest[HKDF_MOST];
    bool ok = continue_with(hash, &hkdf->inner, data, len, digest) &&
              continue_with(hash, &hkdf->outer, digest, hash->digest, out);
    crypto_wipe(digest, sizeof digest);
    return ok;
}

bool hkdf_expand(const struct hkdf *hkdf, const char *label, size_t label_len, const uint8_t *context,
                 size_t context_len, uint8_t *out, size_t len) {
    uint8_t info[11 + HKDF_LABEL + HKDF_MOST], whole[HKDF_MOST];
    assert(label_len <= HKDF_LABEL && context_len <= HKDF_MOST && len <= hashes[hkdf->wide].digest);
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
    bool ok = hkdf_mac(hkdf, info, 11 + label_len + context_len, whole);
    if (ok)
        memcpy(out, whole, len);
    crypto_wipe(whole, sizeof whole);
    return ok;
}

bool hkdf_label(const struct hkdf *hkdf, const char *label, uint8_t *out, size_t len) {
    return hkdf_expand(hkdf, label, strlen(label), NULL, 0, out, len);
}

void hkdf_end(struct hkdf *hkdf) { crypto_wipe(hkdf, sizeof *hkdf); }
