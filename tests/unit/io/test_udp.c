/* test_udp.c - what goes out comes in, with every feature and every fallback, and what receiving does (udp_kit.h). */
#include "udp_kit.h"

/* ---- what goes out comes in, with every subset of the features on either side ---- */

static const char *const pairs[][3] = {
    /* sender, receiver, address sent to */
    {"127.0.0.1", "127.0.0.1", "127.0.0.1"},
    {"0.0.0.0", "0.0.0.0", "127.0.0.1"},
    {"::1", "::1", "::1"},
    {"::", "::", "::1"},
    {"::", "::", "127.0.0.1"},
    {"127.0.0.1", "::", "127.0.0.1"},
};
#define PAIRS (int)(sizeof pairs / sizeof pairs[0])

START_TEST(test_train_arrives)
{
    const char *const *pair = pairs[_i % PAIRS];
    uint32_t features = (uint32_t)(_i / PAIRS);
    open_one(&sender, pair[0], features, false);
    open_one(&receiver, pair[1], features, false);
    ck_assert_uint_eq(sender.features, features);
    ck_assert_uint_eq(receiver.features, features);

    struct quic_train train = train_to(&receiver, pair[2], 63 * 1000 + 17, 1000);
    ck_assert_uint_eq(train.count, QUIC_TRAIN_SEGMENTS);
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
    ck_assert_uint_eq(stats.send_calls, 1);
    ck_assert_uint_eq(faults.each_calls, features & IO_UDP_GSO ? 0 : 1);
    receive(QUIC_TRAIN_SEGMENTS);
    check_train(&train);

    bool slices = got[0].buf == got[1].buf;
    ck_assert(slices == ((features & IO_UDP_GRO) && (features & IO_UDP_GSO)));
    ck_assert(!!faults.receive_calls == !!(features & IO_UDP_RECVMMSG));
    for (unsigned i = 0; i < got_count; i++) {
        ck_assert_uint_eq(got[i].ecn, features & IO_UDP_ECN ? QUIC_ECT0 : QUIC_NOT_ECT);
        ck_assert_uint_eq(got[i].remote.family, train.remote.family);
        ck_assert_uint_eq(got[i].remote.port, sender.socket.local.port);
        ck_assert_uint_eq(got[i].local.port, receiver.socket.local.port);
        ck_assert_uint_eq(got[i].local.family, train.remote.family);
        bool told = (features & IO_UDP_PKTINFO) || !receiver.any;
        ck_assert(told ? quic_addr_same_ip(&got[i].local, &train.remote) : io_addr_is_any(&got[i].local));
    }
}
END_TEST

START_TEST(test_marks_arrive)
{
    const char *const *pair = pairs[_i];
    open_one(&sender, pair[0], IO_UDP_ALL, false);
    open_one(&receiver, pair[1], IO_UDP_ALL, false);
    for (uint8_t ecn = 0; ecn < 4; ecn++) {
        struct quic_train train = train_to(&receiver, pair[2], 100, 100);
        train.ecn = ecn;
        ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
        receive(ecn + 1u);
        ck_assert_uint_eq(got[ecn].ecn, ecn);
        ck_assert((faults.control == 0) == (ecn == QUIC_ECT0)); /* what is usual is not said each time */
    }
}
END_TEST

/* The mark is two bits of a byte whose others say something else (RFC 2474). */
START_TEST(test_mark_beside_dscp)
{
    open_one(&sender, "127.0.0.1", IO_UDP_ALL, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_ALL, false);
    int expedited = 0xb8;
    ck_assert_int_eq(setsockopt(sender.fd, IPPROTO_IP, IP_TOS, &expedited, sizeof expedited), 0);
    struct quic_train train = train_to(&receiver, "127.0.0.1", 100, 100);
    train.ecn = QUIC_NOT_ECT;
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
    receive(1);
    ck_assert_uint_eq(got[0].ecn, QUIC_NOT_ECT);
}
END_TEST

