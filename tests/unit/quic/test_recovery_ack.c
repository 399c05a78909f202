/* test_recovery_ack.c - what an ACK frame does: fates, round-trip samples, marks, growth (RFC 9002 5, 7.8, B.5,
 * B.7). */
#include "recovery_kit.h"

START_TEST(flight_counts_what_is_in_flight)
{
    struct fixture *f = confirmed();
    app(f, START);
    put(f, QUIC_APPLICATION, START, false, true);  /* padding */
    put(f, QUIC_APPLICATION, START, false, false); /* ACK only */
    ck_assert_uint_eq(f->path.bytes_in_flight, 2 * SIZE);
    ck_assert_uint_eq(f->stats.packets_sent, 3);
    ck_assert_uint_eq(quic_recovery_window_left(&f->r), 12000 - 2 * SIZE);
    acked(f, 0, 2, START + 100 * BASE_MS);
    ck_assert_uint_eq(f->path.bytes_in_flight, 0);
    ck_assert_uint_eq(f->path.delivered, 2 * SIZE);
    ck_assert_uint_eq(f->told, 3);
    ck_assert_uint_eq(f->packets_told, 3);
    for (int i = 0; i < 20; i++)
        app(f, START + BASE_SEC);
    ck_assert_uint_eq(quic_recovery_window_left(&f->r), 0);
    teardown(f);
}
END_TEST

START_TEST(fates_come_in_ascending_order_and_once)
{
    struct fixture *f = confirmed();
    for (int i = 0; i < 40; i++)
        app(f, START);
    const uint64_t list[][2] = {{38, 39}, {30, 36}, {20, 28}, {0, 18}};
    ck_assert_int_eq(quic_recovery_on_ack(&f->r, QUIC_APPLICATION, ack_ranges(list, 4), 0, START + 100 * BASE_MS),
                     QUIC_NO_ERROR);
    uint64_t last = 0;
    uint32_t acks = 0;
    for (uint32_t i = 0; i < f->told; i++) {
        if (f->journal[i].fate != QUIC_FATE_ACKED)
            continue;
        ck_assert(acks++ == 0 || f->journal[i].number > last);
        last = f->journal[i].number;
    }
    ck_assert_uint_eq(acks, 2 + 7 + 9 + 19);
    uint32_t told = f->told;
    ck_assert_int_eq(quic_recovery_on_ack(&f->r, QUIC_APPLICATION, ack_ranges(list, 4), 0, START + 101 * BASE_MS),
                     QUIC_NO_ERROR);
    ck_assert_uint_eq(f->told, told); /* the same again says nothing */
    teardown(f);
}
END_TEST

START_TEST(more_ranges_than_one_batch)
{
    struct fixture *f = confirmed();
    static uint64_t list[300][2];
    for (uint32_t i = 0; i < 600; i++)
        app(f, START);
    for (uint32_t i = 0; i < 300; i++)
        list[i][0] = list[i][1] = 599 - 2 * (uint64_t)i;
    ck_assert_int_eq(
        quic_recovery_on_ack(&f->r, QUIC_APPLICATION, ack_ranges((const uint64_t(*)[2])list, 300), 0, START + BASE_MS),
        QUIC_NO_ERROR);
    for (uint64_t i = 0; i < 600; i++)
        if (count_told(f, i, QUIC_FATE_ACKED) != i % 2)
            ck_abort_msg("packet %u", (unsigned)i);
    teardown(f);
}
END_TEST

START_TEST(numbers_never_sent_are_a_violation)
{
    struct fixture *f = confirmed();
    ck_assert_int_eq(ack(f, QUIC_APPLICATION, 0, 0, START), QUIC_PROTOCOL_VIOLATION);
    app(f, START);
    ck_assert_int_eq(ack(f, QUIC_APPLICATION, 1, 1, START), QUIC_PROTOCOL_VIOLATION);
    ck_assert(quic_sent_skip(&f->r.spaces[QUIC_APPLICATION], &f->mem)); /* 1 */
    app(f, START);
    ck_assert_int_eq(ack(f, QUIC_APPLICATION, 0, 0, START + BASE_MS), QUIC_NO_ERROR);
    ck_assert_int_eq(ack(f, QUIC_APPLICATION, 0, 2, START + 2 * BASE_MS),
                     QUIC_PROTOCOL_VIOLATION); /* though 1 left the ring */
    teardown(f);
    f = confirmed();
    app(f, START);
    ck_assert(quic_sent_skip(&f->r.spaces[QUIC_APPLICATION], &f->mem)); /* 1 */
    app(f, START);
    ck_assert(quic_sent_skip(&f->r.spaces[QUIC_APPLICATION], &f->mem)); /* 3: both are in the ring */
    app(f, START);
    const uint64_t list[][2] = {{4, 4}, {0, 2}};
    ck_assert_int_eq(quic_recovery_on_ack(&f->r, QUIC_APPLICATION, ack_ranges(list, 2), 0, START + BASE_MS),
                     QUIC_PROTOCOL_VIOLATION);
    teardown(f);
}
END_TEST

