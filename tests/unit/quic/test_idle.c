/* A connection that waits: what it gives back, and that nothing of it is missed when it goes on. */
#include "hostile.h"

#define IDLE_MOST 8192u /* bytes of a connection without streams, TLS and traffic */

static void pass(base_time period) {
    client.now += period;
    server.now += period;
    quic_endpoint_tick(&client.endpoint, client.now);
    quic_endpoint_tick(&server.endpoint, server.now);
    carry();
}

static void wait_for_sleep(void) {
    for (int i = 0; i < 8; i++)
        pass(500 * BASE_MS);
}

/* Both sides have nothing left to say, and have waited. */
static struct quic_conn *open_and_wait(void) {
    dial();
    carry();
    ck_assert(conn->handshake_confirmed);
    wait_for_sleep();
    return BASE_CONTAINER(base_list_first(&server.endpoint.conns), struct quic_conn, all);
}

START_TEST(an_idle_connection_is_small)
{
    open_and_wait(); /* the first one makes tables, too */
    uint64_t one = server.mem.used;
    struct quic_conn *peer = open_and_wait();
    ck_assert_uint_eq(server.endpoint.conn_count, 2);
    ck_assert(peer->keys_packed);
    ck_assert(conn->keys_packed);
    ck_assert_uint_le(server.mem.used - one, IDLE_MOST);
}
END_TEST

/* A PING there, its acknowledgement back, with no time in between, and neither side has left its rest. */
START_TEST(a_keep_alive_wakes_nobody)
{
    struct quic_conn *peer = open_and_wait();
    for (int i = 0; i < 6; i++) {
        struct quic_conn *from = i % 2 ? peer : conn, *to = i % 2 ? conn : peer;
        uint64_t client_used = client.mem.used, server_used = server.mem.used;
        uint64_t acks = to->stats.acks_sent, packets = to->stats.packets_sent;
        ck_assert_int_eq(quic_conn_ping(from), 0);
        carry();
        ck_assert_uint_eq(to->stats.acks_sent, acks + 1);
        ck_assert_uint_eq(to->stats.packets_sent, packets + 1);
        ck_assert_uint_eq(from->recovery.spaces[QUIC_APPLICATION].eliciting, 0);
        ck_assert(peer->keys_packed && conn->keys_packed);
        ck_assert_uint_eq(client.mem.used, client_used);
        ck_assert_uint_eq(server.mem.used, server_used);
        for (unsigned timer = 0; timer < QUIC_TIMERS; timer++)
            if (timer != QUIC_TIMER_IDLE)
                ck_assert(from->deadlines[timer] == BASE_NEVER && to->deadlines[timer] == BASE_NEVER);
        wait_for_sleep();
    }
    ck_assert_int_eq(conn->state, QUIC_CONN_ESTABLISHED);
    ck_assert_int_eq(peer->state, QUIC_CONN_ESTABLISHED);
}
END_TEST

/* A lost PING is found by the probe time-out, for which the connection wakes, and it rests again. */
START_TEST(a_keep_alive_may_be_lost)
{
    struct quic_conn *peer = open_and_wait();
    ck_assert_int_eq(quic_conn_ping(conn), 0);
    ck_assert(engine_output(&client)); /* nobody takes it */
    ck_assert(!engine_output(&client));
    ck_assert(conn->keys_packed);
    ck_assert_uint_eq(conn->recovery.spaces[QUIC_APPLICATION].eliciting, 1);
    wait_for_sleep();
    wait_for_sleep();
    ck_assert_uint_eq(conn->stats.ptos, 1);
    ck_assert_uint_eq(conn->recovery.spaces[QUIC_APPLICATION].eliciting, 0);
    ck_assert(peer->keys_packed && conn->keys_packed);
    ck_assert_ptr_null(conn->recovery.spaces[QUIC_APPLICATION].packets);
}
END_TEST

/* Both sides have something to say at once: what was not acknowledged stays known. */
START_TEST(keep_alives_may_cross)
{
    struct quic_conn *peer = open_and_wait();
    ck_assert_int_eq(quic_conn_ping(conn), 0);
    ck_assert_int_eq(quic_conn_ping(peer), 0);
    ck_assert(engine_output(&client) && engine_output(&server));
    engine_input(&server, client.train.data, client.train.len, client_at);
    ck_assert_uint_eq(peer->recovery.spaces[QUIC_APPLICATION].eliciting, 1);
    engine_input(&client, server.train.data, server.train.len, server.socket.local);
    carry();
    ck_assert_uint_eq(conn->recovery.spaces[QUIC_APPLICATION].eliciting, 0);
    ck_assert_uint_eq(peer->recovery.spaces[QUIC_APPLICATION].eliciting, 0);
    ck_assert(peer->keys_packed && conn->keys_packed);
    ck_assert_ptr_null(peer->recovery.spaces[QUIC_APPLICATION].packets);
}
END_TEST

