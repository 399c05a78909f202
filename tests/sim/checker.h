/* checker.h - an observer that holds every datagram of a simulated network to the rules of RFC 9000, 9001 and 9002.
 *
 * It sits where a wire tap would, sees each datagram as it leaves (before the link touches it) and learns which ones
 * arrive. It opens them with the secrets TLS logs for debuggers (the NSS key log), parses what is inside, remembers it,
 * and judges the next one by it. It trusts nothing a connection says about itself, but for three things that cannot be
 * seen from outside: the congestion window, probe time-outs, and that a connection is draining.
 *
 * The first broken rule ends the run: "rule <name>: what happened".
 *
 *   checker.c         the world's hooks, connections by ID, what arrives
 *   checker_open.c    from a datagram to opened packets
 *   checker_tls.c     the little of TLS that has to be understood
 *   checker_rules.c   datagrams and packets
 *   checker_frames.c  frames
 *   selftest.c        each rule is broken once, and must be found broken
 */
#ifndef SIM_CHECKER_H
#define SIM_CHECKER_H

#include "base/hash.h"
#include "base/range.h"
#include "world.h"

enum { CHECK_CLIENT = 0, CHECK_SERVER = 1 };

/* A packet number of one space. */
struct check_number {
    base_time sent_at, delivered_at; /* delivered_at 0 = not (yet) */
    uint8_t generation;              /* of the 1-RTT key */
    bool sent, eliciting;
};

struct check_space {
    struct check_number *list; /* index: packet number */
    uint64_t capacity, next;   /* next: highest sent + 1 */
    struct base_ranges delivered;
    uint64_t largest_acked; /* that the sender was told of; QUIC_NO_NUMBER = none */
    base_time owed_since;   /* the other side owes an ACK since; 0 = no */
};

/* Bytes of a stream or CRYPTO stream in one direction. */
struct check_bytes {
    uint8_t *data;
    uint64_t len, capacity;
};

struct check_stream { /* one direction */
    struct check_bytes bytes;
    uint64_t highest, final_size, limit; /* limit: MAX_STREAM_DATA that has arrived at the sender */
    uint64_t reset_code;
    uint64_t reliable; /* with reset_at: no bytes beyond it any more */
    bool touched, fin, reset, reset_at;
};

struct check_cid {
    struct quic_cid cid;
    uint64_t sequence;
    bool delivered, retired, retire_delivered; /* to its user; by its user; that to its owner */
};

struct check_side {
    struct sim_node *node;
    uint64_t handle; /* of the connection object; 0 = not known yet */
    struct check_space spaces[QUIC_SPACES];
    struct check_bytes crypto[QUIC_SPACES];
    struct crypto_key *keys[CRYPTO_LEVELS], *next_key;
    struct crypto_mask_key *masks[CRYPTO_LEVELS];
    struct crypto_secret secret, next_secret; /* 1-RTT: present and next generation */
    unsigned generation;
    uint64_t generation_first; /* first number sent in it */
    struct check_cid cids[64]; /* that it issued */
    unsigned cid_count;
    uint64_t retire_prior_to;
    struct check_stream *streams[4]; /* by sequence */
    uint64_t stream_capacity[4];
    uint64_t stream_sum, max_data, max_streams[2]; /* limits that have arrived here; [1]: unidirectional */
    struct quic_params params;                     /* that it sent */
    bool params_known;
    bool early_judged;                  /* client: what became of its 0-RTT was looked at */
    bool sent_handshake, got_handshake; /* a Handshake packet went out, came in */
    bool confirmed;                     /* HANDSHAKE_DONE has arrived, or was sent */
    bool heard_done;                    /* it has arrived, maybe so late that it was dropped */
    bool closing, heard_close;          /* CONNECTION_CLOSE went out; came in readably */
    uint64_t closes, arrivals;          /* datagrams with CONNECTION_CLOSE; datagrams that arrived since the first */
    uint64_t close_hash;     /* of the datagram with CONNECTION_CLOSE: it may be sent again as it is (10.2.1) */
    uint64_t challenges[64]; /* that have arrived and were not answered */
    unsigned challenge_count;
    uint64_t ptos;  /* as counted by the connection */
    int64_t probes; /* datagrams that may pass the window */
};

struct check_addr { /* where a client seems to be, as the server sees it */
    struct quic_addr addr;
    uint64_t received, sent, challenges[32];
    unsigned challenge_count;
    bool validated;
};

struct check_conn {
    uint32_t index;
    struct check_side sides[2];
    struct quic_cid initial_ids[16]; /* the client's first choice, then what Retry packets gave */
    unsigned initial_count;
    struct quic_cid key_id; /* what the Initial keys were made of */
    uint32_t version;
    uint8_t random[32];
    bool random_known, token_known, muddled, early_accepted,
        early_settled; /* muddled: the server has started again: not judged any more */
    uint8_t *token;
    size_t token_len;
    uint8_t *retry_tokens[16];
    size_t retry_token_lens[16];
    struct check_addr addrs[128];
    unsigned addr_count;
    enum crypto_aead aead;
    bool aead_known;
};

