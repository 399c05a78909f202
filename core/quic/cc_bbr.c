/* cc_bbr.c - BBRv3: which state the sender is in, and when it changes (draft-ietf-ccwg-bbr).
 *
 * BBR sends at the rate the path delivers, and keeps in flight what that rate needs, instead of filling the queue until
 * it overflows. It finds both numbers by a cycle of experiments:
 *
 *     Startup -> Drain -> ProbeBW_DOWN -> CRUISE -> REFILL -> UP -> DOWN ...     and, each 5 s or so, ProbeRTT
 *
 * Startup doubles the rate each round trip until that brings no more; Drain empties the queue this made. CRUISE sends
 * at the estimated rate; each 2 to 3 s (or as often as a Reno flow would have grown by as much), REFILL and UP send
 * faster to see whether there is more; DOWN gives the queue of the probe back. ProbeRTT halves what is in flight for
 * 200 ms, if no quiet moment came by itself, to see the round-trip time without our own queue.
 *
 * Losses below 2 % are noise to a probe. Above, it has gone too far: inflight_longterm remembers. ECN-CE counts as such
 * a loss. The estimates themselves are cc_bbr_model.c.
 *
 * The invariant that matters: a probe is answered by at most one reduction (bw_probe_sample), and every state but
 * CRUISE, which a timer ends, ends by itself: after a round trip, or when the flight reaches a volume it is moving to.
 */
#include "quic/cc_bbr.h"

#define BBR_FULL_BW_GROWTH 1.25
#define BBR_FULL_BW_ROUNDS 3u
#define BBR_STARTUP_LOSS_RANGES 6u
#define BBR_DRAIN_ROUNDS 3u
#define BBR_PROBE_RTT_DURATION (200 * BASE_MS)
/* In the first round after ProbeRTT the flight grows again; samples of what was sent then tell of what was in flight,
 * not of the path. */
#define BBR_HELD_ROUNDS 2u
#define BBR_PROBE_WAIT (2 * BASE_SEC)
#define BBR_PROBE_ROUNDS_MOST 63u
#define BBR_PROBE_UP_ROUNDS_MOST 30u

/* ---- entering states ---- */

static void enter_startup(struct bbr *b) { b->state = BBR_STARTUP; }

static void enter_drain(struct bbr *b) {
    b->state = BBR_DRAIN;
    b->drain_start_round = b->round_count;
}

/* Flows that share a bottleneck must not probe together. When an ACK came, to the nanosecond, and what it
 * acknowledged differ from flow to flow: noise enough, and a run can be repeated. */
