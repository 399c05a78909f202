/* qlog_event.c - what happens to a connection: its beginning, versions, parameters, keys, timers, its end
 * (draft-ietf-quic-qlog-quic-events sections 4, 6, 7).
 *
 * Each function is called from one place, when what it tells has just become true. Keys are told by their names; what
 * they are is nobody's business. Stateless reset tokens are not told either: whoever has one can end the connection.
 * Where the schema demands one there are zeros in its place.
 *
 * Invariant: nothing here changes the connection.
 */
#include "quic/params.h"
#include "quic/qlog.h"
#include "quic/walk.h"
#include "tables/errors.h"

/* ---- the beginning ---- */

static void tell_started(struct quic_conn *conn) {
    struct qlog_json *json = quic_qlog_record(conn, "quic:connection_started", QUIC_PATHS);
    if (!json)
        return;
    quic_qlog_endpoint(json, "local", &conn->paths[0]->local);
    quic_qlog_endpoint(json, "remote", &conn->paths[0]->remote);
    quic_qlog_record_end(conn);
}

static void write_versions(struct qlog_json *json, const char *name, const uint32_t *versions, unsigned count) {
    if (!count)
        return;
    qlog_json_open(json, name, '[');
    for (unsigned i = 0; i < count; i++)
        qlog_json_hex32(json, NULL, versions[i]);
    qlog_json_close(json, ']');
}

/* What is spoken here, and, when the peer's version_information is known, there. */
static void tell_versions(struct quic_conn *conn, bool chosen) {
    uint32_t mine[QUIC_VERSION_LIST_MAX];
    bool client = conn->role == CRYPTO_CLIENT;
    struct qlog_json *json = quic_qlog_record(conn, "quic:version_information", QUIC_PATHS);
    if (!json)
        return;
    write_versions(json, client ? "client_versions" : "server_versions", mine,
                   quic_version_list(&conn->config->options, conn->first_version, mine));
    write_versions(json, client ? "server_versions" : "client_versions", conn->peer_params.available_versions,
                   conn->peer_params.available_count);
    if (chosen)
        qlog_json_hex32(json, "chosen_version", conn->version);
    quic_qlog_record_end(conn);
}

/* RFC 9002 appendix A.2 and B.1, and what the configuration makes of them. */
static void tell_recovery(struct quic_conn *conn) {
    const struct quic_cc *cc = &conn->paths[0]->control.cc;
    struct qlog_json *json = quic_qlog_record(conn, "quic:recovery_parameters_set", QUIC_PATHS);
    if (!json)
        return;
    qlog_json_uint(json, "reordering_threshold", QUIC_PACKET_THRESHOLD);
    qlog_json_ms(json, "time_threshold", UINT64_C(9) * BASE_MS / 8); /* 9/8: the writer's unit is a million */
    qlog_json_ms(json, "timer_granularity", QUIC_GRANULARITY);
    qlog_json_ms(json, "initial_rtt", conn->config->options.initial_rtt);
    qlog_json_uint(json, "max_datagram_size", cc->mtu);
    qlog_json_uint(json, "initial_congestion_window", cc->window);
    qlog_json_uint(json, "minimum_congestion_window", quic_cc_least_window(cc));
    qlog_json_uint(json, "persistent_congestion_threshold", QUIC_PERSISTENT_THRESHOLD);
    qlog_json_text(json, "congestion_control", cc->ops->name); /* ours: the draft has no place for it */
    quic_qlog_record_end(conn);
}

void quic_qlog_opening(struct quic_conn *conn) {
    tell_started(conn);
    tell_versions(conn, false);
    tell_recovery(conn);
    quic_qlog_connection_state(conn, "attempted");
}

/* ---- transport parameters ---- */

struct param_row {
    const char *name;
    size_t at;
    bool restored; /* a client may remember it for 0-RTT */
};

