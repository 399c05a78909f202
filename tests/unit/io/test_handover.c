/* Tests of handover.c: of engines that share a port, the one that got a datagram of another's hands it over, with all
 * that is known of it, once; a mailbox has bounds, and nobody fills it alone; whoever leaves is left in peace.
 *
 * Two engines with sockets, and a client that has none: what it says is given to either engine by hand, so each test
 * chooses who gets what. The clock is the test's. */
#include "io/handover.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "io/addr.h"
#include "io/loop_impl.h"
#include "quic/conn.h"
#include "quic/lb.h"
#include "config_kit.h"
#include "unit.h"

enum { A, B, ENGINES };
#define SEATS 4u /* the others are empty */
#define RECORDS (IO_HANDOVER_BYTES / IO_HANDOVER_LEAST)
#define FIRST (IO_HANDOVER_FIRST / IO_HANDOVER_LEAST) /* to an engine to which nothing came so far */

static struct base_mem mems[ENGINES], client_mem;
static struct io_loop loops[ENGINES], client;
static struct io_socket *sockets[ENGINES], *client_socket;
static struct quic_listener listeners[ENGINES];
static struct quic_config client_config, server_config;
static struct io_exchange *exchange;
static _Atomic base_time now;

static const uint8_t secret[16] = {1, 2, 3};
static const struct quic_addr client_addr = {.family = 4, .ip = {127, 0, 0, 1}, .port = 9};

static base_time test_clock(void *user) {
    (void)user;
    return now;
}

static void dispatch(void *user) {
    struct io_loop *loop = (struct io_loop *)user;
    uint32_t bits;
    struct base_event *event;
    while ((event = base_events_pop(&loop->events, &bits))) {
        if (base_handle_kind(event->handle) != QUIC_SLOT_CONN)
            continue;
        struct quic_conn *conn = quic_conn_of(&loop->slots, event->handle);
        if (conn && event == &conn->closed_event)
            quic_endpoint_forget(&loop->endpoint, conn);
    }
}

static void open_loop(struct io_loop *loop, struct base_mem *mem, uint8_t number, bool external) {
    base_mem_init(mem, 0);
    struct io_loop_open open = {.mem = mem,
                                .external = external,
                                .clock = test_clock,
                                .engine = number,
                                .features = IO_UDP_ALL,
                                .dispatch = dispatch,
                                .user = loop};
    ck_assert_int_eq(io_loop_init(loop, &open, NULL), 0);
}

static void setup(void) {
    ck_assert(crypto_init());
    now = 1000 * BASE_SEC;
    make_config(&client_config, CRYPTO_CLIENT, "\4weft");
    make_config(&server_config, CRYPTO_SERVER, "\4weft");
    exchange = io_exchange_new(SEATS, secret);
    struct io_udp_open open = {
        .local = {.family = 4, .ip = {127, 0, 0, 1}}, .features = IO_UDP_ALL, .reuse_port = true};
    for (uint8_t i = 0; i < ENGINES; i++) {
        open_loop(&loops[i], &mems[i], i, false);
        io_exchange_join(exchange, &loops[i]);
        ck_assert_int_eq(io_loop_open_socket(&loops[i], &open, &sockets[i], NULL), 0);
        open.local = io_socket_core(sockets[i])->local;
        listeners[i] = (struct quic_listener){.config = &server_config};
        io_socket_core(sockets[i])->listener = &listeners[i];
    }
    open_loop(&client, &client_mem, 0, true);
}

static void close_all(void) {
    for (unsigned i = 0; i < ENGINES; i++) {
        if (!loops[i].closing)
            io_loop_close(&loops[i], NULL, NULL);
        ck_assert_uint_eq(mems[i].used, 0);
    }
    io_loop_close(&client, NULL, NULL);
    ck_assert_uint_eq(client_mem.used, 0);
    io_exchange_free(exchange); /* asserts that its seats are empty and hold nothing */
    crypto_tls_config_unref(client_config.tls);
    crypto_tls_config_unref(server_config.tls);
    crypto_cleanup();
}

/* ---- datagrams by hand ---- */

