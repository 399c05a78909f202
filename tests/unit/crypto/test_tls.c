/* Handshakes in memory: groups, suites, HelloRetryRequest, protocols, fragments, wrong input, failures of memory. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls_pair.h"

static struct pair pair;
static struct crypto_error error;

/* The same randomness, and so the same lengths of signatures, each time. */
static void same_again(void) {
    static const uint8_t seed[32] = {7};
    crypto_deterministic(seed);
}

static void begin(void) {
    ck_assert(crypto_init());
    same_again();
    memset(&pair, 0, sizeof pair);
    pair.client_config = pair_client_config();
    pair.server_config = pair_server_config();
}

static void end(void) {
    crypto_deterministic(NULL);
    crypto_tls_config_unref(pair.client_config);
    crypto_tls_config_unref(pair.server_config);
    crypto_cleanup();
}

static void groups(struct crypto_tls_config *config, const char *list) {
    ck_assert_msg(crypto_tls_config_groups(config, list, &error), "%s", error.text);
}

static void ciphers(struct crypto_tls_config *config, const char *list) {
    ck_assert_msg(crypto_tls_config_ciphers(config, list, &error), "%s", error.text);
}

START_TEST(ordinary)
{
    pair_run(&pair);
    pair_check_complete(&pair);
    size_t len;
    ck_assert_str_eq(crypto_tls_cipher_name(pair.client.tls), "TLS_AES_128_GCM_SHA256");
    ck_assert_str_eq(crypto_tls_cipher_name(pair.server.tls), "TLS_AES_128_GCM_SHA256");
    ck_assert_str_eq(crypto_tls_group_name(pair.client.tls), "X25519MLKEM768");
    ck_assert_str_eq(crypto_tls_group_name(pair.server.tls), "X25519MLKEM768");
    ck_assert_str_eq(crypto_tls_server_name(pair.client.tls), "localhost");
    ck_assert_str_eq(crypto_tls_server_name(pair.server.tls), "localhost");
    ck_assert_mem_eq(crypto_tls_alpn(pair.client.tls, &len), "h3", 2);
    ck_assert_uint_eq(len, 2);
    ck_assert_mem_eq(crypto_tls_alpn(pair.server.tls, &len), "h3", 2);
    ck_assert_uint_eq(len, 2);
    ck_assert_uint_eq(pair.client.params_count, 1);
    ck_assert_uint_eq(pair.server.params_count, 1);
    ck_assert_mem_eq(pair.client.params, "server parameters", 17);
    ck_assert_mem_eq(pair.server.params, "client parameters", 17);
    ck_assert(!crypto_tls_resumed(pair.client.tls) && !crypto_tls_resumed(pair.server.tls));
    ck_assert_int_eq((int)crypto_tls_early(pair.client.tls), CRYPTO_EARLY_NONE);
    uint8_t hash[32], leaf[32];
    const uint8_t *der = crypto_tls_peer_certificate(pair.client.tls, &len);
    ck_assert(crypto_certificate_sha256(CRYPTO_DER, der, len, hash));
    ck_assert(crypto_certificate_sha256(CRYPTO_PEM, (const uint8_t *)pair_cert, strlen(pair_cert), leaf));
    ck_assert_mem_eq(hash, leaf, 32);
    ck_assert_ptr_null(crypto_tls_peer_certificate(pair.server.tls, &len));
    ck_assert_uint_eq(pair.server.out_len[CRYPTO_APPLICATION], 0); /* tickets only when asked for */
    pair_close(&pair);
}
END_TEST

START_TEST(every_group)
{
    static const char *const names[] = {"X25519", "P-256", "P-384", "P-521", "X25519MLKEM768"};
    groups(pair.client_config, names[_i]);
    groups(pair.server_config, names[_i]);
    pair_run(&pair);
    pair_check_complete(&pair);
    ck_assert_str_eq(crypto_tls_group_name(pair.client.tls), names[_i]);
    ck_assert_str_eq(crypto_tls_group_name(pair.server.tls), names[_i]);
    pair_close(&pair);
}
END_TEST

