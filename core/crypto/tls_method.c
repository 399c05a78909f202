/* tls_method.c - wolfSSL's way back to us: secrets, bytes to send, alerts and the key log (RFC 9001 sections 4.1 and
 * 4.8).
 *
 * wolfSSL calls these while it works on a message that tls.c gave it. They translate and pass on; what they refuse
 * makes wolfSSL stop, and tls.c then reports the one alert.
 *
 * The invariant that matters: secrets of a level are never given up before the peer's transport parameters were, as far
 * as the peer's messages allow: a server has them with the ClientHello, a client before any application secret.
 */
#include <string.h>

#include "tls_impl.h"

#include <wolfssl/error-ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#define TRANSPORT_PARAMETERS 0x39 /* RFC 9001 8.2; wolfSSL also knows the number that drafts used */

struct error_alert {
    int error;
    uint8_t alert;
};

/* For errors that wolfSSL reports without choosing an alert. What is not here is our fault: internal_error. */
static const struct error_alert error_alerts[] = {
    {BUFFER_ERROR, ALERT_DECODE_ERROR},
    {BUFFER_E, ALERT_DECODE_ERROR},
    {LENGTH_ERROR, ALERT_DECODE_ERROR},
    {ASN_PARSE_E, ALERT_BAD_CERTIFICATE},
    {OUT_OF_ORDER_E, ALERT_UNEXPECTED_MESSAGE},
    {SANITY_MSG_E, ALERT_UNEXPECTED_MESSAGE},
    {DUPLICATE_MSG_E, ALERT_UNEXPECTED_MESSAGE},
    {UNKNOWN_HANDSHAKE_TYPE, ALERT_UNEXPECTED_MESSAGE},
    {UNKNOWN_RECORD_TYPE, ALERT_UNEXPECTED_MESSAGE},
    {VERSION_ERROR, ALERT_PROTOCOL_VERSION},
    {INVALID_PARAMETER, ALERT_ILLEGAL_PARAMETER},
    {BAD_KEY_SHARE_DATA, ALERT_ILLEGAL_PARAMETER},
    {PEER_KEY_ERROR, ALERT_ILLEGAL_PARAMETER},
    {ECC_PEERKEY_ERROR, ALERT_ILLEGAL_PARAMETER},
    {EXT_NOT_ALLOWED, ALERT_ILLEGAL_PARAMETER},
    {DUPLICATE_TLS_EXT_E, ALERT_ILLEGAL_PARAMETER},
    {PSK_KEY_ERROR, ALERT_ILLEGAL_PARAMETER},
    {UNSUPPORTED_EXTENSION, ALERT_UNSUPPORTED_EXTENSION},
    {INCOMPLETE_DATA, ALERT_MISSING_EXTENSION},
    {EXT_MISSING, ALERT_MISSING_EXTENSION},
    {MATCH_SUITE_ERROR, ALERT_HANDSHAKE_FAILURE},
    {UNSUPPORTED_SUITE, ALERT_HANDSHAKE_FAILURE},
    {NO_PEER_KEY, ALERT_HANDSHAKE_FAILURE},
    {NO_PEER_CERT, ALERT_CERTIFICATE_REQUIRED},
    {UNKNOWN_ALPN_PROTOCOL_NAME_E, ALERT_NO_APPLICATION_PROTOCOL},
    {VERIFY_FINISHED_ERROR, ALERT_DECRYPT_ERROR},
    {VERIFY_CERT_ERROR, ALERT_BAD_CERTIFICATE},
    {VERIFY_SIGN_ERROR, ALERT_DECRYPT_ERROR},
    {VERIFY_MAC_ERROR, ALERT_DECRYPT_ERROR},
    {SIG_VERIFY_E, ALERT_DECRYPT_ERROR},
    {BAD_BINDER, ALERT_DECRYPT_ERROR},
    {ASN_NO_SIGNER_E, ALERT_UNKNOWN_CA},
    {ASN_SELF_SIGNED_E, ALERT_UNKNOWN_CA},
    {ASN_AFTER_DATE_E, ALERT_CERTIFICATE_EXPIRED},
    {ASN_BEFORE_DATE_E, ALERT_CERTIFICATE_EXPIRED},
    {CRL_CERT_REVOKED, ALERT_CERTIFICATE_REVOKED},
    {EXTKEYUSE_AUTH_E, ALERT_UNSUPPORTED_CERTIFICATE},
    {KEYUSE_SIGNATURE_E, ALERT_UNSUPPORTED_CERTIFICATE},
    {ASN_SIG_CONFIRM_E, ALERT_BAD_CERTIFICATE},
    {ASN_PATHLEN_INV_E, ALERT_UNKNOWN_CA},
    {ASN_PATHLEN_SIZE_E, ALERT_UNKNOWN_CA},
    {DOMAIN_NAME_MISMATCH, ALERT_BAD_CERTIFICATE},
};

