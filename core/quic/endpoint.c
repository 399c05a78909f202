/* endpoint.c - all connections of one engine: routing, timers, the dirty list, output and the end of connections.
 *
 * A datagram is matched to a connection by the Destination Connection ID of its first packet (RFC 9000 5.2): IDs we
 * issued name a slot, and count only while the connection has them in its set; IDs a client chose are looked up in a
 * map, for long headers only. What matches nothing may be a stateless reset (10.3.1), wants a Version Negotiation
 * packet (6.1) or a stateless reset (10.3), or is a new client (accept.c). Nothing here looks inside a packet.
 *
 * Output is round robin: the first dirty connection fills one train and goes to the end of the line, until it has
 * nothing more to say. Replies without a connection go first.
 *
 * Invariant: every connection stands in `conns` and owns a slot from birth to the end of its closing period. Its
 * public handle ends earlier, when the application has heard CLOSED (closed_told); packets find it until the slot
 * goes.
 */
#include "quic/endpoint.h"

#include <assert.h>

#include "quic/lobby.h"
#include "quic/resume_conn.h"
#include "quic/walk.h"
#include "tables/errors.h"

/* ---- configurations ---- */

void quic_config_ref(const struct quic_config *config) {
    atomic_fetch_add_explicit(&((struct quic_config *)config)->refs, 1, memory_order_relaxed);
}

void quic_config_unref(const struct quic_config *config) {
    struct quic_config *own = (struct quic_config *)config;
    if (atomic_fetch_sub_explicit(&own->refs, 1, memory_order_acq_rel) == 1)
        own->release(own);
}

/* ---- birth and end ---- */

static bool endpoint_init_keys(struct quic_endpoint *endpoint, const struct quic_endpoint_open *open) {
    uint8_t secret[CRYPTO_FLEET_SECRET_SIZE];
    if (!open->fleet_secret)
        base_random_fill(&endpoint->random, secret, sizeof secret);
    endpoint->fleet = crypto_fleet_new(endpoint->mem, open->fleet_secret ? open->fleet_secret : secret);
    crypto_wipe(secret, sizeof secret);
    if (!endpoint->fleet)
        return false;
    base_random_fill(&endpoint->random, endpoint->codec.secret, sizeof endpoint->codec.secret);
    endpoint->codec.engine = open->engine;
    return true;
}

int quic_endpoint_init(struct quic_endpoint *endpoint, const struct quic_endpoint_open *open, base_time now) {
    *endpoint = (struct quic_endpoint){
        .mem = open->mem,
        .random = open->random,
        .slots = open->slots,
        .events = open->events,
        .bufs = open->bufs,
        .now = now,
        .unix_offset = open->unix_ns - now,
        .cid_len = QUIC_LOCAL_CID_LEN,
    };
    base_random_fill(&endpoint->random, endpoint->hash_secret, sizeof endpoint->hash_secret);
    quic_gate_init(endpoint);
    base_list_init(&endpoint->closing);
    base_map_init(&endpoint->initial_cids, open->mem, endpoint->hash_secret);
    base_map_init(&endpoint->reset_tokens, open->mem, endpoint->hash_secret);
    base_map_init(&endpoint->lb_cids, open->mem, endpoint->hash_secret);
    base_heap_init(&endpoint->timers, open->mem);
    base_list_init(&endpoint->conns);
    base_list_init(&endpoint->dirty);
    base_list_init(&endpoint->touched);
    quic_stateless_init(endpoint, now);
    if (endpoint_init_keys(endpoint, open))
        return ERR_OK;
    quic_endpoint_clear(endpoint);
    return ERR_NOMEM;
}

void quic_endpoint_clear(struct quic_endpoint *endpoint) {
    struct base_node *node;
    while ((node = base_list_first(&endpoint->conns)) != NULL)
        quic_conn_free(BASE_CONTAINER(node, struct quic_conn, all));
    assert(endpoint->conn_count == 0);
    base_map_clear(&endpoint->initial_cids);
    base_map_clear(&endpoint->reset_tokens);
    base_map_clear(&endpoint->lb_cids);
    quic_route_clear(endpoint);
    base_heap_clear(&endpoint->timers);
    quic_stateless_clear(endpoint);
    quic_orphan_clear(endpoint);
    quic_gate_clear(endpoint);
    quic_resume_clear(endpoint);
    if (endpoint->fleet)
        crypto_fleet_free(endpoint->mem, endpoint->fleet);
    endpoint->fleet = NULL;
    crypto_wipe(&endpoint->codec, sizeof endpoint->codec);
}