#define PARAM(name, restored) \
    { #name, offsetof(struct quic_params, name), restored }

static const struct param_row numbers[] = {
    PARAM(max_idle_timeout, true),
    PARAM(max_udp_payload_size, true),
    PARAM(ack_delay_exponent, false),
    PARAM(max_ack_delay, false),
    PARAM(active_connection_id_limit, true),
    PARAM(initial_max_data, true),
    PARAM(initial_max_stream_data_bidi_local, true),
    PARAM(initial_max_stream_data_bidi_remote, true),
    PARAM(initial_max_stream_data_uni, true),
    PARAM(initial_max_streams_bidi, true),
    PARAM(initial_max_streams_uni, true),
    PARAM(max_datagram_frame_size, true),
};

static void write_numbers(struct qlog_json *json, const struct quic_params *params, bool restored) {
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        uint64_t value;
        memcpy(&value, (const char *)params + numbers[i].at, sizeof value);
        if (!restored || numbers[i].restored)
            qlog_json_uint(json, numbers[i].name, value);
    }
    qlog_json_flag(json, "disable_active_migration", params->disable_active_migration);
}

static void write_param_cid(struct qlog_json *json, const char *name, bool has, const struct quic_cid *cid) {
    if (has)
        qlog_json_hex(json, name, cid->id, cid->len);
}

static void write_preferred(struct qlog_json *json, const struct quic_preferred_address *address) {
    qlog_json_open(json, "preferred_address", '{');
    quic_qlog_address(json, &address->v4);
    quic_qlog_address(json, &address->v6);
    static const uint8_t nothing[sizeof address->reset_token];
    qlog_json_hex(json, "connection_id", address->cid.id, address->cid.len);
    qlog_json_hex(json, "stateless_reset_token", nothing, sizeof nothing);
    qlog_json_close(json, '}');
}

void quic_qlog_params(struct quic_conn *conn, const struct quic_params *params, bool local) {
    struct qlog_json *json = quic_qlog_record(conn, "quic:parameters_set", QUIC_PATHS);
    if (!json)
        return;
    qlog_json_text(json, "initiator", local ? "local" : "remote");
    write_param_cid(json, "original_destination_connection_id", params->has_original_dcid, &params->original_dcid);
    write_param_cid(json, "initial_source_connection_id", params->has_initial_scid, &params->initial_scid);
    write_param_cid(json, "retry_source_connection_id", params->has_retry_scid, &params->retry_scid);
    write_numbers(json, params, false);
    if (params->has_preferred_address)
        write_preferred(json, &params->preferred_address);
    qlog_json_flag(json, "grease_quic_bit", params->grease_quic_bit);
    qlog_json_flag(json, "reset_stream_at", params->reset_stream_at);
    if (params->min_ack_delay != QUIC_NO_MIN_ACK_DELAY) /* an extension's, in us as on the wire */
        qlog_json_uint(json, "min_ack_delay", params->min_ack_delay);
    quic_qlog_record_end(conn);
}

void quic_qlog_params_known(struct quic_conn *conn) {
    quic_qlog_params(conn, &conn->peer_params, false);
    tell_versions(conn, true);
}

void quic_qlog_params_restored(struct quic_conn *conn, const struct quic_params *params) {
    struct qlog_json *json = quic_qlog_record(conn, "quic:parameters_restored", QUIC_PATHS);
    if (!json)
        return;
    write_numbers(json, params, true);
    quic_qlog_record_end(conn);
}

/* ---- the handshake is complete ---- */

static void write_alpn(struct qlog_json *json, const char *name, const void *alpn, size_t len) {
    qlog_json_open(json, name, '{');
    if (qlog_is_utf8(alpn, len))
        qlog_json_bytes(json, "string_value", alpn, len);
    else
        qlog_json_hex(json, "byte_value", alpn, len);
    qlog_json_close(json, '}');
}

