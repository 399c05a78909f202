/* early.c - 0-RTT: what a client remembers and relies on, what a server promises (RFC 9001 section 4.6, RFC 9000
 * 7.4.1).
 *
 * A stored session is the version it was made in, the server's limits of that day, and the session of TLS. A client
 * that resumes and whose TLS offers early data sends under those limits at once. When the server has decided there are
 * two ways on: accepted, its new limits must not be lower; rejected, nothing that was sent has arrived, and all of it
 * goes out again under the limits the server really has.
 *
 * A server binds its tickets to version and limits: a ticket from other ones does not open, so early data never meets
 * limits its sender did not know.
 *
 * Among the limits stands, as a parameter that is never sent, what the path was found to carry (resume_conn.c); a
 * session is made anew when that changes.
 *
 * RESET_STREAM_AT is remembered like a limit: a server that accepts early data may not take the extension back
 * (draft-ietf-quic-reliable-stream-reset section 3).
 *
 * Invariant: conn->remembered is held exactly while early data is PENDING.
 */
#include <assert.h>

#include "quic/resume_conn.h"
#include "quic/walk.h"

/* The limits that early data relies on: RFC 9000 7.4.1, RFC 9221 section 3. */
static const size_t early_limits[] = {
    offsetof(struct quic_params, active_connection_id_limit),
    offsetof(struct quic_params, initial_max_data),
    offsetof(struct quic_params, initial_max_stream_data_bidi_local),
    offsetof(struct quic_params, initial_max_stream_data_bidi_remote),
    offsetof(struct quic_params, initial_max_stream_data_uni),
    offsetof(struct quic_params, initial_max_streams_bidi),
    offsetof(struct quic_params, initial_max_streams_uni),
    offsetof(struct quic_params, max_datagram_frame_size),
};
#define EARLY_LIMITS (sizeof early_limits / sizeof *early_limits)

static uint64_t *limit_of(struct quic_params *params, unsigned i) {
    return (uint64_t *)(void *)((uint8_t *)params + early_limits[i]);
}

/* ---- server ---- */

bool quic_early_bind(struct quic_conn *conn, const struct quic_params *own) {
    uint8_t context[4 + 8 * EARLY_LIMITS + 1];
    struct base_writer out = base_writer_of(context, sizeof context);
    struct quic_params params = *own;
    base_write_u32(&out, conn->version);
    for (unsigned i = 0; i < EARLY_LIMITS; i++)
        base_write_uint(&out, *limit_of(&params, i), 8);
    base_write_u8(&out, params.reset_stream_at);
    return crypto_tls_set_early_context(conn->tls, context, sizeof context);
}

/* ---- client: sessions ---- */

#define SESSION_HEAD 6u /* version, length of the parameters */

void quic_early_on_session(struct quic_conn *conn, const uint8_t *tls, size_t len) {
    struct base_mem *mem = conn->endpoint->mem;
    uint8_t bytes[256 + QUIC_RESUME_SESSION_MAX];
    struct quic_params kept; /* nothing of it belongs to this connection alone */
    quic_params_init(&kept);
    for (unsigned i = 0; i < EARLY_LIMITS; i++)
        *limit_of(&kept, i) = *limit_of(&conn->peer_params, i);
    kept.reset_stream_at = conn->peer_params.reset_stream_at;
    size_t params_len = quic_params_write(&kept, CRYPTO_SERVER, NULL, bytes, sizeof bytes);
    struct base_writer more = base_writer_of(bytes + params_len, sizeof bytes - params_len);
    quic_resume_write_session(conn, &more);
    params_len += (size_t)(more.pos - (bytes + params_len));
    uint8_t *session = base_alloc(mem, SESSION_HEAD + params_len + len);
    if (!session)
        return; /* resuming is a luxury */
    base_store_uint(session, conn->version, 4);
    base_store_uint(session + 4, params_len, 2);
    memcpy(session + SESSION_HEAD, bytes, params_len);
    memcpy(session + SESSION_HEAD + params_len, tls, len);
    base_free(mem, conn->session, conn->session_len);
    conn->session = session;
    conn->session_len = SESSION_HEAD + params_len + len;
    base_event_raise(conn->endpoint->events, &conn->event, QUIC_CONN_EV_SESSION);
}

