/* recovery_loss.c - which packets are lost, and what that says about the path (RFC 9002 6.1, 7.6, A.10, B.8).
 *
 * Knows the logs of all spaces and the times packets were sent. Does not know what packets held; their records go to
 * the owner.
 *
 * The hot question, "what below the largest acknowledged number is still outstanding", is answered from log->oldest:
 * everything below it is settled, and everything more than the packet threshold below the largest acknowledged becomes
 * lost at once, so each call looks at a handful of packets whatever the window is. On a path that reorders the
 * threshold goes up, within a bound (REORDERING_MOST), and what is acknowledged in between is jumped over.
 *
 * The invariant that matters: a packet is declared lost at most once, and leaves the flight when it is. One that is
 * remembered as LOST carries the number of the congestion event it belongs to, so that an event whose losses all prove
 * spurious can be undone.
 */
#include "quic/recovery_impl.h"

#include <assert.h>

/* What one call found lost on one path. */
struct loss_tally {
    uint64_t bytes; /* in flight */
    uint64_t largest_number;
    base_time largest_sent_at, eliciting_sent_at; /* of the newest packet, of the newest ack-eliciting one; 0 = none */
    uint32_t fresh, old;                          /* packets of a new congestion event; packets of the one we are in */
    bool congestion; /* something that speaks of congestion: no MTU probe, nothing out of flight */
};

/* RFC 8985 6.2 step 4: what reordering there was is believed for so many recoveries more. */
#define REORDERING_PERSIST 16u
/* A peer may choose what it acknowledges: so many holes it can make us look at with each ACK, not a window full. */
#define REORDERING_MOST 1024u

/* 6.1.1: that many packets acknowledged above one prove it lost, or as many more as have overtaken one that came. */
static uint32_t loss_packet_threshold(const struct quic_path_control *path) {
    return path->reordering.packets >= QUIC_PACKET_THRESHOLD ? path->reordering.packets + 1 : QUIC_PACKET_THRESHOLD;
}

/* A quarter more than was seen: the next one may be later. */
static uint64_t loss_with_margin(uint64_t seen) { return seen + seen / 4; }

void quic_recovery_on_late(struct quic_path_control *path, uint64_t overtaken_by, base_time late) {
    struct quic_reordering *seen = &path->reordering;
    base_time usual = base_time_max(path->rtt.smoothed, path->rtt.latest) / 8;
    if (overtaken_by < QUIC_PACKET_THRESHOLD && late <= usual)
        return;
    uint64_t packets = loss_with_margin(overtaken_by);
    if (packets > REORDERING_MOST)
        packets = REORDERING_MOST;
    if (packets > seen->packets)
        seen->packets = (uint32_t)packets;
    seen->time = base_time_max(seen->time, loss_with_margin(late));
    seen->persist = REORDERING_PERSIST;
}

static void loss_tell_packet(struct quic_path_control *path, uint64_t number, const struct quic_sent_packet *packet,
                             base_time now) {
    path->lost += packet->bytes;
    if (!path->cc.ops->on_lost)
        return;
    struct quic_cc_lost lost = {.now = now,
                                .sent_at = packet->sent_at,
                                .number = number,
                                .bytes = packet->bytes,
                                .in_flight = packet->tx_in_flight,
                                .lost = quic_recovery_lost_since(path, packet),
                                .delivered = path->delivered,
                                .app_limited = packet->app_limited};
    path->cc.ops->on_lost(&path->cc, &lost);
}

static uint16_t loss_next_event(const struct quic_path_control *path) {
    return path->event == UINT16_MAX ? 1 : (uint16_t)(path->event + 1);
}

void quic_recovery_congestion(struct quic_recovery *r, struct quic_path_control *path, const struct quic_cc_loss *loss,
                              uint32_t fresh, uint32_t old) {
    uint64_t events = path->cc.events;
    path->cc.ops->on_congestion(&path->cc, loss);
    if (path->cc.events == events) {
        path->event_lost += old;
        path->event_sure |= loss->ecn;
        return;
    }
    r->stats->congestion_events += path->cc.events - events;
    path->stats.congestion_events += path->cc.events - events;
    if (path->reordering.persist > 0 && --path->reordering.persist == 0)
        path->reordering = (struct quic_reordering){0};
    path->event = loss_next_event(path);
    path->event_lost = fresh;
    path->event_sure = loss->ecn;
}

