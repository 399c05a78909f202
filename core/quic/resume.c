/* resume.c - the machine of Careful Resume (RFC 9959 section 4; resume.h says what its phases are).
 *
 * Knows bytes, round trips and when packets were sent. Does not know where saved windows come from or go to.
 *
 * Packets are told apart by when they were sent, as everywhere in congestion control: numbers are those of three
 * spaces. What the path carries is what was acknowledged in a round trip, taken to the least RTT: that is the path and
 * not the queue before it, and a window that overshot at the end of slow start does not count.
 *
 * A congestion signal after the jump reaches the controller with the window it has earned (PipeSize) in place of the
 * jump: what it remembers - CUBIC's W_max, what to go back to if the loss was none - is never the jump.
 *
 * The invariant that matters: between two calls the window is the controller's, but in UNVALIDATED, where it is the
 * jump, and in SAFE_RETREAT, where it is at most what it was.
 */
#include "quic/resume.h"

#include "quic/types.h"

#define RESUME_WORTH 4u /* initial windows: less is not worth saving (4.1) */
#define RESUME_RTT_LEAST 2u
#define RESUME_RTT_MOST 10u
#define RESUME_PATIENCE (10 * BASE_SEC) /* until a path that carries less is told of */

/* ---- phases ---- */

static void resume_go(struct quic_cc *cc, enum quic_resume_phase phase, enum quic_resume_why why) {
    struct quic_resume *r = cc->resume;
    enum quic_resume_phase old = (enum quic_resume_phase)r->phase;
    if (old == QUIC_RESUME_UNVALIDATED) {
        cc->pacing_rate = r->rate_before;
        cc->quantum = r->quantum_before;
    }
    r->phase = (uint8_t)phase;
    r->events->on_phase(r->user, cc, old, why);
}

static uint64_t resume_at_least(const struct quic_cc *cc, uint64_t window) {
    return window > quic_cc_least_window(cc) ? window : quic_cc_least_window(cc);
}

/* After the controller has had its word. */
static void resume_hold(struct quic_cc *cc) {
    struct quic_resume *r = cc->resume;
    if (r->phase == QUIC_RESUME_UNVALIDATED) {
        cc->window = resume_at_least(cc, r->held);
        cc->pacing_rate = r->rate;
        cc->quantum = r->quantum > quic_cc_least_window(cc) ? r->quantum : quic_cc_least_window(cc);
    } else if (r->phase == QUIC_RESUME_SAFE_RETREAT) {
        if (cc->window > r->held)
            cc->window = resume_at_least(cc, r->held);
        r->held = cc->window;
    }
}

/* 4.2.1: a path whose RTT has halved would be sent to at twice the rate of then; one of ten times the RTT is
 * another. */
static bool resume_rtt_fits(const struct quic_resume *r, const struct quic_rtt *rtt) {
    return rtt->sampled && rtt->min > r->saved.rtt / RESUME_RTT_LEAST && rtt->min <= r->saved.rtt * RESUME_RTT_MOST;
}

/* 3.2: all that a new connection may send at first has arrived, and there is more to send. */
static void resume_confirm(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    struct quic_resume *r = cc->resume;
    uint64_t jump = r->saved.window / 2 < r->most ? r->saved.window / 2 : r->most;
    r->acked += ack->acked_bytes;
    if (r->acked < r->initial_window || cc->app_limited)
        return;
    if (cc->window >= jump) {
        resume_go(cc, QUIC_RESUME_NORMAL, QUIC_RESUME_REACHED);
    } else if (!resume_rtt_fits(r, ack->rtt)) {
        resume_go(cc, QUIC_RESUME_NORMAL, QUIC_RESUME_RTT_NOT_VALID);
    } else if (ack->now > r->saved.good_to) {
        resume_go(cc, QUIC_RESUME_NORMAL, QUIC_RESUME_EXPIRED);
    } else if (!r->events->claim(r->user, &r->saved, ack->now)) {
        resume_go(cc, QUIC_RESUME_NORMAL, QUIC_RESUME_USED);
    } else {
        r->pipe = ack->bytes_in_flight;
        r->held = jump;
        r->round_trip = base_time_max(ack->rtt->smoothed, ack->rtt->latest);
        r->rate = (uint64_t)((double)jump * (double)BASE_SEC / (double)r->round_trip) + 1;
        r->quantum = r->initial_window; /* 4.3.2: no burst beyond what any connection may begin with */
        r->rate_before = cc->pacing_rate;
        r->quantum_before = cc->quantum;
        r->entered_at = r->last_at = ack->now;
        cc->window = jump; /* as it is told */
        resume_go(cc, QUIC_RESUME_UNVALIDATED, QUIC_RESUME_CONFIRMED);
    }
}

