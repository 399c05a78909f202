/* cc_bbr_model.c - BBRv3's model of the path, and what it makes of it (draft-ietf-ccwg-bbr, sections "Updating Network
 * Path Model Parameters" and "Updating Control Parameters").
 *
 * Knows samples: how fast the path delivered, how long it took, how much was lost. From them come two estimates that
 * last - the most bandwidth of two probing cycles, the least round-trip time of ten seconds - and bounds of two kinds:
 * short-term ones, which follow losses between probes and are forgotten with the next probe, and inflight_longterm,
 * the most in flight that a probe found to be safe. Does not know why a state is entered: that is cc_bbr.c.
 *
 * Where the draft leaves a choice: the quantum is 2 ms of the rate, as coarse as the timers it is sent by; extra_acked
 * is kept in two half windows instead of a sorted list of maxima. Where short-term bounds would follow what the sender
 * did to itself rather than what the path did - pacing below bw, ProbeRTT - they do not: see model_lower_bounds.
 *
 * The invariant that matters: bw <= max_bw, and the window is never above what the state's cap allows nor below four
 * datagrams, save after persistent congestion.
 */
#include "quic/cc_bbr.h"

#define BBR_HEADROOM 0.15
#define BBR_MIN_RTT_LEN (10 * BASE_SEC)
#define BBR_PROBE_RTT_INTERVAL (5 * BASE_SEC)
#define BBR_PROBE_RTT_GAIN 0.5
#define BBR_EXTRA_ACKED_ROUNDS 10u
#define BBR_PACING_MARGIN 0.99
#define BBR_STARTUP_GAIN 2.77
#define BBR_QUANTUM_TIME (2 * BASE_MS)
#define BBR_QUANTUM_MOST 65536u

/* What each state does to the estimates. `probing`: it looks for bandwidth, so short-term bounds do not apply. */
static const struct {
    double pacing_gain, window_gain;
    bool probing;
} bbr_states[BBR_STATES] = {
    [BBR_STARTUP] = {BBR_STARTUP_GAIN, 2.0, true},
    [BBR_DRAIN] = {0.5, 2.0, false},
    [BBR_PROBE_DOWN] = {0.9, 2.0, false},
    [BBR_PROBE_CRUISE] = {1.0, 2.0, false},
    [BBR_PROBE_REFILL] = {1.0, 2.0, true},
    [BBR_PROBE_UP] = {1.25, 2.25, true},
    [BBR_PROBE_RTT] = {1.0, BBR_PROBE_RTT_GAIN, false},
};

double bbr_pacing_gain(const struct bbr *b) { return bbr_states[b->state].pacing_gain; }
bool bbr_is_probing_bw(const struct bbr *b) { return bbr_states[b->state].probing; }

void bbr_model_init(struct bbr *b) {
    b->min_rtt = b->probe_rtt_min = BBR_INFINITY;
    b->inflight_longterm = b->probe_up_acked_per_inc = BBR_INFINITY;
    b->last_lost = BBR_INFINITY - 1;
    bbr_reset_shortterm(b);
}

/* ---- rounds and rates ---- */

void bbr_start_round(struct bbr *b, uint64_t delivered) { b->next_round_delivered = delivered; }

static void model_update_round(struct bbr *b, const struct quic_cc_ack *ack) {
    b->round_start = ack->packet_delivered >= b->next_round_delivered;
    if (!b->round_start)
        return;
    bbr_start_round(b, ack->delivered);
    b->round_count++;
    b->rounds_since_probe_up++;
    if (b->held_rounds)
        b->held_rounds--;
    b->limited_before = b->limited_now;
    b->limited_now = false;
}

static void model_update_max_bw(struct bbr *b, const struct quic_cc_ack *ack) {
    if (b->rate == 0 || (b->rate < b->max_bw && ack->sample_app_limited))
        return;
    b->max_bw_filter[1] = bbr_max(b->max_bw_filter[1], b->rate);
    b->max_bw = bbr_max(b->max_bw_filter[0], b->max_bw_filter[1]);
}

