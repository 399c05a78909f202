/* How few trains, each one system call, a server's side of a handshake takes. */
#include "hostile.h"

static void input_train(struct engine *to, const struct quic_train *train, struct quic_addr from, uint32_t skip) {
    for (size_t at = (size_t)skip * train->segment; at < train->len; at += train->segment) {
        size_t left = train->len - at;
        engine_input(to, train->data + at, left < train->segment ? left : train->segment, from);
    }
}

static struct quic_train said; /* the last one */

/* The trains that the server says now; the client misses the first `skip` datagrams of each. */
static unsigned server_says(uint32_t skip) {
    unsigned count = 0;
    for (; engine_output(&server); count++) {
        said = server.train;
        input_train(&client, &server.train, server.socket.local, skip);
    }
    quic_endpoint_settle(&server.endpoint);
    return count;
}

static void client_says(void) {
    while (engine_output(&client))
        input_train(&server, &client.train, client_at, 0);
    quic_endpoint_settle(&client.endpoint);
}

static void pass_time(int tenths) {
    while (tenths--) {
        client.now += BASE_SEC / 10;
        server.now += BASE_SEC / 10;
        quic_endpoint_tick(&client.endpoint, client.now);
        quic_endpoint_tick(&server.endpoint, server.now);
        client_says();
        server_says(0);
    }
}

static void up_to_the_end(void) {
    server.train.max_segments = client.train.max_segments = QUIC_TRAIN_SEGMENTS;
    dial();
    client_says();
    ck_assert_uint_eq(server_says(0), 1); /* Initial and Handshake, certificate and all */
    client_says();
    ck_assert(conn->handshake_complete && accepted()->handshake_confirmed);
}

/* HANDSHAKE_DONE, tickets, token and connection IDs go with the first probe of the path's MTU. */
START_TEST(two_trains_for_a_handshake)
{
    up_to_the_end();
    ck_assert_uint_eq(server_says(0), 1);
    ck_assert_uint_eq(said.count, 2);
    ck_assert_uint_eq(said.segment, 1452);
    ck_assert_uint_lt(said.len, 2 * 1452);
    ck_assert(conn->handshake_confirmed && conn->new_token);
    pass_time(2);
    ck_assert_uint_eq(quic_path_active(accepted())->mtu, 1452);
    ck_assert_uint_eq(accepted()->stats.packets_lost, 0);
}
END_TEST

/* What follows a probe that is too large for the path is not lost with it, nor is the path's MTU. */
START_TEST(a_probe_that_is_lost_takes_nothing_with_it)
{
    up_to_the_end();
    ck_assert_uint_eq(server_says(1), 1);
    ck_assert(conn->handshake_confirmed && conn->new_token);
    ck_assert_uint_eq(quic_path_active(accepted())->mtu, QUIC_MIN_INITIAL);
    pass_time(40);
    ck_assert_uint_eq(quic_path_active(accepted())->mtu, 1452);
    ck_assert_uint_eq(accepted()->stats.mtu_black_holes, 0);
}
END_TEST

/* Room for one datagram only: two trains in place of one. */
START_TEST(a_probe_goes_alone_where_it_must)
{
    up_to_the_end();
    server.train.max_segments = 1;
    ck_assert(engine_output(&server));
    ck_assert_uint_eq(server.train.len, 1452);
    ck_assert_uint_eq(server_says(0), 1);
    ck_assert(conn->handshake_confirmed && conn->new_token);
}
END_TEST

/* A client that only asks sends one packet that can be marked: it does not go unmarked with a probe. */
START_TEST(a_request_is_marked)
{
    struct quic_stream *stream;
    unsigned probes = 0, marked = 0;
    up_to_the_end();
    server_says(0);
    ck_assert_int_eq(quic_streams_open(&conn->streams, false, &stream), 0);
    ck_assert_int_gt(quic_stream_write(stream, (const uint8_t *)"x", 1, true), 0);
    while (engine_output(&client)) {
        probes += client.train.len >= 1452;
        marked += client.train.ecn == QUIC_ECT0;
        input_train(&server, &client.train, client_at, 0);
    }
    ck_assert_uint_eq(probes, 1);
    ck_assert_uint_eq(marked, 1);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("quic/trains");
    TCase *tcase = tcase_create("trains");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 0);
    tcase_add_test(tcase, two_trains_for_a_handshake);
    tcase_add_test(tcase, a_probe_that_is_lost_takes_nothing_with_it);
    tcase_add_test(tcase, a_probe_goes_alone_where_it_must);
    tcase_add_test(tcase, a_request_is_marked);
    suite_add_tcase(suite, tcase);
    return suite;
}
