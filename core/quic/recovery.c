/* recovery.c - packets leave, timers fire, spaces end (RFC 9002 section 6.2, A.5, A.8, A.9, A.11).
 *
 * Knows the three logs, the paths and which keys there are. Does not set timers, write packets or read ACKs: the owner
 * asks for one deadline, recovery_ack.c reads, recovery_loss.c judges.
 *
 * There are two reasons to wake up. A packet below an acknowledged one is lost when its time is up (loss_time); that
 * comes first. Otherwise the probe time-out: each space with something ack-eliciting in flight has one, the soonest
 * counts, and none does while the amplification limit forbids to send. A client that has nothing in flight arms one all
 * the same until it knows that its address was validated: the server may be unable to speak (6.2.2.1).
 *
 * The invariant that matters: path->bytes_in_flight is the sum of `bytes` of the OUTSTANDING in-flight packets of all
 * spaces on it.
 */
#include "quic/recovery_impl.h"

#include <assert.h>

#define PTO_COUNT_MAX 62u
#define PTO_PROBES 2u

void quic_recovery_init(struct quic_recovery *r, struct base_mem *mem, enum crypto_role role,
                        const struct quic_recovery_events *events, void *user, struct conn_stats *stats) {
    *r = (struct quic_recovery){
        .mem = mem, .events = events, .user = user, .stats = stats, .role = role, .ack_ranges = UINT32_MAX};
    for (unsigned s = 0; s < QUIC_SPACES; s++) {
        quic_sent_init(&r->spaces[s]);
        r->loss_time[s] = BASE_NEVER;
    }
}

void quic_recovery_clear(struct quic_recovery *r) {
    for (unsigned s = 0; s < QUIC_SPACES; s++) {
        quic_sent_clear(&r->spaces[s], r->mem);
        r->loss_time[s] = BASE_NEVER;
    }
}

bool quic_path_control_init(struct quic_path_control *path, struct base_mem *mem, const struct quic_cc_ops *cc,
                            uint32_t mtu, uint32_t initial_packets, bool hystart, bool pacing, base_time initial_rtt) {
    *path = (struct quic_path_control){0};
    quic_rtt_init(&path->rtt, initial_rtt);
    if (!quic_cc_init(&path->cc, mem, cc, mtu, initial_packets, hystart))
        return false;
    path->cc.hystart.paced = pacing;
    quic_pacer_init(&path->pacer, pacing);
    return true;
}

void quic_path_control_clear(struct quic_path_control *path, struct base_mem *mem) { quic_cc_clear(&path->cc, mem); }

static uint32_t recovery_low(uint64_t bytes) { return bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX; }

static void recovery_count_mark(struct quic_recovery *r, enum quic_space space, struct quic_path_control *path,
                                base_time now, bool in_flight) {
    r->ecn[space].sent++;
    r->stats->ecn_marked++;
    path->stats.ecn_marked++;
    if (in_flight)
        quic_ecn_on_sent(&path->ecn, now, 3 * quic_rtt_pto(&path->rtt));
}

uint64_t quic_recovery_on_sent_over(struct quic_recovery *r, uint8_t index, enum quic_space space, base_time now,
                                    uint32_t bytes, bool eliciting, bool in_flight, enum quic_ecn ecn) {
    struct quic_sent *log = &r->spaces[space];
    struct quic_path_control *path = r->paths[index];
    assert(bytes <= QUIC_MAX_DATAGRAM && (in_flight || !eliciting));
    if (path->bytes_in_flight == 0)
        path->first_sent_at = path->delivered_at = now;
    if (in_flight)
        path->bytes_in_flight += bytes;
    struct quic_sent_packet packet = {.sent_at = now,
                                      .delivered_at = path->delivered_at,
                                      .first_sent_at = path->first_sent_at,
                                      .delivered = path->delivered,
                                      .tx_in_flight = recovery_low(path->bytes_in_flight),
                                      .lost = (uint32_t)path->lost,
                                      .bytes = (uint16_t)bytes,
                                      .path = index,
                                      .era = r->eras[index],
                                      .eliciting = eliciting,
                                      .in_flight = in_flight,
                                      .app_limited = path->app_limited_until != 0,
                                      .ecn = (uint8_t)ecn};
    uint64_t number = quic_sent_commit(log, &packet);
    r->stats->packets_sent++;
    path->stats.packets_sent++;
    if (ecn == QUIC_ECT0)
        recovery_count_mark(r, space, path, now, in_flight);
    if (in_flight) {
        path->cc.ops->on_sent(&path->cc, now, number, bytes, path->bytes_in_flight);
        quic_pacer_on_sent(&path->pacer, bytes);
    } else {
        quic_sent_trim(log, quic_recovery_forget_before(r, now));
    }
    if (eliciting) {
        r->armed_at = base_time_max(r->armed_at, now);
        if (r->probes[space] > 0)
            r->probes[space]--;
        if (space == QUIC_HANDSHAKE && r->probes_ride && r->probes[QUIC_INITIAL] == 0)
            r->probes[space] = 0; /* no third datagram for it */
    }
    return number;
}

