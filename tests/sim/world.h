/* world.h - a whole network in one process: engines, links and a clock that only moves when nothing is left to do at
 * this instant.
 *
 * Everything that happens is a function of one seed: losses, delays, reordering, corruption, the randomness of the
 * engines and of TLS. A failing seed is run again and does the same.
 *
 * A node is an endpoint with what an engine gives it (memory with a budget, slots, events, buffers) and an application:
 * three functions that are called when its connections and streams have something to say. Nodes are joined by links,
 * one a direction.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "quic/walk.h"
#include "tables/errors.h"

#define SIM_NODES 16u

struct sim_world;
struct sim_node;

/* SplitMix64: small, good enough to lose packets with, and the same everywhere. */
struct sim_dice {
    uint64_t state;
};
uint64_t sim_roll(struct sim_dice *dice);
bool sim_chance(struct sim_dice *dice, double probability);

struct sim_link {
    base_time delay;          /* one way */
    uint64_t bits_per_second; /* 0 = unlimited */
    base_time queue;          /* most time a packet may wait for the line; beyond it is dropped (0 = 100 ms) */
    double loss, duplicate, reorder, corrupt;
    base_time reorder_delay; /* how late a reordered packet is; 0 = up to two delays */
    uint32_t mtu;            /* larger datagrams vanish; 0 = none do */
    bool cut;                /* nothing passes */
    bool bleach;             /* ECN marks are removed */
    bool drop_marked;        /* what is marked vanishes */
    uint8_t remark;          /* what is marked gets this mark instead (enum quic_ecn); 0 = keeps its own */
    base_time mark_after;    /* what is marked and waits longer for the line gets CE; 0 = never */
    base_time line_free;     /* when the line is free again (state) */
    uint64_t sent, lost, delivered, bytes; /* datagrams (state) */
    base_time jitter;                      /* each datagram is late by up to this much more */
};

/* What an application does. All may be NULL. */
struct sim_app {
    void (*on_conn)(struct sim_node *node, struct quic_conn *conn, uint32_t bits); /* enum quic_conn_event */
    void (*on_closed)(struct sim_node *node, struct quic_conn *conn);
    void (*on_stream)(struct sim_node *node, struct quic_stream *stream, uint32_t bits); /* enum quic_stream_event */
    void (*on_timer)(struct sim_node *node);                                             /* node->wake has come */
};

/* Virtual time costs nothing by itself; a node with a processor is busy for as long as its work would take, and what
 * arrives meanwhile waits in its socket's buffer, as far as that goes. The prices are of one core of a server, rounded
 * up: a datagram with its share of the system call, an AEAD and the frames; a beginning with TLS's key exchange and
 * signature; an allocation, which stands for what is made for a packet and thrown away. */
#define SIM_CPU_DATAGRAM (3 * BASE_US)
#define SIM_CPU_HANDSHAKE (500 * BASE_US)
#define SIM_CPU_ALLOCATION (BASE_US)
#define SIM_CPU_TURN 256u    /* datagrams taken in one turn */
#define SIM_CPU_SOCKET 2048u /* datagrams that the socket's buffer holds */

struct sim_cpu {
    bool on;
    base_time busy_until;
    struct sim_flight *socket; /* ring of SIM_CPU_SOCKET: arrived and not yet received */
    uint32_t head, count;
    uint64_t overflowed; /* datagrams for which the socket had no room */
    base_time worked;
};

struct sim_node {
    struct sim_world *world;
    unsigned index;
    struct base_mem mem;
    struct base_slots slots;
    struct base_events events;
    struct base_bufpool bufs;
    struct quic_endpoint endpoint;
    struct quic_socket socket;
    struct quic_socket other; /* a second one; family 0 = none */
    struct quic_listener listener;
    struct sim_dice dice;
    const struct sim_app *app;
    void *user;
    base_time wake; /* BASE_NEVER = none */
    uint8_t *train;
    uint8_t fleet_secret[CRYPTO_FLEET_SECRET_SIZE]; /* survives a restart */
    uint64_t allocations, fail_at;                  /* the allocation with this number fails, once; 0 = none does */
    bool fail_on;                                   /* ... and all that follow */
    struct sim_link links[SIM_NODES];               /* to the node of this index */
    struct quic_addr seen_as; /* where its datagrams seem to come from (NAT); family 0 = its own address */
    bool alive;
    uint64_t strays, stray_bytes; /* datagrams it sent to addresses where nobody is */
    struct sim_cpu cpu;
};

