/* path.c - paths: where packets may go, and how a peer is followed when its address changes (RFC 9000 sections 8.1,
 * 8.2, 9).
 *
 * A candidate is made by an authentic packet from a new address; PATH_CHALLENGE goes there at once, again after each
 * PTO, and after three PTOs without an answer the candidate is forgotten (8.2.4). The active path moves only with the
 * highest-numbered packet that is more than a probe (9.3). It moves before the new address is proven, under the limit
 * of three times what came from there, and moves back when the proof fails (9.3.2). The path it left is challenged
 * too: if the peer is still there, the move was an attack (9.3.3), and the peer's next packets bring the connection
 * back.
 *
 * A new path has a connection ID of its own, so that an observer cannot join the two (9.5). When the peer has given
 * us no spare, the old one is used on: a NAT that forgets its binding must not end a connection.
 *
 * Not here: which frames go when (tx_frame.c), what a path may send (cc), how large its datagrams are (mtu.c).
 *
 * Invariant: a path is being probed exactly when challenge_tries > 0; the active path is never NONE.
 */
#include "quic/path.h"

#include <assert.h>

#include "crypto/keys.h"
#include "quic/migrate.h"
#include "quic/path_record.h"
#include "quic/resume_conn.h"
#include "quic/walk.h"

uint64_t quic_path_allowance(const struct quic_path *path) {
    if (path->state == QUIC_PATH_VALIDATED || path->chosen)
        return UINT64_MAX;
    uint64_t factor = path->amplification ? path->amplification : 3;
    uint64_t most = factor * path->control.stats.bytes_received,
             left = most > path->control.stats.bytes_sent ? most - path->control.stats.bytes_sent : 0;
    return left < QUIC_PATH_LEAST ? 0 : left;
}

struct quic_path *quic_path_active(struct quic_conn *conn) {
    return conn->paths[conn->recovery.active];
}

void quic_path_connect(struct quic_conn *conn) {
    struct quic_path *path = quic_path_active(conn);
    const struct quic_socket_ops *ops = path->socket->ops;
    uint64_t most = conn->config->options.connected_sockets;
    if (!most || conn->role == CRYPTO_CLIENT || conn->own_socket || !ops || !ops->connect)
        return;
    struct quic_socket *own = ops->connect(path->socket, &path->local, &path->remote, most);
    conn->endpoint->stats.sockets_connected += own != NULL;
    conn->endpoint->stats.sockets_refused += own == NULL;
    if (own)
        path->socket = conn->own_socket = own;
}

void quic_path_disconnect(struct quic_conn *conn, const struct quic_path *path) {
    struct quic_socket *own = conn->own_socket;
    if (!own || (path && path->socket != own))
        return;
    conn->own_socket = NULL;
    quic_stateless_forget_socket(conn->endpoint, own);
    own->ops->release(own);
}

static bool is_unspecified(const struct quic_addr *addr) {
    static const uint8_t zero[16];
    return addr->family == 0 || memcmp(addr->ip, zero, sizeof zero) == 0;
}

static bool same_local(const struct quic_addr *a, const struct quic_addr *b) {
    return quic_addr_equal(a, b) || is_unspecified(a) || is_unspecified(b);
}

struct quic_path *quic_path_find(struct quic_conn *conn, const struct quic_addr *local,
                                 const struct quic_addr *remote) {
    struct quic_path *best = NULL;
    for (unsigned i = 0; i < QUIC_PATHS; i++) {
        struct quic_path *path = quic_path_at(conn, i);
        if (!path || !quic_addr_equal(&path->remote, remote))
            continue;
        if (same_local(&path->local, local) && (conn->role == CRYPTO_SERVER || path->local.port == local->port))
            return path;
        if (conn->role == CRYPTO_CLIENT && !best)
            best = path;
    }
    return best;
}

/* ---- probing ---- */

/* The active path is proven: those it follows are needed for late packets only. */
static void path_leave_others(struct quic_conn *conn, base_time now) {
    for (unsigned i = 0; i < QUIC_PATHS; i++) {
        struct quic_path *path = quic_path_at(conn, i);
        if (path && path->left && i != conn->recovery.active)
            path->leave_at = base_time_add(now, quic_conn_three_pto(conn));
    }
}

