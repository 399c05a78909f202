/* loop_kit.h - a loop driven in each of the ways there are, a server on it, a peer with a plain socket; and system
 * calls that can be told to fail.
 *
 * A header alone: what stands between weft and the system is only in programs that include it.
 */
#ifndef LOOP_KIT_H
#define LOOP_KIT_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "io/addr.h"
#include "io/loop_impl.h"
#include "quic/conn.h"
#include "tables/errors.h"
#include "unit.h"

/* ---- system calls that can be told to fail ---- */

static struct {
    unsigned send_fail; /* sends that find the buffer full */
    bool no_timerfd, no_epoll;
    unsigned timer_sets;
    unsigned single_receives; /* of one message, not of many */
} faults;

ssize_t sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t recvmsg(int fd, struct msghdr *message, int flags);
int timerfd_create(clockid_t id, int flags);
int timerfd_settime(int fd, int flags, const struct itimerspec *value, struct itimerspec *old);
__attribute__((visibility("default"))) int epoll_create1(int flags); /* libuv is to see this one */

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    if (faults.send_fail) {
        faults.send_fail--;
        errno = EAGAIN;
        return -1;
    }
    return (ssize_t)syscall(SYS_sendmsg, fd, message, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    faults.single_receives++;
    return (ssize_t)syscall(SYS_recvmsg, fd, message, flags);
}

int timerfd_create(clockid_t id, int flags) {
    if (faults.no_timerfd) {
        errno = ENOSYS;
        return -1;
    }
    return (int)syscall(SYS_timerfd_create, id, flags);
}

int timerfd_settime(int fd, int flags, const struct itimerspec *value, struct itimerspec *old) {
    faults.timer_sets++;
    return (int)syscall(SYS_timerfd_settime, fd, flags, value, old);
}

int epoll_create1(int flags) {
    if (faults.no_epoll) {
        errno = EMFILE;
        return -1;
    }
    return (int)syscall(SYS_epoll_create1, flags);
}

/* ---- an engine and a peer ---- */

enum driver { OWN, GIVEN, BY_FD, EXTERNAL, DRIVERS };

static struct base_mem mem;
static struct io_loop loop;
static uv_loop_t given;
static enum driver driver;
static struct io_socket *server;
static struct quic_listener listener;
static struct quic_config config;
static int peer;
static bool closed;
static void (*on_dispatch)(void);
static unsigned dispatches;
static base_time offset; /* added to the clock */
static void (*on_clock)(void);

static inline base_time test_clock(void *user) {
    ck_assert_ptr_eq(user, &offset);
    struct timespec t;
    if (on_clock)
        on_clock();
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (base_time)t.tv_sec * BASE_SEC + (base_time)t.tv_nsec + offset;
}

static inline void dispatch(void *user) {
    ck_assert_ptr_eq(user, &loop);
    dispatches++;
    if (on_dispatch)
        on_dispatch();
}

static inline void open_loop(enum driver how) {
    driver = how;
    base_mem_init(&mem, 0);
    struct io_loop_open open = {.mem = &mem,
                                .external = how == EXTERNAL,
                                .clock = test_clock,
                                .clock_user = &offset,
                                .features = IO_UDP_ALL,
                                .dispatch = dispatch,
                                .user = &loop};
    if (how == GIVEN) {
        ck_assert_int_eq(uv_loop_init(&given), 0);
        open.uv = &given;
    }
    struct crypto_error why;
    ck_assert_int_eq(io_loop_init(&loop, &open, &why), 0);
    closed = false;
    dispatches = 0;
    offset = 0;
    on_dispatch = NULL;
    on_clock = NULL;
    server = NULL;
}

static inline void open_server(void) {
    struct io_udp_open open = {.features = IO_UDP_ALL};
    ck_assert(io_addr_parse("127.0.0.1", driver == EXTERNAL ? 443 : 0, &open.local));
    struct crypto_error why;
    ck_assert_int_eq(io_loop_open_socket(&loop, &open, &server, &why), 0);
    options_init(&config.options);
    listener = (struct quic_listener){.config = &config};
    io_socket_core(server)->listener = &listener;
    peer = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_storage to;
    socklen_t len = io_addr_to_sockaddr(&io_socket_core(server)->local, &to);
    ck_assert(peer >= 0 && connect(peer, (const struct sockaddr *)&to, len) == 0);
}

static inline void on_closed(void *user) {
    ck_assert_ptr_eq(user, &closed);
    closed = true;
}

static inline void close_loop(void) {
    if (server)
        close(peer);
    int timer_fd = loop.timer_fd;
    io_loop_close(&loop, on_closed, &closed);
    ck_assert(timer_fd < 0 || (fcntl(timer_fd, F_GETFD) < 0 && errno == EBADF));
    if (driver == GIVEN) {
        ck_assert(!closed);
        uv_run(&given, UV_RUN_DEFAULT);
        ck_assert_int_eq(uv_loop_close(&given), 0);
    }
    ck_assert(closed);
    ck_assert_uint_eq(mem.used, 0);
}

/* A datagram that asks for Version Negotiation. */
static inline const uint8_t *question(void) {
    static uint8_t bytes[1200];
    static const uint8_t head[] = {0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 4, 9, 9, 9, 9};
    memcpy(bytes, head, sizeof head);
    return bytes;
}

static inline void ask(unsigned times) {
    while (times--)
        ck_assert_int_eq(send(peer, question(), 1200, 0), 1200);
}

static inline bool is_answer(const uint8_t *bytes, size_t len) {
    static const uint8_t head[] = {0, 0, 0, 0, 4, 9, 9, 9, 9, 8, 1, 2, 3, 4, 5, 6, 7, 8};
    return len > 1 + sizeof head && (bytes[0] & 0x80) && memcmp(bytes + 1, head, sizeof head) == 0;
}

/* Answers that have arrived so far; the first may still be on its way. */
static inline unsigned answers(void) {
    unsigned count = 0;
    uint8_t bytes[1500];
    struct pollfd waiting = {.fd = peer, .events = POLLIN};
    while (poll(&waiting, 1, count ? 0 : 100) == 1) {
        ssize_t len = recv(peer, bytes, sizeof bytes, 0);
        ck_assert(len > 0 && is_answer(bytes, (size_t)len));
        count++;
    }
    return count;
}

static inline void stop(void) {
    if (driver == GIVEN)
        uv_stop(&given);
    else
        io_loop_stop(&loop);
}

static bool enough;

/* Drives the loop until dispatch has set `enough` and that turn is over. */
static inline void drive(void) {
    enough = false;
    while (!enough) {
        if (driver == OWN)
            ck_assert_int_eq(io_loop_run(&loop), 0);
        if (driver == GIVEN)
            uv_run(&given, UV_RUN_DEFAULT);
        if (driver == BY_FD) {
            base_time wait = io_loop_deadline(&loop);
            struct pollfd waiting = {.fd = io_loop_fd(&loop), .events = POLLIN};
            ck_assert_int_ge(poll(&waiting, 1, wait == BASE_NEVER ? -1 : (int)((wait + BASE_MS - 1) / BASE_MS)), 0);
        }
        if (driver == BY_FD || driver == EXTERNAL)
            io_loop_turn(&loop);
    }
}

static inline TCase *tcase(Suite *suite, const char *name) {
    TCase *tc = tcase_create(name);
    suite_add_tcase(suite, tc);
    return tc;
}

#endif
