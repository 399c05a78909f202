/* test_resume.c - Careful Resume phase by phase (RFC 9959 section 3 and 4), with each controller that can be moved. */
#include "cc_kit.h"

#include "quic/resume.h"

#define IW 12000u
#define SAVED 1000000u
#define JUMP (SAVED / 2)

static struct told {
    unsigned phases, claims, observed;
    enum quic_resume_phase old;
    enum quic_resume_why why;
    uint64_t window; /* as it was when the phase was told of */
    bool refuse;
} told;

static bool on_claim(void *user, const struct quic_resume_saved *saved, base_time now) {
    (void)user, (void)saved, (void)now;
    told.claims++;
    return !told.refuse;
}

static void on_observed(void *user) {
    (void)user;
    told.observed++;
}

static void on_phase(void *user, const struct quic_cc *cc, enum quic_resume_phase old, enum quic_resume_why why) {
    (void)user;
    told.phases++;
    told.window = cc->window;
    told.old = old;
    told.why = why;
}

static const struct quic_resume_events events = {on_claim, on_observed, on_phase};
static const struct quic_cc_ops *const controllers[] = {&quic_cc_newreno, &quic_cc_cubic};

static struct toolkit_heap heap;
static struct base_mem mem;
static struct feed f;
static uint64_t delivered;
static bool sample_app_limited;

static enum quic_resume_phase phase(void) { return (enum quic_resume_phase)f.cc.resume->phase; }

static void begin(int which) {
    mem = toolkit_mem(&heap, 0);
    memset(&told, 0, sizeof told);
    delivered = 0;
    sample_app_limited = false;
    feed_init(&f, controllers[which], false);
    ck_assert(quic_resume_begin(&f.cc, &mem, &events, NULL));
    ck_assert_str_eq(f.cc.ops->name, controllers[which]->name);
}

static void end(void) {
    quic_cc_clear(&f.cc, &mem);
    toolkit_all_back(&heap, &mem);
}

static void offer(uint64_t window, base_time rtt) {
    struct quic_resume_saved saved = {.window = window, .rtt = rtt, .good_to = START + 3600 * BASE_SEC};
    quic_resume_offer(&f.cc, &saved, 4 << 20);
}

/* What was sent at `sent_at` is acknowledged. */
static void acked(base_time now, base_time sent_at, uint64_t bytes, uint64_t in_flight) {
    delivered += bytes;
    struct quic_cc_ack ack = {.now = now,
                              .acked_bytes = bytes,
                              .fresh_bytes = sent_at > f.cc.recovery_start ? bytes : 0,
                              .bytes_in_flight = in_flight,
                              .prior_in_flight = in_flight + bytes,
                              .largest_sent_at = sent_at,
                              .delivered = delivered,
                              .packet_delivered = delivered - bytes,
                              .sample_app_limited = sample_app_limited,
                              .rtt_sample = RTT,
                              .rtt = &f.rtt};
    f.cc.ops->on_ack(&f.cc, &ack);
}

static void sent(base_time now, uint64_t number, uint64_t in_flight) {
    f.cc.ops->on_sent(&f.cc, now, number, MTU, in_flight);
}

/* The initial window has arrived, and 12000 bytes more are under way. */
static void jump(int which) {
    begin(which);
    offer(SAVED, RTT);
    ck_assert_int_eq(phase(), QUIC_RESUME_RECONNAISSANCE);
    acked(START, START - RTT, IW / 2, IW);
    ck_assert_int_eq(phase(), QUIC_RESUME_RECONNAISSANCE);
    acked(START, START - RTT, IW / 2, IW);
}

START_TEST(half_of_the_saved_window_is_jumped_to)
{
    jump(_i);
    ck_assert_int_eq(phase(), QUIC_RESUME_UNVALIDATED);
    ck_assert_int_eq(told.why, QUIC_RESUME_CONFIRMED);
    ck_assert_uint_eq(told.claims, 1);
    ck_assert_uint_eq(told.window, JUMP);
    ck_assert_uint_eq(f.cc.window, JUMP);
    ck_assert_uint_eq(f.cc.quantum, IW);
    /* paced over the round trip, never more than an initial window at once */
    uint64_t rate = quic_pacer_rate(&f.cc, &f.rtt);
    ck_assert_uint_ge(rate, JUMP * 10u);
    ck_assert_uint_le(rate, JUMP * 10u + 1);
    ck_assert_uint_eq(quic_pacer_burst(&f.cc, rate), IW);
    acked(START + 1, START - RTT, 1200, IW); /* no growth while it is not proven */
    ck_assert_uint_eq(f.cc.window, JUMP);
    ck_assert_uint_eq(f.cc.resume->pipe, IW + 1200);
    end();
}
END_TEST

