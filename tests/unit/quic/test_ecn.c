/* The test of a path for ECN, and the check of the counts a peer tells. */
#include "quic/ecn.h"
#include "unit.h"

#define START (100 * BASE_SEC)
#define PERIOD (300 * BASE_MS)

static struct quic_ecn_path path;
static struct quic_ecn_counts counts;
static uint64_t more_ect0, more_ce;

static void setup(void) {
    quic_ecn_start(&path, true, START);
    counts = (struct quic_ecn_counts){0};
}

/* Marks and sends up to `count` packets; how many were marked. */
static unsigned put(unsigned count, base_time now) {
    unsigned marked = 0;
    while (count--) {
        if (quic_ecn_mark(&path, now) != QUIC_ECT0)
            continue;
        marked++;
        quic_ecn_on_sent(&path, now, PERIOD);
    }
    return marked;
}

START_TEST(ten_packets_are_marked)
{
    ck_assert_uint_eq(put(20, START), 10);
    ck_assert_int_eq(path.state, QUIC_ECN_UNKNOWN);
    quic_ecn_start(&path, false, START);
    ck_assert_uint_eq(put(20, START), 0);
}
END_TEST

START_TEST(marking_ends_with_its_period)
{
    ck_assert_uint_eq(put(2, START), 2);
    ck_assert_uint_eq(put(1, START + PERIOD - 1), 1);
    ck_assert_uint_eq(put(1, START + PERIOD), 0);
    ck_assert_int_eq(path.state, QUIC_ECN_UNKNOWN);
}
END_TEST

START_TEST(one_mark_that_arrives_proves_the_path)
{
    put(20, START);
    ck_assert(!quic_ecn_judge(&path, true, 1, true));
    ck_assert_int_eq(path.state, QUIC_ECN_CAPABLE);
    ck_assert_uint_eq(put(20, START + 10 * PERIOD), 20);
    ck_assert(!quic_ecn_on_lost(&path, START)); /* losses are congestion now */
    ck_assert_int_eq(path.state, QUIC_ECN_CAPABLE);
}
END_TEST

START_TEST(bad_counts_end_it_for_ever)
{
    put(1, START);
    ck_assert(quic_ecn_judge(&path, false, 1, true));
    ck_assert_int_eq(path.state, QUIC_ECN_FAILED);
    ck_assert(!quic_ecn_judge(&path, false, 1, true)); /* told once */
    ck_assert(!quic_ecn_judge(&path, true, 1, true));
    ck_assert_int_eq(path.state, QUIC_ECN_FAILED);
    ck_assert_uint_eq(put(1, START), 0);
    ck_assert(!quic_ecn_is_live(&path));
    quic_ecn_start(&path, true, START);
    ck_assert(quic_ecn_is_live(&path));
    ck_assert(!quic_ecn_judge(&path, true, 1, true));
    ck_assert(quic_ecn_judge(&path, false, 1, true)); /* also once it was capable */
}
END_TEST

START_TEST(all_lost_is_a_verdict)
{
    put(20, START);
    for (unsigned i = 0; i < 9; i++)
        ck_assert(!quic_ecn_on_lost(&path, START));
    ck_assert_int_eq(path.state, QUIC_ECN_UNKNOWN);
    ck_assert(quic_ecn_on_lost(&path, START));
    ck_assert_int_eq(path.state, QUIC_ECN_FAILED);
}
END_TEST

START_TEST(all_ce_is_a_verdict)
{
    put(20, START);
    ck_assert(!quic_ecn_judge(&path, true, 9, false));
    ck_assert(quic_ecn_judge(&path, true, 1, false));
    ck_assert_int_eq(path.state, QUIC_ECN_FAILED);
    quic_ecn_start(&path, true, START);
    put(20, START);
    ck_assert(!quic_ecn_judge(&path, true, 9, false));
    ck_assert(!quic_ecn_judge(&path, true, 1, true)); /* one came as it was sent: a queue, no box */
    ck_assert_int_eq(path.state, QUIC_ECN_CAPABLE);
}
END_TEST