/* Any other frame means that there is more to come, and is acknowledged in its time. */
START_TEST(other_frames_wake_it)
{
    struct quic_conn *peer = open_and_wait();
    struct quic_stream *s;
    ck_assert_int_eq(quic_streams_open(&conn->streams, true, &s), 0);
    ck_assert_int_eq(quic_stream_write(s, (const uint8_t *)"hello", 5, false), 5);
    uint64_t acks = peer->stats.acks_sent;
    ck_assert(engine_output(&client));
    ck_assert(!conn->keys_packed);
    engine_input(&server, client.train.data, client.train.len, client_at);
    ck_assert(!peer->keys_packed);
    while (engine_output(&server))
        continue;
    ck_assert_uint_eq(peer->stats.acks_sent, acks);
    ck_assert(peer->acks[QUIC_APPLICATION].deadline > server.now);
    wait_for_sleep();
    ck_assert_uint_gt(peer->stats.acks_sent, acks);
    ck_assert(peer->keys_packed && conn->keys_packed);
}
END_TEST

static void keep_alive(struct quic_conn *from) {
    ck_assert_int_eq(quic_conn_ping(from), 0);
    carry();
    ck_assert_uint_eq(from->recovery.spaces[QUIC_APPLICATION].eliciting, 0);
}

/* A packet now and then is a keep-alive; for many the expanded keys are worth having. */
START_TEST(many_packets_wake_it)
{
    struct quic_conn *peer = open_and_wait();
    keep_alive(conn); /* two packets with the answer */
    keep_alive(conn);
    ck_assert(peer->keys_packed && conn->keys_packed);
    ck_assert_int_eq(quic_conn_ping(conn), 0);
    carry();
    ck_assert(!peer->keys_packed && !conn->keys_packed);
    wait_for_sleep();
    ck_assert(peer->keys_packed && conn->keys_packed);
    for (int i = 0; i < 20; i++) {
        pass(QUIC_REST_AFTER);
        keep_alive(conn);
        ck_assert(peer->keys_packed && conn->keys_packed);
    }
    ck_assert_uint_eq(peer->stats.packets_dropped, 0);
}
END_TEST

static void ping_by_hand(void) {
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    send_1rtt(client_at);
    while (engine_output(&server))
        continue;
}

/* Each packet moves the idle time-out on; its entry in the heap stays where it is until half of it is over. */
START_TEST(the_idle_time_out_is_moved_seldom)
{
    server.config.options.initial_packet_number_skip = client.config.options.initial_packet_number_skip = 0;
    client.config.options.max_idle_timeout = server.config.options.max_idle_timeout = 100 * BASE_SEC;
    struct quic_conn *peer = open_and_wait();
    number = conn->recovery.spaces[QUIC_APPLICATION].next;
    base_time began = server.now, heard = 0;
    unsigned moved = 0;
    for (int i = 0; i < 40; i++) {
        base_time before = peer->timer.key;
        server.now = heard = began + (base_time)(i + 1) * 10 * BASE_SEC;
        quic_endpoint_tick(&server.endpoint, server.now);
        ping_by_hand();
        moved += peer->timer.key != before;
        ck_assert_uint_eq(peer->deadlines[QUIC_TIMER_IDLE], server.now + 100 * BASE_SEC);
        ck_assert_uint_ge(peer->timer.key, server.now + 50 * BASE_SEC);
        ck_assert_uint_le(peer->timer.key, server.now + 100 * BASE_SEC);
    }
    ck_assert_uint_le(moved, 9);
    ck_assert_uint_ge(moved, 6);
    unsigned looks = 0;
    for (; peer->state == QUIC_CONN_ESTABLISHED;
         looks++) { /* it comes true to the nanosecond, after one look for nothing */
        server.now = quic_endpoint_deadline(&server.endpoint);
        ck_assert_uint_le(server.now, heard + 100 * BASE_SEC);
        quic_endpoint_tick(&server.endpoint, server.now);
    }
    ck_assert_uint_eq(server.now, heard + 100 * BASE_SEC);
    ck_assert_uint_le(looks, 2);
}
END_TEST

