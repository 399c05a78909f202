/* endpoint.h - all QUIC connections of one engine: who gets a datagram, who may send, who wakes when.
 *
 * Sans-I/O: datagrams and the time come in, datagrams, events and one deadline go out. io (or a caller with a loop of
 * its own, or the simulator) drives it, a turn at a time:
 *
 *     quic_endpoint_input(...)      for each batch of datagrams received
 *     quic_endpoint_tick(now)       timers
 *     - dispatch events, the application acts -
 *     while (quic_endpoint_output(&train, now)) send it
 *     quic_endpoint_deadline()      when to come back at the latest
 *
 * A connection is found by the connection ID alone; IDs of our own making name the slot. Only first Initials and
 * unknown IDs take the slow way: a listener's acceptance, Version Negotiation, Retry, stateless reset. Those replies
 * wait in a line of limited length; what does not fit is not sent.
 */
#ifndef QUIC_ENDPOINT_H
#define QUIC_ENDPOINT_H

#include <stdatomic.h>

#include "base/bucket.h"
#include "base/buf.h"
#include "base/event.h"
#include "base/hash.h"
#include "base/heap.h"
#include "base/slots.h"
#include "crypto/token.h"
#include "quic/cid.h"
#include "quic/gate.h"
#include "quic/header.h"
#include "tables/options.h"
#include "tables/stats.h"

struct quic_conn;
struct quic_cc_ops;
struct quic_qlog_sink;
struct quic_resume_saved;

/* The choices of address_validation. */
enum quic_validate { QUIC_VALIDATE_NEVER = 0, QUIC_VALIDATE_ALWAYS, QUIC_VALIDATE_AUTO };

/* What many connections share; immutable after first use, counted (abi owns and frees it through `release`). */
/* What the token of an Initial is: nothing, not the fleet's or no longer good, from a Retry, from an earlier
 * connection. */
enum quic_token_kind { QUIC_TOKEN_NONE, QUIC_TOKEN_OTHER, QUIC_TOKEN_RETRY, QUIC_TOKEN_NEW };

/* As the options say; in, at a proven address; CONNECTION_REFUSED; a Retry; nothing. */
enum quic_admit { QUIC_ADMIT_DEFAULT, QUIC_ADMIT_PROVEN, QUIC_ADMIT_REFUSE, QUIC_ADMIT_RETRY, QUIC_ADMIT_DROP };

/* The application's say in whom to admit. Each may be NULL. Must not call the core. */
struct quic_admission {
    enum quic_admit (*judge)(const struct quic_admission *admission, enum quic_token_kind kind,
                             const struct quic_addr *remote, const uint8_t *token, size_t len);
    /* The token of a NEW_TOKEN frame, instead of ours: its length; 0: none is sent. */
    size_t (*make)(const struct quic_admission *admission, const struct quic_addr *remote, uint8_t *out,
                   size_t capacity);
};

struct quic_config {
    struct options options;
    struct crypto_tls_config *tls;
    enum crypto_role role;
    struct quic_addr preferred_v4,
        preferred_v6;                    /* server: where clients are asked to move (RFC 9000 9.6); family 0 = none */
    const struct quic_cc_ops *custom_cc; /* governs instead of the congestion_control option; NULL = none */
    const struct quic_qlog_sink *qlog;   /* where connections tell what they do (qlog.h); NULL = nowhere */
    const struct quic_admission *admission; /* server: NULL = nobody is asked */
    _Atomic uint32_t refs;
    void (*release)(struct quic_config *config);
};
void quic_config_ref(const struct quic_config *config);
void quic_config_unref(const struct quic_config *config);

struct quic_socket;

/* What the core may ask about a socket; each may be NULL. */
struct quic_socket_ops {
    /* The socket of this engine for the other address family, or NULL. */
    struct quic_socket *(*sibling)(struct quic_socket *socket, uint8_t family);
    /* The largest UDP payload that the local interface towards `remote` takes; 0 = not known. */
    uint32_t (*payload_size)(struct quic_socket *socket, const struct quic_addr *remote);
    /* A socket for one connection alone, which has come over `socket`; at most `most` of those. NULL: it stays here. */
    struct quic_socket *(*connect)(struct quic_socket *socket, const struct quic_addr *local,
                                   const struct quic_addr *remote, uint64_t most);
    /* No path uses such a socket any more. */
    void (*release)(struct quic_socket *socket);
};

