/* tls_pair.h - two handshakes in one process, their CRYPTO bytes carried by hand. */
#ifndef TLS_PAIR_H
#define TLS_PAIR_H

#include <check.h>

#include "crypto/tls.h"

#define PAIR_OUT 65536u

struct side {
    struct crypto_tls *tls;
    struct base_mem mem;
    uint8_t out[CRYPTO_LEVELS][PAIR_OUT]; /* everything sent, by level */
    size_t out_len[CRYPTO_LEVELS], given[CRYPTO_LEVELS];
    struct crypto_secret read[CRYPTO_LEVELS], write[CRYPTO_LEVELS];
    uint8_t params[256];
    size_t params_len;
    unsigned params_count;
    bool params_before_app, refuse_params, fail_send, fail_secrets;
    uint8_t session[8192];
    size_t session_len;
    unsigned sessions;
    unsigned alerts;
    uint8_t alert;
    char text[160];
};

/* What a test varies. Fields left 0 mean the ordinary. */
struct pair {
    struct crypto_tls_config *client_config, *server_config;
    const char *server_name;
    const uint8_t *session;
    size_t session_len;
    bool early_data;
    size_t chunk; /* bytes given at a time; 0 = all there is */
    const char *client_params, *server_params, *early_context;
    struct side client, server;
};

extern const char *pair_cert, *pair_key; /* self-signed for localhost and 127.0.0.1 */

struct crypto_tls_config *pair_server_config(void);                 /* with the certificate and ALPN h3 */
struct crypto_tls_config *pair_client_config(void);                 /* trusting it, ALPN h3 */
void pair_alpn(struct crypto_tls_config *config, const char *list); /* "h3,hq" */
void pair_open(struct pair *pair);                                  /* makes both, starts the client */
void pair_pump(struct pair *pair);                                  /* carries until nothing moves */
/* Gives all that `from` has sent and `to` has not seen; false when `to` failed or there was nothing. */
bool pair_carry(struct pair *pair, struct side *from, struct side *to);
void pair_close(struct pair *pair); /* frees both, checks that no memory is left */
void pair_run(struct pair *pair);   /* open and pump */
void pair_make_cert(const char *const *names, size_t count, char *cert, char *key); /* 4096 bytes each */

/* Both complete, secrets crosswise equal, no alerts. */
void pair_check_complete(const struct pair *pair);

extern const struct crypto_tls_callbacks side_callbacks;

#endif
