/* conn.h - one QUIC connection: what it is made of, and the calls that serve it.
 *
 * The connection is a bundle of machines that know little of each other - streams, recovery, acknowledgements, paths,
 * connection IDs, keys, TLS - and this file's struct is where they meet. conn.c owns birth, life and death; what
 * arrives goes through rx_packet.c and rx_frame.c, what leaves through tx_frame.c and tx_packet.c; close.c ends it.
 * Nothing here makes a system call or reads a clock.
 *
 * Life: HANDSHAKE -> ESTABLISHED -> CLOSING or DRAINING -> freed by the endpoint. CLOSED is raised once, when the end
 * is known, and the object stays for 3 PTO to answer or swallow late packets (RFC 9000 10.2), holding no streams and no
 * TLS by then.
 *
 * Invariant: in state CLOSING and DRAINING there are no streams, no TLS object and no recovery state.
 */
#ifndef QUIC_CONN_H
#define QUIC_CONN_H

#include "base/heap.h"
#include "crypto/protect.h"
#include "quic/ack_frequency.h"
#include "quic/datagram.h"
#include "quic/endpoint.h"
#include "quic/glitch.h"
#include "quic/migrate.h"
#include "quic/mtu.h"
#include "quic/path.h"
#include "quic/qlog.h"
#include "quic/rest.h"
#include "quic/stall.h"
#include "quic/stream.h"

#define QUIC_SLOT_CONN 4u /* kind of connection handles in the engine's slot table */

enum quic_conn_state { QUIC_CONN_HANDSHAKE = 0, QUIC_CONN_ESTABLISHED, QUIC_CONN_CLOSING, QUIC_CONN_DRAINING };

/* Events of a connection, delivered in this order. */
enum quic_conn_event {
    QUIC_CONN_EV_ACCEPTED = 1u << 0, /* server: there is a new connection (its handshake has begun) */
    QUIC_CONN_EV_CONNECTED =
        1u << 1, /* the handshake is complete: ALPN and peer certificate are known, streams may be used */
    QUIC_CONN_EV_CONFIRMED = 1u << 2,      /* the handshake is confirmed (RFC 9001 4.1.2) */
    QUIC_CONN_EV_SESSION = 1u << 3,        /* client: a session to resume later is in conn->session */
    QUIC_CONN_EV_TOKEN = 1u << 4,          /* client: a NEW_TOKEN is in conn->new_token */
    QUIC_CONN_EV_PATH = 1u << 5,           /* the active path has changed */
    QUIC_CONN_EV_STREAMS = 1u << 6,        /* more streams may be opened after a refusal */
    QUIC_CONN_EV_DATAGRAM = 1u << 7,       /* datagrams can be taken (datagram.h) */
    QUIC_CONN_EV_DATAGRAM_STATE = 1u << 8, /* it is known what became of datagrams */
    QUIC_CONN_EV_PATHS = 1u << 10, /* a path was validated, has failed or became the active one: quic_conn_path_note */
    QUIC_CONN_EV_DATAGRAM_ROOM = 1u << 9, /* datagrams may be sent again after a refusal */
};
/* On conn->closed_event, so that it comes after every stream's last event. */
#define QUIC_CONN_EV_CLOSED (1u << 0)

enum quic_cause { /* who or what ended it */
                  QUIC_CAUSE_NONE = 0,
                  QUIC_CAUSE_LOCAL, /* our application closed */
                  QUIC_CAUSE_PEER,  /* the peer sent CONNECTION_CLOSE */
                  QUIC_CAUSE_IDLE,  /* idle time-out */
                  QUIC_CAUSE_HANDSHAKE_TIMEOUT,
                  QUIC_CAUSE_PROTOCOL, /* we found an error: code says which */
                  QUIC_CAUSE_RESET,    /* stateless reset */
                  QUIC_CAUSE_VERSION,  /* no common version */
                  QUIC_CAUSE_INTERNAL, /* out of memory or the like */
};

