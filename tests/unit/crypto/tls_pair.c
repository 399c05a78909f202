/* tls_pair.c - see tls_pair.h. */
#include "tls_pair.h"

#include <stdio.h>
#include <string.h>

static char cert_text[4096], key_text[4096];
const char *pair_cert = cert_text, *pair_key = key_text;

static bool on_send(void *user, enum crypto_level level, const uint8_t *data, size_t len) {
    struct side *side = user;
    if (side->fail_send)
        return false;
    ck_assert_uint_ne(level, CRYPTO_EARLY);
    ck_assert_uint_le(side->out_len[level] + len, PAIR_OUT);
    memcpy(side->out[level] + side->out_len[level], data, len);
    side->out_len[level] += len;
    return true;
}

static bool on_secrets(void *user, enum crypto_level level, const struct crypto_secret *read,
                       const struct crypto_secret *write) {
    struct side *side = user;
    if (side->fail_secrets)
        return false;
    if (level == CRYPTO_APPLICATION && side->params_count == 0)
        side->params_before_app = false;
    if (read->len)
        side->read[level] = *read;
    if (write->len)
        side->write[level] = *write;
    return true;
}

static bool on_params(void *user, const uint8_t *data, size_t len) {
    struct side *side = user;
    ck_assert_uint_le(len, sizeof side->params);
    memcpy(side->params, data, len);
    side->params_len = len;
    side->params_count++;
    return !side->refuse_params;
}

static void on_session(void *user, const uint8_t *data, size_t len) {
    struct side *side = user;
    ck_assert_uint_le(len, sizeof side->session);
    memcpy(side->session, data, len);
    side->session_len = len;
    side->sessions++;
}

static void on_alert(void *user, uint8_t alert, const char *text) {
    struct side *side = user;
    side->alerts++;
    side->alert = alert;
    snprintf(side->text, sizeof side->text, "%s", text);
}

const struct crypto_tls_callbacks side_callbacks = {on_send, on_secrets, on_params, on_session, on_alert};

void pair_make_cert(const char *const *names, size_t count, char *cert, char *key) {
    struct crypto_error error;
    ck_assert_msg(crypto_selfsigned(names, count, 365, cert, 4096, key, 4096, &error), "%s", error.text);
}

static void make_default_cert(void) {
    static const char *const names[] = {"localhost", "127.0.0.1", "::1"};
    if (!cert_text[0])
        pair_make_cert(names, 3, cert_text, key_text);
}

void pair_alpn(struct crypto_tls_config *config, const char *list) {
    uint8_t wire[256];
    size_t len = 0;
    for (const char *at = list; *at;) {
        size_t part = strcspn(at, ",");
        wire[len++] = (uint8_t)part;
        memcpy(wire + len, at, part);
        len += part;
        at += part + (at[part] == ',');
    }
    ck_assert(crypto_tls_config_alpn(config, wire, len, NULL));
}

struct crypto_tls_config *pair_server_config(void) {
    make_default_cert();
    struct crypto_error error;
    struct crypto_tls_config *config = crypto_tls_config_new(CRYPTO_SERVER, &error);
    ck_assert_msg(config != NULL, "%s", error.text);
    ck_assert_msg(crypto_tls_config_certificate(config, CRYPTO_PEM, (const uint8_t *)cert_text, strlen(cert_text),
                                                (const uint8_t *)key_text, strlen(key_text), &error),
                  "%s", error.text);
    pair_alpn(config, "h3");
    return config;
}

struct crypto_tls_config *pair_client_config(void) {
    make_default_cert();
    struct crypto_error error;
    unsigned count;
    struct crypto_tls_config *config = crypto_tls_config_new(CRYPTO_CLIENT, &error);
    ck_assert_msg(config != NULL, "%s", error.text);
    ck_assert_msg(
        crypto_tls_config_trust(config, CRYPTO_PEM, (const uint8_t *)cert_text, strlen(cert_text), &count, &error),
        "%s", error.text);
    ck_assert_uint_eq(count, 1);
    pair_alpn(config, "h3");
    return config;
}

