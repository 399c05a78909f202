/* migrate.c - moves that we want (RFC 9000 sections 9.2, 9.5, 9.6).
 *
 * Knows when a move is allowed, where it goes and what is told of it. How a path is opened, probed and made the active
 * one is path.c's business, and a move is no more than a path that is opened with the intent to go there.
 *
 * A server's preferred address is a move too, which begins when the handshake is confirmed. Its family need not be the
 * one in use: the socket may have a sibling of the other one. When the address of one family does not answer, that of
 * the other is tried; when none does, the connection stays where it was (9.6.1).
 *
 * The invariant that matters: every path opened here has a connection ID that was on no other path (9.5).
 */
#include "quic/migrate.h"

#include "quic/walk.h"
#include "tables/errors.h"

/* ---- notes ---- */

void quic_migrate_note(struct quic_conn *conn, const struct quic_path *path, enum quic_path_news news) {
    if (conn->qlog)
        quic_qlog_path_news(conn, path, news);
    if (conn->path_note_count == QUIC_PATH_NOTES) {
        conn->path_note_first = (uint8_t)((conn->path_note_first + 1) % QUIC_PATH_NOTES);
        conn->path_note_count--;
    }
    unsigned at = (conn->path_note_first + conn->path_note_count++) % QUIC_PATH_NOTES;
    conn->path_notes[at] = (struct quic_path_note){path->local, path->remote, (uint8_t)news};
    base_event_raise(conn->endpoint->events, &conn->event, QUIC_CONN_EV_PATHS);
}

bool quic_conn_path_note(struct quic_conn *conn, struct quic_path_note *note) {
    if (!conn->path_note_count)
        return false;
    *note = conn->path_notes[conn->path_note_first];
    conn->path_note_first = (uint8_t)((conn->path_note_first + 1) % QUIC_PATH_NOTES);
    conn->path_note_count--;
    return true;
}

/* ---- a client's own moves ---- */

static int migrate_check(const struct quic_conn *conn) {
    if (conn->state >= QUIC_CONN_CLOSING)
        return ERR_CLOSED;
    if (conn->role != CRYPTO_CLIENT || !conn->handshake_confirmed)
        return ERR_STATE;
    /* 18.2: what the server does not want is moves away from the handshake's address */
    const struct quic_path *active = conn->paths[conn->recovery.active];
    return conn->peer_params.disable_active_migration && !quic_preferred_is(conn, active) ? ERR_STATE : ERR_OK;
}

static struct quic_path *migrate_find(struct quic_conn *conn, const struct quic_socket *socket,
                                      const struct quic_addr *local, const struct quic_addr *remote) {
    for (unsigned i = 0; i < QUIC_PATHS; i++) {
        struct quic_path *path = quic_path_at(conn, i);
        if (path && path->socket == socket && quic_addr_equal(&path->local, local) &&
            quic_addr_equal(&path->remote, remote))
            return path;
    }
    return NULL;
}

static int migrate_to(struct quic_conn *conn, struct quic_socket *socket, const struct quic_addr *local,
                      const struct quic_addr *remote, bool move, base_time now) {
    struct quic_path *active = quic_path_active(conn);
    struct quic_path *path = migrate_find(conn, socket, local, remote);
    for (unsigned i = 0; move && i < QUIC_PATHS; i++)
        if (conn->paths[i])
            conn->paths[i]->move_there = false; /* the last word counts */
    if (path == active)
        return ERR_OK;
    if (path && path->state == QUIC_PATH_VALIDATED && move) {
        quic_path_activate(conn, path, now);
        return ERR_OK;
    }
    if (!path)
        path = quic_path_open(conn, socket, local, remote, false, now);
    if (!path)
        return ERR_BLOCKED;
    path->move_there |= move;
    return ERR_OK;
}

int quic_conn_migrate(struct quic_conn *conn, struct quic_socket *socket, const struct quic_addr *local,
                      base_time now) {
    struct quic_addr remote = quic_path_active(conn)->remote;
    int result = migrate_check(conn);
    return result ? result : migrate_to(conn, socket, local, &remote, true, now);
}

