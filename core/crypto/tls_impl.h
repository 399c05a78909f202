/* tls_impl.h - what the files of the TLS half of this room share. Nobody outside core/crypto includes it.
 *
 *   process.c       library start and end, the clock
 *   random.c        randomness
 *   tls_config.c    what many connections share
 *   tls_identity.c  certificates with their keys, and which one answers to which server name
 *   tls.c           one handshake: bytes in, messages cut out and handed to wolfSSL
 *   tls_hello.c     a look at the ClientHello before wolfSSL works on it
 *   tls_session.c   sessions a client keeps to resume
 *   tls_method.c    wolfSSL's way back to us: secrets, bytes to send, alerts, key log
 *   tls_verify.c    is the peer who it should be
 *   tls_names.c     names in certificates
 *   tls_heap.c      what wolfSSL allocates for a session counts against its engine's budget
 *   tls_schedule.c  the key schedule's HKDF, for wolfSSL
 *   tls_sign.c      the signature, with a private key that stays decoded
 *   tls_ticket.c    session tickets: sealing, rotation, use at most once for early data
 */
#ifndef CRYPTO_TLS_IMPL_H
#define CRYPTO_TLS_IMPL_H

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/settings.h>

#include <wolfssl/ssl.h>
#include <wolfssl/quic.h>

#include <stdatomic.h>

#include "hkdf.h"
#include "tls.h"

/* TLS alerts that we choose ourselves (RFC 8446 6). */
enum tls_alert {
    ALERT_UNEXPECTED_MESSAGE = 10,
    ALERT_HANDSHAKE_FAILURE = 40,
    ALERT_BAD_CERTIFICATE = 42,
    ALERT_UNSUPPORTED_CERTIFICATE = 43,
    ALERT_CERTIFICATE_REVOKED = 44,
    ALERT_CERTIFICATE_EXPIRED = 45,
    ALERT_ILLEGAL_PARAMETER = 47,
    ALERT_UNKNOWN_CA = 48,
    ALERT_DECODE_ERROR = 50,
    ALERT_DECRYPT_ERROR = 51,
    ALERT_PROTOCOL_VERSION = 70,
    ALERT_INTERNAL_ERROR = 80,
    ALERT_MISSING_EXTENSION = 109,
    ALERT_UNSUPPORTED_EXTENSION = 110,
    ALERT_CERTIFICATE_REQUIRED = 116,
    ALERT_NO_APPLICATION_PROTOCOL = 120,
};

#define TLS_MAX_GROUPS 8
#define TLS_MAX_ALPN 256u /* bytes of the list on the wire; wolfSSL takes at most 10 names */
#define TLS_NAME_MAX 253u /* a DNS name in text */

/* ---- names (tls_names.c) --------------------------------------------------------------------------------------- */

/* What a certificate says about itself, as far as we ask. */
struct tls_leaf {
    bool usable_by_server, usable_by_client; /* extended key usage */
    bool named;                              /* carries the name that was asked for */
};

/* Reads a DER certificate; `name` may be NULL. A name that is an IP literal is compared with IP entries only, any
 * other with DNS entries only, as RFC 9525 has it: the subject's common name is never looked at. False: not a
 * certificate. */
bool tls_leaf_read(const uint8_t *der, size_t len, const char *name, struct tls_leaf *leaf);
/* 4 or 16 for an IP literal, with its bytes; 0 otherwise. */
size_t tls_ip_literal(const char *name, uint8_t out[16]);

/* ---- configuration (tls_config.c, tls_identity.c) ---------------------------------------------------------------- */

struct tls_blob { /* bytes kept to be given to contexts that come later */
    struct tls_blob *next;
    size_t len;
    uint8_t bytes[];
};

struct tls_identity { /* a context of wolfSSL's with at most one certificate and its key */
    struct tls_identity *next;
    WOLFSSL_CTX *ctx;
    uint8_t *leaf; /* DER; NULL = none */
    size_t leaf_len;
    struct ecc_key *signer; /* the private key, if we sign ourselves; only read once it is set */
};

struct tls_pin {
    struct tls_pin *next;
    uint8_t sha256[32];
};