/* The packet is lost: out of the flight, into the tally, and its records to the owner. */
static void loss_declare(struct quic_recovery *r, enum quic_space space, uint64_t number,
                         struct quic_sent_packet *packet, base_time now, struct loss_tally *tally) {
    struct quic_sent *log = &r->spaces[space];
    struct quic_path_control *path = quic_recovery_path_of(r, packet);
    packet->event = 0;
    if (packet->in_flight) {
        r->stats->packets_lost++;
        if (path) {
            path->bytes_in_flight -= packet->bytes;
            path->stats.packets_lost++;
        }
    }
    if (path && packet->in_flight && !packet->mtu_probe) {
        bool fresh = packet->sent_at > path->cc.recovery_start;
        packet->event = fresh ? loss_next_event(path) : path->event;
        tally->fresh += fresh;
        tally->old += !fresh;
        tally->bytes += packet->bytes;
        tally->largest_number = number;
        tally->largest_sent_at = packet->sent_at;
        tally->congestion = true;
        if (packet->eliciting)
            tally->eliciting_sent_at = packet->sent_at;
        loss_tell_packet(path, number, packet, now);
    }
    if (path && packet->in_flight && packet->ecn == QUIC_ECT0)
        quic_recovery_count_failure(r, path, quic_ecn_on_lost(&path->ecn, packet->sent_at));
    quic_sent_settle(log, packet, QUIC_SENT_LOST);
    if (r->events->on_packet)
        r->events->on_packet(r->user, space, number, packet, QUIC_FATE_LOST);
    if (!packet->requeued)
        quic_recovery_tell_frames(r, space, log, packet, QUIC_FATE_LOST);
}

/* The first packet at or above *at that was acknowledged or lost on this path, or NULL. */
static const struct quic_sent_packet *loss_next_settled(const struct quic_recovery *r, struct quic_sent *log,
                                                        uint64_t *at, unsigned path) {
    const struct quic_sent_packet *packet;
    for (; (packet = quic_sent_at(log, *at)) != NULL; ++*at)
        if (quic_recovery_index_of(r, packet) == path &&
            (packet->state == QUIC_SENT_ACKED || packet->state == QUIC_SENT_LOST))
            return packet;
    return NULL;
}

/* 7.6.2: two ack-eliciting packets, sent so far apart, were lost, and nothing sent between them in any space was
 * acknowledged. Walks all spaces together in the order of sending. `from`: what was sent earlier does not count. */
static bool loss_has_run(struct quic_recovery *r, unsigned path, base_time from, base_time duration) {
    uint64_t at[QUIC_SPACES];
    base_time run_start = 0;
    for (unsigned s = 0; s < QUIC_SPACES; s++)
        at[s] = r->spaces[s].base;
    for (;;) {
        const struct quic_sent_packet *next = NULL;
        unsigned from_space = 0;
        for (unsigned s = 0; s < QUIC_SPACES; s++) {
            const struct quic_sent_packet *packet = loss_next_settled(r, &r->spaces[s], &at[s], path);
            if (packet && (!next || packet->sent_at < next->sent_at)) {
                next = packet;
                from_space = s;
            }
        }
        if (!next)
            return false;
        at[from_space]++;
        if (next->state == QUIC_SENT_ACKED)
            run_start = 0;
        else if (!next->eliciting || next->mtu_probe || next->sent_at <= from)
            continue;
        else if (run_start == 0)
            run_start = next->sent_at;
        else if (next->sent_at - run_start > duration)
            return true;
    }
}

