/* test_udp_send.c - sending: segments that are refused, buffers that are full, datagrams that are lost (udp_kit.h). */
#include "udp_kit.h"

/* ---- sending ---- */

/* The kernel will not segment on this socket: found out at the first train, which arrives all the same. */
START_TEST(test_gso_refused)
{
    static const int errors[] = {EIO, EINVAL, EMSGSIZE};
    open_one(&sender, "127.0.0.1", IO_UDP_ALL, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_ALL, false);
    faults.segment_only = true;
    faults.send_error = errors[_i];
    faults.send_fail = 1000;
    struct quic_train train = train_to(&receiver, "127.0.0.1", 10 * 1000 + 1, 1000);
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
    receive(11);
    check_train(&train);
    /* "too big for the interface" is the train's fault, not the feature's */
    bool gone = errors[_i] != EMSGSIZE;
    ck_assert_uint_eq(sender.features, gone ? IO_UDP_ALL & ~(uint32_t)IO_UDP_GSO : IO_UDP_ALL);
    let_go();
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
    receive(11);
    check_train(&train);
    ck_assert_uint_eq(faults.whole_calls, gone ? 1 : 2);
}
END_TEST

/* A train whose first datagram is too large for the interface, as a probe of the path's MTU may be: what follows
 * arrives. */
START_TEST(test_first_too_large)
{
    open_one(&sender, "127.0.0.1", IO_UDP_ALL, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_ALL, false);
    faults.send_error = EMSGSIZE;
    faults.send_fail = 2; /* the train, and then its first datagram */
    struct quic_train train = train_to(&receiver, "127.0.0.1", 1000 + 300, 1000);
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
    receive(1);
    ck_assert_uint_eq(got[0].len, 300);
    ck_assert_uint_eq(sender.features, IO_UDP_ALL);
}
END_TEST

/* The real kernel's refusal: it cannot segment for a socket without UDP checksums. */
START_TEST(test_gso_refused_by_the_kernel)
{
    open_one(&sender, "127.0.0.1", IO_UDP_ALL, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_ALL, false);
    int on = 1;
    ck_assert_int_eq(setsockopt(sender.fd, SOL_SOCKET, SO_NO_CHECK, &on, sizeof on), 0);
    struct quic_train train = train_to(&receiver, "127.0.0.1", 10 * 1000 + 1, 1000);
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
    receive(11);
    check_train(&train);
    ck_assert_uint_eq(sender.features & IO_UDP_GSO, 0);
}
END_TEST

/* A blocked socket keeps the train, from where it was, and loses nothing. */
START_TEST(test_blocked)
{
    static const int errors[] = {EAGAIN, ENOBUFS};
    bool gso = (_i & 1) != 0;
    open_one(&sender, "127.0.0.1", gso ? IO_UDP_ALL : IO_UDP_ALL & ~(uint32_t)IO_UDP_GSO, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_ALL, false);
    faults.send_error = errors[_i >> 1];
    faults.send_fail = 3;
    struct quic_train train = train_to(&receiver, "127.0.0.1", 63 * 1000 + 17, 1000);
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_BLOCKED);
    ck_assert(sender.blocked);
    ck_assert_uint_eq(stats.send_blocked, 1);
    /* the caller's buffer is his again */
    uint8_t original[sizeof bytes];
    memcpy(original, bytes, sizeof bytes);
    memset(bytes, 0xee, sizeof bytes);
    ck_assert_int_eq(io_udp_flush(&sender), IO_UDP_BLOCKED);
    ck_assert_int_eq(io_udp_flush(&sender), IO_UDP_BLOCKED);
    ck_assert(sender.blocked);
    ck_assert_int_eq(io_udp_flush(&sender), IO_UDP_SENT);
    ck_assert(!sender.blocked);
    ck_assert_ptr_null(sender.pending);
    memcpy(bytes, original, sizeof bytes);
    receive(64);
    check_train(&train);
    ck_assert_uint_eq(got[63].ecn, QUIC_ECT0);
    ck_assert_uint_eq(stats.send_blocked, 1);
}
END_TEST

/* sendmmsg takes some, then the buffer is full, again and again. */
START_TEST(test_blocked_in_the_middle)
{
    open_one(&sender, "127.0.0.1", IO_UDP_ALL & ~(uint32_t)IO_UDP_GSO, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_ALL, false);
    faults.most = 5;
    faults.send_error = EAGAIN;
    faults.send_skip = 3;
    faults.send_fail = 1;
    struct quic_train train = train_to(&receiver, "127.0.0.1", 63 * 1000 + 17, 1000);
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_BLOCKED);
    ck_assert_uint_eq(sender.pending_train.len, train.len - 15 * 1000);
    ck_assert_uint_eq(sender.pending_train.count, 49);
    faults.send_skip = 9;
    faults.send_fail = 1;
    ck_assert_int_eq(io_udp_flush(&sender), IO_UDP_BLOCKED);
    ck_assert_uint_eq(sender.pending_train.len, 4 * 1000 - 1000 + 17);
    ck_assert_int_eq(io_udp_flush(&sender), IO_UDP_SENT);
    receive(64);
    check_train(&train);
}
END_TEST

