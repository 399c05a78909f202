/* The score of what is to no use: its arithmetic, and each way to run it up, from inside a connection. */
#include "hostile.h"

/* ---- arithmetic ---- */

START_TEST(score_drains_with_time_and_with_good_packets)
{
    struct options options;
    struct quic_glitches g = {0};
    options_init(&options);
    options.glitch_burst = 100;
    options.glitch_rate = 10;
    for (unsigned i = 0; i < 10; i++)
        ck_assert(quic_glitches_add(&g, &options, 10, 5 * BASE_SEC));
    ck_assert_uint_eq(quic_glitches_score(&g, &options, 5 * BASE_SEC), 100);
    ck_assert_uint_eq(quic_glitches_score(&g, &options, 7 * BASE_SEC), 80);
    ck_assert_uint_eq(quic_glitches_score(&g, &options, 4 * BASE_SEC), 100); /* the clock never goes back */
    g.good = 200;
    ck_assert_uint_eq(quic_glitches_score(&g, &options, 7 * BASE_SEC), 30);
    ck_assert(quic_glitches_add(&g, &options, 70, 7 * BASE_SEC));
    ck_assert_uint_eq(g.good, 0);
    ck_assert(!quic_glitches_add(&g, &options, 1, 7 * BASE_SEC));
    ck_assert_uint_eq(g.peak, 101);
    g.good = UINT32_MAX;
    ck_assert_uint_eq(quic_glitches_score(&g, &options, BASE_NEVER), 0);
}
END_TEST

START_TEST(score_without_a_burst_ends_nowhere)
{
    struct options options;
    struct quic_glitches g = {0};
    options_init(&options);
    options.glitch_burst = options.glitch_rate = 0;
    g.score = ((UINT64_C(1) << 31) - 5) * 1000000000;
    for (unsigned i = 0; i < 100; i++)
        ck_assert(quic_glitches_add(&g, &options, 255, BASE_SEC));
    ck_assert_uint_eq(quic_glitches_score(&g, &options, BASE_SEC), UINT64_C(1) << 31);
    options.glitch_burst = options.glitch_rate = UINT64_C(1) << 31;
    ck_assert(!quic_glitches_add(&g, &options, 255, BASE_SEC));
    ck_assert(quic_glitches_add(&g, &options, 255, 2 * BASE_SEC));
    ck_assert_uint_eq(quic_glitches_score(&g, &options, 2 * BASE_SEC), 255);
}
END_TEST

START_TEST(every_glitch_has_a_name_and_a_weight)
{
    for (unsigned i = 1; i < QUIC_GLITCHES; i++) {
        ck_assert_ptr_nonnull(quic_glitch_name((enum quic_glitch)i));
        ck_assert_uint_ge(quic_glitch_weight((enum quic_glitch)i), 1);
        ck_assert_uint_le(quic_glitch_weight((enum quic_glitch)i), 255);
    }
}
END_TEST

/* ---- attacks ---- */

static unsigned round_number; /* packets of the attack so far */

static void fill(unsigned count, void (*write)(unsigned i)) {
    for (unsigned i = 0; i < count; i++) {
        uint8_t *before = f.pos;
        write(i);
        if (f.bad) {
            f.pos = before;
            f.bad = false;
            return;
        }
    }
}

static void stream_byte(uint64_t id, uint64_t offset, unsigned len, bool fin) {
    quic_frame_write_stream_header(&f, id, offset, len, 2, fin);
    for (unsigned i = 0; i < len; i++)
        base_write_u8(&f, 7);
}

static void one_ping(unsigned i) {
    (void)i;
    quic_frame_write_type(&f, QUIC_FRAME_PING);
}
static void attack_ping(void) { fill(900, one_ping); }

static void one_ack(unsigned i) {
    (void)i;
    base_write_u8(&f, QUIC_FRAME_ACK);
    for (unsigned n = 0; n < 4; n++)
        base_write_varint(&f, 0); /* largest, delay, ranges, first range */
}
static void attack_ack_useless(void) { fill(150, one_ack); }

