/* test_stream.c - two sets of streams and their applications, from the first byte to the last (stream_kit.h).
 *
 * Whatever happens on the way, everything arrives, credit is exact at both ends, and all memory comes back.
 */
#include "stream_kit.h"

START_TEST(everything_arrives)
{
    for (uint64_t seed = 0; seed < 24; seed++) {
        world_anew(seed);
        w.loss = (unsigned)(seed % 4) * 10;
        w.server.reply = 30000;
        w.server.greedy = seed % 3 != 0;
        w.client.greedy = seed % 3 != 1;
        request(&w.client, false, 10); /* before the peer's limits are known: refused */
        ck_assert(w.client.set.open_blocked);
        world_start();
        ck_assert_uint_eq(w.client.available, 1);
        unsigned asked = 0;
        for (unsigned round = 0; round < 60; round++) {
            request(&w.client, round % 2, toolkit_pick(&w.dice, 50000));
            request(&w.server, round % 3, toolkit_pick(&w.dice, 3000));
            world_turn();
        }
        world_run();
        for (unsigned id = 0; id < STREAMS; id++) {
            struct app_stream *c = &w.client.streams[id], *s = &w.server.streams[id];
            if (!c->handle)
                continue;
            asked++;
            ck_assert(c->closed && s->closed);
            ck_assert_uint_eq(s->read, c->written);
            ck_assert_uint_eq(c->read, s->written);
            ck_assert(!(c->finished && !(c->seen & QUIC_STREAM_EV_FINISHED)));
            ck_assert(!(s->finished && !(s->seen & QUIC_STREAM_EV_FINISHED)));
        }
        ck_assert_uint_gt(asked, 30);
        check_credit(&w.client, &w.server);
        check_credit(&w.server, &w.client);
    }
}
END_TEST

START_TEST(lent_bytes_come_back_exactly_once)
{
    for (uint64_t seed = 50; seed < 60; seed++) {
        world_anew(seed);
        w.loss = 15;
        w.lend = true;
        w.server.reply = 20000;
        world_start();
        for (unsigned i = 0; i < 12; i++) {
            request(&w.client, false, i * 3000);
            world_turn();
        }
        struct quic_stream *victim = quic_stream_of(&w.client.slots, w.client.streams[44].handle);
        if (victim && seed % 2)
            quic_stream_detach(victim, 5);
        world_run();
        for (unsigned id = 0; id < STREAMS; id++) {
            ck_assert_uint_eq(w.client.streams[id].lent, w.client.streams[id].released);
            ck_assert_uint_eq(w.server.streams[id].lent, w.server.streams[id].released);
        }
        check_credit(&w.client, &w.server);
    }
}
END_TEST

/* Something rude happens to a random stream. */
static void disturb(struct side *side) {
    unsigned count = 0;
    struct quic_stream *chosen = NULL;
    for (struct base_node *n = base_list_first(&side->set.all); n; n = base_list_next(&side->set.all, n))
        if (!toolkit_pick(&w.dice, ++count))
            chosen = BASE_CONTAINER(n, struct quic_stream, all);
    if (!chosen)
        return;
    switch (toolkit_pick(&w.dice, 5)) {
    case 0: (void)quic_stream_reset(chosen, 1); break;
    case 1: (void)quic_stream_stop(chosen, 2); break;
    case 2: quic_stream_detach(chosen, 3); break;
    default: quic_stream_priority(chosen, (uint8_t)toolkit_pick(&w.dice, 8), toolkit_pick(&w.dice, 2));
    }
}

/* Lets go of whatever still waits for somebody: streams whose writers were cut off. */
static void detach_all(struct side *side) {
    struct base_node *next;
    for (struct base_node *n = base_list_first(&side->set.all); n; n = next) {
        next = base_list_next(&side->set.all, n);
        quic_stream_detach(BASE_CONTAINER(n, struct quic_stream, all), 4);
    }
}

START_TEST(resets_and_stops_give_all_credit_back)
{
    for (uint64_t seed = 100; seed < 160; seed++) {
        world_anew(seed);
        w.loss = (unsigned)(seed % 3) * 15;
        w.server.reply = 15000;
        w.server.greedy = seed % 2;
        world_start();
        for (unsigned round = 0; round < 60; round++) {
            request(&w.client, round % 2, toolkit_pick(&w.dice, 30000));
            request(&w.server, true, toolkit_pick(&w.dice, 30000));
            disturb(&w.client);
            disturb(&w.server);
            world_turn();
        }
        world_run();
        detach_all(&w.client);
        detach_all(&w.server);
        world_run();
        check_credit(&w.client, &w.server);
        check_credit(&w.server, &w.client);
    }
}
END_TEST

