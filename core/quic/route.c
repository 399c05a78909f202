/* route.c - connection IDs and reset tokens, and the connections they lead to (RFC 9000 sections 5.1, 5.2, 10.3.1).
 *
 * Knows the endpoint's tables. IDs of our own making name their slot and need none; those that load balancers can read
 * (lb.h) hold nothing but server and nonce, and stand in a table with the IDs that clients chose. Nonces are serial
 * numbers in an order that only we know: none comes twice, and no two show that they belong together.
 *
 * Not here: what is done with a datagram that leads nowhere (endpoint.c, accept.c, stateless.c).
 *
 * Invariant: what is looked up is compared with the IDs the connection has now; a table that is out of date, or a
 * number that somebody made up, misleads nobody. Every ID of a load balancer's kind that is in a connection's set is in
 * lb_cids.
 */
#include <assert.h>

#include "quic/lb.h"
#include "quic/walk.h"
#include "tables/errors.h"

/* ---- IDs we issue ---- */

/* A nonce that was not used before. False: they are used up. */
static bool route_nonce(struct quic_endpoint *endpoint, uint8_t len, uint8_t *nonce) {
    uint8_t counted = len < 8 ? len : 8;
    if (!quic_cid_nth(&endpoint->codec, endpoint->serial, nonce, counted))
        return false;
    endpoint->serial++;
    base_random_fill(&endpoint->random, nonce + counted, (size_t)len - counted);
    return true;
}

static bool route_make_lb(struct quic_endpoint *endpoint, struct quic_cid *cid) {
    uint8_t nonce[QUIC_LB_PLAIN_MAX];
    struct quic_lb *lb = endpoint->lb[endpoint->lb_now];
    if (!route_nonce(endpoint, quic_lb_config_of(lb)->nonce_len, nonce))
        return false;
    quic_lb_encode(lb, nonce, (uint8_t)base_random_u64(&endpoint->random), cid);
    return true;
}

static bool route_issue_lb(struct quic_endpoint *endpoint, struct quic_conn *conn, struct quic_cid *cid) {
    return route_make_lb(endpoint, cid) && base_map_put(&endpoint->lb_cids, cid->id, cid->len, conn->handle);
}

bool quic_endpoint_issue_cid(struct quic_endpoint *endpoint, struct quic_conn *conn) {
    struct quic_cid cid;
    if (!quic_local_cids_free(&conn->local_cids))
        return false;
    if (endpoint->lb_on) {
        if (!route_issue_lb(endpoint, conn, &cid))
            return false;
    } else if (endpoint->serial < QUIC_CID_SERIALS) {
        quic_cid_encode(&endpoint->codec, base_handle_index(conn->handle), endpoint->serial++, &cid);
    } else {
        return false;
    }
    return quic_local_cids_add(&conn->local_cids, &cid) != NULL;
}

bool quic_endpoint_make_cid(struct quic_endpoint *endpoint, struct quic_cid *cid) {
    if (endpoint->lb_on)
        return route_make_lb(endpoint, cid);
    *cid = (struct quic_cid){.len = QUIC_LOCAL_CID_LEN};
    base_random_fill(&endpoint->random, cid->id, cid->len);
    cid->id[0] = endpoint->codec.engine;
    return true;
}

enum quic_error quic_endpoint_retire_cid(struct quic_endpoint *endpoint, struct quic_conn *conn, uint64_t sequence,
                                         const struct quic_cid *arrived_on) {
    struct quic_cid gone = {0};
    for (unsigned i = 0; i < QUIC_CIDS; i++)
        if (conn->local_cids.list[i].used && conn->local_cids.list[i].sequence == sequence)
            gone = conn->local_cids.list[i].cid;
    enum quic_error error = quic_local_cids_retire(&conn->local_cids, sequence, arrived_on);
    if (!error && endpoint->lb_on && gone.len)
        base_map_remove(&endpoint->lb_cids, gone.id, gone.len);
    return error;
}