/* As if the socket of this engine had received it. */
static void give(unsigned engine, const uint8_t *data, size_t len, const struct quic_addr *from, uint8_t ecn) {
    struct base_buf *buf = base_buf_get(&loops[engine].bufs);
    memcpy(buf->data, data, len);
    struct quic_datagram datagram = {.buf = buf,
                                     .data = buf->data,
                                     .len = len,
                                     .socket = io_socket_core(sockets[engine]),
                                     .local = io_socket_core(sockets[engine])->local,
                                     .remote = *from,
                                     .ecn = ecn};
    quic_endpoint_input(&loops[engine].endpoint, &datagram, 1, now);
    base_buf_unref(buf);
}

/* A 1-RTT packet, as far as anybody can see who has no keys, for engine B. */
static const uint8_t *for_b(void) {
    static uint8_t bytes[BASE_BUF_SIZE] = {0x40, B, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    return bytes;
}

/* From another network each. */
static void flood(unsigned count, size_t len) {
    for (unsigned i = 0; i < count; i++) {
        const struct quic_addr from = {.family = 4, .ip = {10, (uint8_t)(i >> 8), (uint8_t)i, 1}, .port = 4000};
        give(A, for_b(), len, &from, 0);
    }
}

static const struct engine_stats *stats(unsigned engine) { return &loops[engine].endpoint.stats; }

static unsigned deliver(unsigned engine) {
    bool fed;
    unsigned done = io_seat_deliver(&loops[engine], &fed);
    ck_assert(fed);
    return done;
}

/* Something has come to B twice: both sacks are as large as they may be. Nothing is counted so far. */
static void grow(void) {
    for (unsigned i = 0; i < 2; i++) {
        flood(1, 25);
        deliver(B);
    }
    for (unsigned i = 0; i < ENGINES; i++)
        loops[i].endpoint.stats = (struct engine_stats){0};
}

/* What the client has to say goes to this engine; true when there was something. */
static bool client_speaks(unsigned engine, const struct quic_addr *from, uint8_t ecn) {
    struct quic_train train = {.data = client.train_data, .max_segments = 1};
    bool any = false;
    while (io_loop_output(&client, &train)) {
        give(engine, train.data, train.len, from, ecn);
        any = true;
    }
    return any;
}

static bool server_speaks(unsigned engine) {
    struct quic_train train = {.data = loops[engine].train_data, .max_segments = 1};
    bool any = false;
    while (quic_endpoint_output(&loops[engine].endpoint, &train, now)) {
        const struct quic_datagram in = {.data = train.data,
                                         .len = train.len,
                                         .socket = io_socket_core(client_socket),
                                         .local = client_addr,
                                         .remote = io_socket_core(sockets[engine])->local};
        ck_assert_int_eq(io_loop_input(&client, &in, in.len), 0);
        any = true;
    }
    return any;
}

/* Both say what they have to; the client's goes to this engine. */
static void converse(unsigned engine) {
    while (client_speaks(engine, &client_addr, 0) || server_speaks(engine)) {
        io_loop_turn(&client);
        dispatch(&loops[engine]);
        quic_endpoint_settle(&loops[engine].endpoint);
    }
}

/* A client's connection that this engine has accepted; *accepted is the server's side. */
static struct quic_conn *connect_to(unsigned engine, struct quic_conn **accepted) {
    struct quic_connect connect = {.config = &client_config,
                                   .local = client_addr,
                                   .remote = io_socket_core(sockets[engine])->local,
                                   .server_name = "localhost"};
    struct io_udp_open open = {.local = client_addr};
    struct quic_conn *conn = NULL;
    ck_assert_int_eq(io_loop_open_socket(&client, &open, &client_socket, NULL), 0);
    connect.socket = io_socket_core(client_socket);
    ck_assert_int_eq(quic_conn_connect(&client.endpoint, &connect, now, &conn, NULL), 0);
    converse(engine);
    ck_assert(conn->handshake_confirmed);
    *accepted = BASE_CONTAINER(base_list_first(&loops[engine].endpoint.conns), struct quic_conn, all);
    return conn;
}

static void say_hello(struct quic_conn *conn) {
    struct quic_stream *stream;
    ck_assert_int_eq(quic_streams_open(&conn->streams, true, &stream), 0);
    ck_assert_int_eq(quic_stream_write(stream, (const uint8_t *)"hello", 5, true), 5);
}

/* ---- the way ---- */

/* What the wrong engine received comes to the right one as it was: its bytes, address, mark and time of arrival; the
 * answer goes out of the right one's socket, to the new address. */
START_TEST(a_datagram_comes_to_its_connection)
{
    struct quic_conn *accepted, *conn = connect_to(B, &accepted);
    const struct quic_addr moved = {.family = 4, .ip = {127, 0, 0, 1}, .port = 10};
    uint64_t strangers = stats(A)->datagrams_unknown, marks = accepted->acks[QUIC_APPLICATION].ce;
    say_hello(conn);
    now += BASE_SEC;
    base_time arrived = now;
    ck_assert(client_speaks(A, &moved, QUIC_CE));
    ck_assert_uint_ge(stats(A)->datagrams_handed_over, 1);
    ck_assert_uint_eq(stats(A)->datagrams_unknown, strangers);
    ck_assert_uint_eq(accepted->stats.stream_bytes_received, 0);
    now += 7 * BASE_MS;
    loops[B].turned_at = 0; /* it has been asleep for long */
    ck_assert_uint_eq(deliver(B), stats(A)->datagrams_handed_over);
    ck_assert_uint_eq(stats(B)->datagrams_taken_over, stats(A)->datagrams_handed_over);
    ck_assert_uint_eq(accepted->stats.stream_bytes_received, 5);
    ck_assert_uint_eq(accepted->acks[QUIC_APPLICATION].ce, marks + stats(A)->datagrams_handed_over);
    ck_assert_uint_eq(accepted->acks[QUIC_APPLICATION].largest_at, arrived);
    const struct quic_path *path = quic_path_active(accepted);
    ck_assert(quic_addr_equal(&path->remote, &moved));
    ck_assert(quic_addr_equal(&path->local, &io_socket_core(sockets[A])->local));
    ck_assert_ptr_eq(path->socket, io_socket_core(sockets[B]));
    ck_assert_uint_eq(stats(A)->handovers_dropped + stats(B)->handovers_dropped, 0);
}
END_TEST

/* Time never goes back for the core: what arrived before the owner's last turn, or while he called between turns, comes
 * at the end of that turn, or now. */
START_TEST(time_does_not_go_back)
{
    base_time arrived = now;
    flood(1, 40);
    now += 10;
    loops[B].turned_at = arrived + 4;
    deliver(B);
    ck_assert_uint_eq(loops[B].endpoint.now, arrived + 4);
    flood(1, 40);
    now += 10;
    io_loop_touch(&loops[B]);
    deliver(B);
    ck_assert_uint_eq(loops[B].endpoint.now, now);
    loops[B].turned_at = 0;
    flood(1, 40);
    base_time late = now;
    now -= 5; /* two clocks that do not agree */
    deliver(B);
    ck_assert_uint_eq(loops[B].endpoint.now, late - 5);
}
END_TEST

/* Several that arrived at different times, of several sizes, through more than one buffer. */
START_TEST(order_and_bytes_are_kept)
{
    grow();
    for (unsigned i = 0; i < 40; i++) {
        now += i % 3;
        flood(1, i % 10 ? 25 + i : 20000);
    }
    loops[B].turned_at = 0;
    ck_assert_uint_eq(deliver(B), 40);
    ck_assert_uint_eq(stats(B)->datagrams_unknown, 40); /* each was looked at, and none had been damaged: */
    ck_assert_uint_eq(stats(B)->stateless_resets_sent, 40);
    ck_assert_uint_eq(loops[B].endpoint.now, now);
    ck_assert_uint_eq(loops[B].bufs.live_count, 0);
}
END_TEST

static bool is_woken(unsigned engine) {
    struct pollfd waiting = {.fd = io_loop_fd(&loops[engine]), .events = POLLIN};
    return poll(&waiting, 1, 0) == 1;
}

/* Once for all that a turn brought, not for each. */
START_TEST(the_sibling_is_woken_after_the_turn)
{
    for (unsigned i = 0; i < 3; i++) {
        io_loop_turn(&loops[A]);
        io_loop_turn(&loops[B]);
    }
    ck_assert(!is_woken(B));
    flood(5, 40);
    ck_assert(!is_woken(B));
    io_loop_turn(&loops[A]);
    ck_assert(is_woken(B));
    io_loop_turn(&loops[B]);
    ck_assert_uint_eq(stats(B)->datagrams_taken_over, 5);
    io_loop_turn(&loops[A]); /* nothing is new */
    ck_assert(!is_woken(B));
}
END_TEST

/* Through the sockets, as the system does it: it gives datagrams of one client to one of the two, the other one's
 * engine hands on what is not its own. */
START_TEST(sockets_receive_and_engines_hand_over)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_storage to;
    socklen_t len = io_addr_to_sockaddr(&io_socket_core(sockets[A])->local, &to);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&to, len), 0);
    for (uint8_t number = 0; number < ENGINES; number++)
        for (unsigned i = 0; i < 20; i++) {
            const uint8_t bytes[40] = {0x40, number, (uint8_t)i};
            ck_assert_int_eq(send(fd, bytes, sizeof bytes, 0), sizeof bytes);
        }
    while (stats(A)->datagrams_unknown + stats(B)->datagrams_unknown < 40)
        for (unsigned i = 0; i < ENGINES; i++)
            io_loop_turn(&loops[i]);
    ck_assert_uint_eq(stats(A)->datagrams_unknown, 20);
    ck_assert_uint_eq(stats(B)->datagrams_unknown, 20);
    ck_assert_uint_eq(stats(A)->datagrams_handed_over + stats(B)->datagrams_handed_over, 20);
    ck_assert_uint_eq(stats(A)->datagrams_taken_over + stats(B)->datagrams_taken_over, 20);
    close(fd);
}
END_TEST