int quic_conn_probe(struct quic_conn *conn, struct quic_socket *socket, const struct quic_addr *local, base_time now) {
    struct quic_addr remote = quic_path_active(conn)->remote;
    int result = migrate_check(conn);
    return result ? result : migrate_to(conn, socket, local, &remote, false, now);
}

/* ---- the server's preferred address ---- */

bool quic_preferred_is_address(const struct quic_conn *conn, const struct quic_addr *addr) {
    const struct quic_preferred_address *theirs = &conn->peer_params.preferred_address;
    const struct quic_config *ours = conn->config;
    if (!addr->family)
        return false;
    if (conn->role == CRYPTO_CLIENT)
        return conn->peer_params.has_preferred_address &&
               (quic_addr_equal(addr, &theirs->v4) || quic_addr_equal(addr, &theirs->v6));
    return quic_addr_equal(addr, &ours->preferred_v4) || quic_addr_equal(addr, &ours->preferred_v6);
}

bool quic_preferred_is(const struct quic_conn *conn, const struct quic_path *path) {
    return quic_preferred_is_address(conn, conn->role == CRYPTO_CLIENT ? &path->remote : &path->local);
}

void quic_preferred_offer(struct quic_conn *conn, struct quic_params *params) {
    const struct quic_config *config = conn->config;
    struct quic_local_cids *set = &conn->local_cids;
    if (!config->preferred_v4.family && !config->preferred_v6.family)
        return;
    if (set->next_sequence == 1 && !quic_endpoint_issue_cid(conn->endpoint, conn))
        return;
    for (unsigned i = 0; i < QUIC_CIDS; i++) {
        struct quic_local_cid *cid = &set->list[i];
        if (!cid->used || cid->sequence != 1)
            continue;
        cid->want = QUIC_WANT_DONE; /* the parameter tells of it, no frame does */
        params->has_preferred_address = true;
        params->preferred_address =
            (struct quic_preferred_address){config->preferred_v4, config->preferred_v6, cid->cid, {0}};
        crypto_reset_token(conn->endpoint->fleet, 0, cid->cid.id, cid->cid.len, params->preferred_address.reset_token);
    }
}

bool quic_preferred_accept(struct quic_conn *conn) {
    const struct quic_preferred_address *preferred = &conn->peer_params.preferred_address;
    unsigned retired;
    if (conn->role != CRYPTO_CLIENT || !conn->peer_params.has_preferred_address)
        return true;
    return quic_remote_cids_add(&conn->remote_cids, 1, 0, &preferred->cid, preferred->reset_token, &retired) ==
           QUIC_NO_ERROR;
}

/* One family's address. False: it has none, it was tried, or there is no way to it. */
static bool preferred_try(struct quic_conn *conn, const struct quic_addr *to, base_time now) {
    const struct quic_path *active = quic_path_active(conn);
    struct quic_socket *socket = active->socket;
    struct quic_addr local = active->local;
    unsigned bit = to->family == 6 ? 2u : 1u;
    if (!to->family || (conn->preferred_tried & bit))
        return false;
    conn->preferred_tried = (uint8_t)(conn->preferred_tried | bit);
    if (to->family != active->remote.family) {
        socket = socket->ops && socket->ops->sibling ? socket->ops->sibling(socket, to->family) : NULL;
        local = (struct quic_addr){0};
    }
    if (!socket)
        return false;
    if (!local.family)
        local = socket->local;
    return migrate_to(conn, socket, &local, to, true, now) == ERR_OK;
}

void quic_preferred_go(struct quic_conn *conn, base_time now) {
    const struct quic_preferred_address *preferred = &conn->peer_params.preferred_address;
    const struct quic_path *active = quic_path_active(conn);
    if (conn->role != CRYPTO_CLIENT || !conn->peer_params.has_preferred_address ||
        !conn->config->options.follow_preferred_address || quic_preferred_is(conn, active))
        return;
    bool six = active->remote.family == 6;
    if (!preferred_try(conn, six ? &preferred->v6 : &preferred->v4, now))
        preferred_try(conn, six ? &preferred->v4 : &preferred->v6, now);
}

void quic_migrate_on_failed(struct quic_conn *conn, base_time now) {
    if (conn->preferred_tried)
        quic_preferred_go(conn, now);
}
