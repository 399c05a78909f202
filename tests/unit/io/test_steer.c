/* Tests of steer.c: of sockets that share a port, the one that a connection ID names gets the datagram, whatever port
 * it comes from; where no ID of ours can be, the system's hash decides. */
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "io/addr.h"
#include "io/udp.h"
#include "unit.h"

#define SOCKETS 4u
#define PORTS 24u /* a hash would send all of them to one socket with probability 4^-23 */

static struct base_mem mem;
static struct engine_stats stats;
static struct io_udp sockets[SOCKETS];

static void open_all(bool steer, uint8_t at) {
    struct io_udp_open open = {
        .local = {.family = 4, .ip = {127, 0, 0, 1}}, .reuse_port = true, .steer = steer, .steer_at = at};
    base_mem_init(&mem, 0);
    for (unsigned i = 0; i < SOCKETS; i++) {
        struct crypto_error why = {{0}};
        ck_assert_msg(io_udp_open(&sockets[i], &open, &mem, &stats, &why) == 0, "%s", why.text);
        open.local.port = sockets[0].socket.local.port;
    }
}

static void close_all(void) {
    for (unsigned i = 0; i < SOCKETS; i++)
        io_udp_close(&sockets[i]);
}

static void setup(void) { open_all(true, 0); }

/* Sends it from so many ports; how many each socket got, in all. */
static void spread(const uint8_t *packet, size_t len, unsigned got[SOCKETS]) {
    struct sockaddr_storage to;
    socklen_t to_len = io_addr_to_sockaddr(&sockets[0].socket.local, &to);
    memset(got, 0, SOCKETS * sizeof *got);
    for (unsigned i = 0; i < PORTS; i++) {
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(sendto(fd, packet, len, 0, (struct sockaddr *)&to, to_len), (ssize_t)len);
        struct pollfd fds[SOCKETS];
        for (unsigned k = 0; k < SOCKETS; k++)
            fds[k] = (struct pollfd){.fd = sockets[k].fd, .events = POLLIN};
        ck_assert_int_eq(poll(fds, SOCKETS, -1), 1);
        for (unsigned k = 0; k < SOCKETS; k++) {
            uint8_t bytes[64];
            if (fds[k].revents)
                got[k] += recv(fds[k].fd, bytes, sizeof bytes, 0) == (ssize_t)len;
        }
        close(fd);
    }
}

static void expect_at(const uint8_t *packet, size_t len, unsigned socket) {
    unsigned got[SOCKETS];
    spread(packet, len, got);
    for (unsigned k = 0; k < SOCKETS; k++)
        ck_assert_uint_eq(got[k], k == socket ? PORTS : 0);
}

static void expect_spread(const uint8_t *packet, size_t len) {
    unsigned got[SOCKETS];
    spread(packet, len, got);
    for (unsigned k = 0; k < SOCKETS; k++)
        ck_assert_uint_lt(got[k], PORTS);
}

START_TEST(short_headers)
{
    for (uint8_t k = 0; k < SOCKETS; k++) {
        uint8_t packet[40] = {0x40, k, 9, 9, 9};
        expect_at(packet, sizeof packet, k);
    }
}
END_TEST

START_TEST(handshake_packets_of_both_versions)
{
    for (uint8_t k = 0; k < SOCKETS; k++) {
        uint8_t first[40] = {0xe0, 0, 0, 0, 1, 8, k}, second[40] = {0xf0, 0x6b, 0x33, 0x43, 0xcf, 8, k};
        expect_at(first, sizeof first, k);
        expect_at(second, sizeof second, k);
    }
}
END_TEST

START_TEST(ids_that_a_client_made_up)
{
    const uint8_t initial_1[40] = {0xc0, 0, 0, 0, 1, 8, 2}, initial_2[40] = {0xd0, 0x6b, 0x33, 0x43, 0xcf, 8, 2};
    const uint8_t early_1[40] = {0xd0, 0, 0, 0, 1, 8, 2}, early_2[40] = {0xe0, 0x6b, 0x33, 0x43, 0xcf, 8, 2};
    const uint8_t unknown[40] = {0xe0, 0, 0, 0, 7, 8, 2}, retry_2[40] = {0xc0, 0x6b, 0x33, 0x43, 0xcf, 8, 2};
    expect_spread(initial_1, sizeof initial_1);
    expect_spread(initial_2, sizeof initial_2);
    expect_spread(early_1, sizeof early_1);
    expect_spread(early_2, sizeof early_2);
    expect_spread(unknown, sizeof unknown);
    expect_spread(retry_2, sizeof retry_2);
}
END_TEST

START_TEST(numbers_without_a_socket)
{
    const uint8_t packet[40] = {0x40, 200};
    expect_spread(packet, sizeof packet);
}
END_TEST

START_TEST(datagrams_too_short_to_say)
{
    const uint8_t one[1] = {0x40}, six[6] = {0xe0, 0, 0, 0, 1, 8};
    expect_at(one, sizeof one, 0);
    expect_at(six, sizeof six, 0);
}
END_TEST

/* Behind a load balancer that reads IDs in the clear: the last byte of a server ID of three. */
START_TEST(a_later_byte_of_the_id)
{
    close_all();
    open_all(true, 3);
    for (uint8_t k = 0; k < SOCKETS; k++) {
        uint8_t packet[40] = {0x40, 99, 1, 1, k}, handshake[40] = {0xe0, 0, 0, 0, 1, 8, 99, 1, 1, k};
        expect_at(packet, sizeof packet, k);
        expect_at(handshake, sizeof handshake, k);
    }
}
END_TEST

static bool reopen(unsigned i, uint16_t port) {
    struct io_udp_open open = {
        .local = {.family = 4, .ip = {127, 0, 0, 1}, .port = port}, .reuse_port = true, .steer = true};
    struct crypto_error why = {{0}};
    return io_udp_open(&sockets[i], &open, &mem, &stats, &why) == 0;
}

/* What weft.h warns of: the last socket takes the place of one that closes; all anew, in order, are right again. */
START_TEST(one_that_closes_moves_another)
{
    const uint8_t second[40] = {0x40, 1, 9, 9, 9}, last[40] = {0x40, SOCKETS - 1, 9, 9, 9};
    uint16_t port = sockets[0].socket.local.port;
    io_udp_close(&sockets[1]);
    ck_assert(reopen(1, port));
    expect_at(second, sizeof second, SOCKETS - 1);
    expect_at(last, sizeof last, 1);
    close_all();
    for (unsigned i = 0; i < SOCKETS; i++)
        ck_assert(reopen(i, port));
    expect_at(second, sizeof second, 1);
    expect_at(last, sizeof last, SOCKETS - 1);
}
END_TEST

START_TEST(without_it_the_hash_decides)
{
    const uint8_t packet[40] = {0x40, 1};
    close_all();
    open_all(false, 0);
    expect_spread(packet, sizeof packet);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("io/steer");
    TCase *all = tcase_create("steer");
    tcase_add_checked_fixture(all, setup, close_all);
    tcase_set_timeout(all, 0);
    tcase_add_test(all, short_headers);
    tcase_add_test(all, one_that_closes_moves_another);
    tcase_add_test(all, handshake_packets_of_both_versions);
    tcase_add_test(all, ids_that_a_client_made_up);
    tcase_add_test(all, numbers_without_a_socket);
    tcase_add_test(all, datagrams_too_short_to_say);
    tcase_add_test(all, a_later_byte_of_the_id);
    tcase_add_test(all, without_it_the_hash_decides);
    suite_add_tcase(suite, all);
    return suite;
}