START_TEST(every_suite)
{
    static const char *const names[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                        "TLS_CHACHA20_POLY1305_SHA256"};
    ciphers(_i % 2 ? pair.client_config : pair.server_config, names[_i]);
    pair_run(&pair);
    pair_check_complete(&pair);
    ck_assert_str_eq(crypto_tls_cipher_name(pair.client.tls), names[_i]);
    ck_assert_int_eq((int)pair.client.read[CRYPTO_APPLICATION].aead, _i);
    ck_assert_uint_eq(pair.client.read[CRYPTO_APPLICATION].len, _i == CRYPTO_AES_256_GCM ? 48 : 32);
    pair_close(&pair);
}
END_TEST

START_TEST(server_prefers_its_suite)
{
    ciphers(pair.server_config, "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256");
    pair_run(&pair);
    pair_check_complete(&pair);
    ck_assert_str_eq(crypto_tls_cipher_name(pair.client.tls), "TLS_CHACHA20_POLY1305_SHA256");
    pair_close(&pair);
}
END_TEST

START_TEST(no_suite_in_common)
{
    ciphers(pair.server_config, "TLS_CHACHA20_POLY1305_SHA256");
    ciphers(pair.client_config, "TLS_AES_128_GCM_SHA256");
    pair_run(&pair);
    ck_assert_uint_eq(pair.server.alerts, 1);
    ck_assert_uint_eq(pair.server.alert, 40);
    pair_close(&pair);
}
END_TEST

START_TEST(hello_retry_request)
{
    groups(pair.client_config, "X25519:P-384");
    groups(pair.server_config, "P-384");
    pair_run(&pair);
    pair_check_complete(&pair);
    ck_assert_str_eq(crypto_tls_group_name(pair.server.tls), "P-384");
    ck_assert_uint_eq(pair.server.params_count, 1);
    pair_close(&pair);
}
END_TEST

START_TEST(hybrid_first_needs_no_retry)
{
    groups(pair.client_config, "X25519MLKEM768:X25519");
    groups(pair.server_config, "X25519");
    pair_open(&pair);
    pair_carry(&pair, &pair.client, &pair.server);
    ck_assert_uint_gt(pair.server.out_len[CRYPTO_HANDSHAKE], 0); /* a whole flight at once */
    pair_pump(&pair);
    pair_check_complete(&pair);
    pair_close(&pair);
}
END_TEST

START_TEST(no_group_in_common)
{
    groups(pair.client_config, "X25519");
    groups(pair.server_config, "P-384");
    pair_run(&pair);
    ck_assert_uint_eq(pair.server.alerts, 1);
    ck_assert_uint_eq(pair.server.alert, 40);
    pair_close(&pair);
}
END_TEST

/* ---- application protocols
 * ------------------------------------------------------------------------------------------ */

static void check_alpn(const char *client, const char *server, const char *want) {
    size_t len;
    pair_alpn(pair.client_config, client);
    pair_alpn(pair.server_config, server);
    pair_run(&pair);
    if (want) {
        pair_check_complete(&pair);
        const uint8_t *got = crypto_tls_alpn(pair.client.tls, &len);
        ck_assert_uint_eq(len, strlen(want));
        ck_assert_mem_eq(got, want, len);
        got = crypto_tls_alpn(pair.server.tls, &len);
        ck_assert_uint_eq(len, strlen(want));
        ck_assert_mem_eq(got, want, len);
    } else {
        ck_assert_uint_eq(pair.client.alerts + pair.server.alerts, 1);
        ck_assert_uint_eq(pair.client.alerts ? pair.client.alert : pair.server.alert, 120);
        ck_assert(!crypto_tls_complete(pair.client.tls) && !crypto_tls_complete(pair.server.tls));
    }
    pair_close(&pair);
}

START_TEST(alpn_choice)
{
    check_alpn("a,b,c", "c,b", "c"); /* the server's order */
    check_alpn("c,b", "a,b,c", "b");
    check_alpn("hq-interop", "h3,hq-interop", "hq-interop");
}
END_TEST

START_TEST(alpn_mismatch)
{
    check_alpn("h3", "hq", NULL);
    check_alpn("", "h3", NULL);
    check_alpn("h3", "", NULL); /* the client insists */
    check_alpn("h3x", "h3", NULL);
}
END_TEST

START_TEST(alpn_absent)
{
    size_t len;
    pair_alpn(pair.client_config, "");
    pair_alpn(pair.server_config, "");
    pair_run(&pair);
    pair_check_complete(&pair);
    crypto_tls_alpn(pair.client.tls, &len);
    ck_assert_uint_eq(len, 0);
    pair_close(&pair);
}
END_TEST

