/* mtu.c - see mtu.h. The search is a bisection between what passes and what does not; the first guess is the target
 * itself, because on most paths it is right (RFC 8899 section 5.3).
 *
 * Whether a size that did pass still passes is seen from what is lost (RFC 8899 section 4.3): large packets that are
 * declared lost, newer than the last one acknowledged, three times, a round trip apart. Losses are found by
 * acknowledgements of later packets, and those were smaller, or they would have set the count back. A burst of losses
 * is one strike; the second probe of each time-out is small, so that there is something to acknowledge even if the
 * application sends nothing but large packets. Three time-outs without any answer count as a black hole too: it costs
 * little to be wrong.
 *
 * When the search ends below the target it begins again after ten minutes (5.1.1) - when there is something to send
 * then: it never wakes an idle connection.
 *
 * Invariant: at most one probe is in flight.
 */
#include "quic/mtu.h"

#include "quic/walk.h"

#define MTU_STEP 16u      /* a gain below this is not worth a probe */
#define MTU_UNKNOWN 1452u /* Ethernet's, with IPv6 */
#define MTU_STRIKES 3u
#define MTU_BLACK_HOLE_PTOS 3u
#define MTU_RAISE (600 * BASE_SEC) /* PMTU_RAISE_TIMER */

static void mtu_apply(struct quic_conn *conn, uint32_t size) {
    struct quic_path *path = quic_path_active(conn);
    path->mtu = size;
    path->control.cc.mtu = size;
    path->control.cc.ops->on_mtu(&path->control.cc, size);
}

/* The next size to try between what passes and what is known to fail. */
static void mtu_choose(struct quic_conn *conn) {
    struct quic_mtu *mtu = &conn->mtu;
    uint32_t passes = quic_path_active(conn)->mtu;
    mtu->tries = 0;
    mtu->probing = 0;
    mtu->in_flight = false;
    if (!mtu->failed)
        mtu->probing = mtu->target > passes ? mtu->target : 0;
    else if (mtu->failed > passes + MTU_STEP)
        mtu->probing = passes + (mtu->failed - passes) / 2;
    bool ended_low = !mtu->probing && mtu->target > passes + MTU_STEP;
    mtu->raise_at = ended_low ? base_time_add(conn->endpoint->now, MTU_RAISE) : BASE_NEVER;
    if (mtu->probing)
        quic_conn_mark_dirty(conn);
}

static uint32_t mtu_target(struct quic_conn *conn) {
    const struct quic_path *path = quic_path_active(conn);
    uint64_t target = conn->config->options.send_udp_payload_size;
    if (!target && path->socket->ops && path->socket->ops->payload_size)
        target = path->socket->ops->payload_size(path->socket, &path->remote);
    if (!target)
        target = MTU_UNKNOWN;
    if (conn->peer_params_known && conn->peer_params.max_udp_payload_size < target)
        target = conn->peer_params.max_udp_payload_size;
    return target < QUIC_MIN_INITIAL ? QUIC_MIN_INITIAL : target > QUIC_MTU_MOST ? QUIC_MTU_MOST : (uint32_t)target;
}

void quic_mtu_start(struct quic_conn *conn) {
    conn->mtu = (struct quic_mtu){.target = mtu_target(conn)};
    if (quic_path_active(conn)->mtu > conn->mtu.target)
        mtu_apply(conn, conn->mtu.target);
    mtu_choose(conn);
}

uint32_t quic_mtu_wanted(struct quic_conn *conn, base_time now) {
    struct quic_mtu *mtu = &conn->mtu;
    if (!mtu->probing && now >= mtu->raise_at) {
        mtu->failed = 0;
        mtu_choose(conn);
    }
    return mtu->in_flight ? 0 : mtu->probing;
}

void quic_mtu_on_sent(struct quic_conn *conn, uint64_t number) {
    conn->mtu.in_flight = true;
    conn->mtu.probe = number;
}

/* Large datagrams do not pass any more. `failed`: a size known for that, 0 = it is a guess. */
static void mtu_fall(struct quic_conn *conn, uint32_t failed) {
    struct quic_mtu *mtu = &conn->mtu;
    mtu_apply(conn, QUIC_MIN_INITIAL);
    conn->stats.mtu_black_holes++;
    quic_path_active(conn)->control.stats.mtu_black_holes++;
    mtu->failed = failed;
    mtu->strikes = 0;
    mtu_choose(conn);
}

static void mtu_on_probe(struct quic_conn *conn, uint64_t number, const struct quic_sent_packet *packet, bool acked) {
    struct quic_mtu *mtu = &conn->mtu;
    uint32_t size = packet->bytes;
    if (acked && size > quic_path_active(conn)->mtu && size <= mtu->target) {
        mtu_apply(conn, size);
        if (mtu->failed && mtu->failed <= size)
            mtu->failed = 0; /* it was late, not lost */
        mtu_choose(conn);
        return;
    }
    if (!mtu->in_flight || number != mtu->probe)
        return;
    mtu->in_flight = false;
    if (++mtu->tries >= QUIC_MTU_TRIES) {
        mtu->failed = size;
        mtu_choose(conn);
    } else {
        quic_conn_mark_dirty(conn);
    }
}

void quic_mtu_on_packet(struct quic_conn *conn, uint64_t number, const struct quic_sent_packet *packet, bool acked) {
    struct quic_mtu *mtu = &conn->mtu;
    struct quic_path *path = quic_path_active(conn);
    base_time now = conn->endpoint->now;
    if (packet->path != conn->recovery.active || packet->era != conn->recovery.eras[packet->path])
        return;
    if (packet->mtu_probe) {
        mtu_on_probe(conn, number, packet, acked);
    } else if (packet->bytes > QUIC_MIN_INITIAL && acked) {
        mtu->strikes = 0;
        if (number >= mtu->large_passed)
            mtu->large_passed = number + 1;
    } else if (packet->bytes > QUIC_MIN_INITIAL && path->mtu > QUIC_MIN_INITIAL && number >= mtu->large_passed &&
               (!mtu->strikes || now >= base_time_add(mtu->struck_at, path->control.rtt.smoothed))) {
        mtu->struck_at = now;
        if (++mtu->strikes >= MTU_STRIKES)
            mtu_fall(conn, path->mtu);
    }
}

void quic_mtu_on_timeout(struct quic_conn *conn) {
    if (conn->recovery.pto_count >= MTU_BLACK_HOLE_PTOS && quic_path_active(conn)->mtu > QUIC_MIN_INITIAL)
        mtu_fall(conn, 0);
}

bool quic_mtu_wants_small(const struct quic_conn *conn) {
    return conn->recovery.pto_count > 0 && conn->recovery.probes[QUIC_APPLICATION] == 1;
}
