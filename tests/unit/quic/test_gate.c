/* The gate: strangers beyond the budgets get a Retry or no answer, networks get their share, a turn has its limit, and
 * all that is counted is given back. */
#include "engine.h"
#include "quic/lobby.h"
#include "tables/errors.h"

#define CLIENTS 200u

static struct engine server, client;
static struct crypto_tls_config *server_tls, *client_tls;
static struct options *options;
static const struct engine_stats *stats;

/* First datagrams of clients that all have IDs of their own. */
static struct {
    uint8_t data[1500];
    size_t len;
} initials[CLIENTS];

static void setup(void) {
    static const char *const names[] = {"localhost"};
    static const uint8_t alpn[] = "\x02h3";
    char cert[4096], key[4096];
    struct crypto_error error = {""};
    engine_open(&server, CRYPTO_SERVER, 5, NULL);
    engine_open(&client, CRYPTO_CLIENT, 9, NULL);
    ck_assert(crypto_init());
    ck_assert(crypto_selfsigned(names, 1, 30, cert, sizeof cert, key, sizeof key, &error));
    server_tls = crypto_tls_config_new(CRYPTO_SERVER, &error);
    client_tls = crypto_tls_config_new(CRYPTO_CLIENT, &error);
    ck_assert(server_tls && client_tls);
    ck_assert(crypto_tls_config_certificate(server_tls, CRYPTO_PEM, (const uint8_t *)cert, strlen(cert),
                                            (const uint8_t *)key, strlen(key), &error));
    ck_assert(crypto_tls_config_alpn(server_tls, alpn, sizeof alpn - 1, &error));
    ck_assert(crypto_tls_config_alpn(client_tls, alpn, sizeof alpn - 1, &error));
    ck_assert(crypto_tls_config_groups(client_tls, "X25519", &error)); /* hellos of one datagram */
    crypto_tls_config_verify(client_tls, false);
    server.config.tls = server_tls;
    client.config.tls = client_tls;
    options = &server.config.options;
    stats = &server.endpoint.stats;
    ck_assert_uint_eq(options->address_validation, QUIC_VALIDATE_AUTO);
    options->handshakes_per_turn = 64;
    options->prefix_share = 100;
}

static void teardown(void) {
    engine_close(&client);
    engine_close(&server);
    ck_assert_uint_eq(server.endpoint.gate.half_open, 0);
    ck_assert_uint_eq(server.endpoint.gate.handshakes, 0);
    crypto_tls_config_unref(server_tls);
    crypto_tls_config_unref(client_tls);
    crypto_cleanup();
}

static struct quic_conn *dial(struct quic_addr from) {
    struct quic_connect connect = {.config = &client.config,
                                   .socket = &client.socket,
                                   .local = from,
                                   .remote = server.socket.local,
                                   .server_name = "localhost"};
    struct quic_conn *conn = NULL;
    struct crypto_error why;
    ck_assert_int_eq(quic_conn_connect(&client.endpoint, &connect, client.now, &conn, &why), 0);
    return conn;
}

static void make_initials(unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        struct quic_conn *conn = dial(engine_addr(9, 5000));
        ck_assert(engine_output(&client));
        memcpy(initials[i].data, client.train.data, initials[i].len = client.train.len);
        conn->detached = true;
        quic_conn_free(conn);
    }
}

static struct quic_addr stranger(unsigned i) {
    return (struct quic_addr){.family = 4, .ip = {10, (uint8_t)(i >> 8), (uint8_t)i, 1}, .port = 1000};
}

static void turn(void) {
    quic_endpoint_settle(&server.endpoint);
    quic_endpoint_tick(&server.endpoint, server.now);
}

/* Time passes, in steps. */
static void pass(base_time span) {
    for (base_time end = server.now + span; server.now < end;) {
        server.now = base_time_min(end, server.now + 100 * BASE_MS);
        turn();
        while (engine_output(&server))
            continue;
    }
}

/* All that was accepted and is open goes. */
static void dismiss(void) {
    struct base_list *all = &server.endpoint.conns;
    for (struct base_node *next, *node = base_list_first(all); node; node = next) {
        next = base_list_next(all, node);
        quic_conn_detach(BASE_CONTAINER(node, struct quic_conn, all), server.now);
    }
}

/* Strangers first to last - 1, each from a network of its own; a turn for each. */
static void flood(unsigned first, unsigned last) {
    for (unsigned i = first; i < last; i++) {
        engine_input(&server, initials[i].data, initials[i].len, stranger(i));
        turn();
        while (engine_output(&server))
            continue;
    }
}

