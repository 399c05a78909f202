/* A socket for each connection: given after the handshake, used for both directions, within a limit, left when the
 * client moves, closed with the connection; what others sent to it meanwhile is not lost. Real sockets on the
 * loopback. */
#include <stdlib.h>

#include "io/addr.h"
#include "io/loop_impl.h"
#include "quic/walk.h"
#include "config_kit.h"
#include "unit.h"

static struct base_mem mem;
static struct io_loop loop;
static struct quic_config client_config, server_config;
static struct quic_listener listener;
static struct io_socket *shared;
static const char *const binds[] = {"127.0.0.1", "0.0.0.0", "::"}; /* the last one for IPv4 clients, too */

static void dispatch(void *user) {
    (void)user;
    uint32_t bits;
    struct base_event *event;
    while ((event = base_events_pop(&loop.events, &bits))) {
        if (base_handle_kind(event->handle) != QUIC_SLOT_CONN)
            continue;
        struct quic_conn *conn = quic_conn_of(&loop.slots, event->handle);
        if (conn && event == &conn->closed_event)
            quic_endpoint_forget(&loop.endpoint, conn);
    }
}

static void setup(void) {
    ck_assert(crypto_init());
    base_mem_init(&mem, 0);
    struct io_loop_open open = {.mem = &mem, .features = IO_UDP_ALL, .dispatch = dispatch};
    ck_assert_int_eq(io_loop_init(&loop, &open, NULL), 0);
    make_config(&client_config, CRYPTO_CLIENT, "\4weft");
    client_config.options.connected_sockets = 2;
    make_config(&server_config, CRYPTO_SERVER, "\4weft");
    server_config.options.connected_sockets = 2;
    listener = (struct quic_listener){.config = &server_config};
    shared = NULL;
}

static void teardown(void) {
    io_loop_close(&loop, NULL, NULL);
    ck_assert_uint_eq(mem.used, 0);
    crypto_tls_config_unref(client_config.tls);
    crypto_tls_config_unref(server_config.tls);
    crypto_cleanup();
}

static void listen_on(const char *ip, bool reuse_port) {
    struct io_udp_open open = {.features = IO_UDP_ALL, .reuse_port = reuse_port, .steer = reuse_port};
    struct crypto_error why = {{0}};
    ck_assert(io_addr_parse(ip, 0, &open.local));
    ck_assert_msg(io_loop_open_socket(&loop, &open, &shared, &why) == 0, "%s", why.text);
    io_socket_core(shared)->listener = &listener;
}

/* A client's connection from a socket of its own. */
static struct quic_conn *dial(void) {
    struct io_udp_open open = {.local = {.family = 4, .ip = {127, 0, 0, 1}}, .features = IO_UDP_ALL};
    struct io_socket *from;
    ck_assert_int_eq(io_loop_open_socket(&loop, &open, &from, NULL), 0);
    struct quic_connect connect = {
        .config = &client_config,
        .socket = io_socket_core(from),
        .local = io_socket_core(from)->local,
        .remote = {.family = 4, .ip = {127, 0, 0, 1}, .port = io_socket_core(shared)->local.port},
        .server_name = "localhost"};
    struct quic_conn *conn = NULL;
    struct crypto_error why = {{0}};
    ck_assert_msg(quic_conn_connect(&loop.endpoint, &connect, io_loop_now(&loop), &conn, &why) == 0, "%s", why.text);
    return conn;
}

static struct quic_conn *server_of(const struct quic_conn *client) {
    struct base_list *all = &loop.endpoint.conns;
    for (struct base_node *node = base_list_first(all); node; node = base_list_next(all, node)) {
        struct quic_conn *conn = BASE_CONTAINER(node, struct quic_conn, all);
        if (conn->role == CRYPTO_SERVER && quic_cid_equal(&conn->original_dcid, &client->original_dcid))
            return conn;
    }
    return NULL;
}