static void send_pings(unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        server.now += 100 * BASE_US;
        ck_assert_int_eq(quic_conn_ping(accepted()), 0);
        ck_assert(engine_output(&server));
    }
}

static void write_ack_ranges(void) { /* every other packet of those that were sent */
    struct quic_sent *log = &accepted()->recovery.spaces[QUIC_APPLICATION];
    base_write_u8(&f, QUIC_FRAME_ACK);
    base_write_varint(&f, log->next - 1);
    base_write_varint(&f, 0);
    base_write_varint(&f, 35);
    for (unsigned i = 0; i < 35; i++) {
        base_write_varint(&f, 0);
        base_write_varint(&f, 0);
    }
    base_write_varint(&f, 0);
}

/* Nothing stays in flight. */
static void write_ack_all(void) {
    uint64_t largest = accepted()->recovery.spaces[QUIC_APPLICATION].next - 1;
    base_write_u8(&f, QUIC_FRAME_ACK);
    base_write_varint(&f, largest);
    base_write_varint(&f, 0);
    base_write_varint(&f, 0);
    base_write_varint(&f, largest);
}

static void one_crypto_useless(unsigned i) {
    static const uint8_t byte[1];
    (void)i;
    quic_frame_write_crypto(&f, 1, byte, 1);
}
static void attack_crypto_useless(void) { fill(100, one_crypto_useless); }

static void one_crypto_gap(unsigned i) {
    static const uint8_t byte[1];
    quic_frame_write_crypto(&f, 1 + 2 * (round_number * 100 + i) % 60000, byte, 1);
}
static void attack_crypto_gap(void) { fill(100, one_crypto_gap); }

static void one_stream_useless(unsigned i) {
    (void)i;
    stream_byte(0, 0, 0, false);
}
static void attack_stream_useless(void) { fill(100, one_stream_useless); }

static void one_stream_gap(unsigned i) { stream_byte(0, 1 + 2 * (round_number * 10 + i), 1, false); }
static void attack_stream_gap(void) { fill(10, one_stream_gap); }

static void one_tiny(unsigned i) { stream_byte(0, round_number * 100 + i, 1, false); }
static void attack_tiny(void) { fill(100, one_tiny); }

static void one_tiny_datagram(unsigned i) {
    (void)i;
    quic_frame_write_datagram_header(&f, 1, true);
    base_write_u8(&f, 1);
}
static void attack_tiny_datagrams(void) { fill(100, one_tiny_datagram); }

static void one_stream_reset(unsigned i) {
    uint64_t id = (round_number * 10 + i) * 4 + 2;
    if (id >> 2 < accepted()->streams.kinds[2].max)
        quic_frame_write_reset_stream(&f, id, 1, 0);
}
static void attack_stream_reset(void) {
    write_ack_all();
    fill(10, one_stream_reset);
}

static void one_stop(unsigned i) { /* the same, the other way round */
    uint64_t id = (round_number * 10 + i) * 4;
    if (id >> 2 < accepted()->streams.kinds[0].max) {
        quic_frame_write_stop_sending(&f, id, 1);
        stream_byte(id, 0, 0, true);
    }
}
static void attack_stop(void) {
    write_ack_all(); /* or our resets keep the streams alive */
    fill(10, one_stop);
}

static void one_reset_useless(unsigned i) {
    (void)i;
    quic_frame_write_reset_stream(&f, 0, 1, 0);
}
static void attack_reset_useless(void) { fill(100, one_reset_useless); }

static void one_max_data(unsigned i) {
    (void)i;
    quic_frame_write_number(&f, QUIC_FRAME_MAX_DATA, 1);
}
static void attack_max_data(void) { fill(100, one_max_data); }

