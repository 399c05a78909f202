/* conn.c - birth, timers and end of a connection object.
 *
 * A connection is assembled here from its machines and taken apart here. In between this file only keeps its clock: an
 * array of deadlines, of which the soonest stands in the endpoint's heap. Deadlines that follow from other state (loss,
 * paths) are recomputed once a turn.
 *
 * Not here: what packets do (rx_*.c, tx_*.c), how it ends on the wire (close.c), TLS (handshake.c).
 *
 * Invariant: conn->timer is in the heap exactly when some deadline is not BASE_NEVER, and no later than the soonest.
 * RFC 9000 sections 5, 7, 10.1.
 */
#include <assert.h>

#include "quic/mtu.h"
#include "quic/path_record.h"
#include "quic/walk.h"
#include "tables/errors.h"

static const struct quic_recovery_events recovery_events = {quic_tx_on_fate, quic_tx_on_packet};

struct quic_conn *quic_conn_of(struct base_slots *slots, uint64_t handle) {
    struct quic_conn *conn = base_slots_get(slots, QUIC_SLOT_CONN, handle, NULL);
    return conn && !conn->closed_told ? conn : NULL;
}

/* ---- birth ---- */

static bool conn_init_paths(struct quic_conn *conn) {
    struct quic_path *path = conn->paths[0] = &conn->first_path;
    path->state = QUIC_PATH_UNVALIDATED;
    path->challenge_deadline = path->leave_at = BASE_NEVER;
    path->mtu = QUIC_MIN_INITIAL;
    path->amplification = (uint8_t)conn->config->options.amplification_limit;
    conn->recovery.active = 0;
    return quic_path_init_control(conn, path);
}

static void on_streams_want(void *user) {
    struct quic_conn *conn = user;
    if (conn->state < QUIC_CONN_CLOSING)
        quic_conn_mark_dirty(conn);
}

static void on_streams_available(void *user) {
    struct quic_conn *conn = user;
    base_event_raise(conn->endpoint->events, &conn->event, QUIC_CONN_EV_STREAMS);
}

struct quic_conn *quic_conn_new(struct quic_endpoint *endpoint, const struct quic_config *config, enum crypto_role role,
                                uint32_t version, base_time now) {
    if (!base_heap_reserve(&endpoint->timers, endpoint->conn_count + 1))
        return NULL;
    struct quic_conn *conn = BASE_NEW(endpoint->mem, struct quic_conn);
    if (!conn)
        return NULL;
    conn->handle = base_slots_add(endpoint->slots, QUIC_SLOT_CONN, conn);
    if (!conn->handle) {
        BASE_DELETE(endpoint->mem, conn);
        return NULL;
    }
    conn->endpoint = endpoint;
    conn->config = config;
    quic_config_ref(config);
    conn->role = (uint8_t)role;
    conn->version = conn->original_version = conn->first_version = version;
    conn->event.handle = conn->closed_event.handle = conn->handle;
    conn->created_at = now;
    for (unsigned i = 0; i < QUIC_TIMERS; i++)
        conn->deadlines[i] = BASE_NEVER;
    quic_local_cids_init(&conn->local_cids);
    quic_remote_cids_init(&conn->remote_cids, (uint8_t)config->options.active_connection_id_limit);
    for (unsigned i = 0; i < QUIC_SPACES; i++)
        quic_ack_init(&conn->acks[i]);
    quic_recovery_init(&conn->recovery, endpoint->mem, role, &recovery_events, conn, &conn->stats);
    conn->recovery.ack_ranges = (uint32_t)config->options.ack_ranges;
    base_bucket_init(&conn->new_paths, config->options.path_rate, config->options.path_burst, now);
    quic_streams_init(&conn->streams, endpoint->mem, endpoint->slots, endpoint->events, &conn->stats, &config->options,
                      role, conn->handle, endpoint->hash_secret);
    conn->streams.on_available = on_streams_available;
    conn->streams.on_want = on_streams_want;
    conn->streams.user = conn;
    quic_params_init(&conn->peer_params);
    conn->ack_policy = (struct quic_ack_policy){.max_delay = config->options.max_ack_delay, .every = 2};
    conn->spin_enabled =
        config->options.spin_bit && base_random_u64(&endpoint->random) % 16 != 0; /* 17.4: one of 16 never does */
    conn->skip_number = base_random_u64(&endpoint->random) % 256;
    base_list_push_back(&endpoint->conns, &conn->all);
    endpoint->conn_count++;
    quic_conn_set_timer(conn, QUIC_TIMER_HANDSHAKE, base_time_add(now, config->options.handshake_timeout));
    if (!conn_init_paths(conn) || !quic_endpoint_issue_cid(endpoint, conn)) {
        quic_conn_free(conn);
        return NULL;
    }
    return conn;
}