static void come_from(unsigned i, struct quic_addr from) {
    engine_input(&server, initials[i].data, initials[i].len, from);
    while (engine_output(&server))
        continue;
}

/* Datagrams between a client's connection at `from` and the server until both are silent. */
static void carry(struct quic_addr from) {
    for (bool busy = true; busy;) {
        busy = false;
        while (engine_output(&client)) {
            busy = true;
            engine_input(&server, client.train.data, client.train.len, from);
        }
        while (engine_output(&server)) {
            if (!quic_addr_equal(&server.train.remote, &from))
                continue;
            busy = true;
            engine_input(&client, server.train.data, server.train.len, server.socket.local);
        }
        turn();
    }
}

START_TEST(beyond_the_budget_every_stranger_gets_a_retry)
{
    make_initials(40);
    options->half_open_limit = 20;
    flood(0, 20);
    ck_assert_uint_eq(server.endpoint.gate.half_open, 20);
    ck_assert_uint_eq(stats->retries_sent, 0);
    flood(20, 40);
    ck_assert_uint_eq(server.endpoint.gate.half_open, 20);
    ck_assert_uint_eq(server.endpoint.conn_count, 20);
    ck_assert_uint_eq(stats->retries_sent, 20);
    ck_assert_uint_eq(stats->half_open_guards, 1);
}
END_TEST

/* A true client gets in all the same, by its Retry, and is not counted as half-open. */
START_TEST(who_proves_the_address_gets_in)
{
    make_initials(20);
    options->half_open_limit = 20;
    flood(0, 20);
    struct quic_conn *conn = dial(engine_addr(9, 5000));
    carry(engine_addr(9, 5000));
    ck_assert(conn->handshake_complete && conn->retried);
    ck_assert_uint_eq(server.endpoint.gate.half_open, 20);
    ck_assert_uint_eq(server.endpoint.gate.handshakes, 20);
}
END_TEST

/* Back to normal not at once, but when half of the places are free. */
START_TEST(the_guard_goes_home_late)
{
    make_initials(60);
    options->half_open_limit = 20;
    options->handshake_timeout = 10 * BASE_SEC;
    flood(0, 8);
    pass(5 * BASE_SEC);
    flood(8, 21);
    ck_assert(server.endpoint.gate.guarding);
    pass(5 * BASE_SEC); /* the first eight have gone: 12 are left */
    ck_assert_uint_eq(server.endpoint.gate.half_open, 12);
    flood(21, 22);
    ck_assert_uint_eq(stats->retries_sent, 2);
    pass(5 * BASE_SEC);
    flood(22, 23);
    ck_assert_uint_eq(stats->retries_sent, 2);
    ck_assert_uint_eq(server.endpoint.gate.half_open, 1);
    ck_assert_uint_eq(stats->half_open_guards, 1);
}
END_TEST

/* Strangers that go quickly are not half-open for long, but each was a beginning for nothing. */
START_TEST(a_rate_of_strangers_is_seen_too)
{
    make_initials(60);
    options->half_open_limit = 20;
    options->half_open_rate = 10;
    for (unsigned i = 0; i < 60; i++) {
        flood(i, i + 1);
        dismiss();
        server.now += 20 * BASE_MS; /* 50 a second: the burst of 30 and 10 a second last for 37 */
    }
    ck_assert_uint_ge(stats->retries_sent, 60 - 40);
    ck_assert_uint_le(stats->retries_sent, 60 - 34);
}
END_TEST

/* A crowd of true clients is no attack. */
START_TEST(proofs_give_back_what_beginnings_took)
{
    options->half_open_limit = 2;
    options->half_open_rate = 1;
    for (unsigned i = 0; i < 12; i++) {
        struct quic_conn *conn = dial(engine_addr(9, 5000));
        carry(engine_addr(9, 5000));
        ck_assert(conn->handshake_complete && !conn->retried);
    }
    ck_assert_uint_eq(stats->retries_sent, 0);
    ck_assert_uint_eq(server.endpoint.gate.half_open, 0);
    ck_assert_uint_eq(server.endpoint.gate.handshakes, 0);
}
END_TEST

START_TEST(beyond_the_second_limit_there_is_no_answer)
{
    make_initials(12);
    options->max_handshakes = 10;
    flood(0, 12);
    ck_assert_uint_eq(server.endpoint.conn_count, 10);
    ck_assert_uint_eq(stats->initials_dropped, 2);
    ck_assert_uint_eq(stats->retries_sent, 0);
}
END_TEST

