/* test_race.c - Happy Eyeballs with real handshakes over the loopback interface, in virtual time.
 *
 * Client and servers are connections of one loop. What a name means is written below in place of the system's resolver;
 * a "black hole" is a socket that nobody reads. The loop's clock stands still while there is work and then jumps to the
 * next deadline, so 250 ms are exact and take no time.
 */
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/addr.h"
#include "io/race.h"
#include "tables/errors.h"
#include "config_kit.h"
#include "unit.h"

/* ---- the system's resolver ---- */

static const struct {
    const char *name, *addrs[4];
} names[] = {
    {"six-four.test", {"::1", "127.0.0.1"}},
    {"four.test", {"127.0.0.1"}},
    {"three.test", {"127.0.0.1", "::1", "127.0.0.2"}},
    {"unreachable-four.test", {"255.255.255.255", "127.0.0.1"}},
    {"both-unreachable.test", {"255.255.255.255", "fe80::1"}},
};

__attribute__((visibility("default"))) int getaddrinfo(const char *restrict host, const char *restrict service,
                                                       const struct addrinfo *restrict hints,
                                                       struct addrinfo **restrict result);
__attribute__((visibility("default"))) void freeaddrinfo(struct addrinfo *list);

int getaddrinfo(const char *restrict host, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict result) {
    (void)service;
    (void)hints;
    *result = NULL;
    struct addrinfo **tail = result;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(host, names[i].name) != 0)
            continue;
        for (unsigned k = 0; k < 4 && names[i].addrs[k]; k++) {
            struct quic_addr addr;
            io_addr_parse(names[i].addrs[k], 0, &addr);
            struct {
                struct addrinfo info;
                struct sockaddr_storage storage;
            } *entry = calloc(1, sizeof *entry);
            entry->info.ai_addrlen = io_addr_to_sockaddr(&addr, &entry->storage);
            entry->info.ai_addr = (struct sockaddr *)&entry->storage;
            *tail = &entry->info;
            tail = &entry->info.ai_next;
        }
        return 0;
    }
    return EAI_NONAME;
}

