/* config.c - configurations: made, changed until the first use, shared from then on.
 *
 * A configuration is what many connections have in common: options (core/tables) and TLS (core/crypto). It belongs to
 * no engine and no thread. Its handle holds one reference, every listener, race and connection holds another; the last
 * one frees it, on whatever thread that happens.
 *
 * Changing and first use are under the configuration's lock. The first use completes it - system authorities, a ticket
 * secret - and freezes it; after that everybody reads it without a lock.
 *
 * The invariant that matters: what is frozen never changes, but for the text of the last error.
 */
#include "abi.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define TICKET_LIFETIME 7200u /* s, of tickets under a secret that we made up */

/* ---- references, lock, errors ---- */

static void config_release(struct quic_config *core) {
    struct abi_config *config = BASE_CONTAINER(core, struct abi_config, core);
    crypto_tls_config_unref(core->tls);
    if (config->keylog_fd >= 0)
        close(config->keylog_fd);
    abi_qlog_clear(config);
    pthread_mutex_destroy(&config->lock);
    struct base_mem mem = config->mem;
    base_free(&mem, config, sizeof *config);
}

void abi_config_put(struct abi_config *config) { quic_config_unref(&config->core); }

static int32_t config_ref(void *config) {
    quic_config_ref(&((struct abi_config *)config)->core);
    return WEFT_OK;
}

struct abi_config *abi_config_get(weft_config handle, int32_t *error) {
    return (struct abi_config *)abi_registry_get(ABI_CONFIG, handle.id, config_ref, error);
}

struct abi_config *abi_config_begin(weft_config handle, int32_t *error) {
    struct abi_config *config = abi_config_get(handle, error);
    if (!config)
        return NULL;
    pthread_mutex_lock(&config->lock);
    if (!config->frozen)
        return config;
    *error = abi_config_end(config, abi_config_fail(config, WEFT_E_STATE, "the configuration is in use already"));
    return NULL;
}

int32_t abi_config_end(struct abi_config *config, int32_t result) {
    pthread_mutex_unlock(&config->lock);
    abi_config_put(config);
    return result;
}

int32_t abi_config_fail(struct abi_config *config, int32_t error, const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(config->error.text, sizeof config->error.text, format, list);
    va_end(list);
    return error;
}

/* ---- birth and end ---- */

int32_t weft_config_new(uint32_t role, weft_config *config) {
    if (role > WEFT_SERVER || !config)
        return WEFT_E_INVALID;
    if (abi_inside())
        return WEFT_E_STATE;
    if (!abi_start())
        return WEFT_E_INTERNAL;
    struct base_mem mem;
    base_mem_init(&mem, 0);
    struct abi_config *made = BASE_NEW(&mem, struct abi_config);
    if (!made)
        return WEFT_E_NOMEM;
    made->mem = mem;
    made->keylog_fd = -1;
    made->system_trust = -1;
    made->verifies = role == WEFT_CLIENT;
    made->core.role = role == WEFT_SERVER ? CRYPTO_SERVER : CRYPTO_CLIENT;
    made->core.release = config_release;
    options_init(&made->core.options);
    atomic_init(&made->core.refs, 1);
    pthread_mutex_init(&made->lock, NULL);
    made->core.tls = crypto_tls_config_new(made->core.role, NULL);
    uint64_t handle = made->core.tls ? abi_registry_add(ABI_CONFIG, made) : 0;
    if (!handle) {
        abi_config_put(made);
        return WEFT_E_NOMEM;
    }
    config->id = handle;
    return WEFT_OK;
}

int32_t weft_config_free(weft_config config) {
    int32_t error;
    struct abi_config *own = (struct abi_config *)abi_registry_remove(ABI_CONFIG, config.id, &error);
    if (!own)
        return error;
    abi_config_put(own);
    return WEFT_OK;
}

int32_t weft_config_error(weft_config config, char *text, size_t capacity) {
    int32_t error;
    struct abi_config *own = abi_config_get(config, &error);
    if (!own)
        return error;
    pthread_mutex_lock(&own->lock);
    return abi_config_end(own, abi_copy_text(own->error.text, text, capacity));
}

/* ---- options ---- */

int32_t weft_config_set(weft_config config, const char *option, const char *value) {
    int32_t error;
    struct abi_config *own = abi_config_begin(config, &error);
    if (!own)
        return error;
    if (!option || !value)
        return abi_config_end(own, abi_config_fail(own, WEFT_E_INVALID, "an option needs a name and a value"));
    error = options_set_text(&own->core.options, option, value, own->error.text, sizeof own->error.text);
    return abi_config_end(own, error);
}

