/* handshake.c - TLS and the connection: CRYPTO bytes to and fro, keys as they come, completion and confirmation.
 *
 * The connection learns here when it may do what: keys of a level are installed as TLS gives them and thrown away as RFC 9001 section 4.9 says; the
 * peer's transport parameters are checked against the connection IDs that were really used (RFC 9000 section 7.3).
 *
 * Callbacks of crypto/tls.h run inside crypto_tls_input: an error found there is recorded by quic_conn_fail and acted on when TLS has
 * returned.
 *
 * Invariant: keys of a level exist from their installation until their space is discarded, never longer.
 */
#include <assert.h>

#include "quic/walk.h"
#include "tables/errors.h"

#define CRYPTO_BUFFER_LIMIT 65536u /* CRYPTO bytes out of order we hold (RFC 9000 7.5 asks for at least 4096) */

/* ---- keys ---- */

static enum crypto_version handshake_version(const struct quic_conn *conn) {
    return conn->version == QUIC_VERSION_2 ? CRYPTO_QUIC_V2 : CRYPTO_QUIC_V1;
}

/* Both or neither: a level that can be opened or sealed halfway would be believed. */
static bool key_pair(struct base_mem *mem, enum crypto_version version, const struct crypto_secret *secret,
                     struct crypto_key **key, struct crypto_mask_key **mask) {
    *key = crypto_key_new(mem, version, secret);
    *mask = crypto_mask_key_new(mem, version, secret);
    if (*key && *mask)
        return true;
    crypto_key_free(mem, *key);
    crypto_mask_key_free(mem, *mask);
    *key = NULL;
    *mask = NULL;
    return false;
}

static bool keys_install(struct quic_conn *conn, enum crypto_level level, const struct crypto_secret *read,
                         const struct crypto_secret *write) {
    struct base_mem *mem = conn->endpoint->mem;
    enum crypto_version version = handshake_version(conn);
    struct quic_keys *keys = &conn->keys[level];
    if (read && read->len) {
        if (!key_pair(mem, version, read, &keys->rx, &keys->rx_mask))
            return false;
    }
    if (write && write->len) {
        if (!key_pair(mem, version, write, &keys->tx, &keys->tx_mask))
            return false;
    }
    return true;
}

void quic_handshake_free_keys(struct quic_conn *conn, enum crypto_level level) {
    struct base_mem *mem = conn->endpoint->mem;
    struct quic_keys *keys = &conn->keys[level];
    crypto_key_free(mem, keys->rx);
    crypto_key_free(mem, keys->tx);
    crypto_mask_key_free(mem, keys->rx_mask);
    crypto_mask_key_free(mem, keys->tx_mask);
    *keys = (struct quic_keys){0};
}

