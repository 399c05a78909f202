/* lobby.h - where the first packets of clients wait until a turn has time, and the engine a place, for them.
 *
 * A hello is what one client has said so far: a ClientHello may fill two datagrams, and 0-RTT packets may follow. All
 * its datagrams wait together and are delivered together, so the second never meets a server that has turned away the
 * first, and a hello that was sent again waits once.
 *
 * Hellos stand in lanes by the network they come from, those with a token apart from those without, and lanes are
 * served one after the other: whoever comes with thousands fills his own lane, and when all is full the fullest lane
 * makes room for who comes to a shorter one. All is allocated when somebody comes and freed when the last has gone: an
 * engine at rest holds nothing of it.
 *
 * Not here: who may wait, and what becomes of a hello (gate.c, accept.c).
 *
 * Invariant: `lobby` is NULL when, and only when, nobody waits; a lane's bit is set when, and only when, it has hellos.
 */
#ifndef QUIC_LOBBY_H
#define QUIC_LOBBY_H

#include "base/clock.h"
#include "base/list.h"
#include "quic/types.h"

struct quic_endpoint;
struct quic_datagram;
struct quic_lobby;

#define QUIC_LOBBY_HELLOS 4096u      /* that can wait */
#define QUIC_LOBBY_BYTES (16u << 20) /* they hold at most, and of a memory budget never more than a sixteenth */
#define QUIC_HELLO_DATAGRAMS 4u      /* of one client */

struct quic_hello_part { /* a datagram, copied */
    struct quic_hello_part *next;
    uint16_t len;
    uint8_t ecn;
    uint8_t data[];
};

struct quic_hello {
    struct base_node node;
    uint64_t key;    /* of its client, see quic_gate_key */
    uint64_t prefix; /* its network, see quic_gate_prefix */
    base_time at;    /* since when it waits */
    struct quic_socket *socket;
    struct quic_addr local, remote;
    uint8_t token;         /* what accept.c found its token to be; 0: it has none */
    struct quic_cid odcid; /* what a Retry token says the client chose first */
    uint8_t count;
    uint8_t lane;
    struct quic_hello_part *parts, **last;
};

/* A datagram of a hello that waits already. False: there is none. True: it was kept, or thrown away as one too many. */
bool quic_lobby_join(struct quic_endpoint *endpoint, const struct quic_datagram *datagram, uint64_t key);
/* The first datagram of a hello; `hello` is copied, its key, prefix, token and odcid are set. False: there is no
 * room. */
bool quic_lobby_add(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                    const struct quic_hello *hello, base_time now);
/* Hellos of one datagram that find room. */
uint64_t quic_lobby_places(const struct quic_endpoint *endpoint);
/* Who is to go before this hello can be added: the last of the fullest lane. NULL: there is room, or its own lane is no
 * shorter. */
struct quic_hello *quic_lobby_surplus(const struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                                      const struct quic_hello *hello);
/* Whose turn it is; it stays until it is taken. NULL: nobody waits. */
struct quic_hello *quic_lobby_first(const struct quic_endpoint *endpoint);
/* It waits no more, and is the caller's until quic_hello_free. `has_turn`: the next lane is to be served next. */
void quic_lobby_take(struct quic_endpoint *endpoint, struct quic_hello *hello, bool has_turn);
void quic_hello_free(struct quic_endpoint *endpoint, struct quic_hello *hello);
void quic_lobby_clear(struct quic_endpoint *endpoint);

#endif