/* What a datagram does when it arrives. */
enum check_effect_kind {
    EFFECT_PACKET,
    EFFECT_ACK,
    EFFECT_MAX_DATA,
    EFFECT_MAX_STREAM_DATA,
    EFFECT_MAX_STREAMS,
    EFFECT_NEW_CID,
    EFFECT_RETIRE_CID,
    EFFECT_CHALLENGE,
    EFFECT_RESPONSE,
    EFFECT_DONE,
    EFFECT_CLOSE,
    EFFECT_TOKEN
};
struct check_effect {
    uint8_t kind, level;
    uint64_t a, b;
};

struct check_record { /* a datagram under way */
    uint32_t conn;    /* index + 1; 0 = none */
    uint8_t side;
    uint32_t first, count; /* effects */
};

struct check_secret {
    uint8_t random[32];
    char label[40];
    uint8_t bytes[CRYPTO_SECRET_MAX];
    uint8_t len;
};

struct seen_packet {
    struct check_conn *conn;
    unsigned side;
    enum crypto_level level;
    enum quic_space space;
    bool is_long;
    uint8_t first, pn_len;
    uint32_t truncated;
    uint64_t number;
    unsigned generation;
    struct quic_cid dcid, scid;
    const uint8_t *token;
    size_t token_len;
    const uint8_t *payload;
    size_t payload_len;
    bool eliciting, stateless; /* stateless: from a server without a connection */
    bool only_close;
};

struct seen_datagram {
    const struct sim_datagram *raw;
    struct check_conn *conn; /* NULL: belongs to none (stateless) */
    unsigned side;
    size_t len;
    struct seen_packet packets[8];
    unsigned count;
    bool unprotected; /* Version Negotiation, Retry, stateless reset */
    bool foreign;     /* of a connection that nobody asked for: not judged */
};

struct checker {
    struct sim_world *world;
    struct base_mem mem;
    struct base_map ids;  /* connection ID -> conn index * 2 + side it leads to */
    struct base_map sent; /* hash of a datagram -> tag */
    struct check_conn **conns;
    uint32_t conn_count;
    struct check_record *records;
    uint32_t record_count, record_capacity;
    struct check_effect *effects;
    uint32_t effect_count, effect_capacity;
    struct check_secret *secrets;
    uint32_t secret_count;
    struct check_record *record; /* of the datagram being judged */
    uint64_t biggest[SIM_NODES]; /* largest datagram that arrived at a node */
    uint64_t hash;               /* of all datagrams sent */
    uint64_t packets;            /* judged */
    uint8_t copy[QUIC_MAX_DATAGRAM];
    /* the self-test changes what was seen before it is judged */
    void (*doctor)(struct checker *checker, struct seen_datagram *datagram);
    void (*doctor_raw)(struct checker *checker, uint8_t *data, size_t len); /* before it is opened */
    void (*doctor_idle)(struct checker *checker);
    base_time idle_next; /* when the clock will move to */
    bool trace;
};

struct checker *checker_new(struct sim_world *world);
void checker_free(struct checker *checker);
extern bool checker_trace; /* print what is seen */

/* ---- hooks of the world ---- */
/* Returns a tag that comes back when the datagram (or a copy of it) arrives. */
uint32_t checker_on_sent(struct checker *checker, const struct sim_datagram *datagram);
void checker_on_arrival(struct checker *checker, struct sim_node *node, const struct quic_addr *from,
                        const uint8_t *data, size_t len, uint32_t tag, bool intact);
/* The tag of the datagram with these bytes that was sent while a filter looked on; 0 = there is none. */
uint32_t checker_tag_of(const struct checker *checker, const uint8_t *data, size_t len);
/* Nothing is left to do at this instant; the clock will move to `next`. */
void checker_on_idle(struct checker *checker, base_time next);
/* For crypto_tls_config_keylog. */
void checker_keylog(void *user, const char *line);

/* Breaks every rule once; returns how many were not found broken, and counts those that were in *passed. */
unsigned long checker_selftest(unsigned long *passed);

/* ---- among the checker's files ---- */
void check_fail(struct checker *checker, const char *rule, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
struct quic_conn *check_object(struct check_side *side);
bool check_open(struct checker *checker, struct seen_datagram *datagram);
const struct check_secret *check_secret_find(const struct checker *checker, const struct check_conn *conn,
                                             const char *label);
void check_tls(struct checker *checker, struct check_conn *conn, unsigned side, enum quic_space space);
void check_datagram(struct checker *checker, struct seen_datagram *datagram);
void check_frames(struct checker *checker, struct seen_datagram *datagram, struct seen_packet *packet);
void check_effect_add(struct checker *checker, enum check_effect_kind kind, enum crypto_level level, uint64_t a,
                      uint64_t b);
struct check_stream *check_stream_of(struct checker *checker, struct check_conn *conn, unsigned side, uint64_t id);
struct check_addr *check_addr_of(struct check_conn *conn, const struct quic_addr *addr);
bool check_id_add(struct checker *checker, const struct quic_cid *cid, const struct check_conn *conn,
                  unsigned leads_to);
struct check_conn *check_id_find(struct checker *checker, const uint8_t *id, size_t len, unsigned *leads_to);
struct check_cid *check_cid_find(struct check_side *owner, const struct quic_cid *cid);

#endif
