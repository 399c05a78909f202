/* test_udp_open.c - opening: options, ports in use, and what the system tells of routes and sizes (udp_kit.h). */
#include "udp_kit.h"

/* ---- opening ---- */

static int option_of(int fd, int level, int option) {
    int value = -1;
    socklen_t len = sizeof value;
    ck_assert_int_eq(getsockopt(fd, level, option, &value, &len), 0);
    return value;
}

START_TEST(test_options)
{
    open_one(&receiver, "::", IO_UDP_ALL, false);
    ck_assert(receiver.dual_stack);
    ck_assert_int_eq(option_of(receiver.fd, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_PROBE);
    ck_assert_int_eq(option_of(receiver.fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER), IPV6_PMTUDISC_PROBE);
    ck_assert_int_eq(option_of(receiver.fd, IPPROTO_IPV6, IPV6_V6ONLY), 0);
    ck_assert_uint_gt(receiver.socket.local.port, 0);
    ck_assert_uint_eq(receiver.socket.local.family, 6);
    open_one(&sender, "::", IO_UDP_ALL, true);
    ck_assert(!sender.dual_stack);
    ck_assert_int_eq(option_of(sender.fd, IPPROTO_IPV6, IPV6_V6ONLY), 1);
}
END_TEST

static const struct {
    int level, option;
    uint32_t feature;
    const char *local;
} refusals[] = {
    {IPPROTO_UDP, UDP_GRO, IO_UDP_GRO, "0.0.0.0"},       {IPPROTO_UDP, UDP_SEGMENT, IO_UDP_GSO, "0.0.0.0"},
    {IPPROTO_IP, IP_PKTINFO, IO_UDP_PKTINFO, "0.0.0.0"}, {IPPROTO_IPV6, IPV6_RECVPKTINFO, IO_UDP_PKTINFO, "::"},
    {IPPROTO_IP, IP_RECVTOS, IO_UDP_ECN, "0.0.0.0"},     {IPPROTO_IP, IP_RECVTOS, IO_UDP_ECN, "::"},
    {IPPROTO_IPV6, IPV6_RECVTCLASS, IO_UDP_ECN, "::"},
};

START_TEST(test_refused_option)
{
    faults.option_error = ENOPROTOOPT;
    faults.option_level = refusals[_i].level;
    faults.option = refusals[_i].option;
    open_one(&receiver, refusals[_i].local, IO_UDP_ALL, false);
    ck_assert_uint_eq(receiver.features, IO_UDP_ALL & ~refusals[_i].feature);
    open_one(&sender, refusals[_i].local, IO_UDP_ALL, false);
    struct quic_train train = train_to(&receiver, "127.0.0.1", 5001, 1000);
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
    receive(6);
    check_train(&train);
}
END_TEST

START_TEST(test_no_v6_at_all)
{
    faults.socket_error = EAFNOSUPPORT;
    faults.socket_family = AF_INET6;
    open_one(&receiver, "::", IO_UDP_ALL, false);
    ck_assert_uint_eq(receiver.family, 4);
    ck_assert_uint_eq(receiver.socket.local.family, 4);
    ck_assert(receiver.any && !receiver.dual_stack);
    open_one(&sender, "127.0.0.1", IO_UDP_ALL, false);
    struct quic_train train = train_to(&receiver, "127.0.0.1", 5001, 1000);
    ck_assert_int_eq(io_udp_send(&sender, &train), IO_UDP_SENT);
    receive(6);
    check_train(&train);
    ck_assert(quic_addr_same_ip(&got[0].local, &train.remote));

    struct io_udp_open open = {.features = IO_UDP_ALL, .v6_only = true};
    ck_assert(io_addr_parse("::", 0, &open.local));
    struct io_udp udp;
    struct crypto_error why;
    ck_assert_int_eq(io_udp_open(&udp, &open, &mem, &stats, &why), ERR_ADDRESS);
    faults.socket_error = EMFILE;
    ck_assert_int_eq(io_udp_open(&udp, &open, &mem, &stats, &why), ERR_IO);
}
END_TEST

START_TEST(test_port_in_use)
{
    open_one(&receiver, "127.0.0.1", IO_UDP_ALL, false);
    struct io_udp_open open = {.local = receiver.socket.local, .features = IO_UDP_ALL};
    struct io_udp udp;
    struct crypto_error why = {{0}};
    ck_assert_int_eq(io_udp_open(&udp, &open, &mem, &stats, &why), ERR_IO);
    ck_assert_msg(strstr(why.text, "127.0.0.1:") && strstr(why.text, "in use"), "%s", why.text);
    ck_assert_int_eq(udp.fd, -1);
    ck_assert_int_eq(io_udp_open(&udp, &open, &mem, &stats, NULL), ERR_IO);
    ck_assert(io_addr_parse("192.0.2.1", 0, &open.local)); /* nobody's, and not ours */
    ck_assert_int_eq(io_udp_open(&udp, &open, &mem, &stats, &why), ERR_ADDRESS);
    open.local.family = 0;
    ck_assert_int_eq(io_udp_open(&udp, &open, &mem, &stats, &why), ERR_ADDRESS);
}
END_TEST

START_TEST(test_reuse_port)
{
    struct io_udp_open open = {.features = IO_UDP_ALL, .reuse_port = true};
    ck_assert(io_addr_parse("127.0.0.1", 0, &open.local));
    ck_assert_int_eq(io_udp_open(&receiver, &open, &mem, &stats, NULL), 0);
    open.local = receiver.socket.local;
    ck_assert_int_eq(io_udp_open(&sender, &open, &mem, &stats, NULL), 0);
    ck_assert_uint_eq(sender.socket.local.port, receiver.socket.local.port);
}
END_TEST

/* Without privileges the administrator's limit holds, and what we did not get is counted. */
START_TEST(test_small_buffers_are_counted)
{
    FILE *file = fopen("/proc/sys/net/core/rmem_max", "r");
    long most = 0;
    ck_assert(file && fscanf(file, "%ld", &most) == 1);
    fclose(file);
    ck_assert_int_lt(most, 1 << 28);
    faults.option_error = EPERM;
    faults.option_level = SOL_SOCKET;
    faults.option = SO_RCVBUFFORCE;
    struct io_udp_open open = {.features = IO_UDP_ALL, .receive_buffer = (uint32_t)most};
    ck_assert(io_addr_parse("127.0.0.1", 0, &open.local));
    ck_assert_int_eq(io_udp_open(&receiver, &open, &mem, &stats, NULL), 0);
    ck_assert_uint_eq(stats.socket_buffers_small, 0);
    ck_assert_int_ge(option_of(receiver.fd, SOL_SOCKET, SO_RCVBUF), (int)most);
    open.receive_buffer = (uint32_t)most * 4;
    ck_assert_int_eq(io_udp_open(&sender, &open, &mem, &stats, NULL), 0);
    ck_assert_uint_eq(stats.socket_buffers_small, 1);
    open.receive_buffer = UINT32_MAX;
    io_udp_close(&sender);
    ck_assert_int_eq(io_udp_open(&sender, &open, &mem, &stats, NULL), 0);
    ck_assert_uint_eq(stats.socket_buffers_small, 2);
}
END_TEST

START_TEST(test_route)
{
    struct quic_addr remote, local;
    ck_assert(io_addr_parse("127.0.0.1", 443, &remote));
    ck_assert_int_eq(io_udp_route(&remote, &local), 0);
    ck_assert(quic_addr_same_ip(&remote, &local));
    ck_assert_uint_eq(local.port, 0);
    ck_assert(io_addr_parse("::1", 443, &remote));
    ck_assert_int_eq(io_udp_route(&remote, &local), 0);
    ck_assert(quic_addr_same_ip(&remote, &local));
    remote.family = 0;
    ck_assert_int_eq(io_udp_route(&remote, &local), ERR_ADDRESS);
    ck_assert(io_addr_parse("255.255.255.255", 443, &remote)); /* broadcast: not without asking for it */
    ck_assert_int_eq(io_udp_route(&remote, &local), ERR_ADDRESS);
    ck_assert(io_addr_parse("::1", 443, &remote));
    faults.socket_family = AF_INET6;
    faults.socket_error = EAFNOSUPPORT;
    ck_assert_int_eq(io_udp_route(&remote, &local), ERR_ADDRESS);
    faults.socket_error = EMFILE;
    ck_assert_int_eq(io_udp_route(&remote, &local), ERR_IO);
}
END_TEST

START_TEST(test_payload_size)
{
    struct quic_addr remote;
    ck_assert(io_addr_parse("127.0.0.1", 443, &remote));
    uint32_t four = io_udp_payload_size(&remote);
    ck_assert_uint_gt(four, 1452); /* the loopback interface takes much */
    ck_assert(io_addr_parse("::1", 443, &remote));
    ck_assert_uint_eq(io_udp_payload_size(&remote) + 20 - four <= 1,
                      1); /* the same interface; IPv4 sees 65535 of its 65536 */
    faults.socket_family = AF_INET6;
    faults.socket_error = EMFILE;
    ck_assert_uint_eq(io_udp_payload_size(&remote), 0);
    ck_assert(io_addr_parse("255.255.255.255", 443, &remote));
    ck_assert_uint_eq(io_udp_payload_size(&remote), 0);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("io/udp_open");
    TCase *tc = tcase(suite, "open");
    tcase_add_test(tc, test_options);
    tcase_add_loop_test(tc, test_refused_option, 0, sizeof refusals / sizeof refusals[0]);
    tcase_add_test(tc, test_no_v6_at_all);
    tcase_add_test(tc, test_port_in_use);
    tcase_add_test(tc, test_reuse_port);
    tcase_add_test(tc, test_small_buffers_are_counted);
    tcase_add_test(tc, test_route);
    tcase_add_test(tc, test_payload_size);
    return suite;
}
