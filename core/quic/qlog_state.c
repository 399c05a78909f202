/* qlog_state.c - what has changed since it was told (draft-ietf-quic-qlog-quic-events sections 4.6, 4.8, 7).
 *
 * Metrics, and the states of congestion control, ECN, MTU search and handshake, change in many places for many reasons.
 * They are not told from there: they are looked at when a packet has been taken in and when a turn's work is done, and
 * compared with what was told last. What comes and goes in between was nothing to anybody.
 *
 * Invariant: what is told differs from what was told before, and `told` is what stands in the log.
 */
#include "quic/qlog.h"
#include "quic/walk.h"

/* ---- metrics ---- */

static struct quic_qlog_metrics metrics_now(const struct quic_conn *conn, const struct quic_path *path) {
    const struct quic_path_control *control = &path->control;
    const struct quic_rtt *rtt = &control->rtt;
    struct quic_qlog_metrics now = {
        .smoothed_rtt = rtt->smoothed,
        .variation = rtt->variation,
        .pto_count = conn->recovery.pto_count,
        .window = control->cc.window,
        .in_flight = control->bytes_in_flight,
        .threshold = control->cc.threshold == UINT64_MAX ? 0 : control->cc.threshold,
        .pacing_rate = control->pacer.enabled ? 8 * quic_pacer_rate(&control->cc, rtt) : 0,
    };
    if (rtt->sampled) {
        now.min_rtt = rtt->min;
        now.latest_rtt = rtt->latest;
    }
    for (unsigned i = 0; i < QUIC_SPACES; i++)
        now.packets += conn->recovery.spaces[i].outstanding;
    return now;
}

struct metric_row {
    const char *name;
    size_t at;
    bool ms;
    bool never_zero; /* 0: not known */
};

#define METRIC(name, member, ms, never_zero) \
    { name, offsetof(struct quic_qlog_metrics, member), ms, never_zero }

static const struct metric_row metrics[] = {
    METRIC("min_rtt", min_rtt, true, true),
    METRIC("smoothed_rtt", smoothed_rtt, true, true),
    METRIC("latest_rtt", latest_rtt, true, true),
    METRIC("rtt_variance", variation, true, false),
    METRIC("pto_count", pto_count, false, false),
    METRIC("congestion_window", window, false, false),
    METRIC("bytes_in_flight", in_flight, false, false),
    METRIC("ssthresh", threshold, false, true),
    METRIC("packets_in_flight", packets, false, false),
    METRIC("pacing_rate", pacing_rate, false, true),
};

static uint64_t metric_of(const struct quic_qlog_metrics *from, const struct metric_row *row) {
    uint64_t value;
    memcpy(&value, (const char *)from + row->at, sizeof value);
    return value;
}

static void poll_metrics(struct quic_conn *conn, const struct quic_path *path) {
    struct quic_qlog_metrics *told = &conn->qlog->told.metrics, now = metrics_now(conn, path);
    if (memcmp(told, &now, sizeof now) == 0)
        return;
    struct qlog_json *json = quic_qlog_record(conn, "quic:recovery_metrics_updated", path->index);
    if (!json)
        return;
    for (unsigned i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        uint64_t value = metric_of(&now, &metrics[i]);
        if (value == metric_of(told, &metrics[i]) || (!value && metrics[i].never_zero))
            continue;
        if (metrics[i].ms)
            qlog_json_ms(json, metrics[i].name, value);
        else
            qlog_json_uint(json, metrics[i].name, value);
    }
    quic_qlog_record_end(conn);
    *told = now;
}

/* ---- states ---- */

static void tell_change(struct quic_conn *conn, const char *event, unsigned path, const char *old, const char *new,
                        const char *trigger) {
    struct qlog_json *json = quic_qlog_record(conn, event, path);
    if (!json)
        return;
    if (old)
        qlog_json_text(json, "old", old);
    qlog_json_text(json, "new", new);
    if (trigger)
        qlog_json_text(json, "trigger", trigger);
    quic_qlog_record_end(conn);
}

/* Names of RFC 9002 7.3, unless the controller has others. */
static const char *congestion_state(const struct quic_path_control *control) {
    const struct quic_cc *cc = &control->cc;
    if (cc->ops->state_name)
        return cc->ops->state_name(cc);
    if (cc->recovery_start && control->first_sent_at <= cc->recovery_start)
        return "recovery"; /* what is acknowledged was sent before the event */
    if (control->app_limited_until)
        return "application_limited";
    return cc->window < cc->threshold ? "slow_start" : "congestion_avoidance";
}

static void poll_congestion(struct quic_conn *conn, const struct quic_path *path) {
    struct quic_qlog_state *told = &conn->qlog->told;
    const char *now = congestion_state(&path->control), *trigger = NULL;
    if (conn->stats.persistent_congestions != told->persistent)
        trigger = "persistent_congestion";
    else if (path->control.cc.events != told->congestion_events && path->control.event_sure)
        trigger = "ecn";
    told->persistent = conn->stats.persistent_congestions;
    told->congestion_events = path->control.cc.events;
    if (now == told->congestion)
        return;
    tell_change(conn, "quic:congestion_state_updated", path->index, told->congestion, now, trigger);
    told->congestion = now;
}

