/* handshake.c - TLS and the connection: CRYPTO bytes to and fro, keys as they come, completion and confirmation.
 *
 * The connection learns here when it may do what: keys of a level are installed as TLS gives them and thrown away as
 * RFC 9001 section 4.9 says; the peer's transport parameters are checked against the connection IDs that were really
 * used (RFC 9000 section 7.3).
 *
 * Callbacks of crypto/tls.h run inside crypto_tls_input: an error found there is recorded by quic_conn_fail and acted
 * on when TLS has returned.
 *
 * Invariant: keys of a level exist from their installation until their space is discarded, never longer.
 */
#include <assert.h>

#include "quic/segment.h"
#include "quic/walk.h"
#include "tables/errors.h"

#define CRYPTO_BUFFER_LIMIT 65536u /* CRYPTO bytes out of order we hold (RFC 9000 7.5 asks for at least 4096) */

/* ---- keys ---- */

static enum crypto_version version_of(uint32_t version) {
    return version == QUIC_VERSION_2 ? CRYPTO_QUIC_V2 : CRYPTO_QUIC_V1;
}

static bool keys_make(struct quic_conn *conn, struct quic_keys *keys, enum crypto_version version,
                      const struct crypto_secret *read, const struct crypto_secret *write) {
    struct base_mem *mem = conn->endpoint->mem;
    if (read && read->len) {
        if (!crypto_keys_new(mem, version, read, &keys->rx, &keys->rx_mask))
            return false;
    }
    if (write && write->len) {
        if (!crypto_keys_new(mem, version, write, &keys->tx, &keys->tx_mask))
            return false;
    }
    return true;
}

void quic_handshake_drop_keys(struct quic_conn *conn, struct quic_keys *keys) {
    struct base_mem *mem = conn->endpoint->mem;
    crypto_key_free(mem, keys->rx);
    crypto_key_free(mem, keys->tx);
    crypto_mask_key_free(mem, keys->rx_mask);
    crypto_mask_key_free(mem, keys->tx_mask);
    *keys = (struct quic_keys){0};
}

void quic_handshake_free_keys(struct quic_conn *conn, enum crypto_level level) {
    if (conn->qlog)
        quic_qlog_keys_gone(conn, level, conn->keys[level].rx, conn->keys[level].tx);
    quic_handshake_drop_keys(conn, &conn->keys[level]);
}

static bool initial_keys(struct quic_conn *conn, uint32_t version, const struct quic_cid *dcid,
                         struct quic_keys *keys) {
    struct crypto_secret client, server;
    if (!crypto_initial_secrets(version_of(version), dcid->id, dcid->len, &client, &server))
        return false;
    quic_handshake_drop_keys(conn, keys);
    bool is_client = conn->role == CRYPTO_CLIENT;
    return keys_make(conn, keys, version_of(version), is_client ? &server : &client, is_client ? &client : &server);
}

bool quic_handshake_initial_keys(struct quic_conn *conn, const struct quic_cid *dcid) {
    if (conn->qlog)
        quic_qlog_keys(conn, CRYPTO_INITIAL, true, true, QUIC_QLOG_KEY_TLS);
    return initial_keys(conn, conn->version, dcid, &conn->keys[CRYPTO_INITIAL]);
}

bool quic_handshake_candidate(struct quic_conn *conn, uint32_t version, struct quic_keys *keys) {
    return initial_keys(conn, version, conn->retried ? &conn->retry_scid : &conn->original_dcid, keys);
}

void quic_handshake_take_version(struct quic_conn *conn, uint32_t version, const struct quic_keys *keys) {
    quic_handshake_free_keys(conn, CRYPTO_INITIAL);
    conn->keys[CRYPTO_INITIAL] = *keys;
    conn->version = version;
    conn->version_settled = true;
    if (conn->qlog)
        quic_qlog_keys(conn, CRYPTO_INITIAL, true, true, QUIC_QLOG_KEY_TLS);
}

/* ---- CRYPTO streams ---- */

