/* test_sent.c - the rings against a naive log: growth, wrap-around, trimming, and memory that runs out. */
#include "quic/sent.h"

#include "base/toolkit.h"

#define MOST 20000u

struct fixture {
    struct toolkit_heap heap;
    struct base_mem mem;
    struct quic_sent log;
};

static void setup(struct fixture *f) {
    f->mem = toolkit_mem(&f->heap, 0);
    quic_sent_init(&f->log);
}

static void teardown(struct fixture *f) {
    quic_sent_clear(&f->log, &f->mem);
    toolkit_all_back(&f->heap, &f->mem);
}

/* Sends a packet with `count` records whose value is number * 100 + index. */
static uint64_t put(struct fixture *f, base_time now, uint32_t count, bool eliciting, bool in_flight) {
    uint64_t number = f->log.next;
    ck_assert(quic_sent_open(&f->log, &f->mem));
    bool taken = true;
    for (uint32_t i = 0; i < count; i++)
        taken &=
            quic_sent_frame(&f->log, &(struct quic_sent_frame){.kind = QUIC_FRAME_STREAM, .value = number * 100 + i});
    ck_assert(taken);
    ck_assert_uint_eq(quic_sent_open_frames(&f->log), count);
    struct quic_sent_packet packet = {.sent_at = now, .bytes = 1200, .eliciting = eliciting, .in_flight = in_flight};
    ck_assert_uint_eq(quic_sent_commit(&f->log, &packet), number);
    return number;
}

static bool holds(struct fixture *f, uint64_t number, uint32_t count) {
    struct quic_sent_packet *packet = quic_sent_at(&f->log, number);
    bool same = packet && packet->frame_count == count;
    for (uint32_t i = 0; same && i < count; i++)
        same = quic_sent_frame_at(&f->log, packet, i)->value == number * 100 + i;
    return same;
}

static void check(struct fixture *f, uint64_t number, uint32_t count) { ck_assert(holds(f, number, count)); }

static void settle(struct fixture *f, uint64_t number, enum quic_sent_state state) {
    struct quic_sent_packet *packet = quic_sent_at(&f->log, number);
    quic_sent_settle(&f->log, packet, state);
    packet->skip = 1;
}

START_TEST(an_empty_log_holds_nothing)
{
    struct fixture f;
    setup(&f);
    ck_assert_ptr_null(quic_sent_at(&f.log, 0));
    ck_assert_ptr_null(quic_sent_at(&f.log, UINT64_MAX));
    ck_assert_uint_eq(quic_sent_open_frames(&f.log), 0);
    quic_sent_trim(&f.log, BASE_NEVER);
    ck_assert_uint_eq(f.heap.calls, 0); /* allocated with the first packet */
    teardown(&f);
}
END_TEST

START_TEST(records_stay_in_order_through_growth)
{
    struct fixture f;
    setup(&f);
    for (uint32_t i = 0; i < 500; i++)
        ck_assert_uint_eq(put(&f, i + 1, i % 7, i % 2, true), i);
    for (uint32_t i = 0; i < 500; i++)
        check(&f, i, i % 7);
    ck_assert_uint_eq(f.log.outstanding, 500);
    ck_assert_uint_eq(f.log.eliciting, 250);
    ck_assert_uint_eq(f.log.last_eliciting_at, 500);
    ck_assert_ptr_null(quic_sent_at(&f.log, 500));
    teardown(&f);
}
END_TEST