START_TEST(a_jump_has_a_most)
{
    begin(0);
    struct quic_resume_saved saved = {.window = SAVED, .rtt = RTT, .good_to = BASE_NEVER};
    quic_resume_offer(&f.cc, &saved, 100000);
    acked(START, START - RTT, IW, IW);
    ck_assert_uint_eq(f.cc.window, 100000);
    end();
}
END_TEST

START_TEST(nothing_to_send_waits)
{
    begin(_i);
    offer(SAVED, RTT);
    f.cc.app_limited = true;
    acked(START, START - RTT, IW, IW);
    ck_assert_int_eq(phase(), QUIC_RESUME_RECONNAISSANCE);
    ck_assert_uint_eq(told.claims, 0);
    f.cc.app_limited = false;
    acked(START + RTT, START, 1200, IW);
    ck_assert_int_eq(phase(), QUIC_RESUME_UNVALIDATED);
    end();
}
END_TEST

struct safeguard {
    base_time rtt; /* the path's; 0: nobody knows */
    uint64_t saved;
    base_time now;
    bool used;
    enum quic_resume_why why;
};

static const struct safeguard safeguards[] = {
    {RTT / 2, SAVED, START, false, QUIC_RESUME_RTT_NOT_VALID}, /* less than or equal to half */
    {10 * RTT + 1, SAVED, START, false, QUIC_RESUME_RTT_NOT_VALID},
    {0, SAVED, START, false, QUIC_RESUME_RTT_NOT_VALID},
    {RTT, SAVED, START + 3600 * BASE_SEC + 1, false, QUIC_RESUME_EXPIRED},
    {RTT, SAVED, START, true, QUIC_RESUME_USED},
    {RTT, 4 * IW, START, false, QUIC_RESUME_REACHED}, /* the window is half of that by now */
    {RTT / 2 + 1, SAVED, START, false, QUIC_RESUME_CONFIRMED},
    {10 * RTT, SAVED, START + 3600 * BASE_SEC, false, QUIC_RESUME_CONFIRMED},
};

START_TEST(what_does_not_fit_is_not_used)
{
    const struct safeguard *with = &safeguards[_i];
    begin(0);
    offer(with->saved, RTT);
    told.refuse = with->used;
    f.rtt.sampled = with->rtt;
    if (with->rtt)
        f.rtt.min = f.rtt.latest = f.rtt.smoothed = with->rtt;
    acked(with->now, with->now - with->rtt, IW, IW);
    ck_assert_int_eq(told.why, with->why);
    bool jumped = with->why == QUIC_RESUME_CONFIRMED;
    ck_assert_int_eq(phase(), jumped ? QUIC_RESUME_UNVALIDATED : QUIC_RESUME_NORMAL);
    ck_assert_uint_eq(f.cc.window, jumped ? JUMP : 2 * IW);
    ck_assert_uint_eq(told.claims, jumped || with->used);
    end();
}
END_TEST

START_TEST(congestion_before_the_jump_ends_it)
{
    begin(_i % 2);
    offer(SAVED, RTT);
    feed_loss(&f, START, START - RTT, _i / 2);
    ck_assert_int_eq(phase(), QUIC_RESUME_NORMAL);
    ck_assert_int_eq(told.why, _i / 2 ? QUIC_RESUME_ECN : QUIC_RESUME_LOSS);
    uint64_t window = f.cc.window;
    ck_assert_uint_eq(window, IW * (_i % 2 ? 7 : 5) / 10); /* as without a machine */
    for (unsigned i = 0; i < 5; i++)
        acked(START + 1, START - RTT, IW, IW);
    ck_assert_uint_eq(f.cc.window, window);
    ck_assert_uint_eq(told.claims, 0);
    end();
}
END_TEST

START_TEST(a_full_window_is_validated)
{
    jump(_i);
    base_time now = START + 1;
    for (uint64_t in_flight = IW; in_flight <= JUMP; now += 200 * BASE_US, in_flight += MTU)
        sent(now, in_flight / MTU, in_flight);
    ck_assert_int_eq(phase(), QUIC_RESUME_VALIDATING);
    ck_assert_int_eq(told.why, QUIC_RESUME_LAST_SENT);
    ck_assert_uint_eq(f.cc.resume->first_number, IW / MTU); /* for the log */
    ck_assert_uint_eq(f.cc.resume->last_number, JUMP / MTU);
    ck_assert_uint_le(f.cc.window, JUMP);
    ck_assert_uint_gt(f.cc.window, JUMP - MTU);
    ck_assert_uint_eq(f.cc.pacing_rate, 0); /* the controller's own again */
    ck_assert_uint_eq(f.cc.quantum, 0);
    uint64_t window = f.cc.window;
    acked(START + RTT, START + 1, 12000, window); /* slow start goes on */
    ck_assert_uint_eq(f.cc.window, window + 12000);
    ck_assert_int_eq(phase(), QUIC_RESUME_VALIDATING);
    acked(now + RTT, now - 200 * BASE_US, 12000, window);
    ck_assert_int_eq(phase(), QUIC_RESUME_NORMAL);
    ck_assert_int_eq(told.why, QUIC_RESUME_LAST_ACKED);
    ck_assert_uint_eq(f.cc.window, window + 24000);
    end();
}
END_TEST

