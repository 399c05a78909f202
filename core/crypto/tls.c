/* tls.c - one handshake: CRYPTO bytes in, secrets, events and CRYPTO bytes out (RFC 9001 section 4, RFC 8446).
 *
 * wolfSSL runs the handshake. This file stands in front of it as a customs officer: it cuts the CRYPTO stream into
 * messages, lets in only those that this role may receive at this encryption level and of a size that makes sense, and
 * lets wolfSSL finish with one before it shows it the next. So wolfSSL never holds bytes of two levels at once, never
 * sees a KeyUpdate, an EndOfEarlyData or a late CertificateRequest, and never reserves memory for a length that a
 * stranger merely claimed.
 *
 * The invariant that matters: a session fails once. After the first failure nothing reaches wolfSSL or the callbacks.
 */
#include <assert.h>
#include <string.h>

#include "tls_impl.h"

#include <wolfssl/error-ssl.h>
#include <wolfssl/wolfcrypt/sha256.h>

enum handshake_type {
    CLIENT_HELLO = 1,
    SERVER_HELLO = 2,
    NEW_SESSION_TICKET = 4,
    ENCRYPTED_EXTENSIONS = 8,
    CERTIFICATE = 11,
    CERTIFICATE_REQUEST = 13,
    CERTIFICATE_VERIFY = 15,
    FINISHED = 20,
};

#define HEADER_SIZE 4u
#define TRANSPORT_PARAMETERS 0x39

/* Which messages who may receive where; their order within a level is wolfSSL's to judge. */
static const struct rule {
    uint8_t receiver, level, type;
    uint32_t max;
} rules[] = {
    {CRYPTO_SERVER, CRYPTO_INITIAL, CLIENT_HELLO, 16384},
    {CRYPTO_SERVER, CRYPTO_HANDSHAKE, CERTIFICATE, 65536},
    {CRYPTO_SERVER, CRYPTO_HANDSHAKE, CERTIFICATE_VERIFY, 8192},
    {CRYPTO_SERVER, CRYPTO_HANDSHAKE, FINISHED, 64},
    {CRYPTO_CLIENT, CRYPTO_INITIAL, SERVER_HELLO, 16384},
    {CRYPTO_CLIENT, CRYPTO_HANDSHAKE, ENCRYPTED_EXTENSIONS, 65536},
    {CRYPTO_CLIENT, CRYPTO_HANDSHAKE, CERTIFICATE_REQUEST, 65536},
    {CRYPTO_CLIENT, CRYPTO_HANDSHAKE, CERTIFICATE, 131072},
    {CRYPTO_CLIENT, CRYPTO_HANDSHAKE, CERTIFICATE_VERIFY, 8192},
    {CRYPTO_CLIENT, CRYPTO_HANDSHAKE, FINISHED, 64},
    {CRYPTO_CLIENT, CRYPTO_APPLICATION, NEW_SESSION_TICKET, 66000},
};

static int fail(struct crypto_tls *tls, uint8_t alert, const char *text) {
    if (!tls->failed) {
        tls->failed = true;
        if (!tls->params_refused)
            tls->callbacks->on_alert(tls->user, alert, text);
    }
    return CRYPTO_FAILED;
}

static int fail_refused(struct crypto_tls *tls) { return fail(tls, tls->refusal, tls->cause); }

static int fail_error(struct crypto_tls *tls, int error) {
    if (tls->refused)
        return fail_refused(tls);
    uint8_t alert = tls->sent_alert ? tls->sent_alert : tls_alert_of_error(error);
    /* wolfSSL may keep its reason to itself behind an alert; its text for no error is "ok". */
    return fail(tls, alert, error ? wolfSSL_ERR_reason_error_string((unsigned long)(long)error) : "refused by wolfSSL");
}

/* ---- making a session ----------------------------------------------------------------------------------------------
 */

static bool is_hybrid(int group) { return group == WOLFSSL_X25519MLKEM768; }

/* The most wanted group, and X25519 beside a hybrid, so that a server that lacks the hybrid need not ask again. */
static bool offer_key_shares(struct crypto_tls *tls) {
    const struct crypto_tls_config *config = tls->config;
    bool ok = wolfSSL_UseKeyShare(tls->ssl, (word16)config->groups[0]) == WOLFSSL_SUCCESS;
    if (is_hybrid(config->groups[0]))
        for (int i = 1; i < config->group_count; i++)
            if (config->groups[i] == WOLFSSL_ECC_X25519)
                ok = ok && wolfSSL_UseKeyShare(tls->ssl, WOLFSSL_ECC_X25519) == WOLFSSL_SUCCESS;
    return ok;
}

