/* The search for the largest datagram, black holes, and what bounds both. */
#include "engine.h"

static struct engine engine;
static struct quic_conn *conn;
static struct quic_path *path;

static uint32_t interface_takes;

static uint32_t payload_size(struct quic_socket *socket, const struct quic_addr *remote) {
    (void)socket;
    (void)remote;
    return interface_takes;
}
static const struct quic_socket_ops ops = {.payload_size = payload_size};

static void setup(void) {
    engine_open(&engine, CRYPTO_SERVER, 3, NULL);
    conn = quic_conn_new(&engine.endpoint, &engine.config, CRYPTO_SERVER, QUIC_VERSION_1, engine.now);
    ck_assert_ptr_nonnull(conn);
    path = quic_path_active(conn);
    path->socket = &engine.socket;
    quic_path_on_validated(path, engine.now);
    interface_takes = 9000;
}

static void teardown(void) {
    quic_conn_free(conn);
    engine_close(&engine);
}

static uint64_t next_number;

static void fate(uint64_t number, uint32_t bytes, bool probe, bool acked) {
    struct quic_sent_packet packet = {.bytes = (uint16_t)bytes, .mtu_probe = probe};
    engine.endpoint.now = engine.now;
    quic_mtu_on_packet(conn, number, &packet, acked);
}

static void pass_time(base_time span) { engine.now = engine.endpoint.now = engine.now + span; }

/* Sends the probe that is wanted; it passes when it is not above `limit`. Its size, 0 = none is wanted. */
static uint32_t probe(uint32_t limit) {
    uint32_t size = quic_mtu_wanted(conn, engine.now);
    if (!size)
        return 0;
    quic_mtu_on_sent(conn, next_number);
    ck_assert_uint_eq(quic_mtu_wanted(conn, engine.now), 0); /* one at a time */
    fate(next_number++, size, true, size <= limit);
    return size;
}

static unsigned search(uint32_t limit) {
    unsigned probes = 0;
    while (probe(limit))
        probes++;
    return probes;
}

START_TEST(the_target_is_tried_first)
{
    quic_mtu_start(conn);
    ck_assert_uint_eq(probe(1452), 1452);
    ck_assert_uint_eq(path->mtu, 1452);
    ck_assert_uint_eq(path->control.cc.mtu, 1452);
    ck_assert_uint_eq(probe(1452), 0);
}
END_TEST

START_TEST(what_bounds_the_target)
{
    conn->peer_params_known = true;
    conn->peer_params.max_udp_payload_size = 1300;
    quic_mtu_start(conn);
    ck_assert_uint_eq(conn->mtu.target, 1300);
    conn->peer_params.max_udp_payload_size = 65527;
    engine.config.options.send_udp_payload_size = 0;
    quic_mtu_start(conn);
    ck_assert_uint_eq(conn->mtu.target, 1452); /* nobody knows more */
    engine.socket.ops = &ops;
    quic_mtu_start(conn);
    ck_assert_uint_eq(conn->mtu.target, 9000);
    interface_takes = 65507;
    quic_mtu_start(conn);
    ck_assert_uint_eq(conn->mtu.target, QUIC_MTU_MOST);
    interface_takes = 576;
    quic_mtu_start(conn);
    ck_assert_uint_eq(conn->mtu.target, QUIC_MIN_INITIAL);
    ck_assert_uint_eq(probe(9000), 0);
    engine.config.options.send_udp_payload_size = 1400;
    path->mtu = 1452; /* from an earlier life of the path */
    quic_mtu_start(conn);
    ck_assert_uint_eq(path->mtu, 1400);
}
END_TEST

START_TEST(bisection_ends_near_the_truth)
{
    engine.socket.ops = &ops;
    engine.config.options.send_udp_payload_size = 0;
    for (uint32_t limit = 1200; limit <= 9000; limit += 311) {
        path->mtu = QUIC_MIN_INITIAL;
        quic_mtu_start(conn);
        ck_assert_uint_le(search(limit), 3 * 10);
        ck_assert_uint_le(path->mtu, limit);
        ck_assert_uint_gt(path->mtu + 17, limit);
    }
}
END_TEST

START_TEST(a_size_has_three_tries)
{
    quic_mtu_start(conn);
    ck_assert_uint_eq(probe(0), 1452);
    ck_assert_uint_eq(probe(0), 1452);
    ck_assert_uint_eq(probe(1452), 1452);
    ck_assert_uint_eq(path->mtu, 1452);
}
END_TEST