/* A cycle is over: what was measured in the one before it is forgotten, unless this one measured nothing. */
void bbr_model_advance_max_bw(struct bbr *b) {
    if (b->max_bw_filter[1] == 0)
        return;
    b->max_bw_filter[0] = b->max_bw_filter[1];
    b->max_bw_filter[1] = 0;
    b->max_bw = b->max_bw_filter[0];
}

void bbr_reset_full_bw(struct bbr *b, uint64_t baseline) {
    b->full_bw = baseline;
    b->full_bw_count = 0;
    b->full_bw_now = false;
}

/* ---- what losses say between probes ---- */

void bbr_reset_congestion(struct bbr *b) {
    b->loss_in_round = false;
    b->bw_latest = b->inflight_latest = 0;
}

void bbr_reset_shortterm(struct bbr *b) { b->bw_shortterm = b->inflight_shortterm = BBR_INFINITY; }

static void model_update_latest(struct bbr *b, const struct quic_cc_ack *ack) {
    b->loss_round_start = ack->packet_delivered >= b->loss_round_delivered;
    b->bw_latest = bbr_max(b->bw_latest, b->rate_with_noise);
    b->inflight_latest = bbr_max(b->inflight_latest, b->delivered_with_noise);
    if (b->loss_round_start)
        b->loss_round_delivered = ack->delivered;
}

/* The least that rates measured now may owe to our own pacing. A sample is about what was acknowledged after a packet
 * was sent, and that was sent up to a round before it: what is acknowledged in this round tells of the last two. */
static double model_least_gain(const struct bbr *b) {
    const uint8_t states[] = {b->state, b->loss_round_states[0], b->loss_round_states[1]};
    double least = 1.0;
    for (unsigned i = 0; i < sizeof states; i++)
        if (bbr_states[states[i]].pacing_gain < least)
            least = bbr_states[states[i]].pacing_gain;
    return least;
}

/* Once in a round with losses: towards what the path delivers now, not further than by Beta. Where the draft takes the
 * latest rate as it is, a sender that paces below bw would slow itself down with each loss, whatever the path has: so
 * what we did not send because of the gain is given back first. */
static void model_lower_bounds(struct quic_cc *cc) {
    struct bbr *b = bbr_of(cc);
    if (b->bw_shortterm == BBR_INFINITY)
        b->bw_shortterm = b->max_bw;
    if (b->inflight_shortterm == BBR_INFINITY)
        b->inflight_shortterm = cc->window;
    double gain = BBR_PACING_MARGIN * model_least_gain(b);
    uint64_t latest = bbr_min(bbr_scale(b->bw_latest, 1.0 / gain), b->bw_shortterm);
    b->bw_shortterm = bbr_max(latest, bbr_scale(b->bw_shortterm, BBR_BETA));
    b->inflight_shortterm = bbr_max(b->inflight_latest, bbr_scale(b->inflight_shortterm, BBR_BETA));
}

void bbr_model_advance(struct bbr *b) {
    if (b->loss_round_start) {
        b->bw_latest = b->rate_with_noise;
        b->inflight_latest = b->delivered_with_noise;
        b->loss_ranges = 0;
        b->loss_round_states[1] = b->loss_round_states[0];
        b->loss_round_states[0] = b->state;
    }
    b->bw = bbr_min(b->max_bw, b->bw_shortterm);
}

/* ---- aggregation ---- */

/* How much more than expected came at once: the receiver, or the path, collects ACKs. */
static void model_update_extra_acked(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    struct bbr *b = bbr_of(cc);
    uint64_t expected = bbr_scale(b->bw, (double)(ack->now - b->extra_acked_start) / (double)BASE_SEC);
    if (b->extra_acked_delivered <= expected) {
        b->extra_acked_delivered = 0;
        b->extra_acked_start = ack->now;
        expected = 0;
    }
    b->extra_acked_delivered += ack->acked_bytes;
    uint32_t half = b->full_bw_reached ? BBR_EXTRA_ACKED_ROUNDS / 2 : 1;
    if (b->round_count - b->extra_acked_round >= half) {
        b->extra_acked[0] = b->full_bw_reached ? b->extra_acked[1] : 0;
        b->extra_acked[1] = 0;
        b->extra_acked_round = b->round_count;
    }
    b->extra_acked[1] = bbr_max(b->extra_acked[1], bbr_min(b->extra_acked_delivered - expected, cc->window));
}

