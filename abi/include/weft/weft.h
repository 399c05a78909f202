/* weft.h - QUIC connections for programs in C, and in every language that can call C.
 *
 * Five kinds of object, each named by a handle that is passed by value:
 *
 *     weft_config     options and TLS; made once, shared by many connections, by many engines and by threads
 *     weft_engine     one thread's share of the work: clock, sockets, memory, and the objects below
 *     weft_listener   accepts connections on one UDP address
 *     weft_conn       one QUIC connection, client or server (RFC 9000)
 *     weft_stream     one stream of a connection
 *
 * and two that help with engines: weft_pool runs several of them on threads that share a port, weft_pair joins two of
 * them in virtual time, for tests.
 *
 * A client in eight calls (errors left out):
 *
 *     static void connected(void *user, weft_conn conn) {
 *         weft_stream stream;
 *         weft_stream_open(conn, WEFT_BIDI, NULL, &stream);
 *         weft_stream_write(stream, "GET /\r\n", 7, WEFT_FIN);
 *     }
 *     static void data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
 *         for (uint32_t i = 0; i < count; i++)
 *             fwrite(slices[i].data, 1, slices[i].len, stdout);
 *         if (flags & WEFT_FIN)
 *             weft_conn_close(weft_stream_conn(stream), 0, "done");
 *     }
 *     ...
 *     weft_config_new(WEFT_CLIENT, &config);
 *     weft_config_set_alpn(config, "hq-interop");
 *     weft_engine_new(NULL, &engine);
 *     weft_conn_callbacks on_conn = {.size = sizeof on_conn, .on_connected = connected};
 *     weft_stream_callbacks on_stream = {.size = sizeof on_stream, .on_data = data};
 *     weft_connect_params params = {.size = sizeof params, .callbacks = &on_conn, .stream_callbacks = &on_stream};
 *     weft_connect(engine, config, "example.org", 443, &params, &conn);
 *     weft_engine_run(engine);
 *
 * HANDLES cannot dangle. A handle that has ended gives WEFT_E_GONE; one of another kind, or never issued,
 * WEFT_E_HANDLE. That holds for every function, at any time, and is never a crash. All zero is never a valid handle.
 *
 * THREADS. An engine and its objects belong to the thread that made the engine (weft_engine_adopt moves it); from
 * another thread every call gives WEFT_E_THREAD, but for weft_engine_wake and weft_engine_post. Functions of
 * weft_config, and those that take no handle, may be called from any thread. To use more cores make more engines.
 *
 * RESULTS. 0 or a count, or a negative WEFT_E_*. "Nothing to do" is a count of 0 and not an error. After an error
 * nothing has changed, and what a function writes through pointers is as it was, unless its comment says otherwise.
 * Each function's comment names the errors that are its own. Besides those there are WEFT_E_HANDLE, WEFT_E_GONE,
 * WEFT_E_THREAD, WEFT_E_INVALID (an argument that is never allowed: NULL where something is needed, unknown flags),
 * WEFT_E_NOMEM, WEFT_E_UNSUPPORTED (a member of a struct is set that this version does not know), and WEFT_E_CLOSED
 * from functions of streams whose connection is closed.
 *
 * EVENTS. User code is called at one point of an engine's turn, when no work is half done. So in any callback any call
 * is allowed, closing or freeing what the callback is about included. (The exceptions, where every call gives
 * WEFT_E_STATE: turning the engine from within its own turn; and any call from the callbacks for certificates, key
 * logs, logs, memory, clock and randomness, which run in the midst of things: only weft_engine_wake and _post, and
 * what needs no handle and makes none, may be called there.) Events come in two forms: through an
 * object's table of callbacks, or, for objects without one, in batches through the engine's on_events. The order is
 * the same.
 *
 * GROWTH. Structs begin with `size`, set by the caller to sizeof: later versions add members at the end, and a zero
 * there means what it meant before. Set unused and reserved members to 0; memset and designated initialisers do.
 * Events and enumerators may be added: ignore the ones you do not know. Nothing else changes within a major version.
 *
 * UNITS. Times are nanoseconds; lengths are bytes; texts are UTF-8 and end with a zero byte.
 *
 * OWNERSHIP. Pointers given to a function are not kept after it returns, unless its comment says so; user pointers are
 * kept and never looked behind. Pointers received in a callback are borrowed: they are good until it returns. Texts
 * that are returned or filled into structs of information are static. Handles need to be ended where a comment says
 * how; an engine ends all that is its own.
 *
 * COMMENTS stand above what they are about, and are about every function up to the next empty line or comment.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef WEFT_WEFT_H
#define WEFT_WEFT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) && __GNUC__ >= 4
#define WEFT_API __attribute__((visibility("default")))
#else
#define WEFT_API
#endif

/* ---- version --------------------------------------------------------------------------------------------------- */

#define WEFT_VERSION_MAJOR 0
#define WEFT_VERSION_MINOR 1
#define WEFT_VERSION_PATCH 0
#define WEFT_VERSION "0.1.0"

/* The version of the library in use, which may be newer than this header: major << 16 | minor << 8 | patch. */
WEFT_API uint32_t weft_version(void);
/* The same as text, static. */
WEFT_API const char *weft_version_text(void);
/* 1 when the library in use has the feature, 0 when not or when the name is unknown. Names: "quic-v1", "quic-v2",
 * "early-data", "migration" (RFC 9000 9), "ecn", "bbr", "reset-stream-at", "ack-frequency", "stream-deadlines", "pair", "pool",
 * "datagrams" (RFC 9221), "qlog". */
WEFT_API uint32_t weft_has_feature(const char *name);

/* ---- errors ---------------------------------------------------------------------------------------------------- */

enum weft_error {
    WEFT_OK = 0,
    WEFT_E_INVALID = -1,        /* an argument is not allowed here */
    WEFT_E_NOMEM = -2,          /* out of memory, or the engine's memory budget is used up */
    WEFT_E_HANDLE = -3,         /* not a handle of this kind, or never issued */
    WEFT_E_GONE = -4,           /* the object behind the handle is gone */
    WEFT_E_STATE = -5,          /* not possible in the object's present state */
    WEFT_E_THREAD = -6,         /* called from a thread that does not own the engine */
    WEFT_E_OPTION = -7,         /* unknown option */
    WEFT_E_VALUE = -8,          /* value not allowed for this option */
    WEFT_E_CLOSED = -9,         /* the connection is closed or closing */
    WEFT_E_STREAM_CLOSED = -10, /* this direction of the stream is closed */
    WEFT_E_STREAM_LIMIT = -11,  /* the peer does not allow more streams now */
    WEFT_E_BLOCKED = -12,       /* the buffer is full; a writable event follows */
    WEFT_E_TOO_LARGE = -13,     /* larger than the limit for it */
    WEFT_E_RESOLVE = -14,       /* the name could not be resolved */
    WEFT_E_ADDRESS = -15,       /* not a usable address */
    WEFT_E_IO = -16,            /* the system refused an operation on a socket or file */
    WEFT_E_TLS = -17,           /* the TLS configuration cannot be used */
    WEFT_E_CERTIFICATE = -18,   /* a certificate or key could not be read or does not fit */
    WEFT_E_UNSUPPORTED = -19,   /* not supported by this build, system or peer */
    WEFT_E_PROTOCOL = -20,      /* the peer broke the protocol */
    WEFT_E_TIMEOUT = -21,       /* the time for it is over */
    WEFT_E_INTERNAL = -22       /* a rule inside weft was broken; please report it */
};

/* A sentence for a person, and the name ("GONE"); static. For a number that is none: "UNKNOWN". */
WEFT_API const char *weft_strerror(int32_t error);
WEFT_API const char *weft_error_name(int32_t error);

/* ---- handles --------------------------------------------------------------------------------------------------- */

/* Compare and hash by id; print it as hexadecimal. */
typedef struct weft_config {
    uint64_t id;
} weft_config;
typedef struct weft_engine {
    uint64_t id;
} weft_engine;
typedef struct weft_listener {
    uint64_t id;
} weft_listener;
typedef struct weft_conn {
    uint64_t id;
} weft_conn;
typedef struct weft_stream {
    uint64_t id;
} weft_stream;
typedef struct weft_buffer {
    uint64_t id;
} weft_buffer; /* received bytes that are kept: weft_buffer_retain */
typedef struct weft_pool {
    uint64_t id;
} weft_pool;
typedef struct weft_pair {
    uint64_t id;
} weft_pair;

/* Error codes of applications are at most this (RFC 9000 16). */
#define WEFT_CODE_MAX ((UINT64_C(1) << 62) - 1)

enum weft_role { WEFT_CLIENT = 0, WEFT_SERVER = 1 };

/* ---- bytes and addresses --------------------------------------------------------------------------------------- */

/* Bytes to send. */
typedef struct weft_bytes {
    const void *data;
    size_t len;
} weft_bytes;

/* Received bytes, borrowed. `source` is for weft_buffer_retain. */
typedef struct weft_slice {
    const uint8_t *data;
    size_t len;
    uint64_t source;
} weft_slice;

/* An IP address and UDP port. IPv4 in IPv6 (::ffff:192.0.2.1) never appears; it is family 4. */
typedef struct weft_addr {
    uint8_t family; /* 4, 6, or 0: none */
    uint8_t reserved;
    uint16_t port;  /* host order */
    uint32_t scope; /* interface number of a link-local IPv6 address, else 0 */
    uint8_t ip[16]; /* 4 or 16 bytes in network order, the rest 0 */
} weft_addr;

#define WEFT_ADDR_TEXT 64 /* room for every address as text */

/* From "192.0.2.1", "192.0.2.1:443", "2001:db8::1", "[2001:db8::1]:443", "[fe80::1%eth0]:443"; `port` is used when
 * the text has none. No name is looked up. WEFT_E_ADDRESS when it is none of these. */
WEFT_API int32_t weft_addr_parse(const char *text, uint16_t port, weft_addr *addr);
/* As text with port, as above. The length without the zero byte; WEFT_E_TOO_LARGE when it does not fit into
 * capacity. */
WEFT_API int32_t weft_addr_format(const weft_addr *addr, char *text, size_t capacity);

/* ---- configurations -------------------------------------------------------------------------------------------- */

/* A configuration may be changed until it is first used by weft_connect, weft_listen or weft_listener_reload; from
 * then on what would change it gives WEFT_E_STATE. Where a function below fails, weft_config_error has the cause in
 * words. */

/* Defaults for a role (enum weft_role). A client verifies servers against the system's certificate authorities; a
 * server needs a certificate. Both need ALPN names (RFC 9001 8.1). To be freed with weft_config_free.
 * WEFT_E_INTERNAL: the TLS library does not start; WEFT_E_STATE: in a callback where no call is allowed. */