START_TEST(the_limit_of_streams_grows_as_they_close)
{
    w.server.reply = 100;
    for (unsigned i = 0; i < 1000; i++) {
        request(&w.client, false, 100);
        world_run();
    }
    ck_assert_uint_eq(w.server.stats.streams_opened_remote, 1000);
    ck_assert_uint_eq(w.server.set.kinds[0].closed, 1000);
    ck_assert_uint_ge(w.client.set.kinds[0].max, 1000 + 14);
}
END_TEST

START_TEST(warm_requests_do_not_allocate)
{
    w.server.reply = 5000;
    w.orderly = true;
    uint64_t calls = 0;
    for (unsigned i = 0; i < 300; i++) {
        if (i == 100)
            calls = w.client.heap.calls + w.server.heap.calls;
        request(&w.client, false, 700);
        world_run();
    }
    ck_assert_uint_eq(w.client.heap.calls + w.server.heap.calls, calls);
    quic_streams_trim(&w.server.set);
    ck_assert_uint_eq(w.server.set.free_count, 0);
}
END_TEST

START_TEST(a_long_lived_stream_lets_the_window_move_on)
{
    w.server.reply = 1;
    struct quic_stream *old = must_open(&w.client, false);
    uint8_t byte[1];
    fill(old->id, 0, byte, 1);
    ck_assert_int_eq(quic_stream_write(old, byte, 1, false), 1);
    world_run();
    for (unsigned i = 0; i < 900; i++) {
        request(&w.client, false, 10);
        world_run();
    }
    ck_assert_ptr_eq(quic_streams_find(&w.client.set, 0), old);
    ck_assert_uint_gt(w.client.set.kinds[0].base, 100);
    ck_assert_uint_le(w.client.set.kinds[0].capacity, 64);
    fill(old->id, 1, byte, 1);
    ck_assert_int_eq(quic_stream_write(old, byte, 1, true), 1);
    world_run();
    ck_assert(w.client.streams[0].closed && w.server.streams[0].closed);
    ck_assert_ptr_null(quic_streams_find(&w.client.set, 0));
    ck_assert_uint_eq(w.client.set.outliers.count, 0);
}
END_TEST

START_TEST(a_writer_hears_when_there_is_room)
{
    struct side *c = &w.client;
    struct quic_stream *s = must_open(c, true);
    static uint8_t data[30000];
    fill(s->id, 0, data, sizeof data);
    ck_assert_int_eq(quic_stream_write(s, data, 30000, true), 20000);
    ck_assert(!s->send.fin);
    ck_assert_int_eq(quic_stream_write(s, data, 1, false), 0);
    ck_assert_int_eq(quic_stream_write_reference(s, data, 1, 0, false), ERR_BLOCKED);
    while (s->send.buffered > 10000) {
        ck_assert(!(c->streams[s->id].seen & QUIC_STREAM_EV_WRITABLE));
        side_turn(c, &w.server);
        side_dispatch(&w.server);
        side_turn(&w.server, c);
    }
    ck_assert_uint_eq(s->event.bits, QUIC_STREAM_EV_WRITABLE);
    c->streams[s->id].to_write = 30000;
    c->streams[s->id].written = 20000;
    world_run();
    ck_assert(c->streams[s->id].closed);
    ck_assert_uint_eq(w.server.streams[2].read, 30000);
}
END_TEST

START_TEST(all_streams_together_hold_so_much)
{
    struct side *c = &w.client;
    static uint8_t data[30000];
    static const uint16_t expected[] = {20000, 20000, 5536, 4096};
    uint64_t ids[4];
    c->options.connection_send_buffer = 45536;
    for (unsigned i = 0; i < 4; i++) {
        struct quic_stream *s = must_open(c, true);
        ids[i] = s->id;
        fill(s->id, 0, data, sizeof data);
        ck_assert_int_eq(quic_stream_write(s, data, 30000, false), expected[i]); /* one that is empty takes a little */
        ck_assert_int_eq(quic_stream_write(s, data, 1, false), 0);
        c->streams[s->id].to_write = 30000;
        c->streams[s->id].written = expected[i];
    }
    ck_assert_uint_eq(c->set.pools.buffered, 45536 + 4096);
    ck_assert_uint_eq(c->stats.writes_limited, 4); /* the first two were full by themselves */
    world_run();                                   /* they hear of room, all the same */
    for (unsigned i = 0; i < 4; i++) {
        ck_assert(c->streams[ids[i]].closed);
        ck_assert_uint_eq(w.server.streams[ids[i]].read, 30000);
    }
    ck_assert_uint_eq(c->set.pools.buffered, 0);
}
END_TEST

