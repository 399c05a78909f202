/* test_ack.c - duplicates are exact, ACK frames tell the truth, and an ACK is due when RFC 9000 13.2 says so. */
#include "quic/ack.h"

#include "base/toolkit.h"

#define MOST_NUMBERS 4096u

struct fixture {
    struct toolkit_heap heap;
    struct base_mem mem;
    struct quic_ack ack;
};

static const struct quic_ack_policy policy = {.max_delay = 25 * BASE_MS, .every = 2};

static void setup(struct fixture *f) {
    f->mem = toolkit_mem(&f->heap, 0);
    quic_ack_init(&f->ack);
}

static void teardown(struct fixture *f) {
    quic_ack_clear(&f->ack, &f->mem);
    toolkit_all_back(&f->heap, &f->mem);
}

static void receive(struct fixture *f, uint64_t number, base_time now) {
    ck_assert(!quic_ack_is_duplicate(&f->ack, number));
    ck_assert(quic_ack_on_packet(&f->ack, &f->mem, number, true, QUIC_NOT_ECT, now, &policy));
    ck_assert(quic_ack_is_duplicate(&f->ack, number));
}

/* Writes an ACK into `bytes` and parses it with the room's own parser. */
static size_t frame_of(const struct quic_ack *ack, uint8_t *bytes, size_t room, base_time now, unsigned exponent,
                       struct quic_frame *frame) {
    struct base_writer out = base_writer_of(bytes, room);
    uint64_t largest = 0;
    if (!quic_ack_write(ack, &out, now, exponent, &largest)) {
        ck_assert_ptr_eq(out.pos, bytes);
        return 0;
    }
    size_t len = (size_t)(out.pos - bytes);
    struct base_reader in = base_reader_of(bytes, len);
    ck_assert_int_eq(quic_frame_parse(&in, frame), QUIC_NO_ERROR);
    ck_assert_uint_eq(base_reader_left(&in), 0);
    ck_assert_uint_eq(frame->u.ack.largest, largest);
    return len;
}

START_TEST(nothing_received_nothing_to_say)
{
    struct fixture f;
    setup(&f);
    uint8_t bytes[64];
    struct quic_frame frame;
    ck_assert_uint_eq(quic_ack_largest(&f.ack), QUIC_NO_NUMBER);
    ck_assert(!quic_ack_wanted(&f.ack, 1000 * BASE_SEC, true));
    ck_assert_uint_eq(frame_of(&f.ack, bytes, sizeof bytes, 1, 3, &frame), 0);
    ck_assert(!quic_ack_is_duplicate(&f.ack, 0));
    teardown(&f);
}
END_TEST

START_TEST(every_second_packet_or_the_delay)
{
    struct fixture f;
    setup(&f);
    receive(&f, 0, BASE_SEC);
    ck_assert_uint_eq(f.ack.deadline, BASE_SEC + policy.max_delay);
    ck_assert(!quic_ack_wanted(&f.ack, BASE_SEC, false));
    ck_assert(quic_ack_wanted(&f.ack, BASE_SEC, true)); /* something to bundle */
    ck_assert(quic_ack_wanted(&f.ack, BASE_SEC + policy.max_delay, false));
    receive(&f, 1, BASE_SEC + 5 * BASE_MS);
    ck_assert(quic_ack_wanted(&f.ack, BASE_SEC + 5 * BASE_MS, false));
    quic_ack_on_sent(&f.ack);
    ck_assert_uint_eq(f.ack.deadline, BASE_NEVER);
    ck_assert(!quic_ack_wanted(&f.ack, 2 * BASE_SEC, true));
    receive(&f, 2, 2 * BASE_SEC); /* the count starts again */
    ck_assert_uint_eq(f.ack.deadline, 2 * BASE_SEC + policy.max_delay);
    teardown(&f);
}
END_TEST