struct quic_crypto_stream *quic_handshake_stream(struct quic_conn *conn, enum quic_space space) {
    struct quic_crypto_stream **at = &conn->crypto[space];
    if (*at)
        return *at;
    *at = BASE_NEW(conn->endpoint->mem, struct quic_crypto_stream);
    if (*at) {
        quic_stream_send_init(&(*at)->send);
        quic_stream_recv_init(&(*at)->recv);
    }
    return *at;
}

void quic_handshake_free_space(struct quic_conn *conn, enum quic_space space) {
    struct base_mem *mem = conn->endpoint->mem;
    struct quic_crypto_stream *stream = conn->crypto[space];
    if (!stream)
        return;
    quic_stream_send_clear(&stream->send, mem, NULL, NULL);
    quic_stream_recv_clear(&stream->recv, mem);
    BASE_DELETE(mem, stream);
    conn->crypto[space] = NULL;
}

void quic_handshake_discard(struct quic_conn *conn, enum quic_space space) {
    quic_recovery_discard_space(&conn->recovery, space);
    quic_ack_clear(&conn->acks[space], conn->endpoint->mem);
    quic_handshake_free_keys(conn, space == QUIC_INITIAL ? CRYPTO_INITIAL : CRYPTO_HANDSHAKE);
    if (space == QUIC_INITIAL)
        quic_handshake_drop_keys(conn, &conn->original_keys);
    quic_handshake_free_space(conn, space);
}

/* ---- our transport parameters ---- */

/* What the options say, the IDs this connection really uses, and the version. */
static void own_params(struct quic_conn *conn, struct quic_params *params) {
    const struct options *o = &conn->config->options;
    const struct quic_local_cid *first = &conn->local_cids.list[0];
    quic_params_init(params);
    params->max_idle_timeout = o->max_idle_timeout / BASE_MS;
    params->max_udp_payload_size = o->max_udp_payload_size;
    params->initial_max_data = o->initial_max_data;
    params->initial_max_stream_data_bidi_local = o->initial_max_stream_data_bidi_local;
    params->initial_max_stream_data_bidi_remote = o->initial_max_stream_data_bidi_remote;
    params->initial_max_stream_data_uni = o->initial_max_stream_data_uni;
    params->initial_max_streams_bidi = o->initial_max_streams_bidi;
    params->initial_max_streams_uni = o->initial_max_streams_uni;
    params->ack_delay_exponent = o->ack_delay_exponent;
    params->max_ack_delay = o->max_ack_delay / BASE_MS;
    params->active_connection_id_limit = o->active_connection_id_limit;
    params->disable_active_migration = o->disable_active_migration;
    params->max_datagram_frame_size = o->max_datagram_frame_size;
    params->reset_stream_at = o->reset_stream_at;
    if (o->ack_frequency)
        params->min_ack_delay = QUIC_MIN_ACK_DELAY / BASE_US;
    params->has_initial_scid = true;
    params->initial_scid = first->cid;
    quic_version_inform(conn, params);
    if (conn->role == CRYPTO_CLIENT)
        return;
    params->has_original_dcid = true;
    params->original_dcid = conn->original_dcid;
    params->has_retry_scid = conn->retried;
    params->retry_scid = conn->retry_scid;
    params->has_reset_token = true;
    crypto_reset_token(conn->endpoint->fleet, 0, first->cid.id, first->cid.len, params->reset_token);
    quic_preferred_offer(conn, params);
}

#define PARAMS_MAX 512u

static size_t own_params_write(struct quic_conn *conn, const struct quic_params *params, uint8_t out[PARAMS_MAX]) {
    const struct base_random *grease = conn->config->options.grease ? &conn->endpoint->random : NULL;
    return quic_params_write(params, (enum crypto_role)conn->role, grease, out, PARAMS_MAX);
}

/* Server: tickets that are opened or given out from now on are those of the version in use. */
static bool bind_tickets(struct quic_conn *conn) {
    struct quic_params params;
    own_params(conn, &params);
    return quic_early_bind(conn, &params);
}

/* ---- callbacks of TLS ---- */

static bool on_send(void *user, enum crypto_level level, const uint8_t *data, size_t len) {
    struct quic_conn *conn = user;
    struct quic_crypto_stream *stream = quic_handshake_stream(conn, quic_space_of(level));
    if (!stream || quic_stream_send_copy_in(&stream->send, conn->endpoint->mem, data, len) != ERR_OK)
        return false;
    quic_conn_mark_dirty(conn);
    return true;
}

