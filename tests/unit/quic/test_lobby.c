/* The lobby: hellos wait as one, each network in its lane, and nobody longer than the place, the socket and the memory
 * last. */
#include "gate_kit.h"
#include "quic/lobby.h"

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

/* A network fills half of the lobby at most; then it is asked for a Retry, and who comes with a token is not
 * answered. */
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

static unsigned lane_of(const struct quic_addr *addr) {
    return (unsigned)(quic_gate_prefix(&server.endpoint, options, addr) >> 48) % 32;
}

/* A stranger whose network has this lane, or has not, the `nth` of them. */
static struct quic_addr in_lane(unsigned lane, bool same, unsigned nth) {
    for (unsigned i = 0;; i++) {
        struct quic_addr addr = stranger(i);
        if ((lane_of(&addr) == lane) == same && nth-- == 0)
            return addr;
    }
}

/* Says hello as the `number`th from `from`: nothing authentic, but that is not known yet. */
static void knock(unsigned number, struct quic_addr from) {
    uint8_t *data = initials[0].data;
    base_store_u16(data + 6, (uint16_t)number);
    engine_input(&server, data, initials[0].len, from);
    while (engine_output(&server))
        continue;
}

/* Places are taken, and a turn has no time. */
static void fill_places(void) {
    make_initials(1);
    options->half_open_limit = 100000;
    options->address_validation = QUIC_VALIDATE_NEVER;
    options->max_handshakes = 1;
    engine_input(&server, initials[0].data, initials[0].len, stranger(999));
    while (engine_output(&server))
        continue;
    server.mem.limit = 8u << 20;
}

/* Nobody fills the lobby for those who come to another lane: the last of the fullest lane goes for them. Nor does he
 * wait for all who came before him. */
START_TEST(the_fullest_lane_makes_room)
{
    fill_places();
    uint64_t places = quic_lobby_places(&server.endpoint);
    struct quic_addr crowd = in_lane(0, true, 0), another = in_lane(0, false, 0);
    unsigned come = 0;
    while (stats->initials_dropped == 0)
        knock(come++, crowd);
    uint32_t full = server.endpoint.gate.waiting_count;
    ck_assert_uint_eq(full, come - 1);
    ck_assert_uint_le(full, places);
    ck_assert_uint_ge(full, places - places / 8); /* their datagrams may be longer than the shortest */
    knock(come++, in_lane(0, true, 1));           /* of another network, but the same lane */
    ck_assert_uint_eq(stats->initials_dropped, 2);
    for (unsigned i = 0; i < 5; i++)
        knock(come++, another);
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, full);
    ck_assert_uint_eq(stats->initials_dropped, 2 + 5);
    ck_assert_uint_eq(stats->initials_deferred, full + 5);
    unsigned first_is_another = 0; /* who had to go did not have a turn: the first lane is the first still */
    ck_assert_uint_eq(quic_lobby_first(&server.endpoint)->prefix, quic_gate_prefix(&server.endpoint, options, &crowd));
    for (unsigned i = 0; i < 10; i++) { /* turn by turn */
        struct quic_hello *hello = quic_lobby_first(&server.endpoint);
        first_is_another += hello->prefix == quic_gate_prefix(&server.endpoint, options, &another);
        quic_lobby_take(&server.endpoint, hello, true);
        quic_hello_free(&server.endpoint, hello);
    }
    ck_assert_uint_eq(first_is_another, 5);
    server.mem.limit = 0;
}
END_TEST

/* A lane that was full and is empty counts for nothing. */
START_TEST(an_empty_lane_is_not_the_fullest)
{
    fill_places();
    struct quic_addr crowd = in_lane(0, true, 0), three[3];
    unsigned come = 0;
    for (unsigned i = 0, n = 0; n < 3; i++) {
        three[n] = in_lane(0, false, i);
        n += n == 0 || (lane_of(&three[n]) != lane_of(&three[0]) && lane_of(&three[n]) != lane_of(&three[n - 1]));
    }
    knock(come++, three[0]); /* so that the lobby stays open */
    while (stats->initials_dropped == 0)
        knock(come++, crowd);
    while (server.endpoint.gate.waiting_count > 1) {
        struct quic_hello *hello = quic_lobby_first(&server.endpoint);
        quic_lobby_take(&server.endpoint, hello, false);
        quic_hello_free(&server.endpoint, hello);
    }
    for (; stats->initials_dropped == 1; come++)
        knock(come, three[come % 2]);
    uint64_t deferred = stats->initials_deferred;
    knock(come++, three[2]);
    ck_assert_uint_eq(stats->initials_deferred, deferred + 1);
    server.mem.limit = 0;
}
END_TEST