/* The server ID in an ID of one of our configurations, which tells what ours is. NULL: there is none. */
static const struct quic_lb_config *route_server_id(struct quic_endpoint *endpoint, const uint8_t *id, size_t len,
                                                    uint8_t server_id[QUIC_LB_SERVER_MAX]) {
    for (unsigned i = 0; i < QUIC_LB_ROTATIONS; i++)
        if (endpoint->lb[i] && quic_lb_decode(endpoint->lb[i], id, len, server_id, NULL))
            return quic_lb_config_of(endpoint->lb[i]);
    return NULL;
}

bool quic_endpoint_owns_cid(struct quic_endpoint *endpoint, const uint8_t *id, size_t len) {
    uint8_t server_id[QUIC_LB_SERVER_MAX];
    if (len != endpoint->cid_len)
        return false;
    if (!endpoint->lb_on)
        return id[0] == endpoint->codec.engine;
    const struct quic_lb_config *config = route_server_id(endpoint, id, len, server_id);
    return config && memcmp(server_id, config->server_id, config->server_id_len) == 0;
}

int quic_endpoint_sibling_of(struct quic_endpoint *endpoint, const uint8_t *id, size_t len) {
    uint8_t server_id[QUIC_LB_SERVER_MAX];
    if (len != endpoint->cid_len)
        return -1;
    if (!endpoint->lb_on)
        return id[0] == endpoint->codec.engine ? -1 : id[0];
    const struct quic_lb_config *config = route_server_id(endpoint, id, len, server_id);
    if (!config || memcmp(server_id, config->server_id, config->server_id_len - 1u) != 0)
        return -1;
    uint8_t number = server_id[config->server_id_len - 1], own = config->server_id[config->server_id_len - 1];
    return number == own ? -1 : number;
}

/* ---- load balancers ---- */

int quic_endpoint_set_lb(struct quic_endpoint *endpoint, const struct quic_lb_config *config) {
    if (quic_lb_check(config))
        return ERR_INVALID;
    if (endpoint->lb_on ? quic_lb_cid_len(config) != endpoint->cid_len : endpoint->serial > 0)
        return ERR_STATE;
    struct quic_lb *lb = quic_lb_new(endpoint->mem, config);
    if (!lb)
        return ERR_NOMEM;
    quic_lb_free(endpoint->mem, endpoint->lb[config->rotation]);
    endpoint->lb[config->rotation] = lb;
    endpoint->lb_now = config->rotation;
    endpoint->cid_len = quic_lb_cid_len(config);
    endpoint->lb_on = true;
    return 0;
}

int quic_endpoint_engine_at(const struct quic_endpoint *endpoint) {
    const struct quic_lb_config *config = endpoint->lb_on ? quic_lb_config_of(endpoint->lb[endpoint->lb_now]) : NULL;
    return !config ? 0 : config->encrypted ? -1 : config->server_id_len;
}

void quic_route_clear(struct quic_endpoint *endpoint) {
    for (unsigned i = 0; i < QUIC_LB_ROTATIONS; i++) {
        quic_lb_free(endpoint->mem, endpoint->lb[i]);
        endpoint->lb[i] = NULL;
    }
}

/* ---- what else leads to a connection ---- */

bool quic_endpoint_add_initial_cid(struct quic_endpoint *endpoint, const struct quic_cid *cid, struct quic_conn *conn) {
    return base_map_put(&endpoint->initial_cids, cid->id, cid->len, conn->handle);
}

/* Takes key -> conn out of a map, unless the key leads to somebody else by now. */
static void map_remove_own(struct base_map *map, const void *key, size_t len, const struct quic_conn *conn) {
    uint64_t handle;
    if (base_map_get(map, key, len, &handle) && handle == conn->handle)
        base_map_remove(map, key, len);
}

static bool token_is_used(const struct quic_remote_cids *set, const uint8_t token[16]) {
    for (unsigned i = 0; i < QUIC_CIDS; i++) {
        const struct quic_remote_cid *entry = &set->list[i];
        if (entry->used && entry->has_token && entry->paths && memcmp(entry->reset_token, token, 16) == 0)
            return true;
    }
    return false;
}

