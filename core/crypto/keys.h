/* keys.h - the key schedule of RFC 9001 section 5 and RFC 9369 section 3.3: from TLS secrets to packet protection keys.
 *
 * TLS hands over one secret per level and direction. From each come a packet key, an IV and a header protection key;
 * a key update replaces packet key and IV but keeps the header protection key. Keys are expanded once, when they are
 * made: the packet path never runs a key schedule.
 *
 * Invariant: secrets and keys are wiped before their memory is given back.
 */
#ifndef CRYPTO_KEYS_H
#define CRYPTO_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

enum crypto_aead {
    CRYPTO_AES_128_GCM = 0,
    CRYPTO_AES_256_GCM,
    CRYPTO_CHACHA20_POLY1305,
    CRYPTO_AEADS,
};

#define CRYPTO_TAG_SIZE 16u
#define CRYPTO_SECRET_MAX 48u
#define CRYPTO_SAMPLE_SIZE 16u

/* A traffic secret and the suite it belongs to (the hash follows from the suite: SHA-384 for AES-256-GCM). */
struct crypto_secret {
    enum crypto_aead aead;
    uint8_t len; /* 32 or 48; 0 = none */
    uint8_t bytes[CRYPTO_SECRET_MAX];
};

/* RFC 9001 section 6.6: packets that may be sealed with one key, and failed openings tolerated over all keys. */
uint64_t crypto_confidentiality_limit(enum crypto_aead aead);
uint64_t crypto_integrity_limit(enum crypto_aead aead);

/* QUIC versions differ in salt and labels. */
enum crypto_version { CRYPTO_QUIC_V1 = 0, CRYPTO_QUIC_V2, CRYPTO_VERSIONS };

/* HKDF-Expand-Label of RFC 8446 7.1 (label of at most 16 characters, without "tls13 "); at most as many bytes as the
 * secret has. */
bool crypto_expand_label(const struct crypto_secret *secret, const char *label, uint8_t *out, size_t len);
/* The two Initial secrets (RFC 9001 5.2) for the client's first Destination Connection ID. */
bool crypto_initial_secrets(enum crypto_version version, const uint8_t *dcid, size_t dcid_len,
                            struct crypto_secret *client, struct crypto_secret *server);
/* The secret of the next key phase (RFC 9001 6.1). */
bool crypto_next_secret(enum crypto_version version, const struct crypto_secret *now, struct crypto_secret *next);
void crypto_wipe(void *at, size_t len);
/* Compares in time that depends on `len` only. */
bool crypto_equal(const void *a, const void *b, size_t len);

/* Packet protection in one direction: an expanded AEAD key with its IV. Opaque; protect.h uses it. */
struct crypto_key;
/* Header protection in one direction: an expanded block cipher (or ChaCha20) key. */
struct crypto_mask_key;

/* Both keys of a secret or, when memory is used up, neither: false. Owned by the caller. */
bool crypto_keys_new(struct base_mem *mem, enum crypto_version version, const struct crypto_secret *secret,
                     struct crypto_key **key, struct crypto_mask_key **mask);
/* One of them alone: a key update makes no new mask key. NULL: memory is used up. */
struct crypto_key *crypto_key_new(struct base_mem *mem, enum crypto_version version,
                                  const struct crypto_secret *secret);
struct crypto_mask_key *crypto_mask_key_new(struct base_mem *mem, enum crypto_version version,
                                            const struct crypto_secret *secret);
void crypto_key_free(struct base_mem *mem, struct crypto_key *key);
void crypto_mask_key_free(struct base_mem *mem, struct crypto_mask_key *key);

/* An expanded key takes 300 to 900 bytes, what it is made of 64: a connection that waits keeps its keys packed. A
 * packed key does all that an expanded one does (protect.h), but for each call it is expanded anew, for a moment, on
 * the stack. Packing gives back the key that takes the place of `key` (the same, when memory is used up or nothing
 * would be gained); unpacking too, or NULL when memory is used up: `key` then stays as it is. */
struct crypto_key *crypto_key_pack(struct base_mem *mem, struct crypto_key *key);
struct crypto_key *crypto_key_unpack(struct base_mem *mem, struct crypto_key *key);
struct crypto_mask_key *crypto_mask_key_pack(struct base_mem *mem, struct crypto_mask_key *key);
struct crypto_mask_key *crypto_mask_key_unpack(struct base_mem *mem, struct crypto_mask_key *key);

#endif
