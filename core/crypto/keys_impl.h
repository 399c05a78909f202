/* keys_impl.h - what keys.c makes and protect.c uses. Nobody else includes this.
 *
 * AES keys live expanded, as gcm.h and aes.h have them. ChaCha20-Poly1305 has no schedule worth keeping: its key is its
 * 32 bytes, and a block is made only as large as its cipher needs, so a ChaCha connection costs no AES tables. A packed
 * key is one of which only `raw` is left.
 */
#ifndef CRYPTO_KEYS_IMPL_H
#define CRYPTO_KEYS_IMPL_H

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/settings.h>

#include <wolfssl/wolfcrypt/chacha.h>

#include "aes.h"
#include "gcm.h"
#include "keys.h"

#define KEY_IV_SIZE GCM_NONCE_SIZE
#define KEY_RAW_MAX 32u /* and the size of a ChaCha20 key */

struct crypto_key {
    enum crypto_aead aead;
    bool packed;
    uint8_t iv[KEY_IV_SIZE];
    uint8_t raw[KEY_RAW_MAX];
    struct gcm_key gcm; /* not there when packed, nor for ChaCha20; as large as its kind needs */
};

struct crypto_mask_key {
    enum crypto_aead aead;
    bool packed;
    uint8_t raw[KEY_RAW_MAX];
    union {
        struct aes_key aes;
        ChaCha chacha;
    } u; /* not there when packed; as large as its kind needs */
};

/* `key`, or when it is packed an expanded copy of it in `room`. NULL: the cipher refuses it. Ends with ..._away. */
struct crypto_key *key_at_hand(struct crypto_key *key, struct crypto_key *room);
struct crypto_mask_key *mask_key_at_hand(struct crypto_mask_key *key, struct crypto_mask_key *room);
void key_away(struct crypto_key *at_hand, const struct crypto_key *room);
void mask_key_away(struct crypto_mask_key *at_hand, const struct crypto_mask_key *room);

#endif