WEFT_API int32_t weft_config_new(uint32_t role, weft_config *config);
/* Ends the handle. What uses the configuration keeps it as long as needed. */
WEFT_API int32_t weft_config_free(weft_config config);
/* Copies why the last call with this configuration failed ("" when none did), cut to capacity. Its length, uncut. */
WEFT_API int32_t weft_config_error(weft_config config, char *text, size_t capacity);

/* Options. Their names, ranges and meanings: weft_option_info, or docs/options. The text form has units: "30s",
 * "250ms", "4MiB", "on", "newreno"; numbers are ns, bytes, counts, 0 or 1, or the index of a choice.
 * WEFT_E_OPTION: no such option; WEFT_E_VALUE: not a value for it; the text then says what is. */
WEFT_API int32_t weft_config_set(weft_config config, const char *option, const char *value);
WEFT_API int32_t weft_config_set_uint(weft_config config, const char *option, uint64_t value);
WEFT_API int32_t weft_config_get_uint(weft_config config, const char *option, uint64_t *value);
/* Server: the addresses clients are asked to move to when the handshake is confirmed (RFC 9000 9.6), "192.0.2.7:443" and
 * "[2001:db8::7]:443"; NULL: none of this family. The engine must receive there: by a listener that is bound to it, or
 * to all addresses. WEFT_E_ADDRESS: not an address of its family with a port. */
WEFT_API int32_t weft_config_set_preferred_address(weft_config config, const char *v4, const char *v6);

enum weft_option_type {
    WEFT_OPTION_TIME = 0, /* ns */
    WEFT_OPTION_BYTES = 1,
    WEFT_OPTION_COUNT = 2,
    WEFT_OPTION_FLAG = 3,  /* 0 or 1 */
    WEFT_OPTION_CHOICE = 4 /* an index into choices */
};

typedef struct weft_option {
    uint32_t size;
    uint32_t type; /* enum weft_option_type */
    const char *name;
    const char *text; /* one sentence */
    uint64_t standard, least, greatest;
    const char *const *choices; /* the names, NULL behind the last; NULL for other types */
} weft_option;

/* How many options there are, and each of them; the texts are static. WEFT_E_OPTION: index is not below the count. */
WEFT_API uint32_t weft_option_count(void);
WEFT_API int32_t weft_option_info(uint32_t index, weft_option *option);

/* Application protocols (RFC 7301), most wanted first, separated by commas: "h3,hq-interop". A server picks the
 * first of its own that the client offers, and refuses clients that offer none. WEFT_E_TLS: not such a list. */
WEFT_API int32_t weft_config_set_alpn(weft_config config, const char *names);

enum weft_format { WEFT_PEM = 0, WEFT_DER = 1 };

/* A certificate chain, leaf first, and its private key. A server may be given several: the one that fits the name
 * the client asks for is used, else the first. A client's is sent to servers that ask for one. WEFT_E_CERTIFICATE:
 * cannot be read or do not fit; WEFT_E_IO: a file cannot be read; WEFT_E_TOO_LARGE: beyond 1 MiB. */
WEFT_API int32_t weft_config_add_certificate(weft_config config, uint32_t format, const void *chain, size_t chain_len,
                                             const void *key, size_t key_len);
WEFT_API int32_t weft_config_add_certificate_files(weft_config config, const char *chain_pem, const char *key_pem);
/* A new key and a certificate for it that nobody else has signed, for names (host names or addresses, separated by
 * commas), good for `days` (1 to 3650). For tests, and for peers that are pinned. WEFT_E_CERTIFICATE: it cannot be
 * made of these names. */
WEFT_API int32_t weft_config_self_signed(weft_config config, const char *names, uint32_t days);
/* SHA-256 of the first certificate's DER, as weft_config_add_pin wants it. WEFT_E_STATE: there is no certificate. */
WEFT_API int32_t weft_config_fingerprint(weft_config config, uint8_t sha256[32]);

/* Certificate authorities to trust; may be called several times. Once any is given the system's are not used, unless
 * weft_config_use_system_trust asks for both. PEM may hold many. WEFT_E_CERTIFICATE: none can be read; WEFT_E_IO: a
 * file cannot be read; WEFT_E_TOO_LARGE: beyond 16 MiB. */
WEFT_API int32_t weft_config_add_trust(weft_config config, uint32_t format, const void *roots, size_t len);
WEFT_API int32_t weft_config_add_trust_file(weft_config config, const char *pem);
/* Whether to trust the system's authorities too (they are loaded when the configuration is first used). */
WEFT_API int32_t weft_config_use_system_trust(weft_config config, uint32_t on);
/* Whether to verify the peer's certificate. Client: on unless turned off. Server: off; when on, clients must have
 * one. Chains of more than 8 certificates are refused. */
WEFT_API int32_t weft_config_set_verify(weft_config config, uint32_t on);
/* Accept exactly the peer whose leaf certificate has this SHA-256, whoever signed it; may be called several times. */
WEFT_API int32_t weft_config_add_pin(weft_config config, const uint8_t sha256[32]);

/* A congestion controller of one's own. Each path of a connection that is made with the configuration has one: `open`
 * begins it, `close` ends it, and in between it is told what becomes of what was sent and answers by setting `window`
 * and `pacing_rate`. How much is lost and when is found by the core, as RFC 9002 has it; how much may be sent is the
 * controller's business alone, with one exception: less than two datagrams are two. The functions are called on the
 * thread of the engine, must not call weft (what they call gives WEFT_E_STATE), and must not keep pointers they are
 * given, but for what they put into `state`. Engines on several threads that share a configuration call them at the
 * same time, for different paths. Each but the size may be NULL. */
typedef struct weft_congestion_path {
    uint32_t size;
    uint32_t mtu;         /* told: largest datagram, bytes */
    void *state;          /* the controller's own; NULL when `open` is called */
    uint64_t window;      /* set: bytes that may be in flight. At first the usual initial window */
    uint64_t pacing_rate; /* set: bytes a second; 0, as at first: a little more than a window each round trip */
    uint64_t now;         /* told: ns, of the engine's clock; 0 in open and close */
    uint64_t in_flight;   /* told: bytes */
    uint64_t smoothed_rtt, min_rtt, latest_rtt; /* told: ns; 0: not known yet */
} weft_congestion_path;

typedef struct weft_congestion_ack {
    uint32_t size;
    uint32_t app_limited;     /* 1: the window was not used up: acknowledgements are no reason to grow it */
    uint64_t bytes;           /* newly acknowledged */
    uint64_t prior_in_flight; /* bytes in flight before it */
    uint64_t sent_at;         /* ns: when the newest packet it acknowledges was sent */
    uint64_t rtt;             /* ns: the sample it gave; 0: none */
    uint64_t delivered;       /* bytes on this path so far */
    uint64_t rate;            /* bytes a second: what the path delivered; 0: no sample */
} weft_congestion_ack;

typedef struct weft_congestion_loss {
    uint32_t size;
    uint32_t ecn;       /* 1: reported by ECN-CE marks instead of a loss; bytes is 0 */
    uint32_t new_event; /* 1: what was lost was sent after the last event: reduce the window. 0: you have already */
    uint32_t reserved;
    uint64_t bytes;   /* newly lost */
    uint64_t sent_at; /* ns: when the newest of them was sent */
} weft_congestion_loss;

typedef struct weft_congestion_control {
    uint32_t size;
    uint32_t reserved;
    void *user;
    int32_t (*open)(void *user, weft_congestion_path *path); /* not 0: there is no such path, or connection */
    void (*close)(void *user, weft_congestion_path *path);   /* after `open` gave 0: to free what `state` is */
    void (*on_sent)(void *user, weft_congestion_path *path, uint64_t bytes);
    void (*on_ack)(void *user, weft_congestion_path *path, const weft_congestion_ack *ack);
    void (*on_loss)(void *user, weft_congestion_path *path, const weft_congestion_loss *loss);
    void (*on_persistent)(void *user, weft_congestion_path *path); /* persistent congestion (RFC 9002 7.6) */
    void (*on_spurious)(void *user, weft_congestion_path *path);   /* nothing of the last event was lost: undo it */
    void (*on_mtu)(void *user, weft_congestion_path *path);        /* mtu has changed */
} weft_congestion_control;

/* Has this controller (the table is copied) govern instead of what the option congestion_control names; NULL: as the
 * option says again. What `user` points to must live as long as the configuration and its connections do. */
WEFT_API int32_t weft_config_set_congestion_control(weft_config config, const weft_congestion_control *control);

/* What a verify callback is asked. */
typedef struct weft_verify {
    uint32_t size;
    uint32_t count;          /* certificates in the chain */
    const weft_bytes *chain; /* DER, leaf first */
    const char *server_name; /* that was asked for; NULL: none */
    uint32_t ok;             /* 1: the built-in verification found nothing wrong */
    uint32_t reserved;
} weft_verify;

/* 0 to accept, or the TLS alert to refuse with (RFC 8446 6.2: 42 bad_certificate, 46 certificate_unknown ...).
 * Called on the thread of the engine; must not call weft. */
typedef int32_t (*weft_verify_cb)(void *user, const weft_verify *verify);
/* Has callback(user, ...) judge each chain, whatever the built-in verification found; NULL: no more. */
WEFT_API int32_t weft_config_set_verify_callback(weft_config config, weft_verify_cb callback, void *user);

/* Is this the first use of a ticket (by its id) in the fleet? 1 allows early data, 0 costs the client a full handshake.
 * The id must be remembered for `seconds`. Called on the thread of the engine; must answer at once and not call weft. */
typedef int32_t (*weft_replay_cb)(void *user, const uint8_t id[16], uint32_t seconds);
/* Server: early data only where callback(user, ...) agrees, beside the register of tickets every process keeps (RFC 8446
 * 8.1); for servers that share a ticket secret. NULL: no more. */
WEFT_API int32_t weft_config_set_replay_callback(weft_config config, weft_replay_cb callback, void *user);

/* Secrets for decrypting captures: lines in the NSS key log format, without line break, to a callback (any engine's
 * thread; must not call weft) or appended to a file. */
typedef void (*weft_keylog_cb)(void *user, const char *line);
/* Where to: both may be used; callback NULL: no more. WEFT_E_IO: the file cannot be opened. */
WEFT_API int32_t weft_config_set_keylog(weft_config config, weft_keylog_cb callback, void *user);
WEFT_API int32_t weft_config_set_keylog_file(weft_config config, const char *path);

/* A piece of a connection's qlog (draft-ietf-quic-qlog-main-schema): one or more whole records of a JSON text sequence
 * (RFC 7464). The first piece of a connection begins with the header. */