uint8_t tls_alert_of_error(int error) {
    for (size_t i = 0; i < sizeof error_alerts / sizeof *error_alerts; i++)
        if (error_alerts[i].error == error)
            return error_alerts[i].alert;
    return ALERT_INTERNAL_ERROR;
}

bool tls_refuse(struct crypto_tls *tls, uint8_t alert, const char *cause) {
    if (!tls->refused) {
        tls->refused = true;
        tls->refusal = alert;
        tls->cause = cause;
    }
    return false;
}

bool tls_deliver_params(struct crypto_tls *tls) {
    if (tls->params_given)
        return !tls->params_refused;
    const uint8_t *data;
    size_t len;
    wolfSSL_get_peer_quic_transport_params(tls->ssl, &data, &len);
    if (wolfSSL_get_peer_quic_transport_version(tls->ssl) != TRANSPORT_PARAMETERS)
        return tls_refuse(tls, ALERT_MISSING_EXTENSION,
                          "the peer sent no QUIC transport parameters"); /* RFC 9001 8.2 */
    tls->params_given = true;
    tls->params_refused = !tls->callbacks->on_transport_params(tls->user, data, len);
    return !tls->params_refused || tls_refuse(tls, ALERT_ILLEGAL_PARAMETER, "transport parameters refused");
}

static enum crypto_aead current_aead(const struct crypto_tls *tls) {
    switch (wolfSSL_get_current_cipher_suite(tls->ssl) & 0xff) {
    case 0x02: return CRYPTO_AES_256_GCM;
    case 0x03: return CRYPTO_CHACHA20_POLY1305;
    default: return CRYPTO_AES_128_GCM;
    }
}

static void fill_secret(struct crypto_secret *secret, enum crypto_aead aead, const uint8_t *bytes, size_t len) {
    memset(secret, 0, sizeof *secret);
    secret->aead = aead;
    if (bytes) {
        secret->len = (uint8_t)len;
        memcpy(secret->bytes, bytes, len);
    }
}

static bool give_secrets(struct crypto_tls *tls, enum crypto_level level, const struct crypto_secret *read,
                         const struct crypto_secret *write) {
    return tls->callbacks->on_secrets(tls->user, level, read, write) ||
           tls_refuse(tls, ALERT_INTERNAL_ERROR, "the secrets were not taken");
}

/* wolfSSL's server takes early data before it knows whether it must ask the client to try again, and a
 * HelloRetryRequest rejects early data (RFC 8446 4.2.10). tls.c sees that coming; should it ever be wrong, no early
 * secret has been given up, because it waits here for the handshake secrets. */
static bool give_held(struct crypto_tls *tls) {
    if (!tls->held.len)
        return true;
    static const struct crypto_secret none;
    tls->early = CRYPTO_EARLY_ACCEPTED;
    bool ok = give_secrets(tls, CRYPTO_EARLY, &tls->held, &none);
    crypto_wipe(&tls->held, sizeof tls->held);
    return ok;
}

