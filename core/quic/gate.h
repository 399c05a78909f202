/* gate.h - whom an engine lets begin: budgets for clients that nobody knows yet, and fairness between networks.
 *
 * An Initial may come from anywhere, with any source address, and asks for the most expensive thing a server does. So
 * what has not proven its address yet is counted: how many there are (half-open), how many of them a second never prove
 * it, and which network they come from. Beyond a budget the engine asks for a Retry, which costs it no memory at all;
 * beyond a second one a client has to wait. A turn begins only so many handshakes, for those who are connected wait
 * meanwhile; the others wait in a lobby (lobby.h), for a later turn or for a place.
 *
 * Networks are address prefixes (IPv4 /24, IPv6 /56 unless set otherwise). What each holds is kept in a table of fixed
 * size (a count-min sketch under a secret hash): an attacker who owns millions of prefixes cannot make it grow, and a
 * collision makes an innocent network look larger, never an attacker smaller; the price is a Retry.
 *
 * Whoever makes his handshake larger than others are takes more places for it, by the same rules: shares and budgets
 * are of places, and so of memory. Connections that are complete have weights in their places, and a network's share of
 * scarce memory is one of weight: a few that hold much are as many as many that hold little.
 *
 * Invariant: half_open, handshakes, weight and the sums of each row of the table are what the live connections were
 * counted for.
 */
#ifndef QUIC_GATE_H
#define QUIC_GATE_H

#include "base/bucket.h"
#include "base/clock.h"
#include "base/list.h"
#include "quic/types.h"
#include "tables/options.h"

struct quic_endpoint;
struct quic_conn;
struct quic_datagram;

/* A place: what a handshake is taken to cost when a memory budget says how many there may be; a test holds us to it. A
 * client that makes its handshake hold more takes several. */
#define QUIC_GATE_HALF_OPEN_COST 57344u
/* What a weight of one stands for: a connection at rest, or so many bytes that another holds for its peer. */
#define QUIC_GATE_CONN_COST 8192u

enum quic_gate_verdict { QUIC_GATE_OPEN = 0, QUIC_GATE_RETRY, QUIC_GATE_WAIT, QUIC_GATE_DROP };

struct quic_hello;
struct quic_lobby;
struct quic_share;       /* a cell of the table of prefixes */
struct quic_turned_away; /* a client that got no connection */

struct quic_gate {
    uint32_t half_open;          /* places of clients whose address is not proven */
    uint32_t handshakes;         /* ... of clients, proven or not, whose handshake is not complete */
    uint64_t weight;             /* of all connections that are counted under their prefixes */
    bool guarding;               /* every new client is asked for a Retry */
    struct base_list unfinished; /* connections that are counted as handshakes, by heard_at: the longest silent first */
    struct base_bucket unproven; /* clients that begin and never prove their address */
    struct quic_share *shares;   /* made with the first client */
    uint32_t begun;              /* handshakes of this turn */
    uint32_t waiting_count;      /* hellos in the lobby */
    struct quic_lobby *lobby;    /* NULL: empty */
    struct quic_turned_away *turned_away; /* the last ones; made with the first */
};

void quic_gate_init(struct quic_endpoint *endpoint);
void quic_gate_clear(struct quic_endpoint *endpoint);
/* The prefix an address belongs to, as a number that only this engine can compute. */
uint64_t quic_gate_prefix(const struct quic_endpoint *endpoint, const struct options *options,
                          const struct quic_addr *addr);
/* May a client from `prefix` begin? `proven`: it brought a token for its address. `waited`: in the lobby. */
enum quic_gate_verdict quic_gate_judge(struct quic_endpoint *endpoint, const struct options *options, uint64_t prefix,
                                       bool proven, bool waited, base_time now);
/* A connection was made for it. */
void quic_gate_enter(struct quic_conn *conn, uint64_t prefix, bool proven);
void quic_gate_proven(struct quic_conn *conn);
/* Its handshake may hold more than before, or less. It ends when there is no place for it. */
void quic_gate_weigh(struct quic_conn *conn, base_time now);
/* A turn has passed in which it was touched: what it holds for its peer may be more or less than before. */
void quic_gate_settle(struct quic_conn *conn);
/* It said something. */
void quic_gate_heard(struct quic_conn *conn, base_time now);
/* Its handshake is over, well or badly. */
void quic_gate_leave(struct quic_conn *conn);
/* It is gone. */
void quic_gate_forget(struct quic_conn *conn);

/* Names a client that has no connection yet, by the ID it chose and its address; only this engine can compute it. */
uint64_t quic_gate_key(const struct quic_endpoint *endpoint, const struct quic_cid *dcid, const struct quic_addr *addr);
/* It was asked for a Retry or got no answer: the rest of its flight is not to be looked at. */
void quic_gate_turn_away(struct quic_endpoint *endpoint, uint64_t key, base_time now);
bool quic_gate_was_turned_away(const struct quic_endpoint *endpoint, uint64_t key, base_time now);
/* The first datagram of a hello for which this turn has no more time, or the engine no place; false: there is no room,
 * or this network fills its share of it. */
bool quic_gate_wait(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                    const struct quic_hello *hello, base_time now);
/* A new turn: it may begin handshakes again, and those who waited come first. */
void quic_gate_turn(struct quic_endpoint *endpoint, base_time now);
/* When those who wait need a turn: 0 at once, or when the next place may be free; BASE_NEVER: nobody waits. */
base_time quic_gate_deadline(const struct quic_endpoint *endpoint);

#endif
