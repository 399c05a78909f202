/* test_udp.c - UDP sockets over the loopback interface: every feature, every fallback, every kind of error.
 *
 * What a kernel refuses cannot be asked for on a kernel that does not refuse it, so this program stands between the
 * code and five system calls: `faults` says which call fails next, and how; all others go through.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "io/addr.h"
#include "io/udp.h"
#include "tables/errors.h"
#include "unit.h"

/* ---- system calls that can be told to fail ---- */

static struct {
    int send_error;                         /* of sendmsg and sendmmsg */
    unsigned send_skip;                     /* calls that go through before */
    unsigned send_fail;                     /* calls that fail then */
    bool segment_only;                      /* only calls with UDP_SEGMENT count */
    unsigned most;                          /* sendmmsg takes at most so many, 0 = all */
    int option_error, option_level, option; /* setsockopt and getsockopt of this option */
    int receive_error;                      /* of recvmmsg */
    unsigned receive_fail;
    int socket_error, socket_family;
    unsigned whole_calls, each_calls, receive_calls;
} faults;

ssize_t sendmsg(int fd, const struct msghdr *message, int flags);
int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags);
int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout);
int setsockopt(int fd, int level, int option, const void *value, socklen_t len);
int getsockopt(int fd, int level, int option, void *restrict value, socklen_t *restrict len);
int socket(int family, int type, int protocol);

static bool send_fails(bool segments) {
    if (faults.segment_only && !segments)
        return false;
    if (faults.send_skip) {
        faults.send_skip--;
        return false;
    }
    if (!faults.send_fail)
        return false;
    faults.send_fail--;
    errno = faults.send_error;
    return true;
}

static bool has_segment(const struct msghdr *message) {
    struct msghdr copy = *message;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&copy); c; c = CMSG_NXTHDR(&copy, c))
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_SEGMENT)
            return true;
    return false;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    faults.whole_calls++;
    return send_fails(has_segment(message)) ? -1 : (ssize_t)syscall(SYS_sendmsg, fd, message, flags);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
    faults.each_calls++;
    if (send_fails(false))
        return -1;
    return (int)syscall(SYS_sendmmsg, fd, messages, faults.most && count > faults.most ? faults.most : count, flags);
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout) {
    faults.receive_calls++;
    if (faults.receive_fail) {
        faults.receive_fail--;
        errno = faults.receive_error;
        return -1;
    }
    return (int)syscall(SYS_recvmmsg, fd, messages, count, flags, timeout);
}

static bool option_fails(int level, int option) {
    if (!faults.option_error || level != faults.option_level || option != faults.option)
        return false;
    errno = faults.option_error;
    return true;
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t len) {
    return option_fails(level, option) ? -1 : (int)syscall(SYS_setsockopt, fd, level, option, value, len);
}

int getsockopt(int fd, int level, int option, void *restrict value, socklen_t *restrict len) {
    return option_fails(level, option) ? -1 : (int)syscall(SYS_getsockopt, fd, level, option, value, len);
}

int socket(int family, int type, int protocol) {
    if (faults.socket_error && family == faults.socket_family) {
        errno = faults.socket_error;
        return -1;
    }
    return (int)syscall(SYS_socket, family, type, protocol);
}

/* ---- two sockets ---- */

#define MOST 256

static struct base_mem mem;
static struct base_bufpool bufs;
static struct engine_stats stats;
static struct io_udp sender, receiver;
static struct quic_datagram got[MOST]; /* a reference to each buffer is held */
static unsigned got_count;
static uint8_t bytes[QUIC_TRAIN_SIZE];

static void sink(void *user, const struct quic_datagram *datagrams, size_t count) {
    ck_assert_ptr_eq(user, &receiver);
    ck_assert_uint_le(count, 64);
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_lt(got_count, MOST);
        base_buf_ref(datagrams[i].buf);
        got[got_count++] = datagrams[i];
    }
}

