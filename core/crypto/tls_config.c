/* tls_config.c - what many connections share: certificates, trust, protocols, suites, groups, tickets.
 *
 * Everything a caller gives is checked here, when it is given, and refused with a sentence that names the cause; a
 * session made later can then fail only for want of memory or because of its peer.
 *
 * The invariant that matters: once a session was made, nothing here changes any more except the reference count and the
 * strikes of tls_ticket.c, both atomic. So threads share a configuration without a lock.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tls_impl.h"

#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/sha256.h>

#define CERTIFICATE_MAX 65536u
#define DEFAULT_SUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define DEFAULT_GROUPS "X25519MLKEM768:X25519:P-256:P-384"

struct suite {
    const char *name, *wolf;
};

static const struct suite suites[] = {
    {"TLS_AES_128_GCM_SHA256", "TLS13-AES128-GCM-SHA256"},
    {"TLS_AES_256_GCM_SHA384", "TLS13-AES256-GCM-SHA384"},
    {"TLS_CHACHA20_POLY1305_SHA256", "TLS13-CHACHA20-POLY1305-SHA256"},
};

static const struct tls_group groups[] = {
    {"X25519", WOLFSSL_ECC_X25519},   {"P-256", WOLFSSL_ECC_SECP256R1},           {"P-384", WOLFSSL_ECC_SECP384R1},
    {"P-521", WOLFSSL_ECC_SECP521R1}, {"X25519MLKEM768", WOLFSSL_X25519MLKEM768},
};

/* wolfSSL's own words for the same groups. */
static const struct suite wolf_groups[] = {
    {"P-256", "SECP256R1"},
    {"P-384", "SECP384R1"},
    {"P-521", "SECP521R1"},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

const char *tls_group_name(int id) {
    for (size_t i = 0; i < COUNT(groups); i++)
        if (groups[i].id == id)
            return groups[i].name;
    return NULL;
}

const char *tls_group_name_of(const char *wolf_name) {
    for (size_t i = 0; wolf_name && i < COUNT(wolf_groups); i++)
        if (strcmp(wolf_groups[i].wolf, wolf_name) == 0)
            return wolf_groups[i].name;
    return wolf_name;
}

bool tls_error(struct crypto_error *error, const char *format, ...) {
    if (error) {
        va_list args;
        va_start(args, format);
        vsnprintf(error->text, sizeof error->text, format, args);
        va_end(args);
    }
    return false;
}

static bool apply_all(struct crypto_tls_config *config, struct crypto_error *error) {
    for (struct tls_identity *at = &config->first; at; at = at->next)
        if (!tls_identity_apply(config, at))
            return tls_error(error, "the TLS library refuses the configuration");
    return true;
}

/* Calls `take` for each item of a colon-separated list. */
static bool each_item(struct crypto_tls_config *config, const char *list, const char *what,
                      bool (*take)(struct crypto_tls_config *config, const char *item, size_t len),
                      struct crypto_error *error) {
    const char *at = list;
    for (;;) {
        size_t len = strcspn(at, ":");
        if (!take(config, at, len))
            return tls_error(error, "unknown or repeated %s '%.*s'", what, (int)(len < 64 ? len : 64), at);
        if (!at[len])
            return true;
        at += len + 1;
    }
}

static bool is_item(const char *name, const char *item, size_t len) {
    return strlen(name) == len && memcmp(name, item, len) == 0;
}

static bool take_suite(struct crypto_tls_config *config, const char *item, size_t len) {
    for (size_t i = 0; i < COUNT(suites); i++) {
        if (!is_item(suites[i].name, item, len))
            continue;
        size_t used = strlen(config->suites);
        if (strstr(config->suites, suites[i].wolf))
            return false;
        snprintf(config->suites + used, sizeof config->suites - used, "%s%s", used ? ":" : "", suites[i].wolf);
        return true;
    }
    return false;
}

static bool take_group(struct crypto_tls_config *config, const char *item, size_t len) {
    for (size_t i = 0; i < COUNT(groups); i++) {
        if (!is_item(groups[i].name, item, len))
            continue;
        for (int g = 0; g < config->group_count; g++)
            if (config->groups[g] == groups[i].id)
                return false;
        config->groups[config->group_count++] = groups[i].id;
        return true;
    }
    return false;
}

bool crypto_tls_config_ciphers(struct crypto_tls_config *config, const char *list, struct crypto_error *error) {
    char before[sizeof config->suites];
    memcpy(before, config->suites, sizeof before);
    config->suites[0] = 0;
    if (each_item(config, list, "cipher suite", take_suite, error) && apply_all(config, error))
        return true;
    memcpy(config->suites, before, sizeof before);
    return false;
}

bool crypto_tls_config_groups(struct crypto_tls_config *config, const char *list, struct crypto_error *error) {
    int before[TLS_MAX_GROUPS], count = config->group_count;
    memcpy(before, config->groups, sizeof before);
    config->group_count = 0;
    if (each_item(config, list, "group", take_group, error) && apply_all(config, error))
        return true;
    memcpy(config->groups, before, sizeof before);
    config->group_count = count;
    return false;
}

struct crypto_tls_config *crypto_tls_config_new(enum crypto_role role, struct crypto_error *error) {
    struct base_mem mem;
    base_mem_init(&mem, 0);
    struct crypto_tls_config *config = BASE_NEW(&mem, struct crypto_tls_config);
    if (!config) {
        tls_error(error, "out of memory");
        return NULL;
    }
    config->mem = mem;
    atomic_init(&config->refs, 1);
    config->role = role;
    config->verify = role == CRYPTO_CLIENT;
    if (each_item(config, DEFAULT_SUITES, "cipher suite", take_suite, error) &&
        each_item(config, DEFAULT_GROUPS, "group", take_group, error)) {
        if (tls_identity_init(config, &config->first))
            return config;
        tls_error(error, "the TLS library is not ready or memory is used up");
    }
    crypto_tls_config_unref(config);
    return NULL;
}

struct crypto_tls_config *crypto_tls_config_ref(struct crypto_tls_config *config) {
    atomic_fetch_add_explicit(&config->refs, 1, memory_order_relaxed);
    return config;
}

static void config_free(struct crypto_tls_config *config) {
    struct base_mem mem = config->mem;
    for (struct tls_identity *at = config->first.next, *next; at; at = next) {
        next = at->next;
        tls_identity_free(config, at);
        BASE_DELETE(&config->mem, at);
    }
    tls_identity_free(config, &config->first);
    for (struct tls_blob *at = config->roots, *next; at; at = next) {
        next = at->next;
        base_free(&config->mem, at, sizeof *at + at->len);
    }
    for (struct tls_pin *at = config->pins, *next; at; at = next) {
        next = at->next;
        BASE_DELETE(&config->mem, at);
    }
    base_free(&config->mem, config->strikes, config->strikes ? TLS_STRIKES * sizeof *config->strikes : 0);
    hkdf_end(&config->ticket_secret);
    base_free(&mem, config, sizeof *config);
}

void crypto_tls_config_unref(struct crypto_tls_config *config) {
    if (config && atomic_fetch_sub_explicit(&config->refs, 1, memory_order_acq_rel) == 1)
        config_free(config);
}

bool crypto_tls_config_alpn(struct crypto_tls_config *config, const uint8_t *list, size_t len,
                            struct crypto_error *error) {
    if (len > TLS_MAX_ALPN)
        return tls_error(error, "the list of application protocols is longer than %u bytes", TLS_MAX_ALPN);
    for (size_t at = 0; at < len; at += 1u + list[at]) {
        if (!list[at] || list[at] > len - at - 1)
            return tls_error(error, "malformed list of application protocols at byte %zu", at);
        if (memchr(list + at + 1, ',', list[at]) || memchr(list + at + 1, 0, list[at]))
            return tls_error(error, "application protocol names with a comma or a zero byte are not supported");
    }
    if (len)
        memcpy(config->alpn, list, len);
    config->alpn_len = len;
    return true;
}

const uint8_t *crypto_tls_config_alpn_list(const struct crypto_tls_config *config, size_t *len) {
    *len = config->alpn_len;
    return config->alpn;
}

void crypto_tls_config_verify(struct crypto_tls_config *config, bool verify) { config->verify = verify; }

bool crypto_tls_config_pin(struct crypto_tls_config *config, const uint8_t sha256[32]) {
    struct tls_pin *pin = BASE_NEW(&config->mem, struct tls_pin);
    if (!pin)
        return false;
    memcpy(pin->sha256, sha256, sizeof pin->sha256);
    pin->next = config->pins;
    config->pins = pin;
    return true;
}

void crypto_tls_config_verify_cb(struct crypto_tls_config *config, crypto_verify_cb cb, void *user) {
    config->verify_cb = cb;
    config->verify_user = user;
}

void crypto_tls_config_keylog(struct crypto_tls_config *config, crypto_keylog_cb cb, void *user) {
    config->keylog_cb = cb;
    config->keylog_user = user;
}

void crypto_tls_config_early_data(struct crypto_tls_config *config, bool allow) {
    if (allow && config->role == CRYPTO_SERVER && !config->strikes)
        config->strikes = base_zalloc(&config->mem, TLS_STRIKES * sizeof *config->strikes);
    /* Without a register against replay there is no early data. */
    config->early_data = allow && (config->role == CRYPTO_CLIENT || config->strikes);
}

void crypto_tls_config_replay(struct crypto_tls_config *config, crypto_replay_cb cb, void *user) {
    config->replay_cb = cb;
    config->replay_user = user;
}

void crypto_tls_config_ticket_hooks(struct crypto_tls_config *config, crypto_ticket_judge_cb judge,
                                    crypto_ticket_fill_cb fill, void *user) {
    config->ticket_judge_cb = judge;
    config->ticket_fill_cb = fill;
    config->ticket_user = user;
}

bool crypto_tls_config_tickets(struct crypto_tls_config *config, const uint8_t secret[32], uint32_t lifetime_s,
                               struct crypto_error *error) {
    if (config->role != CRYPTO_SERVER)
        return tls_error(error, "only a server issues session tickets");
    if (!lifetime_s || lifetime_s > 604800) /* RFC 8446 4.6.1 */
        return tls_error(error, "a ticket's lifetime is 1 to 604800 seconds, not %u", (unsigned)lifetime_s);
    config->ticket_lifetime_s = lifetime_s;
    config->tickets = true;
    if (!tls_ticket_secret_set(config, secret))
        return tls_error(error, "the secret of the session tickets cannot be used");
    return apply_all(config, error);
}

/* ---- certificates -------------------------------------------------------------------------------------------------
 */

#define PEM_BEGIN "-----BEGIN "
#define PEM_END "-----END "

/* The next PEM certificate at or after *at: its text in *block, *at moved behind it. Blocks of other kinds are passed
 * over. */
static bool next_pem(const uint8_t **at, const uint8_t *end, const uint8_t **block, size_t *len) {
    static const char *const kinds[] = {"CERTIFICATE-----", "TRUSTED CERTIFICATE-----", "X509 CERTIFICATE-----"};
    for (const uint8_t *p = *at; p < end; p++) {
        if ((size_t)(end - p) < sizeof PEM_BEGIN - 1 || memcmp(p, PEM_BEGIN, sizeof PEM_BEGIN - 1) != 0)
            continue;
        const uint8_t *kind = p + sizeof PEM_BEGIN - 1;
        bool wanted = false;
        for (size_t i = 0; i < COUNT(kinds); i++)
            wanted =
                wanted || ((size_t)(end - kind) >= strlen(kinds[i]) && memcmp(kind, kinds[i], strlen(kinds[i])) == 0);
        if (!wanted)
            continue;
        for (const uint8_t *q = kind; q < end; q++) {
            if ((size_t)(end - q) < sizeof PEM_END - 1 || memcmp(q, PEM_END, sizeof PEM_END - 1) != 0)
                continue;
            const uint8_t *line = memchr(q, '\n', (size_t)(end - q));
            *block = p;
            *at = line ? line + 1 : end;
            *len = (size_t)(*at - p);
            return true;
        }
        return false;
    }
    return false;
}

/* The length of the DER element at `at`, or 0 when it is not a complete SEQUENCE. */
static size_t der_len(const uint8_t *at, size_t left) {
    if (left < 2 || at[0] != 0x30)
        return 0;
    size_t len = at[1], head = 2;
    if (len & 0x80) {
        size_t octets = len & 0x7f;
        if (!octets || octets > 3 || left < 2 + octets)
            return 0;
        len = 0;
        for (size_t i = 0; i < octets; i++)
            len = len << 8 | at[head++];
    }
    return len <= left - head ? head + len : 0;
}

/* The next certificate of `format` as DER in `der`; *len is its length. False at the end or at something unreadable. */
static bool next_certificate(enum crypto_format format, const uint8_t **at, const uint8_t *end, uint8_t *der,
                             size_t capacity, size_t *len) {
    if (format == CRYPTO_DER) {
        *len = der_len(*at, (size_t)(end - *at));
        if (!*len || *len > capacity)
            return false;
        memcpy(der, *at, *len);
        *at += *len;
        return true;
    }
    const uint8_t *block;
    size_t block_len;
    if (!next_pem(at, end, &block, &block_len))
        return false;
    int made = wc_CertPemToDer(block, (int)block_len, der, (int)capacity, CERT_TYPE);
    *len = made > 0 ? (size_t)made : 0;
    return true; /* of length 0 when this block is broken: the next may be good */
}

bool crypto_certificate_sha256(enum crypto_format format, const uint8_t *cert, size_t len, uint8_t sha256[32]) {
    uint8_t der[8192];
    size_t der_size;
    return next_certificate(format, &cert, cert + len, der, sizeof der, &der_size) && der_size &&
           wc_Sha256Hash(der, (word32)der_size, sha256) == 0;
}

static bool trust_one(struct crypto_tls_config *config, const uint8_t *der, size_t len) {
    for (struct tls_identity *at = &config->first; at; at = at->next)
        if (wolfSSL_CTX_load_verify_buffer(at->ctx, der, (long)len, WOLFSSL_FILETYPE_ASN1) != WOLFSSL_SUCCESS)
            return false;
    if (config->role == CRYPTO_CLIENT) /* has one context for good, and may be given hundreds of roots */
        return true;
    struct tls_blob *blob = base_alloc(&config->mem, sizeof *blob + len);
    if (!blob)
        return false;
    blob->len = len;
    memcpy(blob->bytes, der, len);
    blob->next = config->roots;
    config->roots = blob;
    return true;
}

bool crypto_tls_config_trust(struct crypto_tls_config *config, enum crypto_format format, const uint8_t *roots,
                             size_t len, unsigned *count, struct crypto_error *error) {
    /* Collections hold roots that are expired or of kinds we do not know: those are passed over. */
    unsigned taken = 0;
    uint8_t *der = base_alloc(&config->mem, CERTIFICATE_MAX);
    if (!der)
        return tls_error(error, "out of memory");
    const uint8_t *at = roots, *end = roots + len;
    size_t size;
    while (at < end && next_certificate(format, &at, end, der, CERTIFICATE_MAX, &size))
        if (size && trust_one(config, der, size))
            taken++;
    base_free(&config->mem, der, CERTIFICATE_MAX);
    if (count)
        *count = taken;
    return taken ? true : tls_error(error, "no usable certificate among the roots");
}

static bool load_identity(struct crypto_tls_config *config, struct tls_identity *identity, enum crypto_format format,
                          const uint8_t *chain, size_t chain_len, const uint8_t *key, size_t key_len,
                          struct crypto_error *error) {
    int type = format == CRYPTO_PEM ? WOLFSSL_FILETYPE_PEM : WOLFSSL_FILETYPE_ASN1;
    uint8_t der[8192];
    size_t size;
    const uint8_t *at = chain;
    if (!next_certificate(format, &at, chain + chain_len, der, sizeof der, &size) || !size ||
        wolfSSL_CTX_use_certificate_chain_buffer_format(identity->ctx, chain, (long)chain_len, type) != WOLFSSL_SUCCESS)
        return tls_error(error, "the certificate chain cannot be read");
    if (wolfSSL_CTX_use_PrivateKey_buffer(identity->ctx, key, (long)key_len, type) != WOLFSSL_SUCCESS)
        return tls_error(error, "the private key cannot be read");
    if (wolfSSL_CTX_check_private_key(identity->ctx) != WOLFSSL_SUCCESS)
        return tls_error(error, "the private key does not belong to the first certificate of the chain");
    identity->leaf = base_alloc(&config->mem, size);
    if (!identity->leaf)
        return tls_error(error, "out of memory");
    memcpy(identity->leaf, der, size);
    identity->leaf_len = size;
    return tls_sign_keep(config, identity, format, key, key_len) || tls_error(error, "out of memory");
}

static void drop_identity(struct crypto_tls_config *config, struct tls_identity *identity) {
    tls_identity_free(config, identity);
    BASE_DELETE(&config->mem, identity);
}

/* A certificate is tried in a fresh context, so that one which is refused leaves no trace. The first one then goes
 * into the context that is there already, with all the roots it was given; each further one keeps its own. */
bool crypto_tls_config_certificate(struct crypto_tls_config *config, enum crypto_format format, const uint8_t *chain,
                                   size_t chain_len, const uint8_t *key, size_t key_len, struct crypto_error *error) {
    struct tls_identity *made = BASE_NEW(&config->mem, struct tls_identity);
    if (!made)
        return tls_error(error, "out of memory");
    bool ok = tls_identity_init(config, made) || tls_error(error, "out of memory");
    ok = ok && load_identity(config, made, format, chain, chain_len, key, key_len, error);
    if (ok && config->first.leaf) {
        struct tls_identity *last = &config->first;
        while (last->next)
            last = last->next;
        last->next = made;
        return true;
    }
    drop_identity(config, made);
    return ok && load_identity(config, &config->first, format, chain, chain_len, key, key_len, error);
}
