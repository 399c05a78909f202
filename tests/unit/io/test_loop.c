/* test_loop.c - a turn: what comes in, what goes out, and what wakes and stops a loop (loop_kit.h). */
#include "loop_kit.h"

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
    ck_assert_uint_gt(loop.step, 1); /* one datagram that nobody is told of: there is room for more at a time */
    ask(2);                          /* and again */
    drive();
    close_loop();
}
END_TEST

static unsigned replies;

static void stop_at_two_replies(void) {
    replies += loop.endpoint.reply_count;
    if (replies < 2)
        return;
    enough = true;
    stop();
}

/* What wakes a loop that has slept is taken by itself and answered; what came behind it is not forgotten. */
START_TEST(test_after_a_rest)
{
    open_loop((enum driver)_i);
    open_server();
    on_dispatch = stop_at_reply;
    ask(1);
    drive();
    ck_assert_uint_eq(answers(), 1);
    on_dispatch = stop_at_two_replies;
    replies = faults.single_receives = 0;
    offset += BASE_SEC;
    ask(2);
    drive();
    ck_assert_uint_ge(faults.single_receives, 1);
    ck_assert_uint_eq(answers(), 2);
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

static int by_value(const void *a, const void *b) { return memcmp(a, b, 8); }

/* Unless the caller brings a source, nothing is given twice. */
START_TEST(test_random)
{
    open_loop(EXTERNAL);
    static uint64_t got[10000];
    const struct base_random *random = &loop.endpoint.random;
    for (unsigned i = 0; i < 10000; i++) {
        uint8_t other[100];
        got[i] = base_random_u64(random);
        base_random_fill(random, other, 1 + i % sizeof other);
    }
    qsort(got, 10000, sizeof got[0], by_value);
    for (unsigned i = 1; i < 10000; i++)
        ck_assert_uint_ne(got[i], got[i - 1]);
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

/* As if each datagram concerned many. */
static void join_many(void) {
    if (loop.in_turn)
        loop.events.joined += 1000;
}

/* What is answered before all is taken in counts against the turn's budget. */
START_TEST(test_answers_have_a_budget)
{
    open_loop((enum driver)_i);
    open_server();
    ask(200);
    on_clock = join_many;
    uint64_t turns = loop.endpoint.stats.turns;
    while (loop.endpoint.stats.turns == turns)
        driver == GIVEN ? (void)uv_run(&given, UV_RUN_ONCE) : (void)io_loop_turn(&loop);
    ck_assert_uint_gt(dispatches, 8); /* in one turn, but for those that had no work */
    ck_assert_uint_eq(loop.endpoint.stats.send_calls, 64);
    on_clock = NULL;
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
    } else if (loop.endpoint.stats.version_negotiations_sent == 21) {
        enough = true; /* this turn may send all of it, and there may be no other */
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

Suite *unit_suite(void) {
    Suite *suite = suite_create("io/loop");
    TCase *tc = tcase(suite, "turn");
    tcase_add_loop_test(tc, test_answer, 0, EXTERNAL);
    tcase_add_loop_test(tc, test_after_a_rest, 0, EXTERNAL);
    tcase_add_test(tc, test_external);
    tcase_add_test(tc, test_random);
    tcase_add_test(tc, test_no_input_beside_sockets);
    tcase_add_test(tc, test_fd_tells_all);
    tcase_add_loop_test(tc, test_no_reentry, 0, DRIVERS);
    tcase_add_loop_test(tc, test_budget, 0, EXTERNAL);
    tcase_add_loop_test(tc, test_answers_have_a_budget, 0, EXTERNAL);
    tcase_add_loop_test(tc, test_blocked, 0, EXTERNAL);
    tcase_add_test(tc, test_blocked_does_not_spin);
    tcase_add_loop_test(tc, test_starved, 0, EXTERNAL);
    tcase_add_test(tc, test_socket_error);
    tc = tcase(suite, "wake and stop");
    tcase_add_loop_test(tc, test_wake, 0, DRIVERS);
    tcase_add_test(tc, test_stop_before_run);
    tcase_add_loop_test(tc, test_run_is_for_own_loops, GIVEN, GIVEN + 1);
    tcase_add_loop_test(tc, test_run_is_for_own_loops, EXTERNAL, DRIVERS);
    return suite;
}