/* 3.3, "Check flight_size": the part of the jump that was not used is given back. */
static void resume_evaluate(struct quic_cc *cc, uint64_t in_flight, enum quic_resume_why why) {
    struct quic_resume *r = cc->resume;
    if (in_flight < r->initial_window || in_flight <= r->pipe) {
        uint64_t window = r->pipe > r->initial_window ? r->pipe : r->initial_window;
        cc->window = resume_at_least(cc, window < r->held ? window : r->held);
        resume_go(cc, QUIC_RESUME_NORMAL, QUIC_RESUME_RATE_LIMITED);
    } else {
        cc->window = resume_at_least(cc, in_flight < r->held ? in_flight : r->held);
        resume_go(cc, QUIC_RESUME_VALIDATING, why);
    }
}

/* 3.5: what is saved is forgotten - nothing was observed so far - and the window is half of what is proven, until what
 * was sent has left the path. */
static void resume_retreat(struct quic_cc *cc, enum quic_resume_why why) {
    struct quic_resume *r = cc->resume;
    uint64_t half = resume_at_least(cc, r->pipe / 2);
    r->held = cc->window < half ? cc->window : half;
    cc->window = r->held;
    r->retreats_from = cc->events;
    resume_go(cc, QUIC_RESUME_SAFE_RETREAT, why);
    r->events->on_observed(r->user);
}

/* 3.5: slow start ends at half of what the path has shown to carry, or below if there was more to lose meanwhile. */
static void resume_leave_retreat(struct quic_cc *cc) {
    struct quic_resume *r = cc->resume;
    uint64_t half = resume_at_least(cc, r->pipe / 2);
    bool again = cc->events != r->retreats_from;
    if (!again || cc->threshold > half)
        cc->threshold = half;
    resume_go(cc, QUIC_RESUME_NORMAL, QUIC_RESUME_EXIT_RECOVERY);
}

/* ---- observing (3.1, 4.1) ---- */

static void resume_tell(struct quic_resume *r, base_time now) {
    uint64_t worth = r->observed >= RESUME_WORTH * r->initial_window ? r->observed : 0;
    bool grown = worth > r->told + r->told / 4;
    bool shrunk = worth < r->told / 2 && now - r->told_at >= RESUME_PATIENCE;
    if (!grown && !shrunk)
        return;
    r->told = worth;
    r->told_at = now;
    r->events->on_observed(r->user);
}

static void resume_observe(struct quic_resume *r, const struct quic_cc_ack *ack) {
    if (r->round_at && ack->packet_delivered < r->round_delivered)
        return;
    base_time elapsed = ack->now - r->round_at, least = ack->rtt->min;
    uint64_t bytes = ack->delivered - r->round_delivered;
    bool whole = r->round_at && ack->rtt->sampled && elapsed >= least;
    r->round_at = ack->now;
    r->round_delivered = ack->delivered;
    if (!whole)
        return;
    uint64_t carried = (uint64_t)((double)bytes * (double)least / (double)elapsed);
    if (carried > r->observed)
        r->observed = carried;
    else if (!ack->sample_app_limited)
        r->observed -= (r->observed - carried) / 8;
    r->observed_rtt = least;
    resume_tell(r, ack->now);
}

bool quic_resume_observed(const struct quic_cc *cc, struct quic_resume_saved *saved) {
    const struct quic_resume *r = cc->resume;
    if (!r || !r->told)
        return false;
    *saved = (struct quic_resume_saved){.window = r->observed, .rtt = r->observed_rtt};
    return true;
}

/* ---- the controller's functions ---- */