START_TEST(counts_follow_the_flight)
{
    struct fixture f;
    setup(&f);
    put(&f, 1, 1, true, true);
    put(&f, 2, 1, false, true);  /* padding only: in flight, not eliciting */
    put(&f, 3, 1, false, false); /* ACK only */
    ck_assert_uint_eq(f.log.outstanding, 2);
    ck_assert_uint_eq(f.log.eliciting, 1);
    ck_assert_uint_eq(f.log.last_eliciting_at, 1);
    settle(&f, 2, QUIC_SENT_ACKED);
    ck_assert_uint_eq(f.log.outstanding, 2);
    settle(&f, 0, QUIC_SENT_LOST);
    ck_assert_uint_eq(f.log.outstanding, 1);
    ck_assert_uint_eq(f.log.eliciting, 0);
    settle(&f, 0, QUIC_SENT_ACKED); /* after all: it was out of the counts already */
    ck_assert_uint_eq(f.log.outstanding, 1);
    settle(&f, 1, QUIC_SENT_ACKED);
    ck_assert_uint_eq(f.log.outstanding, 0);
    teardown(&f);
}
END_TEST

START_TEST(rewind_and_abort_take_records_back)
{
    struct fixture f;
    setup(&f);
    put(&f, 1, 3, true, true);
    ck_assert(quic_sent_open(&f.log, &f.mem));
    for (uint64_t i = 0; i < 5; i++)
        ck_assert(quic_sent_frame(&f.log, &(struct quic_sent_frame){.value = 100 + i}));
    quic_sent_rewind(&f.log, 2);
    ck_assert_uint_eq(quic_sent_open_frames(&f.log), 2);
    quic_sent_commit(&f.log, &(struct quic_sent_packet){.sent_at = 2, .in_flight = true, .eliciting = true});
    check(&f, 1, 2);
    ck_assert(quic_sent_open(&f.log, &f.mem));
    ck_assert(quic_sent_frame(&f.log, &(struct quic_sent_frame){.value = 1}));
    quic_sent_abort(&f.log);
    ck_assert_uint_eq(f.log.next, 2);
    ck_assert_uint_eq(put(&f, 3, 4, true, true), 2); /* the number was not used up */
    check(&f, 2, 4);
    check(&f, 0, 3);
    teardown(&f);
}
END_TEST

START_TEST(a_packet_takes_so_many_records)
{
    struct fixture f;
    setup(&f);
    ck_assert(quic_sent_open(&f.log, &f.mem));
    for (uint32_t i = 0; i < QUIC_SENT_PACKET_FRAMES; i++)
        ck_assert(quic_sent_frame(&f.log, &(struct quic_sent_frame){.value = i}));
    ck_assert(!quic_sent_frame(&f.log, &(struct quic_sent_frame){.value = 1000}));
    quic_sent_commit(&f.log, &(struct quic_sent_packet){.sent_at = 1, .in_flight = true, .eliciting = true});
    check(&f, 0, QUIC_SENT_PACKET_FRAMES);
    teardown(&f);
}
END_TEST

START_TEST(trim_stops_at_what_is_not_settled)
{
    struct fixture f;
    setup(&f);
    for (uint32_t i = 0; i < 8; i++)
        put(&f, 100 + i, 2, true, true);
    settle(&f, 0, QUIC_SENT_ACKED);
    settle(&f, 2, QUIC_SENT_ACKED);
    quic_sent_trim(&f.log, 0);
    ck_assert_uint_eq(f.log.base, 1);
    ck_assert_uint_eq(f.log.frame_base, 2);
    ck_assert_uint_eq(f.log.trimmed_acked_at, 100);
    settle(&f, 1, QUIC_SENT_LOST);
    quic_sent_trim(&f.log, 101); /* sent at 101: still remembered */
    ck_assert_uint_eq(f.log.base, 1);
    quic_sent_trim(&f.log, 102);
    ck_assert_uint_eq(f.log.base, 3);
    ck_assert_uint_eq(f.log.trimmed_acked_at, 102);
    ck_assert_uint_eq(f.log.oldest, 3);
    ck_assert_ptr_null(quic_sent_at(&f.log, 2));
    for (uint64_t i = 3; i < 8; i++)
        settle(&f, i, QUIC_SENT_ACKED);
    quic_sent_at(&f.log, 3)->skip = 5; /* a run is one step */
    quic_sent_trim(&f.log, 0);
    ck_assert_uint_eq(f.log.base, 8);
    ck_assert_uint_eq(f.log.frame_base, f.log.frame_next);
    ck_assert_uint_eq(f.log.trimmed_acked_at, 107);
    teardown(&f);
}
END_TEST