static bool offer_alpn(struct crypto_tls *tls) {
    const struct crypto_tls_config *config = tls->config;
    if (!config->alpn_len)
        return true;
    char names[TLS_MAX_ALPN]; /* each length byte becomes the comma before its name; the first is left out */
    size_t len = config->alpn_len - 1;
    memcpy(names, config->alpn + 1, len);
    for (size_t at = 0; at + 1 < config->alpn_len; at += 1u + config->alpn[at])
        if (at)
            names[at - 1] = ',';
    names[len] = 0;
    return wolfSSL_UseALPN(tls->ssl, names, (word32)len, WOLFSSL_ALPN_FAILED_ON_MISMATCH) == WOLFSSL_SUCCESS;
}

static bool set_server_name(struct crypto_tls *tls, const char *name, struct crypto_error *error) {
    if (!name || !*name)
        return true;
    size_t len = strlen(name);
    if (len > TLS_NAME_MAX)
        return tls_error(error, "the server name is longer than %u bytes", TLS_NAME_MAX);
    tls->server_name = base_alloc(tls->mem, len + 1);
    if (!tls->server_name)
        return tls_error(error, "out of memory");
    tls->server_name_size = len + 1;
    memcpy(tls->server_name, name, len + 1);
    uint8_t address[16];
    if (tls_ip_literal(name, address)) /* RFC 6066 3: literals are not sent */
        return true;
    if (len > 1 && name[len - 1] == '.')
        len--;
    return wolfSSL_UseSNI(tls->ssl, WOLFSSL_SNI_HOST_NAME, name, (word16)len) == WOLFSSL_SUCCESS ||
           tls_error(error, "out of memory");
}

static void set_verification(struct crypto_tls *tls) {
    const struct crypto_tls_config *config = tls->config;
    bool client = config->role == CRYPTO_CLIENT;
    int mode = WOLFSSL_VERIFY_NONE;
    if (config->verify || config->pins || (client && config->verify_cb))
        mode = client ? WOLFSSL_VERIFY_PEER : WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    wolfSSL_set_verify(tls->ssl, mode, tls_on_verify);
    wolfSSL_SetCertCbCtx(tls->ssl, tls);
}

static bool set_up_client(struct crypto_tls *tls, const struct crypto_tls_open *open, struct crypto_error *error) {
    if (!set_server_name(tls, open->server_name, error))
        return false;
    if (!offer_key_shares(tls) || !offer_alpn(tls))
        return tls_error(error, "out of memory");
    if (open->session)
        tls_session_resume(tls, open->session, open->session_len, open->early_data);
    return true;
}

static bool set_up(struct crypto_tls *tls, const struct crypto_tls_open *open, struct crypto_error *error) {
    WOLFSSL *ssl = wolfSSL_new(open->config->first.ctx);
    if (!ssl)
        return tls_error(error, "out of memory");
    tls->ssl = ssl;
    if (wolfSSL_set_app_data(ssl, tls) != WOLFSSL_SUCCESS)
        return tls_error(error, "out of memory");
    wolfSSL_KeepArrays(ssl); /* the exporter needs them */
    wolfSSL_set_quic_transport_version(ssl, TRANSPORT_PARAMETERS);
    set_verification(tls);
    if (tls->config->keylog_cb)
        wolfSSL_set_tls13_secret_cb(ssl, tls_on_secret, tls);
    if (open->params_len && !crypto_tls_set_params(tls, open->params, open->params_len))
        return tls_error(error, "out of memory");
    if (open->role == CRYPTO_CLIENT)
        return set_up_client(tls, open, error);
    if (tls->config->early_data && tls->config->tickets)
        wolfSSL_set_max_early_data(ssl, UINT32_MAX);
    return true;
}

struct crypto_tls *crypto_tls_new(struct base_mem *mem, const struct crypto_tls_open *open,
                                  struct crypto_error *error) {
    if (open->role != open->config->role) {
        tls_error(error, "the configuration is made for the other role");
        return NULL;
    }
    if (open->role == CRYPTO_SERVER && !open->config->first.leaf) {
        tls_error(error, "a server needs a certificate");
        return NULL;
    }
    struct crypto_tls *tls = BASE_NEW(mem, struct crypto_tls);
    if (!tls) {
        tls_error(error, "out of memory");
        return NULL;
    }
    tls->mem = mem;
    tls->config = crypto_tls_config_ref(open->config);
    tls->callbacks = open->callbacks;
    tls->user = open->user;
    tls->level = CRYPTO_INITIAL;
    tls->heap = tls_heap_new(mem);
    struct tls_heap *before = tls_heap_enter(tls->heap);
    bool ready = tls->heap ? set_up(tls, open, error) : tls_error(error, "out of memory");
    tls_heap_enter(before);
    if (ready)
        return tls;
    crypto_tls_free(tls);
    return NULL;
}

