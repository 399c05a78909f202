/* recovery_impl.h - what recovery.c (sending, timers), recovery_ack.c (ACK frames) and recovery_loss.c (losses) share.
 * Nobody else includes it. */
#ifndef QUIC_RECOVERY_IMPL_H
#define QUIC_RECOVERY_IMPL_H

#include "quic/recovery.h"

/* Where packets are counted whose path is gone: an index beyond all paths. */
#define RECOVERY_NO_PATH ((uint8_t)QUIC_PATHS)

/* The entry of the path a packet went on; RECOVERY_NO_PATH when that path is gone, whoever has its entry now. */
static inline uint8_t quic_recovery_index_of(const struct quic_recovery *r, const struct quic_sent_packet *packet) {
    return packet->path < QUIC_PATHS && packet->era == r->eras[packet->path] ? packet->path : RECOVERY_NO_PATH;
}

static inline struct quic_path_control *quic_recovery_path_of(const struct quic_recovery *r,
                                                              const struct quic_sent_packet *packet) {
    uint8_t index = quic_recovery_index_of(r, packet);
    return index < QUIC_PATHS ? r->paths[index] : NULL;
}

/* Bytes lost on the path since this packet was sent. */
static inline uint64_t quic_recovery_lost_since(const struct quic_path_control *path,
                                                const struct quic_sent_packet *packet) {
    return (uint32_t)((uint32_t)path->lost - packet->lost);
}

/* What is delivered from now on until all that is in flight now has been says nothing of the path's bandwidth. */
static inline void quic_recovery_mark_app_limited(struct quic_path_control *path) {
    uint64_t until = path->delivered + path->bytes_in_flight;
    path->app_limited_until = until ? until : 1;
    path->cc.app_limited = true;
}

static inline void quic_recovery_tell_frames(const struct quic_recovery *r, enum quic_space space,
                                             struct quic_sent *log, const struct quic_sent_packet *packet,
                                             enum quic_fate fate) {
    for (uint32_t i = 0; i < packet->frame_count; i++)
        r->events->on_frame(r->user, space, quic_sent_frame_at(log, packet, i), fate);
}

/* Losses are remembered for three PTO, in case they prove spurious. Without max_ack_delay: reordering knows nothing of
 * it, and where it is larger than the RTT the log would hold many times what is in flight. */
static inline base_time quic_recovery_forget_before(const struct quic_recovery *r, base_time now) {
    base_time kept = 3 * quic_rtt_pto(&r->paths[r->active]->rtt);
    return now > kept ? now - kept : 0;
}

/* 6.1.2: what has not come so long after it was sent is lost, with something later acknowledged: 9/8 of the larger of
 * the smoothed and the latest RTT; more where reordering takes longer, to twice the RTT at most (RFC 8985 6.2 step
 * 4). */
static inline base_time quic_recovery_loss_delay(const struct quic_path_control *path) {
    base_time rtt = base_time_max(path->rtt.smoothed, path->rtt.latest);
    base_time late = base_time_max(rtt / 8, base_time_min(path->reordering.time, rtt));
    return base_time_max(rtt + late, QUIC_GRANULARITY);
}

/* A packet was acknowledged, so late that the thresholds of 6.1 alone would have given it up, or did. */
void quic_recovery_on_late(struct quic_path_control *path, uint64_t overtaken_by, base_time late);

/* RFC 9002 A.10: declares what is lost in this space by now and tells the controllers. `lost_bytes` (one a path, may be
 * NULL) is added to. */
void quic_recovery_detect_lost(struct quic_recovery *r, enum quic_space space, base_time now, uint64_t *lost_bytes);
/* Puts a congestion signal to a path's controller. `fresh`: lost packets sent after its recovery_start, `old`: those
 * sent before. */
void quic_recovery_congestion(struct quic_recovery *r, struct quic_path_control *path, const struct quic_cc_loss *loss,
                              uint32_t fresh, uint32_t old);

#endif