#define QUIC_REASON_MAX 128u

struct quic_close {
    uint8_t cause; /* enum quic_cause */
    bool app;      /* code is the application's (frame 0x1d) */
    uint64_t code;
    uint64_t frame_type; /* transport errors: the frame that caused it, 0 = unknown */
    uint8_t reason_len;
    char reason[QUIC_REASON_MAX]; /* as sent or received; not terminated, may hold any bytes */
};

enum quic_timer {
    QUIC_TIMER_RECOVERY = 0, /* loss and PTO */
    QUIC_TIMER_ACK,
    QUIC_TIMER_IDLE,
    QUIC_TIMER_KEEP_ALIVE,
    QUIC_TIMER_HANDSHAKE,
    QUIC_TIMER_PACING,
    QUIC_TIMER_PATH,
    QUIC_TIMER_KEYS,   /* throw away the previous key phase */
    QUIC_TIMER_SHRINK, /* nothing happens here: give back what is kept for speed (rest.h) */
    QUIC_TIMER_STALL,  /* does what waits move? */
    QUIC_TIMER_PROGRESS,
    QUIC_TIMER_STREAMS, /* a stream's deadline */
    QUIC_TIMER_CLOSE,   /* end of closing or draining */
    QUIC_TIMERS
};

struct quic_keys {
    struct crypto_key *rx, *tx;
    struct crypto_mask_key *rx_mask, *tx_mask;
};

/* The generations of 1-RTT keys (RFC 9001 section 6). */
struct quic_phase {
    struct crypto_secret rx_secret, tx_secret; /* of the present generation */
    struct crypto_key *rx_previous, *rx_next;  /* rx_next: NULL until it can be needed */
    uint64_t generation;                       /* low bit = Key Phase */
    uint64_t rx_first;                         /* lowest number received in the present generation */
    uint64_t tx_first;                         /* first number sent in it */
    uint64_t tx_sealed;                        /* packets sealed with the present key */
    uint64_t open_failures;                    /* over all keys: integrity limit */
    bool tx_acked;        /* a packet of this generation was acknowledged: another update is allowed */
    bool peer_may_update; /* it can have heard that the handshake is confirmed */
};

struct quic_crypto_stream {
    struct quic_stream_send send;
    struct quic_stream_recv recv;
};

#define QUIC_EARLY_PACKETS 8u
#define QUIC_PATH_NOTES 8u

/* A packet that came before its keys: a copy. */
struct quic_early_packet {
    uint8_t *data;
    base_time at; /* when it came */
    uint32_t len;
    uint8_t path, ecn, level;
};

struct quic_conn {
    struct quic_endpoint *endpoint;
    const struct quic_config *config; /* a reference is held */
    struct quic_qlog *qlog;           /* NULL: nothing is told (qlog.h) */
    uint64_t handle;
    void *user;        /* the application's */
    void *owner;       /* whoever has it before the application does (io's race of attempts), else NULL */
    uint64_t listener; /* handle of the listener that accepted it, or 0 */
    struct quic_listener *accepted_by; /* NULL: a client, or the listener is gone */
    struct base_event event, closed_event;
    struct base_node all, dirty, touched; /* in the endpoint's lists */
    struct base_heap_entry timer;
    base_time deadlines[QUIC_TIMERS];
    uint32_t version;          /* in use: the negotiated one as soon as it is known (RFC 9368) */
    uint32_t original_version; /* of the client's first flight: that of Retry and 0-RTT */
    uint32_t first_version;    /* client: what it tried before a Version Negotiation packet */
    bool version_settled;      /* it cannot change any more */
    bool version_restarted;    /* client: began again because of a Version Negotiation packet */
    uint8_t state;             /* enum quic_conn_state */
    uint8_t role;              /* enum crypto_role */
    bool handshake_complete, handshake_confirmed, address_validated, retried, first_flight_received;
    bool keys_packed; /* the 1-RTT keys are (keyphase.c): it rests (rest.h) */
    bool peer_params_known, peer_cids_checked, detached, closed_told, machines_freed;
    bool tls_done;               /* nothing more is expected of TLS: it goes when the application had its turn */
    bool in_tls;                 /* a TLS call is on the stack: the TLS object must not be freed now */
    uint8_t want_handshake_done; /* enum quic_want */
    uint8_t want_new_token;
    uint32_t new_tokens; /* server: how often there was reason for another one */
    bool control_wanted; /* some want_* of the connection or its IDs may be QUIC_WANTED */
    bool ping_wanted;
    bool spin_enabled;           /* RFC 9000 17.4 */
    bool idle_restarted_by_send; /* RFC 9000 10.1: only the first ack-eliciting packet after receiving restarts it */

