/* recovery_ack.c - an ACK frame arrives (RFC 9002 sections 5.1, 5.3, 6.2.1, 7; A.7, B.5, B.7).
 *
 * Knows the log of one space and the paths its packets went on. Does not know what acknowledged frames mean.
 *
 * The cost is that of the packets newly acknowledged plus that of the ranges: an acknowledged packet knows how many
 * after it are acknowledged as well, and the first packet of a range learns the length of the whole range, so what
 * earlier ACKs said again and again is jumped over. What is the same for all packets of the frame - flight, delivery,
 * window - is summed up a path and settled once.
 *
 * The invariant that matters: a packet meets ACKED once, in ascending order within the frame, and its bytes leave the
 * flight exactly if they were in it: one that was declared lost before left then.
 */
#include "quic/recovery_impl.h"

#include <assert.h>

#define ACK_RANGES_AT_ONCE 32u

/* What one frame acknowledged on one path. */
struct ack_tally {
    uint64_t flight, fresh; /* bytes that were in flight; of these, sent after the last congestion event */
    uint64_t delivered;     /* with those that had been given up */
    uint32_t spurious;      /* packets of the last congestion event that were not lost after all */
    uint32_t marked;        /* packets sent with ECT(0) */
    base_time fresh_after;  /* the controller's recovery_start */
    uint64_t number;
    const struct quic_sent_packet *newest;
};

struct ack_walk {
    struct quic_recovery *r;
    struct quic_sent *log;
    enum quic_space space;
    bool eliciting; /* something ack-eliciting is newly acknowledged */
    const struct quic_sent_packet *newest;
    uint64_t number;
    uint64_t largest_before; /* what was acknowledged before this frame */
    base_time now;
    struct ack_tally paths[QUIC_PATHS + 1];
};

/* The first packet of the frame, which is the lowest: what was acknowledged before it came, and how late is it? The
 * others of the frame came less late. */
static void ack_judge_order(struct ack_walk *w, uint64_t number, const struct quic_sent_packet *packet) {
    struct quic_path_control *path = quic_recovery_path_of(w->r, packet);
    if (number >= w->largest_before || !path || !packet->in_flight || !path->rtt.sampled)
        return;
    base_time due = packet->sent_at + base_time_max(path->rtt.smoothed, path->rtt.latest);
    quic_recovery_on_late(path, w->largest_before - number, w->now > due ? w->now - due : 0);
}

static void ack_packet(struct ack_walk *w, uint64_t number, struct quic_sent_packet *packet) {
    struct quic_recovery *r = w->r;
    struct ack_tally *tally = &w->paths[quic_recovery_index_of(r, packet)];
    if (packet->in_flight) {
        tally->delivered += packet->bytes;
        if (packet->state == QUIC_SENT_OUTSTANDING) {
            tally->flight += packet->bytes;
            tally->fresh += packet->sent_at > tally->fresh_after ? packet->bytes : 0;
        } else {
            struct quic_path_control *path = quic_recovery_path_of(r, packet);
            r->stats->packets_spurious++;
            if (path)
                path->stats.packets_spurious++;
            tally->spurious += path && packet->event && packet->event == path->event;
        }
    }
    tally->marked += packet->ecn == QUIC_ECT0;
    quic_sent_settle(w->log, packet, QUIC_SENT_ACKED);
    w->eliciting |= packet->eliciting;
    if (!w->newest)
        ack_judge_order(w, number, packet);
    if (!w->newest || number > w->number) {
        w->newest = packet;
        w->number = number;
    }
    if (!tally->newest || number > tally->number) {
        tally->newest = packet;
        tally->number = number;
    }
    if (r->events->on_packet)
        r->events->on_packet(r->user, w->space, number, packet, QUIC_FATE_ACKED);
    quic_recovery_tell_frames(r, w->space, w->log, packet, QUIC_FATE_ACKED);
}

/* Acknowledges [low, high], which is in the log. False: a number in it was never sent. */
static bool ack_range(struct ack_walk *w, uint64_t low, uint64_t high) {
    struct quic_sent *log = w->log;
    uint64_t number = low;
    while (number <= high) {
        struct quic_sent_packet *packet = &log->packets[number & log->packet_mask];
        if (packet->state == QUIC_SENT_ACKED) {
            number += packet->skip;
            continue;
        }
        if (packet->state == QUIC_SENT_SKIPPED)
            return false;
        ack_packet(w, number, packet);
        packet->skip = (uint32_t)(high + 1 - number);
        number++;
    }
    log->packets[low & log->packet_mask].skip = (uint32_t)(number - low);
    return true;
}

/* Ranges were collected from above; they are walked from below. */
static bool ack_flush(struct ack_walk *w, const struct base_range *list, uint32_t count) {
    while (count--)
        if (!ack_range(w, list[count].start, list[count].end - 1))
            return false;
    return true;
}

/* All ranges of the frame that reach into the log, but no more than r->ack_ranges. More than ACK_RANGES_AT_ONCE go in
 * batches, the newest first. */
