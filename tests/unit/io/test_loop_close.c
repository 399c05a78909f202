/* test_loop_close.c - sockets and loops that close while something is under way, and that cannot open (loop_kit.h). */
#include "loop_kit.h"

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

Suite *unit_suite(void) {
    Suite *suite = suite_create("io/loop_close");
    TCase *tc = tcase(suite, "close");
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