typedef struct weft_qlog {
    uint32_t size;
    uint32_t role;        /* enum weft_role: whose view it is */
    weft_conn conn;       /* id 0: the application does not know it yet, or no more, or it lost a race of addresses */
    const uint8_t *odcid; /* the ID that the client chose first, which names the log on both sides */
    uint32_t odcid_len;
    uint32_t last; /* 1: that was the end of this log; len is 0 */
    const void *data;
    size_t len;
} weft_qlog;

/* 0: taken. Else the piece is gone, and its records are counted (qlog_dropped). Called on the thread of the engine in
 * the midst of things: must be quick and not call weft. */
typedef int32_t (*weft_qlog_cb)(void *user, const weft_qlog *qlog);
/* What connections do, as qlog; docs/qlog.md tells what is in it (no keys, no tokens, no content). To a callback, or to
 * files ODCID_client.sqlog and ODCID_server.sqlog in a directory that exists; both may be used. Pieces come when there
 * is enough, when a second has passed, when a connection rests, and at its end. Files are written by a thread of the
 * configuration's own: a disk that is too slow costs records and nothing else, and whatever frees the configuration
 * last waits until all is written. path or callback NULL: no more. The option qlog_one_in takes a share of the connections. WEFT_E_IO: no
 * such directory, or no files can be made in it. */
WEFT_API int32_t weft_config_set_qlog(weft_config config, weft_qlog_cb callback, void *user);
WEFT_API int32_t weft_config_set_qlog_dir(weft_config config, const char *path);

/* Colon-separated names, most wanted first: TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384,
 * TLS_CHACHA20_POLY1305_SHA256; X25519, P-256, P-384, P-521, X25519MLKEM768. WEFT_E_TLS: a name is unknown. */
WEFT_API int32_t weft_config_set_ciphers(weft_config config, const char *names);
WEFT_API int32_t weft_config_set_groups(weft_config config, const char *names);
/* Server: the secret under which session tickets are issued (RFC 8446 4.6.1), good for so many seconds (1 to 604800).
 * The servers of a fleet share it. Without it each configuration makes up its own, for two hours. WEFT_E_TLS: another
 * lifetime, or not a server's. */
WEFT_API int32_t weft_config_set_ticket_secret(weft_config config, const uint8_t secret[32], uint32_t lifetime_s);

/* A client that comes back: what it shows. */
enum weft_token_kind {
    WEFT_TOKEN_NONE = 0,
    WEFT_TOKEN_OTHER = 1, /* not weft's, not for this address, or too old */
    WEFT_TOKEN_RETRY = 2, /* weft's, from a Retry just now: it is at its address */
    WEFT_TOKEN_NEW = 3    /* weft's, from a connection before */
};

typedef struct weft_client {
    uint32_t size;
    uint32_t kind; /* enum weft_token_kind, for judge_token */
    weft_addr remote;
    const char *server_name; /* for tickets: that it asks for; NULL: none */
    weft_bytes data;         /* judge_token: the token; judge_ticket: what fill_ticket had put into it */
} weft_client;

enum weft_verdict {
    WEFT_VERDICT_DEFAULT = 0, /* as without the function */
    WEFT_VERDICT_ACCEPT = 1,  /* token: the client counts as being at its address. Ticket: as DEFAULT */
    WEFT_VERDICT_REFUSE = 2,  /* token: CONNECTION_REFUSED. Ticket: a full handshake, early data is lost */
    WEFT_VERDICT_RETRY = 3,   /* token: it must prove its address first; DEFAULT for one that just has */
    WEFT_VERDICT_DROP = 4     /* token: no answer */
};

/* Server: a say in whom to admit. All are called on the thread of the engine, must answer at once and not call weft;
 * each may be NULL. No verdict lifts limits (options max_connections and those about floods). */
typedef struct weft_admission {
    uint32_t size;
    uint32_t reserved;
    void *user;
    /* Each ticket that opens, before its early data is read; each first Initial, perhaps again (RFC 9000 8.1). Another
     * number than a verdict refuses. */
    uint32_t (*judge_ticket)(void *user, const weft_client *client);
    uint32_t (*judge_token)(void *user, const weft_client *client);
    /* Write at most capacity bytes (31 into a ticket, which hides them from the client; 256 as the token of a NEW_TOKEN
     * frame, in place of weft's: WEFT_TOKEN_OTHER when it comes back). How many; 0: none, respectively no token */
    size_t (*fill_ticket)(void *user, const weft_client *client, uint8_t *out, size_t capacity);
    size_t (*make_token)(void *user, const weft_client *client, uint8_t *out, size_t capacity);
} weft_admission;

/* The table is copied; NULL: nobody is asked. WEFT_E_TLS: not a server's. */
WEFT_API int32_t weft_config_set_admission(weft_config config, const weft_admission *admission);

/* ---- events ---------------------------------------------------------------------------------------------------- */

/* What follows what.
 *
 * A connection: ACCEPTED (server) first; CONNECTED at most once; CONFIRMED at most once, after CONNECTED; SESSION
 * and TOKEN (client), PATH, PATH_NEWS, STREAMS, DATAGRAM and DATAGRAM_ROOM any number of times after CONNECTED. For
 * each token of weft_datagram_send DATAGRAM_OUTCOME comes as told there. With early data, and where a server sends
 * before CONNECTED, the last three of these, DATAGRAM_OUTCOME and a stream's events may come before it. CONN_CLOSED
 * exactly once, last, after STREAM_CLOSED of all its streams. A connection that fails to come about, without having
 * been used, has CONN_CLOSED alone.
 *
 * A stream: STREAM_OPENED first, when the peer opened it. DATA or READABLE any number of times, until one says
 * WEFT_FIN, RESET comes, the end is read or weft_stream_stop is called, whichever is first; none of them after that.
 * WRITABLE once after a write that was not taken whole, or that filled the buffer. RELEASED once for each token.
 * STOPPED at most once, or FINISHED at most once: all we sent, WEFT_FIN included, was acknowledged; no WRITABLE after
 * them, nor after weft_stream_reset. STREAM_CLOSED exactly once, last: when both directions are done, or the
 * connection is.
 *
 * A listener: ACCEPTED any number of times, then LISTENER_CLOSED, after CONN_CLOSED of all its connections.
 *
 * Several things that happened to one object in a turn come in the order of the numbers below, but for CONN_CLOSED;
 * things that happened several times come once (but DATA, RELEASED, DATAGRAM and DATAGRAM_OUTCOME). What a call brings
 * about while they are being told comes after them. The events of one
 * batch were collected before any of them was heard: what is done in between bears on the next batch. */
enum weft_event_type {
    WEFT_EV_ACCEPTED = 1,    /* listener, conn: a client; its handshake has begun */
    WEFT_EV_CONNECTED = 2,   /* the handshake is complete: streams may be used, the peer is known (RFC 9001 4.1.1) */
    WEFT_EV_CONFIRMED = 3,   /* and the peer knows that too (RFC 9001 4.1.2) */
    WEFT_EV_SESSION = 4,     /* client; data, len: for weft_connect_params.session of a later connection */
    WEFT_EV_TOKEN = 5,       /* client; data, len: for weft_connect_params.token (RFC 9000 8.1.3) */
    WEFT_EV_PATH = 6,        /* the connection has moved to other addresses (RFC 9000 9) */
    WEFT_EV_STREAMS = 7,     /* after WEFT_E_STREAM_LIMIT: more streams may be opened now */
    WEFT_EV_CONN_CLOSED = 8, /* code, cause, flags, error; data, len: the reason. weft_conn_get_close has it all */
    WEFT_EV_DATAGRAM = 9,    /* data, len, source; perhaps WEFT_ZERO_RTT in flags: the peer's datagram (RFC 9221) */
    WEFT_EV_DATAGRAM_OUTCOME = 10, /* token; code: enum weft_datagram_outcome of what weft_datagram_send was given */
    WEFT_EV_DATAGRAM_ROOM = 11,    /* after WEFT_E_BLOCKED: datagrams may be sent again */
    WEFT_EV_PATH_NEWS = 12,        /* weft_conn_path_news has more: a path was proven, has failed, is in use (RFC 9000 8.2) */
    WEFT_EV_STREAM_OPENED = 16,    /* by the peer */
    WEFT_EV_DATA = 17,             /* data, len, source; WEFT_FIN in flags: the end (len may be 0) */
    WEFT_EV_READABLE = 18,         /* instead of DATA, for streams that are read with weft_stream_read or _peek */
    WEFT_EV_RESET = 19,            /* code: the peer broke its sending off (RFC 9000 19.4) */
    WEFT_EV_STOPPED = 20,          /* code: the peer wants no more from us (RFC 9000 19.5); we have reset our side */
    WEFT_EV_WRITABLE = 21,         /* there is room for writing again */
    WEFT_EV_RELEASED = 22,         /* token: bytes given to weft_stream_write_ref are no longer needed */
    WEFT_EV_FINISHED = 23,         /* the peer's weft has everything we sent */
    WEFT_EV_STREAM_CLOSED = 24,
    WEFT_EV_LISTENER_CLOSED = 32 /* its socket is closed, and its last connection gone */
};

/* The name of a type ("STREAM_OPENED"); static; "UNKNOWN" for a number that is none. */
WEFT_API const char *weft_event_name(uint32_t type);

enum weft_event_flag {
    WEFT_FIN = 1,     /* DATA, and writing: the last byte of this direction */
    WEFT_APP = 2,     /* CONN_CLOSED: code is the application's, else one of RFC 9000 20.1 */
    WEFT_ZERO_RTT = 4 /* DATAGRAM: it came as 0-RTT, so somebody may have sent it before (RFC 9001 9.2) */
};

/* Always 128 bytes. Members that a type does not name above are 0. */
typedef struct weft_event {
    uint32_t type;          /* enum weft_event_type */
    uint32_t flags;         /* enum weft_event_flag */
    weft_listener listener; /* of ACCEPTED and LISTENER_CLOSED */
    weft_conn conn;         /* of all events of connections and streams */
    weft_stream stream;     /* of all events of streams */
    uint64_t code;
    uint64_t token;
    uint64_t source;    /* for weft_buffer_retain */
    uint64_t stream_id; /* of all events of streams (RFC 9000 2.1) */
    uint64_t len;
    int32_t error;  /* CONN_CLOSED: as in weft_close */
    uint32_t cause; /* CONN_CLOSED: enum weft_cause */
    uint64_t reserved[4];
    const uint8_t *data; /* borrowed */
#if UINTPTR_MAX == 0xffffffffu
    uint32_t pad_data;
#endif
    void *user; /* of the object the event is about: stream, else connection, else listener */
#if UINTPTR_MAX == 0xffffffffu
    uint32_t pad_user;
#endif
} weft_event;

