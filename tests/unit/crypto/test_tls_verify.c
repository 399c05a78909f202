/* Who the peer is: chains, names, addresses, pins, the application's word, client certificates, choice by server name.
 */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "certs.h"
#include "tls_pair.h"

static struct pair pair;
static struct crypto_error error;

static const uint8_t *bytes(const char *text) { return (const uint8_t *)text; }

static void certificate(struct crypto_tls_config *config, const char *cert, const char *key) {
    ck_assert_msg(
        crypto_tls_config_certificate(config, CRYPTO_PEM, bytes(cert), strlen(cert), bytes(key), strlen(key), &error),
        "%s", error.text);
}

static void trust(struct crypto_tls_config *config, const char *roots) {
    unsigned count;
    ck_assert_msg(crypto_tls_config_trust(config, CRYPTO_PEM, bytes(roots), strlen(roots), &count, &error), "%s",
                  error.text);
}

static void begin(void) {
    ck_assert(crypto_init());
    memset(&pair, 0, sizeof pair);
    pair.client_config = crypto_tls_config_new(CRYPTO_CLIENT, &error);
    pair.server_config = crypto_tls_config_new(CRYPTO_SERVER, &error);
    ck_assert(pair.client_config && pair.server_config);
    pair_alpn(pair.client_config, "h3");
    pair_alpn(pair.server_config, "h3");
    pair.server_name = "a.example";
}

static void end(void) {
    crypto_tls_config_unref(pair.client_config);
    crypto_tls_config_unref(pair.server_config);
    crypto_cleanup();
}

/* The client ends the handshake with `alert`, or both complete when it is 0. */
static void expect(uint8_t alert) {
    pair_run(&pair);
    if (!alert) {
        pair_check_complete(&pair);
    } else {
        ck_assert_uint_eq(pair.client.alerts, 1);
        ck_assert_msg(pair.client.alert == alert, "alert %u, not %u: %s", pair.client.alert, alert, pair.client.text);
        ck_assert(!crypto_tls_complete(pair.client.tls) && !crypto_tls_complete(pair.server.tls));
        ck_assert_uint_eq(pair.client.read[CRYPTO_APPLICATION].len, 0);
    }
    pair_close(&pair);
}

static void expect_named(const char *name, uint8_t alert) {
    pair.server_name = name;
    expect(alert);
}

START_TEST(chain)
{
    certificate(pair.server_config, cert_leaf, key_leaf);
    trust(pair.client_config, cert_root);
    expect(0);
}
END_TEST

START_TEST(names)
{
    certificate(pair.server_config, cert_leaf, key_leaf);
    trust(pair.client_config, cert_root);
    expect_named("a.example", 0);
    expect_named("A.Example", 0);
    expect_named("a.example.", 0);
    expect_named("x.w.example", 0);
    expect_named("192.0.2.1", 0);
    expect_named("b.example", 42);
    expect_named("example", 42);
    expect_named("leaf", 42); /* the common name does not count */
    expect_named("w.example", 42);
    expect_named("x.y.w.example", 42);
    expect_named("xa.example", 42);
    expect_named("192.0.2.2", 42);
    expect_named("::1", 42);
    expect_named("::ffff:192.0.2.1", 42);
}
END_TEST

START_TEST(addresses)
{
    static const char *const literals[] = {"127.0.0.1", "::1", "0:0:0:0:0:0:0:1"};
    crypto_tls_config_unref(pair.client_config);
    crypto_tls_config_unref(pair.server_config);
    pair.client_config = pair_client_config();
    pair.server_config = pair_server_config();
    for (size_t i = 0; i < 3; i++) {
        pair.server_name = literals[i];
        pair_run(&pair);
        pair_check_complete(&pair);
        ck_assert_ptr_null(crypto_tls_server_name(pair.server.tls)); /* literals are not sent */
        pair_close(&pair);
    }
    expect_named("127.0.0.2", 42);
    expect_named("::2", 42);
    expect_named("localhost.localdomain", 42);
}
END_TEST

START_TEST(unknown_authority)
{
    certificate(pair.server_config, cert_leaf, key_leaf);
    expect(48);
    trust(pair.client_config, pair_cert[0] ? pair_cert : cert_rogue_root);
    expect(48);
}
END_TEST

START_TEST(authority_of_the_same_name)
{
    certificate(pair.server_config, cert_leaf, key_leaf);
    trust(pair.client_config, cert_rogue_root);
    pair_run(&pair);
    ck_assert_uint_eq(pair.client.alerts, 1);
    ck_assert(!crypto_tls_complete(pair.client.tls));
    pair_close(&pair);
}
END_TEST

