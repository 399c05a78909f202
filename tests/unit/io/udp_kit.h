/* udp_kit.h - two UDP sockets on the loopback interface, and what stands between them and the system.
 *
 * What a kernel refuses cannot be asked for on a kernel that does not refuse it, so a program that includes this stands
 * between the code and five system calls: `faults` says which call fails next, and how; all others go through. A header
 * alone, for the calls are to be replaced in no other program.
 */
#ifndef UDP_KIT_H
#define UDP_KIT_H

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
    size_t control; /* bytes of control messages with the last sendmsg */
} faults;

ssize_t sendmsg(int fd, const struct msghdr *message, int flags);
int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags);
int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout);
int setsockopt(int fd, int level, int option, const void *value, socklen_t len);
int getsockopt(int fd, int level, int option, void *restrict value, socklen_t *restrict len);
int socket(int family, int type, int protocol);

static inline bool send_fails(bool segments) {
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

static inline bool has_segment(const struct msghdr *message) {
    struct msghdr copy = *message;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&copy); c; c = CMSG_NXTHDR(&copy, c))
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_SEGMENT)
            return true;
    return false;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    faults.whole_calls++;
    faults.control = message->msg_controllen;
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

static inline bool option_fails(int level, int option) {
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

static inline void sink(void *user, const struct quic_datagram *datagrams, size_t count) {
    ck_assert_ptr_eq(user, &receiver);
    ck_assert_uint_le(count, 64);
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_lt(got_count, MOST);
        base_buf_ref(datagrams[i].buf);
        got[got_count++] = datagrams[i];
    }
}

static inline void open_one(struct io_udp *udp, const char *text, uint32_t features, bool v6_only) {
    struct io_udp_open open = {
        .features = features, .receive_buffer = 4 << 20, .send_buffer = 1 << 20, .v6_only = v6_only};
    ck_assert(io_addr_parse(text, 0, &open.local));
    struct crypto_error why = {{0}};
    ck_assert_msg(io_udp_open(udp, &open, &mem, &stats, &why) == 0, "%s", why.text);
}

static inline void setup(void) {
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

static inline void let_go(void) {
    while (got_count)
        base_buf_unref(got[--got_count].buf);
}

static inline void teardown(void) {
    let_go();
    io_udp_close(&sender);
    io_udp_close(&receiver);
    base_bufpool_clear(&bufs);
    ck_assert_uint_eq(mem.used, 0);
}

static inline struct quic_train train_to(const struct io_udp *udp, const char *ip, size_t len, uint32_t segment) {
    struct quic_train train = {.data = bytes, .len = len, .segment = segment, .ecn = QUIC_ECT0};
    train.count = (uint32_t)((len + segment - 1) / segment);
    ck_assert(io_addr_parse(ip, udp->socket.local.port, &train.remote));
    return train;
}

/* Receives until `count` datagrams are there. The minute is only for the day when they do not come. */
static inline void receive(unsigned count) {
    while (got_count < count) {
        struct pollfd waiting = {.fd = receiver.fd, .events = POLLIN};
        ck_assert_msg(poll(&waiting, 1, 60000) == 1, "%u datagrams of %u", got_count, count);
        bool more;
        io_udp_receive(&receiver, &bufs, MOST, &more, sink, &receiver);
    }
    ck_assert_uint_eq(got_count, count);
}

/* That what arrived is the train, datagram by datagram and byte by byte. */
static inline void check_train(const struct quic_train *train) {
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

static inline TCase *tcase(Suite *suite, const char *name) {
    TCase *tc = tcase_create(name);
    tcase_add_checked_fixture(tc, setup, teardown);
    suite_add_tcase(suite, tc);
    return tc;
}

#endif