/* The controller sees itself: some find their own by cc->ops. */
static struct quic_resume *resume_enter(struct quic_cc *cc) {
    cc->ops = cc->resume->inner;
    return cc->resume;
}

static void resume_leave(struct quic_cc *cc) { cc->ops = &cc->resume->ops; }

static void resume_on_sent(struct quic_cc *cc, base_time now, uint64_t number, uint64_t bytes,
                           uint64_t bytes_in_flight) {
    struct quic_resume *r = resume_enter(cc);
    r->inner->on_sent(cc, now, number, bytes, bytes_in_flight);
    resume_leave(cc);
    resume_hold(cc);
    if (r->phase != QUIC_RESUME_UNVALIDATED)
        return;
    r->last_at = now;
    if (r->first_number == QUIC_NO_NUMBER)
        r->first_number = number;
    r->last_number = number;
    if (bytes_in_flight + cc->mtu > cc->window)
        resume_evaluate(cc, bytes_in_flight, QUIC_RESUME_LAST_SENT);
    else if (now - r->entered_at > r->round_trip)
        resume_evaluate(cc, bytes_in_flight, QUIC_RESUME_RTT_EXCEEDED);
}

static void resume_unvalidated(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    struct quic_resume *r = cc->resume;
    if (ack->rtt->min <= r->saved.rtt / RESUME_RTT_LEAST)
        resume_retreat(cc, QUIC_RESUME_PATH_CHANGED);
    else if (r->first_number != QUIC_NO_NUMBER && ack->largest_sent_at >= r->entered_at)
        resume_evaluate(cc, ack->bytes_in_flight, QUIC_RESUME_FIRST_ACKED);
    else if (ack->now - r->entered_at > r->round_trip)
        resume_evaluate(cc, ack->bytes_in_flight, QUIC_RESUME_RTT_EXCEEDED);
}

static void resume_on_ack(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    struct quic_resume *r = resume_enter(cc);
    r->inner->on_ack(cc, ack);
    resume_leave(cc);
    resume_hold(cc);
    r->pipe += ack->acked_bytes;
    switch ((enum quic_resume_phase)r->phase) {
    case QUIC_RESUME_NORMAL: resume_observe(r, ack); break;
    case QUIC_RESUME_RECONNAISSANCE: resume_confirm(cc, ack); break;
    case QUIC_RESUME_UNVALIDATED: resume_unvalidated(cc, ack); break;
    case QUIC_RESUME_VALIDATING:
        if (ack->largest_sent_at >= r->last_at)
            resume_go(cc, QUIC_RESUME_NORMAL, QUIC_RESUME_LAST_ACKED);
        break;
    case QUIC_RESUME_SAFE_RETREAT:
        if (ack->largest_sent_at >= r->last_at)
            resume_leave_retreat(cc);
        break;
    }
    resume_hold(cc);
}

static void resume_on_lost(struct quic_cc *cc, const struct quic_cc_lost *lost) {
    resume_enter(cc)->inner->on_lost(cc, lost);
    resume_leave(cc);
    resume_hold(cc);
}

static void resume_on_congestion(struct quic_cc *cc, const struct quic_cc_loss *loss) {
    struct quic_resume *r = resume_enter(cc);
    bool jumped = r->phase == QUIC_RESUME_UNVALIDATED || r->phase == QUIC_RESUME_VALIDATING;
    if (jumped && cc->window > r->pipe)
        cc->window = resume_at_least(cc, r->pipe);
    r->inner->on_congestion(cc, loss);
    resume_leave(cc);
    enum quic_resume_why why = loss->ecn ? QUIC_RESUME_ECN : QUIC_RESUME_LOSS;
    if (jumped)
        resume_retreat(cc, why);
    else if (r->phase == QUIC_RESUME_RECONNAISSANCE)
        resume_go(cc, QUIC_RESUME_NORMAL, why);
    resume_hold(cc);
}

/* 3.6 */
static void resume_on_persistent(struct quic_cc *cc, base_time now) {
    struct quic_resume *r = resume_enter(cc);
    r->inner->on_persistent(cc, now);
    resume_leave(cc);
    if (r->phase != QUIC_RESUME_NORMAL)
        resume_go(cc, QUIC_RESUME_NORMAL, QUIC_RESUME_PERSISTENT);
}