static void path_challenge(struct quic_conn *conn, struct quic_path *path) {
    if (path->challenge_tries)
        memcpy(path->challenges_before[path->challenge_tries - 1], path->challenge, sizeof path->challenge);
    base_random_fill(&conn->endpoint->random, path->challenge, sizeof path->challenge);
    path->challenge_wanted = true;
    path->challenge_tries++;
    path->challenge_deadline = base_time_add(path->challenge_deadline, path->challenge_interval);
    quic_conn_mark_dirty(conn);
}

static void path_stop_probing(struct quic_path *path) {
    path->challenge_tries = 0;
    path->challenge_short = 0;
    path->challenge_wanted = false;
    path->challenge_deadline = BASE_NEVER;
}

/* Three tries, one each PTO: the larger of the PTO in force and that of a path nothing is known of (8.2.4). */
static void path_probe(struct quic_conn *conn, struct quic_path *path, base_time now) {
    struct quic_rtt unknown;
    quic_rtt_init(&unknown, conn->config->options.initial_rtt);
    path_stop_probing(path);
    path->expand = true;
    path->challenge_interval =
        base_time_max(quic_recovery_pto(&conn->recovery, QUIC_APPLICATION), quic_rtt_pto(&unknown));
    path->challenge_deadline = now;
    if (path->state != QUIC_PATH_VALIDATED)
        path->state = QUIC_PATH_VALIDATING;
    path_challenge(conn, path);
}

void quic_path_on_validated(struct quic_path *path, base_time now) {
    path->state = QUIC_PATH_VALIDATED;
    path->heard_at = now;
}

void quic_path_on_challenge(struct quic_path *path, const uint8_t data[8]) {
    path->control.stats.challenges_received++;
    for (unsigned i = 0; i < path->response_count; i++)
        if (memcmp(path->responses[i], data, 8) == 0)
            return;
    if (path->response_count == QUIC_PATH_RESPONSES) {
        memmove(path->responses[0], path->responses[1], sizeof path->responses - sizeof path->responses[0]);
        path->response_count--;
    }
    memcpy(path->responses[path->response_count++], data, 8);
}

void quic_path_on_challenge_sent(struct quic_path *path) {
    path->challenge_wanted = false;
    path->control.stats.challenges_sent++;
    if (path->challenge_tries && quic_path_allowance(path) < QUIC_MIN_INITIAL)
        path->challenge_short = (uint8_t)(path->challenge_short | 1u << (path->challenge_tries - 1));
}

/* The try that these bytes answer, -1 = none. */
static int path_match(const struct quic_path *path, const uint8_t data[8]) {
    int newest = path->challenge_tries - 1;
    if (newest >= 0 && crypto_equal(path->challenge, data, sizeof path->challenge))
        return newest;
    for (int i = 0; i < newest; i++)
        if (crypto_equal(path->challenges_before[i], data, sizeof path->challenges_before[i]))
            return i;
    return -1;
}

/* The answer may come over any path (8.2.3). A small datagram proved no more than the address: then comes a second
 * round, for which the limit is lifted (8.2.1). */
bool quic_path_on_response(struct quic_conn *conn, const uint8_t data[8], base_time now) {
    for (unsigned i = 0; i < QUIC_PATHS; i++) {
        struct quic_path *path = quic_path_at(conn, i);
        int try = path ? path_match(path, data) : -1;
        if (try < 0)
            continue;
        bool again = (path->challenge_short >> try & 1) && path->state != QUIC_PATH_VALIDATED;
        if (path->state != QUIC_PATH_VALIDATED)
            quic_migrate_note(conn, path, QUIC_PATH_NEWS_VALIDATED);
        if (conn->role == CRYPTO_SERVER &&
            path->state != QUIC_PATH_VALIDATED) { /* 9.3: for the client's next attempt */
            conn->want_new_token = QUIC_WANTED;
            conn->control_wanted = true;
        }
        quic_path_on_validated(path, now);
        path_stop_probing(path);
        if (again)
            path_probe(conn, path, now);
        else if (path->move_there)
            quic_path_activate(conn, path, now);
        else if (path == quic_path_active(conn))
            path_leave_others(conn, now);
        quic_conn_mark_dirty(conn);
        return true;
    }
    return false;
}

/* ---- the spin bit ---- */