static void tell_alpn(struct quic_conn *conn) {
    size_t len;
    const uint8_t *list = crypto_tls_config_alpn_list(conn->config->tls, &len);
    struct qlog_json *json = quic_qlog_record(conn, "quic:alpn_information", QUIC_PATHS);
    if (!json)
        return;
    qlog_json_open(json, conn->role == CRYPTO_CLIENT ? "client_alpns" : "server_alpns", '[');
    for (size_t i = 0; i < len; i += list[i] + 1u) /* length, name; checked when it was set */
        write_alpn(json, NULL, list + i + 1, list[i]);
    qlog_json_close(json, ']');
    if (conn->alpn)
        write_alpn(json, "chosen_alpn", conn->alpn, strlen(conn->alpn));
    quic_qlog_record_end(conn);
}

void quic_qlog_completed(struct quic_conn *conn) {
    tell_alpn(conn);
    struct qlog_json *json = quic_qlog_record(conn, "quic:parameters_set", QUIC_PATHS);
    if (!json)
        return;
    qlog_json_flag(json, "resumption_allowed", conn->resumed);
    qlog_json_flag(json, "early_data_enabled", conn->early_data == CRYPTO_EARLY_ACCEPTED);
    if (conn->cipher_name)
        qlog_json_text(json, "tls_cipher", conn->cipher_name);
    if (conn->group_name)
        qlog_json_text(json, "tls_group", conn->group_name);
    quic_qlog_record_end(conn);
}

/* ---- keys ---- */

static void tell_key(struct quic_conn *conn, const char *event, enum crypto_level level, bool client,
                     const char *trigger, uint64_t phase) {
    static const char *const names[CRYPTO_LEVELS][2] = {
        [CRYPTO_INITIAL] = {"server_initial_secret", "client_initial_secret"},
        [CRYPTO_EARLY] = {"server_0rtt_secret", "client_0rtt_secret"},
        [CRYPTO_HANDSHAKE] = {"server_handshake_secret", "client_handshake_secret"},
        [CRYPTO_APPLICATION] = {"server_1rtt_secret", "client_1rtt_secret"},
    };
    struct qlog_json *json = quic_qlog_record(conn, event, QUIC_PATHS);
    if (!json)
        return;
    qlog_json_text(json, "key_type", names[level][client]);
    if (level == CRYPTO_APPLICATION)
        qlog_json_uint(json, "key_phase", phase);
    if (trigger)
        qlog_json_text(json, "trigger", trigger);
    quic_qlog_record_end(conn);
}

void quic_qlog_keys(struct quic_conn *conn, enum crypto_level level, bool read, bool write, enum quic_qlog_key why) {
    static const char *const triggers[] = {"tls", "remote_update", "local_update"};
    bool client = conn->role == CRYPTO_CLIENT;
    if (read)
        tell_key(conn, "quic:key_updated", level, !client, triggers[why], conn->phase.generation);
    if (write)
        tell_key(conn, "quic:key_updated", level, client, triggers[why], conn->phase.generation);
}

void quic_qlog_keys_gone(struct quic_conn *conn, enum crypto_level level, bool read, bool write) {
    bool client = conn->role == CRYPTO_CLIENT;
    if (read)
        tell_key(conn, "quic:key_discarded", level, !client, NULL, conn->phase.generation);
    if (write)
        tell_key(conn, "quic:key_discarded", level, client, NULL, conn->phase.generation);
}

void quic_qlog_old_key_gone(struct quic_conn *conn) {
    tell_key(conn, "quic:key_discarded", CRYPTO_APPLICATION, conn->role != CRYPTO_CLIENT, NULL,
             conn->phase.generation - 1);
}

/* ---- timers ---- */

void quic_qlog_timer_expired(struct quic_conn *conn) {
    struct quic_qlog_state *told = &conn->qlog->told;
    struct qlog_json *json = quic_qlog_record(conn, "quic:timer_updated", QUIC_PATHS);
    if (!json)
        return;
    qlog_json_text(json, "timer_type", told->timer_is_loss ? "loss_timeout" : "pto");
    qlog_json_text(json, "event_type", "expired");
    quic_qlog_record_end(conn);
    told->timer = BASE_NEVER;
}

