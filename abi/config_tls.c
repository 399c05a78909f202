/* config_tls.c - the TLS part of a configuration: protocols, certificates, trust, suites.
 *
 * Knows how these things are given (memory, files, a list with commas) and what is remembered about them. Does not know
 * what TLS does with them: that is core/crypto, whose texts are passed on.
 *
 * The invariant that matters: what is refused leaves the configuration as it was.
 */
#include "abi.h"

#include <stdio.h>

#define CERTIFICATE_LIMIT (1024u * 1024)
#define TRUST_LIMIT (16u * 1024 * 1024)
#define ALPN_LIMIT 1024u
#define NAMES_LIMIT 32u
#define NAMES_TEXT 2048u

/* Opens a configuration for a change by arguments that can be used; else says what is needed. NULL with *error. */
static struct abi_config *open_for(weft_config handle, bool usable, const char *needed, int32_t *error) {
    struct abi_config *config = abi_config_begin(handle, error);
    if (!config || usable)
        return config;
    *error = abi_config_end(config, abi_config_fail(config, WEFT_E_INVALID, "%s", needed));
    return NULL;
}

/* ---- protocols, suites ---- */

/* "a,b" to length-prefixed names. The length, or 0 with the cause. */
static size_t alpn_list(struct abi_config *config, const char *names, uint8_t *list) {
    size_t len = 0;
    for (const char *at = names;; at++) {
        size_t name = strcspn(at, ",");
        if (!name || name > 255 || len + 1 + name > ALPN_LIMIT) {
            abi_config_fail(config, WEFT_E_TLS, "not a list of protocol names of 1 to 255 bytes: '%.64s'", names);
            return 0;
        }
        list[len++] = (uint8_t)name;
        memcpy(list + len, at, name);
        len += name;
        at += name;
        if (!*at)
            return len;
    }
}

int32_t weft_config_set_alpn(weft_config config, const char *names) {
    int32_t error;
    struct abi_config *own = open_for(config, names != NULL, "ALPN needs names", &error);
    if (!own)
        return error;
    uint8_t list[ALPN_LIMIT];
    size_t len = alpn_list(own, names, list);
    if (!len || !crypto_tls_config_alpn(own->core.tls, list, len, &own->error))
        return abi_config_end(own, WEFT_E_TLS);
    own->has_alpn = true;
    return abi_config_end(own, WEFT_OK);
}

static int32_t set_names(weft_config config, const char *names,
                         bool (*set)(struct crypto_tls_config *, const char *, struct crypto_error *)) {
    int32_t error;
    struct abi_config *own = open_for(config, names != NULL, "a list of names is needed", &error);
    if (!own)
        return error;
    return abi_config_end(own, set(own->core.tls, names, &own->error) ? WEFT_OK : WEFT_E_TLS);
}

int32_t weft_config_set_ciphers(weft_config config, const char *names) {
    return set_names(config, names, crypto_tls_config_ciphers);
}

int32_t weft_config_set_groups(weft_config config, const char *names) {
    return set_names(config, names, crypto_tls_config_groups);
}

int32_t weft_config_set_ticket_secret(weft_config config, const uint8_t secret[32], uint32_t lifetime_s) {
    int32_t error;
    struct abi_config *own = open_for(config, secret != NULL, "a secret of 32 bytes is needed", &error);
    if (!own)
        return error;
    if (!crypto_tls_config_tickets(own->core.tls, secret, lifetime_s, &own->error))
        return abi_config_end(own, WEFT_E_TLS);
    own->has_tickets = true;
    return abi_config_end(own, WEFT_OK);
}

/* ---- certificates ---- */

