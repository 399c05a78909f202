/* path.h - the network paths of a connection: addresses, validation, amplification limit (RFC 9000 sections 8 and 9).
 *
 * A path is a pair of addresses. One is active. A packet from another address makes a candidate that is probed with
 * PATH_CHALLENGE; nothing an unauthenticated datagram says ever moves the connection. Until a path is validated it
 * gets at most three times what it sent.
 *
 * Invariant: the active path is used; of an unvalidated path stats.bytes_sent <= 3 * stats.bytes_received
 * (server).
 */
#ifndef QUIC_PATH_H
#define QUIC_PATH_H

#include "quic/cid.h"
#include "quic/recovery.h"

struct quic_socket;
struct quic_conn;

enum quic_path_state {
    QUIC_PATH_NONE = 0,
    QUIC_PATH_UNVALIDATED,
    QUIC_PATH_VALIDATING,
    QUIC_PATH_VALIDATED,
    QUIC_PATH_FAILED
};

#define QUIC_PATH_RESPONSES 4u
#define QUIC_PATH_LEAST \
    64u /* a smaller rest of the amplification limit holds no packet worth sending: it counts as nothing */
#define QUIC_PATH_TRIES 3u /* challenges before a path has failed: one a PTO (8.2.4) */

struct quic_path {
    struct quic_addr local, remote;
    struct quic_socket *socket;
    struct quic_path_control control;
    uint8_t amplification; /* times what was received may be sent while not validated; 0 = 3 */
    uint8_t index;         /* its entry in conn->paths */
    uint8_t state;         /* enum quic_path_state */
    /* The newest challenge, and earlier tries, which may still be answered; each has bytes of its own (8.2.1). */
    uint8_t challenge[8];
    uint8_t challenges_before[QUIC_PATH_TRIES - 1][8];
    bool challenge_wanted;   /* `challenge` is to be sent */
    uint8_t challenge_tries; /* challenges made; 0 = nothing is being probed */
    uint8_t challenge_short; /* bit i: try i went out in less than 1200 bytes: its answer proves the address only */
    base_time challenge_deadline;              /* next try or failure, while something is being probed */
    base_time challenge_interval;              /* between tries */
    uint8_t responses[QUIC_PATH_RESPONSES][8]; /* challenges to answer; the newest wins when full */
    uint8_t response_count;
    uint32_t mtu;         /* largest datagram known to pass */
    uint64_t spin_cid;    /* the spin bit (17.4): sequence + 1 of the ID its value is for; 0 = none yet */
    uint64_t spin_number; /* highest 1-RTT packet number received here + 1 */
    bool spin;            /* what our next packets show */
    bool expand;          /* datagrams with a challenge are padded to 1200 when the limit allows (8.2.1) */
    bool chosen;          /* by us, of a peer whose address is known: no amplification limit */
    bool move_there;      /* becomes the active path as soon as it is validated */
    bool left;            /* was the active path: late packets may come, for a while */
    base_time leave_at;   /* then it is forgotten; BASE_NEVER = not yet */
    base_time heard_at;   /* when it was last found to be in use or validated */
};

/* Bytes that may go to this path now: UINT64_MAX when validated. */
uint64_t quic_path_allowance(const struct quic_path *path);

/* A datagram of this size came over it: before anything is answered. */
static inline void quic_path_on_datagram(struct quic_path *path, size_t len) {
    path->control.stats.datagrams_received++;
    path->control.stats.bytes_received += len;
}
/* One of this size goes out over it. */
static inline void quic_path_on_datagram_sent(struct quic_path *path, size_t len) {
    path->control.stats.datagrams_sent++;
    path->control.stats.bytes_sent += len;
}

struct quic_path *quic_path_active(struct quic_conn *conn);
/* Server, once the client is known: the active path gets a socket of its own, if the options and the system allow. From
 * another address the client reaches the shared one; then, and with its path, the own one goes. */
void quic_path_connect(struct quic_conn *conn);
/* `path`, or with NULL the connection, does without its own socket. */
void quic_path_disconnect(struct quic_conn *conn, const struct quic_path *path);
/* Frees the entries no path is in, but for the first. */
void quic_path_shrink(struct quic_conn *conn);
/* A controller as the configuration wants it, for a path that has none. False: out of memory. */
bool quic_path_init_control(struct quic_conn *conn, struct quic_path *path);
/* The path with these addresses, or NULL. Which of its own addresses a client has is up to the system: the server's
 * decides, and its own only among several paths to there. */
struct quic_path *quic_path_find(struct quic_conn *conn, const struct quic_addr *local, const struct quic_addr *remote);
/* An authenticated packet that is no duplicate came over addresses that quic_path_find does not know: makes the
 * candidate and starts to probe it. NULL: the packet is to be dropped (RFC 9000 9: before the handshake is confirmed,
 * from an unknown server, or migration is off and the IP address is another one; or no connection ID can be used
 * there). */
struct quic_path *quic_path_candidate(struct quic_conn *conn, struct quic_socket *socket, const struct quic_addr *local,
                                      const struct quic_addr *remote, base_time now);
/* A path that is probed at once, under an unused ID of the peer's; `share`: if there is none, under that of the active
 * path. NULL: no ID, or no memory. */
struct quic_path *quic_path_open(struct quic_conn *conn, struct quic_socket *socket, const struct quic_addr *local,
                                 const struct quic_addr *remote, bool share, base_time now);
/* Packets go there from now on. */
void quic_path_activate(struct quic_conn *conn, struct quic_path *path, base_time now);
/* A non-probing packet with the highest number came over `path`: the peer has moved (RFC 9000 9.3). Does nothing when
 * it is the active one. */
void quic_path_on_moved(struct quic_conn *conn, struct quic_path *path, base_time now);
/* The peer's address is proven by other means: a Handshake packet, a token (RFC 9000 8.1). */
void quic_path_on_validated(struct quic_path *path, base_time now);
void quic_path_on_challenge(struct quic_path *path, const uint8_t data[8]);
/* The spin bit of packets to this ID on this path (17.4). */
bool quic_path_spin(struct quic_conn *conn, struct quic_path *path, const struct quic_remote_cid *cid);
/* A 1-RTT packet came over `path` with this spin bit. */
void quic_path_on_spin(const struct quic_conn *conn, struct quic_path *path, uint64_t number, bool spin);
/* path->challenge was written into a datagram, which the limit may keep below 1200 bytes. Its loss needs no answer: the
 * timer makes another one. */
void quic_path_on_challenge_sent(struct quic_path *path);
/* True when it matched a challenge of ours. */
bool quic_path_on_response(struct quic_conn *conn, const uint8_t data[8], base_time now);
void quic_path_on_timeout(struct quic_conn *conn, base_time now);
base_time quic_path_deadline(const struct quic_conn *conn);
/* After quic_remote_cids_add: paths in `mask` lost their ID and get another; one that can have none is given up (RFC
 * 9000 5.1.2, 9.5). False: not even the active path has an ID. */
bool quic_path_replace_cids(struct quic_conn *conn, unsigned mask, base_time now);

#endif