START_TEST(the_silent_make_room)
{
    make_initials(24);
    options->max_handshakes = 10;
    flood(0, 10);
    struct quic_conn *kept = BASE_CONTAINER(base_list_first(&server.endpoint.conns), struct quic_conn, all);
    pass(200 * BASE_MS);
    quic_conn_on_received(kept, server.now); /* somebody is heard of */
    pass(100 * BASE_MS);
    flood(10, 24);
    ck_assert_uint_eq(stats->handshakes_evicted, 9);
    ck_assert_uint_eq(stats->initials_dropped, 5);
    ck_assert_uint_eq(server.endpoint.gate.handshakes, 10);
    ck_assert_uint_lt(kept->state, QUIC_CONN_CLOSING);
}
END_TEST

START_TEST(never_asks_nobody_and_always_asks_all)
{
    make_initials(10);
    options->address_validation = QUIC_VALIDATE_NEVER;
    options->half_open_limit = 2;
    flood(0, 5);
    ck_assert_uint_eq(stats->retries_sent, 0);
    options->address_validation = QUIC_VALIDATE_ALWAYS;
    flood(5, 10);
    ck_assert_uint_eq(stats->retries_sent, 5);
    ck_assert_uint_eq(server.endpoint.conn_count, 5);
}
END_TEST

START_TEST(a_network_gets_its_share_of_the_places)
{
    make_initials(40);
    options->half_open_limit = 40;
    options->prefix_share = 25;
    for (unsigned i = 0; i < 30; i++) /* alone it may have half of them */
        come_from(i, (struct quic_addr){.family = 4, .ip = {198, 51, 100, (uint8_t)i}, .port = 7});
    ck_assert_uint_eq(server.endpoint.gate.half_open, 20);
    ck_assert_uint_eq(stats->retries_sent, 10);
    ck_assert_uint_eq(stats->prefix_limited, 10);
    for (unsigned i = 30; i < 40; i++) /* another /24 */
        come_from(i, (struct quic_addr){.family = 4, .ip = {198, 51, 101, 1}, .port = 7});
    ck_assert_uint_eq(server.endpoint.gate.half_open, 30);
    ck_assert_uint_eq(stats->retries_sent, 10);
    ck_assert_uint_eq(stats->half_open_guards, 0);
}
END_TEST

START_TEST(prefixes_are_as_long_as_the_options_say)
{
    struct quic_addr a = {.family = 6, .ip = {0x20, 1, 0xd, 0xb8, 0, 1, 2, 0x10}}, b = a;
    b.ip[7] = 0x20;
    b.ip[15] = 9;
    ck_assert_uint_eq(quic_gate_prefix(&server.endpoint, options, &a), quic_gate_prefix(&server.endpoint, options, &b));
    options->prefix_v6 = 60;
    ck_assert_uint_ne(quic_gate_prefix(&server.endpoint, options, &a), quic_gate_prefix(&server.endpoint, options, &b));
    a = engine_addr(1, 1), b = engine_addr(2, 2);
    ck_assert_uint_eq(quic_gate_prefix(&server.endpoint, options, &a), quic_gate_prefix(&server.endpoint, options, &b));
    options->prefix_v4 = 32;
    ck_assert_uint_ne(quic_gate_prefix(&server.endpoint, options, &a), quic_gate_prefix(&server.endpoint, options, &b));
}
END_TEST

/* The rest of a burst waits for later turns; nobody is lost, and nobody is asked for a Retry. */
START_TEST(a_turn_begins_so_many_handshakes)
{
    make_initials(20);
    options->handshakes_per_turn = 8;
    for (unsigned i = 0; i < 20; i++)
        engine_input(&server, initials[i].data, initials[i].len, stranger(i));
    ck_assert_uint_eq(server.endpoint.conn_count, 8);
    ck_assert_uint_eq(stats->initials_deferred, 12);
    ck_assert_uint_eq(quic_endpoint_deadline(&server.endpoint), 0);
    turn();
    ck_assert_uint_eq(server.endpoint.conn_count, 16);
    turn();
    ck_assert_uint_eq(server.endpoint.conn_count, 20);
    ck_assert_uint_eq(stats->retries_sent, 0);
    ck_assert_uint_eq(stats->initials_dropped, 0);
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, 0);
}
END_TEST

