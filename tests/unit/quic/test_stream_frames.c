/* test_stream_frames.c - single frames: what each does to a set of streams, and when a set sends which (stream_kit.h).
 *
 * What the peer may not do is an error with the right code; limits are announced when they matter, once, and again when
 * they were lost.
 */
#include "stream_kit.h"

START_TEST(frames_for_the_wrong_stream_are_errors)
{
    struct side *s = &w.server;
    /* Streams of ours that we have not opened. */
    ck_assert_int_eq(feed_stream(s, 1, 0, 1, false), QUIC_STREAM_STATE_ERROR);
    ck_assert_int_eq(feed_reset(s, 1, 0), QUIC_STREAM_STATE_ERROR);
    ck_assert_int_eq(feed_stop(s, 1), QUIC_STREAM_STATE_ERROR);
    ck_assert_int_eq(feed_stop(s, 3), QUIC_STREAM_STATE_ERROR);
    ck_assert_int_eq(feed_max(s, QUIC_FRAME_MAX_STREAM_DATA, 1, 5), QUIC_STREAM_STATE_ERROR);
    ck_assert_int_eq(feed_blocked(s, QUIC_FRAME_STREAM_DATA_BLOCKED, 1), QUIC_STREAM_STATE_ERROR);
    /* Halves that do not exist. */
    must_open(s, true);
    ck_assert_int_eq(feed_stream(s, 3, 0, 1, false), QUIC_STREAM_STATE_ERROR);
    ck_assert_int_eq(feed_reset(s, 3, 0), QUIC_STREAM_STATE_ERROR);
    ck_assert_int_eq(feed_blocked(s, QUIC_FRAME_STREAM_DATA_BLOCKED, 3), QUIC_STREAM_STATE_ERROR);
    ck_assert_int_eq(feed_stop(s, 2), QUIC_STREAM_STATE_ERROR);
    ck_assert_int_eq(feed_max(s, QUIC_FRAME_MAX_STREAM_DATA, 2, 5), QUIC_STREAM_STATE_ERROR);
    /* Beyond the limit, whatever the frame. */
    ck_assert_int_eq(feed_stream(s, 16 * 4, 0, 1, false), QUIC_STREAM_LIMIT_ERROR);
    ck_assert_int_eq(feed_stream(s, 4 * 4 + 2, 0, 1, false), QUIC_STREAM_LIMIT_ERROR);
    ck_assert_int_eq(feed_reset(s, 16 * 4, 0), QUIC_STREAM_LIMIT_ERROR);
    ck_assert_int_eq(feed_stop(s, 16 * 4), QUIC_STREAM_LIMIT_ERROR);
    ck_assert_int_eq(feed_max(s, QUIC_FRAME_MAX_STREAM_DATA, 16 * 4, 5), QUIC_STREAM_LIMIT_ERROR);
    ck_assert_int_eq(feed_blocked(s, QUIC_FRAME_STREAM_DATA_BLOCKED, 16 * 4), QUIC_STREAM_LIMIT_ERROR);
    ck_assert_uint_eq(s->set.kinds[0].open, 0);
    /* At the limit; all below open, too. */
    ck_assert_int_eq(feed_blocked(s, QUIC_FRAME_STREAM_DATA_BLOCKED, 15 * 4), 0);
    ck_assert_uint_eq(s->set.kinds[0].open, 16);
    ck_assert_uint_eq(s->stats.streams_opened_remote, 16);
}
END_TEST