uint64_t quic_recovery_on_sent(struct quic_recovery *r, enum quic_space space, base_time now, uint32_t bytes,
                               bool eliciting, bool in_flight, enum quic_ecn ecn) {
    return quic_recovery_on_sent_over(r, r->active, space, now, bytes, eliciting, in_flight, ecn);
}

base_time quic_recovery_pto(const struct quic_recovery *r, enum quic_space space) {
    return quic_rtt_pto(&r->paths[r->active]->rtt) + (space == QUIC_APPLICATION ? r->max_ack_delay : 0);
}

/* 6.2.1: the period doubles with each time-out in a row; not beyond QUIC_PTO_MAX, unless it is longer by itself. */
static base_time recovery_backoff(const struct quic_recovery *r, enum quic_space space) {
    base_time period = quic_recovery_pto(r, space), most = base_time_max(period, QUIC_PTO_MAX);
    for (uint32_t i = 0; i < r->pto_count && period < most; i++)
        period *= 2;
    return base_time_min(period, most);
}

/* A client whose address may be unvalidated and that has nothing in flight the server would answer (6.2.2.1); or a
 * server whose client has done its part, but whose Finished was lost: an ACK of what the client has sent since lets it
 * see that at once, where its own time-out may have grown to a minute. What is in flight in the application space does
 * not help: it has no PTO before the handshake is confirmed. */
static bool recovery_may_deadlock(const struct quic_recovery *r) {
    bool silent = r->role == CRYPTO_CLIENT ? !r->handshake_acked : r->finished_awaited && r->has_handshake_keys;
    return silent && !r->handshake_confirmed && r->spaces[QUIC_INITIAL].eliciting == 0 &&
           r->spaces[QUIC_HANDSHAKE].eliciting == 0;
}

static enum quic_space recovery_deadlock_space(const struct quic_recovery *r) {
    return r->has_handshake_keys ? QUIC_HANDSHAKE : QUIC_INITIAL;
}

/* A.8 GetPtoTimeAndSpace. */
static base_time recovery_pto_at(const struct quic_recovery *r, base_time now, enum quic_space *space) {
    base_time soonest = BASE_NEVER;
    *space = QUIC_INITIAL;
    if (recovery_may_deadlock(r)) {
        *space = recovery_deadlock_space(r);
        return base_time_add(r->armed_at ? r->armed_at : now, recovery_backoff(r, *space));
    }
    for (unsigned s = 0; s < QUIC_SPACES; s++) {
        const struct quic_sent *log = &r->spaces[s];
        if (log->eliciting == 0 || (s == QUIC_APPLICATION && !r->handshake_confirmed))
            continue;
        base_time at = base_time_add(log->last_eliciting_at, recovery_backoff(r, (enum quic_space)s));
        if (at < soonest) {
            soonest = at;
            *space = (enum quic_space)s;
        }
    }
    return soonest;
}

static base_time recovery_loss_at(const struct quic_recovery *r) {
    base_time soonest = BASE_NEVER;
    for (unsigned s = 0; s < QUIC_SPACES; s++)
        soonest = base_time_min(soonest, r->loss_time[s]);
    return soonest;
}

base_time quic_recovery_deadline(const struct quic_recovery *r, base_time now) {
    enum quic_space space;
    base_time loss_at = recovery_loss_at(r);
    if (loss_at != BASE_NEVER)
        return loss_at;
    return r->amplification_blocked ? BASE_NEVER : recovery_pto_at(r, now, &space);
}

/* Asks for probes in this space, and hands out what its oldest packets held, so that the probes carry it again: a lost
 * ClientHello is not found by a PING. Each packet is handed out once; the next time-out takes the next ones. Of a
 * handshake goes as much as the probes have room for, which are full datagrams anyhow (RFC 9000 14.1): what stays
 * behind would cost another, longer time-out. */
static void recovery_probe(struct quic_recovery *r, enum quic_space space, uint8_t count) {
    struct quic_sent *log = &r->spaces[space];
    uint32_t room = space == QUIC_APPLICATION ? 0 : PTO_PROBES * QUIC_MIN_INITIAL;
    if (r->probes[space] < count)
        r->probes[space] = count;
    for (uint64_t number = log->oldest > log->base ? log->oldest : log->base;
         (count > 0 || room > 0) && number < log->next;) {
        struct quic_sent_packet *packet = quic_sent_at(log, number);
        if (packet->state == QUIC_SENT_ACKED) {
            number += packet->skip;
            continue;
        }
        if (packet->state == QUIC_SENT_OUTSTANDING && packet->eliciting && !packet->requeued && !packet->mtu_probe) {
            if (count == 0 && packet->bytes > room)
                return;
            packet->requeued = true;
            count = (uint8_t)(count - (count > 0));
            room -= packet->bytes < room ? packet->bytes : room;
            quic_recovery_tell_frames(r, space, log, packet, QUIC_FATE_LOST);
        }
        number++;
    }
}

