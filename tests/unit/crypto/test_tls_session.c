/* Tickets, resumption and early data; what puts each of them aside. */
#include "unit.h"

#include <string.h>

#include "tls_pair.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/settings.h>

#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/hmac.h>
#include <wolfssl/wolfcrypt/sha256.h>

#define LIFETIME 7200u
#define START UINT64_C(1893456000)

static struct pair pair;
static struct crypto_error error;
static uint8_t session[8192];
static const uint8_t fleet_secret[32] = {5}, other_secret[32] = {6};

static struct crypto_tls_config *server_with(const uint8_t *secret) {
    struct crypto_tls_config *config = pair_server_config();
    ck_assert_msg(crypto_tls_config_tickets(config, secret, LIFETIME, &error), "%s", error.text);
    crypto_tls_config_early_data(config, true);
    return config;
}

static void begin(void) {
    static const uint8_t seed[32] = {9};
    ck_assert(crypto_init());
    crypto_deterministic(seed);
    memset(&pair, 0, sizeof pair);
    pair.client_config = pair_client_config();
    crypto_tls_config_early_data(pair.client_config, true);
    pair.server_config = server_with(fleet_secret);
    pair.early_context = "limits";
}

static void end(void) {
    crypto_deterministic(NULL);
    crypto_tls_config_unref(pair.client_config);
    crypto_tls_config_unref(pair.server_config);
    crypto_cleanup();
}

/* A first connection that ends with a session to come back with. */
static void obtain(void) {
    pair.session = NULL;
    pair.early_data = false;
    pair_run(&pair);
    pair_check_complete(&pair);
    ck_assert_int_eq(crypto_tls_send_ticket(pair.server.tls), CRYPTO_OK);
    pair_pump(&pair);
    ck_assert_msg(pair.client.alerts == 0, "%s", pair.client.text);
    ck_assert_uint_eq(pair.client.sessions, 1);
    memcpy(session, pair.client.session, pair.client.session_len);
    pair.session_len = pair.client.session_len;
    pair.session = session;
    pair.early_data = true;
    pair_close(&pair);
}

static void come_back(bool resumed, enum crypto_early client, enum crypto_early server) {
    pair_run(&pair);
    pair_check_complete(&pair);
    ck_assert_int_eq(crypto_tls_resumed(pair.client.tls), resumed);
    ck_assert_int_eq(crypto_tls_resumed(pair.server.tls), resumed);
    ck_assert_int_eq((int)crypto_tls_early(pair.client.tls), (int)client);
    ck_assert_int_eq((int)crypto_tls_early(pair.server.tls), (int)server);
    if (server == CRYPTO_EARLY_ACCEPTED) {
        ck_assert_uint_gt(pair.client.write[CRYPTO_EARLY].len, 0);
        ck_assert_uint_eq(pair.client.write[CRYPTO_EARLY].len, pair.server.read[CRYPTO_EARLY].len);
        ck_assert_mem_eq(pair.client.write[CRYPTO_EARLY].bytes, pair.server.read[CRYPTO_EARLY].bytes, 32);
        ck_assert_int_eq((int)pair.client.write[CRYPTO_EARLY].aead, (int)pair.server.read[CRYPTO_EARLY].aead);
    } else {
        ck_assert_uint_eq(pair.server.read[CRYPTO_EARLY].len, 0);
    }
    ck_assert_uint_eq(pair.client.read[CRYPTO_EARLY].len, 0);
    ck_assert_uint_eq(pair.server.write[CRYPTO_EARLY].len, 0);
    pair_close(&pair);
}

static void come_back_fully(void) { come_back(false, CRYPTO_EARLY_REJECTED, CRYPTO_EARLY_NONE); }

START_TEST(early_data)
{
    static const char *const suites[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                         "TLS_CHACHA20_POLY1305_SHA256"};
    ck_assert(crypto_tls_config_ciphers(pair.server_config, suites[_i], &error));
    obtain();
    size_t len;
    pair_open(&pair);
    ck_assert_int_eq((int)crypto_tls_early(pair.client.tls), CRYPTO_EARLY_PENDING);
    ck_assert_int_eq((int)pair.client.write[CRYPTO_EARLY].aead, _i);
    ck_assert_mem_eq(crypto_tls_alpn(pair.client.tls, &len), "h3", 2);
    ck_assert_uint_eq(len, 2);
    pair_close(&pair);
    come_back(true, CRYPTO_EARLY_ACCEPTED, CRYPTO_EARLY_ACCEPTED);
}
END_TEST

