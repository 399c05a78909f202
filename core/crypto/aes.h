/* aes.h - AES (FIPS 197) over single blocks: what masks headers, and the key schedule that AES-GCM for wide
 * instructions begins with.
 *
 * Two implementations: wolfCrypt's, and on x86-64 processors with AES instructions BoringSSL's key schedule and some
 * lines, which need no more than that schedule, a quarter of wolfCrypt's object. Which of them works is decided when
 * there is room made for a key and stays with it.
 *
 * Only keys.c, protect.c and gcm.c include this.
 */
#ifndef CRYPTO_AES_H
#define CRYPTO_AES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/settings.h>

#include <wolfssl/wolfcrypt/aes.h>

#define AES_BLOCK 16u

struct aes_schedule {
    uint32_t words[60]; /* round keys in the order of their bytes */
    uint32_t rounds;    /* without the last; the wide routines look for it here */
};

struct aes_key {
    bool direct; /* which kind there is room for */
    union {
        struct aes_schedule schedule;
        Aes library;
    } u;
};

/* Whether keys are set for the processor's instructions from now on. Asks it once. */
bool aes_is_direct(void);
/* For tests: have wolfCrypt used although the processor could do without, or no longer. */
void aes_force_library(bool library);

/* The bytes of an aes_key that are used: a block of that size is enough for it. */
size_t aes_key_size(bool direct);
/* What kind it is to be; in memory of any content. */
void aes_begin(struct aes_key *aes, bool direct);
/* Sets a key of 16 or 32 bytes, once. False when the cipher refuses it. */
bool aes_set_key(struct aes_key *aes, const uint8_t *key, size_t key_len);
/* The same for the schedule alone. Only there on x86-64, and only to be called with AES instructions. */
void aes_expand(struct aes_schedule *schedule, const uint8_t *key, size_t key_len);
/* To be called before the block is wiped, if it has begun. */
void aes_clear(struct aes_key *aes);

/* Encrypts each of the blocks in place. */
bool aes_encrypt(struct aes_key *aes, uint8_t (*blocks)[AES_BLOCK], size_t count);

#endif