/* One or more events of objects without callbacks. Several calls may be needed for one turn. */
typedef void (*weft_events_cb)(void *user, const weft_event *events, uint32_t count);

/* ---- engines --------------------------------------------------------------------------------------------------- */

/* Memory: like malloc, realloc and free, but told the sizes. Must be able to serve the engine's thread, and those
 * that call weft_engine_post. */
typedef struct weft_allocator {
    uint32_t size;
    uint32_t reserved;
    void *(*alloc)(void *user, size_t size);
    void *(*resize)(void *user, void *block, size_t from, size_t size);
    void (*release)(void *user, void *block, size_t size);
    void *user;
} weft_allocator;

enum weft_log_level { WEFT_LOG_ERROR = 1, WEFT_LOG_WARNING = 2, WEFT_LOG_INFO = 3 };

enum weft_engine_flag {
    WEFT_ENGINE_EXTERNAL = 1 /* no sockets: datagrams go through weft_engine_input and weft_engine_output */
};

typedef struct weft_engine_params {
    uint32_t size;
    uint32_t flags; /* enum weft_engine_flag */
    void *uv_loop;  /* a uv_loop_t * of yours, which you run; NULL: a loop of its own. Not with WEFT_ENGINE_EXTERNAL */
    const weft_allocator *allocator;    /* NULL: malloc and so on; copied */
    uint64_t memory_limit;              /* most bytes the engine may hold; 0: as many as there are */
    uint64_t (*clock)(void *user);      /* ns, never going back; NULL: the system's */
    uint64_t (*wall_clock)(void *user); /* ns since 1970; NULL: the system's */
    void *clock_user;
    void (*random)(void *user, uint8_t *out, size_t len); /* unpredictable; NULL: the system's */
    void *random_user;
    void (*log)(void *user, uint32_t level, const char *text); /* NULL: nobody listens */
    void *log_user;
    weft_events_cb on_events; /* for objects without callbacks; NULL: those have no events, their bytes wait */
    void *events_user;
    const uint8_t *fleet_secret; /* 32 bytes from which address and reset tokens are made; servers that share an address
                                    share it, and it should outlive restarts. NULL: random. Copied */
    uint32_t number;             /* 0 to 255: put into connection IDs, so that several engines can share a port */
    uint32_t receive_buffer;     /* socket buffers to ask of the system; 0: 4 MiB */
    uint32_t send_buffer;
    uint32_t stream_flags; /* enum weft_stream_flag: what the connections' streams begin with */
} weft_engine_params;

/* A new engine, owned by the calling thread, to be freed with weft_engine_free. params may be NULL; it is copied.
 * WEFT_E_IO: the system refuses a loop; WEFT_E_INTERNAL: the TLS library does not start; WEFT_E_STATE: there is a pair
 * with WEFT_PAIR_REPEATABLE. */
WEFT_API int32_t weft_engine_new(const weft_engine_params *params, weft_engine *engine);
/* Frees the engine and all its objects, without a word to peers or callbacks; their handles end, and what was lent to
 * weft_stream_write_ref or kept with weft_buffer_retain ends too. In a callback of this engine: no further callback
 * comes, and the memory goes when the turn is over. With a loop of yours, run it once more afterwards: it closes what
 * the engine had there. An engine with its own loop waits for a name that the system is looking up for it (getaddrinfo
 * cannot be interrupted once it has begun, and may take seconds); connect to addresses where that is too long. */
WEFT_API int32_t weft_engine_free(weft_engine engine);
/* Copies why the last weft_connect or weft_listen of this engine failed ("" when none did), cut to capacity. Its
 * length. */
WEFT_API int32_t weft_engine_error(weft_engine engine, char *text, size_t capacity);

/* Turns the engine until weft_engine_stop, or until nothing is left to wait for (no listener, no connection, nothing
 * posted). WEFT_E_STATE: the loop is yours or external, or the engine is running already. */
WEFT_API int32_t weft_engine_run(weft_engine engine);
/* Makes weft_engine_run return after this turn; if it is not running, its next call returns at once. WEFT_E_STATE: the
 * loop is yours or external. */
WEFT_API int32_t weft_engine_stop(weft_engine engine);
/* One turn, without waiting: receives, delivers events, sends. 1: there was work, 0: there was none. For an engine
 * with its own loop, or an external one. WEFT_E_STATE: within its own turn, or the loop is yours. */
WEFT_API int32_t weft_engine_turn(weft_engine engine);
/* To wait for the next turn in a loop of another kind: a descriptor that is readable when one is due
 * (WEFT_E_UNSUPPORTED: there is none), and ns until one is due anyway: 0 at once, UINT64_MAX never. */
WEFT_API int32_t weft_engine_fd(weft_engine engine);
WEFT_API int32_t weft_engine_deadline(weft_engine engine, uint64_t *ns);
/* The engine's clock, in ns. */
WEFT_API int32_t weft_engine_now(weft_engine engine, uint64_t *now);
/* From any thread: makes the engine turn soon. */
WEFT_API int32_t weft_engine_wake(weft_engine engine);
/* From any thread: has function(arg) called on the engine's thread, among the callbacks of its next turn, in the
 * order of posting. Posted functions whose turn never comes, because the engine is freed, are not called; arg is kept
 * until then. */
WEFT_API int32_t weft_engine_post(weft_engine engine, void (*function)(void *arg), void *arg);
/* Makes the calling thread the owner. The one before must have stopped using the engine, and the two must have
 * synchronised. WEFT_E_STATE: the engine is in a turn. */
WEFT_API int32_t weft_engine_adopt(weft_engine engine);

/* External I/O. */
#define WEFT_TRAIN_SIZE 65536 /* bytes of room for weft_engine_output */
#define WEFT_TRAIN_MAX 64     /* most datagrams in a train */

typedef struct weft_datagram {
    void *data;
    size_t len;
    weft_addr local, remote; /* local: where it arrived, or where it should leave from (family 0: the system chooses) */
    uint32_t segment;        /* a train: `len` bytes are datagrams of so many bytes each, the last may be shorter;
                                0: one datagram */
    uint8_t ecn;             /* the two ECN bits of the IP header */
    uint8_t reserved[3];
} weft_datagram;

/* Datagrams that arrived (trains, if segment says so), to be followed by weft_engine_turn. A datagram belongs to the
 * listener bound to its local address, if there is one, and else to the connections made by weft_connect. Returns
 * how many were taken in: fewer than count when memory is used up, or before one that cannot be. WEFT_E_TOO_LARGE: the
 * first is longer than WEFT_TRAIN_SIZE; WEFT_E_STATE: the engine is not external, or within its turn. */
WEFT_API int64_t weft_engine_input(weft_engine engine, const weft_datagram *datagrams, uint32_t count);
/* The next thing to send: datagram->data points to WEFT_TRAIN_SIZE bytes of yours, and segment says how many
 * datagrams a train may have at most (0 or 1: one); all else is filled in. 1: there was one; 0: nothing to send now.
 * Call it after each turn, and after calls outside of a turn, until it gives 0. WEFT_E_STATE: the engine is not
 * external, or within its turn. */
WEFT_API int32_t weft_engine_output(weft_engine engine, weft_datagram *datagram);

/* ---- listeners ------------------------------------------------------------------------------------------------- */

typedef struct weft_listener_callbacks {
    uint32_t size;
    uint32_t reserved;
    /* A client has begun a handshake. Give the connection its callbacks and user pointer here; until it has its own,
     * it has those of weft_listen_params. */
    void (*on_accept)(void *user, weft_listener listener, weft_conn conn);
    void (*on_closed)(void *user, weft_listener listener); /* the handle ends when this returns */
} weft_listener_callbacks;

struct weft_conn_callbacks;
struct weft_stream_callbacks;

enum weft_listen_flag {
    WEFT_LISTEN_REUSE_PORT = 1, /* several engines on one port (SO_REUSEPORT) */
    WEFT_LISTEN_V6_ONLY = 2,    /* [::] does not take IPv4 too */
    /* Besides REUSE_PORT: the system hands a connection's datagrams to its engine even when the client's address has
     * changed. It takes the engine's number, which is in connection IDs, for its place among the sockets of the port:
     * so the engines are numbered 0, 1, 2 ... in the order of their weft_listen, as those of a weft_pool are. When one
     * of these sockets closes the system moves the last into its place: close all of them together, and listen anew in
     * the same order. What reaches the wrong engine all the same is handed on by those of a weft_pool, and lost by
     * others */
    WEFT_LISTEN_STEER = 4
};

typedef struct weft_listen_params {
    uint32_t size;
    uint32_t flags;                           /* enum weft_listen_flag */
    const weft_listener_callbacks *callbacks; /* these tables must stay as they are while something uses them */
    void *user;
    const struct weft_conn_callbacks *conn_callbacks;
    const struct weft_stream_callbacks *stream_callbacks;
    void *conn_user; /* what accepted connections' user pointers begin as */
} weft_listen_params;

/* Accepts connections on a UDP address: "0.0.0.0:443", "[::]:443" (IPv4 too), "[::1]:0" (the system chooses the
 * port). params may be NULL; the tables in it are not copied. The handle ends after LISTENER_CLOSED. WEFT_E_ADDRESS (none
 * of this host), WEFT_E_IO (in use, or not allowed), WEFT_E_TLS (no certificate, no ALPN, not a server's):
 * weft_engine_error says more. */
WEFT_API int32_t weft_listen(weft_engine engine, weft_config config, const char *address,
                             const weft_listen_params *params, weft_listener *listener);
/* The address it is bound to. WEFT_E_CLOSED: to none any more. */
WEFT_API int32_t weft_listener_address(weft_listener listener, weft_addr *addr);
/* How many connections it has. */
WEFT_API int32_t weft_listener_connections(weft_listener listener, uint32_t *count);
/* Connections accepted from now on have this configuration: new certificates without a pause.
 * WEFT_E_CLOSED: it accepts none any more; WEFT_E_TLS: as in weft_listen. */
WEFT_API int32_t weft_listener_reload(weft_listener listener, weft_config config);
/* Accepts no more (clients are told CONNECTION_REFUSED, RFC 9000 20.1); connections stay. Idempotent. */
WEFT_API int32_t weft_listener_stop(weft_listener listener);
/* Closes its connections too, with this application error code. LISTENER_CLOSED comes when the last one is gone: three
 * probe timeouts later (RFC 9000 10.2), which are some round trips, or 3 s where no round trip was measured, as in a
 * handshake that was refused. WEFT_E_CLOSED: it is closing already; WEFT_E_VALUE: code is not below 2^62. */
