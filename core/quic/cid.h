/* cid.h - connection IDs: those we issue and those the peer gave us (RFC 9000 section 5.1).
 *
 * Our IDs are 10 bytes: one byte in the clear that names the engine (so that a socket filter can steer), and 72 bits
 * that hold the connection's slot and the serial number of the ID, mixed by a keyed permutation: looking a connection
 * up needs no table, and an observer cannot tell which IDs belong together. (Behind a load balancer that speaks QUIC-LB
 * they look as it wants: lb.h.)
 *
 * Invariant: a local ID is accepted exactly while its entry is in use; an engine never issues an ID twice, for serial
 * numbers only go up, and 2^48 of them last for centuries; sequence numbers are never reused.
 */
#ifndef QUIC_CID_H
#define QUIC_CID_H

#include "base/random.h"
#include "quic/types.h"

#define QUIC_CIDS 8u
#define QUIC_CID_SERIALS (UINT64_C(1) << 48)

/* The permutation's key: each engine has its own, and none outlives it. */
struct quic_cid_codec {
    uint8_t secret[16];
    uint8_t engine;
};

/* Makes the ID number `serial` < QUIC_CID_SERIALS, for the connection in `slot` (24 bits). */
void quic_cid_encode(const struct quic_cid_codec *codec, uint32_t slot, uint64_t serial, struct quic_cid *cid);
/* False when the ID is not QUIC_LOCAL_CID_LEN bytes or names another engine. What comes out may be nonsense: compare
 * with what the connection has. */
bool quic_cid_decode(const struct quic_cid_codec *codec, const uint8_t *id, size_t len, uint32_t *slot);
/* Number `serial` of a permutation of all byte strings of this length (1 to 8): each comes once, in an order that only
 * the secret tells. False: there are not so many. */
bool quic_cid_nth(const struct quic_cid_codec *codec, uint64_t serial, uint8_t *out, size_t len);

/* ---- IDs we issued ---- */
struct quic_local_cid {
    struct quic_cid cid;
    uint64_t sequence;
    uint8_t want; /* NEW_CONNECTION_ID: enum quic_want (stream.h) */
    bool used;    /* entry holds a live ID */
};

struct quic_local_cids {
    struct quic_local_cid list[QUIC_CIDS];
    uint64_t next_sequence;
    uint64_t retire_prior_to; /* what we ask the peer to retire */
    uint8_t limit;            /* the peer's active_connection_id_limit, at most QUIC_CIDS */
};

/* ---- IDs the peer issued ---- */
struct quic_remote_cid {
    struct quic_cid cid;
    uint64_t sequence;
    uint8_t reset_token[16];
    bool has_token, used;
    bool stale;    /* given up, but its RETIRE_CONNECTION_ID has found no room yet */
    uint8_t paths; /* bit i: used on path i; 0 = a spare */
};

#define QUIC_RETIRES 16u

struct quic_remote_cids {
    struct quic_remote_cid list[QUIC_CIDS];
    uint64_t retire_prior_to;
    uint8_t limit; /* our active_connection_id_limit */
    struct {
        uint64_t sequence;
        uint8_t want;
    } retire[QUIC_RETIRES]; /* RETIRE_CONNECTION_ID frames owed or in flight; NOT or DONE: free */
    /* which sequence numbers have come: bit i of `seen` is seen_top - i. Older ones count as seen */
    uint64_t seen_top, seen;
    /* reset tokens that stand in the endpoint's table (quic_endpoint_sync_reset_tokens) */
    uint8_t watched[QUIC_CIDS][16];
    uint8_t watched_count;
};

void quic_local_cids_init(struct quic_local_cids *set);
/* Adds an ID with the next sequence number. NULL when all entries are used. */
struct quic_local_cid *quic_local_cids_add(struct quic_local_cids *set, const struct quic_cid *cid);
bool quic_local_cids_free(const struct quic_local_cids *set); /* an entry is */
struct quic_local_cid *quic_local_cids_find(struct quic_local_cids *set, const uint8_t *id, size_t len);
/* RETIRE_CONNECTION_ID from the peer. `arrived_on`: the ID the packet was sent to. 0 or PROTOCOL_VIOLATION (not
 * issued, or in use by this very packet). Repetitions are fine. */
enum quic_error quic_local_cids_retire(struct quic_local_cids *set, uint64_t sequence,
                                       const struct quic_cid *arrived_on);
/* How many more the peer may be given now. */
unsigned quic_local_cids_room(const struct quic_local_cids *set);

void quic_remote_cids_init(struct quic_remote_cids *set, uint8_t limit);
/* The ID of the handshake (sequence 0), replacing what was there. */
void quic_remote_cids_set_initial(struct quic_remote_cids *set, const struct quic_cid *cid);
/* The reset token of the handshake's ID (transport parameter stateless_reset_token, 18.2). */
void quic_remote_cids_set_token(struct quic_remote_cids *set, const uint8_t reset_token[16]);
/* NEW_CONNECTION_ID (RFC 9000 19.15, 5.1.2). 0, PROTOCOL_VIOLATION (same sequence with another ID or token, same ID
 * under another sequence, or the peer uses zero-length IDs) or CONNECTION_ID_LIMIT_ERROR (more active ones than
 * allowed, or more retirements owed than QUIC_RETIRES). Retires what retire_prior_to asks; *retired_mask gets a bit
 * for each path whose ID was retired and that needs another one. */
enum quic_error quic_remote_cids_add(struct quic_remote_cids *set, uint64_t sequence, uint64_t retire_prior_to,
                                     const struct quic_cid *cid, const uint8_t reset_token[16], unsigned *retired_mask);
/* The ID in use on a path (NULL: none), and a spare taken for it (NULL: none left). A zero-length ID serves every
 * path. */
struct quic_remote_cid *quic_remote_cids_of_path(struct quic_remote_cids *set, uint8_t path);
struct quic_remote_cid *quic_remote_cids_take(struct quic_remote_cids *set, uint8_t path);
/* `path` uses the ID of `from` too (RFC 9000 9.5 allows it when the peer's address changed without its doing). NULL:
 * `from` has none. */
struct quic_remote_cid *quic_remote_cids_share(struct quic_remote_cids *set, uint8_t path, uint8_t from);
/* The path is done with its ID: owes a RETIRE_CONNECTION_ID when no other path uses it. */
void quic_remote_cids_release(struct quic_remote_cids *set, uint8_t path);
/* True when the last 16 bytes of a datagram are the reset token of an ID in use on a path: not of a spare, not of a
 * retired one (RFC 9000 10.3.1). Constant time over all entries. */
bool quic_remote_cids_is_reset(const struct quic_remote_cids *set, const uint8_t token[16]);

#endif