/* Losses up to the threshold are noise to a probe, and must be noise between probes too: they count as delivered there,
 * or a path that loses one packet in a hundred would bring the short-term bounds down round by round. */
static void model_take_sample(const struct quic_cc *cc, const struct quic_cc_ack *ack) {
    struct bbr *b = bbr_of(cc);
    uint64_t noise = bbr_is_too_high(cc, ack->sample_lost, ack->sample_in_flight) ? 0 : ack->sample_lost;
    bool sampled = ack->sample_interval != 0;
    double rate = sampled ? (double)BASE_SEC / (double)ack->sample_interval : 0.0;
    b->rate = bbr_scale(ack->sample_delivered, rate);
    b->delivered = sampled ? ack->sample_delivered : 0;
    b->rate_with_noise = bbr_scale(ack->sample_delivered + noise, rate);
    b->delivered_with_noise = sampled ? ack->sample_delivered + noise : 0;
}

void bbr_model_on_ack(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    struct bbr *b = bbr_of(cc);
    model_take_sample(cc, ack);
    model_update_latest(b, ack);
    model_update_round(b, ack);
    model_update_max_bw(b, ack);
    if (b->loss_round_start) {
        if (b->loss_in_round && !bbr_is_probing_bw(b) && b->held_rounds == 0)
            model_lower_bounds(cc);
        b->loss_in_round = false;
    }
    model_update_extra_acked(cc, ack);
}

void bbr_model_update_min_rtt(struct bbr *b, const struct quic_cc_ack *ack) {
    b->probe_rtt_expired = ack->now > b->probe_rtt_min_at + BBR_PROBE_RTT_INTERVAL && b->probe_rtt_min != BBR_INFINITY;
    if (ack->rtt_sample && (ack->rtt_sample < b->probe_rtt_min || b->probe_rtt_expired)) {
        b->probe_rtt_min = ack->rtt_sample;
        b->probe_rtt_min_at = ack->now;
    }
    if (b->probe_rtt_min < b->min_rtt || ack->now > b->min_rtt_at + BBR_MIN_RTT_LEN) {
        b->min_rtt = b->probe_rtt_min;
        b->min_rtt_at = b->probe_rtt_min_at;
    }
}

/* ---- volumes ---- */

uint64_t bbr_bdp(const struct quic_cc *cc, double gain) {
    const struct bbr *b = bbr_of(cc);
    if (b->min_rtt == BBR_INFINITY || b->bw == 0)
        return quic_cc_initial_window(cc->mtu, cc->initial_packets);
    return bbr_scale(b->bw, gain * (double)b->min_rtt / (double)BASE_SEC);
}

static uint64_t model_with_quantum(const struct quic_cc *cc, uint64_t volume) {
    volume = bbr_max(volume, bbr_max(cc->quantum, bbr_min_pipe(cc)));
    return bbr_of(cc)->state == BBR_PROBE_UP ? volume + 2 * (uint64_t)cc->mtu : volume;
}

uint64_t bbr_inflight(const struct quic_cc *cc, double gain) { return model_with_quantum(cc, bbr_bdp(cc, gain)); }

uint64_t bbr_inflight_with_headroom(const struct quic_cc *cc) {
    const struct bbr *b = bbr_of(cc);
    if (b->inflight_longterm == BBR_INFINITY)
        return BBR_INFINITY;
    uint64_t headroom = bbr_max(cc->mtu, bbr_scale(b->inflight_longterm, BBR_HEADROOM));
    return b->inflight_longterm > headroom + bbr_min_pipe(cc) ? b->inflight_longterm - headroom : bbr_min_pipe(cc);
}

