/* block.h - one block of AES-128, there and back, under a key that is given: what QUIC-LB connection IDs are made with.
 *
 * Nothing longer than a block is ever encrypted like this.
 *
 * Invariant: keys are expanded once, and wiped before their memory is given back.
 */
#ifndef CRYPTO_BLOCK_H
#define CRYPTO_BLOCK_H

#include "base/mem.h"

#include <stdbool.h>
#include <stdint.h>

#define CRYPTO_BLOCK_SIZE 16u

struct crypto_block;

/* NULL: out of memory. */
struct crypto_block *crypto_block_new(struct base_mem *mem, const uint8_t key[CRYPTO_BLOCK_SIZE]);
void crypto_block_free(struct base_mem *mem, struct crypto_block *block);
/* `in` and `out` may be the same. */
void crypto_block_encrypt(struct crypto_block *block, const uint8_t in[16], uint8_t out[16]);
void crypto_block_decrypt(struct crypto_block *block, const uint8_t in[16], uint8_t out[16]);

#endif