static int32_t config_no_option(struct abi_config *config, const char *option) {
    return abi_config_fail(config, WEFT_E_OPTION, "there is no option '%.64s'", option);
}

int32_t weft_config_set_uint(weft_config config, const char *option, uint64_t value) {
    int32_t error;
    struct abi_config *own = abi_config_begin(config, &error);
    if (!own)
        return error;
    if (!option)
        return abi_config_end(own, abi_config_fail(own, WEFT_E_INVALID, "an option needs a name"));
    int id = options_find(option);
    error = id < 0 ? config_no_option(own, option)
                   : options_set(&own->core.options, id, value, own->error.text, sizeof own->error.text);
    return abi_config_end(own, error);
}

int32_t weft_config_get_uint(weft_config config, const char *option, uint64_t *value) {
    int32_t error;
    struct abi_config *own = abi_config_get(config, &error);
    if (!own)
        return error;
    pthread_mutex_lock(&own->lock);
    if (!option || !value)
        return abi_config_end(own, abi_config_fail(own, WEFT_E_INVALID, "an option needs a name and a place"));
    int id = options_find(option);
    if (id < 0)
        return abi_config_end(own, config_no_option(own, option));
    *value = options_get(&own->core.options, id);
    return abi_config_end(own, WEFT_OK);
}

/* ---- callbacks ---- */

static int on_verify(void *user, void *session_user, const uint8_t *const *chain, const size_t *lens, size_t count,
                     bool ok) {
    const struct abi_config *config = (const struct abi_config *)user;
    const struct quic_conn *conn = (const struct quic_conn *)session_user;
    weft_bytes bytes[32];
    weft_verify verify = {.size = sizeof verify, .chain = bytes, .ok = ok};
    for (size_t i = 0; i < count && i < sizeof bytes / sizeof *bytes; i++)
        bytes[verify.count++] = (weft_bytes){chain[i], lens[i]};
    if (conn && conn->tls)
        verify.server_name = crypto_tls_server_name(conn->tls);
    abi_enter();
    int32_t alert = config->verify(config->verify_user, &verify);
    abi_leave();
    return alert;
}

static bool on_replay(void *user, const uint8_t id[16], uint32_t seconds) {
    const struct abi_config *config = (const struct abi_config *)user;
    abi_enter();
    int32_t first = config->replay(config->replay_user, id, seconds);
    abi_leave();
    return first == 1;
}

static void on_keylog(void *user, const char *line) {
    const struct abi_config *config = (const struct abi_config *)user;
    abi_enter();
    if (config->keylog)
        config->keylog(config->keylog_user, line);
    abi_leave();
    if (config->keylog_fd < 0)
        return;
    char text[512];
    int len = snprintf(text, sizeof text, "%s\n", line);
    if (len > 0 && (size_t)len < sizeof text && write(config->keylog_fd, text, (size_t)len) != len)
        return; /* a full disk: there is nobody to tell */
}

int32_t weft_config_set_verify_callback(weft_config config, weft_verify_cb callback, void *user) {
    int32_t error;
    struct abi_config *own = abi_config_begin(config, &error);
    if (!own)
        return error;
    own->verify = callback;
    own->verify_user = user;
    crypto_tls_config_verify_cb(own->core.tls, callback ? on_verify : NULL, own);
    return abi_config_end(own, WEFT_OK);
}

int32_t weft_config_set_replay_callback(weft_config config, weft_replay_cb callback, void *user) {
    int32_t error;
    struct abi_config *own = abi_config_begin(config, &error);
    if (!own)
        return error;
    own->replay = callback;
    own->replay_user = user;
    crypto_tls_config_replay(own->core.tls, callback ? on_replay : NULL, own);
    return abi_config_end(own, WEFT_OK);
}

int32_t weft_config_set_keylog(weft_config config, weft_keylog_cb callback, void *user) {
    int32_t error;
    struct abi_config *own = abi_config_begin(config, &error);
    if (!own)
        return error;
    own->keylog = callback;
    own->keylog_user = user;
    crypto_tls_config_keylog(own->core.tls, callback || own->keylog_fd >= 0 ? on_keylog : NULL, own);
    return abi_config_end(own, WEFT_OK);
}