    struct quic_cid original_dcid, retry_scid; /* what the client first chose; what Retry gave */
    struct quic_cid initial_dcid; /* server: the ID of the Initial that made us; Initial keys come from it */
    struct quic_local_cids local_cids;
    struct quic_remote_cids remote_cids;
    struct quic_path *paths[QUIC_PATHS]; /* entries; the first lies here, others are made when needed and NULL before */
    struct quic_path first_path;
    struct quic_path_note path_notes[QUIC_PATH_NOTES]; /* ring: what became of paths */
    uint8_t path_note_first, path_note_count;
    uint8_t preferred_tried;                /* client: families of the server's preferred address, 1 = IPv4, 2 = IPv6 */
    uint8_t early_count;                    /* packets in `early` */
    struct quic_path_records *path_records; /* of paths that are gone; NULL: none is (path_record.h) */
    struct quic_socket *own_socket; /* server: a path's, connected to its client; NULL = paths use shared ones */

    struct crypto_tls *tls;
    struct quic_keys keys[CRYPTO_LEVELS];
    struct quic_keys original_keys; /* server that changed the version: opens Initials of the original one */
    struct quic_phase phase;
    struct quic_crypto_stream *crypto[QUIC_SPACES]; /* allocated while in use */
    struct quic_early_packet *early;                /* QUIC_EARLY_PACKETS of them while needed */

    struct quic_ack acks[QUIC_SPACES];
    struct quic_recovery recovery;
    struct quic_streams streams;
    struct quic_datagrams *datagrams;  /* NULL before the first */
    uint64_t largest_number;           /* highest 1-RTT packet number received, for migration; QUIC_NO_NUMBER = none */
    uint64_t skip_number;              /* the next 1-RTT packet number to leave out (RFC 9000 21.4) */
    struct quic_ack_policy ack_policy; /* 1-RTT */
    struct quic_ack_request ack_request;
    uint32_t eliciting_in_batch; /* ack-eliciting packets of the batch being processed */
    struct quic_mtu mtu;

    struct quic_params peer_params;
    char *alpn, *server_name;             /* copies, NUL-terminated; NULL = none */
    const char *cipher_name, *group_name; /* static; NULL = not known yet */
    bool resumed;
    uint8_t early_data;             /* enum crypto_early: what became of 0-RTT */
    struct quic_params *remembered; /* client while 0-RTT is pending: the server's limits it relies on */
    uint8_t *peer_certificate;
    size_t peer_certificate_len;
    uint8_t *session; /* client: newest ticket, serialised, with remembered parameters */
    size_t session_len;
    uint8_t *token; /* client: to put into Initials (Retry or NEW_TOKEN) */
    size_t token_len;
    uint8_t *new_token; /* client: received NEW_TOKEN, behind the version it was received in */
    size_t new_token_len;

