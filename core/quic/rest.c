/* rest.c - see rest.h.
 *
 * Knows which memory is kept for speed alone, and what may be left asleep when a packet comes or goes. Does not know
 * how packets are opened and written (rx_packet.c, tx_packet.c): they ask here whether they have to unpack the keys
 * first.
 *
 * What a datagram holds is known only after it was opened, so quic_rest_hears_now goes by number, and rx_packet.c wakes
 * the connection when the frames say more than that the peer is there. That a packet came to a connection at rest shows
 * in the time it takes; what its Key Phase bit says does not, as either key is expanded for it (RFC 9001 9.5).
 *
 * The invariant that matters: what wakes a connection by mistake costs time, what leaves it at rest by mistake nothing
 * but speed: packed keys do all that expanded ones do.
 */
#include "quic/rest.h"

#include "quic/walk.h"

/* Nothing is in flight: nothing can prove spurious. */
static void rest_give_back_log(struct quic_conn *conn, enum quic_space space) {
    quic_sent_trim(&conn->recovery.spaces[space], BASE_NEVER);
    quic_sent_shrink(&conn->recovery.spaces[space], conn->endpoint->mem);
}

/* No more than time-outs are left to happen. */
static bool rest_is_quiet(const struct quic_conn *conn) {
    const base_time *deadlines = conn->deadlines;
    return deadlines[QUIC_TIMER_RECOVERY] == BASE_NEVER && deadlines[QUIC_TIMER_ACK] == BASE_NEVER &&
           deadlines[QUIC_TIMER_PACING] == BASE_NEVER && deadlines[QUIC_TIMER_PATH] == BASE_NEVER &&
           conn->handshake_confirmed;
}

/* The log of sent packets has memory whenever anything has. */
void quic_rest_arm(struct quic_conn *conn, base_time now) {
    if (!rest_is_quiet(conn)) {
        conn->deadlines[QUIC_TIMER_SHRINK] = BASE_NEVER;
    } else if (conn->keys_packed) {
        conn->deadlines[QUIC_TIMER_SHRINK] = BASE_NEVER;
        if (quic_sent_holds_memory(&conn->recovery.spaces[QUIC_APPLICATION])) /* a PING has come to its end */
            rest_give_back_log(conn, QUIC_APPLICATION);
    } else if (conn->deadlines[QUIC_TIMER_SHRINK] == BASE_NEVER) {
        conn->deadlines[QUIC_TIMER_SHRINK] = base_time_add(now, QUIC_REST_AFTER);
    }
}

void quic_rest_begin(struct quic_conn *conn) {
    for (unsigned i = 0; i < QUIC_SPACES; i++) {
        rest_give_back_log(conn, (enum quic_space)i);
        base_ranges_shrink(&conn->acks[i].received, conn->endpoint->mem);
    }
    quic_streams_trim(&conn->streams);
    quic_path_shrink(conn);
    quic_keyphase_pack(conn);
    if (conn->qlog)
        quic_qlog_flush(conn);
    quic_stall_rest(conn);
}

/* One packet more: are they still few? */
static bool rest_counts(struct quic_rest *rest, base_time now) {
    if (now - rest->since >= QUIC_REST_AFTER)
        *rest = (struct quic_rest){.since = now};
    if (rest->packets == QUIC_REST_PACKETS)
        return false;
    rest->packets++;
    return true;
}

bool quic_rest_hears_now(struct quic_conn *conn, size_t datagrams, base_time now) {
    return datagrams == 1 && rest_counts(&conn->rest, now);
}

/* Something for which the connection has to wake. A probe time-out is no matter of one PING any more. */
static bool rest_is_over(struct quic_conn *conn, base_time now) {
    if (conn->recovery.probes[QUIC_APPLICATION] || quic_tx_has_news(conn) || quic_mtu_wanted(conn, now))
        return true;
    for (unsigned i = 0; i < QUIC_PATHS; i++) {
        const struct quic_path *path = quic_path_at(conn, i);
        if (path && (path->challenge_wanted || path->response_count))
            return true;
    }
    return false;
}

bool quic_rest_speaks_now(struct quic_conn *conn, base_time now) {
    if (rest_is_over(conn, now))
        return false;
    bool silent = !conn->ping_wanted && !quic_ack_wanted(&conn->acks[QUIC_APPLICATION], now, false);
    return silent || rest_counts(&conn->rest, now);
}