int32_t weft_config_set_keylog_file(weft_config config, const char *path) {
    int32_t error;
    struct abi_config *own = abi_config_begin(config, &error);
    if (!own)
        return error;
    if (!path)
        return abi_config_end(own, abi_config_fail(own, WEFT_E_INVALID, "a key log needs a path"));
    int fd;
    error = abi_file_append(path, &fd, &own->error);
    if (error)
        return abi_config_end(own, error);
    if (own->keylog_fd >= 0)
        close(own->keylog_fd);
    own->keylog_fd = fd;
    crypto_tls_config_keylog(own->core.tls, on_keylog, own);
    return abi_config_end(own, WEFT_OK);
}

/* ---- the first use ---- */

/* What is missing, or NULL. */
static const char *config_lacks(const struct abi_config *config) {
    if (!config->has_alpn)
        return "no application protocol is set: QUIC needs ALPN (weft_config_set_alpn)";
    if (config->core.role == CRYPTO_SERVER && !config->has_certificate)
        return "a server needs a certificate (weft_config_add_certificate_files)";
    return NULL;
}

/* Options that do not go together, or NULL. */
static const char *config_clash(const struct abi_config *config) {
    const struct options *options = &config->core.options;
    const struct quic_cc_ops *own = config->core.custom_cc;
    if (options->careful_resume && !options->pacing)
        return "careful_resume: it needs pacing, which is off";
    if (options->careful_resume && !own && quic_cc_at((unsigned)options->congestion_control)->models)
        return "careful_resume: the window of congestion_control bbr follows from a model; allowed: cubic or newreno";
    return NULL;
}

static int32_t config_trust(struct abi_config *config, struct crypto_error *why) {
    bool wanted = config->system_trust > 0;
    if (config->system_trust < 0) /* a client that was told nothing else */
        wanted = config->verifies && config->core.role == CRYPTO_CLIENT && !config->has_trust && !config->has_pins;
    if (!wanted)
        return WEFT_OK;
    int32_t error = abi_config_load_system(config, why);
    return config->verify && config->system_trust < 0 ? WEFT_OK : error; /* a callback may judge without them */
}

static int32_t config_tickets(struct abi_config *config, struct crypto_error *why) {
    if (config->core.role != CRYPTO_SERVER || config->has_tickets || !config->core.options.session_tickets)
        return WEFT_OK;
    uint8_t secret[32];
    if (!crypto_random(secret, sizeof secret)) {
        snprintf(why->text, sizeof why->text, "the system gives no randomness");
        return WEFT_E_IO;
    }
    bool ok = crypto_tls_config_tickets(config->core.tls, secret, TICKET_LIFETIME, why);
    crypto_wipe(secret, sizeof secret);
    return ok ? WEFT_OK : WEFT_E_TLS;
}

/* Under the lock. */
static int32_t config_complete(struct abi_config *config, struct crypto_error *why) {
    const char *lack = config_lacks(config);
    if (lack) {
        snprintf(why->text, sizeof why->text, "%s", lack);
        return WEFT_E_TLS;
    }
    const char *clash = config_clash(config);
    if (clash) {
        snprintf(why->text, sizeof why->text, "%s", clash);
        return WEFT_E_VALUE;
    }
    int32_t error = config_trust(config, why);
    if (!error)
        error = config_tickets(config, why);
    if (error)
        return error;
    crypto_tls_config_early_data(config->core.tls, config->core.options.early_data != 0);
    config->frozen = true;
    return WEFT_OK;
}

int32_t abi_config_use(weft_config handle, enum crypto_role role, struct abi_config **out, struct crypto_error *why) {
    int32_t error;
    struct abi_config *config = abi_config_get(handle, &error);
    if (!config) {
        snprintf(why->text, sizeof why->text, "not a configuration, or one that was freed");
        return error;
    }
    pthread_mutex_lock(&config->lock);
    error = WEFT_OK;
    if (config->core.role != role) {
        snprintf(why->text, sizeof why->text, "the configuration was made for a %s",
                 role == CRYPTO_CLIENT ? "server" : "client");
        error = WEFT_E_TLS;
    } else if (!config->frozen) {
        error = config_complete(config, why);
    }
    if (error)
        return abi_config_end(config, abi_config_fail(config, error, "%s", why->text));
    pthread_mutex_unlock(&config->lock);
    *out = config;
    return WEFT_OK;
}
