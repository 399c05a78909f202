/* test_recovery_loss.c - what is lost, when, and what follows from it (RFC 9002 6.1, 7.3, 7.6). */
#include "recovery_kit.h"

/* ---- loss ---- */

START_TEST(packet_threshold_is_three)
{
    struct fixture *f = confirmed();
    for (int i = 0; i < 5; i++)
        app(f, START);
    acked(f, 2, 2, START + 100 * BASE_MS);
    ck_assert_uint_eq(f->stats.packets_lost, 0);
    acked(f, 3, 3, START + 100 * BASE_MS);
    ck_assert_uint_eq(state_of(f, 0), QUIC_SENT_LOST);
    ck_assert_uint_eq(state_of(f, 1), QUIC_SENT_OUTSTANDING);
    ck_assert_uint_eq(state_of(f, 4), QUIC_SENT_OUTSTANDING); /* above the largest acknowledged */
    ck_assert_uint_eq(f->stats.packets_lost, 1);
    ck_assert_uint_eq(count_told(f, 0, QUIC_FATE_LOST), 1);
    ck_assert_uint_eq(f->path.bytes_in_flight, 2 * SIZE);
    teardown(f);
}
END_TEST

START_TEST(time_threshold_is_nine_eighths)
{
    struct fixture *f = confirmed();
    app(f, START);
    app(f, START + 5 * BASE_MS);
    acked(f, 1, 1, START + 105 * BASE_MS);
    ck_assert_uint_eq(f->path.rtt.latest, 100 * BASE_MS);
    base_time lost_at = START + 112500 * BASE_US;
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START + 105 * BASE_MS), lost_at);
    quic_recovery_on_timeout(&f->r, lost_at - 1);
    ck_assert_uint_eq(f->stats.packets_lost, 0);
    quic_recovery_on_timeout(&f->r, lost_at);
    ck_assert_uint_eq(f->stats.packets_lost, 1);
    ck_assert_uint_eq(f->stats.ptos, 0);
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, lost_at), BASE_NEVER);
    teardown(f);
}
END_TEST

START_TEST(time_threshold_takes_the_larger_rtt)
{
    struct fixture *f = confirmed();
    app(f, START);
    app(f, START);
    acked(f, 1, 1, START + 160 * BASE_MS); /* latest 160, smoothed 107.5 */
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START), START + 180 * BASE_MS);
    teardown(f);
    f = confirmed();
    app(f, START);
    app(f, START + 10 * BASE_MS);
    acked(f, 1, 1, START + 50 * BASE_MS); /* latest 40, smoothed 92.5 */
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START), START + 92500 * BASE_US + 92500 * BASE_US / 8);
    teardown(f);
    f = confirmed();
    f->path.rtt.smoothed = f->path.rtt.min = 80 * BASE_US;
    app(f, START);
    app(f, START);
    acked(f, 1, 1, START + 80 * BASE_US);
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START), START + QUIC_GRANULARITY);
    teardown(f);
}
END_TEST

START_TEST(what_is_not_in_flight_arms_no_timer)
{
    struct fixture *f = confirmed();
    put(f, QUIC_APPLICATION, START, false, false);
    app(f, START);
    acked(f, 1, 1, START + 100 * BASE_MS);
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START + 100 * BASE_MS), BASE_NEVER);
    put(f, QUIC_APPLICATION, START + 200 * BASE_MS, false, false);
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START + 200 * BASE_MS), BASE_NEVER);
    teardown(f);
}
END_TEST

START_TEST(a_receivers_log_stays_small)
{
    struct fixture *f = confirmed();
    for (uint32_t i = 0; i < 20000; i++)
        put(f, QUIC_APPLICATION, START + i * BASE_MS, false, false);
    ck_assert_uint_lt(f->r.spaces[QUIC_APPLICATION].next - f->r.spaces[QUIC_APPLICATION].base,
                      320); /* 3 PTO = 303 ms */
    teardown(f);
}
END_TEST