bool quic_handshake_initial_keys(struct quic_conn *conn, const struct quic_cid *dcid) {
    struct crypto_secret client, server;
    if (!crypto_initial_secrets(handshake_version(conn), dcid->id, dcid->len, &client, &server))
        return false;
    quic_handshake_free_keys(conn, CRYPTO_INITIAL);
    bool is_client = conn->role == CRYPTO_CLIENT;
    return keys_install(conn, CRYPTO_INITIAL, is_client ? &server : &client, is_client ? &client : &server);
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
    quic_handshake_free_space(conn, space);
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

static bool on_secrets(void *user, enum crypto_level level, const struct crypto_secret *read, const struct crypto_secret *write) {
    struct quic_conn *conn = user;
    bool ok = level == CRYPTO_APPLICATION ? quic_keyphase_install(conn, read, write) && keys_install(conn, level, read, write)
                                          : keys_install(conn, level, read, write);
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
    conn->local_cids.limit = (uint8_t)(params->active_connection_id_limit < QUIC_CIDS ? params->active_connection_id_limit : QUIC_CIDS);
    quic_streams_set_peer(&conn->streams, params);
    if (params->has_reset_token) {
        quic_remote_cids_set_token(&conn->remote_cids, params->reset_token);
        quic_endpoint_sync_reset_tokens(conn->endpoint, conn);
    }
}

static bool on_transport_params(void *user, const uint8_t *data, size_t len) {
    struct quic_conn *conn = user;
    base_time now = conn->endpoint->now;
    const char *text = "malformed transport parameters";
    enum quic_error error = quic_params_parse(data, len, conn->role == CRYPTO_CLIENT ? CRYPTO_SERVER : CRYPTO_CLIENT,
                                              &conn->peer_params, &text);
    if (!error && (text = check_cids(conn, &conn->peer_params)))
        error = QUIC_TRANSPORT_PARAMETER_ERROR;
    if (error) {
        quic_conn_fail(conn, error, QUIC_FRAME_CRYPTO, text, now);
        return false;
    }
    conn->peer_params_known = true;
    params_apply(conn);
    return true;
}

/* A session to be stored by the application: the server's parameters for 0-RTT (RFC 9000 7.4.1) before the TLS session. */
static void on_session(void *user, const uint8_t *data, size_t len) {
    struct quic_conn *conn = user;
    struct base_mem *mem = conn->endpoint->mem;
    uint8_t params[512];
    size_t params_len = quic_params_write(&conn->peer_params, CRYPTO_SERVER, NULL, params, sizeof params);
    uint8_t *session = base_alloc(mem, 2 + params_len + len);
    if (!session)
        return; /* resuming is a luxury */
    base_store_uint(session, params_len, 2);
    memcpy(session + 2, params, params_len);
    memcpy(session + 2 + params_len, data, len);
    base_free(mem, conn->session, conn->session_len);
    conn->session = session;
    conn->session_len = 2 + params_len + len;
    base_event_raise(conn->endpoint->events, &conn->event, QUIC_CONN_EV_SESSION);
}

static void on_alert(void *user, uint8_t alert, const char *text) {
    struct quic_conn *conn = user;
    quic_conn_fail(conn, QUIC_CRYPTO_ERROR + alert, QUIC_FRAME_CRYPTO, text, conn->endpoint->now);
}

/* ---- opening ---- */

/* Version 1 needs what options say, plus the IDs this connection really uses. */
static size_t params_of(struct quic_conn *conn, uint8_t *out, size_t capacity) {
    const struct options *o = &conn->config->options;
    const struct quic_local_cid *first = &conn->local_cids.list[0];
    struct quic_params params;
    quic_params_init(&params);
    params.max_idle_timeout = o->max_idle_timeout / BASE_MS;
    params.max_udp_payload_size = o->max_udp_payload_size;
    params.initial_max_data = o->initial_max_data;
    params.initial_max_stream_data_bidi_local = o->initial_max_stream_data_bidi_local;
    params.initial_max_stream_data_bidi_remote = o->initial_max_stream_data_bidi_remote;
    params.initial_max_stream_data_uni = o->initial_max_stream_data_uni;
    params.initial_max_streams_bidi = o->initial_max_streams_bidi;
    params.initial_max_streams_uni = o->initial_max_streams_uni;
    params.ack_delay_exponent = o->ack_delay_exponent;
    params.max_ack_delay = o->max_ack_delay / BASE_MS;
    params.active_connection_id_limit = o->active_connection_id_limit;
    params.disable_active_migration = o->disable_active_migration;
    params.has_initial_scid = true;
    params.initial_scid = first->cid;
    if (conn->role == CRYPTO_SERVER) {
        params.has_original_dcid = true;
        params.original_dcid = conn->original_dcid;
        params.has_retry_scid = conn->retried;
        params.retry_scid = conn->retry_scid;
        params.has_reset_token = true;
        crypto_reset_token(conn->endpoint->fleet, 0, first->cid.id, first->cid.len, params.reset_token);
    }
    return quic_params_write(&params, (enum crypto_role)conn->role, o->grease ? &conn->endpoint->random : NULL, out, capacity);
}

/* Splits a stored session into what the server told then and what TLS needs; false when it is not one of ours. */
static bool session_split(const uint8_t *session, size_t len, struct quic_params *params, const uint8_t **tls, size_t *tls_len) {
    struct base_reader in = base_reader_of(session, len);
    size_t params_len = base_read_u16(&in);
    const uint8_t *bytes = base_read_bytes(&in, params_len);
    const char *text;
    if (in.bad || quic_params_parse(bytes, params_len, CRYPTO_SERVER, params, &text))
        return false;
    *tls = in.pos;
    *tls_len = base_reader_left(&in);
    return true;
}

bool quic_handshake_open(struct quic_conn *conn, const char *server_name, const uint8_t *session, size_t session_len,
                         struct crypto_error *why) {
    static const struct crypto_tls_callbacks callbacks = {on_send, on_secrets, on_transport_params, on_session, on_alert};
    uint8_t params[512];
    struct quic_params remembered;
    struct crypto_tls_open open = {
        .role = (enum crypto_role)conn->role,
        .config = conn->config->tls,
        .callbacks = &callbacks,
        .user = conn,
        .server_name = server_name,
        .params = params,
        .params_len = params_of(conn, params, sizeof params),
        .quic_v2 = conn->version == QUIC_VERSION_2,
    };
    if (session && session_split(session, session_len, &remembered, &open.session, &open.session_len))
        open.early_data = conn->config->options.early_data;
    conn->tls = crypto_tls_new(conn->endpoint->mem, &open, why);
    if (!conn->tls)
        return false;
    if (open.early_data)
        quic_streams_set_peer(&conn->streams, &remembered);
    if (conn->role == CRYPTO_SERVER)
        return true;
    conn->in_tls = true;
    bool ok = crypto_tls_start(conn->tls) == CRYPTO_OK;
    conn->in_tls = false;
    return ok;
}

/* ---- progress ---- */

static enum crypto_level crypto_level_of(enum quic_space space) {
    static const enum crypto_level levels[QUIC_SPACES] = {CRYPTO_INITIAL, CRYPTO_HANDSHAKE, CRYPTO_APPLICATION};
    return levels[space];
}

int quic_handshake_crypto(struct quic_conn *conn, enum quic_space space, const struct quic_frame *frame, struct base_buf *buf) {
    struct quic_crypto_stream *stream = quic_handshake_stream(conn, space);
    if (!stream)
        return QUIC_RX_DROP;
    uint64_t end = frame->u.crypto.offset + frame->u.crypto.len;
    if (end > stream->recv.taken + CRYPTO_BUFFER_LIMIT)
        return QUIC_CRYPTO_BUFFER_EXCEEDED;
    return quic_stream_recv_insert(&stream->recv, conn->endpoint->mem, buf, frame->u.crypto.offset, frame->u.crypto.data,
                                   (size_t)frame->u.crypto.len, false) == QUIC_RECV_OK
               ? 0
               : QUIC_RX_DROP;
}

void quic_handshake_input(struct quic_conn *conn, enum quic_space space, base_time now) {
    struct quic_crypto_stream *stream = conn->crypto[space];
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
    conn->early_data = (uint8_t)crypto_tls_early(conn->tls);
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
    quic_conn_set_timer(conn, QUIC_TIMER_HANDSHAKE, BASE_NEVER);
    if (!keep_identity(conn)) {
        quic_conn_fail(conn, QUIC_INTERNAL_ERROR, 0, "out of memory", now);
        return;
    }
    if (conn->early_data == CRYPTO_EARLY_REJECTED)
        quic_recovery_on_early_rejected(&conn->recovery);
    if (conn->role == CRYPTO_CLIENT)
        quic_handshake_free_keys(conn, CRYPTO_EARLY); /* RFC 9001 4.9.3 */
    base_event_raise(conn->endpoint->events, &conn->event, QUIC_CONN_EV_CONNECTED);
    if (conn->role == CRYPTO_SERVER) {
        conn->in_tls = true;
        for (uint64_t i = 0; i < conn->config->options.session_tickets; i++)
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
    base_event_raise(conn->endpoint->events, &conn->event, QUIC_CONN_EV_CONFIRMED);
    quic_conn_mark_dirty(conn);
}

/* Tickets are out and identity is kept: 12 KB less. Not earlier, for the application may export keys when it hears that it
 * is connected. */
void quic_handshake_settle(struct quic_conn *conn) {
    if (!conn->tls_done || !conn->tls)
        return;
    crypto_tls_free(conn->tls);
    conn->tls = NULL;
}

void quic_handshake_expire(struct quic_conn *conn) {
    if (!conn->handshake_confirmed || conn->role != CRYPTO_SERVER)
        return;
    quic_handshake_free_keys(conn, CRYPTO_EARLY); /* RFC 9001 4.9.3 */
    quic_endpoint_remove_initial_cid(conn->endpoint, &conn->initial_dcid);
}