static void side_open(struct side *side, const struct crypto_tls_open *open) {
    struct crypto_error error;
    memset(side, 0, sizeof *side);
    side->params_before_app = true;
    base_mem_init(&side->mem, 0);
    side->tls = crypto_tls_new(&side->mem, open, &error);
    ck_assert_msg(side->tls != NULL, "%s", error.text);
}

void pair_open(struct pair *pair) {
    const char *mine = pair->client_params ? pair->client_params : "client parameters";
    const char *theirs = pair->server_params ? pair->server_params : "server parameters";
    struct crypto_tls_open client = {.role = CRYPTO_CLIENT,
                                     .config = pair->client_config,
                                     .callbacks = &side_callbacks,
                                     .user = &pair->client,
                                     .server_name = pair->server_name ? pair->server_name : "localhost",
                                     .params = (const uint8_t *)mine,
                                     .params_len = strlen(mine),
                                     .session = pair->session,
                                     .session_len = pair->session_len,
                                     .early_data = pair->early_data};
    struct crypto_tls_open server = {
        .role = CRYPTO_SERVER, .config = pair->server_config, .callbacks = &side_callbacks, .user = &pair->server};
    side_open(&pair->client, &client);
    side_open(&pair->server, &server);
    if (*theirs)
        ck_assert(crypto_tls_set_params(pair->server.tls, (const uint8_t *)theirs, strlen(theirs)));
    if (pair->early_context)
        ck_assert(crypto_tls_set_early_context(pair->server.tls, pair->early_context, strlen(pair->early_context)));
    crypto_tls_start(pair->client.tls);
}

bool pair_carry(struct pair *pair, struct side *from, struct side *to) {
    bool moved = false;
    for (int level = 0; level < CRYPTO_LEVELS; level++) {
        while (from->given[level] < from->out_len[level]) {
            size_t left = from->out_len[level] - from->given[level];
            size_t part = pair->chunk && pair->chunk < left ? pair->chunk : left;
            const uint8_t *data = from->out[level] + from->given[level];
            from->given[level] += part;
            if (crypto_tls_input(to->tls, (enum crypto_level)level, data, part) != CRYPTO_OK)
                return false;
            moved = true;
        }
    }
    return moved;
}

void pair_pump(struct pair *pair) {
    bool moved;
    do {
        moved = pair_carry(pair, &pair->client, &pair->server);
        moved = pair_carry(pair, &pair->server, &pair->client) || moved;
    } while (moved);
}

void pair_run(struct pair *pair) {
    pair_open(pair);
    pair_pump(pair);
}

void pair_close(struct pair *pair) {
    crypto_tls_free(pair->client.tls);
    crypto_tls_free(pair->server.tls);
    ck_assert_uint_eq(pair->client.mem.used, 0);
    ck_assert_uint_eq(pair->server.mem.used, 0);
}

static void check_same(const struct crypto_secret *a, const struct crypto_secret *b) {
    ck_assert_uint_gt(a->len, 0);
    ck_assert_uint_eq(a->len, b->len);
    ck_assert_int_eq((int)a->aead, (int)b->aead);
    ck_assert_mem_eq(a->bytes, b->bytes, a->len);
}

void pair_check_complete(const struct pair *pair) {
    const struct side *client = &pair->client, *server = &pair->server;
    ck_assert_msg(client->alerts == 0, "client alert %u: %s", client->alert, client->text);
    ck_assert_msg(server->alerts == 0, "server alert %u: %s", server->alert, server->text);
    ck_assert(crypto_tls_complete(client->tls));
    ck_assert(crypto_tls_complete(server->tls));
    ck_assert(client->params_before_app && server->params_before_app);
    for (int level = CRYPTO_HANDSHAKE; level <= CRYPTO_APPLICATION; level++) {
        check_same(&client->read[level], &server->write[level]);
        check_same(&client->write[level], &server->read[level]);
    }
}