/* ---- what is not handed over ---- */

START_TEST(not_what_a_client_may_have_named)
{
    static uint8_t packet[1200] = {0xc3, 0, 0, 0, 1, 10, B, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0x44, 0x00};
    give(A, packet, sizeof packet, &client_addr, 0); /* Initial */
    packet[0] = 0xd3;                                /* 0-RTT */
    give(A, packet, sizeof packet, &client_addr, 0);
    static uint8_t handshake[1200] = {0xe3, 0, 0, 0, 9, 10, B, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0x44, 0x00};
    give(A, handshake, sizeof handshake, &client_addr, 0); /* of a version that nobody speaks */
    ck_assert_uint_eq(stats(A)->datagrams_handed_over, 0);
    handshake[4] = 1; /* that ID is a server's */
    give(A, handshake, sizeof handshake, &client_addr, 0);
    ck_assert_uint_eq(stats(A)->datagrams_handed_over, 1);
    ck_assert_uint_eq(deliver(B), 1);
}
END_TEST

START_TEST(not_to_nobody_nor_to_itself)
{
    uint8_t packet[40] = {0x40, A};
    give(A, packet, sizeof packet, &client_addr, 0); /* its own */
    packet[1] = SEATS;
    give(A, packet, sizeof packet, &client_addr, 0); /* no such engine */
    ck_assert_uint_eq(stats(A)->datagrams_unknown, 2);
    ck_assert_uint_eq(stats(A)->handovers_dropped, 0);
    packet[1] = SEATS - 1;
    give(A, packet, sizeof packet, &client_addr, 0); /* it does not run */
    ck_assert_uint_eq(stats(A)->datagrams_unknown, 2);
    ck_assert_uint_eq(stats(A)->handovers_dropped, 1);
    ck_assert_uint_eq(stats(A)->datagrams_handed_over, 0);
}
END_TEST