/* The first answer, or a round trip: what is in flight is the window. What is not used is given back. */
START_TEST(a_jump_ends_after_a_round_trip)
{
    bool timed = _i % 2, little = _i / 2;
    uint64_t in_flight = little ? 13200 : 60000;
    jump(0);
    sent(START + 1, 50, 24000);
    if (timed) {
        sent(START + RTT, 51, in_flight);
        ck_assert_int_eq(phase(), QUIC_RESUME_UNVALIDATED);
        sent(START + RTT + 1, 52, in_flight);
    } else {
        acked(START + RTT - 1, START - 1, 1200, in_flight);
        ck_assert_int_eq(phase(), QUIC_RESUME_UNVALIDATED);
        acked(START + RTT, START + 1, 1200, in_flight);
    }
    if (little) { /* PipeSize is 12000, or 14400 */
        ck_assert_int_eq(phase(), timed ? QUIC_RESUME_VALIDATING : QUIC_RESUME_NORMAL);
        ck_assert_uint_eq(f.cc.window, timed ? 13200 : 14400);
        ck_assert_int_eq(told.why, timed ? QUIC_RESUME_RTT_EXCEEDED : QUIC_RESUME_RATE_LIMITED);
    } else {
        ck_assert_int_eq(phase(), QUIC_RESUME_VALIDATING);
        ck_assert_int_eq(told.why, timed ? QUIC_RESUME_RTT_EXCEEDED : QUIC_RESUME_FIRST_ACKED);
        ck_assert_uint_eq(f.cc.window, in_flight);
    }
    ck_assert_uint_eq(f.cc.pacing_rate, 0);
    end();
}
END_TEST

/* Nothing is sent after the jump, and what is acknowledged was sent before. */
START_TEST(a_jump_ends_though_nothing_answers_it)
{
    jump(_i);
    acked(START + 1, START, 1200, 60000); /* sent at the moment of the jump, but before it */
    acked(START + RTT, START - 1, 1200, 60000);
    ck_assert_int_eq(phase(), QUIC_RESUME_UNVALIDATED);
    acked(START + RTT + 1, START - 1, 1200, 60000);
    ck_assert_int_eq(phase(), QUIC_RESUME_VALIDATING);
    ck_assert_int_eq(told.why, QUIC_RESUME_RTT_EXCEEDED);
    end();
    jump(_i);
    sent(START, 50, 60000); /* at the same moment, but after it */
    acked(START + RTT, START, 1200, 60000);
    ck_assert_int_eq(phase(), QUIC_RESUME_VALIDATING);
    ck_assert_int_eq(told.why, QUIC_RESUME_FIRST_ACKED);
    end();
}
END_TEST

/* The longer of what the RTT is and what it was just now: for the rate, and for the patience. */
START_TEST(a_jump_is_paced_over_the_longer_round_trip)
{
    begin(0);
    offer(SAVED, RTT);
    f.rtt.smoothed = _i ? 2 * RTT : RTT;
    f.rtt.latest = _i ? RTT : 2 * RTT;
    acked(START, START - RTT, IW, IW);
    uint64_t rate = quic_pacer_rate(&f.cc, &f.rtt);
    ck_assert_uint_ge(rate, JUMP * 5u);
    ck_assert_uint_le(rate, JUMP * 5u + 1);
    sent(START + 2 * RTT, 50, 60000);
    ck_assert_int_eq(phase(), QUIC_RESUME_UNVALIDATED);
    sent(START + 2 * RTT + 1, 51, 61200);
    ck_assert_int_eq(phase(), QUIC_RESUME_VALIDATING);
    end();
}
END_TEST

/* What is in flight when the jump ends. */
static const struct flight {
    uint64_t before, saved; /* in flight when it begins: PipeSize; the jump is half of `saved` */
    uint64_t after;
    enum quic_resume_phase phase;
    uint64_t window;
} flights[] = {
    {0, SAVED, IW / 2, QUIC_RESUME_NORMAL, IW},       /* less than anybody may send at first */
    {0, SAVED, IW, QUIC_RESUME_VALIDATING, IW},       /* and no less */
    {15600, SAVED, 15600, QUIC_RESUME_NORMAL, 15600}, /* no more than there was */
    {15600, SAVED, 16800, QUIC_RESUME_VALIDATING, 16800},
    {30000, 50000, 20000, QUIC_RESUME_NORMAL, 25000}, /* never beyond the jump */
    {12000, 50000, 26000, QUIC_RESUME_VALIDATING, 25000},
};