static void one_max_streams(unsigned i) {
    (void)i;
    quic_frame_write_number(&f, QUIC_FRAME_MAX_STREAMS_BIDI, 1);
}
static void attack_max_streams(void) { fill(100, one_max_streams); }

static void one_max_stream_data(unsigned i) {
    (void)i;
    quic_frame_write_stream_number(&f, QUIC_FRAME_MAX_STREAM_DATA, 0, 1);
}
static void attack_max_stream_data(void) { fill(100, one_max_stream_data); }

static void one_blocked(unsigned i) {
    quic_frame_write_number(&f, i % 2 ? QUIC_FRAME_DATA_BLOCKED : QUIC_FRAME_STREAMS_BLOCKED_UNI, 1);
}
static void attack_blocked(void) { fill(100, one_blocked); }

static void one_challenge(unsigned i) {
    const uint8_t data[8] = {(uint8_t)i, (uint8_t)round_number};
    quic_frame_write_path(&f, QUIC_FRAME_PATH_CHALLENGE, data);
}
static void attack_path_challenge(void) { fill(90, one_challenge); }

static void one_response(unsigned i) {
    const uint8_t data[8] = {(uint8_t)i, (uint8_t)round_number};
    quic_frame_write_path(&f, QUIC_FRAME_PATH_RESPONSE, data);
}
static void attack_path_response(void) { fill(90, one_response); }

static void one_new_cid(unsigned i) {
    const struct quic_cid cid = {.len = 8, .id = {99}};
    const uint8_t token[16] = {99};
    (void)i;
    quic_frame_write_new_cid(&f, 20, 20, &cid, token);
}
static void attack_new_cid(void) { fill(20, one_new_cid); }

/* All but the one in use, as soon as there are new ones. */
static void one_retire(unsigned i) {
    const struct quic_local_cids *set = &accepted()->local_cids;
    if (i + 1 < set->next_sequence)
        quic_frame_write_number(&f, QUIC_FRAME_RETIRE_CONNECTION_ID, set->next_sequence - 1 - i);
}
static void attack_retire_cid(void) { fill(3, one_retire); }

static void one_new_token(unsigned i) {
    static const uint8_t token[4] = {1};
    (void)i;
    quic_frame_write_new_token(&f, token, sizeof token);
}
static void attack_new_token(void) { fill(20, one_new_token); }

static void one_handshake_done(unsigned i) {
    (void)i;
    quic_frame_write_type(&f, QUIC_FRAME_HANDSHAKE_DONE);
}
static void attack_handshake_done(void) { fill(900, one_handshake_done); }

static void one_ack_frequency(unsigned i) { quic_frame_write_ack_frequency(&f, round_number * 50 + i, 2, 25000, 1); }
static void attack_ack_frequency(void) { fill(50, one_ack_frequency); }

static void one_immediate_ack(unsigned i) {
    (void)i;
    quic_frame_write_type(&f, QUIC_FRAME_IMMEDIATE_ACK);
}
static void attack_immediate_ack(void) { fill(300, one_immediate_ack); }

#define ROW(name) QUIC_GLITCH_##name, #name
static const struct attack {
    enum quic_glitch what;
    const char *name;
    void (*write)(void);
    unsigned packets; /* more are not taken */
    bool by_server;   /* the server attacks its client */
} attacks[] = {
    {ROW(ping), attack_ping, 12, false},
    {ROW(ack_useless), attack_ack_useless, 67, false},
    {ROW(crypto_useless), attack_crypto_useless, 50, false},
    {ROW(crypto_gap), attack_crypto_gap, 5000, false},
    {ROW(stream_useless), attack_stream_useless, 101, false},
    {ROW(stream_gap), attack_stream_gap, 2700, false},
    {ROW(tiny), attack_tiny, 2001, false},
    {ROW(tiny), attack_tiny_datagrams, 2001, false},
    {ROW(stream_reset), attack_stream_reset, 101, false},
    {ROW(stream_reset), attack_stop, 101, false},
    {ROW(reset_useless), attack_reset_useless, 101, false},
    {ROW(credit_useless), attack_max_data, 101, false},
    {ROW(credit_useless), attack_max_streams, 101, false},
    {ROW(credit_useless), attack_max_stream_data, 101, false},
    {ROW(blocked), attack_blocked, 101, false},
    {ROW(path_challenge), attack_path_challenge, 28, false},
    {ROW(path_response), attack_path_response, 28, false},
    {ROW(new_connection_id), attack_new_cid, 63, false},
    {ROW(retire_connection_id), attack_retire_cid, 420, false},
    {ROW(new_token), attack_new_token, 63, true},
    {ROW(handshake_done), attack_handshake_done, 12, true},
    {ROW(ack_frequency), attack_ack_frequency, 51, false},
    {ROW(immediate_ack), attack_immediate_ack, 34, false},
};