/* A network that comes with hundreds at once holds up nobody else: lanes are served one after the other. */
START_TEST(a_network_gets_its_share_of_the_turn)
{
    make_initials(CLIENTS);
    options->half_open_limit = 1000;
    options->handshakes_per_turn = 8;
    for (unsigned i = 0; i < CLIENTS - 4; i++)
        engine_input(&server, initials[i].data, initials[i].len,
                     (struct quic_addr){.family = 4, .ip = {198, 51, 100, (uint8_t)i}, .port = 7});
    ck_assert_uint_eq(server.endpoint.conn_count, 8);
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, CLIENTS - 4 - 8);
    for (unsigned i = CLIENTS - 4; i < CLIENTS; i++)
        engine_input(&server, initials[i].data, initials[i].len, stranger(i));
    turn(); /* hundreds wait before them, but all four have their turn */
    ck_assert_uint_eq(server.endpoint.conn_count, 8 + 8);
    uint64_t crowd =
        quic_gate_prefix(&server.endpoint, options, &(struct quic_addr){.family = 4, .ip = {198, 51, 100}});
    unsigned others = 0;
    for (struct base_node *node = base_list_first(&server.endpoint.conns); node;
         node = base_list_next(&server.endpoint.conns, node))
        others += BASE_CONTAINER(node, struct quic_conn, all)->prefix != crowd;
    ck_assert_uint_eq(others, 4);
    for (unsigned i = 0; i < 100 && server.endpoint.gate.waiting_count; i++)
        turn();
    ck_assert_uint_eq(server.endpoint.conn_count, CLIENTS);
    ck_assert_uint_eq(stats->retries_sent + stats->initials_dropped, 0);
}
END_TEST

/* A network fills half of the lobby at most; then it is asked for a Retry, and who comes with a token is not answered. */
START_TEST(a_network_gets_its_share_of_the_lobby)
{
    make_initials(1);
    options->half_open_limit = 100000;
    options->handshakes_per_turn = 1;
    options->prefix_share = 25;
    uint8_t *data = initials[0].data;
    engine_input(&server, data, initials[0].len, stranger(1)); /* this turn's */
    for (unsigned i = 0; i < QUIC_LOBBY_HELLOS / 2 + 10; i++) {
        base_store_u16(data + 6, (uint16_t)i); /* another ID: nothing authentic, but that is not known yet */
        engine_input(&server, data, initials[0].len, engine_addr(20, 5000));
    }
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, QUIC_LOBBY_HELLOS / 2);
    ck_assert_uint_eq(stats->retries_sent, 10);
    for (unsigned i = 0; i < 10; i++) { /* others are let in */
        base_store_u16(data + 6, (uint16_t)i);
        engine_input(&server, data, initials[0].len, stranger(i));
    }
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, QUIC_LOBBY_HELLOS / 2 + 10);
    options->address_validation = QUIC_VALIDATE_NEVER;
    base_store_u16(data + 6, 0xffff);
    engine_input(&server, data, initials[0].len, engine_addr(20, 5000));
    ck_assert_uint_eq(stats->initials_dropped, 1);
    while (engine_output(&server))
        continue;
}
END_TEST

/* The lobby holds no more than its share of the memory, and nothing when all have gone. */
START_TEST(the_lobby_is_as_large_as_memory_allows)
{
    make_initials(1);
    options->half_open_limit = 100000;
    options->handshakes_per_turn = 1;
    uint8_t *data = initials[0].data;
    engine_input(&server, data, initials[0].len, stranger(1));
    while (engine_output(&server))
        continue;
    server.mem.limit = 8u << 20;
    uint64_t before = server.mem.used;
    for (unsigned i = 0; i < 1000; i++) {
        base_store_u16(data + 6, (uint16_t)i);
        engine_input(&server, data, initials[0].len, stranger(i));
        while (engine_output(&server))
            continue;
    }
    ck_assert_uint_gt(server.endpoint.gate.waiting_count, 200);
    ck_assert_uint_lt(server.endpoint.gate.waiting_count, 400);
    ck_assert_uint_lt(server.mem.used - before, (8u << 20) / 16 + (64u << 10)); /* and tables */
    server.mem.limit = 0;
    pass(20 * BASE_SEC); /* who has waited for longer than a handshake may take has gone */
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, 0);
    ck_assert_ptr_null(server.endpoint.gate.lobby);
}
END_TEST

/* The ClientHello of a client in two datagrams, at `from`, in the order given; the first stays in client.train. */
static struct quic_conn *dial_two(struct quic_addr from, bool swapped) {
    struct crypto_error why;
    ck_assert(crypto_tls_config_groups(client_tls, "X25519MLKEM768", &why));
    struct quic_conn *conn = dial(from);
    uint8_t data[2][1500];
    size_t len[2];
    for (unsigned i = 0; i < 2; i++) {
        ck_assert(engine_output(&client));
        memcpy(data[i], client.train.data, len[i] = client.train.len);
    }
    for (unsigned i = 0; i < 2; i++)
        engine_input(&server, data[i ^ swapped], len[i ^ swapped], from);
    memcpy(client.train.data, data[0], client.train.len = len[0]);
    return conn;
}

