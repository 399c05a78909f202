/* hkdf.h - HKDF-Expand-Label (RFC 5869 2.3, RFC 8446 7.1) for several labels of one secret. Nobody outside core/crypto
 * includes it.
 *
 * A level has three labels for each direction, and HMAC hashes its key twice before it comes to any of them: that is
 * done once here. What is left of a label is two blocks, where HMAC from its beginning takes four.
 */
#ifndef CRYPTO_HKDF_H
#define CRYPTO_HKDF_H

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/settings.h>

#include <wolfssl/wolfcrypt/hash.h>
#include <wolfssl/wolfcrypt/sha256.h>
#include <wolfssl/wolfcrypt/sha512.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

union hkdf_hash {
    wc_Sha256 sha256;
    wc_Sha384 sha384;
};

struct hkdf {
    bool wide;                    /* SHA-384; else SHA-256 */
    union hkdf_hash inner, outer; /* after the key's block */
};

/* The secret has the size of its hash: 32 or 48 bytes. Always ended with hkdf_end, when it fails too. */
bool hkdf_begin(struct hkdf *hkdf, const uint8_t *secret, size_t len);
/* At most as many bytes as the secret has; a label of at most 16 characters, without "tls13 "; no context. */
bool hkdf_label(const struct hkdf *hkdf, const char *label, uint8_t *out, size_t len);
/* Wipes it. */
void hkdf_end(struct hkdf *hkdf);

#endif