START_TEST(windows_are_enforced)
{
    struct side *s = &w.server;
    ck_assert_int_eq(feed_stream(s, 0, 0, 10001, false), QUIC_FLOW_CONTROL_ERROR);
    ck_assert_int_eq(feed_stream(s, 0, 10000, 1, false), QUIC_FLOW_CONTROL_ERROR);
    ck_assert_int_eq(feed_reset(s, 0, 10001), QUIC_FLOW_CONTROL_ERROR);
    ck_assert_int_eq(feed_stream(s, 0, 0, 10000, false), 0);
    ck_assert_int_eq(feed_stream(s, 0, 0, 10000, false), 0); /* again: uses nothing */
    ck_assert_int_eq(feed_stream(s, 4, 9999, 1, false), 0);  /* a gap counts */
    ck_assert_int_eq(feed_stream(s, 8, 0, 9990, false), 0);
    ck_assert_uint_eq(s->set.recv_flow.received, 29990);
    ck_assert_int_eq(feed_stream(s, 12, 0, 11, false), QUIC_FLOW_CONTROL_ERROR);
    ck_assert_int_eq(feed_reset(s, 12, 11), QUIC_FLOW_CONTROL_ERROR);
    ck_assert_int_eq(feed_stream(s, 12, 0, 10, false), 0);
    ck_assert_uint_eq(s->set.recv_flow.received, s->set.recv_flow.max);
}
END_TEST

START_TEST(final_sizes_are_enforced)
{
    struct side *s = &w.server;
    ck_assert_int_eq(feed_stream(s, 0, 0, 100, false), 0);
    ck_assert_int_eq(feed_stream(s, 0, 0, 99, true), QUIC_FINAL_SIZE_ERROR);
    ck_assert_int_eq(feed_reset(s, 0, 99), QUIC_FINAL_SIZE_ERROR);
    ck_assert_int_eq(feed_stream(s, 0, 200, 0, true), 0);
    ck_assert_int_eq(feed_stream(s, 0, 200, 1, false), QUIC_FINAL_SIZE_ERROR);
    ck_assert_int_eq(feed_stream(s, 0, 150, 49, true), QUIC_FINAL_SIZE_ERROR);
    ck_assert_int_eq(feed_reset(s, 0, 201), QUIC_FINAL_SIZE_ERROR);
    ck_assert_int_eq(feed_reset(s, 0, 200), 0);
    ck_assert_int_eq(feed_reset(s, 0, 199), QUIC_FINAL_SIZE_ERROR);
    ck_assert_int_eq(feed_stream(s, 0, 0, 201, false), QUIC_FINAL_SIZE_ERROR);
    ck_assert_int_eq(feed_stream(s, 0, 0, 200, true), 0); /* late, ignored */
    struct quic_stream *stream = quic_streams_find(&s->set, 0);
    ck_assert_int_eq(stream->recv.state, QUIC_RECV_RESET_RECVD);
    ck_assert_uint_eq(stream->recv.reset_code, 42);
    ck_assert_uint_eq(s->set.recv_flow.received, 200);
    ck_assert_uint_eq(s->set.recv_flow.consumed, 200);
    ck_assert(stream->event.bits & QUIC_STREAM_EV_RESET);
    ck_assert(!(stream->event.bits & QUIC_STREAM_EV_READABLE));
}
END_TEST

START_TEST(a_closed_stream_is_not_heard_any_more)
{
    struct side *s = &w.server;
    ck_assert_int_eq(feed_stream(s, 2, 0, 100, true), 0);
    uint64_t handle = quic_streams_find(&s->set, 2)->handle;
    w.lend = true; /* the bytes are zeros: not checked */
    side_dispatch(s);
    ck_assert(s->streams[2].closed);
    ck_assert_ptr_null(quic_streams_find(&s->set, 2));
    ck_assert_ptr_null(quic_stream_of(&s->slots, handle));
    ck_assert_int_eq(feed_stream(s, 2, 0, 100, true), 0);
    ck_assert_int_eq(feed_stream(s, 2, 500, 100, true), 0);
    ck_assert_int_eq(feed_reset(s, 2, 100), 0);
    ck_assert_uint_eq(s->set.recv_flow.received, 100);
    ck_assert_uint_eq(s->set.kinds[2].open, 0);
}
END_TEST