/* One UDP socket as the core sees it. io embeds it. */
struct quic_socket {
    struct quic_addr local;            /* bound address; ip all 0 = any */
    struct quic_listener *listener;    /* NULL: no new connections from here */
    const struct quic_socket_ops *ops; /* NULL: nothing is known */
};

/* Accepts connections. Owned by its creator; must outlive its use as socket->listener. */
struct quic_listener {
    const struct quic_config *config; /* for new connections; may be replaced at any time */
    uint64_t handle;                  /* told to accepted connections (conn->listener) */
    void *user;                       /* becomes conn->user */
    uint32_t connections;             /* open ones */
    bool draining;                    /* accepts nothing new */
};

struct quic_datagram {    /* received */
    struct base_buf *buf; /* holds the bytes; the endpoint takes references of its own */
    uint8_t *data;        /* modified in place */
    size_t len;
    struct quic_socket *socket;
    struct quic_addr local, remote; /* local: the address it was sent to */
    uint8_t ecn;                    /* enum quic_ecn */
};

/* Engines that share ports with this one, by the numbers in connection IDs (handover.h implements it). */
struct quic_siblings {
    /* The datagram's ID names another one. False: it must not go there; else it was copied, or is lost. */
    bool (*hand_over)(struct quic_siblings *siblings, unsigned number, const struct quic_datagram *datagram);
};

#define QUIC_TRAIN_SIZE 65536u
#define QUIC_TRAIN_SEGMENTS 64u

/* Datagrams to send with one call: all of `segment` bytes but the last, which may be shorter. */
struct quic_train {
    uint8_t *data;                  /* given by the caller: QUIC_TRAIN_SIZE bytes */
    size_t len;                     /* out */
    uint32_t segment;               /* out */
    uint32_t count;                 /* out */
    uint32_t max_segments;          /* in: 1 when the system has no GSO */
    struct quic_socket *socket;     /* out */
    struct quic_addr local, remote; /* out; local family 0 = let the system choose */
    uint8_t ecn;                    /* out: mark for the IP header */
};

#define QUIC_RESET_LEAST 21u /* smallest stateless reset (RFC 9000 10.3): 5 bytes and the token */

struct quic_orphan; /* a 0-RTT packet without a connection */
#define QUIC_ORPHANS 16u

struct quic_reply; /* a stateless reply that waits to be sent */
#define QUIC_REPLIES 1024u

struct quic_endpoint {
    struct base_mem *mem;
    struct base_random random;
    struct base_slots *slots;
    struct base_events *events;
    struct base_bufpool *bufs;
    struct crypto_fleet *fleet;
    struct quic_siblings *siblings; /* NULL: it is alone */
    struct quic_cid_codec codec;
    struct base_map initial_cids; /* IDs that clients chose -> connection handle */
    struct base_map reset_tokens; /* of the peers' IDs in use -> connection handle */
    struct base_heap timers;
    struct base_list conns, dirty;
    struct base_list touched; /* had a turn since the last quic_endpoint_settle */
    uint32_t conn_count;
    struct base_list closing; /* connections in their closing or draining period, the oldest first */
    uint32_t closing_count;
    struct base_list replies; /* QUIC_REPLIES of them at most, the oldest first */
    uint32_t reply_count;
    struct quic_orphan *orphans; /* QUIC_ORPHANS of them, from the first one on */
    struct base_bucket reset_bucket, reply_bucket;
    struct quic_gate gate; /* whom it lets begin */
    struct engine_stats stats;
    uint64_t paths_gone;     /* forgotten: whoever keeps sockets may look which are in use */
    base_time now;           /* of the last call */
    uint64_t unix_offset;    /* wall clock minus `now` (may wrap): tokens outlive this process */
    uint64_t serial;         /* IDs issued so far */
    uint8_t cid_len;         /* of every ID we issue */
    bool lb_on;              /* they are of a load balancer's kind (lb.h) */
    uint8_t lb_now;          /* rotation of new ones */
    struct quic_lb *lb[7];   /* configurations by rotation; NULL = none */
    struct base_map lb_cids; /* such IDs in use -> connection handle */
    uint8_t hash_secret[16];
    base_time *resumes; /* when a saved window was used last, by address (resume_conn.c); NULL = none was */
    /* the last look-up, for the datagrams of a train */
    struct quic_cid last_cid;
    struct quic_conn *last_conn;
};