/* An earlier connection's new_token: 4 bytes of version, of which the token may be used alone (RFC 9369 5). */
static bool conn_set_token(struct quic_conn *conn, const uint8_t *token, size_t len) {
    if (len <= 4 || base_load_u32(token) != conn->version)
        return true;
    conn->token = base_alloc(conn->endpoint->mem, len - 4);
    if (!conn->token)
        return false;
    memcpy(conn->token, token + 4, len - 4);
    conn->token_len = len - 4;
    return true;
}

static bool conn_set_initial_remote(struct quic_conn *conn, const struct quic_cid *cid) {
    quic_remote_cids_set_initial(&conn->remote_cids, cid);
    conn->original_dcid = *cid;
    quic_qlog_begin(conn);
    return quic_handshake_initial_keys(conn, cid);
}

int quic_conn_connect(struct quic_endpoint *endpoint, const struct quic_connect *connect, base_time now,
                      struct quic_conn **out, struct crypto_error *why) {
    uint32_t version = quic_version_first(&connect->config->options, connect->session, connect->session_len);
    struct quic_conn *conn = quic_conn_new(endpoint, connect->config, CRYPTO_CLIENT, version, now);
    if (!conn)
        return ERR_NOMEM;
    conn->user = connect->user;
    struct quic_path *path = &conn->first_path;
    path->socket = connect->socket;
    path->local = connect->local;
    path->remote = connect->remote;
    path->state = QUIC_PATH_VALIDATED; /* we chose it; a client's limit is the congestion window */
    struct quic_cid dcid = {.len = 8};
    base_random_fill(&endpoint->random, dcid.id, dcid.len);
    endpoint->stats.connections_opened++;
    if (!conn_set_token(conn, connect->token, connect->token_len) || !conn_set_initial_remote(conn, &dcid)) {
        quic_conn_free(conn);
        return ERR_NOMEM;
    }
    uint64_t refusals = endpoint->mem->refusals;
    if (!quic_handshake_open(conn, connect->server_name, connect->session, connect->session_len, why)) {
        quic_conn_free(conn);
        return endpoint->mem->refusals != refusals ? ERR_NOMEM : ERR_TLS;
    }
    quic_conn_mark_dirty(conn);
    quic_conn_update_timers(conn, now);
    *out = conn;
    return ERR_OK;
}

struct quic_conn *quic_conn_accept(struct quic_endpoint *endpoint, struct quic_listener *listener,
                                   const struct quic_header *header, const struct quic_datagram *datagram,
                                   const struct quic_cid *odcid, const struct quic_cid *retry_scid,
                                   bool address_validated, base_time now) {
    struct quic_conn *conn = quic_conn_new(endpoint, listener->config, CRYPTO_SERVER, header->version, now);
    if (!conn)
        return NULL;
    conn->user = listener->user;
    conn->listener = listener->handle;
    conn->accepted_by = listener;
    listener->connections++;
    struct quic_path *path = &conn->first_path;
    path->socket = datagram->socket;
    path->local = datagram->local;
    path->remote = datagram->remote;
    if (address_validated)
        path->state = QUIC_PATH_VALIDATED;
    conn->address_validated = address_validated;
    conn->original_dcid = *odcid;
    if (retry_scid) {
        conn->retry_scid = *retry_scid;
        conn->retried = true;
    }
    conn->initial_dcid = header->dcid;
    quic_qlog_begin(conn);
    quic_remote_cids_set_initial(&conn->remote_cids, &header->scid);
    if (!quic_endpoint_add_initial_cid(endpoint, &header->dcid, conn) ||
        !quic_handshake_initial_keys(conn, &header->dcid)) {
        conn->detached = true;
        quic_conn_free(conn);
        return NULL;
    }
    base_event_raise(endpoint->events, &conn->event, QUIC_CONN_EV_ACCEPTED);
    return conn;
}

/* ---- clock ---- */

void quic_conn_set_timer(struct quic_conn *conn, enum quic_timer timer, base_time when) {
    conn->deadlines[timer] = when;
}

/* The amplification limit lets nothing out: then no timer may wake us to send; what arrives does (RFC 9002 6.2.2.1). */
static bool conn_is_blocked(struct quic_conn *conn) {
    uint64_t allowance = quic_path_allowance(quic_path_active(conn));
    return allowance == 0 || (conn->keys[CRYPTO_INITIAL].tx && allowance < QUIC_MIN_INITIAL);
}