void freeaddrinfo(struct addrinfo *list) {
    while (list) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

/* ---- one engine, its servers, its races ---- */

static struct base_mem mem;
static struct io_loop loop;
static base_time virtual_now;
static struct quic_config client_config, server_config, stranger_config;
static struct quic_listener server, stranger; /* the stranger speaks another protocol: it refuses */
static struct io_socket *sockets[4];
static unsigned socket_count;
static int holes[2];
static unsigned hole_count;
static uint16_t port;

static struct io_race *race;
static struct {
    unsigned conns, failures, connected;
    bool in_start;
    struct quic_conn *conn;
    int status;
    bool has_close;
    struct quic_close close;
    char text[200];
    base_time at;
} seen;

static base_time test_clock(void *user) {
    (void)user;
    return virtual_now;
}

static void on_conn(void *user, struct quic_conn *conn) {
    ck_assert_ptr_eq(user, &seen);
    ck_assert_ptr_null(io_race_of(conn));
    seen.conns++;
    seen.conn = conn;
    seen.at = virtual_now;
    race = NULL;
}

static void on_failed(void *user, int status, const struct quic_close *close, const char *text) {
    ck_assert_ptr_eq(user, &seen);
    seen.failures++;
    seen.status = status;
    seen.has_close = close != NULL;
    if (close)
        seen.close = *close;
    snprintf(seen.text, sizeof seen.text, "%s", text);
    seen.at = virtual_now;
    race = NULL;
}

/* What the owner's dispatcher does, for connections. */
static void dispatch(void *user) {
    (void)user;
    struct base_event *event;
    uint32_t bits;
    while ((event = base_events_pop(&loop.events, &bits)) != NULL) {
        struct quic_conn *conn = quic_conn_of(&loop.slots, event->handle);
        if (!conn)
            continue;
        bool closed = event == &conn->closed_event;
        struct io_race *owner = io_race_of(conn);
        if (owner && io_race_on_event(owner, conn, bits, closed))
            continue;
        ck_assert_ptr_null(io_race_of(conn));
        ck_assert(conn == seen.conn || conn->role == CRYPTO_SERVER); /* nobody hears of losers */
        if (closed) {
            if (conn == seen.conn)
                seen.conn = NULL;
            quic_endpoint_forget(&loop.endpoint, conn);
        } else if (conn == seen.conn && (bits & QUIC_CONN_EV_CONNECTED)) {
            seen.connected++;
        }
    }
}

static void setup(void) {
    ck_assert(crypto_init());
    base_mem_init(&mem, 0);
    virtual_now = 1000 * BASE_SEC;
    struct io_loop_open open = {.mem = &mem, .clock = test_clock, .features = IO_UDP_ALL, .dispatch = dispatch};
    ck_assert_int_eq(io_loop_init(&loop, &open, NULL), 0);
    make_config(&client_config, CRYPTO_CLIENT, "\4weft");
    client_config.options.handshake_timeout = BASE_SEC;
    make_config(&server_config, CRYPTO_SERVER, "\4weft");
    server_config.options.handshake_timeout = BASE_SEC;
    make_config(&stranger_config, CRYPTO_SERVER, "\5other");
    stranger_config.options.handshake_timeout = BASE_SEC;
    server = (struct quic_listener){.config = &server_config};
    stranger = (struct quic_listener){.config = &stranger_config};
    memset(&seen, 0, sizeof seen);
    race = NULL;
    port = 0;
    socket_count = hole_count = 0;
}

static void teardown(void) {
    if (race)
        io_race_cancel(race);
    io_loop_close(&loop, NULL, NULL);
    ck_assert_uint_eq(mem.used, 0);
    ck_assert_uint_eq(client_config.refs, 1);
    crypto_tls_config_unref(client_config.tls);
    crypto_tls_config_unref(server_config.tls);
    crypto_tls_config_unref(stranger_config.tls);
    while (hole_count)
        close(holes[--hole_count]);
    crypto_cleanup();
}

/* A server on this address; all of a test share one port number. */
static void listen_on(const char *ip, struct quic_listener *listener) {
    struct io_udp_open open = {.features = IO_UDP_ALL};
    ck_assert(io_addr_parse(ip, port, &open.local));
    struct crypto_error why = {{0}};
    ck_assert_msg(io_loop_open_socket(&loop, &open, &sockets[socket_count], &why) == 0, "%s", why.text);
    io_socket_core(sockets[socket_count])->listener = listener;
    port = io_socket_core(sockets[socket_count++])->local.port;
}

/* Packets to this address arrive nowhere. */
static void black_hole(const char *ip) {
    struct quic_addr addr;
    ck_assert(io_addr_parse(ip, port, &addr));
    struct sockaddr_storage storage;
    socklen_t len = io_addr_to_sockaddr(&addr, &storage);
    int fd = socket(storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert(fd >= 0 && bind(fd, (const struct sockaddr *)&storage, len) == 0);
    len = sizeof storage;
    ck_assert(getsockname(fd, (struct sockaddr *)&storage, &len) == 0);
    ck_assert(io_addr_from_sockaddr((const struct sockaddr *)&storage, &addr));
    port = addr.port;
    holes[hole_count++] = fd;
}

static bool hole_has_swallowed(unsigned which) {
    struct pollfd waiting = {.fd = holes[which], .events = POLLIN};
    return poll(&waiting, 1, 0) == 1;
}

static struct io_race_open race_for(const char *host) {
    return (struct io_race_open){.host = host,
                                 .port = port,
                                 .connect = {.config = &client_config, .server_name = "localhost"},
                                 .on_conn = on_conn,
                                 .on_failed = on_failed,
                                 .user = &seen};
}

static void start(const struct io_race_open *open) {
    struct crypto_error why = {{0}};
    ck_assert_msg(io_race_start(&loop, open, &race, &why) == 0, "%s", why.text);
}

/* All there is to do at this instant, then time moves to the next deadline. */
static void step(void) {
    for (int quiet = 0; quiet < 3;) {
        int worked = io_loop_turn(&loop);
        quiet = worked ? 0 : quiet + 1;
        if (!worked && uv_loop_alive(loop.uv)) { /* the resolver's thread, or a datagram still on its way */
            struct pollfd waiting = {.fd = io_loop_fd(&loop), .events = POLLIN};
            if (io_loop_deadline(&loop) != 0)
                poll(&waiting, 1, 5);
        }
    }
    base_time wait = io_loop_deadline(&loop);
    if (wait != BASE_NEVER)
        virtual_now += wait;
}

static void run_until_decided(void) {
    for (int i = 0; i < 2000 && seen.conns + seen.failures == 0; i++)
        step();
    ck_assert_uint_eq(seen.conns + seen.failures, 1);
}

static void check_won_by(const char *ip) {
    ck_assert_uint_eq(seen.conns, 1);
    struct quic_addr addr;
    ck_assert(io_addr_parse(ip, port, &addr));
    ck_assert_ptr_nonnull(seen.conn);
    ck_assert(quic_addr_equal(&seen.conn->paths[0]->remote, &addr));
}

/* ---- the race ---- */

START_TEST(test_black_hole_loses)
{
    black_hole("::1");
    listen_on("127.0.0.1", &server);
    base_time began = virtual_now;
    struct io_race_open open = race_for("six-four.test");
    start(&open);
    ck_assert_ptr_nonnull(race);
    run_until_decided();
    check_won_by("127.0.0.1");
    ck_assert(hole_has_swallowed(0));
    ck_assert_uint_ge(seen.at - began, IO_RACE_DELAY);
    ck_assert_uint_lt(seen.at - began, IO_RACE_DELAY + 100 * BASE_MS);
    ck_assert_uint_eq(seen.connected, 1); /* the winner's events are its new owner's */
    ck_assert_uint_eq(loop.timer_count, 0);
    /* the loser goes without a word: what is left are the two ends of the winner */
    for (int i = 0; i < 50 && loop.endpoint.conn_count > 2; i++)
        step();
    ck_assert_uint_eq(loop.endpoint.conn_count, 2);
    ck_assert_uint_eq(seen.conns + seen.failures, 1);
}
END_TEST

/* Whoever is quick enough has no competitors. */
START_TEST(test_first_is_fast)
{
    listen_on("127.0.0.1", &server);
    black_hole("::1");
    black_hole("127.0.0.2");
    base_time began = virtual_now;
    struct io_race_open open = race_for("three.test");
    start(&open);
    run_until_decided();
    check_won_by("127.0.0.1");
    ck_assert_uint_lt(seen.at - began, IO_RACE_DELAY);
    for (int i = 0; i < 50; i++)
        step();
    ck_assert(!hole_has_swallowed(0));
    ck_assert(!hole_has_swallowed(1));
}
END_TEST

/* A refusal starts the next attempt at once. */
START_TEST(test_refusal_is_not_waited_for)
{
    listen_on("::1", &stranger);
    listen_on("127.0.0.1", &server);
    base_time began = virtual_now;
    struct io_race_open open = race_for("six-four.test");
    start(&open);
    run_until_decided();
    check_won_by("127.0.0.1");
    ck_assert_uint_lt(seen.at - began, IO_RACE_DELAY);
    for (int i = 0; i < 50 && loop.endpoint.conn_count > 2; i++)
        step();
    ck_assert_uint_eq(loop.endpoint.conn_count, 2); /* the refused attempt is gone */
}
END_TEST

START_TEST(test_no_route_is_not_waited_for)
{
    listen_on("127.0.0.1", &server);
    base_time began = virtual_now;
    struct io_race_open open = race_for("unreachable-four.test");
    start(&open);
    run_until_decided();
    check_won_by("127.0.0.1");
    ck_assert_uint_lt(seen.at - began, IO_RACE_DELAY);
}
END_TEST

/* ---- all fail ---- */

/* Both time out; the name's owner hears it once. */
START_TEST(test_all_time_out)
{
    black_hole("::1");
    black_hole("127.0.0.1");
    base_time began = virtual_now;
    struct io_race_open open = race_for("six-four.test");
    start(&open);
    run_until_decided();
    ck_assert_uint_eq(seen.failures, 1);
    ck_assert_int_eq(seen.status, ERR_TIMEOUT);
    ck_assert(seen.has_close);
    ck_assert_uint_eq(seen.close.cause, QUIC_CAUSE_HANDSHAKE_TIMEOUT);
    ck_assert_uint_ge(seen.at - began, BASE_SEC + IO_RACE_DELAY); /* the second began later */
    ck_assert(hole_has_swallowed(0) && hole_has_swallowed(1));
    ck_assert_ptr_nonnull(strstr(seen.text, "[::1]:"));
}
END_TEST

/* A refusal says more than silence, whichever came first. */
START_TEST(test_most_telling_failure)
{
    if (_i) {
        black_hole("::1");
        listen_on("127.0.0.1", &stranger);
    } else {
        black_hole("127.0.0.1");
        listen_on("::1", &stranger);
    }
    struct io_race_open open = race_for("six-four.test");
    start(&open);
    run_until_decided();
    ck_assert_uint_eq(seen.failures, 1);
    ck_assert_int_eq(seen.status, ERR_PROTOCOL);
    ck_assert_uint_eq(seen.close.cause, QUIC_CAUSE_PEER);
    ck_assert_uint_eq(seen.close.code, QUIC_CRYPTO_ERROR + 120); /* no_application_protocol */
    ck_assert_ptr_nonnull(strstr(seen.text, _i ? "127.0.0.1:" : "[::1]:"));
}
END_TEST

START_TEST(test_no_route_at_all)
{
    port = 443;
    struct io_race_open open = race_for("both-unreachable.test");
    start(&open);
    run_until_decided();
    ck_assert_uint_eq(seen.failures, 1);
    ck_assert_int_eq(seen.status, ERR_ADDRESS);
    ck_assert(!seen.has_close);
    ck_assert_ptr_nonnull(strstr(seen.text, "255.255.255.255:443"));
}
END_TEST

START_TEST(test_no_such_name)
{
    port = 443;
    struct io_race_open open = race_for("nowhere.test");
    start(&open);
    run_until_decided();
    ck_assert_uint_eq(seen.failures, 1);
    ck_assert_int_eq(seen.status, ERR_RESOLVE);
    ck_assert(!seen.has_close);
    ck_assert_str_ne(seen.text, "");
}
END_TEST

/* ---- no race ---- */

START_TEST(test_literal)
{
    listen_on("127.0.0.1", &server);
    struct io_race_open open = race_for("127.0.0.1");
    start(&open);
    ck_assert_ptr_null(race);
    check_won_by("127.0.0.1");
    ck_assert_uint_eq(loop.timer_count, 0);
    for (int i = 0; i < 50 && !seen.connected; i++)
        step();
    ck_assert_uint_eq(seen.connected, 1);

    struct crypto_error why = {{0}};
    open.family = 6;
    ck_assert_int_eq(io_race_start(&loop, &open, &race, &why), ERR_ADDRESS);
    ck_assert_str_ne(why.text, "");
    open.host = "";
    ck_assert_int_eq(io_race_start(&loop, &open, &race, NULL), ERR_RESOLVE);
}
END_TEST

/* One address, or only the first wanted (0-RTT): the connection is handed over before it has proven anything. */
START_TEST(test_only_one)
{
    black_hole("::1");
    black_hole("127.0.0.1");
    struct io_race_open open = race_for(_i ? "four.test" : "six-four.test");
    open.first_only = !_i;
    base_time began = virtual_now;
    start(&open);
    run_until_decided();
    check_won_by(_i ? "127.0.0.1" : "::1");
    ck_assert_uint_eq(seen.at, began);
    ck_assert_uint_eq(seen.connected, 0);
    for (int i = 0; i < 200 && seen.conn; i++)
        step();
    ck_assert_ptr_null(seen.conn); /* its time-out was its owner's */
    ck_assert_uint_eq(seen.failures, 0);
}
END_TEST

/* External I/O: literals only, and the race needs no libuv. */
START_TEST(test_external)
{
    io_loop_close(&loop, NULL, NULL);
    struct io_loop_open outside = {.mem = &mem, .external = true, .clock = test_clock, .dispatch = dispatch};
    ck_assert_int_eq(io_loop_init(&loop, &outside, NULL), 0);
    port = 443;
    struct io_race_open open = race_for("six-four.test");
    struct crypto_error why = {{0}};
    ck_assert_int_eq(io_race_start(&loop, &open, &race, &why), ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(why.text, "six-four.test"));
    open.host = "192.0.2.1";
    start(&open);
    check_won_by("192.0.2.1");
    static uint8_t data[QUIC_TRAIN_SIZE];
    struct quic_train train = {.data = data, .max_segments = 1};
    ck_assert(io_loop_output(&loop, &train));
    ck_assert(quic_addr_equal(&train.remote, &seen.conn->paths[0]->remote));
}
END_TEST

/* ---- cancelling ---- */

/* Before the name is known, while one attempt runs, while two do. */
START_TEST(test_cancel)
{
    black_hole("::1");
    black_hole("127.0.0.1");
    struct io_race_open open = race_for("six-four.test");
    start(&open);
    base_time began = virtual_now;
    while ((_i == 1 && !hole_has_swallowed(0)) || (_i == 2 && virtual_now - began < IO_RACE_DELAY + BASE_MS))
        step();
    io_race_cancel(race);
    race = NULL;
    ck_assert_uint_eq(loop.timer_count, 0);
    for (int i = 0; i < 50; i++)
        step();
    ck_assert_uint_eq(seen.conns + seen.failures, 0);
    ck_assert_uint_eq(loop.endpoint.conn_count, 0);
}
END_TEST

static unsigned allocations_left;

static void *scarce_alloc(void *user, size_t size) {
    (void)user;
    return allocations_left && allocations_left-- ? malloc(size) : NULL;
}

/* Whichever allocation fails, the race says so or goes on, and nothing is left behind. */
START_TEST(test_without_memory)
{
    listen_on("127.0.0.1", &server);
    black_hole("::1");
    unsigned n = 0;
    for (bool done = false; !done; n++) {
        ck_assert_uint_lt(n, 3000);
        memset(&seen, 0, sizeof seen);
        struct io_race_open open = race_for(_i ? "six-four.test" : "127.0.0.1");
        open.connect.token = (const uint8_t *)"token";
        open.connect.token_len = 5;
        mem.alloc = scarce_alloc;
        allocations_left = n;
        struct crypto_error why = {{0}};
        int result = io_race_start(&loop, &open, &race, &why);
        ck_assert(result == 0 || (why.text[0] && !race));
        ck_assert(result == 0 || seen.conns + seen.failures == 0);
        for (int i = 0; i < 3 && race; i++)
            step();
        done = allocations_left > 0;
        allocations_left = UINT32_MAX;
        if (race)
            io_race_cancel(race);
        if (seen.conn)
            quic_conn_detach(seen.conn, virtual_now);
        race = NULL;
        seen.conn = NULL;
        ck_assert_uint_eq(loop.timer_count, 0);
    }
    ck_assert_uint_gt(n, 3);
}
END_TEST

static TCase *tcase(Suite *suite, const char *name) {
    TCase *tc = tcase_create(name);
    tcase_add_checked_fixture(tc, setup, teardown);
    suite_add_tcase(suite, tc);
    return tc;
}

Suite *unit_suite(void) {
    Suite *suite = suite_create("io/race");
    TCase *tc = tcase(suite, "winning");
    tcase_add_test(tc, test_black_hole_loses);
    tcase_add_test(tc, test_first_is_fast);
    tcase_add_test(tc, test_refusal_is_not_waited_for);
    tcase_add_test(tc, test_no_route_is_not_waited_for);
    tc = tcase(suite, "losing");
    tcase_add_test(tc, test_all_time_out);
    tcase_add_loop_test(tc, test_most_telling_failure, 0, 2);
    tcase_add_test(tc, test_no_route_at_all);
    tcase_add_test(tc, test_no_such_name);
    tc = tcase(suite, "alone");
    tcase_add_test(tc, test_literal);
    tcase_add_loop_test(tc, test_only_one, 0, 2);
    tcase_add_test(tc, test_external);
    tc = tcase(suite, "ending");
    tcase_add_loop_test(tc, test_cancel, 0, 3);
    tcase_add_loop_test(tc, test_without_memory, 0, 2);
    return suite;
}