void crypto_tls_free(struct crypto_tls *tls) {
    if (!tls)
        return;
    struct tls_heap *before = tls_heap_enter(tls->heap);
    if (tls->ssl)
        wolfSSL_free(tls->ssl);
    tls_heap_enter(before);
    tls_heap_free(tls->heap);
    base_free(tls->mem, tls->server_name, tls->server_name_size);
    base_free(tls->mem, tls->leaf, tls->leaf_len);
    base_free(tls->mem, tls->alpn, tls->alpn_len);
    base_free(tls->mem, tls->hello, tls->hello_size);
    crypto_tls_config_unref(tls->config);
    struct base_mem *mem = tls->mem;
    crypto_wipe(tls, sizeof *tls);
    BASE_DELETE(mem, tls);
}

uint64_t crypto_tls_memory(const struct crypto_tls *tls) { return tls_heap_held(tls->heap); }

uint64_t crypto_tls_surplus(const struct crypto_tls *tls) {
    uint64_t held = tls_heap_held(tls->heap) + tls->hello_size + tls->leaf_len;
    return held > TLS_HEAP_ORDINARY ? held - TLS_HEAP_ORDINARY : 0;
}

bool crypto_tls_set_params(struct crypto_tls *tls, const uint8_t *params, size_t len) {
    struct tls_heap *before = tls_heap_enter(tls->heap);
    bool ok = wolfSSL_set_quic_transport_params(tls->ssl, params, len) == WOLFSSL_SUCCESS;
    tls_heap_enter(before);
    return ok;
}

bool crypto_tls_set_early_context(struct crypto_tls *tls, const void *context, size_t len) {
    return wc_Sha256Hash(context, (word32)len, tls->context) == 0;
}

/* ---- running it ----------------------------------------------------------------------------------------------------
 */

/* Lets wolfSSL work on what it was given. */
static int drive(struct crypto_tls *tls) {
    int ret = tls->complete ? wolfSSL_process_quic_post_handshake(tls->ssl) : wolfSSL_quic_do_handshake(tls->ssl);
    if (tls->refused)
        return fail_refused(tls);
    if (ret != WOLFSSL_SUCCESS) {
        int error = wolfSSL_get_error(tls->ssl, ret);
        if (error != WOLFSSL_ERROR_WANT_READ && error != WOLFSSL_ERROR_WANT_WRITE)
            return fail_error(tls, error);
    } else if (!tls->complete) {
        tls->complete = true;
        tls->level = CRYPTO_APPLICATION;
    }
    return CRYPTO_OK;
}

/* A client has read EncryptedExtensions: protocol and parameters are chosen, early data is decided. */
static bool on_encrypted_extensions(struct crypto_tls *tls) {
    if (!tls_deliver_params(tls))
        return false;
    char *name = NULL;
    word16 len = 0;
    bool chosen = wolfSSL_ALPN_GetProtocol(tls->ssl, &name, &len) == WOLFSSL_SUCCESS;
    if (tls->config->alpn_len && !chosen)
        return tls_refuse(tls, ALERT_NO_APPLICATION_PROTOCOL, "the server chose no application protocol");
    if (tls->early != CRYPTO_EARLY_PENDING)
        return true;
    bool accepted = wolfSSL_get_early_data_status(tls->ssl) == WOLFSSL_EARLY_DATA_ACCEPTED;
    if (accepted && (len != tls->alpn_len || (len && memcmp(name, tls->alpn, len) != 0)))
        return tls_refuse(tls, ALERT_ILLEGAL_PARAMETER, "early data accepted for another application protocol");
    tls->early = accepted ? CRYPTO_EARLY_ACCEPTED : CRYPTO_EARLY_REJECTED;
    return true;
}