START_TEST(stop_sending_is_answered_by_a_reset)
{
    struct side *c = &w.client;
    struct quic_stream *s = must_open(c, true);
    static uint8_t data[100];
    ck_assert_int_eq(quic_stream_write(s, data, 100, false), 100);
    ck_assert_int_eq(feed_stop(c, s->id), 0);
    ck_assert_int_eq(s->send.state, QUIC_SEND_RESET_SENT);
    ck_assert_uint_eq(s->send.reset_code, 43);
    ck_assert_uint_eq(s->send.final_size, 0);
    ck_assert_uint_eq(s->stop_code_received, 43);
    ck_assert_uint_eq(s->event.bits, QUIC_STREAM_EV_STOPPED);
    ck_assert_int_eq(quic_stream_write(s, data, 1, false), ERR_STREAM_CLOSED);
    world_run();
    ck_assert(c->streams[2].closed && w.server.streams[2].closed);
    ck_assert(w.server.streams[2].seen & QUIC_STREAM_EV_RESET);
    /* All sent and acknowledged: nothing to stop. */
    request(c, false, 10);
    world_run();
    s = quic_streams_find(&c->set, 0);
    if (s) {
        ck_assert_int_eq(feed_stop(c, 0), 0);
        ck_assert_int_eq(s->send.state, QUIC_SEND_DATA_RECVD);
    }
}
END_TEST

START_TEST(being_blocked_is_said_once_a_limit)
{
    world_anew(1);
    w.server.options.initial_max_stream_data_uni = 100;
    w.server.options.initial_max_data = 150;
    world_start();
    struct side *c = &w.client;
    struct quic_stream *a = must_open(c, true), *b = must_open(c, true);
    static uint8_t data[1000];
    ck_assert_int_eq(quic_stream_write(a, data, 1000, false), 1000);
    ck_assert_int_eq(quic_stream_write(b, data, 1000, false), 1000);
    struct quic_sent_frame r[16];
    ck_assert_uint_eq(send_one(c, r, 16), 4); /* 100 bytes, 50 bytes, and the two words */
    ck_assert_uint_eq(c->set.send_flow.used, 150);
    ck_assert_uint_eq(send_one(c, r, 16), 0);
    side_settle(c, 0, false); /* lost: all of it again */
    ck_assert_uint_eq(send_one(c, r, 16), 4);
    ck_assert_uint_eq(c->set.send_flow.used, 150);
    feed_max(c, QUIC_FRAME_MAX_STREAM_DATA, a->id, 200);
    feed_max(c, QUIC_FRAME_MAX_STREAM_DATA, a->id, 50); /* never down */
    feed_max(c, QUIC_FRAME_MAX_DATA, 0, 400);
    ck_assert_uint_eq(a->send_flow.max, 200);
    side_settle(c, 0,
                false); /* lost again, but the limits are others now: data only, and b is blocked by its own now */
    unsigned n = send_one(c, r, 16), blocked = 0;
    for (unsigned i = 0; i < n; i++)
        blocked += r[i].kind != QUIC_FRAME_STREAM;
    ck_assert_uint_eq(blocked, 2); /* each of the two by its new limit */
    ck_assert_uint_eq(c->set.send_flow.used, 300);
    /* Streams, too. */
    struct quic_stream *s;
    must_open(c, true);
    must_open(c, true);
    ck_assert_int_eq(quic_streams_open(&c->set, true, &s), ERR_STREAM_LIMIT);
    ck_assert_int_eq(quic_streams_open(&c->set, true, &s), ERR_STREAM_LIMIT);
    ck_assert_uint_eq(send_one(c, r, 16), 1);
    ck_assert_int_eq(r[0].kind, QUIC_FRAME_STREAMS_BLOCKED_UNI);
    ck_assert_uint_eq(r[0].value, 4);
    ck_assert_uint_eq(send_one(c, r, 16), 0);
    feed_max(c, QUIC_FRAME_MAX_STREAMS_UNI, 0, 3);
    ck_assert_uint_eq(c->available, 0);
    feed_max(c, QUIC_FRAME_MAX_STREAMS_UNI, 0, 5);
    ck_assert_uint_eq(c->available, 1);
    must_open(c, true);
}
END_TEST

