/* tls_verify.c - is the peer who it should be: RFC 5280 chains (by wolfSSL), RFC 9525 names, pins, the application's
 * word.
 *
 * wolfSSL asks about every certificate, the leaf last, and about the first fault at once. We form one verdict a
 * handshake, either at the first fault or at the leaf: pins, if there are any, stand for everything else; then chain,
 * name and key usage must be in order; then the application, if it wants, has the last word.
 *
 * The invariant that matters: accepting a peer in spite of a faulty chain must teach this configuration nothing.
 * wolfSSL adds every accepted intermediate to the trust store that all sessions share; so before we overrule a fault,
 * verification is turned off for the rest of this Certificate message, which also turns off that adding. tls.c turns
 * it on again right after the message, because the CertificateVerify that follows must be required as ever.
 */
#include <string.h>

#include "tls_impl.h"

#include <wolfssl/wolfcrypt/sha256.h>

struct verdict {
    bool ok;
    uint8_t alert;
    const char *cause;
};

static struct verdict no(uint8_t alert, const char *cause) { return (struct verdict){false, alert, cause}; }

static struct verdict judge_leaf(const struct crypto_tls *tls, const WOLFSSL_BUFFER_INFO *leaf) {
    struct tls_leaf facts = {0};
    bool client = tls->config->role == CRYPTO_CLIENT;
    if (!tls_leaf_read(leaf->buffer, leaf->length, client ? tls->server_name : NULL, &facts))
        return no(ALERT_BAD_CERTIFICATE, "the peer's certificate cannot be read");
    if (!(client ? facts.usable_by_server : facts.usable_by_client))
        return no(ALERT_UNSUPPORTED_CERTIFICATE, "the peer's certificate is not made for this use");
    if (client && tls->server_name && !facts.named)
        return no(ALERT_BAD_CERTIFICATE, "the server's certificate does not carry its name");
    return (struct verdict){.ok = true};
}

static struct verdict judge_pins(const struct crypto_tls *tls, const WOLFSSL_BUFFER_INFO *leaf) {
    uint8_t hash[32];
    if (wc_Sha256Hash(leaf->buffer, leaf->length, hash) == 0)
        for (const struct tls_pin *pin = tls->config->pins; pin; pin = pin->next)
            if (crypto_equal(pin->sha256, hash, sizeof hash))
                return (struct verdict){.ok = true};
    return no(ALERT_BAD_CERTIFICATE, "the peer's certificate is not one of the pinned");
}

static struct verdict judge(const struct crypto_tls *tls, bool chain_ok, const WOLFSSL_X509_STORE_CTX *store) {
    const struct crypto_tls_config *config = tls->config;
    struct verdict verdict;
    if (config->pins)
        verdict = judge_pins(tls, &store->certs[0]);
    else if (!chain_ok)
        verdict = no(tls_alert_of_error(store->error), "the peer's certificate chain is not valid");
    else
        verdict = judge_leaf(tls, &store->certs[0]);
    if (!verdict.ok && verdict.alert == ALERT_INTERNAL_ERROR)
        verdict.alert = ALERT_BAD_CERTIFICATE;
    if (config->verify_cb) {
        const uint8_t *chain[16];
        size_t lens[16], count = 0;
        for (; count < 16 && count < (size_t)store->totalCerts; count++) {
            chain[count] = store->certs[count].buffer;
            lens[count] = store->certs[count].length;
        }
        int alert = config->verify_cb(config->verify_user, tls->user, chain, lens, count, verdict.ok);
        return alert ? no((uint8_t)alert, "the application refuses the peer's certificate")
                     : (struct verdict){.ok = true};
    }
    if (!config->verify && !config->pins)
        verdict.ok = true;
    return verdict;
}

static void keep_leaf(struct crypto_tls *tls, const WOLFSSL_BUFFER_INFO *leaf) {
    if (tls->leaf || !leaf->length)
        return;
    tls->leaf = base_alloc(tls->mem, leaf->length);
    if (!tls->leaf) {
        tls_refuse(tls, ALERT_INTERNAL_ERROR, "out of memory");
        return;
    }
    memcpy(tls->leaf, leaf->buffer, leaf->length);
    tls->leaf_len = leaf->length;
}

int tls_on_verify(int ok, WOLFSSL_X509_STORE_CTX *store) {
    struct crypto_tls *tls = store->userCtx;
    if (tls->refused)
        return 0;
    if (tls->judged || (ok && store->error_depth > 0))
        return 1;
    if (store->totalCerts < 1)
        return tls_refuse(tls, ALERT_BAD_CERTIFICATE, "the peer sent an empty certificate chain");
    tls->judged = true;
    keep_leaf(tls, &store->certs[0]);
    struct verdict verdict = judge(tls, ok, store);
    if (!verdict.ok)
        return tls_refuse(tls, verdict.alert, verdict.cause);
    if (!ok || tls->config->pins || tls->config->verify_cb) {
        wolfSSL_set_verify(tls->ssl, WOLFSSL_VERIFY_NONE, tls_on_verify);
        tls->reverify = true;
    }
    return !tls->refused;
}