/* A server with many addresses answers from the one it was asked at. */
START_TEST(test_source_address)
{
    static const char *const sources[] = {"127.0.0.7", "127.9.9.9", "127.0.0.1"};
    open_one(&sender, _i ? "::" : "0.0.0.0", IO_UDP_ALL, false);
    open_one(&receiver, _i ? "::" : "0.0.0.0", IO_UDP_ALL, false);
    for (unsigned i = 0; i < 3; i++) {
        struct quic_train train = train_to(&receiver, "127.0.0.8", 3000, 1000);
        ck_assert(io_addr_parse(sources[i], 0, &train.local));
        ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
        receive(3);
        ck_assert(quic_addr_same_ip(&got[0].remote, &train.local));
        ck_assert(quic_addr_same_ip(&got[0].local, &train.remote));
        let_go();
    }
}
END_TEST

START_TEST(test_source_address_v6)
{
    open_one(&sender, "::", IO_UDP_ALL, true);
    open_one(&receiver, "::1", IO_UDP_ALL, true);
    struct quic_train train = train_to(&receiver, "::1", 100, 100);
    ck_assert(io_addr_parse("::1", 0, &train.local));
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
    receive(1);
    ck_assert(quic_addr_same_ip(&got[0].remote, &train.local));
    /* an address that is not ours: lost, and nothing else */
    ck_assert(io_addr_parse("2001:db8::1", 0, &train.local));
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
    ck_assert_uint_eq(sender.features, IO_UDP_ALL);
}
END_TEST

/* ---- receiving ---- */

START_TEST(test_budget)
{
    open_one(&sender, "127.0.0.1", IO_UDP_ALL & ~(uint32_t)IO_UDP_GSO, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_ALL & ~(uint32_t)(_i ? IO_UDP_RECVMMSG : IO_UDP_GRO), false);
    struct quic_train train = train_to(&receiver, "127.0.0.1", 60000, 1000);
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
    while (got_count < 60) {
        struct pollfd waiting = {.fd = receiver.fd, .events = POLLIN};
        ck_assert_int_eq(poll(&waiting, 1, 60000), 1);
        bool more;
        unsigned before = got_count, received = io_udp_receive(&receiver, &bufs, 10, &more, sink, &receiver);
        ck_assert_uint_eq(received, got_count - before);
        ck_assert_uint_ge(received, 1);
        ck_assert_uint_lt(received, 10 + IO_UDP_BATCH);
        if (received >= 10 && got_count < 60)
            ck_assert(more);
    }
    check_train(&train);
    bool more = true;
    ck_assert_uint_eq(io_udp_receive(&receiver, &bufs, 10, &more, sink, &receiver), 0);
    ck_assert(!more);
}
END_TEST

/* Buffers the kernel did not fill go back; those it filled are held by nobody but the sink. */
START_TEST(test_buffers_go_back)
{
    open_one(&sender, "127.0.0.1", IO_UDP_ALL, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_ALL, false);
    struct quic_train train = train_to(&receiver, "127.0.0.1", 2000, 1000);
    io_udp_send(&sender, &train);
    receive(2);
    ck_assert_uint_eq(bufs.live_count, got[0].buf == got[1].buf ? 1 : 2);
    let_go();
    ck_assert_uint_eq(bufs.live_count, 0);
}
END_TEST

START_TEST(test_no_buffers)
{
    open_one(&sender, "127.0.0.1", IO_UDP_ALL, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_ALL, false);
    bufs.limit = 1;
    struct base_buf *last = base_buf_get(&bufs);
    struct quic_train train = train_to(&receiver, "127.0.0.1", 1000, 1000);
    io_udp_send(&sender, &train);
    bool more = false;
    ck_assert_uint_eq(io_udp_receive(&receiver, &bufs, 10, &more, sink, &receiver), 0);
    ck_assert(more); /* it still waits in the kernel */
    base_buf_unref(last);
    receive(1); /* one buffer is enough */
    check_train(&train);
}
END_TEST

START_TEST(test_batch_follows_traffic)
{
    open_one(&sender, "127.0.0.1", 0, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_RECVMMSG, false);
    struct quic_train train = train_to(&receiver, "127.0.0.1", 64 * 100, 100);
    for (int i = 0; i < 3; i++) {
        io_udp_send(&sender, &train);
        receive(64);
        let_go();
    }
    ck_assert_uint_gt(receiver.batch, 2);
    for (int i = 0; i < 8; i++) {
        struct quic_train one = train_to(&receiver, "127.0.0.1", 100, 100);
        io_udp_send(&sender, &one);
        receive(1);
        let_go();
    }
    ck_assert_uint_le(receiver.batch, 4);
}
END_TEST