START_TEST(a_time_out_stops_marking_and_few_losses_prove_nothing)
{
    put(2, START);
    quic_ecn_on_timeout(&path, 1);
    ck_assert_uint_eq(put(2, START), 0); /* probes */
    ck_assert(!quic_ecn_on_lost(&path, START));
    ck_assert(!quic_ecn_on_lost(&path, START));
    ck_assert_uint_eq(put(1, START + PERIOD), 1); /* goes on */
    quic_ecn_on_timeout(&path, 1);
    ck_assert(quic_ecn_on_lost(&path, START + PERIOD));
    ck_assert_int_eq(path.state, QUIC_ECN_FAILED);
}
END_TEST

START_TEST(a_time_out_before_anything_was_marked_changes_nothing)
{
    quic_ecn_on_timeout(&path, 1);
    ck_assert_uint_eq(put(1, START), 1);
}
END_TEST

START_TEST(a_capable_path_that_falls_silent_is_tested_again)
{
    put(1, START);
    quic_ecn_judge(&path, true, 1, true);
    quic_ecn_on_timeout(&path, 2);
    ck_assert_uint_eq(put(1, START), 1);
    quic_ecn_on_timeout(&path, 3);
    ck_assert_uint_eq(put(1, START), 0);
    ck_assert(quic_ecn_is_live(&path));
    quic_ecn_on_heard(&path, START + PERIOD);
    ck_assert_uint_eq(put(20, START + PERIOD), 10);
    for (unsigned i = 0; i < 20; i++)
        ck_assert(!quic_ecn_on_lost(&path, START)); /* sent before the test */
    quic_ecn_on_heard(&path, START + PERIOD);
    ck_assert_int_eq(path.state, QUIC_ECN_UNKNOWN);
}
END_TEST

START_TEST(a_period_that_ends_after_all_was_settled_is_a_verdict)
{
    put(4, START);
    ck_assert(!quic_ecn_judge(&path, true, 4, false));
    ck_assert_int_eq(path.state, QUIC_ECN_TESTING);
    ck_assert_uint_eq(put(1, START + PERIOD), 0);
    ck_assert_int_eq(path.state, QUIC_ECN_FAILED);
}
END_TEST

START_TEST(withdrawn_packets_are_not_waited_for)
{
    put(20, START);
    ck_assert(!quic_ecn_on_withdrawn(&path, START - 1));
    ck_assert(!quic_ecn_on_withdrawn(&path, START));
    for (unsigned i = 0; i < 8; i++)
        ck_assert(!quic_ecn_on_lost(&path, START));
    ck_assert(quic_ecn_on_lost(&path, START));
}
END_TEST

/* The handshake's keys go when all other packets of the test are lost already: nobody else will draw the conclusion. */
START_TEST(the_last_one_withdrawn_ends_the_test)
{
    put(20, START);
    for (unsigned i = 0; i < 9; i++)
        ck_assert(!quic_ecn_on_lost(&path, START));
    ck_assert(quic_ecn_on_withdrawn(&path, START));
    ck_assert_int_eq(path.state, QUIC_ECN_FAILED);
}
END_TEST

START_TEST(a_test_withdrawn_altogether_begins_again)
{
    put(2, START);
    quic_ecn_on_timeout(&path, 1);
    ck_assert_int_eq(path.state, QUIC_ECN_UNKNOWN);
    ck_assert(!quic_ecn_on_withdrawn(&path, START));
    ck_assert(!quic_ecn_on_withdrawn(&path, START));
    ck_assert_int_eq(path.state, QUIC_ECN_TESTING);
    ck_assert_uint_eq(put(1, START + 2 * PERIOD), 1);
}
END_TEST

/* ---- counts ---- */

