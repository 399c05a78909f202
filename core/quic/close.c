/* close.c - the end of a connection as RFC 9000 section 10 has it: a state, not an event.
 *
 * closing: we have said CONNECTION_CLOSE, at every level the peer may be able to read (10.2.3), keep that datagram, and
 * answer what still arrives with it - the 1st, 2nd, 4th, 8th ... datagram, so that two closing sides never feed each
 * other. draining: the peer has closed; we are silent. Both last 3 PTO and a little, in which late packets find a
 * connection that knows what to do with them.
 *
 * The application learns once, with the cause that came first. The machines (TLS, recovery, keys) go as soon as nothing
 * needs them: at once when draining, after the CONNECTION_CLOSE has been written when closing - never while a caller
 * further up the stack still uses them.
 *
 * Invariant: conn->close never changes after it was set.
 */
#include "quic/walk.h"

#define CLOSING_COST 8192u /* of a closed connection, at most */
/* Closed connections go in rounds of 17 ms: 10.2 says how long at least, and a server whose peers come and go would
 * wake once for each of them. */
#define CLOSING_ROUND ((base_time)1 << 24)

/* So many closed ones are kept; beyond, the oldest is over at once. What comes for it later gets a stateless reset. */
static void close_join(struct quic_conn *conn, base_time now) {
    struct quic_endpoint *endpoint = conn->endpoint;
    if (base_node_linked(&conn->closing))
        return;
    uint64_t most = conn->config->options.max_closing, memory = endpoint->mem->limit / 16 / CLOSING_COST;
    if (endpoint->mem->limit && memory < most)
        most = memory ? memory : 1;
    base_list_push_back(&endpoint->closing, &conn->closing);
    if (++endpoint->closing_count <= most)
        return;
    struct quic_conn *oldest = BASE_CONTAINER(base_list_first(&endpoint->closing), struct quic_conn, closing);
    quic_close_leave(oldest);
    endpoint->stats.closings_cut++;
    quic_conn_set_timer(oldest, QUIC_TIMER_CLOSE, now);
    quic_conn_update_timers(oldest, now);
}

void quic_close_leave(struct quic_conn *conn) {
    if (!base_node_linked(&conn->closing))
        return;
    base_list_remove(&conn->closing);
    conn->endpoint->closing_count--;
}

/* The end of the round that `when` falls into. */
static base_time closing_end(base_time when) { return (when | (CLOSING_ROUND - 1)) + 1; }

static bool close_record(struct quic_conn *conn, const struct quic_close *close, enum quic_conn_state state,
                         base_time now) {
    if (conn->state >= QUIC_CONN_CLOSING)
        return false;
    base_time period = quic_conn_three_pto(conn);
    conn->close = *close;
    conn->state = (uint8_t)state;
    if (conn->qlog)
        quic_qlog_closed(conn);
    for (unsigned i = 0; i < QUIC_TIMERS; i++)
        conn->deadlines[i] = BASE_NEVER;
    quic_conn_set_timer(conn, QUIC_TIMER_CLOSE, closing_end(now + period));
    quic_gate_leave(conn);
    if (state == QUIC_CONN_DRAINING) /* closing: when it has been said */
        close_join(conn, now);
    quic_streams_close(&conn->streams);
    if (conn->datagrams)
        quic_datagrams_close(conn->datagrams);
    if (!conn->detached)
        base_event_raise(conn->endpoint->events, &conn->closed_event, QUIC_CONN_EV_CLOSED);
    quic_conn_mark_dirty(conn);
    quic_conn_update_timers(conn, now);
    return true;
}

void quic_close_begin(struct quic_conn *conn, const struct quic_close *close, base_time now) {
    if (close_record(conn, close, QUIC_CONN_CLOSING, now))
        conn->close_wanted = true;
}

void quic_close_drain(struct quic_conn *conn, const struct quic_close *close, base_time now) {
    close_record(conn, close, QUIC_CONN_DRAINING, now);
}

