/* tls_identity.c - certificates with their keys, and which of them answers to which server name (RFC 6066 section 3).
 *
 * wolfSSL keeps one certificate a context, so a configuration is a list of contexts that differ in nothing but the
 * certificate. Every session starts on the first; once the ClientHello is read, the session moves to the context whose
 * certificate carries the name asked for. The same hook picks the application protocol, by the server's order of
 * preference: left alone wolfSSL would follow the client's.
 *
 * The invariant that matters: all contexts of a configuration say the same about trust and tickets, because a session
 * that moves takes these from the context it moved to.
 */
#include <string.h>

#include "tls_impl.h"

/* wolfSSL accepts early data only for a session that it could take out of a cache. Ours is the register of strikes,
 * which has already had its say when the ticket was opened; so there is nothing left to do but to be there. */
static void on_session_used(WOLFSSL_CTX *ctx, WOLFSSL_SESSION *session) {
    (void)ctx;
    (void)session;
}

bool tls_identity_apply(struct crypto_tls_config *config, struct tls_identity *identity) {
    WOLFSSL_CTX *ctx = identity->ctx;
    if (wolfSSL_CTX_set_cipher_list(ctx, config->suites) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_set_groups(ctx, config->groups, config->group_count) != WOLFSSL_SUCCESS)
        return false;
    if (config->role == CRYPTO_CLIENT)
        return true;
    wolfSSL_CTX_set_servername_callback(ctx, tls_on_client_hello);
    wolfSSL_CTX_sess_set_remove_cb(ctx, on_session_used);
    if (!config->tickets)
        return wolfSSL_CTX_set_TicketEncCb(ctx, NULL) == WOLFSSL_SUCCESS;
    return wolfSSL_CTX_set_TicketEncCb(ctx, tls_on_ticket) == WOLFSSL_SUCCESS &&
           wolfSSL_CTX_set_TicketEncCtx(ctx, config) == WOLFSSL_SUCCESS &&
           wolfSSL_CTX_set_TicketHint(ctx, (int)config->ticket_lifetime_s) == WOLFSSL_SUCCESS &&
           wolfSSL_CTX_set_timeout(ctx, config->ticket_lifetime_s) >= 0;
}

bool tls_identity_init(struct crypto_tls_config *config, struct tls_identity *identity) {
    WOLFSSL_METHOD *method = config->role == CRYPTO_CLIENT ? wolfTLSv1_3_client_method() : wolfTLSv1_3_server_method();
    WOLFSSL_CTX *ctx = method ? wolfSSL_CTX_new(method) : NULL;
    if (!ctx)
        return false;
    identity->ctx = ctx;
    wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_NONE, NULL); /* sessions say what they want */
    tls_schedule_apply(ctx);
    /* Sessions are in tickets and in nothing else: wolfSSL's cache is one for the process, and locked. */
    wolfSSL_CTX_set_session_cache_mode(ctx, WOLFSSL_SESS_CACHE_OFF);
    if (wolfSSL_CTX_set_quic_method(ctx, &tls_method) != WOLFSSL_SUCCESS ||
        (config->role == CRYPTO_SERVER && wolfSSL_CTX_set_num_tickets(ctx, 0) != WOLFSSL_SUCCESS) ||
        !tls_identity_apply(config, identity))
        return false;
    for (const struct tls_blob *root = config->roots; root; root = root->next)
        if (wolfSSL_CTX_load_verify_buffer(ctx, root->bytes, (long)root->len, WOLFSSL_FILETYPE_ASN1) != WOLFSSL_SUCCESS)
            return false;
    return true;
}

void tls_identity_free(struct crypto_tls_config *config, struct tls_identity *identity) {
    if (identity->ctx)
        wolfSSL_CTX_free(identity->ctx);
    base_free(&config->mem, identity->leaf, identity->leaf_len);
    tls_sign_drop(config, identity);
    identity->ctx = NULL;
    identity->leaf = NULL;
}

const struct tls_identity *tls_identity_choose(const struct crypto_tls_config *config, const char *name) {
    if (name && config->first.next)
        for (const struct tls_identity *at = &config->first; at; at = at->next) {
            struct tls_leaf leaf;
            if (at->leaf && tls_leaf_read(at->leaf, at->leaf_len, name, &leaf) && leaf.named)
                return at;
        }
    return &config->first;
}

/* Is `name` one of the comma-separated names of `list`? */
static bool listed(const char *list, size_t list_len, const uint8_t *name, size_t len) {
    for (const char *at = list, *end = list + list_len; at < end;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        size_t part = (size_t)((comma ? comma : end) - at);
        if (part == len && memcmp(at, name, len) == 0)
            return true;
        at += part + 1;
    }
    return false;
}

/* The first of our names that the client offers becomes the session's only one; wolfSSL compares it once more. A
 * client's name that contains a comma can at most look like two names here and is then refused by that second
 * comparison. */
static bool choose_alpn(struct crypto_tls *tls) {
    const struct crypto_tls_config *config = tls->config;
    if (!config->alpn_len)
        return true;
    char *offered = NULL;
    word16 offered_len = 0;
    if (wolfSSL_ALPN_GetPeerProtocol(tls->ssl, &offered, &offered_len) != WOLFSSL_SUCCESS)
        return tls_refuse(tls, ALERT_NO_APPLICATION_PROTOCOL, "the client offers no application protocol");
    const uint8_t *chosen = NULL;
    for (size_t at = 0; at < config->alpn_len && !chosen; at += 1u + config->alpn[at])
        if (listed(offered, offered_len, config->alpn + at + 1, config->alpn[at]))
            chosen = config->alpn + at;
    wolfSSL_ALPN_FreePeerProtocol(tls->ssl, &offered);
    if (!chosen)
        return tls_refuse(tls, ALERT_NO_APPLICATION_PROTOCOL, "no application protocol in common");
    char name[256];
    memcpy(name, chosen + 1, chosen[0]);
    name[chosen[0]] = 0;
    if (wolfSSL_UseALPN(tls->ssl, name, chosen[0], WOLFSSL_ALPN_FAILED_ON_MISMATCH) != WOLFSSL_SUCCESS)
        return tls_refuse(tls, ALERT_INTERNAL_ERROR, "out of memory");
    return true;
}

int tls_on_client_hello(WOLFSSL *ssl, int *alert, void *arg) {
    (void)arg;
    struct crypto_tls *tls = wolfSSL_get_app_data(ssl);
    void *name = NULL;
    wolfSSL_SNI_GetRequest(ssl, WOLFSSL_SNI_HOST_NAME, &name);
    const struct tls_identity *identity = tls_identity_choose(tls->config, name);
    bool ok = wolfSSL_set_SSL_CTX(ssl, identity->ctx) != NULL ||
              tls_refuse(tls, ALERT_INTERNAL_ERROR, "cannot switch certificates");
    if (ok && choose_alpn(tls) && tls_deliver_params(tls))
        return 0;
    *alert = tls->refusal ? tls->refusal : ALERT_INTERNAL_ERROR;
    return fatal_return;
}