static bool on_secrets(void *user, enum crypto_level level, const struct crypto_secret *read,
                       const struct crypto_secret *write) {
    struct quic_conn *conn = user;
    uint32_t version = level == CRYPTO_EARLY ? conn->original_version : conn->version; /* RFC 9369 4.1 */
    bool ok = keys_make(conn, &conn->keys[level], version_of(version), read, write);
    if (level == CRYPTO_APPLICATION)
        quic_keyphase_install(conn, read, write);
    if (conn->qlog)
        quic_qlog_keys(conn, level, read && read->len, write && write->len, QUIC_QLOG_KEY_TLS);
    if (level == CRYPTO_EARLY && conn->role == CRYPTO_SERVER)
        conn->early_data = CRYPTO_EARLY_ACCEPTED;
    if (level == CRYPTO_HANDSHAKE && conn->keys[level].tx)
        conn->recovery.has_handshake_keys = true;
    if (level == CRYPTO_APPLICATION && conn->keys[level].tx)
        conn->recovery.has_application_keys = true;
    return ok;
}

/* RFC 9000 7.3: the peer must confirm the connection IDs that were used on the wire. NULL: it did. */
static const char *check_cids(const struct quic_conn *conn, const struct quic_params *params) {
    struct quic_remote_cid *initial = quic_remote_cids_of_path((struct quic_remote_cids *)&conn->remote_cids, 0);
    if (!params->has_initial_scid || !initial || !quic_cid_equal(&params->initial_scid, &initial->cid))
        return "initial_source_connection_id does not match";
    if (conn->role == CRYPTO_SERVER)
        return NULL;
    if (!params->has_original_dcid || !quic_cid_equal(&params->original_dcid, &conn->original_dcid))
        return "original_destination_connection_id does not match";
    if (params->has_retry_scid != conn->retried ||
        (conn->retried && !quic_cid_equal(&params->retry_scid, &conn->retry_scid)))
        return "retry_source_connection_id does not match";
    return NULL;
}

static void params_apply(struct quic_conn *conn) {
    const struct quic_params *params = &conn->peer_params;
    conn->recovery.max_ack_delay = params->max_ack_delay * BASE_MS;
    conn->local_cids.limit =
        (uint8_t)(params->active_connection_id_limit < QUIC_CIDS ? params->active_connection_id_limit : QUIC_CIDS);
    if (conn->early_data != CRYPTO_EARLY_PENDING) /* else when that is decided */
        quic_streams_set_peer(&conn->streams, params);
    if (params->has_reset_token) {
        quic_remote_cids_set_token(&conn->remote_cids, params->reset_token);
        quic_endpoint_sync_reset_tokens(conn->endpoint, conn);
    }
}

/* Server: the client's offer is known, our answer not sent yet. It says the version in use. */
static bool upgrade(struct quic_conn *conn) {
    struct quic_params params;
    uint8_t bytes[PARAMS_MAX];
    if (!quic_version_upgrade(conn, &conn->peer_params))
        return false;
    if (conn->version == conn->original_version)
        return true;
    own_params(conn, &params);
    return crypto_tls_set_params(conn->tls, bytes, own_params_write(conn, &params, bytes));
}

static bool on_transport_params(void *user, const uint8_t *data, size_t len) {
    struct quic_conn *conn = user;
    base_time now = conn->endpoint->now;
    const char *text = "malformed transport parameters";
    enum quic_error error = quic_params_parse(data, len, conn->role == CRYPTO_CLIENT ? CRYPTO_SERVER : CRYPTO_CLIENT,
                                              &conn->peer_params, &text);
    if (!error && (text = check_cids(conn, &conn->peer_params)))
        error = QUIC_TRANSPORT_PARAMETER_ERROR;
    if (!error && !quic_preferred_accept(conn)) {
        text = "connection ID of preferred_address is in use";
        error = QUIC_TRANSPORT_PARAMETER_ERROR;
    }
    if (!error && (text = quic_version_check(conn, &conn->peer_params)))
        error = QUIC_VERSION_NEGOTIATION_ERROR;
    if (!error && conn->role == CRYPTO_SERVER && !upgrade(conn)) {
        text = "out of memory";
        error = QUIC_INTERNAL_ERROR;
    }
    if (error) {
        quic_conn_fail(conn, error, QUIC_FRAME_CRYPTO, text, now);
        return false;
    }
    conn->peer_params_known = true;
    if (conn->qlog)
        quic_qlog_params_known(conn);
    params_apply(conn);
    return true;
}