void quic_early_refresh(struct quic_conn *conn) {
    if (!conn->session)
        return; /* it comes later, if at all */
    size_t head = SESSION_HEAD + (size_t)base_load_u16(conn->session + 4);
    quic_early_on_session(conn, conn->session + head, conn->session_len - head);
}

/* Splits a stored session; false when it is not one of ours, or of another version. */
static bool session_split(struct quic_conn *conn, const uint8_t *session, size_t len, struct quic_params *params,
                          const uint8_t **tls, size_t *tls_len) {
    struct base_reader in = base_reader_of(session, len);
    uint32_t version = base_read_u32(&in);
    size_t params_len = base_read_u16(&in);
    const uint8_t *bytes = base_read_bytes(&in, params_len);
    const char *text;
    if (in.bad || version != conn->version || quic_params_parse(bytes, params_len, CRYPTO_SERVER, params, &text))
        return false;
    *tls = in.pos;
    *tls_len = base_reader_left(&in);
    quic_resume_read_session(conn, bytes, params_len, conn->endpoint->now);
    return true;
}

void quic_early_resume(struct quic_conn *conn, const uint8_t *session, size_t len, struct crypto_tls_open *open) {
    struct quic_params params;
    if (!session_split(conn, session, len, &params, &open->session, &open->session_len) ||
        !conn->config->options.early_data)
        return;
    conn->remembered = BASE_NEW(conn->endpoint->mem, struct quic_params);
    if (!conn->remembered)
        return;
    *conn->remembered = params;
    open->early_data = true;
}

/* ---- client: sending, and what comes of it ---- */

static void early_forget(struct quic_conn *conn) {
    if (conn->remembered)
        BASE_DELETE(conn->endpoint->mem, conn->remembered);
    conn->remembered = NULL;
}

void quic_early_begin(struct quic_conn *conn) {
    if (!conn->remembered)
        return;
    if (crypto_tls_early(conn->tls) != CRYPTO_EARLY_PENDING) {
        early_forget(conn);
        return;
    }
    conn->early_data = CRYPTO_EARLY_PENDING;
    quic_streams_set_peer(&conn->streams, conn->remembered);
    if (conn->qlog)
        quic_qlog_params_restored(conn, conn->remembered);
}

static bool is_lowered(struct quic_params *remembered, struct quic_params *now) {
    for (unsigned i = 0; i < EARLY_LIMITS; i++)
        if (*limit_of(now, i) < *limit_of(remembered, i))
            return true;
    return remembered->reset_stream_at && !now->reset_stream_at;
}

void quic_early_abandon(struct quic_conn *conn) {
    if (conn->early_data != CRYPTO_EARLY_PENDING)
        return;
    conn->early_data = CRYPTO_EARLY_REJECTED;
    early_forget(conn);
    quic_handshake_free_keys(conn, CRYPTO_EARLY);
    quic_recovery_on_early_rejected(&conn->recovery);
    quic_streams_rewind(&conn->streams);
}

void quic_early_decide(struct quic_conn *conn, base_time now) {
    if (conn->early_data != CRYPTO_EARLY_PENDING || crypto_tls_early(conn->tls) == CRYPTO_EARLY_PENDING)
        return;
    if (crypto_tls_early(conn->tls) == CRYPTO_EARLY_ACCEPTED) {
        conn->early_data = CRYPTO_EARLY_ACCEPTED;
        bool lowered = is_lowered(conn->remembered, &conn->peer_params);
        early_forget(conn);
        if (lowered) {
            quic_conn_fail(conn, QUIC_PROTOCOL_VIOLATION, QUIC_FRAME_CRYPTO,
                           "limits lowered though early data was accepted", now);
            return;
        }
    } else {
        quic_early_abandon(conn);
    }
    if (conn->peer_params_known) /* not yet, after a HelloRetryRequest */
        quic_streams_set_peer(&conn->streams, &conn->peer_params);
}

void quic_early_clear(struct quic_conn *conn) { early_forget(conn); }