static int32_t add_certificate(struct abi_config *config, enum crypto_format format, const uint8_t *chain,
                               size_t chain_len, const uint8_t *key, size_t key_len) {
    if (chain_len > CERTIFICATE_LIMIT || key_len > CERTIFICATE_LIMIT)
        return abi_config_fail(config, WEFT_E_TOO_LARGE, "a certificate or key is larger than %u bytes",
                               CERTIFICATE_LIMIT);
    if (!crypto_tls_config_certificate(config->core.tls, format, chain, chain_len, key, key_len, &config->error))
        return WEFT_E_CERTIFICATE;
    if (!config->has_certificate)
        crypto_certificate_sha256(format, chain, chain_len, config->fingerprint);
    config->has_certificate = true;
    return WEFT_OK;
}

int32_t weft_config_add_certificate(weft_config config, uint32_t format, const void *chain, size_t chain_len,
                                    const void *key, size_t key_len) {
    int32_t error;
    struct abi_config *own = open_for(config, format <= WEFT_DER && chain && chain_len && key && key_len,
                                      "a chain and a key are needed, as PEM or DER", &error);
    if (!own)
        return error;
    error = add_certificate(own, format == WEFT_DER ? CRYPTO_DER : CRYPTO_PEM, (const uint8_t *)chain, chain_len,
                            (const uint8_t *)key, key_len);
    return abi_config_end(own, error);
}

/* The cause with the file's name before it. */
static void name_file(struct abi_config *config, const char *path) {
    char cause[sizeof config->error.text];
    memcpy(cause, config->error.text, sizeof cause);
    abi_config_fail(config, WEFT_OK, "%.80s: %.77s", path, cause);
}

static int32_t add_certificate_files(struct abi_config *config, const char *chain_path, const char *key_path) {
    uint8_t *chain, *key;
    size_t chain_len, key_len;
    int32_t error = abi_file_read(&config->mem, chain_path, CERTIFICATE_LIMIT, &chain, &chain_len, &config->error);
    if (error)
        return error;
    error = abi_file_read(&config->mem, key_path, CERTIFICATE_LIMIT, &key, &key_len, &config->error);
    if (!error) {
        error = add_certificate(config, CRYPTO_PEM, chain, chain_len, key, key_len);
        if (error)
            name_file(config, chain_path);
        abi_file_free(&config->mem, key, key_len);
    }
    abi_file_free(&config->mem, chain, chain_len);
    return error;
}

int32_t weft_config_add_certificate_files(weft_config config, const char *chain_pem, const char *key_pem) {
    int32_t error;
    struct abi_config *own =
        open_for(config, chain_pem && key_pem, "two files are needed: a chain and its key", &error);
    if (!own)
        return error;
    return abi_config_end(own, add_certificate_files(own, chain_pem, key_pem));
}

/* "a,b" into strings of its own; how many, 0 when it is no such list. */
static size_t split_names(const char *names, char text[NAMES_TEXT], const char *list[NAMES_LIMIT]) {
    size_t len = strlen(names), count = 0;
    if (!len || len >= NAMES_TEXT)
        return 0;
    memcpy(text, names, len + 1);
    for (char *at = text;;) {
        size_t name = strcspn(at, ",");
        if (!name || count == NAMES_LIMIT)
            return 0;
        list[count++] = at;
        if (!at[name])
            return count;
        at[name] = 0;
        at += name + 1;
    }
}

int32_t weft_config_self_signed(weft_config config, const char *names, uint32_t days) {
    char text[NAMES_TEXT], certificate[4096], key[1024];
    const char *list[NAMES_LIMIT];
    size_t count = names ? split_names(names, text, list) : 0;
    int32_t error;
    struct abi_config *own =
        open_for(config, count && days && days <= 3650, "names with commas, and 1 to 3650 days, are needed", &error);
    if (!own)
        return error;
    if (!crypto_selfsigned(list, count, days, certificate, sizeof certificate, key, sizeof key, &own->error))
        error = WEFT_E_CERTIFICATE;
    else
        error = add_certificate(own, CRYPTO_PEM, (const uint8_t *)certificate, strlen(certificate),
                                (const uint8_t *)key, strlen(key));
    crypto_wipe(key, sizeof key);
    return abi_config_end(own, error);
}