START_TEST(trim_keeps_the_open_packets_records)
{
    struct fixture f;
    setup(&f);
    put(&f, 1, 5, true, true);
    ck_assert(quic_sent_open(&f.log, &f.mem));
    for (uint64_t i = 0; i < 3; i++)
        ck_assert(quic_sent_frame(&f.log, &(struct quic_sent_frame){.value = 100 + i}));
    settle(&f, 0, QUIC_SENT_ACKED);
    quic_sent_trim(&f.log, 0);
    quic_sent_shrink(&f.log, &f.mem); /* not while a packet is open */
    quic_sent_commit(&f.log, &(struct quic_sent_packet){.sent_at = 2, .in_flight = true, .eliciting = true});
    for (uint32_t i = 0; i < 100; i++) /* the ring grows: they must be among what moves */
        put(&f, 3, 5, true, true);
    check(&f, 1, 3);
    teardown(&f);
}
END_TEST

/* Nobody owes us an ACK for ACKs: a receiver's log must not grow for ever. */
START_TEST(packets_out_of_flight_do_not_pile_up)
{
    struct fixture f;
    setup(&f);
    for (uint32_t i = 0; i < 10000; i++) {
        put(&f, i + 1, 1, false, false);
        quic_sent_trim(&f.log, i > 50 ? i - 50 : 0);
    }
    ck_assert_uint_le(f.log.next - f.log.base, 60);
    ck_assert_uint_le(f.log.packet_mask, 127);
    put(&f, 10001, 1, true, true);
    quic_sent_trim(&f.log, BASE_NEVER);
    ck_assert_uint_eq(f.log.base, 10000); /* but what is in flight stays */
    teardown(&f);
}
END_TEST

START_TEST(skipped_numbers_are_remembered)
{
    struct fixture f;
    setup(&f);
    ck_assert(quic_sent_skip(&f.log, &f.mem)); /* the first number may be skipped */
    ck_assert_uint_eq(f.log.skipped, 0);
    ck_assert_uint_eq(put(&f, 1, 2, true, true), 1);
    ck_assert(quic_sent_skip(&f.log, &f.mem));
    ck_assert_uint_eq(put(&f, 2, 2, true, true), 3);
    ck_assert_uint_eq(quic_sent_at(&f.log, 2)->state, QUIC_SENT_SKIPPED);
    ck_assert_uint_eq(f.log.outstanding, 2);
    settle(&f, 1, QUIC_SENT_ACKED);
    quic_sent_trim(&f.log, 0);
    ck_assert_uint_eq(f.log.base, 3);
    ck_assert_uint_eq(f.log.skipped, 2); /* gone from the ring, not from memory */
    check(&f, 3, 2);
    teardown(&f);
}
END_TEST