/* Turns until it is so; the test's own time limit ends a wait for ever. */
#define UNTIL(condition)                                                        \
    for (unsigned spins = 0; !(condition); spins++) {                           \
        io_loop_turn(&loop);                                                    \
        ck_assert_msg(spins < 20000000, "waited too long for: %s", #condition); \
    }

static struct quic_conn *connected(void) {
    struct quic_conn *conn = dial();
    UNTIL(conn->handshake_confirmed);
    return conn;
}

/* A request of the client's, seen at the server, and back. */
static void say(struct quic_conn *from, struct quic_conn *to) {
    uint64_t before = to->stats.stream_bytes_received;
    struct quic_stream *stream;
    ck_assert_int_eq(quic_streams_open(&from->streams, true, &stream), 0);
    ck_assert_int_eq(quic_stream_write(stream, (const uint8_t *)"hello", 5, true), 5);
    UNTIL(to->stats.stream_bytes_received == before + 5);
}

/* On every kind of listener; with REUSEPORT as well. */
START_TEST(given_after_the_handshake_and_used)
{
    listen_on(binds[_i / 2], _i % 2);
    struct quic_conn *client = connected(), *conn = server_of(client);
    ck_assert_uint_eq(loop.endpoint.stats.sockets_connected, 1);
    ck_assert_ptr_nonnull(conn->own_socket);
    ck_assert_ptr_eq(quic_path_active(conn)->socket, conn->own_socket);
    ck_assert_uint_eq(loop.connected, 1);
    struct io_socket *own = (struct io_socket *)(void *)conn->own_socket;
    ck_assert(own->udp.connected);
    UNTIL(conn->recovery.paths[0]->bytes_in_flight == 0);
    io_loop_turn(&loop);
    base_list_remove(&shared->node); /* from here on the listener's socket is deaf */
    uv_poll_stop(&shared->poll);
    say(client, conn);
    say(conn, client);
    base_list_push_back(&loop.sockets, &shared->node);
    quic_conn_close(client, true, 0, NULL, 0, io_loop_now(&loop));
    UNTIL(loop.endpoint.conn_count == 0);
    io_loop_turn(&loop);
    ck_assert_uint_eq(loop.connected, 0);
}
END_TEST

START_TEST(off_unless_asked_for)
{
    server_config.options.connected_sockets = 0;
    listen_on("127.0.0.1", false);
    struct quic_conn *client = connected();
    ck_assert_ptr_null(server_of(client)->own_socket);
    ck_assert_uint_eq(loop.endpoint.stats.sockets_connected + loop.endpoint.stats.sockets_refused, 0);
}
END_TEST

START_TEST(beyond_the_limit_they_share)
{
    listen_on("127.0.0.1", false);
    struct quic_conn *clients[3];
    for (unsigned i = 0; i < 3; i++)
        clients[i] = connected();
    ck_assert_uint_eq(loop.connected, 2);
    ck_assert_uint_eq(loop.endpoint.stats.sockets_connected, 2);
    ck_assert_uint_eq(loop.endpoint.stats.sockets_refused, 1);
    ck_assert_ptr_null(server_of(clients[2])->own_socket);
    for (unsigned i = 0; i < 3; i++)
        say(clients[i], server_of(clients[i]));
}
END_TEST

/* The client's port changes, as a NAT would do it: it is heard on the listener's socket, and the own one is left. */
START_TEST(who_moves_comes_back_to_the_shared_socket)
{
    listen_on("127.0.0.1", false);
    struct quic_conn *client = connected(), *conn = server_of(client);
    ck_assert_ptr_nonnull(conn->own_socket);
    struct io_udp_open open = {.local = {.family = 4, .ip = {127, 0, 0, 1}}, .features = IO_UDP_ALL};
    struct io_socket *moved;
    ck_assert_int_eq(io_loop_open_socket(&loop, &open, &moved, NULL), 0);
    struct quic_path *path = quic_path_active(client);
    path->socket = io_socket_core(moved);
    path->local = io_socket_core(moved)->local;
    say(client, conn);
    UNTIL(quic_path_active(conn)->socket == io_socket_core(shared));
    say(conn, client);
    UNTIL(!conn->own_socket && loop.connected == 0); /* when the old path is given up */
    say(client, conn);
}
END_TEST

/* A datagram of somebody else, caught between bind and connect, is as good as one on the listener's socket. */
START_TEST(strays_belong_to_the_listener)
{
    listen_on("127.0.0.1", false);
    struct quic_conn *client = connected(), *conn = server_of(client);
    struct io_socket *own = (struct io_socket *)(void *)conn->own_socket;
    struct base_buf *buf = base_buf_get(&loop.bufs);
    static const uint8_t unknown[] = {0xc0, 0xba, 0xba, 0xba, 0xba, 8};
    memset(buf->data, 0, 1200);
    memcpy(buf->data, unknown, sizeof unknown);
    struct quic_datagram strays[2] = {{buf, buf->data, 1200, &own->udp.socket, own->udp.socket.local, own->remote, 0}};
    strays[1] = strays[0];
    strays[1].remote.port ^= 1;
    io_connected_input(own, strays, 2);
    ck_assert_uint_eq(loop.endpoint.stats.version_negotiations_sent, 1); /* its own socket has no listener */
    struct quic_train train = {.data = loop.train_data, .max_segments = 1};
    ck_assert(quic_stateless_output(&loop.endpoint, &train));
    ck_assert_ptr_eq(train.socket, io_socket_core(shared));
    own->shared = NULL; /* the listener's has gone */
    io_connected_input(own, strays, 2);
    ck_assert_uint_eq(loop.endpoint.stats.version_negotiations_sent, 1);
    own->shared = shared;
    base_buf_unref(buf);
}
END_TEST

/* The listener is closed: its socket goes, the connections on their own ones stay. */
START_TEST(outlives_the_listener)
{
    listen_on("127.0.0.1", false);
    struct quic_conn *client = connected(), *conn = server_of(client);
    struct io_socket *own = (struct io_socket *)(void *)conn->own_socket;
    UNTIL(conn->recovery.paths[0]->bytes_in_flight == 0);
    io_loop_close_socket(&loop, shared);
    UNTIL(!own->shared);
    say(client, conn);
    say(conn, client);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("io/connect");
    TCase *tcase = tcase_create("connect");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, given_after_the_handshake_and_used, 0, 6);
    tcase_add_test(tcase, off_unless_asked_for);
    tcase_add_test(tcase, beyond_the_limit_they_share);
    tcase_add_test(tcase, who_moves_comes_back_to_the_shared_socket);
    tcase_add_test(tcase, strays_belong_to_the_listener);
    tcase_add_test(tcase, outlives_the_listener);
    suite_add_tcase(suite, tcase);
    return suite;
}