/* ---- congestion ---- */

/* Sends ten packets at `at`, acknowledges the last four a round trip later: the first six are lost. */
static uint64_t lossy_flight(struct fixture *f, base_time at) {
    uint64_t first = f->r.spaces[QUIC_APPLICATION].next;
    for (int i = 0; i < 10; i++)
        app(f, at);
    acked(f, first + 6, first + 9, at + 100 * BASE_MS);
    return first;
}

START_TEST(one_reduction_a_recovery_period)
{
    struct fixture *f = confirmed();
    uint64_t window = f->path.cc.window;
    for (int i = 0; i < 10; i++)
        app(f, START);
    app(f, START + 50 * BASE_MS); /* 10 */
    acked(f, 4, 4, START + 100 * BASE_MS);
    ck_assert_uint_eq(f->stats.congestion_events, 1);
    acked(f, 9, 10, START + 151 * BASE_MS); /* 5, 6 lost: sent before the recovery began */
    ck_assert_uint_gt(f->stats.packets_lost, 2);
    ck_assert_uint_eq(f->stats.congestion_events, 1);
    ck_assert_uint_eq(f->path.cc.window, window / 2);
    lossy_flight(f, START + 300 * BASE_MS);
    ck_assert_uint_eq(f->stats.congestion_events, 2);
    teardown(f);
}
END_TEST

START_TEST(mtu_probes_are_no_congestion)
{
    struct fixture *f = confirmed();
    uint64_t window = f->path.cc.window, probe = app(f, START);
    quic_sent_at(&f->r.spaces[QUIC_APPLICATION], probe)->mtu_probe = true;
    for (int i = 0; i < 3; i++)
        app(f, START);
    acked(f, 1, 3, START + 100 * BASE_MS);
    ck_assert_uint_eq(state_of(f, probe), QUIC_SENT_LOST);
    ck_assert_uint_eq(f->stats.congestion_events, 0);
    ck_assert_uint_ge(f->path.cc.window, window);
    ck_assert_uint_eq(f->path.bytes_in_flight, 0);
    teardown(f);
}
END_TEST

START_TEST(spurious_losses_are_counted_and_undone)
{
    struct fixture *f = confirmed();
    uint64_t window = f->path.cc.window, first = lossy_flight(f, START);
    ck_assert_uint_eq(f->path.cc.window, window / 2);
    acked(f, first, first + 4, START + 110 * BASE_MS);
    ck_assert_uint_eq(f->stats.packets_spurious, 5);
    ck_assert_uint_eq(f->path.cc.window, window / 2); /* one is still missing */
    ck_assert_uint_eq(count_told(f, first, QUIC_FATE_LOST), 1);
    ck_assert_uint_eq(count_told(f, first, QUIC_FATE_ACKED), 1);
    acked(f, first, first + 9, START + 120 * BASE_MS);
    ck_assert_uint_eq(f->stats.packets_spurious, 6);
    ck_assert_uint_ge(f->path.cc.window, window);
    ck_assert_uint_eq(f->path.cc.threshold, UINT64_MAX);
    ck_assert_uint_eq(f->path.bytes_in_flight, 0); /* they had left the flight when they were lost */
    teardown(f);
}
END_TEST

START_TEST(losses_of_an_older_event_undo_nothing)
{
    struct fixture *f = confirmed();
    uint64_t first = lossy_flight(f, START);
    lossy_flight(f, START + 110 * BASE_MS);
    ck_assert_uint_eq(f->stats.congestion_events, 2);
    uint64_t window = f->path.cc.window;
    acked(f, first, first + 9, START + 215 * BASE_MS);
    ck_assert_uint_eq(f->stats.packets_spurious, 6);
    ck_assert_uint_eq(f->path.cc.window, window);
    teardown(f);
}
END_TEST

/* ---- reordering ---- */