/* An ACK that is due goes with the next output, for the connection is dirty. One that was due and did not go, for want
 * of memory, is tried again a little later: a timer that stands in the past would wake us without end. */
static base_time conn_ack_deadline(const struct quic_conn *conn, base_time now) {
    base_time deadline = conn->acks[QUIC_APPLICATION].deadline;
    return deadline > now ? deadline : base_time_add(now, conn->config->options.max_ack_delay);
}

/* Each packet moves the idle time-out on, and an entry that goes from the front of a large heap to its end moves others
 * on its way. So one that has half of the time-out still before it stays: of a peer that goes on it is moved in time,
 * for one that does not it comes early, once. */
static bool conn_timer_will_do(const struct quic_conn *conn, base_time soonest, base_time now) {
    const struct base_heap_entry *timer = &conn->timer;
    if (!timer->place || timer->key == soonest)
        return timer->place != 0;
    return soonest == conn->deadlines[QUIC_TIMER_IDLE] && timer->key > now && timer->key < soonest &&
           timer->key - now >= (soonest - now) / 2;
}

void quic_conn_update_timers(struct quic_conn *conn, base_time now) {
    if (conn->state < QUIC_CONN_CLOSING) {
        bool blocked = conn_is_blocked(conn);
        conn->endpoint->stats.amplification_blocks += blocked && !conn->recovery.amplification_blocked;
        conn->recovery.amplification_blocked = blocked;
        conn->deadlines[QUIC_TIMER_RECOVERY] = quic_recovery_deadline(&conn->recovery, now);
        conn->deadlines[QUIC_TIMER_ACK] = blocked ? BASE_NEVER : conn_ack_deadline(conn, now);
        conn->deadlines[QUIC_TIMER_PATH] = quic_path_deadline(conn);
        conn->deadlines[QUIC_TIMER_STREAMS] = conn->streams.deadline;
        quic_stall_arm(conn, now);
        quic_rest_arm(conn, now);
    }
    base_time soonest = BASE_NEVER;
    for (unsigned i = 0; i < QUIC_TIMERS; i++)
        soonest = base_time_min(soonest, conn->deadlines[i]);
    if (soonest == BASE_NEVER)
        base_heap_remove(&conn->endpoint->timers, &conn->timer);
    else if (!conn_timer_will_do(conn, soonest, now))
        base_heap_set(&conn->endpoint->timers, &conn->timer, soonest);
    if (conn->qlog)
        quic_qlog_poll_timer(conn);
}

void quic_conn_mark_dirty(struct quic_conn *conn) {
    if (!base_node_linked(&conn->dirty))
        base_list_push_back(&conn->endpoint->dirty, &conn->dirty);
    if (!base_node_linked(&conn->touched))
        base_list_push_back(&conn->endpoint->touched, &conn->touched);
}

base_time quic_conn_three_pto(const struct quic_conn *conn) {
    return 3 * quic_recovery_pto(&conn->recovery, QUIC_APPLICATION);
}

/* The idle time-out in force: the smaller of both sides' (0 = none), but never under 3 PTO (RFC 9000 10.1). */
static base_time conn_idle_period(const struct quic_conn *conn) {
    uint64_t ours = conn->config->options.max_idle_timeout;
    uint64_t theirs = conn->peer_params_known ? conn->peer_params.max_idle_timeout * BASE_MS : 0;
    uint64_t period = !ours ? theirs : !theirs ? ours : ours < theirs ? ours : theirs;
    return period ? base_time_max(period, quic_conn_three_pto(conn)) : BASE_NEVER;
}

static void conn_restart_idle(struct quic_conn *conn, base_time now) {
    quic_conn_set_timer(conn, QUIC_TIMER_IDLE, base_time_add(now, conn_idle_period(conn)));
}

static void conn_restart_keep_alive(struct quic_conn *conn, base_time now) {
    base_time period = conn->config->options.keep_alive;
    if (period && conn->handshake_complete)
        quic_conn_set_timer(conn, QUIC_TIMER_KEEP_ALIVE, base_time_add(now, period));
}

void quic_conn_on_received(struct quic_conn *conn, base_time now) {
    if (!conn->handshake_complete)
        quic_gate_heard(conn, now);
    conn->idle_restarted_by_send = false;
    conn_restart_idle(conn, now);
    conn_restart_keep_alive(conn, now);
}

void quic_conn_on_sent_eliciting(struct quic_conn *conn, base_time now) {
    conn_restart_keep_alive(conn, now);
    if (conn->idle_restarted_by_send)
        return;
    conn->idle_restarted_by_send = true;
    conn_restart_idle(conn, now);
}