START_TEST(a_jump_ends_with_what_is_in_flight)
{
    const struct flight *with = &flights[_i];
    begin(0);
    offer(with->saved, RTT);
    acked(START, START - RTT, IW, with->before);
    ck_assert_uint_eq(f.cc.resume->pipe, with->before);
    sent(START + RTT, 50, with->after);
    if (phase() == QUIC_RESUME_UNVALIDATED)
        sent(START + RTT + 1, 51, with->after);
    ck_assert_int_eq(phase(), with->phase);
    ck_assert_uint_eq(f.cc.window, with->window);
    end();
}
END_TEST

/* RFC 9002 7.2 holds in every phase, and a larger MTU lets a larger packet through. */
START_TEST(no_window_is_below_the_least)
{
    jump(_i);
    f.cc.ops->on_mtu(&f.cc, 9000);
    ck_assert_uint_eq(f.cc.quantum, 18000);
    end();
    begin(_i);
    offer(SAVED, RTT);
    acked(START, START - RTT, IW, 0);
    sent(START + 1, 50, 1200);
    feed_loss(&f, START + RTT, START + 1, false); /* PipeSize is 0 */
    ck_assert_int_eq(phase(), QUIC_RESUME_SAFE_RETREAT);
    ck_assert_uint_eq(f.cc.window, 2 * MTU);
    end();
}
END_TEST

/* Lost before anything of the jump was sent: the retreat ends with what was sent later. */
START_TEST(a_loss_at_once_is_one_of_the_jump)
{
    jump(_i);
    feed_loss(&f, START + 1, START - 1, false);
    ck_assert_int_eq(phase(), QUIC_RESUME_SAFE_RETREAT);
    ck_assert_uint_eq(told.window, 6000);
    acked(START + 2, START - 1, 1200, 10800);
    ck_assert_int_eq(phase(), QUIC_RESUME_SAFE_RETREAT);
    acked(START + RTT, START, 1200, 9600);
    ck_assert_int_eq(phase(), QUIC_RESUME_NORMAL);
    end();
}
END_TEST

/* ... when the retreat is over; a loss after that may be undone as ever. */
START_TEST(the_loss_of_a_jump_is_never_undone)
{
    jump(_i);
    sent(START + 1, 50, 60000);
    feed_loss(&f, START + RTT, START + 1, false);
    acked(START + RTT + 1, START + 1, 12000, 48000);
    ck_assert_int_eq(phase(), QUIC_RESUME_NORMAL);
    uint64_t window = f.cc.window, threshold = f.cc.threshold;
    f.cc.ops->on_spurious(&f.cc, START + RTT + 2);
    ck_assert_uint_eq(f.cc.window, window);
    ck_assert_uint_eq(f.cc.threshold, threshold);
    feed_loss(&f, START + 3 * RTT, START + 2 * RTT, false);
    ck_assert_uint_lt(f.cc.window, window);
    f.cc.ops->on_spurious(&f.cc, START + 4 * RTT);
    ck_assert_uint_eq(f.cc.window, window);
    ck_assert_uint_eq(f.cc.threshold, threshold);
    end();
}
END_TEST