START_TEST(what_came_late_raises_the_packet_threshold)
{
    struct fixture *f = confirmed();
    for (int i = 0; i < 10; i++)
        app(f, START);
    acked(f, 8, 8, START + 100 * BASE_MS);
    ck_assert_uint_eq(f->stats.packets_lost, 6); /* 0 to 5 */
    acked(f, 0, 9, START + 101 * BASE_MS);
    ck_assert_uint_eq(f->stats.packets_spurious, 6);
    ck_assert_uint_eq(f->path.reordering.packets, 10); /* 8 had overtaken the first, and a quarter more */
    for (int i = 0; i < 20; i++)
        app(f, START + 200 * BASE_MS);
    acked(f, 20, 20, START + 300 * BASE_MS);
    ck_assert_uint_eq(f->stats.packets_lost, 6);
    acked(f, 21, 21, START + 300 * BASE_MS);
    ck_assert_uint_eq(f->stats.packets_lost, 7);
    ck_assert_uint_eq(state_of(f, 10), QUIC_SENT_LOST);
    ck_assert_uint_eq(state_of(f, 11), QUIC_SENT_OUTSTANDING);
    teardown(f);
}
END_TEST

/* Two packets, the second acknowledged a round trip after it was sent, the first `late` after its round trip. */
static base_time late_pair(struct fixture *f, base_time at, base_time late) {
    uint64_t first = app(f, at);
    app(f, at);
    acked(f, first + 1, first + 1, at + 100 * BASE_MS);
    base_time lost_at = quic_recovery_deadline(&f->r, at + 100 * BASE_MS);
    quic_recovery_on_timeout(&f->r, lost_at);
    acked(f, first, first + 1, at + 100 * BASE_MS + late);
    return lost_at - at;
}

START_TEST(what_came_late_raises_the_time_threshold)
{
    struct fixture *f = confirmed();
    ck_assert_uint_eq(late_pair(f, START, 40 * BASE_MS), 112500 * BASE_US);
    ck_assert_uint_eq(f->stats.packets_spurious, 1);
    ck_assert_uint_eq(late_pair(f, START + BASE_SEC, 50 * BASE_MS), 150 * BASE_MS); /* and a quarter more */
    ck_assert_uint_eq(late_pair(f, START + 2 * BASE_SEC, 180 * BASE_MS), 162500 * BASE_US);
    ck_assert_uint_eq(f->stats.packets_spurious, 3);
    ck_assert_uint_eq(late_pair(f, START + 3 * BASE_SEC, 10 * BASE_MS), 200 * BASE_MS); /* an RTT more at most */
    ck_assert_uint_eq(f->path.reordering.packets, 1);
    teardown(f);
}
END_TEST

/* Else a peer that acknowledges every other packet could have us look at half a window with each ACK. */
START_TEST(the_packet_threshold_is_bounded)
{
    struct fixture *f = confirmed();
    for (int i = 0; i < 3000; i++)
        app(f, START);
    acked(f, 2000, 2000, START + 100 * BASE_MS);
    acked(f, 0, 2000, START + 100 * BASE_MS);
    ck_assert_uint_eq(f->path.reordering.packets, 1024);
    teardown(f);
}
END_TEST

/* It need not have been given up: what came just before is a warning. */
START_TEST(nearly_late_raises_the_thresholds_too)
{
    struct fixture *f = confirmed();
    (void)late_pair(f, START, 40 * BASE_MS);
    (void)late_pair(f, START + BASE_SEC, 49 * BASE_MS);
    ck_assert_uint_eq(f->path.reordering.time, 61250 * BASE_US);
    teardown(f);
}
END_TEST

START_TEST(usual_reordering_changes_nothing)
{
    struct fixture *f = confirmed();
    for (int i = 0; i < 3; i++)
        app(f, START);
    acked(f, 2, 2, START + 100 * BASE_MS);
    acked(f, 0, 1, START + 112 * BASE_MS);
    ck_assert_uint_eq(f->stats.packets_lost, 0);
    ck_assert_uint_eq(f->path.reordering.packets, 0);
    ck_assert_uint_eq(f->path.reordering.time, 0);
    teardown(f);
}
END_TEST

