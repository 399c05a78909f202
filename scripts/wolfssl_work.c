/*
 * What wolfSSL does for weft, so that the compiler can see it: handshakes of QUIC between a client and a server in one
 * process, with tickets, with each cipher suite and with both key exchanges that weft asks for first.
 * scripts/wolfssl.sh links this with a wolfSSL that counts its branches, runs it, and builds wolfSSL again for what was
 * counted.
 *
 * It knows nothing of weft and talks to wolfSSL as core/crypto does. Its randomness and its certificate are the same
 * each time: the counts are, too.
 */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/random.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEVELS = 4, ROOM = 16384, ROUNDS = 40, TRANSPORT_PARAMETERS = 0x39 }; /* RFC 9001 8.2 */

/* One end. What it has to say waits here, level by level, until the other is given it. */
struct end {
    WOLFSSL *ssl;
    struct {
        unsigned char bytes[ROOM];
        size_t len;
    } said[LEVELS];
};

static void fail(const char *what) {
    fprintf(stderr, "wolfssl_work: %s\n", what);
    exit(1);
}

static void must(int ok, const char *what) {
    if (!ok)
        fail(what);
}

/* --- what wolfSSL asks of us -------------------------------------------------------------------------------------- */

int crypto_random_block(unsigned char *out, unsigned int len) {
    static uint64_t state = 1;
    for (unsigned int i = 0; i < len; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        out[i] = (unsigned char)(state >> 56);
    }
    return 0;
}

int wc_GenerateSeed(OS_Seed *os, byte *out, word32 len) {
    (void)os;
    return crypto_random_block(out, len);
}

static int on_secrets(WOLFSSL *ssl, WOLFSSL_ENCRYPTION_LEVEL level, const uint8_t *read, const uint8_t *write,
                      size_t len) {
    (void)ssl, (void)level, (void)read, (void)write, (void)len;
    return 1;
}

static int on_data(WOLFSSL *ssl, WOLFSSL_ENCRYPTION_LEVEL level, const uint8_t *data, size_t len) {
    struct end *end = wolfSSL_get_app_data(ssl);
    must(end->said[level].len + len <= ROOM, "a flight is too long");
    memcpy(end->said[level].bytes + end->said[level].len, data, len);
    end->said[level].len += len;
    return 1;
}

static int on_flush(WOLFSSL *ssl) {
    (void)ssl;
    return 1;
}

static int on_alert(WOLFSSL *ssl, WOLFSSL_ENCRYPTION_LEVEL level, uint8_t alert) {
    (void)ssl, (void)level;
    fprintf(stderr, "wolfssl_work: alert %d\n", alert);
    return 1;
}

static const WOLFSSL_QUIC_METHOD method = {on_secrets, on_data, on_flush, on_alert};

/* weft seals tickets by itself; wolfSSL only looks whether something was done to them. */
static int on_ticket(WOLFSSL *ssl, byte name[WOLFSSL_TICKET_NAME_SZ], byte iv[WOLFSSL_TICKET_IV_SZ],
                     byte mac[WOLFSSL_TICKET_MAC_SZ], int seal, byte *ticket, int len, int *out_len, void *context) {
    (void)ssl, (void)context;
    for (int i = 0; i < len; i++)
        ticket[i] ^= 0x5a;
    if (seal) {
        memset(name, 1, WOLFSSL_TICKET_NAME_SZ);
        memset(iv, 2, WOLFSSL_TICKET_IV_SZ);
        memset(mac, 3, WOLFSSL_TICKET_MAC_SZ);
    }
    *out_len = len;
    return WOLFSSL_TICKET_RET_OK;
}

/* --- both ends ---------------------------------------------------------------------------------------------------- */

/* A self-signed certificate for P-256 and its key, both in DER. */
static void make_identity(byte *cert_der, int *cert_len, byte *key_der, int *key_len) {
    WC_RNG rng;
    ecc_key key;
    Cert cert;
    must(wc_InitRng(&rng) == 0 && wc_ecc_init(&key) == 0, "no room for a key");
    must(wc_ecc_make_key_ex(&rng, 32, &key, ECC_SECP256R1) == 0, "no key");
    must(wc_InitCert(&cert) == 0, "no certificate");
    memcpy(cert.subject.commonName, "localhost", sizeof "localhost");
    cert.sigType = CTC_SHA256wECDSA;
    cert.isCA = 1;
    cert.selfSigned = 1;
    must(wc_MakeCert(&cert, cert_der, ROOM, NULL, &key, &rng) > 0, "the certificate is not made");
    *cert_len = wc_SignCert(cert.bodySz, cert.sigType, cert_der, ROOM, NULL, &key, &rng);
    *key_len = wc_EccKeyToDer(&key, key_der, ROOM);
    must(*cert_len > 0 && *key_len > 0, "the certificate is not signed");
    wc_ecc_free(&key);
    wc_FreeRng(&rng);
}

static WOLFSSL_CTX *make_context(WOLFSSL_METHOD *version, const char *suites, int *groups, int group_count) {
    WOLFSSL_CTX *ctx = wolfSSL_CTX_new(version);
    must(ctx && wolfSSL_CTX_set_quic_method(ctx, &method) == WOLFSSL_SUCCESS, "no context");
    must(wolfSSL_CTX_set_cipher_list(ctx, suites) == WOLFSSL_SUCCESS, "a cipher suite is missing");
    must(wolfSSL_CTX_set_groups(ctx, groups, group_count) == WOLFSSL_SUCCESS, "a group is missing");
    wolfSSL_CTX_set_session_cache_mode(ctx, WOLFSSL_SESS_CACHE_OFF);
    return ctx;
}