START_TEST(alpn_lists)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {{"\0", 1}, {"\3h3", 3}, {"\2h3\0", 4}, {"\3a,b", 4}, {"\2a\0", 3}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert(!crypto_tls_config_alpn(pair.client_config, (const uint8_t *)bad[i].bytes, bad[i].len, &error));
    uint8_t full[257];
    memset(full, 'x', sizeof full);
    full[0] = 255;
    ck_assert(crypto_tls_config_alpn(pair.client_config, full, 256, &error));
    ck_assert(crypto_tls_config_alpn(pair.server_config, full, 256, &error));
    ck_assert(!crypto_tls_config_alpn(pair.server_config, full, 257, &error));
    pair_run(&pair);
    pair_check_complete(&pair);
    pair_close(&pair);
}
END_TEST

/* ---- transport parameters
 * -------------------------------------------------------------------------------------------- */

START_TEST(params_refused_by_server)
{
    pair_open(&pair);
    pair.server.refuse_params = true;
    pair_pump(&pair);
    ck_assert_uint_eq(pair.server.params_count, 1);
    ck_assert_uint_eq(pair.server.alerts, 0); /* the connection already has its error */
    ck_assert_int_eq(crypto_tls_input(pair.server.tls, CRYPTO_INITIAL, (const uint8_t *)"x", 1), CRYPTO_FAILED);
    ck_assert_uint_eq(pair.server.read[CRYPTO_APPLICATION].len, 0);
    pair_close(&pair);
}
END_TEST

START_TEST(params_refused_by_client)
{
    pair_open(&pair);
    pair.client.refuse_params = true;
    pair_pump(&pair);
    ck_assert_uint_eq(pair.client.params_count, 1);
    ck_assert_uint_eq(pair.client.alerts, 0);
    ck_assert_uint_eq(pair.client.read[CRYPTO_APPLICATION].len, 0);
    ck_assert(!crypto_tls_complete(pair.client.tls));
    pair_close(&pair);
}
END_TEST

/* Finds the transport parameters extension (type 0x39) in what was sent and renames it. */
static void hide_params(struct side *side, enum crypto_level level, const char *params) {
    uint8_t *at = side->out[level];
    size_t len = strlen(params);
    for (size_t i = 4; i + len <= side->out_len[level]; i++)
        if (memcmp(at + i, params, len) == 0 && at[i - 4] == 0 && at[i - 3] == 0x39) {
            at[i - 4] = 0x7a;
            at[i - 3] = 0x7a;
            return;
        }
    ck_abort_msg("no transport parameters");
}

START_TEST(params_missing)
{
    pair_open(&pair);
    hide_params(&pair.client, CRYPTO_INITIAL, "client parameters");
    pair_pump(&pair);
    ck_assert_uint_eq(pair.server.alerts, 1);
    ck_assert_uint_eq(pair.server.alert, 109);
    ck_assert_uint_eq(pair.server.params_count, 0);
    pair_close(&pair);
}
END_TEST

START_TEST(server_without_params)
{
    pair.server_params = "";
    pair_run(&pair);
    ck_assert_uint_eq(pair.server.alerts, 1); /* a mistake of ours, not of the peer */
    ck_assert_uint_eq(pair.server.alert, 80);
    pair_close(&pair);
}
END_TEST

/* ---- input in pieces, wrong input
 * ------------------------------------------------------------------------------------- */

START_TEST(fragments_of_every_size)
{
    for (pair.chunk = 1; pair.chunk < 60; pair.chunk++) {
        pair_run(&pair);
        pair_check_complete(&pair);
        pair_close(&pair);
    }
}
END_TEST

START_TEST(cut_at_every_byte)
{
    /* One cut, at each place of the server's handshake flight. */
    size_t len = 1;
    for (size_t cut = 0; cut < len; cut++) {
        same_again();
        pair_open(&pair);
        pair_carry(&pair, &pair.client, &pair.server);
        struct side *server = &pair.server;
        len = server->out_len[CRYPTO_HANDSHAKE];
        ck_assert_int_eq(crypto_tls_input(pair.client.tls, CRYPTO_INITIAL, server->out[CRYPTO_INITIAL],
                                          server->out_len[CRYPTO_INITIAL]),
                         CRYPTO_OK);
        server->given[CRYPTO_INITIAL] = server->out_len[CRYPTO_INITIAL];
        ck_assert_int_eq(crypto_tls_input(pair.client.tls, CRYPTO_HANDSHAKE, server->out[CRYPTO_HANDSHAKE], cut),
                         CRYPTO_OK);
        ck_assert(!crypto_tls_complete(pair.client.tls));
        server->given[CRYPTO_HANDSHAKE] = cut;
        pair_pump(&pair);
        pair_check_complete(&pair);
        pair_close(&pair);
    }
}
END_TEST

