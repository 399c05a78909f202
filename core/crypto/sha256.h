/* sha256.h - SHA-256 (FIPS 180-4 6.2) block by block, with the processor's instructions for it, by BoringSSL's routine
 * (scripts/boringssl.sh). Only hkdf.c includes this.
 *
 * wolfCrypt has the same instructions, behind an object of 128 bytes that buffers, counts and can be of other kinds.
 * For one block, which is what an HMAC of a kept key mostly is, that costs as much as the block. Where the processor
 * has no such instructions, and for whatever is hashed otherwise, wolfCrypt does it.
 */
#ifndef CRYPTO_SHA256_H
#define CRYPTO_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_BLOCK 64u

/* Whether the functions below may be called. Asks the processor once. */
bool sha256_is_direct(void);
/* For tests: have wolfCrypt used although the processor could do without, or no longer. */
void sha256_force_library(bool library);

void sha256_begin(uint32_t state[8]);
void sha256_blocks(uint32_t state[8], const uint8_t *blocks, size_t count);
/* The bytes of the state: the hash, when the last block was padded. */
void sha256_bytes(const uint32_t state[8], uint8_t out[32]);

#endif
