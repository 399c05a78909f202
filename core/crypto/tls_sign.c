/* tls_sign.c - the signature of a handshake (RFC 8446 4.4.3), with a private key that stays decoded.
 *
 * wolfSSL keeps private keys as DER and decodes one for each signature. For ECDSA, where a signature is quick, that is
 * a good part of its time; so an identity keeps such a key ready, and signs here. RSA stays with wolfSSL.
 *
 * The invariant that matters: signing only reads the key. Threads share it as they share their configuration.
 */
#include <string.h>

#include "keys.h"
#include "tls_impl.h"

#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>

#if defined(HAVE_PK_CALLBACKS) && !defined(WOLFSSL_ECC_BLIND_K) /* which changes a key with each use of it */

/* Those that wolfCrypt signs with in code of their own, which keeps nothing in the key. */
static bool is_known(const ecc_key *key) {
    int curve = wc_ecc_get_curve_id(key->idx);
    return curve == ECC_SECP256R1 || curve == ECC_SECP384R1 || curve == ECC_SECP521R1;
}

static bool decode(ecc_key *key, enum crypto_format format, const uint8_t *bytes, size_t len) {
    uint8_t der[1024]; /* a key of P-521 has less than 300 */
    word32 at = 0;
    if (format == CRYPTO_PEM) {
        int made = wc_KeyPemToDer(bytes, (int)len, der, sizeof der, NULL);
        bytes = der;
        len = made > 0 ? (size_t)made : 0;
    }
    bool ok = len && wc_EccPrivateKeyDecode(bytes, &at, key, (word32)len) == 0 && is_known(key);
    crypto_wipe(der, sizeof der);
    return ok;
}

static int on_sign(WOLFSSL *ssl, const byte *digest, word32 digest_len, byte *out, word32 *out_len, const byte *der,
                   word32 der_len, void *user) {
    (void)der, (void)der_len;
    return wc_ecc_sign_hash(digest, digest_len, out, out_len, wolfSSL_GetRNG(ssl), user);
}

bool tls_sign_keep(struct crypto_tls_config *config, struct tls_identity *identity, enum crypto_format format,
                   const uint8_t *key, size_t len) {
    ecc_key *made = BASE_NEW(&config->mem, ecc_key);
    if (!made)
        return false;
    bool ready = wc_ecc_init(made) == 0;
    if (ready && decode(made, format, key, len)) {
        identity->signer = made;
        wolfSSL_CTX_SetEccSignCb(identity->ctx, on_sign);
        wolfSSL_CTX_SetEccSignCtx(identity->ctx, made);
        return true;
    }
    if (ready)
        wc_ecc_free(made);
    crypto_wipe(made, sizeof *made);
    BASE_DELETE(&config->mem, made);
    return true; /* of another kind: wolfSSL signs */
}

void tls_sign_drop(struct crypto_tls_config *config, struct tls_identity *identity) {
    ecc_key *key = identity->signer;
    if (!key)
        return;
    wc_ecc_free(key);
    crypto_wipe(key, sizeof *key);
    BASE_DELETE(&config->mem, key);
    identity->signer = NULL;
}

#else

bool tls_sign_keep(struct crypto_tls_config *config, struct tls_identity *identity, enum crypto_format format,
                   const uint8_t *key, size_t len) {
    (void)config, (void)identity, (void)format, (void)key, (void)len;
    return true;
}

void tls_sign_drop(struct crypto_tls_config *config, struct tls_identity *identity) { (void)config, (void)identity; }

#endif