START_TEST(wrong_level)
{
    for (int level = 0; level < CRYPTO_LEVELS; level++) {
        if (level == CRYPTO_INITIAL)
            continue;
        pair_open(&pair);
        ck_assert_int_eq(
            crypto_tls_input(pair.server.tls, (enum crypto_level)level, pair.client.out[0], pair.client.out_len[0]),
            CRYPTO_FAILED);
        ck_assert_uint_eq(pair.server.alerts, 1);
        ck_assert_uint_eq(pair.server.alert, 10);
        pair_close(&pair);
    }
}
END_TEST

START_TEST(bytes_left_at_a_finished_level)
{
    pair_open(&pair);
    uint8_t *out = pair.client.out[CRYPTO_INITIAL];
    size_t len = pair.client.out_len[CRYPTO_INITIAL];
    out[len] = 1; /* the beginning of one message more */
    ck_assert_int_eq(crypto_tls_input(pair.server.tls, CRYPTO_INITIAL, out, len + 1), CRYPTO_FAILED);
    ck_assert_uint_eq(pair.server.alert, 10);
    ck_assert_int_eq(crypto_tls_input(pair.server.tls, CRYPTO_INITIAL, out, len), CRYPTO_FAILED);
    ck_assert_uint_eq(pair.server.alerts, 1); /* once */
    pair_close(&pair);
}
END_TEST

/* A message that has no place at this moment, from a hand that is otherwise honest. */
static void check_refused(struct side *side, enum crypto_level level, const char *bytes, size_t len) {
    ck_assert_int_eq(crypto_tls_input(side->tls, level, (const uint8_t *)bytes, len), CRYPTO_FAILED);
    ck_assert_uint_eq(side->alerts, 1);
    ck_assert_uint_eq(side->alert, 10);
    ck_assert(!crypto_tls_complete(side->tls));
}

START_TEST(no_key_update)
{
    static const char update[] = {24, 0, 0, 1, 0};
    pair_run(&pair);
    check_refused(&pair.client, CRYPTO_APPLICATION, update, sizeof update);
    check_refused(&pair.server, CRYPTO_APPLICATION, update, sizeof update);
    pair_close(&pair);
}
END_TEST

START_TEST(no_late_messages)
{
    static const char request[] = {13, 0, 0, 3, 0, 0, 0}, ticket[] = {4, 0, 0, 0}, end_of_early_data[] = {5, 0, 0, 0};
    pair_run(&pair);
    check_refused(&pair.client, CRYPTO_APPLICATION, request, sizeof request);
    check_refused(&pair.server, CRYPTO_APPLICATION, ticket, sizeof ticket);
    pair_close(&pair);
    pair_open(&pair);
    pair_carry(&pair, &pair.client, &pair.server);
    check_refused(&pair.server, CRYPTO_HANDSHAKE, end_of_early_data, sizeof end_of_early_data);
    pair_close(&pair);
}
END_TEST

START_TEST(server_hello_to_a_server)
{
    pair_open(&pair);
    check_refused(&pair.server, CRYPTO_INITIAL, "\2\0\0\4abcd", 8);
    pair_close(&pair);
}
END_TEST

START_TEST(length_that_is_only_claimed)
{
    pair_open(&pair);
    uint64_t before = pair.server.mem.used;
    ck_assert_int_eq(crypto_tls_input(pair.server.tls, CRYPTO_INITIAL, (const uint8_t *)"\1\xff\xff\xff", 4),
                     CRYPTO_FAILED);
    ck_assert_uint_eq(pair.server.alerts, 1);
    ck_assert_uint_eq(pair.server.alert, 50);
    ck_assert(pair.server.mem.used == before);
    pair_close(&pair);
}
END_TEST

