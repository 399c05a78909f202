/* engine_tls.h - TLS for a pair of engines (engine.h): a server with a certificate of its own making, a client that
 * asks for none. Owned by whoever includes it, which ends both in its teardown. */
#ifndef ENGINE_TLS_H
#define ENGINE_TLS_H

#include "engine.h"

static struct crypto_tls_config *server_tls, *client_tls;

static inline void engine_tls_open(struct engine *server, struct engine *client) {
    static const char *const names[] = {"localhost"};
    static const uint8_t alpn[] = "\x02h3";
    char cert[4096], key[4096];
    struct crypto_error error = {""};
    ck_assert(crypto_init());
    ck_assert(crypto_selfsigned(names, 1, 30, cert, sizeof cert, key, sizeof key, &error));
    server_tls = crypto_tls_config_new(CRYPTO_SERVER, &error);
    client_tls = crypto_tls_config_new(CRYPTO_CLIENT, &error);
    ck_assert(server_tls && client_tls);
    ck_assert_msg(crypto_tls_config_certificate(server_tls, CRYPTO_PEM, (const uint8_t *)cert, strlen(cert),
                                                (const uint8_t *)key, strlen(key), &error),
                  "%s", error.text);
    ck_assert(crypto_tls_config_alpn(server_tls, alpn, sizeof alpn - 1, &error));
    ck_assert(crypto_tls_config_alpn(client_tls, alpn, sizeof alpn - 1, &error));
    crypto_tls_config_verify(client_tls, false);
    server->config.tls = server_tls;
    client->config.tls = client_tls;
}

static inline void engine_tls_close(void) {
    crypto_tls_config_unref(server_tls);
    crypto_tls_config_unref(client_tls);
    crypto_cleanup();
}

#endif