/* True when the closing or draining period is over (RFC 9000 10.2). */
static bool conn_is_over(const struct quic_conn *conn, base_time now) {
    return conn->state >= QUIC_CONN_CLOSING && conn->deadlines[QUIC_TIMER_CLOSE] <= now;
}

/* A connection that is over waits for nothing but the application's hearing of it. */
static void endpoint_bury(struct quic_endpoint *endpoint, struct quic_conn *conn) {
    base_heap_remove(&endpoint->timers, &conn->timer);
    base_list_remove(&conn->dirty);
    if (conn->closed_told || conn->detached)
        quic_conn_free(conn);
}

void quic_endpoint_forget(struct quic_endpoint *endpoint, struct quic_conn *conn) {
    assert(conn->state >= QUIC_CONN_CLOSING);
    conn->closed_told = true;
    base_event_cancel(&conn->event);
    base_event_cancel(&conn->closed_event);
    if (conn_is_over(conn, endpoint->now))
        endpoint_bury(endpoint, conn);
}

/* ---- input ---- */

static void endpoint_touch(struct quic_endpoint *endpoint, struct quic_conn *conn) {
    if (!base_node_linked(&conn->touched))
        base_list_push_back(&endpoint->touched, &conn->touched);
}

static bool conn_talks_to(const struct quic_conn *conn, const struct quic_addr *remote) {
    for (unsigned i = 0; i < QUIC_PATHS; i++) {
        const struct quic_path *path = quic_path_at(conn, i);
        if (path && quic_addr_equal(&path->remote, remote))
            return true;
    }
    return false;
}

/* A datagram that no ID explains ends a connection if it ends in a reset token of that peer, and came from an address
 * that we send to (RFC 9000 10.3.1). The map hashes with a secret, so its time tells nothing about the tokens in it. */
static bool endpoint_take_reset(struct quic_endpoint *endpoint, const struct quic_datagram *datagram, base_time now) {
    if (datagram->len < QUIC_RESET_LEAST)
        return false;
    const uint8_t *token = datagram->data + datagram->len - CRYPTO_RESET_TOKEN_SIZE;
    uint64_t handle;
    if (!base_map_get(&endpoint->reset_tokens, token, CRYPTO_RESET_TOKEN_SIZE, &handle))
        return false;
    struct quic_conn *conn = base_slots_get(endpoint->slots, QUIC_SLOT_CONN, handle, NULL);
    if (!conn || !quic_remote_cids_is_reset(&conn->remote_cids, token) || !conn_talks_to(conn, &datagram->remote))
        return false;
    if (conn->state < QUIC_CONN_CLOSING) {
        struct quic_close close = {.cause = QUIC_CAUSE_RESET};
        quic_close_drain(conn, &close, now);
    }
    endpoint_touch(endpoint, conn);
    quic_conn_mark_dirty(conn);
    return true;
}

/* Another engine may own the datagram, which the system gave to us because its client has moved. Of packets with long
 * headers only the Handshake's have an ID that is certainly of a server's making, as in io's filter. */
static bool endpoint_hand_over(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                               const uint8_t *dcid, size_t dcid_len, bool is_long) {
    struct quic_header header;
    if (!endpoint->siblings)
        return false;
    if (is_long && (!quic_header_parse(datagram->data, datagram->len, endpoint->cid_len, &header) ||
                    header.type != QUIC_PACKET_HANDSHAKE))
        return false;
    int number = quic_endpoint_sibling_of(endpoint, dcid, dcid_len);
    return number >= 0 && endpoint->siblings->hand_over(endpoint->siblings, (unsigned)number, datagram);
}

/* No connection owns the datagram. */
static void endpoint_input_unknown(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                                   const uint8_t *dcid, size_t dcid_len, bool is_long, base_time now) {
    if (!is_long && endpoint_take_reset(endpoint, datagram, now))
        return;
    if (endpoint_hand_over(endpoint, datagram, dcid, dcid_len, is_long))
        return;
    endpoint->stats.datagrams_unknown++;
    struct quic_header header;
    if (!is_long)
        quic_stateless_reset(endpoint, datagram, dcid, dcid_len, now);
    else if (!datagram->socket->listener ||
             !quic_header_parse(datagram->data, datagram->len, endpoint->cid_len, &header) || header.version == 0)
        return; /* a client's packets are never answered with a long header, Version Negotiation by nobody */
    else if (!quic_version_spoken(&datagram->socket->listener->config->options, header.version))
        quic_stateless_version_negotiation(endpoint, datagram, &header, now);
    else if (header.type == QUIC_PACKET_INITIAL)
        quic_accept_initial(endpoint, datagram, &header, now);
    else if (header.type == QUIC_PACKET_0RTT &&
             !quic_lobby_join(endpoint, datagram, quic_gate_key(endpoint, &header.dcid, &datagram->remote)))
        quic_orphan_keep(endpoint, datagram, &header, now);
}