/* The application of the engine takes everything at once and wants nothing. */
static void serve(struct engine *engine) {
    uint32_t bits;
    struct base_event *event;
    while ((event = base_events_pop(&engine->events, &bits))) {
        struct quic_stream *s = quic_stream_of(&engine->slots, event->handle);
        if (s && bits & QUIC_STREAM_EV_READABLE)
            quic_stream_consume(s, s->recv.ready - s->recv.taken, 0, engine->now);
        if (s && bits & QUIC_STREAM_EV_CLOSED)
            quic_stream_told_closed(s);
    }
    quic_endpoint_settle(&engine->endpoint);
}

/* Sends the frames at hand from one to the other. What the victim says is heard by nobody. */
static void strike(struct engine *victim, struct quic_conn *attacker, struct quic_addr from) {
    uint8_t packet[1500];
    size_t len = make_1rtt_of(attacker, packet);
    victim->now += BASE_MS; /* its pacer lets credit go out */
    engine_input(victim, packet, len, from);
    serve(victim);
    for (unsigned i = 0; i < 4 && engine_output(victim); i++)
        continue;
}

static uint64_t counted(const struct engine *engine, enum quic_glitch what) {
    const struct engine_stats *stats = &engine->endpoint.stats;
    switch (what) {
#define GLITCH(name, weight, text) \
    case QUIC_GLITCH_##name:       \
        return stats->glitch_##name;
#include "tables/glitches.def"
#undef GLITCH
    default: return 0;
    }
}

static void prepare(void) {
    struct engine *engines[] = {&server, &client};
    for (unsigned i = 0; i < 2; i++) {
        struct options *options = &engines[i]->config.options;
        options->glitch_rate = 0;
        options->ack_frequency = options->max_datagram_frame_size = 1000;
        options->ack_frequency = 1;
        options->ack_ranges = 32;
        options->initial_packet_number_skip = 0;
    }
    round_number = 0;
    dial();
    carry();
}

static void run(const struct attack *attack) {
    struct engine *victim = attack->by_server ? &client : &server;
    prepare();
    struct quic_conn *attacker = attack->by_server ? accepted() : conn;
    struct quic_conn *target = attack->by_server ? conn : accepted();
    struct quic_addr from = attack->by_server ? server.socket.local : client_at;
    size_t before = victim->mem.used;
    for (; target->state < QUIC_CONN_CLOSING; round_number++) {
        ck_assert_msg(round_number < attack->packets, "%s goes on: %u points after %u packets", attack->name,
                      target->glitches.peak, round_number);
        begin();
        attack->write();
        if (f.pos == frames)
            base_write_u8(&f, QUIC_FRAME_PADDING);
        strike(victim, attacker, from);
        ck_assert_msg(victim->mem.used < before + (1 << 20), "%s took %zu bytes", attack->name,
                      victim->mem.used - before);
    }
    ck_assert_msg(target->close.code == QUIC_PROTOCOL_VIOLATION && target->close.cause == QUIC_CAUSE_PROTOCOL,
                  "%s: closed with 0x%llx", attack->name, (unsigned long long)target->close.code);
    char reason[QUIC_REASON_MAX + 1] = {0};
    memcpy(reason, target->close.reason, target->close.reason_len);
    ck_assert_msg(strstr(reason, attack->name), "%s: %s", attack->name, reason);
    ck_assert_uint_gt(counted(victim, attack->what), 0);
    ck_assert_uint_gt(target->stats.glitches, 10000);
    ck_assert_uint_eq(victim->endpoint.stats.connections_glitched, 1);
}