/* Where it is disabled it is a coin for each connection ID, so that nobody learns whether it is (17.4). */
bool quic_path_spin(struct quic_conn *conn, struct quic_path *path, const struct quic_remote_cid *cid) {
    if (path->spin_cid != cid->sequence + 1) {
        path->spin_cid = cid->sequence + 1;
        path->spin = !conn->spin_enabled && (base_random_u64(&conn->endpoint->random) & 1);
    }
    return path->spin;
}

void quic_path_on_spin(const struct quic_conn *conn, struct quic_path *path, uint64_t number, bool spin) {
    if (number < path->spin_number)
        return;
    path->spin_number = number + 1;
    if (conn->spin_enabled)
        path->spin = conn->role == CRYPTO_CLIENT ? !spin : spin;
}

/* ---- candidates ---- */

static void path_forget(struct quic_conn *conn, struct quic_path *path) {
    quic_path_keep_record(conn, path); /* while its socket is there to be asked */
    quic_path_disconnect(conn, path);
    conn->endpoint->paths_gone++;
    if (conn->qlog)
        quic_qlog_path_gone(conn, path);
    path_stop_probing(path);
    path->state = QUIC_PATH_NONE;
    path->left = path->move_there = false;
    path->response_count = 0;
    quic_recovery_forget_path(&conn->recovery, path->index); /* what is late belongs to no path now */
    quic_path_control_clear(&path->control, conn->endpoint->mem);
    conn->recovery.paths[path->index] = NULL;
    quic_remote_cids_release(&conn->remote_cids, path->index);
    quic_endpoint_sync_reset_tokens(conn->endpoint, conn);
    conn->control_wanted = true; /* RETIRE_CONNECTION_ID may be owed */
    quic_conn_mark_dirty(conn);
}

/* The best path to go back to from `from`: the validated one that was in use last. NULL: none. */
static struct quic_path *path_fallback(struct quic_conn *conn, const struct quic_path *from) {
    struct quic_path *best = NULL;
    for (unsigned i = 0; i < QUIC_PATHS; i++) {
        struct quic_path *path = quic_path_at(conn, i);
        if (!path || path == from || path->state != QUIC_PATH_VALIDATED)
            continue;
        if (!best || path->heard_at > best->heard_at)
            best = path;
    }
    return best;
}

static struct quic_path *path_new_entry(struct quic_conn *conn, uint8_t i) {
    struct quic_path *path = conn->paths[i] = BASE_NEW(conn->endpoint->mem, struct quic_path);
    if (path)
        path->index = i;
    return path;
}

void quic_path_shrink(struct quic_conn *conn) {
    for (unsigned i = 1; i < QUIC_PATHS; i++) {
        if (!conn->paths[i] || conn->paths[i]->state != QUIC_PATH_NONE)
            continue;
        BASE_DELETE(conn->endpoint->mem, conn->paths[i]);
        conn->paths[i] = NULL;
    }
}

/* An entry to use: a free one, or the oldest that is neither active nor what to go back to, unproven ones first. Four
 * entries leave at least two to choose from. NULL: out of memory. */
static struct quic_path *path_entry(struct quic_conn *conn) {
    const struct quic_path *active = quic_path_active(conn), *fallback = path_fallback(conn, active);
    struct quic_path *oldest = NULL;
    for (uint8_t i = 0; i < QUIC_PATHS; i++) {
        struct quic_path *path = conn->paths[i];
        if (!path)
            return path_new_entry(conn, i);
        if (path->state == QUIC_PATH_NONE)
            return path;
        if (path == active || path == fallback)
            continue;
        bool proven = path->state == QUIC_PATH_VALIDATED;
        bool oldest_proven = oldest && oldest->state == QUIC_PATH_VALIDATED;
        if (!oldest || (oldest_proven && !proven) || (oldest_proven == proven && path->heard_at < oldest->heard_at))
            oldest = path;
    }
    assert(oldest);
    path_forget(conn, oldest);
    return oldest;
}