START_TEST(early_data_in_pieces)
{
    for (size_t chunk = 1; chunk < 40; chunk += 3) {
        pair.chunk = 0;
        obtain();
        pair.chunk = chunk;
        come_back(true, CRYPTO_EARLY_ACCEPTED, CRYPTO_EARLY_ACCEPTED);
    }
}
END_TEST

START_TEST(resumption_without_early_data)
{
    obtain();
    pair.early_data = false;
    come_back(true, CRYPTO_EARLY_NONE, CRYPTO_EARLY_NONE);
    obtain();
    crypto_tls_config_early_data(pair.client_config, false);
    come_back(true, CRYPTO_EARLY_NONE, CRYPTO_EARLY_NONE);
}
END_TEST

START_TEST(a_ticket_is_taken_once)
{
    obtain();
    come_back(true, CRYPTO_EARLY_ACCEPTED, CRYPTO_EARLY_ACCEPTED);
    come_back_fully();
}
END_TEST

static unsigned asked;
static bool first_for_the_fleet(void *user, const uint8_t id[16], uint32_t seconds) {
    static uint8_t last[16];
    ck_assert_uint_gt(seconds, 11); /* longer than the age of a ticket may be off */
    ck_assert(!asked || memcmp(last, id, 16) != 0);
    memcpy(last, id, 16);
    asked++;
    return *(const bool *)user;
}

/* Another server may have taken the ticket: then it is as if it was used up here. */
START_TEST(fleet_is_asked)
{
    bool answer = true;
    asked = 0;
    crypto_tls_config_replay(pair.server_config, first_for_the_fleet, &answer);
    obtain();
    come_back(true, CRYPTO_EARLY_ACCEPTED, CRYPTO_EARLY_ACCEPTED);
    ck_assert_uint_eq(asked, 1);
    come_back_fully(); /* this process knows it itself */
    ck_assert_uint_eq(asked, 1);
    obtain();
    answer = false;
    come_back_fully();
    ck_assert_uint_eq(asked, 2);
}
END_TEST

START_TEST(several_tickets)
{
    pair_run(&pair);
    for (unsigned i = 1; i <= 3; i++) {
        ck_assert_int_eq(crypto_tls_send_ticket(pair.server.tls), CRYPTO_OK);
        pair_pump(&pair);
        ck_assert_uint_eq(pair.client.sessions, i);
        ck_assert(i == 1 || pair.client.session_len != pair.session_len ||
                  memcmp(session, pair.client.session, pair.session_len) != 0);
        pair.session_len = pair.client.session_len;
        memcpy(session, pair.client.session, pair.session_len);
    }
    pair_close(&pair);
    pair.session = session;
    pair.early_data = true;
    come_back(true, CRYPTO_EARLY_ACCEPTED, CRYPTO_EARLY_ACCEPTED);
}
END_TEST

START_TEST(tickets_after_resumption)
{
    obtain();
    for (int i = 0; i < 4; i++) {
        pair_run(&pair);
        pair_check_complete(&pair);
        ck_assert_int_eq((int)crypto_tls_early(pair.client.tls), CRYPTO_EARLY_ACCEPTED);
        ck_assert_int_eq(crypto_tls_send_ticket(pair.server.tls), CRYPTO_OK);
        pair_pump(&pair);
        ck_assert_uint_eq(pair.client.sessions, 1);
        memcpy(session, pair.client.session, pair.client.session_len);
        pair.session_len = pair.client.session_len;
        pair_close(&pair);
    }
}
END_TEST

START_TEST(another_server_of_the_fleet)
{
    obtain();
    crypto_tls_config_unref(pair.server_config);
    pair.server_config = server_with(fleet_secret);
    come_back(true, CRYPTO_EARLY_ACCEPTED, CRYPTO_EARLY_ACCEPTED);
}
END_TEST