START_TEST(reordering_is_forgotten_after_sixteen_recoveries)
{
    struct fixture *f = confirmed();
    for (int i = 0; i < 10; i++)
        app(f, START);
    acked(f, 8, 8, START + 100 * BASE_MS);
    acked(f, 0, 9, START + 101 * BASE_MS);
    for (base_time i = 1; i <= 16; i++) {
        ck_assert_uint_eq(f->path.reordering.packets, 10);
        uint64_t first = f->r.spaces[QUIC_APPLICATION].next;
        for (int k = 0; k < 30; k++)
            app(f, START + i * BASE_SEC);
        acked(f, first + 20, first + 29, START + i * BASE_SEC + 100 * BASE_MS);
        quic_recovery_on_timeout(&f->r, quic_recovery_deadline(&f->r, START + i * BASE_SEC));
    }
    ck_assert_uint_eq(f->path.reordering.packets, 0);
    ck_assert_uint_eq(f->path.reordering.time, 0);
    teardown(f);
}
END_TEST

START_TEST(lost_packets_are_forgotten_after_three_pto)
{
    struct fixture *f = confirmed();
    uint64_t first = lossy_flight(f, START);
    ck_assert_uint_eq(state_of(f, first), QUIC_SENT_LOST);
    uint64_t late = app(f, START + BASE_SEC);
    acked(f, late, late, START + BASE_SEC + 100 * BASE_MS);
    ck_assert_uint_eq(f->r.spaces[QUIC_APPLICATION].base, f->r.spaces[QUIC_APPLICATION].next);
    acked(f, first, late, START + BASE_SEC + 101 * BASE_MS); /* and then nobody misses them */
    ck_assert_uint_eq(f->stats.packets_spurious, 0);
    teardown(f);
}
END_TEST

/* Losses found later belong to the event while they were sent before it: all of them must prove spurious. */
START_TEST(later_losses_of_the_event_count_too)
{
    for (int all = 0; all < 2; all++) {
        struct fixture *f = confirmed();
        uint64_t window = f->path.cc.window;
        for (int i = 0; i < 10; i++)
            app(f, START);
        acked(f, 4, 4, START + 100 * BASE_MS); /* 0, 1 */
        ck_assert_uint_eq(f->stats.packets_lost, 2);
        acked(f, 9, 9, START + 101 * BASE_MS); /* 2, 3, 5, 6 */
        ck_assert_uint_eq(f->stats.packets_lost, 6);
        ck_assert_uint_eq(f->path.cc.window, window / 2);
        acked(f, 0, all ? 9 : 1, START + 102 * BASE_MS);
        ck_assert(all ? f->path.cc.window >= window : f->path.cc.window == window / 2);
        teardown(f);
    }
}
END_TEST

/* ---- persistent congestion ---- */

/* PTO + max_ack_delay = 126 ms (no variation): the period is 378 ms. Sends at START + each of `at`, in ms; `acks`, then
 * all of it is judged by an ACK of five packets sent at the end. */
static bool persistent(struct fixture *f, const uint32_t *at, uint32_t count, uint32_t acknowledged, bool eliciting) {
    for (uint32_t i = 0; i < count; i++)
        put(f, QUIC_APPLICATION, START + at[i] * BASE_MS, eliciting, true);
    base_time end = START + (at[count - 1] + 50) * BASE_MS;
    for (int i = 0; i < 5; i++)
        app(f, end);
    const uint64_t list[][2] = {{count, count + 4}, {acknowledged, acknowledged}};
    ck_assert_int_eq(quic_recovery_on_ack(&f->r, QUIC_APPLICATION, ack_ranges(list, acknowledged + 1 < count ? 2 : 1),
                                          0, end + 100 * BASE_MS),
                     QUIC_NO_ERROR);
    return f->stats.persistent_congestions > 0;
}