static bool after_message(struct crypto_tls *tls, uint8_t type) {
    switch (type) {
    case CLIENT_HELLO: /* an early secret not given up by now would belong to a connection that was told to try again */
        return !tls->held.len || tls_refuse(tls, ALERT_INTERNAL_ERROR, "early data before a HelloRetryRequest");
    case SERVER_HELLO:
        if (tls->level == CRYPTO_INITIAL && tls->early == CRYPTO_EARLY_PENDING)
            tls->early = CRYPTO_EARLY_REJECTED; /* it was a HelloRetryRequest */
        return true;
    case ENCRYPTED_EXTENSIONS: return on_encrypted_extensions(tls);
    case CERTIFICATE:
        if (tls->reverify)
            set_verification(tls);
        tls->reverify = false;
        return true;
    case NEW_SESSION_TICKET: return tls_session_deliver(tls);
    default: return true;
    }
}

static const struct rule *rule_for(const struct crypto_tls *tls, uint8_t type) {
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].type == type && rules[i].level == tls->level && rules[i].receiver == tls->config->role)
            return &rules[i];
    return NULL;
}

static bool admit(struct crypto_tls *tls) {
    uint32_t len = (uint32_t)tls->header[1] << 16 | (uint32_t)tls->header[2] << 8 | tls->header[3];
    const struct rule *rule = rule_for(tls, tls->header[0]);
    if (!rule)
        return tls_refuse(tls, ALERT_UNEXPECTED_MESSAGE, "a handshake message that has no place here");
    if (len > rule->max)
        return tls_refuse(tls, ALERT_DECODE_ERROR, "a handshake message that is too long");
    tls->want = HEADER_SIZE + len;
    return true;
}

static bool provide(struct crypto_tls *tls, const uint8_t *data, size_t len) {
    if (wolfSSL_provide_quic_data(tls->ssl, (WOLFSSL_ENCRYPTION_LEVEL)tls->level, data, len) != WOLFSSL_SUCCESS)
        return tls_refuse(tls, ALERT_INTERNAL_ERROR, "out of memory");
    return true;
}

/* A server keeps the ClientHello beside what it gives to wolfSSL, for the look at it when it is whole. */
static bool keep_hello(struct crypto_tls *tls, const uint8_t *data, size_t len) {
    if (tls->header[0] != CLIENT_HELLO || !len)
        return true;
    if (!tls->hello) {
        tls->hello_size = tls->want;
        tls->hello = base_alloc(tls->mem, tls->hello_size);
        if (!tls->hello)
            return tls_refuse(tls, ALERT_INTERNAL_ERROR, "out of memory");
    }
    memcpy(tls->hello + tls->have, data, len);
    return true;
}

static bool check_hello(struct crypto_tls *tls) {
    if (!tls->hello)
        return true;
    struct tls_hello hello;
    tls_hello_read(tls->config, tls->hello + HEADER_SIZE, tls->want - HEADER_SIZE, &hello);
    base_free(tls->mem, tls->hello, tls->hello_size);
    tls->hello = NULL;
    if (hello.session_id) /* RFC 9001 8.4: there is no middlebox compatibility mode */
        return tls_refuse(tls, ALERT_ILLEGAL_PARAMETER, "legacy_session_id is not empty");
    if (hello.lists_groups && !hello.common_group)
        return tls_refuse(tls, ALERT_HANDSHAKE_FAILURE, "no key exchange group in common");
    tls->no_early = tls->no_early || !hello.common_share;
    if (tls->no_early) /* once more for the second ClientHello: wolfSSL takes it from the ticket again */
        wolfSSL_set_max_early_data(tls->ssl, 0);
    return true;
}

/* Takes what belongs to the message at hand from the front of `data`; *taken says how much. */
static bool take(struct crypto_tls *tls, const uint8_t *data, size_t len, size_t *taken) {
    size_t left = tls->have < HEADER_SIZE ? HEADER_SIZE - tls->have : tls->want - tls->have;
    *taken = len < left ? len : left;
    if (tls->have >= HEADER_SIZE) {
        if (!keep_hello(tls, data, *taken) || !provide(tls, data, *taken))
            return false;
        tls->have += (uint32_t)*taken;
        return true;
    }
    memcpy(tls->header + tls->have, data, *taken);
    tls->have += (uint32_t)*taken;
    return tls->have < HEADER_SIZE || (admit(tls) && provide(tls, tls->header, HEADER_SIZE));
}

int crypto_tls_start(struct crypto_tls *tls) {
    assert(tls->config->role == CRYPTO_CLIENT);
    struct tls_heap *before = tls_heap_enter(tls->heap);
    int result = tls->failed ? CRYPTO_FAILED : drive(tls);
    tls_schedule_forget();
    tls_heap_enter(before);
    return result;
}

