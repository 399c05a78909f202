/* Tests of pool.c, of steering and of handing over: clients whose address changes, by their own will or a NAT's, while
 * several engines share the server's port. The system would hand a new address to any of them; the connection ID must
 * bring it to the one that knows the connection: by the system's filter, or, where that can read nothing or is not
 * asked, by the engine that got it. An engine that gets a datagram of another's and does not know what to do with it
 * counts it as unknown, and there must be none. */
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "world.h"

#define ENGINES 4
#define CLIENTS 12
#define MOVES 4 /* of each client: that all of them hit the right engine by chance has 4^-48 */

static weft_config server_config, client_config;
static weft_pool pool;
static weft_addr bound;
static _Atomic uint64_t server_moves, unknown, accepted_by[ENGINES], handed_over, taken_over, handovers_dropped;
static weft_engine engines[ENGINES];

static enum {
    STEERED,   /* the system reads the engine's number */
    ENCRYPTED, /* it cannot: QUIC-LB with a key */
    UNSTEERED, /* it is not asked to */
} way;

/* ---- the server: echoes, on whatever engine ---- */

static weft_listen_params server_params(void);

static int32_t on_setup(void *user, weft_pool of, uint32_t index, weft_engine engine) {
    const weft_quic_lb lb = {.size = sizeof lb,
                             .rotation = 1,
                             .server_id_len = 3,
                             .nonce_len = 6,
                             .encode_length = 1,
                             .encrypted = 1,
                             .server_id = {0x77, 0x11, (uint8_t)index},
                             .key = {1, 2, 3}};
    weft_listen_params params = server_params();
    weft_listener listener;
    char address[WEFT_ADDR_TEXT] = "127.0.0.1:0";
    (void)user;
    (void)of;
    engines[index] = engine;
    if (way == ENCRYPTED)
        ck_assert_int_eq(weft_engine_set_quic_lb(engine, &lb), 0);
    if (way != UNSTEERED)
        return 0;
    params.flags = WEFT_LISTEN_REUSE_PORT;
    if (index)
        ck_assert_int_gt(weft_addr_format(&bound, address, sizeof address), 0);
    ck_assert_int_eq(weft_listen(engine, server_config, address, &params, &listener), 0);
    return weft_listener_address(listener, &bound);
}

static void on_teardown(void *user, weft_pool of, uint32_t index, weft_engine engine) {
    weft_engine_stats stats = {.size = sizeof stats};
    (void)user;
    (void)of;
    ck_assert_int_eq(weft_engine_get_stats(engine, &stats), 0);
    /* the first of a connection belongs to none yet */
    atomic_fetch_add(&unknown, stats.datagrams_unknown - stats.connections_accepted);
    atomic_store(&accepted_by[index], stats.connections_accepted);
    atomic_fetch_add(&handed_over, stats.datagrams_handed_over);
    atomic_fetch_add(&taken_over, stats.datagrams_taken_over);
    atomic_fetch_add(&handovers_dropped, stats.handovers_dropped);
}

static void on_server_path(void *user, weft_conn conn) {
    (void)user;
    (void)conn;
    atomic_fetch_add(&server_moves, 1);
}

static void on_server_data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    for (uint32_t i = 0; i < count; i++)
        ck_assert_int_eq(weft_stream_write(stream, slices[i].data, slices[i].len, 0), (int64_t)slices[i].len);
    if (flags & WEFT_FIN)
        ck_assert_int_eq(weft_stream_finish(stream), 0);
}

static const weft_conn_callbacks server_conn = {.size = sizeof server_conn, .on_path = on_server_path};
static const weft_stream_callbacks server_stream = {.size = sizeof server_stream, .on_data = on_server_data};

static weft_listen_params server_params(void) {
    return (weft_listen_params){
        .size = sizeof(weft_listen_params), .conn_callbacks = &server_conn, .stream_callbacks = &server_stream};
}