START_TEST(the_first_packet_that_waits_sets_the_deadline)
{
    struct fixture f;
    setup(&f);
    struct quic_ack_policy patient = {.max_delay = 25 * BASE_MS, .every = 10};
    for (uint64_t i = 0; i < 9; i++)
        ck_assert(quic_ack_on_packet(&f.ack, &f.mem, i, true, QUIC_NOT_ECT, BASE_SEC + i * BASE_MS, &patient));
    ck_assert_uint_eq(f.ack.deadline, BASE_SEC + 25 * BASE_MS);
    ck_assert(quic_ack_on_packet(&f.ack, &f.mem, 9, true, QUIC_NOT_ECT, BASE_SEC + 9 * BASE_MS, &patient));
    ck_assert_uint_eq(f.ack.deadline, BASE_SEC + 9 * BASE_MS);
    teardown(&f);
}
END_TEST

/* draft-ietf-quic-ack-frequency 6.2: a hole matters when it is so far below the largest, and once. */
START_TEST(holes_by_threshold)
{
    struct fixture f;
    setup(&f);
    struct quic_ack_policy three = {.max_delay = 25 * BASE_MS, .every = 100, .reordering = 3}, never = three;
    never.reordering = UINT32_MAX;
    static const uint64_t numbers[] = {0, 1, 3, 4}; /* 2 is missing */
    for (unsigned i = 0; i < 4; i++) {
        ck_assert(quic_ack_on_packet(&f.ack, &f.mem, numbers[i], true, QUIC_NOT_ECT, BASE_SEC, &three));
        ck_assert(!quic_ack_wanted(&f.ack, BASE_SEC, false));
    }
    ck_assert(quic_ack_on_packet(&f.ack, &f.mem, 5, true, QUIC_NOT_ECT, BASE_SEC, &three));
    ck_assert(quic_ack_wanted(&f.ack, BASE_SEC, false)); /* 5 - 2 */
    quic_ack_on_sent(&f.ack);
    ck_assert(quic_ack_on_packet(&f.ack, &f.mem, 6, true, QUIC_NOT_ECT, BASE_SEC, &three));
    ck_assert(!quic_ack_wanted(&f.ack, BASE_SEC, false)); /* it was told of */
    ck_assert(quic_ack_on_packet(&f.ack, &f.mem, 20, true, QUIC_NOT_ECT, BASE_SEC, &never));
    ck_assert(!quic_ack_wanted(&f.ack, BASE_SEC, false));
    quic_ack_at_once(&f.ack, BASE_SEC);
    ck_assert(quic_ack_wanted(&f.ack, BASE_SEC, false));
    teardown(&f);
}
END_TEST

START_TEST(without_policy_at_once)
{
    struct fixture f;
    setup(&f);
    ck_assert(quic_ack_on_packet(&f.ack, &f.mem, 0, true, QUIC_NOT_ECT, BASE_SEC, NULL));
    ck_assert_uint_eq(f.ack.deadline, BASE_SEC);
    teardown(&f);
}
END_TEST

/* 13.2.1: no ACK in answer to what is not ack-eliciting, gaps and marks or not; but it may ride along. */
START_TEST(only_eliciting_packets_make_an_ack_due)
{
    struct fixture f;
    setup(&f);
    ck_assert(quic_ack_on_packet(&f.ack, &f.mem, 0, false, QUIC_NOT_ECT, BASE_SEC, NULL));
    ck_assert(quic_ack_on_packet(&f.ack, &f.mem, 7, false, QUIC_CE, BASE_SEC, &policy));
    ck_assert(quic_ack_on_packet(&f.ack, &f.mem, 3, false, QUIC_NOT_ECT, BASE_SEC, &policy));
    ck_assert_uint_eq(f.ack.deadline, BASE_NEVER);
    ck_assert(!quic_ack_wanted(&f.ack, 1000 * BASE_SEC, false));
    ck_assert(quic_ack_wanted(&f.ack, BASE_SEC, true));
    teardown(&f);
}
END_TEST