START_TEST(keys_can_be_updated_by_either_side)
{
    struct quic_conn *peer = open_and_wait();
    ck_assert(quic_keyphase_update(conn)); /* while packed */
    ck_assert_int_eq(quic_conn_ping(conn), 0);
    carry();
    ck_assert_uint_eq(peer->phase.generation, 1);
    ck_assert(!peer->keys_packed); /* the previous ones may be needed still */
    ck_assert_int_eq(quic_conn_ping(peer), 0);
    wait_for_sleep();
    wait_for_sleep(); /* the old keys go first */
    ck_assert(peer->keys_packed);
    ck_assert_ptr_null(peer->phase.rx_previous);
    ck_assert(quic_keyphase_update(peer));
    ck_assert_int_eq(quic_conn_ping(peer), 0);
    carry();
    ck_assert_uint_eq(conn->phase.generation, 2);
    ck_assert_int_eq(conn->state, QUIC_CONN_ESTABLISHED);
}
END_TEST

/* A client that has moved is probed where it is now, and heard there from then on. */
START_TEST(a_keep_alive_from_elsewhere_wakes_it)
{
    struct quic_conn *peer = open_and_wait();
    struct quic_addr elsewhere = engine_addr(9, 5001);
    ck_assert_int_eq(quic_conn_ping(conn), 0);
    ck_assert(engine_output(&client));
    client_at = elsewhere;
    engine_input(&server, client.train.data, client.train.len, client_at);
    ck_assert(peer->keys_packed);
    carry();
    ck_assert(!peer->keys_packed);
    ck_assert(quic_addr_equal(&quic_path_active(peer)->remote, &elsewhere));
    wait_for_sleep();
    ck_assert_uint_eq(quic_path_active(peer)->state, QUIC_PATH_VALIDATED);
    wait_for_sleep();
    wait_for_sleep();
    ck_assert(peer->keys_packed && conn->keys_packed);
}
END_TEST

/* A PING that was overtaken on the way moves nobody, but where it came from is probed. */
START_TEST(a_late_keep_alive_from_elsewhere_wakes_it)
{
    struct quic_conn *peer = open_and_wait();
    struct quic_addr elsewhere = engine_addr(9, 5001);
    uint8_t late[1500];
    ck_assert_int_eq(quic_conn_ping(conn), 0);
    ck_assert(engine_output(&client));
    size_t len = client.train.len;
    memcpy(late, client.train.data, len);
    keep_alive(peer);
    ck_assert_int_eq(quic_conn_ping(conn), 0);
    carry();
    wait_for_sleep();
    ck_assert(peer->keys_packed);
    engine_input(&server, late, len, elsewhere);
    ck_assert(engine_output(&server));
    ck_assert(!peer->keys_packed);
    ck_assert(quic_addr_equal(&server.train.remote, &elsewhere));
    ck_assert(quic_addr_equal(&quic_path_active(peer)->remote, &client_at));
}
END_TEST

/* Datagrams that come together are no keep-alive. */
START_TEST(a_train_wakes_it)
{
    struct quic_conn *peer = open_and_wait();
    struct quic_datagram pings[2];
    struct base_buf *buf = base_buf_get(&server.bufs);
    for (size_t i = 0, at = 0; i < 2; at += client.train.len, i++) {
        ck_assert_int_eq(quic_conn_ping(conn), 0);
        ck_assert(engine_output(&client));
        memcpy(buf->data + at, client.train.data, client.train.len);
        pings[i] = (struct quic_datagram){
            buf, buf->data + at, client.train.len, &server.socket, server.socket.local, client_at, 0};
    }
    quic_endpoint_input(&server.endpoint, pings, 2, server.now);
    base_buf_unref(buf);
    ck_assert(!peer->keys_packed);
    carry();
    ck_assert_uint_eq(conn->recovery.spaces[QUIC_APPLICATION].eliciting, 0);
}
END_TEST

/* When the search for the path's MTU begins again it does so with a keep-alive (mtu.h). */
START_TEST(a_keep_alive_may_take_a_probe_with_it)
{
    open_and_wait();
    conn->mtu.target = quic_path_active(conn)->mtu + 100;
    conn->mtu.raise_at = client.now;
    ck_assert_int_eq(quic_conn_ping(conn), 0);
    carry();
    ck_assert(!conn->keys_packed);
    ck_assert_uint_eq(quic_path_active(conn)->mtu, conn->mtu.target);
}
END_TEST

