/* config_kit.h - what connections over real sockets are opened with: a certificate of our own making on the server's
 * side, none asked for on the client's. A header alone. */
#ifndef CONFIG_KIT_H
#define CONFIG_KIT_H

#include <string.h>

#include "quic/conn.h"
#include "unit.h"

/* `alpn` is in wire form: "\4weft". The caller ends config->tls. */
static inline void make_config(struct quic_config *config, enum crypto_role role, const char *alpn) {
    static char cert[4096], key[4096];
    static const char *const name = "localhost";
    if (!cert[0])
        ck_assert(crypto_selfsigned(&name, 1, 10, cert, sizeof cert, key, sizeof key, NULL));
    *config = (struct quic_config){.role = role, .refs = 1};
    options_init(&config->options);
    config->tls = crypto_tls_config_new(role, NULL);
    ck_assert_ptr_nonnull(config->tls);
    ck_assert(crypto_tls_config_alpn(config->tls, (const uint8_t *)alpn, strlen(alpn), NULL));
    if (role == CRYPTO_CLIENT)
        crypto_tls_config_verify(config->tls, false);
    else
        ck_assert(crypto_tls_config_certificate(config->tls, CRYPTO_PEM, (const uint8_t *)cert, strlen(cert),
                                                (const uint8_t *)key, strlen(key), NULL));
}

#endif