START_TEST(reordering_is_told_at_once_and_once)
{
    struct fixture f;
    setup(&f);
    receive(&f, 0, BASE_SEC);
    receive(&f, 1, BASE_SEC);
    quic_ack_on_sent(&f.ack);
    receive(&f, 3, 2 * BASE_SEC); /* 2 is missing */
    ck_assert_uint_eq(f.ack.deadline, 2 * BASE_SEC);
    quic_ack_on_sent(&f.ack);
    receive(&f, 4, 3 * BASE_SEC); /* the gap is known: back to normal */
    ck_assert_uint_eq(f.ack.deadline, 3 * BASE_SEC + policy.max_delay);
    quic_ack_on_sent(&f.ack);
    receive(&f, 2, 4 * BASE_SEC); /* fills it */
    ck_assert_uint_eq(f.ack.deadline, 4 * BASE_SEC);
    ck_assert_uint_eq(f.ack.received.count, 1);
    teardown(&f);
}
END_TEST

/* "between that packet and this packet": what is not eliciting fills gaps but does not count as "that packet". */
START_TEST(gaps_count_from_the_largest_eliciting_packet)
{
    struct fixture f;
    setup(&f);
    receive(&f, 0, BASE_SEC);
    quic_ack_on_sent(&f.ack);
    ck_assert(quic_ack_on_packet(&f.ack, &f.mem, 2, false, QUIC_NOT_ECT, BASE_SEC, &policy));
    receive(&f, 3, BASE_SEC); /* 1 is missing since 0 */
    ck_assert_uint_eq(f.ack.deadline, BASE_SEC);
    quic_ack_on_sent(&f.ack);
    ck_assert(quic_ack_on_packet(&f.ack, &f.mem, 4, false, QUIC_NOT_ECT, BASE_SEC, &policy));
    receive(&f, 5, BASE_SEC); /* 4 is there */
    ck_assert_uint_eq(f.ack.deadline, BASE_SEC + policy.max_delay);
    quic_ack_on_sent(&f.ack);
    ck_assert(quic_ack_on_packet(&f.ack, &f.mem, 8, false, QUIC_NOT_ECT, BASE_SEC, &policy));
    receive(&f, 6, BASE_SEC); /* below a packet that was not eliciting: not out of order */
    ck_assert_uint_eq(f.ack.deadline, BASE_SEC + policy.max_delay);
    teardown(&f);
}
END_TEST

START_TEST(congestion_marks_are_told_at_once)
{
    struct fixture f;
    setup(&f);
    ck_assert(quic_ack_on_packet(&f.ack, &f.mem, 0, true, QUIC_ECT0, BASE_SEC, &policy));
    ck_assert_uint_eq(f.ack.deadline, BASE_SEC + policy.max_delay);
    quic_ack_on_sent(&f.ack);
    ck_assert(quic_ack_on_packet(&f.ack, &f.mem, 1, true, QUIC_CE, BASE_SEC, &policy));
    ck_assert_uint_eq(f.ack.deadline, BASE_SEC);
    teardown(&f);
}
END_TEST

START_TEST(frame_tells_ranges_newest_first)
{
    struct fixture f;
    setup(&f);
    static const uint64_t numbers[] = {0, 1, 2, 5, 6, 9, 20, 21, 22, 23};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        receive(&f, numbers[i], BASE_SEC);
    uint8_t bytes[64];
    struct quic_frame frame;
    ck_assert_uint_gt(frame_of(&f.ack, bytes, sizeof bytes, BASE_SEC + 8 * BASE_MS, 3, &frame), 0);
    ck_assert_uint_eq(frame.type, QUIC_FRAME_ACK);
    ck_assert_uint_eq(frame.u.ack.largest, 23);
    ck_assert_uint_eq(frame.u.ack.delay, 1000); /* 8 ms = 8000 us = 1000 << 3 */
    ck_assert_uint_eq(frame.u.ack.first_range, 3);
    ck_assert_uint_eq(frame.u.ack.range_count, 3);
    uint64_t low = frame.u.ack.largest - frame.u.ack.first_range, high;
    static const uint64_t expected[][2] = {{9, 9}, {5, 6}, {0, 2}};
    for (int i = 0; i < 3; i++) {
        ck_assert(quic_frame_ack_next(&frame.u.ack, &low, &high));
        ck_assert_uint_eq(low, expected[i][0]);
        ck_assert_uint_eq(high, expected[i][1]);
    }
    ck_assert(!quic_frame_ack_next(&frame.u.ack, &low, &high));
    teardown(&f);
}
END_TEST

