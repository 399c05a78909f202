/* test_loop.c - turns, in each of the four ways to drive them, over real sockets.
 *
 * What goes through the core here is the shortest conversation there is: a datagram of an unknown QUIC version,
 * answered by Version Negotiation. It needs no connection and no TLS, and its way is the way of everything: socket,
 * endpoint, dispatch, endpoint, socket. System calls that are to fail are stood in for, as in test_udp.c.
 */
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
} faults;

ssize_t sendmsg(int fd, const struct msghdr *message, int flags);
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

static base_time test_clock(void *user) {
    ck_assert_ptr_eq(user, &offset);
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (base_time)t.tv_sec * BASE_SEC + (base_time)t.tv_nsec + offset;
}

static void dispatch(void *user) {
    ck_assert_ptr_eq(user, &loop);
    dispatches++;
    if (on_dispatch)
        on_dispatch();
}

static void open_loop(enum driver how) {
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
    server = NULL;
}

static void open_server(void) {
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

static void on_closed(void *user) {
    ck_assert_ptr_eq(user, &closed);
    closed = true;
}

static void close_loop(void) {
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
static const uint8_t *question(void) {
    static uint8_t bytes[1200];
    static const uint8_t head[] = {0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 4, 9, 9, 9, 9};
    memcpy(bytes, head, sizeof head);
    return bytes;
}

static void ask(unsigned times) {
    while (times--)
        ck_assert_int_eq(send(peer, question(), 1200, 0), 1200);
}

static bool is_answer(const uint8_t *bytes, size_t len) {
    static const uint8_t head[] = {0, 0, 0, 0, 4, 9, 9, 9, 9, 8, 1, 2, 3, 4, 5, 6, 7, 8};
    return len > 1 + sizeof head && (bytes[0] & 0x80) && memcmp(bytes + 1, head, sizeof head) == 0;
}

/* Answers that have arrived so far; the first may still be on its way. */
static unsigned answers(void) {
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

static void stop(void) {
    if (driver == GIVEN)
        uv_stop(&given);
    else
        io_loop_stop(&loop);
}

static bool enough;

/* Drives the loop until dispatch has set `enough` and that turn is over. */
static void drive(void) {
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

/* ---- the turn ---- */

/* In dispatch, what was received has been processed and what it caused has not been sent. */
static void stop_at_reply(void) {
    if (loop.endpoint.reply_count == 0)
        return;
    ck_assert(loop.in_turn);
    enough = true;
    stop();
}

START_TEST(test_answer)
{
    open_loop((enum driver)_i);
    open_server();
    on_dispatch = stop_at_reply;
    ask(1);
    drive();
    ck_assert_uint_eq(loop.endpoint.reply_count, 0);
    ck_assert_uint_eq(answers(), 1);
    ck_assert_uint_ge(loop.endpoint.stats.turns, 1);
    ask(2); /* and again */
    drive();
    close_loop();
}
END_TEST

static int put_in(struct quic_socket *socket, const uint8_t *data, size_t len, size_t segment,
                  const struct quic_addr *remote) {
    const struct quic_datagram train = {
        .data = (uint8_t *)(uintptr_t)data, .len = len, .socket = socket, .local = socket->local, .remote = *remote};
    return io_loop_input(&loop, &train, segment);
}

START_TEST(test_external)
{
    open_loop(EXTERNAL);
    open_server();
    ck_assert_int_eq(io_loop_fd(&loop), -1);
    io_loop_turn(&loop);
    ck_assert_uint_eq(io_loop_deadline(&loop), BASE_NEVER);
    ck_assert_int_eq(io_loop_turn(&loop), 0);
    struct quic_socket *core = io_socket_core(server);
    struct quic_addr remote;
    ck_assert(io_addr_parse("192.0.2.1:1234", 0, &remote));
    static uint8_t questions[40 * 1200];
    for (int i = 0; i < 40; i++)
        memcpy(questions + 1200 * i, question(), 1200);
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(put_in(core, question(), 1200, 1200, &remote), 0);
    ck_assert_int_eq(put_in(core, questions, sizeof questions, 1200, &remote), 0); /* another buffer: 60 in all */
    ck_assert_uint_eq(io_loop_deadline(&loop), 0);
    ck_assert_int_eq(io_loop_turn(&loop), 1);
    static uint8_t data[QUIC_TRAIN_SIZE];
    struct quic_train train = {.data = data, .max_segments = 1};
    for (int i = 0; i < 60; i++) {
        ck_assert(io_loop_output(&loop, &train));
        ck_assert(is_answer(data, train.len));
        ck_assert_ptr_eq(train.socket, core);
        ck_assert(quic_addr_equal(&train.remote, &remote));
    }
    ck_assert(!io_loop_output(&loop, &train));
    ck_assert_uint_eq(io_loop_deadline(&loop), BASE_NEVER);
    ck_assert_uint_eq(loop.bufs.live_count, 0);
    static uint8_t large[BASE_BUF_SIZE + 1];
    ck_assert_int_eq(put_in(core, large, sizeof large, sizeof large, &remote), ERR_TOO_LARGE);
    ck_assert_int_eq(put_in(core, large, 0, 0, &remote), 0);
    loop.bufs.limit = 1;
    struct base_buf *last = base_buf_get(&loop.bufs);
    ck_assert_int_eq(put_in(core, large, 1, 1, &remote), ERR_NOMEM);
    ck_assert_uint_eq(loop.endpoint.stats.datagrams_refused, 1);
    base_buf_unref(last);
    close_loop();
}
END_TEST

/* The external way is for external loops only. */
START_TEST(test_no_input_beside_sockets)
{
    open_loop(OWN);
    open_server();
    struct quic_socket *core = io_socket_core(server);
    ck_assert_int_eq(put_in(core, question(), 1200, 1200, &core->local), ERR_STATE);
    close_loop();
}
END_TEST

/* A caller who watches the descriptor is told when there is nothing to do, and only then sleeps. */
START_TEST(test_fd_tells_all)
{
    open_loop(BY_FD);
    open_server();
    for (int i = 0; i < 10 && io_loop_deadline(&loop) == 0; i++)
        io_loop_turn(&loop);
    ck_assert_uint_eq(io_loop_deadline(&loop), BASE_NEVER);
    ck_assert_int_eq(io_loop_turn(&loop), 0);
    ask(1);
    struct pollfd waiting = {.fd = io_loop_fd(&loop), .events = POLLIN};
    ck_assert_int_eq(poll(&waiting, 1, 60000), 1);
    ck_assert_int_eq(io_loop_turn(&loop), 1);
    ck_assert_uint_eq(answers(), 1);
    close_loop();
}
END_TEST

static void try_to_reenter(void) {
    ck_assert_int_eq(io_loop_turn(&loop), 0);
    ck_assert_int_eq(io_loop_run(&loop), ERR_STATE);
    struct quic_socket *core = io_socket_core(server);
    ck_assert_int_eq(put_in(core, question(), 1200, 1200, &core->local), ERR_STATE);
    static uint8_t data[QUIC_TRAIN_SIZE];
    struct quic_train train = {.data = data, .max_segments = 1};
    ck_assert(!io_loop_output(&loop, &train));
    io_loop_touch(&loop);
    stop_at_reply();
}

START_TEST(test_no_reentry)
{
    open_loop((enum driver)_i);
    open_server();
    on_dispatch = try_to_reenter;
    if (driver == EXTERNAL) {
        struct quic_socket *core = io_socket_core(server);
        ck_assert_int_eq(put_in(core, question(), 1200, 1200, &core->local), 0);
    } else {
        ask(1);
    }
    drive();
    close_loop();
}
END_TEST

static unsigned most_a_turn;
static uint64_t seen;

static void count_datagrams(void) {
    uint64_t now = loop.endpoint.stats.datagrams_unknown;
    if (now - seen > most_a_turn)
        most_a_turn = (unsigned)(now - seen);
    seen = now;
    if (seen == 600) {
        enough = true;
        stop();
    }
}

/* A flood is taken in portions; between them the application has its turn; nothing is left lying. */
START_TEST(test_budget)
{
    open_loop((enum driver)_i);
    open_server();
    uint8_t stranger[30] = {0x40};
    for (int i = 0; i < 600; i++)
        ck_assert_int_eq(send(peer, stranger, sizeof stranger, 0), sizeof stranger);
    on_dispatch = count_datagrams;
    most_a_turn = 0;
    seen = 0;
    drive();
    ck_assert_uint_lt(most_a_turn, 256 + IO_UDP_BATCH);
    ck_assert_uint_ge(dispatches, 3);
    close_loop();
}
END_TEST

static unsigned asked, blocked_turns;

/* Keeps asking while the socket is blocked: answers pile up in the endpoint, not in a second train. */
static void ask_while_blocked(void) {
    if (loop.blocked && asked < 20) {
        ck_assert_uint_eq(loop.endpoint.stats.send_blocked, 1);
        ck_assert_uint_eq(loop.blocked, 1);
        /* this socket says that it is writable, and is not: believed once, then only looked at now and then */
        ck_assert(blocked_turns > 0 || server->watched == (UV_READABLE | UV_WRITABLE));
        ck_assert(blocked_turns < 2 || server->watched == UV_READABLE);
        blocked_turns++;
        ask(1);
        asked++;
    } else if (!loop.blocked && loop.endpoint.stats.version_negotiations_sent == 21) {
        enough = true;
        stop();
    }
}

START_TEST(test_blocked)
{
    open_loop((enum driver)_i);
    open_server();
    faults.send_fail = 21;
    asked = blocked_turns = 0;
    ask(1);
    on_dispatch = ask_while_blocked;
    drive();
    unsigned got = answers();
    for (int i = 0; i < 50 && got < 21; i++) {
        io_loop_touch(&loop);
        if (driver == GIVEN)
            uv_run(&given, UV_RUN_NOWAIT);
        else
            io_loop_turn(&loop);
        got += answers();
    }
    ck_assert_uint_eq(got, 21);
    ck_assert_uint_eq(blocked_turns, 20);
    ck_assert_uint_eq(loop.endpoint.stats.send_blocked, 1);
    ck_assert_int_eq(server->watched, UV_READABLE);
    close_loop();
}
END_TEST

static struct base_buf *last_buffer;
static unsigned starved_turns;

static void free_the_last_buffer(void) {
    if (loop.starved && last_buffer) {
        ck_assert_int_eq(server->watched, 0);
        ck_assert(!loop.due); /* it sleeps, and comes back each time */
        if (++starved_turns < 4)
            return;
        base_buf_unref(last_buffer);
        last_buffer = NULL;
    }
    stop_at_reply();
}

/* Without receive buffers the loop rests instead of spinning, and goes on by itself. */
START_TEST(test_starved)
{
    open_loop((enum driver)_i);
    open_server();
    loop.bufs.limit = 1;
    last_buffer = base_buf_get(&loop.bufs);
    starved_turns = 0;
    on_dispatch = free_the_last_buffer;
    ask(1);
    drive();
    ck_assert_ptr_null(last_buffer);
    ck_assert_uint_eq(answers(), 1);
    ck_assert_int_eq(server->watched, UV_READABLE);
    close_loop();
}
END_TEST

/* libuv stops watching a socket that reports an error; we do not. */
START_TEST(test_socket_error)
{
    open_loop(OWN);
    open_server();
    io_loop_turn(&loop);
    uv_poll_stop(&server->poll);
    server->poll.poll_cb(&server->poll, UV_EBADF, 0);
    io_loop_turn(&loop);
    ask(1);
    on_dispatch = stop_at_reply;
    drive();
    ck_assert_uint_eq(answers(), 1);
    close_loop();
}
END_TEST

/* ---- wake ---- */

static atomic_bool wanted;

static void *wake(void *unused) {
    (void)unused;
    atomic_store(&wanted, true);
    io_loop_wake(&loop);
    return NULL;
}

static void stop_when_wanted(void) {
    if (!atomic_load(&wanted))
        return;
    enough = true;
    stop();
}

START_TEST(test_wake)
{
    open_loop((enum driver)_i);
    open_server(); /* something to wait for */
    for (int i = 0; i < 3; i++) {
        atomic_store(&wanted, false);
        on_dispatch = stop_when_wanted;
        pthread_t thread;
        if (driver == EXTERNAL) {
            io_loop_turn(&loop);
            ck_assert_uint_eq(io_loop_deadline(&loop), BASE_NEVER);
        }
        ck_assert_int_eq(pthread_create(&thread, NULL, wake, NULL), 0);
        if (driver == EXTERNAL) {
            pthread_join(thread, NULL);
            ck_assert_uint_eq(io_loop_deadline(&loop), 0);
            drive();
            ck_assert_uint_eq(io_loop_deadline(&loop), BASE_NEVER);
        } else {
            drive();
            pthread_join(thread, NULL);
        }
    }
    close_loop();
}
END_TEST

START_TEST(test_stop_before_run)
{
    open_loop(OWN);
    open_server();
    io_loop_stop(&loop);
    ck_assert_int_eq(io_loop_run(&loop), 0);
    ck_assert_uint_eq(dispatches, 0);
    on_dispatch = stop;
    ck_assert_int_eq(io_loop_run(&loop), 0);
    ck_assert_uint_gt(dispatches, 0);
    close_loop();
}
END_TEST

START_TEST(test_run_is_for_own_loops)
{
    open_loop((enum driver)_i);
    ck_assert_int_eq(io_loop_run(&loop), ERR_STATE);
    close_loop();
}
END_TEST

/* ---- timers ---- */

static struct io_timer timers[4];
static unsigned order[8], fired;
static base_time due_at[4];

static void fire(struct io_timer *timer) {
    unsigned which = (unsigned)(timer - timers);
    ck_assert(loop.in_turn);
    ck_assert_uint_ge(io_loop_now(&loop), due_at[which]);
    order[fired++] = which;
    if (fired == 4) {
        enough = true;
        stop();
    }
}

static void set_timers(void) {
    static const base_time after[4] = {3 * BASE_MS, 0, 20 * BASE_US, 700 * BASE_US};
    base_time now = io_loop_now(&loop);
    fired = 0;
    for (unsigned i = 0; i < 4; i++) {
        ck_assert(io_timer_open(&loop, &timers[i], fire));
        due_at[i] = now + after[i];
        io_timer_set(&loop, &timers[i], due_at[i]);
    }
}

static void close_timers(void) {
    for (unsigned i = 0; i < 4; i++)
        io_timer_close(&loop, &timers[i]);
}

static void check_order(void) {
    static const unsigned expected[4] = {1, 2, 3, 0};
    ck_assert_uint_eq(fired, 4);
    ck_assert_int_eq(memcmp(order, expected, sizeof expected), 0);
}

START_TEST(test_timers)
{
    faults.no_timerfd = _i >= DRIVERS;
    open_loop((enum driver)(_i % DRIVERS));
    set_timers();
    drive();
    check_order();
    if (faults.no_timerfd)
        ck_assert_uint_eq(faults.timer_sets, 0);
    close_timers();
    close_loop();
}
END_TEST

/* A deadline that moves away costs no system call; near ones are polled for. */
START_TEST(test_timer_is_set_rarely)
{
    open_loop(BY_FD);
    ck_assert(io_timer_open(&loop, &timers[0], fire));
    base_time base = io_loop_now(&loop) + 3600 * BASE_SEC;
    for (unsigned i = 0; i < 100; i++) {
        io_timer_set(&loop, &timers[0], base + i * BASE_SEC);
        io_loop_turn(&loop);
    }
    ck_assert_uint_eq(faults.timer_sets, 1);
    io_timer_set(&loop, &timers[0], base - BASE_SEC);
    io_loop_turn(&loop);
    ck_assert_uint_eq(faults.timer_sets, 2);
    io_timer_close(&loop, &timers[0]);
    io_loop_turn(&loop);
    ck_assert_uint_eq(faults.timer_sets, 2);
    ck_assert_uint_eq(io_loop_deadline(&loop), BASE_NEVER);
    close_loop();
}
END_TEST

/* The caller's clock is the only one that counts. */
START_TEST(test_deadline_follows_clock)
{
    open_loop((enum driver)_i);
    io_loop_turn(&loop);
    io_loop_turn(&loop);
    ck_assert(io_timer_open(&loop, &timers[0], fire));
    fired = 0;
    due_at[0] = io_loop_now(&loop) + 1000 * BASE_SEC;
    io_timer_set(&loop, &timers[0], due_at[0]);
    io_loop_turn(&loop);
    base_time wait = io_loop_deadline(&loop);
    ck_assert(wait > 0 && wait <= 1000 * BASE_SEC);
    ck_assert_uint_eq(fired, 0);
    offset += 1000 * BASE_SEC;
    ck_assert_uint_eq(io_loop_deadline(&loop), 0);
    io_loop_turn(&loop);
    ck_assert_uint_eq(fired, 1);
    io_timer_close(&loop, &timers[0]);
    close_loop();
}
END_TEST

static void fire_again(struct io_timer *timer) {
    if (++fired < 5)
        io_timer_set(&loop, timer, 0);
}

START_TEST(test_timer_that_sets_itself)
{
    open_loop(EXTERNAL);
    ck_assert(io_timer_open(&loop, &timers[0], fire_again));
    fired = 0;
    io_timer_set(&loop, &timers[0], 0);
    for (unsigned turn = 1; turn <= 5; turn++) {
        ck_assert_uint_eq(io_loop_deadline(&loop), 0);
        ck_assert_int_eq(io_loop_turn(&loop), 1);
        ck_assert_uint_eq(fired, turn);
    }
    ck_assert_uint_eq(io_loop_deadline(&loop), BASE_NEVER);
    io_timer_set(&loop, &timers[0], 0);
    io_timer_stop(&loop, &timers[0]);
    io_loop_turn(&loop);
    ck_assert_uint_eq(fired, 5);
    io_timer_close(&loop, &timers[0]);
    close_loop();
}
END_TEST

/* ---- what keeps a loop running ---- */

START_TEST(test_run_ends_by_itself)
{
    open_loop(OWN);
    ck_assert_int_eq(io_loop_run(&loop), 0);
    struct io_socket *v4, *v6, *again;
    ck_assert_int_eq(io_loop_client_socket(&loop, 4, &v4, NULL), 0);
    ck_assert_int_eq(io_loop_client_socket(&loop, 6, &v6, NULL), 0);
    ck_assert_int_eq(io_loop_client_socket(&loop, 4, &again, NULL), 0);
    ck_assert_ptr_eq(v4, again);
    ck_assert_ptr_ne(v4, v6);
    ck_assert_uint_eq(io_socket_core(v6)->local.family, 6);
    ck_assert(!v6->udp.dual_stack);
    ck_assert_int_eq(io_loop_run(&loop), 0); /* sockets without connections wait for nothing */
    ck_assert(io_timer_open(&loop, &timers[0], fire));
    fired = 0;
    due_at[0] = io_loop_now(&loop) + 2 * BASE_MS;
    io_timer_set(&loop, &timers[0], due_at[0]);
    ck_assert_int_eq(io_loop_run(&loop), 0); /* a deadline does */
    ck_assert_uint_eq(fired, 1);
    io_timer_close(&loop, &timers[0]);
    close_loop();
}
END_TEST

/* ---- closing sockets ---- */

START_TEST(test_close_socket)
{
    open_loop((enum driver)_i);
    open_server();
    io_loop_turn(&loop);
    int fd = server->udp.fd;
    io_loop_close_socket(&loop, server);
    ck_assert_ptr_null(io_socket_core(server)->listener);
    ck_assert(!base_list_empty(&loop.sockets)); /* not before its turn: the core may be holding it */
    io_loop_turn(&loop);
    ck_assert(base_list_empty(&loop.sockets));
    if (fd >= 0)
        ck_assert(fcntl(fd, F_GETFD) < 0 && errno == EBADF);
    close_loop();
}
END_TEST

/* A connection that came over a listener's socket outlives the listener, so its socket does too. */
START_TEST(test_close_socket_in_use)
{
    open_loop((enum driver)_i);
    open_server();
    static struct quic_conn conn;
    memset(&conn, 0, sizeof conn);
    static struct quic_path path;
    path = (struct quic_path){.state = QUIC_PATH_VALIDATED, .socket = io_socket_core(server)};
    conn.paths[1] = &path;
    base_list_push_back(&loop.endpoint.conns, &conn.all);
    io_loop_close_socket(&loop, server);
    for (int i = 0; i < 5; i++)
        io_loop_turn(&loop);
    ck_assert(!base_list_empty(&loop.sockets));
    base_list_remove(&conn.all);
    loop.endpoint.stats.connections_closed++;
    io_loop_turn(&loop);
    ck_assert(base_list_empty(&loop.sockets));
    close_loop();
}
END_TEST

/* What cannot be sent is no reason to hurry. */
START_TEST(test_blocked_does_not_spin)
{
    open_loop(BY_FD);
    open_server();
    faults.send_fail = 1000000;
    ask(1);
    while (!loop.blocked)
        io_loop_turn(&loop);
    ask(1);
    for (int i = 0; i < 10; i++)
        io_loop_turn(&loop);
    ck_assert_uint_eq(loop.endpoint.reply_count, 1);
    ck_assert(!loop.due);
    close_loop();
}
END_TEST

START_TEST(test_close_blocked_socket)
{
    open_loop(BY_FD);
    open_server();
    faults.send_fail = 5;
    ask(1);
    while (!loop.blocked)
        io_loop_turn(&loop);
    io_loop_close_socket(&loop, server);
    for (int i = 0; i < 10; i++)
        io_loop_turn(&loop);
    ck_assert(base_list_empty(&loop.sockets));
    ck_assert_uint_eq(loop.blocked, 0);
    ck_assert_uint_eq(answers(), 1); /* what was said is sent */
    close_loop();
}
END_TEST

START_TEST(test_close_loop_while_blocked)
{
    open_loop((enum driver)_i);
    open_server();
    faults.send_fail = 1000000;
    ask(1);
    while (!loop.blocked)
        if (driver == GIVEN)
            uv_run(&given, UV_RUN_NOWAIT);
        else
            io_loop_turn(&loop);
    close_loop();
}
END_TEST

START_TEST(test_close_client_socket)
{
    open_loop(OWN);
    struct io_socket *first, *second;
    ck_assert_int_eq(io_loop_client_socket(&loop, 4, &first, NULL), 0);
    io_loop_close_socket(&loop, first);
    ck_assert_int_eq(io_loop_client_socket(&loop, 4, &second, NULL), 0);
    ck_assert_ptr_ne(first, second);
    io_loop_turn(&loop);
    struct io_socket *again;
    ck_assert_int_eq(io_loop_client_socket(&loop, 4, &again, NULL), 0);
    ck_assert_ptr_eq(second, again);
    close_loop();
}
END_TEST

/* ---- failing to open ---- */

static unsigned allocations_left;

static void *scarce_alloc(void *user, size_t size) {
    (void)user;
    return allocations_left && allocations_left-- ? malloc(size) : NULL;
}

START_TEST(test_open_without_memory)
{
    for (unsigned n = 0;; n++) {
        base_mem_init(&mem, 0);
        mem.alloc = scarce_alloc;
        allocations_left = n;
        struct io_loop_open open = {.mem = &mem, .external = _i == EXTERNAL, .features = IO_UDP_ALL};
        struct crypto_error why = {{0}};
        int result = io_loop_init(&loop, &open, &why);
        struct io_socket *socket;
        if (result == 0) {
            result = io_loop_client_socket(&loop, 4, &socket, &why);
            io_loop_close(&loop, NULL, NULL);
        }
        ck_assert_uint_eq(mem.used, 0);
        if (result == 0)
            break;
        ck_assert_int_eq(result, ERR_NOMEM);
        ck_assert_str_ne(why.text, "");
        ck_assert_uint_lt(n, 1000);
    }
}
END_TEST

START_TEST(test_open_without_descriptors)
{
    base_mem_init(&mem, 0);
    faults.no_epoll = true;
    struct io_loop_open open = {.mem = &mem, .features = IO_UDP_ALL};
    struct crypto_error why = {{0}};
    ck_assert_int_eq(io_loop_init(&loop, &open, &why), ERR_IO);
    ck_assert_str_ne(why.text, "");
    ck_assert_uint_eq(mem.used, 0);
}
END_TEST

static TCase *tcase(Suite *suite, const char *name) {
    TCase *tc = tcase_create(name);
    suite_add_tcase(suite, tc);
    return tc;
}

Suite *unit_suite(void) {
    Suite *suite = suite_create("io/loop");
    TCase *tc = tcase(suite, "turn");
    tcase_add_loop_test(tc, test_answer, 0, EXTERNAL);
    tcase_add_test(tc, test_external);
    tcase_add_test(tc, test_no_input_beside_sockets);
    tcase_add_test(tc, test_fd_tells_all);
    tcase_add_loop_test(tc, test_no_reentry, 0, DRIVERS);
    tcase_add_loop_test(tc, test_budget, 0, EXTERNAL);
    tcase_add_loop_test(tc, test_blocked, 0, EXTERNAL);
    tcase_add_test(tc, test_blocked_does_not_spin);
    tcase_add_loop_test(tc, test_starved, 0, EXTERNAL);
    tcase_add_test(tc, test_socket_error);
    tc = tcase(suite, "wake and stop");
    tcase_add_loop_test(tc, test_wake, 0, DRIVERS);
    tcase_add_test(tc, test_stop_before_run);
    tcase_add_loop_test(tc, test_run_is_for_own_loops, GIVEN, GIVEN + 1);
    tcase_add_loop_test(tc, test_run_is_for_own_loops, EXTERNAL, DRIVERS);
    tc = tcase(suite, "timers");
    tcase_add_loop_test(tc, test_timers, 0, 2 * DRIVERS);
    tcase_add_test(tc, test_timer_is_set_rarely);
    tcase_add_loop_test(tc, test_deadline_follows_clock, BY_FD, DRIVERS);
    tcase_add_test(tc, test_timer_that_sets_itself);
    tcase_add_test(tc, test_run_ends_by_itself);
    tc = tcase(suite, "close");
    tcase_add_loop_test(tc, test_close_socket, BY_FD, DRIVERS);
    tcase_add_loop_test(tc, test_close_socket_in_use, BY_FD, DRIVERS);
    tcase_add_test(tc, test_close_blocked_socket);
    tcase_add_loop_test(tc, test_close_loop_while_blocked, 0, EXTERNAL);
    tcase_add_test(tc, test_close_client_socket);
    tc = tcase(suite, "failing");
    tcase_add_loop_test(tc, test_open_without_memory, EXTERNAL - 1, DRIVERS);
    tcase_add_test(tc, test_open_without_descriptors);
    return suite;
}