START_TEST(without_credit_nobody_stands_in_line)
{
    world_anew(1);
    struct quic_params params = params_of(&w.server.options);
    params.initial_max_data = 20;
    quic_streams_set_peer(&w.client.set, &params);
    static uint8_t data[20];
    struct quic_stream *a = must_open(&w.client, true), *b = must_open(&w.client, true);
    ck_assert_int_eq(quic_stream_write(a, data, 20, false), 20);
    ck_assert_int_eq(quic_stream_write(b, data, 20, false), 20);
    ck_assert(side_send(&w.client, 22)); /* a's 20 bytes fill the packet and use all credit */
    ck_assert_uint_eq(w.client.set.send_flow.used, 20);
    ck_assert_uint_eq(w.client.set.sched.mask, 0);
    struct quic_sent_frame r[16];
    ck_assert_uint_eq(send_one(&w.client, r, 16), 1);
    ck_assert_int_eq(r[0].kind, QUIC_FRAME_DATA_BLOCKED);
    ck_assert(!quic_streams_sendable(&w.client.set));
    feed_max(&w.client, QUIC_FRAME_MAX_DATA, 0, 40);
    ck_assert_uint_eq(send_one(&w.client, r, 16), 1);
    ck_assert_uint_eq(r[0].ref, b->handle);
}
END_TEST

START_TEST(what_was_read_already_is_not_announced)
{
    ck_assert_int_eq(feed_stream(&w.server, 0, 0, 10, false), 0);
    struct quic_stream *s = quic_streams_find(&w.server.set, 0);
    ck_assert_uint_eq(s->event.bits, QUIC_STREAM_EV_OPENED | QUIC_STREAM_EV_READABLE);
    ck_assert_int_eq(quic_stream_consume(s, 4, 0, w.now), 0);
    ck_assert_uint_eq(s->event.bits, QUIC_STREAM_EV_OPENED | QUIC_STREAM_EV_READABLE);
    ck_assert_int_eq(quic_stream_consume(s, 6, 0, w.now), 0);
    ck_assert_uint_eq(s->event.bits, QUIC_STREAM_EV_OPENED);
    quic_stream_pause(s, true);
    ck_assert_int_eq(feed_stream(&w.server, 0, 10, 10, false), 0);
    ck_assert_uint_eq(s->event.bits, QUIC_STREAM_EV_OPENED);
    quic_stream_pause(s, false);
    ck_assert_uint_eq(s->event.bits, QUIC_STREAM_EV_OPENED | QUIC_STREAM_EV_READABLE);
}
END_TEST

START_TEST(lost_limits_are_said_again_only_while_they_matter)
{
    struct side *s = &w.server;
    struct quic_sent_frame r[16];
    ck_assert_int_eq(feed_stream(s, 0, 0, 10000, false), 0);
    struct quic_stream *stream = quic_streams_find(&s->set, 0);
    ck_assert_int_eq(quic_stream_consume(stream, 5000, 0, w.now), 0);
    ck_assert_uint_eq(send_one(s, r, 16), 1);
    ck_assert_int_eq(r[0].kind, QUIC_FRAME_MAX_STREAM_DATA);
    ck_assert_uint_eq(r[0].value, 15000);
    side_settle(s, 0, false);
    ck_assert_uint_eq(send_one(s, r, 16), 1); /* again */
    ck_assert_int_eq(quic_stream_consume(stream, 5000, 0, w.now), 0);
    ck_assert_uint_eq(send_one(s, r, 16), 1);
    ck_assert_uint_eq(r[0].value, 20000);
    side_settle(s, 0, false); /* the older one: void */
    ck_assert_uint_eq(send_one(s, r, 16), 0);
    ck_assert_int_eq(feed_stream(s, 0, 10000, 0, true), 0);
    side_settle(s, 0, false); /* the newest, but the size is known now */
    ck_assert_uint_eq(send_one(s, r, 16), 0);
}
END_TEST