WEFT_API int32_t weft_listener_close(weft_listener listener, uint64_t code);
/* The user pointer; NULL for a handle that is not valid (weft_conn_user and weft_stream_user too). */
WEFT_API void *weft_listener_user(weft_listener listener);
WEFT_API int32_t weft_listener_set_user(weft_listener listener, void *user);

/* ---- connections ----------------------------------------------------------------------------------------------- */

/* Who or what ended a connection. */
enum weft_cause {
    WEFT_CAUSE_NONE = 0,              /* it is open */
    WEFT_CAUSE_LOCAL = 1,             /* this side's application */
    WEFT_CAUSE_PEER = 2,              /* the peer sent CONNECTION_CLOSE */
    WEFT_CAUSE_IDLE = 3,              /* nothing was heard for max_idle_timeout (RFC 9000 10.1) */
    WEFT_CAUSE_HANDSHAKE_TIMEOUT = 4, /* the handshake was not complete after handshake_timeout */
    WEFT_CAUSE_PROTOCOL = 5,          /* we found an error of the peer, or in its certificate: code says which */
    WEFT_CAUSE_RESET = 6,             /* stateless reset: the peer has lost its state (RFC 9000 10.3) */
    WEFT_CAUSE_VERSION = 7,           /* no version of QUIC in common */
    WEFT_CAUSE_INTERNAL = 8,          /* out of memory or the like, here */
    WEFT_CAUSE_CONNECT = 9            /* nothing was tried: name or addresses of no use; see error */
};

/* How a connection ended (RFC 9000 10, 20). */
typedef struct weft_close {
    uint32_t size;
    uint32_t cause;      /* enum weft_cause */
    int32_t error;       /* WEFT_OK for LOCAL and for PEER with code 0, else the WEFT_E_* that comes nearest */
    uint32_t app;        /* 1: code is the application's */
    uint64_t code;       /* as sent or received; 0x100 + TLS alert for handshake failures */
    uint64_t frame_type; /* transport errors: the frame that caused it; 0: unknown */
    uint32_t reason_len;
    char reason[132]; /* as sent or received, at most 128 bytes of any kind, then a zero byte */
} weft_close;

typedef struct weft_conn_callbacks {
    uint32_t size;
    uint32_t reserved;
    void (*on_connected)(void *user, weft_conn conn);
    void (*on_confirmed)(void *user, weft_conn conn);
    void (*on_session)(void *user, weft_conn conn, const uint8_t *session, size_t len);
    void (*on_token)(void *user, weft_conn conn, const uint8_t *token, size_t len);
    void (*on_path)(void *user, weft_conn conn);
    void (*on_streams)(void *user, weft_conn conn);
    void (*on_closed)(void *user, weft_conn conn, const weft_close *close); /* the handle ends when this returns */
    /* One datagram, of at least 0 bytes, and WEFT_ZERO_RTT in flags or 0. Without on_datagram they wait, as many as
     * option datagram_receive_queue allows, until another table has it. */
    void (*on_datagram)(void *user, weft_conn conn, const weft_slice *datagram, uint32_t flags);
    /* enum weft_datagram_outcome of the datagram with this token */
    void (*on_datagram_outcome)(void *user, weft_conn conn, uint64_t token, uint32_t outcome);
    void (*on_datagram_room)(void *user, weft_conn conn);
    void (*on_path_news)(void *user, weft_conn conn); /* see weft_conn_path_news */
} weft_conn_callbacks;

typedef struct weft_stream_callbacks {
    uint32_t size;
    uint32_t reserved;
    void (*on_opened)(void *user, weft_stream stream);
    /* Without on_data, bytes wait for weft_stream_read or _peek, and on_readable is called. */
    void (*on_data)(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags);
    void (*on_readable)(void *user, weft_stream stream);
    void (*on_reset)(void *user, weft_stream stream, uint64_t code);
    void (*on_stopped)(void *user, weft_stream stream, uint64_t code);
    void (*on_writable)(void *user, weft_stream stream);
    void (*on_released)(void *user, weft_stream stream, uint64_t token);
    void (*on_finished)(void *user, weft_stream stream);
    void (*on_closed)(void *user, weft_stream stream); /* the handle ends when this returns */
} weft_stream_callbacks;

typedef struct weft_connect_params {
    uint32_t size;
    uint32_t family;         /* 4 or 6: only addresses of this family; 0: both, raced (RFC 8305) */
    const char *server_name; /* to ask for and to verify; NULL: host */
    const void *session;     /* from an earlier SESSION event, to resume; NULL: none. With option early_data the first
                                bytes go out with the first packet */
    size_t session_len;
    const void *token; /* from an earlier TOKEN event */
    size_t token_len;
    /* For it, and for its streams unless they have their own; NULL: on_events. The tables must stay as they are while
     * something uses them. */
    const weft_conn_callbacks *callbacks;
    const weft_stream_callbacks *stream_callbacks;
    void *user;
} weft_connect_params;

/* Begins a connection to host, a name or an address without port. CONNECTED or CONN_CLOSED follows, not before this
 * function has returned. params may be NULL. WEFT_E_ADDRESS, WEFT_E_IO, WEFT_E_TLS (no ALPN, not a client's
 * configuration, a session that cannot be used), WEFT_E_VALUE (options that do not go together), WEFT_E_UNSUPPORTED
 * (a name, with external I/O): weft_engine_error says more. */
WEFT_API int32_t weft_connect(weft_engine engine, weft_config config, const char *host, uint16_t port,
                              const weft_connect_params *params, weft_conn *conn);
/* Closes with an application error code and a reason (at most 128 bytes of it are sent; NULL: none). At once,
 * whatever is still to be sent; finish streams and wait for FINISHED if that matters. Its streams end, then
 * CONN_CLOSED comes. WEFT_E_CLOSED: it is closed or closing already; WEFT_E_VALUE: code is not below 2^62. */
WEFT_API int32_t weft_conn_close(weft_conn conn, uint64_t code, const char *reason);
/* The same, with a transport error code (RFC 9000 20.1) and the same errors: WEFT_E_CLOSED, WEFT_E_VALUE. */
WEFT_API int32_t weft_conn_close_transport(weft_conn conn, uint64_t code, const char *reason);
/* Lets the handle live on after CONN_CLOSED, for reading what is known about the connection, until weft_conn_release.
 * Counted: each keep wants its release. A release without keep is WEFT_E_STATE. */
WEFT_API int32_t weft_conn_keep(weft_conn conn);
WEFT_API int32_t weft_conn_release(weft_conn conn);

/* Callbacks for its events (NULL: on_events), and for its streams' that have none of their own. The tables are not
 * copied: they must stay as they are while something uses them. */
WEFT_API int32_t weft_conn_set_callbacks(weft_conn conn, const weft_conn_callbacks *callbacks);
WEFT_API int32_t weft_conn_set_stream_callbacks(weft_conn conn, const weft_stream_callbacks *callbacks);
/* enum weft_stream_flag: what its streams begin with. */
WEFT_API int32_t weft_conn_set_stream_flags(weft_conn conn, uint32_t flags);
/* The user pointer, which callbacks and events are given. */
WEFT_API void *weft_conn_user(weft_conn conn);
WEFT_API int32_t weft_conn_set_user(weft_conn conn, void *user);
/* The engine it belongs to; {0} for a handle that is not valid. */
WEFT_API weft_engine weft_conn_engine(weft_conn conn);

enum weft_conn_state {
    WEFT_CONN_CONNECTING = 0, /* name, addresses, handshake */
    WEFT_CONN_OPEN = 1,
    WEFT_CONN_CLOSING = 2, /* closed by either side; CONN_CLOSED is on its way */
    WEFT_CONN_CLOSED = 3   /* CONN_CLOSED was delivered */
};

enum weft_early { WEFT_EARLY_NONE = 0, WEFT_EARLY_PENDING = 1, WEFT_EARLY_ACCEPTED = 2, WEFT_EARLY_REJECTED = 3 };

typedef struct weft_conn_info {
    uint32_t size;
    uint8_t state;    /* enum weft_conn_state */
    uint8_t role;     /* enum weft_role */
    uint8_t resumed;  /* 1: the handshake resumed an earlier session */
    uint8_t early;    /* enum weft_early: what became of 0-RTT */
    uint32_t version; /* of QUIC: 1, or 0x6b3343cf for version 2 (RFC 9369); 0: not known yet */
    uint32_t reserved;
    weft_listener listener; /* that accepted it; {0}: none */
    weft_addr local, remote;
    uint64_t created_at, connected_at; /* the engine's clock; 0: not yet */
    uint64_t peer_max_idle_timeout;    /* ns; the peer's transport parameters (RFC 9000 18.2), once connected */
    uint64_t peer_max_udp_payload_size;
    uint64_t peer_initial_max_data;
    uint64_t peer_initial_max_streams_bidi, peer_initial_max_streams_uni;
    uint64_t peer_certificate_len; /* weft_conn_peer_certificate; 0: it sent none, or none yet */
    char alpn[256];                /* "" before it is known */
    char server_name[256];         /* that the client asked for; "": none */
    char cipher[48];               /* "TLS_AES_128_GCM_SHA256"; "" when not known (any more) */
    char group[48];                /* key exchange: "X25519" */
    uint64_t closing_until; /* the engine's clock: when the closing or draining period ends, in which late packets
                             * are still known (RFC 9000 10.2); 0: it is not closed */
} weft_conn_info;

/* Fills in as much of *info as info->size says. */
WEFT_API int32_t weft_conn_get_info(weft_conn conn, weft_conn_info *info);
/* How it ended (RFC 9000 10); cause NONE while it has not. */
WEFT_API int32_t weft_conn_get_close(weft_conn conn, weft_close *close);
/* Copies the peer's leaf certificate (DER), the newest session (RFC 8446 4.6.1), the newest token (RFC 9000 8.1.3):
 * all of it, or nothing when capacity is less. The length; 0: there is none. */
WEFT_API int64_t weft_conn_peer_certificate(weft_conn conn, void *out, size_t capacity);
WEFT_API int64_t weft_conn_session(weft_conn conn, void *out, size_t capacity);
WEFT_API int64_t weft_conn_token(weft_conn conn, void *out, size_t capacity);

typedef struct weft_path {
    uint32_t size;
    uint32_t validated; /* 1: the peer is known to be at this address (RFC 9000 8) */
    weft_addr local, remote;
    uint64_t rtt, rtt_variance, rtt_min, rtt_latest; /* ns; latest 0: no sample yet (RFC 9002 5) */
    uint64_t congestion_window, bytes_in_flight;
    uint64_t slow_start_threshold; /* UINT64_MAX: in the first slow start */
    uint64_t mtu;                  /* largest datagram in use */
    uint64_t pto_count;            /* probe time-outs in a row */
} weft_path;

