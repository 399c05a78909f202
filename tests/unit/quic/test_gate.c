/* The gate: strangers beyond the budgets get a Retry or no answer, networks get their share, a turn has its limit, and
 * all that is counted is given back. */
#include "gate_kit.h"

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

/* They wait without a turn of the loop for nothing: the next is due when the first place may be free. */
START_TEST(beyond_the_second_limit_clients_wait)
{
    make_initials(14);
    options->max_handshakes = 10;
    base_time first = server.now;
    for (unsigned i = 0; i < 12; i++, server.now += 10 * BASE_MS)
        flood(i, i + 1);
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, 2);
    ck_assert_uint_eq(stats->initials_deferred, 2);
    ck_assert_uint_eq(server.endpoint.conn_count, 10);
    ck_assert_uint_eq(quic_gate_deadline(&server.endpoint), first + 250 * BASE_MS);
    server.now = first + 250 * BASE_MS - 1;
    turn();
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, 2);
    server.now++;
    turn();
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, 1);
    ck_assert_uint_eq(stats->handshakes_evicted, 1);
    ck_assert_uint_eq(quic_gate_deadline(&server.endpoint), first + 260 * BASE_MS);
    quic_conn_detach(BASE_CONTAINER(base_list_first(&server.endpoint.gate.unfinished), struct quic_conn, unfinished),
                     server.now); /* somebody goes: a place is free at once */
    ck_assert_uint_eq(quic_endpoint_deadline(&server.endpoint), 0);
    turn();
    ck_assert_uint_eq(quic_gate_deadline(&server.endpoint), BASE_NEVER);
    ck_assert_uint_eq(stats->connections_accepted, 12);
    ck_assert_uint_eq(stats->initials_deferred, 2);
    ck_assert_uint_eq(stats->handshakes_evicted, 1);
    ck_assert_uint_eq(stats->initials_dropped + stats->retries_sent, 0);
    while (engine_output(&server))
        continue;
}
END_TEST

/* Who says a little now and then keeps his place for a second and the patience for the silent, and no longer. */
START_TEST(nobody_sits_in_a_place)
{
    make_initials(4);
    options->max_handshakes = 2;
    flood(0, 2);
    struct quic_conn *silent = BASE_CONTAINER(base_list_first(&server.endpoint.conns), struct quic_conn, all);
    struct quic_conn *sitting = BASE_CONTAINER(base_list_last(&server.endpoint.conns), struct quic_conn, all);
    base_time first = server.now;
    for (; server.now < first + 3 * BASE_SEC; turn(), server.now += 100 * BASE_MS) { /* alone both may stay */
        quic_conn_on_received(silent, server.now);
        quic_conn_on_received(sitting, server.now);
    }
    ck_assert_uint_eq(server.endpoint.gate.handshakes, 2);
    ck_assert_uint_eq(sitting->heard_at, first + BASE_SEC);
    quic_conn_detach(silent, server.now);
    flood(2, 3);
    struct quic_conn *young = BASE_CONTAINER(base_list_last(&server.endpoint.conns), struct quic_conn, all);
    quic_conn_on_received(sitting, server.now);
    ck_assert_uint_eq(stats->handshakes_evicted, 0);
    flood(3, 4);
    ck_assert_uint_eq(stats->handshakes_evicted, 1);
    ck_assert_uint_ge(sitting->state, QUIC_CONN_CLOSING);
    ck_assert_uint_lt(young->state, QUIC_CONN_CLOSING);
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
    ck_assert_uint_eq(server.endpoint.gate.waiting_count, 5);
    ck_assert_uint_eq(server.endpoint.gate.handshakes, 10);
    ck_assert_uint_lt(kept->state, QUIC_CONN_CLOSING);
    ck_assert_uint_eq(quic_gate_deadline(&server.endpoint), kept->heard_at + 250 * BASE_MS);
    ck_assert_uint_eq(stats->initials_dropped, 0);
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
    options->address_validation = QUIC_VALIDATE_NEVER; /* of so small a budget little is for strangers */
    for (unsigned i = 0; i < 12; i++) {
        struct quic_addr from = engine_addr((uint8_t)(20 + i), 5000);
        struct quic_conn *conn = dial(from);
        carry(from);
        ck_assert(conn->handshake_complete);
    }
    make_initials(4);
    server.mem.limit = server.mem.used * 5; /* a fifth: there is enough */
    engine_input(&server, initials[0].data, initials[0].len, engine_addr(99, 1));
    ck_assert_uint_eq(server.endpoint.conn_count, 13);
    server.mem.limit = server.mem.used * 20 / 17; /* what is left is for others */
    engine_input(&server, initials[1].data, initials[1].len, engine_addr(99, 2));
    ck_assert_uint_eq(server.endpoint.conn_count, 13);
    ck_assert_uint_eq(stats->prefix_limited, 1);
    ck_assert_uint_eq(stats->initials_dropped, 1);
    engine_input(&server, initials[2].data, initials[2].len, stranger(1));
    ck_assert_uint_eq(stats->prefix_limited, 1);
    ck_assert_uint_eq(stats->initials_dropped, 1);
    server.mem.limit = server.mem.used * 5 / 4; /* four fifths, and as good as nobody else is there */
    engine_input(&server, initials[3].data, initials[3].len, engine_addr(99, 3));
    ck_assert_uint_eq(stats->prefix_limited, 1);
    ck_assert_uint_eq(stats->initials_dropped, 1);
    server.mem.limit = 0;
    while (engine_output(&server))
        continue;
}
END_TEST