/* Both datagrams of a hello wait together, and what is sent again does not wait twice without end. */
START_TEST(a_hello_waits_as_one)
{
    make_initials(1);
    options->handshakes_per_turn = 1;
    engine_input(&server, initials[0].data, initials[0].len, stranger(1));
    struct quic_conn *conn = dial_two(engine_addr(9, 5000), false);
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, 1);
    ck_assert_uint_eq(stats->initials_deferred, 1);
    for (unsigned i = 0; i < 5; i++)
        engine_input(&server, client.train.data, client.train.len, engine_addr(9, 5000));
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, 1);
    ck_assert_uint_eq(stats->initials_dropped, 2 + 5 - QUIC_HELLO_DATAGRAMS);
    turn();
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, 0);
    ck_assert_uint_eq(server.endpoint.conn_count, 2);
    const struct base_node *newest = server.endpoint.conns.head.prev;
    ck_assert_ptr_nonnull(BASE_CONTAINER(newest, struct quic_conn, all)->tls); /* the hello was whole */
    carry(engine_addr(9, 5000));
    ck_assert(conn->handshake_complete && !conn->retried);
    ck_assert_uint_eq(stats->retries_sent, 0);
}
END_TEST

/* A hello of two datagrams gets one Retry, and the second makes no connection of its own; sent again it is answered. */
START_TEST(a_hello_is_turned_away_as_one)
{
    options->address_validation = QUIC_VALIDATE_ALWAYS;
    dial_two(engine_addr(9, 5000), false);
    ck_assert_uint_eq(stats->retries_sent, 1);
    options->address_validation = QUIC_VALIDATE_NEVER;
    engine_input(&server, client.train.data, client.train.len, engine_addr(9, 5000));
    ck_assert_uint_eq(server.endpoint.conn_count, 0);
    server.now += 20 * BASE_MS;
    engine_input(&server, client.train.data, client.train.len, engine_addr(9, 5000));
    ck_assert_uint_eq(server.endpoint.conn_count, 1);
    options->max_handshakes = 1;
    dial_two(engine_addr(9, 5001), true);
    ck_assert_uint_eq(stats->initials_dropped, 1);
    while (engine_output(&server))
        continue;
}
END_TEST

/* Who has waited while the engine began to guard gets his Retry then. */
START_TEST(who_waits_is_judged_again)
{
    make_initials(30);
    options->handshakes_per_turn = 4;
    options->half_open_limit = 8;
    for (unsigned i = 0; i < 30; i++)
        engine_input(&server, initials[i].data, initials[i].len, stranger(i));
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, 26);
    turn();
    turn();
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, 0);
    ck_assert_uint_eq(server.endpoint.conn_count, 8);
    ck_assert_uint_eq(stats->retries_sent, 22);
    while (engine_output(&server))
        continue;
}
END_TEST

/* While too many replies wait nobody is dropped: he waits for his Retry. */
START_TEST(retries_wait_for_room)
{
    make_initials(1);
    options->address_validation = QUIC_VALIDATE_ALWAYS;
    uint8_t *data = initials[0].data;
    for (unsigned i = 0; i < QUIC_REPLIES + 50; i++) {
        base_store_u16(data + 6, (uint16_t)i);
        engine_input(&server, data, initials[0].len, stranger(i));
    }
    ck_assert_uint_eq(server.endpoint.reply_count, QUIC_REPLIES);
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, 50);
    while (engine_output(&server))
        continue;
    turn();
    ck_assert_uint_eq(stats->retries_sent, QUIC_REPLIES + 50);
    ck_assert_uint_eq(stats->initials_dropped + stats->datagrams_refused, 0);
    while (engine_output(&server))
        continue;
}
END_TEST

/* 0-RTT packets wait with their hello. */
START_TEST(early_packets_wait_with_their_hello)
{
    make_initials(2);
    options->early_data = 1;
    options->handshakes_per_turn = 1;
    engine_input(&server, initials[0].data, initials[0].len, stranger(0));
    engine_input(&server, initials[1].data, initials[1].len, stranger(1));
    uint8_t packet[1200] = {0xd0, 0, 0, 0, 1, 8};
    memcpy(packet + 6, initials[1].data + 6, 8); /* the ID */
    packet[15] = 0x44;
    packet[16] = 0x9f;
    ck_assert_uint_eq(initials[1].data[5], 8);
    engine_input(&server, packet, sizeof packet, stranger(1));
    ck_assert_ptr_null(server.endpoint.orphans);
    engine_input(&server, packet, sizeof packet, stranger(2)); /* and this one is not his */
    ck_assert_ptr_nonnull(server.endpoint.orphans);
    turn();
    ck_assert_uint_eq(server.endpoint.conn_count, 2);
    const struct base_node *newest = server.endpoint.conns.head.prev;
    ck_assert_uint_eq(BASE_CONTAINER(newest, struct quic_conn, all)->stats.datagrams_received, 2 + 1);
}
END_TEST