static bool check(uint64_t ect0, uint64_t ect1, uint64_t ce, uint64_t acked) {
    return quic_ecn_check(&counts, ect0, ect1, ce, acked, &more_ect0, &more_ce);
}

START_TEST(counts_account_for_what_is_acknowledged)
{
    counts.sent = 10;
    ck_assert(check(3, 0, 1, 4));
    ck_assert_uint_eq(more_ect0, 3);
    ck_assert_uint_eq(more_ce, 1);
    ck_assert(check(3, 0, 1, 0));
    ck_assert_uint_eq(more_ect0 + more_ce, 0);
    ck_assert(check(5, 0, 1, 1)); /* more than that: an ACK was lost */
    ck_assert(!check(5, 0, 2, 2));
}
END_TEST

START_TEST(counts_are_there_when_marks_are_acknowledged)
{
    counts.sent = 10;
    ck_assert(check(0, 0, 0, 0));
    ck_assert(check(1, 0, 0, 1));
    ck_assert(check(0, 0, 0, 0)); /* an ACK without counts that acknowledges nothing marked */
    ck_assert(!check(0, 0, 0, 1));
}
END_TEST

START_TEST(counts_never_shrink)
{
    counts.sent = 10;
    ck_assert(check(3, 0, 2, 5));
    ck_assert(!check(2, 0, 3, 0));
    ck_assert(!check(3, 0, 1, 0));
}
END_TEST

START_TEST(counts_are_not_above_what_was_sent)
{
    counts.sent = 4;
    ck_assert(check(2, 0, 2, 4));
    ck_assert(!check(3, 0, 2, 0));
    setup();
    counts.sent = 4;
    ck_assert(!check(5, 0, 0, 4));
    setup();
    counts.sent = 4;
    ck_assert(!check(0, 0, 5, 4));
    setup();
    counts.sent = 4;
    ck_assert(!check(3, 1, 0, 4)); /* nobody sends ECT(1) */
    ck_assert(!check(3, 1, 0, 1));
    ck_assert(check(4, 1, 0, 1)); /* it is known by now: the next path is judged by what is new */
}
END_TEST

START_TEST(huge_counts_do_not_wrap)
{
    counts.sent = 4;
    ck_assert(!check(UINT64_MAX / 2 + 1, 0, UINT64_MAX / 2 + 1, 1));
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("quic/ecn");
    TCase *tcase = tcase_create("ecn");
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, ten_packets_are_marked);
    tcase_add_test(tcase, marking_ends_with_its_period);
    tcase_add_test(tcase, one_mark_that_arrives_proves_the_path);
    tcase_add_test(tcase, bad_counts_end_it_for_ever);
    tcase_add_test(tcase, all_lost_is_a_verdict);
    tcase_add_test(tcase, all_ce_is_a_verdict);
    tcase_add_test(tcase, a_time_out_stops_marking_and_few_losses_prove_nothing);
    tcase_add_test(tcase, a_time_out_before_anything_was_marked_changes_nothing);
    tcase_add_test(tcase, a_capable_path_that_falls_silent_is_tested_again);
    tcase_add_test(tcase, a_period_that_ends_after_all_was_settled_is_a_verdict);
    tcase_add_test(tcase, withdrawn_packets_are_not_waited_for);
    tcase_add_test(tcase, the_last_one_withdrawn_ends_the_test);
    tcase_add_test(tcase, a_test_withdrawn_altogether_begins_again);
    tcase_add_test(tcase, counts_account_for_what_is_acknowledged);
    tcase_add_test(tcase, counts_are_there_when_marks_are_acknowledged);
    tcase_add_test(tcase, counts_never_shrink);
    tcase_add_test(tcase, counts_are_not_above_what_was_sent);
    tcase_add_test(tcase, huge_counts_do_not_wrap);
    suite_add_tcase(suite, tcase);
    return suite;
}