START_TEST(resets_are_for_sending_halves_and_stops_for_receiving_ones)
{
    struct quic_stream *uni = must_open(&w.client, true);
    ck_assert_int_eq(quic_stream_stop(uni, 1), ERR_STREAM_CLOSED);
    ck_assert_int_eq(quic_stream_reset(uni, UINT64_C(1) << 62), ERR_INVALID);
    ck_assert_int_eq(quic_stream_reset(uni, 1), 0);
    ck_assert_int_eq(quic_stream_reset(uni, 1), ERR_STREAM_CLOSED);
    ck_assert_int_eq(feed_stream(&w.server, 2, 0, 10, false), 0);
    struct quic_stream *theirs = quic_streams_find(&w.server.set, 2);
    ck_assert_int_eq(quic_stream_reset(theirs, 1), ERR_STREAM_CLOSED);
    ck_assert_int_eq(quic_stream_write(theirs, lendable, 1, false), ERR_STREAM_CLOSED);
    ck_assert_int_eq(quic_stream_consume(theirs, 11, 0, 0), ERR_INVALID);
    ck_assert_int_eq(quic_stream_stop(theirs, 1), 0);
    ck_assert_int_eq(quic_stream_stop(theirs, 1), ERR_STREAM_CLOSED);
    ck_assert_uint_eq(w.server.set.recv_flow.consumed, 10);
    struct quic_sent_frame r[16];
    ck_assert_uint_eq(send_one(&w.server, r, 16), 1);
    ck_assert_int_eq(r[0].kind, QUIC_FRAME_STOP_SENDING);
    side_settle(&w.server, 0, false);
    ck_assert_uint_eq(send_one(&w.server, r, 16), 1); /* lost: again */
    ck_assert_int_eq(feed_reset(&w.server, 2, 10), 0);
    side_settle(&w.server, 0, false);
    ck_assert_uint_eq(send_one(&w.server, r, 16), 0); /* the peer has reset it: void */
}
END_TEST

START_TEST(every_size_fits_every_room)
{
    for (size_t room = 28; room < 120; room++) {
        world_anew(1);
        w.lend = true;
        world_start();
        uint64_t sent = 0;
        struct quic_stream *s = must_open(&w.client, true);
        for (size_t len = 1; len < 110; len++) {
            ck_assert_int_eq(quic_stream_write(s, lendable, len, false), (int64_t)len);
            sent += len;
            while (quic_streams_sendable(&w.client.set)) {
                ck_assert(side_send(&w.client, room));
                const struct packet *p = &w.client.flying[0];
                struct base_reader in = base_reader_of(p->bytes, p->len);
                struct quic_frame frame = {.type = 0};
                while (base_reader_left(&in))
                    ck_assert_int_eq(quic_frame_parse(&in, &frame), 0);
                if (!(frame.type & 2))
                    ck_assert_uint_eq(p->len, room); /* no length field: nothing may follow */
                ck_assert(side_receive(&w.server, p));
                side_settle(&w.client, 0, true);
            }
            side_dispatch(&w.server);
            w.client.set.send_flow.max = s->send_flow.max = UINT64_C(1) << 40;
        }
        ck_assert_int_eq(w.server.error, 0);
        ck_assert_uint_eq(w.server.streams[2].read, sent);
    }
}
END_TEST

START_TEST(control_frames_fill_as_many_packets_as_they_need)
{
    for (unsigned i = 0; i < 16; i++) {
        struct quic_stream *s = must_open(&w.client, false);
        ck_assert_int_eq(quic_stream_stop(s, 1000000), 0);
        ck_assert_int_eq(quic_stream_reset(s, 1000000), 0);
    }
    unsigned packets = 0;
    while (quic_streams_sendable(&w.client.set)) {
        ck_assert(side_send(&w.client, 30));
        packets++;
    }
    ck_assert_uint_gt(packets, 5);
    world_run();
    for (unsigned i = 0; i < 16; i++)
        ck_assert(w.client.streams[i * 4].closed);
}
END_TEST