static const char *ecn_state(uint8_t state) {
    static const char *const names[] = {
        [QUIC_ECN_OFF] = NULL,          [QUIC_ECN_TESTING] = "testing", [QUIC_ECN_UNKNOWN] = "unknown",
        [QUIC_ECN_CAPABLE] = "capable", [QUIC_ECN_PAUSED] = "unknown",  [QUIC_ECN_FAILED] = "failed",
    };
    return names[state];
}

static void poll_ecn(struct quic_conn *conn, const struct quic_path *path) {
    uint8_t *told = &conn->qlog->told.ecn[path->index];
    const char *old = ecn_state(*told), *now = ecn_state(path->control.ecn.state);
    if (old != now && now)
        tell_change(conn, "quic:ecn_state_updated", path->index, old, now, NULL);
    *told = path->control.ecn.state;
}

static void poll_mtu(struct quic_conn *conn, const struct quic_path *path) {
    uint32_t *told = &conn->qlog->told.mtu[path->index];
    if (*told == path->mtu)
        return;
    struct qlog_json *json = quic_qlog_record(conn, "quic:mtu_updated", path->index);
    if (!json)
        return;
    if (*told)
        qlog_json_uint(json, "old", *told);
    qlog_json_uint(json, "new", path->mtu);
    qlog_json_flag(json, "done", conn->mtu.target && path->mtu >= conn->mtu.target);
    quic_qlog_record_end(conn);
    *told = path->mtu;
}

static void poll_spin(struct quic_conn *conn, const struct quic_path *path) {
    if (!conn->spin_enabled || path->spin == conn->qlog->told.spin)
        return;
    conn->qlog->told.spin = path->spin;
    struct qlog_json *json = quic_qlog_record(conn, "quic:spin_bit_updated", path->index);
    if (!json)
        return;
    qlog_json_flag(json, "state", path->spin);
    quic_qlog_record_end(conn);
}

/* The ID of the peer that the active path uses. */
static void poll_remote_cid(struct quic_conn *conn, const struct quic_path *path) {
    const struct quic_remote_cid *remote = quic_remote_cids_of_path(&conn->remote_cids, path->index);
    struct quic_cid *told = &conn->qlog->told.remote;
    if (!remote || quic_cid_equal(told, &remote->cid))
        return;
    struct qlog_json *json = quic_qlog_record(conn, "quic:connection_id_updated", path->index);
    if (!json)
        return;
    qlog_json_text(json, "initiator", "local");
    if (told->len)
        qlog_json_hex(json, "old", told->id, told->len);
    qlog_json_hex(json, "new", remote->cid.id, remote->cid.len);
    quic_qlog_record_end(conn);
    *told = remote->cid;
}

void quic_qlog_connection_state(struct quic_conn *conn, const char *state) {
    struct quic_qlog_state *told = &conn->qlog->told;
    if (state == told->connection)
        return;
    tell_change(conn, "quic:connection_state_updated", QUIC_PATHS, told->connection, state, NULL);
    told->connection = state;
}

static void poll_connection(struct quic_conn *conn) {
    const char *state = conn->handshake_confirmed           ? "handshake_confirmed"
                        : conn->handshake_complete          ? "handshake_complete"
                        : conn->keys[CRYPTO_APPLICATION].tx ? "early_write"
                        : conn->keys[CRYPTO_HANDSHAKE].tx   ? "handshake_started"
                                                            : conn->qlog->told.connection;
    quic_qlog_connection_state(conn, state);
}

void quic_qlog_poll(struct quic_conn *conn) {
    if (conn->state >= QUIC_CONN_CLOSING)
        return;
    const struct quic_path *path = quic_path_active(conn);
    poll_connection(conn);
    poll_remote_cid(conn, path);
    poll_metrics(conn, path);
    poll_congestion(conn, path);
    poll_ecn(conn, path);
    poll_mtu(conn, path);
    poll_spin(conn, path);
}

/* ---- the recovery timer ---- */

static bool timer_is_loss(const struct quic_recovery *r) {
    for (unsigned i = 0; i < QUIC_SPACES; i++)
        if (r->loss_time[i] != BASE_NEVER)
            return true;
    return false;
}

void quic_qlog_poll_timer(struct quic_conn *conn) {
    struct quic_qlog_state *told = &conn->qlog->told;
    quic_qlog_poll(conn);
    base_time deadline = conn->deadlines[QUIC_TIMER_RECOVERY], now = conn->endpoint->now;
    bool loss = timer_is_loss(&conn->recovery);
    if (conn->state >= QUIC_CONN_CLOSING ||
        (deadline == told->timer && (deadline == BASE_NEVER || loss == told->timer_is_loss)))
        return;
    struct qlog_json *json = quic_qlog_record(conn, "quic:timer_updated", QUIC_PATHS);
    if (!json)
        return;
    bool set = deadline != BASE_NEVER;
    qlog_json_text(json, "timer_type", (set ? loss : told->timer_is_loss) ? "loss_timeout" : "pto");
    qlog_json_text(json, "event_type", set ? "set" : "cancelled");
    if (set)
        qlog_json_ms(json, "delta", deadline > now ? deadline - now : 0);
    quic_qlog_record_end(conn);
    told->timer = deadline;
    told->timer_is_loss = loss;
}
