/* mtu.c - see mtu.h. The search is a bisection between what passes and what does not; the first guess is the target itself, because on most
 * paths it is right. RFC 8899 section 5.3.
 *
 * Invariant: at most one probe is in flight.
 */
#include "quic/mtu.h"

#include "quic/walk.h"

#define MTU_STEP 16u                 /* a gain below this is not worth a probe */
#define MTU_BLACK_HOLE_PTOS 3u       /* RFC 8899 5.3.3: consecutive losses that mean "not passing any more" */
#define MTU_RETRY (60 * BASE_SEC)    /* RFC 8899 5.1.1 suggests 600 s; black holes after reroutes heal sooner */

static void mtu_apply(struct quic_conn *conn, uint32_t size) {
    struct quic_path *path = quic_path_active(conn);
    path->mtu = size;
    path->control.cc.mtu = size;
    if (path->control.cc.ops->on_mtu)
        path->control.cc.ops->on_mtu(&path->control.cc, size);
}

/* The next size to try between what passes and what is known to fail. */
static void mtu_choose(struct quic_conn *conn) {
    struct quic_mtu *mtu = &conn->mtu;
    uint32_t passes = quic_path_active(conn)->mtu;
    mtu->tries = 0;
    mtu->probing = 0;
    if (!mtu->failed)
        mtu->probing = mtu->target > passes ? mtu->target : 0;
    else if (mtu->failed - passes > MTU_STEP)
        mtu->probing = passes + (mtu->failed - passes) / 2;
}

void quic_mtu_start(struct quic_conn *conn) {
    uint64_t target = conn->config->options.send_udp_payload_size;
    if (conn->peer_params_known && conn->peer_params.max_udp_payload_size < target)
        target = conn->peer_params.max_udp_payload_size;
    conn->mtu = (struct quic_mtu){.target = (uint32_t)target};
    mtu_choose(conn);
    if (conn->mtu.probing)
        quic_conn_mark_dirty(conn);
}

uint32_t quic_mtu_wanted(const struct quic_conn *conn, base_time now) {
    const struct quic_mtu *mtu = &conn->mtu;
    return mtu->in_flight || now < mtu->retry_at ? 0 : mtu->probing;
}

void quic_mtu_on_sent(struct quic_conn *conn) { conn->mtu.in_flight = true; }

void quic_mtu_on_fate(struct quic_conn *conn, uint32_t size, bool acked) {
    struct quic_mtu *mtu = &conn->mtu;
    if (size != mtu->probing)
        return;
    mtu->in_flight = false;
    if (acked) {
        mtu_apply(conn, size);
        mtu_choose(conn);
    } else if (++mtu->tries >= QUIC_MTU_TRIES) {
        mtu->failed = size;
        mtu_choose(conn);
    }
    if (mtu->probing)
        quic_conn_mark_dirty(conn);
}

void quic_mtu_on_timeout(struct quic_conn *conn) {
    struct quic_mtu *mtu = &conn->mtu;
    if (conn->recovery.pto_count < MTU_BLACK_HOLE_PTOS || quic_path_active(conn)->mtu <= QUIC_MIN_INITIAL)
        return;
    mtu_apply(conn, QUIC_MIN_INITIAL);
    mtu->failed = 0;
    mtu->in_flight = false;
    mtu->retry_at = conn->endpoint->now + MTU_RETRY;
    mtu_choose(conn);
}