void quic_recovery_repeat(struct quic_recovery *r, enum quic_space space) {
    uint8_t probes = r->probes[space];
    recovery_probe(r, space, 1);
    r->probes[space] = probes;
}

void quic_recovery_on_timeout(struct quic_recovery *r, base_time now) {
    if (quic_recovery_deadline(r, now) > now)
        return;
    if (recovery_loss_at(r) <= now) {
        for (unsigned s = 0; s < QUIC_SPACES; s++)
            if (r->loss_time[s] <= now)
                quic_recovery_detect_lost(r, (enum quic_space)s, now, NULL);
        return;
    }
    enum quic_space expired;
    (void)recovery_pto_at(r, now, &expired);
    if (recovery_may_deadlock(r)) {
        recovery_probe(r, expired, 1);
    } else {
        /* 6.2.4: other spaces in flight are probed too, in the same datagram when it fits. Datagrams with an Initial
         * are full ones, and each of them may be the only one that arrives: Handshake packets ride in both. */
        r->probes_ride = expired == QUIC_INITIAL;
        for (unsigned s = 0; s < QUIC_SPACES; s++) {
            bool usable = s != QUIC_APPLICATION || r->has_application_keys;
            bool twice = s == (unsigned)expired || (s == QUIC_HANDSHAKE && r->probes_ride);
            if (s == (unsigned)expired || (r->spaces[s].eliciting > 0 && usable))
                recovery_probe(r, (enum quic_space)s, twice ? PTO_PROBES : 1);
        }
    }
    if (r->pto_count < PTO_COUNT_MAX)
        r->pto_count++;
    quic_ecn_on_timeout(&r->paths[r->active]->ecn, r->pto_count);
    r->stats->ptos++;
    r->paths[r->active]->stats.ptos++;
}

/* Takes everything outstanding in a space out of the flight; `tell`: its records meet LOST. Then the log forgets all of
 * it. */
static void recovery_withdraw(struct quic_recovery *r, enum quic_space space, bool tell) {
    struct quic_sent *log = &r->spaces[space];
    for (uint64_t number = log->base; number < log->next;) {
        struct quic_sent_packet *packet = quic_sent_at(log, number);
        if (packet->state == QUIC_SENT_ACKED) {
            number += packet->skip;
            continue;
        }
        if (packet->state == QUIC_SENT_OUTSTANDING) {
            struct quic_path_control *path = quic_recovery_path_of(r, packet);
            if (path && packet->in_flight)
                path->bytes_in_flight -= packet->bytes;
            if (path && packet->in_flight && packet->ecn == QUIC_ECT0)
                quic_recovery_count_failure(r, path, quic_ecn_on_withdrawn(&path->ecn, packet->sent_at));
            quic_sent_settle(log, packet, QUIC_SENT_LOST);
            if (tell && !packet->requeued)
                quic_recovery_tell_frames(r, space, log, packet, QUIC_FATE_LOST);
        }
        number++;
    }
    quic_sent_trim(log, BASE_NEVER);
    assert(log->base == log->next && log->outstanding == 0 && log->eliciting == 0);
    r->loss_time[space] = BASE_NEVER;
    r->probes[space] = 0;
    r->pto_count = 0;
}

void quic_recovery_discard_space(struct quic_recovery *r, enum quic_space space) {
    recovery_withdraw(r, space, false);
    quic_sent_shrink(&r->spaces[space], r->mem);
    if (space == QUIC_HANDSHAKE)
        r->has_handshake_keys = false;
}

void quic_recovery_on_retry(struct quic_recovery *r) {
    recovery_withdraw(r, QUIC_INITIAL, true);
    recovery_withdraw(r, QUIC_APPLICATION, true);
}

void quic_recovery_on_early_rejected(struct quic_recovery *r) { recovery_withdraw(r, QUIC_APPLICATION, true); }

/* A packet says by its era whether its path is still there, so nothing need be told to those under way: a peer that
 * goes from address to address would make us walk all that is in flight each time. Only before an era comes again, once
 * in 256 times, the log is cleared of those from before. */
void quic_recovery_forget_path(struct quic_recovery *r, unsigned path) {
    if (r->paths[path])
        r->paths[path]->bytes_in_flight = 0;
    if (++r->eras[path] != 0)
        return;
    for (unsigned s = 0; s < QUIC_SPACES; s++) {
        struct quic_sent *log = &r->spaces[s];
        for (uint64_t number = log->base; number < log->next; number++) {
            struct quic_sent_packet *packet = quic_sent_at(log, number);
            if (packet->path == path)
                packet->path = RECOVERY_NO_PATH;
        }
    }
}

uint64_t quic_recovery_window_left(const struct quic_recovery *r) {
    const struct quic_path_control *path = r->paths[r->active];
    return path->cc.window > path->bytes_in_flight ? path->cc.window - path->bytes_in_flight : 0;
}

void quic_recovery_on_app_limited(struct quic_recovery *r) {
    struct quic_path_control *path = r->paths[r->active];
    quic_recovery_mark_app_limited(path);
}