static void setup(void) {
    uint8_t sha256[32];
    weft_pool_params params = {.size = sizeof params, .engines = ENGINES, .setup = on_setup, .teardown = on_teardown};
    weft_listen_params listen = server_params();
    ck_assert_int_eq(weft_config_new(WEFT_SERVER, &server_config), 0);
    ck_assert_int_eq(weft_config_set_alpn(server_config, "test"), 0);
    ck_assert_int_eq(weft_config_self_signed(server_config, "example.test", 10), 0);
    ck_assert_int_eq(weft_config_fingerprint(server_config, sha256), 0);
    ck_assert_int_eq(weft_config_new(WEFT_CLIENT, &client_config), 0);
    ck_assert_int_eq(weft_config_set_alpn(client_config, "test"), 0);
    ck_assert_int_eq(weft_config_add_pin(client_config, sha256), 0);
    ck_assert_int_eq(weft_pool_new(&params, &pool), 0);
    if (way != UNSTEERED)
        ck_assert_int_eq(weft_pool_listen(pool, server_config, "127.0.0.1:0", &listen, &bound), 0);
}

static void setup_encrypted(void) {
    way = ENCRYPTED;
    setup();
}

static void setup_unsteered(void) {
    way = UNSTEERED;
    setup();
}

/* Ends everything; the engines have told what they counted. */
static void finish(void) {
    uint64_t used = 0;
    ck_assert_int_eq(weft_pool_free(pool), 0);
    weft_config_free(server_config);
    weft_config_free(client_config);
    for (int i = 0; i < ENGINES; i++)
        used += accepted_by[i] > 0;
    ck_assert_uint_ge(used, 2); /* else there was nothing to steer */
    ck_assert_uint_eq(unknown, 0);
    ck_assert_uint_eq(handovers_dropped, 0);
    ck_assert_uint_eq(taken_over, handed_over);
    ck_assert(way == STEERED ? handed_over == 0 : handed_over > CLIENTS);
}

/* ---- a client that asks, moves, and asks again ---- */

static struct client {
    weft_conn conn;
    int asked, answered, moved;
    bool moves;           /* by itself, before each question */
    void (*before)(void); /* what else is done before a question */
    int32_t error;
    uint32_t cause;
} client;

static void ask(weft_conn conn) {
    weft_stream stream;
    ck_assert_int_eq(weft_stream_open(conn, WEFT_BIDI, NULL, &stream), 0);
    ck_assert_int_eq(weft_stream_write(stream, "hello", 5, WEFT_FIN), 5);
    client.asked++;
}

static void move_or_ask(weft_conn conn) {
    if (client.moved == MOVES) {
        weft_conn_close(conn, 0, NULL);
        return;
    }
    int32_t error = client.moves ? weft_conn_migrate(conn, NULL) : 0;
    client.moved += !error;
    if (client.before)
        client.before();
    if (client.moves && !error)
        return;                                   /* on_client_path goes on */
    ck_assert(!error || error == WEFT_E_BLOCKED); /* no connection ID for it yet: it comes with the next answer */
    ask(conn);
}

static void on_confirmed(void *user, weft_conn conn) {
    (void)user;
    ask(conn);
}

static void on_client_path(void *user, weft_conn conn) {
    (void)user;
    ask(conn);
}

static void on_closed(void *user, weft_conn conn, const weft_close *close) {
    (void)user;
    (void)conn;
    client.error = close->error;
    client.cause = close->cause;
}

static void on_answer(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    (void)slices;
    (void)count;
    if (!(flags & WEFT_FIN))
        return;
    client.answered++;
    move_or_ask(weft_stream_conn(stream));
}

static const weft_conn_callbacks client_conn = {
    .size = sizeof client_conn, .on_confirmed = on_confirmed, .on_path = on_client_path, .on_closed = on_closed};
static const weft_stream_callbacks client_stream = {.size = sizeof client_stream, .on_data = on_answer};