static bool token_is_watched(const struct quic_remote_cids *set, const uint8_t token[16]) {
    for (unsigned i = 0; i < set->watched_count; i++)
        if (memcmp(set->watched[i], token, 16) == 0)
            return true;
    return false;
}

void quic_endpoint_sync_reset_tokens(struct quic_endpoint *endpoint, struct quic_conn *conn) {
    struct quic_remote_cids *set = &conn->remote_cids;
    for (unsigned i = set->watched_count; i-- > 0;) {
        if (token_is_used(set, set->watched[i]))
            continue;
        map_remove_own(&endpoint->reset_tokens, set->watched[i], 16, conn);
        memmove(set->watched[i], set->watched[--set->watched_count], 16);
    }
    for (unsigned i = 0; i < QUIC_CIDS; i++) {
        const struct quic_remote_cid *entry = &set->list[i];
        if (!entry->used || !entry->has_token || !entry->paths || token_is_watched(set, entry->reset_token))
            continue;
        if (base_map_put(&endpoint->reset_tokens, entry->reset_token, 16, conn->handle))
            memcpy(set->watched[set->watched_count++], entry->reset_token, 16);
    }
}

void quic_endpoint_remove_initial_cid(struct quic_endpoint *endpoint, const struct quic_conn *conn) {
    map_remove_own(&endpoint->initial_cids, conn->initial_dcid.id, conn->initial_dcid.len, conn);
}

void quic_endpoint_unroute(struct quic_endpoint *endpoint, struct quic_conn *conn) {
    quic_endpoint_remove_initial_cid(endpoint, conn);
    for (unsigned i = 0; i < conn->remote_cids.watched_count; i++)
        map_remove_own(&endpoint->reset_tokens, conn->remote_cids.watched[i], 16, conn);
    conn->remote_cids.watched_count = 0;
    for (unsigned i = 0; endpoint->lb_on && i < QUIC_CIDS; i++)
        if (conn->local_cids.list[i].used)
            base_map_remove(&endpoint->lb_cids, conn->local_cids.list[i].cid.id, conn->local_cids.list[i].cid.len);
    base_list_remove(&conn->touched);
    if (endpoint->last_conn == conn)
        endpoint->last_conn = NULL;
}

/* By an ID we issued. The datagrams of a train go to one connection: the last answer is tried first, but even it counts
 * only while the ID is not retired. */
struct quic_conn *quic_route_issued(struct quic_endpoint *endpoint, const uint8_t *id, size_t len) {
    struct quic_conn *conn = endpoint->last_conn;
    if (len != endpoint->cid_len)
        return NULL;
    if (conn && memcmp(endpoint->last_cid.id, id, len) == 0)
        return quic_local_cids_find(&conn->local_cids, id, len) ? conn : NULL;
    uint32_t slot;
    uint64_t handle;
    if (endpoint->lb_on)
        conn = base_map_get(&endpoint->lb_cids, id, len, &handle)
                   ? base_slots_get(endpoint->slots, QUIC_SLOT_CONN, handle, NULL)
                   : NULL;
    else
        conn = quic_cid_decode(&endpoint->codec, id, len, &slot) ? base_slots_at(endpoint->slots, QUIC_SLOT_CONN, slot)
                                                                 : NULL;
    if (!conn || !quic_local_cids_find(&conn->local_cids, id, len))
        return NULL;
    memcpy(endpoint->last_cid.id, id, len);
    endpoint->last_cid.len = (uint8_t)len;
    endpoint->last_conn = conn;
    return conn;
}

/* By an ID its client chose, or that a Retry gave it. */
struct quic_conn *quic_route_initial(struct quic_endpoint *endpoint, const uint8_t *id, size_t len) {
    uint64_t handle;
    if (len > QUIC_CID_MAX || !base_map_get(&endpoint->initial_cids, id, len, &handle))
        return NULL;
    return base_slots_get(endpoint->slots, QUIC_SLOT_CONN, handle, NULL);
}

struct quic_conn *quic_endpoint_find(struct quic_endpoint *endpoint, const uint8_t *id, size_t len) {
    struct quic_conn *conn = quic_route_issued(endpoint, id, len);
    return conn ? conn : quic_route_initial(endpoint, id, len);
}