bool quic_path_init_control(struct quic_conn *conn, struct quic_path *path) {
    const struct options *options = &conn->config->options;
    const struct quic_cc_ops *ops = conn->config->custom_cc;
    if (!ops)
        ops = quic_cc_at((unsigned)options->congestion_control);
    if (!quic_path_control_init(&path->control, conn->endpoint->mem, ops, QUIC_MIN_INITIAL,
                                (uint32_t)options->initial_window, options->hystart, options->pacing,
                                options->initial_rtt))
        return false;
    if (options->careful_resume)
        quic_resume_start(conn, path);
    quic_ecn_start(&path->control.ecn, options->ecn, conn->endpoint->now);
    conn->recovery.paths[path->index] = &path->control;
    return true;
}

/* A server that has asked its clients to stay where they are still follows a NAT that changed the port, and those who
 * go where it has asked them to; from there they may move (18.2). */
static bool path_may_appear(struct quic_conn *conn, const struct quic_addr *local, const struct quic_addr *remote) {
    if (conn->role == CRYPTO_CLIENT || !conn->handshake_confirmed || conn->state >= QUIC_CONN_CLOSING)
        return false;
    const struct quic_path *active = quic_path_active(conn);
    return !conn->config->options.disable_active_migration || quic_preferred_is(conn, active) ||
           quic_preferred_is_address(conn, local) || quic_addr_same_ip(remote, &active->remote);
}

struct quic_path *quic_path_open(struct quic_conn *conn, struct quic_socket *socket, const struct quic_addr *local,
                                 const struct quic_addr *remote, bool share, base_time now) {
    struct quic_path *path = path_entry(conn);
    if (!path)
        return NULL;
    uint8_t index = path->index;
    struct quic_remote_cids *set = &conn->remote_cids;
    if (!quic_remote_cids_take(set, index) && !(share && quic_remote_cids_share(set, index, conn->recovery.active)))
        return NULL;
    quic_endpoint_sync_reset_tokens(conn->endpoint, conn);
    *path = (struct quic_path){
        .index = index,
        .local = *local,
        .remote = *remote,
        .socket = socket,
        .state = QUIC_PATH_UNVALIDATED,
        .challenge_deadline = BASE_NEVER,
        .leave_at = BASE_NEVER,
        .mtu = QUIC_MIN_INITIAL,
        .amplification = (uint8_t)conn->config->options.amplification_limit,
        .chosen = conn->role == CRYPTO_CLIENT,
        .heard_at = now,
    };
    if (conn->qlog)
        quic_qlog_path_opened(conn, path);
    if (!quic_path_init_control(conn, path)) {
        path_forget(conn, path);
        return NULL;
    }
    path_probe(conn, path, now);
    return path;
}

struct quic_path *quic_path_candidate(struct quic_conn *conn, struct quic_socket *socket, const struct quic_addr *local,
                                      const struct quic_addr *remote, base_time now) {
    struct quic_path *path = quic_path_find(conn, local, remote);
    if (path || !path_may_appear(conn, local, remote))
        return path;
    if (!base_bucket_take(&conn->new_paths, 1,
                          now)) { /* each costs us a controller, and a challenge to who knows whom */
        conn->stats.paths_refused++;
        return NULL;
    }
    return quic_path_open(conn, socket, local, remote, true, now);
}

/* ---- moving ---- */

void quic_path_activate(struct quic_conn *conn, struct quic_path *path, base_time now) {
    struct quic_path *old = quic_path_active(conn);
    old->left = old != path;
    path->left = path->move_there = false;
    path->leave_at = BASE_NEVER;
    conn->recovery.active = path->index;
    conn->recovery.pto_count = 0; /* the silence was the old path's */
    if (path->state == QUIC_PATH_VALIDATED)
        path_leave_others(conn, now);
    if (conn->role == CRYPTO_CLIENT)
        conn->ping_wanted = true; /* the server follows what is more than a probe */
    quic_mtu_start(conn);
    quic_migrate_note(conn, path, QUIC_PATH_NEWS_ACTIVE);
    base_event_raise(conn->endpoint->events, &conn->event, QUIC_CONN_EV_PATH);
    quic_conn_mark_dirty(conn);
}

/* Only the port changed: most likely a NAT's doing, and the network behind it is the same (RFC 9000 9.4). */
static bool path_is_rebinding(const struct quic_path *old, const struct quic_path *path) {
    return quic_addr_same_ip(&old->remote, &path->remote) && same_local(&old->local, &path->local);
}