static void on_session(void *user, const uint8_t *data, size_t len) { quic_early_on_session(user, data, len); }

static void on_alert(void *user, uint8_t alert, const char *text) {
    struct quic_conn *conn = user;
    quic_conn_fail(conn, QUIC_CRYPTO_ERROR + alert, QUIC_FRAME_CRYPTO, text, conn->endpoint->now);
}

/* ---- opening ---- */

bool quic_handshake_open(struct quic_conn *conn, const char *server_name, const uint8_t *session, size_t session_len,
                         struct crypto_error *why) {
    static const struct crypto_tls_callbacks callbacks = {on_send, on_secrets, on_transport_params, on_session,
                                                          on_alert};
    uint8_t bytes[PARAMS_MAX];
    struct quic_params params;
    own_params(conn, &params);
    if (conn->qlog)
        quic_qlog_params(conn, &params, true);
    struct crypto_tls_open open = {
        .role = (enum crypto_role)conn->role,
        .config = conn->config->tls,
        .callbacks = &callbacks,
        .user = conn,
        .server_name = server_name,
        .params = bytes,
        .params_len = own_params_write(conn, &params, bytes),
        .quic_v2 = conn->version == QUIC_VERSION_2,
    };
    if (session)
        quic_early_resume(conn, session, session_len, &open);
    conn->tls = crypto_tls_new(conn->endpoint->mem, &open, why);
    if (!conn->tls)
        return false;
    if (conn->role == CRYPTO_SERVER)
        return quic_early_bind(conn, &params);
    conn->in_tls = true;
    bool ok = crypto_tls_start(conn->tls) == CRYPTO_OK;
    conn->in_tls = false;
    if (ok)
        quic_early_begin(conn);
    return ok;
}

bool quic_handshake_reopen(struct quic_conn *conn) {
    struct crypto_tls *old = conn->tls;
    struct crypto_error why;
    conn->tls = NULL;
    bool ok = quic_handshake_open(conn, crypto_tls_server_name(old), NULL, 0, &why);
    crypto_tls_free(old);
    return ok;
}

/* ---- progress ---- */

static enum crypto_level crypto_level_of(enum quic_space space) {
    static const enum crypto_level levels[QUIC_SPACES] = {CRYPTO_INITIAL, CRYPTO_HANDSHAKE, CRYPTO_APPLICATION};
    return levels[space];
}

/* Always copied: the peer may be nobody, and must not hold a buffer of 64 KiB for each piece that leaves a gap. */
int quic_handshake_crypto(struct quic_conn *conn, enum quic_space space, const struct quic_frame *frame) {
    struct quic_crypto_stream *stream = quic_handshake_stream(conn, space);
    if (!stream)
        return QUIC_RX_DROP;
    conn->version_settled = true; /* a server says CRYPTO in the negotiated version only (RFC 9369 4.1) */
    uint64_t end = frame->u.crypto.offset + frame->u.crypto.len;
    if (end > stream->recv.taken + CRYPTO_BUFFER_LIMIT)
        return QUIC_CRYPTO_BUFFER_EXCEEDED;
    return quic_stream_recv_insert(&stream->recv, conn->endpoint->mem, NULL, frame->u.crypto.offset,
                                   frame->u.crypto.data, (size_t)frame->u.crypto.len, false) == QUIC_RECV_OK
               ? 0
               : QUIC_RX_DROP;
}

