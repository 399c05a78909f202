/* token.c - tokens a server seals for its future self: address validation (RFC 9000 8.1) and stateless reset (10.3).
 *
 * Layout of a sealed token: id of the secret (1) | nonce (12) | ciphertext | tag (16). The key of each token is derived
 * from the fleet's secret and the token's nonce, four blocks of AES as in RFC 8452 section 4: a fleet may seal far more
 * tokens than one AES-GCM key should (RFC 9001 6.6), and should two nonces ever meet, only those two tokens share a
 * key.
 *
 * The invariant that matters: use, secret id and what the token is bound to are all authenticated, so a token is good
 * for exactly what it was made for.
 */
#include "token.h"

#include <assert.h>
#include <string.h>

#include "hkdf.h"
#include "keys_impl.h"

#include <wolfssl/wolfcrypt/hmac.h>

#define NONCE_SIZE 12u
#define BOUND_MAX 256u

struct generation { /* what is made of one secret, once */
    bool set;
    uint8_t id;
    struct hkdf reset; /* HMAC */
    Aes derive, scramble, unscramble;
};

struct crypto_fleet {
    struct generation at[2]; /* present, previous */
};

static bool expand(const uint8_t *secret, const char *label, uint8_t *out, size_t len) {
    return wc_HKDF_Expand(WC_SHA256, secret, CRYPTO_FLEET_SECRET_SIZE, (const byte *)label, (word32)strlen(label), out,
                          (word32)len) == 0;
}

static bool set_aes(Aes *aes, const uint8_t *key, word32 len, int direction) {
    return wc_AesInit(aes, NULL, INVALID_DEVID) == 0 && wc_AesSetKey(aes, key, len, NULL, direction) == 0;
}

static bool generation_init(struct generation *made, const uint8_t *secret) {
    uint8_t derive[32], scramble[16], reset[32];
    bool ok = expand(secret, "weft token id", &made->id, 1) && expand(secret, "weft reset", reset, sizeof reset) &&
              hkdf_begin(&made->reset, false, reset, sizeof reset) &&
              expand(secret, "weft token", derive, sizeof derive) &&
              expand(secret, "weft cid", scramble, sizeof scramble) &&
              set_aes(&made->derive, derive, sizeof derive, AES_ENCRYPTION) &&
              set_aes(&made->scramble, scramble, sizeof scramble, AES_ENCRYPTION) &&
              set_aes(&made->unscramble, scramble, sizeof scramble, AES_DECRYPTION);
    crypto_wipe(derive, sizeof derive);
    crypto_wipe(scramble, sizeof scramble);
    crypto_wipe(reset, sizeof reset);
    made->set = ok;
    return ok;
}

static void generation_free(struct generation *gone) {
    wc_AesFree(&gone->derive);
    wc_AesFree(&gone->scramble);
    wc_AesFree(&gone->unscramble);
    crypto_wipe(gone, sizeof *gone);
}

struct crypto_fleet *crypto_fleet_new(struct base_mem *mem, const uint8_t secret[CRYPTO_FLEET_SECRET_SIZE]) {
    struct crypto_fleet *fleet = BASE_NEW(mem, struct crypto_fleet);
    if (fleet && !generation_init(&fleet->at[0], secret)) {
        crypto_fleet_free(mem, fleet);
        return NULL;
    }
    return fleet;
}

bool crypto_fleet_rotate(struct crypto_fleet *fleet, const uint8_t secret[CRYPTO_FLEET_SECRET_SIZE]) {
    struct generation made;
    memset(&made, 0, sizeof made);
    bool ok = generation_init(&made, secret);
    if (ok) {
        generation_free(&fleet->at[1]);
        fleet->at[1] = fleet->at[0]; /* plain bytes: wolfCrypt's software AES holds no pointers */
        fleet->at[0] = made;
    }
    crypto_wipe(&made, sizeof made);
    return ok;
}

void crypto_fleet_free(struct base_mem *mem, struct crypto_fleet *fleet) {
    if (!fleet)
        return;
    generation_free(&fleet->at[0]);
    generation_free(&fleet->at[1]);
    BASE_DELETE(mem, fleet);
}

/* The key of one token: half of each of four encrypted blocks nonce | number. */
static bool token_key(struct generation *from, const uint8_t *nonce, Aes *aes) {
    uint8_t blocks[4][16], key[32];
    memset(blocks, 0, sizeof blocks);
    for (uint8_t i = 0; i < 4; i++) {
        memcpy(blocks[i], nonce, NONCE_SIZE);
        blocks[i][15] = i;
    }
    bool ok = wc_AesEcbEncrypt(&from->derive, blocks[0], blocks[0], sizeof blocks) == 0;
    for (size_t i = 0; i < 4; i++)
        memcpy(key + 8 * i, blocks[i], 8);
    ok = ok && wc_AesInit(aes, NULL, INVALID_DEVID) == 0 && wc_AesGcmSetKey(aes, key, sizeof key) == 0;
    crypto_wipe(key, sizeof key);
    crypto_wipe(blocks, sizeof blocks);
    return ok;
}

