/* gcm.h - AES-GCM (NIST SP 800-38D) over one packet, in place, with the widest instructions that the processor has.
 *
 * Two implementations stand behind it, neither of them ours: wolfCrypt's, and on x86-64 processors with VAES and
 * VPCLMULQDQ the one of BoringSSL (scripts/boringssl.sh says where it is from), which does two blocks an instruction.
 * Which of them works is decided when there is room made for a key and stays with it.
 *
 * Only keys.c and protect.c include this.
 */
#ifndef CRYPTO_GCM_H
#define CRYPTO_GCM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aes.h"

#define GCM_NONCE_SIZE 12u
#define GCM_TAG_SIZE 16u

/* A key as the wide instructions want it. */
struct gcm_wide {
    struct aes_schedule aes;
    uint8_t powers[256]; /* of the GHASH key */
};

struct gcm_key {
    bool wide; /* which kind there is room for */
    union {
        struct gcm_wide wide;
        Aes narrow;
    } u;
};

/* Whether keys are set for the wide instructions from now on. Asks the processor once. */
bool gcm_is_wide(void);
/* For tests: have the narrow implementation used although the processor could do more, or no longer. */
void gcm_force_narrow(bool narrow);

/* The bytes of a gcm_key that are used: a block of that size is enough for it. */
size_t gcm_key_size(bool wide);
/* What kind it is to be, in a block of gcm_key_size(wide) bytes of any content. */
void gcm_begin(struct gcm_key *gcm, bool wide);
/* Sets a key of 16 or 32 bytes, once. False when the cipher refuses it. */
bool gcm_set_key(struct gcm_key *gcm, const uint8_t *key, size_t key_len);
/* To be called before the block is wiped, if it has begun. */
void gcm_clear(struct gcm_key *gcm);

/* Encrypts text[0..len) in place and writes the tag behind it. */
bool gcm_seal(struct gcm_key *gcm, const uint8_t nonce[GCM_NONCE_SIZE], const uint8_t *aad, size_t aad_len,
              uint8_t *text, size_t len);
/* Decrypts text[0..len) in place if the tag behind it is right. If not, false, and the text is undefined. */
bool gcm_open(struct gcm_key *gcm, const uint8_t nonce[GCM_NONCE_SIZE], const uint8_t *aad, size_t aad_len,
              uint8_t *text, size_t len);

#endif