/* A socket that shares its port with nobody: its datagrams are its own engine's. */
START_TEST(not_from_a_socket_that_is_alone)
{
    struct io_socket *own = sockets[A];
    struct io_udp_open open = {.local = {.family = 4, .ip = {127, 0, 0, 1}}, .features = IO_UDP_ALL};
    ck_assert_int_eq(io_loop_open_socket(&loops[A], &open, &sockets[A], NULL), 0);
    give(A, for_b(), 40, &client_addr, 0);
    ck_assert_uint_eq(stats(A)->datagrams_handed_over, 0);
    ck_assert_uint_eq(stats(A)->datagrams_unknown, 1);
    sockets[A]->remote = client_addr; /* a connection's own socket: it came over the shared one, or that is gone */
    give(A, for_b(), 40, &client_addr, 0);
    ck_assert_uint_eq(stats(A)->datagrams_handed_over, 0);
    sockets[A]->shared = own;
    give(A, for_b(), 40, &client_addr, 0);
    ck_assert_uint_eq(stats(A)->datagrams_handed_over, 1);
    sockets[A]->remote.family = 0;
    ck_assert_uint_eq(deliver(B), 1);
}
END_TEST

/* Each of the two believes that the ID is the other's, for their load balancer's configurations differ. It goes one way
 * and no further. */