static void open_one(struct io_udp *udp, const char *text, uint32_t features, bool v6_only) {
    struct io_udp_open open = {
        .features = features, .receive_buffer = 4 << 20, .send_buffer = 1 << 20, .v6_only = v6_only};
    ck_assert(io_addr_parse(text, 0, &open.local));
    struct crypto_error why = {{0}};
    ck_assert_msg(io_udp_open(udp, &open, &mem, &stats, &why) == 0, "%s", why.text);
}

static void setup(void) {
    base_mem_init(&mem, 0);
    base_bufpool_init(&bufs, &mem, IO_UDP_BATCH, 0);
    memset(&stats, 0, sizeof stats);
    memset(&faults, 0, sizeof faults);
    got_count = 0;
    sender.fd = receiver.fd = -1;
    sender.mem = receiver.mem = &mem;
    sender.pending = receiver.pending = NULL;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 31 + (i >> 8));
}

static void let_go(void) {
    while (got_count)
        base_buf_unref(got[--got_count].buf);
}

static void teardown(void) {
    let_go();
    io_udp_close(&sender);
    io_udp_close(&receiver);
    base_bufpool_clear(&bufs);
    ck_assert_uint_eq(mem.used, 0);
}

static struct quic_train train_to(const struct io_udp *udp, const char *ip, size_t len, uint32_t segment) {
    struct quic_train train = {.data = bytes, .len = len, .segment = segment, .ecn = QUIC_ECT0};
    train.count = (uint32_t)((len + segment - 1) / segment);
    ck_assert(io_addr_parse(ip, udp->socket.local.port, &train.remote));
    return train;
}

/* Receives until `count` datagrams are there. The minute is only for the day when they do not come. */
static void receive(unsigned count) {
    while (got_count < count) {
        struct pollfd waiting = {.fd = receiver.fd, .events = POLLIN};
        ck_assert_msg(poll(&waiting, 1, 60000) == 1, "%u datagrams of %u", got_count, count);
        bool more;
        io_udp_receive(&receiver, &bufs, MOST, &more, sink, &receiver);
    }
    ck_assert_uint_eq(got_count, count);
}

/* That what arrived is the train, datagram by datagram and byte by byte. */
static void check_train(const struct quic_train *train) {
    size_t at = 0;
    for (unsigned i = 0; i < got_count; i++) {
        size_t len = train->len - at < train->segment ? train->len - at : train->segment;
        ck_assert_uint_eq(got[i].len, len);
        ck_assert_mem_eq(got[i].data, bytes + at, len);
        ck_assert_ptr_eq(got[i].socket, &receiver.socket);
        at += len;
    }
    ck_assert_uint_eq(at, train->len);
}

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

static TCase *tcase(Suite *suite, const char *name) {
    TCase *tc = tcase_create(name);
    tcase_add_checked_fixture(tc, setup, teardown);
    suite_add_tcase(suite, tc);
    return tc;
}

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
    tcase_add_test(tc, test_recvmmsg_missing);
    tcase_add_loop_test(tc, test_receive_errors, 0, 2);
    tcase_add_test(tc, test_empty_datagram_is_skipped);
    tc = tcase(suite, "send");
    tcase_add_loop_test(tc, test_gso_refused, 0, 3);
    tcase_add_test(tc, test_gso_refused_by_the_kernel);
    tcase_add_loop_test(tc, test_blocked, 0, 4);
    tcase_add_test(tc, test_blocked_in_the_middle);
    tcase_add_test(tc, test_blocked_without_memory);
    tcase_add_test(tc, test_close_while_blocked);
    tcase_add_loop_test(tc, test_loss, 0, 8);
    tcase_add_test(tc, test_loss_in_the_middle);
    tcase_add_loop_test(tc, test_interrupted, 0, 2);
    tcase_add_test(tc, test_real_losses);
    tc = tcase(suite, "open");
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