/* The application is asked once about a client, however long he waits. */
static unsigned asked;
static enum quic_admit ask(const struct quic_admission *admission, enum quic_token_kind kind,
                           const struct quic_addr *remote, const uint8_t *token, size_t len) {
    (void)admission, (void)kind, (void)remote, (void)token, (void)len;
    asked++;
    return QUIC_ADMIT_PROVEN;
}

START_TEST(the_application_is_asked_once)
{
    static const struct quic_admission admission = {.judge = ask};
    make_initials(6);
    options->handshakes_per_turn = 1;
    server.config.admission = &admission;
    asked = 0;
    for (unsigned i = 0; i < 6; i++)
        engine_input(&server, initials[i].data, initials[i].len, stranger(i));
    for (unsigned i = 0; i < 6; i++)
        turn();
    ck_assert_uint_eq(asked, 6);
    ck_assert_uint_eq(server.endpoint.conn_count, 6);
    ck_assert_uint_eq(server.endpoint.gate.half_open, 0); /* what was said of them holds */
    server.config.admission = NULL;
}
END_TEST

/* Handshakes of proven addresses are shared, too: a network of true hosts cannot take all of them. */
START_TEST(a_network_gets_its_share_of_the_handshakes)
{
    options->max_handshakes = 8;
    options->prefix_share = 25;
    options->address_validation = QUIC_VALIDATE_ALWAYS;
    for (unsigned i = 0; i < 6; i++) {
        struct quic_addr from = engine_addr((uint8_t)(20 + i), 5000);
        struct quic_conn *conn = dial(from);
        ck_assert(engine_output(&client));
        engine_input(&server, client.train.data, client.train.len, from);
        ck_assert(engine_output(&server)); /* the Retry */
        engine_input(&client, server.train.data, server.train.len, server.socket.local);
        ck_assert(engine_output(&client));
        engine_input(&server, client.train.data, client.train.len, from);
        conn->detached = true; /* and is silent from now on */
        quic_conn_free(conn);
        while (engine_output(&server))
            continue;
    }
    ck_assert_uint_eq(server.endpoint.gate.handshakes, 4);
    ck_assert_uint_eq(server.endpoint.gate.half_open, 0);
    ck_assert_uint_eq(stats->prefix_limited, 2);
    ck_assert_uint_eq(stats->initials_dropped, 2);
}
END_TEST

/* While memory is scarce a network that has its share of the connections gets no more; others do. */
START_TEST(scarce_memory_is_shared)
{
    options->prefix_share = 25;
    for (unsigned i = 0; i < 12; i++) {
        struct quic_addr from = engine_addr((uint8_t)(20 + i), 5000);
        struct quic_conn *conn = dial(from);
        carry(from);
        ck_assert(conn->handshake_complete);
    }
    make_initials(3);
    server.mem.limit = server.mem.used * 5; /* a fifth: there is enough */
    engine_input(&server, initials[0].data, initials[0].len, engine_addr(99, 1));
    ck_assert_uint_eq(server.endpoint.conn_count, 13);
    server.mem.limit = server.mem.used * 5 / 4; /* four fifths */
    engine_input(&server, initials[1].data, initials[1].len, engine_addr(99, 2));
    ck_assert_uint_eq(server.endpoint.conn_count, 13);
    ck_assert_uint_eq(stats->prefix_limited, 1);
    ck_assert_uint_eq(stats->initials_dropped, 1);
    quic_gate_proven(BASE_CONTAINER(base_list_first(&server.endpoint.gate.unfinished), struct quic_conn, unfinished));
    server.endpoint.gate.guarding = false;
    engine_input(&server, initials[2].data, initials[2].len, stranger(1));
    ck_assert_uint_eq(stats->prefix_limited, 1);
    ck_assert_uint_eq(stats->initials_dropped, 1);
    server.mem.limit = 0;
    while (engine_output(&server))
        continue;
}
END_TEST