static bool loss_is_persistent(struct quic_recovery *r, unsigned index, base_time newest_lost) {
    const struct quic_path_control *path = r->paths[index];
    if (path->first_rtt_at == 0 || newest_lost == 0)
        return false;
    base_time from = base_time_max(path->first_rtt_at, path->persistent_at);
    for (unsigned s = 0; s < QUIC_SPACES; s++)
        from = base_time_max(from, r->spaces[s].trimmed_acked_at);
    base_time duration = QUIC_PERSISTENT_THRESHOLD * (quic_rtt_pto(&path->rtt) + r->max_ack_delay);
    if (newest_lost <= from || newest_lost - from <= duration)
        return false; /* nearly always: no need to look at the packets */
    return loss_has_run(r, index, from, duration);
}

/* B.8: the lost packets of one path as its controller sees them. */
static void loss_tell_path(struct quic_recovery *r, enum quic_space space, unsigned index,
                           const struct loss_tally *tally, base_time now) {
    struct quic_path_control *path = r->paths[index];
    struct quic_cc_loss loss = {.now = now,
                                .largest_lost_sent_at = tally->largest_sent_at,
                                .lost_bytes = tally->bytes,
                                .bytes_in_flight = path->bytes_in_flight,
                                .delivered = path->delivered,
                                .largest_lost_number = tally->largest_number,
                                .next_number = r->spaces[space].next};
    quic_recovery_congestion(r, path, &loss, tally->fresh, tally->old);
    if (!loss_is_persistent(r, index, tally->eliciting_sent_at))
        return;
    r->stats->persistent_congestions++;
    path->stats.persistent_congestions++;
    path->cc.ops->on_persistent(&path->cc, now);
    path->persistent_at = now;
    path->event_sure = true;
    quic_rtt_on_persistent(&path->rtt);
}

/* Looks at the outstanding packets from `number` up to the largest acknowledged one. Returns the first that stays, or
 * where it ended. */
static uint64_t loss_scan(struct quic_recovery *r, enum quic_space space, uint64_t number, base_time now,
                          struct loss_tally *tallies) {
    struct quic_sent *log = &r->spaces[space];
    uint64_t oldest = QUIC_NO_NUMBER;
    while (number < log->largest_acked) {
        struct quic_sent_packet *packet = quic_sent_at(log, number);
        if (packet->state == QUIC_SENT_ACKED) {
            number += packet->skip;
            continue;
        }
        if (packet->state == QUIC_SENT_OUTSTANDING) {
            const struct quic_path_control *path = quic_recovery_path_of(r, packet);
            if (!path)
                path = r->paths[r->active];
            base_time lost_at = packet->sent_at + quic_recovery_loss_delay(path);
            if (log->largest_acked - number >= loss_packet_threshold(path) || lost_at <= now) {
                loss_declare(r, space, number, packet, now, &tallies[quic_recovery_index_of(r, packet)]);
            } else {
                if (oldest == QUIC_NO_NUMBER)
                    oldest = number;
                if (packet->in_flight) /* nobody waits for the others: no timer for them */
                    r->loss_time[space] = base_time_min(r->loss_time[space], lost_at);
            }
        }
        number++;
    }
    return oldest == QUIC_NO_NUMBER ? number : oldest;
}

void quic_recovery_detect_lost(struct quic_recovery *r, enum quic_space space, base_time now, uint64_t *lost_bytes) {
    struct quic_sent *log = &r->spaces[space];
    r->loss_time[space] = BASE_NEVER;
    if (log->largest_acked == QUIC_NO_NUMBER)
        return;
    uint64_t number = log->oldest > log->base ? log->oldest : log->base;
    while (number < log->largest_acked && quic_sent_at(log, number)->state == QUIC_SENT_ACKED)
        number += quic_sent_at(log, number)->skip;
    if (number < log->largest_acked) { /* something is missing: the rare case pays for the tallies */
        struct loss_tally tallies[QUIC_PATHS + 1] = {{0}};
        number = loss_scan(r, space, number, now, tallies);
        for (unsigned i = 0; i < QUIC_PATHS; i++) {
            if (!tallies[i].congestion)
                continue;
            if (lost_bytes)
                lost_bytes[i] += tallies[i].bytes;
            loss_tell_path(r, space, i, &tallies[i], now);
        }
    }
    log->oldest = number;
}
