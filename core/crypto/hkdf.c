/* hkdf.c - see hkdf.h. HMAC (RFC 2104) as two hashes whose first block, the padded key, is already in them; HKDF-Expand
 * of at most one block of output is one HMAC over the label and the octet 1.
 *
 * Knows two hashes, those of QUIC's ciphers; wolfCrypt knows how they are computed. Does not know what labels are for.
 *
 * The invariant that matters: what is derived from the secret is wiped wherever it was, whether or not all went well.
 */
#include "hkdf.h"

#include <assert.h>
#include <string.h>

#include "keys.h"

#define LABEL_MOST 16u
#define BLOCK_MOST 128u /* of SHA-384 */

/* One of the two hashes behind four functions, so that what follows is written once. */
struct hash_calls {
    size_t block, digest;
    int (*init)(union hkdf_hash *hash);
    int (*copy)(const union hkdf_hash *from, union hkdf_hash *to); /* `to` was initialised */
    int (*update)(union hkdf_hash *hash, const uint8_t *data, size_t len);
    int (*final)(union hkdf_hash *hash, uint8_t *out);
};

static int init_256(union hkdf_hash *hash) { return wc_InitSha256(&hash->sha256); }
static int init_384(union hkdf_hash *hash) { return wc_InitSha384(&hash->sha384); }
static int copy_256(const union hkdf_hash *from, union hkdf_hash *to) {
    return wc_Sha256Copy((wc_Sha256 *)&from->sha256, &to->sha256); /* only reads it */
}
static int copy_384(const union hkdf_hash *from, union hkdf_hash *to) {
    return wc_Sha384Copy((wc_Sha384 *)&from->sha384, &to->sha384);
}
static int update_256(union hkdf_hash *hash, const uint8_t *data, size_t len) {
    return wc_Sha256Update(&hash->sha256, data, (word32)len);
}
static int update_384(union hkdf_hash *hash, const uint8_t *data, size_t len) {
    return wc_Sha384Update(&hash->sha384, data, (word32)len);
}
static int final_256(union hkdf_hash *hash, uint8_t *out) { return wc_Sha256Final(&hash->sha256, out); }
static int final_384(union hkdf_hash *hash, uint8_t *out) { return wc_Sha384Final(&hash->sha384, out); }

static const struct hash_calls hashes[] = {
    {WC_SHA256_BLOCK_SIZE, WC_SHA256_DIGEST_SIZE, init_256, copy_256, update_256, final_256},
    {WC_SHA384_BLOCK_SIZE, WC_SHA384_DIGEST_SIZE, init_384, copy_384, update_384, final_384},
};

static bool begin_pad(const struct hash_calls *hash, union hkdf_hash *state, const uint8_t *secret, uint8_t pad) {
    uint8_t block[BLOCK_MOST];
    memset(block, pad, hash->block);
    for (size_t i = 0; i < hash->digest; i++)
        block[i] = secret[i] ^ pad;
    bool ok = hash->init(state) == 0 && hash->update(state, block, hash->block) == 0;
    crypto_wipe(block, sizeof block);
    return ok;
}

bool hkdf_begin(struct hkdf *hkdf, const uint8_t *secret, size_t len) {
    assert(len == WC_SHA256_DIGEST_SIZE || len == WC_SHA384_DIGEST_SIZE);
    hkdf->wide = len == WC_SHA384_DIGEST_SIZE;
    const struct hash_calls *hash = &hashes[hkdf->wide];
    return begin_pad(hash, &hkdf->inner, secret, 0x36) && begin_pad(hash, &hkdf->outer, secret, 0x5c);
}

/* RFC 8446 7.1: uint16 length, opaque label<7..255>, opaque context<0..255>; then the octet 1 of RFC 5869. */
static size_t write_info(uint8_t *info, const char *label, size_t len) {
    size_t label_len = strlen(label);
    assert(label_len <= LABEL_MOST);
    info[0] = 0;
    info[1] = (uint8_t)len;
    info[2] = (uint8_t)(6 + label_len);
    memcpy(info + 3, "tls13 ", 6);
    memcpy(info + 9, label, label_len);
    info[9 + label_len] = 0;
    info[10 + label_len] = 1;
    return 11 + label_len;
}

bool hkdf_label(const struct hkdf *hkdf, const char *label, uint8_t *out, size_t len) {
    const struct hash_calls *hash = &hashes[hkdf->wide];
    uint8_t info[11 + LABEL_MOST], digest[WC_SHA384_DIGEST_SIZE];
    union hkdf_hash state;
    assert(len <= hash->digest);
    bool ok = hash->init(&state) == 0 && hash->copy(&hkdf->inner, &state) == 0 &&
              hash->update(&state, info, write_info(info, label, len)) == 0 && hash->final(&state, digest) == 0 &&
              hash->copy(&hkdf->outer, &state) == 0 && hash->update(&state, digest, hash->digest) == 0 &&
              hash->final(&state, digest) == 0;
    if (ok)
        memcpy(out, digest, len);
    crypto_wipe(&state, hkdf->wide ? sizeof state.sha384 : sizeof state.sha256);
    crypto_wipe(digest, sizeof digest);
    return ok;
}

void hkdf_end(struct hkdf *hkdf) { crypto_wipe(hkdf, sizeof *hkdf); }