START_TEST(intermediate_missing)
{
    certificate(pair.server_config, cert_leaf_alone, key_leaf);
    trust(pair.client_config, cert_root);
    expect(48);
}
END_TEST

START_TEST(expired)
{
    certificate(pair.server_config, cert_expired, key_expired);
    trust(pair.client_config, cert_root);
    expect(45);
}
END_TEST

START_TEST(made_for_clients)
{
    certificate(pair.server_config, cert_client, key_client);
    trust(pair.client_config, cert_root);
    expect_named("client.example", 43);
}
END_TEST

START_TEST(not_verifying)
{
    certificate(pair.server_config, cert_expired, key_expired);
    crypto_tls_config_verify(pair.client_config, false);
    expect_named("whoever.example", 0);
    size_t len;
    pair_run(&pair);
    ck_assert_ptr_nonnull(crypto_tls_peer_certificate(pair.client.tls, &len)); /* known all the same */
    ck_assert_uint_gt(len, 100);
    pair_close(&pair);
}
END_TEST

/* ---- pins
 * ------------------------------------------------------------------------------------------------------------- */

static void pin(struct crypto_tls_config *config, const char *cert) {
    uint8_t hash[32];
    ck_assert(crypto_certificate_sha256(CRYPTO_PEM, bytes(cert), strlen(cert), hash));
    ck_assert(crypto_tls_config_pin(config, hash));
}

START_TEST(pinned)
{
    certificate(pair.server_config, cert_expired, key_expired); /* no root, no date, no name */
    pin(pair.client_config, cert_leaf);
    expect_named("whoever.example", 42);
    pin(pair.client_config, cert_expired); /* one of several is enough */
    expect_named("whoever.example", 0);
}
END_TEST

START_TEST(pin_beats_a_good_chain)
{
    certificate(pair.server_config, cert_leaf, key_leaf);
    trust(pair.client_config, cert_root);
    pin(pair.client_config, cert_other);
    expect(42);
}
END_TEST

/* ---- the application's word
 * ----------------------------------------------------------------------------------------------- */

static struct {
    unsigned calls;
    size_t count;
    bool ok;
    int answer;
    void *session_user;
} asked;

static int on_verify(void *user, void *session_user, const uint8_t *const *list, const size_t *lens, size_t count,
                     bool ok) {
    ck_assert_ptr_eq(user, &asked);
    asked.calls++;
    asked.count = count;
    asked.ok = ok;
    asked.session_user = session_user;
    for (size_t i = 0; i < count; i++)
        ck_assert(lens[i] > 100 && list[i][0] == 0x30);
    return asked.answer;
}

static void ask(int answer) {
    memset(&asked, 0, sizeof asked);
    asked.answer = answer;
    crypto_tls_config_verify_cb(pair.client_config, on_verify, &asked);
}

START_TEST(application_decides)
{
    certificate(pair.server_config, cert_leaf, key_leaf);
    trust(pair.client_config, cert_root);
    ask(0);
    expect(0);
    ck_assert(asked.calls == 1 && asked.ok && asked.count == 2);
    ck_assert_ptr_eq(asked.session_user, &pair.client);
    ask(44);
    expect(44);
    ck_assert(asked.calls == 1 && asked.ok);
    ask(0);
    expect_named("b.example", 0); /* a wrong name is told and may be overruled */
    ck_assert(asked.calls == 1 && !asked.ok);
}
END_TEST

START_TEST(application_overrules)
{
    certificate(pair.server_config, cert_leaf, key_leaf);
    ask(0);
    expect(0);
    ck_assert(asked.calls == 1 && !asked.ok && asked.count == 2);
    ask(42);
    expect(42);
    ck_assert(asked.calls == 1 && !asked.ok);
}
END_TEST

START_TEST(application_without_verification)
{
    certificate(pair.server_config, cert_expired, key_expired);
    crypto_tls_config_verify(pair.client_config, false);
    ask(0);
    expect(0);
    ck_assert(asked.calls == 1 && !asked.ok);
    ask(42);
    expect(42);
}
END_TEST