static int input(struct crypto_tls *tls, enum crypto_level level, const uint8_t *data, size_t len) {
    while (len) {
        size_t taken;
        if (level != tls->level) {
            /* Bytes of a level that is done, or of one that cannot have begun (RFC 9001 4.1.3). */
            tls_refuse(tls, ALERT_UNEXPECTED_MESSAGE, "handshake bytes at the wrong encryption level");
            return fail_refused(tls);
        }
        if (!take(tls, data, len, &taken))
            return fail_refused(tls);
        data += taken;
        len -= taken;
        if (tls->have < HEADER_SIZE || tls->have < tls->want)
            continue;
        if (!check_hello(tls))
            return fail_refused(tls);
        tls->have = tls->want = 0;
        if (drive(tls) != CRYPTO_OK)
            return CRYPTO_FAILED;
        if (!after_message(tls, tls->header[0]))
            return fail_refused(tls);
    }
    return CRYPTO_OK;
}

int crypto_tls_input(struct crypto_tls *tls, enum crypto_level level, const uint8_t *data, size_t len) {
    struct tls_heap *before = tls_heap_enter(tls->heap);
    int result = tls->failed ? CRYPTO_FAILED : input(tls, level, data, len);
    tls_schedule_forget();
    tls_heap_enter(before);
    return result;
}

int crypto_tls_send_ticket(struct crypto_tls *tls) {
    assert(tls->config->role == CRYPTO_SERVER && tls->complete);
    if (tls->failed)
        return CRYPTO_FAILED;
    if (!tls->config->tickets)
        return CRYPTO_OK;
    struct tls_heap *before = tls_heap_enter(tls->heap);
    wolfSSL_set_max_early_data(tls->ssl, tls->config->early_data ? UINT32_MAX : 0);
    int ret = wolfSSL_send_SessionTicket(tls->ssl);
    tls_heap_enter(before);
    return ret == WOLFSSL_SUCCESS && !tls->refused ? CRYPTO_OK : fail_error(tls, wolfSSL_get_error(tls->ssl, ret));
}

/* ---- what is known of it
 * --------------------------------------------------------------------------------------------- */

bool crypto_tls_complete(const struct crypto_tls *tls) { return tls->complete && !tls->failed; }

bool crypto_tls_resumed(const struct crypto_tls *tls) { return wolfSSL_session_reused(tls->ssl) == 1; }

enum crypto_early crypto_tls_early(const struct crypto_tls *tls) { return tls->early; }

const uint8_t *crypto_tls_alpn(const struct crypto_tls *tls, size_t *len) {
    char *name = NULL;
    word16 name_len = 0;
    if (wolfSSL_ALPN_GetProtocol(tls->ssl, &name, &name_len) == WOLFSSL_SUCCESS) {
        *len = name_len;
        return (const uint8_t *)name;
    }
    *len = tls->early == CRYPTO_EARLY_PENDING ? tls->alpn_len : 0;
    return *len ? tls->alpn : NULL;
}

const char *crypto_tls_server_name(const struct crypto_tls *tls) {
    if (tls->config->role == CRYPTO_CLIENT)
        return tls->server_name;
    void *name = NULL;
    return wolfSSL_SNI_GetRequest(tls->ssl, WOLFSSL_SNI_HOST_NAME, &name) ? name : NULL;
}

const char *crypto_tls_cipher_name(const struct crypto_tls *tls) {
    static const char *const names[] = {"", "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                        "TLS_CHACHA20_POLY1305_SHA256"};
    int suite = wolfSSL_get_current_cipher_suite(tls->ssl);
    return suite > 0x1300 && suite <= 0x1303 ? names[suite - 0x1300] : names[0];
}

const char *crypto_tls_group_name(const struct crypto_tls *tls) {
    const char *name = tls_group_name_of(wolfSSL_get_curve_name(tls->ssl));
    return name ? name : "";
}

const uint8_t *crypto_tls_peer_certificate(const struct crypto_tls *tls, size_t *len) {
    *len = tls->leaf_len;
    return tls->leaf;
}

bool crypto_tls_export(struct crypto_tls *tls, const char *label, const uint8_t *context, size_t context_len,
                       uint8_t *out, size_t len) {
    static const uint8_t none[1]; /* in TLS 1.3 an empty context and no context are the same */
    if (!crypto_tls_complete(tls))
        return false;
    struct tls_heap *before = tls_heap_enter(tls->heap);
    bool ok = wolfSSL_export_keying_material(tls->ssl, out, len, label, strlen(label), context ? context : none,
                                             context_len, 1) == WOLFSSL_SUCCESS;
    tls_heap_enter(before);
    return ok;
}