/* ---- what happens when a deadline passes ---- */

static void timeout_recovery(struct quic_conn *conn, base_time now) {
    if (conn->qlog)
        quic_qlog_timer_expired(conn);
    quic_recovery_on_timeout(&conn->recovery, now);
    quic_mtu_on_timeout(conn);
    quic_conn_mark_dirty(conn);
}

static void timeout_send(struct quic_conn *conn, base_time now) {
    (void)now;
    quic_conn_mark_dirty(conn);
}

static void timeout_idle(struct quic_conn *conn, base_time now) {
    struct quic_close close = {.cause = QUIC_CAUSE_IDLE};
    quic_close_silent(conn, &close, now);
}

static void timeout_keep_alive(struct quic_conn *conn, base_time now) {
    conn->ping_wanted = true;
    conn_restart_keep_alive(conn, now);
    quic_conn_mark_dirty(conn);
}

static void timeout_handshake(struct quic_conn *conn, base_time now) {
    if (conn->handshake_complete)
        return;
    static const char text[] = "handshake timed out";
    struct quic_close close = {
        .cause = QUIC_CAUSE_HANDSHAKE_TIMEOUT, .code = QUIC_NO_ERROR, .reason_len = sizeof text - 1};
    memcpy(close.reason, text, sizeof text - 1);
    quic_close_begin(conn, &close, now);
}

static void timeout_keys(struct quic_conn *conn, base_time now) {
    (void)now;
    quic_keyphase_on_timeout(conn);
    quic_handshake_expire(conn);
}

static void timeout_shrink(struct quic_conn *conn, base_time now) {
    (void)now;
    quic_rest_begin(conn);
}

static void timeout_streams(struct quic_conn *conn, base_time now) { quic_streams_on_deadline(&conn->streams, now); }

void quic_conn_on_timeout(struct quic_conn *conn, base_time now) {
    static void (*const actions[QUIC_TIMERS])(struct quic_conn *, base_time) = {
        [QUIC_TIMER_RECOVERY] = timeout_recovery,   [QUIC_TIMER_ACK] = timeout_send,
        [QUIC_TIMER_IDLE] = timeout_idle,           [QUIC_TIMER_KEEP_ALIVE] = timeout_keep_alive,
        [QUIC_TIMER_HANDSHAKE] = timeout_handshake, [QUIC_TIMER_PACING] = timeout_send,
        [QUIC_TIMER_PATH] = quic_path_on_timeout,   [QUIC_TIMER_KEYS] = timeout_keys,
        [QUIC_TIMER_STREAMS] = timeout_streams,     [QUIC_TIMER_SHRINK] = timeout_shrink,
        [QUIC_TIMER_STALL] = quic_stall_on_timeout, [QUIC_TIMER_PROGRESS] = quic_stall_on_progress_timeout,
    };
    for (unsigned i = 0; i < QUIC_TIMERS && conn->state < QUIC_CONN_CLOSING; i++) {
        if (!actions[i] || conn->deadlines[i] > now)
            continue;
        conn->deadlines[i] = BASE_NEVER;
        actions[i](conn, now);
    }
    quic_conn_update_timers(conn, now);
}

/* ---- the application's side ---- */

void quic_conn_close(struct quic_conn *conn, bool app, uint64_t code, const char *reason, size_t reason_len,
                     base_time now) {
    struct quic_close close = {.cause = QUIC_CAUSE_LOCAL, .app = app, .code = code};
    close.reason_len = (uint8_t)(reason_len < QUIC_REASON_MAX ? reason_len : QUIC_REASON_MAX);
    if (close.reason_len)
        memcpy(close.reason, reason, close.reason_len);
    quic_close_begin(conn, &close, now);
}

void quic_conn_fail(struct quic_conn *conn, uint64_t code, uint64_t frame_type, const char *text, base_time now) {
    struct quic_close close = {.cause = QUIC_CAUSE_PROTOCOL, .code = code, .frame_type = frame_type};
    size_t len = strlen(text);
    close.reason_len = (uint8_t)(len < QUIC_REASON_MAX ? len : QUIC_REASON_MAX);
    memcpy(close.reason, text, close.reason_len);
    quic_close_begin(conn, &close, now);
}

void quic_conn_detach(struct quic_conn *conn, base_time now) {
    if (conn->detached)
        return;
    quic_conn_close(conn, true, 0, NULL, 0, now);
    conn->detached = true;
    quic_endpoint_forget(conn->endpoint, conn); /* its period may be over already */
}