START_TEST(nothing_goes_round)
{
    const struct quic_lb_config one = {.server_id_len = 2, .nonce_len = 7, .server_id = {9, 7}};
    const struct quic_lb_config other = {.server_id_len = 3, .nonce_len = 6, .server_id = {9, 1, 5}};
    ck_assert_int_eq(quic_endpoint_set_lb(&loops[A].endpoint, &one), 0);
    ck_assert_int_eq(quic_endpoint_set_lb(&loops[B].endpoint, &other), 0);
    const uint8_t packet[40] = {0x40, 0x09, 9, B, A};
    ck_assert_int_eq(quic_endpoint_sibling_of(&loops[A].endpoint, packet + 1, 10), B);
    ck_assert_int_eq(quic_endpoint_sibling_of(&loops[B].endpoint, packet + 1, 10), A);
    give(A, packet, sizeof packet, &client_addr, 0);
    ck_assert_uint_eq(stats(A)->datagrams_handed_over, 1);
    ck_assert_uint_eq(deliver(B), 1);
    ck_assert_uint_eq(stats(B)->datagrams_handed_over, 0);
    ck_assert_uint_eq(stats(B)->datagrams_unknown, 1);
    ck_assert_uint_eq(deliver(A), 0);
    give(B, packet, sizeof packet, &client_addr, 0); /* its own datagrams it hands over as before */
    ck_assert_uint_eq(stats(B)->datagrams_handed_over, 1);
}
END_TEST

/* ---- bounds ---- */

START_TEST(a_mailbox_holds_so_many)
{
    grow();
    flood(3 * RECORDS, 25);
    ck_assert_uint_eq(stats(A)->datagrams_handed_over, RECORDS);
    ck_assert_uint_eq(stats(A)->handovers_dropped, 2 * RECORDS);
    for (unsigned taken = 0; taken < RECORDS; taken += IO_HANDOVER_BUDGET) {
        loops[B].due = false;
        ck_assert_uint_eq(deliver(B), IO_HANDOVER_BUDGET); /* a turn's worth, and another turn */
        ck_assert_int_eq(loops[B].due, taken + IO_HANDOVER_BUDGET < RECORDS);
    }
    ck_assert_uint_eq(deliver(B), 0);
    flood(1, 25);
    ck_assert_uint_eq(deliver(B), 1);
}
END_TEST

START_TEST(a_mailbox_holds_so_many_bytes)
{
    grow();
    flood(100, 60000);
    ck_assert_uint_eq(stats(A)->datagrams_handed_over, IO_HANDOVER_BYTES / 60000);
    ck_assert_uint_eq(stats(A)->handovers_dropped, 100 - IO_HANDOVER_BYTES / 60000);
    ck_assert_uint_eq(deliver(B), IO_HANDOVER_BYTES / 60000);
    ck_assert_uint_eq(loops[B].bufs.live_count, 0);
}
END_TEST