/* At most: a copy behind a gap has room for twice what it holds. */
uint64_t quic_handshake_surplus(const struct quic_conn *conn) {
    uint64_t bytes = conn->tls ? crypto_tls_surplus(conn->tls) : 0;
    for (unsigned space = 0; space < QUIC_SPACES; space++) {
        const struct quic_stream_recv *recv = conn->crypto[space] ? &conn->crypto[space]->recv : NULL;
        if (recv && recv->highest > recv->taken)
            bytes += 2 * (recv->highest - recv->taken) + (uint64_t)recv->gaps * sizeof(struct quic_segment);
    }
    for (unsigned i = 0; i < conn->early_count; i++)
        bytes += conn->early[i].len;
    return bytes;
}

#define HELLO_MOST 16384u /* what tls.c takes of a ClientHello */

/* A server makes its TLS object, ten times the size of all that it holds until then, when the ClientHello is whole.
 * What can be none is TLS's to refuse. */
static bool hello_is_whole(const struct quic_stream_recv *recv) {
    struct quic_slice slices[4];
    uint8_t head[4];
    size_t have = 0, count = quic_stream_recv_peek(recv, slices, 4);
    for (size_t i = 0; i < count; i++)
        for (size_t at = 0; at < slices[i].len && have < sizeof head; at++)
            head[have++] = slices[i].data[at];
    if (have && head[0] != 1)
        return true;
    if (have < sizeof head)
        return false;
    uint32_t len = (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];
    return len > HELLO_MOST || recv->ready - recv->taken >= sizeof head + len;
}

/* False: there is nothing for TLS to do yet. */
static bool tls_is_there(struct quic_conn *conn, const struct quic_stream_recv *recv, base_time now) {
    if (conn->tls || conn->role == CRYPTO_CLIENT || conn->tls_done || conn->handshake_complete)
        return true;
    struct crypto_error why;
    if (!hello_is_whole(recv))
        return false;
    if (!quic_handshake_open(conn, NULL, NULL, 0, &why))
        quic_conn_fail(conn, QUIC_INTERNAL_ERROR, QUIC_FRAME_CRYPTO, "out of memory", now);
    return true;
}

void quic_handshake_input(struct quic_conn *conn, enum quic_space space, base_time now) {
    struct quic_crypto_stream *stream = conn->crypto[space];
    if (stream && conn->state < QUIC_CONN_CLOSING && !tls_is_there(conn, &stream->recv, now))
        return;
    struct quic_slice slice;
    while (stream && conn->state < QUIC_CONN_CLOSING && quic_stream_recv_peek(&stream->recv, &slice, 1)) {
        if (!conn->tls || conn->tls_done) { /* nothing may follow the handshake (RFC 9001 6: no KeyUpdate) */
            quic_conn_fail(conn, QUIC_CRYPTO_ERROR + 10, QUIC_FRAME_CRYPTO, "unexpected TLS message", now);
            return;
        }
        conn->in_tls = true;
        int result = crypto_tls_input(conn->tls, crypto_level_of(space), slice.data, slice.len);
        conn->in_tls = false;
        if (result != CRYPTO_OK) {
            if (conn->state < QUIC_CONN_CLOSING)
                quic_conn_fail(conn, QUIC_INTERNAL_ERROR, QUIC_FRAME_CRYPTO, "TLS failed without an alert", now);
            return;
        }
        quic_stream_recv_consume(&stream->recv, conn->endpoint->mem, slice.len);
        quic_handshake_progress(conn, now);
        stream = conn->crypto[space];
    }
}

static char *copy_text(struct base_mem *mem, const void *text, size_t len) {
    char *copy = base_alloc(mem, len + 1);
    if (copy) {
        memcpy(copy, text, len);
        copy[len] = 0;
    }
    return copy;
}

/* What the application may ask for after the TLS object is gone. */
static bool keep_identity(struct quic_conn *conn) {
    struct base_mem *mem = conn->endpoint->mem;
    size_t len;
    conn->cipher_name = crypto_tls_cipher_name(conn->tls);
    conn->group_name = crypto_tls_group_name(conn->tls);
    conn->resumed = crypto_tls_resumed(conn->tls);
    const uint8_t *alpn = crypto_tls_alpn(conn->tls, &len);
    if (alpn && !(conn->alpn = copy_text(mem, alpn, len)))
        return false;
    const char *name = crypto_tls_server_name(conn->tls);
    if (name && !(conn->server_name = copy_text(mem, name, strlen(name))))
        return false;
    const uint8_t *certificate = crypto_tls_peer_certificate(conn->tls, &len);
    if (certificate && len) {
        conn->peer_certificate = base_alloc(mem, len);
        if (!conn->peer_certificate)
            return false;
        memcpy(conn->peer_certificate, certificate, len);
        conn->peer_certificate_len = len;
    }
    return true;
}

