/* block.c - one block of AES-128 (FIPS 197), there and back.
 *
 * Knows wolfCrypt's AES. Does not know what the blocks mean (quic/lb.c).
 *
 * The invariant that matters: once a key was expanded, encrypting a block cannot fail.
 */
#include "block.h"

#include <assert.h>

#include "keys.h"

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/aes.h>

struct crypto_block {
    Aes there, back;
};

static bool block_key(Aes *aes, const uint8_t *key, int direction) {
    return wc_AesInit(aes, NULL, INVALID_DEVID) == 0 && wc_AesSetKey(aes, key, CRYPTO_BLOCK_SIZE, NULL, direction) == 0;
}

struct crypto_block *crypto_block_new(struct base_mem *mem, const uint8_t key[CRYPTO_BLOCK_SIZE]) {
    struct crypto_block *block = BASE_NEW(mem, struct crypto_block);
    if (!block)
        return NULL;
    if (block_key(&block->there, key, AES_ENCRYPTION) && block_key(&block->back, key, AES_DECRYPTION))
        return block;
    crypto_block_free(mem, block);
    return NULL;
}

void crypto_block_free(struct base_mem *mem, struct crypto_block *block) {
    if (!block)
        return;
    wc_AesFree(&block->there);
    wc_AesFree(&block->back);
    crypto_wipe(block, sizeof *block);
    BASE_DELETE(mem, block);
}

void crypto_block_encrypt(struct crypto_block *block, const uint8_t in[16], uint8_t out[16]) {
    int error = wc_AesEcbEncrypt(&block->there, out, in, CRYPTO_BLOCK_SIZE);
    assert(error == 0);
    (void)error;
}

void crypto_block_decrypt(struct crypto_block *block, const uint8_t in[16], uint8_t out[16]) {
    int error = wc_AesEcbDecrypt(&block->back, out, in, CRYPTO_BLOCK_SIZE);
    assert(error == 0);
    (void)error;
}
