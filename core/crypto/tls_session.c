/* tls_session.c - sessions a client keeps to come back with (RFC 8446 4.6.1, RFC 9001 4.5 and 4.6).
 *
 * What the application stores is wolfSSL's session behind a few bytes of ours: for which server name and protocol it
 * was made and whether the server was judged then. Resuming skips the judgement, so a session is put aside, silently
 * and in favour of a full handshake, when it was made for another name or under a laxer configuration.
 *
 * The invariant that matters: early data is offered only when the protocol of the earlier session is among those
 * offered now, because early data belongs to that protocol.
 *
 *   version (1) | flags (1) | length (1) protocol | length (1) server name | wolfSSL's session
 */
#include <string.h>

#include "tls_impl.h"

#define SESSION_VERSION 1
#define SESSION_JUDGED 1u /* the server's certificate was verified, pinned or accepted by the application */
#define SESSION_MAX 65536

static bool judges(const struct crypto_tls_config *config) {
    return config->verify || config->pins || config->verify_cb;
}

bool tls_session_deliver(struct crypto_tls *tls) {
    WOLFSSL_SESSION *session = wolfSSL_get1_session(tls->ssl);
    if (!session)
        return tls_refuse(tls, ALERT_INTERNAL_ERROR, "out of memory");
    unsigned early = wolfSSL_SESSION_get_max_early_data(session);
    int size = wolfSSL_i2d_SSL_SESSION(session, NULL);
    size_t alpn_len, name_len = tls->server_name ? tls->server_name_size - 1 : 0;
    const uint8_t *alpn = crypto_tls_alpn(tls, &alpn_len);
    size_t head = 4 + alpn_len + name_len, total = head + (size_t)(size > 0 ? size : 0);
    uint8_t *bytes = size > 0 && size <= SESSION_MAX ? base_alloc(tls->mem, total) : NULL;
    if (bytes) {
        uint8_t *at = bytes;
        *at++ = SESSION_VERSION;
        *at++ = judges(tls->config) ? SESSION_JUDGED : 0;
        *at++ = (uint8_t)alpn_len;
        if (alpn_len)
            memcpy(at, alpn, alpn_len);
        at += alpn_len;
        *at++ = (uint8_t)name_len;
        if (name_len)
            memcpy(at, tls->server_name, name_len);
        at += name_len;
        wolfSSL_i2d_SSL_SESSION(session, &at);
    }
    wolfSSL_SESSION_free(session);
    if (early != 0 && early != UINT32_MAX) /* RFC 9001 4.6.1 */
        tls_refuse(tls, ALERT_ILLEGAL_PARAMETER, "a session ticket with a limit on early data");
    else if (bytes && tls->callbacks->on_session)
        tls->callbacks->on_session(tls->user, bytes, total);
    if (bytes) {
        crypto_wipe(bytes, total);
        base_free(tls->mem, bytes, total);
    }
    return !tls->refused; /* want of memory here costs a later resumption, not this connection */
}

static bool offered(const struct crypto_tls_config *config, const uint8_t *name, size_t len) {
    if (!len)
        return config->alpn_len == 0;
    for (size_t at = 0; at < config->alpn_len; at += 1u + config->alpn[at])
        if (config->alpn[at] == len && memcmp(config->alpn + at + 1, name, len) == 0)
            return true;
    return false;
}

/* Splits the length-prefixed bytes at *at off. */
static bool cut(const uint8_t **at, const uint8_t *end, const uint8_t **bytes, size_t *len) {
    if (*at >= end || (size_t)(end - *at) < 1u + **at)
        return false;
    *len = **at;
    *bytes = *at + 1;
    *at += 1 + *len;
    return true;
}

static void want_early_data(struct crypto_tls *tls, const uint8_t *alpn, size_t alpn_len, WOLFSSL_SESSION *session) {
    if (!tls->config->early_data || !offered(tls->config, alpn, alpn_len) ||
        wolfSSL_SESSION_get_max_early_data(session) != UINT32_MAX)
        return;
    if (alpn_len) {
        tls->alpn = base_alloc(tls->mem, alpn_len);
        if (!tls->alpn)
            return;
        memcpy(tls->alpn, alpn, alpn_len);
        tls->alpn_len = alpn_len;
    }
    wolfSSL_set_max_early_data(tls->ssl, UINT32_MAX);
}

void tls_session_resume(struct crypto_tls *tls, const uint8_t *bytes, size_t len, bool early_data) {
    const uint8_t *at = bytes + 2, *end = bytes + len, *alpn, *name;
    size_t alpn_len, name_len;
    if (len < 4 || len > SESSION_MAX || bytes[0] != SESSION_VERSION || !cut(&at, end, &alpn, &alpn_len) ||
        !cut(&at, end, &name, &name_len))
        return;
    size_t own_len = tls->server_name ? tls->server_name_size - 1 : 0;
    if (name_len != own_len || (own_len && memcmp(name, tls->server_name, own_len) != 0) ||
        (judges(tls->config) && !(bytes[1] & SESSION_JUDGED)))
        return;
    WOLFSSL_SESSION *session = wolfSSL_d2i_SSL_SESSION(NULL, &at, (long)(end - at));
    if (!session)
        return;
    if (wolfSSL_set_session(tls->ssl, session) == WOLFSSL_SUCCESS && early_data)
        want_early_data(tls, alpn, alpn_len, session);
    wolfSSL_SESSION_free(session);
}