static void run_client(uint16_t port, bool moves, void (*before)(void)) {
    weft_engine engine;
    weft_connect_params params = {.size = sizeof params, .callbacks = &client_conn, .stream_callbacks = &client_stream};
    client = (struct client){.moves = moves, .before = before};
    ck_assert_int_eq(weft_engine_new(NULL, &engine), 0);
    ck_assert_int_eq(weft_connect(engine, client_config, "127.0.0.1", port, &params, &client.conn), 0);
    ck_assert_int_eq(weft_engine_run(engine), 0);
    ck_assert_int_eq(weft_engine_free(engine), 0);
    ck_assert_uint_eq(client.cause, WEFT_CAUSE_LOCAL);
    ck_assert_int_ge(client.answered, MOVES + 1);
    ck_assert_int_eq(client.answered, client.asked);
}

START_TEST(clients_move_at_will)
{
    for (int i = 0; i < CLIENTS; i++)
        run_client(bound.port, true, NULL);
    ck_assert_uint_eq(server_moves, CLIENTS * MOVES);
    finish();
}
END_TEST

/* ---- a NAT that forgets ---- */

static struct nat {
    pthread_t thread;
    int inside, outside;
    struct sockaddr_in client, server;
    uint16_t port; /* of the inside */
    _Atomic bool forget, stop;
} nat;

static int udp_socket(uint16_t *port) {
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof addr;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, len), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    if (port)
        *port = ntohs(addr.sin_port);
    return fd;
}

/* One datagram from one side to the other. */
static void pass(int from, int to, struct sockaddr_in *source, const struct sockaddr_in *target) {
    uint8_t bytes[2048];
    struct sockaddr_in addr;
    socklen_t len = sizeof addr;
    ssize_t got = recvfrom(from, bytes, sizeof bytes, MSG_DONTWAIT, (struct sockaddr *)&addr, &len);
    if (got < 0)
        return;
    if (source)
        *source = addr;
    (void)sendto(to, bytes, (size_t)got, 0, (const struct sockaddr *)target, sizeof *target); /* or it is lost */
}

static void *nat_run(void *arg) {
    while (!nat.stop) {
        struct pollfd fds[2] = {{.fd = nat.inside, .events = POLLIN}, {.fd = nat.outside, .events = POLLIN}};
        if (poll(fds, 2, 20) < 0)
            break;
        if (atomic_exchange(&nat.forget, false)) { /* a new port outside; the old one hears nothing any more */
            close(nat.outside);
            nat.outside = udp_socket(NULL);
            continue;
        }
        if (fds[0].revents)
            pass(nat.inside, nat.outside, &nat.client, &nat.server);
        if (fds[1].revents)
            pass(nat.outside, nat.inside, NULL, &nat.client);
    }
    return arg;
}

static void nat_forgets(void) { nat.forget = true; }

START_TEST(a_nat_forgets)
{
    nat.inside = udp_socket(&nat.port);
    nat.outside = udp_socket(NULL);
    nat.server = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons(bound.port)};
    ck_assert_int_eq(pthread_create(&nat.thread, NULL, nat_run, NULL), 0);
    for (int i = 0; i < CLIENTS; i++) {
        nat_forgets(); /* each has an address of its own from the beginning */
        run_client(nat.port, false, nat_forgets);
    }
    nat.stop = true;
    pthread_join(nat.thread, NULL);
    close(nat.inside);
    close(nat.outside);
    ck_assert_uint_ge(server_moves, CLIENTS); /* what the NAT forgot twice before anybody spoke is one move */
    finish();
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("abi_pool_moves");
    static const struct {
        const char *name;
        void (*setup)(void);
    } ways[] = {{"steered", setup}, {"encrypted", setup_encrypted}, {"unsteered", setup_unsteered}};
    for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++) {
        TCase *cases = tcase_create(ways[i].name);
        tcase_set_timeout(cases, 120);
        tcase_add_checked_fixture(cases, ways[i].setup, NULL);
        tcase_add_test(cases, clients_move_at_will);
        tcase_add_test(cases, a_nat_forgets);
        suite_add_tcase(suite, cases);
    }
    return suite;
}