/* One message by a plain call, and no word of more: the poll tells of that. */
START_TEST(test_quiet_takes_one)
{
    open_one(&sender, "127.0.0.1", 0, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_RECVMMSG, false);
    struct quic_train train = train_to(&receiver, "127.0.0.1", 3 * 100, 100);
    io_udp_send(&sender, &train);
    receiver.quiet = true;
    for (unsigned i = 1; i <= 3; i++) {
        bool more = true;
        ck_assert_uint_eq(io_udp_receive(&receiver, &bufs, 10, &more, sink, &receiver), 1);
        ck_assert(!more);
        ck_assert_uint_eq(stats.receive_calls, i);
    }
    ck_assert_uint_eq(faults.receive_calls, 0);
    check_train(&train);
}
END_TEST

START_TEST(test_recvmmsg_missing)
{
    open_one(&sender, "127.0.0.1", IO_UDP_ALL, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_ALL, false);
    faults.receive_error = ENOSYS;
    faults.receive_fail = 1000;
    struct quic_train train = train_to(&receiver, "127.0.0.1", 64000, 1000);
    io_udp_send(&sender, &train);
    receive(64);
    check_train(&train);
    ck_assert_uint_eq(faults.receive_calls, 1);
    ck_assert_uint_eq(receiver.features, IO_UDP_ALL & ~(uint32_t)IO_UDP_RECVMMSG);
}
END_TEST

/* An error that ICMP left on the socket is asked away; one that stays does not hold us for ever. */
START_TEST(test_receive_errors)
{
    open_one(&sender, "127.0.0.1", IO_UDP_ALL, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_ALL, false);
    struct quic_train train = train_to(&receiver, "127.0.0.1", 1000, 1000);
    io_udp_send(&sender, &train);
    faults.receive_error = _i ? EINTR : ECONNREFUSED;
    faults.receive_fail = 3;
    receive(1);
    check_train(&train);
    faults.receive_fail = 1000000;
    bool more = false;
    ck_assert_uint_eq(io_udp_receive(&receiver, &bufs, 10, &more, sink, &receiver), 0);
    ck_assert(more);
    ck_assert_uint_gt(faults.receive_fail, 999000);
}
END_TEST

START_TEST(test_empty_datagram_is_skipped)
{
    open_one(&sender, "127.0.0.1", IO_UDP_ALL, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_ALL, false);
    struct sockaddr_storage to;
    socklen_t len = io_addr_to_sockaddr(&receiver.socket.local, &to);
    ck_assert_int_eq(sendto(sender.fd, bytes, 0, 0, (struct sockaddr *)&to, len), 0);
    struct quic_train train = train_to(&receiver, "127.0.0.1", 10, 10);
    io_udp_send(&sender, &train);
    receive(1);
    check_train(&train);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("io/udp");
    TCase *tc = tcase(suite, "both ways");
    tcase_add_loop_test(tc, test_train_arrives, 0, PAIRS * (IO_UDP_ALL + 1));
    tcase_add_loop_test(tc, test_marks_arrive, 0, PAIRS);
    tcase_add_test(tc, test_mark_beside_dscp);
    tcase_add_loop_test(tc, test_source_address, 0, 2);
    tcase_add_test(tc, test_source_address_v6);
    tc = tcase(suite, "receive");
    tcase_add_loop_test(tc, test_budget, 0, 2);
    tcase_add_test(tc, test_buffers_go_back);
    tcase_add_test(tc, test_no_buffers);
    tcase_add_test(tc, test_batch_follows_traffic);
    tcase_add_test(tc, test_quiet_takes_one);
    tcase_add_test(tc, test_recvmmsg_missing);
    tcase_add_loop_test(tc, test_receive_errors, 0, 2);
    tcase_add_test(tc, test_empty_datagram_is_skipped);
    return suite;
}