/* The path in use (RFC 9000 9). WEFT_E_STATE: none yet, or the connection has ended. */
WEFT_API int32_t weft_conn_get_path(weft_conn conn, weft_path *path);

/* Client: moves to another address of its own (RFC 9000 9.2). local: "192.0.2.1", with or without port, of the address
 * family in use; NULL: a new port, the system choosing the address. The new path is proven first, under a connection ID
 * of its own; until then, and if that fails, the connection stays where it is: PATH_NEWS tells, and PATH when it has
 * moved. A later move takes the place of one under way. WEFT_E_STATE: not a client, not CONFIRMED yet, or the server
 * does not want clients to move; WEFT_E_BLOCKED: the server has given no unused connection ID yet, try again;
 * WEFT_E_ADDRESS, WEFT_E_INVALID (external I/O: local must be a full address), WEFT_E_IO, WEFT_E_CLOSED. */
WEFT_API int32_t weft_conn_migrate(weft_conn conn, const char *local);
/* The same without moving: PATH_NEWS tells whether one could (RFC 9000 9.1). The path is kept; with external I/O, where
 * the address names it, a later move there happens at once. The same errors: WEFT_E_STATE, WEFT_E_BLOCKED, WEFT_E_ADDRESS,
 * WEFT_E_INVALID, WEFT_E_IO, WEFT_E_CLOSED. */
WEFT_API int32_t weft_conn_probe(weft_conn conn, const char *local);

enum weft_path_news_kind {
    WEFT_PATH_VALIDATED = 1, /* the peer answers on this path (RFC 9000 8.2) */
    WEFT_PATH_FAILED = 2,    /* it does not, or not any more */
    WEFT_PATH_ACTIVE = 3     /* this is the path in use from now on */
};

typedef struct weft_path_news {
    uint32_t size;
    uint32_t news; /* enum weft_path_news_kind */
    weft_addr local, remote;
} weft_path_news;

/* Takes the oldest news of the connection's paths and fills in as much as news->size says; call it until it returns 0
 * when PATH_NEWS has come. 1: there was one; 0: there is none. The newest eight are kept. */
WEFT_API int32_t weft_conn_path_news(weft_conn conn, weft_path_news *news);
/* Writes keying material for label and context to out (RFC 8446 7.5). WEFT_E_STATE: the handshake is not complete, or
 * its secrets have been forgotten since: servers do that when the handshake is confirmed, so ask in on_connected, or set
 * the option keep_exporter; WEFT_E_VALUE: the label is longer than 53 bytes, or len beyond 8160; WEFT_E_CLOSED. */
WEFT_API int32_t weft_conn_export(weft_conn conn, const char *label, const void *context, size_t context_len, void *out,
                                  size_t len);
/* Begins a key update (RFC 9001 6). WEFT_E_STATE: too early, or the last one is not acknowledged yet; WEFT_E_CLOSED. */
WEFT_API int32_t weft_conn_update_keys(weft_conn conn);
/* Sends a PING (RFC 9000 19.2): keeps it open, and measures the round trip. No event tells of the answer: rtt_latest of
 * weft_conn_get_path is then the new sample, and without an answer the connection ends as idle. WEFT_E_STATE: nobody to send it to yet;
 * WEFT_E_CLOSED. */
WEFT_API int32_t weft_conn_ping(weft_conn conn);

/* ---- streams --------------------------------------------------------------------------------------------------- */

enum weft_direction { WEFT_BIDI = 0, WEFT_UNI = 1 };

enum weft_stream_flag {
    WEFT_STREAM_PULL = 1,         /* READABLE instead of DATA; its bytes are taken with weft_stream_read or _peek */
    WEFT_STREAM_MANUAL_CREDIT = 2 /* the peer may send more only after weft_stream_credit; else as soon as bytes are
                                     delivered or read */
};

typedef struct weft_stream_params {
    uint32_t size;
    uint32_t flags;                         /* enum weft_stream_flag, besides those of the connection */
    const weft_stream_callbacks *callbacks; /* must stay as it is; NULL: the connection's */
    void *user;
} weft_stream_params;

/* Opens a stream (RFC 9000 2.1, enum weft_direction). The peer hears of it with the first bytes, or with WEFT_FIN.
 * params may be NULL: the stream's user pointer begins as the connection's then, as for streams that the peer opens.
 * The handle ends after STREAM_CLOSED, or with weft_stream_detach. A server
 * may open streams before CONNECTED, when it does not know yet who the client is (RFC 8446 2, 4.4.4).
 * WEFT_E_STREAM_LIMIT: the peer allows no more now, STREAMS follows; WEFT_E_STATE: not connected yet; WEFT_E_CLOSED. */
WEFT_API int32_t weft_stream_open(weft_conn conn, uint32_t direction, const weft_stream_params *params,
                                  weft_stream *stream);

/* Writing. Bytes are copied, as many as fit into what the stream may hold (option stream_send_buffer). Returns how
 * many were taken: if fewer than len, WRITABLE follows. WEFT_FIN in flags ends this direction once all are taken.
 * WEFT_E_STREAM_CLOSED: finished, reset, stopped by the peer, or the peer's unidirectional stream. */
WEFT_API int64_t weft_stream_write(weft_stream stream, const void *data, size_t len, uint32_t flags);
/* The same from several places, with the same error. WEFT_E_STREAM_CLOSED. */
WEFT_API int64_t weft_stream_writev(weft_stream stream, const weft_bytes *bytes, uint32_t count, uint32_t flags);
/* Without copying: the bytes must stay as they are until RELEASED comes with this token (it comes for every one that
 * was taken, unless the engine is freed). All or nothing: len, or 0 when there is no room, and WRITABLE follows. len
 * is at least 1. WEFT_E_STREAM_CLOSED. */
WEFT_API int64_t weft_stream_write_ref(weft_stream stream, const void *data, size_t len, uint64_t token,
                                       uint32_t flags);
/* Ends this direction: no more bytes follow. FINISHED comes when the peer has all. WEFT_E_STREAM_CLOSED. */
WEFT_API int32_t weft_stream_finish(weft_stream stream);
/* Breaks this direction off, with an application error code (RESET_STREAM, RFC 9000 19.4). WEFT_E_VALUE: code is not
 * below 2^62; WEFT_E_STREAM_CLOSED: reset already, all was acknowledged, or the peer's unidirectional stream. */
WEFT_API int32_t weft_stream_reset(weft_stream stream, uint64_t code);

/* Reading, for streams that are not given DATA; and for the others, between events. Copies what is there: the count.
 * *flags (may be NULL) has WEFT_FIN when the end has been reached; it is told once. 0 without WEFT_FIN: nothing
 * there now, READABLE or DATA follows. WEFT_E_STREAM_CLOSED: reset, stopped, the end was told, or our own
 * unidirectional stream. */
WEFT_API int64_t weft_stream_read(weft_stream stream, void *out, size_t capacity, uint32_t *flags);
/* Shows what is there without taking it: the number of slices filled in. They are good until the next call for this
 * stream or the end of the callback, whichever is first. WEFT_E_STREAM_CLOSED: as in weft_stream_read. */
WEFT_API int64_t weft_stream_peek(weft_stream stream, weft_slice *slices, uint32_t max, uint32_t *flags);
/* Takes len bytes of what was shown; with 0 bytes left and WEFT_FIN shown, the end too. WEFT_E_VALUE: more than are
 * there; WEFT_E_STREAM_CLOSED: as in weft_stream_read. */
WEFT_API int32_t weft_stream_consume(weft_stream stream, uint64_t len);
/* WEFT_STREAM_MANUAL_CREDIT: so many of the bytes that were delivered or read are done with. WEFT_E_VALUE: more than
 * were. */
WEFT_API int32_t weft_stream_credit(weft_stream stream, uint64_t len);
/* Asks the peer to send no more, with an application error code (STOP_SENDING, RFC 9000 19.5). What arrives is
 * dropped. WEFT_E_VALUE: code is not below 2^62; WEFT_E_STREAM_CLOSED: stopped, reset or read to its end, or our own
 * unidirectional stream. */
WEFT_API int32_t weft_stream_stop(weft_stream stream, uint64_t code);
/* No DATA or READABLE until resumed; bytes wait, and flow control makes the peer wait. */
WEFT_API int32_t weft_stream_pause(weft_stream stream);
WEFT_API int32_t weft_stream_resume(weft_stream stream);
/* Resets and stops what is not done yet with an application error code, ends the handle; of its events only RELEASED
 * still comes. WEFT_E_VALUE: code is not below 2^62. */
WEFT_API int32_t weft_stream_detach(weft_stream stream, uint64_t code);

/* In the manner of RFC 9218: urgency 0 (first) to 7 (last), 3 unless set; streams of one urgency share if
 * incremental, which they are unless set, else they go one after the other. WEFT_E_VALUE: another number. */
WEFT_API int32_t weft_stream_set_priority(weft_stream stream, uint32_t urgency, uint32_t incremental);

/* What is not done `ns` nanoseconds from now is broken off: this side's direction is reset, the peer's stopped, with an
 * application error code; the stream then closes, with `expired` in its info. UINT64_MAX: no deadline. A new one
 * replaces the last. WEFT_E_VALUE: code is not below 2^62. */
WEFT_API int32_t weft_stream_set_deadline(weft_stream stream, uint64_t ns, uint64_t code);
/* enum weft_stream_flag, in place of what it had. */
WEFT_API int32_t weft_stream_set_flags(weft_stream stream, uint32_t flags);
/* Callbacks for its events (NULL: the connection's). Not copied: the table must stay as it is while the stream is. */
WEFT_API int32_t weft_stream_set_callbacks(weft_stream stream, const weft_stream_callbacks *callbacks);
/* The user pointer, which callbacks and events are given. */
WEFT_API void *weft_stream_user(weft_stream stream);
WEFT_API int32_t weft_stream_set_user(weft_stream stream, void *user);
/* Its connection; {0} for a handle that is not valid. */
WEFT_API weft_conn weft_stream_conn(weft_stream stream);
/* The connection's stream with this ID (RFC 9000 2.1); it has one handle, however it was come by. WEFT_E_GONE: there
 * is none (any more). */
WEFT_API int32_t weft_stream_find(weft_conn conn, uint64_t id, weft_stream *stream);

/* RFC 9000 3.1 */
enum weft_send_state {
    WEFT_SEND_OPEN = 0,     /* Ready, Send */
    WEFT_SEND_FINISHED = 1, /* Data Sent, or finished and still to be sent */
    WEFT_SEND_RESET = 2,    /* Reset Sent */
    WEFT_SEND_DONE = 3      /* Data Recvd, Reset Recvd; the peer's unidirectional stream */
};