int32_t weft_config_fingerprint(weft_config config, uint8_t sha256[32]) {
    int32_t error;
    struct abi_config *own = abi_config_get(config, &error);
    if (!own)
        return error;
    pthread_mutex_lock(&own->lock);
    if (!sha256)
        return abi_config_end(own, abi_config_fail(own, WEFT_E_INVALID, "a fingerprint needs a place"));
    if (!own->has_certificate)
        return abi_config_end(own, abi_config_fail(own, WEFT_E_STATE, "the configuration has no certificate"));
    memcpy(sha256, own->fingerprint, 32);
    return abi_config_end(own, WEFT_OK);
}

/* ---- trust ---- */

int32_t weft_config_add_trust(weft_config config, uint32_t format, const void *roots, size_t len) {
    int32_t error;
    struct abi_config *own =
        open_for(config, format <= WEFT_DER && roots && len, "certificates are needed, as PEM or DER", &error);
    if (!own)
        return error;
    if (len > TRUST_LIMIT)
        return abi_config_end(own, abi_config_fail(own, WEFT_E_TOO_LARGE, "more than %u bytes", TRUST_LIMIT));
    if (!crypto_tls_config_trust(own->core.tls, format == WEFT_DER ? CRYPTO_DER : CRYPTO_PEM, (const uint8_t *)roots,
                                 len, NULL, &own->error))
        return abi_config_end(own, WEFT_E_CERTIFICATE);
    own->has_trust = true;
    return abi_config_end(own, WEFT_OK);
}

static int32_t trust_file(struct abi_config *config, const char *path) {
    uint8_t *roots;
    size_t len;
    int32_t error = abi_file_read(&config->mem, path, TRUST_LIMIT, &roots, &len, &config->error);
    if (error)
        return error;
    if (!crypto_tls_config_trust(config->core.tls, CRYPTO_PEM, roots, len, NULL, &config->error)) {
        name_file(config, path);
        error = WEFT_E_CERTIFICATE;
    }
    abi_file_free(&config->mem, roots, len);
    return error;
}

int32_t weft_config_add_trust_file(weft_config config, const char *pem) {
    int32_t error;
    struct abi_config *own = open_for(config, pem != NULL, "a file is needed", &error);
    if (!own)
        return error;
    error = trust_file(own, pem);
    own->has_trust = own->has_trust || !error;
    return abi_config_end(own, error);
}

int32_t abi_config_load_system(struct abi_config *config, struct crypto_error *why) {
    const char *path = abi_file_system_trust();
    if (!path) {
        snprintf(why->text, sizeof why->text,
                 "this system has no certificate authorities where they are expected; name a file of them");
        return WEFT_E_CERTIFICATE;
    }
    int32_t error = trust_file(config, path);
    if (error)
        *why = config->error;
    return error;
}

int32_t weft_config_use_system_trust(weft_config config, uint32_t on) {
    int32_t error;
    struct abi_config *own = open_for(config, on <= 1, "0 or 1", &error);
    if (!own)
        return error;
    own->system_trust = (int8_t)on;
    return abi_config_end(own, WEFT_OK);
}

int32_t weft_config_set_verify(weft_config config, uint32_t on) {
    int32_t error;
    struct abi_config *own = open_for(config, on <= 1, "0 or 1", &error);
    if (!own)
        return error;
    own->verifies = on != 0;
    crypto_tls_config_verify(own->core.tls, own->verifies);
    return abi_config_end(own, WEFT_OK);
}

int32_t weft_config_add_pin(weft_config config, const uint8_t sha256[32]) {
    int32_t error;
    struct abi_config *own = open_for(config, sha256 != NULL, "a SHA-256 of 32 bytes is needed", &error);
    if (!own)
        return error;
    if (!crypto_tls_config_pin(own->core.tls, sha256))
        return abi_config_end(own, abi_config_fail(own, WEFT_E_NOMEM, "out of memory"));
    own->has_pins = true;
    return abi_config_end(own, WEFT_OK);
}
