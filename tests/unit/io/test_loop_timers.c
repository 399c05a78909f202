/* test_loop_timers.c - timers of a loop, and what keeps one running (loop_kit.h). */
#include "loop_kit.h"

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

Suite *unit_suite(void) {
    Suite *suite = suite_create("io/loop_timers");
    TCase *tc = tcase(suite, "timers");
    tcase_add_loop_test(tc, test_timers, 0, 2 * DRIVERS);
    tcase_add_test(tc, test_timer_is_set_rarely);
    tcase_add_loop_test(tc, test_deadline_follows_clock, BY_FD, DRIVERS);
    tcase_add_test(tc, test_timer_that_sets_itself);
    tcase_add_test(tc, test_run_ends_by_itself);
    return suite;
}