/* A client's connection from there, complete; *peer: the server's side. */
static struct quic_conn *complete(struct quic_addr from, struct quic_conn **peer) {
    struct quic_conn *conn = dial(from);
    carry(from);
    ck_assert(conn->handshake_complete);
    *peer = BASE_CONTAINER(server.endpoint.conns.head.prev, struct quic_conn, all);
    return conn;
}

static struct quic_stream *fill(struct quic_conn *conn, size_t bytes) {
    static const uint8_t some[1 << 16];
    struct quic_stream *s;
    ck_assert_int_eq(quic_streams_open(&conn->streams, true, &s), 0);
    for (size_t left = bytes, part; left; left -= part) {
        part = left < sizeof some ? left : sizeof some;
        ck_assert_int_eq(quic_stream_write(s, some, part, false), (int64_t)part);
    }
    return s;
}

/* All that was written arrives. */
static void arrive(struct quic_addr from) {
    for (unsigned i = 0; i < 100; i++) {
        server.now = client.now += 5 * BASE_MS;
        quic_endpoint_tick(&client.endpoint, client.now);
        turn();
        carry(from);
    }
}

/* It is bytes that are shared: two connections that hold much are more than thirty that hold nothing. */
START_TEST(scarce_memory_is_shared_by_bytes)
{
    struct quic_conn *peer, *others[30];
    options->prefix_share = 25;
    options->stream_send_buffer = options->connection_send_buffer = 1 << 20;
    for (unsigned i = 0; i < 30; i++)
        complete(stranger(i), &others[i]);
    complete(engine_addr(20, 5000), &peer);
    make_initials(5);
    options->address_validation = QUIC_VALIDATE_NEVER; /* of so small a budget little is for strangers */
    server.mem.limit = server.mem.used * 5 / 4;        /* four fifths */
    engine_input(&server, initials[0].data, initials[0].len, engine_addr(99, 1));
    ck_assert_uint_eq(server.endpoint.conn_count, 32);
    server.mem.limit = 0;
    fill(peer, 1 << 20);
    turn();
    server.mem.limit = server.mem.used * 5 / 4;
    engine_input(&server, initials[1].data, initials[1].len, engine_addr(99, 2));
    ck_assert_uint_eq(server.endpoint.conn_count, 32);
    ck_assert_uint_eq(stats->prefix_limited, 1);
    engine_input(&server, initials[2].data, initials[2].len, stranger(1)); /* who has one already */
    ck_assert_uint_eq(server.endpoint.conn_count, 33);
    server.mem.limit = 0;
    for (unsigned i = 0; i < 4; i++) /* others hold as much: a fifth is no more than its share */
        fill(others[i], 1 << 20);
    turn();
    server.mem.limit = server.mem.used * 5 / 4;
    engine_input(&server, initials[3].data, initials[3].len, engine_addr(99, 3));
    ck_assert_uint_eq(server.endpoint.conn_count, 34);
    server.mem.limit = 0;
    for (unsigned i = 0; i < 4; i++) /* what waited is given up */
        quic_conn_detach(others[i], server.now);
    pass(BASE_SEC);
    ck_assert_uint_eq(server.endpoint.conn_count, 30);
    server.mem.limit = server.mem.used * 5 / 4;
    engine_input(&server, initials[4].data, initials[4].len, engine_addr(99, 4));
    ck_assert_uint_eq(stats->prefix_limited, 2);
    server.mem.limit = 0;
    quic_conn_detach(peer, server.now);
    pass(BASE_SEC);
    server.mem.limit = server.mem.used * 5 / 4;
    engine_input(&server, initials[4].data, initials[4].len, engine_addr(99, 4));
    ck_assert_uint_eq(server.endpoint.conn_count, 30);
    ck_assert_uint_eq(stats->prefix_limited, 2);
    server.mem.limit = 0;
    while (engine_output(&server))
        continue;
}
END_TEST