/* While one is emptied another is filled, and that is all: the memory does not grow, whatever comes. */
START_TEST(its_memory_is_two_sacks)
{
    uint64_t before = mems[B].used;
    flood(1, 25);
    uint64_t rest = mems[A].used;
    for (unsigned round = 0; round < 20; round++) {
        flood(RECORDS, 1024);
        deliver(B);
    }
    ck_assert_uint_le(mems[B].used - before, 2 * (IO_HANDOVER_BYTES + RECORDS * 128));
    ck_assert_uint_ge(mems[B].used - before, 2 * IO_HANDOVER_BYTES - IO_HANDOVER_FIRST - FIRST * 128);
    ck_assert_uint_eq(mems[A].used, rest); /* nobody wrote to the other */
    ck_assert_uint_lt(mems[B].peak, 4u << 20);
}
END_TEST

START_TEST(a_mailbox_begins_small)
{
    flood(2 * RECORDS, 25);
    ck_assert_uint_eq(stats(A)->datagrams_handed_over, FIRST);
    ck_assert_uint_eq(deliver(B), FIRST);
    flood(2 * RECORDS, 25);
    ck_assert_uint_eq(stats(A)->datagrams_handed_over, FIRST + RECORDS);
}
END_TEST

static uint64_t charged; /* by hand */

/* B begins anew, with a memory limit, and room for so many more bytes; ~0: whatever is left. */
static void limit_b(uint64_t limit, uint64_t room) {
    const struct io_udp_open open = {
        .local = io_socket_core(sockets[A])->local, .features = IO_UDP_ALL, .reuse_port = true};
    io_loop_close(&loops[B], NULL, NULL);
    open_loop(&loops[B], &mems[B], B, false);
    ck_assert_int_eq(io_loop_open_socket(&loops[B], &open, &sockets[B], NULL), 0);
    io_socket_core(sockets[B])->listener = &listeners[B];
    struct base_buf *buf = base_buf_get(&loops[B].bufs); /* it has what it needs to receive */
    base_buf_unref(buf);
    mems[B].limit = limit;
    charged = room < limit ? limit - mems[B].used - room : 0;
    ck_assert(!charged || base_charge(&mems[B], charged));
    io_exchange_join(exchange, &loops[B]);
}

/* Two sacks are less than a sixteenth of the budget. */
START_TEST(a_small_budget_has_a_small_mailbox)
{
    const uint64_t limit = 4 << 20, most = limit / 40 / IO_HANDOVER_LEAST;
    limit_b(limit, UINT64_MAX);
    uint64_t before = mems[B].used - most * IO_HANDOVER_LEAST;
    for (unsigned round = 1; round < 4; round++) {
        flood(2 * RECORDS, 25);
        ck_assert_uint_eq(stats(A)->datagrams_handed_over, round * most);
        ck_assert_uint_eq(deliver(B), most);
        ck_assert_uint_lt(mems[B].used - before, limit / 16);
    }
    limit_b(IO_HANDOVER_LEAST * 40 - 1, UINT64_MAX); /* not even for one datagram */
    flood(1, 25);
    ck_assert_uint_eq(stats(A)->datagrams_handed_over, 3 * most);
}
END_TEST

/* What is left of the budget is too little for a large sack: a small one has to do. For a second one, too: others are
 * heard again when the first is empty. For any: nobody is heard until there is room. */
START_TEST(a_mailbox_takes_no_more_than_is_left)
{
    const unsigned sacks = (unsigned)_i, second = sacks > 1;
    limit_b(64 << 20, sacks * (IO_HANDOVER_FIRST + FIRST * 128) + 1000);
    uint64_t mailed = 0;
    for (unsigned round = 0; round < 4; round++) {
        flood(2 * RECORDS, 25);
        ck_assert_uint_eq(stats(A)->datagrams_handed_over, mailed += sacks ? FIRST : 0);
        ck_assert_uint_eq(deliver(B), sacks ? FIRST : 0);
        flood(1, 25);
        ck_assert_uint_eq(stats(A)->datagrams_handed_over, mailed += second);
        uint64_t refusals = mems[B].refusals;
        ck_assert_uint_eq(deliver(B), second);
        ck_assert_uint_le(mems[B].used, mems[B].limit);
        ck_assert(mems[B].refusals == refusals || second);
    }
    base_credit(&mems[B], charged);
    for (unsigned i = 0; i < 3; i++) {
        deliver(B);
        flood(1, 25);
    }
    mailed = stats(A)->datagrams_handed_over;
    deliver(B);
    flood(2 * RECORDS, 25);
    ck_assert_uint_eq(stats(A)->datagrams_handed_over, mailed + RECORDS);
}
END_TEST