/* Associated data: use | secret id | what it is bound to. */
static size_t associate(uint8_t *out, uint8_t use, uint8_t id, const void *bound, size_t bound_len) {
    out[0] = use;
    out[1] = id;
    if (bound_len)
        memcpy(out + 2, bound, bound_len);
    return 2 + bound_len;
}

size_t crypto_token_seal(struct crypto_fleet *fleet, const struct base_random *random, uint8_t use, const void *bound,
                         size_t bound_len, const void *plain, size_t plain_len, uint8_t *token, size_t capacity) {
    size_t len = plain_len + CRYPTO_TOKEN_OVERHEAD;
    if (plain_len > CRYPTO_TOKEN_MAX - CRYPTO_TOKEN_OVERHEAD || len > capacity || bound_len > BOUND_MAX)
        return 0;
    struct generation *present = &fleet->at[0];
    uint8_t with[2 + BOUND_MAX], *nonce = token + 1, *text = nonce + NONCE_SIZE;
    size_t with_len = associate(with, use, present->id, bound, bound_len);
    token[0] = present->id;
    base_random_fill(random, nonce, NONCE_SIZE);
    if (plain_len)
        memmove(text, plain, plain_len);
    Aes aes;
    bool ok = token_key(present, nonce, &aes) &&
              wc_AesGcmEncrypt(&aes, text, text, (word32)plain_len, nonce, NONCE_SIZE, text + plain_len,
                               CRYPTO_TAG_SIZE, with, (word32)with_len) == 0;
    wc_AesFree(&aes); /* wipes it */
    return ok ? len : 0;
}

static bool open_with(struct generation *from, uint8_t use, const void *bound, size_t bound_len, const uint8_t *token,
                      size_t plain_len, uint8_t *plain) {
    uint8_t with[2 + BOUND_MAX];
    const uint8_t *nonce = token + 1, *text = nonce + NONCE_SIZE;
    size_t with_len = associate(with, use, from->id, bound, bound_len);
    Aes aes;
    bool ok = token_key(from, nonce, &aes) &&
              wc_AesGcmDecrypt(&aes, plain, text, (word32)plain_len, nonce, NONCE_SIZE, text + plain_len,
                               CRYPTO_TAG_SIZE, with, (word32)with_len) == 0;
    wc_AesFree(&aes); /* wipes it */
    return ok;
}

int32_t crypto_token_open(struct crypto_fleet *fleet, uint8_t use, const void *bound, size_t bound_len,
                          const uint8_t *token, size_t token_len, uint8_t *plain, size_t capacity) {
    if (token_len < CRYPTO_TOKEN_OVERHEAD || token_len > CRYPTO_TOKEN_MAX || bound_len > BOUND_MAX)
        return -1;
    size_t plain_len = token_len - CRYPTO_TOKEN_OVERHEAD;
    if (plain_len > capacity)
        return -1;
    /* Two secrets may by chance have the same id: then both are tried. */
    for (size_t i = 0; i < 2; i++)
        if (fleet->at[i].set && fleet->at[i].id == token[0] &&
            open_with(&fleet->at[i], use, bound, bound_len, token, plain_len, plain))
            return (int32_t)plain_len;
    return -1;
}

void crypto_reset_token(struct crypto_fleet *fleet, unsigned age, const uint8_t *cid, size_t cid_len,
                        uint8_t token[CRYPTO_RESET_TOKEN_SIZE]) {
    assert(age < 2);
    /* Without a previous secret its tokens are those of the present one: nothing is revealed that was not issued. */
    const struct generation *from = &fleet->at[age && fleet->at[1].set ? 1 : 0];
    bool ok = hkdf_mac(&from->reset, cid, cid_len, token, CRYPTO_RESET_TOKEN_SIZE);
    assert(ok); /* software SHA-256 does not fail */
    if (!ok)
        memset(token, 0, CRYPTO_RESET_TOKEN_SIZE);
}

void crypto_fleet_scramble(struct crypto_fleet *fleet, const uint8_t in[16], uint8_t out[16]) {
    int failed = wc_AesEcbEncrypt(&fleet->at[0].scramble, out, in, 16);
    assert(!failed);
    (void)failed;
}

void crypto_fleet_unscramble(struct crypto_fleet *fleet, const uint8_t in[16], uint8_t out[16]) {
    int failed = wc_AesEcbDecrypt(&fleet->at[0].unscramble, out, in, 16);
    assert(!failed);
    (void)failed;
}