/* ---- RTT ---- */

START_TEST(sample_needs_the_largest_newly_acknowledged)
{
    struct fixture *f = confirmed();
    f->path.rtt.sampled = false;
    f->path.first_rtt_at = 0;
    app(f, START);
    app(f, START);
    app(f, START);
    put(f, QUIC_APPLICATION, START, false, false); /* 3 */
    acked(f, 3, 3, START + 50 * BASE_MS);          /* nothing ack-eliciting */
    ck_assert(!f->path.rtt.sampled);
    acked(f, 1, 3, START + 60 * BASE_MS); /* 1, 2 are new, the largest is not */
    ck_assert(!f->path.rtt.sampled);
    ck_assert_uint_eq(f->path.first_rtt_at, 0);
    app(f, START + 100 * BASE_MS);
    put(f, QUIC_APPLICATION, START + 110 * BASE_MS, false, false); /* 5: the largest need not be eliciting itself */
    acked(f, 4, 5, START + 140 * BASE_MS);
    ck_assert(f->path.rtt.sampled);
    ck_assert_uint_eq(f->path.rtt.latest, 30 * BASE_MS);
    ck_assert_uint_eq(f->path.first_rtt_at, START + 140 * BASE_MS);
    teardown(f);
}
END_TEST

static base_time smoothed_with_delay(bool is_confirmed, enum quic_space space, base_time delay) {
    struct fixture *f = confirmed();
    f->r.handshake_confirmed = is_confirmed;
    put(f, space, START, true, true);
    const uint64_t list[][2] = {{0, 0}};
    ck_assert_int_eq(quic_recovery_on_ack(&f->r, space, ack_ranges(list, 1), delay, START + 180 * BASE_MS),
                     QUIC_NO_ERROR);
    ck_assert_uint_eq(f->path.rtt.min, 100 * BASE_MS);
    base_time smoothed = f->path.rtt.smoothed;
    teardown(f);
    return smoothed;
}

START_TEST(ack_delay_is_limited_by_what_was_promised)
{
    /* 7/8 * 100 + 1/8 * (180 - delay) */
    ck_assert_uint_eq(smoothed_with_delay(true, QUIC_APPLICATION, 20 * BASE_MS), 107500 * BASE_US);
    ck_assert_uint_eq(smoothed_with_delay(true, QUIC_APPLICATION, 60 * BASE_MS),
                      106875 * BASE_US); /* max_ack_delay 25 */
    ck_assert_uint_eq(smoothed_with_delay(false, QUIC_APPLICATION, 60 * BASE_MS),
                      102500 * BASE_US); /* not yet limited */
    ck_assert_uint_eq(smoothed_with_delay(false, QUIC_HANDSHAKE, 60 * BASE_MS), 102500 * BASE_US);
    ck_assert_uint_eq(smoothed_with_delay(false, QUIC_INITIAL, 20 * BASE_MS), 110 * BASE_MS); /* ignored */
}
END_TEST

/* What is acknowledged late in a handshake was acknowledged before, and that was lost: it says nothing of the path. */
START_TEST(repeated_ack_of_a_handshake_gives_no_sample)
{
    ck_assert_uint_eq(smoothed_with_delay(false, QUIC_INITIAL, 60 * BASE_MS), 100 * BASE_MS);
    const uint64_t list[][2] = {{0, 0}};
    for (unsigned space = 0; space < QUIC_SPACES; space++)
        for (int late = 0; late < 2; late++) { /* a first sample, from which no delay is subtracted */
            struct fixture *f = setup(CRYPTO_SERVER);
            put(f, (enum quic_space)space, START, true, true);
            quic_recovery_on_ack(&f->r, (enum quic_space)space, ack_ranges(list, 1), (late ? 26 : 25) * BASE_MS,
                                 START + 5 * BASE_SEC);
            ck_assert_int_eq(f->path.rtt.sampled, !late);
            teardown(f);
        }
}
END_TEST