START_TEST(attack_ends_the_connection)
{ run(&attacks[_i]); }
END_TEST

/* A key update costs each side three expansions; the peer may ask for them as fast as it hears the answers. */
START_TEST(key_updates_without_end)
{
    prepare();
    struct quic_conn *target = accepted();
    for (unsigned i = 0; i < 201 && target->state < QUIC_CONN_CLOSING; i++) {
        ck_assert_int_eq(quic_conn_update_keys(conn), 0);
        quic_conn_ping(conn);
        carry();
        for (unsigned k = 0; k < 2; k++) { /* an ACK that waits; the old keys' end */
            client.now += 5 * BASE_SEC;
            server.now += 5 * BASE_SEC;
            quic_endpoint_tick(&client.endpoint, client.now);
            quic_endpoint_tick(&server.endpoint, server.now);
            carry();
        }
    }
    ck_assert_uint_eq(target->state, QUIC_CONN_CLOSING);
    ck_assert_uint_gt(server.endpoint.stats.glitch_key_update, 150); /* and some PINGs */
}
END_TEST

START_TEST(every_glitch_has_an_attack)
{
    /* These two have tests of their own. Many ranges cannot be had again and again: what is lost shrinks the window. */
    bool seen[QUIC_GLITCHES] = {[QUIC_GLITCH_key_update] = true, [QUIC_GLITCH_ack_ranges] = true};
    for (unsigned i = 0; i < sizeof attacks / sizeof *attacks; i++)
        seen[attacks[i].what] = true;
    for (unsigned i = 1; i < QUIC_GLITCHES; i++)
        ck_assert_msg(seen[i], "nobody tries %s", quic_glitch_name((enum quic_glitch)i));
}
END_TEST

/* ---- who must not be able to end a connection ---- */

START_TEST(repeated_packets_and_noise_do_not_count)
{
    prepare();
    struct quic_conn *target = accepted();
    uint8_t packet[1500], copy[1500];
    begin();
    attack_ping();
    size_t len = make_1rtt(packet);
    for (unsigned i = 0; i < 100; i++) { /* opening changes the bytes */
        memcpy(copy, packet, len);
        if (i % 2)
            copy[len - 1] ^= (uint8_t)i;
        engine_input(&server, copy, len, i % 3 ? client_at : engine_addr(66, (uint16_t)(i + 1)));
    }
    ck_assert_uint_lt(target->stats.glitches, 1000);
    ck_assert_uint_ge(target->stats.packets_duplicate, 40);
    ck_assert_int_lt(target->state, QUIC_CONN_CLOSING);
}
END_TEST

START_TEST(with_a_burst_of_0_nothing_is_too_much)
{
    server.config.options.glitch_burst = 0;
    prepare();
    struct quic_conn *target = accepted();
    for (unsigned i = 0; i < 50; i++) {
        begin();
        attack_ping();
        strike(&server, conn, client_at);
    }
    ck_assert_uint_gt(target->stats.glitches, 40000);
    ck_assert_int_lt(target->state, QUIC_CONN_CLOSING);
}
END_TEST

/* ---- limits beside the score ---- */