/* Before the ClientHello is whole there is no TLS object; with it there is. */
START_TEST(tls_begins_with_a_whole_hello)
{
    struct crypto_error why;
    ck_assert(crypto_tls_config_groups(client_tls, "X25519MLKEM768", &why)); /* a hello of two datagrams */
    dial(engine_addr(9, 5000));
    ck_assert(engine_output(&client));
    come_from(0, engine_addr(1, 1)); /* (nothing was made: an empty datagram) */
    engine_input(&server, client.train.data, client.train.segment, engine_addr(9, 5000));
    struct quic_conn *conn = BASE_CONTAINER(base_list_first(&server.endpoint.conns), struct quic_conn, all);
    ck_assert_ptr_null(conn->tls);
    ck_assert_uint_eq(server.endpoint.gate.half_open, 1);
    carry(engine_addr(9, 5000));
    ck_assert(conn->handshake_complete);
    ck_assert_uint_eq(server.endpoint.gate.half_open, 0);
}
END_TEST

/* Of a small memory budget strangers get an eighth, whatever the option says. */
START_TEST(half_open_clients_fit_into_an_eighth_of_the_memory)
{
    make_initials(60);
    server.mem.limit = 4 << 20;
    uint64_t before = server.mem.used;
    flood(0, 60);
    ck_assert_uint_eq(server.endpoint.gate.half_open, (4 << 20) / 8 / QUIC_GATE_HALF_OPEN_COST);
    ck_assert_uint_le(server.mem.peak - before, (4 << 20) / 8 + (192 << 10)); /* and the tables */
    ck_assert_uint_eq(stats->retries_sent, 60 - server.endpoint.gate.half_open);
}
END_TEST

/* What a half-open client holds, TLS included, is what the gate takes it for at most: with either kind of key exchange. */
START_TEST(a_half_open_client_costs_what_it_is_taken_for)
{
    static const char *const groups[] = {"X25519", "X25519MLKEM768:X25519"};
    make_initials(1);
    flood(0, 1);
    dismiss();
    pass(5 * BASE_SEC);
    uint64_t idle = server.mem.used; /* with the table of networks */
    for (unsigned kind = 0; kind < 2; kind++) {
        struct crypto_error why;
        ck_assert(crypto_tls_config_groups(client_tls, groups[kind], &why));
        for (unsigned i = 0; i < 10; i++) {
            struct quic_conn *conn = dial(engine_addr(9, 5000));
            while (engine_output(&client))
                engine_input(&server, client.train.data, client.train.len, stranger(i));
            conn->detached = true;
            quic_conn_free(conn);
            turn();
            while (engine_output(&server))
                continue;
        }
        ck_assert_uint_eq(server.endpoint.gate.half_open, 10);
        uint64_t each = (server.mem.used - idle) / 10;
        ck_assert_msg(each <= QUIC_GATE_HALF_OPEN_COST, "%s: %llu bytes", groups[kind], (unsigned long long)each);
        dismiss();
        pass(5 * BASE_SEC);
        ck_assert_uint_eq(server.endpoint.conn_count, 0);
    }
}
END_TEST

START_TEST(stateless_replies_have_rates)
{
    uint8_t packet[1200] = {0x41, 5}; /* an ID of this engine that is nobody's */
    options->stateless_reset_rate = 10;
    for (unsigned i = 0; i < 20; i++)
        engine_input(&server, packet, 100, stranger(i));
    ck_assert_uint_eq(stats->stateless_resets_sent, 2);
    ck_assert_uint_eq(stats->replies_suppressed, 18);
    options->stateless_reset_rate = 0;
    server.now += BASE_SEC;
    engine_input(&server, packet, 100, stranger(1));
    ck_assert_uint_eq(stats->stateless_resets_sent, 2);
    static const uint8_t unknown[] = {0xc0, 0xba, 0xba, 0xba, 0xba, 8};
    memcpy(packet, unknown, sizeof unknown);
    options->stateless_reply_rate = 30;
    for (unsigned i = 0; i < 20; i++)
        engine_input(&server, packet, sizeof packet, stranger(i));
    ck_assert_uint_eq(stats->version_negotiations_sent, 3);
    ck_assert_uint_eq(stats->replies_suppressed, 19 + 17);
    while (engine_output(&server))
        continue;
}
END_TEST