/* Of all time-outs only that of idleness may stand in the heap too early. */
START_TEST(its_own_keep_alive_comes_in_time)
{
    client.config.options.keep_alive = 20 * BASE_SEC;
    struct quic_conn *peer = open_and_wait();
    for (int i = 0; i < 5; i++) {
        keep_alive(peer); /* which puts that of the client off */
        ck_assert_uint_eq(conn->deadlines[QUIC_TIMER_KEEP_ALIVE], client.now + 20 * BASE_SEC);
        ck_assert_uint_eq(conn->timer.key, client.now + 20 * BASE_SEC);
        uint64_t sent = conn->stats.packets_sent;
        pass(20 * BASE_SEC);
        ck_assert_uint_eq(conn->stats.packets_sent, sent + 1);
        ck_assert(conn->keys_packed);
        pass(5 * BASE_SEC);
    }
}
END_TEST

/* What somebody else sends does not wake it; if it is much it does, and it goes to rest again though it says
 * nothing. */
START_TEST(noise_does_not_keep_it_awake)
{
    struct quic_conn *peer = open_and_wait();
    for (unsigned i = 0; i <= QUIC_REST_PACKETS; i++) {
        uint8_t noise[64] = {0x40};
        ck_assert(peer->keys_packed);
        memcpy(noise + 1, peer->local_cids.list[0].cid.id, QUIC_LOCAL_CID_LEN);
        engine_input(&server, noise, sizeof noise, client_at);
    }
    ck_assert(!peer->keys_packed);
    ck_assert_uint_eq(peer->stats.packets_dropped, QUIC_REST_PACKETS + 1);
    wait_for_sleep();
    ck_assert(peer->keys_packed);
}
END_TEST

/* A keep-alive takes no memory. For more than that there must be some. */
START_TEST(without_memory_it_waits_on)
{
    struct quic_conn *peer = open_and_wait();
    server.mem.limit = server.mem.used; /* nothing for keys */
    ck_assert_int_eq(quic_conn_ping(conn), 0);
    carry();
    ck_assert_uint_eq(conn->recovery.spaces[QUIC_APPLICATION].eliciting, 0);
    ck_assert_int_eq(quic_conn_ping(peer), 0);
    carry();
    ck_assert(peer->keys_packed);
    ck_assert(peer->ping_wanted);
    ck_assert_int_eq(peer->state, QUIC_CONN_ESTABLISHED);
    server.mem.limit = 0;
    wait_for_sleep();
    ck_assert(peer->keys_packed);
    ck_assert_int_eq(quic_conn_ping(peer), 0);
    carry();
    ck_assert(!peer->ping_wanted);
    ck_assert_uint_eq(peer->recovery.spaces[QUIC_APPLICATION].eliciting, 0);
}
END_TEST

START_TEST(closing_needs_them_too)
{
    struct quic_conn *peer = open_and_wait();
    quic_conn_close(peer, true, 7, NULL, 0, server.now);
    carry();
    ck_assert_uint_eq(conn->close.cause, QUIC_CAUSE_PEER);
    ck_assert_uint_eq(conn->close.code, 7);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("quic/idle");
    TCase *tests = tcase_create("idle");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, an_idle_connection_is_small);
    tcase_add_test(tests, a_keep_alive_wakes_nobody);
    tcase_add_test(tests, a_keep_alive_may_be_lost);
    tcase_add_test(tests, keep_alives_may_cross);
    tcase_add_test(tests, other_frames_wake_it);
    tcase_add_test(tests, many_packets_wake_it);
    tcase_add_test(tests, the_idle_time_out_is_moved_seldom);
    tcase_add_test(tests, keys_can_be_updated_by_either_side);
    tcase_add_test(tests, a_keep_alive_from_elsewhere_wakes_it);
    tcase_add_test(tests, a_late_keep_alive_from_elsewhere_wakes_it);
    tcase_add_test(tests, a_train_wakes_it);
    tcase_add_test(tests, a_keep_alive_may_take_a_probe_with_it);
    tcase_add_test(tests, its_own_keep_alive_comes_in_time);
    tcase_add_test(tests, noise_does_not_keep_it_awake);
    tcase_add_test(tests, without_memory_it_waits_on);
    tcase_add_test(tests, closing_needs_them_too);
    suite_add_tcase(suite, tests);
    return suite;
}