START_TEST(a_stranger)
{
    obtain();
    crypto_tls_config_unref(pair.server_config);
    pair.server_config = server_with(other_secret);
    come_back_fully();
}
END_TEST

START_TEST(server_turned_early_data_off)
{
    obtain();
    crypto_tls_config_early_data(pair.server_config, false);
    come_back(true, CRYPTO_EARLY_REJECTED, CRYPTO_EARLY_NONE);
}
END_TEST

START_TEST(limits_changed)
{
    obtain();
    pair.early_context = "other limits";
    come_back_fully();
}
END_TEST

START_TEST(protocol_changed)
{
    pair_alpn(pair.client_config, "h3,hq");
    obtain();
    pair_alpn(pair.server_config, "hq");
    come_back_fully();
}
END_TEST

START_TEST(protocol_no_longer_offered)
{
    pair_alpn(pair.server_config, "h3,hq");
    obtain();
    pair_alpn(pair.client_config, "hq");
    come_back(false, CRYPTO_EARLY_NONE, CRYPTO_EARLY_NONE);
}
END_TEST

START_TEST(hello_retry_request)
{
    obtain();
    ck_assert(crypto_tls_config_groups(pair.client_config, "X25519:P-384", &error));
    ck_assert(crypto_tls_config_groups(pair.server_config, "P-384", &error));
    come_back(true, CRYPTO_EARLY_REJECTED, CRYPTO_EARLY_NONE);
    obtain();
    pair_run(&pair);
    const struct side *server = &pair.server;
    ck_assert_uint_eq(server->out[CRYPTO_HANDSHAKE][0], 8);
    size_t len = 4 + ((size_t)server->out[CRYPTO_HANDSHAKE][2] << 8 | server->out[CRYPTO_HANDSHAKE][3]);
    for (size_t i = 0; i + 4 <= len; i++) /* nor does EncryptedExtensions say otherwise */
        ck_assert_mem_ne(server->out[CRYPTO_HANDSHAKE] + i, "\x00\x2a\x00\x00", 4);
    pair_close(&pair);
}
END_TEST

START_TEST(another_server_name)
{
    obtain();
    pair.server_name = "127.0.0.1";
    come_back(false, CRYPTO_EARLY_NONE, CRYPTO_EARLY_NONE);
}
END_TEST

START_TEST(made_without_judgement)
{
    /* A session that was made without verifying the server must not stand in for verification. */
    crypto_tls_config_verify(pair.client_config, false);
    obtain();
    crypto_tls_config_verify(pair.client_config, true);
    come_back(false, CRYPTO_EARLY_NONE, CRYPTO_EARLY_NONE);
}
END_TEST

START_TEST(rotation_and_age)
{
    crypto_deterministic_time(START + LIFETIME / 2);
    obtain();
    crypto_deterministic_time(START + LIFETIME + 60); /* keys have rotated, the ticket is still young enough */
    come_back(true, CRYPTO_EARLY_ACCEPTED, CRYPTO_EARLY_ACCEPTED);
    obtain();
    crypto_deterministic_time(START + 2 * LIFETIME + 120);
    pair_run(&pair); /* too old: the client does not even show it, or the server refuses it */
    pair_check_complete(&pair);
    ck_assert(!crypto_tls_resumed(pair.client.tls) && !crypto_tls_resumed(pair.server.tls));
    pair_close(&pair);
}
END_TEST

/* The register remembers a ticket longer than its age would pass; replays of it far apart are refused by age. */
START_TEST(replay_long_after)
{
    obtain();
    pair_open(&pair);
    static uint8_t hello[4096];
    size_t len = pair.client.out_len[CRYPTO_INITIAL];
    memcpy(hello, pair.client.out[CRYPTO_INITIAL], len);
    pair_pump(&pair);
    ck_assert_int_eq((int)crypto_tls_early(pair.server.tls), CRYPTO_EARLY_ACCEPTED);
    pair_close(&pair);
    static const unsigned later[] = {0, 1, 5, 9, 11, 12, 13, 20, 29, 30, 31, 32, 60, 600, 3000};
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        crypto_deterministic_time(START + later[i]);
        pair_open(&pair);
        crypto_tls_input(pair.server.tls, CRYPTO_INITIAL, hello, len);
        ck_assert_msg(crypto_tls_early(pair.server.tls) != CRYPTO_EARLY_ACCEPTED, "%u seconds later", later[i]);
        pair_close(&pair);
    }
}
END_TEST

