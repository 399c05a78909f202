/* cc_bbr.h - what cc_bbr.c (the state machine) and cc_bbr_model.c (the model of the path) share. Nobody else includes
 * it. Names are those of draft-ietf-ccwg-bbr; rates are bytes a second, volumes bytes.
 */
#ifndef QUIC_CC_BBR_H
#define QUIC_CC_BBR_H

#include "quic/cc.h"

#define BBR_INFINITY UINT64_MAX
#define BBR_LOSS_THRESH 0.02 /* most loss in a round trip that probing for bandwidth may cause */
#define BBR_BETA 0.7
#define BBR_MIN_PIPE_PACKETS 4u

enum bbr_state {
    BBR_STARTUP = 0,
    BBR_DRAIN,
    BBR_PROBE_DOWN,
    BBR_PROBE_CRUISE,
    BBR_PROBE_REFILL,
    BBR_PROBE_UP,
    BBR_PROBE_RTT,
    BBR_STATES
};

/* What the ACKs that come now tell about the last probe for bandwidth. */
enum bbr_acks { BBR_ACKS_INIT = 0, BBR_ACKS_REFILLING, BBR_ACKS_STARTING, BBR_ACKS_FEEDBACK, BBR_ACKS_STOPPING };

struct bbr {
    uint8_t state;                /* enum bbr_state */
    uint8_t ack_phase;            /* enum bbr_acks */
    uint8_t undo_state;           /* BBR_STARTUP or BBR_PROBE_UP: what losses ended; BBR_STATES = nothing */
    uint8_t loss_round_states[2]; /* when the round of losses began; when the one before did */
    uint8_t full_bw_count, probe_up_rounds;
    uint8_t held_rounds; /* rounds until samples are not about a flight that ProbeRTT kept low */
    bool round_start, loss_round_start;
    bool full_bw_reached, full_bw_now;
    bool loss_in_round;   /* or ECN-CE */
    bool bw_probe_sample; /* ACKs tell of a probe that has not been answered by a reduction yet */
    bool prev_probe_too_high, prev_probe_precautionary;
    bool idle_restart, probe_rtt_expired, probe_rtt_round_done;
    bool in_recovery, rtt_seen;
    bool limited_now, limited_before; /* the window was full in this round trip, in the one before */

    /* rounds */
    uint64_t next_round_delivered, loss_round_delivered;
    uint32_t round_count, rounds_since_probe_up, drain_start_round;
    uint32_t loss_ranges; /* runs of lost packets in this round */
    uint64_t last_lost;   /* number of the packet lost last */

    /* the newest sample */
    uint64_t rate;                                  /* 0 = none */
    uint64_t delivered;                             /* bytes it is about */
    uint64_t rate_with_noise, delivered_with_noise; /* the same, with losses that are too few to count */

    /* rates */
    uint64_t bw, max_bw, max_bw_filter[2]; /* of the ProbeBW cycle before and of this one */
    uint64_t bw_latest, bw_shortterm, full_bw;

    /* volumes */
    uint64_t inflight_latest, inflight_shortterm, inflight_longterm;
    uint64_t extra_acked[2]; /* most in the half window before, and in this one */
    uint64_t extra_acked_delivered;
    base_time extra_acked_start;
    uint32_t extra_acked_round; /* when this half window began */
    uint64_t probe_up_acked, probe_up_acked_per_inc;
    uint64_t prior_window;

    /* round-trip times and clocks */
    base_time min_rtt, min_rtt_at, probe_rtt_min, probe_rtt_min_at; /* min_rtt BBR_INFINITY = none yet */
    base_time probe_rtt_done_at;                                    /* 0 = not known yet */
    base_time cycle_at, probe_wait;

    /* what losses changed, to be put back when they prove spurious */
    uint64_t undo_bw_shortterm, undo_inflight_shortterm, undo_inflight_longterm;
    uint64_t undo_event; /* number of the congestion event that was saved for */
};

static inline struct bbr *bbr_of(const struct quic_cc *cc) { return (struct bbr *)cc->state; }
static inline uint64_t bbr_max(uint64_t a, uint64_t b) { return a > b ? a : b; }
static inline uint64_t bbr_min(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t bbr_scale(uint64_t a, double gain) {
    double scaled = (double)a * gain;
    return a == BBR_INFINITY || scaled > 9.0e18 ? BBR_INFINITY : (uint64_t)scaled;
}
static inline bool bbr_in_probe_bw(const struct bbr *b) {
    return b->state >= BBR_PROBE_DOWN && b->state <= BBR_PROBE_UP;
}
/* More than the threshold, and more than chance makes of it: of n packets that are lost with a chance of p each, n * p
 * are, give or take the root of that. A path that loses 1 % by itself loses 2 % of one flight in twenty; with two such
 * deviations it is one in some thousands, while a queue that overflows loses half of what is too much and is found all
 * the same. */
static inline bool bbr_is_too_high(const struct quic_cc *cc, uint64_t lost, uint64_t in_flight) {
    double expected = (double)in_flight * BBR_LOSS_THRESH, beyond = (double)lost - expected;
    return beyond > 0.0 && beyond * beyond > 4.0 * expected * (double)cc->mtu;
}
static inline uint64_t bbr_min_pipe(const struct quic_cc *cc) { return BBR_MIN_PIPE_PACKETS * (uint64_t)cc->mtu; }

/* ---- cc_bbr_model.c ---- */

void bbr_model_init(struct bbr *b);
/* Rounds, latest signals, max_bw and short-term bounds: the first half of what an ACK brings. */
void bbr_model_on_ack(struct quic_cc *cc, const struct quic_cc_ack *ack);
/* ... and the end of it, when the states have had their say: latest signals go on, bw is bounded. */
void bbr_model_advance(struct bbr *b);
void bbr_model_advance_max_bw(struct bbr *b);
void bbr_model_update_min_rtt(struct bbr *b, const struct quic_cc_ack *ack);
void bbr_start_round(struct bbr *b, uint64_t delivered);
void bbr_reset_congestion(struct bbr *b);
void bbr_reset_shortterm(struct bbr *b);
void bbr_reset_full_bw(struct bbr *b, uint64_t baseline);
void bbr_save_window(struct quic_cc *cc);
/* The first loss of a congestion event: keeps what may have to be put back. */
void bbr_save_for_undo(struct quic_cc *cc);

uint64_t bbr_bdp(const struct quic_cc *cc, double gain);
uint64_t bbr_inflight(const struct quic_cc *cc, double gain); /* BDP, and what sending in bursts takes */
uint64_t bbr_inflight_with_headroom(const struct quic_cc *cc);
uint64_t bbr_target_inflight(const struct quic_cc *cc);
uint64_t bbr_probe_rtt_window(const struct quic_cc *cc);

/* Pacing rate, quantum and window for the model and the state. */
void bbr_set_pacing_rate(struct quic_cc *cc, double gain);
void bbr_control(struct quic_cc *cc, const struct quic_cc_ack *ack);
void bbr_init_pacing_rate(struct quic_cc *cc, base_time rtt);
double bbr_pacing_gain(const struct bbr *b);
bool bbr_is_probing_bw(const struct bbr *b);

#endif