#define TLS_TICKET_ID 8u   /* of the 16 bytes of a ticket's name: 8 name the secret, 8 the epoch */
#define TLS_STRIKES 16384u /* tickets remembered against replay: 128 KiB, for about a thousand resumptions a second */

struct crypto_tls_config {
    atomic_uint refs;
    enum crypto_role role;
    struct base_mem mem; /* used while configuring only, by one thread */
    struct tls_identity first;
    struct tls_blob *roots; /* DER */
    uint8_t alpn[TLS_MAX_ALPN];
    size_t alpn_len;
    int groups[TLS_MAX_GROUPS];
    int group_count;
    char suites[160]; /* wolfSSL's list */
    bool verify, early_data, tickets;
    uint32_t ticket_lifetime_s;
    struct hkdf ticket_secret;        /* as the key of HMACs; only read once it is set */
    uint8_t ticket_id[TLS_TICKET_ID]; /* names the secret, in tickets */
    _Atomic uint64_t *strikes;        /* TLS_STRIKES of them; see tls_ticket.c */
    struct tls_pin *pins;
    crypto_verify_cb verify_cb;
    void *verify_user;
    crypto_keylog_cb keylog_cb;
    void *keylog_user;
    crypto_replay_cb replay_cb; /* NULL: this process's register alone */
    void *replay_user;
    crypto_ticket_judge_cb ticket_judge_cb;
    crypto_ticket_fill_cb ticket_fill_cb;
    void *ticket_user;
};

struct tls_group {
    const char *name;
    int id;
};
/* The group wolfSSL calls `id` or has chosen; NULL when we do not know it. */
const char *tls_group_name(int id);
const char *tls_group_name_of(const char *wolf_name);