START_TEST(persistent_congestion_needs_the_whole_period)
{
    struct fixture *f = confirmed();
    f->path.first_rtt_at = START;
    f->path.rtt.min = 50 * BASE_MS; /* of a path that may be no more */
    static const uint32_t far[] = {1, 200, 380}, near[] = {1, 200, 379};
    ck_assert(persistent(f, far, 3, UINT32_MAX - 1, true));
    ck_assert_uint_eq(f->path.cc.recovery_start, 0);
    ck_assert_uint_ge(f->path.cc.window, 2 * MTU);
    ck_assert_uint_le(f->path.cc.window, 2 * MTU + 5 * SIZE); /* and the five that arrived */
    ck_assert_uint_eq(f->path.rtt.min, 100 * BASE_MS);
    teardown(f);
    f = confirmed();
    ck_assert(!persistent(f, near, 3, UINT32_MAX - 1, true));
    teardown(f);
}
END_TEST

START_TEST(persistent_congestion_needs_eliciting_packets)
{
    struct fixture *f = confirmed();
    static const uint32_t far[] = {1, 200, 600};
    ck_assert(!persistent(f, far, 3, UINT32_MAX - 1, false));
    teardown(f);
}
END_TEST

START_TEST(both_ends_of_the_period_are_eliciting)
{
    struct fixture *f = confirmed();
    put(f, QUIC_APPLICATION, START + BASE_MS, false, true); /* padding only */
    app(f, START + 400 * BASE_MS);
    app(f, START + 600 * BASE_MS);
    for (int i = 0; i < 5; i++)
        app(f, START + 650 * BASE_MS);
    acked(f, 3, 7, START + 750 * BASE_MS);
    ck_assert_uint_eq(f->stats.packets_lost, 3);
    ck_assert_uint_eq(f->stats.persistent_congestions, 0);
    teardown(f);
}
END_TEST

START_TEST(no_persistent_congestion_without_any_sample)
{
    struct fixture *f = confirmed();
    f->path.first_rtt_at = 0;
    for (base_time i = 0; i < 3; i++)
        app(f, START + (1 + 300 * i) * BASE_MS);
    for (int i = 0; i < 5; i++)
        put(f, QUIC_APPLICATION, START + 650 * BASE_MS, false, true);
    acked(f, 3, 7, START + 750 * BASE_MS); /* nothing eliciting: no sample */
    ck_assert_uint_eq(f->stats.packets_lost, 3);
    ck_assert_uint_eq(f->stats.persistent_congestions, 0);
    teardown(f);
}
END_TEST

START_TEST(persistent_congestion_needs_all_between_lost)
{
    struct fixture *f = confirmed();
    static const uint32_t far[] = {1, 200, 300, 600};
    ck_assert(!persistent(f, far, 4, 1, true));
    teardown(f);
    f = confirmed();
    static const uint32_t later[] = {1, 200, 300, 600}; /* 200 .. 600 is a run of its own */
    ck_assert(persistent(f, later, 4, 0, true));
    teardown(f);
}
END_TEST

START_TEST(persistent_congestion_needs_an_earlier_sample)
{
    struct fixture *f = confirmed();
    static const uint32_t far[] = {1, 200, 600};
    f->path.first_rtt_at = START + 300 * BASE_MS; /* the sample came between them */
    ck_assert(!persistent(f, far, 3, UINT32_MAX - 1, true));
    teardown(f);
    f = confirmed();
    f->path.first_rtt_at = 0;
    f->path.rtt.sampled = false;
    ck_assert(!persistent(f, far, 3, UINT32_MAX - 1, true)); /* this very ACK gives the first one */
    teardown(f);
}
END_TEST