/* Lanes that are as full as one another leave each other alone. */
START_TEST(equal_lanes_make_no_room)
{
    fill_places();
    struct quic_addr a = stranger(0), b = in_lane(lane_of(&a), false, 0);
    unsigned come = 0;
    for (; stats->initials_dropped == 0; come++)
        knock(come, come % 2 ? a : b);
    uint32_t full = server.endpoint.gate.waiting_count;
    for (unsigned i = 0; i < 20; i++, come++)
        knock(come, come % 2 ? a : b);
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, full);
    ck_assert_uint_le(stats->initials_deferred, full + 1); /* all the others were not let in */
    server.mem.limit = 0;
}
END_TEST

/* A lobby that a small budget makes small is shared by networks as a large one is. */
START_TEST(a_network_gets_its_share_of_a_small_lobby)
{
    fill_places();
    options->prefix_share = 25;
    uint64_t places = quic_lobby_places(&server.endpoint);
    struct quic_addr crowd = stranger(0);
    ck_assert_uint_lt(places, QUIC_LOBBY_HELLOS / 4);
    for (unsigned i = 0; i < places; i++)
        knock(i, crowd);
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, places / 2);
    ck_assert_uint_eq(stats->initials_dropped, places - places / 2);
    server.mem.limit = 0;
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

static enum quic_admit drop(const struct quic_admission *admission, enum quic_token_kind kind,
                            const struct quic_addr *remote, const uint8_t *token, size_t len) {
    (void)admission, (void)kind, (void)remote, (void)token, (void)len;
    return QUIC_ADMIT_DROP;
}

static const struct quic_admission nobody = {.judge = drop};

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
    server.config.admission = &nobody;
    dial_two(engine_addr(9, 5001), true);
    ck_assert_uint_eq(stats->initials_dropped, 1);
    server.config.admission = NULL;
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

static void *(*plenty)(void *user, size_t size);
static unsigned blocks_left;

static void *scarce(void *user, size_t size) { return blocks_left && blocks_left-- ? plenty(user, size) : NULL; }

static void *never(void *user, void *block, size_t from, size_t size) {
    (void)user, (void)block, (void)from, (void)size;
    return NULL;
}

/* With memory for so many blocks and no more. */
static void knock_with(unsigned blocks, unsigned number, struct quic_addr from) {
    const struct base_mem whole = server.mem;
    blocks_left = blocks;
    server.mem.alloc = scarce;
    server.mem.resize = never;
    knock(number, from);
    server.mem.alloc = whole.alloc;
    server.mem.resize = whole.resize;
}

/* Wherever memory fails there is no half of a hello, and no lobby for nobody. */
START_TEST(a_hello_waits_as_a_whole_or_not_at_all)
{
    make_initials(1);
    options->half_open_limit = 1000;
    options->handshakes_per_turn = 1;
    options->address_validation = QUIC_VALIDATE_NEVER;
    plenty = server.mem.alloc;
    engine_input(&server, initials[0].data, initials[0].len, stranger(0)); /* this turn's */
    while (engine_output(&server))
        continue;
    knock_with(1, 1000, stranger(1)); /* what the gate makes once and keeps, twice */
    quic_gate_turn_away(&server.endpoint, 0, server.now);
    uint64_t before = server.mem.used, refused = stats->initials_dropped;
    unsigned blocks = 0;
    for (; !server.endpoint.gate.waiting_count; blocks++) {
        ck_assert_uint_eq(stats->initials_dropped, refused + blocks);
        ck_assert_ptr_null(server.endpoint.gate.lobby);
        ck_assert_uint_eq(server.mem.used, before);
        knock_with(blocks, blocks + 1, stranger(1));
    }
    ck_assert_uint_ge(blocks, 3); /* the lobby, the hello, its datagram */
    uint64_t dropped = stats->initials_dropped;
    knock_with(0, blocks, stranger(1)); /* another datagram of the same hello, for which there is no room */
    ck_assert_uint_eq(stats->initials_dropped, dropped + 1);
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, 1);
    knock_with(2, blocks + 1, stranger(2)); /* another hello beside it: the lobby stays */
    knock_with(0, blocks + 2, stranger(3));
    ck_assert_ptr_nonnull(server.endpoint.gate.lobby);
    pass(20 * BASE_SEC);
    ck_assert_ptr_null(server.endpoint.gate.lobby);
}
END_TEST

Suite *unit_suite(void) {
    static const TTest *const *const tests[] = {
        &a_network_gets_its_share_of_the_turn,
        &a_network_gets_its_share_of_the_lobby,
        &the_lobby_is_as_large_as_memory_allows,
        &the_fullest_lane_makes_room,
        &an_empty_lane_is_not_the_fullest,
        &equal_lanes_make_no_room,
        &a_network_gets_its_share_of_a_small_lobby,
        &a_hello_waits_as_one,
        &a_hello_is_turned_away_as_one,
        &who_waits_is_judged_again,
        &retries_wait_for_room,
        &early_packets_wait_with_their_hello,
        &the_application_is_asked_once,
        &what_waits_can_be_left,
        &a_hello_waits_as_a_whole_or_not_at_all,
    };
    Suite *suite = suite_create("quic/lobby");
    TCase *tcase = tcase_create("lobby");
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, *tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