uint64_t bbr_target_inflight(const struct quic_cc *cc) { return bbr_min(bbr_bdp(cc, 1.0), cc->window); }

uint64_t bbr_probe_rtt_window(const struct quic_cc *cc) {
    return bbr_max(bbr_bdp(cc, BBR_PROBE_RTT_GAIN), bbr_min_pipe(cc));
}

/* ---- undo ---- */

void bbr_save_window(struct quic_cc *cc) {
    struct bbr *b = bbr_of(cc);
    bool modulated = b->in_recovery || b->state == BBR_PROBE_RTT;
    b->prior_window = modulated ? bbr_max(b->prior_window, cc->window) : cc->window;
}

void bbr_save_for_undo(struct quic_cc *cc) {
    struct bbr *b = bbr_of(cc);
    bbr_save_window(cc);
    b->undo_event = cc->events + 1;
    b->undo_state = BBR_STATES;
    b->undo_bw_shortterm = b->bw_shortterm;
    b->undo_inflight_shortterm = b->inflight_shortterm;
    b->undo_inflight_longterm = b->inflight_longterm;
}

/* ---- control ---- */

static void control_set_quantum(struct quic_cc *cc) {
    uint64_t quantum = cc->pacing_rate / (BASE_SEC / BBR_QUANTUM_TIME);
    cc->quantum = bbr_max(bbr_min(quantum, BBR_QUANTUM_MOST), 2 * (uint64_t)cc->mtu);
}

/* The rate is only lowered once the pipe was full: what was measured before may be the application's rate. */
void bbr_set_pacing_rate(struct quic_cc *cc, double gain) {
    struct bbr *b = bbr_of(cc);
    uint64_t rate = bbr_max(bbr_scale(b->bw, gain * BBR_PACING_MARGIN), cc->mtu);
    if (b->bw && (b->full_bw_reached || rate > cc->pacing_rate))
        cc->pacing_rate = rate;
    control_set_quantum(cc);
}

void bbr_init_pacing_rate(struct quic_cc *cc, base_time rtt) {
    uint64_t window = quic_cc_initial_window(cc->mtu, cc->initial_packets);
    cc->pacing_rate = bbr_scale(window, BBR_STARTUP_GAIN * (double)BASE_SEC / (double)rtt);
    control_set_quantum(cc);
}

static uint64_t control_cap(const struct quic_cc *cc) {
    const struct bbr *b = bbr_of(cc);
    uint64_t cap = BBR_INFINITY;
    if (b->state == BBR_PROBE_RTT || b->state == BBR_PROBE_CRUISE)
        cap = bbr_inflight_with_headroom(cc);
    else if (bbr_in_probe_bw(b))
        cap = b->inflight_longterm;
    return bbr_max(bbr_min(cap, b->inflight_shortterm), bbr_min_pipe(cc));
}

static void control_set_window(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    struct bbr *b = bbr_of(cc);
    uint64_t volume = bbr_bdp(cc, bbr_states[b->state].window_gain) + bbr_max(b->extra_acked[0], b->extra_acked[1]);
    uint64_t most = model_with_quantum(cc, volume);
    if (b->full_bw_reached)
        cc->window = bbr_min(cc->window + ack->acked_bytes, most);
    else if (cc->window < most || ack->delivered < quic_cc_initial_window(cc->mtu, cc->initial_packets))
        cc->window += ack->acked_bytes;
    cc->window = bbr_max(cc->window, bbr_min_pipe(cc));
    if (b->state == BBR_PROBE_RTT)
        cc->window = bbr_min(cc->window, bbr_probe_rtt_window(cc));
    cc->window = bbr_min(cc->window, control_cap(cc));
}

void bbr_control(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    bbr_set_pacing_rate(cc, bbr_pacing_gain(bbr_of(cc)));
    control_set_window(cc, ack);
}