/* A loss, or a mark, after the jump; in UNVALIDATED and in VALIDATING. */
START_TEST(congestion_leads_to_a_safe_retreat)
{
    bool ecn = _i % 2, validating = _i / 2 % 2;
    int which = _i / 4;
    jump(which);
    base_time last = START + 1;
    for (uint64_t i = 0; i < 100; i++)
        sent(last = START + 1 + i, 50 + i, IW + i * MTU);
    if (validating)
        acked(START + RTT, START + 1, 8000, 112000);
    uint64_t pipe = f.cc.resume->pipe;
    ck_assert_uint_eq(pipe, validating ? 20000 : 12000);
    feed_loss(&f, START + RTT, START + 5, ecn);
    ck_assert_int_eq(phase(), QUIC_RESUME_SAFE_RETREAT);
    ck_assert_int_eq(told.why, ecn ? QUIC_RESUME_ECN : QUIC_RESUME_LOSS);
    ck_assert_uint_eq(f.cc.window, pipe / 2);
    ck_assert_uint_eq(f.cc.events, 1);
    ck_assert_uint_eq(f.cc.pacing_rate, 0);
    ck_assert_uint_eq(told.observed, 1); /* what was saved is to be forgotten */
    struct quic_resume_saved saved;
    ck_assert(!quic_resume_observed(&f.cc, &saved));
    for (unsigned i = 0; i < 10; i++) { /* no growth, not even for what was sent after the loss */
        acked(START + RTT + 1 + i, START + 6, 6000, 50000);
        ck_assert_uint_eq(f.cc.window, pipe / 2);
    }
    f.cc.ops->on_spurious(&f.cc, START + RTT + 20); /* no way back */
    ck_assert_uint_eq(f.cc.window, pipe / 2);
    acked(START + 2 * RTT, last, 6000, 50000);
    ck_assert_int_eq(phase(), QUIC_RESUME_NORMAL);
    ck_assert_int_eq(told.why, QUIC_RESUME_EXIT_RECOVERY);
    ck_assert_uint_eq(f.cc.threshold, (pipe + 66000) / 2);
    f.cc.ops->on_spurious(&f.cc, START + 2 * RTT + 1);
    ck_assert_uint_eq(f.cc.window, pipe / 2);
    ck_assert_uint_eq(f.cc.threshold, (pipe + 66000) / 2);
    acked(START + 3 * RTT, START + RTT + 5, 4000, 5000); /* slow start goes on */
    ck_assert_uint_eq(f.cc.window, pipe / 2 + 4000);
    end();
}
END_TEST

START_TEST(another_loss_in_the_retreat_counts)
{
    jump(_i);
    sent(START + 1, 50, 60000);
    sent(START + 2, 51, 61200);
    acked(START + RTT, START + 1, 48000, 61200);
    feed_loss(&f, START + RTT, START + 1, false);
    uint64_t window = f.cc.window;
    ck_assert_uint_eq(window, 30000);
    feed_loss(&f, START + 2 * RTT, START + RTT + 1, false);
    ck_assert_uint_eq(f.cc.window, _i ? 21000 : 15000);
    acked(START + 2 * RTT, START + 2, 90000, 1200);
    ck_assert_uint_eq(f.cc.threshold, _i ? 21000 : 15000);
    end();
}
END_TEST

START_TEST(a_path_whose_rtt_falls_is_another)
{
    jump(_i);
    sent(START + 1, 50, 60000);
    f.rtt.min = RTT / 2;
    acked(START + RTT / 2, START + 1, 1200, 58800);
    ck_assert_int_eq(phase(), QUIC_RESUME_SAFE_RETREAT);
    ck_assert_int_eq(told.why, QUIC_RESUME_PATH_CHANGED);
    ck_assert_uint_eq(f.cc.window, 6600);
    acked(START + RTT, START + 1, 1200, 58800);
    ck_assert_int_eq(phase(), QUIC_RESUME_NORMAL);
    ck_assert_uint_eq(f.cc.threshold, 7200);
    end();
}
END_TEST

START_TEST(persistent_congestion_ends_every_phase)
{
    jump(_i % 2);
    sent(START + 1, 50, 60000);
    if (_i / 2)
        feed_loss(&f, START + RTT, START + 1, false);
    f.cc.ops->on_persistent(&f.cc, START + 5 * RTT);
    ck_assert_int_eq(phase(), QUIC_RESUME_NORMAL);
    ck_assert_int_eq(told.why, QUIC_RESUME_PERSISTENT);
    ck_assert_uint_eq(f.cc.window, 2 * MTU);
    ck_assert_uint_eq(f.cc.pacing_rate, 0);
    unsigned phases = told.phases;
    f.cc.ops->on_persistent(&f.cc, START + 9 * RTT); /* nothing is left to end */
    ck_assert_uint_eq(told.phases, phases);
    end();
}
END_TEST

START_TEST(what_a_round_trip_carries_is_observed)
{
    struct quic_resume_saved saved;
    begin(0);
    acked(START, START - RTT, IW, IW);
    ck_assert(!quic_resume_observed(&f.cc, &saved));
    acked(START + RTT, START, 40000, IW); /* less than four initial windows */
    ck_assert(!quic_resume_observed(&f.cc, &saved));
    ck_assert_uint_eq(told.observed, 0);
    acked(START + 2 * RTT, START + RTT, 80000, IW);
    ck_assert(quic_resume_observed(&f.cc, &saved));
    ck_assert_uint_eq(saved.window, 80000);
    ck_assert_uint_eq(saved.rtt, RTT);
    ck_assert_uint_eq(told.observed, 1);
    acked(START + 3 * RTT, START + 2 * RTT, 90000, IW); /* a little more is no news */
    ck_assert_uint_eq(told.observed, 1);
    ck_assert(quic_resume_observed(&f.cc, &saved)); /* but known, to who asks */
    ck_assert_uint_eq(saved.window, 90000);
    acked(START + 5 * RTT, START + 3 * RTT, 240000, IW); /* half of it stood in a queue */
    ck_assert(quic_resume_observed(&f.cc, &saved));
    ck_assert_uint_eq(saved.window, 120000);
    ck_assert_uint_eq(told.observed, 2);
    base_time now = START + 5 * RTT;
    for (unsigned i = 0; i < 200; i++) /* the path carries less: that is told, but not often */
        acked(now + (i + 1) * RTT, now + i * RTT, 30000, IW);
    ck_assert(!quic_resume_observed(&f.cc, &saved) || saved.window < 60000);
    ck_assert_uint_ge(told.observed, 3);
    ck_assert_uint_le(told.observed, 5);
    end();
}
END_TEST