void quic_close_silent(struct quic_conn *conn, const struct quic_close *close, base_time now) {
    if (close_record(conn, close, QUIC_CONN_DRAINING, now))
        quic_conn_set_timer(conn, QUIC_TIMER_CLOSE, now); /* 10.1: state is thrown away at once */
    quic_conn_update_timers(conn, now);
}

void quic_close_on_datagram(struct quic_conn *conn, base_time now) {
    (void)now;
    if (conn->state != QUIC_CONN_CLOSING || !conn->close_packet)
        return;
    conn->close_received++;
    if (conn->close_received < conn->close_answer_at)
        return;
    conn->close_answer_at = conn->close_answer_at ? 2 * conn->close_answer_at : 1;
    conn->close_wanted = true;
    quic_conn_mark_dirty(conn);
}

/* Levels to speak at (10.2.3): until the handshake is confirmed the peer may lack the newest keys. */
static bool close_speaks_at(const struct quic_conn *conn, enum crypto_level level) {
    if (!conn->keys[level].tx || level == CRYPTO_EARLY)
        return false;
    if (conn->handshake_confirmed)
        return level == CRYPTO_APPLICATION;
    /* a client that has Handshake keys knows that the server has them too */
    return !(level == CRYPTO_INITIAL && conn->role == CRYPTO_CLIENT && conn->keys[CRYPTO_HANDSHAKE].tx &&
             conn->handshake_complete);
}

/* One CONNECTION_CLOSE. What the application said is hidden until it can be read by the peer's application only
 * (10.2.3). */
bool quic_close_fill(struct quic_tx *tx) {
    const struct quic_close *close = &tx->conn->close;
    if (close->app && tx->level != CRYPTO_APPLICATION)
        quic_frame_write_close(&tx->out, false, QUIC_APPLICATION_ERROR, 0, NULL, 0);
    else
        quic_frame_write_close(&tx->out, close->app, close->code, close->frame_type, close->reason, close->reason_len);
    return !tx->out.bad;
}

/* Keeps the datagram for answers; without memory there are none, which 10.2.1 allows. */
static void close_keep(struct quic_conn *conn, const struct quic_train *train) {
    conn->close_packet = base_alloc(conn->endpoint->mem, train->len);
    if (!conn->close_packet)
        return;
    memcpy(conn->close_packet, train->data, train->len);
    conn->close_packet_len = (uint16_t)train->len;
    conn->close_answer_at = 1;
}

static bool close_first(struct quic_conn *conn, struct quic_train *train, base_time now) {
    unsigned levels = 0;
    for (unsigned level = 0; level < CRYPTO_LEVELS; level++)
        if (close_speaks_at(conn, (enum crypto_level)level))
            levels |= 1u << level;
    bool written = levels && quic_keyphase_unpack(conn) && quic_tx_close_datagram(conn, train, levels, now);
    if (written)
        close_keep(conn, train);
    close_join(conn, now);
    quic_conn_free_machines(conn);
    return written;
}

bool quic_close_tx(struct quic_conn *conn, struct quic_train *train, base_time now) {
    bool wanted = conn->close_wanted;
    conn->close_wanted = false;
    if (conn->state == QUIC_CONN_DRAINING) {
        quic_conn_free_machines(conn);
        return false;
    }
    if (!wanted)
        return false;
    if (!conn->machines_freed)
        return close_first(conn, train, now);
    if (!conn->close_packet)
        return false;
    struct quic_path *path = quic_path_active(conn);
    if (quic_path_allowance(path) < conn->close_packet_len)
        return false;
    memcpy(train->data, conn->close_packet, conn->close_packet_len);
    quic_tx_address(path, train, conn->close_packet_len);
    quic_path_on_datagram_sent(path, conn->close_packet_len);
    conn->stats.datagrams_sent++;
    conn->stats.bytes_sent += conn->close_packet_len;
    return true;
}