/* wolfSSL calls the levels as we do: the numbers agree with enum crypto_level. */
static int on_secrets(WOLFSSL *ssl, WOLFSSL_ENCRYPTION_LEVEL wolf_level, const uint8_t *rx, const uint8_t *tx,
                      size_t len) {
    struct crypto_tls *tls = wolfSSL_get_app_data(ssl);
    enum crypto_level level = (enum crypto_level)wolf_level;
    if (len > CRYPTO_SECRET_MAX)
        return tls_refuse(tls, ALERT_INTERNAL_ERROR, "a traffic secret of unknown size");
    bool server = tls->config->role == CRYPTO_SERVER;
    if ((server || level == CRYPTO_APPLICATION) && !tls_deliver_params(tls))
        return 0;
    struct crypto_secret read, write;
    enum crypto_aead aead = current_aead(tls);
    fill_secret(&read, aead, rx, len);
    fill_secret(&write, aead, tx, len);
    bool ok = true;
    if (server && level == CRYPTO_EARLY) {
        tls->held = read;
    } else {
        if (level == CRYPTO_EARLY)
            tls->early = CRYPTO_EARLY_PENDING;
        ok = give_held(tls) && give_secrets(tls, level, &read, &write);
    }
    crypto_wipe(&read, sizeof read);
    crypto_wipe(&write, sizeof write);
    if (ok && rx && level == CRYPTO_HANDSHAKE)
        tls->level = CRYPTO_HANDSHAKE;
    return ok;
}

static int on_data(WOLFSSL *ssl, WOLFSSL_ENCRYPTION_LEVEL level, const uint8_t *data, size_t len) {
    struct crypto_tls *tls = wolfSSL_get_app_data(ssl);
    if (level == wolfssl_encryption_early_data) /* there is no EndOfEarlyData in QUIC (RFC 9001 8.3) */
        return len == 0 || tls_refuse(tls, ALERT_INTERNAL_ERROR, "TLS wants to send at the early data level");
    return tls->callbacks->on_send(tls->user, (enum crypto_level)level, data, len) ||
           tls_refuse(tls, ALERT_INTERNAL_ERROR, "out of memory");
}

static int on_flush(WOLFSSL *ssl) {
    (void)ssl;
    return 1; /* the connection packs what it was given when it next sends */
}

static int on_alert(WOLFSSL *ssl, WOLFSSL_ENCRYPTION_LEVEL level, uint8_t alert) {
    (void)level;
    struct crypto_tls *tls = wolfSSL_get_app_data(ssl);
    if (!tls->sent_alert)
        tls->sent_alert = alert;
    return 1;
}

const WOLFSSL_QUIC_METHOD tls_method = {
    .set_encryption_secrets = on_secrets,
    .add_handshake_data = on_data,
    .flush_flight = on_flush,
    .send_alert = on_alert,
};

/* ---- key log ------------------------------------------------------------------------------------------------------
 */

static char *put_hex(char *at, const uint8_t *bytes, size_t len) {
    for (size_t i = 0; i < len; i++) {
        *at++ = "0123456789abcdef"[bytes[i] >> 4];
        *at++ = "0123456789abcdef"[bytes[i] & 15];
    }
    return at;
}

int tls_on_secret(WOLFSSL *ssl, int id, const unsigned char *secret, int len, void *user) {
    static const char *const labels[] = {
        [CLIENT_EARLY_TRAFFIC_SECRET] = "CLIENT_EARLY_TRAFFIC_SECRET",
        [CLIENT_HANDSHAKE_TRAFFIC_SECRET] = "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        [SERVER_HANDSHAKE_TRAFFIC_SECRET] = "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        [CLIENT_TRAFFIC_SECRET] = "CLIENT_TRAFFIC_SECRET_0",
        [SERVER_TRAFFIC_SECRET] = "SERVER_TRAFFIC_SECRET_0",
        [EARLY_EXPORTER_SECRET] = "EARLY_EXPORTER_SECRET",
        [EXPORTER_SECRET] = "EXPORTER_SECRET",
    };
    const struct crypto_tls *tls = user;
    uint8_t random[32];
    if (id < 0 || (size_t)id >= sizeof labels / sizeof *labels || len <= 0 || len > (int)CRYPTO_SECRET_MAX ||
        wolfSSL_get_client_random(ssl, random, sizeof random) != sizeof random)
        return 0;
    char line[32 + 2 + 64 + 2 * CRYPTO_SECRET_MAX + 1];
    size_t label_len = strlen(labels[id]);
    memcpy(line, labels[id], label_len);
    char *at = line + label_len;
    *at++ = ' ';
    at = put_hex(at, random, sizeof random);
    *at++ = ' ';
    at = put_hex(at, secret, (size_t)len);
    *at = 0;
    tls->config->keylog_cb(tls->config->keylog_user, line);
    crypto_wipe(line, sizeof line);
    return 0;
}