START_TEST(session_id_is_refused)
{
    /* A ClientHello of TLS over TCP: legacy_session_id of 32 bytes (RFC 9001 8.4). */
    pair_open(&pair);
    uint8_t hello[2048], *out = pair.client.out[CRYPTO_INITIAL];
    size_t len = pair.client.out_len[CRYPTO_INITIAL];
    memcpy(hello, out, 38);
    hello[38] = 32;
    memset(hello + 39, 7, 32);
    memcpy(hello + 71, out + 39, len - 39);
    size_t body = len + 32 - 4;
    hello[2] = (uint8_t)(body >> 8);
    hello[3] = (uint8_t)body;
    ck_assert_int_eq(crypto_tls_input(pair.server.tls, CRYPTO_INITIAL, hello, len + 32), CRYPTO_FAILED);
    ck_assert_uint_eq(pair.server.alert, 47);
    pair_close(&pair);
    for (size_t cut = 1; cut < 45; cut++) { /* also when it comes in pieces */
        pair_open(&pair);
        ck_assert_int_eq(crypto_tls_input(pair.server.tls, CRYPTO_INITIAL, hello, cut), CRYPTO_OK);
        ck_assert_int_eq(crypto_tls_input(pair.server.tls, CRYPTO_INITIAL, hello + cut, len + 32 - cut), CRYPTO_FAILED);
        ck_assert_uint_eq(pair.server.alert, 47);
        pair_close(&pair);
    }
}
END_TEST

START_TEST(old_versions)
{
    /* supported_versions without TLS 1.3: the 0304 of the only version turned into 0303. */
    pair_open(&pair);
    uint8_t *out = pair.client.out[CRYPTO_INITIAL];
    size_t len = pair.client.out_len[CRYPTO_INITIAL];
    bool found = false;
    for (size_t i = 0; i + 7 <= len && !found; i++)
        if (memcmp(out + i, "\x00\x2b\x00\x03\x02\x03\x04", 7) == 0) {
            out[i + 6] = 3;
            found = true;
        }
    ck_assert(found);
    pair_pump(&pair);
    ck_assert_uint_eq(pair.server.alerts, 1);
    ck_assert_uint_eq(pair.server.alert, 70);
    pair_close(&pair);
}
END_TEST

static void check_one_end(const struct side *side) {
    ck_assert_uint_le(side->alerts, 1);
    if (side->alerts)
        ck_assert_msg(side->text[0] != 0 && !crypto_tls_complete(side->tls), "alert %u", side->alert);
}

/* Every byte of each flight changed in turn: never more than one alert, never a crash, never two sides that agree on
 * a transcript that was tampered with. */
static void tamper(bool at_server, enum crypto_level level) {
    size_t len = 1;
    for (size_t at = 0; at < len; at++) {
        same_again();
        pair_open(&pair);
        if (!at_server)
            pair_carry(&pair, &pair.client, &pair.server);
        struct side *from = at_server ? &pair.client : &pair.server;
        len = from->out_len[level];
        ck_assert_uint_gt(len, 0);
        from->out[level][at] ^= (uint8_t)(1u << at % 8);
        pair_pump(&pair);
        check_one_end(&pair.client);
        check_one_end(&pair.server);
        ck_assert_msg(!crypto_tls_complete(pair.client.tls) || !crypto_tls_complete(pair.server.tls), "byte %zu", at);
        pair_close(&pair);
    }
}

START_TEST(tampered_client_hello)
{ tamper(true, CRYPTO_INITIAL); }
END_TEST
START_TEST(tampered_server_hello)
{ tamper(false, CRYPTO_INITIAL); }
END_TEST
START_TEST(tampered_server_flight)
{ tamper(false, CRYPTO_HANDSHAKE); }
END_TEST

START_TEST(garbage)
{
    srand((unsigned)_i + 1);
    for (int round = 0; round < 200; round++) {
        pair_open(&pair);
        uint8_t noise[600];
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (uint8_t)rand();
        if (_i % 2) { /* a frame of the right type and length around it */
            noise[0] = round % 2 ? 1 : 2;
            noise[1] = 0;
            noise[2] = (uint8_t)((sizeof noise - 4) >> 8);
            noise[3] = (uint8_t)(sizeof noise - 4);
            noise[38] = 0;
        }
        struct side *side = round % 2 ? &pair.server : &pair.client;
        crypto_tls_input(side->tls, CRYPTO_INITIAL, noise, sizeof noise);
        check_one_end(side);
        if (_i % 2)
            ck_assert_uint_eq(side->alerts, 1);
        pair_close(&pair);
    }
}
END_TEST