START_TEST(many_tickets_at_once)
{
    /* More than the register holds: some are refused, none is taken twice, all handshakes complete. */
    unsigned taken = 0;
    for (int i = 0; i < 300; i++) {
        obtain();
        pair_run(&pair);
        pair_check_complete(&pair);
        taken += crypto_tls_early(pair.server.tls) == CRYPTO_EARLY_ACCEPTED;
        pair_close(&pair);
        come_back_fully();
    }
    ck_assert_uint_ge(taken, 299);
}
END_TEST

START_TEST(tampered_ticket)
{
    obtain();
    for (size_t at = pair.session_len; at-- > 0;) {
        session[at] ^= 0x10;
        pair_run(&pair);
        ck_assert_uint_le(pair.client.alerts + pair.server.alerts, 2);
        if (crypto_tls_complete(pair.client.tls) && crypto_tls_complete(pair.server.tls))
            ck_assert_int_eq(crypto_tls_resumed(pair.client.tls), crypto_tls_resumed(pair.server.tls));
        pair_close(&pair);
        session[at] ^= 0x10;
    }
}
END_TEST

START_TEST(session_cut_short)
{
    obtain();
    size_t whole = pair.session_len;
    for (size_t len = 0; len < whole; len++) {
        pair.session_len = len;
        pair_run(&pair);
        pair_check_complete(&pair);
        pair_close(&pair);
    }
}
END_TEST

static void expand(uint8_t info[48], const char *label, uint8_t *out, word32 len) {
    memcpy(info, label, strlen(label));
    ck_assert_int_eq(wc_HKDF_Expand(WC_SHA256, fleet_secret, 32, info, 48, out, len), 0);
}

/* Another member of the fleet, perhaps an older weft, opens it: by the secret alone, with HKDF, AES-GCM and SHA-256 as
 * wolfCrypt has them. */
START_TEST(ticket_as_it_always_was)
{
    enum { NONCE_LENGTH = 4 + 4 + 4 }; /* header, lifetime, age_add */
    pair_run(&pair);
    ck_assert_int_eq(crypto_tls_send_ticket(pair.server.tls), CRYPTO_OK);
    const uint8_t *out = pair.server.out[CRYPTO_APPLICATION];
    const uint8_t *name = out + NONCE_LENGTH + 1 + out[NONCE_LENGTH] + 2, *nonce = name + 16, *sealed = nonce + 16 + 2;
    uint8_t info[48] = {0}, id[8], key[32], with[48], plain[1024];
    size_t len = (size_t)(sealed[-2] << 8 | sealed[-1]);
    ck_assert_uint_le(len, sizeof plain);
    expand(info, "weft ticket id", id, sizeof id);
    ck_assert_mem_eq(name, id, sizeof id);
    memset(info, 0, sizeof info);
    memcpy(info + 16, name, 16);
    memcpy(info + 32, nonce, 16);
    expand(info, "weft ticket", key, sizeof key);
    memcpy(with, name, 16);
    ck_assert_int_eq(wc_Sha256Hash((const byte *)pair.early_context, (word32)strlen(pair.early_context), with + 16), 0);
    Aes aes;
    ck_assert_int_eq(wc_AesInit(&aes, NULL, INVALID_DEVID), 0);
    ck_assert_int_eq(wc_AesGcmSetKey(&aes, key, sizeof key), 0);
    ck_assert_int_eq(wc_AesGcmDecrypt(&aes, plain, sealed, (word32)len, nonce, 12, sealed + len, 16, with, sizeof with),
                     0);
    wc_AesFree(&aes);
    pair_pump(&pair);
    pair_close(&pair);
}
END_TEST

START_TEST(no_tickets_configured)
{
    crypto_tls_config_unref(pair.server_config);
    pair.server_config = pair_server_config();
    pair_run(&pair);
    pair_check_complete(&pair);
    ck_assert_int_eq(crypto_tls_send_ticket(pair.server.tls), CRYPTO_OK);
    ck_assert_uint_eq(pair.server.out_len[CRYPTO_APPLICATION], 0);
    pair_close(&pair);
}
END_TEST