/* A flood from one network, with IDs that name another engine: half of the mailbox is left to others, who are heard
 * within so many turns, and the engine's own socket is served all the while. */
START_TEST(a_flood_leaves_room_for_others)
{
    grow();
    struct quic_conn *accepted, *conn = connect_to(B, &accepted);
    const struct quic_addr moved = {.family = 4, .ip = {127, 0, 0, 1}, .port = 11};
    uint64_t before = stats(A)->datagrams_handed_over;
    for (unsigned round = 0; round < 10; round++) {
        for (unsigned i = 0; i < 5 * RECORDS; i++) {
            const struct quic_addr from = {.family = 4, .ip = {192, 0, 2, (uint8_t)i}, .port = (uint16_t)(i + 1)};
            give(A, for_b(), 40, &from, 0);
        }
        now += BASE_SEC;
        say_hello(conn);
        ck_assert(client_speaks(round % 2 ? A : B, &moved, 0));
        for (unsigned turns = 0; accepted->stats.stream_bytes_received < 5 * (round + 1); turns++) {
            ck_assert_uint_lt(turns, round % 2 ? RECORDS / 2 / IO_HANDOVER_BUDGET + 1 : 0);
            deliver(B);
        }
        while (deliver(B))
            continue;
        converse(B);
    }
    ck_assert_uint_ge(stats(A)->datagrams_handed_over - before, 10 * RECORDS / 2);
    ck_assert_uint_le(stats(A)->datagrams_handed_over - before, 10 * (RECORDS / 2 + 4));
    ck_assert_uint_lt(mems[B].peak, 4u << 20);
}
END_TEST

/* IPv6: a network is a /56. */
START_TEST(networks_of_both_families)
{
    grow();
    for (unsigned i = 0; i < RECORDS; i++) {
        const struct quic_addr from = {
            .family = 6, .ip = {0x20, 1, 0xd, 0xb8, 0, 0, 7, (uint8_t)i, (uint8_t)i}, .port = 1};
        give(A, for_b(), 40, &from, 0);
    }
    ck_assert_uint_eq(stats(A)->datagrams_handed_over, RECORDS / 2);
    const struct quic_addr other = {.family = 6, .ip = {0x20, 1, 0xd, 0xb8, 0, 0, 8}, .port = 1};
    give(A, for_b(), 40, &other, 0);
    ck_assert_uint_eq(stats(A)->datagrams_handed_over, RECORDS / 2 + 1);
}
END_TEST

/* Without a receive buffer mail waits, as what is in sockets does. */
START_TEST(mail_waits_for_a_buffer)
{
    flood(3, 40);
    struct base_buf *held = base_buf_get(&loops[B].bufs);
    loops[B].bufs.limit = 1;
    bool fed;
    ck_assert_uint_eq(io_seat_deliver(&loops[B], &fed), 0);
    ck_assert(!fed);
    io_loop_turn(&loops[B]);
    io_loop_turn(&loops[B]);
    ck_assert(loops[B].starved);
    ck_assert_uint_eq(stats(B)->datagrams_taken_over, 0);
    base_buf_unref(held);
    now += BASE_SEC;
    io_loop_turn(&loops[B]);
    ck_assert_uint_eq(stats(B)->datagrams_taken_over, 3);
}
END_TEST

/* ---- who leaves ---- */

START_TEST(who_leaves_is_left_in_peace)
{
    flood(3, 40);
    io_loop_close(&loops[B], NULL, NULL); /* with mail */
    flood(3, 40);
    io_loop_turn(&loops[A]); /* wakes nobody */
    ck_assert_uint_eq(stats(A)->datagrams_handed_over, 3);
    ck_assert_uint_eq(stats(A)->handovers_dropped, 3);
    ck_assert_uint_eq(mems[B].used, 0);
}
END_TEST