/* The loss that led to the retreat is not undone: 3.5 knows of no way back. */
static void resume_on_spurious(struct quic_cc *cc, base_time now) {
    struct quic_resume *r = cc->resume;
    if (r->retreats_from == cc->events)
        return;
    (void)resume_enter(cc);
    r->inner->on_spurious(cc, now);
    resume_leave(cc);
    resume_hold(cc);
}

static void resume_on_mtu(struct quic_cc *cc, uint32_t mtu) {
    resume_enter(cc)->inner->on_mtu(cc, mtu);
    resume_leave(cc);
    resume_hold(cc);
}

/* ---- life ---- */

bool quic_resume_begin(struct quic_cc *cc, struct base_mem *mem, const struct quic_resume_events *events, void *user) {
    if (cc->resume || cc->ops->models)
        return false;
    struct quic_resume *r = BASE_NEW(mem, struct quic_resume);
    if (!r)
        return false;
    *r = (struct quic_resume){.inner = cc->ops,
                              .ops = *cc->ops,
                              .events = events,
                              .user = user,
                              .initial_window = cc->window,
                              .first_number = QUIC_NO_NUMBER,
                              .last_number = QUIC_NO_NUMBER};
    r->ops.on_sent = resume_on_sent;
    r->ops.on_ack = resume_on_ack;
    r->ops.on_lost = cc->ops->on_lost ? resume_on_lost : NULL;
    r->ops.on_congestion = resume_on_congestion;
    r->ops.on_persistent = resume_on_persistent;
    r->ops.on_spurious = resume_on_spurious;
    r->ops.on_mtu = resume_on_mtu;
    cc->resume = r;
    cc->ops = &r->ops;
    return true;
}

void quic_resume_end(struct quic_cc *cc, struct base_mem *mem) {
    if (!cc->resume)
        return;
    cc->ops = cc->resume->inner;
    BASE_DELETE(mem, cc->resume);
    cc->resume = NULL;
}

void quic_resume_offer(struct quic_cc *cc, const struct quic_resume_saved *saved, uint64_t most) {
    struct quic_resume *r = cc->resume;
    if (!r || !saved->window || !saved->rtt)
        return;
    r->saved = *saved;
    r->most = most;
    resume_go(cc, QUIC_RESUME_RECONNAISSANCE, QUIC_RESUME_OFFERED);
}

/* ---- names (draft-ietf-tsvwg-careful-resume-qlog) ---- */

const char *quic_resume_phase_name(enum quic_resume_phase phase) {
    static const char *const names[] = {"normal", "reconnaissance", "unvalidated", "validating", "safe_retreat"};
    return names[phase];
}

const char *quic_resume_why_name(enum quic_resume_why why) {
    static const char *const names[QUIC_RESUME_WHYS] = {
        [QUIC_RESUME_OFFERED] = "saved_parameters",
        [QUIC_RESUME_CONFIRMED] = "congestion_window_limited",
        [QUIC_RESUME_RTT_NOT_VALID] = "rtt_not_validated",
        [QUIC_RESUME_EXPIRED] = "lifetime_exceeded",
        [QUIC_RESUME_USED] = "already_used",
        [QUIC_RESUME_REACHED] = "congestion_window_reached",
        [QUIC_RESUME_LAST_SENT] = "last_unvalidated_packet_sent",
        [QUIC_RESUME_FIRST_ACKED] = "first_unvalidated_packet_acknowledged",
        [QUIC_RESUME_RTT_EXCEEDED] = "rtt_exceeded",
        [QUIC_RESUME_RATE_LIMITED] = "rate_limited",
        [QUIC_RESUME_LAST_ACKED] = "last_unvalidated_packet_acknowledged",
        [QUIC_RESUME_PATH_CHANGED] = "path_changed",
        [QUIC_RESUME_LOSS] = "packet_loss",
        [QUIC_RESUME_ECN] = "ECN_CE",
        [QUIC_RESUME_PERSISTENT] = "persistent_congestion",
        [QUIC_RESUME_EXIT_RECOVERY] = "exit_recovery",
    };
    return names[why];
}
