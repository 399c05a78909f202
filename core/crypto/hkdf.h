/* hkdf.h - HMAC (RFC 2104) and HKDF-Expand-Label (RFC 5869 2.3, RFC 8446 7.1) for a key that is used more than once.
 * Nobody outside core/crypto includes it.
 *
 * A level has three labels for each direction, a fleet's secret a token for each connection ID, and HMAC hashes its key
 * twice before it comes to any of them: that is done once here. What is left are two blocks, where HMAC from its
 * beginning takes four. Once begun it is only read, so threads may share it.
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
    uint32_t words[8]; /* SHA-256, of the processor */
};

enum hkdf_kind { HKDF_SHA256, HKDF_SHA384, HKDF_SHA256_DIRECT };

#define HKDF_MOST ((size_t)WC_SHA384_DIGEST_SIZE)
#define HKDF_LABEL 16u

struct hkdf {
    enum hkdf_kind kind;
    union hkdf_hash inner, outer; /* after the key's block */
};

/* A key of SHA-256 or, if `wide`, SHA-384: at most a block, 64 bytes or 128. Always ended with hkdf_end, when it fails
 * too. */
bool hkdf_begin(struct hkdf *hkdf, bool wide, const uint8_t *key, size_t len);
/* The HMAC of `data`, or its first bytes: at most 32 or 48. */
bool hkdf_mac(const struct hkdf *hkdf, const uint8_t *data, size_t len, uint8_t *out, size_t out_len);
/* At most as many bytes as hkdf_mac gives; a label of at most 16 characters, without "tls13 "; a context of at most 48
 * bytes. */
bool hkdf_expand(const struct hkdf *hkdf, const char *label, size_t label_len, const uint8_t *context,
                 size_t context_len, uint8_t *out, size_t len);
/* The same without a context, as QUIC's labels are. */
bool hkdf_label(const struct hkdf *hkdf, const char *label, uint8_t *out, size_t len);
/* Wipes it. */
void hkdf_end(struct hkdf *hkdf);

#endif