static bool ack_ranges(struct ack_walk *w, struct quic_frame_ack *ack) {
    struct base_range list[ACK_RANGES_AT_ONCE];
    uint64_t base = w->log->base, skipped = w->log->skipped, lowest = skipped < base ? skipped : base;
    uint64_t low = ack->largest - ack->first_range, high = ack->largest;
    uint32_t count = 0, looked = 0;
    do {
        if (low <= skipped && skipped <= high)
            return false;
        if (high < base)
            continue;
        list[count++] = (struct base_range){low > base ? low : base, high + 1};
        if (count == ACK_RANGES_AT_ONCE) {
            if (!ack_flush(w, list, count))
                return false;
            count = 0;
        }
        if (++looked >= w->r->ack_ranges && low > lowest && ack->range_count) {
            w->r->ack_result = QUIC_ACK_CUT;
            break;
        }
    } while (low > lowest && quic_frame_ack_next(ack, &low, &high));
    return ack_flush(w, list, count);
}

/* Handshakes are acknowledged at once (RFC 9000 13.2.1). An ACK that says it comes late is one said again because the
 * first was lost, or of a packet that waited for its keys; how long it took says nothing about the path, and as a first
 * sample, from which no delay is subtracted (5.3), it would put all timers off for minutes. */
#define ACK_REPEATED (25 * BASE_MS)

/* 5.1: only the largest number, newly acknowledged, gives a sample, and only with something ack-eliciting. 5.3: the
 * delay. */
static base_time ack_sample_rtt(struct ack_walk *w, uint64_t largest, base_time delay, base_time now) {
    struct quic_recovery *r = w->r;
    if (w->number != largest || !w->eliciting)
        return 0;
    struct quic_path_control *path = quic_recovery_path_of(r, w->newest);
    if (!path)
        return 0;
    if (!r->handshake_confirmed && delay > ACK_REPEATED && (w->space == QUIC_INITIAL || !path->rtt.sampled))
        return 0;
    if (w->space == QUIC_INITIAL)
        delay = 0;
    else if (r->handshake_confirmed)
        delay = base_time_min(delay, r->max_ack_delay);
    base_time arrived = now - r->held;
    base_time sample = arrived > w->newest->sent_at ? arrived - w->newest->sent_at : 1;
    quic_rtt_sample(&path->rtt, sample, delay);
    path->stats.rtt_samples++;
    if (path->first_rtt_at == 0)
        path->first_rtt_at = now;
    return sample;
}

/* What the counts say about the marks acknowledged, and to the paths those packets went on. True: they are good. */
static bool ack_judge_marks(struct ack_walk *w, const struct quic_frame_ack *ack, uint64_t *more_ce, base_time now) {
    struct quic_recovery *r = w->r;
    uint64_t acked = 0, more_ect0;
    for (unsigned i = 0; i < QUIC_PATHS; i++) {
        if (!r->paths[i] || !w->paths[i].newest)
            continue;
        quic_ecn_on_heard(&r->paths[i]->ecn, now);
        if (quic_ecn_is_live(&r->paths[i]->ecn))
            acked += w->paths[i].marked;
    }
    bool good = quic_ecn_check(&r->ecn[w->space], ack->ect0, ack->ect1, ack->ce, acked, &more_ect0, more_ce);
    for (unsigned i = 0; i < QUIC_PATHS; i++) /* counts that are wrong by themselves speak against the active path */
        if (r->paths[i] && (w->paths[i].marked || (!good && !acked && i == r->active)))
            quic_recovery_count_failure(r, r->paths[i],
                                        quic_ecn_judge(&r->paths[i]->ecn, good, w->paths[i].marked, more_ect0 > 0));
    return good;
}

/* B.7: the peer saw more CE marks than before. */
static void ack_process_ecn(struct ack_walk *w, const struct quic_frame_ack *ack, base_time now) {
    struct quic_recovery *r = w->r;
    uint64_t more_ce;
    bool good = ack_judge_marks(w, ack, &more_ce, now);
    r->stats->ecn_ce += more_ce;
    struct quic_path_control *path = quic_recovery_path_of(r, w->newest);
    if (path)
        path->stats.ecn_ce += more_ce;
    if (!good || !more_ce || !path || path->ecn.state != QUIC_ECN_CAPABLE)
        return;
    struct quic_cc_loss loss = {.now = now,
                                .largest_lost_sent_at = w->newest->sent_at,
                                .bytes_in_flight = path->bytes_in_flight,
                                .delivered = path->delivered,
                                .largest_lost_number = w->number,
                                .next_number = w->log->next,
                                .ecn = true};
    quic_recovery_congestion(r, path, &loss, 0, 0);
}

/* Flight and delivery of a path, before losses are looked for. */
static void ack_deliver(struct quic_path_control *path, const struct ack_tally *tally, base_time now) {
    assert(path->bytes_in_flight >= tally->flight);
    path->bytes_in_flight -= tally->flight;
    path->delivered += tally->delivered;
    path->delivered_at = now;
    path->first_sent_at = tally->newest->sent_at;
    if (path->app_limited_until && path->delivered > path->app_limited_until) {
        path->app_limited_until = 0;
        path->cc.app_limited = false;
    }
    if (tally->spurious == 0)
        return;
    path->event_lost -= tally->spurious < path->event_lost ? tally->spurious : path->event_lost;
    if (path->event_lost == 0 && !path->event_sure) {
        path->event_sure = true; /* undone once */
        path->cc.ops->on_spurious(&path->cc, now);
    }
}