/* ---- the end ---- */

static const char *close_trigger(const struct quic_close *close) {
    static const char *const triggers[] = {
        [QUIC_CAUSE_NONE] = "unspecified",
        [QUIC_CAUSE_LOCAL] = "application",
        [QUIC_CAUSE_PEER] = "unspecified",
        [QUIC_CAUSE_IDLE] = "idle_timeout",
        [QUIC_CAUSE_HANDSHAKE_TIMEOUT] = "aborted",
        [QUIC_CAUSE_PROTOCOL] = "error",
        [QUIC_CAUSE_RESET] = "stateless_reset",
        [QUIC_CAUSE_VERSION] = "version_mismatch",
        [QUIC_CAUSE_INTERNAL] = "error",
    };
    if (close->cause == QUIC_CAUSE_PEER && close->app)
        return "application";
    if (close->cause == QUIC_CAUSE_PEER && close->code != QUIC_NO_ERROR)
        return "error";
    return close->cause < sizeof triggers / sizeof *triggers ? triggers[close->cause] : "unspecified";
}

void quic_qlog_closed(struct quic_conn *conn) {
    const struct quic_close *close = &conn->close;
    struct qlog_json *json = quic_qlog_record(conn, "quic:connection_closed", QUIC_PATHS);
    if (!json)
        return;
    bool remote = close->cause == QUIC_CAUSE_PEER || close->cause == QUIC_CAUSE_RESET;
    qlog_json_text(json, "initiator", remote ? "remote" : "local");
    if (close->cause != QUIC_CAUSE_RESET && close->cause != QUIC_CAUSE_IDLE) /* nobody said anything */
        quic_qlog_error(json, close->app ? "application_error" : "connection_error", close->app, close->code);
    if (close->cause == QUIC_CAUSE_PROTOCOL && close->frame_type)
        qlog_json_uint(json, "trigger_frame_type", close->frame_type);
    quic_qlog_reason(json, close->reason, close->reason_len);
    qlog_json_text(json, "trigger", close_trigger(close));
    quic_qlog_record_end(conn);
    quic_qlog_connection_state(conn, conn->state == QUIC_CONN_CLOSING ? "closing" : "draining");
}

/* ---- Careful Resume ---- */

void quic_qlog_resume(struct quic_conn *conn, const struct quic_cc *cc, enum quic_resume_phase old,
                      enum quic_resume_why why) {
    const struct quic_resume *r = cc->resume;
    struct qlog_json *json = quic_qlog_record(conn, "recovery:careful_resume_phase_updated", QUIC_PATHS);
    if (!json)
        return;
    qlog_json_text(json, "old", quic_resume_phase_name(old));
    qlog_json_text(json, "new", quic_resume_phase_name((enum quic_resume_phase)r->phase));
    qlog_json_open(json, "state_data", '{');
    qlog_json_uint(json, "pipesize", r->pipe);
    if (r->first_number != QUIC_NO_NUMBER)
        qlog_json_uint(json, "first_unvalidated_packet", r->first_number);
    if (r->last_number != QUIC_NO_NUMBER)
        qlog_json_uint(json, "last_unvalidated_packet", r->last_number);
    qlog_json_uint(json, "congestion_window", cc->window);
    if (cc->threshold != UINT64_MAX)
        qlog_json_uint(json, "ssthresh", cc->threshold);
    qlog_json_close(json, '}');
    qlog_json_open(json, "restored_data", '{');
    qlog_json_uint(json, "saved_congestion_window", r->saved.window);
    qlog_json_ms(json, "saved_rtt", r->saved.rtt);
    qlog_json_close(json, '}');
    qlog_json_text(json, "trigger", quic_resume_why_name(why));
    quic_qlog_record_end(conn);
}