/* ---- failures of ours
 * -------------------------------------------------------------------------------------------------- */

START_TEST(callbacks_that_fail)
{
    for (int which = 0; which < 4; which++) {
        pair_open(&pair);
        struct side *side = which % 2 ? &pair.server : &pair.client;
        if (which < 2)
            side->fail_send = true;
        else
            side->fail_secrets = true;
        pair_pump(&pair);
        ck_assert_uint_eq(side->alerts, 1);
        ck_assert_uint_eq(side->alert, 80);
        pair_close(&pair);
    }
}
END_TEST

START_TEST(memory_runs_out)
{
    /* Every size of budget either suffices or fails cleanly. */
    for (uint64_t limit = 0; limit < 30000; limit += 120) {
        struct base_mem mem;
        base_mem_init(&mem, limit + 1);
        struct crypto_tls_open open = {.role = CRYPTO_CLIENT,
                                       .config = pair.client_config,
                                       .callbacks = &side_callbacks,
                                       .user = &pair.client,
                                       .server_name = "localhost",
                                       .params = (const uint8_t *)"p",
                                       .params_len = 1};
        memset(&pair.client, 0, sizeof pair.client);
        struct crypto_tls *tls = crypto_tls_new(&mem, &open, &error);
        if (tls)
            ck_assert(crypto_tls_start(tls) == CRYPTO_OK || pair.client.alerts == 1);
        crypto_tls_free(tls);
        ck_assert(mem.peak <= mem.limit);
        ck_assert(mem.used == 0);
    }
    pair_open(&pair);
    pair.client.mem.limit = pair.client.mem.used; /* no room for the server's certificate */
    pair_pump(&pair);
    ck_assert_uint_eq(pair.client.alerts, 1);
    ck_assert_uint_eq(pair.client.alert, 80);
    pair_close(&pair);
}
END_TEST

/* ---- exporter, key log, determinism
 * -------------------------------------------------------------------------------------- */

/* What the TLS library holds counts, at its most and at the end, and nothing is left. */
START_TEST(memory_is_counted)
{
    pair_open(&pair);
    uint64_t fresh = crypto_tls_memory(pair.server.tls);
    ck_assert_uint_gt(fresh, 2000);
    ck_assert_uint_ge(pair.server.mem.used, fresh);
    pair_pump(&pair);
    pair_check_complete(&pair);
    ck_assert_uint_gt(pair.server.mem.peak, fresh + 4000);
    ck_assert_uint_lt(pair.server.mem.peak, 48000);
    ck_assert_uint_ge(pair.server.mem.used, crypto_tls_memory(pair.server.tls));
    ck_assert_uint_gt(pair.client.mem.peak, 8000);
    pair_close(&pair);
}
END_TEST

/* Budgets of all sizes: the handshake fails, or it succeeds; the count is never beyond the budget. */
START_TEST(any_budget_is_kept)
{
    unsigned complete = 0;
    for (uint64_t budget = 3000; budget < 40000; budget += 250)
        for (int server = 0; server < 2; server++) {
            pair_open(&pair);
            struct side *side = server ? &pair.server : &pair.client;
            side->mem.peak = side->mem.used;
            side->mem.limit = side->mem.used + budget - 3000;
            pair_pump(&pair);
            complete += crypto_tls_complete(pair.client.tls) && crypto_tls_complete(pair.server.tls);
            ck_assert_uint_le(side->mem.peak, side->mem.limit);
            side->mem.limit = 0;
            pair_close(&pair);
        }
    ck_assert_uint_gt(complete, 20);
    ck_assert_uint_lt(complete, 2 * 148 - 20);
}
END_TEST