/* RFC 9000 3.2 */
enum weft_recv_state {
    WEFT_RECV_OPEN = 0,  /* Recv, Size Known */
    WEFT_RECV_ALL = 1,   /* Data Recvd: everything is there, not everything was taken */
    WEFT_RECV_RESET = 2, /* Reset Recvd, Reset Read */
    WEFT_RECV_DONE = 3   /* Data Read; our own unidirectional stream */
};

typedef struct weft_stream_info {
    uint32_t size;
    uint8_t local;                  /* 1: opened by this side */
    uint8_t direction;              /* enum weft_direction */
    uint8_t send_state;             /* enum weft_send_state */
    uint8_t recv_state;             /* enum weft_recv_state */
    uint64_t id;                    /* RFC 9000 2.1 */
    uint64_t written, acknowledged; /* bytes given by this side; those the peer has, without gap */
    uint64_t buffered;              /* held for sending or sending again */
    uint64_t received, taken;       /* bytes here, without gap; those delivered or read */
    uint8_t urgency, incremental, paused;
    uint8_t expired; /* 1: its deadline came before it was done */
    uint8_t reserved[4];
} weft_stream_info;

/* Fills in as much of *info as info->size says. */
WEFT_API int32_t weft_stream_get_info(weft_stream stream, weft_stream_info *info);

/* ---- datagrams ------------------------------------------------------------------------------------------------- */

/* Datagrams of the application (RFC 9221), beside its streams: each arrives whole, or not at all; sooner or later than
 * those sent before it; without flow control, and never sent again. A side that wants to receive some sets the option
 * max_datagram_frame_size; the options datagram_* are about its queues. (weft_datagram is another thing: what goes
 * through a UDP socket.) */

/* What became of a datagram that was sent with a token. SENT comes when it leaves; then, or without it, exactly one of
 * the others. */
enum weft_datagram_outcome {
    WEFT_DATAGRAM_SENT = 1,
    WEFT_DATAGRAM_ACKED = 2,  /* the peer's weft has it; its application perhaps not, if it is slow to take it */
    WEFT_DATAGRAM_LOST = 3,   /* it seems not to have arrived, or the connection ended before that was known */
    WEFT_DATAGRAM_DROPPED = 4 /* never sent: pushed out of the queue, too large for the path by now, or closed before */
};

/* Sends a datagram of len bytes (also of none; RFC 9221 4), copied, after those before it; option datagram_priority says
 * whether before or after what streams have to send. For a token that is not 0 DATAGRAM_OUTCOME tells what becomes of
 * it. WEFT_E_UNSUPPORTED: the peer takes none; WEFT_E_TOO_LARGE: more than weft_datagram_max; WEFT_E_BLOCKED: the
 * queue is full, and option datagram_drop says to refuse the newest, or 65536 outcomes are still to be told:
 * DATAGRAM_ROOM follows; WEFT_E_STATE: not connected yet, nor with early data; WEFT_E_CLOSED. */
WEFT_API int32_t weft_datagram_send(weft_conn conn, const void *data, size_t len, uint64_t token);
/* Most bytes a datagram may have now (RFC 9221 3). It changes with the path, and grows as the path's MTU is found; 0:
 * the peer takes only empty ones. WEFT_E_UNSUPPORTED: it takes none; WEFT_E_STATE: not connected yet, nor with early
 * data; WEFT_E_CLOSED. */
WEFT_API int32_t weft_datagram_max(weft_conn conn);

/* ---- keeping received bytes ------------------------------------------------------------------------------------ */

/* Keeps the bytes of a slice (or of a DATA or DATAGRAM event, by its data, len and source) beyond the callback. They
 * stay where they are, or are copied where that takes less memory: *data tells where they are from now on. Until
 * weft_buffer_release they count against the engine's memory. WEFT_E_GONE: the slice's time is over. */
WEFT_API int32_t weft_buffer_retain(const weft_slice *slice, weft_buffer *buffer, const uint8_t **data);
WEFT_API int32_t weft_buffer_release(weft_buffer buffer);

/* ---- counters -------------------------------------------------------------------------------------------------- */

/* 64-bit numbers that only grow. weft_stat_info tells the meaning of each. */
typedef struct weft_conn_stats {
    uint32_t size;
    uint32_t reserved;
    uint64_t packets_sent, packets_received, packets_lost, packets_spurious, packets_dropped, packets_duplicate;
    uint64_t packets_reordered, bytes_sent, bytes_received, datagrams_sent, datagrams_received;
    uint64_t stream_bytes_sent, stream_bytes_retransmitted, stream_bytes_received;
    uint64_t acks_sent, acks_received, ptos, congestion_events, persistent_congestions;
    uint64_t streams_opened_local, streams_opened_remote, key_updates, flow_blocked;
    uint64_t datagram_frames_sent, datagram_frames_received, datagram_frames_lost, datagram_frames_dropped;
    uint64_t ecn_marked, ecn_ce, ecn_failures, mtu_black_holes, glitches, acks_optimistic, paths_refused, qlog_dropped;
    uint64_t writes_limited, resumes_tried, resumes_validated, resumes_retreated, resumes_refused;
} weft_conn_stats;

typedef struct weft_engine_stats {
    uint32_t size;
    uint32_t reserved;
    weft_conn_stats conns; /* summed up over all connections, open and gone */
    uint64_t reserved_for_conns[(8 + 64 * 8 - sizeof(weft_conn_stats)) / 8]; /* what follows stays where it is */
    uint64_t connections_accepted, connections_opened, handshakes_completed, handshakes_failed, connections_closed;
    uint64_t version_negotiations_sent, retries_sent, stateless_resets_sent, datagrams_unknown, datagrams_refused;
    uint64_t receive_calls, send_calls, send_blocked, socket_buffers_small, turns;
    uint64_t memory_used, memory_peak, memory_refusals; /* bytes, bytes, and allocations that failed */
    uint64_t connections, buffers_retained;             /* now: these two and memory_used also shrink */
    uint64_t half_open_guards, initials_dropped, initials_deferred, prefix_limited;
    uint64_t connections_glitched, glitch_ack_useless, glitch_ack_ranges, glitch_crypto_useless, glitch_crypto_gap;
    uint64_t glitch_stream_useless, glitch_stream_gap, glitch_tiny, glitch_stream_reset, glitch_reset_useless;
    uint64_t glitch_credit_useless, glitch_blocked, glitch_ping, glitch_path_challenge, glitch_path_response;
    uint64_t glitch_new_connection_id, glitch_retire_connection_id, glitch_new_token;
    uint64_t glitch_handshake_done, glitch_ack_frequency, glitch_immediate_ack, glitch_key_update;
    uint64_t handshakes_evicted, replies_suppressed, closings_cut, orphans_dropped, amplification_blocks;
    uint64_t sockets_connected, sockets_refused;
    uint64_t connections_stalled, datagrams_handed_over, datagrams_taken_over, handovers_dropped;
} weft_engine_stats;

/* Fills in as much of *stats as stats->size says: of the connection; of the engine and all its connections. */
WEFT_API int32_t weft_conn_get_stats(weft_conn conn, weft_conn_stats *stats);
WEFT_API int32_t weft_engine_get_stats(weft_engine engine, weft_engine_stats *stats);

enum weft_path_use {
    WEFT_PATH_IN_USE = 1, /* packets go there */
    WEFT_PATH_SPARE = 2,  /* it is probed, was probed, or was in use until a moment ago */
    WEFT_PATH_GONE = 3    /* it was given up; its numbers are those it had then */
};

/* What a path does to ECN marks (RFC 9000 13.4.2): marks are not wanted; the first packets are marked; they were, and no
 * answer tells what became of it; marks arrive; they did, now nothing comes through; they are cleared, changed or lost. */
enum weft_path_ecn {
    WEFT_ECN_OFF = 0, WEFT_ECN_TESTING = 1, WEFT_ECN_UNKNOWN = 2, WEFT_ECN_CAPABLE = 3, WEFT_ECN_PAUSED = 4, WEFT_ECN_FAILED = 5
};

/* One path of a connection: where it leads, how it is (as in weft_path), and its counters, which only grow. */
typedef struct weft_path_stats {
    uint32_t size;
    uint32_t use; /* enum weft_path_use */
    weft_addr local, remote;
    uint32_t validated; /* 1: the peer is known to be at this address (RFC 9000 8) */
    uint32_t ecn;       /* enum weft_path_ecn */
    uint64_t rtt, rtt_variance, rtt_min, rtt_latest, congestion_window, bytes_in_flight, slow_start_threshold, mtu;
    uint64_t packets_sent, packets_received, packets_lost, packets_spurious;
    uint64_t bytes_sent, bytes_received, datagrams_sent, datagrams_received;
    uint64_t rtt_samples, ptos, congestion_events, persistent_congestions;
    uint64_t challenges_sent, challenges_received, ecn_marked, ecn_ce, ecn_failures, mtu_black_holes;
} weft_path_stats;

/* Fills in as much of *stats as stats->size says: index 0 is the path in use, then come the others there are, then the
 * newest four that are gone. 1: there was one; 0: there are not so many (none before the first packet), and nothing is
 * filled in. When the connection has ended: as it was then. Who moves back to where he was finds a new path there. */
WEFT_API int32_t weft_conn_get_path_stats(weft_conn conn, uint32_t index, weft_path_stats *stats);

enum weft_stat_scope { WEFT_STAT_CONN = 0, WEFT_STAT_ENGINE = 1, WEFT_STAT_PATH = 2 };

typedef struct weft_stat {
    uint32_t size;
    uint32_t scope; /* enum weft_stat_scope: in weft_conn_stats (and summed up), in weft_engine_stats, in weft_path_stats */
    const char *name;
    const char *text;
    uint32_t offset; /* of the counter in that struct */
    uint32_t reserved;
} weft_stat;

/* How many counters there are, and each of them (index below the count); the texts are static. */
WEFT_API uint32_t weft_stat_count(void);
WEFT_API int32_t weft_stat_info(uint32_t index, weft_stat *stat);

/* ---- load balancers ------------------------------------------------------------------------------------------- */

/* Connection IDs that a load balancer can read (QUIC-LB, draft-ietf-quic-load-balancers-21): it finds the server in
 * them, whatever address a client has moved to. All servers behind it share everything but server_id. */