/* What nobody has to acknowledge need not be known, and a log at rest need not be woken for it. */
START_TEST(untold_packets_leave_no_trace)
{
    struct fixture f;
    setup(&f);
    ck_assert_uint_eq(put(&f, 1, 2, true, true), 0);
    settle(&f, 0, QUIC_SENT_ACKED);
    quic_sent_trim(&f.log, 0);
    for (int kept = 1; kept >= 0; kept--) { /* with and without memory */
        uint64_t first = f.log.next;
        for (uint64_t i = 0; i < 20; i++) {
            quic_sent_open_untold(&f.log);
            for (unsigned k = 0; k < 2 * QUIC_SENT_PACKET_FRAMES; k++)
                ck_assert(quic_sent_frame(&f.log, &(struct quic_sent_frame){.kind = QUIC_FRAME_ACK}));
            ck_assert_uint_eq(quic_sent_open_frames(&f.log), 0);
            if (i % 2)
                quic_sent_abort(&f.log);
            else
                ck_assert_uint_eq(quic_sent_commit(&f.log, &(struct quic_sent_packet){.bytes = 40}), first + i / 2);
            ck_assert_uint_eq(f.log.base, f.log.next);
            ck_assert_ptr_null(quic_sent_at(&f.log, first));
        }
        quic_sent_shrink(&f.log, &f.mem);
        ck_assert_uint_eq(f.mem.used, 0);
    }
    ck_assert(quic_sent_skip(&f.log, &f.mem));
    ck_assert_uint_eq(f.mem.used, 0);
    ck_assert_uint_eq(f.log.skipped, 21);
    ck_assert_uint_eq(put(&f, 9, 3, true, true), 22); /* and it goes on as it was */
    check(&f, 22, 3);
    ck_assert_uint_eq(f.log.outstanding, 1);
    teardown(&f);
}
END_TEST

START_TEST(an_idle_log_gives_its_memory_back)
{
    struct fixture f;
    setup(&f);
    put(&f, 1, 2, true, true);
    quic_sent_shrink(&f.log, &f.mem);
    check(&f, 0, 2); /* in use: nothing happens */
    settle(&f, 0, QUIC_SENT_ACKED);
    quic_sent_trim(&f.log, 0);
    quic_sent_shrink(&f.log, &f.mem);
    ck_assert_uint_eq(f.mem.used, 0);
    ck_assert_uint_eq(put(&f, 2, 3, true, true), 1); /* numbers go on */
    check(&f, 1, 3);
    teardown(&f);
}
END_TEST

START_TEST(a_warm_log_allocates_nothing)
{
    struct fixture f;
    setup(&f);
    uint64_t calls = 0;
    for (uint32_t i = 0; i < 5000; i++) {
        put(&f, i + 1, 3, true, true);
        if (i >= 100)
            settle(&f, i - 100, QUIC_SENT_ACKED);
        quic_sent_trim(&f.log, 0);
        if (i == 1000)
            calls = f.heap.calls;
    }
    ck_assert_uint_eq(f.heap.calls, calls);
    teardown(&f);
}
END_TEST

START_TEST(memory_may_run_out_at_any_call)
{
    for (int64_t allowed = 0; allowed < 12; allowed++) {
        struct fixture f;
        setup(&f);
        f.heap.left = allowed;
        uint32_t sent = 0;
        for (; sent < 200; sent++) {
            if (sent % 9 == 5 && quic_sent_skip(&f.log, &f.mem))
                continue;
            struct quic_sent before = f.log;
            if (!quic_sent_open(&f.log, &f.mem)) {
                ck_assert_uint_eq(f.log.next, before.next);
                ck_assert_uint_eq(f.log.frame_next, before.frame_next);
                ck_assert(!f.log.open);
                break;
            }
            quic_sent_abort(&f.log);
            put(&f, sent + 1, 4, true, true);
        }
        ck_assert_uint_eq(f.log.next, sent);
        for (uint32_t i = 0; i < sent; i++)
            check(&f, i, quic_sent_at(&f.log, i)->state == QUIC_SENT_SKIPPED ? 0 : 4);
        if (allowed == 0)
            ck_assert_uint_eq(sent, 0);
        f.heap.left = -1;
        put(&f, 1000, 4, true, true); /* and it goes on when there is memory again */
        teardown(&f);
    }
}
END_TEST

struct naive {
    uint8_t state;
    uint32_t frames;
    base_time at;
    bool in_flight, eliciting;
};