/* 7.8: the window was not used when the newest packet left, nor is it now. In slow start the window has doubled since
 * then. */
static bool ack_is_app_limited(const struct quic_path_control *path, const struct quic_sent_packet *newest,
                               uint64_t prior) {
    const struct quic_cc *cc = &path->cc;
    uint64_t used = newest->tx_in_flight > prior ? newest->tx_in_flight : prior;
    uint64_t enough = cc->window < cc->threshold ? cc->window / 2 : cc->window - cc->mtu;
    return newest->app_limited && used < enough;
}

/* What the frame means to the path's controller (B.5), with the delivery rate it shows. */
static void ack_tell_path(struct ack_walk *w, unsigned index, uint64_t lost_bytes, uint64_t prior, base_time sample,
                          base_time now) {
    struct quic_path_control *path = w->r->paths[index];
    const struct ack_tally *tally = &w->paths[index];
    const struct quic_sent_packet *newest = tally->newest;
    base_time sent = newest->sent_at - newest->first_sent_at, acked = now - newest->delivered_at;
    base_time interval = base_time_max(sent, acked);
    struct quic_cc_ack ack = {.now = now,
                              .acked_bytes = tally->flight,
                              .fresh_bytes = tally->fresh,
                              .lost_bytes = lost_bytes,
                              .bytes_in_flight = path->bytes_in_flight,
                              .prior_in_flight = prior,
                              .largest_sent_at = newest->sent_at,
                              .largest_number = tally->number,
                              .next_number = w->log->next,
                              .rtt_sample = newest == w->newest ? sample : 0,
                              .rtt = &path->rtt,
                              .delivered = path->delivered,
                              .sample_delivered = path->delivered - newest->delivered,
                              .packet_delivered = newest->delivered,
                              .sample_interval = path->rtt.sampled && interval >= path->rtt.min ? interval : 0,
                              .sample_in_flight = newest->tx_in_flight,
                              .sample_lost = quic_recovery_lost_since(path, newest),
                              .sample_app_limited = newest->app_limited,
                              .app_limited = ack_is_app_limited(path, newest, prior)};
    path->cc.ops->on_ack(&path->cc, &ack);
    if (path->cc.holds_back)
        quic_recovery_mark_app_limited(path);
}

static bool recovery_peer_validated(const struct quic_recovery *r) {
    return r->role == CRYPTO_SERVER || r->handshake_acked || r->handshake_confirmed;
}

enum quic_error quic_recovery_on_ack(struct quic_recovery *r, enum quic_space space, struct quic_frame_ack *ack,
                                     base_time delay, base_time now) {
    struct quic_sent *log = &r->spaces[space];
    if (ack->largest >= log->next)
        return QUIC_PROTOCOL_VIOLATION;
    uint64_t before = log->largest_acked == QUIC_NO_NUMBER ? 0 : log->largest_acked;
    bool advances = log->largest_acked == QUIC_NO_NUMBER || ack->largest > before;
    if (advances)
        log->largest_acked = ack->largest;
    r->handshake_acked |= space == QUIC_HANDSHAKE;

    struct ack_walk w = {.r = r, .log = log, .space = space, .largest_before = before, .now = now};
    for (unsigned i = 0; i < QUIC_PATHS; i++)
        w.paths[i].fresh_after = r->paths[i] ? r->paths[i]->cc.recovery_start : 0;
    r->ack_result = QUIC_ACK_NEWS;
    if (!ack_ranges(&w, ack))
        return QUIC_PROTOCOL_VIOLATION;
    if (!w.newest) {
        if (r->ack_result == QUIC_ACK_NEWS)
            r->ack_result = QUIC_ACK_NOTHING;
        return QUIC_NO_ERROR;
    }

    uint64_t prior[QUIC_PATHS] = {0}, lost[QUIC_PATHS] = {0};
    base_time sample = ack_sample_rtt(&w, ack->largest, delay, now);
    for (unsigned i = 0; i < QUIC_PATHS; i++) {
        if (!r->paths[i] || !w.paths[i].newest)
            continue;
        prior[i] = r->paths[i]->bytes_in_flight;
        ack_deliver(r->paths[i], &w.paths[i], now);
    }
    if (advances)
        ack_process_ecn(&w, ack, now);
    quic_recovery_detect_lost(r, space, now, lost);
    for (unsigned i = 0; i < QUIC_PATHS; i++)
        if (r->paths[i] && w.paths[i].newest)
            ack_tell_path(&w, i, lost[i], prior[i], sample, now);

    /* 6.2.1: a client goes on backing off until the server has surely validated its address. */
    if (recovery_peer_validated(r)) {
        r->pto_count = 0;
        memset(r->probes, 0, sizeof r->probes);
    }
    r->armed_at = base_time_max(r->armed_at, now);
    quic_sent_trim(log, quic_recovery_forget_before(r, now));
    return QUIC_NO_ERROR;
}