/* RFC 9002 5.3: an ACK that waited for the keys to read it. */
START_TEST(local_delay_is_subtracted)
{
    struct fixture *f = setup(CRYPTO_CLIENT);
    const uint64_t list[][2] = {{0, 0}};
    put(f, QUIC_APPLICATION, START, true, true);
    f->r.held = 4 * BASE_SEC;
    quic_recovery_on_ack(&f->r, QUIC_APPLICATION, ack_ranges(list, 1), 0, START + 4 * BASE_SEC + 30 * BASE_MS);
    ck_assert_uint_eq(f->path.rtt.min, 30 * BASE_MS);
    teardown(f);
}
END_TEST

/* ---- congestion ---- */

START_TEST(ce_marks_are_congestion_once_validated)
{
    for (int ok = 0; ok < 2; ok++) {
        struct fixture *f = confirmed();
        f->path.ecn.state = ok ? QUIC_ECN_CAPABLE : QUIC_ECN_UNKNOWN;
        f->r.ecn[QUIC_APPLICATION].sent = 4;
        for (int i = 0; i < 4; i++)
            app(f, START + (base_time)i * 200 * BASE_MS);
        uint64_t window = f->path.cc.window;
        for (uint64_t i = 0; i < 4; i++) {
            const uint64_t list[][2] = {{i, i}};
            struct quic_frame_ack *frame = ack_ranges(list, 1);
            static const uint64_t ce[] = {0, 1, 1, 2};
            frame->ce = ce[i];
            ck_assert_int_eq(
                quic_recovery_on_ack(&f->r, QUIC_APPLICATION, frame, 0, START + i * 200 * BASE_MS + 100 * BASE_MS),
                QUIC_NO_ERROR);
            ck_assert_uint_eq(f->stats.congestion_events, ok ? ce[i] : 0);
        }
        ck_assert_uint_eq(f->r.ecn[QUIC_APPLICATION].ce, 2);
        ck_assert(ok ? f->path.cc.window < window : f->path.cc.window > window);
        teardown(f);
    }
}
END_TEST

START_TEST(the_window_grows_only_when_used)
{
    struct fixture *f = confirmed();
    uint64_t window = f->path.cc.window;
    app(f, START);
    quic_recovery_on_app_limited(&f->r);
    acked(f, 0, 0, START + 100 * BASE_MS); /* sent before we ran dry: counts */
    uint64_t grown = f->path.cc.window;
    ck_assert_uint_eq(grown, window + SIZE);
    for (uint64_t i = 1; i < 20; i++) {
        app(f, START + i * BASE_SEC);
        quic_recovery_on_app_limited(&f->r);
        acked(f, i, i, START + i * BASE_SEC + 100 * BASE_MS);
    }
    ck_assert_uint_eq(f->path.cc.window, grown);
    for (uint64_t i = 20; i < 31; i++) /* now the window is filled, though the mark is still there */
        app(f, START + 100 * BASE_SEC);
    acked(f, 20, 30, START + 100 * BASE_SEC + 100 * BASE_MS);
    ck_assert_uint_eq(f->path.cc.window, grown + 11 * SIZE);
    ck_assert_uint_eq(f->path.app_limited_until, 0);
    teardown(f);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *const tests[] = {flight_counts_what_is_in_flight,
                                  fates_come_in_ascending_order_and_once,
                                  more_ranges_than_one_batch,
                                  numbers_never_sent_are_a_violation,
                                  sample_needs_the_largest_newly_acknowledged,
                                  ack_delay_is_limited_by_what_was_promised,
                                  repeated_ack_of_a_handshake_gives_no_sample,
                                  local_delay_is_subtracted,
                                  ce_marks_are_congestion_once_validated,
                                  the_window_grows_only_when_used};
    return TOOLKIT_SUITE("recovery_ack", tests);
}