static void handshake_completed(struct quic_conn *conn, base_time now) {
    conn->handshake_complete = true;
    conn->connected_at = now;
    conn->state = QUIC_CONN_ESTABLISHED;
    conn->endpoint->stats.handshakes_completed++;
    quic_gate_leave(conn);
    quic_conn_set_timer(conn, QUIC_TIMER_HANDSHAKE, BASE_NEVER);
    if (!keep_identity(conn)) {
        quic_conn_fail(conn, QUIC_INTERNAL_ERROR, 0, "out of memory", now);
        return;
    }
    if (conn->qlog)
        quic_qlog_completed(conn);
    if (conn->role == CRYPTO_CLIENT)
        quic_handshake_free_keys(conn, CRYPTO_EARLY); /* RFC 9001 4.9.3 */
    base_event_raise(conn->endpoint->events, &conn->event, QUIC_CONN_EV_CONNECTED);
    if (conn->role == CRYPTO_SERVER) {
        conn->in_tls = true;
        bool bound = conn->version == conn->original_version || bind_tickets(conn);
        for (uint64_t i = 0; bound && i < conn->config->options.session_tickets; i++)
            if (crypto_tls_send_ticket(conn->tls) != CRYPTO_OK)
                break;
        conn->in_tls = false;
        conn->want_handshake_done = QUIC_WANTED;
        conn->control_wanted = true;
        quic_handshake_confirm(conn, now); /* RFC 9001 4.1.2: complete is confirmed at a server */
    }
}

void quic_handshake_progress(struct quic_conn *conn, base_time now) {
    if (conn->state >= QUIC_CONN_CLOSING || !conn->tls)
        return;
    quic_early_decide(conn, now);
    if (conn->state >= QUIC_CONN_CLOSING)
        return;
    if (!conn->handshake_complete && crypto_tls_complete(conn->tls))
        handshake_completed(conn, now);
    quic_conn_mark_dirty(conn);
}

void quic_handshake_confirm(struct quic_conn *conn, base_time now) {
    if (conn->handshake_confirmed || conn->state >= QUIC_CONN_CLOSING)
        return;
    conn->handshake_confirmed = true;
    conn->recovery.handshake_confirmed = true;
    quic_handshake_discard(conn, QUIC_INITIAL);
    quic_handshake_discard(conn, QUIC_HANDSHAKE);
    quic_path_connect(conn);
    quic_mtu_start(conn);
    while (quic_local_cids_room(&conn->local_cids) && quic_endpoint_issue_cid(conn->endpoint, conn))
        continue;
    if (conn->role == CRYPTO_SERVER) {
        conn->want_new_token = QUIC_WANTED;
        quic_conn_set_timer(conn, QUIC_TIMER_KEYS, base_time_add(now, quic_conn_three_pto(conn)));
        conn->tls_done = true;
    }
    conn->control_wanted = true;
    quic_conn_on_received(conn, now); /* from now on both sides' idle time-outs count */
    quic_preferred_go(conn, now);
    base_event_raise(conn->endpoint->events, &conn->event, QUIC_CONN_EV_CONFIRMED);
    quic_conn_mark_dirty(conn);
}

/* Tickets are out and identity is kept: 12 KB less. Not earlier, for the application may export keys when it hears that
 * it is connected. */
void quic_handshake_settle(struct quic_conn *conn) {
    if (!conn->tls_done || !conn->tls || conn->config->options.keep_exporter)
        return;
    crypto_tls_free(conn->tls);
    conn->tls = NULL;
}

void quic_handshake_expire(struct quic_conn *conn) {
    if (!conn->handshake_confirmed || conn->role != CRYPTO_SERVER)
        return;
    quic_handshake_free_keys(conn, CRYPTO_EARLY); /* RFC 9001 4.9.3 */
    quic_endpoint_remove_initial_cid(conn->endpoint, conn);
}