struct sim_flight; /* a datagram under way */
struct checker;    /* checker.h */

/* A datagram as it leaves. */
struct sim_datagram {
    struct sim_node *from, *to; /* to: NULL = nobody has that address */
    struct quic_addr src, dst;  /* src: as a NAT shows it */
    const uint8_t *data;
    uint32_t len, tag; /* tag: the checker's */
    uint8_t ecn;
};

/* Sees every datagram before the link touches it; false: it is lost. */
typedef bool (*sim_filter)(struct sim_world *world, const struct sim_datagram *datagram);

struct sim_world {
    base_time now;
    struct sim_dice dice;
    struct sim_node nodes[SIM_NODES];
    unsigned node_count;
    struct sim_flight *flights; /* heap by arrival */
    uint32_t flight_count, flight_capacity;
    uint64_t flight_order;
    sim_filter filter;
    void *user;
    struct checker *checker; /* watches every run */
    bool unchecked;          /* ... but those where hundreds of megabytes go by and only figures count */
    uint64_t turns;
    bool tampered;      /* bytes that nobody sent were seen: answers to them may look odd */
    unsigned fail_node; /* for the next nodes: which one fails, and at which allocation (0 = none) */
    uint64_t fail_at;
    bool fail_on;
    bool hostile;        /* some peer here is meant to be closed for what it does to no use */
    const char *failure; /* first thing that went wrong, or NULL */
    char failure_text[256];
};

void sim_world_init(struct sim_world *world, uint64_t seed);
void sim_world_clear(struct sim_world *world);
/* A node with address 10.0.0.(index + 1):4433. `limit`: memory budget, 0 = none. */
struct sim_node *sim_node_add(struct sim_world *world, const struct sim_app *app, uint64_t limit);
void sim_node_remove(struct sim_node *node); /* as if its power was cut */
/* And back again: it has forgotten everything but its fleet secret. Listens as before. */
void sim_node_restart(struct sim_node *node);
/* Bytes that appear on a node's wire after `delay` as if they came from `src`: attackers, and the network's memory.
 * What was sent before, byte for byte (and seen by a filter), is known as a copy; a copy that was changed must say of
 * what, unless nothing of it can be authentic. */
void sim_inject(struct sim_node *to, const struct quic_addr *src, const uint8_t *data, size_t len, base_time delay);
void sim_inject_changed(struct sim_node *to, const struct quic_addr *src, const uint8_t *data, size_t len,
                        base_time delay, const struct sim_datagram *of);
/* From now on its work takes time. */
void sim_node_cpu(struct sim_node *node);
/* The same link both ways. */
void sim_join(struct sim_node *a, struct sim_node *b, const struct sim_link *link);
void sim_listen(struct sim_node *node, const struct quic_config *config);
struct quic_conn *sim_connect(struct sim_node *from, struct sim_node *to, const struct quic_config *config, void *user);
/* Runs until `done` says so (true), nothing is left to happen or `until` has come (false). */
bool sim_run(struct sim_world *world, base_time until, bool (*done)(struct sim_world *world));
/* The highest share of its glitch_burst that a connection has come to, in this process, and in which glitch. */
extern double sim_glitch_peak;
/* Notes what went wrong (the first time), with a printf text. */
void sim_fail(struct sim_world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Makes the certificates of all simulations, the same in every process; once, before any. */
bool sim_prepare(void);
/* Configurations that live as long as the process: a server with a self-signed certificate, a client that does not
 * verify; ALPN "sim". */
struct quic_config *sim_config(enum crypto_role role, const struct options *options);
void sim_config_free(struct quic_config *config);
/* The same, for a server whose chain takes several datagrams. */
struct quic_config *sim_config_large(const struct options *options);
/* NAME=VALUE: from now on servers have this option so, for measuring. False: it cannot be, as stderr says. */
bool sim_set(const char *setting);
/* From now on all connections write qlogs into this directory. */
void sim_qlog_to(const char *path);
extern const struct quic_qlog_sink *sim_qlog; /* NULL: none do */

#endif