struct quic_endpoint_open {
    struct base_mem *mem;
    struct base_random random;
    struct base_slots *slots;
    struct base_events *events;
    struct base_bufpool *bufs;
    uint8_t engine;              /* number of the engine in our connection IDs */
    const uint8_t *fleet_secret; /* CRYPTO_FLEET_SECRET_SIZE bytes, or NULL: random */
    uint64_t unix_ns; /* the wall clock at `now`: times inside tokens mean the same on every machine of a fleet */
};

/* 0 or ERR_NOMEM. */
int quic_endpoint_init(struct quic_endpoint *endpoint, const struct quic_endpoint_open *open, base_time now);
/* Frees every connection at once and silently. */
void quic_endpoint_clear(struct quic_endpoint *endpoint);

void quic_endpoint_input(struct quic_endpoint *endpoint, const struct quic_datagram *datagrams, size_t count,
                         base_time now);
void quic_endpoint_tick(struct quic_endpoint *endpoint, base_time now);
/* Fills the next train. False: nothing to send now. */
bool quic_endpoint_output(struct quic_endpoint *endpoint, struct quic_train *train, base_time now);
/* When to call again at the latest; 0 = at once, BASE_NEVER = only when something arrives. */
base_time quic_endpoint_deadline(const struct quic_endpoint *endpoint);
/* After the application had its turn: un-pins receive buffers, frees streams that are done. */
void quic_endpoint_settle(struct quic_endpoint *endpoint);
/* CLOSED of this connection was delivered: its handle ends; the object goes when its closing period is over. */
void quic_endpoint_forget(struct quic_endpoint *endpoint, struct quic_conn *conn);

struct quic_lb_config;
/* Connection IDs are made for this load balancer from now on (QUIC-LB). Before the first one is made, or with the
 * length they have: what was issued stays good, so configurations can be rotated. ERR_INVALID, ERR_STATE, ERR_NOMEM. */
int quic_endpoint_set_lb(struct quic_endpoint *endpoint, const struct quic_lb_config *config);

/* Which byte of our connection IDs tells engines of a pool apart; -1: none that can be read. */
int quic_endpoint_engine_at(const struct quic_endpoint *endpoint);

/* ---- inside the room ---- */
/* --- route.c --- */
/* The connection that has issued this ID; by the ID that its client chose, or that a Retry gave it. NULL: none. */
struct quic_conn *quic_route_issued(struct quic_endpoint *endpoint, const uint8_t *id, size_t len);
struct quic_conn *quic_route_initial(struct quic_endpoint *endpoint, const uint8_t *id, size_t len);
void quic_route_clear(struct quic_endpoint *endpoint);
/* An ID that leads here but to no connection, for a Retry. False: there is none left. */
bool quic_endpoint_make_cid(struct quic_endpoint *endpoint, struct quic_cid *cid);
/* Could this engine have issued the ID? */
bool quic_endpoint_owns_cid(struct quic_endpoint *endpoint, const uint8_t *id, size_t len);
/* RETIRE_CONNECTION_ID: quic_local_cids_retire, and nothing leads here by it any more. */
enum quic_error quic_endpoint_retire_cid(struct quic_endpoint *endpoint, struct quic_conn *conn, uint64_t sequence,
                                         const struct quic_cid *arrived_on);
/* The number of the engine beside this one that could have; -1: none. Of load balancers' IDs that is the server ID's
 * last byte, when the rest of it is ours. */
int quic_endpoint_sibling_of(struct quic_endpoint *endpoint, const uint8_t *id, size_t len);
/* Registers a connection's new local ID (fills it in and adds it to local_cids); false when all entries are used. */
bool quic_endpoint_issue_cid(struct quic_endpoint *endpoint, struct quic_conn *conn);
/* The ID a client chose (or was given by Retry) leads to this connection until it is removed. False: out of memory. */
bool quic_endpoint_add_initial_cid(struct quic_endpoint *endpoint, const struct quic_cid *cid, struct quic_conn *conn);
void quic_endpoint_remove_initial_cid(struct quic_endpoint *endpoint, const struct quic_conn *conn);
/* To be called whenever the remote IDs, or which path uses them, have changed: a stateless reset is then recognised
 * even though its Destination Connection ID is random (RFC 9000 10.3.1). Running out of memory costs no more than
 * that. */