/* The intermediate of a chain that was accepted against all evidence must not vouch for a leaf later. */
START_TEST(accepting_teaches_nothing)
{
    certificate(pair.server_config, cert_leaf, key_leaf);
    ask(0);
    expect(0);
    crypto_tls_config_verify_cb(pair.client_config, NULL, NULL);
    crypto_tls_config_unref(pair.server_config);
    pair.server_config = crypto_tls_config_new(CRYPTO_SERVER, &error);
    pair_alpn(pair.server_config, "h3");
    certificate(pair.server_config, cert_leaf_alone, key_leaf);
    expect(48);
}
END_TEST

/* ---- client certificates
 * --------------------------------------------------------------------------------------------------- */

static void want_client(void) {
    certificate(pair.server_config, cert_leaf, key_leaf);
    trust(pair.client_config, cert_root);
    crypto_tls_config_verify(pair.server_config, true);
}

static void expect_server(uint8_t alert) {
    pair_run(&pair);
    ck_assert_uint_eq(pair.server.alerts, 1);
    ck_assert_msg(pair.server.alert == alert, "alert %u, not %u: %s", pair.server.alert, alert, pair.server.text);
    ck_assert(!crypto_tls_complete(pair.server.tls));
    pair_close(&pair);
}

START_TEST(client_certificate)
{
    want_client();
    trust(pair.server_config, cert_root);
    certificate(pair.client_config, cert_client, key_client);
    pair_run(&pair);
    pair_check_complete(&pair);
    size_t len;
    ck_assert_ptr_nonnull(crypto_tls_peer_certificate(pair.server.tls, &len));
    pair_close(&pair);
}
END_TEST

START_TEST(client_certificate_missing)
{
    want_client();
    trust(pair.server_config, cert_root);
    expect_server(116);
}
END_TEST

START_TEST(client_certificate_unknown)
{
    want_client();
    certificate(pair.client_config, cert_client, key_client);
    expect_server(48);
}
END_TEST

START_TEST(client_certificate_of_a_server)
{
    want_client();
    trust(pair.server_config, cert_root);
    certificate(pair.client_config, cert_leaf, key_leaf);
    expect_server(43);
}
END_TEST

START_TEST(client_certificate_pinned)
{
    want_client();
    pin(pair.server_config, cert_client);
    certificate(pair.client_config, cert_client, key_client);
    expect(0);
}
END_TEST

/* A client that shows somebody else's certificate cannot sign for it, pinned or not. */
START_TEST(proof_is_required_of_pinned_peers)
{
    want_client();
    pin(pair.server_config, cert_client);
    certificate(pair.client_config, cert_client, key_client);
    pair_open(&pair);
    pair_carry(&pair, &pair.client, &pair.server);
    pair_carry(&pair, &pair.server, &pair.client);
    uint8_t *out = pair.client.out[CRYPTO_HANDSHAKE];
    size_t certificate_len = 4 + ((size_t)out[1] << 16 | (size_t)out[2] << 8 | out[3]);
    size_t verify_len = 4 + ((size_t)out[certificate_len + 2] << 8 | out[certificate_len + 3]);
    ck_assert_uint_eq(out[certificate_len], 15);
    /* CertificateVerify left out */
    memmove(out + certificate_len, out + certificate_len + verify_len,
            pair.client.out_len[CRYPTO_HANDSHAKE] - certificate_len - verify_len);
    pair.client.out_len[CRYPTO_HANDSHAKE] -= verify_len;
    pair_carry(&pair, &pair.client, &pair.server);
    ck_assert_uint_eq(pair.server.alerts, 1);
    ck_assert_uint_eq(pair.server.alert, 10); /* missed as such, not because the transcript differs */
    ck_assert(!crypto_tls_complete(pair.server.tls));
    pair_close(&pair);
}
END_TEST

/* ---- several certificates
 * --------------------------------------------------------------------------------------------------- */

START_TEST(choice_by_server_name)
{
    certificate(pair.server_config, cert_leaf, key_leaf);
    certificate(pair.server_config, cert_other, key_other);
    trust(pair.client_config, cert_root);
    expect_named("a.example", 0);
    expect_named("b.example", 0);
    expect_named("x.w.example", 0);
    expect_named("c.example", 42); /* the first certificate is shown */
}
END_TEST

START_TEST(trust_reaches_every_certificate)
{
    certificate(pair.server_config, cert_leaf, key_leaf);
    trust(pair.server_config, cert_root); /* between the two */
    certificate(pair.server_config, cert_other, key_other);
    trust(pair.client_config, cert_root);
    crypto_tls_config_verify(pair.server_config, true);
    certificate(pair.client_config, cert_client, key_client);
    expect_named("a.example", 0);
    expect_named("b.example", 0);
}
END_TEST