static void begin(struct end *end, WOLFSSL_CTX *ctx, int group) {
    static const uint8_t params[60] = {0x40, 0x7f, 56}; /* one parameter that nobody knows */
    char protocol[] = "h3";
    memset(end, 0, sizeof *end);
    end->ssl = wolfSSL_new(ctx);
    must(end->ssl && wolfSSL_set_app_data(end->ssl, end) == WOLFSSL_SUCCESS, "no session");
    wolfSSL_set_quic_transport_version(end->ssl, TRANSPORT_PARAMETERS);
    must(wolfSSL_set_quic_transport_params(end->ssl, params, sizeof params) == WOLFSSL_SUCCESS, "no parameters");
    must(wolfSSL_UseALPN(end->ssl, protocol, 2, WOLFSSL_ALPN_FAILED_ON_MISMATCH) == WOLFSSL_SUCCESS, "no ALPN");
    if (group) {
        must(wolfSSL_UseSNI(end->ssl, WOLFSSL_SNI_HOST_NAME, "localhost", 9) == WOLFSSL_SUCCESS, "no name");
        must(wolfSSL_UseKeyShare(end->ssl, (word16)group) == WOLFSSL_SUCCESS, "no key share");
    }
}

/* Gives `to` what `from` has said, and lets it go on. */
static void hear(struct end *from, struct end *to) {
    for (int level = 0; level < LEVELS; level++) {
        if (from->said[level].len > 0)
            must(wolfSSL_provide_quic_data(to->ssl, (WOLFSSL_ENCRYPTION_LEVEL)level, from->said[level].bytes,
                                           from->said[level].len) == WOLFSSL_SUCCESS,
                 "what was said is not taken");
        from->said[level].len = 0;
    }
    int done = wolfSSL_is_init_finished(to->ssl) ? wolfSSL_process_quic_post_handshake(to->ssl)
                                                 : wolfSSL_quic_do_handshake(to->ssl);
    must(done == WOLFSSL_SUCCESS || wolfSSL_get_error(to->ssl, done) == WOLFSSL_ERROR_WANT_READ, "a handshake failed");
}

/* A handshake, and two tickets. */
static void handshake(WOLFSSL_CTX *client_ctx, WOLFSSL_CTX *server_ctx, int group) {
    static struct end client, server;
    begin(&client, client_ctx, group);
    begin(&server, server_ctx, 0);
    must(wolfSSL_quic_do_handshake(client.ssl) != WOLFSSL_SUCCESS, "a client that needs nobody");
    for (int i = 0; i < 4 && !(wolfSSL_is_init_finished(client.ssl) && wolfSSL_is_init_finished(server.ssl)); i++) {
        hear(&client, &server);
        hear(&server, &client);
    }
    must(wolfSSL_is_init_finished(client.ssl) && wolfSSL_is_init_finished(server.ssl), "no end of a handshake");
    for (int i = 0; i < 2; i++)
        must(wolfSSL_send_SessionTicket(server.ssl) == WOLFSSL_SUCCESS, "no ticket");
    hear(&server, &client);
    wolfSSL_free(client.ssl);
    wolfSSL_free(server.ssl);
}

int main(void) {
    static const char *const suites[] = {"TLS13-AES128-GCM-SHA256", "TLS13-AES256-GCM-SHA384",
                                         "TLS13-CHACHA20-POLY1305-SHA256"};
    static byte cert[ROOM], key[ROOM];
    int groups[] = {WOLFSSL_X25519MLKEM768, WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1};
    int cert_len, key_len;
    must(wolfSSL_Init() == WOLFSSL_SUCCESS, "wolfSSL does not begin");
    make_identity(cert, &cert_len, key, &key_len);
    for (int i = 0; i < ROUNDS; i++) {
        const char *suite = suites[i % 4 < 2 ? 0 : i % 4 - 1];
        WOLFSSL_CTX *server = make_context(wolfTLSv1_3_server_method(), suite, groups, 3);
        WOLFSSL_CTX *client = make_context(wolfTLSv1_3_client_method(), suite, groups, 3);
        must(wolfSSL_CTX_use_certificate_buffer(server, cert, cert_len, WOLFSSL_FILETYPE_ASN1) == WOLFSSL_SUCCESS &&
                 wolfSSL_CTX_use_PrivateKey_buffer(server, key, key_len, WOLFSSL_FILETYPE_ASN1) == WOLFSSL_SUCCESS,
             "the server does not take its certificate");
        must(wolfSSL_CTX_load_verify_buffer(client, cert, cert_len, WOLFSSL_FILETYPE_ASN1) == WOLFSSL_SUCCESS,
             "the client does not");
        must(wolfSSL_CTX_set_TicketEncCb(server, on_ticket) == WOLFSSL_SUCCESS &&
                 wolfSSL_CTX_set_num_tickets(server, 0) == WOLFSSL_SUCCESS,
             "no tickets");
        for (int j = 0; j < 4; j++)
            handshake(client, server, groups[j % 2]);
        wolfSSL_CTX_free(client);
        wolfSSL_CTX_free(server);
    }
    wolfSSL_Cleanup();
    return 0;
}