START_TEST(a_late_acknowledgement_counts)
{
    quic_mtu_start(conn);
    for (unsigned i = 0; i < 3; i++)
        probe(0);
    ck_assert_uint_lt(quic_mtu_wanted(conn, engine.now), 1452);
    fate(1, 1452, true, true);
    ck_assert_uint_eq(path->mtu, 1452);
    ck_assert_uint_eq(quic_mtu_wanted(conn, engine.now), 0);
}
END_TEST

static void grown(void) {
    quic_mtu_start(conn);
    probe(1452);
    path->control.rtt.smoothed = 50 * BASE_MS;
}

START_TEST(large_losses_a_round_trip_apart_are_a_black_hole)
{
    grown();
    for (uint64_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(path->mtu, 1452);
        fate(100 + 10 * i, 1452, false, false);
        fate(101 + 10 * i, 1452, false, false); /* the same burst */
        pass_time(60 * BASE_MS);
    }
    ck_assert_uint_eq(path->mtu, QUIC_MIN_INITIAL);
    ck_assert_uint_eq(conn->stats.mtu_black_holes, 1);
    search(1333);
    ck_assert_uint_le(path->mtu, 1333);
    ck_assert_uint_gt(path->mtu + 17, 1333);
}
END_TEST

START_TEST(what_is_no_black_hole)
{
    grown();
    for (uint64_t i = 0; i < 9; i++) { /* a burst */
        fate(100 + i, 1452, false, false);
        pass_time(BASE_MS);
    }
    ck_assert_uint_eq(path->mtu, 1452);
    for (uint64_t i = 0; i < 9; i++) { /* some pass */
        fate(200 + 10 * i, 1452, false, false);
        fate(205 + 10 * i, 1452, false, true);
        pass_time(60 * BASE_MS);
    }
    for (uint64_t i = 0; i < 9; i++) { /* lost before the newest that passed; small; of another path */
        fate(150 + i, 1452, false, false);
        fate(400 + i, 1200, false, false);
        struct quic_sent_packet other = {.bytes = 1452, .path = 1};
        quic_mtu_on_packet(conn, 500 + i, &other, false);
        pass_time(60 * BASE_MS);
    }
    ck_assert_uint_eq(path->mtu, 1452);
    ck_assert_uint_eq(conn->stats.mtu_black_holes, 0);
}
END_TEST

START_TEST(three_time_outs_in_a_row_fall_back)
{
    grown();
    conn->recovery.pto_count = 2;
    quic_mtu_on_timeout(conn);
    ck_assert_uint_eq(path->mtu, 1452);
    conn->recovery.pto_count = 3;
    quic_mtu_on_timeout(conn);
    ck_assert_uint_eq(path->mtu, QUIC_MIN_INITIAL);
    ck_assert_uint_eq(probe(1452), 1452); /* it may have been an outage */
    ck_assert_uint_eq(path->mtu, 1452);
}
END_TEST

START_TEST(the_second_probe_is_small)
{
    conn->recovery.probes[QUIC_APPLICATION] = 1;
    ck_assert(!quic_mtu_wants_small(conn)); /* no time-out */
    conn->recovery.pto_count = 1;
    ck_assert(quic_mtu_wants_small(conn));
    conn->recovery.probes[QUIC_APPLICATION] = 2;
    ck_assert(!quic_mtu_wants_small(conn));
}
END_TEST

START_TEST(ten_minutes_later_it_tries_again)
{
    quic_mtu_start(conn);
    search(1300);
    uint32_t found = path->mtu;
    pass_time(600 * BASE_SEC - 1);
    ck_assert_uint_eq(quic_mtu_wanted(conn, engine.now), 0);
    pass_time(1);
    ck_assert_uint_eq(probe(1300), 1452);
    search(1300);
    ck_assert_uint_ge(path->mtu, found);
    ck_assert_uint_eq(quic_mtu_wanted(conn, engine.now), 0);
    pass_time(600 * BASE_SEC);
    search(1452);
    ck_assert_uint_eq(path->mtu, 1452);
    pass_time(6000 * BASE_SEC);
    ck_assert_uint_eq(quic_mtu_wanted(conn, engine.now), 0); /* there is no more to find */
}
END_TEST

Suite *unit_suite(void) {
    static const TTest *const *const tests[] = {
        &the_target_is_tried_first,     &what_bounds_the_target,
        &bisection_ends_near_the_truth, &a_size_has_three_tries,
        &a_late_acknowledgement_counts, &large_losses_a_round_trip_apart_are_a_black_hole,
        &what_is_no_black_hole,         &three_time_outs_in_a_row_fall_back,
        &the_second_probe_is_small,     &ten_minutes_later_it_tries_again,
    };
    Suite *suite = suite_create("quic/mtu");
    TCase *tcase = tcase_create("mtu");
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, *tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