START_TEST(bad_certificates)
{
    struct crypto_tls_config *config = pair.server_config;
    ck_assert(!crypto_tls_config_certificate(config, CRYPTO_PEM, bytes(cert_leaf), strlen(cert_leaf), bytes(key_other),
                                             strlen(key_other), &error));
    ck_assert_ptr_nonnull(strstr(error.text, "belong"));
    ck_assert(
        !crypto_tls_config_certificate(config, CRYPTO_PEM, bytes("x"), 1, bytes(key_other), strlen(key_other), &error));
    ck_assert(
        !crypto_tls_config_certificate(config, CRYPTO_PEM, bytes(cert_leaf), strlen(cert_leaf), bytes("x"), 1, &error));
    ck_assert(!crypto_tls_config_trust(config, CRYPTO_PEM, bytes("x"), 1, NULL, &error));
    ck_assert(!crypto_tls_config_trust(config, CRYPTO_DER, bytes("x"), 1, NULL, &error));
    certificate(config, cert_leaf, key_leaf); /* a refused one left nothing behind */
    trust(pair.client_config, cert_root);
    expect(0);
}
END_TEST

static size_t pem_to_der(const char *pem, uint8_t *der) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = 0;
    unsigned bits = 0, held = 0;
    const char *at = strchr(pem, '\n'), *stop = strstr(pem, "-----END");
    for (; at < stop; at++) {
        const char *digit = *at == '=' || *at == '\n' ? NULL : strchr(digits, *at);
        if (!digit)
            continue;
        held = held << 6 | (unsigned)(digit - digits);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            der[len++] = (uint8_t)(held >> bits);
        }
    }
    return len;
}

START_TEST(der)
{
    uint8_t chain_der[4096], key_der[1024], root_der[2048];
    size_t len = pem_to_der(cert_leaf, chain_der);
    len += pem_to_der(strstr(cert_leaf + 10, "-----BEGIN"), chain_der + len);
    size_t key_len = pem_to_der(key_leaf, key_der), root_len = pem_to_der(cert_root, root_der);
    ck_assert_msg(
        crypto_tls_config_certificate(pair.server_config, CRYPTO_DER, chain_der, len, key_der, key_len, &error), "%s",
        error.text);
    unsigned count;
    ck_assert_msg(crypto_tls_config_trust(pair.client_config, CRYPTO_DER, root_der, root_len, &count, &error), "%s",
                  error.text);
    ck_assert_uint_eq(count, 1);
    expect(0);
}
END_TEST

START_TEST(bundle)
{
    char text[16384];
    strcpy(text, "# a comment\n");
    strcat(text, cert_rogue_root);
    strcat(text, "-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n");
    strcat(text, key_leaf);
    strcat(text, cert_root);
    unsigned count;
    ck_assert(crypto_tls_config_trust(pair.client_config, CRYPTO_PEM, bytes(text), strlen(text), &count, &error));
    ck_assert_uint_eq(count, 2);
    certificate(pair.server_config, cert_leaf, key_leaf);
    expect(0);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("tls_verify");
    TCase *tests = tcase_create("tls_verify");
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_test(tests, chain);
    tcase_add_test(tests, names);
    tcase_add_test(tests, addresses);
    tcase_add_test(tests, unknown_authority);
    tcase_add_test(tests, authority_of_the_same_name);
    tcase_add_test(tests, intermediate_missing);
    tcase_add_test(tests, expired);
    tcase_add_test(tests, made_for_clients);
    tcase_add_test(tests, not_verifying);
    tcase_add_test(tests, pinned);
    tcase_add_test(tests, pin_beats_a_good_chain);
    tcase_add_test(tests, application_decides);
    tcase_add_test(tests, application_overrules);
    tcase_add_test(tests, application_without_verification);
    tcase_add_test(tests, accepting_teaches_nothing);
    tcase_add_test(tests, client_certificate);
    tcase_add_test(tests, client_certificate_missing);
    tcase_add_test(tests, client_certificate_unknown);
    tcase_add_test(tests, client_certificate_of_a_server);
    tcase_add_test(tests, client_certificate_pinned);
    tcase_add_test(tests, proof_is_required_of_pinned_peers);
    tcase_add_test(tests, choice_by_server_name);
    tcase_add_test(tests, trust_reaches_every_certificate);
    tcase_add_test(tests, bad_certificates);
    tcase_add_test(tests, der);
    tcase_add_test(tests, bundle);
    suite_add_tcase(suite, tests);
    return suite;
}