/* With a budget for memory, an eighth of it; but a stream alone may be filled. */
START_TEST(a_budget_bounds_what_streams_hold)
{
    struct side *c = &w.client;
    static uint8_t data[30000];
    c->options.stream_send_buffer = 30000;
    c->options.connection_send_buffer = 1 << 20;
    c->mem.limit = 8 * 40000;
    ck_assert_int_eq(quic_stream_write(must_open(c, true), data, 30000, false), 30000);
    ck_assert_int_eq(quic_stream_write(must_open(c, true), data, 30000, false), 10000);
    c->mem.limit = c->mem.used + 100000;
    ck_assert_int_eq(quic_stream_write(must_open(c, true), data, 30000, false), 4096);
    c->set.pools.buffered -= 44096; /* as if the stream were alone */
    ck_assert_int_eq(quic_stream_write(must_open(c, true), data, 30000, false), 30000);
    c->set.pools.buffered += 44096;
    c->mem.limit = 0;
}
END_TEST

START_TEST(a_closed_connection_tells_every_stream_last)
{
    w.lend = true;
    struct side *c = &w.client;
    request(c, false, 12000);
    request(c, true, 3000);
    quic_streams_close(&c->set);
    quic_streams_close(&c->set);
    struct quic_stream *s;
    ck_assert_int_eq(quic_streams_open(&c->set, false, &s), ERR_CLOSED);
    s = quic_streams_find(&c->set, 0);
    ck_assert_int_eq(quic_stream_write(s, lendable, 1, false), ERR_CLOSED);
    ck_assert_int_eq(quic_stream_reset(s, 0), ERR_CLOSED);
    ck_assert_int_eq(quic_stream_stop(s, 0), ERR_CLOSED);
    ck_assert(!quic_streams_sendable(&c->set) && !c->set.want_send);
    ck_assert_int_eq(feed_stream(c, 1, 0, 1, false), 0);
    side_dispatch(c);
    ck_assert(c->streams[0].closed && c->streams[2].closed);
    ck_assert_uint_eq(c->streams[0].released, c->streams[0].lent);
    ck_assert(base_list_empty(&c->set.all) && base_list_empty(&c->set.closing));
}
END_TEST

/* A short, deterministic exchange; `n`: which allocation of each side fails (once). */
static bool exchange(int64_t n) {
    world_anew(5);
    world_start();
    w.loss = 10;
    w.lend = n % 2;
    w.server.reply = 9000;
    w.client.heap.left = w.server.heap.left = n;
    bool failed = false;
    unsigned opened = 0;
    for (unsigned turn = 0; turn < 400 || !side_quiet(&w.client) || !side_quiet(&w.server); turn++) {
        ck_assert_uint_lt(turn, 20000);
        struct quic_stream *s;
        if (opened < 6 && quic_streams_open(&w.client.set, opened % 2, &s) == 0) {
            *app_of(&w.client, s) = (struct app_stream){.handle = s->handle, .to_write = 7000};
            opened++;
        }
        for (struct side *side = &w.client;; side = &w.server) { /* whoever was refused memory tries again */
            if (side->mem.refusals && side->heap.left == 0) {
                side->heap.left = -1;
                failed = true;
            }
            for (struct base_node *e = base_list_first(&side->set.all); e; e = base_list_next(&side->set.all, e)) {
                struct quic_stream *each = BASE_CONTAINER(e, struct quic_stream, all);
                if (each->send.state < QUIC_SEND_DATA_SENT && !each->send.fin && app_of(side, each)->to_write)
                    app_write(side, each);
            }
            if (side == &w.server)
                break;
        }
        world_turn();
    }
    ck_assert_uint_eq(opened, 6);
    for (unsigned id = 0; id < STREAMS; id++)
        if (w.client.streams[id].handle) {
            ck_assert(w.client.streams[id].closed && w.server.streams[id].closed);
            ck_assert_uint_eq(w.server.streams[id].read, 7000);
            ck_assert_uint_eq(w.client.streams[id].lent, w.client.streams[id].released);
        }
    check_credit(&w.client, &w.server);
    check_credit(&w.server, &w.client);
    return failed;
}

START_TEST(any_allocation_may_fail)
{
    int64_t n = 0;
    while (exchange(n))
        n++;
    ck_assert_int_gt(n, 20);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {everything_arrives,
                            lent_bytes_come_back_exactly_once,
                            resets_and_stops_give_all_credit_back,
                            the_limit_of_streams_grows_as_they_close,
                            warm_requests_do_not_allocate,
                            a_long_lived_stream_lets_the_window_move_on,
                            a_writer_hears_when_there_is_room,
                            all_streams_together_hold_so_much,
                            a_budget_bounds_what_streams_hold,
                            a_closed_connection_tells_every_stream_last,
                            any_allocation_may_fail};
    return TOOLKIT_SUITE_WITH("quic/stream", tests, setup, world_clear);
}