START_TEST(who_does_not_listen_there_drops_it)
{
    flood(3, 40);
    sockets[B]->udp.reuse_port = false;
    ck_assert_uint_eq(deliver(B), 3);
    ck_assert_uint_eq(stats(B)->handovers_dropped, 3);
    ck_assert_uint_eq(stats(B)->datagrams_taken_over, 0);
}
END_TEST

/* ---- threads ---- */

#define MANY 20000u

static void *sender(void *arg) {
    unsigned engine = *(unsigned *)arg, half = MANY / 2;
    uint8_t packet[40] = {0x40, (uint8_t)(ENGINES - 1 - engine)};
    for (unsigned i = 0; i < MANY; i++) {
        const struct quic_addr from = {.family = 4, .ip = {10, (uint8_t)(i >> 8), (uint8_t)i, 1}, .port = 4000};
        give(engine, packet, sizeof packet, &from, 0);
        if (i % 16 == 0)
            io_loop_turn(&loops[engine]);
        if (i % 64 == 0)
            sched_yield();
        if (engine == B && i == half) /* in the midst of it */
            break;
    }
    if (engine == B)
        io_loop_close(&loops[B], NULL, NULL);
    return arg;
}

/* Both give each other what they have, until one leaves; every datagram is delivered or counted as lost. */
START_TEST(two_threads)
{
    unsigned numbers[ENGINES] = {A, B};
    pthread_t threads[ENGINES];
    for (unsigned i = 0; i < ENGINES; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, sender, &numbers[i]), 0);
    for (unsigned i = 0; i < ENGINES; i++)
        pthread_join(threads[i], NULL);
    io_loop_turn(&loops[A]);
    while (deliver(A))
        continue;
    const struct engine_stats *a = stats(A), *b = stats(B);
    ck_assert_uint_eq(a->datagrams_handed_over + a->handovers_dropped, MANY);
    ck_assert_uint_eq(b->datagrams_handed_over + b->handovers_dropped, MANY / 2 + 1);
    ck_assert_uint_eq(a->datagrams_taken_over, b->datagrams_handed_over);
    ck_assert_uint_le(b->datagrams_taken_over, a->datagrams_handed_over);
    ck_assert_uint_gt(b->datagrams_taken_over, 0);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("io/handover");
    TCase *tcase = tcase_create("handover");
    tcase_add_checked_fixture(tcase, setup, close_all);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, a_datagram_comes_to_its_connection);
    tcase_add_test(tcase, time_does_not_go_back);
    tcase_add_test(tcase, order_and_bytes_are_kept);
    tcase_add_test(tcase, the_sibling_is_woken_after_the_turn);
    tcase_add_test(tcase, sockets_receive_and_engines_hand_over);
    tcase_add_test(tcase, not_what_a_client_may_have_named);
    tcase_add_test(tcase, not_to_nobody_nor_to_itself);
    tcase_add_test(tcase, not_from_a_socket_that_is_alone);
    tcase_add_test(tcase, nothing_goes_round);
    tcase_add_test(tcase, a_mailbox_holds_so_many);
    tcase_add_test(tcase, a_mailbox_holds_so_many_bytes);
    tcase_add_test(tcase, a_mailbox_begins_small);
    tcase_add_test(tcase, a_small_budget_has_a_small_mailbox);
    tcase_add_loop_test(tcase, a_mailbox_takes_no_more_than_is_left, 0, 3);
    tcase_add_test(tcase, its_memory_is_two_sacks);
    tcase_add_test(tcase, a_flood_leaves_room_for_others);
    tcase_add_test(tcase, networks_of_both_families);
    tcase_add_test(tcase, mail_waits_for_a_buffer);
    tcase_add_test(tcase, who_leaves_is_left_in_peace);
    tcase_add_test(tcase, who_does_not_listen_there_drops_it);
    tcase_add_test(tcase, two_threads);
    suite_add_tcase(suite, tcase);
    return suite;
}