START_TEST(limits_remembered_for_0rtt_are_raised_later)
{
    world_anew(1);
    struct quic_params remembered = {
        .initial_max_data = 100, .initial_max_stream_data_uni = 50, .initial_max_streams_uni = 2};
    quic_streams_set_peer(&w.client.set, &remembered);
    struct quic_stream *s = must_open(&w.client, true);
    static uint8_t data[300];
    fill(s->id, 0, data, sizeof data);
    ck_assert_int_eq(quic_stream_write(s, data, 300, true), 300);
    struct quic_sent_frame r[16];
    ck_assert_uint_eq(send_one(&w.client, r, 16), 2); /* 50 bytes, and that it is blocked */
    ck_assert_uint_eq(w.client.set.send_flow.used, 50);
    world_start();
    ck_assert_uint_eq(s->send_flow.max, 8000);
    ck_assert_uint_eq(w.client.set.send_flow.max, 30000);
    remembered.initial_max_data = 1;
    quic_streams_set_peer(&w.client.set, &remembered); /* never down */
    ck_assert_uint_eq(w.client.set.send_flow.max, 30000);
    world_run();
    ck_assert_uint_eq(w.server.streams[2].read, 300);
}
END_TEST

START_TEST(a_stop_after_all_has_arrived_asks_for_nothing)
{
    ck_assert_int_eq(feed_stream(&w.server, 2, 0, 10, true), 0);
    struct quic_stream *s = quic_streams_find(&w.server.set, 2);
    ck_assert_int_eq(quic_stream_stop(s, 1), 0);
    ck_assert(s->closed_raised);
    ck_assert(!quic_streams_sendable(&w.server.set));
    ck_assert_uint_eq(w.server.set.recv_flow.consumed, 10);
    /* With the size known but bytes missing it ends when the peer has heard of it. */
    ck_assert_int_eq(feed_stream(&w.server, 6, 5, 5, true), 0);
    s = quic_streams_find(&w.server.set, 6);
    ck_assert_int_eq(quic_stream_stop(s, 1), 0);
    ck_assert(!s->closed_raised);
    struct quic_sent_frame r[16];
    ck_assert_uint_eq(send_one(&w.server, r, 16), 1);
    side_settle(&w.server, 0, true);
    ck_assert(s->closed_raised);
    ck_assert_uint_eq(w.server.set.recv_flow.consumed, 20);
}
END_TEST

START_TEST(records_of_others_are_not_ours)
{
    const uint8_t others[] = {QUIC_FRAME_PING, QUIC_FRAME_CRYPTO, QUIC_FRAME_ACK, QUIC_FRAME_HANDSHAKE_DONE, 0xff};
    for (unsigned i = 0; i < sizeof others; i++) {
        struct quic_sent_frame record = {.kind = others[i]};
        ck_assert(!quic_streams_on_fate(&w.client.set, &record, true));
    }
    quic_streams_close(&w.client.set);
    struct quic_sent_frame record = {.kind = QUIC_FRAME_MAX_DATA, .value = 30000};
    ck_assert(quic_streams_on_fate(&w.client.set, &record, false));
    ck_assert(!quic_streams_sendable(&w.client.set));
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {frames_for_the_wrong_stream_are_errors,
                            windows_are_enforced,
                            final_sizes_are_enforced,
                            a_closed_stream_is_not_heard_any_more,
                            stop_sending_is_answered_by_a_reset,
                            being_blocked_is_said_once_a_limit,
                            without_credit_nobody_stands_in_line,
                            what_was_read_already_is_not_announced,
                            lost_limits_are_said_again_only_while_they_matter,
                            resets_are_for_sending_halves_and_stops_for_receiving_ones,
                            every_size_fits_every_room,
                            control_frames_fill_as_many_packets_as_they_need,
                            limits_remembered_for_0rtt_are_raised_later,
                            a_stop_after_all_has_arrived_asks_for_nothing,
                            records_of_others_are_not_ours};
    return TOOLKIT_SUITE_WITH("quic/stream_frames", tests, setup, world_clear);
}