/* Random life against an array that forgets nothing; the indices start right below their wrap-around. */
START_TEST(behaves_like_the_naive_log)
{
    static struct naive model[MOST];
    struct toolkit_dice dice = {(uint64_t)_i + 99};
    struct fixture f;
    setup(&f);
    f.log.frame_base = f.log.frame_next = UINT32_MAX - 1000;
    uint64_t base = 0;
    uint32_t count = 0;
    base_time now = 1000;
    for (int step = 0; step < 20000 && count < MOST; step++) {
        now += toolkit_pick(&dice, 3);
        uint32_t what = toolkit_pick(&dice, 100);
        if (what < 45) {
            struct naive *m = &model[count];
            *m = (struct naive){QUIC_SENT_OUTSTANDING,
                                toolkit_pick(&dice, 20) ? toolkit_pick(&dice, 6) : QUIC_SENT_PACKET_FRAMES, now,
                                toolkit_pick(&dice, 5) != 0, toolkit_pick(&dice, 3) != 0};
            m->eliciting = m->eliciting && m->in_flight;
            put(&f, now, m->frames, m->eliciting, m->in_flight);
            count++;
        } else if (what < 47) {
            bool kept = quic_sent_holds_memory(&f.log); /* else it leaves no trace in the log */
            ck_assert(quic_sent_skip(&f.log, &f.mem));
            model[count++] = (struct naive){QUIC_SENT_SKIPPED, 0, 0, false, false};
            base += !kept;
        } else if (what < 97 && count > base) {
            uint64_t number = base + toolkit_pick(&dice, (uint32_t)(count - base) < 30 ? (uint32_t)(count - base) : 30);
            struct naive *m = &model[number];
            if (m->state == QUIC_SENT_OUTSTANDING || m->state == QUIC_SENT_LOST) {
                m->state = m->state == QUIC_SENT_OUTSTANDING && what < 60 ? QUIC_SENT_LOST : QUIC_SENT_ACKED;
                settle(&f, number, (enum quic_sent_state)m->state);
            }
        } else {
            base_time forget = now - 40;
            while (base < count &&
                   (model[base].state == QUIC_SENT_ACKED || model[base].state == QUIC_SENT_SKIPPED ||
                    (model[base].at < forget && (model[base].state == QUIC_SENT_LOST || !model[base].in_flight))))
                base++;
            quic_sent_trim(&f.log, forget);
        }
        ck_assert_uint_eq(f.log.base, base);
        ck_assert_uint_eq(f.log.next, count);
        if (step % 64 == 0) {
            uint32_t outstanding = 0, eliciting = 0;
            for (uint64_t i = base; i < count; i++) {
                if (quic_sent_at(&f.log, i)->state != model[i].state || !holds(&f, i, model[i].frames))
                    ck_abort_msg("packet %u differs", (unsigned)i); /* an assert for each would take minutes */
                bool flies = model[i].state == QUIC_SENT_OUTSTANDING && model[i].in_flight;
                outstanding += flies;
                eliciting += flies && model[i].eliciting;
            }
            ck_assert_uint_eq(f.log.outstanding, outstanding);
            ck_assert_uint_eq(f.log.eliciting, eliciting);
            ck_assert(base == 0 || !quic_sent_at(&f.log, base - 1));
        }
    }
    ck_assert_uint_lt(f.log.frame_next, UINT32_MAX / 2); /* it has wrapped */
    teardown(&f);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *const tests[] = {
        an_empty_log_holds_nothing,          records_stay_in_order_through_growth, counts_follow_the_flight,
        rewind_and_abort_take_records_back,  a_packet_takes_so_many_records,       trim_stops_at_what_is_not_settled,
        trim_keeps_the_open_packets_records, packets_out_of_flight_do_not_pile_up, skipped_numbers_are_remembered,
        untold_packets_leave_no_trace,       an_idle_log_gives_its_memory_back,    a_warm_log_allocates_nothing,
        memory_may_run_out_at_any_call};
    Suite *suite = TOOLKIT_SUITE("sent", tests);
    TCase *model = tcase_create("model");
    tcase_add_loop_test(model, behaves_like_the_naive_log, 0, 20);
    suite_add_tcase(suite, model);
    return suite;
}