int quic_conn_ping(struct quic_conn *conn) {
    if (conn->state >= QUIC_CONN_CLOSING)
        return ERR_CLOSED;
    conn->ping_wanted = true;
    quic_conn_mark_dirty(conn);
    return ERR_OK;
}

int quic_conn_update_keys(struct quic_conn *conn) {
    if (conn->state >= QUIC_CONN_CLOSING)
        return ERR_CLOSED;
    return quic_keyphase_update(conn) ? ERR_OK : ERR_STATE;
}

/* ---- end ---- */

static void conn_free_crypto(struct quic_conn *conn) {
    struct base_mem *mem = conn->endpoint->mem;
    for (unsigned i = 0; i < QUIC_SPACES; i++)
        quic_handshake_free_space(conn, (enum quic_space)i);
    quic_keyphase_clear(conn);
    for (unsigned i = 0; i < CRYPTO_LEVELS; i++)
        quic_handshake_free_keys(conn, (enum crypto_level)i);
    if (conn->early) {
        for (unsigned i = 0; i < conn->early_count; i++)
            base_free(mem, conn->early[i].data, conn->early[i].len);
        base_free(mem, conn->early, QUIC_EARLY_PACKETS * sizeof *conn->early);
        conn->early = NULL;
        conn->early_count = 0;
    }
    quic_handshake_drop_keys(conn, &conn->original_keys);
    quic_early_clear(conn);
    if (conn->tls)
        crypto_tls_free(conn->tls);
    conn->tls = NULL;
}

void quic_conn_free_machines(struct quic_conn *conn) {
    if (conn->machines_freed)
        return;
    conn->machines_freed = true;
    conn_free_crypto(conn);
    quic_recovery_clear(&conn->recovery);
    for (unsigned i = 0; i < QUIC_PATHS; i++)
        if (conn->paths[i])
            quic_path_control_clear(&conn->paths[i]->control, conn->endpoint->mem);
    for (unsigned i = 0; i < QUIC_SPACES; i++)
        quic_ack_clear(&conn->acks[i], conn->endpoint->mem);
}

static void conn_add_stats(struct quic_conn *conn) {
    struct engine_stats *sum = &conn->endpoint->stats;
#define STAT_SUM_CONN(name) sum->name += conn->stats.name;
#define STAT_SUM_ENGINE(name)
#define STAT_SUM_PATH(name)
#define STAT(scope, name, text) STAT_SUM_##scope(name)
#include "tables/stats.def"
#undef STAT
#undef STAT_SUM_CONN
#undef STAT_SUM_ENGINE
#undef STAT_SUM_PATH
    sum->connections_closed++;
    if (!conn->handshake_complete)
        sum->handshakes_failed++;
}

static void conn_free_strings(struct quic_conn *conn) {
    struct base_mem *mem = conn->endpoint->mem;
    if (conn->alpn)
        base_free(mem, conn->alpn, strlen(conn->alpn) + 1);
    if (conn->server_name)
        base_free(mem, conn->server_name, strlen(conn->server_name) + 1);
    base_free(mem, conn->peer_certificate, conn->peer_certificate_len);
    base_free(mem, conn->session, conn->session_len);
    base_free(mem, conn->token, conn->token_len);
    base_free(mem, conn->new_token, conn->new_token_len);
    base_free(mem, conn->close_packet, conn->close_packet_len);
}

void quic_conn_free(struct quic_conn *conn) {
    struct quic_endpoint *endpoint = conn->endpoint;
    base_event_cancel(&conn->event);
    base_event_cancel(&conn->closed_event);
    base_list_remove(&conn->all);
    base_list_remove(&conn->dirty);
    base_heap_remove(&endpoint->timers, &conn->timer);
    quic_endpoint_unroute(endpoint, conn);
    quic_streams_clear(&conn->streams);
    if (conn->datagrams) {
        quic_datagrams_clear(conn->datagrams);
        BASE_DELETE(endpoint->mem, conn->datagrams);
    }
    quic_conn_free_machines(conn);
    if (conn->qlog)
        quic_qlog_end(conn);
    for (unsigned i = 1; i < QUIC_PATHS; i++)
        if (conn->paths[i])
            BASE_DELETE(endpoint->mem, conn->paths[i]);
    quic_path_free_records(conn);
    conn_free_strings(conn);
    conn_add_stats(conn);
    quic_gate_forget(conn);
    quic_close_leave(conn);
    quic_path_disconnect(conn, NULL);
    if (conn->accepted_by)
        conn->accepted_by->connections--;
    endpoint->conn_count--;
    base_slots_remove(endpoint->slots, conn->handle);
    quic_config_unref(conn->config);
    BASE_DELETE(endpoint->mem, conn);
}