START_TEST(persistent_congestion_looks_at_all_spaces)
{
    static const uint32_t far[] = {1, 200, 600};
    for (int acknowledge = 0; acknowledge < 2; acknowledge++) {
        struct fixture *f = confirmed();
        for (uint32_t i = 0; i < 2; i++)
            put(f, QUIC_APPLICATION, START + far[i] * BASE_MS, true, true);
        put(f, QUIC_HANDSHAKE, START + 400 * BASE_MS, true, true);
        if (acknowledge) /* it leaves its ring at once, and is remembered all the same */
            ck_assert_int_eq(ack(f, QUIC_HANDSHAKE, 0, 0, START + 500 * BASE_MS), QUIC_NO_ERROR);
        put(f, QUIC_APPLICATION, START + 600 * BASE_MS, true, true);
        for (int i = 0; i < 5; i++)
            app(f, START + 650 * BASE_MS);
        acked(f, 3, 7, START + 750 * BASE_MS);
        ck_assert_uint_eq(f->stats.persistent_congestions, !acknowledge);
        teardown(f);
    }
}
END_TEST

START_TEST(old_losses_prove_it_once)
{
    struct fixture *f = confirmed();
    for (base_time i = 0; i < 3; i++)
        app(f, START + (1 + 300 * i) * BASE_MS);
    for (int i = 0; i < 5; i++)
        app(f, START + 650 * BASE_MS); /* 3 .. 7 */
    acked(f, 7, 7, START + 750 * BASE_MS);
    ck_assert_uint_eq(f->stats.packets_lost, 5);
    ck_assert_uint_eq(f->stats.persistent_congestions, 1);
    quic_recovery_on_timeout(&f->r, quic_recovery_deadline(&f->r, START + 750 * BASE_MS));
    ck_assert_uint_eq(f->stats.packets_lost, 7); /* 5, 6: the same run goes on, but it has had its answer */
    ck_assert_uint_eq(f->stats.persistent_congestions, 1);
    teardown(f);
}
END_TEST

START_TEST(persistent_congestion_is_not_found_twice)
{
    struct fixture *f = confirmed();
    static const uint32_t far[] = {1, 200, 600};
    ck_assert(persistent(f, far, 3, UINT32_MAX - 1, true));
    uint64_t first = f->r.spaces[QUIC_APPLICATION].next;
    for (int i = 0; i < 5; i++)
        app(f, START + 760 * BASE_MS);
    acked(f, first + 4, first + 4, START + 860 * BASE_MS);
    ck_assert_uint_gt(f->stats.packets_lost, 3);
    ck_assert_uint_eq(f->stats.persistent_congestions, 1);
    teardown(f);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *const tests[] = {old_losses_prove_it_once,
                                  no_persistent_congestion_without_any_sample,
                                  both_ends_of_the_period_are_eliciting,
                                  later_losses_of_the_event_count_too,
                                  packet_threshold_is_three,
                                  time_threshold_is_nine_eighths,
                                  time_threshold_takes_the_larger_rtt,
                                  what_is_not_in_flight_arms_no_timer,
                                  a_receivers_log_stays_small,
                                  one_reduction_a_recovery_period,
                                  mtu_probes_are_no_congestion,
                                  spurious_losses_are_counted_and_undone,
                                  losses_of_an_older_event_undo_nothing,
                                  what_came_late_raises_the_packet_threshold,
                                  what_came_late_raises_the_time_threshold,
                                  the_packet_threshold_is_bounded,
                                  nearly_late_raises_the_thresholds_too,
                                  usual_reordering_changes_nothing,
                                  reordering_is_forgotten_after_sixteen_recoveries,
                                  lost_packets_are_forgotten_after_three_pto,
                                  persistent_congestion_needs_the_whole_period,
                                  persistent_congestion_needs_eliciting_packets,
                                  persistent_congestion_needs_all_between_lost,
                                  persistent_congestion_needs_an_earlier_sample,
                                  persistent_congestion_looks_at_all_spaces,
                                  persistent_congestion_is_not_found_twice};
    return TOOLKIT_SUITE("recovery_loss", tests);
}
