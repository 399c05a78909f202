/* migrate.h - moves that we want: a client changes its own address (RFC 9000 section 9.2), or goes to the address that
 * the server prefers (9.6). What peers do by themselves is in path.h.
 *
 * A move begins with a probe from the new address, under a connection ID of its own; the connection goes on over the
 * old path until the new one is proven, and stays there if it is not. What became of a path is told by
 * QUIC_CONN_EV_PATHS and a short list of notes.
 *
 * Invariant: the active path changes by our own will only to a path that is validated.
 */
#ifndef QUIC_MIGRATE_H
#define QUIC_MIGRATE_H

#include "quic/params.h"
#include "quic/path.h"

enum quic_path_news {
    QUIC_PATH_NEWS_VALIDATED = 1, /* the other end answers there */
    QUIC_PATH_NEWS_FAILED,        /* nobody does, or not any more */
    QUIC_PATH_NEWS_ACTIVE,        /* packets go there from now on */
};

struct quic_path_note {
    struct quic_addr local, remote;
    uint8_t news; /* enum quic_path_news */
};

/* Client: moves to `local`, an address of `socket`. 0: the move is under way (or done, when the path was proven
 * before). ERR_CLOSED; ERR_STATE: we are the server, the handshake is not confirmed, or the server does not want
 * clients to move (disable_active_migration); ERR_BLOCKED: the server has given us no unused connection ID, try again
 * later. */
int quic_conn_migrate(struct quic_conn *conn, struct quic_socket *socket, const struct quic_addr *local, base_time now);
/* The same without moving: only finds out whether one could. The path is kept, so a later move there is quick. */
int quic_conn_probe(struct quic_conn *conn, struct quic_socket *socket, const struct quic_addr *local, base_time now);
/* Takes the oldest note. False: there is none. When nobody takes them the oldest are forgotten. */
bool quic_conn_path_note(struct quic_conn *conn, struct quic_path_note *note);

/* ---- inside the room ---- */

void quic_migrate_note(struct quic_conn *conn, const struct quic_path *path, enum quic_path_news news);
/* A path has failed that we meant to move to. */
void quic_migrate_on_failed(struct quic_conn *conn, base_time now);
/* Server: writes the preferred address into our parameters, with the connection ID of sequence 1 (5.1.1). */
void quic_preferred_offer(struct quic_conn *conn, struct quic_params *params);
/* Client: takes the ID that came with the preferred address. False: it contradicts others. */
bool quic_preferred_accept(struct quic_conn *conn);
/* Client: the handshake is confirmed; goes to the address the server prefers, of the family in use if it has one. */
void quic_preferred_go(struct quic_conn *conn, base_time now);
/* It is one of the server's preferred addresses, as it has told (client) or tells (server). */
bool quic_preferred_is_address(const struct quic_conn *conn, const struct quic_addr *addr);
/* The path leads to (client) or from (server) the server's preferred address. */
bool quic_preferred_is(const struct quic_conn *conn, const struct quic_path *path);

#endif