/* What is in one round trip, and what is none. */
START_TEST(a_round_trip_is_whole)
{
    struct quic_resume_saved saved;
    begin(0);
    acked(RTT, 0, 80000, IW); /* the first acknowledgement begins a round, and ends none */
    ck_assert_uint_eq(told.observed, 0);
    acked(RTT + RTT / 2, RTT, 80000, IW); /* faster than the path is long */
    ck_assert_uint_eq(told.observed, 0);
    f.rtt.sampled = false;
    acked(3 * RTT, 2 * RTT, 80000, IW); /* nobody knows how long it is */
    ck_assert_uint_eq(told.observed, 0);
    f.rtt.sampled = true;
    f.rtt.smoothed = 3 * RTT; /* there is a queue */
    acked(4 * RTT, 3 * RTT, 4 * IW - 1, IW);
    ck_assert_uint_eq(told.observed, 0);
    acked(5 * RTT, 4 * RTT, 4 * IW, IW); /* four initial windows are worth it */
    ck_assert_uint_eq(told.observed, 1);
    ck_assert(quic_resume_observed(&f.cc, &saved));
    ck_assert_uint_eq(saved.window, 4 * IW);
    ck_assert_uint_eq(saved.rtt, RTT);
    sample_app_limited = true; /* less was sent than could be */
    acked(6 * RTT, 5 * RTT, IW, IW);
    ck_assert_uint_eq(f.cc.resume->observed, 4 * IW);
    sample_app_limited = false; /* less arrived than was sent */
    acked(7 * RTT, 6 * RTT, 3 * IW, IW);
    ck_assert_uint_eq(f.cc.resume->observed, 4 * IW - IW / 8);
    end();
}
END_TEST

/* One more round when `observed` bytes are what a round trip carries; was that news? */
static bool is_news(base_time now, uint64_t observed) {
    unsigned before = told.observed;
    f.cc.resume->observed = observed;
    sample_app_limited = true;
    acked(now, now - RTT, 1200, IW);
    return told.observed != before;
}

START_TEST(a_path_that_carries_less_is_told_of_in_time)
{
    const base_time patience = 10 * BASE_SEC;
    struct quic_resume_saved saved;
    begin(0);
    acked(START, START - RTT, IW, IW);
    base_time at = START + RTT;
    ck_assert(is_news(at, 240000));
    ck_assert(!is_news(at + RTT, 119999)); /* it may come back */
    ck_assert(!is_news(at + patience - 1, 119999));
    ck_assert(!is_news(at + patience + RTT, 120000)); /* half is enough */
    ck_assert(is_news(at += patience + 2 * RTT, 119999));
    ck_assert(!is_news(at + patience - 1, 59998));
    ck_assert(is_news(at += patience + RTT, 59998));
    ck_assert(is_news(at += RTT, 80000)); /* more is told of at once */
    ck_assert(!is_news(at + patience - 1, 4 * IW - 1));
    ck_assert(is_news(at += patience + RTT, 4 * IW - 1));
    ck_assert(!quic_resume_observed(&f.cc, &saved)); /* too little to be of use */
    end();
}
END_TEST

/* A controller of the application's that sets what it likes: the jump and the retreat hold all the same. It sees itself
 * whenever it is called. */
static struct stubborn {
    uint64_t cut;  /* what it sets the window to when there is congestion */
    uint64_t seen; /* what the window was then */
    unsigned undone;
} stubborn;
static const struct quic_cc_ops stubborn_ops;

