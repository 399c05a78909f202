/* stall.c - the clocks that follow what applications get done (stall.h).
 *
 * Knows how much waits and how much has moved. Does not know why: a peer that is slow and one that is evil look the
 * same, and STALL_LEAST bytes in half the time are enough for either.
 *
 * The invariant that matters: what waits is looked up, not kept: a walk over the open streams, twice in stall_timeout.
 */
#include "quic/stall.h"

#include <string.h>

#include "quic/walk.h"

#define STALL_LEAST 1024u /* bytes in half the time; or all that waited, if that was less */

static uint64_t stall_waiting(const struct quic_streams *set) {
    uint64_t bytes = 0;
    for (const struct base_node *n = base_list_first(&set->all); n; n = base_list_next(&set->all, n)) {
        const struct quic_stream *s = BASE_CONTAINER(n, struct quic_stream, all);
        bytes += s->send.buffered;
        if (s->recv.gaps && !s->recv.discarding)
            bytes += s->recv.highest - s->recv.ready;
    }
    return bytes;
}

static uint64_t stall_progress(const struct quic_conn *conn) {
    return conn->streams.moved + conn->stats.datagram_frames_received + conn->stats.datagram_frames_sent +
           conn->stats.streams_opened_remote + conn->stats.streams_opened_local;
}

static base_time stall_next(base_time now, uint64_t timeout) {
    return base_time_add(now, timeout / 2 ? timeout / 2 : 1);
}

void quic_stall_arm(struct quic_conn *conn, base_time now) {
    const struct options *options = &conn->config->options;
    if (conn->streams.waits) {
        conn->streams.waits = false;
        if (options->stall_timeout && conn->deadlines[QUIC_TIMER_STALL] == BASE_NEVER) {
            conn->stall.waiting = 0;
            quic_conn_set_timer(conn, QUIC_TIMER_STALL, stall_next(now, options->stall_timeout));
        }
    }
    if (options->progress_timeout && conn->handshake_complete && conn->deadlines[QUIC_TIMER_PROGRESS] == BASE_NEVER)
        quic_conn_set_timer(conn, QUIC_TIMER_PROGRESS, stall_next(now, options->progress_timeout));
}

void quic_stall_rest(struct quic_conn *conn) {
    if (!stall_waiting(&conn->streams))
        quic_conn_set_timer(conn, QUIC_TIMER_STALL, BASE_NEVER);
}

static void stall_close(struct quic_conn *conn, const char *text, base_time now) {
    struct quic_close close = {.cause = QUIC_CAUSE_IDLE, .code = QUIC_NO_ERROR, .reason_len = (uint8_t)strlen(text)};
    memcpy(close.reason, text, close.reason_len);
    conn->endpoint->stats.connections_stalled++;
    quic_close_begin(conn, &close, now);
}

void quic_stall_on_timeout(struct quic_conn *conn, base_time now) {
    struct quic_stall *stall = &conn->stall;
    uint64_t waiting = stall_waiting(&conn->streams), moved = conn->streams.moved - stall->moved;
    uint64_t enough = stall->waiting < STALL_LEAST ? stall->waiting : STALL_LEAST;
    if (waiting && enough && moved < enough) {
        stall_close(conn, "what waits for the peer does not move", now);
        return;
    }
    stall->waiting = waiting;
    stall->moved = conn->streams.moved;
    if (waiting)
        quic_conn_set_timer(conn, QUIC_TIMER_STALL, stall_next(now, conn->config->options.stall_timeout));
}

void quic_stall_on_progress_timeout(struct quic_conn *conn, base_time now) {
    struct quic_stall *stall = &conn->stall;
    uint64_t progress = stall_progress(conn);
    stall->quiet = progress == stall->progress ? (uint8_t)(stall->quiet + 1) : 0;
    stall->progress = progress;
    if (stall->quiet >= 2)
        stall_close(conn, "nothing has moved for too long", now);
    /* else it is armed again with the others */
}