/* The new path goes on as the old one did, and the old one begins again: each keeps one controller. */
static void path_inherit(struct quic_path *path, struct quic_path *old, base_time now) {
    uint64_t in_flight = path->control.bytes_in_flight;
    struct path_stats stats = path->control.stats;
    struct quic_cc fresh = path->control.cc;
    path->control = old->control;
    path->control.bytes_in_flight = in_flight;
    path->control.stats = stats;
    path->mtu = old->mtu;
    old->control.cc = fresh;
    fresh.ops->on_mtu(&old->control.cc, old->mtu);
    quic_ecn_start(&path->control.ecn, old->control.ecn.state != QUIC_ECN_OFF, now);
}

void quic_path_on_moved(struct quic_conn *conn, struct quic_path *path, base_time now) {
    struct quic_path *old = quic_path_active(conn);
    if (path == old || conn->state >= QUIC_CONN_CLOSING || conn->role == CRYPTO_CLIENT)
        return; /* a server does not move; what it sends on two paths is late, or on its way to follow us */
    old->heard_at = path->heard_at = now;
    if (quic_preferred_is(conn, path) && !quic_preferred_is(conn, old) && path->state != QUIC_PATH_VALIDATED) {
        path->move_there = true; /* 9.6.2: we speak from there when the path is proven */
        return;
    }
    if (path_is_rebinding(old, path))
        path_inherit(path, old, now);
    quic_path_activate(conn, path, now);
    if (path->state != QUIC_PATH_VALIDATED && !path->challenge_tries)
        path_probe(conn, path, now);
    if (old->state == QUIC_PATH_VALIDATED && !old->challenge_tries)
        path_probe(conn, old, now);
}

/* Nobody answered there. */
static void path_fail(struct quic_conn *conn, struct quic_path *path, base_time now) {
    bool wanted = path->move_there;
    path_stop_probing(path);
    path->state = QUIC_PATH_FAILED;
    quic_migrate_note(conn, path, QUIC_PATH_NEWS_FAILED);
    if (path == quic_path_active(conn)) {
        struct quic_path *back = path_fallback(conn, path);
        if (!back) { /* 9.3.2: without another address that was proven, silence is all that is left */
            struct quic_close close = {.cause = QUIC_CAUSE_PROTOCOL, .code = QUIC_NO_VIABLE_PATH};
            quic_close_silent(conn, &close, now);
            return;
        }
        quic_path_activate(conn, back, now);
    }
    path_forget(conn, path);
    if (wanted)
        quic_migrate_on_failed(conn, now);
}

void quic_path_on_timeout(struct quic_conn *conn, base_time now) {
    for (unsigned i = 0; i < QUIC_PATHS && conn->state < QUIC_CONN_CLOSING; i++) {
        struct quic_path *path = quic_path_at(conn, i);
        if (path && path->left && path->leave_at <= now) {
            path_forget(conn, path);
            continue;
        }
        if (!path || !path->challenge_tries || path->challenge_deadline > now)
            continue;
        if (path->challenge_tries < QUIC_PATH_TRIES)
            path_challenge(conn, path);
        else
            path_fail(conn, path, now);
    }
}

base_time quic_path_deadline(const struct quic_conn *conn) {
    base_time soonest = BASE_NEVER;
    for (unsigned i = 0; i < QUIC_PATHS; i++) {
        const struct quic_path *path = quic_path_at(conn, i);
        if (path && path->challenge_tries)
            soonest = base_time_min(soonest, path->challenge_deadline);
        if (path && path->left)
            soonest = base_time_min(soonest, path->leave_at);
    }
    return soonest;
}

bool quic_path_replace_cids(struct quic_conn *conn, unsigned mask, base_time now) {
    (void)now;
    uint8_t active = conn->recovery.active;
    bool served = !(mask >> active & 1) || quic_remote_cids_take(&conn->remote_cids, active);
    for (uint8_t i = 0; i < QUIC_PATHS && served; i++) {
        struct quic_path *path = quic_path_at(conn, i);
        bool needs = i != active && (mask >> i & 1) && path;
        if (needs && !quic_remote_cids_take(&conn->remote_cids, i))
            path_forget(conn, path);
    }
    quic_endpoint_sync_reset_tokens(conn->endpoint, conn);
    return served;
}