/* What was written and has not arrived, what has arrived and was not read, streams, datagrams. */
START_TEST(a_weight_is_what_is_held)
{
    struct quic_conn *peer, *other, *conn;
    const struct quic_addr from = engine_addr(20, 5000);
    options->stream_send_buffer = options->connection_send_buffer = 1 << 20;
    options->initial_max_streams_uni = 1000;
    options->initial_max_data = options->initial_max_stream_data_uni = 1 << 20;
    options->max_datagram_frame_size = client.config.options.max_datagram_frame_size = 65535;
    options->datagram_send_queue = 1 << 20;
    complete(stranger(1), &other);
    conn = complete(from, &peer);
    turn();
    ck_assert_uint_eq(peer->weight, 1);
    ck_assert_uint_eq(server.endpoint.gate.weight, 2);
    fill(peer, 10 * QUIC_GATE_CONN_COST);
    turn();
    ck_assert_uint_eq(peer->weight, 11);
    ck_assert_uint_eq(server.endpoint.gate.weight, 12);
    arrive(from);
    ck_assert_uint_eq(peer->weight, 1);
    fill(conn, 20 * QUIC_GATE_CONN_COST); /* comes here, and is not read */
    arrive(from);
    ck_assert_uint_eq(peer->weight, 21);
    struct quic_stream *s = BASE_CONTAINER(peer->streams.all.head.prev, struct quic_stream, all);
    ck_assert_int_eq(quic_stream_consume(s, 8 * QUIC_GATE_CONN_COST, BASE_MS, server.now), 0);
    quic_gate_settle(peer);
    ck_assert_uint_eq(peer->weight, 21); /* less than half is gone */
    ck_assert_int_eq(quic_stream_consume(s, 8 * QUIC_GATE_CONN_COST, BASE_MS, server.now), 0);
    quic_gate_settle(peer);
    ck_assert_uint_eq(peer->weight, 5);
    ck_assert_uint_eq(server.endpoint.gate.weight, 6);
    for (unsigned i = 0; i < 99; i++) /* of one byte each */
        fill(conn, 1);
    arrive(from);
    ck_assert_uint_eq(peer->weight, 5 + (101 * sizeof(struct quic_stream) + 99) / QUIC_GATE_CONN_COST);
    uint16_t before = peer->weight;
    static const uint8_t datagram[1024];
    for (unsigned i = 0; i < 4 * QUIC_GATE_CONN_COST / sizeof datagram; i++)
        ck_assert_int_eq(quic_conn_datagram_send(peer, datagram, sizeof datagram, 0), 0);
    quic_gate_settle(peer);
    ck_assert_uint_eq(peer->weight, before + 4);
    ck_assert_uint_eq(other->weight, 1);
    ck_assert_uint_eq(conn->weight, 0); /* a client's is nobody's share */
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

/* What a half-open client holds, TLS included, is what the gate takes it for at most: with either kind of key
 * exchange. */
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

Suite *unit_suite(void) {
    static const TTest *const *const tests[] = {
        &beyond_the_budget_every_stranger_gets_a_retry,
        &who_proves_the_address_gets_in,
        &the_guard_goes_home_late,
        &a_rate_of_strangers_is_seen_too,
        &proofs_give_back_what_beginnings_took,
        &beyond_the_second_limit_clients_wait,
        &nobody_sits_in_a_place,
        &the_silent_make_room,
        &never_asks_nobody_and_always_asks_all,
        &a_network_gets_its_share_of_the_places,
        &prefixes_are_as_long_as_the_options_say,
        &a_turn_begins_so_many_handshakes,
        &a_network_gets_its_share_of_the_handshakes,
        &scarce_memory_is_shared,
        &scarce_memory_is_shared_by_bytes,
        &a_weight_is_what_is_held,
        &tls_begins_with_a_whole_hello,
        &half_open_clients_fit_into_an_eighth_of_the_memory,
        &a_half_open_client_costs_what_it_is_taken_for,
        &stateless_replies_have_rates,
        &closed_connections_are_few,
        &amplification_has_a_limit,
        &orphans_are_few_or_none,
    };
    Suite *suite = suite_create("quic/gate");
    TCase *tcase = tcase_create("gate");
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, *tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