/* So many closed connections are kept, but each has said its CONNECTION_CLOSE. */
START_TEST(closed_connections_are_few)
{
    options->max_closing = 5;
    for (unsigned i = 0; i < 12; i++) {
        dial(engine_addr(9, 5000));
        carry(engine_addr(9, 5000));
    }
    uint64_t before = server.mem.used;
    dismiss();
    ck_assert_uint_eq(stats->closings_cut, 0);
    unsigned said = 0;
    while (engine_output(&server))
        said++;
    ck_assert_uint_eq(said, 12);
    ck_assert_uint_eq(stats->closings_cut, 7);
    turn();
    ck_assert_uint_eq(server.endpoint.conn_count, 5);
    ck_assert_uint_eq(server.endpoint.closing_count, 5);
    ck_assert_uint_le(server.mem.used, before - 7 * 8192 + 5 * 1500);
    server.mem.limit = 16 * 8192 * 2; /* and in a small memory even fewer */
    dial(engine_addr(9, 5000));
    pass(30 * BASE_SEC);
    ck_assert_uint_eq(server.endpoint.closing_count, 0);
}
END_TEST

START_TEST(amplification_has_a_limit)
{
    for (unsigned limit = 1; limit <= 3; limit++) {
        options->amplification_limit = limit;
        make_initials(1);
        engine_input(&server, initials[0].data, initials[0].len, stranger(limit));
        uint64_t sent = 0;
        for (unsigned i = 0; i < 50; i++) {
            while (engine_output(&server))
                sent += server.train.len;
            server.now += 100 * BASE_MS;
            turn();
        }
        ck_assert_uint_le(sent, limit * initials[0].len);
        ck_assert_uint_gt(sent, (limit - 1) * initials[0].len);
    }
    ck_assert_uint_gt(stats->amplification_blocks, 0);
}
END_TEST

START_TEST(orphans_are_few_or_none)
{
    uint8_t packet[1200] = {0xd0, 0, 0, 0, 1, 8};
    packet[15] = 0x44;
    packet[16] = 0x9f;
    options->early_data = 1;
    options->orphan_packets = 4;
    uint64_t before = server.mem.used;
    for (uint8_t i = 0; i < 10; i++) {
        packet[6] = i;
        engine_input(&server, packet, sizeof packet, stranger(i));
    }
    ck_assert_uint_eq(stats->orphans_dropped, 6);
    ck_assert_uint_gt(server.mem.used, before + 4 * sizeof packet);
    ck_assert_uint_lt(server.mem.used, before + 4 * sizeof packet + 2000);
    options->orphan_packets = 0;
    engine_input(&server, packet, sizeof packet, stranger(1));
    ck_assert_uint_eq(stats->orphans_dropped, 7);
}
END_TEST

/* What waits is freed with the endpoint, and goes with its listener. */
START_TEST(what_waits_can_be_left)
{
    make_initials(4);
    options->handshakes_per_turn = 1;
    for (unsigned i = 0; i < 4; i++)
        engine_input(&server, initials[i].data, initials[i].len, stranger(i));
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, 3);
    server.socket.listener = NULL;
    turn();
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, 0);
    ck_assert_uint_eq(server.endpoint.conn_count, 1);
    server.socket.listener = &server.listener;
    for (unsigned i = 1; i < 4; i++)
        engine_input(&server, initials[i].data, initials[i].len, stranger(i));
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, 2);
}
END_TEST

Suite *unit_suite(void) {
    static const TTest *const *const tests[] = {
        &beyond_the_budget_every_stranger_gets_a_retry,
        &who_proves_the_address_gets_in,
        &the_guard_goes_home_late,
        &a_rate_of_strangers_is_seen_too,
        &proofs_give_back_what_beginnings_took,
        &beyond_the_second_limit_there_is_no_answer,
        &the_silent_make_room,
        &never_asks_nobody_and_always_asks_all,
        &a_network_gets_its_share_of_the_places,
        &prefixes_are_as_long_as_the_options_say,
        &a_turn_begins_so_many_handshakes,
        &a_network_gets_its_share_of_the_turn,
        &a_network_gets_its_share_of_the_lobby,
        &the_lobby_is_as_large_as_memory_allows,
        &a_hello_waits_as_one,
        &a_hello_is_turned_away_as_one,
        &who_waits_is_judged_again,
        &retries_wait_for_room,
        &early_packets_wait_with_their_hello,
        &the_application_is_asked_once,
        &a_network_gets_its_share_of_the_handshakes,
        &scarce_memory_is_shared,
        &tls_begins_with_a_whole_hello,
        &half_open_clients_fit_into_an_eighth_of_the_memory,
        &a_half_open_client_costs_what_it_is_taken_for,
        &stateless_replies_have_rates,
        &closed_connections_are_few,
        &amplification_has_a_limit,
        &orphans_are_few_or_none,
        &what_waits_can_be_left,
    };
    Suite *suite = suite_create("quic/gate");
    TCase *tcase = tcase_create("gate");
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, *tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