START_TEST(delay_counts_from_the_largest)
{
    struct fixture f;
    setup(&f);
    uint8_t bytes[64];
    struct quic_frame frame;
    receive(&f, 5, BASE_SEC);
    receive(&f, 3, 2 * BASE_SEC); /* arrives later, is not the largest */
    frame_of(&f.ack, bytes, sizeof bytes, 3 * BASE_SEC, 0, &frame);
    ck_assert_uint_eq(frame.u.ack.delay, 2000000);
    frame_of(&f.ack, bytes, sizeof bytes, 3 * BASE_SEC, 20, &frame);
    ck_assert_uint_eq(frame.u.ack.delay, 1);             /* 2000000 >> 20 */
    frame_of(&f.ack, bytes, sizeof bytes, 0, 0, &frame); /* a clock behind the arrival: no delay, not a huge one */
    ck_assert_uint_eq(frame.u.ack.delay, 0);
    teardown(&f);
}
END_TEST

START_TEST(marks_make_it_ack_ecn)
{
    struct fixture f;
    setup(&f);
    static const enum quic_ecn marks[] = {QUIC_ECT0, QUIC_ECT0, QUIC_ECT1, QUIC_CE, QUIC_NOT_ECT, QUIC_ECT0};
    for (uint64_t i = 0; i < 6; i++)
        ck_assert(quic_ack_on_packet(&f.ack, &f.mem, i, i % 2, marks[i], BASE_SEC, &policy));
    uint8_t bytes[64];
    struct quic_frame frame;
    frame_of(&f.ack, bytes, sizeof bytes, BASE_SEC, 3, &frame);
    ck_assert_uint_eq(frame.type, QUIC_FRAME_ACK_ECN);
    ck_assert_uint_eq(frame.u.ack.ect0, 3);
    ck_assert_uint_eq(frame.u.ack.ect1, 1);
    ck_assert_uint_eq(frame.u.ack.ce, 1);
    teardown(&f);
}
END_TEST

START_TEST(as_many_ranges_as_fit)
{
    struct fixture f;
    setup(&f);
    for (uint64_t i = 0; i < QUIC_ACK_RANGES; i++)
        ck_assert(
            quic_ack_on_packet(&f.ack, &f.mem, 1000 * i * i, true, i % 3 ? QUIC_ECT0 : QUIC_CE, BASE_SEC, &policy));
    uint8_t bytes[256];
    struct quic_frame frame;
    uint64_t before = 0;
    size_t least = 0;
    for (size_t room = 0; room <= sizeof bytes; room++) {
        size_t len = frame_of(&f.ack, bytes, room, BASE_SEC, 3, &frame);
        ck_assert_uint_le(len, room);
        if (len == 0) {
            ck_assert_uint_eq(least, 0);
            continue;
        }
        if (least == 0)
            least = room;
        ck_assert_uint_ge(frame.u.ack.range_count, before); /* more room, never fewer ranges */
        before = frame.u.ack.range_count;
    }
    ck_assert_uint_eq(least, 2 + 4 + 1 + 1 + 3); /* type, count, largest 961000, delay, first range, counts */
    ck_assert_uint_eq(before, QUIC_ACK_RANGES - 1);
    teardown(&f);
}
END_TEST

