/* tls.h - the TLS 1.3 handshake of a QUIC connection (RFC 9001 section 4) over wolfSSL.
 *
 * This room turns CRYPTO bytes into secrets, events and more CRYPTO bytes. It does not know packets, streams or time.
 * It reads no files: certificates, keys and CAs come as bytes. wolfSSL's types do not leave this room.
 *
 * A crypto_tls_config is what many connections share: certificates, trust, ALPN. It is immutable once the first session
 * was made from it, counted by atomic references, and may be shared between threads. A crypto_tls is one
 * connection's handshake; it belongs to the connection's engine.
 *
 * Callbacks run inside crypto_tls_start and crypto_tls_input, and must not free the session.
 */
#ifndef CRYPTO_TLS_H
#define CRYPTO_TLS_H

#include "base/random.h"
#include "keys.h"

enum crypto_level { CRYPTO_INITIAL = 0, CRYPTO_EARLY, CRYPTO_HANDSHAKE, CRYPTO_APPLICATION, CRYPTO_LEVELS };
enum crypto_role { CRYPTO_CLIENT = 0, CRYPTO_SERVER };
enum crypto_format { CRYPTO_PEM = 0, CRYPTO_DER };

/* Why a configuration call failed; the text names the cause for a person. */
struct crypto_error {
    char text[160];
};

/* ---- configuration ------------------------------------------------------------------------------------------- */

struct crypto_tls_config;

/* What the application is asked when a peer's chain must be judged by it: `chain` is DER, leaf first. `ok` is what the
 * built-in verification found. Return 0 to accept, or a TLS alert number to refuse with (42 bad_certificate ...). */
typedef int (*crypto_verify_cb)(void *user, void *session_user, const uint8_t *const *chain, const size_t *lens,
                                size_t count, bool ok);
/* One line of NSS key log format, without newline. */
typedef void (*crypto_keylog_cb)(void *user, const char *line);

/* A new configuration with one reference; NULL when memory is used up (texts in `error` here and below, may be NULL).
 * Defaults: TLS 1.3 only; AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305 in this order; X25519, P-256, P-384,
 * X25519MLKEM768 accepted, a client offers key shares so that no HelloRetryRequest is needed with common servers;
 * client verifies the peer. */
struct crypto_tls_config *crypto_tls_config_new(enum crypto_role role, struct crypto_error *error);
struct crypto_tls_config *crypto_tls_config_ref(struct crypto_tls_config *config);
void crypto_tls_config_unref(struct crypto_tls_config *config);

/* ALPN names this side offers or accepts, most wanted first: a list of length-prefixed names as on the wire (RFC 7301).
 * A server picks the first of its own names that the client offers and refuses with no_application_protocol otherwise.
 */
bool crypto_tls_config_alpn(struct crypto_tls_config *config, const uint8_t *list, size_t len,
                            struct crypto_error *error);
/* What was given, borrowed; *len 0 when nothing was. */
const uint8_t *crypto_tls_config_alpn_list(const struct crypto_tls_config *config, size_t *len);
/* A certificate chain (leaf first) and its key. A server may be given several: the one whose names match the SNI is
 * used, the first otherwise. A client's is sent when asked for. Key and leaf are checked to fit. */
bool crypto_tls_config_certificate(struct crypto_tls_config *config, enum crypto_format format, const uint8_t *chain,
                                   size_t chain_len, const uint8_t *key, size_t key_len, struct crypto_error *error);
/* Trusted roots, in addition to those given before. PEM may hold many. *count (may be NULL): how many were taken. */
bool crypto_tls_config_trust(struct crypto_tls_config *config, enum crypto_format format, const uint8_t *roots,
                             size_t len, unsigned *count, struct crypto_error *error);
/* Verify the peer's certificate (client: default true). Server: true asks for and requires a client certificate. */
void crypto_tls_config_verify(struct crypto_tls_config *config, bool verify);
/* Accept exactly the leaf whose DER has this SHA-256, whatever its issuer, names and dates; may be called for several.
 */
bool crypto_tls_config_pin(struct crypto_tls_config *config, const uint8_t sha256[32]);
void crypto_tls_config_verify_cb(struct crypto_tls_config *config, crypto_verify_cb cb, void *user);
void crypto_tls_config_keylog(struct crypto_tls_config *config, crypto_keylog_cb cb, void *user);
/* Colon-separated TLS 1.3 suite names (TLS_AES_128_GCM_SHA256 ...), respectively group names (X25519, P-256, P-384,
 * P-521, X25519MLKEM768), most wanted first. Unknown names are an error that names them. */
