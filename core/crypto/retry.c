/* retry.c - the Retry integrity tag: RFC 9001 section 5.8, RFC 9369 section 3.3.3.
 *
 * Key and nonce are public constants of each QUIC version: the tag proves that the sender saw the client's Initial, and
 * guards against corruption; it is no secret. So nothing here needs wiping.
 *
 * The invariant that matters: the tag is over the Original Destination Connection ID as well, which is not in the
 * packet; it is put in front of it as a length byte and the ID.
 */
#include <string.h>

#include "keys_impl.h"
#include "protect.h"

#define CID_MAX 20u
#define RETRY_MAX 2048u /* no Retry packet that fits a datagram we would send or accept is longer */

struct retry_key {
    uint8_t key[16], nonce[KEY_IV_SIZE];
};

static const struct retry_key retry_keys[CRYPTO_VERSIONS] = {
    [CRYPTO_QUIC_V1] = {{0xbe, 0x0c, 0x69, 0x0b, 0x9f, 0x66, 0x57, 0x5a, 0x1d, 0x76, 0x6b, 0x54, 0xe3, 0x68, 0xc8,
                         0x4e},
                        {0x46, 0x15, 0x99, 0xd3, 0x5d, 0x63, 0x2b, 0xf2, 0x23, 0x98, 0x25, 0xbb}},
    [CRYPTO_QUIC_V2] = {{0x8f, 0xb4, 0xb0, 0x1b, 0x56, 0xac, 0x48, 0xe2, 0x60, 0xfb, 0xcb, 0xce, 0xad, 0x7c, 0xcc,
                         0x92},
                        {0xd8, 0x69, 0x69, 0xbc, 0x2d, 0x7c, 0x6d, 0x99, 0x90, 0xef, 0xb0, 0x4a}},
};

bool crypto_retry_tag(enum crypto_version version, const uint8_t *odcid, size_t odcid_len, const uint8_t *retry,
                      size_t retry_len, uint8_t tag[CRYPTO_TAG_SIZE]) {
    if (odcid_len > CID_MAX || retry_len > RETRY_MAX)
        return false;
    uint8_t pseudo[1 + CID_MAX + RETRY_MAX];
    pseudo[0] = (uint8_t)odcid_len;
    if (odcid_len)
        memcpy(pseudo + 1, odcid, odcid_len);
    if (retry_len)
        memcpy(pseudo + 1 + odcid_len, retry, retry_len);
    const struct retry_key *key = &retry_keys[version];
    Aes aes;
    bool ok = wc_AesInit(&aes, NULL, INVALID_DEVID) == 0 && wc_AesGcmSetKey(&aes, key->key, sizeof key->key) == 0 &&
              wc_AesGcmEncrypt(&aes, NULL, NULL, 0, key->nonce, KEY_IV_SIZE, tag, CRYPTO_TAG_SIZE, pseudo,
                               (word32)(1 + odcid_len + retry_len)) == 0;
    wc_AesFree(&aes);
    return ok;
}