static void stubborn_set(struct quic_cc *cc, uint64_t window) {
    ck_assert_ptr_eq(cc->ops, &stubborn_ops);
    cc->window = window;
}
static void stubborn_on_ack(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    (void)ack;
    stubborn_set(cc, 77777);
    cc->pacing_rate = 1;
    cc->quantum = 5000;
}
static bool stubborn_init(struct quic_cc *cc) {
    (void)cc;
    stubborn = (struct stubborn){.cut = 77777};
    return true;
}
static void stubborn_on_sent(struct quic_cc *cc, base_time now, uint64_t number, uint64_t bytes, uint64_t in_flight) {
    (void)now, (void)number, (void)bytes, (void)in_flight;
    ck_assert_ptr_eq(cc->ops, &stubborn_ops);
}
static void stubborn_on_lost(struct quic_cc *cc, const struct quic_cc_lost *lost) {
    (void)lost;
    stubborn_set(cc, 77777);
}
static void stubborn_on_congestion(struct quic_cc *cc, const struct quic_cc_loss *loss) {
    (void)loss;
    stubborn.seen = cc->window;
    stubborn_set(cc, stubborn.cut);
    cc->events++;
}
static void stubborn_on_spurious(struct quic_cc *cc, base_time now) {
    (void)now;
    stubborn.undone++;
    stubborn_set(cc, 77777);
}
static const struct quic_cc_ops stubborn_ops = {.name = "stubborn",
                                                .init = stubborn_init,
                                                .on_sent = stubborn_on_sent,
                                                .on_ack = stubborn_on_ack,
                                                .on_lost = stubborn_on_lost,
                                                .on_congestion = stubborn_on_congestion,
                                                .on_spurious = stubborn_on_spurious,
                                                .on_mtu = quic_cc_on_mtu};

/* It has jumped, with PipeSize 12000, and 60000 bytes are in flight. */
static void stubborn_jump(void) {
    mem = toolkit_mem(&heap, 0);
    memset(&told, 0, sizeof told);
    feed_init(&f, &stubborn_ops, false);
    ck_assert(quic_resume_begin(&f.cc, &mem, &events, NULL));
    ck_assert(!quic_resume_begin(&f.cc, &mem, &events, NULL)); /* one is enough */
    offer(SAVED, RTT);
    acked(START, START - RTT, IW, IW);
    ck_assert_uint_eq(f.cc.window, JUMP);
    sent(START + 1, 50, 60000);
}

START_TEST(a_controller_of_ones_own_is_held_too)
{
    stubborn_jump();
    acked(START + 2, START - RTT, 1200, 58800);
    ck_assert_uint_eq(f.cc.window, JUMP);
    ck_assert_uint_gt(f.cc.pacing_rate, 1);
    f.cc.ops->on_lost(&f.cc, &(struct quic_cc_lost){.now = START + RTT, .sent_at = START + 1, .bytes = MTU});
    ck_assert_uint_eq(f.cc.window, JUMP);
    feed_loss(&f, START + RTT, START + 1, false);
    ck_assert_uint_eq(stubborn.seen, 13200); /* what it has earned */
    ck_assert_uint_eq(f.cc.window, 6600);
    ck_assert_uint_eq(f.cc.pacing_rate, 1); /* its own again */
    ck_assert_uint_eq(f.cc.quantum, 5000);
    acked(START + RTT, START - 1, 1200, 58800);
    ck_assert_uint_eq(f.cc.window, 6600);
    f.cc.ops->on_spurious(&f.cc, START + RTT);
    ck_assert_uint_eq(stubborn.undone, 0);
    feed_loss(&f, START + RTT, START + 1, false); /* another one */
    ck_assert_uint_eq(f.cc.window, 6600);
    f.cc.ops->on_spurious(&f.cc, START + RTT);
    ck_assert_uint_eq(stubborn.undone, 1);
    ck_assert_uint_eq(f.cc.window, 6600);
    acked(START + RTT, START + 1, 1200, 58800);
    ck_assert_int_eq(phase(), QUIC_RESUME_NORMAL);
    ck_assert_uint_eq(f.cc.window, 6600);
    ck_assert_uint_eq(f.cc.threshold, 7800);    /* it did not set one */
    acked(START + RTT, START + 1, 1200, 58800); /* it governs again */
    ck_assert_uint_eq(f.cc.window, 77777);
    end();
}
END_TEST

START_TEST(a_controller_may_do_less_than_it_is_allowed)
{
    stubborn_jump();
    stubborn.cut = 5000;
    feed_loss(&f, START + RTT, START + 1, false);
    ck_assert_uint_eq(f.cc.window, 5000);
    acked(START + RTT, START - 1, 1200, 58800); /* that is the most from now on */
    ck_assert_uint_eq(f.cc.window, 5000);
    stubborn.cut = 3000;
    feed_loss(&f, START + RTT + 1, START + 1, false);
    acked(START + RTT + 2, START - 1, 1200, 58800);
    ck_assert_uint_eq(f.cc.window, 3000);
    end();
    stubborn_jump();
    sent(START + 2, 51, 61200);
    acked(START + RTT, START + 1, 1200, 60000);
    acked(START + RTT, START + 1, 100000, 60000); /* VALIDATING, and more is proven than the window has */
    ck_assert_int_eq(phase(), QUIC_RESUME_VALIDATING);
    feed_loss(&f, START + RTT, START + 1, false);
    ck_assert_uint_eq(stubborn.seen, 77777);
    end();
}
END_TEST