void quic_endpoint_sync_reset_tokens(struct quic_endpoint *endpoint, struct quic_conn *conn);
/* The connection goes away: forgets every ID and token that leads to it. */
void quic_endpoint_unroute(struct quic_endpoint *endpoint, struct quic_conn *conn);
/* The connection that owns this ID, or NULL. */
struct quic_conn *quic_endpoint_find(struct quic_endpoint *endpoint, const uint8_t *id, size_t len);
/* The wall clock in ns. */
static inline uint64_t quic_endpoint_unix(const struct quic_endpoint *endpoint, base_time now) {
    return now + endpoint->unix_offset;
}
/* A token for NEW_TOKEN frames (RFC 9000 8.1.3), for a client at this address that comes back with this version: its
 * length, 0 when it does not fit. `saved`: what its path was found to carry (resume_conn.h); NULL = nothing. */
size_t quic_endpoint_new_token(struct quic_endpoint *endpoint, uint32_t version, const struct quic_addr *remote,
                               const struct quic_resume_saved *saved, uint8_t *out, size_t capacity, base_time now);

/* --- version.c --- */
#define QUIC_VERSION_LIST_MAX 2u
bool quic_version_spoken(const struct options *options, uint32_t version);
/* The versions that are spoken, `first` (if it is one) before the others; returns how many. */
unsigned quic_version_list(const struct options *options, uint32_t first, uint32_t out[QUIC_VERSION_LIST_MAX]);
/* A version nobody speaks (RFC 9000 6.3, 15). */
uint32_t quic_version_reserved(const struct base_random *random);

/* --- orphan.c --- */
/* A 0-RTT packet that belongs to no connection, on a socket with a listener. */
void quic_orphan_keep(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                      const struct quic_header *header, base_time now);
/* The Initial with this Destination Connection ID has made a connection. */
void quic_orphan_adopt(struct quic_endpoint *endpoint, const struct quic_cid *dcid, struct quic_conn *conn,
                       base_time now);
void quic_orphan_clear(struct quic_endpoint *endpoint);

/* --- accept.c --- */
/* An Initial that belongs to no connection yet, on a socket with a listener. */
void quic_accept_initial(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                         const struct quic_header *header, base_time now);
/* A datagram of a hello that has waited in the lobby. Is there a connection for it now? */
bool quic_accept_waited(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                        const struct quic_hello *hello, base_time now);

/* --- stateless.c --- */
void quic_stateless_init(struct quic_endpoint *endpoint, base_time now);
void quic_stateless_clear(struct quic_endpoint *endpoint);
/* Can one more reply wait? */
bool quic_stateless_has_room(const struct quic_endpoint *endpoint);
/* Each queues at most one reply to the datagram's sender, or none: too many wait, or there were too many lately. */
void quic_stateless_version_negotiation(struct quic_endpoint *endpoint, const struct quic_datagram *cause,
                                        const struct quic_header *header, base_time now);
bool quic_stateless_retry(struct quic_endpoint *endpoint, const struct quic_datagram *cause,
                          const struct quic_header *header, const struct quic_cid *scid, const uint8_t *token,
                          size_t token_len);
/* An Initial packet with nothing but CONNECTION_CLOSE (10.2.3): keys follow from the client's ID alone. */
void quic_stateless_close(struct quic_endpoint *endpoint, const struct quic_datagram *cause,
                          const struct quic_header *header, uint64_t code, base_time now);
/* Only for IDs that name this engine: another's connection may be alive. */
void quic_stateless_reset(struct quic_endpoint *endpoint, const struct quic_datagram *cause, const uint8_t *dcid,
                          size_t dcid_len, base_time now);
/* The oldest reply into a train of its own. False: none waits. */
bool quic_stateless_output(struct quic_endpoint *endpoint, struct quic_train *train);
/* The socket is going away: its replies go too. */
void quic_stateless_forget_socket(struct quic_endpoint *endpoint, const struct quic_socket *socket);

#endif