bool tls_error(struct crypto_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool tls_identity_init(struct crypto_tls_config *config, struct tls_identity *identity);
void tls_identity_free(struct crypto_tls_config *config, struct tls_identity *identity);
/* Says to one context what the configuration says; called for each context, again after each change. */
bool tls_identity_apply(struct crypto_tls_config *config, struct tls_identity *identity);
/* The identity for a server name (may be NULL). */
const struct tls_identity *tls_identity_choose(const struct crypto_tls_config *config, const char *name);
/* wolfSSL's hook after the ClientHello was read: chooses certificate and ALPN. */
int tls_on_client_hello(WOLFSSL *ssl, int *alert, void *arg);

/* ---- what wolfSSL leaves to us (tls_schedule.c, tls_sign.c) ----------------------------------- */

/* wolfSSL's hooks for HKDF-Extract and HKDF-Expand-Label. */
int tls_on_extract(byte *secret, const byte *salt, word32 salt_len, byte *input, word32 input_len, int hash,
                   void *user);
int tls_on_expand(byte *out, word32 out_len, const byte *secret, word32 secret_len, const byte *prefix,
                  word32 prefix_len, const byte *label, word32 label_len, const byte *context, word32 context_len,
                  int hash, int side);
void tls_schedule_apply(WOLFSSL_CTX *ctx);
/* wolfSSL is done with what it was given: wipes what this thread keeps of the last secret. False: there is nothing. */
bool tls_schedule_forget(void);

/* Keeps a private key, which was found good, for signatures, if it is of a kind that is worth it. False: no memory. */
bool tls_sign_keep(struct crypto_tls_config *config, struct tls_identity *identity, enum crypto_format format,
                   const uint8_t *key, size_t len);
void tls_sign_drop(struct crypto_tls_config *config, struct tls_identity *identity);

/* ---- memory of sessions (tls_heap.c) ----------------------------------------------------------------------------- */

#define TLS_HEAP_ESTIMATE 32768u /* of a session, where it cannot be counted */
#ifdef WEFT_OWN_WOLFSSL
#define TLS_HEAP_ORDINARY 20480u /* of a server's session, its own flight said, the client's not yet heard */
#else
#define TLS_HEAP_ORDINARY TLS_HEAP_ESTIMATE
#endif

struct tls_heap;
struct tls_heap *tls_heap_new(struct base_mem *mem);
/* What is still allocated counts no more. */
void tls_heap_free(struct tls_heap *heap);
/* From now on this thread's allocations of wolfSSL are for this session, NULL = for none; returns what was before, to
 * be entered again. */
struct tls_heap *tls_heap_enter(struct tls_heap *heap);
uint64_t tls_heap_held(const struct tls_heap *heap);
/* Once a process, before wolfSSL allocates anything. */
bool tls_heap_install(void);

/* ---- a session (tls.c) ------------------------------------------------------------------------------------------- */

struct crypto_tls {
    struct base_mem *mem;
    struct crypto_tls_config *config;
    const struct crypto_tls_callbacks *callbacks;
    void *user;
    WOLFSSL *ssl;
    struct tls_heap *heap; /* what wolfSSL allocates while it works on this */

    /* the message being cut out of the CRYPTO stream */
    enum crypto_level level; /* where the next message must arrive */
    uint8_t header[4];
    uint32_t have, want; /* bytes of it seen, and its whole size once 4 are there */

    bool complete, failed;
    bool params_given, params_refused;
    bool judged, refused, reverify; /* see tls_verify.c */
    enum crypto_early early;
    struct crypto_secret held; /* server: the early secret, until the handshake secrets come */
    uint8_t refusal;           /* the alert we decided on; 0 = none */
    const char *cause;         /* of the refusal; static text */
    uint8_t sent_alert;        /* the alert wolfSSL decided on; 0 = none */

    char *server_name; /* base_mem; NULL = none */
    size_t server_name_size;
    uint8_t *alpn; /* of the session whose early data is pending, base_mem */
    size_t alpn_len;
    uint8_t *leaf; /* the peer's, base_mem */
    size_t leaf_len;
    uint8_t context[32]; /* hash of what early data relies on; see crypto_tls_set_early_context */
    uint8_t ticket_seen[16];
    bool has_ticket_seen;
    uint8_t *hello; /* server: the ClientHello while it arrives, base_mem */
    uint32_t hello_size;
    bool no_early; /* server: a HelloRetryRequest rejects early data */
};

/* Remembers why the handshake must end; the first word counts. Always false. */
bool tls_refuse(struct crypto_tls *tls, uint8_t alert, const char *cause);
/* Gives the peer's transport parameters up as soon as they are there. False: refused. */
bool tls_deliver_params(struct crypto_tls *tls);
uint8_t tls_alert_of_error(int error);

/* What a server looks at in a ClientHello itself (tls_hello.c). */
struct tls_hello {
    bool session_id;   /* legacy_session_id is not empty */
    bool lists_groups; /* says which groups it supports ... */
    bool common_group; /* ... among them one of ours */
    bool common_share; /* and a share of one of ours: no HelloRetryRequest is needed */
};
void tls_hello_read(const struct crypto_tls_config *config, const uint8_t *body, size_t len, struct tls_hello *hello);

/* Client: hands up the session of the ticket just read; takes one to resume (tls_session.c). */
bool tls_session_deliver(struct crypto_tls *tls);
void tls_session_resume(struct crypto_tls *tls, const uint8_t *bytes, size_t len, bool early_data);

extern const WOLFSSL_QUIC_METHOD tls_method;
int tls_on_secret(WOLFSSL *ssl, int id, const unsigned char *secret, int len, void *user);
int tls_on_verify(int ok, WOLFSSL_X509_STORE_CTX *store);
/* The configuration has a new secret for tickets. */
bool tls_ticket_secret_set(struct crypto_tls_config *config, const uint8_t secret[32]);
/* wolfSSL's ticket hook. */
int tls_on_ticket(WOLFSSL *ssl, unsigned char *name, unsigned char *iv, unsigned char *mac, int seal,
                  unsigned char *ticket, int in_len, int *out_len, void *user);

/* ---- randomness (random.c) --------------------------------------------------------------------------------------- */

void tls_random_init(void);
/* NULL: the system's again. */
void tls_random_simulate(const uint8_t seed[32]);
#ifdef CUSTOM_RAND_GENERATE_BLOCK
int crypto_random_block(unsigned char *out, unsigned int len);
#else
/* Once wolfSSL was initialised. */
void tls_random_hook(void);
#endif

/* ---- process (process.c) ----------------------------------------------------------------------------------------- */

/* Seconds since 1970, from the system or, in a simulation, standing still. */
uint64_t tls_now_s(void);

#endif