    struct quic_close close;
    base_time created_at, connected_at;
    /* closing state: the packet we answer with, and how often */
    uint8_t *close_packet;
    uint16_t close_packet_len;
    uint32_t close_received, close_answer_at;
    bool close_wanted;
    /* server: what the gate counts it for (gate.c), and under which network */
    bool in_shares;
    uint8_t gate;
    uint16_t weight; /* while it is in shares: 1, and more for what it holds for the peer */
    uint32_t places; /* that its handshake takes */
    uint64_t prefix;
    struct base_node closing;    /* in the endpoint's list of closed ones */
    base_time heard_at;          /* the gate's: since when its client is silent */
    struct base_node unfinished; /* in the gate's list */

    struct quic_rest rest;
    struct quic_stall stall;
    struct quic_glitches glitches; /* what the peer did to no use */
    struct base_bucket new_paths;  /* how many addresses of the peer are followed */
    struct conn_stats stats;
};

/* ---- the application's side ---- */

struct quic_connect {
    const struct quic_config *config;
    struct quic_socket *socket;
    struct quic_addr local, remote;
    const char *server_name; /* SNI and name to verify; NULL = the address is verified */
    const uint8_t *session;  /* conn->session of an earlier connection, to resume, or NULL */
    size_t session_len;
    const uint8_t *token; /* conn->new_token of an earlier connection, or NULL; good for one connection */
    size_t token_len;
    void *user;
};

/* Starts a client connection: 0 and *out, or ERR_*. `why` (may be NULL) gets a text. */
int quic_conn_connect(struct quic_endpoint *endpoint, const struct quic_connect *connect, base_time now,
                      struct quic_conn **out, struct crypto_error *why);
/* Ends the connection (RFC 9000 10.2). The streams hear of it, then CLOSED is raised. Idempotent: what ended it first
 * stands. */
void quic_conn_close(struct quic_conn *conn, bool app, uint64_t code, const char *reason, size_t reason_len,
                     base_time now);
/* What became of 0-RTT (RFC 9001 4.6). Client: PENDING right after connecting says that streams may be opened and
 * written before CONNECTED; when CONNECTED comes it is ACCEPTED or REJECTED, and what was written goes out again by
 * itself if it was rejected. Server: ACCEPTED from the moment that 0-RTT packets can be read; until CONNECTED what was
 * read may be a replay (see quic_stream_may_be_replay). */
static inline enum crypto_early quic_conn_early(const struct quic_conn *conn) {
    return (enum crypto_early)conn->early_data;
}
/* The bytes at the front of this stream may have come twice: they came as 0-RTT and the handshake is not complete. */
static inline bool quic_stream_may_be_replay(const struct quic_conn *conn, const struct quic_stream *s) {
    return !conn->handshake_complete && s->recv.taken < s->early_to;
}
/* The application will not hear of it any more; closes it when it is open. */
void quic_conn_detach(struct quic_conn *conn, base_time now);
int quic_conn_update_keys(struct quic_conn *conn); /* ERR_STATE when not yet allowed (RFC 9001 6.1) */
int quic_conn_ping(struct quic_conn *conn);        /* one PING; its acknowledgement shows in the RTT */
struct quic_conn *quic_conn_of(struct base_slots *slots, uint64_t handle);

/* ---- inside the room ---- */

/* The path in entry i; NULL = none. */
static inline struct quic_path *quic_path_at(const struct quic_conn *conn, unsigned i) {
    struct quic_path *path = conn->paths[i];
    return path && path->state != QUIC_PATH_NONE ? path : NULL;
}
/* An error the peer is to be told: closes with cause PROTOCOL. `text` is copied. */
void quic_conn_fail(struct quic_conn *conn, uint64_t code, uint64_t frame_type, const char *text, base_time now);
/* It has something to send: stands in the endpoint's dirty list until output finds nothing more. */
void quic_conn_mark_dirty(struct quic_conn *conn);
void quic_conn_set_timer(struct quic_conn *conn, enum quic_timer timer, base_time when);
/* Recomputes the recovery, path and pacing deadlines and the heap entry; once a turn, not once a packet. */
void quic_conn_update_timers(struct quic_conn *conn, base_time now);
void quic_conn_on_timeout(struct quic_conn *conn, base_time now);

#endif