START_TEST(ticket_settings)
{
    ck_assert(!crypto_tls_config_tickets(pair.client_config, fleet_secret, 60, &error));
    ck_assert(!crypto_tls_config_tickets(pair.server_config, fleet_secret, 0, &error));
    ck_assert(!crypto_tls_config_tickets(pair.server_config, fleet_secret, 604801, &error));
    ck_assert(crypto_tls_config_tickets(pair.server_config, fleet_secret, 604800, &error));
}
END_TEST

/* RFC 9001 4.6.1: a limit on early data other than "none said" is a violation. */
START_TEST(ticket_with_a_limit)
{
    pair_run(&pair);
    ck_assert_int_eq(crypto_tls_send_ticket(pair.server.tls), CRYPTO_OK);
    uint8_t *out = pair.server.out[CRYPTO_APPLICATION];
    size_t len = pair.server.out_len[CRYPTO_APPLICATION];
    ck_assert_mem_eq(out + len - 8, "\x00\x2a\x00\x04\xff\xff\xff\xff", 8);
    out[len - 1] = 0xfe;
    pair_pump(&pair);
    ck_assert_uint_eq(pair.client.alerts, 1);
    ck_assert_uint_eq(pair.client.sessions, 0);
    pair_close(&pair);
}
END_TEST

/* A nonce has any length up to 255 (RFC 8446 4.6.1); rustls sends 32 bytes. */
START_TEST(ticket_with_a_long_nonce)
{
    static const uint8_t lengths[] = {0, 9, 32, 255};
    enum { AT = 4 + 4 + 4 }; /* header, lifetime, age_add */
    pair_run(&pair);
    ck_assert_int_eq(crypto_tls_send_ticket(pair.server.tls), CRYPTO_OK);
    uint8_t *out = pair.server.out[CRYPTO_APPLICATION], nonce = lengths[_i];
    size_t *len = &pair.server.out_len[CRYPTO_APPLICATION], rest = AT + 1u + out[AT];
    memmove(out + AT + 1 + nonce, out + rest, *len - rest);
    *len = *len - out[AT] + nonce;
    out[AT] = nonce;
    memset(out + AT + 1, 7, nonce);
    out[2] = (uint8_t)((*len - 4) >> 8);
    out[3] = (uint8_t)(*len - 4);
    pair_pump(&pair);
    ck_assert_msg(pair.client.alerts == 0, "%s", pair.client.text);
    ck_assert_uint_eq(pair.client.sessions, 1);
    pair_close(&pair);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("tls_session");
    TCase *tests = tcase_create("tls_session");
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_loop_test(tests, early_data, 0, 3);
    tcase_add_test(tests, early_data_in_pieces);
    tcase_add_test(tests, resumption_without_early_data);
    tcase_add_test(tests, a_ticket_is_taken_once);
    tcase_add_test(tests, fleet_is_asked);
    tcase_add_test(tests, several_tickets);
    tcase_add_test(tests, tickets_after_resumption);
    tcase_add_test(tests, another_server_of_the_fleet);
    tcase_add_test(tests, a_stranger);
    tcase_add_test(tests, server_turned_early_data_off);
    tcase_add_test(tests, limits_changed);
    tcase_add_test(tests, protocol_changed);
    tcase_add_test(tests, protocol_no_longer_offered);
    tcase_add_test(tests, hello_retry_request);
    tcase_add_test(tests, another_server_name);
    tcase_add_test(tests, made_without_judgement);
    tcase_add_test(tests, rotation_and_age);
    tcase_add_test(tests, replay_long_after);
    tcase_add_test(tests, many_tickets_at_once);
    tcase_add_test(tests, tampered_ticket);
    tcase_add_test(tests, session_cut_short);
    tcase_add_test(tests, ticket_as_it_always_was);
    tcase_add_test(tests, no_tickets_configured);
    tcase_add_test(tests, ticket_settings);
    tcase_add_test(tests, ticket_with_a_limit);
    tcase_add_loop_test(tests, ticket_with_a_long_nonce, 0, 4);
    suite_add_tcase(suite, tests);
    return suite;
}