static uint64_t probe_noise(base_time now, uint64_t delivered) {
    uint64_t z = now + delivered * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void enter_probe_down(struct bbr *b, base_time now, uint64_t delivered) {
    uint64_t noise = probe_noise(now, delivered);
    bbr_reset_congestion(b);
    b->probe_up_acked_per_inc = BBR_INFINITY;
    b->rounds_since_probe_up = noise & 1;
    b->probe_wait = BBR_PROBE_WAIT + (noise >> 1) % BASE_SEC;
    b->cycle_at = now;
    b->ack_phase = BBR_ACKS_STOPPING;
    bbr_start_round(b, delivered);
    b->state = BBR_PROBE_DOWN;
}

static void enter_probe_refill(struct bbr *b, uint64_t delivered) {
    bbr_reset_shortterm(b);
    b->probe_up_rounds = 0;
    b->probe_up_acked = 0;
    b->prev_probe_precautionary = false;
    b->ack_phase = BBR_ACKS_REFILLING;
    bbr_start_round(b, delivered);
    b->state = BBR_PROBE_REFILL;
}

/* inflight_longterm grows by 1, 2, 4, ... datagrams a round trip. */
static void raise_longterm_slope(struct quic_cc *cc) {
    struct bbr *b = bbr_of(cc);
    uint64_t growth = UINT64_C(1) << b->probe_up_rounds;
    if (b->probe_up_rounds < BBR_PROBE_UP_ROUNDS_MOST)
        b->probe_up_rounds++;
    b->probe_up_acked_per_inc = bbr_max(cc->window / growth, cc->mtu);
}

static void enter_probe_up(struct quic_cc *cc, uint64_t delivered) {
    struct bbr *b = bbr_of(cc);
    b->ack_phase = BBR_ACKS_STARTING;
    bbr_start_round(b, delivered);
    bbr_reset_full_bw(b, b->rate);
    b->state = BBR_PROBE_UP;
    raise_longterm_slope(cc);
}

/* ---- Startup and Drain ---- */

static void check_full_bw(struct bbr *b, const struct quic_cc_ack *ack) {
    if (b->full_bw_now || !b->round_start || ack->sample_app_limited || b->rate == 0)
        return;
    if ((double)b->rate >= (double)b->full_bw * BBR_FULL_BW_GROWTH) {
        bbr_reset_full_bw(b, b->rate);
        return;
    }
    b->full_bw_now = ++b->full_bw_count >= BBR_FULL_BW_ROUNDS;
    b->full_bw_reached |= b->full_bw_now;
}

/* The queue overflows: Startup ends, and what was delivered in the last round trip is known to be safe. */
static void end_startup(struct quic_cc *cc) {
    struct bbr *b = bbr_of(cc);
    b->undo_state = BBR_STARTUP;
    b->full_bw_reached = true;
    b->inflight_longterm = bbr_max(bbr_bdp(cc, 1.0), b->inflight_latest);
}

static void check_startup_done(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    struct bbr *b = bbr_of(cc);
    if (b->state != BBR_STARTUP)
        return;
    if (!b->full_bw_reached && b->in_recovery && b->loss_round_start && b->loss_ranges >= BBR_STARTUP_LOSS_RANGES &&
        bbr_is_too_high(cc, ack->sample_lost, ack->sample_in_flight))
        end_startup(cc);
    if (b->full_bw_reached)
        enter_drain(b);
}

static void check_drain_done(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    struct bbr *b = bbr_of(cc);
    if (b->state == BBR_DRAIN &&
        (ack->bytes_in_flight <= bbr_inflight(cc, 1.0) || b->round_count > b->drain_start_round + BBR_DRAIN_ROUNDS))
        enter_probe_down(b, ack->now, ack->delivered);
}

/* ---- ProbeBW ---- */

/* A probe put too much in flight: remember how much was not too much, and give the queue back. */
static void handle_too_high(struct quic_cc *cc, uint64_t in_flight, bool app_limited, base_time now,
                            uint64_t delivered) {
    struct bbr *b = bbr_of(cc);
    b->prev_probe_too_high = true;
    b->bw_probe_sample = false;
    if (!app_limited)
        b->inflight_longterm = bbr_max(in_flight, bbr_scale(bbr_target_inflight(cc), BBR_BETA));
    if (b->state == BBR_PROBE_UP) {
        b->undo_state = BBR_PROBE_UP;
        enter_probe_down(b, now, delivered);
    }
}

static bool is_window_limited(const struct bbr *b) { return b->limited_now || b->limited_before; }

static void probe_longterm_upward(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    struct bbr *b = bbr_of(cc);
    if (!is_window_limited(b) || cc->window < b->inflight_longterm)
        return;
    b->probe_up_acked += ack->acked_bytes;
    if (b->probe_up_acked >= b->probe_up_acked_per_inc) {
        uint64_t steps = b->probe_up_acked / b->probe_up_acked_per_inc;
        b->probe_up_acked -= steps * b->probe_up_acked_per_inc;
        b->inflight_longterm += steps * cc->mtu;
    }
    if (b->round_start)
        raise_longterm_slope(cc);
}

/* What ACKs tell about a probe goes into max_bw and inflight_longterm. True: a state was entered. */
static bool adapt_longterm(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    struct bbr *b = bbr_of(cc);
    if (b->ack_phase == BBR_ACKS_STARTING && b->round_start)
        b->ack_phase = BBR_ACKS_FEEDBACK;
    if (b->ack_phase == BBR_ACKS_STOPPING && b->round_start) {
        b->bw_probe_sample = false;
        b->ack_phase = BBR_ACKS_INIT;
        if (bbr_in_probe_bw(b) && !ack->sample_app_limited)
            bbr_model_advance_max_bw(b);
        if (bbr_in_probe_bw(b) && b->prev_probe_precautionary && !b->prev_probe_too_high) {
            enter_probe_refill(b, ack->delivered); /* the careful probe did no harm: another one that goes further */
            return true;
        }
    }
    if (bbr_is_too_high(cc, ack->sample_lost, ack->sample_in_flight) || b->inflight_longterm == BBR_INFINITY)
        return false;
    b->inflight_longterm = bbr_max(b->inflight_longterm, ack->sample_in_flight);
    if (b->state == BBR_PROBE_UP)
        probe_longterm_upward(cc, ack);
    return false;
}

/* As often as a Reno flow with this window would have grown by as much, within limits; or because it is time. */
static bool is_time_to_probe(const struct quic_cc *cc, base_time now) {
    const struct bbr *b = bbr_of(cc);
    uint64_t rounds = bbr_min(bbr_target_inflight(cc) / cc->mtu, BBR_PROBE_ROUNDS_MOST);
    return now > b->cycle_at + b->probe_wait || b->rounds_since_probe_up >= rounds;
}

static bool is_time_to_cruise(const struct quic_cc *cc, const struct quic_cc_ack *ack) {
    return ack->bytes_in_flight <= bbr_inflight_with_headroom(cc) && ack->bytes_in_flight <= bbr_inflight(cc, 1.0);
}

static bool is_time_to_go_down(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    struct bbr *b = bbr_of(cc);
    /* no datagram more would fit below the bound: that is as far as the window goes */
    if (b->prev_probe_too_high && ack->prior_in_flight + cc->mtu > b->inflight_longterm) {
        b->prev_probe_precautionary = true;
        return true;
    }
    if (is_window_limited(b) && cc->window >= b->inflight_longterm)
        bbr_reset_full_bw(b, b->rate); /* the bound keeps us from seeing what the path has */
    return b->full_bw_now;
}

static void update_probe_bw(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    struct bbr *b = bbr_of(cc);
    if (!b->full_bw_reached || adapt_longterm(cc, ack) || !bbr_in_probe_bw(b))
        return;
    if (b->state == BBR_PROBE_DOWN || b->state == BBR_PROBE_CRUISE) {
        if (is_time_to_probe(cc, ack->now))
            enter_probe_refill(b, ack->delivered);
        else if (b->state == BBR_PROBE_DOWN && is_time_to_cruise(cc, ack))
            b->state = BBR_PROBE_CRUISE;
    } else if (b->state == BBR_PROBE_REFILL) {
        if (!b->round_start)
            return;
        b->bw_probe_sample = true;
        enter_probe_up(cc, ack->delivered);
    } else if (is_time_to_go_down(cc, ack)) {
        b->prev_probe_too_high = false; /* as far as is known */
        enter_probe_down(b, ack->now, ack->delivered);
    }
}

/* ---- ProbeRTT ---- */

static void restore_window(struct quic_cc *cc) { cc->window = bbr_max(cc->window, bbr_of(cc)->prior_window); }

static void check_probe_rtt_done(struct quic_cc *cc, base_time now, uint64_t delivered) {
    struct bbr *b = bbr_of(cc);
    if (b->probe_rtt_done_at == 0 || now <= b->probe_rtt_done_at)
        return;
    b->probe_rtt_min_at = now;
    restore_window(cc);
    bbr_reset_shortterm(b);
    if (b->full_bw_reached) {
        enter_probe_down(b, now, delivered);
        b->state = BBR_PROBE_CRUISE;
    } else {
        enter_startup(b);
    }
}

static void check_probe_rtt(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    struct bbr *b = bbr_of(cc);
    if (b->state != BBR_PROBE_RTT && b->probe_rtt_expired && !b->idle_restart) {
        /* A probe for bandwidth that is cut off here ends a cycle all the same once it had a round trip of answers:
         * where a queue has made round trips long, every probe may be, and a path that has become slow would be
         * believed to be fast for ever. */
        if (b->ack_phase == BBR_ACKS_FEEDBACK && !ack->sample_app_limited)
            bbr_model_advance_max_bw(b);
        bbr_save_window(cc);
        b->state = BBR_PROBE_RTT;
        b->probe_rtt_done_at = 0;
        b->ack_phase = BBR_ACKS_STOPPING;
        bbr_start_round(b, ack->delivered);
    }
    if (b->state == BBR_PROBE_RTT) {
        b->held_rounds = BBR_HELD_ROUNDS;
        if (b->probe_rtt_done_at == 0 && ack->bytes_in_flight <= bbr_probe_rtt_window(cc)) {
            b->probe_rtt_done_at = ack->now + BBR_PROBE_RTT_DURATION;
            b->probe_rtt_round_done = false;
            bbr_start_round(b, ack->delivered);
        } else if (b->probe_rtt_done_at != 0) {
            b->probe_rtt_round_done |= b->round_start;
            if (b->probe_rtt_round_done)
                check_probe_rtt_done(cc, ack->now, ack->delivered);
        }
    }
    cc->holds_back = b->state == BBR_PROBE_RTT;
    if (b->delivered > 0)
        b->idle_restart = false;
}

/* ---- what recovery tells ---- */

static bool bbr_init(struct quic_cc *cc) {
    struct bbr *b = bbr_of(cc);
    *b = (struct bbr){.undo_state = BBR_STATES};
    bbr_model_init(b);
    enter_startup(b);
    bbr_init_pacing_rate(cc, BASE_MS);
    return true;
}

static void bbr_on_sent(struct quic_cc *cc, base_time now, uint64_t number, uint64_t bytes, uint64_t bytes_in_flight) {
    struct bbr *b = bbr_of(cc);
    (void)number;
    if (bytes_in_flight + cc->mtu > cc->window)
        b->limited_now = true;
    if (bytes_in_flight != bytes || !cc->app_limited)
        return;
    b->idle_restart = true;
    b->extra_acked_start = now;
    b->extra_acked_delivered = 0;
    if (bbr_in_probe_bw(b)) {
        bbr_set_pacing_rate(cc, 1.0);
    } else if (b->state == BBR_PROBE_RTT) {
        check_probe_rtt_done(cc, now, b->next_round_delivered);
        cc->holds_back = b->state == BBR_PROBE_RTT;
    }
}

static void bbr_on_ack(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    struct bbr *b = bbr_of(cc);
    if (!b->rtt_seen && ack->rtt_sample) {
        b->rtt_seen = true;
        bbr_init_pacing_rate(cc, ack->rtt_sample);
    }
    bbr_model_on_ack(cc, ack);
    check_full_bw(b, ack);
    check_startup_done(cc, ack);
    check_drain_done(cc, ack);
    update_probe_bw(cc, ack);
    bbr_model_update_min_rtt(b, ack);
    check_probe_rtt(cc, ack);
    bbr_model_advance(b);
    if (b->in_recovery && ack->largest_sent_at > cc->recovery_start) {
        b->in_recovery = false;
        restore_window(cc);
    }
    bbr_control(cc, ack);
}

/* Losses are a signal of this round, from the first one on. */
static void note_congestion(struct quic_cc *cc, base_time sent_at, uint64_t delivered) {
    struct bbr *b = bbr_of(cc);
    if (sent_at > cc->recovery_start && b->undo_event != cc->events + 1)
        bbr_save_for_undo(cc);
    if (!b->loss_in_round)
        b->loss_round_delivered = delivered;
    b->loss_in_round = true;
}

/* The flight at which losses went above the threshold lies within this packet. */
static uint64_t inflight_at_loss(const struct quic_cc_lost *lost) {
    double before = (double)(lost->in_flight - bbr_min(lost->bytes, lost->in_flight));
    double prefix =
        (BBR_LOSS_THRESH * before - (double)(lost->lost - bbr_min(lost->bytes, lost->lost))) / (1.0 - BBR_LOSS_THRESH);
    return before + prefix > 0.0 ? (uint64_t)(before + prefix) : 0;
}

static void bbr_on_lost(struct quic_cc *cc, const struct quic_cc_lost *lost) {
    struct bbr *b = bbr_of(cc);
    note_congestion(cc, lost->sent_at, lost->delivered);
    b->loss_ranges += lost->number != b->last_lost + 1;
    b->last_lost = lost->number;
    if (b->bw_probe_sample && bbr_is_too_high(cc, lost->lost, lost->in_flight))
        handle_too_high(cc, inflight_at_loss(lost), lost->app_limited, lost->now, lost->delivered);
}

/* A queue that marks is as full as one that loses too much (RFC 3168): the probe that found it is over. */
static void on_marked(struct quic_cc *cc, const struct quic_cc_loss *loss) {
    struct bbr *b = bbr_of(cc);
    note_congestion(cc, loss->largest_lost_sent_at, loss->delivered);
    if (b->state == BBR_STARTUP) {
        end_startup(cc);
        enter_drain(b);
    } else if (b->bw_probe_sample) {
        handle_too_high(cc, loss->bytes_in_flight, cc->app_limited, loss->now, loss->delivered);
    }
}

static void bbr_on_congestion(struct quic_cc *cc, const struct quic_cc_loss *loss) {
    struct bbr *b = bbr_of(cc);
    if (loss->largest_lost_sent_at <= cc->recovery_start)
        return;
    if (loss->ecn)
        on_marked(cc, loss);
    cc->events++;
    cc->recovery_start = loss->now;
    bbr_save_window(cc);
    b->in_recovery = true;
}

static void bbr_on_persistent(struct quic_cc *cc, base_time now) {
    struct bbr *b = bbr_of(cc);
    bbr_save_window(cc);
    b->in_recovery = true;
    cc->recovery_start = now;
    cc->window = quic_cc_least_window(cc);
}

static void bbr_on_spurious(struct quic_cc *cc, base_time now) {
    struct bbr *b = bbr_of(cc);
    if (b->undo_event == 0 || b->undo_event != cc->events)
        return;
    uint8_t undo = b->undo_state;
    b->undo_event = 0;
    b->undo_state = BBR_STATES;
    (void)now;
    restore_window(cc);
    b->loss_in_round = false;
    bbr_reset_full_bw(b, 0);
    b->bw_shortterm = bbr_max(b->bw_shortterm, b->undo_bw_shortterm);
    b->inflight_shortterm = bbr_max(b->inflight_shortterm, b->undo_inflight_shortterm);
    b->inflight_longterm = bbr_max(b->inflight_longterm, b->undo_inflight_longterm);
    if (undo == BBR_STARTUP && b->state != BBR_STARTUP) {
        b->full_bw_reached = false;
        if (b->state != BBR_PROBE_RTT)
            enter_startup(b);
    } else if (undo == BBR_PROBE_UP && b->state != BBR_PROBE_UP && b->state != BBR_PROBE_RTT) {
        enter_probe_refill(b, b->next_round_delivered);
    }
}

static void bbr_on_mtu(struct quic_cc *cc, uint32_t mtu) {
    quic_cc_on_mtu(cc, mtu);
    cc->quantum = bbr_max(cc->quantum, 2 * (uint64_t)mtu);
}

static const char *bbr_state_name(const struct quic_cc *cc) {
    static const char *const names[BBR_STATES] = {
        [BBR_STARTUP] = "startup",
        [BBR_DRAIN] = "drain",
        [BBR_PROBE_DOWN] = "probe_bw_down",
        [BBR_PROBE_CRUISE] = "probe_bw_cruise",
        [BBR_PROBE_REFILL] = "probe_bw_refill",
        [BBR_PROBE_UP] = "probe_bw_up",
        [BBR_PROBE_RTT] = "probe_rtt",
    };
    return names[((const struct bbr *)cc->state)->state];
}

const struct quic_cc_ops quic_cc_bbr = {.name = "bbr",
                                        .models = true,
                                        .state_size = sizeof(struct bbr),
                                        .init = bbr_init,
                                        .on_sent = bbr_on_sent,
                                        .on_ack = bbr_on_ack,
                                        .on_lost = bbr_on_lost,
                                        .on_congestion = bbr_on_congestion,
                                        .on_persistent = bbr_on_persistent,
                                        .on_spurious = bbr_on_spurious,
                                        .on_mtu = bbr_on_mtu,
                                        .state_name = bbr_state_name};