START_TEST(test_blocked_without_memory)
{
    open_one(&sender, "127.0.0.1", IO_UDP_ALL, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_ALL, false);
    faults.send_error = EAGAIN;
    faults.send_fail = 1;
    mem.limit = 1;
    struct quic_train train = train_to(&receiver, "127.0.0.1", 2000, 1000);
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_BLOCKED);
    ck_assert(sender.blocked);
    ck_assert_int_eq(io_udp_flush(&sender), IO_UDP_SENT);
    ck_assert(!sender.blocked);
    mem.limit = 0;
    train = train_to(&receiver, "127.0.0.1", 3000, 1500);
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
    receive(2);
    check_train(&train);
}
END_TEST

START_TEST(test_close_while_blocked)
{
    open_one(&sender, "127.0.0.1", IO_UDP_ALL, false);
    faults.send_error = EAGAIN;
    faults.send_fail = 1;
    struct quic_train train = train_to(&sender, "127.0.0.1", 2000, 1000);
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_BLOCKED);
    io_udp_close(&sender); /* teardown counts the memory */
}
END_TEST

/* What the network refuses is lost, costs one call, and leaves the socket as it was. */
START_TEST(test_loss)
{
    static const int errors[] = {EPERM,    ENETUNREACH, EHOSTUNREACH,  ECONNREFUSED,
                                 EMSGSIZE, EINVAL,      EADDRNOTAVAIL, ENETDOWN};
    open_one(&sender, "127.0.0.1", IO_UDP_ALL, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_ALL, false);
    faults.send_error = errors[_i];
    faults.send_fail = 1;
    struct quic_train one = train_to(&receiver, "127.0.0.1", 1000, 1000);
    ck_assert_int_eq(io_udp_send(&sender, &one), IO_UDP_SENT);
    ck_assert_uint_eq(stats.send_calls, 1);
    faults.send_fail = 1000; /* and a train, of which the kernel takes no datagram either */
    struct quic_train train = train_to(&receiver, "127.0.0.1", 3000, 1000);
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
    ck_assert_uint_eq(sender.features, IO_UDP_ALL);
    faults.send_fail = 0;
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
    receive(3);
    check_train(&train);
}
END_TEST

/* One datagram of a train is refused: the others still go. */
START_TEST(test_loss_in_the_middle)
{
    open_one(&sender, "127.0.0.1", IO_UDP_ALL & ~(uint32_t)IO_UDP_GSO, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_ALL, false);
    faults.most = 2;
    faults.send_skip = 1;
    faults.send_fail = 1;
    faults.send_error = EPERM;
    struct quic_train train = train_to(&receiver, "127.0.0.1", 5 * 1000, 1000);
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
    receive(4);
    ck_assert_mem_eq(got[1].data, bytes + 1000, 1000);
    ck_assert_mem_eq(got[2].data, bytes + 3000, 1000);
}
END_TEST

START_TEST(test_interrupted)
{
    open_one(&sender, "127.0.0.1", _i ? IO_UDP_ALL : 0, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_ALL, false);
    faults.send_error = EINTR;
    faults.send_fail = 2;
    struct quic_train train = train_to(&receiver, "127.0.0.1", 3000, 1000);
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
    receive(3);
    check_train(&train);
}
END_TEST

/* The kernel's own words for "too big", "no way there" and "wrong family". */
START_TEST(test_real_losses)
{
    open_one(&sender, "127.0.0.1", IO_UDP_ALL, false);
    open_one(&receiver, "127.0.0.1", IO_UDP_ALL, false);
    struct quic_train big = train_to(&receiver, "127.0.0.1", 65520, 65520);
    ck_assert_int_eq(io_udp_send(&sender, &big), IO_UDP_SENT);
    struct quic_train away = train_to(&receiver, "192.0.2.1", 3000, 1000);
    ck_assert_int_eq(io_udp_send(&sender, &away), IO_UDP_SENT);
    struct quic_train wrong = train_to(&receiver, "::1", 3000, 1000);
    ck_assert_int_eq(io_udp_send(&sender, &wrong), IO_UDP_SENT);
    struct quic_train none = train_to(&receiver, "::1", 3000, 1000);
    none.remote.family = 0;
    ck_assert_int_eq(io_udp_send(&sender, &none), IO_UDP_SENT);
    ck_assert_uint_eq(sender.features, IO_UDP_ALL);
    struct quic_train train = train_to(&receiver, "127.0.0.1", 3000, 1000);
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
    receive(3);
    check_train(&train);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("io/udp_send");
    TCase *tc = tcase(suite, "send");
    tcase_add_loop_test(tc, test_gso_refused, 0, 3);
    tcase_add_test(tc, test_gso_refused_by_the_kernel);
    tcase_add_test(tc, test_first_too_large);
    tcase_add_loop_test(tc, test_blocked, 0, 4);
    tcase_add_test(tc, test_blocked_in_the_middle);
    tcase_add_test(tc, test_blocked_without_memory);
    tcase_add_test(tc, test_close_while_blocked);
    tcase_add_loop_test(tc, test_loss, 0, 8);
    tcase_add_test(tc, test_loss_in_the_middle);
    tcase_add_loop_test(tc, test_interrupted, 0, 2);
    tcase_add_test(tc, test_real_losses);
    return suite;
}