typedef struct weft_quic_lb {
    uint32_t size;
    uint8_t rotation;      /* 0 to 6: tells configurations apart while a new one takes the place of an old one */
    uint8_t server_id_len; /* 1 to 15 bytes */
    uint8_t nonce_len;     /* at least 4, with server_id_len 19 at most. 2^(8 * nonce_len) IDs can be made: take 6 */
    uint8_t encode_length; /* 1: the first byte tells the length, for load balancers that need that */
    uint8_t encrypted;     /* 1: by `key`; 0: anybody can read the server ID, and may join a client's addresses by it */
    uint8_t reserved[7];
    uint8_t server_id[16]; /* server_id_len bytes; of this engine alone: engines of a pool have one each */
    uint8_t key[16];       /* AES-128 */
} weft_quic_lb;

/* The engine's connection IDs are of this kind from now on. Before its first connection; later only to change to a
 * configuration of the same length, and the IDs that there are stay good. Copied. WEFT_E_INVALID: a field is out of its
 * range; WEFT_E_STATE: IDs of another length are in use. The last byte of the server ID tells engines that share a port
 * apart and is then the engine's number: WEFT_LISTEN_STEER, used after this, steers by it. Encrypted IDs the system
 * cannot read; engines of a weft_pool give datagrams of clients that moved to the one that the ID names. Without a
 * pool, give each engine a port of its own, for the load balancer. */
WEFT_API int32_t weft_engine_set_quic_lb(weft_engine engine, const weft_quic_lb *lb);
/* For load balancers and their tests; any thread. Reads the server ID (server_id_len bytes) and, if nonce is not NULL,
 * the nonce (nonce_len bytes) from a connection ID; the lengths and the key of *lb say how; its server_id is not used.
 * WEFT_E_VALUE: the ID is of another rotation, or too short; WEFT_E_INTERNAL: the TLS library does not start. */
WEFT_API int32_t weft_quic_lb_decode(const weft_quic_lb *lb, const void *cid, size_t len, uint8_t *server_id,
                                     uint8_t *nonce);
/* The other way: the ID of lb->server_id with this nonce; its length; `cid` has room for 20 bytes. WEFT_E_INTERNAL. */
WEFT_API int32_t weft_quic_lb_encode(const weft_quic_lb *lb, const void *nonce, uint8_t *cid);
/* The stateless reset token (16 bytes) that engines with this fleet_secret (32 bytes) give with a connection ID of 20
 * bytes at most (RFC 9000 10.3.2). The empty ID's, which nobody issues, tells secrets apart. WEFT_E_INTERNAL. */
WEFT_API int32_t weft_fleet_reset_token(const void *fleet_secret, const void *cid, size_t len, uint8_t *token);

/* ---- pools: several engines on one port ------------------------------------------------------------------------ */

typedef struct weft_pool_params {
    uint32_t size;
    uint32_t engines;                        /* 1 to 256; 0: as many as there are processors for this process */
    const weft_engine_params *engine_params; /* for each of them; copied, but for what its pointers lead to, which is
                                                used by all threads. The pool sets number; if there is no fleet_secret
                                                it makes one for all. No uv_loop, not external. NULL: defaults */
    /* On the thread of engine `index`, before its first turn; for one engine after the other. The place for
     * weft_listen (with WEFT_LISTEN_REUSE_PORT and WEFT_LISTEN_STEER) and for connecting. A result other than 0 stops
     * the pool: weft_pool_new gives it back. NULL: nothing to do */
    int32_t (*setup)(void *user, weft_pool pool, uint32_t index, weft_engine engine);
    /* On the same thread after the last turn, before the engine is freed. NULL: nothing to do */
    void (*teardown)(void *user, weft_pool pool, uint32_t index, weft_engine engine);
    void *user;
} weft_pool_params;

/* Makes threads, an engine for each, numbered from 0, sets them up and has them turn until weft_pool_stop, whether they
 * have something to wait for or not. Functions of pools may be called from any thread, but weft_pool_new,
 * weft_pool_listen, weft_pool_join and weft_pool_free neither from the pool's own nor before weft_pool_new has
 * returned: WEFT_E_STATE. To be freed with weft_pool_free. WEFT_E_IO: the system refuses a thread, or a loop;
 * WEFT_E_INTERNAL: the TLS library does not start, or has no randomness; and whatever setup gives. */
WEFT_API int32_t weft_pool_new(const weft_pool_params *params, weft_pool *pool);
/* weft_listen for each of the engines, in their order, on one address, as one port: with WEFT_LISTEN_REUSE_PORT and
 * WEFT_LISTEN_STEER, all flags besides as given. Tables of callbacks are shared by all threads. *bound (may be NULL)
 * is the address with the port. Either all engines listen or none. WEFT_E_STATE: the pool was stopped, or see
 * above; WEFT_E_ADDRESS, WEFT_E_IO, WEFT_E_TLS: as for weft_listen. */
WEFT_API int32_t weft_pool_listen(weft_pool pool, weft_config config, const char *address,
                                  const weft_listen_params *params, weft_addr *bound);
/* How many engines it has. */
WEFT_API int32_t weft_pool_count(weft_pool pool, uint32_t *count);
/* Engine `index`, which belongs to its thread and is freed by the pool: for weft_engine_post and weft_engine_wake.
 * WEFT_E_VALUE: there is none; WEFT_E_STATE: it is not set up yet. */
WEFT_API int32_t weft_pool_engine(weft_pool pool, uint32_t index, weft_engine *engine);
/* weft_engine_post for engine `index`; arg must be good until its thread has called. Errors as for weft_pool_engine. */
WEFT_API int32_t weft_pool_post(weft_pool pool, uint32_t index, void (*function)(void *arg), void *arg);
/* Each engine leaves its loop after the turn it is in, is torn down and freed. Does not wait. To part with peers in a
 * good manner, post weft_listener_close first, and stop when LISTENER_CLOSED has come from all. Idempotent. */
WEFT_API int32_t weft_pool_stop(weft_pool pool);
/* Waits until all threads have ended. WEFT_E_STATE: see weft_pool_new. */
WEFT_API int32_t weft_pool_join(weft_pool pool);
/* Stops, waits, and ends the handle. WEFT_E_STATE: see weft_pool_new. */
WEFT_API int32_t weft_pool_free(weft_pool pool);

/* ---- pairs: two engines in virtual time ------------------------------------------------------------------------ */

/* For tests: two engines and a network between them, without sockets and without waiting. The clock of both is the
 * pair's. It jumps from one thing that must happen to the next: a datagram arrives, a timer is due. Everything that
 * is random about the network and the engines comes from a seed. */

/* One direction of the network. All 0: everything arrives, at once. */
typedef struct weft_link {
    uint32_t size;
    uint32_t loss, duplicate, corrupt; /* of a million datagrams so many, each by chance: lost; delivered twice; with a
                                          bit changed. 1000000: all */
    uint64_t delay;                    /* ns under way */
    uint64_t jitter;                   /* and up to so many ns more, by chance: datagrams overtake each other */
    uint64_t bandwidth;                /* bits per second, 28 bytes of headers a datagram included; 0: without limit */
    uint64_t queue;                    /* a datagram that would wait longer than that for bandwidth is lost; ns; 0:
                                          100 ms */
    uint64_t mtu;                      /* larger datagrams are lost; bytes; 0: none is too large */
} weft_link;

/* What one direction has carried: datagrams, and bytes of them. */
typedef struct weft_traffic {
    uint32_t size;
    uint32_t reserved;
    uint64_t sent, delivered, lost;
    uint64_t bytes_sent, bytes_delivered;
} weft_traffic;

enum weft_pair_flag {
    /* TLS draws from the seed too: the same seed gives the same bytes. That holds for the whole process, where no
     * secret is one until the pair is freed. So there must be no other engine then: weft_pair_new, and until the pair
     * is freed weft_engine_new, give WEFT_E_STATE. A certificate that weft_config_self_signed makes meanwhile repeats
     * too, and is for tests alone */
    WEFT_PAIR_REPEATABLE = 1
};

typedef struct weft_pair_params {
    uint32_t size;
    uint32_t flags; /* enum weft_pair_flag */
    uint64_t seed;
    uint64_t start;                       /* the clock's first time, ns; 0: one second */
    uint64_t unix_start;                  /* ns since 1970 then; 0: the beginning of 2030 */
    const weft_engine_params *engines[2]; /* for each; copied. The pair sets flags, clocks and randomness, which must be
                                             0 here. NULL: defaults */
    const weft_link *links[2];            /* from the first to the second, from the second to the first; copied. NULL:
                                             everything arrives, at once */
    /* Each datagram (never a train) that engine `from` sends, 0 or 1. 0: into the network with it; 1: lost. Must not
     * call weft. NULL: nobody looks */
    int32_t (*on_datagram)(void *user, uint32_t from, const weft_datagram *datagram);
    void *user;
} weft_pair_params;

/* A pair and its two engines, all owned by the calling thread. The first engine has the address 192.0.2.1 (and
 * 2001:db8::1), the second 192.0.2.2 (2001:db8::2); either may listen, there or on any other address, for all that one
 * sends reaches the other. The engines are turned by the pair alone. weft_engine_free is as if the host had lost
 * power. To be freed with weft_pair_free, which frees the engines too. WEFT_E_VALUE: as for weft_pair_set_link;
 * WEFT_E_STATE: see WEFT_PAIR_REPEATABLE; WEFT_E_INTERNAL: the TLS library does not start. */
WEFT_API int32_t weft_pair_new(const weft_pair_params *params, weft_pair *pair, weft_engine engines[2]);
/* Ends the pair and its engines, as weft_engine_free does. WEFT_E_STATE: within a turn of one of them. */
WEFT_API int32_t weft_pair_free(weft_pair pair);
/* Moves the clock to the next thing that must happen, and has it happen: both engines turn, what they send is under
 * way. 1, or 0: nothing is left to wait for. WEFT_E_STATE: from within. */
WEFT_API int32_t weft_pair_step(weft_pair pair);
/* All that happens up to and including `until`, where the clock stands then (UINT64_MAX: until nothing is left to wait
 * for, however long that takes; the clock stays at the last thing that happened). WEFT_E_STATE: from within. */
WEFT_API int32_t weft_pair_run(weft_pair pair, uint64_t until);
/* In a callback: weft_pair_run returns after this step, with the clock where it is. */
WEFT_API int32_t weft_pair_stop(weft_pair pair);
/* The clock, ns. */
WEFT_API int32_t weft_pair_now(weft_pair pair, uint64_t *now);
/* Changes the network from engine `from` (0, 1) to the other, for what is sent from now on. At any time, also from
 * within. NULL: everything arrives, at once. WEFT_E_VALUE: more than a million, or times beyond a week. */
WEFT_API int32_t weft_pair_set_link(weft_pair pair, uint32_t from, const weft_link *link);
WEFT_API int32_t weft_pair_traffic(weft_pair pair, uint32_t from, weft_traffic *traffic);

#ifdef __cplusplus
}
#endif

#endif