bool crypto_tls_config_ciphers(struct crypto_tls_config *config, const char *list, struct crypto_error *error);
bool crypto_tls_config_groups(struct crypto_tls_config *config, const char *list, struct crypto_error *error);
/* Server: issue session tickets under keys derived from this secret (a fleet shares it), valid `lifetime_s` seconds. */
bool crypto_tls_config_tickets(struct crypto_tls_config *config, const uint8_t secret[32], uint32_t lifetime_s,
                               struct crypto_error *error);
/* Allow early data (RFC 9001 4.6). Off by default. */
void crypto_tls_config_early_data(struct crypto_tls_config *config, bool allow);
/* Has no server of the fleet seen this ticket before? Asked once for each ticket that would allow early data and that
 * this process has not seen itself; `id` names the ticket, and must be remembered for `seconds`. Called from the
 * threads that use the configuration, inside crypto_tls_input, so it must answer at once: false, when in doubt, costs
 * the client a full handshake. */
typedef bool (*crypto_replay_cb)(void *user, const uint8_t id[16], uint32_t seconds);
/* Server: a register of tickets beyond this process (RFC 8446 8.1), for servers that share a ticket secret. */
void crypto_tls_config_replay(struct crypto_tls_config *config, crypto_replay_cb cb, void *user);

#define CRYPTO_TICKET_DATA 31u /* bytes of the application's in a ticket */

/* What the application binds into a ticket: at most `capacity` bytes; how many. And whether a ticket that opened is
 * accepted, by what is in it: false costs the client a full handshake, and early data. Called inside crypto_tls_input;
 * asked once a handshake. Each may be NULL. */
typedef size_t (*crypto_ticket_fill_cb)(void *user, void *session_user, uint8_t *out, size_t capacity);
typedef bool (*crypto_ticket_judge_cb)(void *user, void *session_user, const uint8_t *data, size_t len);
void crypto_tls_config_ticket_hooks(struct crypto_tls_config *config, crypto_ticket_judge_cb judge,
                                    crypto_ticket_fill_cb fill, void *user);

/* ---- one handshake ------------------------------------------------------------------------------------------- */

struct crypto_tls;

struct crypto_tls_callbacks {
    /* Handshake bytes to send at `level`, in order. False: out of memory, the handshake fails. */
    bool (*on_send)(void *user, enum crypto_level level, const uint8_t *data, size_t len);
    /* New secrets of a level; either may have len 0 (only one direction is ready). */
    bool (*on_secrets)(void *user, enum crypto_level level, const struct crypto_secret *read,
                       const struct crypto_secret *write);
    /* The peer's transport parameters extension, as soon as it is known (may come before it is authenticated). False
     * refuses it; the connection has then been given its error, so on_alert is not called for it. */
    bool (*on_transport_params)(void *user, const uint8_t *data, size_t len);
    /* Client: a session that can be resumed later, serialised; owned by the callee only during the call. */
    void (*on_session)(void *user, const uint8_t *data, size_t len);
    /* The handshake must end with this alert (CRYPTO_ERROR 0x0100 + alert). `text` names the cause. */
    void (*on_alert)(void *user, uint8_t alert, const char *text);
};

struct crypto_tls_open {
    enum crypto_role role;
    struct crypto_tls_config *config; /* a reference is taken */
    const struct crypto_tls_callbacks *callbacks;
    void *user;
    const char *server_name; /* client: SNI and the name to verify; NULL = none. IP literals are verified as such */
    const uint8_t *params;   /* our transport parameters, encoded; copied. Server may set them later (see below) */
    size_t params_len;
    const uint8_t *session; /* client: from on_session, to resume; may be NULL */
    size_t session_len;
    bool early_data; /* client: try 0-RTT when the session allows it */
    bool quic_v2;    /* secrets are used with QUIC v2 (information only; labels are keys.h's business) */
};

/* NULL when memory is used up or the configuration cannot be used (text in `error`). */
struct crypto_tls *crypto_tls_new(struct base_mem *mem, const struct crypto_tls_open *open, struct crypto_error *error);
void crypto_tls_free(struct crypto_tls *tls);
/* Bytes of the budget of `mem` that the TLS library holds for this session. */
uint64_t crypto_tls_memory(const struct crypto_tls *tls);
/* A server's: bytes that its client makes it hold beyond what an ordinary handshake does. */
uint64_t crypto_tls_surplus(const struct crypto_tls *tls);
/* Server: give or replace our transport parameters before the first input (they name connection IDs known only then).
 */