START_TEST(exporter)
{
    uint8_t a[40], b[40];
    pair_open(&pair);
    ck_assert(!crypto_tls_export(pair.client.tls, "EXPORTER-x", NULL, 0, a, sizeof a));
    pair_pump(&pair);
    ck_assert(crypto_tls_export(pair.client.tls, "EXPORTER-x", (const uint8_t *)"c", 1, a, sizeof a));
    ck_assert(crypto_tls_export(pair.server.tls, "EXPORTER-x", (const uint8_t *)"c", 1, b, sizeof b));
    ck_assert_mem_eq(a, b, sizeof a);
    ck_assert(crypto_tls_export(pair.server.tls, "EXPORTER-x", (const uint8_t *)"d", 1, b, sizeof b));
    ck_assert_mem_ne(a, b, sizeof a);
    ck_assert(crypto_tls_export(pair.client.tls, "EXPORTER-y", NULL, 0, a, sizeof a));
    ck_assert(crypto_tls_export(pair.server.tls, "EXPORTER-y", NULL, 0, b, sizeof b));
    ck_assert_mem_eq(a, b, sizeof a);
    pair_close(&pair);
}
END_TEST

static char log_lines[16][256];
static size_t log_count;

static void on_keylog(void *user, const char *line) {
    (void)user;
    ck_assert_uint_lt(log_count, 16);
    snprintf(log_lines[log_count++], sizeof log_lines[0], "%s", line);
}

static const char *logged(const char *label) {
    for (size_t i = 0; i < log_count; i++)
        if (strncmp(log_lines[i], label, strlen(label)) == 0 && log_lines[i][strlen(label)] == ' ')
            return log_lines[i] + strlen(label) + 1;
    ck_abort_msg("%s is not in the log", label);
}

static void check_logged(const char *label, const struct crypto_secret *secret, const uint8_t *random) {
    char want[256], *at = want;
    for (size_t i = 0; i < 32; i++)
        at += sprintf(at, "%02x", random[i]);
    *at++ = ' ';
    for (size_t i = 0; i < secret->len; i++)
        at += sprintf(at, "%02x", secret->bytes[i]);
    ck_assert_str_eq(logged(label), want);
}

START_TEST(key_log)
{
    log_count = 0;
    crypto_tls_config_keylog(_i ? pair.server_config : pair.client_config, on_keylog, NULL);
    ciphers(pair.server_config, _i ? "TLS_AES_256_GCM_SHA384" : "TLS_AES_128_GCM_SHA256");
    pair_run(&pair);
    pair_check_complete(&pair);
    const uint8_t *random = pair.client.out[CRYPTO_INITIAL] + 6;
    check_logged("CLIENT_HANDSHAKE_TRAFFIC_SECRET", &pair.client.write[CRYPTO_HANDSHAKE], random);
    check_logged("SERVER_HANDSHAKE_TRAFFIC_SECRET", &pair.client.read[CRYPTO_HANDSHAKE], random);
    check_logged("CLIENT_TRAFFIC_SECRET_0", &pair.client.write[CRYPTO_APPLICATION], random);
    check_logged("SERVER_TRAFFIC_SECRET_0", &pair.client.read[CRYPTO_APPLICATION], random);
    ck_assert_uint_gt(strlen(logged("EXPORTER_SECRET")), 65);
    pair_close(&pair);
}
END_TEST

START_TEST(deterministic)
{
    static uint8_t first[2][CRYPTO_LEVELS][PAIR_OUT];
    static size_t len[2][CRYPTO_LEVELS];
    uint8_t seed[32] = {42}, secret[32] = {1};
    ck_assert(crypto_tls_config_tickets(pair.server_config, secret, 3600, &error));
    for (int run = 0; run < 3; run++) {
        seed[1] = run == 2;
        crypto_deterministic(seed);
        pair_run(&pair);
        pair_check_complete(&pair);
        ck_assert_int_eq(crypto_tls_send_ticket(pair.server.tls), CRYPTO_OK);
        const struct side *sides[2] = {&pair.client, &pair.server};
        for (int s = 0; s < 2; s++)
            for (int level = 0; level < CRYPTO_LEVELS; level++) {
                if (run == 0) {
                    len[s][level] = sides[s]->out_len[level];
                    memcpy(first[s][level], sides[s]->out[level], len[s][level]);
                } else if (run == 1) {
                    ck_assert_uint_eq(sides[s]->out_len[level], len[s][level]);
                    ck_assert_mem_eq(sides[s]->out[level], first[s][level], len[s][level]);
                } else if (len[s][level]) {
                    ck_assert_mem_ne(sides[s]->out[level], first[s][level], len[s][level] - 2);
                }
            }
        pair_close(&pair);
    }
}
END_TEST

/* ---- configuration
 * ------------------------------------------------------------------------------------------------------- */