/* Nothing is known: nothing is offered. */
START_TEST(nothing_comes_of_nothing)
{
    begin(0);
    offer(0, RTT);
    offer(SAVED, 0);
    ck_assert_int_eq(phase(), QUIC_RESUME_NORMAL);
    ck_assert_uint_eq(told.phases, 0);
    end();
}
END_TEST

START_TEST(a_model_is_left_alone)
{
    mem = toolkit_mem(&heap, 0);
    ck_assert(quic_cc_init(&f.cc, &mem, &quic_cc_bbr, MTU, 10, false));
    ck_assert(!quic_resume_begin(&f.cc, &mem, &events, NULL));
    ck_assert_ptr_eq(f.cc.ops, &quic_cc_bbr);
    ck_assert_ptr_null(f.cc.resume);
    struct quic_resume_saved saved = {.window = SAVED, .rtt = RTT};
    quic_resume_offer(&f.cc, &saved, SAVED); /* to nobody */
    ck_assert(!quic_resume_observed(&f.cc, &saved));
    quic_cc_clear(&f.cc, &mem);
    toolkit_all_back(&heap, &mem);
    mem = toolkit_mem(&heap, 1); /* nor is one where memory is short */
    feed_init(&f, &quic_cc_cubic, false);
    ck_assert(!quic_resume_begin(&f.cc, &mem, &events, NULL));
    ck_assert_ptr_eq(f.cc.ops, &quic_cc_cubic);
}
END_TEST

START_TEST(every_phase_and_reason_has_a_name)
{
    for (int i = QUIC_RESUME_NORMAL; i <= QUIC_RESUME_SAFE_RETREAT; i++)
        ck_assert_ptr_nonnull(quic_resume_phase_name((enum quic_resume_phase)i));
    for (int i = 0; i < QUIC_RESUME_WHYS; i++)
        ck_assert_ptr_nonnull(quic_resume_why_name((enum quic_resume_why)i));
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("quic/resume");
    TCase *tcase = tcase_create("resume");
    tcase_add_loop_test(tcase, half_of_the_saved_window_is_jumped_to, 0, 2);
    tcase_add_test(tcase, a_jump_has_a_most);
    tcase_add_loop_test(tcase, nothing_to_send_waits, 0, 2);
    tcase_add_loop_test(tcase, what_does_not_fit_is_not_used, 0, (int)(sizeof safeguards / sizeof *safeguards));
    tcase_add_loop_test(tcase, congestion_before_the_jump_ends_it, 0, 4);
    tcase_add_loop_test(tcase, a_full_window_is_validated, 0, 2);
    tcase_add_loop_test(tcase, a_jump_ends_after_a_round_trip, 0, 4);
    tcase_add_loop_test(tcase, a_jump_ends_though_nothing_answers_it, 0, 2);
    tcase_add_loop_test(tcase, a_jump_is_paced_over_the_longer_round_trip, 0, 2);
    tcase_add_loop_test(tcase, a_jump_ends_with_what_is_in_flight, 0, (int)(sizeof flights / sizeof *flights));
    tcase_add_loop_test(tcase, no_window_is_below_the_least, 0, 2);
    tcase_add_loop_test(tcase, a_loss_at_once_is_one_of_the_jump, 0, 2);
    tcase_add_loop_test(tcase, the_loss_of_a_jump_is_never_undone, 0, 2);
    tcase_add_loop_test(tcase, congestion_leads_to_a_safe_retreat, 0, 8);
    tcase_add_loop_test(tcase, another_loss_in_the_retreat_counts, 0, 2);
    tcase_add_loop_test(tcase, a_path_whose_rtt_falls_is_another, 0, 2);
    tcase_add_loop_test(tcase, persistent_congestion_ends_every_phase, 0, 4);
    tcase_add_test(tcase, what_a_round_trip_carries_is_observed);
    tcase_add_test(tcase, a_round_trip_is_whole);
    tcase_add_test(tcase, a_path_that_carries_less_is_told_of_in_time);
    tcase_add_test(tcase, a_controller_of_ones_own_is_held_too);
    tcase_add_test(tcase, a_controller_may_do_less_than_it_is_allowed);
    tcase_add_test(tcase, nothing_comes_of_nothing);
    tcase_add_test(tcase, a_model_is_left_alone);
    tcase_add_test(tcase, every_phase_and_reason_has_a_name);
    suite_add_tcase(suite, tcase);
    return suite;
}