START_TEST(acknowledged_acks_are_forgotten_but_refused)
{
    struct fixture f;
    setup(&f);
    for (uint64_t i = 0; i < 100; i++)
        if (i % 10 != 5)
            receive(&f, i, BASE_SEC);
    ck_assert_uint_eq(f.ack.received.count, 11);
    quic_ack_on_acked(&f.ack, 77);
    ck_assert_uint_eq(f.ack.received.list[0].start, 77); /* the largest told stays (13.2.3) */
    ck_assert_uint_eq(f.ack.received.count, 3);
    for (uint64_t i = 0; i < 77; i++)
        ck_assert(quic_ack_is_duplicate(&f.ack, i)); /* never received ones below too */
    ck_assert(!quic_ack_is_duplicate(&f.ack, 85));
    quic_ack_on_acked(&f.ack, 30); /* an older one changes nothing */
    ck_assert_uint_eq(f.ack.received.list[0].start, 77);
    quic_ack_on_acked(&f.ack, 99);
    ck_assert_uint_eq(quic_ack_largest(&f.ack), 99);
    receive(&f, 100, BASE_SEC); /* and in order it goes on: one range */
    ck_assert_uint_eq(f.ack.received.count, 1);
    teardown(&f);
}
END_TEST

START_TEST(ranges_are_bounded)
{
    struct fixture f;
    setup(&f);
    for (uint64_t i = 0; i < 1000; i++) {
        receive(&f, 100 + 2 * i, BASE_SEC);
        ck_assert_uint_le(f.ack.received.count, QUIC_ACK_RANGES);
    }
    uint64_t lowest = f.ack.received.list[0].start;
    ck_assert_uint_eq(lowest, 100 + 2 * (1000 - QUIC_ACK_RANGES));
    ck_assert(quic_ack_is_duplicate(&f.ack, 200));        /* dropped: still refused */
    ck_assert(quic_ack_is_duplicate(&f.ack, lowest - 2)); /* the last one dropped */
    /* between the last dropped one and the lowest kept: was not received, would be the lowest: accepted once, not
     * told */
    ck_assert(!quic_ack_is_duplicate(&f.ack, lowest + 1));
    receive(&f, lowest + 1, BASE_SEC); /* joins two: room again */
    ck_assert_uint_eq(f.ack.received.count, QUIC_ACK_RANGES - 1);
    teardown(&f);
}
END_TEST

START_TEST(a_late_packet_below_a_full_set_is_taken_once)
{
    struct fixture f;
    setup(&f);
    for (uint64_t i = 0; i < QUIC_ACK_RANGES; i++)
        receive(&f, 100 + 2 * i, BASE_SEC);
    receive(&f, 50, BASE_SEC); /* receive() checks that it is a duplicate now */
    ck_assert_uint_eq(f.ack.received.count, QUIC_ACK_RANGES);
    ck_assert_uint_eq(f.ack.received.list[0].start, 100);
    ck_assert(quic_ack_is_duplicate(&f.ack, 49));
    ck_assert(!quic_ack_is_duplicate(&f.ack, 51));
    teardown(&f);
}
END_TEST

START_TEST(no_memory_changes_nothing)
{
    struct fixture f;
    setup(&f);
    receive(&f, 0, BASE_SEC);
    receive(&f, 2, BASE_SEC);
    f.heap.left = 0;
    struct quic_ack before = f.ack;
    ck_assert(!quic_ack_on_packet(&f.ack, &f.mem, 4, true, QUIC_CE, 2 * BASE_SEC, NULL));
    ck_assert_mem_eq(&before, &f.ack, sizeof before);
    ck_assert(!quic_ack_is_duplicate(&f.ack, 4));
    ck_assert(quic_ack_on_packet(&f.ack, &f.mem, 3, true, QUIC_NOT_ECT, 2 * BASE_SEC, NULL)); /* needs none */
    teardown(&f);
}
END_TEST