/* The connection a datagram belongs to. NULL: none; the datagram was dealt with. */
static struct quic_conn *endpoint_route(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                                        base_time now) {
    const uint8_t *dcid;
    size_t dcid_len;
    bool is_long;
    if (!quic_header_peek_dcid(datagram->data, datagram->len, endpoint->cid_len, &dcid, &dcid_len, &is_long)) {
        endpoint->stats.datagrams_unknown++;
        return NULL;
    }
    struct quic_conn *conn = quic_route_issued(endpoint, dcid, dcid_len);
    if (!conn && is_long)
        conn = quic_route_initial(endpoint, dcid, dcid_len);
    if (!conn)
        endpoint_input_unknown(endpoint, datagram, dcid, dcid_len, is_long, now);
    return conn;
}

/* Datagrams that follow each other to one connection are handed over together. */
void quic_endpoint_input(struct quic_endpoint *endpoint, const struct quic_datagram *datagrams, size_t count,
                         base_time now) {
    endpoint->now = now;
    struct quic_conn *conn = count ? endpoint_route(endpoint, &datagrams[0], now) : NULL;
    for (size_t i = 0; i < count;) {
        size_t first = i++;
        struct quic_conn *next = NULL;
        while (i < count && (next = endpoint_route(endpoint, &datagrams[i], now)) == conn && conn)
            i++;
        if (conn) {
            quic_rx_datagrams(conn, &datagrams[first], i - first, now);
            endpoint_touch(endpoint, conn);
        }
        conn = next;
    }
}

/* ---- time ---- */

/* Each connection gets one look, however its timers are set afterwards: a turn always ends. */
void quic_endpoint_tick(struct quic_endpoint *endpoint, base_time now) {
    endpoint->now = now;
    quic_gate_turn(endpoint, now);
    struct base_heap_entry *entry;
    for (uint32_t looks = endpoint->timers.count; looks > 0; looks--) {
        entry = base_heap_first(&endpoint->timers);
        if (!entry || entry->key > now)
            return;
        struct quic_conn *conn = BASE_CONTAINER(entry, struct quic_conn, timer);
        if (!conn_is_over(conn, now)) {
            quic_conn_on_timeout(conn, now);
            endpoint_touch(endpoint, conn);
        }
        if (conn_is_over(conn, now))
            endpoint_bury(endpoint, conn);
    }
}

base_time quic_endpoint_deadline(const struct quic_endpoint *endpoint) {
    if (endpoint->reply_count || !base_list_empty(&endpoint->dirty))
        return 0;
    const struct base_heap_entry *first = base_heap_first(&endpoint->timers);
    return base_time_min(first ? first->key : BASE_NEVER, quic_gate_deadline(endpoint));
}

/* ---- output ---- */

bool quic_endpoint_output(struct quic_endpoint *endpoint, struct quic_train *train, base_time now) {
    endpoint->now = now;
    if (quic_stateless_output(endpoint, train))
        return true;
    struct base_node *node;
    while ((node = base_list_first(&endpoint->dirty)) != NULL) {
        struct quic_conn *conn = BASE_CONTAINER(node, struct quic_conn, dirty);
        bool filled = quic_tx_train(conn, train, now);
        base_list_remove(&conn->dirty);
        endpoint_touch(endpoint, conn);
        if (filled && (!conn->keys_packed || conn->state >= QUIC_CONN_CLOSING)) /* at rest all was said (rest.h) */
            base_list_push_back(&endpoint->dirty, &conn->dirty);
        if (filled)
            return true;
    }
    return false;
}

static void conn_settle(struct quic_conn *conn) {
    quic_handshake_settle(conn);
    quic_streams_compact(&conn->streams);
    quic_streams_reap(&conn->streams);
    if (conn->datagrams)
        quic_datagrams_compact(conn->datagrams);
    quic_gate_settle(conn);
}

/* Whoever had a turn is in the list: input, timers and output touch, calls of the application make dirty and touch.
 * Those that were dirty before and still wait for their turn to send are not looked at again: there may be
 * thousands. */
void quic_endpoint_settle(struct quic_endpoint *endpoint) {
    for (struct base_node *node = base_list_first(&endpoint->touched); node;
         node = base_list_next(&endpoint->touched, node))
        conn_settle(BASE_CONTAINER(node, struct quic_conn, touched)); /* which may touch it again: it is there still */
    while (base_list_pop_front(&endpoint->touched))
        continue;
}
