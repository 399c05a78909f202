/* peers.h - a client and a server without sockets or clock, for targets that need connections: what fuzzers give is
 * never the network's fault. Both are made anew for each input; the same input does the same again. */
#ifndef FUZZ_PEERS_H
#define FUZZ_PEERS_H

#include "quic/walk.h"

struct peer {
    struct base_mem mem;
    struct base_slots slots;
    struct base_events events;
    struct base_bufpool bufs;
    struct quic_endpoint endpoint;
    struct quic_config config;
    struct quic_socket socket;
    struct quic_listener listener;
    struct quic_train train;
    uint64_t seed;
};

struct peers {
    struct peer sides[2];   /* enum crypto_role */
    struct quic_conn *conn; /* the client's */
    base_time now;
};

void peers_require(bool holds); /* ends the process when it does not */
void peers_open(struct peers *peers);
void peers_close(struct peers *peers); /* requires that all memory came back */
void peers_connect(struct peers *peers);
/* The connection of this side that is not yet closed; NULL: none. */
struct quic_conn *peers_conn(struct peers *peers, enum crypto_role role);
/* A datagram for this side from the other's address. */
void peers_input(struct peers *peers, enum crypto_role to, const uint8_t *data, size_t len);
/* What `from` has to say, at most `most` datagrams; `deliver`: the other side hears it. True: there was something. */
bool peers_carry(struct peers *peers, enum crypto_role from, unsigned most, bool deliver);
/* Events are taken and dropped; the ends of connections and streams are heard of. */
void peers_settle(struct peers *peers);

#endif