START_TEST(lists_are_checked)
{
    ck_assert(!crypto_tls_config_ciphers(pair.client_config, "TLS_AES_128_GCM_SHA256:NONSENSE", &error));
    ck_assert_ptr_nonnull(strstr(error.text, "NONSENSE"));
    ck_assert(!crypto_tls_config_ciphers(pair.client_config, "", &error));
    ck_assert(!crypto_tls_config_ciphers(pair.client_config, "TLS_AES_128_GCM_SHA256:TLS_AES_128_GCM_SHA256", &error));
    ck_assert(!crypto_tls_config_groups(pair.client_config, "X25519:P-257", &error));
    ck_assert_ptr_nonnull(strstr(error.text, "P-257"));
    ck_assert(!crypto_tls_config_groups(pair.client_config, "X25519:", NULL));
    ck_assert(!crypto_tls_config_groups(pair.client_config, "X25519:X25519", NULL));
    pair_run(&pair); /* as before */
    pair_check_complete(&pair);
    pair_close(&pair);
}
END_TEST

START_TEST(wrong_use)
{
    struct base_mem mem;
    base_mem_init(&mem, 0);
    struct crypto_tls_open open = {.role = CRYPTO_SERVER, .config = pair.client_config, .callbacks = &side_callbacks};
    ck_assert_ptr_null(crypto_tls_new(&mem, &open, &error));
    open.config = crypto_tls_config_new(CRYPTO_SERVER, &error);
    ck_assert_ptr_null(crypto_tls_new(&mem, &open, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "certificate"));
    crypto_tls_config_unref(crypto_tls_config_ref(open.config));
    crypto_tls_config_unref(open.config);
    char name[300];
    memset(name, 'a', sizeof name);
    name[299] = 0;
    open = (struct crypto_tls_open){
        .role = CRYPTO_CLIENT, .config = pair.client_config, .callbacks = &side_callbacks, .server_name = name};
    ck_assert_ptr_null(crypto_tls_new(&mem, &open, &error));
    ck_assert(mem.used == 0);
    crypto_tls_free(NULL);
    crypto_tls_config_unref(NULL);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("tls");
    TCase *tests = tcase_create("tls");
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_test(tests, ordinary);
    tcase_add_loop_test(tests, every_group, 0, 5);
    tcase_add_loop_test(tests, every_suite, 0, 3);
    tcase_add_test(tests, server_prefers_its_suite);
    tcase_add_test(tests, no_suite_in_common);
    tcase_add_test(tests, hello_retry_request);
    tcase_add_test(tests, hybrid_first_needs_no_retry);
    tcase_add_test(tests, no_group_in_common);
    tcase_add_test(tests, alpn_choice);
    tcase_add_test(tests, alpn_mismatch);
    tcase_add_test(tests, alpn_absent);
    tcase_add_test(tests, alpn_lists);
    tcase_add_test(tests, params_refused_by_server);
    tcase_add_test(tests, params_refused_by_client);
    tcase_add_test(tests, params_missing);
    tcase_add_test(tests, server_without_params);
    tcase_add_test(tests, fragments_of_every_size);
    tcase_add_test(tests, cut_at_every_byte);
    tcase_add_test(tests, wrong_level);
    tcase_add_test(tests, bytes_left_at_a_finished_level);
    tcase_add_test(tests, no_key_update);
    tcase_add_test(tests, no_late_messages);
    tcase_add_test(tests, server_hello_to_a_server);
    tcase_add_test(tests, length_that_is_only_claimed);
    tcase_add_test(tests, session_id_is_refused);
    tcase_add_test(tests, old_versions);
    tcase_add_test(tests, tampered_client_hello);
    tcase_add_test(tests, tampered_server_hello);
    tcase_add_test(tests, tampered_server_flight);
    tcase_add_loop_test(tests, garbage, 0, 4);
    tcase_add_test(tests, callbacks_that_fail);
    tcase_add_test(tests, memory_runs_out);
    tcase_add_test(tests, memory_is_counted);
    tcase_add_test(tests, any_budget_is_kept);
    tcase_add_test(tests, exporter);
    tcase_add_loop_test(tests, key_log, 0, 2);
    tcase_add_test(tests, deterministic);
    tcase_add_test(tests, lists_are_checked);
    tcase_add_test(tests, wrong_use);
    suite_add_tcase(suite, tests);
    return suite;
}