/* Acknowledging what was never sent opens the window for nothing (RFC 9000 21.4). */
START_TEST(optimistic_ack)
{
    dial();
    carry();
    struct quic_conn *target = accepted();
    struct quic_sent *log = &target->recovery.spaces[QUIC_APPLICATION];
    ck_assert(quic_sent_skip(log, &server.mem));
    ck_assert_int_eq(quic_conn_ping(target), 0);
    ck_assert(engine_output(&server));
    begin();
    base_write_u8(&f, QUIC_FRAME_ACK);
    base_write_varint(&f, log->next - 1);
    base_write_varint(&f, 0);
    base_write_varint(&f, 0);
    base_write_varint(&f, 1); /* it and the one before */
    strike(&server, conn, client_at);
    ck_assert_uint_eq(target->state, QUIC_CONN_CLOSING);
    ck_assert_uint_eq(target->close.code, QUIC_PROTOCOL_VIOLATION);
    ck_assert_uint_eq(target->stats.acks_optimistic, 1);
    ck_assert_mem_eq(target->close.reason, "acknowledgement of a packet", 27);
}
END_TEST

START_TEST(ranges_beyond_the_limit_are_not_said)
{
    prepare();
    accepted()->first_path.control.rtt.smoothed = BASE_SEC; /* nothing is forgotten meanwhile */
    send_pings(80);
    struct quic_conn *target = accepted();
    struct quic_sent *log = &target->recovery.spaces[QUIC_APPLICATION];
    uint64_t top = log->next - 1;
    begin();
    write_ack_ranges();
    strike(&server, conn, client_at);
    ck_assert_uint_eq(quic_sent_at(log, top - 62)->state, QUIC_SENT_ACKED);
    ck_assert_uint_ne(quic_sent_at(log, top - 64)->state, QUIC_SENT_ACKED);
    ck_assert_uint_eq(server.endpoint.stats.glitch_ack_ranges, 1);
}
END_TEST

/* A client that changes its address with every packet gets path_burst of them, then path_rate a second. */
START_TEST(addresses_without_end)
{
    server.config.options.path_burst = 5;
    server.config.options.path_rate = 2;
    dial();
    carry();
    struct quic_conn *target = accepted();
    for (unsigned i = 0; i < 300; i++) {
        begin();
        quic_frame_write_type(&f, QUIC_FRAME_PING);
        strike(&server, conn, engine_addr(50, (uint16_t)(i + 1)));
    }
    ck_assert_uint_eq(target->stats.paths_refused, 295);
    ck_assert_uint_eq(quic_path_active(target)->remote.port, 5);
    uint64_t received = target->stats.packets_received;
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    strike(&server, conn, client_at); /* where it is known it is heard all the same */
    ck_assert_uint_eq(target->stats.packets_received, received + 1);
    server.now += BASE_SEC;
    for (unsigned i = 0; i < 10; i++) {
        begin();
        quic_frame_write_type(&f, QUIC_FRAME_PING);
        strike(&server, conn, engine_addr(51, (uint16_t)(i + 1)));
    }
    ck_assert_uint_eq(target->stats.paths_refused, 303);
    ck_assert_int_lt(target->state, QUIC_CONN_CLOSING);
}
END_TEST

Suite *unit_suite(void) {
    static const TTest *const *const alone[] = {&score_drains_with_time_and_with_good_packets,
                                                &score_without_a_burst_ends_nowhere,
                                                &every_glitch_has_a_name_and_a_weight, &every_glitch_has_an_attack};
    static const TTest *const *const inside[] = {
        &key_updates_without_end, &repeated_packets_and_noise_do_not_count, &with_a_burst_of_0_nothing_is_too_much,
        &optimistic_ack,          &ranges_beyond_the_limit_are_not_said,    &addresses_without_end,
    };
    Suite *suite = suite_create("quic/glitch");
    TCase *tcase = tcase_create("score");
    for (size_t i = 0; i < sizeof alone / sizeof *alone; i++)
        tcase_add_test(tcase, *alone[i]);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("attacks");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, attack_ends_the_connection, 0, (int)(sizeof attacks / sizeof *attacks));
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++)
        tcase_add_test(tcase, *inside[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
