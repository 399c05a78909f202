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

START_TEST(it_goes_on_and_waits_again)
{
    struct quic_conn *peer = open_and_wait();
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(quic_conn_ping(i % 2 ? peer : conn), 0);
        carry();
        ck_assert(!peer->keys_packed);
        ck_assert(!conn->keys_packed);
        wait_for_sleep();
        ck_assert(peer->keys_packed);
        ck_assert(conn->keys_packed);
    }
    ck_assert_int_eq(conn->state, QUIC_CONN_ESTABLISHED);
    ck_assert_int_eq(peer->state, QUIC_CONN_ESTABLISHED);
}
END_TEST

START_TEST(keys_can_be_updated_by_either_side)
{
    struct quic_conn *peer = open_and_wait();
    ck_assert(quic_keyphase_update(conn)); /* while packed */
    ck_assert_int_eq(quic_conn_ping(conn), 0);
    carry();
    ck_assert_uint_eq(peer->phase.generation, 1);
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

/* What somebody else sends wakes it, and it goes to sleep again though it says nothing. */
START_TEST(noise_does_not_keep_it_awake)
{
    struct quic_conn *peer = open_and_wait();
    uint8_t noise[64] = {0x40};
    memcpy(noise + 1, peer->local_cids.list[0].cid.id, QUIC_LOCAL_CID_LEN);
    engine_input(&server, noise, sizeof noise, client_at);
    ck_assert(!peer->keys_packed);
    wait_for_sleep();
    ck_assert(peer->keys_packed);
}
END_TEST

START_TEST(without_memory_it_waits_on)
{
    struct quic_conn *peer = open_and_wait();
    ck_assert_int_eq(quic_conn_ping(conn), 0);
    server.mem.limit = server.mem.used; /* nothing for keys */
    carry();
    ck_assert(peer->keys_packed);
    ck_assert_int_eq(peer->state, QUIC_CONN_ESTABLISHED);
    server.mem.limit = 0;
    wait_for_sleep(); /* the client asks again */
    ck_assert_uint_eq(conn->recovery.spaces[QUIC_APPLICATION].eliciting, 0);
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
    tcase_add_test(tests, it_goes_on_and_waits_again);
    tcase_add_test(tests, keys_can_be_updated_by_either_side);
    tcase_add_test(tests, noise_does_not_keep_it_awake);
    tcase_add_test(tests, without_memory_it_waits_on);
    tcase_add_test(tests, closing_needs_them_too);
    suite_add_tcase(suite, tests);
    return suite;
}