/* The tracker against a plain array of booleans: order, loss, duplicates, ACKs that arrive. */
START_TEST(behaves_like_the_naive_tracker)
{
    static bool seen[MOST_NUMBERS];
    struct toolkit_dice dice = {(uint64_t)_i + 1};
    struct fixture f;
    setup(&f);
    memset(seen, 0, sizeof seen);
    uint64_t top = 0;
    for (int step = 0; step < 6000; step++) {
        uint64_t back = toolkit_pick(&dice, 4) ? 0 : toolkit_pick(&dice, 40), number = top > back ? top - back : top;
        if (back == 0)
            top += toolkit_pick(&dice, 8) ? 1 : 2;
        if (number >= MOST_NUMBERS - 2)
            break;
        bool duplicate = quic_ack_is_duplicate(&f.ack, number);
        ck_assert(duplicate || !seen[number]); /* never in twice */
        if (number >= f.ack.floor)
            ck_assert(duplicate == seen[number]);
        if (!duplicate) {
            ck_assert(quic_ack_on_packet(&f.ack, &f.mem, number, true, QUIC_NOT_ECT, BASE_SEC, &policy));
            seen[number] = true;
        }
        ck_assert_uint_le(f.ack.received.count, QUIC_ACK_RANGES);
        for (uint32_t i = 0; i < f.ack.received.count; i++)
            for (uint64_t n = f.ack.received.list[i].start; n < f.ack.received.list[i].end; n++)
                ck_assert(seen[n]);
        if (toolkit_pick(&dice, 50) == 0)
            quic_ack_on_acked(&f.ack, quic_ack_largest(&f.ack));
    }
    teardown(&f);
}
END_TEST

START_TEST(policy_follows_the_trains)
{
    struct quic_ack_policy p = {.max_delay = 25 * BASE_MS, .every = 2};
    const base_time rtt = 40 * BASE_MS, told = 25 * BASE_MS;
    quic_ack_policy_adapt(&p, 64, 0, told); /* no RTT known: as the RFC has it */
    ck_assert_uint_eq(p.every, 2);
    static const uint32_t up[] = {4, 8, 16, 16}; /* doubles at most */
    for (int i = 0; i < 4; i++) {
        quic_ack_policy_adapt(&p, 64, rtt, told);
        ck_assert_uint_eq(p.every, up[i]);
        ck_assert_uint_eq(p.max_delay, rtt / 4);
    }
    quic_ack_policy_adapt(&p, 0, rtt, told); /* a turn without packets says nothing */
    ck_assert_uint_eq(p.every, 16);
    static const uint32_t down[] = {8, 4, 2, 2}; /* half the way to 1 each time, not below 2 */
    for (int i = 0; i < 4; i++) {
        quic_ack_policy_adapt(&p, 1, rtt, told);
        ck_assert_uint_eq(p.every, down[i]);
    }
    ck_assert_uint_eq(p.max_delay, told);
    quic_ack_policy_adapt(&p, 3, rtt, told);
    ck_assert_uint_eq(p.every, 3); /* to the size of the train, not beyond */
    quic_ack_policy_adapt(&p, 3, 4 * BASE_SEC, told);
    ck_assert_uint_eq(p.max_delay, told); /* never more than we promised */
}
END_TEST

Suite *unit_suite(void) {
    const TTest *const tests[] = {nothing_received_nothing_to_say,
                                  every_second_packet_or_the_delay,
                                  the_first_packet_that_waits_sets_the_deadline,
                                  without_policy_at_once,
                                  holes_by_threshold,
                                  only_eliciting_packets_make_an_ack_due,
                                  reordering_is_told_at_once_and_once,
                                  gaps_count_from_the_largest_eliciting_packet,
                                  congestion_marks_are_told_at_once,
                                  frame_tells_ranges_newest_first,
                                  delay_counts_from_the_largest,
                                  marks_make_it_ack_ecn,
                                  as_many_ranges_as_fit,
                                  acknowledged_acks_are_forgotten_but_refused,
                                  ranges_are_bounded,
                                  a_late_packet_below_a_full_set_is_taken_once,
                                  no_memory_changes_nothing,
                                  policy_follows_the_trains};
    Suite *suite = TOOLKIT_SUITE("ack", tests);
    TCase *model = tcase_create("model");
    tcase_add_loop_test(model, behaves_like_the_naive_tracker, 0, 30);
    suite_add_tcase(suite, model);
    return suite;
}