bool crypto_tls_set_params(struct crypto_tls *tls, const uint8_t *params, size_t len);
/* Server: what early data relies on (the limits a client will remember, RFC 9000 7.4.1), before the first input. It is
 * authenticated with every ticket: a ticket given out under another context is refused, and with it early data. A
 * context set after completion is that of the tickets sent from then on. */
bool crypto_tls_set_early_context(struct crypto_tls *tls, const void *context, size_t len);

enum crypto_result {
    CRYPTO_OK = 0,
    CRYPTO_FAILED = -1, /* on_alert was called, once (or on_transport_params refused) */
};

/* Client: makes the ClientHello. */
int crypto_tls_start(struct crypto_tls *tls);
/* In-order CRYPTO bytes received at `level`; also after the handshake (tickets). */
int crypto_tls_input(struct crypto_tls *tls, enum crypto_level level, const uint8_t *data, size_t len);
/* Server, after completion: send a session ticket (CRYPTO bytes at the application level). Without
 * crypto_tls_config_tickets there is none to send, and that is no error. */
int crypto_tls_send_ticket(struct crypto_tls *tls);

/* True once our part of the handshake is complete (RFC 9001 4.1.1). */
bool crypto_tls_complete(const struct crypto_tls *tls);
bool crypto_tls_resumed(const struct crypto_tls *tls);
enum crypto_early { CRYPTO_EARLY_NONE = 0, CRYPTO_EARLY_PENDING, CRYPTO_EARLY_ACCEPTED, CRYPTO_EARLY_REJECTED };
enum crypto_early crypto_tls_early(const struct crypto_tls *tls);
/* The chosen ALPN name, borrowed, not terminated; *len 0 when none yet. While a client's early data is pending: the
 * name of the earlier session, which early data belongs to. */
const uint8_t *crypto_tls_alpn(const struct crypto_tls *tls, size_t *len);
/* The SNI the client sent (server) or we sent (client); borrowed; NULL = none. */
const char *crypto_tls_server_name(const struct crypto_tls *tls);
const char *crypto_tls_cipher_name(const struct crypto_tls *tls);
const char *crypto_tls_group_name(const struct crypto_tls *tls);
/* The peer's leaf certificate in DER, borrowed; NULL when it sent none. */
const uint8_t *crypto_tls_peer_certificate(const struct crypto_tls *tls, size_t *len);
/* RFC 8446 7.5 exporter. False before completion. */
bool crypto_tls_export(struct crypto_tls *tls, const char *label, const uint8_t *context, size_t context_len,
                       uint8_t *out, size_t len);

/* ---- certificates ---------------------------------------------------------------------------------------------- */

/* A self-signed P-256 certificate for `names` (DNS names or IP literals; count >= 1), valid for `days` from a day ago,
 * PEM into the two buffers (NUL-terminated). False with a text when it does not fit or the library fails. */
bool crypto_selfsigned(const char *const *names, size_t count, unsigned days, char *cert_pem, size_t cert_capacity,
                       char *key_pem, size_t key_capacity, struct crypto_error *error);
/* SHA-256 of the first certificate in PEM or DER. */
bool crypto_certificate_sha256(enum crypto_format format, const uint8_t *cert, size_t len, uint8_t sha256[32]);

/* For simulations only: makes wolfSSL's randomness a function of this seed for handshakes started from now on in this
 * process, so that a run can be replayed byte for byte. NULL goes back to the system's randomness. The wall clock that
 * certificates and tickets are judged by then stands still at 2030-01-01: make certificates after this call. */
void crypto_deterministic(const uint8_t seed[32]);
/* Unpredictable bytes (but while deterministic) for secrets that belong to no engine. False: the system has none. */
bool crypto_random(uint8_t *out, size_t len);
/* While deterministic: moves that wall clock to `seconds` since 1970. */
void crypto_deterministic_time(uint64_t seconds);

/* ---- the process ----------------------------------------------------------------------------------------------- */

/* Once a process before anything else here (counted: each init wants its cleanup). */
bool crypto_init(void);
void crypto_cleanup(void);

#endif
